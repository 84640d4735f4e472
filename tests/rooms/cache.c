// Room cache: magazines, the depot, runs.
#include "room.h"

static struct gm_engine engine;
static struct gm_cache cache, other;

static struct gm_pages *pages(void) { return &engine.heap.pages; }

static bool begin(size_t chunks) {
    if (!room_engine(&engine, chunks)) return false;
    room_cache(&cache, &engine, 1);
    room_cache(&other, &engine, 2);
    return true;
}

// As the inlined paths do.
static void *take(struct gm_cache *t, unsigned class) {
    void *p = gomem_i_pop(&t->hot.top[class]);
    if (!p && CHECK(gm_cache_refill_manual(t, class))) p = gomem_i_pop(&t->hot.top[class]);
    CHECK(p != NULL);
    return room_own((uintptr_t)p, gm_sizes_table[class].size);
}

static void give(struct gm_cache *t, unsigned class, void *p) {
    if (!((uintptr_t)(t->hot.top[class] + 1) & 511) && !CHECK(gm_cache_make_room(t, class))) return;
    void **top = t->hot.top[class];
    top[1] = p;
    gm_cache_set_top(t, class, top + 1);
}

static void flush_all(void) {
    gm_cache_flush_manual(&cache, false);
    gm_cache_flush_manual(&other, false);
    gm_cache_drain_depot(&engine);
}

static uint32_t length(const uint64_t *list) {
    uint32_t n = 0;
    for (uint32_t at = (uint32_t)*list; at; at = gm_cache_head(pages(), at - 1)->next) n++;
    return n;
}

// ---- magazines ----

TEST(no_magazine_is_empty_and_full) { // K1
    CHECK(*GM_CACHE_NOTHING == NULL);
    CHECK_EQ((uintptr_t)(GM_CACHE_NOTHING + 1) & 511, 0);
}

// How many classes have magazines with room for more than 32 KiB and more than two objects.
static unsigned wide(const struct gm_cache *t) {
    unsigned n = 0;
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++)
        n += t->cap[c] > 2 && t->cap[c] * gm_sizes_table[c].size > 32768;
    return n;
}

// A class's magazines double up to their most. Only the thread's bound keeps one from growing; if
// it would stay within its share, only when no other one has more than that.
TEST(caps_grow) { // K2
    REQUIRE(begin(64));
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        unsigned size = gm_sizes_table[c].size, most = gm_sizes_magazine(c), last = 0;
        for (int i = 0; i < 8; i++) {
            size_t before = cache.held;
            unsigned cap = gm_cache_grow(&cache, c);
            CHECK_EQ(cap, cache.cap[c]);
            unsigned next = GM_MIN(i ? last * 2 : size >= 512 ? 1 : 512 / size, most);
            bool fits = before + (size_t)(next - last) * size * 2 <= 1048576;
            if (fits) CHECK_EQ(cap, next);
            else if (cap != next) CHECK_EQ(cap, i ? last : 1);
            bool share = next <= 2 || next * size <= 32768;
            if (!fits && i && cap == next) CHECK(share);
            if (cap < next && share) CHECK_EQ(wide(&cache), 0);
            CHECK_EQ(cache.wide, wide(&cache));
            last = cap;
        }
        size_t held = 0, pins = 0;
        for (unsigned k = 1; k <= GOMEM_CLASSES; k++) {
            held += (size_t)cache.cap[k] * gm_sizes_table[k].size * 2;
            pins += (size_t)cache.cap[k] * gm_sizes_table[k].pages * GM_PAGE * 2;
            CHECK(k > c ? !cache.cap[k] : cache.cap[k] != 0);
        }
        CHECK_EQ(cache.held, held);
        CHECK_EQ(cache.pins, pins);
        CHECK(held <= 1048576);
    }
    gm_cache_flush_manual(&cache, true);
    CHECK_EQ(cache.held, 0);
    CHECK_EQ(cache.pins, 0);
}

// Four classes that fill a thread's bound give way until twelve others have their share.
TEST(wide_magazines_give_way) { // K2
    REQUIRE(begin(64));
    unsigned most = gm_sizes_class(16384, 8), last = gm_sizes_class(1024, 8);
    for (unsigned c = most; c < most + 4; c++)
        for (int i = 0; i < 8; i++) (void)gm_cache_grow(&cache, c);
    CHECK(cache.held > 1048576 * 3 / 4);
    for (unsigned c = last - 11; c <= last; c++) {
        unsigned share = GM_MIN(60u, 32768 / gm_sizes_table[c].size);
        for (int i = 0; i < 8 && cache.cap[c] * 2 <= share; i++) (void)gm_cache_grow(&cache, c);
        CHECK(cache.cap[c] * 2 > share);
    }
    CHECK(wide(&cache) <= 4 && cache.held <= 1048576);
    gm_cache_flush_manual(&cache, true);
    CHECK_EQ(cache.wide, 0);
}

