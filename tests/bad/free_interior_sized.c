// A pointer into the middle of a manual object, with the size: told at the latest when the slot
// goes back to its span.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: interior
#include "bad.h"

int main(void) {
    char *p = gomem_malloc(64);
    gomem_free_sized(tell(p + 16), 64);
    gomem_free_os_memory();
    return 0;
}
