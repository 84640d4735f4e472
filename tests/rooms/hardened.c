// Room guard with GOMEM_HARDENED: what the checks of manual objects find, and that they find nothing
// in a program without bugs. At check level 0, whose quick paths a hardened heap has of its own.
#undef GOMEM_CHECK
#define GOMEM_CHECK    0
#define GOMEM_HARDENED 1
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool no_marks;                   // the kernel does not know guard pages
static int refuse(void *, size_t, int); // madvise
static long call(long number, ...);     // syscall
#define GOMEM_MADVISE(at, size, advice) refuse((at), (size), (advice))
#define GOMEM_SYSCALL(...)              call(__VA_ARGS__)
#include "child.h"
#include "room.h"

#include <pthread.h>

static bool no_entropy; // getrandom is refused

static int refuse(void *at, size_t size, int advice) {
    if (no_marks && (advice == 102 || advice == 103)) return errno = EINVAL, -1;
    return madvise(at, size, advice);
}
static long call(long number, ...) {
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (no_entropy && number == SYS_getrandom) return errno = ENOSYS, -1;
    return syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// The compiler does not see what becomes of p.
static void *hide(void *p) {
    void *volatile hidden = p;
    return hidden;
}
static void drop(void *p) { gomem_free(hide(p)); }

// The program's panic hook: keeps the line and goes on.
static char said[700];
static int reports;
static void note(const char *line, void *user) {
    (void)user;
    snprintf(said, sizeof said, "%s", line);
    reports++;
}
static bool begin(void) {
    gomem_options o = {.panic = note};
    reports = 0;
    return CHECK(gomem_init(&o));
}

// One report came since the last call; it says `what`, and names an address.
static bool told(const char *what, const void *at) {
    char address[40];
    snprintf(address, sizeof address, "0x%jx ", (uintmax_t)(uintptr_t)at);
    bool good = reports == 1 && strstr(said, what) && strstr(said, address);
    if (!good) printf("\n    %d reports, %s %s: %s", reports, what, address, said);
    reports = 0;
    return good;
}

static const size_t sizes[] = {1, 7, 8, 9, 16, 20, 24, 25, 100, 1000, 5000, 32760, 32761, 100000};
enum { SIZES = sizeof sizes / sizeof *sizes };

TEST(sizes_are_those_requested) {
    REQUIRE(begin());
    for (unsigned i = 0; i < SIZES; i++) {
        char *p = gomem_malloc(sizes[i]);
        CHECK_EQ(gomem_usable_size(p), sizes[i]);
        CHECK((uintptr_t)p % (sizes[i] > 8 ? 16 : 8) == 0);
        memset(p, 0xff, sizes[i]);
        p = gomem_realloc(p, sizes[i] + 1);
        CHECK_EQ(gomem_usable_size(p), sizes[i] + 1);
        CHECK_EQ(p[sizes[i] - 1], (char)0xff);
        p[sizes[i]] = 1;
        p = gomem_realloc(p, sizes[i]);
        drop(p);
        for (size_t align = 16; align <= 65536; align *= 16) {
            p = gomem_aligned_alloc(align, sizes[i]);
            CHECK(p && (uintptr_t)p % align == 0);
            memset(p, 0, sizes[i]);
            drop(p);
        }
        p = gomem_calloc(1, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++) CHECK(!p[k]);
        drop(p);
    }
    void *empty = gomem_malloc(0);
    CHECK(empty && empty != gomem_malloc(0));
    drop(empty);
    CHECK_EQ(reports, 0);
    CHECK(HEAP_IS_WHOLE());
}

// (2) Up to 8 bytes past the end of an object of any size, whatever is written.
TEST(overflows_are_found_by_free) {
    REQUIRE(begin());
    for (unsigned i = 0; i < SIZES; i++)
        for (size_t past = 0; past < 8; past++)
            for (unsigned flip = 1; flip < 256; flip += 127) {
                char *p = gomem_malloc(sizes[i]);
                for (size_t k = 0; k <= past; k++) p[sizes[i] + k] ^= (char)flip;
                drop(p);
                CHECK(reports == 1 && strstr(said, "buffer overflow: "));
                reports = 0;
            }
    gomem_shutdown();
}

// A string of 24 bytes and its NUL: the seal's lowest byte is never 0.
TEST(a_nul_too_many) {
    REQUIRE(begin());
    for (int i = 0; i < 1000; i++) {
        char *p = gomem_malloc(24);
        p[24] = 0;
        drop(p);
        if (!CHECK(told("buffer overflow", p + 24))) break;
    }
    gomem_shutdown();
}

TEST(overflows_are_found_by_realloc) {
    REQUIRE(begin());
    char *p = gomem_malloc(40);
    p[40]++;
    CHECK(gomem_realloc(p, 41) == NULL && errno == EINVAL);
    CHECK(told("buffer overflow", p + 40));
    gomem_shutdown();
}

// What was written before an object is found when it is freed, whatever lies there.
TEST(underflows) {
    REQUIRE(begin());
    int found = 0, all = 0;
    for (int i = 0; i < 500; i++) {
        char *p = gomem_malloc(40);
        if (gm_span_index(&gm_runtime.engine.heap.pages,
                          gm_span_find(&gm_runtime.engine.heap.pages, (uintptr_t)p),
                          (uintptr_t)p) == 0)
            continue;
        reports = 0;
        all++;
        p[-1] ^= 0x55;
        p[-2] ^= 0x55;
        drop(p);
        found += reports == 1 && strstr(said, "buffer underflow") != NULL;
        p[-1] ^= 0x55;
        p[-2] ^= 0x55;
    }
    CHECK_EQ(found, all);
    gomem_shutdown();
}

// (3) Each byte of a freed object, up to the seal, until its slot is used again; it is not.
TEST(writes_to_freed_objects) {
    REQUIRE(begin());
    enum { BYTES = 40 };
    for (size_t at = 0; at < BYTES + 8; at++) {
        char *p = gomem_malloc(BYTES);
        drop(p);
        p[at] ^= 0x11;
        for (int i = 0; i < 5000 && !reports; i++) CHECK(gomem_malloc(BYTES) != p);
        CHECK(at < BYTES ? told("use after free", p + at) : reports == 1);
        reports = 0;
        p[at] ^= 0x11; // its neighbors are freed later
    }
    for (unsigned i = 0; i < SIZES && sizes[i] < 32761; i++) { // the last byte of each size
        char *p = gomem_malloc(sizes[i]);
        drop(p);
        p[sizes[i] - 1] ^= 0x11;
        for (int k = 0; k < 5000 && !reports; k++) CHECK(gomem_malloc(sizes[i]) != p);
        CHECK(told("use after free", p + sizes[i] - 1));
    }
    gomem_shutdown();
}

// (4) At once, however many objects were freed in between.
TEST(double_frees) {
    REQUIRE(begin());
    enum { MANY = 3000 };
    static void *p[MANY];
    static const int between[] = {0, 1, 3, 10, 100, MANY - 1};
    for (unsigned k = 0; k < sizeof between / sizeof *between; k++) {
        for (int i = 0; i < MANY; i++) p[i] = gomem_malloc(64);
        for (int i = 0; i <= between[k]; i++) drop(p[i]);
        CHECK_EQ(reports, 0);
        drop(p[0]);
        CHECK(told("double free", p[0]));
        CHECK(gomem_realloc(hide(p[0]), 60) == NULL);
        CHECK(told("double free", p[0]));
        gomem_free_sized(p[0], 64);
        CHECK(told("double free", p[0]));
        for (int i = between[k] + 1; i < MANY; i++) drop(p[i]);
    }
    CHECK(HEAP_IS_WHOLE());
    gomem_shutdown();
}

// The inlined pair obeys, and so do interior pointers.
TEST(inlined_calls) {
    REQUIRE(begin());
    struct pair {
        void *a, *b;
    } *p = GOMEM_MALLOC(struct pair);
    ((char *)p)[16]++;
    GOMEM_FREE(struct pair, p);
    CHECK(told("buffer overflow", (char *)p + 16));
    p = GOMEM_MALLOC(struct pair);
    GOMEM_FREE(struct pair, hide((char *)p + 8));
    CHECK(told("interior", (char *)p + 8));
    gomem_shutdown();
}

// (1) Neighbors in time are seldom neighbors in memory, and the slot freed last seldom comes first.
TEST(slots_in_random_order) {
    REQUIRE(begin());
    enum { N = 1000, SIZE = 40 };
    static char *p[N];
    int next = 0, again = 0;
    for (int i = 0; i < N; i++) p[i] = gomem_malloc(SIZE);
    for (int i = 1; i < N; i++) next += p[i] == p[i - 1] + 48 || p[i] == p[i - 1] - 48;
    CHECK(next < N / 10); // about 12
    for (int i = 0; i < N - 1; i++) drop(p[i]);
    for (int i = 0; i < N; i++) {
        drop(p[N - 1]);
        void *q = gomem_malloc(SIZE);
        again += q == p[N - 1];
        p[N - 1] = q;
    }
    CHECK(again < N / 4); // one in as many as a magazine holds
    gomem_shutdown();
}

// Where objects lie in their spans, beyond those that the parent has in its caches.
static uint64_t places(void) {
    uint64_t hash = 0;
    for (int i = 0; i < 500; i++) hash = hash * 31 + (uintptr_t)gomem_malloc(40) % GM_PAGE;
    return hash;
}
static int ends[2];
static void tell_places(void) {
    uint64_t hash = places();
    CHECK(write(ends[1], &hash, sizeof hash) == sizeof hash);
}
static bool seeds_differ(void) {
    uint64_t a[2] = {0, 0};
    if (!CHECK(pipe(ends) == 0)) return false;
    for (int i = 0; i < 2; i++) {
        struct child child;
        child_run(&child, tell_places);
        child_good(&child);
        CHECK(read(ends[0], &a[i], sizeof a[i]) == sizeof a[i]);
    }
    return a[0] != a[1] && a[0] && a[1];
}
TEST(each_process_has_its_own_order) {
    REQUIRE(begin());
    drop(gomem_malloc(40)); // the parent's generator has its seed
    CHECK(seeds_differ());
    no_entropy = true; // then the process's start and the time serve
    CHECK(seeds_differ());
    no_entropy = false;
    gomem_shutdown();
}

// (5) The pages around a large object fault; a hook that returns lets the program go on.
static void touch_around(void) {
    if (!begin()) return;
    volatile char *p = gomem_malloc(100000);
    size_t all = ((size_t)100000 + 8 + GM_PAGE - 1) / GM_PAGE * GM_PAGE;
    p[all] = 1;
    CHECK(told("buffer overflow: write of", (char *)(uintptr_t)p + all));
    p[all + 1] = 1; // the page is open
    CHECK_EQ(reports, 0);
    CHECK_EQ(p[-1], 0);
    CHECK(told("buffer underflow: ", (char *)(uintptr_t)p - 1));
    drop((void *)(uintptr_t)p);
    for (int i = 0; i < 100; i++) { // pages come back as they were
        void *q = gomem_malloc((size_t)50000 + 3000 * (size_t)i);
        memset(q, 1, (size_t)50000 + 3000 * (size_t)i);
        drop(q);
    }
    CHECK_EQ(reports, 0);
    CHECK(HEAP_IS_WHOLE());
    CHECK_EQ(gm_load_rlx(&gm_runtime.engine.heap.guarded), 0);
}
TEST(pages_around_large_objects) {
    CHILD_GOOD(touch_around);
    no_marks = true; // by access rights then
    CHILD_GOOD(touch_around);
    no_marks = false;
}

static unsigned guarded, spans; // manual spans of 100 bytes
static bool count_guarded(struct gm_span *s, void *arg) {
    (void)arg;
    if (s->kind != GM_MANUAL || s->class != gm_sizes_class(108, 16)) return true;
    spans++;
    guarded += (gm_span_guards(s) & GM_GUARD_AFTER) != 0;
    return true;
}

// A large object is freed or moved: its pages count, and none is left protected.
TEST(guards_come_and_go) {
    REQUIRE(begin());
    struct gm_pages *pages = &gm_runtime.engine.heap.pages;
    drop(gomem_malloc(40000));
    size_t used = pages->used;
    char *p = gomem_malloc(40000);
    CHECK_EQ(pages->used - used, 5 + 2);
    p = gomem_realloc(p, 400000);
    CHECK_EQ(pages->used - used, 49 + 2);
    p = gomem_realloc(p, 50000);
    CHECK_EQ(pages->used - used, 7 + 2);
    drop(p);
    CHECK_EQ(pages->used, used);
    guarded = spans = 0;
    for (int i = 0; i < 40000; i++) CHECK(gomem_malloc(100) != NULL);
    gm_heap_walk(&gm_runtime.engine.heap, count_guarded, NULL);
    CHECK(spans > 100 && guarded >= spans / 8 - 1 && guarded <= spans / 8 + 1);
    CHECK(HEAP_IS_WHOLE());
    gomem_shutdown();
}

// Threads that free each other's objects, in the same spans, see no bug where there is none.
enum { PLACES = 512 };
static void *place[PLACES];
static void *trade(void *seed) {
    uint64_t x = (uintptr_t)seed * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < 40000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        size_t size = x % 97;
        unsigned char *p = gomem_malloc(size);
        if (size) memset(p, (int)size, size);
        p = __atomic_exchange_n(&place[(x >> 20) % PLACES], (void *)p, __ATOMIC_ACQ_REL);
        size_t n = gomem_usable_size(p);
        for (size_t k = 0; k < n; k++)
            if (!CHECK(p[k] == n)) return NULL;
        if (x >> 40 & 1) drop(p);
        else drop(gomem_realloc(p, n + 5));
    }
    return NULL;
}
TEST(threads_trade_objects) {
    REQUIRE(begin());
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++) REQUIRE(pthread_create(&t[i], NULL, trade, (void *)i) == 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    for (int i = 0; i < PLACES; i++) drop(place[i]);
    CHECK_EQ(reports, 0);
    CHECK(HEAP_IS_WHOLE());
    gomem_shutdown();
}

// With a profile and with guarded objects, whose shadows are sealed, too.
static void sampled(void) {
    gomem_options o = {.panic = note, .guard_rate = 3};
    if (!CHECK(gomem_init(&o))) return;
    gomem_set_profile_rate(100);
    for (int round = 0; round < 20; round++) {
        void *p[300];
        for (int i = 0; i < 300; i++) p[i] = memset(gomem_malloc((size_t)i), 3, (size_t)i);
        for (int i = 0; i < 300; i++) p[i] = gomem_realloc(p[i], (size_t)(300 - i));
        for (int i = 0; i < 300; i++) drop(p[i]);
    }
    CHECK_EQ(reports, 0);
    CHECK(HEAP_IS_WHOLE());
}
TEST(samples) { CHILD_GOOD(sampled); }

TEST_MAIN
