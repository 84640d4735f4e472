// gomem_write(GOMEM_LEAKS, …) and GOMEM_DEBUG=leak=1: what is leaked, what is not, and when nothing
// can be told. tests/leaks has programs that hold objects in more ways, beside LeakSanitizer.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <sys/mman.h>

struct node {
    struct node *next;
    uintptr_t value[5];
};

struct answer {
    bool done;
    int error;                  // errno, if not done
    size_t direct, indirect;    // objects
    size_t direct_bytes, bytes; // of the former, of the latter
    char text[16 * 1024];
};
static struct answer answer;

static void ask(void) {
    int fd = memfd_create("leaks", MFD_CLOEXEC);
    memset(&answer, 0, sizeof answer);
    if (!CHECK(fd >= 0)) return;
    alive_clear_stack();
    errno = 0;
    answer.done = gomem_write(GOMEM_LEAKS, fd);
    answer.error = answer.done ? 0 : errno;
    lseek(fd, 0, SEEK_SET);
    CHECK(read(fd, answer.text, sizeof answer.text - 1) > 0);
    close(fd);
    const char *sum = strstr(answer.text, "bytes: ");
    if (!answer.done || strstr(answer.text, "gomem: no leaks: ")) return;
    CHECK(sum && sscanf(sum, "bytes: %zu direct (%zu), %zu indirect (%zu)", &answer.direct,
                        &answer.direct_bytes, &answer.indirect, &answer.bytes) == 4);
}

static void expect(size_t direct, size_t indirect) {
    ask();
    bool same = CHECK(answer.done) && CHECK_EQ(answer.direct, direct);
    if (!CHECK_EQ(answer.indirect, indirect) || !same) printf("\n%s", answer.text);
}

// ---- objects, whose addresses are kept as complements only ----

enum { MOST = 4096 };
static uintptr_t hidden[MOST];
static size_t count;

// A manual node that nothing but `next` of another one will point to.
ALIVE_NOINLINE static uintptr_t make(uintptr_t hidden_next) {
    struct node *n = gomem_malloc(sizeof *n);
    if (!CHECK(n != NULL) || !CHECK(count < MOST)) return 0;
    memset(n, 0, sizeof *n);
    n->next = (struct node *)~hidden_next;
    return hidden[count++] = ~(uintptr_t)n;
}

ALIVE_NOINLINE static uintptr_t chain(size_t n) {
    uintptr_t first = ~(uintptr_t)0;
    while (n--) first = make(first);
    alive_clear_stack();
    return first;
}

ALIVE_NOINLINE static void free_all(void) {
    while (count) gomem_free((void *)~hidden[--count]);
    alive_clear_stack();
}

// Pointers exist in these functions only, so that none stays in a register of a test.
static void *volatile held;
ALIVE_NOINLINE static void put(void *volatile *at, uintptr_t hidden_pointer, intptr_t offset) {
    *at = (char *)~hidden_pointer + offset;
}
ALIVE_NOINLINE static uintptr_t next_of(uintptr_t hidden_node) {
    return ~(uintptr_t)((struct node *)~hidden_node)->next;
}
ALIVE_NOINLINE static void set_next(uintptr_t hidden_node, uintptr_t hidden_next) {
    ((struct node *)~hidden_node)->next = (struct node *)~hidden_next;
}

// ---- at exit ----

