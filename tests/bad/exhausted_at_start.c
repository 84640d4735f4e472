// No address space at all when gomem is first used.
// expect-status: 0
// expect-lines: 0
#define _GNU_SOURCE
#include "bad.h"

#include <sys/resource.h>

int main(void) {
    struct rlimit limit = {1 << 20, 1 << 20};
    MUST(setrlimit(RLIMIT_AS, &limit) == 0);
    for (int i = 0; i < 10; i++) {
        errno = 0;
        MUST(gomem_malloc(100) == NULL && errno == ENOMEM);
        errno = 0;
        MUST(gomem_new(100) == NULL && errno == ENOMEM);
    }
    gomem_gc();
    return 0;
}
