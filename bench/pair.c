/* Question: what does one malloc and the free right after it cost, 64 bytes, always the same class?
 *
 * Method: a loop of pairs; an empty asm takes the pointer in between, so the compiler can neither
 * drop the pair nor keep the allocator's memory in registers. Once with a size the compiler knows
 * (typed: the macros, and whatever entry points a peer has for that), once with a size it does not
 * know. 100 objects of the class stay alive meanwhile, since some allocators take a slow path
 * whenever the last object of a page goes. BENCH_WINDOWS windows of `pairs` pairs; the median
 * window is reported, in nanoseconds per pair. */
#include "bench.h"
#include "peer.h"

typedef struct object {
    uint64_t words[8];
} object;

enum { NEIGHBOURS = 100 };

static object *neighbours[NEIGHBOURS];

BENCH_NOINLINE void typed_pairs(size_t pairs) {
    for (size_t i = 0; i < pairs; i++) {
        object *p = (object *)bench_use(BENCH_MALLOC(object));
        BENCH_FREE(object, p);
    }
}

BENCH_NOINLINE void untyped_pairs(size_t pairs, size_t size) {
    for (size_t i = 0; i < pairs; i++) bench_free(bench_use(bench_malloc(bench_opaque(size))));
}

int main(int argc, char **argv) {
    size_t pairs = (size_t)bench_option(argc, argv, "pairs", 3000000);
    double typed[BENCH_WINDOWS];
    double untyped[BENCH_WINDOWS];
    for (size_t i = 0; i < NEIGHBOURS; i++) neighbours[i] = BENCH_MALLOC(object);
    typed_pairs(pairs / 10 + 1);
    untyped_pairs(pairs / 10 + 1, sizeof(object));
    for (size_t w = 0; w < BENCH_WINDOWS; w++) {
        uint64_t start = bench_now();
        typed_pairs(pairs);
        uint64_t middle = bench_now();
        untyped_pairs(pairs, sizeof(object));
        typed[w] = (double)(middle - start) / (double)pairs;
        untyped[w] = (double)(bench_now() - middle) / (double)pairs;
    }
    bench_report("typed", bench_median(typed, BENCH_WINDOWS));
    bench_report("untyped", bench_median(untyped, BENCH_WINDOWS));
    for (size_t i = 0; i < NEIGHBOURS; i++) BENCH_FREE(object, neighbours[i]);
    return bench_finish(0);
}
