/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * gc.h - the common part of the Boehm-Demers-Weiser collector's API on gomem.h.
 *
 * A program that was written for that collector is compiled with -I on this folder and on the one
 * of gomem.h, without -lgc. As with gomem.h, one .c file of it holds the implementation:
 *
 *     #define GOMEM_IMPLEMENTATION
 *     #include "gc.h"
 *
 * THE SAME          allocation, zeroing, free, realloc, size, base, roots, GC_gcollect, enabling and
 *                   disabling, threads (GC_THREADS redirects pthread_create; the main thread and
 *                   those of GC_pthread_create count as registered), blocking regions,
 *                   callbacks for warnings, exhausted memory and events, GC_call_with_alloc_lock.
 * ANOTHER WAY       Finalizers run on a thread of gomem, or in GC_gcollect and GC_invoke_finalizers,
 *                   not in allocations. All three kinds of registering keep gomem's order: an object
 *                   goes before what it leads to, and of a cycle one object goes per collection;
 *                   gomem_init with options.unordered before GC_INIT makes all three unordered.
 *                   Disappearing links are cleared by GC_gcollect before it returns, else just
 *                   before the finalizer; until then what they lead to stays as it is.
 *                   GC_FREE clears links and forgets the finalizer; GC_REALLOC takes both along.
 *                   GC_remove_roots takes away the range that begins there. GC_set_max_heap_size is
 *                   a soft limit. A free-space divisor of 3 is 100 percent, and so on. A call that
 *                   gets no memory asks the function of GC_set_oom_fn, which by default says NULL.
 * NO EFFECT         GC_register_displacement and GC_set_all_interior_pointers (interior pointers
 *                   always count), GC_enable_incremental (the collector is concurrent by itself),
 *                   GC_expand_hp, numbers of markers, fork handlers, GC_allow_register_threads.
 * NOT THERE         What has no counterpart does not compile: the compiler then names, as undeclared,
 *                   GC_name_has_no_counterpart_in_gomem. These are long links, toggle references,
 *                   kinds and mark procedures (GOMEM_TYPE_MARK does that), typed objects by
 *                   descriptor (GOMEM_TYPE), leak finding, back pointers, excluded and cleared roots,
 *                   GC_set_stackbottom (gomem_add_stack), GC_try_to_collect, the variables that
 *                   newer versions deprecate, and the GC_debug_ family, whose macros are the plain
 *                   calls here (-DGOMEM_CHECK=1 and GOMEM_DEBUG look for mistakes).
 *
 * -DGC_NO_FINALIZATION leaves finalizers and links out.
 */
#ifndef GOMEM_BOEHM_GC_H
#define GOMEM_BOEHM_GC_H

#include "gomem.h"

#include <pthread.h>

