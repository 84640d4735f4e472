// The environment and gomem_init against a second parser: what is accepted, what is warned of, what
// the settings are then, and that the heap works under all of them. It holds the implementation,
// since settings are read once in the life of a process, and an input must begin anew.
#define GOMEM_IMPLEMENTATION
#define GOMEM_LOG(line) fuzz_hear_line(line)
static void fuzz_hear_line(const char *line);
#include "fuzz.h"

enum { VALUE = 400 };

static const char *const names[] = {"GOMEM_GOGC", "GOMEM_MEMLIMIT", "GOMEM_HARDLIMIT",
                                    "GOMEM_RESERVE", "GOMEM_DEBUG"};
enum { GOGC, MEMLIMIT, HARDLIMIT, RESERVE, DEBUG, VARIABLES };

// What the settings must be; 0 is not set.
static struct {
    char value[VARIABLES][VALUE]; // empty: not set
    int percent, collector;
    size_t size[VARIABLES]; // MEMLIMIT, HARDLIMIT, RESERVE
    unsigned warnings;
    bool automatic, running; // a limit follows the control group; limits were set since the start
} m;

// ---- what the library writes: single lines that can be printed ----

static void check_line(const char *line) {
    size_t n = strlen(line);
    FUZZ_CHECK(n > 0 && n < 1000);
    for (size_t i = 0; i < n; i++) FUZZ_CHECK((unsigned char)line[i] >= ' ');
}
static void fuzz_hear_line(const char *line) { check_line(line); }

static void hear_warning(const char *line, void *user) {
    (void)user;
    check_line(line);
    fuzz_warnings += strstr(line, " does not know \"") != NULL;
}

// ---- values ----

static char *add_raw(char *to, char *end) {
    for (unsigned n = fuzz_below(24); n && to < end; n--) {
        char c = (char)fuzz_byte();
        if (c) *to++ = c;
    }
    return to;
}

static char *add_number(char *to) {
    static const char *const units[] = {"", "B", "KiB", "MiB", "GiB", "TiB", "K", "mib", "PiB"};
    unsigned long long n = fuzz_word();
    if (fuzz_below(3) == 0) n = ~0ull >> fuzz_below(64);
    to += sprintf(to, "%s%llu", fuzz_below(8) ? "" : "-", n);
    return to + sprintf(to, "%s", units[fuzz_below(fuzz_below(2) ? 1 : 9)]);
}

static char *add_item(char *to) {
    static const char *const keys[] = {"verify",  "poison", "lost", "stats", "escape", "collector",
                                       "gctrace", "Verify", "los",  "lostt", "",       "memory"};
    static const char *const what[] = {"0", "1", "1",  "tracked", "barrier", "stw",
                                       "2", "",  "10", "=1",      "Stw",     "on"};
    const char *equals = fuzz_below(8) ? "=" : "";
    return to + sprintf(to, "%s%s%s", keys[fuzz_below(12)], equals, what[fuzz_below(12)]);
}

static void make_value(int variable) {
    char *to = m.value[variable], *end = to + VALUE - 100;
    memset(to, 0, VALUE);
    switch (fuzz_below(6)) {
    case 0: (void)add_raw(to, end); break;
    case 1: strcpy(to, "off"); break;
    case 2: strcpy(to, "auto"); break;
    case 3: to = add_number(to); break;
    case 4: (void)add_raw(add_number(to), end); break;
    default: return; // not set
    }
}

static void make_debug(void) {
    char *to = m.value[DEBUG], *end = to + VALUE - 100;
    memset(to, 0, VALUE);
    for (unsigned n = fuzz_below(8); n && to < end; n--) {
        to = fuzz_below(8) ? add_item(to) : add_raw(to, end);
        *to = fuzz_below(16) ? ',' : 0;
        to += *to != 0;
    }
}

// ---- the second parser ----

static bool is_number(const char *s) { return *s && strspn(s, "0123456789") == strlen(s); }

