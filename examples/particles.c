// particles: a hot loop of short-lived objects, four times: malloc, a pool, an arena, a stack hint.
//
//     particles [-n PARTICLES] [-s STEPS] [-r ROUNDS]
//
// In each step every particle throws one to eight sparks, which are built as a list, moved, added up
// and given up. The four ways do the same work and must come to the same sum; they take turns, and
// the table shows the median of the rounds.

#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct spark {
    struct spark *next;
    float x, y;   // place
    float vx, vy; // speed
    unsigned hue;
} spark;

enum { WAYS = 4, ROUNDS_MAX = 101 };

struct options {
    uint64_t particles, steps, rounds;
};

static const char usage_text[] =
    "usage: particles [-n PARTICLES] [-s STEPS] [-r ROUNDS]\n"
    "Times a loop of short-lived objects with malloc, a pool, an arena and a stack hint.\n"
    "  -n PARTICLES  in each step (default 2000)\n"
    "  -s STEPS      of a round (default 100)\n"
    "  -r ROUNDS     whose median is printed, at most 101 (default 7)\n"
    "  --help        print this\n";

// ---- what a particle does, however its sparks are allocated ----

static unsigned spark_count(uint64_t particle) { return 1 + (unsigned)(particle * 5 % 8); }

static spark *spark_light(spark *s, spark *next, uint64_t particle, unsigned i) {
    s->next = next;
    s->x = (float)(particle % 100);
    s->y = (float)i;
    s->vx = 0.5f;
    s->vy = (float)(i + 1) * 0.25f;
    s->hue = i;
    return s;
}

static double sparks_fly(spark *first) {
    double sum = 0;
    for (spark *s = first; s; s = s->next) {
        s->x += s->vx;
        s->y += s->vy;
        sum += s->x + s->y + s->hue;
    }
    return sum;
}

static void *must(void *object) {
    if (object) return object;
    fprintf(stderr, "particles: out of memory\n");
    exit(1);
}

// ---- the four ways ----

static double step_malloc(uint64_t particles) {
    double sum = 0;
    for (uint64_t p = 0; p < particles; p++) {
        spark *first = NULL;
        for (unsigned i = 0; i < spark_count(p); i++)
            first = spark_light(must(malloc(sizeof *first)), first, p, i);
        sum += sparks_fly(first);
        while (first) {
            spark *next = first->next;
            free(first);
            first = next;
        }
    }
    return sum;
}

GOMEM_POOL(sparks, spark);

static double step_pool(uint64_t particles) {
    double sum = 0;
    for (uint64_t p = 0; p < particles; p++) {
        spark *first = NULL;
        for (unsigned i = 0; i < spark_count(p); i++)
            first = spark_light(must(sparks_get()), first, p, i);
        sum += sparks_fly(first);
        while (first) {
            spark *next = first->next;
            sparks_put(first);
            first = next;
        }
    }
    return sum;
}

static gomem_arena night;

static double step_arena(uint64_t particles) {
    double sum = 0;
    for (uint64_t p = 0; p < particles; p++) {
        spark *first = NULL;
        for (unsigned i = 0; i < spark_count(p); i++)
            first = spark_light(must(GOMEM_ARENA_NEW(&night, spark)), first, p, i);
        sum += sparks_fly(first);
    }
    gomem_arena_reset(&night); // all of the step's sparks at once
    return sum;
}

__attribute__((noinline)) static double particle_on_stack(uint64_t p) {
    unsigned n = spark_count(p);
    spark *all = must(GOMEM_STACK(spark, n)), *first = NULL;
    for (unsigned i = 0; i < n; i++) first = spark_light(&all[i], first, p, i);
    return sparks_fly(first);
}

static double step_stack(uint64_t particles) {
    double sum = 0;
    for (uint64_t p = 0; p < particles; p++) sum += particle_on_stack(p);
    return sum;
}

static const struct {
    const char *name;
    double (*step)(uint64_t particles);
} ways[WAYS] = {
    {"malloc", step_malloc},
    {"pool", step_pool},
    {"arena", step_arena},
    {"stack hint", step_stack},
};

// ---- timing ----

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool run(const struct options *o) {
    static double times[WAYS][ROUNDS_MAX];
    double sums[WAYS] = {0};
    uint64_t count = 0;
    for (uint64_t p = 0; p < o->particles; p++) count += spark_count(p);
    for (uint64_t round = 0; round < o->rounds; round++)
        for (int w = 0; w < WAYS; w++) {
            double start = now(), sum = 0;
            for (uint64_t s = 0; s < o->steps; s++) sum += ways[w].step(o->particles);
            times[w][round] = (now() - start) / ((double)count * (double)o->steps);
            sums[w] = sum;
        }
    printf("%-12s %12s %12s\n", "way", "ns per spark", "malloc is 1");
    bool same = true;
    for (int w = 0; w < WAYS; w++) {
        qsort(times[w], o->rounds, sizeof(double), compare);
        double median = times[w][o->rounds / 2], malloc_median = times[0][o->rounds / 2];
        printf("%-12s %12.2f %12.2f\n", ways[w].name, median, median / malloc_median);
        same = same && sums[w] == sums[0];
    }
    printf("%" PRIu64 " sparks a round, sum %.0f, %s\n", count * o->steps, sums[0],
           same ? "the same each way" : "NOT THE SAME EACH WAY");
    return same;
}

// ---- options ----

static bool number(const char *text, uint64_t most, uint64_t *value) {
    char *end = NULL;
    errno = 0;
    *value = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    return end && !*end && errno == 0 && *value >= 1 && *value <= most;
}

int main(int argc, char **argv) {
    struct options o = {2000, 100, 7};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool fine = false;
        if (!strcmp(argv[i], "--help")) {
            fputs(usage_text, stdout);
            return 0;
        }
        if (!strcmp(argv[i], "-n")) fine = number(value, 100000000, &o.particles);
        else if (!strcmp(argv[i], "-s")) fine = number(value, 100000000, &o.steps);
        else if (!strcmp(argv[i], "-r")) fine = number(value, ROUNDS_MAX, &o.rounds);
        if (!fine) {
            fprintf(stderr, "particles: what is %s%s%s?\n%s", argv[i], value ? " " : "",
                    value ? value : "", usage_text);
            return 2;
        }
        i++;
    }
    return run(&o) ? 0 : 1;
}
