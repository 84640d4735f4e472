// A pointer of libc's malloc is the first thing that gomem ever sees.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign pointer: @P@ is not in the heap, but in (\[heap\]|an anonymous).*libc.s malloc
#include "bad.h"

int main(void) {
    gomem_free(tell(malloc(100)));
    return 0;
}
