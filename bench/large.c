/* Question: blocks of many megabytes that come and go. `alive` blocks of 5 to 25 MiB, each written
 * as a whole when it is allocated; one chosen at random is replaced, `rounds` times.
 *
 * mode=0: that, for the time of the whole process. mode=1: nothing is written, and one block of
 * 800 MB is allocated and freed: `untouched`, microseconds a pair, the median of BENCH_WINDOWS
 * windows. */
#include "bench.h"
#include "peer.h"

enum { ALIVE_MAX = 64, MIB = 1 << 20, PAIRS = 20 };

static uint64_t replace_at_random(size_t alive, size_t rounds) {
    unsigned char *blocks[ALIVE_MAX] = {NULL};
    uint64_t seed = 7, check = 0;
    for (size_t r = 0; r < rounds; r++) {
        size_t i = bench_below(&seed, alive), size = 5 * MIB + bench_below(&seed, 20 * MIB);
        if (blocks[i]) check += blocks[i][0];
        bench_free(blocks[i]);
        blocks[i] = bench_malloc(size);
        memset(blocks[i], (int)(r & 255), size);
    }
    for (size_t i = 0; i < alive; i++) bench_free(blocks[i]);
    return check;
}

static double untouched(size_t size) {
    double windows[BENCH_WINDOWS];
    for (size_t w = 0; w < BENCH_WINDOWS; w++) {
        uint64_t start = bench_now();
        for (size_t i = 0; i < PAIRS; i++) bench_free(bench_use(bench_malloc(bench_opaque(size))));
        windows[w] = (double)(bench_now() - start) / PAIRS / 1000;
    }
    return bench_median(windows, BENCH_WINDOWS);
}

int main(int argc, char **argv) {
    size_t alive = (size_t)bench_option(argc, argv, "alive", 20);
    size_t rounds = (size_t)bench_option(argc, argv, "rounds", 400);
    if (alive > ALIVE_MAX) return 1;
    if (bench_option(argc, argv, "mode", 0) == 0)
        return bench_finish(replace_at_random(alive, rounds));
    bench_report("untouched", untouched((size_t)800 * 1000 * 1000));
    return bench_finish(0);
}
