// Stacks of coroutines that are collected: what keeps them, what they keep, when they go; and
// functions of the program that know roots. Each test runs with each collector.
#define _GNU_SOURCE
#include "alive.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static const int collectors[] = {GOMEM_GC_TRACKED, GOMEM_GC_BARRIER, GOMEM_GC_STW};

// Runs what follows with one collector after the other.
static bool begin(int collector) {
    gomem_shutdown();
    gomem_options options = {.collector = collector};
    return CHECK(gomem_init(&options) || collector == GOMEM_GC_TRACKED);
}
#define EACH_COLLECTOR \
    for (size_t which = 0; which < 3 && test_failed() == 0 && begin(collectors[which]); which++)

// A coroutine by hand: the stack pointer is all that a switch saves elsewhere.
#if defined __x86_64__ && !defined TEST_TSAN
#define NEEDS_SWITCH (void)0
void co_switch(void **from, void *to);
__asm__(".text\n.p2align 4\n.globl co_switch\n.type co_switch, @function\nco_switch:\n"
        " pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
        " movq %rsp, (%rdi)\n movq %rsi, %rsp\n"
        " popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n"
        ".size co_switch, .-co_switch\n");
#else
#define NEEDS_SWITCH SKIP("the switch is for x86-64, and ThreadSanitizer does not follow it")
static void co_switch(void **from, void *to) { (void)from, (void)to; }
#endif

typedef struct coroutine {
    gomem_stack *stack;
    void *sp, *caller;
    void (*fn)(struct coroutine *co);
    struct alive_node *result;
    uintptr_t hidden; // of what it is to hold
    bool done;
} coroutine;

static coroutine *starting; // a root for as long as it is set
static bool by_slot;        // the library reads co->sp, or is told at each switch

static void co_yield(coroutine *co) {
    if (!by_slot) gomem_stack_parked(gomem_stack_base(co->stack), __builtin_frame_address(0));
    co_switch(&co->sp, co->caller);
}

static void co_run(void) {
    coroutine *co = starting;
    starting = NULL;
    co->fn(co);
    co->done = true;
    co_yield(co);
    abort();
}

static void co_resume(coroutine *co) { co_switch(&co->caller, co->sp); }

ALIVE_NOINLINE static coroutine *co_new(void (*fn)(coroutine *co), uintptr_t hidden) {
    coroutine *co = GOMEM_NEW(coroutine);
    if (!CHECK(co != NULL)) return NULL;
    gomem_stack *stack = gomem_stack_new(64 * 1024);
    if (!CHECK(stack != NULL)) return NULL;
    GOMEM_STORE(&co->stack, stack);
    co->fn = fn;
    co->hidden = hidden;
    void **top = (void **)(void *)((char *)gomem_stack_base(stack) + gomem_stack_size(stack));
    *--top = NULL;
    void (*run)(void) = co_run;
    memcpy(--top, &run, sizeof run);
    co->sp = top - 6; // registers
    if (by_slot) gomem_stack_saved_at(gomem_stack_base(stack), &co->sp);
    starting = co;
    co_resume(co);
    return co;
}

// Holds the chain's first object in its frame, below some frames, and yields there.
ALIVE_NOINLINE static void hold_deeper(coroutine *co, int n) {
    volatile char frame[200];
    frame[0] = 0;
    if (n > 0) {
        hold_deeper(co, n - 1);
    } else {
        volatile uintptr_t mine = ~co->hidden;
        while (mine != 0 && co->hidden != 0) co_yield(co);
        mine = 0;
    }
    (void)frame[0];
}

static void hold(coroutine *co) { hold_deeper(co, 20); }

enum { N = 60 };
static coroutine *volatile table[N]; // a root
static struct alive_set set;
static gomem_weak weak_co[N], weak_stack[N];

ALIVE_NOINLINE static bool make_all(void) {
    ALIVE_DEEP;
    bool good = true;
    for (int i = 0; good && i < N; i++) {
        coroutine *co = co_new(hold, set.hidden[i]);
        good = co != NULL;
        table[i] = co;
        if (!good) break;
        weak_co[i] = gomem_weak_make(co);
        weak_stack[i] = gomem_weak_make(co->stack);
    }
    gap[0] = 1;
    return good;
}

ALIVE_NOINLINE static int count_weak(const gomem_weak *weak) {
    ALIVE_DEEP;
    int n = 0;
    for (int i = 0; i < N; i++) n += gomem_weak_get(weak[i]) != NULL;
    gap[0] = 1;
    return n;
}

ALIVE_NOINLINE static size_t count_held(int n) {
    ALIVE_DEEP;
    size_t alive = 0;
    for (int i = 0; i < n; i++) {
        const struct alive_node *node = alive_show(set.hidden[i]);
        alive += gomem_base(node) == node && node->check == alive_sum((size_t)i, set.hidden[i]);
    }
    gap[0] = 1;
    return alive;
}

