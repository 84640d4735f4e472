// Rooms alloc and control: sections, errno, what is in place, what is live.
#include "room.h"
#include "child.h"

static struct gm_runtime *const rt = &gm_runtime;

struct typed {
    void *pointer;
    long number;
};
GOMEM_TYPE(typed_type, struct typed, pointer);

static char area[4096];
static bool never(void *obj, size_t size, void *user) {
    (void)obj, (void)size, (void)user;
    return true;
}

// Whatever is called, no section and no lock stays behind, and errno is kept where nothing failed.
#define SOUND(call)                                          \
    do {                                                     \
        errno = 77;                                          \
        call;                                                \
        CHECK_EQ(errno, 77);                                 \
        CHECK(!gm_world_self()->cache.hot.section_depth);    \
        CHECK(!gm_world_self()->cache.hot.ranks);            \
        CHECK_EQ(gm_world_self()->state, GM_THREAD_RUNNING); \
    } while (0)

TEST(sections_end) {
    static const size_t sizes[] = {0, 1, 8, 16, 100, 1024, 5000, 32768, 32769, 500000, 3000000};
    void *p;
    REQUIRE(gomem_thread_attach());
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t size = sizes[i];
            SOUND(p = gomem_malloc(size));
            SOUND(gomem_free(p));
            SOUND(p = gomem_calloc(2, size));
            SOUND(p = gomem_realloc(p, size / 2 + 1));
            SOUND(p = gomem_realloc(p, size * 3));
            SOUND(gomem_free_sized(p, size));
            SOUND(p = gomem_aligned_alloc(4096, size));
            SOUND(gomem_free(p));
            for (unsigned flags = 0; flags < 4; flags++) {
                SOUND(p = gomem_new_with(size, 0, flags));
                SOUND(p = gomem_realloc(p, size + 20));
                SOUND(gomem_free(p));
            }
            SOUND(p = gomem_new_typed(&typed_type, size));
            SOUND(p = gomem_new(size));
            SOUND((void)gomem_usable_size(p));
            SOUND((void)gomem_base(p));
        }
    SOUND((void)gomem_add_root(area, sizeof area));
    SOUND((void)gomem_remove_root(area));
    SOUND((void)gomem_add_stack(area, area + sizeof area));
    SOUND(gomem_stack_parked(area, area + 64));
    SOUND((void)gomem_remove_stack(area));
    SOUND((void)gomem_each(NULL, never, NULL));
    SOUND((void)gomem_each(&typed_type, never, NULL));
    SOUND(gomem_gc());
    SOUND((void)gomem_gc_start());
    SOUND((void)gomem_verify());
    SOUND((void)gomem_free_os_memory());
    SOUND((void)gomem_set_gc_percent(100));
    gomem_memstats m = {.size = sizeof m};
    SOUND(gomem_read_memstats(&m));
}

static unsigned entered; // sections that count_sections has seen
static void count_sections(gomem_i_cache *t, bool enter) {
    (void)t;
    entered += enter;
}

// An aligned object of a loaded magazine is popped: no section is entered.
TEST(aligned_objects_are_popped) {
    if (GOMEM_I_SLOW_MANUAL) return; // each call takes the slow path
    REQUIRE(gomem_thread_attach());
    gomem_i_cache *t = &gm_world_self()->cache.hot;
    const uint32_t pending = 1, *request = t->stop_request;
    void (*wait)(gomem_i_cache *, bool) = t->stop_wait;
    for (size_t align = 1; align <= GM_PAGE; align *= 2) {
        void *p = gomem_aligned_alloc(align, 3 * align);
        gomem_free(p);
        entered = 0;
        t->stop_wait = count_sections;
        t->stop_request = &pending;
        void *q = gomem_aligned_alloc(align, 3 * align);
        t->stop_request = request;
        t->stop_wait = wait;
        CHECK(q == p);
        CHECK_EQ(entered, 0);
        gomem_free(q);
    }
}

// ---- large objects from the spare spans ----

enum { LARGE = 65536 };

// A thread that allocates and frees nothing but large objects answers a request for a trim, too.
TEST(spare_spans_and_trims) { // K4
    REQUIRE(gomem_thread_attach());
    struct gm_cache *t = &gm_world_self()->cache;
    gomem_free(gomem_malloc(LARGE));
    void *small = gomem_malloc(100);
    gomem_free(small);
    (void)gm_add_rlx(&rt->engine.trims, 1u);
    void *p = gomem_malloc(LARGE);
    CHECK_EQ(t->trims, rt->engine.trims);
    CHECK(!t->held && !t->spares);
    gomem_free(p);
}

