// Address space that is limited (ulimit -v): the heap takes it as it grows, and leaves the rest to
// the program. Each test is a child of a parent that never uses the heap.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

static size_t limit_mib; // of the child

static void limit_space(void) {
    struct rlimit limit = {limit_mib << 20, limit_mib << 20};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

static size_t count(void *(*allocate)(size_t size)) {
    size_t n = 0;
    for (char *p; n < 4096 && (p = allocate((size_t)1 << 20)) != NULL; n++) *p = 1;
    return n;
}

static void as_much_as_libc(void) {
    int ends[2];
    size_t theirs = 0;
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        limit_space();
        theirs = count(malloc);
        _exit(write(ends[1], &theirs, sizeof theirs) != sizeof theirs);
    }
    REQUIRE(child > 0 && read(ends[0], &theirs, sizeof theirs) == sizeof theirs);
    REQUIRE(waitpid(child, NULL, 0) == child);
    limit_space();
    size_t ours = count(gomem_malloc);
    CHECK(theirs > limit_mib / 2 && theirs <= limit_mib);
    if (!CHECK(ours * 10 >= theirs * 9)) printf("%zu of %zu MiB", ours, theirs);
}

TEST(as_much_as_libc_gets) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers need address space of their own");
#endif
    static const size_t limits[] = {250, 600, 1000, 2500};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        limit_mib = limits[i];
        CHILD_GOOD(as_much_as_libc);
    }
}

static void *end_at_once(void *arg) { return arg; }

ALIVE_NOINLINE static void fill_collected(void) {
    void **list = NULL, **next;
    size_t n = 0;
    for (; (next = gomem_new((size_t)1 << 20)) != NULL; n++) *next = list, list = next;
    CHECK(n > 80);
}

ALIVE_NOINLINE static void fill_manual(void) {
    void **list = NULL, **next;
    size_t n = 0;
    for (; (next = gomem_malloc((size_t)1 << 20)) != NULL; n++) *next = list, list = next;
    CHECK(n > 80);
    for (; list; list = next) next = *list, gomem_free(list);
}

// What the heap does not use is the program's: threads and mappings.
static void left_to_the_program(void) {
    static struct alive_set kept;
    static uintptr_t root;
    limit_mib = 400;
    limit_space();
    REQUIRE(alive_chain(&kept));
    alive_put(&root, kept.hidden[0], 0);
    void *map = mmap(NULL, (size_t)200 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, end_at_once, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < 3000000; i++) CHECK(GOMEM_NEW(struct alive_node) != NULL);
    for (int round = 0; round < 3; round++) { // all that there is, collected, then manual
        alive_deep(fill_collected);
        alive_gc();
        alive_deep(fill_manual);
        CHECK_EQ(alive_count(&kept), ALIVE_N);
        CHECK(gomem_verify());
    }
}

TEST(program_has_the_rest) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers need address space of their own");
#endif
    CHILD_GOOD(left_to_the_program);
}

TEST_MAIN
