// What the fuzz targets share. A target decodes its input into operations, runs them against the
// library, and compares what it sees with a shadow of what must be there.
//
//     heap      manual memory: malloc to free, bulk, limits, misuse, two more threads
//     collect   the collected heap: reachability, finalizers, cleanups, weak pointers, counts
//     pool      pools of every shape, beside collections
//     arena     arenas of every shape, their text against snprintf, stack hints
//     settings  environment and options against a second parser
//
//     make fuzz                    each target, 60 seconds in each of three builds
//     make fuzz T=arena TIME=600   one of them, for longer
//
// A crash prints the failed check and leaves its input in build/fuzz. To reproduce it in the same
// build, to make the input smaller, and to reproduce it without clang:
//
//     build/fuzz/arena-check3 -rss_limit_mb=0 build/fuzz/arena-crash-HASH
//     build/fuzz/arena-check3 -rss_limit_mb=0 -minimize_crash=1 -runs=10000 FILE
//     make CHECK=3 build/cc-check3/fuzz/arena && build/cc-check3/fuzz/arena FILE
//
// Each input starts the library and ends it, so it behaves the same whatever ran before, except that
// the collector's own threads run when they like. Without arguments a plain build replays the seeds
// in tests/fuzz/seeds, as `make test` does. The input of a fault that was found becomes a seed, after
// it was made smaller.
#ifndef FUZZ_H
#define FUZZ_H
#define _GNU_SOURCE

#include "alive.h"
#include "gomem.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#define FUZZ_UNUSED __attribute__((unused))

enum { FUZZ_KB = 1024, FUZZ_MB = 1024 * 1024, FUZZ_THREADS = 3 };

// ---- failing ----

