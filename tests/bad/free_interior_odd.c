// A pointer to the second byte of a manual object.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    char *p = gomem_malloc(100);
    gomem_free(tell(p + 1));
    return 0;
}
