// The collector's controls: asking for a cycle, holding it off, percent, giving back.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <sys/mman.h>
#include <unistd.h>

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

ALIVE_NOINLINE static void litter(size_t bytes) {
    for (size_t done = 0; done < bytes; done += 1024) {
        char *p = gomem_new(1024);
        if (!CHECK(p != NULL)) return;
        p[7] = 1;
    }
    alive_clear_stack();
}

enum { MB = 1 << 20 };

TEST(gc_is_a_full_cycle) {
    gomem_memstats before = stats();
    gomem_gc();
    gomem_memstats after = stats();
    CHECK(after.num_gc >= before.num_gc + 1);
    CHECK(after.num_forced_gc >= before.num_forced_gc + 1);
    gomem_gc();
    CHECK(stats().num_gc >= after.num_gc + 1);
}

// What was garbage when gomem_gc was called is free when it returns, also if a cycle was running.
TEST(gc_after_gc_start) {
    static struct alive_set set;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        gomem_gc_start();
        REQUIRE(alive_scatter(&set));
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
}

TEST(gc_start_asks_for_a_cycle) {
    uint64_t before = stats().num_gc;
    CHECK(gomem_gc_start());
    while (stats().num_gc == before) usleep(1000);
    CHECK(stats().num_gc > before);
}

// A cycle that has been asked for ends when the collector gets a processor, a minute at most.
static bool another_cycle_ends(uint64_t before) {
    for (int i = 0; i < 60000 && stats().num_gc == before; i++) usleep(1000);
    return stats().num_gc > before;
}

TEST(garbage_starts_cycles) {
    uint64_t before = stats().num_gc;
    litter(200 * MB);
    CHECK(another_cycle_ends(before));
}

TEST(hold_nests) {
    gomem_gc();
    gomem_gc_hold();
    gomem_gc_hold();
    CHECK(HEAP_IS_WHOLE()); // a cycle that runs ends first
    uint64_t before = stats().num_gc;
    litter(64 * MB);
    gomem_gc_unhold();
    litter(64 * MB);
    CHECK_EQ(stats().num_gc, before);
    gomem_gc_unhold();
    litter(64 * MB);
    CHECK(another_cycle_ends(before));
}

TEST(no_cycle_while_held) {
    gomem_gc_hold();
    CHECK(HEAP_IS_WHOLE()); // one that runs ends first
    uint64_t before = stats().num_gc;
    gomem_gc_start();
    litter(MB);
    CHECK_EQ(stats().num_gc, before);
    gomem_gc_unhold();
    gomem_gc();
    CHECK(stats().num_gc > before);
}

// hold returns only when no cycle runs: afterwards nothing is stopped.
TEST(hold_after_start) {
    for (int i = 0; i < 100; i++) {
        gomem_gc_start();
        gomem_gc_hold();
        litter(100 * 1024);
        gomem_gc_unhold();
    }
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

TEST(set_gc_percent_returns_the_old) {
    int first = gomem_set_gc_percent(50);
    CHECK_EQ(first, 100);
    CHECK_EQ(gomem_set_gc_percent(GOMEM_GC_OFF), 50);
    CHECK_EQ(gomem_set_gc_percent(300), GOMEM_GC_OFF);
    CHECK_EQ(gomem_set_gc_percent(first), 300);
}

TEST(percent_off) {
    gomem_gc();
    int old = gomem_set_gc_percent(GOMEM_GC_OFF);
    uint64_t before = stats().num_gc;
    litter(100 * MB);
    CHECK_EQ(stats().num_gc, before);
    gomem_gc(); // by hand it still runs
    CHECK(stats().num_gc > before);
    gomem_set_gc_percent(old);
    CHECK(stats().heap_alloc < 40 * MB);
}

static void **volatile live;

ALIVE_NOINLINE static void fill_live_below(size_t n, size_t size) {
    live = gomem_new(n * sizeof *live);
    if (!CHECK(live != NULL)) return;
    for (size_t i = 0; i < n; i++) {
        live[i] = gomem_new(size);
        if (!CHECK(live[i] != NULL)) return;
        memset(live[i], 1, size);
    }
}

ALIVE_NOINLINE static void fill_live(size_t n, size_t size) {
    ALIVE_DEEP;
    fill_live_below(n, size);
    gap[0] = 1;
}

TEST(percent_sets_the_goal) {
    uint64_t goals[3];
    static const int percents[] = {50, 100, 400};
    fill_live(20000, 1024);
    int old = gomem_set_gc_percent(100);
    for (size_t i = 0; i < 3; i++) {
        gomem_set_gc_percent(percents[i]);
        gomem_gc();
        goals[i] = stats().next_gc;
        CHECK(goals[i] >= stats().heap_alloc);
    }
    gomem_set_gc_percent(old);
    CHECK(goals[0] < goals[1] && goals[1] < goals[2]);
    CHECK(goals[1] >= 36 * MB && goals[1] <= 64 * MB); // twice 20 MB, stacks and globals added
    live = NULL;
}

// The bytes of [lo, hi) that are in memory; what is not mapped is not. Unlike what the process has,
// this is without a sanitizer's notes on memory that was given back.
static size_t resident_between(uintptr_t lo, uintptr_t hi) {
    enum { PAGES = 16 };
    unsigned char there[PAGES];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
    for (lo -= lo % page; lo < hi; lo += PAGES * page) {
        if (mincore((void *)lo, PAGES * page, there) != 0) continue;
        for (size_t i = 0; i < PAGES; i++) n += there[i] & 1;
    }
    return n * page;
}

TEST(free_os_memory_manual) {
    enum { N = 4000 };
    static char *blocks[N];
    uintptr_t lo = UINTPTR_MAX, hi = 0;
    for (size_t i = 0; i < N; i++) {
        size_t size = i % 2 == 0 ? 30000 : 70000;
        blocks[i] = gomem_malloc(size);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], 1, size);
        if ((uintptr_t)blocks[i] < lo) lo = (uintptr_t)blocks[i];
        if ((uintptr_t)blocks[i] + size > hi) hi = (uintptr_t)blocks[i] + size;
    }
    CHECK(resident_between(lo, hi) >= 150 * MB);
    for (size_t i = 0; i < N; i++) gomem_free(blocks[i]);
    gomem_free_os_memory();
    CHECK(resident_between(lo, hi) <= 40 * MB);
}

TEST(free_os_memory_collected) {
    gomem_free_os_memory();
    size_t before = child_resident();
    if (before == 0) SKIP("no /proc/self/statm");
    int old = gomem_set_gc_percent(GOMEM_GC_OFF);
    fill_live(100000, 1500);
    CHECK(child_resident() >= before + 120 * MB);
    live = NULL;
    alive_clear_stack();
    CHECK(gomem_free_os_memory() > 100 * MB);
    CHECK(child_resident() <= before + 40 * MB);
    gomem_set_gc_percent(old);
    gomem_memstats m = stats();
    CHECK(m.heap_released >= 100 * MB);
    CHECK(m.heap_released <= m.heap_idle);
}

// Memory given back is there again, zeroed, when it is asked for.
TEST(given_back_and_used_again) {
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 30000; i++) {
            uintptr_t *p = gomem_new(1000);
            REQUIRE(p != NULL);
            for (size_t j = 0; j < 125; j++) REQUIRE(p[j] == 0);
            p[0] = p[124] = UINTPTR_MAX;
        }
        gomem_free_os_memory();
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
