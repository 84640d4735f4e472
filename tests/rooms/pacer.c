// Room pacer: inputs and goals.
#define _GNU_SOURCE
#include <stdint.h>
#include <time.h>

// The clock goes as a test says.
static uint64_t passed; // ns. atomic: relaxed
static int tell_time(clockid_t clock, struct timespec *ts) {
    uint64_t ns = 1000000000u + __atomic_load_n(&passed, __ATOMIC_RELAXED);
    (void)clock;
    ts->tv_sec = (time_t)(ns / 1000000000u);
    ts->tv_nsec = (long)(ns % 1000000000u);
    return 0;
}
#define GOMEM_CLOCK(clock, time) tell_time((clock), (time))
#include "room.h"
#include "child.h"

#define MB(n) ((size_t)(n)*GM_MIB)

TEST(goals) { // A1
    static const struct {
        size_t live, roots;
        int percent;
        size_t goal;
    } cases[] = {
        {0, 0, 100, MB(4)},
        {0, 0, 200, MB(8)},
        {0, 0, 50, MB(2)},
        {0, 0, 1, MB(4) / 100},
        {MB(1), 0, 100, MB(4)},
        {MB(2), 0, 100, MB(4)},
        {MB(3), 0, 100, MB(6)},
        {MB(1), MB(5), 100, MB(7)},
        {MB(100), 0, 100, MB(200)},
        {MB(100), 0, 50, MB(150)},
        {MB(100), MB(10), 100, MB(210)},
        {MB(100), 0, 400, MB(500)},
        {MB(100), 0, 1, MB(101)},
        {MB(100), MB(20), 50, MB(160)},
        {MB(1000000), 0, 100, MB(2000000)},
        {12345, 678, 100, MB(4)},
        {MB(100), MB(1), GOMEM_GC_OFF, SIZE_MAX},
        {0, 0, GOMEM_GC_OFF, SIZE_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(gm_pacer_goal(cases[i].live, cases[i].roots, cases[i].percent), cases[i].goal);
}

TEST(goals_grow_with_everything) {
    for (int i = 0; i < 20000; i++) {
        size_t live = room_below(MB(1) << room_below(16)), roots = room_below(MB(50));
        int percent = 1 + (int)room_below(1000);
        size_t goal = gm_pacer_goal(live, roots, percent);
        CHECK(goal >= live);
        CHECK(gm_pacer_goal(live + 1 + room_below(MB(9)), roots, percent) >= goal);
        CHECK(gm_pacer_goal(live, roots + 1 + room_below(MB(9)), percent) >= goal);
        CHECK(gm_pacer_goal(live, roots, percent + 1) >= goal);
    }
}

TEST(setting) { // A2
    struct gm_pacer p = {.percent = 100};
    gm_pacer_set(&p, MB(30), MB(2));
    CHECK_EQ(p.live, MB(30));
    CHECK_EQ(p.goal, MB(62));
    CHECK_EQ(p.trigger, p.goal);
    p.percent = GOMEM_GC_OFF;
    gm_pacer_set(&p, p.live, p.roots);
    CHECK(p.trigger == SIZE_MAX && p.live == MB(30));
}

TEST(waiting) { // A5
    struct gm_pacer p = {.percent = 100, .kept = MB(20)};
    gm_pacer_set(&p, MB(21), 0);
    CHECK_EQ(p.live, MB(21));
    CHECK_EQ(p.goal, MB(20) + GM_PACER_LEAST);
    gm_pacer_set(&p, MB(50), 0);
    CHECK_EQ(p.goal, MB(80));
    p.kept = MB(60); // read at different times
    gm_pacer_set(&p, MB(50), 0);
    CHECK_EQ(p.goal, MB(50) + GM_PACER_LEAST);
    p.percent = GOMEM_GC_OFF;
    gm_pacer_set(&p, MB(50), 0);
    CHECK_EQ(p.goal, SIZE_MAX);
}

TEST(triggers) { // A2
    static const struct {
        size_t live, goal, runway, trigger;
    } cases[] = {
        {MB(100), MB(200), 0, MB(200)},      // a stopping collector
        {MB(100), MB(200), MB(20), MB(180)}, // as much is allocated while a cycle runs
        {MB(100), MB(200), MB(50), MB(150)},
        {MB(100), MB(200), MB(500), MB(125)}, // not before a quarter of the way
        {MB(100), MB(200), 1, MB(195)},       // not after 0.95
        {MB(200), MB(200), MB(5), MB(200)},   // no way
        {MB(300), MB(200), MB(5), MB(200)},   //
        {0, MB(4), MB(1), MB(3)},             //
        {MB(9), SIZE_MAX, MB(1), SIZE_MAX},   // off
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(gm_pacer_trigger(cases[i].live, cases[i].goal, cases[i].runway), cases[i].trigger);
    struct gm_pacer p = {.percent = 100};
    gm_pacer_learn(&p, MB(8), 0, MB(100)); // nothing to compare it with
    CHECK_EQ(p.runway, MB(10) + GM_KIB);
    p.live = MB(100);
    gm_pacer_learn(&p, 0, 0, MB(100)); // down slowly
    CHECK(p.runway > MB(7) && p.runway < MB(8));
    gm_pacer_learn(&p, MB(80), 0, MB(50)); // up at once
    CHECK_EQ(p.runway, MB(100) + GM_KIB);
    gm_pacer_learn(&p, MB(80), 0, MB(150)); // the heap grows
    CHECK_EQ(p.runway, MB(150) + GM_KIB);
    gm_pacer_learn(&p, MB(80), 0, MB(900)); // but not so for ever
    CHECK_EQ(p.runway, MB(200) + GM_KIB);
}

TEST(memory_limits) { // A3
    static const struct {
        size_t limit, other, least, live, goal;
    } cases[] = {
        {0, MB(500), MB(1), MB(10), SIZE_MAX},       // none
        {MB(320), 0, MB(1), MB(10), MB(310)},        // a 32nd is left for what lies between objects
        {MB(320), MB(100), MB(1), MB(10), MB(210)},  //
        {MB(320), MB(400), MB(1), MB(10), MB(11)},   // what else there is exceeds it
        {MB(320), MB(100), MB(1), MB(300), MB(301)}, // what lives does
        {MB(320), MB(100), MB(40), MB(300), MB(340)}, // half of the time at most
        {MB(32), 0, MB(40), MB(1), MB(31)},           // by half of what lives, or 4 MiB, at most
        {MB(320), 0, MB(500), MB(150), MB(310)},      // so twice what lives is kept
        {MB(320), 0, MB(500), MB(300), MB(450)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gm_pacer p = {.percent = GOMEM_GC_OFF};
        p.limit = cases[i].limit;
        p.other = cases[i].other;
        p.least = cases[i].least;
        CHECK_EQ(gm_pacer_limit_goal(&p, cases[i].live), cases[i].goal);
        gm_pacer_set(&p, cases[i].live, 0);
        CHECK_EQ(p.goal, cases[i].goal); // the percent is off
        p.percent = 1;
        gm_pacer_set(&p, cases[i].live, 0);
        CHECK(p.goal <= cases[i].goal);
    }
    CHECK_EQ(gm_pacer_growth(MB(100), 1000, 500), MB(50));
    CHECK_EQ(gm_pacer_growth(MB(100), 500, 1000), MB(200));
    CHECK_EQ(gm_pacer_growth(0, 500, 1000), MB(1));
    CHECK_EQ(gm_pacer_growth(MB(1), 0, 1000), MB(1));
    CHECK_EQ(gm_pacer_growth(SIZE_MAX / 2, 1, UINT64_MAX), SIZE_MAX / 4);
}

TEST(debts) { // A4
    static const struct {
        size_t over, bytes;
        uint64_t ns;
    } cases[] = {
        {0, 4096, 2000},             // a run, from the goal on
        {MB(1), 4096, 2000},         //
        {MB(6), 4096, 10909},        // 11 MB lie between goal and hard goal
        {MB(11), 4096, 20000},       //
        {MB(11) + 1, 4096, 60000},   // past it
        {MB(14), 4096, 120000},      // a quarter further
        {MB(500), 4096, 3840000},    // not for ever
        {MB(11), 32768, 8 * 20000},  // by the byte
        {MB(11), 16, 20000},         // but for a run at least
        {0, MB(1), 256 * 2000},      // a large object pays on its way there,
        {MB(1), MB(2), 512 * 2000},  //
        {MB(8), MB(2), 512 * 14545}, // and more beyond
        {MB(10), MB(20), 2560 * 2000 + 2560 * 18181},
        {MB(10) - 1, MB(20), 2560 * 2000 + 2560 * 18180}, // a begun 4 KiB counts whole
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(gm_pacer_debt(MB(100), MB(100) + cases[i].over, cases[i].bytes), cases[i].ns);
    CHECK_EQ(gm_pacer_hard(MB(100)), MB(111));
    CHECK_EQ(gm_pacer_hard(SIZE_MAX), SIZE_MAX);
}

TEST(large_objects_and_triggers) { // A4
    struct gm_pacer p = {.percent = 100};
    gm_pacer_learn(&p, 0, MB(10), MB(100));
    gm_pacer_set(&p, MB(100), 0);
    CHECK_EQ(p.trigger, MB(190) - GM_KIB);
    gm_pacer_learn(&p, 0, MB(90), MB(100));
    gm_pacer_set(&p, MB(100), 0);
    CHECK(p.trigger > MB(169) && p.trigger <= MB(171)); // three tenths of the way
    p.runway = 0;
    gm_pacer_set(&p, MB(100), 0);
    CHECK_EQ(p.trigger, p.goal); // a stopping collector
}

// ---- half of the time ----

static uint64_t cycle_takes; // ns

static void spend(int what, uint64_t ns, void *user) {
    (void)ns, (void)user;
    if (what == GOMEM_EVENT_BEGIN) (void)__atomic_fetch_add(&passed, cycle_takes, __ATOMIC_RELAXED);
}

struct part { // 8 KiB
    struct part *next;
    char rest[8184];
};
GOMEM_TYPE(part_type, struct part, next); // so that marking 40 MiB a hundred times takes no time

// 40 MiB live under a limit of 1 MiB, where a MiB takes a tenth of a second to allocate. Returns the
// cycles that 100 MiB of garbage cost when each takes `tenths`.
static uint64_t cycles_below_what_lives(unsigned tenths) {
    gomem_options o = {.gc_percent = GOMEM_GC_OFF, .memory_limit = GM_MIB, .event = spend};
    o.collector = GOMEM_GC_STW;
    if (!gomem_init(&o)) exit(2);
    struct part *volatile list = NULL;
    uint64_t before = 0;
    for (int i = 0; i < 140 * 128; i++) {
        struct part *k = GOMEM_NEW_TYPED(struct part, &part_type);
        if (!k) exit(3);
        if (i < 40 * 128) k->next = list, list = k;
        if (i == 40 * 128) before = gomem_num_gc();
        if (i == 30 * 128) cycle_takes = tenths * (uint64_t)100000000;
        (void)__atomic_fetch_add(&passed, 100000000 / 128, __ATOMIC_RELAXED);
    }
    return gomem_num_gc() - before;
}

static void short_cycles(void) { // a tenth of a second: one for each MiB at most
    uint64_t n = cycles_below_what_lives(1);
    CHECK(n >= 90 && n <= 101);
}
static void long_cycles(void) { // a second: one for each 10 MiB
    uint64_t n = cycles_below_what_lives(10);
    CHECK(n >= 9 && n <= 11);
}
static void endless_cycles(void) { // ten seconds: one for each 20 MiB, half of what lives
    uint64_t n = cycles_below_what_lives(100);
    CHECK(n >= 4 && n <= 6);
}

TEST(half_of_the_time) { // A3
    CHILD_GOOD(short_cycles);
    CHILD_GOOD(long_cycles);
    CHILD_GOOD(endless_cycles);
}

TEST(percent_of_the_process) {
    CHECK_EQ(gomem_set_gc_percent(50), 100);
    CHECK_EQ(gm_runtime.engine.pacer.trigger, MB(2));
    CHECK_EQ(gomem_set_gc_percent(-7), 50);
    CHECK_EQ(gm_runtime.engine.pacer.trigger, SIZE_MAX);
    CHECK_EQ(gomem_set_gc_percent(300), GOMEM_GC_OFF);
    CHECK_EQ(gm_runtime.engine.pacer.trigger, MB(12));
    CHECK_EQ(gomem_set_gc_percent(100), 300);
}

TEST_MAIN
