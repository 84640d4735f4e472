// Room html: the parts of the report, on figures that are made up.
#define _GNU_SOURCE
#include "room.h"

#include <sys/mman.h>

static struct gm_html html;
static struct gm_runtime made_up;
static struct gm_writer writer;
static char said[1 << 16];

// Begins a report of nothing, which is written to memory.
static struct gm_html *begin(void) {
    memset(&html, 0, sizeof html);
    gm_writer_begin(&writer, memfd_create("html", MFD_CLOEXEC));
    html.w = &writer;
    html.rt = &made_up;
    return &html;
}

// What was written.
static const char *end(void) {
    CHECK(gm_writer_end(&writer));
    ssize_t n = pread(writer.fd, said, sizeof said - 1, 0);
    said[n < 0 ? 0 : n] = '\0';
    close(writer.fd);
    return said;
}

static bool wrote(const char *want) {
    const char *got = end();
    if (!strcmp(got, want)) return true;
    printf("\n    \"%s\" instead of \"%s\"", got, want);
    return false;
}

TEST(names) {
    static const struct {
        const char *name, *text;
    } list[] = {
        {"plain_name.c", "plain_name.c"},
        {"<&>\"'", "&#60;&#38;&#62;&#34;&#39;"},
        {"a\tb\nc\x7f", "a\\x09b\\x0ac\\x7f"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\x80\xc3\xff", "\\x80\\xc3\\xff"},
        {"\xc0\xbc", "\\xc0\\xbc"},                   // '<' in two bytes
        {"\xe0\x80\xbc", "\\xe0\\x80\\xbc"},          // and in three
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          // half of a surrogate pair
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, // over 0x10ffff
        {"\xc2\x80\xc2\xa0", "\\xc2\\x80\xc2\xa0"},   // a control character, and a blank
        {"\xef\xbf\xbe\xef\xbf\xbd", "\\xef\\xbf\\xbe\xef\xbf\xbd"},
        {"cut \xe2\x82", "cut \\xe2\\x82"},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        gm_html_name(begin(), list[i].name, strlen(list[i].name));
        CHECK(wrote(list[i].text));
    }
}

// Each string of three bytes keeps the text well-formed: no control character, no bare markup.
TEST(all_names_of_three_bytes) {
    struct gm_html *h = begin();
    for (unsigned i = 0; i < 1 << 24; i += 61) {
        char name[3] = {(char)i, (char)(i >> 8), (char)(i >> 16)};
        writer.used = 0;
        gm_html_name(h, name, 3);
        for (size_t k = 0; k < writer.used;) {
            const unsigned char *s = (const unsigned char *)writer.data + k;
            size_t n = gm_text_utf8(s, writer.used - k);
            bool fine = n && *s >= ' ' && *s != '<' && *s != '>' && *s != '"' && *s != '\'';
            if (*s == '&') fine = s[1] == '#';
            if (!CHECK(fine)) return;
            k += n;
        }
    }
    writer.used = 0;
    (void)end();
}

TEST(numbers) {
    CHECK(!strcmp(gm_html_size(0).data, "0 B"));
    CHECK(!strcmp(gm_html_size(1023).data, "1023 B"));
    CHECK(!strcmp(gm_html_size(1024).data, "1.0 KiB"));
    CHECK(!strcmp(gm_html_size(1536).data, "1.5 KiB"));
    CHECK(!strcmp(gm_html_size((uint64_t)150 << 20).data, "150 MiB"));
    CHECK(!strcmp(gm_html_size((uint64_t)5 << 50).data, "5120 TiB"));
    CHECK(strlen(gm_html_size(UINT64_MAX).data) < 24);
    CHECK(!strcmp(gm_html_time(999).data, "999 ns"));
    CHECK(!strcmp(gm_html_time(1500).data, "1.5 \xc2\xb5s"));
    CHECK(!strcmp(gm_html_time(12000000).data, "12.0 ms"));
    CHECK(!strcmp(gm_html_time(3600000000000).data, "3600 s"));
    CHECK(!strcmp(gm_html_percent(0, 0).data, "0.0%"));
    CHECK(!strcmp(gm_html_percent(1, 3).data, "33.3%"));
    CHECK(!strcmp(gm_html_percent(UINT64_MAX, UINT64_MAX).data, "100.0%"));
}

TEST(dates) {
    static const struct {
        uint64_t seconds;
        const char *text;
    } list[] = {{0, "1970-01-01 00:00:00 "},          {951782400, "2000-02-29 00:00:00 "},
                {951868799, "2000-02-29 23:59:59 "},  {951868800, "2000-03-01 00:00:00 "},
                {1709164800, "2024-02-29 00:00:00 "}, {1735689599, "2024-12-31 23:59:59 "},
                {1735689600, "2025-01-01 00:00:00 "}, {4107542400, "2100-03-01 00:00:00 "}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        gm_html_date(begin(), list[i].seconds * 1000000000 + 999999999);
        CHECK(wrote(list[i].text));
    }
}

// Times ascend with their logarithms, and every power of two is exact.
TEST(logarithms) {
    for (unsigned k = 0; k < 63; k++) {
        uint64_t ns = (uint64_t)1 << k;
        CHECK_EQ(gm_html_log(ns), k * 1024);
        CHECK(gm_html_log(ns + ns / 2) >= gm_html_log(ns));
        CHECK(gm_html_log(2 * ns - 1) < (k + 1) * 1024);
    }
    CHECK_EQ(gm_html_log(0), 0);
    struct gm_scale scale = {10 * 1024, 20 * 1024};
    CHECK_EQ(gm_html_depth(&scale, 0), 1000);
    CHECK_EQ(gm_html_depth(&scale, 1 << 10), 1000);
    CHECK_EQ(gm_html_depth(&scale, 1 << 15), 500);
    CHECK_EQ(gm_html_depth(&scale, 1 << 20), 0);
    CHECK_EQ(gm_html_depth(&scale, UINT64_MAX), 0);
}

// ---- what looks wrong ----

static bool finds(const char *text) {
    gm_html_findings(&html);
    const char *got = end();
    if (strstr(got, text)) return true;
    printf("\n    no \"%s\" in: %s", text, got);
    return false;
}

TEST(nothing_wrong) {
    begin();
    CHECK(finds("<p>Nothing looks wrong.</p>"));
}

TEST(forced_cycles) {
    begin();
    html.m.num_gc = 4;
    html.m.num_forced_gc = 3;
    CHECK(finds("<li>3 of 4 cycles were asked for by the program"));
    begin();
    html.m.num_gc = 4;
    html.m.num_forced_gc = 2;
    CHECK(finds("Nothing looks wrong"));
}

TEST(limited_cycles) {
    begin();
    html.pasts = 4;
    for (int i = 0; i < 3; i++) html.past[i].limited = true;
    CHECK(finds("<li>3 of the last 4 cycles were forced by the memory limit"));
    begin();
    html.pasts = 4;
    for (int i = 0; i < 3; i++) html.past[i].limited = true, html.past[i].reason = GM_REASON_FORCED;
    CHECK(finds("Nothing looks wrong"));
}

TEST(exhausted_memory) {
    begin();
    html.pasts = 2;
    html.past[1].reason = GM_REASON_EMERGENCY;
    CHECK(finds("<li>1 of the last 2 cycles began because memory was exhausted"));
}

TEST(growth) {
    begin();
    html.pasts = 12;
    for (uint32_t i = 0; i < 12; i++) html.past[i].after = 1024 * (10 + 3 * i);
    CHECK(finds("grown 11 times in a row, from 19.0 MiB to 43.0 MiB in the last 8"));
    begin();
    html.pasts = 12;
    for (uint32_t i = 0; i < 12; i++) html.past[i].after = 1024 * (10 + 3 * (i % 8));
    CHECK(finds("Nothing looks wrong"));
    static const uint32_t falls[12] = {5, 6, 7, 2, 3, 4, 5, 1, 10, 20, 30, 40}; // twice
    begin();
    html.pasts = 12;
    for (uint32_t i = 0; i < 12; i++) html.past[i].after = 1024 * falls[i];
    CHECK(finds("Nothing looks wrong"));
}

TEST(stops) {
    begin();
    html.m.pause_max_ns = 20000000;
    CHECK(finds("<li>The longest of the last 256 stops took 20.0 ms"));
    begin();
    html.m.pause_max_ns = 9000000;
    html.m.gather_max_ns = 8000000;
    CHECK(finds("<li>A stop waited 8.0 ms until all threads stood"));
    begin();
    html.m.stops_withdrawn = 12;
    CHECK(finds("<li>Stops were withdrawn 12 times"));
    static struct gm_thread thread; // is named if a stop has waited for it, as long as it runs
    made_up.world.all = &thread;
    thread.id = 77;
    for (uint32_t why = 0; why <= GM_STRAGGLER_EARLY; why++) {
        begin();
        html.m.stops_withdrawn = 12;
        thread.straggler = why;
        thread.state = GM_THREAD_RUNNING;
        gm_html_findings(&html);
        CHECK_EQ(strstr(end(), "Thread 77 ") != NULL, why == GM_STRAGGLER_WAITED);
        begin();
        html.m.stops_withdrawn = 12;
        thread.state = GM_THREAD_NONE;
        gm_html_findings(&html);
        CHECK(!strstr(end(), "Thread 77 "));
    }
    made_up.world.all = NULL;
    begin();
    html.m.cycles_vetoed = 2;
    html.m.last_veto = GOMEM_REASON_STACK;
    CHECK(finds(gm_base_reason(GOMEM_REASON_STACK)));
    begin();
    html.m.collector_reason = GOMEM_REASON_KERNEL;
    CHECK(finds(gm_base_reason(GOMEM_REASON_KERNEL)));
    begin();
    html.m.num_gc = 4;
    html.m.gc_cpu_fraction = 0.5;
    CHECK(finds("<li>The collector has taken 50 %"));
}

TEST(empty_spans) {
    struct gm_html *h = begin();
    struct gm_fill *f = &h->fill[3];
    f->spans = f->slots = 10 * GM_MIB;
    f->used = 2 * GM_MIB;
    h->m.heap_inuse = 20 * GM_MIB;
    char want[100];
    snprintf(want, sizeof want, "<li>Class %u: 80 %% of its span memory is free (8.0 MiB)",
             (unsigned)gm_sizes_table[3].size);
    CHECK(finds(want));
    begin();
    h->fill[3] = (struct gm_fill){.spans = 10 * GM_MIB, .slots = 10 * GM_MIB, .used = 6 * GM_MIB};
    h->m.heap_inuse = 20 * GM_MIB;
    CHECK(finds("Nothing looks wrong"));
}

TEST(memory) {
    begin();
    html.m.heap_inuse = 10 * GM_MIB;
    html.fill[5] = (struct gm_fill){.slots = 6 * GM_MIB, .used = 6 * GM_MIB, .cached = 5 * GM_MIB};
    CHECK(finds("<li>Caches of threads hold 5.0 MiB"));
    begin();
    html.m.heap_idle = 200 * GM_MIB;
    html.m.heap_released = 50 * GM_MIB;
    html.m.heap_inuse = 100 * GM_MIB;
    CHECK(finds("<li>150 MiB of free pages"));
    begin();
    made_up.engine.pacer.limit = 50 * GM_MIB;
    html.m.sys = 100 * GM_MIB;
    html.m.heap_released = 40 * GM_MIB;
    CHECK(finds("<li>Memory exceeds its limit: 60.0 MiB of 50.0 MiB"));
    made_up.engine.pacer.limit = 0;
    begin();
    made_up.engine.collected = true;
    CHECK(finds("<li>Collection is off"));
    made_up.engine.collected = false;
}

TEST(samples) {
    begin();
    made_up.engine.prof.lost = 3;
    CHECK(finds("<li>3 samples of the profile were dropped"));
    made_up.engine.prof.lost = 0;
    begin();
    made_up.engine.prof.merged = 5;
    CHECK(finds("<li>5 samples of the profile have no stack"));
    made_up.engine.prof.merged = 0;
}

// ---- the map ----

// Spans are spread over the cells that they lie in, and what lies outside is left out.
TEST(painting) {
    struct gm_html *h = begin();
    h->shift = 2;
    h->first[0] = 5000;
    h->first[1] = 4000;
    h->cells[0] = 3;
    h->cells[1] = 2;
    h->base[1] = GM_HTML_COLUMNS;
    gm_html_paint(h, 5002, 6, GM_AREA_SCAN, 6000); // 2 pages of cell 0, 4 of cell 1
    gm_html_paint(h, 5010, 4, GM_AREA_POOL, 4000); // 2 of cell 2; the zone has grown
    gm_html_paint(h, 4004, 1, GM_AREA_MANUAL, 1);
    CHECK_EQ(h->cell[0].pages[GM_AREA_SCAN], 2);
    CHECK_EQ(h->cell[0].live, 2000);
    CHECK_EQ(h->cell[1].pages[GM_AREA_SCAN], 4);
    CHECK_EQ(h->cell[1].live, 4000);
    CHECK_EQ(h->cell[2].pages[GM_AREA_POOL], 2);
    CHECK_EQ(h->cell[3].pages[GM_AREA_POOL], 0);
    CHECK_EQ(h->cell[GM_HTML_COLUMNS + 1].pages[GM_AREA_MANUAL], 1);
    (void)end();
}

// Any heap fits into the cells, each zone from the beginning of a row.
TEST(dividing) {
    static const uint32_t sizes[][2] = {
        {0, 0}, {0, 1}, {1, 0}, {511, 512}, {512, 511}, {4096, 100000}, {1 << 27, 1 << 26}};
    struct gm_pages *p = &made_up.engine.heap.pages;
    p->zone[1].down = true;
    p->zone[1].origin = (size_t)1 << 30;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct gm_html *h = begin();
        for (unsigned z = 0; z < 2; z++) p->zone[z].mapped = sizes[i][z];
        gm_html_divide(h);
        for (unsigned z = 0; z < 2; z++) {
            CHECK(h->cells[z] << h->shift >= sizes[i][z]);
            CHECK_EQ(h->base[z] % GM_HTML_COLUMNS, 0);
            CHECK(h->base[z] + h->cells[z] <= GM_HTML_CELLS);
        }
        CHECK(h->base[1] >= h->cells[0]);
        CHECK_EQ(h->first[1], ((size_t)1 << 30) - sizes[i][1]);
        (void)end();
    }
    memset(p, 0, sizeof *p);
}