#if defined(__cplusplus)
extern "C" {
#endif

#define GC_VERSION_MAJOR 8 // the API that is followed
#define GC_VERSION_MINOR 2
#define GC_VERSION_MICRO 0

#define GC_API           GOMEM_DEF
#define GC_CALL          // nothing: calls are plain C
#define GC_CALLBACK      // nothing: callbacks too

typedef uintptr_t GC_word;
typedef intptr_t GC_signed_word;
typedef void *(*GC_oom_func)(size_t size);
typedef void (*GC_warn_proc)(char *format, GC_word argument);
typedef void (*GC_finalization_proc)(void *object, void *data);
typedef void (*GC_finalizer_notifier_proc)(void);
typedef void *(*GC_fn_type)(void *data);

enum { GC_SUCCESS, GC_DUPLICATE, GC_NO_THREADS, GC_UNIMPLEMENTED, GC_NOT_FOUND };
#define GC_NO_MEMORY 2 // of links

typedef enum {
    GC_EVENT_START,
    GC_EVENT_MARK_START,
    GC_EVENT_MARK_END,
    GC_EVENT_RECLAIM_START,
    GC_EVENT_RECLAIM_END,
    GC_EVENT_END,
    GC_EVENT_PRE_STOP_WORLD,
    GC_EVENT_POST_STOP_WORLD,
    GC_EVENT_PRE_START_WORLD,
    GC_EVENT_POST_START_WORLD
} GC_EventType; // START, POST_STOP_WORLD, POST_START_WORLD and END happen
typedef void (*GC_on_collection_event_proc)(GC_EventType what);

struct GC_stack_base {
    void *mem_base; // a place in the oldest frame that is known
};
typedef void *(*GC_stack_base_func)(struct GC_stack_base *base, void *data);

// ---- allocation ----

GC_API void GC_init(void);
GC_API void *GC_malloc(size_t size);        // zeroed
GC_API void *GC_malloc_atomic(size_t size); // holds no pointers; not zeroed
GC_API void *GC_malloc_uncollectable(size_t size);
GC_API void *GC_malloc_atomic_uncollectable(size_t size);
GC_API void *GC_malloc_many(size_t size); // a list of objects, linked by GC_NEXT
GC_API void *GC_realloc(void *object, size_t size);
GC_API void GC_free(void *object);
GC_API char *GC_strdup(const char *text);
GC_API char *GC_strndup(const char *text, size_t size);
GC_API void *GC_memalign(size_t align, size_t size);
GC_API int GC_posix_memalign(void **object, size_t align, size_t size);
GC_API size_t GC_size(const void *object);
GC_API void *GC_base(void *pointer);
GC_API int GC_is_heap_ptr(const void *pointer);

#define GC_INIT()                              GC_init()
#define GC_MALLOC(size)                        GC_malloc(size)
#define GC_MALLOC_ATOMIC(size)                 GC_malloc_atomic(size)
#define GC_MALLOC_UNCOLLECTABLE(size)          GC_malloc_uncollectable(size)
#define GC_MALLOC_ATOMIC_UNCOLLECTABLE(size)   GC_malloc_atomic_uncollectable(size)
#define GC_MALLOC_IGNORE_OFF_PAGE(size)        GC_malloc(size)
#define GC_MALLOC_ATOMIC_IGNORE_OFF_PAGE(size) GC_malloc_atomic(size)
#define GC_malloc_ignore_off_page(size)        GC_malloc(size)
#define GC_malloc_atomic_ignore_off_page(size) GC_malloc_atomic(size)
#define GC_MALLOC_STUBBORN(size)               GC_malloc(size)
#define GC_REALLOC(object, size)               GC_realloc((object), (size))
#define GC_FREE(object)                        GC_free(object)
#define GC_STRDUP(text)                        GC_strdup(text)
#define GC_STRNDUP(text, size)                 GC_strndup((text), (size))
#define GC_NEW(T)                              ((T *)GC_malloc(sizeof(T)))
#define GC_NEW_ATOMIC(T)                       ((T *)GC_malloc_atomic(sizeof(T)))
#define GC_NEW_UNCOLLECTABLE(T)                ((T *)GC_malloc_uncollectable(sizeof(T)))
#define GC_NEXT(object)                        (*(void **)(object))

// ---- the collector ----

GC_API void GC_gcollect(void); // a full cycle; links are cleared and finalizers have run or run
GC_API void GC_gcollect_and_unmap(void);
GC_API void GC_disable(void); // nests
GC_API void GC_enable(void);
GC_API int GC_is_disabled(void);
GC_API size_t GC_get_heap_size(void);
GC_API size_t GC_get_free_bytes(void);
GC_API size_t GC_get_unmapped_bytes(void);
GC_API size_t GC_get_total_bytes(void);
GC_API size_t GC_get_memory_use(void);
GC_API GC_word GC_get_gc_no(void);
GC_API unsigned GC_get_version(void);
GC_API void GC_add_roots(void *low, void *high);
GC_API void GC_remove_roots(void *low, void *high);
GC_API void GC_set_free_space_divisor(GC_word divisor);
GC_API GC_word GC_get_free_space_divisor(void);
GC_API void GC_set_oom_fn(GC_oom_func fn);
GC_API GC_oom_func GC_get_oom_fn(void);
GC_API void GC_set_warn_proc(GC_warn_proc fn);
GC_API GC_warn_proc GC_get_warn_proc(void);
GC_API void GC_ignore_warn_proc(char *format, GC_word argument);
GC_API void GC_set_on_collection_event(GC_on_collection_event_proc fn);
GC_API GC_on_collection_event_proc GC_get_on_collection_event(void);

#define GC_COLLECT()                        GC_gcollect()
#define GC_set_max_heap_size(bytes)         ((void)gomem_set_memory_limit(bytes))
#define GC_expand_hp(bytes)                 ((void)(bytes), 1)
#define GC_register_displacement(n)         ((void)(n))
#define GC_REGISTER_DISPLACEMENT(n)         ((void)(n))
#define GC_set_all_interior_pointers(n)     ((void)(n))
#define GC_get_all_interior_pointers()      1
#define GC_enable_incremental()             ((void)0)
#define GC_is_incremental_mode()            1
#define GC_start_incremental_collection()   ((void)gomem_gc_start())
#define GC_set_time_limit(ms)               ((void)(ms))
#define GC_set_markers_count(n)             ((void)(n))
#define GC_set_handle_fork(n)               ((void)(n))
#define GC_atfork_prepare()                 ((void)0)
#define GC_atfork_parent()                  ((void)0)
#define GC_atfork_child()                   ((void)0)
#define GC_set_dont_precollect(n)           ((void)(n))
#define GC_set_no_dls(n)                    ((void)(n))
#define GC_set_java_finalization(n)         ((void)(n))

// Stores: needed by GOMEM_GC_BARRIER only, which then needs all of them.
#define GC_ptr_store_and_dirty(slot, value) GOMEM_STORE((void **)(slot), (void *)(value))
#define GC_PTR_STORE_AND_DIRTY(slot, value) GC_ptr_store_and_dirty((slot), (value))
#define GC_PTR_STORE(slot, value)           GC_ptr_store_and_dirty((slot), (value))
#define GC_end_stubborn_change(object)      ((void)(object))
#define GC_END_STUBBORN_CHANGE(object)      ((void)(object))
#define GC_reachable_here(pointer)          GOMEM_KEEP_ALIVE(pointer)

typedef GC_word GC_hidden_pointer;
#define GC_HIDE_POINTER(pointer)     (~(GC_hidden_pointer)(pointer))
#define GC_REVEAL_POINTER(hidden)    ((void *)~(GC_hidden_pointer)(hidden))
#define GC_HIDE_NZ_POINTER(pointer)  GC_HIDE_POINTER(pointer)
#define GC_REVEAL_NZ_POINTER(hidden) GC_REVEAL_POINTER(hidden)

// ---- threads ----

GC_API int GC_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                             void *arg);
GC_API int GC_get_stack_base(struct GC_stack_base *base);
GC_API int GC_register_my_thread(const struct GC_stack_base *base);
GC_API int GC_unregister_my_thread(void);
GC_API int GC_thread_is_registered(void);
GC_API void *GC_call_with_stack_base(GC_stack_base_func fn, void *data);
GC_API void *GC_do_blocking(GC_fn_type fn, void *data);
GC_API void *GC_call_with_gc_active(GC_fn_type fn, void *data);
GC_API void GC_alloc_lock(void); // nests; links are cleared and finalizers chosen under it
GC_API void GC_alloc_unlock(void);
GC_API void *GC_call_with_alloc_lock(GC_fn_type fn, void *data);

