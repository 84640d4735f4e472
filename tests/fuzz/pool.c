// Pools against a shadow: what is got is nobody else's, and holds what it held when it was put, or
// is fresh: zero, then made. Hooks are counted. Three threads get and put, one at a time.
#include "fuzz.h"

enum { POOLS = 4, MOST = 400, CROWD = 300 };
enum { FRESH, MADE, OUT, IDLE, CLEANED, DROPPED };

struct thing { // of a pool by name
    uint32_t seed, state;
    void *kept;
    char rest[32];
};
GOMEM_POOL_SCAN(named, struct thing);

// What an object of 16 bytes or more begins with; the rest is its pattern.
struct head {
    uint32_t seed, state;
    struct object *kept; // in a scanned pool: a collected object
};
struct object {
    uintptr_t seed, again;
};

struct shadow {
    gomem_pool *pool; // NULL: none
    gomem_pool_options o;
    void *out[MOST];
    size_t count, made, dropped, capacity;
    bool by_name;
};
static struct {
    struct shadow shadow[POOLS];
    uint32_t seed;
    unsigned thread;
    bool limited;
} m;

// ---- objects ----

static bool is_told(const struct shadow *s) { return s->o.size >= sizeof(struct head); }

// Where the pattern begins.
static size_t body(const struct shadow *s) {
    return s->o.flags & GOMEM_SCAN ? sizeof(struct head) : offsetof(struct head, kept);
}

static void check_kept(const struct shadow *s, const struct head *head) {
    const struct object *kept = head->kept;
    if (!(s->o.flags & GOMEM_SCAN) || !kept) return;
    FUZZ_CHECK(gomem_base(kept) == kept);
    FUZZ_CHECK(kept->seed == head->seed && kept->again == ~kept->seed);
}

static void check_object(const struct shadow *s, const void *p) {
    const struct head *head = p;
    if (!is_told(s)) return;
    FUZZ_CHECK(fuzz_holds(p, body(s), s->o.size, s->o.size, head->seed));
    check_kept(s, head);
}

static void write_object(const struct shadow *s, void *p) {
    struct head *head = p;
    if (!is_told(s)) return;
    head->seed = ++m.seed;
    head->state = OUT;
    fuzz_fill(p, body(s), s->o.size, head->seed);
    if (!(s->o.flags & GOMEM_SCAN)) return;
    struct object *kept = fuzz_below(4) == 0 ? GOMEM_NEW(struct object) : NULL;
    if (kept) *kept = (struct object){head->seed, ~(uintptr_t)head->seed};
    GOMEM_STORE(&head->kept, kept);
}

// ---- hooks ----

static void make(void *p, void *user) {
    struct shadow *s = user;
    s->made++;
    FUZZ_CHECK(fuzz_is_zero(p, 0, s->o.size));
    if (is_told(s)) ((struct head *)p)->state = MADE;
}
static void reset(void *p, void *user) {
    struct shadow *s = user;
    check_object(s, p);
    if (!is_told(s)) return;
    FUZZ_CHECK(((struct head *)p)->state == IDLE);
    ((struct head *)p)->state = CLEANED;
}
static void drop(void *p, void *user) {
    struct shadow *s = user;
    s->dropped++;
    check_object(s, p);
    if (!is_told(s)) return;
    uint32_t state = ((struct head *)p)->state;
    FUZZ_CHECK(state == (s->o.reset ? CLEANED : IDLE));
    ((struct head *)p)->state = DROPPED;
}

// ---- get and put ----

static void check_got(const struct shadow *s, const void *p) {
    const struct head *head = p;
    size_t align = s->o.align ? s->o.align : 16;
    FUZZ_CHECK((uintptr_t)p % align == 0);
    for (size_t i = 0; i < s->count; i++) {
        const char *other = s->out[i];
        FUZZ_CHECK((const char *)p + s->o.size <= other || other + s->o.size <= (const char *)p);
    }
    if (!is_told(s)) return;
    if (head->state == (s->o.make ? MADE : FRESH)) FUZZ_CHECK(fuzz_is_zero(p, body(s), s->o.size));
    else {
        FUZZ_CHECK(head->state == (s->o.reset ? CLEANED : IDLE));
        check_object(s, p);
    }
}

