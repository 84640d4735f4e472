// A null pointer may be freed in every way.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

int main(void) {
    struct item *nothing = NULL;
    gomem_free(NULL);
    gomem_free_sized(NULL, 100);
    GOMEM_FREE(struct item, nothing);
    for (int i = 0; i < 1000; i++) GOMEM_FREE(struct item, nothing);
    MUST(whole());
    MUST(GOMEM_MALLOC(struct item) != NULL);
    return 0;
}
