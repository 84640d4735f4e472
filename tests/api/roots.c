// Each kind of root by itself in memory: data, thread-local storage, libraries, ranges, heap words;
// and what is no root. Stacks and registers are in stacks.c.
#define _GNU_SOURCE
#include "alive.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

static volatile uintptr_t in_bss;
static volatile uintptr_t in_data = 1;
static volatile uintptr_t bss_array[1000];
static _Thread_local volatile uintptr_t in_tls;
static _Thread_local volatile uintptr_t in_tls_data = 7;
static _Thread_local volatile uintptr_t in_large_tls[700];

// The measure itself: a chain that nobody holds dies.
TEST(nothing_holds) {
    static struct alive_set set;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        REQUIRE(alive_chain(&set));
        CHECK_EQ(alive_count(&set), ALIVE_N);
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
}

TEST(bss) {
    alive_check_slot(&in_bss, 0);
    alive_check_slot(&bss_array[0], 0);
    alive_check_slot(&bss_array[999], 0);
}

TEST(data) { alive_check_slot(&in_data, 0); }

TEST(tls_of_the_main_thread) {
    alive_check_slot(&in_tls, 0);
    alive_check_slot(&in_tls_data, 0);
    alive_check_slot(&in_large_tls[0], 0);
    alive_check_slot(&in_large_tls[699], 0);
}

TEST(stack_of_the_main_thread) {
    volatile uintptr_t local = 0;
    alive_check_slot(&local, 0);
}

// A thread that offers the address of one of its words and waits until it is told to end.
struct host {
    volatile uintptr_t *slot;
    volatile uintptr_t *(*find)(void); // on the thread; NULL: a word of its stack
    atomic_bool ready, done;
    bool created_by_gomem;
};

static void *host_run(void *arg) {
    struct host *host = arg;
    volatile uintptr_t local = 0;
    gomem_thread_attach();
    host->slot = host->find != NULL ? host->find() : &local;
    atomic_store(&host->ready, true);
    while (!atomic_load(&host->done)) usleep(200);
    *host->slot = 0;
    return NULL;
}

static void check_host(volatile uintptr_t *(*find)(void)) {
    for (int by_gomem = 0; by_gomem < 2; by_gomem++) {
        struct host host = {.find = find};
        pthread_t thread;
        int error = by_gomem ? gomem_thread_create(&thread, NULL, host_run, &host)
                             : pthread_create(&thread, NULL, host_run, &host);
        REQUIRE(error == 0);
        while (!atomic_load(&host.ready)) usleep(200);
        if (host.slot != NULL) alive_check_slot(host.slot, 0);
        else CHECK(host.slot != NULL);
        atomic_store(&host.done, true);
        pthread_join(thread, NULL);
    }
}

static volatile uintptr_t *find_tls(void) { return &in_tls; }

static volatile uintptr_t *find_large_tls(void) { return &in_large_tls[699]; }

TEST(stack_of_another_thread) { check_host(NULL); }

TEST(tls_of_another_thread) {
    check_host(find_tls);
    check_host(find_large_tls);
}

// A library with words of its own in each kind of memory, built here.
static const char library_source[] =
    "static volatile unsigned long data = 1, bss; static __thread volatile unsigned long tls, "
    "big[3000];\n"
    "static const volatile unsigned long *volatile relro = &data;\n"
    "volatile unsigned long *word(int what) {\n"
    "    return what == 0 ? &data : what == 1 ? &bss : what == 2 ? &tls : &big[2999];\n"
    "}\n"
    "int main_like(void) { return relro != 0; }\n";

static volatile uintptr_t *(*library_word)(int what);
static volatile uintptr_t *(*elsewhere_word)(int what); // the same in a namespace of its own
static void *library;
static const char *library_missing;

static volatile uintptr_t *find_library_tls(void) { return library_word(2); }

static volatile uintptr_t *find_library_large_tls(void) { return library_word(3); }

// In a new namespace, with a libc of its own; glibc shows it to others from 2.35 on.
static void *open_elsewhere(const char *object) {
#if defined(LM_ID_NEWLM) && defined(__GLIBC__) && __GLIBC_PREREQ(2, 35) && !defined(TEST_ASAN) && \
    !defined(TEST_TSAN)
    return dlmopen(LM_ID_NEWLM, object, RTLD_NOW | RTLD_LOCAL);
#else
    return (void)object, NULL;
#endif
}

