// Pools: by name and dynamic, contents, hooks, ageing, capacity, reserve, bulk, scanned objects,
// threads that come and go, fork, destroy, statistics, misuse.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KB = 1024, MB = 1024 * 1024 };

typedef struct point {
    long x, y, z;
} point;
typedef struct holder {
    void *held;
    long number;
} holder;
typedef struct wide {
    _Alignas(256) char bytes[300];
} wide;

GOMEM_POOL(points, point);
GOMEM_POOL_SCAN(holders, holder);
GOMEM_POOL(wides, wide);
GOMEM_POOL_DECLARE(shared, point);
GOMEM_POOL_DEFINE(shared, point);

static bool zero(const void *p, size_t n) {
    const char *bytes = p;
    for (size_t i = 0; i < n; i++)
        if (bytes[i]) return false;
    return true;
}
static uint64_t idle(gomem_pool *p) { return gomem_pool_read_stats(p).idle; }

TEST(by_name) {
    point *all[1000];
    for (int i = 0; i < 1000; i++) {
        all[i] = points_get();
        REQUIRE(all[i] != NULL && (uintptr_t)all[i] % 16 == 0);
        CHECK(zero(all[i], sizeof *all[i]));
        all[i]->x = i;
    }
    for (int i = 0; i < 1000; i++) CHECK_EQ(all[i]->x, i);
    for (int i = 0; i < 1000; i++) points_put(all[i]);
    points_put(NULL);
    point *again = points_get(); // what was put last, and its contents
    CHECK(again == all[999] && again->x == 999);
    points_put(again);
    wide *w = wides_get();
    CHECK(w && (uintptr_t)w % 256 == 0);
    wides_put(w);
    point *p = shared_get();
    CHECK(p != NULL);
    shared_put(p);
    CHECK(GOMEM_POOL_OF(points) != GOMEM_POOL_OF(shared));
}

TEST(sizes_and_alignments) {
    for (size_t size = 0; size < 300 * KB; size = size * 5 / 2 + 1)
        for (size_t align = 1; align <= 4096; align *= 8) {
            gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = size, .align = align});
            REQUIRE(p != NULL);
            char *all[20];
            for (int i = 0; i < 20; i++) {
                all[i] = gomem_pool_get(p);
                REQUIRE(all[i] != NULL && (uintptr_t)all[i] % align == 0);
                CHECK(zero(all[i], size));
                memset(all[i], i + 1, size);
            }
            for (int i = 0; i < 20; i++)
                for (size_t k = 0; k < size; k += size / 7 + 1) CHECK_EQ(all[i][k], i + 1);
            for (int i = 0; i < 10; i++) gomem_pool_put(p, all[i]);
            gomem_pool_destroy(p);
        }
    CHECK(HEAP_IS_WHOLE());
}

TEST(options_that_are_wrong) {
    errno = 0;
    CHECK(!gomem_pool_new(&(gomem_pool_options){.size = 8, .align = 24}) && errno == EINVAL);
    errno = 0;
    CHECK(!gomem_pool_new(&(gomem_pool_options){.size = 8, .flags = GOMEM_NOSCAN}) &&
          errno == EINVAL);
    errno = 0;
    CHECK(!gomem_pool_new(&(gomem_pool_options){.size = SIZE_MAX}) && errno == ENOMEM);
    errno = 0;
    CHECK(!gomem_pool_new(&(gomem_pool_options){.size = PTRDIFF_MAX}) && errno == ENOMEM);
    errno = 0;
    CHECK(!gomem_pool_new(&(gomem_pool_options){.size = 1 << 20, .capacity = SIZE_MAX}) &&
          errno == ENOMEM);
    CHECK(HEAP_IS_WHOLE());
    gomem_pool_destroy(NULL);
}

