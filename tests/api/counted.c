// Counted objects: dropped once, at the last release or by the collector, in cycles too.
#include "alive.h"
#include "child.h"

#include <errno.h>
#include <pthread.h>

enum { N = 200, MOST = N * 9 / 10, THREADS = 4 };

struct node {
    struct node *other;
    uintptr_t index;
    uintptr_t body[2];
};

static int dropped[N], total;
static void *saved;

static void clear(void) {
    gomem_options options = {.finalizers_by_hand = true};
    CHECK(gomem_init(&options));
    gomem_run_finalizers(-1);
    memset(dropped, 0, sizeof dropped);
    total = 0;
}

static void drop(void *obj) {
    struct node *node = obj;
    CHECK(gomem_base(node) == node);
    __atomic_fetch_add(&dropped[node->index], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&total, 1, __ATOMIC_RELAXED);
    gomem_rc_release(node->other);
}

static struct node *make(uintptr_t i) {
    struct node *node = gomem_rc_new(sizeof *node, drop);
    if (CHECK(node != NULL)) node->index = i;
    return node;
}

static int misuses;
static void note_misuse(const char *line, void *user) {
    (void)line, (void)user;
    misuses++;
}
static void release_again(void *obj) { gomem_rc_release(obj); }

// A release too many is reported and changes nothing: the object is freed as after any last release.
static void one_release_too_many(void) {
    gomem_options options = {.panic = note_misuse};
    CHECK(gomem_init(&options));
    for (int i = 0; i < 10; i++) {
        void *p = gomem_rc_new(64, release_again);
        REQUIRE(p != NULL);
        gomem_rc_release(p);
        CHECK_EQ(misuses, i + 1);
        CHECK(gomem_base(p) == NULL);
    }
}
TEST(too_many_releases) { CHILD_GOOD(one_release_too_many); }

TEST(dropped_at_the_last_release) {
    clear();
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = make(i);
        for (int k = 0; k < 10; k++) CHECK(gomem_rc_retain(node) == node);
        for (int k = 0; k < 10; k++) gomem_rc_release(node);
        CHECK_EQ(dropped[i], 0);
        gomem_weak w = gomem_weak_make(node);
        gomem_rc_release(node);
        CHECK_EQ(dropped[i], 1);
        CHECK(gomem_weak_get(w) == NULL);
    }
    void *plain = gomem_rc_new(100, NULL);
    CHECK(gomem_rc_retain(plain) == plain);
    gomem_rc_release(plain);
    CHECK(gomem_base(plain) == plain);
    gomem_rc_release(plain);
    CHECK(gomem_base(test_opaque(plain)) == NULL); // freed at once
    CHECK(gomem_rc_retain(NULL) == NULL);
    gomem_rc_release(NULL);
    CHECK(HEAP_IS_WHOLE());
}

// A list of counted objects goes as a whole, front to back, recursively.
TEST(chains) {
    clear();
    struct node *list = NULL;
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = make(i);
        node->other = list;
        list = node;
    }
    alive_gc();
    CHECK_EQ(total, 0);
    gomem_rc_release(list);
    CHECK_EQ(total, N);
}

static void save(void *obj) {
    total++;
    saved = gomem_rc_retain(obj);
}

TEST(retained_by_its_drop) {
    clear();
    struct node *node = gomem_rc_new(sizeof *node, save);
    gomem_rc_release(node);
    CHECK(total == 1 && saved == node && gomem_base(node) == node);
    gomem_rc_retain(node);
    gomem_rc_release(node);
    alive_gc();
    CHECK(gomem_base(node) == node);
    gomem_rc_release(node);
    CHECK(total == 1 && gomem_base(test_opaque(node)) == NULL); // once
    saved = NULL;
}

ALIVE_NOINLINE static void make_rings(uintptr_t length) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i += length) {
        struct node *first = make(i), *last = first;
        for (uintptr_t k = 1; k < length; k++) {
            last->other = make(i + k);
            last = last->other;
        }
        last->other = first;                        // the maker's own reference
        if (i / length % 2) gomem_rc_retain(first); // or that one is lost
    }
    gap[0] = 1;
}

