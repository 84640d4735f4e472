// System headers stand before the implementation: fine in gnu11, and in c11 a defined answer.
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOMEM_IMPLEMENTATION
#include "gomem.h"

int main(void) {
    void *p = gomem_malloc(10);
    gomem_free(p);
    return p == NULL;
}