// A free to the spare spans looks whether too many pages are idle, as other frees do.
TEST(spare_spans_and_idle_pages) { // H2
    REQUIRE(gomem_thread_attach());
    struct gm_heap *h = &rt->engine.heap;
    if (gm_guard_watched(&rt->engine.guard)) return; // freed objects are held back
    void *p = gomem_malloc(LARGE);
    size_t idle = h->pages.idle;
    h->pages.idle += 1000000;
    h->retry = SIZE_MAX; // none is searched for
    h->turned = 0;
    gomem_free(p);
    CHECK(h->turned != 0);
    h->pages.idle = idle;
    h->retry = 0;
}

// The sample of a large object goes with it, also when the profile is off by then.
TEST(spare_spans_and_samples) { // PR1
    if (!GM_PROF || GOMEM_I_SLOW_MANUAL) return;
    REQUIRE(gomem_thread_attach());
    struct gm_prof *f = &rt->engine.prof;
    gomem_set_profile_rate(1);
    void *p = gomem_malloc(LARGE);
    gomem_set_profile_rate(0);
    gomem_free(gomem_malloc(16)); // takes the rate
    CHECK(gm_world_self()->cache.hot.size);
    uint32_t *at = gm_prof_find_locked(f, (uintptr_t)p);
    CHECK(at && *at);
    gomem_free(p);
    at = gm_prof_find_locked(f, (uintptr_t)p);
    CHECK(!at || !*at);
}

// The same object does not become spare twice, and a pair counts once in each direction.
static int freed_twice;
static void note_twice(const char *line, void *user) {
    (void)user;
    freed_twice += strstr(line, "free") != NULL;
}
TEST(spare_spans_freed_twice) { // K4
    gomem_options o = {.panic = note_twice};
    REQUIRE(gomem_init(&o));
    REQUIRE(gomem_thread_attach());
    struct gm_cache *t = &gm_world_self()->cache;
    if (gm_guard_watched(&rt->engine.guard)) return; // freed objects are held back
    gomem_free(gomem_malloc(LARGE));
    uint64_t mallocs = t->stats.manual_mallocs[0], frees = t->stats.manual_frees[0];
    void *p = gomem_malloc(LARGE);
    gomem_free(p);
    CHECK_EQ(t->stats.manual_mallocs[0], mallocs + 1);
    CHECK_EQ(t->stats.manual_frees[0], frees + 1);
    unsigned spares = t->spares;
    gomem_free(p);
    CHECK_EQ(freed_twice, 1);
    CHECK_EQ(t->spares, spares);
    CHECK_EQ(t->stats.manual_frees[0], frees + 1);
}

// ---- foreign pointers, signals, threads that have ended ----

TEST(strangers) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    REQUIRE(gomem_thread_attach());
    CHECK_EQ(gm_alloc_classify_foreign(p, p->lo), GM_MSG_UNALLOCATED);
    CHECK_EQ(gm_alloc_classify_foreign(p, p->hi - 1), GM_MSG_UNALLOCATED);
    CHECK_EQ(gm_alloc_classify_foreign(p, p->lo - 1), GM_MSG_FOREIGN);
    CHECK_EQ(gm_alloc_classify_foreign(p, p->hi), GM_MSG_FOREIGN);
    CHECK_EQ(gm_alloc_classify_foreign(p, (uintptr_t)__builtin_frame_address(0)), GM_MSG_STACK);
    CHECK_EQ(gm_alloc_classify_foreign(p, (uintptr_t)area), GM_MSG_FOREIGN);
    CHECK_EQ(gm_alloc_classify_foreign(p, 1), GM_MSG_FOREIGN);
}

static int panics;
static char said[700];
static void note(const char *line, void *user) {
    (void)user;
    panics++;
    snprintf(said, sizeof said, "%s", line);
    if (gm_world_self()->cache.hot.section_depth) // fails, without another report
        CHECK(gomem_malloc(60000) == NULL);
}