// Bytes that the magazines of a thread have room for.
static size_t room(const struct gm_cache *t) {
    size_t bytes = 0;
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        void **const tops[] = {t->hot.top[c], t->previous[c]};
        for (int i = 0; i < 2; i++)
            if (tops[i] && tops[i] != GM_CACHE_NOTHING) {
                unsigned bottom = gm_cache_head(pages(), gm_cache_index(pages(), tops[i]))->bottom;
                bytes += (size_t)(GM_MAGAZINE_LAST - bottom) * gm_sizes_table[c].size;
            }
    }
    return bytes;
}

// What is counted is what there is, whatever comes in whatever order, also from the depot.
TEST(magazines_keep_their_bound) { // K2
    enum { N = 20000 };
    static void *objects[N];
    static uint8_t class_of[N];
    REQUIRE(begin(256));
    for (int step = 0; step < 200000; step++) {
        size_t i = room_below(N);
        struct gm_cache *t = room_below(3) ? &cache : &other;
        if (objects[i]) give(t, class_of[i], objects[i]);
        class_of[i] = (uint8_t)(1 + room_below(GOMEM_CLASSES));
        objects[i] = objects[i] && room_below(2) ? NULL : take(t, class_of[i]);
        if (step % 100) continue;
        CHECK(room(t) <= t->held);
        CHECK(t->held <= 1048576);
    }
    for (size_t i = 0; i < N; i++)
        if (objects[i]) give(&cache, class_of[i], objects[i]);
    CHECK(room(&cache) <= cache.held && cache.held <= 1048576);
    flush_all();
    CHECK_EQ(engine.taken, 0);
}

// Bytes of the objects that a thread's magazines hold.
static size_t holds(const struct gm_cache *t) {
    size_t bytes = 0;
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        size_t n = 0;
        for (void **at = t->hot.top[c]; *at; at--) n++;
        for (void **at = t->previous[c]; at && *at; at--) n++;
        bytes += n * gm_sizes_table[c].size;
    }
    return bytes;
}

// Another thread's full magazines come by way of the depot, class after class.
TEST(magazines_of_others) { // K2
    static void *objects[63 * 4];
    REQUIRE(begin(64));
    for (unsigned round = 0; round < 2; round++)
        for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
            unsigned n = 4 * gm_sizes_magazine(c);
            for (unsigned i = 0; i < n; i++) objects[i] = take(&other, c);
            for (unsigned i = 0; i < n; i++) give(&other, c, objects[i]);
            for (int i = 0; i < 3; i++) objects[i] = take(&cache, c);
            for (int i = 0; i < 3; i++) give(&cache, c, objects[i]);
            CHECK(holds(&cache) <= GM_THREAD_LIMIT);
            CHECK(cache.held <= GM_THREAD_LIMIT && other.held <= GM_THREAD_LIMIT);
        }
    flush_all();
    ROOM_PAGES_HOLD(pages());
    CHECK_EQ(engine.taken, 0);
}

// All is freed in random order: few spans stay in use because a cache holds an object of them. Each
// thread, and the depot, may keep 8 MiB or an eighth of what there is.
TEST(caches_pin_little) { // K3
    enum { BYTES = 200 * 1024 * 1024, N = 400000 };
    static struct {
        void *p;
        unsigned class;
    } objects[N];
    REQUIRE(begin(128));
    size_t bytes = 0, n = 0;
    while (bytes < BYTES && n < N) {
        unsigned c = 4 + (unsigned)room_below(50);
        objects[n].class = c;
        objects[n].p = take(&cache, c);
        bytes += gm_sizes_table[c].size;
        n++;
    }
    CHECK(engine.small >= bytes && engine.taken >= bytes);
    for (size_t i = n; i-- > 0;) {
        size_t k = room_below(i + 1);
        struct gm_cache *t = i % 3 ? &cache : &other;
        gm_cache_unpin(t); // as a slow path does
        give(t, objects[k].class, objects[k].p);
        objects[k] = objects[i];
    }
    CHECK(engine.small <= 48 * GM_MIB);
    CHECK(engine.taken < 4 * GM_MIB);
    flush_all();
    CHECK_EQ(engine.taken, 0);
    CHECK_EQ(engine.depot.pins, 0);
    ROOM_PAGES_HOLD(pages());
}

