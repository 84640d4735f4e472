// Nodes and trees of the heap under test, for programs whose type `node` has `left` and `right`:
// node_new(), and tree_free(t), which is nothing where a collector frees.
#ifndef BENCH_TREE_H
#define BENCH_TREE_H

#if defined BENCH_GOMEM
#include "gomem.h"
#define node_new()   GOMEM_NEW(node)
#define tree_free(t) (void)(t)
#elif defined BENCH_BOEHM
#define GC_THREADS
#include <gc/gc.h>
#define node_new()   ((node *)GC_MALLOC(sizeof(node)))
#define tree_free(t) (void)(t)
#else
#include "peer.h"
#define node_new() BENCH_MALLOC(node)
static void tree_free(node *t) {
    if (t->left) {
        tree_free(t->left);
        tree_free(t->right);
    }
    BENCH_FREE(node, t);
}
#endif

#endif
