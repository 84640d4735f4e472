// Counting an object that has no count.
// expect-status: 134
// expect-line: retain or release of an object without a count.*@P@.*112-byte scanned object
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_rc_release(gomem_rc_new(8, NULL));
    gomem_rc_retain(tell(gomem_new(100)));
    return 0;
}
