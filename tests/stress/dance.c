// The dance of the lost object: while cycles run, old objects move from places that the collector
// has not looked at yet into places that it has looked at already, and nothing else remembers them.
// A collector that trusts its first look frees them. Freed memory is filled (poison=1), and what
// died is buried under new objects, so a lost object does not add up.
//
// Dancers wait for the events of a cycle and dance right behind them. Every store of a pointer goes
// through the macros: the same program is right for each collector.
#define _GNU_SOURCE
#include "alive.h"
#include "stress.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DANCERS = 2, COLLECTOR_BARRIER = 2 }; // the latter as memstats tell it

// ---- what moves ----

struct payload {
    struct payload *behind; // lives by this one alone
    uintptr_t id, words, sum;
    uintptr_t body[];
};

GOMEM_TYPE(payload_type, struct payload, behind);

static uintptr_t sum_of(const struct payload *p) {
    uintptr_t sum = (uintptr_t)p ^ p->id * 0x9e3779b97f4a7c15u ^ p->words;
    for (uintptr_t i = 0; i < p->words; i++) sum = (sum << 7 | sum >> 57) ^ p->body[i];
    return sum;
}

static struct payload *new_payload(struct stress_random *r, uintptr_t id, struct payload *behind) {
    static const uint16_t sizes[] = {0, 0, 0, 2, 4, 21, 60, 600};
    uintptr_t words = sizes[stress_below(r, sizeof sizes / sizeof *sizes)];
    struct payload *p = stress_below(r, 3) == 0 && words == 0
                            ? GOMEM_NEW_TYPED(struct payload, &payload_type)
                            : GOMEM_NEW_FLEX(struct payload, body, words);
    if (!CHECK(p != NULL)) return NULL;
    p->id = id;
    p->words = words;
    for (uintptr_t i = 0; i < words; i++) p->body[i] = (uintptr_t)stress_next(r) | 1;
    p->sum = sum_of(p);
    GOMEM_STORE(&p->behind, behind);
    return p;
}

// A payload with another one behind it.
static struct payload *new_pair(struct stress_random *r, uintptr_t id) {
    struct payload *behind = new_payload(r, ~id, NULL);
    return behind == NULL ? NULL : new_payload(r, id, behind);
}

// The pair that a word points into stands as it was made.
static bool sound(const char *word, uintptr_t *id) {
    const struct payload *p = gomem_base(word);
    if (!CHECK(p != NULL)) return false;
    if (!CHECK(p->words <= 600 && p->sum == sum_of(p))) return false;
    const struct payload *behind = p->behind;
    if (!CHECK(behind != NULL && gomem_base(behind) == behind)) return false;
    if (!CHECK(behind->words <= 600 && behind->id == ~p->id)) return false;
    if (!CHECK(behind->sum == sum_of(behind))) return false;
    *id = p->id;
    return true;
}

// Takes the slots of what has died, so that nothing stands in them by luck.
static void bury(struct stress_random *r) {
    for (int i = 0; i < 16; i++) {
        size_t words = stress_below(r, 4) == 0 ? 64 : 4 + stress_below(r, 5);
        uintptr_t *earth = GOMEM_MAKE(uintptr_t, words);
        for (size_t k = 0; earth != NULL && k < words; k++) earth[k] = 0x5a5a5a5a;
    }
}

// ---- cycles, and when to dance ----

static atomic_uint events;
static atomic_bool stop;
static struct payload *ballast; // a list, so that marking takes its time

static void note(int what, uint64_t ns, void *user) {
    (void)what, (void)ns, (void)user;
    atomic_fetch_add(&events, 1);
}

static void *collect_on(void *arg) {
    struct stress_random r = stress_random_at(77);
    while (!atomic_load(&stop)) {
        gomem_gc();
        if (stress_below(&r, 4) == 0) usleep(stress_below(&r, 500));
    }
    return arg;
}

// Every second time waits for the next event of a cycle, and then a little.
static void aim(struct stress_random *r) {
    if (stress_below(r, 2) == 0) return;
    unsigned seen = atomic_load(&events);
    for (int i = 0; i < 2000 && atomic_load(&events) == seen; i++) sched_yield();
    for (volatile uint32_t i = stress_below(r, 1u << stress_below(r, 14)); i > 0; i--) continue;
}

