// An arena that two threads use at once.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: an arena is used by two threads at once
#include "bad.h"

#include <pthread.h>

static gomem_arena shared;

static void *use(void *arg) {
    for (int i = 0; i < 100000000; i++) {
        if (gomem_arena_alloc(&shared, 48) == NULL) break;
        if (i % 1000 == 0) gomem_arena_reset(&shared);
    }
    return arg;
}

int main(void) {
    pthread_t t;
    MUST(pthread_create(&t, NULL, use, NULL) == 0);
    use(NULL);
    return 0;
}
