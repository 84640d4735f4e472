// The first call with a copy of an arena, at a check level.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: an arena is a copy of one that holds memory
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_arena a = {0};
    MUST(gomem_arena_strdup(&a, "text") != NULL);
    gomem_arena b = a;
    MUST(gomem_arena_strdup(&b, "over it") == NULL);
    return 0;
}
