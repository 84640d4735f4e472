// An object put twice is found out, at the latest, when its memory goes.
// expect-status: 134
// expect-line: ^gomem: an object of a pool is put twice.*@P@
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_pool *p = gomem_pool_new(&(gomem_pool_options){.size = 100});
    MUST(p != NULL);
    void *a = tell(gomem_pool_get(p));
    gomem_pool_put(p, a);
    gomem_pool_put(p, a);
    gomem_pool_destroy(p);
    return 0;
}
