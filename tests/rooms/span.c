// Room span: records, bitmaps, word to object.
#include "room.h"

static struct gm_pages pages;

// A span of a class, or of n pages, at a page; published.
static struct gm_span *make(size_t page, unsigned kind, unsigned class, size_t n) {
    struct gm_span *s = gm_span_at(&pages, page);
    memset(s, 0, sizeof *s);
    s->page = (uint32_t)page;
    s->pages = class ? gm_sizes_table[class].pages : (uint32_t)n;
    s->count = class ? gm_sizes_table[class].count : 1;
    s->kind = (uint8_t)kind;
    s->class = (uint8_t) class;
    s->size = class ? 0 : n * GM_PAGE;
    s->fresh = s->count;
    gm_pages_describe(&pages, page, s->pages, gm_span_desc(kind, class));
    return s;
}

// Two chunks at each end, all taken.
static bool begin(void) {
    bool clean;
    return room_pages(&pages, 8) &&
           CHECK(gm_pages_take_locked(&pages, 0, 2 * GM_CHUNK_PAGES - 1, &clean) == 1) &&
           CHECK(gm_pages_take_locked(&pages, 1, 2 * GM_CHUNK_PAGES, &clean) != SIZE_MAX);
}

TEST(words_to_objects) {
    REQUIRE(begin());
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) {
        size_t page = 3 + room_below(400);
        struct gm_span *s = make(page, GM_SCAN, c, 11);
        uintptr_t start = gm_span_start(&pages, s), bytes = (uintptr_t)s->pages * GM_PAGE;
        CHECK(gm_span_find(&pages, start - 1) == NULL);
        CHECK(gm_span_find(&pages, start + bytes) == NULL);
        for (uintptr_t at = 0; at < bytes; at += at % 64 ? 61 : 3) {
            CHECK(gm_span_find(&pages, start + at) == s);
            uint32_t index = gm_span_index(&pages, s, start + at);
            CHECK_EQ(index, c ? at / gm_sizes_table[c].size : 0);
            uintptr_t slot = gm_span_slot(&pages, s, index);
            CHECK(start + at - slot < (c ? gm_sizes_table[c].size : bytes));
        }
        CHECK_EQ(gm_span_slot_size(s), c ? gm_sizes_table[c].size : bytes);
        gm_pages_undescribe(&pages, page, s->pages);
        CHECK(gm_span_find(&pages, start) == NULL);
    }
    CHECK(gm_span_find(&pages, 0) == NULL);
    CHECK(gm_span_find(&pages, UINTPTR_MAX) == NULL);
    CHECK(gm_span_find(&pages, pages.base - 1) == NULL);
    CHECK(gm_span_find(&pages, pages.base + pages.size) == NULL);
    room_end_pages(&pages);
}

// N1: places of neighbours do not overlap, and lie in what is mapped for their pages.
TEST(places) {
    REQUIRE(begin());
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        size_t page = room_below(300), next = page + gm_sizes_table[c].pages;
        size_t groups = (gm_sizes_table[c].count + 63) / 64;
        CHECK((char *)(gm_span_at(&pages, page) + 1) <= (char *)gm_span_at(&pages, page + 1));
        CHECK(gm_span_bits(&pages, page) + groups <= gm_span_bits(&pages, next));
        if (gm_sizes_table[c].size >= 16)
            CHECK_EQ(gm_span_colors(&pages, next) - gm_span_colors(&pages, page),
                     8 * (ptrdiff_t)gm_sizes_table[c].pages);
    }
    size_t last = pages.count - 1;
    CHECK((char *)(gm_span_at(&pages, last) + 1) <= pages.manual_area);
    CHECK((char *)gm_span_bits(&pages, last) + GM_MANUAL_BYTES <= pages.color_area);
    CHECK((char *)gm_span_colors(&pages, last) + GM_COLOR_BYTES <= (char *)pages.zone[0].chunk);
    gm_span_colors(&pages, last)->mark = 1; // writable
    *gm_span_bits(&pages, last) = 1;
    room_end_pages(&pages);
}

