// Room base: bits, text, messages.
#include "room.h"
#include "child.h"

TEST(ones) {
    for (unsigned from = 0; from < 64; from++)
        for (unsigned n = 1; n <= 64 - from; n++) {
            uint64_t expected = 0;
            for (unsigned i = from; i < from + n; i++) expected |= (uint64_t)1 << i;
            CHECK(gm_base_ones(from, n) == expected);
        }
}

TEST(counting) {
    for (int i = 0; i < 10000; i++) {
        uint64_t x = room_random() >> room_below(64);
        unsigned n = 0, low = 64;
        for (unsigned b = 64; b-- > 0;)
            if (x >> b & 1) n++, low = b;
        CHECK_EQ(gm_base_popcount(x), n);
        if (x) CHECK_EQ(gm_base_ctz(x), low);
    }
}

TEST(rounding) {
    for (size_t unit = 1; unit <= 4096; unit *= 2)
        for (size_t x = 0; x < 9000; x += 7) {
            size_t up = gm_base_round_up(x, unit);
            CHECK(up >= x && up - x < unit && up % unit == 0);
        }
    size_t powers = 0;
    for (size_t x = 0; x <= 4096; x++) powers += gm_base_power_of_two(x);
    CHECK_EQ(powers, 13);
}

TEST(numbers_as_text) {
    static const uint64_t numbers[] = {0, 1, 9, 10, 99, 100, 4294967296u, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct gm_text t = {0, {0}};
        char expected[64];
        gm_text_number(&t, numbers[i]);
        gm_text_put(&t, " ");
        gm_text_pointer(&t, (uintptr_t)numbers[i]);
        snprintf(expected, sizeof expected, "%ju 0x%jx", (uintmax_t)numbers[i],
                 (uintmax_t)numbers[i]);
        CHECK(!strcmp(t.data, expected) && t.size == strlen(expected));
    }
    struct gm_text t = {0, {0}};
    gm_text_base(&t, 7, 10, 3);
    CHECK(!strcmp(t.data, "007"));
}

TEST(thousandths) {
    static const struct {
        uint64_t in;
        const char *out;
    } cases[] = {{0, "0"},      {1, "0.001"},     {10, "0.01"},      {100, "0.1"},
                 {1000, "1"},   {1500, "1.5"},    {1234, "1.234"},   {999999, "999.999"},
                 {20000, "20"}, {20050, "20.05"}, {1234567, "1234"}, {1000000, "1000"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gm_text t = {0, {0}};
        gm_text_milli(&t, cases[i].in);
        CHECK(!strcmp(t.data, cases[i].out));
    }
}

TEST(a_full_text_is_cut) {
    struct gm_text t = {0, {0}};
    for (int i = 0; i < 1000; i++) gm_text_put(&t, "abc");
    CHECK_EQ(t.size, sizeof t.data - 1);
    CHECK_EQ(strlen(t.data), t.size);
    gm_text_number(&t, 12345);
    CHECK_EQ(strlen(t.data), sizeof t.data - 1);
}

TEST(messages_are_whole) {
    for (unsigned i = 0; i < GM_MESSAGE_COUNT; i++)
        for (unsigned k = 0; k < 2; k++) {
            const char *text = gm_base_messages[i][k];
            REQUIRE(text != NULL);
            CHECK(*text && strlen(text) < 100 && !strchr(text, '\n'));
        }
}

static void log_lines(void) {
    char line[900];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = 0;
    gm_base_log("short");
    gm_base_log(line);
    gm_base_log("");
}

TEST(lines_end) {
    struct child child;
    child_run(&child, log_lines);
    REQUIRE(child_good(&child));
    CHECK_EQ(child_lines(&child), 3);
    CHECK(!strncmp(child.text, "short\nxxx", 9));
    const char *end = strchr(child.text + 6, '\n');
    CHECK(end && end - child.text < 700);
    CHECK(end && !strcmp(end, "\n\n"));
}

static void break_invariant(void) {
    int evaluated = 0;
    gm_assert(++evaluated);
    CHECK_EQ(evaluated, GOMEM_I_CHECK ? 1 : 0);
    gm_assert(evaluated == 2);
}

TEST(broken_invariants_abort) {
    struct child child;
    child_run(&child, break_invariant);
    if (!GOMEM_I_CHECK) {
        CHECK_EQ(child.status, 0);
        return;
    }
    CHECK(WIFSIGNALED(child.status) && WTERMSIG(child.status) == SIGABRT);
    CHECK(strstr(child.text, "gomem: broken invariant: evaluated == 2 (gomem.h:"));
    CHECK_EQ(child_lines(&child), 1);
}

TEST_MAIN
