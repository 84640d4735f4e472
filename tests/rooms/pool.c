// Room pool: each object is in use, in a magazine, or free in its slab (PO1), however it was got and put;
// what a pool's size makes of slabs and magazines; the three lists of the depot (PO5).
#define _GNU_SOURCE
#include <stdint.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

// The clock goes when a test says so.
static uint64_t skipped; // ns. atomic: relaxed
static int tell_time(clockid_t clock, struct timespec *ts) {
    int result = clock_gettime(clock, ts);
    uint64_t ns = (uint64_t)ts->tv_nsec + __atomic_load_n(&skipped, __ATOMIC_RELAXED);
    ts->tv_sec += (time_t)(ns / 1000000000u);
    ts->tv_nsec = (long)(ns % 1000000000u);
    return result;
}
#define GOMEM_CLOCK(clock, time) tell_time((clock), (time))

static unsigned asked; // how often the machine's memory was asked for
static int count_sysinfo(struct sysinfo *info) {
    asked++;
    return sysinfo(info);
}
#define sysinfo(info) count_sysinfo(info)
#include "room.h"

enum { MOST = 3000 };

static struct gomem_pool *pool;
static void *held[MOST];
static size_t count;

static unsigned bits_of(const uint64_t *bits, uint32_t n) {
    unsigned set = 0;
    for (uint32_t i = 0; i < n; i++) set += bits[i / 64] >> i % 64 & 1;
    return set;
}

// The slabs of a list; what of them is not free.
static size_t slabs(uint32_t list, bool full) {
    size_t used = 0;
    uint32_t before = 0;
    for (uint32_t at = list; at;) {
        const struct gm_span *s = gm_span_at(gm_pool_pages(), at - 1);
        CHECK(s->use == GM_USE_POOL && s->owner == pool->number);
        CHECK_EQ(s->cursor, before);
        CHECK_EQ(bits_of(gm_pool_bits(s), pool->count), s->used);
        CHECK(full ? s->used == pool->count : s->used < pool->count);
        used += s->used;
        before = at;
        at = s->shape;
    }
    return used;
}

static bool sound(void) {
    int before = test_failed();
    size_t idle = gm_load_rlx(&pool->idle);
    if (pool->shared) idle += gm_pool_cached(pool, pool->shared);
    for (struct gm_pool_cache *h = pool->caches; h; h = h->next) idle += gm_pool_cached(pool, h);
    CHECK_EQ(slabs(pool->room, false) + slabs(pool->full, true), pool->taken); // PO1
    CHECK_EQ(pool->taken, count + idle);
    CHECK(pool->taken <= pool->high && pool->taken <= pool->slots);
    CHECK_EQ(gomem_pool_read_stats(pool).idle, idle);
    return test_failed() == before;
}

static void get(void) {
    if (count < MOST && (held[count] = gomem_pool_get(pool)) != NULL) {
        uint32_t slot = 0;
        CHECK(gm_pool_slab(pool, held[count], &slot) != NULL);
        memset(held[count++], 7, pool->o.size);
    }
}
static void put(void) {
    if (!count) return;
    size_t i = room_below(count);
    gomem_pool_put(pool, held[i]);
    held[i] = held[--count];
}

static void step(void) {
    size_t what = room_below(100), n = 1 + room_below(80);
    if (what < 30) {
        while (n--) get();
    } else if (what < 60) {
        while (n--) put();
    } else if (what < 70) {
        n = GM_MIN(n, MOST - count);
        count += gomem_pool_get_n(pool, held + count, n);
    } else if (what < 80) {
        n = GM_MIN(n, count);
        count -= n;
        gomem_pool_put_n(pool, held + count, n);
    } else if (what < 90) {
        gm_pool_age(1);
    } else if (what < 93) {
        (void)gomem_pool_reserve(pool, room_below(500));
    } else if (what < 95) {
        (void)gomem_free_os_memory();
    } else {
        get();
    }
}

static void walk(gomem_pool_options o) {
    pool = gomem_pool_new(&o);
    REQUIRE(pool != NULL);
    count = 0;
    for (int i = 0; i < 1500; i++) {
        step();
        if (!sound()) return;
    }
    while (count) put();
    CHECK(sound());
    gomem_pool_destroy(pool);
}

static unsigned dropped;
static void drop(void *object, void *user) { dropped += object && !user; }

