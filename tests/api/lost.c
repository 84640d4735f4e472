// GOMEM_DEBUG=lost=1 names places in manual memory that point at what a collection frees. Each test
// is a child, since the environment is read once.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

enum { HOLDER = 64, PLACE = 2 }; // bytes, word

struct wide {
    long number[3];
    void *pointer;
};
GOMEM_TYPE(wide_type, struct wide, pointer);

static void *volatile kept;
static struct alive_set set;

// Manual holders remember objects; their own addresses are hidden in `holder`.
static uintptr_t holder[40];

static void set_lost(void) { setenv("GOMEM_DEBUG", "lost=1", 1); }

// A holder of n words with `word` at PLACE. What it keeps is told of to nobody else.
ALIVE_NOINLINE static void hold(size_t i, size_t bytes, uintptr_t hidden, intptr_t offset) {
    ALIVE_DEEP;
    volatile uintptr_t *words = gomem_calloc(1, bytes);
    if (!CHECK(words != NULL)) return;
    holder[i] = alive_hide((void *)(uintptr_t)words);
    alive_put(&words[PLACE], hidden, offset);
    gap[0] = 1;
}

ALIVE_NOINLINE static void release(size_t i) {
    ALIVE_DEEP;
    gomem_free(alive_show(holder[i]));
    gap[0] = 1;
}

static bool says(const struct child *child, const char *words) {
    if (CHECK(strstr(child->text, words) != NULL)) return true;
    printf("\n    no '%s', but:\n%s", words, child->text);
    return false;
}

static void check_lines(struct child *child, void (*fn)(void), size_t lines) {
    child_run(child, fn);
    child_good(child);
    if (!CHECK_EQ(child_lines(child), lines)) printf("\n    it said:\n%s", child->text);
}

static void one_place(void) {
    set_lost();
    CHECK(alive_scatter(&set));
    hold(0, HOLDER, set.hidden[0], 0);
    alive_gc();
    fprintf(stderr, "object 0x%jx holder 0x%jx\n", (uintmax_t)~set.hidden[0],
            (uintmax_t)~holder[0]);
}

TEST(names_object_and_place) {
    struct child child;
    uintmax_t object = 0, place = 0;
    char text[200];
    check_lines(&child, one_place, 2);
    const char *told = strstr(child.text, "object 0x");
    told = told == NULL ? NULL : strstr(child.text, "\nobject 0x");
    REQUIRE(told != NULL && sscanf(told, "\nobject %jx holder %jx", &object, &place) == 2);
    snprintf(text, sizeof text, "gomem: lost: only manual memory");
    says(&child, text);
    snprintf(text, sizeof text,
             ": 0x%jx is a 48-byte scanned object; offset 16 of the 64-byte "
             "manual object at 0x%jx points at it; ",
             object, place);
    says(&child, text);
}

// ---- holders that are not scanned ----

struct half { // its type names one of two pointers
    void *named, *forgotten, *others[6];
};
GOMEM_TYPE(half_type, struct half, named);

struct packed { // its pointer lies across two words
    int number;
    void *pointer;
    char rest[20];
} __attribute__((packed));

enum way { PACKED, NOSCAN, NOSCAN_LARGE, ROOT_PLAIN, TYPED, POOL, ARENA };
static void *volatile reachable[8];
static gomem_arena arena;

static void *take(enum way way) {
    static gomem_pool *pool;
    switch (way) {
    case PACKED: return gomem_new(sizeof(struct packed));
    case NOSCAN: return gomem_new_noscan(HOLDER);
    case NOSCAN_LARGE: return gomem_new_noscan(100000);
    case ROOT_PLAIN: return gomem_new_with(HOLDER, 0, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN);
    case TYPED: return GOMEM_NEW_TYPED(struct half, &half_type);
    case POOL:
        if (!pool) pool = gomem_pool_new(&(gomem_pool_options){.size = HOLDER});
        return gomem_pool_get(pool);
    default: return gomem_arena_alloc(&arena, HOLDER);
    }
}

