// Finalizers and cleanups: when they run, on what, how often, and what they keep.
#include "alive.h"
#include "child.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

enum { N = 200, MOST = N * 9 / 10 };

struct node {
    struct node *next;
    uintptr_t index;
    uintptr_t body[2];
};

static int ran[N], total;   // atomic: written by the thread of the library
static void *revived[N];    // by finalizers
static uintptr_t hidden[N]; // addresses that the collector cannot see

// Nothing of the tests before is left.
static void clear(void) {
    for (int i = 0; i < 3; i++) {
        alive_gc();
        gomem_run_finalizers(-1);
    }
    memset(ran, 0, sizeof ran);
    memset(revived, 0, sizeof revived);
    __atomic_store_n(&total, 0, __ATOMIC_SEQ_CST);
}

static void count(void *arg) {
    uintptr_t i = *(uintptr_t *)arg;
    __atomic_fetch_add(&ran[i], 1, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&total, 1, __ATOMIC_SEQ_CST);
}

// arg is a fresh collected object that nobody else holds: it must have been kept.
static void finalize(void *obj, void *arg) {
    struct node *node = obj;
    CHECK(gomem_base(node) == node && gomem_base(arg) == arg);
    CHECK_EQ(node->index, *(uintptr_t *)arg);
    CHECK_EQ(node->body[1], ~node->index);
    count(arg);
}

static void revive(void *obj, void *arg) {
    revived[*(uintptr_t *)arg] = obj;
    finalize(obj, arg);
}

static void *boxed(uintptr_t i) {
    uintptr_t *box = GOMEM_NEW_NOSCAN(uintptr_t);
    if (CHECK(box != NULL)) *box = i;
    return box;
}

static struct node *make(uintptr_t i) {
    struct node *node = GOMEM_NEW(struct node);
    if (!CHECK(node != NULL)) return NULL;
    node->index = i;
    node->body[1] = ~i;
    hidden[i] = alive_hide(node);
    return node;
}

ALIVE_NOINLINE static void make_all(void (*fn)(void *, void *)) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++) CHECK(gomem_set_finalizer(make(i), fn, boxed(i)));
    gap[0] = 1;
}

ALIVE_NOINLINE static void cleanup_all(void) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++) CHECK(gomem_add_cleanup(make(i), count, boxed(i)).id != 0);
    gap[0] = 1;
}

static int wait_for(int least) {
    for (int i = 0; i < 6000 && __atomic_load_n(&total, __ATOMIC_SEQ_CST) < least; i++) {
        struct timespec nap = {0, 10000000};
        nanosleep(&nap, NULL);
    }
    return __atomic_load_n(&total, __ATOMIC_SEQ_CST);
}

ALIVE_NOINLINE static int count_whole(int n) {
    ALIVE_DEEP;
    int whole = 0;
    for (int i = 0; i < n; i++) {
        const struct node *node = alive_show(hidden[i]);
        whole += gomem_base(node) == node && node->index == (uintptr_t)i;
    }
    gap[0] = 1;
    return whole;
}

// From here on callbacks run when the test says so.
static void begin(void) {
    gomem_options options = {.finalizers_by_hand = true};
    CHECK(gomem_init(&options));
    clear();
}

// The library's thread runs them without being asked; each once.
TEST(by_itself) {
    clear();
    make_all(finalize);
    alive_gc();
    CHECK(wait_for(MOST) >= MOST);
    alive_gc();
    alive_gc();
    gomem_run_finalizers(-1); // what is ready and has not begun
    for (int i = 0; i < N; i++) CHECK(ran[i] <= 1);
    CHECK(HEAP_IS_WHOLE());
}

TEST(cleanups_by_themselves) {
    clear();
    cleanup_all();
    alive_gc();
    CHECK(wait_for(MOST) >= MOST);
    alive_gc();
    for (int i = 0; i < N; i++) CHECK(ran[i] <= 1);
}

static pthread_t tester; // keeps its thread where it runs callbacks itself

static void count_and_exit(void *arg) {
    uintptr_t i = *(uintptr_t *)arg;
    count(arg);
    if (pthread_equal(pthread_self(), tester)) return;
    if (i % 5 == 0) pthread_exit(NULL);
    if (i % 5 == 1) {
        pthread_cancel(pthread_self());
        pthread_testcancel();
    }
}

ALIVE_NOINLINE static void make_deadly(void) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++)
        CHECK(gomem_add_cleanup(make(i), count_and_exit, boxed(i)).id != 0);
    gap[0] = 1;
}