TEST(many_at_once) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 40});
    REQUIRE(p != NULL);
    void *all[500];
    for (size_t n = 0; n <= 500; n += 50) {
        REQUIRE(gomem_pool_get_n(p, all, n) == n);
        for (size_t i = 0; i < n; i++) memset(all[i], (int)i, 40);
        for (size_t i = 0; i < n; i++) CHECK_EQ(*(unsigned char *)all[i], (unsigned char)i);
        gomem_pool_put_n(p, all, n);
    }
    all[0] = gomem_pool_get(p), all[1] = NULL, all[2] = gomem_pool_get(p);
    gomem_pool_put_n(p, all, 3); // NULL is nothing
    CHECK_EQ(idle(p), gomem_pool_read_stats(p).high_water);
    gomem_pool_destroy(p);
    point *some[100];
    REQUIRE(points_get_n(some, 100) == 100);
    for (int i = 0; i < 100; i++) some[i]->z = i;
    for (int i = 0; i < 100; i++) CHECK_EQ(some[i]->z, i);
    points_put_n(some, 100);
}

// ---- hooks ----

struct counts {
    int made, reset, dropped;
    gomem_pool *pool;
    point *inner; // what a hook got from the pool
};
static void make(void *obj, void *user) {
    struct counts *c = user;
    CHECK(zero(obj, sizeof(point)));
    ((point *)obj)->x = 77;
    c->made++;
}
static void reset(void *obj, void *user) {
    struct counts *c = user;
    ((point *)obj)->y = 0;
    c->reset++;
}
static void drop(void *obj, void *user) {
    struct counts *c = user;
    CHECK_EQ(((point *)obj)->x, 77);
    c->dropped++;
}

TEST(hooks) {
    struct counts c = {0};
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){
        .size = sizeof(point), .make = make, .reset = reset, .drop = drop, .user = &c});
    REQUIRE(p != NULL);
    point *all[300];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++) {
            all[i] = gomem_pool_get(p);
            REQUIRE(all[i] != NULL);
            CHECK(all[i]->x == 77 && all[i]->y == 0);
            all[i]->y = 5;
        }
        for (int i = 0; i < 300; i++) gomem_pool_put(p, all[i]);
        CHECK(c.made == 300 && c.reset == 300 * (round + 1) && c.dropped == 0);
    }
    point *kept = gomem_pool_get(p);
    REQUIRE(kept != NULL);
    gomem_pool_destroy(p);
    CHECK_EQ(c.dropped, 299); // kept is not idle
}

static void count_dropped(void *obj, void *user) {
    struct counts *c = user;
    CHECK_EQ(((point *)obj)->x, 7); // what a user has written
    c->dropped++;
}

// Also where no hook makes objects, and they could be taken from their slab many at a time.
TEST(only_what_was_got_is_dropped) {
    struct counts c = {0};
    gomem_pool *p = gomem_pool_new(
        &(gomem_pool_options){.size = sizeof(point), .drop = count_dropped, .user = &c});
    REQUIRE(p != NULL);
    point *all[70];
    REQUIRE(gomem_pool_get_n(p, (void **)all, 70) == 70);
    for (int i = 0; i < 70; i++) all[i]->x = 7;
    gomem_pool_put_n(p, (void **)all, 70);
    gomem_pool_destroy(p);
    CHECK_EQ(c.dropped, 70);
}

static void make_from_itself(void *obj, void *user) {
    struct counts *c = user;
    (void)obj;
    if (++c->made == 2) c->inner = gomem_pool_get(c->pool);
}
static void reset_with_put(void *obj, void *user) {
    struct counts *c = user;
    (void)obj;
    c->reset++;
    if (c->inner) {
        point *inner = c->inner;
        c->inner = NULL;
        gomem_pool_put(c->pool, inner);
    }
}
static void drop_with_get(void *obj, void *user) {
    struct counts *c = user;
    (void)obj;
    if (c->dropped++ == 0 && c->pool) gomem_pool_put(c->pool, gomem_pool_get(c->pool));
}