// A large manual object, as malloc makes it; NULL: none of its size is spare.
static struct gm_span *large(struct gm_cache *t, size_t pages, bool reused) {
    struct gm_span *s = gm_cache_reuse(t, pages, pages * GM_PAGE);
    CHECK_EQ(s != NULL, reused);
    if (s || !CHECK((s = gm_heap_take(&engine.heap, GM_MANUAL, 0, pages * GM_PAGE, 16)) != NULL))
        return s;
    gm_heap_publish(&engine.heap, s);
    return s;
}
static void free_large(struct gm_cache *t, struct gm_span *s) {
    gm_cache_put(t, s, (void *)gm_span_start(pages(), s));
}
static size_t spare_pages(const struct gm_cache *t) {
    struct gm_check check = {pages(), NULL, 0, 0, 0, 0};
    gm_cache_verify(&check, t);
    CHECK(check.broken == NULL);
    return t->spare_pages;
}

static bool verify_span(struct gm_span *s, void *check) {
    gm_cache_verify_span(check, s);
    return true;
}

// What is wrong with the counts of the thread and of what threads share; NULL: nothing.
static const char *wrong_counts(void) {
    struct gm_check check = {pages(), NULL, 0, 0, 0, 0};
    gm_cache_verify(&check, &cache);
    gm_heap_walk(&engine.heap, verify_span, &check);
    gm_cache_verify_shared(&check, &engine);
    return check.broken;
}

// The counts that the bounds compare with are right whatever objects and magazines do, and the
// check of the heap finds each that is not.
TEST(counts_of_bounds) { // K2, K3
    enum { OBJECTS = 400 };
    void *object[OBJECTS];
    REQUIRE(begin(64));
    for (unsigned c = 1; c <= GOMEM_CLASSES; c += 4) {
        unsigned n = GM_MIN(200000 / gm_sizes_table[c].size, (unsigned)OBJECTS);
        for (unsigned i = 0; i < n; i++) object[i] = take(&cache, c);
        CHECK(wrong_counts() == NULL);
        for (unsigned i = 0; i < n; i++) give(&cache, c, object[i]);
        CHECK(wrong_counts() == NULL);
        if (c % 8 == 1) gm_cache_flush_class(&cache, c, c % 16 == 1); // some to the depot
        CHECK(wrong_counts() == NULL);
    }
    CHECK(engine.depot.total && engine.taken && cache.held);
    size_t *const counts[] = {&cache.held, &cache.pins, &engine.depot.pins, &engine.small,
                              &engine.taken};
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        *counts[i] += GM_PAGE;
        CHECK(wrong_counts() != NULL);
        *counts[i] -= GM_PAGE;
    }
    engine.depot.total++;
    CHECK(wrong_counts() != NULL);
    engine.depot.total--;
    flush_all();
    CHECK(wrong_counts() == NULL);
    CHECK(!engine.depot.total && !engine.depot.pins && !cache.held && !cache.pins);
}

// Large spans that were freed last are reused, the newest first, by objects of as many pages.
TEST(spare_spans) { // K4
    REQUIRE(begin(64));
    if (gm_guard_watched(&engine.guard)) SKIP("freed objects are held back");
    size_t used = pages()->used;
    struct gm_span *a = large(&cache, 5, false), *b = large(&cache, 6, false),
                   *c = large(&cache, 5, false);
    free_large(&cache, a), free_large(&cache, b), free_large(&cache, c);
    CHECK_EQ(spare_pages(&cache), 16);
    CHECK_EQ(pages()->used, used + 16);
    CHECK(a->use == GM_USE_SPARE && b->use == GM_USE_SPARE);
    CHECK(large(&cache, 5, true) == c && c->use == GM_USE_OBJECT && c->size == 5 * GM_PAGE);
    CHECK(large(&other, 5, false) != a); // the other thread has none
    CHECK(large(&cache, 5, true) == a);
    struct gm_span *d = large(&cache, 5, false);
    CHECK(d != b && d != a);
    CHECK(large(&cache, 6, true) == b);
    CHECK_EQ(spare_pages(&cache), 0);
}

