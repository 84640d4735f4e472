// concordance: which words of a text stand on which lines. Written for the Boehm collector:
//
//     cc -DGC_THREADS concordance.c -lgc -lpthread                          on libgc
//     cc -DGC_THREADS -DON_GOMEM -I. -I../.. concordance.c -pthread         on gomem.h
//
//     concordance [THREADS [ROUNDS]] <text
//
// Each thread indexes its share of the lines; the indexes are merged and printed. That is done ROUNDS
// times over, so that most of the memory becomes garbage. All texts, trees and lists are collected;
// what the program remembers of older rounds it remembers weakly.

#if defined(ON_GOMEM)
#define GOMEM_IMPLEMENTATION
#include "gc.h"
#else
#include <gc.h>
#endif

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 16, HISTORY = 64 };

struct place {
    struct place *next;
    long line;
};

struct word {
    struct word *left, *right;
    const char *text;
    struct place *places; // the latest first
    long count;
};

struct text {
    char **lines;
    long count, room;
};

struct share {
    const struct text *text;
    long from, to;
    struct word *index;
};

static long finalized; // rounds

static void *must(void *object) {
    if (object) return object;
    fprintf(stderr, "concordance: out of memory\n");
    exit(1);
}

// -- reading --------------------------------------------------------------------------------------

static void add_line(struct text *t, const char *line) {
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 16;
        t->lines = must(GC_REALLOC(t->lines, (size_t)t->room * sizeof *t->lines));
    }
    t->lines[t->count++] = must(GC_STRDUP(line));
}

// A wait for input: the collector need not wait for this thread, which touches nothing meanwhile.
struct input {
    char buffer[4096];
    char *result;
};

static void *read_line(void *data) {
    struct input *in = data;
    in->result = fgets(in->buffer, sizeof in->buffer, stdin);
    return NULL;
}

static struct text *read_text(void) {
    struct text *t = must(GC_NEW(struct text));
    struct input *in = must(malloc(sizeof *in));
    for (;;) {
        (void)GC_do_blocking(read_line, in);
        if (!in->result) break;
        add_line(t, in->buffer);
    }
    free(in);
    return t;
}

// -- indexing -------------------------------------------------------------------------------------

static struct word *find_word(struct word **root, const char *start, size_t length) {
    while (*root) {
        int order = strncmp(start, (*root)->text, length);
        if (!order) order = (*root)->text[length] ? -1 : 0;
        if (!order) return *root;
        root = order < 0 ? &(*root)->left : &(*root)->right;
    }
    char *text = must(GC_MALLOC_ATOMIC(length + 1));
    memcpy(text, start, length);
    text[length] = '\0';
    struct word *w = must(GC_NEW(struct word));
    w->text = text;
    GC_PTR_STORE_AND_DIRTY(root, w);
    return w;
}

static void add_place(struct word *w, long line) {
    if (w->places && w->places->line == line) return;
    struct place *p = must(GC_MALLOC(sizeof *p));
    p->line = line;
    p->next = w->places;
    w->places = p;
}

static int is_letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static void index_line(struct word **root, const char *line, long number) {
    for (const char *p = line; *p;) {
        size_t n = 0;
        while (is_letter(p[n])) n++;
        if (n) {
            struct word *w = find_word(root, p, n);
            w->count++;
            add_place(w, number);
        }
        p += n ? n : 1;
    }
}

static void *index_share(void *data) {
    struct share *s = data;
    for (long i = s->from; i < s->to; i++) index_line(&s->index, s->text->lines[i], i + 1);
    return NULL;
}

static void merge(struct word **into, const struct word *from) {
    if (!from) return;
    struct word *w = find_word(into, from->text, strlen(from->text));
    w->count += from->count;
    struct place *reversed = NULL;
    for (const struct place *p = from->places; p; p = p->next) {
        struct place *copy = must(GC_NEW(struct place));
        copy->line = p->line;
        copy->next = reversed;
        reversed = copy;
    }
    for (; reversed; reversed = reversed->next) add_place(w, reversed->line);
    merge(into, from->left);
    merge(into, from->right);
}