static void took(struct shadow *s, void *p) {
    check_got(s, p);
    write_object(s, p);
    s->out[s->count++] = p;
    if (s->capacity) FUZZ_CHECK(s->count <= s->capacity);
}

// Other threads may have a few idle.
static void check_none(const struct shadow *s, int error) {
    size_t aside = s->capacity < 64 ? 0 : 2 * (s->capacity / 32 + 1);
    FUZZ_CHECK(error == ENOMEM);
    FUZZ_CHECK(m.limited || (s->capacity && s->count + aside >= s->capacity));
}

static void get(struct shadow *s) {
    size_t n = 1 + fuzz_byte(), done = 0;
    void *out[257];
    if (fuzz_below(3)) n = 1 + n % 4;
    if (n > MOST - s->count) n = MOST - s->count;
    if (!n) return;
    errno = 0;
    if (s->by_name && fuzz_below(2)) done = named_get_n((struct thing **)(void *)out, n);
    else if (fuzz_below(2)) done = gomem_pool_get_n(s->pool, out, n);
    else
        while (done < n && (out[done] = gomem_pool_get(s->pool)) != NULL) done++;
    int error = errno;
    for (size_t i = 0; i < done; i++) took(s, out[i]);
    if (done < n) check_none(s, error);
}

static void ready_to_put(const struct shadow *s, void *p) {
    check_object(s, p);
    if (!is_told(s)) return;
    FUZZ_CHECK(((struct head *)p)->state == OUT);
    ((struct head *)p)->state = IDLE;
}

static void put_some(struct shadow *s, size_t n) {
    void **in = s->out + s->count - n;
    for (size_t i = 0; i < n; i++) ready_to_put(s, in[i]);
    s->count -= n;
    if (s->by_name && fuzz_below(2)) named_put_n((struct thing **)(void *)in, n);
    else if (fuzz_below(2)) gomem_pool_put_n(s->pool, in, n);
    else
        for (size_t i = 0; i < n; i++) gomem_pool_put(s->pool, in[i]);
}

static void put(struct shadow *s) {
    size_t n = 1 + fuzz_byte();
    if (!s->count) return;
    if (fuzz_below(3)) n = 1 + n % 4;
    if (n > s->count) n = s->count;
    size_t which = fuzz_word() % s->count; // that one goes first
    void *p = s->out[which];
    s->out[which] = s->out[s->count - 1];
    s->out[s->count - 1] = p;
    put_some(s, n);
}

// ---- pools ----

static size_t rounded(const gomem_pool_options *o) {
    size_t align = o->align < 16 ? 16 : o->align;
    return (o->size + !o->size + align - 1) & ~(align - 1);
}

// Of two caps the smaller holds; one object at least.
static size_t capacity(const gomem_pool_options *o) {
    size_t objects = o->capacity ? o->capacity : SIZE_MAX, bytes = SIZE_MAX;
    if (o->capacity_bytes) bytes = o->capacity_bytes / rounded(o);
    size_t most = objects < bytes ? objects : bytes;
    return most == SIZE_MAX ? 0 : most + !most;
}

static void choose(struct shadow *s) {
    unsigned what = fuzz_byte();
    gomem_pool_options *o = &s->o;
    o->size = fuzz_size() % (20 * FUZZ_KB);
    o->user = s;
    if (what & 1) o->flags = GOMEM_SCAN;
    if (what & 2) o->make = make;
    if (what & 4) o->reset = reset;
    if (what & 8) o->drop = drop;
    if (what & 16) o->align = (size_t)1 << fuzz_below(14);
    if (what & 32) o->max_idle = fuzz_word() % 500;
    if ((what & 192) == 64) o->capacity = fuzz_word() % 500;
    if ((what & 192) == 128) o->capacity_bytes = fuzz_word() * 16u;
    if ((what & 192) == 192) o->max_idle_bytes = fuzz_word() * 16u;
    if (fuzz_below(2) && o->size < 64) o->size += 64;
}

static void create(struct shadow *s) {
    *s = (struct shadow){0};
    errno = 0;
    if (s == m.shadow && fuzz_below(2)) {
        s->pool = GOMEM_POOL_OF(named);
        s->o = (gomem_pool_options){.size = sizeof(struct thing), .align = 8, .flags = GOMEM_SCAN};
        s->by_name = true;
    } else {
        choose(s);
        s->capacity = capacity(&s->o);
        s->pool = gomem_pool_new(&s->o);
    }
    FUZZ_CHECK(s->pool || (m.limited && errno == ENOMEM));
}

