// Alignment: gomem_aligned_alloc, gomem_new_with, and what the plain and the typed forms promise.
#include "gomem.h"
#include "test.h"

#include <errno.h>
#include <stdalign.h>

enum { MOST = 4 << 20, FEW = 3 }; // a few at once, so that not only the first of a span is seen

static const size_t sizes[] = {0, 1, 7, 8, 15, 24, 63, 64, 65, 1000, 4096, 8192, 33000, 300000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static bool aligned(const void *p, size_t align) { return (uintptr_t)p % align == 0; }

TEST(aligned_alloc_every_power_of_two) {
    for (size_t align = 1; align <= MOST; align *= 2) {
        for (size_t i = 0; i < SIZES; i++) {
            unsigned char *all[FEW];
            for (size_t k = 0; k < FEW; k++) {
                unsigned char *p = all[k] = gomem_aligned_alloc(align, sizes[i]);
                REQUIRE(p != NULL);
                CHECK(aligned(p, align));
                size_t usable = gomem_usable_size(p);
                CHECK(usable >= sizes[i]);
                memset(p, 0x5a, usable);
                if (sizes[i] > 0) CHECK(gomem_base(p + sizes[i] - 1) == p);
            }
            for (size_t k = 0; k < FEW; k++) gomem_free(all[k]);
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

// Several live ones of an alignment do not overlap.
TEST(aligned_alloc_many_at_once) {
    enum { N = 50 };
    for (size_t align = 16; align <= 65536; align *= 4) {
        unsigned char *objects[N];
        for (size_t i = 0; i < N; i++) {
            objects[i] = gomem_aligned_alloc(align, 200 + i);
            REQUIRE(objects[i] != NULL && aligned(objects[i], align));
            memset(objects[i], (int)i, 200 + i);
        }
        for (size_t i = 0; i < N; i++) {
            for (size_t j = 0; j < 200 + i; j++) REQUIRE(objects[i][j] == i);
            gomem_free(objects[i]);
        }
    }
}

TEST(new_with_every_power_of_two) {
    static const unsigned kinds[] = {0, GOMEM_NOSCAN, GOMEM_UNCOLLECTABLE,
                                     GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN,
                                     GOMEM_NOSCAN | GOMEM_UNINIT};
    for (size_t align = 1; align <= MOST; align *= 2) {
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            for (size_t i = 0; i < SIZES; i += 2) {
                unsigned char *all[FEW];
                for (size_t f = 0; f < FEW; f++) {
                    unsigned char *p = all[f] = gomem_new_with(sizes[i], align, kinds[k]);
                    REQUIRE(p != NULL);
                    CHECK(aligned(p, align));
                    CHECK(gomem_usable_size(p) >= sizes[i]);
                    if ((kinds[k] & GOMEM_UNINIT) == 0)
                        for (size_t j = 0; j < sizes[i]; j++) REQUIRE(p[j] == 0);
                    memset(p, 0x77, sizes[i]);
                }
                for (size_t f = 0; f < FEW; f++) gomem_free(all[f]);
            }
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST(new_with_align_zero_is_the_default) {
    void *p = gomem_new_with(40, 0, 0);
    REQUIRE(p != NULL);
    CHECK(aligned(p, 16));
    gomem_free(p);
}

TEST(bad_alignment_is_einval) {
    static const size_t bad[] = {
        0, 3, 6, 12, 24, 48, 100, 4097, SIZE_MAX, SIZE_MAX / 2, ((size_t)1 << 20) + 1};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        CHECK(gomem_aligned_alloc(bad[i], 64) == NULL);
        CHECK_EQ(errno, EINVAL);
        if (bad[i] == 0) continue;
        errno = 0;
        CHECK(gomem_new_with(64, bad[i], 0) == NULL);
        CHECK_EQ(errno, EINVAL);
        errno = 0;
        CHECK(gomem_new_with(64, bad[i], GOMEM_UNCOLLECTABLE) == NULL);
        CHECK_EQ(errno, EINVAL);
    }
}

TEST(unknown_flags_are_einval) {
    const unsigned known = GOMEM_NOSCAN | GOMEM_UNCOLLECTABLE | GOMEM_UNINIT;
    for (unsigned bit = 1; bit != 0; bit <<= 1) {
        if ((known & bit) != 0) continue;
        errno = 0;
        void *p = gomem_new_with(64, 0, bit);
#ifdef GOMEM_SCAN
        if (bit == GOMEM_SCAN) {
            gomem_free(p);
            continue;
        }
#endif
        CHECK(p == NULL);
        CHECK_EQ(errno, EINVAL);
    }
    errno = 0;
    CHECK(gomem_new_with(64, 0, GOMEM_UNINIT) == NULL); // garbage may not be scanned
    CHECK_EQ(errno, EINVAL);
    errno = 0;
    CHECK(gomem_new_with(64, 0, GOMEM_UNINIT | GOMEM_UNCOLLECTABLE) == NULL);
    CHECK_EQ(errno, EINVAL);
}

TEST(aligned_and_too_large) {
    static const size_t aligns[] = {16, 4096, 1 << 20, (size_t)1 << (sizeof(size_t) * 8 - 2),
                                    (size_t)1 << (sizeof(size_t) * 8 - 1)};
    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
        volatile size_t size = PTRDIFF_MAX - 100;
        errno = 0;
        CHECK(gomem_aligned_alloc(aligns[i], size) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_new_with(size, aligns[i], GOMEM_NOSCAN) == NULL);
        CHECK_EQ(errno, ENOMEM);
    }
    errno = 0;
    CHECK(gomem_aligned_alloc((size_t)1 << (sizeof(size_t) * 8 - 1), 8) == NULL);
    CHECK_EQ(errno, ENOMEM);
}

// The functions: 16 from size 9 up, 8 below.
TEST(plain_functions) {
    for (size_t size = 1; size < 3000; size++) {
        size_t least = size >= 9 ? 16 : 8;
        void *p = gomem_malloc(size), *q = gomem_new(size), *r = gomem_new_noscan(size);
        void *s = gomem_calloc(1, size), *t = gomem_realloc(NULL, size);
        CHECK(aligned(p, least) && aligned(q, least) && aligned(r, least));
        CHECK(aligned(s, least) && aligned(t, least));
        gomem_free(p);
        gomem_free(s);
        gomem_free(t);
    }
}

struct byte {
    char c;
};
struct three_words {
    void *a, *b, *c;
};
struct with_long_double {
    long double d;
    char c;
};
struct line {
    alignas(64) char bytes[40];
};
struct page {
    alignas(4096) char bytes[5000];
};
struct wide {
    alignas(32) double d[3];
};

#define CHECK_TYPE(T)                                                                        \
    for (int i = 0; i < 20; i++) {                                                           \
        T *p = GOMEM_NEW(T), *q = GOMEM_MAKE(T, 3), *r = GOMEM_MALLOC(T),                    \
          *s = GOMEM_MALLOC_N(T, 5);                                                         \
        T *t = GOMEM_NEW_NOSCAN(T), *u = GOMEM_MAKE_NOSCAN(T, 7);                            \
        REQUIRE(p != NULL && q != NULL && r != NULL && s != NULL && t != NULL && u != NULL); \
        CHECK(aligned(p, alignof(T)) && aligned(q, alignof(T)) && aligned(r, alignof(T)));   \
        CHECK(aligned(s, alignof(T)) && aligned(t, alignof(T)) && aligned(u, alignof(T)));   \
        u = GOMEM_RESIZE(T, u, 40);                                                          \
        CHECK(u != NULL && aligned(u, alignof(T)));                                          \
        GOMEM_FREE(T, r);                                                                    \
        GOMEM_FREE(T, s);                                                                    \
    }

TEST(typed_macros){CHECK_TYPE(struct byte) CHECK_TYPE(struct three_words)
                       CHECK_TYPE(struct with_long_double) CHECK_TYPE(struct line)
                           CHECK_TYPE(struct page) CHECK_TYPE(struct wide) CHECK_TYPE(char)
                               CHECK_TYPE(double)}

TEST_MAIN
