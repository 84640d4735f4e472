// gomem_read_memstats: the fields and what holds between them.
#define _GNU_SOURCE
#include "alive.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

static void check_relations(const gomem_memstats *m) {
    CHECK_EQ(m->alloc, m->heap_alloc);
    CHECK(m->heap_alloc <= m->heap_inuse);
    CHECK(m->heap_inuse <= m->heap_sys);
    CHECK_EQ(m->heap_idle + m->heap_inuse, m->heap_sys);
    CHECK(m->heap_released <= m->heap_idle);
    CHECK(m->total_alloc >= m->alloc);
    CHECK_EQ(m->mallocs - m->frees, m->heap_objects);
    CHECK(m->stack_inuse <= m->stack_sys);
    CHECK(m->mspan_inuse <= m->mspan_sys);
    CHECK(m->mcache_inuse <= m->mcache_sys);
    CHECK_EQ(m->sys, m->heap_sys + m->stack_sys + m->mspan_sys + m->mcache_sys + m->buck_hash_sys +
                         m->gc_sys + m->other_sys);
    CHECK(m->num_forced_gc <= m->num_gc);
    CHECK(m->gc_cpu_fraction >= 0.0 && m->gc_cpu_fraction <= 1.0);
    CHECK(m->pause_p50_ns <= m->pause_p99_ns);
    CHECK(m->pause_p99_ns <= m->pause_p999_ns);
    CHECK(m->pause_p999_ns <= m->pause_max_ns);
    CHECK(m->threads >= 1);
    CHECK_EQ(m->enable_gc, 1);
}

static void check_sizes(const gomem_memstats *m) {
    uint64_t mallocs = 0, frees = 0, small_bytes = 0;
    for (size_t i = 0; i <= GOMEM_CLASSES; i++) {
        mallocs += m->by_size[i].mallocs;
        frees += m->by_size[i].frees;
        CHECK(m->by_size[i].frees <= m->by_size[i].mallocs);
        if (i > 1) CHECK(m->by_size[i].size > m->by_size[i - 1].size);
        if (i > 0)
            small_bytes += (m->by_size[i].mallocs - m->by_size[i].frees) * m->by_size[i].size;
    }
    CHECK_EQ(mallocs, m->mallocs);
    CHECK_EQ(frees, m->frees);
    CHECK(small_bytes <= m->heap_alloc);
    CHECK_EQ(m->by_size[1].size, 8);
    CHECK_EQ(m->by_size[GOMEM_CLASSES].size, 32768);
}

static void check(void) {
    gomem_memstats m = stats();
    check_relations(&m);
    check_sizes(&m);
}

TEST(at_the_start) {
    CHECK(gomem_new(8) != NULL);
    check();
}

TEST(size_and_version) {
    gomem_memstats m = stats();
    CHECK_EQ(m.size, sizeof m);
    CHECK(m.version > 0);
}

// A program compiled with an older, shorter struct: nothing behind its end is written.
TEST(shorter_struct) {
    gomem_memstats m;
    memset(&m, 0xaa, sizeof m);
    m.size = offsetof(gomem_memstats, threads);
    gomem_read_memstats(&m);
    CHECK_EQ(m.size, offsetof(gomem_memstats, threads));
    const unsigned char *bytes = (const unsigned char *)&m;
    for (size_t i = offsetof(gomem_memstats, threads); i < sizeof m; i++) REQUIRE(bytes[i] == 0xaa);
    CHECK_EQ(m.heap_idle + m.heap_inuse, m.heap_sys);
}

static void *volatile kept[3000];

TEST(counts_follow_allocations) {
    gomem_gc_hold();
    gomem_memstats before = stats();
    for (size_t i = 0; i < 3000; i++) kept[i] = gomem_new(400);
    gomem_memstats after = stats();
    CHECK(after.mallocs >= before.mallocs + 3000 - 64);
    CHECK(after.mallocs <= before.mallocs + 3000 + 64);
    CHECK(after.heap_alloc >= before.heap_alloc + 2936 * 400);
    CHECK(after.total_alloc >= before.total_alloc + 2936 * 400);
    check();
    for (size_t i = 0; i < 3000; i++) kept[i] = NULL;
    gomem_gc_unhold();
    alive_gc();
    gomem_memstats collected = stats();
    CHECK(collected.frees >= after.frees + 2700);
    CHECK(collected.total_alloc >= after.total_alloc);
    CHECK(collected.heap_alloc + 2700 * 400 <= after.heap_alloc);
    check();
}

TEST(large_objects) {
    gomem_memstats before = stats();
    for (size_t i = 0; i < 20; i++) kept[i] = i % 2 == 0 ? gomem_new(100000) : gomem_malloc(100000);
    for (size_t i = 20; i < 30; i++) kept[i] = gomem_new_with(100000, 0, GOMEM_UNCOLLECTABLE);
    gomem_memstats after = stats();
    CHECK(after.by_size[0].mallocs == before.by_size[0].mallocs + 30);
    CHECK(after.heap_alloc >= before.heap_alloc + 3000000);
    for (size_t i = 0; i < 30; i++) {
        gomem_free(kept[i]);
        kept[i] = NULL;
    }
    gomem_memstats freed = stats();
    CHECK(freed.by_size[0].frees == before.by_size[0].frees + 30);
    CHECK(freed.heap_alloc + 3000000 <= after.heap_alloc);
    check();
}

