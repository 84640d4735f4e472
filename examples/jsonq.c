// jsonq: answer path queries about JSON from files or standard input, which is parsed into an arena.
//
//     jsonq [-c] [-r] [-t] [-j N] PATH [FILE...]
//
// PATH is a sequence of .name, ["any name"], [3] (from the end: [-1]) and [] (all members or
// elements); . alone is the document. Each match is printed on a line, as JSON without blanks. Several
// documents in one input are queried one after the other; none is answered before it is known to be
// JSON as a whole.
//
// What PATH leads to becomes a tree of nodes in an arena; what it passes by is checked and left where
// it is. A tree goes at once when its document has been answered: nothing is freed node by node, and
// no node is larger for it. Text is not copied: nodes point into the input. Files are mapped, and
// large ones with many documents are parsed by all processors, each with an arena of its own. A
// mapped file can change while it is read: where that is seen, it is an error and no crash.
//
// Built with -DJSONQ_MALLOC the same parser allocates each node by calloc and frees the tree node by
// node, which is what bench/run.py compares it with.

#if !defined _DEFAULT_SOURCE
#define _DEFAULT_SOURCE // MAP_ANONYMOUS, madvise
#endif
#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined __SSE2__
#include <emmintrin.h>
#endif

typedef struct node {
    struct node *next;  // the next element or member
    struct node *first; // of an array or object
    const char *key;    // of a member: in the input, behind its quote
    const char *text;   // in the input: its first character tells what it is
} node;

// The last step leads to `whole`: what lies below a match is taken all, and has no end.
typedef struct step {
    const struct step *next;
    enum { NAME, INDEX, ALL, NOTHING } what;
    const char *name;
    size_t size;
    long index;
} step;

static const step whole = {&whole, ALL, NULL, 0, 0};
static const step nothing = {&nothing, NOTHING, NULL, 0, 0};

enum { DEPTH_MOST = 10000, PIECE = 1 << 20, FLUSH = 1 << 16, THREADS_MOST = 64, STACK = 8 << 20 };
enum { PAD = 1 << 16 }; // zeroes behind each input: a page at least, where it is mapped

typedef struct frame { // an array or object that is being parsed
    node **last;       // where its next node goes
    const step *step;  // that chooses among its elements or members
    long position;     // of the next element
    char closing;
} frame;

typedef struct parser {
    const char *end;              // of the input
    const char *at, *error;       // where, and what; NULL: none
    const char *document;         // where the last one began
    bool more;                    // what lies behind the end is not read yet
    bool live;                    // answers go to standard output, else they stay in `out`
    bool escaped;                 // the last text has escapes
    gomem_arena tree;             // of the document
    char *out;                    // answers
    size_t used, room;            // of out
    uint64_t matches, nodes;      // so far
    frame frames[DEPTH_MOST + 1]; // the first one: of the document itself
} parser;

static struct {
    const step *path;
    bool count, raw, times;
    unsigned threads;
    uint64_t matches, bytes, nodes; // that the parsers counted
} query;

// The file that is mapped. When it is cut off meanwhile, reading what has gone raises SIGBUS; the
// handler puts zeroes there, as they follow every input, and says so here.
static struct {
    char *text;
    size_t size, page;
    volatile sig_atomic_t cut;
} mapped;

static const char usage_text[] =
    "usage: jsonq [-c] [-r] [-t] [-j N] PATH [FILE...]\n"
    "Prints what a path leads to in the JSON documents of the files, or of standard input.\n"
    "  PATH    .name [\"any name\"] [3] [-1] [] in any sequence; . is the whole document\n"
    "  -c      print how many matches there are\n"
    "  -r      print strings as they are, without quotes and escapes\n"
    "  -t      print time and speed to standard error\n"
    "  -j N    parse large files on N threads (default: one per processor)\n"
    "  -h, --help  print this\n";

