// Address space is limited and all of it is live, then garbage.
// expect-status: 0
// expect-lines: 0
#define _GNU_SOURCE
#include "bad.h"

#include <sys/resource.h>

static void **volatile head;

int main(void) {
    struct rlimit limit = {256 << 20, 256 << 20};
    MUST(setrlimit(RLIMIT_AS, &limit) == 0);
    for (int round = 0; round < 2; round++) {
        size_t n = 0;
        for (void **p; (p = gomem_new(8000)) != NULL; n++) {
            *p = (void *)head;
            head = p;
        }
        MUST(errno == ENOMEM && n > 1000);
        head = NULL;
    }
    for (int i = 0; i < 100000; i++) MUST(gomem_new(8000) != NULL);
    MUST(whole());
    return 0;
}
