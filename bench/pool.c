/* Question: what does a get and put of a pool cost, beside malloc and free, and beside Go's sync.Pool?
 *
 * Method: objects of 64 bytes; the median of BENCH_WINDOWS windows, nanoseconds.
 *   mode=0 pair: get, write a word, put; on each of `threads` threads, that of the slowest
 *   mode=1 32 at a time: `bulk` get_n and put_n, `single` 32 gets, then 32 puts; per object
 *   mode=2 a producer gets and fills, a consumer reads and puts: batches of 256 through a ring of 64,
 *          per object
 * The twins use malloc and free; pool.go is the same with sync.Pool. */
#include "bench.h"

typedef struct object {
    uint64_t words[8];
} object;

#if defined BENCH_GOMEM
#include "gomem.h"
GOMEM_POOL(objects, object);
#else
#include "peer.h"
BENCH_INLINE object *objects_get(void) { return BENCH_MALLOC(object); }
BENCH_INLINE void objects_put(object *o) { BENCH_FREE(object, o); }
BENCH_INLINE size_t objects_get_n(object **out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = objects_get();
    return n;
}
BENCH_INLINE void objects_put_n(object **in, size_t n) {
    for (size_t i = 0; i < n; i++) objects_put(in[i]);
}
#endif

enum { PAIRS = 4000000, TURNS = 200000, MANY = 32, BATCH = 256, RING = 64, THREADS_MAX = 64 };

// ---- pairs ----

BENCH_NOINLINE void pairs_run(int n) {
    for (int i = 0; i < n; i++) {
        object *o = bench_use(objects_get());
        o->words[0] = (uint64_t)i;
        objects_put(bench_use(o));
    }
}

static pthread_barrier_t together;

static void *pairs_thread(void *arg) {
    double times[BENCH_WINDOWS];
    pairs_run(PAIRS / 10);
    pthread_barrier_wait(&together);
    for (int w = 0; w < BENCH_WINDOWS; w++) {
        uint64_t start = bench_now();
        pairs_run(PAIRS);
        times[w] = (double)(bench_now() - start) / PAIRS;
    }
    *(double *)arg = bench_median(times, BENCH_WINDOWS);
    return NULL;
}

static void pairs(size_t threads) {
    pthread_t started[THREADS_MAX];
    double times[THREADS_MAX];
    double slowest = 0;
    pthread_barrier_init(&together, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++)
        if (pthread_create(&started[i], NULL, pairs_thread, &times[i]) != 0) exit(1);
    for (size_t i = 0; i < threads; i++) {
        pthread_join(started[i], NULL);
        if (times[i] > slowest) slowest = times[i];
    }
    bench_report("pair", slowest);
}

// ---- many at once ----

BENCH_NOINLINE void bulk(void) {
    object *all[MANY];
    for (int i = 0; i < TURNS; i++) {
        if (objects_get_n(all, MANY) != MANY) exit(1);
        (void)bench_use(all);
        objects_put_n(all, MANY);
    }
}

BENCH_NOINLINE void single(void) {
    object *all[MANY];
    for (int i = 0; i < TURNS; i++) {
        for (int k = 0; k < MANY; k++) all[k] = objects_get();
        (void)bench_use(all);
        for (int k = 0; k < MANY; k++) objects_put(all[k]);
    }
}

static void many(const char *name, void (*run)(void)) {
    double times[BENCH_WINDOWS];
    run();
    for (int w = 0; w < BENCH_WINDOWS; w++) {
        uint64_t start = bench_now();
        run();
        times[w] = (double)(bench_now() - start) / ((double)TURNS * MANY);
    }
    bench_report(name, bench_median(times, BENCH_WINDOWS));
}

// ---- from hand to hand ----

static object *ring[RING][BATCH];
static _Alignas(128) uint64_t filled;  // batches; atomic: written by the producer
static _Alignas(128) uint64_t emptied; // batches; atomic: written by the consumer
static uint64_t total;

static void wait_past(const uint64_t *counter, uint64_t value) {
    for (unsigned spins = 0; __atomic_load_n(counter, __ATOMIC_ACQUIRE) < value; spins++) {
        if (spins % 64 == 63) sched_yield();
        bench_pause();
    }
}

static void *produce(void *arg) {
    for (uint64_t n = 0; n < total; n++) {
        if (n >= RING) wait_past(&emptied, n - RING + 1);
        for (size_t i = 0; i < BATCH; i++) {
            object *o = objects_get();
            o->words[0] = n + i;
            ring[n % RING][i] = o;
        }
        __atomic_store_n(&filled, n + 1, __ATOMIC_RELEASE);
    }
    return arg;
}

static uint64_t consume(void) {
    uint64_t sum = 0;
    for (uint64_t n = 0; n < total; n++) {
        wait_past(&filled, n + 1);
        for (size_t i = 0; i < BATCH; i++) {
            object *o = ring[n % RING][i];
            sum += o->words[0];
            objects_put(o);
        }
        __atomic_store_n(&emptied, n + 1, __ATOMIC_RELEASE);
    }
    return sum;
}

static uint64_t from_hand_to_hand(uint64_t batches) {
    pthread_t producer;
    total = batches;
    uint64_t start = bench_now();
    if (pthread_create(&producer, NULL, produce, NULL) != 0) exit(1);
    uint64_t sum = consume();
    pthread_join(producer, NULL);
    bench_report("handed", (double)(bench_now() - start) / ((double)batches * BATCH));
    return sum;
}

int main(int argc, char **argv) {
    long mode = bench_option(argc, argv, "mode", 0);
    size_t threads = (size_t)bench_option(argc, argv, "threads", 1);
    uint64_t check = 0;
    if (threads < 1 || threads > THREADS_MAX) return 2;
    if (mode == 0) {
        pairs(threads);
    } else if (mode == 1) {
        many("bulk", bulk);
        many("single", single);
    } else {
        check = from_hand_to_hand((uint64_t)bench_option(argc, argv, "batches", 40000));
    }
    return bench_finish(check);
}
