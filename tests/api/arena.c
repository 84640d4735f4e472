// Arenas: allocation, alignment, marks, scopes, reset, large objects, the three ways to grow,
// callbacks, absorbing, scratch arenas, and arenas that hold collected pointers.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"
#include "test.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KB = 1024, MB = 1024 * 1024 };

static bool zero(const void *p, size_t n) {
    const char *bytes = p;
    for (size_t i = 0; i < n; i++)
        if (bytes[i]) return false;
    return true;
}
static bool aligned(const void *p, size_t align) { return (uintptr_t)p % align == 0; }

TEST(zeroed_and_aligned) {
    gomem_arena a = {0};
    char *last = NULL;
    for (size_t round = 0; round < 3; round++) {
        for (size_t size = 0; size < 3000; size = size * 9 / 8 + 1) {
            char *p = gomem_arena_alloc(&a, size);
            REQUIRE(p != NULL && p != last);
            CHECK(aligned(p, 16) && zero(p, size));
            memset(p, 0x5a, size);
            last = p;
        }
        gomem_arena_reset(&a);
    }
    gomem_arena_free(&a);
    CHECK_EQ(gomem_arena_read_stats(&a).held, 0);
}

TEST(alignment_and_flags) {
    gomem_arena a = {0};
    for (size_t align = 1; align <= 1 << 20; align *= 2) {
        char *p = gomem_arena_alloc_with(&a, 100, align, 0);
        REQUIRE(p != NULL);
        CHECK(aligned(p, align) && zero(p, 100));
        CHECK(gomem_arena_alloc_with(&a, 5, align, GOMEM_UNINIT) != NULL);
    }
    errno = 0;
    CHECK(gomem_arena_alloc_with(&a, 1, 24, 0) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(gomem_arena_alloc_with(&a, 1, 0, GOMEM_NOSCAN) == NULL && errno == EINVAL);
    CHECK(aligned(gomem_arena_alloc_with(&a, 1, 0, 0), 16));
    struct wide {
        _Alignas(64) char bytes[64];
    };
    CHECK(aligned(GOMEM_ARENA_NEW(&a, struct wide), 64));
    CHECK(aligned(GOMEM_ARENA_MAKE(&a, struct wide, 7), 64));
    gomem_arena_free(&a);
}

TEST(too_large) {
    gomem_arena a = {0};
    const volatile size_t sizes[] = {SIZE_MAX, SIZE_MAX - 15, (size_t)PTRDIFF_MAX,
                                     (size_t)PTRDIFF_MAX + 1};
    for (size_t i = 0; i < 4; i++) {
        errno = 0;
        CHECK(gomem_arena_alloc(&a, sizes[i]) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(gomem_arena_alloc_with(&a, sizes[i], 64, 0) == NULL && errno == ENOMEM);
    }
    errno = 0;
    CHECK(GOMEM_ARENA_MAKE(&a, long, SIZE_MAX / 4) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(GOMEM_ARENA_MAKE(&a, long, -1) == NULL && errno == ENOMEM);
    char *p = gomem_arena_alloc(&a, 10);
    errno = 0;
    CHECK(gomem_arena_resize(&a, p, 10, sizes[0]) == NULL && errno == ENOMEM);
    CHECK(gomem_arena_alloc(&a, 10) == p + 16); // nothing was taken
    errno = 77;
    CHECK(gomem_arena_alloc(&a, 1 << 20) != NULL && errno == 77);
    gomem_arena_free(&a);
}

TEST(large_objects_lie_aside) {
    gomem_arena a = {0};
    char *first = gomem_arena_alloc(&a, 16);
    char *large = gomem_arena_alloc(&a, 300 * KB);
    char *next = gomem_arena_alloc(&a, 16);
    CHECK(next == first + 16); // the block goes on
    CHECK(large != NULL && zero(large, 300 * KB));
    memset(large, 1, 300 * KB);
    CHECK(gomem_arena_read_stats(&a).used >= 300 * KB + 32);
    gomem_arena_mark m = gomem_arena_save(&a);
    CHECK(gomem_arena_alloc(&a, 2 * MB) != NULL);
    size_t held = (size_t)gomem_arena_read_stats(&a).held;
    gomem_arena_restore(&a, m);
    CHECK_EQ(gomem_arena_read_stats(&a).held, held - 2 * MB);
    CHECK(large[300 * KB - 1] == 1);
    gomem_arena_free(&a);
}

TEST(resize) {
    gomem_arena a = {0};
    char *p = gomem_arena_resize(&a, NULL, 0, 20);
    REQUIRE(p != NULL);
    memset(p, 'a', 20);
    char *grown = gomem_arena_resize(&a, p, 20, 1000);
    CHECK(grown == p); // the last: in place
    p = test_opaque(grown);
    CHECK(p[19] == 'a' && zero(p + 20, 980));
    memset(p, 'b', 1000);
    CHECK(gomem_arena_resize(&a, p, 1000, 24) == p);
    CHECK(gomem_arena_resize(&a, p, 24, 31) == p && p[23] == 'b' && zero(p + 24, 7));
    char *q = gomem_arena_alloc(&a, 16);
    CHECK(q == p + 32 && zero(q, 16)); // what shrinking left is free, and zero again
    char *moved = gomem_arena_resize(&a, p, 31, 64);
    CHECK(moved != p && moved[0] == 'b' && moved[23] == 'b' && zero(moved + 24, 40));
    CHECK(gomem_arena_resize(&a, p, 31, 10) == p); // smaller, in the middle
    CHECK(gomem_arena_resize(&a, q, 16, 0) == q);
    size_t n = 1;
    char *text = gomem_arena_alloc(&a, 1);
    for (; n < MB; n *= 2) { // over many blocks
        text[n - 1] = 'x';
        text = gomem_arena_resize(&a, text, n, n * 2);
        REQUIRE(text != NULL && text[n - 1] == 'x' && zero(text + n, n));
    }
    gomem_arena_free(&a);
}

static __attribute__((format(printf, 2, 3))) char *wrapped(gomem_arena *a, const char *format,
                                                           ...) {
    va_list list;
    va_start(list, format);
    char *p = gomem_arena_vprintf(a, format, list);
    va_end(list);
    return p;
}

TEST(strings) {
    gomem_arena a = {0};
    CHECK(!strcmp(gomem_arena_strdup(&a, ""), ""));
    CHECK(!strcmp(gomem_arena_strdup(&a, "some text"), "some text"));
    CHECK(!strcmp(gomem_arena_printf(&a, "%s-%d-%5.2f", "x", -7, 1.5), "x--7- 1.50"));
    CHECK(!strcmp(gomem_arena_printf(&a, "%s", ""), ""));
    // with and without vsnprintf, beside snprintf
#define SAME(...)                                                   \
    (snprintf(expected, sizeof expected, __VA_ARGS__),              \
     CHECK(!strcmp(gomem_arena_printf(&a, __VA_ARGS__), expected)), \
     CHECK(!strcmp(wrapped(&a, __VA_ARGS__), expected)))
    char expected[600], long_one[400];
    memset(long_one, 'x', sizeof long_one);
    long_one[sizeof long_one - 1] = 0;
    const char *volatile none = NULL;
    SAME("no conversion");
    SAME("%d %d %d %u", 0, INT_MIN, INT_MAX, UINT_MAX);
    SAME("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
    SAME("%lld %llu %llx", LLONG_MIN, ULLONG_MAX, 0x123456789abcdefull);
    SAME("%zu %zd %zx", SIZE_MAX, (ptrdiff_t)-5, (size_t)255);
    SAME("%c%c %x %X %o %i", 'a', 'b', 0u, 0xabcu, 8u, -9);
    SAME("100%% of %s, %5d|%-5d|%05d", "all", 1, 2, 3);
    SAME("%s and %s", long_one, "more");
    SAME("%.3s %p %hd %hhu", "abcdef", (void *)&a, (short)-3, (unsigned char)200);
    SAME("%s", none);
    SAME("%.*s", 250, long_one);
    SAME("%.*s", 255, long_one);
    SAME("%.*s", 256, long_one);
    long_one[255] = 0; // as much as is written without asking for its length
    SAME("%s", long_one);
    SAME("%s%d", long_one, 7);
    long_one[254] = 0;
    SAME("%s%d", long_one, 7);
#undef SAME
    CHECK_EQ(gomem_arena_printf(&a, "%c", 0)[0], 0);
    char *next = gomem_arena_alloc(&a, 400); // what a format wrote in vain is zero again
    for (int i = 0; i < 400; i++) CHECK_EQ(next[i], 0);
    char *wide = gomem_arena_printf(&a, "%*d", 100000, 1);
    REQUIRE(wide != NULL);
    CHECK_EQ(strlen(wide), 100000);
    for (size_t n = 250; n < 262; n++)
        CHECK_EQ(strlen(gomem_arena_printf(&a, "%*d", (int)n, 1)), n);
    gomem_arena_free(&a);
}

// A text that does not fit into what is zero goes elsewhere: what follows it is zero.
TEST(texts_in_used_memory) {
    gomem_arena a = {0};
    char text[251];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < 100; i++) {
            char *p = gomem_arena_printf(&a, "%s%s", text, text);
            REQUIRE(p != NULL);
            CHECK_EQ(strlen(p), 500);
            p = gomem_arena_alloc(&a, 16 + i % 5 * 16);
            REQUIRE(p != NULL);
            CHECK(zero(p, 16 + i % 5 * 16));
        }
        gomem_arena_reset(&a);
        for (int i = 0; i < 30; i++) {
            char *p = gomem_arena_alloc(&a, 4000);
            REQUIRE(p != NULL);
            memset(p, 1, 4000);
        }
        gomem_arena_reset(&a);
    }
    gomem_arena_free(&a);
}

TEST(marks) {
    gomem_arena a = {0};
    gomem_arena_mark empty = gomem_arena_save(&a);
    char *first = gomem_arena_alloc(&a, 100);
    gomem_arena_mark m = gomem_arena_save(&a);
    char *again = NULL;
    for (int round = 0; round < 3; round++) {
        char *p = gomem_arena_alloc(&a, 50);
        CHECK(round == 0 || p == again);
        CHECK(zero(p, 50));
        again = p;
        memset(p, 1, 50);
        gomem_arena_mark inner = gomem_arena_save(&a);
        for (int i = 0; i < 1000; i++) memset(gomem_arena_alloc(&a, 777), 2, 777); // blocks
        gomem_arena_restore(&a, inner);
        CHECK(p[49] == 1);
        gomem_arena_restore(&a, m); // as often as one likes
    }
    memset(first, 3, 100);
    gomem_arena_restore(&a, empty);
    CHECK(gomem_arena_read_stats(&a).used <= 16);
    CHECK(zero(gomem_arena_alloc(&a, 5000), 5000));
    gomem_arena_free(&a);
}

// No block is left or opened again: only the restore can know what was used.
TEST(marks_in_a_fresh_block) {
    gomem_arena a = {0};
    CHECK(gomem_arena_alloc(&a, 100) != NULL);
    gomem_arena_mark m = gomem_arena_save(&a);
    static const size_t sizes[] = {200, 200, 6000, 300, 9000, 9000, 6000};
    for (size_t round = 0; round < sizeof sizes / sizeof sizes[0]; round++) {
        char *p = gomem_arena_alloc(&a, sizes[round]), *rest = gomem_arena_alloc(&a, 3000);
        REQUIRE(p != NULL && rest != NULL);
        CHECK(zero(p, sizes[round]));
        CHECK(zero(rest, 3000));
        memset(p, 4, sizes[round]);
        memset(rest, 5, 3000);
        gomem_arena_restore(&a, m);
    }
    gomem_arena_free(&a);
}

// A mark above what a resize has made of it, and one that a reset has made void (at check level 1 that
// is told).
TEST(marks_above_the_cursor) {
    gomem_arena a = {0};
    char *p = gomem_arena_alloc(&a, 1000);
    gomem_arena_mark m = gomem_arena_save(&a);
    CHECK(gomem_arena_resize(&a, p, 1000, 100) == p);
    memset(p, 1, 100);
    gomem_arena_restore(&a, m);
    char *next = gomem_arena_alloc(&a, 2000);
    CHECK(next >= p + 100 && zero(next, 2000));
    CHECK(gomem_arena_read_stats(&a).high_water >= 1000);
    gomem_arena_reset(&a);
    if (GOMEM_I_CHECK < 1) gomem_arena_restore(&a, m);
    next = gomem_arena_alloc(&a, 2000);
    CHECK(next && zero(next, 2000));
    gomem_arena_free(&a);
}

// A large one may end where the empty current block begins: it is not the last of that.
TEST(resize_below_the_block) {
    gomem_arena a = {0};
    REQUIRE(gomem_arena_alloc(&a, 16) != NULL);
    for (size_t size = 32 * KB; size <= 512 * KB; size *= 2) {
        gomem_arena_reset(&a);
        char *p = gomem_arena_alloc(&a, size);
        REQUIRE(p != NULL);
        CHECK(gomem_arena_resize(&a, p, size, size / 2) == p);
        char *next = gomem_arena_alloc(&a, 100);
        CHECK(next && zero(next, 100));
        memset(next, 1, 100);
    }
    gomem_arena_reset(&a);
    gomem_arena_free(&a);
}

static int leave_scope(gomem_arena *a, int how) {
    for (int i = 0; i < 2; i++) {
        GOMEM_ARENA_TEMP(a);
        if (!gomem_arena_alloc(a, 1000)) return -1;
        if (how == 0) return 1;
        if (how == 1) break;
        if (how == 2) continue;
        if (how == 3) goto out;
    }
    GOMEM_ARENA_SCOPE (a) {
        if (!gomem_arena_alloc(a, 1000)) return -1;
        if (how == 4) break;
        if (how == 5) return 2;
    }
out:
    return 0;
}

TEST(scopes) {
    gomem_arena a = {0};
    char *keep = gomem_arena_alloc(&a, 16);
    size_t used = (size_t)gomem_arena_read_stats(&a).used;
    for (int how = 0; how < 7; how++) {
        CHECK(leave_scope(&a, how) >= 0);
        CHECK_EQ(gomem_arena_read_stats(&a).used, used);
    }
    int inner = 0;
    GOMEM_ARENA_SCOPE (&a) {
        GOMEM_ARENA_TEMP(&a);
        GOMEM_ARENA_SCOPE (&a) inner += gomem_arena_alloc(&a, 8) != NULL;
    }
    CHECK_EQ(inner, 1);
    CHECK(gomem_arena_alloc(&a, 16) == keep + 16);
    gomem_arena_free(&a);
}

TEST(reset_keeps_what_rounds_need) {
    gomem_arena a = {0};
    size_t held = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 1000; i++) CHECK(gomem_arena_alloc(&a, 500) != NULL);
        gomem_arena_reset(&a);
        if (round == 10) held = (size_t)gomem_arena_read_stats(&a).held;
    }
    CHECK_EQ(gomem_arena_read_stats(&a).held, held);
    CHECK(held >= 500 * KB && held < 2 * MB);
    CHECK_EQ(gomem_arena_read_stats(&a).used, 0);
    CHECK(gomem_arena_read_stats(&a).high_water >= 500000);
    for (int round = 0; round < 60; round++) { // small rounds: it decays
        CHECK(gomem_arena_alloc(&a, 100) != NULL);
        gomem_arena_reset(&a);
    }
    CHECK(gomem_arena_read_stats(&a).held < held / 4);
    gomem_arena_free(&a);
}

