// Every object of many is freed twice: told when they come back to their spans.
// expect-status: 134
// expect-line: ^gomem: .*double free
#include "bad.h"

int main(void) {
    static void *all[20000];
    for (int i = 0; i < 20000; i++) all[i] = gomem_malloc(1000);
    for (int i = 0; i < 20000; i++) gomem_free(all[i]);
    for (int i = 0; i < 20000; i++) gomem_free(all[i]);
    gomem_free_os_memory();
    return 0;
}
