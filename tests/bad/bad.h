// What the programs of bad input share. Each names in its first lines what must come of it:
//
//     // expect-status: 134            exit status, alternatives as 0|134
//     // expect-line: double free.*@P@ an extended regular expression that a line of standard error
//                                      matches; @P@ is the pointer that `tell` named
//     // expect-lines: 1               so many lines in all
//     // only-check: 1                 at this check level and up
#ifndef BAD_H
#define BAD_H

#include "gomem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Names the pointer that the message has to name. Also hides from the compiler what it is.
static inline void *tell(void *p) {
    void *volatile hidden = p;
    printf("P=0x%jx\n", (uintmax_t)(uintptr_t)p);
    fflush(stdout);
    return hidden;
}

// Ends the program with 3 when something that must hold does not.
static inline void must(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "this does not hold: %s\n", what);
    exit(3);
}

#define MUST(c) must((c), #c)

// The heap is whole. On a busy machine the answer may be refused, while a thread has no processor;
// then it is asked for again, for a minute at most.
static inline int whole(void) {
    time_t end = time(NULL) + 60;
    do {
        errno = 0;
        if (gomem_verify()) return 1;
    } while (errno == EAGAIN && time(NULL) < end);
    return 0;
}

struct item {
    struct item *next;
    long key[7];
};

#endif
