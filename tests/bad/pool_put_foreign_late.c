// What malloc returned is put, and found out when the pool is destroyed.
// expect-status: 134
// expect-line: ^gomem: put of a pointer that is no object of the pool.*@P@
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 100});
    MUST(p != NULL);
    gomem_pool_put(p, gomem_pool_get(p));
    gomem_pool_put(p, tell(gomem_malloc(100)));
    gomem_pool_destroy(p);
    return 0;
}
