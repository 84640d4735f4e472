// Room gc: what verify catches, the oracle, held runs, the cycle's bookkeeping.
#include <stdio.h>

static char logged[700];
#define GOMEM_LOG(line) ((void)snprintf(logged, sizeof logged, "%s", (line)))
static unsigned long long slow_stop = 10000000; // ns
#define GM_SLOW_STOP slow_stop
static int discard_slowly(void *at, size_t size, int advice);
#define GOMEM_MADVISE(at, size, advice) discard_slowly((at), (size), (advice))
#include "room.h"

#include "child.h"

static uint64_t discard_ns; // a call takes at least this long

static int discard_slowly(void *at, size_t size, int advice) {
    for (uint64_t now = discard_ns ? gm_os_now() : 0; now && gm_os_now() < now + discard_ns;) {}
    return gm_libc_madvise(at, size, advice);
}

static struct gm_runtime *const rt = &gm_runtime;
static struct gm_engine *const engine = &gm_runtime.engine;
static char said[700];
static int panics;

static void note(const char *line, void *user) {
    (void)user;
    snprintf(said, sizeof said, "%s", line);
}

static void note_panic(const char *line, void *user) {
    note(line, user);
    panics++;
}

// What it needs of the library parks in a stop.
static void allocate_and_count(const char *line, void *user) {
    note_panic(line, user);
    void *p = gomem_malloc(100000);
    CHECK(p != NULL);
    gomem_free(p);
}

static void first_use_only(void) {
    void *volatile p = gomem_new(8);
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    exit(p && !m.num_gc && engine->mark.room && rt->gc.marker[0].buffer ? 0 : 3);
}

// First here, while nothing uses the heap. The first cycle may come when nothing can be mapped any
// more: what it needs is there by then.
TEST(the_first_cycle_needs_no_memory) {
    struct child child;
    child_run(&child, first_use_only);
    CHECK_EQ(child.status, 0);
}

// ---- a heap with something of everything, and no cycle that would change it ----

struct typed {
    void *pointer;
    long number[5];
};
GOMEM_TYPE(typed_type, struct typed, pointer);

enum { N = 600 };
static void *manual[N], *plain[N], *scanned[N], *typed[N], *rooted[N], *large[5];

static bool begin(void) {
    static bool done;
    if (done) return CHECK(HEAP_IS_WHOLE());
    done = true;
    gomem_options o = {.warn = note, .panic = allocate_and_count};
    if (!CHECK(gomem_init(&o))) return false;
    gomem_gc_hold();
    for (int i = 0; i < N; i++) {
        manual[i] = gomem_malloc(200);
        plain[i] = gomem_new_noscan(200);
        scanned[i] = gomem_new(200);
        typed[i] = GOMEM_NEW_TYPED(struct typed, &typed_type);
        rooted[i] = gomem_new_with(200, 0, GOMEM_UNCOLLECTABLE);
    }
    for (size_t i = 0; i < 5; i++) large[i] = gomem_new(100000 * (i + 1));
    for (int i = 0; i < N; i += 3) {
        gomem_free(manual[i]);
        gomem_free(plain[i]);
    }
    return CHECK(HEAP_IS_WHOLE());
}

static struct gm_pages *pages(void) { return &engine->heap.pages; }
static struct gm_span *span_of(const void *p) { return gm_span_find(pages(), (uintptr_t)p); }
static struct gm_color *colors(const void *p) { return gm_span_colors(pages(), span_of(p)->page); }
static struct gm_color *color(const void *p) { return gm_span_color(pages(), (uintptr_t)p); }
static uint64_t color_bit(const void *p) { return gm_span_bit(pages(), (uintptr_t)p); }
static struct gm_cache *cache(void) { return &gm_world_self()->cache; }

// Verify says what broke.
static void expect(const char *what, int line) {
    said[0] = 0;
    if (gomem_verify() || !strstr(said, what)) {
        printf("\n    line %d: \"%s\" expected, said: %s", line, what, said);
        test_fail(__FILE__, line, "planted damage was not found");
    }
}

// Something is other than it should be: verify says so, and is content when it was put right.
#define CATCHES(lvalue, value, what)            \
    do {                                        \
        __typeof__(lvalue) sound_ = (lvalue);   \
        (lvalue) = (__typeof__(lvalue))(value); \
        expect((what), __LINE__);               \
        (lvalue) = sound_;                      \
        CHECK(HEAP_IS_WHOLE());                 \
    } while (0)

TEST(damaged_records) {
    REQUIRE(begin());
    void *const objects[] = {manual[1], plain[1], scanned[1], typed[1], rooted[1]};
    for (int i = 0; i < 5; i++) {
        struct gm_span *s = span_of(objects[i]);
        CATCHES(s->used, s->used + 1, "the count of used slots");
        CATCHES(s->used, s->used - 1, "the count of used slots");
        CATCHES(s->fresh, 1, "fresh watermark");
        CATCHES(s->count, s->count - 1, "a record differs from its class");
        CATCHES(s->class, s->class + 1, "a descriptor differs");
        CATCHES(s->class, 200, "a record is damaged");
        CATCHES(s->kind, GM_KINDS, "a record is damaged");
        CATCHES(pages()->desc[s->page], pages()->desc[s->page] ^ 1 << 4, "a descriptor differs");
        CATCHES(pages()->desc[s->page + 1], 0, "a descriptor differs");
    }
    struct gm_span *s = span_of(large[2]);
    CATCHES(pages()->desc[s->page + s->pages - 1], 0, "a descriptor differs");
}

TEST(damaged_bits) {
    REQUIRE(begin());
    struct gm_span *s = span_of(manual[1]);
    uint64_t *bits = gm_span_bits(pages(), s->page);
    CATCHES(bits[0], bits[0] ^ 2, "the count of used slots");
    CATCHES(bits[s->count / 64], bits[s->count / 64] | (uint64_t)1 << 63, "beyond the last slot");
    void *const objects[] = {plain[1], scanned[1], typed[1], rooted[1]};
    for (int i = 0; i < 4; i++) {
        struct gm_color *c = colors(objects[i]);
        s = span_of(objects[i]);
        CATCHES(c->alloc, c->alloc ^ 1, i ? "the count of used" : "freed but not allocated");
        c += s->pages * 8 - 1;
        CATCHES(c->alloc, c->alloc | (uint64_t)1 << 63,
                s->fresh < s->count ? "above the fresh" : "no slot starts");
        CATCHES(c->freed, c->freed | (uint64_t)1 << 63,
                s->fresh < s->count ? "above the fresh" : "freed but not allocated");
    }
    CATCHES(colors(scanned[1])->mark, 1, "a swept span has marks");
    CATCHES(colors(scanned[1])->grey, 1, "a swept span has marks");
}

TEST(damaged_page_heap) {
    REQUIRE(begin());
    struct gm_chunk *c = pages()->zone[1].chunk;
    CATCHES(c->used[GM_CHUNK_WORDS - 1], c->used[GM_CHUNK_WORDS - 1] ^ (uint64_t)1 << 63,
            "pages: ");
    CATCHES(c->first, c->first + 1, "a chunk's summary");
    CATCHES(c->most, c->most - 1, "a chunk's summary");
    CATCHES(c->last, c->last - 1, "a chunk's summary");
    CATCHES(c->idle, c->idle + 1, "a chunk's summary");
    CATCHES(pages()->used, pages()->used + 1, "the count of used or idle");
    CATCHES(pages()->idle, pages()->idle + 1, "the count of used or idle");
    CATCHES(pages()->zone[1].hint, 1, "below the hint");
}

TEST(damaged_lists) {
    REQUIRE(begin());
    unsigned class = span_of(manual[1])->class;
    struct gm_central *c = &engine->central[GM_MANUAL][class],
                      *r = &engine->central[GM_ROOT][class];
    struct gm_span *s = NULL;
    unsigned list = 0;
    while (!s && list < GM_LISTS) s = gm_central_first_locked(c, pages(), list++);
    REQUIRE(s != NULL);
    list--;
    CATCHES(s->prev, 1, "a list holds a span that does not belong");
    CATCHES(s->bucket, GM_UNLISTED, "a full span is listed or another is not");
    CATCHES(c->list[list], span_of(scanned[1])->page + 1, "a list holds a span");
    CATCHES(s->next, span_of(rooted[1])->page + 1, "a list holds a span");
    REQUIRE(r->list[2] != 0);
    CATCHES(gm_span_at(pages(), r->list[2] - 1)->owner, 1, "a list holds a span");
}

