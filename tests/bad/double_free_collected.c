// A collected object is freed twice: told at once at every check level.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
// expect-lines: 1
#include "bad.h"

int main(void) {
    void *p = tell(gomem_new(100));
    gomem_free(p);
    gomem_free(p);
    return 0;
}
