// Room fence: which slot an address belongs to, and which one is taken.
#include <sys/mman.h>

static unsigned refusals; // the next calls of mprotect fail
static int refuse_some(void *at, size_t size, int prot) {
    return refusals && refusals-- ? -1 : mprotect(at, size, prot);
}
#define GOMEM_MPROTECT(at, size, prot) refuse_some((at), (size), (prot))
#include "room.h"

#if !GOMEM_I_REPORT || GM_ASAN || GM_TSAN
TEST(left_out) { SKIP("guards are left out"); }
#else
static struct gm_fence fence;

// Slots, of which none was used yet.
static bool begin(void) {
    memset(&fence, 0, sizeof fence);
    return CHECK(gm_fence_map(&fence));
}
static void end(void) { (void)gm_os_release((void *)fence.base, fence.size); }

static unsigned slot_of(uintptr_t at) { return gm_fence_index(&fence, at); }

// Each byte of a slot is its own; of the page between two, each half is that of the nearer one, and
// the first and the last page are those of the first and the last slot.
TEST(addresses) {
    REQUIRE(begin());
    for (unsigned i = 0; i < GM_FENCE_SLOTS; i++) {
        uintptr_t start = gm_fence_start_of(&fence, i), end = start + fence.room;
        CHECK_EQ(slot_of(start), i);
        CHECK_EQ(slot_of(end - 1), i);
        CHECK_EQ(slot_of(start - 1), i);
        CHECK_EQ(slot_of(end), i);
        CHECK_EQ(slot_of(end + fence.page / 2 - 1), i);
        if (i + 1 < GM_FENCE_SLOTS) CHECK_EQ(slot_of(end + fence.page / 2), i + 1);
    }
    CHECK_EQ(slot_of(fence.base), 0);
    CHECK_EQ(slot_of(fence.base + fence.page / 2), 0);
    CHECK_EQ(slot_of(fence.base + fence.size - fence.page / 2), GM_FENCE_SLOTS - 1);
    CHECK_EQ(slot_of(fence.base + fence.size - 1), GM_FENCE_SLOTS - 1);
    end();
}

// Takes a slot for an object of 16 bytes; NULL: there is none, or it cannot be opened.
static void *take(bool left) {
    static char shadow[16];
    size_t align = 16, bytes = gm_fence_bytes(sizeof shadow, &align);
    unsigned i = gm_fence_claim(&fence, bytes, align);
    return i < GM_FENCE_SLOTS ? gm_fence_take(&fence, i, shadow, sizeof shadow, align, left) : NULL;
}

// F3: of the free slots the one that was freed first is taken, so that each waits as long as possible.
TEST(freed_first_is_taken_first) {
    static const unsigned freed[] = {7, 200, 3, 90, 0, 255};
    enum { N = sizeof freed / sizeof freed[0] };
    size_t align = 16, bytes = gm_fence_bytes(16, &align);
    bool taken[GM_FENCE_SLOTS] = {false};
    REQUIRE(begin());
    for (unsigned n = 0; n < GM_FENCE_SLOTS; n++) {
        unsigned i = gm_fence_claim(&fence, bytes, align);
        REQUIRE(i < GM_FENCE_SLOTS && !taken[i]);
        taken[i] = true;
    }
    CHECK_EQ(gm_fence_claim(&fence, bytes, align), GM_FENCE_SLOTS);
    for (unsigned n = 0; n < N; n++) gm_store_rel(&fence.order[freed[n]], (uint64_t)1000 + n);
    for (unsigned n = 0; n < N; n++) CHECK_EQ(gm_fence_claim(&fence, bytes, align), freed[n]);
    CHECK_EQ(gm_fence_claim(&fence, bytes, align), GM_FENCE_SLOTS);
    end();
}

