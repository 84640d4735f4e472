// weakcache: a cache that keeps nothing alive.
//
// A weak pointer gives the object as long as something else refers to it, and NULL afterwards. It is a
// number, so the cache can lie anywhere, and there is nothing to remove when an object has died.
//
// It prints:
//     10 pages were read, 10 requests came from the cache
//     page 3 is in use: it is still there
//     the others: nearly all have gone

#include "gomem.h"
#include <stdio.h>

typedef struct page {
    int number;
    char text[4000];
} page;

static gomem_weak cache[10];
static int reads;

static page *get(int number) {
    page *p = gomem_weak_get(cache[number]);
    if (p) return p; // from here on p is an ordinary pointer, and keeps the page
    p = GOMEM_NEW_NOSCAN(page);
    if (!p) return NULL;
    p->number = number;
    snprintf(p->text, sizeof p->text, "the text of page %d", number);
    reads++;
    cache[number] = gomem_weak_make(p);
    return p;
}

static page *shown[10]; // the pages that a program uses: a global variable is a root

int main(void) {
    int hits = 0, left = 0;
    for (int i = 0; i < 10; i++) GOMEM_STORE(&shown[i], get(i));
    for (int i = 0; i < 10; i++) hits += get(i) != NULL && get(i) == shown[i];
    printf("%d pages were read, %d requests came from the cache\n", reads, hits);

    for (int i = 0; i < 10; i++)
        if (i != 3) GOMEM_STORE(&shown[i], NULL);
    gomem_gc();
    printf("page 3 is in use: %s\n",
           gomem_weak_get(cache[3]) == shown[3] ? "it is still there" : "it has gone");
    for (int i = 0; i < 10; i++) left += i != 3 && gomem_weak_get(cache[i]) != NULL;
    printf("the others: %s\n", left <= 3 ? "nearly all have gone" : "they are kept");
}
