// The report, read back: well-formed in each state of a program, and its figures are memstats'.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>

static char page[4 << 20];
static size_t page_size;

static void read_back(int fd) {
    ssize_t n;
    page_size = 0;
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, page + page_size, sizeof page - 1 - page_size)) > 0)
        page_size += (size_t)n;
    page[page_size] = '\0';
}

// ---- a small checker ----

// The first byte after an entity at s, such as &#38; or NULL: it is none.
static const char *after_entity(const char *s) {
    if (*++s != '#') return NULL;
    const char *digits = ++s;
    while (*s >= '0' && *s <= '9') s++;
    return s > digits && *s == ';' ? s + 1 : NULL;
}

// The first byte after text up to one of two bytes; NULL: it is not closed, or not escaped.
static const char *after_text(const char *s, char end) {
    while (*s && *s != end) {
        unsigned char c = (unsigned char)*s;
        if (c == '<' || c == '>' || (c < ' ' && c != '\n') || c == 0x7f) return NULL;
        s = c == '&' ? after_entity(s) : s + 1;
        if (!s) return NULL;
    }
    return *s ? s : NULL;
}

// The byte after a tag's attributes, at its > or />.
static const char *after_attributes(const char *s) {
    while (*s == ' ') {
        s++;
        const char *name = s;
        while ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '-') s++;
        if (s == name || s[0] != '=' || s[1] != '"') return NULL;
        s = after_text(s + 2, '"');
        if (!s) return NULL;
        s++;
    }
    return s;
}

// Returns the place of the first fault, NULL: all elements are closed in order, all attributes have
// quotes, and all text is escaped.
static const char *fault(const char *s) {
    static char open[64][16];
    size_t depth = 0;
    if (strncmp(s, "<!DOCTYPE html>\n", 16) != 0) return s;
    for (s += 16; *s;) {
        const char *at = s;
        if (*s != '<') {
            s = after_text(s, '<');
            if (!s) return strcmp(at, "\n") ? at : depth ? at : NULL;
            continue;
        }
        bool close = s[1] == '/';
        const char *name = s += 1 + close;
        while ((*s >= 'a' && *s <= 'z') || (*s >= '0' && *s <= '9')) s++;
        size_t n = (size_t)(s - name);
        if (!n || n > 15) return at;
        if (close) {
            if (*s != '>' || !depth-- || strncmp(open[depth], name, n) || open[depth][n]) return at;
            s++;
            continue;
        }
        s = after_attributes(s);
        if (!s) return at;
        bool empty = *s == '/';
        if (s[empty] != '>') return at;
        s += empty + 1;
        if (empty) continue;
        if (depth == 64) return at;
        memcpy(open[depth], name, n);
        open[depth++][n] = '\0';
        if (!strcmp(open[depth - 1], "style") || !strcmp(open[depth - 1], "script"))
            s = strstr(s, "</"); // raw text
    }
    return depth ? s : NULL;
}

TEST(the_checker) {
    CHECK(!fault("<!DOCTYPE html>\n<a b=\"&#38;\">x<c/></a>\n"));
    CHECK(fault("<!DOCTYPE html>\n<a>"));
    CHECK(fault("<!DOCTYPE html>\n<a></b>"));
    CHECK(fault("<!DOCTYPE html>\n<a b=\"<\"></a>"));
    CHECK(fault("<!DOCTYPE html>\n<a>& x</a>"));
    CHECK(fault("<!DOCTYPE html>\n<a b></a>"));
    CHECK(fault("<!DOCTYPE html>\n<a>\x01</a>"));
}

// Is every byte a part of a character of UTF-8?
static bool is_utf8(const char *s) {
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;
        if (more < 0) return false;
        for (; more; more--)
            if (((unsigned char)*++s & 0xc0) != 0x80) return false;
    }
    return true;
}

static bool check_page(void) {
    const char *at = fault(page);
    if (!CHECK(!at)) printf("\n    at: %.80s", at);
    return CHECK(is_utf8(page)) && !at;
}

static bool written(void) {
    int fd = memfd_create("report", MFD_CLOEXEC);
    if (!CHECK(fd >= 0)) return false;
    bool done = CHECK(gomem_write(GOMEM_REPORT, fd));
    read_back(fd);
    close(fd);
    return done && check_page();
}

