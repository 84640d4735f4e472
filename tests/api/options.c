// gomem_init: what it refuses, and what each option does. The parent never uses the heap, so each
// child starts with a process that has not been initialised.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { MB = 1 << 20 };

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

static void check_refused(gomem_options options, int error) {
    errno = 0;
    CHECK(!gomem_init(&options));
    CHECK_EQ(errno, error);
}

static void init_null(void) {
    CHECK(gomem_init(NULL));
    CHECK(GOMEM_NEW(struct alive_node) != NULL);
}

static void init_zero(void) {
    gomem_options options;
    memset(&options, 0, sizeof options);
    CHECK(gomem_init(&options));
    CHECK(gomem_init(&options));
    CHECK_EQ(gomem_set_gc_percent(100), 100);
}

static void init_bad(void) {
    check_refused((gomem_options){.gc_percent = -2}, EINVAL);
    check_refused((gomem_options){.collector = 99}, EINVAL);
    check_refused((gomem_options){.collector = -1}, EINVAL);
    check_refused((gomem_options){.mark_workers = -1}, EINVAL);
    check_refused((gomem_options){.force_period_ms = -2}, EINVAL);
    check_refused((gomem_options){.stop_signal = -1}, EINVAL);
    check_refused((gomem_options){.stop_signal = 100000}, EINVAL);
    check_refused((gomem_options){.stop_signal = SIGKILL}, EINVAL);
    check_refused((gomem_options){.stop_signal = SIGSTOP}, EINVAL);
    // Nothing was changed: it starts as usual.
    CHECK(gomem_init(NULL));
    CHECK(GOMEM_NEW(struct alive_node) != NULL);
    CHECK(HEAP_IS_WHOLE());
}

static void init_twice(void) {
    gomem_options options = {.collector = GOMEM_GC_STW, .reserve = (size_t)256 * MB};
    CHECK(gomem_init(&options));
    CHECK(gomem_init(&options)); // nothing differs
    CHECK(gomem_new(100) != NULL);
    options.reserve = (size_t)512 * MB;
    check_refused(options, EALREADY);
    CHECK(gomem_new(100) != NULL);
}

static void init_after_use(void) {
    CHECK(gomem_new(100) != NULL);
    check_refused((gomem_options){.reserve = (size_t)64 * MB}, EALREADY);
    CHECK(gomem_new(100) != NULL);
}

static void percent(void) {
    gomem_options options = {.gc_percent = 70};
    CHECK(gomem_init(&options));
    CHECK_EQ(gomem_set_gc_percent(100), 70);
}

static void percent_off(void) {
    gomem_options options = {.gc_percent = GOMEM_GC_OFF};
    CHECK(gomem_init(&options));
    for (int i = 0; i < 100000; i++) CHECK(gomem_new(500) != NULL);
    CHECK_EQ(stats().num_gc, 0);
    CHECK_EQ(gomem_set_gc_percent(100), GOMEM_GC_OFF);
}

static void stop_the_world(void) {
    gomem_options options = {.collector = GOMEM_GC_STW};
    CHECK(gomem_init(&options));
    gomem_gc();
    CHECK_EQ(stats().collector, GOMEM_GC_STW);
}

static void *collect_some(void *arg) {
    struct alive_node *head = NULL;
    for (uintptr_t i = 0; i < 20000; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        if (!CHECK(node != NULL)) return NULL;
        node->next = head;
        node->index = i;
        head = node;
        if (i % 5000 == 0) gomem_gc();
    }
    uintptr_t expected = 20000;
    for (; head != NULL; head = head->next)
        if (!CHECK(head->index == --expected)) break;
    return arg;
}

static void workers(int n) {
    gomem_options options = {.mark_workers = n};
    CHECK(gomem_init(&options));
    collect_some(NULL);
    CHECK(HEAP_IS_WHOLE());
}

static void one_worker(void) { workers(1); }

static void many_workers(void) { workers(7); }

static void small_reserve(void) {
    gomem_options options = {.reserve = (size_t)64 * MB};
    CHECK(gomem_init(&options));
    void *p = gomem_malloc(20 * MB);
    CHECK(p != NULL);
    errno = 0;
    CHECK(gomem_malloc(1024 * (size_t)MB) == NULL);
    CHECK_EQ(errno, ENOMEM);
    errno = 0;
    CHECK(gomem_new(1024 * (size_t)MB) == NULL);
    CHECK_EQ(errno, ENOMEM);
    gomem_free(p);
    // Garbage for ten times its size goes through it.
    for (int i = 0; i < 640; i++) CHECK(gomem_new(MB) != NULL);
    CHECK(HEAP_IS_WHOLE());
}

