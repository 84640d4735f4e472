/* Question: messages of many sizes through a queue. Each of `pairs` producers builds parcels of
 * eight texts of 16 to 3000 bytes and puts them into a bounded queue (a mutex and two condition
 * variables); its consumer reads them, builds an answer from each, sends it back, and frees the
 * parcel. The producer frees the answer.
 *
 * `parcels` in all; the check value is the sum of the bytes that came back. */
#include "bench.h"
#include "peer.h"

enum { TEXTS = 8, QUEUE = 128, PAIRS = 4 };

typedef struct text {
    struct text *next;
    size_t length;
    unsigned char bytes[];
} text;

typedef struct parcel {
    text *texts;
    uint64_t sum; // of an answer
} parcel;

typedef struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    parcel *parcels[QUEUE];
    size_t head, count;
} queue;

static struct lane {
    queue there, back;
    uint64_t seed, total, check;
} lanes[PAIRS];

static void queue_put(queue *q, parcel *p) {
    pthread_mutex_lock(&q->lock);
    while (q->count == QUEUE) pthread_cond_wait(&q->emptied, &q->lock);
    q->parcels[(q->head + q->count++) % QUEUE] = p;
    if (q->count == 1) pthread_cond_signal(&q->filled);
    pthread_mutex_unlock(&q->lock);
}

static parcel *queue_take(queue *q, bool wait) {
    pthread_mutex_lock(&q->lock);
    while (wait && !q->count) pthread_cond_wait(&q->filled, &q->lock);
    parcel *p = NULL;
    if (q->count) {
        p = q->parcels[q->head++ % QUEUE];
        if (q->count-- == QUEUE) pthread_cond_signal(&q->emptied);
    }
    pthread_mutex_unlock(&q->lock);
    return p;
}

static parcel *parcel_make(uint64_t *seed) {
    parcel *p = BENCH_MALLOC(parcel);
    *p = (parcel){0};
    for (int i = 0; i < TEXTS; i++) {
        size_t length = 16 +
                        (bench_below(seed, 8) ? bench_below(seed, 200) : bench_below(seed, 2985));
        text *t = bench_malloc(sizeof *t + length);
        t->length = length;
        memset(t->bytes, (int)length & 255, length);
        t->next = p->texts;
        p->texts = t;
    }
    return p;
}

static uint64_t parcel_free(parcel *p) {
    uint64_t sum = p->sum;
    for (text *t = p->texts, *next; t; t = next) {
        next = t->next;
        for (size_t i = 0; i < t->length; i += 64) sum += t->bytes[i];
        bench_free(t);
    }
    BENCH_FREE(parcel, p);
    return sum;
}

static void *consume(void *arg) {
    struct lane *l = arg;
    for (uint64_t n = 0; n < l->total; n++) {
        parcel *p = queue_take(&l->there, true), *answer = BENCH_MALLOC(parcel);
        *answer = (parcel){0};
        answer->sum = parcel_free(p);
        queue_put(&l->back, answer);
    }
    return NULL;
}

// Takes the answers that are there before each parcel, so that no queue can fill up on both sides.
static void *produce(void *arg) {
    struct lane *l = arg;
    uint64_t answers = 0;
    for (uint64_t n = 0; n < l->total || answers < l->total;) {
        bool ahead = n == l->total || n - answers >= QUEUE / 2;
        parcel *p = queue_take(&l->back, ahead);
        if (p) l->check += parcel_free(p), answers++;
        else queue_put(&l->there, parcel_make(&l->seed)), n++;
    }
    return NULL;
}

int main(int argc, char **argv) {
    size_t pairs = (size_t)bench_option(argc, argv, "pairs", 1);
    uint64_t parcels = (uint64_t)bench_option(argc, argv, "parcels", 600000), check = 0;
    pthread_t threads[2 * PAIRS];
    if (pairs < 1 || pairs > PAIRS) return 1;
    for (size_t i = 0; i < pairs; i++) {
        for (queue *q = &lanes[i].there; q <= &lanes[i].back; q++) {
            pthread_mutex_init(&q->lock, NULL);
            pthread_cond_init(&q->filled, NULL);
            pthread_cond_init(&q->emptied, NULL);
        }
        lanes[i].seed = i + 1;
        lanes[i].total = parcels / pairs;
        if (pthread_create(&threads[2 * i], NULL, produce, &lanes[i]) != 0) return 1;
        if (pthread_create(&threads[2 * i + 1], NULL, consume, &lanes[i]) != 0) return 1;
    }
    for (size_t i = 0; i < 2 * pairs; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < pairs; i++) check += lanes[i].check;
    return bench_finish(check);
}
