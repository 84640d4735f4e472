// An object that the collector has already reclaimed.
// expect-status: 134
// expect-line: ^gomem: .*@P@
#include "bad.h"

enum { N = 200 };
static uintptr_t hidden[N];

__attribute__((noinline)) static void make(void) {
    for (int i = 0; i < N; i++) hidden[i] = ~(uintptr_t)gomem_new(512);
}

__attribute__((noinline)) static void clear(void) {
    volatile char left[20000];
    memset((char *)(uintptr_t)left, 0, sizeof left);
}

int main(void) {
    make();
    clear();
    gomem_gc();
    for (int i = 0; i < N; i++) {
        void *p = (void *)~hidden[i];
        if (gomem_base(p) == NULL) gomem_free(tell(p));
    }
    return 0;
}
