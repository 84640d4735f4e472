// leaks: five ways in which a program that frees everything, or never has to, keeps memory all the
// same; and for each one the tool that finds it.
//
//     leaks files|timer|slice|map|cache [cured]
//
// These are the leaks that the literature on Go describes. A collector does not prevent the last four:
// the program still reaches the memory, but never uses it again. `cured` runs the same without the
// leak. The functions that allocate are not static, and the program is linked with -rdynamic, so that
// profiles name them without a debugger's help.

#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SEEN __attribute__((noinline)) // and not static: profiles name these functions

static void *must(void *object) {
    if (object) return object;
    fprintf(stderr, "leaks: out of memory\n");
    exit(1);
}

// ---- files: a resource that is not closed ----
//
// Nothing points to it any more, so the search for leaks finds it. The reader is a direct leak, and its
// buffer an indirect one. With profile=1 each group has the stack that allocated it.
//
//     $ GOMEM_DEBUG=leak=1 ./leaks files
//     100 readers were used
//     gomem: 200 objects leaked, 412000 bytes: 100 direct (2400), 100 indirect (409600)
//     gomem: leak: 100 indirect, of 4096 bytes each, 409600 in all; the first at 0x2eed1c38c000: 0x2020202020202020 0x2020202020202020 0x2020202020202020 0x2020202020202020
//     gomem: leak: 100 direct, of 24 bytes each, 2400 in all; the first at 0x2eed1c3fc000: 0x2eed1c3ec000 0x0 0x1000

typedef struct reader {
    char *buffer;
    size_t at, size;
} reader;

SEEN reader *reader_open(void) {
    reader *r = must(GOMEM_MALLOC(reader));
    *r = (reader){.buffer = must(gomem_malloc(4096)), .size = 4096};
    return r;
}

SEEN void reader_close(reader *r) {
    gomem_free(r->buffer);
    gomem_free(r);
}

// Each reader is opened, used, and forgotten.
SEEN void files(bool cured) {
    for (int i = 0; i < 100; i++) {
        reader *r = reader_open();
        memset(r->buffer, ' ', r->size);
        if (cured) reader_close(r);
    }
    printf("100 readers were used\n");
}

// ---- timer: a timer that is not stopped ----
//
// The timer refers to the request that it would abort, long after that was answered. gomem_each finds
// the requests that live, and gomem_why what keeps one: a list of timers.
//
//     $ ./leaks timer
//     100 requests live
//     gomem: why: kept by a global of the program + 0x4f640, word at 0x559d7d77c640
//     gomem: why: 0x1dd9b4414948 is a 24-byte typed object at 0x1dd9b4414948 (class 3, slot 99 of 682) of type timer; offset 16 points at the next
//     gomem: why: 0x1dd9b447cb00 is a 4864-byte typed object at 0x1dd9b447cb00 (class 63, slot 9 of 15) of type request

typedef struct timer {
    struct timer *next;
    void (*fire)(void *arg);
    void *arg;
} timer;
GOMEM_TYPE(timer_type, timer, next, arg);

typedef struct request {
    timer *timeout;
    char body[4096];
} request;
GOMEM_TYPE(request_type, request, timeout);

static timer *timers; // those that wait

static void request_abort(void *arg) { ((request *)arg)->body[0] = 0; }

SEEN timer *timer_start(void (*fire)(void *arg), void *arg) {
    timer *t = must(GOMEM_NEW_TYPED(timer, &timer_type));
    t->fire = fire;
    GOMEM_STORE(&t->arg, arg);
    GOMEM_STORE(&t->next, timers);
    GOMEM_STORE(&timers, t);
    return t;
}

SEEN void timer_stop(timer *t) {
    timer **at = &timers;
    while (*at && *at != t) at = &(*at)->next;
    if (*at) GOMEM_STORE(at, t->next);
}

SEEN void request_serve(bool cured) {
    request *r = must(GOMEM_NEW_TYPED(request, &request_type));
    GOMEM_STORE(&r->timeout, timer_start(request_abort, r));
    memset(r->body, ' ', sizeof r->body); // this is answered well in time
    if (cured) timer_stop(r->timeout);
}

// Passed by gomem_each: notes one of the objects.
static bool note(void *object, size_t size, void *user) {
    (void)size;
    *(uintptr_t *)user = (uintptr_t)object;
    return true;
}

SEEN void timer_leak(bool cured) {
    uintptr_t one = 0;
    for (int i = 0; i < 100; i++) request_serve(cured);
    gomem_gc();
    printf("%zu requests live\n", gomem_each(&request_type, note, &one));
    if (one) gomem_why((void *)one, STDOUT_FILENO);
}

