// Programs that hold objects in many ways, or leak them. The first argument names one. With LINKED,
// objects come from gomem, and four programs hold them in memory that only gomem has. run.sh says
// what each one leaks, and compares with LeakSanitizer and valgrind.
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined LINKED
#include "gomem.h"
#define NEW(size)  gomem_malloc(size)
#define FREE(p)    gomem_free(p)
#define START(...) gomem_thread_create(__VA_ARGS__)
#else
#define NEW(size)  malloc(size)
#define FREE(p)    free(p)
#define START(...) pthread_create(__VA_ARGS__)
#endif
#define NOINLINE __attribute__((noinline))

struct node {
    struct node *next;
    long value[5];
};

static struct node *volatile kept;

// A node; nothing of its address stays in a register or on the stack.
static NOINLINE struct node *node(struct node *next) {
    struct node *n = NEW(sizeof *n);
    memset(n, 0, sizeof *n);
    n->next = next;
    return n;
}

// Overwrites what calls have left on the stack below.
static NOINLINE void clear(void) {
    volatile char below[16 * 1024];
    for (size_t i = 0; i < sizeof below; i++) below[i] = 0;
    __asm__ volatile("" : : "r"(below) : "memory", "rbx", "rdi", "rsi", "cc");
}

static NOINLINE struct node *list(int n) {
    struct node *first = NULL;
    while (n--) first = node(first);
    return first;
}

// ---- objects that are held ----

static NOINLINE void in_a_list(void) { kept = list(5); }

// By the middle of each object, as with multiple inheritance.
static NOINLINE void by_the_middle(void) {
    static long *volatile at[3];
    for (int i = 0; i < 3; i++) at[i] = &node(NULL)->value[i + 1];
}

// By the last byte.
static NOINLINE void by_the_last_byte(void) {
    static char *volatile at;
    at = (char *)NEW(64) + 63;
}

static _Thread_local struct node *volatile mine;
static NOINLINE void in_tls(void) { mine = list(3); }

// With a bit in the lowest digits, as many trees tag their links.
static NOINLINE void tagged_low(void) { kept = (struct node *)((uintptr_t)list(2) | 1); }

// In memory that a thread blocks with: its stack, and its registers.
static atomic_int ready;
static int ends[2];
static void *holds_on_stack(void *arg) {
    struct node *volatile here = list(2);
    char byte;
    (void)arg;
    atomic_store(&ready, 1);
    while (read(ends[0], &byte, 1) > 0 && here) {}
    return NULL;
}
static NOINLINE void wait_ready(void) {
    while (!atomic_load(&ready)) usleep(1000);
    usleep(20000);
}
static NOINLINE void on_a_blocked_stack(void) {
    pthread_t thread;
    if (pipe(ends) || START(&thread, NULL, holds_on_stack, NULL)) _exit(2);
    wait_ready();
}

static void *holds_in_register(void *arg) {
    (void)arg;
#if defined(__x86_64__)
    struct node *only = list(2);
    clear();
    // sets the flag, then calls pause() forever, with the pointer in r12 alone
    __asm__ volatile("movq %0, %%r12\n\txorl %k0, %k0\n\tmovl $1, (%1)\n"
                     "1:\tmovl $34, %%eax\n\tsyscall\n\tjmp 1b"
                     : "+r"(only)
                     : "r"(&ready)
                     : "rax", "rcx", "r11", "r12", "memory");
#else
    struct node *volatile only = list(2);
    atomic_store(&ready, 1);
    for (; only;) pause();
#endif
    return NULL;
}
static NOINLINE void in_a_register(void) {
    pthread_t thread;
    if (START(&thread, NULL, holds_in_register, NULL)) _exit(2);
    wait_ready();
}