// ---- other ways to grow ----

TEST(fixed_buffer) {
    _Alignas(16) static char buffer[1024];
    gomem_arena a;
    memset(buffer, 0x77, sizeof buffer);
    REQUIRE(
        gomem_arena_init(&a, &(gomem_arena_options){.buffer = buffer + 1, .buffer_size = 1000}));
    size_t n = 0;
    char *p;
    errno = 0;
    while ((p = gomem_arena_alloc(&a, 48)) != NULL) {
        CHECK(p > buffer && p + 48 <= buffer + 1001 && aligned(p, 16) && zero(p, 48));
        n++;
    }
    CHECK(errno == ENOMEM);
    CHECK(n >= 15 && n <= 20); // at check level 1 nothing else is taken
    gomem_arena_reset(&a);
    CHECK(zero(gomem_arena_alloc(&a, 48), 48));
    gomem_arena_free(&a);
    CHECK(gomem_arena_alloc(&a, 900) != NULL);
    gomem_arena_reset(&a);
    CHECK(gomem_arena_alloc(&a, 600) != NULL); // what a format wrote in vain is zero again
    CHECK(gomem_arena_printf(&a, "%0400d", 1) == NULL);
    p = gomem_arena_alloc(&a, 300);
    CHECK(p && zero(p, 300));
    gomem_arena_free(&a);
    memset(buffer, 0x77, sizeof buffer); // it was the user's again
    p = gomem_arena_alloc(&a, 300);
    CHECK(p && zero(p, 300));
    gomem_arena_free(&a);
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.buffer = buffer, .buffer_size = 3}));
    CHECK(gomem_arena_alloc(&a, 1) == NULL);
}

