/* A small house that the lint finds nothing in; run.py damages it, one wall at a time.
 *
 * Map of the house
 *   floor 1
 *     base    atomics
 *     os      pages
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
 * >>heap    objects                                                                floor 2
 * ==========================================================================================
 * OWNS        struct gm_heap
 * CALLS       base os
 * LOCKS       none
 * INVARIANTS  H1  top is a multiple of GM_CELL
 * WHY         small enough to read
 */
struct gm_heap {
    char *bytes; // first byte of the mapping
    size_t top;  // bytes handed out
};

static void *gm_heap_take(struct gm_heap *heap, size_t size) {
    if (heap->bytes == NULL) heap->bytes = gm_os_map(1 << 20);
    size_t at = gm_load_acq(&heap->top); // pairs with the store below: sees what it published
    // Pairs with the load above.
    gm_store_rel(&heap->top, at + (size + GM_CELL - 1) / GM_CELL * GM_CELL);
    return heap->bytes == NULL ? NULL : heap->bytes + at;
}

/* ==========================================================================================
 * >>alloc   the door                                                               floor 5
 * ==========================================================================================
 * OWNS        struct gm_runtime, the TLS pointer
 * CALLS       heap
 */
struct gm_runtime {
    struct gm_heap heap; // the only one
};

static struct gm_runtime gm_runtime;
_Thread_local gomem_counts *gomem_tls;

// gm_heap_take does the work.
void *gomem_new(size_t size) {
    return gm_heap_take(&gm_runtime.heap, size);
}
#endif
#endif
