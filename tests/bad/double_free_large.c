// A large manual object is freed twice: told at once.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: free
#include "bad.h"

int main(void) {
    void *p = tell(gomem_malloc(1000000));
    gomem_free(p);
    gomem_free(p);
    return 0;
}