// Callbacks that end their thread: others run the rest, now and after later collections.
TEST(callbacks_that_end_their_thread) {
    tester = pthread_self();
    clear();
    for (int round = 1; round <= 2; round++) {
        make_deadly();
        alive_gc();
        CHECK(wait_for(round * MOST) >= round * MOST);
    }
    CHECK(HEAP_IS_WHOLE());
}

static void shut_down_early(void) {
    tester = pthread_self();
    for (int round = 0; round < 20; round++) {
        clear();
        make_deadly();
        alive_gc();
        gomem_shutdown(); // meets one that is ending
        REQUIRE(gomem_init(NULL));
    }
}

TEST(shutdown_while_they_end_their_thread) {
    NEEDS_FORK;
    CHILD_GOOD(shut_down_early);
}

static void in_child(void) {
    clear();
    make_all(finalize);
    alive_gc();
    CHECK(wait_for(MOST) >= MOST);
    CHECK(HEAP_IS_WHOLE());
}

// A child gets a thread of its own.
TEST(in_a_forked_child) {
    NEEDS_FORK;
    clear();
    make_all(finalize);
    alive_gc();
    CHECK(wait_for(MOST) >= MOST);
    CHILD_GOOD(in_child);
}

TEST(by_hand) {
    begin();
    make_all(finalize);
    alive_gc();
    struct timespec nap = {0, 50000000}; // the time that a thread would need that runs them unasked
    nanosleep(&nap, NULL);
    CHECK_EQ(total, 0);
    CHECK_EQ(gomem_run_finalizers(0), 0);
    CHECK_EQ(gomem_run_finalizers(7), 7);
    CHECK_EQ(total, 7);
    int rest = gomem_run_finalizers(-1);
    CHECK(rest + 7 >= MOST && rest + 7 == total);
    CHECK_EQ(gomem_run_finalizers(100), 0);
}

// What a ready finalizer waits for is kept over collections, and the object it revives lives on.
TEST(revived) {
    begin();
    make_all(revive);
    alive_gc();
    alive_gc();
    alive_gc();
    CHECK(gomem_run_finalizers(-1) >= MOST);
    alive_gc();
    int alive = 0;
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = revived[i];
        if (node == NULL) continue;
        alive++;
        CHECK(gomem_base(node) == node && node->index == i && node->body[1] == ~i);
        revived[i] = NULL;
    }
    CHECK(alive >= MOST);
    alive_gc();
    CHECK_EQ(gomem_run_finalizers(-1) + alive, alive + total - alive); // each once
    CHECK(count_whole(N) <= N / 10);
}

static void again(void *obj, void *arg) {
    finalize(obj, arg);
    if (ran[*(uintptr_t *)arg] < 3) CHECK(gomem_set_finalizer(obj, again, arg));
}

TEST(set_again_in_a_finalizer) {
    begin();
    make_all(again);
    for (int round = 0; round < 5; round++) {
        alive_gc();
        gomem_run_finalizers(-1);
    }
    int three = 0;
    for (int i = 0; i < N; i++) {
        three += ran[i] == 3;
        CHECK(ran[i] <= 3);
    }
    CHECK(three >= MOST);
}

static void in_order(void *obj, void *arg) {
    struct node *node = obj;
    CHECK(node->next == NULL || gomem_base(node->next) == node->next);
    if (node->next != NULL) CHECK_EQ(ran[node->next->index], 0); // whom it leads to runs later
    finalize(obj, arg);
}

ALIVE_NOINLINE static void make_chain(bool ring) {
    ALIVE_DEEP;
    struct node *first = NULL, *last = NULL;
    for (uintptr_t i = 0; i < 8; i++) {
        struct node *node = make(i);
        // half of them have their finalizer before the one in front of them has one
        if (i % 2 == 0) CHECK(gomem_set_finalizer(node, ring ? finalize : in_order, boxed(i)));
        if (last != NULL) last->next = node;
        else first = node;
        last = node;
    }
    for (struct node *node = first; node != NULL; node = node->next)
        if (node->index % 2 != 0)
            CHECK(gomem_set_finalizer(node, ring ? finalize : in_order, boxed(node->index)));
    if (ring) last->next = first;
    gap[0] = 1;
}

