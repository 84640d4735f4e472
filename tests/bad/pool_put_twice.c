// An object put twice.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: an object of a pool is put twice.*@P@.*, called with "items"
// expect-lines: 1
#include "bad.h"

GOMEM_POOL(items, struct item);

int main(void) {
    struct item *i = tell(items_get());
    items_put(i);
    items_put(i);
    return 0;
}
