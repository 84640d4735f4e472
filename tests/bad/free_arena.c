// A pointer into an arena given to free.
// expect-status: 134
// expect-line: ^gomem: free of a pointer into an arena.*@P@
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_arena a = {0};
    char *p = gomem_arena_alloc(&a, 100);
    gomem_free(tell(p));
    return 0;
}