// Who leads goes first: a chain takes a collection a link.
TEST(chain_from_the_front) {
    begin();
    make_chain(false);
    for (int round = 0; round < 8; round++) {
        alive_gc();
        CHECK(gomem_run_finalizers(-1) <= 1);
    }
    alive_gc();
    gomem_run_finalizers(-1);
    CHECK(total >= 7);
}

// A ring is collected too, one callback a collection.
TEST(rings_are_collected) {
    begin();
    make_chain(true);
    for (int round = 0; round < 10; round++) {
        alive_gc();
        CHECK(gomem_run_finalizers(-1) <= 1);
        if (total < 8) CHECK_EQ(count_whole(8), 8); // until the last has run
    }
    CHECK_EQ(total, 8);
    alive_gc();
    CHECK(count_whole(8) <= 1);
}

// With options.unordered what dies together is finalized together; all of it is whole meanwhile, and
// what a finalizer revives lives on.
static void whole_chain(void *obj, void *arg) {
    struct node *node = obj;
    int n = 0;
    for (; node != NULL && n < N; node = node->next, n++)
        CHECK(gomem_base(node) == node && node->body[1] == ~node->index);
    finalize(obj, arg);
}

ALIVE_NOINLINE static void make_long_chain(bool ring, void (*first)(void *, void *)) {
    ALIVE_DEEP;
    struct node *head = make(0), *last = head;
    CHECK(gomem_set_finalizer(head, first, boxed(0)));
    for (uintptr_t i = 1; i < N; i++) {
        last->next = make(i);
        last = last->next;
        CHECK(gomem_set_finalizer(last, whole_chain, boxed(i)));
    }
    if (ring) last->next = head;
    gap[0] = 1;
}

// One collection, and all of them are finalized: how many.
static int run_long_chain(bool ring, void (*first)(void *, void *)) {
    clear();
    make_long_chain(ring, first);
    alive_gc();
    return gomem_run_finalizers(-1);
}

// A word that happens to be on the stack or in a register can keep the whole chain: not each time.
static void finalized_at_once(bool ring, void (*first)(void *, void *)) {
    gomem_options options = {.finalizers_by_hand = true, .unordered = true};
    int n = 0;
    CHECK(gomem_init(&options));
    for (int i = 0; i < 4 && n != N; i++) n = run_long_chain(ring, first);
    CHECK_EQ(n, N);
    for (int i = 0; i < N; i++) CHECK_EQ(ran[i], 1);
    alive_gc();
    if (revived[0]) CHECK_EQ(count_whole(N), N);
    revived[0] = NULL;
    alive_gc();
    CHECK(count_whole(N) <= N / 10);
    CHECK_EQ(gomem_run_finalizers(-1), 0);
    CHECK(HEAP_IS_WHOLE());
}

static void chain_at_once(void) { finalized_at_once(false, whole_chain); }
static void ring_at_once(void) { finalized_at_once(true, whole_chain); }
static void revived_at_once(void) { finalized_at_once(false, revive); }

TEST(unordered) {
    NEEDS_FORK;          // the option stays
    alive_clear_stack(); // on which the frames between here and the chain will lie
    CHILD_GOOD(chain_at_once);
    CHILD_GOOD(ring_at_once);
    CHILD_GOOD(revived_at_once);
}

ALIVE_NOINLINE static void make_self(void) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = make(i);
        node->next = node;
        CHECK(gomem_set_finalizer(node, finalize, boxed(i)));
    }
    gap[0] = 1;
}

TEST(pointing_at_itself) {
    begin();
    make_self();
    alive_gc();
    CHECK(gomem_run_finalizers(-1) >= MOST);
}

// a points to b, and each of `links` of them to itself: 1 is a, 2 is b. Which one has its finalizer
// first must not matter.
ALIVE_NOINLINE static void make_pair(uintptr_t i, unsigned links, bool b_first) {
    ALIVE_DEEP;
    struct node *a = make(i), *b = make(i + 1);
    a->next = b;
    if (links & 1) a->body[0] = (uintptr_t)a;
    if (links & 2) b->next = b;
    if (links & 4) { // by way of another object
        struct node *middle = make(i);
        b->next = middle;
        middle->next = b;
    }
    if (b_first) CHECK(gomem_set_finalizer(b, finalize, boxed(i + 1)));
    CHECK(gomem_set_finalizer(a, finalize, boxed(i)));
    if (!b_first) CHECK(gomem_set_finalizer(b, finalize, boxed(i + 1)));
    gap[0] = 1;
}

