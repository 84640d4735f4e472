// gomem_each: the live objects of a type, or all.
#include "alive.h"

struct thing {
    struct thing *next;
    int key;
};

GOMEM_TYPE(thing_type, struct thing, next);
GOMEM_TYPE(never_used, struct alive_node, next);

struct tally {
    size_t calls, wrong;
    int keys[1000];
    size_t stop_after;
};

static bool tally_thing(void *obj, size_t size, void *user) {
    struct tally *tally = user;
    struct thing *thing = obj;
    tally->calls++;
    if (size < sizeof *thing || gomem_base(obj) != obj) tally->wrong++;
    else if (thing->key >= 0 && thing->key < 1000) tally->keys[thing->key]++;
    return tally->calls != tally->stop_after;
}

static bool tally_any(void *obj, size_t size, void *user) {
    struct tally *tally = user;
    tally->calls++;
    tally->wrong += size == 0 || gomem_base(obj) != obj || gomem_usable_size(obj) < size;
    return true;
}

static struct thing *volatile things;

ALIVE_NOINLINE static void make_things(int from, int to, bool keep) {
    for (int key = from; key < to; key++) {
        struct thing *thing = GOMEM_NEW_TYPED(struct thing, &thing_type);
        if (!CHECK(thing != NULL)) return;
        thing->key = key;
        thing->next = keep ? things : NULL;
        if (keep) things = thing;
    }
    alive_clear_stack();
}

TEST(live_objects_of_a_type) {
    static struct tally tally;
    make_things(0, 500, true);
    make_things(500, 1000, false);
    alive_gc();
    memset(&tally, 0, sizeof tally);
    size_t seen = gomem_each(&thing_type, tally_thing, &tally);
    CHECK_EQ(seen, tally.calls);
    CHECK_EQ(tally.wrong, 0);
    for (int key = 0; key < 500; key++) CHECK_EQ(tally.keys[key], 1);
    int dead = 0;
    for (int key = 500; key < 1000; key++) dead += tally.keys[key] == 0;
    CHECK(dead >= 450);
}

TEST(stops_when_told) {
    static struct tally tally;
    memset(&tally, 0, sizeof tally);
    tally.stop_after = 10;
    gomem_each(&thing_type, tally_thing, &tally);
    CHECK_EQ(tally.calls, 10);
}

TEST(type_that_was_never_used) {
    static struct tally tally;
    memset(&tally, 0, sizeof tally);
    CHECK_EQ(gomem_each(&never_used, tally_any, &tally), 0);
    CHECK_EQ(tally.calls, 0);
}

TEST(all_collected_objects) {
    static struct tally before, after;
    static void *volatile *volatile kept;
    memset(&before, 0, sizeof before);
    memset(&after, 0, sizeof after);
    alive_gc();
    gomem_each(NULL, tally_any, &before);
    CHECK(before.calls >= 500);
    kept = gomem_new(900 * sizeof *kept);
    REQUIRE(kept != NULL);
    for (size_t i = 0; i < 900; i++)
        kept[i] = i % 3 == 0 ? gomem_new(i * 90) : i % 3 == 1 ? gomem_new_noscan(i) : gomem_new(16);
    void *manual = gomem_malloc(10);
    gomem_each(NULL, tally_any, &after);
    CHECK(after.calls >= before.calls + 901);
    CHECK(after.calls <= before.calls + 901 + 100);
    CHECK_EQ(before.wrong, 0);
    CHECK_EQ(after.wrong, 0);
    gomem_free(manual);
    kept = NULL;
}

// Freed by hand: no longer among them.
TEST(freed_objects_are_not_seen) {
    static struct tally tally;
    struct thing *thing = GOMEM_NEW_TYPED(struct thing, &thing_type);
    REQUIRE(thing != NULL);
    thing->key = 999;
    gomem_free(thing);
    memset(&tally, 0, sizeof tally);
    gomem_each(&thing_type, tally_thing, &tally);
    CHECK_EQ(tally.keys[999], 0);
    things = NULL;
}

TEST_MAIN
