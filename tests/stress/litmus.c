// Litmus tests: the pairs of loads and stores on which the protocols of gomem.h rest, run by its own
// functions on real processors. tests/model proves the protocols for a memory where a store is seen
// by all at once; here are store buffers, caches, the kernel and the compiler.
//
// In a round two threads, each on a processor of its own, leave a line together, wait for a short
// random time, and run one half each. What must not happen is checked. What may happen is counted
// and printed: a run that has not seen all of it says so.
//
// Not here: Y2's other half, sections against the stop signal, is an order within one thread
// (rooms/world). Locks (rooms/sync) and the end of marking (M3, M4: rooms/mark) take more than one
// look of two threads. A wake-up that is lost costs a stop 1 ms and goes unseen. Where what was
// written before a release has to be seen after an acquire, an x86 processor cannot fail: there it
// is the compiler that is tried.
#define _GNU_SOURCE
#include "stress.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

// ---- seams: who races does not sleep, signals nobody and starts no thread ----

static _Thread_local bool racing;

static bool left_out(long number, ...) {
    return racing && (number == SYS_futex || number == SYS_tgkill);
}
#define GOMEM_SYSCALL(...) (left_out(__VA_ARGS__) ? 0 : gm_libc_syscall(__VA_ARGS__))

static int create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg);
#define GOMEM_PTHREAD_CREATE(thread, attr, fn, arg) create((thread), (attr), (fn), (arg))

#include "room.h"

// ---- races ----

enum { HERE, THERE, SIDES, OUTCOMES = 3 };

struct race {
    void (*half[SIDES])(struct stress_random *r); // together, the first on the main thread
    void (*before)(struct stress_random *r), (*after)(void); // around each round, alone. NULL: none
    void (*arrive)(void), (*depart)(void);                   // the other thread, once. NULL: none
    const char *outcome[OUTCOMES];                           // what may happen
};

static _Alignas(128) uint32_t line;              // the round that may run. atomic: acq/rel
static _Alignas(128) uint32_t home;              // the last one that has ended there
static _Alignas(128) const struct race *running; // NULL: it is over. written before line
static uint64_t met;                             // rounds in which both halves ran at a time
static struct side {
    _Alignas(128) uint32_t begun; // the round that it is in. atomic: rlx
    _Alignas(128) uint32_t in;    // it holds what only one may. atomic: rlx
    _Alignas(128) bool met;       // it ended, and the other had begun
    uint64_t seen[OUTCOMES];      // owner: the side
    size_t processor;             //
} sides[SIDES];

static bool find_processors(void) {
    cpu_set_t all;
    unsigned found = 0;
    if (sides[THERE].processor) return true;
    if (sched_getaffinity(0, sizeof all, &all) != 0) return false;
    for (size_t i = 0; i < CPU_SETSIZE && found < SIDES; i++)
        if (CPU_ISSET(i, &all)) sides[found++].processor = i;
    return found == SIDES;
}

static void stay(int side) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sides[side].processor, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
}

// Up to 2^most steps of a nanosecond or two, more often a few.
static void linger(struct stress_random *r, unsigned most) {
    for (volatile uint32_t i = stress_below(r, 1u << stress_below(r, most)); i > 0; i--) continue;
}

static void wait_for(const uint32_t *word, uint32_t value) {
    for (unsigned i = 0; gm_load_acq(word) != value; i++)
        if (i >= 2000) (void)sched_yield(); // another program has the processor
}

static void run_half(int side, uint32_t round, struct stress_random *r) {
    linger(r, 9);
    gm_store_rlx(&sides[side].begun, round);
    running->half[side](r);
    sides[side].met = gm_load_rlx(&sides[!side].begun) == round;
}

static void *run_there(void *arg) {
    uint32_t round = *(const uint32_t *)arg;
    const struct race *race = running;
    struct stress_random r = stress_random_at(THERE);
    stay(THERE);
    CHECK(gomem_thread_attach());
    racing = true;
    if (race->arrive) race->arrive();
    for (;;) {
        gm_store_rel(&home, round);
        wait_for(&line, ++round);
        if (!running) break;
        run_half(THERE, round, &r);
    }
    if (race->depart) race->depart();
    return NULL;
}

