/* A histogram of times in nanoseconds: 32 buckets per power of two (3 % wide), the worst exact. It
 * is one array, so that adding allocates nothing and costs a few instructions. latency.go holds the
 * same buckets for Go. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include "bench.h"

enum { HISTOGRAM_BITS = 5, HISTOGRAM_STEP = 1 << HISTOGRAM_BITS, HISTOGRAM_BUCKETS = 60 * 32 };

typedef struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t total;
    uint64_t worst; // ns
} histogram;

// Times below 64 ns have a bucket each; above, the top 6 bits choose it.
BENCH_INLINE size_t histogram_bucket(uint64_t ns) {
    if (ns < HISTOGRAM_STEP) return (size_t)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_BITS;
    return (size_t)shift * HISTOGRAM_STEP + (size_t)(ns >> shift);
}

// The longest time that falls into a bucket.
BENCH_HELPER uint64_t histogram_edge(size_t bucket) {
    if (bucket < 2 * HISTOGRAM_STEP) return bucket;
    unsigned shift = (unsigned)(bucket / HISTOGRAM_STEP) - 1;
    return ((uint64_t)(bucket - (size_t)shift * HISTOGRAM_STEP + 1) << shift) - 1;
}

BENCH_INLINE void histogram_add(histogram *h, uint64_t ns) {
    h->counts[histogram_bucket(ns)]++;
    h->total++;
    if (ns > h->worst) h->worst = ns;
}

BENCH_HELPER void histogram_merge(histogram *into, const histogram *from) {
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) into->counts[i] += from->counts[i];
    into->total += from->total;
    if (from->worst > into->worst) into->worst = from->worst;
}

// So many of a thousand are not longer than this: the upper edge of a bucket, so never too short.
BENCH_HELPER uint64_t histogram_quantile(const histogram *h, unsigned per_mille) {
    uint64_t rank = (h->total * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen >= rank && seen > 0) {
            uint64_t edge = histogram_edge(i);
            return edge < h->worst ? edge : h->worst;
        }
    }
    return h->worst;
}

// NAME.p50, .p99, .p999, .worst in microseconds and NAME.count; nothing when nothing was added.
BENCH_HELPER void histogram_report(const histogram *h, const char *name) {
    static const struct {
        const char *name;
        unsigned per_mille;
    } quantiles[] = {{"p50", 500}, {"p99", 990}, {"p999", 999}, {"worst", 1000}};
    char metric[64];
    if (h->total == 0) return;
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        snprintf(metric, sizeof metric, "%s.%s", name, quantiles[i].name);
        bench_report(metric, (double)histogram_quantile(h, quantiles[i].per_mille) / 1000);
    }
    snprintf(metric, sizeof metric, "%s.count", name);
    bench_report(metric, (double)h->total);
}

#endif