// poison=1 besides what the environment says; before the first use of the heap.
__attribute__((constructor)) static void poison(void) {
    char text[256];
    const char *debug = getenv("GOMEM_DEBUG");
    if (debug != NULL && strstr(debug, "poison") != NULL) return;
    snprintf(text, sizeof text, "%s%spoison=1", debug != NULL ? debug : "",
             debug != NULL && debug[0] != '\0' ? "," : "");
    setenv("GOMEM_DEBUG", text, 1);
}

static unsigned collector_kind(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    return (unsigned)m.collector;
}

// Runs `dance` on DANCERS threads, with their number, while another thread collects.
static void run(void *(*dance)(void *)) {
    pthread_t threads[DANCERS], collector;
    struct stress_random r = stress_random_at(5);
    static const gomem_options options = {.event = note};
    static bool opened;
    if (!opened) REQUIRE(gomem_init(&options));
    opened = true;
    atomic_store(&stop, false);
    for (size_t i = stress_times(20000); i > 0; i--)
        GOMEM_STORE(&ballast, new_payload(&r, i, ballast));
    REQUIRE(gomem_thread_create(&collector, NULL, collect_on, NULL) == 0);
    for (uintptr_t i = 0; i < DANCERS; i++)
        REQUIRE(gomem_thread_create(&threads[i], NULL, dance, (void *)i) == 0);
    for (int i = 0; i < DANCERS; i++) pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(collector, NULL);
    size_t standing = 0;
    for (struct payload *p = ballast; p != NULL; p = p->behind) standing += p->sum == sum_of(p);
    CHECK_EQ(standing, stress_times(20000));
    GOMEM_STORE(&ballast, NULL);
    CHECK(HEAP_IS_WHOLE());
}

// ---- places ----

enum kind { SCANNED, TYPED, FLEXIBLE, CLASS_24, PAGES, LARGE, ROOT, BSS, DATA, RANGE, TLS, KINDS };
enum { EACH = 100, PLACES = KINDS * EACH, PAYLOADS = PLACES / 2, RANGE_BYTES = 1 << 16 };

struct holder {
    uintptr_t before[2];
    char *word;
    uintptr_t after;
};
struct holder24 {
    uintptr_t before;
    char *word;
    uintptr_t after;
};
struct holder_flex {
    uintptr_t before;
    char *words[];
};
GOMEM_TYPE(holder_type, struct holder, word);
GOMEM_TYPE_FLEX(flex_type, struct holder_flex, words);

static char *in_bss[DANCERS][EACH];
static char *in_data[DANCERS][EACH] = {{(char *)1}, {(char *)1}}; // cleared before use
static _Thread_local char *in_tls[EACH];

struct dancer {
    struct stress_random r;
    char **slot[PLACES]; // where each place keeps its word
    char **roots;        // uncollectable
    char **range;        // mapped and registered
    unsigned seen[PAYLOADS];
};

static char **fixed_slot(struct dancer *d, enum kind kind, size_t i, size_t number) {
    switch (kind) {
    case ROOT: return &d->roots[i];
    case BSS: return &in_bss[number][i];
    case DATA: return &in_data[number][i];
    case RANGE: return &d->range[i * (RANGE_BYTES / sizeof(char *) / EACH)];
    default: return &in_tls[i];
    }
}

// The slot of a new holder; NULL for places that stay where they are.
static char **new_slot(struct stress_random *r, enum kind kind) {
    enum { PAGES_WORDS = 2500, LARGE_WORDS = 4 * 16384 + 100 };
    char **words;
    switch (kind) {
    case SCANNED: return &GOMEM_NEW(struct holder)->word;
    case TYPED: return &GOMEM_NEW_TYPED(struct holder, &holder_type)->word;
    case FLEXIBLE:
        return &GOMEM_NEW_FLEX_TYPED(struct holder_flex, &flex_type, words, 9)
                    ->words[stress_below(r, 9)];
    case CLASS_24: return &GOMEM_NEW(struct holder24)->word;
    case PAGES:
        if (stress_below(r, 8) != 0) return NULL;
        words = GOMEM_MAKE(char *, PAGES_WORDS);
        return words == NULL ? NULL : &words[stress_below(r, PAGES_WORDS)];
    case LARGE:
        if (stress_below(r, 128) != 0) return NULL;
        words = GOMEM_MAKE(char *, LARGE_WORDS);
        return words == NULL ? NULL : &words[stress_below(r, LARGE_WORDS)];
    default: return NULL;
    }
}

// ---- how a word is carried while no place holds it ----

#if defined __x86_64__
static char *carry_in_register(char *word, uint32_t turns) {
    __asm__ volatile("1: pause\n subl $1, %1\n jnz 1b" : "+r"(word), "+r"(turns) : : "cc");
    return word;
}

