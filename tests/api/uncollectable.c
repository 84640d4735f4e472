// Uncollectable objects: kept until freed by hand, roots unless noscan.
#include "alive.h"

static struct alive_set set;

static void *new_uncollectable(void) {
    return gomem_new_with(sizeof(struct alive_node), 0, GOMEM_UNCOLLECTABLE);
}

static void *new_uncollectable_noscan(void) {
    return gomem_new_with(sizeof(struct alive_node), 0, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN);
}

ALIVE_NOINLINE static void free_set(void) {
    ALIVE_DEEP;
    for (size_t i = 0; i < ALIVE_N; i++) gomem_free(alive_show(set.hidden[i]));
    gap[0] = 1;
}

TEST(kept_without_any_pointer) {
    for (int round = 0; round < 3; round++) {
        REQUIRE(alive_fill(&set, new_uncollectable, false));
        alive_gc();
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        free_set();
        REQUIRE(alive_fill(&set, new_uncollectable_noscan, false));
        alive_gc();
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        free_set();
    }
    CHECK(HEAP_IS_WHOLE());
}

// 32 KiB and more is a span of its own; 128 KiB more than one piece.
static const size_t sizes[] = {8, 64, 3000, 32768, 50000, 131072, 400000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

TEST(is_a_root) {
    for (size_t i = 0; i < SIZES; i++) {
        uintptr_t hidden = alive_hide(gomem_new_with(sizes[i], 0, GOMEM_UNCOLLECTABLE));
        uintptr_t *object = alive_show(hidden);
        REQUIRE(object != NULL);
        size_t last = sizes[i] / sizeof *object - 1;
        alive_check_slot(&object[0], 0);
        alive_check_slot(&object[last], 0);
        gomem_free(object);
    }
}

TEST(noscan_is_no_root) {
    for (size_t i = 0; i < SIZES; i++) {
        uintptr_t *object = gomem_new_with(sizes[i], 0, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN);
        REQUIRE(object != NULL);
        alive_check_no_slot(object);
        gomem_free(object);
    }
}

// What a freed uncollectable object pointed at is garbage.
TEST(freed_is_no_root) {
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        uintptr_t hidden = alive_hide(gomem_new_with(64, 0, GOMEM_UNCOLLECTABLE));
        REQUIRE(alive_chain(&set));
        alive_put(alive_show(hidden), set.hidden[0], 0);
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        gomem_free(alive_show(hidden));
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
}

// Every other object of a set is freed, so that no span goes back whole, and its slot is taken again.
TEST(freed_slots_come_back_zeroed) {
    static void *taken[ALIVE_N];
    size_t again = 0;
    for (int round = 0; round < 20; round++) {
        REQUIRE(alive_fill(&set, new_uncollectable, true));
        for (size_t i = 0; i < ALIVE_N; i += 2) gomem_free(alive_show(set.hidden[i]));
        if (round % 5 == 0) alive_gc();
        for (size_t i = 0; i < ALIVE_N; i++) {
            struct alive_node *node = new_uncollectable();
            REQUIRE(node != NULL);
            CHECK(!node->next && !node->index && !node->check && !node->body[2]);
            for (size_t k = 0; k < ALIVE_N; k += 2) again += node == alive_show(set.hidden[k]);
            taken[i] = node;
        }
        for (size_t i = 0; i < ALIVE_N; i++) gomem_free(taken[i]);
        for (size_t i = 1; i < ALIVE_N; i += 2) gomem_free(alive_show(set.hidden[i]));
    }
    CHECK(again > ALIVE_N); // else nothing was tried
    CHECK(HEAP_IS_WHOLE());
}

// A slot that was written and freed beside one in use, so that its span stays, is taken again: zero.
TEST(written_slots_come_back_zeroed) {
    static const unsigned kinds[] = {GOMEM_UNCOLLECTABLE, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN};
    for (size_t i = 0; i < SIZES; i++)
        for (unsigned k = 0; k < 2; k++) {
            char *neighbour = gomem_new_with(sizes[i], 0, kinds[k]);
            char *object = gomem_new_with(sizes[i], 0, kinds[k]);
            REQUIRE(neighbour != NULL && object != NULL);
            memset(object, 0xee, sizes[i]);
            gomem_free(object);
            for (int n = 0; n < 3; n++) {
                object = gomem_new_with(sizes[i], 0, kinds[k]);
                REQUIRE(object != NULL);
                size_t dirty = 0;
                for (size_t b = 0; b < sizes[i]; b++) dirty += object[b] != 0;
                CHECK_EQ(dirty, 0);
                memset(object, 0xee, sizes[i]);
                gomem_free(object);
            }
            gomem_free(neighbour);
        }
    CHECK(HEAP_IS_WHOLE());
}

// What a resize cuts off is zero when the object grows again, and keeps nothing alive meanwhile.
TEST(cut_off_parts_come_back_zeroed) {
    static const unsigned kinds[] = {GOMEM_UNCOLLECTABLE, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN};
    for (size_t i = 1; i < SIZES; i++)
        for (unsigned k = 0; k < 2; k++) {
            size_t full = sizes[i], less = full / 4 * 3;
            char *object = gomem_new_with(full, 0, kinds[k]);
            REQUIRE(object != NULL);
            memset(object, 0xee, full);
            object = gomem_realloc(object, less);
            REQUIRE(object != NULL);
            object = gomem_realloc(object, full);
            REQUIRE(object != NULL);
            size_t dirty = 0, lost = 0;
            for (size_t b = 0; b < less; b++) lost += object[b] != (char)0xee;
            for (size_t b = less; b < full; b++) dirty += object[b] != 0;
            CHECK_EQ(lost, 0);
            CHECK_EQ(dirty, 0);
            gomem_free(object);
        }
    CHECK(HEAP_IS_WHOLE());
}

// Chains from uncollectable to collected objects and back.
TEST(mixed_chains) {
    enum { N = 1000 };
    struct alive_node *first = new_uncollectable();
    REQUIRE(first != NULL);
    uintptr_t hidden = alive_hide(first);
    struct alive_node *last = first;
    for (uintptr_t i = 1; i < N; i++) {
        last->next = i % 3 == 0 ? new_uncollectable() : alive_new_plain();
        REQUIRE(last->next != NULL);
        last = last->next;
        last->index = i;
    }
    first = last = NULL;
    for (int round = 0; round < 3; round++) {
        alive_gc();
        uintptr_t expected = 0;
        for (struct alive_node *p = alive_show(hidden); p != NULL; p = p->next)
            REQUIRE(p->index == expected++);
        CHECK_EQ(expected, N);
    }
    struct alive_node *next;
    for (struct alive_node *p = alive_show(hidden); p != NULL; p = next) {
        next = p->next;
        gomem_free(p);
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