// They have a bound, in number and in pages; the oldest go first.
TEST(spare_spans_have_bounds) { // K4
    struct gm_span *s[GM_SPARES + 2], *half[3];
    REQUIRE(begin(64));
    if (gm_guard_watched(&engine.guard)) SKIP("freed objects are held back");
    size_t used = pages()->used, most = GM_THREAD_LIMIT / GM_PAGE;
    for (int i = 0; i < GM_SPARES + 2; i++) s[i] = large(&cache, 5, false);
    for (int i = 0; i < GM_SPARES + 2; i++) free_large(&cache, s[i]);
    CHECK_EQ(spare_pages(&cache), GM_SPARES * 5);
    CHECK_EQ(pages()->used, used + GM_SPARES * 5);
    for (int i = 0; i < 3; i++) half[i] = large(&cache, most / 2, false);
    for (int i = 0; i < 3; i++) free_large(&cache, half[i]);
    CHECK_EQ(spare_pages(&cache), most);
    CHECK(large(&cache, most / 2, true) == half[2] && large(&cache, most / 2, true) == half[1]);
    struct gm_span *whole = large(&cache, most, false), *more = large(&cache, most + 1, false);
    free_large(&cache, whole);
    free_large(&cache, more); // too large: it is freed, and drops nothing
    CHECK_EQ(spare_pages(&cache), most);
    free_large(&cache, half[1]), free_large(&cache, half[2]);
    CHECK_EQ(spare_pages(&cache), most / 2 * 2);
    gm_cache_flush_manual(&cache, true);
    CHECK_EQ(spare_pages(&cache), 0);
    CHECK_EQ(pages()->used, used);
}

static bool count_span(struct gm_span *s, void *arg) {
    *(unsigned *)arg += s->class == 0;
    return true;
}

// A walk over the heap passes them by.
TEST(spare_spans_hold_no_object) { // K4
    unsigned n = 0;
    REQUIRE(begin(64));
    if (gm_guard_watched(&engine.guard)) SKIP("freed objects are held back");
    struct gm_span *a = large(&cache, 7, false), *b = large(&cache, 7, false);
    free_large(&cache, a);
    gm_heap_walk(&engine.heap, count_span, &n);
    CHECK_EQ(n, 1);
    free_large(&cache, b);
    gm_heap_walk(&engine.heap, count_span, &n);
    CHECK_EQ(n, 1);
}

TEST(objects_come_in_address_order) {
    REQUIRE(begin(16));
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        char *last = NULL;
        const struct gm_span *s = NULL;
        for (unsigned i = 0; i < gm_sizes_table[c].count; i++) {
            char *p = take(&cache, c);
            if (!s) s = gm_span_find(pages(), (uintptr_t)p);
            CHECK(last ? p == last + gm_sizes_table[c].size
                       : p == (char *)gm_span_start(pages(), s));
            last = p;
        }
        CHECK(s->used == s->count && s->fresh == s->count && s->bucket == GM_UNLISTED);
    }
}

// Around the edge of a magazine take and give go back and forth between two magazines.
TEST(no_thrashing_at_the_edge) {
    enum { N = 200 };
    void *p[N];
    unsigned class = gm_sizes_class(64, 16);
    REQUIRE(begin(8));
    for (int i = 0; i < N; i++) p[i] = take(&cache, class);
    for (int i = 0; i < N; i++) give(&cache, class, p[i]);
    uint64_t mallocs = cache.stats.manual_mallocs[class], frees = cache.stats.manual_frees[class];
    unsigned n = gm_sizes_magazine(class);
    for (int round = 0; round < 100; round++) {
        for (unsigned i = 0; i < n; i++) p[i] = take(&cache, class);
        for (unsigned i = 0; i < n; i++) give(&cache, class, p[i]);
    }
    CHECK_EQ(cache.stats.manual_mallocs[class], mallocs);
    CHECK_EQ(cache.stats.manual_frees[class], frees);
}

TEST(magazines_change_hands_whole) {
    enum { N = 4000 };
    static void *p[N];
    unsigned class = gm_sizes_class(64, 16);
    REQUIRE(begin(8));
    for (int i = 0; i < N; i++) p[i] = take(&cache, class);
    size_t used = engine.heap.pages.used;
    for (int i = 0; i < N; i++) give(&other, class, p[i]);
    CHECK(engine.depot.bytes[class] >= (N - 2 * 60) * 64u);
    CHECK_EQ(engine.depot.bytes[class], engine.depot.total);
    for (int i = 0; i < N; i++) p[i] = take(&cache, class); // from the depot, then the rest
    CHECK(engine.depot.bytes[class] <= 2 * 60 * 64u);
    CHECK(engine.heap.pages.used <= used + 2);
    for (int i = 0; i < N; i++) give(&cache, class, p[i]);
    flush_all();
    CHECK(engine.heap.pages.used <= gm_sizes_table[class].pages);
    CHECK_EQ(engine.depot.total, 0);
    CHECK_EQ(length(&engine.depot.empty), engine.depot.made); // no magazine is lost
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++)
        CHECK_EQ(cache.stats.manual_mallocs[c] + other.stats.manual_mallocs[c],
                 cache.stats.manual_frees[c] + other.stats.manual_frees[c]);
}

