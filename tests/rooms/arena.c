// Room arena: what holds between any two calls (I1 to I3), in each way to grow, scanned and not.
#include "room.h"

enum { MOST = 2000, MARKS = 12, BUFFER = 200000, KB = 1024 };

static gomem_arena arena;
static struct {
    gomem_arena_mark mark;
    int count;
} marks[MARKS];
static int objects, depth;
static char *last;       // allocation, NULL: none
static size_t last_size; //

static bool zero(const char *from, const char *to) {
    while (from < to)
        if (*from++) return false;
    return true;
}

// A block that is not current: what of it is in use, and what is not zero. (I3)
static bool put_away(uint32_t page) {
    const struct gm_span *s = gm_arena_span(page);
    const char *start = gm_arena_start(s), *end = start + gm_arena_bytes(s);
    bool fine = CHECK(s->cursor >= s->used);
    gm_guard_allow(start, (size_t)(end - start));
    fine &= CHECK(zero(start + (size_t)s->cursor * 16, end));
    if (gm_arena_scanned(&arena)) fine &= CHECK(s->size >= (size_t)s->used * 16);
    return fine;
}

static bool sound(void) {
    const gomem_arena *a = &arena;
    if (!a->start) return CHECK(!a->cursor && !a->end && !a->block);
    bool fine = CHECK(a->start <= a->cursor && a->cursor <= a->end && a->end <= a->ready &&
                      a->ready <= a->limit); // I1
    fine &= CHECK((((uintptr_t)a->cursor ^ (uintptr_t)a->start) & 15) == 0);
    fine &= CHECK(a->clean >= a->start && a->clean <= a->limit);
    fine &= CHECK(zero(a->cursor, a->end));
    const char *top = a->mode == GM_ARENA_RESERVED ? a->committed : a->limit;
    fine &= CHECK(zero(GM_MAX((const char *)a->clean, (const char *)a->cursor), top));
    if (gm_arena_scanned(a)) fine &= CHECK(zero(a->cursor, a->ready)); // I2
    size_t before = 0;
    for (uint32_t page = a->block ? gm_arena_span(a->block)->shape : 0; page;
         page = gm_arena_span(page)->shape) {
        fine &= put_away(page);
        before += (size_t)gm_arena_span(page)->used * 16;
    }
    if (a->mode == GM_ARENA_CHAINED) fine &= CHECK_EQ(before, a->before);
    if (gm_arena_scanned(a) && a->block)
        fine &= CHECK_EQ(gm_arena_span(a->block)->size, (size_t)(a->ready - a->start));
    gomem_arena_stats s = gomem_arena_read_stats(a);
    return fine && CHECK(s.used <= s.held && s.used <= s.high_water);
}

static size_t size_of(void) {
    static const size_t most[] = {16, 300, 300, 300, 5000, 90000};
    return room_below(most[room_below(6)]);
}

static void take(char *p, size_t size, bool zeroed) {
    last = p;
    last_size = size;
    if (!p) return;
    if (zeroed) CHECK(zero(p, p + size));
    memset(p, 1 + (int)room_below(255), size);
    objects++;
}

static void allocate_again(void *arg) {
    (void)arg;
    if (depth++ == 0 && room_below(3) == 0) {
        char *p = gomem_arena_alloc(&arena, room_below(300));
        CHECK(p != NULL || arena.mode == GM_ARENA_BUFFER);
    }
    depth--;
}