// Compiles and opens the library at first use; NULL in library_word with the reason otherwise.
static void library_open(void) {
    if (library != NULL || library_missing != NULL) return;
    char dir[] = "/tmp/gomem-roots-XXXXXX", source[64], object[64], command[256];
    if (mkdtemp(dir) == NULL) {
        library_missing = "no folder for a library in /tmp";
        return;
    }
    snprintf(source, sizeof source, "%s/word.c", dir);
    snprintf(object, sizeof object, "%s/word.so", dir);
    FILE *file = fopen(source, "w");
    if (file != NULL) {
        fputs(library_source, file);
        fclose(file);
    }
    const char *cc = getenv("CC");
    snprintf(command, sizeof command, "%s -shared -fPIC -o %s %s >/dev/null 2>&1",
             cc != NULL && cc[0] != '\0' ? cc : "cc", object, source);
    if (system(command) != 0) library_missing = "no C compiler that builds a shared library";
    else if ((library = dlopen(object, RTLD_NOW | RTLD_LOCAL)) == NULL)
        library_missing = "dlopen does not work in this program";
    if (library != NULL) *(void **)(void *)&library_word = dlsym(library, "word");
    void *elsewhere = library != NULL ? open_elsewhere(object) : NULL;
    if (elsewhere != NULL && elsewhere_word == NULL)
        *(void **)(void *)&elsewhere_word = dlsym(elsewhere, "word");
    unlink(object);
    unlink(source);
    rmdir(dir);
}

#define NEEDS_LIBRARY                                   \
    library_open();                                     \
    if (library_missing != NULL) SKIP(library_missing); \
    REQUIRE(library_word != NULL)

TEST(data_of_an_opened_library) {
    NEEDS_LIBRARY;
    alive_check_slot(library_word(0), 0);
    alive_check_slot(library_word(1), 0);
}

TEST(tls_of_an_opened_library) {
    NEEDS_LIBRARY;
    alive_check_slot(library_word(2), 0);
    alive_check_slot(library_word(3), 0);
    check_host(find_library_tls);
    check_host(find_library_large_tls);
}

static volatile uintptr_t *find_elsewhere_tls(void) { return elsewhere_word(2); }
static volatile uintptr_t *find_elsewhere_large_tls(void) { return elsewhere_word(3); }

TEST(library_in_another_namespace) {
    NEEDS_LIBRARY;
    if (elsewhere_word == NULL) SKIP("no namespaces, or none that the loader shows");
    CHECK(elsewhere_word(0) != library_word(0));
    for (int what = 0; what < 4; what++) alive_check_slot(elsewhere_word(what), 0);
    check_host(find_elsewhere_tls);
    check_host(find_elsewhere_large_tls);
}

// Closed between collections: its memory is gone, the next collection must not touch it.
TEST(closed_library) {
    static struct alive_set set;
    NEEDS_LIBRARY;
    REQUIRE(alive_chain(&set));
    alive_put(&in_bss, set.hidden[0], 0);
    alive_gc();
    CHECK(dlclose(library) == 0);
    library = NULL;
    library_word = NULL;
    alive_gc();
    CHECK_EQ(alive_count(&set), ALIVE_N);
    library_open();
    if (library_missing != NULL) SKIP(library_missing);
    REQUIRE(library_word != NULL);
    alive_check_slot(library_word(0), 0);
    in_bss = 0;
}

static void *map(size_t size) {
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return CHECK(p != MAP_FAILED) ? p : NULL;
}

enum { MAPPED = 1 << 20 };

TEST(mapped_memory_is_no_root) {
    volatile uintptr_t *range = map(MAPPED);
    REQUIRE(range != NULL);
    alive_check_no_slot(&range[100]);
    munmap((void *)(uintptr_t)range, MAPPED);
}

