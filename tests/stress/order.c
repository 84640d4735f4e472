// The memory model of gomem.h, one litmus test for each sentence of MEMORY MODEL in its head. What
// is written before the first event with a plain store is read after the second one with a plain
// load. Between the two the threads share nothing but relaxed atomics, so that nothing else orders
// them: a value that is old fails a check, and ThreadSanitizer reports a missing order on any
// processor (tests/sanitize.sh).
#define _GNU_SOURCE
#include "stress.h"

#include "gomem.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- two threads that share nothing but relaxed atomics ----

static uint64_t phase; // atomic: rlx, orders nothing

static void reach(uint64_t next) { __atomic_store_n(&phase, next, __ATOMIC_RELAXED); }
static void await(uint64_t wanted) {
    while (__atomic_load_n(&phase, __ATOMIC_RELAXED) < wanted) sched_yield();
}

static void run_beside(void *(*fn)(void *), void (*here)(void)) {
    pthread_t thread;
    reach(0);
    REQUIRE(pthread_create(&thread, NULL, fn, NULL) == 0);
    here();
    REQUIRE(pthread_join(thread, NULL) == 0);
}

// ---- free -> the malloc that returns the same memory ----

enum { OBJECTS = 4096, ROUNDS = 20 };

struct record {
    uint64_t number, check; // check: sum(number)
};

static uint64_t sum(uint64_t number) { return (number + 1) * 0x9e3779b97f4a7c15u; }
static void write_record(struct record *r, uint64_t number) {
    r->number = number;
    r->check = sum(number);
}

static uintptr_t freed[OBJECTS]; // atomic: rlx
static uint64_t reused;          // addresses that came back on the other thread

// Allocates and writes all objects, remembers where they lay, and frees them.
static void write_and_free(bool look) {
    static _Thread_local struct record *mine[OBJECTS];
    for (size_t i = 0; i < OBJECTS; i++) {
        mine[i] = GOMEM_MALLOC(struct record);
        if (!CHECK(mine[i] != NULL)) return;
        for (size_t k = i < 8 ? 0 : i - 8; look && k < OBJECTS && k < i + 8; k++)
            reused += __atomic_load_n(&freed[k], __ATOMIC_RELAXED) == (uintptr_t)mine[i];
        write_record(mine[i], i);
    }
    for (size_t i = OBJECTS; i-- > 0;) {
        CHECK_EQ(mine[i]->check, sum(i));
        if (!look) __atomic_store_n(&freed[OBJECTS - 1 - i], (uintptr_t)mine[i], __ATOMIC_RELAXED);
        GOMEM_FREE(struct record, mine[i]);
    }
}

static void *allocate_again(void *arg) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        await(2 * round + 1);
        write_and_free(true);
        reach(2 * round + 2);
    }
    return arg;
}
static void free_first(void) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        write_and_free(false);
        reach(2 * round + 1);
        await(2 * round + 2);
    }
}
TEST(free_before_malloc) { run_beside(allocate_again, free_first); }

// ---- put -> the get that returns the same object ----

GOMEM_POOL(records, struct record);

static uint64_t received;

static void *get_all(void *arg) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        await(2 * round + 1);
        for (size_t i = 0; i < OBJECTS; i++) {
            struct record *r = records_get();
            if (!CHECK(r != NULL)) break;
            received += r->check != 0; // it was idle before; a fresh one is zeroed
            CHECK(r->check == 0 || r->check == sum(r->number));
            write_record(r, r->number + 1);
            records_put(r);
        }
        reach(2 * round + 2);
    }
    return arg;
}
static void put_all(void) {
    static struct record *mine[OBJECTS];
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < OBJECTS; i++) {
            mine[i] = records_get();
            if (!CHECK(mine[i] != NULL)) return;
            CHECK(mine[i]->check == 0 || mine[i]->check == sum(mine[i]->number));
            write_record(mine[i], round * OBJECTS + i);
        }
        for (size_t i = 0; i < OBJECTS; i++) records_put(mine[i]);
        reach(2 * round + 1);
        await(2 * round + 2);
    }
}
TEST(put_before_get) {
    received = 0;
    run_beside(get_all, put_all);
    CHECK(received != 0);
}

// ---- the last use of an object -> its finalizer, its cleanups ----

