// GOMEM_STORE and its family, gomem_memmove, GOMEM_KEEP_ALIVE.
#include "alive.h"

#include <pthread.h>
#include <stdatomic.h>

struct node {
    struct node *next;
    const struct node *fixed;
    struct node *volatile shared;
    uintptr_t tagged;
    void *any;
};

static int counted;

static struct node **once(struct node **slot) {
    counted++;
    return slot;
}

static struct node *once_value(struct node *value) {
    counted++;
    return value;
}

TEST(store) {
    struct node *p = GOMEM_NEW(struct node), *q = GOMEM_NEW(struct node);
    REQUIRE(p != NULL && q != NULL);
    GOMEM_STORE(&p->next, q);
    CHECK(p->next == q);
    GOMEM_STORE(&p->fixed, q);
    CHECK(p->fixed == q);
    GOMEM_STORE(&p->shared, q);
    CHECK(p->shared == q);
    GOMEM_STORE(&p->any, q);
    CHECK(p->any == q);
    GOMEM_STORE(&p->tagged, (uintptr_t)q | 5);
    CHECK(p->tagged == ((uintptr_t)q | 5));
    GOMEM_STORE(&p->next, NULL);
    CHECK(p->next == NULL);
    struct node *array[3] = {NULL, NULL, NULL};
    size_t i = 0;
    GOMEM_STORE(&array[i++], p);
    CHECK(i == 1 && array[0] == p && array[1] == NULL);
    if (p != NULL) GOMEM_STORE(&p->next, q);
    else CHECK(false);
    CHECK(p->next == q);
}

TEST(arguments_are_evaluated_once) {
    struct node *p = GOMEM_NEW(struct node);
    REQUIRE(p != NULL);
    counted = 0;
    GOMEM_STORE(once(&p->next), once_value(p));
    CHECK_EQ(counted, 2);
    counted = 0;
    GOMEM_STORE_ATOMIC(once(&p->next), once_value(p));
    CHECK_EQ(counted, 2);
    counted = 0;
    struct node *old = GOMEM_EXCHANGE(once(&p->next), once_value(NULL));
    CHECK_EQ(counted, 2);
    CHECK(old == p);
    counted = 0;
    struct node *expected = NULL;
    CHECK(GOMEM_CAS(once(&p->next), &expected, once_value(p)));
    CHECK_EQ(counted, 2);
    CHECK(p->next == p);
}

TEST(store_atomic) {
    struct node *p = GOMEM_NEW(struct node), *q = GOMEM_NEW(struct node);
    REQUIRE(p != NULL && q != NULL);
    GOMEM_STORE_ATOMIC(&p->next, q);
    CHECK(p->next == q);
    GOMEM_STORE_ATOMIC(&p->tagged, (uintptr_t)q | 1);
    CHECK(p->tagged == ((uintptr_t)q | 1));
    GOMEM_STORE_ATOMIC(&p->next, NULL);
    CHECK(p->next == NULL);
}

TEST(exchange) {
    struct node *p = GOMEM_NEW(struct node), *q = GOMEM_NEW(struct node);
    REQUIRE(p != NULL && q != NULL);
    struct node *old = GOMEM_EXCHANGE(&p->next, q);
    CHECK(old == NULL && p->next == q);
    old = GOMEM_EXCHANGE(&p->next, NULL);
    CHECK(old == q && p->next == NULL);
}

TEST(cas) {
    struct node *p = GOMEM_NEW(struct node), *q = GOMEM_NEW(struct node);
    REQUIRE(p != NULL && q != NULL);
    struct node *expected = NULL;
    CHECK(GOMEM_CAS(&p->next, &expected, q));
    CHECK(p->next == q && expected == NULL);
    CHECK(!GOMEM_CAS(&p->next, &expected, p));
    CHECK(p->next == q);
    CHECK(expected == q); // what was found
    CHECK(GOMEM_CAS(&p->next, &expected, p));
    CHECK(p->next == p);
}

// A Treiber stack: pushes and pops of several threads lose and double nothing.
enum { THREADS = 4, EACH = 5000 };

static struct node *top;
static atomic_int pushed[THREADS * EACH];

