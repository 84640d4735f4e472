// A user's file that names everything in the declaration part. Compiled as C and as C++, with
// every option, all warnings being errors; run.sh links it and calls user_run.
#include "gomem.h"

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif
int user_run(void);
#ifdef __cplusplus
}
#endif

struct leaf {
    double weight;
    int key;
};

static int manual(void) {
    struct leaf *leaf = GOMEM_MALLOC(struct leaf);
    struct leaf *leaves = GOMEM_MALLOC_N(struct leaf, 3);
    if (leaf == NULL || leaves == NULL) return 1;
    leaf->key = 4;
    leaves[2].key = 5;
    int count = 6;
    leaves = GOMEM_RESIZE(struct leaf, leaves, count);
    if (leaves == NULL || leaves[2].key + leaf->key != 9) return 2;
    GOMEM_FREE(struct leaf, leaf);
    GOMEM_FREE(struct leaf, leaves);
    char *text = gomem_strdup("text");
    char *part = gomem_strndup("text", 2);
    void *block = gomem_malloc(10);
    void *cells = gomem_calloc(10, 10);
    void *wide = gomem_aligned_alloc(256, 100);
    if (text == NULL || part == NULL || block == NULL || cells == NULL || wide == NULL) return 3;
    if (strcmp(text, "text") != 0 || strcmp(part, "te") != 0) return 4;
    if (gomem_usable_size(block) < 10 || (uintptr_t)wide % 256 != 0) return 5;
    block = gomem_realloc(block, 1000);
    if (gomem_base((char *)block + 500) != block) return 6;
    gomem_free(text);
    gomem_free(part);
    gomem_free_sized(block, 1000);
    gomem_free(cells);
    gomem_free(wide);
    gomem_free(NULL);
    return 0;
}

static int life(void) {
    static gomem_options options;
    options.gc_percent = 100;
    gomem_memstats stats;
    stats.size = sizeof stats;
    if (!gomem_init(&options)) return 9;
    if (!gomem_thread_attach() || gomem_version() == NULL) return 10;
    gomem_blocking_begin();
    gomem_blocking_end();
    gomem_read_memstats(&stats);
    if (gomem_heap_size() < gomem_heap_free() || gomem_num_gc() < stats.num_gc) return 12;
    if (gomem_total_alloc() < stats.total_alloc) return 13;
    if (stats.sys == 0 || stats.by_size[GOMEM_CLASSES].size == 0 || !gomem_verify()) return 11;
    return GOMEM_VERSION_MAJOR + GOMEM_VERSION_MINOR + GOMEM_VERSION_PATCH < 0;
}

#ifndef GOMEM_NO_POOL
GOMEM_POOL(leaves_of_pool, struct leaf);
GOMEM_POOL_SCAN(scanned_leaves, struct leaf);
GOMEM_POOL_DECLARE(common_leaves, struct leaf);
GOMEM_POOL_DEFINE(common_leaves, struct leaf);
GOMEM_POOL_DECLARE(common_scanned, struct leaf);
GOMEM_POOL_DEFINE_SCAN(common_scanned, struct leaf);

static int pools(void) {
#ifdef __cplusplus
    gomem_pool_options options = {};
#else
    gomem_pool_options options = {0};
#endif
    struct leaf *some[3];
    void *more[3];
    struct leaf *one = leaves_of_pool_get(), *other = scanned_leaves_get();
    struct leaf *common = common_leaves_get(), *last = common_scanned_get();
    if (!one || !other || !common || !last) return 90;
    leaves_of_pool_put(one);
    scanned_leaves_put(other);
    common_leaves_put(common);
    common_scanned_put(last);
    if (leaves_of_pool_get_n(some, 3) != 3) return 91;
    leaves_of_pool_put_n(some, 3);
    options.size = sizeof(struct leaf);
    gomem_pool *p = gomem_pool_new(&options);
    if (p == NULL || gomem_pool_get_n(p, more, 3) != 3 || gomem_pool_reserve(p, 10) != 10)
        return 92;
    gomem_pool_put_n(p, more, 3);
    gomem_pool_put(p, gomem_pool_get(p));
    if (gomem_pool_read_stats(p).high_water < 3) return 93;
    gomem_pool_destroy(p);
    return GOMEM_POOL_OF(leaves_of_pool) == NULL;
}
#else
static int pools(void) { return 0; }
#endif