TEST(hooks_call_back) {
    struct counts c = {0};
    c.pool = gomem_pool_new(&(gomem_pool_options){.size = sizeof(point),
                                                  .make = make_from_itself,
                                                  .reset = reset_with_put,
                                                  .drop = drop_with_get,
                                                  .user = &c});
    REQUIRE(c.pool != NULL);
    point *a = gomem_pool_get(c.pool), *b = gomem_pool_get(c.pool);
    REQUIRE(a && b && c.inner && c.inner != a && c.inner != b);
    gomem_pool_put(c.pool, a);
    gomem_pool_put(c.pool, b);
    CHECK(c.made == 3 && c.reset == 3 && idle(c.pool) == 3);
    point *all[300];
    REQUIRE(gomem_pool_get_n(c.pool, (void **)all, 300) == 300);
    gomem_pool_put_n(c.pool, (void **)all, 300);
    for (int i = 0; i < 4; i++) gomem_gc();
    CHECK_EQ(c.dropped, 0); // what is expired waits for a call
    for (int i = 0; i < 5; i++) gomem_pool_put(c.pool, gomem_pool_get(c.pool));
    CHECK(c.dropped > 100);
    gomem_pool *pool = c.pool;
    c.pool = NULL;
    gomem_pool_destroy(pool);
    CHECK_EQ(c.dropped, c.made);
}

// ---- ageing ----

static void fill(gomem_pool *p, size_t n) {
    void **all = gomem_malloc(n * sizeof *all);
    REQUIRE(all != NULL);
    REQUIRE(gomem_pool_get_n(p, all, n) == n);
    gomem_pool_put_n(p, all, n);
    gomem_free(all);
}

TEST(idle_for_two_collections) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 500});
    REQUIRE(p && GOMEM_NEW(long)); // the collector is there
    fill(p, 5000);
    uint64_t most = idle(p);
    CHECK(most >= 5000);
    gomem_gc();
    CHECK_EQ(idle(p), most); // a victim is still there
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    uint64_t before = m.heap_inuse;
    gomem_gc();
    gomem_gc();
    CHECK_EQ(idle(p), 0);
    gomem_read_memstats(&m);
    CHECK(m.heap_inuse + 2 * MB < before);
    char *fresh = gomem_pool_get(p);
    CHECK(fresh && zero(fresh, 500));
    gomem_pool_put(p, fresh);
    gomem_pool_destroy(p);
}

TEST(victims_are_used) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 500});
    REQUIRE(p != NULL);
    fill(p, 1000);
    uint64_t misses = gomem_pool_read_stats(p).misses;
    for (int i = 0; i < 6; i++) {
        gomem_gc();
        fill(p, 1000);
    }
    CHECK_EQ(gomem_pool_read_stats(p).misses, misses);
    gomem_pool_destroy(p);
}

// An object that came through the depot is a hit once, whatever is checked.
TEST(hits_are_counted_once) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 500});
    REQUIRE(p != NULL);
    fill(p, 1000);
    uint64_t hits = gomem_pool_read_stats(p).hits;
    for (int i = 0; i < 5; i++) fill(p, 1000);
    hits = gomem_pool_read_stats(p).hits - hits;
    CHECK(hits > 2000 && hits <= 5000);
    gomem_pool_destroy(p);
}

// A cycle that this thread runs takes its loaded magazine, and leaves what is behind it.
TEST(aged_in_the_middle) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 100});
    void *all[400];
    REQUIRE(p && gomem_pool_get_n(p, all, 400) == 400);
    for (int i = 0; i < 400; i++) {
        gomem_pool_put(p, all[i]);
        if (i % 67 == 66) gomem_gc();
    }
    uint64_t put = idle(p);
    CHECK(put >= 100 && put <= gomem_pool_read_stats(p).high_water);
    size_t n = gomem_pool_get_n(p, all, 400);
    gomem_gc();
    gomem_pool_put_n(p, all, n);
    gomem_pool_destroy(p);
    CHECK(HEAP_IS_WHOLE());
}

