// gomem_write and GOMEM_DEBUG=write: each kind read back, and descriptors that fail. The parent
// uses the heap only after the tests of the environment, which run in children.
#define _GNU_SOURCE
#include "alive.h"
#include "output.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/time.h>

static const int kinds[] = {GOMEM_METRICS, GOMEM_BY_TYPE, GOMEM_HEAP_PROFILE, GOMEM_FOLDED,
                            GOMEM_REPORT};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

// The figure of the line that begins with these words and a blank; -1: there is none.
static double figure(const char *words) {
    size_t n = strlen(words);
    for (const char *line = output; line; line = strchr(line, '\n'), line += line != NULL)
        if (!strncmp(line, words, n) && line[n] == ' ') return atof(line + n);
    return -1;
}

static uint64_t number(const char *words) { return (uint64_t)figure(words); }

// ---- at exit (in children: the parent has not used the heap yet) ----

static char directory[] = "/tmp/gomem-write-XXXXXX";
static char setting[400];

static const char *path(const char *name, pid_t pid) {
    static char text[100];
    if (pid > 0) snprintf(text, sizeof text, "%s/%s.%d", directory, name, (int)pid);
    else snprintf(text, sizeof text, "%s/%s", directory, name);
    return text;
}

static bool read_file(const char *file) {
    int fd = open(file, O_RDONLY);
    output_size = 0;
    output[0] = '\0';
    if (fd < 0) return false;
    output_read(fd);
    close(fd);
    return true;
}

static void use(void) {
    setenv("GOMEM_DEBUG", setting, 1);
    for (int i = 0; i < 1000; i++) gomem_free(gomem_malloc(40000));
}

// Forks, and both end. The child of the child tells its process id.
static void use_and_fork(void) {
    use();
    pid_t pid = fork();
    if (pid == 0) {
        gomem_free(gomem_malloc(40000));
        exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK_EQ(status, 0);
    CHECK(access(path("parent", 0), F_OK) != 0); // the child has ended and has not written it
    FILE *file = fopen(path("pid", 0), "w");
    fprintf(file, "%d", (int)pid);
    fclose(file);
}

// Shuts down first: nothing can be written.
static void use_and_shut_down(void) {
    use();
    gomem_shutdown();
}

static void begin(struct child *child, void (*fn)(void), const char *format) {
    static bool made; // a name may end in X, too
    if (!made) REQUIRE((made = mkdtemp(directory) != NULL));
    snprintf(setting, sizeof setting, format, directory, directory);
    child_run(child, fn);
    child_good(child);
}

TEST(at_exit) {
    struct child child;
    begin(&child, use,
          "stats=0,write=metrics:%s/one,write=metrics:%s/two:%%,write=types:/dev/null,"
          "write=heap:/dev/null,write=folded:/dev/null");
    CHECK_EQ(child_lines(&child), 0);
    CHECK(read_file(path("one", 0)));
    CHECK_EQ(number("gomem_by_size_mallocs_total{size=\"0\"}"), 1000);
    CHECK(read_file(path("two:%", 0)));
    CHECK_EQ(number("gomem_by_size_frees_total{size=\"0\"}"), 1000);
    begin(&child, use, "write=folded:%s/one"); // nothing was sampled: what the file had goes
    CHECK(read_file(path("one", 0)) && output_size == 0);
}

// A child of fork leaves its parent's file alone, but has one of its own if names have the id.
TEST(at_exit_of_a_fork) {
    struct child child;
    begin(&child, use_and_fork, "write=metrics:%s/parent,write=metrics:%s/each.%%p");
    CHECK(read_file(path("pid", 0)));
    pid_t pid = atoi(output);
    CHECK(read_file(path("parent", 0)));
    CHECK_EQ(number("gomem_by_size_mallocs_total{size=\"0\"}"), 1000);
    CHECK(read_file(path("each", pid)));
    CHECK_EQ(number("gomem_by_size_mallocs_total{size=\"0\"}"), 1001);
}

// What cannot be written is told in one line, and nothing else happens.
TEST(at_exit_fails) {
    struct child child;
    begin(&child, use, "write=metrics:%s/none/x");
    CHECK_EQ(child_lines(&child), 1);
    CHECK(strstr(child.text, "/none/x") != NULL);
    begin(&child, use, "write=metrics:/dev/full");
    CHECK_EQ(child_lines(&child), 1);
    begin(&child, use_and_shut_down, "write=metrics:%s/shut");
    CHECK_EQ(child_lines(&child), 1);
    CHECK(read_file(path("shut", 0)) && output_size == 0);
}

TEST(at_exit_bad_settings) {
    static const char *const bad[] = {"write=",      "write=metrics",     "write=metrics:",
                                      "write=:%s/x", "write=metric:%s/x", "write=metricss:%s/x"};
    struct child child;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        begin(&child, use, bad[i]);
        if (!CHECK_EQ(child_lines(&child), 1)) printf("\n    %s: %s", bad[i], child.text);
        CHECK(strstr(child.text, "metrics") != NULL);
        CHECK(!read_file(path("x", 0)));
    }
}

