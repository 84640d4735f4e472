// A manual object is freed, another one is, and the first one again: told at once.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
// expect-lines: 1
#include "bad.h"

int main(void) {
    struct item *p = tell(GOMEM_MALLOC(struct item)), *other = GOMEM_MALLOC(struct item);
    MUST(p && other);
    GOMEM_FREE(struct item, p);
    GOMEM_FREE(struct item, other);
    GOMEM_FREE(struct item, p);
    MUST(!"it came back");
    return 0;
}
