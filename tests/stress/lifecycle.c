// Whatever begins and ends beside a cycle does so in all of its phases: threads, blocking regions,
// coroutines, handlers on alternate stacks, libraries, children, holds. Each keeps a checksummed
// chain in one place only, and has it whole afterwards.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"
#include "stress.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#if !defined sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
#define NOINLINE __attribute__((noinline))

// ---- what is kept ----

struct link {
    struct link *next;
    uintptr_t value, check;
};

static uintptr_t check_of(const struct link *link) {
    return (uintptr_t)link ^ link->value * 0x9e3779b97f4a7c15u;
}

static struct link *new_chain(struct stress_random *r, size_t n) {
    struct link *first = NULL;
    for (size_t i = 0; i < n; i++) {
        struct link *link = GOMEM_NEW(struct link);
        if (!CHECK(link != NULL && link->next == NULL && link->value == 0)) return NULL;
        link->value = stress_next(r) ^ n;
        link->check = check_of(link);
        GOMEM_STORE(&link->next, first);
        first = link;
    }
    return first;
}

static bool whole(const struct link *chain, size_t n) {
    for (; n > 0 && chain != NULL; n--, chain = chain->next)
        if (!CHECK(chain->check == check_of(chain))) return false;
    return CHECK(n == 0 && chain == NULL);
}

// ---- cycles beside it ----

static atomic_uint events;
static atomic_bool stop;
static pthread_t collector;
static struct link *ballast;
static size_t ballast_length;

static void note(int what, uint64_t ns, void *user) {
    (void)what, (void)ns, (void)user;
    atomic_fetch_add(&events, 1);
}

static void *collect_on(void *arg) {
    while (!atomic_load(&stop)) {
        gomem_gc();
        usleep(100);
    }
    return arg;
}

