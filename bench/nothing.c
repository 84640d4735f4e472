/* Question: what does a program pay that has the header in it and uses nothing of it?
 *
 * Method: linked with the whole implementation; reports threads beyond the first, signals with a
 * handler (the kernel's mask), and the size of the program's own thread-local block from its
 * program headers. */
#include "bench.h"
#include "gomem.h"
#include <link.h>

static int own_tls(struct dl_phdr_info *info, size_t size, void *bytes) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_TLS) *(size_t *)bytes = info->dlpi_phdr[i].p_memsz;
    return 1; // the first object is the program; no need to see others
}

int main(void) {
    size_t tls = 0;
    dl_iterate_phdr(own_tls, &tls);
    bench_report("threads", (double)bench_status("Threads:", 10) - 1);
    bench_report("handlers", (double)__builtin_popcountll(bench_status("SigCgt:", 16)));
    bench_report("tls", (double)tls);
    return bench_finish(0);
}
