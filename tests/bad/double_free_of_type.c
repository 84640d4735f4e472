// A typed object is freed twice, the second time by GOMEM_FREE.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

GOMEM_TYPE(item_type, struct item, next);

int main(void) {
    struct item *p = tell(GOMEM_NEW_TYPED(struct item, &item_type));
    gomem_free(p);
    GOMEM_FREE(struct item, p);
    return 0;
}