static bool begin_cycles(void) {
    struct stress_random r = stress_random_at(5);
    static const gomem_options options = {.event = note};
    static bool opened;
    stress_seed();
    if (!opened && !CHECK(gomem_init(&options))) return false;
    opened = true;
    ballast_length = stress_times(20000);
    GOMEM_STORE(&ballast, new_chain(&r, ballast_length));
    atomic_store(&stop, false);
    return CHECK(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
}

static void end_cycles(void) {
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    whole(ballast, ballast_length);
    GOMEM_STORE(&ballast, NULL);
    CHECK(HEAP_IS_WHOLE());
}

// Waits for the next event of a cycle, at most for a while, and then a little.
static void aim(struct stress_random *r) {
    unsigned seen = atomic_load(&events);
    for (int i = 0; i < 500 && atomic_load(&events) == seen; i++) sched_yield();
    for (volatile uint32_t i = stress_below(r, 1u << stress_below(r, 14)); i > 0; i--) continue;
}

// ---- threads ----

enum { BATON = 60, LEGS = 3 };

struct leg { // what a thread is given: nothing else keeps the chain
    struct link *chain;
    struct stress_random r;
    size_t left; // threads that are still to come
};

static pthread_key_t leg_key; // its destructor counts the ends of threads
static atomic_size_t legs_ended;

static void count_end(void *leg) {
    (void)leg;
    atomic_fetch_add(&legs_ended, 1);
}

static _Thread_local struct link *volatile last_seen; // as it is when the thread ends
static atomic_size_t legs_run;

static void *run_leg(void *arg);

// A new leg with a copy of the chain; the old one is garbage from here on.
NOINLINE static struct leg *next_leg(const struct leg *old) {
    struct leg *leg = GOMEM_NEW(struct leg);
    if (!CHECK(leg != NULL)) return NULL;
    leg->r = old->r;
    leg->left = old->left - 1;
    GOMEM_STORE(&leg->chain,
                stress_below(&leg->r, 4) == 0 ? new_chain(&leg->r, BATON) : old->chain);
    return leg;
}

// How a thread passes the baton on and ends is a matter of chance.
static void *run_leg(void *arg) {
    struct leg *leg = arg;
    pthread_t thread;
    atomic_fetch_add(&legs_run, 1);
    pthread_setspecific(leg_key, &leg_key);
    GOMEM_STORE(&last_seen, leg->chain);
    if (!whole(leg->chain, BATON) || leg->left == 0) return NULL;
    if (stress_below(&leg->r, 3) == 0) aim(&leg->r);
    uint32_t how = stress_below(&leg->r, 8);
    leg = next_leg(leg);
    arg = NULL;
    if (leg == NULL || !CHECK(gomem_thread_create(&thread, NULL, run_leg, leg) == 0)) return NULL;
    if (how == 0) gomem_thread_detach();
    if (how == 1) gomem_gc();
    if (how < 4) {
        pthread_detach(thread);
        // who waits for the end of all counts them
        if (how == 2) pthread_exit(NULL);
        return NULL;
    }
    gomem_blocking_begin();
    pthread_join(thread, NULL);
    gomem_blocking_end();
    return NULL;
}

TEST(threads) {
    enum { MOST = 100 }; // each may wait for the next: so many stacks at once
    size_t rounds = stress_times(4);
    struct stress_random r = stress_random_at(1);
    if (!begin_cycles()) return;
    REQUIRE(pthread_key_create(&leg_key, count_end) == 0);
    for (size_t i = 0; i < rounds && test_failed() == 0; i++) {
        atomic_store(&legs_run, 0);
        atomic_store(&legs_ended, 0);
        for (int k = 0; k < LEGS; k++) {
            pthread_t thread;
            struct leg *leg = GOMEM_NEW(struct leg);
            REQUIRE(leg != NULL);
            leg->r = stress_random_at(i * LEGS + (size_t)k);
            leg->left = MOST;
            GOMEM_STORE(&leg->chain, new_chain(&r, BATON));
            REQUIRE(gomem_thread_create(&thread, NULL, run_leg, leg) == 0);
            pthread_detach(thread);
        }
        for (int k = 0; k < 100000 && atomic_load(&legs_ended) < LEGS * (MOST + 1); k++)
            usleep(100);
        CHECK_EQ(atomic_load(&legs_run), LEGS * (MOST + 1));
    }
    pthread_key_delete(leg_key);
    end_cycles();
}

// ---- blocking regions ----

enum { REGIONAL = 3, IN_REGION = 20 };

NOINLINE static void stay_in_region(struct stress_random *r) {
    struct link *volatile chain = new_chain(r, IN_REGION);
    uint32_t how = stress_below(r, 4);
    gomem_blocking_begin();
    if (how == 0) gomem_blocking_begin();
    if (how == 1) gomem_free(gomem_malloc(stress_below(r, 3000)));
    if (how < 3) (void)poll(NULL, 0, (int)stress_below(r, 3));
    if (how == 0) gomem_blocking_end();
    gomem_blocking_end();
    whole(chain, IN_REGION);
}

static void *stay_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 20);
    size_t times = stress_times(300);
    for (size_t i = 0; i < times && test_failed() == 0; i++) {
        if (i % 4 == 0) aim(&r);
        stay_in_region(&r);
    }
    return NULL;
}

TEST(regions) {
    pthread_t threads[REGIONAL];
    if (!begin_cycles()) return;
    for (uintptr_t i = 0; i < REGIONAL; i++)
        REQUIRE(pthread_create(&threads[i], NULL, stay_on, (void *)i) == 0);
    for (int i = 0; i < REGIONAL; i++) pthread_join(threads[i], NULL);
    end_cycles();
}

// ---- coroutines ----