static bool all_seen(void) {
    bool all = met != 0;
    for (int i = 0; i < OUTCOMES && running->outcome[i]; i++)
        all &= (sides[HERE].seen[i] | sides[THERE].seen[i]) != 0;
    return all;
}

// Time is over; what was not seen yet gets four times as much.
static bool over(uint64_t begin, uint64_t ns) {
    uint64_t now = gm_os_now();
    return now >= begin + 4 * ns || (now >= begin + ns && all_seen());
}

static void tell(uint64_t rounds) {
    printf("[%" PRIu64 " rounds: %" PRIu64 " met", rounds, met);
    for (int i = 0; i < OUTCOMES && running->outcome[i]; i++)
        printf(", %" PRIu64 " %s", sides[HERE].seen[i] + sides[THERE].seen[i], running->outcome[i]);
    printf("] ");
    if (!all_seen()) test_skipped = "some of what may happen was not seen";
}

static void run(const struct race *race) {
    static uint32_t round;
    struct stress_random r = stress_random_at(HERE);
    uint64_t rounds = 0, ns = stress_times(getenv("SHORT") ? 100 : 500) * 1000000u;
    uint32_t start = ++round;
    pthread_t there;
    if (!find_processors()) SKIP("it takes two processors");
    for (int i = 0; i < SIDES; i++) memset(sides[i].seen, 0, sizeof sides[i].seen);
    met = 0;
    running = race;
    REQUIRE(pthread_create(&there, NULL, run_there, &start) == 0);
    wait_for(&home, round);
    stay(HERE);
    racing = true;
    for (uint64_t begin = gm_os_now(); test_failed() == 0; rounds++) {
        if (rounds % 16 == 0 && over(begin, ns)) break;
        if (race->before) race->before(&r);
        gm_store_rel(&line, ++round);
        run_half(HERE, round, &r);
        wait_for(&home, round);
        if (race->after) race->after();
        met += sides[HERE].met && sides[THERE].met;
    }
    racing = false;
    tell(rounds);
    running = NULL;
    gm_store_rel(&line, ++round);
    pthread_join(there, NULL);
}

// Only one side at a time may be in here.
static void hold(int side, struct stress_random *r) {
    gm_store_rlx(&sides[side].in, 1u);
    CHECK(!gm_load_rlx(&sides[!side].in));
    linger(r, 7);
    CHECK(!gm_load_rlx(&sides[!side].in));
    gm_store_rlx(&sides[side].in, 0u);
}

static struct gm_runtime *const rt = &gm_runtime;
static struct gm_world *const world = &gm_runtime.world;

// A heap that collects when it is told to.
static bool begin(void) {
    gomem_options o = {.gc_percent = GOMEM_GC_OFF, .collector = GOMEM_GC_BARRIER};
    return gm_world_self() || (CHECK(gomem_init(&o)) && CHECK(gomem_thread_attach()));
}

// ---- V1: who stops, and who leaves a blocking region, are never both blind ----
//
//       here                                 there
//       stop_request = epoch                    state = RUNNING
//       is the state BLOCKED? stopped        is stop_request 0? runs

static void enter_region(void) { gm_world_block(world, gm_world_self(), 0); }
static void leave_region(void) { gm_world_end_block(world, gm_world_self()); }

// Begins a stop; where not all stand at once, it is withdrawn.
static void stop(struct stress_random *r) {
    gm_sync_lock(&world->lock);
    unsigned others = gm_world_request_stop(world, gm_world_self());
    if (!others) hold(HERE, r);
    sides[HERE].seen[1] += others != 0;
    gm_world_release(world);
    gm_sync_unlock(&world->lock);
}

static void run_outside(struct stress_random *r) {
    uint32_t acks = gm_load_rlx(&world->acks);
    leave_region();
    sides[THERE].seen[0] += gm_load_rlx(&world->acks) != acks;
    hold(THERE, r);
    enter_region();
}

