// GOMEM_FREE of an object inside an array that GOMEM_MALLOC_N made.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    struct item *array = GOMEM_MALLOC_N(struct item, 10);
    struct item *p = tell(array + 3);
    GOMEM_FREE(struct item, p);
    return 0;
}
