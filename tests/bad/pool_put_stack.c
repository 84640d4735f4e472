// A variable of the stack is put.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: put of a pointer that is no object of the pool: @P@ is not in the heap
// expect-lines: 1
#include "bad.h"

GOMEM_POOL(pooled, struct item);

int main(void) {
    struct item i = {0};
    pooled_put(tell(&i));
    return 0;
}
