/* Question: what does a stack hint cost beside memory of the function itself?
 *
 * Method: a function that takes its memory, hands it to code that the compiler does not know, and
 * returns; all of it zeroed; the median of BENCH_WINDOWS windows, nanoseconds per call.
 *   constant  64 bytes: GOMEM_STACK(long, 8) beside `array`, long[8] = {0}
 *   runtime   8 to 512 bytes, n not known: beside `variable`, a variable-length array and memset
 *   heap      5000 bytes, too large for the stack: beside `make`, GOMEM_MAKE of the same */
#include "bench.h"
#include "gomem.h"

enum { CALLS = 4000000 };

static size_t sizes[64];

BENCH_NOINLINE void constant(size_t n) {
    long *p = GOMEM_STACK(long, 8);
    (void)n;
    (void)bench_use(p);
}
BENCH_NOINLINE void array(size_t n) {
    long p[8] = {0};
    (void)n;
    (void)bench_use(p);
}
BENCH_NOINLINE void runtime(size_t n) {
    long *p = GOMEM_STACK(long, n);
    (void)bench_use(p);
}
BENCH_NOINLINE void variable(size_t n) {
    long p[n];
    memset(p, 0, n * sizeof *p);
    (void)bench_use(p);
}
BENCH_NOINLINE void heap(size_t n) {
    long *p = GOMEM_STACK(long, 625 + n % 2);
    (void)bench_use(p);
}
BENCH_NOINLINE void make(size_t n) {
    long *p = GOMEM_MAKE(long, 625 + n % 2);
    (void)bench_use(p);
}

static void report(const char *name, void (*call)(size_t n), int calls) {
    double times[BENCH_WINDOWS];
    for (int w = -1; w < BENCH_WINDOWS; w++) {
        uint64_t start = bench_now();
        for (int i = 0; i < calls; i++) call(sizes[i % 64]);
        if (w >= 0) times[w] = (double)(bench_now() - start) / calls;
    }
    bench_report(name, bench_median(times, BENCH_WINDOWS));
}

int main(void) {
    uint64_t seed = 5;
    for (int i = 0; i < 64; i++) sizes[i] = 1 + bench_below(&seed, 64);
    report("constant", constant, CALLS);
    report("array", array, CALLS);
    report("runtime", runtime, CALLS);
    report("variable", variable, CALLS);
    report("heap", heap, CALLS / 20);
    report("make", make, CALLS / 20);
    return bench_finish(0);
}
