/* What the questions about gomem's cycles share: a live heap of plain objects, cycles one after the
 * other, and the library's own account of its stops. The collector is the environment's choice
 * (GOMEM_DEBUG=collector=tracked|barrier|stw), so every store of a collected pointer goes through
 * GOMEM_STORE. */
#ifndef BENCH_CYCLES_H
#define BENCH_CYCLES_H

#include "histogram.h" // first: its system headers want to know what is used of them

#include "gomem.h"

// One thread at a time: the struct is large, and shared.
BENCH_HELPER const gomem_memstats *cycles_stats(void) {
    static gomem_memstats stats;
    stats.size = sizeof stats;
    gomem_read_memstats(&stats);
    return &stats;
}

// 1 tracked, 2 barrier, 3 stopped: what the library has chosen, whatever was asked for. Known once
// something collected was allocated.
BENCH_HELPER void cycles_report_collector(void) {
    bench_report("collector", (double)cycles_stats()->collector);
}

BENCH_HELPER uint64_t cycles_count(void) { return cycles_stats()->num_gc; }

// Nanoseconds that the program waited in the stop of cycle n, which is one of the last 256.
BENCH_HELPER uint64_t cycles_pause(const gomem_memstats *stats, uint64_t n) {
    return stats->pause_ns[n % 256];
}

// Nanoseconds that cycle n needed to gather the threads. There is no field for it alone: the stop
// is an upper bound.
BENCH_HELPER uint64_t cycles_gather(const gomem_memstats *stats, uint64_t n) {
    return cycles_pause(stats, n);
}

// Adds what is known of the cycles from `since` on to both histograms (NULL: not asked for), and
// returns how many there have been. Call it at least every 256 cycles to miss none.
BENCH_HELPER uint64_t cycles_collect(uint64_t since, histogram *pauses, histogram *gathers) {
    const gomem_memstats *stats = cycles_stats();
    uint64_t n = since;
    if (stats->num_gc > 256 && n < stats->num_gc - 256) n = stats->num_gc - 256;
    for (; n < stats->num_gc; n++) {
        if (pauses) histogram_add(pauses, cycles_pause(stats, n));
        if (gathers) histogram_add(gathers, cycles_gather(stats, n));
    }
    return stats->num_gc;
}

// Cycles one after the other for so long, at least one.
BENCH_HELPER void cycles_run(double seconds, histogram *times, histogram *pauses) {
    uint64_t start = bench_now();
    uint64_t since = cycles_count();
    do {
        uint64_t begin = bench_now();
        gomem_gc();
        histogram_add(times, bench_now() - begin);
        since = cycles_collect(since, pauses, NULL);
    } while ((double)(bench_now() - start) < seconds * 1e9);
}

// ---- a live heap ----

// `count` objects of `words` words, all reachable from one table; the first two words of each point
// to others, the rest is zero and scanned.
typedef struct live_heap {
    uintptr_t **objects;
    size_t count;
    size_t words;
} live_heap;

static live_heap live;

// Makes object i point to another one. Any number of threads, each with its own seed.
BENCH_INLINE void live_rewire(uint64_t *seed, size_t i) {
    uintptr_t *other = live.objects[bench_below(seed, live.count)];
    GOMEM_STORE(&live.objects[i][bench_random(seed) & 1], (uintptr_t)other);
}

BENCH_HELPER void live_build(size_t bytes, size_t object) {
    uint64_t seed = 1;
    live.count = bytes / object;
    live.words = object / sizeof(uintptr_t);
    GOMEM_STORE(&live.objects, (uintptr_t **)gomem_new(live.count * sizeof *live.objects));
    if (!live.objects) exit(1);
    for (size_t i = 0; i < live.count; i++) {
        uintptr_t *made = gomem_new(object);
        if (!made) exit(1);
        GOMEM_STORE(&live.objects[i], made);
    }
    for (size_t i = 0; i < live.count; i++) {
        live_rewire(&seed, i);
        GOMEM_STORE(&live.objects[i][2], (uintptr_t)live.objects[i]);
    }
}

// Whether each object still points to itself; the number of objects for bench_finish.
BENCH_HELPER uint64_t live_check(void) {
    for (size_t i = 0; i < live.count; i++) {
        if (live.objects[i][2] == (uintptr_t)live.objects[i]) continue;
        fprintf(stderr, "object %zu of %zu is lost\n", i, live.count);
        exit(1);
    }
    return live.count;
}

#endif
