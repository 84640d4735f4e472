// Room mark: shading, scanning, the queue, large objects, typed fields, roots, many workers.
#include "room.h"

enum { WORKERS = 3, JOBS = 64, MOST = 40000 };

static struct gm_engine engine;
static struct gomem_marker markers[WORKERS];
static struct gm_job jobs[JOBS];
static struct gm_span *current[GM_KINDS][GOMEM_CLASSES + 1];
static uint32_t shape; // of typed objects

static bool begin(size_t chunks) {
    memset(current, 0, sizeof current);
    if (!room_engine(&engine, chunks)) return false;
    for (int i = 0; i < WORKERS; i++)
        if (!CHECK(gm_mark_init_marker(&markers[i], &engine.meta))) return false;
    engine.mark.jobs = jobs;
    engine.mark.room = JOBS;
    return true;
}

static struct gm_color *color_of(uintptr_t at, uint64_t *bit) {
    struct gm_span *s = gm_span_find(&engine.heap.pages, at);
    uint32_t index = gm_span_index(&engine.heap.pages, s, at);
    *bit = room_bit(&engine.heap.pages, s, index);
    return room_color(&engine.heap.pages, s, index);
}

static struct gm_span *span_of(unsigned kind, unsigned class, size_t size) {
    struct gm_span *s = gm_heap_take(&engine.heap, kind, class, size, 0);
    if (!CHECK(s != NULL)) return NULL;
    s->shape = shape;
    s->fresh = s->count;
    gm_heap_publish(&engine.heap, s);
    return s;
}

// An allocated object of zeros; class 0: large.
static uintptr_t make(unsigned kind, unsigned class, size_t size) {
    struct gm_span *s = class ? current[kind][class] : NULL;
    if (!s || s->used == s->count) s = span_of(kind, class, size);
    if (!s) return 0;
    if (class) current[kind][class] = s;
    uintptr_t at = gm_span_slot(&engine.heap.pages, s, s->used++);
    uint64_t bit;
    struct gm_color *c = color_of(at, &bit);
    c->alloc |= bit;
    return at;
}

static bool marked(uintptr_t at) {
    uint64_t bit;
    const struct gm_color *c = color_of(at, &bit);
    return c->mark & bit;
}

static bool black(uintptr_t at) {
    uint64_t bit;
    const struct gm_color *c = color_of(at, &bit);
    return c->mark & ~c->grey & bit;
}

static void *work(void *arg) {
    struct gomem_marker *m = arg;
    if (gm_mark_join(&engine.mark, m)) gm_mark_work(m);
    return NULL;
}

// Marks from the jobs with n workers; returns the bytes marked.
static uint64_t mark_all(unsigned n) {
    pthread_t threads[WORKERS];
    engine.mark.queue = engine.mark.next_job = 0;
    engine.mark.bytes = 0;
    if (n > 1) gm_mark_begin_phase(&engine.mark, &markers[0], 0);
    else gm_mark_begin(&markers[0], &engine.mark, true);
    for (unsigned i = 1; i < n; i++)
        CHECK(pthread_create(&threads[i], NULL, work, &markers[i]) == 0);
    gm_mark_work(&markers[0]);
    if (n > 1) CHECK_EQ((uint32_t)engine.mark.state, GM_MARK_DONE);
    for (unsigned i = 1; i < n; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < n; i++) CHECK_EQ(markers[i].view.top, 0);
    CHECK_EQ((uint32_t)engine.mark.queue, 0);
    engine.mark.njobs = 0;
    return engine.mark.bytes;
}

static bool add_root(const uintptr_t *start, size_t words, unsigned flags) {
    return gm_mark_add_job(&engine.mark, (uintptr_t)start, (uintptr_t)(start + words), flags);
}

static uint64_t mark_from(const uintptr_t *words, size_t n, unsigned flags) {
    engine.mark.njobs = 0;
    CHECK(add_root(words, n, flags));
    return mark_all(1);
}