static const char *debug;
static size_t leaked;
static void leaks_at_exit(void) {
    setenv("GOMEM_DEBUG", debug, 1);
    if (leaked) chain(leaked);
}
static void read_settings(void) {
    setenv("GOMEM_DEBUG", debug, 1);
    gomem_free(gomem_malloc(1));
}
static void check_exit(const char *setting, size_t n, int status, bool says) {
    struct child child;
    debug = setting;
    leaked = n;
    child_run(&child, leaks_at_exit);
    CHECK(WIFEXITED(child.status) && CHECK_EQ(WEXITSTATUS(child.status), status));
    if (!CHECK_EQ(strstr(child.text, " objects leaked, ") != NULL, says)) printf("%s", child.text);
}
TEST(at_exit) { // first: the parent has not used the heap yet
    check_exit("leak=1", 3, 0, true);
    check_exit("leak=1", 0, 0, false);
    check_exit("leak=1,leak_status=23", 3, 23, true);
    check_exit("leak=1,leak_status=23", 0, 0, false);
    check_exit("leak_status=23", 3, 0, false);
    check_exit("leak=0,leak_status=255", 3, 0, false);
    struct child child;
    debug = "leak=2,leak_status=256";
    leaked = 0;
    child_run(&child, read_settings);
    CHECK_EQ(child_lines(&child), 2);
    CHECK(strstr(child.text, "leak=0|1, leak_status=0…255") != NULL);
}

// Functions that a file exports have names: here two of libc, which call back.
static uintptr_t next_hidden = ~(uintptr_t)0;
static int compare_and_make(const void *a, const void *b) {
    next_hidden = make(next_hidden);
    return *(const int *)a - *(const int *)b;
}
ALIVE_NOINLINE static void make_in_sort(void) {
    int pair[2] = {2, 1};
    qsort(pair, 2, sizeof pair[0], compare_and_make);
    CHECK_EQ(pair[0], 1);
}
ALIVE_NOINLINE static void make_in_search(void) {
    int key = 1, list[1] = {1};
    size_t n = 1;
    CHECK(lfind(&key, list, &n, sizeof list[0], compare_and_make) == list);
}

// The node of qsort's callback points to the one of lfind's.
static const char *suppress;
static void leak_in_both(void) {
    setenv("GOMEM_DEBUG", debug, 1);
    setenv("GOMEM_LEAK_SUPPRESS", suppress, 1);
    make_in_search();
    make_in_sort();
    next_hidden = ~(uintptr_t)0;
    alive_clear_stack();
}
static void leak_in_search(void) {
    setenv("GOMEM_DEBUG", debug, 1);
    setenv("GOMEM_LEAK_SUPPRESS", suppress, 1);
    make_in_search();
    make_in_sort();
    set_next(hidden[1], ~(uintptr_t)0);
    alive_clear_stack();
}

static void leak_and_ask(void) {
    leak_in_both();
    CHECK(gomem_write(GOMEM_LEAKS, STDERR_FILENO));
}

// What the report of a child says: lines of a group, of the functions, of what is suppressed.
static struct child said_of(void (*fn)(void), const char *names, int status) {
    struct child child;
    debug = "leak=1,leak_status=23,profile=1";
    suppress = names;
    child_run(&child, fn);
    if (!CHECK(WIFEXITED(child.status)) || !CHECK_EQ(WEXITSTATUS(child.status), status))
        printf("%s", child.text);
    return child;
}

TEST(sites) {
    struct child child = said_of(leak_in_both, "", 23);
    CHECK(strstr(child.text, "2 objects leaked, ") && !strstr(child.text, "suppressed"));
    const char *direct = strstr(child.text, "gomem: leak: 1 direct, of "),
               *indirect = strstr(child.text, "gomem: leak: 1 indirect, of "),
               *sort = strstr(child.text, "gomem:     in qsort"),
               *search = strstr(child.text, "gomem:     in lfind");
    bool all = CHECK(direct && indirect && sort && search);
    if (all && direct < indirect) CHECK(direct < sort && sort < indirect && indirect < search);
    else if (all) CHECK(indirect < search && search < direct && direct < sort);
    if (!all) printf("%s", child.text);
}

