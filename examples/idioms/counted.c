// counted: objects that go at once when their last owner lets go.
//
// gomem_rc_new makes an object with a count of 1. At the last release its drop function runs, there and
// then, and its memory is free. Counting cannot free a ring; the collector frees it.
//
// It prints:
//     photo has 2 owners
//     frame goes
//     photo goes
//     1000 rings were released, and not dropped
//     the collector has found nearly all of them

#include "gomem.h"
#include <stdio.h>

typedef struct node {
    const char *name;
    struct node *other; // owned
} node;

static int dropped;

static void drop(void *object) {
    node *n = object;
    if (*n->name != '(') printf("%s goes\n", n->name);
    dropped++;
    gomem_rc_release(n->other); // NULL is fine
}

static node *make(const char *name, node *other) {
    node *n = gomem_rc_new(sizeof *n, drop);
    if (!n) return NULL;
    n->name = name;
    GOMEM_STORE(&n->other, gomem_rc_retain(other)); // one more owner
    return n;
}

static bool ring(gomem_weak *seen) {
    node *a = make("(a)", NULL), *b = make("(b)", a);
    if (!a || !b) return false;
    GOMEM_STORE(&a->other, gomem_rc_retain(b));
    *seen = gomem_weak_make(a);
    gomem_rc_release(a);
    gomem_rc_release(b);
    return true;
}

int main(void) {
    static gomem_weak seen[1000];
    int left = 0;
    node *photo = make("photo", NULL), *frame = make("frame", photo);
    if (!photo || !frame) return 1;
    printf("photo has 2 owners\n"); // we, and the frame
    gomem_rc_release(photo);
    gomem_rc_release(frame);

    dropped = 0;
    for (int i = 0; i < 1000; i++)
        if (!ring(&seen[i])) return 1;
    for (int i = 0; i < 1000; i++) left += gomem_weak_get(seen[i]) != NULL;
    printf("%d rings were released, and %s\n", left, dropped ? "dropped" : "not dropped");
    gomem_gc();
    left = 0;
    for (int i = 0; i < 1000; i++) left += gomem_weak_get(seen[i]) != NULL;
    printf("the collector has found %s of them\n", left < 100 ? "nearly all" : "few");
}
