// Address space that is limited (ulimit -v, setrlimit at any time): the heap takes it as it grows,
// and leaves the rest to the program. Each test is a child of a parent that never uses the heap.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static size_t limit_mib; // of the child

static void limit_space(void) {
    struct rlimit limit = {limit_mib << 20, limit_mib << 20};
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

static size_t count(void *(*allocate)(size_t size)) {
    static void **all; // what is collected is reached
    size_t n = 0;
    for (void **p; n < 4096 && (p = allocate((size_t)1 << 20)) != NULL; n++, all = p) *p = all;
    return n;
}

static void *(*make)(size_t size); // of the child
static int collector;

static void as_much_as_libc(void) {
    int ends[2];
    size_t theirs = 0;
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        limit_space();
        theirs = count(malloc);
        _exit(write(ends[1], &theirs, sizeof theirs) != sizeof theirs);
    }
    REQUIRE(child > 0 && read(ends[0], &theirs, sizeof theirs) == sizeof theirs);
    REQUIRE(waitpid(child, NULL, 0) == child);
    limit_space();
    REQUIRE(gomem_init(&(gomem_options){.collector = collector}));
    size_t ours = count(make);
    CHECK(theirs > limit_mib / 2 && theirs <= limit_mib);
    if (!CHECK(ours * 10 >= theirs * 9)) printf("%zu of %zu MiB", ours, theirs);
}

static void in_each_collector(void (*fn)(void)) {
    static const int collectors[] = {GOMEM_GC_AUTO, GOMEM_GC_BARRIER, GOMEM_GC_STW};
    for (size_t i = 0; i < sizeof collectors / sizeof *collectors && !test_failed(); i++) {
        collector = collectors[i];
        CHILD_GOOD(fn);
    }
}

TEST(as_much_as_libc_gets) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers need address space of their own");
#endif
    static const size_t limits[] = {250, 600, 1500};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        limit_mib = limits[i];
        make = gomem_malloc;
        CHILD_GOOD(as_much_as_libc);
#if defined(__x86_64__) && defined(__GLIBC__)
        make = gomem_new;
        in_each_collector(as_much_as_libc);
#endif
    }
}

static void *end_at_once(void *arg) { return arg; }

ALIVE_NOINLINE static void fill_collected(void) {
    void **list = NULL, **next;
    size_t n = 0;
    for (; (next = gomem_new((size_t)1 << 20)) != NULL; n++) *next = list, list = next;
    CHECK(n > 80);
}

ALIVE_NOINLINE static void fill_manual(void) {
    void **list = NULL, **next;
    size_t n = 0;
    for (; (next = gomem_malloc((size_t)1 << 20)) != NULL; n++) *next = list, list = next;
    CHECK(n > 80);
    for (; list; list = next) next = *list, gomem_free(list);
}

