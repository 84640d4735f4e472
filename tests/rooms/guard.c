// Room guard: the lines that prove misuse.
#include "room.h"

static struct gm_heap heap;
static char said[700];
static void *said_to;

static void note(const char *line, void *user) {
    snprintf(said, sizeof said, "%s", line);
    said_to = user;
}

static const char *describe(uintptr_t word) {
    static struct gm_text t;
    t = gm_guard_describe(&heap.pages, word);
    return t.data;
}

// The description of a word, with the addresses of word and object filled in.
static bool reads(uintptr_t word, uintptr_t object, const char *middle, const char *end) {
    char expected[300];
    if (object)
        snprintf(expected, sizeof expected, "0x%jx is %s object at 0x%jx (%s)", (uintmax_t)word,
                 middle, (uintmax_t)object, end);
    else snprintf(expected, sizeof expected, "0x%jx is %s", (uintmax_t)word, middle);
    if (!strcmp(describe(word), expected)) return true;
    printf("\n    %s\n    %s", describe(word), expected);
    return false;
}

TEST(descriptions) {
    REQUIRE(room_heap(&heap, 8));
    unsigned class = gm_sizes_class(48, 16);
    struct gm_span *s = gm_heap_take(&heap, GM_MANUAL, class, 0, 0);
    struct gm_span *large = gm_heap_take(&heap, GM_SCAN, 0, 100000, 0);
    REQUIRE(s && large);
    gm_heap_publish(&heap, s);
    gm_heap_publish(&heap, large);
    uintptr_t at = gm_span_start(&heap.pages, s), big = gm_span_start(&heap.pages, large);
    uintptr_t tail = (uintptr_t)s->count * 48;
    // Nothing of the objects is touched (G1).
    gm_os_protect(at, at + 2 * GM_PAGE, PROT_NONE);
    gm_os_protect(big, big + 13 * GM_PAGE, PROT_NONE);
    CHECK(reads(at + 96, at + 96, "a 48-byte manual", "class 5, slot 2 of 341"));
    CHECK(reads(at + 100, at + 96, "4 bytes into a 48-byte manual", "class 5, slot 2 of 341"));
    CHECK(reads(at + tail + 5, at + tail, "in the tail of a span of a 48-byte manual",
                "class 5, slot 341 of 341"));
    CHECK(reads(big, big, "a 100000-byte scanned", "large"));
    CHECK(reads(big + 99, big, "99 bytes into a 100000-byte scanned", "large"));
    CHECK(reads(heap.pages.base + heap.pages.size / 2, 0, "in a free page of the heap", NULL));
    CHECK(reads(123, 0, "not in the heap: nothing is mapped there", NULL));
    gm_heap_retire(large); // a cache has it, and it holds no object
    CHECK(reads(big + 99, 0, "in a free page of the heap", NULL));
    room_end_pages(&heap.pages);
}

TEST(every_kind_has_a_name) {
    REQUIRE(room_heap(&heap, 8));
    for (unsigned kind = GM_MANUAL; kind < GM_KINDS; kind++) {
        struct gm_span *s = gm_heap_take(&heap, kind, 10, 0, 0);
        gm_heap_publish(&heap, s);
        CHECK(strstr(describe(gm_span_start(&heap.pages, s)), gm_guard_kinds[kind]));
        for (unsigned other = 1; other < kind; other++)
            CHECK(strcmp(gm_guard_kinds[kind], gm_guard_kinds[other]));
    }
    room_end_pages(&heap.pages);
}

TEST(callbacks) {
    int user;
    struct gm_guard g = {.warn = note, .user = &user};
    gm_guard_warn(&g, "a warning");
    CHECK(!strcmp(said, "a warning") && said_to == &user);
    g = (struct gm_guard){.panic = note};
    gm_guard_panic(&g, "a panic");
    CHECK(!strcmp(said, "a panic") && said_to == NULL);
}

// "gomem: what: where; advice", whole, for each message and the longest description.
TEST(messages) {
    struct gm_guard g = {.panic = note};
    REQUIRE(room_heap(&heap, 8));
    struct gm_span *s = gm_heap_take(&heap, GM_ROOT_NOSCAN, GOMEM_CLASSES, 0, 0);
    gm_heap_publish(&heap, s);
    uintptr_t at = gm_span_start(&heap.pages, s) + (uintptr_t)7 * 32768 + 32767;
    for (unsigned m = 0; m < GM_MESSAGE_COUNT; m++)
        for (int with = 0; with < 2; with++) {
            gm_guard_misuse(&g, &heap.pages, (enum gm_message)m, with ? (void *)at : NULL);
            const char *advice = gm_base_messages[m][1];
            size_t n = strlen(said), k = strlen(advice);
            CHECK(!strncmp(said, "gomem: ", 7) && strstr(said, gm_base_messages[m][0]) == said + 7);
            CHECK(n > k + 2 && !strcmp(said + n - k, advice) && !memcmp(said + n - k - 2, "; ", 2));
            CHECK_EQ(strstr(said, "32767 bytes into a 32768-byte uncollectable noscan") != NULL,
                     with);
        }
    room_end_pages(&heap.pages);
}

TEST_MAIN
