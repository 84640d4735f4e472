// Threads that a stop does not reach: they mask the signal, lost the handler, are cancelled, or have
// ended. Nothing hangs, nothing is lost, and the library says what is wrong. Each test runs in a
// process of its own.
#define _GNU_SOURCE
#include "child.h"
#include "gomem.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <ucontext.h>

static void mask_all(int how) {
    sigset_t all;
    sigfillset(&all);
    CHECK(pthread_sigmask(how, &all, NULL) == 0);
}

// ---- what the library says ----

static atomic_int lines;
static char line_text[600];

static void take_line(const char *line, void *user) {
    (void)user;
    if (atomic_fetch_add(&lines, 1) == 0) snprintf(line_text, sizeof line_text, "%s", line);
}

static int wanted_collector;

static void init(void) {
    gomem_options o = {.collector = wanted_collector, .warn = take_line};
    CHECK(gomem_init(&o));
}

static void only_when_asked(void) {
    gomem_options o = {
        .collector = wanted_collector, .warn = take_line, .gc_percent = GOMEM_GC_OFF};
    CHECK(gomem_init(&o));
}

static void in_each_collector(void (*fn)(void)) {
    const int each[] = {GOMEM_GC_AUTO, GOMEM_GC_BARRIER, GOMEM_GC_STW};
    for (int i = 0; i < 3; i++) {
        wanted_collector = each[i];
        CHILD_GOOD(fn);
    }
}

// ---- work ----

struct node {
    struct node *next;
    size_t value;
};

static struct node *make_list(size_t n) {
    struct node *list = NULL;
    for (size_t i = 0; i < n; i++) {
        struct node *node = GOMEM_NEW(struct node);
        if (!CHECK(node != NULL)) exit(1);
        node->value = i;
        GOMEM_STORE(&node->next, list);
        list = node;
    }
    return list;
}

static bool list_is_whole(const struct node *list, size_t n) {
    while (n && list && list->value == n - 1) n--, list = list->next;
    return !n && !list;
}

static void make_garbage(size_t bytes) {
    for (size_t i = 0; i < bytes; i += 1024) CHECK(gomem_new(1024) != NULL);
}

static void *collect_and_check(void *arg) {
    struct node *volatile list = make_list(1000);
    for (int i = 0; i < 5; i++) {
        make_garbage(4 << 20);
        CHECK(COLLECTED());
    }
    CHECK(list_is_whole(list, 1000));
    return arg;
}

static void run_thread(void *(*fn)(void *)) {
    pthread_t thread;
    if (CHECK(pthread_create(&thread, NULL, fn, NULL) == 0)) CHECK(pthread_join(thread, NULL) == 0);
}

// ---- masks ----

// A daemon masks everything first, so that one thread can wait for signals.
static void masked_from_the_start(void) {
    init();
    mask_all(SIG_BLOCK);
    struct node *volatile list = make_list(1000);
    run_thread(collect_and_check);
    CHECK(list_is_whole(list, 1000));
    CHECK_EQ(atomic_load(&lines), 0);
}
TEST(masks_everything_before_the_first_use) {
    NEEDS_FORK;
    in_each_collector(masked_from_the_start);
}

static atomic_bool ready, release, inside;

static void wait_for(atomic_bool *flag) {
    while (!atomic_load(flag)) sched_yield();
}

static void *attach_masked(void *arg) {
    mask_all(SIG_BLOCK);
    CHECK(gomem_thread_attach());
    atomic_store(&ready, true);
    wait_for(&release);
    return arg;
}

static void masked_at_attach(void) {
    pthread_t thread;
    init();
    CHECK(GOMEM_NEW(long) != NULL);
    if (!CHECK(pthread_create(&thread, NULL, attach_masked, NULL) == 0)) return;
    wait_for(&ready);
    CHECK(COLLECTED());
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQ(atomic_load(&lines), 0);
}
TEST(masks_everything_before_it_attaches) {
    NEEDS_FORK;
    in_each_collector(masked_at_attach);
}

