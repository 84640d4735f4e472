// Included again, with and without GOMEM_IMPLEMENTATION: one implementation comes out.
#include "gomem.h"

#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include "gomem.h"

int main(void) {
    void *p = gomem_malloc(10);
    gomem_free(p);
    return p == NULL;
}
