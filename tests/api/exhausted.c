// The end of memory: an emergency collection before NULL, NULL with ENOMEM, and life after it.
// The parent never uses the heap, so each child starts under its own limit.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

enum { MB = 1 << 20, LIMIT = 300 * MB };

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

static bool limit_address_space(size_t bytes) {
    struct rlimit limit = {bytes, bytes};
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

// Garbage only, the collector off: an emergency collection comes before NULL, every time.
static void live_in_little_space(void) {
    CHECK(limit_address_space(LIMIT));
    gomem_set_gc_percent(GOMEM_GC_OFF);
    for (size_t i = 0; i < 40000 && test_failed() == 0; i++) {
        char *p = i % 50 == 0 ? gomem_new(3 * MB) : gomem_new(i % 40000 + 1);
        CHECK(p != NULL);
        if (p != NULL) p[0] = 1;
    }
    CHECK(stats().num_gc > 0);
    CHECK(HEAP_IS_WHOLE());
}

// Fills all there is with a list, checks it, and lets it go.
ALIVE_NOINLINE static void fill_and_drop(void) {
    struct alive_node *head = NULL;
    size_t length = 0;
    for (;;) {
        size_t size = sizeof *head + length % 7 * 3000;
        struct alive_node *node = gomem_new(size);
        if (node == NULL) break;
        node->next = head;
        node->index = length++;
        head = node;
    }
    CHECK_EQ(errno, ENOMEM);
    CHECK(length > 1000);
    CHECK(HEAP_IS_WHOLE());
    size_t expected = length;
    for (struct alive_node *node = head; node != NULL; node = node->next)
        if (!CHECK(node->index == --expected)) return;
}

// Live data up to the end: NULL and ENOMEM; afterwards everything still works.
static void come_to_the_end(void) {
    CHECK(limit_address_space(LIMIT));
    for (int round = 0; round < 3 && test_failed() == 0; round++) {
        alive_deep(fill_and_drop);
        alive_gc();
        void *p = gomem_new(10 * MB), *q = gomem_malloc(10 * MB);
        for (int tries = 0; tries < 3 && (!p || !q);
             tries++) { // a stale word may have kept the list
            alive_gc();
            if (!p) p = gomem_new(10 * MB);
            if (!q) q = gomem_malloc(10 * MB);
        }
        CHECK(p != NULL && q != NULL);
        gomem_free(q);
    }
}

static void come_to_the_end_of_manual(void) {
    enum { MOST = 100000 };
    static void *blocks[MOST];
    CHECK(limit_address_space(LIMIT));
    for (int round = 0; round < 3 && test_failed() == 0; round++) {
        size_t n = 0;
        errno = 0;
        while (n < MOST && (blocks[n] = gomem_malloc(n % 11 * 4000 + 1)) != NULL) n++;
        CHECK(n < MOST && n > 1000);
        CHECK_EQ(errno, ENOMEM);
        CHECK(HEAP_IS_WHOLE());
        while (n > 0) gomem_free(blocks[--n]);
        void *whole = gomem_malloc(20 * MB);
        CHECK(whole != NULL);
        gomem_free(whole);
    }
}

// The space is full before the heap is first used.
static void start_with_nothing(void) {
    struct rlimit limit = {MB, MB};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    for (int i = 0; i < 3; i++) {
        errno = 0;
        void *p = gomem_malloc(100);
        if (p == NULL) CHECK_EQ(errno, ENOMEM);
        errno = 0;
        void *q = gomem_new(100);
        if (q == NULL) CHECK_EQ(errno, ENOMEM);
        gomem_free(p);
        gomem_free(q);
    }
    errno = 0;
    CHECK(gomem_malloc(100 * MB) == NULL);
    CHECK_EQ(errno, ENOMEM);
}

// The soft limit is lifted again: the next call succeeds.
static void limit_lifted(void) {
    struct rlimit old, none;
    CHECK(getrlimit(RLIMIT_AS, &old) == 0);
    none = old;
    none.rlim_cur = MB;
    CHECK(setrlimit(RLIMIT_AS, &none) == 0);
    void *p = gomem_malloc(100), *q = gomem_new(100);
    CHECK(setrlimit(RLIMIT_AS, &old) == 0);
    gomem_free(p);
    gomem_free(q);
    p = gomem_malloc(100);
    q = gomem_new(100);
    CHECK(p != NULL && q != NULL);
    gomem_free(p);
    alive_gc();
    CHECK(HEAP_IS_WHOLE());
}

static pthread_barrier_t barrier;

static void *fill_until_null(void *arg) {
    void **head = NULL;
    pthread_barrier_wait(&barrier); // all stacks are there before the heap takes what it can
    for (;;) {
        void **next = gomem_new(5000);
        if (next == NULL) break;
        *next = (void *)head;
        head = next;
    }
    CHECK_EQ(errno, ENOMEM);
    return arg;
}

// Several threads reach the end together.
static void threads_come_to_the_end(void) {
    pthread_t threads[3];
#if defined(__GLIBC__)
    mallopt(M_ARENA_MAX, 1); // libc's malloc would take 64 MB of address space for each thread
#endif
    CHECK(limit_address_space(LIMIT));
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 3; i++)
        if (!CHECK(pthread_create(&threads[i], NULL, fill_until_null, NULL) == 0)) return;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    alive_gc();
    CHECK(gomem_new(10 * MB) != NULL);
    CHECK(HEAP_IS_WHOLE());
}

