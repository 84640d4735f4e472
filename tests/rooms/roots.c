// Room roots: areas, segments, thread-local storage, stacks.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>

#include "room.h"

static struct gm_runtime *const rt = &gm_runtime;

// What a position-dependent executable gets: a copy of the loader's struct that nobody updates.
struct r_debug _r_debug = {.r_version = 1, .r_state = RT_ADD};

// The loader's own struct, which the tests change.
static struct r_debug *loader(void) {
    union {
        const struct r_debug *given;
        struct r_debug *writable;
    } u = {.given = gm_roots_loader()};
    return u.writable;
}

// The runtime in use, as a cycle needs it.
static bool begin(void) {
    if (!CHECK(gomem_new(16) != NULL)) return false;
    gm_world_lock_cycle(rt);
    bool done = CHECK(gm_gc_prepare(rt));
    gm_roots_scan_loader(rt);
    rt->engine.mark.njobs = 0;
    return done;
}

static void end(void) { gm_world_unlock_cycle(rt); }

static const struct gm_job *job_of(const volatile void *p) {
    for (size_t i = 0; i < rt->engine.mark.njobs; i++) {
        const struct gm_job *job = &rt->engine.mark.jobs[i];
        uintptr_t start = job->start, end = start + job->size;
        if (job->flags & GM_JOB_STACK) {
            const struct gm_stack *stack = (const struct gm_stack *)start;
            start = gm_mark_live_part(stack), end = stack->end;
        }
        if ((uintptr_t)p - start < end - start) return job;
    }
    return NULL;
}

TEST(areas) {
    struct gm_areas a = {NULL, 0, 0};
    REQUIRE(gomem_thread_attach());
    for (uintptr_t i = 1; i <= 1000; i++)
        REQUIRE(gm_roots_add_area(&rt->engine.meta, &a, i * 16, i * 16 + 8));
    CHECK_EQ(a.count, 1000);
    for (uintptr_t i = 1; i <= 1000; i++) {
        const struct gm_area *area = gm_roots_find_area(&a, i * 16);
        CHECK(area && area->start == i * 16 && area->end == i * 16 + 8);
    }
    CHECK(!gm_roots_find_area(&a, 8));
}

// A segment without the part that is our own.
TEST(segments_without_our_own) {
    static const struct {
        uintptr_t lo, hi, parts[4];
    } cases[] = {{10, 20, {100, 200}},
                 {300, 400, {100, 200}},
                 {100, 150, {150, 200}},
                 {150, 200, {100, 150}},
                 {120, 180, {100, 120, 180, 200}},
                 {100, 200, {0}},
                 {50, 250, {0}},
                 {50, 150, {150, 200}},
                 {150, 250, {100, 150}},
                 {200, 300, {100, 200}}};
    REQUIRE(gomem_thread_attach());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rt->roots.globals.count = 0;
        gm_roots_add_global(rt, 100, 200, cases[i].lo, cases[i].hi);
        size_t n = 0;
        while (n < 2 && cases[i].parts[2 * n]) n++;
        REQUIRE(rt->roots.globals.count == n);
        for (size_t k = 0; k < n; k++) {
            CHECK_EQ(rt->roots.globals.list[k].start, cases[i].parts[2 * k]);
            CHECK_EQ(rt->roots.globals.list[k].end, cases[i].parts[2 * k + 1]);
        }
    }
    rt->roots.objects = 0; // look again
}

static int initialised = 7, zeroed;
static _Thread_local void *own[3];

TEST(writable_data) {
    REQUIRE(begin());
    const volatile void *inside[] = {&initialised, &zeroed, &environ, &stdout},
                        *outside[] = {&gm_runtime, (char *)&gm_runtime + sizeof gm_runtime - 8,
                                      "constant", &gm_sizes_table};
    for (size_t i = 0; i < 8; i++) {
        const volatile void *p = i < 4 ? inside[i] : outside[i - 4];
        bool found = false;
        for (size_t k = 0; k < rt->roots.globals.count; k++) {
            const struct gm_area *a = &rt->roots.globals.list[k];
            found |= (uintptr_t)p - a->start < a->end - a->start;
        }
        CHECK_EQ(found, i < 4);
    }
    uint64_t hash = gm_roots_loader_hash();
    CHECK(hash != 0 && hash == gm_roots_loader_hash() && hash == rt->roots.objects);
    end();
}

