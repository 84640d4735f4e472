// Allocation in a signal handler that interrupts the allocator: told with a message.
// only-check: 1
// expect-status: 134
// expect-line: ^gomem: .*signal
#define _GNU_SOURCE
#include "bad.h"

#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t handled;

static void handler(int number) {
    (void)number;
    gomem_free(gomem_malloc(3000));
    void *volatile p = gomem_new(3000);
    (void)p;
    handled++;
}

int main(void) {
    struct itimerval timer = {{0, 50}, {0, 50}};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    MUST(sigaction(SIGALRM, &action, NULL) == 0);
    MUST(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    void *blocks[100] = {NULL};
    for (size_t i = 0; handled < 20000; i++) {
        gomem_free(blocks[i % 100]);
        blocks[i % 100] = i % 3 == 0 ? gomem_new(i % 30000) : gomem_malloc(i % 30000);
    }
    return 0;
}