// The threads' shares are only known to memory of malloc, which is a root while they work.
static struct word *index_text(const struct text *t, int threads) {
    pthread_t thread[MAX_THREADS];
    struct word *index = NULL;
    struct share *shares = must(calloc((size_t)threads, sizeof *shares));
    GC_add_roots(shares, shares + threads);
    for (int i = 0; i < threads; i++) {
        shares[i].text = t;
        shares[i].from = t->count * i / threads;
        shares[i].to = t->count * (i + 1) / threads;
        if (pthread_create(&thread[i], NULL, index_share, &shares[i])) exit(1);
    }
    for (int i = 0; i < threads; i++) (void)pthread_join(thread[i], NULL);
    for (int i = 0; i < threads; i++) merge(&index, shares[i].index);
    GC_remove_roots(shares, shares + threads);
    free(shares);
    return index;
}

// -- remembering old rounds weakly ----------------------------------------------------------------

#if !defined(GC_NO_FINALIZATION)
static long finalized_wrong;
static GC_hidden_pointer *history; // of the rounds' indexes: no pointers for the collector

static void count_finalized(void *object, void *data) {
    const struct word *w = object;
    finalized++;
    if (strcmp(w->text, data) != 0) finalized_wrong++;
}

static void *reveal(void *data) {
    GC_hidden_pointer hidden = *(GC_hidden_pointer *)data;
    return hidden ? GC_REVEAL_POINTER(hidden) : NULL;
}

static void remember(int round, struct word *index) {
    if (!history) history = must(GC_MALLOC_ATOMIC_UNCOLLECTABLE(HISTORY * sizeof *history));
    GC_hidden_pointer *slot = &history[round % HISTORY];
    if (round < HISTORY && index) {
        *slot = GC_HIDE_POINTER(index);
        (void)GC_general_register_disappearing_link((void **)slot, index);
        GC_REGISTER_FINALIZER_NO_ORDER(index, count_finalized, (void *)index->text, NULL, NULL);
    }
}

static void print_history(int rounds) {
    int gone = 0, known = rounds < HISTORY ? rounds : HISTORY;
    for (int i = 0; i < 3; i++) {
        GC_gcollect();
        while (GC_invoke_finalizers()) {}
    }
    for (int i = 0; i < known; i++) gone += GC_call_with_alloc_lock(reveal, &history[i]) == NULL;
    printf("rounds %d, nearly all forgotten: %s, finalized like that: %s, wrong: %ld\n", rounds,
           gone >= known - 3 ? "yes" : "no", finalized >= known - 3 ? "yes" : "no",
           finalized_wrong);
}
#else
static void remember(int round, struct word *index) { (void)round, (void)index; }
static void print_history(int rounds) { (void)rounds; }
#endif

// -- printing -------------------------------------------------------------------------------------

static void print_places(const struct place *p) {
    if (p->next) print_places(p->next);
    printf(" %ld", p->line);
}

static void print_index(const struct word *w) {
    if (!w) return;
    print_index(w->left);
    printf("%s (%ld):", w->text, w->count);
    print_places(w->places);
    printf("\n");
    print_index(w->right);
}

static void run(const struct text *t, int threads, int rounds) {
    struct word **last = must(GC_MALLOC_UNCOLLECTABLE(sizeof *last)); // a root until it is freed
    for (int round = 0; round < rounds; round++) {
        *last = index_text(t, threads);
        remember(round, *last);
    }
    print_index(*last);
    GC_FREE(last);
}

// Everything the collector can be asked that has one right answer.
static void print_checks(void) {
    char *p = must(GC_MALLOC(100));
    GC_disable();
    GC_word before = GC_get_gc_no();
    GC_gcollect();
    int same = GC_get_gc_no() == before;
    GC_enable();
    GC_gcollect();
    printf(
        "zeroed: %d, base: %d, size: %d, ours: %d %d, disabled: %d %d, collected: %d, heap: %d\n",
        !p[0] && !p[99], GC_base(p + 50) == (void *)p, GC_size(p) >= 100, GC_is_heap_ptr(p) != 0,
        GC_is_heap_ptr(&finalized) != 0, same, GC_is_disabled(), GC_get_gc_no() > before,
        GC_get_heap_size() > 0 && GC_get_total_bytes() > 0);
    GC_reachable_here(p);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 2, rounds = argc > 2 ? atoi(argv[2]) : 20;
    if (argc > 3 || threads < 1 || threads > MAX_THREADS || rounds < 1) {
        fprintf(stderr, "usage: concordance [THREADS [ROUNDS]] <text\n");
        return 2;
    }
    GC_INIT();
#if !defined(GC_NO_FINALIZATION)
    GC_set_finalize_on_demand(1);
#endif
    run(read_text(), threads, rounds);
    print_checks();
    print_history(rounds);
    return 0;
}