static char long_setting[6000];
static void use_long(void) {
    setenv("GOMEM_DEBUG", long_setting, 1);
    gomem_free(gomem_malloc(100));
}

// Names that do not fit are refused, each with a line; those before them are written.
TEST(at_exit_long_names) {
    struct child child;
    size_t n = (size_t)snprintf(long_setting, sizeof long_setting, "write=metrics:%s/short",
                                directory);
    for (int i = 0; i < 5; i++) {
        n += (size_t)snprintf(long_setting + n, sizeof long_setting - n, ",write=metrics:");
        memset(long_setting + n, 'x', 1000);
        n += 1000;
    }
    long_setting[n] = '\0';
    child_run(&child, use_long);
    CHECK_EQ(child.status, 0);
    CHECK_EQ(child_lines(&child), 5);
    CHECK(read_file(path("short", 0)) && output_size > 0);
}

TEST(at_exit_cleanup) {
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    CHECK_EQ(system(command), 0);
}

// ---- before the first use, after shutdown ----

static void fails_after_shutdown(void) {
    CHECK(gomem_malloc(10) != NULL);
    gomem_shutdown();
    for (int i = 0; i < KINDS; i++) {
        errno = 0;
        CHECK(!output_written(kinds[i]) && output_size == 0);
        CHECK_EQ(errno, ESHUTDOWN);
    }
    REQUIRE(gomem_init(NULL));
    for (int i = 0; i < KINDS; i++) CHECK(output_written(kinds[i]));
}

static void works_at_first(void) {
    for (int i = 0; i < KINDS; i++) CHECK(output_written(kinds[i]));
}

TEST(life) {
    CHILD_GOOD(works_at_first);
    CHILD_GOOD(fails_after_shutdown);
}

// ---- in hooks ----

static void write_all(void);
static int hooked;
static void write_in_hook(const char *line, void *user) {
    (void)line, (void)user;
    if (hooked++) return;
    write_all();
    CHECK(output_written(GOMEM_METRICS) && output_size > 1000);
}

static void is_warned(void) {
    gomem_options o = {.warn = write_in_hook};
    setenv("GOMEM_DEBUG", "profile=1,nonsense=1", 1);
    CHECK(gomem_init(&o));
    CHECK_EQ(hooked, 1);
    write_all();
}
static void is_caught(void) {
    gomem_options o = {.panic = write_in_hook};
    setenv("GOMEM_DEBUG", "profile=1", 1);
    CHECK(gomem_init(&o));
    char *p = gomem_malloc(100);
    char *volatile inside = p + 48;
    gomem_free(inside);
    CHECK_EQ(hooked, 1);
    gomem_free(p);
    write_all();
    CHECK(HEAP_IS_WHOLE());
}
// The threads are stopped, and one of them may hold any lock.
static void write_in_root(gomem_marker *m, void *arg) {
    (void)m, (void)arg;
    hooked++;
    for (int i = 0; i < KINDS; i++) output_fails(kinds[i], STDERR_FILENO, EAGAIN);
    output_fails(GOMEM_LEAKS, STDERR_FILENO, EAGAIN);
}
static void marks(void) {
    setenv("GOMEM_DEBUG", "profile=1", 1);
    void *volatile p = gomem_new(100);
    CHECK(gomem_add_root_fn(write_in_root, NULL));
    CHECK(COLLECTED());
    CHECK(hooked > 0);
    write_all();
    CHECK(HEAP_IS_WHOLE());
    (void)p;
}