// As a signal handler would that interrupted a section.
TEST(inside_of_a_section) {
    gomem_options o = {.panic = note};
    REQUIRE(gomem_init(&o) && gomem_thread_attach());
    struct gm_cache *t = &gm_world_self()->cache;
    void *p = test_opaque(gomem_malloc(40000)), *mine = gomem_malloc(8);
    volatile uintptr_t word = (uintptr_t)p;
    t->hot.section_depth = 1;
    errno = 0;
    CHECK(gomem_malloc(50000) == NULL && errno == ENOMEM);
    CHECK(panics == 1 && strstr(said, "in a signal handler"));
    CHECK(gomem_new_with(8, 0, GOMEM_UNCOLLECTABLE) == NULL && panics == 2);
    gomem_free(p);
    CHECK_EQ(panics, 3);
    CHECK(gomem_base(mine) == mine && panics == 3); // the one thing that may be asked
    CHECK_EQ(t->hot.section_depth, 1);
    t->hot.section_depth = 0;
    gomem_free((void *)word);
    gomem_free(mine);
    CHECK_EQ(panics, 3);
}

// A thread whose record is gone shares one with others of its kind.
TEST(after_the_last_destructor) {
    REQUIRE(gomem_thread_attach());
    gomem_i_cache *own = GOMEM_I_TLS;
    GOMEM_I_TLS = GM_RUNTIME_GONE;
    void *small[100], *large = gomem_malloc(100000);
    for (int i = 0; i < 100; i++) small[i] = gomem_malloc(64);
    CHECK(GOMEM_I_TLS == GM_RUNTIME_GONE && rt->world.gone != NULL);
    CHECK_EQ(rt->world.gone->state, GM_THREAD_SHARED);
    CHECK_EQ(rt->world.gone_lock.word, 0);
    void *string = gomem_new_noscan(30);
    CHECK(large && small[99] && string);
    for (int i = 0; i < 100; i++) gomem_free(small[i]);
    gomem_free(string);
    GOMEM_I_TLS = own;
    gomem_free(large);
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// ---- what is live, what stays in place ----

static bool count(void *obj, size_t size, void *user) {
    CHECK(size >= 48 && ((char *)obj)[47] == 1);
    ++*(size_t *)user;
    return true;
}

static void only_objects(void) { // in a fresh process: nothing else is there
    enum { N = 1000 };
    size_t n = 0;
    gomem_options none = {0};
    REQUIRE(gomem_init(&none));
    gomem_gc_hold();
    for (int i = 0; i < N; i++) {
        char *p = i % 2 ? gomem_new(48) : gomem_new_noscan(48);
        p[47] = 1;
        if (i % 5 == 0) gomem_free(p);
    }
    CHECK_EQ(gomem_each(NULL, count, &n), N - N / 5); // no held slot is among them
    CHECK_EQ(n, N - N / 5);
}

TEST(held_slots_are_no_objects) {
    NEEDS_FORK;
    gomem_shutdown();
    CHILD_GOOD(only_objects);
    gomem_options none = {0};
    CHECK(gomem_init(&none));
}

TEST(in_place) {
    static const struct {
        size_t old, size;
        bool stays;
    } cases[] = {{100, 112, true},     {100, 113, false},     {100, 60, true},
                 {100, 55, false},     {64, 1, true},         {80, 1, false},
                 {32768, 16384, true}, {32768, 16383, false}, {32768, 32769, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t kind = 0; kind < 2; kind++) { // a collected array has a byte to spare
            size_t old = cases[i].old - kind, size = cases[i].size - kind;
            char *p = kind ? gomem_new(old) : gomem_malloc(old);
            memset(p, 1, old);
            char *q = gomem_realloc(p, size);
            CHECK_EQ(q == p, cases[i].stays);
            for (size_t k = 0; k < GM_MIN(old, size); k++) CHECK_EQ(q[k], 1);
            for (size_t k = size; kind && k < gomem_usable_size(q); k++) CHECK(!q[k]);
            gomem_free(q);
        }
}

TEST(trims_are_obeyed) {
    REQUIRE(gomem_thread_attach());
    struct gm_cache *t = &gm_world_self()->cache;
    for (int i = 0; i < 100; i++) gomem_free(gomem_malloc((size_t)i * 20));
    CHECK(t->held > 0);
    gm_add_rlx(&rt->engine.trims, 1u);
    gomem_free(gomem_malloc(100000)); // the next slow path
    CHECK_EQ(t->held, 0);
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) CHECK(t->hot.top[c] == GM_CACHE_NOTHING);
}

// A piece ends at a word of the target, or at the end, and is about 16 KiB: a stop waits for one.
TEST(pieces_of_a_move) {
    for (uintptr_t edge = 0x10000; edge < 0x10000 + 2 * GM_WORD; edge++)
        for (size_t left = 1; left < 100000; left = left * 3 + 1) {
            size_t up = gm_alloc_piece(edge, left, true), down = gm_alloc_piece(edge, left, false);
            CHECK(up == left || ((edge + up) % GM_WORD == 0 && up > 16000));
            CHECK(down == left || ((edge - down) % GM_WORD == 0 && down > 16000));
            CHECK(0 < up && up <= left && up < 16400 && 0 < down && down <= left && down < 16400);
        }
}

static void resize_while_marking(void) {
    const struct gm_pages *pages = &rt->engine.heap.pages;
    void **object = gomem_new(24), *held = gomem_new_noscan(500);
    REQUIRE(object && held);
    object[1] = held;
    rt->engine.writes.collector = GOMEM_GC_BARRIER;
    gm_store_rlx(&gomem_i_barrier, 1u);
    object = gomem_realloc(object, 3000);
    gm_store_rlx(&gomem_i_barrier, 0u);
    CHECK(object && object[1] == held);
    CHECK(gm_span_color(pages, (uintptr_t)held)->mark & gm_span_bit(pages, (uintptr_t)held));
}

// The library stores pointers, too: what a resize copies is told to the barrier collector.
TEST(copies_are_told) { CHILD_GOOD(resize_while_marking); }

// What a cycle has recounted may be less than what is freed afterwards.
TEST(live_bytes_never_wrap) {
    size_t *live = &rt->engine.live;
    gomem_gc_hold();
    for (size_t less = 0; less < 3; less++) {
        void *p = gomem_new_noscan(100000);
        REQUIRE(p != NULL);
        gm_store_rlx(live, gomem_usable_size(p) - 1 + less);
        gomem_free(p);
        CHECK_EQ(gm_load_rlx(live), less / 2);
    }
    gomem_gc_unhold();
}

static size_t asked_for;
static int asked;
static bool once(size_t size, void *user) {
    (void)user;
    asked_for = size;
    return ++asked % 2;
}

static unsigned emergencies; // so far
static bool always_helps(struct gm_runtime *runtime, struct gm_thread *t) {
    (void)runtime, (void)t;
    return ++emergencies;
}
static bool helps_once(struct gm_runtime *runtime, struct gm_thread *t) {
    (void)runtime, (void)t;
    return ++emergencies == 1;
}

// How many emergencies come before NULL.
static unsigned emergencies_until_null(bool (*emergency)(struct gm_runtime *, struct gm_thread *)) {
    bool (*before)(struct gm_runtime *, struct gm_thread *) = rt->gc.emergency;
    unsigned tries = 0, most = 100;
    emergencies = 0;
    gm_store_rel(&rt->gc.emergency, emergency); // no other thread is there
    while (gm_alloc_exhausted(rt, 100, &tries) && most--) {}
    gm_store_rel(&rt->gc.emergency, before);
    return emergencies;
}

// A cycle that frees much, which others take before this thread comes back, is no reason for NULL.
TEST(emergencies_while_they_help) {
    REQUIRE(gomem_thread_attach());
    CHECK_EQ(emergencies_until_null(always_helps), GM_EMERGENCIES);
    CHECK_EQ(emergencies_until_null(helps_once), 2);
}

TEST(exhaustion) {
    REQUIRE(gomem_thread_attach());
    unsigned tries = GM_EMERGENCIES - 1; // the last one, whether it helps or not
    uint64_t cycles = rt->engine.stats.cycles;
    rt->world.settings.options.oom = once;
    CHECK(gm_alloc_exhausted(rt, 100, &tries)); // collects
    CHECK(rt->engine.stats.cycles == cycles + 1 || !rt->engine.collected);
    CHECK_EQ(asked, 0);
    CHECK(gm_alloc_exhausted(rt, 100, &tries)); // asks
    errno = 0;
    CHECK(!gm_alloc_exhausted(rt, 123, &tries));
    CHECK(asked == 2 && asked_for == 123 && errno == ENOMEM);
    tries = asked = 0;
    CHECK(gm_alloc_exhausted(rt, SIZE_MAX / 2, &tries)); // no collection can help
    CHECK_EQ(asked, 1);
    rt->world.settings.options.oom = NULL;
    static void *freed[2000]; // more than the thread's own magazines hold
    for (int i = 0; i < 2000; i++) REQUIRE((freed[i] = gomem_malloc(100)) != NULL);
    for (int i = 0; i < 2000; i++) gomem_free(freed[i]);
    CHECK(rt->engine.depot.total > 0 || gm_guard_watched(&rt->engine.guard));
    tries = 0;
    CHECK(gm_alloc_exhausted(rt, 100, &tries)); // what is cached may be what is missing
    CHECK_EQ(rt->engine.depot.total, 0);
    CHECK_EQ(gm_world_self()->cache.held, 0);
}

TEST_MAIN