#ifndef __GLIBC__ // musl declares them and has none
#define NEEDS_CONTEXTS                   SKIP("this C library has no swapcontext")
#define swapcontext(from, to)            ((void)(from), (void)(to))
#define makecontext(context, fn, n, ...) ((void)(fn))
#define getcontext(context)              0
#elif defined TEST_ASAN || defined TEST_TSAN
#define NEEDS_CONTEXTS SKIP("the sanitizers do not follow contexts")
#else
#define NEEDS_CONTEXTS (void)0
#endif

enum { COROUTINES = 16, STACK_BYTES = 64 * 1024, IN_COROUTINE = 12 };

struct coroutine { // lies at the upper end of its own stack: registers are saved there too
    ucontext_t own, scheduler;
    struct stress_random r;
    char *volatile parked; // its stack pointer, nearly
    bool ended, ends;
};

// swapcontext's own frame lies below this function's.
NOINLINE static void yield_from(struct coroutine *c) {
    char here[16];
    __asm__ volatile("" : : "r"(here) : "memory");
    c->parked = (char *)((uintptr_t)here & ~(uintptr_t)15) - 512;
    swapcontext(&c->own, &c->scheduler);
}

static void run_coroutine(unsigned high, unsigned low) {
    struct coroutine *c = (struct coroutine *)((uintptr_t)high << 32 | low);
    struct link *volatile chain = NULL;
    size_t length = 0;
    while (!c->ends) {
        if (chain != NULL) whole(chain, length);
        if (chain == NULL || stress_below(&c->r, 3) == 0) {
            length = 1 + stress_below(&c->r, IN_COROUTINE);
            chain = new_chain(&c->r, length);
        }
        yield_from(c);
    }
    whole(chain, length);
    chain = NULL;
    c->ended = true;
    yield_from(c);
}

static struct coroutine *new_coroutine(uint64_t number) {
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);
    if (!CHECK(stack != MAP_FAILED)) return NULL;
    size_t room = (STACK_BYTES - sizeof(struct coroutine)) & ~(size_t)63;
    struct coroutine *c = (struct coroutine *)(void *)(stack + room);
    c->r = stress_random_at(number + 300);
    if (!CHECK(getcontext(&c->own) == 0)) return NULL;
    c->own.uc_stack.ss_sp = stack;
    c->own.uc_stack.ss_size = room;
    makecontext(&c->own, (void (*)(void))run_coroutine, 2, (unsigned)((uintptr_t)c >> 32),
                (unsigned)(uintptr_t)c);
    CHECK(gomem_add_stack(stack, stack + STACK_BYTES));
    return c;
}

static char *stack_of(const struct coroutine *c) {
    size_t room = (STACK_BYTES - sizeof(struct coroutine)) & ~(size_t)63;
    return (char *)(uintptr_t)c - room;
}

static void resume(struct coroutine *c) {
    swapcontext(&c->scheduler, &c->own);
    if (stress_below(&c->r, 4) != 0) gomem_stack_parked(stack_of(c), c->parked);
}

static void end_coroutine(struct coroutine *c) {
    c->ends = true;
    resume(c);
    CHECK(c->ended);
    CHECK(gomem_remove_stack(stack_of(c)));
    munmap(stack_of(c), STACK_BYTES);
}

static void *schedule_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 30);
    struct coroutine *all[COROUTINES];
    size_t times = stress_times(1500);
    for (size_t i = 0; i < COROUTINES; i++)
        if ((all[i] = new_coroutine((uintptr_t)arg * COROUTINES + i)) == NULL) return NULL;
    for (size_t i = 0; i < times && test_failed() == 0; i++) {
        if (i % 8 == 0) aim(&r);
        for (int k = 0; k < 20; k++) resume(all[stress_below(&r, COROUTINES)]);
        if (i % 16 != 0) continue;
        size_t which = stress_below(&r, COROUTINES);
        end_coroutine(all[which]);
        if ((all[which] = new_coroutine(i * 1000)) == NULL) return NULL;
    }
    for (size_t i = 0; i < COROUTINES; i++) end_coroutine(all[i]);
    return NULL;
}