static char *carry_in_vector(char *word, uint32_t turns) {
    __asm__ volatile("movq %0, %%xmm9\n xorl %k0, %k0\n 1: pause\n subl $1, %1\n jnz 1b\n"
                     "movq %%xmm9, %0\n pxor %%xmm9, %%xmm9"
                     : "+r"(word), "+r"(turns)
                     :
                     : "cc", "xmm9");
    return word;
}
#else
static char *carry_in_register(char *word, uint32_t turns) {
    while (turns-- > 0) __asm__ volatile("" : "+r"(word));
    return word;
}
#define carry_in_vector carry_in_register
#endif

// On the stack alone, in a blocking region every second time.
static char *carry_on_stack(char *word, uint32_t turns) {
    char *volatile kept[3] = {NULL, word, NULL};
    word = NULL;
    __asm__ volatile("" : "+r"(word) : : "memory");
    if (turns % 2 == 0) {
        gomem_blocking_begin();
        usleep(turns / 16);
        gomem_blocking_end();
    }
    while (turns-- > 0) __asm__ volatile("" : : : "memory");
    return kept[1];
}

static char *carry(char *word, uint32_t how) {
    uint32_t turns = 1 + how / 4 % 1024;
    switch (how % 4) {
    case 0: return carry_in_vector(word, turns);
    case 1: return carry_on_stack(word, turns);
    default: return carry_in_register(word, turns);
    }
}

// ---- the dance ----

// From one place to another: load, make a new holder, store there, forget here. Sometimes forgotten
// first, so that for a while nothing but this thread knows of it.
ALIVE_NOINLINE static void move(struct dancer *d, size_t from, size_t to) {
    char *word = *d->slot[from], *base = gomem_base(word);
    if (!CHECK(base != NULL)) return;
    uint32_t how = stress_next(&d->r);
    word = base + (how & 1 ? how / 2 % sizeof(struct payload) : 0);
    base = NULL;
    char **slot = new_slot(&d->r, (enum kind)(to % KINDS));
    if (how % 64 == 0) {
        GOMEM_STORE(d->slot[from], NULL);
        word = carry(word, stress_next(&d->r));
    }
    if (slot != NULL) GOMEM_STORE(&d->slot[to], slot);
    GOMEM_STORE(d->slot[to], word);
    GOMEM_STORE(d->slot[from], NULL);
}

ALIVE_NOINLINE static void burst(struct dancer *d) {
    for (int i = 0; i < 150; i++) {
        size_t from = stress_below(&d->r, PLACES), to = stress_below(&d->r, PLACES);
        if (*d->slot[from] != NULL && *d->slot[to] == NULL) move(d, from, to);
    }
}

// Every payload is in one place and sound.
ALIVE_NOINLINE static void look(struct dancer *d) {
    size_t found = 0;
    memset(d->seen, 0, sizeof d->seen);
    for (size_t i = 0; i < PLACES && test_failed() == 0; i++) {
        uintptr_t id;
        if (*d->slot[i] == NULL || !sound(*d->slot[i], &id)) continue;
        if (!CHECK(id < PAYLOADS && d->seen[id]++ == 0)) continue;
        found++;
    }
    CHECK(test_failed() > 0 || found == PAYLOADS);
}

ALIVE_NOINLINE static bool open_places(struct dancer *d, size_t number) {
    d->r = stress_random_at(number + 10);
    GOMEM_STORE(&d->roots, gomem_new_with(EACH * sizeof(char *), 0, GOMEM_UNCOLLECTABLE));
    d->range = mmap(NULL, RANGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK(d->roots != NULL && (void *)d->range != MAP_FAILED)) return false;
    if (!CHECK(gomem_add_root(d->range, RANGE_BYTES))) return false;
    in_data[number][0] = NULL;
    for (size_t i = 0; i < PLACES; i++) {
        enum kind kind = (enum kind)(i % KINDS);
        char **slot = NULL;
        if (kind >= ROOT) slot = fixed_slot(d, kind, i / KINDS, number);
        else
            while (slot == NULL) slot = new_slot(&d->r, kind);
        GOMEM_STORE(&d->slot[i], slot);
    }
    for (size_t i = 0; i < PAYLOADS; i++) GOMEM_STORE(d->slot[i * 2], (char *)new_pair(&d->r, i));
    return true;
}

