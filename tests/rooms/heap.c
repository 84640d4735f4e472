// Room heap: spans in and out, large objects, giving back.
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

#include <sys/syscall.h>

static bool advice_fails;
static unsigned failing_calls; // the next calls of madvise fail, too
static size_t largest_advice;
static void note_return(size_t size);
static bool note_wake(long number, ...);
#define GOMEM_MADVISE(addr, size, advice)                                                   \
    (largest_advice = (size) > largest_advice ? (size) : largest_advice, note_return(size), \
     advice_fails || (failing_calls && failing_calls--)                                     \
         ? -1                                                                               \
         : gm_libc_madvise((addr), (size), (advice)))
#define GOMEM_MUNMAP(addr, size) (note_return(size), munmap((addr), (size)))
#define GOMEM_SYSCALL(...)       (note_wake(__VA_ARGS__) ? 0 : gm_libc_syscall(__VA_ARGS__))
#include "room.h"

static struct gm_heap heap;

// What a neighbor waits for: calls that return memory while HEAP is held. Each marks the lock as
// waited for, so that its release wakes the neighbor.
static unsigned calls, most_calls, holds; // in this hold, in the longest one; holds with any
static size_t given;                      // bytes returned without the lock
static size_t excess;                     // in the first of those calls, for LARGE pages more

enum { LARGE = 5 * GM_CHUNK_PAGES };

static void note_return(size_t size) {
    if (gm_load_rlx(&heap.lock.owner) != gm_os_thread_pointer()) {
        if (!given) excess = gm_pages_excess_locked(&heap.pages, LARGE);
        given += size;
        return;
    }
    holds += !calls++;
    most_calls = GM_MAX(most_calls, calls);
    gm_store_rlx(&heap.lock.word, 2u);
}

static struct gm_idle leaving; // pages that another thread gives back until somebody sleeps

static bool note_wake(long number, ...) {
    if (number == SYS_futex && leaving.n) {
        gm_sync_lock(&heap.lock);
        gm_pages_scavenge_end_locked(&heap.pages, leaving, true);
        leaving.n = 0;
        gm_sync_unlock(&heap.lock);
        return true;
    }
    if (number != SYS_futex || !calls) return false;
    calls = 0;
    return true;
}

static void begin_notes(void) {
    calls = most_calls = holds = 0;
    given = excess = 0;
}

static struct gm_span *take(unsigned kind, unsigned class, size_t size, size_t align) {
    struct gm_span *s = gm_heap_take(&heap, kind, class, size, align);
    if (s) gm_heap_publish(&heap, s);
    return s;
}

static char *start_of(const struct gm_span *s) {
    return room_own(gm_span_start(&heap.pages, s), (size_t)s->pages * GM_PAGE);
}

TEST(aligned_spans) {
    REQUIRE(room_heap(&heap, 16));
    for (size_t align = 16; align <= 4 * GM_MIB; align *= 2)
        for (size_t size = 1; size < 300000; size = size * 3 + 5000) {
            struct gm_span *s = take(GM_MANUAL, 0, size, align), *other = take(GM_SCAN, 0, 1, 0);
            REQUIRE(s && other);
            CHECK_EQ((uintptr_t)start_of(s) % align, 0);
            CHECK_EQ(s->pages, (size + GM_PAGE - 1) / GM_PAGE);
            CHECK_EQ(heap.pages.used, s->pages + 1); // what was taken for the alignment came back
            CHECK(gm_span_find(&heap.pages, (uintptr_t)start_of(s) + size - 1) == s);
            start_of(s)[0] = start_of(s)[size - 1] = 1;
            gm_heap_put(&heap, s);
            gm_heap_put(&heap, other);
            ROOM_PAGES_HOLD(&heap.pages);
        }
    CHECK(gm_heap_take(&heap, GM_MANUAL, 0, 64 * GM_MIB + 1, 16) == NULL);
    CHECK(gm_heap_take(&heap, GM_MANUAL, 0, 1, 128 * GM_MIB) == NULL);
    CHECK(gm_heap_take(&heap, GM_MANUAL, 0, SIZE_MAX / 2, 16) == NULL);
    CHECK_EQ(heap.pages.used, 0);
    room_end_pages(&heap.pages);
}

