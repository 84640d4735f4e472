// A pointer of libc's malloc is given to gomem_free_sized.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign|not a gomem
#include "bad.h"

int main(void) {
    gomem_free(gomem_malloc(100));
    gomem_free_sized(tell(malloc(100)), 100);
    return 0;
}
