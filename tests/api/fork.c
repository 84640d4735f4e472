// fork: the child allocates, frees and collects; the parent goes on; threads work meanwhile.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <stdatomic.h>

static struct alive_node *build(uintptr_t n) {
    struct alive_node *head = NULL;
    for (uintptr_t i = 0; i < n; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        if (node == NULL) return NULL;
        node->index = i;
        node->check = alive_sum(i, alive_hide(node));
        node->next = head;
        head = node;
    }
    return head;
}

static bool intact(const struct alive_node *head, uintptr_t n) {
    for (; head != NULL; head = head->next)
        if (head->index != --n || head->check != alive_sum(n, alive_hide(head))) return false;
    return n == 0;
}

static bool use(uintptr_t n) {
    struct alive_node *list = build(n);
    void *blocks[100];
    for (size_t i = 0; i < 100; i++) {
        blocks[i] = gomem_malloc(i * 50);
        if (blocks[i] == NULL) return false;
    }
    gomem_gc();
    for (size_t i = 0; i < 100; i++) gomem_free(blocks[i]);
    return intact(list, n);
}

static struct alive_node *global_list;
static char *global_text;

static void child_uses_all(void) {
    CHECK(intact(global_list, 5000));
    CHECK(strcmp(global_text, "before the fork") == 0);
    gomem_free(global_text);
    for (int i = 0; i < 3; i++) CHECK(use(3000));
    CHECK(intact(global_list, 5000));
    CHECK(HEAP_IS_WHOLE());
}

TEST(child_and_parent_go_on) {
    NEEDS_FORK;
    global_list = build(5000);
    for (int round = 0; round < 5; round++) {
        global_text = gomem_strdup("before the fork");
        CHILD_GOOD(child_uses_all);
        CHECK(intact(global_list, 5000));
        CHECK(strcmp(global_text, "before the fork") == 0);
        gomem_free(global_text);
        CHECK(use(3000));
        CHECK(HEAP_IS_WHOLE());
    }
    global_list = NULL;
}

static void *use_on_thread(void *arg) {
    for (int i = 0; i < 3; i++) CHECK(use(2000));
    return arg;
}

static void child_makes_threads(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (!CHECK(pthread_create(&threads[i], NULL, use_on_thread, NULL) == 0)) return;
    for (int i = 0; i < 10; i++) gomem_gc();
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    CHECK(HEAP_IS_WHOLE());
}

TEST(child_makes_threads_of_its_own) {
    NEEDS_FORK;
    for (int i = 0; i < 3; i++) CHILD_GOOD(child_makes_threads);
}

static int depth;

static void fork_again(void) {
    CHECK(use(500));
    if (depth < 5) {
        depth++;
        CHILD_GOOD(fork_again);
    }
    CHECK(use(500));
}

TEST(children_of_children) {
    NEEDS_FORK;
    depth = 0;
    CHILD_GOOD(fork_again);
}

static atomic_bool stop;

static void *work(void *arg) {
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    void *blocks[50] = {NULL};
    struct alive_node *list = build(100);
    for (uintptr_t steps = 1; !atomic_load(&stop); steps++) {
        seed = seed * 1664525u + 1013904223u;
        size_t at = (seed >> 20) % 50;
        gomem_free(blocks[at]);
        blocks[at] = gomem_malloc((seed >> 8) % 40000);
        if (!CHECK(blocks[at] != NULL)) break;
        if (steps % 100 == 0) list = build(100);
        if (steps % 1000 == 0 && (uintptr_t)arg == 1) gomem_gc();
        if (!CHECK(intact(list, 100))) break;
    }
    for (size_t i = 0; i < 50; i++) gomem_free(blocks[i]);
    return NULL;
}

static void child_of_busy_parent(void) {
    CHECK(use(300));
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// Forks fall anywhere into the work of other threads.
TEST(fork_while_threads_allocate) {
    NEEDS_FORK;
    enum { N = 3, FORKS = 200 };
    pthread_t threads[N];
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < N; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < FORKS && test_failed() == 0; i++) CHILD_GOOD(child_of_busy_parent);
    atomic_store(&stop, true);
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    CHECK(use(1000));
    CHECK(HEAP_IS_WHOLE());
}

// The thread that forks is not the main one; in the child it is the only one.
static void *fork_on_thread(void *arg) {
    struct alive_node *mine = build(200);
    for (int i = 0; i < 10; i++) {
        CHILD_GOOD(child_of_busy_parent);
        CHECK(intact(mine, 200));
    }
    return arg;
}

TEST(fork_on_another_thread) {
    NEEDS_FORK;
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, fork_on_thread, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(use(1000));
}

// What the dead threads of the parent held in their caches is not lost to the child for ever.
static size_t thread_cache_fill;

static void *fill_and_wait(void *arg) {
    void *blocks[60];
    for (size_t size = 16; size <= 4096; size *= 2) {
        for (size_t i = 0; i < 60; i++) blocks[i] = gomem_malloc(size);
        for (size_t i = 0; i < 60; i++) gomem_free(blocks[i]);
        thread_cache_fill += size * 60;
    }
    pthread_barrier_wait(arg);
    pthread_barrier_wait(arg);
    return NULL;
}

static uint64_t threads_before; // the library's own are counted too

static void child_flushes(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_free_os_memory();
    gomem_read_memstats(&m);
    CHECK(m.heap_alloc < (4 << 20));
    CHECK(m.threads <= threads_before);
    CHECK(HEAP_IS_WHOLE());
}

TEST(child_takes_over_dead_caches) {
    NEEDS_FORK;
    enum { N = 8 };
    pthread_t threads[N];
    pthread_barrier_t barrier;
    gomem_memstats before = {.size = sizeof before};
    gomem_gc();
    gomem_free_os_memory();
    gomem_read_memstats(&before);
    threads_before = before.threads;
    pthread_barrier_init(&barrier, NULL, N + 1);
    for (int i = 0; i < N; i++)
        REQUIRE(pthread_create(&threads[i], NULL, fill_and_wait, &barrier) == 0);
    pthread_barrier_wait(&barrier);
    CHILD_GOOD(child_flushes);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
}

static void child_execs(void) {
    execl("/bin/true", "true", (char *)NULL);
    execl("/usr/bin/true", "true", (char *)NULL);
}

TEST(fork_and_exec_while_threads_collect) {
    NEEDS_FORK;
    pthread_t threads[2];
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
    for (int i = 0; i < 20; i++) {
        CHILD_GOOD(child_execs);
        CHECK(system("exit 0") == 0);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

TEST_MAIN
