// gomem_realloc has moved the block; the old pointer is freed.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: free
#include "bad.h"

int main(void) {
    void *p = gomem_new(100);
    uintptr_t old = (uintptr_t)p;
    void *q = gomem_realloc(p, 100000);
    MUST(q != NULL && (uintptr_t)q != old);
    gomem_free(tell((void *)old));
    return 0;
}