#define GC_allow_register_threads()       ((void)0)
#define GC_use_threads_discovery()        ((void)0)
#define GC_start_mark_threads()           ((void)0)
#define GC_pthread_join(thread, result)   pthread_join((thread), (result))
#define GC_pthread_detach(thread)         pthread_detach(thread)
#define GC_pthread_exit(result)           pthread_exit(result)
#define GC_pthread_cancel(thread)         pthread_cancel(thread)
#define GC_pthread_sigmask(how, set, old) pthread_sigmask((how), (set), (old))

// ---- finalizers, disappearing links ----

#if !defined(GC_NO_FINALIZATION)
GC_API void GC_register_finalizer(void *object, GC_finalization_proc fn, void *data,
                                  GC_finalization_proc *old_fn, void **old_data);
GC_API int GC_general_register_disappearing_link(void **link, const void *object);
GC_API int GC_unregister_disappearing_link(void **link);
GC_API int GC_move_disappearing_link(void **link, void **new_link);
GC_API int GC_invoke_finalizers(void); // how many callbacks of gomem ran: links count too
GC_API void GC_set_finalize_on_demand(int on);
GC_API int GC_get_finalize_on_demand(void);
GC_API void GC_set_finalizer_notifier(GC_finalizer_notifier_proc fn); // after each cycle
GC_API GC_finalizer_notifier_proc GC_get_finalizer_notifier(void);

#define GC_should_invoke_finalizers()         1
#define GC_register_finalizer_no_order        GC_register_finalizer
#define GC_register_finalizer_ignore_self     GC_register_finalizer
#define GC_register_finalizer_unreachable     GC_register_finalizer
#define GC_REGISTER_FINALIZER                 GC_register_finalizer
#define GC_REGISTER_FINALIZER_NO_ORDER        GC_register_finalizer
#define GC_REGISTER_FINALIZER_IGNORE_SELF     GC_register_finalizer
#define GC_REGISTER_FINALIZER_UNREACHABLE     GC_register_finalizer
#define GC_register_disappearing_link(link)   GC_general_register_disappearing_link((link), *(link))
#define GC_GENERAL_REGISTER_DISAPPEARING_LINK GC_general_register_disappearing_link
#endif

#if defined(__cplusplus)
}
#endif

// ---- what has no counterpart ----

#define GC_register_long_link(...)      GC_register_long_link_has_no_counterpart_in_gomem
#define GC_REGISTER_LONG_LINK(...)      GC_register_long_link_has_no_counterpart_in_gomem
#define GC_unregister_long_link(...)    GC_unregister_long_link_has_no_counterpart_in_gomem
#define GC_move_long_link(...)          GC_move_long_link_has_no_counterpart_in_gomem
#define GC_toggleref_add(...)           GC_toggleref_add_has_no_counterpart_in_gomem
#define GC_set_toggleref_func(...)      GC_set_toggleref_func_has_no_counterpart_in_gomem
#define GC_set_await_finalize_proc(...) GC_set_await_finalize_proc_has_no_counterpart_in_gomem
#define GC_new_kind(...)                GC_new_kind_has_no_counterpart_in_gomem
#define GC_new_proc(...)                GC_new_proc_has_no_counterpart_in_gomem
#define GC_generic_malloc(...)          GC_generic_malloc_has_no_counterpart_in_gomem
#define GC_make_descriptor(...)         GC_make_descriptor_has_no_counterpart_in_gomem
#define GC_malloc_explicitly_typed(...) GC_malloc_explicitly_typed_has_no_counterpart_in_gomem
#define GC_calloc_explicitly_typed(...) GC_calloc_explicitly_typed_has_no_counterpart_in_gomem
#define GC_gcj_malloc(...)              GC_gcj_malloc_has_no_counterpart_in_gomem
#define GC_set_push_other_roots(...)    GC_set_push_other_roots_has_no_counterpart_in_gomem
#define GC_exclude_static_roots(...)    GC_exclude_static_roots_has_no_counterpart_in_gomem
#define GC_clear_roots(...)             GC_clear_roots_has_no_counterpart_in_gomem
#define GC_set_stackbottom(...)         GC_set_stackbottom_has_no_counterpart_in_gomem
#define GC_get_my_stackbottom(...)      GC_get_my_stackbottom_has_no_counterpart_in_gomem
#define GC_try_to_collect(...)          GC_try_to_collect_has_no_counterpart_in_gomem
#define GC_set_stop_func(...)           GC_set_stop_func_has_no_counterpart_in_gomem
#define GC_set_find_leak(...)           GC_set_find_leak_has_no_counterpart_in_gomem
#define GC_get_prof_stats(...)          GC_get_prof_stats_has_no_counterpart_in_gomem
#define GC_set_on_heap_resize(...)      GC_set_on_heap_resize_has_no_counterpart_in_gomem
#define GC_enumerate_reachable_objects_inner(...) \
    GC_enumerate_reachable_objects_inner_has_no_counterpart_in_gomem