static bool clear_span(struct gm_span *s, void *arg) {
    (void)arg;
    struct gm_color *c = gm_span_colors(&engine.heap.pages, s->page);
    size_t groups = s->class ? gm_span_groups(s) : s->pages / GM_PIECE_PAGES / 64 + 1;
    for (size_t i = 0; i < groups; i++) c[i].mark = c[i].grey = 0;
    return true;
}

TEST(every_byte_of_an_object_leads_to_it) {
    for (unsigned c = 2; c <= GOMEM_CLASSES; c++) {
        if (c % 8 == 2) REQUIRE(begin(8)); // c classes are on one heap
        unsigned size = gm_sizes_table[c].size;
        uintptr_t a = make(GM_SCAN, c, 0), b = make(GM_SCAN, c, 0), free = b + size;
        const size_t offsets[] = {0, 1, 8, size / 2, size - 1};
        for (int i = 0; i < 5; i++) {
            uintptr_t root = b + offsets[i];
            CHECK_EQ(mark_from(&root, 1, 0), size);
            CHECK(black(b) && !marked(a));
            gm_heap_walk(&engine.heap, clear_span, NULL);
        }
        const uintptr_t beside[] = {a - 1, free, free + size - 1};
        CHECK_EQ(mark_from(beside, 3, 0), 0);
        CHECK_EQ(mark_from(&free, 1, GM_JOB_BOTH), size); // one past the end of b
        CHECK(black(b) && !marked(a));
        gm_heap_walk(&engine.heap, clear_span, NULL);
    }
    room_end_pages(&engine.heap.pages);
    memset(&engine.heap, 0, sizeof engine.heap);
}

TEST(what_is_no_object) {
    REQUIRE(begin(8));
    uintptr_t manual = make(GM_MANUAL, 10, 0), root = make(GM_ROOT, 10, 0);
    uintptr_t plain = make(GM_ROOT_NOSCAN, 10, 0), noscan = make(GM_NOSCAN, 10, 0);
    struct gm_span *s = gm_span_find(&engine.heap.pages, noscan);
    uintptr_t tail = gm_span_start(&engine.heap.pages, s) + (uintptr_t)s->pages * GM_PAGE - 1;
    const uintptr_t words[] = {manual,
                               root,
                               plain,
                               tail,
                               0,
                               UINTPTR_MAX,
                               engine.heap.pages.base - 1,
                               engine.heap.pages.base + engine.heap.pages.size};
    CHECK_EQ(mark_from(words, 8, GM_JOB_BOTH), 0);
    *(uintptr_t *)noscan = make(GM_SCAN, 10, 0);
    CHECK_EQ(mark_from(&noscan, 1, 0), 128); // and not scanned: see below
    CHECK(black(noscan));
}

TEST(masked_words) {
    REQUIRE(begin(8));
    uintptr_t a = make(GM_SCAN, 4, 0), tagged = a | (uintptr_t)0xfff8 << 48;
    engine.mark.mask = 0x0000fffffffffff8;
    *(uintptr_t *)a = make(GM_SCAN, 4, 0) | (uintptr_t)0x1234 << 48 | 7;
    CHECK_EQ(mark_from(&tagged, 1, 0), 64);
    CHECK(black(a) && black(*(uintptr_t *)a & engine.mark.mask));
}

// More objects than the stack holds, as each wide object leads to the next one before its other
// children are scanned: what is spilled is found again.
TEST(a_full_stack_spills) {
    enum { WIDE = GM_PIECE / GM_WORD, LEVELS = 3 * GM_MARK_STACK / WIDE };
    static uintptr_t wide[LEVELS];
    for (unsigned n = 1; n <= WORKERS; n += 2) {
        REQUIRE(begin(64));
        for (int level = LEVELS - 1; level >= 0; level--) {
            wide[level] = make(GM_SCAN, gm_sizes_class(GM_PIECE, 8), 0);
            uintptr_t *words = (uintptr_t *)wide[level];
            for (int i = 0; i < WIDE - 1; i++) {
                words[i] = make(GM_SCAN, 3 + (unsigned)i % 5, 0);
                *(uintptr_t *)words[i] = make(GM_SCAN, 2, 0); // only found when it is scanned
            }
            words[WIDE - 1] = level < LEVELS - 1 ? wide[level + 1] : 0; // on top of the stack
        }
        CHECK(add_root(wide, 1, 0));
        (void)mark_all(n);
        for (int level = 0; level < LEVELS; level++) {
            uintptr_t *words = (uintptr_t *)wide[level];
            for (int i = 0; i < WIDE - 1; i++)
                CHECK(black(words[i]) && black(*(uintptr_t *)words[i]));
        }
    }
}

