// Programs that touch memory which is not theirs. Each exists for libc's malloc, which
// AddressSanitizer replaces, and for each heap of gomem: what is caught there is caught here.
//
//     twins CASE HEAP      ends well if nothing is noticed; without CASE: lists the cases
#include "gomem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    void *first;
    long second;
};
GOMEM_TYPE(pair_type, struct pair, first);

struct heap {
    const char *name;
    void *(*take)(size_t size);
    void (*give)(void *p);
    void *(*retake)(void *p, size_t size);
};

static void *inlined_take(size_t size) { return GOMEM_MALLOC_N(char, size); }
static void inlined_give(void *p) { GOMEM_FREE(char, (char *)p); }
static void *aligned_take(size_t size) { return gomem_aligned_alloc(64, size); }
static void *counted_take(size_t size) { return gomem_calloc(1, size); }
static void *typed_take(size_t size) {
    size_t n = (size + sizeof(struct pair) - 1) / sizeof(struct pair);
    char *p = gomem_new_typed(&pair_type, n);
    return p ? p + n * sizeof(struct pair) - size : NULL; // its end is where it should be
}
static void *root_take(size_t size) { return gomem_new_with(size, 0, GOMEM_UNCOLLECTABLE); }

static const struct heap heaps[] = {
    {"libc", malloc, free, realloc},
    {"manual", gomem_malloc, gomem_free, gomem_realloc},
    {"counted", counted_take, gomem_free, gomem_realloc},
    {"inlined", inlined_take, inlined_give, gomem_realloc},
    {"aligned", aligned_take, gomem_free, gomem_realloc},
    {"collected", gomem_new, gomem_free, gomem_realloc},
    {"noscan", gomem_new_noscan, gomem_free, gomem_realloc},
    {"typed", typed_take, gomem_free, gomem_realloc},
    {"root", root_take, gomem_free, gomem_realloc},
};

static const struct heap *h;

// Hides from the compiler what p is, and that it was freed.
static char *at(void *p, ptrdiff_t offset) {
    void *volatile hidden = p;
    return (char *)hidden + offset;
}
static void touch(char *p) { *(volatile char *)p = 1; }
static void look(const char *p) { (void)*(const volatile char *)p; }

static void nothing(void) {
    static const size_t sizes[] = {0,   1,    7,    8,    9,     16,    24,
                                   100, 1000, 1024, 5000, 32768, 40000, 300000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int round = 0; round < 30; round++) {
            char *p = h->take(sizes[i]), *q = h->take(sizes[i] + 1);
            memset(p, 1, sizes[i]);
            memset(q, 2, sizes[i] + 1);
            if (strcmp(h->name, "typed") != 0) {
                p = h->retake(p, sizes[i] + 100);
                memset(p + sizes[i], 3, 100);
                p = h->retake(p, sizes[i] / 2 + 1);
                if (sizes[i] > 1 && p[sizes[i] / 2 - 1] != 1) abort();
                if (strcmp(h->name, "libc") != 0) {
                    size_t usable = gomem_usable_size(p);
                    if (usable < sizes[i] / 2 + 1) abort();
                    memset(p, 4, usable);
                    if (gomem_base(p + usable / 2) != p) abort();
                }
                h->give(p);
                if (round % 2) h->give(q);
            }
        }
    if (strcmp(h->name, "libc") != 0) gomem_gc();
}

static void overflow(void) { touch(at(h->take(40), 40)); }
static void overflow_read(void) { look(at(h->take(200), 200)); }
static void overflow_odd(void) { touch(at(h->take(13), 13)); }
static void overflow_of_nothing(void) { look(at(h->take(0), 1)); }
static void overflow_large(void) { touch(at(h->take(100000), 100000)); }
static void overflow_copy(void) { memset(h->take(48), 1, (size_t)(49 + (h == NULL))); }
static void overflow_text(void) { strcpy(at(h->take(8), 0), "12345678"); }
static void overflow_far(void) { touch(at(h->take(1000), 1007)); }
static void underflow(void) { touch(at(h->take(64), -1)); }
static void underflow_middle(void) {
    char *p[50];
    for (int i = 0; i < 50; i++) p[i] = h->take(64);
    look(at(p[25], -8));
}
static void underflow_large(void) { look(at(h->take(70000), -1)); }

