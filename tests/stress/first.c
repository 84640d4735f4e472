// The first allocation of the process is made by many threads at the same moment. Each round is a
// forked child of a parent that never uses the heap.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"
#include "stress.h"

#include <pthread.h>

enum { THREADS = 8 };

static pthread_barrier_t barrier;
static int round_number;

struct node {
    struct node *next;
    uintptr_t value;
};

GOMEM_TYPE(node_type, struct node, next);

// Thread i begins with another operation than its neighbours.
static bool first_operation(int what) {
    struct node *node;
    switch (what % 10) {
    case 0: return gomem_new(32) != NULL;
    case 1: return (node = GOMEM_NEW(struct node)) != NULL && node->next == NULL;
    case 2:
        node = GOMEM_MALLOC(struct node);
        GOMEM_FREE(struct node, node);
        return node != NULL;
    case 3: gomem_gc(); return true;
    case 4: return GOMEM_NEW_TYPED(struct node, &node_type) != NULL;
    case 5: return gomem_thread_attach();
    case 6: return gomem_new(1000000) != NULL;
    case 7: gomem_free(NULL); return gomem_base(&barrier) == NULL;
    case 8: return HEAP_IS_WHOLE();
    default: return gomem_init(NULL);
    }
}

static void *run(void *arg) {
    int number = (int)(uintptr_t)arg;
    pthread_barrier_wait(&barrier);
    CHECK(first_operation(number + round_number));
    struct node *head = NULL;
    for (uintptr_t i = 0; i < 300; i++) {
        struct node *node = i % 2 == 0 ? GOMEM_NEW_TYPED(struct node, &node_type)
                                       : GOMEM_NEW(struct node);
        void *block = gomem_malloc(i);
        if (!CHECK(node != NULL && block != NULL && node->value == 0)) return NULL;
        node->value = i;
        node->next = head;
        head = node;
        gomem_free(block);
    }
    for (uintptr_t i = 300; i-- > 0; head = head->next) CHECK(head->value == i);
    return NULL;
}

static void race(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (!CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0)) return;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK(HEAP_IS_WHOLE());
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

TEST(first_allocation) {
    size_t n = stress_times(150);
    for (size_t i = 0; i < n && test_failed() == 0; i++) {
        round_number = (int)i;
        CHILD_GOOD(race);
    }
}

TEST_MAIN
