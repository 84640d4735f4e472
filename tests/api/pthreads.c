// Threads by their usual names: what they are given and what they return is kept alive, and their
// masks do not hold the stop signal.
#define _GNU_SOURCE
#define GOMEM_THREADS
#include "child.h"
#include "gomem.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>

struct message {
    uintptr_t magic;
    size_t number;
    void *more[6];
};

static struct message *make(size_t number) {
    struct message *m = GOMEM_NEW(struct message);
    if (!CHECK(m != NULL)) exit(1);
    m->magic = ~(uintptr_t)m;
    m->number = number;
    return m;
}
static bool is_whole(const struct message *m, size_t number) {
    return gomem_base(m) == m && m->magic == ~(uintptr_t)m && m->number == number;
}

static void collect_and_reuse(void) {
    for (int i = 0; i < 2; i++) CHECK(COLLECTED());
    for (int i = 0; i < 2000; i++) (void)GOMEM_NEW(struct message);
}
static __attribute__((noinline)) void clear_stack(void) {
    volatile char below[8192];
    for (size_t i = 0; i < sizeof below; i++) below[i] = 0;
}

// ---- arguments ----

static sem_t taken; // under ThreadSanitizer a signal ends no wait at a barrier

static void *take(void *arg) {
    while (sem_wait(&taken) != 0) continue; // it has allocated nothing: it attached when created
    struct message *m = arg;
    CHECK(is_whole(m, m->number));
    return NULL;
}

static __attribute__((noinline)) bool give(pthread_t *thread, size_t number) {
    return CHECK(pthread_create(thread, NULL, take, make(number)) == 0);
}

TEST(arguments_are_roots) {
    enum { N = 8 };
    for (int round = 0; round < 20; round++) {
        pthread_t threads[N];
        REQUIRE(sem_init(&taken, 0, 0) == 0);
        for (size_t i = 0; i < N; i++) REQUIRE(give(&threads[i], i));
        clear_stack();
        collect_and_reuse();
        for (size_t i = 0; i < N; i++) CHECK(sem_post(&taken) == 0);
        for (size_t i = 0; i < N; i++) CHECK(pthread_join(threads[i], NULL) == 0);
        sem_destroy(&taken);
    }
}

// ---- results ----

static atomic_int ids[8]; // of the threads that answer, by number

static struct message *make_answer(void *arg) {
    atomic_store(&ids[(size_t)arg], (int)syscall(SYS_gettid));
    return make((size_t)arg);
}
static void *answer(void *arg) { return make_answer(arg); }
static __attribute__((noinline)) void leave(void *arg) { pthread_exit(make_answer(arg)); }
static void *answer_deep(void *arg) {
    leave(arg);
    return NULL;
}

static void wait_for_end(size_t number) {
    while (!atomic_load(&ids[number])) sched_yield();
    while (syscall(SYS_tgkill, getpid(), atomic_load(&ids[number]), 0) == 0) sched_yield();
    atomic_store(&ids[number], 0);
}

static void results(void *(*fn)(void *), bool ours) {
    enum { N = 4 };
    for (int round = 0; round < 10; round++) {
        pthread_t threads[N];
        for (size_t i = 0; i < N; i++)
            REQUIRE(pthread_create(&threads[i], NULL, fn, (void *)(i + 1)) == 0);
        for (size_t i = 0; i < N; i++) wait_for_end(i + 1);
        clear_stack();
        collect_and_reuse();
        for (size_t i = 0; i < N; i++) {
            void *result = NULL;
            CHECK((ours ? pthread_join(threads[i], &result)
                        : (pthread_join)(threads[i], &result)) == 0);
            CHECK(is_whole(result, i + 1));
        }
    }
}
TEST(results_are_roots_until_joined) { results(answer, true); }
TEST(results_of_pthread_exit) { results(answer_deep, true); }
TEST(results_that_are_joined_plainly) { results(answer, false); }

static gomem_weak fates[8];

static void *answer_watched(void *arg) {
    struct message *m = make_answer(arg);
    fates[(size_t)arg] = gomem_weak_make(m);
    return m;
}
static size_t living(void) { // a word on a stack may hold one of them by chance
    size_t n = 0;
    for (int i = 0; i < 5; i++) {
        clear_stack();
        CHECK(COLLECTED());
    }
    for (size_t i = 0; i < 8; i++) n += gomem_weak_get(fates[i]) != NULL;
    return n;
}
static __attribute__((noinline)) void join_and_check(pthread_t thread, size_t number) {
    void *result = NULL;
    CHECK(pthread_join(thread, &result) == 0 && is_whole(result, number));
}

