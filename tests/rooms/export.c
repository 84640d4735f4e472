// Room export: what the formats of gomem_write are made of, and a profile of many sites.
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>

// write() in the way of this test; all other calls are the system's.
static long call_write(int unused, ...);
#define GOMEM_SYSCALL(number, ...) \
    ((number) == SYS_write ? call_write(0, ##__VA_ARGS__) : syscall((number), ##__VA_ARGS__))
#include "room.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

// ---- the writer ----

static struct {
    bool on;
    unsigned calls, most; // most: bytes taken at once
    size_t size, fails;   // fails: the byte at which an error comes, 0: none
    char text[20000];
} sink;

// Takes little, says EINTR every other time, and fails where it is told to.
static long call_write(int unused, ...) {
    va_list list;
    va_start(list, unused);
    long fd = va_arg(list, long);
    const char *data = va_arg(list, const char *);
    size_t n = va_arg(list, size_t);
    va_end(list);
    if (!sink.on) return syscall(SYS_write, fd, data, n);
    if (++sink.calls % 2) return errno = EINTR, -1;
    if (sink.fails && sink.size >= sink.fails) return errno = ENOSPC, -1;
    n = GM_MIN(n, 1 + sink.calls % sink.most);
    memcpy(sink.text + sink.size, data, n);
    sink.size += n;
    return (long)n;
}

// Writes 5000 bytes in pieces of many sizes through the writer.
static bool pass_through(unsigned most, size_t fails) {
    struct gm_writer w;
    char piece[100];
    memset(&sink, 0, sizeof sink);
    sink.most = most;
    sink.fails = fails;
    sink.on = true;
    gm_writer_begin(&w, 7);
    for (size_t at = 0, n; at < 5000; at += n) {
        n = GM_MIN(at % 97 + 1, 5000 - at);
        for (size_t i = 0; i < n; i++) piece[i] = (char)((at + i) % 251);
        gm_writer_bytes(&w, piece, n);
    }
    errno = 0;
    bool done = gm_writer_end(&w);
    sink.on = false;
    for (size_t i = 0; i < sink.size; i++) CHECK_EQ((unsigned char)sink.text[i], i % 251);
    return done;
}

// What a short write leaves comes with the next one; after an error nothing more is written.
TEST(short_writes) {
    static const unsigned most[] = {1, 2, 7, 100, 10000};
    for (size_t i = 0; i < 5; i++) {
        CHECK(pass_through(most[i], 0));
        CHECK_EQ(sink.size, 5000);
        CHECK(!pass_through(most[i], 1000));
        CHECK_EQ(errno, ENOSPC);
        CHECK(sink.size >= 1000 && sink.size < 5000);
    }
}

TEST(names) {
    struct gm_writer w;
    memset(&sink, 0, sizeof sink);
    sink.most = 1000;
    sink.on = true;
    gm_writer_begin(&w, 7);
    gm_writer_name(&w, "a b;\"\\\n\xff~", 9);
    CHECK(gm_writer_end(&w));
    sink.on = false;
    CHECK(!strcmp(sink.text, "a b\\x3b\\x22\\x5c\\x0a\\xff~"));
}

// The last bucket has no bound: stops longer than all bounds count in it and in the sum of all.
TEST(stops_beyond_all_bounds) {
    static struct gm_stats s;
    struct gm_writer w;
    for (unsigned i = 0; i < 3; i++) gm_stats_stop(&s, 5000000000u);
    gm_stats_stop(&s, 1000);
    gm_writer_begin(&w, -1); // only its buffer is used
    gm_export_stops(&w, &s);
    REQUIRE(w.used < sizeof w.data);
    w.data[w.used] = 0;
    CHECK(strstr(w.data, "_bucket{le=\"+Inf\"} 4\n") && strstr(w.data, "_count 4\n"));
    CHECK(strstr(w.data, "_bucket{le=\"1.000000000\"} 1\n") != NULL);
}

TEST(sorting) {
    for (size_t n = 0; n < 300; n++) {
        uintptr_t x[300], sum = 0, after = 0;
        for (size_t i = 0; i < n; i++) sum += x[i] = room_below(n % 3 ? 1000000 : 20);
        gm_export_sort(x, n);
        for (size_t i = 0; i < n; i++) {
            after += x[i];
            if (i) CHECK(x[i - 1] <= x[i]);
        }
        CHECK_EQ(sum, after);
    }
}

TEST(nanoseconds) {
    CHECK(!strcmp(gm_export_nano(0).data, "0.000000000"));
    CHECK(!strcmp(gm_export_nano(1).data, "0.000000001"));
    CHECK(!strcmp(gm_export_nano(1500000000).data, "1.500000000"));
    CHECK(!strcmp(gm_export_nano(999999999).data, "0.999999999"));
    CHECK(!strcmp(gm_export_nano(UINT64_MAX).data, "18446744073.709551615"));
}

TEST(varints) {
    static const struct {
        uint64_t v;
        size_t size;
    } some[] = {{0, 1}, {127, 1}, {128, 2}, {16383, 2}, {16384, 3}, {UINT64_MAX, 10}};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        struct gm_nested m = {.size = 0};
        uint64_t v = 0;
        gm_export_varint(&m, some[i].v);
        CHECK_EQ(m.size, some[i].size);
        for (size_t k = 0; k < m.size; k++) {
            v |= (uint64_t)(m.data[k] & 127) << 7 * k;
            CHECK_EQ(!(m.data[k] & 128), k + 1 == m.size);
        }
        CHECK(v == some[i].v);
    }
}

// Characters of one to four bytes, and all that is none.
TEST(characters) {
    static const struct {
        const char *text;
        size_t size;
    } some[] = {{"a", 1},
                {"\x7f", 1},
                {"\xc3\xa9", 2},
                {"\xe2\x82\xac", 3},
                {"\xef\xbf\xbf", 3},
                {"\xf0\x9f\x98\x80", 4},
                {"\xf4\x8f\xbf\xbf", 4},
                {"\x80", 0},
                {"\xc0\x80", 0},
                {"\xc1\xbf", 0},
                {"\xe0\x9f\xbf", 0},
                {"\xed\xa0\x80", 0},
                {"\xf0\x8f\xbf\xbf", 0},
                {"\xf4\x90\x80\x80", 0},
                {"\xf5\x80\x80\x80", 0},
                {"\xff", 0},
                {"\xc3", 0},
                {"\xe2\x82", 0},
                {"\xc3(", 0}};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        CHECK_EQ(gm_text_utf8((const unsigned char *)some[i].text, strlen(some[i].text)),
                 some[i].size);
}

TEST(paths) {
    char to[40];
    CHECK(gm_output_path(to, sizeof to, "a.%p.b", 12, 12) && !strcmp(to, "a.12.b"));
    CHECK(gm_output_path(to, sizeof to, "a.%p%p", 4000000000u, 1));
    CHECK(!strcmp(to, "a.40000000004000000000"));
    CHECK(gm_output_path(to, sizeof to, "100%", 12, 12) && !strcmp(to, "100%"));
    CHECK(!gm_output_path(to, sizeof to, "a", 12, 13)); // a child of fork
    CHECK(!gm_output_path(to, sizeof to, "0123456789012345678901234567890123456789", 1, 1));
    CHECK(!gm_output_path(to, sizeof to, "%p%p%p%p%p%p%p%p%p", 4000000000u, 1));
}

// The executable mappings of this program, in order; one has this function and the build id that
// the linker gave it, if it did.
TEST(mappings) {
    struct gm_maps m = {.fd = gm_os_ask_open("/proc/self/maps"), .path = ""};
    uintptr_t last = 0, here = (uintptr_t)test_main;
    bool found = false;
    REQUIRE(m.fd >= 0);
    while (gm_export_next_mapping(&m)) {
        char digits[64];
        CHECK(m.start >= last && m.end > m.start);
        last = m.end;
        if (here < m.start || here >= m.end) continue;
        found = true;
        CHECK(m.runs && *m.path == '/');
        CHECK_EQ(m.start - m.head, m.offset);
        size_t n = gm_export_build_id(m.head, m.full, digits);
        CHECK(n == 0 || (n >= 16 && n <= 64));
        for (size_t i = 0; i < n; i++) CHECK(strchr("0123456789abcdef", digits[i]) != NULL);
    }
    CHECK(found);
    gm_os_ask_close(m.fd);
}

// Lists mappings as the kernel would. Each line is longer than the buffer by another amount, so its
// end is cut off at another place of it.
static int fake_maps(unsigned longer) {
    int fd = memfd_create("maps", 0);
    dprintf(fd, "1000-2000 r-xp 00003000 08:01 7                  /a b/c (deleted)\n");
    dprintf(fd, "2000-3000 r-xp 00000000 00:00 0 \n");
    dprintf(fd, "3000-4000 r-xp 00000000 00:00 0                  [anon:x/y]\n");
    dprintf(fd, "4000-5000 r-xp 00000000 08:01 8                  /");
    for (unsigned i = 0; i < 4096 + longer; i++) dprintf(fd, "%s", "\\012");
    dprintf(fd, "\n5000-6000 r-xp 00000000 00:00 0                  [vdso]\n");
    dprintf(fd, "6000-7000 rw-p 00000000 00:00 0                  (deleted)\n");
    lseek(fd, 0, SEEK_SET);
    return fd;
}

// A path of any length costs its own end and no other mapping. What is no path is no path's end.
TEST(mappings_with_long_and_strange_paths) {
    static const char *const paths[] = {"/a b/c",      "",       "[anon:x/y]",
                                        "/\\012\\012", "[vdso]", "(deleted)"};
    for (unsigned longer = 0; longer < 1200; longer += 61) {
        struct gm_maps m = {.fd = fake_maps(longer), .path = ""};
        for (uintptr_t i = 0; i < 6; i++) {
            REQUIRE(gm_export_next_mapping(&m));
            CHECK_EQ(m.start, (i + 1) * 0x1000);
            CHECK_EQ(m.runs, i < 5);
            if (i == 3) CHECK(!strncmp(m.path, paths[i], 9) && strlen(m.path) > 4096);
            else CHECK(!strcmp(m.path, paths[i]));
        }
        CHECK(!gm_export_next_mapping(&m));
        close(m.fd);
    }
}

// Returns what a function of the room has written.
static const char *written(void (*fn)(struct gm_writer *w)) {
    static char text[8192];
    struct gm_writer w;
    int fd = memfd_create("text", 0);
    if (!CHECK(fd >= 0)) return "";
    gm_writer_begin(&w, fd);
    fn(&w);
    CHECK(gm_writer_end(&w));
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    close(fd);
    text[n < 0 ? 0 : n] = 0;
    return text;
}

// Five quantiles, from the shortest of the stops to the longest one.
static void four_pauses(struct gm_writer *w) {
    gomem_memstats m = {.num_gc = 4, .pause_ns = {40, 10, 30, 20}, .pause_total_ns = 100};
    gm_export_pauses(w, &m);
}
static void no_pauses(struct gm_writer *w) {
    gomem_memstats m = {.num_gc = 0};
    gm_export_pauses(w, &m);
}
TEST(quantiles) {
    static const char *const lines[] = {"{quantile=\"0\"} 0.000000010\n",
                                        "{quantile=\"0.25\"} 0.000000010\n",
                                        "{quantile=\"0.5\"} 0.000000020\n",
                                        "{quantile=\"0.75\"} 0.000000030\n",
                                        "{quantile=\"1\"} 0.000000040\n",
                                        "_sum 0.000000100\n",
                                        "_count 4\n"};
    const char *text = written(four_pauses);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!CHECK(strstr(text, lines[i]) != NULL)) printf("\n    no %s", lines[i]);
    text = written(no_pauses);
    CHECK(!strstr(text, "quantile") && strstr(text, "_count 0\n"));
}

