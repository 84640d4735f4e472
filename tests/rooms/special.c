// Room special: records by number and by object, handles, lists, the walk of a cycle.
#include "room.h"

#include <sys/time.h>

static struct gm_engine engine;
static struct gm_special *const special = &engine.special;
static struct gm_span *span;
static const union gm_callback none;
static int calls;

static void called(void *arg) { calls += arg == NULL; }

static const union gm_callback callback = {.cleanup = called};

static const struct gm_pages *pages(void) { return &engine.heap.pages; }

// An engine with one span of objects of 48 bytes, and no records.
static bool begin(void) {
    if (!room_engine(&engine, 4)) return false;
    gm_special_init(special, &engine.meta);
    span = gm_heap_take(&engine.heap, GM_SCAN, 5, 0, 0);
    if (!CHECK(span != NULL)) return false;
    span->fresh = span->count;
    span->special = 1;
    gm_heap_publish(&engine.heap, span);
    return true;
}

static uintptr_t object(uint32_t i) { return gm_span_slot(pages(), span, i); }

static void mark(uint32_t i, bool reached) {
    struct gm_color *c = room_color(pages(), span, i);
    c->mark = reached ? c->mark | room_bit(pages(), span, i)
                      : c->mark & ~room_bit(pages(), span, i);
}

static uint64_t add(uint32_t i, enum gm_special_kind kind) {
    int error = 0;
    size_t more = 0;
    bool calling = kind != GM_SPECIAL_WEAK;
    return gm_special_add(special, object(i), kind, calling ? callback : none, 0, &error, &more);
}

static void settle(struct gm_special_list *list, bool all) {
    while (gm_special_conclude(special, pages(), list, all)) {}
}

// Records that are neither free nor soon will be.
static uint32_t in_use(void) { return special->used - special->gone_count; }

static bool sound(void) {
    uintptr_t where = 0;
    const char *broken = gm_special_verify_stopped(special, pages(), &where);
    if (broken) printf("\n    %s", broken);
    return broken == NULL;
}

TEST(parts) {
    uint32_t next = 0;
    for (unsigned part = 0; part < GM_SPECIAL_PARTS; part++) {
        uint32_t base = gm_special_base(part), n = (uint32_t)GM_SPECIAL_FIRST << part;
        CHECK_EQ(base, next);
        CHECK_EQ(gm_special_part(base), part);
        CHECK_EQ(gm_special_part(base + n - 1), part);
        next = base + n;
    }
}

TEST(one_of_each) {
    REQUIRE(begin());
    for (uint32_t i = 0; i < 100; i++) {
        uint64_t weak = add(i, GM_SPECIAL_WEAK);
        CHECK(weak != 0 && add(i, GM_SPECIAL_WEAK) == weak);
        CHECK(add(i, GM_SPECIAL_FINALIZER) != 0 && add(i, GM_SPECIAL_FINALIZER) == 0);
        CHECK(add(i, GM_SPECIAL_COUNT) != 0 && add(i, GM_SPECIAL_COUNT) == 0);
        CHECK(add(i, GM_SPECIAL_CLEANUP) != add(i, GM_SPECIAL_CLEANUP));
        CHECK_EQ(gm_special_weak_get(special, weak), object(i));
        CHECK(gm_special_count(special, object(i)) != NULL);
        CHECK(gm_special_count(special, object(i) + 16) == NULL);
    }
    CHECK_EQ(special->used, 500);
    CHECK(sound());
    for (uint32_t i = 0; i < 100; i++) gm_special_forget(special, object(i));
    CHECK_EQ(special->count, 200);
    struct gm_ready_callback turn;
    for (int i = 0; i < 200; i++) {
        REQUIRE(gm_special_pop(special, &turn));
        CHECK(turn.kind == GM_SPECIAL_CLEANUP && !turn.self);
    }
    CHECK(!gm_special_pop(special, &turn));
    CHECK_EQ(in_use(), 0);
    CHECK(sound());
}

// Random adding, forgetting, moving, against a list.
TEST(random_operations) {
    enum { OBJECTS = 300 };
    static uint64_t weak[OBJECTS];
    REQUIRE(begin());
    for (int step = 0; step < 200000; step++) {
        uint32_t i = (uint32_t)room_below(OBJECTS), k = (uint32_t)room_below(OBJECTS);
        struct gm_ready_callback turn;
        switch (room_below(6)) {
        case 0: weak[i] = add(i, GM_SPECIAL_WEAK); break;
        case 1:
            gm_special_forget(special, object(i));
            weak[i] = 0;
            break;
        case 2:
            if (weak[k] || i == k) break;
            gm_special_forget(special, object(k));
            gm_special_move(special, object(i), object(k));
            weak[k] = weak[i];
            weak[i] = 0;
            break;
        case 3: gm_special_cancel(special, add(i, GM_SPECIAL_CLEANUP)); break;
        case 4: (void)add(i, (enum gm_special_kind)(2 + room_below(3))); break;
        default: (void)gm_special_pop(special, &turn); break;
        }
        if (weak[i]) REQUIRE(gm_special_weak_get(special, weak[i]) == object(i));
        if (step % 10000 == 0) REQUIRE(sound());
    }
    gm_special_reset(special);
    CHECK(sound());
    for (int i = 0; i < OBJECTS; i++) CHECK_EQ(gm_special_weak_get(special, weak[i]), 0);
}

