// Arenas against a shadow: what was allocated since a mark goes with it and nothing else does, zeroed
// memory is zero, text is what snprintf writes, callbacks run in reverse order. Stack hints as well.
#include "fuzz.h"

enum { ARENAS = 3, MOST = 200, MARKS = 8, DEPTH = 4, CALLS = 40, BUFFER = 16 * FUZZ_KB };

struct object { // collected; kept by a scanned arena
    uintptr_t seed, again;
};
struct thing {
    unsigned char *p;
    size_t size;
    unsigned seed;
    bool keeps; // begins with a pointer to an object
};
struct mark {
    gomem_arena_mark mark;
    size_t count, calls;
};
struct shadow {
    gomem_arena arena;
    struct thing thing[MOST];
    struct mark mark[MARKS];
    int call[CALLS];                   // callbacks by number, the earliest first
    size_t count, marks, calls, least; // least: marks of scopes around
    bool bounded, scanned, begun;
};
static struct {
    struct shadow shadow[ARENAS];
    struct shadow *now; // whose callbacks run
    unsigned seed, thread;
    int last_call;
    bool limited;
} m;
static _Alignas(16) unsigned char buffers[ARENAS][BUFFER];

// ---- checks ----

static void check_thing(const struct thing *t) {
    size_t from = t->keeps ? sizeof(struct object *) : 0;
    FUZZ_CHECK(fuzz_holds(t->p, from, t->size, t->size, t->seed));
    if (!t->keeps) return;
    const struct object *kept = NULL;
    memcpy(&kept, t->p, sizeof kept);
    FUZZ_CHECK(gomem_base(kept) == kept);
    FUZZ_CHECK(kept->seed == t->seed && kept->again == ~kept->seed);
}

static void check_arena(const struct shadow *s) {
    size_t used = 0;
    for (size_t i = 0; i < s->count; i++) {
        check_thing(&s->thing[i]);
        used += s->thing[i].size;
    }
    gomem_arena_stats t = gomem_arena_read_stats(&s->arena);
    FUZZ_CHECK(t.used <= t.held && t.used <= t.high_water && used <= t.used);
}

// Memory may be short: of a buffer, a reservation, or a limit.
static bool got(const struct shadow *s, const void *p) {
    if (p) return true;
    FUZZ_CHECK((s->bounded || m.limited) && errno == ENOMEM);
    return false;
}

static void took(struct shadow *s, void *p, size_t size, size_t align) {
    if (!got(s, p)) return;
    FUZZ_CHECK((uintptr_t)p % align == 0);
    struct thing *t = &s->thing[s->count++];
    *t = (struct thing){p, size, ++m.seed, false};
    fuzz_fill(p, 0, size, t->seed);
    if (!s->scanned || size < sizeof(struct object *) || fuzz_below(4)) return;
    struct object *kept = GOMEM_NEW(struct object);
    if (!kept) return;
    *kept = (struct object){t->seed, ~(uintptr_t)t->seed};
    GOMEM_STORE((struct object **)p, kept);
    t->keeps = true;
}

// ---- allocation ----

static void allocate(struct shadow *s) {
    size_t size = fuzz_size() % (100 * FUZZ_KB), align = 16;
    unsigned how = fuzz_below(8), flags = how & 1 ? GOMEM_UNINIT : 0;
    if (s->count == MOST) return;
    errno = 0;
    unsigned char *p = NULL;
    if (how < 4) p = gomem_arena_alloc(&s->arena, size), flags = 0;
    else {
        if (how > 5) align = (size_t)1 << fuzz_below(16);
        p = gomem_arena_alloc_with(&s->arena, size, align, flags);
    }
    if (p && !flags) FUZZ_CHECK(fuzz_is_zero(p, 0, size));
    took(s, p, size, align < 16 ? 16 : align);
}

static void resize(struct shadow *s) {
    size_t size = fuzz_size() % (100 * FUZZ_KB), i = s->count;
    size_t settled = s->marks ? s->mark[s->marks - 1].count : 0; // what lies below a mark stays
    if (!s->count || s->count == MOST) return;
    if (fuzz_below(2)) i = fuzz_byte() % s->count;
    else i = s->count - 1;
    struct thing *t = &s->thing[i], old = *t;
    if (i < settled && size > old.size) return;
    errno = 0;
    unsigned char *p = gomem_arena_resize(&s->arena, old.p, old.size, size);
    if (!got(s, p)) return;
    size_t kept = old.size < size ? old.size : size;
    FUZZ_CHECK(fuzz_holds(p, old.keeps ? sizeof(void *) : 0, kept, old.size, old.seed));
    FUZZ_CHECK(fuzz_is_zero(p, kept, size));
    *t = (struct thing){p, size, ++m.seed, false};
    fuzz_fill(p, 0, size, t->seed);
}