TEST(stop_and_region) {
    static const struct race race = {
        .half = {stop, run_outside},
        .arrive = enter_region,
        .depart = leave_region,
        .outcome = {"took it back", "were still running"},
    };
    REQUIRE(begin());
    run(&race);
}

// ---- Y2: who closes the gate, and who enters a section, are never both blind ----
//
//       here                                 there
//       stop_request = GATE                     depth = 1, relaxed
//       fence of all threads                 is stop_request 0? in the section
//       is depth 0? closed

static uint32_t work[2]; // of the section: both the same outside of it
static bool turned_away; // owner: there

static void note_stop_wait(gomem_i_cache *hot, bool enter) {
    turned_away |= enter;
    gm_world_stop_wait(hot, enter);
}

static void hear(void) { gm_world_self()->cache.hot.stop_wait = note_stop_wait; }
static void unhear(void) { gm_world_self()->cache.hot.stop_wait = gm_world_stop_wait; }

static void close_gate(struct stress_random *r) {
    uint32_t before = gm_load_rlx(&work[1]);
    gm_sync_lock(&world->lock);
    gm_world_close_gate(rt, gm_world_self());
    CHECK_EQ(gm_load_rlx(&work[0]), gm_load_rlx(&work[1]));
    sides[HERE].seen[1] += gm_load_rlx(&work[1]) != before;
    hold(HERE, r);
    gm_world_release(world);
    gm_sync_unlock(&world->lock);
}

static void enter_section(struct stress_random *r) {
    gomem_i_cache *hot = &gm_world_self()->cache.hot;
    turned_away = false;
    gm_sync_enter(hot);
    gm_store_rlx(&work[0], work[0] + 1);
    hold(THERE, r);
    gm_store_rlx(&work[1], work[1] + 1);
    gm_sync_leave(hot);
    sides[THERE].seen[0] += turned_away;
}

TEST(gate_and_section) {
    static const struct race race = {
        .half = {close_gate, enter_section},
        .arrive = hear,
        .depart = unhear,
        .outcome = {"were turned away", "were waited for"},
    };
    REQUIRE(begin());
    run(&race);
}

// ---- a heap without threads, for what follows ----

enum { CLASS = 6, OBJECTS = 3 }; // of 64 bytes

static struct gm_engine engine;
static struct gm_pages *const pages = &engine.heap.pages;
static struct gomem_marker marker;
static uintptr_t parent[OBJECTS], child[OBJECTS]; // each parent leads to its child

static struct gm_span *span_of(unsigned kind) {
    struct gm_span *s = gm_heap_take(&engine.heap, kind, CLASS, 0, 0);
    if (!CHECK(s != NULL)) exit(1);
    s->fresh = s->count;
    gm_heap_publish(&engine.heap, s);
    for (unsigned i = 0; i < gm_span_groups(s); i++)
        gm_span_colors(pages, s->page)[i].alloc = gm_span_starts(s, i);
    return s;
}

static bool begin_alone(void) {
    if (!begin() || !room_engine(&engine, 8)) return false;
    memset(&marker, 0, sizeof marker);
    if (!CHECK(gm_mark_init_marker(&marker, &engine.meta))) return false;
    struct gm_span *parents = span_of(GM_SCAN), *children = span_of(GM_SCAN);
    for (uint32_t i = 0; i < OBJECTS; i++) {
        parent[i] = gm_span_slot(pages, parents, i);
        child[i] = gm_span_slot(pages, children, i);
        memset((void *)parent[i], 0, 64);
        memset((void *)child[i], 0, 64);
        *(uintptr_t *)parent[i] = child[i];
    }
    return true;
}

static bool marked(const struct gm_pages *p, uintptr_t object) {
    return gm_load_rlx(&gm_span_color(p, object)->mark) & gm_span_bit(p, object);
}

static bool grey(const struct gm_pages *p, uintptr_t object) {
    return gm_load_rlx(&gm_span_color(p, object)->grey) & gm_span_bit(p, object);
}

static void whiten(const struct gm_pages *p, uintptr_t object) {
    gm_span_color(p, object)->mark &= ~gm_span_bit(p, object);
    gm_span_color(p, object)->grey &= ~gm_span_bit(p, object);
}