TEST(large_objects_in_pieces) {
    enum { PIECES = 70, WORDS = GM_PIECE / GM_WORD };
    static uintptr_t children[PIECES][2];
    for (unsigned n = 1; n <= WORKERS; n += 2) {
        REQUIRE(begin(16));
        size_t size = (size_t)PIECES * GM_PIECE - 4096; // the last piece is smaller
        uintptr_t at = make(GM_SCAN, 0, size), *words = (uintptr_t *)at;
        for (int i = 0; i < PIECES; i++) { // the first and the last word of each piece
            words[i * WORDS] = children[i][0] = make(GM_SCAN, 5, 0);
            words[GM_MIN((size_t)(i + 1) * WORDS, size / GM_WORD) - 1] = children[i][1] = make(
                GM_SCAN, 6, 0);
        }
        uintptr_t inside = at + size - 1;
        CHECK(add_root(&inside, 1, 0));
        CHECK_EQ(mark_all(n), size + (size_t)PIECES * (48 + 64));
        for (int i = 0; i < PIECES; i++) CHECK(black(children[i][0]) && black(children[i][1]));
        gm_span_find(&engine.heap.pages, at)->queued = 0;
    }
}

// ---- typed ----

struct record {
    uintptr_t number, pointer, other_number, pointers[2];
};
static const gomem_field record_fields[] = {{8, 1}, {24, 2}};
static const gomem_field tail_fields[] = {{32, 0},
                                          {8, 1}}; // the flexible tail stands before a field

static bool use_type(const gomem_field *fields, size_t size) {
    gomem_type t = {.name = "record", .size = size, .align = 8, .fields = fields, .nfields = 2};
    shape = gm_types_intern(&engine.types, &t, 0); // any class: marking asks the type alone
    return CHECK(shape != 0);
}

TEST(fields_of_every_element) {
    enum { N = 600, SIZE = N * sizeof(struct record) }; // three pieces, cut inside elements
    _Static_assert(GM_PIECE % sizeof(struct record) && SIZE > 2 * GM_PIECE, "as said");
    for (int large = 0; large < 2; large++) {
        REQUIRE(begin(8) && use_type(record_fields, sizeof(struct record)));
        unsigned class = large ? 0 : gm_sizes_class(SIZE, 8);
        uintptr_t at = make(GM_TYPED, class, SIZE), reached = 0;
        struct record *r = (struct record *)at;
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < 5; k++) ((uintptr_t *)&r[i])[k] = make(GM_SCAN, 3, 0);
        (void)mark_from(&at, 1, 0);
        for (int i = 0; i < N; i++) {
            CHECK(black(r[i].pointer) && black(r[i].pointers[0]) && black(r[i].pointers[1]));
            reached += marked(r[i].number) + marked(r[i].other_number);
        }
        CHECK_EQ(reached, 0);
    }
}

TEST(flexible_tail) {
    enum { N = 50 };
    REQUIRE(begin(8) && use_type(tail_fields, 40));
    unsigned class = gm_sizes_class(32 + N * 8, 8);
    uintptr_t at = make(GM_TYPED, class, 0), *words = (uintptr_t *)at;
    size_t n = gm_sizes_table[class].size / GM_WORD;
    for (size_t i = 0; i < n; i++) words[i] = make(GM_SCAN, 3, 0);
    (void)mark_from(&at, 1, 0);
    for (size_t i = 0; i < n; i++) CHECK_EQ(marked(words[i]), i == 1 || i >= 4);
}

