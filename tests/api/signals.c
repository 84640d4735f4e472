// The stop signal and the program's own: system calls go on, errno and registers survive, handlers
// may ask gomem_base.
#define _GNU_SOURCE
#include "alive.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <unistd.h>

static int pipe_ends[2];
static atomic_int reading;

static void *read_on(void *arg) {
    char bytes[64];
    gomem_thread_attach();
    for (int i = 0; i < 50; i++) {
        atomic_store(&reading, i + 1);
        ssize_t n = read(pipe_ends[0], bytes, sizeof bytes);
        if (!CHECK_EQ(n, 3)) break;
    }
    return arg;
}

// A read that was interrupted by a stop is restarted by the kernel.
TEST(read_goes_on) {
    pthread_t thread;
    REQUIRE(pipe(pipe_ends) == 0);
    atomic_store(&reading, 0);
    REQUIRE(pthread_create(&thread, NULL, read_on, NULL) == 0);
    for (int i = 0; i < 50; i++) {
        while (atomic_load(&reading) < i + 1) usleep(100);
        gomem_gc();
        gomem_gc();
        CHECK(write(pipe_ends[1], "abc", 3) == 3);
    }
    pthread_join(thread, NULL);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static atomic_bool stop;

static void *keep_errno(void *arg) {
    gomem_thread_attach();
    while (!atomic_load(&stop)) {
        errno = 77;
        for (volatile int i = 0; i < 1000; i++) continue;
        if (!CHECK_EQ(errno, 77)) break;
    }
    return arg;
}

TEST(errno_survives_stops) {
    pthread_t thread;
    atomic_store(&stop, false);
    REQUIRE(pthread_create(&thread, NULL, keep_errno, NULL) == 0);
    for (int i = 0; i < 300; i++) gomem_gc();
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

static void *keep_computing(void *arg) {
    gomem_thread_attach();
    while (!atomic_load(&stop)) {
        double a = 1.0, b = 0.5, c = 0.25, d = 0.125;
        for (int i = 0; i < 2000; i++) {
            a = a * 1.0000001 + b;
            b = b * 0.9999999 + c;
            c = c + d * 0.001;
            d = d * 1.0001;
        }
        static double expected[4];
        static atomic_int known;
        if (atomic_load(&known) == 0) {
            expected[0] = a, expected[1] = b, expected[2] = c, expected[3] = d;
            atomic_store(&known, 1);
        }
        double found[4] = {a, b, c, d};
        if (!CHECK(memcmp(found, expected, sizeof found) == 0)) break;
    }
    return arg;
}

TEST(registers_survive_stops) {
    pthread_t thread;
    atomic_store(&stop, false);
    REQUIRE(pthread_create(&thread, NULL, keep_computing, NULL) == 0);
    for (int i = 0; i < 300; i++) gomem_gc();
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

static struct alive_node *volatile asked;
static atomic_int handled, wrong;

// All that a handler may do.
static void ask(int number) {
    (void)number;
    struct alive_node *node = asked;
    if (node != NULL && gomem_base((char *)node + 9) != node) atomic_fetch_add(&wrong, 1);
    if (gomem_base(&number) != NULL) atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&handled, 1);
}

static void *work(void *arg) {
    while (!atomic_load(&stop)) {
        struct alive_node *head = NULL;
        for (uintptr_t i = 0; i < 500; i++) {
            struct alive_node *node = GOMEM_NEW(struct alive_node);
            if (!CHECK(node != NULL)) return NULL;
            node->next = head;
            node->index = i;
            head = node;
            gomem_free(gomem_malloc(i));
        }
        uintptr_t n = 500;
        for (; head != NULL; head = head->next) CHECK(head->index == --n);
    }
    return arg;
}

// A fast timer whose handler asks, on threads that allocate and collect.
TEST(gomem_base_in_handlers) {
    struct sigaction action, old;
    struct itimerval timer = {{0, 200}, {0, 200}}, none = {{0, 0}, {0, 0}};
    pthread_t threads[2];
    memset(&action, 0, sizeof action);
    action.sa_handler = ask;
    action.sa_flags = SA_RESTART;
    atomic_store(&stop, false);
    asked = GOMEM_NEW(struct alive_node);
    REQUIRE(sigaction(SIGALRM, &action, &old) == 0);
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&threads[i], NULL, work, NULL) == 0);
    REQUIRE(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    while (atomic_load(&handled) < 300) gomem_gc();
    setitimer(ITIMER_REAL, &none, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    sigaction(SIGALRM, &old, NULL);
    CHECK_EQ(atomic_load(&wrong), 0);
    asked = NULL;
    CHECK(HEAP_IS_WHOLE());
}

// Signals of the program's own that interrupt each other on many threads, while others collect.
static void nothing(int number) { (void)number; }

TEST(storm_of_other_signals) {
    struct sigaction action, old;
    pthread_t threads[3];
    memset(&action, 0, sizeof action);
    action.sa_handler = nothing;
    atomic_store(&stop, false);
    REQUIRE(sigaction(SIGUSR1, &action, &old) == 0);
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, work, NULL) == 0);
    for (int i = 0; i < 2000; i++) {
        pthread_kill(threads[i % 3], SIGUSR1);
        if (i % 20 == 0) gomem_gc();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    sigaction(SIGUSR1, &old, NULL);
    CHECK(HEAP_IS_WHOLE());
}

// A thread blocks every signal, outside any region, until a stop has signaled it: the cycle waits and
// then goes on.
static atomic_int masked;

// Waits for a real-time signal that this thread blocks; false: none came within a minute.
static bool wait_for_pending(void) {
    sigset_t pending;
    for (int i = 0; i < 600000; i++) {
        sigemptyset(&pending);
        sigpending(&pending);
        for (int s = SIGRTMIN; s <= SIGRTMAX; s++)
            if (sigismember(&pending, s) == 1) return true;
        usleep(100);
    }
    return false;
}

static void *mask_for_a_while(void *arg) {
    struct alive_node *mine = GOMEM_NEW(struct alive_node);
    sigset_t all, old;
    sigfillset(&all);
    mine->index = 4711;
    for (int i = 0; i < 10; i++) {
        pthread_sigmask(SIG_SETMASK, &all, &old);
        atomic_store(&masked, 1);
        CHECK(wait_for_pending());
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    CHECK(mine->index == 4711);
    atomic_store(&stop, true);
    return arg;
}

TEST(signals_blocked_for_a_while) {
    pthread_t thread;
    atomic_store(&masked, 0);
    atomic_store(&stop, false);
    REQUIRE(pthread_create(&thread, NULL, mask_for_a_while, NULL) == 0);
    while (!atomic_load(&masked)) usleep(100);
    while (!atomic_load(&stop)) gomem_gc();
    pthread_join(thread, NULL);
    CHECK(HEAP_IS_WHOLE());
}

// Threads in sigwait for all signals stand in a region and are left alone.
static void *wait_for_signal(void *arg) {
    sigset_t all;
    int got = 0;
    gomem_thread_attach();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    gomem_blocking_begin();
    atomic_store(&masked, 1);
    CHECK(sigwait(&all, &got) == 0);
    gomem_blocking_end();
    CHECK_EQ(got, SIGUSR1);
    return arg;
}

TEST(sigwait_in_a_region) {
    pthread_t thread;
    atomic_store(&masked, 0);
    REQUIRE(pthread_create(&thread, NULL, wait_for_signal, NULL) == 0);
    while (!atomic_load(&masked)) usleep(100);
    for (int i = 0; i < 20; i++) gomem_gc();
    pthread_kill(thread, SIGUSR1);
    pthread_join(thread, NULL);
}

TEST_MAIN