TEST(damaged_caches) {
    REQUIRE(begin());
    unsigned class = span_of(manual[1])->class;
    void **top = cache()->hot.top[class];
    REQUIRE(*top != NULL);
    CATCHES(*top, (char *)*top + 8, "a magazine holds what");
    CATCHES(*top, scanned[1], "a magazine holds what");
    CATCHES(*top, &cache, "a magazine holds what");
    CATCHES(cache()->held, cache()->held + 8, "what a thread can hold or pin");
    CATCHES(cache()->pins, cache()->pins - GM_PAGE, "what a thread can hold or pin");
    CATCHES(engine->depot.total, engine->depot.total + 8, "the bytes of the depot");
    CATCHES(engine->depot.bytes[class], engine->depot.bytes[class] + 8, "the bytes of the depot");
    CATCHES(engine->depot.pins, engine->depot.pins + GM_PAGE, "the bytes of the depot");
    CATCHES(engine->small, engine->small + GM_PAGE, "the bytes of spans or of slots");
    CATCHES(engine->taken, engine->taken - 8, "the bytes of spans or of slots");
    CATCHES(cache()->stats.large_free, cache()->stats.large_free + 16,
            "the bytes of large objects");
    CATCHES(engine->stats.shared.large_free, 16 + engine->stats.shared.large_free,
            "the bytes of large objects");
    struct gm_span *s = span_of(*top);
    uint32_t index = gm_span_index(pages(), s, (uintptr_t)*top);
    uint64_t *bits = &gm_span_bits(pages(), s->page)[index / 64], bit = (uint64_t)1 << index % 64;
    s->used--; // a free slot, and all else agrees
    *bits &= ~bit;
    expect("a magazine holds what", __LINE__);
    s->used++;
    *bits |= bit;
    gomem_i_run *run = &cache()->hot.scan[span_of(scanned[1])->class];
    s = cache()->scan[span_of(scanned[1])->class];
    REQUIRE(s && run->cursor < run->end);
    CATCHES(s->owner, 99, "has another owner");
    bits = &gm_span_color(pages(), run->cursor)->alloc;
    bit = gm_span_bit(pages(), run->cursor);
    s->used--;
    *bits &= ~bit;
    expect("a held slot is not", __LINE__);
    s->used++;
    *bits |= bit;
    CHECK(HEAP_IS_WHOLE());
}

// ---- marking ----

static bool stop(struct gm_cycle *c) {
    struct gm_thread *me = gm_world_self();
    memset(c, 0, sizeof *c);
    gm_world_lock_cycle(rt);
    gm_workers_each_central(rt, gm_workers_sweep_central);
    me->in_handler = false;
    me->fake_stack = gm_world_fake_stack();
    gm_os_spill(&me->registers);
    return CHECK(gm_gc_stop(rt, me, c));
}

static void go_on(void) {
    gm_world_resume(rt);
    gm_world_unlock_cycle(rt);
}

// A fresh serial mark finds what marking forgot, and what it should not have found.
TEST(oracle) {
    struct gm_cycle c;
    REQUIRE(begin());
    void *const objects[] = {scanned[100], plain[100], typed[100], large[1]};
    for (int i = 0; i < 4; i++)
        *(void **)scanned[96 + i] = objects[i]; // so each has a marked parent
    REQUIRE(stop(&c));
    (void)gm_workers_mark_stopped(rt, true);
    CHECK(!gm_oracle_stopped(rt));
    for (int i = 0; i < 4; i++) {
        struct gm_color *k = color(objects[i]);
        CHECK(k->mark & color_bit(objects[i]));
        k->mark &= ~color_bit(objects[i]);
        panics = 0;
        CHECK(gm_oracle_stopped(rt) != 0);
        CHECK_EQ(panics, 0); // a hook that allocates would never return from a stop
        CHECK(k->mark & color_bit(objects[i])); // its own marks stand now
        CHECK(!gm_oracle_stopped(rt));
    }
    gm_gc_flip_stopped(rt, 0, 0);
    go_on();
    CHECK(HEAP_IS_WHOLE());
}

// What it finds is reported when the cycle has ended, and the world runs.
TEST(missed_objects_are_reported_after_the_stop) {
    REQUIRE(begin());
    struct gm_cycle c;
    memset(&c, 0, sizeof c);
    c.missed = (uintptr_t)scanned[7];
    panics = 0;
    gm_world_lock_cycle(rt);
    gm_gc_end(rt, &c, GM_REASON_FORCED);
    gm_world_unlock_cycle(rt);
    CHECK_EQ(panics, 1);
    CHECK(strstr(said, "corrupted heap") && strstr(said, "scanned object"));
}

// E2: held slots are black while marking, so they are neither scanned nor swept.
TEST(held_slots_are_black) {
    struct gm_cycle c;
    REQUIRE(begin() && stop(&c));
    gomem_i_run *run = &cache()->hot.scan[gm_sizes_class(200, 16)];
    struct gm_span *s = cache()->scan[gm_sizes_class(200, 16)];
    uint32_t from = gm_span_index(pages(), s, run->cursor),
             end = gm_span_index(pages(), s, run->end - 1);
    REQUIRE(run->cursor < run->end);
    (void)gm_workers_mark_stopped(rt, true);
    for (uint32_t i = from; i <= end; i++) {
        const struct gm_color *k = room_color(pages(), s, i);
        CHECK(k->alloc & k->mark & ~k->grey & room_bit(pages(), s, i));
    }
    gm_gc_flip_stopped(rt, 0, 0);
    go_on();
    uintptr_t cursor = run->cursor;
    gm_workers_each_central(rt, gm_workers_sweep_central);
    CHECK(gomem_new(200) == (void *)cursor);
    CHECK(HEAP_IS_WHOLE());
}

static struct link {
    struct link *next;
    char rest[600];
} *volatile first_link;

static bool swept_or_about_to_be(struct gm_span *s, void *arg) {
    uint32_t age = engine->sweep.generation - s->generation;
    (void)arg;
    return CHECK(age == 0 || age == 2 || !GM_IN(GM_SET_COLLECTED, s->kind));
}

// E1: marks of a cycle are gone before the next begins, also when nobody needed the spans.
TEST(one_cycle_after_the_other) {
    enum { LINKS = 200 };
    uintptr_t hidden[LINKS];
    REQUIRE(begin());
    first_link = NULL;
    for (int i = 0; i < LINKS; i++) {
        struct gm_thread *me = gm_world_self();
        struct link *l = GOMEM_NEW(struct link);
        hidden[i] = ~(uintptr_t)l;
        for (struct link *at = first_link; at != NULL; at = at->next) // the new one goes to the end
            if (!at->next) {
                at->next = l;
                break;
            }
        if (!first_link) first_link = l;
        if (i % 40) continue;
        gm_world_lock_cycle(rt);
        for (int k = 0; k < 3; k++) {
            me->in_handler = false;
            me->fake_stack = gm_world_fake_stack();
            gm_os_spill(&me->registers);
            CHECK(gm_gc_run(rt, me, GM_REASON_TRIGGER));
        }
        gm_world_unlock_cycle(rt);
        gm_heap_walk(&engine->heap, swept_or_about_to_be, NULL);
        REQUIRE(!test_failed());
    }
    for (int i = 0; i < LINKS; i++) CHECK(gomem_base((void *)~hidden[i]) == (void *)~hidden[i]);
    CHECK(HEAP_IS_WHOLE());
    first_link = NULL;
}

// ---- the cycle around it ----

// What a thread has not handed in yet was marked or is garbage: the next cycle's count has neither.
TEST(charges_end_with_a_cycle) {
    REQUIRE(begin());
    for (int i = 0; i < 100 && !cache()->charged; i++) REQUIRE(gomem_new(16) != NULL);
    CHECK(cache()->charged > 0);
    gomem_gc_unhold();
    CHECK(gomem_gc());
    gomem_gc_hold();
    CHECK_EQ(cache()->charged, 0);
}

// R5: spans of uncollectable objects that became empty while a cycle marked go when it has ended,
// those of all classes.
TEST(empty_spans_of_roots_go) {
    REQUIRE(begin());
    const struct gm_central *roots = engine->central[GM_ROOT];
    for (unsigned class = 2; class <= GOMEM_CLASSES; class ++) {
        size_t size = gm_sizes_table[class].size -
                      (gm_guard_watched(&engine->guard) ? GM_MARGIN : 0);
        void *p = gomem_new_with(size, 0, GOMEM_UNCOLLECTABLE);
        REQUIRE(p != NULL);
        struct gm_span *s = span_of(p);
        bool whole = s->class == class && s->used == 1;
        size_t used = pages()->used;
        gm_store_rlx(&engine->mark.active, 1u); // no cycle runs
        gomem_free(p);
        gm_store_rlx(&engine->mark.active, 0u);
        if (!whole) continue; // another object is in the span
        CHECK(roots[class].list[0] && pages()->used == used);
        gm_workers_put_empty_roots(rt);
        CHECK_EQ(pages()->used, used - gm_sizes_table[class].pages);
    }
}

