// options.guard_rate and GOMEM_DEBUG=guard: what is caught, and how the program's own actions for
// SIGSEGV go on. Each test is a child of its own, because a process has one rate from its start on.
#define _GNU_SOURCE
#include "alive.h"
#include "child.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <time.h>

enum { MANY = 200, SIZE = 48 };

static void start(int rate) {
    gomem_options o;
    memset(&o, 0, sizeof o);
    o.guard_rate = rate;
    CHECK(gomem_init(&o));
}

__attribute__((noinline)) static char *volatile_copy(char *volatile *p) { return *p; }

// A new object at the end of its pages, or at their start. Slots are used in turn.
static char *object_at(bool end) {
    for (int i = 0; i < MANY; i++) {
        char *volatile p = gomem_malloc(SIZE);
        if (((uintptr_t)volatile_copy(&p) % 4096 != 0) == end) return p;
    }
    CHECK(!"an object on that side");
    return NULL;
}

// ---- what is caught ----

static void overflow(void) {
    start(1);
    volatile char *p = object_at(true);
    p[SIZE - 1] = 1;
    p[SIZE] = 1;
}
static void overflow_read(void) {
    start(1);
    volatile char *p = object_at(true);
    CHECK(p[SIZE + 100]);
}
static void underflow(void) {
    start(1);
    volatile char *p = object_at(false);
    p[0] = 1;
    p[-1] = 1;
}
static void use_after_free(void) {
    start(1);
    char *volatile p = object_at(true);
    gomem_free(p);
    volatile_copy(&p)[7] = 1;
}
// Bytes that alignment leaves past the end of an object, and others of its page, are looked at by the free.
static void off_by_one(void) {
    start(1);
    volatile char *p = gomem_malloc(20);
    p[20] = 0;
    gomem_free((void *)(uintptr_t)p);
}
static void off_by_one_before(void) {
    start(1);
    volatile char *p = object_at(true);
    p[-1] = 0;
    gomem_free((void *)(uintptr_t)p);
}
static void off_by_one_moved(void) { // realloc frees it
    start(1);
    volatile char *p = gomem_malloc(20);
    p[20] = 0;
    gomem_free(gomem_realloc((void *)(uintptr_t)p, 100));
}
// A freed slot waits until all others were used.
static void use_long_after_free(void) {
    start(1);
    char *volatile p = gomem_malloc(SIZE);
    gomem_free(p);
    for (int i = 0; i < 255; i++) {
        char *volatile other = gomem_malloc(SIZE);
        memset(other, 1, SIZE);
        gomem_free(other);
    }
    volatile_copy(&p)[7] = 1;
}
static void double_free(void) {
    start(1);
    char *volatile p = object_at(true);
    gomem_free(p);
    gomem_free(volatile_copy(&p));
}
static void double_free_later(void) {
    start(1);
    char *volatile p = object_at(true);
    gomem_free(p);
    for (int i = 0; i < MANY; i++) gomem_free(gomem_malloc(SIZE));
    gomem_free(volatile_copy(&p));
}
static void interior(void) {
    start(1);
    char *volatile p = object_at(true);
    p = p + 16;
    gomem_free(volatile_copy(&p));
}
static void realloc_of_freed(void) {
    start(1);
    char *volatile p = object_at(true);
    gomem_free(p);
    CHECK(!gomem_realloc(volatile_copy(&p), 100));
}

static void expect(void (*fn)(void), const char *what, const char *place, bool freed) {
    struct child child;
    child_run(&child, fn);
    bool good = CHECK(WIFSIGNALED(child.status) && WTERMSIG(child.status) == SIGABRT);
    good &= CHECK(strstr(child.text, what) != NULL) & CHECK(strstr(child.text, place) != NULL);
    good &= CHECK(strstr(child.text, "gomem: allocated by thread") != NULL);
    good &= CHECK_EQ(strstr(child.text, "gomem: freed by thread") != NULL, freed);
    if (!good) printf("\n    the child said: %s", child.text);
}