static _Noreturn void die(const char *what) {
    fprintf(stderr, "jsonq: %s\n", what);
    exit(1);
}

static void flush(void) {
    if (fflush(stdout) != 0 || ferror(stdout)) die("cannot write");
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// ---- parsers ----

static parser *parser_new(void) {
    parser *p = gomem_calloc(1, sizeof *p);
    if (!p) die("out of memory");
    return p;
}

// What a parser answered and counted since the last time goes out.
static void deliver(parser *p) {
    if (p->used && fwrite(p->out, 1, p->used, stdout) != p->used) die("cannot write");
    query.matches += p->matches;
    query.nodes += p->nodes;
    p->used = 0;
    p->matches = p->nodes = 0;
}

static void parser_free(parser *p) {
    gomem_arena_free(&p->tree);
    gomem_free(p->out);
    gomem_free(p);
}

static node *node_new(parser *p) {
#if defined JSONQ_MALLOC
    node *n = calloc(1, sizeof *n);
#else
    node *n = GOMEM_ARENA_NEW(&p->tree, node);
#endif
    if (!n) die("out of memory");
    p->nodes++;
    return n;
}

static void tree_drop(parser *p, node *n) {
#if defined JSONQ_MALLOC
    while (n) {
        node *next = n->next;
        tree_drop(p, n->first);
        free(n);
        n = next;
    }
#else
    (void)n;
    gomem_arena_reset(&p->tree);
#endif
}

// ---- scanning: nothing looks for the end of the input, since zeroes follow it ----

static const char *fail(parser *p, const char *at, const char *what) {
    p->at = at;
    p->error = what;
    return NULL;
}

static bool is_digit(char c) { return (unsigned char)(c - '0') < 10; }

static bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static const char *many_blanks(const char *at) {
#if defined __SSE2__
    for (;; at += 16) {
        __m128i v = _mm_loadu_si128((const void *)at);
        __m128i space = _mm_cmpeq_epi8(v, _mm_set1_epi8(' '));
        __m128i line = _mm_cmpeq_epi8(v, _mm_set1_epi8('\n'));
        __m128i tab = _mm_cmpeq_epi8(v, _mm_set1_epi8('\t'));
        __m128i back = _mm_cmpeq_epi8(v, _mm_set1_epi8('\r'));
        __m128i any = _mm_or_si128(_mm_or_si128(space, line), _mm_or_si128(tab, back));
        unsigned others = ~(unsigned)_mm_movemask_epi8(any) & 0xffff;
        if (others) return at + __builtin_ctz(others);
    }
#else
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') at++;
    return at;
#endif
}

// Most often there is none, or one.
static inline const char *blanks(const char *at) {
    if ((unsigned char)*at > ' ') return at;
    if (*at == ' ' && (unsigned char)at[1] > ' ') return at + 1;
    return many_blanks(at);
}

// The first character that ends a text or is no plain part of it.
static inline const char *plain_end(const char *at) {
#if defined __SSE2__
    for (;; at += 16) {
        __m128i v = _mm_loadu_si128((const void *)at);
        __m128i quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
        __m128i escape = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
        __m128i any = _mm_or_si128(_mm_or_si128(quote, escape), control);
        unsigned found = (unsigned)_mm_movemask_epi8(any);
        if (found) return at + __builtin_ctz(found);
    }
#else
    while ((unsigned char)*at >= 0x20 && *at != '"' && *at != '\\') at++;
    return at;
#endif
}

// From behind a backslash.
static const char *escape_end(parser *p, const char *at) {
    int n = 1;
    if (*at == 'u') {
        while (n < 5 && is_hex(at[n])) n++;
        if (n == 5) return at + 5;
        if (at + n < p->end) return fail(p, at, "\\u needs four hexadecimal digits");
    } else if (*at && strchr("\"\\/bfnrt", *at)) {
        return at + 1;
    } else if (at < p->end) {
        return fail(p, at, "an unknown escape in a string");
    }
    return fail(p, p->end, "a string does not end");
}

// From a text's first character that is not plain.
static const char *odd_text_end(parser *p, const char *at) {
    while (*at != '"') {
        if (*at != '\\')
            return fail(p, at,
                        at < p->end ? "a control character in a string" : "a string does not end");
        p->escaped = true;
        at = escape_end(p, at + 1);
        if (!at) return NULL;
        at = plain_end(at);
    }
    return at + 1;
}

// From behind the opening quote to behind the closing one.
static inline const char *text_end(parser *p, const char *at) {
    at = plain_end(at);
    return *at == '"' ? at + 1 : odd_text_end(p, at);
}

static inline const char *digits_end(const char *at) {
    while (is_digit(*at)) at++;
    return at;
}

static const char *number_end(parser *p, const char *at) {
    if (*at == '-') at++;
    if (!is_digit(*at)) return fail(p, at, "a number needs digits");
    at = *at == '0' ? at + 1 : digits_end(at);
    if (is_digit(*at)) return fail(p, at, "a number begins with 0");
    if (*at == '.') {
        at++;
        if (!is_digit(*at)) return fail(p, at, "a number needs digits behind its point");
        at = digits_end(at);
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        if (*at == '+' || *at == '-') at++;
        if (!is_digit(*at)) return fail(p, at, "an exponent needs digits");
        at = digits_end(at);
    }
    return at;
}

static const char *word_end(parser *p, const char *at) {
    if (!memcmp(at, "true", 4) || !memcmp(at, "null", 4)) return at + 4;
    if (!memcmp(at, "false", 5)) return at + 5;
    return fail(p, at, "a value is expected");
}

// A value that is neither array nor object.
static inline const char *scalar_end(parser *p, const char *at) {
    if (*at == '"') return text_end(p, at + 1);
    return *at == '-' || is_digit(*at) ? number_end(p, at) : word_end(p, at);
}

// ---- escapes ----

static uint32_t hex4(const char *s) {
    char text[5] = {s[0], s[1], s[2], s[3], 0};
    return (uint32_t)strtoul(text, NULL, 16);
}

static unsigned utf8(uint32_t c, char *to) {
    unsigned n = 0;
    if (c < 0x80) {
        to[n++] = (char)c;
        return n;
    }
    if (c >= 0x10000) {
        to[n++] = (char)(0xf0 | c >> 18);
        to[n++] = (char)(0x80 | (c >> 12 & 63));
    } else if (c >= 0x800) {
        to[n++] = (char)(0xe0 | c >> 12);
    }
    to[n++] = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 63) : 0xc0 | c >> 6);
    to[n++] = (char)(0x80 | (c & 63));
    return n;
}

