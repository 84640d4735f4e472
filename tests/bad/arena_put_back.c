// A copy by value is put back in place of a mark: the blocks taken since are lost.
// expect-status: 134
// expect-line: ^gomem: an arena is a copy of one that holds memory
// expect-lines: 1
#include "bad.h"

int main(void) {
    gomem_arena a = {0};
    MUST(gomem_arena_alloc(&a, 1000) != NULL);
    gomem_arena before = a;
    for (int i = 0; i < 100; i++) MUST(gomem_arena_alloc(&a, 1000) != NULL);
    a = before;
    gomem_arena_reset(&a);
    return 0;
}
