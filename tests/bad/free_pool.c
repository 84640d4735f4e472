// An object of a pool given to free.
// expect-status: 134
// expect-line: ^gomem: free of an object of a pool.*@P@.*gomem_pool_put
// expect-lines: 1
#include "bad.h"

GOMEM_POOL(fresh, struct item);

int main(void) {
    gomem_free(tell(fresh_get()));
    return 0;
}
