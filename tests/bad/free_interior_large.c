// A pointer into a large manual object, at the start of one of its pages.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    char *p = gomem_malloc(1000000);
    gomem_free(tell(p + 65536));
    return 0;
}
