// Room sweep: bits, who is live, lists, large objects, claims.
#include "room.h"

static struct gm_engine engine;
static struct gm_sweep *const sweep = &engine.sweep;

static struct gm_pages *pages(void) { return &engine.heap.pages; }
static struct gm_color *colors(const struct gm_span *s) { return gm_span_colors(pages(), s->page); }
static struct gm_central *central(const struct gm_span *s) {
    return &engine.central[s->kind][s->class];
}

static struct gm_span *make(unsigned kind, unsigned class, size_t size) {
    struct gm_span *s = gm_heap_take(&engine.heap, kind, class, size, 0);
    if (!CHECK(s != NULL)) abort();
    s->generation = sweep->generation;
    s->fresh = s->count;
    gm_heap_publish(&engine.heap, s);
    return s;
}

static uint32_t bits_of(struct gm_span *s) { return gm_sweep_bits(sweep, s); }

// Random bits as marking leaves them: marked slots are allocated, freed ones too.
static void randomise(struct gm_span *s) {
    s->used = 0;
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        struct gm_color *c = &colors(s)[i];
        uint64_t all = gm_span_starts(s, i);
        c->alloc = room_random() & all;
        c->mark = room_random() & c->alloc;
        c->grey = 0;
        c->freed = room_random() & room_random() & c->alloc;
        s->used += gm_base_popcount(c->alloc);
    }
}

TEST(bits) {
    REQUIRE(room_engine(&engine, 16));
    for (unsigned class = 2; class <= GOMEM_CLASSES; class ++) {
        struct gm_color before[32 * 8];
        struct gm_span *s = make(GM_SCAN, class, 0);
        uint64_t dead = 0, live = 0, frees = engine.stats.shared.frees[class];
        randomise(s);
        s->cursor = s->count; // no run has been left: what dies is found from the start
        memcpy(before, colors(s), gm_span_groups(s) * sizeof before[0]);
        sweep->generation += 2;
        REQUIRE(!gm_sweep_swept(sweep, s) && gm_sweep_claim(sweep, s));
        CHECK(!gm_sweep_swept(sweep, s));
        CHECK(!gm_sweep_claim(sweep, s)); // S1
        uint32_t kept = bits_of(s);
        for (unsigned i = 0; i < gm_span_groups(s); i++) {
            const struct gm_color *c = &colors(s)[i];
            CHECK_EQ(c->alloc, before[i].mark & ~before[i].freed);
            CHECK(!(c->mark | c->grey | c->freed));
            live += gm_base_popcount(c->alloc);
            dead += gm_base_popcount(before[i].alloc & ~before[i].mark & ~before[i].freed);
        }
        CHECK(kept == live && s->used == live && s->cursor == 0);
        CHECK_EQ(engine.stats.shared.frees[class] - frees, dead);
        CHECK(gm_sweep_swept(sweep, s) && !gm_sweep_claim(sweep, s));
    }
}

TEST(live_by_generation) { // R6
    REQUIRE(room_engine(&engine, 8));
    struct gm_span *s = make(GM_SCAN, 10, 0), *root = make(GM_ROOT, 10, 0);
    for (int round = 0; round < 20; round++) {
        randomise(s);
        randomise(root);
        for (uint32_t i = 0; i < s->count; i++) {
            uintptr_t slot = gm_span_slot(pages(), s, i), other = gm_span_slot(pages(), root, i);
            const struct gm_color *c = room_color(pages(), s, i), *r = room_color(pages(), root, i);
            uint64_t live = c->alloc & ~c->freed, bit = room_bit(pages(), s, i);
            s->generation = sweep->generation;
            CHECK_EQ(gm_sweep_live(sweep, pages(), s, slot), (live & bit) != 0);
            s->generation = sweep->generation - 2;
            CHECK_EQ(gm_sweep_live(sweep, pages(), s, slot), (live & c->mark & bit) != 0);
            root->generation = sweep->generation - 8; // roots are never swept (R7)
            CHECK_EQ(gm_sweep_live(sweep, pages(), root, other),
                     (r->alloc & ~r->freed & room_bit(pages(), root, i)) != 0);
        }
    }
}

TEST(lists_flip_with_the_generation) { // CL2
    for (int i = 0; i < 6; i++) {
        struct gm_sweep w = {.generation = (uint32_t)(2 * i)};
        struct gm_sweep next = {.generation = (uint32_t)(2 * i + 2)};
        unsigned seen = 0;
        CHECK_EQ(gm_sweep_partial(&w, true), gm_sweep_partial(&next, false));
        CHECK_EQ(gm_sweep_full(&w, true), gm_sweep_full(&next, false));
        seen |= 1u << gm_sweep_partial(&w, true) | 1u << gm_sweep_partial(&w, false);
        seen |= 1u << gm_sweep_full(&w, true) | 1u << gm_sweep_full(&w, false);
        CHECK_EQ(seen, 15);
    }
}

