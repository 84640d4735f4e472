// Room writes: which pages were written, and what becomes grey by it.
static int fail_ioctl;    // the n-th call from now fails
static int lose_ioctl;    // before the n-th call from now its descriptor is closed
static int fail_for_good; // then all later calls fail, too
static int failing;       // they do

static int fail_or_lose(int n); // -1: the call of descriptor n fails
#define GOMEM_IOCTL(fd, request, arg) \
    (fail_or_lose(fd) ? -1 : gm_libc_ioctl((fd), (request), (arg)))
#include <errno.h>
#include <string.h>
// Calls by which the library finds out why it cannot track: they fail with `call_error`.
static long failing_call;                    // 0: none
static int call_error, filter;               // filter: what prctl says; negative: its errno
static const char *release = "6.12.3-cloud"; // NULL: uname fails
#define GOMEM_SYSCALL(number, ...) answer((number), ##__VA_ARGS__)
#define answer(number, ...)                                      \
    (is_answered(number) ? answered((number), ##__VA_ARGS__, 0L) \
                         : gm_libc_syscall((number), ##__VA_ARGS__))
static int is_answered(long number);
static long answered(long number, ...);
#include "room.h"

#include <stdarg.h>
#include <sys/utsname.h>

static int fail_or_lose(int n) {
    if (lose_ioctl && !--lose_ioctl) (void)close(n);
    if (fail_ioctl && !--fail_ioctl) {
        failing = fail_for_good;
        return -1;
    }
    return failing ? -1 : 0;
}

static bool faked; // uname and prctl, too

static int is_answered(long number) {
    if (number == SYS_uname || number == SYS_prctl) return faked;
    return failing_call && number == failing_call;
}

static long answered(long number, ...) {
    if (number == SYS_prctl && filter >= 0) return filter;
    if (number == SYS_uname && release) {
        va_list more;
        va_start(more, number);
        struct utsname *name = va_arg(more, struct utsname *);
        va_end(more);
        snprintf(name->release, sizeof name->release, "%s", release);
        return 0;
    }
    errno = number == SYS_prctl ? -filter : number == SYS_uname ? EFAULT : call_error;
    return -1;
}

static struct gm_engine engine;
static struct gm_writes *const writes = &engine.writes;
static struct gomem_marker marker;

// A span of a scanned kind, all slots allocated and black.
static struct gm_span *black_span(unsigned kind, unsigned class, size_t size) {
    struct gm_pages *p = &engine.heap.pages;
    struct gm_span *s = gm_heap_take(&engine.heap, kind, class, size, 0);
    if (!CHECK(s != NULL)) exit(1);
    s->fresh = s->count;
    for (unsigned i = 0; i < s->pages * 8; i++) {
        struct gm_color *c = &gm_span_colors(p, s->page)[i];
        c->alloc = gm_span_starts(s, i);
        c->mark = kind == GM_ROOT ? 0 : c->alloc;
    }
    gm_heap_publish(&engine.heap, s);
    memset((void *)gm_span_start(p, s), 0, (size_t)s->pages * GM_PAGE); // touched
    return s;
}

// Slots of s that are grey, which then are black again; their span leaves the queue.
static unsigned grey_slots(const struct gm_span *s) {
    struct gm_color *c = gm_span_colors(&engine.heap.pages, s->page);
    unsigned n = 0;
    for (unsigned i = 0; i < s->pages * 8; i++) {
        n += gm_base_popcount(c[i].grey);
        c[i].grey = 0;
    }
    return n;
}

static unsigned queued_spans(void) {
    unsigned n = 0;
    while (gm_mark_pop(&engine.mark)) n++;
    return n;
}

static bool begin(int wanted) {
    gm_writes_close(writes);
    if (!room_engine(&engine, 8)) return false;
    static struct gm_job jobs[16];
    engine.writes.uffd.fd = engine.writes.pagemap.fd = -1;
    engine.mark.jobs = jobs;
    engine.mark.source = writes;
    engine.mark.room = 16;
    return gm_writes_choose(writes, &engine.meta, &engine.heap.pages, wanted);
}

static bool begin_tracked(void) {
    return begin(GOMEM_GC_AUTO) && engine.writes.collector == GOMEM_GC_TRACKED;
}

static volatile char *byte_of(const struct gm_span *s, size_t at) {
    return (volatile char *)gm_span_start(&engine.heap.pages, s) + at;
}

// As the finish stop does; returns how many pages were written.
static size_t collect_stopped(void) {
    size_t pages = 0;
    if (!gm_mark_init_marker(&marker, &engine.meta)) return SIZE_MAX;
    gm_mark_begin(&marker, &engine.mark, true);
    engine.mark.njobs = 0;
    gm_writes_list_stopped(writes, &engine.mark);
    for (size_t i = 0; i < engine.mark.njobs; i++)
        pages += gm_writes_job(&marker, &engine.mark.jobs[i]);
    return pages;
}

#define NEED_KERNEL() \
    if (!begin_tracked()) SKIP("this kernel does not track writes")

TEST(names) {
    CHECK(!strcmp(gm_writes_name(GOMEM_GC_TRACKED), "tracked"));
    CHECK(!strcmp(gm_writes_name(GOMEM_GC_BARRIER), "barrier"));
    CHECK(!strcmp(gm_writes_name(GOMEM_GC_STW), "stw"));
}

TEST(what_is_asked_for_is_chosen) {
    CHECK(begin(GOMEM_GC_STW) && writes->collector == GOMEM_GC_STW);
    CHECK(begin(GOMEM_GC_BARRIER) && writes->collector == GOMEM_GC_BARRIER);
    CHECK_EQ(collect_stopped(), 0); // W1: nothing to ask
}

TEST(only_objects_on_written_pages_become_grey) { // C2
    NEED_KERNEL();
    struct gm_span *s = black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 0);
    CHECK_EQ(queued_spans(), 0);
    size_t page = engine.heap.pages.os_page;
    if (page > 4096) SKIP("pages of this system are larger than a span");
    *byte_of(s, 10) = 1;
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 1);
    CHECK_EQ(grey_slots(s), page / 64);
    CHECK_EQ(queued_spans(), 1);
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 0); // armed again
    *byte_of(s, page) = 1;
    CHECK_EQ(collect_stopped(), 1);
    CHECK_EQ(collect_stopped(), 1); // W4
    CHECK_EQ(grey_slots(s), page / 64);
    CHECK_EQ(queued_spans(), 1);
}

