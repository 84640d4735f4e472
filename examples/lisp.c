// lisp: a small Scheme on the collected heap.
//
//     lisp [-v] [FILE...]      runs the files, or a read-eval-print loop when there is none
//
// It has integers, reals, characters, strings, symbols, pairs and vectors; closures with lexical
// scope and proper tail calls; define, set!, lambda, if, cond, case, and, or, when, unless, let,
// let*, letrec, named let, do, begin, quote, quasiquote and define-macro. It has no continuations,
// no syntax-rules and no ports; strings and characters are bytes; integers have 61 bits, and what is
// larger becomes a real number.
//
// How it works: the reader makes lists of the text. The compiler makes of each form a tree of
// nodes in which every variable is already found. The evaluator walks that tree in one loop, so a
// tail call is a jump. A prelude defines in Lisp what need not be in C.
//
// Nothing is ever freed, and there is no list of roots to maintain: values in C's local and global
// variables are found by the collector. Each kind of object is allocated in the way that suits it:
//
//     pair, symbol, closure  GOMEM_NEW_TYPED        the collector reads the named fields only
//     frame of variables     GOMEM_NEW_FLEX_TYPED   the same, and a tail of pointers
//     vector                 GOMEM_NEW_FLEX         every word may be a pointer
//     string                 GOMEM_NEW_FLEX_NOSCAN  no word is: never read
//     real number            GOMEM_NEW_NOSCAN
//     node of the program    GOMEM_TYPE_MARK        a union: a function says where the pointers are
//
// The table of symbols is weak: it holds gomem_weak, so a symbol without a definition goes when the
// program has forgotten it.
//
// Pointers are stored with plain assignments: neither the tracking nor the stopping collector
// needs more. (With GOMEM_GC_BARRIER each of those stores would be a GOMEM_STORE.)

#define _POSIX_C_SOURCE 200809L // for isatty, fmemopen and getrusage
#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

// == values =======================================================================================
//
// A value is one word. Objects lie at multiples of 8, so the low three bits of a pointer are free
// for a tag. A tagged pointer points into its object instead of at its start; the collector keeps
// an object alive for any pointer into it, so tags need no help. (Integers have 61 bits where a
// word has 64, 29 where it has 32.)
//
//      63                                   3 2 1 0
//     +--------------------------------------+-----+
//     | pointer to an object with a kind     | 000 |   string, symbol, vector, real, closure
//     | integer                              | 001 |
//     | pointer to a struct pair             | 010 |
//     | number of a constant                 | 011 |   (), #t, #f ...
//     | byte                                 | 100 |   character
//     | pointer to a struct primitive        | 101 |   in static memory: not the collector's
//     +--------------------------------------+-----+

typedef uintptr_t value;

enum { TAG_OBJECT, TAG_FIXNUM, TAG_PAIR, TAG_CONSTANT, TAG_CHAR, TAG_PRIMITIVE };
enum { TAG_BITS = 3, TAG_MASK = 7 };

#define CONSTANT(n) ((value)(n) << TAG_BITS | TAG_CONSTANT)
#define NIL         CONSTANT(0)
#define FALSE       CONSTANT(1)
#define TRUE        CONSTANT(2)
#define NOTHING     CONSTANT(3) // what define and display return
#define END         CONSTANT(4) // the reader met the end of its input
#define TAIL_CALL   CONSTANT(5) // the evaluator is to go on with lisp.next_node
#define UNDEFINED   ((value)0)  // a variable before its definition: new memory is zero

#define FIXNUM_MAX  (INTPTR_MAX >> TAG_BITS)
#define FIXNUM_MIN  (-FIXNUM_MAX - 1)

struct scope; // the compiler's
struct call;

enum kind { STRING = 1, SYMBOL, VECTOR, REAL, CLOSURE };

struct pair {
    _Alignas(8) value car;
    value cdr;
    int line; // where the reader found it; 0: made by the program
};

// Every object of TAG_OBJECT begins with its kind.
struct object {
    _Alignas(8) enum kind kind;
};

struct string {
    struct object head;
    size_t length; // bytes, without the NUL that follows them
    char bytes[];
};

struct symbol {
    struct object head;
    struct string *name;
    struct symbol *next; // in lisp.defined
    bool defined;
    value global;  // the global variable of this name,
    value builtin; // the same for the prelude, which later definitions do not change,
    value macro;   // the macro, or UNDEFINED,
    // and the special form, or NULL.
    struct node *(*compile)(value form, struct scope *s);
};

struct vector {
    struct object head;
    size_t length;
    value items[];
};

struct real {
    struct object head;
    double number;
};

struct closure {
    struct object head;
    const struct node *lambda; // a NODE_LAMBDA
    struct frame *frame;       // the variables around it
};

// The variables of one call.
struct frame {
    struct frame *outer;
    value slots[];
};

struct primitive {
    _Alignas(8) const char *name;
    value (*run)(const struct call *c);
    size_t min, max; // numbers of arguments
    int which;       // tells apart the primitives that share a function
};

// One call of a primitive.
struct call {
    const struct primitive *primitive;
    const struct node *site; // for error messages
    const value *args;
    size_t count;
};

GOMEM_TYPE(pair_type, struct pair, car, cdr);
GOMEM_TYPE(symbol_type, struct symbol, name, next, global, builtin, macro);
GOMEM_TYPE(closure_type, struct closure, lambda, frame);
GOMEM_TYPE_FLEX(frame_type, struct frame, slots, outer);

// == the program as a tree ========================================================================

struct place {
    const char *file;
    int line;
};

enum op {
    NODE_CONSTANT = 1,
    NODE_LOCAL,
    NODE_GLOBAL,
    NODE_SET,
    NODE_DEFINE,
    NODE_IF,
    NODE_AND,
    NODE_OR,
    NODE_SEQUENCE,
    NODE_LAMBDA,
    NODE_CALL
};

struct node {
    enum op op;
    struct place place;
    struct node *next; // the next argument or statement, when this one stands in a list
    union {
        value constant;
        struct node *list; // NODE_AND, NODE_OR, NODE_SEQUENCE: one or more
        struct {
            struct symbol *name;
            value *global;          // NODE_GLOBAL: a field of the name
            unsigned outward, slot; // NODE_LOCAL: that many frames outward, that slot
        } variable;
        struct {
            struct node *variable, *expression;
        } set;
        struct {
            struct node *test, *yes, *no;
        } branch;
        struct {
            struct node *body;
            struct symbol *name;
            unsigned required, slots; // arguments; arguments and variables defined in the body
            bool rest;                // more arguments are allowed: slot `required` lists them
        } lambda;
        struct {
            struct node *function, *args;
            size_t count;
        } call;
    } as;
};

// Tells the collector which words of a node are pointers. It may run beside the program and see a
// node before it is filled in: its words are zero then, and it will be looked at again.
static void mark_node(const void *object, size_t size, gomem_marker *m) {
    const struct node *n = object;
    (void)size;
    gomem_mark(m, n->next);
    switch (n->op) {
    case NODE_CONSTANT: gomem_mark(m, (const void *)n->as.constant); break;
    case NODE_LOCAL:
    case NODE_GLOBAL: gomem_mark(m, n->as.variable.name); break;
    case NODE_SET:
    case NODE_DEFINE:
        gomem_mark(m, n->as.set.variable);
        gomem_mark(m, n->as.set.expression);
        break;
    case NODE_IF:
        gomem_mark(m, n->as.branch.test);
        gomem_mark(m, n->as.branch.yes);
        gomem_mark(m, n->as.branch.no);
        break;
    case NODE_AND:
    case NODE_OR:
    case NODE_SEQUENCE: gomem_mark(m, n->as.list); break;
    case NODE_LAMBDA:
        gomem_mark(m, n->as.lambda.body);
        gomem_mark(m, n->as.lambda.name);
        break;
    case NODE_CALL:
        gomem_mark(m, n->as.call.function);
        gomem_mark(m, n->as.call.args);
        break;
    }
}

GOMEM_TYPE_MARK(node_type, struct node, mark_node);

// == the state of the interpreter =================================================================

// How deep functions may call each other, and forms be nested, where C's stack has room for it: the
// usual 8 MiB have. STACK_RESERVE bytes are left for what is no recursion.
enum { MAX_DEPTH = 10000, STACK_RESERVE = 128 * 1024 };

enum { FEW_ARGS = 6 };

// Where a symbol is to be found: a table with open addressing.
struct symbol_slot {
    gomem_weak symbol; // NULL when it has gone; the slot is in use until the table is made anew
    size_t hash;       // 0: the slot is free
};

// A global variable: the collector finds by itself what it refers to.
static struct {
    struct symbol_slot *symbols;
    size_t symbols_size, symbols_used; // size: a power of two
    struct symbol *defined;       // have a definition, which is kept though nobody refers to them
    const char *stack_end;        // no recursion goes below it
    struct place place;           // what is being read or compiled
    int depth;                    // nested C calls of the reader, compiler, evaluator and printer
    const struct node *next_node; // where the evaluator goes on after TAIL_CALL,
    struct frame *next_frame;     // and with which variables
    value expanding;              // the use of a macro that is being expanded, or UNDEFINED
    bool in_prelude;              // its variables are symbol.builtin
    int fresh_symbols;            // how many there have been
    jmp_buf recover;              // where errors end
} lisp;

