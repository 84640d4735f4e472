// What a user sees of the heap profile at rate 1: the figures of GOMEM_FOLDED and GOMEM_HEAP_PROFILE
// for each kind of memory, in use and after it is freed, from threads and in a child of fork.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <search.h>
#include <sys/mman.h>

static char text[1 << 20];

// Reads one kind of gomem_write as text. Returns its size.
static size_t written(int what) {
    int fd = memfd_create("profile", MFD_CLOEXEC);
    if (!CHECK(fd >= 0)) return 0;
    CHECK(gomem_write(what, fd));
    lseek(fd, 0, SEEK_SET);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (!CHECK(n >= 0)) return 0;
    text[n] = '\0';
    return (size_t)n;
}

// Returns the bytes in use of all stacks with `name`; NULL: of all.
static size_t folded(const char *name) {
    size_t sum = 0;
    written(GOMEM_FOLDED);
    for (char *line = text, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!CHECK(end != NULL)) break;
        *end = '\0';
        const char *number = strrchr(line, ' ');
        if (!CHECK(number != NULL)) break;
        if (!name || strstr(line, name)) sum += strtoull(number, NULL, 10);
    }
    return sum;
}

// Memory is allocated below libc's lfind, whose name is known.
static void (*allocate)(void);
static int call(const void *key, const void *element) {
    (void)key, (void)element;
    allocate();
    return 0;
}
ALIVE_NOINLINE static void below_lfind(void (*fn)(void)) {
    int list[1] = {0};
    size_t n = 1;
    allocate = fn;
    CHECK(lfind(list, list, &n, sizeof list[0], call) != NULL);
    alive_clear_stack();
}

enum { N = 100 };
static void *volatile kept[N];

static void make_manual(void) {
    for (int i = 0; i < N; i++) kept[i] = gomem_malloc(64);
}
ALIVE_NOINLINE static void free_manual(void) {
    for (int i = 0; i < N; i++) gomem_free(kept[i]), kept[i] = NULL;
}
static void make_collected(void) {
    for (int i = 0; i < N; i++) kept[i] = gomem_new(64);
}
typedef struct cell {
    struct cell *next;
    char data[56];
} cell;
GOMEM_TYPE(cell_type, cell, next);
static void make_typed(void) {
    for (int i = 0; i < N; i++) kept[i] = GOMEM_NEW_TYPED(cell, &cell_type);
}
static gomem_arena arena;
static void make_arena(void) { CHECK(gomem_arena_alloc(&arena, 1 << 20) != NULL); }
GOMEM_POOL(cells, cell);
static void make_pool(void) { kept[0] = cells_get(); }

// Does the heap profile have this string? Each label and path is in its table once.
static bool has(const char *string) {
    size_t n = written(GOMEM_HEAP_PROFILE);
    return memmem(text, n, string, strlen(string)) != NULL;
}

static size_t slot; // of 64 bytes: check level 1 and up have a margin

TEST(manual) {
    gomem_set_profile_rate(1);
    CHECK_EQ(folded("lfind"), 0);
    below_lfind(make_manual);
    slot = gomem_usable_size(kept[0]);
    size_t bytes = folded("lfind");
    CHECK(bytes >= N * slot && bytes <= 2 * N * slot);
    CHECK(has("manual"));
    free_manual();
    CHECK_EQ(folded("lfind"), 0);
}

TEST(collected) {
    below_lfind(make_collected);
    gomem_gc(); // what is in use is known at the end of a cycle
    size_t bytes = folded("lfind");
    CHECK(bytes >= N * 64 && bytes <= 2 * N * 64);
    for (int i = N / 2; i < N; i++) kept[i] = NULL;
    gomem_gc();
    CHECK_EQ(folded("lfind"), bytes / 2);
    for (int i = 0; i < N; i++) kept[i] = NULL;
    gomem_gc();
    CHECK_EQ(folded("lfind"), 0);
    CHECK(has("collected"));
}

TEST(typed) {
    below_lfind(make_typed);
    gomem_gc();
    CHECK(folded("lfind") >= N * sizeof(cell));
    CHECK(has("cell_type") || has("cell"));
    for (int i = 0; i < N; i++) kept[i] = NULL;
    gomem_gc();
    CHECK_EQ(folded("lfind"), 0);
}