static void *dance_on(void *arg) {
    struct dancer *d = GOMEM_NEW(struct dancer);
    if (!CHECK(d != NULL) || !open_places(d, (size_t)(uintptr_t)arg)) return NULL;
    size_t bursts = stress_times(300);
    for (size_t i = 0; i < bursts && test_failed() == 0; i++) {
        aim(&d->r);
        burst(d);
        alive_clear_stack();
        bury(&d->r);
        if (i % 32 == 0) look(d);
    }
    look(d);
    CHECK(gomem_remove_root(d->range));
    munmap((void *)d->range, RANGE_BYTES);
    gomem_free((void *)d->roots);
    return NULL;
}

TEST(places) {
    stress_seed();
    run(dance_on);
}

// ---- old payloads into new holders that fill pages and are left ----

struct plain {
    struct payload *payload;
    uintptr_t number;
};

ALIVE_NOINLINE static void renew(struct plain **table, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        struct plain *old = table[i], *fresh = GOMEM_NEW(struct plain);
        if (!CHECK(fresh != NULL)) return;
        fresh->number = i;
        GOMEM_STORE(&fresh->payload, old->payload);
        GOMEM_STORE(&table[i], fresh);
        GOMEM_STORE(&old->payload, NULL);
    }
}

ALIVE_NOINLINE static void fill(struct plain **table, size_t n, struct stress_random *r) {
    for (size_t i = 0; i < n; i++) {
        struct plain *plain = GOMEM_NEW(struct plain);
        if (!CHECK(plain != NULL)) return;
        GOMEM_STORE(&table[i], plain);
        plain->number = i;
        struct payload *payload = GOMEM_NEW(struct payload);
        if (!CHECK(payload != NULL)) return;
        payload->id = stress_next(r);
        payload->sum = sum_of(payload);
        GOMEM_STORE(&plain->payload, payload);
    }
}

static void *renew_on(void *arg) {
    enum { PASSES = 60, STEP = 500 };
    struct stress_random r = stress_random_at((uintptr_t)arg + 30);
    size_t n = stress_times(50000);
    struct plain **table = GOMEM_MAKE(struct plain *, n);
    if (!CHECK(table != NULL)) return NULL;
    fill(table, n, &r);
    for (int pass = 0; pass < PASSES && test_failed() == 0; pass++) {
        for (size_t i = 0; i < n; i += STEP) {
            if (i / STEP % 64 == 0) aim(&r);
            renew(table, i, i + STEP < n ? i + STEP : n);
            alive_clear_stack();
        }
        for (size_t i = 0; i < n && test_failed() == 0; i++) {
            const struct payload *p = table[i]->payload;
            CHECK(table[i]->number == i && p != NULL && p->words == 0 && p->sum == sum_of(p));
        }
    }
    return NULL;
}

TEST(old_payloads_in_new_holders) {
    stress_seed();
    run(renew_on);
}

// ---- arrays of pointers: moved by gomem_memmove, grown and shrunk by gomem_realloc ----

enum { ARRAYS = 12 };

struct arrays { // words [0, used) of each point at pairs, of which `first` is the first's id
    struct {
        char **words;
        size_t used, room;
    } array[ARRAYS];
    struct stress_random r;
    size_t pairs; // in all
    unsigned *seen;
};

static size_t some_room(struct stress_random *r) {
    static const size_t rooms[] = {10, 60, 300, 1500, 5000, 20000, 50000};
    return rooms[stress_below(r, sizeof rooms / sizeof *rooms)] + stress_below(r, 10);
}

// The last half of the words of one array goes to the end of another.
ALIVE_NOINLINE static void pour(struct arrays *a, size_t from, size_t to) {
    size_t n = a->array[from].used / 2, left = a->array[to].room - a->array[to].used;
    if (n > left) n = left;
    if (n == 0 || from == to) return;
    char **source = a->array[from].words + a->array[from].used - n;
    gomem_memmove(a->array[to].words + a->array[to].used, source, n * sizeof *source);
    a->array[from].used -= n;
    a->array[to].used += n;
    for (size_t i = 0; i < n; i++) GOMEM_STORE(&source[i], NULL);
}

// Everything moves by a few words, and what fell off goes to the other end.
ALIVE_NOINLINE static void rotate(struct arrays *a, size_t i) {
    enum { MOST = 40 };
    char *off[MOST], **words = a->array[i].words;
    size_t n = a->array[i].used, by = 1 + stress_below(&a->r, MOST);
    if (n <= by) return;
    memcpy(off, words, by * sizeof *off);
    gomem_memmove(words, words + by, (n - by) * sizeof *off);
    gomem_memmove(words + n - by, off, by * sizeof *off);
}