// ---- the loader's list, which a test may change before it is looked at ----

static void (*before_iterating)(void);

int dl_iterate_phdr(int (*fn)(struct dl_phdr_info *, size_t, void *), void *arg) {
    union {
        void *object; // as dlsym returns it
        int (*function)(int (*)(struct dl_phdr_info *, size_t, void *), void *);
    } next = {.object = dlsym(RTLD_NEXT, "dl_iterate_phdr")};
    if (before_iterating != NULL) before_iterating();
    return next.function(fn, arg);
}

static struct link_map here, there;
static int iterations;

static void move_library(void) {
    if (++iterations == 1) loader()->r_map = &there;
}

// Wherever a library lies, the hash is another one; it is that of the list whose segments were
// listed.
TEST(hash_of_the_loader_list) {
    if (!loader()) SKIP("this loader shows no list");
    REQUIRE(gomem_thread_attach());
    struct link_map *list = loader()->r_map;
    uintptr_t at = (uintptr_t)list->l_ld & ~(uintptr_t)0xffff;
    here.l_addr = at;
    here.l_ld = (void *)(at + 0x3df8);
    for (uintptr_t i = 1; i < 64; i++) {
        loader()->r_map = &here;
        uint64_t hash = gm_roots_loader_hash();
        there.l_addr = at + (i << 16);
        there.l_ld = (void *)(at + (i << 16) + 0x3df8);
        loader()->r_map = &there;
        CHECK(hash != gm_roots_loader_hash());
    }
    loader()->r_map = &here;
    rt->roots.objects = 0; // look again
    before_iterating = move_library;
    gm_world_lock_cycle(rt);
    gm_roots_scan_loader(rt);
    gm_world_unlock_cycle(rt);
    before_iterating = NULL;
    CHECK_EQ(iterations, 1);
    CHECK(rt->roots.objects == gm_roots_loader_hash() && rt->roots.globals.count > 0);
    loader()->r_map = list;
    rt->roots.objects = 0; // look again
}

// Dynamic executables: the list that dl_iterate_phdr walks, and not the symbol, which may be a copy.
TEST(loader_by_the_dynamic_section) {
    if (!loader()) SKIP("this loader shows no list");
    CHECK(loader() != &_r_debug);
    CHECK_EQ(loader()->r_state, RT_CONSISTENT);
    CHECK(loader()->r_map && gm_roots_loader_hash() != 0);
    loader()->r_state = RT_ADD;
    CHECK_EQ(gm_roots_loader_hash(), 0);
    loader()->r_state = RT_CONSISTENT;
}

// A library that comes in a namespace of its own changes the hash.
TEST(namespaces_of_the_loader) {
    if (GM_ASAN || GM_TSAN) SKIP("sanitizers know one namespace");
    uint64_t before = gm_roots_loader_hash();
    void *handle = dlmopen(LM_ID_NEWLM, "libm.so.6", RTLD_NOW);
    if (!handle) SKIP("no second namespace");
    if (loader()->r_version < 2) SKIP("this loader shows one namespace");
    CHECK(gm_roots_loader_hash() != before && gm_roots_loader_hash() != 0);
    CHECK(dlclose(handle) == 0);
    CHECK(gm_roots_loader_hash() == before);
}

// However long libraries come and go, the world is stopped at last: with the loader's lock held. (O3)
TEST(loader_that_is_never_done) {
    if (!loader() || !GM_LINKS_STAY) SKIP("this loader shows no list");
    static struct gm_cycle cycle;
    REQUIRE(begin());
    struct gm_thread *me = gm_world_self();
    me->in_handler = false;
    gm_os_spill(&me->registers);
    rt->gc.patience = 1000000000;
    loader()->r_state = RT_ADD;
    rt->roots.objects = 0; // look again
    bool stopped = gm_gc_stop(rt, me, &cycle);
    loader()->r_state = RT_CONSISTENT;
    CHECK(stopped && rt->roots.globals.count > 0 && job_of(&initialised));
    if (stopped) gm_world_resume(rt);
    CHECK_EQ(rt->engine.stats.veto, GOMEM_REASON_LOADER);
    rt->roots.objects = 0; // look again
    end();
}

