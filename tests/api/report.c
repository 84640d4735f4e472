// The report, read back: well-formed in each state of a program, and its figures are memstats'.
#define _GNU_SOURCE
#include "alive.h"
#include "output.h"

#include <pthread.h>

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
    const char *at = fault(output);
    if (!CHECK(!at)) printf("\n    at: %.80s", at);
    return CHECK(is_utf8(output)) && !at;
}

static bool written(void) { return CHECK(output_written(GOMEM_REPORT)) && check_page(); }

static bool says(const char *text) { return strstr(output, text) != NULL; }

// The exact value behind the first `words`; UINT64_MAX: it is not there.
static uint64_t value_after(const char *from, const char *words) {
    const char *at = strstr(from, words);
    at = at ? strstr(at + strlen(words), "data-v=\"") : NULL;
    return at ? strtoull(at + 8, NULL, 10) : UINT64_MAX;
}

static uint64_t figure(const char *name) {
    char words[100];
    snprintf(words, sizeof words, "\">%s</th>", name);
    return value_after(output, words);
}

// ---- states of a program ----

static void at_first(void) {
    written();
    CHECK(says("Nothing looks wrong."));
    CHECK_EQ(value_after(output, "In objects"), 0);
}

static void without_a_cycle(void) {
    gomem_gc_hold();
    void *volatile kept = gomem_new(100);
    written();
    CHECK(says("No cycle has ended yet."));
    CHECK_EQ(value_after(output, "Cycles"), 0);
    (void)kept;
}

static void records_begin_with_a_report(void) {
    void *volatile kept = gomem_new(100);
    gomem_gc();
    written();
    CHECK(says("No cycle has been recorded yet."));
    CHECK(value_after(output, "Cycles") >= 1);
    gomem_gc();
    written();
    CHECK(!says("No cycle has been recorded yet."));
    CHECK(says(" and 1 cycle;"));
    (void)kept;
}

static void records_begin_at_the_start(void) {
    setenv("GOMEM_DEBUG", "record=1", 1);
    void *volatile kept = gomem_new(100);
    gomem_gc();
    written();
    CHECK(says(" and 1 cycle;"));
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
    output_fails(GOMEM_REPORT, 1, ESHUTDOWN);
    REQUIRE(gomem_init(NULL));
    written();
    CHECK(says("The program has no collected heap."));
    kept = gomem_new(100);
    gomem_gc();
    written();
    CHECK(says(" and 1 cycle;"));
    (void)kept;
}

// What lives leaves less room below the limit than GOGC=100 would take.
static void at_the_limit(void) {
    setenv("GOMEM_DEBUG", "record=1", 1);
    gomem_set_memory_limit(48 << 20);
    static void *volatile kept[32];
    for (int i = 0; i < 32; i++) kept[i] = gomem_new_noscan(1 << 20);
    for (int i = 0; i < 4000; i++) kept[31] = gomem_new_noscan(1 << 16);
    written();
    CHECK(says("cycles were forced by the memory limit"));
    CHECK(says("memory limit 48.0 MiB"));
    (void)kept;
}

TEST(states) {
    CHILD_GOOD(at_first);
    CHILD_GOOD(without_a_cycle);
    CHILD_GOOD(records_begin_with_a_report);
    CHILD_GOOD(records_begin_at_the_start);
    CHILD_GOOD(after_a_shutdown);
    CHILD_GOOD(at_the_limit);
}

TEST(at_exit) {
    char path[] = "/tmp/gomem-report-XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    snprintf(setting, sizeof setting, "write=report:%s", path);
    CHILD_GOOD(at_exit);
    output_read(fd);
    close(fd);
    unlink(path);
    check_page();
    CHECK(says(" and 1 cycle;"));
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
    gomem_memstats m = output_beside_memstats(GOMEM_REPORT);
    check_page();
    CHECK_EQ(value_after(output, "In objects"), m.heap_alloc);
    CHECK_EQ(value_after(output, "In spans"), m.heap_inuse);
    CHECK_EQ(value_after(output, "Free pages"), m.heap_idle - m.heap_released);
    CHECK_EQ(value_after(output, "Allocated so far"), m.total_alloc);
    CHECK_EQ(value_after(output, "Heap goal"), m.next_gc);
    CHECK_EQ(value_after(output, "Cycles"), m.num_gc);
    CHECK_EQ(value_after(output, "Longest stop"), m.pause_max_ns);
    CHECK_EQ(figure("memstats_alloc_bytes"), m.alloc);
    CHECK_EQ(figure("memstats_mallocs_total"), m.mallocs);
    CHECK_EQ(figure("memstats_frees_total"), m.frees);
    CHECK_EQ(figure("memstats_heap_objects"), m.heap_objects);
    CHECK_EQ(figure("memstats_next_gc_bytes"), m.next_gc);
    CHECK_EQ(figure("gc_cycles_total"), m.num_gc);
    CHECK_EQ(figure("threads"), m.threads);
    const char *classes = strstr(output, "id=\"classes\""), *types = strstr(output, "id=\"types\"");
    REQUIRE(classes && types);
    CHECK_EQ(column(classes, types, 1), m.heap_inuse); // spans
    uint64_t parts = 0;                                // in use, in caches, free, waste
    for (int i = 3; i < 7; i++) parts += column(classes, types, i);
    CHECK_EQ(parts, m.heap_inuse);
    CHECK(value_after(classes, "\">large</th>") >= 100000);
}

