/* Question: how long does another thread wait for the kernel (mmap, munmap, pthread_create) while a
 * large heap is marked? Tracking writes takes the address space's lock, which these calls need.
 *
 * Method: `live` MB of scanned objects; cycles run one after the other for `ms` milliseconds.
 * Meanwhile a thread that uses no collected memory, and so is never stopped, maps a megabyte,
 * touches it, and unmaps it, each call timed; every sixteenth time it starts a thread with a stack
 * of 64 MiB (too large for libc to keep for the next) and waits for its end outside of the clock.
 *   mmap.… munmap.… create.… (us), any.worst the worst of the three, cycles
 * cycles=0: the twin without cycles; `burn` threads that only compute show what waiting for a
 * processor adds. */
#include "cycles.h"

enum { MAPPED = 1 << 20, STACK = 64 << 20, BURNERS_MAX = 64 };

static bool ended; // atomic: rlx, nothing hangs on it
static histogram maps;
static histogram unmaps;
static histogram creates;
static histogram any;

static bool running(void) { return !__atomic_load_n(&ended, __ATOMIC_RELAXED); }

static void *nothing_run(void *arg) { return arg; }

static void *burner_run(void *arg) {
    while (running()) bench_pause();
    return arg;
}

static uint64_t timed(histogram *h, uint64_t before) {
    uint64_t now = bench_now();
    histogram_add(h, now - before);
    histogram_add(&any, now - before);
    return now;
}

static void map_once(void) {
    uint64_t before = bench_now();
    char *p = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    timed(&maps, before);
    if (p == MAP_FAILED) exit(1);
    *p = 1;
    before = bench_now();
    munmap(p, MAPPED);
    timed(&unmaps, before);
}

static void create_once(const pthread_attr_t *attr) {
    pthread_t thread;
    uint64_t before = bench_now();
    if (pthread_create(&thread, attr, nothing_run, NULL) != 0) exit(1);
    timed(&creates, before);
    pthread_join(thread, NULL);
}

static void *beside_run(void *arg) {
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    for (size_t i = 0; running(); i++) {
        map_once();
        if (i % 16 == 0) create_once(&attr);
    }
    pthread_attr_destroy(&attr);
    return arg;
}

int main(int argc, char **argv) {
    static histogram times;
    static histogram pauses;
    pthread_t beside;
    pthread_t burners[BURNERS_MAX];
    long burn = bench_option(argc, argv, "burn", 0);
    unsigned ms = (unsigned)bench_option(argc, argv, "ms", 2000);
    if (burn > BURNERS_MAX) return 2;
    live_build((size_t)bench_option(argc, argv, "live", 2048) << 20, 512);
    for (long i = 0; i < burn; i++)
        if (pthread_create(&burners[i], NULL, burner_run, NULL) != 0) return 1;
    if (pthread_create(&beside, NULL, beside_run, NULL) != 0) return 1;
    if (bench_option(argc, argv, "cycles", 1)) cycles_run(ms / 1000.0, &times, &pauses);
    else bench_sleep_ms(ms);
    __atomic_store_n(&ended, true, __ATOMIC_RELAXED);
    pthread_join(beside, NULL);
    for (long i = 0; i < burn; i++) pthread_join(burners[i], NULL);
    cycles_report_collector();
    bench_report("cycles", (double)times.total);
    histogram_report(&maps, "mmap");
    histogram_report(&unmaps, "munmap");
    histogram_report(&creates, "create");
    histogram_report(&any, "any");
    return bench_finish(live_check());
}