// A mark procedure runs on any thread that marks; those of the library have no record.
struct link {
    struct link *next;
    long value[7];
};
static atomic_int elsewhere;
static pthread_t main_thread;
static void write_in_mark(const void *obj, size_t size, gomem_marker *m) {
    (void)size;
    gomem_mark(m, ((const struct link *)obj)->next);
    if (pthread_equal(pthread_self(), main_thread)) return;
    if (atomic_fetch_add(&elsewhere, 1) % 100) return;
    for (int i = 0; i < KINDS; i++) output_fails(kinds[i], STDERR_FILENO, EAGAIN);
    output_fails(GOMEM_LEAKS, STDERR_FILENO, EAGAIN);
}
static void marks_elsewhere(void) {
    enum { LINKS = 20000, ROUNDS = 2000 };
    static gomem_type type = {"struct link", sizeof(struct link), 8, NULL, 0, write_in_mark, 0};
    static void *volatile table[LINKS];
    CHECK(gomem_init(&(gomem_options){.collector = GOMEM_GC_STW, .mark_workers = 3}));
    main_thread = pthread_self();
    for (int i = 0; i < LINKS; i++) table[i] = gomem_new_typed(&type, sizeof(struct link));
    for (int i = 0; i < ROUNDS && !atomic_load(&elsewhere); i++) CHECK(gomem_gc());
    CHECK(atomic_load(&elsewhere) > 0 && table[0]);
    write_all();
}

TEST(in_hooks) {
    CHILD_GOOD(marks_elsewhere);
    CHILD_GOOD(is_warned);
    CHILD_GOOD(is_caught);
    CHILD_GOOD(marks);
}

TEST(unknown_kinds) {
    static const int bad[] = {0, -1, 1000, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        CHECK(!gomem_write(bad[i], 1));
        CHECK_EQ(errno, EINVAL);
    }
}

// ---- metrics ----

TEST(metrics) {
    gomem_memstats m = output_beside_memstats(GOMEM_METRICS);
    CHECK_EQ(number("gomem_memstats_alloc_bytes"), m.alloc);
    CHECK_EQ(number("gomem_memstats_alloc_bytes_total"), m.total_alloc);
    CHECK_EQ(number("gomem_memstats_mallocs_total"), m.mallocs);
    CHECK_EQ(number("gomem_memstats_frees_total"), m.frees);
    CHECK_EQ(number("gomem_memstats_heap_sys_bytes"), m.heap_sys);
    CHECK_EQ(number("gomem_memstats_heap_inuse_bytes"), m.heap_inuse);
    CHECK_EQ(number("gomem_memstats_heap_objects"), m.heap_objects);
    CHECK_EQ(number("gomem_memstats_next_gc_bytes"), m.next_gc);
    CHECK_EQ(number("gomem_gc_cycles_total"), m.num_gc);
    CHECK_EQ(number("gomem_gc_duration_seconds_count"), m.num_gc);
    CHECK_EQ(number("gomem_threads"), m.threads);
    CHECK_EQ(number("gomem_by_size_mallocs_total{size=\"0\"}"), m.by_size[0].mallocs);
    CHECK_EQ(number("gomem_memstats_last_gc_time_seconds"), m.last_gc / 1000000000);
    double sum = figure("gomem_gc_duration_seconds_sum") * 1e9 - (double)m.pause_total_ns;
    CHECK(sum < 1000 && sum > -1000);
    CHECK_EQ(number("gomem_gc_pauses_seconds_bucket{le=\"+Inf\"}"),
             number("gomem_gc_pauses_seconds_count"));
    CHECK(number("gomem_gc_pauses_seconds_count") >= m.num_gc);
}

// Each bucket of the histogram holds what the one before it holds.
TEST(metrics_buckets_grow) {
    double last = 0, bound = 0;
    int buckets = 0;
    for (int i = 0; i < 20; i++) gomem_gc();
    CHECK(output_written(GOMEM_METRICS));
    for (const char *at = output; (at = strstr(at, "_bucket{le=\"")) != NULL; buckets++) {
        at += 12;
        double le = strncmp(at, "+Inf", 4) ? atof(at) : 1e300, n = atof(strchr(at, ' '));
        CHECK(le > bound && n >= last);
        bound = le;
        last = n;
    }
    CHECK_EQ(buckets, 17);
    CHECK_EQ((uint64_t)last, number("gomem_gc_pauses_seconds_count"));
}