// The heap's last chunk ends where memory was refused (P9): no range reaches beyond, and none is empty.
TEST(ranges_of_a_chunk_that_is_not_whole) {
    struct gm_pages *p = &engine.heap.pages;
    bool clean;
    REQUIRE(begin(GOMEM_GC_STW));
    for (size_t n = GM_STEP_PAGES; n <= GM_CHUNK_PAGES + GM_STEP_PAGES; n += GM_CHUNK_PAGES) {
        REQUIRE(gm_pages_map_locked(p, &p->zone[0], n));
        REQUIRE(gm_pages_take_locked(p, 0, n > GM_CHUNK_PAGES ? GM_CHUNK_PAGES : 1, &clean) !=
                SIZE_MAX);
        uintptr_t at = gm_pages_scanned(p), end = at + n * GM_PAGE, to = at;
        CHECK(gm_writes_next(p, &at, &to) && at == gm_pages_scanned(p) && to == end);
        at = to;
        CHECK(!gm_writes_next(p, &at, &to));
    }
}

TEST(objects_that_reach_into_a_page) {
    NEED_KERNEL();
    size_t page = engine.heap.pages.os_page;
    struct gm_span *odd = black_span(GM_SCAN, GM_CLASS_24, 0);
    struct gm_span *wide = black_span(GM_SCAN, gm_sizes_class(3072, 16), 0);
    struct gm_span *root = black_span(GM_ROOT, gm_sizes_class(64, 16), 0);
    struct gm_span *white = black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    for (unsigned i = 0; i < white->pages * 8; i++)
        gm_span_colors(&engine.heap.pages, white->page)[i].mark = 0;
    if (page > 4096) SKIP("pages of this system are larger than a span");
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    *byte_of(odd, page + 1) = *byte_of(wide, page) = *byte_of(root, 0) = *byte_of(white, 0) = 1;
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 4);
    CHECK_EQ(grey_slots(odd), (2 * page - 1) / 24 - page / 24 + 1);
    CHECK_EQ(grey_slots(wide), 2); // it begins on the page before, and the next one
    CHECK_EQ(grey_slots(root), page / 64);
    CHECK_EQ(grey_slots(white), 0);
    CHECK_EQ(queued_spans(), 3);
}