TEST(flexible_tail_in_pieces) {
    enum { SIZE = 3 * GM_PIECE + 40, WORDS = SIZE / GM_WORD };
    REQUIRE(begin(8) && use_type(tail_fields, 40));
    uintptr_t at = make(GM_TYPED, 0, SIZE), *words = (uintptr_t *)at;
    for (size_t i = 0; i < WORDS; i++) words[i] = make(GM_SCAN, 3, 0);
    (void)mark_from(&at, 1, 0);
    for (size_t i = 0; i < WORDS; i++) CHECK_EQ(marked(words[i]), i == 1 || i >= 4);
}

// The time is over: one piece is scanned, so that who comes gets on, the others stay grey and in
// the queue.
static void halted_in(unsigned kind) {
    enum { PIECES = 100 };
    REQUIRE(begin(16) && use_type(record_fields, sizeof(struct record)));
    uintptr_t at = make(kind, 0, (size_t)PIECES * GM_PIECE);
    struct gm_span *s = gm_span_find(&engine.heap.pages, at);
    struct gm_color *c = gm_span_colors(&engine.heap.pages, s->page);
    gm_mark_begin_phase(&engine.mark, &markers[0], 0);
    gm_mark_shade(&markers[0], at, false);
    engine.mark.halt = 1;
    for (unsigned left = PIECES; left-- > PIECES - 70;) {
        CHECK(gm_mark_pop(&engine.mark) == s);
        gm_mark_take(&markers[0], s);
        CHECK_EQ(gm_base_popcount(c[0].grey) + gm_base_popcount(c[1].grey), left);
    }
    engine.mark.halt = 0;
    CHECK(gm_mark_pop(&engine.mark) == s);
    gm_mark_take(&markers[0], s);
    CHECK(!c[0].grey && !c[1].grey);
    while (gm_mark_pop(&engine.mark)) {}
}

TEST(a_halted_marker_leaves_pieces) {
    halted_in(GM_SCAN);
    halted_in(GM_TYPED);
}

// Stands for another marker, which takes the span from the queue while this one has claimed pieces.
static long take_from_queue(struct gomem_marker *m, uintptr_t from, uintptr_t to) {
    (void)from, (void)to;
    CHECK(gm_mark_pop(m->mark) != NULL);
    return -1;
}

// M2: a marker that halts puts the span into the queue again, for what it had claimed.
TEST(a_halted_marker_queues_what_it_gives_back) {
    enum { PIECES = 10 };
    REQUIRE(begin(16));
    uintptr_t at = make(GM_SCAN, 0, (size_t)PIECES * GM_PIECE);
    struct gm_span *s = gm_span_find(&engine.heap.pages, at);
    s->clean = 1;
    engine.mark.there = take_from_queue;
    gm_mark_begin_phase(&engine.mark, &markers[0], 0);
    gm_mark_shade(&markers[0], at, false);
    REQUIRE(gm_mark_pop(&engine.mark) == s);
    engine.mark.halt = 1;
    gm_mark_take(&markers[0], s);
    CHECK_EQ(gm_base_popcount(gm_span_colors(&engine.heap.pages, s->page)->grey), PIECES - 1);
    CHECK(gm_mark_pop(&engine.mark) == s && !gm_mark_pop(&engine.mark));
    engine.mark.there = NULL;
    engine.mark.halt = 0;
}

// A thread that marks along leaves when its time is over, although another marker still works.
TEST(an_assist_ends_in_time) {
    REQUIRE(begin(16));
    gm_mark_begin_phase(&engine.mark, &markers[0], 0); // never rests
    for (unsigned i = 0; i < 3; i++) {
        uint64_t until = gm_os_now() + 1000000u * i;
        REQUIRE(gm_mark_join(&engine.mark, &markers[1]));
        CHECK_EQ((uint32_t)engine.mark.state, 2);
        gm_mark_assist(&markers[1], until);
        CHECK_EQ((uint32_t)engine.mark.state, 1); // it is neither there nor idle
        CHECK(gm_os_now() >= until);
    }
}