// Each row of "All figures" is what GOMEM_METRICS says: the same digits, in the same unit.
TEST(figures_are_metrics) {
    static char metrics[1 << 16];
    gomem_gc();
    gomem_gc_hold();
    written(); // first: what warms up has warmed up
    REQUIRE(output_written(GOMEM_METRICS) && output_size < sizeof metrics);
    memcpy(metrics, output, output_size + 1);
    written();
    gomem_gc_unhold();
    int rows = 0;
    const char *row = strstr(output, "id=\"figures\"");
    REQUIRE(row != NULL);
    for (; (row = strstr(row, "<tr><th scope=\"row\">")) != NULL; rows++) {
        char name[80], exact[40], shown[40], line[140];
        row += strlen("<tr><th scope=\"row\">");
        if (!CHECK(sscanf(row, "%79[a-z_]</th><td data-v=\"%39[0-9.]\">%39[0-9.]</td>", name, exact,
                          shown) == 3))
            break;
        snprintf(line, sizeof line, "\ngomem_%s %s\n", name, exact);
        if (!CHECK(strstr(metrics, line) != NULL && !strcmp(exact, shown)))
            printf("\n    %s is %s, shown as %s", name, exact, shown);
    }
    CHECK(rows > 20);
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

// The sum of a column of the threads' table is the total of memstats.
TEST(threads_and_stops_are_memstats) {
    gomem_memstats m = {.size = sizeof m};
    for (int i = 0; i < 300; i++) gomem_gc();
    gomem_gc_hold();
    written();
    gomem_read_memstats(&m);
    written();
    gomem_gc_unhold();
    const char *threads = strstr(output, "id=\"threads\""), *sites = strstr(output, "id=\"sites\""),
               *stops = strstr(output, "id=\"stops\""), *phases = strstr(output, "id=\"phases\"");
    REQUIRE(threads && sites && stops && phases);
    uint64_t sums[2] = {0, 0};
    const char *row = threads;
    while ((row = strstr(row + 1, "<tr><th scope=\"row\"")) && row < sites) {
        const char *end = strstr(row, "</tr>"), *cell[4] = {NULL};
        int n = 0;
        for (const char *at = row; n < 4 && (at = strstr(at + 1, "data-v=\"")) && at < end;)
            cell[n++] = at + 8;
        CHECK(n >= 3); // the others have no number
        sums[0] += strtoull(cell[n - 3], NULL, 10);
        sums[1] += strtoull(cell[n - 2], NULL, 10);
    }
    CHECK_EQ(sums[0], m.mallocs);
    CHECK_EQ(sums[1], m.total_alloc);
    CHECK_EQ(value_after(stops, "</i>p50"), m.pause_p50_ns);
    CHECK_EQ(value_after(stops, "</i>p99"), m.pause_p99_ns);
    CHECK_EQ(value_after(stops, "</i>longest"), m.pause_max_ns);
    int dots = 0;
    for (const char *at = stops; (at = strstr(at + 1, "class=\"d s1\"")) && at < phases;) dots++;
    CHECK_EQ(dots, 256);
}

// What is sampled appears with its function, in the flame graph and in the table.
TEST(call_sites) {
    static void *volatile kept[100];
    written();
    CHECK(says("No allocation was sampled"));
    gomem_set_profile_rate(1);
    for (int i = 0; i < 100; i++) kept[i] = gomem_malloc(10000);
    gomem_set_profile_rate(0);
    written();
    const char *sites = strstr(output, "id=\"sites\"");
    REQUIRE(sites);
    CHECK(!says("No allocation was sampled"));
    CHECK(strstr(sites, "<svg x=\"0.0%\" y=\"0\" width=\"") != NULL); // the outermost frame
    CHECK(value_after(sites, "</th>") >= 100);                        // objects of the largest
    CHECK(strstr(sites, "<td>manual </td>") != NULL);
    for (int i = 0; i < 100; i++) gomem_free(kept[i]), kept[i] = NULL;
}

// ---- while the program runs ----

static int ending;

static void *work(void *arg) {
    (void)arg;
    while (!__atomic_load_n(&ending, __ATOMIC_RELAXED)) {
        void *blocks[64];
        for (int i = 0; i < 64; i++) blocks[i] = gomem_malloc((size_t)(16 + i * 40));
        for (int i = 0; i < 64; i++) {
            thing *t = GOMEM_NEW_TYPED(thing, &utf8_type);
            if (t) t->next = GOMEM_NEW_TYPED(thing, &utf8_type);
            gomem_free(blocks[i]);
        }
        gomem_free(gomem_malloc(200000));
    }
    return NULL;
}

TEST(beside_the_program) {
    pthread_t threads[3];
    __atomic_store_n(&ending, 0, __ATOMIC_RELAXED);
    gomem_set_profile_rate(4096);
    for (int i = 0; i < 3; i++) REQUIRE(gomem_thread_create(&threads[i], NULL, work, NULL) == 0);
    for (int i = 0; i < 20; i++) {
        written();
        gomem_gc();
    }
    __atomic_store_n(&ending, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++) gomem_thread_join(&threads[i], NULL);
    gomem_set_profile_rate(0);
    written();
    CHECK(HEAP_IS_WHOLE());
}

// ---- descriptors ----

TEST(bad_descriptors) {
    output_bad_descriptors(GOMEM_REPORT);
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
