/* Question: sorting lines by a key that is built for each: strings of 8 to 200 bytes that live
 * long, and temporary ones that do not, as in a sort with decorated keys and a join of the result.
 *
 * `lines` lines, merge sort over linked nodes, `rounds` times; the check value hashes the result.
  */
#include "bench.h"
#include "peer.h"

typedef struct line {
    struct line *next;
    char *text;
    char *key;
} line;

static char *text_make(uint64_t *seed) {
    size_t length = 8 + bench_below(seed, bench_below(seed, 8) == 0 ? 192 : 56);
    char *text = bench_malloc(length + 1);
    for (size_t i = 0; i < length; i++)
        text[i] = (char)("aAbBcCdDeEfFgGhH 0123"[bench_below(seed, 21)]);
    text[length] = 0;
    return text;
}

// Lower case without blanks.
static char *key_make(const char *text) {
    char *key = bench_malloc(strlen(text) + 1);
    size_t used = 0;
    for (; *text; text++)
        if (*text != ' ') key[used++] = (char)(*text >= 'A' && *text <= 'Z' ? *text + 32 : *text);
    key[used] = 0;
    return key;
}

static line *lines_merge(line *a, line *b) {
    line *head = NULL;
    line **tail = &head;
    while (a && b) {
        line **least = strcmp(a->key, b->key) <= 0 ? &a : &b;
        *tail = *least;
        tail = &(*tail)->next;
        *least = *tail;
    }
    *tail = a ? a : b;
    return head;
}

static line *lines_sort(line *list, size_t count) {
    if (count < 2) {
        if (list) list->next = NULL;
        return list;
    }
    line *middle = list;
    for (size_t i = 0; i < count / 2; i++) middle = middle->next;
    line *right = lines_sort(middle, count - count / 2);
    return lines_merge(lines_sort(list, count / 2), right);
}

// Joins groups of neighbours with the same first letters; frees the list.
static uint64_t lines_join(line *list) {
    uint64_t hash = 0;
    size_t used = 0;
    char *joined = NULL;
    char letter = 0;
    for (line *l = list, *next; l; l = next) {
        next = l->next;
        if (joined && l->key[0] != letter) {
            hash = hash * 31 + (unsigned char)joined[used / 2] + used;
            bench_free(joined);
            joined = NULL;
            used = 0;
        }
        letter = l->key[0];
        size_t length = strlen(l->text);
        joined = bench_realloc(joined, used + length + 1);
        memcpy(joined + used, l->text, length + 1);
        used += length;
        bench_free(l->text);
        bench_free(l->key);
        bench_free(l);
    }
    bench_free(joined);
    return hash + used;
}

int main(int argc, char **argv) {
    size_t lines = (size_t)bench_option(argc, argv, "lines", 20000);
    size_t rounds = (size_t)bench_option(argc, argv, "rounds", 20);
    uint64_t seed = 3;
    uint64_t check = 0;
    for (size_t r = 0; r < rounds; r++) {
        line *list = NULL;
        for (size_t i = 0; i < lines; i++) {
            line *l = bench_malloc(sizeof *l);
            l->text = text_make(&seed);
            l->key = key_make(l->text);
            l->next = list;
            list = l;
        }
        check += lines_join(lines_sort(list, lines));
    }
    return bench_finish(check);
}
