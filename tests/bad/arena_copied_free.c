// Both an arena and its copy are freed.
// expect-status: 134
// expect-line: ^gomem: an arena is a copy of one that holds memory
// expect-lines: 1
#include "bad.h"

int main(void) {
    struct {
        long before;
        gomem_arena arena;
    } first = {0}, second;
    MUST(gomem_arena_strdup(&first.arena, "text") != NULL);
    second = first;
    gomem_arena_free(&first.arena);
    gomem_arena_free(&second.arena);
    return 0;
}
