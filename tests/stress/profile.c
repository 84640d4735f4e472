// The heap profile while everything else goes on: threads come and go and allocate all kinds of
// memory, cycles run, a library is opened and closed, the rate changes, and one thread writes every
// kind of output. Afterwards the heap holds, and at the end no sample is left in use.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

struct node {
    struct node *next;
    uintptr_t value;
};
GOMEM_POOL(nodes, struct node);

enum { THREADS = 8, KEPT = 64 };
static atomic_bool over;
static atomic_size_t written, opened;

static void *allocates(void *arg) {
    uint64_t random = (uintptr_t)arg * 0x9e3779b97f4a7c15u + 1;
    void *kept[KEPT] = {0};
    struct node *head = NULL;
    gomem_arena arena = {0};
    for (int i = 0; i < 5000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t at = (random >> 33) % KEPT, size = (random >> 40) % 3000;
        gomem_free(kept[at]);
        kept[at] = i % 500 ? gomem_malloc(size) : gomem_malloc(size * 100);
        if (!CHECK(kept[at] != NULL)) break;
        if (i % 7 == 0) kept[at] = gomem_realloc(kept[at], size * 2);
        struct node *n = GOMEM_NEW(struct node);
        n->next = i % 100 ? head : NULL;
        head = n;
        nodes_put(nodes_get());
        if (i % 50 == 0) CHECK(gomem_arena_alloc(&arena, 5000) != NULL);
    }
    for (int i = 0; i < KEPT; i++) gomem_free(kept[i]);
    gomem_arena_free(&arena);
    return head;
}

static void *writes(void *arg) {
    static const int kinds[] = {GOMEM_METRICS, GOMEM_HEAP_PROFILE, GOMEM_FOLDED,
                                GOMEM_BY_TYPE, GOMEM_REPORT,       GOMEM_LEAKS};
    static const size_t rates[] = {1, 512, 64 * 1024, 0, 4096};
    (void)arg;
    for (size_t i = 0; !atomic_load(&over); i++) {
        int fd = memfd_create("profile", MFD_CLOEXEC), kind = kinds[i % 6];
        if (!CHECK(fd >= 0)) break;
        bool done = gomem_write(kind, fd);
        CHECK(done || kind == GOMEM_LEAKS); // a thread that just begins may be met
        close(fd);
        gomem_set_profile_rate(rates[i / 6 % 5]);
        atomic_fetch_add(&written, 1);
    }
    return NULL;
}

// libc and the loader allocate, and take the loader's lock.
static void *opens(void *arg) {
    (void)arg;
    while (!atomic_load(&over)) {
        void *library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
        if (!library) library = dlopen(NULL, RTLD_NOW);
        if (library) dlclose(library);
        atomic_fetch_add(&opened, 1);
    }
    return NULL;
}

static void *collects(void *arg) {
    (void)arg;
    while (!atomic_load(&over)) {
        gomem_gc();
        usleep(1000);
    }
    return NULL;
}

// Reads one kind of output as text.
static char *output(int what) {
    static char text[1 << 18];
    int fd = memfd_create("output", MFD_CLOEXEC);
    size_t n = 0;
    ssize_t got;
    CHECK(gomem_write(what, fd));
    lseek(fd, 0, SEEK_SET);
    while (n < sizeof text - 1 && (got = read(fd, text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(fd);
    return text;
}

// Bytes in use in folded stacks, after a cycle.
static size_t in_use(void) {
    char *text = output(GOMEM_FOLDED);
    size_t sum = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, " ")) sum += strtoull(strrchr(line, ' '), NULL, 10);
    return sum;
}

TEST(everything_at_once) {
    pthread_t helper[3], thread[THREADS];
    void *(*const fns[3])(void *) = {writes, opens, collects};
    gomem_set_profile_rate(1);
    for (int i = 0; i < 3; i++) REQUIRE(gomem_thread_create(&helper[i], NULL, fns[i], NULL) == 0);
    for (size_t round = 0; round < stress_times(getenv("SHORT") ? 1 : 6); round++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            REQUIRE(gomem_thread_create(&thread[i], NULL, allocates,
                                        (void *)(round * THREADS + i)) == 0);
        for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
        CHECK(HEAP_IS_WHOLE());
    }
    atomic_store(&over, true);
    for (int i = 0; i < 3; i++) pthread_join(helper[i], NULL);
    CHECK(atomic_load(&written) > 0 && atomic_load(&opened) > 0);
    CHECK(COLLECTED());
    CHECK(COLLECTED());
    CHECK(HEAP_IS_WHOLE());
    CHECK(strstr(output(GOMEM_METRICS), "gomem_profile_lost_total 0\n") != NULL);
    CHECK(in_use() < 1 << 20); // what the program has freed is in use nowhere; idle pools are
}

TEST_MAIN
