// limit: keep to an amount of memory.
//
// The memory limit is soft: as the heap comes near it, collections come more often. The hard limit is
// where allocation returns NULL, after a last collection; the program decides what it can do without.
// GOMEM_MEMLIMIT and GOMEM_HARDLIMIT in the environment do the same, also by the control group (auto).
//
// It prints:
//     400 MB of short-lived objects: the heap stayed below 40 MB
//     at the hard limit the cache was emptied, and the work went on
//     1000 results

#include "gomem.h"
#include <stdio.h>

typedef struct entry {
    struct entry *next;
    char bytes[16000];
} entry;

enum { SLOTS = 10000 };
static entry *cache[SLOTS]; // can be emptied
static entry *results;      // cannot
static int emptied;

// A new entry; where there is no memory, the cache is given up for it.
static entry *entry_new(void) {
    entry *e = GOMEM_NEW(entry);
    if (e) return e;
    for (int i = 0; i < SLOTS; i++) GOMEM_STORE(&cache[i], NULL);
    emptied++;
    gomem_gc(); // a cycle that runs already may keep what was in use when it began
    return GOMEM_NEW(entry);
}

int main(void) {
    gomem_options options = {.memory_limit = (size_t)32 << 20, .hard_limit = (size_t)64 << 20};
    if (!gomem_init(&options)) return 1;
    size_t most = 0;
    for (int i = 0; i < 100000; i++) {
        if (!GOMEM_MAKE_NOSCAN(char, 4000)) return 1; // garbage at once
        if (gomem_heap_size() > most) most = gomem_heap_size();
    }
    printf("400 MB of short-lived objects: the heap stayed %s 40 MB\n",
           most < (size_t)40 << 20 ? "below" : "above");

    int count = 0;
    for (int i = 0; i < SLOTS; i++) { // far more than fits
        GOMEM_STORE(&cache[i], entry_new());
        if (i % 10) continue;
        entry *result = entry_new();
        if (!result) return 1;
        GOMEM_STORE(&result->next, results);
        GOMEM_STORE(&results, result);
        count++;
    }
    printf("at the hard limit the cache %s\n",
           emptied ? "was emptied, and the work went on" : "fitted");
    printf("%d results\n", count);
}
