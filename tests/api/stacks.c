// Roots that a thread carries: registers of every kind, the red zone, frames under blocking calls,
// alternate and registered stacks, the argument of a thread that has not run yet.
#define _GNU_SOURCE
#include "alive.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static struct alive_set set;
static atomic_int ready, go;
static uintptr_t held; // hidden address that the thread is to hold, moved by the offset under test

static void wait_for(atomic_int *flag) {
    while (!atomic_load(flag)) usleep(200);
}

// While `hold` runs on a thread of its own it keeps the address ~held in one place only; it sets
// `ready`, and forgets it when `go` is set. Once held, the chain must be alive; then dead.
static void *run_hold(void *hold) {
    void (*function)(void);
    memcpy(&function, hold, sizeof function);
    gomem_thread_attach();
    function();
    alive_clear_stack();
    atomic_store(&ready, 2);
    while (atomic_load(&go) < 2) usleep(200);
    return NULL;
}

static void check_hold(void (*hold)(void), intptr_t offset, bool keeps) {
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS && test_failed() == 0; round++) {
        pthread_t thread;
        if (!alive_fill(&set, offset ? alive_new_array : alive_new_plain, true)) return;
        held = ~(~set.hidden[0] + (uintptr_t)offset);
        atomic_store(&ready, 0);
        atomic_store(&go, 0);
        REQUIRE(pthread_create(&thread, NULL, run_hold, (void *)&hold) == 0);
        wait_for(&ready);
        for (int i = 0; i < 3; i++) {
            alive_gc();
            if (keeps) CHECK_EQ(alive_count(&set), ALIVE_N);
        }
        if (!keeps) died += alive_count(&set) <= ALIVE_FEW;
        atomic_store(&go, 1);
        while (atomic_load(&ready) < 2) usleep(200);
        alive_gc();
        if (keeps) died += alive_count(&set) <= ALIVE_FEW;
        atomic_store(&go, 2);
        pthread_join(thread, NULL);
    }
    CHECK(test_failed() > 0 || died >= ALIVE_ROUNDS / 2);
}

enum { PAST_END = sizeof(struct alive_node) };

#if defined __x86_64__

