// A pointer of libc's malloc is given to GOMEM_FREE.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign|not a gomem
// expect-lines: 1
#include "bad.h"

int main(void) {
    struct item *p = tell(malloc(sizeof(struct item)));
    GOMEM_FREE(struct item, GOMEM_MALLOC(struct item));
    GOMEM_FREE(struct item, p);
    return 0;
}