TEST(coroutines) {
    NEEDS_CONTEXTS;
    pthread_t threads[2];
    if (!begin_cycles()) return;
    for (uintptr_t i = 0; i < 2; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, schedule_on, (void *)i) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    end_cycles();
}

// ---- handlers, on alternate stacks and on the normal one, 1000 times a second on each thread ----

enum { STRUCK = 3, ALTERNATE = 64 * 1024, IN_HANDLER = 10 };

static _Thread_local struct link *volatile shown; // the chain, while no handler has it
static atomic_uint strikes;

// Holds the chain alone for a while, and puts it back.
static void strike(int number) {
    struct link *volatile held = shown;
    (void)number;
    if (held == NULL) return;
    GOMEM_STORE(&shown, NULL);
    for (volatile int i = 0; i < 3000; i++) continue;
    GOMEM_STORE(&shown, held);
    atomic_fetch_add(&strikes, 1);
}

static bool open_timer(timer_t *timer) {
    struct sigevent event;
    struct itimerspec each = {{0, 1000000}, {0, 1000000}};
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR1;
    event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
    return CHECK(timer_create(CLOCK_MONOTONIC, &event, timer) == 0) &&
           CHECK(timer_settime(*timer, 0, &each, NULL) == 0);
}

static void *work_while_struck(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 40);
    stack_t alternate = {.ss_size = ALTERNATE}, old;
    timer_t timer;
    size_t times = stress_times(8000);
    bool on_alternate = (uintptr_t)arg % 2 == 0;
    if (on_alternate) {
        alternate.ss_sp = malloc(ALTERNATE);
        if (!CHECK(alternate.ss_sp != NULL && sigaltstack(&alternate, &old) == 0)) return NULL;
    }
    GOMEM_STORE(&shown, new_chain(&r, IN_HANDLER));
    if (!open_timer(&timer)) return NULL;
    for (size_t i = 0; i < times && test_failed() == 0; i++) {
        struct link *mine = new_chain(&r, 40);
        gomem_free(gomem_malloc(stress_size(&r)));
        if (i % 16 == 0) aim(&r);
        whole(mine, 40);
        if (i % 500 == 0) gomem_gc();
    }
    timer_delete(timer);
    usleep(2000);
    whole(shown, IN_HANDLER);
    GOMEM_STORE(&shown, NULL);
    if (on_alternate) sigaltstack(&old, NULL), free(alternate.ss_sp);
    return NULL;
}

TEST(struck_by_timers) {
    pthread_t threads[STRUCK];
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    action.sa_handler = strike;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    REQUIRE(sigaction(SIGUSR1, &action, &old) == 0);
    atomic_store(&strikes, 0);
    if (!begin_cycles()) return;
    for (uintptr_t i = 0; i < STRUCK; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, work_while_struck, (void *)i) == 0);
    for (int i = 0; i < STRUCK; i++) pthread_join(threads[i], NULL);
    end_cycles();
    sigaction(SIGUSR1, &old, NULL);
    CHECK(atomic_load(&strikes) > 50);
}

// ---- small stacks ----

#if defined TEST_ASAN || defined TEST_TSAN
enum { SMALL_STACK = 512 * 1024 };
#else
enum { SMALL_STACK = 64 * 1024 };
#endif

static void *work_on_small_stack(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 50);
    struct link *volatile chain = new_chain(&r, 200);
    for (int i = 0; i < 30 && test_failed() == 0; i++) {
        void *block = gomem_malloc(stress_size(&r));
        void *large = i % 8 == 0 ? gomem_new(200000) : gomem_new(stress_below(&r, 9000));
        CHECK(block != NULL && large != NULL);
        gomem_free(block);
        if (i % 10 == 0) gomem_gc();
        if (i % 15 == 0) gomem_free_os_memory();
        whole(chain, 200);
    }
    return NULL;
}

