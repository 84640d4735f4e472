// jsonq: answer path queries about JSON from files or standard input, which is parsed into an arena.
//
//     jsonq [-c] [-r] [-t] PATH [FILE...]
//
// The tree of a document goes at once when the next one begins: nothing is freed node by node, and no
// node is larger for it. Text is not copied: nodes point into the input, which is mapped. Built with
// -DJSONQ_MALLOC the same parser allocates each node by malloc and frees the tree node by node, which
// is what bench/run.py compares it with.
//
// PATH is a sequence of .name, ["any name"], [3] (from the end: [-1]) and [] (all members or
// elements); . alone is the document. Each match is printed on a line, as JSON without blanks. Several
// documents in one input are queried one after the other.

#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef enum kind { NUL, FALSE, TRUE, NUMBER, STRING, ARRAY, OBJECT } kind;

typedef struct node {
    struct node *next;  // the next element or member
    struct node *first; // of an array or object
    const char *key;    // of a member: as in the input, between its quotes
    const char *text;   // of a number or string, likewise
    size_t size;        // of text; how many elements or members
    uint32_t key_size;
    uint32_t kind;
} node;

typedef struct step {
    struct step *next;
    enum { NAME, INDEX, ALL } what;
    const char *name;
    size_t size;
    long index;
} step;

typedef struct query {
    step *path;
    bool count, raw, times;
    uint64_t matches, bytes, nodes;
} query;

typedef struct input {
    const char *name;
    const char *start, *at, *end;
    const char *error; // NULL: none
    unsigned depth;
} input;

enum { DEPTH_MOST = 10000 };

static const char usage_text[] =
    "usage: jsonq [-c] [-r] [-t] PATH [FILE...]\n"
    "Prints what a path leads to in the JSON documents of the files, or of standard input.\n"
    "  PATH    .name [\"any name\"] [3] [-1] [] in any sequence; . is the whole document\n"
    "  -c      print how many matches there are\n"
    "  -r      print strings as they are, without quotes and escapes\n"
    "  -t      print time and speed to standard error\n"
    "  --help  print this\n";

static _Noreturn void die(const char *what) {
    fprintf(stderr, "jsonq: %s\n", what);
    exit(1);
}

// ---- nodes: of an arena, or of malloc ----

static gomem_arena tree;
static query *asked;

static node *node_new(kind k) {
#if defined JSONQ_MALLOC
    node *n = calloc(1, sizeof *n);
#else
    node *n = GOMEM_ARENA_NEW(&tree, node);
#endif
    if (!n) die("out of memory");
    n->kind = k;
    asked->nodes++;
    return n;
}

static void tree_drop(node *n) {
#if defined JSONQ_MALLOC
    while (n) {
        node *next = n->next;
        tree_drop(n->first);
        free(n);
        n = next;
    }
#else
    (void)n;
    gomem_arena_reset(&tree);
#endif
}

// ---- parsing ----

static node *fail(input *in, const char *what) {
    if (!in->error) in->error = what;
    return NULL;
}

static void skip_blanks(input *in) {
    const char *at = in->at, *end = in->end;
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
    in->at = at;
}