TEST(reserved) {
    gomem_arena a;
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.reserve = 256 * MB}));
    char *first = gomem_arena_alloc(&a, 100), *p = first;
    REQUIRE(first != NULL);
    size_t n = 100;
    CHECK(gomem_arena_resize(&a, first, n, 64 * MB) == first); // grows in place
    CHECK(zero(first, 64 * MB));
    memset(first, 1, 20 * MB);
    CHECK(gomem_arena_alloc(&a, 10 * MB) == first + 64 * MB);
    errno = 0;
    CHECK(gomem_arena_alloc(&a, 200 * MB) == NULL && errno == ENOMEM);
    gomem_arena_reset(&a);
    CHECK(zero(gomem_arena_alloc(&a, 30 * MB), 30 * MB));
    for (int i = 0; i < 60; i++) gomem_arena_reset(&a); // gives back what is not needed
    unsigned char there = 1;
    CHECK(mincore(first + 16 * MB, 1, &there) == 0 && !(there & 1));
    CHECK(zero(gomem_arena_alloc(&a, 30 * MB), 30 * MB));
    gomem_arena_free(&a);
    CHECK_EQ(gomem_arena_read_stats(&a).held, 0);
    gomem_arena_reset(&a); // there is nothing to give back
    CHECK_EQ(gomem_arena_read_stats(&a).held, 0);
    p = gomem_arena_alloc(&a, 100); // reserves again
    CHECK(p != NULL);
    gomem_arena_free(&a);
}

