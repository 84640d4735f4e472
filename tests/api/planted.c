// Errors as fuzzing finds them, planted in programs of some twenty allocations. With guards, each
// run finds one by chance: how many runs that takes is counted.
#define _GNU_SOURCE
#include "child.h"
#include "gomem.h"

#include <stddef.h>
#include <sys/mman.h>

enum { OBJECTS = 20 };

static volatile unsigned char sink;
static volatile unsigned one = 1; // unknown to the compiler

// Stands for the rest of the program: objects that live and die around the one with the error.
static void *others[OBJECTS];
static void work(void) {
    for (size_t i = 0; i < OBJECTS; i++) {
        gomem_free(others[i]);
        others[i] = gomem_malloc(16 + i * 24);
    }
}

static void overflow_by_one(void) {
    volatile char *p = gomem_malloc(40);
    p[39 + one] = 1;
    work();
    gomem_free((void *)(uintptr_t)p);
}
static void underflow_by_one(void) {
    volatile char *p = gomem_malloc(40);
    p[0 - (ptrdiff_t)one] = 1;
    work();
    gomem_free((void *)(uintptr_t)p);
}
static void read_after_free(void) {
    volatile unsigned char *volatile p = gomem_calloc(one, 100);
    gomem_free((void *)(uintptr_t)p);
    work();
    sink = p[50];
}
static void write_after_free(void) {
    volatile unsigned char *volatile p = gomem_calloc(one, 100);
    gomem_free((void *)(uintptr_t)p);
    work();
    p[50] = 1;
}
static void free_twice(void) {
    void *volatile p = gomem_malloc(64);
    gomem_free(p);
    work();
    gomem_free(p);
}
static void write_after_realloc(void) { // through the pointer of before
    volatile char *volatile p = gomem_malloc(60);
    void *q = gomem_realloc((void *)(uintptr_t)p, 6000);
    p[10] = 1;
    work();
    gomem_free(q);
}
static void string_without_room_for_its_end(void) {
    static const char text[] = "a name of 25 characters..";
    char *volatile p = gomem_malloc(strlen(text));
    memcpy(p, text, strlen(text) + one);
    work();
    gomem_free(p);
}
static void copy_of_a_wrong_length(void) {
    static const char from[256];
    char *volatile p = gomem_malloc(200);
    memcpy(p, from, 200 + 30 * one);
    work();
    gomem_free(p);
}
struct owner {
    struct owner *next;
    char *name;
};
static void stale_pointer_in_a_struct(void) {
    struct owner *volatile o = gomem_malloc(sizeof *o);
    o->name = gomem_strdup("somebody");
    gomem_free(o->name);
    work();
    sink = (unsigned char)o->name[2];
    gomem_free(o);
}
static void node_of_a_list_after_its_free(void) {
    struct owner *head = NULL, *next;
    for (int i = 0; i < 5; i++) {
        next = gomem_malloc(sizeof *next);
        next->next = head, next->name = NULL;
        head = next;
    }
    for (struct owner *volatile o = head; o; o = next) {
        next = o->next;
        gomem_free(o);
        sink = (unsigned char)(uintptr_t)o->next; // too late
    }
}

static void (*const planted[])(void) = {
    overflow_by_one,
    underflow_by_one,
    read_after_free,
    write_after_free,
    free_twice,
    write_after_realloc,
    string_without_room_for_its_end,
    copy_of_a_wrong_length,
    stale_pointer_in_a_struct,
    node_of_a_list_after_its_free,
};
enum { PLANTED = sizeof planted / sizeof planted[0] };

// Repeats a program with one object of `rate` guarded until a report ends it. A run in which the
// object is not guarded leaves a heap behind that the next one can use: what is written lies in
// objects whose contents nobody reads.
static unsigned rate, times, which;
static volatile unsigned *run; // in memory that the child shares
static void repeat(void) {
    gomem_options o;
    memset(&o, 0, sizeof o);
    o.guard_rate = (int)rate;
    CHECK(gomem_init(&o));
    for (unsigned i = 0; i < times; i++) {
        *run = i + 1;
        work();
        planted[which]();
    }
}

// Returns the number of the run that found the error; 0: none of them did.
static unsigned found(void) {
    struct child child;
    child_run(&child, repeat);
    if (WIFEXITED(child.status)) return 0;
    CHECK_EQ(WTERMSIG(child.status), SIGABRT);
    // An object that is freed twice at once is found without guards, too.
    if (!CHECK(strstr(child.text, "guarded") || strstr(child.text, "double free")))
        printf("\n    the child said: %s", child.text);
    return *run;
}

static void map_run(void) {
    run = mmap(NULL, sizeof *run, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(run != MAP_FAILED);
}

// One object in ten: an error is found in some ten runs, so with one in a thousand in some thousand,
// and ten thousand are allowed. The sum of ten such numbers is far below ten times a hundred.
TEST(found_in_time) {
    enum { TRIALS = 10 };
    NEEDS_GUARDS;
    map_run();
    rate = 10, times = 1000;
    for (which = 0; which < PLANTED; which++) {
        unsigned sum = 0, n;
        for (int i = 0; i < TRIALS; i++) {
            if (!CHECK((n = found()) != 0)) printf("\n    error %u is not found", which);
            sum += n;
        }
        if (!CHECK(sum <= TRIALS * 100))
            printf("\n    error %u takes %u runs", which, sum / TRIALS);
        if (getenv("COUNTS")) printf("\n    error %u: %.1f runs", which, (double)sum / TRIALS);
    }
}

// One object in 499, the least rate that the time does not bound: 20 times the runs that are
// expected suffice.
TEST(found_at_a_low_rate) {
    NEEDS_GUARDS;
    map_run();
    rate = 499, times = 10000;
    for (which = 0; which < PLANTED; which++) {
        unsigned n = found();
        if (!CHECK(n != 0)) printf("\n    error %u is not found", which);
        if (getenv("COUNTS")) printf("\n    error %u: run %u", which, n);
    }
}

TEST_MAIN