static void *push_and_pop(void *arg) {
    uintptr_t first = (uintptr_t)arg * EACH;
    for (uintptr_t i = 0; i < EACH; i++) {
        struct node *node = GOMEM_NEW(struct node);
        if (!CHECK(node != NULL)) return NULL;
        node->tagged = first + i;
        struct node *expected = __atomic_load_n(&top, __ATOMIC_ACQUIRE);
        do GOMEM_STORE(&node->next, expected);
        while (!GOMEM_CAS(&top, &expected, node));
        if (i % 2 == 0) continue;
        // Nodes are never freed by hand, so a popped address cannot come back while it is held.
        expected = __atomic_load_n(&top, __ATOMIC_ACQUIRE);
        while (expected != NULL && !GOMEM_CAS(&top, &expected, expected->next)) continue;
        if (expected != NULL) atomic_fetch_add(&pushed[expected->tagged], 1);
    }
    return NULL;
}

TEST(lock_free_stack) {
    pthread_t threads[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, push_and_pop, (void *)i) == 0);
    for (int i = 0; i < 10; i++) gomem_gc();
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (struct node *node = top; node != NULL; node = node->next)
        atomic_fetch_add(&pushed[node->tagged], 1);
    for (int i = 0; i < THREADS * EACH; i++) REQUIRE(atomic_load(&pushed[i]) == 1);
    top = NULL;
}

TEST(memmove) {
    enum { WORDS = 64 };
    for (size_t from = 0; from < 12; from++) {
        for (size_t to = 0; to < 12; to++) {
            for (size_t n = 0; n <= 40; n += 1 + n / 4) {
                uintptr_t *array = gomem_new(WORDS * sizeof *array), expected[WORDS];
                REQUIRE(array != NULL);
                for (size_t i = 0; i < WORDS; i++) expected[i] = array[i] = i * 1000;
                memmove(expected + to, expected + from, n * sizeof *array);
                CHECK(gomem_memmove(array + to, array + from, n * sizeof *array) == array + to);
                REQUIRE(memcmp(array, expected, sizeof expected) == 0);
            }
        }
    }
}

// Any bytes, any alignment, any memory.
TEST(memmove_bytes) {
    unsigned char bytes[300], expected[300];
    for (size_t from = 0; from < 20; from++) {
        for (size_t to = 0; to < 20; to += 3) {
            for (size_t n = 0; n < 250; n += 1 + n / 3) {
                for (size_t i = 0; i < sizeof bytes; i++) expected[i] = bytes[i] = (unsigned char)i;
                memmove(expected + to, expected + from, n);
                gomem_memmove(bytes + to, bytes + from, n);
                REQUIRE(memcmp(bytes, expected, sizeof bytes) == 0);
            }
        }
    }
}

// What only a store of the family put there is seen by the collector.
TEST(stored_pointers_keep) {
    static struct alive_set set;
    static struct alive_node **volatile array;
    REQUIRE(alive_scatter(&set));
    array = gomem_new(ALIVE_N * sizeof *array);
    REQUIRE(array != NULL);
    for (size_t i = 0; i < ALIVE_N; i++) {
        struct alive_node *node = alive_show(set.hidden[i]), *expected = NULL;
        if (i % 4 == 0) GOMEM_STORE(&array[i], node);
        if (i % 4 == 1) GOMEM_STORE_ATOMIC(&array[i], node);
        if (i % 4 == 2) CHECK(GOMEM_EXCHANGE(&array[i], node) == NULL);
        if (i % 4 == 3) CHECK(GOMEM_CAS(&array[i], &expected, node));
    }
    alive_gc();
    CHECK_EQ(alive_count(&set), ALIVE_N);
    array = NULL;
}

// Held to the end of its use, though the compiler may have dropped the variable before.
TEST(keep_alive) {
    for (int i = 0; i < 50; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        REQUIRE(node != NULL);
        uintptr_t hidden = alive_hide(node);
        alive_gc();
        CHECK(gomem_base(alive_show(hidden)) == alive_show(hidden));
        GOMEM_KEEP_ALIVE(node);
    }
}

TEST_MAIN
