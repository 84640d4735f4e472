// Threads: attaching and leaving, many at once, blocking regions, ends of every kind.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static void join(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

static uint64_t threads_now(void) {
    gomem_memstats stats = {.size = sizeof stats};
    gomem_read_memstats(&stats);
    return stats.threads;
}

// A list with sums, built and checked by one thread.
static bool work(size_t n) {
    struct alive_node *head = NULL;
    for (size_t i = 0; i < n; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        if (node == NULL || node->index != 0 || node->check != 0) return false;
        node->index = i;
        node->check = alive_sum(i, alive_hide(node));
        node->next = head;
        head = node;
        gomem_free(gomem_malloc(i % 300));
    }
    size_t length = 0;
    for (; head != NULL; head = head->next, length++)
        if (head->check != alive_sum(head->index, alive_hide(head))) return false;
    return length == n;
}

TEST(attach_and_detach_by_hand) {
    CHECK(gomem_thread_attach());
    CHECK(gomem_thread_attach()); // again: nothing
    CHECK(work(100));
    gomem_thread_detach();
    CHECK(work(100)); // the first allocation attaches again
    gomem_gc();
    CHECK(work(100));
    CHECK(gomem_thread_attach());
}

static void *attach_detach(void *arg) {
    for (int i = 0; i < 50; i++) {
        CHECK(gomem_thread_attach());
        CHECK(work(50));
        gomem_thread_detach();
    }
    return arg;
}

TEST(attach_and_detach_on_threads) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, attach_detach, NULL) == 0);
    for (int i = 0; i < 20; i++) gomem_gc();
    for (int i = 0; i < 4; i++) join(threads[i]);
    CHECK(HEAP_IS_WHOLE());
}

static void *return_argument(void *arg) {
    CHECK(work(100));
    return arg;
}

TEST(thread_create_is_pthread_create) {
    pthread_t thread;
    int here;
    void *result = NULL;
    REQUIRE(gomem_thread_create(&thread, NULL, return_argument, &here) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == &here);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 1 << 20);
    REQUIRE(gomem_thread_create(&thread, &attr, return_argument, NULL) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == NULL);
    pthread_attr_destroy(&attr);
}

static atomic_int arrived;

static void *arrive(void *arg) {
    CHECK(work(100));
    atomic_fetch_add(&arrived, 1);
    return arg;
}

static void *return_new(void *arg) {
    void *result = GOMEM_NEW(struct alive_node);
    *(gomem_weak *)arg = gomem_weak_make(result);
    return result;
}

// Result i lives until it is joined by gomem_thread_join, or until a thread with the same pthread_t
// begins: by then somebody has joined it.
TEST(results_of_earlier_threads_are_dropped) {
    enum { N = 40 };
    static gomem_weak results[N];
    pthread_t last, thread;
    int same = 0, alive = 0;
    for (int i = 0; i < N; i++, last = thread) {
        REQUIRE(gomem_thread_create(&thread, NULL, return_new, &results[i]) == 0);
        join(thread);
        same += i > 0 && pthread_equal(last, thread);
    }
    alive_gc();
    alive_gc();
    for (int i = 0; i < N; i++) alive += gomem_weak_get(results[i]) != NULL;
    CHECK(alive <= N - same + N / 10); // some may be kept by accident
}

TEST(detached_threads) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    atomic_store(&arrived, 0);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        REQUIRE(gomem_thread_create(&thread, &attr, arrive, NULL) == 0);
        if (i % 10 == 0) gomem_gc();
    }
    while (atomic_load(&arrived) < 50) usleep(500);
    pthread_attr_destroy(&attr);
    gomem_gc();
}

static void *allocate_and_collect(void *arg) {
    for (int i = 0; i < 4; i++) {
        CHECK(work(1500));
        if ((uintptr_t)arg % 8 == 0) gomem_gc();
    }
    return NULL;
}

TEST(sixty_four_threads) {
    enum { N = 64 };
    pthread_t threads[N];
    for (uintptr_t i = 0; i < N; i++)
        REQUIRE(pthread_create(&threads[i], NULL, allocate_and_collect, (void *)i) == 0);
    for (int i = 0; i < N; i++) join(threads[i]);
    CHECK(HEAP_IS_WHOLE());
}

// Everybody collects at once: each call returns after a full cycle.
static void *collect_only(void *arg) {
    for (int i = 0; i < 10; i++) gomem_gc();
    return arg;
}