static bool says(const char *text) { return strstr(page, text) != NULL; }

// The exact value behind the first `words`; UINT64_MAX: it is not there.
static uint64_t value_after(const char *from, const char *words) {
    const char *at = strstr(from, words);
    at = at ? strstr(at + strlen(words), "data-v=\"") : NULL;
    return at ? strtoull(at + 8, NULL, 10) : UINT64_MAX;
}

static uint64_t figure(const char *name) {
    char words[100];
    snprintf(words, sizeof words, "\">%s</th>", name);
    return value_after(page, words);
}

// ---- states of a program ----

static void at_first(void) {
    written();
    CHECK(says("Nothing looks wrong."));
    CHECK_EQ(value_after(page, "In objects"), 0);
}

static void without_a_cycle(void) {
    gomem_gc_hold();
    void *volatile kept = gomem_new(100);
    written();
    CHECK(says("No cycle has ended yet."));
    CHECK_EQ(value_after(page, "Cycles"), 0);
    (void)kept;
}

static void records_begin_with_a_report(void) {
    void *volatile kept = gomem_new(100);
    gomem_gc();
    written();
    CHECK(says("No cycle has been recorded yet."));
    CHECK(value_after(page, "Cycles") >= 1);
    gomem_gc();
    written();
    CHECK(!says("No cycle has been recorded yet."));
    CHECK(says(" and 1 cycles;"));
    (void)kept;
}

static void records_begin_at_the_start(void) {
    setenv("GOMEM_DEBUG", "record=1", 1);
    void *volatile kept = gomem_new(100);
    gomem_gc();
    written();
    CHECK(says(" and 1 cycles;"));
    (void)kept;
}

static char setting[200];
static void at_exit(void) {
    setenv("GOMEM_DEBUG", setting, 1);
    void *volatile kept = gomem_new(100);
    gomem_gc();
    (void)kept;
}

static void after_a_shutdown(void) {
    setenv("GOMEM_DEBUG", "record=1", 1);
    void *volatile kept = gomem_new(100);
    gomem_gc();
    gomem_shutdown();
    errno = 0;
    CHECK(!gomem_write(GOMEM_REPORT, 1));
    CHECK_EQ(errno, ESHUTDOWN);
    REQUIRE(gomem_init(NULL));
    written();
    CHECK(says("The program has no collected heap."));
    kept = gomem_new(100);
    gomem_gc();
    written();
    CHECK(says(" and 1 cycles;"));
    (void)kept;
}

static void in_a_child(void (*fn)(void)) {
    struct child child;
    child_run(&child, fn);
    if (!CHECK_EQ(child.status, 0)) printf("\n    it said: %s", child.text);
}

TEST(states) {
    in_a_child(at_first);
    in_a_child(without_a_cycle);
    in_a_child(records_begin_with_a_report);
    in_a_child(records_begin_at_the_start);
    in_a_child(after_a_shutdown);
}

TEST(at_exit) {
    char path[] = "/tmp/gomem-report-XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    snprintf(setting, sizeof setting, "write=report:%s", path);
    in_a_child(at_exit);
    read_back(fd);
    close(fd);
    unlink(path);
    check_page();
    CHECK(says(" and 1 cycles;"));
}

// ---- figures ----

// The sum of the column that is `skip` values behind the head of each row, up to `end`.
static uint64_t column(const char *from, const char *end, int skip) {
    uint64_t sum = 0;
    while ((from = strstr(from, "<tr><th scope=\"row\"")) && from < end) {
        for (int i = 0; i <= skip && from; i++) from = strstr(from + 1, "data-v=\"");
        if (!from) break;
        sum += strtoull(from + 8, NULL, 10);
    }
    return sum;
}

