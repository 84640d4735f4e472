/* Question: what does a large zeroed block cost?
 *
 * Method: calloc of 1 MiB, the first word of each 4 KiB read and written, free, one after the other
 * (`reused`); and 64 such blocks alive at once, then all freed (`fresh`). Microseconds per block,
 * medians of BENCH_WINDOWS windows. Who gives memory back at once pays page faults here, who keeps
 * it pays the zeroing. */
#include "bench.h"
#include "peer.h"

enum { SIZE = 1 << 20, ALIVE = 64 };

static uint64_t sum;

static char *block_make(void) {
    char *p = bench_calloc(1, bench_opaque(SIZE));
    for (size_t i = 0; i < SIZE; i += 4096) {
        sum += (unsigned char)p[i];
        p[i] = 1;
    }
    return p;
}

static double reused(size_t n) {
    uint64_t start = bench_now();
    for (size_t i = 0; i < n; i++) bench_free(block_make());
    return (double)(bench_now() - start) / (double)n / 1000;
}

static double alive(void) {
    char *blocks[ALIVE];
    uint64_t start = bench_now();
    for (size_t i = 0; i < ALIVE; i++) blocks[i] = block_make();
    for (size_t i = 0; i < ALIVE; i++) bench_free(blocks[i]);
    return (double)(bench_now() - start) / ALIVE / 1000;
}

int main(void) {
    double one[BENCH_WINDOWS];
    double many[BENCH_WINDOWS];
    for (size_t w = 0; w < BENCH_WINDOWS; w++) {
        one[w] = reused(200);
        many[w] = alive();
    }
    bench_report("one", bench_median(one, BENCH_WINDOWS));
    bench_report("many", bench_median(many, BENCH_WINDOWS));
    return bench_finish(sum);
}
