// What a thread does that holds one of the loader's locks: in a callback of dl_iterate_phdr, in a
// constructor or destructor of a library, in a resolver of an IFUNC. Meanwhile other threads run
// cycles whose roots are known only to whoever gets that lock. Each action ends, in a child of its
// own that an alarm ends if it does not.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"
#include "gomem.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { HANG = 60 }; // s

struct link_of_list {
    struct link_of_list *next;
    long value;
};

static struct link_of_list *volatile list;
static void *volatile kept[1000];
static atomic_bool quit;

static void nap(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) continue;
}

static void *collect(void *arg) {
    CHECK(gomem_thread_attach());
    while (!atomic_load(&quit))
        if (!gomem_gc()) sched_yield();
    return arg;
}

static void grow_list(void) {
    for (long i = 0; i < 1000; i++) {
        struct link_of_list *l = GOMEM_NEW(struct link_of_list);
        if (!CHECK(l != NULL)) return;
        *l = (struct link_of_list){list, i};
        list = l;
    }
}

static void check_list(void) {
    long n = 0, sum = 0;
    for (struct link_of_list *l = list; l != NULL; l = l->next) n++, sum += l->value;
    CHECK_EQ(n, 1000);
    CHECK_EQ(sum, 499500);
}

// ---- the actions ----

static void collects(void) {
    if (!gomem_gc()) CHECK_EQ(errno, EAGAIN);
}

static void asks_why(void) {
    int fd = open("/dev/null", O_WRONLY);
    (void)gomem_why(list, fd);
    close(fd);
}

static void verifies(void) {
    if (!gomem_verify()) CHECK_EQ(errno, EAGAIN);
}

static void reads_statistics(void) {
    gomem_memstats m;
    m.size = sizeof m;
    gomem_read_memstats(&m);
    CHECK(m.heap_alloc > 0 && gomem_heap_size() > 0);
}

static void allocates(void) {
    for (size_t i = 0; i < 100000; i++) kept[i % 1000] = gomem_new(1000);
    CHECK(kept[0] != NULL);
}

static void allocates_large(void) {
    for (size_t i = 0; i < 20; i++) kept[i % 3] = gomem_new(10000000);
    CHECK(kept[0] != NULL);
    kept[0] = kept[1] = kept[2] = NULL;
}

static void gives_back(void) { (void)gomem_free_os_memory(); }

static void *end_at_once(void *arg) { return gomem_new(100) ? arg : NULL; }