TEST(what_points_to_itself_waits_for_what_points_to_it) {
    begin();
    for (uintptr_t i = 0; i < N; i += 2) make_pair(i, i / 2 % 8, i / 2 & 8);
    alive_gc();
    int first = gomem_run_finalizers(-1), seconds = 0;
    CHECK(first >= MOST / 2 && first <= N / 2);
    for (int i = 1; i < N; i += 2) seconds += ran[i];
    CHECK_EQ(seconds, 0);
    alive_gc();
    CHECK(gomem_run_finalizers(-1) >= MOST / 2);
    for (int i = 0; i < N; i += 2) CHECK(ran[i] <= 1 && ran[i + 1] <= ran[i]);
}

static void take_part(void *obj, void *arg) {
    (void)obj, (void)arg;
    total++;
}

// Objects that wait for their finalizer are no heap to grow from, and what is known of them counts
// as memory: short-lived ones take a few MB, however many there are.
TEST(short_lived) {
    begin();
    gomem_memstats before = {.size = sizeof before}, after = {.size = sizeof after};
    gomem_read_memstats(&before);
    int most = (int)(before.next_gc / 2), many = 0; // 80 bytes each at least: 40 goals
    for (; many < most && after.num_gc < before.num_gc + 6; many++) {
        REQUIRE(gomem_set_finalizer(gomem_new(32), take_part, NULL));
        if (many % 1000) continue;
        gomem_run_finalizers(-1);
        gomem_read_memstats(&after);
    }
    CHECK(many < most); // the goal stays low: it does not count what waits
    CHECK(after.heap_inuse <= before.heap_inuse + 6 * before.next_gc);
    alive_gc();
    gomem_run_finalizers(-1);
    CHECK(total >= many - 10);
}

// A cleanup waits while a finalizer keeps its object.
ALIVE_NOINLINE static void make_both(void) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N / 2; i++) {
        struct node *node = make(i);
        node->next = make(i + N / 2);
        CHECK(gomem_set_finalizer(node, finalize, boxed(i)));
        CHECK(gomem_add_cleanup(node->next, count, boxed(i + N / 2)).id != 0);
        CHECK(gomem_add_cleanup(node->next, count, boxed(i + N / 2)).id != 0);
    }
    gap[0] = 1;
}

TEST(cleanups_come_last) {
    begin();
    make_both();
    alive_gc();
    int first = gomem_run_finalizers(-1);
    CHECK(first >= MOST / 2 && first <= N / 2);
    for (int i = N / 2; i < N; i++) CHECK_EQ(ran[i], 0);
    alive_gc();
    int second = gomem_run_finalizers(-1);
    CHECK(second >= MOST && second % 2 == 0);
    for (int i = N / 2; i < N; i++) CHECK(ran[i] == 0 || ran[i] == 2);
}

// By hand: the finalizer does not run, the cleanups do, at once.
TEST(freed_by_hand) {
    begin();
    struct node *node = make(0);
    REQUIRE(gomem_set_finalizer(node, finalize, boxed(0)));
    REQUIRE(gomem_add_cleanup(node, count, boxed(1)).id != 0);
    gomem_cleanup cancelled = gomem_add_cleanup(node, count, boxed(2));
    gomem_cleanup late = gomem_add_cleanup(node, count, boxed(3));
    gomem_cancel_cleanup(cancelled);
    gomem_cancel_cleanup(cancelled);
    gomem_cancel_cleanup((gomem_cleanup){0});
    gomem_cancel_cleanup((gomem_cleanup){UINT64_MAX});
    gomem_free(node);
    gomem_cancel_cleanup(late); // ready, but not begun
    CHECK_EQ(gomem_run_finalizers(-1), 1);
    CHECK(ran[0] == 0 && ran[1] == 1 && ran[2] == 0 && ran[3] == 0);
    gomem_cancel_cleanup(late);
    alive_gc();
    CHECK_EQ(gomem_run_finalizers(-1), 0);
    void *root = gomem_new_with(100, 0, GOMEM_UNCOLLECTABLE);
    CHECK(!gomem_set_finalizer(root, finalize, NULL) && errno == EINVAL);
    CHECK(gomem_add_cleanup(root, count, boxed(4)).id != 0);
    alive_gc();
    CHECK_EQ(gomem_run_finalizers(-1), 0);
    gomem_free(root);
    CHECK_EQ(gomem_run_finalizers(-1), 1);
    CHECK(HEAP_IS_WHOLE());
}