// A warning for what is neither a percentage nor `off`. From 100,000,010 on it is too large.
static void expect_percent(void) {
    const char *s = m.value[GOGC];
    if (m.percent || !*s) return;
    if (!strcmp(s, "off")) m.percent = GOMEM_GC_OFF;
    else if (is_number(s) && strtod(s, NULL) >= 1 && strtod(s, NULL) <= 100000009)
        m.percent = atoi(s);
    else m.warnings++;
}

// Bytes, 0 if it is none, or more than PTRDIFF_MAX.
static size_t parse_size(const char *s) {
    static const char *const units[] = {"", "B", "KiB", "MiB", "GiB", "TiB"};
    char digits[VALUE];
    size_t n = strspn(s, "0123456789");
    memcpy(digits, s, n);
    digits[n] = 0;
    errno = 0;
    uint64_t value = n ? strtoull(digits, NULL, 10) : 0;
    if (errno) return 0;
    for (int i = 0; i < 6; i++) {
        if (strcmp(s + n, units[i])) continue;
        int shift = i ? 10 * (i - 1) : 0;
        if (value > (uint64_t)PTRDIFF_MAX >> shift) return 0;
        return (size_t)(value << shift);
    }
    return 0;
}

static void expect_size(int variable) {
    const char *s = m.value[variable];
    if (m.size[variable] || !*s || !strcmp(s, "off")) return;
    bool automatic = variable != RESERVE && !strcmp(s, "auto");
    m.automatic |= automatic;
    if (automatic) return;
    m.size[variable] = parse_size(s);
    m.warnings += !m.size[variable];
}

static bool expect_item(const char *item) {
    static const char *const flags[] = {"gctrace", "verify", "stats", "poison", "lost", "escape"};
    static const char *const collectors[] = {"tracked", "barrier", "stw"};
    char text[VALUE];
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "collector=%s", collectors[i]);
        if (strcmp(item, text)) continue;
        if (!m.collector) m.collector = GOMEM_GC_TRACKED + i;
        return true;
    }
    for (int i = 0; i < 12; i++) {
        snprintf(text, sizeof text, "%s=%d", flags[i / 2], i % 2);
        if (!strcmp(item, text)) return true;
    }
    return false;
}

static void expect_debug(void) {
    char copy[VALUE], *next = copy;
    strcpy(copy, m.value[DEBUG]);
    while (next) {
        char *item = next;
        next = strchr(item, ',');
        if (next) *next++ = 0;
        if (*item) m.warnings += !expect_item(item);
    }
}

// ---- options ----

static gomem_options make_options(void) {
    static const int percents[] = {0, 0, GOMEM_GC_OFF, 1, 100, 100000, -2, -100};
    static const int signals[] = {0, 0, 0, SIGURG, SIGUSR1, SIGKILL, SIGSTOP, -1, 1000};
    static const size_t sizes[] = {0, 0, 0, 64 * FUZZ_MB, 100 * FUZZ_MB, (size_t)1 << 34};
    static const uintptr_t masks[] = {0, 0, 0, (uintptr_t)0x0000ffffffffffff};
    return (gomem_options){.gc_percent = percents[fuzz_below(8)],
                           .memory_limit = sizes[fuzz_below(6)],
                           .hard_limit = sizes[fuzz_below(6)],
                           .reserve = sizes[fuzz_below(6)],
                           .collector = fuzz_below(3) ? 0 : (int)fuzz_below(6) - 1,
                           .mark_workers = fuzz_below(4) ? 0 : (int)fuzz_below(6) - 1,
                           .stop_signal = signals[fuzz_below(9)],
                           .force_period_ms = fuzz_below(4) ? -1 : (int)fuzz_word() - 10,
                           .pointer_mask = masks[fuzz_below(4)],
                           .finalizers_by_hand = true,
                           .warn = hear_warning,
                           .panic = fuzz_hear_panic};
}

