// Calls of gc.h one by one. With -DON_LIBGC the same on libgc: what is expected here holds there.
#if defined(ON_LIBGC)
#include <gc.h>
#else
#define GOMEM_IMPLEMENTATION
#include "gc.h"
#endif

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int passed, failed;

#define CHECK(condition)                                        \
    do {                                                        \
        if (condition) passed++;                                \
        else {                                                  \
            failed++;                                           \
            printf("FAIL line %d: %s\n", __LINE__, #condition); \
        }                                                       \
    } while (0)

enum { MANY = 1000 };

static void count(void *object, void *data) {
    (void)object;
    ++*(int *)data;
}
static void count_other(void *object, void *data) { (void)object, (void)data; }

static int lost, removed, linked_too; // finalizers of each kind that ran
static void **links;                  // memory that is not scanned

// Calls fn in a frame of its own and then overwrites where it was: nothing stays behind on the stack.
static __attribute__((noinline)) void apart(void (*fn)(void)) {
    fn();
    volatile char old[4096];
    for (size_t i = 0; i < sizeof old; i++) old[i] = 0;
}

static void collect(void) {
    for (int i = 0; i < 3; i++) {
        GC_gcollect();
        while (GC_invoke_finalizers()) {}
    }
}

static void make_finalized(void) {
    for (int i = 0; i < MANY; i++)
        GC_register_finalizer_no_order(GC_MALLOC(32), count, &lost, NULL, NULL);
}

static void make_linked(void) {
    for (int i = 0; i < MANY; i++) {
        void *object = GC_MALLOC(48);
        links[i] = object;
        if (GC_general_register_disappearing_link(&links[i], object) != GC_SUCCESS) failed++;
    }
}

static void make_both(void) {
    void *object = GC_MALLOC(48);
    links[0] = links[1] = object;
    CHECK(GC_general_register_disappearing_link(&links[0], object) == GC_SUCCESS);
    CHECK(GC_general_register_disappearing_link(&links[0], object) == GC_DUPLICATE);
    CHECK(GC_move_disappearing_link(&links[0], &links[1]) == GC_SUCCESS);
    CHECK(GC_move_disappearing_link(&links[0], &links[1]) == GC_NOT_FOUND);
    GC_REGISTER_FINALIZER(object, count, &linked_too, NULL, NULL);
}

static void make_removed(void) {
    for (int i = 0; i < MANY; i++) {
        void *object = GC_MALLOC(64), *data = NULL;
        GC_finalization_proc fn = count_other;
        links[i] = object;
        GC_REGISTER_FINALIZER(object, count, &removed, &fn, &data);
        if (fn) failed++; // there was none
        (void)GC_general_register_disappearing_link(&links[i], object);
        if (!GC_unregister_disappearing_link(&links[i])) failed++;
        if (GC_unregister_disappearing_link(&links[i])) failed++;
        GC_REGISTER_FINALIZER(object, NULL, NULL, &fn, &data);
        if (fn != count || data != &removed) failed++;
    }
}

// A link to an object comes and goes beside its finalizer, which can be asked for and replaced.
static void make_replaced(void) {
    void *object = GC_MALLOC(48), *data = NULL;
    GC_finalization_proc fn = NULL;
    links[2] = object;
    GC_REGISTER_FINALIZER(object, count, &lost, NULL, NULL);
    GC_REGISTER_FINALIZER(object, count_other, &removed, &fn, &data);
    CHECK(fn == count && data == &lost);
    CHECK(GC_general_register_disappearing_link(&links[2], object) == GC_SUCCESS);
    GC_REGISTER_FINALIZER(object, count, &linked_too, &fn, &data);
    CHECK(fn == count_other && data == &removed);
    CHECK(GC_unregister_disappearing_link(&links[2]));
    GC_REGISTER_FINALIZER(object, NULL, NULL, &fn, &data);
    CHECK(fn == count && data == &linked_too);
    GC_REGISTER_FINALIZER(object, NULL, NULL, &fn, &data);
    CHECK(!fn && !data);
}

#if !defined(ON_LIBGC)
static int released;

static void make_freed(void) {
    for (int i = 0; i < MANY; i++) {
        void *object = GC_MALLOC(80);
        GC_REGISTER_FINALIZER(object, count, &released, NULL, NULL);
        GC_FREE(object);
    }
}
#endif

static int linked(void) {
    int n = 0;
    for (int i = 0; i < MANY; i++) n += links[i] != NULL;
    return n;
}

static void *add_one(void *data) { return ++*(int *)data, data; }
static void *active(void *data) {
    void *object = GC_call_with_gc_active(add_one, data);
    return object;
}
static void *with_base(struct GC_stack_base *base, void *data) {
    return base->mem_base ? data : NULL;
}

static void plain_calls(void) {
    int n = 0;
    void *object = NULL, *list = GC_malloc_many(24);
    for (; list; list = GC_NEXT(list)) n++;
    CHECK(n > 0);
    n = 0;
    CHECK(GC_do_blocking(active, &n) == &n && n == 1);
    CHECK(GC_call_with_gc_active(add_one, &n) == &n && n == 2);
    CHECK(GC_call_with_stack_base(with_base, &n) == &n);
    CHECK(GC_posix_memalign(&object, 64, 100) == 0 && (uintptr_t)object % 64 == 0);
    CHECK(strcmp(GC_STRDUP("abc"), "abc") == 0 && strcmp(GC_STRNDUP("abc", 2), "ab") == 0);
    char *text = GC_MALLOC(3);
    memcpy(text, "xy", 3);
    text = GC_REALLOC(text, 1000);
    CHECK(strcmp(text, "xy") == 0 && GC_size(text) >= 1000);
    CHECK(GC_REALLOC(NULL, 8) != NULL);
    CHECK(GC_get_free_space_divisor() >= 1);
}

// A library that may be called from any thread registers it if it must, and takes that back.
static void *guarded(struct GC_stack_base *base, void *data) {
    int registered = GC_thread_is_registered(), result = GC_register_my_thread(base);
    CHECK(result == (registered ? GC_DUPLICATE : GC_SUCCESS));
    CHECK(GC_thread_is_registered());
    CHECK(GC_register_my_thread(base) == GC_DUPLICATE);
    if (result == GC_SUCCESS) CHECK(GC_unregister_my_thread() == GC_SUCCESS);
    CHECK(GC_thread_is_registered() == registered);
    return data;
}

static void *collect_elsewhere(void *data) {
    CHECK(GC_thread_is_registered());
    for (int i = 0; i < 3; i++) {
        GC_gcollect();
        for (int k = 0; k < 2000; k++) memset(GC_MALLOC(512), 0xEE, 512);
    }
    return data;
}

// What lies on the stack of the thread that asks is still there when another has collected.
static void *registered_thread(void *data) {
    pthread_t other;
    int *volatile object = GC_MALLOC(512);
    object[0] = 42;
    CHECK(GC_thread_is_registered());
    CHECK(GC_call_with_stack_base(guarded, data) == data);
    CHECK(pthread_create(&other, NULL, collect_elsewhere, NULL) == 0);
    (void)pthread_join(other, NULL);
    CHECK(object[0] == 42);
    return data;
}

static void *strange_thread(void *data) {
    CHECK(!GC_thread_is_registered());
    CHECK(GC_call_with_stack_base(guarded, data) == data);
    CHECK(!GC_thread_is_registered());
    return data;
}

static void threads(void) {
    pthread_t thread;
    void *result = NULL, *argument = GC_STRDUP("argument");
    GC_allow_register_threads();
    (void)registered_thread(NULL);
    CHECK(pthread_create(&thread, NULL, registered_thread, argument) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == argument);
#undef pthread_create // the plain ones
#undef pthread_join
    CHECK(pthread_create(&thread, NULL, strange_thread, NULL) == 0);
    (void)pthread_join(thread, NULL);
}

int main(void) {
    CHECK(GC_MALLOC(16) != NULL && GC_thread_is_registered()); // with or without GC_INIT
    GC_INIT();
    GC_set_finalize_on_demand(1);
    threads();
    plain_calls();
    links = GC_MALLOC_ATOMIC_UNCOLLECTABLE((MANY + 1) * sizeof *links);
    memset(links, 0, (MANY + 1) * sizeof *links);

    apart(make_finalized);
    collect();
    CHECK(lost >= MANY - 5 && lost <= MANY);

    apart(make_linked);
    CHECK(linked() == MANY);
    collect();
    CHECK(linked() <= 5);

    memset(links, 0, MANY * sizeof *links);
    apart(make_removed);
    collect();
    CHECK(removed == 0 && linked() == MANY); // links that were taken away stay as they are

#if !defined(ON_LIBGC) // which runs the finalizer of what was freed by hand
    apart(make_freed);
    collect();
    CHECK(released == 0);
#endif

    apart(make_both);
    apart(make_replaced);
    apart(plain_calls); // what is left of that frame goes
    collect();
    CHECK(linked_too == 1 && links[1] == NULL && links[0] != NULL);
    printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
