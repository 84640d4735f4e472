// Frees that a program must not make. Without an argument it prints the names of the cases:
// `twice.SHAPE.SIZE` are double frees, `late.SHAPE.SIZE` such with more between the two frees, and
// `wild.SHAPE` frees of what malloc never returned. With a name it does that, prints MISSED and ends
// by _exit: an allocator that finds the wrong free at once has ended the process before that.
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { OTHERS = 40 };

static size_t size;
static char *object, *others[OTHERS];
static long global[8];

static void nothing(void) {}
static void free_another(void) { free(others[0]); }
static void free_two(void) {
    for (int i = 0; i < 2; i++) free(others[i]);
}
static void free_all(void) {
    for (int i = 0; i < OTHERS; i++) free(others[i]);
}

// The object is reused, and freed by its second owner.
static void reuse(void) {
    char *second = malloc(size);
    second[0] = 1;
    free(second);
}

// The object lives on with a second owner.
static void give_away(void) { *(char *volatile *)&others[1] = malloc(size); }

static void *free_there(void *p) {
    free(p);
    return NULL;
}
static void free_by_thread(void *p) {
    pthread_t thread;
    pthread_create(&thread, NULL, free_there, p);
    pthread_join(thread, NULL);
}
static void free_by_realloc(void *p) {
    char *moved = realloc(p, 40 * size);
    moved[0] = 1;
    if (moved == p) _exit(3); // it grew in place: not what the case is about
}

static void *aligned(size_t n) { return memalign(128, n); }

static const struct shape {
    const char *name;
    void *(*make)(size_t size);
    void (*first)(void *p);
    void (*between)(void);
} shapes[] = {
    {"twice.again", malloc, free, nothing},
    {"twice.between", malloc, free, free_another},
    {"twice.later", malloc, free, free_two},
    {"twice.reused", malloc, free, reuse},
    {"twice.moved", malloc, free_by_realloc, nothing},
    {"twice.aligned", aligned, free, nothing},
    {"twice.owned", malloc, free, give_away}, // nobody can tell: the second owner might free it so
    {"late.many", malloc, free, free_all},
    {"late.thread", malloc, free_by_thread, nothing},
};
static const struct {
    const char *name;
    size_t bytes;
} sizes[] = {{"small", 100}, {"medium", 20000}, {"large", 1000000}};

static void free_twice(const struct shape *s) {
    for (int i = 0; i < OTHERS; i++) others[i] = malloc(size);
    object = s->make(size);
    char *neighbor = malloc(size); // so that the end of a block is not the end of the heap
    memset(object, 1, size);
    memset(neighbor, 1, size);
    char *volatile again = object;
    s->first(object);
    s->between();
    free(again);
}

static void wild_interior(void) { free((char *)malloc(100) + 16); }
static void wild_interior_large(void) { free((char *)malloc(1000000) + 4096); }
static void wild_slot(void) { free((char *)malloc(256) + 8); }
static void wild_odd(void) { free((char *)malloc(100) + 1); }
static void wild_stack(void) {
    long local[8] = {1};
    free(&local[2]);
}
static void wild_global(void) { free(&global[2]); }
static void wild_mapping(void) {
    char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    free(p + 4096);
}
static void wild_number(void) { free((void *)(uintptr_t)0x4141414141414140); }
static void wild_code(void) { free((void *)(uintptr_t)&wild_number); }
static void wild_realloc(void) { others[0] = realloc((char *)malloc(100) + 16, 200); }
static void wild_thread(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, free_there, &global[4]);
    pthread_join(thread, NULL);
}

static const struct {
    const char *name;
    void (*run)(void);
} wild[] = {
    {"interior", wild_interior}, {"interior_large", wild_interior_large},
    {"slot", wild_slot},         {"odd", wild_odd},
    {"stack", wild_stack},       {"global", wild_global},
    {"mapping", wild_mapping},   {"number", wild_number},
    {"code", wild_code},         {"realloc", wild_realloc},
    {"thread", wild_thread},
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// Runs the case of this name, or prints all names, if it is NULL.
static int each(const char *wanted) {
    char name[64];
    for (size_t i = 0; i < COUNT(shapes) * COUNT(sizes); i++) {
        const struct shape *s = &shapes[i / COUNT(sizes)];
        snprintf(name, sizeof name, "%s.%s", s->name, sizes[i % COUNT(sizes)].name);
        size = sizes[i % COUNT(sizes)].bytes;
        if (!wanted) puts(name);
        else if (strcmp(name, wanted) == 0) return free_twice(s), 0;
    }
    for (size_t i = 0; i < COUNT(wild); i++) {
        snprintf(name, sizeof name, "wild.%s", wild[i].name);
        if (!wanted) puts(name);
        else if (strcmp(name, wanted) == 0) return wild[i].run(), 0;
    }
    return wanted ? 2 : 0;
}

int main(int argc, char **argv) {
    int status = each(argc > 1 ? argv[1] : NULL);
    if (argc > 1 && status == 0 && write(1, "MISSED\n", 7) != 7) status = 1;
    if (argc > 1) _exit(status);
    return status;
}
