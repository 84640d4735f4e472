// gomem_realloc of a collected object that was freed.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: free
#include "bad.h"

int main(void) {
    char *p = tell(gomem_new(100));
    gomem_free(p);
    return gomem_realloc(p, 200) == NULL;
}
