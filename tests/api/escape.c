// Escape hints: where they go and why, loops, threads with small stacks, coroutines, nested hints,
// copies of what escapes, the report, pointers into frames that have returned.
#define _GNU_SOURCE
#include "gomem.h"
#include "test.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { KB = 1024, MB = 1024 * 1024 };

typedef struct wide {
    _Alignas(256) char bytes[256];
} wide;

static bool zero(const void *p, size_t n) {
    const char *bytes = p;
    for (size_t i = 0; i < n; i++)
        if (bytes[i]) return false;
    return true;
}
static bool in_heap(const void *p) { return gomem_base(p) == p; }

TEST(small_ones_are_on_the_stack) {
    char local;
    for (volatile size_t n = 1; n <= 512; n *= 2) {
        long *p = GOMEM_STACK(long, n);
        REQUIRE(p != NULL);
        CHECK(!in_heap(p) && zero(p, n * sizeof *p) && (uintptr_t)p % _Alignof(long) == 0);
        CHECK((uintptr_t)&local - (uintptr_t)p < 64 * KB ||
              (uintptr_t)p - (uintptr_t)&local < 64 * KB);
        memset(p, 1, n * sizeof *p);
    }
    char *constant = GOMEM_STACK(char, 100);
    CHECK(!in_heap(constant) && zero(constant, 100));
}

TEST(large_ones_are_in_the_heap) {
    char *p = GOMEM_STACK(char, GOMEM_STACK_MAX), *q = GOMEM_STACK(char, GOMEM_STACK_MAX + 1);
    REQUIRE(p && q);
    CHECK(!in_heap(p) && in_heap(q) && zero(q, GOMEM_STACK_MAX + 1));
    volatile size_t n = MB;
    char *large = GOMEM_STACK(char, n);
    CHECK(large && in_heap(large) && zero(large, n));
}

