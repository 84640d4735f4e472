// Ranges and stacks that nobody registered: false, no message.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

int main(void) {
    static char range[1000];
    MUST(!gomem_remove_root(range));
    MUST(!gomem_remove_stack(range));
    MUST(gomem_add_root(range, sizeof range));
    MUST(!gomem_remove_root(range + 8));
    MUST(gomem_remove_root(range));
    MUST(!gomem_remove_root(range));
    return 0;
}
