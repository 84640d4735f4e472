// Freeing collected objects by hand: allowed, optional, and the memory is used again.
#include "alive.h"

static struct alive_set set;

ALIVE_NOINLINE static void free_set(void) {
    ALIVE_DEEP;
    for (size_t i = 0; i < ALIVE_N; i++) gomem_free(alive_show(set.hidden[i]));
    gap[0] = 1;
}

ALIVE_NOINLINE static void free_first(void) {
    ALIVE_DEEP;
    gomem_free(alive_show(set.hidden[0]));
    gap[0] = 1;
}

TEST(freed_is_gone) {
    for (int round = 0; round < 4; round++) {
        REQUIRE(alive_scatter(&set));
        free_set();
        CHECK_EQ(alive_count(&set), 0);
        alive_gc();
        CHECK_EQ(alive_count(&set), 0);
    }
    CHECK(HEAP_IS_WHOLE());
}

// With the collector off, freeing by hand alone keeps the heap small.
TEST(slots_are_reused) {
    static const size_t sizes[] = {16, 48, 500, 3000, 32768, 100000};
    int old = gomem_set_gc_percent(GOMEM_GC_OFF);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        gomem_memstats before = {.size = sizeof before}, after = {.size = sizeof after};
        gomem_read_memstats(&before);
        for (size_t i = 0; i < ((size_t)256 << 20) / sizes[s] / 8; i++) {
            unsigned char *p = i % 3 == 0 ? gomem_new_noscan(sizes[s]) : gomem_new(sizes[s]);
            REQUIRE(p != NULL);
            CHECK(p[0] == 0 && p[sizes[s] - 1] == 0);
            p[0] = p[sizes[s] - 1] = 1;
            gomem_free(p);
        }
        gomem_read_memstats(&after);
        CHECK(after.heap_inuse < before.heap_inuse + (4 << 20));
    }
    gomem_set_gc_percent(old);
    CHECK(HEAP_IS_WHOLE());
}

// Every other object of a full heap is freed; the gaps are filled, the others stay whole.
TEST(gaps_are_filled) {
    enum { N = 20000 };
    struct alive_node **nodes = gomem_new(N * sizeof *nodes);
    REQUIRE(nodes != NULL);
    for (int round = 0; round < 6; round++) {
        for (uintptr_t i = 0; i < N; i++) {
            if (nodes[i] != NULL) continue;
            nodes[i] = GOMEM_NEW(struct alive_node);
            REQUIRE(nodes[i] != NULL && nodes[i]->index == 0 && nodes[i]->check == 0);
            nodes[i]->index = i;
            nodes[i]->check = alive_sum(i, alive_hide(nodes[i]));
        }
        for (uintptr_t i = 0; i < N; i++)
            REQUIRE(nodes[i]->check == alive_sum(i, alive_hide(nodes[i])));
        for (uintptr_t i = (uintptr_t)round % 2; i < N; i += 2) {
            gomem_free(nodes[i]);
            nodes[i] = NULL;
        }
        if (round == 3) gomem_gc();
        for (uintptr_t i = 0; i < N; i++)
            REQUIRE(nodes[i] == NULL || nodes[i]->check == alive_sum(i, alive_hide(nodes[i])));
    }
    CHECK(HEAP_IS_WHOLE());
}

// Freed before, during and after collections; counted once.
TEST(counted_once) {
    gomem_memstats before = {.size = sizeof before}, after = {.size = sizeof after};
    gomem_gc_hold();
    alive_gc();
    gomem_read_memstats(&before);
    for (int i = 0; i < 5; i++) {
        REQUIRE(alive_scatter(&set));
        free_set();
    }
    gomem_gc_unhold();
    alive_gc();
    gomem_read_memstats(&after);
    CHECK(after.frees >= before.frees + 5 * ALIVE_N);
    CHECK(after.mallocs - after.frees == after.heap_objects);
    CHECK(after.heap_objects <= before.heap_objects + 100); // counts are as of the last refill
}

// A pointer that is left to a freed object is no pointer: nothing is kept through it. (In the first
// cycle the marker may still take it for one.)
TEST(freed_object_keeps_nothing) {
    static volatile uintptr_t stale;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        REQUIRE(alive_chain(&set));
        alive_put(&stale, set.hidden[0], 0);
        free_first();
        alive_gc();
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
        stale = 0;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
}

TEST(large_is_given_back_at_once) {
    int old = gomem_set_gc_percent(GOMEM_GC_OFF);
    gomem_memstats before = {.size = sizeof before}, after = {.size = sizeof after};
    gomem_read_memstats(&before);
    for (int i = 0; i < 200; i++) {
        void *p = gomem_new((size_t)8 << 20);
        REQUIRE(p != NULL);
        gomem_free(p);
    }
    gomem_read_memstats(&after);
    CHECK(after.heap_sys <= before.heap_sys + (64 << 20));
    gomem_set_gc_percent(old);
}

TEST_MAIN
