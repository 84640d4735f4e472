// Typed objects: only the named fields are pointers; mark procedures see what they decide to see.
#include "alive.h"

struct holder {
    struct alive_node *seen;
    uintptr_t hidden; // holds an address all the same
    struct alive_node *also[2];
    uintptr_t tail[2];
};

GOMEM_TYPE(holder_type, struct holder, seen, also);
GOMEM_TYPE(holder_again, struct holder, seen, also); // the same type, as if by another file
GOMEM_TYPE_NOPTR(blind_type, struct holder);

struct row {
    uintptr_t key;
    struct alive_node *first;
    size_t used;
    struct alive_node *slots[];
};

GOMEM_TYPE_FLEX(row_type, struct row, slots, first);

// `kind` says which member counts; a tagged word is an integer when its low bit is 1.
struct variant {
    uintptr_t kind; // 0: integers, 1: node, 2: tagged words
    union {
        struct alive_node *node;
        uintptr_t words[3];
    } as;
};

static int variant_marks; // atomic: relaxed

static void mark_variant(const void *obj, size_t size, gomem_marker *m) {
    __atomic_fetch_add(&variant_marks, 1, __ATOMIC_RELAXED);
    const struct variant *v = obj;
    for (; size >= sizeof *v; size -= sizeof *v, v++) {
        if (v->kind == 1) gomem_mark(m, v->as.node);
        if (v->kind != 2) continue;
        for (size_t i = 0; i < 3; i++)
            if ((v->as.words[i] & 1) == 0) gomem_mark(m, (const void *)v->as.words[i]);
    }
}

GOMEM_TYPE_MARK(variant_type, struct variant, mark_variant);

static struct alive_set set;
static void *volatile root;

// Each of the set's nodes is put into one word of one object by `put`; the objects hang on `root`.
ALIVE_NOINLINE static void hang_below(void *(*make)(void),
                                      void (*put)(void *obj, uintptr_t hidden)) {
    void **objects = gomem_new(ALIVE_N * sizeof *objects);
    root = objects;
    if (!CHECK(objects != NULL) || !alive_scatter(&set)) return;
    for (size_t i = 0; i < ALIVE_N; i++) {
        objects[i] = make();
        if (!CHECK(objects[i] != NULL)) return;
        put(objects[i], set.hidden[i]);
    }
}

ALIVE_NOINLINE static void hang(void *(*make)(void), void (*put)(void *obj, uintptr_t hidden)) {
    ALIVE_DEEP;
    hang_below(make, put);
    gap[0] = 1;
}

// Counts survivors after a collection, then drops the root.
static size_t kept(void) {
    alive_gc();
    size_t count = alive_count(&set);
    root = NULL;
    return count;
}

static void *make_holder(void) { return GOMEM_NEW_TYPED(struct holder, &holder_type); }

static void *make_blind(void) { return GOMEM_NEW_TYPED(struct holder, &blind_type); }

static void *make_holder_by_function(void) { return gomem_new_typed(&holder_type, 1); }

static void put_seen(void *obj, uintptr_t hidden) {
    ((struct holder *)obj)->seen = alive_show(hidden);
}

static void put_also_last(void *obj, uintptr_t hidden) {
    ((struct holder *)obj)->also[1] = alive_show(hidden);
}

static void put_hidden(void *obj, uintptr_t hidden) { ((struct holder *)obj)->hidden = ~hidden; }

static void put_tail(void *obj, uintptr_t hidden) { ((struct holder *)obj)->tail[1] = ~hidden; }

TEST(pointer_fields_keep) {
    hang(make_holder, put_seen);
    CHECK_EQ(kept(), ALIVE_N);
    hang(make_holder, put_also_last);
    CHECK_EQ(kept(), ALIVE_N);
    hang(make_holder_by_function, put_seen);
    CHECK_EQ(kept(), ALIVE_N);
}

TEST(other_fields_do_not_keep) {
    hang(make_holder, put_hidden);
    CHECK(kept() <= ALIVE_FEW);
    hang(make_holder, put_tail);
    CHECK(kept() <= ALIVE_FEW);
    hang(make_holder_by_function, put_tail);
    CHECK(kept() <= ALIVE_FEW);
}

TEST(interior_pointer_in_typed_field) {
    hang(make_holder, put_seen);
    struct holder **objects = root;
    for (size_t i = 0; i < ALIVE_N; i++)
        objects[i]->seen = (struct alive_node *)(uintptr_t)((char *)objects[i]->seen + 17);
    objects = NULL;
    CHECK_EQ(kept(), ALIVE_N);
}

TEST(type_without_pointers) {
    hang(make_blind, put_seen);
    CHECK(kept() <= ALIVE_FEW);
}

