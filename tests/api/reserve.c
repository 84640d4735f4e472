// GOMEM_RESERVE and options.reserve: the most address space that the heap may have. Each test is a
// child of a parent that never uses the heap.
#define _GNU_SOURCE
#include "child.h"
#include "gomem.h"

#include <sys/resource.h>

enum { MIB = 1 << 20, ENOUGH = 400 }; // so many MiB are got where nothing limits them

static const char *reserve;  // GOMEM_RESERVE of the child
static size_t option, limit; // MiB, 0: none
static size_t least, most;   // MiB that it must get

static void begin(void) {
    struct rlimit space = {limit * MIB, limit * MIB};
    if (reserve) setenv("GOMEM_RESERVE", reserve, 1);
    if (limit) REQUIRE(setrlimit(RLIMIT_AS, &space) == 0);
    REQUIRE(gomem_init(&(gomem_options){.reserve = option * MIB}));
}

// Bytes of either heap, and of both in turn, until NULL.
static void fill(void) {
    begin();
    for (unsigned kind = 0; kind < 3; kind++) {
        void **lists[2] = {NULL, NULL},
             **next; // collected, manual: the one does not keep the other
        size_t n = 0;
        errno = 0;
        for (; n < ENOUGH; n++) {
            bool manual = kind == 0 || (kind == 2 && n % 2);
            next = manual ? gomem_malloc(MIB) : gomem_new(MIB);
            if (!next) break;
            *next = lists[manual];
            lists[manual] = next;
        }
        CHECK(n == ENOUGH || errno == ENOMEM);
        if (!CHECK(n >= least && n <= most)) printf("kind %u: %zu MiB", kind, n);
        for (unsigned i = 0; i < 2; i++)
            for (; lists[i]; lists[i] = next) next = *lists[i], gomem_free(lists[i]);
        gomem_gc();
        CHECK(HEAP_IS_WHOLE());
    }
}

static void gets(const char *text, size_t in_options, size_t limit_is, size_t from, size_t to) {
    struct child child;
    reserve = text, option = in_options, limit = limit_is, least = from, most = to;
    child_run(&child, fill);
    child_good(&child);
    if (!CHECK_EQ(child_lines(&child), 0)) printf("\n    it said: %s", child.text);
}

TEST(is_what_the_heap_gets) {
    gets("64MiB", 0, 0, 40, 64);
    gets("67108864", 0, 0, 40, 64);
    gets("300MiB", 0, 0, 256, 304);
    gets(NULL, 64, 0, 40, 64);
    gets("64MiB", 128, 0, 110, 128); // options win
    gets("off", 0, 0, ENOUGH, ENOUGH);
    gets("", 0, 0, ENOUGH, ENOUGH);
    gets("1TiB", 0, 0, ENOUGH, ENOUGH);
}

TEST(tiny) {
    gets("1", 0, 0, 1, 8);
    gets("1KiB", 0, 0, 1, 8);
    gets("8MiB", 0, 0, 1, 8);
}

// More than a slot of a heap that grows: it is reserved at once, as much of it as there is.
TEST(huge) {
    gets("4TiB", 0, 0, ENOUGH, ENOUGH);
    gets("4000000TiB", 0, 0, ENOUGH, ENOUGH);
}

TEST(under_a_limit) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers need address space of their own");
#endif
    gets("64MiB", 0, 300, 40, 64);
    gets("1GiB", 0, 300, 225, 300);
    gets("1TiB", 0, 300, 225, 300);
    gets("4000000TiB", 0, 300, 225, 300);
}

static void use(void) {
    begin();
    CHECK(gomem_malloc(100) != NULL && gomem_new(100) != NULL);
}

TEST(bad_values_are_named) {
    static const char *const bad[] = {"much", "-1", "1XiB", "MiB", "99999999TiB", "auto", "1 GiB"};
    struct child child;
    option = limit = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        reserve = bad[i];
        child_run(&child, use);
        child_good(&child);
        if (!CHECK_EQ(child_lines(&child), 1)) printf("\n    %s: %s", bad[i], child.text);
        CHECK(strstr(child.text, "GOMEM_RESERVE") && strstr(child.text, bad[i]));
        CHECK(strstr(child.text, "KiB, MiB, GiB or TiB") && !strstr(child.text, "auto, off"));
    }
}

TEST_MAIN
