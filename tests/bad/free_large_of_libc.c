// A large block of libc's malloc, which is a mapping of its own, is given to gomem_free.
// expect-status: 134
// expect-line: foreign pointer: @P@ is not in the heap, but in an anonymous mapping of
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_free(tell(malloc(1000000)));
    return 0;
}