TEST(records_of_every_class) {
    size_t kept = 0;
    REQUIRE(room_heap(&heap, 16));
    for (unsigned kind = GM_MANUAL; kind < GM_KINDS; kind++)
        for (unsigned c = kind == GM_MANUAL ? 1 : 2; c <= GOMEM_CLASSES; c++) {
            struct gm_span *s = take(kind, c, 0, 0);
            REQUIRE(s != NULL);
            kept += GM_IN(GM_SET_COLLECTED, kind) ? 0 : s->pages;
            CHECK_EQ(heap.kept, kept); // what is not the collector's
            CHECK(s->kind == kind && s->class == c && s->count == gm_sizes_table[c].count);
            CHECK_EQ(s->pages, gm_sizes_table[c].pages);
            CHECK_EQ(s->fresh, s->clean ? 0 : s->count); // N2
            CHECK_EQ(s->page < heap.pages.count / 2, gm_span_zone(kind) == GM_ZONE_SCAN);
            CHECK(gm_span_find(&heap.pages, (uintptr_t)start_of(s)) == s);
            memset(start_of(s), 1, (size_t)s->pages * GM_PAGE);
            s->fresh = s->count;
            if (c % 3 == 0) continue;
            kept -= GM_IN(GM_SET_COLLECTED, kind) ? 0 : s->pages;
            gm_heap_put(&heap, s);
        }
    CHECK_EQ(heap.kept, kept);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

// What is not the collector's stays counted when it changes its size, too.
TEST(resized_spans_are_counted) {
    static const unsigned kinds[] = {GM_MANUAL, GM_ROOT, GM_SCAN, GM_NOSCAN};
    static const size_t sizes[] = {300000, 700000, 20000, 1000000};
    REQUIRE(room_heap(&heap, 16));
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct gm_span *s = take(kinds[i], 0, sizes[3], 0);
        REQUIRE(s != NULL);
        for (unsigned k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            bool clean;
            REQUIRE(gm_heap_resize(&heap, s, sizes[k], &clean));
            CHECK_EQ(s->pages, (sizes[k] + GM_PAGE - 1) / GM_PAGE);
            CHECK_EQ(heap.kept, GM_IN(GM_SET_COLLECTED, kinds[i]) ? 0 : s->pages);
        }
        gm_heap_put(&heap, s);
        CHECK(!heap.kept && !heap.pages.used);
    }
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

// Pages above the fresh watermark come back as clean as they were.
TEST(untouched_pages_stay_clean) {
    REQUIRE(room_heap(&heap, 4));
    unsigned class = gm_sizes_class(1024, 16); // 8 pages
    struct gm_span *s = take(GM_MANUAL, class, 0, 0);
    REQUIRE(s && s->clean);
    start_of(s)[9 * 1024 - 1] = 1;
    s->fresh = 9; // two pages hold something
    gm_heap_put(&heap, s);
    CHECK_EQ(heap.pages.idle, 2);
    s = take(GM_MANUAL, 0, 6 * GM_PAGE, 0);
    REQUIRE(s != NULL);
    CHECK_EQ(s->clean, 1); // counted from the top, the upper pages come first
    gm_heap_put(&heap, s);
    CHECK_EQ(heap.pages.idle, 8); // of a large object all count as touched
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

static void resize(unsigned kind) {
    bool clean;
    struct gm_span *s = take(kind, 0, 3 * GM_PAGE, 0);
    REQUIRE(s != NULL);
    struct gm_span *fence = NULL;
    if (gm_span_zone(kind) == GM_ZONE_SCAN) {
        struct gm_span *gap = take(kind, 0, 40 * GM_PAGE, 0);
        fence = take(kind, 0, 1, 0);
        gm_heap_put(&heap, gap);
    } else { // grows towards the end of the heap
        fence = s;
        struct gm_span *gap = take(kind, 0, 40 * GM_PAGE, 0);
        s = take(kind, 0, 3 * GM_PAGE, 0);
        gm_heap_put(&heap, gap);
    }
    char *start = start_of(s);
    memset(start, 5, 3 * GM_PAGE);
    CHECK(gm_heap_resize(&heap, s, 43 * GM_PAGE - 100, &clean));
    CHECK(!clean && start_of(s) == start && s->pages == 43);
    CHECK_EQ(start[3 * GM_PAGE - 1], 5);
    CHECK(gm_span_find(&heap.pages, (uintptr_t)start + 43 * GM_PAGE - 1) == s);
    CHECK(!gm_heap_resize(&heap, s, 43 * GM_PAGE + 1, &clean)); // a neighbour is in the way
    CHECK(!gm_heap_resize(&heap, s, (size_t)1 << 40, &clean));
    CHECK_EQ(s->size, 43 * GM_PAGE - 100);
    CHECK(gm_heap_resize(&heap, s, GM_PAGE + 1, &clean));
    CHECK_EQ(s->pages, 2);
    CHECK(gm_span_find(&heap.pages, (uintptr_t)start + 2 * GM_PAGE) == NULL);
    ROOM_PAGES_HOLD(&heap.pages);
    (void)gm_heap_give_back(&heap, 0, 1, SIZE_MAX);
    CHECK(gm_heap_resize(&heap, s, 10 * GM_PAGE, &clean));
    CHECK(clean && !start[2 * GM_PAGE] && !start[10 * GM_PAGE - 1]);
    gm_heap_put(&heap, s);
    gm_heap_put(&heap, fence);
    CHECK_EQ(heap.pages.used, 0);
}

TEST(resize_in_place) {
    REQUIRE(room_heap(&heap, 4));
    resize(GM_MANUAL);
    resize(GM_SCAN);
    resize(GM_NOSCAN);
    room_end_pages(&heap.pages);
}

// H4: while chunks leave the zones, a neighbor gets the lock after each.
TEST(chunks_leave_one_at_a_time) {
    enum { N = 24 };
    struct gm_span *spans[2 * N];
    memset(&heap, 0, sizeof heap);
    heap.lock.rank = GM_RANK_HEAP;
    if (!gm_pages_init_sparse(&heap.pages, 64 * GM_CHUNK))
        SKIP("no range of addresses can be claimed");
    for (unsigned i = 0; i < 2 * N; i++)
        REQUIRE((spans[i] = take(i % 2 ? GM_MANUAL : GM_SCAN, 0, GM_CHUNK - GM_PAGE, 0)) != NULL);
    for (unsigned i = 0; i < 2 * N; i++) gm_heap_put(&heap, spans[i]);
    (void)gm_heap_give_back(&heap, 0, 1, SIZE_MAX);
    begin_notes();
    gm_heap_retreat(&heap);
    CHECK_EQ(heap.pages.zone[0].mapped + heap.pages.zone[1].mapped, 0);
    CHECK(holds >= 2 * N && most_calls <= 8);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

// P8: what a hard limit wants back is returned without the lock, and counted until it has gone.
TEST(room_under_a_hard_limit) {
    enum { N = 12 };
    struct gm_span *spans[N];
    REQUIRE(room_heap(&heap, 64));
    for (unsigned i = 0; i < N; i++) REQUIRE((spans[i] = take(GM_MANUAL, 0, GM_CHUNK, 0)) != NULL);
    for (unsigned i = 0; i < N; i += 2) gm_heap_put(&heap, spans[i]);
    size_t idle = heap.pages.idle, used = heap.pages.used;
    CHECK_EQ(idle, N / 2 * GM_CHUNK_PAGES);
    heap.pages.hard = (idle + used + 2 * (size_t)GM_CHUNK_PAGES) * (GM_PAGE + 512);
    size_t most = gm_pages_most(&heap.pages);
    begin_notes();
    struct gm_span *large = take(GM_MANUAL, 0, LARGE * GM_PAGE, 0); // no hole holds it
    REQUIRE(large != NULL);
    CHECK(heap.pages.used + heap.pages.idle <= most);
    CHECK(given >= (used + idle + LARGE - most) * GM_PAGE);
    CHECK_EQ(holds, 0);
    CHECK_EQ(excess, used + idle + LARGE - most);
    CHECK_EQ(heap.pages.leaving, 0);
    CHECK(take(GM_MANUAL, 0, (most - used) * GM_PAGE, 0) == NULL);
    ROOM_PAGES_HOLD(&heap.pages);
    gm_heap_put(&heap, large);
    for (unsigned i = 1; i < N; i += 2) gm_heap_put(&heap, spans[i]);
    room_end_pages(&heap.pages);
}

// Pages that another thread is giving back are no reason to fail: they are free again afterwards.
TEST(pages_that_are_given_back_are_waited_for) {
    struct gm_span *spans[64];
    unsigned n = 0;
    REQUIRE(room_heap(&heap, 16));
    while (n < 64 && (spans[n] = take(GM_MANUAL, 0, GM_CHUNK / 2, 0)) != NULL) n++;
    REQUIRE(n > 1 && n < 64);
    gm_heap_put(&heap, spans[--n]);
    gm_sync_lock(&heap.lock);
    leaving = gm_pages_scavenge_begin_locked(&heap.pages, 1, GM_CHUNK_PAGES);
    gm_sync_unlock(&heap.lock);
    CHECK(leaving.n > 0 && heap.pages.leaving > 0);
    spans[n] = take(GM_MANUAL, 0, GM_CHUNK / 2, 0);
    CHECK(spans[n] != NULL);
    CHECK(leaving.n == 0 && heap.pages.leaving == 0);
    CHECK(take(GM_MANUAL, 0, GM_CHUNK / 2, 0) == NULL); // nothing leaves
    ROOM_PAGES_HOLD(&heap.pages);
    for (unsigned i = 0; i <= n; i++)
        if (spans[i]) gm_heap_put(&heap, spans[i]);
    room_end_pages(&heap.pages);
}

// P8: free pages that the kernel does not take back count. Nothing asks for them with HEAP held.
TEST(what_stays_counts_under_a_hard_limit) {
    REQUIRE(room_heap(&heap, 64));
    struct gm_span *first = take(GM_MANUAL, 0, GM_CHUNK, 0), *last = take(GM_MANUAL, 0, GM_PAGE, 0);
    REQUIRE(first && last);
    if (heap.pages.os_page > GM_PAGE) SKIP("free pages may share system pages with used ones");
    gm_heap_put(&heap, first);
    heap.pages.hard = (LARGE + GM_CHUNK_PAGES / 2) * (GM_PAGE + 512);
    begin_notes();
    advice_fails = true;
    CHECK(take(GM_MANUAL, 0, LARGE * GM_PAGE, 0) == NULL);
    CHECK(given > 0);
    CHECK_EQ(holds, 0);
    struct gm_span *small = take(GM_MANUAL, 0, GM_CHUNK / 2, 0); // of the free pages
    CHECK(small != NULL);
    advice_fails = false;
    struct gm_span *large = take(GM_MANUAL, 0, (LARGE - GM_CHUNK_PAGES / 2) * GM_PAGE, 0);
    CHECK(large != NULL);
    CHECK(heap.pages.used + heap.pages.idle <= gm_pages_most(&heap.pages));
    ROOM_PAGES_HOLD(&heap.pages);
    if (large) gm_heap_put(&heap, large);
    if (small) gm_heap_put(&heap, small);
    gm_heap_put(&heap, last);
    room_end_pages(&heap.pages);
}

// Bits of the pieces that a growing object gains are clear.
TEST(resize_clears_bits) {
    bool clean;
    REQUIRE(room_heap(&heap, 32));
    struct gm_span *s = take(GM_SCAN, 0, GM_PAGE, 0);
    REQUIRE(s != NULL);
    struct gm_span *gap = take(GM_SCAN, 0, 64 * GM_MIB, 0);
    memset(gm_span_colors(&heap.pages, s->page) + 1, 0xff,
           GM_COLOR_BYTES - sizeof(struct gm_color));
    gm_heap_put(&heap, gap);
    gm_span_colors(&heap.pages, s->page)->alloc = 1;
    CHECK(gm_heap_resize(&heap, s, 60 * GM_MIB, &clean));
    size_t groups = (60 * GM_MIB / GM_PIECE + 63) / 64;
    CHECK_EQ(gm_span_colors(&heap.pages, s->page)->alloc, 1);
    for (size_t i = 1; i < groups; i++) CHECK(!gm_span_colors(&heap.pages, s->page)[i].grey);
    room_end_pages(&heap.pages);
}

static struct gm_span *shrunk;
static void *shrink(void *arg) {
    bool clean;
    (void)arg;
    CHECK(gm_heap_resize(&heap, shrunk, GM_PAGE, &clean));
    return NULL;
}

// N4: the bits of pieces of an object that shrinks to a page may lie in the records of a page that
// leaves it. They are clear before any other thread can take that page, so while HEAP is not free.
TEST(bits_are_cleared_before_pages_go) {
    enum { PAGES = 2048, ALL = PAGES / 64, OWN = GM_COLOR_BYTES / sizeof(struct gm_color) };
    pthread_t thread;
    REQUIRE(room_heap(&heap, 32));
    shrunk = take(GM_SCAN, 0, PAGES * GM_PAGE, 0);
    REQUIRE(shrunk != NULL);
    struct gm_color *c = gm_span_colors(&heap.pages, shrunk->page);
    _Static_assert((int)ALL > (int)OWN, "some lie beyond the first page's");
    for (unsigned i = 0; i < ALL; i++) c[i].grey = c[i].mark = 1;
    gm_sync_lock(&heap.lock);
    REQUIRE(pthread_create(&thread, NULL, shrink, NULL) == 0);
    while (gm_load_rlx(&heap.lock.word) != 2) (void)sched_yield(); // until it waits for HEAP
    CHECK(c[0].mark && c[0].grey);
    for (unsigned i = 1; i < ALL; i++) CHECK(!c[i].grey && !c[i].mark);
    gm_sync_unlock(&heap.lock);
    (void)pthread_join(thread, NULL);
    CHECK_EQ(shrunk->pages, 1);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

// A marker may call the mark procedure of a typed object as soon as its size is larger.
TEST(typed_objects_grow_by_zeros) {
    bool clean;
    REQUIRE(room_heap(&heap, 4));
    struct gm_span *s = take(GM_TYPED, 0, 2 * GM_PAGE, 0), *gap = take(GM_SCAN, 0, 4 * GM_PAGE, 0);
    REQUIRE(s && gap);
    char *start = start_of(s);
    memset(start, 5, 2 * GM_PAGE);
    memset(start_of(gap), 7, 4 * GM_PAGE);
    gm_heap_put(&heap, gap);
    CHECK(gm_heap_resize(&heap, s, 5 * GM_PAGE, &clean) && !clean);
    (void)start_of(s);
    for (size_t i = 0; i < 5 * GM_PAGE; i++) REQUIRE(start[i] == (i < 2 * GM_PAGE ? 5 : 0));
    room_end_pages(&heap.pages);
}

// It is zeroed in a section, which a stop waits for: what takes long moves instead.
TEST(typed_objects_grow_by_few_used_pages) {
    enum { FEW = GM_GROW_PAGES, MORE = FEW + 1 };
    bool clean;
    REQUIRE(room_heap(&heap, 4));
    struct gm_span *s = take(GM_TYPED, 0, 2 * GM_PAGE, 0),
                   *gap = take(GM_SCAN, 0, MORE * GM_PAGE, 0);
    REQUIRE(s && gap);
    memset(start_of(gap), 7, MORE * GM_PAGE);
    gm_heap_put(&heap, gap);
    size_t used = heap.pages.used;
    CHECK(!gm_heap_resize(&heap, s, (2 + MORE) * GM_PAGE, &clean));
    CHECK_EQ(s->pages, 2);
    CHECK_EQ(heap.pages.used, used);
    CHECK(gm_heap_resize(&heap, s, (2 + FEW) * GM_PAGE, &clean) && !clean);
    s = take(GM_TYPED, 0, 2 * GM_PAGE, 0); // pages that were never used: as many as there are
    CHECK(s && gm_heap_resize(&heap, s, (2 + MORE) * GM_PAGE, &clean) && clean);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

TEST(give_back) {
    REQUIRE(room_heap(&heap, 16));
    struct gm_span *s = take(GM_MANUAL, 0, 20 * GM_MIB, 0), *t = take(GM_SCAN, 0, 3 * GM_MIB, 0);
    REQUIRE(s && t);
    memset(start_of(s), 1, 20 * GM_MIB);
    gm_heap_put(&heap, s);
    gm_heap_put(&heap, t);
    size_t idle = heap.pages.idle * GM_PAGE;
    CHECK_EQ(idle, 23 * GM_MIB);
    largest_advice = 0;
    size_t some = gm_heap_give_back(&heap, 0, GM_GIVE_LEAST, 1);
    CHECK(some > 0 && some <= GM_CHUNK);
    size_t keep = 5 * GM_MIB / GM_PAGE;
    some += gm_heap_give_back(&heap, keep, GM_GIVE_LEAST, SIZE_MAX);
    CHECK(heap.pages.idle <= keep && heap.pages.idle * GM_PAGE == idle - some);
    CHECK_EQ(some + gm_heap_give_back(&heap, 0, 1, SIZE_MAX), idle);
    CHECK_EQ(heap.pages.idle, 0);
    CHECK_EQ(heap.released, idle);
    CHECK(largest_advice <= 16 * GM_MIB);
    s = take(GM_MANUAL, 0, 20 * GM_MIB, 0);
    REQUIRE(s && s->clean);
    CHECK(!start_of(s)[0] && !start_of(s)[20 * GM_MIB - 1]);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

// H1: another thread's mmap waits for one call at most.
TEST(large_give_backs_are_cut) {
    REQUIRE(room_heap(&heap, 64));
    struct gm_span *s = take(GM_MANUAL, 0, 100 * GM_MIB, 0);
    REQUIRE(s != NULL);
    gm_heap_put(&heap, s);
    largest_advice = 0;
    CHECK_EQ(gm_heap_give_back(&heap, 0, 1, SIZE_MAX), 100 * GM_MIB);
    CHECK(largest_advice > 8 * GM_MIB && largest_advice <= 16 * GM_MIB);
    room_end_pages(&heap.pages);
}

// Of several calls the first is refused: its pages keep their contents, so none counts as zero.
TEST(refused_in_part) {
    REQUIRE(room_heap(&heap, 64));
    struct gm_span *s = take(GM_MANUAL, 0, 40 * GM_MIB, 0);
    REQUIRE(s != NULL);
    start_of(s)[0] = 1;
    gm_heap_put(&heap, s);
    failing_calls = 1;
    CHECK_EQ(gm_heap_give_back(&heap, 0, 1, SIZE_MAX), 0);
    CHECK_EQ(failing_calls, 0);
    CHECK_EQ(heap.pages.idle, 40 * GM_MIB / GM_PAGE);
    s = take(GM_MANUAL, 0, 40 * GM_MIB, 0);
    REQUIRE(s != NULL);
    CHECK(!s->clean || !start_of(s)[0]);
    gm_heap_put(&heap, s);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

TEST(refused_give_back) {
    REQUIRE(room_heap(&heap, 8));
    struct gm_span *s = take(GM_MANUAL, 0, 9 * GM_MIB, 0);
    REQUIRE(s != NULL);
    memset(start_of(s), 1, 9 * GM_MIB);
    gm_heap_put(&heap, s);
    advice_fails = true;
    CHECK_EQ(gm_heap_give_back(&heap, 0, 1, SIZE_MAX), 0);
    advice_fails = false;
    CHECK(heap.pages.idle >= 9 * GM_MIB / GM_PAGE);
    CHECK_EQ(heap.pages.used, 0);
    ROOM_PAGES_HOLD(&heap.pages);
    s = take(GM_MANUAL, 0, GM_PAGE, 0);
    CHECK(s && !s->clean); // it kept its contents and is not taken for zero
    room_end_pages(&heap.pages);
}

// H2: the thread that frees gives back what is over the bound.
TEST(trim) {
    REQUIRE(room_heap(&heap, 64));
    struct gm_span *s = take(GM_MANUAL, 0, 31 * GM_MIB, 0);
    REQUIRE(s != NULL);
    gm_heap_put(&heap, s);
    gm_heap_trim(&heap);
    CHECK_EQ(heap.pages.idle * GM_PAGE, 31 * GM_MIB); // 32 MiB may stay
    room_end_pages(&heap.pages);
    REQUIRE(room_heap(&heap, 64));
    s = take(GM_MANUAL, 0, 60 * GM_MIB, 0);
    REQUIRE(s != NULL);
    gm_heap_put(&heap, s);
    gm_heap_trim(&heap);
    CHECK(heap.pages.idle * GM_PAGE <= 28 * GM_MIB); // 4 MiB less than what would be too much
    CHECK(heap.pages.idle * GM_PAGE >= 24 * GM_MIB); // not more than needed
    size_t given = heap.released;
    gm_heap_trim(&heap);
    CHECK_EQ(heap.released, given);
    struct gm_span *used = take(GM_MANUAL, 0, 100 * GM_MIB, 0); // a tenth of it more may stay
    s = take(GM_MANUAL, 0, 60 * GM_MIB, 0);
    REQUIRE(used && s);
    heap.turned -= 3 * (uint64_t)GM_TURN_NS; // not lately
    gm_heap_put(&heap, s);
    gm_heap_trim(&heap);
    CHECK(heap.pages.idle * GM_PAGE <= 38 * GM_MIB);
    CHECK(heap.pages.idle * GM_PAGE >= 34 * GM_MIB);
    room_end_pages(&heap.pages);
}

// H3: what is taken again after it was freed stays, while that goes on; then it is given back.
TEST(used_again_is_kept) {
    REQUIRE(room_heap(&heap, 64));
    size_t given = 0;
    for (int round = 0; round < 20; round++) {
        struct gm_span *s = take(GM_MANUAL, 0, 90 * GM_MIB, 0);
        REQUIRE(s != NULL);
        gm_heap_put(&heap, s);
        gm_heap_trim(&heap);
        if (round == 0) CHECK(heap.pages.idle <= GM_IDLE_PAGES); // nobody knew yet
        if (round == 1) given = heap.released;
        if (round > 1) CHECK_EQ(heap.released, given);
        if (round % 3 == 2) heap.turned -= GM_TURN_NS; // a second passes
        ROOM_PAGES_HOLD(&heap.pages);
    }
    CHECK(heap.pages.idle >= 90 * GM_MIB / GM_PAGE);
    for (int second = 0; second < 3; second++) { // something else is freed meanwhile
        heap.turned -= GM_TURN_NS;
        struct gm_span *s = take(GM_MANUAL, 1, 0, 0);
        REQUIRE(s != NULL);
        gm_heap_put(&heap, s);
        gm_heap_trim(&heap);
    }
    CHECK(heap.pages.idle <= GM_IDLE_PAGES + GM_GIVE_SLACK);
    room_end_pages(&heap.pages);
}

// Less may stay idle than at the last give-back: the difference goes, though nothing became idle.
TEST(kept_for_two_seconds) {
    REQUIRE(room_heap(&heap, 64));
    struct gm_span *s = take(GM_MANUAL, 0, 150 * GM_MIB, 0);
    REQUIRE(s != NULL);
    heap.again[0] = 60 * GM_MIB / GM_PAGE;
    heap.turned = gm_os_now_coarse();
    gm_heap_put(&heap, s);
    gm_heap_trim(&heap);
    CHECK(heap.pages.idle >= 60 * GM_MIB / GM_PAGE);
    CHECK(heap.pages.idle <= 60 * GM_MIB / GM_PAGE + GM_IDLE_PAGES);
    for (int second = 0; second < 2; second++) {
        heap.turned -= GM_TURN_NS;
        gm_heap_trim(&heap);
    }
    CHECK(heap.pages.idle <= GM_IDLE_PAGES);
    room_end_pages(&heap.pages);
}

// H3: what is used again counts from the fewest used pages of its own second on.
TEST(seconds_begin_at_what_is_used) {
    enum { MIB = GM_MIB / GM_PAGE };
    REQUIRE(room_heap(&heap, 64));
    struct gm_span *large = take(GM_MANUAL, 0, 100 * GM_MIB, 0), *part[3];
    REQUIRE(large != NULL);
    gm_heap_put(&heap, large);
    REQUIRE((part[0] = take(GM_MANUAL, 0, 50 * GM_MIB, 0)) != NULL);
    CHECK_EQ(heap.again[0], 50 * MIB); // 100, 0, 50
    heap.turned = 1;
    gm_heap_turn(&heap, 1 + GM_TURN_NS);
    CHECK(!heap.again[0] && heap.again[1] == 50 * MIB);
    REQUIRE((part[1] = take(GM_MANUAL, 0, 10 * GM_MIB, 0)) != NULL);
    CHECK_EQ(heap.again[0], 10 * MIB); // 50, 60
    gm_heap_put(&heap, part[1]);
    REQUIRE((part[2] = take(GM_MANUAL, 0, 20 * GM_MIB, 0)) != NULL);
    CHECK_EQ(heap.again[0], 20 * MIB); // 50, 70
    room_end_pages(&heap.pages);
}

// Another thread may have begun a second later than this one has read the clock.
TEST(seconds_do_not_run_back) {
    REQUIRE(room_heap(&heap, 64));
    uint64_t now = gm_os_now_coarse();
    heap.turned = now + 4000000;
    heap.again[0] = 60;
    gm_heap_turn(&heap, now);
    CHECK_EQ(heap.again[0], 60);
    CHECK_EQ(heap.turned, now + 4000000);
    room_end_pages(&heap.pages);
}

// What is small beside what was freed keeps no more than itself.
TEST(little_is_used_again) {
    REQUIRE(room_heap(&heap, 64));
    struct gm_span *large = take(GM_MANUAL, 0, 200 * GM_MIB, 0);
    REQUIRE(large != NULL);
    gm_heap_put(&heap, large);
    for (int i = 0; i < 100; i++) {
        struct gm_span *s = take(GM_MANUAL, 0, 2 * GM_MIB, 0);
        REQUIRE(s != NULL);
        gm_heap_put(&heap, s);
        gm_heap_trim(&heap);
        CHECK(heap.pages.idle <= GM_IDLE_PAGES + GM_GIVE_SLACK + 2 * GM_MIB / GM_PAGE);
    }
    room_end_pages(&heap.pages);
}

// Spans that are freed one by one, in random order: islands between what has been given back go, too.
TEST(islands_are_given_back) {
    enum { N = 20000 };
    static struct gm_span *spans[N];
    REQUIRE(room_heap(&heap, 128));
    for (int i = 0; i < N; i++) {
        spans[i] = take(GM_MANUAL, 1 + (unsigned)room_below(20), 0, 0);
        REQUIRE(spans[i] != NULL);
        spans[i]->fresh = spans[i]->count; // as if it were used
    }
    for (int i = N - 1; i >= 0; i--) {
        size_t k = room_below((size_t)i + 1);
        struct gm_span *s = spans[k];
        spans[k] = spans[i];
        gm_heap_put(&heap, s);
        gm_heap_trim(&heap);
    }
    CHECK_EQ(heap.pages.used, 0);
    CHECK(heap.pages.idle <= GM_IDLE_PAGES + GM_GIVE_SLACK + GM_GIVE_STEP);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

TEST(other_zone_as_the_last_resort) {
    struct gm_span *s = NULL;
    size_t n = 0;
    REQUIRE(room_heap(&heap, 4));
    REQUIRE(take(GM_SCAN, 0, GM_PAGE, 0) != NULL); // the first chunk stays zone 0's
    while (n < 10000 && (s = take(GM_MANUAL, 0, 8 * GM_PAGE, 0)) != NULL) n++;
    CHECK_EQ(n, (4 * GM_CHUNK_PAGES - 1) / 8);
    CHECK_EQ(heap.pages.used, n * 8 + 1);
    ROOM_PAGES_HOLD(&heap.pages);
    room_end_pages(&heap.pages);
}

static size_t walked, most_walked;
static uintptr_t last_walked;

static bool visit(struct gm_span *s, void *arg) {
    CHECK(gm_span_start(&heap.pages, s) > last_walked);
    last_walked = gm_span_start(&heap.pages, s);
    *(size_t *)arg += s->pages;
    return ++walked < most_walked;
}

TEST(walk) {
    size_t spans = 0, pages = 0;
    REQUIRE(room_heap(&heap, 16));
    for (int i = 0; i < 100; i++) {
        unsigned class = i % 2 ? 2 + (unsigned)room_below(80) : 0;
        struct gm_span *s = take(1 + (unsigned)room_below(6), class, 1 + room_below(90000), 0);
        REQUIRE(s != NULL);
        if (i % 3) spans++;
        else gm_heap_put(&heap, s);
    }
    most_walked = SIZE_MAX;
    gm_heap_walk(&heap, visit, &pages);
    CHECK_EQ(walked, spans);
    CHECK_EQ(pages, heap.pages.used);
    walked = last_walked = 0;
    most_walked = 5;
    gm_heap_walk(&heap, visit, &pages);
    CHECK_EQ(walked, 5);
    room_end_pages(&heap.pages);
}

// What a large object leaves is unmapped if mapped memory counts.
TEST(memory_that_counts) {
    for (uint8_t strict = 1; strict <= 2; strict++) {
        memset(&heap, 0, sizeof heap);
        heap.lock.rank = GM_RANK_HEAP;
        if (gm_os_is_limited() || !gm_pages_init_sparse(&heap.pages, 64 * GM_CHUNK))
            SKIP("the process has a limit, or no range of addresses can be claimed");
        heap.strict = strict;
        struct gm_span *small = take(GM_MANUAL, gm_sizes_class(64, 16), 0, 0);
        uint32_t before = heap.pages.zone[0].mapped + heap.pages.zone[1].mapped;
        struct gm_span *s = take(GM_MANUAL, 0, (size_t)20 * GM_CHUNK_PAGES * GM_PAGE, 0);
        REQUIRE(small && s);
        uint32_t between = heap.pages.zone[0].mapped + heap.pages.zone[1].mapped;
        gm_heap_put(&heap, s);
        gm_heap_trim(&heap);
        uint32_t after = heap.pages.zone[0].mapped + heap.pages.zone[1].mapped;
        CHECK(between >= before + 19 * GM_CHUNK_PAGES);
        CHECK(strict == 2 ? after < between / 2 : after == between); // some 28 MiB stay
        room_end_pages(&heap.pages);
    }
}

TEST_MAIN