// ---- stacks ----

// Frames in libc: of calloc, malloc, and qsort, whose caller is atoi. False: the names are unknown,
// as in a static program.
static bool frames_of_libc(uintptr_t frames[4]) {
    static const char *const names[4] = {"calloc", "malloc", "qsort", "atoi"};
    for (unsigned i = 0; i < 4; i++) {
        struct gm_symbol d;
        frames[i] = (uintptr_t)dlsym(RTLD_DEFAULT, names[i]) + 1; // the call before is at the start
        if (frames[i] == 1 || !gm_writer_find(frames[i] - 1, &d) || !d.name) return false;
        if (i >= 2 && strcmp(d.name, names[i]) != 0) return false; // aliases of these are known
    }
    return true;
}

// The library's own frames are left out, unless a stack has no others.
TEST(frames_of_the_library) {
    uintptr_t f[4];
    if (!frames_of_libc(f)) SKIP("libc's functions have no names");
    CHECK_EQ(gm_writer_skip(f, 4), 2);
    CHECK_EQ(gm_writer_skip(f, 3), 2);
    CHECK_EQ(gm_writer_skip(f, 2), 0);
    CHECK_EQ(gm_writer_skip(f + 1, 1), 0);
    CHECK_EQ(gm_writer_skip(f + 1, 2), 1);
    CHECK_EQ(gm_writer_skip(f + 2, 2), 0);
    CHECK_EQ(gm_writer_skip(f, 0), 0);
}

