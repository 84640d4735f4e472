/* Question: small nodes that live from a few steps to a few thousand. An incremental sieve factors
 * every number up to `limit`: each prime waits in the list of its next multiple, in a node that is
 * freed when the number is reached, and a new one waits at the multiple after it. The
 * factorizations, lists of a node for each prime power, are kept for `keep` numbers.
 *
 * The check value is the sum of all prime factors; each factorization is multiplied out again
 * before it is freed. */
#include "bench.h"
#include "peer.h"

enum { WINDOW = 1 << 13, KEEP_MAX = 1 << 20 };

typedef struct waiting {
    struct waiting *next;
    uint32_t prime;
} waiting;

typedef struct power {
    struct power *next;
    uint64_t prime;
    uint32_t exponent;
} power;

static waiting *multiples[WINDOW]; // by number modulo WINDOW, which is more than the largest prime
static power *kept[KEEP_MAX];

static void wait_at(uint64_t number, uint32_t prime) {
    waiting *w = BENCH_MALLOC(waiting);
    w->prime = prime;
    w->next = multiples[number % WINDOW];
    multiples[number % WINDOW] = w;
}

static power *power_add(power *list, uint64_t prime, uint32_t exponent) {
    power *p = BENCH_MALLOC(power);
    p->prime = prime;
    p->exponent = exponent;
    p->next = list;
    return p;
}

// The primes that wait for n move on; what they leave of it is 1 or a prime.
static power *factor(uint64_t n, uint64_t root) {
    waiting *w = multiples[n % WINDOW];
    multiples[n % WINDOW] = NULL;
    power *list = NULL;
    uint64_t rest = n;
    while (w) {
        uint32_t exponent = 0;
        for (; rest % w->prime == 0; rest /= w->prime) exponent++;
        list = power_add(list, w->prime, exponent);
        wait_at(n + w->prime, w->prime);
        waiting *next = w->next;
        BENCH_FREE(waiting, w);
        w = next;
    }
    if (rest == n && n <= root) wait_at(2 * n, (uint32_t)n);
    return rest > 1 ? power_add(list, rest, 1) : list;
}

static uint64_t power_free(power *list, uint64_t n) {
    uint64_t sum = 0, product = 1;
    while (list) {
        power *next = list->next;
        for (uint32_t i = 0; i < list->exponent; i++) product *= list->prime;
        sum += list->prime * list->exponent;
        BENCH_FREE(power, list);
        list = next;
    }
    if (product != n) abort();
    return sum;
}

int main(int argc, char **argv) {
    uint64_t limit = (uint64_t)bench_option(argc, argv, "limit", 4000000);
    uint64_t keep = (uint64_t)bench_option(argc, argv, "keep", 200000), root = 1, check = 0;
    while (root * root < limit) root++;
    if (root >= WINDOW || keep > KEEP_MAX || keep + 2 > limit) return 1;
    for (uint64_t n = 2; n <= limit; n++) {
        if (n >= keep + 2) check += power_free(kept[n % keep], n - keep);
        kept[n % keep] = factor(n, root);
    }
    for (uint64_t n = limit - keep + 1; n <= limit; n++) check += power_free(kept[n % keep], n);
    for (size_t i = 0; i < WINDOW; i++) {
        for (waiting *w = multiples[i], *next; w; w = next) {
            next = w->next;
            BENCH_FREE(waiting, w);
        }
    }
    return bench_finish(check);
}
