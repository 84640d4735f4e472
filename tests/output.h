// Outputs of gomem_write, read back: what the tests of its kinds share.
#ifndef OUTPUT_H
#define OUTPUT_H

#include "child.h"

#include <fcntl.h>
#include <sys/mman.h>

static char output[4 << 20]; // the last one
static size_t output_size;

// Reads what fd holds from its start.
TEST_I_UNUSED static void output_read(int fd) {
    ssize_t n;
    output_size = 0;
    lseek(fd, 0, SEEK_SET);
    while ((n = read(fd, output + output_size, sizeof output - 1 - output_size)) > 0)
        output_size += (size_t)n;
    output[output_size] = '\0';
}

// Writes one kind to memory and reads it back.
TEST_I_UNUSED static bool output_written(int what) {
    int fd = memfd_create("output", MFD_CLOEXEC);
    if (!CHECK(fd >= 0)) return false;
    bool done = gomem_write(what, fd);
    output_read(fd);
    close(fd);
    return done;
}

// Nothing can be written to fd.
TEST_I_UNUSED static void output_fails(int what, int fd, int error) {
    errno = 0;
    CHECK(!gomem_write(what, fd));
    CHECK_EQ(errno, error);
}

// A kind that has something to write cannot write it to these.
TEST_I_UNUSED static void output_bad_descriptors(int what) {
    output_fails(what, -1, EBADF);
    output_fails(what, 1000000, EBADF);
    int fd = open("/dev/null", O_RDONLY);
    output_fails(what, fd, EBADF);
    close(fd);
    output_fails(what, fd, EBADF);
    fd = open("/dev/full", O_WRONLY);
    output_fails(what, fd, ENOSPC);
    close(fd);
}

// The figures of a heap of a thousand small objects and a large one, of which nothing changes while the
// kind is written.
TEST_I_UNUSED static gomem_memstats output_beside_memstats(int what) {
    static void *volatile kept[1000];
    gomem_memstats m = {.size = sizeof m};
    gomem_gc();
    for (int i = 0; i < 1000; i++) kept[i] = gomem_malloc(48);
    void *large = gomem_malloc(100000);
    gomem_gc_hold();
    CHECK(output_written(what)); // first: what warms up has warmed up
    gomem_read_memstats(&m);
    CHECK(output_written(what));
    gomem_gc_unhold();
    for (int i = 0; i < 1000; i++) gomem_free(kept[i]), kept[i] = NULL;
    gomem_free(large);
    return m;
}

#endif
