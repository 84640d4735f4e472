/* Question: what does a large zeroed block cost?
 *
 * Method: mode=0: calloc of 1 MiB, the first word of each 4 KiB read and written, free, one after
 * the other (`one`); and 64 such blocks alive at once, then all freed (`many`). mode=1: one block of
 * 64 MiB that is left alone (`huge`), in a process that does nothing else; mode=2: the same, and its
 * pages are read and written (`huge.written`). Microseconds per block, medians of BENCH_WINDOWS
 * windows. An allocator that gives memory back at once pays page faults here, one that keeps it pays
 * the zeroing.
 */
#include "bench.h"
#include "peer.h"

enum { SIZE = 1 << 20, ALIVE = 64, HUGE = 64 << 20, HUGE_ROUNDS = 4 };

static uint64_t sum;

static char *block_make(size_t size, size_t written) {
    char *p = bench_calloc(1, bench_opaque(size));
    for (size_t i = 0; i < written; i += 4096) {
        sum += (unsigned char)p[i];
        p[i] = 1;
    }
    return p;
}

static double reused(size_t n, size_t size, size_t written) {
    uint64_t start = bench_now();
    for (size_t i = 0; i < n; i++) bench_free(bench_use(block_make(size, written)));
    return (double)(bench_now() - start) / (double)n / 1000;
}

static double alive(void) {
    char *blocks[ALIVE];
    uint64_t start = bench_now();
    for (size_t i = 0; i < ALIVE; i++) blocks[i] = block_make(SIZE, SIZE);
    for (size_t i = 0; i < ALIVE; i++) bench_free(blocks[i]);
    return (double)(bench_now() - start) / ALIVE / 1000;
}

static void report(const char *name, double *windows) {
    bench_report(name, bench_median(windows, BENCH_WINDOWS));
}

int main(int argc, char **argv) {
    long mode = bench_option(argc, argv, "mode", 0);
    double one[BENCH_WINDOWS], many[BENCH_WINDOWS];
    for (size_t w = 0; w < BENCH_WINDOWS; w++) {
        if (mode == 0) {
            one[w] = reused(200, SIZE, SIZE);
            many[w] = alive();
        } else {
            one[w] = reused(HUGE_ROUNDS, HUGE, mode == 2 ? HUGE : 0);
        }
    }
    report(mode == 0 ? "one" : mode == 1 ? "huge" : "huge.written", one);
    if (mode == 0) report("many", many);
    return bench_finish(sum);
}