TEST(counts_that_are_wrong) {
    volatile size_t most = SIZE_MAX;
    volatile long negative = -1;
    errno = 0;
    CHECK(GOMEM_STACK(long, most) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(GOMEM_STACK(long, negative) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(GOMEM_HINT(long, most / 8, 1) == NULL && errno == ENOMEM);
    errno = 77;
    CHECK(GOMEM_STACK(long, 0) != NULL && errno == 77);
}

// A million rounds would take 120 MB of stack.
static size_t loop(size_t rounds, size_t *heap) {
    size_t sum = 0;
    for (size_t i = 0; i < rounds; i++) {
        char *p = GOMEM_STACK(char, 120);
        if (!p) return 0;
        *heap += in_heap(p);
        sum += zero(p, 120);
        memset(p, 9, 120);
    }
    return sum;
}

TEST(hint_in_a_loop) {
    size_t heap = 0;
    CHECK_EQ(loop(1000000, &heap), 1000000);
    CHECK(heap > 900000 && heap < 1000000);
    heap = 0;
    CHECK_EQ(loop(1000, &heap), 1000); // the stack is there again
    CHECK_EQ(heap, 0);
}

// What hints take, in a loop and in a recursion, is a quarter of the stack at most: its frames and those
// of functions that are called then have the rest. On a thread, whose stack is known to a byte.
static uintptr_t lowest;
static int recur(int depth) {
    char *p = GOMEM_STACK(char, 400);
    if (!p) return -1;
    if (!in_heap(p) && (uintptr_t)p < lowest) lowest = (uintptr_t)p;
    p[0] = 1;
    return depth ? recur(depth - 1) + p[0] : 0;
}
static void take_in_loop(int rounds) {
    for (int i = 0; i < rounds; i++) {
        char *p = GOMEM_STACK(char, i % 4096 + 1);
        if (p && !in_heap(p) && (uintptr_t)p < lowest) lowest = (uintptr_t)p;
    }
}

static void *take_a_quarter(void *arg) {
    pthread_attr_t attr;
    void *lo = NULL;
    size_t size = 0;
    if (!CHECK(pthread_getattr_np(pthread_self(), &attr) == 0)) return arg;
    CHECK(pthread_attr_getstack(&attr, &lo, &size) == 0);
    pthread_attr_destroy(&attr);
    lowest = UINTPTR_MAX;
    take_in_loop(10000);
    CHECK(lowest >= (uintptr_t)lo + size - size / 4 && lowest < (uintptr_t)lo + size);
    lowest = UINTPTR_MAX;
    CHECK_EQ(recur(3000), 3000); // 1.2 MB by hints alone
    CHECK(lowest >= (uintptr_t)lo + size - size / 4 && lowest < (uintptr_t)lo + size);
    return arg;
}

TEST(a_quarter_of_the_stack) {
    pthread_attr_t attr;
    pthread_t t;
#if defined(TEST_TSAN) || defined(TEST_ASAN)
    SKIP("stacks of a sanitizer are of another kind");
#endif
    pthread_attr_init(&attr);
    REQUIRE(pthread_attr_setstacksize(&attr, 2 * MB) == 0);
    REQUIRE(pthread_create(&t, &attr, take_a_quarter, NULL) == 0);
    pthread_join(t, NULL);
    pthread_attr_destroy(&attr);
}

TEST(aligned) {
    for (volatile int n = 1; n < 4; n++) {
        wide *w = GOMEM_STACK(wide, n);
        REQUIRE(w != NULL);
        CHECK((uintptr_t)w % 256 == 0 && !in_heap(w) && zero(w, (size_t)n * sizeof *w));
    }
    wide *large = GOMEM_STACK(wide, 100);
    CHECK(large && (uintptr_t)large % 256 == 0 && in_heap(large));
}

static int calls;
static int count(void) { return ++calls; }

TEST(evaluated_once_and_nested) {
    int *p = GOMEM_STACK(int, count());
    CHECK(p && calls == 1);
    int *q = GOMEM_HINT(int, count(), 1);
    CHECK(q && calls == 2 && in_heap(q));
    int *outer = GOMEM_STACK(int, *GOMEM_STACK(int, 1) + 3);
    CHECK(outer && zero(outer, 3 * sizeof *outer));
}

TEST(told_to) {
    for (volatile int escapes = 0; escapes < 2; escapes++) {
        long *p = GOMEM_HINT(long, 5, escapes);
        REQUIRE(p != NULL);
        CHECK(in_heap(p) == (escapes == 1) && zero(p, 5 * sizeof *p));
    }
}

TEST(copies_of_what_escapes) {
    static long global[3] = {4, 5, 6};
    long local[3] = {1, 2, 3};
    long *p = GOMEM_ESCAPE(local, 3);
    REQUIRE(p != NULL);
    CHECK(p != local && in_heap(p) && p[0] == 1 && p[1] == 2 && p[2] == 3);
    CHECK(GOMEM_ESCAPE(p, 3) == p && GOMEM_ESCAPE(global, 3) == global);
    long *manual = GOMEM_MALLOC(long);
    CHECK(GOMEM_ESCAPE(manual, 1) == manual);
    GOMEM_FREE(long, manual);
    CHECK(GOMEM_ESCAPE((long *)NULL, 1) == NULL);
    long *hinted = GOMEM_STACK(long, 2);
    hinted[1] = 8;
    long *kept = GOMEM_ESCAPE(hinted, 2);
    CHECK(kept && kept != hinted && in_heap(kept) && kept[1] == 8);
    volatile size_t most = SIZE_MAX;
    errno = 0;
    CHECK(GOMEM_ESCAPE(local, most) == NULL && errno == ENOMEM);
}

// What a copy points at lives.
TEST(copies_hold) {
    long **p = GOMEM_STACK(long *, 1);
    *p = GOMEM_NEW(long);
    REQUIRE(*p != NULL);
    **p = 42;
    long **kept = GOMEM_ESCAPE(p, 1);
    *p = NULL;
    gomem_gc();
    CHECK(kept && **kept == 42);
}

// ---- other stacks ----

static void *on_thread(void *arg) {
    size_t heap = 0;
    CHECK_EQ(loop(100000, &heap), 100000);
    CHECK(heap > 0 && heap < 100000);
    return arg;
}

static void *on_small_stack(void *arg) {
    char *p = GOMEM_STACK(char, 100);
    CHECK(p && in_heap(p)); // less than the reserve is left
    return arg;
}

TEST(threads) {
    pthread_attr_t attr;
    pthread_t t;
    REQUIRE(pthread_create(&t, NULL, on_thread, NULL) == 0);
    pthread_join(t, NULL);
    pthread_attr_init(&attr);
    size_t small = 60 * KB;
    if (small < (size_t)PTHREAD_STACK_MIN) small = (size_t)PTHREAD_STACK_MIN;
#if defined(TEST_TSAN) || defined(TEST_ASAN)
    return; // their threads need more
#endif
    if (small > 64 * KB || pthread_attr_setstacksize(&attr, small)) return;
    REQUIRE(pthread_create(&t, &attr, on_small_stack, NULL) == 0);
    pthread_join(t, NULL);
    pthread_attr_destroy(&attr);
    REQUIRE(pthread_create(&t, NULL, on_thread, NULL) == 0); // in the record of that one
    pthread_join(t, NULL);
}

static void *on_given_stack(void *arg) {
    char *p = GOMEM_STACK(char, 100);
    CHECK(p && !in_heap(p));
    return arg;
}

// A thread's record knows nothing of the stack of the one that had it before.
TEST(threads_on_other_stacks) {
#if defined(TEST_TSAN) || defined(TEST_ASAN)
    SKIP("their threads need more");
#endif
    enum { STACK = 1024 * KB, APART = 3 };
    char *both = mmap(NULL, (size_t)2 * APART * STACK, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(both != MAP_FAILED);
    for (int i = 0; i < 4; i++) {
        pthread_attr_t attr;
        pthread_t t;
        pthread_attr_init(&attr);
        REQUIRE(!pthread_attr_setstack(&attr, both + (size_t)(i % 2 ? 0 : APART) * STACK, STACK));
        REQUIRE(pthread_create(&t, &attr, on_given_stack, NULL) == 0);
        pthread_join(t, NULL);
        pthread_attr_destroy(&attr);
    }
    munmap(both, (size_t)2 * APART * STACK);
}

static ucontext_t here, there;
static bool was_in_heap;

static void coroutine(void) {
    char *p = GOMEM_STACK(char, 100);
    was_in_heap = p && in_heap(p);
    char local[10] = "text";
    char *kept = GOMEM_ESCAPE(local, sizeof local);
    CHECK(kept && !strcmp(kept, "text") && in_heap(kept) == !was_in_heap);
}

static void run_coroutine(char *stack, size_t size) {
    REQUIRE(getcontext(&there) == 0);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = size;
    there.uc_link = &here;
    makecontext(&there, coroutine, 0);
    REQUIRE(swapcontext(&here, &there) == 0);
}

TEST(coroutines) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("the sanitizer wants to be told of coroutines");
#endif
    enum { SIZE = 256 * KB };
    char *stack = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stack != MAP_FAILED);
    run_coroutine(stack, SIZE);
    CHECK(was_in_heap); // a stack that is not known
    REQUIRE(gomem_add_stack(stack, stack + SIZE));
    run_coroutine(stack, SIZE);
    CHECK(!was_in_heap);
    gomem_remove_stack(stack);
    munmap(stack, SIZE);
}

static pthread_key_t key;
static void use_late(void *arg) {
    char *p = GOMEM_STACK(char, 100);
    CHECK(p && zero(p, 100));
    static int rounds;
    if (++rounds < 4) pthread_setspecific(key, arg); // gomem's own destructor comes first
}
static void *end_late(void *arg) {
    char *p = GOMEM_STACK(char, 10);
    CHECK(p != NULL);
    pthread_setspecific(key, arg);
    return NULL;
}

TEST(while_the_thread_ends) {
    pthread_t t;
    REQUIRE(pthread_key_create(&key, use_late) == 0);
    REQUIRE(pthread_create(&t, NULL, end_late, &key) == 0);
    pthread_join(t, NULL);
    pthread_key_delete(key);
}

// ---- the report ----

TEST(report_of_a_child) {
    if (!getenv("ESCAPE_CHILD")) return;
    for (volatile int i = 0; i < 10; i++) {
        char *p = GOMEM_STACK(char, i < 7 ? 100 : 5000);
        CHECK(p != NULL);
    }
    CHECK(GOMEM_HINT(long, 4, 1) && GOMEM_HINT(long, 2, 0));
    volatile size_t most = SIZE_MAX / 2, large = (size_t)PTRDIFF_MAX / 2;
    for (volatile int i = 0; i < 6; i++) // all that can become of one
        (void)GOMEM_HINT(char, i == 0 ? 64 : i == 1 ? most : i == 2 ? large : 6000, i == 5);
}

TEST(report) {
    if (getenv("ESCAPE_CHILD")) return;
    char text[4096] = "";
    int ends[2], status = 1;
    REQUIRE(pipe(ends) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setenv("ESCAPE_CHILD", "1", 1);
        setenv("GOMEM_DEBUG", "escape=1", 1);
        dup2(ends[1], 2);
        close(1);
        execl("/proc/self/exe", "escape", "report_of_a_child", (char *)NULL);
        _exit(1);
    }
    close(ends[1]);
    for (size_t n = 0; n < sizeof text - 1;) {
        ssize_t got = read(ends[0], text + n, sizeof text - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    const char *most = strstr(text,
                              ": does not escape: 7 times, 700 bytes; moved to heap: 3 times, "
                              "15000 bytes (too large)\n");
    const char *told = strstr(text, ": moved to heap: 1 times, 32 bytes (told to)");
    const char *both = strstr(text, ": does not escape: 1 times, 16 bytes; moved to heap: 1 times, "
                                    "32 bytes (told to)"); // one line, one site
    CHECK(strstr(text, ": does not escape: 1 times, 64 bytes; moved to heap: 3 times, 18000 bytes "
                       "(too large 2 x, told to 1 x); no memory: 2 times\n"));
    CHECK(most != NULL && strstr(text, "escape.c:") != NULL);
    CHECK(told != NULL || both != NULL);
    if (most && both) CHECK(most < both); // most bytes first
}

// ---- pointers into frames that have returned ----

static char heard[600];
static int warned;
static void hear(const char *line, void *user) {
    (void)user;
    warned++;
    snprintf(heard, sizeof heard, "%s", line);
}

struct keeper {
    long *p;
};
static struct keeper *keeper; // a root

__attribute__((noinline)) static void keep_too_long(bool look) {
    char frame[600]; // deeper than what gomem_gc needs to get going
    (void)test_opaque(frame);
    long *p = GOMEM_STACK(long, 4);
    GOMEM_STORE(&keeper->p, test_opaque(p));
    if (!look) return;
    gomem_gc();
    CHECK_EQ(warned, 0); // it has not returned yet
}

// No deeper than the frames of gomem_gc itself.
__attribute__((noinline)) static void keep_too_long_nearby(void) {
    long *p = GOMEM_STACK(long, 1);
    GOMEM_STORE(&keeper->p, test_opaque(p));
}

enum { MANY = 30 };
static struct keeper *keepers[MANY]; // roots

__attribute__((noinline)) static void keep_many(void) {
    char frame[600];
    (void)test_opaque(frame);
    for (int i = 0; i < MANY; i++) {
        long *p = GOMEM_STACK(long, 1);
        GOMEM_STORE(&keepers[i]->p, test_opaque(p));
    }
}

__attribute__((noinline)) static void use_stack(void) {
    volatile char other[512];
    memset((char *)other, 0, sizeof other);
}

TEST(dead_frames_are_told) {
    gomem_options options = {.warn = hear};
    REQUIRE(gomem_init(&options));
    keeper = GOMEM_NEW(struct keeper);
    REQUIRE(keeper != NULL);
    keep_too_long(true);
    gomem_gc();
    if (GOMEM_I_CHECK >= 1) {
        CHECK_EQ(warned, 1);
        CHECK(strstr(heard, "points into the stack of a function that has returned") != NULL);
        CHECK(strstr(heard, "escape.c:") != NULL && strstr(heard, "8-byte object") == NULL);
        gomem_gc();
        CHECK_EQ(warned, 1); // once
    }
    warned = 0;
    keep_too_long_nearby();
    gomem_gc();
    CHECK_EQ(warned, GOMEM_I_CHECK >= 1);
    warned = 0;
    keep_too_long(false);
    GOMEM_STORE(&keeper->p, NULL); // in time
    use_stack();
    gomem_gc();
    CHECK_EQ(warned, 0);
    keeper = NULL;
}

TEST(few_dead_frames_are_told_at_once) {
    for (int i = 0; i < MANY; i++) REQUIRE((keepers[i] = GOMEM_NEW(struct keeper)) != NULL);
    warned = 0;
    keep_many();
    gomem_gc();
    CHECK_EQ(warned, GOMEM_I_CHECK >= 1 ? 10 : 0);
}

TEST_MAIN
