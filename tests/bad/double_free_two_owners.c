// An object that was freed belongs to somebody else when its old owner frees it again. That cannot
// be told from a right free; the new owner's own free is the second one.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
// expect-lines: 1
#include "bad.h"

int main(void) {
    void *old = gomem_malloc(64);
    uintptr_t stale = (uintptr_t)old;
    gomem_free(old);
    void *owner = tell(gomem_malloc(64));
    MUST((uintptr_t)owner == stale);
    gomem_free((void *)stale);
    gomem_free(owner);
    MUST(!"it came back");
    return 0;
}
