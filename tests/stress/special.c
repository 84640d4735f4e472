// Weak pointers, finalizers, cleanups and counts on several threads, against collections, frees and
// moves. A weak pointer gives its object or NULL; a callback gets its argument whole, once.
#include "stress.h"

#include "gomem.h"

#include <pthread.h>

enum { THREADS = 4, SLOTS = 64, OBJECTS = 4096 };

struct node {
    struct node *next;
    uint64_t number, check; // check of number
    uint32_t *ran;          // of a finalizer, in static memory
    uintptr_t body[3];
};

struct box { // argument of callbacks
    uint64_t number, check;
    uint32_t *ran;
};

static uint64_t sum(uint64_t number) { return (number + 1) * 0x9e3779b97f4a7c15u; }

static uint64_t finalized, cleaned, dropped; // atomic
static struct node *shared[SLOTS];           // roots. under the lock
static gomem_weak weak[SLOTS];               // as of what was in shared. under the lock
static uint64_t numbers[SLOTS];              // under the lock
static struct node *resurrected;             // the last. atomic
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void once(const struct box *box) {
    CHECK_EQ(box->check, sum(box->number));
    CHECK_EQ(__atomic_fetch_add(box->ran, 1, __ATOMIC_RELAXED), 0);
}

// Half of them revive their object for a while.
static void finalize(void *obj, void *arg) {
    struct node *node = obj;
    const struct box *box = arg;
    once(box);
    CHECK_EQ(node->number, box->number);
    CHECK_EQ(node->check, sum(node->number));
    for (const struct node *n = node; n != NULL; n = n->next) CHECK_EQ(n->check, sum(n->number));
    if (node->number % 2 == 0) __atomic_store_n(&resurrected, node, __ATOMIC_RELEASE);
    __atomic_fetch_add(&finalized, 1, __ATOMIC_RELAXED);
    if (node->number % 64 == 0) gomem_gc();
}

static void clean(void *arg) {
    once(arg);
    __atomic_fetch_add(&cleaned, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 10; i++) CHECK(gomem_new(100) != NULL);
}

static void drop(void *obj) {
    struct node *node = obj;
    CHECK_EQ(node->check, sum(node->number));
    CHECK_EQ(__atomic_fetch_add(node->ran, 1, __ATOMIC_RELAXED), 0);
    __atomic_fetch_add(&dropped, 1, __ATOMIC_RELAXED);
    gomem_rc_release(node->next);
}

static struct box *make_box(uint64_t number, uint32_t *counter) {
    struct box *box = GOMEM_NEW_NOSCAN(struct box);
    if (!CHECK(box != NULL)) abort();
    *box = (struct box){number, sum(number), counter};
    return box;
}

static struct node *fill(struct node *node, uint64_t number, uint32_t *counter) {
    if (!CHECK(node != NULL)) abort();
    node->number = number;
    node->check = sum(number);
    node->ran = counter;
    return node;
}

// An object with records into a slot; what was there is left, freed or moved.
static void replace(struct stress_random *r, uint64_t number, uint32_t *counter) {
    uint32_t i = stress_below(r, SLOTS), how = stress_below(r, 4);
    struct node *node = fill(GOMEM_NEW(struct node), number, counter), *old;
    gomem_weak w = gomem_weak_make(node);
    CHECK(w.id != 0 && gomem_weak_get(w) == node);
    if (how < 2) CHECK(gomem_set_finalizer(node, finalize, make_box(number, counter)));
    else if (how == 2) CHECK(gomem_add_cleanup(node, clean, make_box(number, counter)).id != 0);
    if (number % 3 == 0) {
        node = gomem_realloc(node, 100 + stress_below(r, 400));
        CHECK(node != NULL && gomem_weak_get(w) == node);
    }
    pthread_mutex_lock(&lock);
    old = shared[i];
    if (how < 2 && old != NULL && old->number % 5 == 0) GOMEM_STORE(&node->next, old);
    bool freed = how == 3 && old != NULL;
    shared[i] = node;
    weak[i] = w;
    numbers[i] = number;
    // While the lock is held nobody else reads it; who chained it holds it still.
    if (freed && old->next == NULL && old->number % 5 != 0) gomem_free(old);
    pthread_mutex_unlock(&lock);
}

