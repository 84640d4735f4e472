// The kernel refuses a call at an arbitrary point, in each collector: one call of a program that
// uses all parts, or a few in a row, or all from one on, fail with each error that it may fail
// with. Nothing crashes, hangs or is lost, an allocation works or returns NULL with ENOMEM, and as
// soon as calls succeed again everything works, and the memory goes back.
// The implementation is compiled in here with the seams set; each run is a forked child.
// STRESS=1 tries every call with every error, FAULTS=name only those kinds whose name holds it.
#define _GNU_SOURCE
#include "child.h"
#include "stress.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

// What can be refused: a function, a system call by its number, or a request of ioctl.
enum fault_kind {
    FAULT_MMAP,
    FAULT_MUNMAP,
    FAULT_MPROTECT,
    FAULT_MADVISE,
    FAULT_MREMAP,
    FAULT_CREATE,
    FAULT_USERFAULTFD,
    FAULT_IOCTL_API,
    FAULT_IOCTL_REGISTER,
    FAULT_IOCTL_PROTECT,
    FAULT_IOCTL_SCAN,
    FAULT_OPEN,
    FAULT_READ,
    FAULT_STATX,
    FAULT_LSEEK,
    FAULT_FCNTL,
    FAULT_READV,
    FAULT_MEMFD,
    FAULT_AFFINITY,
    FAULT_SIGNAL,
    FAULT_FUTEX,
    FAULT_KINDS
};

static const struct fault {
    const char *name;
    int errors[4]; // ends with 0
} faults[FAULT_KINDS] = {
    [FAULT_MMAP] = {"mmap", {ENOMEM, EAGAIN, EPERM}},
    [FAULT_MUNMAP] = {"munmap", {ENOMEM, EPERM}},
    [FAULT_MPROTECT] = {"mprotect", {ENOMEM, EACCES, EPERM}},
    [FAULT_MADVISE] = {"madvise", {ENOMEM, EAGAIN, EINVAL}},
    [FAULT_MREMAP] = {"mremap", {ENOMEM, EAGAIN, ENOSYS}},
    [FAULT_CREATE] = {"pthread_create", {EAGAIN, EPERM, ENOMEM}},
    [FAULT_USERFAULTFD] = {"userfaultfd", {EPERM, ENOMEM, EMFILE}},
    [FAULT_IOCTL_API] = {"UFFDIO_API", {EPERM, EINVAL}},
    [FAULT_IOCTL_REGISTER] = {"UFFDIO_REGISTER", {ENOMEM, EPERM, EBUSY}},
    [FAULT_IOCTL_PROTECT] = {"UFFDIO_WRITEPROTECT", {EAGAIN, ENOENT}},
    [FAULT_IOCTL_SCAN] = {"PAGEMAP_SCAN", {ENOMEM, EPERM, EINTR}},
    [FAULT_OPEN] = {"openat", {EMFILE, EACCES, ENOMEM}},
    [FAULT_READ] = {"read", {EINTR, EIO, ENOMEM}},
    [FAULT_STATX] = {"statx", {ENOSYS, EPERM}},
    [FAULT_LSEEK] = {"lseek", {EPERM}},
    [FAULT_FCNTL] = {"fcntl", {EMFILE, EPERM}},
    [FAULT_READV] = {"process_vm_readv", {EPERM, ENOMEM, ENOSYS}},
    [FAULT_MEMFD] = {"memfd_create", {ENOSYS, EMFILE}},
    [FAULT_AFFINITY] = {"sched_getaffinity", {EPERM}},
    [FAULT_SIGNAL] = {"tgkill", {EAGAIN}}, // the queue of real-time signals is full
    [FAULT_FUTEX] = {"futex", {EINTR, EAGAIN}},
};

static atomic_int fault_calls[FAULT_KINDS];      // so far
static enum fault_kind fault_is = FAULT_KINDS;   // what fails
static int fault_first, fault_last, fault_error; // its calls, counted from 1

static bool fault_hits(enum fault_kind kind) {
    if (kind == FAULT_KINDS) return false;
    int n = atomic_fetch_add(&fault_calls[kind], 1) + 1;
    if (kind != fault_is || n < fault_first || n > fault_last) return false;
    errno = fault_error;
    return true;
}

