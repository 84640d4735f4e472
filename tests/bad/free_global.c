// The address of a global is given to gomem_free.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign|not a gomem
#include "bad.h"

static struct item global;

int main(void) {
    gomem_free(gomem_malloc(100));
    gomem_free(tell(&global));
    return 0;
}