static bool is_digit(const input *in) {
    return in->at < in->end && *in->at >= '0' && *in->at <= '9';
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// Behind the opening quote: up to the closing one. False: an error.
static bool parse_text(input *in, const char **text, size_t *size) {
    const char *start = in->at, *end = in->end;
    for (const char *at = start;; at = in->at + 1) {
        while (at < end && (unsigned char)*at >= 0x20 && *at != '"' && *at != '\\') at++;
        in->at = at;
        if (at == end) break;
        unsigned char c = (unsigned char)*at;
        if (c == '"') {
            *text = start;
            *size = (size_t)(in->at++ - start);
            return true;
        }
        if (c < 0x20) return fail(in, "a control character in a string");
        if (c != '\\') continue;
        if (++in->at == in->end) break;
        if (*in->at == 'u') {
            if (in->end - in->at < 5) break;
            for (int i = 1; i <= 4; i++)
                if (!is_hex(in->at[i])) return fail(in, "\\u needs four hexadecimal digits");
            in->at += 4;
        } else if (!strchr("\"\\/bfnrt", *in->at)) {
            return fail(in, "an unknown escape in a string");
        }
    }
    return fail(in, "a string does not end");
}

static node *parse_number(input *in) {
    const char *start = in->at;
    if (*in->at == '-') in->at++;
    if (!is_digit(in)) return fail(in, "a number needs digits");
    if (*in->at == '0') in->at++;
    else
        while (is_digit(in)) in->at++;
    if (is_digit(in)) return fail(in, "a number begins with 0");
    if (in->at < in->end && *in->at == '.') {
        in->at++;
        if (!is_digit(in)) return fail(in, "a number needs digits behind its point");
        while (is_digit(in)) in->at++;
    }
    if (in->at < in->end && (*in->at == 'e' || *in->at == 'E')) {
        in->at++;
        if (in->at < in->end && (*in->at == '+' || *in->at == '-')) in->at++;
        if (!is_digit(in)) return fail(in, "an exponent needs digits");
        while (is_digit(in)) in->at++;
    }
    node *n = node_new(NUMBER);
    n->text = start;
    n->size = (size_t)(in->at - start);
    return n;
}

static node *parse_word(input *in, const char *word, kind k) {
    size_t size = strlen(word);
    if ((size_t)(in->end - in->at) < size || memcmp(in->at, word, size) != 0)
        return fail(in, "a value is expected");
    in->at += size;
    return node_new(k);
}

static node *parse_value(input *in);

// The elements or members up to the closing bracket.
static node *parse_list(input *in, node *list, char closing) {
    node **last = &list->first;
    if (++in->depth > DEPTH_MOST) return fail(in, "nested too deeply");
    in->at++;
    skip_blanks(in);
    for (bool more = in->at < in->end && *in->at != closing; more;) {
        const char *key = NULL;
        size_t key_size = 0;
        if (list->kind == OBJECT) {
            skip_blanks(in);
            if (in->at == in->end || *in->at != '"')
                return fail(in, "a name in quotes is expected");
            in->at++;
            if (!parse_text(in, &key, &key_size)) return NULL;
            if (key_size > UINT32_MAX) return fail(in, "a name of more than 4 GiB");
            skip_blanks(in);
            if (in->at == in->end || *in->at != ':') return fail(in, "a colon is expected");
            in->at++;
        }
        node *n = parse_value(in);
        if (!n) return NULL;
        n->key = key;
        n->key_size = (uint32_t)key_size;
        *last = n;
        last = &n->next;
        list->size++;
        skip_blanks(in);
        more = in->at < in->end && *in->at == ',';
        in->at += more;
    }
    if (in->at == in->end || *in->at != closing)
        return fail(in, closing == ']' ? "a comma or ] is expected" : "a comma or } is expected");
    in->at++;
    in->depth--;
    return list;
}

static node *parse_value(input *in) {
    skip_blanks(in);
    if (in->at == in->end) return fail(in, "a value is expected");
    switch (*in->at) {
    case '{': return parse_list(in, node_new(OBJECT), '}');
    case '[': return parse_list(in, node_new(ARRAY), ']');
    case 't': return parse_word(in, "true", TRUE);
    case 'f': return parse_word(in, "false", FALSE);
    case 'n': return parse_word(in, "null", NUL);
    case '"': {
        node *n = node_new(STRING);
        in->at++;
        return parse_text(in, &n->text, &n->size) ? n : NULL;
    }
    default:
        if (*in->at != '-' && !is_digit(in)) return fail(in, "a value is expected");
        return parse_number(in);
    }
}

// ---- printing ----

static void print_utf8(uint32_t c) {
    if (c < 0x80) {
        putchar((int)c);
        return;
    }
    if (c >= 0x10000) {
        putchar((int)(0xf0 | c >> 18));
        putchar((int)(0x80 | (c >> 12 & 63)));
    } else if (c >= 0x800) {
        putchar((int)(0xe0 | c >> 12));
    }
    if (c >= 0x800) putchar((int)(0x80 | (c >> 6 & 63)));
    else putchar((int)(0xc0 | c >> 6));
    putchar((int)(0x80 | (c & 63)));
}

static uint32_t hex4(const char *s) {
    char text[5] = {s[0], s[1], s[2], s[3], 0};
    return (uint32_t)strtoul(text, NULL, 16);
}

// A string with its escapes undone. Half of a pair of surrogates becomes U+FFFD.
static void print_raw(const char *s, size_t size) {
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    for (const char *end = s + size; s < end; s++) {
        if (*s != '\\') {
            putchar(*s);
        } else if (*++s == 'u') {
            uint32_t c = hex4(s + 1);
            s += 4;
            bool pair = c >> 10 == 0x36 && end - s > 6 && s[1] == '\\' && s[2] == 'u' &&
                        hex4(s + 3) >> 10 == 0x37;
            if (pair) {
                c = 0x10000 + ((c & 0x3ff) << 10) + (hex4(s + 3) & 0x3ff);
                s += 6;
            } else if (c >> 11 == 0x1b) {
                c = 0xfffd;
            }
            print_utf8(c);
        } else {
            const char *name = strchr(names, *s);
            putchar(name ? values[name - names] : *s);
        }
    }
}

static void print_quoted(const char *text, size_t size) {
    putchar('"');
    fwrite(text, 1, size, stdout);
    putchar('"');
}

static void print_value(const node *n) {
    switch (n->kind) {
    case NUL: fputs("null", stdout); break;
    case FALSE: fputs("false", stdout); break;
    case TRUE: fputs("true", stdout); break;
    case NUMBER: fwrite(n->text, 1, n->size, stdout); break;
    case STRING: print_quoted(n->text, n->size); break;
    default:
        putchar(n->kind == ARRAY ? '[' : '{');
        for (const node *e = n->first; e; e = e->next) {
            if (e != n->first) putchar(',');
            if (n->kind == OBJECT) {
                print_quoted(e->key, e->key_size);
                putchar(':');
            }
            print_value(e);
        }
        putchar(n->kind == ARRAY ? ']' : '}');
    }
}

// ---- queries ----

static void answer(query *q, const node *n, const step *s) {
    if (!s) {
        q->matches++;
        if (q->count) return;
        if (q->raw && n->kind == STRING) print_raw(n->text, n->size);
        else print_value(n);
        putchar('\n');
        return;
    }
    long at = s->index < 0 ? (long)n->size + s->index : s->index;
    if (s->what == INDEX && n->kind != ARRAY) return;
    if (s->what == NAME && n->kind != OBJECT) return;
    for (const node *e = n->first; e; e = e->next, at--) {
        if (s->what == INDEX && at != 0) continue;
        if (s->what == NAME && (e->key_size != s->size || memcmp(e->key, s->name, s->size) != 0))
            continue;
        answer(q, e, s->next);
        if (s->what == INDEX) return;
    }
}

static bool answer_input(query *q, input *in) {
    skip_blanks(in);
    while (in->at < in->end) {
        in->depth = 0;
        node *document = parse_value(in);
        if (!document) {
            size_t line = 1, column = 1;
            for (const char *c = in->start; c < in->at; c++)
                column = *c == '\n' ? (line++, 1) : column + 1;
            fflush(stdout);
            fprintf(stderr, "jsonq: %s:%zu:%zu: %s\n", in->name, line, column, in->error);
            return false;
        }
        answer(q, document, q->path);
        tree_drop(document);
        skip_blanks(in);
    }
    q->bytes += (uint64_t)(in->end - in->start);
    return true;
}

// ---- input ----

// Standard input, or what cannot be mapped.
static bool answer_stream(query *q, int fd, const char *name) {
    size_t size = 0, room = 1 << 16;
    char *text = gomem_malloc(room);
    for (;;) {
        if (size == room) text = gomem_realloc(text, room *= 2);
        if (!text) die("out of memory");
        ssize_t got = read(fd, text + size, room - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            fprintf(stderr, "jsonq: %s: %s\n", name, strerror(errno));
            gomem_free(text);
            return false;
        }
        if (got == 0) break;
        size += (size_t)got;
    }
    input in = {name, text, text, text + size, NULL, 0};
    bool done = answer_input(q, &in);
    gomem_free(text);
    return done;
}

static bool answer_file(query *q, const char *name) {
    struct stat about;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &about) != 0) {
        fprintf(stderr, "jsonq: %s: %s\n", name, strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    size_t size = (size_t)about.st_size;
    char *text = S_ISREG(about.st_mode) && size
                     ? mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0)
                     : MAP_FAILED;
    bool done;
    if (text == MAP_FAILED) {
        done = answer_stream(q, fd, name);
    } else {
        input in = {name, text, text, text + size, NULL, 0};
        done = answer_input(q, &in);
        munmap(text, size);
    }
    close(fd);
    return done;
}

