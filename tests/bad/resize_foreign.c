// GOMEM_RESIZE of a pointer of libc's malloc.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign|not a gomem
#include "bad.h"

int main(void) {
    struct item *p = tell(calloc(1, sizeof *p));
    gomem_free(gomem_malloc(100));
    return GOMEM_RESIZE(struct item, p, 5) == NULL;
}