// ---- call sites ----

// A made-up site whose outermost frame is frames[0].
static struct gm_prof_site *site(unsigned depth, const uintptr_t *frames) {
    struct gm_prof_site *s = calloc(1, sizeof *s + depth * sizeof(uintptr_t));
    if (!s) abort();
    s->depth = (uint16_t)depth;
    for (unsigned i = 0; i < depth; i++) s->frame[depth - 1 - i] = frames[i];
    return s;
}

static void add_site(struct gm_html *h, uint64_t bytes, unsigned depth, const uintptr_t *frames) {
    gm_prof_figures g = {1, bytes, 1, bytes};
    CHECK(gm_html_add_site(h, site(depth, frames), &g));
}

// Sites with the same callers become neighbors, and share their frames.
TEST(sites_by_their_callers) {
    struct gm_html *h = begin();
    add_site(h, 10, 3, (const uintptr_t[]){1, 2, 3});
    add_site(h, 20, 2, (const uintptr_t[]){1, 5});
    add_site(h, 30, 3, (const uintptr_t[]){1, 2, 4});
    add_site(h, 40, 0, NULL);
    add_site(h, 50, 2, (const uintptr_t[]){1, 2});
    gm_html_sort_sites(h);
    static const uint64_t bytes[] = {40, 50, 10, 30, 20};
    static const unsigned shared[] = {0, 0, 2, 2, 1};
    CHECK_EQ(h->sites, 5);
    CHECK_EQ(h->site_bytes, 150);
    for (size_t i = 0; i < 5; i++) {
        CHECK_EQ(h->site[i].bytes, bytes[i]);
        CHECK_EQ(h->site[i].shared, shared[i]);
    }
    gm_html_level_of_sites(h, 0); // frame 1 of the four that have it
    gm_html_level_of_sites(h, 1); // frame 2 of three, then 5
    CHECK(wrote(
        "<svg x=\"26.7%\" y=\"0\" width=\"73.3%\" height=\"17\"><title>0x0: 110 B, 73.3%</title>"
        "<rect width=\"100%\" height=\"100%\" class=\"f6\" opacity=\".4\"/><text x=\"3\" y=\"13\">"
        "0x0</text></svg>\n"
        "<svg x=\"26.7%\" y=\"18\" width=\"60.0%\" height=\"17\"><title>0x1: 90 B, 60.0%</title>"
        "<rect width=\"100%\" height=\"100%\" class=\"f6\" opacity=\".4\"/><text x=\"3\" y=\"13\">"
        "0x1</text></svg>\n"
        "<svg x=\"86.7%\" y=\"18\" width=\"13.3%\" height=\"17\"><title>0x4: 20 B, 13.3%</title>"
        "<rect width=\"100%\" height=\"100%\" class=\"f6\" opacity=\".4\"/><text x=\"3\" y=\"13\">"
        "0x4</text></svg>\n"));
}

