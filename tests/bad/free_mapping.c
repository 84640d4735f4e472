// Memory that the program has mapped itself is given to gomem_free.
// expect-status: 134
// expect-line: foreign pointer: @P@ is not in the heap, but in an anonymous mapping of [0-9]+ KB
// expect-lines: 1
#include "bad.h"

#include <sys/mman.h>

int main(void) {
    char *p = mmap(NULL, 300000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(p != MAP_FAILED);
    gomem_free(tell(p + 65536));
    return 0;
}
