// Leaks an object from each function of the family of malloc. The functions that call them are
// exported, so reports can name them.
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>

#define NOINLINE __attribute__((noinline))

static void *volatile last; // keeps the calls from becoming jumps
static size_t volatile some = 100;

NOINLINE void by_malloc(void) { last = malloc(some); }
NOINLINE void by_calloc(void) { last = calloc(some, 3); }
NOINLINE void by_realloc(void) { last = realloc(malloc(some), some * 5); }
NOINLINE void by_reallocarray(void) { last = reallocarray(NULL, some, 7); }
NOINLINE void by_memalign(void) { last = memalign(64, some * 9); }
NOINLINE void by_aligned_alloc(void) { last = aligned_alloc(64, some * 11); }
NOINLINE void by_posix_memalign(void) {
    void *p = NULL;
    if (!posix_memalign(&p, 64, some * 13)) last = p;
}
NOINLINE void by_valloc(void) { last = valloc(some * 15); }
NOINLINE void by_pvalloc(void) { last = pvalloc(some * 60); }

int main(void) {
    by_malloc();
    by_calloc();
    by_realloc();
    by_reallocarray();
    by_memalign();
    by_aligned_alloc();
    by_posix_memalign();
    by_valloc();
    by_pvalloc();
    last = NULL;
    char below[8192]; // clears what the calls have left on the stack
    for (size_t i = 0; i < sizeof below; i++) ((volatile char *)below)[i] = 0;
    return 0;
}