// A stale handle finds nothing, whatever its record is used for.
TEST(stale_handles) {
    REQUIRE(begin());
    uint64_t old = add(0, GM_SPECIAL_WEAK), late = add(0, GM_SPECIAL_CLEANUP);
    gm_special_drop(special, object(0), GM_SPECIAL_WEAK);
    for (uint32_t i = 1; i < 200; i++) {
        uint64_t id = add(i, i % 2 ? GM_SPECIAL_WEAK : GM_SPECIAL_CLEANUP);
        CHECK(id != old && gm_special_weak_get(special, old) == 0);
        gm_special_cancel(special, old);
        gm_special_forget(special, object(i));
    }
    CHECK_EQ(gm_special_weak_get(special, late), 0);
    gm_special_cancel(special, late);
    gm_special_cancel(special, late);
    CHECK(sound());
}

// What the walk does with each kind: nothing to what was reached.
TEST(walk) {
    REQUIRE(begin());
    uint64_t weak[200];
    for (uint32_t i = 0; i < 200; i++) {
        weak[i] = add(i, GM_SPECIAL_WEAK);
        (void)add(i, i % 2 ? GM_SPECIAL_FINALIZER : GM_SPECIAL_CLEANUP);
        if (i % 5 == 0) (void)add(i, GM_SPECIAL_COUNT);
        mark(i, i % 4 < 2);
    }
    for (int round = 0; round < 2; round++) {
        struct gm_unreached v = {{0, 0}, {0, 0}};
        uint32_t at = 0, final = 0, other = 0;
        while (gm_special_walk(special, pages(), &at, &v)) {}
        CHECK_EQ(at, special->made);
        for (uint32_t n = v.finalizers.first; n; n = gm_special_callback(special, n - 1)->link)
            final++;
        for (uint32_t n = v.cleanups.first; n; n = gm_special_callback(special, n - 1)->link)
            other++;
        CHECK_EQ(final, round ? 0 : 50 + 20);
        CHECK_EQ(other, round ? 0 : 50);
        settle(&v.cleanups, false);
        settle(&v.finalizers, true);
        CHECK_EQ(special->count, 50 + 70);
    }
    for (uint32_t i = 0; i < 200; i++)
        CHECK_EQ(gm_special_weak_get(special, weak[i]), i % 4 < 2 ? object(i) : 0);
    CHECK(sound());
}

// A listed record that is taken away stays in its list, as nothing (X3).
TEST(taken_away_while_listed) {
    REQUIRE(begin());
    struct gm_unreached v = {{0, 0}, {0, 0}};
    uint32_t at = 0;
    struct gm_ready_callback turn;
    uint64_t cleanup = add(0, GM_SPECIAL_CLEANUP);
    (void)add(1, GM_SPECIAL_FINALIZER);
    (void)add(2, GM_SPECIAL_COUNT);
    for (uint32_t i = 0; i < 3; i++) mark(i, false);
    while (gm_special_walk(special, pages(), &at, &v)) {}
    gm_special_cancel(special, cleanup);
    gm_special_forget(special, object(1));
    gm_special_forget(special, object(2));
    CHECK_EQ(special->used, 3);
    settle(&v.finalizers, true);
    settle(&v.cleanups, false);
    CHECK(in_use() == 0 && !gm_special_pop(special, &turn));
    cleanup = add(0, GM_SPECIAL_CLEANUP);
    gm_special_forget(special, object(0)); // ready
    gm_special_cancel(special, cleanup);
    CHECK(!gm_special_pop(special, &turn));
    CHECK_EQ(in_use(), 0);
    CHECK(sound());
}

// A cleanup is cancelled while it waits, and not any more when it has been taken.
TEST(withdrawn) {
    REQUIRE(begin());
    struct gm_ready_callback turn;
    uint64_t first = add(0, GM_SPECIAL_CLEANUP), second = add(0, GM_SPECIAL_CLEANUP);
    gm_special_forget(special, object(0));
    CHECK_EQ(special->count, 2);
    gm_special_cancel(special, first);
    gm_special_cancel(special, first);
    REQUIRE(gm_special_pop(special, &turn));
    gm_special_cancel(special, first);
    gm_special_cancel(special, second);
    CHECK(!gm_special_pop(special, &turn) && sound());
    CHECK_EQ(special->gone_count, 2);
    uint64_t third = add(1, GM_SPECIAL_CLEANUP); // in one of the records
    CHECK(special->made == 2 && special->gone_count == 0);
    gm_special_cancel(special, first);
    gm_special_cancel(special, second);
    CHECK_EQ(special->used, 1);
    gm_special_cancel(special, third);
    CHECK(special->used == 0 && sound());
}

