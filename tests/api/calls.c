// The system calls that the library makes, against the list in gomem.h's first comment. A filter
// lets through what is listed for a mode, and what libc's threads and the harness need; of all
// other calls it tells a thread of this program, which notes them. Each mode in a process of its
// own.
#define _GNU_SOURCE
#include "child.h"
#include "gomem.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#if !defined(SYS_statx)
#define SYS_statx 1000 // a number that nothing has: unknown to these headers
#endif
#if !defined(SYS_clone3)
#define SYS_clone3 435
#endif

#define CALL(name) \
    { #name, SYS_##name }
static const struct call {
    const char *name;
    int number;
} calls[] = {CALL(clock_gettime), CALL(clone), CALL(clone3), CALL(close), CALL(exit), CALL(fcntl),
             CALL(ftruncate), CALL(futex), CALL(getdents64), CALL(getpid), CALL(gettid),
             CALL(ioctl), CALL(lseek), CALL(madvise), CALL(membarrier), CALL(memfd_create),
             CALL(mincore), CALL(mmap), CALL(mprotect), CALL(mremap), CALL(msync), CALL(munlock),
             CALL(munmap), CALL(openat), CALL(prctl), CALL(prlimit64), CALL(process_vm_readv),
             CALL(read), CALL(restart_syscall), CALL(rseq), CALL(rt_sigaction),
             CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(sched_getaffinity), CALL(sched_yield),
             CALL(set_robust_list), CALL(sigaltstack), CALL(statx), CALL(sysinfo), CALL(tgkill),
             CALL(tkill), CALL(uname), CALL(userfaultfd), CALL(write),
             // of libc and of this program
             CALL(brk), CALL(exit_group), CALL(getrandom), CALL(newfstatat), CALL(wait4)};
enum { CALLS = sizeof calls / sizeof calls[0] };

static const char *name_of(int number) {
    static char text[20];
    for (unsigned i = 0; i < CALLS; i++)
        if (calls[i].number == number) return calls[i].name;
    snprintf(text, sizeof text, "number %d", number);
    return text;
}

// ---- the list ----

enum { MANUAL = 1, COLLECTED = 2, TRACKED = 4 };
static unsigned listed[CALLS]; // by index of calls: the rows that name it

// Notes the names in a part of a line; what stands in brackets are remarks.
static void read_names(char *text, unsigned row) {
    static const char *const words[] = {"seldom", "and",  "or",       "to",     "libc's",
                                        "create", "end",  "a",        "thread", "such",
                                        "as",     "find", "thread's", "stack"};
    enum { WORDS = sizeof words / sizeof words[0] };
    for (char *word = strtok(text, " ,;\n"); word; word = strtok(NULL, " ,;\n")) {
        unsigned i = 0, w = 0;
        while (i < CALLS && strcmp(calls[i].name, word)) i++;
        while (w < WORDS && strcmp(words[w], word)) w++;
        if (i < CALLS) listed[i] |= row;
        else if (w == WORDS) {
            printf("\n    \"%s\" is not known as a system call", word);
            CHECK(!"a word of the list");
        }
    }
}

static void drop_remarks(char *text, bool *inside) {
    char *to = text;
    for (char *from = text; *from; from++) {
        if (*from == '(') *inside = true;
        if (!*inside) *to++ = *from;
        if (*from == ')') *inside = false;
    }
    *to = 0;
}

// Reads the table "SYSTEM CALLS": labels in column 5, names from column 34 on.
static bool read_list(void) {
    char line[256];
    bool found = false, inside = false;
    unsigned row = 0;
    FILE *f = fopen("gomem.h", "r");
    if (!f) return false;
    memset(listed, 0, sizeof listed);
    while (fgets(line, sizeof line, f) && strcmp(line, " * UNDER OTHER TOOLS\n")) {
        found |= !strncmp(line, " * SYSTEM CALLS", 15);
        if (!found || strncmp(line, " *   ", 5) || strlen(line) < 34) continue;
        if (!strncmp(line + 5, "manual heap", 11)) row = MANUAL;
        if (!strncmp(line + 5, "and with collected", 18)) row = COLLECTED;
        if (!strncmp(line + 5, "and tracked", 11)) row = TRACKED;
        drop_remarks(line + 34, &inside);
        read_names(line + 34, row);
    }
    fclose(f);
    return row == TRACKED;
}

TEST(the_list_is_read) {
    unsigned n[3] = {0, 0, 0};
    REQUIRE(read_list());
    for (unsigned i = 0; i < CALLS; i++)
        for (unsigned r = 0; r < 3; r++) n[r] += listed[i] >> r & 1;
    CHECK(n[0] >= 10 && n[1] >= 10 && n[2] >= 4);
}

#if !defined(TEST_ASAN) && !defined(TEST_TSAN) && defined(SECCOMP_USER_NOTIF_FLAG_CONTINUE)

// ---- the filter ----

static atomic_int listener = -1; // tells of calls that are not let through
static atomic_int unlisted;      // how many
static atomic_int number[8];     // the first of them

static void *note_calls(void *arg) {
    while (atomic_load(&listener) == -1) usleep(100);
    for (;;) {
        struct seccomp_notif heard = {0};
        struct seccomp_notif_resp answer = {0};
        if (ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_RECV, &heard) != 0) continue;
        int n = atomic_fetch_add(&unlisted, 1);
        if (n < 8) atomic_store(&number[n], heard.data.nr);
        answer.id = heard.id;
        answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(atomic_load(&listener), SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
    return arg;
}

// What libc does for a program that starts threads and forks, and what this program does.
static const int of_libc[] = {
    SYS_brk,  SYS_clone,     SYS_clone3, SYS_exit,           SYS_exit_group,   SYS_set_robust_list,
    SYS_rseq, SYS_getrandom, SYS_wait4,  SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_newfstatat};

static int refused; // this call fails with ENOSYS; 0: none does

// Lets through the calls of `rows`, and with `libc` those that threads and forks need. Those of the
// calling thread and of threads that it creates are looked at; the noting thread's are not.
static bool filter(unsigned rows, bool libc) {
    struct sock_filter f[2 * CALLS + 40];
    unsigned at = 0;
    pthread_t noting;
    if (pthread_create(&noting, NULL, note_calls, NULL)) return false;
    f[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                           offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < CALLS; i++) {
        bool open = (listed[i] & rows) || calls[i].number == SYS_exit_group;
        for (unsigned k = 0; libc && k < sizeof of_libc / sizeof of_libc[0]; k++)
            open |= calls[i].number == of_libc[k];
        if (!open) continue;
        f[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)calls[i].number,
                                               0, 1);
        f[at++] = (struct sock_filter)BPF_STMT(
            BPF_RET | BPF_K,
            calls[i].number == refused ? SECCOMP_RET_ERRNO | (unsigned)ENOSYS : SECCOMP_RET_ALLOW);
    }
    f[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    struct sock_fprog program = {(unsigned short)at, f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return false;
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
                          &program);
    atomic_store(&listener, fd);
    return fd >= 0;
}

static void none_is_unlisted(void) {
    int n = atomic_load(&unlisted);
    for (int i = 0; i < n && i < 8; i++)
        fprintf(stderr, "a call that is not listed: %s\n", name_of(atomic_load(&number[i])));
    CHECK_EQ(n, 0);
}

// ---- what uses the library ----

static void hear(const char *line, void *user) { (void)line, (void)user; }

static void use_manual(void) {
    for (size_t n = 1; n < 100; n++) {
        char *p = gomem_malloc(n * n * 100);
        p = gomem_realloc(p, n * n * 300); // mremap
        gomem_free(p);
        gomem_free(gomem_aligned_alloc(4096, n * 100));
    }
    gomem_free(gomem_calloc(1000, 1000));
    static gomem_arena arena, reserved;
    gomem_arena_options o = {.reserve = 1 << 20};
    CHECK(gomem_arena_init(&reserved, &o));
    for (int i = 0; i < 1000; i++)
        CHECK(gomem_arena_alloc(&arena, 1000) && gomem_arena_alloc(&reserved, 100));
    gomem_arena_reset(&arena);
    gomem_arena_free(&arena), gomem_arena_free(&reserved);
    CHECK(gomem_arena_alloc(gomem_scratch(NULL, 0), 100));
    gomem_pool *pool = gomem_pool_new(&(gomem_pool_options){.size = 200});
    if (!CHECK(pool != NULL)) return;
    void *object = gomem_pool_get(pool);
    CHECK(object != NULL);
    gomem_pool_put(pool, object);
    gomem_pool_destroy(pool);
}

static void ask_statistics(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    CHECK(gomem_heap_size() > 0 && gomem_free_os_memory() + 1 > 0 && HEAP_IS_WHOLE());
}

static void *use_on_thread(void *arg) {
    use_manual();
    return arg;
}

static void with_threads_and_forks(void) {
    pthread_t thread;
    int status = -1;
    CHECK(pthread_create(&thread, NULL, use_on_thread, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        use_manual();
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

struct node {
    struct node *next;
    char rest[56];
};
static struct node *kept;

static void make_list(int n) {
    for (int i = 0; i < n; i++) {
        struct node *x = GOMEM_NEW(struct node);
        if (!CHECK(x != NULL)) return;
        GOMEM_STORE(&x->next, kept);
        GOMEM_STORE(&kept, x);
    }
}

static void *collect_on_thread(void *arg) {
    for (int i = 0; i < 200000; i++) CHECK(GOMEM_NEW(struct node) != NULL);
    return arg;
}

static atomic_int finalized;
static void finalize(void *object, void *arg) {
    (void)object, (void)arg;
    atomic_fetch_add(&finalized, 1);
}

static void use_collected(void) {
    pthread_t thread;
    make_list(50000);
    for (int i = 0; i < 100; i++) gomem_set_finalizer(gomem_new(64), finalize, NULL);
    CHECK(gomem_new(3 << 20) && gomem_new_noscan(3 << 20));
    CHECK(gomem_thread_create(&thread, NULL, collect_on_thread, NULL) == 0);
    (void)collect_on_thread(NULL);
    CHECK(gomem_thread_join(&thread, NULL) == 0);
    for (int i = 0; i < 5; i++) {
        kept = NULL;
        make_list(20000);
        CHECK(COLLECTED());
    }
    CHECK(gomem_why(kept, 2));
    while (!atomic_load(&finalized)) gomem_gc();
    gomem_blocking_begin();
    gomem_blocking_end();
}

static int collector;

static bool init(void) {
    gomem_options o = {.collector = collector, .warn = hear};
    return gomem_init(&o);
}

static void in_mode(unsigned rows, bool collected) {
    if (!filter(rows, false)) exit(77);
    CHECK(init());
    use_manual();
    ask_statistics();
    if (collected) use_collected(), ask_statistics();
    none_is_unlisted();
}

static void manual(void) { in_mode(MANUAL, false); }
static void without_tracking(void) { in_mode(MANUAL | COLLECTED, true); }
static void tracking(void) { in_mode(MANUAL | COLLECTED | TRACKED, true); }

static void manual_with_threads(void) {
    if (!filter(MANUAL, true)) exit(77);
    CHECK(init());
    use_manual();
    with_threads_and_forks();
    none_is_unlisted();
}
static void collected_with_threads(void) {
    if (!filter(MANUAL | COLLECTED, true)) exit(77);
    CHECK(init());
    make_list(10000);
    with_threads_and_forks();
    CHECK(COLLECTED());
    none_is_unlisted();
}

static void check_mode(int which, void (*fn)(void)) {
    static struct child child;
    collector = which;
    if (!CHECK(read_list())) return;
    child_run(&child, fn);
    if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == 77)
        SKIP("the kernel does not let a program see its own system calls");
    child_good(&child);
}

TEST(manual_memory) { check_mode(GOMEM_GC_AUTO, manual); }
TEST(manual_memory_beside_threads_and_forks) { check_mode(GOMEM_GC_AUTO, manual_with_threads); }
TEST(stop_the_world) { check_mode(GOMEM_GC_STW, without_tracking); }
TEST(barrier) { check_mode(GOMEM_GC_BARRIER, without_tracking); }
TEST(tracked) { check_mode(GOMEM_GC_AUTO, tracking); }
// What the library does instead of a call that is refused is listed, too.
TEST(calls_are_refused) {
    static const int some[] = {SYS_userfaultfd,       SYS_process_vm_readv, SYS_tgkill,
                               SYS_membarrier,        SYS_memfd_create,     SYS_mremap,
                               SYS_sched_getaffinity, SYS_madvise,          SYS_ioctl};
    for (unsigned i = 0; i < sizeof some / sizeof some[0]; i++) {
        refused = some[i];
        check_mode(GOMEM_GC_AUTO, tracking);
        refused = 0;
    }
}
TEST(collected_memory_beside_threads_and_forks) {
    check_mode(GOMEM_GC_STW, collected_with_threads);
}
TEST(limits_of_the_control_group) {
    setenv("GOMEM_MEMLIMIT", "auto", 1);
    check_mode(GOMEM_GC_AUTO, manual);
    unsetenv("GOMEM_MEMLIMIT");
}
TEST(warnings_and_traces) {
    setenv("GOMEM_DEBUG", "gctrace=1", 1);
    check_mode(GOMEM_GC_BARRIER, without_tracking);
    unsetenv("GOMEM_DEBUG");
}
#endif

TEST_MAIN