static void open_marking(struct gm_mark *mark) {
    mark->bytes = 0;
    gm_mark_begin_phase(mark, &marker, 0);
    marker.steady = true;
}

static void white_objects(struct stress_random *r) {
    (void)r;
    for (int i = 0; i < OBJECTS; i++) whiten(pages, parent[i]), whiten(pages, child[i]);
    open_marking(&engine.mark);
}

// Takes what is in the queue; how many spans.
static unsigned take_all(struct gm_mark *mark) {
    unsigned n = 0;
    for (struct gm_span *s; (s = gm_mark_pop(mark)) != NULL; n++) gm_mark_take(&marker, s);
    gm_mark_report(&marker);
    return n;
}

static bool there_has_ended(void) { return gm_load_acq(&home) == gm_load_rlx(&line); }

// ---- M2: who makes a slot grey and who takes the span are never both blind ----
//
//       here                                 there
//       queued = 0                           grey |= slot
//       takes what is grey                   was queued 1? it is taken; else it is pushed

static uint32_t tag; // of the queue as the round began: each push and each pop adds 1

static void begin_queue(struct stress_random *r) {
    white_objects(r);
    tag = (uint32_t)(engine.mark.queue >> 32);
}

static void take(struct stress_random *r) {
    unsigned taken = 0, early;
    for (bool last = false; !last;) {
        last = there_has_ended();
        early = taken;
        taken += take_all(&engine.mark);
        linger(r, 4);
    }
    uint32_t pushed = (uint32_t)(engine.mark.queue >> 32) - tag - taken;
    sides[HERE].seen[0] += early != 0 && taken > early;
    sides[HERE].seen[1] += pushed > 1 && pushed < OBJECTS;
}

static void shade(struct stress_random *r) {
    unsigned most = 1 + stress_below(r, 5); // 1: one right after the other
    for (int i = 0; i < OBJECTS; i++) {
        gm_mark_shade_grey(&engine.mark, parent[i]);
        linger(r, most);
    }
}

static void nothing_is_lost(void) {
    CHECK_EQ((uint32_t)engine.mark.queue, 0);
    for (int i = 0; i < OBJECTS; i++)
        CHECK(marked(pages, parent[i]) && !grey(pages, parent[i]) && marked(pages, child[i]));
}

TEST(shade_and_take) {
    static const struct race race = {
        .half = {take, shade},
        .before = begin_queue,
        .after = nothing_is_lost,
        .outcome = {"took twice and more", "left some to who takes, and pushed some again"},
    };
    REQUIRE(begin_alone());
    run(&race);
}

// ---- C2: a write that the marker has not read is reported ----
//
//       here                                 there
//       reads the object                     writes to it
//       which pages were written?

static void arm(struct stress_random *r) {
    *(volatile uintptr_t *)parent[0] = 0;
    white_objects(r);
    CHECK(gm_writes_arm(&engine.writes, pages, NULL, NULL));
}

static void mark_and_ask(struct stress_random *r) {
    linger(r, 12);
    gm_mark_shade(&marker, parent[0], false);
    gm_mark_drain(&marker);
    gm_mark_report(&marker);
    bool found = marked(pages, child[0]);
    sides[HERE].seen[0] += found;
    linger(r, 8);
    (void)gm_writes_collect(&engine.writes, &engine.mark);
    (void)take_all(&engine.mark);
    sides[HERE].seen[1] += !found && marked(pages, child[0]);
}

// Every second time the page has been written before: then no fault orders this write.
static void write_child(struct stress_random *r) {
    linger(r, 11);
    if (stress_below(r, 2)) ((volatile uintptr_t *)parent[1])[1] = 0;
    linger(r, 9);
    *(volatile uintptr_t *)parent[0] = child[0];
}

static void ask_again(void) {
    sides[HERE].seen[2] += !marked(pages, child[0]);
    (void)gm_writes_collect(&engine.writes, &engine.mark);
    (void)take_all(&engine.mark);
    CHECK(marked(pages, child[0]));
}