TEST(cycles_are_counted) {
    REQUIRE(begin());
    struct gm_stats *s = &engine->stats, saved = *s;
    s->cycles = s->forced = s->pause_total = 0;
    for (uint64_t i = 0; i < GM_PAUSES + 10; i++) {
        struct gm_cycle c = {.begin = 1, .paused = 1000 + i, .end = 1002 + i, .workers = 1};
        gm_gc_count(rt, &c, i % 2 ? GM_REASON_FORCED : GM_REASON_TRIGGER);
    }
    CHECK_EQ(s->cycles, GM_PAUSES + 10);
    CHECK_EQ(s->forced, GM_PAUSES / 2 + 5);
    for (uint64_t i = 10; i < GM_PAUSES + 10; i++) CHECK_EQ(s->pause_ns[i % GM_PAUSES], 1000 + i);
    CHECK(s->pause_end[5] / 1000000000u > 1600000000u); // ns since 1970
    CHECK_EQ(s->pause_total, (uint64_t)(GM_PAUSES + 10) * (2000 + GM_PAUSES + 9) / 2);
    struct gm_cycle c = {.first = 5, .between = 100, .workers = 3, .last = 7};
    s->gc_cpu_ns = 0;
    gm_gc_count(rt, &c, GM_REASON_TRIGGER);
    CHECK_EQ(s->gc_cpu_ns, 312); // between the stops all markers work
    *s = saved;
}

TEST(trace_line) {
    REQUIRE(begin());
#if GOMEM_I_REPORT
    struct gm_stats *s = &engine->stats, saved = *s;
    *s = (struct gm_stats){
        .cycles = 3, .stacks = 2 * GM_MIB, .globals = GM_MIB / 2, .start_ns = 1000};
    struct gm_cycle c = {.first = 11000,
                         .between = 1300000,
                         .last = 18000,
                         .end = 42001330000,
                         .before = 4 * GM_MIB,
                         .heap = 4 * GM_MIB,
                         .after = 2 * GM_MIB,
                         .rounds = 3,
                         .pages = 17,
                         .gathered = 25000,
                         .marked = 700000,
                         .waited = 4000,
                         .tries = 1,
                         .collector = GOMEM_GC_TRACKED,
                         .workers = 2};
    gm_gc_trace(rt, &c, GM_REASON_FORCED, 5 * GM_MIB);
    char expected[300];
    snprintf(
        expected, sizeof expected,
        "gc 3 @42.001s 0%%: 0.011+1.3+0.018 ms clock, 0.011+0/2.6/0+0.018 ms cpu, 4->4->2 MB, "
        "5 MB goal, 2 MB stacks, 1 MB globals, %u P (forced), tracked, 3 rounds, 17 pages, 1 try, "
        "0.025 ms gathering, 0.7 ms marking, 0.004 ms waiting",
        gm_os_processors());
    if (!CHECK(!strcmp(logged, expected))) printf("\n    %s\n    %s", logged, expected);
    *s = saved;
#endif
}

TEST(when_the_background_collects) {
    REQUIRE(begin());
    int reason;
    uint64_t now = gm_os_now();
    struct gm_gc *gc = &rt->gc;
    int *period = &rt->world.settings.options.force_period_ms;
    gomem_gc_unhold();
    gm_store_rlx(&gc->last, now);
    CHECK(!gm_schedule_due(rt, now, &reason));
    CHECK(gm_schedule_due(rt, now + 120000u * (uint64_t)1000000, &reason) &&
          reason == GM_REASON_CLOCK);
    *period = 50;
    CHECK(!gm_schedule_due(rt, now + 49999999, &reason) &&
          gm_schedule_due(rt, now + 50000000, &reason));
    *period = -1;
    CHECK(!gm_schedule_due(rt, now + ((uint64_t)1 << 60), &reason));
    *period = 0;
    gm_store_rel(&gc->asked, 1u);
    CHECK(gm_schedule_due(rt, now, &reason) && reason == GM_REASON_TRIGGER);
    gomem_gc_hold();
    CHECK(!gm_schedule_due(rt, now, &reason));
    gomem_gc_unhold();
    // A request for the trigger's sake is void once a cycle has brought the heap below the trigger.
    gm_store_rel(&gc->asked, (uint32_t)GM_ASKED_BY_TRIGGER);
    CHECK(!gm_schedule_due(rt, now, &reason));
    CHECK_EQ(gc->asked, 0);
    gomem_gc_hold();
}

// gomem_gc_work asks for a cycle halfway to the trigger, unless cycles are held.
TEST(work_asks_for_no_cycle_that_is_held) {
    REQUIRE(begin());
    struct gm_gc *gc = &rt->gc;
    size_t live = engine->live, old = engine->pacer.live;
    gomem_gc_hold();
    gm_store_rel(&gc->asked, 0u);
    gm_store_rlx(&engine->live, old + (engine->pacer.trigger - old) / 4 * 3);
    (void)gomem_gc_work(10000000);
    CHECK_EQ(gc->asked, 0);
    gm_store_rlx(&engine->live, live);
    gomem_gc_unhold();
}

TEST(polling) { // the trigger, the switch, holds
    REQUIRE(begin());
    size_t live = engine->live, trigger = engine->pacer.trigger;
    uint64_t cycles = engine->stats.cycles;
    int collector = engine->writes.collector;
    engine->writes.collector = GOMEM_GC_STW; // a stopping cycle runs here
    gomem_gc_unhold();
    gm_store_rlx(&engine->live, trigger - 1);
    gm_schedule_poll(rt, gm_world_self(), 16);
    CHECK_EQ(engine->stats.cycles, cycles);
    gm_store_rlx(&engine->live, trigger);
    gm_schedule_poll(rt, gm_world_self(), 16);
    CHECK_EQ(engine->stats.cycles, cycles + 1);
    CHECK(engine->live <= live + 2 * GM_MIB); // as marked
    gomem_gc_hold();
    gm_store_rlx(&engine->live, SIZE_MAX / 2);
    gm_schedule_poll(rt, gm_world_self(), 16);
    gomem_gc();
    CHECK_EQ(engine->stats.cycles, cycles + 1);
    gm_store_rlx(&engine->live, live);
    engine->writes.collector = collector;
}

// E7: what one large object has taken up is not there for the next.
TEST(large_objects_are_counted_first) {
    REQUIRE(GOMEM_NEW(int) != NULL);
    uint32_t holds = rt->gc.holds; // of other tests
    rt->gc.holds = 0;
    gomem_gc();
    struct gm_thread *self = gm_world_self();
    volatile size_t more = 3 * GM_MIB + 64 * GM_KIB;
    size_t live = engine->live, most = live + 4 * GM_MIB;
    CHECK(!gm_schedule_prepay(rt, self, 5 * GM_MIB, most));
    CHECK(gm_schedule_prepay(rt, self, 3 * GM_MIB, most));
    CHECK(!gm_schedule_prepay(rt, self, 3 * GM_MIB, most));
    CHECK_EQ(engine->live, live + 3 * GM_MIB);
    char *p = gomem_new_noscan(3 * GM_MIB); // it is this one
    REQUIRE(p != NULL);
    CHECK(engine->live >= live + 3 * GM_MIB && engine->live < live + 3 * GM_MIB + GM_PAGE);
    CHECK_EQ(self->cache.ahead, 0);
    CHECK(gm_schedule_prepay(rt, self, GM_MIB / 2, most));
    gomem_gc(); // counts what is there
    CHECK_EQ(self->cache.ahead, 0);
    live = engine->live;
    char *q = gomem_realloc(p, more); // grows where it is, or moves
    REQUIRE(q != NULL);
    CHECK(engine->live >= live + 64 * GM_KIB && engine->live < live + 4 * GM_MIB);
    CHECK_EQ(self->cache.ahead, 0);
    GOMEM_KEEP_ALIVE(q);
    rt->gc.holds = holds;
}

struct before { // what other tests have set
    uint32_t holds;
    int collector;
};

// Lets cycles run, and on this thread, until collect_where_before. Returns it; NULL: there is no heap.
static struct gm_thread *collect_here(struct before *was) {
    if (!CHECK(GOMEM_NEW(int) != NULL)) return NULL;
    *was = (struct before){rt->gc.holds, engine->writes.collector};
    rt->gc.holds = 0;
    engine->writes.collector = GOMEM_GC_STW;
    gomem_gc();
    return gm_world_self();
}