static bool in_tls_block(const struct gm_thread *t, const void *p) {
    struct gm_vector vector;
    gm_roots_read_vector(&vector, t, 1); // the others one by one
    for (size_t i = 0; i < rt->roots.modules.count; i++) {
        const struct gm_area *m = &rt->roots.modules.list[i];
        uintptr_t block = gm_roots_tls_block(&vector, m->start);
        if (block && (uintptr_t)p - block < m->end) return true;
    }
    return false;
}

// ---- threads that stand ----

static struct stander {
    pthread_t thread;
    bool blocks, quit, ready; // the last two atomic
    struct gm_thread *record;
    void *volatile *local, **tls;
} standers[2];

static void *stand(void *arg) {
    struct stander *s = arg;
    void *volatile local[4] = {NULL};
    s->record = gm_world_attach(rt);
    s->local = local;
    s->tls = own;
    own[0] = NULL;
    if (s->blocks) gomem_blocking_begin();
    gm_store_rel(&s->ready, true);
    while (!gm_load_acq(&s->quit)) {
        if (s->blocks) (void)sched_yield();
        local[1] = own[0];
    }
    if (s->blocks) gomem_blocking_end();
    return NULL;
}

TEST(everything_of_a_thread) {
    static char range[4096], coroutine[8192];
    void *volatile here = NULL;
    REQUIRE(begin());
    for (int i = 0; i < 2; i++) {
        standers[i] = (struct stander){.blocks = i == 1};
        REQUIRE(pthread_create(&standers[i].thread, NULL, stand, &standers[i]) == 0);
        while (!gm_load_acq(&standers[i].ready)) (void)sched_yield();
    }
    CHECK(gomem_add_root(range, sizeof range));
    CHECK(gomem_add_stack(coroutine, coroutine + sizeof coroutine));
    gomem_stack_parked(coroutine, coroutine + 4096);
    struct gm_thread *me = gm_world_self();
    static struct gm_start start; // not on this stack, which is a root itself
    gm_os_spill(&me->registers);
    me->in_handler = false;
    me->fake_stack = gm_world_fake_stack();
    CHECK(gm_world_stop(rt, me, GM_PATIENCE_NS));
    start.next = rt->world.starts;
    rt->world.starts = &start;
    rt->roots.globals.count = 0; // or they would cover much of the rest
    CHECK(gm_roots_list_stopped(rt));
    CHECK(standers[0].record->in_handler && !standers[1].record->in_handler);
    const struct gm_thread *spins = standers[0].record, *blocks = standers[1].record;
    // clang-format off
    const volatile void *both[] = { // O1
        &here, standers[0].local, &standers[0].local[3], standers[1].local,
        own, &own[2], standers[0].tls, standers[1].tls, &standers[1].tls[2],
        &me->registers.word[0], &blocks->registers.word[23], (void *)blocks->registers.sp,
        (void *)spins->registers.sp, (void *)(spins->at.sp - GM_RED_ZONE), // the handler's frame
        &start.root, coroutine + 4096, coroutine + 8184};
    // clang-format on
    for (size_t i = 0; i < sizeof both / sizeof both[0]; i++) {
        const struct gm_job *job = job_of(both[i]);
        CHECK(job != NULL && job->flags & GM_JOB_BOTH);
    }
    CHECK(in_tls_block(me, own) && in_tls_block(standers[0].record, standers[0].tls));
    const struct gm_job *ranges = job_of(range);
    CHECK(ranges && ranges == job_of(range + 4088) && ranges->flags == GM_JOB_FOREIGN); // O4
    CHECK(!job_of(coroutine) && !job_of(coroutine + 4088)); // below where it was parked
    CHECK(!job_of((void *)(me->registers.sp - 4096)));
    CHECK(!job_of(&initialised));
    rt->world.starts = start.next;
    gm_world_resume(rt);
    rt->roots.objects = 0; // look again
    CHECK(gomem_remove_root(range) && gomem_remove_stack(coroutine));
    end();
    for (int i = 0; i < 2; i++) gm_store_rel(&standers[i].quit, true);
    for (int i = 0; i < 2; i++) pthread_join(standers[i].thread, NULL);
}

