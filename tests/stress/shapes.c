// Shapes that are hard for a marker, while cycles run: a list of 10^7 objects, an array of 10^6, a
// comb, a deep tree of arrays. What nobody changes is neither lost nor kept twice.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_bool stop;

struct link {
    struct link *next;
    uintptr_t index;
};

static void *collect_on(void *arg) {
    while (!atomic_load(&stop)) gomem_gc();
    return arg;
}

// Builds and counts with cycles all the time; afterwards the shape is garbage and its bytes go.
static void grow(void (*fill)(void), size_t (*count)(void), void (*drop)(void), size_t expected) {
    pthread_t collector;
    gomem_memstats full = {.size = sizeof full}, after = {.size = sizeof after};
    atomic_store(&stop, false);
    REQUIRE(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
    fill();
    CHECK_EQ(count(), expected);
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    gomem_gc();
    CHECK_EQ(count(), expected);
    gomem_read_memstats(&full);
    drop();
    for (int i = 0; i < 3; i++) gomem_gc();
    gomem_read_memstats(&after);
    CHECK(after.heap_alloc < full.heap_alloc / 4 + (1 << 20));
    CHECK(HEAP_IS_WHOLE());
}

// ---- a list: depth without breadth ----

static struct link *list;
static size_t list_length;

static void fill_list(void) {
    for (size_t i = 0; i < list_length; i++) {
        struct link *link = GOMEM_NEW(struct link);
        if (!CHECK(link != NULL)) return;
        link->index = i;
        GOMEM_STORE(&link->next, list);
        GOMEM_STORE(&list, link);
    }
}

static size_t count_list(void) {
    size_t n = 0;
    for (const struct link *link = list; link != NULL; link = link->next, n++)
        if (link->index != list_length - 1 - n) return n;
    return n;
}

// Word by word: one word somewhere that looks like a link keeps all behind it.
static void drop_list(void) {
    struct link *next = list;
    GOMEM_STORE(&list, NULL);
    for (; next != NULL;) {
        struct link *link = next;
        next = link->next;
        GOMEM_STORE(&link->next, NULL);
    }
}

TEST(long_list) {
    list_length = stress_times(500000); // 10^7 at full length
    grow(fill_list, count_list, drop_list, list_length);
}

// ---- an array: breadth without depth ----

enum { WIDE = 1000000 };
static struct link **wide;

static void fill_array(void) {
    GOMEM_STORE(&wide, GOMEM_MAKE(struct link *, WIDE));
    for (size_t i = 0; wide != NULL && i < WIDE; i++) {
        struct link *link = GOMEM_NEW(struct link);
        if (!CHECK(link != NULL)) return;
        link->index = i;
        GOMEM_STORE(&wide[i], link);
    }
}

static size_t count_array(void) {
    size_t n = 0;
    for (size_t i = 0; wide != NULL && i < WIDE; i++) n += wide[i]->index == i;
    return n;
}

static void drop_array(void) { GOMEM_STORE(&wide, NULL); }

TEST(wide_array) { grow(fill_array, count_array, drop_array, WIDE); }

// ---- arrays of arrays: every level larger than a piece, children far apart ----

enum { LEVELS = 3, WIDTH = 20000, TEETH = 40 }; // 160 KB an array

struct tooth {
    uintptr_t before[5];
    struct link *links;
};
GOMEM_TYPE(tooth_type, struct tooth, links);
static void **comb;

static void fill_comb(void) {
    void **upper = NULL;
    for (int level = 0; level < LEVELS; level++) {
        void **array = GOMEM_MAKE(void *, WIDTH);
        if (!CHECK(array != NULL)) return;
        GOMEM_STORE(&array[WIDTH - 1], (void *)upper);
        upper = array;
        GOMEM_STORE(&comb, array);
        for (size_t i = 0; i < WIDTH - 1; i += WIDTH / TEETH) {
            struct tooth *teeth = GOMEM_MAKE_TYPED(struct tooth, &tooth_type, 7);
            if (!CHECK(teeth != NULL)) return;
            GOMEM_STORE(&array[i], (void *)&teeth[3]); // an interior pointer
            for (uintptr_t k = 0; k < 7; k++) {
                struct link *link = GOMEM_NEW(struct link);
                if (!CHECK(link != NULL)) return;
                link->index = k;
                GOMEM_STORE(&teeth[k].links, link);
            }
        }
    }
}

static size_t count_comb(void) {
    size_t n = 0;
    for (void **array = comb; array != NULL; array = array[WIDTH - 1])
        for (size_t i = 0; i < WIDTH - 1; i += WIDTH / TEETH) {
            struct tooth *teeth = (struct tooth *)array[i] - 3;
            for (uintptr_t k = 0; k < 7; k++) n += teeth[k].links->index == k;
        }
    return n;
}

static void drop_comb(void) { GOMEM_STORE(&comb, NULL); }

TEST(comb_of_arrays) { grow(fill_comb, count_comb, drop_comb, (size_t)LEVELS * TEETH * 7); }

TEST_MAIN
