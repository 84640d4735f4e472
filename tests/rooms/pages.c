// Room pages: the page heap against a naive model, metadata, descriptors.
#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

static size_t most_space = (size_t)-1; // larger mappings are refused
static size_t highest = (size_t)-1;    // so are those beyond this address
static size_t space_left = (size_t)-1; // bytes that may be mapped
static int protects_left = -1;         // calls of mprotect until one fails, -1: none does
static void *limited_mmap(void *at, size_t size, int prot, int flags, int fd, long offset) {
    if (size > most_space || (size_t)at > highest) return MAP_FAILED;
    if (size > space_left) return errno = EAGAIN, MAP_FAILED; // as with RLIMIT_MEMLOCK
    void *p = mmap(at, size, prot, flags, fd, offset);
    if (p != MAP_FAILED && space_left != (size_t)-1) space_left -= size;
    return p;
}
#define GOMEM_MMAP(addr, size, prot, flags, fd, offset) \
    limited_mmap((addr), (size), (prot), (flags), (fd), (offset))
#define GOMEM_MPROTECT(addr, size, prot) \
    (protects_left >= 0 && protects_left-- == 0 ? -1 : mprotect((addr), (size), (prot)))
#include "room.h"

enum { CHUNKS = 8, PAGES = CHUNKS * GM_CHUNK_PAGES, RUNS = 400 };

// The model: each zone counts from its end of the heap, as pages does.
static struct gm_pages pages;
static bool used[2][PAGES], dirty[2][PAGES];
static struct run {
    size_t page, n;
    unsigned zone;
} runs[RUNS];
static size_t nruns;

static size_t place(unsigned zone, size_t page, size_t n) {
    if (pages.sparse) page -= pages.end / 2; // both begin there
    return zone ? (pages.sparse ? 0 : PAGES) - page - n : page;
}

// Zone pages up to the last one in use.
static size_t reach(unsigned zone) {
    size_t n = PAGES;
    while (n && !used[zone][n - 1]) n--;
    return n;
}

// Where n pages belong: the lowest free place; SIZE_MAX: the other zone is in the way.
static size_t first_fit(unsigned zone, size_t n) {
    size_t other = gm_base_round_up(reach(!zone), GM_CHUNK_PAGES), length = 0;
    for (size_t z = !zone; z < PAGES - other; z++) { // P6: page 0 is nobody's
        length = used[zone][z] ? 0 : length + 1;
        if (length == n) return z + 1 - n;
    }
    return SIZE_MAX;
}

// Every page that was ever written holds its mark; what is said to be clean holds zeros.
static uint64_t *word(size_t page) { return (uint64_t *)gm_pages_address(&pages, page); }

static void fill(unsigned zone, size_t page, size_t n, bool clean) {
    for (size_t i = page; i < page + n; i++) {
        size_t z = place(zone, i, 1);
        if (clean) CHECK(!word(i)[0] && !word(i)[GM_PAGE / 8 - 1]);
        word(i)[0] = word(i)[GM_PAGE / 8 - 1] = i + 1;
        used[zone][z] = dirty[zone][z] = true;
    }
}

// What left a zone lost its memory.
static void forget_what_left(unsigned zone) {
    for (size_t z = pages.zone[zone].mapped; z < PAGES; z++) dirty[zone][z] = false;
}

static void take(unsigned zone, size_t n) {
    size_t expected = first_fit(zone, n);
    bool clean = false, was_dirty = false;
    size_t page = gm_pages_take_locked(&pages, zone, n, &clean);
    forget_what_left(!zone);
    if (page == SIZE_MAX && space_left != SIZE_MAX) return; // it may be refused
    CHECK_EQ(page == SIZE_MAX ? SIZE_MAX : place(zone, page, n), expected);
    if (page == SIZE_MAX) return;
    for (size_t z = expected; z < expected + n; z++) was_dirty |= dirty[zone][z];
    CHECK(clean || was_dirty);
    fill(zone, page, n, clean);
    runs[nruns++] = (struct run){page, n, zone};
}

static void forget(unsigned zone, size_t page, size_t n) {
    for (size_t i = page; i < page + n; i++) {
        CHECK_EQ(word(i)[0], i + 1); // nobody else had it
        CHECK_EQ(word(i)[GM_PAGE / 8 - 1], i + 1);
        used[zone][place(zone, i, 1)] = false;
    }
}

