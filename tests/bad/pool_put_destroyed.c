// An object is put after its pool was destroyed.
// expect-status: 134
// expect-line: ^gomem: use of a pool that was destroyed
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 100});
    MUST(p != NULL);
    void *a = gomem_pool_get(p);
    gomem_pool_destroy(p);
    gomem_pool_put(p, a);
    return 0;
}
