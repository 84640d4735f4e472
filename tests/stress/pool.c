// Pools against a shadow: threads get and put at random, hand objects to each other, come and go,
// while cycles age what is idle. No object is in two hands, an idle one keeps its contents, a fresh
// one is zero; what a scanned one holds lives. Pools of each kind, one of them made and destroyed all
// the time.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 3, POOLS = 6, HELD = 150, BOXES = 64 };

typedef struct object {
    _Atomic uintptr_t holder; // who has it, 0: nobody
    uintptr_t self;           // ~address once it was made
    uint64_t round;           // as often as it was got
    uintptr_t *held;          // of scanned ones: a collected word, ~address
    uint64_t copy;            // of round, at the end
} object;

GOMEM_POOL(plain, object);
GOMEM_POOL_SCAN(scanned, object);

static gomem_pool *pools[POOLS];
static bool pool_scanned[POOLS];
static atomic_bool stop;
static _Atomic(object *) box[POOLS][BOXES]; // from hand to hand
static atomic_ulong made, dropped;

static void make(void *obj, void *user) {
    object *o = obj;
    (void)user;
    CHECK(o->self == 0 && o->round == 0);
    o->self = ~(uintptr_t)o;
    o->copy = ~o->round;
    atomic_fetch_add(&made, 1);
}
static void drop(void *obj, void *user) {
    object *o = obj;
    (void)user;
    CHECK(o->self == ~(uintptr_t)o && atomic_load(&o->holder) == 0);
    atomic_fetch_add(&dropped, 1);
}

static object *take(unsigned which) {
    switch (which) {
    case 0: return plain_get();
    case 1: return scanned_get();
    default: return gomem_pool_get(pools[which]);
    }
}
static void give(unsigned which, object *o) {
    switch (which) {
    case 0: plain_put(o); break;
    case 1: scanned_put(o); break;
    default: gomem_pool_put(pools[which], o);
    }
}

static void claim(object *o, uintptr_t me, bool is_scanned) {
    CHECK(atomic_exchange(&o->holder, me) == 0);
    if (!o->self) CHECK(o->round == 0 && o->copy == 0 && !o->held);
    else CHECK(o->self == ~(uintptr_t)o && o->copy == ~o->round);
    o->self = ~(uintptr_t)o;
    o->copy = ~++o->round;
    if (!is_scanned) return;
    if (o->held) CHECK(*o->held == ~(uintptr_t)o->held);
    if (o->round % 4) return;
    uintptr_t *word = gomem_new(sizeof *word);
    if (!CHECK(word != NULL)) exit(1);
    *word = ~(uintptr_t)word;
    GOMEM_STORE(&o->held, word);
}
static void unclaim(object *o, uintptr_t me) { CHECK(atomic_exchange(&o->holder, 0) == me); }

struct player {
    uintptr_t me;
    size_t count[POOLS];
    object *held[POOLS][HELD];
};

static void step(struct player *p, struct stress_random *r) {
    unsigned which = stress_below(r, POOLS);
    size_t *n = &p->count[which];
    uint32_t what = stress_below(r, 100);
    if (what < 20) { // many at once
        size_t wanted = stress_below(r, (uint32_t)(HELD - *n) + 1);
        if (which >= 2)
            wanted = gomem_pool_get_n(pools[which], (void **)&p->held[which][*n], wanted);
        else
            for (size_t i = 0; i < wanted; i++) p->held[which][*n + i] = take(which);
        for (size_t i = 0; i < wanted; i++) {
            if (!CHECK(p->held[which][*n] != NULL)) return;
            claim(p->held[which][(*n)++], p->me, pool_scanned[which]);
        }
    } else if (what < 50 && *n < HELD) {
        object *o = take(which);
        if (!o) return; // of fixed capacity
        claim(o, p->me, pool_scanned[which]);
        p->held[which][(*n)++] = o;
    } else if (what < 70 && *n) { // some or all
        size_t keep = stress_below(r, 3) ? *n - 1 : 0;
        while (*n > keep) {
            object *o = p->held[which][--*n];
            unclaim(o, p->me);
            give(which, o);
        }
    } else if (*n) { // to somebody else, who gives one in return
        object *o = p->held[which][--*n];
        unclaim(o, p->me);
        o = atomic_exchange(&box[which][stress_below(r, BOXES)], o);
        if (!o) return;
        claim(o, p->me, pool_scanned[which]);
        if (stress_below(r, 2)) {
            unclaim(o, p->me);
            give(which, o);
        } else {
            p->held[which][(*n)++] = o;
        }
    }
}