TEST(bad_options) {
    gomem_arena a;
    char buffer[64];
    const gomem_arena_options bad[] = {{.buffer = buffer, .buffer_size = 64, .reserve = 1},
                                       {.flags = GOMEM_UNINIT},
                                       {.buffer_size = 5},
                                       {.reserve = SIZE_MAX},
                                       {.block = SIZE_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        errno = 0;
        CHECK(!gomem_arena_init(&a, &bad[i]) && errno == EINVAL);
    }
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.block = 3 * MB, .name = "big"}));
    CHECK(gomem_arena_alloc(&a, 100) != NULL);
    CHECK(gomem_arena_read_stats(&a).held >= 3 * MB);
    gomem_arena_free(&a);
}

// ---- callbacks, absorbing ----

static char order[16];
static void note(void *arg) { strcat(order, arg); }
static void note_in(void *arg) { CHECK(gomem_arena_printf(arg, "used %d", 1) != NULL); }

TEST(callbacks_in_reverse) {
    gomem_arena a = {0};
    order[0] = 0;
    CHECK(gomem_arena_on_reset(&a, note, "a"));
    gomem_arena_mark m = gomem_arena_save(&a);
    CHECK(gomem_arena_on_reset(&a, note, "b"));
    CHECK(gomem_arena_on_reset(&a, note, "c"));
    gomem_arena_restore(&a, m);
    CHECK(!strcmp(order, "cb"));
    CHECK(gomem_arena_on_reset(&a, note, "d"));
    CHECK(gomem_arena_on_reset(&a, note_in, &a)); // it may use the arena
    gomem_arena_reset(&a);
    CHECK(!strcmp(order, "cbda"));
    gomem_arena_reset(&a);
    CHECK(gomem_arena_on_reset(&a, note, "e"));
    gomem_arena_free(&a);
    CHECK(!strcmp(order, "cbdae"));
}

