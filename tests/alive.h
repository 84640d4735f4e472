// Is it still alive? Sets of collected objects whose addresses the collector cannot see.
//
// A set remembers the addresses of its objects inverted, so it keeps nothing alive. After a
// collection alive_count tells how many still stand with their contents. A conservative collector
// may keep a few by accident, so a test demands all alive where something must be kept, and at most
// a tenth where nothing should be. Between the collection and the count nothing may allocate.
//
//     chain     each object points at the next: whoever holds the first keeps them all
//     scatter   objects that know nothing of each other
#ifndef ALIVE_H
#define ALIVE_H

#include "gomem.h"
#include "test.h"

enum {
    ALIVE_N = 200,                  // objects in a set
    ALIVE_FEW = ALIVE_N / 10,       // so many may be kept by accident
    ALIVE_ROUNDS = 8,               // of a test of one root
    ALIVE_STACK_CLEARED = 48 * 1024 // bytes
};

struct alive_node {
    struct alive_node *next;
    uintptr_t index;
    uintptr_t check; // of index and hidden address
    uintptr_t body[3];
};

struct alive_set {
    uintptr_t hidden[ALIVE_N];
};

// Their frames are plain also under AddressSanitizer, where alive_clear_stack reaches them.
#define ALIVE_NOINLINE __attribute__((noinline, no_sanitize_address)) TEST_I_UNUSED

// The same function hides and shows an address.
TEST_I_UNUSED static uintptr_t alive_hide(const void *p) { return ~(uintptr_t)p; }

TEST_I_UNUSED static void *alive_show(uintptr_t hidden) { return (void *)~hidden; }

// Functions that handle shown addresses work below a gap of this size, so that what they leave on
// the stack lies where alive_clear_stack, called from above, surely overwrites it (the first words
// below its caller may be padding of its own frame).
enum { ALIVE_GAP = 1024 };
#define ALIVE_DEEP                                 \
    volatile char gap[ALIVE_GAP];                  \
    memset((char *)(uintptr_t)gap, 0, sizeof gap); \
    __asm__ volatile("" : : "r"(gap) : "memory")

// Overwrites what calls have left below this frame and in the registers that calls may use.
ALIVE_NOINLINE static void alive_clear_stack(void) {
    // No memset: AddressSanitizer would look at what frames that have ended left of its shadow.
    volatile uintptr_t left[ALIVE_STACK_CLEARED / sizeof(uintptr_t)];
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) left[i] = 0;
    __asm__ volatile("" : : "r"(left) : "memory");
#if defined __x86_64__
    __asm__ volatile("pxor %%xmm0, %%xmm0\n pxor %%xmm1, %%xmm1\n pxor %%xmm2, %%xmm2\n"
                     "pxor %%xmm3, %%xmm3\n pxor %%xmm4, %%xmm4\n pxor %%xmm5, %%xmm5\n"
                     "pxor %%xmm6, %%xmm6\n pxor %%xmm7, %%xmm7\n pxor %%xmm8, %%xmm8\n"
                     "pxor %%xmm9, %%xmm9\n pxor %%xmm10, %%xmm10\n pxor %%xmm11, %%xmm11\n"
                     "pxor %%xmm12, %%xmm12\n pxor %%xmm13, %%xmm13\n pxor %%xmm14, %%xmm14\n"
                     "pxor %%xmm15, %%xmm15\n xor %%eax, %%eax\n xor %%ecx, %%ecx\n"
                     "xor %%edx, %%edx\n xor %%esi, %%esi\n xor %%edi, %%edi\n"
                     "xor %%r8d, %%r8d\n xor %%r9d, %%r9d\n xor %%r10d, %%r10d\n"
                     "xor %%r11d, %%r11d"
                     :
                     :
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1",
                       "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc");
#endif
}

// Runs what keeps shown addresses in its own frame.
ALIVE_NOINLINE static void alive_deep(void (*fn)(void)) {
    ALIVE_DEEP;
    fn();
    gap[0] = 1;
}

ALIVE_NOINLINE static void alive_gc_below(void) {
    ALIVE_DEEP;
    (void)COLLECTED();
    gap[0] = 1;
}

// Its own frame has a gap, too: a compiler that needs one word of padding there may push a register
// that the caller's last call has left an address in.
ALIVE_NOINLINE static void alive_gc(void) {
    ALIVE_DEEP;
    alive_clear_stack();
    alive_gc_below();
    gap[0] = 1;
}

TEST_I_UNUSED static uintptr_t alive_sum(uintptr_t index, uintptr_t hidden) {
    return (index + 1) * (uintptr_t)2654435761u ^ hidden;
}

TEST_I_UNUSED static void *alive_new_plain(void) { return GOMEM_NEW(struct alive_node); }

// As an array, which is kept by one past its end too.
TEST_I_UNUSED static void *alive_new_array(void) { return gomem_new(sizeof(struct alive_node)); }

ALIVE_NOINLINE static bool alive_fill_below(struct alive_set *set, void *(*make)(void),
                                            bool chained) {
    struct alive_node *next = NULL;
    for (size_t i = ALIVE_N; i-- > 0;) {
        struct alive_node *node = make();
        if (!CHECK(node != NULL)) return false;
        set->hidden[i] = alive_hide(node);
        node->index = i;
        node->check = alive_sum(i, set->hidden[i]);
        node->next = chained ? next : NULL;
        next = node;
    }
    return true;
}

// Fills a set; `make` gives memory for one node.
ALIVE_NOINLINE static bool alive_fill(struct alive_set *set, void *(*make)(void), bool chained) {
    ALIVE_DEEP;
    bool good = alive_fill_below(set, make, chained);
    gap[0] = 1;
    return good;
}

TEST_I_UNUSED static bool alive_chain(struct alive_set *set) {
    return alive_fill(set, alive_new_plain, true);
}

TEST_I_UNUSED static bool alive_scatter(struct alive_set *set) {
    return alive_fill(set, alive_new_plain, false);
}

ALIVE_NOINLINE static size_t alive_count_below(const struct alive_set *set) {
    size_t alive = 0;
    for (size_t i = 0; i < ALIVE_N; i++) {
        const struct alive_node *node = alive_show(set->hidden[i]);
        if (gomem_base(node) != node) continue;
        alive += node->index == i && node->check == alive_sum(i, set->hidden[i]);
    }
    return alive;
}

ALIVE_NOINLINE static size_t alive_count(const struct alive_set *set) {
    ALIVE_DEEP;
    size_t alive = alive_count_below(set);
    gap[0] = 1;
    return alive;
}

// Puts the shown address, moved by `offset` bytes, into a slot that the test looks at as a root.
ALIVE_NOINLINE static void alive_put(volatile uintptr_t *slot, uintptr_t hidden, intptr_t offset) {
    *slot = ~hidden + (uintptr_t)offset;
}

// One kind of root: the word in *slot keeps a chain, and without it the chain dies.
ALIVE_NOINLINE static void alive_check_slot(volatile uintptr_t *slot, intptr_t offset) {
    static struct alive_set set;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS && test_failed() == 0; round++) {
        if (!alive_fill(&set, offset ? alive_new_array : alive_new_plain, true)) return;
        alive_put(slot, set.hidden[0], offset);
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        *slot = 0;
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
    }
    CHECK(test_failed() > 0 || died >= ALIVE_ROUNDS / 2);
}

// No root: what only *slot points at dies.
ALIVE_NOINLINE static void alive_check_no_slot(volatile uintptr_t *slot) {
    static struct alive_set set;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        if (!alive_chain(&set)) return;
        alive_put(slot, set.hidden[0], 0);
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
        *slot = 0;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
}

#endif
