// Fork handlers of a program that allocate, whenever they were registered: before gomem's own, after
// them, before its first use. Each test forks in a child that has not used gomem before.
#define _GNU_SOURCE
#include "child.h"
#include "gomem.h"

#include <pthread.h>
#include <stdatomic.h>

static void (*in_handler)(const char *where); // what the handlers do; NULL: nothing
static int calls;

static void act(const char *where) {
    if (!in_handler) return;
    calls++;
    in_handler(where);
}
static void prepare(void) { act("prepare"); }
static void parent(void) { act("parent"); }
static void child(void) { act("child"); }

// Linked before gomem's object, so registered before its handlers: these run between them.
__attribute__((constructor(101))) static void register_early(void) {
    (void)pthread_atfork(prepare, parent, child);
}

static void allocate(const char *where) {
    for (size_t i = 0; i < 300; i++) {
        char *small = gomem_malloc(100 + i * 40), *large = gomem_calloc(1, 40000 + i * 100);
        if (!CHECK(small != NULL && large != NULL)) return;
        CHECK(large[0] == 0 && large[39999] == 0);
        small = gomem_realloc(small, 500 + i * 40);
        CHECK(small != NULL && strlen(where) > 0);
        gomem_free(large);
        gomem_free(small);
    }
}

// A child that allocates; its status is that of the checks made in it.
static bool fork_once(void) {
    pid_t pid = fork();
    if (pid == 0) {
        allocate("the child");
        _exit(test_failed() > 0);
    }
    int status = -1;
    return CHECK(pid > 0 && waitpid(pid, &status, 0) == pid) && CHECK_EQ(status, 0);
}

static void *keep_allocating(void *stop) {
    for (size_t i = 0; !atomic_load((atomic_bool *)stop); i++) {
        void *p = gomem_malloc(i % 7 ? i % 5000 : 70000);
        gomem_free(p);
    }
    return NULL;
}

static void forks_beside_threads(void) {
    atomic_bool stop = false;
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        REQUIRE(pthread_create(&thread[i], NULL, keep_allocating, &stop) == 0);
    for (int i = 0; i < 20; i++)
        if (!fork_once()) break;
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) pthread_join(thread[i], NULL);
    CHECK(HEAP_IS_WHOLE());
}

static void *fork_on_thread(void *arg) {
    CHECK(fork_once());
    return arg;
}

static void first_use_is_in_a_handler(void) {
    in_handler = allocate;
    CHECK(fork_once());
    CHECK_EQ(calls, 2);
    CHECK(HEAP_IS_WHOLE());
}

static void used_before(void) {
    allocate("before");
    in_handler = allocate;
    CHECK(fork_once());
    forks_beside_threads();
}

static void thread_without_a_record(void) {
    pthread_t thread;
    allocate("before");
    in_handler = allocate;
    REQUIRE(pthread_create(&thread, NULL, fork_on_thread, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(calls >= 2);
}

static pthread_key_t key;

static void fork_at_the_end(void *arg) {
    if (arg != (void *)8) { // once more, until gomem has let go of the thread
        (void)pthread_setspecific(key, (char *)arg + 1);
        return;
    }
    CHECK(fork_once());
}

static void *end_with_a_fork(void *arg) {
    allocate("a thread");
    (void)pthread_setspecific(key, (void *)5);
    return arg;
}

static void thread_that_has_ended(void) {
    pthread_t thread;
    in_handler = allocate;
    REQUIRE(pthread_key_create(&key, fork_at_the_end) == 0);
    REQUIRE(pthread_create(&thread, NULL, end_with_a_fork, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(calls >= 2);
}

TEST(first_use) { CHILD_GOOD(first_use_is_in_a_handler); }
TEST(with_threads) {
    NEEDS_FORK;
    CHILD_GOOD(used_before);
}
TEST(unknown_thread) {
    NEEDS_FORK;
    CHILD_GOOD(thread_without_a_record);
}
TEST(ended_thread) {
    NEEDS_FORK;
    CHILD_GOOD(thread_that_has_ended);
}

// The collected heap is opened, grows over its trigger, and is asked to collect: without a cycle.
static void *volatile list;

static void collect(const char *where) {
    for (int i = 0; i < 3000; i++) {
        void **cell = gomem_new(1000);
        if (!CHECK(cell != NULL)) return;
        *cell = i % 100 ? list : NULL;
        list = cell;
    }
    gomem_gc();
    gomem_blocking_begin();
    gomem_blocking_end();
    allocate(where);
}

static void collected_heap(void) {
    in_handler = collect;
    for (int i = 0; i < 3; i++) CHECK(fork_once());
    uint64_t before = gomem_num_gc();
    gomem_gc();
    CHECK(gomem_num_gc() > before);
    for (int i = 0; i < 3; i++) CHECK(fork_once());
    CHECK(HEAP_IS_WHOLE());
}

TEST(collected) {
    NEEDS_FORK;
    CHILD_GOOD(collected_heap);
}

// Between gomem's handlers no thread can be stopped: what needs that says so.
static void ask(const char *where) {
    void *volatile p = gomem_new(16);
    errno = 0;
    CHECK(!gomem_verify());
    CHECK_EQ(errno, EAGAIN);
    CHECK(!gomem_why((void *)p, 2));
    gomem_shutdown(); // only warns
    CHECK(gomem_new(16) != NULL);
    allocate(where);
}

static void asks_in_handlers(void) {
    in_handler = ask;
    CHECK(fork_once()); // the collected heap is opened there
    CHECK(fork_once());
    CHECK(HEAP_IS_WHOLE());
}

TEST(asks) {
    struct child child;
    NEEDS_FORK;
    child_run(&child, asks_in_handlers);
    CHECK(WIFEXITED(child.status) && !WEXITSTATUS(child.status));
    CHECK(strstr(child.text, "a fork, runs on this thread: ask after it") != NULL);
    CHECK(strstr(child.text, "gomem_shutdown in a collection, a fork") != NULL);
}

static void *nothing(void *arg) { return arg; }

// A library's child handler starts its thread again.
static void start_thread(const char *where) {
    pthread_t thread;
    if (strcmp(where, "child") != 0) return;
    if (!CHECK(gomem_thread_create(&thread, NULL, nothing, NULL) == 0)) return;
    CHECK(pthread_detach(thread) == 0);
}

static void threads_in_handlers(void) {
    allocate("before");
    in_handler = start_thread;
    for (int i = 0; i < 10; i++) CHECK(fork_once());
}

TEST(thread_started_in_a_handler) {
    NEEDS_FORK;
    CHILD_GOOD(threads_in_handlers);
}

// The handlers that most libraries have: they take a lock whose holders allocate. Registered before
// the first use of gomem: its gate must not be closed yet while they wait.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void lock(void) { pthread_mutex_lock(&mutex); }
static void unlock(void) { pthread_mutex_unlock(&mutex); }

static void *allocate_under_the_lock(void *stop) {
    while (!atomic_load((atomic_bool *)stop)) {
        lock();
        for (int i = 0; i < 20; i++) gomem_free(gomem_malloc(50000));
        unlock();
    }
    return NULL;
}

static void handlers_lock(void) {
    atomic_bool stop = false;
    pthread_t thread[2];
    REQUIRE(pthread_atfork(lock, unlock, unlock) == 0);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&thread[i], NULL, allocate_under_the_lock, &stop) == 0);
    for (int i = 0; i < 200; i++)
        if (!fork_once()) break;
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
}

TEST(handlers_that_lock) {
    NEEDS_FORK;
    CHILD_GOOD(handlers_lock);
}

TEST_MAIN
