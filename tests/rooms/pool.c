// Room pool: each object is in use, in a magazine, or free in its slab (B1), however it was got and put;
// what a pool's size makes of slabs and magazines; the three lists of the depot (B5).
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
    if (pool->shared) idle += gm_pool_in_hand(pool, pool->shared);
    for (struct gm_hand *h = pool->hands; h; h = h->next) idle += gm_pool_in_hand(pool, h);
    CHECK_EQ(slabs(pool->room, false) + slabs(pool->full, true), pool->taken); // B1
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

TEST(small_objects) { walk((gomem_pool_options){.size = 24}); }
TEST(large_objects) { walk((gomem_pool_options){.size = 20000}); }
TEST(scanned) { walk((gomem_pool_options){.size = 100, .flags = GOMEM_SCAN}); }
TEST(dropped_by_a_hook) { walk((gomem_pool_options){.size = 64, .drop = drop}); }
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
            CHECK(p.most >= 2 && p.most <= GM_MAGAZINE_LAST);
            CHECK(p.most == 2 || p.most * p.stride <= GM_POOL_MAGAZINE);
        }
    CHECK_EQ(gm_pool_least_cap(0, 0, 16), 0);
    CHECK_EQ(gm_pool_least_cap(5, 0, 16), 5);
    CHECK_EQ(gm_pool_least_cap(0, 100, 16), 6);
    CHECK_EQ(gm_pool_least_cap(5, 100, 16), 5);
    CHECK_EQ(gm_pool_least_cap(7, 100, 16), 6);
    CHECK_EQ(gm_pool_least_cap(0, 1, 16), 1);
}

// What is idle is full, then victim, then doomed, and then gone.
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

TEST_MAIN