static void step(void) {
    size_t what = room_below(100), size = size_of();
    if (what < 50) {
        take(gomem_arena_alloc(&arena, size), size, true);
    } else if (what < 58) {
        unsigned flags = what & 1 ? GOMEM_UNINIT : 0;
        take(gomem_arena_alloc_with(&arena, size, (size_t)1 << room_below(14), flags), size,
             !flags);
    } else if (what < 64) {
        int width = (int)room_below(400);
        char *p = what & 1 ? gomem_arena_printf(&arena, "%d of %s", width, "many")
                           : gomem_arena_printf(&arena, "%*d", width, 7);
        take(p, p ? strlen(p) + 1 : 0, false);
    } else if (what < 76 && last) {
        char *p = gomem_arena_resize(&arena, last, last_size, size);
        if (!p) return;
        if (size > last_size) CHECK(zero(p + last_size, p + size));
        take(p, size, false);
    } else if (what < 84) {
        int i = (int)room_below(MARKS);
        marks[i].mark = gomem_arena_save(&arena);
        marks[i].count = objects;
        for (i++; i < MARKS; i++) marks[i].count = -1; // they came before it
    } else if (what < 95) {
        int i = (int)room_below(MARKS);
        if (marks[i].count < 0 || marks[i].count > objects) return;
        gomem_arena_restore(&arena, marks[i].mark);
        objects = marks[i].count;
        last = NULL;
        for (i++; i < MARKS; i++) marks[i].count = -1;
    } else if (what < 97) {
        (void)gomem_arena_on_reset(&arena, allocate_again, NULL);
        last = NULL;
    } else {
        if (what == 97) gomem_arena_free(&arena);
        else gomem_arena_reset(&arena);
        for (int i = 0; i < MARKS; i++) marks[i].count = -1;
        objects = 0;
        last = NULL;
    }
}

static void walk(const gomem_arena_options *o) {
    for (int round = 0; round < 4; round++) {
        REQUIRE(gomem_arena_init(&arena, o));
        for (int i = 0; i < MARKS; i++) marks[i].count = -1;
        objects = 0;
        last = NULL;
        for (int i = 0; i < 600; i++) {
            step();
            if (!sound()) return;
        }
        gomem_arena_free(&arena);
    }
}

static void walk_as(gomem_arena_options o) {
    walk(&o);
    if (!GOMEM_I_COLLECTOR) return;
    o.flags = GOMEM_SCAN;
    walk(&o);
}

TEST(chained) {
    walk_as((gomem_arena_options){0});
    walk_as((gomem_arena_options){.block = 100 * KB});
}
TEST(buffer) {
    static char buffer[BUFFER];
    memset(buffer, 0x77, sizeof buffer);
    walk_as((gomem_arena_options){.buffer = buffer + 3, .buffer_size = BUFFER - 3});
}
TEST(reserved) { walk_as((gomem_arena_options){.reserve = 3 * GM_MIB}); }

// What is made zero, or scanned, ends 4 KiB above what is in use, whatever the block held before.
TEST(little_is_touched_ahead) {
    for (unsigned flags = 0; flags <= GOMEM_SCAN; flags += GOMEM_SCAN) {
        gomem_arena a = {0};
        REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.block = GM_MIB, .flags = flags}));
        for (int round = 0; round < 3; round++) {
            for (int i = 0; i < 10000; i++) {
                if (!CHECK(gomem_arena_alloc(&a, 16 + (i % 7) * 16) != NULL)) break;
                CHECK(GM_MIN(a.end, a.clean) <= a.cursor + 4096);
                if (flags) CHECK(a.ready <= a.cursor + 4096);
            }
            gomem_arena_reset(&a);
        }
        gomem_arena_free(&a);
    }
}

// What is kept after a reset is what the last rounds needed.
TEST(settles) {
    gomem_arena a = {0};
    CHECK(gomem_arena_alloc(&a, 100) != NULL);
    gomem_arena_reset(&a);
    CHECK(a.block && gm_arena_settled(&a)); // from here on a reset lowers the cursor
    uint32_t block = a.block;
    for (int i = 0; i < 10; i++) {
        CHECK(gomem_arena_alloc(&a, 5000) != NULL);
        gomem_arena_reset(&a);
        CHECK_EQ(a.block, block);
    }
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 30; i++) CHECK(gomem_arena_alloc(&a, 10000) != NULL);
        gomem_arena_reset(&a);
    }
    CHECK(a.block && a.block != block);
    CHECK(gomem_arena_read_stats(&a).blocks <= 2);
    CHECK(gm_arena_bytes(gm_arena_span(a.block)) >= 256 * KB);
    for (int i = 0; i < 40; i++) {
        CHECK(gomem_arena_alloc(&a, 100) != NULL);
        gomem_arena_reset(&a);
    }
    CHECK(gm_arena_bytes(gm_arena_span(a.block)) <= 128 * KB);
    gomem_arena_free(&a);
}

TEST_MAIN