// M7: a marker that has joined a phase with a deadline may go on when the stop has ended. Memory
// that the job names may be gone then, and the record of a coroutine's stack; the first marker's
// may not.
TEST(helpers_may_outlast_the_stop) {
    REQUIRE(begin(16));
    if (!gm_os_can_read()) SKIP("process_vm_readv is refused");
    size_t page = gm_os_page_size();
    uintptr_t *p = gm_os_reserve(2 * page, 0), child = make(GM_SCAN, 3, 0);
    REQUIRE(p && gm_os_protect((uintptr_t)p, (uintptr_t)p + page, PROT_READ | PROT_WRITE));
    p[page / GM_WORD - 1] = child; // the second page cannot be read
    struct gm_stack stack = {.start = (uintptr_t)p, .end = (uintptr_t)p, .runs = true};
    for (unsigned helps = 0; helps < 2; helps++) {
        engine.mark.njobs = engine.mark.next_job = 0;
        CHECK(!helps || add_root(p, 2 * page / GM_WORD, 0));
        CHECK(gm_mark_add_stack(&engine.mark, &stack));
        gm_mark_begin_phase(&engine.mark, &markers[0], helps ? UINT64_MAX : 0);
        REQUIRE(gm_mark_join(&engine.mark, &markers[1]));
        CHECK_EQ(gm_mark_next_job(&markers[1]), 1);
        CHECK_EQ(engine.mark.next_job, 1);
        CHECK_EQ(gm_mark_next_job(&markers[1]), 0); // it is the first marker's, or there is none
        CHECK_EQ(gm_mark_next_job(&markers[0]), helps);
        gm_mark_leave(&markers[1]);
        CHECK(!gm_mark_rest(&markers[0]) && gm_mark_is_done(&engine.mark));
    }
    CHECK(marked(child));
    gm_os_release(p, 2 * page);
}

// A phase that is for its first marker only.
TEST(closed_phases) {
    REQUIRE(begin(2));
    engine.mark.closed = true;
    gm_mark_begin_phase(&engine.mark, &markers[0], 0);
    CHECK(!gm_mark_join(&engine.mark, &markers[1]));
    CHECK_EQ((uint32_t)engine.mark.state, 1);
    CHECK(!gm_mark_rest(&markers[0]) && gm_mark_is_done(&engine.mark));
    engine.mark.closed = false;
    gm_mark_begin_phase(&engine.mark, &markers[0], 0);
    CHECK(gm_mark_join(&engine.mark, &markers[1]));
    gm_mark_leave(&markers[1]);
    CHECK(!gm_mark_rest(&markers[0]));
}

// M7: the first marker of a phase with a deadline does not wait for one that does not run. Without
// a deadline it waits, as long as that takes.
TEST(the_first_marker_leaves) {
    REQUIRE(begin(2));
    if (!gm_os_can_read()) SKIP("process_vm_readv is refused");
    engine.mark.njobs = engine.mark.next_job = 0;
    gm_mark_begin_phase(&engine.mark, &markers[0], UINT64_MAX);
    REQUIRE(gm_mark_join(&engine.mark, &markers[1])); // it has work, and does not run
    CHECK(!gm_mark_rest(&markers[0]));
    CHECK(!gm_mark_is_done(&engine.mark) && engine.mark.halt);
    CHECK_EQ((uint32_t)engine.mark.state, 1);
    CHECK(markers[0].waited >= GM_ABSENT_NS);
    gm_mark_work(&markers[1]); // it halts, and is the last
    CHECK(gm_mark_is_done(&engine.mark));
    gm_mark_begin_phase(&engine.mark, &markers[0], 0);
    CHECK(!markers[0].leaves && !engine.mark.brief);
    CHECK(!gm_mark_rest(&markers[0]) && gm_mark_is_done(&engine.mark));
}

static void follow_second_word(const void *obj, size_t size, gomem_marker *m) {
    CHECK(size >= 16);
    gomem_mark(m, (const void *)((const uintptr_t *)obj)[1]);
}