TEST(slots_come_back_zero) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 200});
    REQUIRE(p != NULL);
    char *keep = gomem_pool_get(p); // its slab stays
    char *all[100];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 100; i++) {
            all[i] = gomem_pool_get(p);
            REQUIRE(all[i] != NULL);
            CHECK(zero(all[i], 200));
            memset(all[i], 9, 200);
        }
        for (int i = 0; i < 100; i++) gomem_pool_put(p, all[i]);
        for (int i = 0; i < 4; i++) gomem_gc();
        CHECK_EQ(idle(p), 0);
    }
    gomem_pool_put(p, keep);
    gomem_pool_destroy(p);
}

TEST(free_os_memory) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 1000});
    REQUIRE(p != NULL);
    fill(p, 5000);
    (void)gomem_free_os_memory();
    CHECK_EQ(idle(p), 0);
    gomem_pool_destroy(p);
}

TEST(max_idle) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 100, .max_idle = 400});
    REQUIRE(p != NULL);
    fill(p, 5000);
    for (int i = 0; i < 100; i++) gomem_pool_put(p, gomem_pool_get(p));
    uint64_t n = idle(p);
    CHECK(n >= 200 && n <= 1000);
    for (int i = 0; i < 5; i++) gomem_gc();
    CHECK_EQ(idle(p), n); // without ageing
    gomem_pool_destroy(p);
}

// ---- capacity and reserve ----

TEST(capacity) {
    for (size_t capacity = 1; capacity < 5000; capacity = capacity * 3 + 1) {
        gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 100, .capacity = capacity});
        REQUIRE(p != NULL);
        void **all = gomem_calloc(capacity + 1, sizeof *all);
        REQUIRE(all != NULL);
        for (int round = 0; round < 2; round++) {
            for (size_t i = 0; i < capacity; i++) {
                all[i] = gomem_pool_get(p);
                REQUIRE(all[i] != NULL);
            }
            errno = 0;
            CHECK(gomem_pool_get(p) == NULL && errno == ENOMEM);
            CHECK_EQ(gomem_pool_get_n(p, all + capacity, 1), 0);
            gomem_pool_put_n(p, all, capacity);
            gomem_gc();
        }
        CHECK_EQ(gomem_pool_read_stats(p).high_water, capacity);
        CHECK_EQ(idle(p), capacity);
        CHECK_EQ(gomem_pool_reserve(p, 7), capacity);
        gomem_free(all);
        gomem_pool_destroy(p);
    }
}

// The objects of a pool with a capacity, or with a cap on idle ones, stay at any age.
TEST(bounded_pools_do_not_age) {
    for (int capped = 0; capped < 2; capped++) {
        struct counts c = {0};
        gomem_pool_options options = {
            .size = sizeof(point), .make = make, .reset = reset, .drop = drop, .user = &c};
        if (capped) options.max_idle = 10000;
        else options.capacity = 300;
        gomem_pool *p = gomem_pool_new(&options);
        REQUIRE(p && GOMEM_NEW(long)); // the collector is there
        point *all[300];
        for (int round = 0; round < 5; round++) {
            REQUIRE(gomem_pool_get_n(p, (void **)all, 300) == 300);
            gomem_pool_put_n(p, (void **)all, 300);
            for (int i = 0; i < 4; i++) gomem_gc();
        }
        CHECK(c.made == 300 && c.dropped == 0);
        gomem_pool_destroy(p);
        CHECK_EQ(c.dropped, 300);
    }
}

// The smaller of both caps holds; bytes are those of rounded objects, and one is enough for any.
TEST(caps_in_bytes) {
    static const struct {
        size_t capacity, bytes, expected;
    } caps[] = {{0, 11200, 100}, {50, 11200, 50}, {500, 11311, 100}, {0, 1, 1}, {3, 0, 3}};
    for (size_t i = 0; i < sizeof caps / sizeof caps[0]; i++) {
        gomem_pool *p = gomem_pool_new(&(gomem_pool_options){
            .size = 100, .capacity = caps[i].capacity, .capacity_bytes = caps[i].bytes});
        REQUIRE(p != NULL);
        size_t n = 0;
        while (gomem_pool_get(p)) n++;
        CHECK_EQ(n, caps[i].expected);
        gomem_pool_destroy(p);
    }
    CHECK(gomem_pool_new(&(gomem_pool_options){.size = 100, .capacity_bytes = SIZE_MAX}) == NULL);
    CHECK(errno == ENOMEM);
    gomem_pool *p = gomem_pool_new(
        &(gomem_pool_options){.size = 100, .max_idle = 100000, .max_idle_bytes = 44800});
    REQUIRE(p != NULL);
    fill(p, 5000);
    for (int i = 0; i < 100; i++) gomem_pool_put(p, gomem_pool_get(p));
    CHECK(idle(p) >= 200 && idle(p) <= 1000);
    gomem_pool_destroy(p);
}