// Whether a Python has the reference parser of the format; where it has not, promtool checks it.
TEST(metrics_reference_parser) {
    static const char *const parsers[] = {
        "python3 -c 'from prometheus_client.parser import text_string_to_metric_families as f; "
        "import sys; n = [m.name for m in f(sys.stdin.read())]; assert len(n) > 30, n; "
        "assert len(set(n)) >= len(n) - 1, n' < %s",
        "promtool check metrics < %s"};
    static const char *const there[] = {"python3 -c 'import prometheus_client' 2>/dev/null",
                                        "promtool --version >/dev/null 2>&1"};
    char file[] = "/tmp/gomem-metrics-XXXXXX", command[400];
    unsigned done = 0;
    int fd = mkstemp(file);
    REQUIRE(fd >= 0);
    CHECK(gomem_write(GOMEM_METRICS, fd));
    close(fd);
    for (unsigned i = 0; i < 2; i++) {
        if (system(there[i]) != 0) continue;
        snprintf(command, sizeof command, parsers[i], file);
        CHECK_EQ(system(command), 0);
        done++;
    }
    unlink(file);
    if (!done) SKIP("neither Python's prometheus_client nor promtool is installed");
}

// ---- by type ----

struct line { // of the table
    uint64_t bytes, objects, size;
};

// The line of a type or (kind) in a class; size 0: large.
static struct line line_of(const char *name, uint64_t size) {
    for (const char *s = output; s != NULL && *s != '\0'; s = strchr(s, '\n'), s += s != NULL) {
        struct line line;
        char is[20] = "";
        int at = 0;
        if (sscanf(s, "%" SCNu64 " %" SCNu64 " %19s %n", &line.bytes, &line.objects, is, &at) < 3)
            continue;
        line.size = strtoull(is, NULL, 10);
        size_t n = strcspn(s + at, "\n");
        if (n == strlen(name) && !strncmp(s + at, name, n) && line.size == size) return line;
    }
    return (struct line){0, 0, 0};
}

struct pair {
    void *a, *b;
    char more[32];
};
GOMEM_TYPE(pair_type, struct pair, a);
static const gomem_field strange_fields[] = {{0, 1}};
static gomem_type strange_type = {"a\nb\"\xff<;", 64, 8, strange_fields, 1, NULL, 0};

static void *volatile kept[3000];

TEST(by_type) {
    COLLECTED();
    REQUIRE(output_written(GOMEM_BY_TYPE));
    struct line old = line_of("(collected)", 2048), manual = line_of("(manual)", 0),
                root = line_of("(uncollectable)", 112), leaf = line_of("(collected, noscan)", 3072);
    for (int i = 0; i < 1000; i++) kept[i] = GOMEM_NEW_TYPED(struct pair, &pair_type);
    for (int i = 1000; i < 1100; i++) kept[i] = gomem_new(2000);
    for (int i = 1100; i < 1107; i++) kept[i] = gomem_malloc(100000);
    for (int i = 1107; i < 1110; i++) kept[i] = gomem_new_with(100, 0, GOMEM_UNCOLLECTABLE);
    for (int i = 1110; i < 1115; i++) kept[i] = gomem_new_noscan(3000);
    for (int i = 1115; i < 1117; i++) kept[i] = GOMEM_MAKE_TYPED(struct pair, &pair_type, 10000);
    kept[1117] = gomem_new_typed(&strange_type, 1);
    CHECK(COLLECTED());
    REQUIRE(output_written(GOMEM_BY_TYPE));
    CHECK_EQ(line_of("struct pair", 48).objects, 1000);
    CHECK_EQ(line_of("struct pair", 48).bytes, 48000);
    CHECK_EQ(line_of("(collected)", 2048).objects - old.objects, 100);
    CHECK_EQ(line_of("(manual)", 0).objects - manual.objects, 7);
    CHECK_EQ(line_of("(manual)", 0).bytes - manual.bytes, 7 * 100000);
    CHECK_EQ(line_of("(uncollectable)", 112).objects - root.objects, 3);
    CHECK_EQ(line_of("(collected, noscan)", 3072).objects - leaf.objects, 5);
    CHECK_EQ(line_of("struct pair", 0).objects, 2);
    CHECK(line_of("struct pair", 0).bytes >= 2 * 10000 * 48);
    CHECK_EQ(line_of("a\\x0ab\\x22\\xff<\\x3b", 64).objects, 1);
}

