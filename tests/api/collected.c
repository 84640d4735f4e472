// The collected heap: zeroed always, garbage goes, what is live stays with its contents.
#include "alive.h"

static bool zeroed(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0) return false;
    return true;
}

ALIVE_NOINLINE static void litter(size_t size, size_t n, bool noscan) {
    for (size_t i = 0; i < n; i++) {
        unsigned char *p = noscan ? gomem_new_noscan(size) : gomem_new(size);
        if (!CHECK(p != NULL) || !CHECK(zeroed(p, size))) return;
        memset(p, 0xa5, gomem_usable_size(p));
    }
    alive_clear_stack();
}

TEST(zeroed_also_after_reuse) {
    static const size_t sizes[] = {8, 16, 24, 48, 100, 250, 1024, 3000, 20000, 33000, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = 400000 / sizes[i] + 3;
        for (int round = 0; round < 4; round++) {
            litter(sizes[i], n, false);
            litter(sizes[i], n, true);
            alive_gc();
        }
    }
}

TEST(garbage_is_reclaimed) {
    gomem_memstats before = {.size = sizeof before}, full = {.size = sizeof full},
                   after = {.size = sizeof after};
    gomem_gc_hold();
    alive_gc();
    gomem_read_memstats(&before);
    litter(64, 20000, false);
    litter(64, 20000, true);
    gomem_read_memstats(&full);
    gomem_gc_unhold();
    CHECK(full.heap_objects >= before.heap_objects + 39000);
    CHECK(full.heap_alloc >= before.heap_alloc + 2400000);
    alive_gc();
    gomem_read_memstats(&after);
    CHECK(after.frees >= full.frees + 38000);
    CHECK(after.heap_objects <= before.heap_objects + 2000);
    CHECK(after.heap_alloc <= before.heap_alloc + 300000);
}

TEST(garbage_is_scattered) {
    static struct alive_set set;
    for (int round = 0; round < 5; round++) {
        REQUIRE(alive_scatter(&set));
        alive_gc();
        CHECK(alive_count(&set) <= ALIVE_FEW);
    }
}

// The memory of a program that only litters stays bounded without a call of the collector.
TEST(litter_does_not_grow_the_heap) {
    gomem_memstats stats = {.size = sizeof stats};
    for (int i = 0; i < 40; i++) litter(100, 50000, i % 2 == 0);
    for (int i = 0; i < 20; i++) litter(300000, 40, i % 2 == 0);
    gomem_read_memstats(&stats);
    CHECK(stats.heap_inuse < (uint64_t)64 << 20);
    CHECK(stats.num_gc > 0);
}

struct tree {
    struct tree *left, *right;
    uint64_t value;
    char *name;
};

static struct tree *grow(int depth, uint64_t value) {
    struct tree *t = GOMEM_NEW(struct tree);
    if (t == NULL) return NULL;
    t->value = value;
    t->name = gomem_new_noscan(24);
    snprintf(t->name, 24, "%" PRIu64, value);
    if (depth > 0) {
        t->left = grow(depth - 1, value * 2);
        t->right = grow(depth - 1, value * 2 + 1);
    }
    return t;
}

static uint64_t check_tree(const struct tree *t, uint64_t value) {
    if (t == NULL) return 0;
    char name[24];
    snprintf(name, sizeof name, "%" PRIu64, value);
    if (!CHECK(t->value == value && strcmp(t->name, name) == 0)) return 0;
    return 1 + check_tree(t->left, value * 2) + check_tree(t->right, value * 2 + 1);
}

TEST(live_data_survive) {
    struct tree *root = grow(14, 1);
    for (int round = 0; round < 5; round++) {
        litter(40, 30000, false);
        alive_gc();
        CHECK_EQ(check_tree(root, 1), (1 << 15) - 1);
        // Half of it goes and grows again.
        root->left = grow(13, 2);
    }
    CHECK_EQ(check_tree(root, 1), (1 << 15) - 1);
    CHECK(HEAP_IS_WHOLE());
}