#define GC_dont_gc            GC_dont_gc_has_no_counterpart_in_gomem
#define GC_find_leak          GC_find_leak_has_no_counterpart_in_gomem
#define GC_stackbottom        GC_stackbottom_has_no_counterpart_in_gomem
#define GC_finalizer_notifier GC_finalizer_notifier_has_no_counterpart_in_gomem

#if (defined(GC_DEBUG) || defined(GC_DEBUG_REPLACEMENT)) && !defined(GC_IGNORE_DEBUG)
#warning "gc.h: GC_DEBUG has no effect; compile with -DGOMEM_CHECK=1, run with GOMEM_DEBUG=poison=1"
#endif
#if defined(GC_REDIRECT_TO_LOCAL) || defined(GC_LOCAL_ALLOC_H)
#error \
    "gc.h: local allocation has no counterpart in gomem: its calls are thread-local by themselves"
#endif

// ---- the implementation ----

#if defined(GOMEM_IMPLEMENTATION)
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct gc_shim {
    GC_oom_func oom;                     // atomic
    GC_warn_proc warn;                   // atomic
    GC_on_collection_event_proc event;   // atomic
    GC_finalizer_notifier_proc notifier; // atomic
    int disabled;                        // calls of GC_disable that are open. atomic
    GC_word divisor;                     // atomic
    int on_demand;                       // finalizers. atomic
    pthread_mutex_t lock;                // GC_alloc_lock; recursive
} gc_shim = {.divisor = 3};
static pthread_once_t gc_shim_once = PTHREAD_ONCE_INIT;
static GOMEM_I_THREAD int gc_shim_blocked; // GC_do_blocking that are open on this thread
enum { GC_SHIM_UNASKED, GC_SHIM_STRANGER, GC_SHIM_REGISTERED };
static GOMEM_I_THREAD int gc_shim_thread; // is this thread registered? GC_SHIM_…

#define GC_SHIM_GET(field)        __atomic_load_n(&gc_shim.field, __ATOMIC_ACQUIRE)
#define GC_SHIM_SET(field, value) __atomic_store_n(&gc_shim.field, (value), __ATOMIC_RELEASE)

static void gc_shim_warn(const char *line, void *user) {
    GC_warn_proc fn = GC_SHIM_GET(warn);
    (void)user;
    char format[] = "%s";
    if (fn) fn(format, (GC_word)line);
    else GOMEM_LOG(line);
}

static void gc_shim_event(int what, uint64_t ns, void *user) {
    static const GC_EventType names[] = {[GOMEM_EVENT_BEGIN] = GC_EVENT_START,
                                         [GOMEM_EVENT_STOPPED] = GC_EVENT_POST_STOP_WORLD,
                                         [GOMEM_EVENT_RESUMED] = GC_EVENT_POST_START_WORLD,
                                         [GOMEM_EVENT_END] = GC_EVENT_END};
    GC_on_collection_event_proc fn = GC_SHIM_GET(event);
    GC_finalizer_notifier_proc notify = GC_SHIM_GET(notifier);
    (void)ns, (void)user;
    if (fn) fn(names[what]);
    if (notify && what == GOMEM_EVENT_END) notify();
}

