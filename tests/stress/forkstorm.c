// Several threads fork at once, in the middle of allocation and collection; the children allocate,
// collect, make threads and fork again. And one forks as fast as it can while a larger heap is
// marked and changed: cycles end, and both sides keep all that lives.
#define _GNU_SOURCE
#include "gomem.h"
#include "child.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WORKERS = 3, FORKERS = 2 };

struct node {
    struct node *next;
    uintptr_t value;
};

static atomic_bool stop;

static bool use(struct stress_random *r, uintptr_t n) {
    struct node *head = NULL;
    for (uintptr_t i = 0; i < n; i++) {
        struct node *node = GOMEM_NEW(struct node);
        void *block = gomem_malloc(stress_size(r));
        if (node == NULL || block == NULL || node->value != 0) return false;
        node->value = i;
        GOMEM_STORE(&node->next, head);
        head = node;
        gomem_free(block);
    }
    for (uintptr_t i = n; i-- > 0; head = head->next)
        if (head->value != i) return false;
    return true;
}

static void *work(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 10);
    while (!atomic_load(&stop)) {
        if (!CHECK(use(&r, 200))) break;
        if (stress_below(&r, 20) == 0) gomem_gc();
        if (stress_below(&r, 200) == 0) gomem_free_os_memory();
    }
    return NULL;
}

static void *child_thread(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 70);
    CHECK(use(&r, 200));
    return NULL;
}

static void wait_for(pid_t pid) {
    int status = -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    CHECK_EQ(status, 0);
}

static void fork_one(struct stress_random *r, int depth);

// The life of a child; its exit status says whether all was well.
static void child(struct stress_random *r, int depth) {
    pthread_t thread;
    atomic_store(&stop, true); // only this thread is here
    CHECK(use(r, 100));
    switch (stress_below(r, 4)) {
    case 0: gomem_gc(); break;
    case 1:
        if (CHECK(pthread_create(&thread, NULL, child_thread, NULL) == 0)) {
            gomem_gc();
            pthread_join(thread, NULL);
        }
        break;
    case 2:
        if (depth < 2) fork_one(r, depth + 1);
        break;
    default: gomem_free_os_memory(); break;
    }
    CHECK(use(r, 100));
    CHECK(HEAP_IS_WHOLE());
    fflush(stdout);
    _exit(test_failed() > 0);
}

static void fork_one(struct stress_random *r, int depth) {
    pid_t pid = fork();
    if (!CHECK(pid >= 0)) return;
    if (pid == 0) child(r, depth);
    else wait_for(pid);
}

static size_t forks_each;

static void *fork_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 40);
    for (size_t i = 0; i < forks_each && test_failed() == 0; i++) {
        fork_one(&r, 0);
        CHECK(use(&r, 50));
    }
    return NULL;
}

TEST(storm) {
    NEEDS_FORK;
    pthread_t workers[WORKERS], forkers[FORKERS];
    stress_seed();
    forks_each = stress_times(60);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&workers[i], NULL, work, (void *)i) == 0);
    for (uintptr_t i = 0; i < FORKERS; i++)
        REQUIRE(pthread_create(&forkers[i], NULL, fork_on, (void *)i) == 0);
    for (int i = 0; i < FORKERS; i++) pthread_join(forkers[i], NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
    gomem_gc();
    CHECK(HEAP_IS_WHOLE());
}

// ---- forks beside cycles that take a while ----

enum { PIECES = 4000, PIECE = 30, CHANGERS = 2 };
struct piece { // a list of PIECE nodes, and what their values add up to
    struct node *first;
    uintptr_t sum;
};
static struct piece *pieces[CHANGERS]; // collected arrays
static atomic_uint busy[CHANGERS];     // odd: its thread is between two states

static bool whole(const struct piece *p) {
    uintptr_t sum = 0, n = 0;
    for (const struct node *at = p->first; at; at = at->next, n++) sum += at->value;
    return sum == p->sum && (n == PIECE || !p->first);
}

