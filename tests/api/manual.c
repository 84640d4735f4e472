// The manual heap: gomem_malloc, gomem_calloc, sized frees, frees on another thread.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

TEST(calloc_is_zero) {
    static const size_t sizes[] = {1, 8, 24, 100, 1000, 1024, 5000, 32768, 40000, 1000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int round = 0; round < 8; round++) {
            unsigned char *p = gomem_calloc(sizes[i], 1);
            REQUIRE(p != NULL);
            for (size_t j = 0; j < sizes[i]; j++) REQUIRE(p[j] == 0);
            memset(p, 0xff, gomem_usable_size(p));
            gomem_free(p);
        }
    }
}

// Bytes of memory that a range has.
static size_t resident(void *p, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
    uintptr_t from = (uintptr_t)p & ~(uintptr_t)(page - 1);
    size_t pages = ((uintptr_t)p + size - from + page - 1) / page;
    unsigned char *here = calloc(pages, 1);
    if (CHECK(here != NULL) && CHECK(mincore((void *)from, pages * page, here) == 0))
        for (size_t i = 0; i < pages; i++) n += here[i] & 1;
    free(here);
    return n * page;
}

static bool zero(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

// A sparse table where a little of the memory was used before: only that is written.
TEST(calloc_clears_what_was_used) {
    enum { TABLE = 256 * 1024 * 1024 };
    for (size_t size = 1000; size < 5000000; size = size * 2 + 7) {
        unsigned char *small = gomem_malloc(size);
        REQUIRE(small != NULL);
        memset(small, 0xee, size);
        gomem_free(small);
        unsigned char *table = gomem_calloc(1, TABLE);
        REQUIRE(table != NULL);
        CHECK(resident(table, TABLE) <= 8 * 1024 * 1024);
        for (size_t i = 0; i < TABLE; i += 4096 * 1000) {
            CHECK_EQ(table[i], 0);
            table[i] = 1;
        }
        gomem_free(table);
        table = gomem_calloc(TABLE / 8, 8); // and again, after some of its pages were written
        REQUIRE(table != NULL);
        CHECK(resident(table, TABLE) <= 8 * 1024 * 1024);
        for (size_t i = 0; i < TABLE; i += 4096 * 1000) CHECK_EQ(table[i], 0);
        gomem_free(table);
    }
}

// Whatever part of a large block was written, by whatever kind, the next one of zeroed kinds is zero.
TEST(large_blocks_are_zero_again) {
    static const size_t parts[] = {1, 2, 3, 16, 500};
    size_t size = 33000;
    for (int i = 0; i < 120; i++, size = size < 20000000 ? size + size / 3 : 33000) {
        unsigned char *p = i % 2 ? gomem_malloc(size) : gomem_new_with(size, 0, GOMEM_NOSCAN);
        REQUIRE(p != NULL);
        size_t step = size / parts[i % 5] + 1; // all, a half, a third, a few pages, scattered
        for (size_t at = 0; at < size; at += step)
            memset(p + at, 0xee, i % 3 ? size - at < 4096 ? size - at : 4096 : size - at);
        gomem_free(p);
        size_t next = size - size / 7 * (size_t)(i % 4);
        errno = 77;
        switch (i % 4) {
        case 0: p = gomem_calloc(next, 1); break;
        case 1: p = gomem_new_with(next, 0, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN); break;
        case 2: p = gomem_new_noscan(next); break;
        default: p = gomem_new(next); break;
        }
        REQUIRE(p != NULL);
        CHECK_EQ(errno, 77);
        CHECK(zero(p, next));
        gomem_free(p);
    }
}

TEST(calloc_multiplies) {
    unsigned char *p = gomem_calloc(100, 30);
    REQUIRE(p != NULL);
    CHECK(gomem_usable_size(p) >= 3000);
    gomem_free(p);
}

TEST(free_sized_with_right_and_wrong_hints) {
    static const size_t sizes[] = {1, 16, 24, 64, 1000, 5000, 40000, 1000000};
    enum { N = sizeof sizes / sizeof sizes[0] };
    for (int round = 0; round < 50; round++) {
        for (size_t i = 0; i < N; i++) {
            for (size_t j = 0; j < N; j++) {
                void *p = (i + j) % 2 == 0 ? gomem_malloc(sizes[i]) : gomem_new(sizes[i]);
                REQUIRE(p != NULL);
                gomem_free_sized(p, sizes[j]);
            }
            void *p = gomem_malloc(sizes[i]);
            gomem_free_sized(p, 0);
            p = gomem_malloc(sizes[i]);
            gomem_free_sized(p, SIZE_MAX);
        }
    }
    CHECK(HEAP_IS_WHOLE());
    // Nothing landed among objects of another size.
    for (size_t i = 0; i < N; i++) {
        void *objects[130];
        for (size_t k = 0; k < 130; k++) {
            objects[k] = gomem_malloc(sizes[i]);
            REQUIRE(objects[k] != NULL && gomem_usable_size(objects[k]) >= sizes[i]);
            memset(objects[k], (int)k, sizes[i]);
        }
        for (size_t k = 0; k < 130; k++) {
            REQUIRE(((unsigned char *)objects[k])[sizes[i] - 1] == k);
            gomem_free_sized(objects[k], sizes[i]);
        }
    }
}

static int told;

static void hear(const char *line, void *user) {
    (void)user;
    told += strstr(line, "double free") != NULL;
}

// What was freed last, or shortly before, is not freed again, wherever in its magazine it lies.
TEST(second_frees_are_told_at_once) {
    enum { N = 300 };
    static const size_t sizes[] = {8, 24, 64, 100, 512, 1000, 5000, 20000, 32768};
    static void *volatile objects[N];
    gomem_options options = {.panic = hear};
    REQUIRE(gomem_init(&options));
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int k = 0; k < N; k++) REQUIRE((objects[k] = gomem_malloc(sizes[i])) != NULL);
        for (int k = 0; k < N; k++) {
            gomem_free(objects[k]);
            for (int back = 0; back < 3 && back <= k; back++) {
                told = 0;
                gomem_free(objects[k - back]);
                REQUIRE(told == 1);
                told = 0;
                gomem_free_sized(objects[k - back], sizes[i]);
                REQUIRE(told == 1);
            }
        }
        for (int k = 0; k < N; k++) { // nobody's object was handed out twice
            REQUIRE((objects[k] = gomem_malloc(sizes[i])) != NULL);
            memset(objects[k], k, sizes[i]);
        }
        for (int k = 0; k < N; k++) {
            REQUIRE(*(unsigned char *)objects[k] == (unsigned char)k);
            gomem_free(objects[k]);
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

struct item {
    int key;
    char name[20];
}; // 24 bytes, 4-aligned: not the class that gomem_malloc(24) takes

// Inlined frees look at the two that were freed last.
TEST(second_typed_frees_are_told_at_once) {
    enum { N = 300 };
    static struct item *volatile objects[N];
    gomem_options options = {.panic = hear};
    REQUIRE(gomem_init(&options));
    for (int k = 0; k < N; k++) REQUIRE((objects[k] = GOMEM_MALLOC(struct item)) != NULL);
    for (int k = 0; k < N; k++) {
        GOMEM_FREE(struct item, objects[k]);
        for (int back = 0; back < 2 && back <= k; back++) {
            told = 0;
            GOMEM_FREE(struct item, objects[k - back]);
            REQUIRE(told == 1);
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

TEST(typed_and_untyped_mix) {
    for (int i = 0; i < 1000; i++) {
        gomem_free_sized(GOMEM_MALLOC(struct item), sizeof(struct item));
        struct item *p = gomem_malloc(sizeof *p);
        GOMEM_FREE(struct item, p);
        gomem_free(GOMEM_MALLOC(struct item));
    }
    CHECK(HEAP_IS_WHOLE());
    void *objects[200];
    for (size_t i = 0; i < 200; i++) {
        objects[i] = gomem_malloc(24);
        REQUIRE(objects[i] != NULL);
        CHECK_EQ((uintptr_t)objects[i] % 16, 0);
        memset(objects[i], 0xaa, gomem_usable_size(objects[i]));
    }
    for (size_t i = 0; i < 200; i++) gomem_free(objects[i]);
}

// AddressSanitizer and valgrind see what is not an object's, and what was freed.
TEST(poisoned) {
    static const size_t sizes[] = {1, 8, 13, 24, 100, 1000, 5000, 40000};
    if (!child_is_watched()) return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        char *a = gomem_malloc(size), *b = gomem_new_noscan(size);
        REQUIRE(a && b && gomem_usable_size(a) == size && gomem_usable_size(b) == size);
        CHECK(!child_caught(a) && !child_caught(a + size - 1) && child_caught(a + size));
        CHECK(!child_caught(b) && !child_caught(b + size - 1) && child_caught(b + size));
        // valgrind is not told of a neighbour's last page
        if (GOMEM_I_POISONED || (uintptr_t)a % 8192) CHECK(child_caught(a - 1));
        if (GOMEM_I_POISONED || (uintptr_t)b % 8192) CHECK(child_caught(b - 1));
        char *moved = gomem_realloc(test_opaque(a), size + 1);
        REQUIRE(moved != NULL);
        CHECK(child_caught(a) && !child_caught(moved + size) && child_caught(moved + size + 1));
        char *old_a = test_opaque(moved), *old_b = test_opaque(b);
        gomem_free(moved);
        gomem_free(b);
        CHECK(child_caught(old_a) && child_caught(old_b) && child_caught(old_b + size / 2));
    }
}

// Freed memory is used again: a loop does not grow.
TEST(memory_is_reused) {
    gomem_memstats before = {.size = sizeof before}, after = {.size = sizeof after};
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300000; i++) gomem_free(gomem_malloc((size_t)i % 3000));
        gomem_read_memstats(round == 0 ? &before : &after);
    }
    CHECK(after.heap_inuse <= before.heap_inuse + (1 << 20));
}

enum { HANDED = 5000 };
static unsigned char *handed[HANDED];

static void *free_all(void *arg) {
    for (size_t i = 0; i < HANDED; i++) {
        if (i % 3 == 0) gomem_free(handed[i]);
        else if (i % 3 == 1) gomem_free_sized(handed[i], i % 700 + 1);
        else handed[i] = gomem_realloc(handed[i], 10);
    }
    return arg;
}

static void *allocate_all(void *arg) {
    for (size_t i = 0; i < HANDED; i++) {
        handed[i] = gomem_malloc(i % 700 + 1);
        if (handed[i] == NULL) return NULL;
        memset(handed[i], (int)i & 0xff, i % 700 + 1);
    }
    return arg;
}

TEST(freed_on_another_thread) {
    for (int round = 0; round < 10; round++) {
        pthread_t thread;
        for (size_t i = 0; i < HANDED; i++) {
            handed[i] = gomem_malloc(i % 700 + 1);
            REQUIRE(handed[i] != NULL);
            handed[i][0] = (unsigned char)i;
        }
        REQUIRE(pthread_create(&thread, NULL, free_all, handed) == 0);
        pthread_join(thread, NULL);
        for (size_t i = 2; i < HANDED; i += 3) {
            CHECK(handed[i][0] == (unsigned char)i);
            gomem_free(handed[i]);
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

// The thread that allocated is gone; what it left behind is intact and can be freed.
TEST(outlives_its_thread) {
    for (int round = 0; round < 10; round++) {
        pthread_t thread;
        void *result = NULL;
        REQUIRE(pthread_create(&thread, NULL, allocate_all, handed) == 0);
        pthread_join(thread, &result);
        REQUIRE(result == handed);
        for (size_t i = 0; i < HANDED; i++) {
            for (size_t j = 0; j < i % 700 + 1; j++) REQUIRE(handed[i][j] == (i & 0xff));
            gomem_free(handed[i]);
        }
    }
    CHECK(HEAP_IS_WHOLE());
}

// The largest blocks first, then what is left: address space is joined again.
TEST(neighbours_coalesce) {
    enum { N = 64 };
    void *blocks[N];
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < N; i++) {
            blocks[i] = gomem_malloc((size_t)1 << 20);
            REQUIRE(blocks[i] != NULL);
        }
        for (size_t i = 0; i < N; i += 2) gomem_free(blocks[i]);
        for (size_t i = 1; i < N; i += 2) gomem_free(blocks[i]);
        void *whole = gomem_malloc((size_t)60 << 20);
        REQUIRE(whole != NULL);
        gomem_free(whole);
    }
    gomem_memstats stats = {.size = sizeof stats};
    gomem_read_memstats(&stats);
    CHECK(stats.heap_sys < (uint64_t)400 << 20);
    CHECK(HEAP_IS_WHOLE());
}

// Memory that was reused goes back once it is not any more, if only small objects are freed then.
static void small_ones_after_large(void) {
    enum { LARGE = 100, SMALL = 4000, ROUNDS = 1000 };
    static void *p[SMALL];
    gomem_memstats m = {.size = sizeof m};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < LARGE; i++) {
            p[i] = gomem_malloc(1 << 20);
            if (!CHECK(p[i] != NULL)) return;
            memset(p[i], 1, 1 << 20);
        }
        for (int i = 0; i < LARGE; i++) gomem_free(p[i]);
    }
    for (int round = 0; round < ROUNDS; round++) { // a hang guard: two to three seconds are enough
        for (int i = 0; i < SMALL; i++) p[i] = gomem_malloc(64);
        for (int i = 0; i < SMALL; i++) gomem_free(p[i]);
        gomem_read_memstats(&m);
        if (m.heap_idle - m.heap_released < (uint64_t)48 << 20) return;
        usleep(10000);
    }
    CHECK(m.heap_idle - m.heap_released < (uint64_t)48 << 20);
}
TEST(reused_memory_goes_back) {
    NEEDS_FORK;
    CHILD_GOOD(small_ones_after_large);
}

TEST_MAIN
