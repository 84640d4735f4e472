// Room prof: the distribution of samples, sites, samples of all kinds of memory, exact at rate 1.
#include <stdint.h>
static int frames_of(uintptr_t *frames, int n);
#define GOMEM_BACKTRACE(frames, n) frames_of((frames), (n))
#include "room.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static struct gm_prof *const prof = &gm_runtime.engine.prof;

static uintptr_t turn; // number of the site that allocates; 0: none

// The library's own unwinder, in an environment that is as hard as it may be: it allocates, and any of
// gomem's locks may be taken meanwhile.
static int frames_of(uintptr_t *frames, int n) {
    const struct gm_thread *me = gm_world_self();
    CHECK_EQ(me->cache.hot.section_depth, 0);
    CHECK_EQ(me->cache.hot.ranks, 0);
    gomem_free(gomem_malloc(1000)); // of another class than those that take turns
    n = gm_os_frames(frames, n - 1);
    frames[n] = turn; // tells apart who takes turns, whatever the compiler inlines
    return n + 1;
}

// ---- arithmetic ----

TEST(logarithm) {
    // -ln of 1/2, 3/4, 1/1000 and 2^-52
    CHECK(gm_prof_log(1) == 0);
    double at[] = {0.5, 0.75, 0.001, 1.0 / 4503599627370496.0};
    double is[] = {-0.693147, -0.287682, -6.907755, -36.043653};
    for (int i = 0; i < 4; i++) {
        double off = gm_prof_log(at[i]) - is[i];
        CHECK(off < 2e-5 && off > -2e-5);
    }
}

TEST(chance_of_a_hit) {
    double at[] = {1e-6, 1e-3, 0.1, 1, 5, 39, 100};
    double is[] = {9.999995e-7, 9.995002e-4, 0.0951626, 0.6321206, 0.9932621, 1, 1};
    for (int i = 0; i < 7; i++) {
        double off = gm_prof_chance(at[i]) / is[i] - 1;
        CHECK(off < 1e-6 && off > -1e-6);
    }
    CHECK_EQ(gm_prof_weight(64, 1), GM_PROF_ONE);
    CHECK_EQ(gm_prof_weight(1 << 20, 1024), GM_PROF_ONE);
}

// Estimates of seven sites with 16 B to 64 KiB an object, each 1/7 of 1 GB, at Go's rate.
TEST(seven_sites_of_a_gigabyte) {
    enum { SITES = 7, SEEDS = 20, RATE = 512 * 1024, CHUNK = 64 * 1024, ROUNDS = 2340 };
    static const uint32_t size[SITES] = {16, 64, 256, 1024, 4096, 16384, 65536};
    double sum = 0;
    int within = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct gm_prof_thread t = {0};
        double bytes[SITES] = {0}, error[SITES] = {0};
        gm_prof_begin(&t, RATE, seed);
        for (int round = 0; round < ROUNDS; round++)
            for (int i = 0; i < SITES; i++)
                for (uint32_t n = CHUNK / size[i], before; n > 0; n -= before + 1) {
                    before = gm_prof_charge_n(&t, size[i], n);
                    if (before == n) break;
                    double weight = (double)gm_prof_weight(size[i], RATE) / GM_PROF_ONE * size[i];
                    bytes[i] += weight;
                    error[i] += weight * weight * (1 - gm_prof_chance((double)size[i] / RATE));
                }
        for (int i = 0; i < SITES; i++) {
            double off = bytes[i] - (double)CHUNK * ROUNDS;
            sum += off / ((double)CHUNK * ROUNDS);
            within += off * off <= 4 * error[i];
        }
    }
    sum /= SITES * SEEDS;
    CHECK(sum < 0.01 && sum > -0.01);
    CHECK(within >= SITES * SEEDS * 92 / 100); // two standard errors: 95 % in expectation
}

// ---- sites ----

