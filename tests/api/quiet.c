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
    size_t before = child_resident();
    for (size_t i = 0; i < N; i++) {
        blocks[i] = gomem_malloc(50000);
        if (!CHECK(blocks[i] != NULL)) return;
        memset(blocks[i], 1, 50000);
    }
    size_t full = child_resident();
    for (size_t i = 0; i < N; i++) gomem_free(blocks[i]);
    if (full == 0) return;
    CHECK(full >= before + 250 * MB);
    CHECK(child_resident() <= before + 64 * MB);
    CHECK_EQ(count_threads(), threads_before);
}

static void give_back_small(void) {
    enum { N = 1000000 };
    look();
    char **blocks = gomem_malloc(N * sizeof *blocks);
    if (!CHECK(blocks != NULL)) return;
    memset((void *)blocks, 0, N * sizeof *blocks);
    size_t before = child_resident();
    for (size_t i = 0; i < N; i++) {
        blocks[i] = gomem_malloc(200);
        if (!CHECK(blocks[i] != NULL)) return;
        memset(blocks[i], 1, 200);
    }
    size_t full = child_resident();
    for (size_t i = 0; i < N; i++) gomem_free(blocks[i]);
    if (full == 0) return;
    CHECK(full >= before + 190 * MB);
    CHECK(child_resident() <= before + 64 * MB);
    CHECK_EQ(count_threads(), threads_before);
}

#if !defined GOMEM_NO_COLLECTOR
enum { KEPT = 1000 };

static gomem_arena scanned = {.flags = GOMEM_SCAN};

// Scanned blocks of an arena and of a pool that are older than the collected heap.
static void *older_blocks(gomem_pool **pool) {
    gomem_pool_options options = {.size = 64, .flags = GOMEM_SCAN};
    *pool = gomem_pool_new(&options);
    CHECK(*pool != NULL);
    return gomem_arena_alloc(&scanned, KEPT * sizeof(void *));
}

static void use_scanned(void) {
    gomem_pool *pool;
    look();
    int **slots = older_blocks(&pool), ***cell = gomem_pool_get(pool);
    if (!CHECK(slots != NULL && cell != NULL)) return;
    slots = gomem_realloc(gomem_realloc(gomem_malloc(10), 100), 1000000);
    CHECK(slots != NULL);
    gomem_free(slots);
    CHECK_EQ(count_threads(), threads_before);
    CHECK_EQ(count_handlers(), handlers_before);
}

// What only the older blocks point to lives on, and what nothing points to dies.
static void use_scanned_first(void) {
    gomem_pool *pool;
    int **slots = older_blocks(&pool), ***cell = gomem_pool_get(pool);
    if (!CHECK(slots != NULL && cell != NULL)) return;
    *cell = GOMEM_MAKE(int *, KEPT);
    for (int i = 0; i < KEPT; i++) {
        slots[i] = GOMEM_MAKE_NOSCAN(int, 40);
        (*cell)[i] = GOMEM_MAKE_NOSCAN(int, 40);
        if (!CHECK(slots[i] != NULL && (*cell)[i] != NULL && GOMEM_MAKE(int, 1000) != NULL)) return;
        *slots[i] = i, *(*cell)[i] = -i;
    }
    slots[0] = gomem_realloc(slots[0], 5000);
    CHECK(slots[0] != NULL && COLLECTED() && COLLECTED());
    for (int i = 0; i < KEPT; i++) CHECK(*slots[i] == i && *(*cell)[i] == -i);
    gomem_memstats stats = {.size = sizeof stats};
    gomem_read_memstats(&stats);
    CHECK(stats.heap_objects < 3 * KEPT);
    CHECK(HEAP_IS_WHOLE());
}

TEST(scanned_blocks_alone) { CHILD_GOOD(use_scanned); }

TEST(scanned_blocks_before_the_collected_heap) { CHILD_GOOD(use_scanned_first); }
#endif

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