TEST(absorbed) {
    gomem_arena into = {0}, from = {0}, other;
    order[0] = 0;
    char *mine = gomem_arena_strdup(&into, "mine");
    CHECK(gomem_arena_on_reset(&into, note, "i"));
    gomem_arena_mark m = gomem_arena_save(&into);
    char *texts[100];
    for (int i = 0; i < 100; i++) texts[i] = gomem_arena_printf(&from, "%*d", 1000, i);
    char *large = gomem_arena_alloc(&from, MB);
    large[MB - 1] = 5;
    CHECK(gomem_arena_on_reset(&from, note, "f"));
    CHECK(gomem_arena_absorb(&into, &from));
    CHECK_EQ(gomem_arena_read_stats(&from).held, 0);
    CHECK(gomem_arena_strdup(&from, "anew") != NULL);
    gomem_arena_free(&from);
    for (int i = 0; i < 100; i++) CHECK(strlen(texts[i]) == 1000 && atoi(texts[i]) == i);
    CHECK(large[MB - 1] == 5 && !strcmp(mine, "mine"));
    CHECK(gomem_arena_read_stats(&into).used >= MB + 100 * KB / 2);
    gomem_arena_restore(&into, m);
    CHECK(!strcmp(order, "f"));
    CHECK(gomem_arena_read_stats(&into).used < KB);
    REQUIRE(gomem_arena_init(&other, &(gomem_arena_options){.reserve = MB}));
    errno = 0;
    CHECK(!gomem_arena_absorb(&into, &other) && errno == EINVAL);
    errno = 0;
    CHECK(!gomem_arena_absorb(&into, &into) && errno == EINVAL);
    gomem_arena_free(&other);
    gomem_arena_free(&into);
    CHECK(!strcmp(order, "fi"));
}

// Chains of hand-overs: what `from` kept for later rounds does not pile up, callbacks run in order.
TEST(absorbed_again_and_again) {
    gomem_arena all = {0};
    size_t used = 0;
    order[0] = 0;
    for (int i = 0; i < 200; i++) {
        gomem_arena one = {0};
        gomem_arena_mark m = gomem_arena_save(&one);
        CHECK(gomem_arena_alloc(&one, 10 * KB) && gomem_arena_alloc(&one, 12 * KB) &&
              gomem_arena_alloc(&one, 15 * KB) && gomem_arena_alloc(&one, 15 * KB));
        gomem_arena_restore(&one, m); // it keeps blocks
        CHECK(gomem_arena_alloc(&one, 100) != NULL);
        if (i < 3) CHECK(gomem_arena_on_reset(&one, note, i == 0 ? "a" : i == 1 ? "b" : "c"));
        if (i % 2) { // the longer one is handed over as well
            CHECK(gomem_arena_absorb(&one, &all));
            CHECK(gomem_arena_absorb(&all, &one));
        } else {
            CHECK(gomem_arena_absorb(&all, &one));
        }
        used = (size_t)gomem_arena_read_stats(&all).used;
    }
    CHECK(gomem_arena_read_stats(&all).held <= used + 64 * KB);
    CHECK_EQ(gomem_arena_read_stats(&all).blocks, 200);
    gomem_arena_free(&all);
    CHECK(!strcmp(order, "cab")); // b was there when a came to it
    CHECK(HEAP_IS_WHOLE());
}

// ---- no arena ----

static char *text_of_none(gomem_arena *none) {
    GOMEM_ARENA_TEMP(none);
    GOMEM_ARENA_SCOPE (none) {
        if (gomem_arena_strdup(none, "text") != NULL) return NULL;
    }
    return gomem_arena_printf(none, "%d", 1);
}

