/* Question: what does an idle thread hold that has allocated once of every size class?
 *
 * Method: resident memory is read; `count` threads are started; each allocates one object of every
 * class, writes its first word, and waits; memory is read again. kind=0: manual, freed again at once
 * (so it stays in the thread's cache); kind=1: scanned collected objects, kind=2: noscan ones,
 * kind=3: both, dropped; kind=-1: nothing, the twin whose figure (stack, libc's own) the runner
 * subtracts. They work one after the other, so that the figure does not hang on the scheduler.
 * KB per thread. */
#include "bench.h"
#include "peer.h"

enum { COUNT_MAX = 4096 };

typedef struct triple {
    void *words[3];
} triple;

static const size_t large_classes[] = {
    1152,  1280,  1408,  1536,  1792,  2048,  2304,  2688,  3072,  3200,  3456,  4096,
    4864,  5120,  5376,  6144,  6528,  6784,  6912,  8192,  9472,  9728,  10240, 10880,
    12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768};

static pthread_barrier_t finished;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static long kind;

static void once(size_t size) {
    if (kind == 0) {
        void **p = bench_use(bench_malloc(size));
        *p = NULL;
        bench_free(p);
    }
#if defined BENCH_GOMEM
    if (kind & 1) *(void **)bench_use(gomem_new(size)) = NULL;
    if (kind & 2) *(void **)bench_use(gomem_new_noscan(size)) = NULL;
#endif
}

static void once_triple(void) {
    if (kind == 0) {
        triple *p = bench_use(BENCH_MALLOC(triple));
        p->words[0] = NULL;
        BENCH_FREE(triple, p);
    }
#if defined BENCH_GOMEM
    if (kind & 1) ((triple *)bench_use(GOMEM_NEW(triple)))->words[0] = NULL;
    if (kind & 2) ((triple *)bench_use(GOMEM_NEW_NOSCAN(triple)))->words[0] = NULL;
#endif
}

static void every_class(void) {
    once(8);
    once_triple();
    for (size_t size = 16; size <= 512; size += 16) once(size);
    for (size_t size = 544; size <= 1024; size += 32) once(size);
    for (size_t i = 0; i < sizeof large_classes / sizeof *large_classes; i++)
        once(large_classes[i]);
}

static void *idle(void *arg) {
    (void)arg;
    pthread_mutex_lock(&turn);
    if (kind >= 0) every_class();
    pthread_mutex_unlock(&turn);
    pthread_barrier_wait(&finished);
    pthread_barrier_wait(&finished);
    return NULL;
}

int main(int argc, char **argv) {
    static pthread_t threads[COUNT_MAX];
    size_t count = (size_t)bench_option(argc, argv, "count", 1000);
    kind = bench_option(argc, argv, "kind", 0);
    if (count > COUNT_MAX) return 1;
    pthread_barrier_init(&finished, NULL, (unsigned)count + 1);
    uint64_t before = bench_resident();
    for (size_t i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, idle, NULL) != 0) return 1;
    pthread_barrier_wait(&finished);
    uint64_t after = bench_resident();
    bench_report("per_thread", (double)(after - before) / (double)count / 1000);
    pthread_barrier_wait(&finished);
    for (size_t i = 0; i < count; i++) pthread_join(threads[i], NULL);
    return bench_finish(0);
}