static void check_pool(struct shadow *s) {
    if (!s->pool) return;
    for (size_t i = 0; i < s->count; i++) check_object(s, s->out[i]);
    gomem_pool_stats t = gomem_pool_read_stats(s->pool);
    FUZZ_CHECK(s->count + t.idle <= t.high_water);
    if (s->o.make && s->o.drop) FUZZ_CHECK(s->made - s->dropped >= s->count);
    if (s->capacity) FUZZ_CHECK(t.high_water <= s->capacity);
}

static void destroy(struct shadow *s) {
    if (!s->pool) return;
    check_pool(s);
    if (fuzz_below(2)) put_some(s, s->count);
    gomem_pool_destroy(s->pool);
    if (s->o.make && s->o.drop) FUZZ_CHECK(s->made - s->dropped == s->count);
    *s = (struct shadow){0};
}

static void reserve(struct shadow *s) {
    size_t n = fuzz_word() % 600;
    errno = 0;
    size_t there = gomem_pool_reserve(s->pool, n);
    if (s->capacity) FUZZ_CHECK(there == s->capacity);
    else if (there < n) FUZZ_CHECK(m.limited && errno == ENOMEM);
    else FUZZ_CHECK(there == n);
}

static void refuse(struct shadow *s) {
    static long outside[8];
    gomem_pool_options o = {.size = 16};
    errno = 0;
    switch (fuzz_below(5)) {
    case 0: o.align = 3 + 4 * (size_t)fuzz_byte(); break;
    case 1: o.flags = GOMEM_NOSCAN | fuzz_byte(); break;
    case 2: gomem_pool_put(s->pool, NULL); return;
    case 3:
        if (GOMEM_I_CHECK) FUZZ_MISUSE(gomem_pool_put(s->pool, outside + 2));
        return;
    default:
        if (!GOMEM_I_CHECK || !s->count) return;
        put_some(s, 1);
        FUZZ_MISUSE(gomem_pool_put(s->pool, s->out[s->count]));
        return;
    }
    FUZZ_CHECK(!gomem_pool_new(&o) && errno == EINVAL);
}

static void check_all(void) {
    for (int i = 0; i < POOLS; i++) check_pool(&m.shadow[i]);
    FUZZ_CHECK(fuzz_verify());
    fuzz_check_stats();
}

static void step(void) {
    struct shadow *s = &m.shadow[fuzz_below(POOLS)];
    if (!s->pool) create(s);
    if (!s->pool) return;
    switch (fuzz_below(16)) {
    case 0: destroy(s); break;
    case 1: check_pool(s); break;
    case 2: reserve(s); break;
    case 3: (void)fuzz_gc(); break;
    case 4: refuse(s); break;
    case 5:
        if (fuzz_below(4) == 0) check_all();
        else (void)gomem_free_os_memory();
        break;
    case 6:
    case 7:
    case 8:
    case 9:
    case 10: put(s); break;
    default: get(s);
    }
}

// So many pools that later ones have no place in a thread's cache.
static void crowd(void) {
    static gomem_pool *pools[CROWD];
    gomem_pool_options o = {.size = 32};
    for (int i = 0; i < CROWD; i++) {
        pools[i] = gomem_pool_new(&o);
        FUZZ_CHECK(pools[i] != NULL);
        gomem_pool_put(pools[i], gomem_pool_get(pools[i]));
    }
}

static void fuzz_play(void) {
    unsigned how = fuzz_byte();
    memset(&m, 0, sizeof m);
    m.limited = fuzz_start_as(how);
    if (how >= 240) crowd();
    while (fuzz_more()) {
        unsigned where = fuzz_byte();
        if (where % 16 == 15) fuzz_end_thread(1 + where / 16 % 2);
        else m.thread = where % FUZZ_THREADS;
        for (unsigned n = 1 + where / 16; n && fuzz_more(); n--) fuzz_on(m.thread, step);
    }
    check_all();
    for (int i = 0; i < POOLS; i++) destroy(&m.shadow[i]);
    FUZZ_CHECK(fuzz_verify());
    fuzz_stop();
}

FUZZ_MAIN;
