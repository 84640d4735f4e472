// gomem_shutdown: what remains after it, and starting again. Each test is a child of a parent that
// never uses the heap.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <stdatomic.h>

struct item {
    struct item *next;
    uintptr_t key;
};

GOMEM_TYPE(item_type, struct item, next);

#define CHECK_SHUT(expression)       \
    do {                             \
        errno = 0;                   \
        CHECK((expression) == NULL); \
        CHECK_EQ(errno, ESHUTDOWN);  \
    } while (0)

static void check_shut(void) {
    static struct item *nothing;
    CHECK_SHUT(gomem_malloc(10));
    CHECK_SHUT(gomem_malloc(100000));
    CHECK_SHUT(gomem_calloc(1, 10));
    CHECK_SHUT(gomem_aligned_alloc(64, 10));
    CHECK_SHUT(gomem_realloc(NULL, 10));
    CHECK_SHUT(gomem_strdup("x"));
    CHECK_SHUT(gomem_new(10));
    CHECK_SHUT(gomem_new(100000));
    CHECK_SHUT(gomem_new_noscan(10));
    CHECK_SHUT(gomem_new_typed(&item_type, 1));
    CHECK_SHUT(gomem_new_with(10, 0, GOMEM_UNCOLLECTABLE));
    CHECK_SHUT(gomem_new_string("x", SIZE_MAX));
    CHECK_SHUT(GOMEM_NEW(struct item));
    CHECK_SHUT(GOMEM_NEW_NOSCAN(struct item));
    CHECK_SHUT(GOMEM_NEW_TYPED(struct item, &item_type));
    CHECK_SHUT(GOMEM_MAKE(struct item, 3));
    CHECK_SHUT(GOMEM_MALLOC(struct item));
    CHECK_SHUT(GOMEM_MALLOC_N(struct item, 3));
    CHECK_SHUT(GOMEM_RESIZE(struct item, nothing, 3));
    gomem_gc();
}

// Uses everything, with results checked.
static bool use(size_t n) {
    struct item *head = NULL;
    char **texts = gomem_new(n * sizeof *texts);
    bool good = texts != NULL;
    for (size_t i = 0; i < n && good; i++) {
        struct item *item = i % 2 == 0 ? GOMEM_NEW(struct item)
                                       : GOMEM_NEW_TYPED(struct item, &item_type);
        good = item != NULL && item->next == NULL && item->key == 0;
        if (!good) break;
        item->key = i;
        item->next = head;
        head = item;
        texts[i] = gomem_new_string("text", SIZE_MAX);
        struct item *manual = GOMEM_MALLOC(struct item);
        void *large = i % 100 == 0 ? gomem_malloc(50000) : gomem_malloc(i);
        good = texts[i] != NULL && manual != NULL && large != NULL;
        GOMEM_FREE(struct item, manual);
        gomem_free(large);
        if (i % 500 == 0) gomem_gc();
    }
    for (size_t i = n; i-- > 0 && good; head = head->next)
        good = head->key == i && strcmp(texts[i], "text") == 0;
    return good && HEAP_IS_WHOLE();
}

static void everything_fails_after(void) {
    CHECK(use(1000));
    gomem_shutdown();
    check_shut();
}

static void old_pointers_are_ignored(void) {
    struct item *manual = GOMEM_MALLOC(struct item);
    struct item *typed = GOMEM_NEW_TYPED(struct item, &item_type);
    void *all[] = {gomem_malloc(10),
                   gomem_malloc(100000),
                   gomem_new(10),
                   gomem_new(100000),
                   gomem_new_with(10, 0, GOMEM_UNCOLLECTABLE),
                   typed,
                   manual};
    gomem_shutdown();
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        gomem_free(test_opaque(all[i]));
        gomem_free_sized(test_opaque(all[i]), 10);
        GOMEM_FREE(struct item, (struct item *)all[i]);
    }
    CHECK(gomem_base(all[0]) == NULL);
    check_shut();
}

static void starts_again(void) {
    for (int i = 0; i < 20; i++) {
        CHECK(use(2000));
        gomem_shutdown();
        check_shut();
        CHECK(gomem_init(NULL));
    }
    CHECK(use(2000));
}

static int count_lines(const char *path) {
    int lines = 0, c;
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0;
    while ((c = fgetc(file)) != EOF) lines += c == '\n';
    fclose(file);
    return lines;
}

// Address space, threads and descriptors are given back: rounds do not add up.
static void leaves_nothing_behind(void) {
    int early = 0, late = 0;
    for (int i = 0; i < 30; i++) {
        CHECK(gomem_init(NULL));
        CHECK(use(2000));
        gomem_shutdown();
        if (i == 5) early = count_lines("/proc/self/maps");
    }
    late = count_lines("/proc/self/maps");
    CHECK(late <= early + 5);
}

static void other_options_afterwards(void) {
    gomem_options options = {.gc_percent = 50, .reserve = (size_t)64 << 20};
    CHECK(gomem_init(&options));
    CHECK(use(1000));
    gomem_shutdown();
    options.gc_percent = 200;
    options.reserve = (size_t)512 << 20;
    CHECK(gomem_init(&options));
    CHECK(use(1000));
    CHECK_EQ(gomem_set_gc_percent(100), 200);
    void *p = gomem_malloc((size_t)200 << 20);
    CHECK(p != NULL);
    gomem_free(p);
}

static void without_or_twice(void) {
    gomem_shutdown(); // nothing was started
    CHECK(gomem_init(NULL));
    CHECK(use(500));
    gomem_shutdown();
    gomem_shutdown();
    check_shut();
}

// A thread that used the heap, rests across shutdown and start, and goes on.
static pthread_barrier_t barrier;