static void write_value(FILE *out, value v, bool display);

// Reports an error, with the value that is to blame unless it is UNDEFINED.
static _Noreturn void fail(struct place at, value blame, const char *format, ...) {
    va_list args;
    fflush(stdout);
    if (lisp.expanding != UNDEFINED) {
        // The fault lies not in the macro but in what it was given.
        at = lisp.place;
        blame = lisp.expanding;
        format = "bad syntax";
        lisp.expanding = UNDEFINED;
    }
    fprintf(stderr, "%s:%d: ", at.file, at.line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    if (blame != UNDEFINED) {
        const char *end = lisp.stack_end;
        fputs(": ", stderr);
        lisp.depth = MAX_DEPTH - 50; // the stack may be nearly full: its reserve
        lisp.stack_end = NULL;       // is enough for these
        write_value(stderr, blame, false);
        lisp.stack_end = end;
    }
    fputc('\n', stderr);
    longjmp(lisp.recover, 1);
}

// Enters a recursion whose depth the Lisp program decides: an error, not the end of C's stack.
static void deeper(struct place at) {
    const char *here = __builtin_frame_address(0);
    if (lisp.depth >= MAX_DEPTH || here < lisp.stack_end)
        fail(at, UNDEFINED, "more than %d nested levels", lisp.depth);
    lisp.depth++;
}

static void *must(void *object) {
    if (object == NULL) fail(lisp.place, UNDEFINED, "out of memory");
    return object;
}

// == making and taking apart values ===============================================================

static value boolean(bool b) { return b ? TRUE : FALSE; }

static value character(char c) { return (value)(unsigned char)c << TAG_BITS | TAG_CHAR; }

static value from_object(const void *object) { return (value)object; }

static void *to_object(value v) { return (void *)v; }

static struct pair *to_pair(value v) { return (struct pair *)(v - TAG_PAIR); }

static const struct primitive *to_primitive(value v) {
    return (const struct primitive *)(v - TAG_PRIMITIVE);
}

static char to_char(value v) { return (char)(v >> TAG_BITS); }

static int64_t to_integer(value v) { return (intptr_t)(v - TAG_FIXNUM) / (1 << TAG_BITS); }

static bool has_tag(value v, unsigned tag) { return (v & TAG_MASK) == tag; }

static bool is_kind(value v, enum kind kind) {
    return has_tag(v, TAG_OBJECT) && v != UNDEFINED && ((struct object *)v)->kind == kind;
}

static bool is_pair(value v) { return has_tag(v, TAG_PAIR); }

static bool is_fixnum(value v) { return has_tag(v, TAG_FIXNUM); }

static bool is_number(value v) { return is_fixnum(v) || is_kind(v, REAL); }

static double to_double(value v) {
    return is_fixnum(v) ? (double)to_integer(v) : ((struct real *)to_object(v))->number;
}

static value car(value v) { return to_pair(v)->car; }

static value cdr(value v) { return to_pair(v)->cdr; }

static value cadr(value v) { return car(cdr(v)); }

static value cddr(value v) { return cdr(cdr(v)); }

static value cons(value head, value tail) {
    struct pair *p = must(GOMEM_NEW_TYPED(struct pair, &pair_type));
    p->car = head;
    p->cdr = tail;
    return (value)p + TAG_PAIR;
}

static value real(double number) {
    struct real *r = must(GOMEM_NEW_NOSCAN(struct real));
    r->head.kind = REAL;
    r->number = number;
    return from_object(r);
}

// An integer, or a real number when it is too big for one.
static value integer(int64_t number) {
    if (number < FIXNUM_MIN || number > FIXNUM_MAX) return real((double)number);
    return (value)number << TAG_BITS | TAG_FIXNUM;
}

// A string of `length` bytes; zeroes when `bytes` is NULL.
static struct string *string(const char *bytes, size_t length) {
    struct string *s = NULL;
    if (length < SIZE_MAX) s = GOMEM_NEW_FLEX_NOSCAN(struct string, bytes, length + 1);
    s = must(s);
    s->head.kind = STRING;
    s->length = length;
    if (bytes != NULL) memcpy(s->bytes, bytes, length);
    return s;
}

static struct vector *vector(size_t length) {
    struct vector *v = must(GOMEM_NEW_FLEX(struct vector, items, length));
    v->head.kind = VECTOR;
    v->length = length;
    return v;
}

static struct symbol *symbol_make(const char *name, size_t length) {
    struct symbol *s = must(GOMEM_NEW_TYPED(struct symbol, &symbol_type));
    s->head.kind = SYMBOL;
    s->name = string(name, length);
    return s;
}

// The slot of a name, or the free one where it belongs; the symbol goes to *found.
static struct symbol_slot *symbol_find(const char *name, size_t length, size_t hash,
                                       struct symbol **found) {
    for (size_t i = hash;; i++) {
        struct symbol_slot *slot = &lisp.symbols[i & (lisp.symbols_size - 1)];
        struct symbol *s = slot->hash == hash ? gomem_weak_get(slot->symbol) : NULL;
        bool same = s != NULL && s->name->length == length && !memcmp(s->name->bytes, name, length);
        *found = same ? s : NULL;
        if (same || slot->hash == 0) return slot;
    }
}

// Makes the table anew, without the symbols that have gone, so that it is at most half full.
static void symbols_grow(void) {
    size_t live = 0, size = 1024, old_size = lisp.symbols_size;
    struct symbol_slot *old = lisp.symbols;
    for (size_t i = 0; i < old_size; i++) live += gomem_weak_get(old[i].symbol) != NULL;
    while (size < live * 4) size *= 2;
    lisp.symbols = must(GOMEM_MAKE_NOSCAN(struct symbol_slot, size));
    lisp.symbols_size = size;
    lisp.symbols_used = 0;
    for (size_t i = 0; i < old_size; i++) {
        if (gomem_weak_get(old[i].symbol) == NULL) continue;
        size_t to = old[i].hash;
        while (lisp.symbols[to & (size - 1)].hash != 0) to++;
        lisp.symbols[to & (size - 1)] = old[i];
        lisp.symbols_used++;
    }
}

// The one symbol of that name.
static struct symbol *intern(const char *name, size_t length) {
    size_t hash = 5381;
    struct symbol *s;
    for (size_t i = 0; i < length; i++) hash = hash * 33 + (unsigned char)name[i];
    hash |= 1; // never 0
    if (lisp.symbols_used * 4 >= lisp.symbols_size * 3) symbols_grow();
    struct symbol_slot *slot = symbol_find(name, length, hash, &s);
    if (s == NULL) {
        s = symbol_make(name, length);
        gomem_weak weak = gomem_weak_make(s);
        if (weak.id == 0) must(NULL);
        *slot = (struct symbol_slot){.symbol = weak, .hash = hash};
        lisp.symbols_used++;
    }
    return s;
}

// A symbol that gets a definition stays.
static void keep_symbol(struct symbol *s) {
    if (s->defined) return;
    s->defined = true;
    s->next = lisp.defined;
    lisp.defined = s;
}

static value symbol(const char *name) { return from_object(intern(name, strlen(name))); }

// The last pair of a list, or, of one that goes round, the pair where that is noticed: `slow` goes one
// step for two of the list and meets it again. The number of pairs on the way goes to *count.
static value list_end(value list, intptr_t *count) {
    value slow = list;
    *count = 0;
    for (; is_pair(list); list = cdr(list)) {
        if (++*count % 2 == 0) slow = cdr(slow);
        if (*count > 2 && list == slow) return list;
    }
    return list;
}

// The number of elements, or -1 when the value is no proper list.
static intptr_t list_length(value list) {
    intptr_t length;
    return list_end(list, &length) == NIL ? length : -1;
}

static value list_to_vector(value list) {
    struct vector *v = vector((size_t)list_length(list));
    for (size_t i = 0; i < v->length; i++, list = cdr(list)) v->items[i] = car(list);
    return from_object(v);
}

// == printing =====================================================================================

static void write_char(FILE *out, char c) {
    switch (c) {
    case ' ': fputs("#\\space", out); break;
    case '\n': fputs("#\\newline", out); break;
    case '\t': fputs("#\\tab", out); break;
    default: fprintf(out, "#\\%c", c);
    }
}

static void write_string(FILE *out, const struct string *s) {
    fputc('"', out);
    for (size_t i = 0; i < s->length; i++) {
        char c = s->bytes[i];
        if (c == '"' || c == '\\' || c == '\n') fputc('\\', out);
        fputc(c == '\n' ? 'n' : c, out);
    }
    fputc('"', out);
}

// An integer, or the shortest real that reads back as the same, with a point or an exponent.
static void format_number(char text[40], value v) {
    if (is_fixnum(v)) {
        snprintf(text, 40, "%" PRId64, to_integer(v));
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 40, "%.*g", digits, to_double(v));
        if (strtod(text, NULL) == to_double(v)) break;
    }
    if (strpbrk(text, ".en") == NULL) strcat(text, ".0"); // not for inf and nan
}

