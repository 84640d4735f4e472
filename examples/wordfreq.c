// wordfreq: count the words of files or of standard input, on the collected heap.
//
//     wordfreq [-n TOP] [-m MINLEN] [-r TIMES] [-v] [FILE...]
//
// A program in the style of a garbage-collected language, in C: every line of input is read into
// a new buffer, every word met for the first time is copied, the table grows by building a bigger
// one. Nothing is ever freed. What is no longer reachable (all the old lines, the old tables) is
// found by the collector, so memory stays small however long the input is. Watch it at work:
//
//     GOMEM_DEBUG=gctrace=1 wordfreq -v -r 100 FILE...
//
// A word is a run of letters: a to z in either case, counted as lower case, and every byte from
// 0x80 up, so that words in UTF-8 stay whole.

#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct word {
    struct word *next; // the next word in the same bucket
    const char *text;  // collected string, noscan
    size_t length;     // bytes in text, without its NUL
    uint64_t hash;     // kept, so that growing the table need not read the text
    uint64_t count;    // how often the word was met
};

struct table {
    struct word **buckets; // collected array of lists
    size_t bucket_count;   // a power of two
    size_t words;          // different words
    uint64_t total;        // all words
};

struct line {
    size_t length;   // bytes read
    size_t capacity; // bytes that fit
    char bytes[];    // holds no pointers: the whole object is noscan
};

struct options {
    uint64_t top;        // print this many words
    uint64_t min_length; // ignore words with fewer bytes
    uint64_t times;      // read the input this often
    bool verbose;        // print a summary of memory
};

static const char usage_text[] =
    "usage: wordfreq [-n TOP] [-m MINLEN] [-r TIMES] [-v] [FILE...]\n"
    "Counts the words of the files, or of standard input, and prints the most frequent ones.\n"
    "  -n TOP     print the TOP most frequent words (default 20)\n"
    "  -m MINLEN  ignore words shorter than MINLEN bytes (default 1)\n"
    "  -r TIMES   read the files TIMES times, to simulate a long stream (default 1)\n"
    "  -v         print a summary of memory to standard error\n"
    "  --help     print this\n";

static void *must(void *object) {
    if (object == NULL) {
        fprintf(stderr, "wordfreq: out of memory\n");
        exit(1);
    }
    return object;
}

// -- the table ----------------------------------------------------------------------------------

static struct table table_make(size_t bucket_count) {
    struct table t = {.bucket_count = bucket_count};
    t.buckets = must(GOMEM_MAKE(struct word *, bucket_count));
    return t;
}

// FNV-1a, 64 bits.
static uint64_t hash_bytes(const char *bytes, size_t length) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)bytes[i]) * 1099511628211u;
    return hash;
}

static struct word **table_bucket(const struct table *t, uint64_t hash) {
    return &t->buckets[hash & (t->bucket_count - 1)];
}

// Moves the words into twice as many buckets. The old array is simply forgotten.
static void table_grow(struct table *t) {
    struct table bigger = table_make(t->bucket_count * 2);
    for (size_t i = 0; i < t->bucket_count; i++) {
        for (struct word *w = t->buckets[i], *next; w != NULL; w = next) {
            struct word **bucket = table_bucket(&bigger, w->hash);
            next = w->next;
            w->next = *bucket;
            *bucket = w;
        }
    }
    t->buckets = bigger.buckets;
    t->bucket_count = bigger.bucket_count;
}

// Counts one word. Its text is copied when it is new: the line it lies in will go.
static void table_count(struct table *t, const char *text, size_t length) {
    uint64_t hash = hash_bytes(text, length);
    struct word **bucket = table_bucket(t, hash);
    struct word *w = *bucket;

    while (w != NULL &&
           !(w->hash == hash && w->length == length && memcmp(w->text, text, length) == 0)) {
        w = w->next;
    }
    if (w == NULL) {
        w = must(GOMEM_NEW(struct word));
        w->text = must(gomem_new_string(text, length));
        w->length = length;
        w->hash = hash;
        w->next = *bucket;
        *bucket = w;
        if (++t->words > t->bucket_count) table_grow(t);
    }
    w->count++;
    t->total++;
}

// -- reading ------------------------------------------------------------------------------------

static struct line *line_make(size_t capacity) {
    struct line *l = must(GOMEM_NEW_FLEX_NOSCAN(struct line, bytes, capacity));
    l->capacity = capacity;
    return l;
}

static struct line *line_append(struct line *l, char byte) {
    if (l->length == l->capacity) {
        struct line *longer = line_make(l->capacity * 2);
        memcpy(longer->bytes, l->bytes, l->length);
        longer->length = l->length;
        l = longer;
    }
    l->bytes[l->length++] = byte;
    return l;
}

