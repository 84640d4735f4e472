/* Question: does memory that holds no pointers cost a cycle anything?
 *
 * Method: `scanned` MB of objects of 512 bytes are made; the median of `cycles` cycles with nothing
 * else to do is `small` (ms). Then `noscan` MB of objects of `object` KB that hold no pointers come
 * to it, all reachable and written to; the median of as many cycles is `large`, and `ratio` is
 * large / small. Sweeping and the first cycle after the allocation are not in it. */
#include "cycles.h"

enum { CYCLES_MAX = 99 };

static void **kept;

static double cycles_median(size_t cycles) {
    double times[CYCLES_MAX];
    gomem_gc();
    for (size_t i = 0; i < cycles; i++) {
        uint64_t start = bench_now();
        gomem_gc();
        times[i] = (double)(bench_now() - start) / 1e6;
    }
    return bench_median(times, cycles);
}

static void noscan_build(size_t count, size_t object) {
    GOMEM_STORE(&kept, (void **)gomem_new(count * sizeof *kept));
    if (!kept) exit(1);
    for (size_t i = 0; i < count; i++) {
        char *made = gomem_new_noscan(object);
        if (!made) exit(1);
        for (size_t at = 0; at < object; at += 4096) made[at] = 1;
        GOMEM_STORE(&kept[i], (void *)made);
    }
}

int main(int argc, char **argv) {
    size_t cycles = (size_t)bench_option(argc, argv, "cycles", 7);
    size_t noscan = (size_t)bench_option(argc, argv, "noscan", 16 << 10) << 20;
    size_t object = (size_t)bench_option(argc, argv, "object", 64) << 10;
    if (cycles < 1 || cycles > CYCLES_MAX) return 2;
    live_build((size_t)bench_option(argc, argv, "scanned", 2 << 10) << 20, 512);
    double small = cycles_median(cycles);
    noscan_build(noscan / object, object);
    double large = cycles_median(cycles);
    cycles_report_collector();
    bench_report("small", small);
    bench_report("large", large);
    bench_report("ratio", large / small);
    return bench_finish(live_check());
}
