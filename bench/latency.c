/* Question: how long does a single operation wait, in a program with a large live heap that
 * allocates all the time, and how many operations does it do per second?
 *
 * Method: a complete binary tree of `nodes` (rounded down to a power of two, less one) of 48 bytes
 * lives all the time. An operation goes down a random path to a subtree of 255 nodes, builds
 * another one and puts it in its place. Each operation is timed by CLOCK_MONOTONIC, the end of one
 * being the beginning of the next, so that no wait falls between two; the times go into a histogram
 * that allocates nothing. After `ms` milliseconds the tree is walked: each node must carry the
 * number of its place. `threads` of them have each a part of the subtrees of their own.
 *   op.p50 op.p99 op.p999 op.worst (us), ops (per second), cycles, rss_kb
 *   stop.… the library's account of its stops (us), gather.… of gathering the threads, pause.… of a
 *           cycle's stops together
 *   timer.… timer=1: how late a thread that wakes every millisecond, and has nothing to do with any
 *           allocator, is beside this work (us): what the machine itself adds
 * burn=N: so many threads only compute meanwhile. A collector keeps another processor busy; the twin
 * beside a thread that does so waits for what the machine then takes away.
 * BENCH_GOMEM: GOMEM_NEW and GOMEM_STORE under the collector that the environment chooses;
 * BENCH_BOEHM: GC_MALLOC; else the twin, malloc and free of peer.h by hand. latency.go is the same
 * in Go. */
#include "bench.h"
#include "histogram.h"

#include <sys/prctl.h>

// ---- burners ----

enum { BURNERS_MAX = 64 };
static bool burners_end; // atomic: rlx, nothing hangs on it

static void *burner_run(void *arg) {
    volatile uint64_t sink = 0;
    while (!__atomic_load_n(&burners_end, __ATOMIC_RELAXED)) sink++;
    return arg;
}

static void burners_start(pthread_t *burners, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&burners[i], NULL, burner_run, NULL) != 0) exit(1);
}

static void burners_stop(const pthread_t *burners, size_t n) {
    __atomic_store_n(&burners_end, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < n; i++) pthread_join(burners[i], NULL);
}

// ---- the timer: stands above the collectors' headers, one of which redirects pthread_create ----

static histogram lateness;
static pthread_t timer_thread;
static bool timer_end; // atomic: rlx, nothing hangs on it

static uint64_t timer_sleep(uint64_t until) {
    struct timespec at = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0) {}
    return bench_now();
}

// Wakes at each whole millisecond; those that passed while it was late are left out.
static void *timer_run(void *arg) {
    enum { PERIOD = 1000000 };
    (void)arg;
    prctl(PR_SET_TIMERSLACK, 1UL);
    for (uint64_t now = bench_now(); !__atomic_load_n(&timer_end, __ATOMIC_RELAXED);) {
        uint64_t next = now / PERIOD * PERIOD + PERIOD;
        now = timer_sleep(next);
        histogram_add(&lateness, now - next);
    }
    return NULL;
}

static void timer_start(void) {
    if (pthread_create(&timer_thread, NULL, timer_run, NULL) != 0) exit(1);
}

static void timer_stop(void) {
    __atomic_store_n(&timer_end, true, __ATOMIC_RELAXED);
    pthread_join(timer_thread, NULL);
    histogram_report(&lateness, "timer");
}

// ---- the three heaps ----

typedef struct node {
    struct node *left;
    struct node *right;
    uint64_t place; // 1 the root, 2 n and 2 n + 1 below n
    uint64_t payload[3];
} node;

#include "tree.h"

#if defined BENCH_GOMEM
#include "cycles.h"
#define node_leaf(t)                  (void)(t)
#define put(slot, value)              GOMEM_STORE(slot, value)
#define heap_init()                   (void)0
#define heap_cycles()                 cycles_count()
#define heap_hold()                   cycles_hold()
#define heap_release(percent)         cycles_release(percent)
#define thread_start(thread, fn, arg) gomem_thread_create(thread, NULL, fn, arg)

static void heap_report(uint64_t since) {
    static histogram pauses;
    cycles_collect(since, &pauses);
    cycles_report_collector();
    cycles_report_stops();
    cycles_report_gathering();
    histogram_report(&pauses, "pause");
}
#else
#define put(slot, value)              (*(slot) = (value))
#define heap_report(since)            (void)(since)
#define heap_hold()                   0
#define heap_release(percent)         (void)(percent)
#define thread_start(thread, fn, arg) pthread_create(thread, NULL, fn, arg)
#if defined BENCH_BOEHM
#define node_leaf(t)  (void)(t)
#define heap_init()   GC_INIT()
#define heap_cycles() ((uint64_t)GC_get_gc_no())
#else
#define node_leaf(t)  ((t)->left = (t)->right = NULL)
#define heap_init()   (void)0
#define heap_cycles() ((uint64_t)0)
#endif
#endif

