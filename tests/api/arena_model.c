// Arenas against a shadow: random calls in each way to grow, also when memory is used up, and after
// each call every allocation that is still valid holds what was written into it. So nothing overlaps,
// zeroed memory is zero, and marks, scopes, resets and callbacks let go of exactly what came after them.
#include "gomem.h"
#include "test.h"

#include <errno.h>

enum { KB = 1024, MOST = 400, MARKS = 10, DEPTH = 6, SEEDS = 12, STEPS = 500 };

static struct {
    gomem_arena arena;
    size_t count, marks, callbacks; // valid ones
    struct {
        unsigned char *p;
        size_t size;
        unsigned pattern;
    } thing[MOST];
    struct {
        gomem_arena_mark mark;
        size_t count, callbacks;
    } mark[MARKS];
    size_t most;     // bytes of an allocation
    unsigned zeroed; // a third of allocations are checked for zeroes
    bool full;       // allocations may fail
} m;

static uint64_t state;
static size_t below(size_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state >> 11) % n;
}

// Byte k of a thing is its pattern plus k: so it equals a piece of this ramp.
enum { RAMP = 4 * KB };
static unsigned char ramp[RAMP + 256], zeroes[RAMP];
__attribute__((constructor)) static void make_ramp(void) {
    for (size_t k = 0; k < sizeof ramp; k++) ramp[k] = (unsigned char)k;
}

static bool whole(size_t i, size_t size) {
    for (size_t at = 0, n; at < size; at += n) {
        n = size - at < RAMP ? size - at : RAMP;
        if (memcmp(m.thing[i].p + at, ramp + m.thing[i].pattern, n)) return false;
    }
    return true;
}

static bool is_zero(const unsigned char *p, size_t size) {
    for (size_t at = 0, n; at < size; at += n) {
        n = size - at < RAMP ? size - at : RAMP;
        if (memcmp(p + at, zeroes, n)) return false;
    }
    return true;
}

static void check_all(void) {
    for (size_t i = 0; i < m.count; i++)
        if (!CHECK(whole(i, m.thing[i].size))) m.count = i;
}

static void fill(size_t i) {
    size_t size = m.thing[i].size;
    m.thing[i].pattern = (unsigned)below(256);
    for (size_t at = 0; at < size; at += RAMP)
        memcpy(m.thing[i].p + at, ramp + m.thing[i].pattern, size - at < RAMP ? size - at : RAMP);
}

static void took(void *p, size_t size, bool zeroed) {
    if (!p) {
        CHECK(m.full && errno == ENOMEM);
        return;
    }
    m.thing[m.count].p = p;
    m.thing[m.count].size = size;
    if (zeroed) CHECK(is_zero(p, size));
    fill(m.count++);
}

static void allocate(void) {
    if (m.count == MOST) return;
    size_t size = below(10) ? below(m.most) : below(8 * m.most), what = below(10);
    errno = 0;
    if (what < 6) took(gomem_arena_alloc(&m.arena, size), size, true);
    else if (what < 8) took(gomem_arena_alloc_with(&m.arena, size, 16, GOMEM_UNINIT), size, false);
    else if (what < 9)
        took(gomem_arena_alloc_with(&m.arena, size, (size_t)1 << below(9), 0), size, true);
    else {
        char *p = gomem_arena_printf(&m.arena, "%zu and %*d", size, (int)below(300), 1);
        took(p, p ? strlen(p) + 1 : 0, false);
    }
}

static void resize(void) {
    if (!m.count || (m.marks && m.mark[m.marks - 1].count == m.count)) return;
    size_t i = m.count - 1, size = below(m.most), old = m.thing[i].size;
    unsigned char *p = gomem_arena_resize(&m.arena, m.thing[i].p, old, size);
    if (!p) {
        CHECK(m.full && errno == ENOMEM);
        return;
    }
    m.thing[i].p = p;
    m.thing[i].size = size;
    CHECK(whole(i, size < old ? size : old));
    if (size > old) CHECK(is_zero(p + old, size - old));
    fill(i);
}

static void count_down(void *arg) { --*(size_t *)arg; }

// Back to a mark, which stays valid, and those before it with it.
static void restore(size_t to) {
    gomem_arena_restore(&m.arena, m.mark[to].mark);
    CHECK_EQ(m.callbacks, m.mark[to].callbacks);
    m.count = m.mark[to].count;
    m.marks = to + 1;
}

