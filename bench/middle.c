/* Question: what do blocks cost that are more than small ones, and aligned ones?
 *
 * Method: malloc and the free right after it, of 64 KiB, 256 KiB and 1 MiB (`pair.N`, ns); 64 bytes
 * at a multiple of 64, 4 KiB at a multiple of 4096 (`aligned.N`); 1000 blocks of 4 and of 16 KiB
 * allocated, then freed (`batch.N`, ns per block); 100,000 of 64 bytes, likewise (`crowd`, in order,
 * and `crowd.random`). Nothing but the allocator's own work: blocks are not written. Medians of
 * BENCH_WINDOWS windows. */
#include "bench.h"
#include "peer.h"

#if defined BENCH_GOMEM
#define aligned_block(to, size) gomem_aligned_alloc((to), (size))
#elif defined BENCH_MIMALLOC
#define aligned_block(to, size) mi_malloc_aligned((size), (to))
#elif defined BENCH_TCMALLOC
#define aligned_block(to, size) tc_memalign((to), (size))
#else
#define aligned_block(to, size) aligned_alloc((to), (size))
#endif

enum { BATCH = 1000, CROWD = 100000 };

static void *blocks[CROWD];
static size_t order[2][CROWD];
static size_t pairs;

BENCH_NOINLINE double pair_time(size_t size) {
    uint64_t start = bench_now();
    for (size_t i = 0; i < pairs; i++) bench_free(bench_use(bench_malloc(bench_opaque(size))));
    return (double)(bench_now() - start) / (double)pairs;
}

BENCH_NOINLINE double aligned_time(size_t size) {
    uint64_t start = bench_now();
    for (size_t i = 0; i < pairs; i++)
        bench_free(bench_use(aligned_block(bench_opaque(size), bench_opaque(size))));
    return (double)(bench_now() - start) / (double)pairs;
}

static double batch_time(size_t size, size_t count, const size_t *free_order) {
    uint64_t start = bench_now();
    for (size_t i = 0; i < count; i++) blocks[i] = bench_use(bench_malloc(bench_opaque(size)));
    for (size_t i = 0; i < count; i++) bench_free(blocks[free_order[i]]);
    return (double)(bench_now() - start) / (double)count;
}

static void report(const char *name, double *windows) {
    bench_report(name, bench_median(windows, BENCH_WINDOWS));
}

// The first window is not counted.
#define MEDIAN(NAME, TIME)                                            \
    do {                                                              \
        double windows[BENCH_WINDOWS];                                \
        (void)(TIME);                                                 \
        for (size_t w = 0; w < BENCH_WINDOWS; w++) windows[w] = TIME; \
        report(NAME, windows);                                        \
    } while (0)

int main(int argc, char **argv) {
    pairs = (size_t)bench_option(argc, argv, "pairs", 100000);
    for (size_t i = 0; i < CROWD; i++) order[0][i] = i;
    bench_shuffle(order[1], CROWD, 42);
    MEDIAN("pair.64", pair_time(64 << 10));
    MEDIAN("pair.256", pair_time(256 << 10));
    MEDIAN("pair.1024", pair_time(1 << 20));
    MEDIAN("aligned.64", aligned_time(64));
    MEDIAN("aligned.4096", aligned_time(4096));
    MEDIAN("batch.4", batch_time(4 << 10, BATCH, order[0]));
    MEDIAN("batch.16", batch_time(16 << 10, BATCH, order[0]));
    MEDIAN("crowd", batch_time(64, CROWD, order[0]));
    MEDIAN("crowd.random", batch_time(64, CROWD, order[1]));
    return bench_finish(0);
}