TEST(all_collect_at_once) {
    enum { N = 16 };
    pthread_t threads[N];
    for (int i = 0; i < N; i++) REQUIRE(pthread_create(&threads[i], NULL, collect_only, NULL) == 0);
    for (int i = 0; i < N; i++) join(threads[i]);
    CHECK(work(1000));
}

static void *allocate_and_leave(void *arg) {
    void *objects[500];
    for (size_t i = 0; i < 500; i++) {
        objects[i] = gomem_malloc(i * 4);
        CHECK(objects[i] != NULL && gomem_new(i * 4) != NULL);
    }
    for (size_t i = 0; i < 500; i++) gomem_free(objects[i]);
    return arg;
}

TEST(exit_gives_memory_back) {
    gomem_memstats early = {.size = sizeof early}, late = {.size = sizeof late};
    uint64_t threads = threads_now();
    for (int round = 0; round < 150; round++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, allocate_and_leave, NULL) == 0);
        join(thread);
        if (round == 20) gomem_read_memstats(&early);
    }
    gomem_gc();
    gomem_read_memstats(&late);
    CHECK(late.heap_inuse < early.heap_inuse + (8 << 20));
    CHECK_EQ(late.threads, threads);
    CHECK(HEAP_IS_WHOLE());
}

// A destructor of a key of the program's own, which runs before or after the library's.
static pthread_key_t key;
static atomic_int destroyed;

static void destroy(void *value) {
    uintptr_t left = (uintptr_t)value;
    CHECK(work(50));
    gomem_free(gomem_malloc(100));
    if (left > 1) pthread_setspecific(key, (void *)(left - 1));
    else atomic_fetch_add(&destroyed, 1);
}

static void *set_key(void *arg) {
    pthread_setspecific(key, (void *)(uintptr_t)3);
    CHECK(work(50));
    return arg;
}

TEST(allocation_in_key_destructors) {
    atomic_store(&destroyed, 0);
    REQUIRE(pthread_key_create(&key, destroy) == 0);
    for (int i = 0; i < 30; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, set_key, NULL) == 0);
        if (i % 5 == 0) gomem_gc();
        join(thread);
    }
    CHECK_EQ(atomic_load(&destroyed), 30);
    pthread_key_delete(key);
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

static void *leave_by_pthread_exit(void *arg) {
    CHECK(work(50));
    pthread_exit(arg);
}

TEST(pthread_exit_ends_a_thread) {
    pthread_t thread;
    void *result = NULL;
    int here;
    REQUIRE(gomem_thread_create(&thread, NULL, leave_by_pthread_exit, &here) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == &here);
    gomem_gc();
}

// A thread that waits in a blocking region with every signal blocked: nobody has to ask it.
static int pipe_ends[2];
static atomic_int parked;

static void *wait_in_region(void *arg) {
    sigset_t all;
    sigfillset(&all);
    CHECK(work(20));
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    gomem_blocking_begin();
    atomic_store(&parked, 1);
    char byte;
    ssize_t n = read(pipe_ends[0], &byte, 1);
    gomem_blocking_end();
    CHECK_EQ(n, 1);
    CHECK(work(20));
    return arg;
}

static void release(void) { CHECK(write(pipe_ends[1], "x", 1) == 1); }

