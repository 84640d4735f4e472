// The collected heap against a shadow graph. The shadow knows each object's address inverted, so it
// keeps none alive, and decides after each step what the roots still reach: that must keep its
// address, contents and links. What they no longer reach may die at any moment from then on: its
// callbacks run at most once and in order, and a weak pointer gives it whole or not at all.
#include "fuzz.h"

#include <fcntl.h>
#include <sys/mman.h>

enum kind { SCAN, NOSCAN, TYPED, FLEX, MARKED, COUNTED, ROOT, ROOT_NOSCAN, KINDS };
enum { NODES = 1500, SLOTS = 48, LINKS = 3, NONE = -1, DANGLING = -2, CLEANUPS = 2 };
// Live: the roots reach it. Lost: they do not. Gone: its memory has been given up for sure.
enum state { LIVE, LOST, GONE };
enum callback { UNSET, SET, RAN };

struct object {
    struct object *link[LINKS];
    uintptr_t id;
};
struct flexible {
    struct object head;
    struct object *more[];
};

static void mark_object(const void *p, size_t size, gomem_marker *marker) {
    const struct object *o = p;
    for (size_t i = 0; size && i < LINKS; i++) gomem_mark(marker, o->link[i]);
}
GOMEM_TYPE(object_type, struct object, link);
GOMEM_TYPE_FLEX(flexible_type, struct flexible, more, head.link);
GOMEM_TYPE_MARK(marked_type, struct object, mark_object);

struct node {
    uintptr_t hidden;
    size_t size, align;
    enum kind kind;
    enum state state;
    int link[LINKS];      // what the links lead to
    size_t into[LINKS];   // how far into it
    gomem_weak weak, old; // the current handle, and one that has died
    bool weak_died, reached;
    enum callback final, drop, clean[CLEANUPS];
    bool ran_lost; // its finalizer ran, and nobody has reached it since
    gomem_cleanup cleanup[CLEANUPS];
    unsigned count; // of retains
};

// Where a root may lie.
enum place {
    GLOBAL,
    UNCOLLECTABLE,
    RANGE,
    FUNCTION,
    STACK,
    THREAD_STACK,
    TLS,
    ARENA,
    POOL,
    COROUTINE,
    PLACES
};
enum { CELLS = 4 };

static struct {
    struct node node[NODES];
    int slot[SLOTS]; // nodes that steps choose from
    struct {
        int node;
        size_t into;
    } cell[PLACES][CELLS];
    size_t nodes;
    unsigned thread, held;
    int releasing;
    bool limited;
} m;

static void *volatile global_cells[CELLS];
static _Thread_local void *volatile tls_cells[CELLS];
static void *volatile *outside; // a page that is no root: the first half is registered
static void *volatile *places[PLACES];
static gomem_arena arena;
static gomem_pool *pool;
static gomem_stack *volatile stack; // read by nobody, but a root

static unsigned char *address(int n) { return (void *)~m.node[n].hidden; }
static struct object *object(int n) { return (void *)~m.node[n].hidden; }
static bool is_linked(int n) { return m.node[n].kind != NOSCAN && m.node[n].kind != ROOT_NOSCAN; }
static bool is_collected(int n) { return m.node[n].kind < ROOT; }
static unsigned seed(int n) { return (unsigned)n * 3u + 1; }

// ---- checks ----

static void check_link(int n, int i) {
    const struct node *node = &m.node[n];
    const unsigned char *to = (const unsigned char *)object(n)->link[i];
    if (node->link[i] == DANGLING) return;
    if (node->link[i] == NONE) FUZZ_CHECK(!to);
    else FUZZ_CHECK(to == address(node->link[i]) + node->into[i]);
}

static size_t contents(int n) { return is_linked(n) ? sizeof(struct object) : 0; }

