// A noscan object is freed twice.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

int main(void) {
    void *p = tell(gomem_new_noscan(100));
    gomem_free(p);
    gomem_free(p);
    return 0;
}