// What fits into the machine matters only where a number of objects is asked for.
TEST(a_pool_that_grows_does_not_ask_for_the_memory) {
    asked = 0;
    struct gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 64});
    REQUIRE(p != NULL);
    CHECK_EQ(gomem_pool_reserve(p, 0), 0);
    CHECK_EQ(asked, 0);
    CHECK_EQ(gomem_pool_reserve(p, 100), 100);
    CHECK_EQ(asked, 1);
    gomem_pool_destroy(p);
    p = gomem_pool_new(&(gomem_pool_options){.size = 64, .capacity = 100});
    CHECK(p != NULL);
    CHECK_EQ(asked, 2);
    gomem_pool_destroy(p);
}

TEST(small_objects) { walk((gomem_pool_options){.size = 24}); }
TEST(large_objects) { walk((gomem_pool_options){.size = 20000}); }
TEST(scanned) { walk((gomem_pool_options){.size = 100, .flags = GOMEM_SCAN}); }
TEST(dropped_by_a_hook) { walk((gomem_pool_options){.size = 64, .drop = drop}); }
// The depot takes no magazine that would carry it past max_idle: its objects are dropped.
TEST(no_more_is_idle) {
    enum { IDLE = 100, OBJECTS = 500 };
    void *object[OBJECTS];
    gomem_pool *pool = gomem_pool_new(&(gomem_pool_options){.size = 64, .max_idle = IDLE});
    REQUIRE(pool != NULL);
    for (unsigned round = 0; round < 3; round++) {
        for (int i = 0; i < OBJECTS; i++) REQUIRE((object[i] = gomem_pool_get(pool)) != NULL);
        for (int i = 0; i < OBJECTS; i++) {
            gomem_pool_put(pool, object[i]);
            CHECK(pool->idle <= IDLE);
        }
    }
    CHECK(pool->idle > IDLE / 2);
    gomem_pool_destroy(pool);
}

TEST(some_idle) { walk((gomem_pool_options){.size = 64, .max_idle = 200}); }
TEST(fixed) {
    walk((gomem_pool_options){.size = 64, .capacity = 1000});
    walk((gomem_pool_options){.size = 64, .capacity = 40});
}

TEST(shapes) {
    static const size_t sizes[] = {0, 1, 16, 17, 64, 1000, 5000, 65536, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t align = 0; align <= 4096; align = align ? align * 4 : 16) {
            struct gomem_pool p;
            memset(&p, 0, sizeof p);
            gm_pool_shape(&p, &(gomem_pool_options){.size = sizes[i], .align = align});
            CHECK(p.stride >= sizes[i] && p.stride % GM_MAX(align, (size_t)16) == 0);
            CHECK(p.count >= 1 && (p.count == 1 || p.count * p.stride <= GM_POOL_SLAB + GM_PAGE));
            CHECK(p.most >= 2 && p.most <= 63);
            CHECK(p.most == 2 || p.most * p.stride <= 128 * 1024);
        }
    for (size_t n = 1; n < 100000; n = n * 2 + 1) { // a magazine in use, and one before it
        struct gomem_pool p;
        memset(&p, 0, sizeof p);
        gm_pool_shape(&p, &(gomem_pool_options){.size = 16, .max_idle = n});
        CHECK(p.most == 1 || 2 * (size_t)p.most <= n / 2);
        memset(&p, 0, sizeof p);
        gm_pool_shape(&p, &(gomem_pool_options){.size = 16, .capacity = n});
        CHECK(n < 64 || 2 * (size_t)p.most <= n / 32); // idle with another thread
    }
    CHECK_EQ(gm_pool_least_cap(0, 0, 16), 0);
    CHECK_EQ(gm_pool_least_cap(5, 0, 16), 5);
    CHECK_EQ(gm_pool_least_cap(0, 100, 16), 6);
    CHECK_EQ(gm_pool_least_cap(5, 100, 16), 5);
    CHECK_EQ(gm_pool_least_cap(7, 100, 16), 6);
    CHECK_EQ(gm_pool_least_cap(0, 1, 16), 1);
}

// What is idle is full, then victim, then expired, and then gone.
TEST(three_turns) {
    pool = gomem_pool_new(&(gomem_pool_options){.size = 64});
    REQUIRE(pool != NULL);
    for (count = 0; count < MOST;) get();
    while (count) put();
    size_t idle = gomem_pool_read_stats(pool).idle;
    CHECK(idle >= MOST); // some were made ahead
    gm_pool_age(1);
    CHECK_EQ(gomem_pool_read_stats(pool).idle, idle); // victims may still be got
    gm_pool_age(1);
    CHECK(gomem_pool_read_stats(pool).idle < idle / 2);
    gm_pool_age(2);
    CHECK_EQ(gomem_pool_read_stats(pool).idle, 0);
    CHECK(sound());
    gomem_pool_destroy(pool);
}

