// The manual heap against a shadow: each block is full of a pattern of its own, so blocks that
// overlap, or change when they are moved, show. Three threads allocate and free, one at a time.
#include "fuzz.h"

enum { BLOCKS = 64, BUNCHES = 4, BUNCH = 300 };

struct block {
    unsigned char *p;
    size_t size, align;
    unsigned seed;
};
// Objects of one size: enough of them for magazines to be exchanged.
struct bunch {
    unsigned char *p[BUNCH];
    size_t size, count;
    unsigned seed;
};
struct pair {
    long a, b;
};
struct wide {
    _Alignas(64) char bytes[192];
};

static struct {
    struct block block[BLOCKS];
    struct bunch bunch[BUNCHES];
    unsigned seed, thread;
    size_t live, limit; // bytes of the shadow; hard limit or reservation, 0: none
    unsigned refusals;  // calls of oom
} m;

// ---- checks ----

static size_t plain_align(size_t size) { return size >= 9 ? 16 : 8; }

// NULL is fine where memory is short, and then for want of memory.
static bool got(const void *p, size_t size) {
    if (p) return true;
    FUZZ_CHECK(errno == ENOMEM);
    FUZZ_CHECK(m.limit && m.live + size >= m.limit / 8);
    return false;
}

static void check_apart(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < BLOCKS; i++) {
        const struct block *b = &m.block[i];
        if (b->p) FUZZ_CHECK(p + size <= b->p || b->p + b->size <= p);
    }
}

static void check_block(const struct block *b) {
    FUZZ_CHECK((uintptr_t)b->p % b->align == 0);
    FUZZ_CHECK(gomem_usable_size(b->p) >= b->size);
    FUZZ_CHECK(fuzz_holds(b->p, 0, b->size, b->size, b->seed));
    FUZZ_CHECK(gomem_base(b->p) == b->p);
    if (b->size) FUZZ_CHECK(gomem_base(b->p + fuzz_word() % b->size) == b->p);
}

// ---- blocks ----

static struct block *any(void) { return &m.block[fuzz_below(BLOCKS)]; }

static void take(struct block *b, void *p, size_t size, size_t align) {
    if (!got(p, size)) return;
    check_apart(p, size);
    *b = (struct block){p, size, align, ++m.seed};
    m.live += size;
    // all of what is usable may be used
    if (fuzz_below(4) == 0) b->size = gomem_usable_size(p), m.live += b->size - size;
    fuzz_fill(b->p, 0, b->size, b->seed);
}

static void give(struct block *b) {
    if (!b->p) return;
    check_block(b);
    switch (fuzz_below(4)) {
    case 0: gomem_free(b->p); break;
    case 1: gomem_free_sized(b->p, fuzz_below(2) ? b->size : fuzz_word()); break;
    case 2: GOMEM_FREE(struct pair, (struct pair *)(void *)b->p); break;
    default: GOMEM_FREE(char, (char *)b->p); break;
    }
    m.live -= b->size;
    b->p = NULL;
}

static void allocate(struct block *b) {
    size_t size = fuzz_size(), align = plain_align(size);
    give(b);
    errno = 0;
    switch (fuzz_below(4)) {
    case 0: take(b, gomem_malloc(size), size, align); break;
    case 1: {
        size_t n = 1 + fuzz_below(8);
        unsigned char *p = gomem_calloc(n, size);
        if (p) FUZZ_CHECK(fuzz_is_zero(p, 0, n * size));
        take(b, p, n * size, plain_align(n * size));
        break;
    }
    case 2:
        align = (size_t)1 << fuzz_below(18);
        take(b, gomem_aligned_alloc(align, size), size, align);
        break;
    default: take(b, GOMEM_MALLOC_N(char, size), size, 1); break;
    }
}

static void allocate_typed(struct block *b) {
    size_t n = fuzz_below(40);
    give(b);
    errno = 0;
    switch (fuzz_below(4)) {
    case 0: take(b, GOMEM_MALLOC(struct pair), sizeof(struct pair), _Alignof(struct pair)); break;
    case 1: take(b, GOMEM_MALLOC(struct wide), sizeof(struct wide), 64); break;
    case 2: take(b, GOMEM_MALLOC_N(struct wide, n), n * sizeof(struct wide), 64); break;
    default: take(b, GOMEM_MALLOC_N(struct pair, n), n * sizeof(struct pair), 8); break;
    }
}