static void *rest_and_go_on(void *arg) {
    CHECK(use(1000));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); // shut down
    if (arg != NULL) check_shut();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier); // started again
    for (int i = 0; i < 5; i++) CHECK(use(1000));
    return NULL;
}

static void threads_go_on(void) {
    enum { N = 4 };
    pthread_t threads[N];
    pthread_barrier_init(&barrier, NULL, N + 1);
    for (int i = 0; i < N; i++)
        CHECK(pthread_create(&threads[i], NULL, rest_and_go_on, i % 2 == 0 ? NULL : &barrier) == 0);
    CHECK(use(1000));
    pthread_barrier_wait(&barrier);
    gomem_shutdown();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    CHECK(gomem_init(NULL));
    pthread_barrier_wait(&barrier);
    CHECK(use(3000));
    gomem_gc();
    for (int i = 0; i < N; i++) pthread_join(threads[i], NULL);
    CHECK(use(1000));
}

static void *use_and_wait(void *arg) {
    CHECK(use(500));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return arg;
}

// A thread ends after shutdown, and another after the next start without having used it.
static void threads_end_later(void) {
    for (int restarted = 0; restarted < 2; restarted++) {
        pthread_t thread;
        pthread_barrier_init(&barrier, NULL, 2);
        CHECK(pthread_create(&thread, NULL, use_and_wait, NULL) == 0);
        pthread_barrier_wait(&barrier);
        gomem_shutdown();
        if (restarted) CHECK(gomem_init(NULL));
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
        if (!restarted) CHECK(gomem_init(NULL));
        CHECK(use(1000));
        gomem_gc();
        pthread_barrier_destroy(&barrier);
    }
}

// Roots and stacks of the first life mean nothing in the second.
static void roots_are_forgotten(void) {
    static volatile uintptr_t words[4];
    uintptr_t *outside = calloc(8, 8);
    if (!CHECK(outside != NULL)) return;
    CHECK(gomem_add_root(outside, 64));
    CHECK(use(100));
    gomem_shutdown();
    CHECK(gomem_init(NULL));
    CHECK(!gomem_remove_root(outside));
    free(outside);
    words[0] = 0;
    alive_check_slot(&words[0], 0);
}

static void count_calls(void *arg) { ++*(int *)arg; }

// Nor do its weak pointers and cleanups, although their records are used again.
static void handles_are_forgotten(void) {
    enum { N = 100 };
    static gomem_weak weak[N];
    static gomem_cleanup cleanups[N];
    static void *objects[N];
    static int calls;
    for (int i = 0; i < N; i++) {
        CHECK((objects[i] = gomem_new(32)) != NULL);
        weak[i] = gomem_weak_make(objects[i]);
        cleanups[i] = gomem_add_cleanup(objects[i], count_calls, &calls);
        CHECK(weak[i].id && cleanups[i].id);
    }
    gomem_shutdown();
    CHECK(gomem_init(&(gomem_options){.finalizers_by_hand = true}));
    for (int i = 0; i < N; i++) {
        CHECK((objects[i] = gomem_new(32)) != NULL);
        CHECK(gomem_weak_get(gomem_weak_make(objects[i])) == objects[i]);
        CHECK(gomem_add_cleanup(objects[i], count_calls, &calls).id != 0);
    }
    for (int i = 0; i < N; i++) {
        CHECK(gomem_weak_get(weak[i]) == NULL);
        gomem_cancel_cleanup(cleanups[i]);
    }
    for (int i = 0; i < N; i++) gomem_free(objects[i]);
    CHECK_EQ(gomem_run_finalizers(2 * N), N); // none was canceled
    CHECK_EQ(calls, N);
}

static int handled_signals(void) {
    int n = 0;
    for (int s = SIGRTMIN; s <= SIGRTMAX; s++) {
        struct sigaction now;
        n += sigaction(s, NULL, &now) == 0 && now.sa_handler != SIG_DFL;
    }
    return n;
}

static void *ends_much_later(void *arg) {
    CHECK(use(1000));
    pthread_barrier_wait(arg);
    pthread_barrier_wait(arg);
    return NULL;
}

// What is left in the process: no handler, no key, and records of threads that have ended since are
// used again. So the library may be unloaded.
static void nothing_is_installed(void) {
    pthread_key_t before, after;
    int handlers = handled_signals();
    REQUIRE(pthread_key_create(&before, NULL) == 0 && pthread_key_delete(before) == 0);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        pthread_barrier_t barrier;
        pthread_barrier_init(&barrier, NULL, 2);
        REQUIRE(pthread_create(&thread, NULL, ends_much_later, &barrier) == 0);
        pthread_barrier_wait(&barrier);
        CHECK(use(1000));
        gomem_gc();
        CHECK_EQ(handled_signals(), handlers + 1);
        gomem_shutdown();
        CHECK_EQ(handled_signals(), handlers);
        REQUIRE(pthread_key_create(&after, NULL) == 0 && pthread_key_delete(after) == 0);
        CHECK_EQ(after, before);
        pthread_barrier_wait(&barrier);
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&barrier);
        CHECK(gomem_init(NULL));
    }
}

#define CHILD_TEST(fn) \
    TEST(shutdown_##fn) { CHILD_GOOD(fn); }

CHILD_TEST(everything_fails_after)
CHILD_TEST(old_pointers_are_ignored)
CHILD_TEST(starts_again)
CHILD_TEST(leaves_nothing_behind)
CHILD_TEST(other_options_afterwards)
CHILD_TEST(without_or_twice)
CHILD_TEST(threads_go_on)
CHILD_TEST(threads_end_later)
CHILD_TEST(roots_are_forgotten)
CHILD_TEST(handles_are_forgotten)
CHILD_TEST(nothing_is_installed)

TEST_MAIN
