// The process around: limits that are raised, what sandboxes refuse, what is not mounted. Each in a
// forked child, since none of that can be taken back.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>

#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>

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
    CHECK(COLLECTED());
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
    if (child->status) printf("\n%s", child->text);
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

static const int sandboxed[] = {
#if !defined(TEST_ASAN) && !defined(TEST_TSAN) // they ask for it themselves
    SYS_sched_getaffinity,
#endif
    SYS_process_vm_readv,  SYS_membarrier, SYS_memfd_create, SYS_mremap, SYS_tgkill};
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

// ---- why it does not track ----

static const struct {
    int call, reason;
    const char *name;
} tracking[] = {{SYS_userfaultfd, GOMEM_REASON_USERFAULTFD, "userfaultfd"},
                {SYS_madvise, GOMEM_REASON_MADVISE, "madvise"}};
static int refused; // index

static void without_tracking(void) {
    if (refuse(&tracking[refused].call, 1, error_of_calls)) exit(77);
    CHECK(deep(100, NULL));
    gomem_memstats m = stats();
    CHECK_EQ(m.collector, GOMEM_GC_STW);
    if (m.collector_reason == GOMEM_REASON_KERNEL) exit(77); // it would not track anyway
    CHECK_EQ(m.collector_reason, tracking[refused].reason);
    CHECK(strstr(gomem_reason_text(m.collector_reason), tracking[refused].name) != NULL);
}

TEST(reason_of_the_collector) {
    static struct child child;
    for (int i = 0; i < 4; i++) {
        error_of_calls = i % 2 ? ENOSYS : EPERM;
        refused = i / 2;
        child_run(&child, without_tracking);
        if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77) SKIP("no seccomp");
        check_child(&child);
    }
}

static void trace_without_tracking(void) {
    setenv("GOMEM_DEBUG", "gctrace=1", 1);
    without_tracking();
}

TEST(gctrace_names_the_reason_first) {
    static struct child child;
    error_of_calls = EPERM;
    refused = 0;
    child_run(&child, trace_without_tracking);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77) SKIP("no seccomp");
    CHECK_EQ(child.status, 0);
    child.text[strcspn(child.text, "\n")] = 0;
    CHECK(strstr(child.text, "userfaultfd") && strstr(child.text, "stw"));
}

TEST(every_reason_has_a_sentence) {
    for (uint64_t i = 0; i <= GOMEM_REASON_CLOSED; i++) {
        CHECK(strlen(gomem_reason_text(i)) > 10);
        CHECK(i == 0 || strcmp(gomem_reason_text(i), gomem_reason_text(i - 1)) != 0);
    }
    CHECK(gomem_reason_text(1000) != NULL);
}

// ---- what keeps a cycle from ending ----

static ucontext_t outside, inside;
static bool whole;

static void on_a_strange_stack(void) { whole = deep(20, NULL) && deep(20, NULL); }

// All of the program on a stack of its own: cycles end, it is said once what they do.
static void run_on_a_strange_stack(void) {
    size_t size = 256 * 1024;
    char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED && getcontext(&inside) == 0);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = size;
    inside.uc_link = &outside;
    makecontext(&inside, on_a_strange_stack, 0);
    CHECK(swapcontext(&outside, &inside) == 0 && whole);
    CHECK_EQ(stats().last_veto, GOMEM_REASON_STACK);
    CHECK_EQ(stats().cycles_vetoed, 0);
}

TEST(stack_that_nobody_registered) {
    static struct child child;
    child_run(&child, run_on_a_strange_stack);
    CHECK_EQ(child.status, 0);
    if (child.status) printf("\n%s", child.text);
    CHECK(strstr(child.text, "gomem_add_stack"));
    const char *first = strstr(child.text, "gomem:"); // a sanitizer may say something, too
    CHECK(first && !strstr(first + 1, "gomem:"));
}

static bool end_of_plugins;

static void *open_and_close(void *arg) {
    while (!__atomic_load_n(&end_of_plugins, __ATOMIC_RELAXED)) {
        void *library = dlopen(arg, RTLD_NOW);
        if (library) dlclose(library);
    }
    return NULL;
}

// Libraries that come and go all the time.
static void run_beside_plugins(void) {
    static char name[] = "libresolv.so.2";
    pthread_t thread;
    void *library = dlopen(name, RTLD_NOW);
    if (!library) exit(77);
    dlclose(library);
    CHECK(GOMEM_NEW(struct link) != NULL);
    CHECK(pthread_create(&thread, NULL, open_and_close, name) == 0);
    for (int i = 0; i < 100; i++) CHECK(COLLECTED());
    __atomic_store_n(&end_of_plugins, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(stats().num_gc >= 100);
    CHECK_EQ(stats().cycles_vetoed, 0);
}

TEST(libraries_come_and_go) {
    static struct child child;
    child_run(&child, run_beside_plugins);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77) SKIP("no library to open");
    check_child(&child);
}

// ---- signals, locks and limits that a program sets before its first use ----

