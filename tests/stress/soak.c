// A server's day in short: threads that come and go hold tables of everything that gomem has, replace
// an entry at random, and check what they take out. What the process occupies must stay flat.
//
// GOMEM_SOAK=seconds runs for so long and prints a line per minute.
#define _GNU_SOURCE
#include "gomem.h"
#include "stress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREADS = 4, SLOTS = 2000, STEPS = 20000, KINDS = 8 };

struct node {
    struct node *left, *right;
    uintptr_t check;
};
GOMEM_TYPE(node_type, struct node, left, right);

struct slot {
    unsigned kind;
    uint32_t size;
    void *held;       // collected; what is manual is in `own`
    gomem_weak weak;  //
    char *own;        // manual
    uintptr_t number; // what the bytes of strings and blocks are made from
};

static atomic_uint finalized, cleaned, dropped;
static _Atomic(char *) handed; // a manual block that another thread frees

static void on_final(void *object, void *arg) {
    const struct node *n = object;
    CHECK(n->check == (uintptr_t)arg);
    atomic_fetch_add(&finalized, 1);
}
static void on_cleanup(void *arg) { atomic_fetch_add((atomic_uint *)arg, 1); }
static void on_drop(void *object) {
    CHECK(((struct node *)object)->check == 77);
    atomic_fetch_add(&dropped, 1);
}

static struct node *tree_new(unsigned depth, uintptr_t check, bool typed) {
    struct node *n = typed ? GOMEM_NEW_TYPED(struct node, &node_type) : GOMEM_NEW(struct node);
    if (!CHECK(n != NULL)) exit(1);
    n->check = check;
    if (!depth) return n;
    GOMEM_STORE(&n->left, tree_new(depth - 1, check * 2, typed));
    GOMEM_STORE(&n->right, tree_new(depth - 1, check * 2 + 1, typed));
    return n;
}

static bool tree_whole(const struct node *n, unsigned depth, uintptr_t check) {
    if (n == NULL || n->check != check) return false;
    if (!depth) return n->left == NULL && n->right == NULL;
    return tree_whole(n->left, depth - 1, check * 2) &&
           tree_whole(n->right, depth - 1, check * 2 + 1);
}

static void bytes_fill(char *p, size_t n, uintptr_t number) {
    for (size_t i = 0; i < n; i += 61) p[i] = (char)(number + i);
}
static bool bytes_whole(const char *p, size_t n, uintptr_t number) {
    for (size_t i = 0; i < n; i += 61)
        if (p[i] != (char)(number + i)) return false;
    return true;
}

static void slot_fill(struct slot *s, struct stress_random *r) {
    memset(s, 0, sizeof *s);
    s->kind = stress_below(r, KINDS);
    s->number = stress_next(r);
    s->size = 3 + stress_below(r, 4);
    switch (s->kind) {
    case 0:
    case 1: GOMEM_STORE(&s->held, (void *)tree_new(s->size, s->number, s->kind == 1)); break;
    case 2:
        s->size = (uint32_t)stress_size(r) / 4 + 1;
        GOMEM_STORE(&s->held, gomem_new_noscan(s->size));
        if (s->held) bytes_fill(s->held, s->size, s->number);
        break;
    case 3:
        s->size = (uint32_t)stress_size(r) / 4 + 1;
        s->own = gomem_malloc(s->size);
        if (s->own) bytes_fill(s->own, s->size, s->number);
        break;
    case 4: {
        struct node *n = tree_new(2, s->number, false);
        CHECK(gomem_set_finalizer(n, on_final, (void *)s->number));
        GOMEM_STORE(&s->held, (void *)n);
        break;
    }
    case 5: {
        struct node *n = tree_new(1, s->number, true);
        CHECK(gomem_add_cleanup(n, on_cleanup, &cleaned).id != 0);
        s->weak = gomem_weak_make(n); // held by nobody, or by the slot
        if (stress_below(r, 2)) GOMEM_STORE(&s->held, (void *)n);
        break;
    }
    case 6: {
        struct node *n = gomem_rc_new(sizeof *n, on_drop);
        if (!CHECK(n != NULL)) exit(1);
        n->check = 77;
        GOMEM_STORE(&s->held, (void *)n);
        break;
    }
    default: break;
    }
}

