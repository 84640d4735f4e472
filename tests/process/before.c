// What the process is like before main: linked into a program of the matrix, which runs as it is.
//
//     BEFORE=chroot:DIR           nothing is mounted there: no /proc, no /dev
//     BEFORE=setuid:65534         after this what belongs to the process in /proc is root's
//     BEFORE=refuse:NAME:ERRNO    the system call fails with it
//     BEFORE=stack:BYTES          the limit of the stack, as setrlimit has it
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CALL(name) \
    { #name, SYS_##name }
static const struct {
    const char *name;
    int number;
} calls[] = {
    CALL(userfaultfd),
    CALL(ioctl),
    CALL(process_vm_readv),
    CALL(membarrier),
    CALL(memfd_create),
    CALL(mremap),
    CALL(madvise),
    CALL(openat),
    CALL(sched_getaffinity),
    CALL(fcntl),
    CALL(tgkill),
    CALL(prlimit64),
    CALL(sched_yield),
    CALL(msync),
    CALL(statx),
    CALL(lseek),
    CALL(ftruncate),
    CALL(sigaltstack),
    CALL(clock_nanosleep),
    CALL(mincore),
    CALL(rt_sigaction),
    CALL(close),
    CALL(read),
    CALL(munmap),
    CALL(rt_tgsigqueueinfo),
    CALL(clone3),
    CALL(getpid),
#if defined(SYS_getrlimit)
    CALL(getrlimit),
#endif
};

static int refuse(const char *name, unsigned error) {
    size_t n = sizeof calls / sizeof calls[0], i = 0;
    while (i < n && strcmp(calls[i].name, name) != 0) i++;
    if (i == n) return fprintf(stderr, "unknown call %s\n", name);
    struct sock_filter f[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                              BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number, 0, 1),
                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
                              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog program = {sizeof f / sizeof f[0], f};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int limit_stack(const char *bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0) return -1;
    limit.rlim_cur = strtoull(bytes, NULL, 10);
    return setrlimit(RLIMIT_STACK, &limit);
}

__attribute__((constructor)) static void before(void) {
    const char *what = getenv("BEFORE");
    int failed = 0;
    if (!what) return;
    if (!strncmp(what, "chroot:", 7)) failed = chroot(what + 7) || chdir("/");
    if (!strncmp(what, "setuid:", 7)) failed = setuid((uid_t)atoi(what + 7));
    if (!strncmp(what, "stack:", 6)) failed = limit_stack(what + 6);
    if (!strncmp(what, "refuse:", 7)) {
        char name[32] = {0};
        unsigned error = 1;
        failed = sscanf(what + 7, "%31[a-z0-9_]:%u", name, &error) != 2 || refuse(name, error);
    }
    if (failed) exit(77); // this system cannot
}