TEST(the_depot_has_bounds) { // K2
    enum { N = 3000 };
    static void *p[N];
    size_t most = 0;
    REQUIRE(begin(128));
    for (unsigned c = 20; c <= 80; c += 6) {
        for (int i = 0; i < N; i++) p[i] = take(&cache, c);
        for (int i = 0; i < N; i++) give(&cache, c, p[i]);
        CHECK(engine.depot.bytes[c] <= 512 * 1024 && engine.depot.total <= 4 * 1024 * 1024);
        most = GM_MAX(most, (size_t)engine.depot.bytes[c]);
        ROOM_PAGES_HOLD(pages());
    }
    CHECK(most >= 460 * 1024);
    CHECK(engine.depot.total >= 3840 * 1024); // no class has found it empty: all of it is used
    flush_all();
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) CHECK_EQ(engine.depot.bytes[c], 0);
}

// Whatever happens in whatever order, each object is in one hand, and in the end all come home.
TEST(random_hands) {
    enum { N = 3000, CLASSES = 4 };
    static void *held[N];
    static unsigned class_of[N];
    static const unsigned classes[CLASSES] = {1, 6, 50, 70};
    REQUIRE(begin(64));
    for (int step = 0; step < 100000; step++) {
        size_t i = room_below(N);
        struct gm_cache *t = room_below(2) ? &cache : &other;
        if (held[i]) {
            CHECK_EQ(*(size_t *)held[i], i);
            give(t, class_of[i], held[i]);
            held[i] = NULL;
        } else {
            class_of[i] = classes[room_below(CLASSES)];
            held[i] = take(t, class_of[i]);
            *(size_t *)held[i] = i;
        }
        if (step % 20000 == 0) gm_cache_flush_manual(t, true);
    }
    for (size_t i = 0; i < N; i++)
        if (held[i]) give(&cache, class_of[i], held[i]);
    flush_all();
    size_t left = 0;
    for (int i = 0; i < CLASSES; i++) left += gm_sizes_table[classes[i]].pages;
    CHECK(engine.heap.pages.used <= left);
    CHECK_EQ(length(&engine.depot.empty), engine.depot.made);
}

// What gm_cache_return found out about the objects it was given; it is said after the section.
static bool found(enum gm_message wrong, const void *bad) {
    bool right = engine.misuse_at == bad && (!bad || engine.misuse == wrong);
    engine.misuse_at = NULL;
    return right;
}

// What comes back to its span is checked there.
TEST(wrong_returns) {
    enum { N = 600 };
    void *p[N];
    unsigned class = gm_sizes_class(512, 16);
    REQUIRE(begin(8));
    for (int i = 0; i < N; i++) p[i] = take(&cache, class);
    void *twice[] = {p[3], p[3]}, *inside = (char *)p[5] + 8;
    gm_cache_return(&engine, class, twice, 2);
    CHECK(found(GM_MSG_DOUBLE_FREE, p[3]));
    gm_cache_return(&engine, class, &inside, 1);
    CHECK(found(GM_MSG_INTERIOR, inside));
    for (int i = 0; i < N; i++)
        if (i != 3) gm_cache_return(&engine, class, &p[i], 1);
    gm_cache_flush_manual(&cache, false);
    CHECK_EQ(engine.heap.pages.used, gm_sizes_table[class].pages); // one span stays
    CHECK(found(GM_MESSAGE_COUNT, NULL));
    ROOM_PAGES_HOLD(pages());
}

// Its span went back to the page heap meanwhile, and may be another's by now.
TEST(double_free_of_what_is_gone) {
    enum { N = 600 };
    void *p[N];
    unsigned class = gm_sizes_class(512, 16);
    REQUIRE(begin(8));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) p[i] = take(&cache, class);
        for (int i = 0; i < N; i++) gm_cache_return(&engine, class, &p[i], 1);
        gm_cache_flush_manual(&cache, false);
        void *gone = NULL;
        for (int i = 0; i < N; i++)
            if (!gm_span_find(pages(), (uintptr_t)p[i])) gone = p[i];
        REQUIRE(gone != NULL);
        struct gm_span *s = NULL;
        while (round && !gm_span_find(pages(), (uintptr_t)gone)) {
            s = gm_heap_take(&engine.heap, round == 1 ? GM_MANUAL : GM_NOSCAN, 10, 0, 0);
            REQUIRE(s != NULL);
            s->bucket = round == 1 ? 3 : 0;
            gm_heap_publish(&engine.heap, s);
        }
        struct gm_span before = s ? *s : (struct gm_span){0};
        gm_cache_return(&engine, class, &gone, 1);
        CHECK(found(GM_MSG_DOUBLE_FREE, gone));
        if (s) CHECK(!memcmp(&before, s, sizeof before));
    }
}

// ---- runs ----

