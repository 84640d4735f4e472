// Options that make no sense: false with EINVAL; what cannot change any more: EALREADY.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

int main(void) {
    errno = 0;
    MUST(!gomem_init(&(gomem_options){.gc_percent = -7}) && errno == EINVAL);
    errno = 0;
    MUST(!gomem_init(&(gomem_options){.collector = 77}) && errno == EINVAL);
    errno = 0;
    MUST(!gomem_init(&(gomem_options){.mark_workers = -3}) && errno == EINVAL);
    errno = 0;
    MUST(!gomem_init(&(gomem_options){.stop_signal = 9}) && errno == EINVAL);
    MUST(gomem_init(NULL));
    MUST(gomem_new(10) != NULL);
    errno = 0;
    MUST(!gomem_init(&(gomem_options){.reserve = 123 << 20}) && errno == EALREADY);
    return 0;
}