// ---- the path ----

// The steps of a path, in an arena of their own. False: it is none.
static bool parse_path(gomem_arena *a, const char *p, step **first) {
    *first = NULL;
    if (*p != '.' && *p != '[') return false;
    if (!strcmp(p, ".")) return true;
    while (*p) {
        step *s = GOMEM_ARENA_NEW(a, step);
        if (!s) die("out of memory");
        *first = s;
        first = &s->next;
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

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int usage(const char *what) {
    fprintf(stderr, "jsonq: %s\n%s", what, usage_text);
    return 2;
}

int main(int argc, char **argv) {
    static query q;
    gomem_arena path = {0};
    int i = 1;
    bool done = true;
    asked = &q;
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (!strcmp(argv[i], "--help")) {
            fputs(usage_text, stdout);
            return 0;
        }
        if (!strcmp(argv[i], "-c")) q.count = true;
        else if (!strcmp(argv[i], "-r")) q.raw = true;
        else if (!strcmp(argv[i], "-t")) q.times = true;
        else return usage("unknown option");
    }
    if (i == argc) return usage("there is no path");
    if (!parse_path(&path, argv[i++], &q.path)) return usage("that is no path");
    double start = seconds();
    if (i == argc) done = answer_stream(&q, 0, "standard input");
    for (; i < argc; i++)
        done = (strcmp(argv[i], "-") ? answer_file(&q, argv[i])
                                     : answer_stream(&q, 0, "standard input")) &&
               done;
    if (q.count) printf("%" PRIu64 "\n", q.matches);
    if (fflush(stdout) != 0) die("cannot write");
    double took = seconds() - start;
    if (q.times)
        fprintf(stderr, "%" PRIu64 " bytes, %" PRIu64 " nodes, %.3f s, %.0f MB/s\n", q.bytes,
                q.nodes, took, (double)q.bytes / 1e6 / took);
    gomem_arena_free(&path);
    gomem_arena_free(&tree);
    return done ? 0 : 1;
}
