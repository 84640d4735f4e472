// Weak pointers: NULL once their object is garbage or freed, never another object.
#include "alive.h"

#include <errno.h>

enum { N = 200, FEW = N / 10 };

struct node {
    struct node *next;
    uintptr_t index;
    uintptr_t body[2];
};

static gomem_weak weak[N];
static struct node *keep[N];
static uintptr_t seen; // in finalizers
static void *revived[N];

static struct node *make(uintptr_t i) {
    struct node *node = GOMEM_NEW(struct node);
    if (CHECK(node != NULL)) node->index = i;
    return node;
}

ALIVE_NOINLINE static void make_all(bool kept) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = make(i);
        weak[i] = gomem_weak_make(node);
        CHECK(weak[i].id != 0);
        keep[i] = kept ? node : NULL;
    }
    gap[0] = 1;
}

ALIVE_NOINLINE static int alive_weak(void) {
    ALIVE_DEEP;
    int alive = 0;
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = gomem_weak_get(weak[i]);
        alive += node != NULL;
        if (node != NULL) CHECK_EQ(node->index, i);
        if (keep[i] != NULL) CHECK(node == keep[i]);
    }
    gap[0] = 1;
    return alive;
}

TEST(cleared_when_garbage) {
    for (int round = 0; round < 4; round++) {
        make_all(true);
        alive_gc();
        CHECK_EQ(alive_weak(), N);
        for (int i = 0; i < N; i += 2) keep[i] = NULL;
        alive_gc();
        int alive = alive_weak();
        CHECK(alive >= N / 2 && alive <= N / 2 + FEW);
        memset(keep, 0, sizeof keep);
        alive_gc();
        CHECK(alive_weak() <= FEW);
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST(keeps_nothing_alive) {
    make_all(false);
    alive_gc();
    CHECK(alive_weak() <= FEW);
}

// The same object, the same handle; another object in its slot, another one.
TEST(handles) {
    struct node *node = make(1);
    gomem_weak a = gomem_weak_make(node), b = gomem_weak_make(node);
    CHECK(a.id != 0 && a.id == b.id && gomem_weak_get(a) == node);
    gomem_free(node);
    CHECK(gomem_weak_get(a) == NULL);
    for (int i = 0; i < 3000; i++) {
        struct node *other = make(2);
        gomem_weak c = gomem_weak_make(other);
        CHECK(c.id != a.id && gomem_weak_get(c) == other && gomem_weak_get(a) == NULL);
        if (i % 3 != 0) gomem_free(other);
    }
    CHECK(gomem_weak_get((gomem_weak){0}) == NULL);
    CHECK(gomem_weak_get((gomem_weak){UINT64_MAX}) == NULL);
    CHECK(gomem_weak_get((gomem_weak){1}) == NULL);
    CHECK(HEAP_IS_WHOLE());
}

TEST(follows_realloc) {
    struct node *node = make(7);
    gomem_weak w = gomem_weak_make(node);
    static const size_t sizes[] = {100, 3000, 100000, 500000, 40};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        node = gomem_realloc(node, sizes[i]);
        REQUIRE(node != NULL);
        CHECK(gomem_weak_get(w) == node && node->index == 7);
        CHECK_EQ(gomem_weak_make(node).id, w.id);
    }
    gomem_free(node);
    CHECK(gomem_weak_get(w) == NULL);
}

static void look(void *obj, void *arg) {
    struct node *node = obj;
    CHECK(gomem_weak_get(weak[node->index]) == NULL);
    if (arg != NULL) revived[node->index] = node;
    seen++;
}

ALIVE_NOINLINE static void make_finalized(bool revive) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = make(i);
        if (i % 2 == 0) CHECK(gomem_set_finalizer(node, look, revive ? weak : NULL));
        weak[i] = gomem_weak_make(node);
        if (i % 2 != 0) CHECK(gomem_set_finalizer(node, look, revive ? weak : NULL));
    }
    gap[0] = 1;
}

// Cleared before the finalizer runs, and not set again when that revives the object.
TEST(cleared_before_finalizers) {
    gomem_options options = {.finalizers_by_hand = true};
    REQUIRE(gomem_init(&options));
    for (int revive = 0; revive < 2; revive++) {
        seen = 0;
        make_finalized(revive);
        alive_gc();
        CHECK(alive_weak() <= FEW);
        gomem_run_finalizers(-1);
        CHECK(seen >= N - FEW);
        CHECK(alive_weak() <= FEW);
        int made = 0;
        for (int i = 0; i < N && revive; i++) {
            if (revived[i] == NULL) continue;
            gomem_weak w = gomem_weak_make(revived[i]);
            CHECK(w.id != weak[i].id && gomem_weak_get(w) == revived[i]);
            made++;
        }
        CHECK(made >= (revive ? N - FEW : 0));
        memset(revived, 0, sizeof revived);
    }
    CHECK(HEAP_IS_WHOLE());
}

// Large, noscan and uncollectable objects.
TEST(kinds) {
    void *large = gomem_new(300000), *plain = gomem_new_noscan(24);
    void *root = gomem_new_with(100, 0, GOMEM_UNCOLLECTABLE);
    void *bare = gomem_new_with(100000, 0, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN);
    void *const all[] = {large, plain, root, bare};
    gomem_weak w[4];
    for (int i = 0; i < 4; i++) {
        w[i] = gomem_weak_make(all[i]);
        REQUIRE(w[i].id != 0);
    }
    alive_gc();
    for (int i = 0; i < 4; i++) CHECK(gomem_weak_get(w[i]) == all[i]);
    for (int i = 0; i < 4; i++) gomem_free(all[i]);
    for (int i = 0; i < 4; i++) CHECK(gomem_weak_get(w[i]) == NULL);
    CHECK(HEAP_IS_WHOLE());
}

TEST(bad_input) {
    char local = 0;
    struct node *node = make(0);
    void *manual = gomem_malloc(40);
    void *const wrong[] = {NULL, &local, manual, &node->index, weak};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        errno = 0;
        CHECK(gomem_weak_make(wrong[i]).id == 0 && errno == EINVAL);
    }
    gomem_free(manual);
    errno = 7;
    CHECK(gomem_weak_get(gomem_weak_make(node)) == node && errno == 7);
}

// Far more records than at first; all of them are found.
TEST(many) {
    enum { MANY = 100000 };
    struct node **nodes = GOMEM_MAKE(struct node *, MANY);
    gomem_weak *handles = GOMEM_MAKE_NOSCAN(gomem_weak, MANY);
    REQUIRE(nodes != NULL && handles != NULL);
    for (uintptr_t i = 0; i < MANY; i++) {
        nodes[i] = make(i);
        handles[i] = gomem_weak_make(nodes[i]);
    }
    alive_gc();
    for (int i = 0; i < MANY; i++) REQUIRE(gomem_weak_get(handles[i]) == nodes[i]);
    for (int i = 0; i < MANY; i += 2) nodes[i] = NULL;
    alive_gc();
    int alive = 0;
    for (int i = 0; i < MANY; i++) {
        struct node *node = gomem_weak_get(handles[i]);
        if (i % 2 != 0) REQUIRE(node == nodes[i]);
        else alive += node != NULL;
    }
    CHECK(alive <= MANY / 20);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
