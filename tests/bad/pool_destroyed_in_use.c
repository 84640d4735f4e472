// A pool is destroyed while another thread uses it.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: (use of a pool that was destroyed|put of a pointer that is no object of the pool)
#include "bad.h"

#include <pthread.h>
#include <unistd.h>

static gomem_pool *pool;

static void *use(void *arg) {
    for (;;) gomem_pool_put(pool, gomem_pool_get(pool));
    return arg;
}

int main(void) {
    pthread_t t;
    pool = gomem_pool_new(&(gomem_pool_options){.size = 100});
    MUST(pool && pthread_create(&t, NULL, use, NULL) == 0);
    usleep(20000);
    gomem_pool_destroy(pool);
    usleep(10000000);
    return 0;
}