static void put(size_t at) {
    struct run r = runs[at];
    forget(r.zone, r.page, r.n);
    gm_pages_put_locked(&pages, r.page, r.n, true);
    runs[at] = runs[--nruns];
}

static void extend(size_t at, size_t more) {
    struct run *r = &runs[at];
    size_t mapped = pages.zone[r->zone].mapped, end = r->page + r->n + more;
    size_t first = pages.sparse ? pages.end / 2 : 0;
    bool clean = false;
    bool expected = end <= (!r->zone ? first + mapped : pages.sparse ? first : PAGES);
    for (size_t i = r->page + r->n; expected && i < end; i++)
        expected = !used[r->zone][place(r->zone, i, 1)];
    bool done = gm_pages_extend_locked(&pages, r->page, r->n, more, &clean);
    CHECK_EQ(done, expected);
    if (!done) return;
    fill(r->zone, r->page + r->n, more, clean);
    r->n += more;
}

static void give_back(size_t least) {
    size_t touched = 0, before = pages.idle;
    struct gm_idle idle = gm_pages_scavenge_begin_locked(&pages, least,
                                                         room_below(5) * GM_CHUNK_PAGES);
    if (!idle.n) return;
    CHECK(idle.touched >= least && idle.n >= idle.touched);
    CHECK_EQ(before - pages.idle, idle.touched);
    bool done = room_below(4) != 0; // the system may refuse
    size_t mapped = pages.zone[0].mapped;
    unsigned zone = pages.sparse ? idle.page < pages.end / 2 : idle.page >= mapped;
    for (size_t i = idle.page; i < idle.page + idle.n; i++) {
        CHECK(!used[zone][place(zone, i, 1)]);
        touched += dirty[zone][place(zone, i, 1)];
    }
    CHECK_EQ(touched, idle.touched);
    if (done) done = gm_os_discard(word(idle.page), idle.n * GM_PAGE);
    gm_pages_scavenge_end_locked(&pages, idle, done);
    for (size_t i = idle.page; i < idle.page + idle.n; i++) dirty[zone][place(zone, i, 1)] = !done;
}

static size_t some_pages(void) {
    return 1 + (room_below(8) ? room_below(20) : room_below(3 * GM_CHUNK_PAGES / 2));
}

static void random_operations(bool scarce) {
    memset(used, 0, sizeof used);
    memset(dirty, 0, sizeof dirty);
    for (int i = 0; i < 6000 && !test_failed(); i++) {
        if (scarce && i % 40 == 0) space_left = room_below(4) ? room_below(2 * GM_MIB) : SIZE_MAX;
        switch (room_below(i / 500 % 2 ? 6 : 9)) { // phases of growth and of shrinking
        case 0: give_back(1 + room_below(8)); break;
        case 1:
            if (nruns) extend(room_below(nruns), 1 + room_below(40));
            break;
        case 2:
        case 3:
        case 4:
            if (nruns) put(room_below(nruns));
            break;
        default:
            if (nruns < RUNS) take(room_below(3) != 0, some_pages());
        }
        ROOM_PAGES_HOLD(&pages);
    }
    space_left = SIZE_MAX;
    while (nruns) put(nruns - 1);
    ROOM_PAGES_HOLD(&pages);
    CHECK_EQ(pages.used, 0);
    for (int i = 0; i < 10000 && pages.idle; i++) give_back(1);
    CHECK_EQ(pages.idle, 0);
    room_end_pages(&pages);
}

// A page heap of CHUNKS chunks that takes address space as it grows.
static bool sparse_pages(void) {
    memset(&pages, 0, sizeof pages);
    return gm_pages_init_sparse(&pages, CHUNKS * GM_CHUNK);
}
#if GM_ASAN || GM_TSAN
#define NEEDS_SPARSE SKIP("under sanitizers the heap is reserved")
#else
#define NEEDS_SPARSE (void)0
#endif

TEST(random_operations_on_what_is_reserved) {
    REQUIRE(room_pages(&pages, CHUNKS));
    random_operations(false);
}

TEST(random_operations_on_what_grows) {
    NEEDS_SPARSE;
    REQUIRE(sparse_pages());
    random_operations(false);
}