// Dead objects are counted until a cycle has found them, freed ones are not.
TEST(by_type_after_free) {
    for (int i = 0; i < 3000; i++) gomem_free(kept[i]), kept[i] = NULL;
    for (int i = 0; i < 1000; i++) kept[i] = GOMEM_NEW_TYPED(struct pair, &pair_type);
    for (int i = 0; i < 500; i++) gomem_free(kept[i]), kept[i] = NULL;
    REQUIRE(output_written(GOMEM_BY_TYPE));
    CHECK_EQ(line_of("struct pair", 48).objects, 500);
    CHECK_EQ(line_of("struct pair", 0).objects, 0);
    for (int i = 500; i < 1000; i++) kept[i] = NULL;
    alive_clear_stack();
    CHECK(COLLECTED()); // the spans may not be swept yet: then the marks decide
    REQUIRE(output_written(GOMEM_BY_TYPE));
    CHECK(line_of("struct pair", 48).objects < 20);
}

// The objects of all lines, as the last one says.
static uint64_t total_objects(void) {
    const char *end = strstr(output, " total");
    uint64_t objects = UINT64_MAX;
    while (end && end > output && end[-1] != '\n') end--;
    CHECK(end && sscanf(end, "%*s %" SCNu64, &objects) == 1);
    return objects;
}

// Memory of a freed large object that a thread keeps for the next one is no object.
TEST(large_and_freed) {
    REQUIRE(output_written(GOMEM_BY_TYPE));
    uint64_t before = total_objects();
    void *p = gomem_malloc(100000), *q = gomem_malloc(100000);
    gomem_free(p);
    REQUIRE(q && output_written(GOMEM_BY_TYPE));
    CHECK_EQ(total_objects(), before + 1);
    gomem_free(q);
}

// The lines are in order, and their sum is the last one.
TEST(by_type_in_order) {
    uint64_t bytes, objects, last = UINT64_MAX, all_bytes = 0, all_objects = 0;
    bool total = false;
    for (int i = 0; i < 3000; i++) kept[i] = i % 3 ? gomem_malloc(i) : gomem_new(i);
    REQUIRE(output_written(GOMEM_BY_TYPE));
    const char *s = strchr(output, '\n');
    for (; s != NULL && s[1] != '\0'; s = strchr(s + 1, '\n')) {
        char size[20] = "";
        CHECK(!total && sscanf(s, "%" SCNu64 " %" SCNu64 " %19s", &bytes, &objects, size) == 3);
        total = !strcmp(size, "total");
        if (total) break;
        CHECK(bytes <= last);
        last = bytes;
        all_bytes += bytes;
        all_objects += objects;
    }
    CHECK(total && all_objects > 3000);
    CHECK_EQ(all_bytes, bytes);
    CHECK_EQ(all_objects, objects);
    for (int i = 0; i < 3000; i++) gomem_free(kept[i]), kept[i] = NULL;
}

// Blocks have lines of their own, and the objects of memstats are those of the other lines.
TEST(by_type_blocks) {
    gomem_arena a = {0};
    REQUIRE(gomem_arena_alloc(&a, 100) != NULL);
    CHECK(output_written(GOMEM_BY_TYPE));
    CHECK(line_of("(blocks of arenas)", 0).objects >= 1);
    gomem_arena_free(&a);
}

// ---- heap profile ----

// A reader of protobuf: a message is a range of bytes, a field is a number or such a range.
struct message {
    const unsigned char *at, *end;
};
struct field {
    unsigned number;
    bool nested;
    uint64_t value;
    struct message in;
};

static uint64_t read_varint(struct message *m) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (!CHECK(m->at < m->end)) return 0;
        v |= (uint64_t)(*m->at & 127) << shift;
        if (!(*m->at++ & 128)) return v;
    }
    CHECK(!"a number ends");
    return v;
}

// The next field of a message. False: its end.
static bool read_field(struct message *m, struct field *f) {
    if (m->at == m->end || test_failed() > 20) return false;
    uint64_t tag = read_varint(m);
    f->number = (unsigned)(tag >> 3);
    f->nested = (tag & 7) == 2;
    CHECK((tag & 7) == 0 || f->nested);
    f->value = read_varint(m);
    if (!f->nested) return true;
    if (!CHECK(f->value <= (uint64_t)(m->end - m->at))) return false;
    f->in = (struct message){m->at, m->at + f->value};
    m->at += f->value;
    return true;
}

