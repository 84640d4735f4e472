// The macros: each argument evaluated once, sizes checked, the types they yield.
#include "gomem.h"
#include "test.h"

#include <errno.h>

struct node {
    struct node *left, *right;
    int key;
};

struct text {
    size_t length;
    struct node *owner;
    char bytes[];
};

struct table {
    struct node *first;
    uint32_t used;
    struct node *slots[];
};

GOMEM_TYPE(node_type, struct node, left, right);
GOMEM_TYPE_FLEX(table_type, struct table, slots, first);

static int counted;

static size_t once(size_t value) {
    counted++;
    return value;
}

static struct node *once_p(struct node *p) {
    counted++;
    return p;
}

static gomem_type *once_type(gomem_type *t) {
    counted++;
    return t;
}

#define CHECK_ONCE(times, expression) \
    do {                              \
        counted = 0;                  \
        CHECK((expression) != NULL);  \
        CHECK_EQ(counted, times);     \
    } while (0)

TEST(arguments_are_evaluated_once) {
    CHECK_ONCE(1, GOMEM_MAKE(struct node, once(3)));
    CHECK_ONCE(1, GOMEM_MAKE_NOSCAN(struct node, once(3)));
    CHECK_ONCE(1, GOMEM_NEW_TYPED(struct node, once_type(&node_type)));
    CHECK_ONCE(2, GOMEM_MAKE_TYPED(struct node, once_type(&node_type), once(2)));
    CHECK_ONCE(1, GOMEM_NEW_FLEX(struct text, bytes, once(10)));
    CHECK_ONCE(1, GOMEM_NEW_FLEX_NOSCAN(struct text, bytes, once(10)));
    CHECK_ONCE(2, GOMEM_NEW_FLEX_TYPED(struct table, once_type(&table_type), slots, once(10)));
    CHECK_ONCE(1, GOMEM_MALLOC_N(struct node, once(10)));
    struct node *p = GOMEM_MALLOC(struct node);
    counted = 0;
    p = GOMEM_RESIZE(struct node, once_p(p), once(20));
    CHECK_EQ(counted, 2);
    counted = 0;
    GOMEM_FREE(struct node, once_p(p));
    CHECK_EQ(counted, 1);
}

TEST(arguments_with_side_effects) {
    size_t sizes[] = {1, 2, 3};
    size_t i = 0;
    struct node *p = GOMEM_MAKE(struct node, sizes[i++]);
    struct node *q = GOMEM_MALLOC_N(struct node, sizes[i++]);
    CHECK_EQ(i, 2);
    struct node *both[] = {p, q};
    i = 0;
    GOMEM_FREE(struct node, both[i++]);
    GOMEM_FREE(struct node, both[i++]);
    CHECK_EQ(i, 2);
}

// Each macro yields a T * without a cast.
TEST(types) {
    CHECK(_Generic(GOMEM_NEW(struct node), struct node * : true, default : false));
    CHECK(_Generic(GOMEM_MAKE(int, 3), int * : true, default : false));
    CHECK(_Generic(GOMEM_NEW_NOSCAN(double), double * : true, default : false));
    CHECK(_Generic(GOMEM_MALLOC(struct node), struct node * : true, default : false));
    CHECK(_Generic(GOMEM_MALLOC_N(char, 4), char * : true, default : false));
    CHECK(_Generic(GOMEM_NEW_FLEX(struct text, bytes, 4), struct text * : true, default : false));
    CHECK(_Generic(GOMEM_NEW_TYPED(struct node, &node_type), struct node *
                   : true, default
                   : false));
    CHECK(_Generic(GOMEM_RESIZE(int, (int *)NULL, 3), int * : true, default : false));
}

TEST(zeroed) {
    for (int round = 0; round < 2000; round++) {
        struct node *p = GOMEM_NEW(struct node);
        REQUIRE(p != NULL && p->left == NULL && p->right == NULL && p->key == 0);
        memset((void *)p, 0xff, sizeof *p);
        int *q = GOMEM_MAKE(int, 50);
        REQUIRE(q != NULL);
        for (int i = 0; i < 50; i++) REQUIRE(q[i] == 0);
        memset(q, 0xff, 50 * sizeof *q);
        double *r = GOMEM_NEW_NOSCAN(double);
        REQUIRE(r != NULL && !(*r < 0) && !(*r > 0));
        *r = -1;
    }
}

#define CHECK_ENOMEM(expression)     \
    do {                             \
        errno = 0;                   \
        CHECK((expression) == NULL); \
        CHECK_EQ(errno, ENOMEM);     \
    } while (0)

#define CHECK_ENOMEM_EACH(n)                                                     \
    do {                                                                         \
        CHECK_ENOMEM(GOMEM_MAKE(struct node, n));                                \
        CHECK_ENOMEM(GOMEM_MAKE_NOSCAN(struct node, n));                         \
        CHECK_ENOMEM(GOMEM_MAKE_TYPED(struct node, &node_type, n));              \
        CHECK_ENOMEM(GOMEM_NEW_FLEX(struct table, slots, n));                    \
        CHECK_ENOMEM(GOMEM_NEW_FLEX_NOSCAN(struct table, slots, n));             \
        CHECK_ENOMEM(GOMEM_NEW_FLEX_TYPED(struct table, &table_type, slots, n)); \
        CHECK_ENOMEM(GOMEM_MALLOC_N(struct node, n));                            \
        CHECK_ENOMEM(GOMEM_RESIZE(struct node, (struct node *)NULL, n));         \
    } while (0)

