// gomem_strdup, gomem_strndup (manual) and gomem_new_string (collected).
#include "alive.h"

TEST(strdup) {
    static const char *const texts[] = {"", "a", "hello, world", "1234567", "12345678"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *copy = gomem_strdup(texts[i]);
        REQUIRE(copy != NULL);
        CHECK(copy != texts[i] && strcmp(copy, texts[i]) == 0);
        gomem_free(copy);
    }
    static char text[100000];
    memset(text, 'x', sizeof text - 1);
    char *copy = gomem_strdup(text);
    REQUIRE(copy != NULL);
    CHECK(strcmp(copy, text) == 0);
    gomem_free(copy);
}

TEST(strndup) {
    char *copy = gomem_strndup("hello", 3);
    REQUIRE(copy != NULL);
    CHECK(strcmp(copy, "hel") == 0);
    gomem_free(copy);
    copy = gomem_strndup("hello", 100);
    REQUIRE(copy != NULL);
    CHECK(strcmp(copy, "hello") == 0);
    gomem_free(copy);
    copy = gomem_strndup("hello", 0);
    REQUIRE(copy != NULL);
    CHECK(strcmp(copy, "") == 0);
    gomem_free(copy);
    copy = gomem_strndup("hello", SIZE_MAX);
    REQUIRE(copy != NULL);
    CHECK(strcmp(copy, "hello") == 0);
    gomem_free(copy);
}

// n bounds what is read: there need be no NUL.
TEST(strndup_without_nul) {
    static const char bytes[4] = {'a', 'b', 'c', 'd'};
    char *copy = gomem_strndup(bytes, sizeof bytes);
    REQUIRE(copy != NULL);
    CHECK(strcmp(copy, "abcd") == 0);
    gomem_free(copy);
}

TEST(new_string) {
    for (size_t n = 0; n < 300; n++) {
        char text[301];
        memset(text, 'y', sizeof text);
        text[n] = '\0';
        char *whole = gomem_new_string(text, SIZE_MAX), *exact = gomem_new_string(text, n);
        REQUIRE(whole != NULL && exact != NULL);
        CHECK(strcmp(whole, text) == 0);
        CHECK(strcmp(exact, text) == 0);
        CHECK(gomem_usable_size(whole) >= n + 1);
    }
    char *part = gomem_new_string("hello", 2);
    REQUIRE(part != NULL);
    CHECK(strcmp(part, "he") == 0);
}

// A string is noscan: an address among its bytes keeps nothing.
TEST(new_string_is_not_scanned) {
    static struct alive_set set;
    static char *strings[ALIVE_N];
    REQUIRE(alive_scatter(&set));
    for (size_t i = 0; i < ALIVE_N; i++) {
        char text[32];
        memset(text, 'z', sizeof text);
        strings[i] = gomem_new_string(text, sizeof text);
        REQUIRE(strings[i] != NULL);
        void *p = alive_show(set.hidden[i]);
        memcpy(strings[i], &p, sizeof p);
    }
    alive_gc();
    CHECK(alive_count(&set) <= ALIVE_FEW);
    for (size_t i = 0; i < ALIVE_N; i++) {
        REQUIRE(gomem_base(strings[i]) == strings[i]);
        CHECK(strings[i][31] == 'z' && strings[i][32] == '\0');
        strings[i] = NULL;
    }
}

// Strings that are reachable live on with their bytes.
TEST(new_string_lives) {
    enum { N = 2000 };
    char **strings = gomem_new(N * sizeof *strings);
    REQUIRE(strings != NULL);
    char text[64];
    for (size_t i = 0; i < N; i++) {
        snprintf(text, sizeof text, "string number %zu", i);
        strings[i] = gomem_new_string(text, SIZE_MAX);
        if (i % 500 == 0) gomem_gc();
    }
    gomem_gc();
    for (size_t i = 0; i < N; i++) {
        snprintf(text, sizeof text, "string number %zu", i);
        REQUIRE(strings[i] != NULL && strcmp(strings[i], text) == 0);
    }
    GOMEM_KEEP_ALIVE(strings);
}

TEST_MAIN