TEST(write_and_ask) {
    static const struct race race = {
        .half = {mark_and_ask, write_child},
        .before = arm,
        .after = ask_again,
        .outcome = {"were read by the marker", "reported by a round", "reported by the last"},
    };
    REQUIRE(begin_alone());
    if (!gm_writes_choose(&engine.writes, &engine.meta, pages, GOMEM_GC_TRACKED))
        SKIP("this kernel does not track writes");
    run(&race);
    gm_writes_reset(&engine.writes, &engine.meta);
}

// ---- R6: who asks for a slot gets the bits of one generation ----
//
//       here                                 there
//       generation = being swept             reads generation
//       rewrites the bits                    reads the bits
//       generation = swept                   the same generation? an answer; else once more

static struct gm_span *swept;
static uint64_t lives[16]; // by group

static void begin_sweep(struct stress_random *r) {
    for (unsigned i = 0; i < gm_span_groups(swept); i++) {
        struct gm_color *c = &gm_span_colors(pages, swept->page)[i];
        c->alloc = gm_span_starts(swept, i);
        c->mark = ((uint64_t)stress_next(r) << 32 | stress_next(r)) & c->alloc;
        c->freed = c->mark & c->mark >> 4;
        lives[i] = c->mark & ~c->freed;
    }
    engine.sweep.generation += 2;
}

static void sweep(struct stress_random *r) {
    linger(r, 9);
    CHECK(gm_sweep_claim(&engine.sweep, swept));
    (void)gm_sweep_bits(&engine.sweep, swept);
}

static void ask(struct stress_random *r) {
    uint32_t before, after, old = engine.sweep.generation - 2;
    do {
        uintptr_t slot = gm_span_slot(pages, swept, stress_below(r, swept->count));
        bool live = lives[(slot - gm_span_start(pages, swept)) >> 10] & gm_span_bit(pages, slot);
        before = gm_load_rlx(&swept->generation);
        CHECK_EQ(gm_sweep_live(&engine.sweep, pages, swept, slot), live);
        after = gm_load_rlx(&swept->generation);
        sides[THERE].seen[0] += before == old && after == old;
        sides[THERE].seen[1] += before == old && after != old;
        sides[THERE].seen[2] += before == old + 1;
    } while (before != old + 2);
}

TEST(sweep_and_ask) {
    static const struct race race = {
        .half = {sweep, ask},
        .before = begin_sweep,
        .outcome = {"asked before", "asked as sweeping began", "asked meanwhile"},
    };
    REQUIRE(begin_alone());
    swept = span_of(GM_SCAN);
    swept->generation = engine.sweep.generation;
    CHECK(gm_span_groups(swept) <= sizeof lives / sizeof lives[0]);
    run(&race);
}

// ---- a span's record is whole when its descriptor is seen ----

static uint32_t place; // page of the span

static void publish(struct stress_random *r) {
    unsigned class = 1 + stress_below(r, GOMEM_CLASSES);
    struct gm_span *s = gm_heap_take(&engine.heap, GM_SCAN + class % 2, class, 0, 0);
    if (!CHECK(s != NULL)) return;
    CHECK_EQ(s->page, place);
    linger(r, 5);
    gm_heap_publish(&engine.heap, s);
}

static void find(struct stress_random *r) {
    uintptr_t word = gm_pages_address(pages, place) + stress_below(r, GM_PAGE);
    const struct gm_span *s;
    for (bool last = false; !(s = gm_span_find(pages, word)); last = true)
        sides[THERE].seen[0] += !last;
    uint32_t desc = gm_load_rlx(&pages->desc[place]);
    CHECK_EQ(s->page, place);
    CHECK_EQ(gm_span_desc(s->kind, s->class), desc);
    CHECK_EQ(s->count, gm_sizes_table[desc >> 4 & 255].count);
}

static void put(void) { gm_heap_put(&engine.heap, gm_span_at(pages, place)); }

TEST(record_and_descriptor) {
    static const struct race race = {
        .half = {publish, find},
        .after = put,
        .outcome = {"looked too early"},
    };
    REQUIRE(begin_alone());
    struct gm_span *s = span_of(GM_SCAN);
    place = s->page;
    gm_heap_put(&engine.heap, s);
    run(&race);
}

