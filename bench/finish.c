/* Question: how long does the stop at the end of a cycle take, beside a thread that writes all over
 * the heap?
 *
 * Method: `live` MB of scanned objects of `object` bytes are reachable; one thread stores `rate`
 * pointers per second into objects chosen at random, those that are due every half a millisecond;
 * cycles run one after the other for `ms` milliseconds. The stops are the library's
 * own account (gomem_read_memstats).
 *   stop.p50 .p99 .worst single stops, pause.… a cycle's stops together, cycle.… the time of
 *   gomem_gc (us); writes (per second, done)
 *   dirty_pages, rounds: of the last cycle, as the library reports them
 * What the length of a stop hangs on can be varied: `live`; `rate`; `sleepers` threads in a wait
 * that they have not declared; `roots` ranges of 60 KiB each, too small to be tracked. The
 * collector is chosen by the environment. */
#include "cycles.h"

enum { SLEEPERS_MAX = 1024, ROOTS_MAX = 256, ROOT_BYTES = 60 << 10 };

static bool writer_end; // atomic: rlx, nothing hangs on it
static uint64_t written;
static long rate;
static pthread_barrier_t attached;
static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER; // held while sleepers shall sleep

// Keeps its rate over the whole run: after a wait it writes what is due since.
static void *writer_run(void *arg) {
    uint64_t seed = 7;
    uint64_t start = bench_now();
    (void)arg;
    while (!__atomic_load_n(&writer_end, __ATOMIC_RELAXED)) {
        double seconds = (double)(bench_now() - start) / 1e9;
        for (uint64_t due = (uint64_t)(seconds * (double)rate); written < due; written++)
            live_rewire(&seed, bench_below(&seed, live.count));
        usleep(500);
    }
    bench_report("writes", (double)written / ((double)(bench_now() - start) / 1e9));
    return NULL;
}

static void *sleeper_run(void *arg) {
    (void)arg;
    pthread_barrier_wait(&attached);
    pthread_mutex_lock(&never);
    pthread_mutex_unlock(&never);
    return NULL;
}

static void roots_add(size_t count) {
    for (size_t i = 0; i < count; i++) {
        uintptr_t *range = bench_map(ROOT_BYTES);
        range[0] = (uintptr_t)live.objects[i];
        if (!gomem_add_root(range, ROOT_BYTES)) exit(1);
    }
}

int main(int argc, char **argv) {
    static pthread_t sleepers[SLEEPERS_MAX];
    static histogram times;
    static histogram pauses;
    pthread_t writer;
    size_t count = (size_t)bench_option(argc, argv, "sleepers", 0);
    size_t roots = (size_t)bench_option(argc, argv, "roots", 0);
    rate = bench_option(argc, argv, "rate", 10000);
    if (count > SLEEPERS_MAX || roots > ROOTS_MAX) return 2;
    live_build((size_t)bench_option(argc, argv, "live", 1024) << 20,
               (size_t)bench_option(argc, argv, "object", 512));
    roots_add(roots);
    pthread_mutex_lock(&never);
    pthread_barrier_init(&attached, NULL, (unsigned)count + 1);
    for (size_t i = 0; i < count; i++)
        if (gomem_thread_create(&sleepers[i], NULL, sleeper_run, NULL) != 0) return 1;
    pthread_barrier_wait(&attached);
    if (gomem_thread_create(&writer, NULL, writer_run, NULL) != 0) return 1;
    cycles_run((double)bench_option(argc, argv, "ms", 3000) / 1000, &times, &pauses);
    __atomic_store_n(&writer_end, true, __ATOMIC_RELAXED);
    pthread_join(writer, NULL);
    pthread_mutex_unlock(&never);
    for (size_t i = 0; i < count; i++) pthread_join(sleepers[i], NULL);
    cycles_report_collector();
    cycles_report_stops();
    bench_report("dirty_pages", (double)cycles_stats()->dirty_pages);
    bench_report("rounds", (double)cycles_stats()->rounds);
    histogram_report(&pauses, "pause");
    histogram_report(&times, "cycle");
    return bench_finish(live_check());
}
