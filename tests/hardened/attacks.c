// What exploits of heaps do, each as a small program on malloc: `attacks NAME`. The first word of
// its output is the pointer in question, as P=0x…. Exit status 0: the bug had no effect that the
// allocator noticed. 7: the attack has reached its aim. `attacks distance` prints how many of 1000
// pairs of mallocs in a row lie next to each other.
//
// Lines such as `// NAME: REGULAR EXPRESSION` say what gomem with GOMEM_HARDENED reports.
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE = 56, MANY = 400 };
static void *volatile hidden;
static char *all[MANY];

// The compiler does not see what becomes of p.
static void *hide(void *p) {
    hidden = p;
    return hidden;
}
static char *get(size_t size) { return hide(malloc(size)); }
static void put(void *p) { free(hide(p)); }
static void *tell(void *p) {
    printf("P=0x%jx\n", (uintmax_t)(uintptr_t)p);
    fflush(stdout);
    return hide(p);
}
static void fill(size_t size) {
    for (int i = 0; i < MANY; i++) all[i] = get(size);
}
static void empty(void) {
    for (int i = 0; i < MANY; i++) put(all[i]);
}
// Do two objects that are handed out from here on share memory?
static int shared(size_t size) {
    for (int i = 0; i < MANY; i++) all[i] = get(size);
    for (int i = 0; i < MANY; i++)
        for (int k = 0; k < i; k++)
            if (all[i] == all[k]) return 7;
    return 0;
}

// double_free_last: double free.*P
static int double_free_last(void) {
    char *p = tell(get(SIZE));
    put(p);
    put(p);
    return shared(SIZE);
}
// double_free_first: double free.*P
static int double_free_first(void) {
    fill(SIZE);
    char *p = tell(all[0]);
    empty();
    put(p);
    return shared(SIZE);
}
// double_free_between: double free.*P
static int double_free_between(void) { // A, B, A: the classic of free lists
    fill(SIZE);
    char *p = tell(all[100]);
    for (int i = 100; i < 120; i++) put(all[i]);
    put(p);
    return shared(SIZE);
}
// interior: interior pointer.*P
static int interior(void) {
    char *p = get(256);
    memset(p, 0, 256);
    ((size_t *)(void *)p)[3] = 0x61; // the head of a chunk, for allocators that have such
    put(tell(p + 32));
    return shared(256 - 32);
}
// foreign: foreign pointer.*P
static int foreign(void) { // the house of spirit
    static _Alignas(64) char memory[4096];
    ((size_t *)(void *)memory)[1] = 0x41;
    ((size_t *)(void *)memory)[9] = 0x41;
    put(tell(memory + 16));
    return get(SIZE) == memory + 16 ? 7 : 0;
}
// off_by_one: buffer overflow
static int off_by_one(void) {
    char *p = tell(get(SIZE));
    p[SIZE] = 0;
    put(p);
    return 0;
}
// overflow: buffer overflow
static int overflow(void) { // into the neighbor
    fill(SIZE);
    memset(tell(all[50]), 'A', SIZE + 32);
    empty();
    return 0;
}
// overlap: buffer overflow
static int overlap(void) { // a larger size in the head of the next chunk
    fill(SIZE);
    tell(all[51]);
    ((size_t *)(void *)(all[50] + SIZE))[0] = 0x81;
    put(all[51]);
    char *p = get(0x78);
    int done = all[52] >= p && all[52] < p + 0x78;
    put(all[50]);
    return done ? 7 : 0;
}
// underflow: buffer underflow|buffer overflow
static int underflow(void) {
    fill(SIZE);
    ((uint32_t *)tell(all[50]))[-1] = 0x41414141;
    empty();
    return 0;
}
// stale_list: use after free.*P
static int stale_list(void) { // a free list's link is led to memory of the attacker
    static _Alignas(64) char target[256];
    fill(SIZE);
    for (int i = 0; i < 20; i++) put(all[i]);
    *(void **)tell(all[19]) = target + 16;
    for (int i = 0; i < MANY; i++)
        if (get(SIZE) == target + 16) return 7;
    return 0;
}
// stale_write: use after free
static int stale_write(void) { // in the middle, then the slot is used again
    fill(SIZE);
    for (int i = 0; i < 20; i++) put(all[i]);
    tell(all[10]);
    all[10][SIZE / 2] = 1;
    fill(SIZE);
    return 0;
}
// large_overflow: buffer overflow: write
static int large_overflow(void) { // far, into what lies behind
    char *p = tell(get(100000)), *q = get(100000);
    memset(p, 1, 120000);
    put(q);
    put(p);
    return 0;
}

static int distance(void) {
    int next = 0;
    for (int i = 0; i < 1000; i++) {
        char *p = get(48), *q = get(48);
        next += q - p <= 80 && p - q <= 80;
    }
    printf("%d\n", next);
    return 0;
}

static const struct attack {
    const char *name;
    int (*run)(void);
} attacks[] = {{"double_free_last", double_free_last},
               {"double_free_first", double_free_first},
               {"double_free_between", double_free_between},
               {"interior", interior},
               {"foreign", foreign},
               {"off_by_one", off_by_one},
               {"overflow", overflow},
               {"overlap", overlap},
               {"underflow", underflow},
               {"stale_list", stale_list},
               {"stale_write", stale_write},
               {"large_overflow", large_overflow},
               {"distance", distance}};

int main(int argc, char **argv) {
    for (unsigned i = 0; i < sizeof attacks / sizeof *attacks; i++)
        if (argc > 1 && !strcmp(argv[1], attacks[i].name)) return attacks[i].run();
    return 99;
}
