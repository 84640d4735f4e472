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

// What the formatter writes into `room` bytes; its result is the caller's to check.
__attribute__((format(printf, 3, 4))) static int write_text(char *to, size_t room,
                                                            const char *format, ...) {
    struct gm_arguments args;
    va_start(args.list, format);
    int n = gm_text_write(to, room, format, &args);
    va_end(args.list);
    return n;
}

#define SAME_AS_LIBC(...)                                                 \
    do {                                                                  \
        char expected[100], got[100];                                     \
        int length = snprintf(expected, sizeof expected, __VA_ARGS__);    \
        CHECK_EQ(write_text(got, sizeof got, __VA_ARGS__), length);       \
        if (length < (int)sizeof expected) CHECK(!strcmp(got, expected)); \
    } while (0)

TEST(time_does_not_run_back) {
    CHECK_EQ(gm_base_since(7, 5), 2);
    CHECK_EQ(gm_base_since(5, 5), 0);
    CHECK_EQ(gm_base_since(5, 7), 0);
}

TEST(formats_say_what_libc_says) {
    static const uint64_t numbers[] = {0, 1, 9, 10, 99, 100, 4294967296u, INT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        uint64_t n = numbers[i];
        SAME_AS_LIBC("%u %x %d", (unsigned)n, (unsigned)n, (int)n);
        SAME_AS_LIBC("%lu %lx %ld", (unsigned long)n, (unsigned long)n, (long)n);
        SAME_AS_LIBC("%llu %llx %lld", (unsigned long long)n, (unsigned long long)n, (long long)n);
        SAME_AS_LIBC("%zu %zx %zd", (size_t)n, (size_t)n, (ptrdiff_t)n);
        SAME_AS_LIBC("100%% of %c%c, %s%s", 'a' + (int)i, '%', "a string of more than 16 bytes",
                     "");
    }
}

// It stops at what it does not know, and says how far it came.
TEST(formats_left_to_libc) {
    static const char *const formats[] = {"%5d",  "%-d",  "%.3s", "%f",  "%p",  "%ls", "%lc",
                                          "%hhd", "%lzu", "%zlu", "%jd", "%td", "%i",  "%"};
    char got[100];
    struct gm_arguments args;
    memset(&args, 0, sizeof args); // no argument is taken
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        char format[100];
        snprintf(format, sizeof format, "before %s after", formats[i]);
        if (!strcmp(formats[i], "%")) format[8] = 0;
        CHECK_EQ(gm_text_write(got, sizeof got, format, &args), ~7);
        CHECK(!strcmp(got, "before "));
    }
    const char *volatile none = NULL;
    CHECK_EQ(write_text(got, sizeof got, "a %s b", none), ~2);
}

TEST(a_format_is_cut_at_any_byte) {
    static const char whole[] = "abc 12345 a string of more than 16 bytes, 0xbeef%";
    int size = (int)sizeof whole - 1;
    for (int room = 1; room <= size + 2; room++) {
        char got[100];
        memset(got, '#', sizeof got);
        int n = write_text(got, (size_t)room, "abc %d %s, 0x%x%%", 12345,
                           "a string of more than 16 bytes", 0xbeefu);
        int fits = room <= size ? room - 1 : size;
        CHECK_EQ(n, room <= size ? ~fits : fits);
        CHECK(!memcmp(got, whole, (size_t)fits) && !got[fits] && got[room] == '#');
    }
}

TEST(thousandths) {
    static const struct {
        uint64_t in;
        const char *out;
    } cases[] = {{0, "0"},      {1, "0.001"},     {10, "0.01"},      {100, "0.1"},
                 {1000, "1"},   {1500, "1.5"},    {1234, "1.234"},   {999999, "999.999"},
                 {20000, "20"}, {20050, "20.05"}, {1234567, "1234"}, {1000000, "1000"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(!strcmp(gm_text_milli(cases[i].in).data, cases[i].out));
    }
}

TEST(a_full_text_is_cut) {
    struct gm_text t = gm_text_make("%s", "");
    for (int i = 0; i < 1000; i++) gm_text_format(&t, "abc%d", 12345);
    CHECK_EQ(t.size, sizeof t.data - 1);
    CHECK_EQ(strlen(t.data), t.size);
    gm_text_format(&t, "%s", "x");
    CHECK_EQ(strlen(t.data), sizeof t.data - 1);
    t = gm_text_message(GM_MSG_FOREIGN, ": %s", t.data); // the advice is cut
    CHECK_EQ(strlen(t.data), sizeof t.data - 1);
    CHECK(!strncmp(t.data, "gomem: free of a foreign pointer: abc12345abc", 45));
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

// A name fits a line: each byte of what is no printable character is a question mark, and a
// character is never cut.
TEST(names) {
    static const char *const some[][2] = {
        {"", ""},
        {NULL, ""},
        {"plain", "plain"},
        {"\n\t\x7f\xff\xc2\x9b", "??????"},
        {"\xc3\xa9\xe2\x82\xac\xe2\x82", "\xc3\xa9\xe2\x82\xac??"}};
    static char name[1000];
    for (unsigned i = 0; i < sizeof some / sizeof some[0]; i++)
        CHECK(!strcmp(gm_text_name(some[i][0]).data, some[i][1]));
    for (unsigned n = 250; n < 400; n++) {
        memset(name, 'x', n);
        memcpy(name + n, "\xe2\x82\xac", 4);
        struct gm_name is = gm_text_name(name);
        size_t whole = strspn(is.data, "x");
        CHECK_EQ(whole, n < 256 ? n : 256);
        CHECK(!strcmp(is.data + whole, n <= 253 ? "\xe2\x82\xac" : "..."));
    }
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
