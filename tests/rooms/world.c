// Room world: settings, records, sections, stops, the gate.
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

static bool no_membarrier; // as on old kernels and in some sandboxes
static bool refused(long number, ...) { return no_membarrier && number == SYS_membarrier; }
#define GOMEM_SYSCALL(...) (refused(__VA_ARGS__) ? -1 : gm_libc_syscall(__VA_ARGS__))

static const char *env_gogc, *env_debug; // the environment
#define GOMEM_GETENV(name) \
    (!strcmp((name), "GOMEM_GOGC") ? env_gogc : !strcmp((name), "GOMEM_DEBUG") ? env_debug : NULL)
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
static atomic_int in_init; // 1: the thread that makes the key says so (2), and lets others come
static void (*others_come)(void);
static int make_key(pthread_key_t *key, void (*destructor)(void *)) {
    int asked = 1;
    if (atomic_compare_exchange_strong(&in_init, &asked, 2)) others_come();
    return pthread_key_create(key, destructor);
}
#define GOMEM_PTHREAD_KEY_CREATE(key, destructor) make_key((key), (destructor))
#include <signal.h>
static atomic_int discards; // of pending signals
static int count_action(int signal, const struct sigaction *action, struct sigaction *old) {
    if (action && action->sa_handler == SIG_IGN) atomic_fetch_add(&discards, 1);
    return sigaction(signal, action, old);
}
#define GOMEM_SIGACTION(signal, action, old) count_action((signal), (action), (old))
extern int plain_madvise(void *, size_t, int) __asm__("madvise");
static atomic_int giving_back; // 1: the next call says so (2), and waits for 3
static int slow_madvise(void *at, size_t size, int advice) {
    int asked = 1;
    if (atomic_compare_exchange_strong(&giving_back, &asked, 2))
        while (atomic_load(&giving_back) != 3) (void)sched_yield();
    return plain_madvise(at, size, advice);
}
#define GOMEM_MADVISE(at, size, advice) slow_madvise((at), (size), (advice))
#include "room.h"
#include "child.h"

static struct gm_runtime *const rt = &gm_runtime;
static struct gm_world *const world = &gm_runtime.world;

static void *first_use(void *arg) {
    gomem_free(gomem_malloc(100));
    return arg;
}

// Waits until a thread waits for the lock INIT: the one that forks.
static void fork_waits(void) {
    int i = 0;
    while (i < 60000 && gm_load_rlx(&world->init_lock.word) != 2) i += 1 + poll(NULL, 0, 1);
    CHECK(i < 60000);
}

