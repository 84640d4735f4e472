// A local's address is given to gomem_free.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: stack
// expect-lines: 1
#include "bad.h"

int main(void) {
    struct item local = {NULL, {0}};
    gomem_free(gomem_malloc(100));
    gomem_free(tell(&local));
    return 0;
}
