// Room central: lists of spans, against arrays.
#include "room.h"

enum { SPANS = 60 };
static struct gm_pages pages;
static struct gm_central central;
static struct gm_span *order[GM_LISTS][SPANS]; // the model: last in, first out
static size_t length[GM_LISTS];
static unsigned list_of[SPANS]; // GM_LISTS: none

static struct gm_span *span(size_t i) { return gm_span_at(&pages, i * 3); }

static void add(unsigned list, size_t i) {
    gm_central_add_locked(&central, &pages, list, span(i));
    order[list][length[list]++] = span(i);
    list_of[i] = list;
}

static void forget(unsigned list, const struct gm_span *s) {
    size_t k = 0;
    for (size_t i = 0; i < length[list]; i++)
        if (order[list][i] != s) order[list][k++] = order[list][i];
    length[list] = k;
    list_of[s->page / 3] = GM_LISTS;
}

// CL1: what the lists hold, in their order, with links that agree.
static void compare(void) {
    for (unsigned list = 0; list < GM_LISTS; list++) {
        uint32_t at = central.list[list], before = 0;
        for (size_t i = length[list]; i-- > 0;) {
            REQUIRE(at != 0);
            const struct gm_span *s = gm_span_at(&pages, at - 1);
            CHECK(s == order[list][i] && s->prev == before);
            before = at;
            at = s->next;
        }
        CHECK_EQ(at, 0);
    }
}

TEST(lists) {
    bool clean;
    REQUIRE(room_pages(&pages, 2));
    REQUIRE(gm_pages_take_locked(&pages, 0, SPANS * 3, &clean) == 1);
    gm_central_init(&central, GM_MANUAL, 5, 0);
    for (size_t i = 0; i < SPANS; i++) {
        span(i)->page = (uint32_t)i * 3;
        list_of[i] = GM_LISTS;
    }
    for (int step = 0; step < 5000 && !test_failed(); step++) {
        size_t i = room_below(SPANS);
        unsigned list = (unsigned)room_below(GM_LISTS);
        if (room_below(3) == 0) {
            struct gm_span *first = length[list] ? order[list][length[list] - 1] : NULL;
            CHECK(gm_central_first_locked(&central, &pages, list) == first);
            CHECK(gm_central_pop_locked(&central, &pages, list) == first);
            if (first) forget(list, first);
        } else if (list_of[i] == GM_LISTS) {
            add(list, i);
        } else {
            gm_central_remove_locked(&central, &pages, list_of[i], span(i));
            CHECK(!span(i)->next && !span(i)->prev);
            forget(list_of[i], span(i));
        }
        compare();
    }
    room_end_pages(&pages);
}

TEST(buckets) {
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        struct gm_span s = {.count = gm_sizes_table[c].count};
        unsigned last = 3;
        for (s.used = 0; s.used < s.count; s.used++) {
            unsigned bucket = gm_central_bucket(&s);
            CHECK(bucket <= last); // fuller spans come first
            last = bucket;
        }
        CHECK_EQ(last, 0);
        s.used = 0;
        CHECK_EQ(gm_central_bucket(&s), 3);
    }
}

TEST_MAIN
