// Threads come and go: thousands in all, hundreds alive at once, each of them using both heaps.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { SMALL_STACK = 256 * 1024 };

struct node {
    struct node *next;
    uintptr_t value;
};

static atomic_size_t finished;
static struct node *_Atomic left_behind; // by threads that ended: a list of collected nodes

static void *live_shortly(void *arg) {
    uintptr_t number = (uintptr_t)arg;
    struct node *head = NULL;
    void *blocks[20];
    for (uintptr_t i = 0; i < 20; i++) {
        struct node *node = GOMEM_NEW(struct node);
        blocks[i] = gomem_malloc(i * 37);
        if (!CHECK(node != NULL && blocks[i] != NULL)) return NULL;
        node->value = number + i;
        node->next = head;
        head = node;
    }
    for (uintptr_t i = 20; i-- > 0; head = head->next) CHECK(head->value == number + i);
    for (size_t i = 0; i < 20; i += 1 + number % 2) gomem_free(blocks[i]);
    for (size_t i = 1; i < 20 && number % 2 == 1; i += 2) gomem_free(blocks[i]);
    if (number % 16 == 0) {
        struct node *node = GOMEM_NEW(struct node), *expected = atomic_load(&left_behind);
        if (!CHECK(node != NULL)) return NULL;
        node->value = number;
        do node->next = expected;
        while (!atomic_compare_exchange_weak(&left_behind, &expected, node));
    }
    if (number % 1000 == 0) gomem_gc();
    atomic_fetch_add(&finished, 1);
    return NULL;
}

static bool start(pthread_t *thread, void *(*fn)(void *), uintptr_t number) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, SMALL_STACK);
    int error = number % 3 == 0 ? gomem_thread_create(thread, &attr, fn, (void *)number)
                                : pthread_create(thread, &attr, fn, (void *)number);
    pthread_attr_destroy(&attr);
    return CHECK_EQ(error, 0);
}

TEST(in_all) {
    enum { WINDOW = 16 };
    pthread_t threads[WINDOW];
    size_t n = stress_long() ? 100000 : stress_times(3000);
    gomem_memstats before = {.size = sizeof before}, stats = {.size = sizeof stats};
    gomem_gc();
    gomem_read_memstats(&before);
    atomic_store(&finished, 0);
    for (size_t i = 0; i < n; i++) {
        if (i >= WINDOW) pthread_join(threads[i % WINDOW], NULL);
        if (!start(&threads[i % WINDOW], live_shortly, i)) return;
    }
    for (size_t i = n; i < n + WINDOW; i++) pthread_join(threads[i % WINDOW], NULL);
    CHECK_EQ(atomic_load(&finished), n);
    size_t length = 0;
    for (struct node *node = left_behind; node != NULL; node = node->next, length++)
        CHECK(node->value % 16 == 0 && node->value < n);
    CHECK_EQ(length, (n + 15) / 16);
    left_behind = NULL;
    gomem_gc();
    gomem_read_memstats(&stats);
    CHECK(stats.threads <= before.threads + 1); // one of the library may have started
    CHECK(stats.heap_inuse < (uint64_t)64 << 20);
    CHECK(HEAP_IS_WHOLE());
}

static pthread_barrier_t barrier;
static atomic_bool done;

static void *live_long(void *arg) {
    uintptr_t number = (uintptr_t)arg;
    struct node *volatile node = GOMEM_NEW(struct node);
    char *block = gomem_malloc(100);
    if (!CHECK(node != NULL && block != NULL)) return NULL;
    node->value = number;
    memset(block, (int)number & 0xff, 100);
    pthread_barrier_wait(&barrier);
    // Some wait in a region, others must be signalled, a few keep allocating.
    while (!atomic_load(&done)) {
        if (number % 3 == 0) gomem_blocking_begin();
        usleep(2000);
        if (number % 3 == 0) gomem_blocking_end();
        if (number % 20 == 0) CHECK(GOMEM_NEW(struct node) != NULL);
    }
    CHECK(node->value == number);
    for (int i = 0; i < 100; i++) CHECK(block[i] == (char)(number & 0xff));
    gomem_free(block);
    return NULL;
}

TEST(at_once) {
    size_t n = stress_long() ? 1000 : 200;
    pthread_t *threads = gomem_malloc(n * sizeof *threads);
    REQUIRE(threads != NULL);
    atomic_store(&done, false);
    pthread_barrier_init(&barrier, NULL, (unsigned)n + 1);
    for (size_t i = 0; i < n; i++)
        if (!start(&threads[i], live_long, i)) exit(1);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 20; i++) gomem_gc();
    CHECK(HEAP_IS_WHOLE());
    atomic_store(&done, true);
    for (size_t i = 0; i < n; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&barrier);
    gomem_free(threads);
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// Threads that start threads and end before them.
static void *start_two(void *arg) {
    uintptr_t depth = (uintptr_t)arg;
    pthread_t threads[2];
    struct node *volatile node = GOMEM_NEW(struct node);
    if (!CHECK(node != NULL)) return NULL;
    node->value = depth;
    for (int i = 0; i < 2 && depth > 0; i++)
        if (start(&threads[i], start_two, depth - 1)) pthread_detach(threads[i]);
    CHECK(node->value == depth);
    atomic_fetch_add(&finished, 1);
    return NULL;
}

TEST(families) {
    enum { DEPTH = 7, MEMBERS = (1 << (DEPTH + 1)) - 1 };
    for (size_t round = 0; round < stress_times(2); round++) {
        atomic_store(&finished, 0);
        start_two((void *)(uintptr_t)DEPTH);
        while (atomic_load(&finished) < MEMBERS && test_failed() == 0) {
            gomem_gc();
            usleep(500);
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