static void slot_take(struct slot *s) {
    switch (s->kind) {
    case 0:
    case 1: CHECK(tree_whole(s->held, s->size, s->number)); break;
    case 2: CHECK(s->held && bytes_whole(s->held, s->size, s->number)); break;
    case 3:
        CHECK(s->own && bytes_whole(s->own, s->size, s->number));
        gomem_free(atomic_exchange(&handed, s->own)); // another thread's
        break;
    case 4: CHECK(tree_whole(s->held, 2, s->number)); break;
    case 5: {
        const struct node *n = gomem_weak_get(s->weak);
        CHECK(!s->held || n == s->held);
        if (n) CHECK(tree_whole(n, 1, s->number));
        break;
    }
    case 6: gomem_rc_release(s->held); break;
    default: break;
    }
    s->kind = KINDS;
}

static void *serve(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg);
    struct slot *table = gomem_new_with(SLOTS * sizeof *table, 0, GOMEM_UNCOLLECTABLE);
    if (!CHECK(table != NULL)) return NULL;
    for (size_t i = 0; i < SLOTS; i++) table[i].kind = KINDS;
    for (size_t i = 0; i < STEPS; i++) {
        struct slot *s = &table[stress_below(&r, SLOTS)];
        slot_take(s);
        slot_fill(s, &r);
    }
    for (size_t i = 0; i < SLOTS; i++) slot_take(&table[i]);
    gomem_free(table);
    return NULL;
}

static size_t resident(void) {
    char text[4096];
    FILE *f = fopen("/proc/self/statm", "r");
    size_t pages = 0;
    if (!f) return 0;
    if (fgets(text, sizeof text, f)) (void)sscanf(text, "%*u %zu", &pages);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

// One round: every thread ends, and new ones take over. Returns the most that was resident.
static size_t serve_round(size_t round) {
    pthread_t threads[THREADS];
    size_t most = 0;
    for (size_t i = 0; i < THREADS; i++)
        if (!CHECK(gomem_thread_create(&threads[i], NULL, serve,
                                       (void *)(uintptr_t)(round * THREADS + i)) == 0))
            exit(1);
    for (size_t i = 0; i < THREADS; i++) {
        size_t now = resident();
        if (now > most) most = now;
        pthread_join(threads[i], NULL);
    }
    return most;
}

TEST(flat) {
    unsigned seconds = stress_number("GOMEM_SOAK", 0);
    size_t rounds = stress_times(8), round = 0, early = 0, late = 0, minute = 0;
    time_t start = time(NULL);
    bool more = true;
    while (more) {
        size_t most = serve_round(round++);
        unsigned passed = (unsigned)(time(NULL) - start);
        bool half = seconds ? passed >= seconds / 2 : round > rounds / 2;
        if (half && most > late) late = most;
        if (!half && most > early) early = most;
        more = seconds ? passed < seconds : round < rounds;
        if (seconds && passed / 60 > minute) {
            minute = passed / 60;
            printf("\n    minute %zu: round %zu, %zu MB, at most %zu and %zu MB ", minute, round,
                   most >> 20, early >> 20, late >> 20);
            fflush(stdout);
        }
    }
    // no more than in the first half, but for moments when the collector gets no processor
    CHECK(late <= 2 * early + (32u << 20));
    gomem_free(atomic_exchange(&handed, NULL));
    for (int i = 0; i < 3; i++) gomem_gc();
    CHECK(atomic_load(&cleaned) != 0 && atomic_load(&finalized) != 0 && atomic_load(&dropped) != 0);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
