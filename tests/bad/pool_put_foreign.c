// An object of another pool is put.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: put of a pointer that is no object of the pool.*@P@.*slab of a pool
// expect-lines: 1
#include "bad.h"

GOMEM_POOL(ours, struct item);
GOMEM_POOL(others, struct item);

int main(void) {
    others_put(others_get());
    ours_put(tell(others_get()));
    return 0;
}
