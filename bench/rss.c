/* Question: a program has freed a gigabyte: is the memory back with the system?
 *
 * Method: 1 GB of objects is allocated, each touched at every 4 KiB and at its ends, and let go
 * again; then resident memory is read from the kernel. kind=0: manual, freed in order of allocation
 * in the only thread, memory read at once: `after` in MB; random=1: freed in a random order, and read
 * a second later, for allocators that wait before they give back. kind=1: collected, reachable from a table
 * in .bss that is cleared (through chunks of a megabyte at most, so that a stale word on the stack
 * keeps little alive); from the return of gomem_gc() on memory is read every 50 ms, up to 10 s:
 * `after`, and `seconds` until it was under 50 MB (10 if never). min and max are the bounds of the
 * sizes; the list of pointers is a mapping of its own that is gone before memory is read.
 * BENCH_BOEHM: kind 1 with its collector. */
#include "bench.h"
#if defined BENCH_BOEHM
#define GC_THREADS
#include <gc/gc.h>
#define new_scanned(size)  GC_MALLOC(size)
#define collect()          GC_gcollect()
#define bench_malloc(size) GC_MALLOC_UNCOLLECTABLE(size)
#define bench_free(p)      GC_FREE(p)
#else
#include "peer.h"
#if defined BENCH_GOMEM
#define new_scanned(size) gomem_new(size)
#define collect()         gomem_gc()
#else
#define new_scanned(size) bench_malloc(size)
#define collect()         (void)0
#endif
#endif

enum { CHUNK = 1024, CHUNKS = 1 << 15, BELOW = 50, SPAN = 1 << 20 };

static void **chunks[CHUNKS]; // roots of the collected objects, in chunks that the heap holds
static const size_t total = (size_t)1 << 30;

static size_t size_next(uint64_t *seed, size_t min, size_t max) {
    return min + bench_below(seed, max - min + 1) / 8 * 8;
}

static void touch(char *p, size_t size) {
    for (size_t i = 0; i < size; i += 4096) p[i] = 1;
    p[size - 1] = 1;
}

static double megabytes(void) { return (double)bench_resident() / 1e6; }

static void shuffle(void **objects, size_t n) {
    uint64_t seed = 42;
    for (size_t i = n; i > 1; i--) {
        size_t j = bench_below(&seed, i);
        void *other = objects[i - 1];
        objects[i - 1] = objects[j];
        objects[j] = other;
    }
}

static void manual(size_t min, size_t max, bool random) {
    size_t room = total / min * sizeof(void *);
    void **objects = bench_map(room);
    uint64_t seed = 1;
    size_t n = 0;
    for (size_t bytes = 0; bytes < total; n++) {
        size_t size = size_next(&seed, min, max);
        objects[n] = bench_malloc(size);
        touch(objects[n], size);
        bytes += size;
    }
    bench_report("before", megabytes());
    if (random) shuffle(objects, n);
    uint64_t start = bench_now();
    for (size_t i = 0; i < n; i++) bench_free(objects[i]);
    bench_report("free", (double)(bench_now() - start) / 1e9);
    munmap(objects, room);
    if (random) bench_sleep_ms(1000);
}

BENCH_NOINLINE void collected_build(size_t min, size_t max) {
    uint64_t seed = 1;
    size_t n = 0;
    size_t room = max < SPAN / CHUNK ? CHUNK : max < SPAN ? SPAN / max : 1;
    for (size_t bytes = 0; bytes < total; n++) {
        size_t size = size_next(&seed, min, max);
        void ***chunk = &chunks[n / room];
        if (!*chunk) *chunk = new_scanned(room * sizeof(void *));
        (*chunk)[n % room] = new_scanned(size);
        touch((*chunk)[n % room], size);
        bytes += size;
    }
    bench_use(chunks);
}

// Overwrites what the building functions left below this frame.
BENCH_NOINLINE void stack_clear(void) {
    char area[16384];
    memset(area, 0, sizeof area);
    bench_use(area);
}

static void collected(size_t min, size_t max) {
    collected_build(min, max);
    bench_report("before", megabytes());
    memset(chunks, 0, sizeof chunks);
    bench_use(chunks);
    stack_clear();
    collect();
    uint64_t start = bench_now();
    double after = megabytes();
    while (after >= BELOW && bench_now() - start < 10000000000u) {
        bench_sleep_ms(50);
        after = megabytes();
    }
    bench_report("seconds", after < BELOW ? (double)(bench_now() - start) / 1e9 : 10);
}

int main(int argc, char **argv) {
    size_t min = (size_t)bench_option(argc, argv, "min", 64);
    size_t max = (size_t)bench_option(argc, argv, "max", 4096);
#if defined BENCH_BOEHM
    GC_INIT();
#endif
    if (bench_option(argc, argv, "kind", 0) == 0) {
        manual(min, max, bench_option(argc, argv, "random", 0));
    } else {
        collected(min, max);
    }
    bench_report("after", megabytes());
    bench_report("threads", (double)bench_status("Threads:", 10));
    return bench_finish(0);
}