// PO5: what a thread has used since the last turn stays with it; what it has not goes to the depot.
TEST(caches_keep_what_they_use) {
    pool = gomem_pool_new(&(gomem_pool_options){.size = 64});
    REQUIRE(pool != NULL);
    for (count = 0; count < MOST;) get();
    while (count) put();
    struct gm_pool_cache *h = gm_pool_cache_of(&gm_world_self()->cache, pool->number);
    REQUIRE(h && h->previous && h->turn == pool->turn);
    gm_pool_age(1);
    CHECK(h->previous);
    gm_pool_age(1);
    CHECK(!h->previous);
    CHECK(sound());
    gomem_pool_destroy(pool);
}

static void *kept[150];

// Leaves with an empty magazine to spare.
static void *take_and_go(void *arg) {
    for (int i = 0; i < 150; i++) kept[i] = gomem_pool_get(arg);
    return NULL;
}

// What ended threads have used of magazines others use.
TEST(magazines_of_ended_threads) {
    pool = gomem_pool_new(&(gomem_pool_options){.size = 64});
    REQUIRE(pool != NULL);
    const struct gm_depot *depot = &gm_runtime.engine.depot;
    uint32_t made = 0;
    for (int i = 0; i < 60; i++) {
        pthread_t t;
        REQUIRE(pthread_create(&t, NULL, take_and_go, pool) == 0);
        pthread_join(t, NULL);
        for (int k = 0; k < 150; k++) gomem_pool_put(pool, kept[k]);
        if (i == 20) made = gm_load_rlx(&depot->made);
    }
    CHECK(gm_load_rlx(&depot->made) <= made + 5);
    gomem_pool_destroy(pool);
}

// ---- by the clock ----

static void skip(uint64_t ns) { (void)__atomic_fetch_add(&skipped, ns, __ATOMIC_RELAXED); }

// A pool with idle objects in the depot; sound() looks at it.
static size_t fill(const gomem_pool_options *o) {
    pool = gomem_pool_new(o);
    if (!CHECK(pool != NULL)) exit(1);
    for (count = 0; count < MOST;) get();
    while (count) put();
    return (size_t)gomem_pool_read_stats(pool).idle;
}

// Calls of a pool that go past the thread's own magazine.
static void use(struct gomem_pool *other) {
    void *all[200];
    for (int i = 0; i < GM_POOL_CALLS; i++) {
        if (!CHECK_EQ(gomem_pool_get_n(other, all, 200), 200)) return;
        gomem_pool_put_n(other, all, 200);
    }
}

// A look of the library turns it, as often as it takes, and one that comes too early does not.
TEST(turned_by_the_clock) {
    size_t idle = fill(&(gomem_pool_options){.size = 64});
    for (int i = 0; i < 10; i++) CHECK_EQ(gm_world_tick_pools(&gm_runtime), GM_POOL_LOOK);
    CHECK_EQ(gomem_pool_read_stats(pool).idle, idle);
    for (int i = 0; i < 4; i++) {
        skip(GM_POOL_LOOK + 10000000);
        CHECK_EQ(gm_world_tick_pools(&gm_runtime), GM_POOL_LOOK);
    }
    CHECK_EQ(gomem_pool_read_stats(pool).idle, 0);
    CHECK(sound());
    gomem_pool_destroy(pool);
}

// Another thread may have turned it since this one has read the clock, which may be a coarser one.
TEST(turned_by_another_thread) {
    size_t idle = fill(&(gomem_pool_options){.size = 64});
    uint32_t turn = pool->turn;
    skip(GM_POOL_LOOK + 10000000);
    gm_store_rlx(&pool->aged, gm_os_now() + 1000000000);
    CHECK_EQ(gm_world_tick_pools(&gm_runtime), GM_POOL_LOOK);
    gm_pool_exchanged(&gm_runtime.engine, pool);
    CHECK_EQ(pool->turn, turn);
    CHECK_EQ(gomem_pool_read_stats(pool).idle, idle);
    gomem_pool_destroy(pool);
}