ALIVE_NOINLINE static void resize(struct arrays *a, size_t i) {
    size_t room = some_room(&a->r);
    if (room < a->array[i].used) room = a->array[i].used;
    char **words = GOMEM_RESIZE(char *, a->array[i].words, room);
    if (!CHECK(words != NULL)) return;
    for (size_t k = a->array[i].room; k < room; k++) CHECK(words[k] == NULL);
    GOMEM_STORE(&a->array[i].words, words);
    a->array[i].room = room;
}

// To a block of another kind, by hand: the old one is freed at once.
ALIVE_NOINLINE static void copy_out(struct arrays *a, size_t i) {
    char **words = GOMEM_MAKE(char *, a->array[i].room), **old = a->array[i].words;
    if (!CHECK(words != NULL)) return;
    gomem_memmove(words, old, a->array[i].used * sizeof *words);
    GOMEM_STORE(&a->array[i].words, words);
    gomem_free((void *)old);
}

ALIVE_NOINLINE static void look_at_arrays(struct arrays *a) {
    size_t found = 0;
    memset(a->seen, 0, a->pairs * sizeof *a->seen);
    for (size_t i = 0; i < ARRAYS; i++)
        for (size_t k = 0; k < a->array[i].used && test_failed() == 0; k++) {
            uintptr_t id;
            if (!sound(a->array[i].words[k], &id)) continue;
            if (CHECK(id < a->pairs && a->seen[id]++ == 0)) found++;
        }
    CHECK(test_failed() > 0 || found == a->pairs);
}

ALIVE_NOINLINE static bool open_arrays(struct arrays *a, size_t number) {
    a->r = stress_random_at(number + 60);
    for (size_t i = 0; i < ARRAYS; i++) {
        size_t room = some_room(&a->r), used = room / 2 < 1000 ? room / 2 : 1000;
        GOMEM_STORE(&a->array[i].words, GOMEM_MAKE(char *, room));
        if (!CHECK(a->array[i].words != NULL)) return false;
        a->array[i].room = room;
        for (; a->array[i].used < used; a->array[i].used++)
            GOMEM_STORE(&a->array[i].words[a->array[i].used], (char *)new_pair(&a->r, a->pairs++));
    }
    GOMEM_STORE(&a->seen, GOMEM_MAKE_NOSCAN(unsigned, a->pairs));
    return CHECK(a->seen != NULL);
}

static void *move_arrays_on(void *arg) {
    struct arrays *a = GOMEM_NEW(struct arrays);
    if (!CHECK(a != NULL) || !open_arrays(a, (size_t)(uintptr_t)arg)) return NULL;
    size_t times = stress_times(1500);
    for (size_t i = 0; i < times && test_failed() == 0; i++) {
        if (i % 8 == 0) aim(&a->r);
        size_t which = stress_below(&a->r, ARRAYS);
        switch (stress_below(&a->r, 6)) {
        case 0: rotate(a, which); break;
        case 1: resize(a, which); break;
        case 2: copy_out(a, which); break;
        default: pour(a, which, stress_below(&a->r, ARRAYS)); break;
        }
        alive_clear_stack();
        bury(&a->r);
        if (i % 128 == 0) look_at_arrays(a);
    }
    look_at_arrays(a);
    return NULL;
}

TEST(arrays) {
    stress_seed();
    run(move_arrays_on);
}

// ---- read() into collected memory ----

enum { READ_WORDS = 1024, READ_BYTES = READ_WORDS * sizeof(char *) };

// Pointers go through a pipe into a new scanned object, and then the old one forgets them. Where
// stores must be told, they come by way of this frame.
ALIVE_NOINLINE static char **read_pointers(char **from, const int ends[2], bool barrier) {
    char **to = GOMEM_MAKE(char *, READ_WORDS);
    if (!CHECK(to != NULL) || !CHECK(write(ends[1], (void *)from, READ_BYTES) == READ_BYTES))
        return from;
    if (barrier) {
        char *here[READ_WORDS];
        CHECK(read(ends[0], (void *)here, READ_BYTES) == READ_BYTES);
        gomem_memmove(to, here, READ_BYTES);
    } else {
        CHECK(read(ends[0], (void *)to, READ_BYTES) == READ_BYTES);
    }
    for (size_t i = 0; i < READ_WORDS; i++) GOMEM_STORE(&from[i], NULL);
    return to;
}