TEST(too_many_roots_veto) {
    REQUIRE(begin());
    struct gm_thread *me = gm_world_self();
    size_t room = rt->engine.mark.room;
    gm_os_spill(&me->registers);
    me->in_handler = false;
    CHECK(gm_world_stop(rt, me, GM_PATIENCE_NS));
    rt->engine.mark.room = 2;
    CHECK(!gm_roots_list_stopped(rt) && rt->engine.mark.full);
    rt->engine.mark.room = room;
    CHECK(gm_roots_list_stopped(rt));
    gm_world_resume(rt);
    CHECK(gm_gc_prepare(rt)); // makes more room for the next try
    CHECK(rt->engine.mark.room > room && !rt->engine.mark.full);
    end();
}

// ---- stacks that nobody was asked for (O6) ----

static void *located(void *arg) {
    struct gm_thread t = {.id = gm_os_thread_id(), .thread_pointer = gm_os_thread_pointer()};
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), most = 0;
    gm_roots_locate(rt, &t, here);
    CHECK(t.grows && here - GM_RED_ZONE >= t.stack_lo && here < t.stack_hi);
    if (arg) CHECK((uintptr_t)arg >= t.stack_lo && (uintptr_t)arg < t.stack_hi);
    uintptr_t below = t.stack_lo; // it goes deeper, or stands on another stack
    t.stack_lo = t.stack_hi - rt->engine.heap.pages.os_page;
    gm_roots_locate(rt, &t, here);
    CHECK(t.stack_lo >= below); // what a cycle clears below sp is not searched again
    CHECK(t.stack_lo <= here - GM_RED_ZONE);
    gm_roots_locate(rt, &t, (uintptr_t)&most + ((uintptr_t)1 << 44));
    CHECK(t.stack_lo <= below);
    return NULL;
}

TEST(stacks_that_libc_does_not_tell) {
    REQUIRE(begin());
    char local = 0;
    pthread_t thread;
    (void)located(&local);
    REQUIRE(pthread_create(&thread, NULL, located, NULL) == 0);
    pthread_join(thread, NULL);
    end();
}

// ---- where a stack pointer may be ----

enum { STACK = 65536 };
static char space[7 * STACK]; // with gaps between
static char *const normal = space + STACK, *const registered = space + 3 * STACK,
                   *const alternate = space + 5 * STACK;

static void standing(uintptr_t sp, bool in_handler, bool known) {
    struct gm_thread t = {.stack_lo = (uintptr_t)normal,
                          .stack_hi = (uintptr_t)normal + STACK,
                          .in_handler = in_handler};
    rt->engine.mark.njobs = 0;
    CHECK_EQ(gm_roots_add_standing(rt, &t, sp, (uintptr_t)alternate, STACK), known);
}

static bool covers(const char *from, const char *to) {
    return job_of(from) && !job_of(from - 8) && job_of(to - 8) && !job_of(to);
}

static struct gm_stack *add_registered(uintptr_t parked) {
    struct gm_stacks *stacks = &rt->roots.stacks;
    uintptr_t start = (uintptr_t)registered;
    CHECK(gm_roots_add_coroutine(&rt->engine.meta, stacks, start, start + STACK));
    struct gm_stack *s = gm_roots_stack_of(&rt->roots, start);
    if (s && parked) gm_roots_park(s, parked, 0);
    return s;
}

static void forget_registered(void) { gm_roots_forget_coroutines(rt); }

