// A plugin with a heap of its own, which plugin_host.c loads and unloads.
#define GOMEM_IMPLEMENTATION
#define GOMEM_TLS_DYNAMIC
#include "gomem.h"

typedef struct item {
    struct item *next;
    long value;
} item;

static item *kept;

__attribute__((visibility("default"))) long plugin_use(long n) {
    long sum = 0;
    kept = NULL;
    for (long i = 0; i < n; i++) {
        item *fresh = GOMEM_NEW(item);
        if (!fresh) return -1;
        fresh->value = i;
        fresh->next = i % 100 ? kept : NULL;
        kept = fresh;
    }
    gomem_gc();
    for (item *i = kept; i; i = i->next) sum += i->value;
    return sum;
}

__attribute__((visibility("default"))) void plugin_end(void) { gomem_shutdown(); }