TEST(suppressed) {
    struct child child = said_of(leak_in_both, "qsort*", 0);
    CHECK(strstr(child.text, "gomem: leaks: suppressed: 2 objects, ") != NULL);
    CHECK(!strstr(child.text, "leaked") && !strstr(child.text, "gomem: leak: "));
    child = said_of(leak_in_both, "other,lfind", 23); // only what lfind's points to is suppressed
    CHECK(strstr(child.text, "gomem: leaks: suppressed: 1 objects, ") != NULL);
    CHECK(strstr(child.text, "gomem: 1 objects leaked, ") != NULL);
    CHECK(strstr(child.text, "in qsort") && !strstr(child.text, "in lfind"));
    child = said_of(leak_in_search, "qsort,qsort_r,__qsort_r", 23);
    CHECK(strstr(child.text, "gomem: 1 objects leaked, ") && strstr(child.text, "in lfind"));
    child = said_of(leak_in_both, "qsor,lfin,find,qsort**,,", 23);
    CHECK(!strstr(child.text, "suppressed") && strstr(child.text, "2 objects leaked, "));
    child = said_of(leak_in_both, "*", 0); // all that have a stack
    CHECK(strstr(child.text, "suppressed: 2 objects, ") != NULL);
    child = said_of(leak_and_ask, "qsort*", 0); // what is suppressed does not count as reached
    CHECK(strstr(child.text, "gomem: no leaks: 0 manual objects, all reached") != NULL);
}

static void leak_with_long_list(void) {
    static char list[1025];
    memset(list, '*', sizeof list - 1);
    suppress = list;
    leak_in_both();
}
static void grow_and_suppress(void);
TEST(growing_roots_of_a_check_that_is_repeated) { CHILD_GOOD(grow_and_suppress); }

TEST(too_many_suppressions) {
    struct child child = said_of(leak_with_long_list, NULL, 23);
    CHECK(strstr(child.text, "GOMEM_LEAK_SUPPRESS") && !strstr(child.text, "suppressed"));
}

TEST(sites_of_a_running_program) {
    gomem_set_profile_rate(1);
    make_in_sort();
    make_in_sort();
    next_hidden = ~(uintptr_t)0;
    gomem_set_profile_rate(0);
    chain(1);
    expect(2, 1); // two groups of the stack in qsort, and one without a stack
    const char *first = strstr(answer.text, "gomem:     in qsort");
    CHECK(first && strstr(first + 1, "gomem:     in qsort") &&
          strstr(answer.text, "\ngomem: leak"));
    free_all();
    expect(0, 0);
}

// ---- what is leaked ----

TEST(nothing) {
    expect(0, 0);
    CHECK(strstr(answer.text, "gomem: no leaks: ") != NULL);
}

TEST(direct_and_indirect) {
    uintptr_t first = chain(5);
    expect(1, 4);
    CHECK(answer.direct_bytes >= sizeof(struct node) && answer.bytes >= 4 * sizeof(struct node));
    CHECK(strstr(answer.text, "1 direct, of 48 bytes each") || GOMEM_I_CHECK || GOMEM_I_POISONED);
    put(&held, first, 0);
    expect(0, 0);
    put(&held, next_of(first), 0); // now only the first is lost
    expect(1, 0);
    held = NULL;
    expect(1, 4);
    free_all();
    expect(0, 0);
}

TEST(rings_are_indirect) {
    uintptr_t first = chain(3);
    set_next(hidden[0], first);
    expect(0, 3);
    free_all();
    uintptr_t alone = chain(1); // a pointer to itself does not count
    set_next(alone, alone);
    expect(1, 0);
    free_all();
}

TEST(interior_pointers) {
    uintptr_t object = chain(1);
    put(&held, object, 17);
    expect(0, 0);
    put(&held, object, sizeof(struct node) - 1);
    expect(0, 0);
    put(&held, object, -1);
    expect(1, 0);
    held = NULL;
    free_all();
}

TEST(sizes) {
    for (size_t size = 8; size <= 1u << 20; size *= 2) {
        hidden[count++] = ~(uintptr_t)gomem_malloc(size);
        hidden[count++] = ~(uintptr_t)gomem_malloc(size + 1);
    }
    alive_clear_stack();
    size_t all = count;
    expect(all, 0);
    const char *large = strstr(answer.text, "in all; the first at ");
    CHECK(large != NULL && strstr(answer.text, "1 direct, of 1048576 bytes each") != NULL);
    free_all();
    expect(0, 0);
}

