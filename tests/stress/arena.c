// Arenas against a shadow: threads allocate, resize, save, restore, reset and absorb at random, in all
// three ways to grow, while cycles run; every byte is as it was written, and nothing overlaps, since
// each allocation has a pattern of its own. Scanned ones hold the only pointers to collected objects.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 3, MOST = 4000, MARKS = 12, MB = 1 << 20 };

static atomic_bool stop;

struct thing { // an allocation; `held` of a scanned arena is what its first word leads to
    char *p;
    size_t size;
    uint32_t pattern;
    uintptr_t held; // ~address, 0: none
};
struct shadow {
    gomem_arena arena;
    bool scanned;
    unsigned mode;
    size_t count, marks, callbacks;
    struct thing things[MOST];
    struct {
        gomem_arena_mark mark;
        size_t count, callbacks;
    } mark[MARKS];
};

static void count_down(void *arg) { --*(size_t *)arg; }

static size_t pattern_from(const struct shadow *s) { return s->scanned ? sizeof(void *) : 0; }

static bool thing_whole(const struct shadow *s, const struct thing *t, size_t size) {
    for (size_t i = pattern_from(s); i < size; i++)
        if (t->p[i] != (char)(t->pattern + i)) return false;
    if (!t->held) return true;
    const uintptr_t *object = *(uintptr_t **)(void *)t->p;
    return (uintptr_t)object == ~t->held && *object == t->held;
}

static void thing_fill(struct shadow *s, struct thing *t) {
    for (size_t i = pattern_from(s); i < t->size; i++) t->p[i] = (char)(t->pattern + i);
    t->held = 0;
    if (!s->scanned || t->size < sizeof(void *)) return;
    uintptr_t *object = gomem_new(sizeof *object);
    if (!CHECK(object != NULL)) exit(1);
    *object = ~(uintptr_t)object;
    t->held = *object;
    GOMEM_STORE((uintptr_t **)(void *)t->p, object);
}

static void check_from(const struct shadow *s, size_t from) {
    for (size_t i = from; i < s->count; i++)
        if (!CHECK(thing_whole(s, &s->things[i], s->things[i].size))) return;
}

static size_t size_at(struct stress_random *r) {
    return stress_below(r, 200) ? stress_below(r, 300) : stress_below(r, 60000);
}

static void take(struct shadow *s, struct stress_random *r) {
    struct thing *t = &s->things[s->count];
    unsigned align = stress_below(r, 20) ? 16 : 1u << stress_below(r, 13);
    t->size = size_at(r);
    t->pattern = stress_next(r);
    t->p = align == 16 ? gomem_arena_alloc(&s->arena, t->size)
                       : gomem_arena_alloc_with(&s->arena, t->size, align, 0);
    if (!t->p) return; // a fixed one is full
    CHECK((uintptr_t)t->p % align == 0);
    for (size_t i = 0; i < t->size; i++)
        if (!CHECK(t->p[i] == 0)) break;
    thing_fill(s, t);
    s->count++;
}

// A formatted text, or an allocation that is not zeroed.
static void print(struct shadow *s, struct stress_random *r) {
    struct thing *t = &s->things[s->count];
    int width = (int)stress_below(r, 400);
    uint32_t what = stress_below(r, 3);
    t->size = size_at(r);
    t->p = what == 0   ? gomem_arena_printf(&s->arena, "%d of %s", width, "many")
           : what == 1 ? gomem_arena_printf(&s->arena, "%*d", width, 7)
                       : gomem_arena_alloc_with(&s->arena, t->size, 0, GOMEM_UNINIT);
    if (!t->p) return;
    if (what < 2) t->size = strlen(t->p) + 1;
    t->pattern = stress_next(r);
    thing_fill(s, t);
    s->count++;
}

static void resize(struct shadow *s, struct stress_random *r) {
    size_t since = s->marks ? s->mark[s->marks - 1].count : 0;
    if (s->count == since) return;
    struct thing *t = &s->things[s->count - 1 - stress_below(r, 2) % (s->count - since)];
    size_t size = size_at(r), old = t->size;
    char *p = gomem_arena_resize(&s->arena, t->p, old, size);
    if (!p) return;
    t->p = p;
    if (size < sizeof(void *)) t->held = 0; // cut off
    CHECK(thing_whole(s, t, size < old ? size : old));
    for (size_t i = old; i < size; i++)
        if (!CHECK(p[i] == 0)) break;
    t->size = size;
    thing_fill(s, t);
}

static void step(struct shadow *s, struct stress_random *r) {
    uint32_t what = stress_below(r, 1000);
    if (s->count == MOST || what < 2) {
        check_from(s, 0);
        gomem_arena_reset(&s->arena);
        CHECK_EQ(s->callbacks, 0);
        s->count = s->marks = 0;
    } else if (what < 700) {
        take(s, r);
    } else if (what < 850) {
        resize(s, r);
    } else if (what < 900 && s->marks < MARKS) {
        s->mark[s->marks].count = s->count;
        s->mark[s->marks].callbacks = s->callbacks;
        s->mark[s->marks++].mark = gomem_arena_save(&s->arena);
    } else if (what < 940 && s->marks) {
        size_t to = stress_below(r, (uint32_t)s->marks);
        check_from(s, s->mark[to].count);
        gomem_arena_restore(&s->arena, s->mark[to].mark);
        CHECK_EQ(s->callbacks, s->mark[to].callbacks);
        s->count = s->mark[to].count;
        s->marks = to + stress_below(r, 2); // it may be restored again
    } else if (what < 960) {
        s->callbacks += gomem_arena_on_reset(&s->arena, count_down, &s->callbacks);
    } else if (what < 980) {
        print(s, r);
    } else if (what < 985 && !s->mode && s->count < MOST) {
        gomem_arena other = {0};
        struct thing *t = &s->things[s->count];
        CHECK(gomem_arena_init(&other, &(gomem_arena_options){.flags = s->arena.flags}));
        *t = (struct thing){gomem_arena_alloc(&other, 5000), 5000, stress_next(r), 0};
        if (!CHECK(t->p != NULL)) exit(1);
        thing_fill(s, t);
        CHECK(gomem_arena_absorb(&s->arena, &other));
        s->count++;
    }
}

static void *play(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg);
    static _Thread_local struct shadow *s;
    static _Thread_local void *buffer[64 * 1024];
    s = gomem_malloc(sizeof *s);
    if (!CHECK(s != NULL)) return NULL;
    for (unsigned round = 0; round < 6; round++) {
        memset(s, 0, sizeof *s);
        s->mode = round / 2;
        s->scanned = round % 2;
        gomem_arena_options o = {.flags = s->scanned ? (unsigned)GOMEM_SCAN : 0u};
        if (s->mode == 1) o.reserve = 64 * MB;
        if (s->mode == 2) o.buffer = buffer, o.buffer_size = sizeof buffer;
        if (!CHECK(gomem_arena_init(&s->arena, &o))) break;
        for (size_t i = stress_times(6000); i > 0; i--) step(s, &r);
        check_from(s, 0);
        gomem_arena_free(&s->arena);
        CHECK_EQ(s->callbacks, 0);
    }
    gomem_free(s);
    return NULL;
}

static void *collect_on(void *arg) {
    while (!atomic_load(&stop)) gomem_gc();
    return arg;
}

TEST(against_a_shadow) {
    pthread_t threads[THREADS], collector;
    (void)stress_seed();
    REQUIRE(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
    for (size_t i = 0; i < THREADS; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, play, (void *)(uintptr_t)(i + 1)) == 0);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
