// gomem_realloc of a local.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: stack
#include "bad.h"

int main(void) {
    struct item local = {NULL, {0}};
    gomem_free(gomem_malloc(100));
    return gomem_realloc(tell(&local), 200) == NULL;
}
