// A hook destroys the pool whose object is being put.
// expect-status: 134
// expect-line: ^gomem: use of a pool that was destroyed
// expect-lines: 1
#include "bad.h"

static gomem_pool *pool;

static void reset(void *obj, void *user) {
    (void)obj, (void)user;
    gomem_pool_destroy(pool);
}

int main(void) {
    pool = gomem_pool_new(&(gomem_pool_options){.size = 100, .reset = reset});
    MUST(pool != NULL);
    gomem_pool_put(pool, gomem_pool_get(pool));
    return 0;
}
