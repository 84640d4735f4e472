// GOMEM_FREE of a pointer into an object of its own class: told at the latest when the slot goes
// back to its span.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    struct item *p = GOMEM_MALLOC(struct item);
    struct item *q = tell(&p->key[1]);
    GOMEM_FREE(struct item, q);
    gomem_free_os_memory();
    return 0;
}