// void name(uintptr_t hidden, atomic_int *ready, atomic_int *go): a leaf that shows the address by
// `take` from %rdi, wipes %rdi, spins until *go, and wipes its place by `drop`.
#define HOLDER(name, enter, take, drop, leave)                                                    \
    __asm__(".text\n.p2align 4\n.globl " #name "\n.type " #name ", @function\n" #name ":\n" enter \
            "\n notq %rdi\n" take "\n xorl %edi, %edi\n movl $1, (%rsi)\n"                        \
            "1: pause\n cmpl $0, (%rdx)\n je 1b\n" drop "\n" leave "\n ret\n.size " #name         \
            ", .-" #name "\n");                                                                   \
    void name(uintptr_t hidden, atomic_int *ready_at, atomic_int *go_at);                         \
    static void use_##name(void) { name(held, &ready, &go); }

#define IN_GENERAL(reg) HOLDER(hold_##reg, "", "movq %rdi, %" #reg, "xorq %" #reg ", %" #reg, "")
#define IN_SAVED(reg)   HOLDER(hold_##reg, "pushq %" #reg, "movq %rdi, %" #reg, "", "popq %" #reg)
#define IN_VECTOR(reg)  HOLDER(hold_##reg, "", "movq %rdi, %" #reg, "pxor %" #reg ", %" #reg, "")

IN_GENERAL(rax)
IN_GENERAL(rcx)
IN_GENERAL(r8)
IN_GENERAL(r9)
IN_GENERAL(r10)
IN_GENERAL(r11)
IN_SAVED(rbx)
IN_SAVED(rbp)
IN_SAVED(r12)
IN_SAVED(r13)
IN_SAVED(r14)
IN_SAVED(r15)
IN_VECTOR(xmm0)
IN_VECTOR(xmm7)
IN_VECTOR(xmm15)
HOLDER(hold_xmm_high, "", "movq %rdi, %xmm9\n pslldq $8, %xmm9", "pxor %xmm9, %xmm9", "")
HOLDER(hold_ymm_high, "",
       "movq %rdi, %xmm6\n vinserti128 $1, %xmm6, %ymm6, %ymm6\n pxor %xmm6, %xmm6",
       "vpxor %ymm6, %ymm6, %ymm6\n vzeroupper", "")
HOLDER(hold_zmm_high, "",
       "movq %rdi, %xmm6\n vinserti64x4 $1, %ymm6, %zmm6, %zmm6\n vmovdqa64 %zmm6, %zmm6\n"
       " pxor %xmm6, %xmm6",
       "vpxorq %zmm6, %zmm6, %zmm6\n vzeroupper", "")
HOLDER(hold_zmm31, "", "vmovq %rdi, %xmm31", "vpxorq %zmm31, %zmm31, %zmm31\n vzeroupper", "")
HOLDER(hold_red_zone, "", "movq %rdi, -8(%rsp)", "movq $0, -8(%rsp)", "")
HOLDER(hold_red_zone_end, "", "movq %rdi, -128(%rsp)", "movq $0, -128(%rsp)", "")
HOLDER(hold_stack_top, "pushq $0", "movq %rdi, (%rsp)", "movq $0, (%rsp)", "popq %rax")

TEST(general_registers) {
    check_hold(use_hold_rax, 0, true);
    check_hold(use_hold_rcx, 0, true);
    check_hold(use_hold_r8, 0, true);
    check_hold(use_hold_r9, 0, true);
    check_hold(use_hold_r10, 0, true);
    check_hold(use_hold_r11, 0, true);
}

TEST(saved_registers) {
    check_hold(use_hold_rbx, 0, true);
    check_hold(use_hold_rbp, 0, true);
    check_hold(use_hold_r12, 0, true);
    check_hold(use_hold_r13, 0, true);
    check_hold(use_hold_r14, 0, true);
    check_hold(use_hold_r15, 0, true);
}

TEST(vector_registers) {
    check_hold(use_hold_xmm0, 0, true);
    check_hold(use_hold_xmm7, 0, true);
    check_hold(use_hold_xmm15, 0, true);
    check_hold(use_hold_xmm_high, 0, true);
}

TEST(wide_vector_registers) {
    if (!__builtin_cpu_supports("avx2")) SKIP("this processor has no AVX2");
    check_hold(use_hold_ymm_high, 0, true);
}

TEST(widest_vector_registers) {
    if (!__builtin_cpu_supports("avx512f")) SKIP("this processor has no AVX-512");
    check_hold(use_hold_zmm_high, 0, true);
    check_hold(use_hold_zmm31, 0, true);
}

TEST(red_zone) {
    check_hold(use_hold_red_zone, 0, true);
    check_hold(use_hold_red_zone_end, 0, true);
}

TEST(top_of_the_stack) { check_hold(use_hold_stack_top, 0, true); }

// One past the end keeps an object, from registers and stacks.
TEST(one_past_the_end) {
    check_hold(use_hold_rax, PAST_END, true);
    check_hold(use_hold_rbx, PAST_END, true);
    check_hold(use_hold_xmm15, PAST_END, true);
    check_hold(use_hold_red_zone, PAST_END, true);
    check_hold(use_hold_stack_top, PAST_END, true);
}

TEST(interior_in_registers) {
    for (intptr_t offset = 1; offset < PAST_END; offset += 6) {
        check_hold(use_hold_r11, offset, true);
        check_hold(use_hold_xmm7, offset, true);
    }
}

// The place is what keeps: the same leaf without a pointer keeps nothing.
HOLDER(hold_nothing, "", "", "", "")

TEST(no_register_keeps_nothing) { check_hold(use_hold_nothing, 0, false); }

// A saved register while C code below parks: call_with(hidden, fn) holds the address in %rbx
// across fn().
__asm__(".text\n.p2align 4\n.globl call_with\n.type call_with, @function\ncall_with:\n"
        " pushq %rbx\n notq %rdi\n movq %rdi, %rbx\n xorl %edi, %edi\n call *%rsi\n"
        " xorl %ebx, %ebx\n popq %rbx\n ret\n.size call_with, .-call_with\n");
void call_with(uintptr_t hidden, void (*fn)(void));

static void park_in_sleep(void) {
    atomic_store(&ready, 1);
    wait_for(&go);
}

static void park_in_region(void) {
    gomem_blocking_begin();
    alive_clear_stack(); // what the call saved below its frame is gone
    atomic_store(&ready, 1);
    wait_for(&go);
    gomem_blocking_end();
}

static void park_in_deep_region(void) {
    volatile char frame[5000];
    frame[0] = frame[4999] = 0;
    park_in_region();
    frame[1] = 0;
}

// Stops fall into the library's own waits and sections.
static void park_in_collections(void) {
    atomic_store(&ready, 1);
    while (!atomic_load(&go)) gomem_gc();
}

static void park_in_allocations(void) {
    atomic_store(&ready, 1);
    for (size_t i = 0; !atomic_load(&go); i++) {
        gomem_free(gomem_malloc(i % 50000));
        if (gomem_new(i % 3000) == NULL) break;
    }
}

static void park_in_regions(void) {
    atomic_store(&ready, 1);
    while (!atomic_load(&go)) {
        gomem_blocking_begin();
        sched_yield();
        gomem_blocking_end();
    }
}

static void hold_across_collections(void) { call_with(held, park_in_collections); }

static void hold_across_allocations(void) { call_with(held, park_in_allocations); }

static void hold_across_regions(void) { call_with(held, park_in_regions); }

static void hold_across_sleep(void) { call_with(held, park_in_sleep); }

static void hold_across_region(void) { call_with(held, park_in_region); }

static void hold_across_deep_region(void) { call_with(held, park_in_deep_region); }

TEST(saved_register_across_a_call) { check_hold(hold_across_sleep, 0, true); }

TEST(saved_register_across_a_blocking_region) {
    check_hold(hold_across_region, 0, true);
    check_hold(hold_across_deep_region, 0, true);
    check_hold(hold_across_region, PAST_END, true);
    check_hold(hold_across_regions, 0, true);
}

TEST(saved_register_across_collections) { check_hold(hold_across_collections, 0, true); }

TEST(saved_register_across_allocations) { check_hold(hold_across_allocations, 0, true); }

#else

TEST(registers) { SKIP("written for x86-64 only"); }

#endif

ALIVE_NOINLINE static void take(volatile uintptr_t *slot) { *slot = ~held; }

// A local in a frame that is parked in a blocking region.
static void hold_in_parked_frame(void) {
    volatile uintptr_t local;
    take(&local);
    alive_clear_stack();
    gomem_blocking_begin();
    atomic_store(&ready, 1);
    wait_for(&go);
    gomem_blocking_end();
    local = 0;
}

static void hold_in_deep_frame(void) {
    volatile uintptr_t local;
    take(&local);
    volatile char below[100000];
    memset((char *)(uintptr_t)below, 0, sizeof below);
    atomic_store(&ready, 1);
    wait_for(&go);
    local = below[17] != 0;
}

TEST(parked_frame) {
    check_hold(hold_in_parked_frame, 0, true);
    check_hold(hold_in_parked_frame, PAST_END, true);
    check_hold(hold_in_parked_frame, 5, true);
}

TEST(deep_frame) { check_hold(hold_in_deep_frame, 0, true); }

// Below the stack pointer (and the red zone) nothing is live.
ALIVE_NOINLINE static void leave_below(void) {
    volatile uintptr_t frame[500];
    memset((void *)(uintptr_t)frame, 0, sizeof frame);
    take(&frame[10]);
    __asm__ volatile("" : : "r"(frame) : "memory");
}

static void hold_below_the_stack(void) {
    leave_below();
    gomem_blocking_begin();
    atomic_store(&ready, 1);
    while (!atomic_load(&go)) sched_yield();
    gomem_blocking_end();
}

TEST(below_the_stack_pointer) { check_hold(hold_below_the_stack, 0, false); }

// Thread-local storage of a thread that is parked.
static _Thread_local volatile uintptr_t in_tls;

static void hold_in_tls_parked(void) {
    take(&in_tls);
    alive_clear_stack();
    gomem_blocking_begin();
    atomic_store(&ready, 1);
    wait_for(&go);
    gomem_blocking_end();
    in_tls = 0;
}

TEST(tls_of_a_parked_thread) { check_hold(hold_in_tls_parked, 0, true); }

static void *map_stack(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return CHECK(p != MAP_FAILED) ? p : NULL;
}

enum { STACK = 256 * 1024 };
static bool on_handler_frame;

static void handler(int number) {
    (void)number;
    volatile uintptr_t local = 0;
    if (on_handler_frame) take(&local);
    atomic_store(&ready, 1);
    while (!atomic_load(&go)) sched_yield();
    local = 0;
}

// A thread in a handler on its alternate stack: both its stacks are scanned.
static void hold_with_alternate_stack(void) {
    void *stack = map_stack(STACK);
    stack_t alternate = {.ss_sp = stack, .ss_size = STACK}, old;
    struct sigaction action, old_action;
    volatile uintptr_t local = 0;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_ONSTACK;
    CHECK(sigaltstack(&alternate, &old) == 0);
    CHECK(sigaction(SIGUSR1, &action, &old_action) == 0);
    if (!on_handler_frame) take(&local);
    alive_clear_stack();
    raise(SIGUSR1);
    local = 0;
    sigaction(SIGUSR1, &old_action, NULL);
    sigaltstack(&old, NULL);
    munmap(stack, STACK);
}

TEST(normal_stack_under_an_alternate_one) {
    on_handler_frame = false;
    check_hold(hold_with_alternate_stack, 0, true);
}

TEST(alternate_stack) {
    on_handler_frame = true;
    check_hold(hold_with_alternate_stack, 0, true);
}

// A handler on the normal stack, which interrupted a frame that holds.
static void hold_under_handler(void) {
    struct sigaction action, old_action;
    volatile uintptr_t local = 0;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    CHECK(sigaction(SIGUSR1, &action, &old_action) == 0);
    if (!on_handler_frame) take(&local);
    alive_clear_stack();
    raise(SIGUSR1);
    local = 0;
    sigaction(SIGUSR1, &old_action, NULL);
}

TEST(handler_on_the_normal_stack) {
    on_handler_frame = false;
    check_hold(hold_under_handler, 0, true);
    on_handler_frame = true;
    check_hold(hold_under_handler, 0, true);
}

#ifndef __GLIBC__ // musl declares them and has none
#define NEEDS_CONTEXTS              SKIP("this C library has no swapcontext")
#define swapcontext(from, to)       ((void)(from), (void)(to))
#define makecontext(context, fn, n) ((void)(fn))
#define getcontext(context)         0
#elif defined TEST_TSAN
#define NEEDS_CONTEXTS SKIP("ThreadSanitizer does not follow swapcontext")
#else
#define NEEDS_CONTEXTS (void)0
#endif

// A coroutine: main_context runs the test, co_context a stack of its own.
static ucontext_t main_context, co_context;
static char *co_stack;
static volatile uintptr_t *co_slot;
static const void *co_sp;
static bool co_spins; // hold on the running coroutine, not on a parked one

ALIVE_NOINLINE static void co_yield(void) {
    volatile char here = 0;
    co_sp = (const void *)(uintptr_t)((uintptr_t)&here - 512); // swapcontext needs a little more
    swapcontext(&co_context, &main_context);
    (void)here;
}

ALIVE_NOINLINE static void co_main(void) {
    volatile uintptr_t local = 0;
    co_slot = &local;
    if (co_spins) {
        take(&local);
        atomic_store(&ready, 1);
        while (!atomic_load(&go)) sched_yield();
        local = 0;
    } else {
        co_yield();
    }
}

ALIVE_NOINLINE static bool co_start(void) {
    co_stack = map_stack(STACK);
    if (co_stack == NULL || !CHECK(getcontext(&co_context) == 0)) return false;
    co_context.uc_stack.ss_sp = co_stack;
    co_context.uc_stack.ss_size = STACK;
    co_context.uc_link = &main_context;
    makecontext(&co_context, co_main, 0);
    return true;
}

static void co_end(void) {
    swapcontext(&main_context, &co_context);
    munmap(co_stack, STACK);
}

TEST(registered_stack) {
    NEEDS_CONTEXTS;
    co_spins = false;
    REQUIRE(co_start());
    CHECK(gomem_add_stack(co_stack, co_stack + STACK));
    swapcontext(&main_context, &co_context);
    alive_check_slot(co_slot, 0);
    alive_check_slot(co_slot, PAST_END);
    alive_check_slot((volatile uintptr_t *)(void *)(co_stack + 64),
                     0); // no word about parked: whole
    gomem_stack_parked(co_stack, co_sp);
    alive_check_slot(co_slot, 0);
    alive_check_slot(co_slot, PAST_END);
    alive_check_no_slot((volatile uintptr_t *)(void *)(co_stack + 64));
    CHECK(gomem_remove_stack(co_stack));
    alive_check_no_slot(co_slot);
    CHECK(!gomem_remove_stack(co_stack));
    co_end();
}

// The thread stands on a registered stack; what it holds there and on its own stack lives.
static void hold_on_running_coroutine(void) {
    co_spins = true;
    if (!co_start()) return;
    CHECK(gomem_add_stack(co_stack, co_stack + STACK));
    swapcontext(&main_context, &co_context);
    CHECK(gomem_remove_stack(co_stack));
    munmap(co_stack, STACK);
}

// What the thread's own frame holds lives while hold_on holds nothing.
static void hold_under(void (*hold_on)(void)) {
    volatile uintptr_t local = 0;
    uintptr_t mine = held;
    take(&local);
    held = ~(uintptr_t)0;
    hold_on();
    held = mine;
    local = 0;
}

static void hold_under_running_coroutine(void) { hold_under(hold_on_running_coroutine); }

TEST(running_on_a_registered_stack) {
    NEEDS_CONTEXTS;
    check_hold(hold_on_running_coroutine, 0, true);
}

TEST(own_stack_while_on_a_registered_one) {
    NEEDS_CONTEXTS;
    check_hold(hold_under_running_coroutine, 0, true);
}

// A coroutine that was parked runs again, goes deeper and is left without a word: what it holds
// there lives, whichever way its frames look.
enum { DEEP_PLAIN, DEEP_LARGE };
static int deep_kind;
static bool deep_tells;

// swapcontext saves the registers that arguments are passed in.
ALIVE_NOINLINE static void clear_arguments(long a, long b, long c, long d, long e, long f) {
    __asm__ volatile("" : : "r"(a), "r"(b), "r"(c), "r"(d), "r"(e), "r"(f));
}

ALIVE_NOINLINE static void deep_leave(void) {
    volatile uintptr_t local;
    take(&local);
    clear_arguments(0, 0, 0, 0, 0, 0);
    if (deep_tells) gomem_stack_parked(co_stack, __builtin_frame_address(0));
    swapcontext(&co_context, &main_context);
    local = 0;
}

ALIVE_NOINLINE static void deep_down(int n) {
    volatile char frame[300]; // most of it is never written
    frame[0] = 0;
    if (n) deep_down(n - 1);
    else deep_leave();
    (void)frame[0];
}

ALIVE_NOINLINE static void deep_large(void) {
    volatile char frame[3000]; // none of it is
    __asm__ volatile("" : : "r"(frame));
    deep_leave();
    __asm__ volatile("" : : "r"(frame));
}

static void deep_main(void) {
    for (;;) {
        gomem_stack_parked(co_stack, __builtin_frame_address(0));
        swapcontext(&co_context, &main_context);
        if (deep_kind == DEEP_PLAIN) deep_down(30);
        else deep_large();
    }
}

static void check_deep(int kind, bool tells) {
    int died = 0;
    REQUIRE(co_start());
    makecontext(&co_context, deep_main, 0);
    CHECK(gomem_add_stack(co_stack, co_stack + STACK));
    deep_kind = kind;
    deep_tells = tells;
    for (int round = 0; round < ALIVE_ROUNDS && test_failed() == 0; round++) {
        REQUIRE(alive_chain(&set));
        held = set.hidden[0];
        swapcontext(&main_context, &co_context); // parked
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW; // nobody has it yet
        REQUIRE(alive_chain(&set));
        held = set.hidden[0];
        swapcontext(&main_context, &co_context); // deep
        for (int i = 0; i < 3; i++) {
            alive_gc();
            CHECK_EQ(alive_count(&set), ALIVE_N);
        }
    }
    CHECK(test_failed() > 0 || died >= ALIVE_ROUNDS / 2);
    CHECK(gomem_remove_stack(co_stack));
    munmap(co_stack, STACK);
}

TEST(parked_runs_again_and_is_left_deeper) {
    NEEDS_CONTEXTS;
    check_deep(DEEP_PLAIN, false);
    check_deep(DEEP_LARGE, false);
}

TEST(parked_again_and_again) {
    NEEDS_CONTEXTS;
    check_deep(DEEP_PLAIN, true);
    check_deep(DEEP_LARGE, true);
}

// The program says where it keeps the stack pointer: nothing need be called at a switch.
TEST(stack_pointer_in_a_field) {
    NEEDS_CONTEXTS;
    static const void *volatile field;
    co_spins = false;
    REQUIRE(co_start());
    CHECK(gomem_add_stack(co_stack, co_stack + STACK));
    swapcontext(&main_context, &co_context);
    field = co_sp;
    gomem_stack_saved_at(co_stack, (const void *)(uintptr_t)&field);
    volatile uintptr_t *low = (volatile uintptr_t *)(void *)(co_stack + 64);
    alive_check_slot(co_slot, 0);
    alive_check_no_slot(low);
    field = co_stack + 64; // deeper
    alive_check_slot(low, 0);
    field = NULL; // not known: whole
    alive_check_slot(low, 0);
    alive_check_slot(co_slot, 0);
    gomem_stack_saved_at(co_stack, NULL);
    gomem_stack_parked(co_stack, co_sp);
    alive_check_no_slot(low);
    gomem_stack_parked(co_stack, NULL);
    alive_check_slot(low, 0);
    CHECK(gomem_remove_stack(co_stack));
    co_end();
}

// A handler on an alternate stack interrupts a coroutine that was parked before and is deep now.
static void interrupted_main(void) {
    gomem_stack_parked(co_stack, __builtin_frame_address(0));
    swapcontext(&co_context, &main_context);
    volatile uintptr_t local;
    volatile char frame[20000];
    frame[0] = 0;
    take(&local);
    atomic_store(&ready, 0);
    clear_arguments(0, 0, 0, 0, 0, 0);
    raise(SIGUSR1);
    local = frame[0];
}

static void hold_on_interrupted_coroutine(void) {
    char *alternate_stack = map_stack(STACK);
    if (alternate_stack == NULL || !co_start()) return;
    stack_t alternate = {.ss_sp = alternate_stack, .ss_size = STACK}, old;
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK}, old_action;
    on_handler_frame = false;
    CHECK(sigaltstack(&alternate, &old) == 0);
    CHECK(sigaction(SIGUSR1, &action, &old_action) == 0);
    makecontext(&co_context, interrupted_main, 0);
    CHECK(gomem_add_stack(co_stack, co_stack + STACK));
    swapcontext(&main_context, &co_context);
    swapcontext(&main_context, &co_context);
    CHECK(gomem_remove_stack(co_stack));
    sigaction(SIGUSR1, &old_action, NULL);
    sigaltstack(&old, NULL);
    munmap(co_stack, STACK);
    munmap(alternate_stack, STACK);
}