TEST(null_has_no_memory) {
    gomem_arena *none = test_opaque(NULL), some = {0};
    errno = 0;
    CHECK(gomem_arena_alloc(none, 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(gomem_arena_alloc_with(none, 1, 64, GOMEM_UNINIT) == NULL && errno == ENOMEM);
    CHECK(gomem_arena_alloc_with(none, 1, 16, GOMEM_UNINIT) == NULL);
    CHECK(gomem_arena_resize(none, NULL, 0, 5) == NULL);
    CHECK(GOMEM_ARENA_NEW(none, long) == NULL && GOMEM_ARENA_MAKE(none, long, 10) == NULL);
    CHECK(text_of_none(none) == NULL);
    gomem_arena_restore(none, gomem_arena_save(none));
    gomem_arena_reset(none);
    gomem_arena_free(none);
    CHECK(!gomem_arena_on_reset(none, note, "never"));
    CHECK(!gomem_arena_absorb(&some, none) && !gomem_arena_absorb(none, &some));
    CHECK_EQ(gomem_arena_read_stats(none).held, 0);
    gomem_arena *busy[16];
    for (size_t n = 0; n < 16; n++) { // the idiom, deeper than there are arenas
        busy[n] = gomem_scratch(busy, n);
        GOMEM_ARENA_TEMP(busy[n]);
        CHECK((GOMEM_ARENA_NEW(busy[n], long) != NULL) == (n < 8));
        if (!busy[n]) break;
    }
}

// ---- what rounds keep ----

static void round_of(gomem_arena *a, size_t n) {
    GOMEM_ARENA_TEMP(a);
    for (size_t i = 0; i < n; i++) {
        char *p = gomem_arena_alloc(a, 1000);
        if (!CHECK(p != NULL)) return;
        p[0] = 1;
    }
}
static size_t held(const gomem_arena *a) { return (size_t)gomem_arena_read_stats(a).held; }

// A large round, then small ones, at the bottom of an arena and above something that stays.
static void let_go(gomem_arena *a) {
    for (int above = 0; above < 2; above++) {
        round_of(a, 100 * KB);
        CHECK(held(a) >= 90 * MB);
        for (int i = 0; i < 100; i++) round_of(a, 100);
        CHECK(held(a) <= 2 * MB);
        CHECK(gomem_arena_alloc(a, 300 * KB) != NULL);
    }
}

TEST(rounds_let_go) {
    gomem_arena a = {0}, reserved;
    let_go(&a);
    gomem_arena_free(&a);
    REQUIRE(gomem_arena_init(&reserved, &(gomem_arena_options){.reserve = 256 * MB}));
    let_go(&reserved);
    gomem_arena_free(&reserved);
    gomem_arena *mine = gomem_scratch(NULL, 0);
    round_of(mine, 20 * KB);
    CHECK(held(mine) >= 19 * MB);
    (void)gomem_free_os_memory();
    CHECK(held(mine) <= 64 * KB);
}

// Scopes that are a part of a larger round leave it what it needs.
TEST(parts_of_a_round_keep) {
    gomem_arena a = {0};
    for (int round = 0; round < 5; round++) {
        GOMEM_ARENA_SCOPE (&a) {
            CHECK(gomem_arena_alloc(&a, 200) != NULL);
            round_of(&a, 100); // over the first blocks
            for (int i = 0; i < 100; i++) CHECK(gomem_arena_alloc(&a, 1000) != NULL);
            for (int i = 0; i < 200; i++) round_of(&a, 3);
            CHECK(round == 0 || held(&a) >= 7 * MB);
            for (int i = 0; i < 10000; i++) CHECK(gomem_arena_alloc(&a, 1000) != NULL);
        }
        CHECK(held(&a) >= 9 * MB);
    }
    gomem_arena_free(&a);
}

// ---- scratch ----

static void *use_scratch(void *arg) {
    gomem_arena *one = gomem_scratch(NULL, 0);
    gomem_arena *two = gomem_scratch(&one, 1);
    if (!CHECK(one && two && one != two && one != arg)) return NULL;
    for (int i = 0; i < 100; i++) {
        GOMEM_ARENA_TEMP(one);
        CHECK(gomem_arena_alloc(one, 5000) && gomem_arena_alloc(two, 50000));
    }
    return NULL;
}

TEST(scratch) {
    gomem_arena *busy[9], *mine = gomem_scratch(NULL, 0);
    REQUIRE(mine != NULL && gomem_scratch(NULL, 0) == mine);
    char *text = gomem_arena_strdup(mine, "here");
    for (int i = 0; i < 8; i++) {
        pthread_t t;
        REQUIRE(pthread_create(&t, NULL, use_scratch, mine) == 0);
        pthread_join(t, NULL);
    }
    CHECK(!strcmp(text, "here"));
    for (size_t n = 0; n < 8; n++) {
        busy[n] = gomem_scratch(busy, n);
        REQUIRE(busy[n] != NULL);
        for (size_t i = 0; i < n; i++) CHECK(busy[i] != busy[n]);
    }
    errno = 0;
    CHECK(gomem_scratch(busy, 8) == NULL && errno == EINVAL);
    gomem_arena_free(mine);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        gomem_arena *a = gomem_scratch(NULL, 0);
        _exit(a && gomem_arena_strdup(a, "child") && HEAP_IS_WHOLE() ? 0 : 1);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static unsigned panics;
static void hear_panic(const char *line, void *user) {
    (void)user;
    panics += strstr(line, "invalid mark") != NULL;
}

TEST(void_marks_are_told) {
    if (GOMEM_I_CHECK < 1) return; // nothing is promised
    gomem_options options = {.panic = hear_panic};
    gomem_arena a = {0};
    REQUIRE(gomem_init(&options));
    gomem_arena_mark outer = gomem_arena_save(&a);
    char *p = gomem_arena_alloc(&a, 10);
    gomem_arena_mark inner = gomem_arena_save(&a);
    gomem_arena_restore(&a, inner);
    gomem_arena_restore(&a, outer);
    CHECK_EQ(panics, 0);
    gomem_arena_restore(&a, inner);
    CHECK_EQ(panics, 1);
    CHECK(gomem_arena_alloc(&a, 10) == p); // nothing has happened
    gomem_arena_reset(&a);
    gomem_arena_restore(&a, outer);
    CHECK_EQ(panics, 2);
    gomem_arena_free(&a);
}

static unsigned copies;
static void hear_copy(const char *line, void *user) {
    (void)user;
    copies += strstr(line, "an arena is a copy") != NULL;
}

// A copy is told when it goes slow, and so is the arena that went on meanwhile if the copy is put back;
// where nobody holds memory there is nothing to be told.
TEST(copies_are_found_out) {
    gomem_options options = {.panic = hear_copy};
    static gomem_arena made, copy;
    REQUIRE(gomem_init(&options));
    REQUIRE(gomem_arena_init(&made, &(gomem_arena_options){.reserve = MB, .name = "made"}));
    copy = made; // handed over before its first use
    CHECK(gomem_arena_alloc(&copy, 100) != NULL);
    made = copy;
    CHECK_EQ(copies, 0);
    CHECK(gomem_arena_alloc(&made, 100 * KB) == NULL);
    CHECK_EQ(copies, 1);
    gomem_arena_free(&copy);
    gomem_arena a = {0}, before = a;
    CHECK(gomem_arena_alloc(&a, 1000) && gomem_arena_alloc(&before, 1000));
    gomem_arena_free(&before);
    before = a;
    for (int i = 0; i < 100; i++) CHECK(gomem_arena_alloc(&a, 1000) != NULL);
    CHECK_EQ(copies, 1);
    gomem_arena_reset(&before);
    CHECK_EQ(copies, 2);
    gomem_arena after = a;
    a = before;
    CHECK(gomem_arena_alloc(&a, 100 * KB) == NULL);
    CHECK_EQ(copies, 3);
    a = after;
    gomem_arena_free(&a);
    a = after;
    gomem_arena_free(&a); // twice, by way of a copy
    CHECK_EQ(copies, 4);
    CHECK(HEAP_IS_WHOLE());
}

TEST(names_and_verify) {
    gomem_arena a;
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.name = "requests"}));
    char *p = gomem_arena_alloc(&a, 100);
    CHECK(gomem_base(p) == NULL);
    CHECK_EQ(gomem_usable_size(p), 0);
    CHECK(HEAP_IS_WHOLE());
    gomem_arena_free(&a);
    CHECK(HEAP_IS_WHOLE());
}