static void after_free(void) {
    char *p = h->take(40);
    h->give(p);
    look(at(p, 0));
}
static void after_free_large(void) {
    char *p = h->take(500000);
    h->give(p);
    touch(at(p, 250000));
}
static void after_free_late(void) {
    char *p = h->take(40);
    h->give(p);
    for (int i = 0; i < 1000; i++) h->give(h->take(1000));
    touch(at(p, 20));
}
static void after_free_in_use(void) { // others take objects of its size
    char *p = h->take(40);
    h->give(p);
    for (int i = 0; i < 100; i++) memset(h->take(40), 0, 40);
    touch(at(p, 39));
}
static void after_realloc(void) {
    char *p = h->take(64), *q = h->retake(p, 4000);
    if (q) look(at(p, 0));
}
static void beyond_shrunk(void) {
    char *p = h->retake(h->take(64), 60);
    touch(at(p, 60));
}
static void beyond_grown(void) { look(at(h->retake(h->take(100), 110), 110)); }
static void free_twice(void) {
    char *p = h->take(40);
    h->give(p);
    h->give(at(p, 0));
}
static void free_twice_late(void) {
    char *p = h->take(40);
    h->give(p);
    for (int i = 0; i < 1000; i++) h->give(h->take(40));
    h->give(at(p, 0));
}
static void free_twice_large(void) {
    char *p = h->take(100000);
    h->give(p);
    h->give(at(p, 0));
}
static void free_inside(void) { h->give(at(h->take(64), 16)); }

static void *give_it(void *p) {
    h->give(p);
    return NULL;
}
static void after_free_elsewhere(void) {
    pthread_t thread;
    char *p = h->take(300);
    if (pthread_create(&thread, NULL, give_it, p) || pthread_join(thread, NULL)) return;
    look(at(p, 100));
}

// What only gomem has: an object that a collection freed.
static volatile uintptr_t hidden;
static __attribute__((noinline)) void hide(size_t size) {
    memset(at(h->take(size), 0), 1, size);
    hidden = ~(uintptr_t)h->take(size);
}
static __attribute__((noinline)) void scrub(void) {
    volatile char below[4096];
    for (size_t i = 0; i < sizeof below; i++) below[i] = 0;
}
static void after_collection(void) {
    hide(40);
    scrub();
    for (int i = 0; i < 3; i++) gomem_gc();
    look((char *)~hidden);
}

enum { ALL = 1, COLLECTED = 2, NEVER = 4 };
static const struct {
    const char *name;
    void (*run)(void);
    int kind; // ALL, COLLECTED: of the collected heap; NEVER: nothing is wrong
} cases[] = {
#define CASE(name, kind) \
    { #name, name, kind }
    CASE(nothing, NEVER),
    CASE(overflow, ALL),
    CASE(overflow_read, ALL),
    CASE(overflow_odd, ALL),
    CASE(overflow_of_nothing, ALL),
    CASE(overflow_large, ALL),
    CASE(overflow_copy, ALL),
    CASE(overflow_text, ALL),
    CASE(overflow_far, ALL),
    CASE(underflow, ALL),
    CASE(underflow_middle, ALL),
    CASE(underflow_large, ALL),
    CASE(after_free, ALL),
    CASE(after_free_large, ALL),
    CASE(after_free_late, ALL),
    CASE(after_free_in_use, ALL),
    CASE(after_realloc, ALL),
    CASE(beyond_shrunk, ALL),
    CASE(beyond_grown, ALL),
    CASE(free_twice, ALL),
    CASE(free_twice_late, ALL),
    CASE(free_twice_large, ALL),
    CASE(free_inside, ALL),
    CASE(after_free_elsewhere, ALL),
    CASE(after_collection, COLLECTED),
};

int main(int argc, char **argv) {
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static const char *const kinds[] = {"", "all", "collected", "", "never"};
        if (argc < 3) printf("%s %s\n", cases[i].name, kinds[cases[i].kind]);
        if (argc < 3 || strcmp(cases[i].name, argv[1]) != 0) continue;
        for (size_t k = 0; k < sizeof heaps / sizeof heaps[0]; k++)
            if (strcmp(heaps[k].name, argv[2]) == 0) h = &heaps[k];
        if (!h) return 2;
        cases[i].run();
        printf("nothing was noticed\n");
        return 0;
    }
    return argc < 3 ? 0 : 2;
}
