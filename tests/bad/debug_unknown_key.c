// An unknown key in GOMEM_DEBUG: one line that names the accepted ones, then work goes on.
// expect-status: 0
// expect-line: ^gomem: .*GOMEM_DEBUG.*nosuchkey.*gctrace
// expect-lines: 1
#define _GNU_SOURCE
#include "bad.h"

int main(void) {
    setenv("GOMEM_DEBUG", "nosuchkey=1", 1);
    MUST(gomem_new(10) != NULL);
    gomem_gc();
    return 0;
}
