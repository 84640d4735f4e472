// The kernel refuses a call at an arbitrary point, in each collector: one call of a program that
// uses all parts, or a few in a row, or all from one on, fail with each error that it may fail
// with. Nothing crashes, hangs or is lost, an allocation works or returns NULL with ENOMEM, and as
// soon as calls succeed again everything works, and the memory goes back.
// The seams of the implementation are set (faults.h); each run is a forked child.
// STRESS=1 tries every call with every error, FAULTS=name only those kinds whose name holds it.
#define _GNU_SOURCE
#include "faults.h"
#include "stress.h"

#include <limits.h>
#include <malloc.h>
#include <sys/resource.h>

// ---- the program ----

// A list of up to n nodes among ten times as many that are dropped; it is whole.
static void keep_list(uintptr_t n) {
    struct node *volatile list = NULL;
    uintptr_t length = 0;
    for (uintptr_t i = 0; i < n * 10; i++) {
        struct node *node = fault_checked(GOMEM_NEW(struct node));
        if (node == NULL) continue;
        CHECK(node->next == NULL && node->index == 0);
        if (i % 10 != 0) continue;
        GOMEM_STORE(&node->next, list);
        node->index = length++;
        list = node;
    }
    fault_check_list(list, length);
}

static void *thread_part(void *arg) {
    gomem_free(fault_checked(gomem_malloc(5000)));
    keep_list(300);
    return arg;
}

static void manual_part(void) {
    static void *blocks[200];
    for (size_t i = 0; i < 200; i++) {
        blocks[i] = fault_checked(gomem_malloc(i % 20 == 0 ? i * 3000 : i * 20));
        if (blocks[i] != NULL) memset(blocks[i], 1, i * 20);
    }
    for (size_t i = 20; i < 200; i += 60) {
        void *p = blocks[i] ? fault_checked(gomem_realloc(blocks[i], 2000000 + i * 5000)) : NULL;
        if (p != NULL) CHECK(*(char *)p == 1);
        if (p != NULL) blocks[i] = p;
    }
    for (int i = 0; i < 2; i++) { // the one behind is in the way
        char *p = fault_checked(gomem_realloc(NULL, 3000000)),
             *behind = fault_checked(gomem_malloc(3000000));
        if (p != NULL) p[2999999] = 5;
        char *q = p ? fault_checked(gomem_realloc(p, 6000000)) : NULL;
        if (p != NULL) CHECK((q ? q : p)[2999999] == 5);
        gomem_free(q ? q : p);
        gomem_free(behind);
    }
    gomem_free(fault_checked(gomem_aligned_alloc(1 << 20, 100000)));
    for (size_t i = 0; i < 200; i++) gomem_free(blocks[i]);
}

static void large_part(void) {
    char *volatile kept = NULL;
    for (int i = 0; i < 12; i++) {
        char **p = fault_checked(gomem_new(400000)); // scanned
        if (p == NULL) continue;
        CHECK(p[0] == NULL && p[49999] == NULL);
        GOMEM_STORE(&p[49999], kept);
        kept = (char *)p;
    }
    int n = 0;
    for (char **p = (char **)kept; p != NULL; p = (char **)p[49999]) n++;
    CHECK(n <= 12);
    char *text = fault_checked(gomem_new_noscan(500000));
    if (text == NULL) return;
    memset(text, 7, 500000);
    char *longer = fault_checked(gomem_realloc(text, 3000000));
    CHECK((longer ? longer : text)[499999] == 7);
}

static void pool_part(void) {
    static void *objects[300];
    errno = 0;
    gomem_pool *pool = fault_checked(gomem_pool_new(&(gomem_pool_options){.size = 200}));
    for (int i = 0; pool && i < 300; i++)
        if ((objects[i] = fault_checked(gomem_pool_get(pool)))) memset(objects[i], 3, 200);
    for (int i = 0; pool && i < 300; i++)
        if (objects[i]) gomem_pool_put(pool, objects[i]);
    if (pool) gomem_pool_destroy(pool);
    pool = fault_checked(
        gomem_pool_new(&(gomem_pool_options){.size = 64, .capacity = 2000, .flags = GOMEM_SCAN}));
    if (pool) gomem_pool_destroy(pool);
}

static void arena_part(void) {
    gomem_arena a;
    for (int kind = 0; kind < 3; kind++) {
        gomem_arena_options o = {.reserve = kind == 1 ? 1 << 20 : 0,
                                 .flags = kind == 2 ? GOMEM_SCAN : 0};
        errno = 0;
        if (!gomem_arena_init(&a, &o)) {
            CHECK_EQ(errno, ENOMEM);
            continue;
        }
        for (int i = 0; i < 5; i++) {
            errno = 0;
            char *p = fault_checked(gomem_arena_alloc(&a, 100000));
            if (p) CHECK(p[0] == 0 && p[99999] == 0);
        }
        gomem_arena_reset(&a);
        gomem_arena_free(&a);
    }
}

__attribute__((noinline)) static void finalized_part(void) {
    for (int i = 0; i < 20; i++) {
        struct node *node = fault_checked(GOMEM_NEW(struct node));
        if (node && !gomem_set_finalizer(node, finalize, NULL)) CHECK(errno == ENOMEM);
        errno = 0;
        gomem_weak w = node ? gomem_weak_make(node) : (gomem_weak){0};
        if (node && w.id) CHECK(gomem_weak_get(w) == node);
        else if (node) CHECK_EQ(errno, ENOMEM);
        errno = 0;
    }
}