static uint64_t finalized, cleaned; // atomic: rlx

static void check_record(void *obj, void *arg) {
    const struct record *r = obj, *a = arg;
    CHECK_EQ(r->check, sum(r->number));
    CHECK_EQ(a->check, sum(a->number));
    __atomic_fetch_add(&finalized, 1, __ATOMIC_RELAXED);
}
static void check_argument(void *arg) {
    const struct record *a = arg;
    CHECK_EQ(a->check, sum(a->number));
    __atomic_fetch_add(&cleaned, 1, __ATOMIC_RELAXED);
}

// Each object is written again after its finalizer is set, and dropped then.
__attribute__((noinline)) static void use_and_drop(uint64_t from) {
    for (uint64_t i = from; i < from + 100; i++) {
        struct record *r = GOMEM_NEW_NOSCAN(struct record), *a = GOMEM_NEW_NOSCAN(struct record);
        if (!CHECK(r != NULL && a != NULL)) return;
        write_record(a, i);
        CHECK(gomem_set_finalizer(r, check_record, a));
        CHECK(gomem_add_cleanup(r, check_argument, a).id != 0);
        write_record(r, i + 7);
    }
}
static void *drop_there(void *arg) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        use_and_drop(round * 100);
        reach(round + 1);
    }
    return arg;
}
static void collect_here(void) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        use_and_drop(round * 1000);
        await(round + 1);
        (void)gomem_gc();
    }
}
TEST(last_use_before_callbacks) {
    run_beside(drop_there, collect_here);
    for (int i = 0; i < 1000; i++) {
        (void)gomem_gc();
        if (__atomic_load_n(&finalized, __ATOMIC_RELAXED) >= ROUNDS * 100 &&
            __atomic_load_n(&cleaned, __ATOMIC_RELAXED) >= ROUNDS * 100)
            break;
        struct timespec nap = {.tv_nsec = 10000000};
        nanosleep(&nap, NULL);
    }
    CHECK(__atomic_load_n(&finalized, __ATOMIC_RELAXED) >= ROUNDS * 100);
    CHECK(__atomic_load_n(&cleaned, __ATOMIC_RELAXED) >= ROUNDS * 100);
}

// ---- all releases of a counted object -> its drop ----

struct counted {
    uint64_t here, there; // each written by one thread
};
static struct counted *counted; // written before the threads begin a round; then only read
static uint64_t drops;          // atomic: rlx

static void check_both(void *obj) {
    const struct counted *c = obj;
    CHECK(c->here == c->there && c->here != 0);
    __atomic_fetch_add(&drops, 1, __ATOMIC_RELAXED);
}

static pthread_barrier_t round_begins;

static void *release_there(void *arg) {
    for (uint64_t round = 1; round <= OBJECTS; round++) {
        pthread_barrier_wait(&round_begins);
        struct counted *c = counted;
        c->there = round;
        gomem_rc_release(c);
        pthread_barrier_wait(&round_begins);
    }
    return arg;
}
static void release_here(void) {
    for (uint64_t round = 1; round <= OBJECTS; round++) {
        struct counted *c = counted = gomem_rc_new(sizeof *c, check_both);
        CHECK(c != NULL && gomem_rc_retain(c) == c);
        pthread_barrier_wait(&round_begins);
        c->here = round;
        gomem_rc_release(c);
        pthread_barrier_wait(&round_begins);
    }
}
TEST(releases_before_drop) {
    REQUIRE(pthread_barrier_init(&round_begins, NULL, 2) == 0);
    drops = 0;
    run_beside(release_there, release_here);
    CHECK_EQ(drops, OBJECTS);
    pthread_barrier_destroy(&round_begins);
}

// ---- GOMEM_STORE_ATOMIC, GOMEM_EXCHANGE and GOMEM_CAS publish; EXCHANGE and CAS receive ----

static struct record *slot;

