// gomem_blocking_end without gomem_blocking_begin: harmless, or told.
// expect-status: 0|134
#include "bad.h"

int main(void) {
    MUST(gomem_new(10) != NULL);
    gomem_blocking_end();
    MUST(gomem_new(10) != NULL);
    gomem_gc();
    MUST(whole());
    return 0;
}