static void collect_where_before(const struct before *was) {
    engine->writes.collector = was->collector;
    rt->gc.holds = was->holds;
}

// E7: a large object that does not fit waits for a cycle; one that fits does not.
TEST(large_objects_wait_for_a_cycle) {
    struct before was;
    struct gm_thread *self = collect_here(&was);
    REQUIRE(self);
    uint64_t cycles = engine->stats.cycles;
    size_t live = engine->live;
    gm_schedule_admit(rt, self, GM_MIB);
    CHECK_EQ(engine->stats.cycles, cycles);
    CHECK_EQ(engine->live, live + GM_MIB);
    gm_store_rlx(&engine->live, engine->pacer.goal);
    gm_schedule_admit(rt, self, 2 * GM_MIB); // one of them is counted already
    CHECK_EQ(engine->stats.cycles, cycles + 1);
    CHECK(engine->live < live + 3 * GM_MIB); // what was marked, and this one
    gomem_gc();                              // counts what is there
    collect_where_before(&was);
}

static uint32_t gc_held, seen_waiting;

// Has GC, as a runner whose stop is withdrawn, until the thread `arg` has been seen to wait.
static void *hold_gc(void *arg) {
    struct gm_thread *other_one = arg;
    CHECK(GOMEM_NEW(int) != NULL && gm_world_lock_gc(rt));
    gm_store_rel(&gc_held, 1u);     // pairs with the test's load
    while (gm_load_acq(&gc_held)) { // pairs with the test's store
        if (gm_load_seq(&other_one->state) == GM_THREAD_BLOCKED) gm_store_rlx(&seen_waiting, 1u);
        sched_yield();
    }
    gm_sync_unlock(&rt->gc.lock);
    return arg;
}

// Has GC for a while, as a runner whose cycle is then given up.
static void *fail_with_gc(void *arg) {
    CHECK(GOMEM_NEW(int) != NULL && gm_world_lock_gc(rt));
    gm_store_rel(&gc_held, 1u); // pairs with the test's load
    usleep(100000);
    gm_store_rlx(&rt->gc.failed, rt->gc.failed + 1);
    gm_sync_unlock(&rt->gc.lock);
    return arg;
}

// A forced cycle tries by itself when another thread has given up after a shorter time.
TEST(a_forced_cycle_tries_for_a_second) {
    REQUIRE(GOMEM_NEW(int) != NULL);
    pthread_t thread;
    uint32_t holds = rt->gc.holds; // of other tests
    rt->gc.holds = 0;
    REQUIRE(pthread_create(&thread, NULL, fail_with_gc, NULL) == 0);
    while (!gm_load_acq(&gc_held)) sched_yield(); // pairs with fail_with_gc
    uint64_t cycles = engine->stats.cycles;
    bool done = gomem_gc();
    REQUIRE(pthread_join(thread, NULL) == 0);
    CHECK(done && engine->stats.cycles > cycles);
    gm_store_rel(&gc_held, 0u); // for the next test
    rt->gc.holds = holds;
}

// Stays in a section until it may leave.
static void *stay_in_a_section(void *arg) {
    CHECK(GOMEM_NEW(int) != NULL);
    struct gm_thread *self = gm_world_self();
    gm_sync_enter(&self->cache.hot);
    gm_store_rel(&gc_held, 1u);                        // pairs with the test's load
    while (gm_load_acq(&gc_held)) (void)sched_yield(); // pairs with the test's store
    gm_sync_leave(&self->cache.hot);
    return arg;
}

// A cycle that was given up sooner than after a second says nothing to threads that wait for it.
TEST(only_a_second_in_vain_counts) {
    struct gm_cycle cycle;
    memset(&cycle, 0, sizeof cycle);
    REQUIRE(GOMEM_NEW(int) != NULL);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, stay_in_a_section, NULL) == 0);
    while (!gm_load_acq(&gc_held)) sched_yield(); // pairs with stay_in_a_section
    uint32_t failed = rt->gc.failed;
    REQUIRE(gm_world_lock_cycle(rt));
    gm_schedule_back_off(rt, false);
    rt->gc.patience = GM_PATIENCE_LEAST;
    CHECK(!gm_gc_stop_world(rt, gm_world_self(), &cycle));
    CHECK_EQ(rt->gc.failed, failed);
    rt->gc.patience = GM_PATIENCE_NS;
    CHECK(!gm_gc_stop_world(rt, gm_world_self(), &cycle));
    CHECK_EQ(rt->gc.failed, failed + 1);
    gm_schedule_back_off(rt, true);
    gm_world_unlock_cycle(rt);
    gm_store_rel(&gc_held, 0u); // pairs with stay_in_a_section
    REQUIRE(pthread_join(thread, NULL) == 0);
}

static uint32_t sleeper; // id of the thread; 0: it may end

static void *sleep_until_told(void *arg) {
    gm_store_rel(&sleeper, (uint32_t)syscall(SYS_gettid)); // pairs with the test's load
    for (uint32_t id; (id = gm_load_acq(&sleeper)) != 0;) gm_os_wait(&sleeper, id, 0);
    return arg;
}

// E6: a thread that waited in vain for a runner that sleeps in the loader waits briefly afterwards.
TEST(a_thread_that_waited_in_vain_waits_briefly) {
    REQUIRE(GOMEM_NEW(int) != NULL);
    struct gm_thread *self = gm_world_self();
    pthread_t holder, walker;
    REQUIRE(pthread_create(&walker, NULL, sleep_until_told, NULL) == 0);
    REQUIRE(pthread_create(&holder, NULL, hold_gc, self) == 0);
    while (!gm_load_acq(&gc_held) || !gm_load_acq(&sleeper)) sched_yield(); // pairs with both
    const uint64_t hour = (uint64_t)3600 * 1000000000u, later = gm_os_now() + hour;
    gm_store_rlx(&rt->roots.walker, sleeper);
    gm_store_rlx(&rt->roots.walk_since, gm_os_now());
    gm_store_rel(&rt->roots.walks, rt->roots.walks + 1);
    self->in_vain = later;
    CHECK(!gm_world_lock_gc(rt));
    CHECK_EQ(self->in_vain, later); // it was brief
    self->in_vain = 0;
    gm_store_rlx(&rt->roots.walk_since, gm_os_now() - 2 * (uint64_t)GM_PATIENCE_NS);
    uint64_t before = gm_os_now();
    CHECK(!gm_world_lock_gc(rt));
    CHECK(self->in_vain >= before + 4 * (uint64_t)GM_PATIENCE_NS);
    self->in_vain = 0;
    gm_store_rel(&rt->roots.walks, rt->roots.walks + 1);
    gm_store_rel(&sleeper, 0u);
    gm_os_wake(&sleeper, 1);
    gm_store_rel(&gc_held, 0u); // pairs with hold_gc
    REQUIRE(pthread_join(walker, NULL) == 0 && pthread_join(holder, NULL) == 0);
}

// A4: where cycles run on the thread that finds them due, the others wait past the hard goal.
TEST(small_objects_wait_past_the_hard_goal) {
    pthread_t thread;
    struct before was;
    struct gm_thread *self = collect_here(&was);
    REQUIRE(self);
    size_t live = engine->live, hard = gm_pacer_hard(engine->pacer.goal);
    REQUIRE(pthread_create(&thread, NULL, hold_gc, self) == 0);
    while (!gm_load_acq(&gc_held)) sched_yield(); // pairs with hold_gc
    for (int i = 0; i < 200; i++) {
        gm_store_rlx(&engine->live, hard);
        gm_schedule_poll(rt, self, 16);
    }
    CHECK(!gm_load_rlx(&seen_waiting));
    for (int i = 0; i < 20000 && !gm_load_rlx(&seen_waiting); i++) {
        gm_store_rlx(&engine->live, hard + GM_MIB);
        gm_schedule_poll(rt, self, 16);
    }
    CHECK(gm_load_rlx(&seen_waiting));
    gm_store_rel(&gc_held, 0u); // pairs with hold_gc
    REQUIRE(pthread_join(thread, NULL) == 0);
    gm_store_rlx(&engine->live, live);
    collect_where_before(&was);
    gomem_gc();
}

// ---- callbacks that lag behind ----

enum { LAGGING = 20000, FIRST_PART = 40 };
static uint32_t callbacks_run, callbacks_may_run;

