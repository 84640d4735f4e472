/* Question: arithmetic on tiny short-lived objects. Pollard's rho factors the product of two primes
 * with big integers that are immutable values on the heap: each operation allocates its result (16
 * to 48 bytes) and frees its arguments, and few are alive at a time.
 *
 * `numbers` times a composite is factored; the check value is the sum of the factors found. */
#include "bench.h"
#include "peer.h"

typedef struct number {
    uint32_t count;   // limbs in use, no leading zeros
    uint32_t limbs[]; // least significant first
} number;

static number *number_make(size_t count) {
    number *n = bench_malloc(sizeof(number) + (count ? count : 1) * sizeof(uint32_t));
    n->count = (uint32_t)count;
    return n;
}

static number *number_trim(number *n) {
    while (n->count > 0 && n->limbs[n->count - 1] == 0) n->count--;
    return n;
}

static number *number_from(uint64_t value) {
    number *n = number_make(2);
    n->limbs[0] = (uint32_t)value;
    n->limbs[1] = (uint32_t)(value >> 32);
    return number_trim(n);
}

static number *number_copy(const number *a) {
    number *n = number_make(a->count);
    memcpy(n->limbs, a->limbs, a->count * sizeof(uint32_t));
    return n;
}

static int number_order(const number *a, const number *b) {
    if (a->count != b->count) return a->count < b->count ? -1 : 1;
    for (size_t i = a->count; i-- > 0;)
        if (a->limbs[i] != b->limbs[i]) return a->limbs[i] < b->limbs[i] ? -1 : 1;
    return 0;
}