#if !defined(GOMEM_NO_ESCAPE) && !defined(GOMEM_NO_COLLECTOR)
static int hints(void) {
    volatile int few = 3;
    int n = few;
    struct leaf *leaf = GOMEM_STACK(struct leaf, 1);
    struct leaf *some = GOMEM_STACK(struct leaf, n);
    struct leaf *far = GOMEM_HINT(struct leaf, n, 1), *near = GOMEM_HINT(struct leaf, n, n < 0);
    if (leaf == NULL || some == NULL || far == NULL || near == NULL) return 95;
    leaf->key = 7;
    const struct leaf *kept = GOMEM_ESCAPE(leaf, 1);
    if (kept == NULL || kept == leaf || kept->key != 7) return 96;
    struct leaf *same = GOMEM_ESCAPE(far, n);
    return same == far ? 0 : 97;
}
#else
static int hints(void) {
    volatile int few = 3;
    int n = few;
    return n - n;
}
#endif

#ifndef GOMEM_NO_ARENA
static void forget(void *arg) { *(int *)arg = 7; }

__attribute__((format(printf, 2, 3))) static char *formatted(gomem_arena *a, const char *format,
                                                             ...) {
    va_list list;
    va_start(list, format);
    char *text = gomem_arena_vprintf(a, format, list);
    va_end(list);
    return text;
}

static int in_scopes(gomem_arena *a) {
    int n = 0;
    GOMEM_ARENA_TEMP(a);
    GOMEM_ARENA_SCOPE (a) {
        struct leaf *leaf = GOMEM_ARENA_NEW(a, struct leaf);
        if (leaf != NULL) n = leaf->key + 1;
    }
    return n;
}

static int arenas(void) {
    static char buffer[1000];
#ifdef __cplusplus
    gomem_arena a = {}, b = {};
    gomem_arena_options options = {};
#else
    gomem_arena a = {0}, b = {0};
    gomem_arena_options options = {0};
#endif
    int forgotten = 0;
    struct leaf *leaf = GOMEM_ARENA_NEW(&a, struct leaf);
    struct leaf *leaves = GOMEM_ARENA_MAKE(&a, struct leaf, 5);
    void *block = gomem_arena_alloc(&a, 100);
    void *wide = gomem_arena_alloc_with(&a, 10, 64, GOMEM_UNINIT);
    if (leaf == NULL || leaves == NULL || block == NULL || (uintptr_t)wide % 64 != 0) return 70;
    if (gomem_arena_resize(&a, wide, 10, 20) != wide) return 71;
    gomem_arena_mark mark = gomem_arena_save(&a);
    if (strcmp(gomem_arena_printf(&a, "%d", 5), gomem_arena_strdup(&a, "5")) != 0) return 72;
    if (strcmp(formatted(&a, "%d", 7), "7") != 0) return 72;
    gomem_arena_restore(&a, mark);
    if (!gomem_arena_on_reset(&a, forget, &forgotten) || in_scopes(&a) != 1) return 73;
    gomem_arena_stats stats = gomem_arena_read_stats(&a);
    if (stats.used == 0 || !gomem_arena_absorb(&b, &a)) return 74;
    gomem_arena_reset(&b);
    gomem_arena_free(&b);
    options.buffer = buffer;
    options.buffer_size = sizeof buffer;
    if (forgotten != 7 || !gomem_arena_init(&a, &options)) return 75;
    gomem_arena *out = &a;
    if (gomem_scratch(&out, 1) == NULL || gomem_scratch(NULL, 0) == out) return 76;
    return gomem_arena_alloc(&a, 2000) == NULL ? 0 : 77;
}
#else
static int arenas(void) { return 0; }
#endif

#ifndef GOMEM_NO_COLLECTOR
struct tree {
    struct tree *left, *right;
    struct leaf leaf;
};

struct cell {
    int is_pointer;
    union {
        struct tree *tree;
        uintptr_t number;
    } as;
};

static void mark_cell(const void *object, size_t size, gomem_marker *marker) {
    const struct cell *cell = (const struct cell *)object;
    if (size >= sizeof *cell && cell->is_pointer) gomem_mark(marker, cell->as.tree);
}

GOMEM_TYPE(tree_type, struct tree, left, right);
GOMEM_TYPE_NOPTR(leaf_type, struct leaf);
GOMEM_TYPE_MARK(cell_type, struct cell, mark_cell);

static bool count_one(void *object, size_t size, void *user) {
    *(size_t *)user += object != NULL && size != 0;
    return true;
}

