// Room stats: sharded counters.
#include "room.h"

enum { THREADS = 4, TIMES = 20000 };
static struct gm_stats stats;

static void *add_shared(void *arg) {
    uint64_t *counter = arg;
    for (int i = 0; i < TIMES; i++) gm_stats_shared(counter, 3);
    return NULL;
}

TEST(nothing_is_lost_in_the_shared_shard) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, add_shared, &stats.shared.frees[1 + i % 2]) == 0);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(stats.shared.frees[1], THREADS / 2 * TIMES * 3);
    CHECK_EQ(stats.shared.frees[2], THREADS / 2 * TIMES * 3);
}

TEST(own_counters) {
    struct gm_shard shard = {{0}, {0}, {0}, {0}, 0, 0};
    for (uint64_t i = 1; i <= 100; i++) gm_stats_own(&shard.mallocs[GOMEM_CLASSES], i);
    CHECK_EQ(shard.mallocs[GOMEM_CLASSES], 5050);
    CHECK_EQ(shard.frees[0], 0);
}

// A bucket has its upper bound, as le in Prometheus' text means it.
TEST(stops_by_length) {
    static struct gm_stats s;
    uint64_t sum = 0, n = 0;
    for (unsigned i = 0; i < GM_BOUNDS; i++) {
        uint64_t ns = (uint64_t)gm_stats_bounds[i] * 1000;
        gm_stats_stop(&s, ns);
        CHECK_EQ(s.stop_count[i], i ? 2 : 1);
        gm_stats_stop(&s, ns + 1);
        CHECK_EQ(s.stop_count[i + 1], 1);
        sum += 2 * ns + 1;
    }
    for (unsigned i = 0; i <= GM_BOUNDS; i++) n += s.stop_count[i];
    CHECK_EQ(n, 2 * GM_BOUNDS);
    CHECK_EQ(s.stop_total, sum);
}

static bool grown(const uint64_t *old, const uint64_t *now) {
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++)
        if (now[c] < old[c]) return false;
    return true;
}

// T1, on the whole library: whatever a thread does, its counters only grow.
TEST(counters_only_grow) {
    static void *blocks[256];
    REQUIRE(gomem_thread_attach());
    const struct gm_shard *own = &gm_world_self()->cache.stats;
    struct gm_shard old = *own;
    for (int i = 0; i < 20000; i++) {
        size_t at = room_below(256), size = room_below(room_below(50) ? 600 : 60000);
        gomem_free(blocks[at]);
        blocks[at] = room_below(2) ? gomem_malloc(size) : gomem_new_noscan(size);
        if (i % 64) continue;
        REQUIRE(grown(old.mallocs, own->mallocs) && grown(old.frees, own->frees));
        REQUIRE(grown(old.manual_mallocs, own->manual_mallocs));
        REQUIRE(grown(old.manual_frees, own->manual_frees));
        REQUIRE(own->large_alloc >= old.large_alloc && own->large_free >= old.large_free);
        old = *own;
    }
    for (int i = 0; i < 256; i++) gomem_free(blocks[i]);
    gomem_gc();
    gomem_thread_detach();
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) // every magazine came back
        CHECK_EQ(own->manual_mallocs[c], own->manual_frees[c]);
}

TEST_MAIN