// Zone 0 tells when chunks have left it: writes to what comes in their place are not tracked yet.
TEST(leaving_is_counted) {
    NEEDS_SPARSE;
    for (unsigned which = 0; which < 2; which++) {
        REQUIRE(sparse_pages());
        struct gm_zone *zone = &pages.zone[which];
        bool clean;
        size_t gone = 0, page = gm_pages_take_locked(&pages, which, 2 * GM_CHUNK_PAGES, &clean);
        REQUIRE(page != SIZE_MAX && !pages.unmapped);
        CHECK(!gm_pages_retreat_locked(&pages, zone, GM_CHUNK_PAGES)); // it is in use
        gm_pages_put_locked(&pages, page, 2 * GM_CHUNK_PAGES, false);
        while (gm_pages_retreat_locked(&pages, zone, GM_CHUNK_PAGES)) gone++;
        CHECK(gone >= 2 && !zone->mapped);
        CHECK_EQ(pages.unmapped, which == GM_ZONE_SCAN ? gone : 0);
        room_end_pages(&pages);
    }
}

// The kernel refuses chunks, and later gives them (P9).
TEST(random_operations_where_memory_is_scarce) {
    NEEDS_SPARSE;
    REQUIRE(sparse_pages());
    random_operations(true);
}

// Less than a chunk is used up to some steps, and what comes later completes the chunk. (P9)
TEST(less_than_a_chunk) {
    NEEDS_SPARSE;
    for (unsigned zone = 0; zone < 2; zone++) {
        bool clean;
        size_t n = 0, first = SIZE_MAX;
        REQUIRE(sparse_pages());
        space_left = 3 * GM_MIB;
        for (size_t page; (page = gm_pages_take_locked(&pages, zone, 1, &clean)) != SIZE_MAX; n++)
            first = GM_MIN(first, page), *word(page) = page;
        CHECK(clean && n * GM_PAGE > 2 * GM_MIB && n < GM_CHUNK_PAGES);
        CHECK_EQ(pages.zone[zone].mapped % GM_STEP_PAGES, 0);
        CHECK_EQ(gm_pages_next(&pages, first), first);
        CHECK(gm_pages_next(&pages, pages.zone[0].origin + pages.zone[0].mapped) == SIZE_MAX);
        ROOM_PAGES_HOLD(&pages);
        CHECK(gm_pages_take_locked(&pages, zone, 2 * GM_STEP_PAGES, &clean) == SIZE_MAX);
        space_left = SIZE_MAX;
        CHECK(gm_pages_take_locked(&pages, zone, GM_CHUNK_PAGES, &clean) != SIZE_MAX);
        CHECK(pages.zone[zone].mapped == 2 * GM_CHUNK_PAGES && pages.used == n + GM_CHUNK_PAGES);
        for (size_t page = first; page < first + n; page++) CHECK_EQ(*word(page), page);
        ROOM_PAGES_HOLD(&pages);
        room_end_pages(&pages);
    }
}

// Nothing is left mapped of a heap that has grown.
static size_t mapped_between(uintptr_t from, uintptr_t to) {
    unsigned long lo, hi;
    size_t n = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    if (!CHECK(maps != NULL)) return 1;
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx", &lo, &hi) == 2 && lo < to && hi > from) n += hi - lo;
    fclose(maps);
    return n;
}

TEST(released) {
    NEEDS_SPARSE;
    bool clean;
    for (unsigned kind = 0; kind < GM_SLOT_KINDS; kind++) {
        highest = kind ? ((size_t)1 << 39) - 1 : SIZE_MAX; // as with 39 bits of address
        REQUIRE(sparse_pages());
        uintptr_t slot = (uintptr_t)pages.reservation, end = slot + ((size_t)1 << (kind ? 37 : 42));
        CHECK(pages.base + pages.end * GM_PAGE <= end && end <= highest);
        for (unsigned zone = 0; zone < 2; zone++)
            CHECK(gm_pages_take_locked(&pages, zone, 3 * GM_CHUNK_PAGES, &clean) != SIZE_MAX);
        ROOM_PAGES_HOLD(&pages);
        size_t there = mapped_between(slot, end);
        CHECK(there > 6 * GM_CHUNK && there < 20 * GM_CHUNK);
        room_end_pages(&pages);
        CHECK_EQ(mapped_between(slot, end), 0);
    }
    highest = SIZE_MAX;
}