static int collected(void) {
    struct tree *tree = GOMEM_NEW(struct tree);
    struct tree *trees = GOMEM_MAKE(struct tree, 3);
    struct leaf *leaf = GOMEM_NEW_NOSCAN(struct leaf);
    struct leaf *leaves = GOMEM_MAKE_NOSCAN(struct leaf, 3u);
    struct tree *typed = GOMEM_NEW_TYPED(struct tree, &tree_type);
    struct leaf *many = GOMEM_MAKE_TYPED(struct leaf, &leaf_type, 4L);
    struct cell *cell = GOMEM_NEW_TYPED(struct cell, &cell_type);
    if (tree == NULL || trees == NULL || leaf == NULL || leaves == NULL) return 20;
    if (typed == NULL || many == NULL || cell == NULL) return 21;
    GOMEM_STORE(&tree->left, trees);
    GOMEM_STORE(&cell->as.number, (uintptr_t)tree | 1);
    GOMEM_STORE_ATOMIC(&tree->right, typed);
    struct tree *old = GOMEM_EXCHANGE(&tree->right, NULL);
    if (old != typed || !GOMEM_CAS(&tree->left, &trees, typed) || tree->left != typed) return 22;
    gomem_memmove(&tree->right, &tree->left, sizeof tree->right);
    GOMEM_KEEP_ALIVE(tree);
    return tree->right == typed ? 0 : 23;
}

// Flexible array members are C's alone.
#ifdef __cplusplus
static int flexible(void) { return 0; }
#else
struct row {
    struct tree *owner;
    size_t length;
    struct tree *cells[];
};

GOMEM_TYPE_FLEX(row_type, struct row, cells, owner);

static int flexible(void) {
    struct row *row = GOMEM_NEW_FLEX(struct row, cells, 5);
    struct row *flat = GOMEM_NEW_FLEX_NOSCAN(struct row, cells, 5);
    struct row *exact = GOMEM_NEW_FLEX_TYPED(struct row, &row_type, cells, 5);
    if (row == NULL || flat == NULL || exact == NULL) return 50;
    return row->cells[4] != NULL || flat->cells[4] != NULL || exact->cells[4] != NULL;
}
#endif

static int untyped(void) {
    void *block = gomem_new(10);
    void *bytes = gomem_new_noscan(10);
    void *typed = gomem_new_typed(&tree_type, 3);
    void *kept = gomem_new_with(100, 64, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN | GOMEM_UNINIT);
    char *text = gomem_new_string("string", SIZE_MAX);
    if (block == NULL || bytes == NULL || typed == NULL || kept == NULL || text == NULL) return 30;
    gomem_free(kept);
    return strcmp(text, "string") != 0;
}

static void finalize(void *obj, void *arg) { (void)obj, ++*(int *)arg; }
static void clean(void *arg) { (void)arg; }

static int at_the_end(void) {
    static int ran;
    struct tree *tree = GOMEM_NEW(struct tree);
    gomem_weak weak = gomem_weak_make(tree), no_weak = {0};
    gomem_cleanup cleanup = gomem_add_cleanup(tree, clean, NULL), no_cleanup = {0};
    if (gomem_weak_get(weak) != tree || gomem_weak_get(no_weak) != NULL) return 60;
    gomem_cancel_cleanup(cleanup);
    gomem_cancel_cleanup(no_cleanup);
    if (!gomem_set_finalizer(tree, finalize, &ran) || !gomem_set_finalizer(tree, NULL, NULL))
        return 61;
    void *counted = gomem_rc_new(100, clean);
    gomem_rc_release(gomem_rc_retain(counted));
    gomem_rc_release(counted);
    return gomem_run_finalizers(10) < 0 || counted == NULL ? 62 : 0;
}

static int collector(void) {
    static void *roots[4];
    static char stack[64];
    size_t count = 0;
    if (!gomem_add_root(roots, sizeof roots) || !gomem_add_stack(stack, stack + 64)) return 40;
    gomem_stack_parked(stack, stack + 16);
    gomem_gc_hold();
    gomem_gc_unhold();
    if (gomem_set_gc_percent(GOMEM_GC_OFF) == GOMEM_GC_OFF) return 41;
    gomem_set_gc_percent(100);
    gomem_gc();
    gomem_gc_start();
    gomem_free_os_memory();
    if (gomem_each(NULL, count_one, &count) > 1000000) return 42;
    return !gomem_remove_stack(stack) || !gomem_remove_root(roots);
}

int user_run(void) {
    int (*const parts[])(void) = {life,       manual,    collected, flexible, untyped,
                                  at_the_end, collector, pools,     hints,    arenas};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        int status = parts[i]();
        if (status != 0) return status;
    }
    return 0;
}
#else
int user_run(void) {
    int status = life();
    if (status == 0) status = manual();
    if (status == 0) status = pools();
    if (status == 0) status = hints();
    return status != 0 ? status : arenas();
}
#endif
