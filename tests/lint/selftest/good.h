/* A small house that the lint finds nothing in; run.py damages it, one wall at a time.
 *
 * Map of the house
 *   floor 1
 *     base    atomics
 *     os      pages
 *     sync    locks
 *   floor 2
 *     heap    objects
 *   floor 5
 *     alloc   the door
 */
#ifndef GOMEM_H
#define GOMEM_H

/* ==========================================================================================
 * >>config
 * ==========================================================================================
 */
#include <stddef.h>
#include <stdint.h>

#define GOMEM_LIMIT 64

/* ==========================================================================================
 * >>api
 * ==========================================================================================
 */
typedef struct gomem_counts {
    size_t made; // objects made
} gomem_counts;

extern _Thread_local gomem_counts *gomem_tls;
void *gomem_new(size_t size);

static inline int gomem_fits(size_t size) {
    return size <= GOMEM_LIMIT;
}

#ifdef GOMEM_IMPLEMENTATION
#include <stdlib.h>

/* The life of a lock
 *
 * LOCKS
 *     WORLD   the runtime
 *     HEAP    the heap
 */

/* ==========================================================================================
 * >>base    atomics                                                                floor 1
 * ==========================================================================================
 * OWNS        nothing
 */
#if defined(__x86_64__)
#define GM_CELL 16
#else
#define GM_CELL 16
#endif

static inline size_t gm_load_acq(const size_t *p) {
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void gm_store_rel(size_t *p, size_t v) {
    __atomic_store_n(p, v, __ATOMIC_RELEASE);
}

/* ==========================================================================================
 * >>os      pages                                                                  floor 1
 * ==========================================================================================
 * OWNS        nothing
 */
static void *gm_os_map(size_t size) {
    return aligned_alloc(4096, size);
}

/* ==========================================================================================
 * >>sync    locks                                                                  floor 1
 * ==========================================================================================
 * OWNS        struct gm_lock
 * CALLS       base
 */
enum gm_rank { GM_RANK_WORLD, GM_RANK_HEAP };

struct gm_lock {
    size_t word; // 1: held
    size_t rank; // enum gm_rank
};

static _Bool gm_sync_try(struct gm_lock *l) {
    if (gm_load_acq(&l->word)) return 0; // pairs with the stores below: what the holder did
    gm_store_rel(&l->word, 1);           // pairs with the load above
    return 1;
}

static void gm_sync_lock(struct gm_lock *l) {
    while (!gm_sync_try(l)) {}
}

static void gm_sync_unlock(struct gm_lock *l) {
    gm_store_rel(&l->word, 0); // pairs with the load above
}

/* ==========================================================================================
 * >>heap    objects                                                                floor 2
 * ==========================================================================================
 * OWNS        struct gm_heap
 * CALLS       base os sync
 * LOCKS       HEAP, around the mapping; callers may hold WORLD
 * INVARIANTS  H1  top is a multiple of GM_CELL
 * WHY         small enough to read
 */
struct gm_heap {
    char *bytes; // first byte of the mapping
    size_t top;  // bytes handed out

    struct gm_lock lock; // HEAP
};

static void gm_heap_map(struct gm_heap *heap) {
    gm_sync_lock(&heap->lock);
    if (heap->bytes != NULL) {
        gm_sync_unlock(&heap->lock);
        return;
    }
    heap->bytes = gm_os_map(1 << 20);
    gm_sync_unlock(&heap->lock);
}

// Long, so it has a comment.
#if GM_CELL
static inline size_t gm_heap_clear(struct gm_heap *heap) {
    size_t n = 0;
    for (char *p = heap->bytes; p && n < heap->top; n++) {
        if (p[n] == 0) {
            continue;
        }
        if (p[n] > 0) {
            p[n] = 1;
        } else {
            p[n] = 0;
        }
    }
    return n;
}
#endif

static void *gm_heap_take(struct gm_heap *heap, size_t size) {
    if (heap->bytes == NULL) gm_heap_map(heap);
    size_t at = gm_load_acq(&heap->top); // pairs with the store below: sees what it published
    // Pairs with the load above.
    gm_store_rel(&heap->top, at + (size + GM_CELL - 1) / GM_CELL * GM_CELL);
    return heap->bytes == NULL ? NULL : heap->bytes + at;
}

/* ==========================================================================================
 * >>alloc   the door                                                               floor 5
 * ==========================================================================================
 * OWNS        struct gm_runtime, the TLS pointer
 * CALLS       sync heap
 * LOCKS       WORLD, then HEAP
 */
struct gm_runtime {
    struct gm_heap heap; // the only one
    struct gm_lock lock; // WORLD
};

static struct gm_runtime gm_runtime;
_Thread_local gomem_counts *gomem_tls;

static _Bool gm_alloc_begin(struct gm_runtime *rt) {
    rt->lock.rank = GM_RANK_WORLD;
    rt->heap.lock.rank = GM_RANK_HEAP;
    return gm_sync_try(&rt->lock);
}

static void gm_alloc_each(void (*fn)(struct gm_heap *heap), struct gm_heap *heap) {
    fn(heap);
}

// gm_heap_take does the work.
void *gomem_new(size_t size) {
    struct gm_runtime *rt = &gm_runtime;
    if (gm_alloc_begin(rt)) {
        gm_alloc_each(gm_heap_map, &rt->heap);
        gm_sync_unlock(&rt->lock);
    }
    return gm_heap_take(&rt->heap, size);
}
#endif
#endif