// Clearing a span's bits clears all of them and none of its neighbours'.
TEST(clearing) {
    enum { PAGE = 100 };
    REQUIRE(begin());
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++)
        for (unsigned kind = GM_MANUAL; kind <= GM_NOSCAN; kind++) {
            if (kind != GM_MANUAL && c == 1) continue; // collected objects have 16 bytes at least
            struct gm_span *s = make(PAGE, kind, c, 70 * GM_PIECE_PAGES / 64 + 1);
            uint64_t *bits = gm_span_bits(&pages, PAGE);
            struct gm_color *colors = gm_span_colors(&pages, PAGE);
            unsigned groups = kind == GM_MANUAL ? gm_span_words(s) : gm_span_groups(s);
            memset(gm_span_bits(&pages, PAGE - 1), 0xff, (s->pages + 2) * (size_t)GM_MANUAL_BYTES);
            memset(gm_span_colors(&pages, PAGE - 1), 0xff, (s->pages + 2) * (size_t)GM_COLOR_BYTES);
            gm_span_clear_bits(&pages, s);
            gm_span_clear_colors(&pages, s);
            for (unsigned i = 0; i < groups; i++) {
                struct gm_color k = colors[i];
                CHECK(kind == GM_MANUAL ? !bits[i] : !(k.alloc | k.mark | k.grey | k.freed));
            }
            CHECK(gm_span_bits(&pages, PAGE + s->pages)[0] == UINT64_MAX);
            CHECK(bits[-1] == UINT64_MAX && colors[-1].freed == UINT64_MAX);
            CHECK(gm_span_colors(&pages, PAGE + s->pages)->alloc == UINT64_MAX);
        }
    room_end_pages(&pages);
}

// Every slot has a bit of its own, found from its address, its number, and its place in a group.
TEST(bits_of_slots) {
    REQUIRE(begin());
    for (unsigned c = 2; c <= GOMEM_CLASSES; c++) {
        struct gm_span *s = make(40, GM_SCAN, c, 0);
        uint64_t seen[32 * 8] = {0};
        struct gm_color *first = gm_span_colors(&pages, 40);
        for (uint32_t i = 0; i < s->count; i++) {
            uintptr_t slot = gm_span_slot(&pages, s, i);
            uint64_t bit = gm_span_bit(&pages, slot);
            size_t group = (size_t)(gm_span_color(&pages, slot) - first);
            REQUIRE(group < s->pages * 8 && group < gm_span_groups(s));
            CHECK(bit && !(bit & (bit - 1)) && !(seen[group] & bit));
            seen[group] |= bit;
            CHECK_EQ(gm_span_object(&pages, s, (unsigned)group, gm_base_ctz(bit)), slot);
        }
        for (unsigned g = 0; g < s->pages * 8; g++) CHECK_EQ(gm_span_starts(s, g), seen[g]);
        CHECK_EQ(gm_span_starts(s, s->pages * 8), 0);
        for (s->fresh = 0; s->fresh < s->count; s->fresh++) { // the last slot's group is the last
            unsigned groups = gm_span_groups(s);
            uintptr_t slot = gm_span_slot(&pages, s, s->fresh ? s->fresh - 1 : 0);
            CHECK(!s->fresh ? !groups : (size_t)(gm_span_color(&pages, slot) - first) < groups);
        }
        gm_pages_undescribe(&pages, 40, s->pages);
    }
    room_end_pages(&pages);
}

TEST(kinds) {
    static const unsigned up[] = {GM_SCAN, GM_TYPED, GM_ROOT},
                          down[] = {GM_MANUAL, GM_NOSCAN, GM_ROOT_NOSCAN};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(gm_span_zone(up[i]), GM_ZONE_SCAN);
        CHECK_EQ(gm_span_zone(down[i]), GM_ZONE_NOSCAN);
        CHECK(GM_IN(GM_SET_SCANNED, up[i]) && !GM_IN(GM_SET_SCANNED, down[i]));
    }
    CHECK(!GM_IN(GM_SET_COLLECTED, GM_ROOT) && !GM_IN(GM_SET_COLLECTED, GM_MANUAL));
    CHECK(GM_IN(GM_SET_COLLECTED, GM_NOSCAN) && !GM_IN(GM_SET_COLORED, GM_FREE));
    CHECK_EQ(GM_MANUAL, 1); // as gomem_i_free_typed compares
}

TEST_MAIN
