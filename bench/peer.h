/* One spelling for every allocator a question is asked of. BENCH_MALLOC(T) and BENCH_FREE(T, p) are
 * the best the allocator offers when the size is a constant; bench_malloc and bench_free when it is
 * not. The runner compiles a question once per peer with -DBENCH_<PEER>; without any it uses libc's
 * names, which is also what is compiled once and run under LD_PRELOAD. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdlib.h>

#if defined BENCH_GOMEM
#include "gomem.h"
#define BENCH_MALLOC(T)  GOMEM_MALLOC(T)
#define BENCH_FREE(T, p) GOMEM_FREE(T, p)
#define bench_malloc     gomem_malloc
#define bench_calloc     gomem_calloc
#define bench_realloc    gomem_realloc
#define bench_free       gomem_free

#elif defined BENCH_MIMALLOC
#include <mimalloc.h>
#define BENCH_MALLOC(T) \
    ((T *)(sizeof(T) <= MI_SMALL_SIZE_MAX ? mi_malloc_small(sizeof(T)) : mi_malloc(sizeof(T))))
#define BENCH_FREE(T, p) mi_free(p)
#define bench_malloc     mi_malloc
#define bench_calloc     mi_calloc
#define bench_realloc    mi_realloc
#define bench_free       mi_free

#elif defined BENCH_TCMALLOC
#include <gperftools/tcmalloc.h>
#define BENCH_MALLOC(T)  ((T *)tc_malloc(sizeof(T)))
#define BENCH_FREE(T, p) tc_free_sized((p), sizeof(T))
#define bench_malloc     tc_malloc
#define bench_calloc     tc_calloc
#define bench_realloc    tc_realloc
#define bench_free       tc_free

#else
#if defined BENCH_JEMALLOC
#include <jemalloc/jemalloc.h>
#define BENCH_FREE(T, p) sdallocx((p), sizeof(T), 0)
#else
#define BENCH_FREE(T, p) free(p)
#endif
#define BENCH_MALLOC(T) ((T *)malloc(sizeof(T)))
#define bench_malloc    malloc
#define bench_calloc    calloc
#define bench_realloc   realloc
#define bench_free      free
#endif

#endif
