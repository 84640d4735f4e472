// With the override linked in, and without GOMEM_THREADS: threads that wait with everything masked,
// for ever, answer stops. The waits end as libc's do: by their event, in time, and by cancellation.
#define _GNU_SOURCE
#include "gomem.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__GLIBC__) && __GLIBC_MINOR__ < 35 // the override has it
extern int epoll_pwait2(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);
#endif

static int wrong;
#define EXPECT(c)                                            \
    do {                                                     \
        if (!(c)) printf("%d: %s\n", __LINE__, #c), wrong++; \
    } while (0)

static const char *const names[] = {"sigsuspend",  "ppoll",        "pselect",
                                    "epoll_pwait", "epoll_pwait2", "sigwait",
                                    "sigwaitinfo", "sigtimedwait", "signalfd"};
enum { SUSPEND, PPOLL, PSELECT, EPOLL, EPOLL2, SIGWAIT, INFO, TIMED, READ, WAYS };

static sigset_t all, most; // most: without SIGUSR1
static int ends[2];
static atomic_int waits; // the id of the thread that waits
static atomic_bool woken;
static void wake(int number) { atomic_store(&woken, number == SIGUSR1); }

// Waits once; milliseconds < 0: for ever. Returns 1: the event came, 0: none in time, -1: errno.
static int wait_once(int way, int fd, int milliseconds) {
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    const struct timespec *limit = milliseconds < 0 ? NULL : &time;
    struct pollfd one = {.fd = ends[0], .events = POLLIN};
    struct epoll_event event;
    struct signalfd_siginfo info;
    siginfo_t signal;
    fd_set in;
    int number = 0;
    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    switch (way) {
    case SUSPEND: return sigsuspend(&most), atomic_load(&woken) ? 1 : -1;
    case PPOLL: return ppoll(&one, 1, limit, &all);
    case PSELECT: return pselect(ends[0] + 1, &in, NULL, NULL, limit, &all);
    case EPOLL: return epoll_pwait(fd, &event, 1, milliseconds, &all);
    case EPOLL2: return epoll_pwait2(fd, &event, 1, limit, &all);
    case SIGWAIT: return sigwait(&all, &number) == 0 && number == SIGUSR2 ? 1 : -1;
    case INFO: return sigwaitinfo(&all, &signal) == SIGUSR2 && signal.si_code == SI_USER ? 1 : -1;
    case TIMED: number = sigtimedwait(&all, NULL, limit); break;
    case READ: return read(fd, &info, sizeof info) > 0 && info.ssi_signo == SIGUSR2 ? 1 : -1;
    }
    return number > 0 ? number == SIGUSR2 ? 1 : -2 : errno == EAGAIN ? 0 : -1;
}

static int open_for(int way) {
    struct epoll_event event = {.events = EPOLLIN};
    if (way == READ) return signalfd(-1, &all, SFD_CLOEXEC);
    int fd = epoll_create1(EPOLL_CLOEXEC);
    EXPECT(fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, ends[0], &event) == 0);
    return fd;
}

static void *wait_for_event(void *arg) {
    int way = (int)(size_t)arg, fd = open_for(way), got = -1;
    size_t *volatile object = gomem_new(sizeof *object);
    *object = (size_t)way;
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    atomic_store(&waits, (int)syscall(SYS_gettid));
    while (got == -1) got = wait_once(way, fd, way == TIMED ? 1000000 : -1);
    EXPECT(got == 1 && *object == (size_t)way);
    close(fd);
    return NULL;
}

// Does a thread sleep?
static bool sleeps(int id) {
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", id);
    FILE *f = fopen(path, "r");
    if (!f) return true; // no /proc: it is asleep soon
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    while (n && text[n] != ')') n--;
    return text[n + 2] == 'S';
}

static bool has_epoll2(void) { // Linux 5.11
    struct epoll_event event;
    return epoll_pwait2(-1, &event, 1, NULL, NULL) == 0 || errno != ENOSYS;
}

static pthread_t start(int way) {
    pthread_t thread;
    atomic_store(&waits, 0), atomic_store(&woken, false);
    if (pthread_create(&thread, NULL, wait_for_event, (void *)(size_t)way)) exit(2);
    while (!atomic_load(&waits) || !sleeps(atomic_load(&waits))) sched_yield();
    return thread;
}

static void collect(int way) {
    for (int i = 0; i < 3; i++) {
        int tries = 0;
        while (!gomem_gc() && tries < 4) tries++; // each takes a second
        if (tries == 4) printf("%s: no collection ends\n", names[way]), exit(1);
        while (!sleeps(atomic_load(&waits))) sched_yield();
    }
}

static void check(int way) {
    char c;
    if (way == EPOLL2 && !has_epoll2()) return;
    pthread_t thread = start(way);
    collect(way);
    if (way == SUSPEND) pthread_kill(thread, SIGUSR1);
    else if (way >= SIGWAIT) pthread_kill(thread, SIGUSR2);
    else EXPECT(write(ends[1], "x", 1) == 1);
    EXPECT(pthread_join(thread, NULL) == 0);
    if (way >= PPOLL && way <= EPOLL2) EXPECT(read(ends[0], &c, 1) == 1);
    void *result = NULL;
    thread = start(way);
    EXPECT(pthread_cancel(thread) == 0);
    EXPECT(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
}

int main(void) {
    struct sigaction action = {.sa_handler = wake};
    struct epoll_event event;
    alarm(100); // should something hang
    sigfillset(&all);
    sigfillset(&most);
    sigdelset(&most, SIGUSR1);
    if (pipe(ends) || sigaction(SIGUSR1, &action, NULL) || !gomem_new(8)) return 2;
    for (int way = 0; way < WAYS; way++) check(way);
    for (int way = PPOLL; way <= TIMED; way++) { // in time; a stop of the background may end one
        int fd = open_for(way), got = -1;
        if (way == SIGWAIT || way == INFO || (way == EPOLL2 && !has_epoll2())) got = 0;
        pthread_sigmask(SIG_BLOCK, &all, NULL);
        while (got == -1) got = wait_once(way, fd, 1);
        EXPECT(got == 0);
        close(fd);
    }
    EXPECT(ppoll(NULL, 0, &(struct timespec){-1, 0}, NULL) == -1 && errno == EINVAL);
    EXPECT(signalfd(ends[0], &all, 0) == -1 && errno == EINVAL);
    EXPECT(epoll_pwait(-1, &event, 1, 0, NULL) == -1 && errno == EBADF);
    return wrong != 0;
}