enum { MOST = 40000 };
static struct {
    struct message string[MOST];
    uint64_t location[MOST], address[MOST], location_mapping[MOST], used[MOST];
    size_t strings, locations, mappings, used_locations, samples, types;
    uint64_t values[4], default_type, period;
} profile;

static bool string_is(uint64_t n, const char *text) {
    if (!CHECK(n < profile.strings)) return false;
    size_t size = (size_t)(profile.string[n].end - profile.string[n].at);
    return size == strlen(text) && !memcmp(profile.string[n].at, text, size);
}

// Which samples count, and what they add up to.
static const char *only_type;

static void read_sample(struct message m) {
    struct field f, in;
    uint64_t value[8], type = 0;
    size_t values = 0;
    while (read_field(&m, &f)) {
        struct message part = f.in;
        CHECK(f.nested);
        if (f.number == 1)
            while (part.at < part.end && profile.used_locations < MOST)
                profile.used[profile.used_locations++] = read_varint(&part);
        if (f.number == 2)
            while (part.at < part.end && values < 8) value[values++] = read_varint(&part);
        uint64_t key = 0, text = 0;
        while (f.number == 3 && read_field(&part, &in)) {
            if (in.number == 1) key = in.value;
            if (in.number == 2) text = in.value;
        }
        if (f.number == 3 && string_is(key, "type")) type = text;
        CHECK(f.number >= 1 && f.number <= 3);
    }
    CHECK_EQ(values, 4);
    CHECK(value[2] <= value[0] && value[3] <= value[1]);
    profile.samples++;
    if (only_type != NULL && !(type && string_is(type, only_type))) return;
    for (int i = 0; i < 4; i++) profile.values[i] += value[i];
}

