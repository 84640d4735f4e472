// Room history: the ring of records.
#include "room.h"

static struct gm_history history;
static struct gm_meta meta;

// A record whose every field tells its number.
static struct gm_past numbered(uint64_t n) {
    struct gm_past p;
    memset(&p, 0, sizeof p);
    p.end = n;
    p.before = p.heap = p.after = p.goal = p.resident = p.whole = p.paused = (uint32_t)n;
    p.first = p.between = p.last = p.gathered = p.pages = (uint32_t)n;
    p.rounds = (uint16_t)n;
    p.tries = p.workers = p.reason = p.collector = p.pad = (uint8_t)n;
    return p;
}

static bool is_numbered(const struct gm_past *p, uint64_t n) {
    struct gm_past want = numbered(n);
    return !memcmp(p, &want, sizeof want);
}

static void add(uint64_t n) {
    struct gm_past p = numbered(n);
    gm_history_add(&history, &meta, &p);
}

static void begin(void) {
    REQUIRE(gm_pages_meta_init(&meta));
    memset(&history, 0, sizeof history);
}

TEST(units) {
    CHECK_EQ(gm_history_in(0, 100), 0);
    CHECK_EQ(gm_history_in(99, 100), 0);
    CHECK_EQ(gm_history_in(12345, 100), 123);
    CHECK_EQ(gm_history_in((uint64_t)UINT32_MAX * 100, 100), UINT32_MAX);
    CHECK_EQ(gm_history_in(UINT64_MAX, 100), UINT32_MAX);
}

// Each of the last records is whole; those before have been replaced.
TEST(records_are_replaced) {
    struct gm_past p;
    begin();
    CHECK_EQ(gm_history_made(&history), 0);
    for (uint64_t n = 0; n < 3 * GM_HISTORY + 7; n++) {
        add(n);
        CHECK_EQ(gm_history_made(&history), n + 1);
        CHECK(gm_history_read(&history, n, &p) && is_numbered(&p, n));
        if (n < GM_HISTORY) continue;
        CHECK(gm_history_read(&history, n + 2 - GM_HISTORY, &p));
        CHECK(is_numbered(&p, n + 2 - GM_HISTORY));
        // the next one to be replaced may be half written already
        CHECK(!gm_history_read(&history, n + 1 - GM_HISTORY, &p));
        CHECK(!gm_history_read(&history, n - GM_HISTORY, &p));
    }
    gm_history_reset(&history);
    CHECK_EQ(gm_history_made(&history), 0);
    add(5);
    CHECK(gm_history_read(&history, 0, &p) && is_numbered(&p, 5));
}

// Each figure of a cycle has its field, in KiB or in 0.1 us.
TEST(records_of_cycles) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_past p;
    gomem_free(gomem_malloc(1)); // from here on there is memory for the ring
    uint64_t n = gm_history_made(&rt->engine.history);
    struct gm_cycle c = {.begin = 1000, .end = 13000, .paused = 300, .first = 400, .between = 500};
    c.last = 600, c.gathered = 700;
    c.before = 8 * GM_KIB, c.heap = 9 * GM_KIB, c.after = 10 * GM_KIB, c.goal = 11 * GM_KIB;
    c.pages = 12, c.rounds = 100000, c.tries = 300, c.workers = 15;
    c.collector = GOMEM_GC_BARRIER, c.limited = true;
    gm_gc_record(rt, &c, GM_REASON_CLOCK);
    REQUIRE(gm_history_made(&rt->engine.history) == n + 1);
    REQUIRE(gm_history_read(&rt->engine.history, n, &p));
    CHECK_EQ(p.end, 13000);
    CHECK_EQ(p.whole, 120);
    CHECK(p.paused == 3 && p.first == 4 && p.between == 5 && p.last == 6 && p.gathered == 7);
    CHECK(p.before == 8 && p.heap == 9 && p.after == 10 && p.goal == 11 && p.pages == 12);
    CHECK(p.rounds == 65535 && p.tries == 255 && p.workers == 15);
    CHECK(p.reason == GM_REASON_CLOCK && p.collector == GOMEM_GC_BARRIER && p.limited);
    CHECK(p.resident > 100);
    c.goal = SIZE_MAX; // cycles are off
    gm_gc_record(rt, &c, GM_REASON_FORCED);
    REQUIRE(gm_history_read(&rt->engine.history, n + 1, &p));
    CHECK(p.goal == UINT32_MAX && p.reason == GM_REASON_FORCED);
}

enum { ADDED = 400000 };
static int done;

static void *write_all(void *arg) {
    (void)arg;
    for (uint64_t n = 0; n < ADDED; n++) add(n);
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    return NULL;
}

// HI1: what a reader is given beside the writer is a whole record, the newest and the oldest ones.
TEST(records_are_whole) {
    pthread_t thread;
    uint64_t given = 0;
    begin();
    REQUIRE(pthread_create(&thread, NULL, write_all, NULL) == 0);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE)) {
        uint64_t made = gm_history_made(&history),
                 oldest = made < GM_HISTORY ? 0 : made + 1 - GM_HISTORY;
        struct gm_past p;
        if (!made) continue;
        if (gm_history_read(&history, made - 1, &p)) {
            given++;
            CHECK(is_numbered(&p, made - 1));
        }
        if (gm_history_read(&history, oldest, &p)) CHECK(is_numbered(&p, oldest));
    }
    pthread_join(thread, NULL);
    CHECK_EQ(gm_history_made(&history), ADDED);
    CHECK(given > 0);
}

TEST_MAIN
