/* Question: binary-trees, the usual test of allocation with many short-lived trees beside one that
 * lives long: how far is the collected heap (no free at all, default settings) from malloc and free
 * by hand, and from other collectors?
 *
 * The whole program is timed. BENCH_GOMEM: GOMEM_NEW; BENCH_BOEHM: GC_MALLOC; else malloc and free
 * of peer.h. One thread; `depth` 20 by default. The check value is the number of nodes visited. */
#include "bench.h"

typedef struct node {
    struct node *left;
    struct node *right;
} node;

#include "tree.h"

static node *tree_make(int depth) {
    node *t = node_new();
    t->left = depth > 0 ? tree_make(depth - 1) : NULL;
    t->right = depth > 0 ? tree_make(depth - 1) : NULL;
    return t;
}

static uint64_t tree_check(const node *t) {
    return t->left ? 1 + tree_check(t->left) + tree_check(t->right) : 1;
}

static uint64_t tree_once(int depth) {
    node *t = tree_make(depth);
    uint64_t nodes = tree_check(t);
    tree_free(t);
    return nodes;
}

static void collector_init(void) {
#if defined BENCH_BOEHM
    GC_INIT();
#endif
}

int main(int argc, char **argv) {
    int depth = (int)bench_option(argc, argv, "depth", 20);
    collector_init();
    uint64_t check = tree_once(depth + 1);
    node *kept = tree_make(depth);
    for (int d = 4; d <= depth; d += 2) {
        size_t trees = (size_t)1 << (depth - d + 4);
        for (size_t i = 0; i < trees; i++) check += tree_once(d);
    }
    check += tree_check(kept);
    tree_free(kept);
    return bench_finish(check);
}
