// Room fence: which slot an address belongs to, and which one is taken.
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