// Manual memory alone: the thread has a record, but nobody unmasks the signal for it.
static void *use_manual_masked(void *arg) {
    mask_all(SIG_BLOCK);
    void *p = test_opaque(gomem_malloc(100));
    atomic_store(&ready, true);
    wait_for(&release);
    gomem_free(p);
    return arg;
}

static void masked_for_ever(void) {
    pthread_t thread;
    gomem_memstats m = {.size = sizeof m};
    init();
    if (!CHECK(pthread_create(&thread, NULL, use_manual_masked, NULL) == 0)) return;
    wait_for(&ready);
    struct node *volatile list = make_list(1000);
    CHECK(!gomem_gc() && errno == EAGAIN);
    CHECK(!gomem_gc() && errno == EAGAIN);
    make_garbage(64 << 20); // the heap grows meanwhile
    CHECK_EQ(atomic_load(&lines), 1);
    CHECK(strstr(line_text, "blocks signal") && strstr(line_text, "GOMEM_THREADS"));
    gomem_read_memstats(&m);
    CHECK(m.num_gc == 0 && m.stops_withdrawn > 0);
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(COLLECTED()); // it has ended
    CHECK(list_is_whole(list, 1000));
    gomem_read_memstats(&m);
    CHECK(m.heap_inuse < 32 << 20);
}
TEST(masks_everything_for_ever) {
    NEEDS_FORK;
    in_each_collector(masked_for_ever);
}

// A stop that has waited in vain for a thread is remembered: at its next slow path, of any
// allocation, the thread takes the signal out of its mask.
static atomic_bool allocates, allocated;

// With all signals blocked, in a thread or in a context: waits, allocates when told to, waits again.
static void run_masked(void) {
    atomic_store(&ready, true);
    wait_for(&allocates);
    gomem_free(test_opaque(gomem_malloc(100000)));
    atomic_store(&allocated, true);
    wait_for(&release);
}

static void *mask_after_use(void *arg) {
    struct node *volatile list = make_list(1000);
    mask_all(SIG_BLOCK);
    run_masked();
    CHECK(list_is_whole(list, 1000));
    return arg;
}