static void hold_under_interrupted_coroutine(void) { hold_under(hold_on_interrupted_coroutine); }

TEST(handler_above_a_coroutine) {
    NEEDS_CONTEXTS;
    check_hold(hold_on_interrupted_coroutine, 0, true);
    check_hold(hold_under_interrupted_coroutine, 0, true);
}

// One past the end of an array keeps it, whichever door it came through and whatever lies behind.
enum { WORDS = 8, ARRAYS = 60 };
typedef struct row {
    uintptr_t word[WORDS];
} row;
typedef struct wide {
    uintptr_t word[16];
} wide;
typedef struct tail {
    size_t n;
    uintptr_t word[];
} tail;
GOMEM_TYPE(row_type, row, word);
GOMEM_TYPE_FLEX(tail_type, tail, word);

static void *by_new(size_t *bytes) { return gomem_new(*bytes); }
static void *by_new_noscan(size_t *bytes) { return gomem_new_noscan(*bytes); }
static void *by_make(size_t *bytes) { return GOMEM_MAKE(char, *bytes); }
static void *by_make_constant(size_t *bytes) { return GOMEM_MAKE(uintptr_t, *bytes > 0 ? 8 : 8); }
static void *by_make_one(size_t *bytes) { return GOMEM_MAKE(row, *bytes / sizeof(row)); }
static void *by_make_noscan(size_t *bytes) { return GOMEM_MAKE_NOSCAN(char, *bytes); }
static void *by_make_typed(size_t *bytes) {
    return GOMEM_MAKE_TYPED(row, &row_type, *bytes / sizeof(row));
}
static void *by_flex(size_t *bytes) {
    return GOMEM_NEW_FLEX(tail, word, *bytes / sizeof(uintptr_t) - 1);
}
static void *by_flex_typed(size_t *bytes) {
    return GOMEM_NEW_FLEX_TYPED(tail, &tail_type, word, *bytes / sizeof(uintptr_t) - 1);
}
static void *by_new_with(size_t *bytes) { return gomem_new_with(*bytes, 0, GOMEM_NOSCAN); }
static void *by_alignment(size_t *bytes) { return gomem_new_with(*bytes, *bytes, 0); }
static void *by_growing(size_t *bytes) { return gomem_realloc(gomem_new(3), *bytes); }
static void *by_shrinking(size_t *bytes) { return gomem_realloc(gomem_new(1000), *bytes); }
static void *by_resize(size_t *bytes) {
    return GOMEM_RESIZE(row, GOMEM_MAKE_TYPED(row, &row_type, 9), *bytes / sizeof(row));
}
static void *by_large(size_t *bytes) {
    *bytes = 65536;
    return gomem_new_noscan(*bytes);
}
static void *by_growing_large(size_t *bytes) {
    *bytes = 65536;
    return gomem_realloc(gomem_new_noscan(40000), *bytes);
}
static void *by_one_wide(size_t *bytes) {
    *bytes = sizeof(wide);
    return GOMEM_NEW(wide);
}
static void *by_hint(size_t *bytes) { return GOMEM_HINT(char, *bytes, true); }
static void *by_escape(size_t *bytes) {
    char local[64] = "";
    return GOMEM_ESCAPE(local, *bytes);
}

