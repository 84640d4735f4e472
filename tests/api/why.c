// gomem_why: each kind of root, each kind of object on the path, what has no path; and it changes
// nothing.
#define _GNU_SOURCE
#include "alive.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

// Without optimisation each function keeps its arguments in its frame, gomem_why too.
#if defined __OPTIMIZE__
enum { FRAMES_KNOW = 0 };
#else
enum { FRAMES_KNOW = 1 };
#endif

// ---- asking ----

static char said[64 * 1024];

// What gomem_why writes goes to `said`.
ALIVE_NOINLINE static bool why(uintptr_t hidden) {
    FILE *file = tmpfile();
    volatile uintptr_t still_hidden = hidden;
    said[0] = '\0';
    if (!CHECK(file != NULL)) return false;
    int fd = fileno(file); // before the pointer is shown: nothing keeps it across a call
    bool known = gomem_why((void *)~still_hidden, fd);
    rewind(file);
    said[fread(said, 1, sizeof said - 1, file)] = '\0';
    fclose(file);
    return known;
}

static size_t lines(void) {
    size_t n = 0;
    for (const char *s = said; *s != '\0'; s++) n += *s == '\n';
    return n;
}

static bool says(const char *words) {
    if (CHECK(strstr(said, words) != NULL)) return true;
    printf("\n    it does not say '%s' but:\n%s", words, said);
    return false;
}

static bool never_says(const char *words) { return CHECK(strstr(said, words) == NULL); }

static bool says_pointer(const char *before, const volatile void *p) {
    char text[200];
    snprintf(text, sizeof text, "%s0x%jx", before, (uintmax_t)(uintptr_t)p);
    return says(text);
}

static struct alive_set set;

// Object number n of the chain whose first object hangs on `root`.
static void check_chain(size_t n, const char *root, const volatile void *word) {
    if (!CHECK(why(set.hidden[n]))) printf("\n%s", said);
    says(root);
    if (word != NULL) says_pointer("word at ", word);
    CHECK_EQ(lines(), n + 2);
    for (size_t i = 0; i <= n && i < 3; i++) says_pointer("why: ", (void *)~set.hidden[i]);
    if (n > 0) says("offset 0 points at the next");
}

// ---- roots ----

static volatile uintptr_t in_bss;
static _Thread_local volatile uintptr_t in_tls;

TEST(global) {
    REQUIRE(alive_chain(&set));
    alive_put(&in_bss, set.hidden[0], 0);
    alive_clear_stack();
    check_chain(0, "kept by a global of ", &in_bss);
    says("the program + 0x");
    check_chain(5, "kept by a global of ", &in_bss);
    in_bss = 0;
}

TEST(thread_local_storage) {
    char text[80];
    snprintf(text, sizeof text, "kept by thread-local storage of thread %d, which asks",
             (int)gettid());
    REQUIRE(alive_chain(&set));
    alive_put(&in_tls, set.hidden[0], 0);
    alive_clear_stack();
    check_chain(3, text, &in_tls);
    in_tls = 0;
}

TEST(registered_range) {
    volatile uintptr_t *range = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE((void *)(uintptr_t)range != MAP_FAILED);
    REQUIRE(gomem_add_root((void *)(uintptr_t)range, 8192));
    REQUIRE(alive_chain(&set));
    alive_put(&range[700], set.hidden[0], 8);
    alive_clear_stack();
    check_chain(2, "kept by the registered range at ", &range[700]);
    says_pointer("range at ", range);
    CHECK(gomem_remove_root((void *)(uintptr_t)range));
    munmap((void *)(uintptr_t)range, 8192);
}

TEST(uncollectable_object) {
    volatile uintptr_t *object = gomem_new_with(100, 0, GOMEM_UNCOLLECTABLE);
    REQUIRE(object != NULL && alive_chain(&set));
    alive_put(&object[4], set.hidden[0], 0);
    alive_clear_stack();
    REQUIRE(why(set.hidden[1]));
    says("kept by an uncollectable object");
    says_pointer("why: ", object);
    says(GOMEM_I_POISONED ? "100-byte uncollectable object" : "112-byte uncollectable object");
    says("offset 32 points at the next");
    CHECK_EQ(lines(), 4);
    REQUIRE(why(alive_hide((void *)(uintptr_t)object)));
    CHECK_EQ(lines(), 2);
    gomem_free((void *)(uintptr_t)object);
}

