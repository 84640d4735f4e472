// Room sync: library sections, ranked locks.
#include "room.h"
#include "child.h"

enum { THREADS = 4, TIMES = 20000 };
static struct gm_lock lock;
static unsigned counter; // lock: lock

static void *count_up(void *arg) {
    (void)arg;
    for (int i = 0; i < TIMES; i++) {
        if (i % 3 || !gm_sync_try(&lock)) gm_sync_lock(&lock);
        counter++;
        gm_sync_unlock(&lock);
    }
    return NULL;
}

TEST(one_at_a_time) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, count_up, NULL) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(counter, THREADS * TIMES);
    CHECK_EQ(lock.word, 0);
}

static uint32_t waiting;

static void *wait_for_lock(void *arg) {
    (void)arg;
    gm_store_rel(&waiting, 1u);
    gm_sync_lock(&lock);
    counter = 99;
    gm_sync_unlock(&lock);
    return NULL;
}

TEST(a_held_lock_is_waited_for) {
    pthread_t thread;
    gm_sync_lock(&lock);
    CHECK(!gm_sync_try(&lock));
    counter = 1;
    REQUIRE(pthread_create(&thread, NULL, wait_for_lock, NULL) == 0);
    while (!gm_load_acq(&waiting)) sched_yield();
    while (gm_load_acq(&lock.word) != 2) sched_yield(); // it sleeps, or is about to
    CHECK_EQ(counter, 1);
    gm_sync_unlock(&lock);
    pthread_join(thread, NULL);
    CHECK_EQ(counter, 99);
    CHECK(gm_sync_try(&lock));
    gm_sync_unlock(&lock);
}

// A signal handler that interrupts the holder finds out by the owner, however the lock was taken.
TEST(a_holder_is_known) {
    gm_sync_lock(&lock);
    CHECK_EQ(lock.owner, gm_os_thread_pointer());
    gm_sync_unlock(&lock);
    CHECK_EQ(lock.owner, 0);
    REQUIRE(gm_sync_try(&lock));
    CHECK_EQ(lock.owner, gm_os_thread_pointer());
    CHECK(!gm_sync_try(&lock));
    gm_sync_unlock(&lock);
    CHECK_EQ(lock.owner, 0);
}

static uint32_t stop_request, entries, exits, depth_at_exit;

static void note_stop(gomem_i_cache *t, bool enter) {
    if (enter) entries++;
    else exits++, depth_at_exit = t->section_depth;
    stop_request = 0;
}

// Y2: stop_request is looked at where a section begins, and behind where it ends, never inside.
TEST(sections) {
    gomem_i_cache t = {.stop_request = &stop_request, .stop_wait = note_stop};
    gm_sync_enter(&t);
    gm_sync_enter(&t);
    stop_request = 8;
    gm_sync_enter(&t);
    gm_sync_leave(&t);
    gm_sync_leave(&t);
    CHECK_EQ(t.section_depth, 1);
    CHECK_EQ(entries + exits, 0);
    depth_at_exit = 1;
    gm_sync_leave(&t);
    CHECK_EQ(exits, 1);
    CHECK_EQ(depth_at_exit, 0);
    stop_request = 8;
    gm_sync_enter(&t);
    CHECK_EQ(entries, 1);
    gm_sync_leave(&t);
    t.blocked = 1; // in a blocking region every section leaves it first
    gm_sync_enter(&t);
    gm_sync_leave(&t);
    CHECK_EQ(entries, 2);
    CHECK_EQ(exits, 2);
}

static gomem_i_cache ranked = {.stop_request = &gm_sync_quiet, .size = 1};
static struct gm_lock outer = {.rank = GM_RANK_CENTRAL}, inner = {.rank = GM_RANK_HEAP};

static void inner_first(void) {
    GOMEM_I_TLS = &ranked;
    gm_sync_lock(&inner);
    gm_sync_lock(&outer);
}

static void same_twice(void) {
    struct gm_lock other = outer;
    GOMEM_I_TLS = &ranked;
    gm_sync_lock(&outer);
    gm_sync_lock(&other);
}

static void outer_first(void) {
    GOMEM_I_TLS = &ranked;
    for (int i = 0; i < 2; i++) {
        gm_sync_lock(&outer);
        CHECK(gm_sync_try(&inner));
        CHECK_EQ(ranked.ranks, 1u << GM_RANK_CENTRAL | 1u << GM_RANK_HEAP);
        gm_sync_unlock(&outer);
        gm_sync_unlock(&inner);
    }
    CHECK_EQ(ranked.ranks, 0);
}

TEST(ranks) { // Y3
    if (GOMEM_I_CHECK < 2) SKIP("lock ranks are known from check level 2 on");
    struct child child;
    CHILD_GOOD(outer_first);
    child_run(&child, inner_first);
    CHECK(strstr(child.text, "broken invariant"));
    child_run(&child, same_twice);
    CHECK(strstr(child.text, "broken invariant"));
}

TEST_MAIN