static void write_list(FILE *out, value list, bool display) {
    const char *before = "(";
    intptr_t count, round = is_pair(list_end(list, &count)) ? count : INTPTR_MAX;
    for (; is_pair(list) && round > 0; list = cdr(list), before = " ", round--) {
        fputs(before, out);
        write_value(out, car(list), display);
    }
    if (round == 0) {
        fputs(" ...", out); // it goes round
    } else if (list != NIL) {
        fputs(" . ", out);
        write_value(out, list, display);
    }
    fputc(')', out);
}

static void write_vector(FILE *out, const struct vector *v, bool display) {
    fputs("#(", out);
    for (size_t i = 0; i < v->length; i++) {
        if (i > 0) fputc(' ', out);
        write_value(out, v->items[i], display);
    }
    fputc(')', out);
}

static void write_closure(FILE *out, const struct closure *c) {
    const struct symbol *name = c->lambda->as.lambda.name;
    fprintf(out, "#<procedure %s>", name != NULL ? name->name->bytes : "without a name");
}

static void write_object(FILE *out, value v, bool display) {
    void *object = to_object(v);
    switch (((struct object *)object)->kind) {
    case STRING:
        if (display) {
            fwrite(((struct string *)object)->bytes, 1, ((struct string *)object)->length, out);
        } else {
            write_string(out, object);
        }
        break;
    case SYMBOL: fputs(((struct symbol *)object)->name->bytes, out); break;
    case VECTOR: write_vector(out, object, display); break;
    case CLOSURE: write_closure(out, object); break;
    case REAL: break; // numbers are printed by the caller
    }
}

// Prints a value for people (display), or so that it can be read back.
static void write_value(FILE *out, value v, bool display) {
    static const char *const constants[] = {"()", "#f", "#t", "#<nothing>", "#<end>"};
    char number[40];
    deeper(lisp.place);
    if (is_number(v)) {
        format_number(number, v);
        fputs(number, out);
    } else if (is_pair(v)) {
        write_list(out, v, display);
    } else if (has_tag(v, TAG_CONSTANT)) {
        fputs(constants[v >> TAG_BITS], out);
    } else if (has_tag(v, TAG_CHAR) && display) {
        fputc(to_char(v), out);
    } else if (has_tag(v, TAG_CHAR)) {
        write_char(out, to_char(v));
    } else if (has_tag(v, TAG_PRIMITIVE)) {
        fprintf(out, "#<procedure %s>", to_primitive(v)->name);
    } else {
        write_object(out, v, display);
    }
    lisp.depth--;
}

// == reading ======================================================================================

// A token or string while it is read: a collected array that grows.
struct text {
    char *bytes;
    size_t length, capacity;
};

static void text_add(struct text *t, int c) {
    if (t->length + 1 >= t->capacity) {
        t->capacity = t->capacity == 0 ? 32 : t->capacity * 2;
        t->bytes = must(t->bytes == NULL ? GOMEM_MAKE_NOSCAN(char, t->capacity)
                                         : GOMEM_RESIZE(char, t->bytes, t->capacity));
    }
    t->bytes[t->length++] = (char)c;
    t->bytes[t->length] = '\0';
}

static int next_char(FILE *in) {
    int c = getc(in);
    if (c == '\n') lisp.place.line++;
    return c;
}

static int peek_char(FILE *in) {
    int c = getc(in);
    return ungetc(c, in);
}

static int next_after_blanks(FILE *in) {
    for (;;) {
        int c = next_char(in);
        while (c == ';') {
            while (c != '\n' && c != EOF) c = next_char(in);
        }
        if (!isspace(c)) return c;
    }
}

static bool ends_token(int c) { return c == EOF || isspace(c) || strchr("()\";'", c) != NULL; }

// The rest of a token whose first character is c, or to come (EOF).
static struct text read_token(FILE *in, int c) {
    struct text t = {0};
    text_add(&t, c == EOF ? next_char(in) : c);
    while (!ends_token(peek_char(in))) text_add(&t, next_char(in));
    return t;
}

static bool parse_number(const char *text, value *number) {
    const char *p = text + (*text == '-' || *text == '+');
    char *end;
    if (!isdigit((unsigned char)p[*p == '.'])) return false;
    if (text[strspn(text, "+-.0123456789eE")] != '\0') return false;
    errno = 0;
    *number = integer(strtoll(text, &end, 10));
    if (*end == '\0' && errno == 0) return true;
    *number = real(strtod(text, &end));
    return *end == '\0';
}

static value read_atom(FILE *in, int c) {
    struct text t = read_token(in, c);
    value number;
    if (strcmp(t.bytes, "#t") == 0) return TRUE;
    if (strcmp(t.bytes, "#f") == 0) return FALSE;
    if (parse_number(t.bytes, &number)) return number;
    return from_object(intern(t.bytes, t.length));
}

// A character, after #\.
static value read_char(FILE *in) {
    struct text t = read_token(in, EOF);
    if (t.length == 1) return character(t.bytes[0]);
    if (strcmp(t.bytes, "space") == 0) return character(' ');
    if (strcmp(t.bytes, "newline") == 0) return character('\n');
    if (strcmp(t.bytes, "tab") == 0) return character('\t');
    fail(lisp.place, UNDEFINED, "unknown character #\\%s", t.bytes);
}

// A string, after its first quotation mark.
static value read_string(FILE *in) {
    struct place start = lisp.place;
    struct text t = {0};
    int c;
    while ((c = next_char(in)) != '"') {
        if (c == '\\') {
            c = next_char(in);
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
        }
        if (c == EOF) fail(start, UNDEFINED, "this string has no end");
        text_add(&t, c);
    }
    return from_object(string(t.bytes, t.length));
}

static value read_value(FILE *in);

static value read_next(FILE *in, struct place start) {
    value v = read_value(in);
    if (v == END) fail(start, UNDEFINED, "the input ends inside this form");
    return v;
}

// The rest of a list whose parenthesis lies at `start`.
static value read_list(FILE *in, struct place start) {
    value first = NIL;
    value *tail = &first; // soon the cdr of the last pair: a pointer into it
    for (;;) {
        int c = next_after_blanks(in);
        if (c == ')') return first;
        if (c != EOF) ungetc(c, in);

        int line = lisp.place.line;
        value item = read_next(in, start);
        if (item == symbol(".") && first != NIL) {
            *tail = read_next(in, start);
            if (next_after_blanks(in) == ')') return first;
            fail(start, UNDEFINED, "one value must follow the dot");
        }
        *tail = cons(item, NIL);
        to_pair(*tail)->line = line;
        tail = &to_pair(*tail)->cdr;
    }
}

static value read_quoted(FILE *in, const char *quote) {
    value v = read_next(in, lisp.place);
    return cons(symbol(quote), cons(v, NIL));
}

static value read_unquoted(FILE *in) {
    if (peek_char(in) != '@') return read_quoted(in, "unquote");
    next_char(in);
    return read_quoted(in, "unquote-splicing");
}

static value read_vector(FILE *in) {
    struct place start = lisp.place;
    value items = read_list(in, start);
    if (list_length(items) < 0) fail(start, UNDEFINED, "a vector has no dot");
    return list_to_vector(items);
}

static value read_hash(FILE *in) {
    int c = peek_char(in);
    if (c != '\\' && c != '(') return read_atom(in, '#');
    next_char(in);
    return c == '(' ? read_vector(in) : read_char(in);
}

// Reads one value; END when there is none.
static value read_value(FILE *in) {
    int c = next_after_blanks(in);
    struct place start = lisp.place;
    value v = END;
    deeper(start);
    switch (c) {
    case EOF: break;
    case '(': v = read_list(in, start); break;
    case ')': fail(start, UNDEFINED, "unexpected )");
    case '\'': v = read_quoted(in, "quote"); break;
    case '`': v = read_quoted(in, "quasiquote"); break;
    case ',': v = read_unquoted(in); break;
    case '"': v = read_string(in); break;
    case '#': v = read_hash(in); break;
    default: v = read_atom(in, c);
    }
    lisp.depth--;
    return v;
}

// == evaluating ===================================================================================

static value *variable_slot(const struct node *n, struct frame *f) {
    if (n->op == NODE_GLOBAL) return n->as.variable.global;
    for (unsigned i = n->as.variable.outward; i > 0; i--) f = f->outer;
    return &f->slots[n->as.variable.slot];
}

static value run(const struct node *n, struct frame *f);

static value eval(const struct node *n, struct frame *f) {
    if (n->op == NODE_CONSTANT) return n->as.constant;
    if (n->op == NODE_LOCAL || n->op == NODE_GLOBAL) {
        value v = *variable_slot(n, f);
        if (v != UNDEFINED) return v;
        fail(n->place, UNDEFINED, "%s is not defined", n->as.variable.name->name->bytes);
    }
    deeper(n->place);
    value v = run(n, f);
    lisp.depth--;
    return v;
}