TEST(mark_procedure) {
    REQUIRE(begin(8));
    gomem_type t = {.name = "by hand", .size = 16, .align = 8, .mark = follow_second_word};
    shape = gm_types_intern(&engine.types, &t, 2);
    uintptr_t at = make(GM_TYPED, 2, 0), *words = (uintptr_t *)at;
    uintptr_t large = make(GM_TYPED, 0, 50000), *more = (uintptr_t *)large;
    words[0] = make(GM_SCAN, 3, 0);
    words[1] = large + 99; // the word may point anywhere into it
    more[1] = make(GM_SCAN, 3, 0);
    (void)mark_from(&at, 1, 0);
    CHECK(marked(large) && black(more[1]) && !marked(words[0]));
}

// ---- roots ----

TEST(foreign_ranges_with_holes) {
    enum { N = 6 };
    size_t page = gm_os_page_size(), words = page / GM_WORD;
    for (unsigned hole = 0; hole < 1u << N; hole++) {
        REQUIRE(begin(2));
        uintptr_t *p = gm_os_reserve(N * page, 0), child[N];
        REQUIRE(p != NULL);
        for (unsigned i = 0; i < N; i++) {
            child[i] = make(GM_SCAN, 3, 0);
            if (hole >> i & 1) continue;
            uintptr_t at = (uintptr_t)p + i * page;
            REQUIRE(gm_os_protect(at, at + page, PROT_READ | PROT_WRITE));
            p[i * words + (i % 2 ? words - 1 : 0)] = child[i];
        }
        CHECK(add_root(p, N * words, GM_JOB_FOREIGN));
        (void)mark_all(1);
        for (unsigned i = 0; i < N; i++) CHECK_EQ(marked(child[i]), !(hole >> i & 1));
        gm_os_release(p, N * page);
    }
}

// A range may begin in the middle of a page that cannot be read: all of the next one counts.
TEST(foreign_ranges_that_begin_in_a_hole) {
    size_t page = gm_os_page_size(), words = page / GM_WORD;
    REQUIRE(begin(2));
    uintptr_t *p = gm_os_reserve(3 * page, 0), first = make(GM_SCAN, 3, 0);
    REQUIRE(p &&
            gm_os_protect((uintptr_t)p + page, (uintptr_t)p + 2 * page, PROT_READ | PROT_WRITE));
    p[words] = first;
    CHECK(add_root(p + words / 2, 2 * words, GM_JOB_FOREIGN));
    (void)mark_all(1);
    CHECK(marked(first));
    gm_os_release(p, 3 * page);
}

TEST(ranges_are_cut) {
    REQUIRE(begin(2));
    size_t covered = 0;
    CHECK(gm_mark_add_job(&engine.mark, 4097, 4097 + 10 * GM_JOB_BYTES, 3));
    uintptr_t at = 4104; // whole words only
    for (size_t i = 0; i < engine.mark.njobs; i++) {
        CHECK_EQ(jobs[i].start, at);
        CHECK(jobs[i].size <= GM_JOB_BYTES && jobs[i].flags == 3);
        covered += jobs[i].size;
        at += jobs[i].size;
    }
    CHECK_EQ(covered, 10 * (size_t)GM_JOB_BYTES - 8);
    CHECK(gm_mark_add_job(&engine.mark, 4097, 4103, 0)); // no whole word
    CHECK(gm_mark_add_job(&engine.mark, 4096, 4096, 0));
    CHECK_EQ(engine.mark.njobs, 10);
    CHECK(!engine.mark.full);
    CHECK(!gm_mark_add_job(&engine.mark, 4096, 4096 + (uintptr_t)JOBS * GM_JOB_BYTES, 0));
    CHECK(engine.mark.full);
}