static number *number_add_small(const number *a, uint32_t b) {
    number *n = number_make(a->count + 1);
    uint64_t carry = b;
    for (size_t i = 0; i < a->count; i++) {
        carry += a->limbs[i];
        n->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    n->limbs[a->count] = (uint32_t)carry;
    return number_trim(n);
}

// The larger minus the smaller.
static number *number_difference(const number *a, const number *b) {
    if (number_order(a, b) < 0) {
        const number *t = a;
        a = b;
        b = t;
    }
    number *n = number_make(a->count);
    int64_t borrow = 0;
    for (size_t i = 0; i < a->count; i++) {
        int64_t d = (int64_t)a->limbs[i] - (i < b->count ? b->limbs[i] : 0) + borrow;
        n->limbs[i] = (uint32_t)d;
        borrow = d >> 32;
    }
    return number_trim(n);
}

static number *number_multiply(const number *a, const number *b) {
    number *n = number_make(a->count + b->count);
    memset(n->limbs, 0, n->count * sizeof(uint32_t));
    for (size_t i = 0; i < a->count; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < b->count; j++) {
            carry += (uint64_t)a->limbs[i] * b->limbs[j] + n->limbs[i + j];
            n->limbs[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        n->limbs[i + b->count] = (uint32_t)carry;
    }
    return number_trim(n);
}

static number *number_shift_left(const number *a, unsigned bits) {
    number *n = number_make(a->count + 1);
    uint64_t carry = 0;
    for (size_t i = 0; i < a->count; i++) {
        carry |= (uint64_t)a->limbs[i] << bits;
        n->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    n->limbs[a->count] = (uint32_t)carry;
    return n;
}

static void number_shift_right(number *a, unsigned bits) {
    for (size_t i = 0; i < a->count; i++) {
        uint64_t pair = a->limbs[i];
        if (i + 1 < a->count) pair |= (uint64_t)a->limbs[i + 1] << 32;
        a->limbs[i] = (uint32_t)(pair >> bits);
    }
}

// One step of long division: subtract the multiple of v that takes u's limb at i to zero.
static void number_reduce(number *u, const number *v, size_t i) {
    size_t n = v->count;
    uint64_t top = (uint64_t)u->limbs[i + n] << 32 | u->limbs[i + n - 1];
    uint64_t q = top / v->limbs[n - 1];
    if (q > UINT32_MAX) q = UINT32_MAX;
    int64_t borrow = 0;
    uint64_t carry = 0;
    for (size_t j = 0; j < n; j++) {
        carry += q * v->limbs[j];
        int64_t d = (int64_t)u->limbs[i + j] - (int64_t)(uint32_t)carry + borrow;
        u->limbs[i + j] = (uint32_t)d;
        borrow = d >> 32;
        carry >>= 32;
    }
    int64_t d = (int64_t)u->limbs[i + n] - (int64_t)carry + borrow;
    u->limbs[i + n] = (uint32_t)d;
    while (u->limbs[i + n] != 0) { // q was too large: at most twice
        carry = 0;
        for (size_t j = 0; j < n; j++) {
            carry += (uint64_t)u->limbs[i + j] + v->limbs[j];
            u->limbs[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        u->limbs[i + n] += (uint32_t)carry;
    }
}

static number *number_remainder(const number *a, const number *b) {
    if (number_order(a, b) < 0) return number_copy(a);
    unsigned shift = (unsigned)__builtin_clz(b->limbs[b->count - 1]);
    number *u = number_shift_left(a, shift);
    number *v = number_trim(number_shift_left(b, shift));
    for (size_t i = u->count - v->count; i-- > 0;) number_reduce(u, v, i);
    number_shift_right(u, shift);
    bench_free(v);
    return number_trim(u);
}

static number *number_gcd(const number *a, const number *b) {
    number *x = number_copy(a);
    number *y = number_copy(b);
    while (y->count > 0) {
        number *r = number_remainder(x, y);
        bench_free(x);
        x = y;
        y = r;
    }
    bench_free(y);
    return x;
}

// (a * b) mod n; frees a when it is told to.
static number *number_product(number *a, const number *b, const number *n, bool release) {
    number *p = number_multiply(a, b);
    number *r = number_remainder(p, n);
    bench_free(p);
    if (release) bench_free(a);
    return r;
}

static number *rho_step(number *x, uint32_t c, const number *n) {
    number *square = number_product(x, x, n, true);
    number *sum = number_add_small(square, c);
    number *r = number_remainder(sum, n);
    bench_free(square);
    bench_free(sum);
    return r;
}

static uint64_t rho(const number *n, uint32_t c) {
    number *slow = number_from(2);
    number *fast = number_from(2);
    number *product = number_from(1);
    number *factor = number_from(1);
    while (factor->count == 1 && factor->limbs[0] == 1) {
        for (int i = 0; i < 64; i++) {
            slow = rho_step(slow, c, n);
            fast = rho_step(rho_step(fast, c, n), c, n);
            number *d = number_difference(slow, fast);
            product = number_product(product, d, n, true);
            bench_free(d);
        }
        bench_free(factor);
        factor = number_gcd(product, n);
    }
    uint64_t low = factor->count > 0 ? factor->limbs[0] : 0;
    if (factor->count > 1) low |= (uint64_t)factor->limbs[1] << 32;
    bench_free(slow);
    bench_free(fast);
    bench_free(product);
    bench_free(factor);
    return low;
}

int main(int argc, char **argv) {
    static const uint64_t primes[][2] = {{1073741827, 4294967311},
                                         {2147483659, 8589934609},
                                         {4294967291, 1099511627791},
                                         {2147483629, 17179869209},
                                         {8589934583, 4398046511119}};
    size_t count = sizeof primes / sizeof *primes;
    size_t numbers = (size_t)bench_option(argc, argv, "numbers", 10);
    uint64_t check = 0;
    for (size_t i = 0; i < numbers; i++) {
        number *p = number_from(primes[i % count][0]);
        number *q = number_from(primes[i % count][1]);
        number *n = number_multiply(p, q);
        check += rho(n, (uint32_t)(1 + i / count));
        bench_free(p);
        bench_free(q);
        bench_free(n);
    }
    return bench_finish(check);
}