static void fork_while_another_thread_begins(void) {
    pthread_t thread;
    int status = -1;
    others_come = fork_waits;
    atomic_store(&in_init, 1);
    CHECK(pthread_create(&thread, NULL, first_use, NULL) == 0);
    while (atomic_load(&in_init) != 2) (void)sched_yield();
    pid_t pid = fork();
    if (pid == 0) {
        (void)alarm(20);
        void *p = gomem_malloc(100);
        bool good = p && gomem_new(100) && HEAP_IS_WHOLE();
        gomem_free(p);
        _exit(!good);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    CHECK_EQ(status, 0);
    pthread_join(thread, NULL);
    gomem_free(gomem_malloc(100));
}

// The first test: the process must not have used gomem yet.
TEST(fork_in_the_middle_of_init) { // V6
    NEEDS_FORK;
    CHILD_GOOD(fork_while_another_thread_begins);
}

// ---- settings ----

static int warnings;
static char warned[700];

static void note(const char *line, void *user) {
    (void)user;
    warnings++;
    snprintf(warned, sizeof warned, "%s", line);
}

static const struct gm_settings *parse(const char *gogc, const char *debug) {
    static struct gm_runtime fresh;
    memset(&fresh.world.settings, 0, sizeof fresh.world.settings);
    fresh.engine.guard.warn = note;
    env_gogc = gogc, env_debug = debug;
    warnings = 0;
    gm_settings_read_environment(&fresh);
    gm_settings_tell(&fresh, fresh.world.settings.unknowns); // as the start does, after INIT
    env_gogc = env_debug = NULL;
    return &fresh.world.settings;
}

// `auto` is nine tenths of what the control group may have, and no limit where it has none.
TEST(auto_leaves_a_tenth) {
    CHECK_EQ(gm_settings_share((uint64_t)1000 << 20), (size_t)900 << 20);
    CHECK_EQ(gm_settings_share(4096), 4096 - 409);
    CHECK_EQ(gm_settings_share(UINT64_MAX), 0);
}

// Bytes as the environment names them; 0: not understood. No limit is beyond what an object can have.
TEST(bytes_from_the_environment) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {{"0", 0},
                 {"1", 1},
                 {"4096B", 4096},
                 {"3KiB", 3072},
                 {"2MiB", 2 << 20},
                 {"1GiB", 1 << 30},
                 {"1GB", 0},
                 {"1 MiB", 0},
                 {"-1", 0},
                 {"9223372036854775808", 0},
                 {"9223372036854775808B", 0},
                 {"18446744073709551615", 0},
                 {"18446744073709551616", 0},
                 {"9007199254740992KiB", 0},
                 {"", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(gm_settings_bytes(cases[i].text), cases[i].bytes);
    char most[24];
    snprintf(most, sizeof most, "%td", (ptrdiff_t)PTRDIFF_MAX);
    CHECK_EQ(gm_settings_bytes(most), PTRDIFF_MAX);
}

TEST(percent_from_the_environment) {
    static const struct {
        const char *text;
        int percent, warnings;
    } cases[] = {{NULL, 0, 0},    {"", 0, 0},
                 {"100", 100, 0}, {"1", 1, 0},
                 {"off", -1, 0},  {"0", 0, 1},
                 {"-1", 0, 1},    {"Off", 0, 1},
                 {"12x", 0, 1},   {" 50", 0, 1},
                 {"50 ", 0, 1},   {"+5", 0, 1},
                 {"400", 400, 0}, {"99999999999999999999", 0, 1},
                 {"1e3", 0, 1},   {"0x10", 0, 1},
                 {"007", 7, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_EQ(parse(cases[i].text, NULL)->options.gc_percent, cases[i].percent);
        CHECK_EQ(warnings, cases[i].warnings);
    }
}

TEST(debug_keys) {
    static const struct {
        const char *text;
        int flags, warnings; // gctrace 1, verify 2, stats 4, poison 8
    } cases[] = {
        {"", 0, 0},
        {"gctrace=1", 1, 0},
        {"verify=1,stats=1", 6, 0},
        {"gctrace=1,gctrace=0", 0, 0},
        {",,poison=1,", 8, 0},
        {"collector=stw,verify=1", 2, 0},
        {"collector=other", 0, 1},
        {"gctrace", 0, 1},
        {"gctrace=", 0, 1},
        {"gctrace=2", 0, 1},
        {"gctrace=11", 0, 1},
        {"gctrac=1", 0, 1},
        {"gctraces=1", 0, 1},
        {"=1", 0, 1},
        {"stats=1,bad,verify=1,worse", 6, 2},
        {"Verify=1", 0, 1},
#if GOMEM_I_REPORT && !GM_ASAN && !GM_TSAN
        {"guard=0,guard=1/1,guard=1/1000000", 0, 0},
        {"guard=1/0,guard=1/1000001,guard=2/1", 0, 3},
#endif
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct gm_settings *s = parse(NULL, cases[i].text);
        CHECK_EQ(s->gctrace | s->verify << 1 | s->stats << 2 | s->poison << 3, cases[i].flags);
        CHECK_EQ(warnings, cases[i].warnings);
    }
    (void)parse(NULL,
                "bad\nkey\1that is longer than the line may show and longer and longer still=1");
    CHECK(warnings == 1 && !strchr(warned, '\n') && strstr(warned, "bad?key?that") &&
          strstr(warned, "gctrace=0|1"));
}

#if GOMEM_I_REPORT
TEST(rates_of_profiles) {
    static const struct {
        const char *text;
        size_t rate;
        bool good;
    } some[] = {{"1", 1, true},
                {"512KiB", 512 * GM_KIB, true},
                {"off", 0, true},
                {"0", 0, true},
                {"1GiB", GM_PROF_MOST, true},
                {"1TiB", GM_PROF_MOST, true},
                {"", 7, false},
                {"-1", 7, false},
                {"00", 7, false},
                {"x", 7, false},
                {"1MiBx", 7, false},
                {"11111111111111111111111111111111", 7, false}};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++) {
        static struct gm_settings s;
        s.profile = 7;
        CHECK_EQ(gm_settings_profile(&s, some[i].text, strlen(some[i].text)), some[i].good);
        CHECK_EQ(s.profile, some[i].rate);
    }
}

// All outputs together have GM_OUTPUTS bytes, the kind and the end of each path among them.
TEST(outputs_fill_their_room) {
    static struct {
        struct gm_settings s;
        char behind[16];
    } one;
    static const char kind[] = "metrics:";
    static char value[GM_OUTPUTS + 64];
    size_t path = GM_OUTPUTS - 2, head = sizeof kind - 1;
    memset(value, 'p', sizeof value);
    memcpy(value, kind, head);
    for (size_t most = path; most <= path + 2; most++) {
        memset(&one, 0, sizeof one);
        CHECK_EQ(gm_settings_add_output(&one.s, value, head + most), most == path);
        CHECK_EQ(one.s.outputs_size, most == path ? GM_OUTPUTS : 0);
    }
    memset(&one, 0, sizeof one);
    CHECK(gm_settings_add_output(&one.s, value, head + 100));
    CHECK(!gm_settings_add_output(&one.s, value, head + path - 101)); // one byte too long
    CHECK(gm_settings_add_output(&one.s, value, head + path - 102));
    CHECK_EQ(one.s.outputs_size, GM_OUTPUTS);
    CHECK(!gm_settings_add_output(&one.s, value, head + 1));
}
#endif

TEST(size_of_the_heap) {
    gomem_options o = {.reserve = 1};
    CHECK_EQ(gm_world_heap_size(&o), 2 * GM_CHUNK);
    o.reserve = 100 * GM_MIB;
    CHECK_EQ(gm_world_heap_size(&o), 104 * GM_MIB);
    o.reserve = SIZE_MAX; // does not overflow
    CHECK_EQ(gm_world_heap_size(&o), (size_t)16 << 40);
}

// ---- threads to be stopped ----

enum { SPINS, WORKS, SITS, KINDS };
static struct actor {
    pthread_t thread;
    int kind;
    bool quit;      // atomic
    bool ready;     // atomic
    uint64_t steps; // atomic
    struct gm_thread *record;
} actors[3];

static void *act(void *arg) {
    struct actor *a = arg;
    a->record = gm_world_attach(rt);
    while (!gm_load_acq(&a->quit)) {
        if (a->kind == WORKS) gomem_free(gomem_i_malloc_slow(100, 16)); // a section each
        if (a->kind == SITS) gomem_blocking_begin();
        if (gm_load_rlx(&a->steps) == 2) gm_store_rel(&a->ready, true);
        if (a->kind == SITS)
            for (int i = 0; i < 100; i++) (void)sched_yield();
        if (a->kind == SITS) gomem_blocking_end();
        if (gm_add_rlx(&a->steps, 1u) % 4096 == 0) (void)sched_yield();
    }
    return NULL;
}

static bool start_actors(size_t n) {
    if (!CHECK(gomem_thread_attach()) || !CHECK(gm_world_enable_stops(rt))) return false;
    for (size_t i = 0; i < n; i++) {
        actors[i] = (struct actor){.kind = (int)i % KINDS};
        if (!CHECK(pthread_create(&actors[i].thread, NULL, act, &actors[i]) == 0)) return false;
    }
    for (size_t i = 0; i < n; i++)
        while (!gm_load_acq(&actors[i].ready)) (void)sched_yield();
    return true;
}

static void end_actors(size_t n) {
    for (size_t i = 0; i < n; i++) gm_store_rel(&actors[i].quit, true);
    for (size_t i = 0; i < n; i++) pthread_join(actors[i].thread, NULL);
}

static bool stands(const struct actor *a) {
    uint32_t state = gm_load_seq(&a->record->state);
    return state == GM_THREAD_BLOCKED || state == (GM_STATE(GM_THREAD_PARKED, world->epoch));
}

// While the world is stopped nothing moves; afterwards everything does.
TEST(stop_and_start) {
    enum { N = 3 };
    uint64_t steps[N];
    REQUIRE(start_actors(N));
    for (int round = 0; round < 20; round++) {
        gm_world_lock_cycle(rt);
        CHECK(gm_world_stop(rt, gm_world_self(), GM_PATIENCE_NS));
        for (int i = 0; i < N; i++) {
            CHECK(stands(&actors[i]));
            if (!GM_TSAN) CHECK(!actors[i].record->cache.hot.section_depth); // Y1
            steps[i] = gm_load_rlx(&actors[i].steps);
        }
        for (int i = 0; i < 50; i++) (void)sched_yield();
        for (int i = 0; i < N; i++) CHECK_EQ(gm_load_rlx(&actors[i].steps), steps[i]);
        gm_world_resume(rt);
        gm_world_unlock_cycle(rt);
        for (int i = 0; i < N; i++)
            while (gm_load_rlx(&actors[i].steps) == steps[i]) (void)sched_yield();
    }
    end_actors(N);
    CHECK_EQ(world->stop_request, 0);
}

static bool release; // atomic

static void *deaf(void *arg) {
    struct actor *a = arg;
    sigset_t set;
    a->record = gm_world_attach(rt);
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    gm_store_rel(&a->ready, true);
    while (!gm_load_acq(&release)) (void)gm_add_rlx(&a->steps, 1u);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    while (!gm_load_acq(&a->quit)) (void)gm_add_rlx(&a->steps, 1u);
    return NULL;
}

static bool stopped; // atomic

static void *stop_once(void *arg) {
    (void)arg;
    struct gm_thread *me = gm_world_attach(rt);
    gm_world_lock_cycle(rt);
    CHECK(gm_world_stop(rt, me, GM_PATIENCE_NS));
    CHECK(stands(&actors[0]) && stands(&actors[1]));
    gm_world_resume(rt);
    gm_world_unlock_cycle(rt);
    gm_store_rel(&stopped, true);
    return NULL;
}

// V3: a stop that does not gather everybody is withdrawn, and everybody goes on; it is tried again.
TEST(withdrawn) {
    pthread_t stopper;
    REQUIRE(start_actors(1));
    actors[1] = (struct actor){.kind = SPINS};
    release = stopped = false;
    REQUIRE(pthread_create(&actors[1].thread, NULL, deaf, &actors[1]) == 0);
    while (!gm_load_acq(&actors[1].ready)) (void)sched_yield();
    gomem_blocking_begin(); // this thread counts as stopped
    uint32_t epoch = world->epoch;
    REQUIRE(pthread_create(&stopper, NULL, stop_once, NULL) == 0);
    for (uint32_t i = 2; i <= GM_WITHDRAWALS / 2; i++) { // until the i-th stop is tried
        while (gm_load_seq(&world->stop_request) >> 3 < epoch + i && !gm_load_acq(&stopped))
            (void)sched_yield();
    }
    CHECK_EQ(gm_load_seq(&actors[1].record->state), GM_THREAD_RUNNING);
    gm_store_rel(&release, true);
    pthread_join(stopper, NULL);
    gomem_blocking_end();
    end_actors(2);
}

static void stop_and_go(void) {
    gm_world_lock_cycle(rt);
    CHECK(gm_world_stop(rt, gm_world_self(), 60 * (uint64_t)GM_PATIENCE_NS));
    gm_world_resume(rt);
    gm_world_unlock_cycle(rt);
}

// V9: what no handler has heard is discarded, and nothing is where all have heard. A handler that
// runs when its stop is over is counted late, and costs one more.
TEST(unheard_signals_are_taken_back) {
    REQUIRE(start_actors(0));
    actors[0] = (struct actor){.kind = SPINS};
    release = false;
    REQUIRE(pthread_create(&actors[0].thread, NULL, deaf, &actors[0]) == 0);
    while (!gm_load_acq(&actors[0].ready)) (void)sched_yield();
    int before = atomic_load(&discards);
    gm_world_lock_cycle(rt);
    CHECK(!gm_world_stop(rt, gm_world_self(), 5 * (uint64_t)GM_GATHER_NS));
    gm_world_unlock_cycle(rt);
    CHECK(atomic_load(&discards) > before);
    gm_store_rel(&release, true);
    uint64_t withdrawn = rt->engine.stats.withdrawn;
    before = atomic_load(&discards);
    for (int i = 0; i < 50; i++) stop_and_go();
    uint64_t late = rt->engine.stats.withdrawn - withdrawn;
    if (!GM_TSAN) CHECK((uint64_t)(atomic_load(&discards) - before) <= 2 * late + 2);
    end_actors(1);
}

// A thread that blocks the signal calls the handler itself, in a later stop than the first: as if the
// kernel had prepared that call for the signal of the first one.
static void *heard_late(void *arg) {
    struct actor *a = arg;
    sigset_t set;
    ucontext_t context;
    a->record = gm_world_attach(rt);
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK(getcontext(&context) == 0);
    uint32_t epoch = world->epoch; // no stop runs
    gm_store_rel(&a->ready, true);
    while (gm_load_seq(&world->stop_request) >> 3 <= epoch + 1) {}
    gm_world_handler(world->signal, NULL, &context);
    CHECK(sigpending(&set) == 0 && !sigismember(&set, world->signal));
    gm_store_rel(&a->quit, true);
    sigfillset(&set);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return NULL;
}

// V9: a call of the handler for a stop that is over does not hide that the signal of the next is
// pending.
TEST(late_calls_hide_no_signal) {
    REQUIRE(start_actors(0));
    actors[0] = (struct actor){.kind = SPINS};
    REQUIRE(pthread_create(&actors[0].thread, NULL, heard_late, &actors[0]) == 0);
    while (!gm_load_acq(&actors[0].ready)) (void)sched_yield();
    stop_and_go();
    while (!gm_load_acq(&actors[0].quit)) (void)sched_yield();
    CHECK(!actors[0].record->late); // it has parked in the handler
    pthread_join(actors[0].thread, NULL);
}

static bool leave, inside; // atomic

static void *sit_in_section(void *arg) {
    struct actor *a = arg;
    a->record = gm_world_attach(rt);
    gm_sync_enter(&a->record->cache.hot);
    gm_store_rel(&inside, true);
    while (!gm_load_acq(&leave)) {}
    gm_sync_leave(&a->record->cache.hot);
    gm_store_rel(&inside, false);
    while (!gm_load_acq(&a->quit)) (void)sched_yield();
    return NULL;
}

// Begins a stop, with its locks held, that waits in vain for one thread; returns its request.
static uint32_t stop_that_waits(struct gm_thread *me) {
    gm_sync_lock(&world->gone_lock);
    gm_sync_lock(&world->lock);
    uint32_t stop_request = ++world->epoch << 3;
    gm_store_seq(&world->stop_request, stop_request);
    CHECK_EQ(gm_world_running(world, me, stop_request, true), 1);
    CHECK(!gm_world_gather(world, me, stop_request, GM_GATHER_NS));
    return stop_request;
}

// A thread in a section is waited for; it parks as it leaves.
TEST(sections_are_not_stopped) {
    struct gm_thread *me = NULL;
    REQUIRE(start_actors(0));
    me = gm_world_self();
    actors[0] = (struct actor){.kind = SPINS};
    leave = false;
    REQUIRE(pthread_create(&actors[0].thread, NULL, sit_in_section, &actors[0]) == 0);
    while (!gm_load_acq(&inside)) (void)sched_yield();
    uint32_t stop_request = stop_that_waits(me);
    CHECK_EQ(gm_load_seq(&actors[0].record->state), GM_THREAD_RUNNING);
    gm_store_rel(&leave, true);
    CHECK(gm_world_gather(world, me, stop_request, 60 * (uint64_t)GM_PATIENCE_NS));
    CHECK(gm_load_acq(&inside)); // it stands at the end of its section
    CHECK(stands(&actors[0]) && !actors[0].record->in_handler);
    CHECK(actors[0].record->registers.sp - actors[0].record->stack_lo <
          actors[0].record->stack_hi - actors[0].record->stack_lo);
    gm_world_resume(rt);
    end_actors(1);
}

// libc allocates when a thread asks for its stack, with our malloc under the override: it is in a
// section then, and a stop waits for its end.
#if defined(__GLIBC__) && !GM_ASAN && !GM_TSAN
#define LIBC_ALLOCATES 1
static _Thread_local bool attaches;
extern void *find_symbol(void *, const char *) __asm__("dlsym");
extern int pthread_getattr_np(pthread_t, pthread_attr_t *);
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr) {
    union {
        void *object;
        int (*fn)(pthread_t, pthread_attr_t *);
    } next = {.object = find_symbol((void *)-1L, "pthread_getattr_np")}; // RTLD_NEXT
    if (attaches) {
        attaches = false;
        gomem_free(gomem_malloc((size_t)200 << 20)); // so much is given back at once
    }
    return next.fn(thread, attr);
}
#else
#define LIBC_ALLOCATES 0
static bool attaches;
#endif

static void *attach_slowly(void *arg) {
    attaches = true;
    atomic_store(&giving_back, 1);
    const struct gm_thread *t = gm_world_attach(rt);
    CHECK(t && t->stack_hi > 1);
    return arg;
}

TEST(attaching_threads_are_waited_for) {
    pthread_t thread;
    struct gm_thread *me = NULL;
    if (!LIBC_ALLOCATES) SKIP("nothing stands between this program and its libc");
    REQUIRE(start_actors(0));
    me = gm_world_self();
    REQUIRE(pthread_create(&thread, NULL, attach_slowly, NULL) == 0);
    while (atomic_load(&giving_back) != 2) (void)sched_yield();
    uint32_t stop_request = stop_that_waits(me);
    atomic_store(&giving_back, 3);
    CHECK(gm_world_gather(world, me, stop_request, 60 * (uint64_t)GM_PATIENCE_NS));
    gm_world_resume(rt);
    pthread_join(thread, NULL);
}

// V2: a signal with no stop pending changes nothing.
TEST(late_signals) {
    REQUIRE(start_actors(0));
    struct gm_thread *me = gm_world_self();
    uint32_t acks = world->acks;
    errno = 33;
    for (int i = 0; i < 100; i++) pthread_kill(pthread_self(), world->signal);
    CHECK_EQ(errno, 33);
    CHECK_EQ(me->state, GM_THREAD_RUNNING);
    CHECK(!me->in_handler && world->acks == acks);
}

TEST(blocking_regions_nest) {
    REQUIRE(start_actors(0));
    struct gm_thread *me = gm_world_self();
    gomem_blocking_begin();
    gomem_blocking_begin();
    CHECK_EQ(me->state, GM_THREAD_BLOCKED);
    gomem_free(gomem_i_malloc_slow(64, 16)); // leaves the region and comes back
    CHECK_EQ(me->state, GM_THREAD_BLOCKED);
    gomem_blocking_end();
    CHECK_EQ(me->state, GM_THREAD_BLOCKED);
    gomem_blocking_end();
    CHECK_EQ(me->state, GM_THREAD_RUNNING);
    CHECK_EQ(me->cache.hot.blocked, 0);
}

// The copy of the frames is all scanned, so it holds nothing of an earlier region.
TEST(regions_leave_no_words) {
    REQUIRE(start_actors(0));
    struct gm_thread *me = gm_world_self();
    for (unsigned n = 0; n < 3; n++) {
        uintptr_t words = 0, top = n * 8 * GM_WORD;
        memset(me->frame, 0x55, sizeof me->frame);
        gm_world_block(world, me, top ? (uintptr_t)__builtin_frame_address(0) - 4096 + top : 0);
        for (size_t i = 0; i < sizeof me->frame / GM_WORD; i++)
            words += me->frame[i] == (uintptr_t)0x5555555555555555u;
        gm_world_end_block(world, me);
        CHECK_EQ(words, 0);
    }
}

// ---- records ----

static void *note_record(void *arg) {
    gomem_free(gomem_malloc(40));
    *(struct gm_thread **)arg = gm_world_self();
    return NULL;
}

TEST(records_are_used_again) { // V4
    struct gm_thread *first = NULL, *record = NULL;
    REQUIRE(start_actors(0));
    uint32_t threads = world->threads, numbers = 0;
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, note_record, &record) == 0);
        pthread_join(thread, NULL);
        CHECK(record && record->state == GM_THREAD_NONE && !record->cache.hot.size);
        if (!first) first = record, numbers = world->numbers;
        CHECK(record == first);
    }
    CHECK_EQ(world->threads, threads);
    CHECK_EQ(world->numbers, numbers);
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) // it left nothing behind
        CHECK(record->cache.hot.top[c] == GM_CACHE_NOTHING && !record->cache.previous[c]);
}

