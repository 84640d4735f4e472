// Room report: the read side of the counters.
#include "room.h"

static struct gm_runtime *const rt = &gm_runtime;

TEST(sorting) {
    for (size_t n = 0; n < 60; n++) {
        uint64_t x[60], sum = 0, after = 0;
        for (size_t i = 0; i < n; i++) sum += x[i] = room_below(50);
        gm_report_sort(x, n);
        for (size_t i = 0; i < n; i++) {
            after += x[i];
            if (i) CHECK(x[i - 1] <= x[i]);
        }
        CHECK_EQ(sum, after);
    }
}

TEST(pauses) {
    static struct gm_stats s;
    static const uint64_t counts[] = {0, 1, 2, 100, GM_PAUSES, 1000};
    for (size_t k = 0; k < 6; k++) {
        gomem_memstats m;
        uint64_t n = counts[k], kept = GM_MIN(n, (uint64_t)GM_PAUSES);
        memset(&m, 0, sizeof m);
        memset(&s, 0, sizeof s);
        s.cycles = s.stops = n;
        for (uint64_t i = 0; i < n; i++) {
            s.stop_ns[i % GM_PAUSES] = i * 7919 % 100003; // all differ
            s.gather_ns[i % GM_PAUSES] = s.stop_ns[i % GM_PAUSES] / 2;
            s.mark_ns[i % GM_PAUSES] = s.stop_ns[i % GM_PAUSES] / 3;
            s.wait_ns[i % GM_PAUSES] = s.stop_ns[i % GM_PAUSES] / 5;
            s.pause_ns[i % GM_PAUSES] = i; // of a cycle: its stops together
        }
        gm_report_pauses(&m, &s);
        CHECK_EQ(m.num_gc, n);
        uint64_t below50 = 0, below99 = 0, most = 0;
        for (uint64_t i = 0; i < kept; i++) {
            below50 += s.stop_ns[i] < m.pause_p50_ns;
            below99 += s.stop_ns[i] < m.pause_p99_ns;
            most = GM_MAX(most, s.stop_ns[i]);
            CHECK_EQ(m.pause_ns[i], s.pause_ns[i]);
        }
        CHECK_EQ(m.pause_max_ns, most);
        CHECK_EQ(m.gather_max_ns, most / 2);
        CHECK_EQ(m.gather_p50_ns, m.pause_p50_ns / 2);
        CHECK_EQ(m.gather_p99_ns, m.pause_p99_ns / 2);
        CHECK_EQ(m.gather_p999_ns, m.pause_p999_ns / 2);
        CHECK(m.mark_p50_ns == m.pause_p50_ns / 3 && m.wait_p50_ns == m.pause_p50_ns / 5);
        CHECK(m.mark_p99_ns == m.pause_p99_ns / 3 && m.wait_p99_ns == m.pause_p99_ns / 5);
        CHECK(m.mark_p999_ns == m.pause_p999_ns / 3 && m.wait_p999_ns == m.pause_p999_ns / 5);
        CHECK(m.mark_max_ns == most / 3 && m.wait_max_ns == most / 5);
        CHECK(m.pause_p50_ns <= m.pause_p99_ns && m.pause_p99_ns <= m.pause_p999_ns);
        CHECK(m.pause_p999_ns <= most);
        if (kept) CHECK(below50 == (kept - 1) / 2 && below99 == (kept - 1) * 99 / 100);
    }
}

// Statistics are read while threads count: what was freed may be seen before it was allocated.
TEST(frees_before_mallocs) {
    gomem_memstats m = {.size = sizeof m};
    gomem_free(gomem_malloc(1));
    rt->engine.stats.shared.frees[40] += 1000;
    gomem_read_memstats(&m);
    CHECK_EQ(m.by_size[40].frees, m.by_size[40].mallocs);
    CHECK(m.heap_alloc < GM_MIB && m.heap_objects < 100000);
    rt->engine.stats.shared.frees[40] -= 1000;
}

