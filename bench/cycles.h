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

// Adds the stops of each cycle from `since` on, taken together, and returns how many cycles there
// have been. Call it at least every 256 cycles to miss none.
BENCH_HELPER uint64_t cycles_collect(uint64_t since, histogram *pauses) {
    const gomem_memstats *stats = cycles_stats();
    uint64_t n = since;
    if (stats->num_gc > 256 && n < stats->num_gc - 256) n = stats->num_gc - 256;
    for (; n < stats->num_gc; n++) histogram_add(pauses, stats->pause_ns[n % 256]);
    return stats->num_gc;
}

// Single stops, the last 256 of them, in microseconds.
BENCH_HELPER void cycles_report_stops(void) {
    const gomem_memstats *stats = cycles_stats();
    bench_report("stop.p50", (double)stats->pause_p50_ns / 1000);
    bench_report("stop.p99", (double)stats->pause_p99_ns / 1000);
    bench_report("stop.worst", (double)stats->pause_max_ns / 1000);
}

// What the stops are made of, p99.9 in microseconds: until all threads stand; marking; waiting for
// other threads that mark.
BENCH_HELPER void cycles_report_gathering(void) {
    const gomem_memstats *stats = cycles_stats();
    bench_report("gather.p999", (double)stats->gather_p999_ns / 1000);
    bench_report("mark.p999", (double)stats->mark_p999_ns / 1000);
    bench_report("wait.p999", (double)stats->wait_p999_ns / 1000);
}

// No cycles while a heap is built, so that what is known of stops is of the time after it; and one
// when it is, from which the pacer knows how large it is.
BENCH_HELPER int cycles_hold(void) { return gomem_set_gc_percent(GOMEM_GC_OFF); }

BENCH_HELPER void cycles_release(int percent) {
    gomem_set_gc_percent(percent);
    gomem_gc();
}

// Cycles one after the other for so long, at least one.
BENCH_HELPER void cycles_run(double seconds, histogram *times, histogram *pauses) {
    uint64_t start = bench_now();
    uint64_t since = cycles_count();
    do {
        uint64_t begin = bench_now();
        gomem_gc();
        histogram_add(times, bench_now() - begin);
        since = cycles_collect(since, pauses);
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
    int percent = cycles_hold();
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
    cycles_release(percent);
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
