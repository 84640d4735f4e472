// gomem_realloc of a pointer of libc's malloc.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign|not a gomem
#include "bad.h"

int main(void) {
    gomem_free(gomem_malloc(100));
    return gomem_realloc(tell(malloc(100)), 200) == NULL;
}