static void check_count(const struct node *site, value function, size_t count, size_t min,
                        size_t max) {
    if (count < min) fail(site->place, function, "too few arguments (%zu)", count);
    if (count > max) fail(site->place, function, "too many arguments (%zu)", count);
}

// Calls a function. A primitive is run. Of a closure only the frame is made: the result is
// TAIL_CALL, and the body is left to the evaluator in lisp.next_node.
static value invoke(const struct node *site, value function, const value *args, size_t count) {
    if (has_tag(function, TAG_PRIMITIVE)) {
        const struct primitive *p = to_primitive(function);
        const struct call c = {.primitive = p, .site = site, .args = args, .count = count};
        check_count(site, function, count, p->min, p->max);
        return p->run(&c);
    }
    if (!is_kind(function, CLOSURE)) fail(site->place, function, "not a procedure");

    const struct closure *c = to_object(function);
    const struct node *lambda = c->lambda;
    size_t required = lambda->as.lambda.required;
    check_count(site, function, count, required, lambda->as.lambda.rest ? SIZE_MAX : required);
    size_t slots = lambda->as.lambda.slots;
    struct frame *f = must(GOMEM_NEW_FLEX_TYPED(struct frame, &frame_type, slots, slots));
    f->outer = c->frame;
    for (size_t i = 0; i < required; i++) f->slots[i] = args[i];
    if (lambda->as.lambda.rest) {
        value rest = NIL;
        while (count > required) rest = cons(args[--count], rest);
        f->slots[required] = rest;
    }
    lisp.next_node = lambda->as.lambda.body;
    lisp.next_frame = f;
    return TAIL_CALL;
}

// The same with a list of arguments, which may follow others.
static value invoke_list(const struct node *site, value function, const value *first,
                         size_t first_count, value list) {
    size_t count = first_count + (size_t)list_length(list);
    value *args = must(GOMEM_MAKE(value, count));
    for (size_t i = 0; i < count; i++) {
        args[i] = i < first_count ? first[i] : car(list);
        if (i >= first_count) list = cdr(list);
    }
    return invoke(site, function, args, count);
}

static value run_call(const struct node *n, struct frame *f) {
    value few[FEW_ARGS], *args = few;
    size_t count = n->as.call.count, i = 0;
    if (count > FEW_ARGS) args = must(GOMEM_MAKE(value, count));
    value function = eval(n->as.call.function, f);
    for (const struct node *arg = n->as.call.args; arg != NULL; arg = arg->next) {
        args[i++] = eval(arg, f);
    }
    return invoke(n, function, args, count);
}

static value run_set(const struct node *n, struct frame *f) {
    const struct node *variable = n->as.set.variable;
    if (n->op == NODE_SET) eval(variable, f); // fails when there is no such variable
    value v = eval(n->as.set.expression, f);
    *variable_slot(variable, f) = v;
    return NOTHING;
}

static value run_lambda(const struct node *n, struct frame *f) {
    struct closure *c = must(GOMEM_NEW_TYPED(struct closure, &closure_type));
    c->head.kind = CLOSURE;
    c->lambda = n;
    c->frame = f;
    return from_object(c);
}

// Runs a list of nodes up to the last, which is returned: its value is that of the list. When an
// `and` meets a false value, or an `or` a true one, that value is it, and NULL is returned.
static const struct node *run_list(const struct node *n, struct frame *f, value *result) {
    const struct node *item = n->as.list;
    for (; item->next != NULL; item = item->next) {
        *result = eval(item, f);
        if (n->op == NODE_AND && *result == FALSE) return NULL;
        if (n->op == NODE_OR && *result != FALSE) return NULL;
    }
    return item;
}

// The loop of the evaluator. What is evaluated in place of the whole node (the branch of an if,
// the body of a function called last) becomes n, with its variables f: it takes no stack.
static value run(const struct node *n, struct frame *f) {
    value v = NOTHING;
    while (n != NULL) {
        switch (n->op) {
        case NODE_CONSTANT:
        case NODE_LOCAL:
        case NODE_GLOBAL: return eval(n, f);
        case NODE_SET:
        case NODE_DEFINE: return run_set(n, f);
        case NODE_LAMBDA: return run_lambda(n, f);
        case NODE_IF:
            v = eval(n->as.branch.test, f);
            n = v != FALSE ? n->as.branch.yes : n->as.branch.no;
            break;
        case NODE_AND:
        case NODE_OR:
        case NODE_SEQUENCE: n = run_list(n, f, &v); break;
        case NODE_CALL:
            v = run_call(n, f);
            if (v != TAIL_CALL) return v;
            n = lisp.next_node;
            f = lisp.next_frame;
            break;
        }
    }
    return v;
}

// == compiling ====================================================================================

// The variables that a form can see while it is compiled: a scope for each lambda.
struct scope {
    struct scope *outer;
    value names; // the last one first: the first name of the list has slot count - 1
    unsigned count;
};

static struct node *compile(value form, struct scope *s);

static struct node *node_make(enum op op) {
    struct node *n = must(GOMEM_NEW_TYPED(struct node, &node_type));
    n->op = op;
    n->place = lisp.place;
    return n;
}

static struct node *node_constant(value v) {
    struct node *n = node_make(NODE_CONSTANT);
    n->as.constant = v;
    return n;
}

static void check_form(bool ok, value form) {
    if (!ok) fail(lisp.place, form, "bad syntax");
}

// The elements of a form are counted with its keyword.
static void check_length(value form, intptr_t min, intptr_t max) {
    intptr_t length = list_length(form);
    check_form(length >= min && length <= max, form);
}

static bool scope_find(const struct scope *s, value name, unsigned *slot) {
    *slot = s->count;
    for (value names = s->names; names != NIL; names = cdr(names)) {
        --*slot;
        if (car(names) == name) return true;
    }
    return false;
}

static void scope_add(struct scope *s, value name) {
    unsigned slot;
    if (!is_kind(name, SYMBOL)) fail(lisp.place, name, "not the name of a variable");
    if (scope_find(s, name, &slot)) fail(lisp.place, name, "a name given twice");
    s->names = cons(name, s->names);
    s->count++;
}

static struct node *compile_variable(value name, const struct scope *s) {
    struct node *n = node_make(NODE_GLOBAL);
    struct symbol *entry = to_object(name);
    n->as.variable.name = entry;
    n->as.variable.global = lisp.in_prelude ? &entry->builtin : &entry->global;
    for (unsigned outward = 0; s != NULL; s = s->outer, outward++) {
        if (scope_find(s, name, &n->as.variable.slot)) {
            n->op = NODE_LOCAL;
            n->as.variable.outward = outward;
            return n;
        }
    }
    return n;
}

// A list of nodes from a list of forms.
static struct node *compile_each(value forms, struct scope *s) {
    struct node *first = NULL;
    for (struct node **tail = &first; is_pair(forms); forms = cdr(forms)) {
        *tail = compile(car(forms), s);
        tail = &(*tail)->next;
    }
    return first;
}

static struct node *compile_sequence(value forms, struct scope *s) {
    if (forms == NIL) return node_constant(NOTHING);
    if (cdr(forms) == NIL) return compile(car(forms), s);
    struct node *n = node_make(NODE_SEQUENCE);
    n->as.list = compile_each(forms, s);
    return n;
}

// The body of a lambda. What it defines are variables of the scope, all entered before
// anything is compiled, so that functions can call those that follow.
static struct node *compile_body(value forms, struct scope *s) {
    for (value rest = forms; is_pair(rest); rest = cdr(rest)) {
        value form = car(rest);
        unsigned slot;
        if (!is_pair(form) || car(form) != symbol("define")) continue;
        check_length(form, 3, INTPTR_MAX);
        value name = is_pair(cadr(form)) ? car(cadr(form)) : cadr(form);
        if (!scope_find(s, name, &slot)) scope_add(s, name);
    }
    return compile_sequence(forms, s);
}

static struct node *make_lambda(value params, value body, struct scope *outer) {
    struct node *n = node_make(NODE_LAMBDA);
    struct scope s = {.outer = outer, .names = NIL};
    for (; is_pair(params); params = cdr(params)) scope_add(&s, car(params));
    n->as.lambda.required = s.count;
    n->as.lambda.rest = params != NIL;
    if (params != NIL) scope_add(&s, params);
    n->as.lambda.body = compile_body(body, &s);
    n->as.lambda.slots = s.count;
    return n;
}

static struct node *compile_lambda(value form, struct scope *s) {
    check_length(form, 3, INTPTR_MAX);
    return make_lambda(cadr(form), cddr(form), s);
}

static struct node *make_set(enum op op, value name, struct node *expression, struct scope *s) {
    struct node *n = node_make(op);
    n->as.set.variable = compile_variable(name, s);
    n->as.set.expression = expression;
    return n;
}

static struct node *compile_set(value form, struct scope *s) {
    check_length(form, 3, 3);
    check_form(is_kind(cadr(form), SYMBOL), form);
    return make_set(NODE_SET, cadr(form), compile(car(cddr(form)), s), s);
}

