// Room sizes: every size, every alignment, every offset of every span.
#include "room.h"

// What the card promises, naively.
static unsigned smallest(size_t size, size_t align) {
    if (align == 16 && size <= 8) align = 8; // aligned to 16 from size 9 up
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++)
        if (gm_sizes_table[c].size >= size && gm_sizes_table[c].size % align == 0) return c;
    return 0;
}

TEST(every_size_and_alignment) {
    size_t wrong = 0;
    for (size_t align = 1; align <= GM_PAGE; align *= 2)
        for (size_t size = 0; size <= GOMEM_MAX_SMALL; size++)
            wrong += gm_sizes_class(size, align) != smallest(size, GM_MAX(align, (size_t)8));
    CHECK_EQ(wrong, 0);
}

TEST(inlined_classes_agree) {
    for (size_t size = 0; size <= GOMEM_MAX_SMALL; size++) {
        CHECK_EQ(gomem_i_class(size, 8), smallest(size, 8));
        CHECK_EQ(gomem_i_class(size, 16), smallest(size, 16));
        CHECK_EQ(gomem_i_class_new(size, 8), smallest(size < 16 ? 16 : size, 8));
    }
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++)
        CHECK_EQ(gomem_i_class_size[c], gm_sizes_table[c].size);
}

// What needs no search: up to an alignment of 128 every size, above it those whose class fits.
TEST(aligned_without_a_search) {
    size_t wrong = 0, found[14] = {0}, all = GOMEM_MAX_SMALL + 1;
    for (unsigned shift = 0; (size_t)1 << shift <= GM_PAGE; shift++)
        for (size_t size = 0, align = (size_t)1 << shift; size < all; size++) {
            unsigned class = gm_sizes_aligned(size, align);
            found[shift] += class != 0;
            size_t least = GM_MAX(align, (size_t)(size > 8 ? 16 : 8)); // as malloc's
            wrong += class && class != smallest(GM_MAX(size, align), least);
        }
    CHECK_EQ(wrong, 0);
    for (unsigned shift = 0; shift <= 7; shift++) CHECK_EQ(found[shift], all);
    for (unsigned shift = 8; shift <= 13; shift++) CHECK(found[shift] > all / 2);
    for (size_t align = 1; align; align *= 2) {
        CHECK_EQ(gm_sizes_aligned(GOMEM_MAX_SMALL + 1, align), 0);
        CHECK_EQ(gm_sizes_aligned(SIZE_MAX, align), 0);
        if (align > GM_PAGE) CHECK_EQ(gm_sizes_aligned(64, align), 0);
    }
}

TEST(no_class) {
    for (size_t align = 1; align <= GM_PAGE; align *= 2)
        for (size_t size = GOMEM_MAX_SMALL + 1; size; size *= 2) // until it overflows to 0
            CHECK_EQ(gm_sizes_class(size, align), 0);
    CHECK_EQ(gm_sizes_class(SIZE_MAX, 8), 0);
    CHECK_EQ(gm_sizes_class(64, 2 * GM_PAGE), 0);
    CHECK_EQ(gomem_i_class(64, 32), 0);
}

TEST(index_of_every_offset) { // Z1
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        const struct gm_class *k = &gm_sizes_table[c];
        size_t wrong = 0;
        for (uint64_t offset = 0; offset < (uint64_t)k->pages * GM_PAGE; offset++)
            wrong += (uint32_t)(offset * k->magic >> 32) != offset / k->size;
        CHECK_EQ(wrong, 0);
    }
}

TEST(shape_of_spans) { // Z2, Z3
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        const struct gm_class *k = &gm_sizes_table[c];
        size_t bytes = (size_t)k->pages * GM_PAGE, tail = bytes - (size_t)k->count * k->size;
        CHECK(k->count >= 8 && k->count <= 1024);
        CHECK(k->size > 1024 || k->count >= 64);
        CHECK(tail < k->size && tail * 1000 <= bytes * 15);
        CHECK((k->count + 63) / 64 * 8 <= k->pages * GM_MANUAL_BYTES);
        if (k->size < 16) continue; // manual only
        CHECK(k->count <= 512 * k->pages);
        CHECK(k->size % 16 == 0 || c == GM_CLASS_24);
        CHECK_EQ(k->size == 24, c == GM_CLASS_24);
    }
}

TEST(steps_and_waste) {
    double waste = 0;
    for (unsigned c = 2; c <= GOMEM_CLASSES; c++) {
        unsigned size = gm_sizes_table[c].size, below = gm_sizes_table[c - 1].size;
        CHECK(size > below && size % (size > 1024 ? 128 : size > 32 ? 16 : 8) == 0);
        if (size <= 512) CHECK(size - below <= 16);
        else if (size <= 1024) CHECK(size - below <= 32);
        else CHECK((size - below) * 100 <= size * 19);
    }
    for (size_t size = 1; size <= 1024; size++) {
        double slot = gm_sizes_table[gm_sizes_class(size, 8)].size;
        waste += (slot - (double)size) / slot / 1024;
    }
    CHECK(waste < 0.04);
}

TEST(magazines) {
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        unsigned n = gm_sizes_magazine(c), size = gm_sizes_table[c].size;
        CHECK(n >= 4 && n <= 60);
        CHECK(n * size <= 128 * GM_KIB);
        CHECK(n == 60 || (n + 1) * size > 128 * GM_KIB);
    }
}

TEST_MAIN