// The argument of a thread, whose own frames drop it.
static void *drops_argument(void *arg) {
    struct node *volatile *cell = arg;
    atomic_store(&ready, cell != NULL);
    for (;;) pause();
}
static NOINLINE void as_an_argument(void) {
    pthread_t thread;
    struct node **cell = NEW(sizeof *cell);
    *cell = list(2);
    if (START(&thread, NULL, drops_argument, cell)) _exit(2);
    wait_ready();
}

// What a thread has returned, until it is joined.
static void *returns(void *arg) {
    (void)arg;
    return list(2);
}
static NOINLINE void as_a_result(void) {
    pthread_t thread;
    if (START(&thread, NULL, returns, NULL)) _exit(2);
    usleep(50000);
}

// Threads that have ended leave stacks and vectors of modules that libc keeps.
static void *ends_at_once(void *arg) { return arg; }
static NOINLINE void after_many_threads(void) {
    pthread_t thread[20];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 20; i++)
            if (START(&thread[i], NULL, ends_at_once, NULL)) _exit(2);
        for (int i = 0; i < 20; i++) pthread_join(thread[i], NULL);
    }
}

// Values of keys, beyond those that lie in libc's record of a thread.
static NOINLINE void as_values_of_keys(void) {
    for (int i = 0; i < 100; i++) {
        pthread_key_t key;
        if (pthread_key_create(&key, NULL)) _exit(2);
        if (i % 20 == 10) pthread_setspecific(key, list(1));
    }
}

// What libc itself allocates: buffers, the environment, exit handlers with arguments.
static void exits(int status, void *arg) {
    (void)status;
    FREE(arg);
}
static NOINLINE void in_libc(void) {
    static char name[16];
    FILE *file = tmpfile();
    for (int i = 0; i < 40; i++) on_exit(exits, list(1));
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof name, "NAME_%d", i);
        setenv(name, "value", 1);
    }
    if (file) fputs("text", file);
}

// A jump buffer holds registers, the stack pointer mangled.
static jmp_buf place;
static NOINLINE void in_a_jump_buffer(void) {
    register struct node *n = list(1);
    if (!setjmp(place)) kept = n;
}

// Freed objects lie in caches, and are no leaks: more than a magazine, and a few.
static NOINLINE void freed(void) {
    static void *p[3000];
    for (int i = 0; i < 3000; i++) p[i] = NEW((size_t)(i % 20) * 40 + 8);
    for (int i = 0; i < 3000; i++) FREE(p[i]);
    memset(p, 0, sizeof p);
}
static void *frees(void *arg) {
    freed();
    atomic_store(&ready, 1);
    for (;;) pause();
    return arg;
}
static NOINLINE void freed_by_another_thread(void) {
    pthread_t thread;
    if (START(&thread, NULL, frees, NULL)) _exit(2);
    wait_ready();
}

// ---- objects that leak ----

static NOINLINE void leaks_list(void) { (void)!list(5); }

static NOINLINE void leaks_ring(void) {
    struct node *first = list(3);
    first->next->next->next = first;
}

static NOINLINE void leaks_itself(void) {
    struct node *n = node(NULL);
    n->next = n;
}

// A chain whose second object is held: only the first is lost.
static NOINLINE void leaks_head(void) {
    struct node *first = list(4);
    kept = first->next;
}

// A global that held the list was cleared.
static NOINLINE void leaks_global(void) {
    kept = list(4);
    kept = NULL;
}

// One past the end is no pointer into the object.
static NOINLINE void leaks_past_end(void) {
    static char *volatile at;
    size_t size = 3 * 4096; // a size class of its own, in all allocators: nothing follows in a page
    at = (char *)NEW(size) + 2 * size;
}

// With a bit in the highest digits, or complemented: no allocator sees a pointer.
static NOINLINE void leaks_tagged_high(void) {
    static volatile uintptr_t at[2];
    at[0] = (uintptr_t)node(NULL) | (uintptr_t)1 << 63;
    at[1] = ~(uintptr_t)node(NULL);
}

