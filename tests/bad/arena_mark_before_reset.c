// A mark restored that was taken before a reset.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: an invalid mark of an arena
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_arena a = {0};
    MUST(gomem_arena_alloc(&a, 100) != NULL);
    gomem_arena_mark m = gomem_arena_save(&a);
    gomem_arena_reset(&a);
    MUST(gomem_arena_alloc(&a, 100) != NULL);
    gomem_arena_restore(&a, m);
    return 0;
}
