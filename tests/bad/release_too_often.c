// A counted object is released once more than it was retained.
// expect-status: 134
// expect-line: retain or release of an object without a count.*@P@.*gomem_rc_new
// expect-lines: 1
#include "bad.h"

int main(void) {
    void *p = tell(gomem_rc_new(100, NULL));
    gomem_rc_retain(p);
    gomem_rc_release(p);
    gomem_rc_release(p);
    gomem_rc_release(p);
    return 0;
}