static void *play(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg);
    struct player *p = gomem_calloc(1, sizeof *p);
    if (!CHECK(p != NULL)) return NULL;
    p->me = (uintptr_t)arg;
    for (size_t i = stress_times(4000); i > 0; i--) {
        step(p, &r);
        if (i % 500 == 0) gomem_gc(); // its own magazines age
    }
    for (unsigned which = 0; which < POOLS; which++)
        while (p->count[which]) {
            object *o = p->held[which][--p->count[which]];
            unclaim(o, p->me);
            give(which, o);
        }
    gomem_free(p);
    return NULL;
}

// A pool of its own, again and again: places and records are used again.
static void *come_and_go(void *arg) {
    struct stress_random r = stress_random_at(99);
    while (!atomic_load(&stop)) {
        bool scan = stress_below(&r, 2);
        gomem_pool *p = gomem_pool_new(&(gomem_pool_options){
            .size = sizeof(object) + stress_below(&r, 500), .flags = scan ? GOMEM_SCAN : 0});
        if (!CHECK(p != NULL)) break;
        object *all[100];
        for (int round = 0; round < 3; round++) {
            size_t n = gomem_pool_get_n(p, (void **)all, stress_below(&r, 100));
            for (size_t i = 0; i < n; i++) claim(all[i], 99, scan);
            for (size_t i = 0; i < n; i++) {
                unclaim(all[i], 99);
                gomem_pool_put(p, all[i]);
            }
        }
        gomem_pool_destroy(p);
    }
    return arg;
}

static void *collect_on(void *arg) {
    while (!atomic_load(&stop)) gomem_gc();
    return arg;
}

static void begin(void) {
    pools[0] = GOMEM_POOL_OF(plain);
    pools[1] = GOMEM_POOL_OF(scanned);
    pools[2] = gomem_pool_new(&(gomem_pool_options){.size = 1000});
    pools[3] = gomem_pool_new(
        &(gomem_pool_options){.size = sizeof(object), .make = make, .drop = drop});
    pools[4] = gomem_pool_new(
        &(gomem_pool_options){.size = sizeof(object), .flags = GOMEM_SCAN, .max_idle = 100});
    pools[5] = gomem_pool_new(&(gomem_pool_options){.size = 100, .capacity = 60000});
    pool_scanned[1] = pool_scanned[4] = true;
    for (unsigned i = 0; i < POOLS; i++)
        if (!CHECK(pools[i] != NULL)) exit(1);
}

static void end(void) {
    for (unsigned which = 0; which < POOLS; which++) {
        for (unsigned i = 0; i < BOXES; i++) {
            object *o = atomic_exchange(&box[which][i], NULL);
            if (o) give(which, o);
        }
        gomem_pool_stats s = gomem_pool_read_stats(pools[which]);
        CHECK(s.idle <= s.high_water);
        gomem_pool_destroy(pools[which]);
    }
    CHECK_EQ(atomic_load(&made), atomic_load(&dropped));
    CHECK(HEAP_IS_WHOLE());
}

TEST(against_a_shadow) {
    pthread_t threads[THREADS], collector, coming;
    (void)stress_seed();
    begin();
    REQUIRE(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
    REQUIRE(gomem_thread_create(&coming, NULL, come_and_go, NULL) == 0);
    for (unsigned round = 0; round < 4; round++) { // threads that end leave what they hold
        for (size_t i = 0; i < THREADS; i++)
            REQUIRE(gomem_thread_create(&threads[i], NULL, play,
                                        (void *)(uintptr_t)(round * THREADS + i + 1)) == 0);
        for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    }
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    pthread_join(coming, NULL);
    end();
}

TEST_MAIN