static void own_signal(void) {
    gomem_options options = {.stop_signal = SIGUSR2};
    pthread_t thread;
    struct sigaction action;
    CHECK(gomem_init(&options));
    CHECK(pthread_create(&thread, NULL, collect_some, NULL) == 0);
    collect_some(NULL);
    pthread_join(thread, NULL);
    CHECK(sigaction(SIGUSR2, NULL, &action) == 0);
    CHECK((action.sa_flags & SA_SIGINFO) != 0 && (action.sa_flags & SA_RESTART) != 0);
}

static void force(void) {
    gomem_options options = {.force_period_ms = 20};
    CHECK(gomem_init(&options));
    CHECK(GOMEM_NEW(struct alive_node) != NULL);
    for (int i = 0; i < 20000 && stats().num_gc < 3; i++) usleep(1000);
    CHECK(stats().num_gc >= 3);
}

static volatile uintptr_t slot;
#if UINTPTR_MAX > 0xffffffff
enum { TAG_SHIFT = 48 };

static void masked(void) {
    gomem_options options = {.pointer_mask = 0x0000ffffffffffff};
    CHECK(gomem_init(&options));
    alive_check_slot(&slot, (intptr_t)((uintptr_t)0x7ff8 << TAG_SHIFT));
    alive_check_slot(&slot, (intptr_t)((uintptr_t)0xfff8 << TAG_SHIFT) + 5);
    alive_check_slot(&slot, 0);
    volatile uintptr_t local = 0;
    alive_check_slot(&local, (intptr_t)((uintptr_t)0x7ff8 << TAG_SHIFT));
}

// Without the mask a box is a number.
static void unmasked(void) {
    static struct alive_set set;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        if (!alive_chain(&set)) return;
        alive_put(&slot, set.hidden[0], (intptr_t)((uintptr_t)0x7ff8 << TAG_SHIFT));
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
        slot = 0;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
}
#else
static void masked(void) {}
static void unmasked(void) {}
#endif

static int user_token, calls;
static char last_line[1024];

static void note_line(const char *line, void *user) {
    CHECK(user == &user_token);
    calls++;
    snprintf(last_line, sizeof last_line, "%s", line);
}

static void warn_callback(void) {
    setenv("GOMEM_DEBUG", "nonsense=1", 1);
    gomem_options options = {.warn = note_line, .user = &user_token};
    CHECK(gomem_init(&options));
    CHECK(gomem_new(10) != NULL);
    CHECK_EQ(calls, 1);
    CHECK(strstr(last_line, "nonsense") != NULL);
}

// The callback returns: the operation is abandoned, nothing else happened.
static void panic_callback(void) {
    gomem_options options = {.panic = note_line, .user = &user_token};
    int local = 0;
    CHECK(gomem_init(&options));
    char *p = gomem_malloc(100);
    CHECK(p != NULL);
    gomem_free(test_opaque(&local));
    CHECK_EQ(calls, 1);
#ifndef TEST_ASAN // whose locals lie elsewhere
    CHECK(strstr(last_line, "stack") != NULL);
#endif
    gomem_free(test_opaque(p + 8));
    CHECK_EQ(calls, 2);
    CHECK(strstr(last_line, "interior") != NULL);
    gomem_free(p);
    CHECK_EQ(calls, 2);
    CHECK(HEAP_IS_WHOLE());
}

static void *spare;

static bool oom_gives_way(size_t size, void *user) {
    CHECK(user == &user_token);
    CHECK(size >= 20 * MB);
    calls++;
    if (spare == NULL) return false;
    gomem_free(spare);
    spare = NULL;
    return true;
}

static void oom_callback(void) {
    gomem_options options = {.oom = oom_gives_way, .user = &user_token, .reserve = (size_t)96 * MB};
    enum { MOST = 100 };
    void *blocks[MOST];
    CHECK(gomem_init(&options));
    spare = gomem_malloc(24 * MB);
    CHECK(spare != NULL);
    int n = 0;
    while (n < MOST && (blocks[n] = gomem_malloc(24 * MB)) != NULL) n++;
    CHECK(n < MOST);
    CHECK(calls >= 2); // once it gave way, then it did not
    CHECK(spare == NULL);
    while (n > 0) gomem_free(blocks[--n]);
    CHECK(HEAP_IS_WHOLE());
}