static struct node *compile_define(value form, struct scope *s) {
    check_length(form, 3, INTPTR_MAX);
    value name = cadr(form);
    bool is_function = is_pair(name);
    unsigned slot;
    struct node *expression;
    if (is_function) {
        expression = make_lambda(cdr(name), cddr(form), s);
        name = car(name);
    } else {
        check_length(form, 3, 3);
        expression = compile(car(cddr(form)), s);
    }
    check_form(is_kind(name, SYMBOL), form);
    if (s != NULL && !scope_find(s, name, &slot)) {
        fail(lisp.place, form, "a definition must stand directly in a body");
    }
    if (expression->op == NODE_LAMBDA) expression->as.lambda.name = to_object(name);
    if (s == NULL) keep_symbol(to_object(name));
    return make_set(NODE_DEFINE, name, expression, s);
}

static struct node *compile_if(value form, struct scope *s) {
    check_length(form, 3, 4);
    struct node *n = node_make(NODE_IF);
    n->as.branch.test = compile(cadr(form), s);
    n->as.branch.yes = compile(car(cddr(form)), s);
    n->as.branch.no = compile_sequence(cdr(cddr(form)), s);
    return n;
}

static struct node *make_logic(enum op op, bool empty, value form, struct scope *s) {
    check_length(form, 1, INTPTR_MAX);
    if (cdr(form) == NIL) return node_constant(boolean(empty));
    struct node *n = node_make(op);
    n->as.list = compile_each(cdr(form), s);
    return n;
}

static struct node *compile_and(value form, struct scope *s) {
    return make_logic(NODE_AND, true, form, s);
}

static struct node *compile_or(value form, struct scope *s) {
    return make_logic(NODE_OR, false, form, s);
}

static struct node *compile_begin(value form, struct scope *s) {
    check_length(form, 1, INTPTR_MAX);
    return compile_sequence(cdr(form), s);
}

static struct node *compile_quote(value form, struct scope *s) {
    (void)s;
    check_length(form, 2, 2);
    return node_constant(cadr(form));
}

static struct node *compile_call(value form, struct scope *s) {
    check_length(form, 1, INTPTR_MAX);
    struct node *n = node_make(NODE_CALL);
    n->as.call.function = compile(car(form), s);
    n->as.call.args = compile_each(cdr(form), s);
    n->as.call.count = (size_t)list_length(cdr(form));
    return n;
}

// (define-macro (name . params) body ...)
static struct node *compile_define_macro(value form, struct scope *s) {
    check_length(form, 3, INTPTR_MAX);
    check_form(s == NULL && is_pair(cadr(form)) && is_kind(car(cadr(form)), SYMBOL), form);
    struct symbol *name = to_object(car(cadr(form)));
    keep_symbol(name);
    name->macro = eval(make_lambda(cdr(cadr(form)), cddr(form), NULL), NULL);
    return node_constant(NOTHING);
}

// Calls the macro with the parts of the form; the result takes the place of the form.
static struct node *expand_macro(value macro, value form, struct scope *s) {
    struct node *site = node_constant(form);
    check_length(form, 1, INTPTR_MAX);
    lisp.expanding = form;
    value expansion = invoke_list(site, macro, NULL, 0, cdr(form));
    if (expansion == TAIL_CALL) expansion = eval(lisp.next_node, lisp.next_frame);
    lisp.expanding = UNDEFINED;
    return compile(expansion, s);
}

static struct node *compile_pair(value form, struct scope *s) {
    if (is_kind(car(form), SYMBOL)) {
        const struct symbol *head = to_object(car(form));
        bool special = head->compile != NULL || head->macro != UNDEFINED;
        if (special && compile_variable(car(form), s)->op != NODE_LOCAL) {
            return head->compile != NULL ? head->compile(form, s)
                                         : expand_macro(head->macro, form, s);
        }
    }
    return compile_call(form, s);
}

static struct node *compile(value form, struct scope *s) {
    struct place outer = lisp.place;
    struct node *n;
    deeper(outer);
    if (is_kind(form, SYMBOL)) {
        n = compile_variable(form, s);
    } else if (is_pair(form)) {
        if (to_pair(form)->line != 0) lisp.place.line = to_pair(form)->line;
        n = compile_pair(form, s);
    } else {
        check_form(form != NIL, form);
        n = node_constant(form);
    }
    lisp.depth--;
    lisp.place = outer;
    return n;
}

// == primitives ===================================================================================

static void check_arg(const struct call *c, size_t i, bool ok, const char *what) {
    if (ok) return;
    fail(c->site->place, c->args[i], "%s: argument %zu is not %s", c->primitive->name, i + 1, what);
}

static struct pair *arg_pair(const struct call *c, size_t i) {
    check_arg(c, i, is_pair(c->args[i]), "a pair");
    return to_pair(c->args[i]);
}

static value arg_list(const struct call *c, size_t i) {
    check_arg(c, i, list_length(c->args[i]) >= 0, "a list");
    return c->args[i];
}

static struct string *arg_string(const struct call *c, size_t i) {
    check_arg(c, i, is_kind(c->args[i], STRING), "a string");
    return to_object(c->args[i]);
}

static struct vector *arg_vector(const struct call *c, size_t i) {
    check_arg(c, i, is_kind(c->args[i], VECTOR), "a vector");
    return to_object(c->args[i]);
}

static value arg_number(const struct call *c, size_t i) {
    check_arg(c, i, is_number(c->args[i]), "a number");
    return c->args[i];
}

static int64_t arg_integer(const struct call *c, size_t i) {
    check_arg(c, i, is_fixnum(c->args[i]), "an integer");
    return to_integer(c->args[i]);
}

// An integer from 0 up to, and without, the limit.
static size_t arg_index(const struct call *c, size_t i, size_t limit) {
    int64_t index = arg_integer(c, i);
    check_arg(c, i, index >= 0 && (uint64_t)index < limit, "in range");
    return (size_t)index;
}

// -- numbers --------------------------------------------------------------------------------------

// Integers stay integers as long as they fit; with a real number the result is real.
static value arithmetic(int sign, value a, value b) {
    double x = to_double(a), y = to_double(b);
    bool exact = is_fixnum(a) && is_fixnum(b);
    switch (sign) {
    case '+': return exact ? integer(to_integer(a) + to_integer(b)) : real(x + y);
    case '-': return exact ? integer(to_integer(a) - to_integer(b)) : real(x - y);
    case '*':
        exact = exact && x * y < 9e18 && x * y > -9e18; // the product fits 64 bits
        return exact ? integer(to_integer(a) * to_integer(b)) : real(x * y);
    default:
        exact = exact && to_integer(b) != 0 && to_integer(a) % to_integer(b) == 0;
        return exact ? integer(to_integer(a) / to_integer(b)) : real(x / y);
    }
}

// + - * / of any number of arguments. Of x alone they give 0 + x, 0 - x, 1 * x and 1 / x.
static value run_arithmetic(const struct call *c) {
    int sign = c->primitive->which;
    size_t i = c->count > 1;
    value result = i == 1 ? arg_number(c, 0) : integer(sign == '*' || sign == '/');
    for (; i < c->count; i++) {
        bool by_zero = sign == '/' && is_fixnum(result) && arg_number(c, i) == integer(0);
        check_arg(c, i, !by_zero, "a possible divisor");
        result = arithmetic(sign, result, arg_number(c, i));
    }
    return result;
}

// A real number without a fraction that an integer can be.
static bool is_whole(double x) {
    double limit = (double)((uint64_t)FIXNUM_MAX + 1);
    return x >= -limit && x < limit && (double)(int64_t)x == x;
}

// An integer, or a real number that is one.
static int64_t arg_whole(const struct call *c, size_t i) {
    double x = to_double(arg_number(c, i));
    check_arg(c, i, is_fixnum(c->args[i]) || is_whole(x), "an integer");
    return is_fixnum(c->args[i]) ? to_integer(c->args[i]) : (int64_t)x;
}

static value run_division(const struct call *c) {
    int64_t a = arg_whole(c, 0), b = arg_whole(c, 1);
    bool exact = is_fixnum(c->args[0]) && is_fixnum(c->args[1]);
    check_arg(c, 1, b != 0, "a possible divisor");
    int64_t result = c->primitive->which == 'q' ? a / b : a % b;
    bool other_sign = result != 0 && (result < 0) != (b < 0);
    if (c->primitive->which == 'm' && other_sign) result += b;
    return exact ? integer(result) : real((double)result);
}

enum { LESS = 1, EQUAL = 2, GREATER = 4 };

static int order_numbers(value a, value b) {
    if (is_fixnum(a) && is_fixnum(b)) {
        int64_t x = to_integer(a), y = to_integer(b);
        return x < y ? LESS : x > y ? GREATER : EQUAL;
    }
    double x = to_double(a), y = to_double(b);
    return x < y ? LESS : x > y ? GREATER : x == y ? EQUAL : 0; // 0: one is not a number
}

