// Objects change hands: producers pass manual and collected objects through queues, consumers check
// and free or drop them, or pass them back.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>

enum { MANUAL, COLLECTED, NOSCAN, UNCOLLECTABLE, KINDS };
enum { DEPTH = 256, PAIRS = 3 };

struct parcel {
    struct parcel *next; // for lists that travel whole
    uint32_t kind, seed;
    size_t size;
    unsigned char body[];
};

// A queue of its own for each pair, in memory of the given kind, guarded by a mutex.
struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct parcel **parcels; // uncollectable: a root
    size_t first, used;
    bool closed;
};

static void queue_open(struct queue *q) {
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    q->parcels = gomem_new_with(DEPTH * sizeof *q->parcels, 0, GOMEM_UNCOLLECTABLE);
    q->first = q->used = 0;
    q->closed = false;
}

static void queue_close(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static void queue_put(struct queue *q, struct parcel *parcel) {
    pthread_mutex_lock(&q->lock);
    while (q->used == DEPTH) pthread_cond_wait(&q->changed, &q->lock);
    q->parcels[(q->first + q->used++) % DEPTH] = parcel;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

// NULL once the queue is closed and empty.
static struct parcel *queue_get(struct queue *q) {
    struct parcel *parcel = NULL;
    pthread_mutex_lock(&q->lock);
    while (q->used == 0 && !q->closed) {
        gomem_blocking_begin();
        pthread_cond_wait(&q->changed, &q->lock);
        gomem_blocking_end();
    }
    if (q->used > 0) {
        parcel = q->parcels[q->first];
        q->parcels[q->first] = NULL;
        q->first = (q->first + 1) % DEPTH;
        q->used--;
        pthread_cond_broadcast(&q->changed);
    }
    pthread_mutex_unlock(&q->lock);
    return parcel;
}

static struct parcel *make(struct stress_random *r) {
    size_t size = stress_size(r), whole = sizeof(struct parcel) + size;
    uint32_t kind = stress_below(r, KINDS);
    struct parcel *parcel = kind == MANUAL      ? gomem_malloc(whole)
                            : kind == COLLECTED ? gomem_new(whole)
                            : kind == NOSCAN    ? gomem_new_noscan(whole)
                                                : gomem_new_with(whole, 0, GOMEM_UNCOLLECTABLE);
    if (!CHECK(parcel != NULL)) return NULL;
    parcel->next = NULL;
    parcel->kind = kind;
    parcel->seed = stress_next(r);
    parcel->size = size;
    for (size_t i = 0; i < size; i++) parcel->body[i] = (unsigned char)(parcel->seed + i);
    return parcel;
}

static bool whole(const struct parcel *parcel) {
    for (size_t i = 0; i < parcel->size; i++)
        if (parcel->body[i] != (unsigned char)(parcel->seed + i)) return false;
    return true;
}

static void dispose(struct parcel *parcel, uint32_t choice) {
    if (parcel->kind == MANUAL || parcel->kind == UNCOLLECTABLE || choice % 3 == 0) {
        if (choice % 2 == 0) gomem_free(parcel);
        else gomem_free_sized(parcel, sizeof *parcel + parcel->size);
    }
}

static struct queue there[PAIRS], back[PAIRS];
static size_t parcels_each;

static void *produce(void *arg) {
    size_t pair = (size_t)(uintptr_t)arg;
    struct stress_random r = stress_random_at(pair + 1);
    for (size_t i = 0; i < parcels_each && test_failed() == 0; i++) {
        struct parcel *parcel = make(&r);
        if (parcel == NULL) break;
        queue_put(&there[pair], parcel);
        if (i % 4 != 3) continue;
        parcel = queue_get(&back[pair]);
        if (!CHECK(parcel != NULL && whole(parcel))) break;
        dispose(parcel, stress_next(&r));
    }
    queue_close(&there[pair]);
    return NULL;
}

static void *consume(void *arg) {
    size_t pair = (size_t)(uintptr_t)arg, taken = 0;
    struct stress_random r = stress_random_at(pair + 100);
    for (struct parcel *parcel; (parcel = queue_get(&there[pair])) != NULL;) {
        CHECK(whole(parcel));
        if (taken % 4 == 3) queue_put(&back[pair], parcel);
        else dispose(parcel, stress_next(&r));
        taken++;
        if (stress_below(&r, 3000) == 0) gomem_gc();
    }
    CHECK(test_failed() > 0 || taken == parcels_each);
    return NULL;
}

TEST(through_queues) {
    pthread_t producers[PAIRS], consumers[PAIRS];
    stress_seed();
    parcels_each = stress_times(12000);
    for (size_t i = 0; i < PAIRS; i++) {
        queue_open(&there[i]);
        queue_open(&back[i]);
        REQUIRE(there[i].parcels != NULL && back[i].parcels != NULL);
    }
    for (uintptr_t i = 0; i < PAIRS; i++) {
        REQUIRE(pthread_create(&producers[i], NULL, produce, (void *)i) == 0);
        REQUIRE(gomem_thread_create(&consumers[i], NULL, consume, (void *)i) == 0);
    }
    for (size_t i = 0; i < PAIRS; i++) {
        pthread_join(producers[i], NULL);
        pthread_join(consumers[i], NULL);
        gomem_free((void *)there[i].parcels);
        gomem_free((void *)back[i].parcels);
    }
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// Many threads put into and take out of one array of atomic boxes, without any lock.
enum { BOXES = 512, TRADERS = 4 };

static struct parcel **boxes;
static size_t trades_each;

static void *trade(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 500);
    for (size_t i = 0; i < trades_each && test_failed() == 0; i++) {
        struct parcel *mine = make(&r), *other;
        if (mine == NULL) break;
        other = GOMEM_EXCHANGE(&boxes[stress_below(&r, BOXES)], mine);
        if (other == NULL) continue;
        CHECK(whole(other));
        dispose(other, stress_next(&r));
    }
    return NULL;
}

TEST(through_boxes) {
    pthread_t threads[TRADERS];
    stress_seed();
    trades_each = stress_times(20000);
    boxes = gomem_new_with(BOXES * sizeof *boxes, 0, GOMEM_UNCOLLECTABLE);
    REQUIRE(boxes != NULL);
    for (uintptr_t i = 0; i < TRADERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, trade, (void *)i) == 0);
    for (int i = 0; i < 20; i++) gomem_gc();
    for (int i = 0; i < TRADERS; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < BOXES; i++) {
        if (boxes[i] == NULL) continue;
        CHECK(whole(boxes[i]));
        dispose(boxes[i], 0);
    }
    gomem_free((void *)boxes);
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// One thread only allocates, another only frees: memory goes round, the heap does not grow.
static void *only_allocate(void *arg) {
    struct stress_random r = stress_random_at(900);
    for (size_t i = 0; i < parcels_each * 10; i++) {
        struct parcel *parcel = gomem_malloc(sizeof *parcel + stress_below(&r, 500));
        if (!CHECK(parcel != NULL)) break;
        parcel->size = 0;
        parcel->next = NULL;
        queue_put(arg, parcel);
    }
    queue_close(arg);
    return NULL;
}

TEST(one_allocates_one_frees) {
    pthread_t thread;
    size_t taken = 0;
    gomem_memstats stats = {.size = sizeof stats};
    stress_seed();
    parcels_each = stress_times(10000);
    queue_open(&there[0]);
    REQUIRE(pthread_create(&thread, NULL, only_allocate, &there[0]) == 0);
    for (struct parcel *parcel; (parcel = queue_get(&there[0])) != NULL; taken++)
        gomem_free(parcel);
    pthread_join(thread, NULL);
    CHECK_EQ(taken, parcels_each * 10);
    gomem_read_memstats(&stats);
    CHECK(stats.heap_inuse < (uint64_t)64 << 20);
    gomem_free((void *)there[0].parcels);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