static void gc_shim_start(void) {
    pthread_mutexattr_t attr;
    gomem_options options = {.warn = gc_shim_warn, .event = gc_shim_event};
    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(&gc_shim.lock, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    (void)gomem_init(&options);
    gc_shim_thread = GC_SHIM_REGISTERED; // the thread that initializes counts as registered
}

GC_API void GC_init(void) {
    (void)pthread_once(&gc_shim_once, gc_shim_start);
    (void)gomem_thread_attach();
}

// ---- allocation ----

static void *gc_shim_or_oom(void *object, size_t size) {
    GC_oom_func fn = GC_SHIM_GET(oom);
    return object || !fn ? object : fn(size);
}

GC_API void *GC_malloc(size_t size) { return gc_shim_or_oom(gomem_new(size), size); }

GC_API void *GC_malloc_atomic(size_t size) {
    return gc_shim_or_oom(gomem_new_with(size, 0, GOMEM_NOSCAN | GOMEM_UNINIT), size);
}

GC_API void *GC_malloc_uncollectable(size_t size) {
    return gc_shim_or_oom(gomem_new_with(size, 0, GOMEM_UNCOLLECTABLE), size);
}

GC_API void *GC_malloc_atomic_uncollectable(size_t size) {
    return gc_shim_or_oom(gomem_new_with(size, 0, GOMEM_UNCOLLECTABLE | GOMEM_NOSCAN), size);
}

GC_API void *GC_malloc_many(size_t size) {
    void *list = NULL;
    for (int i = 0; i < 32; i++) {
        void *object = gomem_new(size < sizeof list ? sizeof list : size);
        if (!object) break;
        GOMEM_STORE((void **)object, list);
        list = object;
    }
    return list ? list : gc_shim_or_oom(NULL, size);
}

GC_API char *GC_strdup(const char *text) { return text ? gomem_new_string(text, SIZE_MAX) : NULL; }

GC_API char *GC_strndup(const char *text, size_t size) {
    const char *end = memchr(text, 0, size);
    return gomem_new_string(text, end ? (size_t)(end - text) : size);
}

GC_API void *GC_memalign(size_t align, size_t size) {
    return gc_shim_or_oom(gomem_new_with(size, align, 0), size);
}

GC_API int GC_posix_memalign(void **object, size_t align, size_t size) {
    if (!align || align & (align - 1) || align % sizeof(void *)) return EINVAL;
    void *p = GC_memalign(align, size);
    if (p) *object = p;
    return p ? 0 : ENOMEM;
}

GC_API size_t GC_size(const void *object) { return gomem_usable_size(object); }
GC_API void *GC_base(void *pointer) { return gomem_base(pointer); }
GC_API int GC_is_heap_ptr(const void *pointer) { return gomem_base(pointer) != NULL; }

// ---- finalizers, disappearing links ----

#if !defined(GC_NO_FINALIZATION)
struct gc_shim_node {
    struct gc_shim_node *next; // in its bucket. lock
    GC_hidden_pointer key;     // what it is found by. lock
};

struct gc_shim_table {
    struct gc_shim_node **buckets; // not scanned. lock
    size_t size, count;            // buckets, a power of two; nodes. lock
};

// What becomes of an object that links lead to: the argument of its finalizer, which is then
// gc_shim_finalize, and uncollectable: data is a root. Without links fn itself is the finalizer.
struct gc_shim_fate {
    GC_finalization_proc fn;    // NULL: links only. lock
    void *data;                 // of fn. lock
    struct gc_shim_link *links; // lock
};

// A disappearing link, found by where it is. Manual memory.
struct gc_shim_link {
    struct gc_shim_node node;      // first
    struct gc_shim_link *next;     // of the same object. lock
    struct gc_shim_fate *finalize; // const
    gomem_weak holder;             // collected object that it lies in, {0}: none
    gomem_weak object;             // what it leads to
};

static struct gc_shim_table gc_shim_links; // lock; its count is read without

static size_t gc_shim_bucket(const struct gc_shim_table *t, GC_hidden_pointer key) {
    return (size_t)((key >> 3 ^ key >> 15) & (t->size - 1));
}

// Makes room for one more; false: no memory. A table that could not grow only gets slower.
static bool gc_shim_room(struct gc_shim_table *t) {
    if (t->count < t->size) return true;
    struct gc_shim_table new_table = {NULL, t->size ? 2 * t->size : 64, t->count};
    new_table.buckets = (struct gc_shim_node **)gomem_calloc(new_table.size,
                                                             sizeof *new_table.buckets);
    if (!new_table.buckets) return t->size != 0;
    for (size_t i = 0; i < t->size; i++) {
        for (struct gc_shim_node *n = t->buckets[i], *next; n; n = next) {
            struct gc_shim_node **to = &new_table.buckets[gc_shim_bucket(&new_table, n->key)];
            next = n->next;
            n->next = *to;
            *to = n;
        }
    }
    gomem_free(t->buckets);
    *t = new_table;
    return true;
}

static void *gc_shim_find(const struct gc_shim_table *t, const void *p) {
    GC_hidden_pointer key = GC_HIDE_POINTER(p);
    struct gc_shim_node *n = t->size ? t->buckets[gc_shim_bucket(t, key)] : NULL;
    while (n && n->key != key) n = n->next;
    return n;
}

static void gc_shim_put(struct gc_shim_table *t, struct gc_shim_node *n, const void *p) {
    n->key = GC_HIDE_POINTER(p);
    struct gc_shim_node **at = &t->buckets[gc_shim_bucket(t, n->key)];
    n->next = *at;
    *at = n;
    __atomic_store_n(&t->count, t->count + 1, __ATOMIC_RELAXED);
}

static void gc_shim_take(struct gc_shim_table *t, struct gc_shim_node *n) {
    struct gc_shim_node **at = &t->buckets[gc_shim_bucket(t, n->key)];
    while (*at != n) at = &(*at)->next;
    *at = n->next;
    __atomic_store_n(&t->count, t->count - 1, __ATOMIC_RELAXED);
}

// A link in an object that has gone is not written any more: its memory may be another's.
static void gc_shim_clear_link(struct gc_shim_link *l) {
    if (l->holder.id && !gomem_weak_get(l->holder)) return;
    *(void **)GC_REVEAL_POINTER(l->node.key) = NULL;
}

static void gc_shim_drop_link(struct gc_shim_link *l) {
    struct gc_shim_link **at = &l->finalize->links;
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    gc_shim_take(&gc_shim_links, &l->node);
    gomem_free(l);
}

static void gc_shim_clear_links(struct gc_shim_fate *f) {
    while (f->links) {
        gc_shim_clear_link(f->links);
        gc_shim_drop_link(f->links);
    }
}

// gomem's finalizer of every object that links lead to.
static void gc_shim_finalize(void *object, void *arg) {
    struct gc_shim_fate *f = (struct gc_shim_fate *)arg;
    GC_alloc_lock();
    gc_shim_clear_links(f);
    GC_finalization_proc fn = f->fn;
    void *data = f->data;
    gomem_free(f);
    GC_alloc_unlock();
    if (fn) fn(object, data);
}

// The finalizer of an object, or its finalize, which is returned; NULL: links do not lead to it.
static struct gc_shim_fate *gc_shim_ask(const void *object, GC_finalization_proc *fn, void **data) {
    *fn = NULL;
    *data = NULL;
    if (!gomem_get_finalizer(object, fn, data) || *fn != gc_shim_finalize) return NULL;
    struct gc_shim_fate *f = (struct gc_shim_fate *)*data;
    *fn = f->fn;
    *data = f->data;
    return f;
}

// The finalize of an object, made if it has none; it takes over the finalizer. NULL: no memory, or not
// the start of a collected one.
static struct gc_shim_fate *gc_shim_fate_of(void *object) {
    GC_finalization_proc fn;
    void *data;
    struct gc_shim_fate *f = gc_shim_ask(object, &fn, &data), *new_f;
    if (f) return f;
    new_f = (struct gc_shim_fate *)gomem_new_with(sizeof *f, 0, GOMEM_UNCOLLECTABLE);
    bool set = false;
    do { // another thread may register, without the lock
        if (!new_f || (fn && !gomem_set_finalizer(object, NULL, NULL))) break;
        new_f->fn = fn;
        GOMEM_STORE(&new_f->data, data);
        set = gomem_set_finalizer(object, gc_shim_finalize, new_f);
    } while (!set && errno == EEXIST && (gc_shim_ask(object, &fn, &data), true));
    if (!set) gomem_free(new_f);
    return set ? new_f : NULL;
}

// Without a finalizer and links there is nothing left to do for the object.
static void gc_shim_settle(struct gc_shim_fate *f, void *object) {
    if (f->fn || f->links) return;
    (void)gomem_set_finalizer(object, NULL, NULL);
    gomem_free(f);
}

// The object is freed by hand: its links are cleared, its finalizer does not run.
static void gc_shim_freed(void *object) {
    GC_finalization_proc fn;
    void *data;
    if (!__atomic_load_n(&gc_shim_links.count, __ATOMIC_RELAXED)) return; // ours would be counted
    GC_alloc_lock();
    struct gc_shim_fate *f = gc_shim_ask(object, &fn, &data);
    if (f) {
        f->fn = NULL;
        gc_shim_clear_links(f);
        gc_shim_settle(f, object);
    }
    GC_alloc_unlock();
}

static void gc_shim_replace(void *object, GC_finalization_proc fn, void *data,
                            GC_finalization_proc *old_fn, void **old_data) {
    struct gc_shim_fate *f = gc_shim_ask(object, old_fn, old_data);
    if (f) {
        f->fn = fn;
        GOMEM_STORE(&f->data, fn ? data : NULL);
        gc_shim_settle(f, object);
        return;
    }
    if (*old_fn) (void)gomem_set_finalizer(object, NULL, NULL);
    if (fn) (void)gomem_set_finalizer(object, fn, data);
}

GC_API void GC_register_finalizer(void *object, GC_finalization_proc fn, void *data,
                                  GC_finalization_proc *old_fn, void **old_data) {
    GC_finalization_proc was_fn = NULL;
    void *was_data = NULL;
    GC_init();
    if (!fn || !gomem_set_finalizer(object, fn, data)) { // nearly always the first
        GC_alloc_lock();
        gc_shim_replace(object, fn, data, &was_fn, &was_data);
        GC_alloc_unlock();
    }
    if (old_fn) *old_fn = was_fn;
    if (old_data) *old_data = was_data;
}

// Where a link lies: in a collected object it must not be written when that has gone.
static void gc_shim_place(struct gc_shim_link *l, void **link) {
    void *holder = gomem_base(link);
    l->holder = holder ? gomem_weak_make(holder) : (gomem_weak){0}; // {0} for manual memory
    gc_shim_put(&gc_shim_links, &l->node, link);
}

static int gc_shim_add_link(void **link, const void *object) {
    void *base = gomem_base(object);
    if (gc_shim_find(&gc_shim_links, link)) return GC_DUPLICATE;
    struct gc_shim_link *l = (struct gc_shim_link *)gomem_calloc(1, sizeof *l);
    struct gc_shim_fate *f = l && gc_shim_room(&gc_shim_links) ? gc_shim_fate_of(base) : NULL;
    if (!f) {
        gomem_free(l);
        return GC_NO_MEMORY;
    }
    l->finalize = f;
    l->object = gomem_weak_make(base);
    l->next = f->links;
    f->links = l;
    gc_shim_place(l, link);
    return GC_SUCCESS;
}

GC_API int GC_general_register_disappearing_link(void **link, const void *object) {
    GC_init();
    GC_alloc_lock();
    int result = gc_shim_add_link(link, object);
    GC_alloc_unlock();
    return result;
}

GC_API int GC_unregister_disappearing_link(void **link) {
    GC_init();
    GC_alloc_lock();
    struct gc_shim_link *l = (struct gc_shim_link *)gc_shim_find(&gc_shim_links, link);
    if (l) {
        struct gc_shim_fate *f = l->finalize;
        void *object = gomem_weak_get(l->object);
        gc_shim_drop_link(l);
        if (object) gc_shim_settle(f, object); // else its finalizer is about to run
    }
    GC_alloc_unlock();
    return l != NULL;
}

GC_API int GC_move_disappearing_link(void **link, void **new_link) {
    int result = GC_SUCCESS;
    GC_init();
    GC_alloc_lock();
    struct gc_shim_link *l = (struct gc_shim_link *)gc_shim_find(&gc_shim_links, link);
    if (!l) result = GC_NOT_FOUND;
    else if (link != new_link && gc_shim_find(&gc_shim_links, new_link)) result = GC_DUPLICATE;
    else {
        gc_shim_take(&gc_shim_links, &l->node);
        gc_shim_place(l, new_link);
    }
    GC_alloc_unlock();
    return result;
}

// After a cycle: links to what was found unreachable, before any finalizer of it has run.
static void gc_shim_clear_dead_links(void) {
    GC_alloc_lock();
    for (size_t i = 0; i < gc_shim_links.size; i++) {
        for (struct gc_shim_node *n = gc_shim_links.buckets[i], *next; n; n = next) {
            struct gc_shim_link *l = (struct gc_shim_link *)(void *)n;
            next = n->next;
            if (gomem_weak_get(l->object)) continue;
            gc_shim_clear_link(l);
            gc_shim_drop_link(l);
        }
    }
    GC_alloc_unlock();
}

GC_API int GC_invoke_finalizers(void) { return gomem_run_finalizers(-1); }

static void gc_shim_after_cycle(void) {
    gc_shim_clear_dead_links();
    if (!GC_SHIM_GET(on_demand)) (void)GC_invoke_finalizers();
}

// Once by hand, always by hand: from then on GC_gcollect runs them, unless that is off too.
GC_API void GC_set_finalize_on_demand(int on) {
    gomem_options options = {.finalizers_by_hand = true};
    GC_init();
    GC_SHIM_SET(on_demand, on);
    if (on) (void)gomem_init(&options);
}

GC_API int GC_get_finalize_on_demand(void) { return GC_SHIM_GET(on_demand); }

GC_API void GC_set_finalizer_notifier(GC_finalizer_notifier_proc fn) {
    GC_init();
    GC_SHIM_SET(notifier, fn);
}

GC_API GC_finalizer_notifier_proc GC_get_finalizer_notifier(void) { return GC_SHIM_GET(notifier); }
#else
static void gc_shim_freed(void *object) { (void)object; }
static void gc_shim_after_cycle(void) {}
#endif

GC_API void GC_free(void *object) {
    if (!object) return;
    gc_shim_freed(object);
    gomem_free(object);
}

GC_API void *GC_realloc(void *object, size_t size) {
    if (!object) return GC_malloc(size);
    if (!size) {
        GC_free(object);
        return NULL;
    }
    return gc_shim_or_oom(gomem_realloc(object, size), size); // links and finalizer go with it
}

// ---- the collector ----

GC_API void GC_gcollect(void) {
    GC_init();
    if (GC_is_disabled()) return;
    gomem_gc();
    gc_shim_after_cycle();
}

GC_API void GC_gcollect_and_unmap(void) {
    GC_gcollect();
    (void)gomem_free_os_memory();
}

GC_API void GC_disable(void) {
    (void)__atomic_add_fetch(&gc_shim.disabled, 1, __ATOMIC_ACQ_REL);
    gomem_gc_hold();
}

GC_API void GC_enable(void) {
    gomem_gc_unhold();
    (void)__atomic_sub_fetch(&gc_shim.disabled, 1, __ATOMIC_ACQ_REL);
}

GC_API int GC_is_disabled(void) { return GC_SHIM_GET(disabled) != 0; }

static gomem_memstats gc_shim_stats(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return m;
}

// Programs poll these; the two that need all counters cost some microseconds.
GC_API size_t GC_get_heap_size(void) { return gomem_heap_size(); }
GC_API size_t GC_get_free_bytes(void) { return gomem_heap_free(); }
GC_API size_t GC_get_unmapped_bytes(void) { return (size_t)gc_shim_stats().heap_released; }
GC_API size_t GC_get_total_bytes(void) { return (size_t)gomem_total_alloc(); }
GC_API size_t GC_get_memory_use(void) { return (size_t)gc_shim_stats().heap_alloc; }
GC_API GC_word GC_get_gc_no(void) { return (GC_word)gomem_num_gc(); }

GC_API unsigned GC_get_version(void) {
    return GC_VERSION_MAJOR << 16 | GC_VERSION_MINOR << 8 | GC_VERSION_MICRO;
}

GC_API void GC_add_roots(void *low, void *high) {
    if (low < high) (void)gomem_add_root(low, (size_t)((char *)high - (char *)low));
}

GC_API void GC_remove_roots(void *low, void *high) {
    (void)high;
    (void)gomem_remove_root(low);
}

GC_API void GC_set_free_space_divisor(GC_word divisor) {
    if (!divisor) return;
    GC_SHIM_SET(divisor, divisor);
    (void)gomem_set_gc_percent(divisor < 300 ? (int)(300 / divisor) : 1);
}

GC_API GC_word GC_get_free_space_divisor(void) { return GC_SHIM_GET(divisor); }

GC_API void GC_set_oom_fn(GC_oom_func fn) { GC_SHIM_SET(oom, fn); }
GC_API GC_oom_func GC_get_oom_fn(void) { return GC_SHIM_GET(oom); }

GC_API void GC_set_warn_proc(GC_warn_proc fn) {
    GC_init();
    GC_SHIM_SET(warn, fn);
}

GC_API GC_warn_proc GC_get_warn_proc(void) { return GC_SHIM_GET(warn); }
GC_API void GC_ignore_warn_proc(char *format, GC_word argument) { (void)format, (void)argument; }

GC_API void GC_set_on_collection_event(GC_on_collection_event_proc fn) {
    GC_init();
    GC_SHIM_SET(event, fn);
}

GC_API GC_on_collection_event_proc GC_get_on_collection_event(void) { return GC_SHIM_GET(event); }

// ---- threads ----

struct gc_shim_start_of { // what a new thread is to run: scanned until it has begun
    void *(*fn)(void *);
    void *arg;
};

static void *gc_shim_thread_main(void *data) {
    struct gc_shim_start_of start = *(struct gc_shim_start_of *)data;
    gomem_free(data);
    gc_shim_thread = GC_SHIM_REGISTERED;
    return start.fn(start.arg);
}

GC_API int GC_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                             void *arg) {
    struct gc_shim_start_of *start;
    GC_init();
    start = (struct gc_shim_start_of *)gomem_new_with(sizeof *start, 0, GOMEM_UNCOLLECTABLE);
    if (!start) return EAGAIN;
    start->fn = fn;
    GOMEM_STORE(&start->arg, arg);
    int error = gomem_thread_create(thread, attr, gc_shim_thread_main, start);
    if (error) gomem_free(start);
    return error;
}