// A cycle over spans that end empty, partial and full.
TEST(next_and_place) {
    enum { SPANS = 30 };
    struct gm_span *spans[SPANS];
    REQUIRE(room_engine(&engine, 16));
    unsigned class = 40, count = gm_sizes_table[class].count;
    struct gm_central *c = &engine.central[GM_NOSCAN][class];
    CHECK(gm_sweep_next(sweep, c) == NULL);
    for (unsigned i = 0; i < SPANS; i++) {
        struct gm_span *s = spans[i] = make(GM_NOSCAN, class, 0);
        for (unsigned k = 0; k < count; k++)
            room_color(pages(), s, k)->alloc |= room_bit(pages(), s, k);
        for (unsigned k = 0; k < count; k++)
            if (i % 3 == 2 || (i % 3 == 1 && k % 2))
                room_color(pages(), s, k)->mark |= room_bit(pages(), s, k);
        s->used = count;
        gm_sweep_place(sweep, c, s);
    }
    size_t used = engine.heap.pages.used;
    sweep->generation += 2;
    CHECK_EQ(gm_sweep_some(sweep, c, 7), 7);
    CHECK_EQ(gm_sweep_some(sweep, c, 99), SPANS - 7);
    CHECK_EQ(gm_sweep_some(sweep, c, 1), 0);
    CHECK_EQ(engine.heap.pages.used, used - SPANS / 3 * gm_sizes_table[class].pages);
    size_t partial = 0, full = 0;
    struct gm_span *s;
    while ((s = gm_central_pop_locked(c, pages(), gm_sweep_partial(sweep, true))) != NULL)
        partial += s->used == count / 2;
    while ((s = gm_central_pop_locked(c, pages(), gm_sweep_full(sweep, true))) != NULL)
        full += s->used == count;
    CHECK(partial == SPANS / 3 && full == SPANS / 3);
    for (unsigned i = 0; i < GM_LISTS; i++) CHECK_EQ(c->list[i], 0);
    for (unsigned i = 0; i < SPANS; i += 3)
        CHECK_EQ(gm_pages_desc(pages(), spans[i]->page), 0); // empty ones are gone
}

static struct gm_span *large(bool mark) {
    struct gm_span *s = make(GM_SCAN, 0, 9 * GM_MIB);
    struct gm_color *c = colors(s);
    c[0].alloc = 1;
    c[0].mark = mark;
    s->used = 1;
    gm_sweep_place(sweep, central(s), s);
    return s;
}

TEST(large_objects) {
    REQUIRE(room_engine(&engine, 32));
    struct gm_span *dead = large(false), *live = large(true), *freed = large(true);
    CHECK(dead->bucket && live->bucket); // listed
    engine.stats.shared.large_free = 0;
    sweep->generation += 2;
    colors(freed)->freed = 1;
    while (gm_sweep_some(sweep, central(live), 1)) {}
    CHECK(!gm_span_find(pages(), gm_span_start(pages(), dead)));
    CHECK(!gm_span_find(pages(), gm_span_start(pages(), freed)));
    CHECK_EQ(engine.stats.shared.large_free, 9 * GM_MIB); // who frees by hand counts for itself
    CHECK(live->bucket && live->used == 1 && colors(live)->alloc == 1);
    // Freed between the sweep of its bits and its place in a list: it is not listed any more.
    colors(live)->mark = 1;
    sweep->generation += 2;
    struct gm_span *s = gm_sweep_next(sweep, central(live));
    REQUIRE(s == live && !s->bucket && s->used == 1);
    colors(live)->freed = 1;
    gm_sweep_place(sweep, central(live), live);
    CHECK(!gm_span_find(pages(), gm_span_start(pages(), live)));
    CHECK_EQ(engine.heap.pages.used, 0);
}

TEST(poison_fills_what_died) {
    REQUIRE(room_engine(&engine, 8));
    struct gm_span *s = make(GM_NOSCAN, 10, 0);
    memset((void *)gm_span_start(pages(), s), 1, (size_t)s->pages * GM_PAGE);
    randomise(s);
    struct gm_color before[32 * 8];
    memcpy(before, colors(s), gm_span_groups(s) * sizeof before[0]);
    engine.guard.poison = true;
    sweep->generation += 2;
    REQUIRE(gm_sweep_claim(sweep, s));
    (void)bits_of(s);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct gm_color *c = &before[room_color(pages(), s, i) - colors(s)];
        bool died = c->alloc & ~c->mark & ~c->freed & room_bit(pages(), s, i);
        const unsigned char *object = (const unsigned char *)gm_span_slot(pages(), s, i);
        for (int k = 0; k < 128; k++) CHECK_EQ(object[k], died ? GM_POISON : 1);
    }
}

enum { THREADS = 3, OWNED = 300 };
static struct gm_span *owned[OWNED];

static void *sweep_owned(void *arg) {
    (void)arg;
    for (int i = 0; i < OWNED; i++) {
        gm_sweep_owned(sweep, owned[i]);
        CHECK(gm_sweep_swept(sweep, owned[i]));
        CHECK(!gm_sweep_live(sweep, pages(), owned[i], gm_span_slot(pages(), owned[i], 1)));
    }
    return NULL;
}

// S1: of several that want a span swept exactly one does it, and all wait until it is done.
TEST(one_sweeps) {
    pthread_t threads[THREADS];
    REQUIRE(room_engine(&engine, 16));
    for (int i = 0; i < OWNED; i++) {
        owned[i] = make(GM_SCAN, 2, 0);
        for (unsigned k = 0; k < 16; k++) colors(owned[i])[k].alloc = UINT64_MAX;
    }
    sweep->generation += 2;
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, sweep_owned, NULL) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(engine.stats.shared.frees[2], OWNED * 1024);
}

TEST_MAIN
