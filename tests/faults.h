// A program in which the kernel or libc refuses calls: the implementation with its seams set (faults.c),
// and a child that tells how often it made the call. What of it fails is chosen before the child begins.
#ifndef FAULTS_H
#define FAULTS_H

#include "child.h"
#include "gomem.h"

#include <pthread.h>
#include <stdatomic.h>

// What can be refused: a function, a system call by its number, or a request of ioctl.
enum fault_kind {
    FAULT_MMAP,
    FAULT_MUNMAP,
    FAULT_MPROTECT,
    FAULT_MADVISE,
    FAULT_MREMAP,
    FAULT_CREATE,
    FAULT_KEY,
    FAULT_ACTION,
    FAULT_USERFAULTFD,
    FAULT_IOCTL_API,
    FAULT_IOCTL_REGISTER,
    FAULT_IOCTL_PROTECT,
    FAULT_IOCTL_SCAN,
    FAULT_OPEN,
    FAULT_READ,
    FAULT_STATX,
    FAULT_LSEEK,
    FAULT_FCNTL,
    FAULT_READV,
    FAULT_MEMFD,
    FAULT_AFFINITY,
    FAULT_SIGNAL,
    FAULT_FUTEX,
    FAULT_KINDS
};

struct fault {
    const char *name;
    int errors[4]; // ends with 0
};
extern const struct fault faults[FAULT_KINDS];

extern atomic_int fault_calls[FAULT_KINDS];      // so far
extern enum fault_kind fault_is;                 // what fails; FAULT_KINDS: nothing
extern int fault_first, fault_last, fault_error; // its calls, counted from 1
extern atomic_int fault_create_slowly; // 1: the next thread takes a while; 2: it is being created

// Is the argument of a thread that has not begun a root?
extern bool fault_starts(void);

// NULL only with ENOMEM, and only while something fails.
TEST_I_UNUSED static void *fault_checked(void *p) {
    if (p == NULL) {
        CHECK_EQ(errno, ENOMEM);
        CHECK(fault_is != FAULT_KINDS);
    }
    errno = 0;
    return p;
}

// The object of both programs.
struct node {
    struct node *next;
    uintptr_t index;
    uintptr_t body[6];
};

// A list is whole: it has so many nodes, the last one first.
TEST_I_UNUSED static void fault_check_list(struct node *list, uintptr_t length) {
    for (struct node *node = list; node != NULL; node = node->next)
        if (!CHECK(node->index == --length)) break;
    CHECK_EQ(length, 0);
}

static atomic_int finalized TEST_I_UNUSED;

TEST_I_UNUSED static void finalize(void *object, void *arg) {
    (void)object, (void)arg;
    atomic_fetch_add(&finalized, 1);
}

static int fault_report TEST_I_UNUSED; // of a pipe

// The child tells how often it made the call that was chosen.
TEST_I_UNUSED static void fault_tell(int calls) {
    CHECK(write(fault_report, &calls, sizeof calls) == sizeof calls);
}

// Runs a program in a child with these calls failing; returns how many calls it told of.
TEST_I_UNUSED static int fault_run(void (*program)(void), enum fault_kind kind, int first, int last,
                                   int error) {
    int ends[2], calls = 0;
    struct child child;
    if (!CHECK(pipe(ends) == 0)) return 0;
    fault_is = kind;
    fault_first = first;
    fault_last = last;
    fault_error = error;
    fault_report = ends[1];
    child_run(&child, program);
    close(ends[1]);
    if (!child_good(&child))
        printf("\n    failing %s: calls %d to %d, error %d\n", faults[kind].name, first, last,
               error);
    else CHECK(read(ends[0], &calls, sizeof calls) == sizeof calls);
    close(ends[0]);
    fault_is = FAULT_KINDS;
    return calls;
}

#endif
