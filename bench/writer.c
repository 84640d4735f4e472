/* Question: does a cycle end beside a thread that never allocates and writes without rest, and what
 * do the stops cost it?
 *
 * Method: `live` MB of scanned objects of 512 bytes; one thread stores pointers into objects chosen
 * at random and does nothing else, so that it cannot be slowed down by asking it for help; cycles
 * run one after the other for `ms` milliseconds. A cycle that has not ended after a minute ends the
 * program.
 *   stop.first the longest of the first five finish stops of a cycle, stop.sixth of those that end it
 *   whatever they take (us, from when all threads stand; 0: there was none), pause.… of a cycle's
 *   stops together, cycle.… the time of gomem_gc (us); gap.worst the longest time in which the writer did not do 64 stores (us), the
 *   machine's own interruptions included; writes (per second); rounds of the last cycle
 * cycles=0: the twin, only the writer. */
#include "cycles.h"

enum { STORES = 64, LIMIT_SECONDS = 60 };

static bool writer_end; // atomic: rlx, nothing hangs on it
static histogram gaps;
static pthread_barrier_t attached;

// The stops of a cycle: the start stop, up to five tries to finish, and one that must.
enum { STOP_START = 1, STOP_SIXTH = 7 };
static uint64_t stop_first;
static uint64_t stop_sixth;

static void hear(int what, uint64_t ns, void *user) {
    static unsigned stop;
    static uint64_t stopped;
    (void)user;
    if (what == GOMEM_EVENT_BEGIN) stop = 0;
    if (what == GOMEM_EVENT_STOPPED) stop++, stopped = ns;
    if (what != GOMEM_EVENT_RESUMED || stop == STOP_START) return;
    uint64_t *worst = stop == STOP_SIXTH ? &stop_sixth : &stop_first;
    if (ns - stopped > *worst) *worst = ns - stopped;
}

static void *writer_run(void *arg) {
    uint64_t seed = 7;
    (void)arg;
    pthread_barrier_wait(&attached);
    uint64_t start = bench_now();
    uint64_t before = start;
    while (!__atomic_load_n(&writer_end, __ATOMIC_RELAXED)) {
        for (int i = 0; i < STORES; i++) live_rewire(&seed, bench_below(&seed, live.count));
        uint64_t now = bench_now();
        histogram_add(&gaps, now - before);
        before = now;
    }
    bench_report("writes", (double)gaps.total * STORES / ((double)(before - start) / 1e9));
    return NULL;
}

static void run(unsigned ms, bool cycles, histogram *times, histogram *pauses) {
    pthread_t writer;
    pthread_barrier_init(&attached, NULL, 2);
    if (gomem_thread_create(&writer, NULL, writer_run, NULL) != 0) exit(1);
    pthread_barrier_wait(&attached);
    alarm(LIMIT_SECONDS + ms / 1000);
    if (cycles) cycles_run(ms / 1000.0, times, pauses);
    else bench_sleep_ms(ms);
    alarm(0);
    __atomic_store_n(&writer_end, true, __ATOMIC_RELAXED);
    pthread_join(writer, NULL);
}

int main(int argc, char **argv) {
    static histogram times;
    static histogram pauses;
    gomem_options options = {.event = hear};
    if (!gomem_init(&options)) return 1;
    live_build((size_t)bench_option(argc, argv, "live", 200) << 20, 512);
    run((unsigned)bench_option(argc, argv, "ms", 2000), bench_option(argc, argv, "cycles", 1) != 0,
        &times, &pauses);
    cycles_report_collector();
    bench_report("stop.first", (double)stop_first / 1000);
    bench_report("stop.sixth", (double)stop_sixth / 1000);
    bench_report("rounds", (double)cycles_stats()->rounds);
    histogram_report(&gaps, "gap");
    histogram_report(&pauses, "pause");
    histogram_report(&times, "cycle");
    return bench_finish(live_check());
}