static uintptr_t named;
static void name_it(struct gm_writer *w) {
    gm_writer_function(w, named, 3);
    gm_writer_function(w, named, 5);
}

// Of a long name the beginning is written.
TEST(names_of_functions) {
    uintptr_t f[4];
    if (!frames_of_libc(f)) SKIP("libc's functions have no names");
    named = gm_writer_call(f[2]);
    CHECK(!strcmp(written(name_it), "qsoqsort"));
    named = 4096; // in no file
    CHECK(!strcmp(written(name_it), "0x10000x1000"));
}

// The outermost function first, each but the last with a semicolon behind it.
static struct gm_prof_site *folded;
static void fold(struct gm_writer *w) {
    gm_prof_figures in_use = {1, 64, 1, 64}, none = {1, 64, 0, 0};
    CHECK(gm_export_fold(w, folded, &in_use));
    CHECK(gm_export_fold(w, folded, &none)); // no line
}
TEST(folded_stacks) {
    uintptr_t f[4];
    if (!frames_of_libc(f)) SKIP("libc's functions have no names");
    folded = calloc(1, sizeof *folded + sizeof f);
    REQUIRE(folded != NULL);
    memcpy(folded->frame, f, sizeof f);
    folded->depth = 4;
    CHECK(!strcmp(written(fold), "atoi;qsort 64\n"));
    folded->depth = 3;
    CHECK(!strcmp(written(fold), "qsort 64\n"));
    folded->depth = 0;
    CHECK(!strcmp(written(fold), "(unknown) 64\n"));
    free(folded);
}

