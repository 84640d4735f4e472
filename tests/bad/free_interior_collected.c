// A pointer into the middle of a collected object.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    char *p = gomem_new(100);
    gomem_free(tell(p + 16));
    return 0;
}