// Leaves a record as a thread does that a fork has removed wherever it was.
static void *spoil_record(void *arg) {
    (void)note_record(arg);
    struct gm_thread *me = gm_world_self();
    me->reports = me->told = me->cache.prof.busy = true;
    me->called = 1;
    me->futile = 9;
    me->in_vain = UINT64_MAX;
    me->sent = 3;
    me->late = true;
    return NULL;
}

// The next thread with the record is not taken for the one before.
static void *check_record(void *arg) {
    (void)note_record(arg);
    const struct gm_thread *me = gm_world_self();
    CHECK(!me->reports && !me->told && !me->cache.prof.busy && !me->start);
    CHECK(me->called == 0 && me->futile == 0 && me->in_vain == 0);
    CHECK(me->sent == 0 && me->counted == me->heard && !me->late && me->rounds == 0);
    return NULL;
}
TEST(records_begin_anew) {
    struct gm_thread *first = NULL, *record = NULL;
    pthread_t thread;
    REQUIRE(start_actors(0));
    REQUIRE(pthread_create(&thread, NULL, spoil_record, &first) == 0);
    pthread_join(thread, NULL);
    REQUIRE(pthread_create(&thread, NULL, check_record, &record) == 0);
    pthread_join(thread, NULL);
    CHECK(record == first);
}