ALIVE_NOINLINE static void hold_in(enum way way, uintptr_t hidden) {
    ALIVE_DEEP;
    volatile uintptr_t *words = take(way);
    if (!CHECK(words != NULL)) return;
    reachable[way] = (void *)(uintptr_t)words;
    volatile uintptr_t word = 0;
    alive_put(&word, hidden, 0);
    if (way == PACKED)
        memcpy(&((struct packed *)(uintptr_t)words)->pointer, (void *)(uintptr_t)&word,
               sizeof word);
    else alive_put(&words[PLACE], hidden, 0);
    word = 0;
    gap[0] = 1;
}

static enum way way_now;
static void one_way(void) {
    set_lost();
    CHECK(alive_scatter(&set));
    hold_in(way_now, set.hidden[0]);
    alive_gc();
}

TEST(says_what_kind_of_memory_holds_it) {
    static const struct {
        enum way way;
        const char *only, *holder;
    } ways[] = {
        {PACKED, "only an unaligned word holds", " offset 4 of the "},
        {NOSCAN, "only noscan memory holds", "-byte noscan object at 0x"},
        {NOSCAN_LARGE, "only noscan memory holds", "-byte noscan object at 0x"},
        {ROOT_PLAIN, "only noscan memory holds", "-byte uncollectable noscan object at 0x"},
        {TYPED, "only a word that its type does not name", "-byte typed object at 0x"},
        {POOL, "only a pool holds", "-byte slab of a pool at 0x"},
        {ARENA, "only an arena holds", "-byte block of an arena at 0x"},
    };
#if defined TEST_ASAN || defined TEST_TSAN
    SKIP("the sanitizers leave words that keep single objects");
#endif
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct child child;
        way_now = ways[i].way;
        check_lines(&child, one_way, 1);
        says(&child, "gomem: lost: ");
        if (ways[i].way >= NOSCAN && ways[i].way < POOL) says(&child, "object; offset 16 of the ");
        says(&child, ways[i].only);
        says(&child, ways[i].holder);
    }
}

// A holder that dies with its object is no place, nor is a word that the type names.
ALIVE_NOINLINE static void hold_rightly(void) {
    ALIVE_DEEP;
    struct half *half = GOMEM_NEW_TYPED(struct half, &half_type);
    void *volatile *dying = gomem_new_noscan(HOLDER);
    if (!CHECK(half && dying)) return;
    reachable[0] = half;
    alive_put((volatile uintptr_t *)&half->named, set.hidden[0], 0);
    alive_put((volatile uintptr_t *)&dying[PLACE], set.hidden[1], 0);
    gap[0] = 1;
}

static void right(void) {
    set_lost();
    CHECK(alive_scatter(&set));
    for (int i = 0; i < 100; i++) CHECK(gomem_new_noscan(HOLDER) != NULL); // slots below
    hold_rightly();
    alive_gc();
}

TEST(holders_that_are_right_or_die) {
    struct child child;
    check_lines(&child, right, 0);
}

static void off(void) {
    setenv("GOMEM_DEBUG", "lost=0", 1);
    CHECK(alive_scatter(&set));
    hold(0, HOLDER, set.hidden[0], 0);
    alive_gc();
}

static void off_by_default(void) {
    unsetenv("GOMEM_DEBUG");
    CHECK(alive_scatter(&set));
    hold(0, HOLDER, set.hidden[0], 0);
    alive_gc();
}

static void kept_by_a_root(void) {
    set_lost();
    CHECK(alive_chain(&set));
    for (size_t i = 0; i < 20; i++) hold(i, HOLDER, set.hidden[i], 0);
    kept = alive_show(set.hidden[0]);
    alive_gc();
    alive_gc();
    CHECK_EQ(alive_count(&set), ALIVE_N);
}