// An object that nothing holds, with the only pointer to a chain that then is indirect.
static NOINLINE void leaks_tree(void) {
    struct node **root = NEW(4 * sizeof *root);
    for (int i = 0; i < 4; i++) root[i] = list(2);
}

// A thread's variable, lost with the thread.
static void *fills_tls(void *arg) {
    mine = list(3);
    return arg;
}
static NOINLINE void leaks_tls(void) {
    pthread_t thread;
    if (START(&thread, NULL, fills_tls, NULL)) _exit(2);
    pthread_join(thread, NULL);
    for (int i = 0; i < 4; i++) { // uses that stack again
        if (START(&thread, NULL, ends_at_once, NULL)) _exit(2);
        pthread_join(thread, NULL);
    }
}

static NOINLINE void leaks_large(void) {
    for (int i = 0; i < 3; i++) memset(NEW(1000000), 1, 100);
}

// ---- objects that only gomem's memory holds ----

#if defined LINKED
static gomem_arena arena;
static NOINLINE void in_an_arena(void) {
    struct node **cell = gomem_arena_alloc(&arena, sizeof *cell);
    *cell = list(3);
}
GOMEM_POOL(cells, struct node);
static NOINLINE void in_a_pool(void) {
    static uintptr_t volatile hidden;
    struct node *n = cells_get();
    n->next = list(3);
    hidden = ~(uintptr_t)n;
}
static NOINLINE void in_a_collected_object(void) {
    struct node **cell = gomem_new(sizeof *cell);
    struct node **dull = gomem_new_noscan(sizeof *dull);
    static void *volatile root[2];
    *cell = list(3);
    *dull = list(1);
    root[0] = cell;
    root[1] = dull;
    gomem_gc();
}
static void *makes_garbage(void *arg) {
    struct node **cell = gomem_new(sizeof *cell);
    *cell = list(3);
    return arg;
}
// The object that holds the list is collected. It was made by a thread that has ended, so nothing
// of its address is left.
static NOINLINE void leaks_with_garbage(void) {
    pthread_t thread;
    gomem_gc();
    if (START(&thread, NULL, makes_garbage, NULL)) _exit(2);
    pthread_join(thread, NULL);
    gomem_gc();
    gomem_gc();
}
static NOINLINE void in_a_registered_range(void) {
    static long reserved[64];
    gomem_add_root(reserved, sizeof reserved);
    kept = list(2);
}
#endif

static const struct {
    const char *name;
    void (*run)(void);
} programs[] = {
#define PROGRAM(name) \
    { #name, name }
    PROGRAM(in_a_list),
    PROGRAM(by_the_middle),
    PROGRAM(by_the_last_byte),
    PROGRAM(in_tls),
    PROGRAM(tagged_low),
    PROGRAM(on_a_blocked_stack),
    PROGRAM(in_a_register),
    PROGRAM(as_an_argument),
    PROGRAM(as_a_result),
    PROGRAM(after_many_threads),
    PROGRAM(as_values_of_keys),
    PROGRAM(in_libc),
    PROGRAM(in_a_jump_buffer),
    PROGRAM(freed),
    PROGRAM(freed_by_another_thread),
    PROGRAM(leaks_list),
    PROGRAM(leaks_ring),
    PROGRAM(leaks_itself),
    PROGRAM(leaks_head),
    PROGRAM(leaks_global),
    PROGRAM(leaks_past_end),
    PROGRAM(leaks_tagged_high),
    PROGRAM(leaks_tree),
    PROGRAM(leaks_tls),
    PROGRAM(leaks_large),
#if defined LINKED
    PROGRAM(in_an_arena),
    PROGRAM(in_a_pool),
    PROGRAM(in_a_collected_object),
    PROGRAM(leaks_with_garbage),
    PROGRAM(in_a_registered_range),
#endif
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 2 && i < sizeof programs / sizeof programs[0]; i++) {
        if (strcmp(argv[1], programs[i].name) != 0) continue;
        programs[i].run();
        clear();
        return 0;
    }
    return 2;
}