// Turns a piece around, or swaps two pieces, or makes one anew: by stores into old objects.
static void change(struct piece *all, struct stress_random *r) {
    struct piece *a = &all[stress_below(r, PIECES)], *b = &all[stress_below(r, PIECES)];
    struct node *list = NULL, *next, *at;
    switch (stress_below(r, 3)) {
    case 0:
        for (at = a->first; at; at = next) {
            next = at->next;
            GOMEM_STORE(&at->next, list);
            list = at;
        }
        GOMEM_STORE(&a->first, list);
        break;
    case 1:
        list = a->first;
        uintptr_t sum = a->sum;
        GOMEM_STORE(&a->first, b->first);
        a->sum = b->sum;
        GOMEM_STORE(&b->first, list);
        b->sum = sum;
        break;
    default:
        a->sum = 0;
        for (int i = 0; i < PIECE; i++) {
            at = GOMEM_NEW(struct node);
            if (!CHECK(at != NULL)) return;
            at->value = stress_next(r);
            a->sum += at->value;
            GOMEM_STORE(&at->next, list);
            list = at;
        }
        GOMEM_STORE(&a->first, list);
    }
}

static void *change_on(void *arg) {
    uintptr_t me = (uintptr_t)arg;
    struct stress_random r = stress_random_at(me + 300);
    while (!atomic_load(&stop)) {
        atomic_fetch_add(&busy[me], 1);
        for (int i = 0; i < 50; i++) change(pieces[me], &r);
        atomic_fetch_add(&busy[me], 1);
        if (!CHECK(whole(&pieces[me][stress_below(&r, PIECES)]))) break;
    }
    return NULL;
}

static void *collect_on(void *arg) {
    while (!atomic_load(&stop)) gomem_gc();
    return arg;
}

static bool all_whole(void) {
    for (unsigned c = 0; c < CHANGERS; c++)
        for (unsigned i = 0; i < PIECES && !(atomic_load(&busy[c]) & 1); i++)
            if (!whole(&pieces[c][i])) return false;
    return true;
}

// A child: what its parent's threads were not about to change is whole, before and after cycles.
static void look(struct stress_random *r) {
    CHECK(all_whole());
    if (stress_below(r, 3) == 0) gomem_gc();
    CHECK(use(r, 100));
    if (stress_below(r, 3) == 0) gomem_gc();
    CHECK(all_whole());
    if (stress_below(r, 8) == 0) CHECK(HEAP_IS_WHOLE());
    fflush(stdout);
    _exit(test_failed() > 0);
}

TEST(beside_cycles) {
    NEEDS_FORK;
    pthread_t threads[CHANGERS + 1];
    struct stress_random r = stress_random_at(400);
    gomem_memstats before = {.size = sizeof before}, after = {.size = sizeof after};
    size_t forks = stress_times(75);
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < CHANGERS; i++) {
        pieces[i] = GOMEM_MAKE(struct piece, PIECES);
        REQUIRE(pieces[i] != NULL);
        REQUIRE(gomem_thread_create(&threads[i], NULL, change_on, (void *)i) == 0);
    }
    REQUIRE(gomem_thread_create(&threads[CHANGERS], NULL, collect_on, NULL) == 0);
    gomem_read_memstats(&before);
    for (size_t i = 0; i < forks && test_failed() == 0; i++) {
        pid_t pid = fork();
        if (!CHECK(pid >= 0)) break;
        if (pid == 0) look(&r);
        (void)stress_next(&r); // the next child does something else
        if (stress_below(&r, 2)) CHECK(use(&r, 20));
        wait_for(pid);
    }
    gomem_read_memstats(&after);
    CHECK(after.num_gc > before.num_gc + 2); // forks do not keep cycles from ending
    atomic_store(&stop, true);
    for (int i = 0; i < CHANGERS + 1; i++) pthread_join(threads[i], NULL);
    CHECK(all_whole());
    gomem_gc();
    CHECK(all_whole() && HEAP_IS_WHOLE());
    for (int i = 0; i < CHANGERS; i++) pieces[i] = NULL;
}

TEST_MAIN
