// Address space is limited: NULL and ENOMEM at its end, and life after it.
// expect-status: 0
// expect-lines: 0
#define _GNU_SOURCE
#include "bad.h"

#include <sys/resource.h>

static void *blocks[100000];

int main(void) {
    struct rlimit limit = {256 << 20, 256 << 20};
    MUST(setrlimit(RLIMIT_AS, &limit) == 0);
    int n = 0;
    while (n < 100000 && (blocks[n] = gomem_malloc((size_t)n % 20000 + 1)) != NULL) n++;
    MUST(n > 1000 && n < 100000 && errno == ENOMEM);
    while (n > 0) gomem_free(blocks[--n]);
    void *p = gomem_malloc(10 << 20);
    MUST(p != NULL);
    gomem_free(p);
    MUST(whole());
    return 0;
}