// ---- locations and mappings ----

// Mappings as the kernel lists them: two of code, each with one of data behind it, and a gap.
static const char listed[] = "00010000-00020000 r-xp 00001000 00:00 1 /a\n"
                             "00020000-00030000 rw-p 00002000 00:00 1 /a\n"
                             "00050000-00060000 r-xp 00001000 00:00 2 /b\n"
                             "00080000-00090000 rw-p 00002000 00:00 2 /b\n"
                             "000a0000-000b0000 r-xp 00001000 00:00 3 /c\n";
static uintptr_t addresses[] = {0x8000,  0x10010, 0x1ffff, 0x20010, 0x40010,
                                0x50010, 0x5ffff, 0x60010, 0x80010, 0xa0010};
static const unsigned mapped[] = {0, 1, 1, 0, 0, 2, 2, 0, 0, 3}; // ids of mappings, 0: none
static struct gm_maps maps;
static void locate(struct gm_writer *w) {
    struct gm_profile p = {.w = w, .maps = &maps};
    p.list = addresses;
    p.n = sizeof addresses / sizeof addresses[0];
    gm_export_locations(&p);
}

static uint64_t read_number(const char **at);

// A location has the mapping that holds its address, if it is one of code; functions of a library
// that was closed have none.
TEST(locations_and_mappings) {
    size_t n = 0;
    maps.fd = memfd_create("maps", 0);
    maps.path = "";
    REQUIRE(maps.fd >= 0);
    REQUIRE(write(maps.fd, listed, sizeof listed - 1) == sizeof listed - 1);
    REQUIRE(lseek(maps.fd, 0, SEEK_SET) == 0);
    const char *at = written(locate);
    while (*at) {
        uint64_t tag = read_number(&at), size = read_number(&at);
        const char *in = at, *end = at += size;
        if (tag != (GM_PROTO_LOCATION << 3 | 2)) continue;
        uint64_t field[4] = {0, 0, 0, 0};
        while (in < end) {
            uint64_t key = read_number(&in) >> 3;
            uint64_t value = read_number(&in);
            if (CHECK(key < 4)) field[key] = value;
        }
        if (!CHECK(n < sizeof mapped / sizeof mapped[0])) break;
        CHECK_EQ(field[GM_LOCATION_ID], addresses[n]);
        CHECK_EQ(field[GM_LOCATION_MAPPING], mapped[n]);
        n++;
    }
    CHECK_EQ(n, sizeof mapped / sizeof mapped[0]);
    close(maps.fd);
}