static void *fault_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset) {
    return fault_hits(FAULT_MMAP) ? MAP_FAILED : mmap(at, size, prot, flags, fd, offset);
}
static int fault_munmap(void *at, size_t size) {
    return fault_hits(FAULT_MUNMAP) ? -1 : munmap(at, size);
}
TEST_I_UNUSED static void *fault_mremap(void *old, size_t old_size, size_t size, int flags,
                                        void *to) {
    return fault_hits(FAULT_MREMAP) ? MAP_FAILED : mremap(old, old_size, size, flags, to);
}
TEST_I_UNUSED static int fault_mprotect(void *at, size_t size, int prot) {
    return fault_hits(FAULT_MPROTECT) ? -1 : mprotect(at, size, prot);
}
TEST_I_UNUSED static int fault_madvise(void *at, size_t size, int advice) {
    return fault_hits(FAULT_MADVISE) ? -1 : madvise(at, size, advice);
}
static atomic_int create_slowly; // 1: the next thread takes a while; 2: it is being created

static int fault_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                        void *arg) {
    int slow = 1;
    if (atomic_compare_exchange_strong(&create_slowly, &slow, 2)) usleep(200000);
    return fault_hits(FAULT_CREATE) ? fault_error : pthread_create(thread, attr, fn, arg);
}

static int fault_ioctl(int fd, unsigned long request, void *arg) {
    static const unsigned long requests[] = {0xc018aa3fu, 0xc020aa00u, 0xc018aa06u, 0xc0606610u};
    enum fault_kind kind = FAULT_KINDS;
    for (int i = 0; i < 4; i++)
        if (request == requests[i]) kind = (enum fault_kind)(FAULT_IOCTL_API + i);
    return fault_hits(kind) ? -1 : ioctl(fd, request, arg);
}

static enum fault_kind fault_of(long number) {
    switch (number) {
    case SYS_userfaultfd: return FAULT_USERFAULTFD;
    case SYS_openat: return FAULT_OPEN;
    case SYS_read: return FAULT_READ;
    case SYS_statx: return FAULT_STATX;
    case SYS_lseek: return FAULT_LSEEK;
    case SYS_fcntl: return FAULT_FCNTL;
    case SYS_process_vm_readv: return FAULT_READV;
    case SYS_memfd_create: return FAULT_MEMFD;
    case SYS_sched_getaffinity: return FAULT_AFFINITY;
    case SYS_tgkill: return FAULT_SIGNAL;
    case SYS_futex: return FAULT_FUTEX;
    default: return FAULT_KINDS;
    }
}

