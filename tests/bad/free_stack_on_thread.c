// A local's address on another thread's stack.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: stack
#include "bad.h"

#include <pthread.h>

static void *run(void *arg) {
    struct item local = {NULL, {0}};
    gomem_free(gomem_malloc(100));
    gomem_free(tell(&local));
    return arg;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_join(thread, NULL);
    return 0;
}
