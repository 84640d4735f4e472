// One past the last object of a span's tail: no object at all.
// expect-status: 134
// expect-line: ^gomem: .*@P@
#include "bad.h"

int main(void) {
    char *p = gomem_malloc(100000);
    gomem_free(tell(p + gomem_usable_size(p) - 1));
    return 0;
}
