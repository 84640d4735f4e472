/* Question: mixed sizes in several threads, some objects kept for long, some handed to other
 * threads, and all threads ended and started anew each round: what does it cost in time and in
 * memory?
 *
 * `threads` threads, `rounds` rounds. A thread allocates runs of blocks: mostly up to 128 bytes,
 * some up to 4 KiB, one in a thousand up to 256 KiB; writes each whole (small ones) or its first
 * and last bytes; frees about half soon, keeps others to the end of the round, and swaps some with
 * a table that all threads share. Half of the shared table is freed between rounds. Time and peak
 * resident memory are judged together. */
#include "bench.h"
#include "peer.h"

enum { SHARED = 1000, KEPT = 60000, RECENT = 512, THREADS = 64 };

typedef struct worker {
    uint64_t seed;
    size_t steps;
    char **kept;
    uint64_t bytes;
} worker;

static char *shared[SHARED]; // atomic: exchanged by all threads
static worker workers[THREADS];

static char *block_make(worker *w) {
    size_t limit = 128;
    size_t dice = bench_below(&w->seed, 1000);
    if (dice < 100) limit = 1024;
    if (dice < 20) limit = 4096;
    if (dice < 1) limit = 262144;
    size_t size = 8 + bench_below(&w->seed, limit);
    char *p = bench_malloc(size);
    if (size <= 1032) memset(p, (int)size, size);
    p[0] = (char)size;
    p[size - 1] = (char)size;
    w->bytes += size;
    return p;
}

static void *work(void *arg) {
    worker *w = arg;
    char *recent[RECENT] = {0};
    size_t kept = 0;
    for (size_t i = 0; i < w->steps; i++) {
        size_t at = bench_below(&w->seed, RECENT);
        char *p = recent[at];
        recent[at] = block_make(w);
        size_t dice = bench_below(&w->seed, 100);
        if (dice < 25 && kept < KEPT) {
            w->kept[kept++] = p;
        } else if (dice < 45) {
            char **slot = &shared[bench_below(&w->seed, SHARED)];
            bench_free(__atomic_exchange_n(slot, p, __ATOMIC_ACQ_REL));
        } else {
            bench_free(p);
        }
    }
    for (size_t i = 0; i < RECENT; i++) bench_free(recent[i]);
    for (size_t i = 0; i < kept; i++) bench_free(w->kept[i]);
    return NULL;
}

int main(int argc, char **argv) {
    size_t threads = (size_t)bench_option(argc, argv, "threads", 4);
    size_t rounds = (size_t)bench_option(argc, argv, "rounds", 12);
    uint64_t check = 0;
    pthread_t ids[THREADS];
    for (size_t t = 0; t < threads; t++) {
        workers[t].seed = t + 1;
        workers[t].steps = (size_t)bench_option(argc, argv, "steps", 120000);
        workers[t].kept = bench_map(KEPT * sizeof(char *));
    }
    for (size_t r = 0; r < rounds; r++) {
        for (size_t t = 0; t < threads; t++)
            if (pthread_create(&ids[t], NULL, work, &workers[t]) != 0) return 1;
        for (size_t t = 0; t < threads; t++) pthread_join(ids[t], NULL);
        for (size_t i = r % 2; i < SHARED; i += 2) {
            bench_free(shared[i]);
            shared[i] = NULL;
        }
    }
    for (size_t t = 0; t < threads; t++) check += workers[t].bytes;
    return bench_finish(check);
}