// A group of one call has the size of its objects only if they have one, whichever comes first. No
// round uses the spans of the one before.
TEST(several_sizes_of_one_call) {
    static const size_t sizes[][2] = {{100000, 50000}, {60000, 120000}, {70000, 70000}};
    static volatile size_t two = 2; // so that the loop stays one call
    gomem_set_profile_rate(1);
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < two; k++) hidden[count++] = ~(uintptr_t)gomem_malloc(sizes[i][k]);
        alive_clear_stack();
        expect(2, 0);
        bool one = strstr(answer.text, "2 direct, of 70000 bytes each") != NULL;
        bool several = strstr(answer.text, "2 direct, of several sizes") != NULL;
        CHECK(i < 2 ? several && !one : one && !several);
        free_all();
    }
    gomem_set_profile_rate(0);
}

// Freed objects lie in magazines of this thread, of others and of the depot, and in spans.
static atomic_int stage;
static void wait_for(int value) {
    while (atomic_load(&stage) < value) usleep(100);
}
// Begins at stage 0 and returns at stage 1.
static pthread_t begin(void *(*fn)(void *)) {
    pthread_t thread = 0;
    atomic_store(&stage, 0);
    if (CHECK(gomem_thread_create(&thread, NULL, fn, NULL) == 0)) wait_for(1);
    return thread;
}
static void *frees(void *arg) {
    (void)arg;
    static _Thread_local void *p[2000];
    for (int i = 0; i < 2000; i++) p[i] = gomem_malloc((size_t)(i % 16) * 24 + 8);
    for (int i = 0; i < 2000; i++) gomem_free(p[i]);
    memset(p, 0, sizeof p);
    atomic_store(&stage, 1);
    wait_for(2);
    return NULL;
}
TEST(freed_objects) {
    for (int i = 0; i < 3000; i++) hidden[i] = ~(uintptr_t)gomem_malloc((size_t)(i % 20) * 24 + 8);
    count = 3000;
    free_all();
    expect(0, 0);
    pthread_t thread = begin(frees);
    REQUIRE(thread);
    chain(2);
    expect(1, 1);
    atomic_store(&stage, 2);
    pthread_join(thread, NULL);
    expect(1, 1);
    free_all();
    expect(0, 0);
}

// What another thread holds: in thread-local storage, and on the stack it waits on.
// Far from libc's record of the thread, which is read by itself.
static _Thread_local struct {
    char before[8192];
    void *volatile pointer;
    char behind[8192];
} local;
static void fill_mine(void) { put(&local.pointer, chain(2), 0); }
static void *holds(void *arg) {
    void *volatile on_stack = NULL;
    (void)arg;
    fill_mine();
    put(&on_stack, chain(3), 0);
    atomic_store(&stage, 1);
    wait_for(2);
    on_stack = NULL;
    local.pointer = NULL;
    alive_clear_stack();
    atomic_store(&stage, 3);
    wait_for(4);
    return on_stack;
}
TEST(held_by_a_thread) {
    fill_mine();
    expect(0, 0);
    local.pointer = NULL;
    expect(1, 1);
    free_all();
    pthread_t thread = begin(holds);
    REQUIRE(thread);
    expect(0, 0);
    atomic_store(&stage, 2);
    wait_for(3);
    expect(2, 3);
    atomic_store(&stage, 4);
    pthread_join(thread, NULL);
    free_all();
}

// What only memory of gomem holds.
GOMEM_POOL(cells, struct node);
static uintptr_t hidden_cell;
ALIVE_NOINLINE static void get_cell(uintptr_t content) {
    struct node *n = cells_get();
    put((void *volatile *)&n->next, content, 0);
    hidden_cell = ~(uintptr_t)n;
}
TEST(held_by_a_pool) {
    get_cell(chain(2));
    expect(0, 0);
    CHECK(strstr(answer.text, "pool \"cells\": 1 objects out") != NULL);
    cells_put((struct node *)~hidden_cell);
    expect(0, 0); // an idle object keeps its contents
    CHECK(strstr(answer.text, "pool ") == NULL);
    get_cell(~(uintptr_t)0);
    expect(1, 1);
    free_all();
    cells_put((struct node *)~hidden_cell);
}