// ---- the depot: a magazine has one owner, who sees what the last one wrote ----
//
//       here                                 there
//       head A, next B                       takes A and B, gives A back
//       head = B, if the head is still A     writes to B

enum { MAGAZINES = 4, TURNS = 16 };

static uint32_t owned[MAGAZINES]; // atomic: rlx

static uint32_t borrow(void) { return gm_cache_pop_magazine(pages, &engine.depot.full[CLASS]); }
static void give_back(uint32_t index) {
    gm_cache_push_magazine(pages, &engine.depot.full[CLASS], index - 1);
}

// All slots are as one owner wrote them, and are written anew.
static void use(uint32_t index, struct stress_random *r) {
    if (!CHECK(index >= 1 && index <= MAGAZINES)) return;
    void **slots = gm_cache_slots(pages, index - 1);
    CHECK_EQ(gm_swap_rlx(&owned[index - 1], 1u), 0);
    for (int i = 1; i < 16; i++) CHECK(gm_load_rlx(&slots[i]) == gm_load_rlx(&slots[0]));
    void *word = (void *)(uintptr_t)stress_next(r);
    for (int i = 0; i < 16; i++) gm_store_rlx(&slots[i], word);
    gm_store_rlx(&owned[index - 1], 0u);
}

static void borrow_one(struct stress_random *r) {
    for (int i = 0; i < TURNS && test_failed() == 0; i++) {
        uint32_t index = borrow();
        use(index, r);
        give_back(index);
        linger(r, 4);
    }
}

static void borrow_two(struct stress_random *r) {
    for (int i = 0; i < TURNS && test_failed() == 0; i++) {
        uint32_t first = borrow(), second = borrow();
        if (!CHECK(first && second)) return;
        give_back(first);
        use(second, r);
        give_back(second);
        linger(r, 4);
    }
}

TEST(depot) {
    static const struct race race = {
        .half = {borrow_one, borrow_two},
    };
    REQUIRE(begin_alone());
    for (uint32_t i = 1; i <= MAGAZINES; i++) {
        REQUIRE(gm_cache_new_magazine(&engine) == i);
        memset(gm_cache_slots(pages, i - 1), 0, 512);
        give_back(i);
    }
    run(&race);
}

// ---- pools: the magazine behind a loaded one goes to its owner or to a thief ----
//
//       here                                 there
//       previous = none, was it there?       previous = none, was it there?

static struct gomem_pool robbed_pool;
static struct gm_pool_cache robbed;
static uint32_t magazine; // index + 1
static bool got[SIDES];

static void put_behind(struct stress_random *r) {
    (void)r;
    (void)gm_pool_unload(&robbed_pool, &robbed);
    robbed.spare = 0;
    got[HERE] = got[THERE] = false;
    gm_store_rlx(&robbed.previous, magazine);
}
static void load_previous(struct stress_random *r) {
    (void)r;
    got[HERE] = gm_pool_refill(&rt->engine, &robbed_pool, &robbed);
}
static void rob(struct stress_random *r) {
    (void)r;
    got[THERE] = gm_pool_steal(&robbed_pool, NULL) != 0;
}
static void one_got_it(void) {
    CHECK_EQ(got[HERE] + got[THERE], 1);
    sides[HERE].seen[0] += got[HERE];
    sides[HERE].seen[1] += got[THERE];
}

TEST(stolen) {
    static const struct race race = {
        .half = {load_previous, rob},
        .before = put_behind,
        .after = one_got_it,
        .outcome = {"stayed", "were stolen"},
    };
    REQUIRE(begin());
    magazine = gm_cache_new_magazine(&rt->engine);
    REQUIRE(magazine != 0);
    *gm_cache_head(gm_pool_pages(), magazine - 1) = (struct gm_magazine){.bottom = 10, .top = 11};
    robbed_pool.lock.rank = GM_RANK_POOL;
    robbed_pool.caches = &robbed;
    robbed.hot.top = GM_CACHE_NOTHING;
    run(&race);
}