// F2: another thread that takes a freed slot puts another shadow there. So a slot stays with the
// thread that frees its object until that has read the shadow and reported what it found.
TEST(a_freed_slot_is_queued_last) {
    struct gm_fence_stack stack = {.thread = 1};
    uintptr_t written;
    unsigned n = 0;
    REQUIRE(begin());
    char *p = take(false);
    REQUIRE(p != NULL);
    unsigned i = slot_of((uintptr_t)p);
    void *shadow = gm_fence_free(&fence, i, p, &stack, &written);
    CHECK(shadow == (void *)fence.slot[i].shadow);
    for (void *other; (other = take(false)) != NULL; n++) CHECK(slot_of((uintptr_t)other) != i);
    CHECK_EQ(n, GM_FENCE_SLOTS - 1);
    gm_fence_queue(&fence, i);
    p = take(false);
    CHECK(p && slot_of((uintptr_t)p) == i);
    end();
}

// Reports name the stack of a free only once the object was freed.
TEST(a_new_object_was_not_freed) {
    struct gm_fence_stack stack = {.thread = 1, .depth = 1, .frame = {123}};
    uintptr_t written;
    REQUIRE(begin());
    char *p = take(false);
    REQUIRE(p != NULL);
    unsigned i = slot_of((uintptr_t)p);
    CHECK(gm_fence_free(&fence, i, p, &stack, &written) != NULL);
    CHECK_EQ(fence.slot[i].freed.depth, 1);
    gm_fence_queue(&fence, i);
    for (unsigned n = 0; n < GM_FENCE_SLOTS; n++) p = take(false); // at last the same slot
    REQUIRE(p && slot_of((uintptr_t)p) == i);
    CHECK_EQ(fence.slot[i].freed.depth, 0);
    end();
}

// A slot whose pages the kernel does not open is free for the next object.
TEST(refused_rights) {
    unsigned n = 0;
    REQUIRE(begin());
    for (unsigned i = 0; i < 10; i++) {
        refusals = 1;
        CHECK(!take(i % 2));
        CHECK_EQ(refusals, 0);
    }
    while (take(false)) n++;
    CHECK_EQ(n, GM_FENCE_SLOTS);
    end();
}

// A guarded object has the size that was asked for, its shadow that of its class: what reads the
// object in the shadow's place reads no more than that.
TEST(objects_and_shadows) {
    struct gm_runtime *rt = &gm_runtime;
    size_t size = 999;
    REQUIRE(begin());
    gm_store_rel(&rt->fence, &fence);
    uintptr_t object = (uintptr_t)take(false), shadow = gm_fence_shadow(rt, object);
    REQUIRE(object && shadow != object);
    CHECK_EQ(gm_fence_lit(rt, shadow, &size), object);
    CHECK_EQ(size, 16);
    CHECK_EQ(gm_fence_lit(rt, shadow + 1, &size), shadow + 1); // any other object
    CHECK_EQ(gm_fence_shadow(rt, object + 15), shadow);
    CHECK_EQ(gm_fence_shadow(rt, object - 1), object - 1);
    CHECK_EQ(gm_fence_object(rt, object + 15, &size), object);
    CHECK_EQ(gm_fence_object(rt, object + 16, &size), 0);
    gm_store_rel(&rt->fence, (struct gm_fence *)NULL);
    end();
}

// Beside a slot that was never used, both halves are those of the used one.
TEST(beside_unused_slots) {
    REQUIRE(begin());
    uintptr_t start = gm_fence_start_of(&fence, 7), behind = start + fence.room;
    fence.slot[7].state = GM_FENCE_FREED;
    CHECK_EQ(slot_of(start - fence.page), 7);
    CHECK_EQ(slot_of(behind + fence.page - 1), 7);
    fence.slot[8].state = GM_FENCE_LIVE;
    CHECK_EQ(slot_of(behind + fence.page - 1), 8);
    CHECK_EQ(slot_of(behind), 7);
    fence.slot[0].state = fence.slot[GM_FENCE_SLOTS - 1].state = GM_FENCE_LIVE;
    CHECK_EQ(slot_of(fence.base), 0);
    CHECK_EQ(slot_of(fence.base + fence.size - 1), GM_FENCE_SLOTS - 1);
    end();
}
#endif

TEST_MAIN