TEST(attach_and_detach) {
    REQUIRE(gomem_thread_attach());
    struct gm_thread *me = gm_world_self();
    CHECK(gm_world_attach(rt) == me);
    gomem_thread_detach();
    CHECK(gm_world_self() == NULL && me->state == GM_THREAD_NONE);
    gomem_thread_detach();
    void *p = gomem_malloc(1); // attaches again
    CHECK(gm_world_self() && gm_world_self()->state == GM_THREAD_RUNNING);
    gomem_free(p);
}

// ---- the gate and fork ----

TEST(gate) {
    enum { N = 3 };
    REQUIRE(start_actors(N));
    for (int round = 0; round < 10; round++) {
        gm_sync_lock(&world->gone_lock);
        gm_sync_lock(&world->lock);
        gm_world_close_gate(rt, gm_world_self());
        for (int i = 0; i < N; i++)
            CHECK_EQ(gm_load_acq(&actors[i].record->cache.hot.section_depth), 0);
        uint64_t spins = gm_load_rlx(&actors[SPINS].steps),
                 works = gm_load_rlx(&actors[WORKS].steps);
        while (gm_load_rlx(&actors[SPINS].steps) == spins) (void)sched_yield(); // outside all go on
        CHECK(gm_load_rlx(&actors[WORKS].steps) <= works + 1);
        gm_world_resume(rt);
        while (gm_load_rlx(&actors[WORKS].steps) <= works + 1) (void)sched_yield();
    }
    end_actors(N);
}

