/* Question: what does marking cost per live object, with one worker and with two?
 *
 * Method: 2^21 objects of 16 bytes (two pointers), all alive; `cycles` full collections with
 * nothing else to do, the world stopped. `cycle` is the time of the call per object, `pause` what
 * the library itself reports as stopped time (gomem_memstats), which holds the marking and nothing
 * of the sweeping; both are medians. `empty` is a collection with the same number of workers before
 * anything is allocated, in microseconds.
 *   shape=0 one list, in order of allocation     shape=3 16 lists (one list is serial by nature)
 *   shape=1 one complete binary tree, preorder   shape=4 one list in random order
 *   shape=2 a forest of 16 trees
 * BENCH_BOEHM: the same on Boehm's collector, the number of markers from its GC_MARKERS. */
#include "bench.h"

#if defined BENCH_BOEHM
#define GC_THREADS
#include <gc/gc.h>
#define NEW(T)    ((T *)GC_MALLOC(sizeof(T)))
#define collect() GC_gcollect()
#else
#include "gomem.h"
#define NEW(T)    GOMEM_NEW(T)
#define collect() gomem_gc()
#endif

enum { LEVELS = 21, OBJECTS = 1 << LEVELS, ROOTS = 16, CYCLES = 64 };

typedef struct node {
    struct node *left;
    struct node *right;
} node;

static node *roots[ROOTS];

static node *list_make(size_t n) {
    node *head = NULL;
    for (size_t i = 0; i < n; i++) {
        node *p = NEW(node);
        p->left = head;
        head = p;
    }
    return head;
}

static node *tree_make(int levels) {
    node *p = NEW(node);
    if (levels > 1) {
        p->left = tree_make(levels - 1);
        p->right = tree_make(levels - 1);
    }
    return p;
}

static node *shuffled_make(size_t n) {
    node **nodes = bench_map(n * sizeof *nodes);
    size_t *order = bench_map(n * sizeof *order);
    for (size_t i = 0; i < n; i++) nodes[i] = NEW(node);
    bench_shuffle(order, n, 42);
    for (size_t i = 0; i + 1 < n; i++) nodes[order[i]]->left = nodes[order[i + 1]];
    node *head = nodes[order[0]];
    munmap(nodes, n * sizeof *nodes);
    munmap(order, n * sizeof *order);
    return head;
}

static void build(long shape) {
    if (shape == 0) roots[0] = list_make(OBJECTS);
    if (shape == 1) roots[0] = tree_make(LEVELS);
    for (int i = 0; i < ROOTS; i++) {
        if (shape == 2) roots[i] = tree_make(LEVELS - 4);
        if (shape == 3) roots[i] = list_make(OBJECTS / ROOTS);
    }
    if (shape == 4) roots[0] = shuffled_make(OBJECTS);
}

static void collector_init(int workers) {
#if defined BENCH_BOEHM
    (void)workers;
    GC_INIT();
    GC_disable();
#else
    gomem_options options = {0};
    options.collector = GOMEM_GC_STW;
    options.mark_workers = workers;
    options.gc_percent = GOMEM_GC_OFF;
    if (!gomem_init(&options)) exit(1);
#endif
}

// Nanoseconds the world has been stopped, in all.
static uint64_t stopped(void) {
#if defined BENCH_BOEHM
    return 0;
#else
    static gomem_memstats stats;
    stats.size = sizeof stats;
    gomem_read_memstats(&stats);
    return stats.pause_total_ns;
#endif
}

static void measure(size_t cycles, double *cycle, double *pause) {
    double cycle_times[CYCLES];
    double pause_times[CYCLES];
    for (size_t i = 0; i < cycles; i++) {
        uint64_t before = stopped();
        uint64_t start = bench_now();
        bench_use(roots); // so that they are stored at all
        collect();
        cycle_times[i] = (double)(bench_now() - start);
        pause_times[i] = (double)(stopped() - before);
    }
    *cycle = bench_median(cycle_times, cycles);
    *pause = bench_median(pause_times, cycles);
}

int main(int argc, char **argv) {
    size_t cycles = (size_t)bench_option(argc, argv, "cycles", 9);
    double cycle;
    double pause;
    collector_init((int)bench_option(argc, argv, "workers", 1));
    (void)NEW(node);
#if defined BENCH_BOEHM
    GC_enable();
#endif
    measure(cycles, &cycle, &pause);
    bench_report("empty", cycle / 1000);
#if defined BENCH_BOEHM
    GC_disable();
#endif
    build(bench_option(argc, argv, "shape", 0));
#if defined BENCH_BOEHM
    GC_enable();
#endif
    measure(cycles, &cycle, &pause);
    bench_report("cycle", cycle / OBJECTS);
    if (pause > 0) bench_report("pause", pause / OBJECTS);
    return bench_finish(0);
}