TEST(figures_are_memstats) {
    static void *volatile kept[1000];
    gomem_gc();
    for (int i = 0; i < 1000; i++) kept[i] = gomem_malloc(48);
    void *large = gomem_malloc(100000);
    gomem_memstats m = {.size = sizeof m};
    gomem_gc_hold();
    written(); // first: what warms up has warmed up
    gomem_read_memstats(&m);
    written();
    gomem_gc_unhold();
    CHECK_EQ(value_after(page, "In objects"), m.heap_alloc);
    CHECK_EQ(value_after(page, "In spans"), m.heap_inuse);
    CHECK_EQ(value_after(page, "Free pages"), m.heap_idle - m.heap_released);
    CHECK_EQ(value_after(page, "Allocated so far"), m.total_alloc);
    CHECK_EQ(value_after(page, "Heap goal"), m.next_gc);
    CHECK_EQ(value_after(page, "Cycles"), m.num_gc);
    CHECK_EQ(value_after(page, "Longest stop"), m.pause_max_ns);
    CHECK_EQ(figure("memstats_alloc_bytes"), m.alloc);
    CHECK_EQ(figure("memstats_mallocs_total"), m.mallocs);
    CHECK_EQ(figure("memstats_frees_total"), m.frees);
    CHECK_EQ(figure("memstats_heap_objects"), m.heap_objects);
    CHECK_EQ(figure("memstats_next_gc_bytes"), m.next_gc);
    CHECK_EQ(figure("gc_cycles_total"), m.num_gc);
    CHECK_EQ(figure("threads"), m.threads);
    const char *classes = strstr(page, "id=\"classes\""), *types = strstr(page, "id=\"types\"");
    REQUIRE(classes && types);
    CHECK_EQ(column(classes, types, 1), m.heap_inuse); // spans
    uint64_t parts = 0;                                // in use, in caches, free, waste
    for (int i = 3; i < 7; i++) parts += column(classes, types, i);
    CHECK_EQ(parts, m.heap_inuse);
    CHECK(value_after(classes, "\">large</th>") >= 100000);
    for (int i = 0; i < 1000; i++) gomem_free(kept[i]), kept[i] = NULL;
    gomem_free(large);
}

// ---- names ----

typedef struct thing {
    struct thing *next;
    long value[3];
} thing;
GOMEM_TYPE(markup_type, thing, next);
GOMEM_TYPE(bytes_type, thing, next);
GOMEM_TYPE(utf8_type, thing, next);

static thing *volatile things[3];

TEST(hostile_names) {
    gomem_type *const types[] = {&markup_type, &bytes_type, &utf8_type};
    types[0]->name = "</th><script>alert(\"x\" + 'y' & 1)</script>";
    types[1]->name = "a\nb\x01\x7f\xff\xc3(\xe0\x80\x80\xed\xa0\x80\xf4\x90\x80\x80\xc2\x85z\xc3";
    types[2]->name = "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80";
    for (int i = 0; i < 3; i++) things[i] = GOMEM_NEW_TYPED(thing, types[i]);
    written();
    CHECK(!says("<script>alert"));
    CHECK(says("&#60;/th&#62;&#60;script&#62;alert(&#34;x&#34; + &#39;y&#39; &#38; 1)"));
    CHECK(says("a\\x0ab\\x01\\x7f\\xff\\xc3(\\xe0\\x80\\x80\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80\\xc2"
               "\\x85z\\xc3</th>"));
    CHECK(says("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80</th>"));
    for (int i = 0; i < 3; i++) things[i] = NULL;
}

// ---- descriptors ----

TEST(bad_descriptors) {
    int fd = memfd_create("report", MFD_CLOEXEC), full = open("/dev/full", O_WRONLY);
    REQUIRE(fd >= 0 && full >= 0);
    close(fd);
    errno = 0;
    CHECK(!gomem_write(GOMEM_REPORT, fd));
    CHECK_EQ(errno, EBADF);
    CHECK(!gomem_write(GOMEM_REPORT, full));
    CHECK_EQ(errno, ENOSPC);
    close(full);
    CHECK(written());
}

// ---- the ring of records ----

TEST(the_ring_wraps) {
    uint64_t before = gomem_num_gc();
    written(); // from here on cycles are recorded
    void *volatile kept = gomem_new(64);
    while (gomem_num_gc() < before + 1100)
        if (!gomem_gc()) continue;
    written();
    CHECK(says(" and 1023 cycles;"));
    (void)kept;
}

TEST_MAIN