TEST(overflows) {
    NEEDS_GUARDS;
    expect(overflow, "gomem: buffer overflow: ", ", 0 bytes past the end of a guarded 48-byte",
           false);
    expect(overflow_read, "gomem: buffer overflow: ", ", 100 bytes past the end of", false);
#if defined(__x86_64__)
    expect(overflow, "write of 0x", "guarded+0x", false);
    expect(overflow_read, "read of 0x", "guarded+0x", false);
#endif
}

TEST(underflow) {
    NEEDS_GUARDS;
    expect(underflow, "gomem: buffer underflow: ", ", 1 bytes before a guarded 48-byte", false);
}

TEST(writes_beside_an_object_are_found_by_its_free) {
    NEEDS_GUARDS;
    expect(off_by_one, "gomem: buffer overflow: found by the free, a write of 0x",
           ", 0 bytes past the end of a guarded 20-byte", true);
    expect(off_by_one_moved, "gomem: buffer overflow: found by the free, a write of 0x",
           ", 0 bytes past the end of a guarded 20-byte", true);
    expect(off_by_one_before, "gomem: buffer underflow: found by the free, a write of 0x",
           ", 1 bytes before a guarded 48-byte", true);
}

TEST(use_after_free) {
    NEEDS_GUARDS;
    expect(use_after_free, "gomem: use after free: ", ", 7 bytes into a guarded 48-byte", true);
    expect(use_long_after_free, "gomem: use after free: ", ", 7 bytes into a guarded 48-byte",
           true);
}

TEST(double_free_and_interior_pointers) {
    NEEDS_GUARDS;
    expect(double_free, "gomem: double free: ", "guarded 48-byte", true);
    expect(double_free_later, "gomem: double free: ", "guarded 48-byte", true);
    expect(realloc_of_freed, "gomem: double free: ", "guarded 48-byte", true);
    expect(interior, "gomem: free of an interior pointer: ", ", 16 bytes into a guarded", false);
}

// ---- a panic hook that returns ----

static volatile sig_atomic_t panics, after_free;
static void count_panic(const char *line, void *user) {
    (void)user;
    panics = panics + (strstr(line, "buffer overflow") != NULL);
    after_free = after_free + (strstr(line, "use after free") != NULL);
}
static void hook_returns(void) {
    gomem_options o;
    memset(&o, 0, sizeof o);
    o.guard_rate = 1;
    o.panic = count_panic;
    CHECK(gomem_init(&o));
    volatile char *p = object_at(true);
    p[SIZE] = 3; // goes on: the page is open from here on
    CHECK_EQ(panics, 1);
    CHECK_EQ(p[SIZE], 3);
    CHECK_EQ(panics, 1);
    gomem_free((void *)(uintptr_t)p);
}
TEST(a_panic_hook_returns) {
    NEEDS_GUARDS;
    CHILD_GOOD(hook_returns);
}

// ---- the program's own action ----

static volatile sig_atomic_t handled;
static volatile int on_alternate;
static char alternate[64 * 1024];
static char *volatile wall; // a page without access
static sigjmp_buf back;

static void mine(int signal, siginfo_t *info, void *context) {
    (void)context;
    char here;
    handled += signal == SIGSEGV && info->si_addr == (void *)wall;
    on_alternate = (uintptr_t)&here - (uintptr_t)alternate < sizeof alternate;
    siglongjmp(back, 1);
}

static void prepare(struct sigaction *action, int flags) {
    wall = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(action, 0, sizeof *action);
    action->sa_sigaction = mine;
    action->sa_flags = SA_SIGINFO | flags;
    stack_t stack;
    memset(&stack, 0, sizeof stack);
    stack.ss_sp = alternate;
    stack.ss_size = sizeof alternate;
    CHECK(sigaltstack(&stack, NULL) == 0);
}

static void touch_wall(int times) {
    for (volatile int i = 0; i < times; i++)
        if (!sigsetjmp(back, 1)) *wall = 1;
    CHECK_EQ(handled, times);
}

