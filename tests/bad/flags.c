// Unknown flags, and garbage that would be scanned: NULL, EINVAL, no message.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

int main(void) {
    errno = 0;
    MUST(gomem_new_with(100, 0, 0x40000000u) == NULL && errno == EINVAL);
    errno = 0;
    MUST(gomem_new_with(100, 0, ~0u) == NULL && errno == EINVAL);
    errno = 0;
    MUST(gomem_new_with(100, 0, GOMEM_UNINIT) == NULL && errno == EINVAL);
    return 0;
}
