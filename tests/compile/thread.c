// Linked with the override: a thread gets memory of gomem, dynamically and statically linked. Ends the
// program with 1 before main if not.
#include "gomem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static void *allocate(void *arg) {
    (void)arg;
    return malloc(10);
}

__attribute__((constructor)) static void start(void) {
    pthread_t thread;
    void *p = NULL;
    int error = pthread_create(&thread, NULL, allocate, NULL);
    if (!error) error = pthread_join(thread, &p);
    if (error || gomem_base(p) != p || !p) {
        printf("pthread_create: %d, %p\n", error, p);
        exit(1);
    }
    free(p);
}
