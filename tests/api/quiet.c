// What a program pays for what it does not use: no thread, no handler, and the manual heap gives
// memory back by itself. The parent never uses the heap.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"

#include <dirent.h>

enum { MB = 1 << 20 };

static int count_threads(void) {
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) return 1;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) n += entry->d_name[0] != '.';
    closedir(tasks);
    return n;
}

static int count_handlers(void) {
    int n = 0;
    for (int signal = 1; signal <= SIGRTMAX; signal++) {
        struct sigaction action;
        if (sigaction(signal, NULL, &action) != 0) continue;
        n += action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
    }
    return n;
}

static size_t resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL) return 0;
    if (fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    fclose(file);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

// As the child found it: sanitizers have threads and handlers of their own.
static int threads_before, handlers_before;

static void look(void) {
    threads_before = count_threads();
    handlers_before = count_handlers();
}

static void use_manual(void) {
    void *blocks[2000];
    look();
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i < 2000; i++) {
            blocks[i] = gomem_malloc(i * 10);
            if (!CHECK(blocks[i] != NULL)) return;
        }
        for (size_t i = 0; i < 2000; i++) gomem_free(blocks[i]);
    }
    gomem_free_os_memory();
    CHECK(HEAP_IS_WHOLE());
    CHECK_EQ(count_threads(), threads_before);
    CHECK_EQ(count_handlers(), handlers_before);
}

// What exceeds a tenth and 32 MiB of idle pages goes back by the free itself.
static void give_back(void) {
    enum { N = 6000 };
    static char *blocks[N];
    look();
    gomem_free(gomem_malloc(100));
    size_t before = resident();
    for (size_t i = 0; i < N; i++) {
        blocks[i] = gomem_malloc(50000);
        if (!CHECK(blocks[i] != NULL)) return;
        memset(blocks[i], 1, 50000);
    }
    size_t full = resident();
    for (size_t i = 0; i < N; i++) gomem_free(blocks[i]);
    if (full == 0) return;
    CHECK(full >= before + 250 * MB);
    CHECK(resident() <= before + 64 * MB);
    CHECK_EQ(count_threads(), threads_before);
}

static void give_back_small(void) {
    enum { N = 1000000 };
    look();
    char **blocks = gomem_malloc(N * sizeof *blocks);
    if (!CHECK(blocks != NULL)) return;
    memset((void *)blocks, 0, N * sizeof *blocks);
    size_t before = resident();
    for (size_t i = 0; i < N; i++) {
        blocks[i] = gomem_malloc(200);
        if (!CHECK(blocks[i] != NULL)) return;
        memset(blocks[i], 1, 200);
    }
    size_t full = resident();
    for (size_t i = 0; i < N; i++) gomem_free(blocks[i]);
    if (full == 0) return;
    CHECK(full >= before + 190 * MB);
    CHECK(resident() <= before + 64 * MB);
    CHECK_EQ(count_threads(), threads_before);
}

// Nothing has run before main: no thread, no handler.
TEST(unused) {
#if defined TEST_ASAN || defined TEST_TSAN
    SKIP("sanitizers have threads and handlers of their own");
#endif
    CHECK_EQ(count_threads(), 1);
    CHECK_EQ(count_handlers(), 0);
}

TEST(manual_heap_alone) { CHILD_GOOD(use_manual); }

TEST(manual_heap_gives_back) {
#if defined TEST_ASAN || defined TEST_TSAN
    SKIP("sanitizers count their own memory as resident");
#endif
    CHILD_GOOD(give_back);
    CHILD_GOOD(give_back_small);
}

TEST_MAIN