TEST(blocking_region_does_not_delay) {
    pthread_t thread;
    REQUIRE(pipe(pipe_ends) == 0);
    atomic_store(&parked, 0);
    REQUIRE(pthread_create(&thread, NULL, wait_in_region, NULL) == 0);
    while (!atomic_load(&parked)) usleep(200);
    for (int i = 0; i < 20; i++) gomem_gc();
    CHECK(work(1000));
    release();
    join(thread);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

// poll is never restarted after a signal: a thread in a region is not signalled.
static void *poll_in_region(void *arg) {
    struct pollfd fd = {.fd = pipe_ends[0], .events = POLLIN};
    CHECK(work(20));
    gomem_blocking_begin();
    atomic_store(&parked, 1);
    int n = poll(&fd, 1, -1);
    int error = errno;
    gomem_blocking_end();
    if (n != 1) CHECK_EQ(error, 0);
    return arg;
}

TEST(blocking_region_is_not_signalled) {
    pthread_t thread;
    REQUIRE(pipe(pipe_ends) == 0);
    atomic_store(&parked, 0);
    REQUIRE(pthread_create(&thread, NULL, poll_in_region, NULL) == 0);
    while (!atomic_load(&parked)) usleep(200);
    for (int i = 0; i < 50; i++) gomem_gc();
    release();
    join(thread);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static int told;
static void hear(const char *line, void *user) {
    (void)user;
    told += strstr(line, "blocking region") != NULL;
}

struct leaf {
    struct leaf *next;
    long key;
};
struct text {
    struct leaf *owner;
    char tail[];
};
GOMEM_TYPE(leaf_type, struct leaf, next);
GOMEM_TYPE_NOPTR(text_type, struct text);

// Whatever would give collected memory, also from a run that the thread has, is told.
TEST(collected_memory_in_a_blocking_region) {
    gomem_options options = {.panic = hear};
    REQUIRE(gomem_init(&options));
    if (GOMEM_I_CHECK < 1) return;
    struct leaf *p = GOMEM_NEW(struct leaf), *q = GOMEM_MAKE_NOSCAN(struct leaf, 10);
    REQUIRE(p && q && GOMEM_NEW_TYPED(struct leaf, &leaf_type));
    void *manual = gomem_malloc(10);
    gomem_blocking_begin();
    told = 0;
    CHECK(!GOMEM_NEW(struct leaf) && told == 1);
    CHECK(!GOMEM_NEW_NOSCAN(struct leaf) && told == 2);
    CHECK(!GOMEM_MAKE(struct leaf, 3) && told == 3);
    CHECK(!GOMEM_MAKE(struct leaf, 300000) && told == 4);
    CHECK(!GOMEM_NEW_TYPED(struct leaf, &leaf_type) && told == 5);
    CHECK(!GOMEM_MAKE_TYPED(struct leaf, &leaf_type, 3) && told == 6);
    CHECK(!GOMEM_NEW_FLEX(struct text, tail, 9) && told == 7);
    CHECK(!GOMEM_NEW_FLEX_TYPED(struct text, &text_type, tail, 9) && told == 8);
    CHECK(!gomem_new(100) && !gomem_new_noscan(100) && told == 10);
    CHECK(!gomem_new_string("text", SIZE_MAX) && told == 11);
    CHECK(!gomem_new_with(16, 64, GOMEM_UNCOLLECTABLE) && told == 12);
    CHECK(!gomem_rc_new(20, NULL) && told == 13);
    void *volatile none = gomem_realloc(test_opaque(p), 1000);
    CHECK(!none && told == 14);
    none = gomem_realloc(test_opaque(q), 159);
    CHECK(!none && told == 15);
    manual = gomem_realloc(manual, 1000);
    CHECK(manual != NULL && told == 15);
    gomem_free(manual);
    gomem_blocking_end();
    CHECK(GOMEM_NEW(struct leaf) && told == 15);
    p = gomem_realloc(p, 1000);
    CHECK(p && told == 15);
}

// In and out of regions while others collect; manual memory may be used inside.
static atomic_bool stop;

static void *in_and_out(void *arg) {
    struct alive_node *mine = GOMEM_NEW(struct alive_node);
    uintptr_t steps = 0;
    while (!atomic_load(&stop)) {
        mine->index = ++steps;
        gomem_blocking_begin();
        char *p = gomem_malloc(steps % 3000 + 1);
        CHECK(p != NULL);
        p[0] = p[steps % 3000] = 1;
        if (steps % 3 == 0) sched_yield();
        gomem_free(p);
        gomem_blocking_end();
        if (!CHECK(mine->index == steps)) break;
        struct alive_node *next = GOMEM_NEW(struct alive_node);
        if (!CHECK(next != NULL && next->index == 0 && next->next == NULL)) break;
        mine = next;
    }
    return arg;
}

TEST(in_and_out_of_regions) {
    pthread_t threads[4];
    atomic_store(&stop, false);
    for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, in_and_out, NULL) == 0);
    for (int i = 0; i < 200; i++) gomem_gc();
    atomic_store(&stop, true);
    for (int i = 0; i < 4; i++) join(threads[i]);
    CHECK(HEAP_IS_WHOLE());
}

// Cancelled inside a region: the thread's end is as clean as any.
TEST(cancelled_in_a_region) {
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        REQUIRE(pipe(pipe_ends) == 0);
        atomic_store(&parked, 0);
        REQUIRE(pthread_create(&thread, NULL, wait_in_region, NULL) == 0);
        while (!atomic_load(&parked)) usleep(200);
        CHECK(pthread_cancel(thread) == 0);
        join(thread);
        gomem_gc();
        close(pipe_ends[0]);
        close(pipe_ends[1]);
    }
    CHECK(work(1000));
    CHECK(HEAP_IS_WHOLE());
}

// Keys: one made before the library's own, one behind it. Destructors may use collected memory, also
// of threads that were cancelled in a region.
static pthread_key_t key_before, key_behind;
static atomic_int done_before, done_behind;

