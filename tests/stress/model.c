// A model test: random operations of every kind of allocation against a shadow of what must be
// there. Contents, zeroing, links, alignment and sizes are checked; collections fall between.
//
//     model [operations]
#include "gomem.h"
#include "stress.h"

#include <errno.h>

enum kind { FREE, MANUAL, SCAN, NOSCAN, TYPED, FLEX, UNCOLLECTABLE, UNCOLLECTABLE_NOSCAN, KINDS };

enum { SLOTS = 4096, LINKS = 3 };

// Collected scanned objects begin so; the rest is bytes by pattern.
struct linked {
    struct linked *links[LINKS];
    uintptr_t id;
};

struct flex {
    struct linked head;
    struct linked *more[];
};

GOMEM_TYPE(linked_type, struct linked, links);
GOMEM_TYPE_FLEX(flex_type, struct flex, more, head.links);

// What the model knows of one object. The object is kept by `roots` alone, or by a link of another.
struct shadow {
    enum kind kind;
    size_t size, align;
    uintptr_t id;
    size_t links[LINKS]; // indices of shadows, or SLOTS: none
    size_t incoming;     // links of others (and its own) to this one
    bool linked;         // begins with a struct linked
};

static struct shadow shadows[SLOTS];
static void **roots; // an uncollectable array: objects by index; manual ones too
static uintptr_t last_id;
static size_t operations, counts[KINDS];
static struct stress_random random_state;

static uint32_t below(uint32_t n) { return stress_below(&random_state, n); }

static unsigned char pattern(const struct shadow *s, size_t i) {
    return (unsigned char)(s->id * 31 + i * 7);
}

static size_t pattern_start(const struct shadow *s) {
    if (s->kind == FLEX) return s->size;
    return s->linked ? sizeof(struct linked) : 0;
}

static void write_contents(size_t at) {
    struct shadow *s = &shadows[at];
    unsigned char *p = roots[at];
    s->id = ++last_id;
    if (s->linked) ((struct linked *)(void *)p)->id = s->id;
    for (size_t i = pattern_start(s); i < s->size; i++) p[i] = pattern(s, i);
}

static bool is_zero(const unsigned char *p, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        if (p[i] != 0) return false;
    return true;
}

static bool pattern_holds(size_t at, size_t to) {
    const struct shadow *s = &shadows[at];
    const unsigned char *p = roots[at];
    for (size_t i = pattern_start(s); i < to; i++)
        if (p[i] != pattern(s, i)) return false;
    return true;
}

static bool object_holds(size_t at) {
    const struct shadow *s = &shadows[at];
    if (!CHECK(gomem_base(roots[at]) == roots[at])) return false;
    if (!CHECK(gomem_usable_size(roots[at]) >= s->size)) return false;
    if (!CHECK((uintptr_t)roots[at] % s->align == 0)) return false;
    if (!CHECK(pattern_holds(at, s->size))) return false;
    if (!s->linked) return true;
    const struct linked *object = roots[at];
    if (!CHECK(object->id == s->id)) return false;
    for (size_t i = 0; i < LINKS; i++) {
        const void *expected = s->links[i] == SLOTS ? NULL : roots[s->links[i]];
        if (!CHECK(object->links[i] == expected)) return false;
    }
    return true;
}

// Link i of `from` now leads to `to`, SLOTS for nothing; in the shadow alone when `from` is going.
static void set_link(size_t from, size_t i, size_t to, bool in_heap) {
    size_t old = shadows[from].links[i];
    if (old != SLOTS) shadows[old].incoming--;
    if (to != SLOTS) shadows[to].incoming++;
    shadows[from].links[i] = to;
    if (!in_heap) return;
    struct linked *object = roots[from];
    GOMEM_STORE(&object->links[i], to == SLOTS ? NULL : roots[to]);
}

// The object takes part in no link any more.
static void unlink_all(size_t at) {
    for (size_t i = 0; i < LINKS && shadows[at].linked; i++) set_link(at, i, SLOTS, false);
    for (size_t from = 0; from < SLOTS && shadows[at].incoming > 0; from++) {
        if (shadows[from].kind == FREE || !shadows[from].linked) continue;
        for (size_t i = 0; i < LINKS; i++)
            if (shadows[from].links[i] == at) set_link(from, i, SLOTS, true);
    }
}

static void remember(size_t at, enum kind kind, void *p, size_t size, size_t align) {
    struct shadow *s = &shadows[at];
    bool scanned = kind == SCAN || kind == TYPED || kind == FLEX || kind == UNCOLLECTABLE;
    *s = (struct shadow){.kind = kind, .size = size, .align = align};
    s->linked = scanned && size >= sizeof(struct linked);
    for (size_t i = 0; i < LINKS; i++) s->links[i] = SLOTS;
    roots[at] = p;
    counts[kind]++;
    write_contents(at);
}

static size_t plain_align(size_t size) { return size >= 9 ? 16 : 8; }

