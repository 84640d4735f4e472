// What the white-box tests share. A room's test holds the implementation itself, so that it can
// build the room's struct alone and call its functions; as a private heap, so that what it does not
// use is not compiled. Seams are defined before this file is included.
#ifndef ROOM_H
#define ROOM_H

#define GOMEM_STATIC
#include "gomem.h"
#include "test.h"

// The same numbers in every run.
static uint64_t room_state TEST_I_UNUSED = 42;

TEST_I_UNUSED static uint64_t room_random(void) {
    room_state ^= room_state << 13;
    room_state ^= room_state >> 7;
    return room_state ^= room_state << 17;
}

// Below n, n > 0.
TEST_I_UNUSED static size_t room_below(size_t n) { return (size_t)(room_random() >> 11) % n; }

// A page heap of n chunks.
TEST_I_UNUSED static bool room_pages(struct gm_pages *p, size_t n) {
    memset(p, 0, sizeof *p);
    return CHECK(gm_pages_init(p, n * GM_CHUNK));
}

TEST_I_UNUSED static void room_end_pages(struct gm_pages *p) { gm_pages_release(p); }

#if GOMEM_I_COLLECTOR
// The colors and the bit of slot `index` of s.
TEST_I_UNUSED static struct gm_color *room_color(const struct gm_pages *p, const struct gm_span *s,
                                                 uint32_t index) {
    return gm_span_color(p, gm_span_slot(p, s, index));
}
TEST_I_UNUSED static uint64_t room_bit(const struct gm_pages *p, const struct gm_span *s,
                                       uint32_t index) {
    return gm_span_bit(p, gm_span_slot(p, s, index));
}
#endif

// A span heap of n chunks.
TEST_I_UNUSED static bool room_heap(struct gm_heap *h, size_t n) {
    memset(h, 0, sizeof *h);
    h->lock.rank = GM_RANK_HEAP;
    return room_pages(&h->pages, n);
}

// What caches work on, without threads around it: a heap of n chunks, centrals, types.
TEST_I_UNUSED static bool room_engine(struct gm_engine *e, size_t n) {
    if (e->heap.pages.reservation) room_end_pages(&e->heap.pages);
    struct gm_meta meta = e->meta;
    struct gm_types types = e->types;
    memset(e, 0, sizeof *e);
    e->meta = meta;
    e->types = types;
    if (!room_heap(&e->heap, n) || !CHECK(gm_pages_meta_init(&e->meta))) return false;
    if (!CHECK(gm_types_init(&e->types, &e->meta))) return false;
    e->depot.lock.rank = GM_RANK_META;
    for (unsigned k = 0; k < GM_KINDS; k++)
        for (unsigned c = 0; c <= GOMEM_CLASSES; c++) gm_central_init(&e->central[k][c], k, c, 0);
    gm_types_reset(&e->types);
    e->types.meta = &e->meta;
    e->sweep = (struct gm_sweep){4, &e->heap, &e->guard, &e->stats.shared};
    e->mark.pages = &e->heap.pages;
    e->mark.guard = &e->guard;
    e->mark.types = &e->types;
    e->mark.source = &e->writes;
    e->mark.written = gm_writes_job;
    e->mark.mask = UINTPTR_MAX;
    e->mark.state = GM_MARK_DONE;
    return true;
}

// A thread's cache on an engine.
TEST_I_UNUSED static void room_cache(struct gm_cache *t, struct gm_engine *e, uint32_t number) {
    memset(t, 0, sizeof *t);
    t->number = number;
    t->hot.stop_request = &gm_sync_quiet;
    gm_cache_reset(t, e);
}

// Memory that a room below alloc hands out and the test uses as its own: AddressSanitizer forbids it
// until alloc gives it to a user.
TEST_I_UNUSED static void *room_own(uintptr_t at, size_t bytes) {
    gm_os_allow(at, bytes);
    return (void *)at;
}

// Nothing is broken in the page heap.
#define ROOM_PAGES_HOLD(p) CHECK(gm_pages_verify_locked(p) == NULL)

#endif
