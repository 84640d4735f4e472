// After gomem_shutdown: NULL with ESHUTDOWN, and frees of old pointers do nothing.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

int main(void) {
    struct item *p = tell(GOMEM_MALLOC(struct item)), *q = tell(GOMEM_NEW(struct item));
    gomem_shutdown();
    errno = 0;
    MUST(gomem_malloc(10) == NULL && errno == ESHUTDOWN);
    errno = 0;
    MUST(gomem_new(10) == NULL && errno == ESHUTDOWN);
    errno = 0;
    MUST(GOMEM_NEW(struct item) == NULL && errno == ESHUTDOWN);
    gomem_free(p);
    gomem_free(p);
    GOMEM_FREE(struct item, q);
    gomem_gc();
    return 0;
}