static void read_location(struct message m) {
    struct field f;
    if (!CHECK(profile.locations < MOST)) return;
    size_t n = profile.locations++;
    profile.location_mapping[n] = 0;
    while (read_field(&m, &f)) {
        if (f.number == 1) profile.location[n] = f.value;
        if (f.number == 2) profile.location_mapping[n] = f.value;
        if (f.number == 3) profile.address[n] = f.value;
    }
    CHECK(profile.location_mapping[n] <= profile.mappings);
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

// Reads `output` and checks that it is whole: ids are unique and not 0, and what is named is there.
static void read_profile(const char *type) {
    struct message m = {(unsigned char *)output, (unsigned char *)output + output_size};
    struct field f;
    memset(&profile, 0, sizeof profile);
    only_type = type;
    while (read_field(&m, &f)) {
        if (f.number == 6 && CHECK(profile.strings < MOST))
            profile.string[profile.strings++] = f.in;
        if (f.number == 1) profile.types++;
        if (f.number == 2) read_sample(f.in);
        if (f.number == 3) profile.mappings++;
        if (f.number == 4) read_location(f.in);
        if (f.number == 12) profile.period = f.value;
        if (f.number == 14) profile.default_type = f.value;
    }
    CHECK_EQ(profile.types, 4);
    CHECK(string_is(0, "") && string_is(profile.default_type, "inuse_space"));
    qsort(profile.location, profile.locations, sizeof profile.location[0], by_value);
    for (size_t i = 0; i < profile.locations; i++)
        CHECK(profile.location[i] != (i ? profile.location[i - 1] : 0));
    for (size_t i = 0; i < profile.used_locations; i++)
        CHECK(bsearch(&profile.used[i], profile.location, profile.locations, sizeof profile.used[0],
                      by_value) != NULL);
}

// Recursion makes stacks of many depths and addresses.
static ALIVE_NOINLINE void *deep(unsigned n, unsigned path) {
    void *volatile p;
    if (!n) p = gomem_malloc(1000);
    else if (path & 1) p = deep(n - 1, path >> 1);
    else p = deep(n - 1, path >> 1);
    return p;
}

TEST(profile_of_nothing) {
    REQUIRE(output_written(GOMEM_HEAP_PROFILE));
    read_profile(NULL);
    CHECK_EQ(profile.samples, 0);
    CHECK(profile.mappings > 0);
    CHECK(output_written(GOMEM_FOLDED) && output_size == 0);
}

TEST(profile) {
    gomem_set_profile_rate(1); // every object
    for (int i = 0; i < 1000; i++) kept[i] = GOMEM_NEW_TYPED(struct pair, &pair_type);
    for (int i = 1000; i < 1100; i++) kept[i] = deep(20, (unsigned)i);
    kept[1100] = gomem_new_typed(&strange_type, 1);
    for (int i = 1050; i < 1100; i++) gomem_free(kept[i]), kept[i] = NULL;
    CHECK(COLLECTED());
    gomem_set_profile_rate(0);
    REQUIRE(output_written(GOMEM_HEAP_PROFILE));
    read_profile("struct pair");
    CHECK_EQ(profile.values[0], 1000);
    CHECK_EQ(profile.values[2], 1000);
    CHECK_EQ(profile.values[1], 48000);
    CHECK_EQ(profile.values[3], 48000);
    read_profile("a\nb\"?<;"); // a byte that is no UTF-8 is replaced
    CHECK_EQ(profile.values[0], 1);
    read_profile(NULL);
    CHECK(profile.samples > 2 && profile.locations > 4 && profile.mappings > 0);
    CHECK(profile.values[0] >= 1101 && profile.values[2] >= 1051);
    size_t mapped = 0;
    for (size_t i = 0; i < profile.locations; i++) mapped += profile.location_mapping[i] != 0;
    CHECK_EQ(mapped, profile.locations);
    REQUIRE(output_written(GOMEM_FOLDED));
    uint64_t folded = 0;
    for (char *s = output, *end; (end = strchr(s, '\n')) != NULL; s = end + 1) {
        *end = '\0';
        const char *blank = strrchr(s, ' ');
        if (CHECK(blank != NULL && blank > s)) folded += strtoull(blank, NULL, 10);
    }
    CHECK_EQ(folded, profile.values[3]);
}

// The reference reader, where Go is installed.
TEST(profile_pprof) {
    char file[] = "/tmp/gomem-profile-XXXXXX", command[400];
    if (system("go tool pprof -h >/dev/null 2>&1") != 0) SKIP("go tool pprof is not installed");
    int fd = mkstemp(file);
    REQUIRE(fd >= 0);
    CHECK(gomem_write(GOMEM_HEAP_PROFILE, fd));
    close(fd);
    snprintf(command, sizeof command,
             "go tool pprof -symbolize=none -raw %s 2>/dev/null | grep -q 'type:.struct pair.'",
             file);
    CHECK_EQ(system(command), 0);
    unlink(file);
    for (int i = 0; i < 1101; i++) kept[i] = NULL;
}

// ---- descriptors that fail ----

// From here on each kind has something to write.
TEST(bad_descriptors) {
    for (int i = 0; i < KINDS; i++) output_bad_descriptors(kinds[i]);
}

TEST(pipe_without_reader) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    close(ends[0]);
    void (*old)(int) = signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < KINDS; i++) output_fails(kinds[i], ends[1], EPIPE);
    signal(SIGPIPE, old);
    close(ends[1]);
}

// A full pipe that does not block: false, and what was written is a beginning.
TEST(pipe_that_does_not_block) {
    int ends[2];
    REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
    int room = fcntl(ends[1], F_SETPIPE_SZ, 4096);
    if (room != 4096) SKIP("pipes cannot be made small");
    errno = 0;
    CHECK(!gomem_write(GOMEM_METRICS, ends[1]));
    CHECK_EQ(errno, EAGAIN);
    ssize_t n = read(ends[0], output, sizeof output - 1);
    CHECK(n > 1000 && !strncmp(output, "# HELP gomem_", 13));
    close(ends[0]);
    close(ends[1]);
}

// ---- short writes and signals ----

static atomic_int rings;
static void ring(int signal) {
    (void)signal;
    atomic_fetch_add_explicit(&rings, 1, memory_order_relaxed);
}

struct slow { // a reader that takes little at a time
    int fd;
    size_t size;
    char text[1 << 19];
};
static struct slow slow;