TEST(where_a_thread_stands) {
    REQUIRE(begin());
    char *n_end = normal + STACK, *r_end = registered + STACK, *a_end = alternate + STACK;
    struct gm_stack *s = add_registered((uintptr_t)registered + 256);
    REQUIRE(s != NULL);
    standing((uintptr_t)normal + 4096, false, true); // who parks by itself stands in a call
    CHECK(covers(normal + 4096, n_end));
    standing((uintptr_t)normal + 4096, true, true); // a leaf function may use the red zone
    CHECK(covers(normal + 4096 - GM_RED_ZONE, n_end));
    standing((uintptr_t)normal + 64, true, true);
    CHECK(covers(normal, n_end));
    CHECK_EQ(s->parked, (uintptr_t)registered + 256);
    standing((uintptr_t)registered + 1024, true, true); // and all of its normal stack
    CHECK(covers(registered + 1024 - GM_RED_ZONE, r_end) && covers(normal, n_end));
    CHECK(s->parked == 0 && s->runs); // not parked any more
    memset(alternate, 0, STACK);
    *(uintptr_t *)(void *)(alternate + 8192) = (uintptr_t)normal + 16384; // a frame below it
    standing((uintptr_t)alternate + 4096, true, true);
    CHECK(covers(alternate + 4096, a_end) && covers(normal + 16384 - GM_RED_ZONE, n_end));
    standing((uintptr_t)&initialised, true, false); // O2
    standing((uintptr_t)n_end, true, false);
    standing(0, false, false);
    forget_registered();
    end();
}

// A handler on an alternate stack may have interrupted a coroutine, whose stack is mentioned there.
TEST(handler_above_a_coroutine) {
    REQUIRE(begin());
    struct gm_stack *s = add_registered((uintptr_t)registered + 32768);
    REQUIRE(s != NULL);
    s->runs = false;
    memset(alternate, 0, STACK);
    *(uintptr_t *)(void *)(alternate + 8192) = (uintptr_t)normal + 16384;
    *(uintptr_t *)(void *)(alternate + 8200) = (uintptr_t)registered + 4096; // deeper than parked
    standing((uintptr_t)alternate + 4096, true, true);
    CHECK(covers(registered, registered + STACK) && covers(normal, normal + STACK));
    CHECK(s->parked == 0 && s->runs);
    forget_registered();
    end();
}

// The system does not limit the main stack: coroutines seem to lie in it.
TEST(coroutine_inside_the_normal_stack) {
    REQUIRE(begin());
    REQUIRE(add_registered(0) != NULL);
    struct gm_thread t = {.stack_lo = (uintptr_t)space, .stack_hi = (uintptr_t)space + 5 * STACK};
    rt->engine.mark.njobs = 0;
    CHECK(gm_roots_add_standing(rt, &t, (uintptr_t)registered + 1024, 0, 0));
    const struct gm_job *first = &rt->engine.mark.jobs[0];
    CHECK_EQ(first->start, (uintptr_t)registered + 1024);
    CHECK_EQ(first->size, STACK - 1024);
    CHECK(!gm_roots_on_normal(rt, &t, (uintptr_t)registered + 1024));
    CHECK(gm_roots_on_normal(rt, &t, (uintptr_t)normal + 1024));
    forget_registered();
    end();
}

TEST(stacks_in_order) {
    enum { N = 300 };
    struct gm_stacks a = {NULL, 0, 0};
    struct gm_roots r = {.lock = {0}};
    REQUIRE(gomem_thread_attach());
    for (uintptr_t i = 0; i < N; i++) { // in no order
        uintptr_t start = (i * 7 % N + 1) * 64;
        REQUIRE(gm_roots_add_coroutine(&rt->engine.meta, &a, start, start + 48));
    }
    REQUIRE(gm_roots_add_coroutine(&rt->engine.meta, &a, 128, 128 + 32)); // again: smaller
    CHECK_EQ(a.count, N);
    r.stacks = a;
    for (size_t i = 1; i < N; i++) CHECK(a.list[i - 1]->start < a.list[i]->start);
    for (uintptr_t i = 1; i <= N; i++) {
        const struct gm_stack *s = gm_roots_stack_of(&r, i * 64 + 31);
        CHECK(s && s->start == i * 64);
        CHECK(!gm_roots_stack_of(&r, i * 64 + 48)); // between two
    }
    CHECK(!gm_roots_stack_of(&r, 128 + 32) && !gm_roots_stack_of(&r, 63));
    for (uintptr_t i = 1; i <= N; i++) {
        CHECK(gm_roots_remove_coroutine(&rt->engine.meta, &a, i * 64));
        CHECK(!gm_roots_remove_coroutine(&rt->engine.meta, &a, i * 64));
    }
    CHECK_EQ(a.count, 0);
    gm_pages_meta_free(&rt->engine.meta, a.list, a.room * sizeof *a.list);
}