// No cycle ends until the thread, which runs run_masked with all signals blocked, allocates.
static void heard_when_it_allocates(void *(*fn)(void *)) {
    pthread_t thread;
    init();
    if (!CHECK(pthread_create(&thread, NULL, fn, NULL) == 0)) return;
    wait_for(&ready);
    CHECK(!gomem_gc() && errno == EAGAIN);
    struct node *volatile list = make_list(1000);
    atomic_store(&allocates, true);
    wait_for(&allocated);
    CHECK(COLLECTED());
    CHECK(list_is_whole(list, 1000) && HEAP_IS_WHOLE());
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void masked_after_use(void) { heard_when_it_allocates(mask_after_use); }
TEST(masks_everything_after_use) {
    NEEDS_FORK;
    in_each_collector(masked_after_use);
}

// Threads that were known before the collected heap was opened are asked at their next slow path.
static void *use_manual_again(void *arg) {
    mask_all(SIG_BLOCK);
    gomem_free(test_opaque(gomem_malloc(100)));
    atomic_store(&ready, true);
    wait_for(&allocates);
    gomem_free(test_opaque(gomem_malloc(100000)));
    atomic_store(&allocated, true);
    wait_for(&release);
    return arg;
}

static void masked_when_it_opens(void) {
    pthread_t thread;
    init();
    if (!CHECK(pthread_create(&thread, NULL, use_manual_again, NULL) == 0)) return;
    wait_for(&ready);
    CHECK(GOMEM_NEW(long) != NULL);
    atomic_store(&allocates, true);
    wait_for(&allocated);
    CHECK(COLLECTED());
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_EQ(atomic_load(&lines), 0);
}
TEST(masked_everything_when_the_heap_opens) {
    NEEDS_FORK;
    in_each_collector(masked_when_it_opens);
}

// A thread that masks everything and allocates on is heard at one of its slow paths.
static atomic_bool stop;

static void *allocate_masked(void *arg) {
    CHECK(GOMEM_NEW(long) != NULL);
    mask_all(SIG_BLOCK);
    atomic_store(&ready, true);
    for (unsigned round = 0; !atomic_load(&stop); round++) {
        CHECK(gomem_new(64) != NULL);
        if (round % 16 == 0) sched_yield();
    }
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    CHECK(sigismember(&mask, SIGUSR1) == 1); // its mask is as it was, but for one signal
    int open = 0;
    for (int s = SIGRTMIN; s <= SIGRTMAX; s++) open += sigismember(&mask, s) == 0;
    CHECK_EQ(open, 1);
    return arg;
}

static void masked_and_allocates(void) {
    pthread_t thread;
    init();
    if (!CHECK(pthread_create(&thread, NULL, allocate_masked, NULL) == 0)) return;
    wait_for(&ready);
    for (int ended = 0, tries = 0; ended < 3 && tries < 1000; tries++) ended += gomem_gc();
    CHECK(COLLECTED());
    atomic_store(&stop, true);
    CHECK(pthread_join(thread, NULL) == 0);
}
TEST(masks_everything_and_allocates) {
    NEEDS_FORK;
    in_each_collector(masked_and_allocates);
}

// ---- calls that wait with a mask, and contexts ----

// A thread waits for ever, and its mask or set is full. The others run on, with one line that names
// the call.
static const struct {
    const char *name, *told;
} waits[] = {
    {"sigsuspend", "in sigsuspend"}, {"epoll", "in epoll_pwait"}, {"signalfd", "signalfd"}};
static int way; // index

static void *wait_masked(void *arg) {
    struct node *volatile list = make_list(1000);
    struct epoll_event event;
    struct signalfd_siginfo info;
    sigset_t all;
    sigfillset(&all);
    int fd = way == 1 ? epoll_create1(0) : way == 2 ? signalfd(-1, &all, 0) : -1;
    if (way == 2) mask_all(SIG_BLOCK);
    atomic_store(&ready, true);
    for (;;) {
        if (way == 0) sigsuspend(&all);
        else if (way == 1) (void)epoll_pwait(fd, &event, 1, -1, &all);
        else (void)!read(fd, &info, sizeof info);
    }
    CHECK(list != NULL);
    return arg;
}

static void waits_masked(void) {
    pthread_t thread;
    init();
    if (!CHECK(pthread_create(&thread, NULL, wait_masked, NULL) == 0)) return;
    wait_for(&ready);
    struct node *volatile list = make_list(1000);
    CHECK(!gomem_gc() && errno == EAGAIN);
    make_garbage(64 << 20); // the heap grows meanwhile
    CHECK_EQ(atomic_load(&lines), 1);
    CHECK(strstr(line_text, "a thread does not stop") && strstr(line_text, "GOMEM_THREADS"));
    if (access("/proc/self/syscall", R_OK) == 0) CHECK(strstr(line_text, waits[way].told) != NULL);
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    CHECK(m.num_gc == 0 && m.heap_inuse < 80 << 20);
    CHECK(list_is_whole(list, 1000));
}
TEST(waits_for_ever_with_everything_masked) {
    NEEDS_FORK;
    for (way = 0; way < 3; way++) CHILD_GOOD(waits_masked);
}

// A context may have a full mask, too. The thread that runs in it is heard again when it allocates.
static ucontext_t caller, masked;

static void *switch_to_masked(void *arg) {
    enum { SIZE = 256 * 1024 };
    struct node *volatile list = make_list(1000);
    gomem_stack *stack = gomem_stack_new(SIZE);
    if (!CHECK(stack && getcontext(&masked) == 0)) return arg;
    sigfillset(&masked.uc_sigmask);
    masked.uc_stack.ss_sp = gomem_stack_base(stack);
    masked.uc_stack.ss_size = gomem_stack_size(stack);
    masked.uc_link = &caller;
    makecontext(&masked, run_masked, 0);
    CHECK(swapcontext(&caller, &masked) == 0);
    CHECK(list_is_whole(list, 1000));
    return arg;
}

static void masked_context(void) { heard_when_it_allocates(switch_to_masked); }
TEST(runs_in_a_context_that_masks_everything) {
    NEEDS_FORK;
    in_each_collector(masked_context);
}

// ---- a parked thread holds what the late one waits for ----

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool held;
static atomic_size_t release_at; // so many stops have been withdrawn

static size_t withdrawn(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m.stops_withdrawn;
}

// Gives the mutex away only while no stop is pending, and not before ten of them were withdrawn.
static void *hold_the_mutex(void *arg) {
    CHECK(gomem_thread_attach());
    pthread_mutex_lock(&mutex);
    atomic_store(&held, true);
    while (!atomic_load(&release) && withdrawn() < atomic_load(&release_at)) sched_yield();
    pthread_mutex_unlock(&mutex);
    wait_for(&release);
    return arg;
}

static void *want_it_masked(void *arg) {
    CHECK(gomem_thread_attach());
    mask_all(SIG_BLOCK);
    atomic_store(&ready, true);
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
    mask_all(SIG_UNBLOCK);
    wait_for(&release);
    return arg;
}

// Did one collection gather the late one, by letting the holder go on?
static bool late_is_gathered(void) {
    pthread_t holder, late;
    atomic_store(&held, false), atomic_store(&ready, false), atomic_store(&release, false);
    atomic_store(&release_at, withdrawn() + 10);
    if (!CHECK(pthread_create(&holder, NULL, hold_the_mutex, NULL) == 0)) return false;
    wait_for(&held);
    if (!CHECK(pthread_create(&late, NULL, want_it_masked, NULL) == 0)) return false;
    wait_for(&ready);
    bool gathered = gomem_gc();
    atomic_store(&release, true);
    CHECK(pthread_join(holder, NULL) == 0 && pthread_join(late, NULL) == 0);
    return gathered;
}

// A stop is given up after a second, which on a busy machine is too short more often than not.
static void late_for_a_parked_one(void) {
    only_when_asked();
    CHECK(GOMEM_NEW(long) != NULL);
    bool gathered = false;
    for (int tries = 0; tries < 30 && !gathered; tries++) gathered = late_is_gathered();
    CHECK(gathered);
    make_garbage(1 << 20);
    CHECK(COLLECTED() && HEAP_IS_WHOLE());
}
TEST(waits_for_a_parked_thread) {
    NEEDS_FORK;
    in_each_collector(late_for_a_parked_one);
}

// ---- the handler ----

static void reset_all(void) {
    for (int s = 1; s <= SIGRTMAX; s++)
        if (s != SIGKILL && s != SIGSTOP) signal(s, SIG_DFL); // fails for libc's own
}

static void *compute(void *arg) {
    struct node *volatile list = make_list(1000);
    atomic_store(&ready, true);
    wait_for(&release);
    CHECK(list_is_whole(list, 1000));
    return arg;
}

static void handler_reset(void) {
    pthread_t thread;
    only_when_asked();
    CHECK(GOMEM_NEW(long) != NULL);
    if (!CHECK(pthread_create(&thread, NULL, compute, NULL) == 0)) return;
    wait_for(&ready);
    for (int i = 0; i < 3; i++) {
        reset_all(); // no signal is on its way to the computing thread
        CHECK(COLLECTED());
    }
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void handler_reset_in_a_child(void) {
    init();
    struct node *volatile list = make_list(1000);
    CHECK(COLLECTED());
    CHILD_GOOD(handler_reset);
    CHECK(list_is_whole(list, 1000));
}
TEST(all_signals_are_reset) {
    NEEDS_FORK;
    in_each_collector(handler_reset);
    in_each_collector(handler_reset_in_a_child);
}

// Real-time signals of which some are pending for this thread.
static int pending_signals(void) {
    sigset_t set;
    int n = 0;
    CHECK(sigpending(&set) == 0);
    for (int s = SIGRTMIN; s <= SIGRTMAX; s++) n += sigismember(&set, s) == 1;
    return n;
}

// Stops that were withdrawn leave no signal behind, which would end the process after a reset.
static void *mask_and_wait(void *arg) {
    struct node *volatile list = make_list(1000);
    mask_all(SIG_BLOCK);
    atomic_store(&ready, true);
    wait_for(&release);
    CHECK_EQ(pending_signals(), 0);
    mask_all(SIG_UNBLOCK);
    CHECK(list_is_whole(list, 1000));
    atomic_store(&allocated, true);
    wait_for(&stop);
    return arg;
}

static void reset_after_withdrawn_stops(void) {
    pthread_t thread;
    only_when_asked();
    CHECK(GOMEM_NEW(long) != NULL);
    if (!CHECK(pthread_create(&thread, NULL, mask_and_wait, NULL) == 0)) return;
    wait_for(&ready);
    CHECK(!gomem_gc() && errno == EAGAIN);
    reset_all();
    atomic_store(&release, true);
    wait_for(&allocated);
    CHECK(COLLECTED());
    atomic_store(&stop, true);
    CHECK(pthread_join(thread, NULL) == 0);
}
TEST(all_signals_are_reset_after_withdrawn_stops) {
    NEEDS_FORK;
    in_each_collector(reset_after_withdrawn_stops);
}

// A thread that was signalled, but came to a blocking region first, keeps no signal either. It has a
// millisecond to see the signal, until the try is withdrawn. On a busy machine it may have no processor
// in any of these; the stop is given up then, and another child tries again.
static atomic_bool missed;
enum { MISSED = 77 };

static void *mask_and_leave_for_a_region(void *arg) {
    struct node *volatile list = make_list(1000);
    mask_all(SIG_BLOCK);
    atomic_store(&ready, true);
    while (!pending_signals() && !atomic_load(&missed)) sched_yield();
    gomem_blocking_begin();
    wait_for(&release);
    CHECK_EQ(pending_signals(), 0);
    mask_all(SIG_UNBLOCK);
    gomem_blocking_end();
    CHECK(list_is_whole(list, 1000));
    return arg;
}

static void reset_after_a_stop(void) {
    pthread_t thread;
    only_when_asked();
    CHECK(GOMEM_NEW(long) != NULL);
    if (!CHECK(pthread_create(&thread, NULL, mask_and_leave_for_a_region, NULL) == 0)) return;
    wait_for(&ready);
    bool seen = gomem_gc();
    if (!seen) CHECK_EQ(errno, EAGAIN);
    atomic_store(&missed, !seen);
    reset_all();
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(COLLECTED());
    if (!seen && !test_failed()) exit(MISSED);
}
TEST(all_signals_are_reset_after_a_stop) {
    NEEDS_FORK;
    const int each[] = {GOMEM_GC_AUTO, GOMEM_GC_BARRIER, GOMEM_GC_STW};
    for (int i = 0, tries = 0; i < 3; i++) {
        struct child child;
        wanted_collector = each[i];
        do child_run(&child, reset_after_a_stop);
        while (child.status == MISSED << 8 && tries++ < 100);
        if (child.status == MISSED << 8) SKIP("no thread has a processor within a millisecond");
        child_good(&child);
    }
}

// The default action of SIGURG is nothing: as the stop signal it may be reset at any time.
static void *mask_now_and_then(void *arg) {
    struct node *volatile list = make_list(1000);
    atomic_store(&ready, true);
    while (!atomic_load(&stop)) {
        mask_all(SIG_BLOCK);
        CHECK(gomem_new(64) != NULL);
        for (int i = 0; i < 5; i++) sched_yield();
        mask_all(SIG_UNBLOCK);
        for (int i = 0; i < 5; i++) sched_yield();
    }
    CHECK(list_is_whole(list, 1000));
    return arg;
}

static void reset_at_any_time(void) {
    pthread_t thread;
    gomem_options o = {.collector = wanted_collector, .warn = take_line, .stop_signal = SIGURG};
    CHECK(gomem_init(&o));
    CHECK(GOMEM_NEW(long) != NULL);
    if (!CHECK(pthread_create(&thread, NULL, mask_now_and_then, NULL) == 0)) return;
    wait_for(&ready);
    for (int ended = 0, tries = 0; ended < 10 && tries < 1000; tries++) {
        reset_all();
        ended += gomem_gc();
        reset_all();
        make_garbage(1 << 20);
    }
    CHECK(COLLECTED());
    atomic_store(&stop, true);
    CHECK(pthread_join(thread, NULL) == 0);
}
TEST(all_signals_are_reset_at_any_time) {
    NEEDS_FORK;
    in_each_collector(reset_at_any_time);
}

// A library of the program takes the signal for itself: it keeps it, and cycles go on with another.
static atomic_int heard;

static void hear(int signal) { atomic_fetch_add(&heard, signal != 0); }

static int stop_signal(void) { // the one real-time signal that is handled
    for (int s = SIGRTMAX; s >= SIGRTMIN; s--) {
        struct sigaction now;
        if (sigaction(s, NULL, &now) == 0 && now.sa_handler != SIG_DFL) return s;
    }
    return 0;
}

static void handler_taken(void) {
    pthread_t thread;
    init();
    CHECK(GOMEM_NEW(long) != NULL);
    if (!CHECK(pthread_create(&thread, NULL, compute, NULL) == 0)) return;
    wait_for(&ready);
    int taken = stop_signal();
    CHECK(taken != 0 && signal(taken, hear) != SIG_ERR);
    for (int i = 0; i < 3; i++) CHECK(COLLECTED());
    CHECK_EQ(atomic_load(&heard), 0);
    CHECK(raise(taken) == 0);
    CHECK_EQ(atomic_load(&heard), 1);
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
}
TEST(the_signal_is_taken) {
    NEEDS_FORK;
    in_each_collector(handler_taken);
}

// ---- a queue without room ----

// Real-time signals need room in a queue that all processes of a user share.
static void no_signal_is_queued(void) {
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
}

static void *compute_without_allocating(void *arg) {
    struct node *volatile list = make_list(1000);
    atomic_store(&inside, true);
    while (!atomic_load(&release)) continue; // only a signal stops it
    CHECK(list_is_whole(list, 1000));
    return arg;
}

static void collect_beside_a_computation(void) {
    pthread_t thread;
    if (!CHECK(pthread_create(&thread, NULL, compute_without_allocating, NULL) == 0)) return;
    while (!atomic_load(&inside)) sched_yield();
    for (int i = 0; i < 5; i++) {
        CHECK(make_list(20000) != NULL); // takes the place of what was freed
        CHECK(COLLECTED());
    }
    CHECK_EQ(atomic_load(&lines), 0);
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(COLLECTED());
}

static void not_queued_from_the_start(void) {
    no_signal_is_queued();
    init();
    collect_beside_a_computation();
}
static void not_queued_any_more(void) {
    init();
    CHECK(GOMEM_NEW(long) != NULL); // this thread is known: else check level 1 names it
    run_thread(collect_and_check);
    no_signal_is_queued();
    collect_beside_a_computation();
}
TEST(signals_are_not_queued) {
    NEEDS_FORK;
    in_each_collector(not_queued_from_the_start);
    in_each_collector(not_queued_any_more);
}

// With a real-time signal by option there is no other: a line says why.
static void queue_is_full_by_option(void) {
    gomem_options o = {
        .collector = wanted_collector, .warn = take_line, .stop_signal = SIGRTMIN + 3};
    pthread_t thread;
    no_signal_is_queued();
    CHECK(gomem_init(&o));
    if (!CHECK(pthread_create(&thread, NULL, compute_without_allocating, NULL) == 0)) return;
    while (!atomic_load(&inside)) sched_yield();
    for (int i = 0; i < 4 && !atomic_load(&lines); i++) {
        errno = 0;
        CHECK(!gomem_gc() && errno == EAGAIN);
    }
    CHECK(strstr(line_text, "queue of signals of this user is full"));
    atomic_store(&release, true);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(COLLECTED());
}
TEST(the_queue_of_signals_is_full) {
    NEEDS_FORK;
    in_each_collector(queue_is_full_by_option);
}

// ---- a process that replaces itself ----

static void *collect_for_ever(void *arg) {
    for (;;) (void)gomem_gc();
    return arg;
}

// The new program may be sent the stop signal, which SIGURG's default action discards.
static void replaced(void) {
    gomem_options o = {.collector = wanted_collector, .stop_signal = SIGURG};
    pthread_t thread;
    CHECK(gomem_init(&o));
    CHECK(GOMEM_NEW(long) != NULL);
    CHECK(pthread_create(&thread, NULL, collect_for_ever, NULL) == 0);
    while (gomem_num_gc() < 20) make_garbage(1 << 16);
    execl("/bin/true", "true", (char *)NULL);
    execl("/usr/bin/true", "true", (char *)NULL);
    CHECK(false);
}
TEST(replaced_by_another_program) {
    NEEDS_FORK;
    for (int i = 0; i < 5; i++) in_each_collector(replaced);
}

// ---- cancellation and bare ends ----

static void *first_use_cancelled(void *arg) {
    CHECK(pthread_cancel(pthread_self()) == 0); // deferred: it acts at the next cancellation point
    atomic_store(&inside, true);
    struct node *volatile list = make_list(1000);
    static char root[1 << 20];
    CHECK(gomem_add_root(root, sizeof root));
    CHECK(COLLECTED() && list_is_whole(list, 1000));
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    CHECK(gomem_why(list, 2));
    CHECK(gomem_free_os_memory() + 1 > 0);
    atomic_store(&inside, false);
    pthread_testcancel();
    return arg;
}

static void cancelled_at_first_use(void) {
    pthread_t thread;
    void *result = NULL;
    init();
    if (!CHECK(pthread_create(&thread, NULL, first_use_cancelled, NULL) == 0)) return;
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED && !atomic_load(&inside));
    run_thread(collect_and_check);
}
TEST(no_cancellation_point_inside) {
    NEEDS_FORK;
    in_each_collector(cancelled_at_first_use);
    setenv("GOMEM_DEBUG", "gctrace=1", 1);
    in_each_collector(cancelled_at_first_use);
    unsetenv("GOMEM_DEBUG");
}

static void *end_barely(void *arg) {
    CHECK(GOMEM_NEW(long) != NULL);
    syscall(SYS_exit, 0); // no destructor of libc's runs
    return arg;
}

static void ends_barely(void) {
    init();
    CHECK(GOMEM_NEW(long) != NULL);
    run_thread(end_barely);
    CHECK(COLLECTED());
    run_thread(collect_and_check);
    CHECK(HEAP_IS_WHOLE());
}
TEST(ends_by_a_bare_system_call) {
    NEEDS_FORK;
#ifdef TEST_ASAN
    SKIP("AddressSanitizer ends the process when the next thread begins");
#endif
    in_each_collector(ends_barely);
}

TEST_MAIN