// The first drop releases its neighbour, and so on round the ring: each once.
TEST(rings_are_collected) {
    static const uintptr_t lengths[] = {1, 2, 5, 40};
    for (int round = 0; round < 4; round++) {
        clear();
        make_rings(lengths[round]);
        for (int k = 0; k < 4; k++) {
            alive_gc();
            gomem_run_finalizers(-1);
            CHECK(HEAP_IS_WHOLE());
        }
        CHECK(total >= MOST - (int)lengths[round]);
        for (int i = 0; i < N; i++) CHECK(dropped[i] <= 1);
    }
}

static void drop_nothing(void *obj) {
    const struct node *node = obj;
    CHECK(node->other == NULL || gomem_base(node->other) == node->other); // whole
    total++;
}

ALIVE_NOINLINE static void make_lazy_rings(void) {
    ALIVE_DEEP;
    for (int i = 0; i < N / 2; i++) {
        struct node *a = gomem_rc_new(sizeof *a, drop_nothing);
        struct node *b = gomem_rc_new(sizeof *b, drop_nothing);
        a->other = b;
        b->other = a;
    }
    gap[0] = 1;
}

// Drops that release nothing: the collector drops one after the other.
TEST(rings_without_releases) {
    clear();
    make_lazy_rings();
    for (int k = 0; k < 3; k++) {
        alive_gc();
        gomem_run_finalizers(-1);
    }
    CHECK(total >= MOST && total <= N);
    CHECK(HEAP_IS_WHOLE());
}

// Not counted by anybody reachable: a count is no root.
ALIVE_NOINLINE static void make_lost(struct alive_set *set) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++) set->hidden[i] = alive_hide(make(i));
    gap[0] = 1;
}

TEST(lost_objects_are_dropped) {
    static struct alive_set set;
    clear();
    make_lost(&set);
    alive_gc();
    CHECK(gomem_run_finalizers(-1) >= MOST);
    for (int i = 0; i < N; i++) CHECK(dropped[i] <= 1);
    alive_gc();
    int left = 0;
    for (int i = 0; i < N; i++) left += gomem_base(alive_show(set.hidden[i])) != NULL;
    CHECK(left <= N - MOST);
}

// A weak pointer that was read in the drop keeps the memory.
static gomem_weak self_weak;
static void drop_weak(void *obj) {
    CHECK(gomem_weak_get(self_weak) == obj);
    saved = obj;
    total++;
}

TEST(weak_and_counted) {
    clear();
    struct node *node = gomem_rc_new(sizeof *node, drop_weak);
    self_weak = gomem_weak_make(node);
    gomem_rc_release(node);
    CHECK(gomem_weak_get(self_weak) == NULL);
    CHECK(total == 1 && gomem_base(saved) == saved);
    saved = NULL;
}

TEST(freed_by_hand) {
    clear();
    for (int i = 0; i < 1000; i++) {
        struct node *node = make(0);
        gomem_rc_retain(node);
        gomem_free(node);
        void *other = gomem_new(sizeof *node);
        CHECK(other != NULL);
    }
    alive_gc();
    CHECK_EQ(gomem_run_finalizers(-1), 0);
    CHECK_EQ(total, 0);
    CHECK(HEAP_IS_WHOLE());
}

static struct node *shared[N];

static void *count_up_and_down(void *arg) {
    (void)arg;
    gomem_thread_attach();
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < N; i++) gomem_rc_retain(shared[i]);
        for (int i = 0; i < N; i++) gomem_rc_release(shared[i]);
    }
    for (int i = 0; i < N; i++) gomem_rc_release(shared[i]); // what was retained for it
    return NULL;
}

// Several threads, and one that makes the table grow meanwhile.
TEST(threads) {
    pthread_t thread[THREADS];
    clear();
    for (uintptr_t i = 0; i < N; i++) {
        shared[i] = make(i);
        for (int t = 0; t < THREADS; t++) gomem_rc_retain(shared[i]);
    }
    for (int t = 0; t < THREADS; t++)
        REQUIRE(gomem_thread_create(&thread[t], NULL, count_up_and_down, NULL) == 0);
    for (int i = 0; i < 20000; i++) CHECK(gomem_rc_new(16, NULL) != NULL);
    for (int t = 0; t < THREADS; t++) pthread_join(thread[t], NULL);
    CHECK_EQ(total, 0);
    for (int i = 0; i < N; i++) gomem_rc_release(shared[i]);
    CHECK_EQ(total, N);
    memset(shared, 0, sizeof shared);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
