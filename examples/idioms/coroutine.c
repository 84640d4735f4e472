// coroutine: stacks that are collected with their coroutines.
//
// gomem_stack_new makes a stack that is scanned while something refers to it. A coroutine that is dropped
// in the middle of its work goes, with its stack, although words of that stack point back to it. Before
// each switch away the library is told how far the stack is used.
//
// It prints:
//     1000 walkers, each dropped half way: 500500 leaves
//     nearly all of them are gone

#include "gomem.h"
#include <stdio.h>
#include <ucontext.h>

typedef struct walker {
    ucontext_t here, caller; // saved registers: they must lie in memory that is scanned
    gomem_stack *stack;
    int *leaf; // what it has found
} walker;

static walker *starting; // makecontext passes ints only

static void give(walker *w, int *leaf) {
    GOMEM_STORE(&w->leaf, leaf);
    gomem_stack_parked(gomem_stack_base(w->stack), __builtin_frame_address(0));
    swapcontext(&w->here, &w->caller);
}

static void walk(void) {
    walker *w = starting;
    for (int i = 1;; i++) {
        int *leaf = GOMEM_NEW_NOSCAN(int); // known to this stack only
        if (leaf) *leaf = i;
        give(w, leaf);
    }
}

static walker *walker_new(void) {
    walker *w = GOMEM_NEW(walker);
    if (!w) return NULL;
    GOMEM_STORE(&w->stack, gomem_stack_new(64 * 1024));
    if (!w->stack || getcontext(&w->here) != 0) return NULL;
    w->here.uc_stack.ss_sp = gomem_stack_base(w->stack);
    w->here.uc_stack.ss_size = gomem_stack_size(w->stack);
    makecontext(&w->here, walk, 0);
    return w;
}

// A coroutine begins with the registers of its maker, and they are kept with it. This is a function of
// its own, so that no walker stands in them when the next one is made.
static __attribute__((noinline)) long run(int n, gomem_weak *seen) {
    walker *w = walker_new();
    if (!w) return -1;
    *seen = gomem_weak_make(w);
    GOMEM_STORE(&starting, w);
    for (int i = 0; i < n; i++) swapcontext(&w->caller, &w->here);
    return w->leaf ? *w->leaf : -1;
}

int main(void) {
    static gomem_weak seen[1000];
    long sum = 0;
    int left = 0;
    for (int n = 1; n <= 1000; n++) sum += run(n, &seen[n - 1]);
    printf("1000 walkers, each dropped half way: %ld leaves\n", sum);
    GOMEM_STORE(&starting, NULL);
    gomem_gc();
    for (int n = 0; n < 1000; n++) left += gomem_weak_get(seen[n]) != NULL;
    printf("%s\n", left < 100 ? "nearly all of them are gone" : "they are kept");
}