static struct gm_span *collected(unsigned kind, unsigned class) {
    struct gm_span *s = gm_heap_take(&engine.heap, kind, class, 0, 0);
    if (!CHECK(s != NULL)) abort();
    s->generation = engine.sweep.generation;
    gm_heap_publish(&engine.heap, s);
    return s;
}

// A watched heap gives an object back when 16 MiB of others were freed after it, the oldest first.
TEST(freed_objects_are_kept_back) {
    enum { N = 3000 };
    static void *p[N];
    unsigned class = gm_sizes_class(8192, 16);
    REQUIRE(begin(32));
    engine.guard.watched = true;
    if (!gm_guard_watched(&engine.guard)) return; // check level 0
    for (int i = 0; i < N; i++) {
        p[i] = take(&cache, class);
        struct gm_span *s = gm_span_find(pages(), (uintptr_t)p[i]);
        gm_guard_hand_out(s, (uintptr_t)p[i], 1000);
        CHECK_EQ(gm_guard_size(&engine.guard, s, (uintptr_t)p[i]), 1000);
        CHECK(!gm_guard_freed(&engine.guard, s, (uintptr_t)p[i]));
        gm_guard_write(s, (uintptr_t)p[i], 1, GM_MARGIN_FREED);
        CHECK(gm_guard_freed(&engine.guard, s, (uintptr_t)p[i]));
    }
    for (int i = 0; i < N; i++)
        gm_cache_keep(&engine, gm_span_find(pages(), (uintptr_t)p[i]), (uintptr_t)p[i]);
    CHECK_EQ(engine.kept.bytes, N * 8192);
    int next = 0;
    for (void *old; (old = gm_cache_longest_kept(&engine, GM_KEPT_MOST)) != NULL; next++)
        CHECK(next < N && old == p[next]);
    CHECK_EQ(next, N - GM_KEPT_MOST / 8192);
    CHECK_EQ(engine.kept.bytes, GM_KEPT_MOST);
    gm_cache_unkeep(&cache, 0);
    CHECK(!engine.kept.first && !engine.kept.last && !engine.kept.bytes);
    gm_cache_keep(&engine, gm_span_find(pages(), (uintptr_t)p[7]), (uintptr_t)p[7]);
    CHECK(gm_cache_longest_kept(&engine, 0) == p[7] && !gm_cache_longest_kept(&engine, 0));
}

// Runs of random bitmaps, against a walk slot by slot.
TEST(find_run) {
    static bool taken[1024], freed[1024];
    REQUIRE(begin(32));
    for (int round = 0; round < 600; round++) {
        unsigned class = 2 + (unsigned)room_below(GOMEM_CLASSES - 1), density = 1 + room_below(20);
        struct gm_span *s = collected(GM_NOSCAN, class);
        s->used = 0;
        s->fresh = s->count;
        for (uint32_t i = 0; i < s->count; i++) {
            taken[i] = i % 100 >= density * 5 || room_below(density) == 0;
            freed[i] = taken[i] && room_below(5) == 0;
            if (taken[i]) s->used++, room_color(pages(), s, i)->alloc |= room_bit(pages(), s, i);
            if (freed[i]) room_color(pages(), s, i)->freed |= room_bit(pages(), s, i);
        }
        uint32_t size = gm_sizes_table[class].size, at = 0, from, end;
        uint32_t limit = GM_MAX((GM_RUN_BYTES + size - 1) / size, 1u); // the last one may be cut
        for (uintptr_t start, stop; (stop = gm_cache_find_run(pages(), s, &start, false)) != 0;) {
            from = gm_span_index(pages(), s, start);
            end = from + (uint32_t)((stop - start) / size);
            CHECK_EQ(gm_span_slot(pages(), s, from), start);
            gm_cache_hold(&engine, s, start, stop);
            while (at < s->count && taken[at] && !freed[at]) at++;
            CHECK_EQ(from, at); // the next free one
            while (at < s->count && at - from < limit && (!taken[at] || freed[at])) at++;
            REQUIRE(end > from && (end == at || (end == at - 1 && at - from == limit)));
            at = end;
        }
        while (at < s->count && taken[at] && !freed[at]) at++;
        CHECK_EQ(at, s->count);
        CHECK_EQ(s->used, s->count);
        for (uint32_t i = 0; i < s->count; i++) // R1, and no freed bit is left
            CHECK(room_color(pages(), s, i)->alloc & ~room_color(pages(), s, i)->freed &
                  room_bit(pages(), s, i));
        uint32_t bits = 0;
        for (unsigned i = 0; i < s->pages * 8; i++)
            bits += gm_base_popcount(gm_span_colors(pages(), s->page)[i].alloc);
        CHECK_EQ(bits, s->count); // N3
        gm_heap_put(&engine.heap, s);
    }
}

