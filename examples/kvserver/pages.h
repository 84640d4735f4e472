// Pages about the memory of the server, over HTTP, for tools and people that watch it:
//
//     /metrics             for Prometheus
//     /debug/pprof/heap    for go tool pprof; has samples with GOMEM_DEBUG=profile=512KiB
//     /debug/report        for a browser; with GOMEM_DEBUG=record=1 it has cycles from the start
//
// Each connection is answered by a thread of its own, so neither a slow peer nor the page of a large
// heap holds up the loop that serves commands: while gomem_write runs, other threads run too. The
// page is written to a file in memory before it is sent. So its length is known, an error is a
// status and not half a page, and a slow peer does not stretch the time that the page describes.
//
// pprof also posts addresses to /debug/pprof/symbol: those for which it finds no function in the files
// that the profile names. The server knows no more than they do, so it answers with an empty list.
//
// All else is refused but GET, and each connection has one request. There is no password: whoever reaches the port reads the
// pages. They hold no keys and no values.

#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

enum {
    PAGES_MOST = 16,          // connections at a time; more are closed
    PAGES_REQUEST = 8 * 1024, // bytes of the head of a request
    PAGES_WAIT_MS = 5000,     // for a request, and each time that the peer takes no more
    PAGES_LINGER_MS = 1000    // for the peer to close
};

typedef struct page {
    const char *path, *type;
    int what; // for gomem_write; 0: an empty page, also for POST
} page;

static const page page_list[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", GOMEM_METRICS},
    {"/debug/pprof/heap", "application/octet-stream", GOMEM_HEAP_PROFILE},
    {"/debug/report", "text/html; charset=utf-8", GOMEM_REPORT},
    {"/debug/pprof/symbol", "text/plain; charset=utf-8", 0},
};

static struct {
    int listener;
    unsigned open; // connections with a thread. atomic
} pages = {.listener = -1};

// Waits until a descriptor is ready. False: it was not by then.
static bool page_wait(int fd, short events, int64_t until_ms) {
    int64_t left = until_ms - clock_in(CLOCK_MONOTONIC, 1000);
    struct pollfd p = {.fd = fd, .events = events};
    return left > 0 && poll(&p, 1, (int)left) > 0;
}

// Reads the head of a request, up to its empty line. False: none came.
static bool page_read(int fd, char *head, size_t room) {
    int64_t until = clock_in(CLOCK_MONOTONIC, 1000) + PAGES_WAIT_MS;
    for (size_t size = 0; size + 1 < room && page_wait(fd, POLLIN, until);) {
        ssize_t got = recv(fd, head + size, room - 1 - size, 0);
        if (got <= 0) return false;
        head[size += (size_t)got] = 0;
        if (strstr(head, "\r\n\r\n")) return true;
    }
    return false;
}

// The page that is asked for by, say, "GET /metrics?x=1 HTTP/1.1". NULL: *status says why not.
static const page *page_find(char *head, const char **status) {
    head[strcspn(head, "\r\n")] = 0;
    char *path = strchr(head, ' '), *version = path ? strchr(path + 1, ' ') : NULL;
    *status = "400 Bad Request";
    if (!version || strncmp(version, " HTTP/1.", 8) != 0) return NULL;
    path[1 + strcspn(path + 1, "? ")] = 0;
    const page *p = page_list, *end = p + sizeof page_list / sizeof page_list[0];
    while (p < end && strcmp(p->path, path + 1) != 0) p++;
    bool get = !strncmp(head, "GET ", 4), post = !strncmp(head, "POST ", 5);
    *status = "405 Method Not Allowed\r\nAllow: GET";
    if (!get && !(post && p < end && !p->what)) return NULL;
    *status = "404 Not Found";
    return p < end ? p : NULL;
}

// Sends a file with a head before it; if !body, only the head.
static void page_send(int fd, const char *status, const char *type, int file, bool body) {
    char head[512];
    off_t at = 0, size = lseek(file, 0, SEEK_END);
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %jd\r\n"
                     "Connection: close\r\n\r\n",
                     status, type, (intmax_t)size);
    if (send(fd, head, (size_t)n, 0) != n) return;
    if (!body) return;
    while (at < size && page_wait(fd, POLLOUT, clock_in(CLOCK_MONOTONIC, 1000) + PAGES_WAIT_MS))
        if (sendfile(fd, file, &at, (size_t)(size - at)) < 0 && errno != EAGAIN) return;
}

static void page_answer(int fd) {
    char head[PAGES_REQUEST] = "";
    const char *status = "400 Bad Request", *type = "text/plain; charset=utf-8";
    const page *p = page_read(fd, head, sizeof head) ? page_find(head, &status) : NULL;
    int file = memfd_create("page", MFD_CLOEXEC);
    if (file < 0) return;
    if (p && (!p->what || gomem_write(p->what, file))) {
        status = "200 OK";
        type = p->type;
    } else {
        if (p) status = "500 Internal Server Error";
        if (ftruncate(file, 0) != 0) {} // what was written of the page
        dprintf(file, "%.3s\nGET /metrics, /debug/pprof/heap, /debug/report\n", status);
    }
    page_send(fd, status, type, file, strncmp(head, "HEAD ", 5) != 0);
    close(file);
}

static void *page_thread(void *arg) {
    int fd = (int)(intptr_t)arg;
    char rest[512];
    gomem_blocking_begin(); // it touches no collected memory, so no stop need wake it from a wait
    page_answer(fd);
    // Closing with bytes unread would reset the connection before the peer has read the answer.
    shutdown(fd, SHUT_WR);
    int64_t until = clock_in(CLOCK_MONOTONIC, 1000) + PAGES_LINGER_MS;
    while (page_wait(fd, POLLIN, until) && recv(fd, rest, sizeof rest, 0) > 0) {}
    close(fd);
    gomem_blocking_end();
    __atomic_fetch_sub(&pages.open, 1, __ATOMIC_RELAXED);
    return NULL;
}

// Has a connection answered.
static void page_add(int fd) {
    pthread_t thread;
    if (__atomic_add_fetch(&pages.open, 1, __ATOMIC_RELAXED) <= PAGES_MOST &&
        pthread_create(&thread, NULL, page_thread, (void *)(intptr_t)fd) == 0) {
        pthread_detach(thread);
        return;
    }
    __atomic_fetch_sub(&pages.open, 1, __ATOMIC_RELAXED);
    close(fd);
}

static void page_refuse(int fd) { close(fd); }