static void copy_string(struct shadow *s) {
    static char text[9000];
    size_t size = fuzz_size() % sizeof text;
    if (s->count == MOST) return;
    memset(text, 'a' + (int)fuzz_below(26), size);
    text[size] = 0;
    errno = 0;
    char *p = gomem_arena_strdup(&s->arena, text);
    if (p) FUZZ_CHECK(strcmp(p, text) == 0);
    took(s, p, size + 1, 1);
}

// ---- text ----

// A conversion with flags, width and precision now and then.
static char *put_conversion(char *to, const char *length, const char *letters) {
    *to++ = '%';
    if (fuzz_below(4) == 0) {
        static const char *const flags[] = {"-", "0", "+", " ", "#", "-+"};
        to += sprintf(to, "%s", flags[fuzz_below(6)]);
        if (fuzz_below(2)) to += sprintf(to, "%u", fuzz_below(256));
        if (fuzz_below(2)) to += sprintf(to, ".%u", fuzz_below(40));
    }
    to += sprintf(to, "%s", length);
    *to++ = letters[fuzz_byte() % strlen(letters)];
    return to;
}

static char *put_literal(char *to) {
    for (unsigned n = fuzz_below(8) ? fuzz_below(6) : fuzz_byte(); n; n--) {
        char c = (char)fuzz_byte();
        if (c == '%') *to++ = '%';
        *to++ = c ? c : '.';
    }
    return to;
}

// Arguments by type, in the order of print_as.
static void make_format(char *to) {
    static const struct {
        const char *length, *letters;
    } arguments[] = {{"", "duxcioX"}, {"l", "dux"}, {"", "s"},
                     {"ll", "dux"},   {"z", "ux"},  {"", "s"}};
    for (int i = 0; i < 6; i++) {
        to = put_literal(to);
        to = put_conversion(to, arguments[i].length, arguments[i].letters);
    }
    *put_literal(to) = 0;
}

static uint64_t number(void) {
    uint64_t n = fuzz_word() | (uint64_t)fuzz_word() << 48;
    switch (fuzz_below(4)) {
    case 0: return fuzz_byte();
    case 1: return 0 - (uint64_t)fuzz_byte();
    case 2: return (uint64_t)1 << fuzz_below(64);
    default: return n;
    }
}

static void print(struct shadow *s) {
    static char format[4000], expected[12000], word[2000];
    if (s->count == MOST) return;
    make_format(format);
    size_t length = fuzz_size() % sizeof word;
    memset(word, 'a' + (int)fuzz_below(26), length);
    word[length] = 0;
    const char *short_word = word + length - (length < 5 ? length : 5);
    int i = (int)number();
    long l = (long)number();
    long long ll = (long long)number();
    size_t z = (size_t)number();
    int n = snprintf(expected, sizeof expected, format, i, l, word, ll, z, short_word);
    errno = 0;
    char *p = gomem_arena_printf(&s->arena, format, i, l, word, ll, z, short_word);
    FUZZ_CHECK(n >= 0 && (size_t)n < sizeof expected);
    // a %c of 0 ends no text, so all bytes are compared
    if (p) FUZZ_CHECK(memcmp(p, expected, (size_t)n + 1) == 0);
    took(s, p, (size_t)n + 1, 1);
}

// ---- letting go ----

static void call(void *arg) {
    int number = (int)(intptr_t)arg;
    struct shadow *s = m.now;
    FUZZ_CHECK(s != NULL && s->calls > 0 && s->call[s->calls - 1] == number);
    s->calls--;
    if (number % 4 == 0) (void)!gomem_arena_alloc(&s->arena, 40);
    for (size_t i = 0; i < s->count && i < 8; i++) check_thing(&s->thing[i]);
}

static void on_reset(struct shadow *s) {
    if (s->calls == CALLS) return;
    int number = m.last_call + 1;
    errno = 0;
    bool done = gomem_arena_on_reset(&s->arena, call, (void *)(intptr_t)number);
    if (!done) FUZZ_CHECK((s->bounded || m.limited) && errno == ENOMEM);
    else s->call[s->calls++] = m.last_call = number;
}