static void work_at_the_end(void *value) {
    CHECK(work(50));
    (void)atomic_fetch_add((atomic_int *)value, 1);
}

__attribute__((constructor)) static void make_early_key(void) {
    (void)pthread_key_create(&key_before, work_at_the_end);
}

static void *wait_in_regions(void *arg) {
    if (arg) (void)pthread_setspecific(key_before, &done_before);
    (void)pthread_setspecific(key_behind, &done_behind);
    char byte;
    gomem_blocking_begin();
    gomem_blocking_begin();
    atomic_store(&parked, 1);
    while (read(pipe_ends[0], &byte, 1) != 1) continue; // here it is cancelled
    return arg;
}

TEST(cancelled_in_a_region_then_allocates) {
    CHECK(work(10)); // the library's key is there
    REQUIRE(pthread_key_create(&key_behind, work_at_the_end) == 0);
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        REQUIRE(pipe(pipe_ends) == 0);
        atomic_store(&parked, 0);
        if (i % 2) REQUIRE(gomem_thread_create(&thread, NULL, wait_in_regions, &parked) == 0);
        else REQUIRE(pthread_create(&thread, NULL, wait_in_regions, NULL) == 0);
        while (!atomic_load(&parked)) usleep(200);
        CHECK(pthread_cancel(thread) == 0);
        join(thread);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
    }
    CHECK_EQ(atomic_load(&done_before), 5);
    CHECK_EQ(atomic_load(&done_behind), 10);
    pthread_key_delete(key_behind);
    CHECK(HEAP_IS_WHOLE());
}

// A thread that allocates nothing itself and attaches before it takes collected pointers.
static _Atomic(struct alive_node *) mailbox;

static void *take_from_mailbox(void *arg) {
    CHECK(gomem_thread_attach());
    for (size_t taken = 0; taken < 500;) {
        struct alive_node *node = atomic_exchange(&mailbox, NULL);
        if (node == NULL) {
            sched_yield();
            continue;
        }
        sched_yield(); // collections fall here; only this stack holds the node
        if (!CHECK(node->check == alive_sum(node->index, alive_hide(node)))) break;
        taken++;
    }
    return arg;
}

static void *collect_until_stop(void *arg) {
    while (!atomic_load(&stop)) gomem_gc();
    return arg;
}

TEST(attached_thread_that_only_takes) {
    pthread_t taker, collector;
    atomic_store(&stop, false);
    REQUIRE(pthread_create(&taker, NULL, take_from_mailbox, NULL) == 0);
    REQUIRE(pthread_create(&collector, NULL, collect_until_stop, NULL) == 0);
    for (size_t sent = 0; sent < 500 && test_failed() == 0;) {
        if (atomic_load(&mailbox) != NULL) {
            sched_yield();
            continue;
        }
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        REQUIRE(node != NULL);
        node->index = sent++;
        node->check = alive_sum(node->index, alive_hide(node));
        atomic_store(&mailbox, node);
    }
    join(taker);
    atomic_store(&stop, true);
    join(collector);
}

// The main thread ends first; another goes on and ends the process.
static void *go_on_alone(void *first) {
    CHECK(pthread_join(*(pthread_t *)first, NULL) == 0);
    CHECK(work(5000));
    gomem_gc();
    CHECK(work(5000));
    CHECK(HEAP_IS_WHOLE());
    exit(test_failed() > 0);
    return NULL;
}

static void main_ends_first(void) {
    static pthread_t first;
    pthread_t thread;
    first = pthread_self();
    CHECK(work(1000));
    if (!CHECK(gomem_thread_create(&thread, NULL, go_on_alone, &first) == 0)) return;
    pthread_exit(NULL);
}

// A thread that is long in the kernel does not answer a stop: it is withdrawn, the others go on, and in
// the end the cycle waits for it.
enum { LONG_READ = 500 << 20 };
static atomic_bool reading, has_read;

