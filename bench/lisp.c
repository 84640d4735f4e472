/* Question: an interpreter. Cells, environments and boxed numbers are small objects with a count of
 * references, freed when it falls to zero: what scripting languages do all day.
 *
 * A Lisp in the fewest forms runs three programs `rounds` times: Fibonacci numbers, a list that is
 * mapped, filtered and folded, and merge sort. The check value is the sum of their results. */
#include "bench.h"
#include "peer.h"

#include <ctype.h>

enum kind { NUMBER, SYMBOL, PAIR, CLOSURE };

typedef struct cell {
    uint32_t references;
    enum kind kind;
    union {
        long number;
        const char *name;
        struct {
            struct cell *first, *rest; // of a closure: (parameters body), environment
        } pair;
    } as;
} cell;

static cell *symbols; // a list of all of them, each for ever
static cell *globals; // ((name . value) ...)

static cell *cell_make(enum kind kind) {
    cell *c = BENCH_MALLOC(cell);
    c->references = 1;
    c->kind = kind;
    return c;
}

static cell *keep(cell *c) {
    if (c) c->references++;
    return c;
}

static void drop(cell *c) {
    while (c && --c->references == 0) {
        cell *rest = c->kind >= PAIR ? c->as.pair.rest : NULL;
        if (c->kind >= PAIR) drop(c->as.pair.first);
        BENCH_FREE(cell, c);
        c = rest;
    }
}

static cell *number(long n) {
    cell *c = cell_make(NUMBER);
    c->as.number = n;
    return c;
}

// Takes over both references.
static cell *pair(cell *first, cell *rest) {
    cell *c = cell_make(PAIR);
    c->as.pair.first = first;
    c->as.pair.rest = rest;
    return c;
}

static cell *first(const cell *c) { return c->as.pair.first; }
static cell *rest(const cell *c) { return c->as.pair.rest; }

static cell *symbol(const char *name, size_t length) {
    for (cell *s = symbols; s; s = rest(s))
        if (strlen(first(s)->as.name) == length && memcmp(first(s)->as.name, name, length) == 0)
            return keep(first(s));
    char *copy = bench_malloc(length + 1);
    memcpy(copy, name, length);
    copy[length] = 0;
    cell *c = cell_make(SYMBOL);
    c->as.name = copy;
    symbols = pair(keep(c), symbols);
    return c;
}

static cell *read_one(const char **text) {
    while (isspace((unsigned char)**text)) ++*text;
    if (isdigit((unsigned char)**text)) return number(strtol(*text, (char **)(uintptr_t)text, 10));
    if (**text != '(') {
        size_t length = strcspn(*text, " ()\n");
        *text += length;
        return symbol(*text - length, length);
    }
    cell *list = NULL, **end = &list;
    for (++*text; *(*text += strspn(*text, " \n")) != ')';) {
        *end = pair(read_one(text), NULL);
        end = &(*end)->as.pair.rest;
    }
    ++*text;
    return list;
}

static cell *lookup(const cell *name, const cell *environment) {
    for (const cell *e = environment; e; e = rest(e))
        if (first(first(e)) == name) return keep(rest(first(e)));
    for (const cell *e = globals; e; e = rest(e))
        if (first(first(e)) == name) return keep(rest(first(e)));
    return NULL;
}

static cell *eval(cell *form, cell *environment);

static bool is(const cell *form, const char *name) {
    return form && form->kind == SYMBOL && strcmp(form->as.name, name) == 0;
}

static cell *builtin(const char *name, cell *a, cell *b) {
    switch (name[0]) {
    case '+': return number(a->as.number + b->as.number);
    case '-': return number(a->as.number - b->as.number);
    case '<': return a->as.number < b->as.number ? number(1) : NULL;
    case 'c':
        return name[1] == 'o' ? pair(keep(a), keep(b)) : keep(name[1] == 'a' ? first(a) : rest(a));
    default: return NULL;
    }
}

