// A manual object is freed twice on a thread that ends: told at the latest after that.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

#include <pthread.h>

static void *run(void *arg) {
    void *p = tell(gomem_malloc(100));
    gomem_free(p);
    gomem_free(p);
    return arg;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, run, NULL);
    pthread_join(thread, NULL);
    gomem_free_os_memory();
    return 0;
}