// Finds the first mapping of this program's file, and the next one that is executable.
static bool own_mappings(struct gm_maps *text) {
    uintptr_t here = (uintptr_t)test_main;
    struct gm_maps m = {.fd = gm_os_ask_open("/proc/self/maps"), .path = ""};
    bool found = false;
    while (!found && gm_export_next_mapping(&m)) found = here >= m.start && here < m.end;
    gm_os_ask_close(m.fd);
    *text = m;
    return found;
}
static void write_mapping(struct gm_writer *w) {
    struct gm_profile p = {.w = w, .maps = &maps, .strings = 1}; // number 0 means none
    gm_export_mapping(&p);
}

// Does the mapping that is written have a build id?
static bool writes_build_id(void) {
    uint64_t id = 0;
    const char *at = written(write_mapping);
    while (*at) {
        uint64_t tag = read_number(&at), size = read_number(&at);
        const char *in = at, *end = at += size;
        while (tag == (GM_PROTO_MAPPING << 3 | 2) && in < end) {
            uint64_t key = read_number(&in) >> 3, value = read_number(&in);
            if (key == GM_MAPPING_BUILD) id = value;
        }
    }
    return id != 0;
}

// A mapping has the build id of the file whose headers lie as far below it as it lies behind them
// in the file; another file's headers may be nearer.
TEST(build_ids) {
    char digits[64];
    if (!own_mappings(&maps) || !gm_os_can_read()) SKIP("mappings cannot be read");
    if (!gm_export_build_id(maps.head, maps.full, digits)) SKIP("this program has no build id");
    maps.path = "";
    CHECK(writes_build_id());
    maps.offset += 4096;
    CHECK(!writes_build_id());
}

// ---- many sites ----

enum { SITES = 1000, FRAMES = 60, ADDRESSES = 40000, FIRST = 1 << 20 };
static char file[8 << 20];
static bool there[ADDRESSES], seen[ADDRESSES];