TEST(registered_range) {
    enum { WORDS = 1000 };
    volatile uintptr_t *range = map(MAPPED);
    REQUIRE(range != NULL);
    volatile uintptr_t *part = range + 500;
    CHECK(gomem_add_root((void *)(uintptr_t)part, WORDS * sizeof *part));
    alive_check_slot(&part[0], 0);
    alive_check_slot(&part[WORDS / 2], 0);
    alive_check_slot(&part[WORDS - 1], 0);
    alive_check_no_slot(&part[-1]);
    alive_check_no_slot(&part[WORDS]);
    CHECK(gomem_add_root((void *)(uintptr_t)part, 2 * WORDS * sizeof *part)); // it has grown
    alive_check_slot(&part[2 * WORDS - 1], 0);
    CHECK(gomem_add_root((void *)(uintptr_t)part, WORDS * sizeof *part)); // and shrunk
    alive_check_no_slot(&part[WORDS]);
    CHECK(gomem_remove_root((void *)(uintptr_t)part));
    alive_check_no_slot(&part[WORDS / 2]);
    CHECK(!gomem_remove_root((void *)(uintptr_t)part));
    munmap((void *)(uintptr_t)range, MAPPED);
    alive_gc();
}

static void mark_hidden(gomem_marker *m, void *arg) {
    gomem_mark(m, alive_show(*(const uintptr_t *)arg));
}

// One function with two arguments is two roots: removing one leaves the other.
TEST(root_functions_with_arguments) {
    static struct alive_set sets[2];
    for (int gone = 0; gone < 2; gone++) {
        void *own[2] = {&sets[0].hidden[0], &sets[1].hidden[0]};
        for (int i = 0; i < 2; i++) {
            REQUIRE(alive_chain(&sets[i]));
            CHECK(gomem_add_root_fn(mark_hidden, own[i]));
        }
        alive_gc();
        CHECK(alive_count(&sets[0]) == ALIVE_N && alive_count(&sets[1]) == ALIVE_N);
        CHECK(gomem_remove_root_fn(mark_hidden, own[gone]));
        CHECK(!gomem_remove_root_fn(mark_hidden, own[gone]) && errno == EINVAL);
        alive_gc();
        CHECK_EQ(alive_count(&sets[!gone]), ALIVE_N);
        CHECK(alive_count(&sets[gone]) <= ALIVE_FEW);
        CHECK(gomem_remove_root_fn(mark_hidden, own[!gone]));
    }
}

// Ends that are not aligned to words, many ranges, removal in another order.
TEST(many_registered_ranges) {
    enum { N = 300 };
    volatile uintptr_t *range = map(MAPPED);
    REQUIRE(range != NULL);
    for (size_t i = 0; i < N; i++)
        CHECK(gomem_add_root((char *)(uintptr_t)&range[i * 100] - (i % 8), 3 * sizeof *range + 9));
    for (size_t i = 0; i < N; i += 37) alive_check_slot(&range[i * 100 + 1], 0);
    for (size_t i = 1; i < N; i += 2)
        CHECK(gomem_remove_root((char *)(uintptr_t)&range[i * 100] - (i % 8)));
    alive_check_slot(&range[2 * 100 + 1], 0);
    alive_check_no_slot(&range[37 * 100 + 1]);
    for (size_t i = 0; i < N; i += 2)
        CHECK(gomem_remove_root((char *)(uintptr_t)&range[i * 100] - (i % 8)));
    alive_check_no_slot(&range[2 * 100 + 1]);
    munmap((void *)(uintptr_t)range, MAPPED);
    alive_gc();
}

TEST(registered_manual_memory) {
    volatile uintptr_t *block = gomem_calloc(100, sizeof *block);
    REQUIRE(block != NULL);
    alive_check_no_slot(&block[50]);
    CHECK(gomem_add_root((void *)(uintptr_t)block, 100 * sizeof *block));
    alive_check_slot(&block[50], 0);
    CHECK(gomem_remove_root((void *)(uintptr_t)block));
    alive_check_no_slot(&block[50]);
    gomem_free((void *)(uintptr_t)block);
}

TEST(manual_memory_is_no_root) {
    static const size_t sizes[] = {8, 64, 1000, 32768, 100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        volatile uintptr_t *block = gomem_calloc(1, sizes[i]);
        REQUIRE(block != NULL);
        alive_check_no_slot(&block[0]);
        alive_check_no_slot(&block[sizes[i] / sizeof *block - 1]);
        gomem_free((void *)(uintptr_t)block);
    }
}