#define FUZZ_CHECK(c)                                \
    do {                                             \
        if (!(c)) fuzz_fail(__FILE__, __LINE__, #c); \
    } while (0)

FUZZ_UNUSED __attribute__((noreturn)) static void fuzz_fail(const char *file, int line,
                                                            const char *what) {
    fprintf(stderr, "\n%s:%d: FUZZ_CHECK(%s)\n", file, line, what);
    fflush(stdout);
    abort();
}

// ---- the input ----

static const uint8_t *fuzz_at FUZZ_UNUSED, *fuzz_end FUZZ_UNUSED;

FUZZ_UNUSED static bool fuzz_more(void) { return fuzz_at < fuzz_end; }

// The next byte; 0 behind the last one.
FUZZ_UNUSED static unsigned fuzz_byte(void) { return fuzz_more() ? *fuzz_at++ : 0; }

FUZZ_UNUSED static unsigned fuzz_word(void) {
    unsigned low = fuzz_byte();
    return low | fuzz_byte() << 8;
}

// One of n, which is at most 256.
FUZZ_UNUSED static unsigned fuzz_below(unsigned n) { return fuzz_byte() % n; }

// A size: most are small, or beside a power of two.
FUZZ_UNUSED static size_t fuzz_size(void) {
    unsigned how = fuzz_byte();
    if (how < 96) return how;
    if (how < 160) return ((size_t)1 << how % 18) + fuzz_below(5) - (how % 18 > 1 ? 2 : 0);
    if (how < 240) return fuzz_word() % 5000;
    return (size_t)fuzz_word() * (1 + how % 16);
}

// A size that no allocation can have, of which the compiler knows nothing.
FUZZ_UNUSED static size_t fuzz_too_large(void) {
    bool most = fuzz_below(2);
    volatile size_t size = most ? SIZE_MAX - fuzz_byte() : (size_t)PTRDIFF_MAX + 1 + fuzz_byte();
    return size;
}

// ---- contents: a pattern of each object's own ----

// Which bytes of an object are written and compared: of a large one some, so that it is cheap.
FUZZ_UNUSED static size_t fuzz_next(size_t i, size_t size) {
    bool near = i < 256 || size - i <= 256 || size < 2 * FUZZ_KB;
    return near ? i + 1 : (size - i > 1021 + 256 ? i + 1021 : size - 256);
}

FUZZ_UNUSED static unsigned char fuzz_value(unsigned seed, size_t i) {
    return (unsigned char)(seed * 37u + i * 11u + (i >> 8) + 1);
}

FUZZ_UNUSED static void fuzz_fill(void *p, size_t from, size_t size, unsigned seed) {
    unsigned char *bytes = p;
    for (size_t i = 0; i < size; i = fuzz_next(i, size))
        if (i >= from) bytes[i] = fuzz_value(seed, i);
}

// Do bytes [from, to) of what was filled as `size` bytes hold their pattern?
FUZZ_UNUSED static bool fuzz_holds(const void *p, size_t from, size_t to, size_t size,
                                   unsigned seed) {
    const unsigned char *bytes = p;
    for (size_t i = 0; i < size && i < to; i = fuzz_next(i, size))
        if (i >= from && bytes[i] != fuzz_value(seed, i)) return false;
    return true;
}

FUZZ_UNUSED static bool fuzz_is_zero(const void *p, size_t from, size_t size) {
    const unsigned char *bytes = p;
    for (size_t i = 0; i < size; i = fuzz_next(i, size))
        if (i >= from && bytes[i] != 0) return false;
    return true;
}

// ---- what the library says ----

static unsigned fuzz_panics FUZZ_UNUSED, fuzz_warnings FUZZ_UNUSED;
static bool fuzz_wants_panic FUZZ_UNUSED, fuzz_wants_warning FUZZ_UNUSED;

FUZZ_UNUSED static void fuzz_hear_panic(const char *line, void *user) {
    (void)user;
    fuzz_panics++;
    if (!fuzz_wants_panic) fuzz_fail(__FILE__, __LINE__, line);
}
FUZZ_UNUSED static void fuzz_hear_warning(const char *line, void *user) {
    (void)user;
    fuzz_warnings++;
    if (!fuzz_wants_warning) fuzz_fail(__FILE__, __LINE__, line);
}

// Misuse: the library names it once, and goes on.
#define FUZZ_MISUSE(call)                        \
    do {                                         \
        unsigned before_i = fuzz_panics;         \
        fuzz_wants_panic = true;                 \
        call;                                    \
        fuzz_wants_panic = false;                \
        FUZZ_CHECK(fuzz_panics == before_i + 1); \
    } while (0)

// ---- life ----

// Starts the library. Options outlive a shutdown, so each field that an input may set is set here.
FUZZ_UNUSED static void fuzz_start(gomem_options o) {
    o.warn = fuzz_hear_warning;
    o.panic = fuzz_hear_panic;
    o.finalizers_by_hand = true;
    o.force_period_ms = -1;
    if (!o.gc_percent) o.gc_percent = GOMEM_GC_OFF;
    if (!o.hard_limit) o.hard_limit = (size_t)1 << 50;
    if (!o.reserve) o.reserve = (size_t)1 << 36;
    if (!o.collector) o.collector = GOMEM_GC_STW;
    FUZZ_CHECK(gomem_init(&o) && gomem_thread_attach());
    (void)gomem_set_memory_limit(o.memory_limit);
}

// Starts with one of the collectors, in one of eight cases below a hard limit of 8 MB: true.
FUZZ_UNUSED static bool fuzz_start_as(unsigned how) {
    bool limited = how % 8 == 7;
    fuzz_start((gomem_options){.collector = 1 + (int)(how / 8 % 3),
                               .hard_limit = limited ? 8 * FUZZ_MB : 0});
    return limited;
}

// A call that stops the threads says EAGAIN where one of them lacks a processor for too long, or a
// cycle of the background thread does.
FUZZ_UNUSED static bool fuzz_stops(bool (*call)(void)) {
    for (int tries = 0; tries < 2000; tries++) {
        errno = 0;
        if (call()) return true;
        if (errno != EAGAIN) return false;
        usleep(10000);
    }
    return false;
}
FUZZ_UNUSED static bool fuzz_verify(void) { return fuzz_stops(gomem_verify); }
FUZZ_UNUSED static bool fuzz_gc(void) { return fuzz_stops(gomem_gc); }

// ---- threads: a step runs on one of three, one at a time ----

struct fuzz_thread {
    pthread_t thread;
    sem_t ask, done;
    void (*step)(void);
    void *volatile *frame; // words on its stack, for the target
    bool there;
};
static struct fuzz_thread fuzz_threads[FUZZ_THREADS];

FUZZ_UNUSED static void fuzz_wait(sem_t *s) {
    while (sem_wait(s) != 0) FUZZ_CHECK(errno == EINTR);
}

FUZZ_UNUSED static void *fuzz_serve(void *arg) {
    struct fuzz_thread *t = arg;
    void *volatile frame[4] = {NULL};
    t->frame = frame;
    for (;;) {
        fuzz_wait(&t->ask);
        if (!t->step) return NULL;
        t->step();
        sem_post(&t->done);
    }
}

// Runs a step on thread k, of which 0 is the caller's, and returns when it has ended.
FUZZ_UNUSED static void fuzz_on(unsigned k, void (*step)(void)) {
    struct fuzz_thread *t = &fuzz_threads[k];
    if (k == 0) {
        step();
        return;
    }
    if (!t->there) {
        sem_init(&t->ask, 0, 0);
        sem_init(&t->done, 0, 0);
        t->there = gomem_thread_create(&t->thread, NULL, fuzz_serve, t) == 0;
        FUZZ_CHECK(t->there);
    }
    t->step = step;
    sem_post(&t->ask);
    fuzz_wait(&t->done);
}

FUZZ_UNUSED static void fuzz_end_thread(unsigned k) {
    struct fuzz_thread *t = &fuzz_threads[k];
    if (!t->there) return;
    t->step = NULL;
    sem_post(&t->ask);
    FUZZ_CHECK(gomem_thread_join(&t->thread, NULL) == 0);
    sem_destroy(&t->ask);
    sem_destroy(&t->done);
    t->there = false;
}

FUZZ_UNUSED static void fuzz_stop(void) {
    for (unsigned k = 1; k < FUZZ_THREADS; k++) fuzz_end_thread(k);
    gomem_shutdown();
}

// ---- statistics that must add up ----

FUZZ_UNUSED static void fuzz_check_stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    FUZZ_CHECK(m.mallocs - m.frees == m.heap_objects);
    FUZZ_CHECK(m.heap_inuse + m.heap_idle == m.heap_sys);
    FUZZ_CHECK(m.heap_released <= m.heap_idle);
    FUZZ_CHECK(m.alloc <= m.heap_inuse && m.alloc <= m.total_alloc);
    FUZZ_CHECK(m.heap_sys <= m.sys && m.alloc == m.heap_alloc);
    uint64_t mallocs = 0, frees = 0, bytes = 0;
    for (size_t c = 0; c <= GOMEM_CLASSES; c++) {
        FUZZ_CHECK(m.by_size[c].frees <= m.by_size[c].mallocs);
        mallocs += m.by_size[c].mallocs;
        frees += m.by_size[c].frees;
        bytes += (m.by_size[c].mallocs - m.by_size[c].frees) * m.by_size[c].size;
    }
    FUZZ_CHECK(mallocs == m.mallocs && frees == m.frees && bytes <= m.alloc);
}

