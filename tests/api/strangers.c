// At check level 1 a collection names the threads that it does not know, and so cannot scan.
#define _GNU_SOURCE
#include "gomem.h"
#include "test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int running, done;
static atomic_int told;
static char line_told[600];

static void hear(const char *line, void *user) {
    (void)user;
    if (strstr(line, "does not know") == NULL) return;
    snprintf(line_told, sizeof line_told, "%s", line);
    atomic_fetch_add(&told, 1);
}

static bool listen(void) {
    gomem_options options = {.warn = hear};
    atomic_store(&told, 0);
    atomic_store(&running, 0);
    atomic_store(&done, 0);
    line_told[0] = '\0';
    return gomem_init(&options) && gomem_new(10) != NULL;
}

// Collects until a line comes, `most` times at most. With a nap between: a thread is named only when
// it has been there for a while, so where no line may come, time must pass.
static int collect(int most) {
    for (int i = 0; i < most && atomic_load(&told) == 0; i++) {
        gomem_gc();
        usleep(1000);
    }
    return atomic_load(&told);
}

static void *wait_for_done(void *arg) {
    if (arg != NULL) gomem_thread_attach();
    atomic_store(&running, (int)syscall(SYS_gettid));
    while (!atomic_load(&done)) usleep(200);
    return NULL;
}

static void wait_until_it_runs(void) {
    while (!atomic_load(&running)) usleep(200);
}

TEST(a_thread_that_never_attached) {
    char number[20];
    pthread_t thread;
    REQUIRE(listen());
    REQUIRE(pthread_create(&thread, NULL, wait_for_done, NULL) == 0);
    bool named = pthread_setname_np(thread, "thief") == 0; // not where /proc is read-only
    wait_until_it_runs();
    if (GOMEM_I_CHECK >= 1) {
        snprintf(number, sizeof number, named ? ": %d (thief)" : ": %d (", atomic_load(&running));
        CHECK_EQ(collect(2000), 1);
        CHECK(strstr(line_told, number) != NULL &&
              strstr(line_told, "gomem_thread_attach") != NULL);
        atomic_store(&told, 0);
    }
    CHECK_EQ(collect(20), 0); // once; never at level 0
    atomic_store(&done, 1);
    pthread_join(thread, NULL);
}

TEST(threads_that_are_known) {
    pthread_t attached, created;
    static int yes;
    REQUIRE(listen());
    REQUIRE(pthread_create(&attached, NULL, wait_for_done, &yes) == 0);
    wait_until_it_runs();
    atomic_store(&running, 0);
    REQUIRE(gomem_thread_create(&created, NULL, wait_for_done, NULL) == 0);
    wait_until_it_runs();
    CHECK_EQ(collect(30), 0);
    atomic_store(&done, 1);
    pthread_join(attached, NULL);
    pthread_join(created, NULL);
}

#if defined(__x86_64__) && !defined(TEST_ASAN) && !defined(TEST_TSAN)
// A thread that libc does not know either: it lives in system calls alone.
static atomic_int ended;
static int bare_thread(void *arg) {
    (void)arg;
    atomic_store(&running, 1);
    while (!atomic_load(&done)) sched_yield();
    atomic_store(&ended, 1);
    syscall(SYS_exit, 0);
    return 0;
}

TEST(a_thread_of_clone) {
    char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(listen() && stack != MAP_FAILED);
    int id = clone(bare_thread, stack + 65536,
                   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
                   NULL);
    REQUIRE(id > 0);
    wait_until_it_runs();
    CHECK_EQ(collect(GOMEM_I_CHECK >= 1 ? 2000 : 20), GOMEM_I_CHECK >= 1);
    atomic_store(&done, 1);
    while (!atomic_load(&ended)) usleep(200);
}
#endif

TEST_MAIN