static void copy_string(struct block *b) {
    char text[600];
    size_t size = fuzz_word() % sizeof text, most = fuzz_word() % sizeof text;
    give(b);
    memset(text, 'a' + (int)fuzz_below(26), size);
    text[size ? size - 1 : 0] = 0;
    errno = 0;
    bool bound = fuzz_below(2);
    char *p = bound ? gomem_strndup(text, most) : gomem_strdup(text);
    size_t length = strlen(text);
    if (bound && length > most) length = most;
    if (p) FUZZ_CHECK(strlen(p) == length && memcmp(p, text, length) == 0);
    take(b, p, length + 1, 1);
}

static void resize(struct block *b) {
    size_t size = fuzz_size(), old = b->p ? b->size : 0;
    bool typed = fuzz_below(4) == 0;
    if (typed) size -= size % sizeof(struct pair);
    if (b->p) check_block(b);
    errno = 0;
    unsigned char *was = b->p;
    unsigned char *p = typed
                           ? (unsigned char *)GOMEM_RESIZE(struct pair, (struct pair *)(void *)was,
                                                           size / sizeof(struct pair))
                           : gomem_realloc(was, size);
    if (!got(p, size)) {
        if (b->p) check_block(b);
        return;
    }
    size_t kept = old < size ? old : size;
    FUZZ_CHECK(fuzz_holds(p, 0, kept, old, b->seed));
    m.live -= old;
    b->p = NULL;
    take(b, p, size, plain_align(size));
}

// ---- many at once ----

static void check_bunch(const struct bunch *b) {
    for (size_t i = 0; i < b->count; i++)
        FUZZ_CHECK(fuzz_holds(b->p[i], 0, b->size, b->size, b->seed + (unsigned)i));
}

static void fill_bunch(struct bunch *b) {
    size_t n = 1 + fuzz_word() % BUNCH;
    if (!b->count) b->size = fuzz_size() % (8 * FUZZ_KB), b->seed = m.seed += BUNCH;
    errno = 0;
    for (; n && b->count < BUNCH; n--) {
        unsigned char *p = gomem_malloc(b->size);
        if (!got(p, b->size)) return;
        fuzz_fill(p, 0, b->size, b->seed + (unsigned)b->count);
        b->p[b->count++] = p;
        m.live += b->size;
    }
}

// Frees some: the latest, the earliest, or every second one.
static void drain_bunch(struct bunch *b) {
    size_t n = fuzz_word() % BUNCH, kept = 0;
    unsigned how = fuzz_below(3);
    bool sized = fuzz_below(2);
    check_bunch(b);
    for (size_t i = 0; i < b->count; i++) {
        bool goes = how == 0 ? i + n >= b->count : how == 1 ? i < n : i % 2;
        if (!goes) {
            // its pattern follows from where it stands
            fuzz_fill(b->p[i], 0, b->size, b->seed + (unsigned)kept);
            b->p[kept++] = b->p[i];
            continue;
        }
        if (sized) gomem_free_sized(b->p[i], b->size);
        else gomem_free(b->p[i]);
        m.live -= b->size;
    }
    b->count = kept;
}

// ---- what must fail ----

static void refuse_sizes(struct block *b) {
    size_t huge = fuzz_too_large();
    errno = 0;
    switch (fuzz_below(7)) {
    case 0: FUZZ_CHECK(!gomem_malloc(huge)); break;
    case 1: FUZZ_CHECK(!gomem_calloc(huge, 1 + fuzz_below(3))); break;
    case 2: FUZZ_CHECK(!gomem_calloc(huge / 16 + 1, 64)); break;
    case 3: FUZZ_CHECK(!gomem_aligned_alloc((size_t)1 << fuzz_below(40), huge)); break;
    case 4: FUZZ_CHECK(!gomem_realloc(b->p, huge)); break;
    case 5: FUZZ_CHECK(!GOMEM_MALLOC_N(struct pair, -1 - (int)fuzz_byte())); break;
    default: FUZZ_CHECK(!GOMEM_RESIZE(struct pair, (struct pair *)(void *)b->p, huge)); break;
    }
    FUZZ_CHECK(errno == ENOMEM);
    if (b->p) check_block(b);
}