static void look(const void *obj, size_t size, gomem_marker *m) { (void)obj, (void)size, (void)m; }

// A large object whose type has fields, or a procedure.
static struct gm_span *black_typed(size_t size, bool procedure) {
    static const gomem_field fields[] = {{8, 2}};
    gomem_type t = {"typed", 24, 8, fields, 1, NULL, 0},
               by_hand = {"by hand", 24, 8, NULL, 0, look, 0};
    struct gm_span *s = black_span(GM_TYPED, 0, size);
    s->shape = gm_types_intern(&engine.types, procedure ? &by_hand : &t, 0);
    CHECK(s->shape);
    return s;
}

TEST(pieces_of_large_objects) {
    NEED_KERNEL();
    struct gm_span *s = black_span(GM_SCAN, 0, 5 * GM_PIECE);
    struct gm_span *t = black_typed(5 * GM_PIECE, false);
    struct gm_span *whole = black_typed(5 * GM_PIECE, true); // its procedure sees all of it
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    *byte_of(s, 3 * GM_PIECE + 5) = *byte_of(t, 3 * GM_PIECE + 5) = 1;
    *byte_of(whole, 3 * GM_PIECE + 5) = 1;
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 3);
    CHECK_EQ(gm_span_colors(&engine.heap.pages, s->page)->grey, 1u << 3);
    CHECK_EQ(gm_span_colors(&engine.heap.pages, t->page)->grey, 1u << 3);
    CHECK_EQ(gm_span_colors(&engine.heap.pages, whole->page)->grey, 1u);
    CHECK_EQ(queued_spans(), 3);
}

TEST(cleared_pages_count_as_written) {
    NEED_KERNEL();
    struct gm_span *s = black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    uintptr_t start = gm_span_start(&engine.heap.pages, s);
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    gm_writes_clear_ahead(writes, &engine.heap.pages, start, start + 1, true);
    CHECK_EQ(gm_writes_collect(writes, &engine.mark),
             s->pages * GM_PAGE / engine.heap.pages.os_page); // the others are not there (W7)
    CHECK_EQ(grey_slots(s), s->count);
    gm_writes_clear_ahead(writes, &engine.heap.pages, start, start + 1, true); // closed by collect
    CHECK(collect_stopped() != 0);
    CHECK_EQ(queued_spans(), 1);
}

