// A second finalizer, one on an interior and on foreign pointers, a weak pointer to a manual object:
// a clear result, nothing changed, nothing lost.
// expect-status: 0
// expect-lines: 0
#include "bad.h"

static int first, second;

static void count(void *obj, void *arg) {
    (void)obj;
    ++*(int *)arg;
}

static void clean(void *arg) { ++*(int *)arg; }

static __attribute__((noinline)) void make(void) {
    for (int i = 0; i < 100; i++) {
        struct item *item = GOMEM_NEW(struct item);
        int local = 0;
        void *manual = gomem_malloc(64);
        MUST(gomem_set_finalizer(item, count, &first));
        MUST(!gomem_set_finalizer(item, count, &second) && errno == EEXIST);
        MUST(!gomem_set_finalizer(&item->key[1], count, &second) && errno == EINVAL);
        MUST(!gomem_set_finalizer(&local, count, &second) && errno == EINVAL);
        MUST(!gomem_set_finalizer(&first, count, &second) && errno == EINVAL);
        MUST(!gomem_set_finalizer(manual, count, &second) && errno == EINVAL);
        MUST(!gomem_set_finalizer(NULL, count, &second) && errno == EINVAL);
        MUST(gomem_add_cleanup(manual, clean, &second).id == 0 && errno == EINVAL);
        MUST(gomem_weak_make(manual).id == 0 && errno == EINVAL);
        MUST(gomem_weak_make(&item->key[1]).id == 0 && errno == EINVAL);
        gomem_free(manual);
    }
}

int main(void) {
    gomem_options options = {.finalizers_by_hand = true};
    MUST(gomem_init(&options));
    make();
    gomem_gc();
    gomem_run_finalizers(-1);
    MUST(first >= 90 && first <= 100 && second == 0);
    return 0;
}