static void absorb(void) {
    gomem_arena other = {0};
    if (m.count == MOST) return;
    CHECK(gomem_arena_init(&other, &(gomem_arena_options){.flags = m.arena.flags}));
    size_t size = below(3000);
    took(gomem_arena_alloc(&other, size), size, true);
    CHECK(gomem_arena_absorb(&m.arena, &other));
    CHECK_EQ(gomem_arena_read_stats(&other).held, 0);
}

static void play(size_t steps, unsigned depth);

// What a scope takes goes with it, and a mark within it is void then.
static void scope(unsigned depth) {
    size_t count = m.count, marks = m.marks, callbacks = m.callbacks;
    if (m.marks == MARKS) return;
    GOMEM_ARENA_SCOPE (&m.arena) {
        m.mark[m.marks].mark = gomem_arena_save(&m.arena); // so that nothing inside goes below
        m.mark[m.marks].count = count;
        m.mark[m.marks++].callbacks = callbacks;
        play(below(20), depth + 1);
    }
    CHECK_EQ(m.callbacks, callbacks);
    m.count = count;
    m.marks = marks;
}

static void start_again(void) {
    if (below(2)) gomem_arena_reset(&m.arena);
    else gomem_arena_free(&m.arena);
    CHECK_EQ(m.callbacks, 0);
    m.count = m.marks = 0;
}

static void step(unsigned depth, size_t least) {
    size_t what = below(100);
    if (what < 45) allocate();
    else if (what < 55) resize();
    else if (what < 65 && depth < DEPTH) scope(depth);
    else if (what < 70)
        GOMEM_ARENA_SCOPE (&m.arena) {}
    else if (what < 80 && m.marks < MARKS) {
        m.mark[m.marks].count = m.count;
        m.mark[m.marks].callbacks = m.callbacks;
        m.mark[m.marks++].mark = gomem_arena_save(&m.arena);
    } else if (what < 90 && m.marks > least) restore(least + below(m.marks - least));
    else if (what < 93) m.callbacks += gomem_arena_on_reset(&m.arena, count_down, &m.callbacks);
    else if (what < 95 && !m.full) absorb();
    else if (what < 97 && !depth) start_again();
}

static void play(size_t steps, unsigned depth) {
    size_t least = depth ? m.marks - 1 : 0; // marks of the scopes around it stay
    for (; steps; steps--) {
        step(depth, least);
        check_all();
    }
}

static void model(const gomem_arena_options *o, size_t most, bool full) {
    for (uint64_t seed = 1; seed <= SEEDS && !test_failed(); seed++) {
        memset(&m, 0, sizeof m);
        state = seed * 0x9e3779b97f4a7c15u;
        m.most = most;
        m.full = full;
        REQUIRE(gomem_arena_init(&m.arena, o));
        play(STEPS, 0);
        gomem_arena_free(&m.arena);
        CHECK_EQ(m.callbacks, 0);
    }
}

static void model_as(gomem_arena_options o, size_t most, bool full) {
    model(&o, most, full);
    if (sizeof(void *) != 8) return; // no collector
    o.flags = GOMEM_SCAN;
    model(&o, most, full);
}

TEST(chained) { model_as((gomem_arena_options){0}, 300, false); }
TEST(chained_in_small_blocks) { model_as((gomem_arena_options){.block = 4 * KB}, 2000, false); }

// Most of the time these are full: marks have no room for a record, and say so.
TEST(buffer) {
    static _Alignas(16) unsigned char buffer[8 * KB];
    for (size_t size = 64; size <= sizeof buffer; size *= 2) {
        memset(buffer, 0x33, sizeof buffer);
        model_as((gomem_arena_options){.buffer = buffer, .buffer_size = size}, size / 4, true);
    }
}
TEST(reservation) {
    model_as((gomem_arena_options){.reserve = 64 * KB}, 2000, true);
    model_as((gomem_arena_options){.reserve = 1024 * KB}, 100 * KB, true);
}

// Without memory for another block, large objects and blocks fail and what is there goes on.
TEST(out_of_memory) {
    static void *piece[4096];
    size_t pieces = 0;
    gomem_options options = {.reserve = 64 * KB * KB};
    gomem_shutdown();
    REQUIRE(gomem_init(&options));
    while (pieces < 4096 && (piece[pieces] = gomem_malloc(32 * KB)) != NULL) pieces++;
    REQUIRE(pieces < 4096);
    for (size_t free = 1; free <= 9; free += 4) {
        for (size_t i = 0; i < 4; i++) gomem_free(piece[--pieces]);
        model(&(gomem_arena_options){.block = 4 * KB}, 2000, true);
    }
    while (pieces) gomem_free(piece[--pieces]);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
