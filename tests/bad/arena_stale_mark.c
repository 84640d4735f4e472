// A mark restored after an earlier one was.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: an invalid mark of an arena.*, called with "frames"
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_arena a;
    MUST(gomem_arena_init(&a, &(gomem_arena_options){.name = "frames"}));
    gomem_arena_mark outer = gomem_arena_save(&a);
    MUST(gomem_arena_alloc(&a, 100) != NULL);
    gomem_arena_mark inner = gomem_arena_save(&a);
    MUST(gomem_arena_alloc(&a, 100) != NULL);
    gomem_arena_restore(&a, outer);
    gomem_arena_restore(&a, inner);
    return 0;
}
