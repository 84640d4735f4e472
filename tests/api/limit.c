// gomem_set_memory_limit, GOMEM_MEMLIMIT, gomem_gc_work, holds up to the limit.
#define _GNU_SOURCE
#include "child.h"
#include "gomem.h"
#include "test.h"

#include <stdlib.h>

enum { MB = 1024 * 1024 };

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

struct node {
    struct node *next;
    char body[1000];
};

// Keeps `live` bytes and makes `churn` bytes of garbage; returns the largest heap in bytes.
static uint64_t use(size_t live, size_t churn) {
    struct node *volatile kept = NULL;
    uint64_t most = 0;
    for (size_t n = 0; n < live; n += sizeof *kept) {
        struct node *new = GOMEM_NEW(struct node);
        if (!CHECK(new != NULL)) break;
        new->next = kept;
        kept = new;
    }
    for (size_t n = 0; n < churn; n += sizeof *kept) {
        if (!CHECK(GOMEM_NEW(struct node) != NULL)) break;
        if (n / sizeof *kept % 1000) continue;
        uint64_t now = stats().heap_inuse;
        if (now > most) most = now;
    }
    GOMEM_KEEP_ALIVE(kept);
    return most;
}

static void garbage_under_a_limit(void) { // in a child: nothing has been learned yet
    gomem_options o = {.gc_percent = GOMEM_GC_OFF, .memory_limit = (size_t)64 * MB};
    if (!gomem_init(&o)) exit(2);
    uint64_t most = use((size_t)10 * MB, (size_t)600 * MB);
    if (most > (uint64_t)80 * MB) exit(3); // past the hard goal a thread waits more and more
    exit(stats().num_gc >= 5 ? 0 : 4);
}

static void limit_below_what_lives(void) {
    gomem_options o = {.gc_percent = GOMEM_GC_OFF, .memory_limit = (size_t)1 * MB};
    if (!gomem_init(&o)) exit(2);
    (void)use((size_t)40 * MB,
              (size_t)100 * MB); // goes on, collecting no more than half of the time
    exit(stats().num_gc >= 2 && HEAP_IS_WHOLE() ? 0 : 4);
}

static void held_up_to_the_limit(void) {
    gomem_options o = {.memory_limit = (size_t)64 * MB};
    if (!gomem_init(&o)) exit(2);
    gomem_gc_hold();
    (void)use(0, (size_t)30 * MB);
    if (stats().num_gc != 0) exit(3);
    (void)use(0, (size_t)300 * MB);
    exit(stats().num_gc != 0 ? 0 : 4);
}

// ---- large objects, of which the last one lives ----

static int collector;
static void **volatile newest;

// Returns the largest heap, in bytes.
static uint64_t replace_large(size_t size, int times) {
    uint64_t most = 0;
    for (int i = 0; i < times; i++) {
        void **p = gomem_new(size);
        if (!CHECK(p != NULL)) break;
        for (size_t at = 0; at < size / sizeof *p; at += 256) GOMEM_STORE(&p[at], p);
        GOMEM_STORE(&newest, p);
        uint64_t now = stats().heap_inuse;
        if (now > most) most = now;
    }
    return most;
}

static void large_objects(void) {
    gomem_options o = {.collector = collector};
    if (!gomem_init(&o)) exit(5);
    uint64_t most = replace_large((size_t)8 * MB, 60);
    exit(most <= (uint64_t)40 * MB ? 0 : 3); // one lives, another is being filled; two may float
}

static void large_objects_under_a_limit(void) {
    gomem_options o = {.gc_percent = GOMEM_GC_OFF, .memory_limit = (size_t)64 * MB};
    o.collector = collector;
    if (!gomem_init(&o)) exit(5);
    uint64_t most = replace_large((size_t)8 * MB, 60);
    exit(most <= (uint64_t)70 * MB && stats().num_gc >= 5 ? 0 : 3);
}

static void from_the_environment(void) {
    exit(gomem_set_memory_limit(0) == (size_t)48 * MB ? 0 : 4);
}

TEST(large_objects_wait) { // as below
    static void (*const cases[])(void) = {large_objects, large_objects_under_a_limit};
    for (collector = GOMEM_GC_AUTO; collector <= GOMEM_GC_STW; collector++)
        for (int i = 0; i < 2; i++) {
            struct child child;
            child_run(&child, cases[i]);
            CHECK(WIFEXITED(child.status));
            if (collector == GOMEM_GC_TRACKED && WEXITSTATUS(child.status) == 5)
                continue; // old kernel
            CHECK_EQ(WEXITSTATUS(child.status), 0);
        }
}

TEST(limits) { // first: here nothing has initialised yet

    static void (*const cases[])(void) = {garbage_under_a_limit, limit_below_what_lives,
                                          held_up_to_the_limit};
    for (int i = 0; i < 3; i++) {
        struct child child;
        child_run(&child, cases[i]);
        CHECK(WIFEXITED(child.status));
        CHECK_EQ(WEXITSTATUS(child.status), 0);
    }
    struct child child;
    setenv("GOMEM_MEMLIMIT", "48MiB", 1);
    child_run(&child, from_the_environment);
    CHECK_EQ(child.status, 0);
    static const char *const bad[] = {
        "48MB", "x", "-1", "99999999999999999999", "18446744073709551615", "1 MiB"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("GOMEM_MEMLIMIT", bad[i], 1);
        child_run(&child, from_the_environment);
        CHECK(strstr(child.text, "GOMEM_MEMLIMIT") && strstr(child.text, "KiB"));
    }
    unsetenv("GOMEM_MEMLIMIT");
}

TEST(old_limits_are_returned) {
    CHECK_EQ(gomem_set_memory_limit((size_t)100 * MB), 0);
    CHECK_EQ(gomem_set_memory_limit(0), (size_t)100 * MB);
    CHECK_EQ(gomem_set_memory_limit(0), 0);
}

// A loop that gives the collector some time each frame sees its cycles end.
TEST(work_by_hand) {
    struct node *volatile kept = NULL;
    int ended = 0;
    (void)gomem_gc_work(0);
    for (int frame = 0; frame < 3000 && ended < 3; frame++) {
        for (int i = 0; i < 200; i++) {
            struct node *new = GOMEM_NEW(struct node);
            REQUIRE(new != NULL);
            if (i % 50 == 0) {
                new->next = kept;
                kept = frame % 100 ? new : NULL;
            }
        }
        ended += gomem_gc_work(200);
    }
    CHECK(ended >= 3);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
