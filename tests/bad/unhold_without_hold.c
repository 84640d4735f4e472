// gomem_gc_unhold without gomem_gc_hold: harmless, or told.
// expect-status: 0|134
#include "bad.h"

int main(void) {
    gomem_gc_unhold();
    gomem_gc_hold();
    gomem_gc_unhold();
    for (int i = 0; i < 100000; i++) MUST(gomem_new(1000) != NULL);
    gomem_gc();
    return 0;
}