// Records whose callbacks have run are used again, and count as the objects' until they wait.
TEST(used_again) {
    enum { BATCH = 100, ROUNDS = 50 };
    REQUIRE(begin());
    size_t charged = 0, kept = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct gm_ready_callback turn;
        for (uint32_t i = 0; i < BATCH; i++) {
            int error;
            size_t more = 0;
            (void)gm_special_add(special, object(i), GM_SPECIAL_CLEANUP, callback, 0, &error,
                                 &more);
            charged += more;
        }
        CHECK_EQ(gm_special_held(special), BATCH);
        for (uint32_t i = 0; i < BATCH; i++) gm_special_forget(special, object(i));
        CHECK_EQ(gm_special_held(special), 0);
        kept = 0;
        (void)gm_special_bytes_stopped(special, &kept);
        CHECK(kept >= BATCH * GM_SPECIAL_COST);
        while (gm_special_pop(special, &turn)) {}
    }
    CHECK_EQ(charged, ROUNDS * BATCH * GM_SPECIAL_COST);
    CHECK(special->made <= 2 * BATCH);
    charged = 0;
    for (int round = 0; round < ROUNDS; round++) { // what comes and goes by hand costs nothing more
        int error;
        size_t more = 0;
        (void)gm_special_add(special, object(0), GM_SPECIAL_WEAK, none, 0, &error, &more);
        gm_special_forget(special, object(0));
        charged += more;
    }
    CHECK_EQ(charged, GM_SPECIAL_COST);
    CHECK(sound());
}

// Objects of a page have neighbouring buckets, those of many pages do not meet.
TEST(buckets) {
    static uint8_t count[4096];
    uint32_t least = UINT32_MAX, most = 0;
    for (uint32_t i = 0; i < 128; i++) {
        uint32_t h = gm_special_hash(0x10000 + 32 * i) & 0xffff;
        least = GM_MIN(least, h);
        most = GM_MAX(most, h);
    }
    CHECK(most - least < 256);
    static const size_t strides[] = {16, 32, 48, 112, 256, 1024, 4096, 8192, 65536, 1 << 20};
    for (size_t k = 0; k < sizeof strides / sizeof *strides; k++) {
        memset(count, 0, sizeof count);
        uint32_t longest = 0;
        for (uintptr_t i = 0; i < 4096; i++) {
            uint8_t *n = &count[gm_special_hash(((uintptr_t)1 << 40) + i * strides[k]) & 4095];
            longest = GM_MAX(longest, (uint32_t)++ * n);
        }
        CHECK(longest <= 24);
    }
}

TEST(drops) {
    REQUIRE(begin());
    struct gm_ready_callback turn, other;
    uintptr_t at = 0;
    (void)add(3, GM_SPECIAL_COUNT); // with a count of 0
    REQUIRE(gm_special_begin_drop(special, object(3), &turn));
    CHECK(!gm_special_begin_drop(special, object(3), &other));
    CHECK(gm_special_end_drop(special, turn.id, &at) && at == object(3));
    CHECK(!gm_special_end_drop(special, turn.id, &at));
    CHECK(gm_special_count_slow(special, object(3)) == NULL);
    (void)add(3, GM_SPECIAL_COUNT);
    (void)add(3, GM_SPECIAL_WEAK);
    REQUIRE(gm_special_begin_drop(special, object(3), &turn));
    CHECK(!gm_special_end_drop(special, turn.id, &at)); // who read the weak pointer may have it
    CHECK_EQ(in_use(), 0);
    (void)add(3, GM_SPECIAL_COUNT);
    REQUIRE(gm_special_begin_drop(special, object(3), &turn));
    gm_special_count(special, object(3))->arg++;
    CHECK(!gm_special_end_drop(special, turn.id, &at)); // retained
    CHECK(gm_special_count(special, object(3))->fn.cleanup == NULL);
    CHECK(sound());
}

static volatile sig_atomic_t swapped;

// Between any two instructions of a reader: the record becomes the next object's.
static void swap(int signal) {
    uint32_t i = (uint32_t)swapped % 100;
    (void)signal;
    gm_special_drop(special, object(i), GM_SPECIAL_WEAK);
    (void)add(i + 1 == 100 ? 0 : i + 1, GM_SPECIAL_WEAK);
    swapped++;
}

TEST(a_record_changes_hands) {
    REQUIRE(begin());
    struct sigaction action = {.sa_handler = swap};
    struct itimerval often = {{0, 50}, {0, 50}}, never = {{0, 0}, {0, 0}};
    swapped = 0;
    (void)add(0, GM_SPECIAL_WEAK);
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &often, NULL) == 0);
    int wrong = 0, limit = 20000;
    for (uint64_t turns = 0; swapped < limit && turns < 400000000u && !wrong; turns++) {
        int before = swapped;
        uint32_t n = 0; // of the one record that there is
        __asm__ volatile("" : : : "memory");
        uint64_t id = gm_special_id(gm_special_record(special, n), n);
        __asm__ volatile("" : : : "memory");
        if (before != swapped) continue;
        uintptr_t found = gm_special_weak_get(special, id);
        wrong += found && found != object((uint32_t)before % 100);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK_EQ(wrong, 0);
    CHECK(swapped > 100);
}

TEST_MAIN
