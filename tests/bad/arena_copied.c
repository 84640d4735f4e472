// An arena that is copied by value and then takes a block.
// expect-status: 134
// expect-line: ^gomem: an arena is a copy of one that holds memory.*, called with "frames"
// expect-lines: 1
#include "bad.h"

static void use(gomem_arena copy) {
    for (int i = 0; i < 100; i++) MUST(gomem_arena_alloc(&copy, 1000) != NULL);
}

int main(void) {
    gomem_arena a;
    MUST(gomem_arena_init(&a, &(gomem_arena_options){.name = "frames"}));
    MUST(gomem_arena_alloc(&a, 100) != NULL);
    use(a);
    return 0;
}