TEST(counts_that_overflow) {
    volatile int minus = -1;
    volatile long long long_minus = -5;
    volatile size_t wraps = SIZE_MAX / sizeof(struct node) + 2;
    volatile uintmax_t widest = UINTMAX_MAX;
    volatile short short_minus = -3;
    CHECK_ENOMEM_EACH(minus);
    CHECK_ENOMEM_EACH(long_minus);
    CHECK_ENOMEM_EACH(wraps);
    CHECK_ENOMEM_EACH(widest);
    CHECK_ENOMEM_EACH(short_minus);
    CHECK_ENOMEM_EACH(PTRDIFF_MAX);
    CHECK_ENOMEM_EACH(-1);
}

#if SIZE_MAX < UINTMAX_MAX
// A 64-bit count may not wrap to a small one on a machine with 32 bits.
TEST(counts_wider_than_size_t) {
    volatile uintmax_t n = ((uintmax_t)SIZE_MAX + 1) + 2;
    CHECK_ENOMEM_EACH(n);
}
#endif

TEST(count_zero) {
    struct node *p = GOMEM_MAKE(struct node, 0), *q = GOMEM_MALLOC_N(struct node, 0);
    CHECK(p != NULL && q != NULL && p != q);
    struct text *t = GOMEM_NEW_FLEX(struct text, bytes, 0);
    REQUIRE(t != NULL);
    CHECK(gomem_usable_size(t) >= sizeof *t);
    GOMEM_FREE(struct node, q);
    GOMEM_FREE(struct node, p);
}

TEST(counts_of_every_type) {
    signed char a = 3;
    unsigned char b = 3;
    short c = 3;
    unsigned long long d = 3;
    enum { THREE = 3 } e = THREE;
    bool f = true;
    int *all[] = {GOMEM_MAKE(int, a), GOMEM_MAKE(int, b), GOMEM_MAKE(int, c),
                  GOMEM_MAKE(int, d), GOMEM_MAKE(int, e), GOMEM_MAKE(int, f)};
    for (size_t i = 0; i < 6; i++) CHECK(all[i] != NULL);
}

TEST(free_of_null) {
    GOMEM_FREE(struct node, (struct node *)NULL);
    struct node *nothing = NULL;
    GOMEM_FREE(struct node, nothing);
    // A null in a cache of free objects would come back from the next allocation.
    for (int i = 0; i < 200; i++) {
        struct node *p = GOMEM_MALLOC(struct node);
        REQUIRE(p != NULL);
        GOMEM_FREE(struct node, nothing);
        GOMEM_FREE(struct node, p);
    }
}

// GOMEM_FREE takes any heap pointer: of another class, large, collected, uncollectable.
TEST(free_of_other_kinds) {
    for (int i = 0; i < 300; i++) {
        struct node *others[] = {gomem_malloc(5000),
                                 gomem_malloc(100000),
                                 gomem_new(10),
                                 GOMEM_NEW(struct node),
                                 GOMEM_NEW_TYPED(struct node, &node_type),
                                 gomem_new_noscan(sizeof(struct node)),
                                 gomem_new_with(sizeof(struct node), 0, GOMEM_UNCOLLECTABLE),
                                 gomem_aligned_alloc(256, sizeof(struct node)),
                                 GOMEM_MALLOC_N(struct node, 1)};
        for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
            REQUIRE(others[k] != NULL);
            GOMEM_FREE(struct node, others[k]);
        }
    }
    CHECK(HEAP_IS_WHOLE());
    struct node *seen[200];
    for (int i = 0; i < 200; i++) {
        seen[i] = GOMEM_MALLOC(struct node);
        REQUIRE(seen[i] != NULL);
        CHECK(gomem_usable_size(seen[i]) >= sizeof(struct node));
        for (int j = 0; j < i; j++) CHECK(seen[i] != seen[j]);
    }
    for (int i = 0; i < 200; i++) GOMEM_FREE(struct node, seen[i]);
}

TEST(flexible_arrays) {
    for (size_t n = 0; n < 3000; n += 1 + n / 5) {
        struct text *t = GOMEM_NEW_FLEX(struct text, bytes, n);
        struct text *u = GOMEM_NEW_FLEX_NOSCAN(struct text, bytes, n);
        struct table *v = GOMEM_NEW_FLEX_TYPED(struct table, &table_type, slots, n);
        REQUIRE(t != NULL && u != NULL && v != NULL);
        CHECK(gomem_usable_size(t) >= offsetof(struct text, bytes) + n);
        CHECK(gomem_usable_size(u) >= offsetof(struct text, bytes) + n);
        CHECK(gomem_usable_size(v) >= offsetof(struct table, slots) + n * sizeof v->slots[0]);
        for (size_t i = 0; i < n; i++) {
            CHECK(t->bytes[i] == 0 && u->bytes[i] == 0 && v->slots[i] == NULL);
            t->bytes[i] = u->bytes[i] = 1;
        }
        gomem_free(t);
        gomem_free(u);
        gomem_free(v);
    }
}

// As statements and operands wherever an expression may stand.
TEST(in_expressions) {
    struct node *p = NULL;
    if ((p = GOMEM_NEW(struct node)) != NULL) p->key = 5;
    else CHECK(false);
    CHECK_EQ(GOMEM_NEW(struct node)->key, 0);
    CHECK_EQ(sizeof *GOMEM_MAKE(struct node, 2), sizeof(struct node));
    struct node *q = p != NULL ? GOMEM_MALLOC(struct node) : NULL;
    if (q != NULL) GOMEM_FREE(struct node, q);
    else CHECK(false);
}

typedef int row[4];
typedef void (*callback)(void);

TEST(typedefs_of_arrays_and_functions) {
    row *rows = GOMEM_MAKE(row, 3);
    callback *callbacks = GOMEM_MAKE(callback, 3);
    REQUIRE(rows != NULL && callbacks != NULL);
    CHECK(rows[2][3] == 0 && callbacks[2] == NULL);
}

TEST_MAIN