static void check_node(int n) {
    const struct node *node = &m.node[n];
    const unsigned char *p = address(n);
    FUZZ_CHECK(node->state != GONE);
    FUZZ_CHECK((uintptr_t)p % node->align == 0);
    FUZZ_CHECK(gomem_base(p) == p && gomem_usable_size(p) >= node->size);
    if (node->kind != FLEX) FUZZ_CHECK(fuzz_holds(p, contents(n), node->size, node->size, seed(n)));
    for (int i = 0; i < LINKS && is_linked(n); i++) check_link(n, i);
    if (is_linked(n)) FUZZ_CHECK(object(n)->id == (uintptr_t)n);
}

// ---- what reaches what ----

static void reach(int n) {
    static int todo[NODES * LINKS + 1];
    size_t count = 1;
    for (todo[0] = n; count;) {
        struct node *node = &m.node[todo[--count]];
        if (node->reached) continue;
        node->reached = true;
        for (int i = 0; i < LINKS; i++)
            if (node->link[i] >= 0) todo[count++] = node->link[i];
    }
}

static void reach_nothing(void) {
    for (size_t n = 0; n < m.nodes; n++) m.node[n].reached = false;
}

// What the roots no longer reach is lost.
static void settle(void) {
    reach_nothing();
    for (int p = 0; p < PLACES; p++)
        for (int c = 0; c < CELLS; c++)
            if (m.cell[p][c].node >= 0) reach(m.cell[p][c].node);
    for (int n = 0; n < (int)m.nodes; n++)
        if (!is_collected(n) && m.node[n].state == LIVE) reach(n);
    for (size_t n = 0; n < m.nodes; n++)
        if (m.node[n].state == LIVE && !m.node[n].reached) m.node[n].state = LOST;
    for (int i = 0; i < SLOTS; i++)
        if (m.slot[i] >= 0 && m.node[m.slot[i]].state != LIVE) m.slot[i] = NONE;
}

static void give_slot(int n) {
    for (int i = 0; i < SLOTS; i++)
        if (m.slot[i] < 0) {
            m.slot[i] = n;
            return;
        }
}

// A lost node was found: all that it leads to is whole.
static void revive(int n) {
    reach_nothing();
    reach(n);
    for (int k = 0; k < (int)m.nodes; k++) {
        struct node *node = &m.node[k];
        if (!node->reached) continue;
        check_node(k);
        for (int i = 0; i < LINKS; i++)
            if (node->link[i] == DANGLING) {
                GOMEM_STORE(&object(k)->link[i], NULL);
                node->link[i] = NONE;
            }
        node->ran_lost = false;
        if (node->state == LOST) node->state = LIVE, give_slot(k);
    }
}

// ---- roots and links ----

static void set_cell(int p, int c, int n) {
    m.cell[p][c].node = n;
    m.cell[p][c].into = n >= 0 && fuzz_below(4) == 0 ? fuzz_word() % m.node[n].size : 0;
    unsigned char *to = n >= 0 ? address(n) + m.cell[p][c].into : NULL;
    GOMEM_STORE(&places[p][c], (void *)to);
}

static int any_place(void) {
    int p = (int)fuzz_below(PLACES);
    return places[p] ? p : GLOBAL;
}

static void root(int n) { set_cell(any_place(), (int)fuzz_below(CELLS), n); }

static void set_link(int n, int i, int to) {
    struct node *node = &m.node[n];
    struct object *volatile *slot = (struct object *volatile *)&object(n)->link[i];
    node->link[i] = to;
    node->into[i] = to >= 0 && fuzz_below(4) == 0 ? fuzz_word() % m.node[to].size : 0;
    struct object *value = to >= 0 ? (void *)(address(to) + node->into[i]) : NULL;
    struct object *old = *slot;
    switch (fuzz_below(4)) {
    case 0: GOMEM_STORE_ATOMIC(slot, value); break;
    case 1: FUZZ_CHECK(GOMEM_EXCHANGE(slot, value) == old); break;
    case 2: FUZZ_CHECK(GOMEM_CAS(slot, &old, value)); break;
    default: GOMEM_STORE(slot, value);
    }
}

static void copy_links(int to, int from) {
    gomem_memmove(object(to)->link, object(from)->link, sizeof object(to)->link);
    memcpy(m.node[to].link, m.node[from].link, sizeof m.node[to].link);
    memcpy(m.node[to].into, m.node[from].into, sizeof m.node[to].into);
}

