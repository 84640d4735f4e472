// A small test harness: tests register themselves and run in the order of the file.
//
//     #include "test.h"
//     TEST(addition) { CHECK(1 + 1 == 2); CHECK_EQ(1 + 1, 2); }
//     TEST_MAIN
//
// CHECK and CHECK_EQ note a failure and go on; REQUIRE leaves the test; SKIP("why") leaves it and
// is counted apart. The program's argument is a substring: only tests with such a name run. Its
// last line is `N passed, N failed, N skipped`; it exits with 1 when something failed.
// Checks may be made on any thread. Before each test its name is printed, so that the log of a
// crashed program ends with the test that crashed.
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEST_I_UNUSED __attribute__((unused))

// Defined when built with a sanitizer that a test must know of.
#if defined __SANITIZE_THREAD__
#define TEST_TSAN
#elif defined __SANITIZE_ADDRESS__
#define TEST_ASAN
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define TEST_TSAN
#elif __has_feature(address_sanitizer)
#define TEST_ASAN
#endif
#endif

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_first TEST_I_UNUSED;
static struct test **test_link TEST_I_UNUSED = &test_first;
static int test_failures TEST_I_UNUSED;        // failed checks of the running test, atomic: relaxed
static const char *test_skipped TEST_I_UNUSED; // why the running test left early

#define TEST(title)                                                           \
    static void test_run_##title(void);                                       \
    static struct test test_entry_##title = {#title, test_run_##title, NULL}; \
    __attribute__((constructor)) static void test_register_##title(void) {    \
        *test_link = &test_entry_##title;                                     \
        test_link = &test_entry_##title.next;                                 \
    }                                                                         \
    static void test_run_##title(void)

// Failed checks so far, on all threads of this process.
TEST_I_UNUSED static int test_failed(void) {
    return __atomic_load_n(&test_failures, __ATOMIC_RELAXED);
}

// Counts a failure; the first ten of a test are told in full.
TEST_I_UNUSED static void test_fail(const char *file, int line, const char *what) {
    if (__atomic_fetch_add(&test_failures, 1, __ATOMIC_RELAXED) < 10) {
        printf("\n    %s:%d: %s", file, line, what);
        fflush(stdout);
    }
}

TEST_I_UNUSED static bool test_check(bool good, const char *file, int line, const char *what) {
    if (!good) test_fail(file, line, what);
    return good;
}

TEST_I_UNUSED static bool test_check_eq(intmax_t a, intmax_t b, const char *file, int line,
                                        const char *what) {
    if (a == b) return true;
    char text[320];
    snprintf(text, sizeof text, "%s: %jd (0x%jx) is not %jd (0x%jx)", what, a, (uintmax_t)a, b,
             (uintmax_t)b);
    test_fail(file, line, text);
    return false;
}

// The pointer, of which the compiler now knows nothing: for what it would warn about.
TEST_I_UNUSED static void *test_opaque(void *p) {
    void *volatile hidden = p;
    return hidden;
}

#define CHECK(c)       test_check((c), __FILE__, __LINE__, "CHECK(" #c ")")
#define CHECK_EQ(a, b) test_check_eq((intmax_t)(a), (intmax_t)(b), __FILE__, __LINE__, #a " == " #b)
#define REQUIRE(c)                                                           \
    do {                                                                     \
        if (!test_check((c), __FILE__, __LINE__, "REQUIRE(" #c ")")) return; \
    } while (0)
#define SKIP(why)             \
    do {                      \
        test_skipped = (why); \
        return;               \
    } while (0)

TEST_I_UNUSED static int test_main(int argc, char **argv) {
    const char *filter = argc > 1 ? argv[1] : "";
    int passed = 0, failed = 0, skipped = 0;
    for (struct test *t = test_first; t != NULL; t = t->next) {
        if (strstr(t->name, filter) == NULL) continue;
        printf("%s ... ", t->name);
        fflush(stdout);
        __atomic_store_n(&test_failures, 0, __ATOMIC_RELAXED);
        test_skipped = NULL;
        t->run();
        int failures = test_failed();
        if (failures > 0) {
            failed++;
            printf("\nFAIL %s: %d failed checks\n", t->name, failures);
        } else if (test_skipped != NULL) {
            skipped++;
            printf("\nSKIP %s: %s\n", t->name, test_skipped);
        } else {
            passed++;
            printf("ok\n");
        }
        fflush(stdout);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed > 0;
}

// The heap is whole; a collection has run. On a busy machine both may be refused, since a thread that was
// just created has not run for a second, or one that holds the loader's lock has not: then they are asked
// again, for a minute at most.
#define HEAP_IS_WHOLE() test_not_refused(gomem_verify)
#define COLLECTED()     test_not_refused(gomem_gc)

TEST_I_UNUSED static bool test_not_refused(bool (*call)(void)) {
    time_t end = time(NULL) + 60;
    do {
        errno = 0;
        if (call()) return true;
    } while (errno == EAGAIN && time(NULL) < end);
    return false;
}

#define TEST_MAIN \
    int main(int argc, char **argv) { return test_main(argc, argv); }

#endif