static void holders_were_freed(void) {
    set_lost();
    CHECK(alive_scatter(&set));
    for (size_t i = 0; i < 20; i++) hold(i, HOLDER, set.hidden[i], 0);
    for (size_t i = 0; i < 10; i++) hold(20 + i, 100000, set.hidden[i], 0);
    for (size_t i = 0; i < 30; i++) release(i);
    alive_gc();
}

static void objects_were_freed(void) {
    set_lost();
    CHECK(alive_scatter(&set));
    for (size_t i = 0; i < 20; i++) {
        hold(i, HOLDER, set.hidden[i], 0);
        gomem_free(alive_show(set.hidden[i]));
    }
    alive_gc();
}

static void words_without_objects(void) {
    static int number;
    set_lost();
    CHECK(gomem_new(10) != NULL);
    hold(0, HOLDER, alive_hide(&number), 0);
    hold(1, HOLDER, alive_hide((void *)(uintptr_t)12345), 0);
    void *manual = gomem_malloc(10);
    hold(2, HOLDER, alive_hide(manual), 0);
    alive_gc();
    gomem_free(manual);
}

TEST(silent) {
    struct child child;
    check_lines(&child, off, 0);
    check_lines(&child, off_by_default, 0);
    check_lines(&child, kept_by_a_root, 0);
    check_lines(&child, holders_were_freed, 0);
    check_lines(&child, objects_were_freed, 0);
    check_lines(&child, words_without_objects, 0);
}

static void many_places(void) {
    set_lost();
    CHECK(alive_scatter(&set));
    for (size_t i = 0; i < 40; i++) hold(i, HOLDER, set.hidden[i], 0);
    alive_gc();
}

TEST(few_lines) {
    struct child child;
    size_t more = 0;
    check_lines(&child, many_places, 11);
    const char *told = strstr(child.text, " more places");
    REQUIRE(told != NULL);
    while (told[-1] != ' ') told--;
    more = strtoul(told, NULL, 10);
    CHECK(more > 20 && more <= 30); // some objects may be kept by accident
}

ALIVE_NOINLINE static void make_kinds(uintptr_t hidden[4]) {
    ALIVE_DEEP;
    hidden[0] = alive_hide(gomem_new_noscan(200));
    hidden[1] = alive_hide(GOMEM_NEW_TYPED(struct wide, &wide_type));
    hidden[2] = alive_hide(gomem_new(300000));
    hidden[3] = alive_hide(gomem_new_noscan(300000));
    gap[0] = 1;
}

// Objects of all kinds, by interior pointers, held by small and large holders.
static void all_kinds(void) {
    static uintptr_t hidden[4];
    set_lost();
    make_kinds(hidden);
    hold(0, HOLDER, hidden[0], 11);
    hold(1, 5000, hidden[1], 8);
    hold(2, 200000, hidden[2], 200001);
    hold(3, 32, hidden[3], 0);
    alive_gc();
}

TEST(kinds) {
    struct child child;
#if defined TEST_ASAN || defined TEST_TSAN
    SKIP("the sanitizers leave words that keep single objects");
#endif
    check_lines(&child, all_kinds, 4);
    says(&child, "a 208-byte noscan object; offset 16 of the 64-byte");
    says(&child, "a 32-byte typed object; offset 16 of the 5376-byte");
    says(&child, "a 300016-byte scanned object; offset 16 of the 200000-byte");
    says(&child, "a 300016-byte noscan object; offset 16 of the 32-byte");
}

static size_t warned;

static void count_warning(const char *line, void *user) {
    (void)user;
    warned += strstr(line, "lost") != NULL;
    gomem_free(gomem_new(100)); // a callback may use the heap
}

static void by_callback(void) {
    gomem_options options = {.warn = count_warning};
    set_lost();
    CHECK(gomem_init(&options) && alive_scatter(&set));
    hold(0, HOLDER, set.hidden[0], 0);
    alive_gc();
    CHECK_EQ(warned, 1);
    alive_gc();
    CHECK(warned <= 2); // its slot may hold another object by now
}

TEST(goes_to_the_callback) {
    struct child child;
    check_lines(&child, by_callback, 0);
}

TEST_MAIN