static void take_all_signals(void (*handler)(int), bool keep_one) {
    for (int s = SIGRTMIN + 1; s < SIGRTMAX; s++) signal(s, handler);
    if (keep_one) signal(SIGRTMIN + 2, SIG_DFL);
}

static void work_and_be_stopped(void) {
    pthread_t thread;
    bool good = false;
    CHECK(pthread_create(&thread, NULL, other_thread, &good) == 0);
    CHECK(deep(100, NULL));
    pthread_join(thread, NULL);
    CHECK(COLLECTED());
    CHECK(good && stats().num_gc > 2);
}

static void signals_ignored(void) {
    take_all_signals(SIG_IGN, false);
    work_and_be_stopped();
}

static void one_signal_left(void) {
    take_all_signals(SIG_IGN, true);
    work_and_be_stopped();
    struct sigaction now;
    CHECK(sigaction(SIGRTMIN + 2, NULL, &now) == 0); // taken before the ignored ones
    CHECK(now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN);
}

// What a daemon, or what started this program, did to all signals leaves one for the collector.
TEST(ignored_signals) {
    NEEDS_FORK;
    static struct child child;
    child_run(&child, signals_ignored);
    check_child(&child);
    child_run(&child, one_signal_left);
    check_child(&child);
}

static void handle_signal(int number) { (void)number; }

static void signals_handled(void) {
    take_all_signals(handle_signal, false);
    for (int i = 0; i < 3; i++) {
        errno = 0;
        CHECK(!GOMEM_NEW(struct link) && errno == ENOMEM);
    }
    signal(SIGRTMIN + 2, SIG_DFL);
    work_and_be_stopped();
}

// Said once, and taken back as soon as one is free.
TEST(no_signal_is_free) {
    NEEDS_FORK;
    static struct child child;
    child_run(&child, signals_handled);
    check_child(&child);
    CHECK(strstr(child.text, "options.stop_signal"));
    CHECK_EQ(child_lines(&child), 1);
}

static void memory_is_locked(void) {
    if (mlockall(MCL_FUTURE)) exit(77);
    CHECK(deep(100, NULL));
    CHECK_EQ(stats().collector_reason, GOMEM_REASON_NONE);
}

static void files_have_no_bytes(void) {
    struct rlimit limit = {0, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(deep(100, NULL));
    CHECK_EQ(stats().collector_reason, GOMEM_REASON_NONE);
}

static void as_it_is(void) {
    CHECK(deep(100, NULL));
    if (stats().collector_reason) exit(77);
}

// Writes are tracked here, too.
TEST(locked_memory_and_limited_files) {
    NEEDS_FORK;
    static struct child child;
    child_run(&child, as_it_is);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77) SKIP("writes are not tracked");
    child_run(&child, files_have_no_bytes);
    check_child(&child);
    child_run(&child, memory_is_locked);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77) SKIP("memory cannot be locked");
    check_child(&child);
}

// Little memory may be locked, and all that is mapped from here on is locked (EAGAIN).
static bool lock_little(size_t bytes) {
    struct rlimit limit = {bytes, bytes};
    struct {
        uint32_t version;
        int pid;
    } head = {0x20080522, 0}; // as in <linux/capability.h>
    struct {
        uint32_t effective, permitted, inheritable;
    } set[2] = {{0}};
    if (syscall(SYS_capget, &head, set) != 0) return false;
    set[0].effective &= ~(UINT32_C(1) << 14); // CAP_IPC_LOCK: the limit does not hold
    return syscall(SYS_capset, &head, set) == 0 && !setrlimit(RLIMIT_MEMLOCK, &limit) &&
           !mlockall(MCL_FUTURE);
}

static void *make_collected(size_t size) { return gomem_new(size); }
static void *make_manual(size_t size) { return gomem_malloc(size); }
static void *(*make)(size_t size); // of the child

static void locked_to_the_end(void) {
    enum { LIMIT = 8 << 20, SIZE = 1000 };
    static struct link *all;
    size_t n = 0;
    if (!lock_little(LIMIT)) exit(77);
    for (struct link *next; n < LIMIT / SIZE && (next = make(SIZE)) != NULL; n++) {
        next->next = all;
        next->check = ~(uintptr_t)next;
        all = next;
    }
    CHECK(n * SIZE > LIMIT / 2);
    for (struct link *at = all; at != NULL; at = at->next)
        if (!CHECK_EQ(at->check, ~(uintptr_t)at)) return;
    CHECK(HEAP_IS_WHOLE());
}

// libc's malloc gets 6 MB of 8. The heap grows by 4 MB at a time, and by less where that is refused.
TEST(little_memory_may_be_locked) {
    NEEDS_FORK;
    static struct child child;
    static void *(*const makers[])(size_t) = {make_manual, make_collected};
    for (size_t i = 0; i < 2; i++) {
        make = makers[i];
        child_run(&child, locked_to_the_end);
        if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77)
            SKIP("memory cannot be locked");
        check_child(&child);
    }
}

TEST_MAIN