static void refuse_alignments(void) {
    size_t align = fuzz_word();
    if (align && (align & (align - 1)) == 0) align++;
    if (align == 1 || align == 2) align = 0;
    errno = 0;
    FUZZ_CHECK(!gomem_aligned_alloc(align, fuzz_byte()));
    FUZZ_CHECK(errno == EINVAL);
}

// A pointer that is not the start of a live block. What was freed is named at once at check level 1.
static void misuse(struct block *b) {
    static int global[8];
    int local[8];
    size_t inside = 1 + fuzz_word() % 5000;
    switch (fuzz_below(5)) {
    case 0: FUZZ_MISUSE(gomem_free(test_opaque(global + 1))); break;
    case 1: FUZZ_MISUSE(gomem_free(test_opaque(local + 2))); break;
    case 2: FUZZ_MISUSE(gomem_free(test_opaque((void *)(uintptr_t)(16 + inside)))); break;
    case 3:
        if (b->p && inside < b->size) FUZZ_MISUSE(gomem_free(test_opaque(b->p + inside)));
        break;
    default:
        if (!b->p || !GOMEM_I_CHECK) break;
        gomem_free(b->p);
        FUZZ_MISUSE(gomem_free(test_opaque(b->p)));
        m.live -= b->size;
        b->p = NULL;
    }
    if (b->p) check_block(b);
}

// ---- the rest ----

static void look_up(void) {
    static int global[4];
    int local = 0;
    FUZZ_CHECK(gomem_usable_size(global) == 0 && !gomem_base(global));
    FUZZ_CHECK(gomem_usable_size(NULL) == 0 && !gomem_base(NULL));
    FUZZ_CHECK(!gomem_base(&local));
}

static void check_all(void) {
    for (size_t i = 0; i < BLOCKS; i++)
        if (m.block[i].p) check_block(&m.block[i]);
    for (size_t i = 0; i < BUNCHES; i++) check_bunch(&m.bunch[i]);
    FUZZ_CHECK(fuzz_verify());
    fuzz_check_stats();
    gomem_memstats s = {.size = sizeof s};
    gomem_read_memstats(&s);
    FUZZ_CHECK(s.heap_inuse >= m.live);
}

static void free_all(void) {
    for (size_t i = 0; i < BLOCKS; i++) give(&m.block[i]);
    for (size_t i = 0; i < BUNCHES; i++) {
        struct bunch *b = &m.bunch[i];
        check_bunch(b);
        while (b->count) gomem_free(b->p[--b->count]);
    }
    m.live = 0;
}

static void step(void) {
    switch (fuzz_below(20)) {
    case 0:
    case 1:
    case 2:
    case 3: allocate(any()); break;
    case 4: allocate_typed(any()); break;
    case 5: copy_string(any()); break;
    case 6:
    case 7: give(any()); break;
    case 8:
    case 9: resize(any()); break;
    case 10:
    case 11: fill_bunch(&m.bunch[fuzz_below(BUNCHES)]); break;
    case 12:
    case 13: drain_bunch(&m.bunch[fuzz_below(BUNCHES)]); break;
    case 14: refuse_sizes(any()); break;
    case 15: refuse_alignments(); break;
    case 16: misuse(any()); break;
    case 17: look_up(); break;
    case 18: (void)gomem_free_os_memory(); break;
    default:
        if (fuzz_below(4) == 0) check_all();
        else (void)fuzz_gc();
    }
}

static bool give_up(size_t size, void *user) {
    (void)size, (void)user;
    return ++m.refusals % 4 == 1; // try again at first, though nothing has changed
}

static void fuzz_play(void) {
    static const size_t limits[] = {0, 0, 0, 4 * FUZZ_MB, 16 * FUZZ_MB, 64 * FUZZ_MB};
    memset(&m, 0, sizeof m);
    m.limit = limits[fuzz_below(6)];
    gomem_options o = {.oom = give_up};
    if (fuzz_below(2)) o.hard_limit = m.limit;
    else o.reserve = m.limit;
    fuzz_start(o);
    while (fuzz_more()) {
        unsigned how = fuzz_byte(); // where the next steps run
        if (how % 16 == 15) fuzz_end_thread(1 + how / 16 % 2);
        else m.thread = how % FUZZ_THREADS;
        for (unsigned steps = 1 + how / 16; steps && fuzz_more(); steps--) fuzz_on(m.thread, step);
    }
    check_all();
    free_all();
    FUZZ_CHECK(fuzz_verify());
    fuzz_stop();
}

FUZZ_MAIN;