TEST(small_stacks) {
    enum { AT_ONCE = 8 };
    pthread_t threads[AT_ONCE];
    pthread_attr_t attr;
    size_t rounds = stress_times(6);
    pthread_attr_init(&attr);
    REQUIRE(pthread_attr_setstacksize(&attr, SMALL_STACK) == 0);
    if (!begin_cycles()) return;
    for (size_t round = 0; round < rounds && test_failed() == 0; round++) {
        for (uintptr_t i = 0; i < AT_ONCE; i++)
            REQUIRE(gomem_thread_create(&threads[i], &attr, work_on_small_stack, (void *)i) == 0);
        for (int i = 0; i < AT_ONCE; i++) pthread_join(threads[i], NULL);
    }
    end_cycles();
    pthread_attr_destroy(&attr);
}

// ---- libraries ----

static const char library_source[] =
    "static unsigned long data = 1, bss, big[3000];\n"
    "static __thread unsigned long tls;\n"
    "unsigned long *word(int what) {\n"
    "    return what == 0 ? &data : what == 1 ? &bss : what == 2 ? &big[2999] : &tls;\n"
    "}\n";

enum { LIBRARIES = 2, IN_LIBRARY = 30 };
static char library_dir[] = "/tmp/gomem-life-XXXXXX";
static char library_path[LIBRARIES][64];

// Why there is no library to open; NULL: there is.
static const char *make_libraries(void) {
    char source[64], command[320];
    const char *cc = getenv("CC");
    if (mkdtemp(library_dir) == NULL) return "no folder for a library in /tmp";
    snprintf(source, sizeof source, "%s/word.c", library_dir);
    FILE *file = fopen(source, "w");
    if (file == NULL) return "no file for a library in /tmp";
    fputs(library_source, file);
    fclose(file);
    for (int i = 0; i < LIBRARIES; i++) {
        snprintf(library_path[i], sizeof library_path[i], "%s/word%d.so", library_dir, i);
        snprintf(command, sizeof command, "%s -shared -fPIC -o %s %s >/dev/null 2>&1",
                 cc != NULL && cc[0] != '\0' ? cc : "cc", library_path[i], source);
        if (system(command) != 0) return "no C compiler that builds a shared library";
    }
    unlink(source);
    void *library = dlopen(library_path[0], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) return "dlopen does not work in this program";
    dlclose(library);
    return NULL;
}

static void remove_libraries(void) {
    for (int i = 0; i < LIBRARIES; i++) unlink(library_path[i]);
    rmdir(library_dir);
}

NOINLINE static void put(uintptr_t *word, struct stress_random *r) {
    GOMEM_STORE(word, (uintptr_t)new_chain(r, IN_LIBRARY));
}

// The chain lies in the library's memory alone, and leaves it before the library is closed.
NOINLINE static bool use_library(struct stress_random *r, const char *path) {
    uintptr_t *(*word_of)(int);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!CHECK(library != NULL)) return false;
    void *symbol = dlsym(library, "word");
    memcpy(&word_of, &symbol, sizeof word_of);
    uintptr_t *word = word_of((int)stress_below(r, 4));
    put(word, r);
    aim(r);
    for (uint32_t i = stress_below(r, 30); i > 0; i--) (void)new_chain(r, 100);
    bool good = whole((struct link *)*word, IN_LIBRARY);
    GOMEM_STORE(word, 0);
    dlclose(library);
    return good;
}

static void *open_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 60);
    size_t times = stress_times(300);
    for (size_t i = 0; i < times; i++)
        if (!use_library(&r, library_path[(uintptr_t)arg % LIBRARIES])) break;
    return NULL;
}

TEST(libraries) {
#ifdef TEST_TSAN
    SKIP("ThreadSanitizer does not see that a library's memory is another one's afterwards");
#endif
    pthread_t threads[2];
    const char *missing = make_libraries();
    if (missing != NULL) SKIP(missing);
    if (!begin_cycles()) return;
    for (uintptr_t i = 0; i < 2; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, open_on, (void *)i) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    end_cycles();
    remove_libraries();
}