TEST(runs_are_zero) { // N2
    REQUIRE(begin(32));
    for (unsigned class = 2; class <= GOMEM_CLASSES; class ++)
        for (int dirty = 0; dirty < 2; dirty++) {
            gomem_i_run run = {0, 0};
            struct gm_span *s = collected(GM_NOSCAN, class);
            size_t bytes = (size_t)s->pages * GM_PAGE;
            char *start = room_own(gm_span_start(pages(), s), bytes);
            if (dirty) memset(start, 1, bytes), s->fresh = s->count, s->clean = 0;
            while (gm_cache_take_run(&cache, &run, s)) {
                (void)room_own(run.cursor, run.end - run.cursor);
                for (uintptr_t at = run.cursor; at < run.end; at += 8) CHECK(!*(uint64_t *)at);
                CHECK(s->fresh >= gm_span_index(pages(), s, run.end - 1) + 1);
                memset((void *)run.cursor, 1, run.end - run.cursor);
            }
            CHECK_EQ(s->used, s->count);
            for (uint32_t i = 0; i < s->count; i += 3)
                room_color(pages(), s, i)->freed |= room_bit(pages(), s, i);
            s->cursor = 0; // slots freed by hand come back, zeroed too
            while (gm_cache_take_run(&cache, &run, s)) {
                (void)room_own(run.cursor, run.end - run.cursor);
                for (uintptr_t at = run.cursor; at < run.end; at += 8) CHECK(!*(uint64_t *)at);
            }
            gm_heap_put(&engine.heap, s);
        }
}

static void *bump(struct gm_cache *t, unsigned class) {
    size_t size = gm_sizes_table[class].size;
    void *p = gomem_i_bump(&t->hot.scan[class], size);
    if (!p && !CHECK(gm_cache_refill_run(t, &t->hot.scan[class], &t->scan[class],
                                         &engine.central[GM_SCAN][class])))
        abort();
    if (!p) p = gomem_i_bump(&t->hot.scan[class], size);
    return room_own((uintptr_t)p, size);
}

static bool count_used(struct gm_span *s, void *arg) {
    size_t bits = 0;
    for (unsigned i = 0; i < gm_span_groups(s); i++)
        bits += gm_base_popcount(gm_span_colors(pages(), s->page)[i].alloc);
    CHECK_EQ(bits, s->used);
    *(size_t *)arg += bits;
    return true;
}

TEST(what_is_left_of_a_run) {
    size_t used = 0;
    REQUIRE(begin(8));
    for (unsigned c = 2; c <= GOMEM_CLASSES; c++) (void)bump(&cache, c);
    gm_cache_flush_runs(&cache);
    gm_heap_walk(&engine.heap, count_used, &used);
    CHECK_EQ(used, GOMEM_CLASSES - 1); // it went back
}

// Two threads allocate and let go of their runs: nothing is handed out twice, nothing is lost.
TEST(runs_of_two_threads) {
    enum { N = 20000 };
    static char *objects[N];
    static unsigned class_of[N];
    size_t used = 0;
    REQUIRE(begin(64));
    for (size_t i = 0; i < N; i++) {
        struct gm_cache *t = room_below(2) ? &cache : &other;
        class_of[i] = 2 + (unsigned)room_below(30);
        objects[i] = bump(t, class_of[i]);
        for (unsigned k = 0; k < gm_sizes_table[class_of[i]].size; k++) CHECK(!objects[i][k]);
        memset(objects[i], 1 + (int)i % 100, gm_sizes_table[class_of[i]].size);
        if (room_below(500) == 0) gm_cache_flush_runs(t);
    }
    for (size_t i = 0; i < N; i++)
        for (unsigned k = 0; k < gm_sizes_table[class_of[i]].size; k++)
            CHECK_EQ(objects[i][k], 1 + i % 100);
    gm_cache_flush_runs(&cache);
    gm_cache_flush_runs(&other);
    gm_heap_walk(&engine.heap, count_used, &used);
    CHECK_EQ(used, N); // held slots went back
    for (unsigned c = 2; c < 32; c++) {
        uint64_t mallocs = cache.stats.mallocs[c] + other.stats.mallocs[c];
        uint64_t frees = cache.stats.frees[c] + other.stats.frees[c], n = 0;
        for (size_t i = 0; i < N; i++) n += class_of[i] == c;
        CHECK_EQ(mallocs - frees, n);
    }
}