GC_API int GC_get_stack_base(struct GC_stack_base *base) {
    base->mem_base = __builtin_frame_address(0); // gomem asks the system for the true one
    return GC_SUCCESS;
}

// The main thread is registered from the start, whether or not it called GC_init.
GC_API int GC_thread_is_registered(void) {
    if (gc_shim_thread == GC_SHIM_UNASKED)
        gc_shim_thread = syscall(SYS_gettid) == (long)getpid() ? GC_SHIM_REGISTERED
                                                               : GC_SHIM_STRANGER;
    return gc_shim_thread == GC_SHIM_REGISTERED;
}

GC_API int GC_register_my_thread(const struct GC_stack_base *base) {
    (void)base;
    GC_init();
    if (GC_thread_is_registered()) return GC_DUPLICATE;
    if (!gomem_thread_attach()) return GC_UNIMPLEMENTED;
    gc_shim_thread = GC_SHIM_REGISTERED;
    return GC_SUCCESS;
}

GC_API int GC_unregister_my_thread(void) {
    if (!GC_thread_is_registered()) return GC_SUCCESS;
    gc_shim_thread = GC_SHIM_STRANGER;
    gomem_thread_detach();
    return GC_SUCCESS;
}

GC_API void *GC_call_with_stack_base(GC_stack_base_func fn, void *data) {
    struct GC_stack_base base;
    (void)GC_get_stack_base(&base);
    void *result = fn(&base, data);
    return result;
}

