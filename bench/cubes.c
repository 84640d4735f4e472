/* Question: sets that are merged and thrown away. A logic minimizer (Quine and McCluskey) finds the
 * prime implicants of random functions of `inputs` variables and a cover of few of them: a cube is a
 * small object in hash chains, its list of minterms a block that grows by realloc.
 *
 * `functions` functions; the check value is the number of prime implicants and of those in the
 * covers. Each cover is compared with its function. */
#include "bench.h"
#include "peer.h"

enum { INPUTS_MAX = 14, BUCKETS = 1 << 12 };

typedef struct cube {
    struct cube *next;
    uint32_t value, free_bits; // free_bits: the variables that do not matter
    bool merged;
    uint32_t *terms; // minterms of a prime implicant
    size_t count, room;
} cube;

static cube *sets[2][BUCKETS];
static bool function[1 << INPUTS_MAX], covered[1 << INPUTS_MAX];

static cube **cube_find(cube **set, uint32_t value, uint32_t free_bits) {
    uint32_t h = (value * 2654435761u ^ free_bits * 40503u) >> 8;
    cube **at = &set[h % BUCKETS];
    while (*at && ((*at)->value != value || (*at)->free_bits != free_bits)) at = &(*at)->next;
    return at;
}

static void cube_add(cube **set, uint32_t value, uint32_t free_bits) {
    cube **at = cube_find(set, value, free_bits);
    if (*at) return;
    cube *c = BENCH_MALLOC(cube);
    *c = (cube){.value = value, .free_bits = free_bits};
    *at = c;
}

static void cube_free(cube *c) {
    bench_free(c->terms);
    BENCH_FREE(cube, c);
}

// Each pair of cubes that differ in one variable makes a cube of the next set.
static void merge(cube **set, cube **next, uint32_t inputs) {
    for (size_t b = 0; b < BUCKETS; b++) {
        for (cube *c = set[b]; c; c = c->next) {
            for (uint32_t bit = 1; bit < 1u << inputs; bit <<= 1) {
                if ((c->free_bits | c->value) & bit) continue;
                cube *other = *cube_find(set, c->value | bit, c->free_bits);
                if (!other) continue;
                c->merged = other->merged = true;
                cube_add(next, c->value, c->free_bits | bit);
            }
        }
    }
}

static void term_add(cube *c, uint32_t term) {
    if (c->count == c->room) {
        c->room = c->room ? 2 * c->room : 2;
        c->terms = bench_realloc(c->terms, c->room * sizeof *c->terms);
    }
    c->terms[c->count++] = term;
}

// Empties the set; its prime implicants go to the list, with their minterms.
static cube *primes_take(cube **set, cube *primes) {
    for (size_t b = 0; b < BUCKETS; b++) {
        for (cube *c = set[b], *next; c; c = next) {
            next = c->next;
            if (c->merged) {
                cube_free(c);
                continue;
            }
            for (uint32_t sub = c->free_bits;; sub = (sub - 1) & c->free_bits) {
                term_add(c, c->value | sub);
                if (!sub) break;
            }
            c->next = primes;
            primes = c;
        }
        set[b] = NULL;
    }
    return primes;
}

static size_t gain(const cube *c) {
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++) n += !covered[c->terms[i]];
    return n;
}

// Takes the implicant that covers most of what is left, until nothing is.
static uint64_t cover(cube *primes, uint32_t inputs) {
    uint64_t taken = 0;
    memset(covered, 0, sizeof covered);
    for (;;) {
        cube *best = NULL;
        size_t most = 0;
        for (cube *c = primes; c; c = c->next) {
            size_t n = c->count > most ? gain(c) : 0;
            if (n > most) most = n, best = c;
        }
        if (!best) break;
        for (size_t i = 0; i < best->count; i++) covered[best->terms[i]] = true;
        taken++;
    }
    if (memcmp(covered, function, (size_t)1 << inputs) != 0) abort();
    return taken;
}

int main(int argc, char **argv) {
    uint32_t inputs = (uint32_t)bench_option(argc, argv, "inputs", 10);
    long functions = bench_option(argc, argv, "functions", 120);
    uint64_t seed = 11, check = 0;
    if (inputs > INPUTS_MAX) return 1;
    for (long f = 0; f < functions; f++) {
        for (uint32_t term = 0; term < 1u << inputs; term++) {
            function[term] = bench_below(&seed, 8) < 6;
            if (function[term]) cube_add(sets[0], term, 0);
        }
        cube *primes = NULL;
        for (uint32_t level = 0; level <= inputs; level++) {
            merge(sets[level % 2], sets[(level + 1) % 2], inputs);
            primes = primes_take(sets[level % 2], primes);
        }
        check += cover(primes, inputs);
        for (cube *next; primes; primes = next) {
            next = primes->next;
            cube_free(primes);
            check++;
        }
    }
    return bench_finish(check);
}
