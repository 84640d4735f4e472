// A collection at every k-th allocation, so that every moment between two lines of a program is one
// at which a collection falls; the structures built meanwhile are checked whole.
#include "gomem.h"
#include "stress.h"

#include <pthread.h>

static _Thread_local size_t every, since;

// Called before each allocation: sometimes collects.
static void tick(void) {
    if (++since < every) return;
    since = 0;
    gomem_gc();
}

struct tree {
    struct tree *left, *right;
    char *name; // noscan
    uintptr_t key;
};

struct table {
    size_t used, room;
    struct tree **slots; // grows by GOMEM_RESIZE
};

GOMEM_TYPE(tree_type, struct tree, left, right, name);
GOMEM_TYPE(table_type, struct table, slots);

static char *name_of(uintptr_t key) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIuPTR, key);
    tick();
    return gomem_new_string(text, SIZE_MAX);
}

static struct tree *leaf(uintptr_t key) {
    tick();
    struct tree *t = key % 2 == 0 ? GOMEM_NEW(struct tree)
                                  : GOMEM_NEW_TYPED(struct tree, &tree_type);
    if (!CHECK(t != NULL && t->left == NULL && t->name == NULL && t->key == 0)) return NULL;
    t->key = key;
    t->name = name_of(key);
    return t;
}

static struct tree *insert(struct tree *t, uintptr_t key) {
    if (t == NULL) return leaf(key);
    if (key < t->key) t->left = insert(t->left, key);
    else if (key > t->key) t->right = insert(t->right, key);
    return t;
}

// Functional: the path is copied, the old tree goes on living as long as somebody holds it.
static struct tree *insert_copy(const struct tree *t, uintptr_t key) {
    if (t == NULL) return leaf(key);
    tick();
    struct tree *copy = GOMEM_NEW_TYPED(struct tree, &tree_type);
    if (!CHECK(copy != NULL)) return NULL;
    *copy = *t;
    if (key < t->key) copy->left = insert_copy(t->left, key);
    else if (key > t->key) copy->right = insert_copy(t->right, key);
    return copy;
}

static size_t check_tree(const struct tree *t, uintptr_t low, uintptr_t high) {
    if (t == NULL) return 0;
    if (!CHECK(t->key >= low && t->key <= high)) return 0;
    char text[24];
    snprintf(text, sizeof text, "%" PRIuPTR, t->key);
    if (!CHECK(t->name != NULL && strcmp(t->name, text) == 0)) return 0;
    return 1 + check_tree(t->left, low, t->key - 1) + check_tree(t->right, t->key + 1, high);
}

static bool append(struct table *table, struct tree *t) {
    if (table->used == table->room) {
        tick();
        size_t room = table->room * 2 + 1;
        struct tree **slots = table->slots == NULL
                                  ? GOMEM_MAKE(struct tree *, room)
                                  : GOMEM_RESIZE(struct tree *, table->slots, room);
        if (!CHECK(slots != NULL)) return false;
        table->slots = slots;
        table->room = room;
    }
    table->slots[table->used++] = t;
    return true;
}

static void build(size_t k, size_t n, size_t part) {
    struct stress_random r = stress_random_at(k + part * 1000);
    every = k;
    tick();
    struct table *table = GOMEM_NEW_TYPED(struct table, &table_type);
    REQUIRE(table != NULL);
    struct tree *all = NULL, *versions = NULL;
    size_t distinct = 0;
    for (size_t i = 0; i < n && test_failed() == 0; i++) {
        uintptr_t key = 1 + stress_below(&r, 1000000);
        struct tree *before = versions;
        all = insert(all, key);
        versions = insert_copy(versions, key);
        if (!append(table, leaf(key))) return;
        char *garbage = name_of(key * 3);
        if (i % 2 == 0) gomem_free(garbage);
        tick();
        void *manual = gomem_malloc(i);
        gomem_free(manual);
        if (i % 16 != 0) continue;
        size_t now = check_tree(versions, 1, 1000000), earlier = check_tree(before, 1, 1000000);
        CHECK(now == earlier || now == earlier + 1);
        CHECK_EQ(check_tree(all, 1, 1000000), now);
    }
    distinct = check_tree(all, 1, 1000000);
    CHECK_EQ(check_tree(versions, 1, 1000000), distinct);
    CHECK(distinct > 0 && distinct <= n);
    CHECK_EQ(table->used, n);
    for (size_t i = 0; i < n && test_failed() == 0; i++)
        CHECK_EQ(check_tree(table->slots[i], 1, 1000000), 1);
    CHECK(HEAP_IS_WHOLE());
}

TEST(every_allocation) {
    for (size_t i = 0; i < stress_times(1); i++) build(1, 150, i);
}

TEST(every_third) {
    for (size_t i = 0; i < stress_times(1); i++) build(3, 200, i);
}

TEST(every_hundredth) {
    for (size_t i = 0; i < stress_times(1); i++) build(101, 1500, i);
}

static void *build_on_thread(void *arg) {
    for (size_t i = 0; i < stress_times(1); i++) build((size_t)(uintptr_t)arg, 80, i);
    return NULL;
}

// Three threads, each with its own rhythm: every collection falls into the others' work too.
TEST(on_threads) {
    pthread_t threads[3];
    stress_seed();
    for (uintptr_t i = 0; i < 3; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, build_on_thread, (void *)(i * 4 + 2)) == 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
}

TEST_MAIN