// Reads one line into a new buffer; NULL at the end of the file.
static struct line *line_read(FILE *in) {
    int byte = getc(in);
    if (byte == EOF) return NULL;
    struct line *l = line_make(120);
    for (; byte != EOF && byte != '\n'; byte = getc(in)) l = line_append(l, (char)byte);
    return l;
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static char lower_case(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static void count_line(struct table *t, struct line *l, size_t min_length) {
    size_t i = 0;
    while (i < l->length) {
        size_t start = i;
        for (; i < l->length && is_letter(l->bytes[i]); i++) {
            l->bytes[i] = lower_case(l->bytes[i]);
        }
        if (i > start && i - start >= min_length) table_count(t, l->bytes + start, i - start);
        if (i == start) i++;
    }
}

static bool count_stream(struct table *t, FILE *in, const char *name, size_t min_length) {
    struct line *l;
    while ((l = line_read(in)) != NULL) count_line(t, l, min_length);
    if (!ferror(in)) return true;
    fprintf(stderr, "wordfreq: cannot read %s: %s\n", name, strerror(errno));
    return false;
}

static bool count_file(struct table *t, const char *name, size_t min_length) {
    FILE *in = fopen(name, "rb");
    if (in == NULL) {
        fprintf(stderr, "wordfreq: cannot open %s: %s\n", name, strerror(errno));
        return false;
    }
    bool ok = count_stream(t, in, name, min_length);
    fclose(in);
    return ok;
}

// -- printing -----------------------------------------------------------------------------------

// Most frequent first, then by the bytes of the text.
static int compare_words(const void *left, const void *right) {
    const struct word *a = *(struct word *const *)left;
    const struct word *b = *(struct word *const *)right;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

static struct word **sorted_words(const struct table *t) {
    struct word **words = must(GOMEM_MAKE(struct word *, t->words));
    size_t n = 0;
    for (size_t i = 0; i < t->bucket_count; i++) {
        for (struct word *w = t->buckets[i]; w != NULL; w = w->next) words[n++] = w;
    }
    qsort(words, n, sizeof(*words), compare_words);
    return words;
}

static void print_top(const struct table *t, uint64_t top) {
    struct word **words = sorted_words(t);
    uint64_t n = top < t->words ? top : t->words;
    int width = n > 0 ? snprintf(NULL, 0, "%" PRIu64, words[0]->count) : 0;
    for (uint64_t i = 0; i < n; i++) {
        printf("%*" PRIu64 "  %s\n", width, words[i]->count, words[i]->text);
    }
}

// Writes a number of bytes for people, such as "3.2 MiB".
static const char *human(uint64_t bytes, char text[32]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double amount = (double)bytes;
    size_t unit = 0;
    while (amount >= 1024 && unit < 4) {
        amount /= 1024;
        unit++;
    }
    snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.1f %s", amount, units[unit]);
    return text;
}

static void print_memory(const struct table *t) {
    gomem_memstats m = {.size = sizeof(m)};
    char allocated[32], live[32], mapped[32];
    gomem_read_memstats(&m);
    fprintf(stderr,
            "words      %" PRIu64 ", %zu different\n"
            "allocated  %s in all, %s live at the end\n"
            "system     %s taken from the system\n"
            "collector  %" PRIu64 " cycles, %.2f ms of pauses in all, the longest %.2f ms\n",
            t->total, t->words, human(m.total_alloc, allocated), human(m.heap_alloc, live),
            human(m.sys - m.heap_released, mapped), m.num_gc, (double)m.pause_total_ns / 1e6,
            (double)m.pause_max_ns / 1e6);
}

// -- the command line ---------------------------------------------------------------------------

static _Noreturn void usage_error(const char *what, const char *which) {
    fprintf(stderr, "wordfreq: %s: %s\n%s", what, which, usage_text);
    exit(2);
}

static uint64_t parse_number(const char *option, const char *text) {
    char *end;
    errno = 0;
    if (text == NULL) usage_error("option needs a number", option);
    uint64_t number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        usage_error("not a number", text);
    }
    return number;
}

// Returns the index of the first file.
static int parse_options(struct options *o, int argc, char **argv) {
    int i = 1;
    for (; i < argc && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--help") == 0) {
            fputs(usage_text, stdout);
            exit(0);
        }
        if (strcmp(option, "--") == 0) return i + 1;
        if (strcmp(option, "-v") == 0) {
            o->verbose = true;
        } else if (strcmp(option, "-n") == 0) {
            o->top = parse_number(option, argv[++i]);
        } else if (strcmp(option, "-m") == 0) {
            o->min_length = parse_number(option, argv[++i]);
        } else if (strcmp(option, "-r") == 0) {
            o->times = parse_number(option, argv[++i]);
        } else {
            usage_error("unknown option", option);
        }
    }
    return i;
}

int main(int argc, char **argv) {
    struct options o = {.top = 20, .min_length = 1, .times = 1};
    int first = parse_options(&o, argc, argv);
    struct table t = table_make(1024);
    bool ok = true;

    if (first == argc && o.times != 1) usage_error("needs files, not standard input", "-r");
    if (first == argc) ok = count_stream(&t, stdin, "standard input", o.min_length);
    for (uint64_t round = 0; round < o.times; round++) {
        for (int i = first; i < argc; i++) {
            bool counted = count_file(&t, argv[i], o.min_length);
            ok = ok && counted;
        }
    }
    print_top(&t, o.top);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "wordfreq: cannot write: %s\n", strerror(errno));
        ok = false;
    }
    if (o.verbose) print_memory(&t);
    return ok ? 0 : 1;
}