static void save(struct shadow *s) {
    if (s->marks == MARKS) return;
    s->mark[s->marks++] = (struct mark){gomem_arena_save(&s->arena), s->count, s->calls};
}

static void went_back(struct shadow *s, size_t count, size_t calls) {
    m.now = NULL;
    FUZZ_CHECK(s->calls == calls);
    s->count = count;
}

// Back to a mark, which stays valid, and those before it with it.
static void restore(struct shadow *s) {
    if (s->marks <= s->least) return;
    size_t to = s->least + fuzz_byte() % (s->marks - s->least);
    m.now = s;
    gomem_arena_restore(&s->arena, s->mark[to].mark);
    went_back(s, s->mark[to].count, s->mark[to].calls);
    s->marks = to + 1;
}

static void start_again(struct shadow *s) {
    if (s->least) return; // in a scope
    m.now = s;
    if (fuzz_below(3)) gomem_arena_reset(&s->arena);
    else gomem_arena_free(&s->arena);
    went_back(s, 0, 0);
    s->marks = 0;
}

static void steps(unsigned depth);

static void scope(struct shadow *s, unsigned depth) {
    size_t count = s->count, marks = s->marks, calls = s->calls, least = s->least;
    if (depth == DEPTH || marks == MARKS) return;
    {
        GOMEM_ARENA_TEMP(&s->arena);
        save(s); // so that nothing inside goes below
        s->least = s->marks;
        steps(depth + 1);
        m.now = s;
    }
    went_back(s, count, calls);
    s->marks = marks;
    s->least = least;
}

// ---- more than one ----

static bool is_chained(const struct shadow *s) { return !s->bounded; }

static void absorb(struct shadow *into, struct shadow *from) {
    bool fits = into->count + from->count <= MOST && into->calls + from->calls <= CALLS;
    bool may = into != from && is_chained(into) && is_chained(from) &&
               into->scanned == from->scanned;
    if (!fits || from->least || (may && !from->begun)) return;
    errno = 0;
    FUZZ_CHECK(gomem_arena_absorb(&into->arena, &from->arena) == may);
    if (!may) {
        FUZZ_CHECK(errno == EINVAL);
        return;
    }
    memcpy(into->thing + into->count, from->thing, from->count * sizeof *from->thing);
    memcpy(into->call + into->calls, from->call, from->calls * sizeof *from->call);
    into->count += from->count;
    into->calls += from->calls;
    from->count = from->calls = from->marks = 0;
    FUZZ_CHECK(gomem_arena_read_stats(&from->arena).held == 0);
}

static void use_scratch(void) {
    gomem_arena *busy[8];
    unsigned n = fuzz_below(9);
    size_t size = fuzz_size() % (64 * FUZZ_KB);
    for (unsigned i = 0; i < n; i++) {
        busy[i] = gomem_scratch(busy, i);
        FUZZ_CHECK(busy[i] || m.limited);
        for (unsigned k = 0; k < i; k++) FUZZ_CHECK(!busy[i] || busy[k] != busy[i]);
    }
    gomem_arena *a = gomem_scratch(busy, n);
    FUZZ_CHECK(a || m.limited || n == 8);
    GOMEM_ARENA_SCOPE (a) {
        void *p = gomem_arena_alloc(a, size);
        FUZZ_CHECK(p || m.limited || !a);
        if (p) fuzz_fill(p, 0, size, 9);
        for (int i = 0; i < ARENAS; i++) check_arena(&m.shadow[i]);
        if (p) FUZZ_CHECK(fuzz_holds(p, 0, size, size, 9));
    }
}

static void refuse(struct shadow *s) {
    size_t huge = fuzz_too_large();
    gomem_arena_stats before = gomem_arena_read_stats(&s->arena);
    errno = 0;
    switch (fuzz_below(6)) {
    case 0: FUZZ_CHECK(!gomem_arena_alloc(&s->arena, huge) && errno == ENOMEM); break;
    case 1: FUZZ_CHECK(!GOMEM_ARENA_MAKE(&s->arena, struct object, huge)); break;
    case 2: FUZZ_CHECK(!gomem_arena_alloc_with(&s->arena, 8, 6, 0) && errno == EINVAL); break;
    case 3: FUZZ_CHECK(!gomem_arena_alloc_with(&s->arena, 8, 0, 64) && errno == EINVAL); break;
    case 4:
        if (s->count)
            FUZZ_CHECK(!gomem_arena_resize(&s->arena, s->thing[0].p, s->thing[0].size, huge));
        break;
    default: FUZZ_CHECK(!gomem_arena_alloc(NULL, fuzz_byte()) && errno == ENOMEM);
    }
    FUZZ_CHECK(gomem_arena_read_stats(&s->arena).used == before.used);
}

