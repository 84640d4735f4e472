// finalizer: do something when an object is garbage.
//
// A cleanup gets an argument of its own and cannot bring the object back: use it for what the object
// owns outside of the heap. A finalizer gets the object itself. Both run on a thread of the library, or
// where the program calls gomem_run_finalizers, as here. When they run depends on the collector: what
// must be closed at a certain time is closed by hand, and the cleanup cancelled.
//
// It prints:
//     100 files were closed by hand
//     of 100 that were forgotten, cleanups have closed nearly all
//     finalizers have seen nearly all of 100 parsers

#include "gomem.h"
#include <stdio.h>

typedef struct file {
    int *descriptor; // manual memory stands for it
    gomem_cleanup cleanup;
} file;

static int by_hand, by_cleanup, seen;

static void close_descriptor(void *arg) {
    by_cleanup++;
    gomem_free(arg);
}

static file *file_open(void) {
    file *f = GOMEM_NEW_NOSCAN(file);
    if (!f || !(f->descriptor = GOMEM_MALLOC(int))) return NULL;
    f->cleanup = gomem_add_cleanup(f, close_descriptor, f->descriptor); // not f: that would keep it
    return f;
}

static void file_close(file *f) {
    gomem_cancel_cleanup(f->cleanup);
    by_hand++;
    GOMEM_FREE(int, f->descriptor);
    f->descriptor = NULL;
}

static void goodbye(void *object, void *arg) { *(int *)arg += strcmp(object, "a parser") == 0; }

static bool use(void) { // its objects are garbage when it returns
    file *closed = file_open(), *forgotten = file_open();
    char *parser = gomem_new_string("a parser", SIZE_MAX);
    if (!closed || !forgotten || !parser) return false;
    file_close(closed);
    return gomem_set_finalizer(parser, goodbye, &seen);
}

int main(void) {
    gomem_options options = {.finalizers_by_hand = true};
    if (!gomem_init(&options)) return 1;
    for (int i = 0; i < 100; i++)
        if (!use()) return 1;
    gomem_gc();
    gomem_run_finalizers(1000);
    printf("%d files were closed by hand\n", by_hand);
    // what the last calls left on the stack may keep an object for a while
    printf("of 100 that were forgotten, cleanups have closed %s\n",
           by_cleanup > 90 ? "nearly all" : "few");
    printf("finalizers have seen %s of 100 parsers\n", seen > 90 ? "nearly all" : "few");
}
