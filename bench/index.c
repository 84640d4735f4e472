/* Question: a text index. Documents of words at frequencies like those of a language come and go:
 * each word has an entry in a hash table and a list of documents that grows by realloc, each
 * document a copy of its text. Queries intersect two lists into a new block.
 *
 * `documents` documents, of which `alive` are kept; a query after each. The check value is the number
 * of documents found; at the end each is looked for by a word of its own. */
#include "bench.h"
#include "peer.h"

enum { BUCKETS = 1 << 15, WORDS = 60000, ALIVE_MAX = 1 << 16 };

typedef struct entry {
    struct entry *next;
    uint32_t *documents; // ascending numbers
    size_t count, room;
    char word[]; // with its NUL
} entry;

typedef struct document {
    size_t words;
    char *text;
    entry **entries;
} document;

static entry *table[BUCKETS];
static document *alive[ALIVE_MAX];

static entry *entry_of(const char *word, size_t length) {
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < length; i++) h = (h ^ (unsigned char)word[i]) * 16777619u;
    entry **at = &table[(h ^ h >> 15) % BUCKETS];
    for (; *at; at = &(*at)->next)
        if (strncmp((*at)->word, word, length) == 0 && !(*at)->word[length]) return *at;
    entry *e = bench_malloc(sizeof *e + length + 1);
    *e = (entry){0};
    memcpy(e->word, word, length);
    e->word[length] = 0;
    return *at = e;
}

static void entry_add(entry *e, uint32_t number) {
    if (e->count && e->documents[e->count - 1] == number) return;
    if (e->count == e->room) {
        e->room = e->room ? e->room + e->room / 2 + 1 : 2;
        e->documents = bench_realloc(e->documents, e->room * sizeof *e->documents);
    }
    e->documents[e->count++] = number;
}

static size_t entry_find(const entry *e, uint32_t number) {
    size_t low = 0, high = e->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (e->documents[middle] < number) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void entry_remove(entry *e, uint32_t number) {
    size_t at = entry_find(e, number);
    if (at == e->count || e->documents[at] != number) return;
    memmove(&e->documents[at], &e->documents[at + 1], (--e->count - at) * sizeof *e->documents);
    if (e->count) return;
    bench_free(e->documents);
    e->documents = NULL;
    e->room = 0;
}

// The text's length; words of few letters are frequent. The first word is the document's own.
static size_t text_write(char *text, uint32_t number, uint64_t *seed) {
    size_t words = 20 + bench_below(seed, 120), length = 0;
    length += (size_t)sprintf(text, "d%u", number);
    while (words-- > 0) {
        size_t rank = bench_below(seed, WORDS);
        rank = rank * rank / WORDS * rank / WORDS;
        text[length++] = ' ';
        for (size_t n = rank + 26; n; n /= 26) text[length++] = (char)('a' + n % 26);
    }
    text[length] = 0;
    return length;
}

static document *document_make(uint32_t number, uint64_t *seed) {
    char line[2048];
    size_t length = text_write(line, number, seed), room = 0;
    document *d = BENCH_MALLOC(document);
    *d = (document){0};
    d->text = bench_malloc(length + 1);
    memcpy(d->text, line, length + 1);
    for (char *word = d->text; *word; word += *word == ' ') {
        size_t n = strcspn(word, " ");
        if (d->words == room) {
            room = room ? 2 * room : 8;
            d->entries = bench_realloc(d->entries, room * sizeof(entry *));
        }
        entry_add(d->entries[d->words++] = entry_of(word, n), number);
        word += n;
    }
    return d;
}

static void document_free(document *d, uint32_t number) {
    for (size_t i = 0; i < d->words; i++) entry_remove(d->entries[i], number);
    bench_free(d->entries);
    bench_free(d->text);
    BENCH_FREE(document, d);
}

static uint64_t query(const entry *a, const entry *b) {
    uint32_t *found = bench_malloc((a->count + 1) * sizeof *found);
    size_t count = 0;
    for (size_t i = 0; i < a->count; i++) {
        size_t at = entry_find(b, a->documents[i]);
        if (at < b->count && b->documents[at] == a->documents[i]) found[count++] = a->documents[i];
    }
    uint64_t sum = count ? count + found[count - 1] % 7 : 0;
    bench_free(found);
    return sum;
}

static void table_free(void) {
    for (size_t b = 0; b < BUCKETS; b++) {
        for (entry *e = table[b], *next; e; e = next) {
            next = e->next;
            bench_free(e->documents);
            bench_free(e);
        }
    }
}

int main(int argc, char **argv) {
    uint32_t documents = (uint32_t)bench_option(argc, argv, "documents", 40000);
    uint32_t keep = (uint32_t)bench_option(argc, argv, "alive", 12000);
    uint64_t seed = 9, check = 0;
    if (keep > ALIVE_MAX || keep > documents) return 1;
    for (uint32_t n = 0; n < documents; n++) {
        document **d = &alive[n % keep];
        if (*d) document_free(*d, n - keep);
        *d = document_make(n, &seed);
        check += query((*d)->entries[1], (*d)->entries[(*d)->words - 1]);
    }
    for (uint32_t n = documents - keep; n < documents; n++) {
        char own[16];
        entry *e = entry_of(own, (size_t)sprintf(own, "d%u", n));
        if (e->count != 1 || e->documents[0] != n) abort();
        document_free(alive[n % keep], n);
    }
    table_free();
    return bench_finish(check);
}