// What the escape at *at means; *at moves behind it. Half of a pair of surrogates becomes U+FFFD.
static unsigned unescape(const char **at, char *to) {
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    const char *s = *at + 1, *name = strchr(names, *s);
    *at = s + 1;
    if (*s != 'u') {
        *to = name ? values[name - names] : *s;
        return 1;
    }
    uint32_t c = hex4(s + 1);
    *at = s + 5;
    if (c >> 10 == 0x36 && s[5] == '\\' && s[6] == 'u' && hex4(s + 7) >> 10 == 0x37) {
        c = 0x10000 + ((c & 0x3ff) << 10) + (hex4(s + 7) & 0x3ff);
        *at = s + 11;
    }
    return utf8(c >> 11 == 0x1b ? 0xfffd : c, to);
}

// Whether a name with escapes is the one that a step asks for.
static bool same_unescaped(const char *key, const char *end, const step *s) {
    size_t done = 0;
    while (key < end) {
        char piece[4];
        unsigned n = 1;
        if (*key == '\\') n = unescape(&key, piece);
        else *piece = *key++;
        if (s->size - done < n || memcmp(s->name + done, piece, n) != 0) return false;
        done += n;
    }
    return done == s->size;
}

// ---- parsing ----

// How the path goes on below a member, or an element.
static inline const step *into_member(const parser *p, const step *s, const char *key,
                                      const char *end) {
    size_t size = (size_t)(end - key);
    if (s->what != NAME) return s->next;
    if (p->escaped) return same_unescaped(key, end, s) ? s->next : &nothing;
    return size == s->size && !memcmp(key, s->name, size) ? s->next : &nothing;
}

