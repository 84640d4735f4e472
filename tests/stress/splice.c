// Threads splice, move and drop checksummed lists through every kind of place that keeps objects,
// while others collect without pause. A list that loses a node, or holds a node twice or of another
// list, does not add up.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { THREADS = 3, SHARED = 24, LENGTH = 40 };

struct node {
    struct node *next;
    uint64_t value, check;
};

// A list's head object: its nodes hang on it by an interior pointer.
struct list {
    struct node *first;
    char *inside; // into the last node
    uint64_t length, sum;
    struct list *self; // a cycle
};

GOMEM_TYPE(node_type, struct node, next);
GOMEM_TYPE(list_type, struct list, first, inside, self);

// Shared places, each guarded by the lock of its index.
static pthread_mutex_t locks[SHARED];
static struct list *in_bss[SHARED / 4];
static struct list **in_uncollectable;
static struct list **in_range; // mapped and registered
static struct list **in_heap;  // kept by a global
static _Thread_local struct list *in_tls;

static struct list **place(size_t i) {
    switch (i % 4) {
    case 0: return (struct list **)&in_bss[i / 4];
    case 1: return (struct list **)&in_uncollectable[i / 4];
    case 2: return (struct list **)&in_range[i / 4];
    default: return (struct list **)&in_heap[i / 4];
    }
}

static struct node *new_node(struct stress_random *r, struct node *next) {
    struct node *node = stress_below(r, 2) == 0 ? GOMEM_NEW(struct node)
                                                : GOMEM_NEW_TYPED(struct node, &node_type);
    if (!CHECK(node != NULL && node->value == 0 && node->next == NULL)) return NULL;
    node->value = stress_next(r);
    node->check = node->value * 0x9e3779b97f4a7c15u + 1;
    node->next = next;
    return node;
}

static struct list *new_list(struct stress_random *r) {
    struct list *list = stress_below(r, 2) == 0 ? GOMEM_NEW(struct list)
                                                : GOMEM_NEW_TYPED(struct list, &list_type);
    if (!CHECK(list != NULL && list->first == NULL)) return NULL;
    list->self = list;
    size_t n = stress_below(r, LENGTH);
    for (size_t i = 0; i < n; i++) {
        struct node *node = new_node(r, list->first);
        if (node == NULL) return NULL;
        if (i == 0) list->inside = (char *)node + stress_below(r, sizeof *node);
        list->first = node;
        list->length++;
        list->sum += node->value;
    }
    return list;
}

static bool list_holds(const struct list *list) {
    uint64_t length = 0, sum = 0;
    const struct node *last = NULL;
    if (!CHECK(list->self == list)) return false;
    for (const struct node *node = list->first; node != NULL; node = node->next) {
        if (!CHECK(node->check == node->value * 0x9e3779b97f4a7c15u + 1)) return false;
        if (!CHECK(++length <= list->length)) return false;
        sum += node->value;
        last = node;
    }
    if (!CHECK(length == list->length && sum == list->sum)) return false;
    return last == NULL || CHECK(gomem_base(list->inside) == last);
}

// All nodes of `from` go to the front of `to`.
static void splice(struct list *to, struct list *from) {
    struct node *first = from->first;
    if (first == NULL || to == from) return;
    struct node *last = gomem_base(from->inside);
    if (!CHECK(last != NULL && last->next == NULL)) return;
    GOMEM_STORE(&last->next, to->first);
    if (to->first == NULL) to->inside = from->inside;
    GOMEM_STORE(&to->first, first);
    to->length += from->length;
    to->sum += from->sum;
    from->first = NULL;
    from->inside = NULL;
    from->length = from->sum = 0;
}

// Cuts after a few nodes: the rest becomes garbage, or a list of its own.
static struct list *cut(struct stress_random *r, struct list *list) {
    struct list *rest = NULL;
    struct node *node = list->first;
    uint64_t kept = 1;
    if (node == NULL || (rest = GOMEM_NEW(struct list)) == NULL) return rest;
    rest->self = rest;
    uint64_t sum = node->value;
    for (uint64_t n = stress_below(r, LENGTH); n > 0 && node->next != NULL; n--, kept++) {
        node = node->next;
        sum += node->value;
    }
    rest->first = node->next;
    rest->inside = rest->first == NULL ? NULL : list->inside;
    rest->length = list->length - kept;
    rest->sum = list->sum - sum;
    node->next = NULL;
    list->inside = (char *)node;
    list->length = kept;
    list->sum = sum;
    return rest;
}

static void shrink(struct stress_random *r, struct list *list) {
    while (list->length > LENGTH * 4) cut(r, list);
}

static void act(struct stress_random *r) {
    size_t i = stress_below(r, SHARED);
    pthread_mutex_lock(&locks[i]);
    struct list **slot = place(i);
    struct list *list = *slot;
    switch (stress_below(r, 8)) {
    case 0: *slot = new_list(r); break;
    case 1: // swap with the one in this thread's storage
        *slot = in_tls;
        in_tls = list;
        break;
    case 2:
        if (list != NULL && in_tls != NULL) splice(list, in_tls);
        break;
    case 3:
        if (list != NULL && in_tls != NULL) splice(in_tls, list);
        break;
    case 4:
        if (list != NULL) in_tls = cut(r, list);
        break;
    case 5:
        if (list != NULL) list_holds(list);
        break;
    case 6: // for a moment nothing but this frame holds it
        *slot = NULL;
        new_node(r, NULL);
        if (list != NULL && list_holds(list)) *slot = list;
        break;
    default:
        if (stress_below(r, 4) == 0) *slot = NULL;
        break;
    }
    list = *slot;
    if (list != NULL) shrink(r, list);
    pthread_mutex_unlock(&locks[i]);
    if (in_tls != NULL) shrink(r, in_tls);
    if (in_tls != NULL && stress_below(r, 16) == 0) list_holds(in_tls);
}