static void look(struct stress_random *r) {
    uint32_t i = stress_below(r, SLOTS);
    pthread_mutex_lock(&lock);
    gomem_weak w = weak[i];
    const struct node *strong = shared[i], *node = gomem_weak_get(w);
    if (strong != NULL) {
        CHECK(node == strong);
        CHECK_EQ(node->number, numbers[i]);
    }
    if (stress_below(r, 8) == 0) shared[i] = NULL; // from here on only weak
    pthread_mutex_unlock(&lock);
    node = NULL;
    pthread_mutex_lock(&lock); // nobody frees by hand meanwhile
    if (shared[i] == NULL && weak[i].id == w.id) {
        node = gomem_weak_get(w);
        if (node != NULL) {
            CHECK_EQ(node->number, numbers[i]);
            CHECK_EQ(node->check, sum(node->number));
        }
    }
    pthread_mutex_unlock(&lock);
}

// A short chain of counted objects, sometimes a ring that only the collector can drop.
static void count(struct stress_random *r, uint64_t number, uint32_t *counter) {
    struct node *node = fill(gomem_rc_new(sizeof *node, drop), number, counter);
    gomem_rc_retain(node);
    if (stress_below(r, 4) == 0) GOMEM_STORE(&node->next, (struct node *)gomem_rc_retain(node));
    gomem_rc_release(node);
    gomem_rc_release(node);
}

// How often a callback ran, by number: of one thread in one round. Never freed, since callbacks may
// come late.
static void *work(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg);
    uint32_t *counters = gomem_new_with(OBJECTS * sizeof *counters, 0,
                                        GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN);
    if (!CHECK(counters != NULL)) return NULL;
    for (uint32_t i = 0; i < OBJECTS; i++) {
        if (i % 4 == 0) count(&r, i, &counters[i]);
        else replace(&r, i, &counters[i]);
        look(&r);
        if (stress_below(&r, 400) == 0) gomem_gc();
        if (stress_below(&r, 100) == 0) gomem_run_finalizers(3);
    }
    return NULL;
}

TEST(everything_at_once) {
    (void)stress_seed();
    for (size_t round = 0; round < stress_times(4) && !test_failed(); round++) {
        pthread_t thread[THREADS];
        for (uintptr_t t = 0; t < THREADS; t++)
            REQUIRE(gomem_thread_create(&thread[t], NULL, work, (void *)(round * THREADS + t)) ==
                    0);
        for (int t = 0; t < THREADS; t++) pthread_join(thread[t], NULL);
        memset(shared, 0, sizeof shared);
        for (int i = 0; i < 10; i++) { // until all that is left of the round has run
            gomem_gc();
            gomem_run_finalizers(-1);
        }
        CHECK(HEAP_IS_WHOLE());
    }
    CHECK(finalized > 100 && cleaned > 100 && dropped > 100);
}

// One writer frees and makes again, the others only read weak pointers.
static gomem_weak current; // atomic
static uint32_t done;      // atomic

static void *read_weak(void *arg) {
    (void)arg;
    gomem_thread_attach();
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        gomem_weak w = {__atomic_load_n(&current.id, __ATOMIC_ACQUIRE)};
        const struct node *node = gomem_weak_get(w);
        if (node != NULL) CHECK_EQ(node->check, sum(node->number));
    }
    return NULL;
}

// Objects that only the collector frees: who got one may look at it as long as it likes.
TEST(readers_and_collections) {
    pthread_t thread[2];
    __atomic_store_n(&done, 0, __ATOMIC_RELEASE);
    for (int t = 0; t < 2; t++)
        REQUIRE(gomem_thread_create(&thread[t], NULL, read_weak, NULL) == 0);
    for (uint64_t i = 0; i < stress_times(100000); i++) {
        struct node *node = fill(GOMEM_NEW(struct node), i, NULL);
        gomem_weak w = gomem_weak_make(node);
        if (i % 8 == 0) __atomic_store_n(&current.id, w.id, __ATOMIC_RELEASE);
        if (i % 2000 == 0) gomem_gc();
        GOMEM_KEEP_ALIVE(node);
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    for (int t = 0; t < 2; t++) pthread_join(thread[t], NULL);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