// A node moves, or goes: then `to` is NONE. What is lost cannot be told.
static void redirect(int n, int to) {
    for (int p = 0; p < PLACES; p++)
        for (int c = 0; c < CELLS; c++)
            if (m.cell[p][c].node == n) set_cell(p, c, to);
    for (int k = 0; k < (int)m.nodes; k++)
        for (int i = 0; i < LINKS; i++) {
            if (m.node[k].link[i] != n || m.node[k].state == GONE) continue;
            if (m.node[k].state == LIVE) set_link(k, i, to);
            else m.node[k].link[i] = DANGLING;
        }
}

// A node that steps may use; NONE: the slot is empty.
static int any(void) { return m.slot[fuzz_below(SLOTS)]; }

// ---- callbacks ----

// What it leads to is whole, and has not been finalized before it, unless they lead to each other.
static void check_led_to(int n) {
    static bool led[NODES];
    reach_nothing();
    reach(n);
    for (size_t k = 0; k < m.nodes; k++) led[k] = m.node[k].reached && (int)k != n;
    for (int k = 0; k < (int)m.nodes; k++) {
        if (!led[k]) continue;
        check_node(k);
        if (!m.node[k].ran_lost) continue;
        reach_nothing();
        reach(k);
        FUZZ_CHECK(m.node[n].reached);
    }
}

static void finalize(void *obj, void *arg) {
    int n = (int)(intptr_t)arg;
    struct node *node = &m.node[n];
    FUZZ_CHECK(obj == address(n));
    FUZZ_CHECK(node->state == LOST && node->final == SET);
    check_node(n);
    check_led_to(n);
    if (node->weak.id) FUZZ_CHECK(!gomem_weak_get(node->weak));
    node->weak_died = node->weak.id != 0;
    node->final = RAN;
    node->ran_lost = true;
    if (fuzz_below(4) != 0) return;
    root(n);
    revive(n);
}

static void clean(void *arg) {
    int n = (int)((intptr_t)arg / CLEANUPS), which = (int)((intptr_t)arg % CLEANUPS);
    struct node *node = &m.node[n];
    FUZZ_CHECK(node->state != LIVE && node->clean[which] == SET);
    FUZZ_CHECK(node->final != SET);
    if (node->weak.id) FUZZ_CHECK(!gomem_weak_get(node->weak));
    node->clean[which] = RAN;
    node->state = GONE;
}

static void drop(void *obj) {
    int n = (int)((struct object *)obj)->id;
    struct node *node = &m.node[n];
    FUZZ_CHECK(obj == address(n) && node->drop == SET);
    FUZZ_CHECK(m.releasing == n || node->state == LOST);
    check_node(n);
    node->drop = RAN;
    if (m.releasing != n || fuzz_below(3) != 0) return;
    FUZZ_CHECK(gomem_rc_retain(obj) == obj); // it stays
    node->count = 1;
}

// ---- steps: making ----

static void *make(enum kind kind, size_t size, size_t *align) {
    size_t more = size - sizeof(struct object);
    bool by_type = kind == TYPED || kind == FLEX || kind == MARKED, counted = kind == COUNTED;
    bool aligned = fuzz_below(6) == 0 && !by_type && !counted;
    unsigned flags = kind == NOSCAN ? GOMEM_NOSCAN : 0;
    *align = by_type || size < 9 ? 8 : 16;
    if (aligned) *align = (size_t)1 << fuzz_below(15);
    switch (kind) {
    case SCAN: return aligned ? gomem_new_with(size, *align, 0) : gomem_new(size);
    case NOSCAN: return aligned ? gomem_new_with(size, *align, flags) : gomem_new_noscan(size);
    case TYPED: return GOMEM_NEW_TYPED(struct object, &object_type);
    case FLEX: return GOMEM_NEW_FLEX_TYPED(struct flexible, &flexible_type, more, more / 8);
    case MARKED: return GOMEM_NEW_TYPED(struct object, &marked_type);
    case COUNTED: return gomem_rc_new(size, drop);
    case ROOT: return gomem_new_with(size, *align, GOMEM_UNCOLLECTABLE);
    default: return gomem_new_with(size, *align, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN);
    }
}