static void wait_for_permission(void *object, void *arg) {
    (void)object, (void)arg;
    uint32_t mine = gm_load_rlx(&callbacks_run);
    gm_store_rlx(&callbacks_run, mine + 1); // of one thread
    while (gm_load_rlx(&callbacks_may_run) <= mine) sched_yield();
}

__attribute__((noinline)) static void make_lagging(void) {
    for (int i = 0; i < LAGGING; i++)
        CHECK(gomem_set_finalizer(gomem_new(200), wait_for_permission, NULL));
}

// A thread that has reached the trigger naps while callbacks run, and eight times while none does.
TEST(callbacks_get_time) {
    REQUIRE(GOMEM_NEW(int) != NULL);
    struct gm_thread *self = gm_world_self();
    uint32_t holds = rt->gc.holds; // of other tests
    unsigned naps = 0;
    rt->gc.holds = 1; // one cycle finds all of them
    make_lagging();
    rt->gc.holds = 0;
    CHECK(COLLECTED());
    while (gm_load_rlx(&callbacks_run) < 1) sched_yield();
    REQUIRE(engine->special.count > LAGGING / 2);
    CHECK(engine->pacer.kept > GM_MIB);
    gm_store_rlx(&rt->finalize.naps, 0u); // of the allocations above
    pthread_t handle = rt->finalize.handle;
    rt->finalize.handle = self->self; // a callback that allocates does not wait for callbacks
    CHECK(!gm_finalize_nap(rt, self));
    rt->finalize.handle = handle;
    for (int i = 0; i < 20; i++) naps += gm_finalize_nap(rt, self);
    CHECK_EQ(naps, 8);
    gm_store_rlx(&callbacks_may_run, (uint32_t)FIRST_PART);
    while (gm_load_rlx(&callbacks_run) <= FIRST_PART) sched_yield();
    CHECK(gm_finalize_nap(rt, self));
    size_t kept = engine->pacer.kept;
    engine->pacer.kept = GM_MIB - 1; // too little to wait for
    CHECK(!gm_finalize_nap(rt, self));
    engine->pacer.kept = kept;
    gm_store_rlx(&callbacks_may_run, UINT32_MAX);
    while (gm_load_rlx(&engine->special.count)) sched_yield();
    CHECK(!gm_finalize_nap(rt, self));
    CHECK(COLLECTED());
    rt->gc.holds = holds;
}

// ---- what is allocated while a cycle decides ----

static uint32_t deciding, decided;

static void pause_the_decision(const void *object, size_t size, gomem_marker *m) {
    (void)object, (void)size, (void)m;
    if (!gm_load_rlx(&engine->mark.complete)) return;
    gm_store_rel(&deciding, 1u);                  // pairs with the test's load
    while (!gm_load_acq(&decided)) sched_yield(); // pairs with the test's store
}

struct paused {
    long word[4];
};
GOMEM_TYPE_MARK(paused_type, struct paused, pause_the_decision);

static void no_callback(void *object, void *arg) { (void)object, (void)arg; }

__attribute__((noinline)) static void make_paused(void) {
    for (int i = 0; i < 100; i++)
        CHECK(gomem_set_finalizer(GOMEM_NEW_TYPED(struct paused, &paused_type), no_callback, NULL));
}

// Lets cycles run, and beside the program even if the heap is small, until collect_as_before. False:
// they cannot.
static bool collect_beside(struct before *was) {
    if (!CHECK(GOMEM_NEW(int) != NULL) || engine->writes.collector == GOMEM_GC_STW) return false;
    was->holds = rt->gc.holds;
    was->collector = rt->world.settings.options.collector;
    rt->gc.holds = 0;
    gm_store_rlx(&rt->world.settings.options.collector, (int)GOMEM_GC_TRACKED);
    return CHECK(COLLECTED());
}

static void collect_as_before(const struct before *was) {
    CHECK(COLLECTED());
    gm_store_rlx(&rt->world.settings.options.collector, was->collector);
    rt->gc.holds = was->holds;
}

// A5: it is black, and may be garbage: the next goal grows by its bytes, not by twice as much.
TEST(objects_of_a_decision_count_once) {
    struct before was;
    if (!collect_beside(&was)) SKIP("no concurrent collector");
    uint64_t cycles = engine->stats.cycles;
    make_paused();
    CHECK(gomem_gc_start());
    while (!gm_load_acq(&deciding)) sched_yield(); // pairs with pause_the_decision
    for (int i = 0; i < 1024; i++) CHECK(gomem_new(1024) != NULL);
    gm_store_rel(&decided, 1u); // pairs with pause_the_decision
    while (gm_load_rlx(&engine->stats.cycles) == cycles) sched_yield();
    CHECK(engine->pacer.kept >= GM_MIB - 64 * GM_KIB);
    collect_as_before(&was);
}

static bool count_object(void *object, size_t size, void *user) {
    (void)object, (void)size;
    (void)gm_add_rlx((uint32_t *)user, 1u);
    return true;
}

static void *count_objects(void *user) {
    (void)gomem_each(&paused_type, count_object, user);
    return NULL;
}

// B1: what a decision has just marked points to white objects, so nobody gets it until all is
// marked.
enum { LEADS_BACK = 4, LARGE = 3 * 1024 * 1024 };
__attribute__((noinline)) static void make_what_leads_back(void) {
    for (int i = 0; i < LEADS_BACK; i++) {
        void **p = gomem_new(LARGE);
        REQUIRE(p != NULL);
        p[1000] = p;
        CHECK(gomem_set_finalizer(p, no_callback, NULL));
    }
}

// B2: an object that leads back to itself is traced twice and counted once.
static void count_what_leads_back(void) {
    gomem_options o = {.finalizers_by_hand = true};
    rt->gc.holds = 0;
    CHECK(gomem_init(&o) && GOMEM_NEW(int) && gomem_gc());
    size_t before = engine->pacer.live;
    uint32_t ready = engine->special.count;
    make_what_leads_back();
    CHECK(gomem_gc());
    CHECK(engine->special.count >= ready + LEADS_BACK - 1); // one may be on the stack
    CHECK(engine->pacer.live >= before + LEADS_BACK * (size_t)LARGE);
    CHECK(engine->pacer.live < before + (LEADS_BACK + 1) * (size_t)LARGE);
}
TEST(what_leads_back_counts_once) { CHILD_GOOD(count_what_leads_back); }

TEST(objects_of_a_decision_are_not_handed_out) {
    static uint32_t seen;
    pthread_t thread;
    struct before was;
    if (!collect_beside(&was)) SKIP("no concurrent collector");
    uint64_t cycles = engine->stats.cycles;
    gm_store_rlx(&deciding, 0u);
    gm_store_rlx(&decided, 0u);
    make_paused();
    CHECK(gomem_gc_start());
    while (!gm_load_acq(&deciding)) sched_yield(); // pairs with pause_the_decision
    REQUIRE(pthread_create(&thread, NULL, count_objects, &seen) == 0);
    for (int i = 0; i < 1000; i++) sched_yield();
    CHECK_EQ(gm_load_rlx(&seen), 0);
    gm_store_rel(&decided, 1u); // pairs with pause_the_decision
    pthread_join(thread, NULL);
    CHECK(gm_load_rlx(&seen) > 0);
    while (gm_load_rlx(&engine->stats.cycles) == cycles) sched_yield();
    collect_as_before(&was);
}

static uint32_t has_forked;

static void *fork_once(void *arg) {
    int status = -1;
    pid_t child = fork();
    gm_store_rel(&has_forked, 1u); // pairs with the test's load
    if (child == 0) _exit(0);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    CHECK_EQ(status, 0);
    return arg;
}