// Without membarrier the gate closes as well, and leaves no trace in the heap.
TEST(gate_without_membarrier) {
    REQUIRE(start_actors(1));
    void *p = gomem_new(64);
    for (int i = 0; i < 10; i++) {
        no_membarrier = i % 2;
        gm_sync_lock(&world->gone_lock);
        gm_sync_lock(&world->lock);
        gm_world_close_gate(rt, gm_world_self());
        gm_world_resume(rt);
        CHECK(gomem_base(p) == p);
        CHECK(HEAP_IS_WHOLE());
    }
    no_membarrier = false;
    end_actors(1);
}

static void gate_on_the_manual_heap(void) {
    gomem_options none = {0};
    no_membarrier = true;
    REQUIRE(gomem_init(&none));
    void *p = gomem_malloc(64);
    CHECK(HEAP_IS_WHOLE()); // closes the gate
    gomem_free(p);
}

TEST(gate_without_membarrier_or_collector) {
    NEEDS_FORK;
    gomem_shutdown();
    CHILD_GOOD(gate_on_the_manual_heap);
    gomem_options none = {0};
    CHECK(gomem_init(&none));
}

static void *hoard(void *arg) {
    struct actor *a = arg;
    for (int i = 0; i < 100; i++) gomem_free(gomem_malloc(500));
    gomem_free(gomem_new(100));
    a->record = gm_world_self();
    gm_store_rel(&a->ready, true);
    while (!gm_load_acq(&a->quit)) (void)sched_yield();
    return NULL;
}

