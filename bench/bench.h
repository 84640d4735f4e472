/* What every question in this folder shares: a clock, a random generator, medians, the process's
 * own memory, arguments of the form name=value, and the report. A program reports figures as lines
 * `name value` on standard output, or appended to the file that BENCH_REPORT names (so that a
 * runner which swallows the output still gets them). Nothing here allocates while a clock runs. */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BENCH_INLINE   static inline __attribute__((always_inline, unused))
#define BENCH_HELPER   static __attribute__((unused))
#define BENCH_NOINLINE static __attribute__((noinline, unused))
#define BENCH_WINDOWS  7

// The compiler may neither see where p came from nor keep memory in registers across this point.
BENCH_INLINE void *bench_use(void *p) {
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

// A number the compiler knows nothing about.
BENCH_INLINE size_t bench_opaque(size_t n) {
    __asm__ volatile("" : "+r"(n));
    return n;
}

// For loops that wait for another thread.
BENCH_INLINE void bench_pause(void) {
#if defined __x86_64__ || defined __i386__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

BENCH_HELPER uint64_t bench_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

BENCH_HELPER void bench_sleep_ms(unsigned ms) {
    struct timespec pause = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

// xorshift64*: the same sequence for every allocator.
BENCH_INLINE uint64_t bench_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 2685821657736338717u;
}

BENCH_INLINE size_t bench_below(uint64_t *state, size_t bound) {
    return (size_t)(((bench_random(state) >> 32) * bound) >> 32);
}

BENCH_HELPER void bench_shuffle(size_t *order, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t j = bench_below(&seed, i);
        size_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

BENCH_HELPER int bench_compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

BENCH_HELPER double bench_median(double *values, size_t n) {
    qsort(values, n, sizeof *values, bench_compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

// Memory that no allocator under test has anything to do with.
BENCH_HELPER void *bench_map(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

// A bare bump pointer in a struct, in the shape that is fastest on the processors tried: load, add,
// compare, store.
typedef struct bench_bump {
    char *cursor, *end;
} bench_bump;
BENCH_INLINE void *bench_bump_take(bench_bump *b, size_t size) {
    char *p = b->cursor, *next = p + size;
    if (__builtin_expect(next > b->end, 0)) return NULL;
    __atomic_store_n(&b->cursor, next, __ATOMIC_RELAXED);
    return p;
}

// A field of /proc/self/status, such as "VmHWM:"; base 16 for the signal masks.
BENCH_HELPER uint64_t bench_status(const char *field, int base) {
    static char text[8192];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n < 0 ? 0 : n] = 0;
    const char *at = strstr(text, field);
    return at ? strtoull(at + strlen(field), NULL, base) : 0;
}

// Resident bytes now, exact (statm and status lag behind by the kernel's per-CPU counters).
BENCH_HELPER uint64_t bench_resident(void) {
    static char text[4096];
    int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n < 0 ? 0 : n] = 0;
    const char *at = strstr(text, "Rss:");
    return at ? strtoull(at + 4, NULL, 10) * 1024 : bench_status("VmRSS:", 10) * 1024;
}

// The value of an argument name=value, or the default.
BENCH_HELPER long bench_option(int argc, char **argv, const char *name, long otherwise) {
    size_t length = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=')
            return strtol(argv[i] + length + 1, NULL, 10);
    return otherwise;
}

BENCH_HELPER void bench_report(const char *name, double value) {
    const char *path = getenv("BENCH_REPORT");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : STDOUT_FILENO;
    char line[128];
    int n = snprintf(line, sizeof line, "%s %.6g\n", name, value);
    if (fd < 0 || write(fd, line, (size_t)n) != n) exit(1);
    if (path) close(fd);
}

// The last statement of main: peak resident memory, and a check value that all peers must agree on.
BENCH_HELPER int bench_finish(uint64_t check) {
    bench_report("rss_kb", (double)bench_status("VmHWM:", 10));
    bench_report("check", (double)(check % 1000003));
    return 0;
}

#endif
