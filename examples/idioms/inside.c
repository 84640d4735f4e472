// inside: what the collector did, and why an object lives.
//
// gomem_read_memstats gives Go's MemStats. gomem_heap_size and its kin are for frequent polls: a load or
// two each. gomem_why writes the path from a root to an object that should be gone and is not, here to
// standard error. gomem_verify checks the whole heap. GOMEM_DEBUG=gctrace=1 in the environment prints a
// line per collection.
//
// It prints:
//     8 MB were allocated, and the heap stayed below 8 MB
//     the collections that the statistics count are those that the program sees
//     the list is kept by a global variable: standard error has the path
//     nearly all of 1000 lost objects are gone
//     the heap is sound

#include "gomem.h"
#include <stdio.h>

typedef struct node {
    struct node *next;
    long number;
} node;

static node *list; // a root

// Only a weak pointer refers to this object when the function has returned.
static __attribute__((noinline)) gomem_weak lose(void) { return gomem_weak_make(GOMEM_NEW(node)); }

int main(void) {
    gomem_memstats m = {.size = sizeof m}; // the size tells which fields this program knows
    size_t most = 0;
    for (int i = 0; i < 500000; i++) {
        node *n = GOMEM_NEW(node);
        if (!n) return 1;
        if (i < 10) {
            GOMEM_STORE(&n->next, list);
            GOMEM_STORE(&list, n);
        }
        if (i % 1000 == 0 && gomem_heap_size() > most) most = gomem_heap_size();
    }
    gomem_read_memstats(&m);
    printf("%ju MB were allocated, and the heap stayed %s 8 MB\n",
           (uintmax_t)(m.total_alloc / 1000000), most < (size_t)8 << 20 ? "below" : "above");
    printf("the collections that the statistics count are %s\n",
           m.num_gc > 0 && gomem_num_gc() >= m.num_gc ? "those that the program sees" : "others");

    static gomem_weak lost[1000];
    int left = 0;
    for (int i = 0; i < 1000; i++) lost[i] = lose();
    gomem_gc();
    for (int i = 0; i < 1000; i++) left += gomem_weak_get(lost[i]) != NULL;
    bool kept = gomem_why(list, 2);
    printf("the list is kept by %s\n",
           kept ? "a global variable: standard error has the path" : "nothing");
    printf("%s of 1000 lost objects are gone\n", left < 100 ? "nearly all" : "few");
    printf("the heap is %s\n", gomem_verify() ? "sound" : "corrupted");
}