// Manual memory is counted as it crosses the caches: after flushing, all of it.
// Blocks of arenas and slabs of pools come and go with the same number of bytes.
TEST(blocks_are_uncounted_whole) {
    for (unsigned flags = 0; flags <= GOMEM_SCAN; flags += GOMEM_SCAN) {
        gomem_memstats before = stats(), after;
        for (size_t i = 1; i < 40; i++) {
            gomem_arena a = {0};
            gomem_arena_options options = {.flags = flags};
            REQUIRE(gomem_arena_init(&a, &options));
            for (size_t k = 0; k < 3; k++) CHECK(gomem_arena_alloc(&a, i * 3000 + 16) != NULL);
            gomem_arena_free(&a);
        }
        after = stats();
        CHECK_EQ(after.alloc, before.alloc);
        CHECK_EQ(after.heap_objects, before.heap_objects);
    }
}

TEST(manual_memory) {
    gomem_memstats before = stats();
    for (size_t i = 0; i < 3000; i++) kept[i] = gomem_malloc(500);
    gomem_memstats after = stats();
    CHECK(after.heap_alloc >= before.heap_alloc + 2800 * 500);
    check();
    for (size_t i = 0; i < 3000; i++) gomem_free(kept[i]);
    for (size_t i = 0; i < 3000; i++) kept[i] = NULL;
    gomem_free_os_memory();
    gomem_memstats freed = stats();
    CHECK(freed.heap_alloc + 2800 * 500 <= after.heap_alloc);
    CHECK(freed.frees >= after.frees + 2800);
    check();
}

TEST(collections) {
    gomem_memstats before = stats();
    for (int i = 0; i < 5; i++) CHECK(COLLECTED());
    gomem_memstats after = stats();
    CHECK(after.num_gc >= before.num_gc + 5);
    CHECK(after.num_forced_gc >= before.num_forced_gc + 5);
    CHECK(after.pause_total_ns > before.pause_total_ns);
    uint64_t last = (after.num_gc + 255) % 256;
    CHECK(after.pause_ns[last] > 0);
    CHECK(after.pause_ns[last] <= after.pause_total_ns);
    CHECK(after.pause_max_ns > 0);
    CHECK(after.last_gc >= before.last_gc);
    CHECK(after.pause_end[last] > 0);
    CHECK(after.next_gc > 0);
    // nanoseconds since 1970, as Go's
    CHECK(after.last_gc > (uint64_t)1600000000 * 1000000000);
    CHECK(after.pause_end[last] > (uint64_t)1600000000 * 1000000000);
    check();
}

TEST(more_collections_than_the_ring_holds) {
    for (int i = 0; i < 300; i++) CHECK(COLLECTED());
    gomem_memstats m = stats();
    CHECK(m.num_gc >= 300);
    uint64_t sum = 0;
    for (size_t i = 0; i < 256; i++) {
        CHECK(m.pause_ns[i] > 0);
        sum += m.pause_ns[i];
    }
    CHECK(sum <= m.pause_total_ns);
    check();
}

static atomic_bool stop;

static void *churn(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *objects[64] = {NULL};
    while (!atomic_load(&stop)) {
        seed = seed * 1664525u + 1013904223u;
        size_t at = seed >> 26;
        gomem_free(objects[at]);
        size_t size = (seed >> 8) % 5000;
        objects[at] = (seed & 64) != 0 ? gomem_new(size) : gomem_malloc(size);
    }
    for (size_t i = 0; i < 64; i++) gomem_free(objects[i]);
    return NULL;
}

// Read while others allocate, free and collect: sums still fit.
TEST(read_while_others_work) {
    pthread_t threads[3];
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    gomem_memstats last = stats();
    for (int i = 0; i < 300; i++) {
        gomem_memstats m = stats();
        CHECK_EQ(m.mallocs - m.frees, m.heap_objects);
        CHECK_EQ(m.heap_idle + m.heap_inuse, m.heap_sys);
        CHECK(m.heap_released <= m.heap_idle);
        CHECK(m.total_alloc >= last.total_alloc);
        CHECK(m.mallocs >= last.mallocs && m.frees >= last.frees && m.num_gc >= last.num_gc);
        last = m;
        if (i % 50 == 0) gomem_gc();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    check();
}

static void *wait_for_stop(void *arg) {
    gomem_thread_attach();
    atomic_fetch_add((atomic_int *)arg, 1);
    while (!atomic_load(&stop)) usleep(500);
    return NULL;
}

TEST(threads) {
    pthread_t threads[5];
    atomic_int attached = 0;
    uint64_t before = stats().threads;
    atomic_store(&stop, false);
    for (int i = 0; i < 5; i++)
        REQUIRE(pthread_create(&threads[i], NULL, wait_for_stop, &attached) == 0);
    while (atomic_load(&attached) < 5) usleep(500);
    CHECK_EQ(stats().threads, before + 5);
    atomic_store(&stop, true);
    for (int i = 0; i < 5; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(stats().threads, before);
}

TEST_MAIN
