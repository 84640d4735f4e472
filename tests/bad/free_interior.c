// A pointer into the middle of a manual object.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
// expect-lines: 1
#include "bad.h"

int main(void) {
    char *p = gomem_malloc(100);
    gomem_free(tell(p + 16));
    return 0;
}
