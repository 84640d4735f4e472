/* Question: what does GOMEM_NEW of 16, 32, 48 and 64 bytes cost, zeroed?
 *
 * Method: three modes, each a process of its own; nanoseconds per object.
 *   mode=0 reused: `bytes` of objects are dropped, gomem_gc() runs outside the clock, and then the
 *          same amount is allocated again, which takes the lazy sweeping with it. The twin takes
 *          the same number of objects from a bare bump pointer in a struct over a buffer of the
 *          same size, after the same gomem_gc(). Both write the first word. `zeroed` is that twin
 *          with a memset per object.
 *   mode=1 fresh: collector off, 16 MiB that were never touched per window; the twin is the bump
 *          pointer over a new anonymous mapping. Page faults are in both.
 *   mode=2 churn: nothing is kept, the collector runs as it likes; this is what new.go measures,
 *          too (and Boehm's collector, when compiled with BENCH_BOEHM). */
#include "bench.h"

#if defined BENCH_BOEHM
#define GC_THREADS
#include <gc/gc.h>
#define NEW(T)           ((T *)GC_MALLOC(sizeof(T)))
#define collect()        GC_gcollect()
#define collector_off()  GC_disable()
#define collector_init() GC_INIT()
#else
#include "gomem.h"
#define NEW(T)           GOMEM_NEW(T)
#define collect()        gomem_gc()
#define collector_off()  gomem_set_gc_percent(GOMEM_GC_OFF)
#define collector_init() (void)0
#endif

enum { ROUNDS = 61, FRESH = 16 << 20 };

// The loops reach it through a pointer in a register, as gomem's code does its cache.
static bench_bump region;

#define SIZE_CLASS(SIZE)                                                           \
    typedef struct object##SIZE {                                                  \
        void *words[SIZE / 8];                                                     \
    } object##SIZE;                                                                \
    BENCH_NOINLINE void new##SIZE(size_t n) {                                      \
        for (size_t i = 0; i < n; i++) {                                           \
            object##SIZE *p = (object##SIZE *)bench_use(NEW(object##SIZE));        \
            p->words[0] = p;                                                       \
        }                                                                          \
    }                                                                              \
    BENCH_NOINLINE void bump##SIZE(size_t n) {                                     \
        bench_bump *b = bench_use(&region);                                        \
        for (size_t i = 0; i < n; i++) {                                           \
            object##SIZE *p = (object##SIZE *)bench_use(bench_bump_take(b, SIZE)); \
            p->words[0] = p;                                                       \
        }                                                                          \
    }                                                                              \
    BENCH_NOINLINE void zeroed##SIZE(size_t n) {                                   \
        bench_bump *b = bench_use(&region);                                        \
        for (size_t i = 0; i < n; i++) {                                           \
            object##SIZE *p = (object##SIZE *)bench_use(bench_bump_take(b, SIZE)); \
            memset(p, 0, SIZE);                                                    \
            bench_use(p);                                                          \
            p->words[0] = p;                                                       \
        }                                                                          \
    }

SIZE_CLASS(16)
SIZE_CLASS(32)
SIZE_CLASS(48)
SIZE_CLASS(64)

typedef void loop(size_t n);

static const struct {
    size_t size;
    loop *fresh;
    loop *bump;
    loop *zeroed;
} classes[] = {
    {16, new16, bump16, zeroed16},
    {32, new32, bump32, zeroed32},
    {48, new48, bump48, zeroed48},
    {64, new64, bump64, zeroed64},
};

static double loop_time(loop *run, size_t n) {
    uint64_t start = bench_now();
    run(n);
    return (double)(bench_now() - start) / (double)n;
}

static void report(const char *what, size_t size, double *windows, size_t n) {
    char name[64];
    snprintf(name, sizeof name, "%s.%zu", what, size);
    bench_report(name, bench_median(windows, n));
}

static double reused_time(loop *run, size_t n, char *buffer, size_t bytes) {
    region = (bench_bump){buffer, buffer + bytes};
    run(n); // what the collection is to free, and the same warmth for all
    collect();
    region = (bench_bump){buffer, buffer + bytes};
    return loop_time(run, n);
}

static void measure_reused(size_t class, size_t bytes) {
    static double fresh[ROUNDS], bare[ROUNDS], zeroed[ROUNDS];
    size_t n = bytes / classes[class].size;
    char *buffer = bench_map(bytes);
    for (size_t r = 0; r < ROUNDS; r++) {
        fresh[r] = reused_time(classes[class].fresh, n, buffer, bytes);
        bare[r] = reused_time(classes[class].bump, n, buffer, bytes);
        zeroed[r] = reused_time(classes[class].zeroed, n, buffer, bytes);
    }
    munmap(buffer, bytes);
    report("new", classes[class].size, fresh, ROUNDS);
    report("bump", classes[class].size, bare, ROUNDS);
    report("zeroed", classes[class].size, zeroed, ROUNDS);
}

static void measure_fresh(size_t class) {
    double fresh[BENCH_WINDOWS], bare[BENCH_WINDOWS];
    size_t n = FRESH / classes[class].size;
    for (size_t w = 0; w < BENCH_WINDOWS; w++) {
        fresh[w] = loop_time(classes[class].fresh, n);
        char *buffer = bench_map(FRESH);
        region = (bench_bump){buffer, buffer + FRESH};
        bare[w] = loop_time(classes[class].bump, n);
        munmap(buffer, FRESH);
    }
    report("new", classes[class].size, fresh, BENCH_WINDOWS);
    report("bump", classes[class].size, bare, BENCH_WINDOWS);
}

static void measure_churn(size_t class, size_t n) {
    double windows[BENCH_WINDOWS];
    classes[class].fresh(n / 10);
    for (size_t w = 0; w < BENCH_WINDOWS; w++) windows[w] = loop_time(classes[class].fresh, n);
    report("new", classes[class].size, windows, BENCH_WINDOWS);
}

int main(int argc, char **argv) {
    long mode = bench_option(argc, argv, "mode", 0);
    size_t bytes = (size_t)bench_option(argc, argv, "bytes", 256 << 10);
    size_t churn = (size_t)bench_option(argc, argv, "churn", 2000000);
    collector_init();
    if (mode == 1) collector_off();
    for (size_t c = 0; c < sizeof classes / sizeof *classes; c++) {
        if (mode == 0) measure_reused(c, bytes);
        if (mode == 1) measure_fresh(c);
        if (mode == 2) measure_churn(c, churn);
    }
    return bench_finish(0);
}
