// An address inside gomem's reservation where nothing was ever allocated.
// expect-status: 134
// expect-line: ^gomem: .*@P@
#include "bad.h"

int main(void) {
    char *p = gomem_new(100000);
    gomem_free(tell(p + ((size_t)64 << 20)));
    return 0;
}
