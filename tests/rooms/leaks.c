// Room leaks: lists of suppressions, groups of leaks, and libc's records of threads.
#define _GNU_SOURCE
#include "room.h"

#include <sys/mman.h>
#include <unistd.h>

#if GOMEM_I_COLLECTOR && GOMEM_I_REPORT
TEST(suppressions) {
    static const struct {
        const char *list, *name;
        bool in;
    } some[] = {{"", "f", false},
                {"f", "f", true},
                {"f", "fg", false},
                {"fg", "f", false},
                {"f*", "f", true},
                {"f*", "fgh", true},
                {"f*", "g", false},
                {"fg*", "f", false},
                {"*", "f", true},
                {"a,f,b", "f", true},
                {"a,b,f", "f", true},
                {"a,,f", "f", true},
                {"a*,f*", "fgh", true},
                {"a,b", "a,b", false},
                {"f*g", "fxg", false},
                {",", "", false},
                {"lib.so+0x1*", "lib.so+0x12", true}};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        if (!CHECK_EQ(gm_leaks_listed(some[i].list, some[i].name, strlen(some[i].name)),
                      some[i].in))
            printf("\n    \"%s\" in \"%s\"", some[i].name, some[i].list);
}

// Leaks of many sizes: those that come too late for a group of their own share the last one.
TEST(groups_of_large_objects) {
    static struct gm_leaks l;
    static const struct gm_span large = {.class = 0}, small = {.class = 7};
    struct gm_leak_group *last = &l.group[1][GOMEM_CLASSES + GM_LEAK_SIZES];
    for (size_t round = 0; round < 2; round++)
        for (size_t i = 0; i < GM_LEAK_SIZES + 5; i++) {
            struct gm_leak_group *g = gm_leaks_group(&l, &large, 0, true, 100000 + i);
            CHECK_EQ(g - &l.group[1][GOMEM_CLASSES + 1], GM_MIN(i, (size_t)GM_LEAK_SIZES - 1));
            if (g != last) CHECK(!round || g->size == 100000 + i);
            g->size = g == last ? 0 : 100000 + i;
        }
    CHECK(gm_leaks_group(&l, &large, 0, false, 100001) == &l.group[0][GOMEM_CLASSES + 1]);
    CHECK(gm_leaks_group(&l, &small, 0, false, 50) == &l.group[0][7]);
    CHECK(gm_leaks_group(&l, &small, 0, true, 50) == &l.group[1][7]);
}

// The largest groups have a line each; of the others there is a number.
TEST(many_groups) {
    enum { MANY = GM_LEAK_TOLD + 6 };
    static struct gm_leaks l;
    static struct gm_leak_group groups[MANY];
    static char text[16384];
    struct gm_writer w;
    int fd = memfd_create("leaks", 0);
    REQUIRE(fd >= 0);
    for (size_t i = 0; i < MANY; i++) {
        groups[i] = (struct gm_leak_group){.next = l.groups, .size = 8, .count = 1};
        groups[i].bytes = 1000 + i * 7 % MANY;
        l.groups = &groups[i];
        l.count[0]++;
    }
    gm_writer_begin(&w, fd);
    gm_leaks_tell(&w, &l);
    CHECK(gm_writer_end(&w));
    CHECK(pread(fd, text, sizeof text - 1, 0) > 0);
    close(fd);
    size_t lines = 0;
    for (const char *at = text; (at = strstr(at, "gomem: leak: 1 direct")) != NULL; at++) lines++;
    CHECK_EQ(lines, GM_LEAK_TOLD);
    CHECK(strstr(text, "gomem: leak: … and 6 smaller groups\n") != NULL);
    CHECK(strstr(text, " 1006 in all") && !strstr(text, " 1005 in all"));
}

// ---- records of threads ----

enum { RECORDS = 4, WORDS = 1024, ENTRY = WORDS / 2 };
static uintptr_t record[RECORDS][WORDS], head[2];
static unsigned met[2 * RECORDS];

// What a record holds: two numbers that no other word has.
static uintptr_t secret(unsigned n) { return (uintptr_t)0x5ec2e7000 + n; }

static void meet(struct gomem_marker *m, uintptr_t word, uintptr_t at) {
    (void)m, (void)at;
    if (word - secret(0) < 2 * RECORDS) met[word - secret(0)]++;
}

// A list of all records, as libc links them; each holds one number below its entry and one above.
static void link_records(void) {
    uintptr_t before = (uintptr_t)head;
    memset(met, 0, sizeof met);
    for (unsigned i = 0; i < RECORDS; i++) {
        uintptr_t *entry = &record[i][ENTRY];
        *(uintptr_t *)before = (uintptr_t)entry;
        entry[1] = before;
        before = (uintptr_t)entry;
        record[i][ENTRY - GM_RECORD_BELOW / GM_WORD] = secret(2 * i);
        record[i][ENTRY + GM_RECORD_ABOVE / GM_WORD - 1] = secret(2 * i + 1);
    }
    *(uintptr_t *)before = (uintptr_t)head;
    head[1] = before;
}

static void visit_records(void) {
    static struct gm_search search;
    search.rt = &gm_runtime;
    struct gm_visitor v = gm_paths_visitor(&search, GM_ROOTED);
    v.marker.visit = meet;
    gm_leaks_list(&v, (uintptr_t)head);
}

// A line that fills its text keeps its end.
TEST(lines_end) {
    static struct gm_writer w;
    struct gm_text t = gm_text_make("%s", "");
    t.size = sizeof t.data - 1;
    memset(t.data, 'x', t.size);
    t.data[t.size] = 0;
    gm_writer_begin(&w, -1); // its buffer alone is used
    gm_leaks_line(&w, &t);
    CHECK_EQ(w.used, t.size + 1);
    CHECK_EQ(w.data[w.used - 1], '\n');
}

// Each record of the list is read, from its first byte to its last.
TEST(records_of_threads) {
    REQUIRE(COLLECTED());
    link_records();
    visit_records();
    for (unsigned i = 0; i < 2 * RECORDS; i++) CHECK_EQ(met[i], 1);
}

// What is no list is left alone, from the entry on that does not point back.
TEST(what_is_no_list) {
    REQUIRE(COLLECTED());
    link_records();
    record[2][ENTRY + 1]++;
    visit_records();
    for (unsigned i = 0; i < 2 * RECORDS; i++) CHECK_EQ(met[i], i < 4);
    link_records();
    head[0] = 0;
    visit_records();
    head[0] = 3; // not aligned
    visit_records();
    for (unsigned i = 0; i < 2 * RECORDS; i++) CHECK_EQ(met[i], 0);
}
#endif

TEST_MAIN
