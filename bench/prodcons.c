/* Question: one thread allocates, another frees: messages between a producer and a consumer.
 *
 * Each of `pairs` producers fills batches of 256 objects of 64 bytes and hands them through a
 * bounded ring to its consumer, which reads and frees them; the rings and batches are not on the
 * heap. `batches` batches per pair. The ring holds 64 batches, so at most 64 x 256 objects of a
 * pair are alive. */
#include "bench.h"
#include "peer.h"

enum { BATCH = 256, RING = 64, PAIRS = 8 };

typedef struct object {
    uint64_t words[8];
} object;

typedef struct ring {
    object *batches[RING][BATCH];
    _Alignas(128) uint64_t filled;  // batches ever filled; atomic: written by the producer
    _Alignas(128) uint64_t emptied; // batches ever emptied; atomic: written by the consumer
    _Alignas(128) uint64_t total;
    uint64_t sum;
} ring;

static ring rings[PAIRS];

static void wait_past(const uint64_t *counter, uint64_t value) {
    for (unsigned spins = 0; __atomic_load_n(counter, __ATOMIC_ACQUIRE) < value; spins++) {
        if (spins % 64 == 63) sched_yield();
        bench_pause();
    }
}

static void *produce(void *arg) {
    ring *r = arg;
    for (uint64_t n = 0; n < r->total; n++) {
        if (n >= RING) wait_past(&r->emptied, n - RING + 1);
        for (size_t i = 0; i < BATCH; i++) {
            object *o = BENCH_MALLOC(object);
            o->words[0] = n + i;
            r->batches[n % RING][i] = o;
        }
        __atomic_store_n(&r->filled, n + 1, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void *consume(void *arg) {
    ring *r = arg;
    uint64_t sum = 0;
    for (uint64_t n = 0; n < r->total; n++) {
        wait_past(&r->filled, n + 1);
        for (size_t i = 0; i < BATCH; i++) {
            object *o = r->batches[n % RING][i];
            sum += o->words[0];
            BENCH_FREE(object, o);
        }
        __atomic_store_n(&r->emptied, n + 1, __ATOMIC_RELEASE);
    }
    r->sum = sum;
    return NULL;
}

int main(int argc, char **argv) {
    size_t pairs = (size_t)bench_option(argc, argv, "pairs", 1);
    uint64_t batches = (uint64_t)bench_option(argc, argv, "batches", 16000) / pairs;
    pthread_t threads[PAIRS * 2];
    uint64_t check = 0;
    for (size_t i = 0; i < pairs; i++) {
        rings[i].total = batches;
        if (pthread_create(&threads[2 * i], NULL, produce, &rings[i]) != 0) return 1;
        if (pthread_create(&threads[2 * i + 1], NULL, consume, &rings[i]) != 0) return 1;
    }
    for (size_t i = 0; i < pairs * 2; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < pairs; i++) check += rings[i].sum;
    return bench_finish(check);
}
