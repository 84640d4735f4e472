/* Question: parse a document into a tree, change it, write it out again, free it: a service that
 * handles one request after the other. Nodes, strings, and arrays that grow by realloc, all sizes
 * mixed.
 *
 * `rounds` documents of a few hundred kilobytes; the check value is a hash of the output. */
#include "bench.h"
#include "peer.h"

enum kind { NUMBER, STRING, ARRAY, OBJECT };

typedef struct value {
    enum kind kind;
    struct value **items; // ARRAY, OBJECT
    char **keys;          // OBJECT
    char *text;           // STRING
    size_t count;
    size_t room;
    double number;
} value;

typedef struct output {
    char *text;
    size_t used;
    size_t room;
} output;

static void output_add(output *o, const char *text, size_t length) {
    if (o->used + length > o->room) {
        o->room = (o->used + length) * 3 / 2 + 64;
        o->text = bench_realloc(o->text, o->room);
    }
    memcpy(o->text + o->used, text, length);
    o->used += length;
}

static void output_character(output *o, char c) { output_add(o, &c, 1); }

static char *string_copy(const char *from, size_t length) {
    char *s = bench_malloc(length + 1);
    memcpy(s, from, length);
    s[length] = 0;
    return s;
}

static value *value_make(enum kind kind) {
    value *v = bench_calloc(1, sizeof *v);
    v->kind = kind;
    return v;
}

static void value_append(value *v, char *key, value *item) {
    if (v->count == v->room) {
        v->room = v->room ? v->room * 2 : 4;
        v->items = bench_realloc(v->items, v->room * sizeof *v->items);
        if (v->kind == OBJECT) v->keys = bench_realloc(v->keys, v->room * sizeof *v->keys);
    }
    if (v->kind == OBJECT) v->keys[v->count] = key;
    v->items[v->count++] = item;
}

static void value_free(value *v) {
    for (size_t i = 0; i < v->count; i++) {
        if (v->keys) bench_free(v->keys[i]);
        value_free(v->items[i]);
    }
    bench_free(v->items);
    bench_free(v->keys);
    bench_free(v->text);
    bench_free(v);
}

static char *parse_string(const char **at) {
    const char *end = strchr(*at + 1, '"');
    char *s = string_copy(*at + 1, (size_t)(end - *at - 1));
    *at = end + 1;
    return s;
}

static value *parse(const char **at) {
    if (**at == '"') {
        value *v = value_make(STRING);
        v->text = parse_string(at);
        return v;
    }
    if (**at != '[' && **at != '{') {
        char *end;
        value *v = value_make(NUMBER);
        v->number = (double)strtol(*at, &end, 10);
        *at = end;
        return v;
    }
    value *v = value_make(**at == '[' ? ARRAY : OBJECT);
    char close = **at == '[' ? ']' : '}';
    while (*++*at != close) {
        char *key = NULL;
        if (v->kind == OBJECT) {
            key = parse_string(at);
            ++*at; // the colon
        }
        value_append(v, key, parse(at));
        if (**at == close) break;
    }
    ++*at;
    return v;
}

static void write_value(output *o, const value *v) {
    char text[32];
    if (v->kind == NUMBER) {
        output_add(o, text, (size_t)snprintf(text, sizeof text, "%ld", (long)v->number));
    } else if (v->kind == STRING) {
        output_character(o, '"');
        output_add(o, v->text, strlen(v->text));
        output_character(o, '"');
    } else {
        output_character(o, v->kind == ARRAY ? '[' : '{');
        for (size_t i = 0; i < v->count; i++) {
            if (i > 0) output_character(o, ',');
            if (v->kind == OBJECT) {
                output_character(o, '"');
                output_add(o, v->keys[i], strlen(v->keys[i]));
                output_add(o, "\":", 2);
            }
            write_value(o, v->items[i]);
        }
        output_character(o, v->kind == ARRAY ? ']' : '}');
    }
}

// Replaces some strings by longer ones and numbers by their successors.
static void change(value *v, uint64_t *seed) {
    if (v->kind == NUMBER) v->number += 1;
    if (v->kind == STRING && bench_below(seed, 4) == 0) {
        size_t length = strlen(v->text);
        v->text = bench_realloc(v->text, length * 2 + 2);
        memset(v->text + length, 'x', length + 1);
        v->text[length * 2 + 1] = 0;
    }
    for (size_t i = 0; i < v->count; i++) change(v->items[i], seed);
}

static value *document_make(uint64_t *seed, int depth) {
    size_t choice = bench_below(seed, 10);
    if (depth == 0 || choice < 2) {
        value *v = value_make(choice % 2 ? NUMBER : STRING);
        v->number = (double)bench_below(seed, 1000000);
        if (v->kind == STRING)
            v->text = string_copy("the quick brown fox jumps over the lazy dog and everything else",
                                  4 + bench_below(seed, 60));
        return v;
    }
    value *v = value_make(choice < 5 ? ARRAY : OBJECT);
    size_t count = 2 + bench_below(seed, 9);
    for (size_t i = 0; i < count; i++) {
        char *key = NULL;
        if (v->kind == OBJECT)
            key = string_copy("identifier_of_this_field", 3 + bench_below(seed, 20));
        value_append(v, key, document_make(seed, depth - 1));
    }
    return v;
}

int main(int argc, char **argv) {
    size_t rounds = (size_t)bench_option(argc, argv, "rounds", 40);
    uint64_t seed = 5;
    uint64_t check = 0;
    output document = {0};
    value *first = value_make(ARRAY);
    for (int i = 0; i < 12; i++) value_append(first, NULL, document_make(&seed, 5));
    write_value(&document, first);
    output_character(&document, 0);
    value_free(first);
    for (size_t i = 0; i < rounds; i++) {
        const char *at = document.text;
        output copy = {0};
        value *v = parse(&at);
        change(v, &seed);
        write_value(&copy, v);
        for (size_t k = 0; k < copy.used; k += 97) check = check * 31 + (unsigned char)copy.text[k];
        value_free(v);
        bench_free(copy.text);
    }
    bench_free(document.text);
    return bench_finish(check);
}