// Plain bytes into a noscan and into a scanned object that had a pointer there.
ALIVE_NOINLINE static void read_bytes(struct stress_random *r, const int ends[2]) {
    uintptr_t bytes[READ_WORDS], *to;
    size_t n = 1 + stress_below(r, READ_WORDS);
    for (size_t i = 0; i < n; i++) bytes[i] = stress_next(r);
    for (int scanned = 0; scanned < 2; scanned++) {
        to = scanned ? GOMEM_MAKE(uintptr_t, n) : GOMEM_MAKE_NOSCAN(uintptr_t, n);
        if (!CHECK(to != NULL)) return;
        CHECK(write(ends[1], bytes, n * sizeof *to) == (ssize_t)(n * sizeof *to));
        CHECK(read(ends[0], to, n * sizeof *to) == (ssize_t)(n * sizeof *to));
        CHECK(memcmp(to, bytes, n * sizeof *to) == 0);
    }
}

static void *read_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 90);
    bool barrier = collector_kind() == COLLECTOR_BARRIER;
    int ends[2];
    char **words = GOMEM_MAKE(char *, READ_WORDS);
    if (!CHECK(words != NULL && pipe(ends) == 0)) return NULL;
    for (size_t i = 0; i < READ_WORDS; i++) GOMEM_STORE(&words[i], (char *)new_pair(&r, i));
    size_t times = stress_times(600);
    for (size_t i = 0; i < times && test_failed() == 0; i++) {
        aim(&r);
        words = read_pointers(words, ends, barrier);
        read_bytes(&r, ends);
        alive_clear_stack();
        bury(&r);
        for (size_t k = i % 32; k < READ_WORDS && test_failed() == 0; k += 32) {
            uintptr_t id;
            if (sound(words[k], &id)) CHECK_EQ(id, k);
        }
    }
    close(ends[0]);
    close(ends[1]);
    return NULL;
}

TEST(reads) {
    stress_seed();
    run(read_on);
}

// ---- threads pass them on, without locks ----

enum { BOXES = 600, INSIDE = BOXES / 2 };

struct box {
    uintptr_t before;
    char *word;
};

static struct box **boxes; // each box is replaced as often as it is used

// Takes what is in a box, which this thread may see replaced meanwhile.
ALIVE_NOINLINE static void pass(struct stress_random *r) {
    struct box *from = GOMEM_EXCHANGE(&boxes[stress_below(r, BOXES)], NULL);
    if (from == NULL) return; // somebody else has it
    char *word = GOMEM_EXCHANGE(&from->word, NULL);
    struct box *to = GOMEM_NEW(struct box);
    if (!CHECK(to != NULL)) return;
    GOMEM_STORE(&to->word, word);
    from = NULL;
    word = NULL;
    for (;;) { // there is a free one: this thread made it
        struct box *none = NULL;
        if (GOMEM_CAS(&boxes[stress_below(r, BOXES)], &none, to)) return;
    }
}

static void *pass_on(void *arg) {
    struct stress_random r = stress_random_at((uintptr_t)arg + 120);
    size_t times = stress_times(400);
    for (size_t i = 0; i < times && test_failed() == 0; i++) {
        aim(&r);
        for (int k = 0; k < 200; k++) pass(&r);
        alive_clear_stack();
        bury(&r);
    }
    return NULL;
}

TEST(boxes_of_all) {
    struct stress_random r = stress_random_at(3);
    static unsigned seen[INSIDE];
    size_t found = 0;
    memset(seen, 0, sizeof seen);
    stress_seed();
    GOMEM_STORE(&boxes, GOMEM_MAKE(struct box *, BOXES));
    REQUIRE(boxes != NULL);
    for (size_t i = 0; i < BOXES; i++) {
        GOMEM_STORE(&boxes[i], GOMEM_NEW(struct box));
        REQUIRE(boxes[i] != NULL);
        if (i < INSIDE) GOMEM_STORE(&boxes[i]->word, (char *)new_pair(&r, i));
    }
    run(pass_on);
    for (size_t i = 0; i < BOXES && test_failed() == 0; i++) {
        uintptr_t id;
        if (!CHECK(boxes[i] != NULL) || boxes[i]->word == NULL || !sound(boxes[i]->word, &id))
            continue;
        if (CHECK(id < INSIDE && seen[id]++ == 0)) found++;
    }
    CHECK(test_failed() > 0 || found == INSIDE);
    GOMEM_STORE(&boxes, NULL);
}

TEST_MAIN