ALIVE_NOINLINE static void fill_arrays(void *(*make)(size_t *), uintptr_t *hidden, size_t *bytes) {
    ALIVE_DEEP;
    for (int i = 0; i < ARRAYS; i++) {
        *bytes = sizeof(row);
        hidden[i] = alive_hide(make(bytes));
    }
    gap[0] = 1;
}

ALIVE_NOINLINE static int arrays_alive(const uintptr_t *hidden, int from, int step) {
    ALIVE_DEEP;
    int n = 0;
    for (int i = from; i < ARRAYS; i += step)
        n += gomem_base(alive_show(hidden[i])) == alive_show(hidden[i]);
    gap[0] = 1;
    return n;
}

ALIVE_NOINLINE static void check_past(void *(*make)(size_t *), const char *name) {
    static uintptr_t hidden[ARRAYS];
    volatile uintptr_t ends[ARRAYS / 3];
    size_t bytes = 0;
    gomem_gc_hold();
    fill_arrays(make, hidden, &bytes);
    for (int i = 0; i < ARRAYS / 3; i++) ends[i] = ~hidden[3 * i] + bytes; // the others die
    gomem_gc_unhold();
    for (int round = 0; round < 2; round++) {
        alive_gc();
        if (!CHECK_EQ(arrays_alive(hidden, 0, 3), ARRAYS / 3)) printf(" %s", name);
    }
    if (!CHECK(arrays_alive(hidden, 1, 3) < ARRAYS / 6)) printf(" %s", name);
    for (int i = 0; i < ARRAYS / 3; i++) CHECK_EQ(ends[i], ~hidden[3 * i] + bytes);
}