// ---- slice: a few bytes that keep a large array ----
//
// Each title is five bytes of a megabyte that was read. The table of what lives has 16 large objects,
// where a program that holds 16 titles should have small ones.
//
//     $ GOMEM_DEBUG=write=types:/dev/stderr ./leaks slice
//               bytes      objects    size  type, or (kind)
//            16777472           16   large  (collected, noscan)
//            16777472           16          total
//
// With copies of the titles:
//
//     $ GOMEM_DEBUG=write=types:/dev/stderr ./leaks slice cured
//               bytes      objects    size  type, or (kind)
//                 256           16      16  (collected, noscan)
//                 256           16          total

typedef struct slice {
    const char *at;
    size_t size;
} slice;

static slice titles[16];

SEEN char *file_read(void) {
    char *text = must(gomem_new_with(1 << 20, 0, GOMEM_NOSCAN));
    memset(text, ' ', 1 << 20);
    return memcpy(text, "title\n", 6);
}

SEEN void title_read(slice *title, bool cured) {
    char *text = file_read();
    title->size = strcspn(text, "\n");
    if (cured) text = must(gomem_new_string(text, title->size)); // a copy
    GOMEM_STORE(&title->at, text);
}

SEEN void slice_leak(bool cured) {
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) title_read(&titles[i], cured);
    gomem_gc();
}

// ---- map: entries that are never deleted ----
//
// The map is meant to hold what is in it, so nothing is wrong with any one object. A profile of what is
// in use says which call has put it there: here all of it comes from login.
//
//     $ GOMEM_DEBUG=profile=1,write=folded:/dev/stderr ./leaks map
//     _start;__libc_start_main;libc.so.6+0x27249;main;map_leak;login;session_new 1024000

typedef struct session {
    struct session *next;
    int user;
    char state[1000];
} session;

static session *sessions[64]; // by user

SEEN session *session_new(int user) {
    session *s = must(GOMEM_NEW(session));
    s->user = user;
    GOMEM_STORE(&s->next, sessions[user % 64]);
    GOMEM_STORE(&sessions[user % 64], s);
    return s;
}

SEEN void session_delete(int user) {
    session **at = &sessions[user % 64];
    while (*at && (*at)->user != user) at = &(*at)->next;
    if (*at) GOMEM_STORE(at, (*at)->next);
}

SEEN void login(int user) { session_new(user)->state[0] = 1; }

SEEN void map_leak(bool cured) {
    for (int user = 0; user < 1000; user++) {
        login(user);
        if (cured) session_delete(user); // when the user logs out
    }
    gomem_gc();
}

// ---- cache: one without a limit ----
//
// One look does not tell a cache that grows from one that is full. Two do: the third figure of
// "4->4->4 MB" is what lives after a cycle, and here it doubles from each cycle to the next. A bounded
// cache stays at 1 MB. write=report:FILE draws the same as a picture.
//
//     $ GOMEM_DEBUG=gctrace=1 ./leaks cache 2>&1 | cut -d' ' -f1-3,11-12
//     gc 1 @0.041s 4->4->4 MB,
//     gc 2 @0.129s 8->9->9 MB,
//     gc 3 @0.185s 16->19->19 MB,
//     gc 4 @0.358s 29->43->43 MB,
//     gc 5 @1.029s 57->95->95 MB,

typedef struct answer {
    struct answer *next;
    char text[1000];
} answer;

static answer *cache;
static int cached;

SEEN void cache_leak(bool cured) {
    for (int question = 0; question < 100000; question++) {
        answer *a = must(GOMEM_NEW(answer));
        memset(a->text, ' ', sizeof a->text);
        if (cured && ++cached % 1000 == 0) GOMEM_STORE(&cache, NULL); // a limit
        GOMEM_STORE(&a->next, cache);
        GOMEM_STORE(&cache, a);
    }
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(bool cured);
    } leaks[] = {{"files", files},
                 {"timer", timer_leak},
                 {"slice", slice_leak},
                 {"map", map_leak},
                 {"cache", cache_leak}};
    setvbuf(stdout, NULL, _IOLBF, 0); // also in a pipe, so that all lines come in order
    bool cured = argc == 3 && !strcmp(argv[2], "cured");
    for (size_t i = 0; i < 5 && argc == 2 + cured; i++)
        if (!strcmp(argv[1], leaks[i].name)) return leaks[i].run(cured), 0;
    fprintf(stderr, "usage: leaks files|timer|slice|map|cache [cured]\n");
    return 2;
}
