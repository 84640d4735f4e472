// Several threads fork at once, in the middle of allocation and collection; the children allocate,
// collect, make threads and fork again.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WORKERS = 3, FORKERS = 2 };

struct node {
    struct node *next;
    uintptr_t value;
};

static atomic_bool stop;

static bool use(struct stress_random *r, uintptr_t n) {
    struct node *head = NULL;
    for (uintptr_t i = 0; i < n; i++) {
        struct node *node = GOMEM_NEW(struct node);
        void *block = gomem_malloc(stress_size(r));
        if (node == NULL || block == NULL || node->value != 0) return false;
        node->value = i;
        node->next = head;
        head = node;
        gomem_free(block);
    }
    for (uintptr_t i = n; i-- > 0; head = head->next)
        if (head->value != i) return false;
    return true;
}

static void *work(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 10);
    while (!atomic_load(&stop)) {
        if (!CHECK(use(&r, 200))) break;
        if (stress_below(&r, 20) == 0) gomem_gc();
        if (stress_below(&r, 200) == 0) gomem_free_os_memory();
    }
    return NULL;
}

static void *child_thread(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 70);
    CHECK(use(&r, 200));
    return NULL;
}

static void wait_for(pid_t pid) {
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    CHECK_EQ(status, 0);
}

static void fork_one(struct stress_random *r, int depth);

// The life of a child; its exit status says whether all was well.
static void child(struct stress_random *r, int depth) {
    pthread_t thread;
    atomic_store(&stop, true); // only this thread is here
    CHECK(use(r, 100));
    switch (stress_below(r, 4)) {
    case 0: gomem_gc(); break;
    case 1:
        if (CHECK(pthread_create(&thread, NULL, child_thread, NULL) == 0)) {
            gomem_gc();
            pthread_join(thread, NULL);
        }
        break;
    case 2:
        if (depth < 2) fork_one(r, depth + 1);
        break;
    default: gomem_free_os_memory(); break;
    }
    CHECK(use(r, 100));
    CHECK(gomem_verify());
    fflush(stdout);
    _exit(test_failed() > 0);
}

static void fork_one(struct stress_random *r, int depth) {
    pid_t pid = fork();
    if (!CHECK(pid >= 0)) return;
    if (pid == 0) child(r, depth);
    else wait_for(pid);
}

static size_t forks_each;

static void *fork_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 40);
    for (size_t i = 0; i < forks_each && test_failed() == 0; i++) {
        fork_one(&r, 0);
        CHECK(use(&r, 50));
    }
    return NULL;
}

TEST(storm) {
    NEEDS_FORK;
    pthread_t workers[WORKERS], forkers[FORKERS];
    stress_seed();
    forks_each = stress_times(60);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&workers[i], NULL, work, (void *)i) == 0);
    for (uintptr_t i = 0; i < FORKERS; i++)
        REQUIRE(pthread_create(&forkers[i], NULL, fork_on, (void *)i) == 0);
    for (int i = 0; i < FORKERS; i++) pthread_join(forkers[i], NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
    gomem_gc();
    CHECK(gomem_verify());
}

TEST_MAIN