TEST(spans_have_one_owner) { // R4
    REQUIRE(begin(8));
    void *a = bump(&cache, 5), *b = bump(&other, 5);
    struct gm_span *s = gm_span_find(pages(), (uintptr_t)a),
                   *t = gm_span_find(pages(), (uintptr_t)b);
    CHECK(s != t && s->owner == 1 && t->owner == 2);
    CHECK(s == cache.scan[5] && t == other.scan[5]);
    gm_cache_flush_runs(&cache);
    CHECK(!s->owner && !cache.scan[5] && !cache.hot.scan[5].cursor);
    void *c = bump(&other, 6); // other classes do not touch it
    for (unsigned i = 0; i < t->count; i++) c = bump(&other, 5);
    CHECK(gm_span_find(pages(), (uintptr_t)c) == s &&
          s->owner == 2); // the partial one comes before a new one
}

// Slots that died are found through sweeping, before the heap grows.
TEST(refill_sweeps_first) {
    REQUIRE(begin(8));
    unsigned class = 20, count = gm_sizes_table[class].count;
    for (unsigned i = 0; i < 4 * count; i++) (void)bump(&cache, class);
    gm_cache_flush_runs(&cache);
    size_t used = engine.heap.pages.used;
    engine.sweep.generation += 2; // nothing is marked
    for (unsigned i = 0; i < 4 * count; i++) (void)bump(&cache, class);
    CHECK_EQ(engine.heap.pages.used, used);
    CHECK_EQ(engine.stats.shared.frees[class], 4 * count);
}

TEST(charges) {
    size_t bytes = 0;
    REQUIRE(begin(64));
    for (int i = 0; i < 5000; i++) {
        (void)bump(&cache, 6);
        bytes += 64;
        CHECK(engine.live + cache.charged >= bytes);
        CHECK(cache.charged < GM_CHARGE);
    }
    gm_cache_flush_runs(&cache);
    CHECK(engine.live >= bytes && cache.charged == 0);
}

// The arrays of runs that larger ones replace are recycled last: a signal handler of the program
// may allocate by those that the thread has at the moment. Here they cannot be written until it has
// others.
static void *recycled[2];
static unsigned faults;
static void look_at_runs(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    CHECK(info->si_addr == recycled[faults++ % 2]);
    CHECK(cache.hot.typed != recycled[0] && (void *)cache.typed != recycled[1]);
    for (unsigned i = 0; i < 2; i++)
        (void)mprotect(recycled[i], pages()->os_page, PROT_READ | (faults > i ? PROT_WRITE : 0));
}

TEST(runs_are_recycled_last) {
    struct sigaction own, old;
    REQUIRE(begin(4));
    for (unsigned i = 0; i < 2; i++) {
        recycled[i] = mmap(NULL, pages()->os_page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(recycled[i] != MAP_FAILED);
    }
    cache.hot.typed = recycled[0];
    cache.typed = recycled[1];
    cache.hot.typed_count = cache.typed_room = 16;
    memset(&own, 0, sizeof own);
    own.sa_flags = SA_SIGINFO;
    own.sa_sigaction = look_at_runs;
    REQUIRE(sigaction(SIGSEGV, &own, &old) == 0);
    CHECK(gm_cache_typed_room(&cache, 16));
    (void)sigaction(SIGSEGV, &old, NULL);
    CHECK_EQ(faults, 2);
}

TEST(typed_runs_grow) {
    static char names[300][8];
    uint32_t numbers[300];
    REQUIRE(begin(64));
    for (unsigned i = 0; i < 300; i++) {
        snprintf(names[i], sizeof names[i], "t%u", i);
        gomem_type t = {.name = names[i], .size = 64, .align = 8};
        numbers[i] = gm_types_intern(&engine.types, &t, 6);
        REQUIRE(gm_cache_typed_room(&cache, numbers[i]));
        CHECK(cache.hot.typed_count > numbers[i]);
        CHECK(!cache.hot.typed[0].cursor && !cache.hot.typed[numbers[i]].cursor);
        gomem_i_run *run = &cache.hot.typed[numbers[i]];
        REQUIRE(gm_cache_refill_run(&cache, run, &cache.typed[numbers[i]],
                                    &gm_types_shape(&engine.types, numbers[i])->central));
        REQUIRE(gomem_i_bump(run, 64) != NULL);
    }
    for (unsigned i = 0; i < 300; i++) { // earlier runs survived the growth; D3
        const struct gm_span *s = cache.typed[numbers[i]];
        CHECK(s->shape == numbers[i] && s->kind == GM_TYPED);
        CHECK_EQ(cache.hot.typed[numbers[i]].cursor, gm_span_slot(pages(), s, 1));
    }
    gm_cache_flush_runs(&cache);
    for (unsigned i = 0; i < 300; i++) CHECK(!cache.typed[numbers[i]]);
}

TEST_MAIN