static void *read_long(void *arg) {
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    char *to = mmap(NULL, LONG_READ, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct alive_node *volatile mine = GOMEM_NEW(struct alive_node);
    if (!CHECK(fd >= 0 && to != MAP_FAILED && mine != NULL)) return NULL;
    mine->check = alive_sum(7, alive_hide(mine));
    atomic_store(&reading, true);
    for (ssize_t n, all = 0; all < LONG_READ; all += n)
        if ((n = read(fd, to + all, (size_t)(LONG_READ - all))) <= 0) break;
    atomic_store(&has_read, true);
    CHECK(mine->check == alive_sum(7, alive_hide(mine)));
    munmap(to, LONG_READ);
    close(fd);
    return arg;
}

static void *work_meanwhile(void *arg) {
    while (!atomic_load(&has_read)) CHECK(work(1000));
    return arg;
}

TEST(a_long_read_during_stops) {
    pthread_t reader, worker;
    if (sysconf(_SC_AVPHYS_PAGES) < 2 * (LONG_READ / 4096)) SKIP("too little memory is free");
    REQUIRE(gomem_thread_create(&reader, NULL, read_long, NULL) == 0);
    REQUIRE(gomem_thread_create(&worker, NULL, work_meanwhile, NULL) == 0);
    while (!atomic_load(&reading)) sched_yield();
    size_t cycles = 0;
    do gomem_gc();
    while (cycles++ < 2 || !atomic_load(&has_read));
    join(reader);
    join(worker);
    CHECK(HEAP_IS_WHOLE());
}

// qsort may move the pointers through memory that is not scanned: a copy keeps the objects alive.
static int by_value(const void *a, const void *b) {
    size_t x = **(size_t *const *)a, y = **(size_t *const *)b;
    return x < y ? -1 : x > y;
}
static void *collect_till(void *done) {
    while (!__atomic_load_n((int *)done, __ATOMIC_RELAXED)) {
        (void)gomem_gc();
        for (int i = 0; i < 100; i++) *GOMEM_NEW(size_t) = 0; // takes the place of what was freed
    }
    return NULL;
}
TEST(sorted_beside_collections) {
    enum { N = 20000 };
    size_t **array = GOMEM_MAKE(size_t *, N), **copy = GOMEM_MAKE(size_t *, N);
    pthread_t thread;
    int done = 0;
    REQUIRE(array && copy);
    for (size_t i = 0; i < N; i++) {
        size_t *number = GOMEM_NEW(size_t);
        REQUIRE(number != NULL);
        *number = i * 7919 % N + 1;
        GOMEM_STORE(&array[i], number);
    }
    REQUIRE(pthread_create(&thread, NULL, collect_till, &done) == 0);
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < N; i++) *array[i] = (*array[i] * 31 + 7) % 100003 + 1;
        gomem_memmove(copy, array, N * sizeof array[0]);
        qsort(array, N, sizeof array[0], by_value);
        GOMEM_KEEP_ALIVE(copy);
        for (size_t i = 1; i < N; i++) CHECK(*array[i] && *array[i - 1] <= *array[i]);
    }
    __atomic_store_n(&done, 1, __ATOMIC_RELAXED);
    CHECK(pthread_join(thread, NULL) == 0);
}

TEST(main_thread_ends_first) {
    NEEDS_FORK;
    CHILD_GOOD(main_ends_first);
}

// The process ends while threads allocate and collect.
static void *work_for_ever(void *arg) {
    for (;;) work(100);
    return arg;
}

static void exit_in_the_middle(void) {
    pthread_t thread;
    for (int i = 0; i < 4; i++) {
        void *(*fn)(void *) = i == 0 ? collect_until_stop : work_for_ever;
        if (!CHECK(pthread_create(&thread, NULL, fn, NULL) == 0)) return;
    }
    CHECK(work(20000));
}

TEST(exit_while_threads_work) {
    NEEDS_FORK;
    atomic_store(&stop, false);
    for (int i = 0; i < 5; i++) CHILD_GOOD(exit_in_the_middle);
}

// Threads with the smallest stacks that there are allocate, are stopped, and run cycles.
static void *on_little_stack(void *arg) {
    struct alive_node *list = NULL;
    for (int i = 0; i < 200000; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        if (!node) return NULL;
        node->index = (uintptr_t)i;
        node->next = i % 1000 ? list : NULL;
        list = node;
        if (i % 50000 == 0) gomem_gc();
    }
    for (int i = 199999; list; list = list->next) CHECK_EQ(list->index, i--);
    return arg;
}

TEST(smallest_stacks) {
    pthread_attr_t attr;
    pthread_t thread[4];
    void *result = NULL;
    size_t least = (size_t)sysconf(_SC_THREAD_STACK_MIN);
    REQUIRE(pthread_attr_init(&attr) == 0);
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    least *= 8;
#endif
    REQUIRE(pthread_attr_setstacksize(&attr, least) == 0);
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], &attr, on_little_stack, thread) == 0);
    for (int i = 0; i < 4; i++) {
        REQUIRE(pthread_join(thread[i], &result) == 0);
        CHECK(result == thread);
    }
    pthread_attr_destroy(&attr);
}

TEST_MAIN