TEST(results_go_when_they_are_joined) {
    pthread_t threads[8];
    memset(fates, 0, sizeof fates);
    for (size_t i = 0; i < 8; i++)
        REQUIRE(pthread_create(&threads[i], NULL, answer_watched, (void *)i) == 0);
    for (size_t i = 0; i < 8; i++) wait_for_end(i);
    CHECK_EQ(living(), 8);
    for (size_t i = 0; i < 8; i++) join_and_check(threads[i], i);
    CHECK(living() <= 1);
}

static void detached(int how) {
    pthread_t threads[8];
    pthread_attr_t attr;
    REQUIRE(pthread_attr_init(&attr) == 0);
    if (how == 0) REQUIRE(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
    memset(fates, 0, sizeof fates);
    for (size_t i = 0; i < 8; i++) {
        REQUIRE(pthread_create(&threads[i], &attr, answer_watched, (void *)i) == 0);
        if (how == 1) CHECK(pthread_detach(threads[i]) == 0);
    }
    for (size_t i = 0; i < 8; i++) wait_for_end(i);
    for (size_t i = 0; how == 2 && i < 8; i++) CHECK(pthread_detach(threads[i]) == 0);
    pthread_attr_destroy(&attr);
    CHECK(living() <= 1);
}
TEST(results_of_detached_threads_are_not_kept) {
    for (int how = 0; how < 3; how++) detached(how);
}

static void *wait_to_be_cancelled(void *arg) {
    struct message *volatile m = make(1);
    for (;;) {
        pthread_testcancel();
        sched_yield();
    }
    CHECK(m != NULL);
    return arg;
}
TEST(cancelled_threads) {
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        void *result = NULL;
        REQUIRE(pthread_create(&thread, NULL, wait_to_be_cancelled, NULL) == 0);
        CHECK(pthread_cancel(thread) == 0);
        CHECK(COLLECTED());
        CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    }
}

// ---- masks and handlers ----

static int missing(const sigset_t *mask) { // the real-time signal that is not in the mask; 0: none
    for (int s = SIGRTMIN; s <= SIGRTMAX; s++)
        if (sigismember(mask, s) == 0) return s;
    return 0;
}

static atomic_bool masked, done;

static void *mask_and_compute(void *arg) {
    sigset_t all, mask;
    sigfillset(&all);
    struct message *volatile m = make(3);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0);
    CHECK(missing(&mask) != 0 && sigismember(&mask, SIGTERM) == 1);
    CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
    CHECK(missing(&mask) != 0 && sigismember(&mask, SIGTERM) == 1);
    CHECK(sigprocmask(77, &all, NULL) == -1 && errno == EINVAL);
    CHECK(pthread_sigmask(77, &all, NULL) == EINVAL);
    atomic_store(&masked, true);
    while (!atomic_load(&done)) continue;
    CHECK(is_whole(m, 3));
    return arg;
}

TEST(masks_do_not_hold_the_stop_signal) {
    pthread_t thread;
    (void)make(0);
    REQUIRE(pthread_create(&thread, NULL, mask_and_compute, NULL) == 0);
    while (!atomic_load(&masked)) sched_yield();
    for (int i = 0; i < 5; i++) CHECK(COLLECTED());
    atomic_store(&done, true);
    CHECK(pthread_join(thread, NULL) == 0);
}

// Calls with a mask of their own, handlers, and contexts: all of them full, and stops are answered.
static int ends[2];

