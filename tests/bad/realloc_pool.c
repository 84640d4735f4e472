// An object of a pool given to realloc.
// expect-status: 134
// expect-line: ^gomem: free of an object of a pool.*@P@
// expect-lines: 1
#include "bad.h"

GOMEM_POOL(resized, struct item);

int main(void) {
    MUST(gomem_realloc(tell(resized_get()), 1000) == NULL);
    return 0;
}
