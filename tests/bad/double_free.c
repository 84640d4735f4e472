// A manual object is freed twice in a row: told at once.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
// expect-lines: 1
#include "bad.h"

int main(void) {
    void *p = tell(gomem_malloc(100));
    gomem_free(p);
    gomem_free(p);
    return 0;
}
