// Room escape: what the two halves of a hint decide at the edges of a stack (EH1), and the report's sites.
// At a check level hints go slow, so this room is tested without one.
#undef GOMEM_CHECK
#define GOMEM_CHECK 0
#include "room.h"
#include "child.h"

#if GOMEM_I_ESCAPE
static struct gm_thread *me(void) { return gm_world_attach(&gm_runtime); }

static bool slow_fits(size_t bytes, uintptr_t sp) {
    gomem_i_hint h = gomem_i_hint_slow(bytes, 1, 1, sp, __FILE__, __LINE__);
    CHECK(h.stack ? h.heap == NULL : h.heap != NULL);
    return h.stack;
}

// The inlined half says yes only where the slow one does.
TEST(floor) {
    struct gm_thread *t = me();
    REQUIRE(t != NULL);
    gm_escape_learn(&gm_runtime, t);
    uintptr_t lo = t->hint_lo, hi = t->hint_hi, here = (uintptr_t)__builtin_frame_address(0);
    CHECK(lo < here && here < hi);
    CHECK_EQ(t->cache.hot.stack_floor, gm_escape_floor(lo, hi) + GOMEM_I_STACK_ROOM);
    CHECK_EQ(t->cache.hot.stack_floor + t->cache.hot.stack_span, hi);
    CHECK(gomem_i_hint_fits(GOMEM_STACK_MAX, 1, 1));
    CHECK(!gomem_i_hint_fits(GOMEM_STACK_MAX + 1, 1, 1));
    CHECK(!gomem_i_hint_fits(UINTMAX_MAX, 8, 8));
    CHECK(gomem_i_hint_fits(10, 0, 1));
    for (size_t bytes = 1; bytes <= GOMEM_STACK_MAX; bytes *= 2) { // to a byte
        uintptr_t edge = gm_escape_floor(lo, hi) + bytes;
        CHECK(!slow_fits(bytes, edge));
        CHECK(slow_fits(bytes, edge + 1));
        CHECK(edge < t->cache.hot.stack_floor + 1);
    }
    for (size_t align = 32; align <= 4096; align *= 2) { // where it begins is not known
        uintptr_t edge = gm_escape_floor(lo, hi) + 64 + align;
        CHECK(!gomem_i_hint_slow(64, 1, align, edge, __FILE__, __LINE__).stack);
        CHECK(gomem_i_hint_slow(64, 1, align, edge + 1, __FILE__, __LINE__).stack);
    }
    CHECK(!slow_fits(GOMEM_STACK_MAX + 1, here));
    CHECK(slow_fits(16, hi - 1));
    CHECK(!slow_fits(16, hi)); // on no stack that is known
    CHECK(!slow_fits(16, lo - 1));
}

// A quarter, less of a small stack, and 1 MiB of a large one.
TEST(share) {
    uintptr_t lo = 1 << 20;
    CHECK_EQ(gm_escape_floor(lo, lo + 8 * GM_MIB), lo + 7 * GM_MIB);
    CHECK_EQ(gm_escape_floor(lo, lo + 2 * GM_MIB), lo + 1536 * GM_KIB);
    CHECK_EQ(gm_escape_floor(lo, UINTPTR_MAX), UINTPTR_MAX - GM_MIB);
    CHECK_EQ(gm_escape_floor(lo, lo + 256 * GM_KIB), lo + 192 * GM_KIB);
    CHECK_EQ(gm_escape_floor(lo, lo + 80 * GM_KIB), lo + 64 * GM_KIB);
    CHECK_EQ(gm_escape_floor(lo, lo + 64 * GM_KIB), lo + 64 * GM_KIB);
    CHECK_EQ(gm_escape_floor(lo, lo + 16 * GM_KIB), lo + 16 * GM_KIB);
    CHECK_EQ(gm_escape_floor(lo, lo), lo);
}