// A pool may have any name; the line that tells it stays one line, whose end is there.
TEST(a_hostile_name_of_a_pool) {
    gomem_pool *pool = gomem_pool_new(
        &(gomem_pool_options){.size = 48, .name = "a\nb\x1b[0m\xff \xc3\xa9%s\x9b"});
    REQUIRE(pool != NULL);
    void *out = gomem_pool_get(pool);
    ask();
    CHECK(strstr(answer.text, "leaks: pool \"a?b?[0m? \xc3\xa9%s?\": 1 objects out\n") != NULL);
    gomem_pool_put(pool, out);
    gomem_pool_destroy(pool);
}

// A name that is cut does not take the end of its line along.
TEST(a_long_name_of_a_pool) {
    static char name[1000];
    memset(name, 'n', sizeof name - 1);
    gomem_pool *pool = gomem_pool_new(&(gomem_pool_options){.size = 40, .name = name});
    REQUIRE(pool != NULL);
    void *out = gomem_pool_get(pool);
    gomem_arena arena = {0};
    void *block = gomem_arena_alloc(&arena, 100); // a line after that of the pool
    REQUIRE(out && block);
    ask();
    const char *line = strstr(answer.text, "gomem: leaks: pool \"nnn");
    if (CHECK(line != NULL)) {
        const char *next = strchr(line, '\n');
        CHECK(next && !strncmp(next, "\ngomem: leaks: arenas hold", 26));
        CHECK(strstr(line, "nnn...\": 1 objects out\n") != NULL);
    }
    gomem_arena_free(&arena);
    gomem_pool_put(pool, out);
    gomem_pool_destroy(pool);
}

TEST(held_by_an_arena) {
    static gomem_arena arena;
    put(gomem_arena_alloc(&arena, 64), chain(2), 0);
    put(gomem_arena_alloc(&arena, 1 << 20), chain(2), 0);
    expect(0, 0);
    CHECK(strstr(answer.text, "arenas hold 2 blocks, ") != NULL);
    gomem_arena_free(&arena);
    alive_clear_stack();
    expect(2, 2);
    CHECK(strstr(answer.text, "arenas") == NULL);
    free_all();
}

// A reservation lies outside of the heap. What is committed is read, and forgotten with the arena.
static void check_reserved(unsigned flags) {
    static gomem_arena arena;
    gomem_arena_options o = {.reserve = (size_t)64 << 20, .flags = flags, .name = "reserved"};
    for (int round = 0; round < 2; round++) {
        REQUIRE(round || gomem_arena_init(&arena, &o));
        CHECK(!strstr(answer.text, "arenas"));
        put(gomem_arena_alloc(&arena, 64), chain(2), 0);
        expect(0, 0);
        CHECK(strstr(answer.text, "arenas hold 1 blocks, 65536 bytes") != NULL);
        char *large = gomem_arena_alloc(&arena,
                                        5 << 20); // more than is read without asking for pages
        put((void *volatile *)(void *)(large + (4 << 20)), chain(3), 0);
        expect(0, 0);
        gomem_arena_free(&arena); // a further allocation reserves anew
        large = NULL;
        alive_clear_stack();
        expect(2, 3);
        CHECK(!strstr(answer.text, "arenas"));
        free_all();
    }
}
TEST(held_by_a_reserved_arena) {
    check_reserved(0);
    check_reserved(GOMEM_SCAN);
}

