/* Question: while a cycle tracks what is written, what does the first write to a page cost more
 * than at any other time?
 *
 * Method: `live` MB of small scanned objects make a cycle long. A page of 4 KiB each belongs to
 * 4096 scanned, noscan and manual objects. Another thread runs a cycle; `delay` milliseconds after
 * its beginning this one writes to each of the pages once, in random order, the three kinds in
 * turn. Passes that were not over by 60 % of the cycle's time are left out, so that those that are
 * kept fell into the marking (with the stopped collector none does). After the cycle the same
 * passes are timed twice more: pages may still be tracked in the first, not in the second. For `ms`
 * milliseconds.
 *   KIND.ns nanoseconds per write during a cycle, KIND.after it, KIND.plain the second time, and
 *   KIND.cost = ns - plain; medians over the cycles; KIND is scanned, noscan or manual
 *   samples how many cycles were long enough, of `cycles`
 * The collector is chosen by the environment; scanned objects are written by GOMEM_STORE. */
#include "cycles.h"

enum { DURING, AFTER, PLAIN, PASSES };
enum { SCANNED, NOSCAN, MANUAL, KINDS, PAGES = 4096, PAGE = 4096, SAMPLES_MAX = 4096 };
enum { CYCLE_NONE, CYCLE_ASKED, CYCLE_BEGUN, CYCLE_ENDED, CYCLE_QUIT };

static void **pages[KINDS][PAGES];
static size_t order[PAGES]; // in which they are written
static double times[PASSES][KINDS][SAMPLES_MAX];
static int state = CYCLE_NONE; // of the cycle. atomic: acq/rel, hands the turn over
static uint64_t begun;         // time of the cycle's beginning and end. with state
static uint64_t ended;

static int state_get(void) { return __atomic_load_n(&state, __ATOMIC_ACQUIRE); }

static void state_set(int to) { __atomic_store_n(&state, to, __ATOMIC_RELEASE); }

// The library says on the collecting thread where the cycle stands.
static void on_event(int what, uint64_t ns, void *user) {
    int asked = CYCLE_ASKED;
    (void)ns, (void)user;
    if (what != GOMEM_EVENT_BEGIN || state_get() != CYCLE_ASKED) return;
    begun = bench_now();
    (void)__atomic_compare_exchange_n(&state, &asked, CYCLE_BEGUN, false, __ATOMIC_ACQ_REL,
                                      __ATOMIC_ACQUIRE);
}

static void *collector_run(void *arg) {
    for (int now = state_get(); now != CYCLE_QUIT; now = state_get()) {
        if (now == CYCLE_ASKED) {
            gomem_gc();
            ended = bench_now();
            state_set(CYCLE_ENDED);
        } else {
            usleep(100);
        }
    }
    return arg;
}

static void pages_make(void) {
    for (size_t i = 0; i < PAGES; i++) {
        pages[SCANNED][i] = gomem_new(PAGE);
        pages[NOSCAN][i] = gomem_new_noscan(PAGE);
        pages[MANUAL][i] = gomem_malloc(PAGE);
        if (!pages[SCANNED][i] || !pages[NOSCAN][i] || !pages[MANUAL][i]) exit(1);
        memset(pages[MANUAL][i], 0, PAGE);
    }
    bench_shuffle(order, PAGES, 42);
}

// Writes to each page of a kind; nanoseconds per write.
static double pass(int kind) {
    uint64_t start = bench_now();
    if (kind == SCANNED) {
        for (size_t i = 0; i < PAGES; i++)
            GOMEM_STORE(&pages[SCANNED][order[i]][1], (void *)pages[SCANNED][i]);
    } else {
        for (size_t i = 0; i < PAGES; i++)
            *(volatile uintptr_t *)&pages[kind][order[i]][1] = (uintptr_t)i;
    }
    return (double)(bench_now() - start) / PAGES;
}

// One cycle; true: all passes fell into its marking. If not, the next takes its place.
static bool sample(size_t n, unsigned delay) {
    state_set(CYCLE_ASKED);
    while (state_get() == CYCLE_ASKED) bench_pause();
    for (uint64_t end = bench_now() + delay * 1000000u; bench_now() < end;) bench_pause();
    for (size_t k = 0; k < KINDS; k++) {
        size_t kind = (k + n) % KINDS;
        times[DURING][kind][n] = pass((int)kind);
    }
    uint64_t done = bench_now();
    while (state_get() != CYCLE_ENDED) usleep(100);
    for (int when = AFTER; when < PASSES; when++)
        for (int kind = 0; kind < KINDS; kind++) times[when][kind][n] = pass(kind);
    return (double)(done - begun) < 0.6 * (double)(ended - begun);
}

static void report(const char *name, int kind, size_t samples) {
    static const char *const names[PASSES] = {"ns", "after", "plain"};
    double medians[PASSES];
    char metric[32];
    if (samples == 0) return;
    for (int when = 0; when < PASSES; when++) {
        medians[when] = bench_median(times[when][kind], samples);
        snprintf(metric, sizeof metric, "%s.%s", name, names[when]);
        bench_report(metric, medians[when]);
    }
    snprintf(metric, sizeof metric, "%s.cost", name);
    bench_report(metric, medians[DURING] - medians[PLAIN]);
}

int main(int argc, char **argv) {
    unsigned delay = (unsigned)bench_option(argc, argv, "delay", 20);
    uint64_t ns = (uint64_t)bench_option(argc, argv, "ms", 2000) * 1000000u;
    size_t samples = 0;
    size_t cycles = 0;
    pthread_t collector;
    gomem_options options = {0};
    options.event = on_event;
    if (!gomem_init(&options)) return 1;
    live_build((size_t)bench_option(argc, argv, "live", 512) << 20, 32);
    pages_make();
    if (gomem_thread_create(&collector, NULL, collector_run, NULL) != 0) return 1;
    for (uint64_t end = bench_now() + ns; samples < SAMPLES_MAX && bench_now() < end; cycles++)
        samples += sample(samples, delay);
    state_set(CYCLE_QUIT);
    pthread_join(collector, NULL);
    cycles_report_collector();
    bench_report("cycles", (double)cycles);
    bench_report("samples", (double)samples);
    report("scanned", SCANNED, samples);
    report("noscan", NOSCAN, samples);
    report("manual", MANUAL, samples);
    return bench_finish(live_check());
}
