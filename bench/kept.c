/* Question: how much that is dead does a conservative collector keep?
 *
 * Method: the shape of GCBench in one thread: a tree of `depth` + 2 levels is built and dropped; a tree
 * of `depth` levels and an array of half a million doubles stay, while trees of 4, 6, … levels come
 * and go. Then a cycle: `live`, MB that it found alive.
 * BENCH_GOMEM: GOMEM_NEW, default settings; else GC_MALLOC. */
#include "bench.h"

#if defined BENCH_GOMEM
#include "cycles.h"
#define NEW(T)            GOMEM_NEW(T)
#define MAKE_NOSCAN(T, n) GOMEM_MAKE_NOSCAN(T, n)
#define put(slot, value)  GOMEM_STORE(slot, value)
#define heap_init()       (void)0
#define collect()         gomem_gc()
BENCH_HELPER double heap_live(void) { return (double)cycles_stats()->heap_alloc; }
#else
#include <gc/gc.h>
#define NEW(T)            ((T *)GC_MALLOC(sizeof(T)))
#define MAKE_NOSCAN(T, n) ((T *)GC_MALLOC_ATOMIC((n) * sizeof(T)))
#define put(slot, value)  (*(slot) = (value))
#define heap_init()       GC_INIT()
#define collect()         GC_gcollect()
BENCH_HELPER double heap_live(void) { return (double)(GC_get_heap_size() - GC_get_free_bytes()); }
#endif

enum { DOUBLES = 500000, SHORTEST = 4 };

typedef struct node {
    struct node *left, *right;
    int i, j;
} node;

static node *tree(int levels) {
    node *left = levels > 1 ? tree(levels - 1) : NULL;
    node *right = levels > 1 ? tree(levels - 1) : NULL;
    node *t = NEW(node);
    put(&t->left, left);
    put(&t->right, right);
    return t;
}

static uint64_t tree_count(const node *t) {
    return t ? 1 + tree_count(t->left) + tree_count(t->right) : 0;
}

BENCH_NOINLINE uint64_t come_and_go(int depth) {
    uint64_t count = tree_count(tree(depth + 2));
    for (int levels = SHORTEST; levels <= depth; levels += 2)
        for (int i = 0; i < 1 << (depth + 2 - levels); i++) count += tree_count(tree(levels));
    return count;
}

int main(int argc, char **argv) {
    int depth = (int)bench_option(argc, argv, "depth", 16);
    heap_init();
    node *kept = tree(depth);
    double *array = MAKE_NOSCAN(double, DOUBLES);
    for (size_t i = 0; i < DOUBLES; i++) array[i] = 1.0 / (double)(i + 1);
    uint64_t check = come_and_go(depth);
    collect();
    bench_report("live", heap_live() / (1 << 20));
    return bench_finish(check + tree_count(kept) + (uint64_t)(array[999] * 1e6));
}
