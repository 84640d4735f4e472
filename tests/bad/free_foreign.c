// A pointer of libc's malloc is given to gomem_free.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign pointer: @P@ is not in the heap, but in (\[heap\]|an anonymous).*libc.s malloc
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_free(gomem_malloc(10));
    gomem_free(tell(malloc(100)));
    return 0;
}
