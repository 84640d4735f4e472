// Forked children: each begins with a process that has not used gomem yet (as long as the parent
// has not), so options, environment and death can be tested from one program.
#ifndef CHILD_H
#define CHILD_H

#include "test.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    int status;      // as of waitpid
    char text[8192]; // what it wrote to standard error, cut
};

// Runs fn in a child and collects its standard error. Status 0: fn returned and nothing failed.
TEST_I_UNUSED static void child_run(struct child *child, void (*fn)(void)) {
    int ends[2];
    memset(child, 0, sizeof *child);
    child->status = -1;
    fflush(stdout);
    if (!CHECK(pipe(ends) == 0)) return;
    pid_t pid = fork();
    if (!CHECK(pid >= 0)) return;
    if (pid == 0) {
        __atomic_store_n(&test_failures, 0, __ATOMIC_RELAXED);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        fn();
        fflush(stdout);
        exit(test_failed() > 0);
    }
    close(ends[1]);
    size_t used = 0;
    for (;;) {
        char rest[512];
        bool room = used < sizeof child->text - 1;
        ssize_t n = room ? read(ends[0], child->text + used, sizeof child->text - 1 - used)
                         : read(ends[0], rest, sizeof rest);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        if (room) used += (size_t)n;
    }
    close(ends[0]);
    while (waitpid(pid, &child->status, 0) < 0 && errno == EINTR) continue;
}

// Is memory watched? By AddressSanitizer, or, at check level 1, by a valgrind that ends a process
// which touched what it must not with a status of its own (tests/sanitize.sh).
TEST_I_UNUSED static bool child_is_watched(void) {
#if GOMEM_I_POISONED
    return true;
#elif GOMEM_CHECK >= 1
    return getenv("VALGRIND") != NULL;
#else
    return false;
#endif
}
// Writing to p is noticed.
TEST_I_UNUSED static bool child_caught(volatile char *p) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr);
        close(2);
        *p = 1;
        _exit(0);
    }
    return waitpid(child, &status, 0) == child && status != 0;
}

// The lines that it wrote, but those that tell of a long stop: they depend on how busy the machine is.
TEST_I_UNUSED static size_t child_lines(const struct child *child) {
    size_t lines = 0;
    for (const char *s = child->text, *end; (end = strchr(s, '\n')) != NULL; s = end + 1)
        lines += strncmp(s, "gomem: the program was stopped for ", 35) != 0;
    return lines;
}

// The child ended well; else its words are shown.
TEST_I_UNUSED static bool child_good(const struct child *child) {
    if (CHECK_EQ(child->status, 0)) return true;
    printf("\n    the child said: %s", child->text);
    return false;
}

// Bytes of this process that are in memory.
TEST_I_UNUSED static size_t child_resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

// ThreadSanitizer lets no thread start in a child of a process that had several.
#ifdef TEST_TSAN
#define NEEDS_FORK SKIP("ThreadSanitizer does not follow fork of a process with threads")
#else
#define NEEDS_FORK (void)0
#endif

// No guards: under sanitizers, on 32 bits and without reports.
#if defined(TEST_TSAN) || defined(TEST_ASAN) || defined(GOMEM_NO_REPORT)
#define NEEDS_GUARDS SKIP("this build has no guards")
#else
#define NEEDS_GUARDS \
    if (sizeof(void *) < 8 || child_is_watched()) SKIP("this build has no guards")
#endif

#define CHILD_GOOD(fn)           \
    do {                         \
        struct child child_i;    \
        child_run(&child_i, fn); \
        child_good(&child_i);    \
    } while (0)

#endif