static void look_at_records(void) {
    const struct gm_thread *t = actors[0].record;
    CHECK(t->state == GM_THREAD_NONE && world->threads == 1);
    CHECK(t->orphans && !t->stack_hi); // its scratch arenas may be half changed
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        CHECK(t->cache.hot.top[c] == GM_CACHE_NOTHING && !t->cache.previous[c]);
        CHECK(!t->cache.scan[c] && !t->cache.hot.scan[c].cursor);
    }
    CHECK(HEAP_IS_WHOLE());
}

// The child takes over what its parent's other threads held.
TEST(fork_takes_over) {
    NEEDS_FORK;
    REQUIRE(start_actors(0));
    actors[0] = (struct actor){.kind = SPINS};
    REQUIRE(pthread_create(&actors[0].thread, NULL, hoard, &actors[0]) == 0);
    while (!gm_load_acq(&actors[0].ready)) (void)sched_yield();
    CHILD_GOOD(look_at_records);
    CHECK(actors[0].record->state != GM_THREAD_NONE); // here nothing changed
    end_actors(1);
    CHECK(HEAP_IS_WHOLE());
}

#if GOMEM_I_COLLECTOR
// A fork comes between two tries of a cycle's stop. The child has no such cycle.
static void look_at_lists(void) { CHECK(!rt->roots.again && !rt->roots.running); }

