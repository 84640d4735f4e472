// arena: what dies together is allocated together.
//
// A request's memory comes from an arena, and goes when the request is answered: no free, no owner. What
// a function needs only until it returns comes from a scratch arena of its thread. It names the arena
// that its result goes to, so that the scratch arena is another one.
//
// It prints:
//     the longest word of 3 is "collector"
//     the longest word of 4 is "arenas"
//     between requests 0 bytes are used

#include "gomem.h"
#include <stdio.h>

typedef struct word {
    struct word *next;
    const char *text;
} word;

// The words of a line, in a list that lies in an arena.
static word *split(gomem_arena *a, const char *line, int *count) {
    word *first = NULL;
    char *rest = gomem_arena_strdup(a, line); // NULL: out of memory
    while (rest && *rest) {
        char *text = rest;
        size_t size = strcspn(rest, " ");
        rest += size + (rest[size] != 0);
        text[size] = 0;
        word *w = GOMEM_ARENA_NEW(a, word); // zeroed
        if (!w) return NULL;
        *w = (word){first, text};
        first = w;
        ++*count;
    }
    return first;
}

// The answer lies in `out`; the list of words is gone when this returns.
static const char *answer(gomem_arena *out, const char *line) {
    gomem_arena *scratch = gomem_scratch(&out, 1); // this thread's, and not out
    GOMEM_ARENA_TEMP(scratch);                     // empty again at the end of this block
    int count = 0;
    const char *longest = "";
    for (const word *w = split(scratch, line, &count); w; w = w->next)
        if (strlen(w->text) > strlen(longest)) longest = w->text;
    return gomem_arena_printf(out, "the longest word of %d is \"%s\"", count, longest);
}

int main(void) {
    static const char *const requests[] = {"a small collector", "pools and arenas too"};
    gomem_arena request = {0};
    for (int i = 0; i < 2; i++) {
        const char *text = answer(&request, requests[i]);
        if (!text) return 1;
        puts(text);
        gomem_arena_reset(&request); // all of it goes; the memory is kept for the next one
    }
    printf("between requests %ju bytes are used\n",
           (uintmax_t)gomem_arena_read_stats(&request).used);
    gomem_arena_free(&request);
}