static void starts_threads(void) {
    pthread_t thread;
    void *result = NULL;
    CHECK_EQ(gomem_thread_create(&thread, NULL, end_at_once, &quit), 0);
    CHECK_EQ(gomem_thread_join(&thread, &result), 0);
    CHECK(result == &quit);
    CHECK_EQ(pthread_create(&thread, NULL, end_at_once, NULL), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void registers(void) {
    static uintptr_t word[2];
    CHECK(gomem_add_root(word, sizeof word) && gomem_remove_root(word));
    gomem_stack *s = gomem_stack_new(65536);
    CHECK(s != NULL);
    gomem_stack_free(s);
    (void)gomem_set_gc_percent(gomem_set_gc_percent(50));
    (void)gomem_gc_work(100);
    (void)gomem_run_finalizers(1);
}

static void fork_and(void (*action)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        alarm(HANG / 2);
        action();
        _exit(test_failed() > 0);
    }
    int status = -1;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_EQ(status, 0);
}

static _Thread_local struct link_of_list *volatile tls_list;

static void nothing(void) { check_list(); }
static void forks(void) { fork_and(nothing); }

// The child finds the loader's lock held, by nobody, as long as glibc does not reset it.
static void collect_in_child(void) {
    tls_list = GOMEM_NEW(struct link_of_list);
    tls_list->value = 7;
    for (int i = 0; i < 3; i++) {
        CHECK(COLLECTED());
        allocates();
        check_list();
    }
    CHECK_EQ(tls_list->value, 7);
    CHECK(HEAP_IS_WHOLE());
    asks_why();
}
static void forks_and_collects(void) { fork_and(collect_in_child); }

#define ACTIONS(X)      \
    X(collects)         \
    X(asks_why)         \
    X(verifies)         \
    X(reads_statistics) \
    X(allocates)        \
    X(allocates_large) X(gives_back) X(starts_threads) X(registers) X(forks) X(forks_and_collects)

// ---- in a callback of dl_iterate_phdr ----

static void (*acts)(void);
static const char *collector;

static int act(struct dl_phdr_info *object, size_t size, void *arg) {
    (void)object, (void)size, (void)arg;
    nap(40); // the other thread comes to wait for the lock that this callback is called with
    acts();
    return 1;
}

static void beside_a_cycle(int (*run)(void)) {
    pthread_t thread;
    alarm(HANG);
    setenv("GOMEM_DEBUG", collector, 1);
    grow_list();
    REQUIRE(gomem_thread_create(&thread, NULL, collect, NULL) == 0);
    nap(5);
    CHECK_EQ(run(), 0);
    atomic_store(&quit, true);
    pthread_join(thread, NULL);
    CHECK(COLLECTED() && HEAP_IS_WHOLE());
    check_list();
}

static int walk(void) { return dl_iterate_phdr(act, NULL) != 1; }
static void in_callback(void) { beside_a_cycle(walk); }

static const char *const collectors[] = {"collector=stw", "collector=tracked", "collector=barrier"};

static void in_children(void (*action)(void), void (*run)(void), size_t i) {
    acts = action;
    collector = collectors[i % 3];
    CHILD_GOOD(run);
}

#define IN_CALLBACK(action)                                                 \
    TEST(callback_##action) {                                               \
        NEEDS_FORK;                                                         \
        for (size_t i = 0; i < 3; i++) in_children(action, in_callback, i); \
    }
ACTIONS(IN_CALLBACK)

// The collector's own thread waits for the lock.
static int shut_down(struct dl_phdr_info *object, size_t size, void *arg) {
    (void)object, (void)size, (void)arg;
    CHECK(gomem_gc_start());
    nap(40);
    gomem_shutdown();
    return 1;
}

static void shut_down_in_callback(void) {
    alarm(HANG);
    grow_list();
    (void)dl_iterate_phdr(shut_down, NULL);
    gomem_shutdown();
    errno = 0;
    CHECK(gomem_malloc(1) == NULL);
    CHECK_EQ(errno, ESHUTDOWN);
}

TEST(callback_shuts_down) { CHILD_GOOD(shut_down_in_callback); }

// Another thread has the lock while this one forks.
static atomic_int walking;

static int wait_in_walk(struct dl_phdr_info *object, size_t size, void *arg) {
    (void)object, (void)size, (void)arg;
    atomic_store(&walking, 1);
    while (atomic_load(&walking) == 1) nap(1);
    return 1;
}
static void *walk_slowly(void *arg) {
    (void)dl_iterate_phdr(wait_in_walk, NULL);
    return arg;
}

static void fork_beside_a_walk(void) {
    pthread_t thread;
    alarm(HANG);
    grow_list();
    CHECK(COLLECTED());
    REQUIRE(pthread_create(&thread, NULL, walk_slowly, NULL) == 0);
    while (!atomic_load(&walking)) nap(1);
    fork_and(collect_in_child);
    atomic_store(&walking, 2);
    pthread_join(thread, NULL);
}

TEST(fork_while_another_thread_has_the_lock) {
    NEEDS_FORK;
    CHILD_GOOD(fork_beside_a_walk);
}

// ---- while a library is opened and closed ----

static const char library_source[] =
    "#include <stdlib.h>\n"
    "static void act(const char *where) {\n"
    "    const char *hook = getenv(\"GOMEM_TEST_HOOK\"), *now = getenv(\"GOMEM_TEST_WHERE\");\n"
    "    if (hook && now && *now == *where) ((void (*)(void))strtoull(hook, 0, 16))();\n"
    "}\n"
    "static int same(int x) { return x; }\n"
    "static int (*choose(void))(int) { act(\"i\"); return same; }\n"
    "int chosen(int) __attribute__((ifunc(\"choose\"), visibility(\"hidden\")));\n"
    "int call(int x) { return chosen(x); }\n"
    "__attribute__((constructor)) static void begin(void) { act(\"c\"); }\n"
    "__attribute__((destructor)) static void end(void) { act(\"d\"); }\n";

static char library[64];
static const char *missing;
static pid_t builder;

// Compiles the library at first use; without IFUNC where there is none.
static void build_library(void) {
    char source[64], command[300];
    const char *cc = getenv("CC");
    if (library[0] || missing) return;
    builder = getpid();
    snprintf(source, sizeof source, "/tmp/gomem-loader-%d.c", (int)getpid());
    snprintf(library, sizeof library, "/tmp/gomem-loader-%d.so", (int)getpid());
    FILE *file = fopen(source, "w");
    if (file) {
        fputs(library_source, file);
        fclose(file);
    }
    snprintf(command, sizeof command, "%s -shared -fPIC -o %s %s >/dev/null 2>&1",
             cc && *cc ? cc : "cc", library, source);
    if (system(command) != 0) missing = "no C compiler that builds a library with an IFUNC";
    unlink(source);
}

__attribute__((destructor)) static void remove_library(void) {
    if (getpid() == builder) unlink(library); // and not in children
}

static int acted;

static void act_in_library(void) {
    nap(10);
    acts();
    acted++;
}

static int open_and_close(void) {
    char hook[32];
    snprintf(hook, sizeof hook, "%llx", (unsigned long long)(uintptr_t)act_in_library);
    setenv("GOMEM_TEST_HOOK", hook, 1);
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!CHECK(handle != NULL)) return 1;
    return dlclose(handle);
}

static void *open_often(void *arg) {
    while (!atomic_load(&quit)) {
        void *handle = dlopen("libresolv.so.2", RTLD_NOW);
        if (handle) dlclose(handle);
    }
    return arg;
}

static void in_library(void) {
    beside_a_cycle(open_and_close);
    CHECK(acted > 0);
}

// Another thread is inside dlopen or dlclose most of the time.
static int beside_dlopen(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, open_often, NULL) != 0) return 1;
    for (int i = 0; i < 2; i++) acts();
    atomic_store(&quit, true);
    return pthread_join(thread, NULL);
}
static void beside_libraries(void) { beside_a_cycle(beside_dlopen); }

// Each part with one collector, another one in each test.
static void each_part(void (*action)(void)) {
    static const char *const parts[] = {"constructor", "destructor", "ifunc"};
    static size_t tests;
    build_library();
    if (missing) SKIP(missing);
    for (size_t i = 0; i < 3; i++) {
        setenv("GOMEM_TEST_WHERE", parts[i], 1);
        in_children(action, in_library, i + tests);
    }
    in_children(action, beside_libraries, tests++);
}

#define IN_LIBRARY(action)   \
    TEST(library_##action) { \
        NEEDS_FORK;          \
        each_part(action);   \
    }
ACTIONS(IN_LIBRARY)

TEST_MAIN