// ---- running ----

static void fuzz_play(void); // the target's: from the first byte to the last

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_at = data;
    fuzz_end = data + size;
    fuzz_panics = fuzz_warnings = 0;
    fuzz_play();
    return 0;
}

#if !defined(FUZZ_ENGINE)
static unsigned fuzz_replayed;

static void fuzz_replay(const char *path) {
    static uint8_t data[1 << 20];
    printf("%s ... ", path);
    fflush(stdout);
    FILE *file = fopen(path, "rb");
    FUZZ_CHECK(file != NULL);
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    printf("ok\n");
    fuzz_replayed++;
}

static void fuzz_replay_seeds(const char *folder) {
    char path[1024];
    DIR *seeds = opendir(folder);
    FUZZ_CHECK(seeds != NULL);
    for (struct dirent *entry; (entry = readdir(seeds)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        fuzz_replay(path);
    }
    closedir(seeds);
}

// tests/fuzz/heap.c has its seeds in tests/fuzz/seeds/heap.
static int fuzz_main(int argc, char **argv, const char *source) {
    char folder[512];
    const char *name = strrchr(source, '/');
    FUZZ_CHECK(name != NULL);
    snprintf(folder, sizeof folder, "%.*s/seeds/%.*s", (int)(name - source), source,
             (int)strcspn(name + 1, "."), name + 1);
    for (int i = 1; i < argc; i++) fuzz_replay(argv[i]);
    if (argc < 2) fuzz_replay_seeds(folder);
    printf("%u passed, %d failed, 0 skipped\n", fuzz_replayed, fuzz_replayed == 0);
    return fuzz_replayed == 0;
}
#define FUZZ_MAIN \
    int main(int argc, char **argv) { return fuzz_main(argc, argv, __FILE__); }
#else
#define FUZZ_MAIN struct fuzz_wants_a_semicolon
#endif

#endif