static inline const step *into_element(frame *f) {
    const step *s = f->step;
    if (s->what != INDEX || s->index < 0) return s->next; // from the end: when its size is known
    return f->position++ == s->index ? s->next : &nothing;
}

// The document at `at`, and what the path leads to in it; returns its end, or NULL: an error.
static const char *parse(parser *p, const char *at, node **document) {
    frame *f = p->frames;
    const step *s = query.path; // what of the next value is taken
    const char *key = NULL;     // of the next value
    node *n;
    f->last = document;

value:
    n = NULL;
    if (s != &nothing) {
        n = node_new(p);
        n->key = key;
        n->text = at;
        *f->last = n;
        f->last = &n->next;
    }
    if (*at != '{' && *at != '[') {
        at = scalar_end(p, at);
        if (!at) return NULL;
        goto after_value;
    }
    if (f == p->frames + DEPTH_MOST) return fail(p, at, "nested too deeply");
    f++;
    f->last = n ? &n->first : NULL;
    f->step = s->what == (*at == '{' ? INDEX : NAME) ? &nothing : s;
    f->position = 0;
    f->closing = *at == '{' ? '}' : ']';
    at = blanks(at + 1);
    if (*at != f->closing) goto member_or_element;

close:
    at++;
    f--;

after_value:
    if (f == p->frames) return at;
    at = blanks(at);
    if (*at == ',') {
        at = blanks(at + 1);
        goto member_or_element;
    }
    if (*at == f->closing) goto close;
    return fail(p, at, f->closing == ']' ? "a comma or ] is expected" : "a comma or } is expected");

member_or_element:
    if (f->closing == ']') {
        key = NULL;
        s = into_element(f);
        goto value;
    }
    if (*at != '"') return fail(p, at, "a name in quotes is expected");
    key = at + 1;
    p->escaped = false;
    at = text_end(p, key);
    if (!at) return NULL;
    s = into_member(p, f->step, key, at - 1);
    at = blanks(at);
    if (*at != ':') return fail(p, at, "a colon is expected");
    at = blanks(at + 1);
    goto value;
}

// ---- printing ----

static char *room_for(parser *p, size_t size) {
    if (p->room - p->used < size) {
        p->room = p->room * 2 + size + FLUSH;
        p->out = gomem_realloc(p->out, p->room);
        if (!p->out) die("out of memory");
    }
    p->used += size;
    return p->out + p->used - size;
}

static void put(parser *p, const char *text, size_t size) {
    if (size) memcpy(room_for(p, size), text, size);
}

// The end is NULL where the file has changed since it was parsed.
static void put_until(parser *p, const char *text, const char *end) {
    if (end) put(p, text, (size_t)(end - text));
}

static void put_character(parser *p, char c) { *room_for(p, 1) = c; }

// A string without its quotes, escapes undone.
static void put_raw(parser *p, const char *at) {
    const char *end = text_end(p, at);
    while (end && at < end - 1) {
        char piece[4];
        const char *plain = at;
        at = plain_end(at); // an escape, or the closing quote
        put(p, plain, (size_t)(at - plain));
        if (at < end - 1) put(p, piece, unescape(&at, piece));
    }
}