TEST(parked_stack) {
    enum { STACK = 65536 };
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE((void *)stack != MAP_FAILED && gomem_add_stack(stack, stack + STACK));
    REQUIRE(alive_chain(&set));
    volatile uintptr_t *word = (uintptr_t *)(void *)(stack + 50000);
    alive_put(word, set.hidden[0], 0);
    alive_clear_stack();
    gomem_stack_parked(stack, stack + 40000);
    check_chain(1, "kept by the registered stack at ", word);
    says_pointer("stack at ", stack);
    CHECK(gomem_remove_stack(stack));
    munmap(stack, STACK);
}

// ---- of other threads, and of the one that asks ----

static atomic_int state;
static atomic_int host_id;
static bool host_region;
static volatile uintptr_t *host_word;

ALIVE_NOINLINE static void hold_here(void) {
    volatile uintptr_t local[4] = {0, 0, 0, 0};
    host_word = &local[2];
    alive_put(&local[2], set.hidden[0], 0);
    alive_clear_stack();
    if (host_region) gomem_blocking_begin();
    atomic_store(&state, 1);
    while (atomic_load(&state) == 1) usleep(100);
    if (host_region) gomem_blocking_end();
    local[2] = 0;
}

static void *host(void *arg) {
    gomem_thread_attach();
    atomic_store(&host_id, (int)gettid());
    hold_here();
    return arg;
}

static void check_host(bool in_region) {
    pthread_t thread;
    char text[80];
    host_region = in_region;
    REQUIRE(alive_chain(&set));
    atomic_store(&state, 0);
    REQUIRE(pthread_create(&thread, NULL, host, NULL) == 0);
    while (atomic_load(&state) == 0) usleep(100);
    alive_clear_stack();
    snprintf(text, sizeof text, "kept by the stack of thread %d, word at 0x%jx",
             atomic_load(&host_id), (uintmax_t)(uintptr_t)host_word);
    check_chain(4, text, host_word);
    atomic_store(&state, 2);
    pthread_join(thread, NULL);
}

TEST(stack_of_another_thread) { check_host(false); }

TEST(stack_in_a_region) { check_host(true); }

// Also where the path from this thread's stack is the shorter one.
ALIVE_NOINLINE static void hold_here_too(void) {
    char text[80];
    volatile uintptr_t local[3] = {0, 0, 0};
    REQUIRE(alive_chain(&set));
    alive_put(&in_bss, set.hidden[0], 0);
    alive_put(&local[1], set.hidden[6], 0);
    alive_clear_stack();
    check_chain(6, "kept by a global of ", &in_bss);
    in_bss = 0;
    alive_clear_stack();
    snprintf(text, sizeof text, "kept by the stack of thread %d, which asks", (int)gettid());
    REQUIRE(why(set.hidden[7]));
    says(text);
    if (!FRAMES_KNOW) says_pointer("word at ", &local[1]);
    CHECK_EQ(lines(), FRAMES_KNOW ? 2 : 3);
    local[1] = 0;
}

TEST(own_stack_comes_last) { hold_here_too(); }

// ---- an object file's name ----

TEST(library) {
    char dir[] = "/tmp/gomem-why-XXXXXX", source[64], object[64], command[256];
    const char *cc = getenv("CC");
    if (mkdtemp(dir) == NULL) SKIP("no folder for a library in /tmp");
    snprintf(source, sizeof source, "%s/kept.c", dir);
    snprintf(object, sizeof object, "%s/kept.so", dir);
    FILE *file = fopen(source, "w");
    REQUIRE(file != NULL);
    fputs("unsigned long word;\n", file);
    fclose(file);
    snprintf(command, sizeof command, "%s -shared -fPIC -o %s %s >/dev/null 2>&1",
             cc != NULL && cc[0] != '\0' ? cc : "cc", object, source);
    void *library = system(command) == 0 ? dlopen(object, RTLD_NOW) : NULL;
    unlink(source);
    unlink(object);
    rmdir(dir);
    if (library == NULL) SKIP("no library can be built or opened");
    volatile uintptr_t *word = dlsym(library, "word");
    REQUIRE(word != NULL && alive_chain(&set));
    alive_put(word, set.hidden[0], 0);
    alive_clear_stack();
    check_chain(1, object, word);
    *word = 0;
    dlclose(library);
}

