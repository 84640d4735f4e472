// A manual object is freed twice: told at the latest when the cache is given back.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: double free
#include "bad.h"

int main(void) {
    void *p = tell(gomem_malloc(100));
    gomem_free(p);
    gomem_free(p);
    gomem_free_os_memory();
    gomem_free_os_memory();
    return 0;
}
