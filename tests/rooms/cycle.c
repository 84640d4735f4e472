// Room gc: the concurrent cycle, driven phase by phase by one thread, so that what the program does
// falls exactly between two of them.
static int no_reading; // process_vm_readv is refused
#define GOMEM_SYSCALL(number, ...)                                         \
    (no_reading && (number) == SYS_process_vm_readv ? (errno = EPERM, -1L) \
                                                    : gm_libc_syscall((number), ##__VA_ARGS__))
#include "room.h"

#include "child.h"

static struct gm_runtime *const rt = &gm_runtime;
static struct gm_engine *const engine = &gm_runtime.engine;
static struct gm_thread *me;
static struct gm_cycle cycle;

struct node {
    struct node *next;
    uintptr_t check;
    void *more[4];
};
enum { TOPS = 64 };
static struct node **top; // an uncollectable array: a root

// Addresses that the collector does not see.
static uintptr_t hide(const void *p) { return ~(uintptr_t)p; }
static struct node *show(uintptr_t hidden) { return (struct node *)~hidden; }

static __attribute__((noinline)) void clear_stack(void) {
    volatile char below[16384];
    for (size_t i = 0; i < sizeof below; i++) below[i] = 0;
}

static __attribute__((noinline)) uintptr_t new_hidden(void) {
    struct node *n = GOMEM_NEW(struct node);
    if (!CHECK(n != NULL)) exit(1);
    n->check = hide(n) * 3;
    if (!CHECK(GOMEM_NEW(struct node) != NULL)) exit(1); // or the next one's address is n's end
    return hide(n);
}

// These keep the address out of their callers' frames, which are roots.
static __attribute__((noinline)) void put(void **at, uintptr_t hidden) { *at = show(hidden); }
static __attribute__((noinline)) bool gone(uintptr_t hidden) {
    return gomem_base(show(hidden)) == NULL;
}
static __attribute__((noinline)) bool whole(uintptr_t hidden) {
    return gomem_base(show(hidden)) == (void *)show(hidden) && show(hidden)->check == hidden * 3;
}

// ---- the phases ----

static __attribute__((noinline)) void spill(void) {
    me->in_handler = false;
    me->fake_stack = gm_world_fake_stack();
    gm_os_spill(&me->registers);
}

static bool begin(int collector) {
    static bool done;
    if (!done) {
        gomem_options o = {
            .collector = collector, .gc_percent = GOMEM_GC_OFF, .finalizers_by_hand = true};
        if (!CHECK(gomem_init(&o))) return false;
        top = gomem_new_with(TOPS * sizeof *top, 0, GOMEM_UNCOLLECTABLE);
        done = top != NULL;
    }
    me = gm_world_self();
    gomem_gc();
    (void)gomem_run_finalizers(-1);                  // of the tests before
    gm_writes_reset(&engine->writes, &engine->meta); // choose again
    if (!gm_writes_choose(&engine->writes, &engine->meta, &engine->heap.pages, collector))
        return false;
    for (int i = 0; i < TOPS; i++) GOMEM_STORE(&top[i], NULL);
    return CHECK(HEAP_IS_WHOLE());
}

// Up to where new objects are black and nothing is marked.
static bool start(void) {
    memset(&cycle, 0, sizeof cycle);
    gm_world_lock_cycle(rt);
    gm_workers_each_central(rt, gm_workers_sweep_central);
    cycle.collector = engine->writes.collector;
    clear_stack();
    spill();
    return CHECK(gm_writes_arm(&engine->writes, &engine->heap.pages, NULL, NULL)) &&
           CHECK(gm_gc_begin_marking(rt, me, &cycle));
}

static size_t kept; // what only waits for its callback
static void mark(void) { gm_workers_mark_beside(rt, 1); }
static void rounds(void) { CHECK(gm_gc_rounds(rt, &cycle, GM_ROUNDS)); }

// The marks are complete, in a stop.
static void end(void) {
    cycle.after = 0;
    if (GOMEM_I_CHECK >= 3) cycle.missed = gm_oracle_stopped(rt);
    (void)gm_finalize_decide(rt, true, &kept);
    gm_gc_end_stopped(rt, &cycle);
    CHECK_EQ(cycle.resumed, rt->world.opened); // what woken threads do first is no part of it
    CHECK(!cycle.missed && !cycle.broken);
    gm_workers_put_empty_roots(rt);
    gm_world_unlock_cycle(rt);
    gm_workers_each_central(rt, gm_workers_sweep_central);
    CHECK(HEAP_IS_WHOLE());
}

static void finish(void) {
    bool known = true;
    clear_stack();
    spill();
    while (!gm_gc_finish(rt, me, &cycle, &known)) {
        CHECK(known);
        rounds();
    }
    end();
}

// ---- the dance: W moves from a holder that is not scanned yet to one that is ----

static __attribute__((noinline)) uintptr_t holder_of_new(int at) {
    uintptr_t w = new_hidden();
    struct node *h = GOMEM_NEW(struct node);
    GOMEM_STORE(&h->next, show(w));
    GOMEM_STORE(&top[at], h);
    return w;
}

static __attribute__((noinline)) void dance(int at) {
    struct node *n = GOMEM_NEW(struct node), *h = top[at];
    GOMEM_STORE(&n->next, h->next);
    GOMEM_STORE(&top[at + 1], n);
    GOMEM_STORE(&h->next, NULL);
}

static __attribute__((noinline)) void store_shown(int at, uintptr_t hidden) {
    GOMEM_STORE(&top[at]->next, show(hidden));
}

static __attribute__((noinline)) void new_top(int at) {
    struct node *n = GOMEM_NEW(struct node);
    GOMEM_STORE(&top[at], n);
}

static void dances(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    uintptr_t w[4], late = new_hidden();
    struct node *volatile held = show(late); // on the stack as marking begins
    for (int i = 0; i < 4; i++) w[i] = holder_of_new(i * 2);
    REQUIRE(start());
    held = NULL;
    dance(0); // nothing is marked yet: the new holder is black, the old one white
    new_top(20);
    uintptr_t unseen = hide(top[20]);
    (void)unseen;
    mark();
    dance(2);
    rounds();
    dance(4);
    // what a thread loaded early, and kept where nobody looked in time
    store_shown(5, w[3]);
    finish();
    for (int i = 0; i < 4; i++) CHECK(whole(w[i]));
    CHECK(top[1]->next == show(w[0]) && top[3]->next == show(w[1]));
    (void)held;
}

// F1: what was written before pages are armed is written on pages that nobody writes again.
TEST(armed_before_marking) {
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    uintptr_t w = new_hidden();
    new_top(0);
    REQUIRE(start());
    mark(); // the holder is black
    store_shown(0, w);
    clear_stack();
    mark(); // arming here would forget that page
    rounds();
    finish();
    CHECK(whole(w) && top[0]->next == show(w));
}

TEST(the_dance_tracked) { dances(GOMEM_GC_TRACKED); }
TEST(the_dance_barrier) { dances(GOMEM_GC_BARRIER); }

// A pointer that nobody saw while marking is stored into a black object, last of all.
static void stored_last(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    uintptr_t w = new_hidden();
    new_top(0);
    REQUIRE(start());
    mark();
    rounds();
    store_shown(0, w);
    clear_stack(); // what it had in its frame is no root
    finish();
    CHECK(whole(w));
    CHECK(top[0]->next == show(w));
}

TEST(stored_last_tracked) { stored_last(GOMEM_GC_TRACKED); }
TEST(stored_last_barrier) { stored_last(GOMEM_GC_BARRIER); }

// ---- a large typed array: only what was written is read again ----

struct element {
    uintptr_t number;
    struct node *at[4];
};
GOMEM_TYPE(element_type, struct element, at);

// Into each field of the elements around the end of a page, in each phase.
static void elements(int collector) {
    enum { N = 20000, PAGE = 8192, PHASES = 3 };
    if (!begin(collector)) SKIP("this kernel does not track writes");
    struct element *array = GOMEM_MAKE_TYPED(struct element, &element_type, N);
    static uintptr_t w[PHASES][8];
    REQUIRE(array != NULL);
    GOMEM_STORE(&top[0], (struct node *)(void *)array);
    for (int i = 0; i < PHASES * 8; i++) w[i / 8][i % 8] = new_hidden();
    REQUIRE(start());
    for (size_t phase = 0; phase < PHASES; phase++) {
        size_t first = (phase * 30 + 1) * PAGE / sizeof *array; // the page ends in it
        for (size_t i = 0; i < 8; i++)
            GOMEM_STORE(&array[first + i / 4].at[i % 4], show(w[phase][i]));
        clear_stack();
        if (phase == 0) mark();
        else if (phase == 1) rounds();
        else finish();
    }
    for (int i = 0; i < PHASES * 8; i++) CHECK(whole(w[i / 8][i % 8]));
    GOMEM_KEEP_ALIVE(array);
}

TEST(large_typed_tracked) { elements(GOMEM_GC_TRACKED); }
TEST(large_typed_barrier) { elements(GOMEM_GC_BARRIER); }

// Pages are written as fast as they are read: who allocates waits longer after each finish stop
// that was given up.
TEST(rounds_slow_allocation_down) {
    enum { BYTES = 4 * 1024 * 1024 };
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    char *array = gomem_new(BYTES);
    REQUIRE(array != NULL && start());
    for (unsigned tries = 0; tries < 8; tries++) {
        mark();
        memset(array, 0, BYTES);
        cycle.tries = tries;
        CHECK(gm_gc_rounds(rt, &cycle, 1));
        CHECK_EQ(rt->gc.closing, 1 + (tries < GM_TRIES ? tries : GM_TRIES));
    }
    cycle.tries = 0;
    finish();
    rt->gc.closing = 0;
}

// ---- large roots: only what was written is read again ----

enum { LARGE = 1024 * 1024 / sizeof(void *) };
static void *zeroed[LARGE], *written[LARGE] = {&cycle}; // of the bss, and of the file

// In each large root, at a place for each phase: nobody else leads to these objects.
static void roots_in(void **words, int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    bool tracked = collector == GOMEM_GC_TRACKED && engine->writes.can_roots;
    uintptr_t w[4];
    for (int i = 0; i < 4; i++) w[i] = new_hidden();
    put(&words[LARGE / 2], w[0]);
    REQUIRE(start());
    CHECK(!tracked || engine->writes.roots >= 1);
    mark();
    put(&words[LARGE / 4], w[1]);
    mark();
    rounds();
    put(&words[LARGE / 4 + 1], w[2]); // on the page that was armed again
    put(&words[LARGE - 1], w[3]);
    finish();
    CHECK_EQ(engine->writes.roots, 0);
    for (int i = 0; i < 4; i++) CHECK(whole(w[i]));
    words[LARGE / 2] = words[LARGE / 4] = words[LARGE / 4 + 1] = words[LARGE - 1] = NULL;
    clear_stack();
    gomem_gc();
    for (int i = 0; i < 4; i++) CHECK(gone(w[i]));
}

TEST(large_globals) {
    roots_in(zeroed, GOMEM_GC_TRACKED);
    roots_in(written, GOMEM_GC_TRACKED);
}
TEST(large_globals_barrier) { roots_in(zeroed, GOMEM_GC_BARRIER); }
TEST(large_globals_stopped) {
    REQUIRE(begin(GOMEM_GC_STW));
    uintptr_t w = new_hidden();
    written[LARGE / 2] = show(w);
    gomem_gc();
    CHECK(whole(w));
    written[LARGE / 2] = NULL;
}

TEST(large_ranges) {
    enum { BYTES = LARGE * sizeof(void *) };
    void **own = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(own != MAP_FAILED && gomem_add_root(own, BYTES));
    roots_in(own, GOMEM_GC_TRACKED);
    CHECK(gomem_remove_root(own));
    munmap(own, BYTES);
}

// ---- deep stacks: only what was written is read again ----

enum { LEVELS = 1200, LEVEL = 1024 };       // more than GM_DEEP
static struct node *volatile *slot[LEVELS]; // in the frames of the deep thread
static int depth_wanted, depth;             // atomic

static void deep_wait(int wanted) {
    __atomic_store_n(&depth_wanted, wanted, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&depth, __ATOMIC_SEQ_CST) != wanted) sched_yield();
}

// Stands as deep as is wanted.
static __attribute__((noinline)) void deep_go(int level) {
    struct node *volatile frame[LEVEL / sizeof(struct node *)] = {NULL};
    slot[level] = &frame[5];
    for (int wanted; (wanted = __atomic_load_n(&depth_wanted, __ATOMIC_SEQ_CST)) >= level;) {
        if (wanted > level) deep_go(level + 1);
        else {
            __atomic_store_n(&depth, level, __ATOMIC_SEQ_CST);
            sched_yield();
        }
    }
    GOMEM_KEEP_ALIVE(&frame);
}

// Two objects whose ends are no object's beginning: those behind them have died. Nobody holds them.
struct lone { // of a class that nothing else here is of, and without a byte to spare
    struct node node;
    void *more[8];
};
static __attribute__((noinline)) void new_lone(uintptr_t hidden[2]) {
    enum { N = 400 };
    struct lone **held = gomem_new_with(N * sizeof *held, 0, GOMEM_UNCOLLECTABLE);
    REQUIRE(held != NULL);
    for (int i = 0; i < N; i++) GOMEM_STORE(&held[i], GOMEM_NEW(struct lone));
    for (int i = 1; i < N; i += 2) GOMEM_STORE(&held[i], NULL);
    clear_stack();
    gomem_gc();
    int found = 0;
    for (int i = 0; i < N && found < 2; i += 2) {
        void *behind = gomem_base(held[i] + 1); // itself where there are margins
        if (behind && behind != held[i]) continue;
        held[i]->node.check = hide(held[i]) * 3;
        hidden[found++] = hide(held[i]);
    }
    CHECK_EQ(found, 2);
    gomem_free(held);
    clear_stack();
}

static void *deep_main(void *arg) {
    CHECK(gomem_thread_attach());
    deep_go(1);
    return arg;
}

static __attribute__((noinline)) void put_into_frame(int level, uintptr_t hidden, bool past) {
    struct lone *lone = (struct lone *)(void *)show(hidden);
    *slot[level] = (struct node *)(void *)(lone + past);
}

static bool tracked_stack(void) {
    bool found = false;
    for (size_t i = 0; i < engine->writes.roots; i++)
        found |= engine->writes.root[i].categories == (GM_ROOT_BOTH | GM_ROOT_READ);
    return found;
}

// Into frames of another thread, in each phase: nobody else leads to these objects.
TEST(deep_stacks) {
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    if (!engine->writes.can_roots) SKIP("this kernel does not track roots");
    pthread_t thread;
    uintptr_t w[6];
    depth_wanted = 1;
    REQUIRE(gomem_thread_create(&thread, NULL, deep_main, NULL) == 0);
    for (int round = 0; round < 3; round++) {
        deep_wait(LEVELS / 2);
        gomem_gc();                     // it is seen to be deep
        if (round == 1) deep_wait(100); // it comes back while the cycle goes on
        new_lone(&w[4]);
        for (int i = 0; i < 4; i++) w[i] = new_hidden();
        put_into_frame(50, w[0], false);
        REQUIRE(start());
        CHECK(GM_ASAN || round == 1 || tracked_stack());
        mark();
        put_into_frame(40, w[1], false);
        clear_stack();
        rounds();
        put_into_frame(41, w[2], false); // on a page that was armed again
        put_into_frame(60, w[4], true);  // one past its end
        clear_stack();
        rounds();
        deep_wait(LEVELS - 1 - round); // to where nothing is tracked
        put_into_frame(LEVELS - 10, w[3], false);
        put_into_frame(30, w[5], true);
        finish();
        for (int i = 0; i < 6; i++) CHECK(whole(w[i]));
        deep_wait(1);
        gomem_gc();
    }
    deep_wait(1);
    __atomic_store_n(&depth_wanted, 0, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
}

// The program writes it through another mapping: that cannot be seen in this one.
TEST(large_range_that_is_mapped_twice) {
    enum { BYTES = LARGE * sizeof(void *) };
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    int fd = memfd_create("twice", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && !ftruncate(fd, BYTES));
    void **one = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void **two = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(one != MAP_FAILED && two != MAP_FAILED && gomem_add_root(one, BYTES));
    one[9] = NULL;
    uintptr_t w = new_hidden();
    REQUIRE(start());
    mark();
    two[9] = show(w);
    rounds();
    finish();
    CHECK(whole(w));
    CHECK(gomem_remove_root(one));
    munmap(one, BYTES);
    munmap(two, BYTES);
    close(fd);
}

// The barrier was looked at before marking began, and the store came after it, into a black object:
// what is stored was on the stack in the start stop, and in a register since.
static __attribute__((noinline)) uintptr_t seen_at_the_start(void) {
    struct node *volatile w = show(new_hidden());
    uintptr_t hidden = hide(w);
    if (!start()) exit(1);
    w = NULL;
    return hidden;
}

static __attribute__((noinline)) void store_plainly(int at, uintptr_t hidden) {
    top[at]->next = show(hidden);
}

TEST(a_store_that_marking_interrupts) {
    REQUIRE(begin(GOMEM_GC_BARRIER));
    new_top(1);
    uintptr_t w = seen_at_the_start();
    clear_stack();
    mark();
    store_plainly(1, w);
    clear_stack();
    rounds();
    finish();
    CHECK(whole(w) && top[1]->next == show(w));
}

static __attribute__((noinline)) void move_shown(int at, const uintptr_t *hidden, size_t n) {
    void *words[4];
    for (size_t i = 0; i < n; i++) words[i] = show(hidden[i]);
    (void)gomem_memmove(top[at]->more, words, n * sizeof *words);
    memset(words, 0, sizeof words);
    GOMEM_KEEP_ALIVE(words);
}

TEST(memmove_tells_the_barrier) {
    REQUIRE(begin(GOMEM_GC_BARRIER));
    uintptr_t w[4];
    for (int i = 0; i < 4; i++) w[i] = new_hidden();
    new_top(0);
    REQUIRE(start());
    mark();
    move_shown(0, w, 4);
    clear_stack();
    finish();
    for (int i = 0; i < 4; i++) CHECK(whole(w[i]) && top[0]->more[i] == (void *)show(w[i]));
}

// Long enough for several pieces, by more and by less than one, to either side; every word counts.
static void move_within(struct node **array, size_t n, size_t from, size_t to) {
    for (size_t i = 0; i < n; i++) GOMEM_STORE(&array[i], show(new_hidden()));
    uintptr_t *expected = gomem_malloc(n * sizeof *expected);
    REQUIRE(expected != NULL && start());
    mark(); // what lies in the array is black
    size_t count = n - (from > to ? from : to);
    for (size_t i = 0; i < n; i++) expected[i] = hide(array[i]);
    memmove(expected + to, expected + from, count * sizeof *expected);
    CHECK(gomem_memmove(array + to, array + from, count * sizeof *array) == array + to);
    finish();
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) wrong += array[i] != show(expected[i]) || !whole(expected[i]);
    CHECK_EQ(wrong, 0);
    gomem_free(expected);
}

TEST(long_moves_that_overlap) {
    enum { WORDS = 20000 };
    REQUIRE(begin(GOMEM_GC_BARRIER));
    struct node **array = gomem_new_with(WORDS * sizeof *array, 0, GOMEM_UNCOLLECTABLE);
    REQUIRE(array != NULL);
    static const size_t places[][2] = {{0, 1}, {1, 0}, {0, 3000}, {3000, 0}, {7, 7}, {0, 12000}};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        move_within(array, WORDS, places[i][0], places[i][1]);
    gomem_free(array);
}

// The target is aligned, the source is not: what is overwritten is looked at in the target's words.
TEST(moved_over_by_unaligned_bytes) {
    REQUIRE(begin(GOMEM_GC_BARRIER));
    uintptr_t w = holder_of_new(0);
    static char bytes[64];
    REQUIRE(start());
    struct node *volatile taken = top[0]->next; // after the start stop: on this stack alone
    (void)gomem_memmove((char *)&top[0]->next + 1, bytes + 3, 6);
    taken = NULL;
    clear_stack();
    mark();
    store_plainly(0, w);
    finish();
    CHECK(whole(w) && top[0]->next == show(w) && !taken);
}

// A stop that is wanted while a move goes on finds a place after each piece.
static size_t places;
static void note_place(gomem_i_cache *cache, bool enter) {
    CHECK(cache == &me->cache.hot);
    places += !enter;
}

TEST(stops_fall_between_pieces) {
    enum { BYTES = 4 * 1024 * 1024 };
    REQUIRE(begin(GOMEM_GC_BARRIER));
    static const uint32_t wanted = 8;
    char *bytes = gomem_malloc(BYTES);
    REQUIRE(bytes != NULL);
    const uint32_t *stop_request = me->cache.hot.stop_request;
    void (*stop_wait)(gomem_i_cache *, bool) = me->cache.hot.stop_wait;
    for (size_t i = 0; i < 3; i++) {
        places = 0;
        me->cache.hot.stop_request = &wanted;
        me->cache.hot.stop_wait = note_place;
        (void)gomem_memmove(bytes + (i == 0), bytes + (i == 1), BYTES - 1);
        me->cache.hot.stop_request = stop_request;
        me->cache.hot.stop_wait = stop_wait;
        CHECK(places >= BYTES / (64 * 1024));
    }
    gomem_free(bytes);
}

static __attribute__((noinline)) void grow(int at, size_t size) {
    void *p = gomem_realloc(top[at], size);
    CHECK(p != NULL);
    GOMEM_STORE(&top[at], (struct node *)p);
}

static void reallocs(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    uintptr_t w = holder_of_new(0);
    REQUIRE(start());
    grow(0, 5000); // a new object, which is black
    mark();
    finish();
    CHECK(whole(w) && top[0]->next == show(w));
}

TEST(realloc_tracked) { reallocs(GOMEM_GC_TRACKED); }
TEST(realloc_barrier) { reallocs(GOMEM_GC_BARRIER); }

// The marker has reached the new object before the library has copied to it.
TEST(copied_to_a_black_object) {
    REQUIRE(begin(GOMEM_GC_BARRIER));
    uintptr_t w = new_hidden();
    new_top(0);
    REQUIRE(start());
    mark();
    store_plainly(0, w);
    gm_alloc_copied(rt, top[0], sizeof(struct node));
    clear_stack();
    finish();
    CHECK(whole(w) && top[0]->next == show(w));
}

// ---- B5: words in records ----

static void nothing(void *arg) { (void)arg; }

static __attribute__((noinline)) uintptr_t argument_of(void *object) {
    uintptr_t w = new_hidden();
    CHECK(gomem_add_cleanup(object, nothing, show(w)).id != 0);
    return w;
}

// The finish stop does not read records: what was there has been read, what comes is shaded.
static void arguments(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    struct node *n = GOMEM_NEW(struct node);
    REQUIRE(n);
    uintptr_t before = argument_of(n);
    REQUIRE(start());
    uintptr_t early = argument_of(n);
    mark();
    uintptr_t late = argument_of(n);
    finish();
    CHECK(whole(before) && whole(early) && whole(late));
    GOMEM_KEEP_ALIVE(n);
}

TEST(arguments_tracked) { arguments(GOMEM_GC_TRACKED); }
TEST(arguments_barrier) { arguments(GOMEM_GC_BARRIER); }

// ---- R1, R5 ----

// What is made while marking is white and lives if it is reached; what is made while it is decided
// about the dead is black, and so are held slots when marking ends.
static bool black(const void *p) {
    const struct gm_color *c = gm_span_color(&engine->heap.pages, (uintptr_t)p);
    return c->mark & c->alloc & ~c->grey & gm_span_bit(&engine->heap.pages, (uintptr_t)p);
}

// The run that objects like this one come from: under AddressSanitizer they have margins.
static gomem_i_run run_of(const void *object) {
    return me->cache.hot.scan[gm_span_find(&engine->heap.pages, (uintptr_t)object)->class];
}

// The next slot of the run that nodes come from; the object itself if there is none.
static const void *held(const struct node *n) {
    gomem_i_run run = run_of(n);
    return run.cursor < run.end ? (const void *)run.cursor : n;
}

static void new_objects(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    bool known;
    REQUIRE(start());
    gm_cache_flush_runs(&me->cache);
    struct node *n = GOMEM_NEW(struct node);
    const void *next = held(n);
    CHECK(!black(n) && !black(next));
    CHECK(!black(gomem_new(100000)) && !black(gomem_new_noscan(48)));
    mark();
    clear_stack();
    spill();
    while (!gm_gc_finish(rt, me, &cycle, &known)) rounds();
    CHECK(black(n) && black(held(n)));
    gm_store_rlx(&engine->mark.complete, 1u);
    gm_store_rlx(&gomem_i_barrier, 0u);
    gm_gc_resume(rt, &cycle);
    gm_cache_flush_runs(&me->cache);
    struct node *m = GOMEM_NEW(struct node);
    CHECK(black(m) && black(held(m)));
    CHECK(black(gomem_new(100000)) && black(gomem_new_noscan(48)));
    (void)gm_finalize_decide(rt, false, &kept);
    CHECK(gm_world_stop(rt, me, GM_PATIENCE_NS));
    gm_gc_end_stopped(rt, &cycle);
    gm_world_unlock_cycle(rt);
    gm_workers_each_central(rt, gm_workers_sweep_central);
    CHECK(HEAP_IS_WHOLE()); // looks at the held slots
    CHECK(gomem_base(n) == (void *)n && gomem_base(m) == (void *)m);
    GOMEM_KEEP_ALIVE(n);
    GOMEM_KEEP_ALIVE(m);
}

TEST(new_objects_tracked) { new_objects(GOMEM_GC_TRACKED); }
TEST(new_objects_barrier) { new_objects(GOMEM_GC_BARRIER); }

TEST(nothing_shrinks_while_marking) {
    REQUIRE(begin(GOMEM_GC_BARRIER));
    struct node *n = GOMEM_NEW(struct node);
    struct node *root = gomem_new_with(3000, 0, GOMEM_UNCOLLECTABLE);
    char *big_root = gomem_new_with(100000, 0, GOMEM_UNCOLLECTABLE);
    char *large = gomem_new(200000);
    REQUIRE(n && root && big_root && large);
    struct gm_pages *p = &engine->heap.pages;
    struct gm_span *s = gm_span_find(p, (uintptr_t)root), *t = gm_span_find(p, (uintptr_t)big_root);
    REQUIRE(start());
    gomem_i_run run = run_of(n);
    REQUIRE(run.cursor < run.end);
    gm_cache_flush_runs(&me->cache); // as a thread that ends
    CHECK(gm_span_color(p, run.cursor)->alloc & gm_span_bit(p, run.cursor));
    gomem_free(n); // its slot is not taken again
    for (int i = 0; i < 1000; i++) CHECK(GOMEM_NEW(struct node) != n);
    gomem_free(root);
    gomem_free(big_root);
    CHECK(gm_pages_desc(p, s->page) && gm_pages_desc(p, t->page)); // they may be in the queue
    char *smaller = gomem_realloc(large, 70000);
    CHECK(smaller && smaller != large);
    CHECK(gm_span_find(p, (uintptr_t)large)->size >= 200000); // freed by hand, swept later
    mark();
    finish();
    CHECK(!gm_pages_desc(p, t->page));
}

// ---- what becomes of the dead, beside the program ----

static int finalized;
static void finalize(void *obj, void *arg) {
    (void)arg;
    finalized += ((struct node *)obj)->check == hide(obj) * 3;
}

enum { RECORDS = 101, FEW = RECORDS / 10 }; // so many may be kept by accident

static __attribute__((noinline)) void make_records(gomem_weak *weak, uintptr_t *hidden) {
    for (int i = 0; i < RECORDS; i++) {
        hidden[i] = i ? new_hidden() : holder_of_new(0); // the first one lives
        weak[i] = gomem_weak_make(show(hidden[i]));
        if (i && i % 2 == 0) CHECK(gomem_set_finalizer(show(hidden[i]), finalize, NULL));
    }
}

static void weak_while_deciding(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    static gomem_weak weak[RECORDS];
    static uintptr_t hidden[RECORDS];
    int dead = 0, swept = 0;
    bool known;
    finalized = 0;
    make_records(weak, hidden);
    clear_stack();
    REQUIRE(start());
    CHECK(gomem_weak_get(weak[0]) == (void *)show(hidden[0]));
    mark();
    rounds();
    clear_stack();
    spill();
    while (!gm_gc_finish(rt, me, &cycle, &known)) rounds();
    gm_store_rlx(&engine->mark.complete, 1u);
    gm_store_rlx(&gomem_i_barrier, 0u);
    gm_gc_resume(rt, &cycle);
    CHECK(gomem_weak_get(weak[0]) == (void *)show(hidden[0]));
    for (int i = 1; i < RECORDS; i++) dead += !gomem_weak_get(weak[i]); // not yet cleared
    CHECK(dead >= RECORDS - FEW);
    struct node *n = GOMEM_NEW(struct node); // born black
    gomem_weak new_weak = gomem_weak_make(n);
    CHECK(gomem_weak_get(new_weak) == (void *)n);
    (void)gm_finalize_decide(rt, false, &kept);
    CHECK(gm_world_stop(rt, me, GM_PATIENCE_NS));
    gm_gc_end_stopped(rt, &cycle);
    gm_world_unlock_cycle(rt);
    gm_workers_each_central(rt, gm_workers_sweep_central);
    CHECK(HEAP_IS_WHOLE());
    CHECK(gomem_weak_get(weak[0]) == (void *)show(hidden[0]) && whole(hidden[0]));
    for (int i = 1; i < RECORDS; i++) {
        CHECK(i % 2 || whole(hidden[i])); // its finalizer has not run
        swept += i % 2 && !whole(hidden[i]);
    }
    CHECK(swept >= RECORDS / 2 - FEW);
    int ran = gomem_run_finalizers(-1);
    CHECK(ran == finalized && ran >= RECORDS / 2 - FEW);
    GOMEM_KEEP_ALIVE(n);
}

TEST(weak_pointers_while_deciding) { weak_while_deciding(GOMEM_GC_TRACKED); }
TEST(weak_pointers_while_deciding_barrier) { weak_while_deciding(GOMEM_GC_BARRIER); }

// What gomem_each hands out between the marks and the flip.
struct handed {
    int white, dead, live; // unmarked objects; of `hidden`: not those with a finalizer, the first
    const uintptr_t *hidden;
};

static bool hand_over(void *object, size_t size, void *user) {
    struct handed *h = user;
    (void)size;
    h->white += !black(object);
    for (int i = 0; i < RECORDS; i++)
        if (hide(object) == h->hidden[i]) *(i ? &h->dead : &h->live) += !i || i % 2;
    return true;
}

static void each_while_deciding(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    static gomem_weak weak[RECORDS];
    static uintptr_t hidden[RECORDS];
    struct handed handed = {0, 0, 0, hidden};
    int refused = 0;
    bool known;
    make_records(weak, hidden);
    REQUIRE(start());
    mark();
    rounds();
    clear_stack();
    spill();
    while (!gm_gc_finish(rt, me, &cycle, &known)) rounds();
    gm_gc_decide(rt, &cycle);
    CHECK(engine->mark.complete == GM_MARKS_CLOSED);
    (void)gomem_each(NULL, hand_over, &handed);
    CHECK_EQ(handed.white, 0); // the flip frees them, and no stop reads this stack before
    CHECK(handed.live == 1 && handed.dead <= FEW);
    for (int i = 1; i < RECORDS; i += 2) refused += !gomem_weak_make(show(hidden[i])).id;
    CHECK(refused >= RECORDS / 2 - FEW);
    CHECK(gm_world_stop(rt, me, GM_PATIENCE_NS));
    gm_gc_end_stopped(rt, &cycle);
    gm_world_unlock_cycle(rt);
    gm_workers_each_central(rt, gm_workers_sweep_central);
    CHECK(HEAP_IS_WHOLE());
    CHECK(whole(hidden[0]));
}

TEST(each_while_deciding_tracked) { each_while_deciding(GOMEM_GC_TRACKED); }
TEST(each_while_deciding_barrier) { each_while_deciding(GOMEM_GC_BARRIER); }

// ---- giving up ----

// Without the kernel's help memory is read only while nobody can unmap it; nothing is lost. (O4)
static void reads_in_stops(int collector) {
    if (!begin(collector)) SKIP("this kernel does not track writes");
    uintptr_t w = holder_of_new(0);
    no_reading = 1;
    REQUIRE(start());
    CHECK_EQ(engine->mark.njobs, 0);
    mark();
    dance(0);
    rounds();
    finish();
    no_reading = 0;
    CHECK(whole(w));
}
TEST(roots_are_read_in_stops) { reads_in_stops(GOMEM_GC_BARRIER); }
TEST(roots_are_read_in_stops_tracked) { reads_in_stops(GOMEM_GC_TRACKED); }

TEST(over_budget) { // the stop ends, nothing is lost, and the sixth try finishes
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    enum { CHAIN = 3000000 };
    uintptr_t w = 0;
    bool known;
    new_top(0);
    REQUIRE(start());
    mark();
    struct node *last = NULL;
    // a long list of white objects, reachable at the last moment
    for (int i = 0; i < CHAIN; i++) {
        struct node *n = GOMEM_NEW(struct node);
        n->check = hide(n) * 3;
        n->next = last;
        last = n;
        if (!i) w = hide(n);
    }
    top[0]->next = last;
    unsigned tries = 0;
    spill();
    while (!gm_gc_finish(rt, me, &cycle, &known)) {
        CHECK(known && !gm_load_rlx(&rt->world.stop_request)); // the world runs
        tries++;
    }
    CHECK(tries >= 1 && tries <= GM_TRIES && cycle.tries == tries + 1);
    (void)gm_finalize_decide(rt, true, &kept);
    gm_gc_end_stopped(rt, &cycle);
    gm_world_unlock_cycle(rt);
    CHECK(!cycle.missed && !cycle.broken);
    CHECK(whole(w));
    size_t n = 0;
    for (const struct node *at = top[0]->next; at; at = at->next) n += at->check == hide(at) * 3;
    CHECK_EQ(n, CHAIN);
}

// ---- markers that get no processor (M7) ----

enum { AWAY, WANTED, JOINED, TAKING, HOLDS, LET_GO, GONE };
static int absent;                       // atomic: what the absent helper does
static struct gm_span *claimed[8];       // spans that it has taken from the queue
static unsigned nclaimed, claimed_after; // rounds
static unsigned over;                    // jobs of stops after the one that it has held up
static bool asked;                       // others may mark in one of them

// In a stop: hands all that was written to the helper, before any other marker can take it.
static size_t written_and_claimed(struct gomem_marker *m, const struct gm_job *job) {
    struct gm_mark *mark = &engine->mark;
    if (job->flags & GM_JOB_FOREIGN) return gm_writes_job(m, job); // of a root
    bool closed = gm_load_rlx(&mark->closed), anew = cycle.deserted && !over++;
    if (closed && (anew || gm_load_acq(&absent) == WANTED)) { // that phase is over, the job is not
        gm_store_rlx(&mark->next_job, (uint32_t)(job - mark->jobs));
        gm_store_rlx(&mark->halt, 1u);
        return 0;
    }
    asked |= cycle.deserted && !closed;
    while (gm_load_acq(&absent) == WANTED) (void)sched_yield();
    size_t pages = gm_writes_job(m, job);
    if (!gm_cas_acqrel(&absent, &(int){JOINED}, TAKING)) return pages;
    claimed_after = cycle.rounds;
    while (nclaimed < 8 && (claimed[nclaimed] = gm_mark_pop(mark)) != NULL) nclaimed++;
    gm_store_rel(&absent, nclaimed ? HOLDS : LET_GO);
    return pages;
}

// A helper that has claimed work and does not run until the stop has ended. Then nothing may ask
// for written pages before it rests.
static void *absent_main(void *arg) {
    struct gomem_marker *m = arg;
    struct timespec nap = {0, 1000000};
    while (gm_load_acq(&absent) != GONE) {
        if (gm_load_acq(&absent) != WANTED || !gm_mark_join(&engine->mark, m)) {
            (void)sched_yield();
            continue;
        }
        gm_store_rel(&absent, JOINED);
        for (int now; (now = gm_load_acq(&absent)) == JOINED || now == TAKING; (void)sched_yield())
            if (gm_load_rlx(&engine->mark.halt)) // the stop is over: there is nothing to hold
                (void)gm_cas_acqrel(&absent, &(int){JOINED}, LET_GO);
        if (gm_load_acq(&absent) == HOLDS) {
            unsigned naps = 0;
            while (gm_load_seq(&rt->world.stop_request) && naps++ < 20000) nanosleep(&nap, NULL);
            CHECK(naps < 20000); // the stop has ended without it
            for (int i = 0; i < 50; i++) nanosleep(&nap, NULL);
            CHECK_EQ(__atomic_load_n(&cycle.rounds, __ATOMIC_RELAXED), claimed_after);
        }
        for (unsigned i = 0; i < nclaimed; i++) gm_mark_take(m, claimed[i]);
        gm_mark_work(m);
        gm_store_rel(&absent, AWAY);
    }
    return NULL;
}

// Stops with an object that only the absent helper can find. True: the helper had claimed it.
static bool finish_without_it(void) {
    bool known = true;
    new_top(0);
    if (!start()) return false;
    mark();
    rounds();
    uintptr_t w = new_hidden();
    store_shown(0, w);
    clear_stack();
    nclaimed = 0;
    cycle.tries = GM_TRIES - 1; // the longest budget
    gm_store_rel(&absent, WANTED);
    spill();
    bool done = gm_gc_finish(rt, me, &cycle, &known), held = nclaimed > 0;
    (void)gm_cas_acqrel(&absent, &(int){WANTED}, AWAY);
    if (held) CHECK(!done && known && cycle.deserted && !gm_load_rlx(&rt->world.stop_request));
    over = cycle.tries = 0;
    if (!done) {
        rounds();
        while (gm_load_acq(&absent) != AWAY) (void)sched_yield();
        finish();
        CHECK(!held || (over > 1 && !asked));
    } else end();
    while (gm_load_acq(&absent) != AWAY) (void)sched_yield();
    CHECK(whole(w) && top[0]->next == show(w));
    return held;
}

TEST(a_stop_does_not_wait_for_an_absent_helper) {
    static struct gomem_marker helper;
    pthread_t thread;
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    if (!gm_os_can_read()) SKIP("process_vm_readv is refused");
    REQUIRE(gm_mark_init_marker(&helper, &engine->meta));
    uint32_t threads = rt->gc.thread_count;
    REQUIRE(pthread_create(&thread, NULL, absent_main, &helper) == 0);
    engine->mark.written = written_and_claimed;
    bool held = false;
    for (int i = 0; i < 200 && !held; i++) {
        if (!rt->gc.thread_count) rt->gc.thread_count = 1; // as if one could be woken
        held = finish_without_it();
    }
    CHECK(held);
    rt->gc.thread_count = threads;
    engine->mark.written = gm_writes_job;
    gm_store_rel(&absent, GONE);
    pthread_join(thread, NULL);
}

// A finish stop that has little to do wakes no other thread; one that has more to do does.
TEST(little_is_marked_by_the_runner) {
    const uint64_t hour = (uint64_t)3600 * 1000000000;
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    for (unsigned more = 0; more < 2; more++) {
        new_top(0);
        REQUIRE(start());
        mark();
        rounds();
        clear_stack();
        spill();
        REQUIRE(gm_gc_stop(rt, me, &cycle));
        gm_store_rlx(&engine->mark.next_job, 0u);
        gm_writes_list_stopped(&engine->writes, &engine->mark);
        uint32_t work = rt->gc.work;
        while (!gm_workers_finish_stopped(rt, 2, gm_os_now() + hour, more ? 1 : hour))
            while (!gm_mark_is_done(&engine->mark)) (void)sched_yield();
        CHECK_EQ(rt->gc.work != work, more);
        gm_workers_each_run_stopped(rt, gm_workers_hold_run);
        end();
    }
}

// W7: pages of a large object that are not there when it is marked, and are written later.
TEST(a_new_large_object_is_written_late) {
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    enum { WORDS = 1024 * 1024 / sizeof(void *) };
    uintptr_t w[4];
    for (int i = 0; i < 4; i++) w[i] = new_hidden();
    struct node **large = gomem_new(WORDS * sizeof *large);
    REQUIRE(large != NULL);
    GOMEM_STORE(&top[0], (struct node *)(void *)large);
    large[WORDS / 8] = show(w[0]);
    CHECK(((struct node *volatile *)large)[WORDS / 2] == NULL); // the page of zeroes
    REQUIRE(start());
    mark();
    large[WORDS / 4] = show(w[1]);
    rounds();
    large[WORDS / 2] = show(w[2]);
    rounds();
    large[WORDS - 1] = show(w[3]);
    finish();
    for (int i = 0; i < 4; i++) CHECK(whole(w[i]));
}

// E4: a cycle that cannot go on keeps its marks. The next run of it goes on from there, and nothing
// is lost that was written in between.
TEST(goes_on) {
    if (!begin(GOMEM_GC_TRACKED)) SKIP("this kernel does not track writes");
    uintptr_t w[3] = {holder_of_new(0), holder_of_new(2), holder_of_new(6)};
    REQUIRE(start());
    dance(0);
    mark();
    rt->gc.quit++;
    CHECK(!gm_gc_run_concurrent(rt, me, &cycle)); // the holders are black
    rt->gc.quit--;
    CHECK(engine->mark.active && rt->gc.phase == GM_PHASE_MARK);
    dance(2);
    w[2] = new_hidden();
    store_shown(6, w[2]);
    gm_world_unlock_cycle(rt);
    CHECK(HEAP_IS_WHOLE()); // while it is under way
    gm_world_lock_cycle(rt);
    spill();
    CHECK(gm_gc_run_concurrent(rt, me, &cycle));
    CHECK(!engine->mark.active && rt->gc.phase == GM_PHASE_OFF);
    gm_world_unlock_cycle(rt);
    CHECK(HEAP_IS_WHOLE()); // E1
    CHECK(whole(w[0]) && whole(w[1]) && whole(w[2]));
}

// ---- forks while a cycle marks ----

static uintptr_t forked[8];

// A child has no cycle, but its marks: nothing may be taken for marked because of them.
static void child_collects(void) {
    CHECK(!engine->mark.active && !gm_load_rlx(&gomem_i_barrier) && !(uint32_t)engine->mark.queue);
    size_t cycles = engine->stats.cycles;
    for (int i = 0; i < 1000; i++) new_top(30);
    CHECK(engine->stats.cycles == cycles);    // the parent's was due, but none is here
    for (int i = 0; i < 4; i++) dance(i * 2); // a stale mark would hide the new holders' fields
    if (engine->writes.collector == GOMEM_GC_TRACKED) CHECK(HEAP_IS_WHOLE()); // E1
    for (int i = 0; i < 3; i++) {
        clear_stack();
        spill();
        gomem_gc();
    }
    CHECK(engine->stats.cycles == cycles + 3);
    for (int i = 0; i < 4; i++) CHECK(whole(forked[i]) && top[i * 2 + 1]->next == show(forked[i]));
    CHECK(HEAP_IS_WHOLE());
}

// Forks as another thread may while this one marks.
static void fork_here(void) {
    gm_sync_unlock(&rt->gc.turn);
    uint32_t ranks = me->cache.hot.ranks; // the cycle is another thread's
    uintptr_t owner = rt->gc.lock.owner;
    struct gm_pacer saved = engine->pacer;
    me->cache.hot.ranks = 0;
    rt->gc.lock.owner = 0;
    engine->pacer.goal = engine->live + 8 * GM_MIB;
    engine->pacer.trigger = engine->live;
    CHILD_GOOD(child_collects);
    engine->pacer = saved;
    me->cache.hot.ranks = ranks;
    rt->gc.lock.owner = owner;
    gm_sync_lock(&rt->gc.turn);
}

// The parent's cycle goes on as if nothing had been: marks, the queue, and what is known of writes.
static void forks(int collector) {
    NEEDS_FORK;
    if (!begin(collector)) SKIP("this kernel does not track writes");
    for (int i = 0; i < 4; i++) forked[i] = holder_of_new(i * 2);
    REQUIRE(start());
    fork_here(); // nothing is marked
    engine->mark.deadline = 1;
    CHECK(!gm_workers_mark_with(rt, 1, 1,
                                false)); // it is over: all that the roots hold is grey and queued
    CHECK((uint32_t)engine->mark.queue);
    fork_here();
    mark();
    store_shown(6, forked[3]); // written, and a fork comes before anybody asks
    fork_here();
    rounds();
    forked[3] = new_hidden();
    store_shown(6, forked[3]);
    store_shown(4, forked[2]);
    fork_here();
    finish();
    for (int i = 0; i < 4; i++) CHECK(whole(forked[i]) && top[i * 2]->next == show(forked[i]));
}

TEST(forks_tracked) { forks(GOMEM_GC_TRACKED); }
TEST(forks_barrier) { forks(GOMEM_GC_BARRIER); }

// ---- the loader's lock ----

static int collecting; // atomic
static void *collect_on(void *arg) {
    CHECK(gomem_thread_attach());
    while (__atomic_load_n(&collecting, __ATOMIC_SEQ_CST)) {
        (void)gomem_gc();
        sched_yield();
    }
    return arg;
}

// The other thread runs a cycle and needs the lock that this callback is called with.
static int collect_in_callback(struct dl_phdr_info *object, size_t size, void *refused) {
    (void)object, (void)size;
    for (int i = 0, same = 0; i < 20000 && same < 200; i++) {
        uint32_t looks = gm_load_acq(&rt->roots.walks);
        struct timespec nap = {0, 100000};
        nanosleep(&nap, NULL);
        same = looks % 2 && looks == gm_load_acq(&rt->roots.walks) ? same + 1 : 0;
        if (same == 200) *(bool *)refused = !gomem_gc() && errno == EAGAIN;
    }
    return 1;
}

TEST(collected_in_a_callback_of_the_loader) {
    bool refused = false;
    pthread_t thread;
    REQUIRE(begin(GOMEM_GC_STW));
    collecting = 1;
    REQUIRE(gomem_thread_create(&thread, NULL, collect_on, NULL) == 0);
    (void)dl_iterate_phdr(collect_in_callback, &refused);
    __atomic_store_n(&collecting, 0, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
#if defined(__GLIBC__) // others hold no lock there
    CHECK(refused);
#endif
    CHECK(COLLECTED());
}

static int looking; // atomic: 1 the lock is held, 2 it was given back
static int forking; // atomic: fork has begun

static void fork_begins(void) { gm_store_rel(&forking, 1); }

// As a runner that has got the loader's lock and is about to take the turn.
static void *hold_the_loader(void *arg) {
    struct timespec nap = {0, 100000000};
    CHECK(gomem_thread_attach());
    gm_world_begin_loader_walk(rt);
    gm_store_seq(&rt->roots.inside, true);
    gm_store_rel(&looking, 1);
    while (!gm_load_acq(&forking)) (void)sched_yield();
    nanosleep(&nap, NULL); // what it needs to come past us, if it may
    gm_store_rel(&looking, 2);
    gm_store_seq(&rt->roots.inside, false);
    gm_world_end_loader_walk(rt);
    return arg;
}

// Its child would have nobody who gives that lock back.
TEST(forks_wait_for_the_loaders_lock) {
    pthread_t thread;
    NEEDS_FORK;
    REQUIRE(begin(GOMEM_GC_STW));
    looking = forking = 0;
    REQUIRE(pthread_atfork(fork_begins, NULL, NULL) == 0); // comes before the library's
    REQUIRE(gomem_thread_create(&thread, NULL, hold_the_loader, NULL) == 0);
    while (!gm_load_acq(&looking)) (void)sched_yield();
    pid_t pid = fork();
    if (pid == 0) _exit(gm_load_acq(&looking) != 2 || !gomem_gc());
    int status = -1;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
    pthread_join(thread, NULL);
}

TEST_MAIN