static value run_compare(const struct call *c) {
    int holds = LESS | EQUAL | GREATER;
    for (size_t i = 0; i < c->count; i++) {
        arg_number(c, i);
        if (i > 0 && !(order_numbers(c->args[i - 1], c->args[i]) & c->primitive->which)) holds = 0;
    }
    return boolean(holds != 0);
}

static value run_truncate(const struct call *c) {
    double x = to_double(arg_number(c, 0));
    bool has_fraction = !is_fixnum(c->args[0]) && x < 0x1p53 && x > -0x1p53;
    return has_fraction ? real((double)(int64_t)x) : c->args[0];
}

static value run_exact(const struct call *c) {
    double x = to_double(arg_number(c, 0));
    if (is_fixnum(c->args[0])) return c->args[0];
    check_arg(c, 0, is_whole(x), "a whole number that fits an integer");
    return integer((int64_t)x);
}

static value run_inexact(const struct call *c) { return real(to_double(arg_number(c, 0))); }

static value run_number_to_string(const struct call *c) {
    char text[40];
    format_number(text, arg_number(c, 0));
    return from_object(string(text, strlen(text)));
}

static value run_string_to_number(const struct call *c) {
    value number;
    const struct string *s = arg_string(c, 0);
    return strlen(s->bytes) == s->length && parse_number(s->bytes, &number) ? number : FALSE;
}

// -- predicates -----------------------------------------------------------------------------------

static value run_has_tag(const struct call *c) {
    return boolean(has_tag(c->args[0], (unsigned)c->primitive->which));
}

static value run_is_kind(const struct call *c) {
    return boolean(is_kind(c->args[0], (enum kind)c->primitive->which));
}

static value run_is_number(const struct call *c) { return boolean(is_number(c->args[0])); }

static value run_is_procedure(const struct call *c) {
    return boolean(is_kind(c->args[0], CLOSURE) || has_tag(c->args[0], TAG_PRIMITIVE));
}

// eq? and eqv?: the same object, or equal numbers of one type.
static value run_same(const struct call *c) {
    value a = c->args[0], b = c->args[1];
    bool reals = is_kind(a, REAL) && is_kind(b, REAL);
    return boolean(reals ? order_numbers(a, b) == EQUAL : a == b);
}

// -- pairs and lists ------------------------------------------------------------------------------

static value run_cons(const struct call *c) { return cons(c->args[0], c->args[1]); }

static value run_car(const struct call *c) { return arg_pair(c, 0)->car; }

static value run_cdr(const struct call *c) { return arg_pair(c, 0)->cdr; }

static value run_set_car(const struct call *c) {
    arg_pair(c, 0)->car = c->args[1];
    return NOTHING;
}

static value run_set_cdr(const struct call *c) {
    arg_pair(c, 0)->cdr = c->args[1];
    return NOTHING;
}

static value run_is_list(const struct call *c) { return boolean(list_length(c->args[0]) >= 0); }

// Whatever does not go round for ever.
static value run_check_list(const struct call *c) {
    intptr_t length;
    check_arg(c, 0, !is_pair(list_end(c->args[0], &length)), "a list that ends");
    return c->args[0];
}

static value run_length(const struct call *c) { return integer(list_length(arg_list(c, 0))); }

// (apply f x ... list): the evaluator goes on with the call.
static value run_apply(const struct call *c) {
    size_t last = c->count - 1;
    return invoke_list(c->site, c->args[0], c->args + 1, last - 1, arg_list(c, last));
}

// -- vectors --------------------------------------------------------------------------------------

static value run_make_vector(const struct call *c) {
    struct vector *v = vector(arg_index(c, 0, PTRDIFF_MAX));
    for (size_t i = 0; i < v->length; i++) v->items[i] = c->count > 1 ? c->args[1] : integer(0);
    return from_object(v);
}

static value run_list_to_vector(const struct call *c) { return list_to_vector(arg_list(c, 0)); }

static value run_vector_length(const struct call *c) {
    return integer((int64_t)arg_vector(c, 0)->length);
}

static value run_vector_ref(const struct call *c) {
    const struct vector *v = arg_vector(c, 0);
    return v->items[arg_index(c, 1, v->length)];
}

static value run_vector_set(const struct call *c) {
    struct vector *v = arg_vector(c, 0);
    v->items[arg_index(c, 1, v->length)] = c->args[2];
    return NOTHING;
}

// -- strings, characters and symbols --------------------------------------------------------------

static value run_string_length(const struct call *c) {
    return integer((int64_t)arg_string(c, 0)->length);
}

static value run_string_ref(const struct call *c) {
    const struct string *s = arg_string(c, 0);
    return character(s->bytes[arg_index(c, 1, s->length)]);
}

static value run_substring(const struct call *c) {
    const struct string *s = arg_string(c, 0);
    size_t end = c->count > 2 ? arg_index(c, 2, s->length + 1) : s->length;
    size_t start = arg_index(c, 1, end + 1);
    return from_object(string(s->bytes + start, end - start));
}

static value run_string_append(const struct call *c) {
    size_t length = 0, at = 0;
    for (size_t i = 0; i < c->count; i++) length += arg_string(c, i)->length;
    struct string *result = string(NULL, length);
    for (size_t i = 0; i < c->count; i++) {
        const struct string *s = to_object(c->args[i]);
        memcpy(result->bytes + at, s->bytes, s->length);
        at += s->length;
    }
    return from_object(result);
}

static value run_compare_strings(const struct call *c) {
    const struct string *a = arg_string(c, 0), *b = arg_string(c, 1);
    int order = memcmp(a->bytes, b->bytes, a->length < b->length ? a->length : b->length);
    if (order == 0) order = (a->length > b->length) - (a->length < b->length);
    return boolean((order < 0 ? LESS : order > 0 ? GREATER : EQUAL) & c->primitive->which);
}

static value run_list_to_string(const struct call *c) {
    struct text t = {0};
    for (value list = arg_list(c, 0); list != NIL; list = cdr(list)) {
        check_arg(c, 0, has_tag(car(list), TAG_CHAR), "a list of characters");
        text_add(&t, to_char(car(list)));
    }
    return from_object(string(t.bytes, t.length));
}

static value run_string_to_symbol(const struct call *c) {
    return from_object(intern(arg_string(c, 0)->bytes, arg_string(c, 0)->length));
}

static value run_symbol_to_string(const struct call *c) {
    check_arg(c, 0, is_kind(c->args[0], SYMBOL), "a symbol");
    return from_object(((struct symbol *)to_object(c->args[0]))->name);
}

// A symbol that is nowhere else, for the variables of a macro.
static value run_gensym(const struct call *c) {
    char name[40];
    (void)c;
    snprintf(name, sizeof(name), " %d", lisp.fresh_symbols++);
    return from_object(symbol_make(name, strlen(name)));
}

static value run_char_to_integer(const struct call *c) {
    check_arg(c, 0, has_tag(c->args[0], TAG_CHAR), "a character");
    return integer((unsigned char)to_char(c->args[0]));
}

static value run_integer_to_char(const struct call *c) {
    return character((char)arg_index(c, 0, 256));
}

// -- the world outside ----------------------------------------------------------------------------

// What cannot be written ends the program at once, however long it would go on.
static void check_output(bool ok) {
    if (ok && !ferror(stdout)) return;
    fprintf(stderr, "lisp: cannot write: %s\n", strerror(errno));
    exit(1);
}

static value run_display(const struct call *c) {
    write_value(stdout, c->args[0], c->primitive->which == 'd');
    check_output(true);
    return NOTHING;
}

static value run_newline(const struct call *c) {
    (void)c;
    check_output(putchar('\n') != EOF);
    return NOTHING;
}

// (error "message" value ...): the values are reported as a list.
static value run_error(const struct call *c) {
    value values = NIL;
    for (size_t i = c->count; i > 1; i--) values = cons(c->args[i - 1], values);
    fail(c->site->place, values == NIL ? UNDEFINED : values, "%s", arg_string(c, 0)->bytes);
}

static value run_exit(const struct call *c) {
    int status = c->count > 0 ? (int)arg_index(c, 0, 256) : 0;
    check_output(fflush(stdout) == 0);
    exit(status);
}

// == the names of it all ==========================================================================

static const struct {
    const char *name;
    struct node *(*compile)(value form, struct scope *s);
} forms[] = {
    {"and", compile_and},       {"begin", compile_begin},
    {"define", compile_define}, {"define-macro", compile_define_macro},
    {"if", compile_if},         {"lambda", compile_lambda},
    {"or", compile_or},         {"quote", compile_quote},
    {"set!", compile_set},
};

#define ANY SIZE_MAX // number of arguments

