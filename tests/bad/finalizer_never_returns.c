// A finalizer that never returns: the program allocates, collects and ends as if it did.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

#include <unistd.h>

static volatile int begun;

static void hang(void *obj, void *arg) {
    (void)obj, (void)arg;
    begun = 1;
    for (;;) pause();
}

static __attribute__((noinline)) void make(void) {
    for (int i = 0; i < 100; i++) MUST(gomem_set_finalizer(GOMEM_NEW(struct item), hang, NULL));
}

int main(void) {
    make();
    gomem_gc();
    for (int i = 0; i < 1000 && !begun; i++) usleep(10000);
    MUST(begun);
    for (int i = 0; i < 100000; i++) MUST(gomem_new(1000) != NULL);
    gomem_gc();
    return 0;
}
