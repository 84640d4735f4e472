// Collected memory is asked for inside a blocking region.
// expect-status: 134
// expect-line: ^gomem: .*blocking
// only-check: 1
#include "bad.h"

int main(void) {
    MUST(GOMEM_NEW(struct item) != NULL);
    gomem_blocking_begin();
    MUST(GOMEM_NEW(struct item) == NULL);
    gomem_blocking_end();
    return 0;
}
