/* Question: what does an allocation from an arena cost, beside malloc and free of the same, and beside
 * a bump pointer in a struct?
 *
 * Method: two modes; the median of BENCH_WINDOWS windows.
 *   mode=0 objects of 16 bytes, a reset after every 10,000: nanoseconds per object. `struct`: the same
 *          loop over a bump pointer in a struct, that zeroes. The twins malloc 10,000 and free them.
 *   mode=1 a scope of 1000 mixed allocations: 16 to 400 bytes, every tenth a copy of a string, every
 *          tenth a formatted one: microseconds per scope. The twins free each by itself. */
#include "bench.h"

#if defined BENCH_GOMEM
#include "gomem.h"
static gomem_arena arena;
#else
#include "peer.h"
#endif

enum { OBJECTS = 10000, MIXED = 1000, ROUNDS = 200 };

typedef struct object {
    uint64_t words[2];
} object;

static void *taken[OBJECTS];

#if defined BENCH_GOMEM
static bench_bump region;

BENCH_NOINLINE void in_struct(void) {
    bench_bump *b = bench_use(&region);
    char *start = b->cursor;
    for (int i = 0; i < OBJECTS; i++) {
        object *o = bench_bump_take(b, sizeof *o);
        memset(o, 0, sizeof *o);
        ((object *)bench_use(o))->words[0] = 1;
    }
    b->cursor = start;
}

BENCH_NOINLINE void small_ones(void) {
    gomem_arena *a = bench_use(&arena);
    for (int i = 0; i < OBJECTS; i++)
        ((object *)bench_use(GOMEM_ARENA_NEW(a, object)))->words[0] = 1;
    gomem_arena_reset(a);
}

BENCH_NOINLINE uint64_t mixed(uint64_t seed) {
    uint64_t sum = 0;
    GOMEM_ARENA_SCOPE (&arena) {
        for (int i = 0; i < MIXED; i++) {
            char *p = i % 10 == 0   ? gomem_arena_strdup(&arena, "a string of some length")
                      : i % 10 == 1 ? gomem_arena_printf(&arena, "%d of %s", i, "many")
                                    : gomem_arena_alloc(&arena, 16 + bench_below(&seed, 385));
            if (!p) exit(1);
            if (i % 10 > 1) *p = (char)i;
            sum += (unsigned char)*p;
        }
    }
    return sum;
}
#else
BENCH_NOINLINE void small_ones(void) {
    for (int i = 0; i < OBJECTS; i++) {
        object *o = (object *)bench_use(BENCH_MALLOC(object));
        o->words[0] = 1;
        taken[i] = o;
    }
    for (int i = 0; i < OBJECTS; i++) BENCH_FREE(object, (object *)taken[i]);
}

BENCH_NOINLINE uint64_t mixed(uint64_t seed) {
    uint64_t sum = 0;
    for (int i = 0; i < MIXED; i++) {
        char text[64];
        char *p = NULL;
        if (i % 10 == 0) {
            p = malloc(sizeof "a string of some length");
            if (p) memcpy(p, "a string of some length", sizeof "a string of some length");
        } else if (i % 10 == 1) {
            size_t n = (size_t)snprintf(text, sizeof text, "%d of %s", i, "many") + 1;
            p = malloc(n);
            if (p) memcpy(p, text, n);
        } else {
            p = malloc(16 + bench_below(&seed, 385));
        }
        if (!p) exit(1);
        if (i % 10 > 1) *p = (char)i;
        sum += (unsigned char)*p;
        taken[i] = p;
    }
    for (int i = 0; i < MIXED; i++) free(taken[i]);
    return sum;
}
#endif

// One window: nanoseconds per object, or microseconds per scope.
static double window(void (*run)(void), unsigned rounds) {
    uint64_t start = bench_now();
    for (unsigned i = 0; i < rounds; i++) run();
    return (double)(bench_now() - start) / rounds;
}

static uint64_t sum;
static void mixed_once(void) { sum += mixed(7); }

static void report(const char *name, void (*run)(void), double unit) {
    double times[BENCH_WINDOWS];
    (void)window(run, 2);
    for (int i = 0; i < BENCH_WINDOWS; i++) times[i] = window(run, ROUNDS) / unit;
    bench_report(name, bench_median(times, BENCH_WINDOWS));
}

int main(int argc, char **argv) {
    long mode = bench_option(argc, argv, "mode", 0);
#if defined BENCH_GOMEM
    region.cursor = bench_map(OBJECTS * sizeof(object));
    region.end = region.cursor + OBJECTS * sizeof(object);
    if (mode == 0) report("struct", in_struct, OBJECTS);
#endif
    if (mode == 0) report("small", small_ones, OBJECTS);
    else report("mixed", mixed_once, 1000);
    return bench_finish(mode == 0 ? 0 : sum / (ROUNDS * BENCH_WINDOWS + 2));
}
