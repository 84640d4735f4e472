// barrier: the collector with a write barrier, for programs that write all over a large heap.
//
// With GOMEM_GC_BARRIER the program tells the collector of each pointer it stores into the heap, a
// global variable or a registered root: by GOMEM_STORE, the first store into a new object included, and
// by gomem_memmove where several pointers are copied at once. Local variables need nothing. The macros
// are plain stores under the other collectors, so one source runs with each.
//
// It prints:
//     200000 nodes were moved about beside the collector: all 1000 are in place

#include "gomem.h"
#include <stdio.h>

typedef struct node {
    struct node *left, *right;
    long number;
} node;

enum { N = 1000 };
static node *table[N]; // in no order

static node *make(long number, node *left, node *right) {
    node *n = GOMEM_NEW(node);
    if (!n) return NULL;
    n->number = number; // no pointer: a plain store
    GOMEM_STORE(&n->left, left);
    GOMEM_STORE(&n->right, right);
    return n;
}

int main(void) {
    gomem_options options = {.collector = GOMEM_GC_BARRIER, .gc_percent = 20};
    if (!gomem_init(&options)) return 1;
    for (long i = 0; i < N; i++) GOMEM_STORE(&table[i], make(i, NULL, NULL));

    unsigned random = 1;
    for (int round = 0; round < 200000; round++) {
        random = random * 1103515245 + 12345;
        unsigned a = random >> 8 & 255, b = a + 300;
        node *old = table[a];
        if (!old) return 1;
        node *copy = make(old->number, old->left, old->right); // old is garbage
        GOMEM_STORE(&table[a], table[b]);                      // two change places
        GOMEM_STORE(&table[b], copy);
        if (round % 1000 == 0) { // and all go one to the left
            node *first = table[0];
            gomem_memmove(&table[0], &table[1], (N - 1) * sizeof table[0]);
            GOMEM_STORE(&table[N - 1], first);
        }
    }
    char found[N] = {0};
    int count = 0;
    for (int i = 0; i < N; i++)
        if (table[i] && !found[table[i]->number]++) count++;
    printf("200000 nodes were moved about beside the collector: %s%d are in place\n",
           count == N ? "all " : "only ", count);
}