// What the heap does not use is the program's: threads and mappings.
static void left_to_the_program(void) {
    static struct alive_set kept;
    static uintptr_t root;
    limit_mib = 400;
    limit_space();
    REQUIRE(alive_chain(&kept));
    alive_put(&root, kept.hidden[0], 0);
    void *map = mmap(NULL, (size_t)200 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, end_at_once, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    for (int i = 0; i < 3000000; i++) CHECK(GOMEM_NEW(struct alive_node) != NULL);
    for (int round = 0; round < 3; round++) { // all that there is, collected, then manual
        alive_deep(fill_collected);
        alive_gc();
        alive_deep(fill_manual);
        CHECK_EQ(alive_count(&kept), ALIVE_N);
        CHECK(HEAP_IS_WHOLE());
    }
}

TEST(program_has_the_rest) {
#if defined(TEST_ASAN) || defined(TEST_TSAN)
    SKIP("sanitizers need address space of their own");
#endif
    CHILD_GOOD(left_to_the_program);
}

// ---- limits that are set while the heap is in use ----

#if defined(TEST_ASAN) || defined(TEST_TSAN)
#define NEEDS_SPARSE SKIP("under sanitizers the heap is reserved")
#else
#define NEEDS_SPARSE (void)0
#endif

static struct alive_set set; // lives on through whatever happens
static uintptr_t set_root;

static size_t space_mib(void) { // address space that the process has
    char text[128] = "";
    int fd = open("/proc/self/statm", O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) >> 20;
}

static void set_limit(int resource, size_t mib) {
    struct rlimit limit = {mib ? mib << 20 : RLIM_INFINITY, RLIM_INFINITY};
    REQUIRE(setrlimit(resource, &limit) == 0);
}

// Both heaps are in use, and there have been cycles.
static void use_heaps(void) {
    REQUIRE(gomem_init(&(gomem_options){.collector = collector}));
    REQUIRE(alive_chain(&set));
    alive_put(&set_root, set.hidden[0], 0);
    for (int i = 0; i < 300000; i++) gomem_free(gomem_malloc(100)), CHECK(gomem_new(100) != NULL);
    alive_gc();
}

static void still_good(void) {
    alive_gc();
    CHECK_EQ(alive_count(&set), ALIVE_N);
    CHECK(HEAP_IS_WHOLE());
}

// A thread that uses the heap, and a mapping of its own, find their place.
static void *use_heap(void *arg) {
    for (int i = 0; i < 1000; i++) gomem_free(gomem_malloc(1000));
    return gomem_new(100) ? arg : NULL;
}

static void program_goes_on(void) {
    pthread_t thread;
    void *result = NULL;
    if (CHECK_EQ(gomem_thread_create(&thread, NULL, use_heap, &set), 0))
        CHECK(gomem_thread_join(&thread, &result) == 0 && result == &set);
    void *map = mmap(NULL, (size_t)64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (CHECK(map != MAP_FAILED)) munmap(map, (size_t)64 << 20);
}

static void limited_later(void) {
    use_heaps();
    CHECK(space_mib() < 300); // before any limit is known
    set_limit(RLIMIT_AS, 500);
    program_goes_on();
    CHECK(count(gomem_malloc) >= 300);
    errno = 0;
    CHECK(gomem_malloc((size_t)1 << 30) == NULL && errno == ENOMEM);
    still_good();
}

static void limited_by_another(void) {
    pid_t self = getpid();
    use_heaps();
    pid_t child = fork();
    if (child == 0) {
        uint64_t limit[2] = {(uint64_t)400 << 20, (uint64_t)400 << 20};
        _exit(syscall(SYS_prlimit64, self, RLIMIT_AS, limit, NULL) != 0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    program_goes_on();
    alive_deep(fill_collected);
    still_good();
}

// Less than is in use already: nothing new can be had, and what there is stays; then it is raised.
static void lowered_and_raised(void) {
    use_heaps();
    for (size_t i = 0; i < 2; i++) {
        int resource = i ? RLIMIT_DATA : RLIMIT_AS;
        set_limit(resource, 1);
        errno = 0;
        CHECK(gomem_malloc((size_t)4 << 30) == NULL && errno == ENOMEM);
        errno = 0;
        CHECK(gomem_new((size_t)4 << 30) == NULL && errno == ENOMEM);
        still_good();
        set_limit(resource, 0);
        program_goes_on();
        void *p = gomem_malloc((size_t)1 << 30), *q = gomem_new_noscan((size_t)1 << 30);
        CHECK(p != NULL && q != NULL);
        gomem_free(p);
        gomem_free(q);
        still_good();
    }
}

// A limit of before the first use that is lifted is no limit any more.
static void lifted(void) {
    set_limit(RLIMIT_AS, 200);
    use_heaps();
    CHECK(gomem_malloc((size_t)1 << 30) == NULL);
    set_limit(RLIMIT_AS, 0);
    void *p = gomem_malloc((size_t)1 << 30);
    CHECK(p != NULL);
    gomem_free(p);
    still_good();
}

// What was freed can be mapped by the program.
static int limited; // the resource
static void freed_space(void) {
    void **list = NULL, **next;
    use_heaps();
    set_limit(limited, 800);
    for (int i = 0; i < 600 && (next = gomem_malloc((size_t)1 << 20)) != NULL; i++)
        *next = list, list = next;
    const int access = PROT_READ | PROT_WRITE;
    void *map = mmap(NULL, (size_t)400 << 20, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map == MAP_FAILED);
    for (; list; list = next) next = *list, gomem_free(list);
    map = mmap(NULL, (size_t)400 << 20, access, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    still_good();
}

TEST(limit_set_later) {
    NEEDS_SPARSE;
    in_each_collector(limited_later);
}
TEST(limit_set_by_another_process) {
    NEEDS_SPARSE;
    in_each_collector(limited_by_another);
}
TEST(limit_below_what_is_used) {
    NEEDS_SPARSE;
    in_each_collector(lowered_and_raised);
}
TEST(limit_that_is_lifted) {
    NEEDS_SPARSE;
    in_each_collector(lifted);
}
TEST(freed_address_space_is_the_programs) {
    NEEDS_SPARSE;
    limited = RLIMIT_AS;
    in_each_collector(freed_space);
    limited = RLIMIT_DATA;
    in_each_collector(freed_space);
}

#if defined(__x86_64__) && defined(__GLIBC__)
static unsigned finalized;
static void note_finalizer(void *object, void *arg) {
    (void)object, (void)arg;
    __atomic_add_fetch(&finalized, 1, __ATOMIC_RELAXED);
}

static pthread_barrier_t all_in_use, measured;
static void *use_and_wait(void *arg) {
    void *result = use_heap(arg);
    pthread_barrier_wait(&all_in_use);
    pthread_barrier_wait(&measured);
    return result;
}

// glibc's malloc reserves 64 MiB for the first allocation of a thread. Neither the program's threads
// nor the library's take that much because they use the heap.
static void threads_are_small(void) {
    enum { THREADS = 3, STACK = 256 * 1024, NORMAL_STACK = 8 };
    pthread_t thread[THREADS];
    pthread_attr_t attr;
    limit_mib = 1000;
    limit_space();
    use_heaps();
    size_t before = space_mib();
    REQUIRE(!pthread_barrier_init(&all_in_use, NULL, THREADS + 1));
    REQUIRE(!pthread_barrier_init(&measured, NULL, THREADS + 1));
    REQUIRE(!pthread_attr_init(&attr) && !pthread_attr_setstacksize(&attr, STACK));
    for (int i = 0; i < THREADS; i++)
        REQUIRE(!pthread_create(&thread[i], &attr, use_and_wait, &set));
    pthread_barrier_wait(&all_in_use);
    CHECK(space_mib() < before + 20);
    for (int i = 0; i < 100; i++)
        REQUIRE(gomem_set_finalizer(gomem_new(100), note_finalizer, NULL));
    for (long i = 0; !__atomic_load_n(&finalized, __ATOMIC_RELAXED) && i < 100000000; i++)
        CHECK(gomem_new(100) != NULL); // the cycles are the background thread's
    CHECK(__atomic_load_n(&finalized, __ATOMIC_RELAXED));
    if (!CHECK(space_mib() < before + 20 + NORMAL_STACK + 30))
        printf("%zu and %zu MiB", before, space_mib());
    still_good();
    pthread_barrier_wait(&measured);
    for (int i = 0; i < THREADS; i++) REQUIRE(!pthread_join(thread[i], NULL));
}

TEST(threads_take_no_address_space_for_libc) {
    NEEDS_SPARSE;
    in_each_collector(threads_are_small);
}
#endif

// ---- a heap that becomes wide ----

enum { WIDE = 3 }; // GiB that are taken, and not touched

static void *small[4096];
static void *free_small(void *arg) {
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) gomem_free(small[i]);
    return arg;
}
static char *far[3];

// Far from where the heap began: objects are found there, by the collector and by threads that came
// before.
static void wide(void) {
    gomem_memstats before = {.size = sizeof before}, after = before;
    pthread_t thread;
    use_heaps();
    char *gap[2] = {gomem_malloc((size_t)WIDE << 30), NULL};
    if (collector == GOMEM_GC_AUTO) gap[1] = gomem_new((size_t)WIDE << 30); // the others would read
    REQUIRE(gap[0] && (gap[1] || collector != GOMEM_GC_AUTO));
    for (size_t i = 0; i < 3; i++) {
        far[i] = i == 2 ? gomem_new((size_t)8 << 20) : gomem_new_noscan((size_t)8 << 20);
        REQUIRE(far[i] != NULL);
        memset(far[i], 'a' + (int)i, 1000);
    }
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) small[i] = gomem_malloc(8000);
    gomem_read_memstats(&before);
    REQUIRE(pthread_create(&thread, NULL, free_small, NULL) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    gomem_read_memstats(&after);
    CHECK(before.heap_inuse - after.heap_inuse > (size_t)24 << 20);
    for (int round = 0; round < 2; round++) {
        still_good();
        for (size_t i = 0; i < 3; i++)
            CHECK(gomem_base(far[i] + 5) == far[i] && far[i][999] == 'a' + (int)i);
    }
    gomem_free(gap[0]);
    gomem_free(gap[1]);
    still_good();
}

TEST(a_wide_heap) {
    NEEDS_SPARSE;
    in_each_collector(wide);
}

TEST_MAIN