// Of many sites the largest are kept, in whatever order they come.
// A cache holds what it adds to the classes, objects of types among it.
TEST(caches) {
    struct node {
        struct node *next;
    };
    GOMEM_TYPE(node_type, struct node, next);
    struct gm_html *h = begin();
    static struct gm_fill fill[GM_FILLS];
    REQUIRE(GOMEM_NEW_TYPED(struct node, &node_type) && GOMEM_NEW(int));
    void *p = gomem_malloc(100);
    h->rt = &gm_runtime;
    h->tally.rows = gm_export_rows(h->rt);
    uint64_t sum = 0, all = gm_html_cache(h, gm_world_self(), fill);
    for (size_t i = 0; i < GM_FILLS; i++) sum += fill[i].cached;
    CHECK(all > 0);
    CHECK_EQ(all, sum);
    CHECK(fill[gomem_i_class_new(sizeof(struct node), GM_WORD)].cached > 0);
    gomem_free(p);
    (void)end();
}

// Each line of the picture fits under its top.
TEST(axes) {
    for (int highest = 0; highest < 4; highest++) {
        struct gm_html *h = begin();
        h->now = 2000000;
        h->pasts = 1;
        h->past[0] = (struct gm_past){.end = 1000000, .before = 10, .heap = 10, .after = 10};
        h->past[0].goal = h->past[0].resident = 10;
        uint32_t *const fields[] = {&h->past[0].before, &h->past[0].heap, &h->past[0].goal,
                                    &h->past[0].resident};
        *fields[highest] = 1000;
        gm_html_history(h);
        const char *text = end();
        CHECK(strstr(text, "L1000,") || strstr(text, ",60"));
        CHECK(strstr(text, ",60") && !strstr(text, ",0\"") && !strstr(text, ",0L"));
    }
}