// So do the calls of any other pool, a part at a time; where nobody calls, nothing happens.
TEST(turned_by_another_pool) {
    struct gomem_pool *other = gomem_pool_new(&(gomem_pool_options){.size = 100});
    REQUIRE(other != NULL);
    use(other);
    size_t idle = fill(&(gomem_pool_options){.size = 5000}); // magazines of few
    for (int i = 0; i < 4; i++) {
        skip(GM_POOL_LOOK + 10000000);
        use(other);
    }
    for (int i = 0; i < 10; i++) use(other);
    size_t left = (size_t)gomem_pool_read_stats(pool).idle;
    CHECK(left <= pool->most && left < idle / 10); // the loaded magazine
    CHECK(sound());
    gomem_pool_destroy(pool);
    gomem_pool_destroy(other);
}

// Objects with a drop hook wait for a call of their pool.
TEST(dropped_by_a_call) {
    struct gomem_pool *other = gomem_pool_new(&(gomem_pool_options){.size = 100});
    size_t idle = fill(&(gomem_pool_options){.size = 64, .drop = drop});
    for (int i = 0; i < 4; i++) {
        skip(GM_POOL_LOOK + 10000000);
        use(other);
        (void)gm_world_tick_pools(&gm_runtime);
    }
    CHECK_EQ(gomem_pool_read_stats(pool).idle, idle);
    for (size_t i = 0; i < MOST; i++) CHECK(gm_pool_drop_expired(&gm_runtime, pool) || i > 10);
    CHECK(gomem_pool_read_stats(pool).idle < idle / 2);
    gomem_pool_destroy(pool);
    gomem_pool_destroy(other);
}

#if GOMEM_I_COLLECTOR
// The background thread looks by itself. It is waited for, a minute at most.
TEST(turned_in_the_background) {
    gomem_gc();
    size_t idle = fill(&(gomem_pool_options){.size = 64});
    uint64_t cycles = gm_runtime.gc.ended;
    size_t left = idle;
    for (int i = 0; i < 6000 && left > 2 * pool->most; i++) {
        skip(GM_POOL_LOOK / 50); // as if time ran
        if (i % 100 == 0) gm_gc_wake_background(&gm_runtime);
        usleep(10000);
        left = (size_t)gomem_pool_read_stats(pool).idle;
    }
    CHECK(left <= 2 * pool->most);
    CHECK_EQ(gm_runtime.gc.ended, cycles); // no collection did it
    gomem_pool_destroy(pool);
}
#endif

// ---- many pools ----

// Those that come too late for a place have a hand that the inlined paths find.
TEST(without_a_place) {
    enum { POOLS = GOMEM_I_PLACES + 50 };
    static struct gomem_pool *all[POOLS];
    for (size_t i = 0; i < POOLS; i++) {
        all[i] = gomem_pool_new(&(gomem_pool_options){.size = 64});
        REQUIRE(all[i] != NULL);
        CHECK(!all[i]->far_get == (all[i]->get != 0));
        void *o = gomem_pool_get(all[i]), *q = gomem_pool_get(all[i]);
        REQUIRE(o && q && gomem_pool_get(all[i])); // the third leaves room in the magazine
        gomem_pool_put(all[i], o);
        if (GOMEM_I_CHECK || GM_ASAN) continue;
        CHECK(gomem_i_pool_push(&all[i]->put, q)); // without a call
        CHECK(gomem_i_pool_pop(&all[i]->get) == q);
        CHECK(gomem_i_pool_pop(&all[i]->get) == o);
        void *bulk[2] = {o, q};
        CHECK_EQ(gomem_i_pool_push_n(&all[i]->put, (gomem_i_word *)(void *)bulk, 2), 2);
        CHECK_EQ(gomem_i_pool_pop_n(&all[i]->get, (gomem_i_word *)(void *)bulk, 2), 2);
    }
    CHECK(all[POOLS - 1]->far_get != 0);
    pool = gomem_pool_new(&(gomem_pool_options){.size = 64, .reset = drop});
    REQUIRE(pool != NULL && pool->far_get && !pool->far_put && !pool->put); // each put is told
    count = 0;
    for (int i = 0; i < 300; i++) get();
    while (count) put();
    CHECK(sound());
    gomem_pool_destroy(pool);
    void *late = gomem_pool_get(all[POOLS - 1]);
    gomem_pool_put(all[POOLS - 1], late);
    for (size_t i = 0; i < POOLS; i++) {
        uint32_t number = all[i]->number;
        gomem_pool_destroy(all[i]);
        CHECK(gm_pool_cache_of(&gm_world_self()->cache, number) == NULL);
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