static long fault_syscall(long number, ...) {
    long a[6];
    va_list args;
    va_start(args, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(args, long); // those that are missing do not count
    va_end(args);
    return fault_hits(fault_of(number)) ? -1 : syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define GOMEM_STATIC
#define GOMEM_MMAP(at, size, prot, flags, fd, offset) \
    fault_mmap((at), (size), (prot), (flags), (fd), (offset))
#define GOMEM_MUNMAP(at, size) fault_munmap((at), (size))
#define GOMEM_MREMAP(at, size, new_size, flags, to) \
    fault_mremap((at), (size), (new_size), (flags), (to))
#define GOMEM_MPROTECT(at, size, prot)              fault_mprotect((at), (size), (prot))
#define GOMEM_MADVISE(at, size, advice)             fault_madvise((at), (size), (advice))
#define GOMEM_PTHREAD_CREATE(thread, attr, fn, arg) fault_create((thread), (attr), (fn), (arg))
#define GOMEM_IOCTL(fd, request, arg)               fault_ioctl((fd), (request), (arg))
#define GOMEM_SYSCALL(...)                          fault_syscall(__VA_ARGS__)
#include "gomem.h"

// NULL only with ENOMEM, and only while something fails.
static void *checked(void *p) {
    if (p == NULL) {
        CHECK_EQ(errno, ENOMEM);
        CHECK(fault_is != FAULT_KINDS);
    }
    errno = 0;
    return p;
}

// ---- the program ----

struct node {
    struct node *next;
    uintptr_t index;
    uintptr_t body[6];
};

// A list of up to n nodes among ten times as many that are dropped; it is whole.
static void keep_list(uintptr_t n) {
    struct node *volatile list = NULL;
    uintptr_t length = 0;
    for (uintptr_t i = 0; i < n * 10; i++) {
        struct node *node = checked(GOMEM_NEW(struct node));
        if (node == NULL) continue;
        CHECK(node->next == NULL && node->index == 0);
        if (i % 10 != 0) continue;
        GOMEM_STORE(&node->next, list);
        node->index = length++;
        list = node;
    }
    for (struct node *node = list; node != NULL; node = node->next)
        if (!CHECK(node->index == --length)) break;
    CHECK_EQ(length, 0);
}

static void *thread_part(void *arg) {
    gomem_free(checked(gomem_malloc(5000)));
    keep_list(300);
    return arg;
}

static void manual_part(void) {
    static void *blocks[200];
    for (size_t i = 0; i < 200; i++) {
        blocks[i] = checked(gomem_malloc(i % 20 == 0 ? i * 3000 : i * 20));
        if (blocks[i] != NULL) memset(blocks[i], 1, i * 20);
    }
    for (size_t i = 20; i < 200; i += 60) {
        void *p = blocks[i] ? checked(gomem_realloc(blocks[i], 2000000 + i * 5000)) : NULL;
        if (p != NULL) CHECK(*(char *)p == 1);
        if (p != NULL) blocks[i] = p;
    }
    for (int i = 0; i < 2; i++) { // the one behind is in the way
        char *p = checked(gomem_realloc(NULL, 3000000)), *behind = checked(gomem_malloc(3000000));
        if (p != NULL) p[2999999] = 5;
        char *q = p ? checked(gomem_realloc(p, 6000000)) : NULL;
        if (p != NULL) CHECK((q ? q : p)[2999999] == 5);
        gomem_free(q ? q : p);
        gomem_free(behind);
    }
    gomem_free(checked(gomem_aligned_alloc(1 << 20, 100000)));
    for (size_t i = 0; i < 200; i++) gomem_free(blocks[i]);
}

static void large_part(void) {
    char *volatile kept = NULL;
    for (int i = 0; i < 12; i++) {
        char **p = checked(gomem_new(400000)); // scanned
        if (p == NULL) continue;
        CHECK(p[0] == NULL && p[49999] == NULL);
        GOMEM_STORE(&p[49999], kept);
        kept = (char *)p;
    }
    int n = 0;
    for (char **p = (char **)kept; p != NULL; p = (char **)p[49999]) n++;
    CHECK(n <= 12);
    char *text = checked(gomem_new_noscan(500000));
    if (text == NULL) return;
    memset(text, 7, 500000);
    char *longer = checked(gomem_realloc(text, 3000000));
    CHECK((longer ? longer : text)[499999] == 7);
}

static void pool_part(void) {
    static void *objects[300];
    errno = 0;
    gomem_pool *pool = checked(gomem_pool_new(&(gomem_pool_options){.size = 200}));
    for (int i = 0; pool && i < 300; i++)
        if ((objects[i] = checked(gomem_pool_get(pool)))) memset(objects[i], 3, 200);
    for (int i = 0; pool && i < 300; i++)
        if (objects[i]) gomem_pool_put(pool, objects[i]);
    if (pool) gomem_pool_destroy(pool);
    pool = checked(
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
            char *p = checked(gomem_arena_alloc(&a, 100000));
            if (p) CHECK(p[0] == 0 && p[99999] == 0);
        }
        gomem_arena_reset(&a);
        gomem_arena_free(&a);
    }
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

static int report_end; // of a pipe: the child says how often the call was made

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
    CHECK(write(report_end, &calls, sizeof calls) == sizeof calls);
}

// Runs the program with these calls failing; returns how many calls there were.
static int run_one(enum fault_kind kind, int first, int last, int error) {
    int ends[2], calls = 0;
    struct child child;
    if (!CHECK(pipe(ends) == 0)) return 0;
    fault_is = kind;
    fault_first = first;
    fault_last = last;
    fault_error = error;
    report_end = ends[1];
    child_run(&child, run_with_faults);
    close(ends[1]);
    if (!child_good(&child))
        printf("\n    failing %s: calls %d to %d, error %d, collector %d\n", faults[kind].name,
               first, last, error, collector);
    else CHECK(read(ends[0], &calls, sizeof calls) == sizeof calls);
    close(ends[0]);
    fault_is = FAULT_KINDS;
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
        if (!only || strstr(faults[kind].name, only)) fail_each((enum fault_kind)kind);
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
    atomic_store(&create_slowly, 1);
    REQUIRE(pthread_create(&thread, NULL, collect_in_thread, NULL) == 0);
    while (atomic_load(&create_slowly) == 1) usleep(100);
    CHECK(gomem_gc()); // waits for the other thread's
    pthread_join(thread, NULL);
}

TEST(collects_beside_a_thread_that_starts_another) { CHILD_GOOD(collect_beside_creation); }

TEST(tracked) { fail_all(GOMEM_GC_TRACKED); }
TEST(barrier) { fail_all(GOMEM_GC_BARRIER); }
TEST(stw) { fail_all(GOMEM_GC_STW); }

TEST_MAIN