// ---- the work ----

enum { SUBTREE = 8, THREADS_MAX = 64 }; // levels of a subtree: 255 nodes

typedef struct lane { // what one thread does
    histogram times;
    size_t first; // its subtrees
    size_t count;
    uint64_t seed;
} lane;

static node *root;
static unsigned upper; // levels above the subtrees
static uint64_t deadline;
static lane lanes[THREADS_MAX];
static pthread_barrier_t ready;

static node *tree_make(unsigned levels, uint64_t place) {
    node *t = node_new();
    if (!t) exit(1);
    t->place = place;
    for (size_t i = 0; i < 3; i++) t->payload[i] = place;
    if (levels > 1) {
        put(&t->left, tree_make(levels - 1, 2 * place));
        put(&t->right, tree_make(levels - 1, 2 * place + 1));
    } else {
        node_leaf(t);
    }
    return t;
}

// The number of nodes; ends the program when one is not what was built.
static uint64_t tree_check(const node *t, unsigned levels, uint64_t place) {
    if (!t || t->place != place || t->payload[2] != place || (levels == 1 && t->left)) {
        fprintf(stderr, "node %llu is lost\n", (unsigned long long)place);
        exit(1);
    }
    if (levels == 1) return 1;
    return 1 + tree_check(t->left, levels - 1, 2 * place) +
           tree_check(t->right, levels - 1, 2 * place + 1);
}

// Replaces the subtree with this number.
static void operation(size_t number) {
    node **slot = &root;
    for (unsigned level = upper; level-- > 0;)
        slot = (number >> level) & 1 ? &(*slot)->right : &(*slot)->left;
    node *old = *slot;
    put(slot, tree_make(SUBTREE, old->place));
    tree_free(old);
}

static void *lane_run(void *arg) {
    lane *l = arg;
    pthread_barrier_wait(&ready);
    for (uint64_t before = bench_now(); before < deadline;) {
        operation(l->first + bench_below(&l->seed, l->count));
        uint64_t now = bench_now();
        histogram_add(&l->times, now - before);
        before = now;
    }
    return NULL;
}

static void lanes_run(size_t threads, uint64_t ns) {
    static pthread_t started[THREADS_MAX];
    size_t subtrees = (size_t)1 << upper;
    for (size_t i = 0; i < threads; i++) {
        lanes[i].first = subtrees * i / threads;
        lanes[i].count = subtrees * (i + 1) / threads - lanes[i].first;
        lanes[i].seed = i + 1;
    }
    pthread_barrier_init(&ready, NULL, (unsigned)threads);
    deadline = bench_now() + ns;
    for (size_t i = 1; i < threads; i++)
        if (thread_start(&started[i], lane_run, &lanes[i]) != 0) exit(1);
    lane_run(&lanes[0]);
    for (size_t i = 1; i < threads; i++) {
        pthread_join(started[i], NULL);
        histogram_merge(&lanes[0].times, &lanes[i].times);
    }
}

int main(int argc, char **argv) {
    uint64_t nodes = (uint64_t)bench_option(argc, argv, "nodes", 1 << 24);
    uint64_t ns = (uint64_t)bench_option(argc, argv, "ms", 20000) * 1000000u;
    size_t threads = (size_t)bench_option(argc, argv, "threads", 1);
    size_t burn = (size_t)bench_option(argc, argv, "burn", 0);
    bool timer = bench_option(argc, argv, "timer", threads > 1) != 0;
    pthread_t burners[BURNERS_MAX];
    if (nodes < 1 << 14 || threads < 1 || threads > THREADS_MAX || burn > BURNERS_MAX) {
        fprintf(stderr, "latency: at least nodes=16384, threads=1 to 64, burn=0 to 64\n");
        return 2;
    }
    heap_init();
    unsigned levels = 63u - (unsigned)__builtin_clzll(nodes);
    upper = levels - SUBTREE;
    int percent = heap_hold();
    put(&root, tree_make(levels, 1));
    heap_release(percent);
    uint64_t since = heap_cycles();
    if (timer) timer_start();
    burners_start(burners, burn);
    lanes_run(threads, ns);
    burners_stop(burners, burn);
    if (timer) timer_stop();
    bench_report("cycles", (double)(heap_cycles() - since));
    bench_report("ops", (double)lanes[0].times.total / ((double)ns / 1e9));
    histogram_report(&lanes[0].times, "op");
    heap_report(since);
    return bench_finish(tree_check(root, levels, 1));
}