// A mapping stands where the stack was?
static bool mapped(uintptr_t hidden) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t at = ~hidden & ~(page - 1);
    return msync((void *)at, page, MS_ASYNC) == 0;
}

// Coroutines whose own stack points at them: they live while the program has them, with what only
// their stack holds, and go when it has not.
static void check_life(void) {
    static uintptr_t bases[N];
    gomem_gc_hold();
    REQUIRE(alive_scatter(&set));
    REQUIRE(make_all());
    gomem_gc_unhold();
    for (int i = 0; i < N; i++) bases[i] = ~(uintptr_t)gomem_stack_base(table[i]->stack);
    for (int i = 0; i < 3; i++) {
        alive_gc();
        CHECK_EQ(count_held(N), N);
        CHECK_EQ(count_weak(weak_stack), N);
    }
    for (int i = 0; i < N; i++) co_resume(table[i]); // they run again
    alive_gc();
    CHECK_EQ(count_held(N), N);
    for (int i = 0; i < N; i++) table[i] = NULL;
    for (int i = 0; i < 3; i++) alive_gc();
    CHECK(count_weak(weak_co) < N / 4 && count_weak(weak_stack) < N / 4);
    CHECK(count_held(N) < N / 4);
    int still = 0;
    for (int i = 0; i < N; i++) still += mapped(bases[i]);
    CHECK(still < N / 2); // others may have been mapped there
}

TEST(told_at_each_switch) {
    NEEDS_SWITCH;
    by_slot = false;
    EACH_COLLECTOR check_life();
}

TEST(stack_pointer_in_the_object) {
    NEEDS_SWITCH;
    by_slot = true;
    EACH_COLLECTOR check_life();
    by_slot = false;
}

// A stack that a thread runs on stays, though nothing else has its handle.
static atomic_int ready, go;
static volatile uintptr_t running_handle;

static void spin(coroutine *co) {
    volatile uintptr_t mine = ~co->hidden;
    void *caller = co->caller;
    co->stack = NULL; // nobody has the handle now
    co = NULL;
    alive_clear_stack();
    atomic_store(&ready, 1);
    while (!atomic_load(&go)) sched_yield();
    void *ignored;
    if (mine == 0) abort();
    mine = 0;
    co_switch(&ignored, caller);
}

static void **spin_from, *spin_to;

ALIVE_NOINLINE static void prepare_spin(uintptr_t hidden) {
    ALIVE_DEEP;
    coroutine *co = GOMEM_NEW(coroutine);
    gomem_stack *stack = co ? gomem_stack_new(256 * 1024) : NULL;
    if (!CHECK(stack != NULL)) return;
    co->stack = stack;
    co->fn = spin;
    co->hidden = hidden;
    void **top = (void **)(void *)((char *)gomem_stack_base(stack) + gomem_stack_size(stack));
    *--top = NULL;
    void (*run)(void) = co_run;
    memcpy(--top, &run, sizeof run);
    starting = co;
    running_handle = alive_hide(stack);
    spin_from = &co->caller;
    spin_to = top - 6;
    gap[0] = 1;
}

static void *run_spin(void *hidden) {
    gomem_thread_attach();
    prepare_spin((uintptr_t)hidden);
    alive_clear_stack();
    co_switch(spin_from, spin_to);
    return NULL;
}

static void check_running(void) {
    pthread_t thread;
    REQUIRE(alive_chain(&set));
    atomic_store(&ready, 0);
    atomic_store(&go, 0);
    REQUIRE(pthread_create(&thread, NULL, run_spin, (void *)set.hidden[0]) == 0);
    while (!atomic_load(&ready)) sched_yield();
    for (int i = 0; i < 3; i++) {
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        CHECK(gomem_base(alive_show(running_handle)) == alive_show(running_handle));
    }
    atomic_store(&go, 1);
    pthread_join(thread, NULL);
}

TEST(running_on_it) {
    NEEDS_SWITCH;
    EACH_COLLECTOR check_running();
}

static struct alive_node *volatile ballast; // takes some time to mark

ALIVE_NOINLINE static void load_ballast(void) {
    ballast = NULL;
    for (int i = 0; i < 300000; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        if (!CHECK(node != NULL)) return;
        GOMEM_STORE(&node->next, ballast);
        GOMEM_STORE(&ballast, node);
    }
}

// What takes the place of nodes that were freed too early.
static void make_garbage(void) {
    for (int i = 0; i < 40; i++) {
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        if (node) node->index = UINTPTR_MAX;
    }
}

static struct alive_node *new_node(int i) {
    struct alive_node *node = GOMEM_NEW(struct alive_node);
    if (CHECK(node != NULL)) node->index = (uintptr_t)i;
    return node;
}