TEST(sites_are_interned) {
    static struct gm_meta meta;
    static struct gm_prof f;
    REQUIRE(gm_pages_meta_init(&meta));
    gm_prof_init(&f, &meta);
    uintptr_t frames[3] = {1, 2, 3}, other[3] = {1, 2, 4};
    uint32_t a = gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", frames, 3);
    CHECK_EQ(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", frames, 3), a);
    CHECK(gm_prof_intern_locked(&f, GM_PROF_POOL, "", frames, 3) != a);
    CHECK(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "t", frames, 3) != a);
    CHECK(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", other, 3) != a);
    CHECK(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", frames, 2) != a);
    for (uintptr_t i = 0; i < 5000; i++) { // the tables grow
        frames[0] = i + 100;
        CHECK_EQ(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", frames, 3), i + 6);
    }
    frames[0] = 100 + 4321;
    CHECK_EQ(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", frames, 3), 4321 + 6);
    CHECK_EQ(f.sites_made, 5005);
    // of a longer name the beginning tells
    static const char name[] = "struct_with_a_name_that_is_longer_than_what_a_site_keeps_of_it";
    _Static_assert(sizeof name > GM_PROF_TYPE, "it is cut");
    a = gm_prof_intern_locked(&f, GM_PROF_COLLECTED, name, frames, 3);
    CHECK_EQ(gm_prof_intern_locked(&f, GM_PROF_COLLECTED, name, frames, 3), a);
    CHECK_EQ(f.sites_made, 5006);
}

// Two stacks with the same hash are two sites.
TEST(sites_with_one_hash) {
    static struct gm_meta meta;
    static struct gm_prof f;
    REQUIRE(gm_pages_meta_init(&meta));
    gm_prof_init(&f, &meta);
    uintptr_t frames[2] = {5, 6}, other[2] = {7, 8};
    uint32_t a = gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", frames, 2);
    gm_prof_site_at(&f, a - 1)->hash = gm_prof_hash(GM_PROF_MANUAL, "", other, 2);
    gm_prof_grow_sites_locked(&f);
    uint32_t
        *bucket = &f.site_bucket[gm_prof_hash(GM_PROF_MANUAL, "", other, 2) & (f.site_buckets - 1)];
    if (!*bucket) *bucket = a;
    CHECK(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", other, 2) != a);
}

// However many call sites there are, they take a bounded amount of memory: later ones are counted,
// together, apart only by kind.
TEST(sites_are_bounded) {
    enum { SITES = 1200000, MOST = GM_PROF_PART * GM_PROF_PARTS };
    static struct gm_meta meta;
    static struct gm_prof f;
    REQUIRE(gm_pages_meta_init(&meta));
    gm_prof_init(&f, &meta);
    for (uintptr_t i = 0; i < SITES; i++)
        if (!CHECK(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", &i, 1) != 0)) return;
    CHECK(f.sites_made <= MOST);
    CHECK_EQ(f.merged + f.sites_made, SITES + 1); // the site that stands for the rest is one
    uintptr_t first = 0, new = SITES;
    uint32_t rest = gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", &new, 1),
             collected = gm_prof_intern_locked(&f, GM_PROF_COLLECTED, "type", &new, 1);
    CHECK_EQ(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", &first, 1), 1);
    CHECK_EQ(gm_prof_intern_locked(&f, GM_PROF_MANUAL, "", NULL, 0), rest);
    CHECK_EQ(gm_prof_site_at(&f, rest - 1)->depth, 0);
    CHECK_EQ(gm_prof_site_at(&f, collected - 1)->kind, GM_PROF_COLLECTED);
    CHECK_EQ(gm_prof_intern_locked(&f, GM_PROF_COLLECTED, "other", &new, 1), collected);
    gm_prof_reset(&f);
}

// The same for sites with deep stacks, which are bounded by their bytes.
TEST(deep_sites_are_bounded) {
    static struct gm_meta meta;
    static struct gm_prof f;
    uintptr_t frames[GM_PROF_FRAMES] = {0};
    size_t each = sizeof(struct gm_prof_site) + sizeof frames, n = 0;
    REQUIRE(gm_pages_meta_init(&meta));
    gm_prof_init(&f, &meta);
    f.site_bytes = GM_PROF_SITES - 100 * each;
    for (; !f.merged && n < 1000; n++) {
        frames[n % GM_PROF_FRAMES]++;
        CHECK(gm_prof_intern_locked(&f, GM_PROF_POOL, "", frames, GM_PROF_FRAMES) != 0);
    }
    CHECK_EQ(n, 101);
    CHECK_EQ(f.sites_made, 101);
    CHECK(f.site_bytes < GM_PROF_SITES + each);
}

// ---- the whole library ----

struct sum { // of the sites of a kind
    int kind;
    const char *type; // NULL: any
    gm_prof_figures all;
};

static bool add(void *arg, const struct gm_prof_site *site, const gm_prof_figures *f) {
    struct sum *s = arg;
    if (s->kind >= 0 && s->kind != site->kind) return true;
    if (s->type && strcmp(s->type, site->type) != 0) return true;
    s->all.alloc_objects += f->alloc_objects;
    s->all.alloc_bytes += f->alloc_bytes;
    s->all.inuse_objects += f->inuse_objects;
    s->all.inuse_bytes += f->inuse_bytes;
    return true;
}

static gm_prof_figures read_sum(int kind, const char *type) {
    struct sum s = {kind, type, {0, 0, 0, 0}};
    gm_prof_each(prof, add, &s);
    return s.all;
}

// What has been added since `before`; in use: as it is.
static gm_prof_figures since(gm_prof_figures before, int kind, const char *type) {
    gm_prof_figures f = read_sum(kind, type);
    f.alloc_objects -= before.alloc_objects;
    f.alloc_bytes -= before.alloc_bytes;
    f.inuse_objects -= before.inuse_objects;
    f.inuse_bytes -= before.inuse_bytes;
    return f;
}

// The heap is watched by AddressSanitizer: sizes and reuse differ.
static bool watched(void) { return gm_guard_watched(&gm_runtime.engine.guard); }

TEST(off_takes_no_samples) {
    for (int i = 0; i < 10000; i++) gomem_free(gomem_malloc(100));
    CHECK_EQ(gm_load_rlx(&prof->rate), 0);
    CHECK_EQ(prof->samples_made, 0);
}

TEST(manual_is_exact_at_rate_1) {
    static void *p[3000];
    gomem_set_profile_rate(1);
    CHECK_EQ(gm_load_rlx(&prof->rate), 1);
    gm_prof_figures before = read_sum(GM_PROF_MANUAL, NULL), f;
    size_t bytes = 0, live = 0;
    for (int i = 0; i < 3000; i++) {
        p[i] = i % 500 ? gomem_malloc(room_below(3000) + 1) : gomem_malloc(100000);
        bytes += watched() ? 0 : gomem_usable_size(p[i]);
    }
    f = since(before, GM_PROF_MANUAL, NULL);
    CHECK_EQ(f.alloc_objects, 3000);
    CHECK_EQ(f.inuse_objects, 3000);
    if (!watched()) CHECK_EQ(f.alloc_bytes, bytes);
    CHECK(HEAP_IS_WHOLE());
    for (int i = 0; i < 3000; i += 3) {
        gomem_free(p[i]);
        p[i] = NULL;
    }
    for (int i = 0; i < 3000; i++)
        if (p[i] && !watched()) live += gomem_usable_size(p[i]);
    f = since(before, GM_PROF_MANUAL, NULL);
    CHECK_EQ(f.inuse_objects, 2000);
    if (!watched()) CHECK_EQ(f.inuse_bytes, live);
    CHECK_EQ(f.alloc_objects, 3000);
    for (int i = 0; i < 3000; i++) gomem_free(p[i]);
    f = since(before, GM_PROF_MANUAL, NULL);
    CHECK_EQ(f.inuse_objects, 0);
    CHECK_EQ(f.inuse_bytes, 0);
    CHECK(HEAP_IS_WHOLE());
    gomem_set_profile_rate(0);
}

// What sites and samples take is a figure of its own, a part of what the system has given.
TEST(memory_is_counted) {
    gomem_memstats before = {.size = sizeof before}, m = {.size = sizeof m};
    gomem_set_profile_rate(1);
    gomem_free(gomem_malloc(100));
    gomem_read_memstats(&before);
    CHECK(before.buck_hash_sys >= gm_prof_bytes_locked(prof) && before.buck_hash_sys > 0);
    for (turn = 1; turn < 300; turn++) gomem_free(gomem_malloc(100)); // a site each
    turn = 0;
    gomem_read_memstats(&m);
    CHECK(m.buck_hash_sys >= before.buck_hash_sys + 299 * sizeof(struct gm_prof_site));
    CHECK_EQ(m.sys - m.buck_hash_sys, before.sys - before.buck_hash_sys);
    gomem_set_profile_rate(0);
}

// A pair of malloc and free that never exchanges a magazine.
TEST(pairs_are_exact_at_rate_1) {
    gomem_set_profile_rate(1);
    gm_prof_figures before = read_sum(GM_PROF_MANUAL, NULL), f;
    for (int i = 0; i < 1000; i++) {
        long *p = GOMEM_MALLOC(long);
        GOMEM_FREE(long, p);
        gomem_free_sized(gomem_calloc(3, 30), 90);
        gomem_free(gomem_aligned_alloc(64, 200));
    }
    f = since(before, GM_PROF_MANUAL, NULL);
    CHECK_EQ(f.alloc_objects, 3000);
    CHECK_EQ(f.inuse_objects, 0);
    gomem_set_profile_rate(0);
}

// With a profile on, a free that is not hit enters no section: it only charges its bytes.
TEST(frees_between_samples_are_quick) {
    enum { PAIRS = 1000, SIZE = 64 };
    if (watched() || GOMEM_I_SLOW) SKIP("every free enters a section");
    gomem_set_profile_rate(GM_PROF_MOST);
    gomem_free(gomem_malloc(SIZE));
    struct gm_cache *t = &gm_world_self()->cache;
    uint32_t trims = t->trims;
    size_t left = t->prof.left = SIZE * PAIRS * 2;
    (void)gm_add_rlx(&gm_runtime.engine.trims, 1u); // a section would take it over
    for (int i = 0; i < PAIRS; i++) {
        char *p = gomem_malloc(SIZE);
        if (i % 2) gomem_free(p);
        else gomem_i_free_typed(p, SIZE, 16);
    }
    CHECK_EQ(t->trims, trims);
    CHECK_EQ(left - t->prof.left, SIZE * PAIRS);
    gomem_set_profile_rate(0);
    CHECK(t->trims != trims);
}

// A free of more than the bytes that are left is a hit: a NULL takes the object's place.
TEST(a_free_can_be_hit) {
    if (watched() || GOMEM_I_SLOW) SKIP("objects are held back, or no magazine is popped");
    gomem_set_profile_rate(GM_PROF_MOST);
    struct gm_cache *t = &gm_world_self()->cache;
    void *p = gomem_malloc(64), *q = gomem_malloc(64);
    t->prof.left = 64;
    gomem_free(p);
    CHECK_EQ(t->prof.left, 0);
    CHECK_EQ(t->prof.holes, 0);
    gomem_free(q);
    CHECK_EQ(t->prof.holes, 1);
    CHECK(HEAP_IS_WHOLE());
    p = gomem_malloc(64);
    CHECK(gm_prof_of(prof, (uintptr_t)p) != 0);
    CHECK_EQ(t->prof.holes, 0);
    CHECK(HEAP_IS_WHOLE());
    gomem_free(p);
    gomem_set_profile_rate(0);
}

TEST(sampled_objects_are_objects) {
    gomem_set_profile_rate(1);
    char *p = gomem_malloc(100);
    CHECK(gomem_base(p + 50) == p);
    CHECK(gomem_usable_size(p) >= 100);
    CHECK(gm_prof_of(prof, (uintptr_t)p) != 0);
    memset(p, 1, 100);
    p = gomem_realloc(p, 5000);
    CHECK(p[99] == 1);
    p = gomem_realloc(p, 20);
    CHECK(p[19] == 1);
    CHECK(gm_prof_of(prof, (uintptr_t)p) != 0);
    gomem_free(p);
    CHECK(gm_prof_of(prof, (uintptr_t)p) == 0);
    CHECK_EQ(read_sum(GM_PROF_MANUAL, NULL).inuse_objects, 0);
    CHECK(HEAP_IS_WHOLE());
    gomem_set_profile_rate(0);
    p = gomem_malloc(100); // a sample is none after it was freed
    CHECK(gm_prof_of(prof, (uintptr_t)p) == 0);
    gomem_free(p);
}

// A large object that grows and shrinks in place, or moves.
TEST(large_objects_are_resized) {
    gomem_set_profile_rate(1);
    gm_prof_figures before = read_sum(GM_PROF_MANUAL, NULL), all = {0, 0, 0, 0}, f;
    char *p = gomem_malloc(100000);
    for (int i = 1; i < 10; i++) {
        p = gomem_realloc(p, (size_t)(i % 2 ? i * 90000 : i * 40000));
        f = since(before, GM_PROF_MANUAL, NULL);
        CHECK_EQ(f.inuse_objects, 1);
        if (!watched()) CHECK_EQ(f.inuse_bytes, gomem_usable_size(p));
        CHECK(f.alloc_bytes >= all.alloc_bytes); // what was allocated stays so
        all = f;
    }
    gomem_free(p);
    CHECK_EQ(since(before, GM_PROF_MANUAL, NULL).inuse_bytes, 0);
    gomem_set_profile_rate(0);
}

struct item {
    struct item *next;
    long value;
};
GOMEM_TYPE(item_type, struct item, next);

// Makes a list of n items that only *at keeps alive.
__attribute__((noinline)) static void make_list(struct item **at, int n) {
    for (int i = 0; i < n; i++) {
        struct item *item = GOMEM_NEW_TYPED(struct item, &item_type);
        item->next = *at;
        *at = item;
    }
}

static struct item *list;

// Not in the test's frame, where a dead word might keep the list.
__attribute__((noinline)) static void free_first(void) {
    struct item *first = list;
    list = list->next;
    gomem_free(first);
}

TEST(collected_lives_as_of_the_last_cycle) {
    gomem_set_profile_rate(1);
    gm_prof_figures before = read_sum(-1, "struct item"), f;
    make_list(&list, 1000);
    f = since(before, -1, "struct item");
    CHECK_EQ(f.alloc_objects, 1000);
    CHECK_EQ(f.inuse_objects, 0);
    CHECK(COLLECTED());
    CHECK_EQ(since(before, -1, "struct item").inuse_objects, 1000);
    free_first(); // known at once
    CHECK_EQ(since(before, -1, "struct item").inuse_objects, 999);
    CHECK(HEAP_IS_WHOLE());
    list = NULL;
    for (int i = 0; i < 10; i++) { // a dead word of some thread may keep it for a while
        CHECK(COLLECTED());
        f = since(before, -1, "struct item");
        if (f.inuse_objects < 10) break;
    }
    CHECK(f.inuse_objects < 10); // a stale word on the stack may keep some
    CHECK_EQ(f.alloc_objects, 1000);
    CHECK(HEAP_IS_WHOLE());
    gomem_set_profile_rate(0);
}

TEST(roots_pools_and_arenas) {
    gomem_set_profile_rate(1);
    gm_prof_figures root = read_sum(GM_PROF_ROOT, NULL), pool = read_sum(GM_PROF_POOL, NULL),
                    arena = read_sum(GM_PROF_ARENA, NULL);
    void *r = gomem_new_with(100, 0, GOMEM_UNCOLLECTABLE);
    gomem_pool_options o = {.size = 100};
    gomem_pool *p = gomem_pool_new(&o);
    void *obj = gomem_pool_get(p);
    gomem_arena a = {0};
    CHECK(gomem_arena_alloc(&a, 100) != NULL);
    CHECK_EQ(since(root, GM_PROF_ROOT, NULL).inuse_objects, 1);
    CHECK_EQ(since(pool, GM_PROF_POOL, NULL).inuse_objects, 1); // the slab
    CHECK_EQ(since(arena, GM_PROF_ARENA, NULL).inuse_objects, 1);
    CHECK(HEAP_IS_WHOLE());
    gomem_free(r);
    gomem_pool_put(p, obj);
    gomem_pool_destroy(p);
    gomem_arena_free(&a);
    CHECK_EQ(since(root, GM_PROF_ROOT, NULL).inuse_objects, 0);
    CHECK_EQ(since(pool, GM_PROF_POOL, NULL).inuse_objects, 0);
    CHECK_EQ(since(arena, GM_PROF_ARENA, NULL).inuse_objects, 0);
    gomem_set_profile_rate(0);
}

// ---- no bias ----

// Three sites of one class take turns, and the magazines and runs have a multiple of three slots, so
// the same site would always come first after a refill.
enum { SITES = 3, LEAST = 96 }; // bytes; those of the sites are of one class

static void *manual(size_t size) { return gomem_i_malloc_typed(size, 8); }
static void *collected(size_t size) { return gomem_i_new(size, 8, GOMEM_NOSCAN); }

// Adds the estimated number of objects of a site, in the unit of the weights.
static bool add_turn(void *arg, const struct gm_prof_site *s, const gm_prof_figures *f) {
    uint64_t *objects = arg;
    uintptr_t last = s->depth ? s->frame[s->depth - 1] : 0;
    (void)f;
    if (last >= 1 && last <= SITES) objects[last - 1] += s->alloc.objects;
    return true;
}

// Calls the sites in turn and compares what the profile says of each with the truth. `keep`: how many
// objects live; each is freed when `keep` younger ones are there.
static void check_turns(void *(*allocate)(size_t), unsigned keep, uint64_t seed) {
    enum { TURNS = 60000, RATE = 2000 };
    static void *ring[256];
    uint64_t before[SITES] = {0}, after[SITES] = {0};
    memset(ring, 0, sizeof ring);
    gomem_set_profile_rate(RATE);
    gm_world_self()->cache.prof.random = seed * 0x9e3779b97f4a7c15u + 1;
    gm_prof_each(prof, add_turn, before);
    for (unsigned i = 0; i < TURNS * SITES; i++) {
        void **at = &ring[keep ? i % keep : 0];
        gomem_free(*at);
        turn = i % SITES + 1;
        *at = allocate(LEAST + 4 * turn);
    }
    turn = 0;
    for (unsigned i = 0; i < 256; i++) gomem_free(ring[i]);
    gm_prof_each(prof, add_turn, after);
    gomem_set_profile_rate(0);
    // n samples of weight w: the estimate is n x w, its standard error w x sqrt(n)
    double weight = (double)gm_prof_weight(112, RATE) / GM_PROF_ONE;
    for (int i = 0; i < SITES; i++) {
        double off = (double)(after[i] - before[i]) / GM_PROF_ONE - TURNS;
        CHECK(off * off < 16 * weight * TURNS); // four standard errors
    }
}

TEST(turns_of_manual_sites) {
    if (watched()) SKIP("a watched heap adds margins to sizes");
    for (uint64_t seed = 1; seed <= 4; seed++) {
        check_turns(manual, 0, seed); // pairs, within a magazine
        check_turns(manual, 7, seed);
        check_turns(manual, 200, seed); // across magazines
    }
}

TEST(turns_of_collected_sites) {
    if (watched()) SKIP("a watched heap adds margins to sizes");
    for (uint64_t seed = 1; seed <= 4; seed++) check_turns(collected, 200, seed);
}

TEST(the_depot_has_no_samples) {
    enum { N = 4000, SIZE = 48 };
    static void *p[N];
    unsigned class = gm_sizes_class(SIZE + (watched() ? GM_MARGIN : 0), 8), magazines = 0;
    const struct gm_pages *pages = &gm_runtime.engine.heap.pages;
    gomem_set_profile_rate(300);
    for (int i = 0; i < N; i++) p[i] = gomem_malloc(SIZE);
    for (int i = 0; i < N; i++) gomem_free(p[i]);
    uint32_t at = (uint32_t)gm_runtime.engine.depot.full[class];
    for (; at; at = gm_cache_head(pages, at - 1)->next, magazines++) {
        void **top = gm_cache_slots(pages, at - 1) + gm_cache_head(pages, at - 1)->top;
        unsigned n = gm_cache_count(pages, top);
        for (unsigned i = 0; i < n; i++) CHECK(top[-(int)i] != NULL);
    }
    CHECK(magazines > 10 || watched());
    gomem_set_profile_rate(0);
}

// ---- threads, forks, ends ----

static void *work(void *arg) {
    unsigned *seed = arg;
    void *p[64] = {NULL};
    for (int i = 0; i < 20000; i++) {
        *seed = *seed * 1103515245u + 12345;
        void **at = &p[*seed >> 8 & 63];
        gomem_free(*at);
        size_t size = *seed >> 16 & 2047;
        *at = *seed & 1 << 14 ? gomem_new_noscan(size) : gomem_malloc(size);
        if (i % 5000 == 0) gomem_set_profile_rate(i % 10000 ? 100 : 5000);
    }
    for (int i = 0; i < 64; i++) gomem_free(p[i]);
    return NULL;
}

TEST(threads_and_rates) {
    pthread_t thread[4];
    unsigned seed[4] = {1, 2, 3, 4};
    uint64_t lost = prof->lost;
    for (int i = 0; i < 4; i++) REQUIRE(!gomem_thread_create(&thread[i], NULL, work, &seed[i]));
    for (int i = 0; i < 10; i++) {
        CHECK(COLLECTED());
        (void)read_sum(-1, NULL);
    }
    for (int i = 0; i < 4; i++) REQUIRE(!gomem_thread_join(&thread[i], NULL));
    CHECK(HEAP_IS_WHOLE());
    CHECK_EQ(prof->lost, lost);
    gomem_set_profile_rate(0);
}

static void *hand_over[100];

static void *take_all(void *arg) {
    (void)arg;
    for (int i = 0; i < 100; i++) hand_over[i] = gomem_malloc((size_t)i * 10);
    return NULL;
}

TEST(freed_by_another_thread) {
    pthread_t thread;
    gomem_set_profile_rate(1);
    gm_prof_figures before = read_sum(GM_PROF_MANUAL, NULL);
    REQUIRE(!gomem_thread_create(&thread, NULL, take_all, NULL));
    REQUIRE(!gomem_thread_join(&thread, NULL));
    CHECK(since(before, GM_PROF_MANUAL, NULL).inuse_objects >= 100);
    uint64_t now = read_sum(GM_PROF_MANUAL, NULL).inuse_objects;
    for (int i = 0; i < 100; i++) gomem_free(hand_over[i]);
    CHECK_EQ(now - read_sum(GM_PROF_MANUAL, NULL).inuse_objects, 100);
    gomem_set_profile_rate(0);
}

TEST(a_child_keeps_the_profile) {
    gomem_set_profile_rate(1);
    void *p = gomem_malloc(50), *q;
    gm_prof_figures before = read_sum(GM_PROF_MANUAL, NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (!child) {
        gomem_free(p);
        q = gomem_malloc(60);
        gm_prof_figures f = since(before, GM_PROF_MANUAL, NULL);
        bool good = q && f.alloc_objects == 1 && f.inuse_objects == 0 && HEAP_IS_WHOLE();
        _exit(good ? 0 : 1);
    }
    int status = 1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    gomem_free(p);
    gomem_set_profile_rate(0);
}

TEST(after_a_shutdown) {
    gomem_set_profile_rate(1);
    void *p = gomem_malloc(50);
    CHECK(gm_prof_of(prof, (uintptr_t)p) != 0);
    gomem_shutdown();
    CHECK_EQ(prof->samples_used, 0);
    CHECK_EQ(read_sum(-1, NULL).inuse_objects, 0);
    REQUIRE(gomem_init(NULL));
    p = gomem_malloc(50); // the rate is kept
    CHECK(gm_prof_of(prof, (uintptr_t)p) != 0);
    gomem_free(p);
    gomem_set_profile_rate(0);
    CHECK_EQ(prof->samples_used, 0);
    CHECK(HEAP_IS_WHOLE());
}

TEST_MAIN