// W7: a large object of which two pages were written, and one is written while it is marked.
TEST(what_is_not_there_is_not_read) {
    NEED_KERNEL();
    enum { FAR = 16 * GM_PIECE };
    size_t page = engine.heap.pages.os_page;
    struct gm_span *s = gm_heap_take(&engine.heap, GM_SCAN, 0, 8 * FAR, 0);
    REQUIRE(s != NULL && s->clean && gm_mark_init_marker(&marker, &engine.meta));
    gm_span_colors(&engine.heap.pages, s->page)->alloc = 1;
    gm_span_colors(&engine.heap.pages, s->page)->mark = 1;
    gm_heap_publish(&engine.heap, s);
    uintptr_t start = gm_span_start(&engine.heap.pages, s);
    *byte_of(s, 2 * FAR) = *byte_of(s, 4 * FAR - 1) = 1;
    (void)*byte_of(s, 6 * FAR); // the page of zeroes
    gm_mark_begin(&marker, &engine.mark, true);
    CHECK_EQ(gm_writes_there(&marker, start, start + 8 * FAR), 2);
    const struct gm_written *list = (const void *)marker.buffer;
    CHECK(list[0].start == start + 2 * FAR && list[1].end == start + 4 * FAR);
    CHECK(list[0].end - list[0].start == page && list[1].end - list[1].start == page);
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 0);
    CHECK_EQ(collect_stopped(), 0);
    *byte_of(s, 6 * FAR) = *byte_of(s, 7 * FAR) = 1;
    CHECK_EQ(collect_stopped(), 2);
    CHECK_EQ(gm_span_colors(&engine.heap.pages, s->page)[0].grey, 0);
    CHECK_EQ(gm_span_colors(&engine.heap.pages, s->page)[1].grey, (uint64_t)0x10001 << 32);
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 2);
    CHECK_EQ(collect_stopped(), 0); // they are armed
    CHECK_EQ(gm_writes_there(&marker, start, start + 8 * FAR), 4);
    writes->process++; // a child's: nothing is known
    CHECK_EQ(gm_writes_there(&marker, start, start + 8 * FAR), -1);
    writes->process--;
    CHECK_EQ(queued_spans(), 1);
}

TEST(what_fails_counts_as_written) { // W3, W5
    NEED_KERNEL();
    struct gm_span *s = black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    fail_ioctl = 1;
    CHECK(gm_writes_collect(writes, &engine.mark) != 0);
    CHECK_EQ(grey_slots(s), s->count);
    CHECK(writes->failed);
    (void)queued_spans();
    struct gm_file before = writes->pagemap;
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL) && !writes->failed);
    CHECK(memcmp(&before, &writes->pagemap, sizeof before) != 0); // set up anew
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 0);
    writes->process++; // a child's
    CHECK(gm_writes_collect(writes, &engine.mark) != 0);
    CHECK_EQ(grey_slots(s), s->count);
    (void)queued_spans();
    CHECK(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL)); // opened again
    (void)close(writes->uffd.fd);                                 // by the program: closefrom
    CHECK(collect_stopped() != 0);
    CHECK_EQ(grey_slots(s), s->count);
}

// Pages that left zone 0 and came again are not registered.
TEST(a_zone_that_shrank_counts_as_written) { // W2
    NEED_KERNEL();
    struct gm_span *s = black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 0);
    engine.heap.pages.unmapped++;
    CHECK(gm_writes_collect(writes, &engine.mark) != 0);
    CHECK_EQ(grey_slots(s), s->count);
    (void)queued_spans();
    CHECK(collect_stopped() != SIZE_MAX);
    CHECK_EQ(grey_slots(s), s->count);
    (void)queued_spans();
    REQUIRE(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL)); // registers anew
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 0);
}

