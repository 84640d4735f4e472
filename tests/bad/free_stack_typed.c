// A local's address is given to GOMEM_FREE.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: stack
#include "bad.h"

int main(void) {
    struct item local = {NULL, {0}};
    struct item *p = tell(&local);
    GOMEM_FREE(struct item, GOMEM_MALLOC(struct item));
    GOMEM_FREE(struct item, p);
    return 0;
}
