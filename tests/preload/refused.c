// What the kernel refuses while a program runs that knows only malloc: its own limits, set at any
// time, and calls that a filter forbids. Each case allocates before and after, and prints "ok".
// Run under the override; without it, what is printed is the same.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MB = 1 << 20 };

static int wrong;

#define EXPECT(c)                                            \
    do {                                                     \
        if (!(c)) printf("%d: %s\n", __LINE__, #c), wrong++; \
    } while (0)

// Megabytes of a field of /proc/self/status.
static long status_mb(const char *field) {
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, field, strlen(field))) kb = strtol(line + strlen(field), NULL, 10);
    if (f) fclose(f);
    return kb >> 10;
}

// Blocks of all sizes, each written, up to `mb` megabytes; freed in two passes. Returns the bytes
// that it got.
static size_t use(size_t mb) {
    enum { BLOCKS = 4096 };
    static _Thread_local char *blocks[BLOCKS];
    size_t bytes = 0, n = 0;
    for (; n < BLOCKS && bytes < mb * MB; n++) {
        size_t size = n % 16 ? 16 + n * 37 % 9000 : 200000 + n % 3 * 900000;
        if (!(blocks[n] = malloc(size))) break;
        memset(blocks[n], 1, size);
        bytes += size;
    }
    for (size_t i = 0; i < n; i += 2) free(blocks[i]);
    for (size_t i = 1; i < n; i += 2) free(blocks[i]);
    return bytes;
}

static void *thread_use(void *arg) {
    (void)arg;
    return use(3) >= 3 * MB ? &wrong : NULL;
}

static int threads_work(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, thread_use, NULL)) return 0;
    void *result = &wrong;
    for (int i = 0; i < 4 && result; i++) pthread_join(threads[i], &result);
    return result == &wrong;
}

// Writes `size` bytes at a time until malloc returns NULL. Returns the megabytes that it got.
static size_t fill(size_t size) {
    void **list = NULL;
    size_t n = 0;
    for (void **p; n * size < (size_t)3 << 30 && (p = malloc(size)); n++) {
        memset(p, 1, size);
        *p = list;
        list = (void **)p;
    }
    EXPECT(errno == ENOMEM);
    for (void **next; list; list = next) {
        next = *list;
        free(list);
    }
    return n * size / MB;
}

// A limit that the program sets when it has used the heap: the heap gets what libc's would get, and
// there is room for threads and mappings.
static void limit(int resource, const char *field) {
    EXPECT(use(20) >= 20 * MB);
    struct rlimit l;
    getrlimit(resource, &l);
    l.rlim_cur = (rlim_t)(status_mb(field) + 200) * MB;
    EXPECT(setrlimit(resource, &l) == 0);
    EXPECT(threads_work());
    void *p = mmap(NULL, 16 * MB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(p != MAP_FAILED && munmap(p, 16 * MB) == 0);
    EXPECT(fill(1000) >= 120);
    EXPECT(fill(700000) >= 120);
    EXPECT(use(50) >= 50 * MB);
    l.rlim_cur = l.rlim_max;
    EXPECT(setrlimit(resource, &l) == 0 && use(100) >= 20 * MB);
}

// What counts where memory counts that may be written: little beside what is used, and nothing of a
// large block after its free.
static void counted(void) {
    struct rlimit l;
    EXPECT(use(20) >= 20 * MB && status_mb("VmData:") < 100);
    getrlimit(RLIMIT_DATA, &l);
    l.rlim_cur = (rlim_t)8192 * MB;
    EXPECT(setrlimit(RLIMIT_DATA, &l) == 0);
    free(malloc((size_t)3 << 30));
    EXPECT(status_mb("VmData:") < 100 && use(20) >= 20 * MB);
}

// From now on `call` fails with `error`.
static void refuse(long call, int error) {
    struct sock_filter rows[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof rows / sizeof rows[0], rows};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        exit(77);
}

static void filter(const char *name, int error) {
    static const struct {
        const char *name;
        long call;
    } calls[] = {{"mprotect", SYS_mprotect},     {"madvise", SYS_madvise},
                 {"mremap", SYS_mremap},         {"munmap", SYS_munmap},
                 {"membarrier", SYS_membarrier}, {"sched_getaffinity", SYS_sched_getaffinity}};
    EXPECT(use(30) >= 20 * MB);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (!strcmp(calls[i].name, name)) refuse(calls[i].call, error);
    for (int i = 0; i < 20; i++) EXPECT(use(20) >= 20 * MB);
    char *p = malloc(100000);
    for (size_t n = 100000; n < 50 * MB; n += n / 2) {
        char *more = realloc(p, n);
        if (more) p = more, p[n - 1] = 1;
        else
            EXPECT(!strcmp(name, "mprotect") && errno == ENOMEM); // without it the heap cannot grow
    }
    free(p);
    EXPECT(status_mb("VmRSS:") < 400);
    pid_t pid = fork();
    if (pid == 0) _exit(use(20) >= 20 * MB ? 0 : 1);
    int status = 1;
    EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "as")) limit(RLIMIT_AS, "VmSize:");
    else if (!strcmp(what, "data")) limit(RLIMIT_DATA, "VmData:");
    else if (!strcmp(what, "counted")) counted();
    else filter(what, argc > 2 ? atoi(argv[2]) : EPERM);
    puts(wrong ? "wrong" : "ok");
    return wrong != 0;
}
