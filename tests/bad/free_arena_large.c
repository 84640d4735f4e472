// A large object of an arena given to the typed free.
// expect-status: 134
// expect-line: ^gomem: free of a pointer into an arena.*@P@
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_arena a = {0};
    struct item *p = GOMEM_ARENA_MAKE(&a, struct item, 10000);
    GOMEM_FREE(struct item, tell(p));
    return 0;
}