enum { EVENTS = 400, CYCLES = 5 };
static int events[EVENTS];
static atomic_int event_count, end_count;

static void note_event(int what, uint64_t ns, void *user) {
    (void)ns;
    CHECK(user == &user_token);
    int at = atomic_fetch_add(&event_count, 1);
    if (at < EVENTS) events[at] = what;
    if (what == GOMEM_EVENT_END) atomic_fetch_add(&end_count, 1);
}

// BEGIN, then STOPPED and RESUMED once or more, then END; cycles do not overlap.
static void event_callback(void) {
    gomem_options options = {.event = note_event, .user = &user_token};
    CHECK(gomem_init(&options));
    CHECK(gomem_new(100) != NULL);
    for (int i = 0; i < CYCLES; i++) gomem_gc();
    for (int i = 0; i < 60000 && atomic_load(&end_count) < CYCLES; i++) usleep(1000);
    CHECK(atomic_load(&end_count) >= CYCLES);
    int begun = 0, stopped = 0, ended = 0;
    for (int i = 0; i < EVENTS && ended < CYCLES; i++) { // what comes later may still be written
        if (events[i] == GOMEM_EVENT_BEGIN) {
            CHECK(begun == ended);
            begun++;
            stopped = 0;
        } else if (events[i] == GOMEM_EVENT_STOPPED) {
            CHECK(begun == ended + 1);
            stopped++;
        } else if (events[i] == GOMEM_EVENT_RESUMED) {
            CHECK(stopped == 1);
            stopped--;
        } else if (events[i] == GOMEM_EVENT_END) {
            CHECK(begun == ended + 1 && stopped == 0);
            ended++;
        } else {
            CHECK(false);
        }
    }
    CHECK(begun == CYCLES && ended == CYCLES);
}

static atomic_int deaf; // 1: the thread blocks all signals; 2: it is to end
static void *block_all(void *arg) {
    uint64_t all = ~(uint64_t)0;
    gomem_free(gomem_malloc(10)); // attaches it
    // not by libc, which leaves out signals of its own
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof all) == 0);
    atomic_store(&deaf, 1);
    while (atomic_load(&deaf) == 1) continue;
    return arg;
}

// A cycle that cannot begin, because a thread does not stop, has an END, too.
static void event_of_no_cycle(void) {
    gomem_options options = {.event = note_event, .user = &user_token};
    pthread_t thread;
    CHECK(gomem_init(&options));
    CHECK(gomem_new(100) != NULL);
    gomem_gc_hold();
    CHECK(!pthread_create(&thread, NULL, block_all, NULL));
    while (!atomic_load(&deaf)) usleep(1000);
    gomem_gc_unhold();
    int before = atomic_load(&end_count), begun = 0, ended = 0;
    CHECK(!gomem_gc());
    CHECK(atomic_load(&end_count) > before);
    gomem_gc_hold(); // no cycle is under way after it
    for (int i = 0; i < EVENTS && events[i]; i++) {
        begun += events[i] == GOMEM_EVENT_BEGIN;
        ended += events[i] == GOMEM_EVENT_END;
    }
    CHECK_EQ(begun, ended);
    atomic_store(&deaf, 2);
    CHECK(!pthread_join(thread, NULL));
    gomem_gc_unhold();
}

#define CHILD_TEST(fn) \
    TEST(option_##fn) { CHILD_GOOD(fn); }

CHILD_TEST(init_null)
CHILD_TEST(init_zero)
CHILD_TEST(init_bad)
CHILD_TEST(init_twice)
CHILD_TEST(init_after_use)
CHILD_TEST(percent)
CHILD_TEST(percent_off)
CHILD_TEST(stop_the_world)
CHILD_TEST(one_worker)
CHILD_TEST(many_workers)
CHILD_TEST(small_reserve)
CHILD_TEST(own_signal)
CHILD_TEST(force)
CHILD_TEST(masked)
CHILD_TEST(unmasked)
CHILD_TEST(warn_callback)
CHILD_TEST(panic_callback)
CHILD_TEST(oom_callback)
CHILD_TEST(event_callback)
CHILD_TEST(event_of_no_cycle)

TEST_MAIN