// ---- finalize: who starts the thread of callbacks, and who shuts down, are never both blind ----
//
//       here                                 there
//       thread = STARTING                    quit = 1
//       is quit 0? starts it                 is thread NONE? there is none

static struct stress_random *of_create; // while it races

static int create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg) {
    if (!racing) return pthread_create(thread, attr, fn, arg);
    sides[HERE].seen[0]++;
    hold(HERE, of_create);
    return EAGAIN;
}

static void reset_fate(struct stress_random *r) {
    rt->finalize.thread = GM_FINALIZE_NONE;
    rt->finalize.quit = 0;
    of_create = r;
}

static void start_callbacks(struct stress_random *r) {
    uint64_t started = sides[HERE].seen[0];
    (void)r;
    gm_finalize_start(rt);
    sides[HERE].seen[1] += sides[HERE].seen[0] == started;
}

static void shut_down(struct stress_random *r) {
    gm_finalize_shutdown(rt);
    hold(THERE, r);
}

TEST(start_and_quit) {
    static const struct race race = {
        .half = {start_callbacks, shut_down},
        .before = reset_fate,
        .outcome = {"started it", "were told to quit"},
    };
    REQUIRE(begin());
    run(&race);
    reset_fate(NULL);
}

// ---- the barrier: what is stored, and what is overwritten, is found, and counted once ----
//
//       here                                 there
//       marks the holder, reads it           shades old and new
//       takes what is grey                   stores the new

struct node {
    struct node *next;
    uintptr_t rest[7];
};
static struct node *holder, *old, *new;
enum { REACHED = 5 }; // by holder, old and new, of which each leads to another

static struct gm_pages *const heap = &gm_runtime.engine.heap.pages;

static void begin_store(struct stress_random *r) {
    struct node *const all[] = {holder, old, new, old->next, new->next};
    (void)r;
    for (int i = 0; i < REACHED; i++) whiten(heap, (uintptr_t)all[i]);
    holder->next = old;
    open_marking(&rt->engine.mark);
}

static void mark_holder(struct stress_random *r) {
    struct gm_mark *mark = &rt->engine.mark;
    (void)r;
    gm_mark_shade(&marker, (uintptr_t)holder, false);
    gm_mark_drain(&marker);
    gm_mark_settle_view(&marker.view);
    sides[HERE].seen[0] += marker.view.bytes > sizeof *holder;
    sides[HERE].seen[1] += marker.view.bytes == sizeof *holder;
    for (bool last = false; !last;) {
        last = there_has_ended();
        (void)take_all(mark);
    }
}

static void store(struct stress_random *r) {
    (void)r;
    GOMEM_STORE(&holder->next, new);
}

static void all_are_black(void) {
    const struct node *const all[] = {holder, old, new, old->next, new->next};
    for (int i = 0; i < REACHED; i++)
        CHECK(marked(heap, (uintptr_t)all[i]) && !grey(heap, (uintptr_t)all[i]));
    CHECK_EQ(rt->engine.mark.bytes, REACHED * sizeof *holder);
}

TEST(barrier) {
    static const struct race race = {
        .half = {mark_holder, store},
        .before = begin_store,
        .after = all_are_black,
        .outcome = {"followed the old pointer or the new", "found them shaded"},
    };
    REQUIRE(begin());
    memset(&marker, 0, sizeof marker);
    REQUIRE(gm_mark_init_marker(&marker, &rt->engine.meta));
    struct node **const all[] = {&holder, &old, &new};
    for (int i = 0; i < 3; i++) {
        *all[i] = GOMEM_NEW(struct node);
        REQUIRE(*all[i] != NULL && ((*all[i])->next = GOMEM_NEW(struct node)) != NULL);
    }
    gm_store_rlx(&rt->engine.mark.active, 1u);
    gm_store_rlx(&gomem_i_barrier, 1u);
    run(&race);
    gm_store_rlx(&gomem_i_barrier, 0u);
    gm_store_rlx(&rt->engine.mark.active, 0u);
}

TEST_MAIN