TEST(fork_between_two_tries_of_a_stop) {
    NEEDS_FORK;
    first_use(NULL);
    rt->roots.again = rt->roots.running = true;
    CHILD_GOOD(look_at_lists);
    CHECK(rt->roots.again && rt->roots.running);
    rt->roots.again = rt->roots.running = false;
}
#endif

// Two threads fork in their sections, as signal handlers do that have interrupted them: neither waits
// for the other. (V10)
static atomic_int forkers, failed_forks;

// Forks; false: the child did not end as it should.
static bool fork_and_wait(void) {
    int status = -1;
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    return status == 0;
}

static void *fork_in_section(void *arg) {
    first_use(NULL);
    gomem_i_cache *hot = &gm_world_self()->cache.hot;
    gm_sync_enter(hot);
    atomic_fetch_add(&forkers, 1);
    while (atomic_load(&forkers) < 2) (void)sched_yield();
    if (!fork_and_wait()) atomic_fetch_add(&failed_forks, 1);
    atomic_fetch_add(&forkers, 1);
    while (atomic_load(&forkers) < 4) (void)sched_yield();
    gm_sync_leave(hot);
    return arg;
}

static void use_and_verify(void) {
    first_use(NULL);
    CHECK(HEAP_IS_WHOLE());
}

TEST(forks_inside) { // V10
    NEEDS_FORK;
    pthread_t threads[2];
    first_use(NULL);
    struct gm_lock *const locks[] = {
        &world->init_lock,
#if GOMEM_I_COLLECTOR
        &rt->gc.lock,
        &rt->gc.turn,
#endif
        &world->gone_lock,
        &world->lock
    };
    for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
        gm_sync_lock(locks[i]);
        CHECK(fork_and_wait());
        CHECK_EQ(gm_load_rlx(&locks[i]->owner), gm_os_thread_pointer());
        gm_sync_unlock(locks[i]);
    }
    atomic_store(&forkers, 0);
    (void)alarm(60); // a hang guard
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&threads[i], NULL, fork_in_section, NULL) == 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    (void)alarm(0);
    CHECK_EQ(atomic_load(&failed_forks), 0);
    CHILD_GOOD(use_and_verify); // outside of the library nothing has changed
    CHECK(HEAP_IS_WHOLE());
}

// A handler forks between our fork handlers: the first fork goes on as it was.
TEST(forks_of_forks) { // V10
    first_use(NULL);
    gm_world_fork_prepare();
    gm_world_fork_prepare();
    gm_world_fork_parent();
    CHECK_EQ(gm_load_rlx(&world->stop_request), (uint32_t)GM_GATE);
    CHECK(gm_world_forks(world));
    gm_world_fork_parent();
    CHECK_EQ(gm_load_rlx(&world->stop_request), 0u);
    CHECK(!gm_world_forks(world));
    gm_world_fork_parent(); // behind a fork that took nothing
    CHECK(HEAP_IS_WHOLE());
}