static void remember(int n, void *p, enum kind kind, size_t size, size_t align) {
    struct node *node = &m.node[n];
    *node = (struct node){~(uintptr_t)p, size, align, kind, .link = {NONE, NONE, NONE}};
    node->drop = kind == COUNTED ? SET : UNSET;
    node->count = kind == COUNTED;
    if (is_linked(n)) object(n)->id = (uintptr_t)n;
    if (kind != FLEX) fuzz_fill(p, contents(n), size, seed(n));
    give_slot(n);
}

static void allocate(void) {
    enum kind kind = (enum kind)fuzz_below(KINDS);
    size_t size = fuzz_size() % (200 * FUZZ_KB), align = 0;
    bool fixed = kind == TYPED || kind == MARKED;
    if (m.nodes == NODES) return;
    if (fixed) size = sizeof(struct object);
    else if (kind != NOSCAN && kind != ROOT_NOSCAN) size += sizeof(struct object);
    if (kind == FLEX) size -= size % sizeof(void *); // what is behind the head are whole elements
    size += !size;
    errno = 0;
    unsigned char *p = make(kind, size, &align);
    if (!p) {
        FUZZ_CHECK(m.limited && errno == ENOMEM);
        return;
    }
    FUZZ_CHECK(fuzz_is_zero(p, 0, size));
    int n = (int)m.nodes++;
    remember(n, p, kind, size, align);
    root(n);
}

static void make_garbage(void) {
    size_t size = fuzz_size() % (40 * FUZZ_KB), n = 1 + fuzz_byte();
    bool scanned = fuzz_below(2);
    for (; n; n--) {
        void *p = scanned ? gomem_new(size) : gomem_new_noscan(size);
        FUZZ_CHECK(p || m.limited);
        if (!p) continue;
        FUZZ_CHECK(fuzz_is_zero(p, 0, size));
        memset(p, 0x5a, size < 64 ? size : 64);
    }
}

// ---- steps: letting go ----

// By hand. What belongs to it is told, and its finalizer forgotten.
static void forget(int n) {
    m.node[n].final = UNSET;
    m.node[n].state = GONE;
}

static void free_node(int n) {
    if (m.node[n].kind == COUNTED) return;
    check_node(n);
    redirect(n, NONE);
    gomem_free(address(n));
    forget(n);
}

static void release(int n) {
    struct node *node = &m.node[n];
    void *p = address(n);
    if (node->kind != COUNTED) return;
    check_node(n);
    if (fuzz_below(3) == 0) {
        FUZZ_CHECK(gomem_rc_retain(p) == p);
        node->count++;
        return;
    }
    if (--node->count == 0) redirect(n, NONE);
    m.releasing = n;
    gomem_rc_release(p);
    m.releasing = NONE;
    FUZZ_CHECK(node->count || node->drop == RAN);
    if (!node->count) forget(n);
    else root(n);
}

static void resize(int n) {
    struct node *node = &m.node[n];
    size_t size = fuzz_size() % (200 * FUZZ_KB), old = node->size;
    if (node->kind != SCAN && node->kind != NOSCAN && is_collected(n)) return;
    if (is_linked(n)) size += sizeof(struct object);
    size += !size;
    check_node(n);
    errno = 0;
    unsigned char *p = gomem_realloc(address(n), size);
    if (!p) {
        FUZZ_CHECK(m.limited && errno == ENOMEM);
        check_node(n);
        return;
    }
    size_t kept = old < size ? old : size;
    FUZZ_CHECK(fuzz_holds(p, contents(n), kept, old, seed(n)));
    FUZZ_CHECK(fuzz_is_zero(p, kept, size));
    if (p != address(n)) node->align = size < 9 ? 8 : 16;
    node->hidden = ~(uintptr_t)p;
    node->size = size;
    fuzz_fill(p, contents(n), size, seed(n));
    redirect(n, n);
}

// ---- steps: when it dies ----

