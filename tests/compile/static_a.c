// One of two files with a private heap each: static_b.c holds the other.
#define GOMEM_STATIC
#include "gomem.h"

void *static_b_new(void);
bool static_b_owns(const void *p);

int main(void) {
    void *mine = gomem_malloc(100);
    void *theirs = static_b_new();
    if (mine == NULL || theirs == NULL) return 1;
    if (gomem_base(mine) != mine || gomem_base(theirs) != NULL) return 2;
    if (static_b_owns(mine) || !static_b_owns(theirs)) return 3;
    gomem_free(mine);
    return 0;
}
