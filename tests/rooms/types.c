// Room types: interning, shapes.
static _Bool refused; // mappings are
#define GOMEM_MMAP(addr, size, prot, flags, fd, offset) \
    (refused ? MAP_FAILED : mmap((addr), (size), (prot), (flags), (fd), (offset)))
#include "room.h"

struct pair {
    void *a;
    long n;
    void *b;
};
GOMEM_TYPE(pair_type, struct pair, a, b);
GOMEM_TYPE(fewer_fields, struct pair, a);
GOMEM_TYPE_NOPTR(no_fields, struct pair);

static struct gm_meta meta;
static struct gm_types types;

static bool begin(void) {
    memset(&types, 0, sizeof types);
    return CHECK(gm_pages_meta_init(&meta)) && CHECK(gm_types_init(&types, &meta));
}

static gomem_type copy_of(const gomem_type *t) {
    gomem_type copy = *t;
    copy.index = 0;
    return copy;
}

static void mark_nothing(const void *obj, size_t size, gomem_marker *m) {
    (void)obj, (void)size, (void)m;
}

TEST(same_type_in_two_files) { // D1
    REQUIRE(begin());
    gomem_type first = copy_of(&pair_type), second = copy_of(&pair_type);
    gomem_field fields[2] = {pair_type.fields[0], pair_type.fields[1]};
    char name[32];
    snprintf(name, sizeof name, "%s", pair_type.name);
    second.fields = fields;
    second.name = name;
    uint32_t number = gm_types_intern(&types, &first, 4);
    CHECK(number != 0 && gm_types_intern(&types, &first, 4) == number);
    CHECK_EQ(gm_types_intern(&types, &second, 4), number);
    CHECK_EQ(first.index, second.index);
    memset(name, 0, sizeof name); // what was given is copied, so it may go
    memset(fields, 0, sizeof fields);
    gomem_type third = copy_of(&pair_type);
    CHECK_EQ(gm_types_intern(&types, &third, 4), number);
    const struct gm_type_record *r = gm_types_shape(&types, number)->type;
    CHECK(!strcmp(r->name, "struct pair") && r->nfields == 2 && r->fields[1].offset == 16);
}

TEST(different_types) {
    REQUIRE(begin());
    gomem_type t[8];
    for (int i = 0; i < 8; i++) t[i] = copy_of(&pair_type);
    t[1].name = "pair";
    t[2].size = 32;
    t[3].align = 16;
    t[4].fields = fewer_fields.fields;
    t[4].nfields = fewer_fields.nfields;
    t[5].mark = mark_nothing;
    t[6] = copy_of(&no_fields);
    gomem_field moved[2] = {pair_type.fields[0], {8, 1}};
    t[7].fields = moved;
    for (int i = 0; i < 8; i++) {
        REQUIRE(gm_types_intern(&types, &t[i], 4) != 0);
        for (int k = 0; k < i; k++) CHECK(t[i].index != t[k].index);
    }
}

// Types that differ only in their alignment, in the same class.
TEST(alignments) { // D1
    REQUIRE(begin());
    gomem_type loose = copy_of(&pair_type), strict;
    loose.size = 32;
    strict = loose;
    strict.align = 16;
    uint32_t a = gm_types_intern(&types, &loose, 4), b = gm_types_intern(&types, &strict, 4);
    REQUIRE(a && b);
    CHECK(a != b);
    CHECK_EQ(gm_types_shape(&types, a)->type->align, loose.align);
    CHECK_EQ(gm_types_shape(&types, b)->type->align, 16);
}

TEST(shapes_by_class) { // D2
    uint32_t numbers[GOMEM_CLASSES + 1];
    REQUIRE(begin());
    gomem_type t = copy_of(&pair_type);
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) {
        numbers[c] = gm_types_intern(&types, &t, c);
        REQUIRE(numbers[c] != 0);
        for (unsigned k = 0; k < c; k++) CHECK(numbers[k] != numbers[c]);
        const struct gm_shape *s = gm_types_shape(&types, numbers[c]);
        CHECK(s->class == c && s->central.class == c && s->central.kind == GM_TYPED);
        CHECK_EQ(s->central.shape, numbers[c]);
    }
    CHECK_EQ(t.index, numbers[gm_sizes_class(sizeof(struct pair), 8)]);
    CHECK_EQ(gm_types_count(&types), GOMEM_CLASSES + 2);
    gm_types_shape(&types, numbers[9])->central.list[2] = 77;
    gm_types_reset(&types); // numbers stay, lists are empty
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++)
        CHECK_EQ(gm_types_intern(&types, &t, c), numbers[c]);
    CHECK_EQ(gm_types_shape(&types, numbers[9])->central.list[2], 0);
}

TEST(more_types_than_buckets) {
    enum { N = 1000 };
    static char names[N][24];
    static gomem_type t[N];
    REQUIRE(begin());
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < N; i++) {
            snprintf(names[i], sizeof names[i], "type %d", i);
            uint32_t before = t[i].index;
            t[i] = copy_of(&pair_type);
            t[i].name = names[i];
            REQUIRE(gm_types_intern(&types, &t[i], 3) != 0);
            if (round) CHECK_EQ(t[i].index, before);
        }
    CHECK(gm_types_count(&types) <= 2 * N + 1);
}

TEST(a_full_table) {
    REQUIRE(begin());
    gomem_type known = copy_of(&pair_type), late = copy_of(&fewer_fields);
    uint32_t number = gm_types_intern(&types, &known, 3), shapes = types.shapes;
    types.shapes = GM_SHAPES;
    CHECK_EQ(gm_types_intern(&types, &late, 3), 0);
    CHECK_EQ(late.index, 0);
    CHECK_EQ(gm_types_intern(&types, &known, 3), number);
    types.shapes = shapes;
    CHECK(gm_types_intern(&types, &late, 3) != 0);
}

TEST(no_memory) {
    REQUIRE(begin());
    gomem_type t = copy_of(&pair_type);
    meta.end = meta.ready = meta.at;
    refused = true;
    CHECK_EQ(gm_types_intern(&types, &t, 3), 0);
    CHECK_EQ(t.index, 0);
    refused = false;
    CHECK(gm_types_intern(&types, &t, 3) != 0);
    CHECK(t.index != 0);
}

enum { THREADS = 4, TYPES = 200 };
static gomem_type raced[THREADS][TYPES];
static char raced_names[TYPES][24];

static void *intern_all(void *arg) {
    gomem_type *own = arg;
    for (int i = 0; i < TYPES; i++)
        CHECK(gm_types_intern(&types, &own[i], 1 + (unsigned)i % GOMEM_CLASSES) != 0);
    return NULL;
}

TEST(threads_agree) {
    pthread_t threads[THREADS];
    REQUIRE(begin());
    for (int k = 0; k < THREADS; k++)
        for (int i = 0; i < TYPES; i++) {
            snprintf(raced_names[i], sizeof raced_names[i], "raced %d", i);
            raced[k][i] = copy_of(&pair_type);
            raced[k][i].name = raced_names[i];
        }
    for (int k = 0; k < THREADS; k++)
        REQUIRE(pthread_create(&threads[k], NULL, intern_all, raced[k]) == 0);
    for (int k = 0; k < THREADS; k++) pthread_join(threads[k], NULL);
    for (int k = 1; k < THREADS; k++)
        for (int i = 0; i < TYPES; i++) CHECK_EQ(raced[k][i].index, raced[0][i].index);
}

TEST_MAIN
