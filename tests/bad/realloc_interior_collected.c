// gomem_realloc of a pointer into a collected object.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    char *p = gomem_new(5000);
    return gomem_realloc(tell(p + 64), 200) == NULL;
}