// What has no line of its own is added up in the last one.
TEST(other_types) {
    enum { MANY = GM_HTML_TYPES + 10 };
    static struct gm_row rows[MANY];
    struct gm_html *h = begin();
    h->tally.row = rows;
    h->tally.rows = MANY;
    for (uint32_t i = 0; i < MANY; i++) rows[i] = (struct gm_row){2, 10000 + i, 0};
    gm_html_types(h);
    const char *text = strstr(end(), ">10 others<");
    CHECK(text && strstr(text, "data-v=\"20\"") && strstr(text, "data-v=\"100045\""));
}

// A line for each site, the largest first.
TEST(table_of_sites) {
    struct gm_html *h = begin();
    const char *at = said;
    add_site(h, 1010, 0, NULL);
    add_site(h, 1030, 1, (const uintptr_t[]){1});
    add_site(h, 1020, 1, (const uintptr_t[]){2});
    gm_html_sort_sites(h);
    gm_html_site_table(h);
    (void)end();
    static const char *const values[] = {"\"1030\"", "\"1020\"", "\"1010\""};
    for (size_t i = 0; i < 3; i++) {
        at = strstr(at, values[i]);
        if (!CHECK(at && !strstr(at + 1, values[i]))) return;
    }
    CHECK(strstr(said, "(unknown)</th>") != NULL);
}

TEST(the_largest_sites) {
    struct gm_html *h = begin();
    enum { ALL = 5 * GM_HTML_SITES };
    uint64_t least = UINT64_MAX;
    for (uint64_t i = 0; i < ALL; i++)
        add_site(h, 1 + i * 7919 % ALL, 1, (const uintptr_t[]){(uintptr_t)i});
    CHECK_EQ(h->sites, GM_HTML_SITES);
    CHECK_EQ(h->site_bytes, (uint64_t)ALL * (ALL + 1) / 2);
    for (size_t i = 0; i < h->sites; i++) least = GM_MIN(least, h->site[i].bytes);
    CHECK_EQ(least, ALL - GM_HTML_SITES + 1);
    (void)end();
}

TEST_MAIN