static atomic_bool stop;
static size_t acts_each;

static void *splice_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 1);
    in_tls = new_list(&r);
    for (size_t i = 0; i < acts_each && test_failed() == 0; i++) act(&r);
    if (in_tls != NULL) list_holds(in_tls);
    in_tls = NULL;
    return NULL;
}

static void *collect_on(void *arg) {
    while (!atomic_load(&stop)) gomem_gc();
    return arg;
}

enum { RANGE = 1 << 16 };

static bool open_places(void) {
    in_uncollectable = gomem_new_with(SHARED / 4 * sizeof(void *), 0, GOMEM_UNCOLLECTABLE);
    in_heap = gomem_new(SHARED / 4 * sizeof(void *));
    void *range = mmap(NULL, RANGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(in_uncollectable != NULL && in_heap != NULL && range != MAP_FAILED)) return false;
    in_range = range;
    for (size_t i = 0; i < SHARED; i++) pthread_mutex_init(&locks[i], NULL);
    return CHECK(gomem_add_root(range, RANGE));
}

static void close_places(void) {
    for (size_t i = 0; i < SHARED; i++) {
        struct list *list = *place(i);
        if (list != NULL) list_holds(list);
        *place(i) = NULL;
    }
    CHECK(gomem_remove_root(in_range));
    munmap((void *)in_range, RANGE);
    gomem_free((void *)in_uncollectable);
    in_heap = NULL;
}

TEST(lists) {
    pthread_t threads[THREADS], collector;
    stress_seed();
    acts_each = stress_times(400000);
    atomic_store(&stop, false);
    if (!open_places()) return;
    REQUIRE(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, splice_on, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    close_places();
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// Trees whose halves are exchanged between two trees of one thread: moves through locals only.
struct tree {
    struct tree *child[2];
    uint64_t size, mark;
};

static struct tree *grow(int depth) {
    struct tree *t = GOMEM_NEW(struct tree);
    if (!CHECK(t != NULL)) return NULL;
    t->size = 1;
    t->mark = ~(uint64_t)(uintptr_t)t;
    for (int i = 0; i < 2 && depth > 0; i++) {
        t->child[i] = grow(depth - 1);
        if (t->child[i] != NULL) t->size += t->child[i]->size;
    }
    return t;
}

static uint64_t count(const struct tree *t) {
    if (t == NULL || !CHECK(t->mark == ~(uint64_t)(uintptr_t)t)) return 0;
    return 1 + count(t->child[0]) + count(t->child[1]);
}

static void exchange(struct tree *a, struct tree *b, struct stress_random *r) {
    unsigned i = stress_below(r, 2), j = stress_below(r, 2);
    if (a->child[i] == NULL || b->child[j] == NULL) return;
    if (stress_below(r, 3) != 0) {
        exchange(a->child[i], b->child[j], r);
        return;
    }
    struct tree *moved = a->child[i];
    GOMEM_STORE(&a->child[i], b->child[j]);
    GOMEM_STORE(&b->child[j], moved);
}

static void *exchange_on(void *arg) {
    enum { DEPTH = 9, WHOLE = (1 << (DEPTH + 1)) - 1 };
    struct stress_random r = stress_random_at((uintptr_t)arg + 50);
    for (size_t round = 0; round < stress_times(15) && test_failed() == 0; round++) {
        struct tree *a = grow(DEPTH), *b = grow(DEPTH);
        if (a == NULL || b == NULL) break;
        for (int i = 0; i < 300; i++) exchange(a, b, &r);
        CHECK_EQ(count(a) + count(b), 2 * WHOLE);
    }
    return NULL;
}

TEST(trees) {
    pthread_t threads[THREADS], collector;
    stress_seed();
    atomic_store(&stop, false);
    REQUIRE(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, exchange_on, (void *)i) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    CHECK(HEAP_IS_WHOLE());
}

// A live object has its base at every moment of a cycle.
TEST(bases) {
    enum { N = 3000 };
    pthread_t collector;
    size_t wrong = 0, rounds = 30000;
#ifdef TEST_TSAN
    rounds /= 100; // each look is instrumented
#endif
    struct node **nodes = gomem_new(N * sizeof *nodes);
    REQUIRE(nodes != NULL);
    for (size_t i = 0; i < N; i++) {
        nodes[i] = GOMEM_NEW(struct node);
        REQUIRE(nodes[i] != NULL);
    }
    atomic_store(&stop, false);
    REQUIRE(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
    for (size_t round = 0; round < stress_times(rounds); round++)
        for (size_t i = 0; i < N; i++)
            wrong += gomem_base((char *)nodes[i] + i % sizeof **nodes) != nodes[i];
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    CHECK_EQ(wrong, 0);
    GOMEM_KEEP_ALIVE(nodes);
}

TEST_MAIN
