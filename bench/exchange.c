/* Question: every thread frees what others allocated. Each of `threads` threads puts a batch of 4096
 * objects into a shared list (a mutex), takes one that another thread put there, and frees its
 * objects, `batches` times. A batch holds objects of one size, 8 to 2048 bytes, whose first byte is
 * written and read. */
#include "bench.h"
#include "peer.h"

enum { BATCH = 4096, THREADS_MAX = 64, CLASSES = 17 };

typedef struct batch {
    struct batch *next;
    size_t owner;
    unsigned char *objects[BATCH];
} batch;

static const size_t sizes[CLASSES] = {8,   12,  16,  24,  32,  48,   64,   96,  128,
                                      192, 256, 384, 512, 768, 1024, 1536, 2048};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static batch *shared;
static size_t batches;

typedef struct worker {
    pthread_t thread;
    size_t number;
    uint64_t sum;
} worker;

static void batch_put(size_t owner, uint64_t *seed) {
    batch *b = BENCH_MALLOC(batch);
    size_t size = sizes[bench_below(seed, CLASSES)];
    b->owner = owner;
    for (size_t i = 0; i < BATCH; i++) {
        b->objects[i] = bench_malloc(size);
        b->objects[i][0] = (unsigned char)size;
    }
    pthread_mutex_lock(&lock);
    b->next = shared;
    shared = b;
    pthread_mutex_unlock(&lock);
}

// Another thread's, if there is one; or any, once `any` is set.
static batch *batch_take(size_t owner, bool any) {
    pthread_mutex_lock(&lock);
    batch **at = &shared;
    while (*at && !any && (*at)->owner == owner) at = &(*at)->next;
    batch *b = *at;
    if (b) *at = b->next;
    pthread_mutex_unlock(&lock);
    return b;
}

static uint64_t batch_free(batch *b) {
    uint64_t sum = 0;
    for (size_t i = 0; i < BATCH; i++) {
        sum += b->objects[i][0];
        bench_free(b->objects[i]);
    }
    BENCH_FREE(batch, b);
    return sum;
}

static void *work(void *arg) {
    worker *w = arg;
    uint64_t seed = w->number + 1;
    for (size_t n = 0; n < batches; n++) {
        batch_put(w->number, &seed);
        // A thread that is ahead of all others waits, so that a few batches are alive.
        for (size_t tries = 0; n >= 4; tries++) {
            batch *b = batch_take(w->number, tries > 1000);
            if (b) {
                w->sum += batch_free(b);
                break;
            }
            sched_yield();
        }
    }
    return NULL;
}

int main(int argc, char **argv) {
    static worker workers[THREADS_MAX];
    size_t threads = (size_t)bench_option(argc, argv, "threads", 2);
    uint64_t check = 0;
    batches = (size_t)bench_option(argc, argv, "batches", 1000);
    if (threads > THREADS_MAX) return 1;
    for (size_t i = 0; i < threads; i++) {
        workers[i].number = i;
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) return 1;
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        check += workers[i].sum;
    }
    for (batch *b; (b = batch_take(0, true));) check += batch_free(b);
    return bench_finish(check);
}
