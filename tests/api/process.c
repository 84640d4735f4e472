// The process around: limits that are raised, what sandboxes refuse, what is not mounted. Each in a
// forked child, since none of that can be taken back.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static gomem_memstats stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

struct link {
    struct link *next;
    uintptr_t check;
};

// Cycles end while the stack is deep.
static __attribute__((noinline)) bool at_the_bottom(void) {
    bool good = true;
    uint64_t before = stats().num_gc;
    for (int i = 0; i < 100000; i++) good &= GOMEM_MAKE(char, 256) != NULL;
    gomem_gc();
    CHECK(stats().num_gc > before);
    return good;
}

// Frames of 1 KiB each of which alone holds an object: it is there when they return.
static __attribute__((noinline)) bool deep(unsigned depth, struct link *up) {
    volatile char frame[1024];
    struct link *own = GOMEM_NEW(struct link);
    if (!own) return false;
    frame[0] = (char)depth;
    own->next = up;
    own->check = ~(uintptr_t)own;
    bool good = depth > 0 ? deep(depth - 1, own) : at_the_bottom();
    return good && own->check == ~(uintptr_t)own && own->next == up && frame[0] == (char)depth;
}

static void raise_the_limit(void) {
    struct rlimit limit;
    CHECK(GOMEM_NEW(struct link) != NULL); // the stack has its first limit
    CHECK(getrlimit(RLIMIT_STACK, &limit) == 0);
    limit.rlim_cur = limit.rlim_cur / 4 * 10;
    if (setrlimit(RLIMIT_STACK, &limit) != 0) exit(77);
    CHECK(deep((unsigned)(limit.rlim_cur / 1024 / 2), NULL));
}

static void check_child(const struct child *child) {
    CHECK_EQ(child->status, 0);
    if (child->status || child->text[0]) printf("\n%s", child->text);
}

// Nothing is said, and nothing is lost.
TEST(deeper_than_the_limit_was) {
    static struct child child;
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_STACK, &limit) == 0);
    if (limit.rlim_cur > (rlim_t)64 << 20) SKIP("the stack has no small limit");
    child_run(&child, raise_the_limit);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77) SKIP("the limit is fixed");
    check_child(&child);
    CHECK(!child.text[0]);
}

// ---- system calls that are refused ----

static int refuse(const int *calls, unsigned n, int error) {
    struct sock_filter f[32];
    unsigned at = 0;
    f[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < n; i++) {
        f[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i], 0, 1);
        f[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                               SECCOMP_RET_ERRNO | (unsigned)error);
    }
    f[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {(unsigned short)at, f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static const int sandboxed[] = {SYS_process_vm_readv, SYS_sched_getaffinity,
                                SYS_membarrier,       SYS_memfd_create,
                                SYS_mremap,           SYS_tgkill};
static int error_of_calls;

static void *other_thread(void *arg) {
    __atomic_store_n((bool *)arg, deep(50, NULL), __ATOMIC_RELAXED);
    return NULL;
}

static void in_a_sandbox(void) {
    pthread_t thread;
    bool good = false;
    if (refuse(sandboxed, sizeof sandboxed / sizeof sandboxed[0], error_of_calls)) exit(77);
    CHECK(deep(100, NULL));
    CHECK(pthread_create(&thread, NULL, other_thread, &good) == 0);
    CHECK(deep(100, NULL));
    pthread_join(thread, NULL);
    CHECK(good && stats().num_gc > 3);
}

TEST(system_calls_are_refused) {
    static struct child child;
    for (int i = 0; i < 2; i++) {
        error_of_calls = i ? ENOSYS : EPERM;
        child_run(&child, in_a_sandbox);
        if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77) SKIP("no seccomp");
        check_child(&child);
    }
}

TEST_MAIN