TEST(reserve) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 1000});
    REQUIRE(p != NULL);
    CHECK_EQ(gomem_pool_reserve(p, 2000), 2000);
    gomem_memstats m = {.size = sizeof m};
    for (int round = 0; round < 2; round++) {
        gomem_read_memstats(&m);
        uint64_t before = m.heap_inuse;
        fill(p, 2000);
        gomem_read_memstats(&m);
        CHECK(m.heap_inuse <= before + 256 * KB);
        for (int i = 0; i < 4; i++) gomem_gc(); // it stays
    }
    CHECK_EQ(gomem_pool_reserve(p, 0), 0);
    gomem_pool_destroy(p);
}

// More than there can ever be: at once, and nothing is kept.
TEST(reserve_too_much) {
    volatile int negative = -1;
    const size_t counts[] = {(size_t)1 << 30, (size_t)1 << 40, SIZE_MAX / 1000, (size_t)negative};
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 10000});
    REQUIRE(p != NULL);
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    uint64_t before = m.heap_sys + m.mspan_sys;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        errno = 0;
        CHECK_EQ(gomem_pool_reserve(p, counts[i]), 0);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_pool_new(&(gomem_pool_options){.size = 10000, .capacity = counts[i]}) == NULL);
        CHECK_EQ(errno, ENOMEM);
    }
    gomem_read_memstats(&m);
    CHECK_EQ(m.heap_sys + m.mspan_sys, before);
    CHECK_EQ(gomem_pool_reserve(p, 10), 10);
    gomem_pool_destroy(p);
}

// ---- scanned ----

static gomem_weak weak_of(const holder *h) { return gomem_weak_make(h->held); }

TEST(scanned_objects_are_roots) {
    holder *all[500];
    gomem_weak w[500];
    for (int i = 0; i < 500; i++) {
        all[i] = holders_get();
        REQUIRE(all[i] != NULL);
        long *number = GOMEM_NEW(long);
        REQUIRE(number != NULL);
        *number = i;
        GOMEM_STORE(&all[i]->held, number);
        w[i] = weak_of(all[i]);
    }
    gomem_gc();
    for (int i = 0; i < 500; i++) CHECK_EQ(*(long *)all[i]->held, i);
    for (int i = 0; i < 500; i++) holders_put(all[i]); // idle ones hold what they held
    memset(all, 0, sizeof all);
    gomem_gc();
    int alive = 0;
    for (int i = 0; i < 500; i++) alive += gomem_weak_get(w[i]) != NULL;
    CHECK_EQ(alive, 500);
    for (int i = 0; i < 4; i++) gomem_gc(); // the idle ones go
    alive = 0;
    for (int i = 0; i < 500; i++) alive += gomem_weak_get(w[i]) != NULL;
    CHECK(alive < 10);
    CHECK(HEAP_IS_WHOLE());
}

