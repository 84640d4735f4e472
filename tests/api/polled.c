// The numbers that programs poll: gomem_heap_size and its kin agree with memstats, under each
// collector. Each test runs in children that have not used gomem before.
#define _GNU_SOURCE
#include "child.h"
#include "gomem.h"

#include <pthread.h>

enum { MB = 1024 * 1024, LATE = 64 * 1024 };

static int collector;

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

static void init(void) {
    gomem_options options = {.collector = collector};
    CHECK(gomem_init(&options));
}

static void under_each_collector(void (*fn)(void)) {
    static const int collectors[] = {GOMEM_GC_AUTO, GOMEM_GC_TRACKED, GOMEM_GC_BARRIER,
                                     GOMEM_GC_STW};
    for (size_t i = 0; i < sizeof collectors / sizeof *collectors; i++) {
        struct child child;
        collector = collectors[i];
        child_run(&child, fn);
        CHECK_EQ(child.status, 0);
        if (child.status) fprintf(stderr, "collector %d: %s\n", collector, child.text);
    }
}

static void all_zero(void) {
    CHECK_EQ(gomem_heap_size(), 0);
    CHECK_EQ(gomem_heap_free(), 0);
    CHECK_EQ(gomem_total_alloc(), 0);
    CHECK_EQ(gomem_num_gc(), 0);
}

static void before_and_after(void) {
    all_zero();
    init();
    CHECK(gomem_new(3 * MB) != NULL);
    CHECK(gomem_heap_size() >= 3 * MB);
    CHECK(gomem_total_alloc() >= 3 * MB);
    gomem_gc();
    CHECK_EQ(gomem_num_gc(), 1);
    gomem_shutdown();
    all_zero();
}

// A cycle that has ended is told once.
static void told_once(void) {
    init();
    gomem_gc_hold();
    CHECK(gomem_new(100) != NULL);
    (void)gomem_gc_work(0);
    CHECK(!gomem_gc_work(0));
    gomem_gc_unhold();
    CHECK(gomem_gc());
    gomem_gc_hold();
    CHECK(gomem_gc_work(0));
    CHECK(!gomem_gc_work(0));
    gomem_gc_unhold();
}

TEST(work_tells_of_a_cycle_once) { under_each_collector(told_once); }

TEST(zero_before_the_first_use_and_after_shutdown) { under_each_collector(before_and_after); }

// With the other threads still, both say the same; nothing that the reading does changes them.
static void check_memstats(void) {
    gomem_memstats m = stats();
    CHECK_EQ(gomem_heap_size(), m.heap_sys - m.heap_released);
    CHECK_EQ(gomem_heap_free(), m.heap_idle - m.heap_released);
    CHECK(gomem_heap_free() <= gomem_heap_size());
}

static void sizes(void) {
    init();
    (void)gomem_gc_hold();
    char *first = gomem_malloc(20 * MB);
    REQUIRE(first != NULL);
    check_memstats();
    size_t size = gomem_heap_size(), unused = gomem_heap_free();
    CHECK(size >= 20 * MB);
    char *second = gomem_malloc(10 * MB);
    REQUIRE(second != NULL);
    check_memstats();
    CHECK(gomem_heap_size() >= size + 9 * MB);
    gomem_free(second); // less than what stays idle: nothing is given back
    check_memstats();
    CHECK(GOMEM_I_POISONED || gomem_heap_free() >= unused + 9 * MB); // or it is kept back
    gomem_free(first);
    gomem_free_os_memory();
    check_memstats();
    CHECK(gomem_heap_size() < 5 * MB);
    CHECK_EQ(gomem_heap_free(), 0);
}

TEST(sizes_are_those_of_memstats) { under_each_collector(sizes); }

static void *volatile kept[4000];

static void collections(void) {
    init();
    CHECK(gomem_new(100) != NULL);
    for (int i = 0; i < 7; i++) {
        uint64_t before = gomem_num_gc();
        gomem_gc();
        CHECK(gomem_num_gc() > before);
        CHECK_EQ(gomem_num_gc(), stats().num_gc);
    }
    uint64_t before = gomem_num_gc();
    for (int i = 0; i < 400000; i++) CHECK(gomem_new(400) != NULL);
    CHECK(gomem_num_gc() > before);
}

TEST(collections_are_counted) { under_each_collector(collections); }

