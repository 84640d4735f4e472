// What a library has as a constant is given to gomem_free: the line names the library.
// expect-status: 134
// expect-line: foreign pointer: @P@ is not in the heap, but in [^ ]*libc[^ ]*[+]0x
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_free(tell((void *)(uintptr_t)strerror(ENOMEM)));
    return 0;
}
