// Freed by another thread, then by its maker.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

#include <pthread.h>

static void *run(void *arg) {
    gomem_free(arg);
    return NULL;
}

int main(void) {
    pthread_t thread;
    void *p = tell(gomem_malloc(100));
    pthread_create(&thread, NULL, run, p);
    pthread_join(thread, NULL);
    gomem_free(p);
    gomem_free_os_memory();
    gomem_free_os_memory();
    return 0;
}
