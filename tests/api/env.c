// The environment: GOMEM_GOGC and GOMEM_DEBUG, right and wrong. The parent never uses the heap.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <regex.h>

enum { MB = 1 << 20 };

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

static const char *gogc, *debug;

static void set_environment(void) {
    if (gogc != NULL) setenv("GOMEM_GOGC", gogc, 1);
    else unsetenv("GOMEM_GOGC");
    if (debug != NULL) setenv("GOMEM_DEBUG", debug, 1);
    else unsetenv("GOMEM_DEBUG");
}

static void use(void) {
    set_environment();
    CHECK(gomem_new(100) != NULL);
    gomem_free(gomem_malloc(100));
    gomem_gc();
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// Runs a child under these settings; it ends well and says so many lines.
static void check_lines(struct child *child, const char *gogc_is, const char *debug_is,
                        size_t lines) {
    gogc = gogc_is;
    debug = debug_is;
    child_run(child, use);
    child_good(child);
    if (!CHECK_EQ(child_lines(child), lines)) printf("\n    it said: %s", child->text);
}

static bool says(const struct child *child, const char *word) {
    return strstr(child->text, word) != NULL;
}

TEST(silent_by_default) {
    struct child child;
    check_lines(&child, NULL, NULL, 0);
    check_lines(&child, "", "", 0);
    check_lines(&child, "100", "verify=1", 0);
    check_lines(&child, "off", "collector=stw", 0);
}

TEST(unknown_key) {
    struct child child;
    check_lines(&child, NULL, "nonsense=1", 1);
    CHECK(says(&child, "GOMEM_DEBUG") && says(&child, "nonsense"));
    CHECK(says(&child, "gctrace") && says(&child, "collector") && says(&child, "verify"));
    CHECK(says(&child, "stats") && says(&child, "poison") && says(&child, "lost"));
    check_lines(&child, NULL, "verify=1,nonsense=1", 1);
    CHECK(says(&child, "nonsense"));
    check_lines(&child, NULL, "GCTRACE=1", 1);
    check_lines(&child, NULL, "gctracer=1", 1);
    check_lines(&child, NULL, "gctrac=1", 1);
}

TEST(bad_values) {
    static const char *const bad[] = {"gctrace=banana",  "gctrace=",   "verify=-1",
                                      "collector=quick", "collector=", "stats=yes1",
                                      "lost=2",          "=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct child child;
        check_lines(&child, NULL, bad[i], 1);
        CHECK(says(&child, "GOMEM_DEBUG"));
    }
}

TEST(collectors) {
    struct child child;
    check_lines(&child, NULL, "collector=barrier", 0);
    check_lines(&child, NULL, "collector=stw", 0);
    check_lines(&child, NULL, "collector=go", 1);
    CHECK(says(&child, "collector") && says(&child, "tracked|barrier|stw"));
}

// A warning that is too long for any buffer, or has strange bytes, stays one line.
TEST(strange_settings) {
    static char text[20000];
    struct child child;
    memset(text, 'x', sizeof text - 1);
    check_lines(&child, NULL, text, 1);
    check_lines(&child, NULL, ",,,,", 0);
    memset(text, ',', sizeof text - 1);
    check_lines(&child, NULL, text, 0);
    check_lines(&child, NULL, "no\nsense\x01\xff=1", 1);
    check_lines(&child, "99999999999999999999999", NULL, 1);
}

TEST(bad_gogc) {
    static const char *const bad[] = {"abc", "-5", "10x", "1e3", "0x10", " 5 5"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct child child;
        check_lines(&child, bad[i], NULL, 1);
        CHECK(says(&child, "GOMEM_GOGC"));
    }
}

static void gogc_is_37(void) {
    set_environment();
    CHECK(gomem_new(100) != NULL);
    CHECK_EQ(gomem_set_gc_percent(100), 37);
}

static void gogc_is_off(void) {
    set_environment();
    for (int i = 0; i < 100000; i++) CHECK(gomem_new(500) != NULL);
    CHECK_EQ(stats().num_gc, 0);
    CHECK_EQ(gomem_set_gc_percent(100), GOMEM_GC_OFF);
}

static void option_wins(void) {
    set_environment();
    gomem_options options = {.gc_percent = 250};
    CHECK(gomem_init(&options));
    CHECK_EQ(gomem_set_gc_percent(100), 250);
}

TEST(gogc_values) {
    debug = NULL;
    gogc = "37";
    CHILD_GOOD(gogc_is_37);
    CHILD_GOOD(option_wins);
    gogc = "off";
    CHILD_GOOD(gogc_is_off);
}

static void collector_is_stw(void) {
    set_environment();
    gomem_gc();
    CHECK_EQ(stats().collector, GOMEM_GC_STW);
}

static void collector_of_the_options(void) {
    set_environment();
    gomem_options options = {.collector = GOMEM_GC_BARRIER};
    CHECK(gomem_init(&options) && gomem_new(16) != NULL);
    CHECK_EQ(stats().collector, GOMEM_GC_BARRIER);
}

TEST(collector_by_name) {
    gogc = NULL;
    debug = "collector=stw";
    CHILD_GOOD(collector_is_stw);
    CHILD_GOOD(collector_of_the_options);
}

static void litter_and_collect(void) {
    set_environment();
    for (int i = 0; i < 40000; i++) {
        char *p = gomem_new(1000);
        if (!CHECK(p != NULL)) return;
        p[0] = 1;
    }
    gomem_gc();
    for (int tries = 0; tries < 60000 && stats().num_gc == 0; tries++) usleep(1000);
}

TEST(gctrace) {
    static const char shape[] =
        "^gc [0-9]+ @[0-9]+\\.[0-9]+s [0-9]+%: [0-9.]+\\+[0-9.]+\\+[0-9.]+ ms clock, "
        "[0-9.]+\\+[0-9.]+/[0-9.]+/[0-9.]+\\+[0-9.]+ ms cpu, [0-9]+->[0-9]+->[0-9]+ MB, "
        "[0-9]+ MB goal, [0-9]+ MB stacks, [0-9]+ MB globals, [0-9]+ P";
    struct child child;
    regex_t regex;
    REQUIRE(regcomp(&regex, shape, REG_EXTENDED | REG_NOSUB) == 0);
    gogc = NULL;
    debug = "gctrace=1";
    child_run(&child, litter_and_collect);
    child_good(&child);
    int number = 0;
    for (char *line = strtok(child.text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        if (!CHECK(regexec(&regex, line, 0, NULL, 0) == 0)) printf("\n    it said: %s", line);
        CHECK_EQ(strtol(line + 3, NULL, 10), ++number);
    }
    CHECK(number >= 2);
    regfree(&regex);
}

TEST(stats_at_exit) {
    struct child child;
    gogc = NULL;
    debug = "stats=1";
    child_run(&child, litter_and_collect);
    child_good(&child);
    CHECK(child_lines(&child) >= 1);
    CHECK(strpbrk(child.text, "0123456789") != NULL);
}

static void look_at_freed(void) {
    set_environment();
    unsigned char *volatile p = gomem_malloc(200), *volatile q = gomem_new_noscan(200);
    if (!CHECK(p != NULL && q != NULL)) return;
    memset(p, 0x11, 200);
    memset(q, 0x11, 200);
    uintptr_t hidden_p = alive_hide(p), hidden_q = alive_hide(q);
    gomem_free(p);
    gomem_free(q);
    const volatile unsigned char *after_p = alive_show(hidden_p), *after_q = alive_show(hidden_q);
    int same_p = 0, same_q = 0;
    for (int i = 0; i < 200; i++) {
        same_p += after_p[i] == 0x11;
        same_q += after_q[i] == 0x11;
    }
    CHECK(same_p < 20);
    CHECK(same_q < 20);
}

// Freed memory is overwritten: what is read from it is not what was there.
TEST(poison) {
    gogc = NULL;
    debug = "poison=1";
#ifdef TEST_ASAN
    SKIP("AddressSanitizer forbids the look at freed memory");
#endif
    CHILD_GOOD(look_at_freed);
    // and collected memory is zero all the same
    struct child child;
    child_run(&child, litter_and_collect);
    child_good(&child);
}

static void verify_often(void) {
    set_environment();
    static struct alive_node *volatile head;
    for (uintptr_t i = 0; i < 3000; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        if (!CHECK(node != NULL)) return;
        node->next = i % 7 == 0 ? NULL : head;
        head = node;
        if (i % 100 == 0) gomem_gc();
    }
}

TEST(verify_each_cycle) {
    gogc = NULL;
    debug = "verify=1";
    CHILD_GOOD(verify_often);
}

TEST(all_together) {
    struct child child;
    gogc = "50";
    debug = "gctrace=1,verify=1,stats=1,poison=1,collector=stw";
    child_run(&child, litter_and_collect);
    child_good(&child);
    CHECK(!says(&child, "GOMEM_DEBUG"));
}

TEST_MAIN