static bool are_valid(const gomem_options *o) {
    bool signal = o->stop_signal >= 0 && o->stop_signal <= SIGRTMAX && o->stop_signal != SIGKILL &&
                  o->stop_signal != SIGSTOP;
    return o->gc_percent >= -1 && o->collector >= 0 && o->collector <= 3 && o->mark_workers >= 0 &&
           o->force_period_ms >= -1 && signal;
}

static bool differs(size_t wanted, size_t now) { return wanted && wanted != now; }

// A second call, while the heap runs: it sets what can be changed, or nothing.
static void init_again(const gomem_options *first) {
    gomem_options o = make_options();
    bool fixed = differs(o.reserve, m.size[RESERVE]) || differs(o.hard_limit, m.size[HARDLIMIT]) ||
                 differs((size_t)o.stop_signal, (size_t)first->stop_signal) ||
                 differs(o.pointer_mask, first->pointer_mask);
    gomem_memstats s = {.size = sizeof s};
    gomem_read_memstats(&s);
    errno = 0;
    bool done = gomem_init(&o);
    if (!are_valid(&o)) FUZZ_CHECK(!done && errno == EINVAL);
    else if (fixed && !m.automatic) FUZZ_CHECK(!done && errno == EALREADY);
    else if (!done) FUZZ_CHECK(errno == EALREADY && (m.automatic || o.collector));
    if (!done) return;
    if (o.gc_percent) m.percent = o.gc_percent;
    if (o.memory_limit) m.size[MEMLIMIT] = o.memory_limit;
}

// ---- an input ----

static void use_heap(void) {
    void *volatile kept = gomem_new(100);
    for (unsigned n = 1 + fuzz_below(40); n; n--) {
        char *p = gomem_malloc(fuzz_size());
        void **object = gomem_new(64);
        if (object) *object = kept, kept = object;
        gomem_free(p);
    }
    (void)fuzz_gc();
    (void)fuzz_gc();
    FUZZ_CHECK(fuzz_verify());
}

static void check_settings(void) {
    int percent = gomem_set_gc_percent(100);
    FUZZ_CHECK(percent == (m.percent ? m.percent : 100));
    size_t limit = gomem_set_memory_limit(0);
    size_t hard = m.size[HARDLIMIT], wanted = m.size[MEMLIMIT];
    if (!wanted && !m.running) wanted = hard - hard / 8; // what the collector keeps to by default
    if (!m.automatic) FUZZ_CHECK(limit == wanted);
    gomem_memstats s = {.size = sizeof s};
    gomem_read_memstats(&s);
    if (s.collector && m.collector > GOMEM_GC_TRACKED)
        FUZZ_CHECK(s.collector == (uint64_t)m.collector);
}

static void expect(const gomem_options *o) {
    m.percent = o->gc_percent;
    m.collector = o->collector;
    m.size[MEMLIMIT] = o->memory_limit;
    m.size[HARDLIMIT] = o->hard_limit;
    m.size[RESERVE] = o->reserve;
    expect_percent();
    for (int i = MEMLIMIT; i <= RESERVE; i++) expect_size(i);
    expect_debug();
}

static void fuzz_play(void) {
    memset(&m, 0, sizeof m);
    memset(&gm_runtime.world.settings, 0, sizeof gm_runtime.world.settings);
    for (int i = 0; i < DEBUG; i++) make_value(i);
    make_debug();
    for (int i = 0; i < VARIABLES; i++)
        if (m.value[i][0]) setenv(names[i], m.value[i], 1);
        else unsetenv(names[i]);
    gomem_options o = make_options();
    errno = 0;
    bool done = gomem_init(&o);
    if (!are_valid(&o)) {
        FUZZ_CHECK(!done && errno == EINVAL);
        return;
    }
    expect(&o);
    FUZZ_CHECK(done || errno == ENOMEM);
    FUZZ_CHECK(fuzz_warnings == m.warnings);
    if (!done) return;
    use_heap();
    check_settings();
    m.percent = 100, m.size[MEMLIMIT] = 0, m.running = true;
    if (fuzz_below(2)) init_again(&o);
    check_settings();
    use_heap();
    gomem_shutdown();
}

FUZZ_MAIN;