// Heaps of one process do not meet, and when there are no more slots the next one is reserved.
TEST(slots_run_out) {
    NEEDS_SPARSE;
    enum { MOST = 16 };
    struct gm_pages heaps[MOST + 1];
    memset(heaps, 0, sizeof heaps);
    for (size_t i = 0; i < MOST; i++) {
        REQUIRE(gm_pages_init_sparse(&heaps[i], CHUNKS * GM_CHUNK));
        for (size_t k = 0; k < i; k++) CHECK(heaps[k].reservation != heaps[i].reservation);
    }
    CHECK(gm_pages_init_sparse(&heaps[MOST], CHUNKS * GM_CHUNK)); // in a small slot
    CHECK((uintptr_t)heaps[MOST].reservation < (uintptr_t)1 << 39);
    for (size_t i = 0; i <= MOST; i++) room_end_pages(&heaps[i]);
}

// What is not asked for is not looked up: descriptors follow where the heap goes. (P3)
TEST(descriptors_follow_the_heap) {
    NEEDS_SPARSE;
    bool clean;
    memset(&pages, 0, sizeof pages);
    REQUIRE(gm_pages_init_sparse(&pages, (size_t)1 << 40));
    for (unsigned round = 0; round < 4; round++) {
        uintptr_t lo = pages.lo, hi = pages.hi;
        size_t n = (hi - lo) / 2 / GM_PAGE,
               page = gm_pages_take_locked(&pages, round & 1, n, &clean);
        REQUIRE(page != SIZE_MAX);
        uintptr_t from = gm_pages_address(&pages, page), to = from + n * GM_PAGE;
        CHECK(gm_pages_holds(&pages, from) && gm_pages_holds(&pages, to - 1));
        CHECK(pages.lo <= lo && pages.hi >= hi && pages.hi - pages.lo <= 4 * (hi - lo));
        CHECK(!gm_pages_desc(&pages, (pages.lo - pages.base) / GM_PAGE));
        CHECK(!gm_pages_desc(&pages, (pages.hi - pages.base) / GM_PAGE - 1));
        ROOM_PAGES_HOLD(&pages);
        if (round == 2) most_space = 0; // and if they cannot, nothing changes
        if (round == 2) {
            lo = pages.lo, hi = pages.hi;
            CHECK(gm_pages_take_locked(&pages, 1, (hi - lo) / GM_PAGE, &clean) == SIZE_MAX);
            CHECK(pages.lo == lo && pages.hi == hi);
            ROOM_PAGES_HOLD(&pages);
            most_space = SIZE_MAX;
        }
    }
    room_end_pages(&pages);
}

TEST(all_of_it_for_either_zone) {
    bool clean;
    REQUIRE(room_pages(&pages, CHUNKS));
    for (unsigned round = 0; round < 4; round++) {
        unsigned zone = round % 2; // what the other zone had must come over
        size_t none = !zone;       // page 0 (P6)
        for (size_t n = 0; n < PAGES - 16; n += 16)
            CHECK(gm_pages_take_locked(&pages, zone, 16, &clean) != SIZE_MAX);
        CHECK(gm_pages_take_locked(&pages, zone, 16 - none, &clean) != SIZE_MAX);
        CHECK_EQ(pages.used, PAGES - none);
        CHECK(gm_pages_take_locked(&pages, 0, 1, &clean) == SIZE_MAX);
        CHECK(gm_pages_take_locked(&pages, 1, 1, &clean) == SIZE_MAX);
        gm_pages_put_locked(&pages, none, PAGES - none, true);
        ROOM_PAGES_HOLD(&pages);
        CHECK(gm_pages_take_locked(&pages, zone, PAGES + 1, &clean) == SIZE_MAX);
    }
    room_end_pages(&pages);
}

TEST(refused_space_is_halved) {
    struct gm_pages p;
    most_space = 100 * GM_CHUNK;
    REQUIRE(room_pages(&p, 1024));
    CHECK(p.size >= 32 * GM_CHUNK && p.size <= 64 * GM_CHUNK);
    CHECK_EQ(p.count * GM_PAGE, p.size);
    CHECK_EQ(p.base % GM_CHUNK, 0);
    room_end_pages(&p);
    most_space = GM_CHUNK;
    CHECK(!gm_pages_init(&p, 1024 * GM_CHUNK));
    most_space = SIZE_MAX;
}

