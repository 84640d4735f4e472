// threads: threads, signals and long waits beside a collector.
//
// The collector stops threads by a signal. GOMEM_THREADS makes pthread_create and its kin keep what they
// carry alive (a thread's argument until it runs, its result until it is joined) and keep the signal out
// of masks: a thread may block "all" signals and still be stopped. Around a long wait a thread declares
// that it touches no collected memory; then it is not woken for a stop.
//
// It prints:
//     the signal thread got SIGTERM
//     4 workers brought 40000 numbers, sum 800020000

#define GOMEM_THREADS // before the header, in each file that uses threads or signals
#include "gomem.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

typedef struct list {
    struct list *next;
    long number;
} list;

static void *work(void *arg) { // arg is a collected object, held by nobody else
    const long *range = arg;
    list *first = NULL;
    for (long i = range[0]; i < range[1]; i++) {
        list *l = GOMEM_NEW(list);
        if (!l) return NULL;
        l->number = i;
        GOMEM_STORE(&l->next, first);
        first = l;
    }
    return first; // kept until pthread_join
}

static void *wait_for_signal(void *arg) {
    int got = 0;
    gomem_blocking_begin(); // no collected memory is touched until the end
    sigwait(arg, &got);
    gomem_blocking_end();
    printf("the signal thread got %s\n", got == SIGTERM ? "SIGTERM" : "another");
    return NULL;
}

int main(void) {
    static sigset_t all;
    pthread_t signals, workers[4];
    long count = 0, sum = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); // as servers do, so that one thread takes all signals
    if (pthread_create(&signals, NULL, wait_for_signal, &all) != 0) return 1;
    for (long i = 0; i < 4; i++) {
        long *range = GOMEM_MAKE_NOSCAN(long, 2);
        if (!range) return 1;
        range[0] = i * 10000 + 1;
        range[1] = range[0] + 10000;
        if (pthread_create(&workers[i], NULL, work, range) != 0) return 1;
    }
    gomem_gc(); // beside them
    kill(getpid(), SIGTERM);
    pthread_join(signals, NULL);
    for (int i = 0; i < 4; i++) {
        void *result;
        if (pthread_join(workers[i], &result) != 0) return 1;
        for (list *l = result; l; l = l->next, count++) sum += l->number;
    }
    printf("4 workers brought %ld numbers, sum %ld\n", count, sum);
}