static void allocate(size_t at) {
    size_t size = stress_size(&random_state), align = plain_align(size);
    enum kind kind = (enum kind)(1 + below(KINDS - 1));
    unsigned char *p = NULL;
    bool zeroed = kind != MANUAL;
    bool aligned = below(8) == 0;
    if (aligned) align = (size_t)1 << below(14);
    switch (kind) {
    case MANUAL:
        zeroed = !aligned && below(4) == 0;
        p = aligned  ? gomem_aligned_alloc(align, size)
            : zeroed ? gomem_calloc(1, size)
                     : gomem_malloc(size);
        break;
    case SCAN: p = aligned ? gomem_new_with(size, align, 0) : gomem_new(size); break;
    case NOSCAN:
        p = aligned ? gomem_new_with(size, align, GOMEM_NOSCAN) : gomem_new_noscan(size);
        break;
    case TYPED:
        size = sizeof(struct linked);
        align = _Alignof(struct linked);
        p = (unsigned char *)GOMEM_NEW_TYPED(struct linked, &linked_type);
        break;
    case FLEX: {
        size_t n = size / sizeof(void *);
        size = sizeof(struct flex) + n * sizeof(void *);
        align = _Alignof(struct flex);
        p = (unsigned char *)GOMEM_NEW_FLEX_TYPED(struct flex, &flex_type, more, n);
        break;
    }
    case UNCOLLECTABLE: p = gomem_new_with(size, aligned ? align : 0, GOMEM_UNCOLLECTABLE); break;
    default:
        p = gomem_new_with(size, aligned ? align : 0, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN);
        break;
    }
    if (!CHECK(p != NULL)) return;
    if (zeroed) CHECK(is_zero(p, 0, size));
    remember(at, kind, p, size, align);
}

static bool must_be_freed(enum kind kind) { return kind == MANUAL || kind >= UNCOLLECTABLE; }

// Frees by hand, or forgets what the collector frees.
static void release(size_t at) {
    struct shadow *s = &shadows[at];
    if (!object_holds(at)) return;
    unlink_all(at);
    s->kind = FREE;
    void *p = roots[at];
    roots[at] = NULL;
    switch (below(3)) {
    case 0: gomem_free(p); break;
    case 1: gomem_free_sized(p, s->size); break;
    default: GOMEM_FREE(struct linked, (struct linked *)p); break;
    }
}

static void forget(size_t at) {
    if (must_be_freed(shadows[at].kind)) {
        release(at);
        return;
    }
    if (!object_holds(at)) return;
    unlink_all(at);
    shadows[at].kind = FREE;
    roots[at] = NULL;
}

static void resize(size_t at) {
    struct shadow *s = &shadows[at];
    if (s->kind == FLEX || s->kind == TYPED || !object_holds(at)) return;
    size_t size = stress_size(&random_state);
    if (s->linked && size < sizeof(struct linked)) size += sizeof(struct linked);
    if (s->incoming > 0) return; // a link would go stale when the object moves
    uintptr_t old = (uintptr_t)roots[at];
    unsigned char *p = gomem_realloc(test_opaque(roots[at]), size);
    if (!CHECK(p != NULL)) return;
    // What stays in place may have been asked for with less alignment than the plain one.
    if ((uintptr_t)p != old || s->align > plain_align(size)) s->align = plain_align(size);
    roots[at] = p;
    size_t kept = s->size < size ? s->size : size;
    CHECK(pattern_holds(at, kept));
    if (s->kind != MANUAL) CHECK(is_zero(p, kept, size));
    bool was_linked = s->linked;
    s->size = size;
    if (!was_linked && s->kind != MANUAL && s->kind != NOSCAN && s->kind != UNCOLLECTABLE_NOSCAN &&
        size >= sizeof(struct linked)) {
        memset(p, 0, sizeof(struct linked));
        s->linked = true;
        for (size_t i = 0; i < LINKS; i++) s->links[i] = SLOTS;
    }
    write_contents(at);
}

static bool collected(enum kind kind) {
    return kind != FREE && kind != MANUAL && kind < UNCOLLECTABLE;
}

static void link_two(size_t from, size_t to) {
    struct shadow *s = &shadows[from];
    if (!s->linked || shadows[to].kind == FREE) return;
    set_link(from, below(LINKS), to, true);
}

// For a moment a collected object hangs on a link alone: its entry in the roots is empty.
static void hang_on_link(size_t from) {
    struct shadow *s = &shadows[from];
    if (!s->linked) return;
    for (size_t i = 0; i < LINKS; i++) {
        size_t to = s->links[i];
        if (to == SLOTS || to == from || !collected(shadows[to].kind)) continue;
        roots[to] = NULL;
        gomem_gc();
        roots[to] = ((struct linked *)roots[from])->links[i];
        if (!object_holds(to)) return;
    }
}

static void check_all(void) {
    for (size_t at = 0; at < SLOTS && test_failed() == 0; at++)
        if (shadows[at].kind != FREE) object_holds(at);
    CHECK(HEAP_IS_WHOLE());
}

static void step(void) {
    size_t at = below(SLOTS);
    uint32_t what = below(1000);
    if (shadows[at].kind == FREE) allocate(at);
    else if (what < 350) release(at);
    else if (what < 600) forget(at);
    else if (what < 750) resize(at);
    else if (what < 950) link_two(at, below(SLOTS));
    else object_holds(at);
    if (below(20000) == 0) gomem_gc();
    if (below(40000) == 0) hang_on_link(at);
    if (below(60000) == 0) gomem_free_os_memory();
    if (below(100000) == 0) check_all();
}

TEST(random_operations) {
    size_t n = operations > 0 ? operations : stress_times(300000);
    random_state = stress_random_at(0);
    roots = gomem_new_with(SLOTS * sizeof *roots, 0, GOMEM_UNCOLLECTABLE);
    REQUIRE(roots != NULL);
    for (size_t i = 0; i < n && test_failed() == 0; i++) {
        step();
        if (test_failed() > 0) printf("\n    in operation %zu of seed %" PRIu64, i, stress_seed());
    }
    check_all();
    for (enum kind kind = MANUAL; kind < KINDS; kind++) CHECK(counts[kind] > 0);
    for (size_t at = 0; at < SLOTS && test_failed() == 0; at++)
        if (shadows[at].kind != FREE) release(at);
    gomem_gc();
    gomem_free(roots);
    CHECK(HEAP_IS_WHOLE());
}

int main(int argc, char **argv) {
    if (argc > 1) operations = strtoull(argv[1], NULL, 10);
    return test_main(operations > 0 ? 1 : argc, argv);
}