// ---- stack hints ----

static void hint(unsigned depth) {
    size_t n = fuzz_size() % (12 * FUZZ_KB);
    bool escapes = fuzz_below(4) == 0;
    unsigned seed = ++m.seed;
    unsigned char *p = GOMEM_HINT(unsigned char, n, escapes);
    FUZZ_CHECK(p || m.limited);
    if (!p) return;
    FUZZ_CHECK(fuzz_is_zero(p, 0, n));
    fuzz_fill(p, 0, n, seed);
    if (depth && fuzz_below(4)) hint(depth - 1);
    else if (fuzz_below(2)) (void)fuzz_gc();
    unsigned char *kept = GOMEM_ESCAPE(p, n);
    FUZZ_CHECK(kept || m.limited);
    if (kept) FUZZ_CHECK(gomem_base(kept) == kept && fuzz_holds(kept, 0, n, n, seed));
    FUZZ_CHECK(fuzz_holds(p, 0, n, n, seed));
}

// ---- an input ----

static void begin(struct shadow *s) {
    gomem_arena_options o = {0};
    unsigned how = fuzz_byte();
    memset(s, 0, sizeof *s);
    s->begun = true;
    s->scanned = how & 1;
    o.flags = s->scanned ? GOMEM_SCAN : 0;
    switch (how / 2 % 4) {
    case 0: break;
    case 1: o.block = fuzz_word(); break;
    case 2:
        o.buffer = buffers[s - m.shadow] + fuzz_below(20);
        o.buffer_size = fuzz_word() % (BUFFER - 20);
        memset(buffers[s - m.shadow], 0x77, BUFFER);
        s->bounded = true;
        break;
    default: o.reserve = 1 + fuzz_word() * 64u; s->bounded = true;
    }
    errno = 0;
    bool done = gomem_arena_init(&s->arena, &o);
    FUZZ_CHECK(done || (m.limited && errno == ENOMEM));
}

static void step_of(struct shadow *s, unsigned depth) {
    switch (fuzz_below(24)) {
    case 0: start_again(s); break;
    case 1:
    case 2: save(s); break;
    case 3:
    case 4: restore(s); break;
    case 5: scope(s, depth); break;
    case 6: on_reset(s); break;
    case 7: absorb(s, &m.shadow[fuzz_below(ARENAS)]); break;
    case 8: use_scratch(); break;
    case 9: refuse(s); break;
    case 10: hint(fuzz_below(30)); break;
    case 11: (void)fuzz_gc(); break;
    case 12: (void)gomem_free_os_memory(); break;
    case 13:
    case 14:
    case 15: print(s); break;
    case 16: copy_string(s); break;
    case 17:
    case 18: resize(s); break;
    default: allocate(s);
    }
}

static void steps(unsigned depth) {
    for (unsigned n = 1 + fuzz_below(16); n && fuzz_more(); n--) {
        struct shadow *s = &m.shadow[fuzz_below(ARENAS)];
        if (!s->begun) begin(s);
        step_of(s, depth);
        check_arena(s);
    }
}

static void outermost(void) { steps(0); }

static void end(struct shadow *s) {
    check_arena(s);
    m.now = s;
    gomem_arena_free(&s->arena);
    went_back(s, 0, 0);
    if (is_chained(s)) FUZZ_CHECK(gomem_arena_read_stats(&s->arena).held == 0);
}

static void fuzz_play(void) {
    unsigned how = fuzz_byte();
    memset(&m, 0, sizeof m);
    m.limited = fuzz_start_as(how);
    while (fuzz_more()) {
        unsigned where = fuzz_byte();
        if (where % 16 == 15) fuzz_end_thread(1 + where / 16 % 2);
        fuzz_on(where % FUZZ_THREADS, outermost);
    }
    for (int i = 0; i < ARENAS; i++) end(&m.shadow[i]);
    FUZZ_CHECK(fuzz_verify());
    fuzz_stop();
}

FUZZ_MAIN;
