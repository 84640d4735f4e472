/* Question: how far over its goal does a heap grow while large buffers are allocated?
 *
 * Method: `live` MB of objects of 48 bytes that point to each other; `threads` threads allocate buffers
 * of `size` bytes without pointers and write to all of each, for `ms` milliseconds. A fifth of the
 * time a millisecond it is looked at the heap.
 *   goal   the largest heap_inuse by the goal of then
 *   limit  the largest heap_inuse by `limit` MB, where that is given
 *   cycles, and peak RSS as always */
#include "cycles.h"

enum { THREADS_MAX = 64 };

static bool pace_end; // atomic: rlx, nothing hangs on it
static size_t size;

static void *fill(void *arg) {
    while (!__atomic_load_n(&pace_end, __ATOMIC_RELAXED)) {
        char *buffer = gomem_new_noscan(size);
        if (!buffer) exit(1);
        memset(bench_use(buffer), 1, size);
    }
    return arg;
}

int main(int argc, char **argv) {
    static pthread_t started[THREADS_MAX];
    size_t threads = (size_t)bench_option(argc, argv, "threads", 1);
    double limit = (double)bench_option(argc, argv, "limit", 0) * (1 << 20), over = 0, most = 0;
    uint64_t ms = (uint64_t)bench_option(argc, argv, "ms", 3000);
    size = (size_t)bench_option(argc, argv, "size", 1000000);
    if (threads > THREADS_MAX) return 2;
    if (limit > 0) gomem_set_memory_limit((int64_t)limit);
    live_build((size_t)bench_option(argc, argv, "live", 300) << 20, 48);
    uint64_t since = cycles_count(), until = bench_now() + ms * 1000000;
    for (size_t i = 0; i < threads; i++)
        if (gomem_thread_create(&started[i], NULL, fill, NULL) != 0) return 1;
    while (bench_now() < until) {
        bench_sleep_ms(5);
        double used = (double)cycles_stats()->heap_inuse, goal = (double)cycles_stats()->next_gc;
        if (used / goal > over) over = used / goal;
        if (used > most) most = used;
    }
    __atomic_store_n(&pace_end, true, __ATOMIC_RELAXED);
    for (size_t i = 0; i < threads; i++) pthread_join(started[i], NULL);
    cycles_report_collector();
    bench_report("goal", over);
    if (limit > 0) bench_report("limit", most / limit);
    bench_report("cycles", (double)(cycles_count() - since));
    return bench_finish(live_check());
}