static void put_value(parser *p, const node *n) {
    bool array = *n->text == '[';
    if (!array && *n->text != '{') {
        put_until(p, n->text, scalar_end(p, n->text));
        return;
    }
    put_character(p, array ? '[' : '{');
    for (const node *e = n->first; e; e = e->next) {
        if (e != n->first) put_character(p, ',');
        if (!array) {
            put_until(p, e->key - 1, text_end(p, e->key));
            put_character(p, ':');
        }
        put_value(p, e);
    }
    put_character(p, array ? ']' : '}');
}

// ---- answers ----

static void answer(parser *p, const node *n, const step *s) {
    if (s != &whole) {
        const node *e = n->first;
        long at = 0;
        if (s->what == INDEX && s->index < 0) {
            for (const node *each = e; each; each = each->next) at++;
            for (at += s->index; at > 0; at--) e = e->next;
            if (at == 0 && e) answer(p, e, s->next);
            return;
        }
        for (; e; e = e->next) answer(p, e, s->next);
        return;
    }
    p->matches++;
    if (query.count) return;
    if (query.raw && *n->text == '"') put_raw(p, n->text + 1);
    else put_value(p, n);
    put_character(p, '\n');
}

static bool is_wordy(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("+-._", c));
}

// The end of the document at `at`, which has been answered. NULL: an error, and nothing is answered.
static const char *answer_document(parser *p, const char *at) {
    node *document = NULL;
    uint64_t nodes = p->nodes, matches = p->matches;
    size_t used = p->used;
    const char *end = parse(p, at, &document);
    if (end && !strchr("}]\"", end[-1])) { // a number or word
        if (end == p->end && p->more) end = fail(p, end, "a number or word may go on");
        else if (is_wordy(*end)) end = fail(p, end, "a blank is expected");
    }
    if (end) answer(p, document, query.path);
    if (mapped.cut) end = fail(p, at, "cut off");
    tree_drop(p, document);
    p->document = at;
    if (end) return end;
    p->nodes = nodes; // it may be parsed again
    p->matches = matches;
    p->used = used;
    return NULL;
}

// Answers the documents that begin before `stop`. Where the next one begins; NULL: an error.
static const char *answer_documents(parser *p, const char *at, const char *stop) {
    for (at = blanks(at); at < stop; at = blanks(at)) {
        at = answer_document(p, at);
        if (!at) return NULL;
        if (p->live && p->used >= FLUSH) deliver(p);
    }
    return at;
}

// Counts lines and columns on, from those of `from`.
static void count_lines(const char *from, const char *to, size_t *line, size_t *column) {
    for (const char *end; (end = memchr(from, '\n', (size_t)(to - from))) != NULL; from = end + 1) {
        ++*line;
        *column = 1;
    }
    *column += (size_t)(to - from);
}

static void tell(const parser *p, const char *name, const char *start, size_t line, size_t column) {
    flush();
    if (mapped.cut) { // its lines cannot be counted any more
        fprintf(stderr, "jsonq: %s: the file was cut off while it was read\n", name);
        return;
    }
    count_lines(start, p->at, &line, &column);
    fprintf(stderr, "jsonq: %s:%zu:%zu: %s\n", name, line, column, p->error);
}

static bool tell_system(const char *name) {
    int wrong = errno;
    flush();
    fprintf(stderr, "jsonq: %s: %s\n", name, strerror(wrong));
    return false;
}

// ---- large files: pieces of them, by all processors ----

// A piece ends where a line begins with a bracket: there a document begins, or so it is hoped. It is
// known when the documents before it have been parsed; else the piece is parsed again.
typedef struct piece {
    parser *p;
    const char *start, *stop;
    const char *next; // where the document behind it begins; NULL: an error
    bool done;
} piece;

static struct {
    pthread_mutex_t lock;
    pthread_cond_t given_more, done_more;
    piece pieces[2 * THREADS_MOST];
    size_t count;        // of pieces that are used in turn
    size_t given, taken; // so far
    bool over;
} crew = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .given_more = PTHREAD_COND_INITIALIZER,
          .done_more = PTHREAD_COND_INITIALIZER};