static void handler_before(void) {
    struct sigaction a;
    prepare(&a, SA_ONSTACK);
    CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
    start(1);
    gomem_free(object_at(true));
    touch_wall(3);
    CHECK(on_alternate);
}
static void handler_before_on_its_stack(void) {
    struct sigaction a;
    prepare(&a, 0);
    CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
    start(1);
    gomem_free(object_at(true));
    touch_wall(2);
    CHECK(!on_alternate);
}
static void handler_before_and_a_bug(void) {
    handler_before();
    volatile char *p = object_at(true);
    p[SIZE] = 1;
}
static void handler_after(void) { // replaces the library's
    struct sigaction a;
    start(1);
    gomem_free(object_at(true));
    prepare(&a, SA_ONSTACK);
    CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
    touch_wall(3);
}
static void handler_of_wrapper(void) { // as with GOMEM_THREADS
    struct sigaction a, old;
    start(1);
    prepare(&a, SA_ONSTACK);
    CHECK(gomem_i_sigaction(SIGSEGV, &a, &old) == 0);
    CHECK(old.sa_handler == SIG_DFL && !(old.sa_flags & SA_SIGINFO));
    CHECK(gomem_i_sigaction(SIGSEGV, NULL, &old) == 0);
    CHECK(old.sa_sigaction == mine);
    touch_wall(3);
    CHECK(on_alternate);
}
static void handler_of_wrapper_and_a_bug(void) {
    handler_of_wrapper();
    volatile char *p = object_at(true);
    p[SIZE] = 1;
}
static void handler_once(void) {
    struct sigaction a;
    prepare(&a, (int)SA_RESETHAND);
    CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
    start(1);
    touch_wall(1);
    *wall = 1; // by default
}
static void no_handler(void) {
    start(1);
    wall = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *wall = 1;
}
static void sent(void) {
    start(1);
    raise(SIGSEGV);
}
static void ignored(void) {
    signal(SIGSEGV, SIG_IGN);
    start(1);
    raise(SIGSEGV);
}
static void shut_down(void) {
    struct sigaction a, now;
    prepare(&a, SA_ONSTACK);
    CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
    start(1);
    gomem_free(object_at(true));
    gomem_shutdown();
    CHECK(sigaction(SIGSEGV, NULL, &now) == 0);
    CHECK(now.sa_sigaction == mine);
    touch_wall(1);
}

static void expect_signal(void (*fn)(void), int signal) {
    struct child child;
    child_run(&child, fn);
    CHECK(WIFSIGNALED(child.status));
    CHECK_EQ(WTERMSIG(child.status), signal);
    CHECK_EQ(child_lines(&child), 0);
}

TEST(the_program_s_action_is_called) {
    NEEDS_GUARDS;
    CHILD_GOOD(handler_before);
    CHILD_GOOD(handler_before_on_its_stack);
    CHILD_GOOD(handler_after);
    CHILD_GOOD(handler_of_wrapper);
    CHILD_GOOD(shut_down);
    expect(handler_before_and_a_bug, "buffer overflow", "past the end", false);
    expect(handler_of_wrapper_and_a_bug, "buffer overflow", "past the end", false);
}

TEST(faults_of_others_end_the_process_as_without_guards) {
    NEEDS_GUARDS;
    expect_signal(no_handler, SIGSEGV);
    expect_signal(handler_once, SIGSEGV);
    expect_signal(sent, SIGSEGV);
    CHILD_GOOD(ignored);
}

// ---- correct programs ----

static unsigned draw(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (unsigned)(*state >> 20);
}

static bool holds(const unsigned char *p, size_t n, unsigned char value) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != value) return false;
    return true;
}

// Allocates in all ways, resizes and frees at random; checks contents and alignment.
static void *work(void *arg) {
    enum { LIVE = 100 };
    static const size_t aligns[] = {8, 16, 64, 256, 4096, 8192};
    unsigned char *p[LIVE] = {0};
    size_t size[LIVE] = {0};
    uint64_t state = (uintptr_t)arg * 77 + 1;
    for (unsigned i = 0; i < 4000; i++) {
        unsigned n = draw(&state) % LIVE, how = draw(&state) % 4;
        size_t bytes = draw(&state) % (draw(&state) % 8 ? 300 : 40000),
               align = aligns[draw(&state) % 6];
        if (p[n] && !CHECK(holds(p[n], size[n], (unsigned char)n))) break;
        if (how == 0) {
            unsigned char *to = gomem_realloc(p[n], bytes);
            if (!CHECK(to != NULL) ||
                !CHECK(!p[n] || holds(to, size[n] < bytes ? size[n] : bytes, (unsigned char)n)))
                break;
            p[n] = to;
        } else {
            gomem_free(p[n]);
            p[n] = how == 1   ? gomem_calloc(1, bytes)
                   : how == 2 ? gomem_aligned_alloc(align, bytes)
                              : gomem_malloc(bytes);
            if (how == 1) CHECK(holds(p[n], bytes, 0));
            if (how == 2) CHECK_EQ((uintptr_t)p[n] % align, 0);
        }
        if (!CHECK(p[n] != NULL) || !CHECK(gomem_usable_size(p[n]) >= bytes)) break;
        if (bytes) CHECK(gomem_base(p[n] + bytes - 1) == p[n]);
        size[n] = bytes;
        memset(p[n], (int)n, bytes);
    }
    for (unsigned i = 0; i < LIVE; i++) gomem_free(p[i]);
    return NULL;
}

