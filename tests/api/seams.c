// Every system call that can fail fails: on its n-th call, for each n, and from the n-th on. The
// result is defined (success, or NULL with ENOMEM), the heap stays whole, and the next call works.
// The seams of the implementation are set (faults.h); each run is a forked child.
#define _GNU_SOURCE
#include "faults.h"

static struct node *volatile list;

static void manual_part(void) {
    static void *blocks[400];
    for (size_t i = 0; i < 400; i++) {
        blocks[i] = fault_checked(gomem_malloc(i % 40 == 0 ? i * 3000 : i * 20));
        if (blocks[i] != NULL) memset(blocks[i], 1, i * 20);
    }
    for (size_t i = 0; i < 400; i += 120) {
        if (blocks[i] == NULL) continue;
        void *p = fault_checked(gomem_realloc(blocks[i], 2000000 + i * 5000));
        if (p != NULL) blocks[i] = p;
    }
    void *aligned = fault_checked(gomem_aligned_alloc(1 << 20, 100000));
    gomem_free(aligned);
    for (size_t i = 0; i < 400; i++) gomem_free(blocks[i]);
}

static void collected_part(void) {
    uintptr_t length = 0;
    for (int i = 0; i < 8000; i++) {
        struct node *node = fault_checked(GOMEM_NEW(struct node));
        if (node == NULL) continue;
        CHECK(node->next == NULL && node->index == 0);
        if (i % 10 != 0) continue;
        node->next = list;
        node->index = length++;
        list = node;
    }
    char *text = fault_checked(gomem_new_noscan(500000));
    if (text != NULL) text = fault_checked(gomem_realloc(text, 3000000));
    gomem_free(text);
    gomem_gc();
    fault_check_list(list, length);
    list = NULL;
}

static void arena_part(void) {
    gomem_arena a;
    if (!gomem_arena_init(&a, &(gomem_arena_options){.reserve = 1 << 20})) return;
    for (int i = 0; i < 5; i++) {
        errno = 0;
        fault_checked(gomem_arena_alloc(&a, 100000));
    }
    gomem_arena_free(&a);
}

__attribute__((noinline)) static void finalized_part(void) {
    for (int i = 0; i < 20; i++) {
        struct node *node = fault_checked(GOMEM_NEW(struct node));
        if (node && !gomem_set_finalizer(node, finalize, NULL)) CHECK(errno == ENOMEM);
    }
    gomem_gc();
}

static void *thread_part(void *arg) {
    for (int i = 0; i < 200; i++) {
        gomem_free(fault_checked(gomem_malloc((size_t)i * 10)));
        fault_checked(GOMEM_NEW(struct node));
    }
    return arg;
}

// Everything that makes system calls, twice: the second time caches and tables exist.
static void scenario(void) {
    for (int round = 0; round < 2; round++) {
        pthread_t thread;
        int here;
        manual_part();
        collected_part();
        finalized_part();
        arena_part();
        if (pthread_create(&thread, NULL, thread_part, NULL) == 0) pthread_join(thread, NULL);
        int error = gomem_thread_create(&thread, NULL, thread_part, NULL);
        if (error == 0) pthread_join(thread, NULL);
        else CHECK(error == EAGAIN || error == ENOMEM);
        CHECK(!fault_starts()); // what did not start is no root
        if (gomem_add_root(&here, sizeof here)) CHECK(gomem_remove_root(&here));
        gomem_free_os_memory();
        CHECK(HEAP_IS_WHOLE());
    }
}

// Nothing fails any more: everything succeeds.
static void afterwards(void) {
    pthread_t thread;
    fault_is = FAULT_KINDS;
    for (size_t size = 1; size < 2000000; size *= 3) {
        void *p = gomem_malloc(size), *q = gomem_new(size);
        CHECK(p != NULL && q != NULL);
        gomem_free(p);
    }
    CHECK(gomem_thread_create(&thread, NULL, thread_part, NULL) == 0);
    pthread_join(thread, NULL);
    collected_part();
    int before = atomic_load(&finalized);
    for (int i = 0; i < 5000 && atomic_load(&finalized) == before; i++) finalized_part();
    CHECK(atomic_load(&finalized) > before); // a thread for them is there, or is started
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

static void run_with_failures(void) {
    enum fault_kind kind = fault_is;
    bool started = gomem_init(NULL);
    if (!started) CHECK(errno == ENOMEM || errno == EAGAIN);
    scenario();
    int calls = atomic_load(&fault_calls[kind]);
    afterwards();
    fault_tell(calls);
}

static int run_one(enum fault_kind kind, int first, int last, int error) {
    return fault_run(run_with_failures, kind, first, last, error);
}

// Each n alone, then n and all that follow; past the first hundred with growing steps.
static void fail_each(enum fault_kind kind, int error) {
    int calls = run_one(kind, 0, 0, 0);
    for (int n = 1; n <= calls && test_failed() == 0; n += 1 + n / 20) {
        run_one(kind, n, n, error);
        run_one(kind, n, n + 2, error);
        run_one(kind, n, 1 << 30, error);
    }
}

TEST(mmap_fails) { fail_each(FAULT_MMAP, ENOMEM); }

TEST(munmap_fails) { fail_each(FAULT_MUNMAP, ENOMEM); }

TEST(mremap_fails) { fail_each(FAULT_MREMAP, ENOMEM); }

TEST(mprotect_fails) { fail_each(FAULT_MPROTECT, ENOMEM); }

TEST(madvise_fails) { fail_each(FAULT_MADVISE, EAGAIN); }

TEST(pthread_create_fails) { fail_each(FAULT_CREATE, EAGAIN); }

TEST(pthread_key_create_fails) { fail_each(FAULT_KEY, EAGAIN); }

TEST(sigaction_fails) { fail_each(FAULT_ACTION, EINVAL); }

TEST_MAIN
