// GOMEM_FREE twice: told at once.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

int main(void) {
    struct item *p = tell(GOMEM_MALLOC(struct item));
    GOMEM_FREE(struct item, p);
    GOMEM_FREE(struct item, p);
    return 0;
}
