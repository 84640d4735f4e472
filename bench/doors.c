/* Question: what do the less travelled ways through pools, arenas and figures cost?
 *
 * Method: the median of BENCH_WINDOWS windows, nanoseconds.
 *   first, later       get and put of a program's first pool and of its 200th
 *   zeroed_N, uninit_N an object of N bytes from an arena, zeroed and GOMEM_UNINIT
 *   getter             gomem_heap_size, gomem_heap_free and gomem_total_alloc, each
 *   scratch            MB resident more than before, a hundred small rounds after one of 500 MB */
#include "bench.h"

#include "gomem.h"

typedef struct object {
    uint64_t words[8];
} object;

GOMEM_POOL(first, object);
GOMEM_POOL(later, object);

enum { POOLS = 200, PAIRS = 2000000, OBJECTS = 1000, ROUNDS = 400 };

#define MEDIAN(times, n, loop)                                   \
    do {                                                         \
        double windows_[BENCH_WINDOWS];                          \
        for (int w_ = 0; w_ < BENCH_WINDOWS; w_++) {             \
            uint64_t start_ = bench_now();                       \
            loop;                                                \
            windows_[w_] = (double)(bench_now() - start_) / (n); \
        }                                                        \
        *(times) = bench_median(windows_, BENCH_WINDOWS);        \
    } while (0)

BENCH_NOINLINE void first_run(void) {
    for (int i = 0; i < PAIRS; i++) first_put(bench_use(first_get()));
}

BENCH_NOINLINE void later_run(void) {
    for (int i = 0; i < PAIRS; i++) later_put(bench_use(later_get()));
}

// The pool `later` is the program's 200th: pools get their places when they are first used.
static void pools(void) {
    static gomem_pool *others[POOLS];
    double time;
    first_run();
    for (int i = 2; i < POOLS; i++) {
        others[i] = gomem_pool_new(&(gomem_pool_options){.size = sizeof(object)});
        if (!others[i]) exit(1);
        gomem_pool_put(others[i], gomem_pool_get(others[i]));
    }
    later_run();
    MEDIAN(&time, PAIRS, first_run());
    bench_report("first", time);
    MEDIAN(&time, PAIRS, later_run());
    bench_report("later", time);
}

static gomem_arena arena;

#define BOTH(n)                                                                              \
    BENCH_NOINLINE void zeroed_##n(void) {                                                   \
        for (int i = 0; i < ROUNDS; i++) {                                                   \
            for (int k = 0; k < OBJECTS; k++) (void)bench_use(gomem_arena_alloc(&arena, n)); \
            gomem_arena_reset(&arena);                                                       \
        }                                                                                    \
    }                                                                                        \
    BENCH_NOINLINE void uninit_##n(void) {                                                   \
        for (int i = 0; i < ROUNDS; i++) {                                                   \
            for (int k = 0; k < OBJECTS; k++)                                                \
                (void)bench_use(gomem_arena_alloc_with(&arena, n, 16, GOMEM_UNINIT));        \
            gomem_arena_reset(&arena);                                                       \
        }                                                                                    \
    }
BOTH(16)
BOTH(64)
BOTH(256)
BOTH(1024)

static void arenas(void) {
    static const struct {
        const char *zeroed, *uninit;
        void (*zero)(void), (*dirty)(void);
    } sizes[] = {{"zeroed_16", "uninit_16", zeroed_16, uninit_16},
                 {"zeroed_64", "uninit_64", zeroed_64, uninit_64},
                 {"zeroed_256", "uninit_256", zeroed_256, uninit_256},
                 {"zeroed_1024", "uninit_1024", zeroed_1024, uninit_1024}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double time;
        sizes[i].zero();
        MEDIAN(&time, (double)ROUNDS * OBJECTS, sizes[i].zero());
        bench_report(sizes[i].zeroed, time);
        MEDIAN(&time, (double)ROUNDS * OBJECTS, sizes[i].dirty());
        bench_report(sizes[i].uninit, time);
    }
    gomem_arena_free(&arena);
}

static void getters(void) {
    enum { CALLS = 1000000 };
    double time;
    MEDIAN(
        &time, 3.0 * CALLS, for (int i = 0; i < CALLS; i++) {
            (void)bench_opaque(gomem_heap_size());
            (void)bench_opaque(gomem_heap_free());
            (void)bench_opaque((size_t)gomem_total_alloc());
        });
    bench_report("getter", time);
}

BENCH_NOINLINE void scratch_round(int n) {
    gomem_arena *s = gomem_scratch(NULL, 0);
    GOMEM_ARENA_TEMP(s);
    for (int i = 0; i < n; i++) memset(bench_use(gomem_arena_alloc(s, 1000)), 1, 1000);
}

static void scratch(void) {
    scratch_round(100);
    double before = (double)bench_resident();
    scratch_round(500000);
    for (int i = 0; i < 100; i++) scratch_round(100);
    bench_report("scratch", ((double)bench_resident() - before) / (1 << 20));
}

int main(void) {
    gomem_free(gomem_malloc(sizeof(object)));
    pools();
    arenas();
    getters();
    scratch();
    return bench_finish(0);
}
