// gomem_verify is true in every state that correct use can reach, and changes nothing.
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <stdatomic.h>

// Hooks of a cycle run while its thread holds the cycle: no other one can run, and nothing that would
// wait for its end.
static struct {
    unsigned events, warnings;
    bool kept;
} hooks;

static void ask_in_a_cycle(int what, uint64_t ns, void *user) {
    (void)what, (void)ns, (void)user;
    void *volatile p = gomem_new(16);
    hooks.events++;
    errno = 0;
    CHECK(!gomem_verify());
    CHECK_EQ(errno, EAGAIN);
    errno = 0;
    CHECK(!gomem_gc());
    CHECK_EQ(errno, EBUSY);
    errno = 0;
    CHECK(!gomem_init(&(gomem_options){.gc_percent = 200}) && errno == EAGAIN);
    gomem_shutdown();
    hooks.kept = gomem_new(16) != NULL && p != NULL;
}
static void count_warnings(const char *line, void *user) {
    (void)user;
    hooks.warnings += strstr(line, "gomem_shutdown in a collection") != NULL;
}

static void hooks_that_ask(void) {
    gomem_options o = {.event = ask_in_a_cycle, .warn = count_warnings};
    CHECK(gomem_init(&o));
    CHECK(gomem_new(16) != NULL && COLLECTED());
    CHECK(hooks.events >= 4 && hooks.kept);
    CHECK(hooks.warnings >= 4);
    CHECK(HEAP_IS_WHOLE());
}
// First: a child of a process with threads may find a lock of the sanitizer held.
TEST(in_hooks_of_a_cycle) { CHILD_GOOD(hooks_that_ask); }

TEST(before_any_use) { CHECK(HEAP_IS_WHOLE()); }

TEST(through_a_life) {
    static void *volatile blocks[512];
    uint32_t seed = 99;
    for (int step = 0; step < 6000; step++) {
        seed = seed * 1664525u + 1013904223u;
        size_t at = seed >> 23, size = (seed >> 5) % 3000;
        if (step % 97 == 0) size *= 50;
        gomem_free(blocks[at]);
        switch ((seed >> 3) % 5) {
        case 0: blocks[at] = gomem_malloc(size); break;
        case 1: blocks[at] = gomem_new(size); break;
        case 2: blocks[at] = gomem_new_noscan(size); break;
        case 3: blocks[at] = gomem_new_with(size, 0, GOMEM_UNCOLLECTABLE); break;
        default: blocks[at] = gomem_aligned_alloc((size_t)16 << (seed & 7), size); break;
        }
        REQUIRE(blocks[at] != NULL);
        if (step % 300 == 0) gomem_gc();
        if (step % 700 == 0) gomem_free_os_memory();
        if (step % 20 == 0) REQUIRE(HEAP_IS_WHOLE());
    }
    for (size_t i = 0; i < 512; i++) {
        gomem_free(blocks[i]);
        blocks[i] = NULL;
    }
    CHECK(HEAP_IS_WHOLE());
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

static atomic_bool stop;

static void *churn(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *blocks[64] = {NULL};
    while (!atomic_load(&stop)) {
        seed = seed * 1664525u + 1013904223u;
        size_t at = seed >> 26;
        gomem_free(blocks[at]);
        blocks[at] = (seed & 32) != 0 ? gomem_new((seed >> 8) % 9000) : gomem_malloc(seed >> 19);
    }
    for (size_t i = 0; i < 64; i++) gomem_free(blocks[i]);
    return NULL;
}

TEST(while_others_work) {
    pthread_t threads[3];
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    for (int i = 0; i < 100; i++) {
        CHECK(HEAP_IS_WHOLE());
        if (i % 10 == 0) gomem_gc();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK(HEAP_IS_WHOLE());
}

static struct alive_node *volatile head;

TEST(changes_nothing) {
    static struct alive_set set;
    REQUIRE(alive_chain(&set));
    head = alive_show(set.hidden[0]);
    for (int i = 0; i < 20; i++) CHECK(HEAP_IS_WHOLE());
    CHECK_EQ(alive_count(&set), ALIVE_N);
    alive_gc();
    CHECK(HEAP_IS_WHOLE());
    CHECK_EQ(alive_count(&set), ALIVE_N);
    head = NULL;
}

TEST_MAIN