static void *volatile collected[3];
ALIVE_NOINLINE static void fill_collected(void) {
    collected[0] = gomem_new(sizeof(struct node));
    collected[1] = gomem_new_noscan(sizeof(struct node));
    collected[2] = gomem_new_with(sizeof(struct node), 0, GOMEM_UNCOLLECTABLE);
    for (int i = 0; i < 3; i++) put(collected[i], chain(2), 0);
}
TEST(held_by_collected_objects) {
    fill_collected();
    expect(0, 0);
    gomem_gc();
    expect(0, 0);
    for (int i = 0; i < 3; i++) *(void **)collected[i] = NULL;
    expect(3, 3);
    gomem_free(collected[2]);
    for (int i = 0; i < 3; i++) collected[i] = NULL;
    free_all();
}

static void *volatile named;
ALIVE_NOINLINE static void name_roots(gomem_marker *m, void *arg) {
    (void)arg;
    gomem_mark(m, (void *)~(uintptr_t)named);
}
ALIVE_NOINLINE static bool set_fn(uintptr_t hidden_argument, bool add) {
    void *arg = (void *)~hidden_argument;
    return add ? gomem_add_root_fn(name_roots, arg) : gomem_remove_root_fn(name_roots, arg);
}
TEST(registered_roots) {
    named = (void *)chain(2);
    uintptr_t argument = chain(1);
    REQUIRE(set_fn(argument, true));
    alive_clear_stack();
    expect(0, 0);
    CHECK(set_fn(argument, false));
    expect(2, 1);
    free_all();

    // A check also reads some memory behind the records of threads and of the loader, which may end
    // where the kernel puts this mapping: so the pointer lies far from both of its ends.
    enum { PAGE = 4096, PAGES = 16 };
    char *pages = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                       0);
    REQUIRE(pages != MAP_FAILED);
    char *page = pages + PAGES / 2 * PAGE;
    put((void *volatile *)(void *)(page + 56), chain(2), 0);
    expect(1, 1);
    REQUIRE(gomem_add_root(page, PAGE));
    expect(0, 0);
    gomem_remove_root(page);
    munmap(pages, PAGES * PAGE);
    free_all();
}

// A list behind a global that grows from one check to the next is no leak, and is told of.
static void *volatile cache, *volatile settled;
ALIVE_NOINLINE static void grow(void *volatile *list, int n, size_t size) {
    for (int i = 0; i < n; i++) {
        void **cell = gomem_malloc(size);
        if (!CHECK(cell != NULL)) return;
        memset(cell, 0, size);
        *cell = *list;
        *list = cell;
    }
}
ALIVE_NOINLINE static void free_list(void *volatile *list) {
    while (*list) {
        void *cell = *list;
        *list = *(void **)cell;
        gomem_free(cell);
    }
    alive_clear_stack();
}
static bool tells_growth(const void *word) {
    char text[64];
    snprintf(text, sizeof text, ", word at 0x%zx: reaches ", (size_t)(uintptr_t)word);
    const char *line = strstr(answer.text, "gomem: leaks: a root grows: ");
    return line && strstr(line, text);
}
TEST(growing_roots) {
    grow(&cache, 100, 1000);
    grow(&settled, 200, 1000);
    expect(0, 0);
    CHECK(!tells_growth((const void *)&cache)); // nothing is known of it before this check
    grow(&cache, 90, 1000);
    grow(&settled, 10, 1000);
    expect(0, 0);
    CHECK(tells_growth((const void *)&cache));
    CHECK(!tells_growth((const void *)&settled)); // less than 64 KiB
    const char *more = strstr(answer.text, "a root grows: ");
    size_t bytes = 0, grown = 0;
    more = more ? strstr(more, "reaches ") : NULL;
    CHECK(more && sscanf(more, "reaches %zu bytes, %zu more", &bytes, &grown) == 2);
    CHECK(bytes >= 190000 && grown >= 90000 && grown < bytes - 90000);
    expect(0, 0);
    CHECK(!strstr(answer.text, "a root grows")); // neither since then
    free_list(&cache);
    expect(0, 0);
    grow(&cache, 200, 1000);
    expect(0, 0);
    CHECK(!tells_growth((const void *)&cache)); // it was none of the largest
    void *volatile on_stack = cache;            // a stack that points into the list changes nothing
    for (int i = 0; i < 150; i++) on_stack = *(void **)on_stack;
    grow(&cache, 100, 1000);
    expect(0, 0);
    CHECK(tells_growth((const void *)&cache));
    on_stack = NULL;
    expect(0, 0);
    CHECK(!strstr(answer.text, "a root grows"));
    free_list(&cache);
    free_list(&settled);
}