// ---- objects on the path ----

struct pair {
    uintptr_t number;
    void *left, *right;
};
GOMEM_TYPE(pair_type, struct pair, left, right);

struct tagged {
    uintptr_t word; // a pointer with its bits turned
    void *plain;
};

static void mark_tagged(const void *obj, size_t size, gomem_marker *m) {
    const struct tagged *t = obj;
    (void)size;
    gomem_mark(m, t->plain);
    gomem_mark(m, (void *)~t->word);
}
GOMEM_TYPE_MARK(tagged_type, struct tagged, mark_tagged);

static void *volatile kept;

ALIVE_NOINLINE static void make_path(uintptr_t hidden[4]) {
    ALIVE_DEEP;
    struct pair *pairs = GOMEM_MAKE_TYPED(struct pair, &pair_type, 5);
    struct tagged *tagged = GOMEM_NEW_TYPED(struct tagged, &tagged_type);
    void **large = GOMEM_MAKE(void *, 50000);
    char *text = gomem_new_string("text", SIZE_MAX);
    if (!CHECK(pairs != NULL && tagged != NULL && large != NULL && text != NULL)) return;
    kept = pairs;
    GOMEM_STORE(&pairs[3].right, (void *)tagged);
    pairs[3].number = alive_hide(text); // no pointer
    tagged->word = alive_hide(large);
    GOMEM_STORE(&large[40000], (void *)(text + 2));
    hidden[0] = alive_hide(pairs);
    hidden[1] = alive_hide(tagged);
    hidden[2] = alive_hide(large);
    hidden[3] = alive_hide(text);
    gap[0] = 1;
}

// A step is one line, whatever the name of its type.
TEST(hostile_names_of_types) {
    static gomem_type type = {"a\n<b>\x1b\xff", 64, 8, NULL, 0, NULL, 0};
    kept = gomem_new_typed(&type, 64);
    REQUIRE(kept && why(alive_hide(kept)));
    CHECK_EQ(lines(), 2);
    says("of type a?<b>??\n");
    kept = NULL;
}

TEST(typed_large_and_by_procedure) {
    static uintptr_t hidden[4];
    char text[80];
    make_path(hidden);
    alive_clear_stack();
    REQUIRE(why(hidden[3]));
    CHECK_EQ(lines(), 5);
    says("typed object");
    says("of type struct pair");
    snprintf(text, sizeof text, "offset %zu points", 3 * sizeof(struct pair) + 2 * sizeof(void *));
    says(text);
    says("of type struct tagged");
    says("mark procedure names the next");
    says("(large)");
    says("offset 320000 points");
    says("noscan object");
    says_pointer("why: ", (void *)~hidden[3]);
    kept = NULL;
}

TEST(interior_and_tagged_pointers) {
    REQUIRE(alive_chain(&set));
    alive_put(&in_bss, set.hidden[0], 0);
    alive_clear_stack();
    REQUIRE(why(~(~set.hidden[2] + 13)));
    says_pointer("why: ", (void *)~set.hidden[2]);
    CHECK_EQ(lines(), 4);
    in_bss = 0;
}

struct link {
    uintptr_t index;
    struct link *next;
};

// Of a long path both ends are told.
TEST(long_path) {
    enum { N = 200000 };
    struct link *volatile first = NULL;
    uintptr_t last = 0;
    for (uintptr_t i = 0; i < N; i++) {
        struct link *link = GOMEM_NEW(struct link);
        REQUIRE(link != NULL);
        if (i == 0) last = alive_hide(link);
        link->index = i;
        GOMEM_STORE(&link->next, first);
        first = link;
    }
    kept = first;
    first = NULL;
    alive_clear_stack();
    REQUIRE(why(last));
    CHECK_EQ(lines(), 66);
    says("and 199936 objects between");
    says("offset 8 points at the next");
    says_pointer("why: ", kept);
    says_pointer("why: ", (void *)~last);
    kept = NULL;
}

