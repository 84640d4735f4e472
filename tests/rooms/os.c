// Room os: pages, clock, threads, signals, registers.
static int refused;     // errno of process_vm_readv and tgkill, 0: they are allowed
static int opened = -1; // what openat returns, -1: what the kernel does
#define GOMEM_SYSCALL(number, ...)                                           \
    (refused && ((number) == SYS_process_vm_readv || (number) == SYS_tgkill) \
         ? (errno = refused, -1L)                                            \
     : opened >= 0 && (number) == SYS_openat ? (long)opened                  \
                                             : gm_libc_syscall((number), ##__VA_ARGS__))
#include <signal.h>
#include <stddef.h>
static int rival; // a handler that somebody installs between a look and what follows
static void rival_handler(int signal) { (void)signal; }
static int os_action(int signal, const struct sigaction *action, struct sigaction *old) {
    struct sigaction theirs = {.sa_handler = rival_handler};
    if (action && rival) {
        rival--;
        sigaction(signal, &theirs, NULL);
    }
    return sigaction(signal, action, old);
}
#define GOMEM_SIGACTION(signal, action, old) os_action((signal), (action), (old))
#include "room.h"

#include <sched.h>
#include <sys/stat.h>
#include <signal.h>

static size_t page;

TEST(reserve_protect_discard) {
    page = gm_os_page_size();
    REQUIRE(gm_base_power_of_two(page));
    char *p = gm_os_reserve(4 * page, 0);
    REQUIRE(p != NULL);
    uintptr_t at = (uintptr_t)p;
    CHECK(gm_os_protect(at, at + 2 * page, PROT_READ | PROT_WRITE));
    CHECK(gm_os_protect(at, at, PROT_READ)); // an empty range is fine
    gm_os_populate(p, 2 * page);
    memset(p, 1, 2 * page);
    CHECK(gm_os_discard(p + page, page));
    CHECK_EQ(p[page - 1], 1);
    CHECK_EQ(p[page], 0);
    CHECK_EQ(p[2 * page - 1], 0);
    char copy[8];
    CHECK_EQ(gm_os_read_foreign(copy, at + 3 * page, 8), 0); // reserved only
    gm_os_release(p, 4 * page);
    gm_os_release(NULL, page);
}

TEST(moving_leaves_zeros) {
    char *from = gm_os_reserve(4 * page, 0);
    REQUIRE(from != NULL);
    char *to = from + 2 * page;
    REQUIRE(gm_os_protect((uintptr_t)from, (uintptr_t)from + 4 * page, PROT_READ | PROT_WRITE));
    memset(from, 7, 2 * page);
    bool moved = gm_os_move(from, to, 2 * page);
    for (size_t i = 0; i < 2 * page; i += 512) {
        CHECK_EQ(from[i], moved ? 0 : 7);
        CHECK_EQ(to[i], moved ? 7 : 0);
    }
    from[0] = 1; // still mapped
    gm_os_release(from, 4 * page);
    if (!moved) SKIP("the kernel cannot move pages and keep the mapping");
}

static void foreign_memory(void) {
    page = gm_os_page_size();
    char *p = gm_os_reserve(3 * page, 0), *copy = gm_os_reserve(3 * page, 0);
    REQUIRE(p && copy);
    CHECK(gm_os_protect((uintptr_t)p, (uintptr_t)p + page, PROT_READ | PROT_WRITE));
    CHECK(gm_os_protect((uintptr_t)p + 2 * page, (uintptr_t)p + 3 * page, PROT_READ | PROT_WRITE));
    CHECK(gm_os_protect((uintptr_t)copy, (uintptr_t)copy + 3 * page, PROT_READ | PROT_WRITE));
    memset(p, 3, page);
    CHECK_EQ(gm_os_read_foreign(copy, (uintptr_t)p, page), page);
    CHECK_EQ(copy[page - 1], 3);
    CHECK_EQ(gm_os_read_foreign(copy, (uintptr_t)p + 8, 3 * page - 8), page - 8); // up to the hole
    CHECK_EQ(gm_os_read_foreign(copy, (uintptr_t)p + page, 8), 0);
    gm_os_release(p, 3 * page);
    CHECK_EQ(gm_os_read_foreign(copy, (uintptr_t)p, 8), 0); // gone
    gm_os_release(copy, 3 * page);
}

TEST(foreign_memory) { foreign_memory(); }

// In sandboxes that refuse the call, and under emulators that do not have it.
TEST(foreign_memory_without_the_call) {
    CHECK(gm_os_can_read());
    refused = EPERM;
    foreign_memory();
    CHECK(!gm_os_can_read());
    refused = ENOSYS;
    foreign_memory();
    refused = 0;
}

static void check_readable_down(void) {
    page = gm_os_page_size();
    char *p = gm_os_reserve(400 * page, 0);
    REQUIRE(p != NULL);
    uintptr_t at = (uintptr_t)p, top = at + 400 * page;
    REQUIRE(gm_os_protect(at + 100 * page, top, PROT_READ | PROT_WRITE));
    CHECK_EQ(gm_os_readable_down(top, page, page), at + 100 * page);
    CHECK_EQ(gm_os_readable_down(top, at + 390 * page, page), at + 390 * page);
    CHECK_EQ(gm_os_readable_down(top, at + 100 * page, page), at + 100 * page);
    CHECK_EQ(gm_os_readable_down(top, top, page), top);
    CHECK_EQ(gm_os_readable_down(at + 100 * page, page, page), at + 100 * page);
    REQUIRE(gm_os_protect(at + 300 * page, at + 301 * page, PROT_NONE));
    CHECK_EQ(gm_os_readable_down(top, page, page), at + 301 * page);
    gm_os_release(p, 400 * page);
}

TEST(how_far_down_memory_reaches) {
    check_readable_down();
    refused = EPERM;
    check_readable_down();
    refused = 0;
}

// Both ends of a stack that nobody was asked for.
static void *own_stack(void *unused) {
    char local = 0;
    uintptr_t here = (uintptr_t)&local, lo = 0, hi = 0;
    uintptr_t top = unused ? gm_os_thread_top(gm_os_thread_pointer(), page) : gm_os_main_top(page);
    CHECK(here < top && gm_os_readable_down(top, here - here % page, page) <= here);
    if (!CHECK(gm_os_stack(pthread_self(), &lo, &hi))) return NULL;
    CHECK(hi >= top - 16 * page && hi <= top + 4 * page);
    return NULL;
}

TEST(tops_of_stacks) {
    pthread_t thread;
    page = gm_os_page_size();
    (void)own_stack(NULL);
    REQUIRE(pthread_create(&thread, NULL, own_stack, &page) == 0);
    pthread_join(thread, NULL);
}

static uint32_t word;
static uint32_t told;

static void *wait_for_word(void *arg) {
    (void)arg;
    while (!gm_load_acq(&word)) gm_os_wait(&word, 0, 0);
    gm_store_rel(&told, gm_os_thread_id());
    return NULL;
}

TEST(wait_and_wake) {
    pthread_t thread;
    errno = 77;
    gm_os_wait(&word, 1, 0);    // has another value: returns
    gm_os_wait(&word, 0, 1000); // nobody wakes: returns after a microsecond
    gm_os_wake(&word, 1);
    CHECK_EQ(gm_os_signal_thread(0, 0), ESRCH);
    CHECK_EQ(errno, 77);
    REQUIRE(gm_os_start_thread(&thread, wait_for_word, NULL));
    gm_store_rel(&word, 1u);
    gm_os_wake(&word, 1);
    pthread_join(thread, NULL);
    CHECK(gm_load_acq(&told) != 0 && gm_load_acq(&told) != gm_os_thread_id());
    uint64_t now = gm_os_now();
    CHECK(now > 0 && gm_os_now() >= now);
    CHECK(gm_os_clock(CLOCK_REALTIME) / 1000000000u > 1600000000u);
}

TEST(processors) {
    cpu_set_t set;
    REQUIRE(sched_getaffinity(0, sizeof set, &set) == 0);
    CHECK_EQ(gm_os_processors(), CPU_COUNT(&set));
}

static void *look_around(void *arg) {
    uintptr_t *seen = arg;
    sigset_t blocked;
    CHECK(gm_os_stack(pthread_self(), &seen[0], &seen[1]));
    CHECK((uintptr_t)__builtin_frame_address(0) - seen[0] < seen[1] - seen[0]);
    seen[2] = gm_os_thread_pointer();
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    seen[3] = (uintptr_t)sigismember(&blocked, SIGUSR1);
    return NULL;
}

TEST(threads_of_the_library) {
    uintptr_t main_sees[4], thread_sees[4];
    pthread_t thread;
    look_around(main_sees);
    REQUIRE(gm_os_start_thread(&thread, look_around, thread_sees));
    pthread_join(thread, NULL);
    CHECK(main_sees[2] != 0 && main_sees[2] != thread_sees[2]);
    CHECK_EQ(main_sees[3], 0);
    CHECK_EQ(thread_sees[3], 1); // all signals are blocked there, and here as before
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    CHECK_EQ(sigismember(&mask, SIGUSR1), 0);
}

// A value that only a callee-saved register holds is among what is spilled.
TEST(spilled_registers) {
#if defined(__x86_64__) || defined(__aarch64__)
    struct gm_registers r;
    uintptr_t lo, hi, magic = 0x5eed5eed5eed5eed;
    memset(&r, 0, sizeof r);
#if defined(__x86_64__)
    register uintptr_t kept __asm__("r12") = magic;
#else
    register uintptr_t kept __asm__("x20") = magic;
#endif
    __asm__ volatile("" : "+r"(kept));
    gm_os_spill(&r);
    __asm__ volatile("" : "+r"(kept));
    bool found = false;
    for (size_t i = 0; i < sizeof r.word / sizeof r.word[0]; i++) found |= r.word[i] == magic;
    CHECK(found);
    REQUIRE(gm_os_stack(pthread_self(), &lo, &hi));
    CHECK(r.sp - lo < hi - lo && r.sp <= (uintptr_t)__builtin_frame_address(0));
#else
    SKIP("registers are spilled by the compiler here");
#endif
}

static struct gm_interrupted at;
static uintptr_t handler_frame;

static void look(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    at = gm_os_interrupted(context);
    handler_frame = (uintptr_t)__builtin_frame_address(0);
}

static char alternate[64 * 1024];

TEST(interrupted_code) {
    uintptr_t lo, hi;
    struct sigaction old, none;
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate}, before;
    REQUIRE(gm_os_stack(pthread_self(), &lo, &hi));
    REQUIRE(sigaltstack(&stack, &before) == 0);
    int signal = gm_os_claim_signal(look);
    REQUIRE(signal > SIGRTMIN && signal < SIGRTMAX);
    sigaction(signal, NULL, &old);
    CHECK(old.sa_sigaction == look);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK_EQ(gm_os_signal_thread(gm_os_thread_id(), signal), 0);
    CHECK_EQ(at.sp, 0);
    gm_os_unblock(signal); // now it comes
    CHECK(at.sp - lo < hi - lo);
    CHECK(at.sp < (uintptr_t)__builtin_frame_address(0) + 4096);
    CHECK_EQ(at.alt_lo, (uintptr_t)alternate);
    CHECK_EQ(at.alt_size, sizeof alternate);
    CHECK(GM_TSAN || handler_frame - at.alt_lo < at.alt_size); // it delivers signals by itself
    memset(&none, 0, sizeof none);
    none.sa_handler = SIG_DFL;
    sigaction(signal, &none, NULL);
    sigaltstack(&before, NULL);
}

// Of two that want the same signal at once one gets it, and the other another one.
TEST(signals_are_claimed_once) {
    int first = gm_os_claim_signal(look), second = gm_os_claim_signal(look);
    CHECK(first > second && second > SIGRTMIN);
    gm_os_remove_handler(first, look);
    CHECK_EQ(gm_os_claim_signal(look), first);
    gm_os_remove_handler(first, look);
    rival = 1;
    int other = gm_os_claim_signal(look);
    CHECK(other > 0 && other < second);
    struct sigaction now;
    sigaction(first, NULL, &now);
    CHECK(now.sa_handler == rival_handler); // the rival's is back
    gm_os_remove_handler(first, look);
    sigaction(first, NULL, &now);
    CHECK(now.sa_handler == rival_handler); // not ours to take away
    signal(first, SIG_DFL);
    gm_os_remove_handler(second, look);
    gm_os_remove_handler(other, look);
}

// A signal that is still pending when the handler goes ends nothing.
TEST(pending_when_the_handler_goes) {
    sigset_t set, old;
    int signal = gm_os_claim_signal(look);
    REQUIRE(signal > 0);
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    CHECK_EQ(gm_os_signal_thread(gm_os_thread_id(), signal), 0);
    gm_os_remove_handler(signal, look);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    struct sigaction now;
    sigaction(signal, NULL, &now);
    CHECK(now.sa_handler == SIG_DFL);
}

// Of a signal that pends for two threads nothing is left, and our handler is there. Another's stays.
static bool masked, discarded; // atomic

static void *mask_and_wait(void *arg) {
    sigset_t set;
    int number = *(int *)arg;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK_EQ(gm_os_signal_thread(gm_os_thread_id(), number), 0);
    gm_store_rel(&masked, true);
    while (!gm_load_acq(&discarded)) (void)sched_yield();
    CHECK(sigpending(&set) == 0 && sigismember(&set, number) == 0);
    return arg;
}

TEST(discarded_signals) {
    sigset_t set, old;
    struct sigaction now;
    pthread_t thread;
    int number = gm_os_claim_signal(look);
    REQUIRE(number > 0);
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    for (int i = 0; i < 3; i++) CHECK_EQ(gm_os_signal_thread(gm_os_thread_id(), number), 0);
    masked = discarded = false;
    REQUIRE(pthread_create(&thread, NULL, mask_and_wait, &number) == 0);
    while (!gm_load_acq(&masked)) (void)sched_yield();
    gm_os_discard_signal(number, look);
    gm_store_rel(&discarded, true);
    CHECK(sigpending(&set) == 0 && sigismember(&set, number) == 0);
    CHECK(gm_os_handled(number, look) == GM_HANDLED);
    signal(number, SIG_DFL); // as a daemon that resets all
    CHECK_EQ(gm_os_signal_thread(gm_os_thread_id(), number), 0);
    gm_os_discard_signal(number, look);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    CHECK(gm_os_handled(number, look) == GM_HANDLED);
    for (int i = 0; i < 2; i++) { // taken before the first action, then between the two
        rival = 1 + i;
        gm_os_discard_signal(number, look);
        sigaction(number, NULL, &now);
        CHECK(now.sa_handler == rival_handler && rival == 0);
    }
    signal(number, SIG_DFL);
    pthread_join(thread, NULL);
}

static char folder[] = "/tmp/gomem-groups-XXXXXX";

static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    for (char *at = path + sizeof folder; (at = strchr(at, '/')) != NULL; *at++ = '/')
        *at = 0, (void)mkdir(path, 0700);
    FILE *file = fopen(path, "w");
    REQUIRE(file != NULL);
    fputs(text, file);
    fclose(file);
}

