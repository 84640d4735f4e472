/* Question: a tokenizer and a hash map of strings, the way log and text tools are written: every
 * token is copied to the heap, looked up in a chained map that doubles as it grows, counted, and
 * freed when it was there already; from time to time rare words are dropped.
 *
 * A made-up text of `tokens` tokens with a long tail is read `rounds` times; the check value sums
 * counts and lengths. */
#include "bench.h"
#include "peer.h"

typedef struct entry {
    struct entry *next;
    char *word;
    uint32_t hash;
    uint32_t count;
} entry;

typedef struct map {
    entry **buckets;
    size_t mask;
    size_t used;
} map;

static char *text_make(size_t tokens, size_t *length) {
    uint64_t seed = 7;
    char *text = bench_map(tokens * 24);
    size_t at = 0;
    for (size_t i = 0; i < tokens; i++) {
        size_t range = (size_t)2 << bench_below(&seed, 17); // small numbers are frequent
        uint64_t word = bench_below(&seed, range) * 0x9e3779b97f4a7c15u;
        size_t letters = 2 + (size_t)(word % 17);
        for (size_t k = 0; k < letters; k++, word = word >> 3 | word << 61)
            text[at++] = (char)('a' + word % 26);
        text[at++] = i % 11 == 10 ? '\n' : ' ';
    }
    *length = at;
    return text;
}

static char *word_copy(const char *from, size_t length) {
    char *word = bench_malloc(length + 1);
    memcpy(word, from, length);
    word[length] = 0;
    return word;
}

static uint32_t word_hash(const char *word) {
    uint32_t h = 2166136261u;
    for (; *word; word++) h = (h ^ (unsigned char)*word) * 16777619u;
    return h;
}

static void map_grow(map *m) {
    size_t size = (m->mask + 1) * 2;
    entry **buckets = bench_calloc(size, sizeof *buckets);
    for (size_t i = 0; i <= m->mask; i++) {
        for (entry *e = m->buckets[i], *next; e; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (size - 1)];
            buckets[e->hash & (size - 1)] = e;
        }
    }
    bench_free(m->buckets);
    m->buckets = buckets;
    m->mask = size - 1;
}

// Takes the word: it becomes a key, or is freed.
static void map_count(map *m, char *word) {
    uint32_t hash = word_hash(word);
    for (entry *e = m->buckets[hash & m->mask]; e; e = e->next) {
        if (e->hash == hash && strcmp(e->word, word) == 0) {
            e->count++;
            bench_free(word);
            return;
        }
    }
    if (m->used > m->mask) map_grow(m);
    entry *e = bench_malloc(sizeof *e);
    entry **bucket = &m->buckets[hash & m->mask];
    *e = (entry){*bucket, word, hash, 1};
    *bucket = e;
    m->used++;
}

static uint64_t map_drop(map *m, uint32_t below) {
    uint64_t sum = 0;
    for (size_t i = 0; i <= m->mask; i++) {
        for (entry **link = &m->buckets[i], *e; (e = *link) != NULL;) {
            if (e->count >= below) {
                link = &e->next;
                continue;
            }
            *link = e->next;
            sum += e->count * strlen(e->word);
            bench_free(e->word);
            bench_free(e);
            m->used--;
        }
    }
    return sum;
}

static uint64_t count_text(map *m, const char *text, size_t length) {
    uint64_t dropped = 0;
    size_t start = 0;
    size_t seen = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] != ' ' && text[i] != '\n') continue;
        map_count(m, word_copy(text + start, i - start));
        start = i + 1;
        if (++seen % 100000 == 0) dropped += map_drop(m, 2);
    }
    return dropped;
}

int main(int argc, char **argv) {
    size_t tokens = (size_t)bench_option(argc, argv, "tokens", 250000);
    size_t rounds = (size_t)bench_option(argc, argv, "rounds", 10);
    size_t length;
    uint64_t check = 0;
    const char *text = text_make(tokens, &length);
    map m = {bench_calloc(16, sizeof *m.buckets), 15, 0};
    for (size_t r = 0; r < rounds; r++) check += count_text(&m, text, length);
    check += map_drop(&m, UINT32_MAX);
    bench_free(m.buckets);
    return bench_finish(check);
}