static uint64_t read_number(const char **at) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        v |= (uint64_t)(**at & 127) << shift;
        if (!(*(*at)++ & 128)) break;
    }
    return v;
}

// More addresses than the list holds: each has one location, in ascending order.
TEST(many_addresses) {
    struct gm_prof *f = &gm_runtime.engine.prof;
    size_t expected = 0, found = 0;
    uint64_t last = 0;
    void *p = gomem_malloc(10);
    REQUIRE(p != NULL);
    for (unsigned i = 0; i < SITES; i++) {
        uintptr_t frames[FRAMES];
        for (unsigned k = 0; k < FRAMES; k++) {
            size_t n = room_below(ADDRESSES);
            expected += !there[n];
            there[n] = true;
            frames[k] = FIRST + n + 1; // the return address of a call at FIRST + n
        }
        gm_sync_lock(&f->lock);
        uint32_t site = gm_prof_intern_locked(f, GM_PROF_MANUAL, "", frames, FRAMES);
        gm_sync_unlock(&f->lock);
        REQUIRE(site != 0);
        gm_prof_site_at(f, site - 1)->alloc.objects = GM_PROF_ONE;
    }
    CHECK(expected > 3 * GM_ADDRESSES);
    int fd = memfd_create("profile", 0);
    REQUIRE(fd >= 0 && gomem_write(GOMEM_HEAP_PROFILE, fd));
    ssize_t size = pread(fd, file, sizeof file, 0);
    close(fd);
    REQUIRE(size > 0 && size < (ssize_t)sizeof file);
    for (const char *at = file, *end = file + size; at < end;) {
        uint64_t tag = read_number(&at), n = read_number(&at);
        if ((tag & 7) != 2) continue;
        const char *in = at;
        at += n;
        if (tag >> 3 != GM_PROTO_LOCATION || read_number(&in) >> 3 != GM_LOCATION_ID) continue;
        uint64_t id = read_number(&in);
        CHECK(id > last);
        last = id;
        if (!CHECK(id >= FIRST && id < FIRST + ADDRESSES)) break;
        CHECK(there[id - FIRST] && !seen[id - FIRST]);
        seen[id - FIRST] = true;
        found++;
    }
    CHECK_EQ(found, expected);
    gomem_free(p);
}

// What the profile lacks is said: in its comment, and in the metrics.
TEST(losses) {
    struct gm_prof *f = &gm_runtime.engine.prof;
    static const char *const says[] = {"profile_lost_total 7\n", "profile_merged_total 9\n"};
    int fd = memfd_create("profile", 0);
    void *volatile p = gomem_malloc(10); // the heap is there
    REQUIRE(fd >= 0 && p);
    f->lost = 7, f->merged = 9;
    CHECK(gomem_write(GOMEM_HEAP_PROFILE, fd) && gomem_write(GOMEM_METRICS, fd));
    f->lost = 0, f->merged = 0;
    ssize_t size = pread(fd, file, sizeof file, 0);
    close(fd);
    REQUIRE(size > 0);
    CHECK(memmem(file, (size_t)size, "7 samples were dropped", 22) != NULL);
    CHECK(memmem(file, (size_t)size, "; 9 have no stack", 17) != NULL);
    for (unsigned i = 0; i < 2; i++)
        CHECK(memmem(file, (size_t)size, says[i], strlen(says[i])) != NULL);
    gomem_free(p);
}

// ---- frames that are none ----