// Moved while a cycle marks: new objects that only a coroutine's stack has when it ends.
static void take_and_give(coroutine *co) {
    struct alive_node *volatile mine = NULL;
    for (;;) {
        struct alive_node *given = co->result;
        GOMEM_STORE(&co->result, (struct alive_node *)mine);
        mine = given;
        given = NULL;
        co_yield(co);
    }
}

enum { MOVES = 60000 }; // enough that a cycle ends at the wrong moment for some of them
static void check_moves(void) {
    load_ballast();
    gomem_gc_hold();
    for (int i = 0; i < N; i++) REQUIRE((table[i] = co_new(take_and_give, 0)) != NULL);
    gomem_gc_unhold();
    for (int i = 0; i < MOVES && test_failed() == 0; i++) {
        coroutine *co = table[i % N];
        make_garbage();
        GOMEM_STORE(&co->result, new_node(i));
        co_resume(co);
        if (i >= N) CHECK_EQ(co->result->index, i - N);
        GOMEM_STORE(&co->result, (struct alive_node *)NULL);
        if (i % 200 == 0) gomem_gc_start();
    }
    for (int i = 0; i < N; i++) table[i] = NULL;
    ballast = NULL;
}

TEST(what_moves_to_stacks) {
    NEEDS_SWITCH;
    EACH_COLLECTOR check_moves();
}

TEST(freed_by_hand) {
    for (int i = 0; i < 100; i++) {
        gomem_stack *s = gomem_stack_new((size_t)i * 1000);
        REQUIRE(s != NULL);
        char *base = gomem_stack_base(s);
        size_t size = gomem_stack_size(s);
        CHECK(base != NULL && size >= 32768 && size >= (size_t)i * 1000);
        base[0] = base[size - 1] = 1;
        CHECK(!gomem_remove_stack(base));
        gomem_stack_free(s);
        CHECK(gomem_stack_base(s) == NULL && gomem_stack_size(s) == 0);
        gomem_stack_free(s);
        if (i % 20 == 0) gomem_gc();
    }
    gomem_stack_free(NULL);
    CHECK(gomem_stack_new(SIZE_MAX) == NULL && errno == ENOMEM);
    CHECK(gomem_stack_new(SIZE_MAX / 4) == NULL && errno == ENOMEM);
}

// Many that are dropped at once do not use up the mappings of a process.
TEST(many_are_dropped) {
    for (int i = 0; i < 100000; i++) {
        gomem_stack *s = gomem_stack_new(32768);
        REQUIRE(s != NULL);
        *(volatile char *)gomem_stack_base(s) = 1;
    }
}

// ---- functions that know roots ----

static struct {
    void *volatile word[64];
    int calls;
} * hidden_table; // in malloc's memory: no root
static bool as_range;

static void name_roots(gomem_marker *m, void *arg) {
    CHECK(arg == &as_range);
    hidden_table->calls++;
    if (as_range) gomem_mark_range(m, (void *)hidden_table->word, (void *)&hidden_table->word[64]);
    else gomem_mark(m, hidden_table->word[2]);
}

ALIVE_NOINLINE static void fill_table(void) { hidden_table->word[2] = alive_show(set.hidden[0]); }

static void check_function(void) {
    for (int i = 0; i < 2; i++) {
        as_range = i;
        REQUIRE(alive_chain(&set));
        fill_table();
        CHECK(gomem_add_root_fn(name_roots, &as_range));
        hidden_table->calls = 0;
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        CHECK(hidden_table->calls >= 1);
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        CHECK(gomem_remove_root_fn(name_roots, &as_range));
        CHECK(!gomem_remove_root_fn(name_roots, &as_range) && errno == EINVAL);
        alive_gc();
        CHECK(alive_count(&set) <= ALIVE_FEW);
    }
}

TEST(functions_that_know_roots) {
    hidden_table = calloc(1, sizeof *hidden_table);
    EACH_COLLECTOR check_function();
    free((void *)hidden_table);
}

// What is stored there while a cycle marks is found in the finish stop.
static void check_moving(void) {
    enum { WORDS = sizeof hidden_table->word / sizeof hidden_table->word[0] };
    hidden_table = calloc(1, sizeof *hidden_table);
    as_range = true;
    CHECK(gomem_add_root_fn(name_roots, &as_range));
    load_ballast();
    for (int i = 0; i < MOVES && test_failed() == 0; i++) {
        make_garbage();
        const struct alive_node *old = hidden_table->word[i % WORDS];
        if (i >= WORDS) CHECK_EQ(old->index, i - WORDS);
        hidden_table->word[i % WORDS] = new_node(i);
        if (i % 200 == 0) gomem_gc_start();
    }
    CHECK(hidden_table->calls > 2);
    CHECK(gomem_remove_root_fn(name_roots, &as_range));
    free((void *)hidden_table);
    ballast = NULL;
}

TEST(roots_that_change_while_marking) { EACH_COLLECTOR check_moving(); }

TEST_MAIN