static void finalizer(int n) {
    struct node *node = &m.node[n];
    void (*fn)(void *, void *) = NULL;
    void *arg = NULL;
    errno = 0;
    if (node->kind == COUNTED) return;
    if (!is_collected(n)) {
        FUZZ_CHECK(!gomem_set_finalizer(address(n), finalize, (void *)(intptr_t)n));
        FUZZ_CHECK(errno == EINVAL);
    } else if (node->final == SET) {
        FUZZ_CHECK(!gomem_set_finalizer(address(n), finalize, NULL) && errno == EEXIST);
        FUZZ_CHECK(gomem_get_finalizer(address(n), &fn, &arg) && fn == finalize);
        FUZZ_CHECK(arg == (void *)(intptr_t)n);
        if (fuzz_below(2)) return;
        FUZZ_CHECK(gomem_set_finalizer(address(n), NULL, NULL));
        node->final = UNSET;
    } else {
        FUZZ_CHECK(!gomem_get_finalizer(address(n), &fn, &arg) && errno == ENOENT);
        bool done = gomem_set_finalizer(address(n), finalize, (void *)(intptr_t)n);
        FUZZ_CHECK(done || m.limited);
        if (done) node->final = SET;
    }
}

static void cleanup(int n) {
    struct node *node = &m.node[n];
    int which = (int)fuzz_below(CLEANUPS);
    if (node->clean[which] == SET) {
        gomem_cancel_cleanup(node->cleanup[which]);
        node->clean[which] = UNSET;
        return;
    }
    void *arg = (void *)(intptr_t)(n * CLEANUPS + which);
    node->cleanup[which] = gomem_add_cleanup(address(n), clean, arg);
    FUZZ_CHECK(node->cleanup[which].id || m.limited);
    if (node->cleanup[which].id) node->clean[which] = SET;
}

static void weak(int n) {
    struct node *node = &m.node[n];
    gomem_weak made = gomem_weak_make(address(n));
    FUZZ_CHECK(made.id || m.limited);
    if (!made.id) return;
    if (node->weak_died) {
        node->old = node->weak;
        node->weak_died = false;
    } else if (node->weak.id) {
        FUZZ_CHECK(made.id == node->weak.id);
    }
    node->weak = made;
}

// Asks for any node, also one that may have died.
static void look_at_weak(void) {
    int n = m.nodes ? (int)(fuzz_word() % m.nodes) : NONE;
    if (n < 0 || !m.node[n].weak.id) return;
    struct node *node = &m.node[n];
    void *p = gomem_weak_get(node->weak);
    if (node->old.id) FUZZ_CHECK(!gomem_weak_get(node->old));
    if (node->weak_died || node->state == GONE) FUZZ_CHECK(!p);
    else if (p || node->state == LIVE) FUZZ_CHECK(p == address(n));
    if (node->state != LOST) return;
    if (!p) node->weak_died = true;
    else root(n), revive(n);
}

// ---- steps: the collector ----

static bool count_node(void *p, size_t size, void *user) {
    (void)user;
    for (int i = 0; i < SLOTS; i++)
        if (m.slot[i] >= 0 && address(m.slot[i]) == p) {
            FUZZ_CHECK(!m.node[m.slot[i]].reached && size >= m.node[m.slot[i]].size);
            m.node[m.slot[i]].reached = true;
        }
    return true;
}

// Each live object comes once.
static void walk(void) {
    bool typed = fuzz_below(2);
    reach_nothing();
    (void)gomem_each(typed ? &object_type : NULL, count_node, NULL);
    for (int i = 0; i < SLOTS; i++) {
        int n = m.slot[i];
        if (n < 0 || !is_collected(n)) continue;
        bool wanted = !typed || m.node[n].kind == TYPED;
        FUZZ_CHECK(m.node[n].reached == wanted);
    }
}

static void why(int n) {
    static int nowhere = -1;
    if (nowhere < 0) nowhere = open("/dev/null", O_WRONLY);
    if (n >= 0 && is_collected(n)) FUZZ_CHECK(gomem_why(address(n), nowhere) || m.limited);
}

