// A drop releases its own object: its count is zero already.
// expect-status: 134
// expect-line: retain or release of an object without a count.*@P@
// expect-lines: 1
#include "bad.h"

static void drop(void *obj) { gomem_rc_release(obj); }

int main(void) {
    gomem_rc_release(tell(gomem_rc_new(100, drop)));
    return 0;
}
