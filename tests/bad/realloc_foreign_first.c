// gomem_realloc of a pointer of libc's malloc is the first thing that gomem ever sees.
// expect-status: 134
// expect-line: ^gomem: .*@P@
// expect-line: foreign|not a gomem
#include "bad.h"

int main(void) { return gomem_realloc(tell(malloc(100)), 200) == NULL; }