static void hold(void) {
    if (m.held && fuzz_below(2)) gomem_gc_unhold(), m.held--;
    else gomem_gc_hold(), m.held++;
}

static void collect(void) {
    unsigned tries = 50;
    alive_clear_stack();
    switch (fuzz_below(6)) {
    case 0: (void)gomem_gc_start(); break;
    case 1:
        while (tries && !gomem_gc_work(200)) tries--;
        break;
    case 2: (void)gomem_free_os_memory(); break;
    default: FUZZ_CHECK(fuzz_gc() == (m.held == 0));
    }
}

static void tune(void) {
    static const size_t limits[] = {0, FUZZ_MB, 8 * FUZZ_MB, 64 * FUZZ_MB};
    switch (fuzz_below(3)) {
    case 0: (void)gomem_set_memory_limit(limits[fuzz_below(4)]); break;
    case 1: (void)gomem_set_gc_percent((int)fuzz_byte() - 1); break;
    default: hold();
    }
}

static void check_all(void) {
    for (int i = 0; i < SLOTS; i++)
        if (m.slot[i] >= 0) check_node(m.slot[i]);
    FUZZ_CHECK(fuzz_verify());
    fuzz_check_stats();
}

// ---- the rest ----

static void refuse(int n) {
    size_t huge = fuzz_too_large();
    errno = 0;
    switch (fuzz_below(6)) {
    case 0: FUZZ_CHECK(!gomem_new(huge) && errno == ENOMEM); break;
    case 1: FUZZ_CHECK(!GOMEM_MAKE(struct object, huge) && errno == ENOMEM); break;
    case 2: FUZZ_CHECK(!gomem_new_typed(&object_type, huge) && errno == ENOMEM); break;
    case 3:
        FUZZ_CHECK(!gomem_new_with(16, 0, 1u << (4 + fuzz_below(20))) && errno == EINVAL);
        break;
    case 4:
        FUZZ_CHECK(!gomem_new_with(16, 3 + 4 * (size_t)fuzz_byte(), 0) && errno == EINVAL);
        break;
    default:
        if (n >= 0) FUZZ_CHECK(!gomem_realloc(address(n), huge) && errno == ENOMEM);
    }
    if (n >= 0) check_node(n);
}

static void step_with(int n) {
    switch (fuzz_below(12)) {
    case 0: free_node(n); break;
    case 1: release(n); break;
    case 2: resize(n); break;
    case 3:
    case 4: finalizer(n); break;
    case 5: cleanup(n); break;
    case 6: weak(n); break;
    case 7: root(n); break;
    default: {
        int to = any();
        if (!is_linked(n)) break;
        if (to >= 0 && is_linked(to) && fuzz_below(4) == 0) copy_links(n, to);
        else set_link(n, (int)fuzz_below(LINKS), to);
    }
    }
}

static void step(void) {
    int n = any();
    switch (fuzz_below(18)) {
    case 0:
    case 1:
    case 2:
    case 3: allocate(); break;
    case 4:
    case 5: set_cell(any_place(), (int)fuzz_below(CELLS), NONE); break;
    case 6: make_garbage(); break;
    case 7:
    case 8: collect(); break;
    case 9: (void)gomem_run_finalizers((int)fuzz_below(5) - 1); break;
    case 10: look_at_weak(); break;
    case 11:
        switch (fuzz_below(4)) {
        case 0: walk(); break;
        case 1: why(n); break;
        case 2: tune(); break;
        default: refuse(n);
        }
        break;
    case 12:
        if (fuzz_below(4) == 0) check_all();
        break;
    default:
        if (n >= 0) step_with(n);
    }
    settle();
}

// ---- an input ----

static void name_roots(gomem_marker *marker, void *arg) {
    void *volatile *cells = arg;
    gomem_mark_range(marker, (void *)(uintptr_t)cells, (void *)(uintptr_t)(cells + CELLS));
}