static void *wait_with_a_mask(void *arg) {
    sigset_t all;
    struct pollfd one = {.fd = ends[0], .events = POLLIN};
    struct epoll_event event = {.events = EPOLLIN};
    int how = (int)(uintptr_t)arg, epoll = epoll_create1(0), n = -1;
    fd_set in;
    sigfillset(&all);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
    atomic_store(&masked, true);
    while (n < 0) {
        FD_ZERO(&in);
        FD_SET(ends[0], &in);
        if (how == 0) n = ppoll(&one, 1, &(struct timespec){1000, 0}, &all);
        else if (how == 1) n = pselect(ends[0] + 1, &in, NULL, NULL, NULL, &all);
        else n = epoll_pwait(epoll, &event, 1, -1, &all);
        CHECK(n == 1 || errno == EINTR);
    }
    close(epoll);
    return NULL;
}
TEST(waits_with_a_mask) {
    (void)make(0);
    REQUIRE(pipe(ends) == 0);
    for (uintptr_t how = 0; how < 3; how++) {
        pthread_t thread;
        atomic_store(&masked, false);
        REQUIRE(pthread_create(&thread, NULL, wait_with_a_mask, (void *)how) == 0);
        while (!atomic_load(&masked)) sched_yield();
        for (int i = 0; i < 5; i++) CHECK(COLLECTED());
        CHECK(write(ends[1], "x", 1) == 1);
        CHECK(pthread_join(thread, NULL) == 0);
        char c;
        CHECK(read(ends[0], &c, 1) == 1);
    }
}

static void hear_nothing(int number) { (void)number; }

TEST(handlers_do_not_mask_the_stop_signal) {
    struct sigaction action = {.sa_handler = hear_nothing}, now;
    (void)make(0);
    sigfillset(&action.sa_mask);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGUSR1, NULL, &now) == 0);
    CHECK(missing(&now.sa_mask) != 0 && sigismember(&now.sa_mask, SIGTERM) == 1);
    CHECK(signal(SIGUSR1, SIG_DFL) != SIG_ERR);
}

// The thread of a daemon that takes all signals: it waits with everything masked.
static atomic_bool waits;

static void *wait_for_signals(void *arg) {
    sigset_t all;
    struct message *volatile m = make(4);
    int number = 0, how = (int)(uintptr_t)arg;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, NULL) == 0);
    atomic_store(&waits, true);
    if (how == 0) CHECK(sigwait(&all, &number) == 0);
    else if (how == 1) number = sigwaitinfo(&all, NULL);
    else
        while (number <= 0) number = sigtimedwait(&all, NULL, &(struct timespec){1000, 0});
    CHECK_EQ(number, SIGUSR2);
    CHECK(is_whole(m, 4));
    return NULL;
}
TEST(waits_for_signals) {
    for (uintptr_t how = 0; how < 3; how++) {
        pthread_t thread;
        atomic_store(&waits, false);
        REQUIRE(pthread_create(&thread, NULL, wait_for_signals, (void *)how) == 0);
        while (!atomic_load(&waits)) sched_yield();
        for (int i = 0; i < 5; i++) CHECK(COLLECTED());
        collect_and_reuse();
        CHECK(pthread_kill(thread, SIGUSR2) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
}

static atomic_bool woken;
static void wake(int number) { atomic_store(&woken, number == SIGUSR1); }

static void *suspend(void *arg) {
    sigset_t mask;
    struct message *volatile m = make(5);
    sigfillset(&mask);
    CHECK(pthread_sigmask(SIG_BLOCK, &mask, NULL) == 0);
    sigdelset(&mask, SIGUSR1);
    atomic_store(&waits, true);
    while (!atomic_load(&woken)) CHECK(sigsuspend(&mask) == -1 && errno == EINTR);
    CHECK(is_whole(m, 5));
    return arg;
}
TEST(suspends_until_a_signal) {
    pthread_t thread;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = wake;
    REQUIRE(sigaction(SIGUSR1, &action, NULL) == 0);
    atomic_store(&waits, false);
    REQUIRE(pthread_create(&thread, NULL, suspend, NULL) == 0);
    while (!atomic_load(&waits)) sched_yield();
    for (int i = 0; i < 5; i++) CHECK(COLLECTED());
    collect_and_reuse();
    CHECK(pthread_kill(thread, SIGUSR1) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

TEST(the_handler_stays) {
    struct sigaction plain, now;
    memset(&plain, 0, sizeof plain);
    plain.sa_handler = SIG_DFL;
    (void)make(0);
    int refused = 0;
    for (int s = SIGRTMIN; s <= SIGRTMAX; s++) refused += sigaction(s, &plain, NULL) != 0;
    CHECK_EQ(refused, 1);
    int handled = 0;
    for (int s = SIGRTMIN; s <= SIGRTMAX; s++)
        handled += sigaction(s, NULL, &now) == 0 && now.sa_handler != SIG_DFL;
    CHECK_EQ(handled, 1);
    CHECK(COLLECTED());
}

TEST_MAIN