static struct record *take(uint64_t round) {
    struct record *r = NULL, *none = NULL;
    if (round % 2) return GOMEM_EXCHANGE(&slot, none);
    r = __atomic_load_n(&slot, __ATOMIC_RELAXED);
    return r && GOMEM_CAS(&slot, &r, none) ? r : NULL;
}
static void *receive(void *arg) {
    for (uint64_t round = 0; round < OBJECTS; round++) {
        struct record *r;
        while ((r = take(round)) == NULL) sched_yield();
        CHECK_EQ(r->number, round);
        CHECK_EQ(r->check, sum(round));
    }
    return arg;
}
static void publish(void) {
    for (uint64_t round = 0; round < OBJECTS; round++) {
        struct record *r = GOMEM_NEW_NOSCAN(struct record), *none = NULL;
        if (!CHECK(r != NULL)) exit(1);
        write_record(r, round);
        while (__atomic_load_n(&slot, __ATOMIC_RELAXED)) sched_yield();
        if (round % 3 == 0) GOMEM_STORE_ATOMIC(&slot, r);
        else if (round % 3 == 1) CHECK(GOMEM_EXCHANGE(&slot, r) == NULL);
        else CHECK(GOMEM_CAS(&slot, &none, r));
    }
}
TEST(atomic_stores_publish) { run_beside(receive, publish); }

// ---- a thread's creator, the thread, and its joiner ----

static void *answer(void *arg) {
    const struct record *question = arg;
    CHECK_EQ(question->check, sum(question->number));
    struct record *r = GOMEM_NEW_NOSCAN(struct record);
    if (CHECK(r != NULL)) write_record(r, question->number + 1);
    return r;
}
TEST(create_and_join) {
    for (uint64_t i = 0; i < 50; i++) {
        pthread_t thread;
        void *result = NULL;
        struct record *r = GOMEM_NEW_NOSCAN(struct record);
        REQUIRE(r != NULL);
        write_record(r, i);
        REQUIRE(gomem_thread_create(&thread, NULL, answer, r) == 0);
        REQUIRE(gomem_thread_join(&thread, &result) == 0);
        const struct record *a = result;
        CHECK(a != NULL && a->number == i + 1 && a->check == sum(i + 1));
    }
}

// ---- stores -> gomem_gc, if they happen before the call ----

static struct record **table; // a collected array
static uint64_t stored;       // atomic: acq/rel
static uint64_t looked;       // atomic: acq/rel

static void *store_there(void *arg) {
    for (uint64_t round = 1; round <= 200; round++) {
        for (uint64_t i = 0; i < 64; i++) {
            struct record *r = GOMEM_NEW_NOSCAN(struct record);
            if (!CHECK(r != NULL)) exit(1);
            write_record(r, round);
            GOMEM_STORE(&table[i], r);
        }
        __atomic_store_n(&stored, round, __ATOMIC_RELEASE); // pairs with collect_stored
        while (__atomic_load_n(&looked, __ATOMIC_ACQUIRE) < round) sched_yield(); // the same
    }
    return arg;
}
static void collect_stored(void) {
    for (uint64_t round = 1; round <= 200; round++) {
        while (__atomic_load_n(&stored, __ATOMIC_ACQUIRE) < round) sched_yield();
        (void)gomem_gc();
        for (uint64_t i = 0; i < 64; i++) {
            CHECK_EQ(table[i]->number, round);
            CHECK_EQ(table[i]->check, sum(round));
        }
        __atomic_store_n(&looked, round, __ATOMIC_RELEASE); // pairs with store_there
    }
}
TEST(stores_before_gc) {
    table = GOMEM_MAKE(struct record *, 64);
    REQUIRE(table != NULL);
    run_beside(store_there, collect_stored);
    table = NULL;
}

// ---- fork -> the child ----

TEST(fork_before_child) {
#if defined TEST_TSAN
    SKIP("ThreadSanitizer: a child of a process with threads may not go on");
#endif
    struct record *r = GOMEM_NEW_NOSCAN(struct record), *m = GOMEM_MALLOC(struct record);
    REQUIRE(r != NULL && m != NULL);
    write_record(r, 1);
    write_record(m, 2);
    gomem_weak w = gomem_weak_make(r);
    pid_t child = fork();
    if (child == 0) {
        bool good = r->check == sum(1) && m->check == sum(2) && gomem_weak_get(w) == r;
        good &= gomem_gc() && GOMEM_NEW(struct record) != NULL;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    GOMEM_KEEP_ALIVE(r);
    GOMEM_FREE(struct record, m);
}

TEST_MAIN