// An unwinder may find any word in a stack that was overwritten. Each sample names locations that are
// there, and 0 is none.
TEST(frames_that_are_none) {
    static const uintptr_t frames[] = {0,          1, 2, 4096, UINTPTR_MAX / 2, UINTPTR_MAX - 1,
                                       UINTPTR_MAX};
    struct gm_prof *f = &gm_runtime.engine.prof;
    uint64_t named = 0, made = 0;
    void *volatile first = gomem_malloc(10); // the heap is there
    gm_sync_lock(&f->lock);
    uint32_t site = gm_prof_intern_locked(f, GM_PROF_ARENA, "none", frames, 7);
    gm_sync_unlock(&f->lock);
    REQUIRE(site != 0);
    gm_prof_site_at(f, site - 1)->alloc.objects = GM_PROF_ONE;
    gm_prof_site_at(f, site - 1)->inuse.bytes = GM_PROF_ONE * 77;
    int fd = memfd_create("profile", 0);
    REQUIRE(fd >= 0 && gomem_write(GOMEM_HEAP_PROFILE, fd));
    ssize_t size = pread(fd, file, sizeof file, 0);
    CHECK(gomem_write(GOMEM_FOLDED, fd) && gomem_write(GOMEM_REPORT, fd));
    close(fd);
    for (const char *at = file, *end = file + size; at < end;) {
        uint64_t tag = read_number(&at), n = read_number(&at);
        if ((tag & 7) != 2) continue;
        const char *in = at, *stop = at + n;
        at = stop;
        if (tag >> 3 == GM_PROTO_LOCATION && read_number(&in) >> 3 == GM_LOCATION_ID) {
            uint64_t id = read_number(&in);
            for (int i = 0; i < 7; i++) made += id == frames[i] - 1 && frames[i] > 1;
        }
        if (tag >> 3 != GM_PROTO_SAMPLE) continue;
        read_number(&in);
        for (stop = in + read_number(&in); in < stop;) {
            uint64_t id = read_number(&in);
            CHECK(id != 0);
            for (int i = 0; i < 7; i++) named += id == frames[i] - 1;
        }
    }
    CHECK_EQ(made, 5);
    CHECK(named >= 5);
    gomem_free(first);
}

// ---- how long HEAP is held ----

// What a walk does while it holds HEAP: other threads wait for that long. It is counted, so that the
// bound holds on any machine and for any heap.
static struct { uint64_t spans, pages; } held;

static void count_span(void *arg, const struct gm_span *s, uint64_t objects, uint64_t bytes) {
    (void)arg, (void)objects, (void)bytes;
    held.spans++;
    held.pages = GM_MAX(held.pages, (uint64_t)s->page);
    CHECK(gm_runtime.engine.heap.lock.word != 0);
}

TEST(a_walk_holds_the_lock_for_a_bounded_number_of_spans) {
    enum { SMALL = 40000, LARGE = 200 };
    static void *small[SMALL], *large[LARGE];
    for (int i = 0; i < SMALL; i++) small[i] = gomem_malloc(1000);
    for (int i = 0; i < LARGE; i++) large[i] = gomem_malloc(300000);
    for (int i = 0; i < LARGE; i += 2) gomem_free(large[i]), large[i] = NULL; // gaps of free pages
    struct gm_tally t = {.rows = gm_export_rows(&gm_runtime), .also = count_span};
    t.row = calloc(t.rows, sizeof *t.row);
    REQUIRE(t.row != NULL);
    unsigned holds = 0;
    uint64_t all = 0;
    struct gm_thread *me = gm_world_self();
    for (bool more = true; more; holds++) {
        size_t from = t.page;
        held.spans = 0;
        gm_sync_enter(&me->cache.hot);
        gm_sync_lock(&gm_runtime.engine.heap.lock);
        more = gm_export_add_some_locked(&gm_runtime, &t);
        gm_sync_unlock(&gm_runtime.engine.heap.lock);
        gm_sync_leave(&me->cache.hot);
        CHECK(held.spans <= GM_ROW_SPANS);
        CHECK(!more || t.page > from); // each hold advances
        all += held.spans;
    }
    CHECK(all > SMALL * 1000 / GM_PAGE / 8 && holds >= all / GM_ROW_SPANS);
    for (int i = 0; i < SMALL; i++) gomem_free(small[i]);
    for (int i = 1; i < LARGE; i += 2) gomem_free(large[i]);
    free(t.row);
}

TEST_MAIN
