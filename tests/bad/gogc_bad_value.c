// A bad number in GOMEM_GOGC: one line, and the default holds.
// expect-status: 0
// expect-line: ^gomem: .*GOMEM_GOGC
// expect-lines: 1
#define _GNU_SOURCE
#include "bad.h"

int main(void) {
    setenv("GOMEM_GOGC", "a lot", 1);
    MUST(gomem_new(10) != NULL);
    MUST(gomem_set_gc_percent(100) == 100);
    return 0;
}