// A slab that one object keeps holds nothing for those that went.
TEST(gone_objects_hold_nothing) {
    gomem_pool *p = gomem_pool_new(
        &(gomem_pool_options){.size = sizeof(holder), .flags = GOMEM_SCAN});
    REQUIRE(p != NULL);
    holder *keep = gomem_pool_get(p), *all[100];
    gomem_weak w[100];
    for (int i = 0; i < 100; i++) {
        all[i] = gomem_pool_get(p);
        REQUIRE(keep && all[i]);
        GOMEM_STORE(&all[i]->held, (void *)GOMEM_NEW(long));
        w[i] = weak_of(all[i]);
    }
    gomem_pool_put_n(p, (void **)all, 100);
    memset(all, 0, sizeof all);
    for (int i = 0; i < 5; i++) gomem_gc();
    int alive = 0;
    for (int i = 0; i < 100; i++) alive += gomem_weak_get(w[i]) != NULL;
    CHECK(alive < 5);
    gomem_pool_put(p, keep);
    gomem_pool_destroy(p);
}

// ---- threads ----

static void *put_all(void *arg) {
    void **all = arg;
    gomem_pool *p = all[0];
    for (int i = 1; i <= 200; i++) gomem_pool_put(p, all[i]);
    return NULL;
}

// What a thread held comes back when it ends.
TEST(thread_ends) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 32, .capacity = 200});
    REQUIRE(p != NULL);
    for (int round = 0; round < 20; round++) {
        void *all[201] = {p};
        REQUIRE(gomem_pool_get_n(p, all + 1, 200) == 200);
        pthread_t t;
        REQUIRE(pthread_create(&t, NULL, put_all, all) == 0);
        pthread_join(t, NULL);
    }
    CHECK_EQ(idle(p), 200);
    gomem_pool_destroy(p);
}

struct meeting {
    gomem_pool *p;
    pthread_barrier_t both;
    void *all[400];
};
static void *put_and_wait(void *arg) {
    struct meeting *m = arg;
    for (int i = 0; i < 400; i++) gomem_pool_put(m->p, m->all[i]);
    pthread_barrier_wait(&m->both);
    pthread_barrier_wait(&m->both);
    return NULL;
}

// While the depot is empty a thread takes what another one has behind its loaded magazine.
TEST(stolen) {
    static struct meeting m;
    m.p = gomem_pool_new(&(gomem_pool_options){.size = 16});
    REQUIRE(m.p && gomem_pool_get_n(m.p, m.all, 400) == 400);
    pthread_barrier_init(&m.both, NULL, 2);
    pthread_t t;
    REQUIRE(pthread_create(&t, NULL, put_and_wait, &m) == 0);
    pthread_barrier_wait(&m.both);
    uint64_t misses = gomem_pool_read_stats(m.p).misses;
    size_t got = 0;
    while (gomem_pool_read_stats(m.p).misses == misses && got < 400)
        m.all[got++] = gomem_pool_get(m.p);
    CHECK(got > 400 - 64);
    pthread_barrier_wait(&m.both);
    pthread_join(t, NULL);
    gomem_pool_destroy(m.p);
    pthread_barrier_destroy(&m.both);
}

static void *hold_and_wait(void *arg) {
    struct meeting *m = arg;
    gomem_pool_put(m->p, m->all[0]);
    pthread_barrier_wait(&m->both);
    pthread_barrier_wait(&m->both);
    void *mine = gomem_pool_get(m->p); // a new pool, perhaps in the old one's place
    CHECK(mine && zero(mine, 100));
    gomem_pool_put(m->p, mine);
    return NULL;
}

// A pool that was destroyed leaves nothing in the caches of other threads.
TEST(destroyed_elsewhere) {
    static struct meeting m;
    pthread_barrier_init(&m.both, NULL, 2);
    for (int round = 0; round < 100; round++) {
        gomem_pool *p = m.p = gomem_pool_new(&(gomem_pool_options){.size = 100});
        REQUIRE(p && (m.all[0] = gomem_pool_get(p)) != NULL);
        memset(m.all[0], 1, 100);
        pthread_t t;
        REQUIRE(pthread_create(&t, NULL, hold_and_wait, &m) == 0);
        pthread_barrier_wait(&m.both);
        gomem_pool_destroy(p);
        m.p = gomem_pool_new(&(gomem_pool_options){.size = 100});
        REQUIRE(m.p != NULL);
        pthread_barrier_wait(&m.both);
        pthread_join(t, NULL);
        gomem_pool_destroy(m.p);
    }
    pthread_barrier_destroy(&m.both);
    CHECK(HEAP_IS_WHOLE());
}