TEST(poisoned) {
    if (!child_is_watched()) return;
    gomem_arena a = {0}, fixed;
    static char buffer[4096];
    char *p = gomem_arena_alloc(&a, 100);
    CHECK(!child_caught(p + 99));
    CHECK(child_caught(p + 100)); // rounding
    CHECK(child_caught(p + 112)); // the rest of the block
    gomem_arena_mark m = gomem_arena_save(&a);
    char *later = gomem_arena_alloc(&a, 50), *large = gomem_arena_alloc(&a, MB);
    CHECK(!child_caught(later) && !child_caught(large + MB - 1));
    gomem_arena_restore(&a, m);
    CHECK(child_caught(later) && !child_caught(p));
    p = gomem_arena_resize(&a, p, 100, 200);
    CHECK(!child_caught(p + 199) && child_caught(p + 200));
    gomem_arena_reset(&a);
    CHECK(child_caught(p));
    gomem_arena_free(&a);
    REQUIRE(
        gomem_arena_init(&fixed, &(gomem_arena_options){.buffer = buffer, .buffer_size = 4096}));
    CHECK(child_caught(buffer + 2000));
    p = gomem_arena_alloc(&fixed, 16);
    CHECK(!child_caught(p));
    gomem_arena_free(&fixed);
    CHECK(!child_caught(buffer + 2000)); // the user's again
}

#ifndef GOMEM_NO_COLLECTOR
// ---- arenas that hold collected pointers ----

struct node {
    struct node *next;
    uintptr_t hidden; // ~address of itself
};

static __attribute__((noinline)) struct node *new_node(struct node *next) {
    struct node *n = GOMEM_NEW(struct node);
    if (!CHECK(n != NULL)) exit(1);
    n->next = next;
    n->hidden = ~(uintptr_t)n;
    return n;
}
static bool whole(const struct node *n) { return n && n->hidden == ~(uintptr_t)n; }

static __attribute__((noinline)) void clear_stack(void) {
    volatile char below[16384];
    for (size_t i = 0; i < sizeof below; i++) below[i] = 0;
}

static __attribute__((noinline)) uintptr_t hide_in(gomem_arena *a, bool end) {
    struct node **slots = gomem_arena_alloc(a, 512 * sizeof *slots);
    if (!CHECK(slots != NULL)) exit(1);
    struct node *n = new_node(new_node(NULL));
    slots[end ? 511 : 0] = n;
    return ~(uintptr_t)n;
}

static bool lives(uintptr_t hidden) {
    return gomem_base((void *)~hidden) == (void *)~hidden && whole((struct node *)~hidden) &&
           whole(((struct node *)~hidden)->next);
}

static void none_lives(const uintptr_t *hidden, int n) {
    unsigned kept = 0;
    clear_stack();
    gomem_gc();
    gomem_gc();
    for (int i = 0; i < n; i++) kept += gomem_base((void *)~hidden[i]) != NULL;
    CHECK(kept <= 2); // a stray word on the stack
}