static struct alive_node *all;

// Until NULL; returns how many allocations failed out of 2000.
ALIVE_NOINLINE static unsigned fail_often(void) {
    unsigned failed = 0;
    for (struct alive_node *node; (node = gomem_new(100000)) != NULL; all = node) node->next = all;
    for (int i = 0; i < 2000; i++) failed += gomem_new(100000) == NULL;
    return failed;
}

ALIVE_NOINLINE static void drop_all(void) { all = NULL; }

// A program that goes on without memory does not collect each time; one that lets go of what it has
// finds it at once.
static void fail_without_a_cycle(void) {
    CHECK(limit_address_space(LIMIT));
    for (int round = 0; round < 5 && test_failed() == 0; round++) {
        struct alive_node *node;
        unsigned n = 0;
        for (; (node = gomem_new(100000)) != NULL; all = node) node->next = all, n++;
        CHECK(n > 500);
        alive_deep(drop_all);
        for (unsigned i = 0; i < n / 2; i++) CHECK(gomem_new(100000) != NULL);
    }
    uint64_t before = stats().num_gc;
    CHECK_EQ(fail_often(), 2000);
    uint64_t cycles = stats().num_gc - before;
    CHECK(cycles < 500);
    alive_deep(drop_all);
    alive_gc();
    CHECK(gomem_new(10 * MB) != NULL);
}

#if defined TEST_ASAN || defined TEST_TSAN
#define NEEDS_LIMIT SKIP("sanitizers need more address space than the limit")
#else
#define NEEDS_LIMIT (void)0
#endif

TEST(emergency_collection) {
    NEEDS_LIMIT;
    CHILD_GOOD(live_in_little_space);
}

TEST(failing_is_cheap) {
    NEEDS_LIMIT;
    CHILD_GOOD(fail_without_a_cycle);
}

TEST(end_of_address_space) {
    NEEDS_LIMIT;
    CHILD_GOOD(come_to_the_end);
}

TEST(end_of_address_space_manual) {
    NEEDS_LIMIT;
    CHILD_GOOD(come_to_the_end_of_manual);
}

TEST(no_space_at_the_start) {
    NEEDS_LIMIT;
    CHILD_GOOD(start_with_nothing);
}

TEST(space_comes_back) {
    NEEDS_LIMIT;
    CHILD_GOOD(limit_lifted);
}

TEST(threads_at_the_end) {
    NEEDS_LIMIT;
    CHILD_GOOD(threads_come_to_the_end);
}

TEST_MAIN