static cell *apply(cell *closure, cell *arguments, cell *caller) {
    cell *environment = keep(rest(closure)), *parameters = first(first(closure));
    for (; arguments; arguments = rest(arguments), parameters = rest(parameters)) {
        cell *value = eval(first(arguments), caller);
        environment = pair(pair(keep(first(parameters)), value), environment);
    }
    cell *result = eval(first(rest(first(closure))), environment);
    drop(environment);
    return result;
}

// (if c a b) (fn (parameters) body) (name value ...); what is no list stands for itself.
static cell *eval(cell *form, cell *environment) {
    if (!form || form->kind == NUMBER) return keep(form);
    if (form->kind == SYMBOL) return lookup(form, environment);
    if (is(first(form), "if")) {
        cell *condition = eval(first(rest(form)), environment), *branches = rest(rest(form));
        drop(condition);
        return eval(first(condition ? branches : rest(branches)), environment);
    }
    if (is(first(form), "fn")) {
        cell *c = pair(keep(rest(form)), keep(environment));
        c->kind = CLOSURE;
        return c;
    }
    cell *called = eval(first(form), environment), *result;
    if (called) {
        result = apply(called, rest(form), environment);
    } else {
        cell *a = eval(first(rest(form)), environment), *more = rest(rest(form));
        cell *b = more ? eval(first(more), environment) : NULL;
        result = builtin(first(form)->as.name, a, b);
        drop(a);
        drop(b);
    }
    drop(called);
    return result;
}

static const char program[] =
    "fib (fn (n) (if (< n 2) n (+ (fib (- n 1)) (fib (- n 2)))))"
    "count (fn (n s) (if (< 0 n) (cons s (count (- n 1) (step s))) nil))"
    "step (fn (s) (if (< s 997) (+ s 613) (- s 997)))"
    "map (fn (f l) (if l (cons (f (car l)) (map f (cdr l))) nil))"
    "keep (fn (f l) (if l (if (f (car l)) (cons (car l) (keep f (cdr l))) (keep f (cdr l))) nil))"
    "fold (fn (f a l) (if l (fold f (f a (car l)) (cdr l)) a))"
    "half (fn (l) (if l (if (cdr l) (cons (car l) (half (cdr (cdr l)))) l) nil))"
    "merge (fn (a b) (if a (if b (if (< (car b) (car a)) (cons (car b) (merge a (cdr b)))"
    " (cons (car a) (merge (cdr a) b))) a) b))"
    "sort (fn (l) (if l (if (cdr l) (merge (sort (half l)) (sort (half (cdr l)))) l) nil))"
    "weigh (fn (l n) (if l (+ (if (< n 9) (car l) 1) (weigh (cdr l) (+ n 1))) 0))"
    "sum (fn (l) (fold (fn (a b) (+ a b)) 0 l))"
    "lists (fn (k) (sum (keep (fn (x) (< x 800)) (map (fn (x) (+ x k)) (count 400 7)))))"
    "main (fn (n) (+ (fib 17) (+ (lists n) (weigh (sort (count 400 n)) 0))))";

int main(int argc, char **argv) {
    long rounds = bench_option(argc, argv, "rounds", 150);
    uint64_t check = 0;
    for (const char *at = program; *at;) {
        cell *name = read_one(&at), *value = read_one(&at);
        cell *closure = eval(value, NULL);
        globals = pair(pair(name, closure), globals);
        drop(value);
    }
    for (long r = 0; r < rounds; r++) {
        const char *call = "(main 5)";
        cell *form = read_one(&call), *result = eval(form, NULL);
        check += (uint64_t)result->as.number;
        drop(form);
        drop(result);
    }
    drop(globals);
    for (cell *s = symbols; s; s = rest(s)) bench_free((void *)(uintptr_t)first(s)->as.name);
    drop(symbols);
    return bench_finish(check);
}