static const struct primitive primitives[] = {
    {"+", run_arithmetic, 0, ANY, '+'},
    {"-", run_arithmetic, 1, ANY, '-'},
    {"*", run_arithmetic, 0, ANY, '*'},
    {"/", run_arithmetic, 1, ANY, '/'},
    {"quotient", run_division, 2, 2, 'q'},
    {"remainder", run_division, 2, 2, 'r'},
    {"modulo", run_division, 2, 2, 'm'},
    {"=", run_compare, 1, ANY, EQUAL},
    {"<", run_compare, 1, ANY, LESS},
    {">", run_compare, 1, ANY, GREATER},
    {"<=", run_compare, 1, ANY, LESS | EQUAL},
    {">=", run_compare, 1, ANY, GREATER | EQUAL},
    {"truncate", run_truncate, 1, 1, 0},
    {"exact", run_exact, 1, 1, 0},
    {"inexact", run_inexact, 1, 1, 0},
    {"number->string", run_number_to_string, 1, 1, 0},
    {"string->number", run_string_to_number, 1, 1, 0},
    {"pair?", run_has_tag, 1, 1, TAG_PAIR},
    {"integer?", run_has_tag, 1, 1, TAG_FIXNUM},
    {"char?", run_has_tag, 1, 1, TAG_CHAR},
    {"string?", run_is_kind, 1, 1, STRING},
    {"symbol?", run_is_kind, 1, 1, SYMBOL},
    {"vector?", run_is_kind, 1, 1, VECTOR},
    {"number?", run_is_number, 1, 1, 0},
    {"procedure?", run_is_procedure, 1, 1, 0},
    {"eq?", run_same, 2, 2, 0},
    {"eqv?", run_same, 2, 2, 0},
    {"cons", run_cons, 2, 2, 0},
    {"car", run_car, 1, 1, 0},
    {"cdr", run_cdr, 1, 1, 0},
    {"set-car!", run_set_car, 2, 2, 0},
    {"set-cdr!", run_set_cdr, 2, 2, 0},
    {"length", run_length, 1, 1, 0},
    {"list?", run_is_list, 1, 1, 0},
    {"check-list", run_check_list, 1, 1, 0},
    {"apply", run_apply, 2, ANY, 0},
    {"make-vector", run_make_vector, 1, 2, 0},
    {"vector-length", run_vector_length, 1, 1, 0},
    {"vector-ref", run_vector_ref, 2, 2, 0},
    {"vector-set!", run_vector_set, 3, 3, 0},
    {"list->vector", run_list_to_vector, 1, 1, 0},
    {"string-length", run_string_length, 1, 1, 0},
    {"string-ref", run_string_ref, 2, 2, 0},
    {"substring", run_substring, 2, 3, 0},
    {"string-append", run_string_append, 0, ANY, 0},
    {"string=?", run_compare_strings, 2, 2, EQUAL},
    {"string<?", run_compare_strings, 2, 2, LESS},
    {"string>?", run_compare_strings, 2, 2, GREATER},
    {"list->string", run_list_to_string, 1, 1, 0},
    {"string->symbol", run_string_to_symbol, 1, 1, 0},
    {"symbol->string", run_symbol_to_string, 1, 1, 0},
    {"gensym", run_gensym, 0, 0, 0},
    {"char->integer", run_char_to_integer, 1, 1, 0},
    {"integer->char", run_integer_to_char, 1, 1, 0},
    {"display", run_display, 1, 1, 'd'},
    {"write", run_display, 1, 1, 'w'},
    {"newline", run_newline, 0, 0, 0},
    {"error", run_error, 1, ANY, 0},
    {"exit", run_exit, 0, 1, 0},
};

// What is as well written in the language itself, in pieces that any C compiler takes.
// clang-format off
static const char *const prelude[] = {
    "(define (list . items) items)\n"
    "(define (not x) (eq? x #f))\n"
    "(define (null? x) (eq? x '()))\n"
    "(define (caar x) (car (car x)))\n"
    "(define (cadr x) (car (cdr x)))\n"
    "(define (cdar x) (cdr (car x)))\n"
    "(define (cddr x) (cdr (cdr x)))\n"
    "(define (caddr x) (car (cddr x)))\n"
    "(define (cdddr x) (cdr (cddr x)))\n"
    "(define (fold1 f x l) (if (null? l) x (fold1 f (f (car l) x) (cdr l))))\n"
    "(define (fold f x l) (fold1 f x (check-list l)))\n"
    "(define (reverse l) (fold cons '() l))\n"
    "(define (append2 a b) (fold cons b (reverse a)))\n"
    "(define (append . ls)\n"
    "  (if (null? ls) '() (fold append2 (car (reverse ls)) (cdr (reverse ls)))))\n"
    "(define (map1 f l) (reverse (fold (lambda (x done) (cons (f x) done)) '() l)))\n"
    "(define (each f l) (if (pair? l) (begin (f (car l)) (each f (cdr l)))))\n"
    "(define (for-each1 f l) (each f (check-list l)))\n",

    "(define-macro (quasiquote x)\n"
    "  (define (unquoting? x name) (and (pair? x) (eq? (car x) name)))\n"
    "  (define (expand x)\n"
    "    (if (unquoting? x 'unquote) (cadr x)\n"
    "        (if (pair? x) (expand-list x '()) (list 'quote x))))\n"
    "  (define (join items rest) (list append2 (cons list (reverse items)) rest))\n"
    "  (define (expand-list x items)\n"
    "    (if (or (not (pair? x)) (unquoting? x 'unquote)) (join items (expand x))\n"
    "        (if (unquoting? (car x) 'unquote-splicing)\n"
    "            (join items (list append2 (cadr (car x)) (expand (cdr x))))\n"
    "            (expand-list (cdr x) (cons (expand (car x)) items)))))\n"
    "  (expand (check-list x)))\n"
    "(define-macro (let bindings . body)\n"
    "  (if (symbol? bindings)\n"
    "      `(named-let ,bindings ,@body)\n"
    "      `((lambda ,(map1 car bindings) ,@body) ,@(map1 cadr bindings))))\n"
    "(define-macro (named-let name bindings . body)\n"
    "  `((let () (define (,name ,@(map1 car bindings)) ,@body) ,name) ,@(map1 cadr bindings)))\n"
    "(define-macro (when test . body) `(if ,test (begin ,@body)))\n"
    "(define-macro (unless test . body) `(if ,test (begin) (begin ,@body)))\n"
    "(define-macro (let* bindings . body)\n"
    "  (if (or (null? bindings) (null? (cdr bindings)))\n"
    "      `(let ,bindings ,@body)\n"
    "      `(let (,(car bindings)) (let* ,(cdr bindings) ,@body))))\n"
    "(define-macro (letrec bindings . body)\n"
    "  `(let () ,@(map1 (lambda (b) `(define ,@b)) bindings) (let () ,@body)))\n"
    "(define-macro (cond . clauses)\n"
    "  (if (null? clauses) '(begin)\n"
    "      (let ((test (caar clauses)) (body (cdar clauses)) (rest (cdr clauses)))\n"
    "        (if (eq? test 'else) `(begin ,@body)\n"
    "            (if (null? body) `(or ,test (cond ,@rest))\n"
    "                (if (eq? (car body) '=>)\n"
    "                    (let ((x (gensym)))\n"
    "                      `(let ((,x ,test)) (if ,x (,(cadr body) ,x) (cond ,@rest))))\n"
    "                    `(if ,test (begin ,@body) (cond ,@rest))))))))\n"
    "(define-macro (case key . clauses)\n"
    "  (let ((k (gensym)))\n"
    "    (define (clause c) (if (eq? (car c) 'else) c `((,memv ,k ',(car c)) ,@(cdr c))))\n"
    "    `(let ((,k ,key)) (cond ,@(map1 clause clauses)))))\n"
    "(define-macro (do bindings end . body)\n"
    "  (let ((again (gensym)))\n"
    "    (define (step b) (if (null? (cddr b)) (car b) (caddr b)))\n"
    "    `(let ,again ,(map1 (lambda (b) (list (car b) (cadr b))) bindings)\n"
    "       (if ,(car end) (begin ,@(cdr end))\n"
    "           (begin ,@body (,again ,@(map1 step bindings)))))))\n",

    "(define (zero? x) (= x 0))\n"
    "(define (positive? x) (> x 0))\n"
    "(define (negative? x) (< x 0))\n"
    "(define (even? x) (= (remainder x 2) 0))\n"
    "(define (odd? x) (not (even? x)))\n"
    "(define (abs x) (if (< x 0) (- x) x))\n"
    "(define (min x . l) (fold (lambda (y m) (if (< y m) y m)) x l))\n"
    "(define (max x . l) (fold (lambda (y m) (if (> y m) y m)) x l))\n"
    "(define (gcd a b) (if (= b 0) (abs a) (gcd b (remainder a b))))\n"
    "(define (floor x) (let ((t (truncate x))) (if (< x t) (- t 1) t)))\n"
    "(define (ceiling x) (- (floor (- x))))\n"
    "(define (round x)\n"
    "  (let* ((low (floor x)) (rest (- x low)) (half (/ low 2)))\n"
    "    (if (or (> rest 0.5) (and (= rest 0.5) (not (= half (floor half))))) (+ low 1) low)))\n"
    "(define (expt x n)\n"
    "  (cond ((< n 0) (/ 1 (expt x (- n))))\n"
    "        ((= n 0) 1)\n"
    "        ((even? n) (expt (* x x) (quotient n 2)))\n"
    "        (else (* x (expt x (- n 1))))))\n"
    "(define (sqrt x)\n"
    "  (if (< x 0) (error \"sqrt: the argument is negative\" x))\n"
    "  (let loop ((r (inexact (if (> x 1) x 1))))\n"
    "    (let ((next (/ (+ r (/ x r)) 2)))\n"
    "      (cond ((< next r) (loop next))\n"
    "            ((and (integer? x) (= (* (round r) (round r)) x)) (exact (round r)))\n"
    "            (else r)))))\n",

    "(define (boolean? x) (or (eq? x #t) (eq? x #f)))\n"
    "(define (equal? a b)\n"
    "  (cond ((and (pair? a) (pair? b)) (equal-lists? (check-list a) (check-list b)))\n"
    "        ((and (string? a) (string? b)) (string=? a b))\n"
    "        ((and (vector? a) (vector? b)) (equal? (vector->list a) (vector->list b)))\n"
    "        (else (eqv? a b))))\n"
    "(define (equal-lists? a b)\n"
    "  (if (and (pair? a) (pair? b))\n"
    "      (and (equal? (car a) (car b)) (equal-lists? (cdr a) (cdr b)))\n"
    "      (equal? a b)))\n"
    "(define (list-tail l n) (if (= n 0) l (list-tail (cdr l) (- n 1))))\n"
    "(define (list-ref l n) (car (list-tail l n)))\n"
    "(define (find1 same? part x l)\n"
    "  (and (pair? l) (if (same? x (part (car l))) l (find1 same? part x (cdr l)))))\n"
    "(define (itself x) x)\n"
    "(define (first l) (and l (car l)))\n"
    "(define (memv x l) (find1 eqv? itself x (check-list l)))\n"
    "(define (member x l) (find1 equal? itself x (check-list l)))\n"
    "(define (assv x l) (first (find1 eqv? car x (check-list l))))\n"
    "(define (assoc x l) (first (find1 equal? car x (check-list l))))\n"
    "(define memq memv)\n"
    "(define assq assv)\n"
    "(define (filter keep? l)\n"
    "  (reverse (fold (lambda (x kept) (if (keep? x) (cons x kept) kept)) '() l)))\n"
    "(define (map f l . more)\n"
    "  (if (null? (filter list? (cons l more))) (check-list l))\n"
    "  (if (null? more) (map1 f l)\n"
    "      (let loop ((ls (cons l more)) (done '()))\n"
    "        (if (memq '() ls) (reverse done)\n"
    "            (loop (map1 cdr ls) (cons (apply f (map1 car ls)) done))))))\n"
    "(define (for-each f l . more)\n"
    "  (if (null? more) (for-each1 f l) (begin (apply map f l more) (begin))))\n",

    "(define (vector . items) (list->vector items))\n"
    "(define (vector->list v)\n"
    "  (let loop ((i (- (vector-length v) 1)) (l '()))\n"
    "    (if (< i 0) l (loop (- i 1) (cons (vector-ref v i) l)))))\n"
    "(define (vector-map f v) (list->vector (map1 f (vector->list v))))\n"
    "(define (vector-for-each f v) (for-each1 f (vector->list v)))\n"
    "(define (vector-fill! v x)\n"
    "  (do ((i 0 (+ i 1))) ((= i (vector-length v))) (vector-set! v i x)))\n",

    "(define (string . chars) (list->string chars))\n"
    "(define (string->list s)\n"
    "  (let loop ((i (- (string-length s) 1)) (l '()))\n"
    "    (if (< i 0) l (loop (- i 1) (cons (string-ref s i) l)))))\n"
    "(define (make-string n c)\n"
    "  (let loop ((i 0) (l '()))\n"
    "    (if (= i n) (list->string l) (loop (+ i 1) (cons c l)))))\n"
    "(define (char=? a b) (eq? a b))\n"
    "(define (char<? a b) (< (char->integer a) (char->integer b)))\n"
    "(define (char-between? a c b) (<= (char->integer a) (char->integer c) (char->integer b)))\n"
    "(define (char-alphabetic? c) (char-between? #\\a (char-downcase c) #\\z))\n"
    "(define (char-numeric? c) (char-between? #\\0 c #\\9))\n"
    "(define (char-whitespace? c) (if (memv c '(#\\space #\\newline #\\tab)) #t #f))\n"
    "(define (char-shift c n) (integer->char (+ (char->integer c) n)))\n"
    "(define (char-upcase c) (if (char-between? #\\a c #\\z) (char-shift c -32) c))\n"
    "(define (char-downcase c) (if (char-between? #\\A c #\\Z) (char-shift c 32) c))\n"
    "(define (string-upcase s) (list->string (map1 char-upcase (string->list s))))\n"
    "(define (string-downcase s) (list->string (map1 char-downcase (string->list s))))\n",
};
// clang-format on