static void *crew_thread(void *arg) {
    pthread_mutex_lock(&crew.lock);
    for (;;) {
        while (!crew.over && crew.taken == crew.given)
            pthread_cond_wait(&crew.given_more, &crew.lock);
        if (crew.over) break;
        piece *x = &crew.pieces[crew.taken++ % crew.count];
        pthread_mutex_unlock(&crew.lock);
        x->next = answer_documents(x->p, x->start, x->stop);
        pthread_mutex_lock(&crew.lock);
        x->done = true;
        pthread_cond_signal(&crew.done_more);
    }
    pthread_mutex_unlock(&crew.lock);
    return arg;
}

static const char *piece_end(const char *at, const char *end) {
    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL)
        if (*++at == '{' || *at == '[') return at;
    return end;
}

static void crew_give(const char *start, const char *stop, const char *end) {
    piece *x = &crew.pieces[crew.given % crew.count];
    *x = (piece){x->p, start, stop, NULL, false};
    x->p->end = end;
    x->p->used = 0;
    x->p->matches = x->p->nodes = 0;
    pthread_mutex_lock(&crew.lock);
    crew.given++;
    pthread_cond_signal(&crew.given_more);
    pthread_mutex_unlock(&crew.lock);
}

static piece *crew_wait(size_t number) {
    piece *x = &crew.pieces[number % crew.count];
    pthread_mutex_lock(&crew.lock);
    while (!x->done) pthread_cond_wait(&crew.done_more, &crew.lock);
    pthread_mutex_unlock(&crew.lock);
    return x;
}

// Gives pieces out, and delivers what they answer in their order.
static bool crew_answer(const char *name, const char *text, const char *end) {
    const char *next = blanks(text), *given = text, *behind = text;
    size_t delivered = 0, size = PIECE;
    bool done = true;
    while (done && next < end) {
        while (crew.given - delivered < crew.count && given < end) {
            size_t left = (size_t)(end - given);
            const char *stop = left > size ? piece_end(given + size, end) : end;
            crew_give(given, stop, end);
            given = stop;
        }
        const piece *x = crew_wait(delivered++);
        if (blanks(x->start) != next) { // it began within a document
            while (delivered < crew.given) crew_wait(delivered++);
            given = next;
            size *= 2;
            continue;
        }
        deliver(x->p);
        if (!x->next) tell(x->p, name, text, 1, 1);
        done = x->next != NULL;
        if (done) next = x->next;
        // what has been parsed need not stay in memory
        size_t passed = (size_t)(next - behind) & ~(size_t)(PAD - 1);
        madvise((void *)(uintptr_t)behind, passed, MADV_DONTNEED);
        behind += passed;
    }
    while (delivered < crew.given) crew_wait(delivered++);
    return done;
}

// False: there are no threads.
static bool crew_start(pthread_t *threads, unsigned *count) {
    pthread_attr_t deep; // for trees of DEPTH_MOST, which some systems' threads have no stack for
    crew.over = false;
    crew.given = crew.taken = 0;
    *count = 0;
    pthread_attr_init(&deep);
    pthread_attr_setstacksize(&deep, STACK);
    while (*count < query.threads &&
           pthread_create(&threads[*count], &deep, crew_thread, NULL) == 0)
        ++*count;
    pthread_attr_destroy(&deep);
    crew.count = 2 * (size_t)*count;
    for (size_t i = 0; i < crew.count; i++) crew.pieces[i].p = parser_new();
    return *count > 0;
}

static void crew_stop(const pthread_t *threads, unsigned count) {
    pthread_mutex_lock(&crew.lock);
    crew.over = true;
    pthread_cond_broadcast(&crew.given_more);
    pthread_mutex_unlock(&crew.lock);
    for (unsigned i = 0; i < count; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < crew.count; i++) parser_free(crew.pieces[i].p);
}

// ---- inputs ----

