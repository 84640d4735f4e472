/* Question: what do 1000 allocations and then 1000 frees cost, for sizes from 16 to 1024 bytes?
 *
 * Method: per size, an array of 1000 pointers is filled and emptied again: in order of allocation,
 * in reverse, and in one fixed random order. Sizes are constants (typed). `bare` leaves the objects
 * alone, so it is the allocator's own cost; `used` writes the first word of each object, as every
 * program does. The median of BENCH_WINDOWS windows, in nanoseconds per object (one allocation and
 * one free). */
#include "bench.h"
#include "peer.h"

enum { COUNT = 1000 };

static void *objects[COUNT];
static size_t orders[3][COUNT];

#define BATCH(SIZE)                                                                            \
    typedef struct object##SIZE {                                                              \
        uint64_t words[SIZE / 8];                                                              \
    } object##SIZE;                                                                            \
    BENCH_NOINLINE void bare##SIZE(const size_t *order) {                                      \
        for (size_t i = 0; i < COUNT; i++) objects[i] = bench_use(BENCH_MALLOC(object##SIZE)); \
        for (size_t i = 0; i < COUNT; i++)                                                     \
            BENCH_FREE(object##SIZE, (object##SIZE *)objects[order[i]]);                       \
    }                                                                                          \
    BENCH_NOINLINE void used##SIZE(const size_t *order) {                                      \
        for (size_t i = 0; i < COUNT; i++) {                                                   \
            object##SIZE *p = (object##SIZE *)bench_use(BENCH_MALLOC(object##SIZE));           \
            p->words[0] = i;                                                                   \
            objects[i] = p;                                                                    \
        }                                                                                      \
        for (size_t i = 0; i < COUNT; i++)                                                     \
            BENCH_FREE(object##SIZE, (object##SIZE *)objects[order[i]]);                       \
    }

BATCH(16)
BATCH(32)
BATCH(64)
BATCH(128)
BATCH(256)
BATCH(512)
BATCH(1024)

static const struct {
    int size;
    void (*bare)(const size_t *order);
    void (*used)(const size_t *order);
} batches[] = {
    {16, bare16, used16},       {32, bare32, used32},    {64, bare64, used64},
    {128, bare128, used128},    {256, bare256, used256}, {512, bare512, used512},
    {1024, bare1024, used1024},
};

static double batch_time(void (*run)(const size_t *order), const size_t *order, size_t rounds) {
    double windows[BENCH_WINDOWS];
    run(order);
    for (size_t w = 0; w < BENCH_WINDOWS; w++) {
        uint64_t start = bench_now();
        for (size_t i = 0; i < rounds; i++) run(order);
        windows[w] = (double)(bench_now() - start) / (double)(rounds * COUNT);
    }
    return bench_median(windows, BENCH_WINDOWS);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"order", "reverse", "random"};
    size_t rounds = (size_t)bench_option(argc, argv, "rounds", 200);
    for (size_t i = 0; i < COUNT; i++) {
        orders[0][i] = i;
        orders[1][i] = COUNT - 1 - i;
    }
    bench_shuffle(orders[2], COUNT, 42);
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        for (size_t o = 0; o < 3; o++) {
            char name[64];
            snprintf(name, sizeof name, "bare.%d.%s", batches[b].size, names[o]);
            bench_report(name, batch_time(batches[b].bare, orders[o], rounds));
            snprintf(name, sizeof name, "used.%d.%s", batches[b].size, names[o]);
            bench_report(name, batch_time(batches[b].used, orders[o], rounds));
        }
    }
    return bench_finish(0);
}