// Slots are used again: no record of the last owner may be left.
TEST(freed_and_used_again) {
    begin();
    for (uintptr_t i = 0; i < 5000; i++) {
        struct node *node = make(i % N);
        REQUIRE(gomem_set_finalizer(node, finalize, boxed(i % N)));
        gomem_free(node);
    }
    alive_gc();
    CHECK_EQ(gomem_run_finalizers(-1), 0);
    CHECK(HEAP_IS_WHOLE());
}

// What is registered can be asked for, until its object dies.
TEST(asked_for) {
    begin();
    void (*fn)(void *, void *) = revive;
    void *arg = NULL;
    struct node *node = make(0);
    uintptr_t *box = boxed(0);
    errno = 0;
    CHECK(!gomem_get_finalizer(node, &fn, &arg) && errno == ENOENT);
    CHECK(fn == revive && arg == NULL);
    REQUIRE(gomem_set_finalizer(node, finalize, box));
    CHECK(gomem_get_finalizer(node, &fn, &arg) && fn == finalize && arg == box);
    errno = 0;
    CHECK(!gomem_get_finalizer(&node->index, &fn, &arg) && errno == EINVAL);
    CHECK(!gomem_get_finalizer(NULL, &fn, &arg) && errno == EINVAL);
    CHECK(gomem_set_finalizer(node, NULL, NULL));
    CHECK(!gomem_get_finalizer(node, &fn, &arg) && errno == ENOENT);
    gomem_free(node);
}

TEST(removed) {
    begin();
    struct node *node = make(0);
    REQUIRE(gomem_set_finalizer(node, finalize, boxed(0)));
    CHECK(gomem_set_finalizer(node, NULL, NULL));
    CHECK(gomem_set_finalizer(node, NULL, NULL));
    REQUIRE(gomem_set_finalizer(node, finalize, boxed(1)));
    CHECK(gomem_set_finalizer(node, NULL, NULL));
    node = NULL;
    alive_gc();
    CHECK_EQ(gomem_run_finalizers(-1), 0);
}

// They go with an object that moves.
ALIVE_NOINLINE static void make_moved(size_t size) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < N; i++) {
        struct node *node = make(i);
        CHECK(gomem_set_finalizer(node, finalize, boxed(i)));
        CHECK(gomem_add_cleanup(node, count, boxed(i)).id != 0);
        node = gomem_realloc(node, size);
        CHECK(node != NULL);
        hidden[i] = alive_hide(node);
    }
    gap[0] = 1;
}

TEST(moved) {
    static const size_t sizes[] = {100, 5000, 60000};
    for (int round = 0; round < 3; round++) {
        begin();
        make_moved(sizes[round]);
        for (int k = 0; k < 3; k++) {
            alive_gc();
            gomem_run_finalizers(-1);
        }
        CHECK(total >= 2 * MOST);
        for (int i = 0; i < N; i++) CHECK(ran[i] <= 2);
    }
    CHECK(HEAP_IS_WHOLE());
}

// Every kind of object; large ones too.
struct pair {
    struct node *left;
    uintptr_t number;
};
GOMEM_TYPE(pair_type, struct pair, left);

static void plain_final(void *obj, void *arg) {
    CHECK(gomem_base(obj) == obj);
    count(arg);
}

static void typed_final(void *obj, void *arg) {
    struct pair *pair = obj;
    CHECK(gomem_base(pair->left) == pair->left && pair->left->index == pair->number);
    count(arg);
}

ALIVE_NOINLINE static void make_kinds(void) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < 40; i++) {
        struct pair *pair = GOMEM_NEW_TYPED(struct pair, &pair_type);
        struct pair *many = GOMEM_MAKE_TYPED(struct pair, &pair_type, 10000);
        struct node **large = gomem_new(200000);
        if (!CHECK(pair != NULL && many != NULL && large != NULL)) return;
        pair->left = many->left = large[20000] = make(i);
        pair->number = many->number = i;
        CHECK(gomem_set_finalizer(pair, typed_final, boxed(i)));
        CHECK(gomem_set_finalizer(many, typed_final, boxed(i)));
        CHECK(gomem_set_finalizer(large, plain_final, boxed(i)));
        CHECK(gomem_set_finalizer(gomem_new_noscan(24), plain_final, boxed(i)));
        CHECK(gomem_set_finalizer(gomem_new_noscan(50000), plain_final, boxed(i)));
    }
    gap[0] = 1;
}