TEST(queue) { // M2
    enum { N = 20 };
    struct gm_span *s[N];
    REQUIRE(begin(8));
    for (int i = 0; i < N; i++) s[i] = span_of(GM_SCAN, 2, 0);
    CHECK(gm_mark_pop(&engine.mark) == NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) gm_mark_enqueue(&engine.mark, s[i]);
        uint64_t head = engine.mark.queue;
        for (int i = 0; i < N; i++) gm_mark_enqueue(&engine.mark, s[i]); // once is enough
        CHECK_EQ(engine.mark.queue, head);
        for (int i = N; i-- > 0;) CHECK(gm_mark_pop(&engine.mark) == s[i] && !s[i]->queued);
        CHECK(gm_mark_pop(&engine.mark) == NULL);
        CHECK(engine.mark.queue >> 32 > head >> 32); // the tag never comes back
    }
}

// ---- everything at once, against a naive search ----

static uintptr_t objects[MOST];
static bool reachable[MOST];
static uint32_t edges[MOST][3], queue[MOST];

static unsigned some_kind(void) {
    static const unsigned kinds[] = {GM_SCAN, GM_SCAN, GM_SCAN, GM_NOSCAN, GM_TYPED};
    return kinds[room_below(5)];
}

static void graph(void) {
    for (size_t i = 0; i < MOST; i++) {
        bool large = room_below(400) == 0;
        unsigned class = large ? 0 : 5 + (unsigned)room_below(12);
        objects[i] = make(some_kind(), class, 33000 + room_below(300000));
        reachable[i] = false;
    }
    for (size_t i = 0; i < MOST; i++) {
        struct gm_span *s = gm_span_find(&engine.heap.pages, objects[i]);
        size_t words = gm_span_slot_size(s) / 8;
        for (size_t k = 0; k < 3; k++) {
            size_t to = edges[i][k] = (uint32_t)room_below(room_below(20) ? MOST : i + 1);
            size_t word = s->kind == GM_TYPED ? 3 + k
                                              : words * (k + 1) / 3 - 1; // typed: 3 and 4 count
            uintptr_t *slot = (uintptr_t *)objects[i] + word;
            if (s->kind == GM_TYPED && k == 2) slot = (uintptr_t *)objects[i] + 2; // no pointer
            if (room_below(3) == 0) edges[i][k] = MOST;
            else *slot = objects[to] + (room_below(4) ? 0 : room_below(48));
            if (s->kind == GM_NOSCAN || (s->kind == GM_TYPED && k == 2)) edges[i][k] = MOST;
        }
    }
}

static void search(const uint32_t *from, size_t n) {
    size_t end = 0;
    for (size_t i = 0; i < n; i++)
        if (!reachable[from[i]]) reachable[from[i]] = true, queue[end++] = from[i];
    for (size_t at = 0; at < end; at++)
        for (int k = 0; k < 3; k++) {
            uint32_t to = edges[queue[at]][k];
            if (to == MOST || reachable[to]) continue;
            reachable[to] = true;
            queue[end++] = to;
        }
}

static void compare(unsigned workers) {
    enum { ROOTS = 300 };
    static uintptr_t roots[ROOTS];
    static uint32_t from[ROOTS];
    uint64_t bytes = 0;
    REQUIRE(begin(64) && use_type(record_fields, sizeof(struct record)));
    graph();
    for (size_t i = 0; i < ROOTS; i++) {
        from[i] = (uint32_t)room_below(MOST);
        roots[i] = objects[from[i]];
        CHECK(add_root(&roots[i], 1, i % 2 ? GM_JOB_FOREIGN : 0) || i >= JOBS);
    }
    engine.mark.full = false;
    search(from, JOBS);
    uint64_t found = mark_all(workers);
    for (size_t i = 0; i < MOST; i++) {
        struct gm_span *s = gm_span_find(&engine.heap.pages, objects[i]);
        CHECK_EQ(marked(objects[i]), reachable[i]);
        if (reachable[i] && s->kind != GM_NOSCAN) CHECK(black(objects[i])); // M4: nothing is grey
        if (reachable[i]) bytes += gm_span_slot_size(s);
    }
    CHECK_EQ(found, bytes);
    CHECK(found > 1000 * (uint64_t)100); // it was no small part
}

TEST(graph_one_worker) { compare(1); }
TEST(graph_many_workers) {
    for (int i = 0; i < 3 && !test_failed(); i++) compare(WORKERS);
}

TEST_MAIN
