// A pointer into a large collected object.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    char *p = gomem_new_noscan(1000000);
    gomem_free(tell(p + 65536));
    return 0;
}