// Any of the calls that map more may fail: nothing changes then, and the next call succeeds.
TEST(refused_memory) {
    for (int n = 0; n < 20; n++) {
        bool clean, refused;
        REQUIRE(room_pages(&pages, CHUNKS));
        protects_left = n;
        size_t page = gm_pages_take_locked(&pages, GM_ZONE_NOSCAN, 3, &clean);
        refused = protects_left < 0;
        protects_left = -1;
        CHECK(page == SIZE_MAX || page == PAGES - 3);
        ROOM_PAGES_HOLD(&pages);
        CHECK_EQ(pages.used, page == SIZE_MAX ? 0 : 3);
        CHECK(gm_pages_take_locked(&pages, GM_ZONE_SCAN, 1, &clean) == 1);
        CHECK(gm_pages_take_locked(&pages, GM_ZONE_NOSCAN, 3, &clean) != SIZE_MAX);
        room_end_pages(&pages);
        if (!refused) return; // more than are made
    }
}

// P3: where address space is short, only the descriptors that are needed become readable, not as
// many again, and the bounds say so.
TEST(bounds_are_those_of_the_descriptors) {
    static struct gm_pages p;
    if (!gm_pages_init_sparse(&p, (size_t)1 << 36)) SKIP("no sparse heap");
    size_t last = (p.hi - p.base) / GM_PAGE, first = (p.lo - p.base) / GM_PAGE;
    most_space = GM_DESC_UNIT * sizeof *p.desc;
    CHECK(gm_pages_widen_locked(&p, first, last + 1));
    CHECK_EQ(p.hi, p.base + (last + GM_DESC_UNIT) * GM_PAGE);
    CHECK(gm_pages_widen_locked(&p, first - 1, last));
    CHECK_EQ(p.lo, p.base + (first - GM_DESC_UNIT) * GM_PAGE);
    most_space = GM_DESC_UNIT * sizeof *p.desc - 1;
    CHECK(!gm_pages_widen_locked(&p, first, last + GM_DESC_UNIT + 1));
    most_space = SIZE_MAX;
    CHECK_EQ(p.hi, p.base + (last + GM_DESC_UNIT) * GM_PAGE);
    for (uintptr_t at = p.lo; at < p.hi; at += GM_DESC_UNIT / 4 * GM_PAGE)
        CHECK_EQ(gm_pages_desc(&p, (at - p.base) / GM_PAGE), 0);
    gm_pages_release(&p);
}

TEST(metadata) {
    struct gm_meta meta;
    void *blocks[200];
    size_t sizes[200];
    memset(&meta, 0, sizeof meta);
    REQUIRE(gm_pages_meta_init(&meta));
    for (int round = 0; round < 3; round++) { // the second round gets blocks that were freed
        for (size_t i = 0; i < 200; i++) {
            sizes[i] = 1 + room_below(room_below(4) ? 300 : 9000);
            char *b = blocks[i] = gm_pages_meta(&meta, sizes[i]);
            REQUIRE(b != NULL);
            size_t unit = (size_t)1 << gm_pages_meta_class(sizes[i]);
            CHECK_EQ((uintptr_t)b % GM_MIN(unit, (size_t)4096), 0);
            for (size_t k = 0; k < sizes[i]; k++) CHECK(!b[k]);
            memset(b, (int)i + 1, sizes[i]);
        }
        for (size_t i = 0; i < 200; i++) {
            const unsigned char *b = blocks[i];
            for (size_t k = 0; k < sizes[i]; k++) CHECK_EQ(b[k], i + 1);
        }
        for (size_t i = 0; i < 200; i++) gm_pages_meta_free(&meta, blocks[i], sizes[i]);
    }
    gm_pages_meta_free(&meta, NULL, 64);
    char *before = meta.at;
    most_space = GM_MIB; // more than there is: nothing is used up
    CHECK(gm_pages_meta(&meta, 64 * GM_MIB) == NULL);
    CHECK(meta.at == before && gm_pages_meta(&meta, 64) != NULL);
    most_space = SIZE_MAX;
    char *large = gm_pages_meta(&meta, 64 * GM_MIB); // another reservation
    REQUIRE(large != NULL);
    CHECK(!large[0] && !large[64 * GM_MIB - 1]);
    CHECK(gm_pages_meta(&meta, 64) != NULL);
    for (int i = 0; i < 3000; i++) CHECK(gm_pages_meta(&meta, 4096) != NULL);
    CHECK(meta.reserved < 160 * GM_MIB);
}

