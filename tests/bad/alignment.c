// Alignments that are no power of two: NULL, EINVAL, no message.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

int main(void) {
    static const size_t bad[] = {0, 3, 24, 100, SIZE_MAX};
    for (int i = 0; i < 5; i++) {
        errno = 0;
        MUST(gomem_aligned_alloc(bad[i], 100) == NULL && errno == EINVAL);
        errno = 0;
        if (bad[i] != 0) MUST(gomem_new_with(100, bad[i], 0) == NULL && errno == EINVAL);
    }
    return 0;
}
