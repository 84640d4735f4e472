// A pool is used after it was destroyed.
// expect-status: 134
// expect-line: ^gomem: use of a pool that was destroyed
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 100});
    MUST(p != NULL);
    gomem_pool_put(p, gomem_pool_get(p));
    gomem_pool_destroy(p);
    MUST(gomem_pool_get(p) == NULL);
    return 0;
}