TEST(more_pools_than_places) {
    gomem_pool *all[200];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 200; i++) {
            all[i] = gomem_pool_new(&(gomem_pool_options){.size = i + 1});
            REQUIRE(all[i] != NULL);
        }
        for (int i = 0; i < 200; i++) fill(all[i], 100);
        for (int i = 0; i < 200; i++) CHECK(idle(all[i]) >= 100);
        for (int i = 0; i < 200; i++) gomem_pool_destroy(all[i]);
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST(destroyed_by_name) {
    gomem_pool *before = GOMEM_POOL_OF(points);
    point *p = points_get();
    REQUIRE(p != NULL);
    p->x = 5;
    points_put(p);
    gomem_pool_destroy(before);
    p = points_get(); // a new one
    CHECK(p && p->x == 0);
    points_put(p);
    CHECK_EQ(idle(GOMEM_POOL_OF(points)), gomem_pool_read_stats(GOMEM_POOL_OF(points)).high_water);
}

static void *wait_in_thread(void *arg) { return put_and_wait(arg); }

TEST(forked) {
    static struct meeting m;
    m.p = gomem_pool_new(&(gomem_pool_options){.size = 16, .capacity = 400});
    REQUIRE(m.p && gomem_pool_get_n(m.p, m.all, 400) == 400);
    pthread_barrier_init(&m.both, NULL, 2);
    pthread_t t;
    REQUIRE(pthread_create(&t, NULL, wait_in_thread, &m) == 0);
    pthread_barrier_wait(&m.both);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) { // it has all that the thread held
        size_t got = gomem_pool_get_n(m.p, m.all, 400);
        gomem_pool_put_n(m.p, m.all, got);
        _exit(got == 400 && HEAP_IS_WHOLE() ? 0 : 1);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    pthread_barrier_wait(&m.both);
    pthread_join(t, NULL);
    pthread_barrier_destroy(&m.both);
    gomem_pool_destroy(m.p);
}

// ---- misuse ----

static unsigned told;
static const char *expected;
static void hear(const char *line, void *user) {
    (void)user;
    told += strstr(line, expected) != NULL;
}

TEST(misuse_is_told) {
    gomem_options options = {.panic = hear};
    REQUIRE(gomem_init(&options));
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 64});
    REQUIRE(p != NULL);
    char *a = gomem_pool_get(p), *b = gomem_pool_get(p);
    REQUIRE(a && b);
    expected = "free of an object of a pool";
    gomem_free(test_opaque(a));
    CHECK_EQ(told, 1);
    CHECK(gomem_base(a) == NULL && gomem_usable_size(a) == 0);
    char *volatile none = gomem_realloc(test_opaque(a), 100);
    CHECK(none == NULL && told == 2);
    told = 0;
    if (GOMEM_I_CHECK >= 1) {
        expected = "is put twice";
        gomem_pool_put(p, a);
        gomem_pool_put(p, a);
        CHECK_EQ(told, 1);
        expected = "no object of the pool";
        gomem_pool_put(p, b + 1);
        gomem_pool_put(p, &told);
        gomem_pool_put(p, test_opaque(&expected));
        point *other = points_get();
        gomem_pool_put(p, other);
        points_put(other);
        CHECK_EQ(told, 5);
    } else {
        gomem_pool_put(p, a);
    }
    gomem_pool_put(p, b);
    told = 0;
    expected = "was destroyed";
    gomem_pool_destroy(p);
    CHECK(gomem_pool_get(p) == NULL && errno == EINVAL);
    gomem_pool_put(p, a);
    gomem_pool_destroy(p);
    CHECK_EQ(told, 3);
    options.panic = NULL;
    CHECK(HEAP_IS_WHOLE());
}