// A registered range grows as a global does.
TEST(growing_registered_range) {
    enum { BYTES = 1 << 16 };
    char *range = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(range != MAP_FAILED);
    void *volatile *word = (void *volatile *)(void *)(range + BYTES / 2);
    REQUIRE(gomem_add_root(range, BYTES));
    grow(word, 10, 40000);
    expect(0, 0);
    grow(word, 10, 40000);
    expect(0, 0);
    CHECK(tells_growth((const void *)word));
    free_list(word);
    gomem_remove_root(range);
    munmap(range, BYTES);
}

static void grow_and_suppress(void) {
    setenv("GOMEM_DEBUG", "profile=1", 1);
    setenv("GOMEM_LEAK_SUPPRESS", "lfind", 1);
    grow(&cache, 100, 1000);
    ask();
    grow(&cache, 100, 1000);
    make_in_search(); // judged and suppressed, so the check is made twice
    next_hidden = ~(uintptr_t)0;
    ask();
    CHECK(strstr(answer.text, "suppressed: 1 objects"));
    CHECK(tells_growth((const void *)&cache));
}

// ---- when nothing can be told ----

static void *waits(void *arg) {
    atomic_store(&stage, 1);
    wait_for(2);
    return arg;
}
TEST(a_thread_that_is_not_attached) {
    pthread_t thread;
    chain(3);
    atomic_store(&stage, 0);
    REQUIRE(pthread_create(&thread, NULL, waits, NULL) == 0);
    wait_for(1);
    ask();
    CHECK(!answer.done && answer.error == EAGAIN);
    CHECK(strstr(answer.text, "is not attached") && !strstr(answer.text, "leaked"));
    atomic_store(&stage, 2);
    pthread_join(thread, NULL);
    expect(1, 2);
    free_all();
}

static void ask_in_child(void) {
    ask();
    CHECK(!answer.done && answer.error == EAGAIN && strstr(answer.text, "of its parent"));
}
static atomic_int interruptions;
static void count_interruption(int signal) {
    (void)signal;
    atomic_fetch_add(&interruptions, 1);
}

static void *interrupt_and_end(void *arg) {
    while (atomic_load(&interruptions) < 30) {
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
        usleep(1000);
    }
    return NULL;
}

// It waits for a second for the end of a thread that is not attached, even if signals interrupt it.
TEST(interrupted_while_it_waits) {
    static pthread_t me;
    pthread_t thread;
    struct sigaction old, count = {.sa_handler = count_interruption, .sa_flags = SA_RESTART};
    me = pthread_self();
    REQUIRE(sigaction(SIGUSR1, &count, &old) == 0);
    REQUIRE(pthread_create(&thread, NULL, interrupt_and_end, &me) == 0);
    expect(0, 0);
    CHECK(atomic_load(&interruptions) >= 30);
    REQUIRE(pthread_join(thread, NULL) == 0);
    REQUIRE(sigaction(SIGUSR1, &old, NULL) == 0);
}

TEST(a_child_that_lacks_threads) {
    pthread_t thread;
    struct child child;
    atomic_store(&stage, 0);
    REQUIRE(gomem_thread_create(&thread, NULL, waits, NULL) == 0);
    wait_for(1);
    child_run(&child, ask_in_child);
    CHECK(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0);
    atomic_store(&stage, 2);
    pthread_join(thread, NULL);
}

TEST(bad_descriptor) {
    errno = 0;
    CHECK(!gomem_write(GOMEM_LEAKS, -1) && errno == EBADF);
}

TEST_MAIN