// Fields repeat in each element of an array.
TEST(arrays) {
    static const size_t lengths[] = {2, 3, 7, 100, 5000};
    for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
        size_t n = lengths[l];
        for (int seen = 0; seen < 2; seen++) {
            if (!alive_scatter(&set)) return;
            struct holder **objects = gomem_new(ALIVE_N * sizeof *objects);
            root = objects;
            REQUIRE(objects != NULL);
            for (size_t i = 0; i < ALIVE_N; i++) {
                size_t use = n > 100 ? 0 : i; // one large array, or many small ones
                if (objects[use] == NULL)
                    objects[use] = GOMEM_MAKE_TYPED(struct holder, &holder_type, n);
                REQUIRE(objects[use] != NULL);
                struct holder *element = &objects[use][n > 100 ? i * (n - 1) / ALIVE_N : i % n];
                if (seen) put_also_last(element, set.hidden[i]);
                else put_tail(element, set.hidden[i]);
            }
            objects = NULL;
            size_t count = kept();
            if (seen) CHECK_EQ(count, ALIVE_N);
            else CHECK(count <= ALIVE_FEW);
        }
    }
}

static void *make_row(void) { return GOMEM_NEW_FLEX_TYPED(struct row, &row_type, slots, 20); }

static void put_row_first(void *obj, uintptr_t hidden) {
    ((struct row *)obj)->first = alive_show(hidden);
}

static void put_row_slot(void *obj, uintptr_t hidden) {
    ((struct row *)obj)->slots[0] = alive_show(hidden);
}

static void put_row_last_slot(void *obj, uintptr_t hidden) {
    ((struct row *)obj)->slots[19] = alive_show(hidden);
}

static void put_row_key(void *obj, uintptr_t hidden) { ((struct row *)obj)->key = ~hidden; }

TEST(flexible_arrays) {
    hang(make_row, put_row_first);
    CHECK_EQ(kept(), ALIVE_N);
    hang(make_row, put_row_slot);
    CHECK_EQ(kept(), ALIVE_N);
    hang(make_row, put_row_last_slot);
    CHECK_EQ(kept(), ALIVE_N);
    hang(make_row, put_row_key);
    CHECK(kept() <= ALIVE_FEW);
}

TEST(large_flexible_array) {
    if (!alive_scatter(&set)) return;
    struct row *row = GOMEM_NEW_FLEX_TYPED(struct row, &row_type, slots, 50000);
    REQUIRE(row != NULL);
    for (size_t i = 0; i < ALIVE_N; i++) row->slots[i * 250] = alive_show(set.hidden[i]);
    root = row;
    row = NULL;
    CHECK_EQ(kept(), ALIVE_N);
}

static void *make_variant(void) { return GOMEM_NEW_TYPED(struct variant, &variant_type); }

static void put_variant_node(void *obj, uintptr_t hidden) {
    struct variant *v = obj;
    v->kind = 1;
    v->as.node = alive_show(hidden);
}

static void put_variant_integer(void *obj, uintptr_t hidden) {
    struct variant *v = obj;
    v->kind = 0;
    v->as.words[0] = ~hidden;
}

static void put_variant_tagged(void *obj, uintptr_t hidden) {
    struct variant *v = obj;
    v->kind = 2;
    v->as.words[0] = 41;
    v->as.words[1] = 43;
    v->as.words[2] = ~hidden | 2;
}

static void put_variant_odd(void *obj, uintptr_t hidden) {
    struct variant *v = obj;
    v->kind = 2;
    v->as.words[2] = ~hidden | 1;
}

TEST(mark_procedure) {
    int before = variant_marks;
    hang(make_variant, put_variant_node);
    CHECK_EQ(kept(), ALIVE_N);
    CHECK(variant_marks >= before + 1);
    hang(make_variant, put_variant_tagged);
    CHECK_EQ(kept(), ALIVE_N);
    hang(make_variant, put_variant_integer);
    CHECK(kept() <= ALIVE_FEW);
    hang(make_variant, put_variant_odd);
    CHECK(kept() <= ALIVE_FEW);
}

// gomem_mark takes any word: null, the stack's, interior, a number.
static int wild_global;

static void mark_wild(const void *obj, size_t size, gomem_marker *m) {
    gomem_mark(m, NULL);
    gomem_mark(m, &wild_global);
    gomem_mark(m, &size);
    gomem_mark(m, obj);
    gomem_mark(m, (const void *)(uintptr_t)12345);
    gomem_mark(m, (const void *)UINTPTR_MAX);
    gomem_mark(m, *(void *const *)obj);
}

struct wild {
    void *p;
};