// The program closes one of the descriptors and opens the same kind of file, which gets its number:
// everything counts as written, and what the program opened stays as it is.
static void lose(struct gm_file *file, int other) {
    struct gm_span *s = black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    REQUIRE(other >= 0 && gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    int number = file->fd;
    REQUIRE(dup2(other, number) == number);
    CHECK(!gm_os_is_own(file));
    if (file == &writes->pagemap) {
        CHECK(gm_writes_collect(writes, &engine.mark) != 0);
        CHECK_EQ(grey_slots(s), s->count);
    } else {
        CHECK(!gm_os_track_clear(file, engine.heap.pages.base, engine.heap.pages.base + GM_PAGE));
    }
    (void)queued_spans();
    gm_writes_close(writes);
    CHECK(fcntl(number, F_GETFD) >= 0); // the program's
    CHECK(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    CHECK(writes->uffd.fd != number && writes->pagemap.fd != number);
    CHECK_EQ(gm_writes_collect(writes, &engine.mark), 0);
    (void)close(number);
    (void)close(other);
}

TEST(the_number_of_the_pagemap_is_taken) { // W6
    NEED_KERNEL();
    lose(&writes->pagemap, open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC));
    lose(&writes->pagemap, open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
}

TEST(the_number_that_tracks_is_taken) { // W6
    NEED_KERNEL();
    lose(&writes->uffd, (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | GM_UFFD_USER_MODE));
    lose(&writes->uffd, open("/dev/null", O_RDONLY | O_CLOEXEC));
}

// The first object of all is counted before it is taken, and its bytes may ask for a cycle.
TEST(a_heap_without_pages_is_tracked) {
    NEED_KERNEL();
    CHECK_EQ(engine.heap.pages.zone[0].mapped, 0);
    engine.heap.pages.sparse = true; // nothing beyond the pages is mapped
    CHECK(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    CHECK_EQ(writes->reason, GOMEM_REASON_NONE);
    engine.heap.pages.sparse = false;
    (void)black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    CHECK(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
    CHECK(writes->registered > gm_pages_scanned(&engine.heap.pages));
}

// The program closes a descriptor between two calls of a cycle that begins: no memory is missing,
// and the next cycle tracks.
TEST(closed_while_a_cycle_begins) { // W6
    NEED_KERNEL();
    (void)black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    for (int n = 1; n <= 2; n++) {
        gm_writes_close(writes);
        REQUIRE(gm_writes_open_files(writes));
        lose_ioctl = n; // 1: the call that registers, 2: the first that lists
        CHECK(!gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
        CHECK_EQ(lose_ioctl, 0);
        CHECK_EQ(writes->reason, GOMEM_REASON_CLOSED);
        CHECK(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
        CHECK_EQ(writes->reason, GOMEM_REASON_NONE);
    }
}

// Where the program keeps its own words: one object is reached from each page.
enum { ROOT_PAGES = 64 };
static void **root_words;
static struct gm_span *reached;

static bool begin_root(int flags, int fd) {
    size_t page = gm_os_page_size();
    root_words = mmap(NULL, ROOT_PAGES * page, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (!begin_tracked() || !writes->can_roots || root_words == MAP_FAILED) return false;
    reached = black_span(GM_SCAN, gm_sizes_class(64, 16), 0);
    for (unsigned i = 0; i < reached->pages * 8; i++) // white again
        gm_span_colors(&engine.heap.pages, reached->page)[i].mark = 0;
    return true;
}

// The i-th object is put into the i-th page.
static void put_into_page(unsigned i) {
    size_t words = engine.heap.pages.os_page / sizeof *root_words;
    root_words[i * words + i] = (void *)(uintptr_t)byte_of(reached, (size_t)i * 64);
}

static void arm_root(bool own) {
    uintptr_t start = (uintptr_t)root_words;
    gm_writes_arm_root(writes, &engine.meta, engine.heap.pages.os_page, start + 8,
                       start + ROOT_PAGES * engine.heap.pages.os_page - 8, own);
}

// What a finish stop reads of the root; returns the objects it marks, as bits.
static uint64_t marked_by_root(void) {
    size_t page = engine.heap.pages.os_page;
    uintptr_t start = (uintptr_t)root_words, end = start + ROOT_PAGES * page, from, to;
    uint64_t marks = 0;
    if (!CHECK(gm_mark_init_marker(&marker, &engine.meta))) return ~marks;
    gm_mark_begin(&marker, &engine.mark, true);
    engine.mark.njobs = engine.mark.next_job = 0;
    if (!gm_writes_armed_root(writes, page, start + 8, end - 8, &from, &to)) return ~marks;
    CHECK(from == start + page && to == end - page); // edges are read whole
    CHECK(gm_writes_list_root(&engine.mark, from, to, 0));
    while (gm_mark_next_job(&marker)) {}
    for (unsigned i = 0; i < 64; i++) {
        struct gm_color *c = gm_span_color(&engine.heap.pages,
                                           (uintptr_t)byte_of(reached, i * 64u));
        uint64_t bit = gm_span_bit(&engine.heap.pages, (uintptr_t)byte_of(reached, i * 64u));
        marks |= (uint64_t) !!(c->mark & bit) << i;
        c->mark &= ~bit;
    }
    (void)queued_spans();
    return marks;
}

TEST(pages_of_roots) {
    NEED_KERNEL();
    if (!begin_root(MAP_PRIVATE | MAP_ANONYMOUS, -1)) SKIP("roots are not tracked");
    put_into_page(3); // before it is armed: the start stop reads it
    arm_root(false);
    CHECK_EQ(writes->roots, 1);
    CHECK_EQ(marked_by_root(), 0);
    put_into_page(5);
    put_into_page(50);
    CHECK_EQ(marked_by_root(), (uint64_t)1 << 5 | (uint64_t)1 << 50);
    CHECK_EQ(marked_by_root(), (uint64_t)1 << 5 | (uint64_t)1 << 50); // W4
    CHECK_EQ(gm_writes_collect_roots(writes, &engine.mark), 2);
    CHECK_EQ(engine.mark.njobs, 2);
    CHECK_EQ(marked_by_root(), 0);
    put_into_page(7);
    engine.mark.room = 0; // no room for its page: it is read whole from here on
    (void)gm_writes_collect_roots(writes, &engine.mark);
    engine.mark.room = 16;
    CHECK_EQ(writes->roots, 0);
    CHECK_EQ(marked_by_root(), ~(uint64_t)0);
    munmap(root_words, ROOT_PAGES * engine.heap.pages.os_page);
}

// Of an armed stack the finish stop reads only written pages where the start stop has read it.
TEST(stacks_are_read_before_their_pages_are) {
    struct gm_written *list = writes->root,
                      mine[2] = {{0x10000, 0x50000, GM_ROOT_BOTH}, {0x80000, 0x90000, 0}};
    uintptr_t at = 0, to = 0;
    writes->root = mine;
    writes->roots = 2;
    writes->process = (uint32_t)getpid();
    CHECK(!gm_writes_armed_stack(writes, 0x1000, 0x20000, 0x50010, &at, &to));
    gm_writes_read_stack(writes, 0x1000, 0x30008, 0x50010);
    CHECK(gm_writes_armed_stack(writes, 0x1000, 0x20000, 0x50010, &at, &to));
    CHECK(at == 0x31000 && to == 0x50000); // what lies below is read as a whole
    CHECK(gm_writes_armed_stack(writes, 0x1000, 0x40008, 0x50010, &at, &to));
    CHECK(at == 0x41000 && to == 0x50000);
    CHECK(!gm_writes_armed_stack(writes, 0x1000, 0x50000, 0x50010, &at, &to)); // it has returned
    gm_writes_read_stack(writes, 0x1000, 0x80000, 0x90000);                    // no stack
    CHECK(!gm_writes_armed_stack(writes, 0x1000, 0x80000, 0x90000, &at, &to));
    writes->root = list;
    gm_writes_forget_roots(writes);
}

TEST(roots_whose_tracking_is_lost_are_read_whole) {
    NEED_KERNEL();
    if (!begin_root(MAP_PRIVATE | MAP_ANONYMOUS, -1)) SKIP("roots are not tracked");
    size_t page = engine.heap.pages.os_page;
    arm_root(false);
    put_into_page(9);
    CHECK(mmap((char *)root_words + 20 * page, page, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED); // another one
    put_into_page(20);
    CHECK_EQ(marked_by_root(), (uint64_t)1 << 9 | (uint64_t)1 << 20);
    (void)gm_writes_collect_roots(writes, &engine.mark);
    CHECK_EQ(writes->roots, 0);
    arm_root(false); // registered anew
    CHECK_EQ(writes->roots, 1);
    CHECK_EQ(marked_by_root(), 0);
    writes->process++; // a child's
    CHECK_EQ(marked_by_root(), ~(uint64_t)0);
    (void)gm_writes_collect_roots(writes, &engine.mark);
    CHECK_EQ(writes->roots, 0);
    writes->process--;
    munmap(root_words, ROOT_PAGES * page);
}

// Of several roots only the one whose tracking is lost is read whole from then on.
TEST(neighbours_of_a_lost_root_stay_tracked) {
    NEED_KERNEL();
    if (!begin_root(MAP_PRIVATE | MAP_ANONYMOUS, -1)) SKIP("roots are not tracked");
    size_t page = engine.heap.pages.os_page, third = 20 * page;
    uintptr_t start = (uintptr_t)root_words;
    for (unsigned i = 0; i < 3; i++)
        gm_writes_arm_root(writes, &engine.meta, page, start + i * third, start + (i + 1) * third,
                           false);
    CHECK_EQ(writes->roots, 3);
    CHECK(mmap((char *)root_words + 5 * page, page, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
    (void)gm_writes_collect_roots(writes, &engine.mark);
    uintptr_t from, to;
    CHECK_EQ(writes->roots, 2);
    for (unsigned i = 0; i < 3; i++)
        CHECK_EQ(gm_writes_armed_root(writes, page, start + i * third, start + (i + 1) * third,
                                      &from, &to),
                 i > 0);
    munmap(root_words, ROOT_PAGES * page);
}

TEST(memory_with_two_mappings_is_not_tracked) {
    NEED_KERNEL();
    size_t page = gm_os_page_size();
    int fd = memfd_create("twice", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && !ftruncate(fd, (off_t)(ROOT_PAGES * page)));
    if (!begin_root(MAP_SHARED, fd)) SKIP("roots are not tracked");
    arm_root(false);
    CHECK_EQ(writes->roots, 0);
    munmap(root_words, ROOT_PAGES * page);
    if (!begin_root(MAP_PRIVATE, fd)) SKIP("roots are not tracked");
    arm_root(false); // as the program's data
    CHECK_EQ(writes->roots, 1);
    put_into_page(1);
    CHECK_EQ(marked_by_root(), 2);
    CHECK(gm_os_is_private((uintptr_t)root_words, (uintptr_t)root_words + page));
    munmap(root_words, ROOT_PAGES * page);
    CHECK(!gm_os_is_private((uintptr_t)root_words, (uintptr_t)root_words + page)); // not mapped
    close(fd);
}

// A kernel that refuses, or differs in one fact.
TEST(refused) {
    NEED_KERNEL();
    for (int n = 1; n <= 22; n++) {
        fail_ioctl = n;
        CHECK(begin(GOMEM_GC_AUTO) && !fail_ioctl);
        CHECK_EQ(writes->collector, GOMEM_GC_TRACKED); // it failed once: tried again
        fail_for_good = 1;
        fail_ioctl = n;
        CHECK(begin(GOMEM_GC_AUTO));
        bool tracked = writes->collector == GOMEM_GC_TRACKED;
        CHECK_EQ(tracked, fail_ioctl != 0); // the call came, and its failure was seen
        failing = 0;
        fail_ioctl = 1;
        CHECK(!begin(GOMEM_GC_TRACKED) && writes->collector == GOMEM_GC_STW);
        fail_for_good = failing = 0;
        fail_ioctl = 0;
    }
    int without = 0;
    for (int n = 23; n <= 30; n++) { // what only roots need is among them
        fail_ioctl = n;
        CHECK(begin(GOMEM_GC_AUTO) && !fail_ioctl);
        without += writes->collector == GOMEM_GC_TRACKED && !writes->can_roots;
    }
    CHECK(without >= 4);
    REQUIRE(begin_tracked() && writes->can_roots);
    fail_ioctl = 1;
    CHECK(!gm_writes_arm(writes, &engine.heap.pages, NULL, NULL)); // this cycle stops the world
    CHECK_EQ(writes->reason, GOMEM_REASON_MEMORY);
    fail_ioctl = 0;
    CHECK(gm_writes_arm(writes, &engine.heap.pages, NULL, NULL));
}

// ---- why it does not track ----

// What is said where a call fails with an error, under a filter or not, on some kernel.
static unsigned reason_of(long call, int error, int under, const char *kernel) {
    failing_call = call, call_error = error, filter = under, release = kernel, faked = true;
    unsigned reason = gm_writes_diagnose(GOMEM_REASON_NONE);
    failing_call = 0, faked = false;
    return reason;
}

TEST(old_kernels_are_told_from_filters) {
    NEED_KERNEL();
    const long call = SYS_userfaultfd;
    enum { NONE, FILTER = 2 };
    CHECK_EQ(reason_of(0, 0, NONE, "6.7.0"), GOMEM_REASON_NONE);
    CHECK_EQ(reason_of(call, ENOSYS, NONE, "4.2.8"), GOMEM_REASON_KERNEL);
    CHECK_EQ(reason_of(call, ENOSYS, NONE, "6.12.1"), GOMEM_REASON_KERNEL); // built without it
    CHECK_EQ(reason_of(call, ENOSYS, -EINVAL, "6.12.1"), GOMEM_REASON_KERNEL);
    CHECK_EQ(reason_of(call, ENOSYS, FILTER, "4.2.8"), GOMEM_REASON_KERNEL);
    CHECK_EQ(reason_of(call, ENOSYS, FILTER, "6.6.130-1.el9"), GOMEM_REASON_KERNEL);
    CHECK_EQ(reason_of(call, ENOSYS, FILTER, "6.7-rc1"), GOMEM_REASON_USERFAULTFD);
    CHECK_EQ(reason_of(call, ENOSYS, FILTER, "6.10.0"), GOMEM_REASON_USERFAULTFD);
    CHECK_EQ(reason_of(call, ENOSYS, FILTER, "7.0.1"), GOMEM_REASON_USERFAULTFD);
    CHECK_EQ(reason_of(call, ENOSYS, FILTER, NULL), GOMEM_REASON_USERFAULTFD);
    CHECK_EQ(reason_of(call, ENOSYS, -EPERM, "6.12.1"), GOMEM_REASON_USERFAULTFD);
    CHECK_EQ(reason_of(call, EPERM, FILTER, "6.12.1"), GOMEM_REASON_USERFAULTFD);
    CHECK_EQ(reason_of(call, EACCES, NONE, "6.12.1"), GOMEM_REASON_USERFAULTFD);
    CHECK_EQ(reason_of(call, EINVAL, FILTER, "5.10.0"), GOMEM_REASON_KERNEL); // an unknown flag
    CHECK_EQ(reason_of(call, EMFILE, FILTER, "6.12.1"), GOMEM_REASON_DESCRIPTORS);
    CHECK_EQ(reason_of(call, ENOMEM, FILTER, "6.12.1"), GOMEM_REASON_MEMORY);
}

TEST(a_pagemap_that_is_missing) {
    NEED_KERNEL();
    enum { NONE };
    CHECK_EQ(reason_of(SYS_openat, ENOENT, NONE, "6.12.1"), GOMEM_REASON_PROC);
    CHECK_EQ(reason_of(SYS_openat, EPERM, NONE, "6.12.1"), GOMEM_REASON_PROC);
    CHECK_EQ(reason_of(SYS_openat, EACCES, NONE, "6.12.1"), GOMEM_REASON_SETUID);
    CHECK_EQ(reason_of(SYS_openat, ENFILE, NONE, "6.12.1"), GOMEM_REASON_DESCRIPTORS);
}

TEST_MAIN