static void holds(gomem_arena *a) {
    enum { N = 300 };
    static uintptr_t hidden[N];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            hidden[i] = hide_in(a, i % 2);
            if (i % 50 == 0) gomem_gc();
        }
        clear_stack();
        gomem_gc();
        gomem_gc();
        for (int i = 0; i < N; i++) CHECK(lives(hidden[i]));
        gomem_arena_mark m = gomem_arena_save(a);
        uintptr_t later = hide_in(a, true);
        clear_stack();
        gomem_gc();
        CHECK(lives(later));
        gomem_arena_restore(a, m);
        CHECK(HEAP_IS_WHOLE());
        gomem_arena_reset(a);
        none_lives(hidden, N);
    }
    gomem_arena_free(a);
    CHECK(HEAP_IS_WHOLE());
}

TEST(scanned_blocks) {
    gomem_arena a;
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.flags = GOMEM_SCAN}));
    holds(&a);
}
TEST(scanned_reservation) {
    gomem_arena a;
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.flags = GOMEM_SCAN, .reserve = 64 * MB}));
    holds(&a);
}
TEST(scanned_buffer) {
    gomem_arena a;
    static void *buffer[256 * KB];
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.flags = GOMEM_SCAN,
                                                        .buffer = buffer,
                                                        .buffer_size = sizeof buffer}));
    // of static memory, which is a root anyhow
    uintptr_t hidden = hide_in(&a, true);
    clear_stack();
    gomem_gc();
    CHECK(lives(hidden));
    gomem_arena_free(&a);
}

TEST(scanned_large_objects) {
    gomem_arena a;
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.flags = GOMEM_SCAN}));
    struct node **table = gomem_arena_alloc(&a, 2 * MB);
    REQUIRE(table != NULL);
    for (size_t i = 0; i < 2 * MB / sizeof *table; i += 5000) table[i] = new_node(NULL);
    clear_stack();
    gomem_gc();
    for (size_t i = 0; i < 2 * MB / sizeof *table; i += 5000) CHECK(whole(table[i]));
    CHECK(HEAP_IS_WHOLE());
    gomem_arena_free(&a);
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

static void nothing(void *arg) { (void)arg; }

// What earlier rounds left behind in a scanned arena is gone, also in gaps and rests.
TEST(gaps_hold_nothing) {
    enum { N = 3000 };
    static uintptr_t hidden[N];
    for (int how = 0; how < 4; how++) {
        gomem_arena a = {0};
        REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.flags = GOMEM_SCAN, .block = MB}));
        for (int i = 0; i < N; i++) {
            struct node **slots = gomem_arena_alloc(&a, sizeof *slots);
            REQUIRE(slots != NULL);
            *slots = new_node(NULL);
            hidden[i] = ~(uintptr_t)*slots;
        }
        gomem_arena_reset(&a);
        CHECK(gomem_arena_alloc(&a, 16) != NULL);
        if (how == 0) CHECK(gomem_arena_alloc_with(&a, 16, 16 * KB, 0) != NULL);
        if (how == 1) CHECK(gomem_arena_alloc_with(&a, 9000, 0, GOMEM_UNINIT) != NULL);
        if (how == 2) CHECK(gomem_arena_printf(&a, "%05000d", 1) != NULL);
        for (int i = 0; how == 3 && i < 500; i++) CHECK(gomem_arena_on_reset(&a, nothing, &a));
        none_lives(hidden, N);
        gomem_arena_free(&a);
    }
}

// Nor in a large object that is not to be zeroed, whatever its pages have held.
TEST(large_objects_begin_with_nothing) {
    enum { N = 100 };
    static uintptr_t hidden[N];
    gomem_arena a = {0};
    REQUIRE(gomem_arena_init(&a, &(gomem_arena_options){.flags = GOMEM_SCAN}));
    struct node **before = gomem_new_with(2 * MB, 0, GOMEM_UNCOLLECTABLE);
    REQUIRE(before != NULL);
    for (size_t i = 0; i < N; i++) {
        before[i * 1000] = new_node(NULL);
        hidden[i] = ~(uintptr_t)before[i * 1000];
    }
    gomem_free(before);
    CHECK(gomem_arena_alloc_with(&a, 2 * MB, 0, GOMEM_UNINIT) != NULL);
    none_lives(hidden, N);
    gomem_arena_free(&a);
}

TEST(unscanned_holds_nothing) {
    enum { N = 100 };
    gomem_arena a = {0};
    uintptr_t hidden[N];
    for (int i = 0; i < N; i++) hidden[i] = hide_in(&a, false);
    none_lives(hidden, N);
    gomem_arena_free(&a);
}
#endif

// Last: arenas of before are void. What goes slow does nothing; a new one needs a new life.
TEST(after_shutdown) {
    gomem_arena a = {0}, b = {0};
    CHECK(gomem_arena_alloc(&a, 100) != NULL);
    gomem_shutdown();
    gomem_arena_reset(&a);
    gomem_arena_free(&a);
    errno = 0;
    CHECK(gomem_arena_alloc(&a, 100 * KB) == NULL && errno == ESHUTDOWN);
    errno = 0;
    CHECK(gomem_arena_alloc(&b, 100) == NULL && errno == ESHUTDOWN);
    REQUIRE(gomem_init(NULL));
    CHECK(gomem_arena_alloc(&b, 100) != NULL);
    gomem_arena_free(&b);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
