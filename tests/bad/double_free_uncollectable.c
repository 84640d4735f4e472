// An uncollectable object is freed twice.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

int main(void) {
    void *p = tell(gomem_new_with(100, 0, GOMEM_UNCOLLECTABLE));
    gomem_free(p);
    gomem_free(p);
    return 0;
}