TEST(one_past_the_end_of_arrays) {
#define PAST(door) check_past(door, #door)
    PAST(by_new);
    PAST(by_new_noscan);
    PAST(by_make);
    PAST(by_make_constant);
    PAST(by_make_one);
    PAST(by_make_noscan);
    PAST(by_make_typed);
    PAST(by_flex);
    PAST(by_flex_typed);
    PAST(by_new_with);
    PAST(by_alignment);
    PAST(by_growing);
    PAST(by_shrinking);
    PAST(by_resize);
    PAST(by_large);
    PAST(by_growing_large);
    PAST(by_one_wide);
    PAST(by_hint);
    PAST(by_escape);
}

// The start of an object on the stack keeps that one, not its lower neighbour.
ALIVE_NOINLINE static void fill_pairs(uintptr_t *hidden) {
    ALIVE_DEEP;
    for (int i = 0; i < ARRAYS; i++) hidden[i] = alive_hide(GOMEM_NEW(struct alive_node));
    gap[0] = 1;
}

TEST(lower_neighbours_die) {
    static uintptr_t hidden[ARRAYS];
    volatile uintptr_t starts[ARRAYS / 2];
    fill_pairs(hidden);
    for (int i = 0; i < ARRAYS / 2; i++) starts[i] = ~hidden[2 * i + 1];
    alive_gc();
    CHECK_EQ(arrays_alive(hidden, 1, 2), ARRAYS / 2);
    CHECK(arrays_alive(hidden, 0, 2) < ARRAYS / 8);
    for (int i = 0; i < ARRAYS / 2; i++) CHECK_EQ(starts[i], ~hidden[2 * i + 1]);
}