// ---- children ----

enum { IN_CHILD = 500 };
static struct link *kept; // by a global, across fork

static void live_in_child(struct stress_random *r, const struct link *on_stack) {
    whole(on_stack, IN_CHILD);
    whole(kept, IN_CHILD);
    for (int i = 0; i < 3; i++) {
        struct link *chain = new_chain(r, 2000);
        if (i > 0) gomem_gc();
        whole(chain, 2000);
    }
    whole(on_stack, IN_CHILD);
    whole(kept, IN_CHILD);
    whole(ballast, ballast_length);
    CHECK(HEAP_IS_WHOLE());
    fflush(stdout);
    _exit(test_failed() > 0);
}

NOINLINE static bool fork_once(struct stress_random *r) {
    struct link *volatile chain = new_chain(r, IN_CHILD);
    int status = -1;
    aim(r);
    fflush(stdout);
    pid_t pid = fork();
    if (!CHECK(pid >= 0)) return false;
    if (pid == 0) live_in_child(r, chain);
    for (uint32_t i = stress_below(r, 10); i > 0; i--) (void)new_chain(r, 200);
    gomem_blocking_begin();
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    gomem_blocking_end();
    return CHECK_EQ(status, 0) && whole(chain, IN_CHILD) && whole(kept, IN_CHILD);
}

static void *allocate_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 70);
    while (!atomic_load(&stop)) {
        struct link *chain = new_chain(&r, 100);
        gomem_free(gomem_malloc(stress_size(&r)));
        whole(chain, 100);
    }
    return NULL;
}

TEST(children) {
    NEEDS_FORK;
    pthread_t thread;
    struct stress_random r = stress_random_at(2);
    size_t times = stress_times(60);
    if (!begin_cycles()) return;
    GOMEM_STORE(&kept, new_chain(&r, IN_CHILD));
    REQUIRE(gomem_thread_create(&thread, NULL, allocate_on, NULL) == 0);
    for (size_t i = 0; i < times; i++)
        if (!fork_once(&r)) break;
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    end_cycles();
    GOMEM_STORE(&kept, NULL);
}

// ---- holds ----

static uint64_t cycles(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m.num_gc;
}

// While held no cycle starts by itself; one that had been decided on may still come.
static void *hold_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 80);
    size_t times = stress_times(20);
    for (size_t i = 0; i < times && test_failed() == 0; i++) {
        uint32_t nested = 1 + stress_below(&r, 3);
        for (uint32_t k = 0; k < nested; k++) gomem_gc_hold();
        struct link *volatile chain = new_chain(&r, 100);
        usleep(1000);
        uint64_t before = cycles();
        for (int k = 0; k < 40; k++) (void)new_chain(&r, 1000);
        CHECK(cycles() <= before + 1);
        for (uint32_t k = 0; k < nested; k++) gomem_gc_unhold();
        usleep(stress_below(&r, 2000));
        for (int k = 0; k < 40; k++) (void)new_chain(&r, 1000);
        whole(chain, 100);
    }
    return NULL;
}

TEST(holds) {
    pthread_t threads[2];
    uint64_t before = cycles();
    stress_seed();
    for (uintptr_t i = 0; i < 2; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, hold_on, (void *)i) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    struct stress_random r = stress_random_at(4);
    for (int i = 0; i < 20000 && cycles() == before; i++) (void)new_chain(&r, 1000);
    CHECK(cycles() > before); // nothing is held any more
    gomem_gc_hold();
    CHECK(HEAP_IS_WHOLE()); // a cycle that runs ends first
    before = cycles();
    gomem_gc();
    CHECK_EQ(cycles(), before);
    gomem_gc_unhold();
    gomem_gc();
    CHECK(cycles() > before);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
