/* Question: a server whose threads come and go and hand their objects on: each thread replaces
 * random blocks of its table, 8 to 1000 bytes, and then starts its successor, which goes on with
 * the same table and so frees what others allocated.
 *
 * `lanes` tables of 5000 blocks; `generations` threads per lane, `replaces` replacements by each.
  */
#include "bench.h"
#include "peer.h"

enum { BLOCKS = 5000, LANES = 16 };

typedef struct lane {
    char *blocks[BLOCKS];
    size_t replaces;
    size_t generations;
    uint64_t seed;
    uint64_t bytes;
    int done; // atomic: acq/rel, the main thread polls it
} lane;

static lane lanes[LANES];

static char *block_make(lane *l) {
    size_t size = 8 + bench_below(&l->seed, 993);
    char *p = bench_malloc(size);
    p[0] = (char)size;
    p[size - 1] = 1;
    l->bytes += size;
    return p;
}

static void *generation(void *arg) {
    lane *l = arg;
    for (size_t i = 0; i < l->replaces; i++) {
        size_t victim = bench_below(&l->seed, BLOCKS);
        bench_free(l->blocks[victim]);
        l->blocks[victim] = block_make(l);
    }
    pthread_t successor;
    if (--l->generations == 0 || pthread_create(&successor, NULL, generation, l) != 0)
        __atomic_store_n(&l->done, 1, __ATOMIC_RELEASE);
    else pthread_detach(successor);
    return NULL;
}

int main(int argc, char **argv) {
    size_t count = (size_t)bench_option(argc, argv, "lanes", 2);
    uint64_t check = 0;
    for (size_t i = 0; i < count; i++) {
        lane *l = &lanes[i];
        l->seed = i + 1;
        l->replaces = (size_t)bench_option(argc, argv, "replaces", 50000);
        l->generations = (size_t)bench_option(argc, argv, "generations", 300) / count;
        for (size_t b = 0; b < BLOCKS; b++) l->blocks[b] = block_make(l);
        pthread_t first;
        if (pthread_create(&first, NULL, generation, l) != 0) return 1;
        pthread_detach(first);
    }
    for (size_t i = 0; i < count; i++) {
        while (!__atomic_load_n(&lanes[i].done, __ATOMIC_ACQUIRE)) bench_sleep_ms(1);
        check += lanes[i].bytes;
    }
    return bench_finish(check);
}
