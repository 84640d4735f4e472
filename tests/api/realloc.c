// gomem_realloc and GOMEM_RESIZE: kinds, contents, growth, shrinking, failure.
#include "alive.h"

#include <errno.h>

static void fill(unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++) p[i] = (unsigned char)(i * 31 + 1);
}

static bool filled(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (p[i] != (unsigned char)(i * 31 + 1)) return false;
    return true;
}

static bool zeroed(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0) return false;
    return true;
}

static const size_t sizes[] = {1,    8,    9,     16,    24,    100,    500,    1024,
                               1025, 5000, 32768, 32769, 70000, 400000, 3000000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

TEST(null_is_malloc) {
    unsigned char *p = gomem_realloc(NULL, 100);
    REQUIRE(p != NULL);
    CHECK(gomem_usable_size(p) >= 100);
    gomem_free(p);
    volatile size_t huge = SIZE_MAX;
    CHECK(gomem_realloc(NULL, huge) == NULL);
}

TEST(every_pair_of_sizes_manual) {
    for (size_t i = 0; i < SIZES; i++) {
        for (size_t j = 0; j < SIZES; j++) {
            unsigned char *p = gomem_malloc(sizes[i]);
            REQUIRE(p != NULL);
            fill(p, sizes[i]);
            unsigned char *q = gomem_realloc(p, sizes[j]);
            REQUIRE(q != NULL);
            CHECK(gomem_usable_size(q) >= sizes[j]);
            CHECK(filled(q, sizes[i] < sizes[j] ? sizes[i] : sizes[j]));
            fill(q, sizes[j]);
            gomem_free(q);
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

// Collected kinds: what grows is zero, the object stays of its kind.
TEST(every_pair_of_sizes_collected) {
    static const unsigned kinds[] = {0, GOMEM_NOSCAN, GOMEM_UNCOLLECTABLE,
                                     GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (size_t i = 0; i < SIZES; i++) {
            for (size_t j = 0; j < SIZES; j++) {
                unsigned char *p = gomem_new_with(sizes[i], 0, kinds[k]);
                REQUIRE(p != NULL);
                fill(p, sizes[i]);
                unsigned char *q = gomem_realloc(p, sizes[j]);
                REQUIRE(q != NULL);
                size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
                CHECK(filled(q, kept));
                CHECK(zeroed(q + kept, sizes[j] - kept));
                gomem_free(q);
            }
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

// Shrinking and growing again: what lies beyond the smaller size may not come back.
TEST(grown_part_is_zero_after_shrinking) {
    for (size_t big = 16; big <= 200000; big = big * 3 / 2) {
        unsigned char *p = gomem_new_noscan(big);
        REQUIRE(p != NULL);
        memset(p, 0xee, big);
        for (size_t small = big - 1; small > big / 2; small -= (big / 8 > 0 ? big / 8 : 1)) {
            p = gomem_realloc(p, small);
            REQUIRE(p != NULL);
            p = gomem_realloc(p, big);
            REQUIRE(p != NULL);
            CHECK(zeroed(p + small, big - small));
            memset(p, 0xee, big);
        }
        gomem_free(p);
    }
}

TEST(within_the_usable_size_stays) {
    static const size_t some[] = {30, 100, 1000, 20000, 100000};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        unsigned char *p = gomem_malloc(some[i]);
        REQUIRE(p != NULL);
        unsigned char *q = gomem_realloc(p, gomem_usable_size(p));
        CHECK(q == p);
        gomem_free(q);
    }
}

TEST(size_zero_frees_and_is_unique) {
    void *p = gomem_malloc(100);
    p = gomem_realloc(p, 0);
    void *q = gomem_malloc(0);
    CHECK(p != NULL && q != NULL && p != q);
    gomem_free(p);
    gomem_free(q);
    p = gomem_new(100);
    p = gomem_realloc(p, 0);
    CHECK(p != NULL);
    gomem_free(p);
}

TEST(failure_keeps_the_block) {
    static const size_t some[] = {50, 5000, 100000};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        unsigned char *blocks[] = {gomem_malloc(some[i]), gomem_new(some[i]),
                                   gomem_new_noscan(some[i])};
        for (size_t b = 0; b < 3; b++) {
            REQUIRE(blocks[b] != NULL);
            fill(blocks[b], some[i]);
            volatile size_t too_much[] = {SIZE_MAX, SIZE_MAX / 2 + 1, PTRDIFF_MAX};
            for (size_t j = 0; j < 3; j++) {
                errno = 0;
                CHECK(gomem_realloc(test_opaque(blocks[b]), too_much[j]) == NULL);
                CHECK_EQ(errno, ENOMEM);
                CHECK(filled(blocks[b], some[i]));
                CHECK(gomem_base(blocks[b]) == blocks[b]);
            }
            gomem_free(blocks[b]);
        }
    }
}

// Alignment of an aligned block: realloc promises the plain one.
TEST(aligned_block) {
    unsigned char *p = gomem_aligned_alloc(4096, 5000);
    REQUIRE(p != NULL);
    fill(p, 5000);
    p = gomem_realloc(p, 20000);
    REQUIRE(p != NULL);
    CHECK(filled(p, 5000));
    p = gomem_realloc(p, 3000);
    REQUIRE(p != NULL);
    CHECK(filled(p, 3000));
    gomem_free(p);
}

// A growing buffer, as parsers have it: byte by byte past all classes.
TEST(grow_slowly) {
    unsigned char *manual = NULL, *collected = gomem_new_noscan(1);
    for (size_t size = 1; size < 300000; size += 1 + size / 17) {
        manual = gomem_realloc(manual, size);
        collected = gomem_realloc(collected, size);
        REQUIRE(manual != NULL && collected != NULL);
        manual[size - 1] = (unsigned char)size;
        collected[size - 1] = (unsigned char)size;
    }
    for (size_t size = 1; size < 300000; size += 1 + size / 17) {
        REQUIRE(manual[size - 1] == (unsigned char)size);
        REQUIRE(collected[size - 1] == (unsigned char)size);
    }
    gomem_free(manual);
    gomem_free(collected);
}

// Large blocks side by side: growing one in place may not run into its neighbour.
TEST(large_neighbours) {
    enum { N = 12 };
    unsigned char *blocks[N];
    size_t held[N];
    for (size_t i = 0; i < N; i++) {
        held[i] = 50000;
        blocks[i] = i % 2 == 0 ? gomem_malloc(held[i]) : gomem_new_noscan(held[i]);
        REQUIRE(blocks[i] != NULL);
        memset(blocks[i], (int)i + 1, held[i]);
    }
    for (int round = 0; round < 40; round++) {
        size_t i = (size_t)round * 7 % N;
        size_t size = round % 3 == 0 ? 40000 : held[i] + 60000;
        blocks[i] = gomem_realloc(blocks[i], size);
        REQUIRE(blocks[i] != NULL);
        held[i] = size;
        memset(blocks[i], (int)i + 1, size);
        for (size_t j = 0; j < N; j++)
            for (size_t k = 0; k < held[j]; k += 997) REQUIRE(blocks[j][k] == j + 1);
    }
    for (size_t i = 0; i < N; i++) gomem_free(blocks[i]);
    CHECK(HEAP_IS_WHOLE());
}

// A scanned array that moves goes on keeping what its words point at.
TEST(scanned_stays_scanned) {
    static struct alive_set set;
    static void **volatile array;
    REQUIRE(alive_scatter(&set));
    array = gomem_new(8 * sizeof *array);
    for (size_t i = 0; i < ALIVE_N; i++) {
        size_t room = gomem_usable_size(array) / sizeof *array;
        if (i >= room) array = gomem_realloc(array, (i + 1) * sizeof *array * 2);
        REQUIRE(array != NULL);
        array[i] = alive_show(set.hidden[i]);
    }
    alive_gc();
    CHECK_EQ(alive_count(&set), ALIVE_N);
    array = gomem_realloc(array, 100000);
    alive_gc();
    CHECK_EQ(alive_count(&set), ALIVE_N);
    array = NULL;
}

TEST(noscan_stays_noscan) {
    static struct alive_set set;
    static void **volatile array;
    REQUIRE(alive_scatter(&set));
    array = gomem_new_noscan(10);
    for (size_t size = 100; size < 100000; size *= 3) array = gomem_realloc(array, size);
    REQUIRE(array != NULL);
    for (size_t i = 0; i < ALIVE_N; i++) array[i] = alive_show(set.hidden[i]);
    alive_gc();
    CHECK(alive_count(&set) <= ALIVE_FEW);
    CHECK(gomem_base(array) == array);
    array = NULL;
}

struct pair {
    int a, b;
};

TEST(resize) {
    struct pair *p = GOMEM_RESIZE(struct pair, (struct pair *)NULL, 3);
    REQUIRE(p != NULL);
    for (int i = 0; i < 3; i++) p[i] = (struct pair){i, -i};
    p = GOMEM_RESIZE(struct pair, p, 30000);
    REQUIRE(p != NULL);
    for (int i = 0; i < 3; i++) CHECK(p[i].a == i && p[i].b == -i);
    errno = 0;
    CHECK(GOMEM_RESIZE(struct pair, p, SIZE_MAX / 4) == NULL);
    CHECK_EQ(errno, ENOMEM);
    errno = 0;
    CHECK(GOMEM_RESIZE(struct pair, p, -1) == NULL);
    CHECK_EQ(errno, ENOMEM);
    for (int i = 0; i < 3; i++) CHECK(p[i].a == i && p[i].b == -i);
    gomem_free(p);
}

TEST_MAIN
