// pool: objects that are used again and again.
//
// gomem_pool_new takes functions for the three moments of an object: make runs once, when it is fresh;
// reset runs each time it is put back; drop runs before its memory goes. So a buffer that has grown once
// stays grown. Any thread may get, any may put. For plain objects GOMEM_POOL(name, T) is shorter, and
// inlined.
//
// It prints:
//     100000 lines were joined in 1 buffer, which was made once and grew 5 times
//     at the end 1 was dropped

#include "gomem.h"
#include <stdio.h>

typedef struct buffer {
    char *bytes; // from gomem_malloc: a pool is not scanned
    size_t used, room;
} buffer;

static int made, grown, dropped;

static void make(void *object, void *user) {
    (void)user;
    *(buffer *)object = (buffer){0};
    made++;
}

static void reset(void *object, void *user) {
    (void)user;
    ((buffer *)object)->used = 0; // the bytes stay
}

static void drop(void *object, void *user) {
    (void)user;
    gomem_free(((buffer *)object)->bytes);
    dropped++;
}

static bool add(buffer *b, const char *text) {
    size_t size = strlen(text);
    if (b->used + size > b->room) {
        size_t room = b->room ? b->room * 2 : 16;
        char *larger = GOMEM_RESIZE(char, b->bytes, room);
        if (!larger) return false;
        b->bytes = larger;
        b->room = room;
        grown++;
    }
    memcpy(b->bytes + b->used, text, size);
    b->used += size;
    return true;
}

int main(void) {
    gomem_pool *pool = gomem_pool_new(
        &(gomem_pool_options){.size = sizeof(buffer), .make = make, .reset = reset, .drop = drop});
    if (!pool) return 1;
    for (int line = 0; line < 100000; line++) {
        buffer *b = gomem_pool_get(pool);
        if (!b) return 1;
        for (int word = 0; word < 20; word++)
            if (!add(b, "ten bytes ")) return 1;
        gomem_pool_put(pool, b);
    }
    printf("100000 lines were joined in %ju buffer, which was made %s and grew %d times\n",
           (uintmax_t)gomem_pool_read_stats(pool).high_water, made == 1 ? "once" : "often", grown);
    gomem_pool_destroy(pool);
    printf("at the end %d was dropped\n", dropped);
}