// A stack that is not long enough has no fast hints, and is asked about by the slow half.
TEST(inlined_half) {
    struct gm_thread *t = me();
    REQUIRE(t != NULL);
    gomem_i_cache *c = &t->cache.hot;
    uintptr_t floor = c->stack_floor, span = c->stack_span, sp = gomem_i_stack_pointer();
    c->stack_floor = sp + 100000;
    CHECK(!gomem_i_hint_fits(16, 1, 1));
    c->stack_floor = sp - 100000;
    CHECK(gomem_i_hint_fits(16, 1, 1));
    CHECK(gomem_i_hint_fits(16, 1, 64));
    CHECK(!gomem_i_hint_fits(16, 1, 200000)); // aligned so, it would reach below
    c->stack_span = 0;
    CHECK(!gomem_i_hint_fits(16, 1, 1));
    c->stack_floor = floor;
    c->stack_span = span;
    CHECK(gomem_i_hint_fits(16, 1, 1));
}

TEST(sites) {
    struct gm_escapes *e = &gm_runtime.escapes;
    struct gm_thread *t = me();
    REQUIRE(t != NULL);
    gm_runtime.world.settings.escape = true;
    for (int round = 0; round < 2; round++)
        for (int line = 1; line <= 300; line++)
            gm_escape_count(&gm_runtime, t, line % 2 ? "a.c" : "b.c", line, 10,
                            line % 3 ? GM_HINT_ON_STACK : GM_HINT_IN_HEAP, GM_HINT_LARGE);
    gm_runtime.world.settings.escape = false;
    CHECK_EQ(e->count, 300);
    CHECK(e->room >= 300);
    uint64_t stack = 0, heap = 0, bytes = 0;
    for (size_t i = 0; i < e->count; i++) {
        const struct gm_site *s = &e->sites[i];
        CHECK_EQ(s->line, (int)i + 1);
        CHECK_EQ(s->stack + s->heap, 2);
        CHECK_EQ(s->why[GM_HINT_LARGE], s->heap);
        stack += s->stack;
        heap += s->heap;
        bytes += s->stack_bytes + s->heap_bytes;
    }
    CHECK_EQ(stack, 400);
    CHECK_EQ(heap, 200);
    CHECK_EQ(bytes, 6000);
    CHECK_EQ(e->missed, 0);
}

// Records of frames side by side stay; what overlaps a new one has returned. (EH2)
TEST(frames_that_overlap) {
    char frame[96];
    struct gm_thread *t = me();
    REQUIRE(t != NULL);
    gm_escape_learn(&gm_runtime, t);
    for (unsigned i = 2; i < 4; i++) gomem_i_hint_placed(frame + 16 * i, 16, "a.c", 1);
    gomem_i_hint_placed(frame + 16, 16, "a.c", 1);
    REQUIRE(t->frames != NULL);
    for (unsigned i = 0; i < 3; i++) CHECK_EQ(t->frames->list[i].bytes, 16);
    gomem_i_hint_placed(frame + 40, 1, "b.c", 2); // in the first of them
    CHECK(!t->frames->list[0].bytes && t->frames->list[1].bytes && t->frames->list[2].bytes);
    gomem_i_hint_placed(frame, 96, "b.c", 2); // around all
    for (unsigned i = 0; i < 4; i++) CHECK_EQ(t->frames->list[i].bytes, 0);
    CHECK_EQ(t->frames->list[4].bytes, 96);
    gm_world_forget_frames(t);
}

static void misses_some(void) {
    gm_runtime.escapes.count = 0;
    gm_runtime.escapes.missed = 3;
    gm_runtime.world.settings.escape = true;
}

// What the report could not count is told, too.
TEST(without_memory) {
    struct child child;
    child_run(&child, misses_some);
    child_good(&child);
    CHECK(strstr(child.text, "gomem: hints at places for which there was no memory: 3 times\n"));
}
#endif

TEST_MAIN
