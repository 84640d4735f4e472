// leaky: a server with a memory leak, on malloc and on the collected heap.
//
//     leaky          both, one after the other, side by side
//     leaky libc     on malloc and free
//     leaky gomem    on gomem_new and gomem_free
//     leaky gomem leaky.html
//                    the same, and writes a report for a browser: the heap over the cycles, pauses,
//                    size classes, and what looks wrong
//
// The server keeps the answers of its latest requests in a cache. It frees what it should, but for
// one mistake of the usual kind: on one of its error paths it returns without freeing what it has
// allocated so far. With malloc its memory grows for ever. The same code on the collected heap does
// not leak: gomem_free is only a hint there, and what nobody refers to is found by the collector.

#define _POSIX_C_SOURCE 200809L // for fork, pipe and sysconf
#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REQUESTS = 1000000, SAMPLES = 20, CACHE_SLOTS = 1024, BODY_SIZE = 1000, BAR_WIDTH = 24 };

struct allocator {
    const char *name;
    void *(*allocate)(size_t size);
    void (*release)(void *object);
};

static const struct allocator libc_allocator = {"libc", malloc, free};
static const struct allocator gomem_allocator = {"gomem", gomem_new, gomem_free};

struct request {
    char *path;
    char *body;
};

// -- the server ---------------------------------------------------------------------------------

// The latest request for each path. A global variable: the collector looks here by itself.
static struct request *cache[CACHE_SLOTS];

static void *must(void *object) {
    if (object == NULL) {
        fprintf(stderr, "leaky: out of memory\n");
        exit(1);
    }
    return object;
}

static char *copy_text(const struct allocator *a, const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(must(a->allocate(size)), text, size);
}

static char *read_body(const struct allocator *a, unsigned number) {
    char *body = must(a->allocate(BODY_SIZE));
    memset(body, (int)('a' + number % 26), BODY_SIZE - 1);
    body[BODY_SIZE - 1] = '\0';
    return body;
}

static void request_free(const struct allocator *a, struct request *r) {
    if (r == NULL) return;
    a->release(r->path);
    a->release(r->body);
    a->release(r);
}

// One request in ten is malformed.
static bool body_is_valid(const char *body, unsigned number) {
    return body[0] != '\0' && number % 10 != 7;
}

static void serve(const struct allocator *a, unsigned number) {
    char path[32];
    unsigned slot = number * 2654435761u % CACHE_SLOTS;
    snprintf(path, sizeof(path), "/item/%u", slot);

    struct request *r = must(a->allocate(sizeof(*r)));
    r->path = copy_text(a, path);
    r->body = read_body(a, number);
    if (!body_is_valid(r->body, number)) return; // the leak: request_free(a, r) is missing

    request_free(a, cache[slot]);
    cache[slot] = r;
}

// -- measuring ----------------------------------------------------------------------------------

// Memory of this process that is in RAM, in KiB.
static long resident_memory(void) {
    long total = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%ld %ld", &total, &resident) != 2) {
        fprintf(stderr, "leaky: cannot read /proc/self/statm\n");
        exit(1);
    }
    fclose(statm);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

// Serves all requests and writes the memory in use from time to time as numbers to `out`.
static void run_server(const struct allocator *a, FILE *out) {
    for (unsigned number = 1; number <= REQUESTS; number++) {
        serve(a, number);
        if (number % (REQUESTS / SAMPLES) == 0) fprintf(out, "%ld\n", resident_memory());
    }
    fflush(out);
}

// Writes the report of this process to a file.
static void write_report(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || !gomem_write(GOMEM_REPORT, fd) || close(fd) != 0) {
        fprintf(stderr, "leaky: cannot write %s: %s\n", path, strerror(errno));
        _exit(1);
    }
}

// Runs the server in a process of its own, so that the measurements do not mix. report: the file for
// its report; NULL: none.
static void measure(const struct allocator *a, long samples[SAMPLES], const char *report) {
    int ends[2], status = 0;
    fflush(stdout);
    pid_t child = pipe(ends) == 0 ? fork() : -1;
    if (child < 0) {
        fprintf(stderr, "leaky: cannot start a process: %s\n", strerror(errno));
        exit(1);
    }
    if (child == 0) {
        close(ends[0]);
        if (report) setenv("GOMEM_DEBUG", "record=1", 0); // before the first use, so of all cycles
        run_server(a, fdopen(ends[1], "w"));
        if (report) write_report(report);
        _exit(0);
    }
    close(ends[1]);
    FILE *in = fdopen(ends[0], "r");
    for (int i = 0; i < SAMPLES; i++) {
        if (fscanf(in, "%ld", &samples[i]) != 1) samples[i] = 0;
    }
    fclose(in);
    if (waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "leaky: the server on %s failed\n", a->name);
        exit(1);
    }
}

// -- printing -----------------------------------------------------------------------------------

static void print_bar(long kib, long most) {
    int filled = (int)(kib * BAR_WIDTH / most);
    printf("  %6.1f MiB ", (double)kib / 1024);
    for (int i = 0; i < BAR_WIDTH; i++) putchar(i < filled ? '#' : ' ');
}

// Prints the memory over time, a column for each allocator.
static void print_plot(const struct allocator *const *allocators, long (*samples)[SAMPLES],
                       int columns) {
    long most = 1;
    for (int c = 0; c < columns; c++) {
        for (int i = 0; i < SAMPLES; i++) most = samples[c][i] > most ? samples[c][i] : most;
    }
    printf("%10s", "requests");
    for (int c = 0; c < columns; c++) printf("  %-*s", BAR_WIDTH + 11, allocators[c]->name);
    for (int i = 0; i < SAMPLES; i++) {
        printf("\n%10d", (i + 1) * (REQUESTS / SAMPLES));
        for (int c = 0; c < columns; c++) print_bar(samples[c][i], most);
    }
    printf("\n\nresident memory after %d requests:", REQUESTS);
    for (int c = 0; c < columns; c++) {
        double mib = (double)samples[c][SAMPLES - 1] / 1024;
        printf("%s %s %.1f MiB", c > 0 ? "," : "", allocators[c]->name, mib);
    }
    putchar('\n');
}

int main(int argc, char **argv) {
    static const struct allocator *const all[] = {&libc_allocator, &gomem_allocator};
    long samples[2][SAMPLES];
    const char *report = argc == 3 ? argv[2] : NULL;
    int first = 0, columns = 2;

    if (argc > 1) {
        while (first < 2 && strcmp(argv[1], all[first]->name) != 0) first++;
        columns = 1;
    }
    if (argc > 3 || first == 2 || (report && first == 0)) {
        fprintf(stderr, "usage: leaky [libc|gomem [FILE]]\n");
        return 2;
    }
    for (int c = 0; c < columns; c++) measure(all[first + c], samples[c], report);
    print_plot(all + first, samples, columns);
    return 0;
}
