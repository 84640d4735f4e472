// What the stress programs share: scale, seed, a generator of numbers.
//
// GOMEM_STRESS=n multiplies the work (default 1: each program under five seconds on two processors;
// STRESS=1 is the full length, 20). GOMEM_SEED=n repeats a run; the seed is printed.
#ifndef STRESS_H
#define STRESS_H

#include "test.h"

#include <time.h>

enum { STRESS_FULL = 20 };

TEST_I_UNUSED static unsigned stress_number(const char *name, unsigned otherwise) {
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

TEST_I_UNUSED static bool stress_long(void) {
    return getenv("STRESS") != NULL || stress_number("GOMEM_STRESS", 1) >= STRESS_FULL;
}

// How often, by the scale.
TEST_I_UNUSED static size_t stress_times(size_t n) {
    return n * stress_number("GOMEM_STRESS", getenv("STRESS") != NULL ? STRESS_FULL : 1);
}

// The run's seed, printed once.
TEST_I_UNUSED static uint64_t stress_seed(void) {
    static uint64_t seed;
    if (seed != 0) return seed;
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    unsigned chosen = (unsigned)now.tv_nsec / 16 ^ (unsigned)now.tv_sec << 8;
    seed = stress_number("GOMEM_SEED", chosen % 1000000 + 1);
    printf("GOMEM_SEED=%" PRIu64 " ", seed);
    fflush(stdout);
    return seed;
}

struct stress_random {
    uint64_t state;
};

// An independent sequence for each thread or part of a run.
TEST_I_UNUSED static struct stress_random stress_random_at(uint64_t part) {
    return (struct stress_random){stress_seed() * 0x9e3779b97f4a7c15u + part * 0xd1342543de82ef95u};
}

TEST_I_UNUSED static uint32_t stress_next(struct stress_random *r) {
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    uint32_t mixed = (uint32_t)((r->state >> 18 ^ r->state) >> 27);
    uint32_t turn = (uint32_t)(r->state >> 59);
    return mixed >> turn | mixed << (-turn & 31);
}

// Below n, n > 0.
TEST_I_UNUSED static uint32_t stress_below(struct stress_random *r, uint32_t n) {
    return (uint32_t)((uint64_t)stress_next(r) * n >> 32);
}

// Sizes as programs have them: most small, some large, now and then far larger.
TEST_I_UNUSED static size_t stress_size(struct stress_random *r) {
    uint32_t kind = stress_below(r, 1000);
    if (kind < 800) return stress_below(r, 256);
    if (kind < 970) return stress_below(r, 4096);
    if (kind < 995) return stress_below(r, 40000);
    return stress_below(r, 600000);
}

#endif
