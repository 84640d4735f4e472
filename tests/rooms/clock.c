// Of all rooms: the clock goes back, again and again by up to 20 ms, and once by an hour. No time
// becomes a huge number, nothing waits for the clock to catch up, and all outputs are whole.
#define _GNU_SOURCE
#include <stdatomic.h>
#include <time.h>

static atomic_uint reads;
static atomic_int hour; // the clock has gone back by an hour

static int tell_time(clockid_t clock, struct timespec *ts) {
    unsigned n = atomic_fetch_add(&reads, 1) * 2654435761u;
    int done = clock_gettime(clock, ts);
    long ns = ts->tv_nsec - (long)(n >> 16) % 20 * 1000000;
    ts->tv_sec += 7200 - 3600 * atomic_load(&hour) - (ns < 0);
    ts->tv_nsec = ns + (ns < 0) * 1000000000L;
    return done;
}

#define GOMEM_CLOCK(clock, time) tell_time((clock), (time))
#include "room.h"
#include "child.h"
#include "output.h"

static const char *written(int what) {
    CHECK(output_written(what));
    return output;
}

enum { HOUR = 3600 };
static const uint64_t hour_ns = (uint64_t)HOUR * 1000000000u;

static void check_times(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    CHECK(m.num_gc > 0);
    CHECK(m.pause_total_ns < hour_ns);
    CHECK(m.pause_max_ns < hour_ns && m.pause_p50_ns <= m.pause_max_ns);
    CHECK(m.gather_max_ns < hour_ns);
    CHECK(m.gc_cpu_fraction >= 0 && m.gc_cpu_fraction < 1e6);
    for (int i = 0; i < 256; i++) CHECK(m.pause_ns[i] < hour_ns);
}

// No time of the page is longer than the program may have run: seconds have at most four digits.
static void check_page(void) {
    const char *page = written(GOMEM_REPORT);
    CHECK(strstr(page, "</html>") != NULL);
    for (const char *at = page; (at = strstr(at, " s<")) != NULL; at++) {
        int digits = 0;
        for (const char *d = at; (d[-1] >= '0' && d[-1] <= '9') || d[-1] == '.'; d--) digits++;
        if (!CHECK(digits <= 4)) printf("\n    %.60s", at - 40);
    }
    const char *metrics = written(GOMEM_METRICS);
    const char *sum = strstr(metrics, "\ngomem_gc_pauses_seconds_sum ");
    CHECK(sum != NULL && atof(sum + 29) < HOUR);
}

typedef struct list {
    struct list *next;
    char data[56];
} list;
static list *volatile kept;

static void work(unsigned cycles) {
    for (unsigned i = 0; i < cycles * 3000; i++) {
        list *l = GOMEM_NEW(list);
        if (!CHECK(l != NULL)) return;
        if (i % 16 == 0) l->next = kept, kept = l;
        if (i % 3000 == 0) CHECK(COLLECTED());
        gomem_free(gomem_malloc(i % 5000));
        if (i % 1000 == 0) (void)gomem_gc_work(100);
    }
}

static void go_back(void) {
    static const char *const collectors[] = {"tracked", "barrier", "stw"};
    static int next;
    char debug[100];
    snprintf(debug, sizeof debug, "profile=64KiB,record=1,gctrace=1,collector=%s",
             collectors[next++ % 3]);
    setenv("GOMEM_DEBUG", debug, 1);
    alarm(100); // a wait that lasts as long as the clock needs does not end in time
    work(20);
    check_times();
    check_page();
    atomic_store(&hour, 1);
    work(20);
    check_times();
    check_page();
    CHECK(strstr(written(GOMEM_LEAKS), "no leaks") != NULL);
    CHECK(HEAP_IS_WHOLE());
    kept = NULL;
}

TEST(goes_back) {
    for (int i = 0; i < 3; i++) {
        struct child child;
        child_run(&child, go_back);
        CHECK_EQ(child.status, 0);
    }
}

TEST_MAIN