// At level 0 what was put twice is found out when its memory goes.
TEST(put_twice_is_found_out_late) {
    gomem_options options = {.panic = hear};
    if (GOMEM_I_CHECK >= 1) return; // at once
    REQUIRE(gomem_init(&options));
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 64});
    REQUIRE(p != NULL);
    told = 0;
    expected = "is put twice";
    void *a = gomem_pool_get(p);
    gomem_pool_put(p, a);
    gomem_pool_put(p, a);
    gomem_pool_destroy(p);
    CHECK_EQ(told, 1);
    CHECK(HEAP_IS_WHOLE());
}

TEST(poisoned) {
    if (!child_is_watched()) return;
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 40});
    REQUIRE(p != NULL);
    char *a = gomem_pool_get(p), *b = gomem_pool_get(p);
    REQUIRE(a && b);
    CHECK(!child_caught(a) && !child_caught(a + 39) && child_caught(a + 40) && !child_caught(b));
    gomem_pool_put(p, a);
    CHECK(child_caught(a) && !child_caught(b));
    CHECK(gomem_pool_get(p) == a && !child_caught(a));
    gomem_pool_destroy(p);
}

// Last: the pools of before are void, and those by name begin anew.
TEST(shutdown) {
    gomem_shutdown();
    errno = 0;
    CHECK(points_get() == NULL && errno == ESHUTDOWN);
    REQUIRE(gomem_init(NULL));
    point *p = points_get(), *q = shared_get();
    CHECK(p && q && zero(p, sizeof *p));
    points_put(p);
    shared_put(q);
    CHECK(points_get() == p && shared_get() == q);
    gomem_pool *d = gomem_pool_new(&(gomem_pool_options){.size = 10});
    CHECK(d && gomem_pool_get(d));
}

// A heap that ends before the reservation does: what was taken for it goes back, what was there stays.
TEST(reserve_to_the_end) {
    gomem_options options = {.reserve = 64 * MB};
    gomem_shutdown();
    REQUIRE(gomem_init(&options));
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 1000});
    char *large = gomem_malloc(40 * MB);
    REQUIRE(p && large);
    CHECK_EQ(gomem_pool_reserve(p, 1000), 1000);
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    uint64_t before = m.heap_inuse;
    errno = 0;
    size_t have = gomem_pool_reserve(p, 50000);
    CHECK(have >= 1000 && have < 50000 && errno == ENOMEM);
    gomem_read_memstats(&m);
    CHECK(m.heap_inuse <= before + 256 * KB);
    gomem_free(large);
    errno = 0;
    CHECK_EQ(gomem_pool_reserve(p, 30000), 30000);
    CHECK_EQ(errno, 0);
    CHECK_EQ(gomem_pool_reserve(p, 0), 0);
    gomem_read_memstats(&m);
    CHECK(m.heap_inuse <= before); // all of it is free now
    CHECK(HEAP_IS_WHOLE());
}

// One life of the library with pools of each kind, named ones among them.
static void live_once(void) {
    gomem_pool *all[20];
    CHECK(gomem_init(NULL));
    for (size_t i = 0; i < 20; i++) {
        all[i] = gomem_pool_new(&(gomem_pool_options){.size = 100, .capacity = i % 4 * 10});
        if (!CHECK(all[i] != NULL)) return;
        gomem_pool_put(all[i], gomem_pool_get(all[i]));
    }
    gomem_pool_destroy(all[7]);
    points_put(points_get());
    point *p = shared_get(), *other = points_get();
    CHECK(p && other && p != other);
    shared_put(p);
    points_put(other);
    CHECK(HEAP_IS_WHOLE());
}

static size_t resident(void) {
    unsigned long all = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%lu %lu", &all, &pages) != 2) pages = 0;
    if (file) fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

// What a pool takes for its records is used again after a shutdown.
TEST(lives_cost_nothing) {
    size_t before = 0;
    for (int life = 0; life < 400 && !test_failed(); life++) {
        gomem_shutdown();
        live_once();
        if (life == 100) before = resident();
    }
    if (!before) SKIP("no /proc/self/statm");
    CHECK(resident() <= before + 3 * MB);
}

TEST_MAIN