GOMEM_TYPE_MARK(wild_type, struct wild, mark_wild);

static void *make_wild(void) { return GOMEM_NEW_TYPED(struct wild, &wild_type); }

static void put_wild(void *obj, uintptr_t hidden) {
    ((struct wild *)obj)->p = (char *)alive_show(hidden) + 9;
}

TEST(mark_takes_any_word) {
    hang(make_wild, put_wild);
    CHECK_EQ(kept(), ALIVE_N);
    CHECK(HEAP_IS_WHOLE());
}

// A word that looks like a pointer to a slot which was not handed out yet: its procedure reads the
// field all the same, and AddressSanitizer would name it if it were called for the slot.
TEST(procedures_of_slots_that_are_nobodys) {
    for (int i = 0; i < 40; i++) {
        void *made = GOMEM_NEW_TYPED(struct wild, &wild_type);
        REQUIRE(made != NULL);
        root = (char *)made + gomem_usable_size(made) + 24; // behind its margin, if there is one
        gomem_gc();
    }
    root = NULL;
    CHECK(HEAP_IS_WHOLE());
}

static bool count_one(void *obj, size_t size, void *user) {
    if (obj != NULL && size >= sizeof(struct holder)) ++*(size_t *)user;
    return true;
}

// Two descriptions with the same type, fields and size are one type.
TEST(same_type_twice) {
    alive_gc();
    size_t before = 0, after = 0;
    gomem_each(&holder_type, count_one, &before);
    void **objects = gomem_new(100 * sizeof *objects);
    REQUIRE(objects != NULL);
    for (size_t i = 0; i < 100; i++) {
        objects[i] = i % 2 == 0 ? GOMEM_NEW_TYPED(struct holder, &holder_type)
                                : GOMEM_NEW_TYPED(struct holder, &holder_again);
        REQUIRE(objects[i] != NULL);
    }
    size_t seen = gomem_each(&holder_again, count_one, &after);
    CHECK_EQ(seen, after);
    CHECK_EQ(after, before + 100);
    after = 0;
    gomem_each(&holder_type, count_one, &after);
    CHECK_EQ(after, before + 100);
    GOMEM_KEEP_ALIVE(objects);
}

TEST(zeroed) {
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3000; i++) {
            struct holder *h = GOMEM_NEW_TYPED(struct holder, &holder_type);
            REQUIRE(h != NULL);
            CHECK(h->seen == NULL && h->hidden == 0 && h->also[0] == NULL && h->also[1] == NULL);
            CHECK(h->tail[0] == 0 && h->tail[1] == 0);
            h->hidden = h->tail[0] = h->tail[1] = UINTPTR_MAX;
        }
        alive_gc();
    }
}

// realloc keeps the type.
TEST(realloc_keeps_the_type) {
    for (int seen = 0; seen < 2; seen++) {
        if (!alive_scatter(&set)) return;
        struct holder *array = gomem_new_typed(&holder_type, 2);
        REQUIRE(array != NULL);
        array = gomem_realloc(array, ALIVE_N * sizeof *array);
        REQUIRE(array != NULL);
        for (size_t i = 0; i < ALIVE_N; i++) {
            if (seen) put_seen(&array[i], set.hidden[i]);
            else put_hidden(&array[i], set.hidden[i]);
        }
        root = array;
        array = NULL;
        size_t count = kept();
        if (seen) CHECK_EQ(count, ALIVE_N);
        else CHECK(count <= ALIVE_FEW);
    }
}

TEST(zero_elements) {
    void *p = gomem_new_typed(&holder_type, 0),
         *q = GOMEM_MAKE_TYPED(struct holder, &holder_type, 0);
    CHECK(p != NULL && q != NULL && p != q);
}

#define MANY(n) GOMEM_TYPE(many_type_##n, struct many_##n, p)
#define MANY_STRUCT(n)       \
    struct many_##n {        \
        uintptr_t before[n]; \
        void *p;             \
    };                       \
    MANY(n);
#define TEN(f) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10)
TEN(MANY_STRUCT)

#define MANY_LOOP(n)                                                           \
    for (size_t i = 0; i < 20; i++) {                                          \
        struct many_##n *m = GOMEM_NEW_TYPED(struct many_##n, &many_type_##n); \
        REQUIRE(m != NULL);                                                    \
        alive_put(&m->before[n - 1], set.hidden[i], 0);                        \
        m->p = objects[n - 1];                                                 \
        objects[n - 1] = m;                                                    \
    }