static uint64_t group_limit(const char *list) {
    char path[256];
    put("cgroup", list);
    snprintf(path, sizeof path, "%s/cgroup", folder);
    return gm_os_group_limit(path, folder);
}

// The next file that is opened has this text.
static void open_text(const char *text) {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    REQUIRE(write(ends[1], text, strlen(text)) == (ssize_t)strlen(text));
    close(ends[1]);
    opened = ends[0];
}
static bool was_closed(void) {
    int fd = opened;
    opened = -1;
    return close(fd) != 0;
}

// Of the three modes of overcommitting only the last one is strict.
TEST(overcommit) {
    static const char *const modes[] = {"0\n", "1\n", "2\n", ""};
    for (int i = 0; i < 4; i++) {
        open_text(modes[i]);
        CHECK(gm_os_is_strict() == (i == 2));
        CHECK(was_closed());
    }
}

// A name in brackets is no path, whatever it contains.
TEST(names_in_brackets) {
    struct gm_mapping m;
    open_text("10000-20000 rw-p 00000000 00:00 0    [anon:a/b]\n"
              "20000-30000 r-xp 00001000 00:01 7    /tmp/[a]/b\n");
    CHECK(gm_os_find_mapping(&m, 0x10000) && !gm_os_is_file(&m));
    CHECK(strcmp(m.name, "[anon:a/b]") == 0);
    CHECK(was_closed());
    open_text("10000-20000 rw-p 00000000 00:00 0    [anon:a/b]\n"
              "20000-30000 r-xp 00001000 00:01 7    /tmp/[a]/b\n");
    CHECK(gm_os_find_mapping(&m, 0x20000) && gm_os_is_file(&m));
    CHECK(strcmp(m.name, "b") == 0 && m.number[2] == 0x1000);
    CHECK(was_closed());
}

