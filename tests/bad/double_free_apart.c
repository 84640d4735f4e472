// Freed twice with other frees between: told at once.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
// only-check: 1
#include "bad.h"

int main(void) {
    void *p = gomem_malloc(100), *others[300];
    for (int i = 0; i < 300; i++) others[i] = gomem_malloc(100);
    p = tell(p);
    gomem_free(p);
    for (int i = 0; i < 300; i++) gomem_free(others[i]);
    gomem_free(p);
    return 0;
}