TEST(all_kinds) {
    begin();
    make_kinds();
    alive_gc();
    CHECK(gomem_run_finalizers(-1) >= 5 * 40 * 9 / 10);
    for (int i = 0; i < 40; i++) CHECK(ran[i] <= 5);
}

TEST(bad_input) {
    char local = 0;
    static char global;
    struct node *node = make(0), *freed = make(1);
    void *manual = gomem_malloc(40), *gone = test_opaque(freed);
    gomem_free(freed);
    void *const wrong[] = {NULL, &local, &global, manual, &node->index, gone};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        errno = 0;
        CHECK(!gomem_set_finalizer(wrong[i], finalize, NULL) && errno == EINVAL);
        errno = 0;
        CHECK(!gomem_set_finalizer(wrong[i], NULL, NULL) && errno == EINVAL);
        errno = 0;
        CHECK(gomem_add_cleanup(wrong[i], count, NULL).id == 0 && errno == EINVAL);
    }
    errno = 0;
    CHECK(gomem_add_cleanup(node, NULL, NULL).id == 0 && errno == EINVAL);
    errno = 7;
    CHECK(gomem_set_finalizer(node, finalize, NULL) && errno == 7);
    CHECK(!gomem_set_finalizer(node, finalize, NULL) && errno == EEXIST);
    CHECK(gomem_set_finalizer(node, NULL, NULL));
    gomem_free(manual);
}

// A callback may collect, allocate, and register others.
static void busy(void *arg) {
    uintptr_t i = *(uintptr_t *)arg;
    for (int k = 0; k < 1000; k++) CHECK(gomem_new(500) != NULL);
    gomem_gc();
    gomem_run_finalizers(1);
    CHECK_EQ(*(uintptr_t *)arg, i);
    count(arg);
    if (ran[i] == 1) CHECK(gomem_add_cleanup(make(i), busy, arg).id != 0);
}

ALIVE_NOINLINE static void make_busy(void) {
    ALIVE_DEEP;
    for (uintptr_t i = 0; i < 20; i++) CHECK(gomem_add_cleanup(make(i), busy, boxed(i)).id != 0);
    gap[0] = 1;
}

TEST(callbacks_do_anything) {
    begin();
    make_busy();
    for (int round = 0; round < 4; round++) {
        alive_gc();
        gomem_run_finalizers(-1);
    }
    CHECK(total >= 36 && total <= 40);
    CHECK(HEAP_IS_WHOLE());
}

// After a shutdown nothing is left of them.
TEST(shutdown) {
    begin();
    struct node *node = make(0);
    gomem_cleanup c = gomem_add_cleanup(node, count, boxed(0));
    make_all(finalize);
    alive_gc();
    gomem_shutdown();
    errno = 0;
    CHECK(!gomem_set_finalizer(node, finalize, NULL) && errno == ESHUTDOWN);
    gomem_cancel_cleanup(c);
    CHECK_EQ(gomem_run_finalizers(-1), 0);
    REQUIRE(gomem_init(NULL));
    CHECK_EQ(gomem_run_finalizers(-1), 0);
    gomem_cancel_cleanup(c);
    begin();
    make_all(finalize);
    alive_gc();
    CHECK(gomem_run_finalizers(-1) >= MOST);
}

static int named_arguments;
static void hear_argument(const char *line, void *user) {
    (void)user;
    named_arguments += strstr(line, "keeps its object alive forever") != NULL;
}
static void nothing(void *arg) { (void)arg; }
static void nothing_more(void *obj, void *arg) { (void)obj, (void)arg; }

// An argument that points into its object is named at check level 1.
TEST(arguments_that_keep_their_object) {
    gomem_options options = {.warn = hear_argument};
    REQUIRE(gomem_init(&options));
    char *a = gomem_new(100), *b = gomem_new(100);
    REQUIRE(a && b);
    CHECK(gomem_add_cleanup(a, nothing, b).id && gomem_set_finalizer(b, nothing_more, &options));
    CHECK_EQ(named_arguments, 0);
    gomem_cleanup own = gomem_add_cleanup(a, nothing, a),
                  inner = gomem_add_cleanup(a, nothing, a + 50);
    CHECK(own.id && inner.id && gomem_set_finalizer(a, nothing_more, a));
    CHECK_EQ(named_arguments, GOMEM_I_CHECK >= 1 ? 3 : 0);
    gomem_free(a);
    gomem_free(b);
}

TEST_MAIN