static void map_outside(void) {
    if (!outside)
        outside = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FUZZ_CHECK(outside != MAP_FAILED);
    memset((void *)(uintptr_t)outside, 0, 4096);
    FUZZ_CHECK(gomem_add_root((void *)(uintptr_t)outside, 2048));
    places[RANGE] = outside;
    places[FUNCTION] = outside + 2048 / sizeof *outside;
    FUZZ_CHECK(gomem_add_root_fn(name_roots, (void *)(uintptr_t)places[FUNCTION]));
}

static void make_places(void *volatile *here) {
    gomem_pool_options o = {.size = CELLS * sizeof(void *), .flags = GOMEM_SCAN};
    memset((void *)(uintptr_t)global_cells, 0, sizeof global_cells);
    memset((void *)(uintptr_t)tls_cells, 0, sizeof tls_cells);
    map_outside();
    places[GLOBAL] = global_cells;
    places[TLS] = tls_cells;
    places[STACK] = here;
    places[UNCOLLECTABLE] = gomem_new_with(CELLS * sizeof(void *), 0, GOMEM_UNCOLLECTABLE);
    FUZZ_CHECK(gomem_arena_init(&arena, &(gomem_arena_options){.flags = GOMEM_SCAN}));
    places[ARENA] = gomem_arena_alloc(&arena, CELLS * sizeof(void *));
    pool = gomem_pool_new(&o);
    places[POOL] = gomem_pool_get(pool);
    stack = gomem_stack_new(64 * FUZZ_KB);
    places[COROUTINE] = (void *volatile *)gomem_stack_base(stack) + 64 * FUZZ_KB / sizeof(void *) -
                        8;
}

static void use_frame(void *volatile *frame) { places[THREAD_STACK] = frame; }

static void forget_all(void) {
    for (int p = 0; p < PLACES; p++)
        for (int c = 0; c < CELLS && places[p]; c++) set_cell(p, c, NONE);
    for (int n = 0; n < (int)m.nodes; n++)
        if (m.node[n].state == LIVE && !is_collected(n)) free_node(n);
    settle();
}

// Nothing is reached any more: most of it must go. Stale words may keep some.
static void bury(void) {
    for (; m.held; m.held--) gomem_gc_unhold();
    for (int i = 0; i < 4; i++) {
        alive_clear_stack();
        FUZZ_CHECK(fuzz_gc());
        (void)gomem_run_finalizers(-1);
        forget_all(); // some came back
    }
    size_t weak_left = 0, weak_all = 0;
    for (size_t n = 0; n < m.nodes; n++) {
        if (!m.node[n].weak.id) continue;
        weak_all++;
        weak_left += gomem_weak_get(m.node[n].weak) != NULL;
    }
    FUZZ_CHECK(weak_left <= 8 + weak_all / 2);
}

static void begin(void) {
    static const int percents[] = {GOMEM_GC_OFF, GOMEM_GC_OFF, 20, 100};
    memset(&m, 0, sizeof m);
    memset((void *)(uintptr_t)places, 0, sizeof places);
    for (int i = 0; i < SLOTS; i++) m.slot[i] = NONE;
    for (int p = 0; p < PLACES; p++)
        for (int c = 0; c < CELLS; c++) m.cell[p][c].node = NONE;
    m.releasing = NONE;
    m.limited = fuzz_below(8) == 7;
    fuzz_start((gomem_options){.collector = 1 + (int)fuzz_below(3),
                               .gc_percent = percents[fuzz_below(4)],
                               .hard_limit = m.limited ? 12 * FUZZ_MB : 0});
}

static void fuzz_play(void) {
    void *volatile here[CELLS] = {NULL};
    begin();
    make_places(here);
    while (fuzz_more()) {
        unsigned how = fuzz_byte();
        m.thread = how % 4 == 3;
        if (m.thread) fuzz_on(1, step), use_frame(fuzz_threads[1].frame);
        for (unsigned steps = 1 + how / 16; steps && fuzz_more(); steps--) fuzz_on(m.thread, step);
    }
    check_all();
    forget_all();
    fuzz_on(0, bury);
    gomem_free((void *)(uintptr_t)places[UNCOLLECTABLE]);
    fuzz_stop();
}

FUZZ_MAIN;