// Several types of different layouts at once, chains through each of their pointer fields.
TEST(many_types) {
    if (!alive_scatter(&set)) return;
    void **objects = gomem_new(10 * sizeof *objects);
    REQUIRE(objects != NULL);
    root = objects;
    TEN(MANY_LOOP)
    alive_gc();
    for (size_t i = 0; i < 10; i++) {
        size_t length = 0;
        for (uintptr_t *p = objects[i]; p != NULL; p = (uintptr_t *)p[i + 1]) {
            REQUIRE(gomem_base(p) == p);
            length++;
        }
        CHECK_EQ(length, 20);
    }
    objects = NULL;
    CHECK(kept() <= ALIVE_FEW);
}

// ---- misuse ----

static int told;
static void hear(const char *line, void *user) {
    (void)user;
    told += strstr(line, "whose size is not that of its type") != NULL;
}

struct base {
    void *first;
    long number;
};
struct derived {
    struct base base;
    void *second;
};
struct pairs {
    struct base base[2];
};
GOMEM_TYPE(base_type, struct base, first);
GOMEM_TYPE_NOPTR(plain_type, struct base);

// A struct with more than its type knows would lose what the rest points at.
TEST(structs_that_are_not_of_the_type) {
    gomem_options options = {.panic = hear};
    REQUIRE(gomem_init(&options));
    told = 0;
    CHECK(GOMEM_NEW_TYPED(struct base, &base_type) && told == 0);
    struct pairs *two = GOMEM_NEW_TYPED(struct pairs, &base_type);
    CHECK(two != NULL && told == 0);
    CHECK(GOMEM_NEW_TYPED(struct derived, &plain_type) && told == 0);
    if (GOMEM_I_CHECK < 1) return;
    CHECK(!GOMEM_NEW_TYPED(struct derived, &base_type) && told == 1);
    CHECK(!GOMEM_MAKE_TYPED(struct derived, &base_type, 5) && told == 2);
}

// Descriptors of each number of fields around the groups in which GOMEM_TYPE takes them.
#define FIELDS8(n) f[n], f[n + 1], f[n + 2], f[n + 3], f[n + 4], f[n + 5], f[n + 6], f[n + 7]
#define FIELDS56 \
    FIELDS8(0), FIELDS8(8), FIELDS8(16), FIELDS8(24), FIELDS8(32), FIELDS8(40), FIELDS8(48)
struct wide {
    void *f[64];
    void *tail[];
};
GOMEM_TYPE(wide_1, struct wide, f[0]);
GOMEM_TYPE(wide_7, struct wide, f[0], f[1], f[2], f[3], f[4], f[5], f[6]);
GOMEM_TYPE(wide_8, struct wide, FIELDS8(0));
GOMEM_TYPE(wide_9, struct wide, FIELDS8(0), f[8]);
GOMEM_TYPE(wide_16, struct wide, FIELDS8(0), FIELDS8(8));
GOMEM_TYPE(wide_17, struct wide, FIELDS8(0), FIELDS8(8), f[16]);
GOMEM_TYPE(wide_57, struct wide, FIELDS56, f[56]);
GOMEM_TYPE(wide_63, struct wide, FIELDS56, f[56], f[57], f[58], f[59], f[60], f[61], f[62]);
GOMEM_TYPE(wide_64, struct wide, FIELDS56, FIELDS8(56));
GOMEM_TYPE_FLEX(flex_0, struct wide, tail);
GOMEM_TYPE_FLEX(flex_8, struct wide, tail, FIELDS8(0));
GOMEM_TYPE_FLEX(flex_9, struct wide, tail, FIELDS8(0), f[8]);
GOMEM_TYPE_FLEX(flex_64, struct wide, tail, FIELDS56, FIELDS8(56));

static void fields_from(const gomem_type *t, size_t from, size_t n) {
    REQUIRE(t->nfields == from + n);
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(t->fields[from + i].offset, offsetof(struct wide, f) + i * sizeof(void *));
        CHECK_EQ(t->fields[from + i].words, 1);
    }
}

TEST(every_number_of_fields) {
    const gomem_type *const plain[] = {&wide_1,  &wide_7,  &wide_8,  &wide_9, &wide_16,
                                       &wide_17, &wide_57, &wide_63, &wide_64};
    static const size_t sizes[] = {1, 7, 8, 9, 16, 17, 57, 63, 64};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) fields_from(plain[i], 0, sizes[i]);
    const gomem_type *const flex[] = {&flex_0, &flex_8, &flex_9, &flex_64};
    static const size_t more[] = {0, 8, 9, 64};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        fields_from(flex[i], 1, more[i]);
        CHECK_EQ(flex[i]->fields[0].offset, offsetof(struct wide, tail));
        CHECK_EQ(flex[i]->fields[0].words, 0);
    }
}

TEST_MAIN