// == running ======================================================================================

// Runs all forms of the input; false after an error.
static bool run_stream(FILE *in, const char *name) {
    lisp.place = (struct place){.file = name, .line = 1};
    lisp.depth = 0;
    if (setjmp(lisp.recover) != 0) return false;
    for (;;) {
        value form = read_value(in);
        if (form == END) return true;
        eval(compile(form, NULL), NULL);
    }
}

static bool run_file(const char *name) {
    FILE *in = fopen(name, "r");
    if (in == NULL) {
        fprintf(stderr, "lisp: cannot open %s: %s\n", name, strerror(errno));
        return false;
    }
    bool ok = run_stream(in, name);
    if (ok && ferror(in)) {
        fprintf(stderr, "lisp: cannot read %s: %s\n", name, strerror(errno));
        ok = false;
    }
    fclose(in);
    return ok;
}

// Reads, evaluates and prints until the input ends. An error ends the line, not the program.
static void run_repl(void) {
    bool prompt = isatty(STDIN_FILENO);
    lisp.place = (struct place){.file = "input", .line = 1};
    if (setjmp(lisp.recover) != 0) {
        for (int c = 0; c != '\n' && c != EOF;) c = next_char(stdin);
    }
    for (;;) {
        lisp.depth = 0;
        if (prompt) fputs("> ", stdout);
        fflush(stdout);
        value form = read_value(stdin);
        if (form == END) return;
        value v = eval(compile(form, NULL), NULL);
        if (v == NOTHING) continue;
        write_value(stdout, v, false);
        putchar('\n');
    }
}

// How far down C's stack reaches, whatever its limit is.
static void find_stack(void) {
    pthread_attr_t attributes;
    void *low;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
    if (pthread_attr_getstack(&attributes, &low, &size) == 0)
        lisp.stack_end = (const char *)low + (size / 4 < STACK_RESERVE ? size / 4 : STACK_RESERVE);
    pthread_attr_destroy(&attributes);
}

// Gives the special forms and the primitives their names.
static bool define_names(void) {
    if (setjmp(lisp.recover) != 0) return false;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct symbol *name = intern(forms[i].name, strlen(forms[i].name));
        keep_symbol(name);
        name->compile = forms[i].compile;
    }
    for (size_t i = 0; i < sizeof(primitives) / sizeof(primitives[0]); i++) {
        const struct primitive *p = &primitives[i];
        struct symbol *name = intern(p->name, strlen(p->name));
        keep_symbol(name);
        name->builtin = (value)p + TAG_PRIMITIVE;
    }
    return true;
}

// Runs the prelude; what is defined then is what programs begin with.
static bool run_prelude(void) {
    bool ok = true;
    lisp.in_prelude = true;
    for (size_t i = 0; ok && i < sizeof(prelude) / sizeof(prelude[0]); i++) {
        FILE *in = fmemopen((void *)(uintptr_t)prelude[i], strlen(prelude[i]), "r");
        ok = in != NULL && run_stream(in, "prelude");
        if (in != NULL) fclose(in);
    }
    lisp.in_prelude = false;
    for (struct symbol *s = lisp.defined; s != NULL; s = s->next) s->global = s->builtin;
    return ok;
}

static void print_memory(void) {
    gomem_memstats m = {.size = sizeof(m)};
    struct rusage usage;
    gomem_read_memstats(&m);
    getrusage(RUSAGE_SELF, &usage);
    fprintf(stderr,
            "allocated %.1f MiB, %.1f MiB live at the end, %ld KiB peak memory\n"
            "%" PRIu64 " collections, %.2f ms of pauses, the longest %.2f ms\n",
            (double)m.total_alloc / 1048576, (double)m.heap_alloc / 1048576, usage.ru_maxrss,
            m.num_gc, (double)m.pause_total_ns / 1e6, (double)m.pause_max_ns / 1e6);
}

int main(int argc, char **argv) {
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    find_stack();
    bool ok = define_names() && run_prelude();
    int i = verbose ? 2 : 1;
    if (i < argc && argv[i][0] == '-') {
        fprintf(stderr, "usage: lisp [-v] [FILE...]\n");
        return 2;
    }
    if (ok && i == argc) run_repl();
    for (; ok && i < argc; i++) ok = run_file(argv[i]);
    check_output(fflush(stdout) == 0);
    if (verbose) print_memory();
    return ok ? 0 : 1;
}
