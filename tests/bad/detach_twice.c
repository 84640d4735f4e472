// A thread detaches twice: harmless, or told.
// expect-status: 0|134
#include "bad.h"

int main(void) {
    MUST(gomem_thread_attach());
    gomem_thread_detach();
    gomem_thread_detach();
    MUST(gomem_new(10) != NULL);
    gomem_gc();
    MUST(whole());
    return 0;
}