static void with_threads(void) {
    pthread_t thread[4];
    for (uintptr_t i = 0; i < 4; i++)
        REQUIRE(pthread_create(&thread[i], NULL, work, (void *)(i + 1)) == 0);
    (void)work((void *)9);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    CHECK(HEAP_IS_WHOLE());
}
static void correct_all(void) {
    start(1);
    with_threads();
}
static void correct_tenth(void) {
    start(10);
    with_threads();
}
static void correct_profiled(void) {
    start(3);
    gomem_set_profile_rate(1000);
    with_threads();
}
static void correct_later(void) { // turned on while the heap is in use
    void *p = gomem_malloc(100);
    with_threads();
    start(2);
    with_threads();
    gomem_free(p);
}
static void correct_again(void) { // after a shutdown
    for (int i = 0; i < 3; i++) {
        start(1);
        char *p = object_at(true);
        memset(p, 1, SIZE);
        with_threads();
        gomem_shutdown();
        gomem_free(p);
    }
}

TEST(correct_programs) {
    NEEDS_GUARDS;
    CHILD_GOOD(correct_all);
    CHILD_GOOD(correct_tenth);
    CHILD_GOOD(correct_profiled);
    CHILD_GOOD(correct_later);
    CHILD_GOOD(correct_again);
}

