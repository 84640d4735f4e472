// Every system call that can fail fails: on its n-th call, for each n, and from the n-th on. The
// result is defined (success, or NULL with ENOMEM), the heap stays whole, and the next call works.
// The implementation is compiled in here with the seams set; each run is a forked child.
#define _GNU_SOURCE
#include "child.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum seam { MMAP, MUNMAP, MREMAP, MPROTECT, MADVISE, CREATE, KEY, ACTION, SEAMS };

static const char *const seam_names[SEAMS] = {
    "mmap",     "munmap", "mremap", "mprotect", "madvise", "pthread_create", "pthread_key_create",
    "sigaction"};

static atomic_int seam_calls[SEAMS]; // so far
static int seam_first, seam_last;    // these calls of seam_kind fail, counted from 1
static enum seam seam_kind = SEAMS;

static bool seam_fails(enum seam kind) {
    int n = atomic_fetch_add(&seam_calls[kind], 1) + 1;
    return kind == seam_kind && n >= seam_first && n <= seam_last;
}

static void *seam_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset) {
    if (!seam_fails(MMAP)) return mmap(at, size, prot, flags, fd, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

static int seam_munmap(void *at, size_t size) {
    if (!seam_fails(MUNMAP)) return munmap(at, size);
    errno = ENOMEM;
    return -1;
}

TEST_I_UNUSED static void *seam_mremap(void *old, size_t old_size, size_t size, int flags, ...) {
    void *to = NULL;
    if (seam_fails(MREMAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if ((flags & MREMAP_FIXED) == 0) return mremap(old, old_size, size, flags);
    va_list args;
    va_start(args, flags);
    to = va_arg(args, void *);
    va_end(args);
    return mremap(old, old_size, size, flags, to);
}

TEST_I_UNUSED static int seam_mprotect(void *at, size_t size, int prot) {
    if (!seam_fails(MPROTECT)) return mprotect(at, size, prot);
    errno = ENOMEM;
    return -1;
}

TEST_I_UNUSED static int seam_madvise(void *at, size_t size, int advice) {
    if (!seam_fails(MADVISE)) return madvise(at, size, advice);
    errno = EAGAIN;
    return -1;
}

static int seam_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                       void *arg) {
    return seam_fails(CREATE) ? EAGAIN : pthread_create(thread, attr, fn, arg);
}

static int seam_key(pthread_key_t *key, void (*destroy)(void *)) {
    return seam_fails(KEY) ? EAGAIN : pthread_key_create(key, destroy);
}

static int seam_action(int signal, const struct sigaction *action, struct sigaction *old) {
    if (!seam_fails(ACTION)) return sigaction(signal, action, old);
    errno = EINVAL;
    return -1;
}

#define GOMEM_STATIC
#define GOMEM_MMAP(at, size, prot, flags, fd, offset) \
    seam_mmap((at), (size), (prot), (flags), (fd), (offset))
#define GOMEM_MUNMAP(at, size)                      seam_munmap((at), (size))
#define GOMEM_MREMAP(...)                           seam_mremap(__VA_ARGS__)
#define GOMEM_MPROTECT(at, size, prot)              seam_mprotect((at), (size), (prot))
#define GOMEM_MADVISE(at, size, advice)             seam_madvise((at), (size), (advice))
#define GOMEM_PTHREAD_CREATE(thread, attr, fn, arg) seam_create((thread), (attr), (fn), (arg))
#define GOMEM_PTHREAD_KEY_CREATE(key, destroy)      seam_key((key), (destroy))
#define GOMEM_SIGACTION(signal, action, old)        seam_action((signal), (action), (old))
#include "gomem.h"

// NULL only with ENOMEM, and only while something fails.
static void *checked(void *p) {
    if (p == NULL) {
        CHECK_EQ(errno, ENOMEM);
        CHECK(seam_kind != SEAMS);
    }
    errno = 0;
    return p;
}

struct node {
    struct node *next;
    uintptr_t index;
    uintptr_t body[6];
};

static struct node *volatile list;

static void manual_part(void) {
    static void *blocks[400];
    for (size_t i = 0; i < 400; i++) {
        blocks[i] = checked(gomem_malloc(i % 40 == 0 ? i * 3000 : i * 20));
        if (blocks[i] != NULL) memset(blocks[i], 1, i * 20);
    }
    for (size_t i = 0; i < 400; i += 120) {
        if (blocks[i] == NULL) continue;
        void *p = checked(gomem_realloc(blocks[i], 2000000 + i * 5000));
        if (p != NULL) blocks[i] = p;
    }
    void *aligned = checked(gomem_aligned_alloc(1 << 20, 100000));
    gomem_free(aligned);
    for (size_t i = 0; i < 400; i++) gomem_free(blocks[i]);
}

static void collected_part(void) {
    uintptr_t length = 0;
    for (int i = 0; i < 8000; i++) {
        struct node *node = checked(GOMEM_NEW(struct node));
        if (node == NULL) continue;
        CHECK(node->next == NULL && node->index == 0);
        if (i % 10 != 0) continue;
        node->next = list;
        node->index = length++;
        list = node;
    }
    char *text = checked(gomem_new_noscan(500000));
    if (text != NULL) text = checked(gomem_realloc(text, 3000000));
    gomem_free(text);
    gomem_gc();
    for (struct node *node = list; node != NULL; node = node->next)
        if (!CHECK(node->index == --length)) break;
    CHECK_EQ(length, 0);
    list = NULL;
}

static void arena_part(void) {
    gomem_arena a;
    if (!gomem_arena_init(&a, &(gomem_arena_options){.reserve = 1 << 20})) return;
    for (int i = 0; i < 5; i++) {
        errno = 0;
        checked(gomem_arena_alloc(&a, 100000));
    }
    gomem_arena_free(&a);
}

static atomic_int finalized;

static void finalize(void *object, void *arg) {
    (void)object, (void)arg;
    atomic_fetch_add(&finalized, 1);
}

__attribute__((noinline)) static void finalized_part(void) {
    for (int i = 0; i < 20; i++) {
        struct node *node = checked(GOMEM_NEW(struct node));
        if (node && !gomem_set_finalizer(node, finalize, NULL)) CHECK(errno == ENOMEM);
    }
    gomem_gc();
}

static void *thread_part(void *arg) {
    for (int i = 0; i < 200; i++) {
        gomem_free(checked(gomem_malloc((size_t)i * 10)));
        checked(GOMEM_NEW(struct node));
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
        CHECK(gm_runtime.world.starts == NULL); // what did not start is no root
        if (gomem_add_root(&here, sizeof here)) CHECK(gomem_remove_root(&here));
        gomem_free_os_memory();
        CHECK(HEAP_IS_WHOLE());
    }
}

// Nothing fails any more: everything succeeds.
static void afterwards(void) {
    pthread_t thread;
    seam_kind = SEAMS;
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

static int report_end; // of a pipe: the child says how often the seam was called

static void run_with_failures(void) {
    enum seam kind = seam_kind;
    bool started = gomem_init(NULL);
    if (!started) CHECK(errno == ENOMEM || errno == EAGAIN);
    scenario();
    int calls = atomic_load(&seam_calls[kind]);
    afterwards();
    CHECK(write(report_end, &calls, sizeof calls) == sizeof calls);
}

// Runs the scenario with these calls failing; returns how many calls there were.
static int run_one(enum seam kind, int first, int last) {
    int ends[2], calls = 0;
    struct child child;
    if (!CHECK(pipe(ends) == 0)) return 0;
    seam_kind = kind;
    seam_first = first;
    seam_last = last;
    report_end = ends[1];
    child_run(&child, run_with_failures);
    close(ends[1]);
    if (!child_good(&child))
        printf("\n    failing %s: calls %d to %d", seam_names[kind], first, last);
    else CHECK(read(ends[0], &calls, sizeof calls) == sizeof calls);
    close(ends[0]);
    return calls;
}

// Each n alone, then n and all that follow; past the first hundred with growing steps.
static void fail_each(enum seam kind) {
    int calls = run_one(kind, 0, 0);
    for (int n = 1; n <= calls && test_failed() == 0; n += 1 + n / 20) {
        run_one(kind, n, n);
        run_one(kind, n, n + 2);
        run_one(kind, n, 1 << 30);
    }
}

TEST(mmap_fails) { fail_each(MMAP); }

TEST(munmap_fails) { fail_each(MUNMAP); }

TEST(mremap_fails) { fail_each(MREMAP); }

TEST(mprotect_fails) { fail_each(MPROTECT); }

TEST(madvise_fails) { fail_each(MADVISE); }

TEST(pthread_create_fails) { fail_each(CREATE); }

TEST(pthread_key_create_fails) { fail_each(KEY); }

TEST(sigaction_fails) { fail_each(ACTION); }

TEST_MAIN