static long in_this_file = 1;

// The mapping of an address: of a file, without one, behind a file's, and none.
TEST(mappings) {
    struct gm_mapping m;
    char path[4096], *own;
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    page = (size_t)sysconf(_SC_PAGESIZE);
    REQUIRE(n > 0);
    path[n] = 0;
    own = strrchr(path, '/') + 1;
    CHECK(gm_os_find_mapping(&m, (uintptr_t)&in_this_file) && gm_os_is_file(&m));
    CHECK(m.number[0] <= (uintptr_t)&in_this_file && m.number[1] > (uintptr_t)&in_this_file);
    CHECK(strcmp(m.name, own) == 0);
    char *p = mmap(NULL, 6 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(p != MAP_FAILED);
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    REQUIRE(mmap(p + page, page, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == p + page);
    close(fd);
    REQUIRE(mprotect(p + 2 * page, page, PROT_READ) == 0); // a mapping of one page
    CHECK(gm_os_find_mapping(&m, (uintptr_t)p + 100) && !gm_os_is_file(&m));
    CHECK(gm_os_find_mapping(&m, (uintptr_t)p + 2 * page - 1) && gm_os_is_file(&m));
    CHECK(m.number[1] == (uintptr_t)p + 2 * page && m.number[2] == 0);
    CHECK(gm_os_find_mapping(&m, (uintptr_t)p + 2 * page) && !gm_os_is_file(&m));
    CHECK(m.behind && strcmp(m.name, own) == 0 && m.number[0] == (uintptr_t)p + 2 * page);
    REQUIRE(munmap(p + 4 * page, page) == 0);
    CHECK(gm_os_find_mapping(&m, (uintptr_t)p + 5 * page) && !m.behind && !m.name[0]);
    munmap(p, 6 * page);
    CHECK(!gm_os_find_mapping(&m, (uintptr_t)p + page) && errno == 0);
}

// The nearest limit counts: of the group or of one above it, in version 2 or 1.
TEST(limits_of_control_groups) {
    REQUIRE(mkdtemp(folder) != NULL);
    CHECK_EQ(gm_os_group_limit("/nowhere/cgroup", folder), UINT64_MAX);
    CHECK_EQ(group_limit("0::/\n"), UINT64_MAX);
    put("memory.max", "max\n");
    put("a/memory.max", "300000000\n");
    put("a/b/memory.max", "max\n");
    put("a/b/c/memory.max", "500000000\n");
    CHECK_EQ(group_limit("0::/a/b/c\n"), 300000000);
    put("a/b/c/memory.max", "200000000\n");
    CHECK_EQ(group_limit("0::/a/b/c\n"), 200000000);
    CHECK_EQ(group_limit("0::/a/b\n"), 300000000);
    CHECK_EQ(group_limit("0::/elsewhere/b\n"), UINT64_MAX);
    put("memory.max", "123456789\n"); // a container sees its own group as the root
    CHECK_EQ(group_limit("0::/elsewhere/b\n"), 123456789);
    CHECK_EQ(group_limit("0::/\n"), 123456789);
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/x/memory.limit_in_bytes", "77000000\n");
    CHECK_EQ(group_limit("3:cpu,cpuacct:/x\n2:memory:/x/y\n1:name=systemd:/x\n"), 77000000);
    CHECK_EQ(group_limit("2:memory:/\n"), 9223372036854771712u);
    CHECK_EQ(group_limit("2:memory:/x\n0::/a\n"), 77000000);
    CHECK_EQ(group_limit("nonsense\n:::\n\n0::"), 123456789);
    char command[300];
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK_EQ(system(command), 0);
}

TEST_MAIN