static _Atomic uint64_t allocated; // by a thread that goes on

static void *allocate_steadily(void *arg) {
    for (int i = 0; i < 20000; i++) {
        (void)(i % 2 ? gomem_malloc(48) : gomem_new_noscan(48));
        allocated += 48;
    }
    pthread_barrier_wait(arg);
    pthread_barrier_wait(arg); // it has not handed in the rest
    return NULL;
}

// Of another thread at most 64 KiB are missing.
static void totals_of_others(void) {
    pthread_barrier_t barrier;
    pthread_t thread;
    init();
    REQUIRE(gomem_malloc(1) && pthread_barrier_init(&barrier, NULL, 2) == 0);
    uint64_t before = gomem_total_alloc();
    REQUIRE(pthread_create(&thread, NULL, allocate_steadily, &barrier) == 0);
    for (bool there = false; !there; there = allocated == 20000 * 48) {
        uint64_t least = allocated;
        REQUIRE(gomem_total_alloc() + LATE >= before + least);
    }
    pthread_barrier_wait(&barrier);
    CHECK(gomem_total_alloc() + LATE >= before + allocated);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
    CHECK(gomem_total_alloc() >= before + allocated); // with its end all is there
}

TEST(allocations_of_others_are_counted) { under_each_collector(totals_of_others); }

GOMEM_TYPE_NOPTR(plain_type, long);

// Every door, small and large: what is allocated shows, freed or not.
static void totals(void) {
    init();
    (void)gomem_gc_hold();
    uint64_t last = gomem_total_alloc();
    for (size_t i = 0; i < 4000; i++) {
        size_t size = 16 + i % 40 * 50 + (i % 100 ? 0 : 100000);
        uint64_t before = gomem_total_alloc();
        switch (i % 6) {
        case 0: kept[i] = gomem_malloc(size); break;
        case 1: kept[i] = gomem_new(size); break;
        case 2: kept[i] = gomem_new_noscan(size); break;
        case 3: kept[i] = gomem_new_with(size, 0, GOMEM_UNCOLLECTABLE); break;
        case 4: kept[i] = gomem_new_typed(&plain_type, size / sizeof(long)); break;
        default: kept[i] = gomem_realloc(gomem_malloc(size), size * 2); break;
        }
        REQUIRE(kept[i] != NULL);
        REQUIRE(gomem_total_alloc() >= before);
        if (i % 200) continue;
        REQUIRE(gomem_total_alloc() >= before + 100000); // a large one is counted at once
        REQUIRE(gomem_total_alloc() == stats().total_alloc);
    }
    CHECK(gomem_total_alloc() >= last + 4000000);
    last = gomem_total_alloc();
    for (size_t i = 0; i < 4000; i++) gomem_free(kept[i]);
    CHECK_EQ(gomem_total_alloc(), last);
    CHECK_EQ(last, stats().total_alloc);
}

TEST(all_that_was_allocated) { under_each_collector(totals); }

static void *allocate(void *arg) {
    for (int i = 0; i < 30000; i++) {
        void *p = i % 2 ? gomem_malloc(300) : gomem_new(300);
        if (!CHECK(p != NULL)) break;
        if (i % 2) gomem_free(p);
    }
    return arg;
}

// Threads hand in what they count: they may owe 64 KiB each while they run, and nothing when they have
// ended. The collector's own threads allocate nothing.
static void threads(void) {
    enum { N = 4 };
    init();
    for (int round = 0; round < 3; round++) {
        pthread_t thread[N];
        uint64_t last = gomem_total_alloc();
        for (int i = 0; i < N; i++) REQUIRE(pthread_create(&thread[i], NULL, allocate, NULL) == 0);
        for (int i = 0; i < 1000; i++) {
            uint64_t total = gomem_total_alloc();
            REQUIRE(total >= last);
            CHECK(gomem_num_gc() <= stats().num_gc);
            last = total;
        }
        for (int i = 0; i < N; i++) pthread_join(thread[i], NULL);
        uint64_t all = stats().total_alloc, total = gomem_total_alloc();
        CHECK(total <= all);
        CHECK(total + LATE >= all);
    }
    CHECK(gomem_total_alloc() >= (uint64_t)N * 3 * 15000 * 300);
}

TEST(read_while_others_allocate) { under_each_collector(threads); }

TEST_MAIN