// Values of pthread_setspecific, also beyond the first 32 keys.
static pthread_key_t keys[70];
static int key_of_test;

static void hold_in_specific(void) {
    CHECK(pthread_setspecific(keys[key_of_test], (void *)~held) == 0);
    alive_clear_stack();
    atomic_store(&ready, 1);
    wait_for(&go);
    CHECK(pthread_setspecific(keys[key_of_test], NULL) == 0);
}

TEST(thread_specific_values) {
#ifdef __GLIBC__
    enum { N = sizeof keys / sizeof *keys };
    for (int i = 0; i < N; i++) REQUIRE(pthread_key_create(&keys[i], NULL) == 0);
    for (key_of_test = 0; key_of_test < N; key_of_test += 23) check_hold(hold_in_specific, 0, true);
    for (int i = 0; i < N; i++) pthread_key_delete(keys[i]);
#else
    SKIP("only glibc's tables are known");
#endif
}

// Many stacks come and go.
TEST(many_registered_stacks) {
    enum { N = 200, SIZE = 16384 };
    char *area = map_stack((size_t)N * SIZE);
    REQUIRE(area != NULL);
    for (size_t i = 0; i < N; i++) CHECK(gomem_add_stack(area + i * SIZE, area + (i + 1) * SIZE));
    for (size_t i = 0; i < N; i += 2)
        gomem_stack_parked(area + i * SIZE, area + i * SIZE + SIZE / 2);
    for (size_t i = 0; i < N; i += 29) {
        volatile uintptr_t *low = (void *)(area + i * SIZE + 8);
        volatile uintptr_t *high = (void *)(area + i * SIZE + SIZE - 8);
        alive_check_slot(high, 0);
        if (i % 2 == 0) alive_check_no_slot(low);
        else alive_check_slot(low, 0);
    }
    for (size_t i = N; i-- > 0;) CHECK(gomem_remove_stack(area + i * SIZE));
    alive_check_no_slot((volatile uintptr_t *)(void *)(area + SIZE - 8));
    munmap(area, (size_t)N * SIZE);
    alive_gc();
}

// The argument of gomem_thread_create is kept before the thread has run: on one processor, the
// creator collects first.
static void *check_argument(void *arg) {
    size_t length = 0;
    for (struct alive_node *node = arg; node != NULL; node = node->next) {
        if (node->index != length || node->check != alive_sum(length, alive_hide(node))) break;
        length++;
    }
    CHECK_EQ(length, ALIVE_N);
    return NULL;
}

ALIVE_NOINLINE static bool create_with_argument(pthread_t *thread) {
    bool good = CHECK(
        gomem_thread_create(thread, NULL, check_argument, alive_show(set.hidden[0])) == 0);
    alive_clear_stack();
    return good;
}

TEST(argument_of_a_new_thread) {
    cpu_set_t one, all;
    CPU_ZERO(&one);
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && CPU_COUNT(&one) == 0) CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    for (int round = 0; round < 40; round++) {
        pthread_t thread;
        if (!alive_chain(&set) || !create_with_argument(&thread)) break;
        alive_gc();
        for (int i = 0; i < 300; i++) alive_new_plain();
        pthread_join(thread, NULL);
    }
    sched_setaffinity(0, sizeof all, &all);
}

TEST_MAIN
