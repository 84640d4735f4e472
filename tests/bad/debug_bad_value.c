// A bad value in GOMEM_DEBUG: one line.
// expect-status: 0
// expect-line: ^gomem: .*GOMEM_DEBUG.*collector
// expect-lines: 1
#define _GNU_SOURCE
#include "bad.h"

int main(void) {
    setenv("GOMEM_DEBUG", "collector=fastest", 1);
    MUST(gomem_new(10) != NULL);
    gomem_gc();
    return 0;
}
