// A collected object is freed, a collection comes, and it is freed again.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: free
#include "bad.h"

int main(void) {
    void *p = tell(gomem_new(100));
    gomem_free(p);
    gomem_gc();
    gomem_free(p);
    return 0;
}