static bool answer_text(const char *name, const char *text, const char *end) {
    pthread_t threads[THREADS_MOST];
    unsigned count;
    bool done;
    query.bytes += (uint64_t)(end - text);
    if (end - text > 2 * PIECE && crew_start(threads, &count)) {
        done = crew_answer(name, text, end);
        crew_stop(threads, count);
        return done;
    }
    parser *p = parser_new();
    p->end = end;
    p->live = true;
    done = answer_documents(p, text, end) != NULL;
    deliver(p);
    if (!done) tell(p, name, text, 1, 1);
    parser_free(p);
    return done;
}

// Whether an error may be none when more has been read.
static bool is_cut(const parser *p) {
    size_t n = (size_t)(p->end - p->at);
    return n < 5 &&
           (!memcmp(p->at, "true", n) || !memcmp(p->at, "null", n) || !memcmp(p->at, "false", n));
}

// Whether there is more to read within a time.
static bool comes_soon(int fd, double within) {
    struct pollfd input = {fd, POLLIN, 0};
    return poll(&input, 1, (int)(within * 1000) + 1) > 0;
}

// Standard input, or what cannot be mapped: documents are answered as they come. One that is cut off
// by the end of what has been read is parsed again when there is more: a large one when there is
// twice as much, or nothing more came for as long as parsing it took.
static bool answer_stream(int fd, const char *name) {
    size_t used = 0, tried = 0, room = 4 * PAD, line = 1, column = 1;
    char *text = gomem_malloc(room);
    bool done = true;
    double took = 0; // of the last try
    parser *p = parser_new();
    p->live = true;
    for (p->more = true; p->more && done;) {
        if (text && room - used < 2 * PAD) text = gomem_realloc(text, room *= 2);
        if (!text) die("out of memory");
        ssize_t got = read(fd, text + used, room - used - PAD);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) done = tell_system(name);
        if (got > 0) used += (size_t)got;
        p->more = got > 0;
        if (p->more && used > PIECE && used < 2 * tried && comes_soon(fd, took)) continue;
        took = -seconds();
        p->end = memset(text + used, 0, PAD);
        const char *next = done ? answer_documents(p, text, p->end) : p->end;
        deliver(p);
        flush();
        if (!next && !(p->more && is_cut(p))) {
            tell(p, name, text, line, column);
            done = false;
        }
        if (!next) next = p->document;
        count_lines(text, next, &line, &column);
        query.bytes += (uint64_t)(next - text);
        used -= (size_t)(next - text);
        memmove(text, next, used);
        tried = used;
        took += seconds();
    }
    parser_free(p);
    gomem_free(text);
    return done;
}

