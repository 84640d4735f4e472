// manual: allocate and free by hand, with types.
//
// GOMEM_MALLOC and GOMEM_FREE are inlined, since the compiler knows the size. GOMEM_RESIZE grows an array
// and checks the product of count and size. gomem_free takes any object of either heap; it needs no size
// and no type. The collector never looks at manual memory, so do not keep collected pointers in it.
//
// It prints:
//     1000 squares, the last is 998001
//     the array has room for its elements, and begins at a multiple of 64
//     a product that overflows gives NULL, and the old array stays
//     hello, world

#include "gomem.h"
#include <stdio.h>

typedef struct squares {
    long *value;
    size_t count, room;
} squares;

static bool add(squares *s, long value) {
    if (s->count == s->room) {
        size_t room = s->room ? s->room * 2 : 4;
        long *larger = GOMEM_RESIZE(long, s->value,
                                    room); // NULL: out of memory, and s->value stays
        if (!larger) return false;
        s->value = larger;
        s->room = room;
    }
    s->value[s->count++] = value;
    return true;
}

int main(void) {
    squares *s = GOMEM_MALLOC(squares); // not zeroed
    if (!s) return 1;
    *s = (squares){0};
    for (long i = 0; i < 1000; i++)
        if (!add(s, i * i)) return 1;
    printf("%zu squares, the last is %ld\n", s->count, s->value[s->count - 1]);

    long *aligned = gomem_aligned_alloc(64, 1000 * sizeof *aligned);
    if (!aligned) return 1;
    bool fits = gomem_usable_size(aligned) >= 1000 * sizeof *aligned;
    printf("the array %s, and begins at %s of 64\n",
           fits ? "has room for its elements" : "is too small",
           (uintptr_t)aligned % 64 ? "no multiple" : "a multiple");
    gomem_free(aligned);

    bool refused = !GOMEM_RESIZE(long, s->value, SIZE_MAX / 4) && s->value[3] == 9;
    printf("a product that overflows gives %s\n",
           refused ? "NULL, and the old array stays" : "memory");

    char *text = gomem_strdup("hello, world");
    if (text) puts(text);
    gomem_free(text);
    gomem_free(s->value);
    GOMEM_FREE(squares, s);
}
