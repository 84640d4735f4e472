/* Question: nothing but malloc and free of many sizes in one thread: groups of blocks of one size
 * allocated and freed in order and in reverse, and a table of blocks of random sizes replaced at
 * random (sizes up to 4 KiB, small ones far more frequent). The first and last byte of each block
 * is written.
 *
 * `rounds` rounds; the check value counts the bytes. */
#include "bench.h"
#include "peer.h"

enum { TABLE = 4096, GROUP = 1600 };

typedef struct block {
    char *bytes;
    size_t size;
} block;

static block table[TABLE];
static char *group[GROUP];

static char *block_make(size_t size) {
    char *p = bench_malloc(size);
    p[0] = 1;
    p[size - 1] = 1;
    return p;
}

static uint64_t groups(size_t size) {
    static const size_t counts[] = {25, 100, 400, GROUP};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        size_t n = counts[c];
        for (size_t i = 0; i < n; i++) group[i] = block_make(size);
        for (size_t i = 0; i < n; i++) bench_free(group[i]);
        for (size_t i = 0; i < n; i++) group[i] = block_make(size);
        for (size_t i = n; i-- > 0;) bench_free(group[i]);
    }
    return size;
}

static uint64_t replace(uint64_t *seed, size_t times) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < times; i++) {
        block *b = &table[bench_below(seed, TABLE)];
        bench_free(b->bytes);
        b->size = 1 + bench_below(seed, (size_t)16 << bench_below(seed, 9));
        b->bytes = block_make(b->size);
        bytes += b->size;
    }
    return bytes;
}

int main(int argc, char **argv) {
    size_t rounds = (size_t)bench_option(argc, argv, "rounds", 40);
    uint64_t seed = 11;
    uint64_t check = 0;
    for (size_t r = 0; r < rounds; r++) {
        for (size_t size = 16; size <= 1024; size *= 2) check += groups(size + r % 3 * 8);
        check += replace(&seed, 150000);
    }
    for (size_t i = 0; i < TABLE; i++) bench_free(table[i].bytes);
    return bench_finish(check);
}