static void on_sigbus(int number, siginfo_t *info, void *context) {
    uintptr_t start = (uintptr_t)mapped.text, at = (uintptr_t)info->si_addr;
    (void)context;
    if (at >= start && at < start + mapped.size) {
        size_t from = (at - start) & ~(mapped.page - 1);
        mapped.cut = 1;
        if (mmap(mapped.text + from, mapped.size - from, PROT_READ,
                 MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
            return;
    }
    signal(number, SIG_DFL); // it happens again, and ends the program
}

// A file in memory, with zeroes behind it; MAP_FAILED: it cannot be mapped.
static char *map(int fd, size_t size) {
    char *text = mmap(NULL, size + PAD, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (text == MAP_FAILED) return text;
    if (mmap(text, size, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED) {
        munmap(text, size + PAD);
        return MAP_FAILED;
    }
    madvise(text, size, MADV_SEQUENTIAL);
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    mapped.text = text;
    mapped.size = size;
    mapped.page = (size_t)sysconf(_SC_PAGESIZE);
    mapped.cut = 0;
    sigaction(SIGBUS, &action, NULL);
    return text;
}

static bool answer_input(int fd, const char *name) {
    struct stat about;
    char *text = MAP_FAILED;
    size_t size = 0;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && lseek(fd, 0, SEEK_CUR) == 0) {
        size = (size_t)about.st_size;
        if (size) text = map(fd, size); // else it may be one of /proc
    }
    if (text == MAP_FAILED) return answer_stream(fd, name);
    lseek(fd, (off_t)size, SEEK_SET); // as if it had been read
    bool done = answer_text(name, text, text + size);
    mapped.size = 0;
    munmap(text, size + PAD);
    return done;
}

static bool answer_file(const char *name) {
    if (!strcmp(name, "-")) return answer_input(0, "standard input");
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tell_system(name);
    bool done = answer_input(fd, name);
    close(fd);
    return done;
}

// ---- the path ----

// The steps of a path, in an arena of their own. False: it is none.
static bool parse_path(gomem_arena *a, const char *p, const step **first) {
    *first = &whole;
    if (*p != '.' && *p != '[') return false;
    if (!strcmp(p, ".")) return true;
    while (*p) {
        step *s = GOMEM_ARENA_NEW(a, step);
        if (!s) die("out of memory");
        *first = s;
        first = &s->next;
        s->next = &whole;
        if (*p == '.' && p[1] == '[') p++;
        if (*p == '.') {
            s->what = NAME;
            s->name = ++p;
            while (*p && *p != '.' && *p != '[') p++;
            s->size = (size_t)(p - s->name);
            if (!s->size) return false;
        } else if (p[0] == '[' && p[1] == ']') {
            s->what = ALL;
            p += 2;
        } else if (p[0] == '[' && p[1] == '"') {
            const char *end = strstr(p, "\"]");
            if (!end || end < p + 2) return false;
            s->what = NAME;
            s->name = p + 2;
            s->size = (size_t)(end - s->name);
            p = end + 2;
        } else if (*p == '[') {
            char *end;
            s->what = INDEX;
            s->index = strtol(p + 1, &end, 10);
            if (end == p + 1 || *end != ']') return false;
            p = end + 1;
        } else {
            return false;
        }
    }
    return true;
}

static bool parse_threads(const char *text) {
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (!is_digit(*text) || *end || n < 1) return false;
    query.threads = n < THREADS_MOST ? (unsigned)n : THREADS_MOST;
    return true;
}

static int usage(const char *what) {
    fprintf(stderr, "jsonq: %s\n%s", what, usage_text);
    return 2;
}

int main(int argc, char **argv) {
    gomem_arena path = {0};
    int i = 1;
    bool done = true;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    query.threads = processors < 1
                        ? 1
                        : (unsigned)(processors < THREADS_MOST ? processors : THREADS_MOST);
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (!strcmp(argv[i], "--")) {
            i++;
            break;
        }
        if (!strcmp(argv[i], "-h") || !strcmp(argv[i], "--help")) {
            fputs(usage_text, stdout);
            return 0;
        }
        if (!strcmp(argv[i], "-c")) query.count = true;
        else if (!strcmp(argv[i], "-r")) query.raw = true;
        else if (!strcmp(argv[i], "-t")) query.times = true;
        else if (!strcmp(argv[i], "-j") && i + 1 < argc && parse_threads(argv[i + 1])) i++;
        else return usage("unknown option");
    }
    if (i == argc) return usage("there is no path");
    if (!parse_path(&path, argv[i++], &query.path)) return usage("that is no path");
    double start = seconds();
    if (i == argc) done = answer_file("-");
    for (; i < argc; i++) done = answer_file(argv[i]) && done;
    if (query.count) printf("%" PRIu64 "\n", query.matches);
    flush();
    double took = seconds() - start;
    if (query.times)
        fprintf(stderr, "%" PRIu64 " bytes, %" PRIu64 " nodes, %.3f s, %.0f MB/s\n", query.bytes,
                query.nodes, took, (double)query.bytes / 1e6 / took);
    gomem_arena_free(&path);
    return done ? 0 : 1;
}
