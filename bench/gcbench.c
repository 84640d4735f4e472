/* Question: how does a mix of what programs do compare with another conservative collector: many
 * short-lived trees, one tree and one large array that live long, in several threads?
 *
 * The shape is that of the well-known GCBench. Each of `threads` threads has a long-lived tree of
 * `depth` levels and half a million doubles without pointers; then it makes trees of 4, 6, …
 * levels, as many of each as give the same number of nodes in all, half of them from the root down
 * (so that old objects come to point to new ones), half from the leaves up. The whole program is timed.
 * BENCH_GOMEM: GOMEM_NEW, default settings; else GC_MALLOC. */
#include "bench.h"

#if defined BENCH_GOMEM
#include "gomem.h"
#define NEW(T)                        GOMEM_NEW(T)
#define MAKE_NOSCAN(T, n)             GOMEM_MAKE_NOSCAN(T, n)
#define put(slot, value)              GOMEM_STORE(slot, value)
#define heap_init()                   (void)0
#define thread_start(thread, fn, arg) gomem_thread_create(thread, NULL, fn, arg)
#else
#define GC_THREADS
#include <gc/gc.h>
#define NEW(T)                        ((T *)GC_MALLOC(sizeof(T)))
#define MAKE_NOSCAN(T, n)             ((T *)GC_MALLOC_ATOMIC((n) * sizeof(T)))
#define put(slot, value)              (*(slot) = (value))
#define heap_init()                   GC_INIT()
#define thread_start(thread, fn, arg) pthread_create(thread, NULL, fn, arg)
#endif

enum { DOUBLES = 500000, SHORTEST = 4, THREADS_MAX = 64 };

typedef struct node {
    struct node *left;
    struct node *right;
    int i;
    int j;
} node;

static int longest;

static node *from_leaves(int levels) {
    node *left = levels > 1 ? from_leaves(levels - 1) : NULL;
    node *right = levels > 1 ? from_leaves(levels - 1) : NULL;
    node *t = NEW(node);
    put(&t->left, left);
    put(&t->right, right);
    return t;
}

static void from_root(node *t, int levels) {
    if (levels <= 1) return;
    put(&t->left, NEW(node));
    put(&t->right, NEW(node));
    from_root(t->left, levels - 1);
    from_root(t->right, levels - 1);
}

static uint64_t tree_count(const node *t) {
    return t ? 1 + tree_count(t->left) + tree_count(t->right) : 0;
}

static uint64_t trees_once(int levels) {
    node *down = NEW(node);
    from_root(down, levels);
    return tree_count(down) + tree_count(from_leaves(levels));
}

static void *work(void *arg) {
    uint64_t *count = arg;
    node *kept = NEW(node);
    from_root(kept, longest);
    double *array = MAKE_NOSCAN(double, DOUBLES);
    for (size_t i = 0; i < DOUBLES; i++) array[i] = 1.0 / (double)(i + 1);
    for (int levels = SHORTEST; levels <= longest; levels += 2) {
        size_t trees = (size_t)1 << (longest + 5 - levels);
        for (size_t i = 0; i < trees; i++) *count += trees_once(levels);
    }
    *count += tree_count(kept) + (uint64_t)(array[999] * 1e6);
    return NULL;
}

int main(int argc, char **argv) {
    static pthread_t started[THREADS_MAX];
    static uint64_t counts[THREADS_MAX];
    size_t threads = (size_t)bench_option(argc, argv, "threads", 2);
    uint64_t check = 0;
    longest = (int)bench_option(argc, argv, "depth", 16);
    if (threads < 1 || threads > THREADS_MAX || longest < SHORTEST || longest > 30) return 2;
    heap_init();
    for (size_t i = 0; i < threads; i++)
        if (thread_start(&started[i], work, &counts[i]) != 0) return 1;
    for (size_t i = 0; i < threads; i++) {
        pthread_join(started[i], NULL);
        check += counts[i];
    }
    return bench_finish(check);
}
