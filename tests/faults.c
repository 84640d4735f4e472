// The implementation with its seams set, for programs in which calls are refused (faults.h).
#define _GNU_SOURCE
#include "faults.h"

#include <linux/futex.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

const struct fault faults[FAULT_KINDS] = {
    [FAULT_MMAP] = {"mmap", {ENOMEM, EAGAIN, EPERM}},
    [FAULT_MUNMAP] = {"munmap", {ENOMEM, EPERM}},
    [FAULT_MPROTECT] = {"mprotect", {ENOMEM, EACCES, EPERM}},
    [FAULT_MADVISE] = {"madvise", {ENOMEM, EAGAIN, EINVAL}},
    [FAULT_MREMAP] = {"mremap", {ENOMEM, EAGAIN, ENOSYS}},
    [FAULT_CREATE] = {"pthread_create", {EAGAIN, EPERM, ENOMEM}},
    [FAULT_KEY] = {"pthread_key_create", {EAGAIN}},
    [FAULT_ACTION] = {"sigaction", {EINVAL}},
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

atomic_int fault_calls[FAULT_KINDS];
enum fault_kind fault_is = FAULT_KINDS;
int fault_first, fault_last, fault_error;

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
__attribute__((unused)) static void *fault_mremap(void *old, size_t old_size, size_t size,
                                                  int flags, void *to) {
    return fault_hits(FAULT_MREMAP) ? MAP_FAILED : mremap(old, old_size, size, flags, to);
}
__attribute__((unused)) static int fault_mprotect(void *at, size_t size, int prot) {
    return fault_hits(FAULT_MPROTECT) ? -1 : mprotect(at, size, prot);
}
__attribute__((unused)) static int fault_madvise(void *at, size_t size, int advice) {
    return fault_hits(FAULT_MADVISE) ? -1 : madvise(at, size, advice);
}
atomic_int fault_create_slowly;

static int fault_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                        void *arg) {
    int slow = 1;
    if (atomic_compare_exchange_strong(&fault_create_slowly, &slow, 2)) usleep(200000);
    return fault_hits(FAULT_CREATE) ? fault_error : pthread_create(thread, attr, fn, arg);
}

static int fault_key(pthread_key_t *key, void (*destroy)(void *)) {
    return fault_hits(FAULT_KEY) ? EAGAIN : pthread_key_create(key, destroy);
}
static int fault_action(int signal, const struct sigaction *action, struct sigaction *old) {
    return fault_hits(FAULT_ACTION) ? -1 : sigaction(signal, action, old);
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
    enum fault_kind kind = fault_of(number);
    // The kernel never refuses to wake a thread; a wake that is lost would be waited for.
    if (kind == FAULT_FUTEX && (a[1] & 127) != FUTEX_WAIT) kind = FAULT_KINDS;
    return fault_hits(kind) ? -1 : syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

#define GOMEM_IMPLEMENTATION
#define GOMEM_MMAP(at, size, prot, flags, fd, offset) \
    fault_mmap((at), (size), (prot), (flags), (fd), (offset))
#define GOMEM_MUNMAP(at, size) fault_munmap((at), (size))
#define GOMEM_MREMAP(at, size, new_size, flags, to) \
    fault_mremap((at), (size), (new_size), (flags), (to))
#define GOMEM_MPROTECT(at, size, prot)              fault_mprotect((at), (size), (prot))
#define GOMEM_MADVISE(at, size, advice)             fault_madvise((at), (size), (advice))
#define GOMEM_PTHREAD_CREATE(thread, attr, fn, arg) fault_create((thread), (attr), (fn), (arg))
#define GOMEM_PTHREAD_KEY_CREATE(key, destroy)      fault_key((key), (destroy))
#define GOMEM_SIGACTION(signal, action, old)        fault_action((signal), (action), (old))
#define GOMEM_IOCTL(fd, request, arg)               fault_ioctl((fd), (request), (arg))
#define GOMEM_SYSCALL(...)                          fault_syscall(__VA_ARGS__)
#include "gomem.h"

bool fault_starts(void) { return gm_runtime.world.starts != NULL; }
