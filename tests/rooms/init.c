// Room init: which options are valid, and which of them a running heap can change (L3).
#include "room.h"

TEST(valid_options) {
    static const struct {
        gomem_options o;
        bool valid;
    } cases[] = {{{.gc_percent = 0}, true},         {{.gc_percent = -1}, true},
                 {{.gc_percent = -2}, false},       {{.mark_workers = -1}, false},
                 {{.mark_workers = 1000}, true},    {{.force_period_ms = -1}, true},
                 {{.force_period_ms = -2}, false},  {{.collector = GOMEM_GC_STW}, true},
                 {{.collector = -1}, false},        {{.collector = 99}, false},
                 {{.stop_signal = SIGKILL}, false}, {{.stop_signal = SIGSTOP}, false},
                 {{.stop_signal = -1}, false},      {{.stop_signal = 10000}, false},
                 {{.stop_signal = SIGUSR2}, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(gm_init_options_valid(&cases[i].o), cases[i].valid);
}

TEST(options_of_a_running_heap) {
    gomem_options now = {.reserve = GM_MIB, .stop_signal = 5, .pointer_mask = 7}, same = now,
                  none = {0};
    CHECK(gm_init_options_agree(&same, &now) && gm_init_options_agree(&none, &now));
    gomem_options others[] = {{.reserve = 1}, {.stop_signal = 6}, {.pointer_mask = 1}};
    for (int i = 0; i < 3; i++) CHECK(!gm_init_options_agree(&others[i], &now));
    gomem_options percent = {.gc_percent = 50, .mark_workers = 3, .force_period_ms = 7};
    CHECK(gm_init_options_agree(&percent, &now));
}

#if GOMEM_I_COLLECTOR
// What the pacer has learned of a heap goes with it: the next one begins as the first did (A2).
TEST(learned_anew) {
    struct gm_pacer *p = &gm_runtime.engine.pacer;
    REQUIRE(gomem_new(16) != NULL && COLLECTED());
    p->runway = p->heavy = 3 * GM_MIB;
    p->kept = GM_MIB;
    p->other = 100 * GM_MIB;
    gomem_shutdown();
    REQUIRE(gomem_init(&(gomem_options){.memory_limit = 200 * GM_MIB}));
    CHECK_EQ(p->runway + p->heavy + p->kept + p->other, 0);
    CHECK_EQ(p->goal, 4 * GM_MIB);
    CHECK_EQ(p->trigger, p->goal);
    CHECK(gomem_new(16) != NULL && COLLECTED());
}
#endif

TEST_MAIN
