// A hard limit: above it allocation returns NULL with ENOMEM, after an emergency collection, whatever
// is allocated. Each test is a child of a parent that never uses the heap.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <fcntl.h>

enum { MIB = 1024 * 1024, LIMIT = 64 };

struct node {
    struct node *next;
    char body[];
};

static size_t resident(void) { // MiB
    char text[128] = "";
    int fd = open("/proc/self/statm", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    char *at = text;
    if (n > 0) (void)strtoul(at, &at, 10);
    return strtoul(at, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) / MIB;
}

static void *make_collected(size_t size) { return gomem_new(size); }
static void *make_noscan(size_t size) { return gomem_new_noscan(size); }
static void *make_manual(size_t size) { return gomem_malloc(size); }

// Allocates and writes until NULL; returns MiB.
ALIVE_NOINLINE static size_t fill(void *(*make)(size_t size), size_t size, bool drop) {
    struct node *list = NULL, *node;
    size_t bytes = 0;
    errno = 0;
    while (bytes < (size_t)LIMIT * 2 * MIB && (node = make(size)) != NULL) {
        memset(node->body, 1, size - sizeof *node);
        node->next = make == make_noscan ? NULL : list;
        list = node;
        bytes += size;
    }
    CHECK(bytes >= (size_t)LIMIT * 2 * MIB || errno == ENOMEM);
    CHECK(resident() < LIMIT + 24);
    for (struct node *next; drop && list; list = next) {
        next = list->next;
        gomem_free(list);
    }
    return bytes / MIB;
}

static void limited(void) {
    gomem_options options = {.hard_limit = (size_t)LIMIT * MIB};
    REQUIRE(gomem_init(&options));
    options.hard_limit = (size_t)LIMIT * MIB * 2;
    CHECK(!gomem_init(&options) && errno == EALREADY);
}

static void each_kind(void) {
    static const size_t sizes[] = {64, 1000, 20000, 300000, 8 * MIB};
    limited();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t least = sizes[i] < MIB ? LIMIT / 2 : LIMIT / 4;
        size_t n = fill(make_manual, sizes[i], true);
        CHECK(n >= least && n <= LIMIT);
        n = fill(make_collected, sizes[i], false); // garbage when it returns
        CHECK(n >= least && n <= LIMIT);
        alive_gc();
    }
    CHECK(gomem_malloc((size_t)LIMIT * 2 * MIB) == NULL);
    CHECK(GOMEM_MAKE(char, (size_t)LIMIT * 2 * MIB) == NULL);
    CHECK(HEAP_IS_WHOLE());
}

TEST(above_it_allocation_fails) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers keep memory of their own");
#endif
    CHILD_GOOD(each_kind);
}

static void seven_eighths(void) {
    limited();
    CHECK_EQ(gomem_set_memory_limit(0), (size_t)LIMIT * MIB / 8 * 7);
}

static void its_own(void) {
    gomem_options options = {.hard_limit = (size_t)LIMIT * MIB, .memory_limit = 20 * MIB};
    REQUIRE(gomem_init(&options));
    CHECK_EQ(gomem_set_memory_limit(0), 20 * MIB);
}

// Without a limit of their own, collections keep to 7/8 of it.
TEST(collections_keep_below_it) {
    CHILD_GOOD(seven_eighths);
    CHILD_GOOD(its_own);
}

static void garbage(void) {
    limited();
    for (int i = 0; i < 4000; i++) {
        CHECK(gomem_new(100000) != NULL);
        CHECK(gomem_new_noscan(200000) != NULL);
        void *p = gomem_malloc(300000);
        CHECK(p != NULL);
        gomem_free(p);
    }
    CHECK(fill(make_noscan, 500000, false) >= LIMIT * 2); // nothing holds them
}

TEST(garbage_is_collected_before) { CHILD_GOOD(garbage); }

typedef struct piece {
    char bytes[5000];
} piece;
GOMEM_POOL(pieces, piece);

static void pools_and_arenas(void) {
    limited();
    size_t n = 0;
    for (piece *p; n < 2 * LIMIT * MIB / sizeof *p && (p = pieces_get()) != NULL; n++)
        memset(p, 1, sizeof *p);
    CHECK(n * sizeof(piece) >= LIMIT / 2 * MIB && n * sizeof(piece) <= LIMIT * MIB);
    CHECK(resident() < LIMIT + 24);
    gomem_pool_destroy(GOMEM_POOL_OF(pieces));
    gomem_arena arena = {0};
    for (n = 0; n < 2 * LIMIT && gomem_arena_alloc(&arena, MIB) != NULL; n++) continue;
    CHECK(n >= LIMIT / 4 && n <= LIMIT);
    gomem_arena_free(&arena);
    CHECK(fill(make_manual, 1000, true) >= LIMIT / 2);
}

TEST(pools_and_arenas_too) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers keep memory of their own");
#endif
    CHILD_GOOD(pools_and_arenas);
}

static void from_environment(void) {
    setenv("GOMEM_HARDLIMIT", "64MiB", 1);
    size_t n = fill(make_manual, 1000, true);
    CHECK(n >= LIMIT / 2 && n <= LIMIT);
}

TEST(environment) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers keep memory of their own");
#endif
    CHILD_GOOD(from_environment);
}

TEST_MAIN
