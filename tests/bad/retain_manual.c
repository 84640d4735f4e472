// Counting a manual object, before there is any counted one.
// expect-status: 134
// expect-line: retain or release of an object without a count.*@P@.*manual object
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_rc_release(tell(gomem_malloc(100)));
    return 0;
}
