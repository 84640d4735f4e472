// Descriptors: the program closes numbers that it does not know and takes them for its own files.
// Collections go on, and its files stay open and where they were. Each test is a child of a parent
// that never uses the heap.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { FIRST = 3, LAST = 90 }; // numbers that the program takes

static struct alive_set kept;
static uintptr_t root;
static int (*open_file)(void);
static long position; // where the program's files stand

static int open_regular(void) { return open("/proc/self/exe", O_RDONLY); }
static int open_pagemap(void) { return open("/proc/self/pagemap", O_RDONLY); }
static int open_pagemap_of_parent(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/pagemap", (int)getppid());
    return open(path, O_RDONLY);
}
static int open_maps(void) { return open("/proc/self/maps", O_RDONLY); }
static int open_directory(void) { return open("/proc/self/fd", O_RDONLY | O_DIRECTORY); }
static int open_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
static int open_tracker(void) { return (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1); }
static int open_null(void) { return open("/dev/null", O_RDWR); }

static uint64_t cycles(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m.num_gc;
}

// Makes garbage and writes to what lives while cycles run.
static void collect(int n) {
    uint64_t before = cycles();
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < 50000; k++) CHECK(GOMEM_NEW(struct alive_node) != NULL);
        gomem_gc();
    }
    CHECK(cycles() >= before + (uint64_t)n);
    CHECK_EQ(alive_count(&kept), ALIVE_N);
}

static void begin(void) {
    REQUIRE(alive_chain(&kept));
    alive_put(&root, kept.hidden[0], 0);
    collect(2);
}

// Takes every number from FIRST on; whatever stood there is closed.
static void take_numbers(void) {
    for (int i = FIRST; i < LAST; i++) {
        int fd = open_file();
        if (fd >= 0 && fd != i) {
            (void)dup2(fd, i);
            if (fd < FIRST || fd >= LAST) (void)close(fd);
        }
        if (position && lseek(i, position, SEEK_SET) != position) position = 0;
    }
}

static void check_numbers(void) {
    for (int i = FIRST; i < LAST; i++) {
        CHECK(fcntl(i, F_GETFD) >= 0);
        if (position) CHECK_EQ(lseek(i, 0, SEEK_CUR), position);
    }
}

static void closed_and_taken(void) {
    begin();
    for (int i = FIRST; i < 1024; i++) (void)close(i);
    take_numbers();
    collect(4);
    check_numbers();
}

static void dup2_over(void) {
    begin();
    take_numbers();
    collect(4);
    check_numbers();
}

static void each_kind(long at) {
    static int (*const kinds[])(void) = {open_regular, open_pagemap,   open_pagemap_of_parent,
                                         open_maps,    open_directory, open_socket,
                                         open_tracker, open_null};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        int fd = kinds[i]();
        if (fd < 0) continue; // not here
        (void)close(fd);
        open_file = kinds[i];
        position = at;
        CHILD_GOOD(closed_and_taken);
        position = at;
        CHILD_GOOD(dup2_over);
    }
}

TEST(numbers_are_taken) { each_kind(0); }
TEST(files_stay_where_they_are) { each_kind(16); }

static void close_all(void) {
    begin();
    for (int round = 0; round < 3; round++) {
        for (int i = FIRST; i < 1024; i++) (void)close(i);
        collect(2);
    }
}

TEST(all_are_closed_again_and_again) { CHILD_GOOD(close_all); }

// What close_range with CLOSE_RANGE_CLOEXEC does: nothing is lost.
static void set_cloexec(void) {
    begin();
    for (int i = FIRST; i < 1024; i++) (void)fcntl(i, F_SETFD, FD_CLOEXEC);
    collect(3);
}

TEST(close_on_exec) { CHILD_GOOD(set_cloexec); }

static void few_numbers(void) {
    struct rlimit limit = {16, 16};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    begin();
    for (int i = 0; i < 100; i++) (void)open_null(); // until EMFILE
    collect(3);
    for (int i = FIRST; i < 16; i++) (void)close(i);
    open_file = open_null;
    for (int i = FIRST; i < 16; i++) CHECK(open_null() >= 0);
    collect(3);
    for (int i = FIRST; i < 16; i++) CHECK(fcntl(i, F_GETFD) >= 0);
}

TEST(limit_of_descriptors) { CHILD_GOOD(few_numbers); }

static void no_numbers(void) {
    struct rlimit limit = {FIRST, FIRST};
    begin();
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int i = FIRST; i < 1024; i++) (void)close(i);
    collect(3);
}

TEST(no_descriptors_at_all) { CHILD_GOOD(no_numbers); }

static void child_closes(void) {
    begin();
    open_file = open_regular;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (!child) {
        for (int i = FIRST; i < 1024; i++) (void)close(i);
        take_numbers();
        collect(3);
        check_numbers();
        _exit(test_failed() > 0);
    }
    collect(3); // the child's collections are not the parent's
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    collect(1);
}

TEST(a_child_closes_all_and_collects) {
    NEEDS_FORK;
    CHILD_GOOD(child_closes);
}

static uint64_t reason(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m.collector_reason;
}

// Closes every number, and leaves copies open far up.
static void moved_away(void) {
    begin();
    uint64_t before = reason();
    for (int i = FIRST; i < 100; i++) {
        if (fcntl(i, F_GETFD) >= 0) (void)fcntl(i, F_DUPFD, 200);
        (void)close(i);
    }
    collect(4);
    CHECK_EQ(reason(), before);
}

static void forked_before(void) {
    int ends[2];
    begin();
    uint64_t before = reason();
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork(); // it has a copy of each descriptor
    REQUIRE(child >= 0);
    if (!child) {
        char byte;
        (void)close(ends[1]);
        _exit(read(ends[0], &byte, 1) != 0);
    }
    int hold = fcntl(ends[1], F_DUPFD, 2000);
    if (hold < 0) hold = dup2(ends[1], LAST);
    for (int i = FIRST; i < LAST; i++) (void)close(i);
    open_file = open_regular;
    take_numbers();
    collect(4);
    check_numbers();
    CHECK_EQ(reason(), before);
    (void)close(hold);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    collect(3); // the last copy is gone
    CHECK_EQ(reason(), before);
}

// What closed numbers stood for stays alive in a copy: writes are tracked as before.
TEST(copies_are_open_elsewhere) {
    NEEDS_FORK;
    CHILD_GOOD(moved_away);
    CHILD_GOOD(forked_before);
}

// While cycles run, another thread closes and opens all the time, as daemons and shells do.
static atomic_bool done;

static void *shuffle(void *arg) {
    while (!atomic_load(&done)) {
        for (int i = 20; i < 64; i++) (void)close(i);
        for (int i = 20; i < 64; i++) {
            int fd = open_null();
            if (fd >= 0 && fd < 20) (void)close(fd);
        }
    }
    return arg;
}

static void closed_meanwhile(void) {
    pthread_t thread;
    begin();
    REQUIRE(pthread_create(&thread, NULL, shuffle, NULL) == 0);
    collect(20);
    atomic_store(&done, true);
    REQUIRE(pthread_join(thread, NULL) == 0);
    collect(2);
}

TEST(closed_while_a_cycle_runs) { CHILD_GOOD(closed_meanwhile); }

TEST_MAIN