TEST(arena_and_pool) {
    below_lfind(make_arena);
    CHECK(folded("lfind") >= 1 << 20);
    CHECK(has("arena"));
    gomem_arena_free(&arena);
    CHECK_EQ(folded("lfind"), 0);
    below_lfind(make_pool);
    CHECK(folded("lfind") >= sizeof(cell));
    CHECK(has("pool"));
    cells_put(kept[0]);
    kept[0] = NULL;
}

static void *half(void *arg) {
    void **mine = arg;
    for (int i = 0; i < N; i++) mine[i] = gomem_malloc(200000);
    return NULL;
}
TEST(two_threads) {
    static void *mine[2][N];
    pthread_t thread[2];
    size_t before = folded(NULL);
    for (int i = 0; i < 2; i++) REQUIRE(gomem_thread_create(&thread[i], NULL, half, mine[i]) == 0);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    CHECK(folded(NULL) - before >= (size_t)2 * N * 200000);
    for (int i = 0; i < 2 * N; i++) gomem_free(mine[i / N][i % N]);
    CHECK_EQ(folded(NULL), before);
}

static size_t idle; // what the pool keeps
static void check_child(void) {
    size_t before = folded("lfind");
    CHECK(before >= idle + N * slot); // the parent's
    free_manual();
    CHECK_EQ(folded("lfind"), idle);
    below_lfind(make_manual);
    CHECK_EQ(folded("lfind"), before);
    free_manual();
    CHECK_EQ(folded("lfind"), idle);
}
TEST(forked_child) {
    struct child child;
    idle = folded("lfind");
    below_lfind(make_manual);
    child_run(&child, check_child);
    if (!CHECK_EQ(child.status, 0)) printf("%s", child.text);
    CHECK(folded("lfind") >= N * slot);
    free_manual();
}

// Three sites in strict rotation, whose sizes are as 1 : 2 : 4. Each has 1250 samples or more, so
// the bound is beyond eight standard errors.
static void *rotated[3][20000];
static void make_one(int site, int i) {
    rotated[site][i] = gomem_malloc(((size_t)256 << site) - (GOMEM_I_CHECK ? 32 : 0));
}
static int turn;
static void in_lfind(void) { make_one(0, turn); }
static void in_lsearch(void) { make_one(1, turn); }
static int in_qsort(const void *a, const void *b) {
    if (!rotated[2][turn]) make_one(2, turn);
    return *(const int *)a - *(const int *)b;
}
ALIVE_NOINLINE static void rotate(void) {
    int list[2] = {0, 1};
    size_t n = 1;
    allocate = in_lfind;
    CHECK(lfind(list, list, &n, sizeof list[0], call) != NULL);
    allocate = in_lsearch;
    CHECK(lsearch(list, list, &n, sizeof list[0], call) != NULL);
    qsort(list, 2, sizeof list[0], in_qsort);
}
static void check_near(size_t bytes, size_t n, int site) {
    size_t exact = n * gomem_usable_size(rotated[site][0]);
    if (!CHECK(bytes > exact - exact / 4 && bytes < exact + exact / 4))
        printf("site %d: %zu for %zu\n", site, bytes, exact);
}
TEST(three_sites_in_rotation) {
    enum { TURNS = sizeof rotated[0] / sizeof rotated[0][0] };
    gomem_set_profile_rate(4096);
    size_t before = folded("lfind");
    for (turn = 0; turn < TURNS; turn++) rotate();
    gomem_set_profile_rate(0);
    size_t second = folded("lsearch"), third = folded("qsort");
    size_t first = folded("lfind") - before;
    if (first > second) first -= second; // lsearch calls lfind: both are counted
    check_near(first, TURNS, 0);
    check_near(second, TURNS, 1);
    check_near(third, TURNS, 2);
    for (int i = 0; i < 3 * TURNS; i++) gomem_free(rotated[i / TURNS][i % TURNS]);
    CHECK_EQ(folded("lfind"), before);
    CHECK_EQ(folded("qsort"), 0);
    gomem_set_profile_rate(1);
}

TEST(after_shutdown) { // last
    below_lfind(make_manual);
    gomem_shutdown();
    REQUIRE(gomem_init(NULL));
    CHECK_EQ(folded(NULL), 0);
    below_lfind(make_manual);
    CHECK(folded("lfind") >= N * slot);
    free_manual();
    CHECK_EQ(folded("lfind"), 0);
    gomem_set_profile_rate(0);
    below_lfind(make_manual);
    CHECK_EQ(folded("lfind"), 0);
    free_manual();
}

TEST_MAIN