#if GOMEM_I_COLLECTOR
TEST(pauses_of_stops) {
    first_use(NULL);
    gm_world_lock_cycle(rt);
    gm_store_rlx(&rt->gc.not_before, (uint64_t)0);
    gm_world_pause(rt, 1000, true); // for a thread that only lacks a processor allocations wait
    CHECK_EQ(gm_load_rlx(&rt->gc.not_before), (uint64_t)0);
    uint64_t before = gm_os_now();
    gm_world_pause(rt, 1000, false);
    CHECK(gm_load_rlx(&rt->gc.not_before) >= before + 1000 + 2 * (uint64_t)GM_GATHER_NS);
    gm_store_rlx(&rt->gc.not_before, (uint64_t)0);
    gm_world_unlock_cycle(rt);
}
#endif

static atomic_bool ended, attached;

static void *run_until_ended(void *arg) {
    first_use(arg);
    atomic_store(&attached, true);
    while (!atomic_load(&ended)) (void)sched_yield();
    return arg;
}

// A stop that took `stood` ns has just ended, and `waiting` threads have not woken yet: how long does
// the next one wait?
static uint64_t next_stop_after(uint64_t stood, uint32_t waiting) {
    uint64_t now = gm_os_now();
    gm_store_rlx(&world->stopped, now - stood);
    gm_store_rlx(&world->opened, now);
    (void)gm_add_rlx(&world->waiting, waiting);
    gm_world_yield_before_stop(world, gm_world_self());
    (void)gm_add_rlx(&world->waiting, -waiting);
    return gm_os_now() - now;
}

TEST(stops_take_turns) { // V5
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, run_until_ended, NULL) == 0);
    while (!atomic_load(&attached)) (void)sched_yield();
    CHECK(next_stop_after(300000, 0) >= 300000);
    CHECK(next_stop_after(20000000, 0) >= GM_GATHER_NS); // and not 20 ms
    CHECK(next_stop_after(100, 1) >= GM_GATHER_NS);
    atomic_store(&ended, true);
    pthread_join(thread, NULL);
}

// ---- what the warning says of a thread that does not stop ----

static atomic_uint sleeper;

static void *sleep_until_asked(void *arg) {
    struct pollfd asked = {.fd = *(int *)arg, .events = POLLIN};
    atomic_store(&sleeper, (unsigned)gm_os_thread_id());
    while (poll(&asked, 1, -1) != 1) continue;
    return NULL;
}

// The warning on thread `id`.
static const char *told_of(uint32_t id) {
    static struct gm_runtime fresh;
    fresh.engine.guard.warn = note;
    fresh.world.signal = SIGUSR2;
    gm_world_report_straggler(&fresh, id);
    return warned;
}

// A thread that keeps stops from being complete is named once, after a second, or after ten if it
// only lacks a processor.
TEST(named_once) {
    first_use(NULL);
    struct gm_thread *self = gm_world_self();
    struct gm_task sleeps = {.state = 'S'}, runs = {.state = 'R'}, blocks = {.state = 'R'};
    uint64_t since = world->unstopped_since;
    blocks.blocked = true;
    world->unstopped_since = 0;
    CHECK(!gm_world_is_report_due(world, self->id, &sleeps));
    world->unstopped_since = gm_os_now() - 2 * (uint64_t)GM_PATIENCE_NS;
    CHECK(!gm_world_is_report_due(world, 1, &sleeps)); // none of ours
    CHECK(!gm_world_is_report_due(world, self->id, &runs));
    CHECK(gm_world_is_report_due(world, self->id, &blocks));
    CHECK(!gm_world_is_report_due(world, self->id, &blocks));
    CHECK(!gm_world_is_report_due(world, self->id, &sleeps));
    self->told = false;
    world->unstopped_since = gm_os_now() - 11 * (uint64_t)GM_PATIENCE_NS;
    CHECK(gm_world_is_report_due(world, self->id, &runs));
    CHECK(!gm_world_is_report_due(world, self->id, &runs));
    self->told = false;
    world->unstopped_since = since;
}

TEST(what_keeps_a_thread_is_told) {
    sigset_t set, old;
    pthread_t thread;
    int pipes[2];
    struct gm_task task = {.state = 0};
    CHECK(strstr(told_of(gm_os_thread_id()), "gets no processor for") &&
          strstr(warned, "the machine is busy"));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    CHECK(strstr(told_of(gm_os_thread_id()), "blocks") && strstr(warned, "out of its masks"));
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    REQUIRE(pipe(pipes) == 0 && pthread_create(&thread, NULL, sleep_until_asked, &pipes[0]) == 0);
    while (!atomic_load(&sleeper)) (void)sched_yield();
    while (gm_os_read_task(atomic_load(&sleeper), SIGUSR2, &task) && task.state != 'S')
        (void)sched_yield();
    CHECK(strstr(told_of(atomic_load(&sleeper)), "has not yet answered") &&
          strstr(warned, "the machine is busy"));
    CHECK(write(pipes[1], "", 1) == 1);
    pthread_join(thread, NULL);
    CHECK(strstr(told_of(1), "out of its masks")); // not a thread of ours: nothing is known
}

TEST_MAIN
