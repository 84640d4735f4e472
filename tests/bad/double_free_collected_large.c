// A large collected object is freed twice.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: free
#include "bad.h"

int main(void) {
    void *p = tell(gomem_new(1000000));
    gomem_free(p);
    gomem_free(p);
    return 0;
}