TEST(descriptors_of_a_span_of_any_length) {
    enum { FIRST = 5, LENGTH = 2 * GM_DESC_FAR + 1000 };
    static const size_t at[] = {0,
                                1,
                                GM_DESC_FAR - 1,
                                GM_DESC_FAR,
                                GM_DESC_FAR + 1,
                                2 * GM_DESC_FAR - 1,
                                2 * GM_DESC_FAR,
                                LENGTH - 1};
    struct gm_pages p = {.count = FIRST + LENGTH + 1};
    p.desc = calloc(p.count, sizeof *p.desc);
    REQUIRE(p.desc != NULL);
    gm_pages_describe(&p, FIRST, LENGTH, 3 | 7u << 4);
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        uint32_t desc = gm_pages_desc(&p, FIRST + at[i]);
        CHECK_EQ(desc & 0xfff, 3 | 7u << 4);
        CHECK_EQ(gm_pages_first(&p, FIRST + at[i], desc), FIRST);
    }
    CHECK_EQ(p.desc[FIRST - 1], 0);
    CHECK_EQ(p.desc[FIRST + LENGTH], 0);
    gm_pages_undescribe(&p, FIRST, LENGTH);
    for (size_t i = 0; i < p.count; i++) CHECK(!p.desc[i]);
    free(p.desc);
}

// Descriptors of the whole reservation can be read; pages that nobody took are free (P3).
TEST(any_descriptor_can_be_read) {
    uint32_t all = 0;
    REQUIRE(room_pages(&pages, CHUNKS));
    for (size_t i = 0; i < pages.count; i++) all |= gm_pages_desc(&pages, i);
    CHECK_EQ(all, 0);
    room_end_pages(&pages);
}

// An array keeps its elements when it grows, by one or by many; the added ones are zero.
TEST(arrays_grow) {
    static struct gm_meta meta;
    uint64_t *list = NULL;
    size_t room = 0, before = 0;
    REQUIRE(gm_pages_meta_init(&meta));
    for (size_t count = 0; count < 5000; count += count < 100 ? 1 : 997) {
        REQUIRE(gm_pages_meta_room(&meta, &list, &room, count, sizeof *list));
        REQUIRE(room > count && list != NULL);
        for (size_t i = 0; i < room; i++) CHECK_EQ(list[i], i < before ? i + 1 : 0);
        for (size_t i = 0; i < room; i++) list[i] = i + 1;
        before = room;
    }
    uint64_t *same = list;
    REQUIRE(gm_pages_meta_room(&meta, &list, &room, room - 1, sizeof *list));
    CHECK(list == same && room == before);
}

// The element that is asked for has room whatever its number is, a power of two among them.
TEST(any_element_has_room) {
    static struct gm_meta meta;
    REQUIRE(gm_pages_meta_init(&meta));
    for (size_t count = 0; count < 300; count++) {
        uint64_t *list = NULL;
        size_t room = 0;
        REQUIRE(gm_pages_meta_room(&meta, &list, &room, count, sizeof *list));
        CHECK(room > count);
        gm_pages_meta_free(&meta, list, room * sizeof *list);
    }
}

// A walk goes from zone to zone, and an empty one is passed: page 0 of it is not mapped.
TEST(an_empty_zone_has_no_next_page) {
    static struct gm_pages p;
    p.zone[0].origin = 1000;
    p.zone[1].origin = 500; // it would grow downward
    p.zone[1].down = true;
    CHECK_EQ(gm_pages_next(&p, 0), SIZE_MAX);
    p.zone[0].mapped = 10;
    CHECK_EQ(gm_pages_next(&p, 0), 1000);
    CHECK_EQ(gm_pages_next(&p, 1009), 1009);
    CHECK_EQ(gm_pages_next(&p, 1010), SIZE_MAX);
    p.zone[1].mapped = 20;
    CHECK_EQ(gm_pages_next(&p, 0), 480);
    CHECK_EQ(gm_pages_next(&p, 499), 499);
    CHECK_EQ(gm_pages_next(&p, 500), 1000);
    p.zone[0].mapped = 0;
    CHECK_EQ(gm_pages_next(&p, 0), 480);
    CHECK_EQ(gm_pages_next(&p, 500), SIZE_MAX);
}

TEST_MAIN
