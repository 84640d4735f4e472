// A small number is given to gomem_free.
// expect-status: 134
// expect-line: ^gomem: .*@P@ is not in the heap: nothing is mapped there
#include "bad.h"

int main(void) {
    gomem_free(gomem_malloc(100));
    gomem_free(tell((void *)(uintptr_t)16));
    return 0;
}
