// Room writes: the stop source.
#include "room.h"
#include "child.h"

static struct gm_writes writes;

TEST(arm_collect_disarm) { // W1
    gm_writes_arm_stopped(&writes, 3);
    CHECK_EQ(gm_writes_collect_stopped(&writes, 3), 0);
    gm_writes_disarm_stopped(&writes);
    gm_writes_arm_stopped(&writes, 4); // again
    CHECK_EQ(gm_writes_collect_stopped(&writes, 4), 0);
    gm_writes_disarm_stopped(&writes);
    CHECK(!strcmp(gm_writes_name(), "stw"));
}

static void another_stop(void) {
    gm_writes_arm_stopped(&writes, 5);
    (void)gm_writes_collect_stopped(&writes, 6);
}
static void armed_twice(void) {
    gm_writes_arm_stopped(&writes, 7);
    gm_writes_arm_stopped(&writes, 7);
}

TEST(the_stop_must_be_the_same) {
    static void (*const cases[])(void) = {another_stop, armed_twice};
    if (!GOMEM_I_CHECK) SKIP("asserted from check level 1 on");
    for (int i = 0; i < 2; i++) {
        struct child child;
        child_run(&child, cases[i]);
        CHECK(WIFSIGNALED(child.status) && strstr(child.text, "broken invariant"));
    }
}

TEST_MAIN
