// Room paths: what a root is called, both ends of a path, freed slots in caches, no memory.
#include <stdbool.h>
#include <sys/mman.h>

static bool refuse; // address space
static void *sometimes_mmap(void *at, size_t size, int prot, int flags, int fd, long offset) {
    return refuse ? MAP_FAILED : mmap(at, size, prot, flags, fd, offset);
}
#define GOMEM_MMAP(at, size, prot, flags, fd, offset) \
    sometimes_mmap((at), (size), (prot), (flags), (fd), (long)(offset))
#include "room.h"

#include <pthread.h>

static struct gm_runtime *const rt = &gm_runtime;

struct link {
    uintptr_t number;
    struct link *next;
};
static struct link *first;
static struct gm_path path;

// A search from this thread, as gomem_why makes one.
static bool search(const void *object) {
    static struct gm_question question;
    memset(&question, 0, sizeof question);
    question.hidden = ~(uintptr_t)object;
    bool done = CHECK(gm_schedule_look(rt, gm_world_self(), gm_report_search, &question));
    path = question.path;
    return done;
}

static bool make_list(size_t n) {
    first = NULL;
    for (size_t i = n; i-- > 0;) {
        struct link *link = GOMEM_NEW(struct link);
        if (!CHECK(link != NULL)) return false;
        link->number = i;
        link->next = first;
        first = link;
    }
    return true;
}

static uintptr_t nth(size_t n) {
    const struct link *link = first;
    while (n-- > 0) link = link->next;
    return (uintptr_t)link;
}

TEST(both_ends_of_a_path) {
    enum { MOST = 2 * GM_PATH_ENDS };
    for (size_t n = 1; n < 3 * MOST; n += n < MOST - 3 || n > MOST + 3 ? 7 : 1) {
        REQUIRE(make_list(n));
        REQUIRE(search((void *)nth(n - 1)));
        REQUIRE(path.live && path.length == n && path.source == GM_SOURCE_GLOBAL);
        CHECK_EQ(path.word, (uintptr_t)&first);
        size_t shown = n < MOST ? n : MOST;
        for (size_t i = 0; i < shown; i++) {
            size_t at = n <= MOST || i < GM_PATH_ENDS ? i : n - MOST + i;
            CHECK_EQ(path.step[i].object, nth(at));
            if (i + 1 < shown) CHECK_EQ(path.step[i].offset, offsetof(struct link, next));
        }
        struct gm_text t;
        size_t lines = 0;
        while (gm_paths_line(rt, &path, lines, &t)) lines++;
        CHECK_EQ(lines, shown + 1 + (n > MOST));
    }
    first = NULL;
}

// A search leaves no mark, no color, no generation behind.
TEST(leaves_nothing) {
    REQUIRE(make_list(1000));
    uint32_t generation = rt->engine.sweep.generation;
    for (int i = 0; i < 3; i++) {
        const struct gm_color *c = gm_span_color(&rt->engine.heap.pages, nth(500));
        struct gm_color before = *c;
        REQUIRE(search((void *)nth(999)));
        CHECK(memcmp(&before, c, sizeof before) == 0);
        CHECK_EQ(rt->engine.sweep.generation, generation);
        CHECK(HEAP_IS_WHOLE());
    }
    first = NULL;
}

static _Thread_local uintptr_t own_word;

TEST(what_an_address_is_to_a_thread) {
    static struct gm_thread t;
    uintptr_t frame[400] = {0}, here = (uintptr_t)&frame[100];
    REQUIRE(gomem_new(16) != NULL);
    gm_world_lock_cycle(rt);
    gm_roots_scan_loader(rt);
    gm_world_unlock_cycle(rt);
    t = *gm_world_self();
    t.in_handler = false;
    CHECK_EQ(gm_paths_of_thread(rt, &t, (uintptr_t)&t.registers.word[3]), GM_SOURCE_REGISTER);
    CHECK_EQ(gm_paths_of_thread(rt, &t, (uintptr_t)&t.frame[3]), GM_SOURCE_STACK);
    CHECK_EQ(gm_paths_of_thread(rt, &t, here), GM_SOURCE_STACK);
    CHECK_EQ(gm_paths_of_thread(rt, &t, (uintptr_t)&own_word), GM_SOURCE_TLS);
    CHECK_EQ(gm_paths_of_thread(rt, &t, (uintptr_t)&first), GM_SOURCE_OTHER);
    t.in_handler = true; // interrupted above, its frame here
    t.registers.sp = here - 64;
    t.at.sp = here + 1000;
    t.at.alt_lo = (uintptr_t)&first;
    t.at.alt_size = sizeof first;
    CHECK_EQ(gm_paths_of_thread(rt, &t, here), GM_SOURCE_REGISTER);
    CHECK_EQ(gm_paths_of_thread(rt, &t, here + 1000), GM_SOURCE_STACK);
    CHECK_EQ(gm_paths_of_thread(rt, &t, (uintptr_t)&first), GM_SOURCE_STACK);
    memset(&t, 0, sizeof t); // its runs point at objects to come
}

TEST(no_memory) {
    REQUIRE(make_list(3));
    void *last = (void *)nth(2);
    REQUIRE(search(last) && path.length == 3);
    refuse = true;
    CHECK(!gomem_why(last, -1));
    REQUIRE(search(last));
    refuse = false;
    CHECK(path.full && path.live && path.length == 0);
    REQUIRE(search(last) && path.length == 3);
    first = NULL;
}

// ---- freed manual slots ----

enum { N = 1000, SIZE = 64 };
static void *slots[N];

static void *free_there(void *arg) {
    for (size_t i = 0; i < N / 2; i++) gomem_free(slots[i]);
    return arg;
}

static size_t cached(size_t from, size_t to) {
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        n += gm_paths_cached(rt, gomem_i_class(SIZE, 16), (uintptr_t)slots[i]);
    return n;
}

// Free in a magazine, in the previous one, in the depot, or back in their span: none is a holder.
TEST(freed_slots_are_in_caches) {
    pthread_t thread;
    for (size_t i = 0; i < N; i++) REQUIRE((slots[i] = gomem_malloc(SIZE)) != NULL);
    CHECK_EQ(cached(0, N), 0);
    for (size_t i = N / 2; i < N; i++) gomem_free(slots[i]);
    REQUIRE(pthread_create(&thread, NULL, free_there, NULL) == 0);
    pthread_join(thread, NULL);
    CHECK(cached(0, N / 2) > 0 && cached(N / 2, N) > 0);
    for (size_t i = 0; i < N; i++) {
        const struct gm_pages *p = &rt->engine.heap.pages;
        const struct gm_span *s = gm_span_find(p, (uintptr_t)slots[i]);
        uint32_t index = s ? gm_span_index(p, s, (uintptr_t)slots[i]) : 0;
        bool taken = s && gm_span_bits(p, s->page)[index / 64] >> index % 64 & 1;
        CHECK_EQ(taken, gm_paths_cached(rt, gomem_i_class(SIZE, 16), (uintptr_t)slots[i]));
    }
}

TEST_MAIN