// Memory of libc's malloc is none either.
TEST(libc_memory_is_no_root) {
    volatile uintptr_t *block = calloc(100, sizeof *block);
    REQUIRE(block != NULL);
    alive_check_no_slot(&block[50]);
    free((void *)(uintptr_t)block);
}

static volatile uintptr_t *volatile heap_block;

TEST(word_of_a_live_object) {
    static const size_t sizes[] = {8, 16, 24, 100, 1024, 32768, 32776, 500000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        heap_block = gomem_new(sizes[i]);
        REQUIRE(heap_block != NULL);
        alive_check_slot(&heap_block[0], 0);
        alive_check_slot(&heap_block[sizes[i] / sizeof *heap_block - 1], 0);
    }
    heap_block = NULL;
}

TEST(noscan_object_is_no_root) {
    heap_block = gomem_new_noscan(400);
    REQUIRE(heap_block != NULL);
    alive_check_no_slot(&heap_block[0]);
    heap_block = NULL;
}

// Anywhere inside keeps; low tag bits are such places.
TEST(interior_pointers) {
    heap_block = gomem_new(64);
    REQUIRE(heap_block != NULL);
    for (intptr_t offset = 0; offset < (intptr_t)sizeof(struct alive_node); offset++) {
        if (offset > 16 && offset % 5 != 0) continue;
        alive_check_slot(&heap_block[3], offset);
        alive_check_slot(&in_bss, offset);
    }
    alive_check_slot(&heap_block[3], (intptr_t)sizeof(struct alive_node) - 1);
    heap_block = NULL;
}

// An interior pointer far inside a large object, whose start nobody remembers.
TEST(interior_pointer_of_a_large_object) {
    static const size_t sizes[] = {40000, 1000000, 20000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        static volatile uintptr_t only;
        char *block = gomem_new(sizes[i]);
        REQUIRE(block != NULL);
        size_t word = 5;
        uintptr_t hidden = alive_hide(block);
        only = (uintptr_t)(block + sizes[i] - 1);
        block = NULL;
        alive_gc();
        REQUIRE(gomem_base((void *)only) == alive_show(hidden));
        alive_check_slot((volatile uintptr_t *)alive_show(hidden) + word, 0);
        only = 0;
    }
}

// Hidden by inversion or in two halves: no collector could know.
TEST(hidden_pointers_do_not_keep) {
    static struct alive_set set;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        REQUIRE(alive_chain(&set));
        in_bss = set.hidden[0];
        bss_array[0] = ~set.hidden[0] & 0xffffff;
        bss_array[1] = ~set.hidden[0] >> 24;
        alive_gc();
        died += alive_count(&set) <= ALIVE_FEW;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
    in_bss = bss_array[0] = bss_array[1] = 0;
}

// Both ends of an allocation-heavy life: roots added and removed while another thread collects.
static atomic_bool stop;

static void *collect(void *arg) {
    while (!atomic_load(&stop)) gomem_gc();
    return arg;
}

TEST(ranges_change_while_collecting) {
    pthread_t thread;
    volatile uintptr_t *range = map(MAPPED);
    REQUIRE(range != NULL);
    atomic_store(&stop, false);
    REQUIRE(gomem_thread_create(&thread, NULL, collect, NULL) == 0);
    for (size_t i = 0; i < 2000; i++) {
        volatile uintptr_t *part = &range[i % 100 * 100];
        CHECK(gomem_add_root((void *)(uintptr_t)part, 800));
        struct alive_node *node = GOMEM_NEW(struct alive_node);
        REQUIRE(node != NULL);
        node->index = i;
        part[i % 90] = (uintptr_t)node;
        node = NULL;
        for (int j = 0; j < 5; j++) GOMEM_NEW(struct alive_node);
        CHECK_EQ(((struct alive_node *)part[i % 90])->index, i);
        CHECK(gomem_remove_root((void *)(uintptr_t)part));
        part[i % 90] = 0;
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    munmap((void *)(uintptr_t)range, MAPPED);
    alive_gc();
}

TEST_MAIN
