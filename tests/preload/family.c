// What else belongs to malloc: the other names of libc's allocator, its statistics, and fork handlers.
// Run with and without the override, which must print the same. Only what both promise is printed.
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t), *__libc_valloc(size_t), *__libc_pvalloc(size_t);
extern void __libc_free(void *);

static int wrong;

#define EXPECT(c)                                            \
    do {                                                     \
        if (!(c)) printf("%d: %s\n", __LINE__, #c), wrong++; \
    } while (0)

static int aligned(const void *p, size_t align) { return p && (uintptr_t)p % align == 0; }

static void *filled(void *p, size_t n) { return p ? memset(p, 0x5a, n) : p; }

// Memory of each name goes to each kind of free, small and large.
static void other_names(void) {
    for (size_t n = 1; n < 300000; n = n * 3 + 1) {
        free(filled(__libc_malloc(n), n));
        __libc_free(filled(malloc(n), n));
        char *zero = __libc_calloc(n, 2);
        EXPECT(zero && !zero[0] && !zero[2 * n - 1]);
        zero = realloc(zero, 3 * n);
        EXPECT(zero && !zero[2 * n - 1]);
        zero = __libc_realloc(zero, 4 * n);
        EXPECT(zero && malloc_usable_size(zero) >= 4 * n);
        free(zero);
        void *p = __libc_memalign(256, n);
        EXPECT(aligned(p, 256));
        __libc_free(p);
        p = __libc_valloc(n);
        EXPECT(aligned(p, 4096));
        free(p);
        p = __libc_pvalloc(n);
        EXPECT(aligned(p, 4096) && malloc_usable_size(p) >= 4096);
        free(p);
    }
    puts("other names");
}

// What fails leaves the caller's pointer alone.
static void failures(void) {
    void *const before = &wrong;
    void *p = before;
    volatile size_t huge = PTRDIFF_MAX;
    errno = 7;
    EXPECT(posix_memalign(&p, 24, 100) == EINVAL && p == before && errno == 7);
    EXPECT(posix_memalign(&p, sizeof(void *) / 2, 100) == EINVAL && p == before && errno == 7);
    EXPECT(posix_memalign(&p, 64, huge) == ENOMEM && p == before);
    errno = 7;
    EXPECT(posix_memalign(&p, 64, 100) == 0 && aligned(p, 64) && errno == 7);
    EXPECT(reallocarray(p, huge, 3) == NULL && errno == ENOMEM);
    errno = 0;
    EXPECT(memalign(huge + 2, 1) == NULL && errno == EINVAL);
    free(filled(p, 100));
    puts("failures");
}

static void statistics(void) {
    enum { N = 2000, LARGE = 3 << 20 };
    static void *small[N];
    struct mallinfo2 before = mallinfo2();
    for (int i = 0; i < N; i++) small[i] = filled(malloc(1000), 1000);
    void *large = filled(malloc(LARGE), LARGE);
    struct mallinfo2 after = mallinfo2();
    struct mallinfo old = mallinfo();
    EXPECT(after.uordblks >= before.uordblks + N * 900);
    EXPECT(after.uordblks + after.hblkhd >= before.uordblks + before.hblkhd + N * 900 + LARGE);
    EXPECT(after.arena >= after.uordblks && after.arena - after.uordblks == after.fordblks);
    EXPECT((size_t)old.uordblks >= after.uordblks / 2 && old.hblkhd >= 0);
    for (int i = 0; i < N; i++) free(small[i]);
    free(large);
    (void)malloc_trim(0);
    struct mallinfo2 freed = mallinfo2();
    EXPECT(freed.uordblks + freed.hblkhd <= after.uordblks + after.hblkhd - N * 900 - LARGE);
    EXPECT(freed.arena + freed.hblkhd < after.arena + after.hblkhd);
    EXPECT(mallopt(M_TRIM_THRESHOLD, 1 << 20) == 1);
    errno = 7;
    (void)malloc_trim(1 << 20);
    EXPECT(errno == 7);
    puts("statistics");
}

// Well-formed as far as a counter of brackets sees.
static void xml(void) {
    char *text = NULL;
    size_t size = 0, open = 0, close = 0;
    FILE *file = open_memstream(&text, &size);
    EXPECT(file && malloc_info(0, file) == 0 && malloc_info(1, file) == EINVAL);
    if (!file) return;
    fclose(file);
    for (size_t i = 0; i < size; i++) open += text[i] == '<', close += text[i] == '>';
    EXPECT(open > 5 && open == close && !strncmp(text, "<malloc version=\"1\">", 20));
    EXPECT(strstr(text, "</malloc>") != NULL && strstr(text, "<system type=\"current\" size=\""));
    free(text);
    puts("malloc_info");
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int handled;

static void use(void) {
    for (size_t i = 0; i < 500; i++) free(filled(malloc(100 + i * 100), 100));
    handled++;
}
static void lock(void) { pthread_mutex_lock(&mutex), use(); }
static void unlock(void) { use(), pthread_mutex_unlock(&mutex); }

// Before the program's first malloc, and before the constructors of most libraries.
__attribute__((constructor(101))) static void register_early(void) {
    (void)pthread_atfork(lock, unlock, unlock);
}

static void *allocate(void *stop) {
    while (!__atomic_load_n((int *)stop, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&mutex);
        for (int i = 0; i < 20; i++) free(filled(malloc(50000), 10));
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void forks(void) {
    pthread_t thread;
    int stop = 0, good = 0;
    EXPECT(pthread_create(&thread, NULL, allocate, &stop) == 0);
    for (int i = 0; i < 100; i++) {
        int status = -1;
        pid_t pid = fork();
        if (!pid) {
            free(filled(malloc(5000), 5000));
            _exit(handled < 2);
        }
        good += pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf("%d forks, handlers %d\n", good, handled);
}

int main(void) {
    forks();
    other_names();
    failures();
    statistics();
    xml();
    return wrong != 0;
}