// What lies below a parked stack pointer shows whether the coroutine has run again.
TEST(parked_is_trusted_while_nothing_was_written_below) {
    REQUIRE(begin());
    struct gomem_marker *m = &rt->gc.marker[0];
    char *sp = registered + 32768;
    static const int written[] = {0, -8, -1000, -GM_PARKED_CHECK, -GM_PARKED_CHECK - 8, 8};
    memset(registered, 0, STACK);
    struct gm_stack *s = add_registered(0);
    REQUIRE(s != NULL);
    for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
        *(uintptr_t *)(void *)(sp - 512) = 4711; // a frame that has returned
        gm_roots_park(s, (uintptr_t)sp, 0);
        s->runs = false;
        if (written[i]) *(uintptr_t *)(void *)(sp + written[i]) = 1;
        gm_mark_begin(m, &rt->engine.mark, true);
        gm_mark_coroutine(m, s);
        bool seen = written[i] < 0 && written[i] >= -GM_PARKED_CHECK;
        CHECK_EQ(s->parked, seen ? 0 : (uintptr_t)sp);
        if (written[i]) *(uintptr_t *)(void *)(sp + written[i]) = 0;
    }
    forget_registered();
    end();
}

// Both ends of a stack are places to park at: all of it is live, or nothing.
TEST(parked_at_either_end) {
    static uintptr_t area[4096];
    uintptr_t lo = (uintptr_t)area, hi = lo + sizeof area;
    REQUIRE(begin());
    end();
    REQUIRE(gomem_add_stack(area, area + 4096));
    const struct gm_stack *s = gm_roots_stack_of(&rt->roots, lo);
    REQUIRE(s && s->end == hi);
    for (uintptr_t sp = lo; sp <= hi; sp += sizeof area / 4) {
        gomem_stack_parked(area, (void *)sp);
        CHECK_EQ(s->parked, sp);
        CHECK_EQ(gm_mark_live_part(s), sp);
    }
    gomem_stack_parked(area, (void *)(hi + 8)); // not parked
    CHECK(!s->parked && gm_mark_live_part(s) == lo);
    CHECK(gomem_remove_stack(area));
}

// A vector of modules has blocks that are not allocated yet, and ends.
TEST(blocks_of_modules) {
    struct gm_vector v;
    memset(&v, 0, sizeof v);
    size_t third = (GM_VECTOR_HEAD + 3 * GM_VECTOR_ENTRY) / GM_WORD,
           fourth = (GM_VECTOR_HEAD + 4 * GM_VECTOR_ENTRY) / GM_WORD;
    v.bytes = sizeof v.word;
    v.word[0] = 4; // the number of modules
    v.word[third] = 0x12340;
    v.word[fourth] = UINTPTR_MAX;
    CHECK_EQ(gm_roots_tls_block(&v, 3), 0x12340);
    CHECK_EQ(gm_roots_tls_block(&v, 4), 0);
    v.word[fourth + GM_VECTOR_ENTRY / GM_WORD] = 0x12340;
    CHECK(!gm_roots_tls_block(&v, 0) && !gm_roots_tls_block(&v, 5));
    v.word[0] = 5;
    CHECK_EQ(gm_roots_tls_block(&v, 5), 0x12340);
}

// A guard page inside of a registered stack is neither read nor written.
TEST(guard_page_below_a_parked_stack) {
    size_t page = rt->engine.heap.pages.os_page;
    char *stack = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE((void *)stack != MAP_FAILED && mprotect(stack, page, PROT_NONE) == 0);
    uintptr_t start = (uintptr_t)stack;
    struct gm_stack s = {.start = start, .end = start + 4 * page, .floor = start + 4 * page};
    gm_roots_park(&s, start + 2 * page, 0);
    CHECK_EQ(s.low, start + 2 * page - GM_PARKED_CHECK);
    gm_roots_park(&s, start + page + 64, 0);
    CHECK_EQ(s.low, start + page);
    gm_roots_park(&s, start + page, 0);
    CHECK(s.low == s.below && s.below == start + page);
    gm_roots_park(&s, start, 0);
    CHECK(s.low == start && s.below == start && s.parked == start);
    munmap(stack, 4 * page);
}

TEST_MAIN
