// Sizes and products that overflow: NULL, ENOMEM, no message.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

int main(void) {
    volatile size_t most = SIZE_MAX;
    volatile int minus = -1;
    struct item *p = GOMEM_MALLOC(struct item);
    errno = 0;
    MUST(gomem_malloc(most) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(gomem_new(most) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(gomem_calloc(most / 2, 3) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(GOMEM_MAKE(struct item, minus) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(GOMEM_MALLOC_N(struct item, most) == NULL && errno == ENOMEM);
    errno = 0;
    MUST(GOMEM_RESIZE(struct item, p, minus) == NULL && errno == ENOMEM);
    gomem_free(p); // still valid
    MUST(whole());
    return 0;
}