TEST(shortest_path) {
    REQUIRE(alive_chain(&set));
    void **table = GOMEM_MAKE(void *, 10);
    REQUIRE(table != NULL);
    GOMEM_STORE(&table[0], alive_show(set.hidden[0]));
    GOMEM_STORE(&table[9], alive_show(set.hidden[100]));
    kept = table;
    table = NULL;
    alive_clear_stack();
    REQUIRE(why(set.hidden[101]));
    CHECK_EQ(lines(), 4);
    says("offset 72 points at the next");
    kept = NULL;
}

// ---- none ----

static int global_number;

TEST(no_object) {
    int local = 0;
    void *manual = gomem_malloc(100), *freed = gomem_new(5000);
    uintptr_t hidden = alive_hide(freed);
    gomem_free(freed);
    const void *const others[] = {NULL, &local, &global_number, "constant", manual, (void *)-1};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        CHECK(!why(alive_hide(others[i])));
        CHECK_EQ(lines(), 1);
        says("no live object of the collector");
    }
    CHECK(!why(alive_hide(manual)));
    says("manual object");
    gomem_free(manual);
    CHECK(!why(hidden));
    says("that is no live object");
    CHECK_EQ(lines(), 1);
}

TEST(garbage) {
    int unreached = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        REQUIRE(alive_chain(&set));
        alive_clear_stack();
        bool known = why(set.hidden[100]);
        CHECK(lines() > 0);
        if (known) continue; // a word left somewhere
        unreached++;
        CHECK_EQ(lines(), 1);
        says("no root reaches it");
    }
    CHECK(FRAMES_KNOW || unreached >= ALIVE_ROUNDS / 2);
}

// ---- what it does not change ----

TEST(changes_nothing) {
    static struct alive_set garbage;
    int died = 0;
    for (int round = 0; round < ALIVE_ROUNDS; round++) {
        REQUIRE(alive_chain(&set) && alive_chain(&garbage));
        alive_put(&in_bss, set.hidden[0], 0);
        if (round % 2 == 0) alive_gc(); // then spans wait to be swept
        for (size_t i = 0; i < ALIVE_N; i += 40) CHECK(why(set.hidden[i]));
        CHECK(HEAP_IS_WHOLE());
        CHECK_EQ(alive_count(&set), ALIVE_N);
        alive_gc();
        CHECK_EQ(alive_count(&set), ALIVE_N);
        died += alive_count(&garbage) <= ALIVE_FEW;
        in_bss = 0;
    }
    CHECK(died >= ALIVE_ROUNDS / 2);
}

TEST(bad_descriptor) {
    REQUIRE(alive_chain(&set));
    alive_put(&in_bss, set.hidden[0], 0);
    CHECK(gomem_why(alive_show(set.hidden[3]), -1)); // known, though nobody hears it
    CHECK(!gomem_why(NULL, -1));
    in_bss = 0;
}

static atomic_bool stop;

static void *churn(void *arg) {
    void *last[32] = {NULL};
    for (size_t i = 0; !atomic_load(&stop); i++) {
        CHECK((last[i % 32] = gomem_new(i % 900)) != NULL);
        gomem_free(gomem_malloc(i % 700));
        if (i % 5000 == 0) gomem_gc();
    }
    return arg;
}

TEST(while_others_work) {
    pthread_t threads[3];
    atomic_store(&stop, false);
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, churn, NULL) == 0);
    REQUIRE(alive_chain(&set));
    alive_put(&in_bss, set.hidden[0], 0);
    alive_clear_stack();
    for (size_t i = 0; i < 60; i++) { // what the others' runs end at may be one of these
        CHECK(why(set.hidden[i]));
        CHECK(lines() >= 2 && lines() <= i + 2);
        says("gomem: why: kept by ");
    }
    in_bss = 0;
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    never_says("record is damaged");
    CHECK(HEAP_IS_WHOLE());
}

static int asked;

static void ask(int what, uint64_t ns, void *user) {
    (void)ns, (void)user;
    if (what != GOMEM_EVENT_END || asked++ > 0) return;
    CHECK(!why(set.hidden[0]));
    says("ask after it");
}

TEST(in_a_callback) {
    gomem_options options = {.event = ask};
    REQUIRE(gomem_init(&options));
    REQUIRE(alive_chain(&set));
    alive_put(&in_bss, set.hidden[0], 0);
    gomem_gc();
    CHECK(asked > 0);
    check_chain(1, "kept by a global of ", &in_bss);
    in_bss = 0;
}

TEST_MAIN