// E5: what else than marking goes on holds a fork back, and a fork holds that back.
TEST(a_fork_waits_for_its_turn) {
    NEEDS_FORK;
    pthread_t thread;
    REQUIRE(GOMEM_NEW(int) != NULL);
    gm_world_lock_cycle(rt);
    uint32_t passed = gm_load_acq(&rt->gc.passed);
    REQUIRE(pthread_create(&thread, NULL, fork_once, NULL) == 0);
    while (!gm_load_rlx(&rt->gc.forks) && gm_load_rlx(&rt->gc.passed) == passed) sched_yield();
    for (int i = 0; i < 1000; i++) sched_yield();
    CHECK(gm_load_rlx(&rt->gc.passed) == passed && !gm_load_acq(&has_forked));
    gm_workers_pause(rt); // as between two calls of the kernel while pages are armed
    gm_world_unlock_cycle(rt);
    pthread_join(thread, NULL);
    CHECK(gm_load_rlx(&rt->gc.passed) == passed + 1 && !gm_load_rlx(&rt->gc.forks));
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

static bool ask_why(void) {
    static void *volatile object;
    int fd = open("/dev/null", O_WRONLY);
    object = GOMEM_NEW(int);
    bool known = gomem_why(object, fd);
    close(fd);
    return known;
}

static bool ask_for_leaks(void) {
    int fd = open("/dev/null", O_WRONLY);
    bool done = gomem_write(GOMEM_LEAKS, fd);
    close(fd);
    return done;
}

// V7: a thread that blocks all signals asks for a cycle, or a look, while the runner of another
// cycle waits for it to stop. It unblocks the signal before it waits for that cycle.
TEST(asks_with_all_signals_blocked) {
    bool (*const ask[])(void) = {gomem_gc, ask_why, gomem_verify, ask_for_leaks};
    sigset_t all, old, now;
    uint32_t holds = rt->gc.holds; // of other tests
    sigfillset(&all);
    REQUIRE(GOMEM_NEW(int) != NULL);
    rt->gc.holds = 0;
    for (size_t i = 0; i < sizeof ask / sizeof ask[0]; i++) {
        REQUIRE(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
        uint64_t withdrawn = gm_load_rlx(&engine->stats.withdrawn);
        if (!CHECK(gomem_gc_start())) break;
        while (gm_load_rlx(&engine->stats.withdrawn) == withdrawn) sched_yield();
        CHECK(ask[i]());
        CHECK(pthread_sigmask(SIG_BLOCK, NULL, &now) == 0);
        CHECK(!sigismember(&now, rt->world.signal));
        CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    }
    rt->gc.holds = holds;
}

// The last stop's budget: 500 us, doubled with each try, 4 ms at most; the sixth has none.
static void look_only(struct gm_thread *me, void *arg) {
    (void)me;
    *(bool *)arg = true;
}

// What a thread has saved for the region in which it counts as stopped is there after a cycle or a
// look that it runs itself.
TEST(looks_in_a_blocking_region) {
    REQUIRE(GOMEM_NEW(int) != NULL);
    struct gm_thread *self = gm_world_self();
    uint32_t holds = rt->gc.holds; // of other tests
    bool looked = false;
    rt->gc.holds = 0;
    gomem_blocking_begin();
    struct gm_registers saved = self->registers;
    bool in_handler = self->in_handler = true;
    CHECK(gm_schedule_look(rt, self, look_only, &looked) && looked);
    CHECK(!memcmp(&saved, &self->registers, sizeof saved));
    CHECK_EQ(self->in_handler, in_handler);
    CHECK(COLLECTED());
    CHECK(!memcmp(&saved, &self->registers, sizeof saved));
    CHECK_EQ(self->in_handler, in_handler);
    self->in_handler = false;
    gomem_blocking_end();
    rt->gc.holds = holds;
}

TEST(budgets_double) {
    for (unsigned tries = 0; tries < 8; tries++)
        CHECK_EQ(gm_gc_budget(tries), tries < 3 ? 500000u << tries : 4000000u);
    CHECK_EQ(GM_TRIES, 5);
}

// ---- policies, of a runtime that has no thread: nobody else follows them meanwhile ----

static struct gm_runtime other;
static struct gm_thread other_thread;

// Cycles that cannot go on are tried again after 8 ms, then after twice that, up to a second.
TEST(tries_get_rarer) {
    struct gm_gc *gc = &other.gc;
    uint64_t last = 0;
    for (unsigned i = 0; i < 10; i++) {
        uint64_t before = gm_os_now();
        other.engine.pacer.trigger = 0;
        gm_schedule_back_off(&other, false);
        CHECK_EQ(other.engine.pacer.trigger, other.engine.live + GM_MIB); // no try by each thread
        uint64_t pause = gc->not_before - before, late = gm_os_now() - before;
        uint64_t expected = (uint64_t)8000000 << (i < 7 ? i : 7);
        CHECK(pause >= expected && pause <= expected + late);
        CHECK_EQ(gc->stuck, i + 1);
        CHECK(i >= 8 || pause > last);
        last = pause;
    }
    gm_schedule_back_off(&other, true);
    CHECK(!gc->not_before && !gc->stuck);
    gm_schedule_back_off(&other, false);
    CHECK_EQ(gc->stuck, 1);
    gm_schedule_back_off(&other, true);
}

// E7: what a large object may bring the heap to without waiting for a cycle.
TEST(large_objects_wait_past_the_hard_goal) {
    struct gm_pacer *p = &other.engine.pacer;
    other.engine.writes.collector = GOMEM_GC_TRACKED;
    other.engine.live = 90 * GM_MIB;
    other.gc.background = true;
    *p = (struct gm_pacer){.live = 80 * GM_MIB, .goal = 100 * GM_MIB, .held = SIZE_MAX};
    CHECK_EQ(gm_schedule_most(&other, GM_MIB), 111 * GM_MIB); // 1.1 of the goal, and 1 MiB
    p->held = 105 * GM_MIB;
    CHECK_EQ(gm_schedule_most(&other, GM_MIB), 105 * GM_MIB); // a memory limit is kept
    p->trigger = 95 * GM_MIB;
    CHECK_EQ(gm_schedule_most(&other, 40 * GM_MIB - 1), 105 * GM_MIB);
    CHECK_EQ(gm_schedule_most(&other, 40 * GM_MIB), 95 * GM_MIB); // half of what lives
    other.gc.runner = &other_thread;                              // a cycle runs
    CHECK_EQ(gm_schedule_most(&other, 10 * GM_MIB - 1), 105 * GM_MIB);
    CHECK_EQ(gm_schedule_most(&other, 10 * GM_MIB), 0); // an eighth of what lives
    p->live = GM_MIB;
    CHECK_EQ(gm_schedule_most(&other, GM_MIB - 1), 105 * GM_MIB);
    CHECK_EQ(gm_schedule_most(&other, GM_MIB), 0);
    other.gc.holds = 1;
    CHECK_EQ(gm_schedule_most(&other, 10 * GM_MIB), 105 * GM_MIB);
    p->held = 50 * GM_MIB;
    CHECK_EQ(gm_schedule_most(&other, 10 * GM_MIB), 100 * GM_MIB);
    other.gc.holds = 0;
    other.engine.writes.collector = GOMEM_GC_STW; // cycles run here: at the goal
    CHECK_EQ(gm_schedule_most(&other, 10 * GM_MIB), 100 * GM_MIB);
    other.gc.runner = NULL;
}

// E7: an object that is counted and not yet there is no reason for a cycle, which would keep it.
TEST(a_large_object_asks_for_no_cycle_before_it_is_there) {
    struct before was;
    struct gm_thread *self = collect_here(&was);
    REQUIRE(self);
    uint64_t cycles = engine->stats.cycles;
    CHECK(gm_schedule_prepay(rt, self, GM_MIB, SIZE_MAX));
    gm_store_rlx(&engine->live, engine->pacer.trigger);
    gm_schedule_pace(rt, self, GM_MIB);
    CHECK_EQ(engine->stats.cycles, cycles);
    gm_store_rlx(&engine->live, engine->pacer.trigger + GM_MIB);
    gm_schedule_pace(rt, self, GM_MIB);
    CHECK_EQ(engine->stats.cycles, cycles + 1);
    CHECK_EQ(self->cache.ahead, 0);
    collect_where_before(&was);
}

// A quarter of the processors marks beside the program, as far as threads could be started.
TEST(a_quarter_marks_beside_the_program) {
    static const unsigned processors[] = {1, 2, 4, 7, 8, 16, 64}, wanted[] = {1, 1, 1, 1, 2, 4, 16};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        CHECK_EQ(gm_gc_workers_beside(processors[i], 63), wanted[i]);
        CHECK_EQ(gm_gc_workers_beside(processors[i], 2), wanted[i] < 3 ? wanted[i] : 3);
        CHECK_EQ(gm_gc_workers_beside(processors[i], 0), 1);
    }
}

// Below 2 MiB with the roots, and 1 MiB that lived last, a cycle is one stop.
TEST(small_heaps_are_collected_in_one_stop) {
    enum { CASES = 5 };
    static const struct {
        size_t live, roots, old; // in KiB
        bool small;
    } cases[CASES] = {{2047, 0, 1024, true},
                      {1000, 1047, 1024, true},
                      {2048, 0, 0, false},
                      {1000, 1048, 0, false},
                      {1500, 0, 1025, false}};
    for (size_t i = 0; i < CASES; i++) {
        other.engine.writes.collector = GOMEM_GC_TRACKED;
        other.engine.live = cases[i].live * GM_KIB;
        other.engine.pacer = (struct gm_pacer){.live = cases[i].old * GM_KIB,
                                               .roots = cases[i].roots * GM_KIB};
        CHECK_EQ(gm_gc_is_small(&other), cases[i].small && GM_SMALL_HEAP != 0);
        other.world.settings.options.collector = GOMEM_GC_TRACKED; // chosen by an option
        CHECK(!gm_gc_is_small(&other));
        other.world.settings.options.collector = GOMEM_GC_AUTO;
        other.engine.writes.collector = GOMEM_GC_BARRIER;
        CHECK(!gm_gc_is_small(&other));
    }
}

static uint32_t requested;
static unsigned sections;

static void note_section(gomem_i_cache *t, bool enter) {
    (void)t;
    sections += enter;
    requested = 0;
}

// A stop clears what is counted ahead: it must not come while a thread adds to it.
TEST(what_is_counted_ahead_changes_in_a_section) {
    gomem_i_cache *hot = &other_thread.cache.hot;
    hot->stop_request = &requested;
    hot->stop_wait = note_section;
    requested = 8;
    other.engine.live = 0;
    CHECK(gm_schedule_prepay(&other, &other_thread, GM_MIB, SIZE_MAX));
    CHECK_EQ(sections, 1);
    CHECK_EQ(other_thread.cache.ahead, GM_MIB);
    CHECK_EQ(hot->section_depth, 0);
    other.engine.live = other_thread.cache.ahead = 0;
}

// The other runtime has a heap with `in_use` bytes in use and `idle` ones that were used before.
static bool heap_with_idle_pages(size_t chunks, size_t idle, size_t in_use) {
    struct gm_heap *h = &other.engine.heap;
    other_thread.cache.hot.stop_request = &gm_sync_quiet;
    if (!CHECK(room_heap(h, chunks))) return false;
    struct gm_span *s = gm_heap_take(h, GM_MANUAL, 0, idle, 0);
    if (!CHECK(s && gm_heap_take(h, GM_MANUAL, 0, in_use, 0))) return false;
    gm_heap_put(h, s);
    return true;
}

// With a memory limit idle pages go before the heap grows past it, with a sixteenth for metadata.
TEST(idle_pages_make_room_under_a_limit) {
    struct gm_heap *h = &other.engine.heap;
    REQUIRE(heap_with_idle_pages(32, 24 * GM_MIB, 32 * GM_MIB));
    static const struct {
        size_t limit, bytes, keep; // in MiB
    } cases[] = {{0, 90, 24}, {100, 16, 24}, {68, 16, 17}, {51, 16, 0}, {10, 90, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        other.engine.pacer.limit = cases[i].limit * GM_MIB;
        gm_schedule_make_room(&other, &other_thread, cases[i].bytes * GM_MIB);
        size_t most = cases[i].keep * GM_MIB / GM_PAGE;
        CHECK(h->pages.idle <= most && h->pages.idle + GM_CHUNK_PAGES >= most); // chunks go whole
    }
    other.engine.pacer.limit = 0;
    room_end_pages(&h->pages);
}

// H2: idle pages go until a tenth over the goal is left, or over what is used where that is more,
// and never more than fits under a memory limit with its metadata.
TEST(scavenging_ends_a_tenth_over_the_goal) {
    struct gm_heap *h = &other.engine.heap;
    REQUIRE(heap_with_idle_pages(64, 100 * GM_MIB, 80 * GM_MIB));
    static const struct {
        size_t goal, limit, keep; // in MiB; goal 0: off
    } cases[] = {
        {120, 0, 52}, {120, 128, 40}, // a sixteenth of a limit is left for metadata
        {40, 0, 8},   {0, 0, 8},      {120, 64, 0},
    };
    discard_ns = 1000000; // 2 % of a processor
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t sleep = 0;
        other.engine.pacer.goal = cases[i].goal ? cases[i].goal * GM_MIB : SIZE_MAX;
        other.engine.pacer.limit = cases[i].limit * GM_MIB;
        while (gm_schedule_scavenge(&other, &other_thread, &sleep)) CHECK(sleep >= 50 * discard_ns);
        size_t most = cases[i].keep * GM_MIB / GM_PAGE;
        CHECK(h->pages.idle <= most && h->pages.idle + GM_CHUNK_PAGES >= most); // chunks go whole
    }
    discard_ns = 0;
    room_end_pages(&h->pages);
}

// What the parent's cycles wait for is not there in a child: it collects at once.
// A child does not collect just because its parent was about to, or in the middle of it.
TEST(a_child_has_a_trigger_of_its_own) {
    NEEDS_FORK;
    struct gm_pacer *p = &engine->pacer;
    REQUIRE(GOMEM_NEW(int) != NULL);
    gomem_gc();
    gomem_gc_hold();
    size_t trigger = p->trigger;
    uint32_t active = 1;
    gm_store_rlx(&p->trigger, engine->live);
    gm_store_rlx(&engine->mark.active, active);
    pid_t pid = fork();
    if (pid == 0) _exit(engine->mark.active || p->trigger < engine->live + GM_MIB);
    gm_store_rlx(&engine->mark.active, 0u);
    gm_store_rlx(&p->trigger, trigger);
    gomem_gc_unhold();
    int status = -1;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
}

// The result of a thread that can be joined is kept; one that was detached while it ran has none.
TEST(detached_threads_leave_no_result) {
    REQUIRE(begin());
    for (int detached = 0; detached < 2; detached++) {
        void *result = gomem_malloc(16);
        struct gm_start *start = gm_thread_new_start(rt, NULL, result, GM_START_RUNS);
        REQUIRE(result && start);
        start->detached = detached;
        gm_thread_end(rt, start, result);
        start = gm_thread_find_start_locked(rt, pthread_self(), GM_START_ENDED);
        CHECK_EQ(start != NULL, !detached);
        gm_thread_forget_result(rt, pthread_self());
        gomem_free(result);
    }
}

static unsigned workers_wanted;
static void count_workers(void) {
    static void *live; // a smaller heap has no workers
    while (rt->gc.holds) gomem_gc_unhold();
    rt->world.settings.options.mark_workers = (int)workers_wanted;
    CHECK((live = gomem_new(3 * GM_MIB)) && COLLECTED());
    unsigned most = workers_wanted ? workers_wanted : gm_os_processors();
    CHECK_EQ(rt->gc.thread_count, GM_MIN(most, 16u) - 1); // the runner marks, too
}

TEST(one_worker_less_than_processors) {
    NEEDS_FORK;
    for (unsigned i = 0; i < 4; i++) {
        workers_wanted = (const unsigned[]){0, 1, 3, 100}[i];
        CHILD_GOOD(count_workers);
    }
}

static uint64_t cycle_from, cycle_to; // when the last cycle began and ended, in ns

static void spin_and_note(int what, uint64_t ns, void *user) {
    (void)ns, (void)user;
    if (what == GOMEM_EVENT_END) cycle_to = gm_os_now();
    if (what != GOMEM_EVENT_BEGIN) return;
    cycle_from = gm_os_now();
    while (gm_os_now() < cycle_from + 5000000) {}
}

// Cycles for lack of memory that free nothing take a fifth of a thread's time at most. What is
// nothing: less than 1/64 of the heap.
TEST(futile_emergencies_get_rare) {
    REQUIRE(begin());
    struct gm_thread *me = gm_world_self();
    rt->world.settings.options.event = spin_and_note;
    gm_schedule_emergency(rt, me); // frees what other tests have left
    me->futile = 0;
    for (unsigned i = 0; i < 4; i++) {
        size_t live = engine->live; // of a heap where nothing else happens
        gm_store_rlx(&engine->live, live + live / 80);
        gm_schedule_emergency(rt, me);
        CHECK_EQ(me->futile, i + 1);
    }
    gm_store_rlx(&rt->gc.spared, (uint64_t)0);
    gm_schedule_emergency(rt, me);
    CHECK(rt->gc.spared >= cycle_to + 4 * (cycle_to - cycle_from));
    uint64_t cycles = engine->stats.cycles;
    gm_store_rlx(&rt->gc.spared, UINT64_MAX);
    gm_schedule_emergency(rt, me);
    CHECK_EQ(engine->stats.cycles, cycles);
    gm_store_rlx(&rt->gc.spared, (uint64_t)0);
    size_t live = engine->live;
    gm_store_rlx(&engine->live, live + live / 50);
    gm_schedule_emergency(rt, me);
    CHECK_EQ(me->futile, 0); // it has helped
    // Another thread's cycle that has helped counts as well: what was allocated since may be garbage.
    for (unsigned i = 0; i < 4; i++) CHECK(!gm_schedule_emergency(rt, me));
    CHECK_EQ(me->futile, 4);
    gm_store_rlx(&rt->gc.spared, UINT64_MAX);
    gm_store_rlx(&rt->gc.helped, rt->gc.helped + 1);
    cycles = engine->stats.cycles;
    CHECK(!gm_schedule_emergency(rt, me));
    CHECK_EQ(engine->stats.cycles, cycles + 1);
    CHECK_EQ(me->futile, 1);
    live = engine->live;
    gm_store_rlx(&engine->live, live + live / 50);
    CHECK(gm_schedule_emergency(rt, me));
    rt->world.settings.options.event = NULL;
}

TEST(children_begin_anew) {
    NEEDS_FORK;
    struct gm_gc *gc = &rt->gc;
    REQUIRE(GOMEM_NEW(int) != NULL);
    gomem_gc();
    gomem_gc_hold(); // no cycle's end sets these
    gm_store_rlx(&gc->not_before, UINT64_MAX);
    gm_store_rlx(&gc->closing, 5u);
    gc->stuck = 7;
    pid_t pid = fork();
    if (pid == 0)
        _exit(gc->not_before || gc->closing || gc->stuck || gc->asked || gc->runner ||
              gc->phase != GM_PHASE_OFF);
    gm_store_rlx(&gc->not_before, (uint64_t)0);
    gm_store_rlx(&gc->closing, 0u);
    gc->stuck = 0;
    gomem_gc_unhold();
    int status = -1;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
}

// A stop that tracking would have made short is told once, by whoever listens to warnings.
TEST(slow_stops_are_told) {
    struct gm_cycle c;
    memset(&c, 0, sizeof c);
    REQUIRE(begin());
    gm_sync_lock(&rt->gc.lock);
    uint32_t reason = engine->writes.reason;
    c.paused = 700;
    c.before = 3 * GM_MIB;
    said[0] = 0;
    rt->gc.told_reason = false;
    slow_stop = 1000;
    engine->writes.reason = GOMEM_REASON_SETUID;
    gm_gc_warn_reason(rt, &c);
    CHECK(!said[0]); // not slow
    slow_stop = 500;
    c.before = GM_MIB;
    gm_gc_warn_reason(rt, &c);
    CHECK(!said[0]); // a small heap
    c.before = 3 * GM_MIB;
    engine->writes.reason = GOMEM_REASON_NONE;
    gm_gc_warn_reason(rt, &c);
    CHECK(!said[0]); // it was asked for
    engine->writes.reason = GOMEM_REASON_SETUID;
    gm_gc_warn_reason(rt, &c);

    CHECK(strstr(said, "0 ms") && strstr(said, "setuid") && strstr(said, "BARRIER"));
    said[0] = 0;
    gm_gc_warn_reason(rt, &c);
    CHECK(!said[0]); // once
    engine->writes.reason = reason;
    slow_stop = 10000000;
    gm_sync_unlock(&rt->gc.lock);
}

// ---- unattached threads ----

static uint32_t lingers[3]; // ids of the threads below
static bool let_go;         // futex-like flag, polled

static void *linger(void *arg) {
    size_t i = (size_t)arg;
    sigset_t all;
    sigfillset(&all);
    if (i == 1) pthread_sigmask(SIG_BLOCK, &all, NULL); // as the library's own threads do
    gm_store_rel(&lingers[i], (uint32_t)syscall(SYS_gettid));
    while (!gm_load_acq(&let_go)) usleep(200);
    return NULL;
}

static bool named[3];

static void note_named(const char *line, void *user) {
    (void)user;
    for (unsigned i = 0; i < 3; i++) {
        char number[30];
        snprintf(number, sizeof number, "does not know: %u (", gm_load_acq(&lingers[i]));
        named[i] |= strstr(line, number) != NULL;
    }
}

// Looks until thread i is named; false: not even after `most` looks.
static bool look_for(unsigned i, int most) {
    for (; most > 0 && !named[i]; most--) {
        gm_sync_lock(&rt->gc.lock);
        gm_gc_find_unattached(rt);
        gm_sync_unlock(&rt->gc.lock);
        usleep(1000);
    }
    return named[i];
}

static void forget_that_it_was_named(size_t n) {
    named[n] = false;
    for (unsigned i = 0; i < GM_UNATTACHED; i++)
        if (rt->gc.unattached[i].id == lingers[n]) rt->gc.unattached[i].told = false;
}

static void look_beside_threads_that_have_not_begun(void) {
    pthread_t thread[3];
    for (size_t i = 0; i < 2; i++) CHECK(pthread_create(&thread[i], NULL, linger, (void *)i) == 0);
    while (!gm_load_acq(&lingers[0]) || !gm_load_acq(&lingers[1])) sched_yield();
    // A marking thread has not recorded its id: it may be any thread that blocks all signals.
    uint32_t id = rt->gc.marker[1].id, count = rt->gc.thread_count;
    rt->gc.thread_count = GM_MAX(count, 1u);
    rt->gc.marker[1].id = 0;
    CHECK(look_for(0, 5000) && !look_for(1, 20));
    rt->gc.marker[1].id = id ? id : UINT32_MAX;
    CHECK(look_for(1, 5000));
    // So may the callback thread be, before it has.
    uint32_t callbacks = rt->finalize.thread, callback_id = rt->finalize.id;
    rt->finalize.thread = GM_FINALIZE_THERE;
    rt->finalize.id = 0;
    forget_that_it_was_named(1);
    CHECK(!look_for(1, 20));
    rt->finalize.id = UINT32_MAX;
    CHECK(look_for(1, 5000));
    rt->finalize.thread = callbacks;
    rt->finalize.id = callback_id;
    // A thread of gomem_thread_create has not begun: it may be any that was created since.
    struct gm_start *start = gm_thread_new_start(rt, NULL, NULL, GM_START_WAITS);
    if (!CHECK(start && pthread_create(&thread[2], NULL, linger, (void *)(size_t)2) == 0)) return;
    while (!gm_load_acq(&lingers[2])) sched_yield();
    CHECK(!look_for(2, 20));
    forget_that_it_was_named(0);
    CHECK(look_for(0, 5000) && !named[2]); // it was there before
    gm_world_forget_start(rt, start);
    CHECK(look_for(2, 5000));
    gm_store_rel(&let_go, true);
    for (size_t i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    rt->gc.marker[1].id = id;
    rt->gc.thread_count = count;
}

TEST(threads_that_have_not_begun_hide_few_others) {
    if (!GOMEM_I_CHECK) SKIP("check level 0 looks for no threads");
    REQUIRE(begin());
    void (*warn)(const char *, void *) = engine->guard.warn;
    engine->guard.warn = note_named;
    look_beside_threads_that_have_not_begun();
    engine->guard.warn = warn;
}

// ---- a thread that has detached, and gets no processor for its last steps ----

static uint32_t left;

static void *detach_and_spin(void *arg) {
    CHECK(gomem_thread_attach());
    for (int i = 0; i < 3; i++) (void)usleep(1000); // it has slept, so it has run
    gomem_thread_detach();
    gm_store_rel(&left, (uint32_t)syscall(SYS_gettid)); // pairs with the test's load
    while (!gm_load_acq(&let_go)) continue;             // pairs with the test's store
    return arg;
}

TEST(what_has_detached_may_still_end) {
    if (!GOMEM_I_CHECK) SKIP("check level 0 looks for no threads");
    REQUIRE(begin());
    void (*warn)(const char *, void *) = engine->guard.warn;
    struct gm_look look = {rt, UINT64_MAX, true};
    pthread_t thread;
    gm_store_rlx(&let_go, false);
    engine->guard.warn = note_named;
    REQUIRE(pthread_create(&thread, NULL, detach_and_spin, NULL) == 0);
    while (!gm_load_acq(&left)) sched_yield(); // pairs with detach_and_spin
    CHECK(!gm_gc_knows(rt, left));
    CHECK(!gm_gc_report_unattached(&look, left, GM_UNATTACHED_NS));
    CHECK(gm_gc_report_unattached(&look, left, GM_UNATTACHED_READY_NS)); // it stays
    gm_store_rel(&let_go, true);
    pthread_join(thread, NULL);
    // The kernel still has it for a while, longer if it has no processor.
    while (gm_os_signal_thread(left, 0) != ESRCH) (void)sched_yield();
    CHECK(!gm_gc_report_unattached(&look, left, GM_UNATTACHED_READY_NS)); // it has ended
    engine->guard.warn = warn;
}

TEST_MAIN