// A list far longer than any stack is deep.
TEST(long_list) {
    enum { N = 1000000 };
    static struct alive_node *head;
    for (uintptr_t i = 0; i < N; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        REQUIRE(node != NULL);
        node->index = i;
        node->next = head;
        head = node;
    }
    alive_gc();
    uintptr_t expected = N;
    for (struct alive_node *node = head; node != NULL; node = node->next)
        REQUIRE(node->index == --expected);
    CHECK_EQ(expected, 0);
    head = NULL;
    alive_gc();
}

ALIVE_NOINLINE static void close_circle(const struct alive_set *set) {
    ALIVE_DEEP;
    struct alive_node *last = alive_show(set->hidden[ALIVE_N - 1]);
    last->next = alive_show(set->hidden[0]);
    gap[0] = 1;
}

// Garbage that points at itself in circles.
TEST(cycles_are_collected) {
    static struct alive_set set;
    int died = 0;
    for (int round = 0; round < 6; round++) {
        REQUIRE(alive_chain(&set));
        close_circle(&set);
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
    }
    CHECK(died >= 3);
}

// Large scanned objects keep what their first, middle and last words point at.
TEST(large_objects_are_scanned_whole) {
    static const size_t sizes[] = {40000, 131072, 131080, 300000, 5000000};
    static struct alive_set set;
    static uintptr_t *volatile holder;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t words = sizes[i] / sizeof(uintptr_t);
        gomem_gc_hold(); // the large one may ask for a cycle before it holds the others
        REQUIRE(alive_scatter(&set));
        holder = gomem_new(sizes[i]);
        REQUIRE(holder != NULL);
        for (size_t j = 0; j < ALIVE_N; j++)
            alive_put(&holder[j * (words - 1) / (ALIVE_N - 1)], set.hidden[j], 0);
        gomem_gc_unhold();
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        holder = NULL;
        for (int j = 0; j < 10;
             j++) { // a dead word of some thread may hold the large one for a while
            alive_gc();
            if (alive_count(&set) <= ALIVE_FEW) break;
        }
        CHECK(alive_count(&set) <= ALIVE_FEW);
    }
}

// Words that are not aligned are no pointers.
TEST(unaligned_words_are_not_looked_at) {
    static struct alive_set set;
    static char *volatile holder;
    REQUIRE(alive_scatter(&set));
    holder = gomem_new(ALIVE_N * 16 + 16);
    REQUIRE(holder != NULL);
    for (size_t i = 0; i < ALIVE_N; i++) {
        void *p = alive_show(set.hidden[i]);
        memcpy(holder + i * 16 + 3, &p, sizeof p);
    }
    alive_gc();
    CHECK(alive_count(&set) <= ALIVE_FEW);
    holder = NULL;
}

TEST(noscan_is_not_scanned) {
    static struct alive_set set;
    static uintptr_t *volatile holder;
    REQUIRE(alive_scatter(&set));
    holder = gomem_new_noscan(ALIVE_N * sizeof *holder);
    REQUIRE(holder != NULL);
    for (size_t i = 0; i < ALIVE_N; i++) alive_put(&holder[i], set.hidden[i], 0);
    alive_gc();
    CHECK(alive_count(&set) <= ALIVE_FEW);
    CHECK(gomem_base(holder) == holder);
    holder = NULL;
}

// The life of an object whose fields are changed all the time.
TEST(shuffled_graph) {
    enum { N = 4000, STEPS = 200000 };
    struct alive_node **nodes = gomem_new(N * sizeof *nodes);
    REQUIRE(nodes != NULL);
    uint32_t seed = 12345;
    for (int i = 0; i < STEPS; i++) {
        seed = seed * 1664525u + 1013904223u;
        size_t at = (seed >> 8) % N, from = (seed >> 4) % N;
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        REQUIRE(node != NULL);
        node->index = at;
        node->check = alive_sum(at, alive_hide(node));
        node->next = i % 5 == 0 ? NULL : nodes[from];
        nodes[at] = node;
    }
    for (size_t i = 0; i < N; i++) {
        size_t steps = 0;
        for (struct alive_node *node = nodes[i]; node != NULL && steps < 100; node = node->next) {
            REQUIRE(node->check == alive_sum(node->index, alive_hide(node)));
            steps++;
        }
    }
    GOMEM_KEEP_ALIVE(nodes);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