GC_API void *GC_do_blocking(GC_fn_type fn, void *data) {
    gomem_blocking_begin();
    gc_shim_blocked++;
    void *result = fn(data);
    gc_shim_blocked--;
    gomem_blocking_end();
    return result;
}

GC_API void *GC_call_with_gc_active(GC_fn_type fn, void *data) {
    int blocked = gc_shim_blocked;
    for (gc_shim_blocked = 0; gc_shim_blocked > -blocked; gc_shim_blocked--) gomem_blocking_end();
    gc_shim_blocked = 0;
    void *result = fn(data);
    for (; gc_shim_blocked < blocked; gc_shim_blocked++) gomem_blocking_begin();
    return result;
}

GC_API void GC_alloc_lock(void) {
    (void)pthread_once(&gc_shim_once, gc_shim_start);
    (void)pthread_mutex_lock(&gc_shim.lock);
}

GC_API void GC_alloc_unlock(void) { (void)pthread_mutex_unlock(&gc_shim.lock); }

GC_API void *GC_call_with_alloc_lock(GC_fn_type fn, void *data) {
    GC_alloc_lock();
    void *result = fn(data);
    GC_alloc_unlock();
    return result;
}
#endif // GOMEM_IMPLEMENTATION

// Last: the implementation above calls the real ones.
#if defined(GC_THREADS) && !defined(GC_NO_THREAD_REDIRECTS)
#define pthread_create(thread, attr, fn, arg) GC_pthread_create((thread), (attr), (fn), (arg))
#endif
#endif // GOMEM_BOEHM_GC_H