TEST(adding_shards) {
    gomem_memstats m;
    struct gm_shard a = {.mallocs[3] = 5,
                         .manual_mallocs[3] = 7,
                         .frees[3] = 1,
                         .manual_frees[4] = 2,
                         .large_alloc = 100,
                         .large_free = 30};
    memset(&m, 0, sizeof m);
    gm_report_add(&m, &a);
    gm_report_add(&m, &a);
    CHECK(m.by_size[3].mallocs == 24 && m.by_size[3].frees == 2 && m.by_size[4].frees == 4);
    CHECK_EQ(m.total_alloc, 200);
    CHECK_EQ(m.heap_alloc, (uint64_t)-60); // large bytes freed; those allocated are added once
}

struct sums {
    uint64_t objects[GOMEM_CLASSES + 1], large;
};

static bool sum_span(struct gm_span *s, void *arg) {
    struct sums *sums = arg;
    if (s->kind == GM_MANUAL) {
        sums->objects[s->class] += s->used;
    } else {
        const struct gm_color *c = gm_span_colors(&rt->engine.heap.pages, s->page);
        for (unsigned i = 0; i < gm_span_groups(s); i++)
            sums->objects[s->class] += gm_base_popcount(c[i].alloc & ~c[i].freed);
    }
    if (!s->class) sums->large += s->size;
    return true;
}

// What the counters say is what the bitmaps say, class by class, when nothing is in a cache.
TEST(counters_agree_with_bitmaps) {
    static void *blocks[2000];
    static struct sums sums;
    gomem_memstats m = {.size = sizeof m};
    for (size_t i = 0; i < 20000; i++) {
        size_t at = room_below(2000), size = room_below(room_below(40) ? 900 : 90000);
        gomem_free(blocks[at]);
        blocks[at] = room_below(2) ? gomem_malloc(size)
                                   : gomem_new_with(size, 0, (unsigned)room_below(4));
        if (i % 5000 == 4999) gomem_gc();
    }
    gomem_gc();
    gomem_thread_detach();
    gm_world_lock_cycle(rt);
    CHECK(gm_world_stop(rt, NULL, GM_PATIENCE_NS)); // the background thread may still be sweeping
    gomem_read_memstats(&m);
    CHECK_EQ(m.heap_idle - m.heap_released, rt->engine.heap.pages.idle * GM_PAGE);
    gm_heap_walk(&rt->engine.heap, sum_span, &sums);
    gm_world_resume(rt);
    gm_world_unlock_cycle(rt);
    uint64_t objects = 0, bytes = sums.large;
    // Manual objects in the depot are free for the counters and in use for the bitmaps.
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) {
        uint64_t depot = rt->engine.depot.bytes[c] / GM_MAX(gm_sizes_table[c].size, 1u);
        CHECK_EQ(m.by_size[c].mallocs - m.by_size[c].frees, sums.objects[c] - depot);
        CHECK_EQ(m.by_size[c].size, gm_sizes_table[c].size);
        objects += sums.objects[c] - depot;
        bytes += (sums.objects[c] - depot) * gm_sizes_table[c].size;
    }
    CHECK_EQ(m.heap_objects, objects);
    CHECK_EQ(m.heap_alloc, bytes);
    CHECK_EQ(m.mallocs - m.frees, objects);
    CHECK_EQ(m.heap_sys, m.heap_inuse + m.heap_idle);
    CHECK_EQ(m.heap_inuse, rt->engine.heap.pages.used * GM_PAGE);
    CHECK(m.heap_released <= m.heap_idle && m.heap_alloc <= m.heap_inuse);
    CHECK_EQ(m.sys, m.heap_sys + m.stack_sys + m.mspan_sys + m.mcache_sys + m.buck_hash_sys +
                        m.gc_sys + m.other_sys);
}

TEST(smaller_and_larger_structs) {
    union {
        gomem_memstats m;
        unsigned char bytes[sizeof(gomem_memstats) + 64];
    } u;
    for (size_t size = 8; size <= sizeof u; size += 8) {
        memset(&u, 0xee, sizeof u);
        u.m.size = size;
        gomem_read_memstats(&u.m);
        CHECK_EQ(u.m.size, size);
        for (size_t i = GM_MIN(size, sizeof u.m); i < sizeof u; i++) CHECK_EQ(u.bytes[i], 0xee);
    }
}

TEST_MAIN