static void *read_slowly(void *arg) {
    ssize_t n;
    (void)arg;
    slow.size = 0;
    while ((n = read(slow.fd, slow.text + slow.size, 100)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) slow.size += (size_t)n, usleep(20);
    return NULL;
}

// Interrupted all the time, through a small pipe: each call of write() ends early or short. What
// comes out is whole.
TEST(interrupted) {
    struct sigaction action = {.sa_handler = ring}, old; // no SA_RESTART
    struct itimerval often = {{0, 200}, {0, 200}}, off = {{0, 0}, {0, 0}};
    int ends[2];
    pthread_t thread;
    REQUIRE(pipe(ends) == 0);
    (void)fcntl(ends[1], F_SETPIPE_SZ, 4096);
    slow.fd = ends[0];
    REQUIRE(pthread_create(&thread, NULL, read_slowly, NULL) == 0);
    sigaction(SIGALRM, &action, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 20; i++) CHECK(gomem_write(GOMEM_METRICS, ends[1]));
    setitimer(ITIMER_REAL, &off, NULL);
    sigaction(SIGALRM, &old, NULL);
    close(ends[1]);
    pthread_join(thread, NULL);
    close(ends[0]);
    slow.text[slow.size] = '\0';
    size_t begins = 0, ends_well = 0;
    for (const char *s = slow.text; (s = strstr(s, "# HELP gomem_info")) != NULL; s++) begins++;
    for (const char *s = slow.text; (s = strstr(s, "\ngomem_gc_pauses_seconds_count ")); s++)
        ends_well++;
    CHECK_EQ(begins, 20);
    CHECK_EQ(ends_well, 20);
    CHECK(atomic_load(&rings) > 0);
}

// ---- from anywhere ----

static void write_all(void) {
    int fd = open("/dev/null", O_WRONLY);
    for (int i = 0; i < KINDS; i++) CHECK(gomem_write(kinds[i], fd));
    close(fd);
}

TEST(in_region) {
    gomem_blocking_begin();
    write_all();
    gomem_blocking_end();
}

static atomic_int finalized;
static void write_in_finalizer(void *obj, void *arg) {
    (void)obj, (void)arg;
    write_all();
    atomic_fetch_add(&finalized, 1);
}

static ALIVE_NOINLINE void drop_one(void) {
    void *p = gomem_new(32);
    CHECK(p != NULL && gomem_set_finalizer(p, write_in_finalizer, NULL));
}

TEST(in_finalizer) {
    drop_one();
    alive_clear_stack();
    for (int i = 0; i < 200 && !atomic_load(&finalized); i++) {
        gomem_gc();
        gomem_run_finalizers(0);
        usleep(1000);
    }
    if (!atomic_load(&finalized)) SKIP("a stale register keeps the object");
}

static void write_in_child(void) {
    write_all();
    CHECK(output_written(GOMEM_METRICS));
    CHECK(number("gomem_memstats_mallocs_total") > 0);
}

TEST(in_forked_child) {
    CHECK(gomem_malloc(10) != NULL);
    CHILD_GOOD(write_in_child);
}

static atomic_bool stop;
static void *churn(void *arg) {
    void *volatile kept[64] = {NULL};
    (void)arg;
    for (size_t i = 0; !atomic_load_explicit(&stop, memory_order_relaxed); i++) {
        gomem_free(kept[i % 64]);
        kept[i % 64] = gomem_malloc(i * 37 % (i % 100 ? 3000 : 100000));
        void *volatile p = gomem_new(i * 53 % 2000);
        (void)p;
    }
    for (int i = 0; i < 64; i++) gomem_free(kept[i]);
    return NULL;
}

static void *write_often(void *arg) {
    (void)arg;
    for (int i = 0; i < 50; i++) write_all();
    return NULL;
}

// Two threads write while others allocate and cycles run.
TEST(beside_others) {
    pthread_t busy[2], writer[2];
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&busy[i], NULL, churn, NULL) == 0);
    for (int i = 0; i < 2; i++) REQUIRE(pthread_create(&writer[i], NULL, write_often, NULL) == 0);
    for (int i = 0; i < 2; i++) pthread_join(writer[i], NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++) pthread_join(busy[i], NULL);
    CHECK(HEAP_IS_WHOLE());
}

// A call allocates nothing: not from gomem, and so not from malloc under the override.
TEST(allocates_nothing) {
    gomem_memstats before = {.size = sizeof before}, after = {.size = sizeof after};
    int fd = open("/dev/null", O_WRONLY);
    gomem_gc_hold();
    for (int i = 0; i < KINDS; i++) CHECK(gomem_write(kinds[i], fd));
    gomem_read_memstats(&before);
    for (int i = 0; i < KINDS; i++) CHECK(gomem_write(kinds[i], fd));
    gomem_read_memstats(&after);
    gomem_gc_unhold();
    close(fd);
    CHECK_EQ(before.mallocs, after.mallocs);
    CHECK_EQ(before.sys, after.sys);
}

TEST_MAIN
