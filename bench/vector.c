/* Question: what does a vector cost that grows by realloc?
 *
 * Method: `grow.one`: a vector of 8-byte elements is pushed to 4 million, its room growing by half,
 * and freed; nanoseconds per push, writes included. `grow.many`: 500 vectors pushed in turn to 2000
 * elements each, so that no block is the last one; nanoseconds per push. Medians of BENCH_WINDOWS
 * windows. */
#include "bench.h"
#include "peer.h"

enum { VECTORS = 500 };

typedef struct vector {
    uint64_t *elements;
    size_t used;
    size_t room;
} vector;

static vector vectors[VECTORS];

BENCH_INLINE void vector_push(vector *v, uint64_t element) {
    if (v->used == v->room) {
        v->room += v->room / 2 + 4;
        v->elements = bench_realloc(v->elements, v->room * sizeof *v->elements);
    }
    v->elements[v->used++] = element;
}

static double grow(size_t count, size_t pushes) {
    uint64_t start = bench_now();
    for (size_t i = 0; i < pushes; i++)
        for (size_t v = 0; v < count; v++) vector_push(&vectors[v], i);
    for (size_t v = 0; v < count; v++) {
        bench_free(bench_use(vectors[v].elements));
        vectors[v] = (vector){0};
    }
    return (double)(bench_now() - start) / (double)(count * pushes);
}

int main(void) {
    double one[BENCH_WINDOWS];
    double many[BENCH_WINDOWS];
    for (size_t w = 0; w < BENCH_WINDOWS; w++) {
        one[w] = grow(1, 4000000);
        many[w] = grow(VECTORS, 2000);
    }
    bench_report("one", bench_median(one, BENCH_WINDOWS));
    bench_report("many", bench_median(many, BENCH_WINDOWS));
    return bench_finish(0);
}
