// Sizes, alignment, usable size, bases of interior pointers, overflow: both heaps.
#include "gomem.h"
#include "test.h"

#include <errno.h>

enum { LARGEST = 40000, PAST_CLASSES = 32768 };

static void fill(unsigned char *p, size_t size, size_t seed) {
    for (size_t i = 0; i < size; i++) p[i] = (unsigned char)(seed + i * 7);
}

static bool filled(const unsigned char *p, size_t size, size_t seed) {
    for (size_t i = 0; i < size; i++)
        if (p[i] != (unsigned char)(seed + i * 7)) return false;
    return true;
}

static bool zeroed(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0) return false;
    return true;
}

static size_t least_alignment(size_t size) { return size >= 9 ? 16 : 8; }

// What must hold for a fresh object of this size.
static void check_object(unsigned char *p, size_t size) {
    REQUIRE(p != NULL);
    CHECK_EQ((uintptr_t)p % least_alignment(size), 0);
    size_t usable = gomem_usable_size(p);
    CHECK(usable >= size);
    if (size > 0) CHECK(gomem_base(p) == p);
    size_t places[] = {size / 2, size > 0 ? size - 1 : 0, usable > 0 ? usable - 1 : 0};
    for (size_t i = 0; i < 3; i++) CHECK(gomem_base(p + places[i]) == p);
    fill(p, usable, size);
    CHECK(filled(p, usable, size));
}

// Every size in steps that grow past the last class; all sizes near powers of two.
static size_t next_size(size_t size) { return size < 2200 ? size + 1 : size + 37; }

TEST(manual_sizes) {
    for (size_t size = 0; size <= LARGEST && test_failed() == 0; size = next_size(size)) {
        unsigned char *p = gomem_malloc(size);
        check_object(p, size);
        gomem_free(p);
    }
}

TEST(collected_sizes) {
    for (size_t size = 0; size <= LARGEST && test_failed() == 0; size = next_size(size)) {
        unsigned char *p = gomem_new(size);
        REQUIRE(p != NULL);
        CHECK(zeroed(p, gomem_usable_size(p)));
        check_object(p, size);
        unsigned char *q = gomem_new_noscan(size);
        REQUIRE(q != NULL);
        CHECK(zeroed(q, size));
        check_object(q, size);
        CHECK(filled(p, size, size));
    }
}

TEST(larger_than_any_class) {
    static const size_t sizes[] = {
        PAST_CLASSES,    PAST_CLASSES + 1,      65536,           100000,          (size_t)1 << 20,
        (size_t)3 << 20, ((size_t)4 << 20) + 1, (size_t)9 << 20, (size_t)33 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *p = gomem_malloc(sizes[i]);
        check_object(p, sizes[i]);
        unsigned char *q = gomem_new(sizes[i]);
        REQUIRE(q != NULL);
        CHECK(zeroed(q, sizes[i]));
        check_object(q, sizes[i]);
        CHECK(filled(p, sizes[i], sizes[i]));
        gomem_free(p);
        gomem_free(q);
    }
}

// Many objects of one size at once: none overlaps another.
TEST(no_two_overlap) {
    enum { N = 3000 };
    static unsigned char *objects[N];
    static const size_t sizes[] = {1, 8, 16, 24, 48, 80, 250, 1000, 1025, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t size = sizes[s];
        for (size_t i = 0; i < N; i++) {
            objects[i] = i % 3 == 0 ? gomem_new(size) : gomem_malloc(size);
            REQUIRE(objects[i] != NULL);
            fill(objects[i], size, i);
        }
        for (size_t i = 0; i < N; i++) {
            REQUIRE(filled(objects[i], size, i));
            gomem_free(objects[i]);
            objects[i] = NULL;
        }
    }
}

TEST(size_zero_is_unique) {
    enum { N = 100 };
    void *manual[N], *collected[N];
    for (size_t i = 0; i < N; i++) {
        manual[i] = gomem_malloc(0);
        collected[i] = gomem_new(0);
        REQUIRE(manual[i] != NULL && collected[i] != NULL);
        for (size_t j = 0; j < i; j++)
            CHECK(manual[i] != manual[j] && collected[i] != collected[j]);
    }
    for (size_t i = 0; i < N; i++) gomem_free(manual[i]);
}

// Through a volatile, so that the compiler does not reckon with the size.
static volatile size_t huge;

TEST(too_large_is_enomem) {
    static const size_t sizes[] = {SIZE_MAX,
                                   SIZE_MAX - 8,
                                   SIZE_MAX - 8191,
                                   SIZE_MAX / 2 + 1,
                                   (size_t)PTRDIFF_MAX + 1,
                                   (size_t)PTRDIFF_MAX,
                                   PTRDIFF_MAX - 4096,
                                   PTRDIFF_MAX - 8191};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        huge = sizes[i];
        errno = 0;
        CHECK(gomem_malloc(huge) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_new(huge) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_new_noscan(huge) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_new_with(huge, 0, GOMEM_UNCOLLECTABLE) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_new_with(huge, 64, GOMEM_NOSCAN) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_calloc(1, huge) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_aligned_alloc(64, huge) == NULL);
        CHECK_EQ(errno, ENOMEM);
    }
}

TEST(count_times_size_overflows) {
    huge = SIZE_MAX;
    static const struct {
        size_t n, size;
    } pairs[] = {{SIZE_MAX, 2}, {SIZE_MAX / 2, 3}, {SIZE_MAX / 8 + 1, 8}, {SIZE_MAX, SIZE_MAX}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        volatile size_t n = pairs[i].n, size = pairs[i].size;
        errno = 0;
        CHECK(gomem_calloc(n, size) == NULL);
        CHECK_EQ(errno, ENOMEM);
        errno = 0;
        CHECK(gomem_calloc(size, n) == NULL);
        CHECK_EQ(errno, ENOMEM);
    }
    void *p = gomem_calloc(0, huge);
    void *q = gomem_calloc(huge, 0);
    CHECK(p != NULL && q != NULL && p != q);
    gomem_free(p);
    gomem_free(q);
}

TEST(success_keeps_errno) {
    gomem_free(gomem_malloc(100));
    gomem_free(gomem_new(100));
    errno = 1234;
    void *p = gomem_malloc(100);
    void *q = gomem_new(100);
    CHECK(p != NULL && q != NULL);
    CHECK_EQ(errno, 1234);
    gomem_free(p);
    gomem_free(q);
    CHECK_EQ(errno, 1234);
}

TEST(base_of_what_is_not_ours) {
    int local = 0;
    static int global;
    CHECK(gomem_base(NULL) == NULL);
    CHECK(gomem_base(&local) == NULL);
    CHECK(gomem_base(&global) == NULL);
    CHECK(gomem_base((const void *)(uintptr_t)8) == NULL);
    CHECK(gomem_base((const void *)UINTPTR_MAX) == NULL);
    CHECK_EQ(gomem_usable_size(NULL), 0);
}

TEST(free_of_null) {
    gomem_free(NULL);
    gomem_free_sized(NULL, 10);
    CHECK(HEAP_IS_WHOLE());
}

TEST(version) {
    const char *text = gomem_version();
    REQUIRE(text != NULL);
    char expected[64];
    snprintf(expected, sizeof expected, "%d.%d.%d", GOMEM_VERSION_MAJOR, GOMEM_VERSION_MINOR,
             GOMEM_VERSION_PATCH);
    CHECK(strstr(text, expected) != NULL);
}

TEST_MAIN
