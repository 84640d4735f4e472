/* Question: what do forks cost the cycles of a large heap?
 *
 * Method: `live` MB of objects of 48 bytes are reachable; one thread allocates without rest, another
 * forks each `each` milliseconds (0: never) a child that ends at once, for `ms` milliseconds, or until
 * a cycle has ended, ten times as long at most.
 *   stop.worst  the longest stop (us); cycles that ended; forks, and the longest of them (ms) */
#include "cycles.h"

#include <sys/wait.h>

static bool forks_end; // atomic: rlx, nothing hangs on it
static unsigned each;
static double longest;
static uint64_t forked;

static void *fork_run(void *arg) {
    while (!__atomic_load_n(&forks_end, __ATOMIC_RELAXED)) {
        bench_sleep_ms(each);
        uint64_t start = bench_now();
        pid_t child = fork();
        if (child == 0) _exit(0);
        if (child < 0) exit(1);
        double ms = (double)(bench_now() - start) / 1e6;
        if (ms > longest) longest = ms;
        waitpid(child, NULL, 0);
        forked++;
    }
    return arg;
}

int main(int argc, char **argv) {
    pthread_t forker;
    uint64_t ms = (uint64_t)bench_option(argc, argv, "ms", 4000), worst = 0;
    each = (unsigned)bench_option(argc, argv, "each", 50);
    live_build((size_t)bench_option(argc, argv, "live", 1024) << 20, 48);
    uint64_t since = cycles_count(), until = bench_now() + ms * 1000000;
    if (each && gomem_thread_create(&forker, NULL, fork_run, NULL) != 0) return 1;
    uint64_t longest_run = until + 9 * ms * 1000000;
    while (bench_now() < until || (cycles_count() == since && bench_now() < longest_run))
        for (int i = 0; i < 1000; i++) (void)bench_use(gomem_new(48));
    __atomic_store_n(&forks_end, true, __ATOMIC_RELAXED);
    if (each) pthread_join(forker, NULL);
    const gomem_memstats *stats = cycles_stats();
    worst = stats->pause_max_ns;
    cycles_report_collector();
    bench_report("stop.worst", (double)worst / 1000);
    bench_report("cycles", (double)(stats->num_gc - since));
    bench_report("forks", (double)forked);
    bench_report("fork.worst", longest);
    return bench_finish(live_check());
}
