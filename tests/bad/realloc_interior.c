// gomem_realloc of a pointer into an object.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    char *p = gomem_malloc(100);
    return gomem_realloc(tell(p + 16), 200) == NULL;
}