static void forked(void) {
    start(1);
    char *p = object_at(true);
    memset(p, 5, SIZE);
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        bool good = p[SIZE - 1] == 5;
        gomem_free(p);
        (void)work((void *)3);
        _exit(good && !test_failed() ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    CHECK_EQ(p[SIZE - 1], 5);
    gomem_free(p);
}
TEST(a_forked_child_keeps_its_objects) {
    NEEDS_GUARDS;
    NEEDS_FORK;
    CHILD_GOOD(forked);
}

// ---- roots ----

// What is registered lies in an object that is freed: each cycle skips it, and one reports it.
static char *volatile registered;
static void freed_range(void) {
    start(1);
    registered = object_at(true);
    CHECK(gomem_add_root(registered, SIZE));
    if (!gomem_new(64)) return;
    CHECK(COLLECTED());
    gomem_free(registered);
    gomem_gc();
}
static void freed_stack(void) {
    enum { STACK = 16 * 1024 };
    start(1);
    registered = gomem_malloc(STACK);
    CHECK(gomem_usable_size(registered) == STACK);
    CHECK(gomem_add_stack(registered, registered + STACK));
    if (!gomem_new(64)) return;
    CHECK(COLLECTED());
    gomem_free(registered);
    gomem_gc();
}
static void freed_and_removed(void) { // in time
    start(1);
    registered = object_at(true);
    CHECK(gomem_add_root(registered, SIZE));
    gomem_free(registered);
    CHECK(gomem_remove_root(registered));
    CHECK(COLLECTED());
}
static void freed_range_and_a_hook(void) { // reported once
    gomem_options o;
    memset(&o, 0, sizeof o);
    o.panic = count_panic;
    CHECK(gomem_init(&o));
    freed_range();
    CHECK_EQ(after_free, 1);
    CHECK(COLLECTED());
    CHECK_EQ(after_free, 1);
    CHECK(!gomem_remove_root(registered));
}
static void freed_slot(void) { // the stack is scanned whole from then on
    enum { STACK = 64 * 1024 };
    char *stack = gomem_malloc(STACK), **slot;
    memset(stack, 0, STACK);
    start(1);
    slot = gomem_malloc(sizeof *slot);
    CHECK(gomem_usable_size(slot) == sizeof *slot);
    *slot = stack + STACK;
    CHECK(gomem_add_stack(stack, stack + STACK));
    gomem_stack_saved_at(stack, slot);
    CHECK(COLLECTED());
    gomem_free(slot);
    CHECK(COLLECTED() && COLLECTED());
    CHECK(gomem_remove_stack(stack));
}

TEST(roots_in_freed_objects) {
    NEEDS_GUARDS;
    if (!GOMEM_I_COLLECTOR) SKIP("there is no collector");
    expect(freed_range, "gomem: use after free: read of the root at 0x",
           ", 0 bytes into a guarded 48-byte", true);
    expect(freed_stack, "gomem: use after free: read of the root at 0x",
           ", 0 bytes into a guarded 16384-byte", true);
    CHILD_GOOD(freed_and_removed);
    CHILD_GOOD(freed_range_and_a_hook);
    CHILD_GOOD(freed_slot);
}

// A stop waits for a free that is under way, also that of a thread in a blocking region: the search
// for leaks reads guarded objects.
static volatile int searched;
static void *frees(void *arg) {
    enum { LIVE = 10, LARGE = 32000 }; // takes the search some microseconds
    void *p[LIVE] = {0};
    gomem_blocking_begin();
    for (unsigned i = 0; !searched; i++) {
        gomem_free(p[i % LIVE]);
        p[i % LIVE] = gomem_calloc(1, LARGE);
    }
    for (unsigned i = 0; i < LIVE; i++) gomem_free(p[i]);
    gomem_blocking_end();
    return arg;
}
static void search(void) {
    pthread_t thread;
    int fd = memfd_create("leaks", MFD_CLOEXEC);
    start(1);
    REQUIRE(gomem_thread_create(&thread, NULL, frees, NULL) == 0);
    for (int i = 0; i < 300; i++) (void)gomem_write(GOMEM_LEAKS, fd);
    searched = 1;
    REQUIRE(gomem_thread_join(&thread, NULL) == 0);
}
TEST(frees_beside_a_search) {
    NEEDS_GUARDS;
    CHILD_GOOD(search);
}

// ---- slots ----

// The usable size of a guarded object is what was requested; an ordinary one has a class.
static bool guarded(const void *p) { return gomem_usable_size(p) == 20; }

static void slots_run_out(void) {
    enum { OBJECTS = 1000 };
    static char *p[OBJECTS];
    unsigned n = 0;
    start(1);
    for (int i = 0; i < OBJECTS; i++) {
        p[i] = gomem_malloc(20);
        memset(p[i], 1, 20);
        n += guarded(p[i]);
    }
    CHECK_EQ(n, 256);
    for (int i = 0; i < OBJECTS; i++) gomem_free(p[i]);
    for (int i = 0; i < OBJECTS; i++) n += guarded(p[i] = gomem_malloc(20));
    CHECK_EQ(n, 512);
    for (int i = 0; i < OBJECTS; i++) gomem_free(p[i]);
}

static void rate(void) {
    enum { OBJECTS = 200000 };
    unsigned n = 0;
    start(100);
    for (int i = 0; i < OBJECTS; i++) {
        void *p = gomem_malloc(20);
        n += guarded(p);
        gomem_free(p);
    }
    CHECK(n > 1700 && n < 2300); // the mean is 2000, the standard deviation 45
}

// One of 500 objects or fewer: after the first 32, one each 4 ms.
static void pace(void) {
    enum { OBJECTS = 2000000 };
    struct timespec from, to;
    unsigned n = 0;
    start(500);
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < OBJECTS; i++) {
        void *p = gomem_malloc(20);
        n += guarded(p);
        gomem_free(p);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    long ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
    CHECK(n >= 30 && n <= 34 + ms / 4); // without a pace 4000, in some 100 ms
}

// Turned on, off and on again: what is guarded stays so until it is freed.
static void switched(void) {
    char *p[100];
    unsigned n = 0;
    start(1);
    p[0] = gomem_malloc(20);
    CHECK(guarded(p[0]));
    start(-1);
    for (int i = 1; i < 100; i++) n += guarded(p[i] = gomem_malloc(20));
    CHECK_EQ(n, 0);
    CHECK(guarded(p[0]));
    for (int i = 0; i < 100; i++) gomem_free(p[i]);
    start(1);
    p[0] = gomem_malloc(20);
    CHECK(guarded(p[0]));
    start(-1);
    gomem_free(p[0]);
    CHECK(HEAP_IS_WHOLE());
}
static void off_from_the_start(void) { // the program's option wins
    setenv("GOMEM_DEBUG", "guard=1/1", 1);
    start(-1);
    CHECK(!guarded(gomem_malloc(20)));
}

TEST(slots) {
    NEEDS_GUARDS;
    CHILD_GOOD(slots_run_out);
    CHILD_GOOD(rate);
    CHILD_GOOD(pace);
}

TEST(turned_off) {
    NEEDS_GUARDS;
    CHILD_GOOD(switched);
    CHILD_GOOD(off_from_the_start);
}

// ---- what others see ----

static void counted(void) {
    gomem_memstats a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    a.size = b.size = sizeof a;
    start(1);
    gomem_read_memstats(&a);
    void *p[50];
    for (int i = 0; i < 50; i++) p[i] = gomem_malloc(1000);
    gomem_read_memstats(&b);
    CHECK(b.mallocs - a.mallocs >= 50 && b.alloc - a.alloc >= 50 * 1000u);
    for (int i = 0; i < 50; i++) gomem_free(p[i]);
    CHECK(HEAP_IS_WHOLE());
}

TEST(memstats_count_guarded_objects) {
    NEEDS_GUARDS;
    CHILD_GOOD(counted);
}

// Objects that only guarded objects hold are no leaks; a guarded object can be one.
static void *volatile *head;
ALIVE_NOINLINE static void link_objects(void) {
    for (int i = 0; i < 20; i++) {
        void *volatile *next = gomem_malloc(64);
        *next = (void *)(uintptr_t)head;
        head = next;
    }
}
static void leaked(void) {
    char text[4096] = "";
    int fd = memfd_create("leaks", MFD_CLOEXEC);
    start(1);
    link_objects();
    alive_clear_stack();
    if (!gomem_write(GOMEM_LEAKS, fd)) return; // no collector
    CHECK(pread(fd, text, sizeof text - 1, 0) > 0);
    if (!CHECK(strstr(text, "no leaks") != NULL)) printf("\n%s", text);
    head = NULL;
    alive_clear_stack();
    CHECK(ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
    CHECK(gomem_write(GOMEM_LEAKS, fd));
    CHECK(pread(fd, text, sizeof text - 1, 0) > 0);
    if (!CHECK(strstr(text, "of 64 bytes each") != NULL)) printf("\n%s", text);
}
TEST(leaks) {
    NEEDS_GUARDS;
    CHILD_GOOD(leaked);
}

static void refused(void) {
    gomem_options o;
    memset(&o, 0, sizeof o);
    o.guard_rate = -2;
    errno = 0;
    CHECK(!gomem_init(&o) && errno == EINVAL);
    o.guard_rate = 1000001;
    CHECK(!gomem_init(&o) && errno == EINVAL);
}
static void environment(void) {
    setenv("GOMEM_DEBUG", "guard=1/1", 1);
    CHECK(guarded(gomem_malloc(20)));
}
static void environment_off(void) {
    setenv("GOMEM_DEBUG", "guard=0", 1);
    CHECK(!guarded(gomem_malloc(20)));
}
static void environment_bad(void) {
    setenv("GOMEM_DEBUG", "guard=1/0,guard=2/3,guard=1/,guard=1/1000001,guard=x", 1);
    CHECK(!guarded(gomem_malloc(20)));
}
TEST(settings) {
    NEEDS_GUARDS;
    struct child child;
    CHILD_GOOD(refused);
    CHILD_GOOD(environment);
    CHILD_GOOD(environment_off);
    child_run(&child, environment_bad);
    CHECK_EQ(child.status, 0);
    CHECK_EQ(child_lines(&child), 5);
    CHECK(strstr(child.text, "guard=0|1/N") != NULL);
}

TEST_MAIN