static void threads_part(void) {
    pthread_t plain[2], made;
    bool is[2];
    for (int i = 0; i < 2; i++) is[i] = !pthread_create(&plain[i], NULL, thread_part, NULL);
    int error = gomem_thread_create(&made, NULL, thread_part, NULL);
    if (error == 0) gomem_thread_join(&made, NULL);
    else CHECK(error == EAGAIN || error == ENOMEM || error == EPERM);
    for (int i = 0; i < 2; i++)
        if (is[i]) pthread_join(plain[i], NULL);
}

// A collection, which may be refused only while something fails.
static void collect(void) {
    errno = 0;
    if (fault_is == FAULT_KINDS) CHECK(COLLECTED());
    else if (!gomem_gc()) CHECK(errno == EAGAIN || errno == ENOMEM);
    errno = 0;
}

static int collector;

static bool start(void) {
    gomem_options o = {.collector = collector, .gc_percent = 50};
    errno = 0;
    if (gomem_init(&o)) return true;
    CHECK_EQ(errno, ENOMEM);
    CHECK(fault_is != FAULT_KINDS);
    return false;
}

static void all_parts(void) {
    static void *here[30000]; // large enough to be tracked
    gomem_memstats m = {.size = sizeof m};
    manual_part();
    keep_list(1500);
    large_part();
    threads_part();
    finalized_part();
    collect();
    pool_part();
    arena_part();
    errno = 0;
    if (gomem_add_root(here, sizeof here)) CHECK(gomem_remove_root(here));
    gomem_read_memstats(&m);
    // what the kernel supports is not judged by a mapping that failed
    if (fault_is == FAULT_MMAP) CHECK(m.collector_reason != GOMEM_REASON_KERNEL);
    keep_list(200);
    collect();
    gomem_free_os_memory();
    CHECK(HEAP_IS_WHOLE());
}

// Bytes that /proc/self/status names so.
static size_t status_bytes(const char *name) {
    char line[200];
    size_t kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name))) kib = strtoul(line + strlen(name) + 1, NULL, 10);
    if (f) fclose(f);
    return kib << 10;
}

// Nothing fails any more: all works, callbacks run, and the memory goes back.
static void afterwards(size_t space) {
    fault_is = FAULT_KINDS;
    if (!CHECK(start())) return;
    all_parts();
    int before = atomic_load(&finalized);
    for (int i = 0; i < 5000 && atomic_load(&finalized) == before; i++) finalized_part(), collect();
    CHECK(atomic_load(&finalized) > before);
    collect();
    gomem_free_os_memory();
    CHECK(HEAP_IS_WHOLE());
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    CHECK(m.heap_inuse < 10 << 20); // a stale word on the stack may keep the large objects
    CHECK(m.heap_idle - m.heap_released < 4 << 20);
    gomem_shutdown();
    CHECK(status_bytes("VmSize") < space + ((size_t)512 << 20));
}

static void run_with_faults(void) {
    enum fault_kind kind = fault_is;
    size_t space = status_bytes("VmSize");
    alarm(120);
    mallopt(M_ARENA_MAX, 1); // a further arena of libc takes 64 MiB of address space
    if (start()) all_parts();
    gomem_shutdown();
    if (start()) all_parts();
    int calls = atomic_load(&fault_calls[kind]);
    afterwards(space);
    fault_tell(calls);
}

static int run_one(enum fault_kind kind, int first, int last, int error) {
    int failed = test_failed(), calls = fault_run(run_with_faults, kind, first, last, error);
    if (test_failed() > failed) printf("    collector %d\n", collector);
    return calls;
}

// Each n alone, then with some that follow, then with all: with growing steps, and one of the three
// for each n, unless the run is a long one.
static void fail_each(enum fault_kind kind) {
    int calls = run_one(kind, 0, 0, 0), errors = 0, count = 0;
    bool whole = stress_long();
    while (faults[kind].errors[errors]) errors++;
    for (int n = 1; n <= calls && test_failed() == 0; n += whole ? 1 + n / 30 : 1 + n / 3)
        for (int e = 0; e < (whole ? errors : 1); e++, count++) {
            int error = faults[kind].errors[(count + e) % errors];
            if (whole || count % 3 == 0) run_one(kind, n, n, error);
            if (whole || count % 3 == 1) run_one(kind, n, n + 3, error);
            // a thread whose every wait ends at once never sleeps
            if (kind != FAULT_FUTEX && (whole || count % 3 == 2)) run_one(kind, n, INT_MAX, error);
        }
}

static void fail_all(int which) {
    const char *only = getenv("FAULTS");
    collector = which;
    for (int kind = 0; kind < FAULT_KINDS; kind++)
        if (kind != FAULT_KEY && kind != FAULT_ACTION && // api/seams
            (!only || strstr(faults[kind].name, only)))
            fail_each((enum fault_kind)kind);
}

// ---- a thread of the library that takes long to be created ----

static void *collect_in_thread(void *arg) {
    CHECK(gomem_gc());
    return arg;
}

static void collect_beside_creation(void) {
    pthread_t thread;
    alarm(60);
    REQUIRE(gomem_init(&(gomem_options){.collector = GOMEM_GC_STW, .mark_workers = 3}));
    struct node *volatile large = gomem_new(2000000); // from 1 MiB on workers are started
    CHECK(large != NULL);
    atomic_store(&fault_create_slowly, 1);
    REQUIRE(pthread_create(&thread, NULL, collect_in_thread, NULL) == 0);
    while (atomic_load(&fault_create_slowly) == 1) usleep(100);
    CHECK(gomem_gc()); // waits for the other thread's
    pthread_join(thread, NULL);
}

TEST(collects_beside_a_thread_that_starts_another) { CHILD_GOOD(collect_beside_creation); }

TEST(tracked) { fail_all(GOMEM_GC_TRACKED); }
TEST(barrier) { fail_all(GOMEM_GC_BARRIER); }
TEST(stw) { fail_all(GOMEM_GC_STW); }

TEST_MAIN
