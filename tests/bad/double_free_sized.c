// Freed by size and then without, two others of the same class between.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
// expect-lines: 1
#include "bad.h"

int main(void) {
    void *p = tell(gomem_malloc(200)), *second = gomem_malloc(200), *third = gomem_malloc(200);
    gomem_free_sized(p, 200);
    gomem_free_sized(second, 200);
    gomem_free(third);
    gomem_free(p);
    MUST(!"it came back");
    return 0;
}
