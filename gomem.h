/* SPDX-License-Identifier: MIT OR Unlicense
 *
 * gomem.h - Go's memory management for C programs, in one C11 header.
 *
 *   malloc           gomem_malloc, GOMEM_MALLOC: inlined, lock-free between threads, never scanned
 *   collected heap   GOMEM_NEW: zeroed, never freed by you. The collector runs beside the program
 *                    and needs no write barrier.
 *   hot loops        pools reuse objects, at a pop and a push each; arenas free everything at once
 *   introspection    memstats, one trace line per collection in Go's format, why an object lives
 *
 * DO THIS
 *     In one .c file of the program:            In every other file:
 *         #define GOMEM_IMPLEMENTATION              #include "gomem.h"
 *         #include "gomem.h"
 *     and link with -pthread. Nothing has to be called first.
 *
 * IT NEEDS
 *   Linux, gcc or clang, C11 for the implementation; other files may be C++11 or later. The default
 *   collector needs Linux 6.7. On older kernels, or if a sandbox refuses userfaultfd, marking stops
 *   the program. The manual heap, pools and arenas need neither.
 *
 * AN EXAMPLE
 *     #define GOMEM_IMPLEMENTATION
 *     #include "gomem.h"
 *     #include <stdio.h>
 *
 *     typedef struct node { struct node *next; long value; } node;
 *
 *     int main(void) {
 *         long sum = 0;
 *         for (int round = 0; round < 1000; round++) {
 *             node *list = NULL;
 *             for (long i = 0; i < 10000; i++) {
 *                 node *n = GOMEM_NEW(node);      // zeroed; nobody frees it
 *                 if (!n) return 1;               // out of memory: NULL, errno ENOMEM
 *                 n->value = i;
 *                 n->next = list;
 *                 list = n;
 *             }
 *             sum += list->value;                 // from here on this list is garbage
 *         }
 *         printf("%ld\n", sum);
 *     }
 *   Run it with GOMEM_DEBUG=gctrace=1 to see the collections.
 *
 * CONCEPTS
 *   Lifetime: NEW and MAKE are collected, MALLOC is manual, everywhere.
 *   Scanning: memory that the collector frees is scanned unless it is NOSCAN. Memory that you free
 *   is not scanned.
 *   A collected object lives while a pointer to it, or into it, is in a root or a scanned object.
 *   Roots are
 *     - stacks, registers and thread-local storage of attached threads (with glibc also the values
 *       of pthread_setspecific);
 *     - writable data of the program and its shared objects;
 *     - registered ranges and stacks, and what the functions of gomem_add_root_fn name;
 *     - scanned objects that are uncollectable.
 *   NOT roots are
 *     - manual memory, and what malloc returns, with the override or without it: C++ containers,
 *       exceptions in flight, the arguments of a std::thread;
 *     - mappings of mmap, and hidden pointers (xor, files, other processes);
 *     - unaligned words: a pointer in a packed struct, or cut in two, keeps nothing alive.
 *   Addresses never change. Interior pointers keep an object alive, so up to 3 low tag bits are
 *   allowed. So does a pointer one past the end of an array: MAKE, flexible arrays, sizes without a
 *   type, realloc, and a T of 128 bytes or more have a spare byte at their end. One past the end of
 *   a smaller T may be the start of the next object, and then keeps that one.
 *   An object can have a finalizer, cleanups, a weak pointer and a reference count. They are stored
 *   beside the heap and cost nothing until an object dies. Finalizers and cleanups run on a thread
 *   of their own, never in an allocation.
 *   A pool is for objects that are made and dropped all the time: requests, buffers, nodes. An
 *   arena is for objects that die together: a request, a frame, a parsed file. Both are manual
 *   memory, so they are not scanned. With GOMEM_SCAN they are roots: the used part of an arena, and
 *   all objects of a pool, idle ones too.
 *   In strided loops a compiler may keep only a pointer that lies outside of the array on either
 *   side (strength reduction): put GOMEM_KEEP_ALIVE(base) after such a loop, or compile it with
 *   -fno-ivopts.
 *
 * THE API BY TOPIC (the declarations below say units, errors, thread safety and cost)
 *   collected heap   GOMEM_NEW GOMEM_MAKE GOMEM_NEW_FLEX and their _NOSCAN and _TYPED forms,
 *                    gomem_new gomem_new_noscan gomem_new_typed gomem_new_with gomem_new_string
 *   types            GOMEM_TYPE GOMEM_TYPE_NOPTR GOMEM_TYPE_FLEX GOMEM_TYPE_MARK gomem_mark
 *   manual heap      GOMEM_MALLOC GOMEM_MALLOC_N GOMEM_FREE gomem_malloc gomem_calloc
 *                    gomem_aligned_alloc gomem_strdup gomem_strndup gomem_free_sized
 *   both             gomem_free gomem_realloc GOMEM_RESIZE gomem_usable_size gomem_base
 *   collector        gomem_gc gomem_gc_start gomem_gc_work gomem_gc_hold gomem_gc_unhold
 *                    gomem_set_gc_percent gomem_set_memory_limit
 *                    gomem_free_os_memory gomem_add_root gomem_remove_root gomem_add_stack
 *                    gomem_remove_stack gomem_stack_parked gomem_stack_saved_at gomem_each
 *                    gomem_add_root_fn gomem_remove_root_fn gomem_mark_range gomem_stack_new
 *                    gomem_stack_base gomem_stack_size gomem_stack_free GOMEM_KEEP_ALIVE
 *   when it dies     gomem_set_finalizer gomem_get_finalizer gomem_add_cleanup
 *                    gomem_cancel_cleanup gomem_run_finalizers gomem_weak_make gomem_weak_get
 *                    gomem_rc_new gomem_rc_retain gomem_rc_release
 *   pools            GOMEM_POOL GOMEM_POOL_SCAN GOMEM_POOL_DECLARE GOMEM_POOL_DEFINE
 *                    GOMEM_POOL_DEFINE_SCAN GOMEM_POOL_OF gomem_pool_new gomem_pool_get
 *                    gomem_pool_put gomem_pool_get_n gomem_pool_put_n gomem_pool_reserve
 *                    gomem_pool_read_stats gomem_pool_destroy
 *   arenas           GOMEM_ARENA_NEW GOMEM_ARENA_MAKE GOMEM_ARENA_TEMP GOMEM_ARENA_SCOPE
 *                    gomem_arena_alloc gomem_arena_alloc_with gomem_arena_resize
 *                    gomem_arena_strdup gomem_arena_printf gomem_arena_vprintf
 *                    gomem_arena_save gomem_arena_restore gomem_arena_reset gomem_arena_free
 *                    gomem_arena_init gomem_arena_on_reset gomem_arena_absorb
 *                    gomem_arena_read_stats gomem_scratch
 *   escape hints     GOMEM_STACK GOMEM_HINT GOMEM_ESCAPE
 *   stores           GOMEM_STORE GOMEM_STORE_ATOMIC GOMEM_EXCHANGE GOMEM_CAS gomem_memmove
 *   life cycle       gomem_init gomem_shutdown gomem_version gomem_thread_create
 *                    gomem_thread_join gomem_thread_exit gomem_thread_attach
 *                    gomem_thread_detach gomem_blocking_begin gomem_blocking_end
 *   seeing it        gomem_read_memstats gomem_heap_size gomem_heap_free gomem_total_alloc
 *                    gomem_num_gc gomem_reason_text gomem_verify gomem_why
 *                    GOMEM_DEBUG=gctrace=1
 *
 * OPTIONS (macros; the same ones in every file that includes the header)
 *   GOMEM_STATIC            everything is static in this file, the implementation too: a heap of
 *                           its own, for a program of one file
 *   GOMEM_DEF               decoration of public functions; default: hidden visibility
 *   GOMEM_CHECK             0 cheap checks (default), 1 asserts and immediate double-free checks,
 *                           2 lock ranks and fill patterns, 3 verification at every cycle
 *   GOMEM_THREADS           pthread_create, _join, _exit, _detach, _sigmask, sigprocmask,
 *                           sigaction, sigwait and its family, sigsuspend, ppoll, pselect,
 *                           epoll_pwait, epoll_pwait2, signalfd, setcontext and swapcontext become
 *                           macros. Threads then attach before they run, arguments and results are
 *                           kept alive, and the stop signal stays out of masks. Define it before
 *                           this header in each file that uses threads or signals (from ppoll on
 *                           they want _GNU_SOURCE).
 *   GOMEM_TLS_DYNAMIC       for plugins opened with dlopen: no initial-exec thread-local storage
 *   GOMEM_MALLOC_OVERRIDE   the implementation also defines malloc, free and the rest of the family
 *   GOMEM_NO_COLLECTOR      no collected heap, no collector, no escape hints
 *   GOMEM_NO_POOL           no pools
 *   GOMEM_NO_ARENA          no arenas
 *   GOMEM_NO_ESCAPE         no escape hints
 *   GOMEM_NO_REPORT         no gctrace, no gomem_why
 *   GOMEM_STACK_MAX         the most bytes of a stack hint that go on the stack (4096)
 *   GOMEM_STACK_RESERVE     bytes of a thread's stack that hints always leave free (65536)
 *   GOMEM_ASSERT(c) GOMEM_LOG(line) GOMEM_PANIC(line) and the system calls GOMEM_MMAP GOMEM_MUNMAP
 *   GOMEM_MREMAP GOMEM_MPROTECT GOMEM_MADVISE GOMEM_SYSCALL GOMEM_SIGACTION GOMEM_PTHREAD_CREATE
 *   GOMEM_PTHREAD_KEY_CREATE GOMEM_GETENV GOMEM_CLOCK GOMEM_IOCTL are seams: each can be defined
 *   before the implementation is included.
 *
 * ENVIRONMENT (read once, at the first use; never in a setuid program)
 *   GOMEM_GOGC=100|off      how far the heap may grow between collections, in percent of what lives
 *   GOMEM_MEMLIMIT=512MiB   soft limit on all memory: collections keep to it where twice the live
 *                           memory fits. auto: 90 % of what the control group (version 2 or 1) may
 *                           have
 *   GOMEM_HARDLIMIT=1GiB    above it allocation returns NULL, after an emergency collection; auto
 *   GOMEM_RESERVE=1GiB      the most address space that the heap may have, as options.reserve. It
 *                           is taken as the heap grows, but all at once if it is over 1TiB, with
 *                           sanitizers, and on 32 bits
 *   GOMEM_DEBUG=key=value,… gctrace=1 one line per collection · collector=tracked|barrier|stw ·
 *                           verify=1 verify after each · stats=1 memstats at exit · poison=1 fill
 *                           freed memory · lost=1 name unscanned words that point to what is
 *                           freed · escape=1 where stack hints went, by call site, at exit
 *
 * THREE COLLECTORS (options.collector; default: tracked if the kernel can do it, else stw)
 *   tracked   Marks beside the program; the kernel reports which pages are written meanwhile. Asks
 *             nothing of the program. The first write to an old page after a cycle has begun costs
 *             about 1 us. There are two stops. The first takes some 20 us. The last one grows with
 *             the mapped heap that may hold pointers (0.4 us per MB on one processor), with what
 *             was written last, and with stacks. Unless tracked is asked for by name, a heap under
 *             2 MiB is marked in one stop.
 *   barrier   The same, but every store of a collected pointer into heap, globals and roots goes
 *             through GOMEM_STORE and its family, and memcpy of pointers through gomem_memmove. The
 *             last stop then grows with the roots alone.
 *   stw       Marks in one stop, with all processors.
 *   The last stop has a budget, which doubles from 500 us to 4 ms. If it is exceeded, the program
 *   runs on, and marking goes on beside it. The sixth try ends the cycle, whatever it takes.
 *
 * GUARANTEES AND LIMITS
 *   A program that never uses the collected heap gets no thread and no signal handler. One that
 *   does gets one background thread, another one when the first finalizer is due, and marking
 *   threads up to the number of processors (16 at most).
 *   It also gets one real-time signal: the highest that is at its default, else one that is
 *   ignored. If the program handles all of them, GOMEM_NEW returns NULL and one line says so. The
 *   handler has SA_RESTART; calls such as poll and nanosleep still return EINTR. Do not leave a
 *   signal handler by siglongjmp when it may have interrupted this library.
 *   A thread that masks the stop signal and does not allocate keeps every cycle from ending. The
 *   others run on, the heap grows, and after a second one line names the thread. GOMEM_THREADS
 *   keeps the signal out of masks.
 *   A large object (over 32 KiB) that would carry the heap past 1.1 of its goal waits for a cycle.
 *   fork waits for a stop, but not for a cycle, which goes on in the parent and not in the child. A
 *   signal handler may fork anywhere. If it has interrupted this library, or if a callback of a
 *   cycle forks, the child may only exec or call _exit.
 *   A thread in vfork, posix_spawn or system cannot answer a stop: surround long ones with
 *   gomem_blocking_begin and gomem_blocking_end.
 *
 * SYSTEM CALLS (if a filter refuses one with an error, there is a fallback; a filter that kills
 * must allow those of the mode; GOMEM_DEBUG=collector=stw or barrier needs the fewest)
 *   manual heap, pools, arenas   mmap munmap mprotect madvise mremap mincore futex gettid getpid
 *                                prlimit64; seldom openat read close statx (cgroup, with auto)
 *                                and sched_getaffinity (gomem_read_memstats)
 *   and with collected memory    rt_sigaction rt_sigprocmask rt_sigreturn tgkill clone or clone3
 *                                sched_getaffinity sched_yield process_vm_readv membarrier msync
 *                                openat read close statx lseek ioctl (files of /proc)
 *   and tracked                  userfaultfd ioctl fcntl memfd_create ftruncate; munlock (only
 *                                after mlockall)
 *
 * UNDER OTHER TOOLS
 *   Compile all files of a program with -fsanitize=address, or none. Nothing is inlined then. Each
 *   object is followed by 16 bytes that belong to no object. Freed memory stays poisoned: a manual
 *   object until 16 MiB of others were freed, a collected one until its slot is reused. Reports say
 *   heap-buffer-overflow and heap-use-after-free. gomem_usable_size is the size that was asked for,
 *   and gomem_realloc moves. From GOMEM_CHECK=1 on Valgrind sees the same, but not in memory that
 *   the collector scans.
 *
 * WHAT IT DOES NOT DO
 *   It does not move objects, collect memory that malloc returned, find hidden pointers, run in
 *   signal handlers, or support systems other than Linux (x86-64, arm64; on 32 bits the manual heap
 *   only).
 *
 * ERRORS
 *   Out of memory, overflow of n x size, a size over PTRDIFF_MAX: NULL and errno ENOMEM, after an
 *   emergency collection. A thread whose last four emergency collections freed nothing spends at
 *   most a fifth of its time in further ones. Bad alignment or flags: NULL and EINVAL. Proven
 *   misuse (double free, foreign or interior pointers): one line that says what, where and what to
 *   do, then GOMEM_PANIC.
 *
 * MORE
 *   The repository's README.md has a troubleshooting table; examples/README.md lists examples by
 *   topic, and guides to porting, threads and the collector.
 *
 * MAP OF THE HOUSE (each room calls only rooms above it, others by hooks)
 *   floor 1  base      attributes, bits, checked arithmetic, atomics, text, messages
 *            os        pages, clock, files, write tracking, signals, registers, wait and wake
 *            sync      library sections, ranked locks
 *            stats     sharded counters: write side only
 *   floor 2  sizes     class tables
 *            pages     the heap's range, page bitmaps, metadata, word to page
 *            span      span records, bitmaps, word to object
 *            heap      spans in and out, large objects, giving back
 *            central   per-class sets of spans: lists, no policy
 *   floor 3  types     type descriptors and shapes
 *            special   side records: finalizers, cleanups, weak pointers, counts
 *            guard     proof of misuse
 *   floor 4  pacer     when to collect: pure arithmetic
 *            mark      shade, scan, drain, termination
 *            writes    what was written while marking: kernel, barrier, stop
 *            sweep     marked spans become allocatable again
 *            cache     a thread's magazines and runs, the depot
 *            runtime   the records of threads and of what all threads share
 *            settings  GOMEM_DEBUG and the other variables of the environment
 *            world     attach, stop, fork
 *            roots     where marking starts
 *            finalize  what becomes of the unreached, and the thread that runs callbacks
 *            paths     who points at what: from roots to an object, from manual memory
 *            workers   the threads that mark, and marking from the listed roots
 *            oracle    a second, serial mark, compared bit by bit with the first
 *            gc        the cycle, its stops, its report, verification of the heap
 *            schedule  when a cycle runs: the background thread, assists, waiting
 *   floor 5  alloc     the public allocation functions
 *            block     whole pages for pools and arenas
 *            control   cycles, roots, stacks of coroutines, walking the heap
 *            init      options, start and shutdown
 *            thread    attach, blocking regions, created threads, signal masks
 *            lifetime  finalizers, cleanups, weak pointers, counts: the public functions
 *            pool      objects that are used again
 *            arena     memory that goes all at once
 *            escape    stack or heap: hints, their report, pointers to dead frames
 *            report    memstats, verify, why, giving back, stats at exit
 *            override  malloc and its family
 */
// What cannot work ends here, with one message: the missing file stops the compiler.
#if !defined(__linux__)
#error "gomem.h supports Linux only"
#include "gomem.h-supports-Linux-only"
#elif defined(__cplusplus) && (defined(GOMEM_IMPLEMENTATION) || defined(GOMEM_STATIC))
#error "gomem.h: define GOMEM_IMPLEMENTATION in a .c file; C++ files include the declarations only"
#include "gomem.h-needs-a-C-file-for-its-implementation"
#elif defined(__x86_64__) && defined(__ILP32__)
#error "gomem.h does not support x32: build for x86-64 (-m64) or i386 (-m32)"
#include "gomem.h-does-not-support-x32"
#elif defined(__cplusplus) ? __cplusplus < 201103L : __STDC_VERSION__ + 0 < 201112L
#error "gomem.h needs C11 or C++11 or later"
#include "gomem.h-needs-C11-or-C++11"
#endif

#if (defined(GOMEM_IMPLEMENTATION) || defined(GOMEM_STATIC)) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1
#if defined(_FEATURES_H) // a system header came first: let the following ones see the whole system
#if defined(_BITS_PTHREADTYPES_COMMON_H) && !defined(__USE_XOPEN2K)
#define GOMEM_I_NO_SPINLOCK // glibc's types were read in a mode that has not all of them
#if !defined(__USE_UNIX98)
#define GOMEM_I_NO_RWLOCK
#endif
#endif
#undef _FEATURES_H
#include <features.h>
#if !defined(SA_RESTART) // read again what lacks the names that are needed
#undef _SIGNAL_H
#endif
#if !defined(CLOCK_MONOTONIC) && defined(__GLIBC__) // musl's cannot be read twice
#undef _TIME_H
#undef _BITS_TIME_H
#endif
#if !defined(LM_ID_BASE) && defined(__GLIBC__)
#undef _DLFCN_H
#endif
#endif
#endif

#ifndef GOMEM_H_INCLUDED
#define GOMEM_H_INCLUDED

/* ==========================================================================================
 * >>config
 * ========================================================================================== */
#define GOMEM_VERSION_MAJOR 0
#define GOMEM_VERSION_MINOR 1
#define GOMEM_VERSION_PATCH 0

#if defined(GOMEM_STATIC) && !defined(GOMEM_IMPLEMENTATION)
#define GOMEM_IMPLEMENTATION
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(GOMEM_CHECK)
#define GOMEM_I_CHECK 0
#elif GOMEM_CHECK + 0 >= 3
#define GOMEM_I_CHECK 3
#elif GOMEM_CHECK + 0 == 2
#define GOMEM_I_CHECK 2
#elif GOMEM_CHECK + 0 == 1
#define GOMEM_I_CHECK 1
#else
#define GOMEM_I_CHECK 0
#endif

#if defined(GOMEM_NO_COLLECTOR)
#define GOMEM_I_COLLECTOR 0
#else
#define GOMEM_I_COLLECTOR 1
#endif

#if defined(GOMEM_NO_REPORT)
#define GOMEM_I_REPORT 0
#else
#define GOMEM_I_REPORT 1
#endif

#if defined(GOMEM_NO_POOL)
#define GOMEM_I_POOL 0
#else
#define GOMEM_I_POOL 1
#endif

#if defined(GOMEM_NO_ARENA)
#define GOMEM_I_ARENA 0
#else
#define GOMEM_I_ARENA 1
#endif

#if defined(GOMEM_NO_ESCAPE) || defined(GOMEM_NO_COLLECTOR)
#define GOMEM_I_ESCAPE 0
#else
#define GOMEM_I_ESCAPE 1
#endif

// Stack hints: the size in bytes of the largest one that goes on the stack, and the bytes of a
// thread's stack that hints always leave free. Hints use at most a quarter of a stack.
#if !defined(GOMEM_STACK_MAX)
#define GOMEM_STACK_MAX 4096
#endif
#if !defined(GOMEM_STACK_RESERVE)
#define GOMEM_STACK_RESERVE 65536
#endif

// Set if this file is compiled with AddressSanitizer: free memory is then poisoned, and every call
// takes the slow path.
#if defined(__SANITIZE_ADDRESS__)
#define GOMEM_I_POISONED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GOMEM_I_POISONED 1
#endif
#endif
#if !defined(GOMEM_I_POISONED)
#define GOMEM_I_POISONED 0
#endif

// Where each object has to be checked, every call takes the slow path.
#define GOMEM_I_SLOW (GOMEM_I_CHECK || GOMEM_I_POISONED)

// The name of the thread-local pointer holds the options that all files of a link must share. If
// no file has the implementation, if two have it, or if two files disagree, then the program does
// not link, and the linker's message shows this name.
// clang-format off
#define GOMEM_I_PASTE(a, b, c, d, e, f, g, h, i) \
    gomem_i_GOMEM_IMPLEMENTATION_in_exactly_one_c_file_with_v ## a ## _ ## b ## _check ## c ## \
    _collector ## d ## _report ## e ## _pool ## f ## _arena ## g ## _escape ## h ## _asan ## i
#define GOMEM_I_TAG(a, b, c, d, e, f, g, h, i) GOMEM_I_PASTE(a, b, c, d, e, f, g, h, i)
#define GOMEM_I_TLS                                                                         \
    GOMEM_I_TAG(GOMEM_VERSION_MAJOR, GOMEM_VERSION_MINOR, GOMEM_I_CHECK, GOMEM_I_COLLECTOR, \
                GOMEM_I_REPORT, GOMEM_I_POOL, GOMEM_I_ARENA, GOMEM_I_ESCAPE, GOMEM_I_POISONED)
// clang-format on

#if defined(GOMEM_STATIC)
#define GOMEM_I_LINKAGE static __attribute__((unused))
#else
#define GOMEM_I_LINKAGE extern __attribute__((visibility("hidden")))
#endif
#if defined(GOMEM_STATIC) || !defined(GOMEM_DEF)
#undef GOMEM_DEF
#define GOMEM_DEF        GOMEM_I_LINKAGE
#define GOMEM_I_VARIABLE GOMEM_I_LINKAGE
#else
#define GOMEM_I_VARIABLE extern __attribute__((visibility("default")))
#endif

#if defined(__cplusplus)
#define GOMEM_I_THREAD     __thread
#define GOMEM_I_ALIGNOF(T) alignof(T)
#else
#define GOMEM_I_THREAD     _Thread_local
#define GOMEM_I_ALIGNOF(T) _Alignof(T)
#endif
#if defined(GOMEM_TLS_DYNAMIC) || defined(GOMEM_STATIC)
#define GOMEM_I_TLS_MODEL
#else
#define GOMEM_I_TLS_MODEL __attribute__((tls_model("initial-exec")))
#endif

#define GOMEM_I_INLINE      static inline __attribute__((always_inline, unused))
#define GOMEM_I_UNUSED      __attribute__((unused))
#define GOMEM_I_LIKELY(c)   __builtin_expect(!!(c), 1)
#define GOMEM_I_UNLIKELY(c) __builtin_expect(!!(c), 0)
#define GOMEM_I_SIZED(...)  __attribute__((alloc_size(__VA_ARGS__), warn_unused_result))
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
#define GOMEM_I_MALLOC __attribute__((malloc, malloc(gomem_free, 1), malloc(gomem_free_sized, 1)))
#else
#define GOMEM_I_MALLOC __attribute__((malloc))
#endif

// clang-format off
#define GOMEM_CLASSES 85                            /* size classes, 8 to 32768 bytes            */
#define GOMEM_MAX_SMALL 32768                       /* bytes; a larger object has its own span   */
enum {
    GOMEM_NOSCAN = 1,                               /* holds no pointers: never scanned          */
    GOMEM_UNCOLLECTABLE = 2,                        /* lives until gomem_free; is a root         */
    GOMEM_UNINIT = 4,                               /* not zeroed; with NOSCAN, or in arenas     */
    GOMEM_SCAN = 8                                  /* pool, arena: may hold collected pointers  */
};
enum { GOMEM_GC_OFF = -1 };                         /* for gc_percent                            */
enum { /* for gomem_options.collector */
    GOMEM_GC_AUTO = 0,    /* tracked if the kernel supports it, otherwise stw */
    GOMEM_GC_TRACKED = 1, /* concurrent; the kernel reports which pages were written */
    GOMEM_GC_BARRIER = 2, /* concurrent; GOMEM_STORE and its family report stores */
    GOMEM_GC_STW = 3      /* stop the world: all marking happens in one stop */
};
enum { GOMEM_EVENT_BEGIN = 1, GOMEM_EVENT_STOPPED, GOMEM_EVENT_RESUMED, GOMEM_EVENT_END };
enum { /* gomem_memstats.collector_reason and .last_veto; gomem_reason_text explains each one */
    GOMEM_REASON_NONE = 0,
    /* why writes are not tracked, so that AUTO is stw */
    GOMEM_REASON_KERNEL,      /* the kernel is older than Linux 6.7, or lacks the feature     */
    GOMEM_REASON_USERFAULTFD, /* the call is refused, as by Docker's default profile          */
    GOMEM_REASON_IOCTL,       /* an ioctl on userfaultfd or on pagemap is refused             */
    GOMEM_REASON_PROC,        /* /proc/thread-self/pagemap does not exist                     */
    GOMEM_REASON_SETUID,      /* pagemap belongs to root: the process changed its user before */
    GOMEM_REASON_DESCRIPTORS, /* the process has no file descriptor left                      */
    GOMEM_REASON_MADVISE,     /* the system call is refused                                   */
    GOMEM_REASON_MEMORY,      /* out of memory; also why a cycle was given up                 */
    /* why a cycle was given up */
    GOMEM_REASON_STACK,       /* a thread ran on a stack that was not registered              */
    GOMEM_REASON_LOADER,      /* shared objects were loaded or unloaded at each try           */
    GOMEM_REASON_THREAD       /* a thread did not stop                                        */
};
// clang-format on

/* ==========================================================================================
 * >>api
 * ========================================================================================== */
#if defined(__cplusplus)
extern "C" {
#endif

// Returns the version of the implementation, "MAJOR.MINOR.PATCH". Any thread; constant time.
GOMEM_DEF const char *gomem_version(void);

/* ---- life cycle and settings -------------------------------------------------------------- */

// clang-format off
typedef struct gomem_options {                      /* {0} is the default for every field        */
    int       gc_percent;                           /* 0: GOMEM_GOGC or 100; GOMEM_GC_OFF: off   */
    size_t    memory_limit;                         /* bytes; 0: GOMEM_MEMLIMIT or no limit      */
    size_t    hard_limit;                           /* bytes; NULL above; 0: GOMEM_HARDLIMIT     */
    int       collector;                            /* GOMEM_GC_AUTO, _TRACKED, _BARRIER, _STW   */
    int       mark_workers;                         /* 0: by the number of processors            */
    size_t    reserve;                              /* bytes of address space at most; 0: 1 TiB  */
    int       stop_signal;                          /* 0: an unused real-time signal. SIGURG is  */
                                                    /* harmless if its handler is reset          */
    int       force_period_ms;                      /* most between cycles; 0: 120000 (Go's),    */
                                                    /* -1: no limit                              */
    uintptr_t pointer_mask;                         /* ANDed with every scanned word; 0: no mask */
    bool      finalizers_by_hand;                   /* only gomem_run_finalizers runs callbacks  */
    bool      unordered;                            /* see gomem_set_finalizer                   */
    bool (*oom)(size_t size, void *user);           /* true: try again; false: return NULL       */
    void (*warn)(const char *line, void *user);     /* default: standard error                   */
    void (*panic)(const char *line, void *user);    /* proven misuse; default: print, abort      */
    void (*event)(int what, uint64_t ns, void *user); /* GOMEM_EVENT_…; threads are running */
    void     *user;                                 /* passed to the callbacks                   */
} gomem_options;
// clang-format on

// Optional: sets what the first use would otherwise read from the environment. May be called again;
// fields that are 0 keep their value. False with errno: EALREADY (a field differs that can no
// longer change), EINVAL, ENOMEM. Any thread.
GOMEM_DEF bool gomem_init(const gomem_options *options);

// Ends the library and returns all memory to the system. No other thread may use gomem meanwhile.
// All pointers become invalid; freeing one does nothing, and allocation returns NULL with ESHUTDOWN
// until the next gomem_init. No thread, signal handler or thread-local key of the library remains,
// so a plugin may be unloaded, and threads that used it may end later. Called in a callback of
// dl_iterate_phdr while the collector's thread waits for the loader's lock, which that callback
// holds, it only warns.
GOMEM_DEF void gomem_shutdown(void);

// pthread_create(pthread_t *thread, const pthread_attr_t *attr, fn, arg) that attaches the new
// thread before fn runs. arg keeps its object alive until then, and the result of fn keeps its
// object alive until the thread is joined. Returns pthread_create's error number. Any thread; about
// 20 us.
// Plain pthread_create, and std::thread of C++, hold arg and the result only in libc's memory,
// which is not scanned. The program must hold these objects elsewhere: that of arg until the new
// thread has allocated or attached, that of the result until the join.
GOMEM_DEF int gomem_thread_create(void *thread, const void *attr, void *(*fn)(void *), void *arg);

// pthread_join(*(pthread_t *)thread, result). The library keeps the result alive up to this call;
// after a plain pthread_join, until the system uses the pthread_t again. Returns pthread_join's
// error number. Any thread.
GOMEM_DEF int gomem_thread_join(const void *thread, void **result);

// pthread_exit(result) that keeps the result's object alive until the thread is joined. A plain
// pthread_exit does not.
GOMEM_DEF void gomem_thread_exit(void *result) __attribute__((noreturn));

// Registers the calling thread with the collector. Its first allocation does so too; a thread that
// is given collected pointers before it allocates must call this first. False: ENOMEM. About 20 us.
GOMEM_DEF bool gomem_thread_attach(void);

// Unregisters the calling thread and returns its caches to the heap. The end of a thread does so
// too, in the third round of its key destructors. Code that runs later may allocate, but the stack
// and the values of keys are no longer roots.
GOMEM_DEF void gomem_thread_detach(void);

// A blocking region, as around poll, read or pthread_cond_wait. Between begin and end the thread
// must not touch collected memory; a collection scans its stack as it is and sends it no signal.
// Regions nest. A thread that leaves one by longjmp, by an exception or by cancellation must call
// gomem_blocking_end before it touches collected memory again, for example in a cleanup handler.
// The end of a thread ends its regions: before all destructors of keys in threads made by
// gomem_thread_create, in others before those of keys that are younger than the library's.
// Manual memory may be used inside. GOMEM_NEW and its family, and gomem_realloc of a collected
// object, are misuse there: check level 1 reports each, level 0 those that miss the inlined path.
// Any thread; about 20 ns.
GOMEM_DEF void gomem_blocking_begin(void);
GOMEM_DEF void gomem_blocking_end(void);

// GOMEM_THREADS maps pthread_detach, pthread_sigmask and sigprocmask (which sets errno),
// sigsuspend, sigtimedwait and sigwaitinfo (time NULL), and sigaction to these. They differ from
// the originals in three points: the stop signal is never masked or waited for, a thread that waits
// for signals counts as stopped, and the handler of the stop signal cannot be replaced (EINVAL).
// gomem_i_open_mask serves calls that take a mask, such as ppoll: it copies *mask without the stop
// signal to *own (both sigset_t; may be the same) and returns own, or NULL if mask is NULL.
GOMEM_DEF int gomem_i_thread_detached(const void *thread);
GOMEM_DEF int gomem_i_sigsuspend(const void *mask);
GOMEM_DEF int gomem_i_sigtimedwait(const void *set, void *info, const void *time);
GOMEM_DEF int gomem_i_sigmask(int how, const void *set, void *old);
GOMEM_DEF int gomem_i_sigaction(int number, const void *action, void *old);
GOMEM_DEF const void *gomem_i_open_mask(const void *mask, void *own);

/* ---- memory of either heap ------------------------------------------------------------------ */

// Frees an object of either heap; NULL does nothing. Collected objects need not be freed. Panics if
// p is not the start of a live object. Any thread; 2 ns for manual objects.
GOMEM_DEF void gomem_free(void *p);

// Resizes p to `size` bytes, keeps its kind (p NULL: manual) and returns its new address. The added
// part of a collected object is zeroed. NULL with ENOMEM on failure: p stays valid. Size 0 gives a
// unique pointer. The object stays in place if its class or the free pages after it allow that, but
// always moves under AddressSanitizer and valgrind. Any thread.
GOMEM_DEF void *gomem_realloc(void *p, size_t size) GOMEM_I_SIZED(2);

// gomem_free(p). size is ignored: the page descriptor knows it. Any thread.
GOMEM_DEF void gomem_free_sized(void *p, size_t size);

// Returns the bytes usable at p, the start of an object: the size of its slot, or under
// AddressSanitizer or valgrind the size requested (1 for 0). 0 if p is NULL or not from gomem. Any
// thread; some ns.
GOMEM_DEF size_t gomem_usable_size(const void *p);

// Returns the start of the object that p points into, or NULL. A freed manual slot counts while a
// magazine holds it. Any thread, also in a signal handler; some ns.
GOMEM_DEF void *gomem_base(const void *p);

/* ---- manual heap ---------------------------------------------------------------------------- */

// Memory that is not collected, not scanned, and not zeroed (except calloc's). Aligned to 16 from
// size 9 up, to 8 below. Size 0 gives a unique pointer. NULL with ENOMEM if memory is exhausted or
// n x size overflows. Any thread; 1 ns.
GOMEM_DEF void *gomem_malloc(size_t size) GOMEM_I_MALLOC GOMEM_I_SIZED(1);
GOMEM_DEF void *gomem_calloc(size_t n, size_t size) GOMEM_I_MALLOC GOMEM_I_SIZED(1, 2);

// gomem_malloc with any power of two as alignment; NULL with EINVAL for other values.
GOMEM_DEF void *gomem_aligned_alloc(size_t align, size_t size) GOMEM_I_MALLOC GOMEM_I_SIZED(2);

// Manual copies of s, of at most n bytes and a NUL; free them with gomem_free. NULL: ENOMEM.
GOMEM_DEF char *gomem_strdup(const char *s) GOMEM_I_MALLOC;
GOMEM_DEF char *gomem_strndup(const char *s, size_t n) GOMEM_I_MALLOC;

/* ---- memstats ------------------------------------------------------------------------------- */

// clang-format off
typedef struct gomem_class_stats { uint64_t size, mallocs, frees; } gomem_class_stats;
typedef struct gomem_memstats {                     /* Go's MemStats; bytes unless said otherwise*/
    uint64_t size, version;                         /* the caller sets size to sizeof *m         */
    uint64_t alloc, total_alloc;                    /* in live or cached objects; ever allocated */
    uint64_t sys;                                   /* from the system: heap and metadata        */
    uint64_t lookups;                               /* 0, as in Go                               */
    uint64_t mallocs, frees;                        /* objects                                   */
    uint64_t heap_alloc, heap_sys, heap_idle, heap_inuse, heap_released;
    uint64_t heap_objects;                          /* mallocs - frees                           */
    uint64_t stack_inuse, stack_sys;                /* attached threads' stacks at last cycle    */
    uint64_t mspan_inuse, mspan_sys, mcache_inuse, mcache_sys, buck_hash_sys, gc_sys, other_sys;
    uint64_t next_gc, last_gc;                      /* heap goal; ns since 1970, 0: no cycle yet */
    uint64_t pause_total_ns;
    uint64_t pause_ns[256], pause_end[256];         /* rings; latest at (num_gc + 255) % 256     */
    uint64_t num_gc, num_forced_gc;
    double   gc_cpu_fraction;
    uint64_t enable_gc, debug_gc;
    gomem_class_stats by_size[GOMEM_CLASSES + 1];   /* [0]: large objects                        */
    uint64_t threads, collector, rounds, dirty_pages;
    uint64_t pause_p50_ns, pause_p99_ns, pause_p999_ns, pause_max_ns; /* of the last 256 stops   */
    uint64_t gather_p50_ns, gather_p99_ns, gather_p999_ns, gather_max_ns; /* to stop all threads */
    uint64_t stops_withdrawn;                       /* a thread took over 1 ms; tried again      */
    uint64_t collector_reason;                      /* GOMEM_REASON_: why not tracked; 0: it is, */
                                                    /* or another was chosen by name             */
    uint64_t cycles_vetoed;                         /* given up: no stop, or unknown roots       */
    uint64_t last_veto;                             /* GOMEM_REASON_ of the latest such cycle, or*/
                                                    /* of a failed try that was made up for      */
} gomem_memstats;
// clang-format on

// Returns a sentence for one of GOMEM_REASON_…: what is wrong and what to do. Never NULL. Any
// thread.
GOMEM_DEF const char *gomem_reason_text(uint64_t reason);

// Fills the first m->size bytes of *m. Counts of collected objects are exact up to each thread's
// last refill. Manual objects are counted when their magazine is exchanged, so alloc includes free
// objects in caches. Any thread; microseconds.
GOMEM_DEF void gomem_read_memstats(gomem_memstats *m);

// The next four are for programs that poll: they do not walk the counters of all threads. Any
// thread, no lock, 1 ns. 0 before the first use and after gomem_shutdown.

// Bytes of the heap that the system backs: pages in use, and free pages that have not been given
// back (heap_sys - heap_released).
GOMEM_DEF size_t gomem_heap_size(void);
// The part of gomem_heap_size that is free pages (heap_idle - heap_released). Free slots in used
// pages are not in it; they are in heap_inuse - heap_alloc.
GOMEM_DEF size_t gomem_heap_free(void);
// Bytes allocated since the start, freed or not: memstats' total_alloc, less up to 64 KiB for each
// thread other than the caller.
GOMEM_DEF uint64_t gomem_total_alloc(void);
// Collections that have ended (num_gc).
GOMEM_DEF uint64_t gomem_num_gc(void);

// Stops the threads and checks the invariants of the heap. False: one line says what is broken; or
// errno is EAGAIN, because a thread did not stop within a second, or because the caller is in a
// callback of dl_iterate_phdr and a cycle waits for the lock that it holds. Any thread; time grows
// with the heap.
GOMEM_DEF bool gomem_verify(void);

// Collects, trims caches (those of other threads at their next slow path) and gives free pages back
// to the system. Returns how many bytes it gave back. Any thread; takes a collection.
GOMEM_DEF size_t gomem_free_os_memory(void);

#if GOMEM_I_COLLECTOR
/* ---- collected heap ------------------------------------------------------------------------- */

// clang-format off
typedef struct gomem_marker gomem_marker;
typedef struct gomem_field { uint32_t offset, words; } gomem_field; /* words 0: to the end       */
typedef struct gomem_type {                         /* made by GOMEM_TYPE and its family         */
    const char *name;                               /* the C type's name                         */
    size_t size, align;                             /* of one element                            */
    const gomem_field *fields;                      /* the words that may hold pointers          */
    size_t nfields;
    void (*mark)(const void *obj, size_t size, gomem_marker *m); /* or a mark procedure          */
    uint32_t index;                                 /* 0: not interned yet. atomic: rlx          */
} gomem_type;
// clang-format on

// The functions of this section return zeroed collected memory. NULL with ENOMEM if memory is
// exhausted, even after an emergency collection, or if the size overflows. Any thread; some ns.

// Scanned conservatively. Aligned to 16 from size 9 up, to 8 below.
GOMEM_DEF void *gomem_new(size_t size) GOMEM_I_SIZED(1);

// Never scanned: holds no pointers.
GOMEM_DEF void *gomem_new_noscan(size_t size) GOMEM_I_SIZED(1);

// n elements of t, scanned precisely: only t's pointer fields.
GOMEM_DEF void *gomem_new_typed(gomem_type *t, size_t n) __attribute__((warn_unused_result));

// align 0: the default. flags: GOMEM_NOSCAN and its neighbors. EINVAL if align is no power of two,
// or if flags are unknown or contradict each other.
GOMEM_DEF void *gomem_new_with(size_t size, size_t align, unsigned flags) GOMEM_I_SIZED(1);

// A noscan copy of the first n bytes of s, or up to its NUL if n is SIZE_MAX, and a NUL.
GOMEM_DEF char *gomem_new_string(const char *s, size_t n) __attribute__((warn_unused_result));

// For mark procedures and root functions only. gomem_mark keeps alive the object that p points
// into, if any; gomem_mark_range, the objects that the aligned words of [lo, hi) point into.
GOMEM_DEF void gomem_mark(gomem_marker *m, const void *p);
GOMEM_DEF void gomem_mark_range(gomem_marker *m, const void *lo, const void *hi);

/* ---- collector ------------------------------------------------------------------------------ */

// Runs a full collection and returns when it has ended (runtime.GC). False with errno:
//   EAGAIN  a thread did not stop within a second, or a thread runs on an unknown stack; the next
//           cycle keeps what was marked. Or the caller is in a callback of dl_iterate_phdr, and a
//           cycle on another thread needs the loader's lock, which that callback holds.
//   EBUSY   gomem_gc_hold is in effect, or a callback of the collector called.
//   ENOMEM
// Any thread, not a signal handler; takes as long as the heap is large.
GOMEM_DEF bool gomem_gc(void);
// Requests a cycle without waiting for it. False: cycles are held, or the collector or its
// background thread could not be started. Any thread.
GOMEM_DEF bool gomem_gc_start(void);

// While held, no cycle starts, gomem_gc fails, and allocation is charged no assists, until the heap
// reaches the memory limit. A running cycle continues. Nests, for the whole process. Any thread.
GOMEM_DEF void gomem_gc_hold(void);
GOMEM_DEF void gomem_gc_unhold(void);

// Sets how far the heap grows between cycles, in percent of the live heap; GOMEM_GC_OFF: no cycles.
// Returns the old value. Any thread. (debug.SetGCPercent)
GOMEM_DEF int gomem_set_gc_percent(int percent);

// Sets the bytes of memory that collections and the return of pages aim to stay below, manual
// memory and metadata included. The limit holds if twice the live heap fits in it; large objects
// wait for a cycle to keep it. A lower limit is soft: the heap may exceed it by up to half of what
// lives, so that the program is not collected all the time. 0: no limit. Returns the old one. Any
// thread. (debug.SetMemoryLimit)
GOMEM_DEF size_t gomem_set_memory_limit(size_t bytes);

// Does up to max_us microseconds of the collector's work on this thread: it sweeps, helps a running
// cycle to mark, and requests a cycle once the heap is halfway to its trigger. True if a cycle has
// ended since this thread's last call. For game loops and event loops. Any thread.
GOMEM_DEF bool gomem_gc_work(unsigned max_us);

// Adds or removes a range that may hold collected pointers. False: ENOMEM, or EINVAL (the range is
// empty, or was not added). Any thread. Writable data of libraries in namespaces of
// dlmopen is a root with glibc 2.35 and later; with an older glibc such a library must add its own.
GOMEM_DEF bool gomem_add_root(const void *start, size_t size);
GOMEM_DEF bool gomem_remove_root(const void *start);

// Adds or removes a root function. Each time roots are read, fn(m, arg) marks what is reachable
// from memory that the collector does not know, such as an interpreter's stack or a table in memory
// of malloc. It runs while threads are stopped, on the thread that runs the cycle: in both stops of
// a concurrent cycle, and in each retry of the last one, so it adds to the pause. A stopped thread
// may hold any lock, so fn must call gomem_mark and gomem_mark_range only. A pair that was added
// twice is called twice. False: ENOMEM, or EINVAL (the pair to remove was not added). Any thread.
GOMEM_DEF bool gomem_add_root_fn(void (*fn)(gomem_marker *m, void *arg), void *arg);
GOMEM_DEF bool gomem_remove_root_fn(void (*fn)(gomem_marker *m, void *arg), void *arg);

// Adds or removes [lo, hi), the stack of a coroutine, as a root. If a thread runs on it, it is
// scanned from the stack pointer up. Otherwise all of it that was ever touched is scanned, unless
// gomem_stack_parked or gomem_stack_saved_at says where its stack pointer is. Callee-saved
// registers that a switch saves elsewhere (ucontext_t, jmp_buf) must be in scanned memory: on the
// stack itself, or in a collected, uncollectable or global object, not in memory of malloc. On
// x86-64 glibc's jmp_buf encrypts rbp: compile code that switches by longjmp with
// -fno-omit-frame-pointer. False: EINVAL, ENOMEM. Any thread; microseconds.
GOMEM_DEF bool gomem_add_stack(const void *lo, const void *hi);
GOMEM_DEF bool gomem_remove_stack(const void *lo);

// Call it before each switch away from a stack: only [sp, hi) is scanned until it runs again. A
// call on that stack itself also keeps the 512 bytes below sp, for the frames of the switching
// code, and clears up to 4 KiB below those. sp NULL: not known. If the call was forgotten after the
// coroutine ran again, the next collection sees that memory below sp was written and scans the
// whole stack. Any thread; 0.2 us.
GOMEM_DEF void gomem_stack_parked(const void *lo, const void *sp);

// The alternative to gomem_stack_parked, at no cost per switch: while the coroutine does not run,
// *slot holds its stack pointer, as in a field that the switch writes, or
// uc_mcontext.gregs[REG_RSP]. It is read whenever roots are read, until the stack is removed or
// slot is set to NULL. Any thread.
GOMEM_DEF void gomem_stack_saved_at(const void *lo, const void *slot);

// Allocates a stack for a coroutine that is collected with it: `size` bytes, rounded up to pages
// and at least 32 KiB, zeroed, from gomem_stack_base up, above a guard page. The handle is a
// collected object. The stack is scanned while its handle is reachable or a thread runs on it: a
// coroutine that only its own stack points to dies, and its memory is returned after the cycle.
// Pass the base to gomem_stack_parked and gomem_stack_saved_at (an object that holds the slot is
// kept alive), not to gomem_add_stack. NULL: ENOMEM. Any thread; 10 us, and about 1 us of each
// finish stop while it lives. Each stack counts as 16 KiB of heap.
typedef struct gomem_stack gomem_stack;
GOMEM_DEF gomem_stack *gomem_stack_new(size_t size) __attribute__((warn_unused_result));
GOMEM_DEF void *gomem_stack_base(const gomem_stack *s); // NULL after gomem_stack_free
GOMEM_DEF size_t gomem_stack_size(const gomem_stack *s);

// Returns the stack's memory to the system; no thread may run on it. NULL, or a second call, does
// nothing. Any thread.
GOMEM_DEF void gomem_stack_free(gomem_stack *s);

// Calls fn for each live object of type t (NULL: of every collected kind) until fn returns false.
// Threads keep running; objects allocated meanwhile may be missed. Returns the number of calls. Any
// thread; time grows with the heap.
GOMEM_DEF size_t gomem_each(gomem_type *t, bool (*fn)(void *obj, size_t size, void *user),
                            void *user);

/* ---- finalizers, cleanups, weak pointers, counts -------------------------------------------- */

// Handles: a number and a generation. {0} is no handle. A handle of a dead object is harmless and
// has no effect. Handles need not be freed, may lie in any memory, and keep nothing alive.
// clang-format off
typedef struct gomem_weak { uint64_t id; } gomem_weak;
typedef struct gomem_cleanup { uint64_t id; } gomem_cleanup;
// clang-format on

// Makes the library call fn(obj, arg) once, after a collection found obj, the start of a collected
// object, unreachable. obj, arg and all that they lead to are kept until fn has returned. fn may
// make obj reachable again, as an object without a finalizer. An object has one finalizer; fn NULL
// removes it. arg is a root meanwhile: if it leads to obj, obj never dies (check level 1 reports an
// arg that points into obj).
// If A leads to B and both have finalizers, A's runs first, and B's in a later collection that
// still finds B unreachable. So fn may use what its object leads to, and a list of n objects takes
// n collections (20 000: 10 s). Of a cycle of objects, which Go never frees, one runs per
// collection, in unspecified order. With options.unordered, as with cleanups, all objects that die
// together are finalized after one collection, and fn must not rely on what its object leads to.
// gomem_free drops a finalizer that is not due yet. So does gomem_shutdown, which waits for one
// that is running. fn runs on a thread of the library, with all signals blocked, or in
// gomem_run_finalizers. No lock is held: it may allocate, collect, set finalizers, or never return.
// False: EINVAL (not the start of a collected object), EEXIST (obj has a finalizer), ENOMEM. Any
// thread; 150 ns and 56 bytes. (runtime.SetFinalizer)
GOMEM_DEF bool gomem_set_finalizer(void *obj, void (*fn)(void *obj, void *arg), void *arg);

// Returns the finalizer of obj and its argument. False: ENOENT (obj has none, or was already found
// unreachable), EINVAL. Any thread; 50 ns.
GOMEM_DEF bool gomem_get_finalizer(const void *obj, void (**fn)(void *obj, void *arg), void **arg);

// Makes the library call fn(arg) after obj, collected or uncollectable, has died or was freed: to
// release what belongs to it and is not memory. An object may have many. arg is a root until then.
// fn runs where finalizers run. {0}: EINVAL, ENOMEM. Any thread; 150 ns. (runtime.AddCleanup)
GOMEM_DEF gomem_cleanup gomem_add_cleanup(void *obj, void (*fn)(void *arg), void *arg);

// Cancels the call of fn unless it has begun. Any thread.
GOMEM_DEF void gomem_cancel_cleanup(gomem_cleanup c);

// Runs up to max callbacks that are ready (negative: all) on this thread. Returns how many it ran.
// Any thread.
GOMEM_DEF int gomem_run_finalizers(int max);

// A weak pointer keeps nothing alive. get returns obj until obj is found unreachable or is freed,
// then NULL for good, also while and after its finalizer runs. make returns the same handle for the
// same object; {0}: EINVAL (not the start of a collected or uncollectable object), ENOMEM. If obj
// is freed by hand, pointers that get returned before dangle. Any thread; get takes 20 ns. (package
// weak)
GOMEM_DEF gomem_weak gomem_weak_make(void *obj);
GOMEM_DEF void *gomem_weak_get(gomem_weak w);

// Allocates a scanned collected object with a reference count of 1. The count is not stored in the
// object, so retain writes to no page of the heap. The last release calls drop(obj), if any, on its
// thread and frees obj, unless drop retained it; drop runs only once. Counts are not roots: an
// unreachable object is collected whatever its count, in cycles too, and the finalizers' thread
// drops it. So an object that only memory of malloc refers to is dropped early. drop should release
// the objects that obj refers to; that is harmless in a cycle. retain and release accept NULL and
// panic if obj is not counted. Any thread; 10 ns.
GOMEM_DEF void *gomem_rc_new(size_t size, void (*drop)(void *obj)) GOMEM_I_SIZED(1);
GOMEM_DEF void *gomem_rc_retain(void *obj);
GOMEM_DEF void gomem_rc_release(void *obj);

#if GOMEM_I_REPORT
// Explains why p's object is alive: writes a shortest path from a root to it to fd, one line per
// step. The first names the root (stack, register or thread-local storage of a thread, global of an
// object file, registered range or stack, uncollectable object); the others name each object with
// its address, size, kind and class, and the offset of the word that points to the next one. Of a
// long path both ends are written. The caller's own stack, which holds p, counts only if nothing
// else reaches the object. False, and a line that says so: p is in no live collected object,
// nothing reaches it, or the threads cannot be stopped (gomem_gc would fail too). Any thread; stops
// all others for once or twice the time that one processor needs to mark the heap.
GOMEM_DEF bool gomem_why(const void *p, int fd);
#endif

// memmove for memory that may hold collected pointers. GOMEM_GC_BARRIER needs it in place of memcpy
// and memmove; in the other modes it is memmove. Any memory, alignment and thread. While a cycle
// marks it takes some ns for each word that is overwritten and for each that is stored, and a stop
// may wait for up to 16 KiB of it.
GOMEM_DEF void *gomem_memmove(void *to, const void *from, size_t size);
#endif

#if GOMEM_I_POOL
/* ---- pools ---------------------------------------------------------------------------------- */

// A pool recycles objects of one size. Any thread may get and put, and may get what another one has
// put. An object keeps its contents while it is idle; a fresh object is zeroed, then passed to
// make.
//
// Idle memory is returned after two collections without use (the victim generation of Go's
// sync.Pool), or after some ten seconds if no cycle runs. The background thread sees to the latter
// if the program uses the collected heap; otherwise the gets and puts of any pool that miss the
// thread's magazine do. A program that makes none, as while it sleeps, keeps the memory until it
// calls gomem_free_os_memory. Objects of a pool with a drop hook are dropped only in calls of that
// pool. Each thread keeps one magazine per pool that it has used: at most 63 objects or 128 KiB.
//
// get and put are inlined as a pop and a push on a magazine of the thread: about 1 ns together, 3
// to 4 ns from a program's 256th pool on. Full and empty magazines are exchanged with a lock-free
// depot.
//
// Pool memory is not scanned, so it keeps no collected object alive. With GOMEM_SCAN all of it is a
// root, idle objects included. Do not pass objects to gomem_free.

typedef struct gomem_pool gomem_pool;

// clang-format off
typedef struct gomem_pool_options {                 /* {0} is the default for every field        */
    size_t size, align;                             /* of an object in bytes; align 0: 16        */
    unsigned flags;                                 /* 0 or GOMEM_SCAN                           */
    void (*make)(void *obj, void *user);            /* called before get returns a fresh object  */
    void (*reset)(void *obj, void *user);           /* called by put                             */
    void (*drop)(void *obj, void *user);            /* called before idle memory is returned     */
    void *user;                                     /* passed to the three hooks                 */
    size_t max_idle, max_idle_bytes;                /* keep about this much idle, at any age     */
    size_t capacity, capacity_bytes;                /* fixed number of objects, made at once     */
    const char *name;                               /* for messages; not copied                  */
} gomem_pool_options;
typedef struct gomem_pool_stats {
    uint64_t hits, misses;                          /* objects gets recycled, made fresh         */
    uint64_t exchanges;                             /* magazines moved between threads and depot */
    uint64_t idle, high_water;                      /* objects idle now; most that ever existed  */
} gomem_pool_stats;
typedef struct gomem_i_pool {                       /* a pool by name; created at first use      */
    uint32_t get, put;                              /* its slot in each thread's cache; 0: none  */
    uint32_t far_get, far_put;                      /* if it has no slot: its number; 0: slow    */
    uint32_t flags, epoch;
    gomem_pool *pool;
    const char *name;
    size_t size, align;
} gomem_i_pool;
// clang-format on

// Creates a pool. NULL: EINVAL (align is no power of two, unknown flags), ENOMEM. If a limit is
// given both in objects and in bytes (of objects rounded up to their alignment), the smaller one
// applies; it is at least one object. Hooks run on threads that call a function of the pool, never
// on the library's threads, and may use the pool. A pool with a capacity allocates all its memory
// here. If threads share such a pool, a get may fail while up to 1/32 of the objects are idle in
// the cache of each other thread; below 64 objects nothing is cached, and each call takes a lock.
// Any thread. With a capacity it takes the time to make the objects.
GOMEM_DEF gomem_pool *gomem_pool_new(const gomem_pool_options *options);

// Frees the pool and its memory: drop runs for idle objects, objects in use become invalid. No
// other thread may use the pool meanwhile; any later call with it panics.
GOMEM_DEF void gomem_pool_destroy(gomem_pool *p);

// Guarantees that n objects can be got without a system call, until it is called with a smaller n.
// Returns how many can: n, or fewer with ENOMEM if memory is exhausted or n is more than the
// machine has. Then the pool keeps no more than before. A pool with a capacity has its memory
// already: the call changes nothing and returns the capacity. Any thread.
GOMEM_DEF size_t gomem_pool_reserve(gomem_pool *p, size_t n);

// Returns the pool's counts. Hits, misses and exchanges are counted at the depot: objects that
// never leave a thread's magazine are not in them. Any thread; takes a lock.
GOMEM_DEF gomem_pool_stats gomem_pool_read_stats(gomem_pool *p);

GOMEM_DEF void *gomem_i_pool_get_slow(gomem_pool *p);
GOMEM_DEF void gomem_i_pool_put_slow(gomem_pool *p, void *obj);
GOMEM_DEF gomem_pool *gomem_i_pool_of(gomem_i_pool *p);
#endif

#if GOMEM_I_ARENA
/* ---- arenas --------------------------------------------------------------------------------- */

// An arena frees its objects all together: allocation bumps a pointer, reset or free returns all
// memory. gomem_arena a = {0} (C++: {}) is a valid empty arena made of chained blocks. Only one
// thread at a time may use an arena. Sizes are rounded up to 16 bytes. Memory is zeroed; at most 4
// KiB beyond what was allocated are touched. Arena memory is not scanned, so it keeps no collected
// object alive. With GOMEM_SCAN the used part is a root. Do not pass pointers into it to
// gomem_free.
//
// Pass a gomem_arena by pointer. Use of a copy by value of an arena that holds memory is misuse and
// panics: at check level 1 in its first call, at level 0 in its next slow one, as for a new block.
//
// NULL stands for an arena without memory: allocation from it gives NULL with ENOMEM, a scope of it
// is empty, and all other calls do nothing. So a test after the allocation also covers a NULL from
// gomem_scratch.

// clang-format off
typedef struct gomem_arena {                        /* {0}: empty. All fields are private        */
    char *cursor, *end;                             /* zeroed bytes for the inlined path         */
    char *clean, *ready;                            /* zero from clean on; usable up to ready    */
    char *start, *limit;                            /* the block, or the buffer                  */
    char *committed;                                /* a reservation: end of usable memory       */
    uint32_t block, aside, spare;                   /* page + 1 of: block, large and kept ones   */
    uint32_t aside_last;                            /* page + 1 of the oldest large block        */
    uint32_t flags, mode;
    uint32_t stamp;                                 /* equals that in the block's record         */
    uint32_t saves, bottom;                         /* marks given out; their number at reset    */
    uint32_t busy;                                  /* check level 1: a thread is in a call      */
    size_t before, aside_bytes, spare_bytes;        /* in earlier, large and kept blocks         */
    size_t high, peak, base;                        /* most ever used; a round's need, start     */
    size_t next, least;                             /* bytes of the next block, of the first     */
    struct gomem_i_on_reset *on_reset, *on_reset_last; /* the latest callback, the earliest      */
    struct gomem_i_save *save;                      /* check level 1: the latest mark            */
    struct gomem_arena *self;                       /* its address when it first took memory     */
    const char *name;
} gomem_arena;
typedef struct gomem_arena_options {                /* {0} is the default for every field        */
    size_t block;                                   /* bytes of the first block; 0: 32 KiB       */
    void *buffer; size_t buffer_size;               /* use only this memory                      */
    size_t reserve;                                 /* address space; grows in place up to it    */
    unsigned flags;                                 /* 0 or GOMEM_SCAN                           */
    const char *name;                               /* for messages; not copied                  */
} gomem_arena_options;
typedef struct gomem_arena_mark {                   /* a position of an arena                    */
    char *cursor;
    uint32_t block, aside, save;
    struct gomem_i_on_reset *on_reset;
} gomem_arena_mark;
typedef struct gomem_arena_stats { uint64_t used, held, high_water, blocks; } gomem_arena_stats;
typedef struct gomem_arena_scope {                  /* for GOMEM_ARENA_TEMP and _SCOPE           */
    gomem_arena *arena; gomem_arena_mark mark; int live;
} gomem_arena_scope;
// clang-format on

// gomem_arena_alloc(a, size), inlined below, returns zeroed memory aligned to 16; NULL with ENOMEM
// if memory, or the buffer, is used up. 2 ns for 16 bytes, as a bump and memset by hand. This is
// its slow path.
GOMEM_DEF void *gomem_i_arena_slow(gomem_arena *a, size_t size);

// gomem_arena_alloc_with(a, size, align, flags) takes any power of two as alignment (0: 16; else
// NULL with EINVAL); with GOMEM_UNINIT memory is not zeroed. Inlined up to an alignment of 16. This
// is its slow path.
GOMEM_DEF void *gomem_i_arena_with(gomem_arena *a, size_t size, size_t align, unsigned flags);

// Resizes p of old_size bytes (p may be NULL) to new_size bytes: in place if p was allocated last
// or shrinks. The added part is zeroed. NULL with ENOMEM: p is unchanged.
GOMEM_DEF void *gomem_arena_resize(gomem_arena *a, void *p, size_t old_size, size_t new_size)
    GOMEM_I_SIZED(4);

// Strings in the arena. NULL: ENOMEM, or vsnprintf's error. Formats with only %s %c %d %u %x %%
// (also with l, ll, z) are written in place, at a third of vsnprintf's cost.
GOMEM_DEF char *gomem_arena_strdup(gomem_arena *a, const char *s) __attribute__((malloc));
GOMEM_DEF char *gomem_arena_printf(gomem_arena *a, const char *format, ...)
    __attribute__((malloc, format(printf, 2, 3)));
GOMEM_DEF char *gomem_arena_vprintf(gomem_arena *a, const char *format,
                                    __builtin_va_list list) // a va_list, without <stdarg.h>
    __attribute__((malloc, format(printf, 2, 0)));

// restore frees what was allocated since save, and runs the callbacks added since. Marks nest. A
// stale mark, taken before the arena was reset or restored to an earlier mark, is misuse (panics at
// check level 1). restore, and so the end of a scope, keeps as much memory for the next round as
// the latest rounds needed; that estimate shrinks by an eighth each time.
GOMEM_DEF gomem_arena_mark gomem_arena_save(gomem_arena *a);
GOMEM_DEF void gomem_arena_restore(gomem_arena *a, gomem_arena_mark m);

// Both empty the arena and run its callbacks, the latest first. reset keeps memory as restore does;
// free returns all of it, but keeps the options.
GOMEM_DEF void gomem_arena_reset(gomem_arena *a);
GOMEM_DEF void gomem_arena_free(gomem_arena *a);

// Initializes an arena that holds no memory: chained blocks, a fixed buffer, or a reservation.
// False: EINVAL (both buffer and reserve, unknown flags), ENOMEM. Blocks come from the heap. A
// buffer and a reservation do not: options.hard_limit and memory_limit do not count them, and all
// of a reservation counts against RLIMIT_AS.
GOMEM_DEF bool gomem_arena_init(gomem_arena *a, const gomem_arena_options *options);

// fn(arg) runs when the arena is reset, freed, or restored to before this call. False: ENOMEM.
GOMEM_DEF bool gomem_arena_on_reset(gomem_arena *a, void (*fn)(void *arg), void *arg);

// Moves all memory and callbacks of `from` to `into` and leaves `from` empty; pointers stay valid.
// Costs a step per block of `from`. False with EINVAL: one arena is NULL or not made of chained
// blocks, only one is scanned, or both are the same.
GOMEM_DEF bool gomem_arena_absorb(gomem_arena *into, gomem_arena *from);

// Returns an arena of this thread that is not among the n busy ones, for memory that a function
// needs until it returns: gomem_arena *s = gomem_scratch(&out, 1); GOMEM_ARENA_TEMP(s). It is freed
// when the thread ends; gomem_free_os_memory returns what it keeps for later rounds. NULL, which is
// an arena without memory: ENOMEM, or EINVAL if all eight are busy.
GOMEM_DEF gomem_arena *gomem_scratch(gomem_arena *const *busy, size_t n);

// Returns bytes in use, bytes held, the most bytes ever in use, and the number of blocks.
GOMEM_DEF gomem_arena_stats gomem_arena_read_stats(const gomem_arena *a);

GOMEM_DEF gomem_arena_scope gomem_i_scope_begin(gomem_arena *a);
GOMEM_DEF void gomem_i_scope_end(gomem_arena_scope *scope);
#endif

#if GOMEM_I_ESCAPE
/* ---- escape hints --------------------------------------------------------------------------- */

// GOMEM_STACK chooses stack or heap at run time, as Go's compiler does by escape analysis. The
// program promises that the memory is not used after the calling function has returned. The memory
// is on the function's stack if it has at most GOMEM_STACK_MAX bytes (4096) and lies in the first
// quarter of the thread's stack, of which hints use 1 MiB at most; otherwise it is in the collected
// heap. So hints never use more than that quarter, even in loops and recursions, and leave at least
// GOMEM_STACK_RESERVE bytes (64 KiB) free. On a stack that gomem does not know (see
// gomem_add_stack) the heap is used.
// Memory is zeroed and never freed by hand. Not for signal handlers, since it may allocate. On the
// stack it costs an alloca and a memset; on the heap as much as GOMEM_MAKE, which just above 4 KiB
// is some five times malloc and free. Use after the function has returned is not detected at check
// level 0; at level 1 a collection reports heap objects that point to such memory, with the call
// site. GOMEM_DEBUG=escape=1 reports at exit how many hints and bytes of each call site went to the
// stack and to the heap, and why.

enum { GOMEM_I_STACK_ROOM = 4096 }; // bytes above stack_floor that a hint may use without a check

typedef struct gomem_i_hint { // the decision for a hint
    void *heap;               // the memory, unless `stack`; NULL: ENOMEM
    bool stack;
} gomem_i_hint;

GOMEM_DEF gomem_i_hint gomem_i_hint_slow(uintmax_t n, size_t size, size_t align, uintptr_t sp,
                                         const char *file, int line);
GOMEM_DEF void *gomem_i_hint_heap_slow(uintmax_t n, size_t size, size_t align, const char *file,
                                       int line);
GOMEM_DEF void gomem_i_hint_placed(const void *p, size_t bytes, const char *file, int line);

// Returns a copy of p's n elements in the collected heap if p lies on the calling thread's stack
// (NULL: ENOMEM), else p.
GOMEM_DEF void *gomem_i_escape(const void *p, uintmax_t n, size_t size, size_t align);
#endif

/* ---- inlined fast paths: internals, not to be used by name ---------------------------------- */

// clang-format off
typedef struct gomem_i_run { uintptr_t cursor, end; } gomem_i_run; /* free slots [cursor, end)   */
enum { GOMEM_I_PLACES = 256 };                      /* slots for pools; [0] belongs to no pool   */
typedef struct gomem_i_pool_cache { void **top; } gomem_i_pool_cache; /* of a pool with no slot  */
typedef struct gomem_i_cache {                      /* a thread's state for the fast paths       */
    void **top[GOMEM_CLASSES + 1];                  /* loaded magazines: their topmost objects   */
    uintptr_t base, size;                           /* the heap's range; size 0: always slow     */
    const uint32_t *desc;                           /* page descriptors                          */
    const uint32_t *stop_request;                   /* nonzero: a stop pending, or a closed gate */
    uint32_t section_depth;                         /* library sections entered                  */
    uint32_t blocked;                               /* blocking regions entered                  */
    uint32_t ranks;                                 /* locks held, a bit per rank (check level 2)*/
    uint32_t typed_count;                           /* entries of typed                          */
    void (*stop_wait)(struct gomem_i_cache *t, bool enter); /* hook: stop_request was seen       */
    gomem_i_run *typed;                             /* runs by shape index; [0] is always empty  */
#if GOMEM_I_POOL
    void **pool[GOMEM_I_PLACES];                    /* loaded magazines of pools, like top       */
    gomem_i_pool_cache **pool_caches;               /* its caches of pools, by the pool's number */
    uint32_t pool_caches_room;                      /* entries of pool_caches                    */
#endif
#if GOMEM_I_ESCAPE
    uintptr_t stack_floor, stack_span;              /* stack range of hints; span 0: always slow */
#endif
#if GOMEM_I_COLLECTOR
    gomem_i_run scan[GOMEM_CLASSES + 1];            /* runs by class                             */
    gomem_i_run noscan[GOMEM_CLASSES + 1];
#endif
} gomem_i_cache;
// clang-format on

GOMEM_I_VARIABLE GOMEM_I_THREAD gomem_i_cache *GOMEM_I_TLS GOMEM_I_TLS_MODEL;

GOMEM_DEF void *gomem_i_malloc_slow(size_t size, size_t align);
GOMEM_DEF void *gomem_i_overflow(void); // errno = ENOMEM, NULL
#if GOMEM_I_COLLECTOR
#if !defined(GOMEM_STATIC)
GOMEM_I_VARIABLE uint32_t gomem_i_barrier; // nonzero while a cycle that needs GOMEM_STORE marks
#else
static uint32_t gomem_i_barrier;
#endif
GOMEM_DEF void gomem_i_shade(uintptr_t old, uintptr_t value);
GOMEM_DEF void *gomem_i_new_slow(size_t size, size_t align, unsigned flags);
GOMEM_DEF void *gomem_i_new_typed_slow(gomem_type *t, size_t size);
GOMEM_DEF bool gomem_i_type_fits(const gomem_type *t, size_t size); // check level 1; warns if not
#endif

// Size to class: 8-byte steps up to 1024, 128-byte steps above.
// clang-format off
static const uint8_t gomem_i_class8[129] GOMEM_I_UNUSED = {
    1,1,2,3,4,5,5,6,6,7,7,8,8,9,9,10,10,11,11,12,12,13,13,14,14,15,15,16,16,17,17,18,18,19,19,20,
    20,21,21,22,22,23,23,24,24,25,25,26,26,27,27,28,28,29,29,30,30,31,31,32,32,33,33,34,34,35,35,
    35,35,36,36,36,36,37,37,37,37,38,38,38,38,39,39,39,39,40,40,40,40,41,41,41,41,42,42,42,42,43,
    43,43,43,44,44,44,44,45,45,45,45,46,46,46,46,47,47,47,47,48,48,48,48,49,49,49,49,50,50,50,50,
};
static const uint8_t gomem_i_class16[129] GOMEM_I_UNUSED = { // multiples of 16, but for 8
    1,1,2,4,4,5,5,6,6,7,7,8,8,9,9,10,10,11,11,12,12,13,13,14,14,15,15,16,16,17,17,18,18,19,19,20,
    20,21,21,22,22,23,23,24,24,25,25,26,26,27,27,28,28,29,29,30,30,31,31,32,32,33,33,34,34,35,35,
    35,35,36,36,36,36,37,37,37,37,38,38,38,38,39,39,39,39,40,40,40,40,41,41,41,41,42,42,42,42,43,
    43,43,43,44,44,44,44,45,45,45,45,46,46,46,46,47,47,47,47,48,48,48,48,49,49,49,49,50,50,50,50,
};
static const uint8_t gomem_i_class128[249] GOMEM_I_UNUSED = {
    50,51,52,53,54,55,55,56,56,57,57,58,58,58,59,59,59,60,61,61,62,62,62,62,62,63,63,63,63,63,63,
    64,64,64,64,65,65,65,65,65,65,66,66,66,67,67,68,69,69,69,69,69,69,69,69,69,69,70,70,70,70,70,
    70,70,70,70,70,71,71,72,72,72,72,73,73,73,73,73,74,74,74,74,74,74,74,74,74,74,74,75,75,75,75,
    75,75,75,75,75,75,76,76,76,76,76,76,77,77,77,77,77,77,77,77,77,77,77,77,77,77,77,77,78,78,78,
    78,78,78,78,78,78,78,78,78,78,78,78,78,79,79,79,79,79,80,80,80,80,80,80,80,80,80,80,80,81,81,
    81,81,81,81,81,81,81,81,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,82,83,
    83,83,83,83,83,83,83,83,83,83,83,83,83,83,83,83,83,83,83,83,84,84,84,84,84,84,84,84,84,84,84,
    85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,85,
    85,
};
// clang-format on

// Returns the smallest class whose size is at least `size` and a multiple of align, or 0 if there
// is none (a large object, or align above 16). Folds to a constant if size and align are constants.
GOMEM_I_INLINE unsigned gomem_i_class(size_t size, size_t align) {
    if (GOMEM_I_UNLIKELY(align > 16)) return 0;
    if (GOMEM_I_LIKELY(size <= 1024)) {
        size_t index = (size + 7) >> 3;
        return align > 8 ? gomem_i_class16[index] : gomem_i_class8[index];
    }
    if (GOMEM_I_UNLIKELY(size > GOMEM_MAX_SMALL)) return 0;
    return gomem_i_class128[(size - 1024 + 127) >> 7];
}

// The address of the loaded magazine's top. If the class is not a constant, it is forced into one
// register: with base and index addressing the processor does not forward the previous store, and a
// malloc and free of unknown size takes 9.3 ns instead of 5.4.
GOMEM_I_INLINE void ***gomem_i_top(gomem_i_cache *t, unsigned c) {
    void ***top = &t->top[c];
    if (!__builtin_constant_p(c)) __asm__("" : "+r"(top));
    return top;
}

// Manual allocation: pops the loaded magazine. The slot below its objects is NULL, so testing the
// value is also the test for an empty magazine.
GOMEM_I_INLINE void *gomem_i_malloc_typed(size_t size, size_t align) {
    unsigned c = gomem_i_class(size, align);
    if (GOMEM_I_SLOW || GOMEM_I_UNLIKELY(!c)) return gomem_i_malloc_slow(size, align);
    void ***at = gomem_i_top(GOMEM_I_TLS, c);
    void **top = *at;
    void *p = __atomic_load_n(top, __ATOMIC_RELAXED);
    if (GOMEM_I_UNLIKELY(!p)) return gomem_i_malloc_slow(size, align);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(at, top - 1, __ATOMIC_RELAXED);
    return p;
}

// Tests whether p is one of the two objects on top of the magazine, which were freed last. If so,
// this is a double free, and the slow path reports it. Below the objects lie NULLs (K1).
GOMEM_I_INLINE bool gomem_i_lately(void **top, const void *p) {
    return GOMEM_I_UNLIKELY(top[0] == p) || GOMEM_I_UNLIKELY(top[-1] == p);
}

// Manual free: pushes p to the thread's magazine if the page's descriptor says that it holds manual
// objects of this class, the magazine has room, and p is not a recent double free.
GOMEM_I_INLINE void gomem_i_free_typed(void *p, size_t size, size_t align) {
    unsigned c = gomem_i_class(size, align);
    gomem_i_cache *t = GOMEM_I_TLS;
    uintptr_t offset = (uintptr_t)p - t->base;
    if (!GOMEM_I_SLOW && GOMEM_I_LIKELY(c && offset < t->size)) {
        uint32_t desc = __atomic_load_n(&t->desc[offset >> 13], __ATOMIC_RELAXED);
        void **top = t->top[c];
        if (GOMEM_I_LIKELY((desc & 0xfffu) == (1u | c << 4) && ((uintptr_t)(top + 1) & 511u) &&
                           !gomem_i_lately(top, p))) {
            __atomic_store_n(top + 1, p, __ATOMIC_RELAXED);
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
            __atomic_store_n(&t->top[c], top + 1, __ATOMIC_RELAXED);
            return;
        }
    }
    gomem_free(p);
}

// Tests that n x size is at most PTRDIFF_MAX. A negative count arrives as a huge n and fails.
GOMEM_I_INLINE bool gomem_i_fits(uintmax_t n, size_t size) {
    return GOMEM_I_LIKELY(n <= (uintmax_t)PTRDIFF_MAX / (size ? size : 1));
}

GOMEM_I_INLINE void *gomem_i_take_n(uintmax_t n, size_t size, size_t align) {
    return gomem_i_fits(n, size) ? gomem_i_malloc_typed((size_t)n * size, align)
                                 : gomem_i_overflow();
}

GOMEM_I_INLINE void *gomem_i_resize(void *p, uintmax_t n, size_t size) {
    return gomem_i_fits(n, size) ? gomem_realloc(p, (size_t)n * size) : gomem_i_overflow();
}

// A pointer-sized word that may alias an object of any pointer type.
typedef void *gomem_i_word __attribute__((may_alias));

#if GOMEM_I_POOL
// The address of the top of the magazine in slot *place, in one register as in gomem_i_top.
GOMEM_I_INLINE void ***gomem_i_pool_at(const uint32_t *place) {
    void ***at = &GOMEM_I_TLS->pool[__atomic_load_n(place, __ATOMIC_RELAXED)];
    __asm__("" : "+r"(at));
    return at;
}

// The same for a pool without a slot, in the thread's cache of that pool; NULL if the thread has no
// such cache. The pool's number is stored two words after its slot.
GOMEM_I_INLINE void ***gomem_i_pool_far_at(const uint32_t *place) {
    gomem_i_cache *t = GOMEM_I_TLS;
    uint32_t number = __atomic_load_n(place + 2, __ATOMIC_RELAXED);
    bool known = number < t->pool_caches_room && t->pool_caches[number];
    return known ? &t->pool_caches[number]->top : NULL;
}

// Pops a magazine; NULL if it is empty. The magazine in slot 0 is always empty, and always full.
GOMEM_I_INLINE void *gomem_i_pool_pop_at(void ***at) {
    void **top = *at, *p = __atomic_load_n(top, __ATOMIC_RELAXED);
    if (GOMEM_I_UNLIKELY(!p)) return NULL;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(at, top - 1, __ATOMIC_RELAXED);
    return p;
}
GOMEM_I_INLINE void *gomem_i_pool_pop(const uint32_t *place) {
    if (GOMEM_I_CHECK || GOMEM_I_POISONED) return NULL;
    void *p = gomem_i_pool_pop_at(gomem_i_pool_at(place));
    if (GOMEM_I_LIKELY(p != NULL)) return p;
    void ***at = gomem_i_pool_far_at(place);
    return at ? gomem_i_pool_pop_at(at) : NULL;
}

// Pushes p to a magazine; false if it is full or p is NULL.
GOMEM_I_INLINE bool gomem_i_pool_push_at(void ***at, void *p) {
    void **top = *at;
    if (GOMEM_I_UNLIKELY(!((uintptr_t)(top + 1) & 511u) || !p)) return false;
    __atomic_store_n(top + 1, p, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(at, top + 1, __ATOMIC_RELAXED);
    return true;
}
GOMEM_I_INLINE bool gomem_i_pool_push(const uint32_t *place, void *p) {
    if (GOMEM_I_CHECK || GOMEM_I_POISONED) return false;
    if (GOMEM_I_LIKELY(gomem_i_pool_push_at(gomem_i_pool_at(place), p))) return true;
    __asm__("" : "+r"(p)); // stops gcc from computing the test of p for the first call too
    void ***at = gomem_i_pool_far_at(place);
    return at && gomem_i_pool_push_at(at, p);
}

// The address of the top for calls that move several objects: in the pool's slot or, if it has
// none, in the thread's cache of it. NULL: neither exists.
GOMEM_I_INLINE void ***gomem_i_pool_any_at(const uint32_t *place) {
    bool near = GOMEM_I_LIKELY(__atomic_load_n(place, __ATOMIC_RELAXED) != 0);
    return near ? gomem_i_pool_at(place) : gomem_i_pool_far_at(place);
}

// Pops up to n objects from the thread's magazine; returns how many it popped.
GOMEM_I_INLINE size_t gomem_i_pool_pop_n(const uint32_t *place, gomem_i_word *out, size_t n) {
    size_t done = 0;
    if (GOMEM_I_CHECK || GOMEM_I_POISONED) return 0;
    void ***at = gomem_i_pool_any_at(place), **top = NULL;
    if (GOMEM_I_UNLIKELY(!at)) return 0;
    top = *at;
    void *a, *b, *c, *d; // four per turn, so that the loop's alignment does not set its speed
    while (n - done >= 4 && (a = __atomic_load_n(top - done, __ATOMIC_RELAXED)) != NULL &&
           (b = __atomic_load_n(top - done - 1, __ATOMIC_RELAXED)) != NULL &&
           (c = __atomic_load_n(top - done - 2, __ATOMIC_RELAXED)) != NULL &&
           (d = __atomic_load_n(top - done - 3, __ATOMIC_RELAXED)) != NULL) {
        out[done] = a, out[done + 1] = b, out[done + 2] = c, out[done + 3] = d;
        done += 4;
    }
    for (; done < n && (a = __atomic_load_n(top - done, __ATOMIC_RELAXED)) != NULL; done++)
        out[done] = a;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (done) __atomic_store_n(at, top - done, __ATOMIC_RELAXED);
    return done;
}

// Pushes up to n objects to the thread's magazine, up to the first NULL; returns how many it
// pushed.
GOMEM_I_INLINE size_t gomem_i_pool_push_n(const uint32_t *place, gomem_i_word *in, size_t n) {
    size_t done = 0;
    if (GOMEM_I_SLOW) return 0;
    void ***at = gomem_i_pool_any_at(place), **top = NULL;
    if (GOMEM_I_UNLIKELY(!at)) return 0;
    top = *at;
    size_t room = ((0 - (uintptr_t)(top + 1)) & 511u) / sizeof(void *);
    __asm__("" : "+r"(in)); // gcc would warn of in[3] where it knows that n is 3
    if (n > room) n = room;
    void *a, *b, *c, *d;
    while (n - done >= 4 && (a = in[done]) && (b = in[done + 1]) && (c = in[done + 2]) &&
           (d = in[done + 3])) {
        __atomic_store_n(top + 1 + done, a, __ATOMIC_RELAXED);
        __atomic_store_n(top + 2 + done, b, __ATOMIC_RELAXED);
        __atomic_store_n(top + 3 + done, c, __ATOMIC_RELAXED);
        __atomic_store_n(top + 4 + done, d, __ATOMIC_RELAXED);
        done += 4;
    }
    for (; done < n && in[done]; done++)
        __atomic_store_n(top + 1 + done, in[done], __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (done) __atomic_store_n(at, top + done, __ATOMIC_RELAXED);
    return done;
}

// Returns an object of the pool. NULL: ENOMEM (or, with a fixed capacity, no object is idle),
// EINVAL after gomem_pool_destroy. Any thread; 1 ns together with a put.
GOMEM_I_INLINE void *gomem_pool_get(gomem_pool *p) {
    void *obj = gomem_i_pool_pop((const uint32_t *)(const void *)p);
    return GOMEM_I_LIKELY(obj != NULL) ? obj : gomem_i_pool_get_slow(p);
}

// Returns obj, which any thread has got from this pool, to the pool; NULL does nothing. A second
// put of an object, or a put of a foreign one, panics: at check level 1 in this call, at level 0 no
// later than when its memory is returned. Any thread.
GOMEM_I_INLINE void gomem_pool_put(gomem_pool *p, void *obj) {
    if (GOMEM_I_UNLIKELY(!gomem_i_pool_push((const uint32_t *)(const void *)p + 1, obj)))
        gomem_i_pool_put_slow(p, obj);
}

// Get and put n objects in one call. get_n returns how many it got, and sets errno if fewer than n.
GOMEM_I_INLINE size_t gomem_pool_get_n(gomem_pool *p, void **out, size_t n) {
    gomem_i_word *words = (gomem_i_word *)(void *)out;
    size_t done = 0;
    for (;;) {
        done += gomem_i_pool_pop_n((const uint32_t *)(const void *)p, words + done, n - done);
        if (done == n || !(words[done] = gomem_i_pool_get_slow(p))) return done;
        done++;
    }
}
GOMEM_I_INLINE void gomem_pool_put_n(gomem_pool *p, void **in, size_t n) {
    gomem_i_word *words = (gomem_i_word *)(void *)in;
    for (size_t done = 0;; done++) { // an object that does not fit, or NULL, takes the slow path
        done += gomem_i_pool_push_n((const uint32_t *)(const void *)p + 1, words + done, n - done);
        if (done == n) return;
        gomem_i_pool_put_slow(p, words[done]);
    }
}

// The same for pools declared by name: the first call that takes the slow path creates the pool.
GOMEM_DEF void *gomem_i_pool_get_named(gomem_i_pool *p);
GOMEM_DEF void gomem_i_pool_put_named(gomem_i_pool *p, void *obj);
GOMEM_I_INLINE void *gomem_i_pool_get(gomem_i_pool *p) {
    void *obj = gomem_i_pool_pop(&p->get);
    return GOMEM_I_LIKELY(obj != NULL) ? obj : gomem_i_pool_get_named(p);
}
GOMEM_I_INLINE void gomem_i_pool_put(gomem_i_pool *p, void *obj) {
    if (GOMEM_I_UNLIKELY(!gomem_i_pool_push(&p->put, obj))) gomem_i_pool_put_named(p, obj);
}
GOMEM_I_INLINE size_t gomem_i_pool_get_n(gomem_i_pool *p, void *out, size_t n) {
    gomem_i_word *words = (gomem_i_word *)out;
    size_t done = 0;
    for (;;) {
        done += gomem_i_pool_pop_n(&p->get, words + done, n - done);
        if (done == n || !(words[done] = gomem_i_pool_get_named(p))) return done;
        done++;
    }
}
GOMEM_I_INLINE void gomem_i_pool_put_n(gomem_i_pool *p, void *in, size_t n) {
    gomem_i_word *words = (gomem_i_word *)in;
    for (size_t done = 0;; done++) {
        done += gomem_i_pool_push_n(&p->put, words + done, n - done);
        if (done == n) return;
        gomem_i_pool_put_named(p, words[done]);
    }
}
#endif

#if GOMEM_I_ARENA
// Returns zeroed memory aligned to 16; the bytes up to `end` are zero already. The size is rounded
// up rather than the cursor, so that the result does not depend on it. Size 0 wraps in the test and
// takes the slow path.
__attribute__((malloc, alloc_size(2), warn_unused_result)) GOMEM_I_INLINE void *gomem_arena_alloc(
    gomem_arena *a, size_t size) {
    if (GOMEM_I_SLOW || GOMEM_I_UNLIKELY(!a)) return gomem_i_arena_slow(a, size);
    char *p = a->cursor;
    if (GOMEM_I_UNLIKELY(size - 1 >= (size_t)(a->end - p))) return gomem_i_arena_slow(a, size);
    a->cursor = p + ((size + 15) & ~(size_t)15);
    return p;
}

// GOMEM_UNINIT uses zeroed bytes while there are some, then those that follow: up to `ready` they
// are usable as they are (and zeroed in a scanned arena).
__attribute__((malloc, alloc_size(2), warn_unused_result)) GOMEM_I_INLINE void *
gomem_arena_alloc_with(gomem_arena *a, size_t size, size_t align, unsigned flags) {
    bool plain = !GOMEM_I_CHECK && !GOMEM_I_POISONED && align <= 16 && !(align & (align - 1));
    if (GOMEM_I_UNLIKELY(!plain || !a || flags & ~(unsigned)GOMEM_UNINIT))
        return gomem_i_arena_with(a, size, align, flags);
    char *p = a->cursor, *next = p + ((size + 15) & ~(size_t)15);
    if (GOMEM_I_UNLIKELY(size - 1 >= (size_t)(a->end - p))) {
        if (!flags || size - 1 >= (size_t)(a->ready - p))
            return gomem_i_arena_with(a, size, align, flags);
        a->end = next;
    }
    a->cursor = next;
    return p;
}

GOMEM_I_INLINE void *gomem_i_arena_make(gomem_arena *a, uintmax_t n, size_t size, size_t align) {
    if (!gomem_i_fits(n, size)) return gomem_i_overflow();
    if (align > 16) return gomem_arena_alloc_with(a, (size_t)n * size, align, 0u);
    return gomem_arena_alloc(a, (size_t)n * size);
}
#endif

#if GOMEM_I_COLLECTOR
// Collected allocation: bumps the cursor of a run, whose slots were zeroed when it was taken. The
// fences keep the store of the cursor before every use of the object in program order (R3).
GOMEM_I_INLINE void *gomem_i_bump(gomem_i_run *run, size_t size) {
    uintptr_t cursor = __atomic_load_n(&run->cursor, __ATOMIC_RELAXED);
    uintptr_t next = cursor + size;
    if (GOMEM_I_UNLIKELY(next > run->end)) return NULL;
    if (!cursor) __builtin_unreachable(); // an empty run is {0, 0}, and size is not 0
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    __atomic_store_n(&run->cursor, next, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return (void *)cursor;
}

// clang-format off
static const uint16_t gomem_i_class_size[GOMEM_CLASSES + 1] GOMEM_I_UNUSED = {
    0,8,16,24,32,48,64,80,96,112,128,144,160,176,192,208,224,240,256,272,288,304,320,336,352,368,
    384,400,416,432,448,464,480,496,512,544,576,608,640,672,704,736,768,800,832,864,896,928,960,
    992,1024,1152,1280,1408,1536,1792,2048,2304,2688,3072,3200,3456,4096,4864,5376,6144,6528,6784,
    6912,8192,9472,9728,10240,10880,12288,13568,14336,16384,18432,19072,20480,21760,24576,27264,
    28672,32768,
};
// clang-format on

// Collected objects have at least 16 bytes, because their bitmaps have one bit per 16 bytes.
GOMEM_I_INLINE unsigned gomem_i_class_new(size_t size, size_t align) {
    return gomem_i_class(size < 16 ? 16 : size, align);
}

GOMEM_I_INLINE void *gomem_i_new(size_t size, size_t align, unsigned flags) {
    unsigned c = gomem_i_class_new(size, align);
    if (!GOMEM_I_SLOW && GOMEM_I_LIKELY(c)) {
        gomem_i_cache *t = GOMEM_I_TLS;
        void *p = gomem_i_bump(flags ? &t->noscan[c] : &t->scan[c], gomem_i_class_size[c]);
        if (GOMEM_I_LIKELY(p)) return p;
    }
    return gomem_i_new_slow(size, align, flags);
}

// A collected array is allocated with one byte more than its elements. Otherwise a pointer one past
// its end would be the address of the next object and would not keep the array alive. Any count but
// the constant 1, a size without a type, and a T of 128 bytes or more, which may end in an array,
// count as arrays; the byte is too costly for a smaller T (16 would become 32).
// Objects that AddressSanitizer or valgrind watches have a margin after them and need no such byte.
GOMEM_DEF size_t gomem_i_spare(void);
#define GOMEM_I_SPARE (GOMEM_I_POISONED ? 0 : GOMEM_I_CHECK ? gomem_i_spare() : (size_t)1)
GOMEM_I_INLINE size_t gomem_i_array(size_t size) {
    return size < SIZE_MAX ? size + GOMEM_I_SPARE : size;
}
GOMEM_I_INLINE size_t gomem_i_one(size_t size) { return size < 128 ? size : gomem_i_array(size); }

GOMEM_I_INLINE size_t gomem_i_array_n(uintmax_t n, size_t size) {
    size_t one = gomem_i_one(size);
    return __builtin_constant_p(n) && n == 1 ? one : gomem_i_array((size_t)n * size);
}

GOMEM_I_INLINE void *gomem_i_make(uintmax_t n, size_t size, size_t align, unsigned flags) {
    return gomem_i_fits(n, size) ? gomem_i_new(gomem_i_array_n(n, size), align, flags)
                                 : gomem_i_overflow();
}

#if GOMEM_I_ESCAPE
GOMEM_I_INLINE uintptr_t gomem_i_stack_pointer(void) {
    uintptr_t sp = 0;
#if defined(__x86_64__)
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
#elif defined(__i386__)
    __asm__ volatile("movl %%esp, %0" : "=r"(sp));
#elif defined(__aarch64__)
    __asm__ volatile("mov %0, sp" : "=r"(sp));
#else
    sp = (uintptr_t)__builtin_alloca(1);
#endif
    return sp;
}

// First half of a hint: true if the memory may go on the stack, because the stack pointer is in
// [stack_floor, stack_floor + stack_span). A hint of 4096 bytes still fits below stack_floor. If
// false, gomem_i_hint_slow decides.
GOMEM_I_INLINE bool gomem_i_hint_fits(uintmax_t n, size_t size, size_t align) {
    const gomem_i_cache *t = GOMEM_I_TLS;
    if (GOMEM_I_UNLIKELY(n > GOMEM_STACK_MAX / (size ? size : 1))) return false;
    bool small = GOMEM_STACK_MAX <= GOMEM_I_STACK_ROOM && align <= 16;
    size_t bytes = small ? 0 : (size_t)n * size + (align > 16 ? align : 0);
    return GOMEM_I_LIKELY(gomem_i_stack_pointer() - t->stack_floor - bytes < t->stack_span);
}

// Second half: aligns and zeroes p, which alloca returned.
GOMEM_I_INLINE void *gomem_i_hint_end(void *p, size_t bytes, size_t align, const char *file,
                                      int line) {
    if (align > 16) p = (char *)p + ((0 - (uintptr_t)p) & (align - 1));
    if (GOMEM_I_CHECK) gomem_i_hint_placed(p, bytes, file, line);
    return memset(p, 0, bytes);
}

GOMEM_I_INLINE void *gomem_i_hint_heap(uintmax_t n, size_t size, size_t align, const char *file,
                                       int line) {
    if (GOMEM_I_LIKELY(GOMEM_I_TLS->stack_span)) return gomem_i_make(n, size, align, 0);
    return gomem_i_hint_heap_slow(n, size, align, file, line);
}
#endif

GOMEM_I_INLINE void *gomem_i_new_typed(gomem_type *type, size_t size, size_t align) {
    if (GOMEM_I_CHECK && !gomem_i_type_fits(type, size)) return NULL;
    size = gomem_i_one(size);
    unsigned c = gomem_i_class_new(size, align);
    uint32_t index = __atomic_load_n(&type->index, __ATOMIC_RELAXED);
    gomem_i_cache *t = GOMEM_I_TLS;
    if (!GOMEM_I_SLOW && GOMEM_I_LIKELY(c && index < t->typed_count)) {
        void *p = gomem_i_bump(&t->typed[index], gomem_i_class_size[c]);
        if (GOMEM_I_LIKELY(p)) return p;
    }
    return gomem_i_new_typed_slow(type, size);
}

GOMEM_I_INLINE void *gomem_i_make_typed(gomem_type *type, uintmax_t n, size_t size) {
    if (GOMEM_I_CHECK && !gomem_i_type_fits(type, size)) return NULL;
    return gomem_i_fits(n, size) ? gomem_i_new_typed_slow(type, gomem_i_array_n(n, size))
                                 : gomem_i_overflow();
}

// Size of a header of `offset` bytes and n elements, at least that of the struct; SIZE_MAX:
// overflow.
GOMEM_I_INLINE size_t gomem_i_flex(uintmax_t n, size_t offset, size_t element, size_t least) {
    if (GOMEM_I_UNLIKELY(n > ((uintmax_t)PTRDIFF_MAX - offset) / (element ? element : 1)))
        return SIZE_MAX;
    size_t size = offset + (size_t)n * element;
    return size < least ? least : gomem_i_array(size);
}

GOMEM_I_INLINE void *gomem_i_make_flex(size_t size, size_t align, unsigned flags) {
    return GOMEM_I_LIKELY(size != SIZE_MAX) ? gomem_i_new(size, align, flags) : gomem_i_overflow();
}

GOMEM_I_INLINE void *gomem_i_make_flex_typed(gomem_type *type, size_t size) {
    return GOMEM_I_LIKELY(size != SIZE_MAX) ? gomem_i_new_typed_slow(type, size)
                                            : gomem_i_overflow();
}

// The write barrier. gomem_i_before shades the old and the new value before the store.
// gomem_i_after does so after EXCHANGE and CAS; until then both values are on the thread's stack,
// where a stop finds them.
GOMEM_I_INLINE void gomem_i_before(volatile void *slot, uintptr_t value) {
    if (GOMEM_I_UNLIKELY(__atomic_load_n(&gomem_i_barrier, __ATOMIC_RELAXED)))
        gomem_i_shade(__atomic_load_n((volatile uintptr_t *)slot, __ATOMIC_RELAXED), value);
}
GOMEM_I_INLINE void gomem_i_after(uintptr_t old, uintptr_t value) {
    if (GOMEM_I_UNLIKELY(__atomic_load_n(&gomem_i_barrier, __ATOMIC_RELAXED)))
        gomem_i_shade(old, value);
}

GOMEM_I_INLINE void gomem_i_store(volatile void *slot, const volatile void *value) {
    gomem_i_before(slot, (uintptr_t)value);
    __atomic_store_n((volatile gomem_i_word *)slot, (void *)(uintptr_t)value, __ATOMIC_RELAXED);
}

GOMEM_I_INLINE void gomem_i_store_atomic(volatile void *slot, const volatile void *value) {
    gomem_i_before(slot, (uintptr_t)value);
    __atomic_store_n((volatile gomem_i_word *)slot, (void *)(uintptr_t)value, __ATOMIC_RELEASE);
}

GOMEM_I_INLINE void *gomem_i_exchange(volatile void *slot, const volatile void *value) {
    void *old = __atomic_exchange_n((volatile gomem_i_word *)slot, (void *)(uintptr_t)value,
                                    __ATOMIC_ACQ_REL);
    gomem_i_after((uintptr_t)old, (uintptr_t)value);
    return old;
}

GOMEM_I_INLINE bool gomem_i_cas(volatile void *slot, volatile void *expected,
                                const volatile void *value) {
    void *old = *(volatile gomem_i_word *)expected;
    bool done = __atomic_compare_exchange_n((volatile gomem_i_word *)slot, &old,
                                            (void *)(uintptr_t)value, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_ACQUIRE);
    if (done) gomem_i_after((uintptr_t)old, (uintptr_t)value);
    else *(volatile gomem_i_word *)expected = old;
    return done;
}

GOMEM_I_INLINE void gomem_i_keep_alive(const volatile void *p) {
    __asm__ volatile("" : : "r"(p) : "memory");
}
#endif

#if defined(__cplusplus)
}
#endif

/* ---- macros --------------------------------------------------------------------------------- */

// gomem_malloc and gomem_free for a T, inlined, with the class known at compile time: 1 ns, NULL
// with ENOMEM. GOMEM_FREE accepts NULL and any gomem object; it calls gomem_free unless p is a
// manual object of T's class. GOMEM_RESIZE is gomem_realloc to n elements. Any thread.
#define GOMEM_MALLOC(T)       ((T *)gomem_i_malloc_typed(sizeof(T), GOMEM_I_ALIGNOF(T)))
#define GOMEM_MALLOC_N(T, n)  ((T *)gomem_i_take_n((uintmax_t)(n), sizeof(T), GOMEM_I_ALIGNOF(T)))
#define GOMEM_FREE(T, p)      gomem_i_free_typed((1 ? (p) : (T *)0), sizeof(T), GOMEM_I_ALIGNOF(T))
#define GOMEM_RESIZE(T, p, n) ((T *)gomem_i_resize((1 ? (p) : (T *)0), (uintmax_t)(n), sizeof(T)))

#if GOMEM_I_POOL
// GOMEM_POOL(name, T) defines a pool of T private to this file, and T *name_get(void), void
// name_put(T *), size_t name_get_n(T **, n) and void name_put_n(T **, n), which work as the
// gomem_pool_ functions. _SCAN: the objects may hold collected pointers. _DECLARE in a header and
// _DEFINE in one .c file make one pool for the whole program. GOMEM_POOL_OF(name) is its
// gomem_pool *, for stats, reserve and destroy (the next get then creates a new pool); NULL:
// ENOMEM.
#define GOMEM_I_POOL_INIT(name, T, flags) \
    { 0, 0, 0, 0, (flags), 0, 0, #name, sizeof(T), GOMEM_I_ALIGNOF(T) }
#define GOMEM_I_POOL_CALLS(name, T)                                                         \
    GOMEM_I_INLINE T *name##_get(void) { return (T *)gomem_i_pool_get(&name##_pool); }      \
    GOMEM_I_INLINE void name##_put(T *obj) { gomem_i_pool_put(&name##_pool, (void *)obj); } \
    GOMEM_I_INLINE size_t name##_get_n(T **out, size_t n) {                                 \
        return gomem_i_pool_get_n(&name##_pool, (void *)out, n);                            \
    }                                                                                       \
    GOMEM_I_INLINE void name##_put_n(T **in, size_t n) {                                    \
        gomem_i_pool_put_n(&name##_pool, (void *)in, n);                                    \
    }                                                                                       \
    struct name##_pool_wants_a_semicolon
#define GOMEM_POOL(name, T)                                                         \
    static gomem_i_pool name##_pool GOMEM_I_UNUSED = GOMEM_I_POOL_INIT(name, T, 0); \
    GOMEM_I_POOL_CALLS(name, T)
#define GOMEM_POOL_SCAN(name, T)                                                             \
    static gomem_i_pool name##_pool GOMEM_I_UNUSED = GOMEM_I_POOL_INIT(name, T, GOMEM_SCAN); \
    GOMEM_I_POOL_CALLS(name, T)
#define GOMEM_POOL_DECLARE(name, T)  \
    extern gomem_i_pool name##_pool; \
    GOMEM_I_POOL_CALLS(name, T)
#define GOMEM_POOL_DEFINE(name, T) gomem_i_pool name##_pool = GOMEM_I_POOL_INIT(name, T, 0)
#define GOMEM_POOL_DEFINE_SCAN(name, T) \
    gomem_i_pool name##_pool = GOMEM_I_POOL_INIT(name, T, GOMEM_SCAN)
#define GOMEM_POOL_OF(name) gomem_i_pool_of(&name##_pool)
#endif

#if GOMEM_I_ARENA
// Allocate one T, or n of them, zeroed, from an arena; NULL with ENOMEM.
#define GOMEM_ARENA_NEW(a, T) ((T *)gomem_i_arena_make((a), 1u, sizeof(T), GOMEM_I_ALIGNOF(T)))
#define GOMEM_ARENA_MAKE(a, T, n) \
    ((T *)gomem_i_arena_make((a), (uintmax_t)(n), sizeof(T), GOMEM_I_ALIGNOF(T)))

// TEMP frees what the enclosing block allocates from here on when the block ends, however it is
// left. SCOPE does the same for one statement; break and continue leave it, not a loop around it.
#define GOMEM_I_JOIN(a, b) a##b
#define GOMEM_I_NAME(a, b) GOMEM_I_JOIN(a, b)
#define GOMEM_I_SCOPE      GOMEM_I_NAME(gomem_scope_, __LINE__)
#define GOMEM_ARENA_TEMP(a)         \
    gomem_arena_scope GOMEM_I_SCOPE \
        __attribute__((cleanup(gomem_i_scope_end), unused)) = gomem_i_scope_begin(a)
#define GOMEM_ARENA_SCOPE(a)                                                   \
    for (gomem_arena_scope GOMEM_I_SCOPE                                       \
         __attribute__((cleanup(gomem_i_scope_end))) = gomem_i_scope_begin(a); \
         GOMEM_I_SCOPE.live; GOMEM_I_SCOPE.live = 0)
#endif

#if GOMEM_I_ESCAPE
// GOMEM_STACK: n of T, zeroed, on the stack or in the collected heap; NULL with ENOMEM. n is
// evaluated once and may be 0. GOMEM_HINT is GOMEM_MAKE if `escapes` (the memory outlives the
// function), else GOMEM_STACK. GOMEM_ESCAPE makes p, of n elements, outlive the function: it
// returns a copy in the heap if p is on the stack, else p.
#define GOMEM_I_SLACK(T) (GOMEM_I_ALIGNOF(T) > 16 ? GOMEM_I_ALIGNOF(T) : 0)
#define GOMEM_STACK(T, n)                                                                          \
    ((T *)__extension__({                                                                          \
        uintmax_t gomem_i_n = (uintmax_t)(n);                                                      \
        gomem_i_hint gomem_i_here = {0, true};                                                     \
        if (GOMEM_I_UNLIKELY(!gomem_i_hint_fits(gomem_i_n, sizeof(T), GOMEM_I_ALIGNOF(T))))        \
            gomem_i_here = gomem_i_hint_slow(gomem_i_n, sizeof(T), GOMEM_I_ALIGNOF(T),             \
                                             gomem_i_stack_pointer(), __FILE__, __LINE__);         \
        gomem_i_here.stack                                                                         \
            ? gomem_i_hint_end(__builtin_alloca((size_t)gomem_i_n * sizeof(T) + GOMEM_I_SLACK(T)), \
                               (size_t)gomem_i_n * sizeof(T), GOMEM_I_ALIGNOF(T), __FILE__,        \
                               __LINE__)                                                           \
            : gomem_i_here.heap;                                                                   \
    }))
#define GOMEM_HINT(T, n, escapes)                                                                \
    ((escapes) ? (T *)gomem_i_hint_heap((uintmax_t)(n), sizeof(T), GOMEM_I_ALIGNOF(T), __FILE__, \
                                        __LINE__)                                                \
               : GOMEM_STACK(T, n))
#if defined(__cplusplus)
template <class T> GOMEM_I_INLINE T *gomem_i_escape_typed(T *p, uintmax_t n) {
    return (T *)gomem_i_escape((const void *)p, n, sizeof(T), alignof(T));
}
#define GOMEM_ESCAPE(p, n) gomem_i_escape_typed((p), (uintmax_t)(n))
#else
#define GOMEM_ESCAPE(p, n) gomem_i_escape((p), (uintmax_t)(n), sizeof *(p), __alignof__(*(p)))
#endif
#endif

#if GOMEM_I_COLLECTOR
// Collected, zeroed: one T, n of them, or a T with n elements of its flexible array member. NULL
// with ENOMEM if memory is exhausted or the size overflows. Any thread; inlined, 2 ns for 16 bytes.
#define GOMEM_NEW(T) ((T *)gomem_i_new(gomem_i_one(sizeof(T)), GOMEM_I_ALIGNOF(T), 0u))
#define GOMEM_NEW_NOSCAN(T) \
    ((T *)gomem_i_new(gomem_i_one(sizeof(T)), GOMEM_I_ALIGNOF(T), GOMEM_NOSCAN))
#define GOMEM_NEW_TYPED(T, type) ((T *)gomem_i_new_typed((type), sizeof(T), GOMEM_I_ALIGNOF(T)))
// clang-format off
#define GOMEM_MAKE(T, n) \
    ((T *)gomem_i_make((uintmax_t)(n), sizeof(T), GOMEM_I_ALIGNOF(T), 0u))
// clang-format on
#define GOMEM_MAKE_NOSCAN(T, n) \
    ((T *)gomem_i_make((uintmax_t)(n), sizeof(T), GOMEM_I_ALIGNOF(T), GOMEM_NOSCAN))
#define GOMEM_MAKE_TYPED(T, type, n) ((T *)gomem_i_make_typed((type), (uintmax_t)(n), sizeof(T)))
#define GOMEM_I_FLEX(T, tail, n) \
    gomem_i_flex((uintmax_t)(n), offsetof(T, tail), sizeof(((T *)0)->tail[0]), sizeof(T))
#define GOMEM_NEW_FLEX(T, tail, n) \
    ((T *)gomem_i_make_flex(GOMEM_I_FLEX(T, tail, n), GOMEM_I_ALIGNOF(T), 0u))
#define GOMEM_NEW_FLEX_NOSCAN(T, tail, n) \
    ((T *)gomem_i_make_flex(GOMEM_I_FLEX(T, tail, n), GOMEM_I_ALIGNOF(T), GOMEM_NOSCAN))
#define GOMEM_NEW_FLEX_TYPED(T, type, tail, n) \
    ((T *)gomem_i_make_flex_typed((type), GOMEM_I_FLEX(T, tail, n)))

// These define a gomem_type at file scope.
// GOMEM_TYPE(name, T, field, …): these fields (at most 64; arrays count as one) hold pointers.
// GOMEM_TYPE_FLEX(name, T, tail, field, …): so do all words from tail on; fields are optional.
// GOMEM_TYPE_MARK(name, T, fn): fn calls gomem_mark for each pointer; it runs on collector threads.
#define GOMEM_I_PROVE(c) (0 * sizeof(char[(c) ? 1 : -1]))
#define GOMEM_I_FIELD(T, f)                                                                 \
    {(uint32_t)(offsetof(T, f) + GOMEM_I_PROVE(offsetof(T, f) % sizeof(void *) == 0 &&      \
                                               sizeof(((T *)0)->f) % sizeof(void *) == 0)), \
     (uint32_t)(sizeof(((T *)0)->f) / sizeof(void *))},
#define GOMEM_I_TAIL(T, f) \
    {(uint32_t)(offsetof(T, f) + GOMEM_I_PROVE(sizeof(((T *)0)->f[0]) % sizeof(void *) == 0)), 0u},
#define GOMEM_I_EXPAND(x) x
// clang-format off
#define GOMEM_I_PICK(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, \
    a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, \
    a35, a36, a37, a38, a39, a40, a41, a42, a43, a44, a45, a46, a47, a48, a49, a50, a51, a52, \
    a53, a54, a55, a56, a57, a58, a59, a60, a61, a62, a63, a64, n, ...) n
#define GOMEM_I_EACH(T, ...) GOMEM_I_EXPAND(GOMEM_I_PICK(__VA_ARGS__, GOMEM_I_F64, \
    GOMEM_I_F63, GOMEM_I_F62, GOMEM_I_F61, GOMEM_I_F60, GOMEM_I_F59, GOMEM_I_F58, GOMEM_I_F57, \
    GOMEM_I_F56, GOMEM_I_F55, GOMEM_I_F54, GOMEM_I_F53, GOMEM_I_F52, GOMEM_I_F51, GOMEM_I_F50, \
    GOMEM_I_F49, GOMEM_I_F48, GOMEM_I_F47, GOMEM_I_F46, GOMEM_I_F45, GOMEM_I_F44, GOMEM_I_F43, \
    GOMEM_I_F42, GOMEM_I_F41, GOMEM_I_F40, GOMEM_I_F39, GOMEM_I_F38, GOMEM_I_F37, GOMEM_I_F36, \
    GOMEM_I_F35, GOMEM_I_F34, GOMEM_I_F33, GOMEM_I_F32, GOMEM_I_F31, GOMEM_I_F30, GOMEM_I_F29, \
    GOMEM_I_F28, GOMEM_I_F27, GOMEM_I_F26, GOMEM_I_F25, GOMEM_I_F24, GOMEM_I_F23, GOMEM_I_F22, \
    GOMEM_I_F21, GOMEM_I_F20, GOMEM_I_F19, GOMEM_I_F18, GOMEM_I_F17, GOMEM_I_F16, GOMEM_I_F15, \
    GOMEM_I_F14, GOMEM_I_F13, GOMEM_I_F12, GOMEM_I_F11, GOMEM_I_F10, GOMEM_I_F9, GOMEM_I_F8, \
    GOMEM_I_F7, GOMEM_I_F6, GOMEM_I_F5, GOMEM_I_F4, GOMEM_I_F3, GOMEM_I_F2, GOMEM_I_F1,            \
    0)(T, __VA_ARGS__))
#define GOMEM_I_F1(T, f) GOMEM_I_FIELD(T, f)
#define GOMEM_I_F2(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F1(T, __VA_ARGS__)
#define GOMEM_I_F3(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F2(T, __VA_ARGS__)
#define GOMEM_I_F4(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F3(T, __VA_ARGS__)
#define GOMEM_I_F5(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F4(T, __VA_ARGS__)
#define GOMEM_I_F6(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F5(T, __VA_ARGS__)
#define GOMEM_I_F7(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F6(T, __VA_ARGS__)
#define GOMEM_I_F8(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F7(T, __VA_ARGS__)
#define GOMEM_I_F9(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F8(T, __VA_ARGS__)
#define GOMEM_I_F10(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F9(T, __VA_ARGS__)
#define GOMEM_I_F11(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F10(T, __VA_ARGS__)
#define GOMEM_I_F12(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F11(T, __VA_ARGS__)
#define GOMEM_I_F13(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F12(T, __VA_ARGS__)
#define GOMEM_I_F14(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F13(T, __VA_ARGS__)
#define GOMEM_I_F15(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F14(T, __VA_ARGS__)
#define GOMEM_I_F16(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F15(T, __VA_ARGS__)
#define GOMEM_I_F17(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F16(T, __VA_ARGS__)
#define GOMEM_I_F18(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F17(T, __VA_ARGS__)
#define GOMEM_I_F19(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F18(T, __VA_ARGS__)
#define GOMEM_I_F20(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F19(T, __VA_ARGS__)
#define GOMEM_I_F21(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F20(T, __VA_ARGS__)
#define GOMEM_I_F22(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F21(T, __VA_ARGS__)
#define GOMEM_I_F23(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F22(T, __VA_ARGS__)
#define GOMEM_I_F24(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F23(T, __VA_ARGS__)
#define GOMEM_I_F25(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F24(T, __VA_ARGS__)
#define GOMEM_I_F26(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F25(T, __VA_ARGS__)
#define GOMEM_I_F27(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F26(T, __VA_ARGS__)
#define GOMEM_I_F28(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F27(T, __VA_ARGS__)
#define GOMEM_I_F29(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F28(T, __VA_ARGS__)
#define GOMEM_I_F30(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F29(T, __VA_ARGS__)
#define GOMEM_I_F31(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F30(T, __VA_ARGS__)
#define GOMEM_I_F32(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F31(T, __VA_ARGS__)
#define GOMEM_I_F33(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F32(T, __VA_ARGS__)
#define GOMEM_I_F34(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F33(T, __VA_ARGS__)
#define GOMEM_I_F35(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F34(T, __VA_ARGS__)
#define GOMEM_I_F36(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F35(T, __VA_ARGS__)
#define GOMEM_I_F37(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F36(T, __VA_ARGS__)
#define GOMEM_I_F38(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F37(T, __VA_ARGS__)
#define GOMEM_I_F39(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F38(T, __VA_ARGS__)
#define GOMEM_I_F40(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F39(T, __VA_ARGS__)
#define GOMEM_I_F41(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F40(T, __VA_ARGS__)
#define GOMEM_I_F42(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F41(T, __VA_ARGS__)
#define GOMEM_I_F43(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F42(T, __VA_ARGS__)
#define GOMEM_I_F44(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F43(T, __VA_ARGS__)
#define GOMEM_I_F45(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F44(T, __VA_ARGS__)
#define GOMEM_I_F46(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F45(T, __VA_ARGS__)
#define GOMEM_I_F47(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F46(T, __VA_ARGS__)
#define GOMEM_I_F48(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F47(T, __VA_ARGS__)
#define GOMEM_I_F49(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F48(T, __VA_ARGS__)
#define GOMEM_I_F50(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F49(T, __VA_ARGS__)
#define GOMEM_I_F51(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F50(T, __VA_ARGS__)
#define GOMEM_I_F52(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F51(T, __VA_ARGS__)
#define GOMEM_I_F53(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F52(T, __VA_ARGS__)
#define GOMEM_I_F54(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F53(T, __VA_ARGS__)
#define GOMEM_I_F55(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F54(T, __VA_ARGS__)
#define GOMEM_I_F56(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F55(T, __VA_ARGS__)
#define GOMEM_I_F57(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F56(T, __VA_ARGS__)
#define GOMEM_I_F58(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F57(T, __VA_ARGS__)
#define GOMEM_I_F59(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F58(T, __VA_ARGS__)
#define GOMEM_I_F60(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F59(T, __VA_ARGS__)
#define GOMEM_I_F61(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F60(T, __VA_ARGS__)
#define GOMEM_I_F62(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F61(T, __VA_ARGS__)
#define GOMEM_I_F63(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F62(T, __VA_ARGS__)
#define GOMEM_I_F64(T, f, ...) GOMEM_I_FIELD(T, f) GOMEM_I_F63(T, __VA_ARGS__)
#define GOMEM_I_T1(T, tail) GOMEM_I_TAIL(T, tail)
#define GOMEM_I_T2(T, tail, ...) GOMEM_I_TAIL(T, tail) GOMEM_I_EACH(T, __VA_ARGS__)
#define GOMEM_I_EACH_FLEX(T, ...) GOMEM_I_EXPAND(GOMEM_I_PICK(__VA_ARGS__, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, \
    GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T2, GOMEM_I_T1,            \
    0)(T, __VA_ARGS__))
// clang-format on
#define GOMEM_I_TYPE(name, T, fn, ...)                                                       \
    static const gomem_field name##_fields[] GOMEM_I_UNUSED = {__VA_ARGS__};                 \
    static gomem_type name GOMEM_I_UNUSED = {#T,                                             \
                                             sizeof(T),                                      \
                                             GOMEM_I_ALIGNOF(T),                             \
                                             name##_fields,                                  \
                                             sizeof name##_fields / sizeof name##_fields[0], \
                                             fn,                                             \
                                             0u}
#define GOMEM_TYPE(name, T, ...)      GOMEM_I_TYPE(name, T, 0, GOMEM_I_EACH(T, __VA_ARGS__))
#define GOMEM_TYPE_FLEX(name, T, ...) GOMEM_I_TYPE(name, T, 0, GOMEM_I_EACH_FLEX(T, __VA_ARGS__))
#define GOMEM_TYPE_NOPTR(name, T) \
    static gomem_type name GOMEM_I_UNUSED = {#T, sizeof(T), GOMEM_I_ALIGNOF(T), 0, 0u, 0, 0u}
#define GOMEM_TYPE_MARK(name, T, fn) \
    static gomem_type name GOMEM_I_UNUSED = {#T, sizeof(T), GOMEM_I_ALIGNOF(T), 0, 0u, fn, 0u}

// Keeps p's object alive up to here, whatever the optimizer does. No instruction.
#define GOMEM_KEEP_ALIVE(p) gomem_i_keep_alive(p)

// *(slot) = (value) for a slot of pointer type or uintptr_t, with the write barrier that
// GOMEM_GC_BARRIER needs: a load and a test, and while a cycle marks some ns. _ATOMIC is a release
// store; EXCHANGE returns the old value; CAS(slot, &expected, value) is C11's strong
// compare-exchange. Any thread.
GOMEM_I_INLINE void gomem_i_store_word(volatile void *slot, uintptr_t value) {
    gomem_i_before(slot, value);
    *(volatile uintptr_t *)slot = value;
}
GOMEM_I_INLINE void gomem_i_store_word_atomic(volatile void *slot, uintptr_t value) {
    gomem_i_before(slot, value);
    __atomic_store_n((volatile uintptr_t *)slot, value, __ATOMIC_RELEASE);
}
GOMEM_I_INLINE uintptr_t gomem_i_exchange_word(volatile void *slot, uintptr_t value) {
    uintptr_t old = __atomic_exchange_n((volatile uintptr_t *)slot, value, __ATOMIC_ACQ_REL);
    gomem_i_after(old, value);
    return old;
}
GOMEM_I_INLINE bool gomem_i_cas_word(volatile void *slot, uintptr_t *expected, uintptr_t value) {
    bool done = __atomic_compare_exchange_n((volatile uintptr_t *)slot, expected, value, false,
                                            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    if (done) gomem_i_after(*expected, value);
    return done;
}
#if defined(__cplusplus)
template <class T> struct gomem_i_same { typedef T type; };
template <class P> GOMEM_I_INLINE const volatile void *gomem_i_bits(P *value) { return value; }
template <class P>
GOMEM_I_INLINE void gomem_i_put(P *volatile *slot, typename gomem_i_same<P>::type *value) {
    gomem_i_store((volatile void *)slot, (const volatile void *)value);
}
GOMEM_I_INLINE void gomem_i_put(volatile uintptr_t *slot, uintptr_t value) {
    gomem_i_store_word(slot, value);
}
template <class P>
GOMEM_I_INLINE void gomem_i_put_atomic(P *volatile *slot, typename gomem_i_same<P>::type *value) {
    gomem_i_store_atomic((volatile void *)slot, (const volatile void *)value);
}
template <template <class> class A, class P>
GOMEM_I_INLINE void gomem_i_put_atomic(A<P *> *slot, typename gomem_i_same<P>::type *value) {
    gomem_i_before(slot, (uintptr_t)value);
    slot->store(value);
}
GOMEM_I_INLINE void gomem_i_put_atomic(volatile uintptr_t *slot, uintptr_t value) {
    gomem_i_store_word_atomic(slot, value);
}
template <class P>
GOMEM_I_INLINE P *gomem_i_swap(P *volatile *slot, typename gomem_i_same<P>::type *value) {
    return (P *)gomem_i_exchange((volatile void *)slot, (const volatile void *)value);
}
template <template <class> class A, class P>
GOMEM_I_INLINE P *gomem_i_swap(A<P *> *slot, typename gomem_i_same<P>::type *value) {
    P *old = slot->exchange(value);
    gomem_i_after((uintptr_t)old, (uintptr_t)value);
    return old;
}
GOMEM_I_INLINE uintptr_t gomem_i_swap(volatile uintptr_t *slot, uintptr_t value) {
    return gomem_i_exchange_word(slot, value);
}
template <class P>
GOMEM_I_INLINE bool gomem_i_swap_if(P *volatile *slot, P **expected,
                                    typename gomem_i_same<P>::type *value) {
    return gomem_i_cas((volatile void *)slot, (volatile void *)expected,
                       (const volatile void *)value);
}
template <template <class> class A, class P>
GOMEM_I_INLINE bool gomem_i_swap_if(A<P *> *slot, P **expected,
                                    typename gomem_i_same<P>::type *value) {
    bool done = slot->compare_exchange_strong(*expected, value);
    if (done) gomem_i_after((uintptr_t)*expected, (uintptr_t)value);
    return done;
}
GOMEM_I_INLINE bool gomem_i_swap_if(volatile uintptr_t *slot, uintptr_t *expected,
                                    uintptr_t value) {
    return gomem_i_cas_word(slot, expected, value);
}
#define GOMEM_STORE(slot, value)         gomem_i_put((slot), (value))
#define GOMEM_STORE_ATOMIC(slot, value)  gomem_i_put_atomic((slot), (value))
#define GOMEM_EXCHANGE(slot, value)      gomem_i_swap((slot), (value))
#define GOMEM_CAS(slot, expected, value) gomem_i_swap_if((slot), (expected), (value))
#else
GOMEM_I_INLINE bool gomem_i_never(uintptr_t a, uintptr_t b) { return a != b; }
// GOMEM_CAS may stand as a statement: no compiler warns of an unused result of a call, but some do
// of a conditional's.
GOMEM_I_INLINE bool gomem_i_whether(bool done) { return done; }
// The branch that is never taken lets the compiler check the types of slot and value.
#define GOMEM_I_BY_SLOT(slot, word, pointer) _Generic(*(slot), uintptr_t : word, default : pointer)
#define GOMEM_STORE(slot, value)                                                   \
    (1 ? GOMEM_I_BY_SLOT(slot, gomem_i_store_word, gomem_i_store)((slot), (value)) \
       : (void)(*(slot) = (value)))
#define GOMEM_STORE_ATOMIC(slot, value)                                                          \
    (1 ? GOMEM_I_BY_SLOT(slot, gomem_i_store_word_atomic, gomem_i_store_atomic)((slot), (value)) \
       : (void)(*(slot) = (value)))
#define GOMEM_EXCHANGE(slot, value)                                                      \
    (1 ? GOMEM_I_BY_SLOT(slot, gomem_i_exchange_word, gomem_i_exchange)((slot), (value)) \
       : (*(slot) = (value)))
#define GOMEM_CAS(slot, expected, value)                                                      \
    gomem_i_whether(                                                                          \
        1 ? GOMEM_I_BY_SLOT(slot, gomem_i_cas_word, gomem_i_cas)((slot), (expected), (value)) \
          : gomem_i_never((uintptr_t)(*(slot) = *(expected)), (uintptr_t)(*(slot) = (value))))
#endif
#endif // GOMEM_I_COLLECTOR

#endif // GOMEM_H_INCLUDED

#if defined(GOMEM_IMPLEMENTATION) && !defined(GOMEM_IMPLEMENTATION_DONE)
#define GOMEM_IMPLEMENTATION_DONE

#undef pthread_create // GOMEM_THREADS may have defined these in an earlier inclusion
#undef pthread_join
#undef pthread_exit
#undef pthread_detach
#undef pthread_sigmask
#undef sigprocmask
#undef sigsuspend
#undef sigwait
#undef sigwaitinfo
#undef sigtimedwait
#undef sigaction
#undef ppoll
#undef pselect
#undef epoll_pwait
#undef epoll_pwait2
#undef signalfd
#undef setcontext
#undef swapcontext
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <link.h>
#if defined(GOMEM_I_NO_RWLOCK) // <pthread.h> uses these types; the same as glibc's
typedef union {
    struct __pthread_rwlock_arch_t __data;
    char __size[__SIZEOF_PTHREAD_RWLOCK_T];
    long int __align;
} pthread_rwlock_t;
typedef union {
    char __size[__SIZEOF_PTHREAD_RWLOCKATTR_T];
    long int __align;
} pthread_rwlockattr_t;
#endif
#if defined(GOMEM_I_NO_SPINLOCK)
typedef volatile int pthread_spinlock_t;
typedef union {
    char __size[__SIZEOF_PTHREAD_BARRIER_T];
    long int __align;
} pthread_barrier_t;
typedef union {
    char __size[__SIZEOF_PTHREAD_BARRIERATTR_T];
    int __align;
} pthread_barrierattr_t;
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#if !defined(MAP_PRIVATE)
#error "gomem.h: in strict -std=c11 include it before system headers, or compile with -D_GNU_SOURCE"
#endif

/* ==========================================================================================
 * The life of an object
 * ==========================================================================================
 * This essay follows an object from its allocation to the reuse of its memory and names the
 * function of each step. The rules R1 to R8 are defined here; every other tag is defined in the
 * card of a room.
 *
 * WORDS
 *   A size class is one of 85 slot sizes. A page's descriptor is a word that tells the kind and the
 *   class of its span. A central is the set of spans of one kind and class that no thread owns. The
 *   page heap gives out pages. A section is a stretch of library code in which a thread is not
 *   stopped. To sweep a span is to make the slots of its dead objects free. A root is memory that
 *   is always scanned.
 *
 * WHERE MEMORY COMES FROM
 *   The heap is one range of addresses, cut into pages of 8 KiB. Its address space is taken as the
 *   heap grows (gm_pages_init_sparse) or, where that cannot be done, reserved at once
 *   (gm_pages_init). A span is a run of pages for objects of one kind and one size class, and of
 *   one type if they have one (gm_heap_take). An object over 32 KiB has a span of its own, and so
 *   has a block of a pool or an arena. The kind says who frees the objects and whether they are
 *   scanned:
 *     GM_MANUAL                     the program frees them, nobody scans them
 *     GM_SCAN, GM_TYPED, GM_NOSCAN  the collector frees them: scanned word by word, scanned by
 *                                   type, not scanned
 *     GM_ROOT, GM_ROOT_NOSCAN        uncollectable: the program frees them; the first are scanned
 *   The way back from a word to an object is short: subtract the base, read the descriptor of the
 *   page (its kind, its class, and how far into its span it lies), find the span (gm_span_find) and
 *   the slot (gm_span_index). A free needs the descriptor only; a marker goes from there to the
 *   object's bits (gm_mark_reach). A word outside of the heap fails at the first step.
 *
 * A MANUAL OBJECT
 *   For each size class that it uses a thread keeps two magazines, which are stacks of free
 *   objects; one of them is loaded. GOMEM_MALLOC pops the loaded one (gomem_i_malloc_typed).
 *   GOMEM_FREE pushes to it (gomem_i_free_typed), after it has compared kind and class with the
 *   page's descriptor, and the pointer with the two that were freed last. It does not matter which
 *   thread allocated the object. Neither takes a lock or needs an atomic read-modify-write.
 *   When the magazine is empty, gomem_i_malloc_slow enters a library section (gm_alloc_enter) and
 *   gm_cache_refill_manual looks in three places: the thread's second magazine; the depot, where
 *   threads exchange whole magazines without a lock (gm_cache_from_depot); the spans of the class,
 *   fullest first, under the lock of their central (gm_cache_fill). If all spans are full, a new
 *   one comes from the page heap.
 *   When the magazine is full, objects go back the same way (gm_cache_make_room): to the depot
 *   (gm_cache_give_magazine), to the spans (gm_cache_return). A span whose last object comes back
 *   returns its pages (gm_heap_put), unless its class has no other one with room, and idle pages
 *   over a bound return to the kernel (gm_heap_trim).
 *
 * A COLLECTED OBJECT
 *   Each thread owns a span for each kind and class, or type and class, that it uses, and of that
 *   span a run: free slots in a row, zeroed, up to about 4 KiB. GOMEM_NEW (gomem_i_new) adds the
 *   object's size to the run's cursor. Nothing else has to be recorded: the thread holds the new
 *   object in a register from the moment that it exists, and that is where a stop looks.
 *   When the run is used up, gomem_i_new_slow asks whether the heap has grown to its trigger
 *   (gm_schedule_poll, which may ask for a cycle), and takes the next run (gm_cache_refill_run): of
 *   the same span (gm_cache_take_run), else of another one with room, of one that is swept for it,
 *   or of a new one (gm_cache_next_span). The run is counted as allocated when it is taken.
 *   Nobody frees the object. Four bits lie beside the heap for it: alloc, mark, grey, freed. A
 *   cycle sets mark if something reaches the object. Sweeping then rewrites 64 bits at a time:
 *   alloc = mark & ~freed, mark = freed = 0 (gm_sweep_bits). A slot whose alloc bit has become 0 is
 *   free for the next run. The object itself is not touched before it is zeroed for its next use,
 *   unless freed memory is filled (poison=1) or a tool watches.
 *   gomem_free works here too: it sets freed (gm_alloc_free_collected), and outside of marking the
 *   next run may take the slot; a large object's pages return at once (gm_alloc_free_large).
 *
 * SECTIONS
 *   Slow paths run in a library section: a thread adds 1 to its depth when it enters
 *   (gm_sync_enter) and is not stopped until it subtracts it again (gm_sync_leave). The fast paths
 *   run outside and may be interrupted between any two instructions; the rules below allow it.
 *
 * THE RULES OF RUNS AND MAGAZINES
 *   A slot is held while it lies in [cursor, end) of a run: it is taken from its span, and the
 *   program has not seen it. Marking and the flip are explained in the life of a cycle.
 *   R1  A held slot has its alloc bit set and is zero. From the end of marking to the flip it has
 *       its mark bit too, as has every collected object that is allocated then.
 *   R2  Outside of sections the inlined paths change only the cursors of the thread's runs and
 *       arenas, the tops and slots of its magazines, and counts of objects that it holds. A thread
 *       that marks along (gm_schedule_assist) is in no section either: it writes what markers
 *       write.
 *   R3  The cursor is stored before the object is used, with a signal fence between. So whoever
 *       stops the thread, at any instruction, finds the object either still held or already the
 *       program's, never both.
 *   R4  A span has one owner at most, a thread or its central. Only the owner takes runs from it or
 *       lists it. A sweep of an owned span rewrites its bits and resets its counts; it neither
 *       lists it nor gives it up. A span that is being swept is in no list.
 *   R5  While a cycle marks, nothing shrinks: no alloc or mark bit of a collected object is
 *       cleared, and no span of a kind that is collected or scanned is freed, shrunk or given
 *       another meaning.
 *   R6  An object is live if (its span is swept ? alloc : alloc & mark) & ~freed (gm_sweep_live).
 *       A span is swept when its generation is the heap's.
 *   R7  Uncollectable objects have no mark bit and are never swept. The scanned ones (GM_ROOT) are
 *       roots: all of them are grey when marking begins. A slot is zeroed and free at once when it
 *       is freed.
 *   R8  A loaded magazine is touched by its thread alone; that of a pool cache which threads share,
 *       under the lock POOL_CACHE. A push stores the slot, then the top; a pop stores the top. So a
 *       signal, a stop or a fork finds it whole.
 */

/* ==========================================================================================
 * The life of a cycle
 * ==========================================================================================
 * This essay follows one cycle of the collector and says what the program's threads may do at each
 * step. Cycles run on the background thread (gm_schedule_main), or on the thread that asked for one
 * (gm_schedule_cycle). gm_gc_run_concurrent is the spine of the code.
 *
 * BEFORE  The goal is how large the heap may be when a cycle ends; the trigger, below it, is where
 *   the cycle begins (room pacer). A thread that needs memory finds that the heap has grown to its
 *   trigger (gm_schedule_poll) and asks for a cycle (gm_schedule_pace). A stopping collector's, and
 *   a small heap's, it runs itself. What the last cycle left unswept is swept (gm_gc_begin), but
 *   for the spans that threads own.
 *
 * 1. ARM  gm_writes_arm asks the kernel to note, from here on, which pages are written (by write
 *   protection of userfaultfd, Linux 6.7). The program runs.
 * 2. START STOP  gm_gc_begin_marking stops all other threads for some 20 us. The spans that they
 *   own are swept: now all mark and grey bits are 0. Stacks, registers, thread-local storage, the
 *   program's globals and what it has registered are listed as roots; uncollectable objects become
 *   grey. From here on marking is on, and rule R5 holds. The program runs again.
 * 3. MARK  Markers (gm_mark_work) read the roots and shade what they point to: a white object (no
 *   mark bit) becomes black (mark bit, no grey bit) and goes on the marker's stack, to be scanned
 *   before that marker rests. What a marker has no room or no time for it makes grey (both bits),
 *   for any marker to scan. Meanwhile the program reads, writes and allocates as it likes. New
 *   objects are white, as if they had been there all along. A thread that allocates past the goal,
 *   or past the trigger a large object, marks along (gm_schedule_assist).
 * 4. ROUNDS  gm_gc_rounds asks which pages were written since they were armed or last asked for.
 *   Marked objects on those pages become grey again (gm_mark_regrey) and are scanned again. It goes
 *   on until at most 64 pages were written, or more than 7/8 of the round before, or 32 rounds.
 * 5. FINISH STOP  gm_gc_finish stops all other threads, reads the roots again (of large ones that
 *   are tracked only what was written) and the pages written since the last round, and marks until
 *   nothing is grey. It has a budget: if that is spent, the program goes on, so do steps 3 and 4,
 *   and nothing that was marked is lost. The sixth try has none.
 * 6. DECIDE  If any object has a side record (finalizer, cleanup, weak pointer or count),
 *   gm_gc_decide lets the program go on while gm_finalize_decide finds those that nothing reaches.
 *   A collected object that is allocated now is marked at once.
 * 7. FLIP  In the same stop, or after step 6 in one more, gm_gc_flip_stopped adds 2 to the sweep
 *   generation. That one store makes all collected spans unswept, and R6 reads their bits
 *   accordingly.
 *
 * AFTER  Spans are swept when somebody needs one, before a large object is taken, and by the
 *   background thread. Callbacks run on a thread of their own (gm_finalize_main), or where the
 *   program calls gomem_run_finalizers.
 *
 * WHY NO WRITE BARRIER (code at each store of a pointer) IS NEEDED
 *   A marker that runs beside the program can miss an object in one way: the program stores the
 *   only pointer to it into an object that was scanned already, and erases the copy that the marker
 *   would have found. But a store is a write to a page. Either the marker read the word after the
 *   store and saw the pointer; or the store came after the read, hence after the page was armed,
 *   and the kernel reports the page, and the object that was stored into is scanned again. A
 *   pointer in a register, on a stack or in another root is found in the finish stop. The proof
 *   with its orders stands at room gc (C1 to C4); tests/model checks it.
 *   The barrier collector does not ask the kernel: GOMEM_STORE makes grey what it overwrites and
 *   what it stores (gomem_i_shade), and the start stop scans the stacks, since what a thread is
 *   about to store lies there. The stopping collector lists the roots, marks, decides and flips in
 *   one stop (gm_gc_run_stopped).
 *
 * HOW THREADS ARE STOPPED
 *   gm_world_stop stores the number of the stop in a word that every thread checks when it enters
 *   and leaves a section, and signals each that runs. A thread in a section parks when it leaves
 *   the section. A thread in a blocking region (gomem_blocking_begin) counts as stopped: it touches
 *   no collected memory there. Any other parks in the signal's handler. If one of them is a
 *   straggler, the stop is withdrawn, at first after a millisecond, and tried again; after a second
 *   it is given up. Nothing has been changed by then, and the others run. A cycle keeps its marks
 *   meanwhile (E4).
 *
 * LOCKS
 *   A thread that holds a lock takes only locks further down this list. Check level 2 asserts it
 *   for attached threads.
 *     INIT      the first use of the library, and its end
 *     GC        the cycle: one at a time
 *     TURN      held while a cycle works, let go where a fork may come
 *     GONE      the record that threads share when they have ended; held through stops
 *     WORLD     the list of threads, and stops
 *     POOLS     the list of pools
 *     POOL_CACHE  the cache that threads share, of one pool
 *     POOL      the slabs of one pool
 *     ESCAPES   call sites of stack hints
 *     ROOTS     registered ranges, stacks and functions that name roots
 *     SPECIAL   records of finalizers, cleanups, weak pointers and counts
 *     READY     the queue of callbacks
 *     TYPES     descriptors of types
 *     CENTRAL   the spans of one kind and class, or of one type in a class
 *     HEAP      the page heap
 *     META      the allocator of the library's own records; the depot's new magazines; in a watched
 *               heap, the objects that are held back
 */

/* ==========================================================================================
 * >>base   attributes, bits, checked arithmetic, atomics, text, messages           floor 1
 * ==========================================================================================
 * OWNS        nothing: pure functions and one table of messages
 * WHY         Atomics carry their memory order in the name, so that a reader sees at the call site
 *             what is guaranteed; they are macros because C has no other way to be generic over the
 *             type. Text is formatted here and not by printf, because messages are written from
 *             any depth, under locks, from signal handlers, and with no memory left. The same
 *             formatter serves gomem_arena_printf, where it costs a third of vsnprintf.
 */
// GM_ALWAYS for fast paths, GM_INLINE for small functions, GM_PRIVATE for the others: `unused`
// because options leave out callers. GM_COLD also moves code out of the way of the fast paths.
// GM_RARE: runs once per cycle, thread, process or message, or makes a system call that costs much
// more. It is compiled for size; gcc does the same with whatever only such functions call.
// GM_HOT: runs per object or per word, and is compiled for speed whoever calls it. GM_COLD: a slow
// path that stays a call, so that the fast path around it stays short.
#define GM_NOINLINE __attribute__((noinline))
#define GM_COLD     __attribute__((noinline, cold))
#define GM_RARE     __attribute__((cold))
#define GM_HOT      __attribute__((hot))
#define GM_INLINE   static inline __attribute__((unused))
#define GM_ALWAYS   static inline __attribute__((always_inline, unused))
#define GM_PRIVATE  static __attribute__((unused))

// Which compiler features and sanitizers are there: constants for `if`.
#if !defined(__has_feature)
#define GM_HAS_FEATURE(x) 0
#else
#define GM_HAS_FEATURE(x) __has_feature(x)
#endif
#if !defined(__has_attribute)
#define GM_HAS_ATTRIBUTE(x) 0
#else
#define GM_HAS_ATTRIBUTE(x) __has_attribute(x)
#endif
#if defined(__SANITIZE_THREAD__) || GM_HAS_FEATURE(thread_sanitizer)
#define GM_TSAN 1
#else
#define GM_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__) || GM_HAS_FEATURE(address_sanitizer)
#define GM_ASAN 1
#else
#define GM_ASAN 0
#endif
// For functions that read memory conservatively: they read poisoned and uninitialized words, and
// words that other threads write.
#if GM_HAS_ATTRIBUTE(disable_sanitizer_instrumentation)
#define GM_NO_SANITIZE                                                      \
    __attribute__((no_sanitize("address", "thread", "memory", "undefined"), \
                   disable_sanitizer_instrumentation))
#elif defined(__clang__)
#define GM_NO_SANITIZE __attribute__((no_sanitize("address", "thread", "memory", "undefined")))
#else
#define GM_NO_SANITIZE \
    __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined))
#endif

// Atomic operations by order: rlx relaxed, acq acquire, rel release, seq sequentially consistent.
// Read-modify-write operations return the old value. The strong compare-and-swap writes the value
// that it found to *old if it fails.
#define gm_load_rlx(p)       __atomic_load_n((p), __ATOMIC_RELAXED)
#define gm_load_acq(p)       __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define gm_load_seq(p)       __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define gm_store_rlx(p, v)   __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define gm_store_rel(p, v)   __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define gm_store_seq(p, v)   __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
#define gm_add_rlx(p, v)     __atomic_fetch_add((p), (v), __ATOMIC_RELAXED)
#define gm_add_acqrel(p, v)  __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define gm_sub_rlx(p, v)     __atomic_fetch_sub((p), (v), __ATOMIC_RELAXED)
#define gm_sub_acqrel(p, v)  __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
#define gm_or_rlx(p, v)      __atomic_fetch_or((p), (v), __ATOMIC_RELAXED)
#define gm_or_acqrel(p, v)   __atomic_fetch_or((p), (v), __ATOMIC_ACQ_REL)
#define gm_and_acqrel(p, v)  __atomic_fetch_and((p), (v), __ATOMIC_ACQ_REL)
#define gm_and_rlx(p, v)     __atomic_fetch_and((p), (v), __ATOMIC_RELAXED)
#define gm_swap_rlx(p, v)    __atomic_exchange_n((p), (v), __ATOMIC_RELAXED)
#define gm_swap_acqrel(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define gm_cas_acqrel(p, old, v) \
    __atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define gm_cas_seq(p, old, v) \
    __atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define gm_fence_acq()    __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define gm_fence_rel()    __atomic_thread_fence(__ATOMIC_RELEASE)
#define gm_signal_fence() __atomic_signal_fence(__ATOMIC_SEQ_CST)

// GM_MIN and GM_MAX evaluate their result twice: no side effects in the arguments.
#define GM_MIN(a, b)      ((a) < (b) ? (a) : (b))
#define GM_MAX(a, b)      ((a) > (b) ? (a) : (b))
#define GM_KIB            ((size_t)1 << 10)
#define GM_MIB            ((size_t)1 << 20)

// The seam for broken invariants; by default the program is aborted.
#if !defined(GOMEM_ASSERT)
#define GOMEM_ASSERT(c) ((c) ? (void)0 : gm_base_broken(#c, __LINE__))
#endif
// Checks an invariant from check level 1 on. The condition must have no side effects.
#define gm_assert(c) (GOMEM_I_CHECK ? GOMEM_ASSERT(c) : (void)0)

// ThreadSanitizer does not know that a stop signal orders memory accesses. These calls tell it: the
// sections of a stopped thread happen before the collector's work, that work happens before the
// thread's next section, and memory that a cycle freed starts without a history. __tsan_java_init
// is never called, because ThreadSanitizer searches its range for a block 8 bytes at a time when it
// makes a report, with all other threads held, and does not end for a race in a global.
extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));
extern void __tsan_java_alloc(uintptr_t start, uintptr_t size) __attribute__((weak));

// Orders the caller after the releases of p, orders later acquires of p after the caller, and
// forgets the accesses to a range.
GM_ALWAYS void gm_base_tsan_acquire(const void *p) {
    if (GM_TSAN) __tsan_acquire((void *)(uintptr_t)p);
}
GM_ALWAYS void gm_base_tsan_release(const void *p) {
    if (GM_TSAN) __tsan_release((void *)(uintptr_t)p);
}
GM_ALWAYS void gm_base_tsan_renew(uintptr_t start, size_t size) {
    if (GM_TSAN && size) __tsan_java_alloc(start, size);
}

// Reads a word that other threads may be writing, with a single load.
GM_NO_SANITIZE GM_ALWAYS uintptr_t gm_base_word(const uintptr_t *p) {
    return *(const volatile uintptr_t *)p;
}

GM_INLINE unsigned gm_base_ctz(uint64_t x) { return (unsigned)__builtin_ctzll(x); }
GM_INLINE unsigned gm_base_popcount(uint64_t x) { return (unsigned)__builtin_popcountll(x); }

// A mask of n ones from bit `from` up; 1 <= n <= 64 - from.
GM_INLINE uint64_t gm_base_ones(unsigned from, unsigned n) {
    return (~(uint64_t)0 >> (64 - n)) << from;
}

// Rounds x up to a multiple of unit, a power of two. The sum must not overflow.
GM_INLINE size_t gm_base_round_up(size_t x, size_t unit) { return (x + unit - 1) & ~(unit - 1); }
GM_INLINE bool gm_base_power_of_two(size_t x) { return x && !(x & (x - 1)); }

// All messages: a name, what is wrong, and what to do about it.
#define GM_MESSAGES(X)                                                                             \
    X(DOUBLE_FREE, "double free", "free each object once")                                         \
    X(INTERIOR, "free of an interior pointer", "free the pointer that the allocation returned")    \
    X(FOREIGN, "free of a foreign pointer", "free it with the allocator that it came from")        \
    X(STACK, "free of a stack pointer", "a local variable ends with its function: do not free it") \
    X(UNALLOCATED, "free of unallocated memory (a double free?)", "nothing is allocated there")    \
    X(SIGNAL, "allocation in a signal handler",                                                    \
      "it interrupted the allocator: do not allocate in handlers")                                 \
    X(BLOCKING, "collected allocation in a blocking region", "call gomem_blocking_end first")      \
    X(UNBALANCED, "end without begin", "call gomem_blocking_begin or gomem_gc_hold first")         \
    X(CORRUPT, "corrupted heap", "some code wrote outside its objects: try AddressSanitizer")      \
    X(THREAD, "nothing can be collected: a thread does not stop", "the heap grows until it does")  \
    X(NO_SIGNAL, "no collected memory: the program handles every real-time signal",                \
      "threads are stopped by one: leave one at its default, or name one in options.stop_signal")  \
    X(UNKNOWN_STACK, "a thread runs on a stack that was not registered",                           \
      "it is scanned only while a thread runs on it: use gomem_stack_new or gomem_add_stack")      \
    X(NO_CYCLE, "collections are given up, and the heap grows",                                    \
      "they are tried again, less and less often")                                                 \
    X(POOL, "free of an object of a pool", "give it back with gomem_pool_put")                     \
    X(NOT_OF_POOL, "put of a pointer that is no object of the pool", "put what its get returned")  \
    X(PUT_TWICE, "an object of a pool is put twice", "put it once for each get")                   \
    X(POOL_GONE, "use of a pool that was destroyed", "destroy it after its last use")              \
    X(DEAD_FRAME, "a heap object points into the stack of a function that has returned",           \
      "it escapes: use GOMEM_MAKE, or GOMEM_ESCAPE before it is stored")                           \
    X(ARENA, "free of a pointer into an arena", "gomem_arena_reset or gomem_arena_free frees it")  \
    X(ARENA_BUSY, "an arena is used by two threads at once", "give each thread its own")           \
    X(ARENA_COPIED, "an arena is a copy of one that holds memory",                                 \
      "pass a pointer to it; gomem_arena_absorb moves its memory to another arena")                \
    X(STALE_MARK, "an invalid mark of an arena", "restore marks latest first, and before reset")   \
    X(UNATTACHED, "a thread that gomem does not know",                                             \
      "call gomem_thread_attach in threads that hold collected pointers, or define GOMEM_THREADS") \
    X(NOT_COUNTED, "retain or release of an object without a count",                               \
      "was it released too often? gomem_rc_new makes counted objects")                             \
    X(LOST, "lost: only manual memory holds a collected object, which is freed now",               \
      "hold it from a root as well, or make the holder uncollectable")                             \
    X(LOST_NOSCAN, "lost: only noscan memory holds a collected object, which is freed now",        \
      "allocate the holder without NOSCAN")                                                        \
    X(LOST_TYPED, "lost: only a word that its type does not name holds a collected object",        \
      "name the field in GOMEM_TYPE, or mark it in the procedure")                                 \
    X(LOST_UNALIGNED, "lost: only an unaligned word holds a collected object, which is freed now", \
      "only aligned words are scanned: do not pack structs that hold pointers")                    \
    X(OTHER_TYPE, "an object whose size is not that of its type", "name the type of its struct")   \
    X(OWN_ARGUMENT, "the argument of a finalizer or cleanup keeps its object alive forever",       \
      "pass an argument that does not point to the object")                                        \
    X(LOST_POOL, "lost: only a pool holds a collected object, which is freed now",                 \
      "make the pool with GOMEM_SCAN, or GOMEM_POOL_SCAN")                                         \
    X(LOST_ARENA, "lost: only an arena holds a collected object, which is freed now",              \
      "make the arena with GOMEM_SCAN")                                                            \
    X(NO_TRACKING, "writes cannot be tracked", "the collector is stw: it marks in one stop")       \
    X(SLOW_STOP, "the program was stopped",                                                        \
      "or use GOMEM_GC_BARRIER, which needs no tracking, but GOMEM_STORE for each pointer")        \
    X(SHUTDOWN, "gomem_shutdown in a callback of dl_iterate_phdr, whose lock the collector needs", \
      "nothing was freed: call it outside of the callback")                                        \
    X(ENVIRONMENT, "environment", "the setting is ignored")
enum gm_message {
#define GM_MESSAGE_NAME(name, what, advice) GM_MSG_##name,
    GM_MESSAGES(GM_MESSAGE_NAME) GM_MESSAGE_COUNT
#undef GM_MESSAGE_NAME
};
GM_PRIVATE const char *const gm_base_messages[GM_MESSAGE_COUNT][2] = {
#define GM_MESSAGE_TEXT(name, what, advice) {what, advice},
    GM_MESSAGES(GM_MESSAGE_TEXT)
#undef GM_MESSAGE_TEXT
};

// The sentences of gomem_reason_text, indexed by GOMEM_REASON_…
GM_PRIVATE const char *const gm_base_reasons[] = {
    "nothing is wrong",
    "this kernel does not track writes: it needs Linux 6.7 with userfaultfd",
    "the system call userfaultfd is refused: allow it in the sandbox (Docker: seccomp profile)",
    "the ioctls of userfaultfd or of the pagemap are refused: allow them in the sandbox's profile",
    "/proc/thread-self/pagemap cannot be opened: mount /proc where the program runs",
    "/proc/thread-self/pagemap is root's: use the collected heap once before setuid",
    "no file descriptor is left: raise the limit (ulimit -n)",
    "the system call madvise is refused: allow it in the sandbox (seccomp profile)",
    "no memory is left for the collector's own tables: raise the limit (ulimit -v, cgroup)",
    "a thread runs on a stack that is not known: call gomem_add_stack for it",
    "shared objects are opened and closed all the time: open them once",
    "a thread does not stop: it must not block the stop signal",
};
_Static_assert(sizeof gm_base_reasons / sizeof gm_base_reasons[0] == GOMEM_REASON_THREAD + 1,
               "a sentence for each");

// The sentence of a reason; "unknown" for other numbers.
GM_PRIVATE const char *gm_base_reason(uint64_t reason) {
    return reason <= GOMEM_REASON_THREAD ? gm_base_reasons[reason] : "unknown";
}

// ---- text ----

// Makes the compiler check the arguments, from number `first` on (0: a struct gm_arguments),
// against the format.
#define GM_FORMAT(string, first) __attribute__((format(printf, string, first)))

struct gm_arguments { // the arguments of a format
    va_list list;     // in a struct, because it is an array on some machines
};

// Takes the argument of an integer conversion. longs: the number of l, or 3 for z.
GM_PRIVATE uint64_t gm_text_integer(struct gm_arguments *args, bool is_signed, unsigned longs) {
    if (!is_signed) {
        if (longs == 3) return va_arg(args->list, size_t);
        if (longs == 2) return va_arg(args->list, unsigned long long);
        return longs ? va_arg(args->list, unsigned long) : va_arg(args->list, unsigned);
    }
    if (longs == 3) return (uint64_t)va_arg(args->list, ptrdiff_t);
    if (longs == 2) return (uint64_t)va_arg(args->list, long long);
    return (uint64_t)(longs ? va_arg(args->list, long) : va_arg(args->list, int));
}

// Writes the digits of x so that they end before `end`, and returns the address of the first one.
// Inlined, because a constant base turns the division into a multiplication.
GM_ALWAYS char *gm_text_digits(char *end, uint64_t x, unsigned base) {
    do *--end = "0123456789abcdef"[x % base];
    while (x /= base);
    return end;
}

// Returns the text of the conversion at *f, and its size, and advances *f to the last character of
// the conversion. NULL: the argument is a null string, or gm_text_write has no such conversion.
GM_PRIVATE const char *gm_text_convert(char digits[32], const char **f, struct gm_arguments *args,
                                       size_t *size) {
    unsigned longs = 0;
    char *end = digits + 31, *digit = end, what = **f;
    // the length modifiers l, ll and z
    while (what == 'l' && longs < 2) what = *++*f, longs++;
    if (what == 'z' && !longs) what = *++*f, longs = 3;
    if (what == 'd' || what == 'u' || what == 'x') {
        uint64_t n = gm_text_integer(args, what == 'd', longs);
        // Negation in unsigned arithmetic, which has no overflow.
        bool minus = what == 'd' && (int64_t)n < 0;
        if (minus) n = 0 - n;
        digit = what == 'x' ? gm_text_digits(end, n, 16) : gm_text_digits(end, n, 10);
        if (minus) *--digit = '-';
    } else if (what == 's' && !longs) {
        const char *string = va_arg(args->list, const char *);
        *size = string ? strlen(string) : 0;
        return string;
    } else if (what == 'c' && !longs) {
        *--digit = (char)va_arg(args->list, int);
    } else {
        return NULL;
    }
    *size = (size_t)(end - digit);
    return digit;
}

// Ends gm_text_write early, after as much of a piece as fits. Returns ~length.
GM_COLD GM_PRIVATE int gm_text_cut(const char *to, char *at, char *end, const char *piece) {
    while (at < end) *at++ = *piece++;
    *end = 0;
    return ~(int)(end - to);
}

// vsnprintf for formats with only %s %c %d %u %x %% (also with l, ll, z), at a third of its cost.
// Returns the length. If it meets another conversion or a null string, or if the text does not fit,
// it stops and returns ~length of what it has written. The text always ends in NUL; room > 0.
GM_PRIVATE int gm_text_write(char *to, size_t room, const char *f, struct gm_arguments *args) {
    char *at = to, *end = to + room - 1, digits[32];
    for (; *f; f++) {
        size_t size = 1;
        const char *piece = f;
        if (*f == '%' && *++f != '%') piece = gm_text_convert(digits, &f, args, &size);
        if (!piece || size > (size_t)(end - at))
            return gm_text_cut(to, at, piece ? end : at, piece);
        if (size > 16) at = (char *)memcpy(at, piece, size) + size;
        else // byte by byte, as the digits were stored: wider loads would wait for the stores
            for (const char *last = piece + size; piece < last;) *at++ = *piece++;
    }
    *at = 0;
    return (int)(at - to);
}

// A line or a path under construction. Text that does not fit is cut off.
struct gm_text {
    size_t size;    // bytes used, without the NUL
    char data[600]; // always ends in NUL
};

// Appends formatted text, cut off if it does not fit.
GM_FORMAT(2, 0)
GM_COLD GM_PRIVATE void gm_text_append(struct gm_text *t, const char *format,
                                       struct gm_arguments *args) {
    int n = gm_text_write(t->data + t->size, sizeof t->data - t->size, format, args);
    t->size += (size_t)(n < 0 ? ~n : n);
}

// The same with the arguments themselves. Only the conversions of gm_text_write.
GM_FORMAT(2, 3) GM_COLD GM_PRIVATE void gm_text_format(struct gm_text *t, const char *format, ...) {
    struct gm_arguments args;
    va_start(args.list, format);
    gm_text_append(t, format, &args);
    va_end(args.list);
}

// Returns a new text. As a temporary it lives until the end of the full expression.
GM_FORMAT(1, 2) GM_COLD GM_PRIVATE struct gm_text gm_text_make(const char *format, ...) {
    struct gm_text t;
    struct gm_arguments args;
    t.size = 0;
    va_start(args.list, format);
    gm_text_append(&t, format, &args);
    va_end(args.list);
    return t;
}

// Returns the line of a message: what is wrong, then the formatted text, then what to do.
GM_FORMAT(2, 3)
GM_COLD GM_PRIVATE struct gm_text gm_text_message(enum gm_message m, const char *format, ...) {
    struct gm_text t = gm_text_make("gomem: %s", gm_base_messages[m][0]);
    struct gm_arguments args;
    va_start(args.list, format);
    gm_text_append(&t, format, &args);
    va_end(args.list);
    gm_text_format(&t, "; %s", gm_base_messages[m][1]);
    return t;
}

struct gm_decimal {
    char data[24]; // ends in NUL
};

// Formats thousandths as a decimal number with up to three digits after the point, none from 1000
// on, as Go prints milliseconds.
GM_COLD GM_PRIVATE struct gm_decimal gm_text_milli(uint64_t thousandths) {
    struct gm_decimal decimal;
    struct gm_text t = gm_text_make("%" PRIu64, thousandths / 1000);
    unsigned rest = thousandths < 1000000 ? (unsigned)thousandths % 1000 : 0;
    if (rest) gm_text_format(&t, ".%u%u%u", rest / 100, rest / 10 % 10, rest % 10);
    while (rest && t.data[t.size - 1] == '0') t.data[--t.size] = 0;
    memcpy(decimal.data, t.data, t.size + 1);
    return decimal;
}

extern long gm_libc_syscall(long, ...) __asm__("syscall");

// Writes n bytes, or as many as it can. It does not call libc's write, which is a cancellation
// point: a thread cancelled here would never release the library's locks.
GM_COLD GM_PRIVATE void gm_base_write(int fd, const char *data, size_t n) {
    while (n) {
        long done = gm_libc_syscall(SYS_write, (long)fd, data, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return;
        data += done;
        n -= (size_t)done;
    }
}

// The default of GOMEM_LOG. It writes the line and its newline in one call, so that lines of
// several threads do not mix.
GM_COLD GM_PRIVATE void gm_base_log(const char *line) {
    struct gm_text t = gm_text_make("%s", line);
    if (t.size + 2 > sizeof t.data) t.size = sizeof t.data - 2;
    t.data[t.size] = '\n';
    t.data[t.size + 1] = 0;
    gm_base_write(2, t.data, t.size + 1);
}

// The seams for lines of the log and for proven misuse.
#if !defined(GOMEM_LOG)
#define GOMEM_LOG(line) gm_base_log(line)
#endif
#if defined(GOMEM_PANIC)
#define GM_OWN_PANIC 0
#else
#define GM_OWN_PANIC      1
#define GOMEM_PANIC(line) (gm_base_log(line), abort())
#endif

// Reports a failed gm_assert and aborts. Takes no lock and needs no memory.
GM_COLD GM_PRIVATE void gm_base_broken(const char *what, int line) {
    gm_base_log(gm_text_make("gomem: broken invariant: %s (gomem.h:%d)", what, line).data);
    abort();
}

/* ==========================================================================================
 * >>os   pages, clock, threads, signals, registers                                 floor 1
 * ==========================================================================================
 * OWNS        nothing
 * CALLS       base
 * WHY         Most calls of the kernel and of libc are made here. Those whose failure matters go
 *             through a seam macro, by which tests make them fail. Functions that system headers
 *             declare only in GNU mode are declared here under names of gomem, bound to libc's by
 *             assembler label, so that it matters little in which mode a system header was included
 *             before (what still matters is an #error before floor 1).
 *             Memory that may be unmapped is read by process_vm_readv. Where that call is refused,
 *             each page is probed by a call that no sandbox forbids, and roots are read in stops.
 *             Pages are returned by MADV_DONTNEED: RSS falls immediately and the pages read as
 *             zero. MADV_FREE was dropped because RSS does not fall until memory is short, which
 *             users report as a leak.
 */
// Constants that system headers hide in strict mode, or are too old to have.
#if !defined(MAP_ANONYMOUS)
#define MAP_ANONYMOUS 0x20
#endif
#if !defined(MAP_NORESERVE)
#define MAP_NORESERVE 0x4000
#endif
#if !defined(MADV_DONTNEED)
#define MADV_DONTNEED 4
#endif
enum {
    GM_MADV_POPULATE_WRITE = 23, // Linux 5.14
    GM_MAP_NOREPLACE = 0x100000, // Linux 4.17
    GM_MREMAP_MOVE_KEEP = 7,     // MAYMOVE | FIXED | DONTUNMAP, Linux 5.7
    GM_FUTEX_WAIT = 128,         // private
    GM_FUTEX_WAKE = 129,
    GM_MEMBARRIER_EXPEDITED = 8,
    GM_MEMBARRIER_REGISTER = 16,
    GM_AT_EMPTY_PATH = 0x1000,
    GM_AT_NO_SYNC = 0x4000,
    GM_STATX_INO = 0x100,
    GM_F_DUPFD_CLOEXEC = 1030
};
#if !defined(AT_FDCWD)
#define AT_FDCWD (-100)
#endif
#if !defined(CLOCK_MONOTONIC_COARSE)
#define CLOCK_MONOTONIC_COARSE 6
#endif
#if !defined(O_CLOEXEC)
#define O_CLOEXEC 02000000
#endif
#if !defined(PTHREAD_STACK_MIN)
#define PTHREAD_STACK_MIN 16384
#endif
#if !defined(SA_RESTART)
#define SA_RESTART 0x10000000
#endif
#if !defined(SA_ONSTACK)
#define SA_ONSTACK 0x08000000
#endif
enum { GM_WORD = sizeof(void *) };

struct gm_os_alternate { // Linux's stack_t
    uintptr_t sp;        // its lower end
    int flags;           // GM_SS_DISABLE: the thread has no alternate stack
    size_t size;         // bytes
};
enum { GM_SS_DISABLE = 2 };

// Functions of libc that only GNU mode declares, under names of their own.
extern int gm_libc_sigaltstack(const void *, struct gm_os_alternate *) __asm__("sigaltstack");
extern void *gm_libc_mremap(void *, size_t, size_t, int, ...) __asm__("mremap");
extern int gm_libc_ioctl(int, unsigned long, ...) __asm__("ioctl");
extern int gm_libc_getattr(pthread_t, pthread_attr_t *) __asm__("pthread_getattr_np");
extern char *gm_libc_getenv(const char *) __asm__("secure_getenv");
extern int gm_libc_madvise(void *, size_t, int) __asm__("madvise");
extern int gm_libc_attr_getstack(const pthread_attr_t *, void **,
                                 size_t *) __asm__("pthread_attr_getstack");

// The seams: each system call whose failure matters goes through one of these macros. Tests, and
// programs, may define them first.
// clang-format off
#if !defined(GOMEM_MMAP)
#define GOMEM_MMAP(addr, size, prot, flags, fd, offset) \
    mmap((addr), (size), (prot), (flags), (fd), (offset))
#endif
#if !defined(GOMEM_MUNMAP)
#define GOMEM_MUNMAP(addr, size) munmap((addr), (size))
#endif
#if !defined(GOMEM_MREMAP)
#define GOMEM_MREMAP(addr, size, new_size, flags, to) \
    gm_libc_mremap((addr), (size), (new_size), (flags), (to))
#endif
#if !defined(GOMEM_MPROTECT)
#define GOMEM_MPROTECT(addr, size, prot) mprotect((addr), (size), (prot))
#endif
#if !defined(GOMEM_MADVISE)
#define GOMEM_MADVISE(addr, size, advice) gm_libc_madvise((addr), (size), (advice))
#endif
#if !defined(GOMEM_IOCTL)
#define GOMEM_IOCTL(fd, request, arg) gm_libc_ioctl((fd), (request), (arg))
#endif
#if !defined(GOMEM_SYSCALL)
#define GOMEM_SYSCALL(...) gm_libc_syscall(__VA_ARGS__)
#endif
#if !defined(GOMEM_SIGACTION)
#define GOMEM_SIGACTION(signal, action, old) sigaction((signal), (action), (old))
#endif
#if defined(GOMEM_MALLOC_OVERRIDE)
// libc's own functions, whose names the override defines.
extern void *gm_libc_dlsym(void *, const char *) __asm__("dlsym");
extern int gm_libc_thrd_create(void *, int (*)(void *), void *) __asm__("thrd_create");
extern int gm_libc_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *)
    __asm__("__pthread_create") __attribute__((weak));
union gm_os_next {
    void *object;                                                         // as dlsym returns it
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *); //
    int (*atfork)(void (*)(void), void (*)(void), void (*)(void), void *); //
};
// Finds the definition of a function in the libraries that are searched after this one.
GM_PRIVATE union gm_os_next gm_os_find_next(const char *name) {
    return (union gm_os_next){.object = gm_libc_dlsym((void *)-1L, name)}; // RTLD_NEXT
}
#endif
#if !defined(GOMEM_PTHREAD_CREATE) && defined(GOMEM_MALLOC_OVERRIDE)
#define GOMEM_PTHREAD_CREATE(thread, attr, fn, arg) gm_os_next_create((thread), (attr), (fn), (arg))
// In a static link dlsym finds no next pthread_create. There libc's pthread_create is an alias of
// __pthread_create, in an object file that thrd_create refers to; this reference to thrd_create
// makes the linker add that file.
__attribute__((used)) GM_PRIVATE int (*const gm_os_static_threads)(void *, int (*)(void *),
                                                                   void *) = gm_libc_thrd_create;
// pthread_create of libc, or of a library between. EAGAIN if there is none.
GM_PRIVATE int gm_os_next_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                                 void *arg) {
    if (gm_libc_create) return gm_libc_create(thread, attr, fn, arg);
    union gm_os_next next = gm_os_find_next("pthread_create");
    return next.object ? next.create(thread, attr, fn, arg) : EAGAIN;
}
#elif !defined(GOMEM_PTHREAD_CREATE)
#define GOMEM_PTHREAD_CREATE(thread, attr, fn, arg) pthread_create((thread), (attr), (fn), (arg))
#endif
#if !defined(GOMEM_PTHREAD_KEY_CREATE)
#define GOMEM_PTHREAD_KEY_CREATE(key, destructor) pthread_key_create((key), (destructor))
#endif
#if !defined(GOMEM_GETENV)
#define GOMEM_GETENV(name) gm_libc_getenv(name)
#endif
#if !defined(CLOCK_MONOTONIC) // musl's <time.h> was read in strict mode
#define CLOCK_REALTIME  0
#define CLOCK_MONOTONIC 1
extern int gm_libc_clock(int, struct timespec *) __asm__("clock_gettime");
typedef int gm_clock;
#else
#define gm_libc_clock clock_gettime
typedef clockid_t gm_clock;
#endif
#if !defined(GOMEM_CLOCK)
#define GOMEM_CLOCK(clock, time) gm_libc_clock((clock), (time))
#endif
// clang-format on

// Bytes of a system page.
GM_PRIVATE size_t gm_os_page_size(void) {
    long n = sysconf(_SC_PAGESIZE);
    return n > 0 ? (size_t)n : 4096;
}

// Reserves address space without access or memory, at `hint` if that is free; NULL on failure.
GM_RARE GM_PRIVATE void *gm_os_reserve(size_t size, uintptr_t hint) {
    void *p = GOMEM_MMAP((void *)hint, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                         -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

// Returns 26 bits that are as random as the address of the stack.
GM_PRIVATE uint64_t gm_os_random(void) {
    uint64_t here = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    return ((here >> 4) * 0x9e3779b97f4a7c15u) >> 38;
}

// Returns a random address between 16 and 80 TiB for the heap, far from libraries and stacks: close
// to them, a stale pointer of which half was overwritten could still point into the heap. 0 (no
// preference) under sanitizers, which restrict the addresses a program may use, and on 32 bits.
GM_PRIVATE uintptr_t gm_os_random_base(void) {
    if (sizeof(uintptr_t) < 8 || GM_ASAN || GM_TSAN) return 0;
    // 16 TiB, and 26 random bits of MiB
    return (uintptr_t)(((uint64_t)1 << 44) + (gm_os_random() << 20));
}

// Maps fresh zeroed memory at [from, to). False with errno if part of it is mapped already
// (EEXIST), memory is exhausted, or the kernel is older than 4.17.
GM_PRIVATE bool gm_os_map(uintptr_t from, uintptr_t to, int prot) {
    if (from >= to) return true;
    void *p = GOMEM_MMAP((void *)from, to - from, prot,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | GM_MAP_NOREPLACE, -1, 0);
    if (p == (void *)from) return true;
    // An old kernel ignores the flag and maps elsewhere.
    if (p != MAP_FAILED) (void)GOMEM_MUNMAP(p, to - from);
    return false;
}

// Unmaps a range. A failure only leaks address space.
GM_PRIVATE void gm_os_release(void *p, size_t size) {
    if (p && size) (void)GOMEM_MUNMAP(p, size);
}

// Sets the access rights of mapped pages.
GM_PRIVATE bool gm_os_protect(uintptr_t from, uintptr_t to, int prot) {
    return from >= to || GOMEM_MPROTECT((void *)from, to - from, prot) == 0;
}

// Returns a range's memory to the system: it then reads as zero. False: it kept its contents.
GM_PRIVATE bool gm_os_discard(void *p, size_t size) {
    return GOMEM_MADVISE(p, size, MADV_DONTNEED) == 0;
}

// Tests whether a file may grow to `size` bytes. Past RLIMIT_FSIZE the kernel would kill the
// process by SIGXFSZ.
GM_PRIVATE bool gm_os_file_may_have(size_t size) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur >= size;
}

// Unlocks a range. After mlockall(MCL_FUTURE) every new mapping is locked and cannot be discarded.
// A failure changes nothing.
GM_PRIVATE void gm_os_unlock(void *p, size_t size) { (void)GOMEM_SYSCALL(SYS_munlock, p, size); }

// Returns how many bytes of a range of at most 1024 pages are resident, or `size` if the kernel
// does not tell. The result may be stale when it is used.
GM_PRIVATE size_t gm_os_resident(void *p, size_t size, size_t page) {
    unsigned char here[1024];
    size_t n = 0;
    int saved = errno;
    bool told = GOMEM_SYSCALL(SYS_mincore, p, size, here) == 0;
    errno = saved;
    if (!told) return size;
    for (size_t i = 0; i < size / page; i++) n += here[i] & 1;
    return n * page;
}

// High address space is divided into slots. A heap claims a slot by mapping its first page, so that
// several heaps in one process, such as those of plugins, never grow into each other. Systems with
// small address spaces (39 bits) have a second kind of slots, lower and smaller.
struct gm_slots {
    unsigned base, size; // log2 of bytes: address of the first slot, size of a slot
    unsigned count;      // slots of this kind
    unsigned heap;       // log2 of bytes: the largest heap that fits twice, with its records
};
enum { GM_SLOT_KINDS = 2 };
// Kind 0: 16 slots of 4 TiB from 16 TiB up. Kind 1: 2 slots of 128 GiB from 128 GiB up.
GM_PRIVATE struct gm_slots gm_os_slots(unsigned kind) {
    return kind ? (struct gm_slots){37, 37, 2, 35} : (struct gm_slots){44, 42, 16, 40};
}

// Claims a slot, the search beginning at a random one. Returns its start, or 0 if none is free.
GM_PRIVATE uintptr_t gm_os_claim_slot(unsigned kind, uint64_t random, size_t page) {
    const struct gm_slots k = gm_os_slots(kind);
    for (unsigned i = 0; i < k.count; i++) {
        uint64_t at = ((uint64_t)1 << k.base) + ((random + i) % k.count << k.size);
        if (gm_os_map((uintptr_t)at, (uintptr_t)at + page, PROT_NONE)) return (uintptr_t)at;
    }
    return 0;
}

// Returns the process's limit on address space in bytes, or SIZE_MAX if there is no limit.
GM_PRIVATE size_t gm_os_space(void) {
    struct rlimit limit;
    bool known = getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return known ? (size_t)GM_MIN((uint64_t)limit.rlim_cur, (uint64_t)SIZE_MAX - 1) : SIZE_MAX;
}

// Tests whether the process has a limit on address space or on data.
GM_PRIVATE bool gm_os_is_limited(void) {
    struct rlimit data;
    return gm_os_space() != SIZE_MAX ||
           (getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY);
}

// Makes [from, to) readable and writable. If parts are mapped already, it works page by page. False
// with errno on failure; then a part may have become usable.
GM_PRIVATE bool gm_os_commit(uintptr_t from, uintptr_t to, size_t page) {
    if (gm_os_map(from, to, PROT_READ | PROT_WRITE)) return true;
    if (errno != EEXIST) return false;
    for (; from < to; from += page)
        if (!gm_os_protect(from, from + page, PROT_READ | PROT_WRITE) &&
            !gm_os_map(from, from + page, PROT_READ | PROT_WRITE))
            return false;
    return true;
}

// Faults all pages in with one call. On failure they are faulted in one by one later.
GM_PRIVATE void gm_os_populate(void *p, size_t size) {
    (void)GOMEM_MADVISE(p, size, GM_MADV_POPULATE_WRITE);
}

// Moves pages to another address. The old range stays mapped and reads as zero.
GM_PRIVATE bool gm_os_move(void *from, void *to, size_t size) {
    return GOMEM_MREMAP(from, size, size, GM_MREMAP_MOVE_KEEP, to) == to;
}

// Reads a clock, in nanoseconds; a failed call reads as 0.
GM_NOINLINE GM_PRIVATE uint64_t gm_os_clock(gm_clock clock) {
    struct timespec ts = {0};
    (void)GOMEM_CLOCK(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
GM_PRIVATE uint64_t gm_os_now(void) { return gm_os_clock(CLOCK_MONOTONIC); }
// The same, accurate to some milliseconds, at a quarter of the cost.
GM_PRIVATE uint64_t gm_os_now_coarse(void) { return gm_os_clock(CLOCK_MONOTONIC_COARSE); }

// ---- write tracking by the kernel ----

// Writes are tracked by userfaultfd's asynchronous write protection and queried through the
// pagemap. The definitions are Linux 6.7's; older system headers lack them.

struct gm_uffd_api {
    uint64_t api, features, ioctls; // UFFDIO_API
};
struct gm_uffd_range {
    uint64_t start, length, mode, ioctls; // UFFDIO_REGISTER; UFFDIO_WRITEPROTECT without ioctls
};
struct gm_pagemap_scan {
    uint64_t size, flags, start, end;           // PAGEMAP_SCAN
    uint64_t walk_end, vec, vec_len, max_pages; // end of the scan; output array, its length
    uint64_t inverted, mask, any_of, wanted;    // sets of page categories
};
struct gm_written {
    uint64_t start, end, categories; // a range of written pages
};
enum {
    GM_UFFD_API = 0xaa,
    GM_UFFD_FEATURES = 1 << 0 | 1 << 13 |
                       1 << 15, // write protection, unpopulated too, asynchronous
    GM_UFFD_USER_MODE = 1,      // requires no privileges
    GM_UFFD_MODE_WP = 2,
    GM_PAGE_WRITTEN = 2,
    GM_PAGE_PRESENT = 8,
    GM_PAGE_SWAPPED = 16, // also set for a page that was armed before it was populated
    GM_PAGE_ZERO = 32,    // the shared zero page, which reads of untouched memory map
    GM_SCAN_REARM = 1,    // PM_SCAN_WP_MATCHING
    GM_SCAN_CHECK = 2     // PM_SCAN_CHECK_WPASYNC: fail, not "no pages", if tracking was lost
};
#define GM_IOCTL_API      0xc018aa3fu // _IOWR(0xaa, 0x3f, 24 bytes)
#define GM_IOCTL_REGISTER 0xc020aa00u // _IOWR(0xaa, 0x00, 32 bytes)
#define GM_IOCTL_PROTECT  0xc018aa06u // _IOWR(0xaa, 0x06, 24 bytes)
#define GM_IOCTL_SCAN     0xc0606610u // _IOWR('f', 16, 96 bytes)
_Static_assert(sizeof(struct gm_uffd_range) == 32 && sizeof(struct gm_pagemap_scan) == 96,
               "the request numbers encode these sizes");

// ---- descriptors ----

// The program may close any descriptor and reuse its number (a daemon's closefrom, dup2 over a
// range). So each of the library's files keeps an identity that no other file has, and the identity
// is checked before each use. Between check and use another thread can still take the number; that
// race would remain if descriptors were closed between cycles, and closing the userfaultfd costs a
// walk over all page tables. All calls are bare system calls: libc's are cancellation points, and a
// thread cancelled here would never release the library's locks.
struct gm_file {
    int fd;                 // -1: not open. atomic: rlx
    uint64_t device, inode; // the file when it was opened. atomic: rlx
    long position;          // random file offset, the identity; 0: the inode is unique
};

// Returns device and inode of a descriptor, {0, 0} if it is closed. It does not query the server of
// a network or FUSE file system, which might be a stopped thread of this process.
GM_PRIVATE struct gm_file gm_os_identify(int fd) {
    uint64_t word[32] = {0}; // struct statx: the inode is word 4, the device word 17
    long done = GOMEM_SYSCALL(SYS_statx, (long)fd, "", (long)(GM_AT_EMPTY_PATH | GM_AT_NO_SYNC),
                              (long)GM_STATX_INO, word);
    struct stat old;
    if (!done) return (struct gm_file){fd, word[17], word[4], 0};
    if (fstat(fd, &old)) return (struct gm_file){fd, 0, 0, 0}; // closed
    return (struct gm_file){fd, old.st_dev, old.st_ino, 0};    // statx is refused
}

// lseek as a bare system call.
GM_PRIVATE long gm_os_seek(int fd, long position, int whence) {
    return GOMEM_SYSCALL(SYS_lseek, (long)fd, position, (long)whence);
}

// Tests whether the descriptor still refers to the file that was opened. At most two system calls
// of 0.3 us each.
GM_RARE GM_PRIVATE bool gm_os_is_own(const struct gm_file *f) {
    int fd = gm_load_rlx(&f->fd); // gc may close it meanwhile: then the comparison fails
    if (fd < 0) return false;
    struct gm_file now = gm_os_identify(fd);
    if (!now.inode || now.inode != gm_load_rlx(&f->inode)) return false; // rlx: as fd
    if (now.device != gm_load_rlx(&f->device)) return false;             // rlx: as fd
    return !f->position || gm_os_seek(fd, 0, SEEK_CUR) == f->position;
}

// Closes the file if the descriptor is still the library's, and forgets it in any case.
GM_PRIVATE void gm_os_close(struct gm_file *f) {
    if (gm_os_is_own(f)) (void)GOMEM_SYSCALL(SYS_close, (long)f->fd);
    gm_store_rlx(&f->fd, -1); // rlx: as in gm_os_is_own
}

// Records the identity of a descriptor that was just opened; false if fd is -1. `shared`: the
// program may open the same inode too, so a random file offset identifies this open file.
GM_PRIVATE bool gm_os_own(struct gm_file *f, int fd, bool shared) {
    struct gm_file file = fd < 0 ? (struct gm_file){-1, 0, 0, 0} : gm_os_identify(fd);
    uint64_t random = (gm_os_now() ^ (uintptr_t)f << 20 ^ file.inode) * 0x9e3779b97f4a7c15u;
    if (shared) file.position = (long)(random >> (64 - 8 * sizeof(long) + 2)) | 1;
    if (shared) (void)gm_os_seek(fd, file.position, SEEK_SET); // on failure the check below fails
    gm_store_rlx(&f->device, file.device);                     // rlx: as in gm_os_is_own
    gm_store_rlx(&f->inode, file.inode);
    f->position = file.position;
    gm_store_rlx(&f->fd, file.fd);
    return gm_os_is_own(f);
}

// Opens a file for reading. False with errno; *f is then a closed file.
GM_RARE GM_PRIVATE bool gm_os_open(struct gm_file *f, const char *path, bool shared) {
    int fd = (int)GOMEM_SYSCALL(SYS_openat, (long)AT_FDCWD, path, (long)(O_RDONLY | O_CLOEXEC));
    return gm_os_own(f, fd, shared);
}

// Reads the next bytes of a file. Returns their number, 0 at the end, and -1 if the call fails or
// the descriptor is no longer the library's.
GM_PRIVATE long gm_os_read(const struct gm_file *f, char *to, size_t size) {
    return gm_os_is_own(f) ? GOMEM_SYSCALL(SYS_read, (long)f->fd, to, size) : -1;
}

// Moves a descriptor to 56 or above, out of the way of programs that close or count small numbers.
// From 64 on the kernel allocates a larger table and waits for all processors, some 9 ms in a
// process with threads.
GM_PRIVATE void gm_os_move_high(struct gm_file *f) {
    struct gm_file high = *f;
    if (!gm_os_is_own(f)) return;
    high.fd = (int)GOMEM_SYSCALL(SYS_fcntl, (long)f->fd, (long)GM_F_DUPFD_CLOEXEC, 56L);
    if (!gm_os_is_own(&high)) return;
    gm_os_close(f);
    gm_store_rlx(&f->fd, high.fd); // rlx: as in gm_os_is_own
}

// Opens a userfaultfd; -1 with errno.
GM_PRIVATE int gm_os_tracker(void) {
    return (int)GOMEM_SYSCALL(SYS_userfaultfd, (long)(O_CLOEXEC | O_NONBLOCK | GM_UFFD_USER_MODE));
}

// Probes: one function for each call that tracking needs, to find out which one is refused; errno
// says why. The descriptors are closed within microseconds, so their identity is not recorded.
GM_PRIVATE void gm_os_ask_close(int fd) {
    if (fd >= 0) (void)GOMEM_SYSCALL(SYS_close, (long)fd);
}
GM_PRIVATE bool gm_os_ask_api(int fd) {
    struct gm_uffd_api api = {GM_UFFD_API, GM_UFFD_FEATURES, 0};
    return GOMEM_IOCTL(fd, GM_IOCTL_API, &api) == 0;
}
GM_PRIVATE int gm_os_ask_pagemap(void) {
    return (int)GOMEM_SYSCALL(SYS_openat, (long)AT_FDCWD, "/proc/thread-self/pagemap",
                              (long)(O_RDONLY | O_CLOEXEC), 0L);
}
GM_PRIVATE bool gm_os_ask_scan(int fd) { // scans an empty range
    struct gm_pagemap_scan scan = {.size = sizeof scan, .mask = GM_PAGE_WRITTEN};
    return GOMEM_IOCTL(fd, GM_IOCTL_SCAN, &scan) >= 0;
}

// Opens the userfaultfd that tracks writes to the ranges registered with it (gm_os_track). False:
// the kernel refuses.
GM_PRIVATE bool gm_os_track_open(struct gm_file *f) {
    struct gm_uffd_api api = {GM_UFFD_API, GM_UFFD_FEATURES, 0};
    if (!gm_os_own(f, gm_os_tracker(), false)) return false;
    if (gm_os_is_own(f) && GOMEM_IOCTL(f->fd, GM_IOCTL_API, &api) == 0) gm_os_move_high(f);
    else gm_os_close(f);
    return f->fd >= 0;
}

// Opens the pagemap, from which written pages are read. False with errno.
GM_PRIVATE bool gm_os_pagemap_open(struct gm_file *f) {
    if (gm_os_open(f, "/proc/thread-self/pagemap", true)) gm_os_move_high(f);
    return f->fd >= 0;
}

// Registers a page-aligned range for tracking. Its pages count as written until they are armed.
GM_PRIVATE bool gm_os_track(const struct gm_file *f, uintptr_t from, uintptr_t to) {
    struct gm_uffd_range range = {from, to - from, GM_UFFD_MODE_WP, 0};
    return gm_os_is_own(f) && GOMEM_IOCTL(f->fd, GM_IOCTL_REGISTER, &range) == 0;
}

// Disarms a range: writes no longer fault, and all pages count as written.
GM_PRIVATE bool gm_os_track_clear(const struct gm_file *f, uintptr_t from, uintptr_t to) {
    struct gm_uffd_range range = {from, to - from, 0, 0};
    return gm_os_is_own(f) && GOMEM_IOCTL(gm_load_rlx(&f->fd), GM_IOCTL_PROTECT, &range) == 0;
}

// Lists the pages of [*from, to) that were written since they were last armed, as up to n ranges,
// and arms them again if `rearm` is set. Advances *from to the end of the scan. Without a list it
// only arms. Returns the number of ranges; -1: tracking is lost.
GM_PRIVATE long gm_os_track_scan(const struct gm_file *pagemap, uintptr_t *from, uintptr_t to,
                                 bool rearm, struct gm_written *list, size_t n) {
    struct gm_pagemap_scan scan = {sizeof scan, GM_SCAN_CHECK | (rearm ? GM_SCAN_REARM : 0),
                                   *from,       to,
                                   0,           (uintptr_t)list,
                                   n,           0,
                                   0,           GM_PAGE_WRITTEN,
                                   0,           GM_PAGE_WRITTEN};
    if (!gm_os_is_own(pagemap)) return -1;
    long found = GOMEM_IOCTL(pagemap->fd, GM_IOCTL_SCAN, &scan);
    *from = (uintptr_t)scan.walk_end;
    return found;
}

// The same for private anonymous memory, and only for populated pages: pages that were never
// written, or were discarded, are neither listed nor armed. Takes twice as long.
enum gm_there {
    GM_THERE_ALL,     // all populated pages; the memory need not be tracked
    GM_THERE_WRITTEN, // populated pages that were written
    GM_THERE_REARM    // the same, and arm them again
};
// Parameters and result as for gm_os_track_scan.
GM_PRIVATE long gm_os_track_scan_there(const struct gm_file *pagemap, uintptr_t *from, uintptr_t to,
                                       enum gm_there which, struct gm_written *list, size_t n) {
    unsigned flags = which == GM_THERE_REARM ? GM_SCAN_CHECK | GM_SCAN_REARM : GM_SCAN_CHECK;
    unsigned mask = GM_PAGE_ZERO | GM_PAGE_WRITTEN;
    if (which == GM_THERE_ALL) flags = 0, mask = GM_PAGE_ZERO;
    const uint64_t there = GM_PAGE_PRESENT | GM_PAGE_SWAPPED;
    struct gm_pagemap_scan scan = {sizeof scan, flags, *from,        to,   0,     (uintptr_t)list,
                                   n,           0,     GM_PAGE_ZERO, mask, there, there};
    long found = gm_os_is_own(pagemap) ? GOMEM_IOCTL(pagemap->fd, GM_IOCTL_SCAN, &scan) : -1;
    *from = (uintptr_t)scan.walk_end;
    return found;
}

// Returns the lowest address >= from such that all pages between it and `to` are mapped. Both are
// page-aligned. Binary search by msync; if the call is refused, everything counts as mapped.
GM_PRIVATE uintptr_t gm_os_mapped_from(uintptr_t from, uintptr_t to, size_t page) {
    enum { ASYNC = 1 }; // MS_ASYNC: writes nothing, and fails if a page is not mapped
    size_t low = 0, high = (to - from) / page; // bounds of the number of mapped pages before `to`
    int saved = errno;
    // The first try asks for all pages at once, which are mapped in most cases.
    for (size_t n = high; low < high; n = low + (high - low + 1) / 2) {
        bool hole = GOMEM_SYSCALL(SYS_msync, to - n * page, n * page, (long)ASYNC) != 0 &&
                    errno == ENOMEM;
        if (hole) high = n - 1;
        else low = n;
    }
    errno = saved;
    return to - low * page;
}

// Returns the highest address <= to such that all pages between `from` and it are mapped.
GM_PRIVATE uintptr_t gm_os_mapped_to(uintptr_t from, uintptr_t to, size_t page) {
    enum { ASYNC = 1 }; // as in gm_os_mapped_from
    size_t low = 0, high = (to - from) / page;
    int saved = errno;
    while (low < high) {
        size_t n = low + (high - low + 1) / 2;
        bool hole = GOMEM_SYSCALL(SYS_msync, from, n * page, (long)ASYNC) != 0 && errno == ENOMEM;
        if (hole) high = n - 1;
        else low = n;
    }
    errno = saved;
    return from + low * page;
}

// Opens the pagemap for gm_os_populated, to be closed by gm_os_return_pagemap before the threads
// run again. Both keep errno. False: it cannot be opened.
GM_PRIVATE bool gm_os_borrow_pagemap(struct gm_file *f) {
    int saved = errno;
    bool done = gm_os_open(f, "/proc/thread-self/pagemap", true);
    errno = saved;
    return done;
}
GM_PRIVATE void gm_os_return_pagemap(struct gm_file *f) {
    int saved = errno;
    gm_os_close(f);
    errno = saved;
}

// Lists the populated pages of [*from, to), swapped ones included, as up to n ranges, and advances
// *from to the end of the scan. Returns the number of ranges; -1: the kernel is older than 6.7, or
// refuses. Keeps errno.
GM_PRIVATE long gm_os_populated(const struct gm_file *pagemap, uintptr_t *from, uintptr_t to,
                                struct gm_written *list, size_t n) {
    struct gm_pagemap_scan scan = {sizeof scan,
                                   0,
                                   *from,
                                   to,
                                   0,
                                   (uintptr_t)list,
                                   n,
                                   0,
                                   0,
                                   0,
                                   GM_PAGE_PRESENT | GM_PAGE_SWAPPED,
                                   GM_PAGE_PRESENT};
    int saved = errno;
    long found = gm_os_is_own(pagemap) ? GOMEM_IOCTL(pagemap->fd, GM_IOCTL_SCAN, &scan) : -1;
    *from = (uintptr_t)scan.walk_end;
    errno = saved;
    return found;
}

// Calls fn with the id of each thread of this process. False: /proc cannot be read, and fn may have
// missed some.
GM_RARE GM_PRIVATE bool gm_os_each_task(void (*fn)(uint32_t id, void *arg), void *arg) {
    char entries[1024]; // each {inode: 8 bytes, offset: 8, size: 2, type: 1, name}
    struct gm_file tasks;
    long n = -1;
    if (!gm_os_open(&tasks, "/proc/self/task", false)) return false;
    // Each entry's name is the decimal id of a thread, or "." or "..".
    while (gm_os_is_own(&tasks) &&
           (n = GOMEM_SYSCALL(SYS_getdents64, (long)tasks.fd, entries, sizeof entries)) > 0)
        for (long at = 0; at < n;) {
            uint16_t size = 0;
            uint32_t id = 0;
            memcpy(&size, entries + at + 16, sizeof size);
            for (const char *c = entries + at + 19; *c >= '0' && *c <= '9'; c++)
                id = id * 10 + (uint32_t)(*c - '0');
            if (id) fn(id, arg);
            at += size;
        }
    gm_os_close(&tasks);
    return n == 0;
}

// Tests whether all of [from, to) is mapped as private memory, which no other mapping and no other
// process can write. Parses /proc/thread-self/maps; false if that cannot be read.
GM_RARE GM_PRIVATE bool gm_os_is_private(uintptr_t from, uintptr_t to) {
    char text[1024];              // small: this runs on a stack of the program
    uintptr_t number[2] = {0, 0}; // start and end of the current line's mapping
    unsigned field = 0, column = 0;
    bool own = true;
    struct gm_file maps;
    if (!gm_os_open(&maps, "/proc/thread-self/maps", false)) return false;
    // Lines are in address order. Each one that contains `from` and has 'p' as its fourth
    // permission advances `from` to its end; a gap leaves it behind.
    for (long n; own && from < to && (n = gm_os_read(&maps, text, sizeof text)) > 0;)
        for (long i = 0; i < n; i++) { // "start-end rwxp …"
            unsigned char c = (unsigned char)text[i];
            column++;
            if (c == '\n') field = column = 0, number[0] = number[1] = 0;
            else if (c == ' ' || (c == '-' && !field)) field++, column = 0;
            else if (field < 2)
                number[field] = number[field] << 4 |
                                (uintptr_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
            else if (field == 2 && column == 4 && from >= number[0] && from < number[1])
                from = number[1], own &= c == 'p';
        }
    gm_os_close(&maps);
    return own && from >= to;
}

// Returns the bytes of memory and swap of the machine, or SIZE_MAX if unknown.
GM_PRIVATE size_t gm_os_machine_memory(void) {
    struct sysinfo info;
    if (sysinfo(&info)) return SIZE_MAX;
    uint64_t units = (uint64_t)info.totalram + info.totalswap;
    return units < SIZE_MAX / info.mem_unit ? (size_t)(units * info.mem_unit) : SIZE_MAX;
}

// Waits while *word equals value, at most ns nanoseconds (0: without limit). May return early, so
// callers loop. Keeps errno.
GM_PRIVATE void gm_os_wait(const uint32_t *word, uint32_t value, uint64_t ns) {
    // ThreadSanitizer delays a stop signal until the next operation that it intercepts.
    if (GM_TSAN && (!ns || ns > 1000000)) ns = 1000000;
    struct timespec ts = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    int saved = errno;
    (void)GOMEM_SYSCALL(SYS_futex, word, GM_FUTEX_WAIT, value, ns ? &ts : NULL, NULL, 0);
    errno = saved;
}

// Wakes up to n threads that wait for *word. Keeps errno.
GM_PRIVATE void gm_os_wake(const uint32_t *word, int n) {
    int saved = errno;
    (void)GOMEM_SYSCALL(SYS_futex, word, GM_FUTEX_WAKE, n, NULL, NULL, 0);
    errno = saved;
}

// The kernel's id of the calling thread.
GM_PRIVATE uint32_t gm_os_thread_id(void) { return (uint32_t)GOMEM_SYSCALL(SYS_gettid); }

// Sends a signal to a thread of this process. False only if the thread does not exist: other
// errors, such as a full signal queue, do not prove that. Uses the older tkill if a sandbox refuses
// tgkill. Keeps errno.
GM_PRIVATE bool gm_os_signal_thread(uint32_t id, int signal) {
    int saved = errno;
    bool done = GOMEM_SYSCALL(SYS_tgkill, (long)getpid(), (long)id, (long)signal) == 0;
    if (!done && (errno == EPERM || errno == ENOSYS))
        done = GOMEM_SYSCALL(SYS_tkill, (long)id, (long)signal) == 0;
    done = done || (errno != ESRCH && errno != EINVAL);
    errno = saved;
    return done;
}

// For loops that wait for another thread, which may need this processor. sched_yield never lets a
// thread of a lower scheduling class run (SCHED_OTHER below SCHED_FIFO), so from round 100 on this
// sleeps.
GM_PRIVATE void gm_os_yield(unsigned round) {
    static const uint32_t never = 0;
    if (round < 100) (void)sched_yield();
    else gm_os_wait(&never, 0, round < 1000 ? 50000 : 1000000);
}

// State of a thread, from /proc.
struct gm_task {
    char name[16]; // "" if unknown
    char state;    // R: running or runnable, S: sleeping, D: sleeping, not interruptible, …
    bool blocked;  // its mask contains the signal in question
};

// Returns the text after `key` at the start of a line, or NULL if no line starts with it.
GM_PRIVATE const char *gm_os_find_field(const char *text, const char *key) {
    size_t n = strlen(key);
    while (text && strncmp(text, key, n) != 0)
        text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL;
    return text ? text + n : NULL;
}

// Reads a decimal number from a file; UINT64_MAX if there is none ("max", or no such file).
GM_PRIVATE uint64_t gm_os_read_number(const char *path) {
    char text[32];
    struct gm_file file;
    uint64_t x = 0;
    long n = gm_os_open(&file, path, false) ? gm_os_read(&file, text, sizeof text) : 0, i = 0;
    gm_os_close(&file);
    for (; i < n && text[i] >= '0' && text[i] <= '9' && x < UINT64_MAX / 16; i++)
        x = x * 10 + (uint64_t)(text[i] - '0');
    return i ? x : UINT64_MAX;
}

// Returns the lowest limit, read from `file`, of the control group with the path path[0..n) below
// `root` and of the groups that contain it; UINT64_MAX: no limit.
GM_PRIVATE uint64_t gm_os_limit_above(const char *root, const char *path, size_t n,
                                      const char *file) {
    uint64_t least = UINT64_MAX;
    // Each turn reads the limit of one group, then cuts the last component off the path.
    for (;;) {
        struct gm_text name = gm_text_make("%s", root);
        if (name.size + n + strlen(file) + 1 < sizeof name.data) {
            memcpy(name.data + name.size, path, n);
            name.size += n;
            gm_text_format(&name, "%s", file);
            least = GM_MIN(least, gm_os_read_number(name.data));
        }
        if (!n) return least;
        while (n && path[--n] != '/') continue;
    }
}

// Returns the lowest memory limit, in bytes, of the process's control groups, version 1 or 2;
// UINT64_MAX: no limit. `list` is the path of the process's /proc/…/cgroup, which has lines of the
// form "number:controllers:path"; `root` is where the groups are mounted.
GM_PRIVATE uint64_t gm_os_group_limit(const char *list, const char *root) {
    char text[2048];
    struct gm_file file;
    struct gm_text old = gm_text_make("%s/memory", root);
    size_t size = 0;
    uint64_t least = UINT64_MAX;
    if (!gm_os_open(&file, list, false)) return least;
    for (long n; size + 1 < sizeof text &&
                 (n = gm_os_read(&file, text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)n;
    gm_os_close(&file);
    text[size] = 0;
    // Version 2 has one line without controllers; version 1 a line for the memory controller, whose
    // groups are mounted in a folder of their own.
    for (const char *line = text; *line;) {
        size_t n = strcspn(line, "\n"), first = strcspn(line, ":") + 1;
        const char *controllers = line + GM_MIN(first, n);
        const char *path = controllers + strcspn(controllers, ":\n");
        bool unified = *controllers == ':', memory = !strncmp(controllers, "memory:", 7);
        if (*path == ':') path++;
        size_t length = (size_t)(line + n - path);
        if (length && path[length - 1] == '/') length--;
        uint64_t most = unified ? gm_os_limit_above(root, path, length, "/memory.max")
                        : memory
                            ? gm_os_limit_above(old.data, path, length, "/memory.limit_in_bytes")
                            : UINT64_MAX;
        least = GM_MIN(least, most);
        line += n + (line[n] == '\n');
    }
    return least;
}

// Names the system call that a thread sleeps in, if it is one that takes a signal mask or set; NULL
// otherwise. For messages.
GM_PRIVATE const char *gm_os_read_wait(uint32_t id) {
    static const struct {
        long number;
        const char *name;
    } waits[] = {{SYS_ppoll, "ppoll"},
                 {SYS_pselect6, "pselect"},
                 {SYS_epoll_pwait, "epoll_pwait"},
                 {441, "epoll_pwait2"},
                 {SYS_rt_sigsuspend, "sigsuspend"},
                 {SYS_rt_sigtimedwait, "sigwait"},
                 {SYS_read, "read, perhaps of a signalfd"}};
    struct gm_text path = gm_text_make("/proc/self/task/%u/syscall", id);
    char text[32]; // "running", or "NUMBER 0x…"
    struct gm_file file;
    long call = 0,
         n = gm_os_open(&file, path.data, false) ? gm_os_read(&file, text, sizeof text) : 0;
    gm_os_close(&file);
    // A running thread's file says "running"; otherwise it begins with the number of the call.
    if (n <= 0 || text[0] < '0' || text[0] > '9') return NULL;
    for (long i = 0; i < n && text[i] >= '0' && text[i] <= '9' && call < 10000; i++)
        call = call * 10 + (text[i] - '0');
    for (size_t i = 0; i < sizeof waits / sizeof waits[0]; i++)
        if (waits[i].number == call) return waits[i].name;
    return NULL;
}

// Reads the state of a thread, and whether it blocks `signal`. False: /proc is not mounted, or the
// thread has ended; *task is then zero.
GM_RARE GM_PRIVATE bool gm_os_read_task(uint32_t id, int signal, struct gm_task *task) {
    struct gm_text path = gm_text_make("/proc/self/task/%u/status", id);
    char text[2048];
    size_t size = 0;
    long n = 0;
    memset(task, 0, sizeof *task);
    struct gm_file file;
    if (!gm_os_open(&file, path.data, false)) return false;
    while (size + 1 < sizeof text &&
           (n = gm_os_read(&file, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)n;
    gm_os_close(&file);
    text[size] = 0;
    const char *name = gm_os_find_field(text, "Name:\t"),
               *state = gm_os_find_field(text, "State:\t"),
               *mask = gm_os_find_field(text, "SigBlk:\t");
    if (!name || !state || !mask) return false;
    for (size_t i = 0; i + 1 < sizeof task->name && name[i] >= ' '; i++) task->name[i] = name[i];
    task->state = *state;
    // SigBlk is a mask of 16 hexadecimal digits, the highest signals first.
    size_t digit = 15 - (size_t)(signal - 1) / 4;
    unsigned char c = strlen(mask) > digit ? (unsigned char)mask[digit] : '0';
    unsigned bits = (unsigned)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    task->blocked = bits >> (signal - 1) % 4 & 1;
    return true;
}

// Tells the processor that this is a spin loop.
GM_INLINE void gm_os_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Makes a client request to valgrind, which recognizes this sequence of instructions. Outside of
// valgrind it does nothing and returns 0.
GM_RARE GM_PRIVATE uintptr_t gm_os_ask_valgrind(uintptr_t request, uintptr_t a, uintptr_t b) {
    uintptr_t args[6] = {request, a, b, 0, 0, 0}, result = 0;
#if defined(__x86_64__)
    __asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi\n\trolq $61, %%rdi; rolq $51, %%rdi\n\t"
                     "xchgq %%rbx, %%rbx"
                     : "+d"(result)
                     : "a"(args)
                     : "cc", "memory");
#endif
    (void)args;
    return result;
}

enum {
    GM_VALGRIND_RUNS = 0x1001,
    GM_MEMCHECK_NOACCESS = 0x4d430000,
    GM_MEMCHECK_UNDEFINED,
    GM_MEMCHECK_DEFINED
};

// AddressSanitizer's runtime. Weak, because it is there only in programs that are built with it.
extern void __asan_poison_memory_region(const volatile void *, size_t) __attribute__((weak));
extern void __asan_unpoison_memory_region(const volatile void *, size_t) __attribute__((weak));
extern int __asan_address_is_poisoned(const volatile void *) __attribute__((weak));
extern void __asan_get_shadow_mapping(size_t *scale, size_t *offset) __attribute__((weak));
extern void __asan_report_error(void *pc, void *bp, void *sp, void *address, int write, size_t size)
    __attribute__((weak));

// Shadow bytes that AddressSanitizer reports as use-after-poison, heap-buffer-overflow and
// heap-use-after-free.
enum gm_shade { GM_SHADE_IDLE = 0xf7, GM_SHADE_BEYOND = 0xfa, GM_SHADE_FREED = 0xfd };

// Poisons a range and writes the reason to its shadow, one byte per 8 bytes: the public call can
// write only use-after-poison.
GM_NO_SANITIZE GM_PRIVATE void gm_os_shade(uintptr_t from, size_t size, enum gm_shade shade) {
    size_t scale = 0, offset = 0;
    __asan_poison_memory_region((void *)from, size);
    __asan_get_shadow_mapping(&scale, &offset);
    if (scale != 3) return; // the shadow has another layout: the default report is fine
    uintptr_t at = ((from + 7) >> 3) + offset, end = ((from + size) >> 3) + offset;
    for (; at < end && at % 8; at++) *(volatile uint8_t *)at = (uint8_t)shade;
    for (; at + 8 <= end; at += 8) *(volatile uint64_t *)at = 0x0101010101010101u * (uint64_t)shade;
    for (; at < end; at++) *(volatile uint8_t *)at = (uint8_t)shade;
}

// Marks bytes as not accessible, so that AddressSanitizer reports an access; so does valgrind from
// check level 1 on, unless the memory is scanned, because markers read it.
GM_PRIVATE void gm_os_forbid(uintptr_t from, size_t size, bool scanned, enum gm_shade shade) {
    if (!size) return;
    if (GM_ASAN) gm_os_shade(from, size, shade);
    else if (GOMEM_I_CHECK && !scanned) (void)gm_os_ask_valgrind(GM_MEMCHECK_NOACCESS, from, size);
}

// Marks bytes as accessible: they are given to the program, or the library is about to write them.
GM_PRIVATE void gm_os_allow(uintptr_t from, size_t size) {
    if (!size) return;
    if (GM_ASAN) __asan_unpoison_memory_region((void *)from, size);
    else if (GOMEM_I_CHECK) (void)gm_os_ask_valgrind(GM_MEMCHECK_DEFINED, from, size);
}

// Zeroes memory that is not in use yet and leaves it marked as not accessible.
GM_PRIVATE void gm_os_zero(uintptr_t from, size_t size, bool scanned) {
    gm_os_allow(from, size);
    memset((void *)from, 0, size);
    gm_os_forbid(from, size, scanned, GM_SHADE_BEYOND);
}

// Returns the number of processors that the process may run on, at least 1 and at most 1024.
GM_PRIVATE unsigned gm_os_processors(void) {
    unsigned long mask[16] = {0};
    long bytes = GOMEM_SYSCALL(SYS_sched_getaffinity, 0L, sizeof mask, mask);
    unsigned n = 0;
    for (long i = 0; i < bytes / (long)sizeof mask[0]; i++)
        n += (unsigned)__builtin_popcountl(mask[i]);
    return n ? n : 1;
}

// When this returns, every thread of the process has executed a full fence. Without membarrier it
// removes access to a page: the TLB shootdown interrupts all processors that run the process, which
// has the same effect on x86-64.
GM_PRIVATE void gm_os_fence_all(void) {
    (void)GOMEM_SYSCALL(SYS_membarrier, GM_MEMBARRIER_REGISTER, 0, 0);
    if (GOMEM_SYSCALL(SYS_membarrier, GM_MEMBARRIER_EXPEDITED, 0, 0) == 0) return;
    size_t size = gm_os_page_size();
    char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    *(volatile char *)page = 1;
    (void)mprotect(page, size, PROT_READ);
    (void)munmap(page, size);
}

struct gm_piece {   // struct iovec
    uintptr_t base; // address
    size_t size;    // bytes
};

// Makes the kernel copy n pieces of this process's memory to *to. Returns the bytes copied, or -1
// with errno: EFAULT if the first piece is not mapped; other errors mean that the call is refused.
// It names the calling thread and not the process, whose id is that of the main thread: after that
// has ended, the kernel finds no memory for it.
GM_PRIVATE long gm_os_read_pieces(const struct gm_piece *to, const struct gm_piece *from,
                                  size_t n) {
    return GOMEM_SYSCALL(SYS_process_vm_readv, (long)gm_os_thread_id(), to, 1L, from, (long)n, 0L);
}

// Tests whether process_vm_readv is allowed. Keeps errno.
GM_RARE GM_PRIVATE bool gm_os_can_read(void) {
    uintptr_t from = 1, to = 0;
    struct gm_piece here = {(uintptr_t)&to, sizeof to}, there = {(uintptr_t)&from, sizeof from};
    int saved = errno;
    bool done = gm_os_read_pieces(&here, &there, 1) == (long)sizeof to;
    errno = saved;
    return done;
}

// Tests whether the word at an address can be read, where process_vm_readv is refused. The kernel
// copies the signal set at that address before it rejects the invalid `how`. Keeps errno.
GM_PRIVATE bool gm_os_is_there(uintptr_t at) {
    int saved = errno;
    bool there = GOMEM_SYSCALL(SYS_rt_sigprocmask, -1L, at & ~(uintptr_t)7, NULL, 8L) == 0 ||
                 errno != EFAULT;
    errno = saved;
    return there;
}

// Copies words up to the first page that is not mapped; returns the bytes copied. No other thread
// may unmap memory meanwhile.
GM_NO_SANITIZE GM_PRIVATE size_t gm_os_copy_words(void *to, uintptr_t from, size_t size) {
    size_t n = 0;
    while (n + GM_WORD <= size && gm_os_is_there(from + n)) {
        size_t end = GM_MIN(size, n + 4096 - (from + n) % 4096);
        for (; n + GM_WORD <= end; n += GM_WORD)
            ((uintptr_t *)to)[n / GM_WORD] = gm_base_word((const uintptr_t *)(from + n));
    }
    return n;
}

// Copies memory of this process that may be unmapped. Returns how many bytes from the start it
// copied. If process_vm_readv is refused, the threads must be stopped, because memory must not be
// unmapped meanwhile. Keeps errno.
GM_RARE GM_PRIVATE size_t gm_os_read_foreign(void *to, uintptr_t from, size_t size) {
    struct gm_piece here = {(uintptr_t)to, size}, there = {from, size};
    int saved = errno;
    long n = gm_os_read_pieces(&here, &there, 1);
    if (n < 0 && errno != EFAULT) n = (long)gm_os_copy_words(to, from, size);
    errno = saved;
    return n > 0 ? (size_t)n : 0;
}

// Returns how many of n pages, at `first` and then every `step` bytes (negative: downward), can be
// read without a gap. 0.1 us per page. Keeps errno.
GM_PRIVATE size_t gm_os_count_readable(uintptr_t first, size_t n, long step) {
    enum { BATCH = 64 };
    struct gm_piece there[BATCH];
    char bytes[BATCH] = {0};
    int saved = errno;
    size_t done = 0;
    long got = 0, want = 0;
    // Each turn makes the kernel read one byte of up to 64 pages; it stops at the first that fails.
    while (done < n && got == want) {
        want = (long)GM_MIN(n - done, (size_t)BATCH);
        for (long i = 0; i < want; i++)
            there[i] = (struct gm_piece){first + (uintptr_t)(((long)done + i) * step), 1};
        struct gm_piece here = {(uintptr_t)bytes, (size_t)want};
        got = gm_os_read_pieces(&here, there, (size_t)want);
        // If the call is refused, probe a page at a time.
        if (got < 0 && errno != EFAULT) got = gm_os_is_there(there[0].base), want = 1;
        if (got > 0) done += (size_t)got;
    }
    errno = saved;
    return done;
}

// Returns the lowest address >= to such that all pages between it and `from` can be read. All are
// page-aligned.
GM_PRIVATE uintptr_t gm_os_readable_down(uintptr_t from, uintptr_t to, size_t page) {
    if (from <= to) return from;
    return from - page * gm_os_count_readable(from - page, (from - to) / page, -(long)page);
}

// Returns the end of the readable pages that begin at `from`, page-aligned, within `size` bytes.
GM_PRIVATE uintptr_t gm_os_readable_up(uintptr_t from, size_t size, size_t page) {
    return from + page * gm_os_count_readable(from, size / page, (long)page);
}

// Returns the upper end of the main thread's stack, where the kernel stores the name of the
// program. 0: unknown.
GM_PRIVATE uintptr_t gm_os_main_top(size_t page) {
    uintptr_t at = (uintptr_t)getauxval(AT_EXECFN);
    if (!at) at = (uintptr_t)getauxval(AT_RANDOM);
    return at ? gm_base_round_up(at + 1, page) : 0;
}

// Returns the upper end of another thread's stack, given its thread pointer: libc stores its record
// of the thread and the thread-local storage there.
GM_PRIVATE uintptr_t gm_os_thread_top(uintptr_t tp, size_t page) {
    enum { ABOVE = 16 * 1024 };
    uintptr_t top = gm_base_round_up(tp + 1, page), word;
    while (top < tp + ABOVE && gm_os_read_foreign(&word, top, sizeof word) == sizeof word)
        top += page;
    return top;
}

// pthread_sigmask by the bare system call, because the override defines that function. Signals that
// libc reserves for itself are never masked, as in libc's own. Returns an error number. Keeps
// errno.
GM_RARE GM_PRIVATE int gm_os_set_mask(int how, const sigset_t *set, sigset_t *old) {
    sigset_t mask;
    int saved = errno;
    if (set) mask = *set;
    // Signals 32 to SIGRTMIN - 1 are libc's.
    for (int s = 32; set && how != SIG_UNBLOCK && s < SIGRTMIN; s++)
        ((unsigned char *)&mask)[(s - 1) / 8] &= (unsigned char)~(1u << (s - 1) % 8);
    if (old) memset(old, 0, sizeof *old);
    long done = GOMEM_SYSCALL(SYS_rt_sigprocmask, (long)how, set ? &mask : NULL, old, 8L);
    int error = done < 0 ? errno : 0;
    errno = saved;
    return error;
}

extern char gm_libc_alone __asm__("__libc_single_threaded") __attribute__((weak)); // glibc 2.32
extern const char *gm_libc_version(void) __asm__("gnu_get_libc_version") __attribute__((weak));

// Tests whether libc knows that the process has a single thread.
GM_PRIVATE bool gm_os_is_alone(void) {
    const char *alone = &gm_libc_alone;
    return alone && *alone;
}

// Tests for a glibc before 2.37. It does not reset the lock of dl_iterate_phdr in the child of a
// fork, so if any thread of the parent held it, the child finds it held forever.
GM_PRIVATE bool gm_os_forks_keep_loader(void) {
    const char *v = gm_libc_version ? gm_libc_version() : "";
    if (v[0] != '2' || v[1] != '.') return false;
    int minor = v[2] >= '0' && v[2] <= '9' ? v[2] - '0' : 0;
    if (v[3] >= '0' && v[3] <= '9') minor = minor * 10 + (v[3] - '0');
    return minor < 37;
}

// Starts a thread of the library: joinable, with all signals blocked and a small stack. False if it
// cannot be created.
GM_PRIVATE bool gm_os_start_thread(pthread_t *thread, void *(*fn)(void *), void *arg) {
    sigset_t all, old;
    pthread_attr_t attr;
    sigfillset(&all); // the new thread inherits the mask
    if (pthread_attr_init(&attr)) return false;
    (void)pthread_attr_setstacksize(&attr, (size_t)GM_MAX((long)PTHREAD_STACK_MIN, 256L * 1024));
    (void)gm_os_set_mask(SIG_SETMASK, &all, &old);
    bool done = GOMEM_PTHREAD_CREATE(thread, &attr, fn, arg) == 0;
    (void)gm_os_set_mask(SIG_SETMASK, &old, NULL);
    (void)pthread_attr_destroy(&attr);
    return done;
}

// Waits for the end of a thread of the library. pthread_join is a cancellation point, so
// cancellation is disabled meanwhile.
GM_PRIVATE void gm_os_join(pthread_t thread) {
    int old = 0;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    (void)pthread_join(thread, NULL);
    (void)pthread_setcancelstate(old, NULL);
}

// Finds the stack of a thread from libc's record; false if libc does not know it. libc may take
// locks and allocate.
GM_RARE GM_PRIVATE bool gm_os_stack(pthread_t thread, uintptr_t *lo, uintptr_t *hi) {
    pthread_attr_t attr;
    void *start = NULL;
    size_t size = 0;
    if (gm_libc_getattr(thread, &attr)) return false;
    bool done = !gm_libc_attr_getstack(&attr, &start, &size);
    if (done) *lo = (uintptr_t)start, *hi = (uintptr_t)start + size;
    (void)pthread_attr_destroy(&attr);
    return done;
}

// The registers that a thread saves when it stops by itself: callee-saved ones and the stack
// pointer. Caller-saved registers, vectors included, are dead or spilled at any call.
struct gm_registers {
    uintptr_t word[24]; // registers, then unused
    uintptr_t sp;       // the stack pointer at the time
};

// Saves the calling thread's callee-saved registers and stack pointer to *r.
GM_ALWAYS void gm_os_spill(struct gm_registers *r) {
#if defined(__x86_64__)
    __asm__ volatile(
        "movq %%rbx, 0(%0)\n\tmovq %%rbp, 8(%0)\n\tmovq %%r12, 16(%0)\n\tmovq %%r13, 24(%0)\n\t"
        "movq %%r14, 32(%0)\n\tmovq %%r15, 40(%0)\n\tmovq %%rsp, 192(%0)"
        :
        : "r"(r->word)
        : "memory");
#elif defined(__aarch64__)
    __asm__ volatile(
        "stp x19, x20, [%0]\n\tstp x21, x22, [%0, 16]\n\tstp x23, x24, [%0, 32]\n\t"
        "stp x25, x26, [%0, 48]\n\tstp x27, x28, [%0, 64]\n\tstp x29, x30, [%0, 80]\n\t"
        "stp d8, d9, [%0, 96]\n\tstp d10, d11, [%0, 112]\n\tstp d12, d13, [%0, 128]\n\t"
        "stp d14, d15, [%0, 144]\n\tmov x9, sp\n\tstr x9, [%0, 192]"
        :
        : "r"(r->word)
        : "memory", "x9");
#else
    __builtin_unwind_init();
    r->sp = (uintptr_t)__builtin_frame_address(0) - 256;
#endif
}
_Static_assert(offsetof(struct gm_registers, sp) == 24 * sizeof(uintptr_t),
               "gm_os_spill stores sp after word");

// Information from a signal handler's context, the kernel's ucontext: {flags, link, stack {sp,
// flags, size}, registers …}. No libc changes this layout.
struct gm_interrupted {
    uintptr_t sp;       // stack pointer of the interrupted code
    uintptr_t alt_lo;   // lower end of the thread's alternate stack, 0: none
    uintptr_t alt_size; // bytes
};

// Reads it from the handler's third argument.
GM_NO_SANITIZE GM_PRIVATE struct gm_interrupted gm_os_interrupted(const void *context) {
    const uintptr_t *word = context;
    struct gm_interrupted at = {0, word[2], word[4]};
#if defined(__x86_64__)
    at.sp = word[5 + 15]; // r8-r15, di, si, bp, bx, dx, ax, cx, sp
#elif defined(__aarch64__)
    at.sp = ((const uintptr_t *)((const char *)context + 176))[1 + 31]; // fault address, x0-x30, sp
#else
    at.sp = (uintptr_t)context;
#endif
    return at;
}

enum { GM_RED_ZONE = 128 }; // bytes below the stack pointer that leaf functions may use (x86-64)

// The calling thread's thread pointer, which identifies it; 0 on architectures without one.
GM_ALWAYS uintptr_t gm_os_thread_pointer(void) {
#if defined(__x86_64__)
    uintptr_t tp = 0;
    __asm__("movq %%fs:0, %0" : "=r"(tp));
    return tp;
#elif defined(__aarch64__)
    uintptr_t tp;
    __asm__("mrs %0, tpidr_el0" : "=r"(tp));
    return tp;
#else
    return 0;
#endif
}

// Blocks all signals of the calling thread and saves its mask, for gm_os_restore_signals.
GM_PRIVATE void gm_os_block_signals(sigset_t *old) {
    sigset_t all;
    sigfillset(&all);
    (void)gm_os_set_mask(SIG_SETMASK, &all, old);
}

GM_PRIVATE void gm_os_restore_signals(const sigset_t *old) {
    (void)gm_os_set_mask(SIG_SETMASK, old, NULL);
}

// glibc stores the values of the first 32 keys of pthread_setspecific in its record of the thread,
// which is scanned. The values of further keys lie in tables of {sequence, value}, which malloc
// returns and the record points to. The library finds these pointers by experiment: it sets a value
// and looks which word of the record changes from NULL to a pointer to a table that holds the
// value.
enum {
    GM_KEYS_IN_TABLE = 32,
    GM_KEYS_TABLES = 32,   // the first is part of the record
    GM_KEYS_TABLE = 512,   // bytes
    GM_KEYS_RECORD = 1792, // bytes of the record that are searched
#if defined(__aarch64__)
    GM_KEYS_FROM = -GM_KEYS_RECORD // the record lies below the thread pointer
#else
    GM_KEYS_FROM = 0
#endif
};

// Sets the value of key, which must be the calling thread's first one in its table. Returns the
// offset from the thread pointer of the word that now points to the table; 0: not found.
GM_NO_SANITIZE GM_PRIVATE intptr_t gm_os_find_table(pthread_key_t key) {
    const uintptr_t *record = (const uintptr_t *)(gm_os_thread_pointer() + (uintptr_t)GM_KEYS_FROM);
    uintptr_t before[GM_KEYS_RECORD / GM_WORD];
    intptr_t found = 0;
    // Compare the record before and after: the word must have been NULL, and the table must contain
    // the value at the key's place.
    for (size_t i = 0; i < GM_KEYS_RECORD / GM_WORD; i++) before[i] = gm_base_word(&record[i]);
    if (pthread_setspecific(key, before)) return 0;
    for (size_t i = 0; i < GM_KEYS_RECORD / GM_WORD && !found; i++) {
        uintptr_t table = gm_base_word(&record[i]);
        if (before[i] || table % GM_WORD || table < 65536) continue; // it was NULL
        uintptr_t value = 0, at = table + (key % GM_KEYS_IN_TABLE * 2 + 1) * GM_WORD;
        bool there = gm_os_read_foreign(&value, at, sizeof value) == sizeof value; // any word
        if (there && value == (uintptr_t)before) found = (intptr_t)(i * GM_WORD) + GM_KEYS_FROM;
    }
    (void)pthread_setspecific(key, NULL);
    return found;
}

#if defined(__GLIBC__) && (defined(__x86_64__) || defined(__aarch64__))
enum { GM_KEYS_KNOWN = 1 };
#else // musl's table lies in scanned memory, and its record is shorter
enum { GM_KEYS_KNOWN = 0 };
#endif

// Returns the offset of the array of table pointers, its element [0] included, from a thread's
// thread pointer. 0 if this libc has no such array, or if two tables are not found at the expected
// distance. Creates keys up to number 95 and deletes them.
GM_PRIVATE intptr_t gm_os_learn_keys(void) {
    pthread_key_t key[3 * GM_KEYS_IN_TABLE];
    intptr_t offset = 0, first = 0;
    size_t n = 0, table = 0;
    sigset_t old;
    if (!GM_KEYS_KNOWN) return 0;
    gm_os_block_signals(&old); // a handler would change the record too
    // Create keys until two tables in a row were found, each at the word that the other predicts.
    while (!offset && n < 3 * GM_KEYS_IN_TABLE && !pthread_key_create(&key[n], NULL)) {
        size_t now = key[n++] / GM_KEYS_IN_TABLE;
        if (now == table || !now || now >= GM_KEYS_TABLES) continue; // not the first one of a table
        intptr_t at = gm_os_find_table(key[n - 1]);
        if (at) at -= (intptr_t)(now * GM_WORD);
        if (at && at == first) offset = at;
        first = at;
        table = now;
    }
    while (n) (void)pthread_key_delete(key[--n]);
    gm_os_restore_signals(&old);
    return offset;
}

typedef void gm_handler(int signal, siginfo_t *info, void *context);

// Fills in the action that installs a handler of the library; all signals are blocked while it
// runs.
GM_PRIVATE void gm_os_action(struct sigaction *action, gm_handler *handler) {
    memset(action, 0, sizeof *action);
    action->sa_sigaction = handler;
    action->sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigfillset(&action->sa_mask);
}

// Installs a handler. Under ThreadSanitizer it runs at the next intercepted call only. Bypassing
// ThreadSanitizer was tried and dropped: a thread stopped inside its runtime held a lock there, for
// which the collector then waited.
GM_RARE GM_PRIVATE bool gm_os_install_handler(int signal, gm_handler *handler) {
    struct sigaction action;
    gm_os_action(&action, handler);
    return GOMEM_SIGACTION(signal, &action, NULL) == 0;
}

enum gm_handled { GM_HANDLED, GM_UNHANDLED, GM_HANDLED_ELSEWHERE };

// Classifies an action: it calls `handler`, it is the default or ignores the signal, or it calls
// another handler.
GM_RARE GM_PRIVATE enum gm_handled gm_os_whose(const struct sigaction *action,
                                               gm_handler *handler) {
    if (action->sa_flags & SA_SIGINFO)
        return action->sa_sigaction == handler ? GM_HANDLED : GM_HANDLED_ELSEWHERE;
    return action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN ? GM_UNHANDLED
                                                                          : GM_HANDLED_ELSEWHERE;
}

// Classifies the current action of a signal. An error counts as GM_HANDLED, so that nothing is
// done.
GM_PRIVATE enum gm_handled gm_os_handled(int signal, gm_handler *handler) {
    struct sigaction now;
    if (GOMEM_SIGACTION(signal, NULL, &now) != 0) return GM_HANDLED;
    return gm_os_whose(&now, handler);
}

// Installs the handler for an unused real-time signal, from the highest down: one whose action is
// the default or, failing that, one that is ignored (daemons often ignore all signals, and the
// programs they start inherit that). Returns the signal, or 0 if all are in use. Two copies of the
// library in one process may do this concurrently: the old action that sigaction returns elects
// one. The other sees the first one's handler, puts it back and goes on.
GM_RARE GM_PRIVATE int gm_os_claim_signal(gm_handler *handler) {
    struct sigaction action, old;
    gm_os_action(&action, handler);
    for (int ignored = 0; ignored < 2; ignored++)
        for (int s = SIGRTMAX - 1; s > SIGRTMIN; s--) {
            void (*wanted)(int) = ignored ? SIG_IGN : SIG_DFL;
            if (GOMEM_SIGACTION(s, NULL, &old) || old.sa_handler != wanted) continue;
            if (GOMEM_SIGACTION(s, &action, &old)) continue;
            if (old.sa_handler == wanted) return s;
            (void)GOMEM_SIGACTION(s, &old, NULL);
        }
    return 0;
}

// Restores the default action, if the handler is still installed. Ignoring the signal first
// discards pending instances, for which the default action would end the process.
GM_PRIVATE void gm_os_remove_handler(int signal, gm_handler *handler) {
    struct sigaction action;
    if (gm_os_handled(signal, handler) != GM_HANDLED) return; // the program has changed it
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_IGN;
    (void)GOMEM_SIGACTION(signal, &action, NULL);
    action.sa_handler = SIG_DFL;
    (void)GOMEM_SIGACTION(signal, &action, NULL);
}

// Discards the pending instances of the signal in all threads, blocked or not, by ignoring it for a
// moment, and installs the handler again. If the program has installed another handler, before or
// in between, that one stays.
GM_RARE GM_PRIVATE void gm_os_discard_signal(int signal, gm_handler *handler) {
    struct sigaction ignore, ours, old;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    gm_os_action(&ours, handler);
    if (GOMEM_SIGACTION(signal, &ignore, &old)) return;
    if (gm_os_whose(&old, handler) != GM_HANDLED_ELSEWHERE && GOMEM_SIGACTION(signal, &ours, &old))
        return;
    if (gm_os_whose(&old, handler) == GM_HANDLED_ELSEWHERE)
        (void)GOMEM_SIGACTION(signal, &old, NULL);
}

// Removes the signal, if there is one, from a mask that a thread is about to set.
GM_PRIVATE void gm_os_keep_unblocked(sigset_t *mask, int signal) {
    if (signal) sigdelset(mask, signal);
}

// Unblocks a signal in the calling thread.
GM_PRIVATE void gm_os_unblock(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    (void)gm_os_set_mask(SIG_UNBLOCK, &set, NULL);
}

/* ==========================================================================================
 * >>sync   library sections, ranked locks                                          floor 1
 * ==========================================================================================
 * OWNS        struct gm_lock; depth and ranks of the thread's cache
 * CALLS       base os
 * ORDER       *stop_request is set by world (seq), read here after depth has changed; see Y2
 * INVARIANTS  Y1  in a section (depth > 0) a thread is not stopped; it calls no user code and
 *                 nothing that may block on a lock of another library
 *             Y2  a thread stores its depth before it loads stop_request: a thread that sets
 *                 stop_request and signals it either finds it outside of the section, or it finds
 *                 stop_request set
 *             Y3  INIT, GC, TURN, GONE and WORLD are held outside of sections, so their holders may
 *                 wait. Every other lock is held in a section, or under INIT, TURN, GONE or WORLD.
 *                 So no stop and no fork begins while another thread holds it, except a thread that
 *                 attaches. The holder of a lock takes only locks of a higher rank (the essay
 *                 before floor 1 lists them)
 * WHY         A section costs two stores and a few loads of lines that are in the cache anyway. The
 *             hidden state of a libc mutex would not survive forks and signals. Y2 needs no fence
 *             in the thread: a stop is ordered by the signal, and a fork's gate by a fence that its
 *             owner makes all threads execute.
 */
enum gm_rank { // outermost first (Y3)
    GM_RANK_INIT,
    GM_RANK_GC,
    GM_RANK_TURN, // belongs to room gc
    GM_RANK_GONE,
    GM_RANK_WORLD,
    GM_RANK_POOLS, // belongs to room pool; the end of a thread takes it while it holds GONE
    GM_RANK_POOL_CACHE,
    GM_RANK_POOL,
    GM_RANK_ESCAPES,
    GM_RANK_ROOTS,
    GM_RANK_SPECIAL,
    GM_RANK_READY, // belongs to room special
    GM_RANK_TYPES,
    GM_RANK_CENTRAL,
    GM_RANK_HEAP,
    GM_RANK_META
};

struct gm_lock {
    uint32_t word;   // 0 free, 1 held, 2 held and waited for. atomic: acq/rel
    uint32_t rank;   // enum gm_rank. const
    uintptr_t owner; // thread pointer of the holder; 0: not held. atomic: rlx
};

GM_PRIVATE const uint32_t gm_sync_quiet = 0; // stop_request of a cache that belongs to no heap

// Enters a library section of the calling thread, whose cache is t. Sections nest. If a stop is
// pending or a gate is closed, the hook waits first.
GM_ALWAYS void gm_sync_enter(gomem_i_cache *t) {
    uint32_t depth = gm_load_rlx(&t->section_depth);
    gm_store_rlx(&t->section_depth, depth + 1); // a stop or a gate reads it (Y2)
    if (depth) return;
    gm_signal_fence();
    if (GOMEM_I_UNLIKELY(gm_load_rlx(t->stop_request) | t->blocked)) t->stop_wait(t, true); // Y2
    gm_base_tsan_acquire(t->stop_request);
}

// Leaves a section. If a stop became pending meanwhile, the thread parks here.
GM_ALWAYS void gm_sync_leave(gomem_i_cache *t) {
    gm_assert(t->section_depth);
    if (t->section_depth == 1) gm_base_tsan_release(t);
    gm_signal_fence();
    uint32_t depth = gm_load_rlx(&t->section_depth) - 1;
    gm_store_rel(&t->section_depth, depth); // pairs with gm_world_close_gate: what the section did
    if (depth) return;
    gm_signal_fence();
    if (GOMEM_I_UNLIKELY(gm_load_rlx(t->stop_request) | t->blocked)) t->stop_wait(t, false); // Y2
}

// Check level 2: asserts that the thread holds no lock of this rank or a higher one, and records
// the lock as taken or released.
GM_PRIVATE void gm_sync_rank(const struct gm_lock *l, bool take) {
    gomem_i_cache *t = GOMEM_I_TLS;
    if (!t->size) return; // not attached: it shares this cache with other threads
    if (take) {
        gm_assert(!(t->ranks >> l->rank)); // Y3
        t->ranks |= 1u << l->rank;
    } else {
        t->ranks &= ~(1u << l->rank);
    }
}

// A signal handler interrupted the holder of the lock and now wants it: it would wait forever.
GM_COLD GM_PRIVATE void gm_sync_reentered(void) {
    GOMEM_PANIC(gm_text_message(GM_MSG_SIGNAL, "%s", "").data);
    abort();
}

// The contended case: spins for a while, then sleeps. The swap to 2 takes the lock if it was free
// and makes the next unlock wake a waiter.
GM_COLD GM_PRIVATE void gm_sync_lock_slow(struct gm_lock *l) {
    uintptr_t me = gm_os_thread_pointer();
    if (me && gm_load_rlx(&l->owner) == me) gm_sync_reentered(); // a thread sees its own stores
    for (int i = 0; i < 100; i++) {
        uint32_t zero = 0;
        // pairs with unlock's swap
        if (!gm_load_rlx(&l->word) && gm_cas_acqrel(&l->word, &zero, 1u)) return;
        gm_os_pause();
    }
    while (gm_swap_acqrel(&l->word, 2u)) gm_os_wait(&l->word, 2, 0); // pairs with unlock's swap
}

// Takes a lock. The caller is in a section or follows Y3, and holds no lock of this rank or above.
// Not inlined: a hundred callers, and the atomic exchange costs much more than the call.
GM_NOINLINE GM_PRIVATE void gm_sync_lock(struct gm_lock *l) {
    uint32_t zero = 0;
    if (GOMEM_I_CHECK >= 2) gm_sync_rank(l, true);
    // pairs with unlock's swap: what its holder did is seen
    if (GOMEM_I_UNLIKELY(!gm_cas_acqrel(&l->word, &zero, 1u))) gm_sync_lock_slow(l);
    gm_store_rlx(&l->owner, gm_os_thread_pointer()); // only a handler of this thread compares
}

// Takes a lock if it is free; false otherwise.
GM_PRIVATE bool gm_sync_try(struct gm_lock *l) {
    uint32_t zero = 0;
    bool done = gm_cas_acqrel(&l->word, &zero, 1u); // pairs with unlock's swap
    if (GOMEM_I_CHECK >= 2 && done) gm_sync_rank(l, true);
    if (done)
        gm_store_rlx(&l->owner, gm_os_thread_pointer()); // only a handler of this thread compares
    return done;
}

// Releases a lock and wakes one waiter if there may be any.
GM_PRIVATE void gm_sync_unlock(struct gm_lock *l) {
    if (GOMEM_I_CHECK >= 2) gm_sync_rank(l, false);
    gm_store_rlx(&l->owner, (uintptr_t)0); // only a handler of this thread compares
    if (gm_swap_acqrel(&l->word, 0u) == 2)
        gm_os_wake(&l->word, 1); // pairs with lock's cas and swap
}

/* ==========================================================================================
 * >>stats   sharded counters: write side only                                      floor 1
 * ==========================================================================================
 * OWNS        struct gm_shard (one per thread, one shared), struct gm_stats
 * CALLS       base
 * INVARIANTS  T1  counters only grow; live objects and bytes are the difference of two counters
 * WHY         Only its own thread writes a shard, at refills and exchanges, with relaxed stores;
 *             readers add all shards up. When a thread ends, its shard stays with its record, so no
 *             count is handed over. Threads without a record use the shared shard.
 */
struct gm_shard {                        // atomic: rlx; owner: thread (the shared one: gm_add_rlx)
    uint64_t mallocs[GOMEM_CLASSES + 1]; // collected objects by class; [0] large
    uint64_t frees[GOMEM_CLASSES + 1];   // the same, swept or freed by hand
    uint64_t manual_mallocs[GOMEM_CLASSES + 1]; // counted when a magazine is filled
    uint64_t manual_frees[GOMEM_CLASSES + 1];   // counted when a magazine is emptied
    uint64_t large_alloc, large_free;           // bytes of large objects of all kinds
};

enum { GM_PAUSES = 256 };
struct gm_stats {
    struct gm_shard shared;        // for threads without a record, sweepers and workers
    uint64_t allocated;            // bytes so far, as threads report them. atomic: rlx
    uint64_t pause_ns[GM_PAUSES];  // ring by cycle: sum of its stops. lock: gc
    uint64_t stop_ns[GM_PAUSES];   // ring by stop. lock: gc
    uint64_t gather_ns[GM_PAUSES]; // ring by stop: time until all threads stood. lock: gc
    uint64_t stops;                // so far. lock: gc
    uint64_t withdrawn;            // stops that some thread did not reach in time. lock: world
    uint64_t vetoed, veto;         // cycles given up, and the last reason. lock: gc; read rlx
    uint64_t pause_end[GM_PAUSES]; // ring by cycle: ns since 1970. lock: gc
    uint64_t pause_total;          // ns. lock: gc
    uint64_t cycles, forced;       // ended so far. lock: gc; read rlx
    uint64_t last_end;             // ns since 1970
    uint64_t gc_cpu_ns;            // processor time of all cycles
    uint64_t start_ns;             // monotonic time of init. const
    uint64_t stacks, globals;      // bytes scanned by the last cycle
    uint64_t rounds, dirty;        // rounds and written pages of the last cycle
};

// Adds to a counter of the calling thread's own shard, which no other thread writes.
GM_INLINE void gm_stats_own(uint64_t *counter, uint64_t n) {
    gm_store_rlx(counter, gm_load_rlx(counter) + n);
}

// Adds to a counter of the shared shard, which any thread may write.
GM_INLINE void gm_stats_shared(uint64_t *counter, uint64_t n) { (void)gm_add_rlx(counter, n); }

/* ==========================================================================================
 * >>sizes   class tables                                                           floor 2
 * ==========================================================================================
 * OWNS        gm_sizes_table (const)
 * CALLS       base
 * INVARIANTS  Z1  (offset x magic) >> 32 equals offset / size for every offset in a span, and the
 *                 lower 32 bits of the product are less than magic exactly if offset is a multiple
 *                 of size
 *             Z2  a span has 8 to 1024 slots, and an unused tail of at most 1.5 %
 *             Z3  a page holds at most 512 objects of 16 bytes or more, so the bits of each page
 *                 have a fixed place
 * WHY         The classes are Go's 67 sizes, and more in steps of 16 bytes up to 512 and of 32 up
 *             to 1024: the mean waste for sizes up to 1 KiB falls from 5.7 % to 2.2 %. Spans of
 *             objects up to 1 KiB hold at least 64 of them, so that at most one allocation in 64
 *             needs a span from the page heap; spans of larger objects hold at least 8.
 */
enum { GM_PAGE = 8192, GM_PAGE_SHIFT = 13 };

struct gm_class {
    uint32_t size;  // bytes
    uint32_t magic; // 2^32 / size, rounded up (Z1)
    uint32_t count; // slots of a span
    uint32_t pages; // pages of a span
};

#define GM_CLASS(size, pages)                                     \
    {size, (uint32_t)((((uint64_t)1 << 32) + (size)-1) / (size)), \
     (uint32_t)(pages)*GM_PAGE / (size), pages},
// clang-format off
GM_PRIVATE const struct gm_class gm_sizes_table[GOMEM_CLASSES + 1] = {
    {0, 0, 0, 0},
    GM_CLASS(8, 1) GM_CLASS(16, 2) GM_CLASS(24, 2) GM_CLASS(32, 2) GM_CLASS(48, 2)
    GM_CLASS(64, 2) GM_CLASS(80, 2) GM_CLASS(96, 2) GM_CLASS(112, 2) GM_CLASS(128, 2)
    GM_CLASS(144, 2) GM_CLASS(160, 2) GM_CLASS(176, 2) GM_CLASS(192, 2) GM_CLASS(208, 2)
    GM_CLASS(224, 2) GM_CLASS(240, 2) GM_CLASS(256, 2) GM_CLASS(272, 3) GM_CLASS(288, 3)
    GM_CLASS(304, 3) GM_CLASS(320, 3) GM_CLASS(336, 3) GM_CLASS(352, 3) GM_CLASS(368, 3)
    GM_CLASS(384, 3) GM_CLASS(400, 4) GM_CLASS(416, 4) GM_CLASS(432, 4) GM_CLASS(448, 4)
    GM_CLASS(464, 4) GM_CLASS(480, 4) GM_CLASS(496, 4) GM_CLASS(512, 4) GM_CLASS(544, 5)
    GM_CLASS(576, 5) GM_CLASS(608, 5) GM_CLASS(640, 5) GM_CLASS(672, 6) GM_CLASS(704, 6)
    GM_CLASS(736, 6) GM_CLASS(768, 6) GM_CLASS(800, 7) GM_CLASS(832, 7) GM_CLASS(864, 7)
    GM_CLASS(896, 7) GM_CLASS(928, 8) GM_CLASS(960, 8) GM_CLASS(992, 8) GM_CLASS(1024, 8)
    GM_CLASS(1152, 9) GM_CLASS(1280, 8) GM_CLASS(1408, 8) GM_CLASS(1536, 9) GM_CLASS(1792, 9)
    GM_CLASS(2048, 8) GM_CLASS(2304, 9) GM_CLASS(2688, 21) GM_CLASS(3072, 9) GM_CLASS(3200, 9)
    GM_CLASS(3456, 11) GM_CLASS(4096, 8) GM_CLASS(4864, 9) GM_CLASS(5376, 21) GM_CLASS(6144, 9)
    GM_CLASS(6528, 8) GM_CLASS(6784, 10) GM_CLASS(6912, 11) GM_CLASS(8192, 8) GM_CLASS(9472, 14)
    GM_CLASS(9728, 12) GM_CLASS(10240, 10) GM_CLASS(10880, 12) GM_CLASS(12288, 12)
    GM_CLASS(13568, 15) GM_CLASS(14336, 14) GM_CLASS(16384, 16) GM_CLASS(18432, 18)
    GM_CLASS(19072, 21) GM_CLASS(20480, 20) GM_CLASS(21760, 24) GM_CLASS(24576, 24)
    GM_CLASS(27264, 27) GM_CLASS(28672, 28) GM_CLASS(32768, 32)
};
// clang-format on

// How many objects a magazine of a class holds: as many as fill 32 KiB, but from 2 to 60.
GM_INLINE unsigned gm_sizes_magazine(unsigned class) {
    unsigned n = (unsigned)(32 * GM_KIB / gm_sizes_table[class].size);
    return n > 60 ? 60 : n < 2 ? 2 : n;
}

// The smallest class for a size and an alignment up to a page; 0: none.
GM_PRIVATE unsigned gm_sizes_class(size_t size, size_t align) {
    if (align <= 16) return gomem_i_class(size, align);
    for (unsigned c = gomem_i_class(size, 16); c && c <= GOMEM_CLASSES; c++)
        if (gm_sizes_table[c].size % align == 0) return align <= GM_PAGE ? c : 0;
    return 0;
}

/* ==========================================================================================
 * >>pages   the reservation, page bitmaps, metadata, word to page                  floor 2
 * ==========================================================================================
 * OWNS        struct gm_pages: the heap's range, the metadata, two zones; struct gm_meta
 * CALLS       base os sync sizes
 * LOCKS       META protects the allocator of records. The zones are protected by HEAP, which room
 *             heap takes: functions named _locked
 * INVARIANTS  P1  a page is used, or free and clean (known to be zero), or free and touched
 *             P2  zone pages are counted from the page where the zone begins, upward in zone 0 and
 *                 downward in zone 1; the mapped ones are [0, mapped)
 *             P3  the descriptors of the pages of [lo, hi) can be read at any time; 0 means free.
 *                 lo only falls and hi only rises, so a thread with old values sees a smaller heap,
 *                 but nothing wrong
 *             P4  metadata never lies among objects. Descriptors, chunk records and magazines are
 *                 not unmapped while the library runs
 *             P5  hint: no chunk below it has a free page
 *             P6  the first page of zone 0 is never given out. Its address, the start of the zone,
 *                 is often in a register or on a stack of the library and would pin the object
 *                 there (a list of 128 MB, in one case)
 *             P7  a sparse heap maps a chunk and the records of its pages when a zone takes it, and
 *                 unmaps them when it leaves the zone; descriptors and chunk records stay (P3)
 *             P8  with a hard limit, pages in use, free touched pages, and the records of both stay
 *                 below it, to the precision of system pages
 *             P9  a zone grows by chunks, or by steps of 16 pages if the kernel refuses a chunk.
 *                 The unmapped pages of a zone's last chunk are marked as used in its bitmap, but
 *                 not counted in `used`
 * WHY         Because the heap is one range, a subtraction and a compare tell whether a word points
 *             into it, which inlined code can afford, and page numbers are small.
 *             Kinds that may hold pointers grow up from the zones' border and all others grow down,
 *             so a collector has to look at one interval only. Each chunk has a bitmap and a
 *             summary of its free runs (at the start, the longest, at the end). This gives
 *             address-ordered first fit, which keeps the far ends free, and neighbors coalesce by
 *             construction. Bit z of zone 1 is the page counted downward, so that one piece of code
 *             serves both.
 *
 *             The heap is normally sparse: it reserves only one page, which claims its range, and
 *             descriptors. It begins in the middle of an unused range; both zones grow outward, and
 *             so do the readable descriptors.
 *             A terabyte of inaccessible address space costs the kernel nothing, but it counts
 *             against RLIMIT_AS and RLIMIT_MEMLOCK. A program that set one of these later could not
 *             map memory or start threads. Only where no range can be claimed (sanitizers, 32 bits,
 *             over 1 TiB) is everything reserved; then the zones begin at the ends and share the
 *             space between them.
 *
 *             The metadata is made usable with the chunks that it describes, magazines on demand:
 *             | descriptors 4 | span records 64 | manual bits 128 | collected bits 256 | a page
 *             | chunks of zone 0 | chunks of zone 1 | magazines 512 each | their heads 16 each |
 */
enum {
    GM_CHUNK_PAGES = 512, // 4 MiB: the unit of commit and of summaries
    GM_CHUNK_WORDS = GM_CHUNK_PAGES / 64,
    GM_STEP_PAGES = 16,  // 128 KiB: the unit of commit where memory is scarce (P9)
    GM_PICK_CHUNKS = 16, // most chunks returned to the system by one call
    GM_ZONE_SCAN = 0,    // grows up: kinds that may hold collected pointers
    GM_ZONE_NOSCAN = 1   // grows down: manual, noscan
};
#define GM_CHUNK ((size_t)GM_CHUNK_PAGES * GM_PAGE)

struct gm_chunk {                     // lock: heap
    uint64_t used[GM_CHUNK_WORDS];    // a bit per page
    uint64_t touched[GM_CHUNK_WORDS]; // a bit per page: has memory that may not be zero
    uint16_t first, most, last;       // free pages: at the start, the longest run, at the end
    uint16_t idle;                    // number of free and touched pages
};

struct gm_zone {            // lock: heap
    struct gm_chunk *chunk; // records, numbered from the origin
    size_t origin;          // the first page; in zone 1 one past it. const
    size_t ready;           // sparse: bytes of the array chunk that are mapped
    uint32_t mapped;        // pages that are mapped (P2, P9). atomic: rlx for readers
    uint32_t hint;          // P5
    bool down;              // zone 1
};

struct gm_pages {
    uintptr_t base;       // address of page 0. const while running
    uintptr_t lo, hi;     // the pages with readable descriptors (P3). lock: heap; read rlx
    size_t size;          // most bytes of both zones together. const while running
    size_t count;         // the same in pages
    size_t end;           // page numbers are less than this. const while running
    size_t os_page;       // bytes
    uint32_t *desc;       // {page within span 20, class 8, plain 1, kind 3}. atomic: rlx after rel
    char *span_area;      // records of room span: 64 bytes a page
    char *manual_area;    // allocation bits of manual spans: 128 bytes a page
    char *color_area;     // bits of collected spans: 256 bytes a page
    char *magazine_area;  // magazines of 512 bytes
    char *magazine_heads; // their heads of 16 bytes
    size_t magazines;     // room in both
    struct gm_zone zone[2]; // lock: heap
    size_t used;            // pages in use. lock: heap; read rlx
    size_t idle;            // free and touched pages. lock: heap; read rlx
    size_t hard;            // limit in bytes (P8), 0: none. lock: heap
    bool sparse;            // address space is mapped chunk by chunk (P7). const while running
    uint32_t unmapped;      // sparse: how often zone 0 shrank. lock: heap; read rlx
    void (*grown)(void *writes, uintptr_t from, uintptr_t to); // sparse: zone 0 grew. lock: heap
    void *writes;                                              // its first argument
    void *reservation; // metadata, then the heap; sparse: only the page that claims the range
    size_t reserved;   // bytes of reservation
};

// An allocator for records that outlive a shutdown, because other threads and the program's types
// keep pointers to them.
struct gm_meta {
    struct gm_lock lock;    // protects all fields below
    char *at, *ready, *end; // newest reservation: next byte, end of its usable part, its end
    size_t reserved;        // bytes of all reservations
    void *free[40];         // free lists, by the power of two of the block size
};

enum { GM_SPAN_BYTES = 64, GM_MANUAL_BYTES = 128, GM_COLOR_BYTES = 256, GM_HEAD_BYTES = 16 };

struct gm_layout { // bytes of each part; magazines: how many; total: bytes
    size_t desc, span, manual, color, chunk, magazine, head, magazines, total; // const
};

// Bytes of each part of the metadata for a heap of n pages.
GM_PRIVATE struct gm_layout gm_pages_layout(size_t n) {
    struct gm_layout l;
    size_t unit = 64 * GM_KIB; // the largest system page
    l.desc = gm_base_round_up(n * 4, unit);
    l.span = gm_base_round_up(n * GM_SPAN_BYTES, unit);
    l.manual = gm_base_round_up(n * GM_MANUAL_BYTES, unit);
    l.color = gm_base_round_up(n * GM_COLOR_BYTES, unit);
    l.chunk = gm_base_round_up(n / GM_CHUNK_PAGES * sizeof(struct gm_chunk), unit);
    l.magazines = GM_MIN(GM_MAX(n * 2, (size_t)2048), (size_t)1 << 20);
    l.magazine = gm_base_round_up(l.magazines * 512, unit);
    l.head = gm_base_round_up(l.magazines * GM_HEAD_BYTES, unit);
    l.total = l.desc + l.span + l.manual + l.color + 2 * l.chunk + l.magazine + l.head;
    return l;
}

// The address of a page.
GM_ALWAYS uintptr_t gm_pages_address(const struct gm_pages *p, size_t page) {
    return p->base + page * GM_PAGE;
}

// Tests whether a word points into [lo, hi), where descriptors can be read. The page itself may be
// free or unmapped.
GM_ALWAYS bool gm_pages_holds(const struct gm_pages *p, uintptr_t word) {
    // rlx: both move outward before any pointer to the new part exists (P3)
    return word >= gm_load_rlx(&p->lo) && word < gm_load_rlx(&p->hi);
}

// Sets the addresses of all parts, from `start` up, for a heap of n page numbers.
GM_PRIVATE void gm_pages_place_parts(struct gm_pages *p, uintptr_t start, size_t n,
                                     struct gm_layout l) {
    // The metadata comes first, in the order of the drawing in the card, then the heap.
    p->os_page = gm_os_page_size();
    p->end = n;
    p->base = gm_base_round_up(start + l.total, GM_CHUNK);
    char *at = (char *)gm_base_round_up(start, p->os_page);
    p->desc = (uint32_t *)(void *)at;
    p->span_area = at += l.desc;
    p->manual_area = at += l.span;
    p->color_area = at += l.manual;
    p->zone[0] = (struct gm_zone){.chunk = (struct gm_chunk *)(void *)(at += l.color)};
    p->zone[1] = (struct gm_zone){.chunk = (struct gm_chunk *)(void *)(at += l.chunk),
                                  .down = true};
    p->magazine_area = at += l.chunk;
    p->magazine_heads = at += l.magazine;
    p->magazines = l.magazines;
}

// Reserves a heap of `size` bytes and its metadata; on failure it tries half of that, and so on.
// False: not even two chunks can be reserved.
GM_PRIVATE bool gm_pages_init(struct gm_pages *p, size_t size) {
    struct gm_layout l;
    for (;; size /= 2) {
        if (size < 2 * GM_CHUNK) return false;
        l = gm_pages_layout(size / GM_PAGE);
        p->reserved = l.total + size + GM_CHUNK;
        p->reservation = gm_os_reserve(p->reserved, gm_os_random_base());
        if (p->reservation) break;
    }
    p->size = size;
    p->count = size / GM_PAGE;
    gm_pages_place_parts(p, (uintptr_t)p->reservation, p->count, l);
    p->zone[1].origin = p->count;
    p->lo = p->base;
    p->hi = p->base + size;
    if (gm_os_protect((uintptr_t)p->desc, (uintptr_t)p->span_area, PROT_READ)) return true; // P3
    gm_os_release(p->reservation, p->reserved);
    return false;
}

enum {
    GM_DESC_UNIT = 16384, // pages whose descriptors fill the largest system page
    GM_DESC_LEAST = 16384 // pages on each side with descriptors from the start: 128 MiB
};

// Maps the descriptors of the pages [from, to), which must not be mapped yet.
GM_PRIVATE bool gm_pages_map_desc(const struct gm_pages *p, size_t from, size_t to) {
    return gm_os_map((uintptr_t)(p->desc + from), (uintptr_t)(p->desc + to), PROT_READ);
}

// Makes the descriptors of the pages [from, to) readable (P3). It doubles the readable range, so
// that this is rare, or maps only what is needed if address space is short. False: no memory.
GM_PRIVATE bool gm_pages_widen_locked(struct gm_pages *p, size_t from, size_t to) {
    size_t first = (p->lo - p->base) / GM_PAGE, last = (p->hi - p->base) / GM_PAGE;
    size_t more = last - first;
    from &= ~(size_t)(GM_DESC_UNIT - 1);
    to = gm_base_round_up(to, GM_DESC_UNIT);
    // Each end moves as far again as the range is now, and at least as far as is needed.
    size_t down = GM_MIN(from, first - GM_MIN(first, more)), up = GM_MAX(to, last + more);
    up = GM_MIN(up, p->end);
    if (from < first) {
        if (!gm_pages_map_desc(p, down, first) && !gm_pages_map_desc(p, down = from, first))
            return false;
        gm_store_rlx(&p->lo, p->base + down * GM_PAGE); // rlx: pointers into it come later
    }
    if (to > last) {
        if (!gm_pages_map_desc(p, last, up) && !gm_pages_map_desc(p, last, up = to)) return false;
        gm_store_rlx(&p->hi, p->base + up * GM_PAGE); // rlx: pointers into it come later
    }
    return true;
}

// Lays out a sparse heap in a claimed slot, at a random distance from its start. The zones begin in
// the middle of the heap's range. False: no memory for the first descriptors.
GM_PRIVATE bool gm_pages_place_sparse(struct gm_pages *p, uintptr_t slot, size_t bytes,
                                      uint64_t random) {
    size_t middle = gm_base_round_up(p->count, GM_DESC_UNIT);
    struct gm_layout l = gm_pages_layout(2 * middle);
    size_t room = bytes - l.total - 2 * middle * GM_PAGE - 2 * GM_CHUNK;
    uintptr_t start = slot + GM_MIB + (size_t)(random % (room / GM_MIB)) * GM_MIB;
    gm_pages_place_parts(p, start, 2 * middle, l);
    p->zone[0].origin = p->zone[1].origin = middle;
    p->lo = p->hi = gm_pages_address(p, middle);
    for (size_t n = GM_MIN(middle, (size_t)GM_DESC_LEAST); n >= GM_DESC_UNIT; n /= 4)
        if (gm_pages_widen_locked(p, middle - n, middle + n)) return true;
    return false;
}

// Sets up a heap of up to `size` bytes that takes address space only as it grows (P7). False: no
// slot is free or large enough, or there is no memory.
GM_PRIVATE bool gm_pages_init_sparse(struct gm_pages *p, size_t size) {
    uint64_t random = gm_os_random();
    size_t page = gm_os_page_size();
    if (!gm_os_random_base()) return false;
    for (unsigned kind = 0; kind < GM_SLOT_KINDS; kind++) {
        const struct gm_slots k = gm_os_slots(kind);
        if (!kind && size > (size_t)1 << k.heap) return false; // larger than any slot
        uintptr_t slot = gm_os_claim_slot(kind, random, page);
        if (!slot) continue;
        // On a small address space the heap is smaller than was asked for.
        p->size = GM_MIN(size, (size_t)1 << k.heap);
        p->count = p->size / GM_PAGE;
        p->sparse = gm_pages_place_sparse(p, slot, (size_t)1 << k.size, random / k.count);
        p->reservation = (void *)slot;
        p->reserved = page;
        if (p->sparse) return true;
        gm_os_release(p->reservation, page);
    }
    return false;
}

// ---- metadata ----

// The power of two of the block for a record, at least 64 bytes.
GM_PRIVATE unsigned gm_pages_meta_class(size_t size) {
    unsigned k = 6;
    while (((size_t)1 << k) < size) k++;
    return k;
}

// Reserves address space for `bytes` more; if possible a quarter of what is reserved so far, at
// least 256 KiB. The rest of the old reservation is not used any more.
GM_RARE GM_PRIVATE bool gm_pages_meta_more_locked(struct gm_meta *m, size_t bytes) {
    size_t size = gm_base_round_up(bytes, 64 * GM_KIB),
           ahead = GM_MAX(size, GM_MAX(m->reserved / 4 & ~(64 * GM_KIB - 1), 256 * GM_KIB));
    char *at = gm_os_reserve(ahead, 0);
    if (at) size = ahead;
    else at = gm_os_reserve(size, 0);
    if (!at) return false;
    m->at = m->ready = at;
    m->end = at + size;
    m->reserved += size;
    return true;
}

// Prepares the allocator; keeps it if an earlier initialization did so. False: no address space.
GM_PRIVATE bool gm_pages_meta_init(struct gm_meta *m) {
    m->lock.rank = GM_RANK_META;
    return m->at || gm_pages_meta_more_locked(m, 1);
}

// Makes sure that `bytes` of address space are reserved for records before the heap takes the rest.
// False: there is none left.
GM_PRIVATE bool gm_pages_meta_ensure(struct gm_meta *m, size_t bytes) {
    gm_sync_lock(&m->lock);
    bool done = (size_t)(m->end - m->at) >= bytes || gm_pages_meta_more_locked(m, bytes);
    gm_sync_unlock(&m->lock);
    return done;
}

// Makes the newest reservation usable up to `to`, in steps of 256 KiB.
GM_RARE GM_PRIVATE bool gm_pages_meta_map_locked(struct gm_meta *m, char *to) {
    if (to <= m->ready) return true;
    char *ready = (char *)gm_base_round_up((uintptr_t)to, 256 * GM_KIB);
    if (ready > m->end) ready = m->end;
    if (!gm_os_protect((uintptr_t)m->ready, (uintptr_t)ready, PROT_READ | PROT_WRITE)) return false;
    m->ready = ready;
    return true;
}

// Cuts a block from the newest reservation; NULL: no memory.
GM_PRIVATE char *gm_pages_meta_new_locked(struct gm_meta *m, size_t bytes) {
    size_t unit = GM_MIN(bytes, (size_t)4096);
    char *block = (char *)gm_base_round_up((uintptr_t)m->at, unit);
    if (bytes > (size_t)(m->end - m->at) || block > m->end - bytes) {
        if (!gm_pages_meta_more_locked(m, bytes)) return NULL; // then smaller blocks still fit
        block = m->at;
    }
    if (!gm_pages_meta_map_locked(m, block + bytes)) return NULL;
    m->at = block + bytes;
    return block;
}

// Allocates a zeroed record of `size` bytes, aligned to the power of two above its size, from 64 to
// 4096. NULL: no memory. Takes META.
GM_PRIVATE void *gm_pages_meta(struct gm_meta *m, size_t size) {
    unsigned k = gm_pages_meta_class(size);
    size_t bytes = (size_t)1 << k;
    gm_sync_lock(&m->lock);
    char *block = m->free[k];
    if (block) {
        m->free[k] = *(void **)(void *)block;
        memset(block, 0, bytes);
    } else block = gm_pages_meta_new_locked(m, bytes);
    gm_sync_unlock(&m->lock);
    return block;
}

// Recycles a record; `size` as it was allocated. NULL does nothing. Takes META.
GM_PRIVATE void gm_pages_meta_free(struct gm_meta *m, void *block, size_t size) {
    if (!block) return;
    unsigned k = gm_pages_meta_class(size);
    gm_sync_lock(&m->lock);
    *(void **)block = m->free[k];
    m->free[k] = block;
    gm_sync_unlock(&m->lock);
}

// Grows an array from `from` bytes (0 if list is NULL) to `to` bytes; the added ones are zero.
// NULL: no memory, the old array stays valid.
GM_PRIVATE void *gm_pages_meta_grow(struct gm_meta *m, void *list, size_t from, size_t to) {
    void *larger = gm_pages_meta(m, to);
    if (!larger) return NULL;
    if (from) memcpy(larger, list, from);
    gm_pages_meta_free(m, list, from);
    return larger;
}

// ---- descriptors ----

enum { GM_DESC_FAR = 0xfffff }; // distance of pages at least this far from their span's first page

// Returns a page's descriptor, 0 if it is free. If it is not, the span's record and bits are ready.
GM_ALWAYS uint32_t gm_pages_desc(const struct gm_pages *p, size_t page) {
    return gm_load_acq(&p->desc[page]); // pairs with gm_pages_describe: the record is ready
}

// Returns the first page of the span that `page`, with descriptor `desc`, belongs to.
GM_ALWAYS size_t gm_pages_first(const struct gm_pages *p, size_t page, uint32_t desc) {
    while (GOMEM_I_UNLIKELY(desc >> 12 == GM_DESC_FAR)) {
        page -= GM_DESC_FAR;
        desc = gm_pages_desc(p, page);
    }
    return page - (desc >> 12);
}

// Publishes n pages as one span. Its record and bits must be ready before.
GM_PRIVATE void gm_pages_describe(struct gm_pages *p, size_t page, size_t n, uint32_t kind_class) {
    for (size_t i = 0; i < n; i++)
        gm_store_rel(&p->desc[page + i], kind_class | (uint32_t)GM_MIN(i, (size_t)GM_DESC_FAR)
                                                          << 12);
}

// Marks n pages as free in their descriptors. rlx: no thread can have a valid pointer into them.
GM_PRIVATE void gm_pages_undescribe(struct gm_pages *p, size_t page, size_t n) {
    for (size_t i = 0; i < n; i++) gm_store_rlx(&p->desc[page + i], 0u);
}

// ---- zones ----

// Converts a run of n zone pages from z to the number of its first page in address order.
GM_INLINE size_t gm_pages_place(const struct gm_zone *zone, size_t z, size_t n) {
    return zone->down ? zone->origin - z - n : zone->origin + z;
}

// The inverse: the first zone page of a run of n pages that begins at `page` in address order.
GM_INLINE size_t gm_pages_unplace(const struct gm_zone *zone, size_t page, size_t n) {
    return zone->down ? zone->origin - page - n : page - zone->origin;
}

// The start of zone 0: all pages that may hold collected pointers lie above it.
GM_INLINE uintptr_t gm_pages_scanned(const struct gm_pages *p) {
    return gm_pages_address(p, p->zone[0].origin);
}

// How many chunks the first n pages of a zone take.
GM_INLINE size_t gm_pages_chunks(size_t n) { return (n + GM_CHUNK_PAGES - 1) / GM_CHUNK_PAGES; }

// Returns the first page >= page that is mapped in one of the zones, or SIZE_MAX. Callable without
// the lock: a page mapped meanwhile may be missed.
GM_PRIVATE size_t gm_pages_next(const struct gm_pages *p, size_t page) {
    size_t next = SIZE_MAX;
    for (unsigned i = 0; i < 2; i++) {
        const struct gm_zone *zone = &p->zone[i];
        size_t n = gm_load_rlx(&zone->mapped); // it may change, but the records stay readable
        size_t first = zone->down ? zone->origin - n : zone->origin;
        if (page < first + n) next = GM_MIN(next, GM_MAX(page, first));
    }
    return next;
}

// Recomputes the summary of a chunk's free runs. Returns the first page of the first run of `want`
// pages, or -1. Each turn of the inner loop skips a run of free pages and then one of used pages.
GM_PRIVATE int gm_pages_runs(struct gm_chunk *c, unsigned want) {
    unsigned run = 0, most = 0, first = GM_CHUNK_PAGES;
    int found = -1;
    for (unsigned w = 0; w < GM_CHUNK_WORDS; w++) {
        uint64_t used = c->used[w];
        unsigned bit = 0;
        while (bit < 64) {
            uint64_t rest = used >> bit;
            unsigned free = rest ? gm_base_ctz(rest) : 64 - bit;
            run += free;
            if (run > most) most = run;
            if (found < 0 && run >= want) found = (int)(w * 64 + bit + free - run);
            bit += free;
            if (bit == 64) break;
            if (first == GM_CHUNK_PAGES) first = w * 64 + bit;
            rest = ~(used >> bit);
            bit += rest ? gm_base_ctz(rest) : 64;
            run = 0;
        }
    }
    c->first = (uint16_t)first;
    gm_store_rlx(&c->most, (uint16_t)most); // room writes reads it: a stale value only costs time
    c->last = (uint16_t)run;
    return found;
}

// Marks n zone pages from z on as used, or as free and touched or clean, and updates the summaries
// and the counts of idle pages. All n must be in the opposite state (P1).
GM_PRIVATE void gm_pages_mark_locked(struct gm_pages *p, struct gm_zone *zone, size_t z, size_t n,
                                     bool use, bool touched) {
    while (n) {
        struct gm_chunk *c = &zone->chunk[z / GM_CHUNK_PAGES];
        unsigned at = (unsigned)(z % GM_CHUNK_PAGES), bit = at % 64;
        unsigned k = (unsigned)GM_MIN(n, (size_t)(64 - bit));
        uint64_t ones = gm_base_ones(bit, k);
        uint64_t *used = &c->used[at / 64], *touch = &c->touched[at / 64];
        gm_assert(use ? !(*used & ones) : (*used & ones) == ones); // P1
        // Idle pages are free and touched: using pages lowers their number, freeing raises it.
        if (use) {
            unsigned idle = gm_base_popcount(*touch & ones);
            *used |= ones;
            c->idle = (uint16_t)(c->idle - idle);
            gm_store_rlx(&p->idle, p->idle - idle);
        } else {
            *used &= ~ones;
            *touch = touched ? *touch | ones : *touch & ~ones;
            unsigned idle = touched ? k : 0;
            c->idle = (uint16_t)(c->idle + idle);
            gm_store_rlx(&p->idle, p->idle + idle);
        }
        z += k;
        n -= k;
        // At the end of a chunk, and at the end, the summary is computed anew.
        if (z % GM_CHUNK_PAGES == 0 || !n) (void)gm_pages_runs(c, GM_CHUNK_PAGES + 1);
    }
}

// Tests whether n zone pages from z on are all clean.
GM_PRIVATE bool gm_pages_clean_locked(const struct gm_zone *zone, size_t z, size_t n) {
    for (; n; z++, n--)
        if (zone->chunk[z / GM_CHUNK_PAGES].touched[z % GM_CHUNK_PAGES / 64] >> (z % 64) & 1)
            return false;
    return true;
}

// Returns the number of free pages at a zone's end. If its last chunk is whole, that is `carry`,
// which gm_pages_find_locked has computed.
GM_PRIVATE size_t gm_pages_tail_locked(const struct gm_zone *zone, size_t carry) {
    size_t z = zone->mapped;
    if (z % GM_CHUNK_PAGES == 0) return carry;
    while (z && !(zone->chunk[(z - 1) / GM_CHUNK_PAGES].used[(z - 1) % GM_CHUNK_PAGES / 64] >>
                      ((z - 1) % 64) &
                  1))
        z--;
    return zone->mapped - z;
}

// First fit: returns the lowest zone page from which n pages are free. SIZE_MAX: there are none;
// then *tail is the number of free pages at the zone's end.
GM_PRIVATE size_t gm_pages_find_locked(struct gm_zone *zone, size_t n, size_t *tail) {
    size_t carry = 0, chunks = gm_pages_chunks(zone->mapped); // carry: free pages before chunk i
    while (zone->hint < chunks && !zone->chunk[zone->hint].most) zone->hint++;
    for (size_t i = zone->hint; i < chunks; i++) {
        struct gm_chunk *c = &zone->chunk[i];
        if (carry + c->first >= n) return i * GM_CHUNK_PAGES - carry;
        if (c->most >= n) return i * GM_CHUNK_PAGES + (size_t)gm_pages_runs(c, (unsigned)n);
        carry = c->first == GM_CHUNK_PAGES ? carry + GM_CHUNK_PAGES : c->last;
    }
    *tail = gm_pages_tail_locked(zone, carry);
    return SIZE_MAX;
}

// Makes one part of the metadata, `bytes` per page, usable for the pages [from, to). False: no
// memory.
GM_RARE GM_PRIVATE bool gm_pages_map_part(const struct gm_pages *p, char *area, size_t bytes,
                                          size_t from, size_t to) {
    uintptr_t lo = ((uintptr_t)area + from * bytes) & ~(uintptr_t)(p->os_page - 1);
    uintptr_t hi = gm_base_round_up((uintptr_t)area + to * bytes, p->os_page);
    bool there = !p->sparse || area < p->span_area;
    return there ? gm_os_protect(lo, hi, PROT_READ | PROT_WRITE) : gm_os_commit(lo, hi, p->os_page);
}

// Makes the records of a zone's first n chunks usable. False: no memory.
GM_PRIVATE bool gm_pages_map_chunks(const struct gm_pages *p, struct gm_zone *zone, size_t n) {
    if (!p->sparse)
        return gm_pages_map_part(p, (char *)zone->chunk, sizeof *zone->chunk,
                                 gm_pages_chunks(zone->mapped), n);
    size_t bytes = gm_base_round_up(n * sizeof *zone->chunk, 64 * GM_KIB);
    if (bytes <= zone->ready) return true;
    uintptr_t start = (uintptr_t)zone->chunk;
    if (!gm_os_map(start + zone->ready, start + bytes, PROT_READ | PROT_WRITE)) return false;
    zone->ready = bytes;
    return true;
}

// Unmaps n pages and their records (P7). System pages that also hold records of other pages stay
// mapped, unless `ends` says that the heap ends.
GM_RARE GM_PRIVATE void gm_pages_unmap(const struct gm_pages *p, size_t page, size_t n, bool ends) {
    static const size_t bytes[] = {GM_SPAN_BYTES, GM_MANUAL_BYTES, GM_COLOR_BYTES, GM_PAGE};
    char *const area[] = {p->span_area, p->manual_area, p->color_area, (char *)p->base};
    for (unsigned i = 0; i < 4; i++) {
        uintptr_t lo = (uintptr_t)area[i] + page * bytes[i], hi = lo + n * bytes[i];
        lo = ends ? lo & ~(uintptr_t)(p->os_page - 1) : gm_base_round_up(lo, p->os_page);
        hi = ends ? gm_base_round_up(hi, p->os_page) : hi & ~(uintptr_t)(p->os_page - 1);
        if (lo < hi) gm_os_allow(lo, hi - lo); // other code may map memory there
        if (lo < hi) gm_os_release((void *)lo, hi - lo);
    }
}

// Removes the free chunks at a zone's end, discarded and so clean, from the zone, for use by the
// other zone or the program. Stops at a chunk with more than `most` touched pages.
GM_PRIVATE void gm_pages_retreat_locked(struct gm_pages *p, struct gm_zone *zone, size_t most) {
    while (zone->mapped) {
        size_t chunks = gm_pages_chunks(zone->mapped), z = (chunks - 1) * GM_CHUNK_PAGES;
        size_t n = zone->mapped - z, none = !zone->down && !z; // P6
        struct gm_chunk *c = &zone->chunk[chunks - 1];
        if (c->most != n - none) break; // a page of it is in use
        uintptr_t start = gm_pages_address(p, gm_pages_place(zone, z, n));
        if (c->idle && (c->idle > most || !gm_os_discard((void *)start, n * GM_PAGE))) break;
        gm_store_rlx(&p->idle, p->idle - c->idle); // read without the lock by statistics only
        memset(c, 0, sizeof *c);
        gm_store_rlx(&zone->mapped, (uint32_t)z);
        if (!p->sparse) continue;
        if (!zone->down) gm_store_rlx(&p->unmapped, p->unmapped + 1); // read by later cycles
        gm_pages_unmap(p, gm_pages_place(zone, z, n), n, false);
    }
    zone->hint = GM_MIN(zone->hint, (uint32_t)gm_pages_chunks(zone->mapped));
}

// Makes n pages and their records usable. False: no memory, and a sparse heap has unmapped them
// again. The pages, which are the largest part, come first, so that one call fails if memory is
// out.
GM_PRIVATE bool gm_pages_commit(const struct gm_pages *p, size_t page, size_t n) {
    if (gm_pages_map_part(p, (char *)p->base, GM_PAGE, page, page + n) &&
        gm_pages_map_part(p, (char *)p->desc, sizeof *p->desc, page, page + n) &&
        gm_pages_map_part(p, p->span_area, GM_SPAN_BYTES, page, page + n) &&
        gm_pages_map_part(p, p->manual_area, GM_MANUAL_BYTES, page, page + n) &&
        gm_pages_map_part(p, p->color_area, GM_COLOR_BYTES, page, page + n))
        return true;
    if (p->sparse) gm_pages_unmap(p, page, n, false);
    return false;
}

// Updates the chunk records after a zone has grown from `from` pages to `to`. Pages of the last
// chunk beyond `to` are marked as used (P9), and so is the first page of zone 0 (P6).
GM_PRIVATE void gm_pages_add_locked(struct gm_pages *p, struct gm_zone *zone, size_t from,
                                    size_t to) {
    size_t end = gm_base_round_up(to, GM_CHUNK_PAGES);
    for (size_t i = gm_pages_chunks(from); i < gm_pages_chunks(to); i++) {
        struct gm_chunk *c = &zone->chunk[i];
        c->first = c->last = GM_CHUNK_PAGES;
        gm_store_rlx(&c->most, (uint16_t)GM_CHUNK_PAGES); // room writes: a stale value costs time
    }
    if (from % GM_CHUNK_PAGES) { // the old last chunk was not whole: free its marked pages
        size_t more = gm_base_round_up(from, GM_CHUNK_PAGES) - from;
        gm_pages_mark_locked(p, zone, from, more, false, false);
        zone->hint = GM_MIN(zone->hint, (uint32_t)(from / GM_CHUNK_PAGES)); // P5
    }
    if (!from && !zone->down) gm_pages_mark_locked(p, zone, 0, 1, true, false); // P6
    if (to < end) gm_pages_mark_locked(p, zone, to, end - to, true, false);
}

// Grows a zone to `to` pages: maps them and their records, and tells `grown` (zone 0 of a sparse
// heap). Free chunks of the other zone are removed if the heap has no room otherwise. False: no
// memory, or the heap's size is reached.
GM_RARE GM_PRIVATE bool gm_pages_map_locked(struct gm_pages *p, struct gm_zone *zone, size_t to) {
    struct gm_zone *other = &p->zone[!zone->down];
    size_t all = p->count / GM_CHUNK_PAGES, from = zone->mapped, chunks = gm_pages_chunks(to);
    // The zones together may have `all` chunks.
    if (chunks > all - gm_pages_chunks(other->mapped))
        gm_pages_retreat_locked(p, other, GM_CHUNK_PAGES);
    if (chunks > all - gm_pages_chunks(other->mapped)) return false;
    size_t n = to - from, first = gm_pages_place(zone, from, n);
    if (!gm_pages_map_chunks(p, zone, chunks) ||
        (p->sparse && !gm_pages_widen_locked(p, first, first + n)))
        return false;
    if (!gm_pages_commit(p, first, n)) {
        if (!p->sparse) return false;
        gm_pages_retreat_locked(p, other, GM_CHUNK_PAGES); // frees address space: try again
        if (!gm_pages_commit(p, first, n)) return false;
    }
    if (p->grown && p->sparse && !zone->down)
        p->grown(p->writes, gm_pages_address(p, first), gm_pages_address(p, first + n));
    gm_os_forbid(gm_pages_address(p, first), n * GM_PAGE, !zone->down, GM_SHADE_BEYOND);
    gm_pages_add_locked(p, zone, from, to);
    gm_store_rlx(&zone->mapped, (uint32_t)to);
    return true;
}

// Grows a zone so that n pages are free at its end, where `tail` are free already. It tries up to
// 16 chunks more than needed, so that calls are few and large, then as many as needed, then fewer
// pages in steps (P9). False: no memory.
GM_PRIVATE bool gm_pages_grow_locked(struct gm_pages *p, struct gm_zone *zone, size_t n,
                                     size_t tail) {
    size_t none = !zone->down && !zone->mapped; // P6
    size_t to = zone->mapped + n + none - tail, least = gm_base_round_up(to, GM_STEP_PAGES);
    size_t chunks = gm_pages_chunks(zone->mapped), need = gm_pages_chunks(to) - chunks;
    size_t ahead = chunks + GM_MIN(GM_MAX(need, chunks / 4), need + 16);
    if (ahead > chunks + need && gm_pages_map_locked(p, zone, ahead * GM_CHUNK_PAGES)) return true;
    return gm_pages_map_locked(p, zone, (chunks + need) * GM_CHUNK_PAGES) ||
           gm_pages_map_locked(p, zone, least);
}

// The zone of a mapped page, as a number and as a pointer.
GM_INLINE unsigned gm_pages_which(const struct gm_pages *p, size_t page) {
    return page - p->zone[0].origin >= p->zone[0].mapped;
}
GM_INLINE struct gm_zone *gm_pages_zone(struct gm_pages *p, size_t page) {
    return &p->zone[gm_pages_which(p, page)];
}

// Unmaps the heap and its metadata. AddressSanitizer's poison is removed, because other code may
// map memory at the same addresses.
GM_PRIVATE void gm_pages_release(struct gm_pages *p) {
    const struct gm_zone *zone = p->zone;
    if (p->sparse) { // pages and records, then descriptors, chunk records and magazines
        size_t to = zone[0].origin + zone[0].mapped, from = zone[1].origin - zone[1].mapped;
        gm_pages_unmap(p, from, to - from, true);
        gm_os_release(p->desc + (p->lo - p->base) / GM_PAGE,
                      (p->hi - p->lo) / GM_PAGE * sizeof *p->desc);
        for (unsigned i = 0; i < 2; i++) gm_os_release(zone[i].chunk, zone[i].ready);
        gm_os_release(p->magazine_area, p->base - (uintptr_t)p->magazine_area); // and the heads
    } else
        for (unsigned i = 0; i < 2 && p->reservation; i++) {
            size_t n = zone[i].mapped;
            if (n) gm_os_allow(gm_pages_address(p, gm_pages_place(&zone[i], 0, n)), n * GM_PAGE);
        }
    gm_os_release(p->reservation, p->reserved);
}

// ---- returning memory to the system ----

struct gm_idle {
    size_t page;    // first page in address order, or its number in a chunk
    size_t n;       // pages; 0: nothing found
    size_t touched; // how many of them are touched
};

// Returns how many chunks, from chunk i downward, are entirely free and partly touched; at most
// `most`.
GM_PRIVATE size_t gm_pages_free_chunks_locked(const struct gm_zone *zone, size_t i, size_t most) {
    size_t n = 0;
    while (n < most && n <= i && zone->chunk[i - n].first == GM_CHUNK_PAGES &&
           zone->chunk[i - n].idle)
        n++;
    return n;
}

// Finds the next run of free pages of a chunk, from page `at` on, that begins and ends with a
// touched page; those between may be clean. n is 0 if there is none.
GM_PRIVATE struct gm_idle gm_pages_idle_run(const struct gm_chunk *c, size_t at) {
    struct gm_idle run = {at, 0, 0};
    for (; at < GM_CHUNK_PAGES; at++) {
        uint64_t used = c->used[at / 64] >> at % 64 & 1,
                 touched = c->touched[at / 64] >> at % 64 & 1;
        if (used && run.n) break;
        if (used || !touched) continue;
        if (!run.n) run.page = at;
        run.n = at + 1 - run.page;
        run.touched++;
    }
    return run;
}

// Selects free pages to be discarded and marks them as used, so that the caller can discard them
// without the lock and then call gm_pages_scavenge_end_locked. The result has at least `least`
// touched pages. It is a run within a chunk, cut to whole system pages, or several adjacent chunks
// that are entirely free, up to `most` pages. Searches from the far end. n is 0 if there is none.
GM_RARE GM_PRIVATE struct gm_idle gm_pages_scavenge_begin_locked(struct gm_pages *p, size_t least,
                                                                 size_t most) {
    size_t unit = GM_MAX(p->os_page / GM_PAGE, (size_t)1);
    for (unsigned which = 0; which < 2; which++) {
        struct gm_zone *zone = &p->zone[which];
        for (size_t i = gm_pages_chunks(zone->mapped); i-- > 0;) {
            struct gm_chunk *c = &zone->chunk[i];
            if (c->idle < least) continue;
            // Prefer whole chunks: one call returns several, and their records with them.
            size_t k = gm_pages_free_chunks_locked(
                zone, i, GM_MAX(GM_MIN(most / GM_CHUNK_PAGES, GM_PICK_CHUNKS), (size_t)1));
            if (k) { // chunks i - k + 1 to i are entirely free
                size_t z = (i + 1 - k) * GM_CHUNK_PAGES, touched = 0;
                for (size_t m = 0; m < k; m++) touched += zone->chunk[i - m].idle;
                gm_pages_mark_locked(p, zone, z, k * GM_CHUNK_PAGES, true, false);
                size_t page = gm_pages_place(zone, z, k * GM_CHUNK_PAGES);
                return (struct gm_idle){page, k * GM_CHUNK_PAGES, touched};
            }
            // Otherwise take the first run of the chunk that is long enough.
            struct gm_idle run = gm_pages_idle_run(c, 0);
            for (; run.n; run = gm_pages_idle_run(c, run.page + run.n)) {
                size_t lead = (unit - run.page % unit) % unit;
                size_t whole = run.n > lead ? (run.n - lead) & ~(unit - 1) : 0;
                if (!whole || run.touched < least) continue;
                size_t z = i * GM_CHUNK_PAGES + run.page + lead, touched = c->idle;
                gm_pages_mark_locked(p, zone, z, whole, true, false);
                touched -= c->idle; // pages cut off may have been touched
                return (struct gm_idle){gm_pages_place(zone, z, whole), whole, touched};
            }
        }
    }
    return (struct gm_idle){0, 0, 0};
}

// Discards the records of whole chunks that gm_pages_scavenge_begin_locked has selected: no span
// uses them.
GM_PRIVATE void gm_pages_discard_meta(const struct gm_pages *p, size_t page, size_t n) {
    static const size_t bytes[] = {GM_SPAN_BYTES, GM_MANUAL_BYTES, GM_COLOR_BYTES};
    char *const area[] = {p->span_area, p->manual_area, p->color_area};
    for (unsigned i = 0; i < 3; i++)
        if (bytes[i] * GM_CHUNK_PAGES % p->os_page == 0)
            (void)gm_os_discard(area[i] + page * bytes[i], bytes[i] * n);
}

// Frees the selected pages again, as clean if they were discarded.
GM_RARE GM_PRIVATE void gm_pages_scavenge_end_locked(struct gm_pages *p, struct gm_idle idle,
                                                     bool discarded) {
    struct gm_zone *zone = gm_pages_zone(p, idle.page);
    size_t z = gm_pages_unplace(zone, idle.page, idle.n);
    if (z / GM_CHUNK_PAGES < zone->hint) zone->hint = (uint32_t)(z / GM_CHUNK_PAGES); // P5
    gm_pages_mark_locked(p, zone, z, idle.n, false, !discarded);
}

// ---- allocation of pages ----

// Tests whether n more pages may be used under the hard limit (P8), and discards free touched pages
// until they may. False: the limit is reached, or a page could not be discarded.
GM_PRIVATE bool gm_pages_allowed_locked(struct gm_pages *p, size_t n) {
    enum { EACH = (int)GM_PAGE + 4 + GM_SPAN_BYTES + GM_MANUAL_BYTES + GM_COLOR_BYTES };
    if (!p->hard) return true;
    size_t most = p->hard / EACH;
    if (n > most || p->used > most - n) return false;
    while (p->used + n + p->idle > most) {
        struct gm_idle idle = gm_pages_scavenge_begin_locked(p, 1, GM_MIB / GM_PAGE);
        uintptr_t at = gm_pages_address(p, idle.page);
        if (!idle.n) return true;
        bool done = gm_os_discard((void *)at, idle.n * GM_PAGE);
        gm_pages_scavenge_end_locked(p, idle, done);
        if (!done) return false;
    }
    return true;
}

// Takes n pages of a zone. Returns the first one in address order, or SIZE_MAX if there is no
// memory. Sets *clean if all are known to be zero.
GM_PRIVATE size_t gm_pages_take_locked(struct gm_pages *p, unsigned which, size_t n, bool *clean) {
    struct gm_zone *zone = &p->zone[which];
    if (!gm_pages_allowed_locked(p, n)) return SIZE_MAX;
    size_t tail = 0, z = gm_pages_find_locked(zone, n, &tail);
    if (z == SIZE_MAX) {
        if (!gm_pages_grow_locked(p, zone, n, tail)) return SIZE_MAX;
        z = gm_pages_find_locked(zone, n, &tail);
    }
    *clean = gm_pages_clean_locked(zone, z, n);
    gm_pages_mark_locked(p, zone, z, n, true, false);
    gm_store_rlx(&p->used, p->used + n);
    return gm_pages_place(zone, z, n);
}

// Frees n used pages. `touched`: they may hold other bytes than zeros.
GM_PRIVATE void gm_pages_put_locked(struct gm_pages *p, size_t page, size_t n, bool touched) {
    struct gm_zone *zone = gm_pages_zone(p, page);
    size_t z = gm_pages_unplace(zone, page, n);
    if (z / GM_CHUNK_PAGES < zone->hint) // P5
        zone->hint = (uint32_t)(z / GM_CHUNK_PAGES);
    gm_pages_mark_locked(p, zone, z, n, false, touched);
    gm_store_rlx(&p->used, p->used - n);
}

// Takes the `more` pages after the span [page, page + n), if they are free and in its zone. False:
// they are not, or the hard limit forbids it. Sets *clean if all are known to be zero.
GM_PRIVATE bool gm_pages_extend_locked(struct gm_pages *p, size_t page, size_t n, size_t more,
                                       bool *clean) {
    struct gm_zone *zone = gm_pages_zone(p, page);
    size_t z = gm_pages_unplace(zone, page + n, more);
    if (zone->down ? page + n + more > zone->origin : z + more > zone->mapped) return false;
    if (!gm_pages_allowed_locked(p, more)) return false;
    for (size_t i = z; i < z + more; i++)
        if (zone->chunk[i / GM_CHUNK_PAGES].used[i % GM_CHUNK_PAGES / 64] >> (i % 64) & 1)
            return false;
    *clean = gm_pages_clean_locked(zone, z, more);
    gm_pages_mark_locked(p, zone, z, more, true, false);
    gm_store_rlx(&p->used, p->used + more);
    return true;
}

// For n used pages from `page` on: returns how many of the first ones, at most a chunk's, had the
// same state when they were taken. Sets *touched if that state was touched.
GM_PRIVATE size_t gm_pages_alike_locked(const struct gm_pages *p, size_t page, size_t n,
                                        bool *touched) {
    const struct gm_zone *zone = &p->zone[gm_pages_which(p, page)];
    size_t k = 0;
    for (; k < GM_MIN(n, (size_t)GM_CHUNK_PAGES); k++) {
        size_t z = gm_pages_unplace(zone, page + k, 1);
        bool here = zone->chunk[z / GM_CHUNK_PAGES].touched[z % GM_CHUNK_PAGES / 64] >> (z % 64) &
                    1;
        if (!k) *touched = here;
        else if (here != *touched) break;
    }
    return k;
}

// Checks P1, P3, P5 and the summaries. Returns what is broken, or NULL.
GM_PRIVATE const char *gm_pages_verify_locked(struct gm_pages *p) {
    size_t used = 0, idle = 0;
    for (unsigned which = 0; which < 2; which++) {
        struct gm_zone *zone = &p->zone[which];
        for (size_t i = 0; i < gm_pages_chunks(zone->mapped); i++) {
            // Compute the summary of a copy and compare.
            struct gm_chunk copy = zone->chunk[i];
            unsigned n = 0;
            (void)gm_pages_runs(&copy, GM_CHUNK_PAGES + 1);
            for (unsigned w = 0; w < GM_CHUNK_WORDS; w++) {
                used += gm_base_popcount(copy.used[w]);
                n += gm_base_popcount(copy.touched[w] & ~copy.used[w]);
            }
            idle += n;
            if (copy.first != zone->chunk[i].first || copy.most != zone->chunk[i].most ||
                copy.last != zone->chunk[i].last || copy.idle != n)
                return "pages: a chunk's summary differs from its bitmap";
            if (i < zone->hint && copy.most) return "pages: free pages below the hint (P5)";
        }
    }
    // Bits of unmapped pages (P9) and of the first page (P6) are not counted in `used`.
    size_t up = p->zone[0].mapped, down = p->zone[1].mapped;
    used -= gm_base_round_up(up, GM_CHUNK_PAGES) - up +
            (gm_base_round_up(down, GM_CHUNK_PAGES) - down); // P9
    if (gm_pages_address(p, p->zone[0].origin + up) > p->hi ||
        gm_pages_address(p, p->zone[1].origin - down) < p->lo)
        return "pages: a zone reaches beyond the descriptors (P3)";
    if (p->zone[0].mapped) used--; // P6
    if (used != p->used || idle != p->idle)
        return "pages: the count of used or idle pages is wrong (P1)";
    return NULL;
}

/* ==========================================================================================
 * >>span   span records, bitmaps, word to object                                   floor 2
 * ==========================================================================================
 * OWNS        struct gm_span, struct gm_color (bits of a KiB of collected objects)
 * CALLS       base sizes pages
 * ORDER       a record and its bits are written before gm_pages_describe publishes them (release
 *             stores); readers reach them only through a descriptor
 * INVARIANTS  N1  the places of a span's record and bits follow from the number of its first page
 *             N2  slots from `fresh` on were never handed out and are zero
 *             N3  a bit is 1 only where a slot starts, and none is beyond count
 *             N4  the colors of pages that are in no span are 0: gm_heap_put clears them
 * WHY         Manual spans have a bit per slot. Collected spans have bits per 16 bytes, and an
 *             object's bits are those of the 16 bytes where it starts. So the place of a bit
 *             follows from the address alone, without the span, its class or a division, and a word
 *             whose alloc bit is set points to an object. The four bits are in the same 32 bytes,
 *             so a lookup touches one cache line. No two slots of 24 bytes start in the same 16
 *             bytes, but a slot may start, at offset 8, in those where the one before it ends. An
 *             address there does not tell the slot, so lookups in this class divide.
 *
 *             collected bits:  | alloc 64 | mark 64 | grey 64 | freed 64 |  bytes 0-1023
 *                              | alloc 64 | mark 64 | grey 64 | freed 64 |  bytes 1024-2047 …
 */
enum gm_kind { // what a span holds
    GM_FREE = 0,
    GM_MANUAL = 1, // gomem_i_free_typed contains this number
    GM_NOSCAN = 2,
    GM_SCAN = 3,
    GM_TYPED = 4,
    GM_ROOT = 5,        // uncollectable and scanned
    GM_ROOT_NOSCAN = 6, // uncollectable and not scanned
    GM_KINDS = 7
};
enum { // sets of kinds, one bit each
    GM_SET_COLLECTED = 1u << GM_NOSCAN | 1u << GM_SCAN | 1u << GM_TYPED,
    GM_SET_SCANNED = 1u << GM_SCAN | 1u << GM_TYPED | 1u << GM_ROOT,
    GM_SET_COLORED = GM_SET_COLLECTED | 1u << GM_ROOT | 1u << GM_ROOT_NOSCAN
};
#define GM_IN(set, kind) (1u & (unsigned)(set) >> (kind))
GM_INLINE unsigned gm_span_zone(unsigned kind) {
    return GM_IN(GM_SET_SCANNED, kind) ? GM_ZONE_SCAN : GM_ZONE_NOSCAN;
}

enum { GM_USE_OBJECT, GM_USE_ARENA, GM_USE_POOL }; // who uses a span of class 0

// The bits of 1 KiB of collected objects.
struct gm_color {
    _Alignas(32) uint64_t alloc; // allocated, or held by a run. owner; collector while stopped
    uint64_t mark;               // reached. atomic: rlx/acqrel while marking
    uint64_t grey;  // reached, but not yet scanned; large objects: a bit per piece. atomic: rlx
    uint64_t freed; // freed by hand, slot not reused yet. atomic: rlx
};

struct gm_span {
    uint32_t page, pages; // number of the first page, of pages. const while in use
    uint16_t count;       // slots. const
    uint8_t special;      // an object of it has or had a side record. atomic: rlx
    uint8_t use;          // GM_USE_…: whose memory it is. owner
    uint8_t kind, class;  // const
    uint8_t bucket;       // manual: its list in central. lock: central
    uint8_t clean;        // its pages were known to be zero when taken. atomic: rlx
    uint32_t generation;  // of its last sweep: see room sweep. atomic: acq/rel
    uint32_t queued;      // it is in the mark queue. atomic: acqrel
    uint32_t queue_next;  // page + 1 of the next span in the mark queue. atomic: rlx
    uint32_t owner;       // number of the thread that takes runs from it, 0: central; pool: the
                          // pool's number; arena: the stamp of its block. atomic: rlx
    uint32_t next, prev;  // page + 1 of neighbors in a list of central. lock: central
    uint32_t used;   // slots; manual: taken from central; collected: at the last sweep or refill
    uint32_t fresh;  // N2. owner; never shrinks
    uint32_t cursor; // offset / 16 where the next search for a run starts. owner; pool: page + 1 of
                     // the previous span. lock: pool
    uint32_t shape;  // typed: number of the shape. const; arena, pool: page + 1 of the next. owner
    size_t size;     // large: bytes requested, rounded up to 16. owner
};
_Static_assert(sizeof(struct gm_span) <= GM_SPAN_BYTES, "a record has 64 bytes a page");
_Static_assert(sizeof(struct gm_color) == 32, "GM_COLOR_BYTES is 8 groups of 1 KiB a page");

// The record, colors and manual bits of the span that begins at a page.
GM_ALWAYS struct gm_span *gm_span_at(const struct gm_pages *p, size_t page) {
    return (struct gm_span *)(void *)(p->span_area + page * GM_SPAN_BYTES); // N1
}
GM_ALWAYS struct gm_color *gm_span_colors(const struct gm_pages *p, size_t page) {
    return (struct gm_color *)(void *)(p->color_area + page * GM_COLOR_BYTES); // N1
}
GM_ALWAYS uint64_t *gm_span_bits(const struct gm_pages *p, size_t page) {
    return (uint64_t *)(void *)(p->manual_area + page * GM_MANUAL_BYTES); // N1
}
// From check level 1 on, a bit for each manual slot that is free in a cache. Manual spans have no
// colors, so the bits are stored there.
GM_ALWAYS uint64_t *gm_span_cached(const struct gm_pages *p, size_t page) {
    return (uint64_t *)(void *)(p->color_area + page * GM_COLOR_BYTES);
}
// The address of a span.
GM_INLINE uintptr_t gm_span_start(const struct gm_pages *p, const struct gm_span *s) {
    return gm_pages_address(p, s->page);
}
// Bytes that an object of s may use.
GM_INLINE size_t gm_span_slot_size(const struct gm_span *s) {
    return s->class ? gm_sizes_table[s->class].size : s->size;
}
// Words of a manual span's bitmap.
GM_INLINE unsigned gm_span_words(const struct gm_span *s) { return (s->count + 63u) / 64; }

// The group of colors with the bits of an object at an address of the heap, and the object's bit.
GM_ALWAYS struct gm_color *gm_span_color(const struct gm_pages *p, uintptr_t object) {
    return (struct gm_color *)(void *)p->color_area + ((object - p->base) >> 10);
}
GM_ALWAYS uint64_t gm_span_bit(const struct gm_pages *p, uintptr_t object) {
    return (uint64_t)1 << ((object - p->base) >> 4 & 63);
}

enum { GM_PIECE = GM_PAGE, GM_PIECE_PAGES = GM_PIECE / GM_PAGE }; // unit of scanning large objects
enum { GM_CLASS_24 = 3 }; // the only class above 8 bytes whose size is not a multiple of 16

// The lower half of a descriptor. GM_BIT_AT_ADDRESS: the bit of a slot's address is the slot's bit.
// kind & GM_POINTERS is 0 for GM_NOSCAN, and not 0 for GM_SCAN and GM_TYPED.
enum { GM_BIT_AT_ADDRESS = 8, GM_POINTERS = 5 };
_Static_assert(GM_NOSCAN == 2 && GM_SCAN == 3 && GM_TYPED == 4, "GM_POINTERS tells them apart");
GM_INLINE uint32_t gm_span_desc(unsigned kind, unsigned class) {
    bool plain = GM_IN(GM_SET_COLLECTED, kind) && class && class != GM_CLASS_24;
    return (plain ? GM_BIT_AT_ADDRESS : 0) | kind | class << 4;
}

// How many groups the slots below `fresh` have bits in; 1 for a large object.
GM_INLINE unsigned gm_span_groups(const struct gm_span *s) {
    return s->class ? (s->fresh * gm_sizes_table[s->class].size + 1023) >> 10 : 1;
}

// The address of the object whose bit is number `bit` of a group of s.
GM_INLINE uintptr_t gm_span_object(const struct gm_pages *p, const struct gm_span *s,
                                   unsigned group, unsigned bit) {
    uint32_t at = group * 64 + bit;
    return gm_pages_address(p, s->page) + (uintptr_t)at * 16 +
           (s->class == GM_CLASS_24 && at % 3 ? 8 : 0);
}

// The mask of a group's bits where slots of s start (N3). The period of the pattern is `every`
// bits; it is doubled until it fills the word, then shifted to the first slot of the group.
GM_PRIVATE uint64_t gm_span_starts(const struct gm_span *s, unsigned group) {
    uint32_t size = gm_sizes_table[s->class].size, all = s->count * size;
    if (!s->class) return group == 0;
    if (group * 1024 >= all) return 0;
    uint32_t every = s->class == GM_CLASS_24 ? 3 : size / 16, first = group * 64 % every;
    uint64_t bits = 1;
    for (uint32_t n = every; n < 64; n *= 2) bits |= bits << n;
    first = first ? every - first : 0;
    bits = first < 64 ? bits << first : 0;
    if (s->class == GM_CLASS_24) bits = ~(bits << 2 | bits >> 1); // all but one of three
    uint32_t end = (all + 15) / 16 - group * 64;                  // where the last slot ends
    return end < 64 ? bits & (((uint64_t)1 << end) - 1) : bits;
}

// Returns the span that a word points into, or NULL.
GM_ALWAYS struct gm_span *gm_span_find(const struct gm_pages *p, uintptr_t word) {
    if (!gm_pages_holds(p, word)) return NULL;
    size_t page = (word - p->base) >> GM_PAGE_SHIFT;
    uint32_t desc = gm_pages_desc(p, page);
    if (!desc) return NULL;
    return gm_span_at(p, gm_pages_first(p, page, desc));
}

// Returns the number of the slot of s that an address lies in; count or more: it lies in the tail.
GM_ALWAYS uint32_t gm_span_index(const struct gm_pages *p, const struct gm_span *s,
                                 uintptr_t word) {
    if (!s->class) return 0;
    uint64_t offset = word - gm_span_start(p, s);
    return (uint32_t)(offset * gm_sizes_table[s->class].magic >> 32); // Z1
}
// The address of a slot.
GM_INLINE uintptr_t gm_span_slot(const struct gm_pages *p, const struct gm_span *s,
                                 uint32_t index) {
    return gm_span_start(p, s) + (uintptr_t)index * (s->class ? gm_sizes_table[s->class].size : 0);
}

// Clears the bits of a new manual span. The colors of a collected one are clear already (N4).
GM_PRIVATE void gm_span_clear_bits(const struct gm_pages *p, const struct gm_span *s) {
    gm_base_tsan_renew((uintptr_t)gm_span_bits(p, s->page), (size_t)s->pages * GM_MANUAL_BYTES);
    gm_base_tsan_renew((uintptr_t)gm_span_colors(p, s->page), (size_t)s->pages * GM_COLOR_BYTES);
    if (s->kind == GM_MANUAL) memset(gm_span_bits(p, s->page), 0, (size_t)gm_span_words(s) * 8);
}

// How many groups hold the bits of a large object's pieces (one bit per 8 KiB).
GM_INLINE size_t gm_span_piece_groups(size_t pages) {
    return (pages + 64 * GM_PIECE_PAGES - 1) / (64 * GM_PIECE_PAGES);
}

// Clears n groups. Atomic stores, because gomem_base reads them at any time.
GM_PRIVATE void gm_span_clear_groups(struct gm_color *c, size_t n) {
    for (size_t i = 0; i < n; i++) {
        gm_store_rlx(&c[i].alloc, (uint64_t)0);
        gm_store_rlx(&c[i].mark, (uint64_t)0);
        gm_store_rlx(&c[i].grey, (uint64_t)0);
        gm_store_rlx(&c[i].freed, (uint64_t)0);
    }
}

// Clears the colors of a span that is about to be freed (N4).
GM_PRIVATE void gm_span_clear_colors(const struct gm_pages *p, const struct gm_span *s) {
    size_t groups = s->class ? gm_span_groups(s) : gm_span_piece_groups(s->pages);
    if (s->kind != GM_MANUAL) gm_span_clear_groups(gm_span_colors(p, s->page), groups);
    else if (GOMEM_I_CHECK) memset(gm_span_cached(p, s->page), 0, (size_t)gm_span_words(s) * 8);
}

// ---- verification ----

struct gm_check { // of the whole heap, with nobody in a section
    const struct gm_pages *pages;
    const char *broken; // what, NULL: nothing
    uintptr_t where;    // an address that names the span
};

// Notes the first invariant that does not hold for s. Returns `holds`.
GM_PRIVATE bool gm_span_expect(struct gm_check *check, bool holds, const char *what,
                               const struct gm_span *s) {
    if (holds || check->broken) return holds;
    check->broken = what;
    check->where = gm_span_start(check->pages, s);
    return false;
}

// The record of s, its class and the descriptors of its pages.
GM_PRIVATE bool gm_span_verify(struct gm_check *check, const struct gm_span *s) {
    const struct gm_pages *p = check->pages;
    uint32_t expected = gm_span_desc(s->kind, s->class);
    gm_span_expect(check, s->kind < GM_KINDS && s->class <= GOMEM_CLASSES && s->pages,
                   "span: a record is damaged", s);
    if (check->broken) return false;
    for (size_t i = 0; i < s->pages; i++)
        if (!gm_span_expect(check,
                            gm_pages_desc(p, s->page + i) ==
                                (expected | (uint32_t)GM_MIN(i, (size_t)GM_DESC_FAR) << 12),
                            "pages: a descriptor differs from its span's record", s))
            break;
    if (s->class)
        gm_span_expect(check,
                       s->count == gm_sizes_table[s->class].count &&
                           s->pages == gm_sizes_table[s->class].pages,
                       "span: a record differs from its class", s);
    return !check->broken;
}

/* ==========================================================================================
 * >>heap   spans in and out, large objects, giving back                            floor 2
 * ==========================================================================================
 * OWNS        struct gm_heap
 * CALLS       base os sync sizes pages span
 * LOCKS       HEAP, around the page heap only. It is not held while pages are returned to the
 *             system, except for chunks that leave a zone (H4) and for a hard limit (P8)
 * INVARIANTS  H1  while the system discards a free page, the page is marked as used, or the lock is
 *                 held (H4, P8)
 *             H2  when idle pages exceed a tenth of the used ones + 32 MiB + the reused pages (H3),
 *                 the thread that frees returns pages to the system until 4 MiB less are idle. The
 *                 collector's background thread, if there is one, goes on down to a tenth over the
 *                 heap goal
 *             H3  reused pages: the largest rise of the number of used pages after a fall, not
 *                 counted beyond their earlier maximum, in this second and the one before
 *             H4  if address space or data is limited, the free chunks at the ends leave a sparse
 *                 heap
 * WHY         A span's bits are cleared and its descriptors written outside the lock, because no
 *             other thread knows its pages yet. Pages are returned in calls of at most 16 MiB, so
 *             that another thread's mmap does not wait long for the kernel's lock.
 *             A program that frees and allocates 64 MiB again and again pays 22 ms each time if the
 *             pages are returned and faulted in again. But keeping all freed memory for a second
 *             would let a program that frees a gigabyte hold it. Reuse tells the two apart: the
 *             first fall is returned, later ones are kept as long as the reuse continues.
 */
struct gm_heap {
    struct gm_pages pages; // zones and metadata
    struct gm_lock lock;   // protects the zones
    size_t retry;          // after a vain search: idle pages at which to search again. atomic: rlx
    size_t released;       // bytes returned to the system so far. atomic: rlx
    size_t kept;           // pages of spans that no cycle frees. atomic: rlx
    size_t high[2];        // most used pages in this second, and in the one before. lock: heap
    size_t low;            // fewest used pages since that maximum. lock: heap
    size_t again[2];       // reused pages (H3) of the same seconds. lock: heap; read rlx
    uint64_t turned;       // ns: when this second began, 0: not yet. lock: heap; read rlx
    bool mixed;            // zone 1 has spans of scanned kinds. lock: heap; read rlx
};

enum {
    GM_GIVE_LEAST = 64 * 1024 / GM_PAGE,
    GM_GIVE_STEP = GM_MIB / GM_PAGE,
    GM_GIVE_CALL = 16 * GM_MIB / GM_PAGE,
    GM_GIVE_SLACK = 4 * GM_MIB / GM_PAGE, // above the bound before it starts: fewer, larger calls
    GM_IDLE_PAGES = 28 * GM_MIB / GM_PAGE,
    GM_TURN_NS = 1000000000,
    GM_ASK_LEAST = GM_MIB // bytes from which on mincore pays (gm_heap_clear)
};

// Records that the number of used pages has risen (H3).
GM_PRIVATE void gm_heap_risen_locked(struct gm_heap *h) {
    size_t used = h->pages.used, before = GM_MAX(h->high[0], h->high[1]);
    size_t again = GM_MIN(used, before);
    if (again > h->low + h->again[0]) gm_store_rlx(&h->again[0], again - h->low);
    if (used >= before) h->low = used;
    if (used > h->high[0]) h->high[0] = used;
}

// Records that it has fallen (H3).
GM_PRIVATE void gm_heap_fallen_locked(struct gm_heap *h) { h->low = GM_MIN(h->low, h->pages.used); }

// Begins a new second (H3), unless another thread has done so. If a whole second passed without a
// call, the values of the previous second are 0.
GM_PRIVATE void gm_heap_turn(struct gm_heap *h, uint64_t now) {
    gm_sync_lock(&h->lock);
    uint64_t passed = now - h->turned;
    if (passed >= GM_TURN_NS) {
        bool late = h->turned && passed >= 2 * (uint64_t)GM_TURN_NS;
        gm_store_rlx(&h->again[1], late ? 0 : h->again[0]);
        if (h->turned) gm_store_rlx(&h->again[0], (size_t)0);
        h->high[1] = late ? 0 : h->high[0];
        h->high[0] = h->low = h->pages.used;
        gm_store_rlx(&h->turned, now);
    }
    gm_sync_unlock(&h->lock);
}

// Takes n pages of a zone that start at a multiple of `align` bytes; SIZE_MAX: no memory. It takes
// enough for any alignment and frees the rest.
GM_PRIVATE size_t gm_heap_pages_locked(struct gm_heap *h, unsigned zone, size_t n, size_t align,
                                       bool *clean) {
    struct gm_pages *p = &h->pages;
    size_t slack = align > GM_PAGE ? align / GM_PAGE - 1 : 0;
    if (n > p->count || slack > p->count - n) return SIZE_MAX;
    size_t page = gm_pages_take_locked(p, zone, n + slack, clean);
    if (page == SIZE_MAX || !slack) return page;
    uintptr_t start = gm_pages_address(p, page);
    size_t lead = (gm_base_round_up(start, align) - start) / GM_PAGE;
    if (lead) gm_pages_put_locked(p, page, lead, !*clean);
    if (slack > lead) gm_pages_put_locked(p, page + lead + n, slack - lead, !*clean);
    return page + lead;
}

// Takes a new span of a class, or (class 0) for a large object of `size` bytes. No lookup finds it
// until the caller has called gm_heap_publish. NULL: no memory. Takes HEAP.
GM_PRIVATE struct gm_span *gm_heap_take(struct gm_heap *h, unsigned kind, unsigned class,
                                        size_t size, size_t align) {
    struct gm_pages *p = &h->pages;
    size_t n = class ? gm_sizes_table[class].pages
                     : GM_MAX((size + GM_PAGE - 1) / GM_PAGE, (size_t)1);
    bool clean = false;
    gm_sync_lock(&h->lock);
    unsigned zone = gm_span_zone(kind);
    size_t page = gm_heap_pages_locked(h, zone, n, align, &clean);
    if (page == SIZE_MAX) { // last resort: the other zone
        page = gm_heap_pages_locked(h, !zone, n, align, &clean);
        // rlx: a cycle that runs meanwhile reads it again in its finish stop
        if (zone == GM_ZONE_SCAN && page != SIZE_MAX) gm_store_rlx(&h->mixed, true);
    }
    gm_heap_risen_locked(h);
    gm_sync_unlock(&h->lock);
    if (page == SIZE_MAX) return NULL;
    if (!GM_IN(GM_SET_COLLECTED, kind)) (void)gm_add_rlx(&h->kept, n); // pacing: may lag
    struct gm_span *s = gm_span_at(p, page);
    uint32_t queued = s->queued; // records stay mapped: a freed span is never in the mark queue
    gm_assert(!queued);
    (void)queued;
    gm_base_tsan_renew((uintptr_t)s, sizeof *s);
    memset(s, 0, sizeof *s);
    s->page = (uint32_t)page;
    s->pages = (uint32_t)n;
    s->count = (uint16_t)(class ? gm_sizes_table[class].count : 1);
    s->kind = (uint8_t)kind;
    s->class = (uint8_t) class;
    s->clean = clean;
    s->fresh = clean ? 0 : s->count; // N2
    s->size = class ? 0 : size;
    gm_span_clear_bits(p, s);
    return s;
}

// Makes a span visible to lookups: writes its descriptors.
GM_PRIVATE void gm_heap_publish(struct gm_heap *h, const struct gm_span *s) {
    gm_pages_describe(&h->pages, s->page, s->pages, gm_span_desc(s->kind, s->class));
}

// How many pages of s, from its first on, may hold other bytes than zeros.
GM_INLINE size_t gm_heap_touched(const struct gm_span *s) {
    if (!s->clean || !s->class) return s->pages;
    size_t bytes = (size_t)s->fresh * gm_sizes_table[s->class].size;
    return GM_MIN((bytes + GM_PAGE - 1) / GM_PAGE, (size_t)s->pages);
}

// Frees a span: its pages return to the page heap. No thread, list or queue may refer to it. Takes
// HEAP.
GM_PRIVATE void gm_heap_put(struct gm_heap *h, struct gm_span *s) {
    size_t page = s->page, n = s->pages, touched = gm_heap_touched(s);
    gm_os_forbid(gm_span_start(&h->pages, s), n * GM_PAGE, GM_IN(GM_SET_SCANNED, s->kind),
                 GM_SHADE_FREED);
    if (!GM_IN(GM_SET_COLLECTED, s->kind)) (void)gm_sub_rlx(&h->kept, n); // pacing: may lag
    gm_store_rlx(&s->queued, 0u); // in a fork's child, which drops the queue, it may be set
    gm_pages_undescribe(&h->pages, page, n);
    gm_span_clear_colors(&h->pages, s);
    gm_sync_lock(&h->lock);
    if (touched) gm_pages_put_locked(&h->pages, page, touched, true);
    if (n > touched) gm_pages_put_locked(&h->pages, page + touched, n - touched, false);
    gm_heap_fallen_locked(h);
    gm_sync_unlock(&h->lock);
}

// Grows or shrinks a large span in place to hold `size` bytes. False: the pages after it are in
// use, or memory is exhausted; the span did not change. Sets *clean if all added pages are known to
// be zero. Takes HEAP.
GM_PRIVATE bool gm_heap_resize(struct gm_heap *h, struct gm_span *s, size_t size, bool *clean) {
    struct gm_pages *p = &h->pages;
    size_t n = (size + GM_PAGE - 1) / GM_PAGE, old = s->pages;
    bool done = true;
    *clean = false;
    if (n < old) gm_pages_undescribe(p, s->page + n, old - n);
    gm_sync_lock(&h->lock);
    if (n < old) gm_pages_put_locked(p, s->page + n, old - n, true);
    if (n > old) done = gm_pages_extend_locked(p, s->page, old, n - old, clean);
    if (n < old) gm_heap_fallen_locked(h);
    else if (done) gm_heap_risen_locked(h);
    gm_sync_unlock(&h->lock);
    if (!done) return false;
    if (!GM_IN(GM_SET_COLLECTED, s->kind)) (void)gm_add_rlx(&h->kept, n - old); // pacing: may lag
    gm_store_rlx(&s->pages, (uint32_t)n); // rlx: a marker that sees the old size misses only
    gm_store_rlx(&s->size, size);         // pages that are written later, and so reported
    if (s->kind != GM_MANUAL) {           // the bits of pieces added or removed (N4)
        size_t from = gm_span_piece_groups(GM_MIN(old, n)),
               to = gm_span_piece_groups(GM_MAX(old, n));
        gm_span_clear_groups(gm_span_colors(p, s->page) + from, to - from);
    }
    if (n <= old) return true;
    gm_heap_publish(h, s);
    return true;
}

// Discards selected pages, at most 16 MiB per call, and the records of whole chunks. False: some
// pages kept their contents.
GM_PRIVATE bool gm_heap_discard(struct gm_heap *h, struct gm_idle idle) {
    bool done = true;
    for (size_t at = 0; at < idle.n; at += GM_GIVE_CALL) {
        size_t n = GM_MIN(idle.n - at, (size_t)GM_GIVE_CALL);
        done &= gm_os_discard((void *)gm_pages_address(&h->pages, idle.page + at), n * GM_PAGE);
    }
    if (done && idle.n >= GM_CHUNK_PAGES) gm_pages_discard_meta(&h->pages, idle.page, idle.n);
    return done;
}

// Unmaps the free chunks at the ends of a sparse heap (H4).
GM_PRIVATE void gm_heap_retreat(struct gm_heap *h) {
    gm_sync_lock(&h->lock);
    for (unsigned i = 0; i < 2; i++)
        gm_pages_retreat_locked(&h->pages, &h->pages.zone[i], GM_GIVE_LEAST - 1);
    gm_sync_unlock(&h->lock);
}

// Returns idle pages to the system until at most `keep` are left or `most` bytes were returned
// (H1). Only runs with at least `least` touched pages are worth a call. Returns the bytes returned.
// Takes HEAP, but not during the system calls.
GM_RARE GM_PRIVATE size_t gm_heap_give_back(struct gm_heap *h, size_t keep, size_t least,
                                            size_t most) {
    size_t bytes = 0;
    while (bytes < most) {
        struct gm_idle idle = {0, 0, 0};
        gm_sync_lock(&h->lock);
        if (h->pages.idle > keep)
            idle = gm_pages_scavenge_begin_locked(&h->pages, least,
                                                  GM_MIN(most / GM_PAGE, h->pages.idle - keep));
        // If idle pages remain, but only in small runs, another search pays once there are more.
        bool left = h->pages.idle > keep;
        if (!idle.n) gm_store_rlx(&h->retry, left ? h->pages.idle + GM_GIVE_STEP : 0);
        gm_sync_unlock(&h->lock);
        if (!idle.n) break;
        bool done = gm_heap_discard(h, idle);
        gm_sync_lock(&h->lock);
        gm_pages_scavenge_end_locked(&h->pages, idle, done);
        gm_sync_unlock(&h->lock);
        if (!done) break;
        bytes += idle.touched * GM_PAGE;
    }
    gm_add_rlx(&h->released, bytes); // for memstats
    if (bytes && h->pages.sparse && gm_os_is_limited()) gm_heap_retreat(h);
    return bytes;
}

// The number of idle pages that are always kept (H2).
GM_INLINE size_t gm_heap_keep(const struct gm_heap *h) {
    return gm_load_rlx(&h->pages.used) / 10 + GM_IDLE_PAGES;
}

// Returns pages to the system if more are idle than H2 and H3 allow.
GM_NOINLINE GM_PRIVATE void gm_heap_trim_slow(struct gm_heap *h, size_t idle) {
    uint64_t now = gm_os_now_coarse();
    if (now - gm_load_rlx(&h->turned) >= GM_TURN_NS) gm_heap_turn(h, now); // checks under the lock
    size_t again = GM_MAX(gm_load_rlx(&h->again[0]), gm_load_rlx(&h->again[1]));
    size_t keep = gm_heap_keep(h) + again;
    if (idle <= keep + GM_GIVE_SLACK) return;
    size_t retry = gm_load_rlx(&h->retry);
    if (idle < retry) { // the last search was in vain; if fewer are idle since, search earlier
        if (idle + 2 * GM_GIVE_STEP < retry) gm_store_rlx(&h->retry, idle + GM_GIVE_STEP);
        return;
    }
    (void)gm_heap_give_back(h, keep, GM_GIVE_LEAST, SIZE_MAX);
}

// Called by a thread that has freed pages, without locks. Keeps H2.
GM_INLINE void gm_heap_trim(struct gm_heap *h) {
    size_t idle = gm_load_rlx(&h->pages.idle); // a stale value only trims later
    if (GOMEM_I_UNLIKELY(idle > gm_heap_keep(h) + GM_GIVE_SLACK)) gm_heap_trim_slow(h, idle);
}

// Zeroes bytes of used pages, at most a chunk's. With `drop`, discards them instead if less than
// half of them are resident.
GM_PRIVATE void gm_heap_clear(const struct gm_heap *h, uintptr_t at, size_t bytes, bool drop) {
    size_t unit = h->pages.os_page;
    bool whole = !((at | bytes) & (unit - 1));
    if (drop && whole && bytes >= GM_ASK_LEAST &&
        gm_os_resident((void *)at, bytes, unit) < bytes / 2 && gm_os_discard((void *)at, bytes))
        return;
    memset((void *)at, 0, bytes);
}

// Calls visit for each span in use, zone by zone in address order, until it returns false. No span
// may be taken or freed meanwhile.
GM_PRIVATE void gm_heap_walk(struct gm_heap *h, bool (*visit)(struct gm_span *s, void *arg),
                             void *arg) {
    struct gm_pages *p = &h->pages;
    for (unsigned which = 0; which < 2; which++) {
        size_t n = gm_load_rlx(&p->zone[which].mapped); // pages mapped later have no span yet
        size_t page = gm_pages_place(&p->zone[which], 0, n), end = page + n;
        while (page < end) {
            uint32_t desc = gm_pages_desc(p, page);
            if (!desc) {
                page++;
                continue;
            }
            struct gm_span *s = gm_span_at(p, gm_pages_first(p, page, desc));
            if (!visit(s, arg)) return;
            page = (size_t)s->page + s->pages;
        }
    }
}

/* ==========================================================================================
 * >>central   per-class sets of spans: lists, no policy                            floor 2
 * ==========================================================================================
 * OWNS        struct gm_central: the spans of one kind and class (and type) that no thread owns
 * CALLS       base sync pages span
 * LOCKS       CENTRAL, held by callers: _locked
 * INVARIANTS  CL1 a span is in at most one list of its central; an owned span, and a full manual
 *                 one, is in none
 *             CL2 collected spans have four lists: partial and full, each swept and unswept. The
 *                 sweep generation decides which list of a pair is the swept one, so the end of a
 *                 cycle makes all listed spans unswept with one store
 * WHY         Manual spans are listed by how full they are. Refilling from the fullest gives the
 *             others a chance to become empty. Four buckets suffice; a sorted list was dropped,
 *             because keeping it sorted cost too much in each flush.
 */
enum { GM_LISTS = 4 };
struct gm_central {
    struct gm_lock lock; // protects the lists and the spans in them
    uint8_t kind, class; // const
    uint16_t shape;      // const
    uint32_t list
        [GM_LISTS]; // page + 1 of the first. manual: by bucket; collected: partial 0 1, full 2 3
};

// Initializes an empty central.
GM_PRIVATE void gm_central_init(struct gm_central *c, unsigned kind, unsigned class,
                                unsigned shape) {
    memset(c, 0, sizeof *c);
    c->lock.rank = GM_RANK_CENTRAL;
    c->kind = (uint8_t)kind;
    c->class = (uint8_t) class;
    c->shape = (uint16_t)shape;
}

// Puts a span at the head of a list.
GM_PRIVATE void gm_central_add_locked(struct gm_central *c, const struct gm_pages *p, unsigned list,
                                      struct gm_span *s) {
    uint32_t first = c->list[list];
    gm_assert(first != s->page + 1); // CL1
    s->prev = 0;
    s->next = first;
    if (first) gm_span_at(p, first - 1)->prev = s->page + 1;
    gm_store_rlx(&c->list[list], s->page + 1); // unlocked readers check again under the lock
}

// Takes a span out of the list that it is in.
GM_PRIVATE void gm_central_remove_locked(struct gm_central *c, const struct gm_pages *p,
                                         unsigned list, struct gm_span *s) {
    if (s->prev) gm_span_at(p, s->prev - 1)->next = s->next;
    else gm_store_rlx(&c->list[list], s->next); // unlocked readers check again under the lock
    if (s->next) gm_span_at(p, s->next - 1)->prev = s->prev;
    s->next = s->prev = 0;
}

// The first span of a list; NULL: the list is empty.
GM_PRIVATE struct gm_span *gm_central_first_locked(const struct gm_central *c,
                                                   const struct gm_pages *p, unsigned list) {
    return c->list[list] ? gm_span_at(p, c->list[list] - 1) : NULL;
}

// The same, removed from the list.
GM_PRIVATE struct gm_span *gm_central_pop_locked(struct gm_central *c, const struct gm_pages *p,
                                                 unsigned list) {
    struct gm_span *s = gm_central_first_locked(c, p, list);
    if (s) gm_central_remove_locked(c, p, list, s);
    return s;
}

// The list of a manual span, from 0, nearly full, to 3, nearly empty.
GM_INLINE unsigned gm_central_bucket(const struct gm_span *s) {
    return (s->count - s->used) * 4 / (s->count + 1);
}

// ---- verification ----

// Spans of a central's list belong there and nowhere else (CL1).
GM_PRIVATE void gm_central_verify_list(struct gm_check *check, const struct gm_central *c,
                                       unsigned list) {
    const struct gm_pages *p = check->pages;
    uint32_t before = 0;
    for (uint32_t at = c->list[list]; at && !check->broken;) {
        const struct gm_span *s = gm_span_at(p, at - 1);
        gm_span_expect(check,
                       s->page == at - 1 && s->kind == c->kind && s->class == c->class &&
                           s->prev == before && (!s->owner || s->use != GM_USE_OBJECT),
                       "central: a list holds a span that does not belong to it (CL1)", s);
        before = at;
        at = s->next;
    }
}

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>types   type descriptors and shapes                                            floor 3
 * ==========================================================================================
 * OWNS        struct gm_types: interned types, and shapes (a type in a class) with their centrals
 * CALLS       base sync pages central
 * LOCKS       TYPES, then META
 * ORDER       a shape is complete before its slot of the table is set (rel); readers load it (acq)
 * INVARIANTS  D1  types with the same name, size, alignment, fields and procedure are the same
 *                 type, whichever file defines them
 *             D2  a shape's number keeps its meaning as long as the process lives, even after a
 *                 shutdown
 *             D3  a typed span holds objects of one shape
 * WHY         If a span holds objects of one type, marking is precise without a header or a bitmap
 *             per object. Arrays and flexible objects of a type may fall into other size classes;
 *             each such class makes a shape of its own, so they have runs too.
 */
struct gm_type_record {          // an interned gomem_type
    const char *name;            // a copy
    size_t size, align, nfields; // const
    gomem_field *fields;         // a copy
    void (*mark)(const void *obj, size_t size, gomem_marker *m);
    struct gm_type_record *next;       // in the bucket
    uint16_t shape[GOMEM_CLASSES + 1]; // number by class, 0: none. lock: types; atomic: rlx
};

struct gm_shape {
    struct gm_type_record *type; // const
    unsigned class;              // 0: large. const
    struct gm_central central;   // its spans
};

enum { GM_SHAPES = 1 << 14, GM_TYPE_BUCKETS = 64 };
struct gm_types {
    struct gm_lock lock;                            // TYPES
    struct gm_meta *meta;                           // allocator of records. const
    struct gm_type_record *bucket[GM_TYPE_BUCKETS]; // hash table. lock: types
    struct gm_shape **shape;                        // by number; [0] unused. atomic: acq/rel
    uint32_t shapes; // the next number to give out. lock: types; atomic: acq/rel
};

// Prepares the table; keeps it if an earlier initialization made it (D2). False: no memory.
GM_PRIVATE bool gm_types_init(struct gm_types *t, struct gm_meta *meta) {
    if (t->shape) return true;
    t->lock.rank = GM_RANK_TYPES;
    t->meta = meta;
    t->shape = gm_pages_meta(meta, GM_SHAPES * sizeof *t->shape);
    t->shapes = 1;
    return t->shape != NULL;
}

// The shape with a number that gm_types_intern has returned.
GM_INLINE struct gm_shape *gm_types_shape(const struct gm_types *t, uint32_t number) {
    return gm_load_acq(&t->shape[number]); // pairs with gm_types_number_locked: it is complete
}

// Tests whether objects of this type end in a flexible array of pointers. Such an object is one
// element, however large it is.
GM_INLINE bool gm_types_has_tail(const struct gm_type_record *r) {
    bool tail = false;
    for (size_t i = 0; i < r->nfields; i++) tail |= !r->fields[i].words;
    return tail;
}

// The bucket of a type.
GM_PRIVATE unsigned gm_types_hash(const gomem_type *type) {
    unsigned h = (unsigned)type->size * 31 + (unsigned)type->nfields;
    for (const char *s = type->name; *s; s++) h = h * 31 + (unsigned char)*s;
    return (h ^ h >> 11) % GM_TYPE_BUCKETS;
}

// Tests whether a record was made for the same type (D1).
GM_PRIVATE bool gm_types_same(const struct gm_type_record *r, const gomem_type *type) {
    return r->size == type->size && r->align == type->align && r->nfields == type->nfields &&
           r->mark == type->mark && !strcmp(r->name, type->name) &&
           (!type->nfields ||
            !memcmp(r->fields, type->fields, type->nfields * sizeof *type->fields));
}

// Finds the record of a type, or makes one with copies of its name and fields, which may lie in a
// library that is closed later. NULL: no memory.
GM_PRIVATE struct gm_type_record *gm_types_record_locked(struct gm_types *t,
                                                         const gomem_type *type) {
    struct gm_type_record **bucket = &t->bucket[gm_types_hash(type)];
    for (struct gm_type_record *r = *bucket; r; r = r->next)
        if (gm_types_same(r, type)) return r;
    size_t name = strlen(type->name) + 1, fields = type->nfields * sizeof *type->fields;
    struct gm_type_record *r = gm_pages_meta(t->meta, sizeof *r);
    char *copy = gm_pages_meta(t->meta, name + fields + sizeof(gomem_field));
    if (!r || !copy) return NULL;
    r->fields = (gomem_field *)(void *)copy;
    if (fields) memcpy(copy, type->fields, fields);
    memcpy(copy + fields, type->name, name);
    r->name = copy + fields;
    r->size = type->size;
    r->align = type->align;
    r->nfields = type->nfields;
    r->mark = type->mark;
    r->next = *bucket;
    *bucket = r;
    return r;
}

// Returns the number of the shape of a type in a class, which it makes at first use. 0: no memory,
// or too many shapes.
GM_PRIVATE uint32_t gm_types_number_locked(struct gm_types *t, struct gm_type_record *r,
                                           unsigned class) {
    uint32_t number = r->shape[class];
    if (number || t->shapes == GM_SHAPES) return number;
    struct gm_shape *s = gm_pages_meta(t->meta, sizeof *s);
    if (!s) return 0;
    number = t->shapes;
    s->type = r;
    s->class = class;
    gm_central_init(&s->central, GM_TYPED, class, number);
    gm_store_rel(&t->shape[number], s);   // pairs with gm_types_shape
    gm_store_rel(&t->shapes, number + 1); // pairs with gm_types_count: the shapes below are there
    // rlx: readers without the lock look the shape up by gm_types_shape
    gm_store_rlx(&r->shape[class], (uint16_t)number);
    return number;
}

// The record of `type` is r, if it is known.
GM_COLD GM_PRIVATE uint32_t gm_types_intern_slow(struct gm_types *t, gomem_type *type,
                                                 struct gm_type_record *r, unsigned class) {
    gm_sync_lock(&t->lock);
    if (!r) r = gm_types_record_locked(t, type);
    uint32_t number = r ? gm_types_number_locked(t, r, class) : 0;
    if (r && !gm_load_rlx(&type->index)) { // stored under the lock
        unsigned own = gomem_i_class_new(type->size, type->align);
        gm_store_rlx(&type->index, gm_types_number_locked(t, r, own));
    }
    gm_sync_unlock(&t->lock);
    return number;
}

// Interns a type and returns the number of its shape for a class; 0: no memory. Sets type->index,
// with which the inlined path finds runs. Takes TYPES unless the shape exists.
GM_PRIVATE uint32_t gm_types_intern(struct gm_types *t, gomem_type *type, unsigned class) {
    uint32_t index = gm_load_rlx(&type->index); // 0 or a number that is for ever right (D2)
    struct gm_type_record *r = index ? gm_types_shape(t, index)->type : NULL;
    uint32_t number = r ? gm_load_rlx(&r->shape[class]) : 0; // numbers never change
    return GOMEM_I_LIKELY(number) ? number : gm_types_intern_slow(t, type, r, class);
}

// The next number to give out: all below it are shapes.
GM_INLINE uint32_t gm_types_count(const struct gm_types *t) {
    return gm_load_acq(&t->shapes); // pairs with gm_types_number_locked: shapes below are complete
}

// Empties all centrals after a shutdown, when no span is left. Types and shapes stay (D2).
GM_PRIVATE void gm_types_reset(struct gm_types *t) {
    for (uint32_t i = 1; i < t->shapes; i++)
        gm_central_init(&t->shape[i]->central, GM_TYPED, t->shape[i]->class, i);
}
// The lists of all shapes.
GM_PRIVATE void gm_types_verify(struct gm_check *check, const struct gm_types *types) {
    for (uint32_t i = 1; i < gm_types_count(types); i++)
        for (unsigned l = 0; l < GM_LISTS; l++)
            gm_central_verify_list(check, &gm_types_shape(types, i)->central, l);
}

/* ==========================================================================================
 * >>special   side records: finalizers, cleanups, weak pointers, counts            floor 3
 * ==========================================================================================
 * OWNS        struct gm_special: records by number, a hash table by object, the queue of callbacks
 * CALLS       base sync pages span
 * LOCKS       SPECIAL, then READY or META
 * ORDER       a record's generation changes before its word (rel): a thread that loads the word
 *             (acq) between two loads of the same generation has the word of that generation. A
 *             record is complete before its number is stored to a chain (rel), so a thread that
 *             follows the chain without the lock (acq) finds a complete one
 * INVARIANTS  X1  a record whose word names an object is in the bucket of that object, and the
 *                 object's span has `special` set
 *             X2  records and tables are never unmapped or used for anything else, so a thread with
 *                 an old number, or without the lock, reads stale words at worst
 *             X3  a listed record is in one list (unreached, ready, or gone) until it is removed
 *                 from that list, even if it is detached from its object meanwhile. Links belong to
 *                 the list; those of the unreached list belong to the cycle, without a lock
 *             X4  a thread that frees or moves an object detaches its records before the slot can
 *                 be reused
 *             X5  no record names an object that is not live. A cycle decides about all records of
 *                 dead objects between marking and the flip, so sweeping ignores records
 * WHY         A count, a flag or a pointer in the object would dirty its page at each change, and
 *             an extra word would change its size class. So everything is stored here and found by
 *             the object's address. What each cycle must read (the object) is stored apart from
 *             what a callback needs, so the walk reads 16 bytes per record and one mark bit.
 *             Callback records are contiguous, so they are scanned as ranges of roots. A flag in
 *             the span tells that an object of it has had a record; freeing other objects costs
 *             only a test of that byte, which is in the cache already. Tables only grow, and old
 *             ones are kept (half as much again), so that counting needs no lock. 100 000 weak
 *             pointers and as many finalizers add 0.5 ms to a cycle in which nothing dies.
 *             The queue has its own lock. With one lock for both, each of a million callbacks
 *             contended with the thread that registered the next million, and half of the time was
 *             spent in futexes. Objects of one page share a few cache lines of the table.
 *
 *             word:    | object …  | kind 3 |   object 0: free, or listed and detached
 *             handle:  | generation 32 | number + 1 32 |
 */
enum gm_special_kind {
    GM_SPECIAL_NONE,
    GM_SPECIAL_WEAK,
    GM_SPECIAL_CLEANUP,
    GM_SPECIAL_FINALIZER,
    GM_SPECIAL_COUNT
};
enum {
    GM_SPECIAL_KIND = 7,
    GM_SPECIAL_FIRST = 256,
    GM_SPECIAL_PARTS = 20,
    GM_SPECIAL_STEP = 1024, // records examined per hold of the lock
    GM_SPECIAL_RETURN = 64  // gone records freed per hold of the queue's lock
};
enum { GM_SPECIAL_IDLE, GM_SPECIAL_LISTED, GM_SPECIAL_DROPPING };

struct gm_record {       // the part of a record that each cycle reads
    uintptr_t word;      // object | kind. lock: special; atomic: rel/acq
    uint32_t generation; // valid handles contain it. lock: special; atomic: rlx
    uint32_t next; // number + 1 of the next in its bucket, or free. lock: special; atomic: rel/acq
};

union gm_callback {
    void (*finalizer)(void *obj, void *arg); // a finalizer
    void (*cleanup)(void *arg);              // a cleanup or a count's drop; NULL: none
};

struct gm_callback_record { // the other part; scanned as a root
    union gm_callback fn;   // lock: special
    uintptr_t arg;          // or the count. lock: special; count atomic: rlx, at zero acqrel
    uintptr_t self;         // object of a ready callback; 0: not ready. lock: special
    uint32_t link;          // number + 1 of the next in a list (X3). lock: special
    uint32_t state;         // GM_SPECIAL_IDLE …. lock: special
};

struct gm_special_table {
    uint32_t mask;     // buckets - 1. const
    uint32_t bucket[]; // number + 1 of the first. lock: special; atomic: rel/acq
};

struct gm_special_list {
    uint32_t first, last; // number + 1. lock: special
};

struct gm_special {
    struct gm_lock lock;  // SPECIAL: protects all below that does not name READY
    struct gm_meta *meta; // const
    struct gm_record *records[GM_SPECIAL_PARTS]; // part i: GM_SPECIAL_FIRST << i. const once set
    struct gm_callback_record *callbacks[GM_SPECIAL_PARTS]; // the same numbers
    struct gm_special_table *table;                         // NULL: no record yet. atomic: rel/acq
    uint32_t made;                // records ever used. lock: special; read rlx
    uint32_t used;                // records not free. lock: special; read rlx
    uint32_t free;                // number + 1 of the first free record
    uint32_t most;                // most records with objects since a cycle. lock: special; stw
    struct gm_lock queue;         // READY: protects the lists of callbacks
    struct gm_special_list ready; // callbacks to run. lock: ready
    struct gm_special_list gone;  // records whose callback was taken, to be freed. lock: ready
    uint32_t count;               // callbacks ready. lock: ready; read rlx
    uint32_t gone_count;          // records in gone. lock: ready; read rlx
};
#define GM_SPECIAL_COST \
    (sizeof(struct gm_record) + sizeof(struct gm_callback_record) + 2 * sizeof(uint32_t))

struct gm_ready_callback { // a callback taken from the queue
    union gm_callback fn;  // the function to call
    uintptr_t self, arg;   // its arguments
    uint64_t id;           // count: the record's handle
    enum gm_special_kind kind;
};

// The part with record n, and the number of its first record: part i has GM_SPECIAL_FIRST << i.
GM_INLINE unsigned gm_special_part(uint32_t n) {
    return 31 - (unsigned)__builtin_clz(n + GM_SPECIAL_FIRST) - 8;
}
_Static_assert(GM_SPECIAL_FIRST == 1 << 8, "gm_special_part subtracts 8");
GM_INLINE uint32_t gm_special_base(unsigned part) {
    return ((uint32_t)GM_SPECIAL_FIRST << part) - GM_SPECIAL_FIRST;
}
// The two halves of record n.
GM_ALWAYS struct gm_record *gm_special_record(const struct gm_special *sp, uint32_t n) {
    unsigned part = gm_special_part(n);
    return &sp->records[part][n - gm_special_base(part)];
}
GM_ALWAYS struct gm_callback_record *gm_special_callback(const struct gm_special *sp, uint32_t n) {
    unsigned part = gm_special_part(n);
    return &sp->callbacks[part][n - gm_special_base(part)];
}
// The object of a record, 0: none, and the record's kind.
GM_INLINE uintptr_t gm_special_object(const struct gm_record *r) {
    return gm_load_rlx(&r->word) & ~(uintptr_t)GM_SPECIAL_KIND;
}
GM_INLINE unsigned gm_special_kind_of(const struct gm_record *r) {
    return (unsigned)(gm_load_rlx(&r->word) & GM_SPECIAL_KIND);
}
// Objects of a page hash to neighboring buckets, because they are mostly used together.
GM_ALWAYS uint32_t gm_special_hash(uintptr_t object) {
    uint64_t page = ((uint64_t)object >> 12) * 0x9e3779b97f4a7c15u >> 32;
    return (uint32_t)(page ^ (object >> 4 & 255));
}
// How many records belong to objects: they are neither free, nor ready, nor gone. For pacing, so
// counts that do not fit together, where no lock is held, do no harm.
GM_INLINE uint32_t gm_special_held(const struct gm_special *sp) {
    uint32_t used = gm_load_rlx(&sp->used),
             done = gm_load_rlx(&sp->count) + gm_load_rlx(&sp->gone_count);
    return used > done ? used - done : 0;
}
// The handle of record n.
GM_INLINE uint64_t gm_special_id(const struct gm_record *r, uint32_t n) {
    return (uint64_t)gm_load_rlx(&r->generation) << 32 | (n + 1);
}

// ---- the table ----

// The bucket of an object, and how a record is put into it and taken out.
GM_PRIVATE uint32_t *gm_special_bucket_locked(const struct gm_special *sp, uintptr_t object) {
    return &sp->table->bucket[gm_special_hash(object) & sp->table->mask];
}

GM_PRIVATE void gm_special_link_locked(struct gm_special *sp, uint32_t n, uintptr_t object) {
    uint32_t *bucket = gm_special_bucket_locked(sp, object);
    // both pair with gm_special_count: it compares words, and searches again under the lock
    gm_store_rel(&gm_special_record(sp, n)->next, *bucket);
    gm_store_rel(bucket, n + 1); // pairs with gm_special_count: the record is complete
}

GM_PRIVATE void gm_special_unlink_locked(struct gm_special *sp, uint32_t n) {
    struct gm_record *r = gm_special_record(sp, n);
    uint32_t *at = gm_special_bucket_locked(sp, gm_special_object(r));
    while (*at != n + 1) at = &gm_special_record(sp, *at - 1)->next;
    gm_store_rel(at, r->next); // pairs with gm_special_count: the next record is complete
}

// Doubles the table if there are more records than buckets. If memory is exhausted, the chains grow
// longer instead. A reader of the old table finds a chain that no longer changes, or one that leads
// to other objects; both are harmless (X2).
GM_PRIVATE void gm_special_grow_locked(struct gm_special *sp) {
    struct gm_special_table *old = sp->table;
    size_t n = old ? (size_t)(old->mask + 1) * 2 : 1024;
    if (old && sp->used <= old->mask) return;
    struct gm_special_table *table = gm_pages_meta(sp->meta, (n + 1) * sizeof *table->bucket);
    if (!table) return;
    table->mask = (uint32_t)n - 1;
    gm_store_rel(&sp->table, table); // pairs with gm_special_count: its mask is there
    for (uint32_t i = 0; i < sp->made; i++) {
        uintptr_t object = gm_special_object(gm_special_record(sp, i));
        if (object) gm_special_link_locked(sp, i, object);
    }
}

// Searches a chain from record `from` on for a record of an object; kind 0: any kind. Returns its
// number + 1, or 0.
GM_PRIVATE uint32_t gm_special_next_locked(const struct gm_special *sp, uint32_t from,
                                           uintptr_t object, unsigned kind) {
    for (; from; from = gm_special_record(sp, from - 1)->next) {
        const struct gm_record *r = gm_special_record(sp, from - 1);
        if (gm_special_object(r) == object && (!kind || gm_special_kind_of(r) == kind)) return from;
    }
    return 0;
}
// The same for the first record of an object.
GM_PRIVATE uint32_t gm_special_find_locked(const struct gm_special *sp, uintptr_t object,
                                           unsigned kind) {
    return sp->table
               ? gm_special_next_locked(sp, *gm_special_bucket_locked(sp, object), object, kind)
               : 0;
}

// ---- lists ----

// Appends record n to a list, and removes the first record of one. The caller holds the list's
// lock, or is the cycle that owns it.
GM_PRIVATE void gm_special_push(struct gm_special *sp, struct gm_special_list *list, uint32_t n) {
    gm_special_callback(sp, n)->link = 0;
    if (list->last) gm_special_callback(sp, list->last - 1)->link = n + 1;
    else list->first = n + 1;
    list->last = n + 1;
}

GM_PRIVATE void gm_special_drop_first(struct gm_special *sp, struct gm_special_list *list) {
    list->first = gm_special_callback(sp, list->first - 1)->link;
    if (!list->first) list->last = 0;
}

// ---- records ----

GM_PRIVATE bool gm_special_init(struct gm_special *sp, struct gm_meta *meta) {
    sp->lock.rank = GM_RANK_SPECIAL;
    sp->queue.rank = GM_RANK_READY;
    sp->meta = meta;
    return true;
}

// Puts a record that is in no list and in no bucket on the free list.
GM_PRIVATE void gm_special_free_locked(struct gm_special *sp, uint32_t n) {
    struct gm_record *r = gm_special_record(sp, n);
    gm_store_rel(&r->word, (uintptr_t)0); // pairs with gm_special_weak_get: after the generation
    gm_special_callback(sp, n)->state = GM_SPECIAL_IDLE;
    gm_store_rel(&r->next, sp->free); // pairs with gm_special_count, which may be at this record
    sp->free = n + 1;
    gm_store_rlx(&sp->used, sp->used - 1);
}

// Frees up to GM_SPECIAL_RETURN records whose callbacks have been taken. Takes READY.
GM_PRIVATE void gm_special_return_locked(struct gm_special *sp) {
    gm_sync_lock(&sp->queue);
    for (unsigned i = 0; i < GM_SPECIAL_RETURN && sp->gone.first; i++) {
        uint32_t n = sp->gone.first - 1;
        gm_special_drop_first(sp, &sp->gone);
        gm_store_rlx(&sp->gone_count, sp->gone_count - 1); // read for pacing: may lag
        gm_special_free_locked(sp, n);
    }
    gm_sync_unlock(&sp->queue);
}

// Takes a free record: from the free list, from those that are gone, or the next one that was never
// used, for which a new part may be allocated. Returns its number + 1; 0: no memory.
GM_PRIVATE uint32_t gm_special_new_locked(struct gm_special *sp) {
    if (!sp->free && gm_load_rlx(&sp->gone_count)) gm_special_return_locked(sp); // or later
    uint32_t n = sp->free;
    if (n) {
        sp->free = gm_special_record(sp, n - 1)->next;
        if (sp->free) __builtin_prefetch(gm_special_callback(sp, sp->free - 1), 1);
        return n;
    }
    // A record that was never used: its part may have to be allocated, each twice the last.
    unsigned part = gm_special_part(sp->made);
    if (part == GM_SPECIAL_PARTS) return 0;
    size_t count = (size_t)GM_SPECIAL_FIRST << part;
    if (!sp->records[part])
        sp->records[part] = gm_pages_meta(sp->meta, count * sizeof(struct gm_record));
    if (!sp->callbacks[part])
        sp->callbacks[part] = gm_pages_meta(sp->meta, count * sizeof(struct gm_callback_record));
    if (!sp->records[part] || !sp->callbacks[part]) return 0;
    gm_store_rlx(&gm_special_record(sp, sp->made)->generation, 1u);
    gm_store_rlx(&sp->made, sp->made + 1); // gm_special_number reads it: no handle is newer
    return sp->made;
}

// Invalidates the handles of a record, and its callback if that has not been taken.
GM_PRIVATE void gm_special_void(struct gm_record *r, struct gm_callback_record *c) {
    gm_store_rlx(&r->generation, r->generation + 1);
    c->fn.cleanup = NULL;
    c->arg = c->self = 0;
    // pairs with gm_special_weak_get: after the generation
    gm_store_rel(&r->word, (uintptr_t)gm_special_kind_of(r));
}

// Detaches a record from its object and frees it, unless a list still has it (X3). Of the records
// with an object only counts can be in the queue, so READY is taken for these.
GM_PRIVATE void gm_special_remove_locked(struct gm_special *sp, uint32_t n) {
    struct gm_record *r = gm_special_record(sp, n);
    struct gm_callback_record *c = gm_special_callback(sp, n);
    bool queued = gm_special_kind_of(r) == GM_SPECIAL_COUNT;
    gm_special_unlink_locked(sp, n);
    if (queued) gm_sync_lock(&sp->queue);
    gm_special_void(r, c);
    if (queued) gm_sync_unlock(&sp->queue);
    if (c->state != GM_SPECIAL_LISTED) gm_special_free_locked(sp, n);
}

// Adds a record of a kind to an object, whose span the caller has marked (X1). Returns its handle.
// 0 with *error: ENOMEM, or EEXIST for a second finalizer or count. A second weak pointer returns
// the handle of the first. *more: the record's bytes if objects have more records than at any time
// since the last cycle; the caller counts them as allocated. Takes SPECIAL.
GM_PRIVATE uint64_t gm_special_add(struct gm_special *sp, uintptr_t object,
                                   enum gm_special_kind kind, union gm_callback fn, uintptr_t arg,
                                   int *error, size_t *more) {
    uint64_t id = 0;
    gm_sync_lock(&sp->lock);
    gm_special_grow_locked(sp);
    uint32_t old = kind == GM_SPECIAL_CLEANUP ? 0 : gm_special_find_locked(sp, object, kind);
    uint32_t n = old || !sp->table ? old : gm_special_new_locked(sp);
    if (n && !old) {
        struct gm_callback_record *c = gm_special_callback(sp, n - 1);
        c->fn = fn;
        gm_store_rlx(&c->arg, arg); // atomic: a thread with an old number may read it as a count
        gm_special_link_locked(sp, n - 1, object);
        // pairs with gm_special_weak_get and gm_special_count: the callback is written
        gm_store_rel(&gm_special_record(sp, n - 1)->word, object | kind);
        gm_store_rlx(&sp->used, sp->used + 1);
        *more = gm_special_held(sp) > sp->most ? GM_SPECIAL_COST : 0;
        if (*more) sp->most = gm_special_held(sp);
    }
    *error = old ? EEXIST : ENOMEM;
    if (n && (!old || kind == GM_SPECIAL_WEAK))
        id = gm_special_id(gm_special_record(sp, n - 1), n - 1);
    gm_sync_unlock(&sp->lock);
    return id;
}

// Returns the number of the record with a handle; UINT32_MAX: the handle is {0} or no longer valid.
// Needs no lock; without it, the result may be stale at once.
GM_PRIVATE uint32_t gm_special_number(const struct gm_special *sp, uint64_t id) {
    uint32_t n = (uint32_t)id - 1;
    if (!(uint32_t)id || n >= gm_load_rlx(&sp->made)) return UINT32_MAX; // rlx: handles come later
    return gm_load_rlx(&gm_special_record(sp, n)->generation) == id >> 32 ? n : UINT32_MAX;
}

// ---- callbacks that are ready ----

// Prepares a record for the queue: its callback will run. The record is in no list yet. It leaves
// its object, which can get another one; only a count stays, because it is still read and changed.
GM_PRIVATE void gm_special_detach_locked(struct gm_special *sp, uint32_t n) {
    struct gm_record *r = gm_special_record(sp, n);
    struct gm_callback_record *c = gm_special_callback(sp, n);
    unsigned kind = gm_special_kind_of(r);
    if (kind != GM_SPECIAL_CLEANUP) c->self = gm_special_object(r);
    if (kind != GM_SPECIAL_COUNT) {
        gm_special_unlink_locked(sp, n);
        gm_store_rlx(&r->word, (uintptr_t)kind); // same generation: a cleanup can be cancelled
    }
    c->state = GM_SPECIAL_LISTED;
}

// Appends a list of n records to the queue. Takes READY.
GM_PRIVATE void gm_special_queue_locked(struct gm_special *sp, const struct gm_special_list *list,
                                        uint32_t n) {
    if (!n) return;
    gm_sync_lock(&sp->queue);
    if (sp->ready.last) gm_special_callback(sp, sp->ready.last - 1)->link = list->first;
    else sp->ready.first = list->first;
    sp->ready.last = list->last;
    gm_store_rlx(&sp->count, sp->count + n); // unlocked readers check again under the lock
    gm_sync_unlock(&sp->queue);
}

// Queues the callback of a record that is in no list.
GM_PRIVATE void gm_special_ready_locked(struct gm_special *sp, uint32_t n) {
    struct gm_special_list one = {0, 0};
    gm_special_detach_locked(sp, n);
    gm_special_push(sp, &one, n);
    gm_special_queue_locked(sp, &one, 1);
}

// Begins the drop of a count that was first in the queue. Fills in *turn. False: the object was
// freed meanwhile, and so is the record now. Takes SPECIAL.
GM_PRIVATE bool gm_special_pop_count(struct gm_special *sp, uint32_t n,
                                     struct gm_ready_callback *turn) {
    gm_sync_lock(&sp->lock);
    struct gm_callback_record *c = gm_special_callback(sp, n);
    bool found = c->fn.cleanup != NULL;
    *turn = (struct gm_ready_callback){
        c->fn, c->self, 0, gm_special_id(gm_special_record(sp, n), n), GM_SPECIAL_COUNT};
    c->state = GM_SPECIAL_DROPPING;
    c->self = 0;
    if (!found) gm_special_free_locked(sp, n);
    gm_sync_unlock(&sp->lock);
    return found;
}

// Takes the next callback from the queue. It takes READY only (counts: SPECIAL too), so that other
// threads can register callbacks meanwhile. False: none is ready.
GM_PRIVATE bool gm_special_pop(struct gm_special *sp, struct gm_ready_callback *turn) {
    bool found = false;
    while (!found && gm_load_rlx(&sp->count)) { // rlx: a cycle that adds some wakes the thread
        uint32_t n = 0;
        gm_sync_lock(&sp->queue);
        while (!found && (n = sp->ready.first) != 0) {
            struct gm_record *r = gm_special_record(sp, n - 1);
            struct gm_callback_record *c = gm_special_callback(sp, n - 1);
            gm_special_drop_first(sp, &sp->ready);
            gm_store_rlx(&sp->count, sp->count - 1); // unlocked readers check under the lock
            found = c->fn.cleanup != NULL;           // a cancelled callback is NULL
            *turn = (struct gm_ready_callback){c->fn, c->self, c->arg, 0,
                                               (enum gm_special_kind)gm_special_kind_of(r)};
            if (found && turn->kind == GM_SPECIAL_COUNT) break; // stays LISTED until it begins
            gm_special_void(r, c);
            gm_special_push(sp, &sp->gone, n - 1);
            gm_store_rlx(&sp->gone_count, sp->gone_count + 1); // read for pacing: may lag
        }
        gm_sync_unlock(&sp->queue);
        if (found && turn->kind == GM_SPECIAL_COUNT) found = gm_special_pop_count(sp, n - 1, turn);
    }
    return found;
}

// Cancels a cleanup that is ready, unless it has been taken meanwhile. Takes READY.
GM_PRIVATE void gm_special_withdraw_locked(struct gm_special *sp, uint32_t n, uint64_t id) {
    struct gm_record *r = gm_special_record(sp, n);
    gm_sync_lock(&sp->queue);
    if (gm_load_rlx(&r->generation) == id >> 32) gm_special_void(r, gm_special_callback(sp, n));
    gm_sync_unlock(&sp->queue);
}

// Cancels a cleanup, unless its call has begun. Takes SPECIAL.
GM_PRIVATE void gm_special_cancel(struct gm_special *sp, uint64_t id) {
    gm_sync_lock(&sp->lock);
    uint32_t n = gm_special_number(sp, id);
    const struct gm_record *r = n == UINT32_MAX ? NULL : gm_special_record(sp, n);
    if (r && gm_special_kind_of(r) == GM_SPECIAL_CLEANUP) {
        if (gm_special_object(r)) gm_special_remove_locked(sp, n);
        else gm_special_withdraw_locked(sp, n, id);
    }
    gm_sync_unlock(&sp->lock);
}

// ---- records of objects that are changed, freed or moved; all take SPECIAL ----

// Removes the record of a kind from an object, which stays alive.
GM_PRIVATE void gm_special_drop(struct gm_special *sp, uintptr_t object,
                                enum gm_special_kind kind) {
    gm_sync_lock(&sp->lock);
    uint32_t n = gm_special_find_locked(sp, object, kind);
    if (n) gm_special_remove_locked(sp, n - 1);
    gm_sync_unlock(&sp->lock);
}

// Copies the callback of an object's record of a kind to *call. False: it has none.
GM_PRIVATE bool gm_special_tell(struct gm_special *sp, uintptr_t object, enum gm_special_kind kind,
                                struct gm_callback_record *call) {
    gm_sync_lock(&sp->lock);
    uint32_t n = gm_special_find_locked(sp, object, kind);
    if (n) *call = *gm_special_callback(sp, n - 1);
    gm_sync_unlock(&sp->lock);
    return n != 0;
}

// Called before an object is freed by hand (X4): its weak pointer becomes NULL, its finalizer and
// count are removed, its cleanups become ready.
GM_PRIVATE void gm_special_forget(struct gm_special *sp, uintptr_t object) {
    gm_sync_lock(&sp->lock);
    for (uint32_t n; (n = gm_special_find_locked(sp, object, 0)) != 0;) {
        bool cleanup = gm_special_kind_of(gm_special_record(sp, n - 1)) == GM_SPECIAL_CLEANUP;
        if (cleanup && gm_special_callback(sp, n - 1)->state == GM_SPECIAL_IDLE)
            gm_special_ready_locked(sp, n - 1);
        else gm_special_remove_locked(sp, n - 1);
    }
    gm_sync_unlock(&sp->lock);
}

// Called when an object has moved (X4): its records name the new address. Handles stay valid.
GM_PRIVATE void gm_special_move(struct gm_special *sp, uintptr_t from, uintptr_t to) {
    gm_sync_lock(&sp->lock);
    for (uint32_t n; (n = gm_special_find_locked(sp, from, 0)) != 0;) {
        struct gm_record *r = gm_special_record(sp, n - 1);
        gm_special_unlink_locked(sp, n - 1);
        gm_store_rel(&r->word, to | gm_special_kind_of(r)); // pairs with gm_special_weak_get
        gm_special_link_locked(sp, n - 1, to);
    }
    gm_sync_unlock(&sp->lock);
}

// ---- weak pointers ----

// Returns the object of a weak handle, or 0. The caller is in a section, so no flip happens before
// it holds the object. The word is loaded between two loads of the generation, because the record
// may be reused for another object meanwhile.
GM_PRIVATE uintptr_t gm_special_weak_get(const struct gm_special *sp, uint64_t id) {
    uint32_t n = gm_special_number(sp, id);
    if (n == UINT32_MAX) return 0;
    const struct gm_record *r = gm_special_record(sp, n);
    // pairs with gm_special_add, gm_special_void and gm_special_move: the generation comes first
    uintptr_t word = gm_load_acq(&r->word);
    if ((word & GM_SPECIAL_KIND) != GM_SPECIAL_WEAK) return 0;
    if (gm_load_rlx(&r->generation) != id >> 32) return 0; // rlx: ordered by the load of word
    return word - GM_SPECIAL_WEAK;
}

// ---- counts ----

// Finds the callback record whose arg is the object's count, without a lock. NULL: it was not
// found. A chain that changes meanwhile can hide it, so the caller tries gm_special_count_slow
// then.
GM_ALWAYS struct gm_callback_record *gm_special_count(const struct gm_special *sp,
                                                      uintptr_t object) {
    const struct gm_special_table *table = gm_load_acq(&sp->table); // pairs with grow
    if (GOMEM_I_UNLIKELY(!table)) return NULL;
    // pairs with link and unlink: the record of that number is there
    uint32_t n = gm_load_acq(&table->bucket[gm_special_hash(object) & table->mask]);
    for (unsigned i = 0; n && i < 16; i++) {
        const struct gm_record *r = gm_special_record(sp, n - 1);
        // pairs with gm_special_add: the callback record is the object's
        if (GOMEM_I_LIKELY(gm_load_acq(&r->word) == (object | GM_SPECIAL_COUNT)))
            return gm_special_callback(sp, n - 1);
        n = gm_load_acq(&r->next); // pairs with link, unlink and free: the record is complete
    }
    return NULL;
}

// The same under the lock. NULL: the object is not counted.
GM_PRIVATE struct gm_callback_record *gm_special_count_slow(struct gm_special *sp,
                                                            uintptr_t object) {
    gm_sync_lock(&sp->lock);
    uint32_t n = gm_special_find_locked(sp, object, GM_SPECIAL_COUNT);
    gm_sync_unlock(&sp->lock);
    return n ? gm_special_callback(sp, n - 1) : NULL;
}

// Called when a count has become zero. True: the caller calls *turn and then gm_special_end_drop.
// False: the count has risen again, or a drop is running or queued. Takes SPECIAL.
GM_PRIVATE bool gm_special_begin_drop(struct gm_special *sp, uintptr_t object,
                                      struct gm_ready_callback *turn) {
    gm_sync_lock(&sp->lock);
    uint32_t n = gm_special_find_locked(sp, object, GM_SPECIAL_COUNT);
    struct gm_callback_record *c = n ? gm_special_callback(sp, n - 1) : NULL;
    bool mine = c && !gm_load_rlx(&c->arg) && c->state == GM_SPECIAL_IDLE;
    if (mine) {
        c->state = GM_SPECIAL_DROPPING;
        *turn = (struct gm_ready_callback){
            c->fn, object, 0, gm_special_id(gm_special_record(sp, n - 1), n - 1), GM_SPECIAL_COUNT};
    }
    gm_sync_unlock(&sp->lock);
    return mine;
}

// Called when a drop has returned; it never runs again. True: the count is still zero and there was
// no weak pointer from which a thread may have got the object, so the caller may free it. *object
// is its address now. Takes SPECIAL.
GM_PRIVATE bool gm_special_end_drop(struct gm_special *sp, uint64_t id, uintptr_t *object) {
    bool gone = false;
    gm_sync_lock(&sp->lock);
    uint32_t n = gm_special_number(sp, id); // none: the drop has freed the object
    struct gm_callback_record *c = n == UINT32_MAX ? NULL : gm_special_callback(sp, n);
    if (c) {
        c->state = GM_SPECIAL_IDLE;
        c->fn.cleanup = NULL;
        *object = gm_special_object(gm_special_record(sp, n));
        gone = !gm_load_rlx(&c->arg); // a thread that counts to zero later waits for the lock
        // A weak pointer could have handed the object to a thread: then it is not freed here.
        uint32_t weak = gone ? gm_special_find_locked(sp, *object, GM_SPECIAL_WEAK) : 0;
        if (gone) gm_special_remove_locked(sp, n);
        if (weak) gm_special_remove_locked(sp, weak - 1);
        gone = gone && !weak;
    }
    gm_sync_unlock(&sp->lock);
    return gone;
}

// ---- decisions of a cycle ----

struct gm_unreached {                  // records of unreached objects, found by the walk
    struct gm_special_list finalizers; // finalizers, and counts whose drop has not run
    struct gm_special_list cleanups;   // cleanups, and counts
};

// Tests, between marking and the flip, whether an object is reached. Objects of kinds without mark
// bits always are.
GM_INLINE bool gm_special_reached(const struct gm_pages *p, uintptr_t object) {
    if (gm_load_rlx(&gm_span_color(p, object)->mark) & gm_span_bit(p, object)) return true;
    return !GM_IN(GM_SET_COLLECTED, gm_pages_desc(p, (object - p->base) >> GM_PAGE_SHIFT) & 7);
}

// Handles a record whose object was not reached: clears a weak pointer, puts other records in one
// of the lists of *v.
GM_PRIVATE void gm_special_classify_locked(struct gm_special *sp, struct gm_unreached *v,
                                           uint32_t n) {
    unsigned kind = gm_special_kind_of(gm_special_record(sp, n));
    const struct gm_callback_record *c = gm_special_callback(sp, n);
    bool drops = kind == GM_SPECIAL_COUNT && c->fn.cleanup;
    bool lost = c->state == GM_SPECIAL_DROPPING; // unreached: its drop will never return
    if (c->state == GM_SPECIAL_LISTED) return;   // already in the queue
    if (lost || kind == GM_SPECIAL_WEAK) gm_special_remove_locked(sp, n);
    else {
        gm_special_callback(sp, n)->state = GM_SPECIAL_LISTED;
        gm_special_push(sp, kind == GM_SPECIAL_FINALIZER || drops ? &v->finalizers : &v->cleanups,
                        n);
    }
}

// Examines up to GM_SPECIAL_STEP records from *at on: clears weak pointers to unreached objects,
// and lists their other records in *v. False: there are no more records. The lock is held for one
// step only, so that other threads wait for microseconds.
GM_HOT GM_PRIVATE bool gm_special_walk(struct gm_special *sp, const struct gm_pages *p,
                                       uint32_t *at, struct gm_unreached *v) {
    gm_sync_lock(&sp->lock);
    uint32_t end = GM_MIN(sp->made, *at + GM_SPECIAL_STEP);
    while (*at < end) {
        // Within a part the records are contiguous, so the inner loop is one pass over an array.
        unsigned part = gm_special_part(*at);
        uint32_t base = gm_special_base(part), stop = GM_MIN(end, gm_special_base(part + 1));
        const struct gm_record *records = sp->records[part];
        for (; *at < stop; ++*at) {
            uintptr_t object = gm_special_object(&records[*at - base]);
            if (object && GOMEM_I_UNLIKELY(!gm_special_reached(p, object)))
                gm_special_classify_locked(sp, v, *at);
        }
    }
    bool more = end < sp->made;
    gm_sync_unlock(&sp->lock);
    return more;
}

// Removes up to GM_SPECIAL_STEP records from the front of a list and decides about them. With
// `all`, their callbacks become ready; the caller has marked their objects. Without it, cleanups of
// objects that are still unreached become ready, and other records of such objects (counts without
// a drop) are removed. Records of objects reached meanwhile stay. False: the list is empty.
GM_HOT GM_PRIVATE bool gm_special_conclude(struct gm_special *sp, const struct gm_pages *p,
                                           struct gm_special_list *list, bool all) {
    struct gm_special_list ready = {0, 0};
    uint32_t count = 0;
    gm_sync_lock(&sp->lock);
    for (unsigned i = 0; i < GM_SPECIAL_STEP && list->first; i++) {
        uint32_t n = list->first - 1;
        struct gm_record *r = gm_special_record(sp, n);
        uintptr_t object = gm_special_object(r);
        gm_special_drop_first(sp, list);
        gm_special_callback(sp, n)->state = GM_SPECIAL_IDLE;
        // Three outcomes: free a detached record, queue the callback, or remove or keep the record.
        bool dead = object && !all && !gm_special_reached(p, object);
        if (!object) gm_special_free_locked(sp, n); // detached from its object meanwhile
        else if (all || (dead && gm_special_kind_of(r) == GM_SPECIAL_CLEANUP)) {
            gm_special_detach_locked(sp, n);
            gm_special_push(sp, &ready, n);
            count++;
        } else if (dead) gm_special_remove_locked(sp, n);
    }
    gm_special_queue_locked(sp, &ready, count);
    gm_sync_unlock(&sp->lock);
    return list->first != 0;
}

// Returns the bytes of all records at the end of a cycle. Adds to *kept those of callbacks that
// wait to run.
GM_PRIVATE size_t gm_special_bytes_stopped(struct gm_special *sp, size_t *kept) {
    sp->most = gm_special_held(sp);
    *kept += (sp->used - sp->most) * GM_SPECIAL_COST;
    return sp->used * GM_SPECIAL_COST;
}

// Returns the callback records of a part as a range of roots: they hold arguments, and objects
// whose callback is ready. 0, with *end 0, if the part has none. The threads are stopped, outside
// of sections, so no record is half written.
GM_PRIVATE uintptr_t gm_special_roots(const struct gm_special *sp, unsigned part, uintptr_t *end) {
    uint32_t made = gm_load_rlx(&sp->made), base = gm_special_base(part);
    uint32_t n = made > base ? GM_MIN(made - base, (uint32_t)GM_SPECIAL_FIRST << part) : 0;
    *end = (uintptr_t)(n ? sp->callbacks[part] + n : NULL);
    return (uintptr_t)(n ? sp->callbacks[part] : NULL);
}

// Frees all records after a shutdown, when no object is left, and invalidates all handles.
GM_PRIVATE void gm_special_reset(struct gm_special *sp) {
    sp->free = sp->used = sp->most = sp->count = sp->gone_count = 0;
    sp->ready = sp->gone = (struct gm_special_list){0, 0};
    if (sp->table) memset(sp->table->bucket, 0, (size_t)(sp->table->mask + 1) * sizeof(uint32_t));
    for (uint32_t n = sp->made; n-- > 0;) {
        struct gm_record *r = gm_special_record(sp, n);
        memset(gm_special_callback(sp, n), 0, sizeof(struct gm_callback_record));
        *r = (struct gm_record){0, r->generation + 1, sp->free};
        sp->free = n + 1;
    }
}

// Checks X1, and that each record is free or used, and the queue's counts. Returns what is broken,
// or NULL; *where: the object concerned, or 0.
GM_PRIVATE const char *gm_special_verify_stopped(const struct gm_special *sp,
                                                 const struct gm_pages *p, uintptr_t *where) {
    uint32_t free = 0, ready = 0, gone = 0;
    for (uint32_t n = sp->free; n; n = gm_special_record(sp, n - 1)->next) free++;
    for (uint32_t n = sp->gone.first; n; n = gm_special_callback(sp, n - 1)->link) gone++;
    for (uint32_t n = sp->ready.first; n; n = gm_special_callback(sp, n - 1)->link) ready++;
    if (free + sp->used != sp->made) return "special: the count of used records is wrong";
    if (ready != sp->count || gone != sp->gone_count)
        return "special: the count of ready or gone callbacks is wrong (X3)";
    for (uint32_t n = 0; n < sp->made; n++) { // X1
        uintptr_t object = gm_special_object(gm_special_record(sp, n));
        if (!object) continue;
        const struct gm_span *s = gm_span_find(p, object);
        *where = object;
        if (!s || !s->special || gm_span_slot(p, s, gm_span_index(p, s, object)) != object)
            return "special: a record's object is none, or its span does not know (X1)";
        uint32_t at = gm_special_find_locked(sp, object, 0);
        while (at && at != n + 1)
            at = gm_special_next_locked(sp, gm_special_record(sp, at - 1)->next, object, 0);
        if (!at) return "special: a record is not in its object's bucket (X1)";
    }
    *where = 0;
    return NULL;
}

#endif // GOMEM_I_COLLECTOR

/* ==========================================================================================
 * >>guard   proof of misuse                                                        floor 3
 * ==========================================================================================
 * OWNS        struct gm_guard: the hooks for messages, poison
 * CALLS       base os pages span
 * INVARIANTS  G1  misuse is proven from descriptors and bitmaps before it is reported; the object's
 *                 memory is not read
 *             G2  callbacks of the program run outside library sections
 *             G3  in a watched heap every mapped byte is marked as not accessible, except those
 *                 that the program has requested and not freed. The library accesses other bytes
 *                 only in functions that are not instrumented, or marks them as accessible first
 * WHY         One line says what is wrong, with which pointer and object, and what to do. A user
 *             who reads it should not need a second one.
 *             AddressSanitizer and valgrind observe accesses, which the library cannot. So a heap
 *             that one of them watches has a margin of 16 bytes after each object, which is also
 *             the margin before the next one, and reuses a freed manual object only after 16 MiB of
 *             others were freed. The margin stores how many bytes were requested.
 */
struct gm_guard {
    void (*warn)(const char *line, void *user);  // NULL: GOMEM_LOG. atomic: rel/acq
    void (*panic)(const char *line, void *user); // NULL: GOMEM_PANIC. atomic: rel/acq
    void *user;                                  // set before the hooks. atomic: rlx
    bool poison;                                 // freed memory is filled with GM_POISON
    bool watched;                                // valgrind runs this process (check level 1)
};
enum { GM_POISON = 0xdb };

// Passes a line to the program's hook or to GOMEM_LOG. Outside sections (G2).
GM_RARE GM_PRIVATE void gm_guard_warn(const struct gm_guard *g, const char *line) {
    void (*warn)(const char *line, void *user) = gm_load_acq(&g->warn); // pairs with gomem_init
    if (warn) warn(line, gm_load_rlx(&g->user));
    else GOMEM_LOG(line);
}

// Reports proven misuse by the program's hook or by GOMEM_PANIC. A hook may return.
GM_RARE GM_PRIVATE void gm_guard_panic(const struct gm_guard *g, const char *line) {
    void (*panic)(const char *line, void *user) = gm_load_acq(&g->panic); // pairs with gomem_init
    if (panic) panic(line, gm_load_rlx(&g->user));
    else GOMEM_PANIC(line);
}

GM_PRIVATE const char *const gm_guard_kinds[GM_KINDS] = {
    "free", "manual", "noscan", "scanned", "typed", "uncollectable", "uncollectable noscan"};

// ---- AddressSanitizer and valgrind ----

// Mark bytes of pools and arenas as not accessible, and as accessible.
GM_PRIVATE void gm_guard_forbid(const void *from, size_t size, bool scanned) {
    gm_os_forbid((uintptr_t)from, size, scanned, GM_SHADE_IDLE);
}
GM_PRIVATE void gm_guard_allow(const void *from, size_t size) {
    gm_os_allow((uintptr_t)from, size);
}

enum { GM_MARGIN = 16 }; // bytes at the end of a watched slot: {next in a list, bytes requested}
#define GM_MARGIN_FREED UINTPTR_MAX // as the bytes requested: a freed manual object

// Tests whether objects have margins: under AddressSanitizer, and from check level 1 on under
// valgrind.
GM_ALWAYS bool gm_guard_watched(const struct gm_guard *g) {
    return GM_ASAN || (GOMEM_I_CHECK && g->watched);
}

// The address of word 0 or 1 of an object's margin.
GM_INLINE uintptr_t gm_guard_at(const struct gm_span *s, uintptr_t object, unsigned word) {
    return object + gm_span_slot_size(s) - GM_MARGIN + word * 8u;
}

// Read and write a word of a margin, which is marked as not accessible (G3).
GM_NO_SANITIZE GM_PRIVATE uintptr_t gm_guard_read(const struct gm_span *s, uintptr_t object,
                                                  unsigned word) {
    uintptr_t at = gm_guard_at(s, object, word);
    if (!GM_ASAN) gm_os_allow(at, GM_WORD);
    uintptr_t value = *(const volatile uintptr_t *)at;
    if (!GM_ASAN) gm_os_forbid(at, GM_WORD, GM_IN(GM_SET_SCANNED, s->kind), GM_SHADE_BEYOND);
    return value;
}
GM_NO_SANITIZE GM_PRIVATE void gm_guard_write(const struct gm_span *s, uintptr_t object,
                                              unsigned word, uintptr_t value) {
    uintptr_t at = gm_guard_at(s, object, word);
    if (!GM_ASAN) gm_os_allow(at, GM_WORD);
    *(volatile uintptr_t *)at = value;
    if (!GM_ASAN) gm_os_forbid(at, GM_WORD, GM_IN(GM_SET_SCANNED, s->kind), GM_SHADE_BEYOND);
}

// Gives an object of a watched heap to the program: exactly `size` bytes (1 for 0) become
// accessible.
GM_PRIVATE void gm_guard_hand_out(const struct gm_span *s, uintptr_t object, size_t size) {
    size += !size;
    gm_os_allow(object, size);
    gm_os_forbid(object + size, gm_span_slot_size(s) - size, GM_IN(GM_SET_SCANNED, s->kind),
                 GM_SHADE_BEYOND);
    gm_guard_write(s, object, 1, size);
}

// The opposite, when it was freed or swept.
GM_PRIVATE void gm_guard_take_back(const struct gm_span *s, uintptr_t object) {
    gm_os_forbid(object, gm_span_slot_size(s), GM_IN(GM_SET_SCANNED, s->kind), GM_SHADE_FREED);
}

// Tests, in a watched heap, whether this is a freed manual object. Always false in other heaps.
GM_PRIVATE bool gm_guard_freed(const struct gm_guard *g, const struct gm_span *s,
                               uintptr_t object) {
    return gm_guard_watched(g) && s->kind == GM_MANUAL && s->use == GM_USE_OBJECT &&
           gm_guard_read(s, object, 1) == GM_MARGIN_FREED;
}

// Returns how many bytes of an object the program may use; 0 if its margin was overwritten.
GM_PRIVATE size_t gm_guard_size(const struct gm_guard *g, const struct gm_span *s,
                                uintptr_t object) {
    if (GOMEM_I_LIKELY(!gm_guard_watched(g)) || s->use != GM_USE_OBJECT)
        return gm_span_slot_size(s);
    size_t size = gm_guard_read(s, object, 1);
    return size <= gm_span_slot_size(s) - GM_MARGIN ? size : 0;
}

// ---- misuse ----

// "8 bytes into a 64-byte manual object at 0x… (class 6, slot 3 of 256)"
GM_PRIVATE void gm_guard_describe_object(struct gm_text *t, const struct gm_pages *p,
                                         const struct gm_span *s, uintptr_t word) {
    uint32_t index = gm_span_index(p, s, word);
    uintptr_t slot = gm_span_slot(p, s, index);
    size_t size = GM_ASAN && index < s->count ? gm_guard_read(s, slot, 1) : 0; // bytes requested
    if (!size || size > gm_span_slot_size(s)) size = gm_span_slot_size(s);
    if (index >= s->count) gm_text_format(t, "in the tail of a span of ");
    else if (word != slot) gm_text_format(t, "%zu bytes into ", word - slot);
    gm_text_format(t, "a %zu-byte %s object at 0x%zx", size, gm_guard_kinds[s->kind], slot);
    if (!s->class) gm_text_format(t, " (large)");
    else gm_text_format(t, " (class %u, slot %u of %u)", s->class, index, s->count);
}

// "0x… is 8 bytes into a 64-byte manual object at 0x… (class 6, slot 3 of 256)"
GM_RARE GM_PRIVATE struct gm_text gm_guard_describe(const struct gm_pages *p, uintptr_t word) {
    struct gm_text t = gm_text_make("0x%zx is ", word);
    const struct gm_span *s = gm_span_find(p, word);
    if (!s)
        gm_text_format(&t,
                       gm_pages_holds(p, word) ? "in a free page of the heap" : "not in the heap");
    else if (s->kind >= GM_KINDS || s->class > GOMEM_CLASSES)
        gm_text_format(&t, "in a span whose record is damaged");
    else if (s->use != GM_USE_OBJECT)
        gm_text_format(&t, "%zu bytes into a %s at 0x%zx", word - gm_span_start(p, s),
                       s->use == GM_USE_POOL ? "slab of a pool" : "block of an arena",
                       gm_span_start(p, s));
    else gm_guard_describe_object(&t, p, s, word);
    return t;
}

// Under AddressSanitizer, logs the line and makes a report about the pointer, which shows where it
// was misused and ends the process as a panic would. Does nothing if the program has its own panic
// hook, which is then called instead.
GM_COLD GM_PRIVATE void gm_guard_show(const struct gm_guard *g, const char *line,
                                      uintptr_t pointer) {
    void *frame = __builtin_frame_address(0);
    if (!GM_ASAN || !GM_OWN_PANIC || gm_load_rlx(&g->panic)) return; // rlx: it is not called here
    if (!pointer || !__asan_address_is_poisoned((void *)pointer)) return;
    GOMEM_LOG(line);
    __asan_report_error(__builtin_return_address(0), frame, frame, (void *)pointer, 0, 1);
}

// Reports misuse of a pointer (NULL: none), with the name of the pool or arena concerned (NULL:
// none). Returns only if the panic hook does. The caller is in no section (G2).
GM_COLD GM_PRIVATE void gm_guard_misuse_of(const struct gm_guard *g, const struct gm_pages *p,
                                           enum gm_message message, const void *pointer,
                                           const char *name) {
    struct gm_text t = gm_text_message(message, "%s%s%s%s%s", pointer ? ": " : "",
                                       pointer ? gm_guard_describe(p, (uintptr_t)pointer).data : "",
                                       name ? ", called with \"" : "", name ? name : "",
                                       name ? "\"" : "");
    gm_guard_show(g, t.data, (uintptr_t)pointer);
    gm_guard_panic(g, t.data);
}
GM_COLD GM_PRIVATE void gm_guard_misuse(const struct gm_guard *g, const struct gm_pages *p,
                                        enum gm_message message, const void *pointer) {
    gm_guard_misuse_of(g, p, message, pointer, NULL);
}

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>pacer   when to collect: pure arithmetic                                       floor 4
 * ==========================================================================================
 * OWNS        struct gm_pacer
 * CALLS       base
 * INVARIANTS  A1  goal = live + (live + stacks + globals) x percent / 100, at least 4 MiB x percent
 *                 / 100
 *             A2  with a stopping collector the trigger is the goal. With a concurrent one it is
 *                 below the goal by the runway: the bytes that were allocated from the trigger to
 *                 the end of the last cycles, more if the heap grows. It is at least 0.25 and at
 *                 most 0.95 of the way from live to the goal
 *             A3  with a memory limit the goal is what the limit leaves next to all other memory.
 *                 But the heap may always grow by what the program allocates in as much time as the
 *                 last cycle took, up to half of what lives. So under a limit below what lives,
 *                 collection takes half of the time, or costs twice what it does at 100 percent,
 *                 but not all of the time. A limit that fits twice the live heap is kept, even if a
 *                 third of what was marked is dead by then
 *             A4  if a cycle is late, threads pay by the byte. For 4 KiB past the goal a thread
 *                 marks for 2 to 20 us; past the hard goal (1.1 x the goal) for 60 us, doubled for
 *                 each further quarter of the distance between the two. Large objects pay 2 us from
 *                 the trigger on. They count in the runway (A2) with at most three tenths of the
 *                 way to the goal, because they can wait, and because objects allocated during a
 *                 cycle mostly outlive it
 *             A5  objects that only wait for their finalizer do not count as live in A1; their
 *                 bytes are added to the goal instead. Otherwise each cycle that finalizes would
 *                 double the next one's heap: a million short-lived files took 80 MB instead of 15
 * WHY         This is Go's formula. Marking costs in proportion to what lives, roots included, and
 *             the program may allocate in proportion to it between cycles, so collection takes a
 *             fixed share of the time for heaps of any size.
 */
struct gm_pacer {
    int percent;          // growth between cycles; GOMEM_GC_OFF: no cycles. atomic: rlx
    size_t live;          // bytes that the last cycle marked. atomic: rlx
    size_t kept;          // part of live that only waits for its callbacks (A5). stw; read rlx
    size_t roots;         // bytes of stacks and globals that it scanned. atomic: rlx
    size_t goal, trigger; // bytes of heap. atomic: rlx
    size_t runway;        // bytes (A2), smoothed; 0: the collector stops the world. atomic: rlx
    size_t heavy;         // bytes of large objects allocated in the last cycle. atomic: rlx
    size_t limit;         // bytes of memory in all, 0: no limit. atomic: rlx
    size_t other;         // bytes of memory that are not collected heap. atomic: rlx
    size_t least;         // growth that is always allowed (A3). atomic: rlx
    size_t held;          // gomem_gc_hold has no effect above this: the limit's goal. atomic: rlx
};
#define GM_PACER_LEAST (4 * GM_MIB)
enum { GM_DEBT_UNIT = 4096, GM_DEBT_LEAST = 2000, GM_DEBT = 20000, GM_DEBT_HARD = 60000 }; // ns

// The goal without a limit (A1); SIZE_MAX: no cycles.
GM_PRIVATE size_t gm_pacer_goal(size_t live, size_t roots, int percent) {
    if (percent < 0) return SIZE_MAX;
    double growth = (double)(live + roots) * percent / 100; // A1
    size_t least = (size_t)((double)GM_PACER_LEAST * percent / 100);
    if (growth >= (double)(SIZE_MAX / 2)) return SIZE_MAX;
    return GM_MAX(live + (size_t)growth, least);
}

// The goal that the memory limit sets (A3); SIZE_MAX: no limit. 1/32 of the limit is kept for free
// space between objects.
GM_PRIVATE size_t gm_pacer_limit_goal(const struct gm_pacer *p, size_t live) {
    size_t limit = gm_load_rlx(&p->limit), other = gm_load_rlx(&p->other) + limit / 32;
    if (!limit) return SIZE_MAX;
    size_t least = GM_MIN(gm_load_rlx(&p->least), GM_MAX(live / 2, (size_t)GM_PACER_LEAST));
    return GM_MAX(limit > other ? limit - other : 0, live + least); // A3
}

// The hard goal: above it, large allocations wait for the cycle, and others pay much (A4).
GM_PRIVATE size_t gm_pacer_hard(size_t goal) {
    size_t slack = goal / 10 + GM_MIB;
    return goal < SIZE_MAX - slack ? goal + slack : SIZE_MAX;
}

// Returns the ns of marking that a thread owes for `bytes`, which are already part of `live`, while
// a cycle runs (A4): the lowest rate per 4 KiB, and a higher one for the bytes past the goal.
GM_PRIVATE uint64_t gm_pacer_debt(size_t goal, size_t live, size_t bytes) {
    uint64_t slack = gm_pacer_hard(goal) - goal, over = live > goal ? live - goal : 0;
    uint64_t units = GM_MAX(bytes / GM_DEBT_UNIT, (size_t)1), rate = GM_DEBT * (over / 1024);
    uint64_t past = GM_MIN((over + GM_DEBT_UNIT - 1) / GM_DEBT_UNIT, units);
    if (over <= slack) rate /= slack / 1024;
    else rate = (uint64_t)GM_DEBT_HARD << GM_MIN((over - slack) / (slack / 4), (uint64_t)6);
    rate = GM_MAX(rate, (uint64_t)GM_DEBT_LEAST);
    return GM_DEBT_LEAST * (units - past) + rate * past;
}

// Returns how many bytes may be allocated before the next cycle so that collection takes at most
// half of the time: the rate of `allocated` bytes in `elapsed` ns, times the `worked` ns of the
// cycle.
GM_PRIVATE size_t gm_pacer_growth(size_t allocated, uint64_t elapsed, uint64_t worked) {
    double growth = elapsed ? (double)allocated / (double)elapsed * (double)worked : 0;
    return GM_MAX(growth < (double)(SIZE_MAX / 4) ? (size_t)growth : SIZE_MAX / 4, (size_t)GM_MIB);
}

// Returns the heap size at which a cycle must begin to end at the goal (A2).
GM_PRIVATE size_t gm_pacer_trigger(size_t live, size_t goal, size_t runway) {
    if (!runway || goal <= live || goal == SIZE_MAX) return goal;
    size_t way = goal - live, least = live + way / 4, most = live + way / 20 * 19;
    return GM_MIN(GM_MAX(goal - GM_MIN(runway, way), least), most);
}

// Updates the runway at the end of a concurrent cycle that marked `live` bytes. Since the trigger,
// `allocated` bytes were allocated, and `heavy` bytes for large objects. If the heap has grown, the
// next cycle is assumed to take longer in proportion.
GM_PRIVATE void gm_pacer_learn(struct gm_pacer *p, size_t allocated, size_t heavy, size_t live) {
    size_t before = gm_load_rlx(&p->live), old = gm_load_rlx(&p->runway);
    double grown = live > before && before ? (double)live / (double)before : 1;
    size_t now = (size_t)((double)allocated * 1.25 * GM_MIN(grown, 2.0)) + GM_KIB;
    gm_store_rlx(&p->runway, now >= old ? now : old - (old - now) / 4); // rises fast, falls slowly
    gm_store_rlx(&p->heavy, heavy);
}

// Called in a fork's child, which has dropped a running or due cycle. The next one comes after a
// quarter of the growth that the goal allows, so that a child that allocates little does not
// collect.
GM_PRIVATE void gm_pacer_defer(struct gm_pacer *p, size_t live) {
    size_t goal = gm_load_rlx(&p->goal), old = gm_load_rlx(&p->live); // the child has one thread
    if (goal == SIZE_MAX) return;
    size_t way = GM_MAX(goal > old ? (goal - old) / 4 : 0, (size_t)GM_MIB);
    gm_store_rlx(&p->trigger, GM_MAX(gm_load_rlx(&p->trigger), live + way));
}

// Computes goal and trigger anew, after a cycle or a change of settings. Both may call
// concurrently, and the values then may not fit together; the end of the next cycle corrects that.
GM_PRIVATE void gm_pacer_set(struct gm_pacer *p, size_t live, size_t roots) {
    size_t kept = GM_MIN(gm_load_rlx(&p->kept), live);
    size_t goal = gm_pacer_goal(live - kept, roots, gm_load_rlx(&p->percent));
    goal += GM_MIN(kept, SIZE_MAX - goal); // A5
    size_t most = gm_pacer_limit_goal(p, live);
    goal = GM_MIN(goal, most);
    gm_store_rlx(&p->held, most);
    gm_store_rlx(&p->live, live); // a stale value delays a poll by one refill
    gm_store_rlx(&p->roots, roots);
    gm_store_rlx(&p->goal, goal);
    size_t runway = gm_load_rlx(&p->runway), way = goal > live ? goal - live : 0;
    runway += runway ? GM_MIN(gm_load_rlx(&p->heavy), way / 10 * 3) : 0; // A4
    gm_store_rlx(&p->trigger, gm_pacer_trigger(live, goal, runway));
}

/* ==========================================================================================
 * >>mark   shade, scan, drain, termination                                         floor 4
 * ==========================================================================================
 * OWNS        struct gm_mark (queue of spans, root jobs, the state of the markers), struct
 *             gomem_marker per marker
 * CALLS       base os sizes pages span types guard
 * ORDER       queue: a span's colors are changed before it is pushed (acqrel) and read after it is
 *             popped. state: a marker's counters are written before it becomes idle (acqrel)
 * INVARIANTS  M1  white: mark 0, grey 0; grey: mark 1, grey 1; black: mark 1, grey 0. An object on
 *                 a marker's stack is black already, and is scanned before the marker rests. An
 *                 object of kind GM_ROOT has no mark bit and is grey when marking begins
 *             M2  a grey object's span has `queued` set, and each such span is in the queue once or
 *                 is being taken from it
 *             M3  a marker becomes idle only if its stack is empty and it has found no job and an
 *                 empty queue
 *             M4  when all markers are idle, nothing is grey
 *             M5  while several markers work, a marker collects mark bits of one group of colors
 *                 and sets them with a single atomic OR. Until then another marker may find the
 *                 same object and scan it too, which only costs time. Bits are set before anything
 *                 is spilled
 *             M6  a phase sees only the part of the heap that existed when the phase began. A
 *                 pointer to an object elsewhere was stored since, so its page is written and is
 *                 read again in a later phase; the last phase begins in a stop
 * WHY         Marking goes depth first from a small stack per marker, because a child's descriptor
 *             and bits are likely to be in the cache of the marker that has just scanned its
 *             parent. What does not fit, and what idle markers can take over, becomes grey, and its
 *             span goes to a shared queue. A span's record has the link, so the queue cannot
 *             overflow, and a marker can stop at any time. Large objects and roots are cut into
 *             pieces, claimed 128 KiB at a time. A piece of a large object is a page, so after a
 *             write one page is read again and not 128 KiB; this determines the length of the
 *             finish stop if the program writes to a large table. A piece of a typed array is the
 *             fields within it, of any elements. Only an object with a mark procedure, which sees
 *             all of it, is one piece.
 *             A lookup loads the descriptor and one line of colors and does not wait for a product
 *             or a quotient; the span's record is read for typed objects only.
 */
enum { GM_MARK_STACK = 8192, GM_READ = 64 * 1024, GM_MARK_STEPS = 64, GM_JOB_BYTES = 128 * 1024 };
enum {
    GM_JOB_BOTH = 1,    // words may point one past the end
    GM_JOB_FOREIGN = 2, // may be unmapped
    GM_JOB_WRITTEN = 4, // only written pages; of the heap, or of a root if it is foreign
    GM_JOB_STACK = 8    // start is the address of a struct gm_stack
};

// The stack of a coroutine. gomem_stack_parked writes the fields about parking in a section, so a
// stop finds those of one call.
struct gm_stack {
    uintptr_t start, end;   // const while it is listed
    uintptr_t parked;       // scanned from here up; 0: not known. atomic: rlx
    uintptr_t low, below;   // range of `check`, not written while the coroutine is parked
    uint64_t check;         // gm_mark_sum of [low, below) when it was parked
    uintptr_t floor;        // memory from here up is known to be mapped. lock: roots
    const uintptr_t *saved; // where the program saves its stack pointer; NULL: unknown. atomic: rlx
    bool runs;              // a thread runs on it, and it is scanned with that thread. stw
    bool black;             // its handle was marked when roots were listed. stw
    uintptr_t handle;       // the gomem_stack; 0: registered, a root. const while it is listed
    struct gm_stack *next;  // in the list of stacks to be unmapped. lock: roots
};

struct gm_job {      // a range of roots
    uintptr_t start; //
    size_t size;     // bytes
    unsigned flags;  // GM_JOB_…
};

struct gm_mark {
    struct gm_pages *pages;       // const while marking
    struct gm_types *types;       // const
    const struct gm_guard *guard; // const
    uintptr_t mask;               // ANDed with each word
    uint64_t queue;               // {tag 32, page + 1 32}. atomic: acqrel
    uint64_t state;    // {phase 32, idle 16, workers 16}, or {phase, GM_MARK_DONE}. atomic: acqrel
    uint64_t bytes;    // marked, as markers have reported. atomic: rlx
    uint64_t deadline; // ns at which the markers halt, 0: never. const in a phase
    uint32_t next_job; // atomic: rlx
    uint32_t halt;     // markers make grey what they hold, and rest. atomic: rlx
    uint32_t active;   // a cycle marks: nothing shrinks (R5). stw; read in sections
    uint32_t complete; // the marks are complete: white objects are dead, new ones are allocated
                       // black (R1). stw; read in sections
    struct gm_job *jobs;    // root jobs. const while marking
    size_t njobs, room;     // jobs, and entries of the array
    bool full;              // a job found no room
    uint64_t pages_written; // pages found by `written` jobs. atomic: rlx
    void *source;           // for the hooks. const
    // Hook of room writes: makes the written objects of a job's range grey or, if the range is a
    // root, reads its written pages. Returns the number of pages. const
    size_t (*written)(struct gomem_marker *m, const struct gm_job *job);
    // Hook of room writes: lists in m->buffer the parts of a range that may not be zero. Returns
    // their number; -1: unknown. const
    long (*there)(struct gomem_marker *m, uintptr_t from, uintptr_t to);
};
#define GM_MARK_DONE UINT32_MAX

// The state of a lookup. A drain keeps a copy of it in registers.
struct gm_view {
    uintptr_t base, mask;     // address of page 0; ANDed with each word
    uintptr_t from;           // lowest address with a descriptor (P3) in this phase (M6)
    size_t size, top;         // bytes from there up; entries of stack
    const uint32_t *desc;     // page descriptors
    struct gm_color *colors;  // a group per KiB of heap
    uintptr_t *stack;         // addresses of black objects to scan (M1)
    uint64_t bytes;           // bytes marked and not yet reported
    struct gm_color *pending; // group whose bits are being collected, NULL: none (M5)
    uint64_t pending_bits;    // bits collected for it
    uint32_t pending_size;    // bytes of a slot in that group
};

struct gomem_marker {     // owner: the thread that marks with it
    struct gm_view view;  // its lookup state
    struct gm_mark *mark; // shared state
    char *buffer;         // GM_READ bytes for foreign ranges
    uint32_t phase;       // phase of mark.state that it has joined
    uint32_t id;          // thread id of a worker, 0: not a worker. atomic: rlx
    uint64_t until;       // ns at which it leaves; 0: when no work is left
    bool alone;           // no other thread sets bits, so it needs no atomic OR
    bool steady;          // ignores deadlines and halt
    void (*visit)(struct gomem_marker *m, uintptr_t word); // visitor; NULL: words are marked
};

// Allocates a marker's stack and buffer, once. False: no memory.
GM_PRIVATE bool gm_mark_init_marker(struct gomem_marker *m, struct gm_meta *meta) {
    if (m->buffer) return true;
    m->buffer = gm_pages_meta(meta, GM_MARK_STACK * sizeof *m->view.stack + GM_READ);
    if (!m->buffer) return false;
    m->view.stack = (uintptr_t *)(void *)(m->buffer + GM_READ);
    return true;
}

// Prepares a marker with an empty stack for the current phase. `alone`: no other thread sets bits.
GM_PRIVATE void gm_mark_begin(struct gomem_marker *m, struct gm_mark *mark, bool alone) {
    const struct gm_pages *p = mark->pages;
    uintptr_t *stack = m->view.stack;
    memset(&m->view, 0, sizeof m->view);
    m->view.base = p->base;
    m->view.mask = mark->mask;
    m->view.from = gm_load_rlx(&p->lo); // M6
    m->view.size = gm_load_rlx(&p->hi) - m->view.from;
    m->view.desc = p->desc;
    m->view.colors = (struct gm_color *)(void *)p->color_area;
    m->view.stack = stack;
    m->mark = mark;
    m->until = 0;
    m->steady = false;
    m->alone = alone;
}

// Puts a span with grey objects into the queue, unless it is there already. Lock-free; the tag
// protects against ABA.
GM_PRIVATE void gm_mark_enqueue(struct gm_mark *mark, struct gm_span *s) {
    if (gm_swap_acqrel(&s->queued, 1u))
        return; // pairs with gm_mark_pop's swap: a marker that takes it sees our colors (M2)
    uint64_t head = gm_load_rlx(&mark->queue), next;
    do {
        gm_store_rlx(&s->queue_next, (uint32_t)head);
        next = ((head >> 32) + 1) << 32 | (s->page + 1);
    } while (
        !gm_cas_acqrel(&mark->queue, &head, next)); // pairs with gm_mark_pop: the link is written
}

// Takes a span from the queue; NULL: the queue is empty.
GM_PRIVATE struct gm_span *gm_mark_pop(struct gm_mark *mark) {
    uint64_t head = gm_load_acq(&mark->queue); // pairs with gm_mark_enqueue: its link and colors
    uint64_t next;
    struct gm_span *s;
    do {
        if (!(uint32_t)head) return NULL;
        s = gm_span_at(mark->pages, (uint32_t)head - 1);
        next = ((head >> 32) + 1) << 32 |
               gm_load_rlx(&s->queue_next);              // if it is stale, the tag has changed
    } while (!gm_cas_acqrel(&mark->queue, &head, next)); // pairs with gm_mark_enqueue
    // pairs with gm_mark_enqueue: an object that is shaded later queues the span again
    (void)gm_swap_acqrel(&s->queued, 0u);
    return s;
}

// Sets a bit; true if it was 0. The atomic OR elects the one marker that scans the object.
GM_ALWAYS bool gm_mark_set(uint64_t *word, uint64_t bit, bool alone) {
    if (alone) {
        uint64_t old = gm_load_rlx(word);
        gm_store_rlx(word, old | bit); // nobody else writes
        return !(old & bit);
    }
    return !(gm_or_rlx(word, bit) & bit); // rlx: the object's contents are ordered by the stop
}

// The type of a span's objects; NULL: they are scanned word by word.
GM_INLINE const struct gm_type_record *gm_mark_type_of(const struct gm_mark *mark,
                                                       const struct gm_span *s) {
    return s->kind == GM_TYPED ? gm_types_shape(mark->types, s->shape)->type : NULL;
}

// The number of pieces of a large object; 1 if it has a mark procedure, which scans all of it.
GM_PRIVATE size_t gm_mark_pieces(const struct gm_mark *mark, const struct gm_span *s) {
    const struct gm_type_record *t = gm_mark_type_of(mark, s);
    if (t && t->mark) return 1;
    return (gm_load_rlx(&s->size) + GM_PIECE - 1) / GM_PIECE;
}

// Makes all pieces of a large object grey. Its span is not in the queue yet, so plain stores do.
GM_PRIVATE void gm_mark_grey_pieces(const struct gm_mark *mark, const struct gm_span *s) {
    struct gm_color *c = gm_span_colors(mark->pages, s->page);
    size_t pieces = gm_mark_pieces(mark, s);
    for (size_t i = 0; i < pieces; i += 64)
        gm_store_rlx(&c[i / 64].grey, gm_base_ones(0, (unsigned)GM_MIN(pieces - i, (size_t)64)));
}

// Marks the large object that a page belongs to, if it is white, and queues its pieces.
GM_COLD GM_PRIVATE void gm_mark_large(struct gomem_marker *m, size_t page) {
    // pairs with gm_pages_describe: the record of a new span is complete
    uint32_t desc = gm_load_acq(&m->mark->pages->desc[page]);
    struct gm_span *s = gm_span_at(m->mark->pages, gm_pages_first(m->mark->pages, page, desc));
    struct gm_color *c = gm_span_colors(m->mark->pages, s->page);
    if (!(gm_load_rlx(&c->alloc) & ~gm_load_rlx(&c->freed) & 1) || gm_load_rlx(&c->mark) & 1 ||
        !gm_mark_set(&c->mark, 1, m->alone))
        return;
    m->view.bytes += gm_load_rlx(&s->size);
    if (s->kind == GM_NOSCAN) return;
    gm_mark_grey_pieces(m->mark, s);
    gm_mark_enqueue(m->mark, s); // M2
}

// Sets collected mark bits of a group (M5). Returns the bytes of those that were 0: the others have
// been counted by another marker.
GM_NOINLINE GM_PRIVATE uint64_t gm_mark_settle(struct gm_color *c, uint64_t bits, uint32_t size) {
    if (!bits) return 0;
    return (uint64_t)gm_base_popcount(bits & ~gm_or_rlx(&c->mark, bits)) * size;
}

// Sets the collected bits of a view; afterwards none are pending.
GM_ALWAYS void gm_mark_settle_view(struct gm_view *v) {
    v->bytes += gm_mark_settle(v->pending, v->pending_bits, v->pending_size);
    v->pending = NULL;
    v->pending_bits = 0;
}

// Makes the oldest half of the marker's stack grey, for any marker to scan: the stack is full, or
// other markers are idle. With `all`, makes all of it grey: the marker halts.
GM_COLD GM_PRIVATE void gm_mark_spill(struct gomem_marker *m, bool all) {
    struct gm_pages *p = m->mark->pages;
    struct gm_view *v = &m->view;
    size_t n = all ? v->top : (v->top + 1) / 2;
    gm_mark_settle_view(v); // M5: a grey object has its mark bit
    for (size_t i = 0; i < n; i++) {
        (void)gm_or_rlx(&gm_span_color(p, v->stack[i])->grey,
                        gm_span_bit(p, v->stack[i])); // the queue's swap orders it
        gm_mark_enqueue(m->mark, gm_span_find(p, v->stack[i]));
    }
    v->top -= n;
    memmove(v->stack, v->stack + n, v->top * sizeof *v->stack);
}

// Makes a white object black. False: it was not white, or was freed. The bytes of the object are
// counted here, or with `alone` when it is scanned.
GM_ALWAYS bool gm_mark_blacken(struct gm_view *v, struct gm_color *c, unsigned n, uint32_t desc,
                               bool alone) {
    uint64_t mark = gm_load_rlx(&c->mark);
    if ((mark | gm_load_rlx(&c->freed)) >> (n & 63) & 1) return false;
    if (alone) { // no other thread writes
        gm_store_rlx(&c->mark, mark | (uint64_t)1 << (n & 63));
        return true;
    }
    // Collect the bit with others of its group; a bit of another group sets those of the last (M5).
    uint64_t bit = (uint64_t)1 << (n & 63);
    if (c == v->pending) {
        if (v->pending_bits & bit) return false;
        v->pending_bits |= bit;
        return true;
    }
    v->bytes += gm_mark_settle(v->pending, v->pending_bits, v->pending_size);
    v->pending = c;
    v->pending_bits = bit;
    v->pending_size = gomem_i_class_size[desc >> 4 & 255];
    return true;
}

// Returns the offset of the slot that contains the byte at `offset`, by the page's descriptor. In a
// span's tail the result is a place where no bit is ever set (N3).
GM_ALWAYS size_t gm_mark_start(size_t offset, uint32_t desc) {
    const struct gm_class *k = &gm_sizes_table[desc >> 4 & 255];
    uint64_t within = ((uint64_t)(desc >> 12) << GM_PAGE_SHIFT) + (offset & (GM_PAGE - 1));
    return offset - (size_t)within + (size_t)(within * k->magic >> 32) * k->size; // Z1
}

// Looks up a word and makes the white object that it points into black. Returns the object if it
// has to be scanned, with its page's descriptor, else 0. Most words point to the start of an
// object: then the object's own alloc bit is set, no division is needed, and the loads wait for the
// word only. Other words take the branch.
GM_ALWAYS uintptr_t gm_mark_reach(struct gomem_marker *m, struct gm_view *v, uintptr_t word,
                                  bool alone, uint32_t *found) {
    word &= v->mask;
    if (GOMEM_I_LIKELY(word - v->from >= v->size)) return 0;
    size_t offset = word - v->base;
    uint32_t desc = *found = gm_load_rlx(&v->desc[offset >> GM_PAGE_SHIFT]);
    struct gm_color *c = &v->colors[offset >> 10];
    unsigned n = (unsigned)(offset >> 4);
    // The rare cases: another kind of page, a class that divides, or an interior pointer.
    if (GOMEM_I_UNLIKELY(!(desc & GM_BIT_AT_ADDRESS) || offset & 15 ||
                         !(gm_load_rlx(&c->alloc) >> (n & 63) & 1))) {
        if (!GM_IN(GM_SET_COLLECTED, desc & 7)) return 0;
        if (!(desc >> 4 & 255)) {
            gm_mark_large(m, offset >> GM_PAGE_SHIFT);
            return 0;
        }
        offset = gm_mark_start(offset, desc);
        c = &v->colors[offset >> 10];
        n = (unsigned)(offset >> 4);
        if (!(gm_load_rlx(&c->alloc) >> (n & 63) & 1)) return 0;
        word = v->base + offset;
        __asm__("" : "+r"(word)); // forces a branch instead of a conditional move
    }
    if (!gm_mark_blacken(v, c, n, desc, alone)) return 0;
    // A noscan object is not scanned, so it is counted here.
    if (GOMEM_I_LIKELY(desc & GM_POINTERS)) return word;
    v->bytes += alone ? gomem_i_class_size[desc >> 4 & 255] : 0;
    return 0;
}

// Spills half of the stack, or all of it, of a marker whose view v may be a copy in registers.
GM_ALWAYS void gm_mark_make_room(struct gomem_marker *m, struct gm_view *v, bool all) {
    gm_mark_settle_view(v);
    m->view.top = v->top;
    gm_mark_spill(m, all);
    v->top = m->view.top;
}

// Tests whether this marker must halt: its time or the phase's is over, or the phase halts. Called
// every few dozen objects.
GM_PRIVATE bool gm_mark_halted(struct gomem_marker *m) {
    struct gm_mark *mark = m->mark;
    if (m->steady) return false;
    uint64_t now = (mark->deadline | m->until) ? gm_os_now() : 0;
    // rlx: a marker that reads a stale value halts at its next test
    if (mark->deadline && now >= mark->deadline) gm_store_rlx(&mark->halt, 1u);
    return gm_load_rlx(&mark->halt) || (m->until && now >= m->until);
}

// Puts a black object on the stack, to be scanned; spills half of the stack if it is full.
GM_ALWAYS void gm_mark_push(struct gomem_marker *m, struct gm_view *v, uintptr_t object) {
    __builtin_prefetch((const void *)object);
    if (GOMEM_I_UNLIKELY(v->top == GM_MARK_STACK)) gm_mark_make_room(m, v, false);
    v->stack[v->top++] = object;
}

// Marks the object that a word points into, if any, and puts it on the stack.
GM_NO_SANITIZE GM_ALWAYS void gm_mark_shade(struct gomem_marker *m, uintptr_t word, bool alone) {
    uint32_t desc = 0;
    uintptr_t object = gm_mark_reach(m, &m->view, word, alone, &desc);
    if (object) gm_mark_push(m, &m->view, object);
}

// Does so for each word of a range.
GM_NO_SANITIZE GM_ALWAYS void gm_mark_words(struct gomem_marker *m, uintptr_t start, size_t size,
                                            bool alone) {
    const uintptr_t *word = (const uintptr_t *)start;
    for (size_t i = 0; i < size / GM_WORD; i++) gm_mark_shade(m, gm_base_word(&word[i]), alone);
}

// Scans the pointer fields of a typed object, element by element; a flexible array extends to the
// end of the object. Only words in [from, to) are read. That range is a piece of the object and may
// begin and end inside an element or a field, so that each word is in exactly one piece.
GM_HOT GM_NO_SANITIZE GM_PRIVATE void gm_mark_fields(struct gomem_marker *m,
                                                     const struct gm_type_record *t,
                                                     uintptr_t start, size_t size, uintptr_t from,
                                                     uintptr_t to) {
    // Begin with the element that contains `from`; a type with a tail has one element.
    bool flexible = false, tail = gm_types_has_tail(t);
    uintptr_t end = start + size, element = tail ? start : from - (from - start) % t->size;
    for (; t->nfields && !flexible && element < to; element += t->size)
        for (size_t i = 0; i < t->nfields; i++) {
            const gomem_field *f = &t->fields[i];
            if (f->offset >= end - element) continue; // the object is smaller than its type
            uintptr_t word = element + f->offset, last = f->words ? word + f->words * GM_WORD : end;
            flexible |= !f->words;
            word = GM_MAX(word, from);
            for (last = GM_MIN(last, to); word + GM_WORD <= last; word += GM_WORD)
                gm_mark_shade(m, gm_base_word((const uintptr_t *)word), m->alone);
        }
}

// Scans a typed object by its fields or its mark procedure.
GM_HOT GM_NO_SANITIZE GM_PRIVATE void gm_mark_typed(struct gomem_marker *m, const struct gm_span *s,
                                                    uintptr_t start, size_t size) {
    const struct gm_type_record *t = gm_types_shape(m->mark->types, s->shape)->type;
    gm_fence_acq(); // pairs with gm_cache_hold: a procedure must not see the slot's old contents
    if (!t->mark) {
        gm_mark_fields(m, t, start, size, start, start + size);
        return;
    }
    size = gm_guard_size(m->mark->guard, s, start);
    if (size) t->mark((const void *)start, size, m); // 0: a free slot of a watched heap
}

// Scans a black object depth first: it follows the first pointer to a white object and puts the
// others on the stack. Words are read in ascending order: in descending order the address of the
// first load would depend on the object's size, which cost 12 ns per object instead of 6.
GM_NO_SANITIZE GM_ALWAYS void gm_mark_follow(struct gomem_marker *m, struct gm_view *v,
                                             uintptr_t object, bool alone) {
    uint32_t desc = gm_load_rlx(&v->desc[(object - v->base) >> GM_PAGE_SHIFT]), steps = 0;
    while (object) {
        size_t size = gomem_i_class_size[desc >> 4 & 255];
        uintptr_t next = 0;
        if (alone) v->bytes += size;
        if (GOMEM_I_UNLIKELY(desc & GM_TYPED)) { // a bit of GM_TYPED and GM_ROOT
            if ((desc & 7) == GM_TYPED) {
                gm_mark_settle_view(v); // gm_mark_typed works on the marker's own view
                m->view.top = v->top;
                gm_mark_typed(m, gm_span_find(m->mark->pages, object), object, size);
                v->top = m->view.top;
                return;
            }
            if (alone) v->bytes -= size; // a GM_ROOT object is not counted as marked
        }
        const uintptr_t *word = (const uintptr_t *)object;
        for (size_t i = 0; i < size / GM_WORD; i++) {
            uint32_t found = 0;
            uintptr_t child = gm_mark_reach(m, v, gm_base_word(&word[i]), alone, &found);
            if (!child) continue;
            if (next) {
                gm_mark_push(m, v, child);
                continue;
            }
            // The first child is scanned next; its descriptor is at hand.
            next = child;
            desc = found;
        }
        object = next;
        if (!alone && object && ++steps == GM_MARK_STEPS) { // let the caller test for a halt
            gm_mark_push(m, v, object);
            return;
        }
    }
}

// Scans the objects on the stack and all white objects that they lead to. Returns with an empty
// stack. If the marker has to halt, or while others are idle, it spills.
GM_NO_SANITIZE GM_ALWAYS void gm_mark_drain_as(struct gomem_marker *m, bool alone) {
    struct gm_view v = m->view;
    unsigned until_share = 64;
    v.bytes = v.pending_bits = 0;
    v.pending = NULL;
    while (v.top) {
        gm_mark_follow(m, &v, v.stack[--v.top], alone);
        if (alone || --until_share) continue;
        until_share = 64;
        bool halted = gm_mark_halted(m);
        // Share work with idle markers. rlx: a stale count only delays that.
        if (halted || (v.top > 1 && (uint32_t)gm_load_rlx(&m->mark->state) >> 16))
            gm_mark_make_room(m, &v, halted);
    }
    m->view.top = 0;
    m->view.bytes += v.bytes + gm_mark_settle(v.pending, v.pending_bits, v.pending_size);
}
GM_HOT GM_NOINLINE GM_NO_SANITIZE static void gm_mark_drain_alone(struct gomem_marker *m) {
    gm_mark_drain_as(m, true);
}
GM_HOT GM_NOINLINE GM_NO_SANITIZE static void gm_mark_drain_shared(struct gomem_marker *m) {
    gm_mark_drain_as(m, false);
}
GM_PRIVATE void gm_mark_drain(struct gomem_marker *m) {
    if (m->alone) gm_mark_drain_alone(m);
    else gm_mark_drain_shared(m);
}

// Scans [from, to) of a large object without a mark procedure. t: its type; NULL: scan all words.
GM_NO_SANITIZE GM_PRIVATE void gm_mark_part(struct gomem_marker *m, const struct gm_span *s,
                                            const struct gm_type_record *t, uintptr_t from,
                                            uintptr_t to) {
    if (from >= to) return;
    if (t) gm_mark_fields(m, t, gm_span_start(m->mark->pages, s), gm_load_rlx(&s->size), from, to);
    else gm_mark_words(m, from, to - from, m->alone);
}

// Scans one piece of a large object, and drains. `there` is the number of ranges in the marker's
// buffer, in address order, that may not be zero; -1: unknown, so all of the piece is read.
GM_NO_SANITIZE GM_PRIVATE void gm_mark_piece(struct gomem_marker *m, const struct gm_span *s,
                                             size_t piece, long there) {
    const struct gm_type_record *t = gm_mark_type_of(m->mark, s);
    uintptr_t start = gm_span_start(m->mark->pages, s), from = start + piece * GM_PIECE;
    size_t size = gm_load_rlx(&s->size), at = piece * GM_PIECE;
    if (t && t->mark) gm_mark_typed(m, s, start, size); // the only piece
    else if (at < size) {
        const struct gm_written *list = (const void *)m->buffer;
        uintptr_t end = from + GM_MIN(size - at, (size_t)GM_PIECE);
        if (there < 0) gm_mark_part(m, s, t, from, end);
        for (long i = 0; i < there; i++)
            gm_mark_part(m, s, t, GM_MAX(from, (uintptr_t)list[i].start),
                         GM_MIN(end, (uintptr_t)list[i].end));
    }
    gm_mark_drain(m);
}

// Scans the claimed pieces `mine` of a group of colors. False: the marker halts, and the remaining
// pieces are grey again (M2). The first piece is always scanned, so each call makes progress.
GM_PRIVATE bool gm_mark_claimed(struct gomem_marker *m, struct gm_span *s, struct gm_color *c,
                                size_t group, uint64_t mine) {
    uintptr_t start = gm_span_start(m->mark->pages, s) + group * 64 * GM_PIECE;
    // Pages of a span that was taken clean may never have been written: skip those that are zero.
    long there = -1;
    if (m->mark->there && gm_load_rlx(&s->clean))
        there = m->mark->there(m, start + gm_base_ctz(mine) * GM_PIECE,
                               start + (64 - (size_t)__builtin_clzll(mine)) * GM_PIECE);
    for (bool first = true; mine; mine &= mine - 1, first = false) {
        if (!first && !m->alone && gm_mark_halted(m)) {
            (void)gm_or_rlx(&c[group].grey, mine); // ordered by the swap in gm_mark_enqueue
            gm_mark_enqueue(m->mark, s);
            return false;
        }
        gm_mark_piece(m, s, group * 64 + gm_base_ctz(mine), there);
    }
    return true;
}

// Claims grey pieces of a large object, 16 at a time, and scans them until none is grey. The span
// is in the queue meanwhile, so that other markers can help.
GM_PRIVATE void gm_mark_take_large(struct gomem_marker *m, struct gm_span *s) {
    struct gm_color *c = gm_span_colors(m->mark->pages, s->page);
    size_t groups = gm_span_piece_groups(gm_load_rlx(&s->pages));
    bool shared = m->alone;
    for (size_t i = 0; i < groups; i++)
        for (uint64_t grey; (grey = gm_load_rlx(&c[i].grey)) != 0;) {
            uint64_t mine = grey & (uint64_t)0xffff << gm_base_ctz(grey);
            mine &= gm_and_rlx(&c[i].grey, ~mine); // one worker gets each bit
            if (!mine) continue;                   // other workers were faster
            // Queue the span once, so that others help; a marker that is alone has no others.
            if (!shared) gm_mark_enqueue(m->mark, s);
            shared = true;
            if (!gm_mark_claimed(m, s, c, i, mine)) return;
            if (!m->alone && gm_mark_halted(m)) {
                gm_mark_enqueue(m->mark, s); // M2
                return;
            }
        }
}

// The write barrier: makes the white object that a word points into grey, for any marker to scan.
// The caller is in a section, and a cycle marks. The mark bit is set before the grey one; because
// of the section no stop comes between that and the queue (M2).
GM_PRIVATE void gm_mark_shade_grey(struct gm_mark *mark, uintptr_t word) {
    const struct gm_pages *p = mark->pages;
    word &= mark->mask;
    if (!gm_pages_holds(p, word)) return;
    size_t offset = word - p->base;
    // pairs with gm_pages_describe: the record of a new span is complete
    uint32_t desc = gm_load_acq(&p->desc[offset >> GM_PAGE_SHIFT]);
    if (!GM_IN(GM_SET_COLLECTED, desc & 7)) return;
    struct gm_span *s = gm_span_at(p, gm_pages_first(p, offset >> GM_PAGE_SHIFT, desc));
    uintptr_t object = s->class ? p->base + gm_mark_start(offset, desc) : gm_span_start(p, s);
    struct gm_color *c = gm_span_color(p, object);
    uint64_t bit = gm_span_bit(p, object);
    if (!(gm_load_rlx(&c->alloc) & ~gm_load_rlx(&c->freed) & ~gm_load_rlx(&c->mark) & bit)) return;
    if (gm_or_acqrel(&c->mark, bit) & bit) return; // pairs with itself: one thread counts it
    (void)gm_add_rlx(&mark->bytes, (uint64_t)gm_span_slot_size(s)); // read in the finish stop
    if (s->kind == GM_NOSCAN) return;
    if (s->class) (void)gm_or_rlx(&c->grey, bit); // ordered by the swap in gm_mark_enqueue
    else gm_mark_grey_pieces(mark, s);
    gm_mark_enqueue(mark, s);
}

// Claims the grey objects of a span taken from the queue, a group of colors at a time, and scans
// them in address order. If the marker halts, the rest is grey and queued again (M2).
GM_HOT GM_NO_SANITIZE GM_PRIVATE void gm_mark_take(struct gomem_marker *m, struct gm_span *s) {
    if (!s->class) {
        gm_mark_take_large(m, s);
        return;
    }
    struct gm_color *c = gm_span_colors(m->mark->pages, s->page);
    for (unsigned i = 0; i < s->pages * 8; i++) { // `fresh` may rise meanwhile
        uint64_t grey = gm_load_rlx(&c[i].grey);
        if (grey) grey &= gm_and_rlx(&c[i].grey, ~grey); // exactly one worker gets each bit
        if (grey && !m->alone && gm_mark_halted(m)) {    // give the claimed bits back
            (void)gm_or_rlx(&c[i].grey, grey);
            gm_mark_enqueue(m->mark, s); // M2
            return;
        }
        for (; grey; grey &= grey - 1) {
            if (!m->alone && !m->steady && gm_load_rlx(&m->mark->halt)) { // stale: one more object
                (void)gm_or_rlx(&c[i].grey, grey);
                gm_mark_enqueue(m->mark, s); // M2
                return;
            }
            gm_mark_push(m, &m->view, gm_span_object(m->mark->pages, s, i, gm_base_ctz(grey)));
            gm_mark_drain(m);
        }
    }
    gm_mark_drain(m);
}

// ---- written pages ----

// Makes the marked objects of a span with slots that overlap [from, to) grey again. No marker runs.
// True: there were any.
GM_PRIVATE bool gm_mark_regrey_small(const struct gm_pages *p, const struct gm_span *s,
                                     uintptr_t from, uintptr_t to) {
    uintptr_t start = gm_span_start(p, s);
    uint32_t first = gm_span_index(p, s, from);
    if (first >= s->count) return false; // the range is in the span's tail
    bool any = false, root = s->kind == GM_ROOT;
    struct gm_color *c = gm_span_colors(p, s->page);
    // Bits are numbered by 16 bytes: from that of the first slot to that of the range's end.
    uint32_t at = (uint32_t)(gm_span_slot(p, s, first) - start) / 16;
    uint32_t end = (uint32_t)(GM_MIN(to, start + (uintptr_t)gm_load_rlx(&s->pages) * GM_PAGE) -
                              start + 15) /
                   16;
    for (unsigned i = at / 64; i * 64 < end; i++, at = i * 64) {
        uint64_t reach = ~(uint64_t)0 << at % 64;
        if (end - i * 64 < 64) reach &= ((uint64_t)1 << (end - i * 64)) - 1;
        uint64_t bits = (root ? gm_load_rlx(&c[i].alloc) : gm_load_rlx(&c[i].mark)) & reach;
        if (!bits) continue;
        (void)gm_or_rlx(&c[i].grey, bits); // atomic: a write barrier may set bits too
        any = true;
    }
    return any;
}

// The same for the pieces of a large object, if it is marked.
GM_PRIVATE bool gm_mark_regrey_large(const struct gm_mark *mark, const struct gm_span *s,
                                     uintptr_t from, uintptr_t to) {
    struct gm_color *c = gm_span_colors(mark->pages, s->page);
    if (!(gm_load_rlx(s->kind == GM_ROOT ? &c->alloc : &c->mark) & 1)) return false;
    uintptr_t start = gm_span_start(mark->pages, s);
    if (from >= start + gm_load_rlx(&s->size)) return false;
    size_t first = (from - start) / GM_PIECE, pieces = gm_mark_pieces(mark, s);
    size_t last = (GM_MIN(to, start + gm_load_rlx(&s->size)) - 1 - start) / GM_PIECE;
    if (pieces == 1) first = last = 0; // a mark procedure's only piece is the whole object
    for (size_t i = first; i <= last; i++)
        (void)gm_or_rlx(&c[i / 64].grey, (uint64_t)1 << i % 64); // a write barrier may set bits too
    return true;
}

// Makes the marked objects on the written pages [from, to) of the heap grey again. The markers
// rest, so every black object was read before the written pages were queried (C2).
GM_HOT GM_PRIVATE void gm_mark_regrey(struct gm_mark *mark, uintptr_t from, uintptr_t to) {
    struct gm_pages *p = mark->pages;
    while (from < to) {
        size_t page = (from - p->base) >> GM_PAGE_SHIFT;
        uint32_t desc = gm_load_acq(&p->desc[page]); // pairs with gm_pages_describe: the record
        uintptr_t next = gm_pages_address(p, page + 1);
        if (GM_IN(GM_SET_SCANNED, desc & 7)) {
            struct gm_span *s = gm_span_at(p, gm_pages_first(p, page, desc));
            // Handle the part of the range that lies in this span with one call.
            uintptr_t end = gm_span_start(p, s) + (uintptr_t)gm_load_rlx(&s->pages) * GM_PAGE;
            if (next < end) next = GM_MIN(end, GM_MAX(to, next));
            bool any = s->class ? gm_mark_regrey_small(p, s, from, GM_MIN(next, to))
                                : gm_mark_regrey_large(mark, s, from, GM_MIN(next, to));
            if (any) gm_mark_enqueue(mark, s);
        }
        from = next;
    }
}

// Adds the bytes that a marker has marked to the shared count.
GM_PRIVATE void gm_mark_report(struct gomem_marker *m) {
    gm_mark_settle_view(&m->view);
    (void)gm_add_rlx(&m->mark->bytes, m->view.bytes); // ordered by the marker's change of state
    m->view.bytes = 0;
}

// ---- roots ----

// Adds the words of [start, end) as root jobs of at most GM_JOB_BYTES. False: the array is full;
// the caller makes a larger one and lists the roots again.
GM_PRIVATE bool gm_mark_add_job(struct gm_mark *mark, uintptr_t start, uintptr_t end,
                                unsigned flags) {
    start = gm_base_round_up(start, GM_WORD);
    end &= ~(uintptr_t)(GM_WORD - 1);
    for (; start < end; start += GM_MIN(end - start, (size_t)GM_JOB_BYTES)) {
        if (mark->njobs == mark->room) {
            mark->full = true;
            return false;
        }
        mark->jobs[mark->njobs++] = (struct gm_job){
            start, GM_MIN(end - start, (size_t)GM_JOB_BYTES), flags};
    }
    return true;
}

// Adds the stack of a coroutine that no thread runs on. The job must be done in the same stop.
GM_PRIVATE bool gm_mark_add_stack(struct gm_mark *mark, struct gm_stack *s) {
    if (mark->njobs == mark->room) {
        mark->full = true;
        return false;
    }
    mark->jobs[mark->njobs++] = (struct gm_job){(uintptr_t)s, 0, GM_JOB_STACK | GM_JOB_BOTH};
    return true;
}

// Adds a range of the heap or, with GM_JOB_FOREIGN, of a root, of which only the written pages are
// read.
GM_PRIVATE bool gm_mark_add_written(struct gm_mark *mark, uintptr_t start, uintptr_t end,
                                    unsigned flags) {
    if (mark->njobs == mark->room) return false;
    mark->jobs[mark->njobs++] = (struct gm_job){start, end - start, flags | GM_JOB_WRITTEN};
    return true;
}

// Tests whether a word points into an object or into any other used page. If so, the word is not a
// pointer one past the end of the object below it, because arrays have a spare byte. When both were
// kept, a pointer on a stack to the start of an object also kept the object before it, with all
// that it leads to: in GCBench, a tree of 16 MB next to 8 MB of live objects.
GM_ALWAYS bool gm_mark_is_taken(const struct gm_view *v, uintptr_t word) {
    if (word - v->from >= v->size) return false;
    size_t offset = word - v->base;
    uint32_t desc = gm_load_rlx(&v->desc[offset >> GM_PAGE_SHIFT]);
    if (!GM_IN(GM_SET_COLLECTED, desc & 7) || !(desc >> 4 & 255)) return desc & 7;
    offset = gm_mark_start(offset, desc);
    return gm_load_rlx(&v->colors[offset >> 10].alloc) >> (offset >> 4 & 63) & 1;
}

// Marks what the words of a readable root range point to. With GM_JOB_BOTH, a word that points into
// no object may be one past the end of one, so w - 1 is looked up instead.
GM_HOT GM_NO_SANITIZE GM_PRIVATE void gm_mark_range(struct gomem_marker *m, uintptr_t start,
                                                    size_t size, unsigned flags) {
    const uintptr_t *word = (const uintptr_t *)start;
    for (size_t i = 0; i < size / GM_WORD; i++) {
        uintptr_t w = gm_base_word(&word[i]) & m->view.mask;
        if (w - m->view.from > m->view.size) continue; // neither w nor w - 1 is in the heap
        if (!(flags & GM_JOB_BOTH) || gm_mark_is_taken(&m->view, w)) gm_mark_shade(m, w, m->alone);
        else gm_mark_shade(m, w - 1, m->alone);
    }
}

// Marks from a range that may be unmapped: the kernel copies it to the marker's buffer. Pages that
// cannot be read are skipped.
GM_PRIVATE void gm_mark_foreign(struct gomem_marker *m, uintptr_t start, size_t size,
                                unsigned flags) {
    while (size) {
        size_t want = GM_MIN(size, (size_t)GM_READ);
        size_t n = gm_os_read_foreign(m->buffer, start, want);
        if (n) gm_mark_range(m, (uintptr_t)m->buffer, n, flags);
        n = n ? n & ~(size_t)(GM_WORD - 1)
              : GM_MIN(want, 4096 - start % 4096); // skip to the next page
        if (!n) n = GM_MIN(want, (size_t)GM_WORD);
        start += n;
        size -= n;
    }
}

// A checksum of words. Zero words do not change it, so reading fewer or more of them does no harm.
GM_HOT GM_NO_SANITIZE GM_PRIVATE uint64_t gm_mark_sum(uintptr_t start, uintptr_t end) {
    const uintptr_t *word = (const uintptr_t *)start;
    uint64_t sum = 0;
    for (size_t i = 0; i < (end - start) / GM_WORD; i++)
        sum += gm_base_word(&word[i]) * (2 * i + 1);
    return sum;
}

// Returns where the live part of a stack that no thread runs on begins, as the program has said, or
// the start of the stack if it has not. Outside of a stop the result may be stale.
GM_NO_SANITIZE GM_PRIVATE uintptr_t gm_mark_live_part(const struct gm_stack *s) {
    const uintptr_t *saved = gm_load_rlx(&s->saved); // the finish stop reads it again
    uintptr_t sp = saved ? gm_base_word(saved) & ~(uintptr_t)(GM_WORD - 1)
                         : gm_load_rlx(&s->parked);
    return sp - s->start <= s->end - s->start ? sp : s->start;
}

// Scans the stack of a coroutine, in a stop. The parked stack pointer is trusted only if the memory
// below it has its checksum still: a coroutine that ran again has left return addresses there as
// soon as it called a function. Otherwise the stack pointer is forgotten, and the whole stack is
// scanned.
GM_PRIVATE void gm_mark_coroutine(struct gomem_marker *m, struct gm_stack *s) {
    uintptr_t from = gm_mark_live_part(s), low = s->low;
    if (s->runs) return; // it is scanned with the thread that runs on it
    if (from != s->start && !gm_load_rlx(&s->saved)) { // rlx: threads are stopped
        size_t want = GM_MIN(s->end - low, (size_t)GM_READ), dead = from - low;
        size_t n = gm_os_read_foreign(m->buffer, low, want) & ~(size_t)(GM_WORD - 1);
        uintptr_t at = (uintptr_t)m->buffer;
        // The buffer holds [low, low + n): `dead` bytes below the stack pointer, then live words.
        if (dead <= n && gm_mark_sum(at, at + (s->below - low)) == s->check) {
            gm_mark_range(m, at + dead, n - dead, GM_JOB_BOTH);
            from = low + n;
        } else {
            from = s->start;
            gm_store_rlx(&s->parked, (uintptr_t)0); // rlx: threads are stopped
        }
    }
    if (from < s->end) gm_mark_foreign(m, from, s->end - from, GM_JOB_BOTH);
}

// Scans the stack of a handle (gomem_stack) that is being marked. In a stop it does so as
// gm_mark_coroutine. Otherwise it scans the part that is live as far as is known, and the finish
// stop scans it again. With a visitor, it passes on the words of the live part.
GM_NO_SANITIZE GM_PRIVATE void gm_mark_handle(struct gomem_marker *m, struct gm_stack *s,
                                              bool stopped) {
    uintptr_t from = gm_mark_live_part(s), words[64];
    const uintptr_t *saved = gm_load_rlx(&s->saved); // the finish stop reads it again
    if (saved && m->visit) m->visit(m, (uintptr_t)saved);
    else if (saved) gm_mark_shade(m, (uintptr_t)saved, m->alone);
    if (m->visit) {
        for (; from < s->end; from += sizeof words) {
            size_t n = gm_os_read_foreign(words, from, GM_MIN(s->end - from, sizeof words));
            for (size_t i = 0; i < n / GM_WORD; i++) m->visit(m, words[i]);
        }
    } else if (stopped) gm_mark_coroutine(m, s);
    else if (!s->runs) gm_mark_foreign(m, from, s->end - from, GM_JOB_BOTH);
}

// Does a root job of any sort.
GM_PRIVATE void gm_mark_job(struct gomem_marker *m, const struct gm_job *job) {
    if (job->flags & GM_JOB_WRITTEN)
        (void)gm_add_rlx(&m->mark->pages_written, (uint64_t)m->mark->written(m, job));
    else if (job->flags & GM_JOB_STACK) gm_mark_coroutine(m, (struct gm_stack *)job->start);
    else if (job->flags & GM_JOB_FOREIGN) gm_mark_foreign(m, job->start, job->size, job->flags);
    else gm_mark_range(m, job->start, job->size, job->flags);
}

// Scans the stacks among the jobs in the start stop and makes grey what they point to; other jobs
// are done later. The jobs of stacks stay in the list, as plain ranges, and are scanned once more.
GM_HOT GM_PRIVATE void gm_mark_stacks(struct gomem_marker *m) {
    for (size_t i = 0; i < m->mark->njobs; i++) {
        struct gm_job *job = &m->mark->jobs[i];
        if (!(job->flags & GM_JOB_BOTH)) continue;
        gm_mark_job(m, job);
        gm_mark_make_room(m, &m->view, true);
        if (job->flags & GM_JOB_STACK) { // the record may be freed while threads run
            const struct gm_stack *s = (const struct gm_stack *)job->start;
            uintptr_t from = gm_mark_live_part(s);
            *job = (struct gm_job){from, s->end - from, GM_JOB_BOTH};
        }
        job->flags |= GM_JOB_FOREIGN; // by then it may be unmapped
    }
    gm_mark_report(m);
}

// Does all jobs in a stop and makes grey what they point to; no job is left. For systems where
// memory that may be unmapped can be read only while no thread runs.
GM_HOT GM_PRIVATE void gm_mark_all_roots(struct gomem_marker *m) {
    for (size_t i = 0; i < m->mark->njobs; i++) {
        gm_mark_job(m, &m->mark->jobs[i]);
        gm_mark_make_room(m, &m->view, true);
    }
    m->mark->njobs = 0;
    gm_mark_report(m);
}

// Claims the next root job, does it and drains. False: no job is left.
GM_PRIVATE bool gm_mark_next_job(struct gomem_marker *m) {
    struct gm_mark *mark = m->mark;
    if (gm_load_rlx(&mark->next_job) >= mark->njobs) return false;
    uint32_t i = gm_add_rlx(&mark->next_job, 1u); // each number is taken once
    if (i >= mark->njobs) return false;
    gm_mark_job(m, &mark->jobs[i]);
    gm_mark_drain(m);
    return true;
}

// ---- termination ----

// Called by a marker that finds no work. True: there is work again. False: no marker has work, and
// the phase is done (M3, M4); or the markers halt; or this marker's time is over, and it has left
// the phase. While it is idle, the others share their stacks (gm_mark_drain).
GM_PRIVATE bool gm_mark_rest(struct gomem_marker *m) {
    struct gm_mark *mark = m->mark;
    gm_mark_report(m);
    const uint64_t idle = (uint64_t)1 << 16;
    uint64_t s = gm_add_acqrel(&mark->state, idle) + idle; // pairs with the cas below: counters
    for (unsigned spins = 0;; spins++) {
        if ((uint32_t)(s >> 32) != m->phase || (uint32_t)s == GM_MARK_DONE) return false;
        if ((uint32_t)s >> 16 == (s & 0xffff)) { // all are idle: the phase is done
            // pairs with the add above: the counters of all markers
            if (gm_cas_acqrel(&mark->state, &s, s | GM_MARK_DONE)) return false;
            continue;
        }
        bool work = (uint32_t)gm_load_acq(&mark->queue); // pairs with gm_mark_enqueue
        if (work && !gm_load_rlx(&mark->halt)) {
            if (gm_cas_acqrel(&mark->state, &s, s - idle)) return true; // pairs with the add above
            continue;
        }
        if (m->until && gm_os_now() >= m->until) {
            // pairs with the add above: this marker was idle
            if (gm_cas_acqrel(&mark->state, &s, s - idle - 1)) return false;
            continue;
        }
        if (spins < 200) gm_os_pause();
        else gm_os_yield(spins / 32);  // sleeps late, because threads may be stopped
        s = gm_load_acq(&mark->state); // pairs with the add above
    }
}

// Begins a phase of marking with m as its first marker. deadline: ns at which it halts, 0: never.
GM_PRIVATE void gm_mark_begin_phase(struct gm_mark *mark, struct gomem_marker *m,
                                    uint64_t deadline) {
    uint32_t phase = (uint32_t)(gm_load_rlx(&mark->state) >> 32) + 1;
    gm_mark_begin(m, mark, false);
    m->phase = phase;
    mark->deadline = deadline;
    gm_store_rlx(&mark->halt, 0u);
    gm_store_rel(&mark->state, (uint64_t)phase << 32 | 1); // pairs with gm_mark_join
}

// Joins the current phase. False: it is done.
GM_PRIVATE bool gm_mark_join(struct gm_mark *mark, struct gomem_marker *m) {
    // pairs with gm_mark_begin_phase: jobs and colors are ready
    uint64_t s = gm_load_acq(&mark->state);
    while ((uint32_t)s != GM_MARK_DONE)
        if (gm_cas_acqrel(&mark->state, &s, s + 1)) { // pairs with gm_mark_rest
            gm_mark_begin(m, mark, false);
            m->phase = (uint32_t)(s >> 32);
            return true;
        }
    return false;
}

// Leaves the phase. The marker's stack is empty: it has made grey what it held.
GM_PRIVATE void gm_mark_leave(struct gomem_marker *m) {
    uint64_t s = gm_load_rlx(&m->mark->state);
    gm_mark_report(m);
    bool left = false;
    while (!left) left = gm_cas_acqrel(&m->mark->state, &s, s - 1); // pairs with gm_mark_rest
}

// Marks until the time `until` in ns, or until the phase is done or halts: the assist of a thread
// that allocates. The marker has joined and has left on return. If there is no work yet it waits,
// because the program allocates faster than the cycle marks.
GM_HOT GM_PRIVATE void gm_mark_assist(struct gomem_marker *m, uint64_t until) {
    m->until = until;
    do {
        struct gm_span *s;
        while (!gm_mark_halted(m) && gm_mark_next_job(m)) {}
        while (!gm_mark_halted(m) && (s = gm_mark_pop(m->mark)) != NULL) gm_mark_take(m, s);
        if (gm_mark_halted(m)) {
            gm_mark_leave(m);
            return;
        }
    } while (gm_mark_rest(m));
}

// Marks until nothing is grey or the markers halt. The caller has joined the phase, or is alone.
GM_HOT GM_PRIVATE void gm_mark_work(struct gomem_marker *m) {
    struct gm_mark *mark = m->mark;
    do {
        struct gm_span *s;
        while ((m->alone || !gm_mark_halted(m)) && gm_mark_next_job(m)) {}
        while ((m->alone || !gm_mark_halted(m)) && (s = gm_mark_pop(mark)) != NULL)
            gm_mark_take(m, s);
    } while (m->alone ? (uint32_t)gm_load_rlx(&mark->queue) != 0 : gm_mark_rest(m));
    if (m->alone) gm_mark_report(m);
}

/* ==========================================================================================
 * >>writes   what was written while marking: kernel, barrier, stop                 floor 4
 * ==========================================================================================
 * OWNS        struct gm_writes: the descriptors, the registered range, the disarmed pages
 * CALLS       base os pages mark
 * ORDER       a bit of `unarmed` is set after its pages were disarmed, and cleared before they are
 *             armed. A stale bit only costs a fault per page
 * INVARIANTS  W1  the stopping collector: no thread writes between arming and the end of marking
 *             W2  the kernel: a page that is not armed counts as written. The registered range is a
 *                 prefix of zone 0, and all scanned kinds lie in it. If some come to lie in the
 *                 other zone while a cycle marks, all of that zone becomes grey in the finish stop,
 *                 and no later cycle is armed
 *             W3  if a call fails, all of its range counts as written: the marked objects there
 *                 become grey
 *             W4  a query in the finish stop does not arm, so a stop that is given up loses nothing
 *             W5  only the process that opened the descriptors uses them: a child's query would
 *                 arm pages that its parent then does not see as written
 *             W6  a descriptor is used, and closed, only while it is the file that was opened: the
 *                 program may have closed it and opened a file of its own
 *             W7  an unpopulated page of the heap, and one that maps the zero page, holds no
 *                 pointer: it is not read and not armed. After a write it is populated, and counts
 *                 as written like every page that is not armed. A write to it comes after the query
 *                 that found it unpopulated, so C2 holds as if the zeros had been read
 * WHY         The collector needs two operations from a source of writes: arm, and list the written
 *             pages. The kernel provides them without a write barrier in the program: the first
 *             write to an armed page costs 0.8 us; arming or querying 1 GiB takes 0.45 ms. A call
 *             covers at most 16 MiB of heap, and outside of stops the collector yields and spins
 *             10 us after every fourth call: arming 2 GiB in one call made another thread's mmap
 *             wait for 22 ms. Pages taken for new objects are disarmed 128 KiB at a time, 1 MiB
 *             between cycles, so that the program's writes do not fault one by one. Roots of 64 KiB
 *             and more are tracked too, so that a stop need not read all of them: with 32 MB of
 *             globals it takes 0.16 ms instead of 7.
 *             Pages are not disarmed at the end of a cycle, because disarming all of them takes
 *             longer than the faults of the next writes. So the first write to each old page also
 *             costs 0.8 us after a cycle.
 */
enum {
    GM_WRITES_UNIT = 16 * 1024 * 1024,
    GM_WRITES_NAP = 10000,             // ns between calls
    GM_WRITES_LIST = 512,              // ranges that a query reports
    GM_WRITES_AHEAD = 128 * 1024,      // bytes disarmed ahead while a cycle marks
    GM_WRITES_AHEAD_FAR = 1024 * 1024, // the same between cycles
    GM_WRITES_AHEAD_WORDS = 8192,      // words of `unarmed`, for 64 GiB
    GM_WRITES_ROOT = 64 * 1024,        // bytes from which on a root is tracked
    GM_WRITES_ROOT_UNIT = 1024 * 1024, // bytes of a root in a job
    GM_WRITES_ROOT_LIST = 16,          // ranges that a query of a root reports
    GM_ROOT_BOTH = GM_JOB_BOTH,        // the root is a stack
    GM_ROOT_READ = 1024                // a stack that the start stop has listed
};
#define GM_WRITES_LEAST ((size_t)64 << 30) // least bytes of heap to register ahead

struct gm_writes {
    int collector;           // GOMEM_GC_TRACKED, _BARRIER or _STW. const once ready; read rlx
    struct gm_file uffd;     // tracks writes. lock: gc; used without it: fd is atomic
    struct gm_file pagemap;  // lists written pages. lock: gc
    uint32_t process;        // the process that opened them (W5). lock: gc
    uint32_t failed;         // tracking was lost in this cycle (W3). lock: gc
    uintptr_t registered;    // end of the registered range. atomic: rlx
    uintptr_t before;        // the highest such end of earlier descriptors. lock: gc
    uint32_t unmapped;       // gm_pages.unmapped when it was registered. lock: gc
    uintptr_t armed;         // end of the range that the cycle has armed. atomic: rlx
    uint64_t *unarmed;       // a bit per 128 KiB, disarmed since it was armed; pieces 64 GiB
                             // apart share a bit. atomic: rlx
    void *list;              // room for GM_WRITES_LIST ranges. lock: gc
    bool ready;              // the collector is chosen. lock: gc; read acq
    uint32_t reason;         // GOMEM_REASON_…: why it cannot track. lock: gc; read rlx
    bool can_roots;          // private mappings of files can be tracked. lock: gc
    struct gm_written *root; // {start, end, GM_ROOT_…}: roots that this cycle has armed. lock: gc
    size_t roots, room;      // their number, entries of the array
};

// The name of a collector, for messages and traces.
GM_PRIVATE const char *gm_writes_name(int collector) {
    return collector == GOMEM_GC_TRACKED   ? "tracked"
           : collector == GOMEM_GC_BARRIER ? "barrier"
                                           : "stw";
}

// Closes the descriptors; nothing is registered any more.
GM_RARE GM_PRIVATE void gm_writes_close(struct gm_writes *w) {
    gm_store_rlx(&w->armed, (uintptr_t)0); // a thread with a stale value disarms in vain
    gm_os_close(&w->uffd);
    gm_os_close(&w->pagemap);
    w->before = GM_MAX(w->before, gm_load_rlx(&w->registered)); // changes under gc's lock
    gm_store_rlx(&w->registered, (uintptr_t)0);                 // rlx: as in gm_writes_register
}

// Makes sure that this process has its own open descriptors (W5, W6). False: the kernel refuses.
GM_RARE GM_PRIVATE bool gm_writes_open_files(struct gm_writes *w) {
    uint32_t process = (uint32_t)getpid();
    if (w->process == process && gm_os_is_own(&w->uffd) && gm_os_is_own(&w->pagemap)) return true;
    gm_writes_close(w); // W5
    w->process = process;
    if (gm_os_track_open(&w->uffd) && gm_os_pagemap_open(&w->pagemap)) return true;
    gm_writes_close(w);
    return false;
}

// Queries n pages from `from` on. Returns the written ones as bits; all ones: an error. Its list is
// short on purpose, so that longer results take several calls.
GM_PRIVATE uint32_t gm_writes_probe(const struct gm_writes *w, uintptr_t from, size_t page,
                                    size_t n, bool rearm) {
    struct gm_written list[4];
    uintptr_t at = from, to = from + n * page;
    uint32_t bits = 0;
    while (at < to) {
        long found = gm_os_track_scan(&w->pagemap, &at, to, rearm, list, 2);
        if (found < 0) return UINT32_MAX;
        for (long i = 0; i < found; i++)
            for (uint64_t a = list[i].start; a < list[i].end; a += page)
                bits |= 1u << (a - from) / page;
        if (!found) break;
    }
    return bits;
}

// Tests whether the kernel behaves as the collector requires, on 16 fresh pages at p. Each line
// checks a fact that the collector relies on.
GM_PRIVATE bool gm_writes_test_pages(const struct gm_writes *w, char *p, size_t page) {
    uintptr_t at = (uintptr_t)p, from = at;
    p[0] = p[page] = 1;
    if (!gm_os_track(&w->uffd, at, at + 16 * page)) return false;
    if ((gm_writes_probe(w, at, page, 16, true) & 3) != 3) return false; // not armed: written
    if (gm_writes_probe(w, at, page, 16, true)) return false;            // armed: not written
    if (*(volatile char *)&p[2 * page] || gm_writes_probe(w, at, page, 16, true))
        return false;                                                 // zero page
    p[0] = p[2 * page] = p[4 * page] = p[6 * page] = p[8 * page] = 1; // more than a list holds
    if (gm_writes_probe(w, at, page, 16, false) != 0x155) return false;
    if (gm_writes_probe(w, at, page, 16, true) != 0x155) return false; // a query did not arm
    if (!gm_os_track_clear(&w->uffd, at + page, at + 2 * page)) return false;
    if (gm_writes_probe(w, at, page, 16, true) != 2) return false; // disarmed: written
    if (!gm_os_discard(p + 4 * page, page)) return false;
    if (gm_writes_probe(w, at, page, 16, true) != 16) return false; // discarded: written
    from = at;
    p[5 * page] = 1;
    if (gm_os_track_scan(&w->pagemap, &from, at + 16 * page, true, NULL, 0) < 0) return false;
    return gm_writes_probe(w, at, page, 16, true) == 0; // arming without a list
}

// Tests that unpopulated pages are not listed, and are listed once they are written (W7): for two
// fresh pages at p that are untouched, then read, then written, then one of them discarded.
GM_PRIVATE bool gm_writes_test_there(const struct gm_writes *w, volatile char *p, size_t page) {
    static const unsigned char wanted[4] = {0, 0, 3, 2}; // pages as bits
    if (!gm_os_track(&w->uffd, (uintptr_t)p, (uintptr_t)p + 2 * page)) return false;
    for (unsigned i = 0; i < 8; i++) {
        struct gm_written list[4];
        uintptr_t at = (uintptr_t)p;
        if (i == 2) (void)p[0]; // maps the zero page
        if (i == 4) p[0] = p[page] = 1;
        if (i == 6 && !gm_os_discard((void *)(uintptr_t)p, page)) return false;
        // odd turns list populated pages, even ones list and arm written pages
        long n = gm_os_track_scan_there(&w->pagemap, &at, at + 2 * page,
                                        i & 1 ? GM_THERE_ALL : GM_THERE_REARM, list, 4);
        unsigned bits = 0;
        for (long k = 0; k < n; k++)
            for (uint64_t a = list[k].start; a < list[k].end; a += page)
                bits |= 1u << (a - (uintptr_t)p) / page;
        if (n < 0 || bits != (i == 6 ? 0 : wanted[i / 2])) return false;
    }
    uintptr_t at = (uintptr_t)p;
    p[0] = 1; // discarded, then written: not armed
    return gm_writes_probe(w, at, page, 2, true) == 1;
}

// Tests private mappings of files, such as the data of a program, with a file in memory.
GM_PRIVATE bool gm_writes_test_file(const struct gm_writes *w, size_t page) {
    struct gm_file file;
    if (!gm_os_file_may_have(4 * page)) return false;
    int fd = (int)GOMEM_SYSCALL(SYS_memfd_create, "gomem", 1L); // MFD_CLOEXEC
    bool made = gm_os_own(&file, fd, false) && gm_os_is_own(&file) &&
                !GOMEM_SYSCALL(SYS_ftruncate, (long)file.fd, (long)(4 * page));
    char *p = made && gm_os_is_own(&file)
                  ? GOMEM_MMAP(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.fd, 0)
                  : MAP_FAILED;
    uintptr_t at = (uintptr_t)p;
    bool done = p != MAP_FAILED;
    if (done) {
        p[0] = 1;
        (void)*(volatile char *)&p[page]; // maps the file's own page
        done = gm_os_track(&w->uffd, at, at + 4 * page) &&
               gm_writes_probe(w, at, page, 4, true) != UINT32_MAX &&
               !gm_writes_probe(w, at, page, 4, true); // armed: not written, populated or not
        p[0] = p[page] = p[2 * page] = 1;
        done = done && gm_writes_probe(w, at, page, 4, true) == 7 &&
               !gm_writes_probe(w, at, page, 4, true);
        (void)GOMEM_MUNMAP(p, 4 * page);
    }
    gm_os_close(&file);
    return done;
}

// Tests whether two userfaultfds have different inodes, by which they are told apart (W6).
GM_PRIVATE bool gm_writes_test_identity(const struct gm_writes *w) {
    struct gm_file other;
    if (!gm_os_own(&other, gm_os_tracker(), false)) return false;
    bool done = other.inode != w->uffd.inode;
    gm_os_close(&other);
    return done;
}

// Runs all tests with descriptors and memory of its own. The last one: after the userfaultfd is
// closed, a query fails instead of reporting no pages. Sets *file if mappings of files pass too.
GM_PRIVATE bool gm_writes_test(size_t page, bool *file) {
    struct gm_writes own = {.uffd = {.fd = -1}, .pagemap = {.fd = -1}};
    if (!gm_writes_open_files(&own)) return false;
    char *p = gm_os_reserve(18 * page, 0);
    bool done = p && gm_writes_test_identity(&own) &&
                gm_os_protect((uintptr_t)p, (uintptr_t)p + 18 * page, PROT_READ | PROT_WRITE);
    if (done && !gm_os_discard(p, 18 * page))
        gm_os_unlock(p, 18 * page), gm_os_discard(p, 18 * page);
    done = done && gm_writes_test_pages(&own, p, page) &&
           gm_writes_test_there(&own, p + 16 * page, page);
    *file = done && gm_writes_test_file(&own, page);
    if (done) {
        gm_os_close(&own.uffd);
        done = gm_writes_probe(&own, (uintptr_t)p, page, 16, true) == UINT32_MAX;
    }
    gm_writes_close(&own);
    gm_os_release(p, 18 * page);
    return done;
}

// Finds out why this process cannot track writes: tries each call alone. Returns a GOMEM_REASON_…,
// or `otherwise` if all succeed.
GM_COLD GM_PRIVATE unsigned gm_writes_diagnose(unsigned otherwise) {
    unsigned reason = GOMEM_REASON_NONE;
    int uffd = gm_os_tracker(), pagemap = -1;
    if (uffd < 0)
        reason = errno == EMFILE || errno == ENFILE ? GOMEM_REASON_DESCRIPTORS
                 : errno == EINVAL                  ? GOMEM_REASON_KERNEL
                                                    : GOMEM_REASON_USERFAULTFD;
    else if (!gm_os_ask_api(uffd))
        reason = errno == EINVAL ? GOMEM_REASON_KERNEL : GOMEM_REASON_IOCTL;
    if (!reason) pagemap = gm_os_ask_pagemap();
    if (!reason && pagemap < 0)
        reason = errno == EMFILE || errno == ENFILE ? GOMEM_REASON_DESCRIPTORS
                 : errno == EACCES                  ? GOMEM_REASON_SETUID
                                                    : GOMEM_REASON_PROC;
    else if (!reason && !gm_os_ask_scan(pagemap))
        reason = errno == EPERM || errno == ENOSYS || errno == EACCES ? GOMEM_REASON_IOCTL
                                                                      : GOMEM_REASON_KERNEL;
    gm_os_ask_close(uffd);
    gm_os_ask_close(pagemap);
    if (!reason && !gm_os_discard(NULL, 0) && errno != EINVAL) reason = GOMEM_REASON_MADVISE;
    return reason ? reason : otherwise;
}

// Chooses the collector, once: the wanted one, or for GOMEM_GC_AUTO what the kernel supports.
// False: tracking was wanted by name, and the kernel does not support it.
GM_PRIVATE bool gm_writes_choose(struct gm_writes *w, struct gm_meta *meta,
                                 const struct gm_pages *p, int wanted) {
    bool ask = wanted == GOMEM_GC_AUTO || wanted == GOMEM_GC_TRACKED, can = false;
    if (w->ready) return true;
    w->uffd.fd = w->pagemap.fd = -1;
    gm_store_rlx(&w->registered, (uintptr_t)0); // no other thread uses it yet
    w->armed = 0;
    if (ask && !w->list) w->list = gm_pages_meta(meta, GM_WRITES_LIST * sizeof(struct gm_written));
    if (ask && !w->unarmed)
        w->unarmed = gm_pages_meta(meta, GM_WRITES_AHEAD_WORDS * sizeof *w->unarmed);
    bool room = w->list && w->unarmed;
    if (ask && room) can = gm_writes_test(p->os_page, &w->can_roots) && gm_writes_open_files(w);
    int collector = can ? GOMEM_GC_TRACKED : ask ? GOMEM_GC_STW : wanted;
    unsigned reason = GOMEM_REASON_NONE;
    if (ask && !can) reason = room ? gm_writes_diagnose(GOMEM_REASON_KERNEL) : GOMEM_REASON_MEMORY;
    gm_store_rlx(&w->reason, reason);       // published by `ready`
    gm_store_rlx(&w->collector, collector); // published by gm_world_enable_stops
    gm_store_rel(&w->ready, true);          // pairs with gomem_init and memstats
    return can || wanted != GOMEM_GC_TRACKED;
}

// ---- roots ----

GM_PRIVATE void gm_writes_forget_roots(struct gm_writes *w) { w->roots = 0; }

// Makes room for one more root [from, to), page-aligned. False: it is too small, cannot be tracked,
// or memory is exhausted; then it is read as a whole.
GM_PRIVATE bool gm_writes_root_room(struct gm_writes *w, struct gm_meta *meta, uintptr_t from,
                                    uintptr_t to) {
    if (w->collector != GOMEM_GC_TRACKED || !w->can_roots) return false;
    if (from >= to || to - from < GM_WRITES_ROOT) return false;
    if (w->roots < w->room) return true;
    size_t room = GM_MAX(w->room * 2, (size_t)64);
    struct gm_written *list = gm_pages_meta_grow(meta, w->root, w->room * sizeof *list,
                                                 room * sizeof *list);
    if (!list) return false;
    w->root = list;
    w->room = room;
    return true;
}

// Arms a large root, of which the finish stop then reads only the written pages. If that fails, the
// stop reads all of it. `own`: it is known to be private memory. Memory that can be written through
// another mapping cannot be tracked.
GM_PRIVATE void gm_writes_arm_root(struct gm_writes *w, struct gm_meta *meta, size_t page,
                                   uintptr_t start, uintptr_t end, bool own) {
    uintptr_t from = gm_base_round_up(start, page), to = end - end % page, at = from;
    if (!gm_writes_root_room(w, meta, from, to)) return;
    // Registered by an earlier cycle, it can be armed at once; otherwise it is registered first.
    if (gm_os_track_scan(&w->pagemap, &at, to, true, NULL, 0) < 0) {
        at = from;
        if (!own && !gm_os_is_private(from, to)) return;
        if (!gm_os_track(&w->uffd, from, to) ||
            gm_os_track_scan(&w->pagemap, &at, to, true, NULL, 0) < 0)
            return;
    }
    w->root[w->roots++] = (struct gm_written){from, to, 0};
}

// Finds the part [*from, *to) of a root that this cycle has armed; false: it has not.
GM_PRIVATE bool gm_writes_armed_root(const struct gm_writes *w, size_t page, uintptr_t start,
                                     uintptr_t end, uintptr_t *from, uintptr_t *to) {
    *from = gm_base_round_up(start, page);
    *to = end - end % page;
    if (w->roots && w->process != (uint32_t)getpid()) return false; // W5
    for (size_t i = 0; i < w->roots; i++)
        if (w->root[i].start == *from && w->root[i].end == *to) return true;
    return false;
}

// Lists the armed part of a root as jobs for written pages, in a stop. False: no room.
GM_PRIVATE bool gm_writes_list_root(struct gm_mark *mark, uintptr_t from, uintptr_t to,
                                    unsigned flags) {
    bool done = true;
    for (; done && from < to; from += GM_MIN(to - from, (uintptr_t)GM_WRITES_ROOT_UNIT))
        done = gm_mark_add_written(mark, from, GM_MIN(to, from + GM_WRITES_ROOT_UNIT),
                                   flags | GM_JOB_FOREIGN);
    return done;
}

// Arms the part of a thread's stack from `start` up, where its stack pointer was a cycle ago. The
// stack is registered as [lo, hi), which must be whole mappings: registering a part splits a
// mapping, and libc would take the stack for shorter. False: it is not registered yet, and the
// caller should find out lo and hi and call again. With lo = hi = 0 it is not registered here.
GM_PRIVATE bool gm_writes_arm_stack(struct gm_writes *w, struct gm_meta *meta, size_t page,
                                    uintptr_t start, uintptr_t end, uintptr_t lo, uintptr_t hi) {
    uintptr_t from = gm_base_round_up(start, page), to = end - end % page, at = from;
    if (!gm_writes_root_room(w, meta, from, to)) return true;
    if (lo < hi && (!gm_os_is_private(lo, hi) || !gm_os_track(&w->uffd, lo, hi))) return true;
    if (gm_os_track_scan(&w->pagemap, &at, to, true, NULL, 0) < 0) return false;
    w->root[w->roots++] = (struct gm_written){from, to, GM_ROOT_BOTH};
    return true;
}

// Returns the armed stack that ends at `end`, or NULL.
GM_PRIVATE struct gm_written *gm_writes_find_stack(const struct gm_writes *w, size_t page,
                                                   uintptr_t end) {
    if (w->roots && w->process != (uint32_t)getpid()) return NULL; // W5
    for (size_t i = 0; i < w->roots; i++)
        if (w->root[i].categories & GM_ROOT_BOTH && w->root[i].end == end - end % page)
            return &w->root[i];
    return NULL;
}

// Records that the start stop lists a stack from `from` up. The part below is not read by this
// cycle, so its tracking is of no use.
GM_PRIVATE void gm_writes_read_stack(const struct gm_writes *w, size_t page, uintptr_t from,
                                     uintptr_t end) {
    struct gm_written *root = gm_writes_find_stack(w, page, end);
    if (!root) return;
    root->start = GM_MAX(root->start, (uint64_t)gm_base_round_up(from, page));
    root->categories |= GM_ROOT_READ;
}

// Finds the part [*at, *to) of a stack from `from` up that this cycle has armed and read; false:
// there is none.
GM_PRIVATE bool gm_writes_armed_stack(const struct gm_writes *w, size_t page, uintptr_t from,
                                      uintptr_t end, uintptr_t *at, uintptr_t *to) {
    const struct gm_written *root = gm_writes_find_stack(w, page, end);
    if (!root || !(root->categories & GM_ROOT_READ)) return false;
    *at = GM_MAX((uintptr_t)root->start, gm_base_round_up(from, page));
    *to = (uintptr_t)root->end;
    return *at < *to;
}

// Marks from the written pages of a root's range, or from all of it if tracking was lost (W3).
// Returns the number of pages read.
GM_PRIVATE size_t gm_writes_read_root(const struct gm_writes *w, struct gomem_marker *m,
                                      uintptr_t from, uintptr_t to, unsigned flags) {
    struct gm_written list[GM_WRITES_ROOT_LIST];
    size_t bytes = 0;
    for (uintptr_t at = from; at < to;) {
        long n = gm_os_track_scan(&w->pagemap, &at, to, false, list, GM_WRITES_ROOT_LIST);
        if (n < 0) {
            gm_mark_foreign(m, from, to - from, flags);
            bytes = to - from;
        }
        for (long i = 0; i < n; i++) {
            size_t size = (size_t)(list[i].end - list[i].start);
            gm_mark_foreign(m, (uintptr_t)list[i].start, size, flags);
            bytes += size;
        }
        if (n <= 0) break;
    }
    return bytes / m->mark->pages->os_page;
}

GM_INLINE unsigned gm_writes_root_flags(const struct gm_written *root) {
    return (unsigned)root->categories & GM_ROOT_BOTH;
}

// Between rounds, while the markers rest: lists the written pages of roots as jobs and arms them
// again. A root for which that fails is removed, and the finish stop reads all of it. Returns the
// number of pages.
GM_HOT GM_PRIVATE size_t gm_writes_collect_roots(struct gm_writes *w, struct gm_mark *mark) {
    struct gm_written *list = w->list;
    size_t bytes = 0;
    mark->njobs = 0;
    gm_store_rlx(&mark->next_job, 0u);                               // no marker works
    if (w->process != (uint32_t)getpid()) gm_writes_forget_roots(w); // W5
    for (size_t i = 0; i < w->roots;) {
        uintptr_t at = (uintptr_t)w->root[i].start, to = (uintptr_t)w->root[i].end;
        long n = 1;
        bool fits = true;
        while (at < to && n > 0 && fits) {
            n = gm_os_track_scan(&w->pagemap, &at, to, true, list, GM_WRITES_LIST);
            for (long k = 0; k < n && fits; k++) {
                fits = gm_mark_add_job(mark, (uintptr_t)list[k].start, (uintptr_t)list[k].end,
                                       GM_JOB_FOREIGN | gm_writes_root_flags(&w->root[i]));
                bytes += (size_t)(list[k].end - list[k].start);
            }
        }
        if (n >= 0 && fits) i++;
        else w->root[i] = w->root[--w->roots];
    }
    return bytes / mark->pages->os_page;
}

// ---- the heap ----

// Called at shutdown; the next heap chooses its collector again.
GM_PRIVATE void gm_writes_reset(struct gm_writes *w, struct gm_meta *meta) {
    if (!w->ready) return;
    gm_writes_close(w);
    gm_pages_meta_free(meta, w->unarmed, GM_WRITES_AHEAD_WORDS * sizeof *w->unarmed);
    w->unarmed = NULL;
    gm_store_rel(&w->ready, false); // pairs with gomem_init and memstats
}

// The end of zone 0. Without the heap's lock it may be stale: pages mapped later are not armed, so
// they count as written (W2).
GM_PRIVATE uintptr_t gm_writes_end(const struct gm_pages *p) {
    return gm_pages_scanned(p) + (uintptr_t)gm_load_rlx(&p->zone[0].mapped) * GM_PAGE;
}

// Called if the heap is still registered with an earlier userfaultfd of this process, of which a
// copy is open: the program has duplicated or passed on the descriptor, or a forked child has it.
// That registration lasts until the last copy is closed, and the new pagemap works with it; arming
// checks that range by range. Registers only what lies beyond it. Returns the end of the registered
// range.
GM_COLD GM_PRIVATE uintptr_t gm_writes_adopt(struct gm_writes *w, uintptr_t end, uintptr_t to) {
    uintptr_t from = GM_MIN(w->before, to);
    return from < to && gm_os_track(&w->uffd, from, to) ? to : end;
}

// Registers zone 0 and, in a heap that is not sparse, much address space beyond its end, so that
// this is rare. False: the kernel refuses.
GM_PRIVATE bool gm_writes_register(struct gm_writes *w, const struct gm_pages *p) {
    uintptr_t end = gm_writes_end(p), to = end + GM_MIN(GM_WRITES_LEAST, p->size / 4);
    to = GM_MIN(to, gm_pages_address(p, p->zone[1].origin) -
                        (uintptr_t)gm_load_rlx(&p->zone[1].mapped) * GM_PAGE); // may be stale
    uint32_t unmapped = gm_load_rlx(&p->unmapped); // a later change is seen by gm_writes_whole
    if (p->sparse) to = end;
    if (end <= gm_load_rlx(&w->registered) && w->unmapped == unmapped) return true;
    errno = 0;
    if (!gm_os_track(&w->uffd, gm_pages_scanned(p), to)) {
        if (errno != EBUSY) return false;
        to = gm_writes_adopt(w, end, to);
    }
    gm_store_rlx(&w->registered, to); // gm_writes_grown reads: too low a value costs one cycle
    w->unmapped = unmapped;
    return true;
}

// Hook of room pages: zone 0 of a sparse heap has grown by [from, to). HEAP is held. Keeps W2.
GM_PRIVATE void gm_writes_grown(void *writes, uintptr_t from, uintptr_t to) {
    struct gm_writes *w = writes;
    if (gm_load_rlx(&w->registered) != from || !gm_os_track(&w->uffd, from, to)) return; // W2
    gm_store_rlx(&w->registered, to); // rlx: as in gm_writes_register
}

GM_INLINE uint64_t *gm_writes_unarmed_word(const struct gm_writes *w, size_t word) {
    return &w->unarmed[word % GM_WRITES_AHEAD_WORDS];
}

// Clears the bits of `unarmed` for a range that is about to be armed.
GM_PRIVATE void gm_writes_close_bits(struct gm_writes *w, const struct gm_pages *p, uintptr_t from,
                                     uintptr_t to) {
    uintptr_t start = gm_pages_scanned(p);
    size_t word = (from - start) / GM_WRITES_AHEAD / 64;
    for (; start + word * 64 * GM_WRITES_AHEAD < to; word++)
        gm_store_rlx(gm_writes_unarmed_word(w, word), (uint64_t)0); // a stale bit costs a fault
}

// Finds the next range [*at, *to) of used chunks from *at on, at most GM_WRITES_UNIT bytes. False:
// there is none. Free chunks are skipped; once taken they count as written (W2).
GM_PRIVATE bool gm_writes_next(const struct gm_pages *p, uintptr_t *at, uintptr_t *to) {
    const struct gm_chunk *chunk = p->zone[0].chunk;
    uintptr_t start = gm_pages_scanned(p);
    size_t pages = gm_load_rlx(&p->zone[0].mapped); // as in gm_writes_end
    uintptr_t last = start + (uintptr_t)pages * GM_PAGE;
    size_t n = gm_pages_chunks(pages), i = (*at - start) / GM_CHUNK;
    while (i < n && gm_load_rlx(&chunk[i].most) == GM_CHUNK_PAGES) i++;
    if (i >= n || *at >= last) return false; // the last chunk may end before its end (P9)
    *at = GM_MAX(*at, start + (uintptr_t)i * GM_CHUNK);
    size_t end = i + 1;
    while (end < n && end - i < GM_WRITES_UNIT / GM_CHUNK &&
           gm_load_rlx(&chunk[end].most) != GM_CHUNK_PAGES)
        end++;
    *to = GM_MIN(start + (uintptr_t)end * GM_CHUNK, last);
    return true;
}

// After every fourth call, lets other threads take the kernel's lock of the address space. It
// spins, because a sleep takes four times as long, and pages written meanwhile lengthen the finish
// stop.
GM_PRIVATE void gm_writes_nap(unsigned calls) {
    if (!calls || calls % 4) return;
    uint64_t end = gm_os_now() + GM_WRITES_NAP;
    (void)sched_yield();
    while (gm_os_now() < end) gm_os_pause();
}

// Arms zone 0, where all scanned kinds lie: from here on the kernel reports pages that are written.
// Outside of stops and sections. Calls `pause` between calls of the kernel. False: tracking is not
// possible now, and this cycle stops the world.
GM_HOT GM_PRIVATE bool gm_writes_arm(struct gm_writes *w, const struct gm_pages *p,
                                     void (*pause)(void *arg), void *arg) {
    if (w->collector == GOMEM_GC_BARRIER) return true;
    if (w->failed) gm_writes_close(w); // open and register again
    w->failed = 0;
    if (!gm_writes_open_files(w) || !gm_writes_register(w, p)) {
        gm_writes_close(w);
        gm_store_rlx(&w->reason, gm_writes_diagnose(GOMEM_REASON_MEMORY)); // for memstats
        return false;
    }
    uintptr_t end = gm_writes_end(p);
    unsigned calls = 0;
    for (uintptr_t at = gm_pages_scanned(p), to; gm_writes_next(p, &at, &to) && at < end; at = to) {
        uintptr_t from = at;
        gm_writes_nap(calls++);
        if (pause) pause(arg);
        gm_writes_close_bits(w, p, at, to);
        for (long n = 1; from < to && n;) { // unpopulated pages are not armed (W7)
            n = gm_os_track_scan_there(&w->pagemap, &from, to, GM_THERE_REARM, w->list,
                                       GM_WRITES_LIST);
            if (n >= 0) continue;
            gm_writes_close(w);
            return false;
        }
    }
    gm_store_rlx(&w->armed, end);                          // a stale value costs faults
    gm_store_rlx(&w->reason, (uint32_t)GOMEM_REASON_NONE); // for memstats
    return true;
}

// Tracking was lost: all of [from, to) counts as written (W3), and the next cycle sets it up again.
GM_RARE GM_PRIVATE void gm_writes_fail(struct gm_writes *w, struct gm_mark *mark, uintptr_t from,
                                       uintptr_t to) {
    gm_store_rlx(&w->failed, 1u); // several markers may store it at once
    gm_mark_regrey(mark, from, to);
}

// In a stop: makes the objects on a range of pages that were reported as written grey. Much of such
// a range is often fresh memory that was never armed, so a range of several pages is queried again
// for populated pages only (W7). Returns the number of pages.
GM_HOT GM_PRIVATE size_t gm_writes_regrey(const struct gm_writes *w, struct gm_mark *mark,
                                          uintptr_t from, uintptr_t to) {
    struct gm_written list[GM_WRITES_ROOT_LIST];
    size_t bytes = 0;
    if (to - from <= mark->pages->os_page) {
        gm_mark_regrey(mark, from, to);
        return 1;
    }
    for (long n = 1; from < to && n;) {
        uintptr_t at = from;
        n = gm_os_track_scan_there(&w->pagemap, &from, to, GM_THERE_WRITTEN, list,
                                   GM_WRITES_ROOT_LIST);
        if (n < 0) list[0] = (struct gm_written){at, to, 0}, from = to, n = 1;
        for (long i = 0; i < n; i++) {
            gm_mark_regrey(mark, (uintptr_t)list[i].start, (uintptr_t)list[i].end);
            bytes += (size_t)(list[i].end - list[i].start);
        }
    }
    return bytes / mark->pages->os_page;
}

// Makes the objects on the written pages of [from, to) grey, and arms these pages again if `rearm`
// is set. Returns the number of pages.
GM_HOT GM_PRIVATE size_t gm_writes_collect_unit(struct gm_writes *w, struct gm_mark *mark,
                                                struct gm_written *list, uintptr_t from,
                                                uintptr_t to, bool rearm) {
    size_t pages = 0;
    if (rearm) gm_writes_close_bits(w, mark->pages, from, to);
    for (uintptr_t at = from; at < to;) {
        long n = rearm ? gm_os_track_scan_there(&w->pagemap, &at, to, GM_THERE_REARM, list,
                                                GM_WRITES_LIST)
                       : gm_os_track_scan(&w->pagemap, &at, to, false, list, GM_WRITES_LIST);
        if (n < 0) {
            gm_writes_fail(w, mark, from, to);
            return pages + (to - from) / mark->pages->os_page;
        }
        for (long i = 0; i < n; i++) {
            uintptr_t start = (uintptr_t)list[i].start, end = (uintptr_t)list[i].end;
            if (rearm) gm_mark_regrey(mark, start, end);
            pages += rearm ? (end - start) / mark->pages->os_page
                           : gm_writes_regrey(w, mark, start, end);
        }
        if (!n) break;
    }
    return pages;
}

// Tests whether all of zone 0 is tracked by this process. If not, all of it counts as written (W3).
GM_PRIVATE bool gm_writes_whole(struct gm_writes *w, struct gm_mark *mark) {
    uintptr_t end = gm_writes_end(mark->pages);
    bool all = end <= gm_load_rlx(&w->registered) && // rlx: as in gm_writes_register
               w->unmapped == gm_load_rlx(&mark->pages->unmapped);
    if (all && w->process == (uint32_t)getpid()) return true;
    gm_writes_fail(w, mark, gm_pages_scanned(mark->pages), end);
    return false;
}

// Between rounds, while the markers rest: makes the marked objects on all written pages grey again,
// and arms these pages again. Returns the number of pages, including those with new objects only.
GM_HOT GM_PRIVATE size_t gm_writes_collect(struct gm_writes *w, struct gm_mark *mark) {
    const struct gm_pages *p = mark->pages;
    size_t pages = 0;
    unsigned calls = 0;
    if (w->collector != GOMEM_GC_TRACKED) return 0;
    if (!gm_writes_whole(w, mark)) return (gm_writes_end(p) - gm_pages_scanned(p)) / p->os_page;
    for (uintptr_t at = gm_pages_scanned(p), to; gm_writes_next(p, &at, &to); at = to) {
        gm_writes_nap(calls++);
        pages += gm_writes_collect_unit(w, mark, w->list, at, to, true);
    }
    return pages;
}

// The same in a stop, as jobs for the markers; they may mark meanwhile, since no thread writes. No
// page is armed again (W4).
GM_PRIVATE void gm_writes_list_stopped(struct gm_writes *w, struct gm_mark *mark) {
    const struct gm_pages *p = mark->pages;
    gm_store_rlx(&mark->pages_written, (uint64_t)0); // no marker works now
    if (w->collector != GOMEM_GC_TRACKED || !gm_writes_whole(w, mark)) return;
    for (uintptr_t at = gm_pages_scanned(p), to; gm_writes_next(p, &at, &to); at = to)
        if (!gm_mark_add_written(mark, at, to, 0)) gm_writes_fail(w, mark, at, to);
}

// Estimates the ns that querying heap and roots takes in a stop, with n markers: 0.45 us per MiB of
// tracked memory, and 200 us per MiB of listed roots that are read as a whole, mostly stacks.
GM_PRIVATE uint64_t gm_writes_cost(const struct gm_writes *w, const struct gm_mark *mark,
                                   unsigned n) {
    uint64_t bytes = 0, whole = 0;
    for (size_t i = 0; i < mark->njobs; i++)
        if (!(mark->jobs[i].flags & GM_JOB_WRITTEN)) whole += mark->jobs[i].size;
    if (w->collector == GOMEM_GC_TRACKED)
        bytes = gm_writes_end(mark->pages) - gm_pages_scanned(mark->pages);
    for (size_t i = 0; i < w->roots; i++) bytes += w->root[i].end - w->root[i].start;
    return (bytes / GM_MIB * 450 + whole / 5) / n;
}

// Hook of room mark: does a job for written pages.
GM_PRIVATE size_t gm_writes_job(struct gomem_marker *m, const struct gm_job *job) {
    struct gm_writes *w = m->mark->source;
    uintptr_t end = job->start + job->size;
    if (job->flags & GM_JOB_FOREIGN)
        return gm_writes_read_root(w, m, job->start, end, job->flags & GM_JOB_BOTH);
    return gm_writes_collect_unit(w, m->mark, (void *)m->buffer, job->start, end, false);
}

// Hook of room mark: lists the populated parts of a large object's pieces (W7).
GM_PRIVATE long gm_writes_there(struct gomem_marker *m, uintptr_t from, uintptr_t to) {
    const struct gm_writes *w = m->mark->source;
    if (gm_load_rlx(&w->pagemap.fd) < 0 || w->process != (uint32_t)getpid()) return -1; // W5
    long n = gm_os_track_scan_there(&w->pagemap, &from, to, GM_THERE_ALL, (void *)m->buffer,
                                    GM_READ / sizeof(struct gm_written));
    return from >= to ? n : -1;
}

// Tests whether three quarters of the 128 KiB from an address on are free pages: these hold nothing
// that is marked, and will be taken soon.
GM_PRIVATE bool gm_writes_mostly_free(const struct gm_pages *p, uintptr_t from) {
    size_t page = (from - p->base) >> GM_PAGE_SHIFT, free = 0;
    for (size_t i = 0; i < GM_WRITES_AHEAD / GM_PAGE; i++) free += !gm_pages_desc(p, page + i);
    return free >= GM_WRITES_AHEAD / GM_PAGE / 4 * 3;
}

// Disarms the pages of a span that is being taken, and pages around it, because they are about to
// be written: 1 MiB at a time, or 128 KiB while a cycle marks. While one marks, it does so only
// where most pages are free: reused spans lie anywhere, and disarming pages around each of them
// makes the whole heap count as written (bench/latency: rounds of 41,000 pages, cycles of 115 ms).
// The caller is in a section.
GM_PRIVATE void gm_writes_clear_ahead(struct gm_writes *w, const struct gm_pages *p, uintptr_t from,
                                      uintptr_t to, bool marking) {
    uintptr_t armed = gm_load_rlx(&w->armed); // a stale value costs faults
    uintptr_t step = marking ? GM_WRITES_AHEAD : GM_WRITES_AHEAD_FAR;
    uint64_t bits = marking ? 1 : ((uint64_t)1 << GM_WRITES_AHEAD_FAR / GM_WRITES_AHEAD) - 1;
    from -= (from - p->base) % step;
    for (to = GM_MIN(to, armed); from < to; from += step) {
        size_t unit = (from - gm_pages_scanned(p)) / GM_WRITES_AHEAD;
        uint64_t *word = gm_writes_unarmed_word(w, unit / 64), mine = bits << unit % 64;
        if ((gm_load_rlx(word) & mine) == mine) continue;
        if (marking && !gm_writes_mostly_free(p, from)) continue;
        uintptr_t end = GM_MIN(from + step, armed);
        // rlx: a bit that is missed or stale costs a call or a fault
        if (gm_os_track_clear(&w->uffd, from, end)) (void)gm_or_rlx(word, mine);
    }
}
#endif // GOMEM_I_COLLECTOR

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>sweep   marked spans become allocatable again                                  floor 4
 * ==========================================================================================
 * OWNS        struct gm_sweep (the generation)
 * CALLS       base os sync stats pages span heap central special guard
 * LOCKS       CENTRAL, then HEAP
 * ORDER       a span is claimed before its bits are rewritten (rel fence), and the bits are written
 *             before its generation is set (rel). A reader of bits loads the generation before
 *             (acq) and after (acq fence) them
 * INVARIANTS  S1  each collected span in use is swept exactly once per cycle
 *             S2  no thread allocates from an unswept span
 *             S3  a sweep of an owned span rewrites its bits, but only the owner frees or lists it
 * WHY         Sweeping sets alloc = mark & ~freed and mark = freed = 0. It touches no object, and
 *             64 slots take a few instructions. Sweeping is lazy: a thread sweeps when it needs a
 *             span of the class or before the heap grows, and the background thread sweeps the
 *             rest.
 *             span.generation:  G swept · G - 1 being swept · G - 2 not yet;  a cycle adds 2 to G.
 */
struct gm_sweep {
    uint32_t generation; // G. stw; read anywhere
};

// The lists of a central with partial spans and with full ones, swept or unswept (CL2).
GM_INLINE unsigned gm_sweep_partial(const struct gm_sweep *w, bool swept) {
    return (gm_load_rlx(&w->generation) / 2 & 1) ^ !swept; // changes in stops only
}
GM_INLINE unsigned gm_sweep_full(const struct gm_sweep *w, bool swept) {
    return 2 + gm_sweep_partial(w, swept);
}

// Tests whether a span is swept. If so, its bits are rewritten.
GM_INLINE bool gm_sweep_swept(const struct gm_sweep *w, const struct gm_span *s) {
    // pairs with gm_sweep_bits: bits are done
    return gm_load_acq(&s->generation) == gm_load_rlx(&w->generation);
}

// Claims an unswept span for sweeping; false: another thread has claimed or swept it.
GM_PRIVATE bool gm_sweep_claim(const struct gm_sweep *w, struct gm_span *s) {
    uint32_t old = gm_load_rlx(&w->generation) - 2;
    // pairs with gm_sweep_bits' store of the last cycle
    bool done = gm_cas_acqrel(&s->generation, &old, old + 1);
    gm_fence_rel(); // pairs with gm_sweep_live's: a reader of new bits sees the claim
    return done;
}

// Fills the slots that became free with GM_POISON, or marks them as not accessible in a watched
// heap.
GM_PRIVATE void gm_sweep_fill(const struct gm_pages *p, const struct gm_guard *g,
                              const struct gm_span *s, unsigned group, uint64_t gone) {
    for (; gone; gone &= gone - 1) {
        uintptr_t object = gm_span_object(p, s, group, gm_base_ctz(gone));
        gm_base_tsan_renew(object, gm_span_slot_size(s));
        if (gm_guard_watched(g)) gm_guard_take_back(s, object);
        else memset((void *)object, GM_POISON, gm_span_slot_size(s));
    }
}

// Sweeps a claimed span: rewrites its bits, counts the dead objects, and sets its generation.
// Returns the number of slots in use.
GM_PRIVATE uint32_t gm_sweep_bits(const struct gm_sweep *w, const struct gm_pages *p,
                                  const struct gm_guard *g, struct gm_shard *shared,
                                  struct gm_span *s) {
    struct gm_color *c = gm_span_colors(p, s->page);
    uint32_t live = 0, died = 0;
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        uint64_t alloc = gm_load_rlx(&c[i].alloc);
        uint64_t mark = gm_load_rlx(&c[i].mark);
        uint64_t freed = gm_load_rlx(&c[i].freed);
        if (freed) freed = gm_swap_rlx(&c[i].freed, 0); // gomem_free may set bits meanwhile
        uint64_t keep = mark & ~freed, dead = alloc & ~mark & ~freed;
        live += gm_base_popcount(keep);
        died += gm_base_popcount(dead);
        if (gm_guard_watched(g)) gm_sweep_fill(p, g, s, i, alloc & ~keep);
        else if (GOMEM_I_UNLIKELY(g->poison)) gm_sweep_fill(p, g, s, i, dead);
        gm_store_rlx(&c[i].alloc, keep);
        gm_store_rlx(&c[i].mark, (uint64_t)0);
    }
    if (died) {
        gm_stats_shared(&shared->frees[s->class], died);
        if (!s->class) gm_stats_shared(&shared->large_free, s->size);
    }
    s->used = live;
    s->cursor = 0;
    gm_store_rel(&s->generation, gm_load_rlx(&w->generation)); // pairs with gm_sweep_swept (S2)
    return live;
}

// Sweeps an owned span for its owner, or in a stop (S3). If another thread is sweeping it, waits.
GM_PRIVATE void gm_sweep_owned(const struct gm_sweep *w, const struct gm_pages *p,
                               const struct gm_guard *g, struct gm_shard *shared,
                               struct gm_span *s) {
    if (gm_sweep_swept(w, s)) return;
    if (gm_sweep_claim(w, s)) {
        (void)gm_sweep_bits(w, p, g, shared, s);
        return;
    }
    for (unsigned i = 0; !gm_sweep_swept(w, s); i++) // takes about a microsecond
        if (i < 100) gm_os_pause();
        else (void)sched_yield();
}

// Lists a span that was just swept and has no owner in its central, or frees it if it is empty.
// Takes CENTRAL, then HEAP.
GM_PRIVATE void gm_sweep_place(const struct gm_sweep *w, struct gm_heap *h, struct gm_central *c,
                               struct gm_span *s) {
    unsigned list = s->used < s->count ? gm_sweep_partial(w, true) : gm_sweep_full(w, true);
    gm_sync_lock(&c->lock);
    bool empty = !s->used ||
                 (!s->class &&
                  gm_load_rlx(&gm_span_colors(&h->pages, s->page)->freed)); // lock: central
    if (!empty) gm_central_add_locked(c, &h->pages, list, s);
    if (!s->class) s->bucket = !empty; // 1: listed, for gm_alloc_free_large
    gm_sync_unlock(&c->lock);
    if (empty) gm_heap_put(h, s);
}

// Takes an unswept span out of its central, partial ones first, and sweeps it. The caller owns it
// then, or calls gm_sweep_place. NULL: none is left (S1).
GM_PRIVATE struct gm_span *gm_sweep_next(const struct gm_sweep *w, struct gm_heap *h,
                                         const struct gm_guard *g, struct gm_shard *shared,
                                         struct gm_central *c) {
    unsigned partial = gm_sweep_partial(w, false), full = gm_sweep_full(w, false);
    if (!gm_load_rlx(&c->list[partial]) && !gm_load_rlx(&c->list[full]))
        return NULL; // rlx: unswept lists are filled in stops only
    gm_sync_lock(&c->lock);
    struct gm_span *s = gm_central_pop_locked(c, &h->pages, partial);
    if (!s) s = gm_central_pop_locked(c, &h->pages, full);
    if (s && !s->class) s->bucket = 0; // 0: not listed
    gm_sync_unlock(&c->lock);
    if (!s) return NULL;
    bool claimed = gm_sweep_claim(w, s);
    gm_assert(claimed);
    (void)claimed;
    (void)gm_sweep_bits(w, &h->pages, g, shared, s);
    return s;
}

// Sweeps up to n spans of a central, and lists or frees them. Returns how many it swept.
GM_PRIVATE unsigned gm_sweep_some(const struct gm_sweep *w, struct gm_heap *h,
                                  const struct gm_guard *g, struct gm_shard *shared,
                                  struct gm_central *c, unsigned n) {
    unsigned done = 0;
    struct gm_span *s;
    while (done < n && (s = gm_sweep_next(w, h, g, shared, c)) != NULL) {
        gm_sweep_place(w, h, c, s);
        done++;
    }
    return done;
}

// Tests whether the slot of s at an address is live (R6). Waits while s is being swept. The bits
// are loaded between two loads of the generation, as in a sequence lock.
GM_PRIVATE bool gm_sweep_live(const struct gm_sweep *w, const struct gm_pages *p,
                              const struct gm_span *s, uintptr_t slot) {
    const struct gm_color *c = gm_span_color(p, slot);
    uint64_t bit = gm_span_bit(p, slot);
    for (unsigned i = 0;; i++) {
        uint32_t generation = gm_load_acq(&s->generation); // pairs with gm_sweep_bits
        uint32_t now = gm_load_rlx(&w->generation);        // changes in stops only
        uint64_t live = gm_load_rlx(&c->alloc) & ~gm_load_rlx(&c->freed);
        if (generation != now && !GM_IN(GM_SET_COLLECTED, s->kind))
            generation = now; // never swept (R7)
        if (generation == now - 2) live &= gm_load_rlx(&c->mark);
        gm_fence_acq(); // pairs with gm_sweep_claim's: the bits are of that generation
        if (generation == now ||
            (generation == now - 2 && gm_load_rlx(&s->generation) == generation))
            return live & bit;
        if (i < 100) gm_os_pause();
        else (void)sched_yield();
    }
}

// ---- verification ----

// Checks the colors of a collected or uncollectable span, in a stop. `marking`: a cycle may have
// kept its marks (E4).
GM_PRIVATE void gm_sweep_verify(struct gm_check *check, const struct gm_sweep *sweep,
                                const struct gm_span *s, bool marking) {
    const struct gm_pages *p = check->pages;
    const struct gm_color *c = gm_span_colors(p, s->page);
    bool swept = gm_sweep_swept(sweep, s) || !GM_IN(GM_SET_COLLECTED, s->kind);
    uint32_t used = 0, last = 0; // slots in use; one more than the highest of them
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        used += gm_base_popcount(c[i].alloc);
        if (c[i].alloc)
            last = 1 +
                   gm_span_index(
                       p, s, gm_span_object(p, s, i, 63 - (unsigned)__builtin_clzll(c[i].alloc)));
        gm_span_expect(check, !(c[i].alloc & ~gm_span_starts(s, i)),
                       "span: a bit where no slot starts (N3)", s);
        gm_span_expect(check, !(c[i].freed & ~c[i].alloc),
                       "span: a slot is freed but not allocated", s);
        gm_span_expect(check, !(c[i].mark & ~c[i].alloc) || GM_IN(GM_SET_COLLECTED, s->kind) == 0,
                       "span: a slot is marked but not allocated", s);
        if (swept && !marking && GM_IN(GM_SET_COLLECTED, s->kind))
            gm_span_expect(check, !c[i].mark && !c[i].grey, "sweep: a swept span has marks (E1)",
                           s);
    }
    if (!s->class) return;
    for (unsigned i = gm_span_groups(s); i < s->pages * 8; i++)
        gm_span_expect(check, !(c[i].alloc | c[i].mark | c[i].grey | c[i].freed),
                       "span: colors above the fresh watermark (N4)", s);
    gm_span_expect(check, last <= s->fresh, "span: a slot above the fresh watermark is in use (N2)",
                   s);
    gm_span_expect(check, !swept || used == s->used,
                   "span: the count of used slots differs from the bits", s);
}

// Checks that side records belong to live objects (X5), in a stop.
GM_PRIVATE void gm_sweep_verify_records(struct gm_check *check, const struct gm_sweep *sweep,
                                        const struct gm_special *sp) {
    const struct gm_pages *p = check->pages;
    if (!check->broken) check->broken = gm_special_verify_stopped(sp, p, &check->where);
    for (uint32_t n = 0; n < sp->made && !check->broken; n++) {
        uintptr_t object = gm_special_object(gm_special_record(sp, n));
        if (object)
            gm_span_expect(check, gm_sweep_live(sweep, p, gm_span_find(p, object), object),
                           "special: a record of an object that is not live (X5)",
                           gm_span_find(p, object));
    }
}
#endif // GOMEM_I_COLLECTOR

/* ==========================================================================================
 * >>cache   a thread's magazines and runs, the depot                               floor 4
 * ==========================================================================================
 * OWNS        struct gm_cache, struct gm_pool_cache (of a pool), struct gm_depot, struct gm_engine
 *             (what all caches share)
 * CALLS       base os sync stats sizes pages span heap central types guard pacer mark writes sweep
 * LOCKS       CENTRAL, then HEAP; META; the depot's and the held-back objects' own, of META's rank
 * ORDER       depot: a magazine's slots and head are written before its class's list is (acqrel)
 * INVARIANTS  K1  a magazine occupies 512 bytes: a NULL, then its objects up to the end. So an
 *                 empty magazine pops NULL, and the slot after the last of a full one is at a
 *                 multiple of 512. Below the NULL of a magazine of manual objects are three more,
 *                 as far as there is room: free compares with slots below the top
 *             K2  a thread's magazines hold at most 1 MiB, the depot about 4 MiB, and 512 KiB per
 *                 class
 *             K3  if more than a third of the spans' slots, and 16 MiB, are free, cached objects
 *                 may keep only few spans in use. Counting a span per object, a thread's magazines,
 *                 and the depot, have room for the objects of 8 MiB of spans, or of an eighth of
 *                 all spans if that is more
 * WHY         free pushes to the calling thread's magazine, whichever thread allocated the object,
 *             so there is no test of an owner and no remote path. Whole magazines move to and from
 *             the depot: one compare-and-swap for up to 60 objects. Its lists are {index, tag}
 *             over magazines that are never unmapped, because the 16 tag bits that a pointer leaves
 *             would wrap within a time slice. A magazine starts small and doubles with use, so a
 *             thread that allocates once in each class stays small. Objects return from the depot
 *             in the order in which they were freed. A limit of 32 KiB per class while there is one
 *             thread was tried: more objects came from the spans, in address order, and bench/json
 *             and bench/lines ran 3 % faster, but batches of 1000 took 1.8 times as long.
 *             Without K3, 5 MB of small objects in caches kept 230 MB of spans in use after 1 GB
 *             was freed in random order. If K3 held always, it would empty the caches of programs
 *             whose spans are full, where a cached object costs only its own bytes.
 *
 *             a magazine of 5 with 3 objects, at 512:  | - … - | NULL | a | b | c | - | - |
 *                                                                             ^ top
 */
struct gm_magazine { // head of a magazine; its slots are in another area
    uint32_t next;   // index + 1 of the next in a list of the depot. atomic: rlx
    uint8_t bottom;  // slot of the NULL. owner
    uint8_t top;     // while in the depot: slot of the topmost object. owner
    uint8_t pad[2];  //
    uint32_t spare;  //
};

struct gm_depot {
    uint64_t full[GOMEM_CLASSES + 1];  // {tag 32, index + 1 32}. atomic: acqrel
    uint64_t empty;                    // magazines without objects, of any class. atomic: acqrel
    uint32_t bytes[GOMEM_CLASSES + 1]; // of the objects in full[class]. atomic: rlx
    uint32_t total;                    // bytes of all objects. atomic: rlx
    size_t pins;                       // bytes of spans, one per object (K3). atomic: rlx
    struct gm_lock lock;               // protects the two below
    uint32_t made, mapped;             // magazines used, and mapped; the latter read rlx
};

enum {
    GM_KINDS_LISTED = GM_KINDS, // kinds that have centrals by class
    GM_DEPOT_CLASS = 512 * 1024,
    GM_DEPOT_TOTAL = 4 * 1024 * 1024,
    GM_THREAD_LIMIT = 1024 * 1024,
    GM_KEPT_MOST = 16 * 1024 * 1024,
    GM_SPARSE = 16 * 1024 * 1024,
    GM_PINS = 8 * 1024 * 1024,
    GM_RUN_BYTES = 4096,
    GM_CHARGE = 32 * 1024,
    GM_COUNT = 64 * 1024
};

// In a watched heap: freed manual objects that must not be reused yet, as a list through their
// margins, the oldest first.
struct gm_kept {
    struct gm_lock lock;   // protects all below
    uintptr_t first, last; // objects, 0: none
    size_t bytes;          // sum of their slots
};

// The heap, shared by the caches of all threads.
struct gm_engine {
    struct gm_heap heap;                                    // pages and spans. lock: heap
    struct gm_depot depot;                                  // full magazines. atomic
    struct gm_central central[GM_KINDS][GOMEM_CLASSES + 1]; // [kind][class]; class 0: large
    struct gm_meta meta;                                    // lock: meta
    struct gm_guard guard;                                  // const once ready
    struct gm_kept kept;                                    // lock: its own
    struct gm_stats stats; // shared counters, and those of the collector. atomic: rlx
    void *misuse_at;       // object of a misuse to be reported, NULL: none. atomic: rel/acq
    uint32_t misuse;       // enum gm_message of that misuse. atomic: rlx
    uint32_t trims;        // requested so far; a thread trims at its next slow path. atomic: rlx
    size_t small;          // bytes of manual spans with slots. atomic: rlx
    size_t taken;          // bytes of their slots that are used or cached. atomic: rlx
#if GOMEM_I_COLLECTOR
    struct gm_types types;     // lock: types; shapes read acq
    struct gm_special special; // lock: special
    struct gm_pacer pacer;     // atomic: rlx
    struct gm_mark mark;       // owner: the cycle and its workers
    struct gm_writes writes;   // owner: the cycle
    struct gm_sweep sweep;     // stw; read anywhere
    size_t live;               // bytes of collected objects, as charged. atomic: rlx
    bool collected;            // the collected heap has been used. atomic: acq/rel
#endif
};

struct gm_pool_cache {      // what a thread holds of a pool
    gomem_i_pool_cache hot; // first: the loaded magazine if the pool has no place. atomic: rlx, R8
    struct gm_pool_cache *next; // of the pool's. lock: pool
    struct gm_cache *cache;     // whose; NULL: of all. const
    uint32_t previous;          // a magazine with objects: index + 1, 0: none. atomic: acqrel (PO2)
    uint32_t spare;             // one without: index + 1, 0: none. owner
    uint32_t turn;              // of the pool when it was last used. atomic: rlx
    uint8_t cap;                // objects in the next magazine. owner
    uint8_t bottom;             // slot of the loaded magazine's NULL. atomic: rlx
    uint8_t kept;               // objects in previous. atomic: rlx
    uint8_t calls;              // quick ones, to look at the clock now and then. owner
};

struct gm_cache {                       // owner: thread, in sections
    gomem_i_cache hot;                  // first: the TLS pointer leads here
    struct gm_engine *engine;           // const
    uint32_t number;                    // of the thread, for span.owner. const
    uint32_t trims;                     // engine.trims as obeyed
    size_t held;                        // bytes that its magazines can hold (K2)
    size_t pins;                        // bytes of spans, one for each object they can hold (K3)
    size_t charged;                     // bytes of runs not yet added to engine.live
    size_t ahead;                       // of a large object to come that engine.live counts already
    size_t counted;                     // bytes not yet added to engine.stats.allocated
    void **previous[GOMEM_CLASSES + 1]; // the previous magazine's top, NULL: none
    uint8_t cap[GOMEM_CLASSES + 1];     // objects in the class's next magazine, 0: not used yet
    struct gm_shard stats;              //
#if GOMEM_I_COLLECTOR
    struct gm_span *scan[GOMEM_CLASSES + 1]; // spans that the runs are taken from (R4)
    struct gm_span *noscan[GOMEM_CLASSES + 1];
    struct gm_span **typed; // beside hot.typed
    uint32_t typed_room;    // entries of both
    uint8_t
        warm[GOMEM_CLASSES + 1]; // spans taken of the class, saturating: populate ahead after a few
#endif
};

// Stands for a magazine in caches that have none: it is empty and full. Never written.
GM_PRIVATE void *const gm_cache_nothing[512 / sizeof(void *)]
    __attribute__((aligned(512))) = {NULL};
#define GM_CACHE_NOTHING ((void **)(uintptr_t)&gm_cache_nothing[512 / sizeof(void *) - 1])

GM_PRIVATE void gm_cache_hand_in(struct gm_cache *t) {
    (void)gm_add_rlx(&t->engine->stats.allocated, (uint64_t)t->counted); // for gomem_total_alloc
    t->counted = 0;
}

// Counts allocated bytes, and adds them to the shared number from time to time, so that
// gomem_total_alloc need not walk the shards of all threads.
GM_INLINE void gm_cache_count_bytes(struct gm_cache *t, size_t bytes) {
    t->counted += bytes;
    if (GOMEM_I_UNLIKELY(t->counted >= GM_COUNT)) gm_cache_hand_in(t);
}

// ---- magazines and the depot ----

GM_INLINE struct gm_magazine *gm_cache_head(const struct gm_pages *p, uint32_t index) {
    return (struct gm_magazine *)(void *)(p->magazine_heads + (size_t)index * GM_HEAD_BYTES);
}
GM_INLINE void **gm_cache_slots(const struct gm_pages *p, uint32_t index) {
    return (void **)(void *)(p->magazine_area + (size_t)index * 512);
}
GM_INLINE uint32_t gm_cache_index(const struct gm_pages *p, void **top) {
    return (uint32_t)((size_t)((char *)top - p->magazine_area) / 512);
}
GM_INLINE unsigned gm_cache_slot(void **top) {
    return (unsigned)((uintptr_t)top & 511) / (unsigned)sizeof(void *);
}
GM_INLINE unsigned gm_cache_count(const struct gm_pages *p, void **top) {
    return gm_cache_slot(top) - gm_cache_head(p, gm_cache_index(p, top))->bottom;
}
enum { GM_MAGAZINE_LAST = 512 / sizeof(void *) - 1 };

GM_PRIVATE void gm_cache_push_magazine(const struct gm_pages *p, uint64_t *list, uint32_t index) {
    struct gm_magazine *m = gm_cache_head(p, index);
    uint64_t head = gm_load_rlx(list), next;
    do {
        gm_store_rlx(&m->next, (uint32_t)head);
        next = ((head >> 32) + 1) << 32 | (index + 1);
    } while (!gm_cas_acqrel(list, &head, next)); // pairs with pop: slots and head are written
}

// Takes a magazine from a list of the depot. Returns its index + 1; 0: the list is empty.
GM_PRIVATE uint32_t gm_cache_pop_magazine(const struct gm_pages *p, uint64_t *list) {
    uint64_t head = gm_load_acq(list), next; // pairs with push
    do {
        if (!(uint32_t)head) return 0;
        uint32_t after = gm_load_rlx(
            &gm_cache_head(p, (uint32_t)head - 1)->next); // stale: then the tag differs
        next = ((head >> 32) + 1) << 32 | after;
    } while (!gm_cas_acqrel(list, &head, next)); // pairs with push: what we read was the list's
    return (uint32_t)head;
}

// Takes an empty magazine from the depot, or makes one. Returns its index + 1; 0: no memory.
GM_PRIVATE uint32_t gm_cache_new_magazine(struct gm_engine *e) {
    struct gm_pages *p = &e->heap.pages;
    uint32_t index = gm_cache_pop_magazine(p, &e->depot.empty);
    if (index) return index;
    gm_sync_lock(&e->depot.lock);
    if (e->depot.made == e->depot.mapped) {
        size_t from = e->depot.mapped, to = from + 256;
        if (to <= p->magazines && gm_pages_map_part(p, p->magazine_area, 512, from, to) &&
            gm_pages_map_part(p, p->magazine_heads, GM_HEAD_BYTES, from, to))
            gm_store_rlx(&e->depot.mapped, (uint32_t)to); // memstats reads it
    }
    index = e->depot.made < e->depot.mapped ? ++e->depot.made : 0;
    gm_sync_unlock(&e->depot.lock);
    return index;
}

// Prepares a magazine for up to `cap` objects and returns its top; it is empty (K1).
GM_PRIVATE void **gm_cache_open(const struct gm_pages *p, uint32_t index, unsigned cap) {
    void **slots = gm_cache_slots(p, index);
    unsigned bottom = GM_MAGAZINE_LAST - cap;
    for (unsigned i = 0; i <= GM_MIN(bottom, 3u); i++) slots[bottom - i] = NULL; // K1
    gm_cache_head(p, index)->bottom = (uint8_t)bottom;
    return slots + bottom;
}

// ---- manual objects: spans to magazines and back ----

// Bytes of the spans that n objects of a class keep in use if each is in a span of its own.
GM_INLINE size_t gm_cache_pinned(unsigned class, unsigned n) {
    return (size_t)n * gm_sizes_table[class].pages * GM_PAGE;
}

// Returns how many bytes of spans a thread's magazines, or the depot, may pin (K3); SIZE_MAX unless
// many of the spans' slots are free.
GM_PRIVATE size_t gm_cache_most_pins(const struct gm_engine *e) {
    size_t small = gm_load_rlx(&e->small), taken = gm_load_rlx(&e->taken); // stale: decides later
    if (GOMEM_I_LIKELY(small <= taken + taken / 2 + GM_SPARSE)) return SIZE_MAX;
    return GM_MAX(small / 8, (size_t)GM_PINS);
}

// Takes up to n free slots of s, the lowest first, and returns their number. It fills out[-1],
// out[-2] and so on, so that they are popped in address order.
GM_PRIVATE unsigned gm_cache_take_slots_locked(const struct gm_pages *p, struct gm_span *s,
                                               void **out, unsigned n) {
    uint64_t *bits = gm_span_bits(p, s->page);
    unsigned taken = 0;
    uint32_t size = gm_sizes_table[s->class].size, last = 0;
    uintptr_t start = gm_span_start(p, s);
    for (unsigned w = 0; taken < n && w < gm_span_words(s); w++) {
        uint64_t free = ~bits[w];
        if (w == s->count / 64) free &= ~(~(uint64_t)0 << s->count % 64); // N3
        for (; free && taken < n; free &= free - 1) {
            last = w * 64 + gm_base_ctz(free);
            gm_store_rlx(&bits[w],
                         bits[w] | (free & (0 - free))); // who frees looks without the lock
            if (GOMEM_I_CHECK) (void)gm_or_rlx(&gm_span_cached(p, s->page)[w], free & (0 - free));
            out[-(int)++taken] = (void *)(start + (uintptr_t)last * size);
        }
    }
    s->used += taken;
    if (taken && last >= s->fresh) s->fresh = last + 1; // N2
    return taken;
}

enum { GM_UNLISTED = 255 };

// Moves a manual span to the list for its number of used slots, or takes it out if it is full
// (CL1).
GM_PRIVATE void gm_cache_relist_locked(struct gm_central *c, const struct gm_pages *p,
                                       struct gm_span *s) {
    unsigned bucket = s->used == s->count ? GM_UNLISTED : gm_central_bucket(s);
    if (bucket == s->bucket) return;
    if (s->bucket != GM_UNLISTED) gm_central_remove_locked(c, p, s->bucket, s);
    if (bucket != GM_UNLISTED) gm_central_add_locked(c, p, bucket, s);
    s->bucket = (uint8_t)bucket;
}

// Takes up to n objects of a class from the fullest spans, or from a new span if all are full, and
// fills out[-1], out[-2] and so on. Returns how many; 0: no memory. Takes CENTRAL, then HEAP.
GM_PRIVATE unsigned gm_cache_fill(struct gm_engine *e, unsigned class, void **out, unsigned n) {
    struct gm_central *c = &e->central[GM_MANUAL][class];
    struct gm_pages *p = &e->heap.pages;
    unsigned done = 0;
    gm_sync_lock(&c->lock);
    while (done < n) {
        struct gm_span *s = NULL;
        for (unsigned b = 0; !s && b < GM_LISTS; b++) s = gm_central_first_locked(c, p, b);
        if (!s) {
            if (done) break; // a part is enough: no new span
            s = gm_heap_take(&e->heap, GM_MANUAL, class, 0, 0);
            if (!s) break;
            (void)gm_add_rlx(&e->small, gm_cache_pinned(class, 1)); // for K3: may lag
            s->bucket = GM_UNLISTED;
            gm_heap_publish(&e->heap, s);
        }
        done += gm_cache_take_slots_locked(p, s, out - done, n - done);
        gm_cache_relist_locked(c, p, s);
    }
    gm_sync_unlock(&c->lock);
    (void)gm_add_rlx(&e->taken, (size_t)done * gm_sizes_table[class].size); // for K3: may lag
    return done;
}

// Checks a pointer that is returned to its span. Returns the misuse; GM_MESSAGE_COUNT: it is fine.
GM_ALWAYS enum gm_message gm_cache_wrong(const struct gm_pages *p, const struct gm_span *s,
                                         uint32_t index, uintptr_t word) {
    if (index >= s->count || gm_span_slot(p, s, index) != word) return GM_MSG_INTERIOR;
    bool taken = gm_load_rlx(&gm_span_bits(p, s->page)[index / 64]) >> index % 64 & 1;
    if (!taken) return GM_MSG_DOUBLE_FREE;
    return GM_MESSAGE_COUNT;
}

// Returns objects to the span s, up to the first of the n that is not in it; returns how many it
// handled. If some were misused (they are left alone), *wrong and *bad describe the last of them.
GM_PRIVATE unsigned gm_cache_return_to_locked(const struct gm_pages *p, struct gm_span *s,
                                              void **objects, unsigned n, enum gm_message *wrong,
                                              void **bad) {
    uintptr_t start = gm_span_start(p, s), size = (uintptr_t)s->pages * GM_PAGE;
    uint64_t *bits = gm_span_bits(p, s->page);
    unsigned i = 0;
    for (; i < n && (uintptr_t)objects[i] - start < size; i++) {
        uint32_t index = gm_span_index(p, s, (uintptr_t)objects[i]);
        enum gm_message w = gm_cache_wrong(p, s, index, (uintptr_t)objects[i]);
        if (GOMEM_I_UNLIKELY(w != GM_MESSAGE_COUNT)) {
            *wrong = w;
            *bad = objects[i];
            continue;
        }
        gm_store_rlx(&bits[index / 64], bits[index / 64] & ~((uint64_t)1 << index % 64));
        if (GOMEM_I_CHECK)
            (void)gm_and_rlx(&gm_span_cached(p, s->page)[index / 64], ~((uint64_t)1 << index % 64));
        s->used--;
    }
    return i;
}

// Returns n objects of a class to their spans. Neighbors often follow each other, so a span is
// looked up once for several. A span that becomes empty is freed, unless it is the last one listed.
// Takes CENTRAL, then HEAP. Misuse is recorded, and reported after the section.
GM_PRIVATE void gm_cache_return(struct gm_engine *e, unsigned class, void **objects, unsigned n) {
    struct gm_central *c = &e->central[GM_MANUAL][class];
    struct gm_pages *p = &e->heap.pages;
    enum gm_message wrong = GM_MESSAGE_COUNT;
    void *bad = NULL;
    unsigned back = 0, gone = 0;
    gm_sync_lock(&c->lock);
    for (unsigned i = 0; i < n;) {
        struct gm_span *s = gm_span_find(p, (uintptr_t)objects[i]);
        if (GOMEM_I_UNLIKELY(!s || s->kind != GM_MANUAL ||
                             s->class != class)) { // its span has gone
            wrong = GM_MSG_DOUBLE_FREE;
            bad = objects[i++];
            continue;
        }
        uint32_t used = s->used;
        i += gm_cache_return_to_locked(p, s, objects + i, n - i, &wrong, &bad);
        back += used - s->used;
        gm_cache_relist_locked(c, p, s);
        if (!s->used && (s->prev || s->next || c->list[0] | c->list[1] | c->list[2])) {
            gm_central_remove_locked(c, p, s->bucket, s);
            gm_heap_put(&e->heap, s);
            gone++;
        }
    }
    gm_sync_unlock(&c->lock);
    (void)gm_sub_rlx(&e->taken, (size_t)back * gm_sizes_table[class].size); // for K3: may lag
    if (gone) (void)gm_sub_rlx(&e->small, gm_cache_pinned(class, gone));
    gm_heap_trim(&e->heap);
    if (GOMEM_I_UNLIKELY(bad)) { // gm_alloc_leave reports it
        gm_store_rlx(&e->misuse, (uint32_t)wrong);
        gm_store_rel(&e->misuse_at, bad); // pairs with gm_alloc_leave
    }
}

// In a watched heap: appends a freed object of s to the list of kept ones.
GM_PRIVATE void gm_cache_keep(struct gm_engine *e, const struct gm_span *s, uintptr_t object) {
    struct gm_kept *k = &e->kept;
    gm_guard_take_back(s, object);
    gm_guard_write(s, object, 0, 0);
    gm_sync_lock(&k->lock);
    if (k->last) gm_guard_write(gm_span_find(&e->heap.pages, k->last), k->last, 0, object);
    else k->first = object;
    k->last = object;
    k->bytes += gm_span_slot_size(s);
    gm_sync_unlock(&k->lock);
}

// Takes the oldest kept object if there are more than `most` bytes of them; NULL otherwise.
GM_PRIVATE void *gm_cache_longest_kept(struct gm_engine *e, size_t most) {
    struct gm_kept *k = &e->kept;
    gm_sync_lock(&k->lock);
    uintptr_t object = k->bytes > most ? k->first : 0;
    if (object) {
        const struct gm_span *s = gm_span_find(&e->heap.pages, object);
        k->first = gm_guard_read(s, object, 0);
        if (!k->first) k->last = 0;
        k->bytes -= gm_span_slot_size(s);
    }
    gm_sync_unlock(&k->lock);
    return (void *)object;
}

// Takes a magazine with objects of a class from the depot. Returns its top; NULL: there is none.
GM_PRIVATE void **gm_cache_from_depot(struct gm_engine *e, unsigned class) {
    struct gm_pages *p = &e->heap.pages;
    uint32_t index = gm_cache_pop_magazine(p, &e->depot.full[class]);
    if (!index) return NULL;
    struct gm_magazine *m = gm_cache_head(p, index - 1);
    uint32_t bytes = (uint32_t)(m->top - m->bottom) * gm_sizes_table[class].size;
    (void)gm_sub_rlx(&e->depot.bytes[class], bytes);
    (void)gm_sub_rlx(&e->depot.total, bytes);
    (void)gm_sub_rlx(&e->depot.pins, gm_cache_pinned(class, (unsigned)(m->top - m->bottom)));
    return gm_cache_slots(p, index - 1) + m->top;
}

// Returns all objects of the depot to their spans.
GM_RARE GM_PRIVATE void gm_cache_drain_depot(struct gm_engine *e) {
    struct gm_pages *p = &e->heap.pages;
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++)
        for (void **top; (top = gm_cache_from_depot(e, c)) != NULL;) {
            unsigned n = gm_cache_count(p, top);
            gm_cache_return(e, c, top - n + 1, n);
            gm_cache_push_magazine(p, &e->depot.empty, gm_cache_index(p, top));
        }
}

// Tests whether the depot has room for n objects of a class (K2), and drains it if it pins too much
// (K3). Other threads may pass the test at the same time, so the bounds hold to a few magazines.
GM_PRIVATE bool gm_cache_depot_room(struct gm_engine *e, unsigned class, unsigned n) {
    uint32_t bytes = n * gm_sizes_table[class].size;
    size_t pins = gm_load_rlx(&e->depot.pins) + gm_cache_pinned(class, n);
    if (pins > GM_PINS && pins > gm_cache_most_pins(e)) gm_cache_drain_depot(e);
    return gm_load_rlx(&e->depot.bytes[class]) + bytes <= GM_DEPOT_CLASS &&
           gm_load_rlx(&e->depot.total) + bytes <= GM_DEPOT_TOTAL;
}

// Gives up a magazine: with its objects to the depot if `depot` is set and there is room; otherwise
// its objects return to their spans.
GM_PRIVATE void gm_cache_give_magazine(struct gm_cache *t, unsigned class, void **top, bool depot) {
    struct gm_engine *e = t->engine;
    struct gm_pages *p = &e->heap.pages;
    uint32_t index = gm_cache_index(p, top);
    struct gm_magazine *m = gm_cache_head(p, index);
    unsigned n = gm_cache_count(p, top);
    if (n) gm_stats_own(&t->stats.manual_frees[class], n);
    if (n && depot && gm_cache_depot_room(e, class, n)) {
        m->top = (uint8_t)gm_cache_slot(top);
        (void)gm_add_rlx(&e->depot.bytes[class], n * gm_sizes_table[class].size);
        (void)gm_add_rlx(&e->depot.total, n * gm_sizes_table[class].size);
        (void)gm_add_rlx(&e->depot.pins, gm_cache_pinned(class, n));
        gm_cache_push_magazine(p, &e->depot.full[class], index);
        return;
    }
    if (n) gm_cache_return(e, class, top - n + 1, n);
    gm_cache_push_magazine(p, &e->depot.empty, index);
}

GM_INLINE void gm_cache_set_top(struct gm_cache *t, unsigned class, void **top) { // R8
    gm_signal_fence();
    gm_store_rlx(&t->hot.top[class], top);
}

// Gives up both magazines of a class.
GM_PRIVATE void gm_cache_flush_class(struct gm_cache *t, unsigned class, bool depot) {
    void **loaded = t->hot.top[class], **previous = t->previous[class];
    gm_cache_set_top(t, class, GM_CACHE_NOTHING);
    t->previous[class] = NULL;
    if (loaded != GM_CACHE_NOTHING) gm_cache_give_magazine(t, class, loaded, depot);
    if (previous) gm_cache_give_magazine(t, class, previous, depot);
    t->held -= (size_t)t->cap[class] * gm_sizes_table[class].size * 2;
    t->pins -= gm_cache_pinned(class, t->cap[class] * 2u);
    t->cap[class] = 0;
}

GM_PRIVATE void gm_cache_flush_manual(struct gm_cache *t, bool depot) {
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++)
        if (t->cap[c] || t->hot.top[c] != GM_CACHE_NOTHING) gm_cache_flush_class(t, c, depot);
    gm_cache_hand_in(t);
}

// Lets both magazines of a class hold `cap` objects, more than before. False: that exceeds a
// thread's bounds (K2, K3); with `must` it is done nevertheless.
GM_PRIVATE bool gm_cache_widen(struct gm_cache *t, unsigned class, unsigned cap, bool must) {
    unsigned more = (cap - t->cap[class]) * 2;
    size_t held = t->held + (size_t)more * gm_sizes_table[class].size;
    size_t pins = t->pins + gm_cache_pinned(class, more);
    if (!must && (held > GM_THREAD_LIMIT || pins > gm_cache_most_pins(t->engine))) return false;
    t->held = held;
    t->pins = pins;
    t->cap[class] = (uint8_t)cap;
    return true;
}

// Halves the magazines of the class that may hold, or pin, the most; their objects go to the depot
// or to the spans. False: all magazines have room for one object only.
GM_PRIVATE bool gm_cache_narrow(struct gm_cache *t, bool pins, bool depot) {
    unsigned class = 0;
    size_t most = 0;
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        size_t n = pins ? gm_cache_pinned(c, t->cap[c]) : t->cap[c] * gm_sizes_table[c].size;
        if (t->cap[c] > 1 && n > most) most = n, class = c;
    }
    if (!class) return false;
    unsigned cap = t->cap[class] / 2;
    gm_cache_flush_class(t, class, depot);
    return gm_cache_widen(t, class, cap, true);
}

// Returns the capacity for the next magazine of a class, doubled if the thread's bounds allow. The
// first magazine of a class needs room for one object; other classes are narrowed for it (K2).
GM_PRIVATE unsigned gm_cache_grow(struct gm_cache *t, unsigned class) {
    unsigned size = gm_sizes_table[class].size, old = t->cap[class];
    unsigned cap = GM_MIN(old ? old * 2 : size >= 512 ? 1 : 512 / size, gm_sizes_magazine(class));
    if (old == cap || gm_cache_widen(t, class, cap, false)) return cap;
    if (old) return old;
    while (t->held + size * 2 > GM_THREAD_LIMIT && gm_cache_narrow(t, false, true)) continue;
    (void)gm_cache_widen(t, class, 1, true);
    return 1;
}

// Narrows the thread's magazines until they pin no more than K3 allows.
GM_PRIVATE void gm_cache_unpin(struct gm_cache *t) {
    size_t most = gm_cache_most_pins(t->engine);
    while (GOMEM_I_UNLIKELY(t->pins > most) && gm_cache_narrow(t, true, false)) continue;
}

// Makes a magazine from the depot the loaded one. Another thread filled it, so it may exceed this
// thread's bounds; then its older objects return to their spans (K2).
GM_PRIVATE void gm_cache_adopt(struct gm_cache *t, unsigned class, void **top) {
    struct gm_pages *p = &t->engine->heap.pages;
    uint32_t index = gm_cache_index(p, top);
    unsigned n = gm_cache_count(p, top),
             cap = t->cap[class] ? t->cap[class] : gm_cache_grow(t, class);
    unsigned room = GM_MAGAZINE_LAST - gm_cache_head(p, index)->bottom;
    if (room > cap && !gm_cache_widen(t, class, room, false)) {
        unsigned most = GM_MIN(n, cap);
        if (n > most) gm_cache_return(t->engine, class, top - n + 1, n - most);
        void **slots = gm_cache_slots(p, index), **bottom = slots + GM_MAGAZINE_LAST - cap;
        memmove(bottom + 1, top - most + 1, most * sizeof *top);
        top = gm_cache_open(p, index, cap) + most;
        n = most;
    }
    gm_stats_own(&t->stats.manual_mallocs[class], n);
    gm_cache_count_bytes(t, (size_t)n * gm_sizes_table[class].size);
    gm_cache_set_top(t, class, top);
}

// Pops from the loaded magazine; NULL: it is empty.
GM_INLINE void *gm_cache_pop(struct gm_cache *t, unsigned class) {
    void **top = t->hot.top[class];
    void *p = *top;
    if (p) gm_cache_set_top(t, class, top - 1);
    return p;
}

// Called if the loaded magazine is empty: loads the previous one, or one from the depot, or fills
// one from the spans. False: no memory.
GM_PRIVATE bool gm_cache_refill_manual(struct gm_cache *t, unsigned class) {
    struct gm_engine *e = t->engine;
    struct gm_pages *p = &e->heap.pages;
    void **loaded = t->hot.top[class], **previous = t->previous[class];
    if (previous && *previous) {
        t->previous[class] = loaded;
        gm_cache_set_top(t, class, previous);
        return true;
    }
    void **full = gm_cache_from_depot(e, class);
    if (full) {
        if (loaded != GM_CACHE_NOTHING)
            gm_cache_push_magazine(p, &e->depot.empty, gm_cache_index(p, loaded));
        gm_cache_adopt(t, class, full);
        return true;
    }
    unsigned cap = gm_cache_grow(t, class);
    uint32_t index = loaded == GM_CACHE_NOTHING ? gm_cache_new_magazine(e)
                                                : gm_cache_index(p, loaded) + 1;
    if (!index) return false;
    void **slots = gm_cache_slots(p, index - 1);
    unsigned n = gm_cache_fill(e, class, slots + GM_MAGAZINE_LAST + 1, cap);
    void **bottom = gm_cache_open(p, index - 1, cap);
    if (n && n < cap) memmove(bottom + 1, slots + GM_MAGAZINE_LAST + 1 - n, n * sizeof *slots);
    gm_cache_set_top(t, class, bottom + n);
    gm_stats_own(&t->stats.manual_mallocs[class], n);
    gm_cache_count_bytes(t, (size_t)n * gm_sizes_table[class].size);
    return n != 0;
}

enum { GM_LATELY = 8 };

// Tests whether p is among the last objects that this thread freed: a double free.
GM_PRIVATE bool gm_cache_lately(const struct gm_cache *t, unsigned class, const void *p) {
    void **top[2] = {t->hot.top[class], t->previous[class]};
    for (unsigned i = 0, n = 0; i < 2; i++)
        for (void **at = top[i]; at && *at && n < GM_LATELY; at--, n++)
            if (*at == p) return true;
    return false;
}

// Loads an empty magazine and moves the newest objects of the full one into it, so that free finds
// the objects freed last below the top even after a change of magazines.
GM_PRIVATE void gm_cache_load_empty(struct gm_cache *t, unsigned class, void **top, void **full) {
    const struct gm_pages *p = &t->engine->heap.pages;
    unsigned n = 0, room = GM_MAGAZINE_LAST - gm_cache_slot(top);
    if (full != GM_CACHE_NOTHING) {
        n = GM_MIN(GM_MIN(room - 1, gm_cache_count(p, full)), 3u);
        memcpy(top + 1, full + 1 - n, n * sizeof *top);
        t->previous[class] = full - n;
    }
    gm_cache_set_top(t, class, top + n);
}

// Called if the loaded magazine is full: makes room for at least one object. False: no memory for a
// magazine.
GM_PRIVATE bool gm_cache_make_room(struct gm_cache *t, unsigned class) {
    struct gm_pages *p = &t->engine->heap.pages;
    void **loaded = t->hot.top[class], **previous = t->previous[class];
    if (previous && !*previous) { // the previous one is empty
        t->previous[class] = loaded;
        gm_cache_load_empty(t, class, previous, loaded);
        return true;
    }
    unsigned cap = gm_cache_grow(t, class);
    uint32_t index = gm_cache_new_magazine(t->engine);
    if (!index) return false;
    if (loaded != GM_CACHE_NOTHING) {
        if (previous) gm_cache_give_magazine(t, class, previous, true);
        t->previous[class] = loaded;
    }
    gm_cache_load_empty(t, class, gm_cache_open(p, index - 1, cap), loaded);
    return true;
}

// Frees a manual object of the span s: to the page heap if it is large, else to a magazine.
GM_PRIVATE void gm_cache_put(struct gm_cache *t, struct gm_span *s, void *p) {
    struct gm_engine *e = t->engine;
    if (!s->class) {
        gm_heap_put(&e->heap, s);
        gm_heap_trim(&e->heap);
        return;
    }
    void **top = t->hot.top[s->class];
    if (!((uintptr_t)(top + 1) & 511)) {
        if (!gm_cache_make_room(t, s->class)) {
            gm_cache_return(e, s->class, &p, 1);
            return;
        }
        top = t->hot.top[s->class];
    }
    gm_store_rlx(top + 1, p); // R8
    gm_cache_set_top(t, s->class, top + 1);
}

// In a watched heap: frees the oldest kept objects until at most `most` bytes are left.
GM_PRIVATE void gm_cache_unkeep(struct gm_cache *t, size_t most) {
    if (!gm_guard_watched(&t->engine->guard)) return;
    for (void *p; (p = gm_cache_longest_kept(t->engine, most)) != NULL;)
        gm_cache_put(t, gm_span_find(&t->engine->heap.pages, (uintptr_t)p), p);
}

#if GOMEM_I_COLLECTOR
// ---- collected objects: runs ----

GM_PRIVATE void gm_cache_charge(struct gm_cache *t, size_t bytes) {
    t->charged += bytes;
    if (t->charged < GM_CHARGE) return;
    (void)gm_add_rlx(&t->engine->live, t->charged); // for pacing: may lag by GM_CHARGE a thread
    t->charged = 0;
}

// Tests whether a cycle marks, so that nothing may shrink (R5). Changes in stops only.
GM_ALWAYS bool gm_cache_marking(const struct gm_engine *e) { return gm_load_rlx(&e->mark.active); }

// Tests whether the marks are complete, so that new objects must be black (R1). Changes in stops
// only.
GM_ALWAYS bool gm_cache_deciding(const struct gm_engine *e) {
    return gm_load_rlx(&e->mark.complete);
}

// The slots of a group that may be taken: those not allocated and, unless a cycle marks, those
// freed by hand.
GM_INLINE uint64_t gm_cache_free_slots(const struct gm_color *c, bool marking) {
    return ~gm_load_rlx(&c->alloc) | (marking ? 0 : gm_load_rlx(&c->freed));
}

// Marks the slots of [start, end), which are zero, as allocated, for a run (R1).
GM_PRIVATE void gm_cache_hold(const struct gm_engine *e, struct gm_span *s, uintptr_t start,
                              uintptr_t end) {
    const struct gm_pages *p = &e->heap.pages;
    struct gm_color *c = gm_span_colors(p, s->page);
    uint32_t at = (uint32_t)(start - gm_span_start(p, s)) / 16;
    uint32_t to = (uint32_t)(end - gm_sizes_table[s->class].size - gm_span_start(p, s)) / 16 + 1;
    bool black = gm_cache_deciding(e);
    for (unsigned i = at / 64; i * 64 < to; i++, at = i * 64) {
        uint64_t bits = gm_span_starts(s, i) & ~(uint64_t)0 << at % 64;
        if (to - i * 64 < 64) bits &= ((uint64_t)1 << (to - i * 64)) - 1;
        uint64_t alloc = gm_load_rlx(&c[i].alloc);
        if (black) (void)gm_or_rlx(&c[i].mark, bits); // gm_finalize_decide sets bits too
        s->used += gm_base_popcount(bits & ~alloc);
        gm_store_rel(&c[i].alloc, alloc | bits); // pairs with gm_mark_typed: the slots are zero
        if (GOMEM_I_UNLIKELY(gm_load_rlx(&c[i].freed) & bits))
            (void)gm_and_rlx(&c[i].freed, ~bits); // other threads may set bits
    }
}

// Finds the next run of free slots of s from its cursor on, at most about 4 KiB: [*from, result).
// 0: there is none. Advances the cursor; the caller takes the slots.
GM_PRIVATE uintptr_t gm_cache_find_run(const struct gm_pages *p, struct gm_span *s, uintptr_t *from,
                                       bool marking) {
    struct gm_color *c = gm_span_colors(p, s->page);
    uint32_t size = gm_sizes_table[s->class].size, all = (s->count * size + 15) / 16;
    uint32_t at = s->cursor, limit = 0, last = UINT32_MAX;
    for (unsigned i = at / 64; at < all; i++, at = i * 64) {
        uint64_t starts = gm_span_starts(s, i) & ~(uint64_t)0 << at % 64;
        uint64_t free = starts & gm_cache_free_slots(&c[i], marking);
        if (last == UINT32_MAX) { // the run begins at the first free slot
            if (!free) continue;
            at = i * 64 + gm_base_ctz(free);
            limit = at + GM_MAX((uint32_t)GM_RUN_BYTES, size) / 16;
            starts &= ~(uint64_t)0 << at % 64;
            *from = gm_span_object(p, s, i, at % 64);
        }
        // It ends at the first slot that is taken, or at the limit, or goes on in the next group.
        uint64_t taken = starts & ~free;
        if (taken) free &= (taken & -taken) - 1;
        if (limit - i * 64 < 64) free &= ((uint64_t)1 << (limit - i * 64)) - 1;
        if (free) last = i * 64 + 63 - (uint32_t)__builtin_clzll(free);
        if (taken || limit <= i * 64 + 64) break;
    }
    if (last == UINT32_MAX) {
        s->cursor = all;
        return 0;
    }
    uintptr_t end = gm_span_object(p, s, last / 64, last % 64) + size;
    s->cursor = (uint32_t)((end - gm_span_start(p, s)) / 16);
    return end;
}

// Takes a run from the owned span s, zeroes its slots, counts them as allocated and gives it to the
// thread. False: s has no free slot left.
GM_PRIVATE bool gm_cache_take_run(struct gm_cache *t, gomem_i_run *run, struct gm_span *s) {
    const struct gm_pages *p = &t->engine->heap.pages;
    uintptr_t start = 0, end = gm_cache_find_run(p, s, &start, gm_cache_marking(t->engine));
    if (!end) return false;
    uint32_t size = gm_sizes_table[s->class].size, n = (uint32_t)(end - start) / size;
    uint32_t from = gm_span_index(p, s, start);
    uint32_t used = GM_MIN(from + n, s->fresh); // N2
    gm_base_tsan_renew(start, end - start);
    if (used > from)
        gm_os_zero(start, (size_t)(used - from) * size, GM_IN(GM_SET_SCANNED, s->kind));
    if (from + n > s->fresh) s->fresh = from + n;
    gm_cache_hold(t->engine, s, start, end);
    gm_stats_own(&t->stats.mallocs[s->class], n);
    gm_cache_count_bytes(t, end - start);
    gm_cache_charge(t, end - start);
    run->end = end;
    gm_signal_fence();
    gm_store_rlx(&run->cursor, start); // R3
    return true;
}

// Gives up an owned span without a run: lists it in its central (R4). Takes CENTRAL.
GM_PRIVATE void gm_cache_release_span(struct gm_cache *t, struct gm_central *c, struct gm_span *s) {
    struct gm_engine *e = t->engine;
    const struct gm_color *color = gm_span_colors(&e->heap.pages, s->page);
    bool room = s->used < s->count;
    gm_sweep_owned(&e->sweep, &e->heap.pages, &e->guard, &e->stats.shared, s); // R4
    for (unsigned i = 0; !room && !gm_cache_marking(e) && i < gm_span_groups(s); i++)
        room = gm_load_rlx(&color[i].freed) != 0;
    s->cursor = 0;
    gm_store_rlx(&s->owner, 0u); // rlx: published by the central's lock
    gm_sync_lock(&c->lock);
    unsigned list = room ? gm_sweep_partial(&e->sweep, true) : gm_sweep_full(&e->sweep, true);
    gm_central_add_locked(c, &e->heap.pages, list, s);
    gm_sync_unlock(&c->lock);
}

// Returns a span to take runs from, now owned by the thread: a swept one of c with room, or one
// that is swept for it, or a new one. NULL: no memory.
GM_PRIVATE struct gm_span *gm_cache_next_span(struct gm_cache *t, struct gm_central *c) {
    struct gm_engine *e = t->engine;
    struct gm_pages *p = &e->heap.pages;
    struct gm_span *s = NULL;
    if (gm_load_rlx(&c->list[gm_sweep_partial(&e->sweep, true)])) {
        gm_sync_lock(&c->lock);
        s = gm_central_pop_locked(c, p, gm_sweep_partial(&e->sweep, true));
        gm_sync_unlock(&c->lock);
    }
    for (unsigned i = 0; !s && i < 100; i++) { // S2
        s = gm_sweep_next(&e->sweep, &e->heap, &e->guard, &e->stats.shared, c);
        if (!s) break;
        if (s->used < s->count) break;
        gm_sweep_place(&e->sweep, &e->heap, c, s);
        s = NULL;
    }
    if (!s) {
        s = gm_heap_take(&e->heap, c->kind, c->class, 0, 0);
        if (!s) return NULL;
        s->shape = c->shape;
        // pairs with gm_sweep_swept: its bits are clear
        gm_store_rel(&s->generation, gm_load_rlx(&e->sweep.generation));
        gm_heap_publish(&e->heap, s);
        size_t bytes = (size_t)s->pages * GM_PAGE;
        if (s->clean && t->warm[c->class] >= 4)
            gm_os_populate((void *)gm_span_start(p, s), GM_MIN(bytes, 64 * GM_KIB));
        else if (t->warm[c->class] < 4) t->warm[c->class]++;
    }
    gm_store_rlx(&s->owner, t->number); // R4: it is in no list and has no other owner
    if (GM_IN(GM_SET_SCANNED, s->kind)) {
        uintptr_t start = gm_span_start(p, s);
        gm_writes_clear_ahead(&e->writes, p, start, start + (uintptr_t)s->pages * GM_PAGE,
                              gm_cache_marking(e));
    }
    return s;
}

// Refills an empty run from the span that the thread owns, or from the next one. False: no memory.
GM_PRIVATE bool gm_cache_refill_run(struct gm_cache *t, gomem_i_run *run, struct gm_span **owned,
                                    struct gm_central *c) {
    for (;;) {
        struct gm_span *s = *owned;
        if (s) {
            gm_sweep_owned(&t->engine->sweep, &t->engine->heap.pages, &t->engine->guard,
                           &t->engine->stats.shared, s);
            if (gm_cache_take_run(t, run, s)) return true;
            *owned = NULL;
            gm_store_rlx(&run->cursor, (uintptr_t)0);
            run->end = 0;
            gm_cache_release_span(t, c, s);
        }
        s = gm_cache_next_span(t, c);
        if (!s) return false;
        *owned = s;
    }
}

// Gives up a run and its span. The held slots, which the program never got, become free; while a
// cycle marks they stay allocated, as garbage (R5).
GM_PRIVATE void gm_cache_release_run(struct gm_cache *t, gomem_i_run *run, struct gm_span **owned,
                                     struct gm_central *c) {
    struct gm_pages *p = &t->engine->heap.pages;
    struct gm_span *s = *owned;
    if (!s) return;
    gm_sweep_owned(&t->engine->sweep, p, &t->engine->guard, &t->engine->stats.shared, s);
    uint32_t size = gm_sizes_table[s->class].size, n = 0;
    bool marking = gm_cache_marking(t->engine);
    for (uintptr_t at = run->cursor; !marking && at && at < run->end; at += size, n++) {
        uint64_t *alloc = &gm_span_color(p, at)->alloc;
        gm_store_rlx(alloc, gm_load_rlx(alloc) & ~gm_span_bit(p, at));
    }
    s->used -= n;
    gm_stats_own(&t->stats.frees[s->class], n);
    gm_store_rlx(&run->cursor, (uintptr_t)0);
    run->end = 0;
    *owned = NULL;
    gm_cache_release_span(t, c, s);
}

// Gives up all runs of a thread: it ends, or trims its cache.
GM_PRIVATE void gm_cache_flush_runs(struct gm_cache *t) {
    struct gm_engine *e = t->engine;
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        gm_cache_release_run(t, &t->hot.scan[c], &t->scan[c], &e->central[GM_SCAN][c]);
        gm_cache_release_run(t, &t->hot.noscan[c], &t->noscan[c], &e->central[GM_NOSCAN][c]);
    }
    for (uint32_t i = 1; i < t->hot.typed_count; i++)
        if (t->typed[i])
            gm_cache_release_run(t, &t->hot.typed[i], &t->typed[i],
                                 &gm_types_shape(&e->types, i)->central);
    (void)gm_add_rlx(&e->live, t->charged); // for pacing: may lag
    t->charged = 0;
}

// Makes room for the run of shape `number`. False: no memory.
GM_PRIVATE bool gm_cache_typed_room(struct gm_cache *t, uint32_t number) {
    if (number < t->hot.typed_count) return true;
    uint32_t room = GM_MAX(t->typed_room * 2, 16u);
    while (room <= number) room *= 2;
    gomem_i_run *runs = gm_pages_meta(&t->engine->meta, room * sizeof *runs);
    struct gm_span **spans = gm_pages_meta(&t->engine->meta, room * sizeof *spans);
    if (!runs || !spans) {
        gm_pages_meta_free(&t->engine->meta, runs, room * sizeof *runs);
        return false;
    }
    if (t->typed_room) {
        memcpy(runs, t->hot.typed, t->hot.typed_count * sizeof *runs);
        memcpy(spans, t->typed, t->hot.typed_count * sizeof *spans);
        gm_pages_meta_free(&t->engine->meta, t->hot.typed, t->typed_room * sizeof *runs);
        gm_pages_meta_free(&t->engine->meta, t->typed, t->typed_room * sizeof *spans);
    }
    t->hot.typed = runs;
    t->typed = spans;
    t->typed_room = t->hot.typed_count = room;
    return true;
}

// Calls fn for each non-empty run of a stopped thread.
GM_PRIVATE void gm_cache_each_run(struct gm_cache *t,
                                  void (*fn)(struct gm_engine *e, struct gm_span *s,
                                             gomem_i_run *run)) {
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        if (t->scan[c]) fn(t->engine, t->scan[c], &t->hot.scan[c]);
        if (t->noscan[c]) fn(t->engine, t->noscan[c], &t->hot.noscan[c]);
    }
    for (uint32_t i = 1; i < t->hot.typed_count; i++)
        if (t->typed[i]) fn(t->engine, t->typed[i], &t->hot.typed[i]);
}

// Forgets all runs after a shutdown, when their spans are gone.
GM_PRIVATE void gm_cache_reset_runs(struct gm_cache *t) {
    memset(t->hot.scan, 0, sizeof t->hot.scan);
    memset(t->hot.noscan, 0, sizeof t->hot.noscan);
    memset(t->scan, 0, sizeof t->scan);
    memset(t->noscan, 0, sizeof t->noscan);
    if (t->typed_room) {
        memset(t->hot.typed, 0, t->typed_room * sizeof *t->hot.typed);
        memset(t->typed, 0, t->typed_room * sizeof *t->typed);
    }
}

// Checks a run of a stopped thread, and its span (R1, R4).
GM_PRIVATE void gm_cache_verify_run(struct gm_check *check, const struct gm_cache *t,
                                    const struct gm_span *s, const gomem_i_run *run) {
    const struct gm_pages *p = check->pages;
    if (!s) return;
    gm_span_expect(check, s->owner == t->number, "cache: a run's span has another owner (R4)", s);
    uintptr_t cursor = gm_load_rlx(&run->cursor); // its thread is stopped
    if (!cursor) return;
    for (uintptr_t at = cursor; at < run->end && !check->broken; at += gm_span_slot_size(s))
        gm_span_expect(check,
                       gm_span_find(p, at) == s && gm_span_color(p, at)->alloc & gm_span_bit(p, at),
                       "cache: a held slot is not allocated (R1)", s);
}

GM_PRIVATE void gm_cache_verify_runs(struct gm_check *check, const struct gm_cache *t) {
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        gm_cache_verify_run(check, t, t->scan[c], &t->hot.scan[c]);
        gm_cache_verify_run(check, t, t->noscan[c], &t->hot.noscan[c]);
    }
    for (uint32_t i = 1; i < t->hot.typed_count; i++)
        gm_cache_verify_run(check, t, t->typed[i], &t->hot.typed[i]);
}
#else  // without a collector a thread has no runs
GM_INLINE void gm_cache_flush_runs(struct gm_cache *t) { (void)t; }
GM_INLINE void gm_cache_reset_runs(struct gm_cache *t) { (void)t; }
#endif // GOMEM_I_COLLECTOR

#if GOMEM_I_POOL
// Forgets a thread's caches of pools after a shutdown, when all pools are gone.
GM_PRIVATE void gm_cache_reset_pools(struct gm_cache *t) {
    for (unsigned i = 0; i < GOMEM_I_PLACES; i++) t->hot.pool[i] = GM_CACHE_NOTHING;
    t->hot.pool_caches = NULL;
    t->hot.pool_caches_room = 0;
}
#else // no pools
GM_INLINE void gm_cache_reset_pools(struct gm_cache *t) { (void)t; }
#endif

// Empties a cache, so that every fast path takes the slow path.
GM_PRIVATE void gm_cache_reset(struct gm_cache *t, struct gm_engine *e) {
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) {
        t->hot.top[c] = GM_CACHE_NOTHING;
        t->previous[c] = NULL;
        t->cap[c] = 0;
    }
    t->engine = e;
    t->held = t->pins = t->charged = t->ahead = t->counted = 0;
    t->hot.base = t->hot.size = 0;
    t->hot.ranks = 0;
    t->hot.desc = e->heap.pages.desc;
    gm_cache_reset_pools(t);
    gm_cache_reset_runs(t);
}

// ---- verification ----

// Checks the bits of a manual span (N2, N3), and that it is listed unless it is full (CL1).
GM_PRIVATE void gm_cache_verify_span(struct gm_check *check, const struct gm_span *s) {
    const uint64_t *bits = gm_span_bits(check->pages, s->page);
    uint32_t used = 0, last = 0;
    if (!s->class) return;
    for (unsigned i = 0; i < gm_span_words(s); i++) {
        used += gm_base_popcount(bits[i]);
        if (bits[i]) last = i * 64 + 64 - (uint32_t)__builtin_clzll(bits[i]);
    }
    gm_span_expect(check, last <= s->count, "span: bits beyond the last slot (N3)", s);
    gm_span_expect(check, last <= s->fresh, "span: a slot above the fresh watermark is in use (N2)",
                   s);
    gm_span_expect(check, used == s->used, "span: the count of used slots differs from the bits",
                   s);
    gm_span_expect(check, (s->bucket == GM_UNLISTED) == (s->used == s->count),
                   "central: a full span is listed or another is not (CL1)", s);
}

// Checks that the objects of a magazine are used slots of its class (R8).
GM_PRIVATE void gm_cache_verify_magazine(struct gm_check *check, unsigned class, void **top) {
    const struct gm_pages *p = check->pages;
    for (void *p0; top && (p0 = gm_load_rlx(top)) != NULL && !check->broken;
         top--) { // its thread is stopped
        const struct gm_span *s = gm_span_find(p, (uintptr_t)*top);
        bool fine = s && s->kind == GM_MANUAL && s->class == class &&
                    gm_cache_wrong(p, s, gm_span_index(p, s, (uintptr_t)*top), (uintptr_t)*top) ==
                        GM_MESSAGE_COUNT;
        if (fine) continue;
        check->broken = "cache: a magazine holds what is not a slot in use of its class (R8)";
        check->where = (uintptr_t)*top;
    }
}

// Checks the magazines of a thread that is stopped outside of sections.
GM_PRIVATE void gm_cache_verify(struct gm_check *check, const struct gm_cache *t) {
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++) {
        gm_cache_verify_magazine(check, c, t->hot.top[c]);
        gm_cache_verify_magazine(check, c, t->previous[c]);
    }
}

/* ==========================================================================================
 * >>runtime   the records of threads and of what all threads share                floor 4
 * ==========================================================================================
 * OWNS        struct gm_thread, struct gm_world, struct gm_runtime (the one); the TLS pointer; the
 *             structs that the rooms roots, finalize, gc, pool and escape keep in the runtime
 * WHY         One static struct holds all that threads share, so that its parts are listed in one
 *             place and a room needs one pointer. A struct is declared here and explained here; the
 *             room that its comment names is the only one that writes to it. The thread's cache is
 *             the first member of its record, and the TLS pointer points to it: an inlined path
 *             loads that one pointer. Threads without a record point to one of two constant caches
 *             in which each magazine is empty, full and of a heap of size 0, so that "not attached"
 *             needs no test of its own.
 */
enum {
    GM_THREAD_NONE = 0,
    GM_THREAD_RUNNING = 1,
    GM_THREAD_BLOCKED = 2,
    GM_THREAD_PARKED = 3,
    GM_THREAD_ATTACHING = 4,
    GM_THREAD_SHARED = 5,
    GM_THREAD_STALE = 6
};
#define GM_STATE(kind, epoch) ((uint32_t)(kind) | (uint32_t)(epoch) << 3)
enum { GM_FORKS_REGISTERED = 1 };
enum { GM_GATE = 1 }; // stop_request: fork has closed the gate; else an epoch << 3 of a stop
enum {
    GM_GATHER_NS = 1000000,      // the window of a stop
    GM_WITHDRAWALS = 8,          // after so many it may grow
    GM_GATHER_MOST = 256000000,  // to this
    GM_PAUSE_MOST = 64000000,    // between two tries
    GM_PATIENCE_NS = 1000000000, // then the stop is given up, and the thread is named
    GM_PATIENCE_LEAST = 20000000 // of a thread that allocates, where the last stop was given up
};

struct gm_runtime;

struct gm_thread {
    struct gm_cache cache;         // first
    struct gm_thread *next;        // in the list of all records. const
    uint32_t state;                // GM_STATE. atomic: seq
    uint32_t id;                   // of the kernel. owner: thread; read in stops
    pthread_t self;                // while in use
    uintptr_t stack_lo, stack_hi;  // normal stack; 0: not yet asked for, 1: unknown. lock: world
    bool grows;                    // stack_lo is as far as it was seen to reach. lock: world
    uintptr_t thread_pointer;      // where its thread-local storage hangs
    struct gm_registers registers; // as of when it parked or entered a blocking region
    struct gm_interrupted at;      // if it parked in the handler
    uintptr_t frame[64];           // what stood below gomem_blocking_begin's caller
    void *fake_stack;              // AddressSanitizer's, NULL: none
    bool in_handler;               // parked in the handler
    bool parking;                  // is in gm_world_park: signals return. owner: thread
    bool told;                     // it was reported as a straggler. lock: world
    struct gm_start *start;        // gomem_thread_create's, NULL: none. owner: thread
    uint32_t straggler;            // a stop waits for it in vain. atomic: rel/acq
    uint32_t sent;                 // stop signals, but those that were taken back. lock: world
    uint32_t heard;                // calls of the handler. owner: thread; atomic: rlx
    bool own;                      // the background thread: works for who stops. atomic: rlx
    uint8_t rounds;                // of key destructors seen
    uint32_t ended;                // gc.ended as gomem_gc_work saw it. owner: thread
    uint32_t futile;               // emergency collections that freed nothing. owner: thread
    struct gomem_arena *scratch;   // of room arena, NULL: none. owner: thread
    bool orphans;                  // scratch is of a thread that this child does not have
    uintptr_t called; // where its caller's stack ends while it is in gomem_gc, else 0. owner
#if GOMEM_I_ESCAPE
    uintptr_t hint_lo, hint_hi; // normal stack as room escape asked for it, 0: not yet. owner
    struct gm_frames *frames; // check level 1: hints on the stack, NULL: none. owner; read in stops
#endif
};

#if GOMEM_I_ESCAPE
struct gm_frame {     // memory of a function that a hint put on the stack
    uintptr_t at;     //
    size_t bytes;     // 0: none
    const char *file; // of the call
    int line;         //
};
enum { GM_FRAMES = 64 };
struct gm_frames { // the latest ones. owner: thread; read in stops
    struct gm_frame list[GM_FRAMES];
    uint32_t next; // to be written
};

struct gm_site {      // a call of GOMEM_STACK or GOMEM_HINT, with escape=1
    const char *file; //
    int line;         //
    uint64_t stack, stack_bytes, heap, heap_bytes;
    uint64_t why[4]; // of those in the heap, by enum gm_reason_of_hint
    uint64_t failed; // neither: no memory, or n x size overflows
};
struct gm_escapes {        // room escape
    struct gm_lock lock;   // of the sites
    struct gm_site *sites; //
    size_t count, room;    //
    uint64_t missed;       // calls that found no memory for their site
};
#endif

enum { GM_START_WAITS, GM_START_RUNS, GM_START_ENDED };
struct gm_start {          // a thread that gomem_thread_create made. lock: world
    struct gm_start *next; //
    void *(*fn)(void *);   //
    void *root;            // its argument until it has attached, its result once it has ended
    pthread_t thread;      // once it runs
    uint8_t state;         // GM_START_…
    bool detached;         // nobody joins it
};

struct gm_settings {
    gomem_options options;               // as given and from the environment
    bool gctrace, verify, stats, poison; // GOMEM_DEBUG
    bool lost, escape;                   // GOMEM_DEBUG
    bool read;                           // the environment has been read
};

enum { GM_LIFE_NEW = 0, GM_LIFE_READY = 1, GM_LIFE_SHUT = 2 };

struct gm_world {
    struct gm_lock lock;      // rank WORLD
    struct gm_lock init_lock; // around init and shutdown; outside all
    struct gm_lock gone_lock; // of the record for threads that have ended
    uint32_t life;            // GM_LIFE_…. atomic: acq/rel
    uint32_t stop_request;    // 0, GM_GATE, or epoch << 3. atomic: seq
    uint32_t epoch;           // of the last stop. lock: world
    uint32_t acks;            // futex: bumped when a thread parks. atomic
    uint32_t waiting;         // threads that wait for a stop to end. atomic: rlx
    uint32_t handling;        // threads that stand in the handler. atomic: acq/rel
    uint64_t stopped, opened; // ns: begin and end of the last stop. lock: world; read rlx
    uint32_t threads;         // records in use. lock: world; read rlx
    uint32_t numbers;         // given so far. lock: world
    uint32_t helper;          // id of the background thread. atomic: rlx
    struct gm_thread *all;    // every record. atomic: acq/rel
    struct gm_thread *gone;   // the shared record. lock: gone
    struct gm_start *starts;  // until they are joined. lock: world
    uint32_t forks;           // 0, GM_FORKS_REGISTERED, or who registers: pid << 2. atomic: acq/rel
    uintptr_t forker;         // &errno of the thread between our fork handlers, 0. atomic: rlx
    bool alone;               // the process that forks has one thread. lock: world
    uint32_t nested;          // forks of handlers that have interrupted it there. owner: forker
    uintptr_t starting;       // &errno of who registers. atomic: rlx
    pthread_key_t key;        // const once keyed
    bool keyed;               // the key exists
    sigset_t mask;            // of who stopped, as it was. lock: world
    int signal;               // stop signal, 0: handler not installed. lock: world; read rlx
    bool told_signal;         // that none is free. lock: world
    uint32_t signal_blocker;  // id of a thread that blocks the signal, 0: none known. lock: gc
    uint64_t
        unstopped_since; // ns: since when no stop has gathered all, 0: the last did. lock: world
    void (*end_thread)(struct gomem_arena *scratch); // hook: a thread ends. atomic: rel/acq
    struct gm_settings settings;
};

#if GOMEM_I_COLLECTOR
struct gm_area {
    uintptr_t start, end, extra;
}; // root: range; module: tls id, size

struct gm_areas {
    struct gm_area *list; //
    size_t count, room;   //
};

struct gm_stacks {
    struct gm_stack **list; // ascending
    size_t count, room;     //
};

enum { GM_DEEP = 256 * 1024, GM_DEEP_MOST = 32 };              // bytes; stacks that are tracked
#define GM_FIRST_STACK ((size_t)1 << (GM_WORD == 8 ? 34 : 31)) // bytes that main's may reach down
struct gm_deep {                                               // a stack that is worth tracking
    uintptr_t from, hi;                                        // where its thread stood; its end
    uintptr_t lo;                                              // its beginning
    bool first;                                                // the main thread's
};
struct gm_root_fn {                                // of gomem_add_root_fn
    void (*fn)(struct gomem_marker *m, void *arg); // calls gomem_mark
    void *arg;                                     //
};

struct gm_root_fns {
    struct gm_root_fn *list; //
    size_t count, room;      //
};

struct gm_roots {                      // room roots
    struct gm_lock lock;               // of ranges and stacks
    struct gm_areas ranges;            // gomem_add_root. lock: roots
    struct gm_stacks stacks;           // of coroutines. lock: roots
    struct gm_stack *dead;             // whose memory goes when no cycle marks. lock: roots
    struct gm_root_fns fns;            // gomem_add_root_fn. lock: roots
    intptr_t keys;                     // gm_os_learn_keys. atomic: rlx
    bool keys_known;                   // it was asked. atomic: rlx
    struct gm_file pagemap;            // open while roots are listed, in a stop
    struct gm_deep deep[GM_DEEP_MOST]; // deep stacks, as of when roots were listed last. lock: gc
    unsigned deep_count;               // of them
    struct gm_areas globals;           // writable segments as of the last look. lock: gc
    struct gm_areas modules;           // {id, bytes} of thread-local storage. lock: gc
    uint64_t objects;                  // hash of the loader's list as of then. lock: gc
    uint64_t changes;                  // of the loader's list, as of then. lock: gc
    bool incomplete;                   // no memory for one of them
    bool running;                      // what is listed is read while threads run. lock: gc
    bool again;      // the finish stop lists: what the start stop has, and is kept since. lock: gc
    uint32_t walks;  // at the loader's list, twice; odd: one goes on. atomic: acq/rel
    uint32_t walker; // thread id of whoever looks. atomic: rlx
    uint64_t walk_since;              // ns: when that look began. atomic: rlx
    bool inside;                      // the look has the loader's lock. atomic: seq
    bool lockless;                    // a child: the loader's lock may be held for ever. lock: gc
    bool unknown_stack;               // the latest list met a stack that is not known. lock: gc
    uint32_t unknown_stacks;          // so many lists in a row did. lock: gc
    uint32_t unknown_thread;          // whose: thread id. lock: gc
    uintptr_t unknown_sp;             // where it stood. lock: gc
    size_t stack_bytes, global_bytes; // of the last cycle
};

enum { GM_WORKERS = 16, GM_ASSISTS = 16 };
enum { GM_ASKED = 1, GM_ASKED_BY_TRIGGER = 2 };
enum { GM_UNATTACHED = 16 };
struct gm_unattached { // a thread that has no record. lock: gc
    uint32_t id;       // of the kernel, 0: none
    uint32_t seen;     // the look that saw it last
    uint64_t since;    // ns of the first one
    bool told;         // it was named
};

struct gm_gc {                                           // room gc
    struct gm_lock lock;                                 // one cycle at a time
    struct gm_lock turn;                                 // who works on the cycle, or forks (E5)
    struct gomem_marker marker[GM_WORKERS + GM_ASSISTS]; // [0]: who runs the cycle. lock: gc
    struct gm_thread *runner; // who holds the lock for a cycle, NULL: nobody. atomic: rlx
    uintptr_t runner_sp;      // where it stood when it called. lock: gc
    uint32_t workers;         // threads that mark. lock: gc
    uint32_t work;            // futex: bumped when marking starts. atomic: acq/rel
    uint32_t kick;            // futex of the background thread. atomic: acq/rel
    uint32_t quit;            // atomic: acq/rel
    size_t heavy;             // bytes of large objects so far. atomic: rlx
    uint32_t forks;           // that wait for their turn. atomic: rlx
    uint32_t passed;          // futex: forks that have got it. atomic: acq/rel
    bool dropped;             // marks are left of a cycle of the parent (E5). lock: turn
    uint32_t ended;           // futex: cycles that have ended. atomic: acq/rel
    uint32_t assisting;       // a bit per marker from GM_WORKERS on: in use. atomic: acqrel
    uint32_t phase;           // GM_PHASE_…. lock: gc; read rlx
    void *cycle;              // struct gm_cycle: the one under way. lock: gc
    uint32_t failed;          // cycles that could not go on, so far. atomic: rlx
    uint32_t stuck;           // of them since one has ended. lock: gc
    uint64_t not_before;      // ns: when the next may be tried by itself. atomic: rlx
    uint64_t patience;        // ns: of the runner with a stop. lock: gc
    uint64_t spared;  // ns: until then no emergency, if the last ones freed nothing. atomic: rlx
    uint32_t holds;   // gomem_gc_hold. atomic: rlx
    uint32_t asked;   // gomem_gc_start. atomic: acq/rel
    uint32_t closing; // few written pages are left: who allocates helps, the longer the more finish
                      // stops were given up: 1 + so many; 0: not yet. atomic: rlx
    bool background;  // its thread runs. lock: gc; read rlx
    bool no_record;   // it got no memory for its record, and runs no cycles. atomic: rlx
    bool (*collect)(struct gm_runtime *rt, struct gm_thread *me, int reason); // hook: runs a cycle
    pthread_t threads[GM_WORKERS], background_thread;
    uint32_t thread_count; // of threads[]
    uint64_t last;         // ns of the last cycle's end, monotonic. atomic: rlx
    struct gm_unattached unattached[GM_UNATTACHED]; // check level 1. lock: gc
    uint32_t looks;                                 // for unattached threads so far. lock: gc
    uint32_t traced_reason; // why writes are not tracked, as gctrace told it. lock: gc
    bool told_reason;       // a slow stop was told. lock: gc
    uint32_t told_vetoes;   // a bit per GOMEM_REASON_…. lock: gc
};

struct gm_finalize {  // room finalize
    uint32_t thread;  // GM_FINALIZE_NONE …. atomic: seq
    uint32_t quit;    // no thread shall be started, and it shall end. atomic: seq
    uint32_t kick;    // futex: bumped when a callback is ready. atomic: acq/rel
    pthread_t handle; // of the thread. owner: who starts it, then who shuts down
};
#endif

#if GOMEM_I_POOL
struct gm_pools {                 // room pool
    struct gm_lock lock;          // of the list, the places and the tables of caches
    struct gomem_pool *list;      // in use, ascending numbers. lock: pools
    struct gomem_pool *dead;      // destroyed, the oldest first. lock: pools
    uint32_t dead_count, numbers; // lock: pools
    uint32_t epoch;               // shutdowns so far: pools of earlier ones are void. atomic: rlx
    const void *place[GOMEM_I_PLACES]; // whose it is, NULL: free. lock: pools
    bool named[GOMEM_I_PLACES];        // a named pool's: kept for ever
    uint64_t due;                      // ns when the clock is looked at next. atomic: rlx/acqrel
    uint32_t more;                     // the last look has left work. atomic: rlx
    uint64_t (*tick)(unsigned steps);  // hook: ages by the clock. atomic: rel/acq
    void (*end)(struct gm_cache *t);   // hook: a thread ends. atomic: rel/acq
    void (*age)(
        unsigned generations); // hook: a cycle has ended, or memory is short. atomic: rel/acq
};
#endif

struct gm_runtime {
    struct gm_engine engine; // the heap, the same for all threads
    struct gm_world world;   // threads, and how they are stopped
#if GOMEM_I_POOL
    struct gm_pools pools; // lock: pools
#endif
#if GOMEM_I_ESCAPE
    struct gm_escapes escapes; // lock: escapes
#endif
#if GOMEM_I_COLLECTOR
    struct gm_roots roots;       // lock: roots
    struct gm_gc gc;             // the cycle. lock: gc
    struct gm_finalize finalize; // the thread of callbacks. atomic
#endif
};
static struct gm_runtime gm_runtime;

// ---- the caches of threads without a record ----

#define GM_8(x) x, x, x, x, x, x, x, x
#define GM_86(x)                                                                                 \
    GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), x, \
        x, x, x, x, x
_Static_assert(GOMEM_CLASSES + 1 == 86, "GM_86 makes one entry per class");

// Never written.
#if GOMEM_I_POOL
#define GM_64(x)  GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x), GM_8(x)
#define GM_256(x) GM_64(x), GM_64(x), GM_64(x), GM_64(x)
_Static_assert(GOMEM_I_PLACES == 256, "GM_256 makes one entry per place");
#define GM_RUNTIME_EMPTY                                                      \
    {                                                                         \
        .top = {GM_86(GM_CACHE_NOTHING)}, .pool = {GM_256(GM_CACHE_NOTHING)}, \
        .stop_request = &gm_sync_quiet                                        \
    }
#else
#define GM_RUNTIME_EMPTY \
    { .top = {GM_86(GM_CACHE_NOTHING)}, .stop_request = &gm_sync_quiet }
#endif
GM_PRIVATE const gomem_i_cache gm_runtime_nobody = GM_RUNTIME_EMPTY;
GM_PRIVATE const gomem_i_cache gm_runtime_gone = GM_RUNTIME_EMPTY;
#define GM_RUNTIME_NOBODY ((gomem_i_cache *)(uintptr_t)&gm_runtime_nobody)
#define GM_RUNTIME_GONE   ((gomem_i_cache *)(uintptr_t)&gm_runtime_gone)

#if defined(GOMEM_STATIC)
static
#endif
    GOMEM_I_THREAD gomem_i_cache *GOMEM_I_TLS GOMEM_I_TLS_MODEL = GM_RUNTIME_NOBODY;

#if GOMEM_I_COLLECTOR && !defined(GOMEM_STATIC)
uint32_t gomem_i_barrier = 0;
#endif

/* ==========================================================================================
 * >>settings   GOMEM_DEBUG and the other variables of the environment             floor 4
 * ==========================================================================================
 * OWNS        struct gm_settings
 * CALLS       base os guard
 * INVARIANTS  SE1 what the program has set in its options wins over the environment
 *             SE2 a value that cannot be read changes nothing and is named, with what is accepted
 * WHY         Read once, before the heap is made, by the thread that makes it.
 */
GM_COLD GM_PRIVATE void gm_settings_warn(struct gm_runtime *rt, const char *name, const char *value,
                                         size_t n, const char *accepted) {
    char copy[64];
    n = GM_MIN(n, sizeof copy - 1);
    memcpy(copy, value, n);
    copy[n] = 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)copy[i] < ' ') copy[i] = '?'; // one line
    struct gm_text t = gm_text_message(
        GM_MSG_ENVIRONMENT, ": %s does not know \"%s\"; accepted: %s", name, copy, accepted);
    gm_guard_warn(&rt->engine.guard, t.data);
}

GM_PRIVATE bool gm_settings_is_word(const char *s, size_t n, const char *word) {
    return strlen(word) == n && !memcmp(s, word, n);
}

// One key=value of GOMEM_DEBUG; false: unknown.
GM_PRIVATE bool gm_settings_debug_key(struct gm_settings *s, const char *item, size_t n) {
    static const char *const names[] = {"gctrace", "verify", "stats", "poison", "lost", "escape"};
    bool *const flags[] = {&s->gctrace, &s->verify, &s->stats, &s->poison, &s->lost, &s->escape};
    const char *equals = memchr(item, '=', n);
    if (!equals) return false;
    size_t key = (size_t)(equals - item), value = n - key - 1;
    if (GOMEM_I_COLLECTOR && gm_settings_is_word(item, key, "collector")) {
        static const char *const collectors[] = {"tracked", "barrier", "stw"};
        for (int i = 0; i < 3; i++) {
            if (!gm_settings_is_word(equals + 1, value, collectors[i])) continue;
            if (!s->options.collector) s->options.collector = GOMEM_GC_TRACKED + i;
            return true;
        }
        return false;
    }
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!gm_settings_is_word(item, key, names[i])) continue;
        if (value != 1 || (equals[1] != '0' && equals[1] != '1')) return false;
        *flags[i] = equals[1] == '1';
        return true;
    }
    return false;
}

// Decimal digits to the end; -1: something else.
GM_PRIVATE int gm_settings_decimal(const char *s) {
    long n = 0;
    if (!*s) return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || n > 10000000) return -1;
        n = n * 10 + (*s - '0');
    }
    return (int)n;
}

// A number of bytes with a unit as Go's GOMEMLIMIT has them; 0: something else.
GM_PRIVATE size_t gm_settings_bytes(const char *s) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t n = 0;
    if (*s < '0' || *s > '9') return 0;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(n, (size_t)10, &n) ||
            __builtin_add_overflow(n, (size_t)(*s - '0'), &n))
            return 0;
    if (!*s) return n;
    for (unsigned i = 0; i < 5; i++)
        if (i * 10 < 8 * sizeof n && !strcmp(s, units[i]))
            return n <= ((uint64_t)PTRDIFF_MAX >> i * 10) ? n << i * 10 : 0;
    return 0;
}

// A variable that holds bytes, `off`, or, if it can, `auto`: 90 % of what the control group may
// have. Options that the program has set win.
GM_PRIVATE void gm_settings_read_size(struct gm_runtime *rt, const char *name, bool group,
                                      size_t *size) {
    const char *value = GOMEM_GETENV(name);
    if (!value || !*value || *size || !strcmp(value, "off")) return;
    if (group && !strcmp(value, "auto")) {
        uint64_t most = gm_os_group_limit("/proc/thread-self/cgroup", "/sys/fs/cgroup");
        if (most < (uint64_t)PTRDIFF_MAX) *size = (size_t)(most - most / 10);
        return;
    }
    *size = gm_settings_bytes(value);
    if (*size) return;
    gm_settings_warn(rt, name, value, strlen(value),
                     group ? "a number of bytes with B, KiB, MiB, GiB or TiB behind, auto, off"
                           : "a number of bytes with B, KiB, MiB, GiB or TiB behind, off");
}

GM_PRIVATE void gm_settings_read_environment(struct gm_runtime *rt) {
    struct gm_settings *s = &rt->world.settings;
    if (s->read) return;
    s->read = true;
    const char *gogc = GOMEM_GETENV("GOMEM_GOGC"), *debug = GOMEM_GETENV("GOMEM_DEBUG");
    gm_settings_read_size(rt, "GOMEM_MEMLIMIT", true, &s->options.memory_limit);
    gm_settings_read_size(rt, "GOMEM_HARDLIMIT", true, &s->options.hard_limit);
    gm_settings_read_size(rt, "GOMEM_RESERVE", false, &s->options.reserve);
    if (gogc && *gogc && !s->options.gc_percent) {
        int n = strcmp(gogc, "off") ? gm_settings_decimal(gogc) : GOMEM_GC_OFF;
        if (n > 0 || n == GOMEM_GC_OFF) {
            if (n > 0 || !strcmp(gogc, "off")) s->options.gc_percent = n;
            else
                gm_settings_warn(rt, "GOMEM_GOGC", gogc, strlen(gogc),
                                 "a number of percent from 1, off");
        } else {
            gm_settings_warn(rt, "GOMEM_GOGC", gogc, strlen(gogc),
                             "a number of percent from 1, off");
        }
    }
    while (debug && *debug) {
        size_t n = strcspn(debug, ",");
        if (n && !gm_settings_debug_key(s, debug, n))
            gm_settings_warn(rt, "GOMEM_DEBUG", debug, n,
                             "gctrace=0|1, collector=tracked|barrier|stw, verify=0|1, "
                             "stats=0|1, poison=0|1, lost=0|1, escape=0|1");
        debug += n;
        if (*debug) debug++;
    }
    rt->engine.guard.poison = s->poison;
    if (GOMEM_I_CHECK) rt->engine.guard.watched = gm_os_ask_valgrind(GM_VALGRIND_RUNS, 0, 0) != 0;
}

/* ==========================================================================================
 * >>world   attach, stop, fork                                                    floor 4
 * ==========================================================================================
 * OWNS        what struct gm_thread and struct gm_world hold
 * CALLS       base os sync pages central types special guard pacer writes cache settings
 * LOCKS       INIT, TURN, GONE, WORLD (fork); GC, then TURN (no cycle runs); GONE, then WORLD, held
 *             through a stop by the thread that stopped; WORLD, then META (attach, leave)
 * ORDER       V1 and V2 are Dekker pairs: state and stop_request are stored and loaded seq
 * INVARIANTS  V1  who stops stores stop_request, then looks at states; a thread that leaves a
 *                 blocking region stores its state, then looks at stop_request: one sees the other
 *             V2  a state goes running -> parked(epoch) once per stop; a signal with no stop
 *                 pending, or to a thread that is in a section or a blocking region, parks already,
 *                 or has no record, returns
 *             V3  a stop that has not gathered all within its window (1 ms; after eight tries
 *                 longer, where the straggler only waits for a processor) is withdrawn: nothing
 *                 was changed. The pause before the next try grows, so that a thread which holds
 *                 what the straggler waits for goes on. After its patience it is given up
 *             V4  records are never unmapped; a record's thread is running, blocked or parked, or
 *                 it is not scanned (none, attaching, stale), or the record is the shared one
 *             V5  a stop begins when the threads that waited for the end of the last one have woken
 *                 and have run as long as it took, or 1 ms after it: cycles back to back starve
 *                 nobody
 *             V6  the fork handlers are registered before a lock is taken; a child in which the
 *                 handler runs knows that they are, another one registers again
 *             V7  a thread whose signal mask holds the stop signal unblocks it when it attaches,
 *                 when it parks, and, once a stop has waited for it in vain, at its next slow path;
 *                 a handler that was replaced is put back, or another signal taken, before the next
 *                 stop
 *             V8  from the end of our prepare handler to our handler behind fork the calling thread
 *                 holds INIT, TURN, GONE and WORLD: it takes them no second time, passes the gate,
 *                 and runs no cycle. So fork handlers that were registered earlier may allocate
 *             V9  when a stop is over or withdrawn no signal of it is on its way to any thread. The
 *                 stopper counts what it sends, the handler what it hears; where the two differ,
 *                 ignoring the signal for an instant discards what is pending, masked or not
 *             V10 a fork in a signal handler that has interrupted a section, or the holder of one
 *                 of these locks, takes nothing: it would wait for itself, or for a thread that
 *                 forks in the same way. Its child execs or ends
 * WHY         A thread in a section parks when it leaves it, one in a blocking region counts as
 *             stopped, any other gets a signal. Withdrawing bounds what a thread that sits in a
 *             long system call costs the others. Threads that have ended but still run destructors
 *             allocate from one shared record under a lock.
 *             Real-time signals queue, and their default action ends the process. Left alone, each
 *             withdrawn stop would add one for a thread that masks them, up to the user's limit,
 *             and a program that resets its handlers would die of them. Counts that differ without
 *             need (a handler may run when its stop is over) cost two system calls. Sending none
 *             while one is pending was dropped: that one would still be there at a reset. A child
 *             of posix_spawn that begins in that instant inherits an ignored signal, and no more.
 *             Prepare handlers run in reverse order. Ours should be the last one: a program's may
 *             wait for a lock whose holder allocates, and would find the gate closed. So they are
 *             registered by a constructor, and under the override before anybody else's.
 */
GM_INLINE bool gm_world_has_record(const gomem_i_cache *t) {
    return t != &gm_runtime_nobody && t != &gm_runtime_gone;
}

// The calling thread's record; NULL: none.
GM_INLINE struct gm_thread *gm_world_self(void) {
    gomem_i_cache *t = GOMEM_I_TLS;
    return gm_world_has_record(t) ? (struct gm_thread *)(void *)t : NULL;
}

// Is the calling thread between our two fork handlers? (V8)
GM_NO_SANITIZE GM_PRIVATE bool gm_world_forks(const struct gm_world *w) {
    uintptr_t forker = gm_load_rlx(&w->forker); // a thread finds itself only if it stored itself
    return GOMEM_I_UNLIKELY(forker != 0) && forker == (uintptr_t)&errno;
}

// For locks that fork holds: the forking thread has them. (V8)
GM_PRIVATE void gm_world_lock(const struct gm_world *w, struct gm_lock *l) {
    if (!gm_world_forks(w)) gm_sync_lock(l);
}
GM_PRIVATE void gm_world_unlock(const struct gm_world *w, struct gm_lock *l) {
    if (!gm_world_forks(w)) gm_sync_unlock(l);
}

// What asks the calling thread to stand: the gate does not ask the one that has closed it. (V8)
GM_NO_SANITIZE GM_PRIVATE uint32_t gm_world_stop_request(const struct gm_world *w) {
    uint32_t stop_request = gm_load_seq(&w->stop_request); // V1
    return stop_request == GM_GATE && gm_world_forks(w) ? 0 : stop_request;
}

// ---- parking ----

extern void *__asan_get_current_fake_stack(void) __attribute__((weak));

GM_NO_SANITIZE GM_ALWAYS void *gm_world_fake_stack(void) {
    return GM_ASAN ? __asan_get_current_fake_stack() : NULL;
}

GM_NO_SANITIZE GM_PRIVATE void gm_world_copy(uintptr_t *to, const uintptr_t *from, size_t words) {
    for (size_t i = 0; i < words; i++) to[i] = gm_base_word(&from[i]);
}

// Says that the thread stands, and wakes who stops.
GM_NO_SANITIZE GM_PRIVATE void gm_world_acknowledge(struct gm_world *w, struct gm_thread *t,
                                                    uint32_t state) {
    gm_store_seq(&t->state, state);             // V1: pairs with gm_world_running's loads
    if (!gm_load_seq(&w->stop_request)) return; // V1: nobody waits
    (void)gm_add_acqrel(&w->acks,
                        1u); // pairs with gm_world_gather: the state is seen with the count
    gm_os_wake(&w->acks, 1);
}

// Waits once for the end of the stop of `stop_request`; may return earlier. (V5)
GM_NO_SANITIZE GM_PRIVATE void gm_world_wait(struct gm_world *w, uint32_t stop_request) {
    (void)gm_add_rlx(&w->waiting, 1u);
    gm_os_wait(&w->stop_request, stop_request, 0);
    (void)gm_add_rlx(&w->waiting, (uint32_t)-1);
}

// Stands still until the stop of `stop_request` is over.
GM_NO_SANITIZE GM_PRIVATE void gm_world_wait_out(struct gm_world *w, struct gm_thread *t,
                                                 uint32_t stop_request) {
    t->fake_stack = gm_world_fake_stack();
    gm_world_acknowledge(w, t, stop_request | GM_THREAD_PARKED);
    while (gm_load_seq(&w->stop_request) == stop_request) gm_world_wait(w, stop_request); // V1
    gm_store_seq(&t->state, (uint32_t)GM_THREAD_RUNNING); // V1: a stop that begins now signals us
}

// The thread stops by itself, outside of any section, as long as stop_request asks for it. No
// handler of the program runs meanwhile: it might move pointers. One that is not yet known is not
// scanned and only waits.
GM_RARE GM_NOINLINE GM_PRIVATE void gm_world_park(struct gm_world *w, struct gm_thread *t) {
    uint32_t stop_request;
    while ((stop_request = gm_world_stop_request(w)) != 0) {
        if (stop_request == GM_GATE || gm_load_seq(&t->state) == GM_THREAD_ATTACHING) { // V1
            gm_world_wait(w, stop_request);
            continue;
        }
        sigset_t old;
        gm_os_block_signals(&old);
        gm_base_tsan_acquire(&w->stop_request); // of a stop that it stood out in the handler
        t->parking = true;
        gm_signal_fence();
        t->in_handler = false;
        gm_os_spill(&t->registers);
        gm_base_tsan_release(&t->cache.hot);
        gm_world_wait_out(w, t, stop_request);
        gm_base_tsan_acquire(&w->stop_request);
        gm_signal_fence();
        t->parking = false;
        gm_os_keep_unblocked(&old, gm_load_rlx(&w->signal)); // V7; it changes in stops only
        gm_os_restore_signals(&old);
    }
}

// Leaves a blocking region: waits out a stop, whose collector may be reading our saved stack.
GM_PRIVATE void gm_world_unblock(struct gm_world *w, struct gm_thread *t) {
    for (;;) {
        uint32_t stop_request = gm_world_stop_request(w);
        if (stop_request) {
            gm_world_wait(w, stop_request);
            continue;
        }
        // V1: pairs with gm_world_running
        gm_store_seq(&t->state, (uint32_t)GM_THREAD_RUNNING);
        if (!gm_world_stop_request(w)) return;
        gm_world_acknowledge(w, t, GM_THREAD_BLOCKED);
    }
}

// Enters a blocking region: from here on the thread counts as stopped. Frames below `top` end when
// the caller returns, and may hold the only copy of a register: they are copied.
GM_NOINLINE GM_PRIVATE void gm_world_block(struct gm_world *w, struct gm_thread *t, uintptr_t top) {
    gm_base_tsan_acquire(&w->stop_request); // of a stop that it stood out in the handler
    if (t->cache.hot.blocked++) return;
    gm_signal_fence(); // from here on a stop signal returns
    t->in_handler = false;
    t->fake_stack = gm_world_fake_stack();
    gm_os_spill(&t->registers);
    size_t n = top > t->registers.sp ? GM_MIN(top - t->registers.sp, sizeof t->frame) : 0;
    gm_world_copy(t->frame, (const uintptr_t *)t->registers.sp, n / GM_WORD);
    memset((char *)t->frame + n, 0, sizeof t->frame - n);
    gm_base_tsan_release(&t->cache.hot);
    gm_world_acknowledge(w, t, GM_THREAD_BLOCKED);
}

GM_PRIVATE void gm_world_end_block(struct gm_world *w, struct gm_thread *t) {
    gm_base_tsan_acquire(&w->stop_request);
    if (t->cache.hot.blocked > 1) {
        t->cache.hot.blocked--;
        return;
    }
    gm_world_unblock(w, t);
    t->cache.hot.blocked = 0;
    gm_signal_fence();
    if (gm_load_seq(&w->stop_request)) gm_world_park(w, t); // V1: a signal in between returned
}

// Hook of sync: stop_request was seen, or the thread is in a blocking region (V1, V2).
GM_RARE GM_PRIVATE void gm_world_stop_wait(gomem_i_cache *hot, bool enter) {
    struct gm_world *w = &gm_runtime.world;
    struct gm_thread *t = (struct gm_thread *)(void *)hot;
    if (!enter) {
        if (hot->blocked) gm_world_acknowledge(w, t, GM_THREAD_BLOCKED);
        // V1: pairs with the stores of who stops; the gate is for who enters
        else if (gm_load_seq(&w->stop_request) != GM_GATE) gm_world_park(w, t);
        return;
    }
    uint32_t stop_request;
    do { // with the gate: the depth is taken back while waiting
        gm_store_rlx(&hot->section_depth, 0u); // read at the gate
        gm_signal_fence();
        if (hot->blocked) gm_world_unblock(w, t);
        else gm_world_park(w, t);
        gm_store_rlx(&hot->section_depth, 1u); // read at the gate
        gm_signal_fence();
        // Y2: pairs with the stores of who stops. One look: a stop that began between two would
        // wait for this thread, which, running and blocked, would wait for the stop.
        stop_request = gm_world_stop_request(w);
        if (stop_request && hot->blocked) gm_world_acknowledge(w, t, GM_THREAD_BLOCKED);
    } while (stop_request);
}

// The stop signal.
GM_RARE GM_NO_SANITIZE GM_PRIVATE void gm_world_handler(int signal, siginfo_t *info,
                                                        void *context) {
    struct gm_world *w = &gm_runtime.world;
    gomem_i_cache *hot = GOMEM_I_TLS;
    (void)signal, (void)info;
    if (!gm_world_has_record(hot)) return;
    struct gm_thread *t = (struct gm_thread *)(void *)hot;
    gm_store_rlx(&t->heard, gm_load_rlx(&t->heard) + 1);   // V9: a stale one costs little
    uint32_t stop_request = gm_load_seq(&w->stop_request); // V2
    if (!stop_request || stop_request == GM_GATE || hot->section_depth || hot->blocked ||
        t->parking)
        return;
    if (gm_load_seq(&t->state) != GM_THREAD_RUNNING) return; // V2
    int saved = errno;
    (void)gm_add_rlx(&w->handling, 1u); // counts only
    t->in_handler = true;
    t->at = gm_os_interrupted(context);
    gm_os_spill(&t->registers);
    gm_world_wait_out(w, t, stop_request);
    errno = saved;
    (void)gm_sub_acqrel(&w->handling, 1u); // pairs with gm_world_remove_handler: nothing follows it
}

// ---- stopping the others ----

// States of records whose thread is not stopped and not scanned.
GM_INLINE bool gm_world_absent(uint32_t state) {
    return state == GM_THREAD_NONE || state == GM_THREAD_STALE || state == GM_THREAD_ATTACHING ||
           state == GM_THREAD_SHARED;
}

// Counts the threads that still run; signals them when asked to.
GM_PRIVATE unsigned gm_world_running(struct gm_world *w, const struct gm_thread *me,
                                     uint32_t stop_request, bool signal) {
    unsigned n = 0;
    // pairs with gm_world_record_locked: records are complete
    for (struct gm_thread *t = gm_load_acq(&w->all); t; t = t->next) {
        uint32_t state = gm_load_seq(&t->state); // V1
        if (t == me || gm_world_absent(state)) continue;
        if (state == GM_THREAD_BLOCKED || state == (stop_request | GM_THREAD_PARKED)) continue;
        t->sent += signal; // V9
        if (signal && !gm_os_signal_thread(t->id, w->signal)) {
            gm_store_seq(&t->state, (uint32_t)GM_THREAD_STALE); // V4: it ended by a bare exit call
            gm_store_rlx(&w->threads, w->threads - 1);
            continue;
        }
        n++;
    }
    return n;
}

// Asks all threads but `me` to stand; returns how many still run. The lock is held.
GM_PRIVATE unsigned gm_world_request_stop(struct gm_world *w, const struct gm_thread *me) {
    uint32_t stop_request = ++w->epoch << 3;
    if (!stop_request) stop_request = ++w->epoch << 3;
    gm_store_seq(&w->stop_request, stop_request); // V1
    return gm_world_running(w, me, stop_request, true);
}

GM_PRIVATE void gm_world_release(struct gm_world *w) {
    gm_base_tsan_release(&w->stop_request);
    gm_store_seq(&w->stop_request, 0u); // pairs with the loads of who waits: it sees what we did
    gm_os_wake(&w->stop_request, INT_MAX);
}

// Waits until all stand; false: not within ns.
GM_PRIVATE bool gm_world_gather(struct gm_world *w, const struct gm_thread *me,
                                uint32_t stop_request, uint64_t ns) {
    uint64_t end = gm_os_now() + ns;
    for (;;) {
        uint32_t acks = gm_load_seq(&w->acks); // pairs with gm_world_acknowledge
        if (!gm_world_running(w, me, stop_request, false)) {
            for (struct gm_thread *t = gm_load_acq(&w->all); GM_TSAN && t; t = t->next) // as above
                gm_base_tsan_acquire(&t->cache.hot);
            return true;
        }
        uint64_t now = gm_os_now();
        if (now >= end) return false;
        gm_os_wait(&w->acks, acks, end - now);
    }
}

// Takes back the signals of a stop that no handler has heard: their threads mask them, have parked
// by themselves, or sleep where nothing wakes them. The stop is not yet over for anybody. (V9)
GM_PRIVATE void gm_world_discard_signals(struct gm_world *w) {
    bool unheard = false;
    // pairs with gm_world_record_locked: records are complete
    for (struct gm_thread *t = gm_load_acq(&w->all); t; t = t->next) {
        uint32_t heard = gm_load_rlx(&t->heard); // V9
        unheard |= t->sent != heard;
        t->sent = heard;
    }
    if (unheard && w->signal) gm_os_discard_signal(w->signal, gm_world_handler);
}

GM_PRIVATE void gm_world_resume(struct gm_runtime *rt) {
    struct gm_world *w = &rt->world;
    sigset_t mask = w->mask;
    gm_world_discard_signals(w);
    gm_store_rlx(&w->opened, gm_os_now());
    gm_world_release(w);
    gm_sync_unlock(&w->lock);
    gm_sync_unlock(&w->gone_lock);
    gm_os_restore_signals(&mask);
}

// ---- a thread that does not stop ----

enum { GM_STRAGGLERS = 8 };
struct gm_stragglers { // threads that did not stand when a try was withdrawn, the first few
    uint32_t id[GM_STRAGGLERS]; // of the kernel
    unsigned count;             //
};

// Does the stop of `stop_request` still wait for this thread?
GM_INLINE bool gm_world_is_straggler(const struct gm_thread *t, const struct gm_thread *me,
                                     uint32_t stop_request) {
    uint32_t state = gm_load_seq(&t->state); // V1
    return t != me && !gm_world_absent(state) && state != GM_THREAD_BLOCKED &&
           state != (stop_request | GM_THREAD_PARKED);
}

// The stop of `stop_request` has waited in vain: notes for whom. The lock is held.
GM_PRIVATE void gm_world_note_stragglers(struct gm_world *w, const struct gm_thread *me,
                                         uint32_t stop_request, struct gm_stragglers *stragglers) {
    stragglers->count = 0;
    // pairs with gm_world_record_locked: records are complete
    for (struct gm_thread *t = gm_load_acq(&w->all); t; t = t->next) {
        if (!gm_world_is_straggler(t, me, stop_request)) continue;
        gm_store_rlx(&t->straggler, 1u); // V7: only its own thread acts on it
        if (stragglers->count < GM_STRAGGLERS) stragglers->id[stragglers->count++] = t->id;
    }
}

// Does a thread run, or only wait for a processor?
GM_PRIVATE bool gm_world_is_runnable(struct gm_world *w, uint32_t id) {
    struct gm_task task;
    return id && gm_os_read_task(id, gm_load_rlx(&w->signal), &task) && task.state == 'R' && // V7
           !task.blocked;
}

// Do the stragglers only wait for a processor? Then a longer window helps.
GM_PRIVATE bool gm_world_are_runnable(struct gm_world *w, const struct gm_stragglers *stragglers) {
    for (unsigned i = 0; i < stragglers->count; i++)
        if (!gm_world_is_runnable(w, stragglers->id[i])) return false;
    return stragglers->count > 0;
}

// Does the thread that the last stops have waited for still block the signal? Then a try would hold
// up the others for nothing: once the thread comes to a slow path, it unblocks the signal (V7).
GM_PRIVATE bool gm_world_blocks_signal(struct gm_world *w) {
    struct gm_task task;
    if (!w->signal_blocker) return false;
    gm_sync_lock(&w->lock);
    const struct gm_thread *t = w->all;
    while (t && (t->id != w->signal_blocker || gm_load_seq(&t->state) != GM_THREAD_RUNNING)) // V1
        t = t->next;
    gm_sync_unlock(&w->lock);
    int signal = gm_load_rlx(&w->signal); // V7
    if (t && gm_os_read_task(w->signal_blocker, signal, &task) && task.blocked) return true;
    w->signal_blocker = 0;
    return false;
}

// Names a thread that no stop has reached for some time. The world runs.
GM_COLD GM_PRIVATE void gm_world_report_straggler(struct gm_runtime *rt, uint32_t id) {
    struct gm_world *w = &rt->world;
    struct gm_task task;
    int signal = gm_load_rlx(&w->signal); // V7
    bool known = gm_os_read_task(id, signal, &task);
    const char *wait = known && task.state == 'S' ? gm_os_read_wait(id) : NULL;
    const char *does = task.blocked        ? "blocks"
                       : task.state == 'D' ? "is in a system call that takes no"
                       : task.state == 'R' ? "gets no processor for"
                                           : "does not answer";
    struct gm_text line = gm_text_message(
        GM_MSG_THREAD, ": thread %u%s%s%s %s signal %d%s%s: %s", id, known ? " (" : "", task.name,
        known ? ")" : "", does, signal, wait ? " in " : "", wait ? wait : "",
        task.blocked || task.state != 'D'
            ? "keep this signal out of its masks and sets (GOMEM_THREADS does)"
            : "put gomem_blocking_begin and gomem_blocking_end around it");
    gm_guard_warn(&rt->engine.guard, line.data);
}

// The program may have reset all signals, as daemons do, or have taken this one: our handler is put
// back before the signal is sent. Whoever installed another handler keeps the signal if there is
// one left for us. World's lock is held.
GM_PRIVATE void gm_world_keep_handler(struct gm_world *w) {
    enum gm_handled handled = gm_os_handled(w->signal, gm_world_handler);
    if (handled == GM_HANDLED) return;
    int other = handled == GM_HANDLED_ELSEWHERE && !w->settings.options.stop_signal
                    ? gm_os_claim_signal(gm_world_handler)
                    : 0;
    if (other) gm_store_rlx(&w->signal, other); // V7
    else (void)gm_os_install_handler(w->signal, gm_world_handler);
}

// The library may be unloaded after this: no thread stands in the handler, none will, and the end
// of a thread calls nothing of ours. No stop runs.
GM_PRIVATE void gm_world_remove_handler(struct gm_world *w) {
    if (w->signal) gm_os_remove_handler(w->signal, gm_world_handler);
    w->signal = 0;
    // pairs with gm_world_handler; they were woken when the last stop ended
    while (gm_load_acq(&w->handling)) gm_os_wait(&gm_sync_quiet, 0, 100000);
    if (w->keyed) (void)pthread_key_delete(w->key);
    w->keyed = false;
}

// The calling thread takes the stop signal from here on. (V7)
GM_COLD GM_PRIVATE void gm_world_unmask(struct gm_world *w, struct gm_thread *t) {
    gm_store_rlx(&t->straggler,
                 0u); // by its own thread; a stop that has not gathered it sets it again
    gm_os_unblock(gm_load_rlx(&w->signal));
}

// Lets the program's other threads run for as long as the last stop took, at most 1 ms. (V5)
GM_PRIVATE void gm_world_yield_before_stop(struct gm_world *w, const struct gm_thread *me) {
    unsigned others = 0;
    // pairs with gm_world_record_locked: records are complete
    for (struct gm_thread *t = gm_load_acq(&w->all); t; t = t->next) {
        uint32_t state = gm_load_rlx(&t->state); // a guess
        others += t != me && !gm_load_rlx(&t->own) && !gm_world_absent(state) &&
                  state != GM_THREAD_BLOCKED;
    }
    if (!others) return;
    uint64_t opened = gm_load_rlx(&w->opened), stood = opened - gm_load_rlx(&w->stopped);
    uint64_t now = gm_os_now(), last = opened + GM_GATHER_NS;
    for (unsigned i = 0; gm_load_rlx(&w->waiting) && now < last; now = gm_os_now()) {
        gm_os_yield(i++);
        opened = now;
    }
    for (uint64_t end = GM_MIN(opened + stood, last); now < end; now = gm_os_now())
        gm_os_wait(&gm_sync_quiet, 0, end - now);
}

// Runs one try of a stop. True: all stand, the lock is held, all signals are blocked. False: it was
// withdrawn; *stragglers names threads that did not stand.
GM_PRIVATE bool gm_world_try_stop(struct gm_runtime *rt, const struct gm_thread *me,
                                  uint64_t window, struct gm_stragglers *stragglers) {
    struct gm_world *w = &rt->world;
    gm_world_yield_before_stop(w, me);
    gm_sync_lock(&w->gone_lock);
    gm_sync_lock(&w->lock);
    gm_store_rlx(&w->stopped, gm_os_now());
    gm_os_block_signals(&w->mask); // a handler that allocates would wait for this very stop
    if (w->signal) gm_world_keep_handler(w);
    (void)gm_world_request_stop(w, me);
    uint32_t stop_request = gm_load_rlx(&w->stop_request); // ours: the lock is held
    if (gm_world_gather(w, me, stop_request, window)) {
        w->unstopped_since = 0;
        return true;
    }
    if (!w->unstopped_since) w->unstopped_since = w->stopped;
    gm_world_note_stragglers(w, me, stop_request, stragglers);
    gm_store_rlx(&rt->engine.stats.withdrawn, rt->engine.stats.withdrawn + 1); // statistics
    gm_world_resume(rt);                                                       // V3
    return false;
}

// Is it time to name a straggler: after a second, or after ten where it only lacks a processor or
// sleeps in the kernel where no signal wakes it? Each is named once.
GM_PRIVATE bool gm_world_is_report_due(struct gm_world *w, uint32_t id,
                                       const struct gm_task *task) {
    bool slow = (task->state == 'R' || task->state == 'D') && !task->blocked;
    uint64_t wait = (slow ? 10 : 1) * (uint64_t)GM_PATIENCE_NS;
    gm_sync_lock(&w->lock);
    struct gm_thread *t = w->all;
    while (t && t->id != id) t = t->next;
    bool due = t && !t->told && w->unstopped_since && gm_os_now() - w->unstopped_since >= wait;
    if (due) t->told = true;
    gm_sync_unlock(&w->lock);
    return due;
}

// A stop was given up: says which thread it has waited for.
GM_COLD GM_PRIVATE void gm_world_report_stragglers(struct gm_runtime *rt,
                                                   const struct gm_stragglers *stragglers) {
    struct gm_world *w = &rt->world;
    struct gm_task task;
    for (unsigned i = 0; i < stragglers->count; i++) {
        (void)gm_os_read_task(stragglers->id[i], gm_load_rlx(&w->signal),
                              &task); // V7; else all is 0
        if (task.blocked) w->signal_blocker = stragglers->id[i];
        if (gm_world_is_report_due(w, stragglers->id[i], &task))
            gm_world_report_straggler(rt, stragglers->id[i]);
    }
}

// ---- records ----

// Nobody's record: its thread has left, or has ended after a shutdown without a word.
GM_PRIVATE bool gm_world_unused(const struct gm_thread *t) {
    uint32_t state = gm_load_rlx(&t->state); // changes under the lock
    return state == GM_THREAD_NONE || (state == GM_THREAD_STALE && !gm_os_signal_thread(t->id, 0));
}

// A record for a new thread: an old one, or made. NULL: no memory.
GM_RARE GM_PRIVATE struct gm_thread *gm_world_record_locked(struct gm_runtime *rt) {
    struct gm_world *w = &rt->world;
    struct gm_thread *t = w->all;
    while (t && !gm_world_unused(t)) t = t->next;
    if (t) return t;
    t = gm_pages_meta(&rt->engine.meta, sizeof *t);
    if (!t) return NULL;
    t->next = w->all;
    gm_store_rlx(&w->numbers, w->numbers + 1); // memstats reads it
    t->cache.number = w->numbers;
    t->cache.hot.stop_request = &w->stop_request;
    t->cache.hot.stop_wait = gm_world_stop_wait;
    gm_cache_reset(&t->cache, &rt->engine);
    gm_store_rel(&w->all, t); // pairs with who walks the list
    return t;
}

// What the inlined paths compare with; with poison every free must go slow.
GM_RARE GM_PRIVATE void gm_world_warm(struct gm_runtime *rt, struct gm_cache *t) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    uintptr_t lo = gm_load_rlx(&p->lo), hi = gm_load_rlx(&p->hi); // P3: the one or the other
    t->hot.base = lo;
    t->hot.desc = p->desc + (lo - p->base) / GM_PAGE;
    t->hot.size = rt->engine.guard.poison ? 0 : hi - lo;
}

// The same again where the heap has become wider since: what the thread frees there goes slow.
GM_INLINE void gm_world_widen(struct gm_runtime *rt, struct gm_cache *t) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    size_t size = gm_load_rlx(&p->hi) - gm_load_rlx(&p->lo); // a guess will do
    if (GOMEM_I_UNLIKELY(t->hot.size && t->hot.size != size)) gm_world_warm(rt, t);
}

// What can be read without a gap below `top` becomes the thread's stack. False: sp (0: unknown)
// does not lie in it.
GM_PRIVATE bool gm_world_take_stack(struct gm_thread *t, uintptr_t top, uintptr_t sp, size_t page) {
    uintptr_t low = sp ? sp - sp % page : page;
    if (!top || low >= top) return false;
    uintptr_t lo = gm_os_readable_down(top, low, page);
    if (lo == top || lo > sp - 1) return false; // sp 0: anywhere
    t->stack_lo = lo;
    t->stack_hi = top;
    return t->grows = true;
}

// The normal stack of a thread that stands at sp (0: elsewhere, or unknown), found without libc.
GM_PRIVATE bool gm_world_guess_bounds(struct gm_thread *t, uintptr_t sp, size_t page) {
    bool main = t->id == (uint32_t)getpid(); // or a thread that forked
    uintptr_t first = gm_os_main_top(page), own = gm_os_thread_top(t->thread_pointer, page);
    if (sp && main && gm_world_take_stack(t, first, sp, page)) return true;
    if (sp && gm_world_take_stack(t, own, sp, page)) return true;
    return gm_world_take_stack(t, main ? first : own, 0, page);
}

// Main's normal stack has no end that is known for long: its limit may be raised, or none; and libc
// reads it from /proc, which may not be there. So it is found without libc.
GM_PRIVATE bool gm_world_bounds_of_main(struct gm_thread *t, uintptr_t sp) {
    size_t page = gm_os_page_size();
    return t->id == (uint32_t)getpid() && gm_world_take_stack(t, gm_os_main_top(page), sp, page);
}

// Notes a thread's normal stack, the caller's if sp is not 0: lo and hi are what libc knows of it.
// hi 0: that was refused, since it needs system calls of its own.
GM_PRIVATE void gm_world_note_bounds(struct gm_thread *t, uintptr_t sp, uintptr_t lo,
                                     uintptr_t hi) {
    size_t page = gm_os_page_size();
    uintptr_t top = gm_os_main_top(page);
    bool main = t->id == (uint32_t)getpid();
    t->grows = false;
    t->stack_lo = lo;
    t->stack_hi = hi;
    if (!hi) (void)gm_world_guess_bounds(t, sp, page);
    else if (main && top - 1 - lo < hi - lo)
        (void)gm_world_take_stack(t, top, 0, page); // it is on another stack
}

// Asks for the stack of a thread that is in no call of libc's about it.
GM_PRIVATE void gm_world_ask_bounds(struct gm_thread *t, uintptr_t sp) {
    uintptr_t lo = 0, hi = 0;
    if (t->stack_hi || gm_world_bounds_of_main(t, sp)) return;
    if (!gm_os_stack(t->self, &lo, &hi)) hi = 0;
    gm_world_note_bounds(t, sp, lo, hi);
}

#if GOMEM_I_ESCAPE
// A record gets a new thread: it has another stack.
GM_PRIVATE void gm_world_forget_frames(struct gm_thread *t) {
    t->cache.hot.stack_floor = t->cache.hot.stack_span = 0;
    t->hint_lo = t->hint_hi = 0;
    if (t->frames) memset(t->frames, 0, sizeof *t->frames);
}
GM_INLINE void gm_world_init_escapes(struct gm_runtime *rt) {
    rt->escapes.lock.rank = GM_RANK_ESCAPES;
}
#else
// there are none
GM_INLINE void gm_world_forget_frames(struct gm_thread *t) { (void)t; }
GM_INLINE void gm_world_init_escapes(struct gm_runtime *rt) { (void)rt; }
#endif

// Gives a thread's caches back. In a section.
GM_PRIVATE void gm_world_flush(struct gm_thread *t, bool depot) {
    gm_cache_flush_manual(&t->cache, depot);
    gm_cache_flush_runs(&t->cache);
}

// ---- what a collector adds ----

#if GOMEM_I_COLLECTOR
// The collected heap has been used: threads are stopped and scanned. Pairs with
// gm_world_enable_stops.
GM_INLINE bool gm_world_can_stop(const struct gm_runtime *rt) {
    return gm_load_acq(&rt->engine.collected);
}

// ---- the loader's lock, for which the runner of a cycle may have to wait ----

enum {
    GM_LOADER_WALK_NS = 10000000
}; // a look at the loader's list that takes longer waits for its lock

// From here to gm_world_end_loader_walk the calling thread, which holds GC, may wait for the
// loader's lock.
GM_PRIVATE void gm_world_begin_loader_walk(struct gm_runtime *rt) {
    struct gm_roots *r = &rt->roots;
    const struct gm_thread *me = gm_world_self();
    gm_store_rlx(&r->walker, me ? me->id : 0u);
    gm_store_rlx(&r->walk_since, gm_os_now());
    gm_store_rel(&r->walks, r->walks + 1); // pairs with the loads of looks: whose, and since when
}
GM_PRIVATE void gm_world_end_loader_walk(struct gm_runtime *rt) {
    gm_store_rel(&rt->roots.walks,
                 rt->roots.walks + 1); // pairs with the loads of looks: it is over
}

// Does the thread that looks sleep? Then it waits for the loader's lock.
GM_PRIVATE bool gm_world_loader_walk_sleeps(struct gm_runtime *rt) {
    return !gm_world_is_runnable(&rt->world, gm_load_rlx(&rt->roots.walker)); // a guess
}

// Has the runner of a cycle waited for the loader's lock for some time? The caller may hold it
// (E6).
GM_PRIVATE bool gm_world_waits_for_loader(struct gm_runtime *rt) {
    const struct gm_roots *r = &rt->roots;
    // pairs with gm_world_begin_loader_walk: whose, and since when
    if (gm_load_acq(&r->walks) % 2 == 0) return false;
    return gm_os_now() - gm_load_rlx(&r->walk_since) >= GM_LOADER_WALK_NS &&
           gm_world_loader_walk_sleeps(rt);
}

// Waits for the lock of the cycle. False: its holder waits for the loader's lock, and the caller
// may be what it waits for (E6).
GM_PRIVATE bool gm_world_lock_gc(struct gm_runtime *rt) {
    struct gm_gc *gc = &rt->gc;
    for (;;) {
        uint32_t ended = gm_load_acq(&gc->ended); // pairs with gm_schedule_run_and_unlock
        if (gm_sync_try(&gc->lock)) return true;
        if (gm_world_waits_for_loader(rt)) return false;
        gm_os_wait(&gc->ended, ended, 1000000);
    }
}

// No cycle runs until gm_world_unlock_cycle: waits for the end of one. False: E6.
GM_PRIVATE bool gm_world_lock_cycle(struct gm_runtime *rt) {
    if (gm_world_forks(&rt->world)) return true; // V8: it has the turn
    if (!gm_world_lock_gc(rt)) return false;
    gm_sync_lock(&rt->gc.turn);
    return true;
}
GM_PRIVATE void gm_world_unlock_cycle(struct gm_runtime *rt) {
    if (gm_world_forks(&rt->world)) return;
    gm_sync_unlock(&rt->gc.turn);
    gm_sync_unlock(&rt->gc.lock);
}

// Is a thread about to get the loader's lock, or has it? A child that was forked then would find
// that lock held for ever (glibc before 2.37 does not reset it). One that sleeps waits for it,
// perhaps until this fork is over.
GM_PRIVATE bool gm_world_has_loader(struct gm_runtime *rt) {
    // pairs with gm_world_begin_loader_walk: whose; and with gm_roots_enter, which takes the turn
    // afterwards
    if (gm_load_acq(&rt->roots.walks) % 2 == 0) return false;
    return gm_load_seq(&rt->roots.inside) || !gm_world_loader_walk_sleeps(rt);
}

// A fork does not wait for the end of a cycle: it may come while one marks, or while its runner
// waits for the loader's lock, which the forking thread may hold (E5, E6).
GM_PRIVATE void gm_world_take_turn(struct gm_runtime *rt) {
    struct gm_gc *gc = &rt->gc;
    (void)gm_add_rlx(&gc->forks, 1u); // advice: a cycle that does not see it goes first
    gm_sync_lock(&gc->turn);
    for (unsigned i = 0; gm_world_has_loader(rt); i++) {
        gm_sync_unlock(&gc->turn);
        gm_os_yield(i);
        gm_sync_lock(&gc->turn);
    }
    (void)gm_sub_rlx(&gc->forks, 1u);
    (void)gm_add_acqrel(&gc->passed, 1u); // pairs with gm_workers_pause and gm_workers_mark_beside
    gm_os_wake(&gc->passed, 1);
}
GM_PRIVATE void gm_world_give_turn(struct gm_runtime *rt) { gm_sync_unlock(&rt->gc.turn); }
GM_INLINE const struct gm_lock *gm_world_cycle_lock(const struct gm_runtime *rt) {
    return &rt->gc.lock;
}
GM_INLINE const struct gm_lock *gm_world_turn_lock(const struct gm_runtime *rt) {
    return &rt->gc.turn;
}

// Takes the turn back, behind the forks that wait for it, but not for long. `passed` as it was when
// the turn was let go.
GM_PRIVATE void gm_world_end_pause(struct gm_runtime *rt, uint32_t passed) {
    if (gm_load_rlx(&rt->gc.forks)) gm_os_wait(&rt->gc.passed, passed, 1000000); // advice
    gm_sync_lock(&rt->gc.turn);
}

// Lets the program go on for ns, and forks come. `lag`: a thread that the stop waits for only lacks
// a processor. Then whoever outgrows the goal waits for the cycle, which leaves a processor to that
// thread; else no allocation waits for a cycle that waits itself.
GM_PRIVATE void gm_world_pause(struct gm_runtime *rt, uint64_t ns, bool lag) {
    static const uint32_t never = 0;
    uint32_t passed = gm_load_acq(&rt->gc.passed); // pairs with gm_world_take_turn
    gm_sync_unlock(&rt->gc.turn);
    if (ns && !lag) // heuristics
        gm_store_rlx(&rt->gc.not_before, gm_os_now() + ns + 2 * GM_GATHER_NS);
    if (ns) gm_os_wait(&never, 0, ns);
    else (void)sched_yield();
    gm_world_end_pause(rt, passed);
}

// In a child: nobody marks here. The marks that are left are cleared by the next stop (E5), and the
// next cycle is not due at once because the parent's was.
GM_PRIVATE void gm_world_forget_cycle(struct gm_runtime *rt) {
    struct gm_engine *e = &rt->engine;
    struct gm_gc *gc = &rt->gc;
    gm_store_rlx(&gc->lock.word, 0u); // whoever held it or waited is not here
    gm_store_rlx(&gc->lock.owner, (uintptr_t)0);
    gm_store_rlx(&gc->runner, (struct gm_thread *)NULL);
    gm_store_rlx(&gc->forks, 0u); // other threads of the parent that forked
    gm_store_rlx(&gc->asked, 0u);
    gm_store_rlx(&gc->closing, 0u);
    gm_store_rlx(&gc->not_before, (uint64_t)0);
    gm_store_rlx(&rt->roots.walks,
                 0u); // the walker is not here; nothing that it listed is half done
    gm_store_rlx(&rt->roots.inside, false);
    // the fork may have come between two tries of a stop: the child's first stop lists everything
    rt->roots.again = rt->roots.running = false;
    rt->roots.lockless |= !rt->world.alone && gm_os_forks_keep_loader();
    gc->stuck = 0;
    gc->phase = 0; // GM_PHASE_OFF
    gm_writes_forget_roots(&e->writes);
    if (!gm_load_rlx(&e->mark.active)) return;
    gc->dropped = true;
    gm_store_rlx(&e->mark.queue, (uint64_t)0); // one thread, all of these
    gm_store_rlx(&e->mark.state, (uint64_t)GM_MARK_DONE);
    gm_store_rlx(&e->mark.active, 0u);
    gm_store_rlx(&e->mark.complete, 0u);
    gm_store_rlx(&gomem_i_barrier, 0u);
    gm_pacer_defer(&e->pacer, gm_load_rlx(&e->live));
}

// In a child: the collector's threads are started again when needed.
GM_PRIVATE void gm_world_forget_workers(struct gm_runtime *rt) {
    rt->gc.background = rt->gc.no_record = false;
    rt->gc.thread_count = 0;
    rt->gc.assisting = 0;
    gm_store_rlx(&rt->engine.writes.armed, (uintptr_t)0); // its descriptors are the parent's (W5)
    gm_store_rlx(&rt->engine.writes.registered, (uintptr_t)0); // as armed
    rt->finalize.thread = 0;
    rt->world.starts = NULL;
}

GM_PRIVATE bool gm_world_init_collector(struct gm_runtime *rt) {
    struct gm_engine *e = &rt->engine;
    const gomem_options *o = &rt->world.settings.options;
    e->pacer.percent = o->gc_percent ? o->gc_percent : 100;
    e->pacer.limit = o->memory_limit ? o->memory_limit : o->hard_limit - o->hard_limit / 8;
    e->pacer.least = GM_MIB;
    e->sweep.generation = 4;
    e->mark.pages = &e->heap.pages;
    e->mark.types = &e->types;
    e->mark.guard = &e->guard;
    e->mark.source = e->heap.pages.writes = &e->writes;
    e->heap.pages.grown = gm_writes_grown;
    e->mark.written = gm_writes_job;
    e->mark.there = gm_writes_there;
    e->mark.mask = o->pointer_mask ? o->pointer_mask : UINTPTR_MAX;
    e->mark.state = GM_MARK_DONE;
    gm_pacer_set(&e->pacer, 0, 0);
    rt->roots.lock.rank = GM_RANK_ROOTS;
    rt->gc.lock.rank = GM_RANK_GC;
    rt->gc.turn.rank = GM_RANK_TURN;
    gm_special_init(&e->special, &e->meta);
    return gm_types_init(&e->types, &e->meta);
}
#else
// no cycle, no threads of its own, nothing to prepare
GM_INLINE bool gm_world_can_stop(const struct gm_runtime *rt) { return (void)rt, false; }
GM_INLINE bool gm_world_lock_cycle(struct gm_runtime *rt) { return (void)rt, true; }
GM_INLINE void gm_world_unlock_cycle(struct gm_runtime *rt) { (void)rt; }
GM_INLINE void gm_world_take_turn(struct gm_runtime *rt) { (void)rt; }
GM_INLINE void gm_world_give_turn(struct gm_runtime *rt) { (void)rt; }
GM_INLINE const struct gm_lock *gm_world_cycle_lock(const struct gm_runtime *rt) {
    return (void)rt, NULL;
}
GM_INLINE const struct gm_lock *gm_world_turn_lock(const struct gm_runtime *rt) {
    return (void)rt, NULL;
}
GM_INLINE void gm_world_pause(struct gm_runtime *rt, uint64_t ns, bool lag) {
    (void)rt, (void)ns, (void)lag;
}
GM_INLINE void gm_world_forget_cycle(struct gm_runtime *rt) { (void)rt; }
GM_INLINE void gm_world_forget_workers(struct gm_runtime *rt) { (void)rt; }
GM_INLINE bool gm_world_init_collector(struct gm_runtime *rt) { return (void)rt, true; }
#endif // GOMEM_I_COLLECTOR

// ---- the stop ----

// Stops all threads but `me`; returns with the world's lock held and all signals blocked. False: a
// thread did not stop within `patience` ns, and nothing has changed (V3). The caller holds the
// locks of the cycle; forks may come between two tries.
GM_PRIVATE bool gm_world_stop(struct gm_runtime *rt, const struct gm_thread *me,
                              uint64_t patience) {
    struct gm_world *w = &rt->world;
    uint64_t begin = gm_os_now(), window = GM_GATHER_NS, pause = 0;
    struct gm_stragglers stragglers = {{0}, 0};
    for (unsigned tries = 1;; tries++) {
        bool blocked = gm_world_blocks_signal(w);
        if (!blocked && gm_world_try_stop(rt, me, window, &stragglers)) return true;
        if (gm_os_now() - begin >= patience) {
            gm_world_report_stragglers(rt, &stragglers);
            return false;
        }
        if (!blocked && tries < GM_WITHDRAWALS) {
            gm_world_pause(rt, 0, false);
            continue;
        }
        // ThreadSanitizer keeps signals from a thread that waits for a mutex.
        bool grow = !blocked && !GM_TSAN && gm_world_are_runnable(w, &stragglers);
        window = grow ? GM_MIN(window * 2, (uint64_t)GM_GATHER_MOST) : (uint64_t)GM_GATHER_NS;
        pause = GM_MIN(pause ? pause * 2 : (uint64_t)GM_GATHER_NS, (uint64_t)GM_PAUSE_MOST);
        gm_world_pause(rt, GM_MAX(pause, grow ? window : 0), grow);
    }
}

// ---- the gate: nobody is in a section; threads outside go on ----

// Closes the gate and waits until all sections have ended. World's lock is held, no stop pending.
GM_PRIVATE void gm_world_close_gate(struct gm_runtime *rt, const struct gm_thread *me) {
    struct gm_world *w = &rt->world;
    gm_store_rlx(&w->stopped, gm_os_now());
    gm_store_seq(&w->stop_request, (uint32_t)GM_GATE); // Y2: pairs with gm_sync_enter
    gm_os_fence_all();                                 // the threads' half of Y2
    // pairs with gm_world_record_locked, and with gm_sync_leave: the section's work is done
    for (struct gm_thread *t = gm_load_acq(&w->all); t; t = t->next)
        for (unsigned i = 0; t != me && gm_load_acq(&t->cache.hot.section_depth); i++)
            gm_os_yield(i);
}

// ---- fork ----

// Does a signal handler fork that has interrupted this thread in a section, or with a lock of ours?
// Then nothing of the library can be waited for: the child may exec or end, and nothing else.
GM_NO_SANITIZE GM_PRIVATE bool gm_world_is_inside(void) {
    const struct gm_runtime *rt = &gm_runtime;
    const struct gm_world *w = &rt->world;
    const struct gm_lock *const locks[] = {&w->init_lock, gm_world_cycle_lock(rt),
                                           gm_world_turn_lock(rt), &w->gone_lock, &w->lock};
    const struct gm_thread *t = gm_world_self();
    uintptr_t me = gm_os_thread_pointer();
    if (t && gm_load_rlx(&t->cache.hot.section_depth)) return true; // this thread's own
    for (size_t i = 0; me && i < sizeof locks / sizeof locks[0]; i++)
        if (locks[i] && gm_load_rlx(&locks[i]->owner) == me) return true; // it finds only itself
    return false;
}

// What a child would find half done is finished first; threads outside the library go on.
GM_RARE GM_PRIVATE void gm_world_fork_prepare(void) {
    struct gm_runtime *rt = &gm_runtime;
    if (gm_world_forks(&rt->world)) { // a handler has interrupted it between our fork handlers
        rt->world.nested++;
        return;
    }
    if (gm_world_is_inside()) return; // V10
    gm_sync_lock(&rt->world.init_lock);
    gm_world_take_turn(rt); // at most markers work
    gm_sync_lock(&rt->world.gone_lock);
    gm_sync_lock(&rt->world.lock); // no stop
    if (gm_load_rlx(&rt->world.life) == GM_LIFE_READY) gm_world_close_gate(rt, gm_world_self());
    else
        gm_store_seq(&rt->world.stop_request,
                     (uint32_t)GM_GATE);                // the next handler may be the first
    gm_store_rlx(&rt->world.forker, (uintptr_t)&errno); // only this thread finds itself (V8)
    rt->world.alone = gm_os_is_alone();
}

// Behind a fork: has our prepare handler closed the gate for it? (V10)
GM_PRIVATE bool gm_world_has_gate(struct gm_world *w) {
    if (!gm_world_forks(w)) return false;
    if (!w->nested) return true;
    w->nested--;
    return false;
}

GM_PRIVATE void gm_world_open_gate(struct gm_runtime *rt) {
    gm_store_rlx(&rt->world.forker, (uintptr_t)0);
    gm_world_release(&rt->world);
    gm_sync_unlock(&rt->world.lock);
    gm_sync_unlock(&rt->world.gone_lock);
    gm_world_give_turn(rt);
    gm_sync_unlock(&rt->world.init_lock);
}

GM_RARE GM_PRIVATE void gm_world_fork_parent(void) {
    if (gm_world_has_gate(&gm_runtime.world)) gm_world_open_gate(&gm_runtime);
}

#if GOMEM_I_POOL
// What a thread holds of pools goes to their depots.
GM_PRIVATE void gm_world_flush_pools(struct gm_runtime *rt, struct gm_thread *t) {
    // pairs with gm_pool_new
    void (*end)(struct gm_cache * t) = gm_load_acq(&rt->pools.end);
    if (end && t->cache.hot.pool_caches) end(&t->cache);
}
// Pools let go of what they have not needed for so many generations.
GM_PRIVATE void gm_world_age_pools(struct gm_runtime *rt, unsigned generations) {
    void (*age)(unsigned generations) = gm_load_acq(&rt->pools.age); // pairs with gm_pool_new
    if (age) age(generations);
}
// Pools age by the clock, for a thread of the library: ns until it should come again, 0: no need.
GM_PRIVATE uint64_t gm_world_tick_pools(struct gm_runtime *rt) {
    uint64_t (*tick)(unsigned steps) = gm_load_acq(&rt->pools.tick); // pairs with gm_pool_new
    return tick ? tick(UINT_MAX) : 0;
}
GM_INLINE void gm_world_init_pools(struct gm_runtime *rt) { rt->pools.lock.rank = GM_RANK_POOLS; }
#else
// there are none
GM_INLINE void gm_world_flush_pools(struct gm_runtime *rt, struct gm_thread *t) {
    (void)rt, (void)t;
}
GM_INLINE void gm_world_age_pools(struct gm_runtime *rt, unsigned n) { (void)rt, (void)n; }
GM_INLINE uint64_t gm_world_tick_pools(struct gm_runtime *rt) { return (void)rt, 0; }
GM_INLINE void gm_world_init_pools(struct gm_runtime *rt) { (void)rt; }
#endif

// The child takes over what the threads that it does not have held.
GM_RARE GM_PRIVATE void gm_world_fork_child(void) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_self();
    if (!gm_world_has_gate(&rt->world)) return;
    if (me) me->id = gm_os_thread_id();
    gm_store_rlx(&rt->world.forks, (uint32_t)GM_FORKS_REGISTERED); // V6: it ran
    gm_store_rlx(&rt->world.waiting, 0u);
    gm_store_rlx(&rt->world.handling, 0u); // threads that this child does not have
    gm_world_forget_cycle(rt); // before anything is given back: nothing shrinks while one marks
    for (struct gm_thread *t = rt->world.all; t; t = t->next) {
        uint32_t state = gm_load_rlx(&t->state); // the child has one thread
        if (t == me || (gm_world_absent(state) && state != GM_THREAD_ATTACHING)) continue;
        t->cache.hot.section_depth = t->cache.hot.blocked = 0;
        gm_world_flush(t, true);
        gm_world_flush_pools(rt, t);
        t->cache.hot.base = t->cache.hot.size = 0;
        t->stack_lo = t->stack_hi = 0;
        t->parking = false;
        t->orphans = true;
        gm_store_rlx(&t->state, (uint32_t)GM_THREAD_NONE); // nobody else reads
        rt->world.threads--;
    }
    gm_world_forget_workers(rt);
    gm_world_open_gate(rt);
}

// The thread ends: blocking regions in which it was cancelled have ended, and key destructors may
// use collected memory.
GM_PRIVATE void gm_world_end_regions(struct gm_world *w, struct gm_thread *t) {
    if (!t->cache.hot.blocked) return;
    t->cache.hot.blocked = 1;
    gm_world_end_block(w, t);
}

// The calling thread has no record any more; its TLS pointer becomes `then`.
GM_PRIVATE void gm_world_leave(struct gm_runtime *rt, struct gm_thread *t, gomem_i_cache *then) {
    struct gm_world *w = &rt->world;
    gm_world_end_regions(w, t);
    // pairs with gomem_scratch
    void (*end)(struct gomem_arena * scratch) = gm_load_acq(&w->end_thread);
    if (t->scratch && t->cache.hot.base) end(t->scratch);
    gm_sync_enter(&t->cache.hot);
    gm_world_flush(t, true);
    gm_world_flush_pools(rt, t);
    gm_sync_leave(&t->cache.hot);
    gm_world_lock(w, &w->lock); // waits out a stop: the signal finds us
    t->cache.hot.base = t->cache.hot.size = 0;
    t->stack_lo = t->stack_hi = 0;
    if (gm_load_seq(&t->state) != GM_THREAD_STALE) gm_store_rlx(&w->threads, w->threads - 1); // V4
    gm_store_seq(&t->state, (uint32_t)GM_THREAD_NONE);                                        // V4
    GOMEM_I_TLS = then;
    gm_world_unlock(w, &w->lock);
}

// A thread that gomem_thread_create made needs its record no more. The lock is held: around META,
// too, since a child may not inherit it.
GM_PRIVATE void gm_world_forget_start_locked(struct gm_runtime *rt, struct gm_start *start) {
    struct gm_start **at = &rt->world.starts;
    while (*at && *at != start) at = &(*at)->next;
    if (!*at) return; // a child has none of its parent's
    *at = start->next;
    gm_pages_meta_free(&rt->engine.meta, start, sizeof *start);
}

GM_PRIVATE void gm_world_forget_start(struct gm_runtime *rt, struct gm_start *start) {
    gm_world_lock(&rt->world, &rt->world.lock);
    gm_world_forget_start_locked(rt, start);
    gm_world_unlock(&rt->world, &rt->world.lock);
}

// Is a thread of gomem_thread_create on its way?
GM_PRIVATE bool gm_world_starts(struct gm_runtime *rt) {
    gm_world_lock(&rt->world, &rt->world.lock);
    const struct gm_start *start = rt->world.starts;
    while (start && start->state != GM_START_WAITS) start = start->next;
    gm_world_unlock(&rt->world, &rt->world.lock);
    return start != NULL;
}

// Key destructor. Others may allocate after it: it comes back as often as libc allows.
GM_RARE GM_PRIVATE void gm_world_key_destructor(void *arg) {
    struct gm_thread *t = arg;
    if (t != gm_world_self() || gm_load_acq(&gm_runtime.world.life) != GM_LIFE_READY)
        return; // pairs with init
    gm_world_end_regions(&gm_runtime.world, t);
    if (++t->rounds < 3 && pthread_setspecific(gm_runtime.world.key, t) == 0) return;
    // It was cancelled, or has called pthread_exit: its result is not known.
    if (t->start) gm_world_forget_start(&gm_runtime, t->start);
    gm_world_leave(&gm_runtime, t, GM_RUNTIME_GONE);
}

// ---- init, attach ----

// The most that the heap may have: what was asked for, or all that fits.
GM_PRIVATE size_t gm_world_heap_size(const gomem_options *o) {
    if (!o->reserve)
        return sizeof(void *) == 8 ? (size_t)1 << (GM_TSAN ? 36 : 40) : (size_t)1 << 30;
    const uint64_t most = (uint64_t)16 << 40; // page numbers have 32 bits
    size_t size = (size_t)GM_MIN(GM_MIN((uint64_t)o->reserve, most), (uint64_t)SIZE_MAX / 4);
    return gm_base_round_up(size, 2 * GM_CHUNK);
}

// The heap's address space is taken as it is used: a limit (RLIMIT_AS) counts what is reserved, and
// may be set at any time. Where that cannot be all of it is reserved, or half of the limit.
GM_PRIVATE bool gm_world_reserve(struct gm_pages *p, size_t size) {
    size_t most = gm_os_space();
    if (gm_pages_init_sparse(p, size)) return true;
    if (most == SIZE_MAX) return gm_pages_init(p, size);
    return gm_pages_init_sparse(p, GM_MIN(size, gm_base_round_up(most, 2 * GM_CHUNK))) ||
           gm_pages_init(p, GM_MIN(size, most / 2) & ~(GM_CHUNK - 1));
}

GM_PRIVATE bool gm_world_init_locked(struct gm_runtime *rt) {
    struct gm_engine *e = &rt->engine;
    struct gm_world *w = &rt->world;
    gm_settings_read_environment(rt);
    w->lock.rank = GM_RANK_WORLD;
    w->gone_lock.rank = GM_RANK_GONE;
    e->heap.lock.rank = GM_RANK_HEAP;
    e->depot.lock.rank = e->kept.lock.rank = GM_RANK_META;
    gm_world_init_pools(rt);
    gm_world_init_escapes(rt);
    if (!w->keyed && GOMEM_PTHREAD_KEY_CREATE(&w->key, gm_world_key_destructor)) return false;
    w->keyed = true;
    if (!gm_pages_meta_init(&e->meta)) return false;
    if (!gm_world_init_collector(rt)) return false;
    if (!gm_world_reserve(&e->heap.pages, gm_world_heap_size(&w->settings.options))) return false;
    e->heap.pages.hard = w->settings.options.hard_limit;
    for (unsigned k = 0; k < GM_KINDS; k++)
        for (unsigned c = 0; c <= GOMEM_CLASSES; c++) gm_central_init(&e->central[k][c], k, c, 0);
    e->stats.start_ns = gm_os_now();
    return true;
}

// Registers the fork handlers, before any lock of ours is taken: a child that was forked while the
// first thread of its parent held one would wait for ever. False: no memory. (V6)
GM_RARE GM_PRIVATE bool gm_world_register_atfork(struct gm_world *w) {
    uint32_t mine = (uint32_t)getpid() << 2, old;
    unsigned rounds = 0;
    while ((old = gm_load_acq(&w->forks)) != GM_FORKS_REGISTERED) { // pairs with the stores below
        if (old == mine) {
            if (gm_load_rlx(&w->starting) == (uintptr_t)&errno)
                return true; // pthread_atfork's malloc
            gm_os_yield(rounds++);
        } else if (gm_cas_acqrel(&w->forks, &old, mine)) { // nobody, or a thread of the parent
            gm_store_rlx(&w->starting, (uintptr_t)&errno); // only this thread finds itself
            bool done = !pthread_atfork(gm_world_fork_prepare, gm_world_fork_parent,
                                        gm_world_fork_child);
            gm_store_rlx(&w->starting, (uintptr_t)0);
            // pairs with the load above
            gm_store_rel(&w->forks, done ? (uint32_t)GM_FORKS_REGISTERED : 0u);
            if (!done) return false;
        }
    }
    return true;
}

// Before main, and before the constructors of the program, which may register fork handlers: ours
// is to be the last one that runs before a fork.
GM_RARE __attribute__((constructor(101))) GM_PRIVATE void gm_world_register_at_start(void) {
    (void)gm_world_register_atfork(&gm_runtime.world); // failing: the first use tries again
}

GM_COLD GM_PRIVATE bool gm_world_ready_slow(struct gm_runtime *rt, uint32_t life, bool again) {
    struct gm_world *w = &rt->world;
    if (life == GM_LIFE_SHUT && !again) {
        errno = ESHUTDOWN;
        return false;
    }
    if (!gm_world_register_atfork(w)) {
        errno = ENOMEM;
        return false;
    }
    gm_world_lock(w, &w->init_lock);
    bool done = gm_load_rlx(&w->life) == GM_LIFE_READY || gm_world_init_locked(rt);
    if (done) gm_store_rel(&w->life, (uint32_t)GM_LIFE_READY); // pairs with gm_world_ready
    gm_world_unlock(w, &w->init_lock);
    if (!done) errno = ENOMEM;
    return done;
}

// Makes the runtime ready. False: errno says why.
GM_PRIVATE bool gm_world_ready(struct gm_runtime *rt, bool again) {
    // pairs with gm_world_ready_slow: everything is in place
    uint32_t life = gm_load_acq(&rt->world.life);
    return GOMEM_I_LIKELY(life == GM_LIFE_READY) || gm_world_ready_slow(rt, life, again);
}

// The record becomes a running thread's: its stack is known if there is a collector. libc may
// allocate where it is asked, with our malloc: by then a stop waits for the thread and finds no
// section of it half done; its stack is found without libc meanwhile. libc may also take 64 MiB of
// address space for the first allocation of a thread: the library's own thread does without.
GM_PRIVATE void gm_world_join(struct gm_runtime *rt, struct gm_thread *t) {
    struct gm_world *w = &rt->world;
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0), lo = 0, hi = 0;
    gm_world_lock(w, &w->lock); // waits out a stop
    bool collected = gm_world_can_stop(rt), known = !collected || t->stack_hi;
    known = known || gm_world_bounds_of_main(t, sp) ||
            (t->id == gm_load_rlx(&w->helper) && gm_world_guess_bounds(t, sp, gm_os_page_size()));
    gm_store_seq(&t->state, (uint32_t)GM_THREAD_RUNNING); // V4
    gm_world_unlock(w, &w->lock);
    if (collected) gm_world_unmask(w, t);
    if (known) return;
    if (!gm_os_stack(t->self, &lo, &hi)) hi = 0;
    gm_world_lock(w, &w->lock); // a stop may have guessed
    gm_world_note_bounds(t, sp, lo, hi);
    if (!t->stack_hi) t->stack_hi = t->stack_lo = 1; // unknown: the first cycle names the thread
    gm_world_unlock(w, &w->lock);
}

// t: the calling thread's record, of the heap before gomem_shutdown; or NULL.
GM_COLD GM_PRIVATE struct gm_thread *gm_world_attach_slow(struct gm_runtime *rt,
                                                          struct gm_thread *t) {
    struct gm_world *w = &rt->world;
    if (!gm_world_ready(rt, false)) return NULL;
    if (GOMEM_I_TLS == GM_RUNTIME_GONE) return NULL;
    gm_world_lock(w, &w->lock);
    if (!t) t = gm_world_record_locked(rt);
    if (t) {
        t->id = gm_os_thread_id();
        t->self = pthread_self();
        t->thread_pointer = gm_os_thread_pointer();
        t->rounds = 0;
        gm_world_forget_frames(t);
        gm_store_rlx(&t->own, false);
        gm_store_rlx(&t->straggler, 0u); // of the thread that had the record before
        t->sent = gm_load_rlx(&t->heard);
        t->told = false;
        t->start = NULL;
        t->cache.hot.ranks = 0;
        gm_store_seq(&t->state, (uint32_t)GM_THREAD_ATTACHING); // not stopped yet
        gm_store_rlx(&w->threads, w->threads + 1);
        gm_world_warm(rt, &t->cache);
        GOMEM_I_TLS = &t->cache.hot; // from here on libc may call back
    }
    gm_world_unlock(w, &w->lock);
    if (!t) {
        errno = ENOMEM;
        return NULL;
    }
    gm_world_join(rt, t);                 // first: libc may allocate for the key
    (void)pthread_setspecific(w->key, t); // failing: the caches stay with the record until shutdown
    return t;
}

// The calling thread's record, made if it has none. NULL with errno: no memory, shut down; or gone.
GM_PRIVATE struct gm_thread *gm_world_attach(struct gm_runtime *rt) {
    struct gm_thread *t = gm_world_self();
    return GOMEM_I_LIKELY(t && t->cache.hot.base) ? t : gm_world_attach_slow(rt, t);
}

#if GOMEM_I_COLLECTOR
// First use of the collected heap: threads can be stopped and scanned from now on. False: no signal
// is free for that.
GM_COLD GM_PRIVATE bool gm_world_enable_stops(struct gm_runtime *rt) {
    struct gm_world *w = &rt->world;
    if (gm_load_acq(&rt->engine.collected)) return true; // pairs with the store below
    gm_world_lock(w, &w->lock);
    if (!w->signal) {
        int wanted = w->settings.options.stop_signal;
        int signal = wanted; // V7: the store is read rlx
        if (!wanted) signal = gm_os_claim_signal(gm_world_handler);
        else if (!gm_os_install_handler(wanted, gm_world_handler)) signal = 0;
        gm_store_rlx(&w->signal, signal);
    }
    bool done = w->signal != 0;
    if (done) {
        for (struct gm_thread *t = w->all; t; t = t->next) {
            if (gm_world_absent(gm_load_seq(&t->state))) continue; // V4
            gm_world_ask_bounds(t,
                                t == gm_world_self() ? (uintptr_t)__builtin_frame_address(0) : 0);
            // V7: they have attached with any mask; pairs with gm_alloc_enter: the signal is known
            gm_store_rel(&t->straggler, 1u);
        }
        gm_store_rel(&rt->engine.collected,
                     true); // pairs with attach and alloc: the handler is there
    }
    bool tell = !done && !w->told_signal;
    w->told_signal = w->told_signal || tell;
    gm_world_unlock(w, &w->lock);
    if (tell) gm_guard_warn(&rt->engine.guard, gm_text_message(GM_MSG_NO_SIGNAL, "%s", "").data);
    if (!done) errno = ENOMEM;
    else if (gm_world_self()) gm_world_unmask(w, gm_world_self());
    return done;
}

/* ==========================================================================================
 * >>roots   where marking starts                                                   floor 4
 * ==========================================================================================
 * OWNS        struct gm_roots: registered ranges and stacks, the program's writable segments
 * CALLS       base os sync pages span special mark writes world
 * LOCKS       under GC: the loader's, then TURN, in a walk over its list; ROOTS, then META
 * INVARIANTS  O1  words of stacks, registers and thread-local storage that point at nothing are
 *                 looked up as w - 1: one past the end of an object that has no byte to spare
 *             O2  a stack pointer in no known stack vetoes the stop; when it has done so several
 *                 times in a row, what lies above it is read as a stack
 *             O3  the loader's list is the same in the stop as when segments were listed, or the
 *                 stop is given up, and at last begun with the loader's lock held
 *             O4  memory that is not ours alone to keep mapped is read through the kernel; where it
 *                 refuses, in stops
 *             O5  a coroutine's stack is scanned from its stack pointer up while a thread stands on
 *                 it, from where the program says while nothing has been written below, else whole
 *             O6  main's stack is what can be read without a gap below its known top, asked anew in
 *                 each stop: limits are raised, and /proc may be missing
 *             O7  of a deep stack only pages are tracked that the start stop has listed, after they
 *                 were armed. What a thread goes deeper to is read whole in the finish stop. A word
 *                 that it left behind there, coming back, is no variable of it any more until it
 *                 is written again
 *             O8  the stack of a handle is scanned when its handle is marked, and again in the
 *                 finish stop, whatever the mark procedure found before; a thread that stands on it
 *                 keeps the handle. It goes at the end of the cycle that left its handle white
 * WHY         A thread that was interrupted is scanned from the handler's frame: the kernel has
 *             saved all registers, vectors among them, on the stack above it. Thread-local storage
 *             is found through the thread's own vector of modules, so blocks of libraries opened
 *             later are found too. Static blocks of libraries opened late are in no vector: other
 *             threads have theirs in their stacks' mapping; for the main thread, while the vector
 *             does not know a module, what lies below the blocks that it knows is read too.
 *             A thread on a coroutine's stack has left its normal stack at a point that nobody
 *             records: that stack is read as far as it is mapped and holds something, which the
 *             kernel says in one call (one failing read per 4 KB took 10 ms for 8 MB, 6 s for 8
 *             GB). A program that forgets to call gomem_stack_parked before one switch of many
 *             would lose objects; comparing 4 KiB per parked stack costs 0.3 us in a stop.
 *             Reading a stack takes up to 1 us per KB, in each try of a finish stop. From 256 KiB
 *             on its part above where the thread stood a cycle ago is tracked as other large roots
 *             are (128 MB deep, on a busy machine: stops of 20.7 ms and 7.8 a cycle, then 3.1 and
 *             2.1). The main thread's is registered as the whole mapping it is: libc takes the
 *             mapping that holds the top for the stack, so half of it would be a shorter stack.
 */
GM_RARE GM_PRIVATE bool gm_roots_add_area(struct gm_meta *meta, struct gm_areas *a, uintptr_t start,
                                          uintptr_t end, uintptr_t extra) {
    if (a->count == a->room) {
        size_t room = GM_MAX(a->room * 2, (size_t)64);
        struct gm_area *list = gm_pages_meta_grow(meta, a->list, a->room * sizeof *list,
                                                  room * sizeof *list);
        if (!list) return false;
        a->list = list;
        a->room = room;
    }
    a->list[a->count++] = (struct gm_area){start, end, extra};
    return true;
}

GM_PRIVATE struct gm_area *gm_roots_find_area(struct gm_areas *a, uintptr_t start) {
    for (size_t i = 0; i < a->count; i++)
        if (a->list[i].start == start) return &a->list[i];
    return NULL;
}

// ---- the program's segments ----

// The part of [start, end) outside [lo, hi).
GM_PRIVATE void gm_roots_add_global(struct gm_runtime *rt, uintptr_t start, uintptr_t end,
                                    uintptr_t lo, uintptr_t hi) {
    struct gm_roots *r = &rt->roots;
    bool done = true;
    if (lo >= end || hi <= start) lo = hi = end;
    if (start < lo) done = gm_roots_add_area(&rt->engine.meta, &r->globals, start, lo, 0);
    if (done && hi < end) done = gm_roots_add_area(&rt->engine.meta, &r->globals, hi, end, 0);
    if (!done) r->incomplete = true;
}

struct gm_loaded {                    // dl_phdr_info
    uintptr_t base;                   // what is added to addresses in the headers
    const char *name;                 //
    const ElfW(Phdr) * header;        //
    ElfW(Half) headers;               //
    unsigned long long adds, removes; //
    size_t tls_module;                // 0: none
    void *tls_data;                   //
};
extern int gm_libc_iterate(int (*)(struct gm_loaded *, size_t, void *),
                           void *) __asm__("dl_iterate_phdr");

extern struct r_debug _r_debug __attribute__((weak)); // glibc's; musl has another

// What the loader shows to debuggers, NULL: nothing. The symbol is used only where there is no
// interpreter: in dynamic executables it may be a copy, made by a relocation before the loader was
// ready, that says "is being changed" for ever. The kernel's vector leads to the executable's
// dynamic section from every namespace, and from libraries as well.
GM_PRIVATE const struct r_debug *gm_roots_loader(void) {
    uintptr_t at = (uintptr_t)getauxval(AT_PHDR), base = 0;
    size_t n = (size_t)getauxval(AT_PHNUM);
    const ElfW(Phdr) *h = (const ElfW(Phdr) *)at, *dynamic = NULL, *self = NULL;
    for (size_t i = 0; at && i < n; i++) {
        if (h[i].p_type == PT_PHDR) self = &h[i];
        if (h[i].p_type == PT_DYNAMIC) dynamic = &h[i];
    }
    if (!self || !dynamic) return &_r_debug;
    base = at - self->p_vaddr;
    for (const ElfW(Dyn) *d = (const ElfW(Dyn) *)(base + dynamic->p_vaddr); d->d_tag; d++)
        if (d->d_tag == DT_DEBUG) return (const struct r_debug *)(uintptr_t)d->d_un.d_ptr;
    return NULL;
}

// The next namespace of dlmopen (glibc 2.35); NULL: there is none.
GM_PRIVATE const struct r_debug *gm_roots_next_loader(const struct r_debug *r) {
    return r->r_version < 2 ? NULL : *(struct r_debug *const *)(r + 1);
}

#if defined(__GLIBC__)
enum { GM_LINKS_STAY = 1 };
#else
enum { GM_LINKS_STAY = 0 };
#endif

// One object of the loader's list. glibc says when the list is being changed. Not every musl does,
// and a dlopen that fails there frees records while they are still linked: so they are read through
// the kernel, and a record that has gone ends the list.
GM_NO_SANITIZE GM_PRIVATE bool gm_roots_read_link(const struct link_map *m, struct link_map *copy) {
    if (!GM_LINKS_STAY || gm_runtime.roots.lockless)
        return gm_os_read_foreign(copy, (uintptr_t)m, sizeof *copy) == sizeof *copy;
    copy->l_addr = m->l_addr;
    copy->l_ld = m->l_ld;
    copy->l_next = m->l_next;
    return true;
}

// Adds what an object's file begins with, its program headers above all, to a hash: where the
// loader's lock cannot be had, objects that came to the address of others are told from them by
// that.
GM_PRIVATE uint64_t gm_roots_hash_head(uint64_t hash, uintptr_t start) {
    uint64_t head[128];
    size_t n = gm_os_read_foreign(head, start, sizeof head) / sizeof head[0];
    for (size_t i = 0; i < n; i++) hash = (hash ^ head[i] ^ hash >> 32) * 0x9e3779b97f4a7c15u;
    return hash;
}

// A hash of the loader's lists of objects; 0: one is being changed. Address and dynamic section are
// a constant apart: their exclusive or alone would be the same wherever a library lies.
GM_NO_SANITIZE GM_PRIVATE uint64_t gm_roots_loader_hash(void) {
    uint64_t hash = 1, by = 0x9e3779b97f4a7c15u;
    for (const struct r_debug *r = gm_roots_loader(); r; r = gm_roots_next_loader(r)) {
        struct link_map m;
        // for ever, in a child whose parent's other thread was about to change it
        if (r->r_state != RT_CONSISTENT && !gm_runtime.roots.lockless) return 0;
        for (const struct link_map *at = r->r_map; at; at = m.l_next) {
            if (!gm_roots_read_link(at, &m)) break;
            uint64_t address = (uint64_t)m.l_addr, section = (uint64_t)(uintptr_t)m.l_ld;
            hash = ((hash ^ address) * by ^ hash >> 32 ^ section) * by;
            if (gm_runtime.roots.lockless) hash = gm_roots_hash_head(hash, m.l_addr);
        }
    }
    return hash ? hash : 1;
}

// How often objects came and went, + 1; 0: this libc does not say.
GM_PRIVATE uint64_t gm_roots_changes(const struct gm_loaded *object, size_t size) {
    return size >= offsetof(struct gm_loaded, tls_module) ? object->adds + object->removes + 1 : 0;
}

// One walk over the loader's list: `each` gets its objects, with the loader's lock and the turn
// held, until it says that it has seen enough (not 0).
struct gm_loader_walk {
    struct gm_runtime *rt;                                                                 //
    int (*each)(struct gm_loader_walk *walk, const struct gm_loaded *object, size_t size); //
    void *arg;   // of each
    size_t seen; // objects before this one
    bool turn;   // it is held again
};

// Called by the loader with its lock held. A fork that has the turn may wait for that lock in
// another fork handler: then the walk is tried again.
GM_RARE GM_PRIVATE int gm_roots_enter(struct gm_loaded *object, size_t size, void *arg) {
    struct gm_loader_walk *walk = arg;
    struct gm_runtime *rt = walk->rt;
    gm_store_seq(&rt->roots.inside, true); // pairs with gm_world_has_loader: before we try
    uint64_t end = walk->turn ? 0 : gm_os_now() + GM_LOADER_WALK_NS;
    for (unsigned i = 0; !walk->turn; i++) {
        walk->turn = gm_sync_try(&rt->gc.turn);
        if (!walk->turn && gm_os_now() >= end) return 1;
        if (!walk->turn) gm_os_yield(i);
    }
    int enough = walk->each(walk, object, size);
    walk->seen++;
    return enough;
}

// Walks over the loader's list. The caller holds GC and the turn; while it waits for the loader's
// lock the turn is free, since a thread that holds the lock may fork (E6).
GM_PRIVATE void gm_roots_walk(struct gm_runtime *rt, struct gm_loader_walk *walk) {
    walk->rt = rt;
    walk->seen = 0;
    do {
        walk->turn = false;
        gm_world_begin_loader_walk(rt);
        gm_sync_unlock(&rt->gc.turn);
        (void)gm_libc_iterate(gm_roots_enter, walk);
        gm_store_seq(&rt->roots.inside, false); // the lock is free
        if (!walk->turn) gm_sync_lock(&rt->gc.turn);
        gm_world_end_loader_walk(rt);
    } while (!walk->seen);
}

// An object file in memory.
struct gm_object {
    uintptr_t base;   // what is added to addresses in the headers
    uintptr_t header; // address of the first program header
    unsigned headers; //
    size_t module;    // number of its thread-local storage, 0: none, or not known
};

// A program header; false: it cannot be read. Objects of other namespaces may go meanwhile.
GM_PRIVATE bool gm_roots_header(const struct gm_object *o, unsigned i, ElfW(Phdr) * h) {
    return i < o->headers &&
           gm_os_read_foreign(h, o->header + i * sizeof *h, sizeof *h) == sizeof *h;
}

// The object whose file header lies at `start`, and its dynamic section where m says.
GM_PRIVATE bool gm_roots_object_at(struct gm_object *o, const struct link_map *m, uintptr_t start) {
    ElfW(Ehdr) file;
    ElfW(Phdr) h;
    if (gm_os_read_foreign(&file, start, sizeof file) != sizeof file) return false;
    if (memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_phentsize != sizeof h) return false;
    *o = (struct gm_object){(uintptr_t)m->l_addr, start + file.e_phoff, file.e_phnum, 0};
    for (unsigned i = 0; gm_roots_header(o, i, &h); i++)
        if (h.p_type == PT_DYNAMIC) return o->base + h.p_vaddr == (uintptr_t)m->l_ld;
    return false;
}

struct gm_found {      // dl_find_object
    uint64_t flags;    //
    void *start, *end; // of its mapping
    void *more[16];    //
};
extern int gm_libc_find(void *, struct gm_found *) __asm__("_dl_find_object") __attribute__((weak));

// The object of a link map, which says where it was loaded: that is where its file begins unless
// its first segment has another address than 0, which only libc knows (2.35, as the namespaces
// are).
GM_PRIVATE bool gm_roots_object_of(struct gm_object *o, const struct link_map *m) {
    struct gm_found found;
    if (gm_roots_object_at(o, m, (uintptr_t)m->l_addr)) return true;
    return gm_libc_find && !gm_libc_find(m->l_ld, &found) &&
           gm_roots_object_at(o, m, (uintptr_t)found.start);
}

GM_PRIVATE void gm_roots_add_object(struct gm_runtime *rt, const struct gm_object *o) {
    struct gm_meta *meta = &rt->engine.meta;
    uintptr_t relro = 0, relro_end = 0, own = (uintptr_t)&gm_runtime;
    ElfW(Phdr) h;
    for (unsigned i = 0; gm_roots_header(o, i, &h); i++) {
        if (h.p_type == PT_GNU_RELRO) relro = o->base + h.p_vaddr, relro_end = relro + h.p_memsz;
        if (h.p_type == PT_TLS &&
            !gm_roots_add_area(meta, &rt->roots.modules, o->module, h.p_memsz, 0))
            rt->roots.incomplete = true;
    }
    for (unsigned i = 0; gm_roots_header(o, i, &h); i++) {
        if (h.p_type != PT_LOAD || !(h.p_flags & PF_W)) continue;
        uintptr_t start = o->base + h.p_vaddr, end = start + h.p_memsz;
        if (relro < end && relro_end > start) start = GM_MIN(relro_end, end);
        gm_roots_add_global(rt, start, end, own, own + sizeof gm_runtime);
    }
}

// The objects of dlmopen's other namespaces, which dl_iterate_phdr does not show: it shows those of
// the caller's, whose first one lies at `first`. The loader itself is the same in all.
GM_PRIVATE void gm_roots_add_namespaces(struct gm_runtime *rt, uintptr_t first) {
    const uintptr_t interpreter = (uintptr_t)getauxval(AT_BASE);
    struct link_map m;
    struct gm_object o;
    for (const struct r_debug *r = gm_roots_loader(); r; r = gm_roots_next_loader(r)) {
        const struct link_map *at = r->r_map;
        if (!at || !gm_roots_read_link(at, &m) || (uintptr_t)m.l_addr == first) continue;
        for (; at && gm_roots_read_link(at, &m); at = m.l_next)
            if ((uintptr_t)m.l_addr != interpreter && gm_roots_object_of(&o, &m))
                gm_roots_add_object(rt, &o);
    }
}

// Lists the segments and modules of one object; of none if nothing has changed since the last list.
// The hash is taken with the loader's lock held, in the same walk: libraries that are closed and
// opened again come to the same addresses, so an earlier hash may be that of the list in the stop,
// and the segments not.
GM_RARE GM_PRIVATE int gm_roots_list_object(struct gm_loader_walk *walk,
                                            const struct gm_loaded *object, size_t size) {
    struct gm_roots *r = &walk->rt->roots;
    uint64_t now = gm_roots_changes(object, size);
    if (!walk->seen) {
        if (now && now == r->changes && r->objects && !r->incomplete) return 1;
        r->objects = gm_roots_loader_hash();
        r->globals.count = r->modules.count = 0;
        r->incomplete = false;
        gm_roots_add_namespaces(walk->rt, object->base);
    }
    r->changes = now;
    bool numbered = size > offsetof(struct gm_loaded, tls_module);
    struct gm_object o = {object->base, (uintptr_t)object->header, object->headers,
                          numbered ? object->tls_module : 0};
    gm_roots_add_object(walk->rt, &o);
    return 0;
}

enum { GM_UNKNOWN_DATA = 16 * 1024 * 1024 };

// An object whose headers are not found, such as one that a thread of the parent was just opening:
// data lies above the dynamic section.
GM_PRIVATE void gm_roots_add_unknown(struct gm_runtime *rt, const struct link_map *m) {
    size_t page = rt->engine.heap.pages.os_page;
    uintptr_t at = (uintptr_t)m->l_ld & ~(uintptr_t)(GM_WORD - 1), own = (uintptr_t)&gm_runtime;
    uintptr_t end = gm_os_readable_up(at - at % page, GM_UNKNOWN_DATA, page);
    if (end > at) gm_roots_add_global(rt, at, end, own, own + sizeof gm_runtime);
}

// Lists everything from what the loader shows to debuggers. What comes or goes meanwhile changes
// the hash, which is taken before and in the stop. False: it shows no list.
GM_PRIVATE bool gm_roots_scan_loader_unlocked(struct gm_runtime *rt) {
    struct gm_roots *r = &rt->roots;
    const struct r_debug *first = gm_roots_loader();
    uint64_t hash = gm_roots_loader_hash();
    struct gm_object o = {0, (uintptr_t)getauxval(AT_PHDR), (unsigned)getauxval(AT_PHNUM), 0};
    struct link_map m;
    if (hash && hash == r->objects && !r->incomplete) return true;
    if (!first || !first->r_map || !gm_roots_read_link(first->r_map, &m)) return false;
    r->objects = hash;
    r->changes = r->globals.count = r->modules.count = 0;
    r->incomplete = false;
    o.base = (uintptr_t)m.l_addr;
    gm_roots_add_object(rt, &o); // the program
    for (const struct link_map *at = m.l_next; at; at = m.l_next) {
        if (!gm_roots_read_link(at, &m)) return false;
        if (gm_roots_object_of(&o, &m)) gm_roots_add_object(rt, &o);
        else gm_roots_add_unknown(rt, &m);
    }
    gm_roots_add_namespaces(rt, (uintptr_t)first->r_map->l_addr);
    return true;
}

// Lists segments and modules; before the stop, since libc locks here.
GM_RARE GM_PRIVATE void gm_roots_scan_loader(struct gm_runtime *rt) {
    struct gm_loader_walk walk = {.each = gm_roots_list_object};
    if (rt->roots.lockless && gm_roots_scan_loader_unlocked(rt)) return;
    gm_roots_walk(rt, &walk);
}

// The same in a walk: the loader's lock, which is recursive, and the turn are held.
GM_RARE GM_PRIVATE void gm_roots_scan_loader_locked(struct gm_runtime *rt) {
    struct gm_loader_walk walk = {.rt = rt, .each = gm_roots_list_object, .turn = true};
    rt->roots.objects = 0;
    (void)gm_libc_iterate(gm_roots_enter, &walk);
}

// ---- threads ----

GM_PRIVATE bool gm_roots_job(struct gm_runtime *rt, uintptr_t start, uintptr_t end,
                             unsigned flags) {
    if (rt->roots.running) flags |= GM_JOB_FOREIGN; // its thread may end
    return gm_mark_add_job(&rt->engine.mark, start, end, flags);
}

// Where the thread pointer leads to the vector of modules, and what is there by a module's number:
// {value, to free} in glibc, a word in musl; the count is entry -1 in glibc, entry 0 in musl.
#if defined(__x86_64__) || (defined(__aarch64__) && defined(__GLIBC__))
enum { GM_VECTOR_KNOWN = 1 };
#else
enum { GM_VECTOR_KNOWN = 0 };
#endif
#if defined(__x86_64__)
enum { GM_VECTOR_AT = GM_WORD };
#else
enum { GM_VECTOR_AT = 0 };
#endif
#if defined(__GLIBC__)
enum { GM_VECTOR_HEAD = 16, GM_VECTOR_ENTRY = 16 };
#else
enum { GM_VECTOR_HEAD = 0, GM_VECTOR_ENTRY = GM_WORD };
#endif

// A thread's vector of modules, as far as one read got of it.
struct gm_vector {
    uintptr_t at; // 0: it is not known
    size_t bytes; //
    uintptr_t word[(GM_VECTOR_HEAD + 32 * GM_VECTOR_ENTRY) / GM_WORD];
};

// Reads the vector up to a module. The thread stands, so its record is there; its vector is libc's.
GM_NO_SANITIZE GM_PRIVATE void gm_roots_read_vector(struct gm_vector *v, const struct gm_thread *t,
                                                    size_t most) {
    size_t want = GM_VECTOR_HEAD + (most + 1) * GM_VECTOR_ENTRY;
    v->at = v->bytes = 0;
    if (!GM_VECTOR_KNOWN) return;
    v->at = gm_base_word((const uintptr_t *)(t->thread_pointer + GM_VECTOR_AT));
    if (v->at)
        v->bytes = gm_os_read_foreign(v->word, v->at - GM_VECTOR_HEAD,
                                      GM_MIN(want, sizeof v->word));
}

GM_PRIVATE uintptr_t gm_roots_tls_block(const struct gm_vector *v, size_t module) {
    size_t offset = GM_VECTOR_HEAD + module * GM_VECTOR_ENTRY;
    uintptr_t block = 0;
    if (!module || v->bytes < GM_WORD || module > v->word[0]) return 0;
    if (offset + GM_WORD <= v->bytes) block = v->word[offset / GM_WORD];
    else (void)gm_os_read_foreign(&block, v->at - GM_VECTOR_HEAD + offset, sizeof block);
    return block == UINTPTR_MAX ? 0 : block;
}

#if defined(__aarch64__)
enum { GM_TLS_BELOW = 4096, GM_TLS_ABOVE = 16384 }; // thread-local storage is above the pointer
#else
enum { GM_TLS_BELOW = 16384, GM_TLS_ABOVE = 4096 }; // below
#endif
enum { GM_TLS_SURPLUS = 2048 }; // glibc's, for libraries that are opened later

GM_PRIVATE bool gm_roots_is_numbered(const struct gm_areas *modules, size_t number) {
    for (size_t i = 0; i < modules->count; i++)
        if (modules->list[i].start == number) return true;
    return false;
}

enum { GM_MODULES = 4096 };

// Storage of modules whose number is not known: what the vector has beside the known ones is read
// as far as the largest of them may reach.
GM_PRIVATE bool gm_roots_add_unnumbered(struct gm_runtime *rt, const struct gm_vector *v) {
    const struct gm_areas *modules = &rt->roots.modules;
    size_t largest = 0, count = v->bytes < GM_WORD ? 0 : GM_MIN(v->word[0], (size_t)GM_MODULES);
    bool done = true;
    for (size_t i = 0; i < modules->count; i++)
        if (!modules->list[i].start) largest = GM_MAX(largest, modules->list[i].end);
    for (size_t n = 1; largest && n <= count; n++) {
        uintptr_t block = gm_roots_is_numbered(modules, n) ? 0 : gm_roots_tls_block(v, n);
        if (block) done &= gm_roots_job(rt, block, block + largest, GM_JOB_BOTH | GM_JOB_FOREIGN);
    }
    return done;
}

// Storage of the modules, and for the main thread (others have it in their stack's range) libc's
// record of it. A library that was opened later may have its block below the others', though the
// vector does not say so: only then more is looked at, since below lies some thread's stack. What
// lies from `stack` on to the stack's end is read with the stack.
GM_PRIVATE bool gm_roots_add_tls(struct gm_runtime *rt, const struct gm_thread *t,
                                 uintptr_t stack) {
    const struct gm_areas *modules = &rt->roots.modules; // {number, bytes}
    struct gm_vector vector;
    bool done = true;
    uintptr_t tp = t->thread_pointer, low = tp, unknown = 0;
    size_t most = 0;
    for (size_t i = 0; i < modules->count; i++) most = GM_MAX(most, modules->list[i].start);
    gm_roots_read_vector(&vector, t, most);
    for (size_t i = 0; i < modules->count; i++) {
        const struct gm_area *module = &modules->list[i];
        uintptr_t block = gm_roots_tls_block(&vector, module->start);
        bool read = block >= stack && block + module->end <= t->stack_hi;
        if (block && !read)
            done &= gm_roots_job(rt, block, block + module->end, GM_JOB_BOTH | GM_JOB_FOREIGN);
        else if (!block) unknown += module->end + GM_TLS_SURPLUS;
        if (block && block < low && tp - block <= GM_TLS_BELOW) low = block;
    }
    done &= gm_roots_add_unnumbered(rt, &vector);
    if (tp - t->stack_lo < t->stack_hi - t->stack_lo) return done;
    low = GM_VECTOR_KNOWN && GM_TLS_BELOW > GM_TLS_ABOVE ? low - unknown : tp - GM_TLS_BELOW;
    return gm_roots_job(rt, low, tp + GM_TLS_ABOVE, GM_JOB_BOTH | GM_JOB_FOREIGN) && done;
}

// Values of keys that have tables of their own.
GM_NO_SANITIZE GM_PRIVATE bool gm_roots_add_keys(struct gm_runtime *rt, const struct gm_thread *t) {
    uintptr_t tables = t->thread_pointer + (uintptr_t)gm_load_rlx(&rt->roots.keys); // in a stop
    bool done = true;
    if (tables == t->thread_pointer) return true;
    for (size_t i = 1; i < GM_KEYS_TABLES && done; i++) {
        uintptr_t at = gm_base_word((const uintptr_t *)tables + i);
        if (at) done = gm_roots_job(rt, at, at + GM_KEYS_TABLE, GM_JOB_BOTH | GM_JOB_FOREIGN);
    }
    return done;
}

// Where libc keeps these values, asked once, before any lock is taken. Threads that ask at once
// find the same.
GM_PRIVATE void gm_roots_learn_keys(struct gm_runtime *rt) {
    if (gm_load_rlx(&rt->roots.keys_known)) return;
    gm_store_rlx(&rt->roots.keys, gm_os_learn_keys());
    gm_store_rlx(&rt->roots.keys_known, true);
}

extern void *__asan_addr_is_in_fake_stack(void *fake, void *addr, void **start, void **end)
    __attribute__((weak));

// AddressSanitizer keeps locals in frames of its own: pointers to them lie on the real stack.
GM_NO_SANITIZE GM_PRIVATE bool gm_roots_add_fake(struct gm_runtime *rt, const struct gm_thread *t,
                                                 uintptr_t from, uintptr_t end) {
    bool done = true;
    if (!GM_ASAN || !t->fake_stack) return true;
    for (from = gm_base_round_up(from, GM_WORD); from + GM_WORD <= end; from += GM_WORD) {
        void *start = NULL, *stop = NULL, *word = *(void **)from;
        if (__asan_addr_is_in_fake_stack(t->fake_stack, word, &start, &stop))
            done &= gm_roots_job(rt, (uintptr_t)start, (uintptr_t)stop, GM_JOB_BOTH);
    }
    return done;
}

// The next cycle tracks this stack: its thread stands at `from`, deep.
GM_PRIVATE void gm_roots_note_deep(struct gm_roots *r, const struct gm_thread *t, uintptr_t from) {
    if (t->stack_hi - from < GM_DEEP || r->deep_count == GM_DEEP_MOST) return;
    bool first = t->id == (uint32_t)getpid(); // the main thread
    r->deep[r->deep_count++] = (struct gm_deep){from, t->stack_hi, t->stack_lo, first};
}

// A thread's normal stack: whole, or, of what this cycle has armed and read, what was written since
// (O7). Edges that are no whole page are read.
GM_PRIVATE bool gm_roots_add_normal(struct gm_runtime *rt, const struct gm_thread *t,
                                    uintptr_t from, uintptr_t end) {
    const struct gm_writes *w = &rt->engine.writes;
    size_t page = rt->engine.heap.pages.os_page;
    uintptr_t at, to;
    gm_roots_note_deep(&rt->roots, t, from);
    if (rt->roots.running) gm_writes_read_stack(w, page, from, end);
    if (rt->roots.running || !gm_writes_armed_stack(w, page, from, end, &at, &to))
        return gm_roots_job(rt, from, end, GM_JOB_BOTH);
    return gm_roots_job(rt, from, at, GM_JOB_BOTH) &&
           gm_writes_list_root(&rt->engine.mark, at, to, GM_JOB_BOTH) &&
           gm_roots_job(rt, to, end, GM_JOB_BOTH);
}

GM_PRIVATE bool gm_roots_add_stack_part(struct gm_runtime *rt, const struct gm_thread *t,
                                        uintptr_t from, uintptr_t end) {
    rt->roots.stack_bytes += end - from;
    return (end == t->stack_hi ? gm_roots_add_normal(rt, t, from, end)
                               : gm_roots_job(rt, from, end, GM_JOB_BOTH)) && // O1
           gm_roots_add_fake(rt, t, from, end);
}

// ---- stacks of coroutines ----

// How many of the stacks begin at or below an address.
GM_PRIVATE size_t gm_roots_stacks_below(const struct gm_stacks *s, uintptr_t address) {
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->list[middle]->start <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

// The coroutine's stack that an address lies in; NULL: none.
GM_PRIVATE struct gm_stack *gm_roots_stack_of(const struct gm_roots *r, uintptr_t address) {
    size_t n = gm_roots_stacks_below(&r->stacks, address);
    return n && address < r->stacks.list[n - 1]->end ? r->stacks.list[n - 1] : NULL;
}

// False: no memory.
GM_PRIVATE bool gm_roots_add_coroutine(struct gm_meta *meta, struct gm_stacks *s, uintptr_t start,
                                       uintptr_t end) {
    size_t at = gm_roots_stacks_below(s, start);
    struct gm_stack *stack = at && s->list[at - 1]->start == start ? s->list[at - 1] : NULL;
    if (stack && stack->handle) return true;
    if (stack) { // again: it may be another's now
        *stack = (struct gm_stack){.start = start, .end = end, .floor = end};
        return true;
    }
    if (s->count == s->room) {
        size_t room = GM_MAX(s->room * 2, (size_t)64);
        struct gm_stack **list = gm_pages_meta_grow(meta, s->list, s->room * sizeof *list,
                                                    room * sizeof *list);
        if (!list) return false;
        s->list = list;
        s->room = room;
    }
    stack = gm_pages_meta(meta, sizeof *stack);
    if (!stack) return false;
    *stack = (struct gm_stack){.start = start, .end = end, .floor = end};
    memmove(s->list + at + 1, s->list + at, (s->count++ - at) * sizeof *s->list);
    s->list[at] = stack;
    return true;
}

// False: it is not known.
GM_PRIVATE bool gm_roots_remove_coroutine(struct gm_meta *meta, struct gm_stacks *s,
                                          uintptr_t start) {
    size_t at = gm_roots_stacks_below(s, start);
    if (!at-- || s->list[at]->start != start || s->list[at]->handle) return false;
    gm_pages_meta_free(meta, s->list[at], sizeof **s->list);
    memmove(s->list + at, s->list + at + 1, (--s->count - at) * sizeof *s->list);
    return true;
}

// Bytes of a guard page below the stack of a handle.
GM_INLINE size_t gm_roots_guard(const struct gm_runtime *rt) {
    return rt->engine.heap.pages.os_page;
}

// Takes a handle's stack out of the list; its memory goes when no cycle marks: a marker may read.
GM_PRIVATE void gm_roots_retire_locked(struct gm_runtime *rt, struct gm_stack *stack) {
    struct gm_stacks *s = &rt->roots.stacks;
    size_t at = gm_roots_stacks_below(s, stack->start) - 1;
    memmove(s->list + at, s->list + at + 1, (--s->count - at) * sizeof *s->list);
    stack->next = rt->roots.dead;
    rt->roots.dead = stack;
}

// Is a handle marked, and not `freed` by gomem_free?
GM_PRIVATE bool gm_roots_is_black(const struct gm_runtime *rt, uintptr_t handle, bool freed) {
    const struct gm_color *c = gm_span_color(&rt->engine.heap.pages, handle);
    uint64_t bits = gm_load_rlx(&c->mark) & ~(freed ? gm_load_rlx(&c->freed) : 0); // in a stop
    return bits & gm_span_bit(&rt->engine.heap.pages, handle);
}

// The marks are complete: stacks whose handle is white, or was freed, go. Returns how many stay.
GM_PRIVATE size_t gm_roots_retire_stopped(struct gm_runtime *rt) {
    struct gm_stacks *s = &rt->roots.stacks;
    size_t kept = 0, handles = 0;
    for (size_t i = 0; i < s->count; i++) {
        struct gm_stack *stack = s->list[i];
        if (!stack->handle || gm_roots_is_black(rt, stack->handle, true)) {
            handles += stack->handle != 0;
            s->list[kept++] = stack;
            continue;
        }
        stack->next = rt->roots.dead;
        rt->roots.dead = stack;
    }
    s->count = kept;
    return handles;
}

// Gives memory of buried stacks back, unless a cycle marks. In no section and no stop.
GM_PRIVATE void gm_roots_free_retired(struct gm_runtime *rt, struct gm_thread *me) {
    size_t guard = gm_roots_guard(rt);
    for (struct gm_stack *s = NULL, *next;; s = next) {
        if (s) gm_os_release((void *)(s->start - guard), s->end - s->start + guard);
        gm_sync_enter(&me->cache.hot);
        gm_sync_lock(&rt->roots.lock);
        if (s) gm_pages_meta_free(&rt->engine.meta, s, sizeof *s);
        next = gm_load_rlx(&rt->engine.mark.active) ? NULL : rt->roots.dead; // in a section
        if (next) rt->roots.dead = next->next;
        gm_sync_unlock(&rt->roots.lock);
        gm_sync_leave(&me->cache.hot);
        if (!next) return;
    }
}

// At shutdown: all of them are void.
GM_PRIVATE void gm_roots_forget_coroutines(struct gm_runtime *rt) {
    struct gm_roots *r = &rt->roots;
    size_t guard = gm_roots_guard(rt);
    while (r->stacks.count) {
        struct gm_stack *s = r->stacks.list[r->stacks.count - 1];
        if (s->handle) gm_roots_retire_locked(rt, s);
        else (void)gm_roots_remove_coroutine(&rt->engine.meta, &r->stacks, s->start);
    }
    while (r->dead) {
        struct gm_stack *s = r->dead;
        r->dead = s->next;
        gm_os_release((void *)(s->start - guard), s->end - s->start + guard);
        gm_pages_meta_free(&rt->engine.meta, s, sizeof *s);
    }
}

// ---- functions of the program that know roots ----

// False: no memory.
GM_PRIVATE bool gm_roots_add_fn(struct gm_meta *meta, struct gm_root_fns *f, struct gm_root_fn fn) {
    if (f->count == f->room) {
        size_t room = GM_MAX(f->room * 2, (size_t)16);
        struct gm_root_fn *list = gm_pages_meta_grow(meta, f->list, f->room * sizeof *list,
                                                     room * sizeof *list);
        if (!list) return false;
        f->list = list;
        f->room = room;
    }
    f->list[f->count++] = fn;
    return true;
}

// False: it is not there.
GM_PRIVATE bool gm_roots_remove_fn(struct gm_root_fns *f, struct gm_root_fn fn) {
    for (size_t i = 0; i < f->count; i++) {
        if (f->list[i].fn != fn.fn || f->list[i].arg != fn.arg) continue;
        f->list[i] = f->list[--f->count];
        return true;
    }
    return false;
}

// In a stop. What they name m hears of, or becomes grey.
GM_PRIVATE void gm_roots_ask_stopped(struct gm_runtime *rt, struct gomem_marker *m) {
    for (size_t i = 0; i < rt->roots.fns.count; i++)
        rt->roots.fns.list[i].fn(m, rt->roots.fns.list[i].arg);
}

enum {
    GM_STACK_COST = 16 * 1024,  // bytes that the stack of a handle counts as
    GM_STACK_LEAST = 32 * 1024, // a signal's frame takes up to 4 KiB of it
    GM_SWITCH = 512,            // bytes of the frames that switch stacks, at most
    GM_PARKED_CHECK = 4096,     // bytes below that show whether it has run again
    GM_PARKED_FRAMES = 256      // bytes that the library's own frame takes while it writes there
};

// The lowest address from `low` on whose memory is there: a guard page may lie inside of the stack.
GM_PRIVATE uintptr_t gm_roots_floor(struct gm_stack *s, uintptr_t low, uintptr_t below) {
    uintptr_t word = 0, page = below - 1 - (below - 1) % gm_os_page_size();
    if (low >= s->floor || low >= below) return low;
    if (!gm_os_can_read()) return below; // and nothing will be known
    if (gm_os_read_foreign(&word, below - GM_WORD, GM_WORD) != GM_WORD) return below;
    if (page > low && gm_os_read_foreign(&word, low, GM_WORD) != GM_WORD) low = page;
    s->floor = GM_MIN(s->floor, low);
    return low;
}

// The coroutine of s is about to be left, or was left, with its stack pointer at sp. Who asks on
// that very stack, in a frame that ends at `caller`, is about to call what switches: that lies
// lower. There the memory below is dead, and is cleared: what is found there later was left by code
// that ran again.
GM_RARE GM_NOINLINE GM_NO_SANITIZE GM_PRIVATE void gm_roots_park(struct gm_stack *s, uintptr_t sp,
                                                                 uintptr_t caller) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    bool on = here - s->start < s->end - s->start;
    if (on) sp = GM_MIN(sp, caller - GM_MIN(caller - s->start, (uintptr_t)GM_SWITCH));
    sp &= ~(uintptr_t)(GM_WORD - 1);
    uintptr_t below = on ? GM_MIN(sp, here - GM_PARKED_FRAMES) : sp;
    below = GM_MAX(below, s->start) & ~(uintptr_t)(GM_WORD - 1);
    uintptr_t low = below - GM_MIN(below - s->start, (uintptr_t)GM_PARKED_CHECK);
    low = gm_roots_floor(s, gm_base_round_up(low, GM_WORD), below);
    for (uintptr_t at = low; on && at < below; at += GM_WORD)
        *(volatile uintptr_t *)at = 0; // no memset: AddressSanitizer would look
    s->low = low;
    s->below = below;
    s->check = gm_mark_sum(low, below);
    gm_store_rlx(&s->parked, sp); // in a section: a stop sees all of it
}

// Stacks of which nothing is known are read as far as they were ever touched; of [start, end) at
// most. In a stop.
GM_RARE GM_PRIVATE bool gm_roots_add_touched(struct gm_runtime *rt, uintptr_t start,
                                             uintptr_t end) {
    struct gm_written list[32];
    size_t page = rt->engine.heap.pages.os_page;
    uintptr_t at = start - start % page, to = gm_base_round_up(end, page);
    struct gm_roots *r = &rt->roots;
    bool done = true;
    bool known = end - start > GM_WRITES_ROOT;
    if (known && !gm_os_is_own(&r->pagemap)) known = gm_os_borrow_pagemap(&r->pagemap);
    while (known && done && at < to) {
        long n = gm_os_populated(&r->pagemap, &at, to, list, 32);
        known = n >= 0;
        for (long i = 0; i < n; i++) {
            uintptr_t from = GM_MAX((uintptr_t)list[i].start, start);
            uintptr_t until = GM_MIN((uintptr_t)list[i].end, end);
            r->stack_bytes += until - from;
            done &= gm_roots_job(rt, from, until, GM_JOB_BOTH | GM_JOB_FOREIGN);
        }
        if (n <= 0) break;
    }
    return done && (known || gm_roots_job(rt, start, end, GM_JOB_BOTH | GM_JOB_FOREIGN));
}

// All that the thread may have left on its normal stack before it went to another one. Below what
// the main thread's stack has grown to lies what may be anything.
GM_PRIVATE bool gm_roots_add_left(struct gm_runtime *rt, const struct gm_thread *t) {
    size_t page = rt->engine.heap.pages.os_page;
    uintptr_t low = gm_base_round_up(t->stack_lo, page);
    if (t->stack_hi <= low) return true;
    low = gm_os_mapped_from(low, gm_base_round_up(t->stack_hi, page), page);
    return gm_roots_add_touched(rt, low > t->stack_lo + page ? low : t->stack_lo, t->stack_hi);
}

// A thread stands on s: its record is void, and its handle lives.
GM_PRIVATE bool gm_roots_run(struct gm_runtime *rt, struct gm_stack *s) {
    uintptr_t at = (uintptr_t)&s->handle;
    gm_store_rlx(&s->parked, (uintptr_t)0); // in a stop
    s->runs = true;
    return !s->handle || gm_mark_add_job(&rt->engine.mark, at, at + GM_WORD, 0);
}

// What code on an alternate stack has interrupted is mentioned there: a handler was called by the
// kernel, which has saved the stack pointer. The normal stack is read from the lowest address that
// is mentioned; a coroutine's stack that is mentioned may be the one that was interrupted: then the
// thread had left its normal stack before.
GM_NO_SANITIZE GM_PRIVATE bool gm_roots_add_interrupted(struct gm_runtime *rt,
                                                        const struct gm_thread *t, uintptr_t from,
                                                        uintptr_t end) {
    uintptr_t lowest = t->stack_hi;
    bool done = true, left = false;
    for (from = gm_base_round_up(from, GM_WORD); done && from + GM_WORD <= end; from += GM_WORD) {
        uintptr_t w = *(const uintptr_t *)from;
        struct gm_stack *s = gm_roots_stack_of(&rt->roots, w);
        left |= s != NULL;
        if (s && !s->runs) // somewhere: all of it
            done = gm_roots_run(rt, s) && gm_roots_add_touched(rt, s->start, s->end);
        if (!s && w >= t->stack_lo && w < lowest) lowest = w;
    }
    lowest = lowest - t->stack_lo > GM_RED_ZONE ? lowest - GM_RED_ZONE : t->stack_lo;
    if (!done || left) return done && gm_roots_add_left(rt, t);
    return gm_roots_add_stack_part(rt, t, lowest, t->stack_hi);
}

// The coroutines' stacks on which no thread stands. In a stop.
GM_PRIVATE bool gm_roots_add_coroutines(struct gm_runtime *rt) {
    const struct gm_stacks *stacks = &rt->roots.stacks;
    bool done = true;
    for (size_t i = 0; i < stacks->count && done; i++) {
        struct gm_stack *s = stacks->list[i];
        if (s->runs || (s->handle && !s->black)) continue;       // O8
        if (!gm_load_rlx(&s->saved) && !gm_load_rlx(&s->parked)) // in a stop, both
            done = gm_roots_add_touched(rt, s->start, s->end);
        else if (rt->roots.running) // early: the record may go while it is read
            done = gm_roots_job(rt, gm_mark_live_part(s), s->end, GM_JOB_BOTH);
        else done = gm_mark_add_stack(&rt->engine.mark, s);
    }
    return done;
}

// Is it the normal stack that an address lies on? That of the main thread has no known end where
// the system does not limit it: coroutines' stacks may seem to lie in it.
GM_PRIVATE bool gm_roots_on_normal(const struct gm_runtime *rt, const struct gm_thread *t,
                                   uintptr_t sp) {
    return sp - t->stack_lo < t->stack_hi - t->stack_lo && !gm_roots_stack_of(&rt->roots, sp);
}

enum { GM_UNKNOWN_STACKS = 6 }; // in a row that an unknown stack vetoes

// A stack that nobody registered, as those of programs that run all of main on one: from its stack
// pointer to the end of the object or the memory that it lies in, and all of the normal one. At
// first it vetoes: the thread may leave it soon. (O2)
GM_PRIVATE bool gm_roots_add_unregistered(struct gm_runtime *rt, const struct gm_thread *t,
                                          uintptr_t sp) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    uintptr_t at = sp - sp % p->os_page, end = 0;
    rt->roots.unknown_stack = true;
    rt->roots.unknown_thread = t->id;
    rt->roots.unknown_sp = sp;
    if (rt->roots.unknown_stacks < GM_UNKNOWN_STACKS) return false;
    const struct gm_span *s = gm_span_find(p, sp);
    if (s) end = gm_span_start(p, s) + (uintptr_t)s->pages * GM_PAGE;
    else end = gm_os_readable_up(at, (size_t)1 << (GM_WORD == 8 ? 36 : 31), p->os_page);
    if (end <= sp) return false; // it cannot be read at all
    at = GM_MAX(at, sp - GM_RED_ZONE);
    return gm_roots_add_touched(rt, at - at % GM_WORD, end) && gm_roots_add_left(rt, t);
}

// Where code stands whose stack pointer is sp, on the normal stack, a registered one, or an
// alternate one {alt_lo, alt_size}. False: nowhere that is known (O2).
GM_PRIVATE bool gm_roots_add_standing(struct gm_runtime *rt, const struct gm_thread *t,
                                      uintptr_t sp, uintptr_t alt_lo, uintptr_t alt_size) {
    uintptr_t zone = t->in_handler ? GM_RED_ZONE : 0; // who parks by itself stands in a call
    if (gm_roots_on_normal(rt, t, sp))
        return gm_roots_add_stack_part(rt, t, GM_MAX(sp - zone, t->stack_lo), t->stack_hi);
    if (sp - alt_lo < alt_size)
        return gm_roots_add_stack_part(rt, t, sp, alt_lo + alt_size) &&
               gm_roots_add_interrupted(rt, t, sp, alt_lo + alt_size);
    struct gm_stack *stack = gm_roots_stack_of(&rt->roots, sp);
    if (!stack) return gm_roots_add_unregistered(rt, t, sp);
    return gm_roots_run(rt, stack) &&
           gm_roots_add_stack_part(rt, t, GM_MAX(sp - zone, stack->start), stack->end) &&
           gm_roots_add_left(rt, t);
}

// Words that a thread saved of its registers and frames.
GM_PRIVATE bool gm_roots_add_saved(struct gm_runtime *rt, const struct gm_thread *t,
                                   const uintptr_t *words, size_t size) {
    uintptr_t start = (uintptr_t)words;
    return gm_roots_job(rt, start, start + size, GM_JOB_BOTH) &&
           gm_roots_add_fake(rt, t, start, start + size);
}

// Where the thread's normal stack lies, now that it stands at sp. Main's may have grown; a stack
// that was not known is found from here.
GM_PRIVATE void gm_roots_locate(struct gm_runtime *rt, struct gm_thread *t, uintptr_t sp) {
    size_t page = rt->engine.heap.pages.os_page;
    if (t->stack_hi <= 1) (void)gm_world_guess_bounds(t, sp, page);
    if (!t->grows) return;
    uintptr_t to = sp < t->stack_hi && sp > GM_RED_ZONE + page ? sp - GM_RED_ZONE : page;
    to -= to % page;
    if (to < t->stack_lo) t->stack_lo = gm_os_readable_down(t->stack_lo, to, page);
}

// Everything of one thread that stands. False: its stack is not known, or no memory for jobs.
GM_PRIVATE bool gm_roots_add_thread(struct gm_runtime *rt, struct gm_thread *t) {
    const uintptr_t *registers = t->registers.word;
    uintptr_t sp = t->registers.sp, alt_lo = t->in_handler ? t->at.alt_lo : 0,
              alt_size = t->in_handler ? t->at.alt_size : 0, stands = t->in_handler ? t->at.sp : sp;
    gm_roots_locate(rt, t, stands);
    bool normal = gm_roots_on_normal(rt, t, stands);
    bool done = t->in_handler || // then the kernel's frame has them
                gm_roots_add_saved(rt, t, registers, sizeof t->registers.word);
    if (gm_load_seq(&t->state) == GM_THREAD_BLOCKED) // V1
        done &= gm_roots_add_saved(rt, t, t->frame, sizeof t->frame);
    done &= gm_roots_add_tls(rt, t, normal ? stands : t->stack_hi);
    done &= gm_roots_add_keys(rt, t);
    if (!t->in_handler) {
        if (!normal && GOMEM_I_TLS == &t->cache.hot) {
            struct gm_os_alternate alt; // the runner may be on its alternate stack
            if (gm_libc_sigaltstack(NULL, &alt) == 0 && !(alt.flags & GM_SS_DISABLE))
                alt_lo = alt.sp, alt_size = alt.size;
        }
        return done && gm_roots_add_standing(rt, t, sp, alt_lo, alt_size);
    }
    if (sp - alt_lo <
        alt_size) // the handler's frame with the saved registers lies on the alternate stack
        done = done && gm_roots_job(rt, sp, alt_lo + alt_size, GM_JOB_BOTH) &&
               gm_roots_add_fake(rt, t, sp, alt_lo + alt_size);
    else if (sp < t->at.sp && t->at.sp - sp < 64 * GM_KIB)
        done = done && gm_roots_job(rt, sp, t->at.sp, GM_JOB_BOTH) &&
               gm_roots_add_fake(rt, t, sp, t->at.sp);
    return done && gm_roots_add_standing(rt, t, t->at.sp, alt_lo, alt_size);
}

// A range of memory whose words are roots: whole, or, of what this cycle has armed, what was
// written since. (O4)
GM_PRIVATE bool gm_roots_add_range(struct gm_runtime *rt, uintptr_t start, uintptr_t end) {
    struct gm_mark *mark = &rt->engine.mark;
    uintptr_t from, to;
    if (rt->roots.running ||
        !gm_writes_armed_root(&rt->engine.writes, mark->pages->os_page, start, end, &from, &to))
        return gm_mark_add_job(mark, start, end, GM_JOB_FOREIGN);
    return gm_mark_add_job(mark, start, from, GM_JOB_FOREIGN) &&
           gm_writes_list_root(mark, from, to, 0) && gm_mark_add_job(mark, to, end, GM_JOB_FOREIGN);
}

// Arms the stacks that were deep as roots were listed last. Their threads run, and may have ended:
// then what lies there is anybody's, private, and a write to it costs a fault. The mapping of the
// main thread's stack goes on above what libc calls its end.
GM_PRIVATE void gm_roots_arm_stacks(struct gm_runtime *rt) {
    struct gm_engine *e = &rt->engine;
    size_t page = e->heap.pages.os_page;
    for (unsigned i = 0; i < rt->roots.deep_count; i++) {
        const struct gm_deep *d = &rt->roots.deep[i];
        if (gm_writes_arm_stack(&e->writes, &e->meta, page, d->from, d->hi, 0, 0)) continue;
        uintptr_t lo = gm_base_round_up(d->lo, page), hi = gm_base_round_up(d->hi, page);
        if (d->first) lo = gm_base_round_up(hi - GM_MIN(hi, GM_FIRST_STACK), page);
        lo = gm_os_mapped_from(lo, d->from - d->from % page, page);
        if (d->first) hi = gm_os_mapped_to(hi, hi + 16 * GM_MIB, page);
        (void)gm_writes_arm_stack(&e->writes, &e->meta, page, d->from, d->hi, lo, hi);
    }
}

// Before the start stop: from here on what is written of large roots is known.
GM_PRIVATE void gm_roots_arm(struct gm_runtime *rt) {
    struct gm_roots *r = &rt->roots;
    struct gm_engine *e = &rt->engine;
    size_t page = e->heap.pages.os_page;
    gm_roots_scan_loader(rt);
    gm_roots_arm_stacks(rt);
    for (size_t i = 0; i < r->globals.count; i++)
        gm_writes_arm_root(&e->writes, &e->meta, page, r->globals.list[i].start,
                           r->globals.list[i].end, true);
    bool more = true;
    for (size_t i = 0; more; i++) {
        struct gm_area a = {0, 0, 0};
        gm_sync_lock(&r->lock);
        more = i < r->ranges.count;
        if (more) a = r->ranges.list[i];
        gm_sync_unlock(&r->lock);
        gm_writes_arm_root(&e->writes, &e->meta, page, a.start, a.end, false);
    }
}

// Lists all roots as jobs, with the world stopped. False: vetoed.
GM_PRIVATE bool gm_roots_list_stopped(struct gm_runtime *rt) {
    struct gm_roots *r = &rt->roots;
    bool done = true;
    rt->engine.mark.njobs = 0;
    r->deep_count = 0;
    r->stack_bytes = r->global_bytes = 0;
    r->unknown_stack = false;
    for (size_t i = 0; i < r->stacks.count; i++) {
        struct gm_stack *s = r->stacks.list[i];
        s->runs = false;
        s->black = s->handle && gm_load_rlx(&rt->engine.mark.active) && // in a stop
                   gm_roots_is_black(rt, s->handle, false);
    }
    for (struct gm_thread *t = rt->world.all; t && done; t = t->next) {
        uint32_t state = gm_load_seq(&t->state); // V1
        if (gm_world_absent(state)) continue;
        done = gm_roots_add_thread(rt, t);
    }
    r->unknown_stacks = r->unknown_stack ? r->unknown_stacks + 1 : 0;
    for (size_t i = 0; i < r->globals.count && done; i++) {
        done = gm_roots_add_range(rt, r->globals.list[i].start, r->globals.list[i].end);
        r->global_bytes += r->globals.list[i].end - r->globals.list[i].start;
    }
    for (size_t i = 0; i < r->ranges.count && done; i++)
        done = gm_roots_add_range(rt, r->ranges.list[i].start, r->ranges.list[i].end);
    done = done && gm_roots_add_coroutines(rt);
    unsigned parts = r->again ? 0 : GM_SPECIAL_PARTS; // B5
    for (unsigned i = 0; i < parts && done; i++) {
        uintptr_t end, start = gm_special_roots(&rt->engine.special, i, &end);
        done = gm_mark_add_job(&rt->engine.mark, start, end, 0); // X2: always readable
    }
    for (struct gm_start *s = rt->world.starts; s && done; s = s->next)
        done = gm_roots_job(rt, (uintptr_t)&s->root, (uintptr_t)&s->root + GM_WORD, GM_JOB_BOTH);
    gm_os_return_pagemap(&r->pagemap);
    return done;
}

/* ==========================================================================================
 * >>finalize   what becomes of the unreached, and the thread that runs callbacks       floor 4
 * ==========================================================================================
 * OWNS        struct gm_finalize
 * CALLS       base os sync pages span special mark world
 * LOCKS       SPECIAL, a step at a time
 * ORDER       thread and quit are a Dekker pair: who starts stores thread, then looks at quit, who
 *             shuts down the other way round (seq)
 * INVARIANTS  B1  decided after marking and before the flip: 1. weak pointers to the unreached are
 *                 cleared, 2. what has a finalizer or a drop is sorted, 3. marked from, 4. ready;
 *                 5. cleanups of what is still unreached are ready. The program may run
 *                 meanwhile: it cannot reach what is unreached, and what it makes is born reached
 *             B2  who runs before whom: an object that another one with a callback leads to waits
 *                 for a later cycle, whole. One that only leads back to itself is ready: so cycles
 *                 are collected, one callback of a cycle per collection, in no promised order.
 *                 With options.unordered all that is unreached is ready at once, and is kept, with
 *                 all that it leads to, until its callback has returned (B3)
 *             B3  a callback that is ready and one that runs keep their object and argument
 *             B4  callbacks run at depth 0 and with no lock: they may do anything
 *             B5  every collected pointer that is put into a record passes gm_finalize_keep. So the
 *                 start stop lists the arguments, and the finish stop need not: of a million
 *                 records it took 10 ms to read them there
 * WHY         Go's order, but Go never frees a cycle with a finalizer in it, and in C the pointer
 *             back to the owner is everyday: so each candidate is traced by itself, and finding
 *             itself unreached is what makes it ready. All that is only paid for what dies.
 *             A list of n takes n cycles: that an object was not made reachable by its finalizer,
 *             only another cycle can tell. Running a list at once, in order, would finalize what
 *             a revived object leads to, so whoever wants that asks for it.
 */
enum {
    GM_FINALIZE_HELD = 64
}; // objects that are shaded before they are scanned: they are in the cache

// Between the end of marking and the flip, on the thread of the cycle: it is not stopped there, so
// locks may be held without a section.
GM_HOT GM_PRIVATE void gm_finalize_drain(struct gomem_marker *m) {
    struct gm_span *s;
    do {
        gm_mark_settle_view(&m->view);
        if (m->view.top) gm_mark_drain(m);
        s = (uint32_t)gm_load_rlx(&m->mark->queue) ? gm_mark_pop(m->mark) : NULL; // no other marker
        if (s) gm_mark_take(m, s);
    } while (s);
    gm_mark_settle_view(&m->view); // what typed objects led to
}

// Marks what an object leads to, not the object.
GM_NO_SANITIZE GM_PRIVATE void gm_finalize_mark_children(struct gomem_marker *m, uintptr_t object) {
    const struct gm_span *s = gm_span_find(m->mark->pages, object);
    if (s->kind == GM_NOSCAN) return;
    if (s->kind == GM_TYPED) gm_mark_typed(m, s, object, gm_span_slot_size(s));
    else gm_mark_words(m, object, gm_span_slot_size(s), m->alone);
    if (m->view.top || (uint32_t)gm_load_rlx(&m->mark->queue)) gm_finalize_drain(m);
}

// Sorts candidates: those to run, that nothing leads to, then those that only lead to themselves;
// and those that wait.
GM_PRIVATE void gm_finalize_order(struct gm_special *sp, struct gomem_marker *m,
                                  const struct gm_special_list *found, struct gm_special_list *run,
                                  struct gm_special_list *wait) {
    const struct gm_pages *p = m->mark->pages;
    struct gm_special_list first = {0, 0}, cyclic = {0, 0};
    for (uint32_t n = found->first, next; n; n = next) {
        uintptr_t object = gm_special_object(gm_special_record(sp, n - 1));
        bool reached = !object || gm_special_reached(p, object);
        next = gm_special_callback(sp, n - 1)->link;
        if (next)
            __builtin_prefetch((const void *)gm_special_object(gm_special_record(sp, next - 1)));
        if (!reached) gm_finalize_mark_children(m, object);
        bool itself = !reached && gm_special_reached(p, object);
        gm_special_push(sp, reached ? wait : itself ? &cyclic : &first, n - 1); // X3
    }
    for (uint32_t n = first.first, next; n; n = next) {
        uintptr_t object = gm_special_object(gm_special_record(sp, n - 1));
        next = gm_special_callback(sp, n - 1)->link;
        bool reached = !object || gm_special_reached(p, object); // by one that was traced later
        gm_special_push(sp, reached ? wait : run, n - 1);        // X3
    }
    for (uint32_t n = cyclic.first, next; n; n = next) {
        next = gm_special_callback(sp, n - 1)->link;
        gm_special_push(sp, run, n - 1); // X3
    }
}

// Marks what is to run, and what it leads to; returns the bytes of the objects themselves.
GM_PRIVATE size_t gm_finalize_mark_ready(struct gm_special *sp, struct gomem_marker *m,
                                         const struct gm_special_list *run) {
    const struct gm_pages *p = m->mark->pages;
    size_t kept = 0;
    for (uint32_t n = run->first; n; n = gm_special_callback(sp, n - 1)->link) {
        uintptr_t object = gm_special_object(gm_special_record(sp, n - 1));
        if (!object || gm_special_reached(p, object)) continue;
        kept += gm_span_slot_size(gm_span_find(p, object));
        gm_mark_shade(m, object, m->alone);
        if (m->view.top >= GM_FINALIZE_HELD) gm_finalize_drain(m);
    }
    gm_finalize_drain(m);
    return kept;
}

// Decides about everything unreached that has a record (B1); returns the bytes that it marked.
// *kept: those of objects that only wait for their callback. alone: nobody else writes mark bits.
GM_HOT GM_PRIVATE size_t gm_finalize_decide(struct gm_runtime *rt, bool alone, size_t *kept) {
    struct gm_special *sp = &rt->engine.special;
    const struct gm_pages *p = &rt->engine.heap.pages;
    struct gomem_marker *m = &rt->gc.marker[0];
    struct gm_unreached v = {{0, 0}, {0, 0}};
    struct gm_special_list run = {0, 0}, wait = {0, 0};
    uint32_t at = 0;
    while (gm_special_walk(sp, p, &at, &v)) {}
    if (!v.finalizers.first && !v.cleanups.first) return 0;
    gm_mark_begin(m, &rt->engine.mark, alone);
    m->steady = true; // a deadline was the finish stop's
    if (gm_load_rlx(&rt->world.settings.options.unordered)) run = v.finalizers; // B2
    else gm_finalize_order(sp, m, &v.finalizers, &run, &wait);
    *kept = gm_finalize_mark_ready(sp, m, &run);
    while (gm_special_conclude(sp, p, &run, true)) {}
    while (gm_special_conclude(sp, p, &wait, false)) {}
    while (gm_special_conclude(sp, p, &v.cleanups, false)) {}
    return (size_t)m->view.bytes;
}

// In a section: a word is about to be put into a record, or has come out of a weak one. While
// marking, what it points to becomes grey: records are on no page that is tracked. (B5)
GM_PRIVATE void gm_finalize_keep(struct gm_runtime *rt, uintptr_t word) {
    struct gm_mark *mark = &rt->engine.mark;
    if (GOMEM_I_LIKELY(!gm_load_rlx(&mark->active))) return; // changes in stops only
    if (!gm_load_rlx(&mark->complete)) gm_mark_shade_grey(mark, word);
}

// In a section: may what a weak pointer names be given out? Not what the cycle has found dead and
// not yet cleared.
GM_PRIVATE bool gm_finalize_is_live(const struct gm_runtime *rt, uintptr_t object) {
    const struct gm_mark *mark = &rt->engine.mark; // changes in stops only
    return !gm_load_rlx(&mark->complete) || gm_special_reached(mark->pages, object);
}

// ---- running ----

// Runs the next callback; false: none is ready. In no section. (B4)
GM_NOINLINE GM_PRIVATE bool gm_finalize_run_one(struct gm_runtime *rt, struct gm_thread *me) {
    struct gm_special *sp = &rt->engine.special;
    struct gm_ready_callback turn = {{NULL}, 0, 0, 0, GM_SPECIAL_NONE};
    gm_sync_enter(&me->cache.hot);
    bool found = gm_special_pop(sp, &turn);
    void *volatile self = (void *)turn.self; // in this frame until the callback returns (B3)
    void *volatile arg = (void *)turn.arg;
    gm_sync_leave(&me->cache.hot);
    if (!found) return false;
    if (turn.kind == GM_SPECIAL_FINALIZER) turn.fn.finalizer(self, arg);
    else turn.fn.cleanup(turn.kind == GM_SPECIAL_COUNT ? self : arg);
    if (turn.kind != GM_SPECIAL_COUNT) return true;
    uintptr_t object; // its memory is the next cycle's
    gm_sync_enter(&me->cache.hot);
    (void)gm_special_end_drop(sp, turn.id, &object);
    gm_sync_leave(&me->cache.hot);
    return true;
}

GM_INLINE bool gm_finalize_by_hand(const struct gm_runtime *rt) {
    return gm_load_rlx(&rt->world.settings.options.finalizers_by_hand); // a setting
}

GM_RARE GM_PRIVATE void *gm_finalize_main(void *arg) {
    struct gm_runtime *rt = arg;
    struct gm_finalize *f = &rt->finalize;
    struct gm_thread *me = gm_world_attach(rt);
    while (me && !gm_load_seq(&f->quit)) {     // pairs with gm_finalize_shutdown
        uint32_t kick = gm_load_acq(&f->kick); // pairs with gm_finalize_wake: what is ready
        while (!gm_load_seq(&f->quit) && !gm_finalize_by_hand(rt) && gm_finalize_run_one(rt, me)) {}
        gm_world_block(&rt->world, me, 0);
        if (!gm_load_seq(&f->quit)) gm_os_wait(&f->kick, kick, 0); // as above
        gm_world_end_block(&rt->world, me);
    }
    return NULL;
}

enum { GM_FINALIZE_NONE, GM_FINALIZE_STARTING, GM_FINALIZE_THERE };

// The thread of callbacks: a stack as the program's threads have it, all signals blocked.
GM_COLD GM_PRIVATE void gm_finalize_start(struct gm_runtime *rt) {
    struct gm_finalize *f = &rt->finalize;
    uint32_t none = GM_FINALIZE_NONE;
    sigset_t old;
    if (!gm_cas_seq(&f->thread, &none, (uint32_t)GM_FINALIZE_STARTING)) return; // another does it
    bool started = false;
    gm_os_block_signals(&old);
    if (!gm_load_seq(&f->quit)) // Dekker: pairs with gm_finalize_shutdown
        started = GOMEM_PTHREAD_CREATE(&f->handle, NULL, gm_finalize_main, rt) == 0;
    gm_os_restore_signals(&old);
    // pairs with gm_finalize_shutdown: the handle is there; failing, the next cycle tries again
    gm_store_seq(&f->thread, (uint32_t)(started ? GM_FINALIZE_THERE : GM_FINALIZE_NONE));
}

// Callbacks may be ready: somebody runs them. In no section.
GM_PRIVATE void gm_finalize_wake(struct gm_runtime *rt) {
    struct gm_finalize *f = &rt->finalize;
    if (GOMEM_I_LIKELY(!gm_load_rlx(&rt->engine.special.count)) || gm_finalize_by_hand(rt)) return;
    (void)gm_add_acqrel(&f->kick, 1u); // pairs with gm_finalize_main
    // a thread that is just starting has not looked yet
    if (gm_load_seq(&f->thread) == GM_FINALIZE_NONE) gm_finalize_start(rt);
    else gm_os_wake(&f->kick, 1);
}

// Ends the thread, after the callback that runs. Nobody starts another until gm_finalize_reset.
GM_PRIVATE void gm_finalize_shutdown(struct gm_runtime *rt) {
    struct gm_finalize *f = &rt->finalize;
    gm_store_seq(&f->quit, 1u);        // Dekker: pairs with gm_finalize_start
    (void)gm_add_acqrel(&f->kick, 1u); // pairs with gm_finalize_main
    gm_os_wake(&f->kick, INT_MAX);
    uint32_t thread;
    // pairs with gm_finalize_start
    for (unsigned i = 0; (thread = gm_load_seq(&f->thread)) == GM_FINALIZE_STARTING; i++)
        gm_os_yield(i);
    if (thread == GM_FINALIZE_THERE) gm_os_join(f->handle);
    gm_store_seq(&f->thread, (uint32_t)GM_FINALIZE_NONE); // as above
}

// The heap is empty: a new life may begin.
GM_PRIVATE void gm_finalize_reset(struct gm_runtime *rt) {
    gm_special_reset(&rt->engine.special);
    gm_store_seq(&rt->finalize.quit, 0u); // pairs with gm_finalize_start, of the next life
}
#endif // GOMEM_I_COLLECTOR

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>paths   who points at what: from roots to an object, from manual memory        floor 4
 * ==========================================================================================
 * OWNS        struct gm_search (one at a time, in a stop), struct gm_lost and struct gm_dead (what
 *             a cycle found)
 * CALLS       base os pages span heap types guard mark sweep cache world roots
 * INVARIANTS  Q1  a search changes nothing of the heap: its bits and its queue are its own memory,
 *                 given back when it ends
 *             Q2  the thread that asks comes last: its stack and registers, which know the pointer
 *                 anyway, count only where nothing else does; of either, words that point one past
 *                 the end come after those that point at the object
 * WHY         Breadth first, so the path is a shortest one; each object that is reached remembers
 *             the word that pointed at it, and only the path is told. The collector's own mark bits
 *             are in use at the end of a cycle (the oracle) and while spans wait to be swept, so a
 *             search brings its own. What is lost is looked for the other way round: all words that
 *             no marker reads, against marks that are complete.
 */
enum { GM_LOST_TOLD = 10 };

struct gm_lost_place {        // a word that is not scanned, and points at an object about to die
    uintptr_t holder, offset; // whose word it is, and the word's offset in it
    uint8_t holder_kind;      // of the holder
    uint8_t use;              // GM_USE_…, of the holder's span
    size_t holder_size;       // bytes
    uintptr_t object;         // what it points at
    size_t object_size;       // bytes
    uint8_t kind;             // of the object
};

struct gm_lost {          // owner: the cycle
    size_t found, places; // all; those below
    struct gm_lost_place place[GM_LOST_TOLD];
};

enum { GM_DEAD_TOLD = 10 };
struct gm_dead_place {   // a word of an object that points into a frame that has returned
    uintptr_t object;    //
    size_t offset, size; // of the word, of the object
    uintptr_t word;      //
    const char *file;    // where the frame's memory was asked for
    int line;            //
};
struct gm_dead {           // owner: the cycle
    struct gm_runtime *rt; //
    uintptr_t lo, hi;      // of all stacks with frames
    size_t found;          // places
    struct gm_dead_place place[GM_DEAD_TOLD];
};

// ---- lost=1 ----

GM_PRIVATE bool gm_paths_in_magazine(void **top, uintptr_t slot) {
    void *p;
    for (; top && (p = gm_load_rlx(top)) != NULL; top--) // its thread stands, or this is a guess
        if ((uintptr_t)p == slot) return true;
    return false;
}

// Was a manual slot freed, and lies in a thread's magazine or in the depot? Bits do not know.
GM_PRIVATE bool gm_paths_cached(struct gm_runtime *rt, unsigned class, uintptr_t slot) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    // pairs with gm_world_record_locked: records are complete
    for (const struct gm_thread *t = gm_load_acq(&rt->world.all); t; t = t->next)
        if (gm_paths_in_magazine(gm_load_rlx(&t->cache.hot.top[class]), slot) ||
            gm_paths_in_magazine(t->cache.previous[class], slot))
            return true;
    // pairs with gm_cache_push_magazine: links and slots
    uint32_t at = (uint32_t)gm_load_acq(&rt->engine.depot.full[class]);
    for (uint32_t n = 0; at && n < rt->engine.depot.made; n++) {
        const struct gm_magazine *m = gm_cache_head(p, at - 1);
        if (gm_paths_in_magazine(gm_cache_slots(p, at - 1) + m->top, slot)) return true;
        at = gm_load_rlx(&m->next);
    }
    return false;
}

// The object that a word points into, if it is about to be freed: not marked, nor freed by hand.
GM_PRIVATE uintptr_t gm_paths_dying(const struct gm_runtime *rt, uintptr_t word,
                                    const struct gm_span **span) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    const struct gm_span *s = *span = gm_span_find(p, word & rt->engine.mark.mask);
    if (!s || !GM_IN(GM_SET_COLLECTED, s->kind)) return 0;
    uint32_t index = gm_span_index(p, s, word & rt->engine.mark.mask);
    if (index >= s->count) return 0;
    uintptr_t object = gm_span_slot(p, s, index);
    const struct gm_color *c = gm_span_color(p, object);
    uint64_t dying = gm_load_rlx(&c->alloc) & ~gm_load_rlx(&c->freed);
    dying &= ~gm_load_rlx(&c->mark);
    return dying & gm_span_bit(p, object) ? object : 0;
}

GM_PRIVATE void gm_paths_note(struct gm_runtime *rt, struct gm_lost *lost,
                              const struct gm_span *holder, uintptr_t start, size_t offset,
                              uintptr_t object) {
    const struct gm_guard *g = &rt->engine.guard;
    const struct gm_span *s = gm_span_find(&rt->engine.heap.pages, object);
    lost->found++;
    if (lost->places == GM_LOST_TOLD) return;
    lost->place[lost->places++] = (struct gm_lost_place){
        .holder = start,
        .offset = offset,
        .holder_kind = holder->kind,
        .use = holder->use,
        .holder_size = gm_guard_size(g, holder, start),
        .object = object,
        .object_size = gm_guard_size(g, s, object),
        .kind = s->kind,
    };
}

GM_NO_SANITIZE GM_PRIVATE void gm_paths_look_into(struct gm_runtime *rt, struct gm_lost *lost,
                                                  const struct gm_span *holder, uintptr_t start) {
    size_t size = gm_span_slot_size(holder);
    const uintptr_t *word = (const uintptr_t *)start;
    for (size_t i = 0; i < size / GM_WORD; i++) {
        const struct gm_span *s;
        uintptr_t object = gm_paths_dying(rt, gm_base_word(&word[i]), &s);
        if (!object) continue;
        if (holder->class && gm_paths_cached(rt, holder->class, start)) return;
        if (gm_guard_freed(&rt->engine.guard, holder, start)) return;
        gm_paths_note(rt, lost, holder, start, i * GM_WORD, object);
    }
}

// Of what is scanned: pointers that lie across two words.
GM_NO_SANITIZE GM_PRIVATE void gm_paths_look_between(struct gm_runtime *rt, struct gm_lost *lost,
                                                     const struct gm_span *holder,
                                                     uintptr_t start) {
    size_t size = gm_span_slot_size(holder);
    const uintptr_t *word = (const uintptr_t *)start;
    for (size_t i = 0; i + 1 < size / GM_WORD; i++) {
        uintptr_t low = gm_base_word(&word[i]), high = gm_base_word(&word[i + 1]);
        for (unsigned byte = 1; byte < GM_WORD && (low | high); byte++) {
            const struct gm_span *s;
            uintptr_t w = low >> 8 * byte | high << 8 * (GM_WORD - byte); // little-endian
            uintptr_t object = gm_paths_dying(rt, w, &s);
            if (object) gm_paths_note(rt, lost, holder, start, i * GM_WORD + byte, object);
        }
    }
}

struct gm_paths_walk {     // what gm_paths_unscanned needs
    struct gm_runtime *rt; // const
    struct gm_lost *lost;  // owner: the cycle
};

// Of a collected or uncollectable span: objects that live.
GM_PRIVATE void gm_paths_holders(const struct gm_paths_walk *walk, const struct gm_span *s) {
    const struct gm_pages *p = &walk->rt->engine.heap.pages;
    const struct gm_color *c = gm_span_colors(p, s->page);
    bool root = s->kind == GM_ROOT || s->kind == GM_ROOT_NOSCAN;
    bool scanned = s->kind == GM_SCAN || s->kind == GM_ROOT;
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        uint64_t bits = root ? gm_load_rlx(&c[i].alloc) : gm_load_rlx(&c[i].mark);
        for (; bits; bits &= bits - 1) {
            uintptr_t object = gm_span_object(p, s, i, gm_base_ctz(bits));
            if (scanned) gm_paths_look_between(walk->rt, walk->lost, s, object);
            else gm_paths_look_into(walk->rt, walk->lost, s, object);
        }
    }
}

GM_RARE GM_PRIVATE bool gm_paths_unscanned(struct gm_span *s, void *arg) {
    const struct gm_paths_walk *walk = arg;
    const struct gm_pages *p = &walk->rt->engine.heap.pages;
    if (s->kind != GM_MANUAL) {
        gm_paths_holders(walk, s);
        return true;
    }
    if (!s->class) gm_paths_look_into(walk->rt, walk->lost, s, gm_span_start(p, s));
    for (unsigned i = 0; s->class && i < gm_span_words(s); i++)
        for (uint64_t bits = gm_load_rlx(&gm_span_bits(p, s->page)[i]); bits; bits &= bits - 1)
            gm_paths_look_into(walk->rt, walk->lost, s,
                               gm_span_slot(p, s, i * 64 + gm_base_ctz(bits)));
    return true;
}

// Notes places that no marker reads, and that point at what this cycle frees: manual memory, blocks
// of pools and arenas, noscan objects that live, words of typed ones that their type leaves out
// (what it names is marked), words of scanned ones that are not aligned. Marks are complete,
// nothing is swept yet, and nobody changes the heap.
GM_PRIVATE void gm_paths_lost_stopped(struct gm_runtime *rt, struct gm_lost *lost) {
    struct gm_paths_walk walk = {rt, lost};
    lost->found = lost->places = 0;
    if (rt->world.settings.lost) gm_heap_walk(&rt->engine.heap, gm_paths_unscanned, &walk);
}

GM_PRIVATE enum gm_message gm_paths_lost_message(const struct gm_lost_place *l) {
    if (l->use == GM_USE_POOL) return GM_MSG_LOST_POOL;
    if (l->use == GM_USE_ARENA) return GM_MSG_LOST_ARENA;
    if (l->holder_kind == GM_SCAN || l->holder_kind == GM_ROOT) return GM_MSG_LOST_UNALIGNED;
    return l->holder_kind == GM_TYPED    ? GM_MSG_LOST_TYPED
           : l->holder_kind == GM_MANUAL ? GM_MSG_LOST
                                         : GM_MSG_LOST_NOSCAN;
}

GM_COLD GM_PRIVATE void gm_paths_tell_place(struct gm_runtime *rt, const struct gm_lost_place *l) {
    const char *holder = l->use == GM_USE_POOL    ? "slab of a pool"
                         : l->use == GM_USE_ARENA ? "block of an arena"
                                                  : gm_guard_kinds[l->holder_kind];
    struct gm_text t = gm_text_message(
        gm_paths_lost_message(l),
        ": 0x%zx is a %zu-byte %s object; offset %zu of the %zu-byte %s%s at 0x%zx points at it",
        l->object, l->object_size, gm_guard_kinds[l->kind], l->offset, l->holder_size, holder,
        l->use == GM_USE_OBJECT ? " object" : "", l->holder);
    gm_guard_warn(&rt->engine.guard, t.data);
}

// Says what gm_paths_lost_stopped found. The world runs.
GM_PRIVATE void gm_paths_lost_tell(struct gm_runtime *rt, const struct gm_lost *lost) {
    for (size_t i = 0; i < lost->places; i++) gm_paths_tell_place(rt, &lost->place[i]);
    if (lost->found == lost->places) return;
    struct gm_text t = gm_text_message(gm_paths_lost_message(&lost->place[0]),
                                       ": %zu more places in this collection",
                                       lost->found - lost->places);
    gm_guard_warn(&rt->engine.guard, t.data);
}

#if GOMEM_I_ESCAPE
// ---- dead frames ----

// Below this address the stack of a thread that stands is nobody's, or the library's.
GM_PRIVATE uintptr_t gm_paths_stands(const struct gm_runtime *rt, const struct gm_thread *t) {
    if (t == gm_load_rlx(&rt->gc.runner)) return rt->gc.runner_sp; // ours: the cycle's thread asks
    return t->in_handler ? t->at.sp : t->registers.sp;
}

// The frame of a hint that a word points into and whose function has returned; NULL: none.
GM_PRIVATE struct gm_frame *gm_paths_dead_frame(struct gm_runtime *rt, uintptr_t word) {
    for (struct gm_thread *t = gm_load_acq(&rt->world.all); t; t = t->next) { // in a stop
        if (!t->frames || word - t->hint_lo >= t->hint_hi - t->hint_lo) continue;
        uintptr_t sp = gm_paths_stands(rt, t);
        if (word >= sp || sp - t->hint_lo > t->hint_hi - t->hint_lo) return NULL;
        for (unsigned i = 0; i < GM_FRAMES; i++) {
            struct gm_frame *f = &t->frames->list[i];
            if (f->bytes && word - f->at < f->bytes && f->at + f->bytes <= sp) return f;
        }
        return NULL;
    }
    return NULL;
}

GM_NO_SANITIZE GM_PRIVATE void gm_paths_look_for_frames(struct gm_runtime *rt, struct gm_dead *d,
                                                        uintptr_t object, size_t size) {
    const uintptr_t *word = (const uintptr_t *)object;
    for (size_t i = 0; i < size / GM_WORD && d->found < GM_DEAD_TOLD; i++) {
        uintptr_t w = gm_base_word(&word[i]);
        if (w - d->lo >= d->hi - d->lo) continue;
        struct gm_frame *f = gm_paths_dead_frame(rt, w);
        if (!f) continue;
        d->place[d->found++] = (struct gm_dead_place){object, i * GM_WORD, size,
                                                      w,      f->file,     f->line};
        f->bytes = 0; // told once
    }
}

GM_RARE GM_PRIVATE bool gm_paths_frames_of(struct gm_span *s, void *arg) {
    struct gm_dead *d = arg;
    const struct gm_pages *p = &d->rt->engine.heap.pages;
    const struct gm_color *c = gm_span_colors(p, s->page);
    if (!GM_IN(GM_SET_SCANNED, s->kind)) return true;
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        uint64_t bits = s->kind == GM_ROOT ? gm_load_rlx(&c[i].alloc) : gm_load_rlx(&c[i].mark);
        for (; bits; bits &= bits - 1)
            gm_paths_look_for_frames(d->rt, d, gm_span_object(p, s, i, gm_base_ctz(bits)),
                                     gm_span_slot_size(s));
    }
    return true;
}

// Notes objects that live and point into frames that have returned (check level 1). Marks are
// complete, nothing is swept yet.
GM_PRIVATE void gm_paths_frames_stopped(struct gm_runtime *rt, struct gm_dead *d) {
    d->rt = rt;
    d->found = 0;
    d->lo = UINTPTR_MAX;
    d->hi = 0;
    if (!GOMEM_I_CHECK) return;
    for (struct gm_thread *t = gm_load_acq(&rt->world.all); t; t = t->next) // in a stop
        if (t->frames && gm_load_rlx(&t->state) != GM_THREAD_NONE) {        // as above
            d->lo = GM_MIN(d->lo, t->hint_lo);
            d->hi = GM_MAX(d->hi, gm_paths_stands(rt, t));
        }
    if (d->lo < d->hi) gm_heap_walk(&rt->engine.heap, gm_paths_frames_of, d);
}

// Says what it found. The world runs.
GM_PRIVATE void gm_paths_frames_tell(struct gm_runtime *rt, const struct gm_dead *d) {
    for (size_t i = 0; i < d->found; i++) {
        const struct gm_dead_place *place = &d->place[i];
        struct gm_text t = gm_text_message(GM_MSG_DEAD_FRAME,
                                           ": offset %zu of the %zu-byte object at 0x%zx holds "
                                           "0x%zx, of the GOMEM_STACK at %s:%d",
                                           place->offset, place->size, place->object, place->word,
                                           place->file, place->line);
        gm_guard_warn(&rt->engine.guard, t.data);
    }
}
#else
// there are none
GM_INLINE void gm_paths_frames_stopped(struct gm_runtime *rt, struct gm_dead *d) {
    (void)rt, (void)d;
}
GM_INLINE void gm_paths_frames_tell(struct gm_runtime *rt, const struct gm_dead *d) {
    (void)rt, (void)d;
}
#endif // GOMEM_I_ESCAPE

#if GOMEM_I_REPORT
// ---- the search ----

enum gm_source { // where a path begins
    GM_SOURCE_OBJECT,
    GM_SOURCE_STACK,
    GM_SOURCE_REGISTER,
    GM_SOURCE_TLS,
    GM_SOURCE_GLOBAL,
    GM_SOURCE_RANGE,
    GM_SOURCE_PARKED,
    GM_SOURCE_ARGUMENT,
    GM_SOURCE_NAMED,
    GM_SOURCE_OTHER,
    GM_SOURCES
};
GM_PRIVATE const char *const gm_paths_sources[GM_SOURCES] = {"an uncollectable object",
                                                             "the stack of thread ",
                                                             "a register of thread ",
                                                             "thread-local storage of thread ",
                                                             "a global of ",
                                                             "the registered range at ",
                                                             "the registered stack at ",
                                                             "what a thread is given or returns",
                                                             "a function of gomem_add_root_fn",
                                                             "memory of a thread"};

enum { GM_PATH_ENDS = 32 }; // steps that are told at either end of a path
struct gm_step {
    uintptr_t object; //
    uintptr_t offset; // of the word that points at the next one; UINTPTR_MAX: not known
};

struct gm_path {                           // what a search found
    size_t length;                         // objects from the root to it, 0: nothing reaches it
    bool live;                             // there is such an object
    bool full;                             // it cannot be searched
    bool busy;                             // a cycle runs on this thread
    struct gm_step step[2 * GM_PATH_ENDS]; // the first ones, the last ones
    enum gm_source source;                 //
    uintptr_t word;                        // address of the root's word
    uintptr_t area;                        // start of the range or stack, or the thread's number
    bool own;                              // it is the thread that asks
    bool past;                             // the word points one past the end of the first object
};

struct gm_reached {   // an object that the search has reached
    uintptr_t object; //
    uintptr_t from;   // address of the word that points at it; 0: none, or not known
    uint32_t parent;  // number of the object that the word is in; GM_ROOTED: in a root
};
#define GM_ROOTED UINT32_MAX

struct gm_search {
    struct gm_runtime *rt;      // const
    const struct gm_thread *me; // who asks, NULL: the collector. const
    uintptr_t target;           // const
    void *memory;               // for both below
    size_t size;                // of memory
    size_t low, high;           // bytes of the heap's two ends
    uint64_t *seen;             // a bit for 16 bytes of either end
    struct gm_reached *queue;   // all that was reached; those below `at` have been scanned
    size_t count, ready, room;  // of queue: used, with memory, reserved
    uintptr_t noscan;           // where zone 1 is; stw
    size_t found;               // number of the target + 1, 0: not yet
    bool full;                  // no memory for queue
};

struct gm_visitor {             // hears what a mark procedure marks
    struct gomem_marker marker; // first
    struct gm_search *search;   //
    uintptr_t object;           // that is looked into
    uint32_t number;            //
};

enum { GM_SEARCH_STEP = 1 << 16 }; // entries

GM_PRIVATE bool gm_paths_more(struct gm_search *q) {
    size_t n = GM_MIN(q->ready + GM_SEARCH_STEP, q->room), page = q->rt->engine.heap.pages.os_page;
    uintptr_t end = gm_base_round_up((uintptr_t)(q->queue + n), page);
    if (n == q->ready || end > (uintptr_t)q->memory + q->size ||
        !gm_os_protect((uintptr_t)q->memory, end, PROT_READ | PROT_WRITE))
        return false;
    q->ready = n;
    return true;
}

// The heap's ends are as large as they will be while the world stands.
GM_PRIVATE bool gm_paths_begin(struct gm_search *q) {
    const struct gm_pages *p = &q->rt->engine.heap.pages;
    q->low = (size_t)gm_load_rlx(&p->zone[0].mapped) * GM_PAGE;  // in a stop
    q->high = (size_t)gm_load_rlx(&p->zone[1].mapped) * GM_PAGE; // in a stop
    q->noscan = gm_pages_address(p, p->zone[1].origin) - q->high;
    size_t seen = gm_base_round_up((q->low + q->high) / 128, p->os_page);
    q->room = GM_MIN((q->low + q->high) / 16 + 1, (size_t)GM_ROOTED);
    q->size = gm_base_round_up(seen + q->room * sizeof *q->queue, p->os_page);
    q->memory = gm_os_reserve(q->size, 0);
    if (!q->memory) return false;
    q->seen = q->memory;
    q->queue = (struct gm_reached *)(void *)((char *)q->memory + seen);
    return gm_paths_more(q);
}

GM_PRIVATE void gm_paths_end(const struct gm_search *q) {
    if (q->memory) gm_os_release(q->memory, q->size);
}

// The live collected object that a word points into; 0: none.
GM_PRIVATE uintptr_t gm_paths_object(const struct gm_runtime *rt, uintptr_t word) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    word &= rt->engine.mark.mask;
    const struct gm_span *s = gm_span_find(p, word);
    if (!s || !GM_IN(GM_SET_COLORED, s->kind)) return 0;
    uint32_t index = gm_span_index(p, s, word);
    if (index >= s->count) return 0;
    uintptr_t object = gm_span_slot(p, s, index);
    return gm_sweep_live(&rt->engine.sweep, p, s, object) ? object : 0;
}

GM_PRIVATE void gm_paths_reach(struct gm_search *q, uintptr_t word, uintptr_t from,
                               uint32_t parent) {
    const struct gm_pages *p = &q->rt->engine.heap.pages;
    uintptr_t object = gm_paths_object(q->rt, word), offset = object - gm_pages_scanned(p);
    if (!object || q->found || q->full) return;
    if (offset >= q->low) offset = q->low + object - q->noscan;
    uint64_t *seen = &q->seen[offset / 1024], bit = (uint64_t)1 << (offset / 16 & 63);
    if (*seen & bit) return;
    *seen |= bit;
    if (q->count == q->ready && !gm_paths_more(q)) {
        q->full = true;
        return;
    }
    q->queue[q->count++] = (struct gm_reached){object, from, parent};
    if (object == q->target) q->found = q->count;
}

// Words of a range; `address`: where they are, `here`: where they can be read; `past`: 1 to look at
// w - 1 in place of w.
GM_NO_SANITIZE GM_PRIVATE void gm_paths_words(struct gm_search *q, uintptr_t here,
                                              uintptr_t address, size_t size, unsigned past,
                                              uint32_t parent) {
    const uintptr_t *word = (const uintptr_t *)here;
    for (size_t i = 0; i < size / GM_WORD; i++) {
        uintptr_t w = gm_base_word(&word[i]) & q->rt->engine.mark.mask;
        if (past && gm_paths_object(q->rt, w)) continue; // as gm_mark_range
        gm_paths_reach(q, w - past, address + i * GM_WORD, parent);
    }
}

// As gm_mark_fields: the type's fields, for each element.
GM_PRIVATE void gm_paths_fields(struct gm_search *q, const struct gm_type_record *t,
                                uintptr_t start, size_t size, uint32_t number) {
    uintptr_t element = start, end = start + size;
    for (bool flexible = false; t->nfields && !flexible && element < end; element += t->size)
        for (size_t i = 0; i < t->nfields; i++) {
            const gomem_field *f = &t->fields[i];
            if (f->offset >= end - element) continue;
            size_t left = end - element - f->offset, n = f->words ? f->words * GM_WORD : left;
            flexible |= !f->words;
            gm_paths_words(q, element + f->offset, element + f->offset, GM_MIN(n, left), 0, number);
        }
}

// A mark procedure names a word; where it stands, if it stands there as it is.
GM_RARE GM_NO_SANITIZE GM_PRIVATE void gm_paths_visit(struct gomem_marker *m, uintptr_t word) {
    const struct gm_visitor *v = (const struct gm_visitor *)(const void *)m;
    const struct gm_span *s = gm_span_find(&v->search->rt->engine.heap.pages, v->object);
    const uintptr_t *at = (const uintptr_t *)v->object;
    size_t n = gm_span_slot_size(s) / GM_WORD, i = 0;
    while (i < n && gm_base_word(&at[i]) != word) i++;
    gm_paths_reach(v->search, word, i < n ? (uintptr_t)&at[i] : 0, v->number);
}

GM_PRIVATE void gm_paths_scan(struct gm_search *q, uint32_t number) {
    uintptr_t object = q->queue[number].object;
    const struct gm_span *s = gm_span_find(&q->rt->engine.heap.pages, object);
    size_t size = gm_span_slot_size(s);
    if (s->kind == GM_SCAN || s->kind == GM_ROOT)
        gm_paths_words(q, object, object, size, 0, number);
    if (s->kind != GM_TYPED) return;
    const struct gm_type_record *t = gm_types_shape(&q->rt->engine.types, s->shape)->type;
    if (t->mark) {
        struct gm_visitor v = {
            {.mark = &q->rt->engine.mark, .visit = gm_paths_visit}, q, object, number};
        size = gm_guard_size(&q->rt->engine.guard, s, object);
        if (size) t->mark((const void *)object, size, &v.marker);
    } else {
        gm_paths_fields(q, t, object, size, number);
    }
}

// Uncollectable scanned objects are roots; the queue has them as if something pointed at them.
GM_RARE GM_PRIVATE bool gm_paths_uncollectable(struct gm_span *s, void *arg) {
    struct gm_search *q = arg;
    const struct gm_pages *p = &q->rt->engine.heap.pages;
    const struct gm_color *c = gm_span_colors(p, s->page);
    if (s->kind != GM_ROOT && s->kind != GM_ROOT_NOSCAN) return true;
    for (unsigned i = 0; i < gm_span_groups(s); i++)
        for (uint64_t bits = gm_load_rlx(&c[i].alloc); bits; bits &= bits - 1)
            gm_paths_reach(q, gm_span_object(p, s, i, gm_base_ctz(bits)), 0, GM_ROOTED);
    return true;
}

// Is it of the stack or registers of the thread that asks? (Q2)
GM_PRIVATE bool gm_paths_own(const struct gm_search *q, const struct gm_job *job) {
    const struct gm_thread *me = q->me;
    if (!me || job->flags & GM_JOB_FOREIGN) return false;
    return job->start - me->stack_lo < me->stack_hi - me->stack_lo ||
           job->start - (uintptr_t)me < sizeof *me;
}

// As gm_mark_foreign: what cannot be read is skipped.
GM_PRIVATE void gm_paths_foreign(struct gm_search *q, const struct gm_job *job, unsigned past) {
    char *buffer = q->rt->gc.marker[0].buffer;
    for (uintptr_t at = job->start, end = at + job->size; at < end;) {
        size_t want = GM_MIN(end - at, (size_t)GM_READ), n = gm_os_read_foreign(buffer, at, want);
        n &= ~(size_t)(GM_WORD - 1);
        gm_paths_words(q, (uintptr_t)buffer, at, n, past, GM_ROOTED);
        at += n ? n : GM_MIN(want, 4096 - at % 4096);
    }
}

GM_PRIVATE void gm_paths_roots(struct gm_search *q, bool own, unsigned past) {
    const struct gm_mark *mark = &q->rt->engine.mark;
    for (size_t i = 0; i < mark->njobs; i++) {
        const struct gm_job *job = &mark->jobs[i];
        if (gm_paths_own(q, job) != own || (past && !(job->flags & GM_JOB_BOTH))) continue;
        if (job->flags & GM_JOB_STACK) {
            const struct gm_stack *s = (const struct gm_stack *)job->start;
            uintptr_t from = gm_mark_live_part(s);
            struct gm_job part = {from, s->runs ? 0 : s->end - from, job->flags};
            gm_paths_foreign(q, &part, past);
        } else if (job->flags & GM_JOB_FOREIGN) gm_paths_foreign(q, job, past);
        else gm_paths_words(q, job->start, job->start, job->size, past, GM_ROOTED);
    }
}

enum { GM_NAMED_AT = 1 }; // in place of the address of a word that a function of roots has named

// A function of roots names a word.
GM_RARE GM_PRIVATE void gm_paths_named(struct gomem_marker *m, uintptr_t word) {
    const struct gm_visitor *v = (const struct gm_visitor *)(const void *)m;
    gm_paths_reach(v->search, word, GM_NAMED_AT, GM_ROOTED);
}

// ---- what a root is called ----

GM_PRIVATE bool gm_paths_in(const struct gm_areas *a, uintptr_t address, uintptr_t *start) {
    for (size_t i = 0; i < a->count; i++) {
        if (address - a->list[i].start >= a->list[i].end - a->list[i].start) continue;
        *start = a->list[i].start;
        return true;
    }
    return false;
}

GM_PRIVATE bool gm_paths_in_tls(struct gm_runtime *rt, const struct gm_thread *t,
                                uintptr_t address) {
    const struct gm_areas *modules = &rt->roots.modules;
    struct gm_vector vector;
    gm_roots_read_vector(&vector, t, 0);
    for (size_t i = 0; i < modules->count; i++) {
        uintptr_t block = gm_roots_tls_block(&vector, modules->list[i].start);
        if (block && address - block < modules->list[i].end) return true;
    }
    return t->thread_pointer - t->stack_lo >= t->stack_hi - t->stack_lo &&
           address - (t->thread_pointer - GM_TLS_BELOW) < GM_TLS_BELOW + GM_TLS_ABOVE;
}

// What an address is to a thread; GM_SOURCE_OTHER: nothing.
GM_PRIVATE enum gm_source gm_paths_of_thread(struct gm_runtime *rt, const struct gm_thread *t,
                                             uintptr_t address) {
    if (address - (uintptr_t)t->registers.word < sizeof t->registers.word)
        return GM_SOURCE_REGISTER;
    if (address - (uintptr_t)t->frame < sizeof t->frame) return GM_SOURCE_STACK;
    if (gm_paths_in_tls(rt, t, address)) return GM_SOURCE_TLS;
    if (t->in_handler && address - t->at.alt_lo < t->at.alt_size) return GM_SOURCE_STACK;
    if (address - t->stack_lo >= t->stack_hi - t->stack_lo) return GM_SOURCE_OTHER;
    bool saved = t->in_handler && address >= t->registers.sp && address < t->at.sp - GM_RED_ZONE;
    return saved ? GM_SOURCE_REGISTER : GM_SOURCE_STACK;
}

GM_PRIVATE void gm_paths_name(const struct gm_search *q, struct gm_path *path) {
    struct gm_runtime *rt = q->rt;
    uintptr_t word = path->word;
    path->source = GM_SOURCE_OBJECT;
    if (!word) return;
    path->source = GM_SOURCE_NAMED;
    if (word == GM_NAMED_AT) return;
    path->source = GM_SOURCE_RANGE;
    if (gm_paths_in(&rt->roots.ranges, word, &path->area)) return;
    path->source = GM_SOURCE_PARKED;
    const struct gm_stack *stack = gm_roots_stack_of(&rt->roots, word);
    path->area = stack ? stack->start : 0;
    if (stack) return;
    for (const struct gm_thread *t = rt->world.all; t; t = t->next) {
        if (gm_world_absent(gm_load_seq(&t->state))) continue; // V4: the world stands
        path->source = gm_paths_of_thread(rt, t, word);
        path->area = t->id;
        path->own = t == q->me;
        if (path->source != GM_SOURCE_OTHER) return;
    }
    path->own = false;
    path->source = GM_SOURCE_GLOBAL;
    if (gm_paths_in(&rt->roots.globals, word, &path->area)) return;
    path->source = GM_SOURCE_ARGUMENT;
    for (const struct gm_start *s = rt->world.starts; s; s = s->next)
        if (word == (uintptr_t)&s->root) return;
    path->source = GM_SOURCE_OTHER;
}

// Follows the numbers of parents from the target back to its root.
GM_PRIVATE void gm_paths_retrace(const struct gm_search *q, struct gm_path *path) {
    size_t n = 0, next = UINTPTR_MAX;
    for (size_t i = q->found - 1; i != GM_ROOTED; i = q->queue[i].parent) n++;
    path->length = n;
    for (size_t i = q->found - 1; i != GM_ROOTED; i = q->queue[i].parent) {
        const struct gm_reached *r = &q->queue[i];
        size_t place = --n, last = path->length - 2 * GM_PATH_ENDS;
        if (path->length > 2 * GM_PATH_ENDS && place >= GM_PATH_ENDS)
            place = place - last < GM_PATH_ENDS ? SIZE_MAX : place - last;
        if (place < 2 * GM_PATH_ENDS)
            path->step[place] = (struct gm_step){
                r->object, next != UINTPTR_MAX && next ? next - r->object : UINTPTR_MAX};
        next = r->from;
    }
    path->word = next;
}

// Finds a shortest path to the object that `target` points into. The world stands, and its roots
// are listed. Not inlined: its frame knows the target, and lies below what is searched.
GM_NOINLINE GM_PRIVATE void gm_paths_find_stopped(struct gm_runtime *rt, const struct gm_thread *me,
                                                  uintptr_t target, struct gm_path *path) {
    struct gm_search q = {.rt = rt, .me = me, .target = gm_paths_object(rt, target)};
    *path = (struct gm_path){.live = q.target != 0}; // not its address: that would be a path
    if (!q.target) return;
    if (!gm_paths_begin(&q)) {
        path->full = true;
        gm_paths_end(&q);
        return;
    }
    size_t at = 0;
    gm_heap_walk(&rt->engine.heap, gm_paths_uncollectable, &q);
    struct gm_visitor v = {{.mark = &rt->engine.mark, .visit = gm_paths_named}, &q, 0, 0};
    gm_roots_ask_stopped(rt, &v.marker);
    for (unsigned pass = 0; pass < 4 && !q.found && !q.full; pass++) { // Q2
        gm_paths_roots(&q, pass / 2, pass % 2);
        path->past = pass % 2;
        while (at < q.count && !q.found && !q.full) gm_paths_scan(&q, (uint32_t)at++);
    }
    path->full = q.full && !q.found;
    if (q.found) {
        gm_paths_retrace(&q, path);
        gm_paths_name(&q, path);
    }
    gm_paths_end(&q);
}

// ---- what is told ----

struct gm_owner {   // the object file of a global
    uintptr_t word; // address
    uintptr_t base; // of the file
    char name[256]; // cut; empty: none
};

GM_RARE GM_PRIVATE int gm_paths_each_object(struct gm_loaded *object, size_t size, void *arg) {
    struct gm_owner *o = arg;
    (void)size;
    for (unsigned i = 0; i < object->headers; i++) {
        const ElfW(Phdr) *h = &object->header[i];
        if (h->p_type != PT_LOAD || o->word - object->base - h->p_vaddr >= h->p_memsz) continue;
        const char *name = object->name && *object->name ? object->name : "the program";
        size_t n = GM_MIN(strlen(name), sizeof o->name - 1);
        memcpy(o->name, name, n);
        o->name[n] = 0;
        o->base = object->base;
        return 1;
    }
    return 0;
}

// The same of what the loader shows to debuggers: other namespaces, too, and no lock.
GM_PRIVATE void gm_paths_look_alone(struct gm_owner *owner) {
    struct link_map m;
    struct gm_object o;
    ElfW(Phdr) h;
    for (const struct r_debug *r = gm_roots_loader(); r; r = gm_roots_next_loader(r))
        for (const struct link_map *at = r->r_map; at; at = m.l_next) {
            if (gm_os_read_foreign(&m, (uintptr_t)at, sizeof m) != sizeof m) break;
            if (!gm_roots_object_of(&o, &m)) continue;
            for (unsigned i = 0; gm_roots_header(&o, i, &h); i++) {
                if (h.p_type != PT_LOAD || owner->word - o.base - h.p_vaddr >= h.p_memsz) continue;
                size_t n = gm_os_read_foreign(owner->name, (uintptr_t)m.l_name,
                                              sizeof owner->name - 1);
                owner->name[n] = 0;
                if (!*owner->name) memcpy(owner->name, "the program", 12);
                owner->base = o.base;
                return;
            }
        }
}

// Where the root of a path lies; "": it has no place.
GM_PRIVATE struct gm_text gm_paths_tell_place_of_root(const struct gm_path *path) {
    enum gm_source source = path->source;
    struct gm_owner o = {path->word, 0, {0}};
    if (source == GM_SOURCE_RANGE || source == GM_SOURCE_PARKED)
        return gm_text_make("0x%zx", path->area);
    if (source == GM_SOURCE_OTHER) return gm_text_make("%s", "");
    if (source != GM_SOURCE_GLOBAL)
        return gm_text_make("%zu%s", path->area, path->own ? ", which asks" : "");
    if (!gm_runtime.roots.lockless) (void)gm_libc_iterate(gm_paths_each_object, &o);
    if (!*o.name) gm_paths_look_alone(&o);
    return gm_text_make("%s + 0x%zx", *o.name ? o.name : "an object that was closed",
                        path->word - o.base);
}

GM_PRIVATE struct gm_text gm_paths_tell_root(const struct gm_path *path) {
    struct gm_text t = gm_text_make("gomem: why: kept by %s", gm_paths_sources[path->source]);
    if (path->source != GM_SOURCE_OBJECT && path->source != GM_SOURCE_ARGUMENT &&
        path->source != GM_SOURCE_NAMED)
        gm_text_format(&t, "%s%s, word at 0x%zx", gm_paths_tell_place_of_root(path).data,
                       path->past ? ", which points one past the end" : "", path->word);
    return t;
}

GM_PRIVATE struct gm_text gm_paths_tell_step(struct gm_runtime *rt, const struct gm_step *step,
                                             bool last) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    const struct gm_span *s = gm_span_find(p, step->object);
    struct gm_text t = gm_text_make("gomem: why: %s", gm_guard_describe(p, step->object).data);
    if (s && s->kind == GM_TYPED)
        gm_text_format(&t, " of type %s", gm_types_shape(&rt->engine.types, s->shape)->type->name);
    if (last) return t;
    if (step->offset == UINTPTR_MAX) gm_text_format(&t, "; its mark procedure names the next");
    else gm_text_format(&t, "; offset %zu points at the next", step->offset);
    return t;
}

// Line number `i` of what is to be told of a path; false: there is none.
GM_PRIVATE bool gm_paths_line(struct gm_runtime *rt, const struct gm_path *path, size_t i,
                              struct gm_text *t) {
    size_t shown = GM_MIN(path->length, (size_t)2 * GM_PATH_ENDS);
    bool cut = path->length > shown;
    if (i == 0) {
        *t = gm_paths_tell_root(path);
        return true;
    }
    if (cut && i == GM_PATH_ENDS + 1) {
        *t = gm_text_make("gomem: why: … and %zu objects between", path->length - shown);
        return true;
    }
    i -= cut && i > GM_PATH_ENDS ? 2 : 1;
    if (i < shown) *t = gm_paths_tell_step(rt, &path->step[i], i + 1 == shown);
    return i < shown;
}

// Why is there no path?
GM_PRIVATE struct gm_text gm_paths_tell_none(struct gm_runtime *rt, const struct gm_path *path,
                                             uintptr_t word) {
    return gm_text_make("gomem: why: %s; %s", gm_guard_describe(&rt->engine.heap.pages, word).data,
                        path->busy    ? "a collection runs on this thread: ask after it"
                        : path->full  ? "its roots cannot be searched now"
                        : !path->live ? "that is no live object of the collector"
                                      : "no root reaches it: the next collection frees it");
}

// The oracle found an object that marking has missed: how it is reached. The world stands.
GM_COLD GM_PRIVATE void gm_paths_missed_stopped(struct gm_runtime *rt, uintptr_t object) {
    struct gm_path path;
    struct gm_text t;
    gm_base_log("gomem: marking has missed the object at the end of this path:");
    gm_paths_find_stopped(rt, NULL, object, &path);
    if (!path.length) gm_base_log(gm_paths_tell_none(rt, &path, object).data);
    for (size_t i = 0; path.length && gm_paths_line(rt, &path, i, &t); i++) gm_base_log(t.data);
}
#else
GM_INLINE void gm_paths_missed_stopped(struct gm_runtime *rt, uintptr_t object) {
    (void)rt, (void)object; // left out
}
#endif // GOMEM_I_REPORT
#endif // GOMEM_I_COLLECTOR

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>workers   the threads that mark, and marking from the listed roots            floor 4
 * ==========================================================================================
 * OWNS        the markers and worker threads of struct gm_gc
 * CALLS       base os sync sizes span heap central types mark sweep cache world roots
 * LOCKS       none of its own; its callers hold GC
 * ORDER       work is bumped (acqrel) when markers and jobs are ready; a worker that sees the new
 *             value marks
 * WHY         The runner of a cycle marks with marker 0, the threads of the library with the next
 *             ones, and threads that assist with those from GM_WORKERS on. A worker that cannot be
 *             started is done without. Beside the program the runner lets TURN go now and then, so
 *             that forks need not wait for the end of a cycle (E5).
 */
// ---- walking centrals ----

// The i-th central of a collected class or shape, the large ones first; NULL: there are no more.
GM_PRIVATE struct gm_central *gm_workers_central(struct gm_runtime *rt, uint32_t i) {
    struct gm_engine *e = &rt->engine;
    uint32_t n = 2 * (GOMEM_CLASSES + 1);
    if (i < n) return &e->central[i % 2 ? GM_NOSCAN : GM_SCAN][i / 2];
    if (i - n + 1 >= gm_types_count(&e->types)) return NULL;
    return &gm_types_shape(&e->types, i - n + 1)->central;
}

// Calls fn for the central of each collected class and shape until it returns false.
GM_PRIVATE void gm_workers_each_central(struct gm_runtime *rt,
                                        bool (*fn)(struct gm_runtime *rt, struct gm_central *c)) {
    struct gm_central *c;
    for (uint32_t i = 0; (c = gm_workers_central(rt, i)) != NULL; i++)
        if (!fn(rt, c)) return;
}

// Sweeps one central to its end, in sections, so that stops and forks do not wait.
GM_PRIVATE bool gm_workers_sweep_central(struct gm_runtime *rt, struct gm_central *c) {
    struct gm_engine *e = &rt->engine;
    struct gm_thread *me = gm_world_self();
    for (unsigned n = 32; n == 32;) {
        gm_sync_enter(&me->cache.hot);
        n = gm_sweep_some(&e->sweep, &e->heap, &e->guard, &e->stats.shared, c, 32);
        gm_sync_leave(&me->cache.hot);
    }
    return true;
}

// ---- workers ----

GM_PRIVATE void *gm_workers_main(void *arg) {
    struct gm_gc *gc = &gm_runtime.gc;
    struct gomem_marker *m = arg;
    uint32_t seen = 0;
    gm_store_rlx(&m->id, gm_os_thread_id()); // gm_gc_knows asks; until then it is no known thread
    for (;;) {
        // pairs with gm_workers_mark_stopped: markers are ready
        uint32_t work = gm_load_acq(&gc->work);
        if (gm_load_acq(&gc->quit)) return NULL; // pairs with gm_schedule_shutdown
        if (work == seen) {
            gm_os_wait(&gc->work, work, 0);
            continue;
        }
        seen = work;
        if (gm_mark_join(&gm_runtime.engine.mark, m)) gm_mark_work(m);
    }
}

// Starts a thread while GC is held. libc waits for the loader's locks there, too (E6).
GM_PRIVATE bool gm_workers_start_thread(struct gm_runtime *rt, pthread_t *thread,
                                        void *(*fn)(void *), void *arg) {
    gm_world_begin_loader_walk(rt);
    bool started = gm_os_start_thread(thread, fn, arg);
    gm_world_end_loader_walk(rt);
    return started;
}

// Starts marking threads up to the number wanted; what cannot be had is done without.
GM_PRIVATE void gm_workers_start(struct gm_runtime *rt) {
    struct gm_gc *gc = &rt->gc;
    unsigned want = (unsigned)gm_load_rlx(&rt->world.settings.options.mark_workers); // a setting
    if (!want) want = gm_os_processors();
    gc->workers = GM_MIN(GM_MAX(want, 1u), (unsigned)GM_WORKERS);
    while (gc->thread_count + 1 < gc->workers) {
        struct gomem_marker *m = &gc->marker[gc->thread_count + 1];
        if (!gm_mark_init_marker(m, &rt->engine.meta)) break;
        gm_store_rlx(&m->id, 0u); // until it has begun; a child has the parent's
        if (!gm_workers_start_thread(rt, &gc->threads[gc->thread_count], gm_workers_main, m)) break;
        gc->thread_count++;
    }
}

// ---- marking ----

GM_PRIVATE bool gm_workers_quits(const struct gm_runtime *rt) {
    return gm_load_acq(&rt->gc.quit); // pairs with gm_schedule_shutdown
}

// E1: an owned span is in no list to sweep from.
GM_PRIVATE void gm_workers_sweep_run(struct gm_engine *e, struct gm_span *s, gomem_i_run *run) {
    (void)run;
    gm_sweep_owned(&e->sweep, &e->heap.pages, &e->guard, &e->stats.shared, s);
}

// E2: blackens the held slots of a run.
GM_PRIVATE void gm_workers_hold_run(struct gm_engine *e, struct gm_span *s, gomem_i_run *run) {
    uintptr_t cursor = gm_load_rlx(&run->cursor); // its thread is stopped
    if (!cursor) return;
    for (; cursor < run->end; cursor += gm_sizes_table[s->class].size) {
        struct gm_color *c = gm_span_color(&e->heap.pages, cursor);
        uint64_t bit = gm_span_bit(&e->heap.pages, cursor); // gomem_base may look at any time
        gm_store_rlx(&c->mark, gm_load_rlx(&c->mark) | bit);
    }
}

GM_PRIVATE void gm_workers_each_run_stopped(struct gm_runtime *rt,
                                            void (*fn)(struct gm_engine *e, struct gm_span *s,
                                                       gomem_i_run *run)) {
    for (struct gm_thread *t = rt->world.all; t; t = t->next) gm_cache_each_run(&t->cache, fn);
}

GM_PRIVATE void gm_workers_queue_list(struct gm_runtime *rt, const struct gm_central *central,
                                      unsigned list) {
    struct gm_pages *p = &rt->engine.heap.pages;
    for (uint32_t at = central->list[list]; at;) {
        struct gm_span *s = gm_span_at(p, at - 1);
        struct gm_color *c = gm_span_colors(p, s->page);
        if (!s->class) gm_mark_grey_pieces(&rt->engine.mark, s);
        for (unsigned i = 0; s->class && i < gm_span_groups(s); i++)
            gm_store_rlx(&c[i].grey, gm_load_rlx(&c[i].alloc) & ~gm_load_rlx(&c[i].freed)); // R7
        gm_mark_enqueue(&rt->engine.mark, s);
        at = s->next;
    }
}

// Spans of uncollectable objects that were freed while a cycle marked are given back. (R5)
GM_PRIVATE void gm_workers_put_empty_roots(struct gm_runtime *rt) {
    struct gm_engine *e = &rt->engine;
    struct gm_thread *me = gm_world_self();
    for (unsigned i = 0; i <= GOMEM_CLASSES; i++) {
        struct gm_central *c = &e->central[GM_ROOT][i];
        if (!gm_load_rlx(&c->list[0]))
            continue; // who fills it meanwhile leaves it to the next cycle
        gm_sync_enter(&me->cache.hot);
        gm_sync_lock(&c->lock);
        for (uint32_t at = c->list[0]; at;) {
            struct gm_span *s = gm_span_at(&e->heap.pages, at - 1);
            at = s->next;
            if (s->used) continue;
            gm_central_remove_locked(c, &e->heap.pages, 0, s);
            gm_heap_put(&e->heap, s);
        }
        gm_sync_unlock(&c->lock);
        gm_sync_leave(&me->cache.hot);
    }
}

// Uncollectable objects are roots: all their spans are grey (R7).
GM_PRIVATE void gm_workers_queue_roots(struct gm_runtime *rt) {
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) {
        gm_workers_queue_list(rt, &rt->engine.central[GM_ROOT][c], 0);
        gm_workers_queue_list(rt, &rt->engine.central[GM_ROOT][c], 2);
    }
}

// What functions of the program name becomes grey. The markers rest.
GM_PRIVATE void gm_workers_ask_roots_stopped(struct gm_runtime *rt) {
    struct gomem_marker *m = &rt->gc.marker[0];
    if (!rt->roots.fns.count) return;
    gm_mark_begin(m, &rt->engine.mark, false);
    gm_roots_ask_stopped(rt, m);
    gm_mark_make_room(m, &m->view, true);
    gm_mark_report(m);
}

// Where marking begins: all is swept, uncollectable objects are grey.
GM_PRIVATE void gm_workers_color_stopped(struct gm_runtime *rt) {
    struct gm_mark *mark = &rt->engine.mark;
    gm_workers_each_run_stopped(rt, gm_workers_sweep_run);
    gm_store_rlx(&mark->queue, (uint64_t)0); // a worker of the last cycle may still look
    gm_store_rlx(&mark->bytes, (uint64_t)0); // no marker counts
    gm_store_rlx(&mark->next_job, 0u);
    gm_workers_queue_roots(rt);
    gm_workers_ask_roots_stopped(rt);
}

// Marks with n markers until nothing is grey, or until the deadline (0: none). False: not done.
GM_PRIVATE bool gm_workers_mark_with(struct gm_runtime *rt, unsigned n, uint64_t deadline) {
    struct gm_gc *gc = &rt->gc;
    struct gm_mark *mark = &rt->engine.mark;
    do {
        gm_mark_begin_phase(mark, &gc->marker[0], deadline);
        if (n > 1) {
            (void)gm_add_acqrel(&gc->work, 1u); // pairs with gm_workers_main
            gm_os_wake(&gc->work, (int)n - 1);
        }
        gm_mark_work(&gc->marker[0]);
    } while (!gm_load_rlx(&mark->halt) && (uint32_t)gm_load_rlx(&mark->queue)); // who left spilled
    return !gm_load_rlx(&mark->halt);
}

// Hook of writes: forks may come here. In no section.
GM_PRIVATE void gm_workers_pause(void *arg) {
    struct gm_runtime *rt = arg;
    uint32_t passed = gm_load_acq(&rt->gc.passed); // pairs with gm_world_take_turn
    if (!gm_load_rlx(&rt->gc.forks)) return;       // advice
    gm_sync_unlock(&rt->gc.turn);
    gm_world_end_pause(rt, passed);
}

// Marks beside the program, and beside forks, until nothing is grey (E5).
GM_PRIVATE void gm_workers_mark_beside(struct gm_runtime *rt, unsigned n) {
    uint32_t passed = gm_load_acq(&rt->gc.passed); // pairs with gm_world_take_turn
    gm_sync_unlock(&rt->gc.turn);
    (void)gm_workers_mark_with(rt, n, 0);
    gm_world_end_pause(rt, passed);
}

// Marks everything from the listed roots; returns the bytes marked.
GM_PRIVATE size_t gm_workers_mark_stopped(struct gm_runtime *rt, bool alone) {
    struct gm_gc *gc = &rt->gc;
    struct gm_mark *mark = &rt->engine.mark;
    gm_workers_color_stopped(rt);
    if (!alone) {
        (void)gm_workers_mark_with(rt, gc->thread_count + 1, 0);
    } else {
        gm_mark_begin(&gc->marker[0], mark, true);
        gm_mark_work(&gc->marker[0]);
    }
    gm_workers_each_run_stopped(rt, gm_workers_hold_run);
    return (size_t)gm_load_rlx(&mark->bytes);
}
#endif // GOMEM_I_COLLECTOR

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>oracle   a second, serial mark, compared bit by bit with the first            floor 4
 * ==========================================================================================
 * OWNS        nothing that lasts
 * CALLS       base os span heap guard mark writes roots paths workers
 * LOCKS       none; the world stands
 * WHY         A marker that missed an object frees memory that is in use, and the program crashes
 *             later and elsewhere. At check level 3 each cycle is marked twice: what the second
 *             mark reaches and the first did not is named, with the path that leads to it.
 */
struct gm_oracle {
    struct gm_runtime *rt; //
    uint64_t *saved;       // mark words, in the order of the walk
    size_t words;          //
    uintptr_t wrong;       // first difference, 0: none
    uintptr_t child;       // white, and `wrong` points at it; 0: not known
};

GM_PRIVATE bool gm_oracle_count(struct gm_span *s, void *arg) {
    struct gm_oracle *o = arg;
    if (GM_IN(GM_SET_COLLECTED, s->kind)) o->words += gm_span_groups(s);
    return true;
}

GM_PRIVATE bool gm_oracle_save(struct gm_span *s, void *arg) {
    struct gm_oracle *o = arg;
    struct gm_color *c = gm_span_colors(&o->rt->engine.heap.pages, s->page);
    if (!GM_IN(GM_SET_COLLECTED, s->kind)) return true;
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        o->saved[o->words++] = c[i].mark;
        c[i].mark = 0;
    }
    return true;
}

GM_PRIVATE bool gm_oracle_compare(struct gm_span *s, void *arg) {
    struct gm_oracle *o = arg;
    const struct gm_color *c = gm_span_colors(&o->rt->engine.heap.pages, s->page);
    if (!GM_IN(GM_SET_COLLECTED, s->kind)) return true;
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        uint64_t differs = c[i].mark & ~o->saved[o->words++]; // reached, but not by the first
        if (!differs) continue;
        o->wrong = gm_span_object(&o->rt->engine.heap.pages, s, i, gm_base_ctz(differs));
        return false;
    }
    return true;
}

// Swaps the saved marks with the present ones.
GM_PRIVATE bool gm_oracle_swap(struct gm_span *s, void *arg) {
    struct gm_oracle *o = arg;
    struct gm_color *c = gm_span_colors(&o->rt->engine.heap.pages, s->page);
    if (!GM_IN(GM_SET_COLLECTED, s->kind)) return true;
    for (unsigned i = 0; i < gm_span_groups(s); i++) {
        uint64_t *saved = &o->saved[o->words++], mark = c[i].mark;
        c[i].mark = *saved;
        *saved = mark;
    }
    return true;
}

// Looks for white children of marked objects.
GM_NO_SANITIZE GM_PRIVATE bool gm_oracle_closed(struct gm_span *s, void *arg) {
    struct gm_oracle *o = arg;
    struct gomem_marker *m = &o->rt->gc.marker[0];
    const struct gm_color *c = gm_span_colors(&o->rt->engine.heap.pages, s->page);
    size_t size = gm_span_slot_size(s);
    if (!GM_IN(GM_SET_COLLECTED, s->kind) || s->kind == GM_NOSCAN) return true;
    for (unsigned i = 0; i < gm_span_groups(s); i++)
        for (uint64_t marks = c[i].mark; marks; marks &= marks - 1) {
            uintptr_t object = gm_span_object(&o->rt->engine.heap.pages, s, i, gm_base_ctz(marks));
            if (s->kind == GM_TYPED) gm_mark_typed(m, s, object, size);
            else gm_mark_words(m, object, size, true);
            bool fine = !m->view.top && !m->view.bytes;
            o->child = m->view.top ? m->view.stack[0] : 0;
            m->view.top = 0;
            if (fine) continue;
            o->wrong = object;
            return false;
        }
    return true;
}

// Something was found by the second mark only. Words that a thread in a blocking region wrote
// meanwhile may be why; a marked object with a white child is not to be explained away.
GM_PRIVATE void gm_oracle_judge(struct gm_oracle *o) {
    struct gm_runtime *rt = o->rt;
    o->wrong = 0;
    o->words = 0;
    gm_heap_walk(&rt->engine.heap, gm_oracle_swap, o);
    gm_mark_begin(&rt->gc.marker[0], &rt->engine.mark, true);
    gm_heap_walk(&rt->engine.heap, gm_oracle_closed, o);
    struct gm_span *s; // large objects that it shaded
    while ((s = gm_mark_pop(&rt->engine.mark)) != NULL)
        for (size_t i = 0; i * 64 * GM_PIECE < s->size; i++)
            gm_span_colors(&rt->engine.heap.pages, s->page)[i].grey = 0;
    o->words = 0;
    gm_heap_walk(&rt->engine.heap, gm_oracle_swap, o); // the second marks, which are whole, stay
}

// False: the marks were not what a serial mark finds.
GM_PRIVATE bool gm_oracle_stopped(struct gm_runtime *rt) {
    struct gm_oracle o = {rt, NULL, 0, 0, 0};
    gm_heap_walk(&rt->engine.heap, gm_oracle_count, &o);
    size_t size = gm_base_round_up(o.words * 8 + 1, rt->engine.heap.pages.os_page);
    o.saved = gm_os_reserve(size, 0);
    if (!o.saved) return true; // no room to compare
    if (gm_os_protect((uintptr_t)o.saved, (uintptr_t)o.saved + size, PROT_READ | PROT_WRITE)) {
        o.words = 0;
        gm_heap_walk(&rt->engine.heap, gm_oracle_save, &o);
        gm_writes_forget_roots(&rt->engine.writes); // all of them
        (void)gm_roots_list_stopped(rt);
        (void)gm_workers_mark_stopped(rt, true);
        o.words = 0;
        gm_heap_walk(&rt->engine.heap, gm_oracle_compare, &o);
        if (o.wrong) gm_oracle_judge(&o);
        o.words = 0; // what floats since it was allocated while marking floats on
        if (!o.wrong) gm_heap_walk(&rt->engine.heap, gm_oracle_swap, &o);
    }
    gm_os_release(o.saved, size);
    if (!o.wrong) return true;
    gm_paths_missed_stopped(rt, o.child ? o.child : o.wrong);
    gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_CORRUPT,
                    (const void *)o.wrong);
    return false;
}
#endif // GOMEM_I_COLLECTOR

/* ==========================================================================================
 * >>gc   the cycle, its stops, its report, verification of the heap               floor 4
 * ==========================================================================================
 * OWNS        struct gm_gc: the cycle under way, its phase, what was told
 * CALLS       base os stats sizes pages span heap central types special guard pacer mark writes
 *             sweep cache world roots finalize paths workers oracle
 * LOCKS       GC, then TURN, then WORLD (a stop); TURN is let go for forks; inside a stop HEAP and
 *             CENTRAL are free
 * INVARIANTS  E1  marking begins when all spans are swept and all mark and grey bits are 0
 *             E2  held slots become black when marking ends (R1), so sweeping keeps them; whatever
 *                 else is new is white: it lives if it is reached
 *             E3  nothing irreversible happens before the roots are listed: until then a stop can
 *                 be given up
 *             E4  a cycle that cannot go on (a thread does not stop, roots are not known) keeps its
 *                 marks and the roots that are still to be read, and its runner lets go of the
 *                 locks; the next runner goes on with it
 *             E5  a runner lets TURN go while it marks beside the program: a fork may come
 *                 there. Markers write marks, grey bits, the queue and what is their own. The
 *                 parent marks on: fork changes none of it, and a page that is armed, or written,
 *                 stays so for the parent. The child drops the cycle: it marks no more, and its
 *                 next stop clears all that the markers wrote, whatever it was
 *             E6  a runner waits for the loader's lock with GC held, but without TURN. So no thread
 *                 waits for GC, or for the end of a cycle, for ever: one that calls us in a
 *                 callback of dl_iterate_phdr has the other lock, and goes on without a cycle if
 *                 the runner sleeps in its look at the list. It may fork; another thread's fork
 *                 waits while the runner has the loader's lock, which the child would find held
 *             C1  arming ends before the start stop: what is written from there on is known
 *             C2  markers set the mark before they read the object, and rest before the written
 *                 pages are asked for: a page that was read before its last write is read again
 *             C3  the finish stop reads all roots, all stacks, and all pages written since the last
 *                 round; the cycle ends only in a stop that left nothing grey
 *             C4  from the start stop to the flip nothing shrinks (R5): no slot, span or page that
 *                 the cycle may have marked gets another meaning
 * WHY         No stop sweeps but what threads own. Why a round misses nothing:
 *
 *               program      x.f = q        writes the page of x      p = NULL
 *               marker       marks x, then reads x.f                  rests
 *               collector    arms                 asks: is x's page written?
 *
 *             Either the marker read q in x.f, or the write came later: then the page counts as
 *             written, and x is read again before the cycle ends (C2, C3). tests/model proves this
 *             for an order that is sequential; stress/litmus runs it on real processors.
 */
#if GOMEM_I_COLLECTOR
enum { GM_REASON_TRIGGER, GM_REASON_FORCED, GM_REASON_EMERGENCY, GM_REASON_CLOCK };
enum {
    GM_PHASE_OFF,  // no cycle is under way
    GM_PHASE_MARK, // from the start stop on
    GM_PHASE_FLIP  // all is marked and decided; a stop is missing, which makes the marked the live
};

struct gm_cycle {           // what one cycle did
    uint64_t begin, end;    // monotonic ns
    uint64_t stop, stopped; // ns: the stop that goes on was asked for, all stood
    uint64_t first, last;   // ns that its parts took: until marking began, from when it ended
    uint64_t between;       // ns of marking
    uint64_t paused;        // ns of its stops
    uint64_t started;       // ns: when marking began
    uint64_t resumed;       // ns: the end of the latest stop
    uint64_t gathered;      // ns: the longest time until all stood
    size_t asked;           // bytes of heap as it became due: what it took is counted from there
    size_t goal;            // of the heap, as it began
    size_t heavy;           // gc.heavy as it began
    size_t before;          // bytes of heap as it began
    size_t after, heap;     // bytes that it marked, of heap as it ended
    size_t kept;            // bytes of them that only wait for a callback
    unsigned workers;       // that marked
    unsigned rounds, tries; // of written pages; finish stops
    size_t pages;           // reported written by the last round and the finish stop
    int collector;          // GOMEM_GC_…
    bool matches;           // the oracle found no other marks
    const char *broken;     // what verify found, NULL: nothing
    uintptr_t where;        // and where
    struct gm_lost lost;    // what only manual memory holds
    struct gm_dead dead;    // what points into frames that have returned
};

// ---- the cycle ----

GM_RARE GM_PRIVATE bool gm_gc_clear_marks(struct gm_span *s, void *arg) {
    struct gm_runtime *rt = arg;
    struct gm_color *c = gm_span_colors(&rt->engine.heap.pages, s->page);
    if (!GM_IN(GM_SET_COLORED, s->kind)) return true;
    size_t n = s->class ? gm_span_groups(s) : gm_span_piece_groups(s->pages);
    gm_store_rlx(&s->queued, 0u); // in a stop, all of them
    for (size_t i = 0; i < n; i++) {
        gm_store_rlx(&c[i].mark, (uint64_t)0);
        gm_store_rlx(&c[i].grey, (uint64_t)0);
    }
    return true;
}

// In a child that was forked while its parent marked: those marks mean nothing here (E5).
GM_PRIVATE void gm_gc_drop_marks_stopped(struct gm_runtime *rt) {
    if (GOMEM_I_LIKELY(!rt->gc.dropped)) return;
    rt->gc.dropped = false;
    gm_heap_walk(&rt->engine.heap, gm_gc_clear_marks, rt); // E1
}

// Everything is swept, segments are listed, threads are there, jobs have room.
GM_PRIVATE bool gm_gc_prepare(struct gm_runtime *rt) {
    struct gm_mark *mark = &rt->engine.mark;
    if (!gm_mark_init_marker(&rt->gc.marker[0], &rt->engine.meta)) return false;
    if (gm_load_rlx(&rt->engine.live) > GM_MIB)
        gm_workers_start(rt); // a small heap is marked sooner than they wake
    if (!mark->room || mark->full) {
        size_t room = GM_MAX(mark->room * 2, (size_t)4096);
        struct gm_job *jobs = gm_pages_meta(&rt->engine.meta, room * sizeof *jobs);
        if (!jobs) return false;
        gm_pages_meta_free(&rt->engine.meta, mark->jobs, mark->room * sizeof *jobs);
        mark->jobs = jobs;
        mark->room = room;
        mark->full = false;
    }
    return true;
}

// Stops the world; the cycle knows since when the program stands, and since when all of it.
GM_RARE GM_PRIVATE bool gm_gc_stop_world(struct gm_runtime *rt, struct gm_thread *me,
                                         struct gm_cycle *c) {
    if (!gm_world_stop(rt, me, rt->gc.patience)) return false;
    gm_gc_drop_marks_stopped(rt);
    c->stop = rt->world.stopped; // of the try that was not withdrawn. lock: world
    c->stopped = gm_os_now();
    return true;
}

// What a stop with the loader's lock held is about.
struct gm_locked_stop {
    struct gm_thread *me;   // runs the cycle
    struct gm_cycle *cycle; //
    bool stopped;           // the world stands
};

// The loader's lock is held: no object comes or goes before the world stands.
GM_PRIVATE int gm_gc_stop_locked(struct gm_loader_walk *walk, const struct gm_loaded *object,
                                 size_t size) {
    struct gm_locked_stop *stop = walk->arg;
    (void)object, (void)size;
    gm_roots_scan_loader_locked(walk->rt);
    stop->stopped = gm_gc_stop_world(walk->rt, stop->me, stop->cycle);
    return 1;
}

enum { GM_STOP_TRIES = 12, GM_STOP_FREELY = 8, GM_STOP_NAP = 100000 }; // ns, doubled

// One try to stop the world with all roots listed. GOMEM_REASON_NONE: it stands. (E3)
GM_PRIVATE unsigned gm_gc_try_stop(struct gm_runtime *rt, struct gm_thread *me,
                                   struct gm_cycle *cycle, bool locked) {
    struct gm_locked_stop stop = {me, cycle, false};
    struct gm_loader_walk walk = {.each = gm_gc_stop_locked, .arg = &stop};
    if (!gm_gc_prepare(rt)) return GOMEM_REASON_MEMORY;
    if (locked) {
        gm_roots_walk(rt, &walk);
    } else {
        gm_roots_scan_loader(rt);
        stop.stopped = gm_gc_stop_world(rt, me, cycle);
    }
    if (!stop.stopped) return GOMEM_REASON_THREAD;
    uint64_t objects = gm_roots_loader_hash(); // O3
    unsigned reason = GOMEM_REASON_NONE;
    if (!locked && (!objects || objects != rt->roots.objects)) reason = GOMEM_REASON_LOADER;
    else if (rt->roots.incomplete) reason = GOMEM_REASON_MEMORY;
    else if (!gm_roots_list_stopped(rt))
        reason = rt->engine.mark.full ? GOMEM_REASON_MEMORY : GOMEM_REASON_STACK;
    if (reason) gm_world_resume(rt);
    return reason;
}

// Stops the world with all roots listed; false: they cannot be known now (E3). What keeps them from
// being known may pass by itself; when it does not, the last tries do without.
GM_PRIVATE bool gm_gc_stop(struct gm_runtime *rt, struct gm_thread *me, struct gm_cycle *cycle) {
    struct gm_stats *s = &rt->engine.stats;
    unsigned reason = GOMEM_REASON_NONE;
    for (unsigned tries = 0; tries < GM_STOP_TRIES; tries++) {
        // musl holds no lock there
        bool locked = GM_LINKS_STAY && reason == GOMEM_REASON_LOADER && tries >= GM_STOP_FREELY &&
                      !rt->roots.lockless;
        reason = gm_gc_try_stop(rt, me, cycle, locked);
        if (!reason) return true;
        gm_store_rlx(&s->veto, (uint64_t)reason); // a statistic
        if (reason == GOMEM_REASON_THREAD) break;
        if (reason == GOMEM_REASON_STACK)
            gm_os_wait(&gm_sync_quiet, 0, (uint64_t)GM_STOP_NAP << GM_MIN(tries, 5u));
        else (void)sched_yield();
    }
    gm_store_rlx(&s->vetoed, s->vetoed + 1); // a statistic
    return false;
}

// No cycle marks any more.
GM_PRIVATE void gm_gc_end_marking_stopped(struct gm_runtime *rt) {
    gm_store_rlx(&rt->gc.phase, (uint32_t)GM_PHASE_OFF); // in a stop, as the others
    gm_store_rlx(&rt->engine.mark.active, 0u);
    gm_store_rlx(&rt->engine.mark.complete, 0u);
    gm_store_rlx(&gomem_i_barrier, 0u);
    gm_writes_forget_roots(&rt->engine.writes);
}

// The marked become the live ones: one counter turns all spans into "not yet swept".
GM_PRIVATE void gm_gc_flip_stopped(struct gm_runtime *rt, size_t live, size_t kept) {
    struct gm_engine *e = &rt->engine;
    for (struct gm_thread *t = rt->world.all; t; t = t->next)
        t->cache.charged = 0, t->cache.ahead = 0;
    gm_gc_end_marking_stopped(rt);
    gm_store_rlx(&e->sweep.generation, e->sweep.generation + 2); // in a stop
    gm_store_rlx(&e->live, live);
    size_t page = GM_SPAN_BYTES + GM_COLOR_BYTES + sizeof(uint32_t);
    gm_store_rlx(&e->pacer.other, gm_load_rlx(&e->heap.kept) * GM_PAGE + // heuristics
                                      gm_load_rlx(&e->heap.pages.used) * page);
    gm_store_rlx(&e->pacer.kept, kept); // in a stop
    gm_pacer_set(&e->pacer, live, rt->roots.stack_bytes + rt->roots.global_bytes);
}

GM_PRIVATE void gm_gc_count(struct gm_runtime *rt, const struct gm_cycle *c, int reason) {
    struct gm_stats *s = &rt->engine.stats;
    uint64_t i = s->cycles % GM_PAUSES;
    gm_store_rlx(&s->pause_ns[i], c->paused); // statistics: readers may see a cycle half counted
    gm_store_rlx(&s->pause_end[i], gm_os_clock(CLOCK_REALTIME));
    gm_store_rlx(&s->pause_total, s->pause_total + c->paused);
    gm_store_rlx(&s->last_end, s->pause_end[i]);
    gm_store_rlx(&s->gc_cpu_ns, s->gc_cpu_ns + c->first + c->between * c->workers + c->last);
    gm_store_rlx(&s->forced, s->forced + (reason == GM_REASON_FORCED));
    gm_store_rlx(&s->stacks, rt->roots.stack_bytes);
    gm_store_rlx(&s->globals, rt->roots.global_bytes);
    gm_store_rlx(&s->rounds, (uint64_t)c->rounds);
    gm_store_rlx(&s->dirty, (uint64_t)c->pages);
    gm_store_rlx(&s->cycles, s->cycles + 1);
    gm_store_rlx(&rt->gc.last, c->end);
}

GM_PRIVATE void gm_gc_event(struct gm_runtime *rt, int what, uint64_t ns) {
    const gomem_options *o = &rt->world.settings.options;
    void (*event)(int, uint64_t, void *) = gm_load_acq(&o->event); // pairs with gomem_init
    if (event) event(what, ns, gm_load_rlx(&o->user));
}

// The line about the reason for which writes are not tracked.
GM_PRIVATE struct gm_text gm_gc_tell_reason(const struct gm_runtime *rt) {
    return gm_text_message(GM_MSG_NO_TRACKING, ": %s",
                           gm_base_reason(gm_load_rlx(&rt->engine.writes.reason)));
}

#if !defined(GM_SLOW_STOP)
#define GM_SLOW_STOP \
    (uint64_t)10000000 // ns of a stop that is told once if tracking would have made it short
#endif

// Says once of each reason that cycles are given up for it, or what they do in spite of it. A
// thread that does not stop is named elsewhere.
GM_PRIVATE void gm_gc_warn_veto(struct gm_runtime *rt, bool done) {
    uint64_t reason = gm_load_rlx(&rt->engine.stats.veto); // changes under gc's lock
    bool unknown = done && rt->roots.unknown_stacks >= GM_UNKNOWN_STACKS;
    if (done ? !unknown : reason == GOMEM_REASON_THREAD || rt->gc.stuck < 2) return;
    if (rt->gc.told_vetoes >> reason & 1) return;
    rt->gc.told_vetoes |= 1u << reason;
    struct gm_text t = unknown ? gm_text_message(GM_MSG_UNKNOWN_STACK, ": thread %u runs at 0x%zx",
                                                 rt->roots.unknown_thread, rt->roots.unknown_sp)
                               : gm_text_message(GM_MSG_NO_CYCLE, ": %s", gm_base_reason(reason));
    gm_guard_warn(&rt->engine.guard, t.data);
}

// Where writes should be tracked and cannot be: with gctrace it is said before the first line of
// each process that it is so; else once, at every check level, as soon as a program notices: a heap
// that is not small was marked in a stop that took long.
GM_PRIVATE void gm_gc_warn_reason(struct gm_runtime *rt, const struct gm_cycle *c) {
    uint32_t reason = gm_load_rlx(&rt->engine.writes.reason); // changes under gc's lock
    if (rt->world.settings.gctrace && reason != rt->gc.traced_reason) {
        rt->gc.traced_reason = reason;
        if (reason) GOMEM_LOG(gm_gc_tell_reason(rt).data);
    }
    bool slow = c->paused >= GM_SLOW_STOP && c->before >= 2 * GM_MIB;
    if (!reason || !slow || rt->gc.told_reason) return;
    rt->gc.told_reason = true;
    struct gm_text t = gm_text_message(
        GM_MSG_SLOW_STOP,
        " for %s ms while its heap was marked, since writes cannot be tracked: %s",
        gm_text_milli(c->paused / 1000).data, gm_base_reason(reason));
    gm_guard_warn(&rt->engine.guard, t.data);
}

// Ends a stop of the cycle.
GM_PRIVATE void gm_gc_resume(struct gm_runtime *rt, struct gm_cycle *c) {
    struct gm_stats *s = &rt->engine.stats;
    gm_world_resume(rt);
    c->resumed = gm_os_now();
    c->paused += c->resumed - c->stop;
    gm_store_rlx(&s->stop_ns[s->stops % GM_PAUSES], c->resumed - c->stop); // statistics, as above
    gm_store_rlx(&s->gather_ns[s->stops % GM_PAUSES], c->stopped - c->stop);
    c->gathered = GM_MAX(c->gathered, c->stopped - c->stop);
    gm_store_rlx(&s->stops, s->stops + 1);
    gm_gc_event(rt, GOMEM_EVENT_STOPPED, c->stopped);
    gm_gc_event(rt, GOMEM_EVENT_RESUMED, c->resumed);
}

#if GOMEM_I_REPORT
GM_PRIVATE struct gm_decimal gm_gc_trace_ms(uint64_t ns) { return gm_text_milli(ns / 1000); }

GM_PRIVATE size_t gm_gc_trace_mb(uint64_t bytes) { return (size_t)((bytes + GM_MIB / 2) / GM_MIB); }

// One line in the shape of Go's gctrace; our own fields at the end.
GM_PRIVATE void gm_gc_trace(struct gm_runtime *rt, const struct gm_cycle *c, int reason,
                            size_t goal) {
    const struct gm_stats *s = &rt->engine.stats;
    uint64_t elapsed = c->end - s->start_ns, processors = gm_os_processors();
    struct gm_decimal first = gm_gc_trace_ms(c->first), last = gm_gc_trace_ms(c->last);
    struct gm_text t = gm_text_make(
        "gc %" PRIu64 " @%ss %" PRIu64 "%%: %s+%s+%s ms clock, %s+0/%s/0+%s ms cpu, ", s->cycles,
        gm_text_milli(elapsed / 1000000).data,
        elapsed ? s->gc_cpu_ns * 100 / (elapsed * processors) : 0, first.data,
        gm_gc_trace_ms(c->between).data, last.data, first.data,
        gm_gc_trace_ms(c->between * c->workers).data, last.data);
    gm_text_format(&t, "%zu->%zu->%zu MB, %zu MB goal, %zu MB stacks, %zu MB globals, %u P%s, ",
                   gm_gc_trace_mb(c->before), gm_gc_trace_mb(c->heap), gm_gc_trace_mb(c->after),
                   gm_gc_trace_mb(goal == SIZE_MAX ? 0 : goal), gm_gc_trace_mb(s->stacks),
                   gm_gc_trace_mb(s->globals), (unsigned)processors,
                   reason == GM_REASON_FORCED ? " (forced)" : "");
    gm_text_format(&t, "%s, %u rounds, %zu pages, %u %s, %s ms gathering",
                   gm_writes_name(c->collector), c->rounds, c->pages, c->tries,
                   c->tries == 1 ? "try" : "tries", gm_gc_trace_ms(c->gathered).data);
    GOMEM_LOG(t.data);
}
#else
GM_INLINE void gm_gc_trace(struct gm_runtime *rt, const struct gm_cycle *c, int reason,
                           size_t goal) {
    (void)rt, (void)c, (void)reason, (void)goal; // left out
}
#endif

#endif // GOMEM_I_COLLECTOR

// ---- verification ----

struct gm_verify {
    struct gm_runtime *rt; //
    struct gm_check check; //
};

#if GOMEM_I_COLLECTOR
GM_PRIVATE void gm_gc_verify_colors(struct gm_verify *v, const struct gm_span *s) {
    const struct gm_engine *e = &v->rt->engine;
    gm_sweep_verify(&v->check, &e->sweep, s, gm_load_rlx(&e->mark.active)); // E4
}

// What only a collected heap has. With `stopped` no thread runs.
GM_PRIVATE void gm_gc_verify_collected(struct gm_verify *v, bool stopped) {
    const struct gm_engine *e = &v->rt->engine;
    for (struct gm_thread *t = v->rt->world.all; stopped && t; t = t->next)
        gm_cache_verify_runs(&v->check, &t->cache);
    gm_types_verify(&v->check, &e->types);
    gm_sweep_verify_records(&v->check, &e->sweep, &e->special);
}
#else
GM_INLINE void gm_gc_verify_colors(struct gm_verify *v, const struct gm_span *s) {
    (void)v, (void)s; // all spans are manual
}
GM_INLINE void gm_gc_verify_collected(struct gm_verify *v, bool stopped) { (void)v, (void)stopped; }
#endif

// Verifies one span. (Called by gm_heap_walk.)
GM_RARE GM_PRIVATE bool gm_gc_verify_span(struct gm_span *s, void *arg) {
    struct gm_verify *v = arg;
    if (!gm_span_verify(&v->check, s)) return false;
    if (s->kind == GM_MANUAL) gm_cache_verify_span(&v->check, s);
    else gm_gc_verify_colors(v, s);
    return !v->check.broken;
}

// What is broken, or NULL. No thread is in a section; with `stopped` no thread runs at all.
GM_PRIVATE const char *gm_gc_verify_stopped(struct gm_runtime *rt, bool stopped, uintptr_t *where) {
    struct gm_engine *e = &rt->engine;
    struct gm_verify v = {rt, {&e->heap.pages, gm_pages_verify_locked(&e->heap.pages), 0}};
    struct gm_check *check = &v.check;
    if (!check->broken) gm_heap_walk(&e->heap, gm_gc_verify_span, &v);
    for (struct gm_thread *t = rt->world.all; stopped && t && !check->broken; t = t->next)
        gm_cache_verify(check, &t->cache);
    for (unsigned k = 0; k < GM_KINDS; k++)
        for (unsigned c = 0; c <= GOMEM_CLASSES; c++)
            for (unsigned l = 0; l < GM_LISTS; l++)
                gm_central_verify_list(check, &e->central[k][c], l);
    gm_gc_verify_collected(&v, stopped);
    *where = check->where;
    return check->broken;
}

GM_COLD GM_PRIVATE void gm_gc_report_broken(struct gm_runtime *rt, const char *broken,
                                            uintptr_t where) {
    struct gm_text t = gm_text_message(GM_MSG_CORRUPT, ": %s%s%s", broken, where ? ": " : "",
                                       where ? gm_guard_describe(&rt->engine.heap.pages, where).data
                                             : "");
    gm_guard_warn(&rt->engine.guard, t.data);
}

#if GOMEM_I_COLLECTOR
// The marks are complete and the world stands: they are checked, and become the live objects.
GM_PRIVATE void gm_gc_end_stopped(struct gm_runtime *rt, struct gm_cycle *c) {
    struct gm_pacer *p = &rt->engine.pacer;
    uint64_t marked = gm_os_now(), since = gm_load_rlx(&rt->gc.last); // monotonic
    size_t live = gm_load_rlx(&rt->engine.live), old = gm_load_rlx(&p->live);
    size_t growth = gm_pacer_growth(live > old ? live - old : 0, marked - since, marked - c->begin);
    gm_store_rlx(&p->least, growth); // heuristics
    gm_paths_lost_stopped(rt, &c->lost);
    gm_paths_frames_stopped(rt, &c->dead);
    c->after += gm_roots_retire_stopped(rt) * GM_STACK_COST; // O8
    c->after += gm_special_bytes_stopped(&rt->engine.special, &c->kept);
    gm_gc_flip_stopped(rt, c->after, c->kept);
    if (GOMEM_I_CHECK >= 3 || rt->world.settings.verify)
        c->broken = gm_gc_verify_stopped(rt, true, &c->where);
    c->heap = c->before + (c->after > c->before ? c->after - c->before : 0);
    gm_gc_resume(rt, c);
    c->last += c->resumed - marked;
    c->end = c->resumed;
}

// A whole cycle in one stop. False: the roots cannot be known now.
GM_PRIVATE bool gm_gc_run_stopped(struct gm_runtime *rt, struct gm_thread *me, struct gm_cycle *c) {
    c->collector = GOMEM_GC_STW;
    if (!gm_gc_stop(rt, me, c)) return false;
    c->workers = c->before > GM_MIB ? rt->gc.thread_count + 1 : 1;
    c->first = c->stopped - c->stop;
    c->after = gm_workers_mark_stopped(rt, c->workers == 1);
    c->between = gm_os_now() - c->stopped;
    c->tries = 1;
    if (GOMEM_I_CHECK >= 3) c->matches = gm_oracle_stopped(rt);
    c->after += gm_finalize_decide(rt, true, &c->kept);
    gm_gc_end_stopped(rt, c);
    return true;
}

// ---- the concurrent cycle ----

enum {
    GM_ROUNDS = 32,           // of written pages, before the first finish stop
    GM_ROUNDS_AGAIN = 8,      // after one that took too long
    GM_ROUND_PAGES = 64,      // that were written: few enough for a stop
    GM_CLOSING_PAGES = 16384, // with which allocation begins to wait for the cycle
    GM_TRIES = 5,             // finish stops with a budget
    GM_BUDGET_NS = 500000,    // of the first finish stop; doubled for each further one
    GM_BUDGET_MOST = 4000000  // ns
};

// From here on nothing shrinks, and marking may begin. (C1: pages are armed before.)
GM_PRIVATE bool gm_gc_begin_marking(struct gm_runtime *rt, struct gm_thread *me,
                                    struct gm_cycle *c) {
    bool barrier = c->collector == GOMEM_GC_BARRIER, reads = gm_os_can_read();
    if (reads) gm_roots_arm(rt); // C1
    rt->roots.running = !barrier;
    bool done = gm_gc_stop(rt, me, c);
    rt->roots.running = false;
    if (!done) {
        gm_writes_forget_roots(&rt->engine.writes);
        return false;
    }
    gm_workers_color_stopped(rt);
    gm_store_rlx(&rt->gc.phase, (uint32_t)GM_PHASE_MARK); // in a stop
    gm_store_rlx(&rt->engine.mark.active, 1u);            // in a stop
    if (barrier) gm_store_rlx(&gomem_i_barrier, 1u);
    if (barrier || !reads) gm_mark_begin(&rt->gc.marker[0], &rt->engine.mark, false);
    if (!reads) gm_mark_all_roots(&rt->gc.marker[0]);
    // what a thread is about to store is on its stack
    else if (barrier) gm_mark_stacks(&rt->gc.marker[0]);
    c->workers = GM_MIN(GM_MAX(gm_os_processors() / 4, 1u), rt->gc.thread_count + 1);
    gm_gc_resume(rt, c);
    c->first = c->resumed - c->stop;
    c->started = c->resumed;
    return true;
}

// How often the wait of an allocation is doubled: once for each finish stop that was given up,
// since there the program wrote pages faster than they were read.
GM_PRIVATE uint32_t gm_gc_patience(const struct gm_cycle *c) {
    return GM_MIN(c->tries, (unsigned)GM_TRIES);
}

// Reads pages that were written while marking, until few are left that were. False: give up.
GM_PRIVATE bool gm_gc_rounds(struct gm_runtime *rt, struct gm_cycle *c, unsigned most) {
    struct gm_engine *e = &rt->engine;
    size_t before = SIZE_MAX;
    for (unsigned i = 0; i < most; i++) {
        if (gm_workers_quits(rt)) return false;
        c->pages = gm_writes_collect(&e->writes, &e->mark);
        c->pages += gm_writes_collect_roots(&e->writes, &e->mark);
        c->rounds++;
        gm_workers_mark_beside(rt, c->workers);
        if (c->pages <= GM_ROUND_PAGES || c->pages > before / 8 * 7)
            break; // it does not get better
        if (c->pages <= GM_CLOSING_PAGES || c->tries)
            gm_store_rlx(&rt->gc.closing, 1 + gm_gc_patience(c)); // advice
        before = c->pages;
    }
    return true;
}

// Scanned kinds came to lie in the other zone, where nobody tracks writes.
GM_PRIVATE void gm_gc_regrey_noscan_zone(struct gm_runtime *rt) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    uintptr_t end = gm_pages_address(p, p->zone[1].origin);
    gm_mark_regrey(&rt->engine.mark, end - (uintptr_t)gm_load_rlx(&p->zone[1].mapped) * GM_PAGE,
                   end);
}

// How long a finish stop may take, in ns, beyond what looking for written pages costs.
GM_PRIVATE uint64_t gm_gc_budget(unsigned tries) {
    return GM_MIN((uint64_t)GM_BUDGET_NS << tries, (uint64_t)GM_BUDGET_MOST);
}

// The finish stop: what was written last, all roots, and what they lead to. False: over its budget;
// the world runs again and nothing is lost, since nothing was armed again (W4).
GM_PRIVATE bool gm_gc_finish(struct gm_runtime *rt, struct gm_thread *me, struct gm_cycle *c,
                             bool *known) {
    struct gm_engine *e = &rt->engine;
    rt->roots.again = true;
    *known = gm_gc_stop(rt, me, c);
    rt->roots.again = false;
    if (!*known) { // E4: the jobs of rounds are done, and these are not to be read
        gm_store_rlx(&e->mark.next_job, (uint32_t)e->mark.njobs);
        return false;
    }
    bool patient = c->tries < GM_TRIES && !gm_workers_quits(rt);
    gm_workers_ask_roots_stopped(rt);
    unsigned n = rt->gc.thread_count + 1;
    uint64_t cost = gm_writes_cost(&e->writes, &e->mark, n);
    // from now on: who tries again gathers and lists as long
    uint64_t deadline = patient ? gm_os_now() + gm_gc_budget(c->tries) + cost : 0;
    c->tries++;
    gm_store_rlx(&e->mark.next_job, 0u);
    if (gm_load_rlx(&e->heap.mixed)) gm_gc_regrey_noscan_zone(rt); // W2: since this cycle began
    gm_writes_list_stopped(&e->writes, &e->mark);
    bool done = gm_workers_mark_with(rt, n, deadline);
    c->pages = (size_t)gm_load_rlx(&e->mark.pages_written);
    if (done) {
        gm_workers_each_run_stopped(rt, gm_workers_hold_run);
        return true;
    }
    gm_store_rlx(&e->mark.next_job, (uint32_t)e->mark.njobs); // listed again by the next try
    gm_gc_resume(rt, c);
    return false;
}

// The marks are complete: the program goes on while it is decided what becomes of white objects
// that have records; nobody can reach them any more, but by weak pointers, which see their marks.
GM_PRIVATE void gm_gc_decide(struct gm_runtime *rt, struct gm_cycle *c) {
    gm_store_rlx(&rt->engine.mark.complete, 1u); // in a stop
    gm_store_rlx(&gomem_i_barrier, 0u);
    gm_store_rlx(&rt->gc.phase, (uint32_t)GM_PHASE_FLIP); // in a stop
    c->heap = gm_load_rlx(&rt->engine.live);
    gm_gc_resume(rt, c);
    c->after += gm_finalize_decide(rt, false, &c->kept);
}

// Marks to the end, beside the program. True: in a finish stop that left nothing grey. False: the
// cycle cannot go on now; what is marked stays so, and marking goes on here. (E4)
GM_PRIVATE bool gm_gc_mark(struct gm_runtime *rt, struct gm_thread *me, struct gm_cycle *c) {
    bool known = true;
    unsigned rounds = c->rounds ? GM_ROUNDS_AGAIN : GM_ROUNDS;
    gm_workers_mark_beside(rt, c->workers);
    bool done = gm_gc_rounds(rt, c, rounds);
    while (done && !gm_gc_finish(rt, me, c, &known))
        done = known && gm_gc_rounds(rt, c, GM_ROUNDS_AGAIN);
    gm_store_rlx(&rt->gc.closing, 0u); // advice
    return done;
}

// The cycle: arm, start stop, mark, rounds, finish stop, decide, flip. False: it cannot go on now,
// and the next call goes on where this one stood. (E4)
GM_PRIVATE bool gm_gc_run_concurrent(struct gm_runtime *rt, struct gm_thread *me,
                                     struct gm_cycle *c) {
    struct gm_engine *e = &rt->engine;
    struct gm_gc *gc = &rt->gc;
    if (gc->phase == GM_PHASE_OFF) {
        c->collector = e->writes.collector;
        bool armed = !gm_load_rlx(&e->heap.mixed) && // W2
                     gm_writes_arm(&e->writes, &e->heap.pages, gm_workers_pause, rt);
        if (!armed) return gm_gc_run_stopped(rt, me, c);
        if (!gm_gc_begin_marking(rt, me, c)) return false;
    }
    if (gc->phase == GM_PHASE_MARK) {
        if (!gm_gc_mark(rt, me, c)) return false;
        size_t now = gm_load_rlx(&e->live), more = now > c->asked ? now - c->asked : 0;
        c->between = c->stop - c->started;
        c->last = gm_os_now() - c->stop;
        c->after = (size_t)gm_load_rlx(&e->mark.bytes);
        c->heap = now;
        size_t heavy = GM_MIN(gm_load_rlx(&gc->heavy) - c->heavy, more);
        gm_pacer_learn(&e->pacer, more - heavy, heavy, c->after);
        if (GOMEM_I_CHECK >= 3) c->matches = gm_oracle_stopped(rt);
        if (gm_load_rlx(&e->special.used)) gm_gc_decide(rt, c);
    }
    if (gc->phase == GM_PHASE_FLIP) {
        if (!gm_gc_stop_world(rt, me, c)) return false;
        size_t now = gm_load_rlx(&e->live);
        c->after += now > c->heap ? now - c->heap : 0; // black
    }
    size_t heap = c->heap;
    gm_gc_end_stopped(rt, c);
    gm_workers_put_empty_roots(rt);
    c->heap = heap;
    return true;
}

// Unless told which collector to be, one stop is best for a heap that is marked sooner than two
// stops and arming would take: 6 ns an object, so 0.4 ms at most for the MiB of 16 B objects that
// lived last, and no page is armed, so no write faults (bench/new: 64 B 5.5 -> 3.5 ns).
#if !defined(GM_SMALL_HEAP)
#define GM_SMALL_HEAP (GOMEM_I_CHECK || GM_TSAN || GM_ASAN ? 0 : 2 * GM_MIB) // tests want rounds
#endif
GM_PRIVATE bool gm_gc_is_small(const struct gm_runtime *rt) {
    const struct gm_engine *e = &rt->engine;
    size_t most = GM_SMALL_HEAP;
    return gm_load_rlx(&e->writes.collector) == GOMEM_GC_TRACKED &&               // chosen once
           gm_load_rlx(&rt->world.settings.options.collector) == GOMEM_GC_AUTO && // a setting
           gm_load_rlx(&e->live) + gm_load_rlx(&e->pacer.roots) < most && // heuristic counters
           gm_load_rlx(&e->pacer.live) <= most / 2;
}

// Begins a cycle: all spans are swept.
GM_PRIVATE void gm_gc_begin(struct gm_runtime *rt, struct gm_cycle *c, int reason) {
    struct gm_engine *e = &rt->engine;
    memset(c, 0, sizeof *c);
    c->begin = gm_os_now();
    c->matches = true;
    c->workers = 1;
    c->goal = gm_load_rlx(&e->pacer.goal);
    c->heavy = gm_load_rlx(&rt->gc.heavy);
    c->asked = gm_load_rlx(&e->live);
    if (reason == GM_REASON_TRIGGER) c->asked = GM_MIN(c->asked, gm_load_rlx(&e->pacer.trigger));
    gm_gc_event(rt, GOMEM_EVENT_BEGIN, c->begin);
    gm_workers_each_central(rt, gm_workers_sweep_central); // E1
    c->before = gm_load_rlx(&e->live);
}

// ---- threads that are not attached ----

// Is a thread known to the collector, or its own?
GM_PRIVATE bool gm_gc_knows(const struct gm_runtime *rt, uint32_t id) {
    // pairs with gm_world_record_locked: records are complete
    for (const struct gm_thread *t = gm_load_acq(&rt->world.all); t; t = t->next)
        if (gm_load_rlx(&t->id) == id && gm_load_rlx(&t->state) != GM_THREAD_NONE)
            return true; // an old record can only hide one
    for (unsigned i = 0; i < GM_WORKERS; i++)
        if (gm_load_rlx(&rt->gc.marker[i].id) == id) return true; // written once
    return false;
}

// Have the library's own threads all said who they are?
GM_PRIVATE bool gm_gc_all_run(const struct gm_runtime *rt) {
    for (uint32_t i = 1; i <= rt->gc.thread_count; i++)
        if (!gm_load_rlx(&rt->gc.marker[i].id)) return false; // written once, by its thread
    // pairs with gm_world_record_locked: records are complete
    for (const struct gm_thread *t = gm_load_acq(&rt->world.all); t; t = t->next)
        if (gm_load_rlx(&t->own) && gm_load_rlx(&t->state) != GM_THREAD_NONE) return true;
    return !gm_load_rlx(&rt->gc.background) || gm_load_rlx(&rt->gc.no_record); // a heuristic
}

// A thread that sleeps has run, and could have attached; one that is ready perhaps waits for its
// first turn on a processor.
enum { GM_UNATTACHED_NS = 5000000, GM_UNATTACHED_READY_NS = 200000000 };

// Names a thread that was met `age` ns ago; false: not yet, or it has ended.
GM_COLD GM_PRIVATE bool gm_gc_report_unattached(const struct gm_runtime *rt, uint32_t id,
                                                uint64_t age) {
    struct gm_task task;
    if (!gm_os_read_task(id, 1, &task)) return false;
    if (task.state == 'R' && age < GM_UNATTACHED_READY_NS) return false;
    struct gm_text t = gm_text_message(GM_MSG_UNATTACHED, ": %u (%s); its stack is not scanned", id,
                                       task.name);
    gm_guard_warn(&rt->engine.guard, t.data);
    return true;
}

// A thread is met. One that is not attached is named once, when it is seen in two looks in a row.
GM_PRIVATE void gm_gc_check_attached(uint32_t id, void *arg) {
    struct gm_runtime *rt = arg;
    struct gm_gc *gc = &rt->gc;
    struct gm_unattached *free = NULL;
    if (gm_gc_knows(rt, id)) return;
    for (unsigned i = 0; i < GM_UNATTACHED; i++) {
        struct gm_unattached *s = &gc->unattached[i];
        if (!s->id || s->seen + 1 < gc->looks) {
            free = s;
        } else if (s->id == id) {
            uint64_t age = gm_os_now() - s->since;
            s->seen = gc->looks;
            if (!s->told && age >= GM_UNATTACHED_NS) s->told = gm_gc_report_unattached(rt, id, age);
            return;
        }
    }
    if (free) *free = (struct gm_unattached){id, gc->looks, gm_os_now(), false};
}

// At check level 1 a cycle looks for threads that it could not scan. ThreadSanitizer has one.
GM_PRIVATE void gm_gc_find_unattached(struct gm_runtime *rt) {
    if (!GOMEM_I_CHECK || GM_TSAN) return;
    if (gm_world_starts(rt) || !gm_gc_all_run(rt)) return; // what has not begun has no record yet
    rt->gc.looks++;
    (void)gm_os_each_task(gm_gc_check_attached, rt);
}

// The cycle has ended: it is counted and told.
GM_PRIVATE void gm_gc_end(struct gm_runtime *rt, const struct gm_cycle *c, int reason) {
    struct gm_engine *e = &rt->engine;
    gm_gc_count(rt, c, reason);
    gm_paths_lost_tell(rt, &c->lost);
    gm_paths_frames_tell(rt, &c->dead);
    gm_gc_find_unattached(rt);
    if (c->broken) gm_gc_report_broken(rt, c->broken, c->where);
    if (c->broken || !c->matches)
        gm_guard_misuse(&e->guard, &e->heap.pages, GM_MSG_CORRUPT, (const void *)c->where);
    gm_gc_warn_veto(rt, true);
    gm_gc_warn_reason(rt, c);
    if (rt->world.settings.gctrace) gm_gc_trace(rt, c, reason, c->goal);
    gm_gc_event(rt, GOMEM_EVENT_END, gm_os_now());
}

// Runs one cycle, or what is left of the one that is under way. The calling thread is attached, in
// no section, holds no lock but gc's, and has spilled its registers. False: it cannot go on now.
GM_NOINLINE GM_PRIVATE bool gm_gc_run(struct gm_runtime *rt, struct gm_thread *me, int reason) {
    struct gm_engine *e = &rt->engine;
    struct gm_gc *gc = &rt->gc;
    struct gm_cycle *c = gc->cycle;
    bool anew = gc->phase == GM_PHASE_OFF;
    if (anew) gm_gc_begin(rt, c, reason);
    else if (reason == GM_REASON_EMERGENCY) c->tries = GM_TRIES; // the next finish stop is the last
    bool stopped = anew && (e->writes.collector == GOMEM_GC_STW || reason == GM_REASON_EMERGENCY ||
                            gm_gc_is_small(rt));
    bool done = stopped ? gm_gc_run_stopped(rt, me, c) : gm_gc_run_concurrent(rt, me, c);
    if (done) gm_gc_end(rt, c, reason);
    else gm_gc_warn_veto(rt, false);
    return done;
}

GM_PRIVATE void gm_gc_wake_background(struct gm_runtime *rt) {
    (void)gm_add_acqrel(&rt->gc.kick, 1u); // pairs with gm_schedule_main: why it was woken
    gm_os_wake(&rt->gc.kick, 1);
}
#else
GM_INLINE void gm_gc_drop_marks_stopped(struct gm_runtime *rt) { (void)rt; }
#endif // GOMEM_I_COLLECTOR

/* ==========================================================================================
 * >>schedule   when a cycle runs: the background thread, assists, waiting         floor 4
 * ==========================================================================================
 * OWNS        the background thread of struct gm_gc, asked, holds, not_before
 * CALLS       base os sync pages heap guard pacer mark writes sweep world roots finalize
 *             workers gc
 * LOCKS       GC, then TURN, to run a cycle
 * INVARIANTS  E7  a large object that would carry the heap past the hard goal (the goal, where the
 *                 thread itself collects) waits until a cycle has ended that began after it was
 *                 asked for, unless too little was allocated since the last one. One of an eighth
 *                 of what lives waits for any cycle that runs, which would mark it, and with it the
 *                 one that it takes the place of. The bytes of one that fits are counted before it
 *                 is taken, so that several threads do not all fit
 * WHY         An allocation that finds the heap over its trigger asks the background thread for a
 *             cycle and goes on. Past the goal the thread marks along, the longer the further (A4).
 *             20 us a run at once made turns of a server take 9 ms instead of 2. Where few written
 *             pages are left a thread marks for 20 us: else rounds beside a program at full speed
 *             stay at thousands of pages (2^24 nodes: stops of a cycle p99 8.8 -> 1.3 ms). After
 *             each finish stop that was given up it marks twice as long, or the last one reads all
 *             that random writes to a large table left (64 MB: 139 -> 16 ms, on a busy machine).
 *             The stopping collector, and an emergency, run on the thread that found it. The
 *             background thread also sweeps what nothing needed, gives pages back at 2 % of a
 *             processor, ages the pools, and runs the cycles that gomem_gc_start or the clock ask
 *             for.
 */
#if GOMEM_I_COLLECTOR
// ---- the background thread ----

// Gives back what is over the goal, in steps that take 2 % of a processor; true: there may be more.
GM_PRIVATE bool gm_schedule_scavenge(struct gm_runtime *rt, struct gm_thread *me, uint64_t *sleep) {
    struct gm_heap *h = &rt->engine.heap;
    size_t goal = gm_load_rlx(&rt->engine.pacer.goal), used = gm_load_rlx(&h->pages.used) * GM_PAGE;
    size_t want = (goal == SIZE_MAX ? used : GM_MAX(goal, used)) / 10 * 11; // 10 % above the goal
    size_t limit = gm_load_rlx(&rt->engine.pacer.limit);
    if (limit) want = GM_MIN(want, limit - limit / 16); // metadata is memory, too
    size_t keep = want > used ? (want - used) / GM_PAGE : 0;
    if (gm_load_rlx(&h->pages.idle) <= keep) return false;
    uint64_t start = gm_os_now();
    gm_sync_enter(&me->cache.hot);
    size_t bytes = gm_heap_give_back(h, keep, GM_GIVE_LEAST, GM_MIB);
    gm_sync_leave(&me->cache.hot);
    *sleep = GM_MAX((gm_os_now() - start) * 50, (uint64_t)1000000);
    return bytes != 0;
}

GM_PRIVATE bool gm_schedule_due(struct gm_runtime *rt, uint64_t now, int *reason) {
    int period = gm_load_rlx(&rt->world.settings.options.force_period_ms); // a setting
    uint64_t ns = (uint64_t)(period ? period : 120000) * 1000000u;
    if (now < gm_load_rlx(&rt->gc.not_before)) return false; // heuristics
    *reason = GM_REASON_TRIGGER;
    if (gm_load_rlx(&rt->gc.phase)) return true; // E4: a cycle is under way, and nobody runs it
    if (gm_load_rlx(&rt->gc.holds) &&
        gm_load_rlx(&rt->engine.live) < gm_load_rlx(&rt->engine.pacer.held))
        return false; // a hold that begins now lets one more cycle through
    uint32_t asked = gm_load_acq(&rt->gc.asked); // pairs with gomem_gc_start and gm_schedule_pace
    bool over = gm_load_rlx(&rt->engine.live) >= gm_load_rlx(&rt->engine.pacer.trigger);
    if (asked == GM_ASKED || (asked == GM_ASKED_BY_TRIGGER && over)) return true;
    if (asked) gm_store_rlx(&rt->gc.asked, 0u); // a cycle has ended since; a new one is asked again
    *reason = GM_REASON_CLOCK;
    return period >= 0 && gm_load_rlx(&rt->engine.pacer.percent) >= 0 &&
           now - gm_load_rlx(&rt->gc.last) >= ns;
}

// The background thread's record. While there is no memory for it others run the cycles, and it
// tries again; NULL: shutdown.
GM_PRIVATE struct gm_thread *gm_schedule_attach_background(struct gm_runtime *rt) {
    struct gm_thread *me;
    while (!(me = gm_world_attach(rt)) && !gm_load_acq(&rt->gc.quit)) { // pairs with shutdown
        uint32_t kick = gm_load_rlx(&rt->gc.kick);                      // only for the wait
        gm_store_rlx(&rt->gc.no_record,
                     true); // a heuristic: a stop that sees it late waits 1 ms more
        gm_os_wait(&rt->gc.kick, kick, 100000000);
    }
    gm_store_rlx(&rt->gc.no_record, false); // the same
    return me;
}

GM_PRIVATE void *gm_schedule_main(void *arg) {
    struct gm_runtime *rt = arg;
    gm_store_rlx(&rt->world.helper, gm_os_thread_id()); // it looks itself
    struct gm_thread *me = gm_schedule_attach_background(rt);
    uint64_t sleep = 0;
    if (me) gm_store_rlx(&me->own, true);          // gm_world_yield_before_stop asks
    while (me && !gm_load_acq(&rt->gc.quit)) {     // pairs with gm_schedule_shutdown
        uint32_t kick = gm_load_acq(&rt->gc.kick); // pairs with gm_gc_wake_background
        int reason, period = gm_load_rlx(&rt->world.settings.options.force_period_ms); // a setting
        if (gm_schedule_due(rt, gm_os_now(), &reason)) (void)rt->gc.collect(rt, me, reason);
        gm_workers_each_central(rt, gm_workers_sweep_central);
        uint64_t nap = (uint64_t)(period > 0 ? period : 120000) * 1000000u;
        uint64_t tick = gm_world_tick_pools(rt); // before what it lets go is given back
        if (gm_schedule_scavenge(rt, me, &sleep)) nap = sleep;
        if (tick) nap = GM_MIN(nap, tick);
        uint64_t now = gm_os_now(), next = gm_load_rlx(&rt->gc.not_before); // heuristics
        if (next > now) nap = GM_MIN(nap, next - now);
        else if (gm_load_rlx(&rt->gc.asked) || gm_load_rlx(&rt->gc.phase)) // another had the lock
            nap = GM_MIN(nap, (uint64_t)(gm_load_rlx(&rt->gc.holds) ? 20000000 : 1000000));
        gm_world_block(&rt->world, me, 0);
        gm_os_wait(&rt->gc.kick, kick, nap);
        gm_world_end_block(&rt->world, me);
    }
    return NULL;
}

GM_PRIVATE void gm_schedule_start_background(struct gm_runtime *rt) {
    if (rt->gc.background) return;
    bool started = gm_workers_start_thread(rt, &rt->gc.background_thread, gm_schedule_main, rt);
    gm_store_rlx(&rt->gc.background, started); // gomem_gc_start asks
    // libc would take 64 MiB of address space if the background thread started them.
    if (started && gm_os_is_limited()) gm_workers_start(rt);
}

// ---- asking for cycles ----

enum { GM_CLEAR_CYCLE = 16 * 1024, GM_CLEAR_ASSIST = 2 * 1024 };
enum { GM_BACK_OFF_NS = 8000000 };  // after a cycle that cannot go on; doubled seven times
enum { GM_WAIT_MOST = 1000000000 }; // ns that an allocation waits for a cycle at once

// How much of the stack below this frame may be overwritten, `want` bytes at most: all that is left
// of the normal stack but a page; of another one, whose end is not known, what the work before has
// surely used.
GM_PRIVATE size_t gm_schedule_stack_left(const struct gm_thread *me, size_t want) {
    uintptr_t here = (uintptr_t)__builtin_frame_address(0), least = me->stack_lo + 4096;
    size_t used = GM_MIN(want, (size_t)GM_CLEAR_ASSIST);
    if (here - me->stack_lo >= me->stack_hi - me->stack_lo || here < least + used) return used;
    return GM_MIN(want, (size_t)(here - least));
}

// Overwrites the stack below the caller, where marking has left addresses of objects: frames that
// come to lie there later would seem to hold them, and one may keep a list of millions.
GM_NOINLINE GM_PRIVATE void gm_schedule_clear_stack(const struct gm_thread *me, size_t size) {
    size = gm_schedule_stack_left(me, size);
    char *below = __builtin_alloca(size);
    if (GM_ASAN) return; // its locals lie elsewhere
    memset(below, 0, size);
    __asm__ volatile("" : : "r"(below) : "memory");
}

// Gets the lock of the cycle: where the caller only follows the trigger, if it is free. False:
// another thread runs a cycle, or has just tried in vain while this one waited, or may wait for
// what the caller holds.
GM_PRIVATE bool gm_schedule_take(struct gm_runtime *rt, int reason) {
    struct gm_gc *gc = &rt->gc;
    uint32_t failed = gm_load_rlx(&gc->failed); // a counter: what failed before is not ours
    bool patient = reason == GM_REASON_FORCED || reason == GM_REASON_EMERGENCY;
    if (!(patient ? gm_world_lock_gc(rt) : gm_sync_try(&gc->lock))) return false;
    // failed changes under the lock, and so does quit
    if (gm_load_rlx(&gc->failed) != failed || gm_load_rlx(&gc->quit)) {
        gm_sync_unlock(&gc->lock);
        return false;
    }
    gm_sync_lock(&gc->turn);
    return true;
}

// After a run: when the next one may be tried. The longer cycles cannot go on, the more seldom they
// are tried: each try costs the program's threads a stop.
GM_PRIVATE void gm_schedule_back_off(struct gm_runtime *rt, bool done) {
    struct gm_gc *gc = &rt->gc;
    if (done) {
        gc->stuck = 0;
        gm_store_rlx(&gc->not_before, (uint64_t)0); // heuristics
        return;
    }
    gm_store_rlx(&rt->engine.pacer.trigger, gm_load_rlx(&rt->engine.live) + GM_MIB);
    uint64_t pause = (uint64_t)GM_BACK_OFF_NS << GM_MIN(gc->stuck, 7u);
    gc->stuck++;
    gm_store_rlx(&gc->failed, gc->failed + 1); // gm_schedule_take looks under the lock
    gm_store_rlx(&gc->not_before, gm_os_now() + pause);
}

// Runs a cycle with its locks held, and unlocks.
GM_NOINLINE GM_PRIVATE bool gm_schedule_run_and_unlock(struct gm_runtime *rt, struct gm_thread *me,
                                                       int reason) {
    struct gm_gc *gc = &rt->gc;
    gm_store_rlx(&gc->runner, me);
    gc->runner_sp = me->called ? me->called : (uintptr_t)__builtin_frame_address(0) + 2 * GM_WORD;
    // whoever only allocates is not held up for a second again and again
    bool brief = gc->stuck && reason == GM_REASON_TRIGGER && !gm_load_rlx(&me->own);
    gc->patience = brief ? GM_PATIENCE_LEAST : GM_PATIENCE_NS;
    gm_store_rel(&gc->asked, 0u);              // pairs with gm_schedule_due
    struct gm_registers saved = me->registers; // of a blocking region
    bool in_handler = me->in_handler;
    me->in_handler = false;
    me->fake_stack = gm_world_fake_stack();
    gm_os_spill(
        &me->registers); // its stack is scanned from here: frames below are the collector's own
    bool done = gm_gc_run(rt, me, reason);
    gm_roots_free_retired(rt, me);
    gm_schedule_clear_stack(me, GM_CLEAR_CYCLE);
    if (me->cache.hot.blocked) me->registers = saved, me->in_handler = in_handler;
    gm_schedule_back_off(rt, done);
    gm_schedule_start_background(rt); // after a fork
    gm_finalize_wake(rt);
    gm_store_rlx(&gc->runner, (struct gm_thread *)NULL);
    gm_world_unlock_cycle(rt);
    (void)gm_add_acqrel(&gc->ended, 1u); // pairs with gm_schedule_wait
    gm_os_wake(&gc->ended, INT_MAX);
    return done;
}

// One cycle, unless another thread runs one and this one only followed the trigger. Whoever must
// have one that began after the call goes on after the end of an older one. A callback of the cycle
// that asks for another gets none. False: errno says why.
GM_NOINLINE GM_PRIVATE bool gm_schedule_cycle(struct gm_runtime *rt, struct gm_thread *me,
                                              int reason) {
    struct gm_gc *gc = &rt->gc;
    bool whole = reason == GM_REASON_FORCED || reason == GM_REASON_EMERGENCY;
    // only this thread stores itself there
    if (gm_load_rlx(&gc->runner) == me || gm_world_forks(&rt->world)) { // V8
        errno = EBUSY;
        return false;
    }
    bool done = false, again = true;
    while (again) {
        if (!gm_schedule_take(rt, reason)) {
            errno = EAGAIN;
            return false;
        }
        bool older = gc->phase != GM_PHASE_OFF;
        done = gm_schedule_run_and_unlock(rt, me, reason);
        again = whole && done && older;
    }
    if (whole) gm_workers_each_central(rt, gm_workers_sweep_central);
    if (done) gm_world_age_pools(rt, 1);
    gm_gc_wake_background(rt);
    if (!done) errno = EAGAIN;
    return done;
}

// What the first cycle allocates for itself, with two markers: it may be an emergency.
enum { GM_CYCLE_RECORDS = 384 * 1024 };

// First use of the collected heap: from here on there is a handler and the background thread.
GM_COLD GM_PRIVATE bool gm_schedule_enable(struct gm_runtime *rt) {
    // pairs with gm_world_enable_stops; after a fork, or for a new life, the thread is started here
    if (gm_load_acq(&rt->engine.collected) && gm_load_rlx(&rt->gc.background)) return true;
    gm_roots_learn_keys(rt);
    // E6: it was opened before, else there would be no runner
    if (!gm_world_lock_cycle(rt)) return gm_world_can_stop(rt);
    if (!rt->gc.cycle) rt->gc.cycle = gm_pages_meta(&rt->engine.meta, sizeof(struct gm_cycle));
    (void)gm_pages_meta_ensure(&rt->engine.meta, GM_CYCLE_RECORDS); // else it may do without
    if (!rt->gc.cycle) {
        gm_world_unlock_cycle(rt);
        errno = ENOMEM;
        return false;
    }
    if (!gm_writes_choose(&rt->engine.writes, &rt->engine.meta, &rt->engine.heap.pages,
                          gm_load_rlx(&rt->world.settings.options.collector))) { // a setting
        gm_guard_warn(&rt->engine.guard, gm_gc_tell_reason(rt).data);
        rt->gc.told_reason = true;
    }
    if (!rt->gc.collect) rt->gc.collect = gm_schedule_cycle; // before its only reader starts
    rt->gc.patience = GM_PATIENCE_NS;
    gm_store_rlx(&rt->gc.last, gm_os_now()); // the forced period starts
    bool done = gm_world_enable_stops(rt); // last: others, who do not wait here, find all that done
    if (done && !gm_world_forks(&rt->world))
        gm_schedule_start_background(rt); // else after the fork
    gm_world_unlock_cycle(rt);
    return done;
}

// Marks until a time beside the collector's threads; false: they do not mark now, or too many do.
GM_PRIVATE bool gm_schedule_assist(struct gm_runtime *rt, struct gm_thread *me, uint64_t until) {
    struct gm_gc *gc = &rt->gc;
    uint32_t used = gm_load_rlx(&gc->assisting);
    unsigned i = 0;
    do {
        i = gm_base_ctz(~(uint64_t)used);
        if (i >= GM_ASSISTS) return false;
    } while (!gm_cas_acqrel(&gc->assisting, &used, used | 1u << i)); // pairs with the and below
    struct gomem_marker *m = &gc->marker[GM_WORKERS + i];
    gm_sync_enter(&me->cache.hot); // it takes a lock
    bool ready = gm_mark_init_marker(m, &rt->engine.meta);
    gm_sync_leave(&me->cache.hot);
    bool joined = ready && gm_mark_join(&rt->engine.mark, m);
    if (joined) gm_mark_assist(m, until);
    if (joined) gm_schedule_clear_stack(me, GM_CLEAR_ASSIST);
    (void)gm_and_acqrel(&gc->assisting, ~(1u << i)); // pairs with the cas above: its buffers
    return joined;
}

// Waits for the end of a cycle, ns at most. The thread counts as standing meanwhile. `ended` is
// gc.ended as of before the caller looked at the heap: a cycle that ended since is not waited for.
// Nor is one that may wait for the caller: for a while the heap grows then (E6).
GM_NOINLINE GM_PRIVATE void gm_schedule_wait(struct gm_runtime *rt, struct gm_thread *me,
                                             uint32_t ended, uint64_t ns) {
    uint64_t now = gm_os_now(), end = now + ns;
    if (me->cache.hot.blocked) return;
    gm_world_block(&rt->world, me, (uintptr_t)__builtin_frame_address(0) + 2 * GM_WORD);
    while (now < end &&
           gm_load_acq(&rt->gc.ended) == ended) { // pairs with gm_schedule_run_and_unlock
        gm_os_wait(&rt->gc.ended, ended, GM_MIN(end - now, (uint64_t)GM_LOADER_WALK_NS));
        now = gm_os_now();
        if (!gm_world_waits_for_loader(rt)) continue;
        gm_store_rlx(&rt->gc.not_before, now + 10 * (uint64_t)GM_LOADER_WALK_NS); // heuristics
        break;
    }
    gm_world_end_block(&rt->world, me);
}

// Asks the background thread for a cycle, unless one runs.
GM_PRIVATE void gm_schedule_ask(struct gm_runtime *rt, uint32_t how) {
    if (gm_load_rlx(&rt->gc.asked) || gm_load_rlx(&rt->gc.runner)) return; // twice costs a cycle
    gm_store_rel(&rt->gc.asked, how); // pairs with gm_schedule_due
    gm_gc_wake_background(rt);
}

// Cycles run on the thread that finds that one is due.
GM_PRIVATE bool gm_schedule_runs_here(const struct gm_runtime *rt) {
    return gm_load_rlx(&rt->engine.writes.collector) == GOMEM_GC_STW || gm_gc_is_small(rt) ||
           !gm_load_rlx(&rt->gc.background) || // chosen once
           gm_load_rlx(&rt->gc.no_record);     // heuristics
}

// The heap has grown to the trigger: a stopping cycle runs on this thread; a concurrent one is
// asked for, and helped along when the heap outgrows its goal. (A4)
GM_COLD GM_PRIVATE void gm_schedule_pace(struct gm_runtime *rt, struct gm_thread *me,
                                         size_t bytes) {
    struct gm_engine *e = &rt->engine;
    // pairs with gm_schedule_run_and_unlock: live is of then
    uint32_t ended = gm_load_acq(&rt->gc.ended);
    size_t live = gm_load_rlx(&e->live), goal = gm_load_rlx(&e->pacer.goal); // heuristics
    uint64_t next = gm_load_rlx(&rt->gc.not_before);                         // a heuristic
    if (next && gm_os_now() < next) { // nothing can be collected: the heap grows
        gm_store_rlx(&e->pacer.trigger, live + GM_MIB);
        return;
    }
    if (gm_world_forks(&rt->world)) return; // V8
    if (gm_schedule_runs_here(rt)) {
        if (live - me->cache.ahead >=
            gm_load_rlx(&e->pacer.trigger)) // what is to come is no reason
            (void)gm_schedule_cycle(rt, me, GM_REASON_TRIGGER);
        return;
    }
    gm_schedule_ask(rt, GM_ASKED_BY_TRIGGER);
    uint32_t closing = gm_load_rlx(&rt->gc.closing); // advice
    bool small = bytes <= GOMEM_MAX_SMALL;
    if ((live < goal && !closing && small) || goal == SIZE_MAX) return;
    bool hard = live > gm_pacer_hard(goal);
    uint64_t ns = GM_MAX(gm_pacer_debt(goal, live, bytes),
                         closing ? (uint64_t)GM_DEBT << (closing - 1) : (uint64_t)0);
    uint64_t until = gm_os_now() + ns;
    bool helped = gm_load_rlx(&e->mark.active) && gm_schedule_assist(rt, me, until); // a hint
    if (!helped && hard) gm_schedule_wait(rt, me, ended, GM_MIN(ns, (uint64_t)GM_WAIT_MOST));
    else
        while ((!helped || closing > 1) && gm_load_rlx(&rt->gc.closing) && gm_os_now() < until)
            (void)sched_yield();
}

// ---- large objects ----

// Counts `bytes` as allocated if the heap then holds `most` at most. The thread's next large object
// is one of them.
GM_PRIVATE bool gm_schedule_prepay(struct gm_runtime *rt, struct gm_thread *me, size_t bytes,
                                   size_t most) {
    size_t live = gm_load_rlx(&rt->engine.live);
    do
        if (live > most || bytes > most - live) return false;
    // pairs with itself: of two that would not both fit, one does
    while (!gm_cas_acqrel(&rt->engine.live, &live, live + bytes));
    me->cache.ahead += bytes;
    (void)gm_add_rlx(&rt->gc.heavy, bytes); // a statistic
    return true;
}

// Is a cycle worth waiting for? It can free little more than was allocated since the last; there is
// none while cycles cannot go on, nor for a thread that forks (V8).
GM_PRIVATE bool gm_schedule_may_help(const struct gm_runtime *rt, size_t bytes) {
    size_t live = gm_load_rlx(&rt->engine.live), old = gm_load_rlx(&rt->engine.pacer.live);
    uint64_t next = gm_load_rlx(&rt->gc.not_before); // heuristics
    if (live <= old || live - old < bytes / 8) return false;
    return !(next && gm_os_now() < next) && !gm_world_forks(&rt->world);
}

// A step towards the end of a cycle: of a whole one, or of a millisecond.
GM_PRIVATE void gm_schedule_hurry(struct gm_runtime *rt, struct gm_thread *me) {
    const uint64_t ns = 1000000;
    uint32_t ended = gm_load_acq(&rt->gc.ended); // pairs with gm_schedule_run_and_unlock
    if (gm_schedule_runs_here(rt)) {
        (void)gm_schedule_cycle(rt, me, GM_REASON_TRIGGER);
        gm_schedule_wait(rt, me, ended, ns); // where another thread's runs
        return;
    }
    gm_schedule_ask(rt, GM_ASKED);
    bool helped = gm_load_rlx(&rt->engine.mark.active) &&
                  gm_schedule_assist(rt, me, gm_os_now() + ns);
    if (!helped) gm_schedule_wait(rt, me, ended, ns);
}

// Before the heap grows by `bytes`, as many are swept of what the last cycle left.
GM_PRIVATE void gm_schedule_reclaim(struct gm_runtime *rt, struct gm_thread *me, size_t bytes) {
    struct gm_engine *e = &rt->engine;
    size_t used = gm_load_rlx(&e->heap.pages.used), want = bytes / GM_PAGE; // statistics
    struct gm_central *c;
    for (uint32_t i = 0; (c = gm_workers_central(rt, i)) != NULL; i++)
        for (unsigned done = 8; done == 8;) {
            gm_sync_enter(&me->cache.hot);
            done = gm_sweep_some(&e->sweep, &e->heap, &e->guard, &e->stats.shared, c, 8);
            gm_sync_leave(&me->cache.hot);
            if (used > want && gm_load_rlx(&e->heap.pages.used) <= used - want) return;
        }
}

// With a memory limit, idle pages go before the heap grows past it by `bytes`.
GM_PRIVATE void gm_schedule_make_room(struct gm_runtime *rt, struct gm_thread *me, size_t bytes) {
    struct gm_heap *h = &rt->engine.heap;
    size_t limit = gm_load_rlx(&rt->engine.pacer.limit), given = 1;          // a setting
    size_t used = (gm_load_rlx(&h->pages.used) * GM_PAGE + bytes) / 16 * 17; // metadata is memory
    size_t keep = limit > used ? (limit - used) / GM_PAGE : 0;
    while (limit && given && gm_load_rlx(&h->pages.idle) > keep) {
        gm_sync_enter(&me->cache.hot);
        given = gm_heap_give_back(h, keep, 1, GM_MIB);
        gm_sync_leave(&me->cache.hot);
    }
}

// What the heap may hold with a large object in it that need not wait (E7).
GM_PRIVATE size_t gm_schedule_most(const struct gm_runtime *rt, size_t bytes) {
    const struct gm_pacer *p = &rt->engine.pacer; // heuristics, all of them
    size_t goal = gm_load_rlx(&p->goal), held = gm_load_rlx(&p->held);
    if (gm_load_rlx(&rt->gc.holds)) return GM_MAX(goal, held);
    if (goal == SIZE_MAX || gm_schedule_runs_here(rt)) return goal;
    bool late = gm_load_rlx(&rt->gc.runner) && bytes >= GM_MAX(gm_load_rlx(&p->live) / 8, GM_MIB);
    return late ? 0 : GM_MIN(gm_pacer_hard(goal), held); // no limit: SIZE_MAX
}

// A large object is about to be taken: waits for a cycle if it must and that may help, and for a
// second one if the first had begun before (E7).
GM_COLD GM_PRIVATE void gm_schedule_admit(struct gm_runtime *rt, struct gm_thread *me,
                                          size_t bytes) {
    uint32_t first = gm_load_acq(&rt->gc.ended); // pairs with gm_schedule_cycle
    uint32_t cycles = 1 + (gm_load_rlx(&rt->gc.runner) != NULL);
    bytes -= GM_MIN(bytes, me->cache.ahead); // of one that found no memory
    if (bytes > rt->engine.heap.pages.size) return;
    for (bool wait = true;
         !gm_schedule_prepay(rt, me, bytes, wait ? gm_schedule_most(rt, bytes) : SIZE_MAX);) {
        // pairs with gm_schedule_cycle: what the cycle found is seen
        wait = gm_load_acq(&rt->gc.ended) - first < cycles && gm_schedule_may_help(rt, bytes);
        if (wait) gm_schedule_hurry(rt, me);
    }
    gm_schedule_reclaim(rt, me, bytes);
    gm_schedule_make_room(rt, me, bytes);
}

// `bytes` are about to be taken: has the heap grown to the trigger? In no section.
GM_INLINE void gm_schedule_poll(struct gm_runtime *rt, struct gm_thread *me, size_t bytes) {
    struct gm_engine *e = &rt->engine;
    if (GOMEM_I_UNLIKELY(bytes > GOMEM_MAX_SMALL)) gm_schedule_admit(rt, me, bytes);
    if (GOMEM_I_LIKELY(gm_load_rlx(&e->live) < gm_load_rlx(&e->pacer.trigger)))
        return; // heuristics
    if (gm_load_rlx(&rt->gc.holds) && gm_load_rlx(&e->live) < gm_load_rlx(&e->pacer.held)) return;
    gm_schedule_pace(rt, me, bytes);
}

// No cycle begins after this. False: the thread that runs one waits for the loader's lock (E6).
GM_PRIVATE bool gm_schedule_begin_shutdown(struct gm_runtime *rt) {
    if (!gm_world_lock_gc(rt)) return false;
    gm_store_rel(&rt->gc.quit, 1u); // pairs with the threads' loads
    gm_sync_unlock(&rt->gc.lock);
    return true;
}

// Ends the library's threads. The caller is the only one that uses gomem.
GM_PRIVATE void gm_schedule_shutdown(struct gm_runtime *rt) {
    struct gm_gc *gc = &rt->gc;
    (void)gm_add_acqrel(&gc->work, 1u); // pairs with gm_workers_main
    gm_os_wake(&gc->work, INT_MAX);
    gm_gc_wake_background(rt);
    if (gc->background) gm_os_join(gc->background_thread); // it may start workers
    for (uint32_t i = 0; i < gc->thread_count; i++) gm_os_join(gc->threads[i]);
    gc->thread_count = 0;
    gc->background = false;
    gc->stuck = 0;
    gm_store_rlx(&gc->not_before, (uint64_t)0); // heuristics
    gm_gc_end_marking_stopped(rt);              // a cycle that could not go on goes with its heap
    gm_store_rlx(&rt->engine.mark.queue, (uint64_t)0); // no marker works
    gm_store_rel(&gc->quit, 0u); // pairs with the threads' loads, of the next ones
}

// Memory is exhausted: what a cycle frees may help. A thread whose last ones freed next to nothing
// fails without one in most cases: a program that goes on allocating at the end of its memory would
// do nothing but collect. The first few are run in any case, for one that drops what it can spare
// and tries again.
GM_PRIVATE void gm_schedule_emergency(struct gm_runtime *rt, struct gm_thread *me) {
    enum { IN_A_ROW = 4, SHARE = 4 };
    size_t live = gm_load_rlx(&rt->engine.live); // statistics
    uint64_t begun = gm_os_now();
    if (!gm_world_can_stop(rt)) return;
    if (me->futile >= IN_A_ROW && begun < gm_load_rlx(&rt->gc.spared)) return; // heuristics
    gm_schedule_clear_stack(me, GM_CLEAR_ASSIST); // of what the failing allocation left
    (void)gm_schedule_cycle(rt, me, GM_REASON_EMERGENCY);
    bool helped = gm_load_rlx(&rt->engine.live) < live - live / 64; // statistics
    me->futile = helped ? 0 : GM_MIN(me->futile + 1u, (uint32_t)IN_A_ROW);
    uint64_t ended = gm_os_now();
    gm_store_rlx(&rt->gc.spared, ended + SHARE * (ended - begun)); // heuristics
}
#else
// no cycle, no threads
GM_INLINE bool gm_schedule_begin_shutdown(struct gm_runtime *rt) { return (void)rt, true; }
GM_INLINE void gm_schedule_shutdown(struct gm_runtime *rt) { (void)rt; }
GM_INLINE void gm_schedule_emergency(struct gm_runtime *rt, struct gm_thread *me) {
    (void)rt, (void)me;
}
#endif // GOMEM_I_COLLECTOR

/* ==========================================================================================
 * >>alloc   the public allocation functions                                        floor 5
 * ==========================================================================================
 * OWNS        nothing
 * CALLS       base os sync stats sizes pages span heap central types special guard mark sweep
 *             cache world finalize schedule
 * LOCKS       CENTRAL, then HEAP
 * INVARIANTS  L1  errno is kept by everything that frees, and by everything that succeeds
 *             L2  misuse is reported after the section, with nothing changed
 * WHY         Fast, slow, large: each public function tries what the header inlines, then enters a
 *             section, then asks the span heap; exhaustion is handled in one loop at depth 0, where
 *             a collection and the user's callback may run.
 */
GM_PRIVATE void gm_alloc_trim(struct gm_cache *t) {
    uint32_t trims = gm_load_rlx(&t->engine->trims); // obeyed at one of the next slow paths
    if (GOMEM_I_UNLIKELY(t->pins > GM_PINS)) gm_cache_unpin(t);
    if (GOMEM_I_LIKELY(t->trims == trims)) return;
    t->trims = trims;
    gm_cache_flush_manual(t, false);
}

// Enters a section with the calling thread's cache, or the shared one of threads that have ended.
// NULL with errno: no memory, or shut down; or a signal handler interrupted the library.
GM_PRIVATE struct gm_cache *gm_alloc_enter(struct gm_runtime *rt) {
    struct gm_world *w = &rt->world;
    struct gm_thread *t = gm_world_attach(rt);
    if (t && GOMEM_I_UNLIKELY(t->cache.hot.section_depth)) {
        gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_SIGNAL, NULL);
        errno = ENOMEM;
        return NULL;
    }
    if (t) {
        // V7: pairs with gm_world_enable_stops
        if (GOMEM_I_UNLIKELY(gm_load_acq(&t->straggler))) gm_world_unmask(w, t);
        gm_sync_enter(&t->cache.hot);
        gm_alloc_trim(&t->cache);
        return &t->cache;
    }
    // pairs with gm_world_ready: everything is in place
    if (GOMEM_I_TLS != GM_RUNTIME_GONE || gm_load_acq(&w->life) != GM_LIFE_READY) return NULL;
    gm_world_lock(w, &w->gone_lock);
    if (!w->gone) {
        gm_world_lock(w, &w->lock);
        w->gone = gm_world_record_locked(rt);
        if (w->gone) gm_store_seq(&w->gone->state, (uint32_t)GM_THREAD_SHARED); // V4
        gm_world_unlock(w, &w->lock);
    }
    if (w->gone) return &w->gone->cache;
    gm_world_unlock(w, &w->gone_lock);
    errno = ENOMEM;
    return NULL;
}

GM_PRIVATE void gm_alloc_leave(struct gm_runtime *rt, struct gm_cache *t) {
    if (rt->world.gone && t == &rt->world.gone->cache)
        gm_world_unlock(&rt->world, &rt->world.gone_lock);
    else gm_sync_leave(&t->hot);
    void *bad = gm_load_acq(&rt->engine.misuse_at); // pairs with gm_cache_return
    if (GOMEM_I_LIKELY(!bad)) return;
    gm_store_rlx(&rt->engine.misuse_at, (void *)NULL);
    gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages,
                    (enum gm_message)gm_load_rlx(&rt->engine.misuse), bad); // L2
}

// No memory: collects and empties the caches once, then asks the user. True: try again.
GM_COLD GM_PRIVATE bool gm_alloc_exhausted(struct gm_runtime *rt, size_t size, unsigned *tries) {
    const gomem_options *o = &rt->world.settings.options;
    if ((*tries)++ == 0 && size < rt->engine.heap.pages.size) {
        struct gm_thread *me = gm_world_attach(rt);
        if (me) {
            gm_schedule_emergency(rt, me);
            gm_sync_enter(&me->cache.hot);
            gm_cache_unkeep(&me->cache, 0);
            gm_cache_flush_manual(&me->cache, false);
            gm_cache_drain_depot(&rt->engine);
            gm_sync_leave(&me->cache.hot);
        }
        (void)gm_add_rlx(&rt->engine.trims, 1u); // others obey when they come by
        gm_world_age_pools(rt, 3);
        return true;
    }
    bool (*oom)(size_t, void *) = gm_load_acq(&o->oom); // pairs with gomem_init
    if (oom && oom(size, gm_load_rlx(&o->user))) return true;
    errno = ENOMEM;
    return false;
}

GOMEM_DEF void *gomem_i_overflow(void) {
    errno = ENOMEM;
    return NULL;
}

// Returns p; if there is one, errno becomes what it was: system calls failed on the way. (L1)
GM_INLINE void *gm_alloc_done(void *p, int saved) {
    if (GOMEM_I_LIKELY(p != NULL)) errno = saved;
    return p;
}

// What a watched heap adds to a size. Whether it is watched is known once it is ready.
GM_ALWAYS size_t gm_alloc_margin(struct gm_runtime *rt, size_t size) {
    if (!GM_ASAN && (!GOMEM_I_CHECK || !gm_world_ready(rt, false))) return 0;
    return gm_guard_watched(&rt->engine.guard) ? GM_MARGIN + !size : 0;
}

// Returns p, a new object or NULL, of which `size` bytes are the user's.
GM_ALWAYS void *gm_alloc_watch(struct gm_runtime *rt, void *p, size_t size) {
    if (p && gm_guard_watched(&rt->engine.guard))
        gm_guard_hand_out(gm_span_find(&rt->engine.heap.pages, (uintptr_t)p), (uintptr_t)p, size);
    return p;
}

// ---- manual ----

GM_PRIVATE void *gm_alloc_manual_small(struct gm_cache *t, unsigned class) {
    void *p = gm_cache_pop(t, class);
    if (!p && gm_cache_refill_manual(t, class)) p = gm_cache_pop(t, class);
    if (!p && class == 0) return NULL;
    if (!p)
        gm_cache_fill(t->engine, class, &p + 1,
                      1); // no memory for a magazine, perhaps some for an object
    if (GOMEM_I_CHECK && p) {
        struct gm_pages *pages = &t->engine->heap.pages;
        struct gm_span *s = gm_span_find(pages, (uintptr_t)p);
        uint32_t index = gm_span_index(pages, s, (uintptr_t)p);
        (void)gm_and_rlx(&gm_span_cached(pages, s->page)[index / 64], ~((uint64_t)1 << index % 64));
        if (GOMEM_I_CHECK >= 2 && !gm_guard_watched(&t->engine->guard))
            memset(p, 0xcd, gm_sizes_table[class].size);
    }
    return p;
}

GM_PRIVATE void *gm_alloc_manual_large(struct gm_cache *t, size_t size, size_t align) {
    struct gm_heap *h = &t->engine->heap;
    struct gm_span *s = gm_heap_take(h, GM_MANUAL, 0, gm_base_round_up(size, 16), align);
    if (!s) return NULL;
    s->used = 1;
    gm_stats_own(&t->stats.manual_mallocs[0], 1);
    gm_stats_own(&t->stats.large_alloc, s->size);
    gm_cache_count_bytes(t, s->size);
    gm_heap_publish(h, s);
    return (void *)gm_span_start(&h->pages, s);
}

// Any manual allocation; align is a power of two.
GOMEM_DEF void *gomem_i_malloc_slow(size_t size, size_t align) {
    struct gm_runtime *rt = &gm_runtime;
    if (size > (size_t)PTRDIFF_MAX - 2 * GM_MARGIN) return gomem_i_overflow();
    size_t slot = size + gm_alloc_margin(rt, size);
    unsigned class = gm_sizes_class(slot, align), tries = 0;
    int saved = errno;
    void *p;
    do {
        struct gm_cache *t = gm_alloc_enter(rt);
        if (!t) return NULL;
        p = class ? gm_alloc_manual_small(t, class) : gm_alloc_manual_large(t, slot, align);
        gm_alloc_leave(rt, t);
    } while (GOMEM_I_UNLIKELY(!p) && gm_alloc_exhausted(rt, size, &tries));
    return gm_alloc_done(gm_alloc_watch(rt, p, size), saved);
}

// Zeroes the first `bytes` of a new large object of which some pages were used before: these alone,
// piece by piece, outside of sections, so that stops need not wait. `drop`: pages may lose their
// memory.
GM_PRIVATE void *gm_alloc_zero_pages(struct gm_runtime *rt, void *p, size_t bytes, bool drop) {
    struct gm_heap *h = &rt->engine.heap;
    size_t first = ((uintptr_t)p - h->pages.base) / GM_PAGE;
    int saved = errno;
    for (size_t at = 0, n = 0; at < bytes; at += n) {
        bool touched = true;
        struct gm_cache *t = gm_alloc_enter(rt); // NULL: no memory for the record of a thread
        n = bytes - at;
        if (t) {
            size_t pages = (n + GM_PAGE - 1) / GM_PAGE;
            gm_sync_lock(&h->lock);
            pages = gm_pages_alike_locked(&h->pages, first + at / GM_PAGE, pages, &touched);
            gm_sync_unlock(&h->lock);
            gm_alloc_leave(rt, t);
            n = GM_MIN(n, pages * GM_PAGE);
        }
        if (touched) gm_heap_clear(h, (uintptr_t)p + at, n, drop && t != NULL);
    }
    errno = saved; // L1
    return p;
}

GOMEM_DEF void *gomem_malloc(size_t size) { return gomem_i_malloc_typed(size, 16); }

GOMEM_DEF void *gomem_calloc(size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) return gomem_i_overflow();
    void *p = gomem_malloc(bytes);
    if (!p) return NULL;
    if (bytes <= GOMEM_MAX_SMALL) return memset(p, 0, bytes);
    const struct gm_span *s = gm_span_find(&gm_runtime.engine.heap.pages, (uintptr_t)p);
    if (s->clean) return p;
    return gm_alloc_zero_pages(&gm_runtime, p, bytes, true);
}

GOMEM_DEF void *gomem_aligned_alloc(size_t align, size_t size) {
    if (!gm_base_power_of_two(align)) {
        errno = EINVAL;
        return NULL;
    }
    if (align == 16 && size < 16) size = 16; // the default of 9 bytes and more, asked for
    return gomem_i_malloc_slow(size, GM_MAX(align, size > 8 ? (size_t)16 : (size_t)8));
}

GOMEM_DEF char *gomem_strndup(const char *s, size_t n) {
    const char *end = memchr(s, 0, n);
    size_t length = end ? (size_t)(end - s) : n;
    if (length > (size_t)PTRDIFF_MAX - 16) return gomem_i_overflow();
    char *copy = gomem_malloc(length + 1);
    if (!copy) return NULL;
    memcpy(copy, s, length);
    copy[length] = 0;
    return copy;
}

GOMEM_DEF char *gomem_strdup(const char *s) { return gomem_strndup(s, strlen(s)); }

// ---- free ----

// Each gives an object back and says what was wrong; GM_MESSAGE_COUNT: nothing.

GM_PRIVATE void gm_alloc_count_large(struct gm_cache *t, const struct gm_span *s) {
    gm_stats_own(&t->stats.manual_frees[0], 1);
    gm_stats_own(&t->stats.large_free, s->size);
}

GM_PRIVATE enum gm_message gm_alloc_free_manual(struct gm_cache *t, struct gm_span *s,
                                                uint32_t index, void *p) {
    struct gm_engine *e = t->engine;
    struct gm_pages *pages = &e->heap.pages;
    uint64_t bit = (uint64_t)1 << index % 64;
    bool watched = gm_guard_watched(&e->guard);
    if (gm_guard_freed(&e->guard, s, (uintptr_t)p)) return GM_MSG_DOUBLE_FREE;
    if (s->class) {
        if (!(gm_load_rlx(&gm_span_bits(pages, s->page)[index / 64]) & bit))
            return GM_MSG_DOUBLE_FREE;
        if (GOMEM_I_CHECK && gm_or_rlx(&gm_span_cached(pages, s->page)[index / 64], bit) & bit)
            return GM_MSG_DOUBLE_FREE;
        if (!GOMEM_I_CHECK && gm_cache_lately(t, s->class, p)) return GM_MSG_DOUBLE_FREE;
        if (!watched && (e->guard.poison || GOMEM_I_CHECK >= 2))
            memset(p, GM_POISON, gm_sizes_table[s->class].size);
    } else {
        gm_alloc_count_large(t, s);
    }
    if (watched) {
        gm_guard_write(s, (uintptr_t)p, 1, GM_MARGIN_FREED);
        gm_cache_keep(e, s, (uintptr_t)p);
        gm_cache_unkeep(t, GM_KEPT_MOST);
    } else {
        gm_cache_put(t, s, p);
    }
    return GM_MESSAGE_COUNT;
}

#if GOMEM_I_COLLECTOR
GM_PRIVATE struct gm_central *gm_alloc_central(struct gm_engine *e, const struct gm_span *s) {
    return s->kind == GM_TYPED ? &gm_types_shape(&e->types, s->shape)->central
                               : &e->central[s->kind][s->class];
}

// A collected object is about to be free. A marker may be in its mark procedure, or call it yet:
// then the sweeper hides it.
GM_PRIVATE void gm_alloc_hide(struct gm_engine *e, const struct gm_span *s, uintptr_t object) {
    if (!gm_guard_watched(&e->guard) || (s->kind == GM_TYPED && gm_cache_marking(e))) return;
    gm_guard_take_back(s, object);
}

// A large collected object: gone at once where it is listed, else when who sweeps it places it.
GM_PRIVATE enum gm_message gm_alloc_free_large(struct gm_cache *t, struct gm_span *s) {
    struct gm_engine *e = t->engine;
    struct gm_central *c = gm_alloc_central(e, s);
    size_t size = s->size;
    gm_sync_lock(&c->lock);
    bool twice = gm_or_rlx(&gm_span_colors(&e->heap.pages, s->page)->freed, 1u) &
                 1; // under the lock
    if (!twice) gm_alloc_hide(e, s, gm_span_start(&e->heap.pages, s));
    bool listed = !twice && s->bucket && gm_sweep_swept(&e->sweep, s) &&
                  !gm_cache_marking(e); // R5: else sweeping finds it freed
    if (listed) gm_central_remove_locked(c, &e->heap.pages, gm_sweep_full(&e->sweep, true), s);
    gm_sync_unlock(&c->lock);
    if (twice) return GM_MSG_DOUBLE_FREE;
    if (listed) gm_heap_put(&e->heap, s);
    gm_stats_own(&t->stats.frees[0], 1);
    gm_stats_own(&t->stats.large_free, size);
    size_t live = gm_load_rlx(&e->live); // a heuristic counter: a cycle may have counted less
    while (!gm_cas_acqrel(&e->live, &live, live - GM_MIN(live, size))) {} // pairs with itself
    return GM_MESSAGE_COUNT;
}

GM_PRIVATE enum gm_message gm_alloc_free_collected(struct gm_cache *t, struct gm_span *s, void *p) {
    struct gm_engine *e = t->engine;
    uint64_t bit = gm_span_bit(&e->heap.pages, (uintptr_t)p);
    if (!gm_sweep_live(&e->sweep, &e->heap.pages, s, (uintptr_t)p)) return GM_MSG_DOUBLE_FREE; // R6
    if (!s->class) return gm_alloc_free_large(t, s);
    unsigned class = s->class; // once its bit is set, the slot and its span may be somebody else's
    if (e->guard.poison && !gm_guard_watched(&e->guard))
        memset(p, GM_POISON, gm_sizes_table[class].size);
    gm_alloc_hide(e, s, (uintptr_t)p);
    if (gm_or_rlx(&gm_span_color(&e->heap.pages, (uintptr_t)p)->freed, bit) & bit)
        return GM_MSG_DOUBLE_FREE; // one of two wins; refill reads it later
    gm_stats_own(&t->stats.frees[class], 1);
    return GM_MESSAGE_COUNT;
}

// Roots are zeroed at once and their slot is free at once (R7).
GM_PRIVATE enum gm_message gm_alloc_free_root(struct gm_cache *t, struct gm_span *s, void *p) {
    struct gm_engine *e = t->engine;
    struct gm_central *c = &e->central[s->kind][s->class];
    struct gm_color *color = gm_span_color(&e->heap.pages, (uintptr_t)p);
    uint64_t bit = gm_span_bit(&e->heap.pages, (uintptr_t)p);
    size_t size = s->size;
    // What follows the lock may be another span's: who frees the last object gives it up.
    unsigned class = s->class;
    gm_sync_lock(&c->lock);
    bool there = gm_load_rlx(&color->alloc) & bit; // written under this lock only
    bool empty = there && s->used == 1 && (s->kind != GM_ROOT || !gm_cache_marking(e)); // R5
    if (there) {
        gm_central_remove_locked(c, &e->heap.pages, s->used < s->count ? 0 : 2, s);
        if (s->class) gm_os_zero((uintptr_t)p, gm_sizes_table[s->class].size, true);
        if (gm_guard_watched(&e->guard)) gm_guard_take_back(s, (uintptr_t)p);
        gm_store_rlx(&color->alloc, gm_load_rlx(&color->alloc) & ~bit);
        s->used--;
        if (!empty) gm_central_add_locked(c, &e->heap.pages, 0, s);
    }
    gm_sync_unlock(&c->lock);
    if (!there) return GM_MSG_DOUBLE_FREE;
    gm_stats_own(&t->stats.frees[class], 1);
    if (!class) gm_stats_own(&t->stats.large_free, size);
    if (empty) gm_heap_put(&e->heap, s);
    return GM_MESSAGE_COUNT;
}

GM_PRIVATE enum gm_message gm_alloc_free_slot(struct gm_cache *t, struct gm_span *s, uint32_t index,
                                              void *p) {
    struct gm_engine *e = t->engine;
    if (GOMEM_I_UNLIKELY(gm_load_rlx(&s->special)) && // X4
        gm_sweep_live(&e->sweep, &e->heap.pages, s, (uintptr_t)p))
        gm_special_forget(&e->special, (uintptr_t)p);
    if (GM_IN(GM_SET_COLLECTED, s->kind)) return gm_alloc_free_collected(t, s, p);
    if (s->kind == GM_ROOT || s->kind == GM_ROOT_NOSCAN) return gm_alloc_free_root(t, s, p);
    return gm_alloc_free_manual(t, s, index, p);
}
#else
GM_PRIVATE enum gm_message gm_alloc_free_slot(struct gm_cache *t, struct gm_span *s, uint32_t index,
                                              void *p) {
    return gm_alloc_free_manual(t, s, index, p);
}
#endif

// Cleanups of a freed object run elsewhere.
#if GOMEM_I_COLLECTOR
GM_INLINE void gm_alloc_freed(struct gm_runtime *rt) { gm_finalize_wake(rt); }
#else
GM_INLINE void gm_alloc_freed(struct gm_runtime *rt) { (void)rt; }
#endif

// The span of objects that a word points into; NULL: there is none.
GM_ALWAYS struct gm_span *gm_alloc_span(const struct gm_pages *p, const void *word) {
    struct gm_span *s = gm_span_find(p, (uintptr_t)word);
    return s && GOMEM_I_LIKELY(s->use == GM_USE_OBJECT) ? s : NULL;
}

// What a pointer that is in no span of objects is.
GM_PRIVATE enum gm_message gm_alloc_classify_foreign(const struct gm_pages *p, uintptr_t word) {
    const struct gm_span *s = gm_span_find(p, word);
    if (s && s->use == GM_USE_POOL) return GM_MSG_POOL;
    if (s && s->use == GM_USE_ARENA) return GM_MSG_ARENA;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (gm_pages_holds(p, word)) return GM_MSG_UNALLOCATED;
    return word - here < 256 * GM_KIB ? GM_MSG_STACK : GM_MSG_FOREIGN; // frames of the callers
}

GM_PRIVATE enum gm_message gm_alloc_free(struct gm_cache *t, void *p) {
    const struct gm_pages *pages = &t->engine->heap.pages;
    struct gm_span *s = gm_alloc_span(pages, p);
    if (!s) return gm_alloc_classify_foreign(pages, (uintptr_t)p);
    uint32_t index = gm_span_index(pages, s, (uintptr_t)p);
    if (index >= s->count || gm_span_slot(pages, s, index) != (uintptr_t)p) return GM_MSG_INTERIOR;
    return gm_alloc_free_slot(t, s, index, p);
}

GM_NOINLINE GM_PRIVATE void gm_alloc_free_slow(void *p) {
    struct gm_runtime *rt = &gm_runtime;
    int saved = errno;
    if (!p || gm_load_acq(&rt->world.life) == GM_LIFE_SHUT) return; // pairs with gomem_shutdown
    struct gm_cache *t = gm_alloc_enter(rt);
    if (t) {
        enum gm_message wrong = gm_alloc_free(t, p);
        gm_world_widen(rt, t);
        gm_alloc_leave(rt, t);
        gm_alloc_freed(rt);
        if (GOMEM_I_UNLIKELY(wrong != GM_MESSAGE_COUNT))
            gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, wrong, p); // L2
    }
    errno = saved; // L1
}

// The general free: as the typed one, but the class comes from the page, and the slot is checked.
GOMEM_DEF void gomem_free(void *p) {
    gomem_i_cache *t = GOMEM_I_TLS;
    uintptr_t offset = (uintptr_t)p - t->base;
    if (!GOMEM_I_SLOW && GOMEM_I_LIKELY(offset < t->size)) {
        uint32_t desc = gm_load_rlx(&t->desc[offset >> GM_PAGE_SHIFT]), class = desc >> 4 & 255;
        uint64_t within = ((uint64_t)(desc >> 12) << GM_PAGE_SHIFT) + offset % GM_PAGE;
        const struct gm_class *k = &gm_sizes_table[class];
        uint64_t product = within * k->magic; // Z1: {index, less than magic at the start of a slot}
        void ***at = gomem_i_top(t, class), **top = *at;
        if (GOMEM_I_LIKELY((desc & 15) == GM_MANUAL && (uint32_t)product < k->magic &&
                           product >> 32 < k->count && ((uintptr_t)(top + 1) & 511) &&
                           !gomem_i_lately(top, p) && !gomem_i_lately(top - 2, p))) {
            gm_store_rlx(top + 1, p); // R8
            gm_signal_fence();
            gm_store_rlx(at, top + 1);
            return;
        }
    }
    if (p) gm_alloc_free_slow(p);
}

GOMEM_DEF void gomem_free_sized(void *p, size_t size) {
    (void)size;
    gomem_free(p);
}

// Is the calling thread in a blocking region, where it may not touch collected memory? Then that is
// said: of p, or of what was to be allocated.
GM_PRIVATE bool gm_alloc_blocked(struct gm_runtime *rt, const void *p) {
    const struct gm_thread *me = gm_world_self();
    if (GOMEM_I_LIKELY(!me || !me->cache.hot.blocked)) return false;
    gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_BLOCKING, p);
    errno = EINVAL;
    return true;
}

#if GOMEM_I_COLLECTOR
// ---- collected ----

// The calling thread may use the collected heap and take `bytes` of it: it is attached, outside
// blocking regions, and the collector is paid. False: errno says why.
GM_PRIVATE bool gm_alloc_collected(struct gm_runtime *rt, size_t bytes) {
    struct gm_thread *me = gm_world_attach(rt);
    if (!me)
        return GOMEM_I_TLS == GM_RUNTIME_GONE && gm_world_ready(rt, false) &&
               gm_schedule_enable(rt);
    if (GOMEM_I_UNLIKELY(!gm_load_acq(&rt->engine.collected)) && // pairs with gm_world_enable_stops
        !gm_schedule_enable(rt))
        return false; // pairs with gm_world_enable_stops
    if (gm_alloc_blocked(rt, NULL)) return false;
    if (GOMEM_I_LIKELY(!me->cache.hot.section_depth)) gm_schedule_poll(rt, me, bytes);
    return true;
}

// Bytes that an object, or the run that it comes from, takes from the heap.
GM_INLINE size_t gm_alloc_share(unsigned class, size_t size) {
    if (class) return GM_MAX((size_t)gm_sizes_table[class].size, (size_t)GM_RUN_BYTES);
    return GM_MAX(gm_base_round_up(size, 16), (size_t)GOMEM_MAX_SMALL + 1); // large by alignment
}

GM_PRIVATE void *gm_alloc_run(struct gm_cache *t, gomem_i_run *run, struct gm_span **owned,
                              struct gm_central *c) {
    size_t size = gm_sizes_table[c->class].size;
    void *p = gomem_i_bump(run, size);
    if (!p && gm_cache_refill_run(t, run, owned, c)) p = gomem_i_bump(run, size);
    return p;
}

// A collected object, or what one grows by, is there; some of it may have been counted before.
GM_PRIVATE void gm_alloc_charge(struct gm_cache *t, size_t bytes) {
    size_t ahead = GM_MIN(t->ahead, bytes);
    (void)gm_add_rlx(&t->engine->live, bytes - ahead); // a heuristic counter
    t->ahead -= ahead;
}

// A large object of a collected or uncollectable kind, listed; the caller zeroes what *dirty says.
GM_PRIVATE void *gm_alloc_large(struct gm_cache *t, struct gm_central *c, size_t size, size_t align,
                                size_t *dirty) {
    struct gm_engine *e = t->engine;
    if (GM_IN(GM_SET_COLLECTED, c->kind))
        (void)gm_sweep_some(&e->sweep, &e->heap, &e->guard, &e->stats.shared, c, 8);
    struct gm_span *s = gm_heap_take(&e->heap, c->kind, 0, gm_base_round_up(size, 16), align);
    if (!s) return NULL;
    s->shape = c->shape;
    s->used = s->fresh = 1;
    s->bucket = 1;                                                    // listed
    struct gm_color *color = gm_span_colors(&e->heap.pages, s->page); // not published yet
    bool black = gm_cache_deciding(e) && GM_IN(GM_SET_COLLECTED, c->kind);
    gm_store_rlx(&color->mark, (uint64_t)black); // R1
    gm_store_rlx(&color->alloc, (uint64_t)1);
    gm_store_rel(&s->generation, gm_load_rlx(&e->sweep.generation)); // pairs with gm_sweep_swept
    *dirty = s->clean ? 0 : (size_t)s->pages * GM_PAGE;
    gm_base_tsan_renew(gm_span_start(&e->heap.pages, s), (size_t)s->pages * GM_PAGE);
    if (*dirty && c->shape) { // a mark procedure may not see what was there before
        gm_os_zero(gm_span_start(&e->heap.pages, s), *dirty, true);
        *dirty = 0;
    }
    gm_heap_publish(&e->heap, s);
    gm_sync_lock(&c->lock);
    gm_central_add_locked(c, &e->heap.pages,
                          GM_IN(GM_SET_COLLECTED, c->kind) ? gm_sweep_full(&e->sweep, true) : 2, s);
    gm_sync_unlock(&c->lock);
    gm_stats_own(&t->stats.mallocs[0], 1);
    gm_stats_own(&t->stats.large_alloc, s->size);
    gm_cache_count_bytes(t, s->size);
    if (GM_IN(GM_SET_COLLECTED, c->kind)) gm_alloc_charge(t, s->size);
    return (void *)gm_span_start(&e->heap.pages, s);
}

// An uncollectable object: straight from its central.
GM_PRIVATE void *gm_alloc_root(struct gm_cache *t, struct gm_central *c) {
    struct gm_engine *e = t->engine;
    struct gm_pages *p = &e->heap.pages;
    uintptr_t object = 0;
    gm_sync_lock(&c->lock);
    struct gm_span *s = gm_central_pop_locked(c, p, 0);
    if (!s) {
        s = gm_heap_take(&e->heap, c->kind, c->class, 0, 0);
        if (s && !s->clean)
            gm_os_zero(gm_span_start(p, s), (size_t)s->pages * GM_PAGE, s->kind == GM_ROOT);
        if (s) s->fresh = s->count;
        if (s) gm_heap_publish(&e->heap, s);
    }
    if (s) {
        struct gm_color *color = gm_span_colors(p, s->page);
        unsigned i = 0;
        while (!(gm_span_starts(s, i) & ~color[i].alloc)) i++;
        uint64_t free = gm_span_starts(s, i) & ~color[i].alloc;
        gm_store_rlx(&color[i].alloc, color[i].alloc | (free & -free)); // under the lock
        object = gm_span_object(p, s, i, gm_base_ctz(free));
        s->used++;
        gm_central_add_locked(c, p, s->used < s->count ? 0 : 2, s);
    }
    gm_sync_unlock(&c->lock);
    if (!s) return NULL;
    gm_stats_own(&t->stats.mallocs[c->class], 1);
    gm_cache_count_bytes(t, gm_sizes_table[c->class].size);
    return (void *)object;
}

// Zeroes a large object outside the section: it is listed and held by this stack. Stale words in it
// can only keep garbage for one cycle.
GM_PRIVATE void *gm_alloc_zero(void *p, size_t dirty) {
    struct gm_runtime *rt = &gm_runtime;
    if (!p || !dirty) return p;
    if (gm_guard_watched(&rt->engine.guard)) { // it is handed out later
        gm_os_zero((uintptr_t)p, dirty, true);
        return p;
    }
    const struct gm_span *s = gm_span_find(&rt->engine.heap.pages, (uintptr_t)p);
    return gm_alloc_zero_pages(rt, p, dirty, !GM_IN(GM_SET_SCANNED, s->kind));
}

// Takes an object of kind and class in a section.
GM_PRIVATE void *gm_alloc_kind(struct gm_cache *t, unsigned kind, unsigned class, size_t size,
                               size_t align, size_t *dirty) {
    struct gm_central *c = &t->engine->central[kind][class];
    if (!class) return gm_alloc_large(t, c, size, align, dirty);
    if (kind == GM_SCAN) return gm_alloc_run(t, &t->hot.scan[class], &t->scan[class], c);
    if (kind == GM_NOSCAN) return gm_alloc_run(t, &t->hot.noscan[class], &t->noscan[class], c);
    return gm_alloc_root(t, c);
}

GOMEM_DEF void *gomem_i_new_slow(size_t size, size_t align, unsigned flags) {
    struct gm_runtime *rt = &gm_runtime;
    unsigned kind = flags & GOMEM_UNCOLLECTABLE ? (flags & GOMEM_NOSCAN ? GM_ROOT_NOSCAN : GM_ROOT)
                    : flags & GOMEM_NOSCAN      ? GM_NOSCAN
                                                : GM_SCAN;
    if (size > (size_t)PTRDIFF_MAX - 2 * GM_MARGIN) return gomem_i_overflow();
    int saved = errno;
    size_t slot = size + gm_alloc_margin(rt, size), dirty = 0;
    unsigned class = gm_sizes_class(GM_MAX(slot, (size_t)16), align), tries = 0;
    bool kept = flags & GOMEM_UNCOLLECTABLE; // no part of the heap that has a goal
    if (!gm_alloc_collected(rt, kept ? 0 : gm_alloc_share(class, slot))) return NULL;
    void *p;
    do {
        struct gm_cache *t = gm_alloc_enter(rt);
        if (!t) return NULL;
        p = gm_alloc_kind(t, kind, class, slot, align, &dirty);
        gm_alloc_leave(rt, t);
    } while (GOMEM_I_UNLIKELY(!p) && gm_alloc_exhausted(rt, size, &tries));
    p = gm_alloc_zero(gm_alloc_done(p, saved), flags & GOMEM_UNINIT ? 0 : dirty);
    return gm_alloc_watch(rt, p, size);
}

GOMEM_DEF void *gomem_i_new_typed_slow(gomem_type *type, size_t size) {
    struct gm_runtime *rt = &gm_runtime;
    if (size > (size_t)PTRDIFF_MAX - 2 * GM_MARGIN) return gomem_i_overflow();
    int saved = errno;
    size_t slot = size + gm_alloc_margin(rt, size), dirty = 0;
    unsigned class = gm_sizes_class(GM_MAX(slot, (size_t)16), type->align), tries = 0;
    if (!gm_alloc_collected(rt, gm_alloc_share(class, slot))) return NULL;
    void *p = NULL;
    do {
        struct gm_cache *t = gm_alloc_enter(rt);
        if (!t) return NULL;
        uint32_t number = gm_types_intern(&rt->engine.types, type, class);
        struct gm_central *c = number ? &gm_types_shape(&rt->engine.types, number)->central : NULL;
        if (c && !class) p = gm_alloc_large(t, c, slot, type->align, &dirty);
        else if (c && gm_cache_typed_room(t, number))
            p = gm_alloc_run(t, &t->hot.typed[number], &t->typed[number], c);
        gm_alloc_leave(rt, t);
    } while (GOMEM_I_UNLIKELY(!p) && gm_alloc_exhausted(rt, size, &tries));
    return gm_alloc_watch(rt, gm_alloc_zero(gm_alloc_done(p, saved), dirty), size);
}

// A struct that is no whole number of its type's: pointers of the rest would not be scanned. A mark
// procedure may know better.
GOMEM_DEF bool gomem_i_type_fits(const gomem_type *t, size_t size) {
    if (t->mark || !t->nfields || !t->size || size % t->size == 0) return true;
    struct gm_text line = gm_text_message(GM_MSG_OTHER_TYPE, ": %zu bytes, and %s has %zu", size,
                                          t->name, t->size);
    gm_guard_panic(&gm_runtime.engine.guard, line.data);
    errno = EINVAL;
    return false;
}

GOMEM_DEF size_t gomem_i_spare(void) {
    return !gm_world_ready(&gm_runtime, false) || !gm_guard_watched(&gm_runtime.engine.guard);
}

GOMEM_DEF void *gomem_new(size_t size) { return gomem_i_new(gomem_i_array(size), 16, 0); }
GOMEM_DEF void *gomem_new_noscan(size_t size) {
    return gomem_i_new(gomem_i_array(size), 16, GOMEM_NOSCAN);
}

GOMEM_DEF void *gomem_new_typed(gomem_type *t, size_t n) {
    size_t bytes;
    if (__builtin_mul_overflow(n, t->size, &bytes)) return gomem_i_overflow();
    bool array = n != 1 || bytes >= 128; // as GOMEM_NEW_TYPED where it is one
    return gomem_i_new_typed_slow(t, array ? gomem_i_array(bytes) : bytes);
}

GOMEM_DEF void *gomem_new_with(size_t size, size_t align, unsigned flags) {
    bool known = !(flags & ~(unsigned)(GOMEM_NOSCAN | GOMEM_UNCOLLECTABLE | GOMEM_UNINIT));
    if (!known || (flags & GOMEM_UNINIT && !(flags & GOMEM_NOSCAN)) ||
        (align && !gm_base_power_of_two(align))) {
        errno = EINVAL;
        return NULL;
    }
    align = GM_MAX(align, size > 8 ? (size_t)16 : (size_t)8);
    return gomem_i_new_slow(flags & GOMEM_UNCOLLECTABLE ? size : gomem_i_array(size), align, flags);
}

GOMEM_DEF char *gomem_new_string(const char *s, size_t n) {
    if (n == SIZE_MAX) n = strlen(s);
    if (n > (size_t)PTRDIFF_MAX - 16) return gomem_i_overflow();
    char *copy = gomem_i_new(n + 1, 16, GOMEM_NOSCAN); // its end is the NUL
    if (copy) memcpy(copy, s, n);
    return copy;
}

GOMEM_DEF void gomem_mark(gomem_marker *m, const void *p) {
    if (m->visit) m->visit(m, (uintptr_t)p);
    else gm_mark_shade(m, (uintptr_t)p, m->alone);
}

GM_NO_SANITIZE GOMEM_DEF void gomem_mark_range(gomem_marker *m, const void *lo, const void *hi) {
    uintptr_t start = gm_base_round_up((uintptr_t)lo, GM_WORD);
    const uintptr_t *word = (const uintptr_t *)start;
    size_t n = (uintptr_t)hi > start ? ((uintptr_t)hi - start) / GM_WORD : 0;
    if (!m->visit) gm_mark_range(m, start, n * GM_WORD, GM_JOB_BOTH);
    else
        for (size_t i = 0; i < n; i++) m->visit(m, gm_base_word(&word[i]));
}

GOMEM_DEF void gomem_i_shade(uintptr_t old, uintptr_t value) {
    struct gm_thread *me = gm_world_self();
    struct gm_mark *mark = &gm_runtime.engine.mark;
    if (!me) return;
    gm_sync_enter(&me->cache.hot);
    if (gm_load_rlx(&gomem_i_barrier)) { // the cycle may have ended meanwhile
        gm_mark_shade_grey(mark, old);
        gm_mark_shade_grey(mark, value);
    }
    gm_sync_leave(&me->cache.hot);
}

// What the words that lie in a range, also in part, point to becomes grey. In a section.
GM_NO_SANITIZE GM_PRIVATE void gm_alloc_shade_words(struct gm_mark *mark, uintptr_t start,
                                                    size_t size) {
    uintptr_t end = start + size;
    for (start &= ~(uintptr_t)(GM_WORD - 1); start < end; start += GM_WORD)
        gm_mark_shade_grey(mark, gm_base_word((const uintptr_t *)start));
}

// One piece of a move, in one section: no stop finds a word that was taken and not yet put. What
// it overwrites becomes grey, and what it has put there: a marker may have read the place before.
GM_PRIVATE void gm_alloc_move_piece(struct gm_runtime *rt, struct gm_thread *me, void *to,
                                    const void *from, size_t size) {
    gm_sync_enter(&me->cache.hot);
    bool marking = gm_load_rlx(&gomem_i_barrier); // changes in stops only
    if (marking) gm_alloc_shade_words(&rt->engine.mark, (uintptr_t)to, size);
    memmove(to, from, size);
    if (marking) gm_alloc_shade_words(&rt->engine.mark, (uintptr_t)to, size);
    gm_sync_leave(&me->cache.hot);
}

// In pieces, so that a stop waits for one of them at most. A cycle may begin or end between two.
// Pieces that came before it were plain stores and are like any others. From then on each word that
// goes away was grey before, so whatever was reachable as the cycle began is marked, wherever the
// words stand when it looks. Of ranges that overlap the piece goes first whose target no later
// piece reads: each word is in its old place or in its new one at any stop. Pieces end at words of
// the target.
GOMEM_DEF void *gomem_memmove(void *to, const void *from, size_t size) {
    enum { PIECE = 16 * 1024 };
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_self();
    // who holds a pointer to a collected object sees the choice
    if (!me || gm_load_rlx(&rt->engine.writes.collector) != GOMEM_GC_BARRIER)
        return memmove(to, from, size);
    bool up = (uintptr_t)to - (uintptr_t)from >= size;
    for (size_t done = 0, n; done < size; done += n) {
        uintptr_t edge = (uintptr_t)to + (up ? done : size - done); // of what was moved
        size_t over = edge % GM_WORD;
        n = GM_MIN(size - done, up ? PIECE - over : PIECE + over);
        size_t at = up ? done : size - done - n;
        gm_alloc_move_piece(rt, me, (char *)to + at, (const char *)from + at, n);
    }
    return to;
}

// The library has copied words to a new object, which a marker may have read before: what they
// point to becomes grey. In sections, so that stops need not wait.
GM_PRIVATE void gm_alloc_copied(struct gm_runtime *rt, void *to, size_t size) {
    struct gm_thread *me = gm_world_self();
    // who holds a pointer to a collected object sees the choice
    if (!me || gm_load_rlx(&rt->engine.writes.collector) != GOMEM_GC_BARRIER) return;
    for (size_t at = 0; at < size; at += GM_READ) {
        gm_sync_enter(&me->cache.hot);
        const uintptr_t *word = (const uintptr_t *)((uintptr_t)to + at);
        size_t n = GM_MIN(size - at, (size_t)GM_READ) / GM_WORD;
        for (size_t i = 0; i < n && gm_load_rlx(&gomem_i_barrier); i++)
            gm_mark_shade_grey(&rt->engine.mark, gm_base_word(&word[i]));
        gm_sync_leave(&me->cache.hot);
    }
}
#endif // GOMEM_I_COLLECTOR

// ---- realloc and questions ----

#if GOMEM_I_COLLECTOR
// Is the collected slot at an address live? No waiting: a signal handler may ask.
GM_PRIVATE bool gm_alloc_is_live(const struct gm_runtime *rt, const struct gm_span *s,
                                 uintptr_t slot) {
    const struct gm_color *c = gm_span_color(&rt->engine.heap.pages, slot);
    uint64_t bits = gm_load_rlx(&c->alloc) & ~gm_load_rlx(&c->freed);
    uint32_t generation = gm_load_acq(&s->generation); // pairs with gm_sweep_bits
    uint32_t now = gm_load_rlx(&rt->engine.sweep.generation);
    uint64_t mark = gm_load_rlx(&c->mark);
    // pairs with gm_sweep_claim's: mark is of that generation, or the next look differs
    gm_fence_acq();
    bool same = gm_load_rlx(&s->generation) == generation &&
                gm_load_rlx(&rt->engine.sweep.generation) == now;
    if (same && GM_IN(GM_SET_COLLECTED, s->kind) && generation + 2 == now) bits &= mark; // R6
    return bits & gm_span_bit(&rt->engine.heap.pages, slot);
}
#else
GM_INLINE bool gm_alloc_is_live(const struct gm_runtime *rt, const struct gm_span *s,
                                uintptr_t slot) {
    return (void)rt, (void)s, (void)slot, false; // there are none
}
#endif

GOMEM_DEF void *gomem_base(const void *p) {
    const struct gm_runtime *rt = &gm_runtime;
    const struct gm_pages *pages = &rt->engine.heap.pages;
    if (gm_load_acq(&rt->world.life) != GM_LIFE_READY) return NULL; // pairs with init
    const struct gm_span *s = gm_alloc_span(pages, p);
    if (!s) return NULL;
    uint32_t index = gm_span_index(pages, s, (uintptr_t)p);
    uintptr_t slot = gm_span_slot(pages, s, index);
    bool live = true;
    if (index >= s->count) return NULL;
    if (s->kind != GM_MANUAL) live = gm_alloc_is_live(rt, s, slot);
    else if (s->class)
        live = gm_load_rlx(&gm_span_bits(pages, s->page)[index / 64]) >> index % 64 & 1;
    return live ? (void *)slot : NULL;
}

GOMEM_DEF size_t gomem_usable_size(const void *p) {
    const struct gm_runtime *rt = &gm_runtime;
    if (!p || gm_load_acq(&rt->world.life) != GM_LIFE_READY) return 0; // pairs with init
    const struct gm_pages *pages = &rt->engine.heap.pages;
    const struct gm_span *s = gm_alloc_span(pages, p);
    if (!s) return 0;
    uint32_t index = gm_span_index(pages, s, (uintptr_t)p);
    return index < s->count ? gm_guard_size(&rt->engine.guard, s, gm_span_slot(pages, s, index))
                            : gm_span_slot_size(s);
}

#if GOMEM_I_COLLECTOR
// Bytes that an object of the kind of s takes for an array of `size` bytes.
GM_INLINE size_t gm_alloc_room(const struct gm_span *s, size_t size) {
    return GM_IN(GM_SET_COLLECTED, s->kind) ? gomem_i_array(size) : size;
}

// A new object of the kind of s.
GM_PRIVATE void *gm_alloc_like(struct gm_runtime *rt, const struct gm_span *s, size_t size) {
    if (s->kind == GM_TYPED) {
        const struct gm_type_record *r = gm_types_shape(&rt->engine.types, s->shape)->type;
        gomem_type type = {r->name, r->size, r->align, r->fields, r->nfields, r->mark, 0};
        return gomem_i_new_typed_slow(&type, size);
    }
    if (s->kind != GM_MANUAL) {
        unsigned noscan = s->kind == GM_NOSCAN || s->kind == GM_ROOT_NOSCAN ? GOMEM_NOSCAN : 0;
        unsigned root = s->kind == GM_ROOT || s->kind == GM_ROOT_NOSCAN ? GOMEM_UNCOLLECTABLE : 0;
        return gomem_i_new_slow(size, size > 8 ? 16 : 8, noscan | root);
    }
    return gomem_malloc(size);
}

GM_INLINE bool gm_alloc_marking(const struct gm_engine *e) { return gm_cache_marking(e); }

// An object of s has moved to a new one: so do its side records (X4).
GM_PRIVATE void gm_alloc_move_records(struct gm_runtime *rt, const struct gm_span *s, void *from,
                                      void *to) {
    if (GOMEM_I_LIKELY(!gm_load_rlx(&s->special))) return;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return;
    gm_store_rlx(&gm_span_find(&rt->engine.heap.pages, (uintptr_t)to)->special, (uint8_t)1); // X1
    gm_special_move(&rt->engine.special, (uintptr_t)from, (uintptr_t)to);
    gm_alloc_leave(rt, t);
}

// A collected object is about to grow by `more`.
GM_PRIVATE void gm_alloc_pay(struct gm_runtime *rt, const struct gm_span *s, size_t more) {
    struct gm_thread *me = gm_world_attach(rt);
    if (!GM_IN(GM_SET_COLLECTED, s->kind) || !me || me->cache.hot.section_depth ||
        me->cache.hot.blocked)
        return;
    gm_schedule_poll(rt, me, more);
}

// The bytes of a collected object change by `more`, which wraps down too.
GM_PRIVATE void gm_alloc_count_live(struct gm_cache *t, const struct gm_span *s, size_t more) {
    if (!GM_IN(GM_SET_COLLECTED, s->kind)) return;
    if (more <= PTRDIFF_MAX) gm_alloc_charge(t, more);
    else (void)gm_add_rlx(&t->engine->live, more); // heuristics
}
#else
// all objects are manual
GM_INLINE void gm_alloc_copied(struct gm_runtime *rt, void *to, size_t size) {
    (void)rt, (void)to, (void)size;
}
GM_INLINE void gm_alloc_move_records(struct gm_runtime *rt, const struct gm_span *s, void *from,
                                     void *to) {
    (void)rt, (void)s, (void)from, (void)to;
}
GM_INLINE size_t gm_alloc_room(const struct gm_span *s, size_t size) { return (void)s, size; }
GM_PRIVATE void *gm_alloc_like(struct gm_runtime *rt, const struct gm_span *s, size_t size) {
    (void)rt, (void)s;
    return gomem_malloc(size);
}
GM_INLINE bool gm_alloc_marking(const struct gm_engine *e) { return (void)e, false; }
GM_INLINE void gm_alloc_pay(struct gm_runtime *rt, const struct gm_span *s, size_t more) {
    (void)rt, (void)s, (void)more;
}
GM_INLINE void gm_alloc_count_live(struct gm_cache *t, const struct gm_span *s, size_t more) {
    (void)t, (void)s, (void)more;
}
#endif // GOMEM_I_COLLECTOR

enum { GM_MOVE_LEAST = 4096 * 1024 }; // below it copying is cheaper: the hole is faulted in again

// Moves the contents of a large object to a larger one: by pages where both are manual or noscan.
GM_PRIVATE void gm_alloc_move(struct gm_runtime *rt, const struct gm_span *s, void *to, void *from,
                              size_t size) {
    bool plain = s->kind == GM_MANUAL || s->kind == GM_NOSCAN;
    size_t whole = size & ~(rt->engine.heap.pages.os_page - 1);
    bool aligned = !(((uintptr_t)to | (uintptr_t)from) & (rt->engine.heap.pages.os_page - 1));
    if (s->class || !plain || !aligned || whole < GM_MOVE_LEAST || !gm_os_move(from, to, whole))
        whole = 0;
    if (size > whole) memcpy((char *)to + whole, (char *)from + whole, size - whole);
}

// A large object grows or shrinks where it is, to `room` bytes for a `size`. False: it does not fit
// there.
GM_PRIVATE bool gm_alloc_resize_large(struct gm_runtime *rt, struct gm_span *s, size_t size,
                                      size_t room) {
    size_t old = s->size, pages = s->pages, now = gm_base_round_up(room, 16);
    bool clean = false, done = false;
    if (now > old) gm_alloc_pay(rt, s, now - old);
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return false;
    if (s->kind != GM_MANUAL && now < old && gm_alloc_marking(&rt->engine)) {
        gm_alloc_leave(rt, t); // R5
        return false;
    }
    done = gm_heap_resize(&rt->engine.heap, s, now, &clean);
    if (done && now > old) {
        gm_stats_own(&t->stats.large_alloc, now - old);
        gm_cache_count_bytes(t, now - old);
    }
    if (done && now < old) gm_stats_own(&t->stats.large_free, old - now);
    if (done) gm_alloc_count_live(t, s, now - old);
    if (done && s->pages > pages && !clean) gm_store_rlx(&s->clean, (uint8_t)0); // advice
    gm_alloc_leave(rt, t);
    if (!done || s->kind == GM_MANUAL) return done;
    char *start = (char *)gm_span_start(&rt->engine.heap.pages, s);
    if (s->pages > pages && !clean)
        memset(start + pages * GM_PAGE, 0, (s->pages - pages) * GM_PAGE);
    size_t end = GM_MIN(old, (size_t)s->pages * GM_PAGE);
    if (size < end) memset(start + size, 0, end - size); // grown parts are zero
    return true;
}

// True: p can stay where it is, with `room` bytes for a `size`.
GM_PRIVATE bool gm_alloc_in_place(struct gm_runtime *rt, struct gm_span *s, char *p, size_t size,
                                  size_t room) {
    if (gm_guard_watched(&rt->engine.guard)) // old pointers are found out, and the end is exact
        return size == gm_guard_size(&rt->engine.guard, s, (uintptr_t)p);
    if (!s->class) return room > GOMEM_MAX_SMALL && gm_alloc_resize_large(rt, s, size, room);
    size_t usable = gm_sizes_table[s->class].size;
    if (room > usable || (room < usable / 2 && usable > 64)) return false;
    if (s->kind != GM_MANUAL) memset(p + size, 0, usable - size); // grown parts are zero
    return true;
}

// The span of the object that starts at p; NULL, said: there is none.
GM_ALWAYS struct gm_span *gm_alloc_span_of(struct gm_runtime *rt, void *p) {
    struct gm_pages *pages = &rt->engine.heap.pages;
    struct gm_span *s = gm_alloc_span(pages, p);
    enum gm_message wrong = GM_MESSAGE_COUNT;
    if (s && s->kind == GM_MANUAL && s->class) {
        uint32_t index = gm_span_index(pages, s, (uintptr_t)p);
        wrong = gm_cache_wrong(pages, s, index, (uintptr_t)p);
    } else if (!s) {
        wrong = gm_alloc_classify_foreign(pages, (uintptr_t)p);
    } else if (gomem_base(p) != p) {
        wrong = gomem_base(p) ? GM_MSG_INTERIOR : GM_MSG_DOUBLE_FREE;
    }
    if (GOMEM_I_LIKELY(wrong == GM_MESSAGE_COUNT) &&
        !gm_guard_freed(&rt->engine.guard, s, (uintptr_t)p))
        return s;
    if (wrong == GM_MESSAGE_COUNT) wrong = GM_MSG_DOUBLE_FREE;
    gm_guard_misuse(&rt->engine.guard, pages, wrong, p); // L2
    errno = EINVAL;
    return NULL;
}

GOMEM_DEF void *gomem_realloc(void *p, size_t size) {
    struct gm_runtime *rt = &gm_runtime;
    if (!p) return gomem_malloc(size);
    if (!gm_world_ready(rt, false)) return NULL;
    if (size > (size_t)PTRDIFF_MAX - 16) return gomem_i_overflow();
    struct gm_span *s = gm_alloc_span_of(rt, p);
    if (!s || (GM_IN(GM_SET_COLLECTED, s->kind) && gm_alloc_blocked(rt, p))) return NULL;
    int saved = errno;
    size_t room = gm_alloc_room(s, size);
    if (gm_alloc_in_place(rt, s, p, size, room)) return gm_alloc_done(p, saved);
    void *to = gm_alloc_like(rt, s, room);
    if (!to) return NULL;
    size_t old = gm_guard_size(&rt->engine.guard, s, (uintptr_t)p);
    gm_alloc_move(rt, s, to, p, GM_MIN(old, size));
    gm_alloc_copied(rt, to, size);
    gm_alloc_move_records(rt, s, p, to);
    gomem_free(p);
    return gm_alloc_done(to, saved);
}

#if GOMEM_I_POOL || GOMEM_I_ARENA
/* ==========================================================================================
 * >>block   whole pages for pools and arenas                                      floor 5
 * ==========================================================================================
 * OWNS        nothing
 * CALLS       base os span guard cache alloc
 * LOCKS       CENTRAL, then HEAP
 * WHY         A pool or an arena takes its memory in blocks of pages and cuts them itself. A block
 *             whose words are scanned is a large collected object, so that the collector needs to
 *             know nothing of pools and arenas; any other is a large manual one.
 */
#if GOMEM_I_COLLECTOR
GM_PRIVATE void *gm_block_scanned_pages(struct gm_cache *t, size_t size, size_t align) {
    size_t dirty = 0;
    return gm_alloc_large(t, &t->engine->central[GM_ROOT][0], size, align, &dirty);
}
GM_INLINE bool gm_block_ready(struct gm_runtime *rt) { return gm_alloc_collected(rt, 0); }
#else
// nothing is scanned
GM_INLINE void *gm_block_scanned_pages(struct gm_cache *t, size_t size, size_t align) {
    return (void)t, (void)size, (void)align, NULL;
}
GM_INLINE bool gm_block_ready(struct gm_runtime *rt) { return (void)rt, true; }
#endif

// A block for `size` bytes; scanned ones are scanned as far as span.size says, which is all of it.
// NULL with errno: no memory.
GM_PRIVATE struct gm_span *gm_block_new(struct gm_runtime *rt, size_t size, size_t align,
                                        bool scanned, unsigned use) {
    unsigned tries = 0;
    void *p = NULL;
    if (size > (size_t)PTRDIFF_MAX - GM_PAGE) return gomem_i_overflow();
    if (scanned && !gm_block_ready(rt)) return NULL;
    size = gm_base_round_up(size, GM_PAGE);
    struct gm_span *s = NULL;
    do {
        struct gm_cache *t = gm_alloc_enter(rt);
        if (!t) return NULL;
        p = scanned ? gm_block_scanned_pages(t, size, align)
                    : gm_alloc_manual_large(t, size, align);
        s = p ? gm_span_find(&rt->engine.heap.pages, (uintptr_t)p) : NULL;
        if (s) s->use = (uint8_t)use;
        if (s) gm_os_allow((uintptr_t)p, size);
        gm_alloc_leave(rt, t);
    } while (!p && gm_alloc_exhausted(rt, size, &tries));
    return s;
}

// Its record becomes that of an object again, which is freed.
GM_PRIVATE void gm_block_free(struct gm_runtime *rt, struct gm_span *s) {
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return;
    void *start = (void *)gm_span_start(&rt->engine.heap.pages, s);
    size_t bytes = (size_t)s->pages * GM_PAGE;
    gm_guard_allow(start, bytes);
    gm_store_rlx(&s->size, bytes); // as it was taken: statistics. A marker may look
    gm_store_rlx(&s->owner, 0u);   // as above
    s->shape = s->cursor = 0;
    s->used = s->fresh = 1;
    s->use = GM_USE_OBJECT;
    if (s->kind == GM_MANUAL) { // at once: what is in it was watched by its room
        gm_alloc_count_large(t, s);
        gm_cache_put(t, s, start);
    } else {
        (void)gm_alloc_free_slot(t, s, 0, start);
    }
    gm_alloc_leave(rt, t);
}
#endif // GOMEM_I_POOL || GOMEM_I_ARENA

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>control   cycles, roots, stacks of coroutines, walking the heap               floor 5
 * ==========================================================================================
 * OWNS        nothing
 * CALLS       base os sync pages span types guard pacer mark sweep world roots workers gc
 *             schedule alloc
 * LOCKS       ROOTS, for a step
 * WHY         The public side of the collector. What changes lists of roots does so in a section,
 *             so that no stop reads a list that is half changed.
 */
GM_RARE GM_NOINLINE GOMEM_DEF bool gomem_gc(void) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    int saved = errno;
    if (!me || !gm_schedule_enable(rt)) return false;
    if (gm_load_rlx(&rt->gc.holds)) { // a setting
        errno = EBUSY;
        return false;
    }
    me->called = (uintptr_t)__builtin_frame_address(0) + 2 * GM_WORD;
    bool done = gm_schedule_cycle(rt, me, GM_REASON_FORCED);
    me->called = 0;
    if (!done) return false;
    errno = saved;
    return true;
}

GM_RARE GOMEM_DEF bool gomem_gc_start(void) {
    struct gm_runtime *rt = &gm_runtime;
    if (!gm_world_attach(rt) || gm_load_rlx(&rt->gc.holds)) return false; // held: a setting
    if (!gm_schedule_enable(rt) || !gm_load_rlx(&rt->gc.background)) return false;
    gm_store_rel(&rt->gc.asked, (uint32_t)GM_ASKED); // pairs with gm_schedule_due
    gm_gc_wake_background(rt);
    return true;
}

// Sweeps spans of collected kinds until a time; true: nothing is left to sweep.
GM_PRIVATE bool gm_control_sweep_until(struct gm_runtime *rt, struct gm_thread *me,
                                       uint64_t until) {
    struct gm_engine *e = &rt->engine;
    struct gm_central *c;
    for (uint32_t i = 0; (c = gm_workers_central(rt, i)) != NULL; i++) {
        for (unsigned done = 4; done == 4;) {
            gm_sync_enter(&me->cache.hot);
            done = gm_sweep_some(&e->sweep, &e->heap, &e->guard, &e->stats.shared, c, 4);
            gm_sync_leave(&me->cache.hot);
            if (done && gm_os_now() >= until) return false;
        }
    }
    return true;
}

GM_RARE GOMEM_DEF bool gomem_gc_work(unsigned max_us) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    const struct gm_pacer *p = &rt->engine.pacer;
    if (!me || !gm_world_can_stop(rt)) return false;
    uint64_t until = gm_os_now() + (uint64_t)max_us * 1000;
    if (gm_load_rlx(&rt->engine.mark.active)) { // a hint
        (void)gm_schedule_assist(rt, me, until);
    } else if (gm_control_sweep_until(rt, me, until)) {
        size_t old = gm_load_rlx(&p->live), trigger = gm_load_rlx(&p->trigger); // heuristics
        bool half = trigger != SIZE_MAX &&
                    gm_load_rlx(&rt->engine.live) >= old + (trigger - old) / 2;
        if (half && !gm_load_rlx(&rt->gc.holds)) gm_schedule_ask(rt, GM_ASKED);
    }
    uint32_t ended = gm_load_acq(&rt->gc.ended), seen = me->ended; // pairs with gm_schedule_cycle
    me->ended = ended;
    return ended != seen;
}

GM_RARE GOMEM_DEF void gomem_gc_hold(void) { (void)gm_add_rlx(&gm_runtime.gc.holds, 1u); }

GM_RARE GOMEM_DEF void gomem_gc_unhold(void) {
    struct gm_runtime *rt = &gm_runtime;
    uint32_t n = gm_load_rlx(&rt->gc.holds); // a counter: nothing is published by it
    while (n && !gm_cas_acqrel(&rt->gc.holds, &n, n - 1)) {} // pairs with itself
    if (!n) gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_UNBALANCED, NULL);
}

GM_RARE GOMEM_DEF int gomem_set_gc_percent(int percent) {
    struct gm_pacer *p = &gm_runtime.engine.pacer;
    if (!gm_world_ready(&gm_runtime, false)) return 0;
    int old = gm_load_rlx(&p->percent); // a setting: the next refill sees it
    gm_store_rlx(&p->percent, percent < 0 ? GOMEM_GC_OFF : percent);
    gm_pacer_set(p, gm_load_rlx(&p->live), gm_load_rlx(&p->roots));
    return old;
}

GM_RARE GOMEM_DEF size_t gomem_set_memory_limit(size_t bytes) {
    struct gm_pacer *p = &gm_runtime.engine.pacer;
    if (!gm_world_ready(&gm_runtime, false)) return 0;
    size_t old = gm_load_rlx(&p->limit); // a setting: the next refill sees it
    gm_store_rlx(&p->limit, bytes);
    gm_pacer_set(p, gm_load_rlx(&p->live), gm_load_rlx(&p->roots));
    return old;
}

// Adds or removes in a section, under the lock of roots.
GM_RARE GM_PRIVATE bool gm_control_set_area(struct gm_areas *areas, uintptr_t start, uintptr_t end,
                                            bool add) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return false;
    bool valid = !add || (start < end && end - start <= PTRDIFF_MAX), done = true;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    struct gm_area *old = gm_roots_find_area(areas, start);
    if (add && valid && old) old->end = end;
    else if (add && valid) done = gm_roots_add_area(&rt->engine.meta, areas, start, end, 0);
    if (!add && old) *old = areas->list[--areas->count];
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
    if (!valid || (!add && !old)) errno = EINVAL;
    else if (!done) errno = ENOMEM;
    return valid && done && (add || old);
}

GM_RARE GOMEM_DEF bool gomem_add_root(const void *start, size_t size) {
    return gm_control_set_area(&gm_runtime.roots.ranges, (uintptr_t)start, (uintptr_t)start + size,
                               true);
}
GM_RARE GOMEM_DEF bool gomem_remove_root(const void *start) {
    return gm_control_set_area(&gm_runtime.roots.ranges, (uintptr_t)start, 0, false);
}

GM_RARE GOMEM_DEF bool gomem_add_stack(const void *lo, const void *hi) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return false;
    uintptr_t start = (uintptr_t)lo, end = (uintptr_t)hi;
    bool valid = start < end && end - start <= PTRDIFF_MAX, done = valid;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    if (valid) done = gm_roots_add_coroutine(&rt->engine.meta, &rt->roots.stacks, start, end);
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
    if (!done) errno = valid ? ENOMEM : EINVAL;
    return done;
}

GM_RARE GOMEM_DEF bool gomem_remove_stack(const void *lo) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return false;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    bool done = gm_roots_remove_coroutine(&rt->engine.meta, &rt->roots.stacks, (uintptr_t)lo);
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
    if (!done) errno = EINVAL;
    return done;
}

GM_NOINLINE GOMEM_DEF void gomem_stack_parked(const void *lo, const void *sp) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    uintptr_t caller = (uintptr_t)__builtin_frame_address(0);
    if (!me) return;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    struct gm_stack *stack = gm_roots_stack_of(&rt->roots, (uintptr_t)lo);
    bool known = stack && stack->start == (uintptr_t)lo;
    if (known && (uintptr_t)sp - stack->start <= stack->end - stack->start)
        gm_roots_park(stack, (uintptr_t)sp, caller);
    else if (known) gm_store_rlx(&stack->parked, (uintptr_t)0); // in a section
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
}

struct gomem_stack {        // a handle, typed: gm_control_mark_stack
    struct gm_stack *stack; // NULL: not yet, or freed by hand. atomic: rlx
};

// Mark procedure of handles.
GM_PRIVATE void gm_control_mark_stack(const void *obj, size_t size, gomem_marker *m) {
    const gomem_stack *handle = obj;
    struct gm_stack *s = gm_load_rlx(&handle->stack); // its memory stays while a cycle marks
    uint32_t stop_request = gm_load_rlx(&gm_runtime.world.stop_request);
    (void)size;
    if (s) gm_mark_handle(m, s, stop_request && stop_request != GM_GATE);
}

// Maps a stack of `size` bytes above a guard page. NULL: no memory.
GM_PRIVATE void *gm_control_map_stack(struct gm_runtime *rt, size_t size) {
    size_t guard = gm_roots_guard(rt);
    unsigned tries = 0;
    do {
        char *p = gm_os_reserve(size + guard, 0);
        if (p && gm_os_protect((uintptr_t)p + guard, (uintptr_t)p + guard + size,
                               PROT_READ | PROT_WRITE))
            return p + guard;
        if (p) gm_os_release(p, size + guard);
    } while (gm_alloc_exhausted(rt, size, &tries));
    return NULL;
}

GM_RARE GOMEM_DEF gomem_stack *gomem_stack_new(size_t size) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    gomem_type type = {.name = "gomem_stack",
                       .size = sizeof(gomem_stack),
                       .align = GM_WORD,
                       .mark = gm_control_mark_stack};
    if (size > (size_t)PTRDIFF_MAX / 2) return gomem_i_overflow();
    gomem_stack *handle = me ? gomem_i_new_typed_slow(&type, sizeof *handle) : NULL;
    if (!handle) return NULL;
    size = gm_base_round_up(GM_MAX(size, (size_t)GM_STACK_LEAST), gm_roots_guard(rt));
    uintptr_t start = (uintptr_t)gm_control_map_stack(rt, size);
    if (!start) return NULL;
    struct gm_roots *r = &rt->roots;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&r->lock);
    bool done = gm_roots_add_coroutine(&rt->engine.meta, &r->stacks, start, start + size);
    struct gm_stack *s = done ? gm_roots_stack_of(r, start) : NULL;
    if (s) s->handle = (uintptr_t)handle;
    gm_store_rlx(&handle->stack, s);
    gm_sync_unlock(&r->lock);
    gm_sync_leave(&me->cache.hot);
    if (!s) {
        gm_os_release((void *)(start - gm_roots_guard(rt)), size + gm_roots_guard(rt));
        return gomem_i_overflow();
    }
    (void)gm_add_rlx(&rt->engine.live, (size_t)GM_STACK_COST); // a heuristic counter
    return handle;
}

GOMEM_DEF void *gomem_stack_base(const gomem_stack *handle) {
    const struct gm_stack *s = gm_load_rlx(&handle->stack); // const until it is freed
    return s ? (void *)s->start : NULL;
}

GOMEM_DEF size_t gomem_stack_size(const gomem_stack *handle) {
    const struct gm_stack *s = gm_load_rlx(&handle->stack); // const until it is freed
    return s ? s->end - s->start : 0;
}

GM_RARE GOMEM_DEF void gomem_stack_free(gomem_stack *handle) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = handle ? gm_world_attach(rt) : NULL;
    if (!me) return;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    struct gm_stack *s = gm_load_rlx(&handle->stack); // under the lock
    gm_store_rlx(&handle->stack, (struct gm_stack *)NULL);
    if (s) gm_roots_retire_locked(rt, s);
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
    gm_roots_free_retired(rt, me);
}

// Adds or removes a function of roots in a section, under the lock of roots.
GM_PRIVATE bool gm_control_set_root_fn(struct gm_root_fn fn, bool add) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return false;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    bool done = add ? gm_roots_add_fn(&rt->engine.meta, &rt->roots.fns, fn)
                    : gm_roots_remove_fn(&rt->roots.fns, fn);
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
    if (!done) errno = add ? ENOMEM : EINVAL;
    return done;
}

GM_RARE GOMEM_DEF bool gomem_add_root_fn(void (*fn)(gomem_marker *m, void *arg), void *arg) {
    return gm_control_set_root_fn((struct gm_root_fn){fn, arg}, true);
}
GM_RARE GOMEM_DEF bool gomem_remove_root_fn(void (*fn)(gomem_marker *m, void *arg), void *arg) {
    return gm_control_set_root_fn((struct gm_root_fn){fn, arg}, false);
}

GOMEM_DEF void gomem_stack_saved_at(const void *lo, const void *slot) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    struct gm_stack *stack = gm_roots_stack_of(&rt->roots, (uintptr_t)lo);
    if (stack && stack->start == (uintptr_t)lo) gm_store_rlx(&stack->saved, slot); // in a section
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
}

// The run that holds slots of s, empty if none does. Its thread may move on meanwhile.
GM_PRIVATE gomem_i_run gm_control_held(struct gm_runtime *rt, const struct gm_span *s) {
    uint32_t owner = gm_load_rlx(&s->owner);           // a snapshot
    struct gm_thread *t = gm_load_acq(&rt->world.all); // pairs with gm_world_record_locked
    while (t && (!owner || t->cache.number != owner)) t = t->next;
    if (!t || !s->class) return (gomem_i_run){0, 0};
    const gomem_i_run *run = s->kind == GM_SCAN ? &t->cache.hot.scan[s->class]
                                                : &t->cache.hot.noscan[s->class];
    if (s->kind == GM_TYPED)
        run = s->shape < t->cache.hot.typed_count ? &t->cache.hot.typed[s->shape] : NULL;
    uintptr_t end = run ? gm_load_rlx(&run->end) : 0;
    return (gomem_i_run){run ? gm_load_rlx(&run->cursor) : 0, end};
}

// Live objects of one group of s, held slots not among them; returns how many.
GM_PRIVATE unsigned gm_control_live(struct gm_runtime *rt, const struct gm_span *s, unsigned group,
                                    void **objects) {
    gomem_i_run held = gm_control_held(rt, s);
    unsigned n = 0;
    for (uint64_t starts = gm_span_starts(s, group); starts; starts &= starts - 1) {
        uintptr_t slot = gm_span_object(&rt->engine.heap.pages, s, group, gm_base_ctz(starts));
        if (slot >= held.cursor && slot < held.end) continue;
        if (gm_sweep_live(&rt->engine.sweep, &rt->engine.heap.pages, s, slot))
            objects[n++] = (void *)slot;
    }
    return n;
}

// In a section: live objects of the next 64 slots from *page, *group on, moving these; false: end.
GM_PRIVATE bool gm_control_each_group(struct gm_runtime *rt, const struct gm_type_record *type,
                                      size_t *page, unsigned *group, void **objects, unsigned *n,
                                      size_t *size) {
    struct gm_pages *p = &rt->engine.heap.pages;
    *n = 0;
    *page = gm_pages_next(p, *page);
    if (*page == SIZE_MAX) return false;
    uint32_t desc = gm_pages_desc(p, *page);
    struct gm_span *s = gm_span_at(p, *page);
    if (!GM_IN(GM_SET_COLLECTED, desc & 7) || desc >> 12) {
        ++*page;
        *group = 0;
        return true;
    }
    if (!type || (s->kind == GM_TYPED && gm_types_shape(&rt->engine.types, s->shape)->type == type))
        *n = gm_control_live(rt, s, *group, objects);
    *size = gm_span_slot_size(s);
    if (++*group < (s->class ? s->pages * 8 : 1)) return true;
    *page += GM_MAX(s->pages, 1u);
    *group = 0;
    return true;
}

GOMEM_DEF size_t gomem_each(gomem_type *t, bool (*fn)(void *obj, size_t size, void *user),
                            void *user) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    size_t called = 0, page = 0, size = 0;
    unsigned group = 0, n = 0;
    void *objects[64];
    bool more = me != NULL;
    const struct gm_type_record *type = NULL;
    if (t && me) {
        gm_sync_enter(&me->cache.hot);
        uint32_t number = gm_types_intern(&rt->engine.types, t,
                                          gomem_i_class_new(t->size, t->align));
        gm_sync_leave(&me->cache.hot);
        if (!number) return 0;
        type = gm_types_shape(&rt->engine.types, number)->type;
    }
    while (more) {
        gm_sync_enter(&me->cache.hot);
        do more = gm_control_each_group(rt, type, &page, &group, objects, &n, &size);
        while (more && !n);
        gm_sync_leave(&me->cache.hot);
        for (unsigned i = 0; i < n; i++) {
            called++;
            size_t own = gm_guard_watched(&rt->engine.guard) ? gomem_usable_size(objects[i]) : size;
            if (!fn(objects[i], own, user)) return called;
        }
    }
    return called;
}
#endif // GOMEM_I_COLLECTOR

/* ==========================================================================================
 * >>init   options, start and shutdown                                            floor 5
 * ==========================================================================================
 * OWNS        nothing
 * CALLS       base sync pages types guard writes cache world roots finalize schedule control
 * LOCKS       INIT, around start and shutdown
 * INVARIANTS  L3  options that a running heap cannot change are compared, never stored
 * WHY         The first call of any function starts the library with the defaults. gomem_init only
 *             says what else is wanted, and is refused with EBUSY where that cannot be had any
 *             more.
 */
GM_RARE GOMEM_DEF const char *gomem_version(void) {
#define GM_STRING_OF(x) #x
#define GM_STRING(x)    GM_STRING_OF(x)
    return GM_STRING(GOMEM_VERSION_MAJOR) "." GM_STRING(GOMEM_VERSION_MINOR) "." GM_STRING(
        GOMEM_VERSION_PATCH);
#undef GM_STRING
#undef GM_STRING_OF
}

GM_PRIVATE bool gm_init_options_valid(const gomem_options *o) {
    if (o->gc_percent < GOMEM_GC_OFF || o->mark_workers < 0 || o->force_period_ms < -1)
        return false;
    if (o->collector < GOMEM_GC_AUTO || o->collector > GOMEM_GC_STW) return false;
    if (o->stop_signal == SIGKILL || o->stop_signal == SIGSTOP) return false;
    return o->stop_signal >= 0 && o->stop_signal <= SIGRTMAX;
}

// Fields that a running heap cannot change: false if one differs.
GM_PRIVATE bool gm_init_options_agree(const gomem_options *o, const gomem_options *now) {
    return (!o->reserve || o->reserve == now->reserve) &&
           (!o->hard_limit || o->hard_limit == now->hard_limit) &&
           (!o->stop_signal || o->stop_signal == now->stop_signal) &&
           (!o->pointer_mask || o->pointer_mask == now->pointer_mask);
}

// Threads may run: each field is one that they read at once, and callbacks come after `user`.
GM_PRIVATE void gm_init_options_set(struct gm_runtime *rt, const gomem_options *o) {
    gomem_options *now = &rt->world.settings.options;
    struct gm_guard *g = &rt->engine.guard;
    if (o->gc_percent) now->gc_percent = o->gc_percent; // read before threads run, these two
    if (o->memory_limit) now->memory_limit = o->memory_limit;
    if (o->collector) gm_store_rlx(&now->collector, o->collector); // settings
    if (o->mark_workers) gm_store_rlx(&now->mark_workers, o->mark_workers);
    if (o->hard_limit) now->hard_limit = o->hard_limit;
    if (o->reserve) now->reserve = o->reserve; // a running heap's agree, these four
    if (o->stop_signal) now->stop_signal = o->stop_signal;
    if (o->pointer_mask) now->pointer_mask = o->pointer_mask;
    if (o->force_period_ms) gm_store_rlx(&now->force_period_ms, o->force_period_ms);
    if (o->finalizers_by_hand) gm_store_rlx(&now->finalizers_by_hand, true); // asked at each turn
    if (o->unordered) gm_store_rlx(&now->unordered, true);                   // asked by each cycle
    if (o->user) {
        gm_store_rlx(&now->user, o->user);
        gm_store_rlx(&g->user, o->user);
    }
    if (o->oom) gm_store_rel(&now->oom, o->oom); // pairs with who calls them, all four
    if (o->event) gm_store_rel(&now->event, o->event);
    if (o->warn) gm_store_rel(&g->warn, o->warn);
    if (o->panic) gm_store_rel(&g->panic, o->panic);
}

#if GOMEM_I_COLLECTOR
GM_PRIVATE void gm_init_set_percent(int percent) { (void)gomem_set_gc_percent(percent); }
GM_PRIVATE void gm_init_set_limit(size_t bytes) { (void)gomem_set_memory_limit(bytes); }

// The collector was chosen when the collected heap was first used.
GM_PRIVATE bool gm_init_collector_agrees(const struct gm_runtime *rt, int collector) {
    const struct gm_writes *w = &rt->engine.writes;
    // pairs with gm_writes_choose
    return !collector || !gm_load_acq(&w->ready) || collector == w->collector;
}

// Before the heap goes.
GM_PRIVATE void gm_init_forget_writes(struct gm_engine *e) {
    gm_writes_reset(&e->writes, &e->meta);
}

// After a shutdown: no collected object, no root is left.
GM_PRIVATE void gm_init_forget_collected(struct gm_runtime *rt) {
    gm_types_reset(&rt->engine.types);
    rt->roots.ranges.count = rt->roots.fns.count = 0;
    gm_roots_forget_coroutines(rt);
    rt->engine.live = 0;
    gm_store_rlx(&rt->engine.collected, false); // nobody uses gomem: the next life chooses a signal
    gm_finalize_reset(rt);
}

GM_PRIVATE void gm_init_end_callbacks(struct gm_runtime *rt) { gm_finalize_shutdown(rt); }
#else
// there is nothing to set or to forget
GM_INLINE void gm_init_set_percent(int percent) { (void)percent; }
GM_INLINE void gm_init_set_limit(size_t bytes) { (void)bytes; }
GM_INLINE bool gm_init_collector_agrees(const struct gm_runtime *rt, int collector) {
    return (void)rt, (void)collector, true;
}
GM_INLINE void gm_init_forget_writes(struct gm_engine *e) { (void)e; }
GM_INLINE void gm_init_forget_collected(struct gm_runtime *rt) { (void)rt; }
GM_INLINE void gm_init_end_callbacks(struct gm_runtime *rt) { (void)rt; }
#endif // GOMEM_I_COLLECTOR

GM_RARE GOMEM_DEF bool gomem_init(const gomem_options *options) {
    struct gm_runtime *rt = &gm_runtime;
    gomem_options none;
    memset(&none, 0, sizeof none);
    const gomem_options *o = options ? options : &none;
    if (!gm_init_options_valid(o)) {
        errno = EINVAL;
        return false;
    }
    gm_sync_lock(&rt->world.init_lock);
    bool ready = gm_load_rlx(&rt->world.life) == GM_LIFE_READY; // changes under the lock
    bool agree = !ready || (gm_init_options_agree(o, &rt->world.settings.options) &&
                            gm_init_collector_agrees(rt, o->collector));
    if (agree) gm_init_options_set(rt, o);
    gm_sync_unlock(&rt->world.init_lock);
    if (!agree) {
        errno = EALREADY;
        return false;
    }
    if (ready && o->gc_percent) gm_init_set_percent(o->gc_percent);
    if (ready && o->memory_limit) gm_init_set_limit(o->memory_limit);
    return gm_world_ready(rt, true);
}

// All pools are void. Those with a name come back, and find the places that they had.
#if GOMEM_I_POOL
GM_PRIVATE void gm_init_forget_pools(struct gm_runtime *rt) {
    struct gm_pools *pools = &rt->pools;
    pools->list = pools->dead = NULL;
    pools->dead_count = 0;
    (void)gm_add_rlx(&pools->epoch, 1u); // read by who uses a pool, which nobody may do now
    for (unsigned i = 0; i < GOMEM_I_PLACES; i++)
        if (!pools->named[i]) pools->place[i] = NULL;
}
#else
GM_INLINE void gm_init_forget_pools(struct gm_runtime *rt) { (void)rt; }
#endif

GM_RARE GOMEM_DEF void gomem_shutdown(void) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_engine *e = &rt->engine;
    struct gm_world *w = &rt->world;
    if (gm_load_acq(&w->life) != GM_LIFE_READY) return; // pairs with init
    if (!gm_schedule_begin_shutdown(rt)) {
        gm_guard_warn(&rt->engine.guard, gm_text_message(GM_MSG_SHUTDOWN, "%s", "").data);
        return;
    }
    gm_init_end_callbacks(rt); // they may start what the next line ends
    gm_schedule_shutdown(rt);
    gm_sync_lock(&w->init_lock);
    gm_store_rel(&w->life, (uint32_t)GM_LIFE_SHUT); // pairs with gm_world_ready
    for (struct gm_thread *t = w->all; t; t = t->next) {
        gm_cache_reset(&t->cache, e); // threads that come back find everything empty
        memset(&t->cache.stats, 0, sizeof t->cache.stats);
        if (t->state != GM_THREAD_NONE) t->state = GM_THREAD_STALE;
        t->scratch = NULL; // its blocks go
    }
    w->threads = 0;
    w->gone = NULL;
    gm_init_forget_pools(rt);
    gm_init_forget_writes(e);
    gm_pages_release(&e->heap.pages);
    memset(&e->heap, 0, sizeof e->heap);
    memset(&e->depot, 0, sizeof e->depot);
    memset(&e->kept, 0, sizeof e->kept);
    e->small = e->taken = 0;
    memset(&e->stats, 0, sizeof e->stats);
    gm_init_forget_collected(rt);
    gm_world_remove_handler(w);
    gm_sync_unlock(&w->init_lock);
}

/* ==========================================================================================
 * >>thread   attach, blocking regions, created threads, signal masks              floor 5
 * ==========================================================================================
 * OWNS        nothing
 * CALLS       base os pages guard world
 * LOCKS       WORLD, for a step
 * WHY         A thread's argument and its result are in libc's memory while nobody else has them,
 *             where the collector does not look. So both are kept in a record, the result until the
 *             thread is joined. The functions of GOMEM_THREADS keep the stop signal out of masks.
 */
GM_RARE GOMEM_DEF bool gomem_thread_attach(void) { return gm_world_attach(&gm_runtime) != NULL; }

GM_RARE GOMEM_DEF void gomem_thread_detach(void) {
    struct gm_thread *t = gm_world_self();
    if (!t || !t->cache.hot.base) return;
    (void)pthread_setspecific(gm_runtime.world.key, NULL);
    gm_world_leave(&gm_runtime, t, GM_RUNTIME_NOBODY);
}

GM_NOINLINE GOMEM_DEF void gomem_blocking_begin(void) {
    struct gm_thread *t = gm_world_attach(&gm_runtime);
    uintptr_t caller = (uintptr_t)__builtin_frame_address(0) + 2 * GM_WORD;
    if (t) gm_world_block(&gm_runtime.world, t, caller);
    gm_signal_fence(); // not a tail call: the frame stands while it is copied
}

GOMEM_DEF void gomem_blocking_end(void) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *t = gm_world_self();
    if (!t || !t->cache.hot.blocked)
        gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_UNBALANCED, NULL);
    else gm_world_end_block(&rt->world, t);
}

// ---- threads that are created here ----

// The record of a thread in a state; NULL: none. The lock is held.
GM_PRIVATE struct gm_start *gm_thread_find_start_locked(struct gm_runtime *rt, pthread_t thread,
                                                        unsigned state) {
    struct gm_start *s = rt->world.starts;
    while (s && (s->state != state || !pthread_equal(s->thread, thread))) s = s->next;
    return s;
}

// A result that nobody will fetch from here on is let go.
GM_PRIVATE void gm_thread_forget_result(struct gm_runtime *rt, pthread_t thread) {
    gm_world_lock(&rt->world, &rt->world.lock);
    struct gm_start *old = gm_thread_find_start_locked(rt, thread, GM_START_ENDED);
    if (old) gm_world_forget_start_locked(rt, old);
    gm_world_unlock(&rt->world, &rt->world.lock);
}

GM_PRIVATE bool gm_thread_is_detached(void) {
    pthread_attr_t attr;
    int state = PTHREAD_CREATE_JOINABLE;
    if (gm_libc_getattr(pthread_self(), &attr)) return false;
    (void)pthread_attr_getdetachstate(&attr, &state);
    (void)pthread_attr_destroy(&attr);
    return state == PTHREAD_CREATE_DETACHED;
}

// The thread ends: its result is a root until it is joined. What is no pointer into the heap needs
// no root.
GM_PRIVATE void gm_thread_end(struct gm_runtime *rt, struct gm_start *start, void *result) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    struct gm_thread *t = gm_world_self();
    bool kept = gm_pages_holds(p, (uintptr_t)result) && !gm_thread_is_detached();
    if (t) t->start = NULL;
    gm_world_lock(&rt->world, &rt->world.lock);
    if (kept && !start->detached) {
        start->root = result;
        start->state = GM_START_ENDED;
    } else {
        gm_world_forget_start_locked(rt, start);
    }
    gm_world_unlock(&rt->world, &rt->world.lock);
}

// The thread runs, and its argument is on its stack.
GM_PRIVATE void gm_thread_begin(struct gm_runtime *rt, struct gm_start *start) {
    struct gm_thread *t = gm_world_self();
    if (t) t->start = start;
    gm_thread_forget_result(rt, pthread_self()); // of the thread that had this pthread_t before
    gm_world_lock(&rt->world, &rt->world.lock);
    start->root = NULL;
    start->thread = pthread_self();
    start->state = GM_START_RUNS;
    gm_world_unlock(&rt->world, &rt->world.lock);
}

// The thread was cancelled, or has called pthread_exit: before any key destructor runs.
GM_RARE GM_PRIVATE void gm_thread_unwound(void *arg) {
    struct gm_thread *t = gm_world_self();
    if (t) gm_world_end_regions(arg, t);
}

GM_RARE GM_PRIVATE void *gm_thread_main(void *arg) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_start *start = arg;
    (void)gm_world_attach(rt);          // failing: as a thread that is not attached
    void *volatile given = start->root; // on our stack before it leaves the list of roots
    gm_thread_begin(rt, start);
    void *volatile result = NULL;
    pthread_cleanup_push(gm_thread_unwound, &rt->world);
    result = start->fn(given);
    pthread_cleanup_pop(0);
    gm_thread_end(rt, start, result);
    return result;
}

GM_PRIVATE struct gm_start *gm_thread_new_start(struct gm_runtime *rt, void *(*fn)(void *),
                                                void *root, unsigned state) {
    gm_world_lock(&rt->world, &rt->world.lock);
    struct gm_start *start = gm_pages_meta(&rt->engine.meta, sizeof *start);
    if (start) {
        start->next = rt->world.starts;
        start->fn = fn;
        start->root = root;
        start->thread = pthread_self();
        start->state = (uint8_t)state;
        rt->world.starts = start;
    }
    gm_world_unlock(&rt->world, &rt->world.lock);
    return start;
}

GM_RARE GOMEM_DEF int gomem_thread_create(void *thread, const void *attr, void *(*fn)(void *),
                                          void *arg) {
    struct gm_runtime *rt = &gm_runtime;
    if (!gm_world_ready(rt, false)) return errno;
    struct gm_start *start = gm_thread_new_start(rt, fn, arg, GM_START_WAITS);
    if (!start) return EAGAIN;
    int error = GOMEM_PTHREAD_CREATE((pthread_t *)thread, (const pthread_attr_t *)attr,
                                     gm_thread_main, start);
    if (error) gm_world_forget_start(rt, start);
    return error;
}

GM_RARE GOMEM_DEF int gomem_thread_join(const void *thread, void **result) {
    void *volatile value = NULL;
    void *place = NULL;
    pthread_t id = *(const pthread_t *)thread;
    int error = pthread_join(id, &place);
    if (error) return error;
    value = place; // on our stack before it leaves the list of roots
    if (result) *result = value;
    gm_thread_forget_result(&gm_runtime, id);
    return 0;
}

GM_RARE GOMEM_DEF void gomem_thread_exit(void *result) {
    struct gm_runtime *rt = &gm_runtime;
    const struct gm_pages *p = &rt->engine.heap.pages;
    struct gm_thread *t = gm_world_self();
    struct gm_start *start = t ? t->start : NULL;
    if (!start && gm_pages_holds(p, (uintptr_t)result))
        start = gm_thread_new_start(rt, NULL, result, GM_START_RUNS);
    if (start) gm_thread_end(rt, start, result);
    pthread_exit(result);
}

GM_RARE GOMEM_DEF int gomem_i_thread_detached(const void *thread) {
    struct gm_runtime *rt = &gm_runtime;
    pthread_t id = *(const pthread_t *)thread;
    gm_world_lock(&rt->world, &rt->world.lock);
    struct gm_start *runs = gm_thread_find_start_locked(rt, id, GM_START_RUNS);
    if (runs) runs->detached = true;
    gm_world_unlock(&rt->world, &rt->world.lock);
    gm_thread_forget_result(rt, id);
    return pthread_detach(id);
}

// The mask may hold all signals but ours. (V7)
GM_RARE GOMEM_DEF int gomem_i_sigmask(int how, const void *set, void *old) {
    sigset_t mask;
    if (set) memcpy(&mask, set, sizeof mask);
    if (set && how != SIG_UNBLOCK)
        gm_os_keep_unblocked(&mask, gm_load_rlx(&gm_runtime.world.signal)); // it changes in stops
    int error = gm_os_set_mask(how, set ? &mask : NULL, old);
    if (error) errno = error;
    return error;
}

// Calls that take a mask: a stop is answered meanwhile, and ends a wait with EINTR.
GM_RARE GOMEM_DEF const void *gomem_i_open_mask(const void *mask, void *own) {
    if (!mask) return NULL;
    memmove(own, mask, sizeof(sigset_t));
    gm_os_keep_unblocked(own, gm_load_rlx(&gm_runtime.world.signal)); // changes in stops
    return own;
}

// Waiting with a mask: stops are answered meanwhile, and end the wait with EINTR.
GM_RARE GOMEM_DEF int gomem_i_sigsuspend(const void *mask) {
    sigset_t own;
    memcpy(&own, mask, sizeof own);
    gm_os_keep_unblocked(&own, gm_load_rlx(&gm_runtime.world.signal)); // changes in stops
    return sigsuspend(&own);
}

// A thread that waits for signals takes any of them out of the kernel's hands, ours too: it is not
// signalled meanwhile.
GM_RARE GOMEM_DEF int gomem_i_sigtimedwait(const void *set, void *info, const void *time) {
    sigset_t own;
    memcpy(&own, set, sizeof own);
    gm_os_keep_unblocked(&own, gm_load_rlx(&gm_runtime.world.signal)); // changes in stops
    gomem_blocking_begin();
    int number = sigtimedwait(&own, info, time);
    gomem_blocking_end();
    return number;
}

// A handler that runs long, such as one that switches coroutines, answers stops too.
GM_RARE GOMEM_DEF int gomem_i_sigaction(int number, const void *action, void *old) {
    struct sigaction own;
    if (!action) return GOMEM_SIGACTION(number, NULL, old);
    if (number == gm_load_rlx(&gm_runtime.world.signal)) { // changes in stops
        errno = EINVAL;
        return -1;
    }
    memcpy(&own, action, sizeof own);
    (void)gomem_i_open_mask(&own.sa_mask, &own.sa_mask);
    return GOMEM_SIGACTION(number, &own, old);
}

#if GOMEM_I_COLLECTOR
/* ==========================================================================================
 * >>lifetime   finalizers, cleanups, weak pointers, counts: the public functions      floor 5
 * ==========================================================================================
 * OWNS        nothing
 * CALLS       base pages span special guard sweep cache world finalize alloc
 * LOCKS       SPECIAL
 * INVARIANTS  U1  what is no live collected object gets no record: false, {0}, EINVAL
 *             U2  drops run outside sections, on the thread whose release was the last
 * WHY         A handle is a number and a generation, so that a stale one does nothing, and nothing
 *             has to be freed. A count is changed without a lock or a section: its record stays
 *             while somebody holds the object.
 */
// In a section: the span of the live collected object that starts at obj, and with `roots` also of
// an uncollectable one; NULL: there is none (U1).
GM_PRIVATE struct gm_span *gm_lifetime_span(const struct gm_runtime *rt, const void *obj,
                                            bool roots) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    struct gm_span *s = gm_alloc_span(p, obj);
    if (!s || !GM_IN(roots ? GM_SET_COLORED : GM_SET_COLLECTED, s->kind)) return NULL;
    uint32_t index = gm_span_index(p, s, (uintptr_t)obj);
    if (index >= s->count || gm_span_slot(p, s, index) != (uintptr_t)obj) return NULL;
    return gm_sweep_live(&rt->engine.sweep, p, s, (uintptr_t)obj) ? s : NULL;
}

// At check level 1: an argument is a root until its callback has run, which waits for the object to
// die. Go's AddCleanup panics where both are the same.
GM_PRIVATE void gm_lifetime_look_at(struct gm_runtime *rt, const void *obj, const void *arg) {
    if (!GOMEM_I_CHECK || !arg || gomem_base(arg) != obj) return;
    struct gm_text t = gm_text_message(
        GM_MSG_OWN_ARGUMENT, ": %s",
        gm_guard_describe(&rt->engine.heap.pages, (uintptr_t)arg).data);
    gm_guard_warn(&rt->engine.guard, t.data);
}

// Makes a record; 0 with errno: it cannot be.
GM_PRIVATE uint64_t gm_lifetime_add(const void *obj, enum gm_special_kind kind,
                                    union gm_callback fn, uintptr_t arg) {
    struct gm_runtime *rt = &gm_runtime;
    int error = EINVAL;
    size_t more = 0;
    uint64_t id = 0;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return 0;
    struct gm_span *s = gm_lifetime_span(rt, obj, kind != GM_SPECIAL_FINALIZER);
    if (s) {
        gm_store_rlx(&s->special, (uint8_t)1); // X1: whoever frees obj has it from us
        if (kind != GM_SPECIAL_COUNT) gm_finalize_keep(rt, arg);
        id = gm_special_add(&rt->engine.special, (uintptr_t)obj, kind, fn, arg, &error, &more);
        gm_cache_charge(t, more);
    }
    gm_alloc_leave(rt, t);
    if (!id) errno = error;
    else if (kind == GM_SPECIAL_FINALIZER || kind == GM_SPECIAL_CLEANUP)
        gm_lifetime_look_at(rt, obj, (const void *)arg);
    return id;
}

GOMEM_DEF bool gomem_set_finalizer(void *obj, void (*fn)(void *obj, void *arg), void *arg) {
    struct gm_runtime *rt = &gm_runtime;
    union gm_callback callback = {.finalizer = fn};
    if (fn) return gm_lifetime_add(obj, GM_SPECIAL_FINALIZER, callback, (uintptr_t)arg) != 0;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return false;
    bool valid = gm_lifetime_span(rt, obj, false) != NULL;
    if (valid) gm_special_drop(&rt->engine.special, (uintptr_t)obj, GM_SPECIAL_FINALIZER);
    gm_alloc_leave(rt, t);
    if (!valid) errno = EINVAL;
    return valid;
}

GOMEM_DEF bool gomem_get_finalizer(const void *obj, void (**fn)(void *obj, void *arg), void **arg) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_callback_record call;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return false;
    bool valid = gm_lifetime_span(rt, obj, false) != NULL;
    bool found = valid &&
                 gm_special_tell(&rt->engine.special, (uintptr_t)obj, GM_SPECIAL_FINALIZER, &call);
    if (found) gm_finalize_keep(rt, call.arg);
    gm_alloc_leave(rt, t);
    if (found) *fn = call.fn.finalizer, *arg = (void *)call.arg;
    else errno = valid ? ENOENT : EINVAL;
    return found;
}

GOMEM_DEF gomem_cleanup gomem_add_cleanup(void *obj, void (*fn)(void *arg), void *arg) {
    union gm_callback callback = {.cleanup = fn};
    gomem_cleanup none = {0};
    if (fn)
        return (gomem_cleanup){gm_lifetime_add(obj, GM_SPECIAL_CLEANUP, callback, (uintptr_t)arg)};
    errno = EINVAL;
    return none;
}

GOMEM_DEF void gomem_cancel_cleanup(gomem_cleanup c) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_cache *t = c.id ? gm_alloc_enter(rt) : NULL;
    if (!t) return;
    gm_special_cancel(&rt->engine.special, c.id);
    gm_alloc_leave(rt, t);
}

GM_RARE GOMEM_DEF int gomem_run_finalizers(int max) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    int n = 0;
    while (me && n != max && n < INT_MAX && gm_finalize_run_one(rt, me)) n++;
    return n;
}

GOMEM_DEF gomem_weak gomem_weak_make(void *obj) {
    union gm_callback none = {.cleanup = NULL};
    return (gomem_weak){gm_lifetime_add(obj, GM_SPECIAL_WEAK, none, 0)};
}

// A collected pointer comes into being here, out of nothing that is a root: between the first and
// the last look at the record nothing is flipped, since this is a section. (X5)
GOMEM_DEF void *gomem_weak_get(gomem_weak w) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_cache *t = w.id ? gm_alloc_enter(rt) : NULL;
    if (!t) return NULL;
    uintptr_t object = gm_special_weak_get(&rt->engine.special, w.id);
    if (object && !gm_finalize_is_live(rt, object)) object = 0;
    if (object) {
        gm_finalize_keep(rt, object);
        object = gm_special_weak_get(&rt->engine.special, w.id);
    }
    gm_alloc_leave(rt, t);
    return (void *)object;
}

// ---- counts ----

// The count of obj; NULL, said: it is not counted.
GM_ALWAYS struct gm_callback_record *gm_lifetime_count(struct gm_runtime *rt, void *obj) {
    struct gm_callback_record *c = gm_special_count(&rt->engine.special, (uintptr_t)obj);
    if (GOMEM_I_LIKELY(c != NULL)) return c;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return NULL;
    c = gm_special_count_slow(&rt->engine.special, (uintptr_t)obj);
    gm_alloc_leave(rt, t);
    if (!c) gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_NOT_COUNTED, obj);
    return c;
}

// The last release: drops the object, outside of sections (U2), and frees it unless the drop has
// retained it, or a weak pointer may have been read meanwhile.
GM_NOINLINE GM_PRIVATE void gm_lifetime_drop(struct gm_runtime *rt, void *obj) {
    struct gm_special *sp = &rt->engine.special;
    struct gm_ready_callback turn;
    void *volatile self = obj; // alive while its drop runs
    uintptr_t object = 0;
    struct gm_cache *t = gm_alloc_enter(rt);
    bool mine = t && gm_special_begin_drop(sp, (uintptr_t)obj, &turn);
    if (t) gm_alloc_leave(rt, t);
    if (!mine) return;
    if (turn.fn.cleanup) turn.fn.cleanup(self);
    t = gm_alloc_enter(rt);
    bool gone = t && gm_special_end_drop(sp, turn.id, &object);
    if (t) gm_alloc_leave(rt, t);
    if (gone) gomem_free((void *)object);
}

GOMEM_DEF void *gomem_rc_new(size_t size, void (*drop)(void *obj)) {
    union gm_callback callback = {.cleanup = drop};
    void *p = gomem_new(size);
    if (!p || gm_lifetime_add(p, GM_SPECIAL_COUNT, callback, 1)) return p;
    gomem_free(p);
    errno = ENOMEM;
    return NULL;
}

GOMEM_DEF void *gomem_rc_retain(void *obj) {
    struct gm_callback_record *c = obj ? gm_lifetime_count(&gm_runtime, obj) : NULL;
    if (c) (void)gm_add_rlx(&c->arg, (uintptr_t)1); // who retains holds the object already
    return obj;
}

GOMEM_DEF void gomem_rc_release(void *obj) {
    struct gm_runtime *rt = &gm_runtime;
    if (!obj || gm_load_acq(&rt->world.life) == GM_LIFE_SHUT) return; // pairs with gomem_shutdown
    struct gm_callback_record *c = gm_lifetime_count(rt, obj);
    if (!c) return;
    // pairs with itself: who comes to zero sees what all holders did to the object
    uintptr_t count = gm_sub_acqrel(&c->arg, (uintptr_t)1);
    if (count == 1) gm_lifetime_drop(rt, obj);
    if (count) return;
    (void)gm_add_rlx(&c->arg, (uintptr_t)1); // in its own drop
    gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_NOT_COUNTED, obj);
}
#endif // GOMEM_I_COLLECTOR

#if GOMEM_I_POOL
/* ==========================================================================================
 * >>pool   objects that are used again                                             floor 5
 * ==========================================================================================
 * OWNS        struct gomem_pool, what is in struct gm_pools and struct gm_pool_cache; spans whose
 *             use is GM_USE_POOL (slabs)
 * CALLS       base os sync pages span guard cache world alloc block
 * LOCKS       POOLS, then POOL_CACHE (of a shared cache), then POOL, then META. Never while a
 *             hook of the user runs
 * ORDER       a magazine's slots and head are written before `previous` or a list of the depot
 *             (acqrel) hands it over
 * INVARIANTS  PO1 an object is in use, in a magazine, or free in its slab: then its bit is 0
 *             PO2 the loaded magazine is its thread's alone; `previous` is taken only by exchange,
 *                 by its owner or by a thief, so one of them has it; only the owner puts one there
 *             PO3 a place belongs to one pool; a cache's place that holds a magazine belongs to a
 *                 pool that its thread has a cache of
 *             PO4 an object of a slab up to `fresh` may hold anything, one beyond it is zero; free
 *                 ones of a scanned slab are zero
 *             PO5 ageing turns three lists: full -> victim -> expired; what is expired is dropped
 *                 by who comes next, and the turn goes on only when all of it is gone
 *             PO6 between a thread's two magazines halves are moved, not wholes: 31 objects more or
 *                 less make no other move
 *             PO7 pools that no cycle ages turn by the clock: one thread at a time looks, a bounded
 *                 number of steps if it is a user's, and looks again as long as there is more
 * WHY         A pool has what malloc's classes have, magazines and a depot, but keeps what its
 *             objects hold, so they come from slabs of its own: blocks cut into slots of any size.
 *             A thief takes a whole magazine where Go's takes one object. The cycle only turns the
 *             lists, and hooks of the user never run on a thread of the library: what has a drop
 *             hook waits for a call.
 *
 *             get  loaded -> previous -> depot: any of the three -> another's previous -> a slab
 *             put  loaded -> previous -> depot: full  . . age . . victim  . . age . . expired
 */
enum {
    GM_POOL_SLAB = 64 * 1024,
    GM_POOL_MAGAZINE = 128 * 1024, // bytes of a magazine's objects, at most
    GM_POOL_TURNS = 3,
    GM_POOL_HALF = 32,
    GM_POOL_DEAD = 64 // records that wait before one is used again
};
// Two or three turns by the clock, until idle objects are dropped, take ten seconds.
#define GM_POOL_LOOK   ((uint64_t)3000 * 1000000u) // ns from look to look
#define GM_POOL_PERIOD ((uint64_t)2500 * 1000000u) // ns since its last turn that make a pool due
enum { GM_POOL_STEPS = 64, GM_POOL_CALLS = 32 };   // of a user's look; quick calls between looks

struct gomem_pool {
    uint32_t get, put;         // places that the inlined paths take: first. 0: none. const
    uint32_t far_get, far_put; // the number, where there is no place: next. 0: slow. const
    uint32_t place;            // 0: none. const
    uint32_t number;           // in the tables of caches. const
    uint32_t epoch;          // 0: destroyed; else pools.epoch + 1 when it was made. atomic: acq/rel
    uint32_t most;           // objects in a magazine. const
    bool scanned;            // const
    gomem_pool_options o;    // const
    size_t stride;           // from object to object. const
    uint32_t count;          // slots of a slab. const
    gomem_i_pool *name;      // NULL: none. const
    struct gomem_pool *next; // lock: pools
    struct gm_pool_cache
        *shared; // all threads' where capacity is small, NULL: each has its own. const
    struct gm_lock cache_lock;
    _Alignas(64) struct gm_lock lock; // of what follows
    uint32_t room, full;              // slabs: page + 1 of the first with free slots, of the others
    size_t slots, taken, high;        // in slabs; not free; most ever
    size_t keep;                      // slots that stay
    struct gm_pool_cache *caches;     // of all threads that used it
    _Alignas(
        64) uint64_t list[GM_POOL_TURNS]; // the depot, by turn: {tag, index + 1}. atomic: acqrel
    uint32_t turn; // list[turn % 3] is full, the one before is victim. atomic: rlx
    uint32_t idle; // objects in the depot. atomic: rlx
    uint64_t aged; // ns of the last turn. atomic: rlx
    uint64_t hits, misses, exchanges; // atomic: rlx
};

// ---- slabs ----

GM_INLINE struct gm_pages *gm_pool_pages(void) { return &gm_runtime.engine.heap.pages; }
GM_INLINE uint64_t *gm_pool_bits(const struct gm_span *s) {
    return gm_span_bits(gm_pool_pages(), s->page);
}
// Check level 1 and up: objects that are idle. A slot has 16 bytes at least: half of the area.
GM_INLINE uint64_t *gm_pool_idle_bits(const struct gm_span *s) {
    return gm_pool_bits(s) + (size_t)s->pages * (GM_MANUAL_BYTES / 16);
}

GM_PRIVATE void gm_pool_link_locked(uint32_t *list, struct gm_span *s) {
    const struct gm_pages *pages = gm_pool_pages();
    s->shape = *list;
    s->cursor = 0;
    if (*list) gm_span_at(pages, *list - 1)->cursor = s->page + 1;
    *list = s->page + 1;
}
GM_PRIVATE void gm_pool_unlink_locked(uint32_t *list, struct gm_span *s) {
    const struct gm_pages *pages = gm_pool_pages();
    if (s->cursor) gm_span_at(pages, s->cursor - 1)->shape = s->shape;
    else *list = s->shape;
    if (s->shape) gm_span_at(pages, s->shape - 1)->cursor = s->cursor;
}

// Adds a slab. False with errno: no memory.
GM_PRIVATE bool gm_pool_grow(struct gm_runtime *rt, struct gomem_pool *p) {
    struct gm_span *s = gm_block_new(rt, p->count * p->stride, p->o.align, p->scanned, GM_USE_POOL);
    if (!s) return false;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return false;
    char *start = (char *)gm_span_start(gm_pool_pages(), s);
    size_t bytes = (size_t)s->pages * GM_PAGE;
    if (p->scanned && !s->clean) memset(start, 0, bytes); // PO4
    s->used = 0;
    s->fresh = p->scanned || s->clean ? 0 : p->count;
    gm_store_rlx(&s->owner, p->number); // the pool's lock publishes it
    memset(gm_pool_bits(s), 0, (size_t)s->pages * GM_MANUAL_BYTES);
    gm_guard_forbid(start, bytes, p->scanned);
    gm_sync_lock(&p->lock);
    gm_pool_link_locked(&p->room, s);
    p->slots += p->count;
    gm_sync_unlock(&p->lock);
    gm_alloc_leave(rt, t);
    return true;
}

// Takes up to n free slots; out is filled from its end. What they hold is not zeroed yet.
GM_PRIVATE unsigned gm_pool_take_locked(struct gomem_pool *p, void **out, unsigned n) {
    unsigned done = 0;
    if (p->o.capacity) n = (unsigned)GM_MIN((size_t)n, p->o.capacity - p->taken);
    while (done < n && p->room) {
        struct gm_span *s = gm_span_at(gm_pool_pages(), p->room - 1);
        uint64_t *bits = gm_pool_bits(s);
        char *start = (char *)gm_span_start(gm_pool_pages(), s);
        for (uint32_t w = 0; done < n && s->used < p->count; w++) {
            uint64_t free = ~bits[w];
            for (; free && done < n && s->used < p->count; free &= free - 1) {
                uint32_t slot = w * 64 + gm_base_ctz(free);
                if (slot >= p->count) break;
                bits[w] |= free & (0 - free);
                s->used++;
                char *object = start + slot * p->stride;
                gm_guard_allow(object, p->stride);
                if (slot < s->fresh && !p->scanned) memset(object, 0, p->stride); // PO4
                out[-(int)++done] = object;
            }
        }
        if (s->used == p->count) {
            gm_pool_unlink_locked(&p->room, s);
            gm_pool_link_locked(&p->full, s);
        }
    }
    p->taken += done;
    p->high = GM_MAX(p->high, p->taken);
    return done;
}

// The slab and slot of an object; NULL: it is none of the pool's.
GM_PRIVATE struct gm_span *gm_pool_slab(const struct gomem_pool *p, const void *object,
                                        uint32_t *slot) {
    struct gm_span *s = gm_span_find(gm_pool_pages(), (uintptr_t)object);
    if (!s || s->use != GM_USE_POOL || gm_load_rlx(&s->owner) != p->number) return NULL;
    size_t offset = (uintptr_t)object - gm_span_start(gm_pool_pages(), s);
    *slot = (uint32_t)(offset / p->stride);
    return offset % p->stride || *slot >= p->count ? NULL : s;
}

GM_PRIVATE void gm_pool_wrong(struct gm_engine *e, enum gm_message wrong, void *object) {
    gm_store_rlx(&e->misuse, (uint32_t)wrong);
    gm_store_rel(&e->misuse_at, object); // pairs with gm_alloc_leave, which says it
}

// Objects go back to their slabs; those that are empty and not needed become a list, to be given
// back when the lock is not held: page + 1 of the first.
GM_PRIVATE uint32_t gm_pool_return_locked(struct gm_engine *e, struct gomem_pool *p, void **objects,
                                          unsigned n) {
    uint32_t empty = 0;
    for (unsigned i = 0; i < n; i++) {
        uint32_t slot = 0;
        struct gm_span *s = gm_pool_slab(p, objects[i], &slot);
        uint64_t *bits = s ? gm_pool_bits(s) + slot / 64 : NULL, bit = (uint64_t)1 << slot % 64;
        if (!s || !(*bits & bit)) {
            gm_pool_wrong(e, s ? GM_MSG_PUT_TWICE : GM_MSG_NOT_OF_POOL, objects[i]);
            continue;
        }
        gm_guard_allow(objects[i], p->stride);
        if (p->scanned) memset(objects[i], 0, p->stride); // PO4
        gm_guard_forbid(objects[i], p->stride, p->scanned);
        *bits &= ~bit;
        if (GOMEM_I_CHECK) (void)gm_and_rlx(&gm_pool_idle_bits(s)[slot / 64], ~bit);
        if (!p->scanned) s->fresh = GM_MAX(s->fresh, slot + 1);
        p->taken--;
        if (s->used-- == p->count) {
            gm_pool_unlink_locked(&p->full, s);
            gm_pool_link_locked(&p->room, s);
        }
        if (s->used || p->slots - p->count < p->keep) continue;
        gm_pool_unlink_locked(&p->room, s);
        p->slots -= p->count;
        s->shape = empty;
        empty = s->page + 1;
    }
    return empty;
}

GM_PRIVATE void gm_pool_free_slabs(struct gm_runtime *rt, uint32_t list) {
    while (list) {
        struct gm_span *s = gm_span_at(gm_pool_pages(), list - 1);
        list = s->shape;
        gm_block_free(rt, s);
    }
}

// ---- magazines ----

GM_INLINE void ***gm_pool_top(const struct gomem_pool *p, struct gm_pool_cache *h) {
    return p->place && h->cache ? &h->cache->hot.pool[p->place] : &h->hot.top;
}
GM_INLINE void gm_pool_set_top(const struct gomem_pool *p, struct gm_pool_cache *h,
                               void **top) { // R8
    gm_signal_fence();
    gm_store_rlx(gm_pool_top(p, h), top);
}

// A magazine becomes the loaded one.
GM_PRIVATE void gm_pool_load(const struct gomem_pool *p, struct gm_pool_cache *h, void **top) {
    uint32_t index = gm_cache_index(gm_pool_pages(), top);
    gm_store_rlx(&h->bottom, gm_cache_head(gm_pool_pages(), index)->bottom); // a statistic
    gm_pool_set_top(p, h, top);
}

// A list of the depot: generation 0 is full, 1 victim, 2 expired. What turns meanwhile makes it
// another one: then objects are dropped earlier or later.
GM_INLINE uint64_t *gm_pool_list(struct gomem_pool *p, unsigned generation) {
    return &p->list[(gm_load_rlx(&p->turn) + GM_POOL_TURNS - generation) % GM_POOL_TURNS];
}

GM_PRIVATE void gm_pool_push_list(struct gomem_pool *p, unsigned generation, uint32_t magazine) {
    const struct gm_pages *pages = gm_pool_pages();
    const struct gm_magazine *m = gm_cache_head(pages, magazine - 1);
    (void)gm_add_rlx(&p->idle, (uint32_t)(m->top - m->bottom)); // a statistic, and a bound
    gm_cache_push_magazine(pages, gm_pool_list(p, generation), magazine - 1);
}
GM_PRIVATE uint32_t gm_pool_pop_list(struct gomem_pool *p, unsigned generation) {
    const struct gm_pages *pages = gm_pool_pages();
    uint64_t *list = gm_pool_list(p, generation);
    if (!(uint32_t)gm_load_rlx(list)) return 0;
    uint32_t magazine = gm_cache_pop_magazine(pages, list);
    if (!magazine) return 0;
    const struct gm_magazine *m = gm_cache_head(pages, magazine - 1);
    (void)gm_sub_rlx(&p->idle, (uint32_t)(m->top - m->bottom));
    return magazine;
}

// A loaded magazine is taken out of its cache: index + 1, its head says what it holds; 0: none.
GM_PRIVATE uint32_t gm_pool_unload(const struct gomem_pool *p, struct gm_pool_cache *h) {
    void **top = gm_load_rlx(gm_pool_top(p, h));
    if (top == GM_CACHE_NOTHING) return 0;
    uint32_t index = gm_cache_index(gm_pool_pages(), top);
    gm_cache_head(gm_pool_pages(), index)->top = (uint8_t)gm_cache_slot(top);
    gm_pool_set_top(p, h, GM_CACHE_NOTHING);
    return index + 1;
}

// Puts a magazine where it belongs: the depot, the expired where there are enough, the empty ones.
GM_PRIVATE void gm_pool_store(struct gm_engine *e, struct gomem_pool *p, uint32_t magazine) {
    const struct gm_magazine *m = magazine ? gm_cache_head(&e->heap.pages, magazine - 1) : NULL;
    if (!m) return;
    uint32_t n = (uint32_t)(m->top - m->bottom);
    bool over = p->o.max_idle && gm_load_rlx(&p->idle) + n > p->o.max_idle; // about so many
    if (n) gm_pool_push_list(p, over ? 2 : 0, magazine);
    else gm_cache_push_magazine(&e->heap.pages, &e->depot.empty, magazine - 1);
}

// ---- caches ----

// A thread's cache of pool `number`; NULL: it has none.
GM_INLINE struct gm_pool_cache *gm_pool_cache_of(const struct gm_cache *t, uint32_t number) {
    gomem_i_pool_cache *hot = number < t->hot.pool_caches_room ? t->hot.pool_caches[number] : NULL;
    return (struct gm_pool_cache *)(void *)hot;
}

// Room for the cache of pool `number`. Other threads write into the table under the lock.
GM_PRIVATE bool gm_pool_room_locked(struct gm_engine *e, struct gm_cache *t, uint32_t number) {
    uint32_t had = t->hot.pool_caches_room, room = GM_MAX(had * 2, 16u);
    if (number < had) return true;
    while (room <= number) room *= 2;
    gomem_i_pool_cache **caches = gm_pages_meta_grow(&e->meta, t->hot.pool_caches,
                                                     had * sizeof *caches, room * sizeof *caches);
    if (!caches) return false;
    t->hot.pool_caches = caches;
    t->hot.pool_caches_room = room;
    return true;
}

// What a cache holds goes to the depot, and the cache with it. It is in no table any more.
GM_PRIVATE void gm_pool_drop_cache(struct gm_engine *e, struct gomem_pool *p,
                                   struct gm_pool_cache *h) {
    gm_sync_lock(&p->lock);
    struct gm_pool_cache **at = &p->caches;
    while (*at && *at != h) at = &(*at)->next;
    if (*at) *at = h->next;
    gm_sync_unlock(&p->lock);
    gm_pool_store(e, p, gm_pool_unload(p, h));
    gm_pool_store(e, p, gm_swap_acqrel(&h->previous, 0u)); // PO2
    if (h->spare) gm_cache_push_magazine(&e->heap.pages, &e->depot.empty, h->spare - 1);
    gm_pages_meta_free(&e->meta, h, sizeof *h);
}

// Hook of world: a thread ends, or this child does not have it.
GM_PRIVATE void gm_pool_end_thread(struct gm_cache *t) {
    struct gm_pools *pools = &gm_runtime.pools;
    gm_sync_lock(&pools->lock);
    for (struct gomem_pool *p = pools->list; p; p = p->next) {
        struct gm_pool_cache *h = gm_pool_cache_of(t, p->number);
        if (!h) continue;
        t->hot.pool_caches[p->number] = NULL;
        gm_pool_drop_cache(t->engine, p, h);
    }
    gm_sync_unlock(&pools->lock);
}

GM_PRIVATE struct gm_pool_cache *gm_pool_new_cache(struct gm_engine *e, struct gm_cache *t) {
    struct gm_pool_cache *h = gm_pages_meta(&e->meta, sizeof *h);
    if (!h) return NULL;
    h->cache = t;
    h->hot.top = GM_CACHE_NOTHING;
    return h;
}

// The calling thread's cache, or the one that all threads share, locked; NULL: no memory.
GM_PRIVATE struct gm_pool_cache *gm_pool_find_cache(struct gm_runtime *rt, struct gm_cache *t,
                                                    struct gomem_pool *p) {
    if (p->shared) {
        gm_sync_lock(&p->cache_lock);
        return p->shared;
    }
    struct gm_pool_cache *h = gm_pool_cache_of(t, p->number);
    if (GOMEM_I_LIKELY(h != NULL)) return h;
    gm_sync_lock(&rt->pools.lock);
    if (gm_pool_room_locked(&rt->engine, t, p->number)) h = gm_pool_new_cache(&rt->engine, t);
    if (h) {
        t->hot.pool_caches[p->number] = &h->hot;
        gm_sync_lock(&p->lock);
        h->next = p->caches;
        p->caches = h;
        gm_sync_unlock(&p->lock);
    }
    gm_sync_unlock(&rt->pools.lock);
    return h;
}
GM_PRIVATE void gm_pool_let_go(struct gomem_pool *p) {
    if (p->shared) gm_sync_unlock(&p->cache_lock);
}

GM_PRIVATE unsigned gm_pool_cap(const struct gomem_pool *p, struct gm_pool_cache *h) {
    uint32_t first = GM_MAX((uint32_t)(512 / p->stride), 1u);
    h->cap = (uint8_t)GM_MIN(h->cap ? h->cap * 2u : first, p->most);
    return h->cap;
}

// An empty magazine that is nobody's: index + 1, 0: no memory.
GM_PRIVATE uint32_t gm_pool_empty(struct gm_engine *e, struct gm_pool_cache *h) {
    uint32_t spare = h->spare;
    h->spare = 0;
    return spare ? spare : gm_cache_new_magazine(e);
}

// ---- in and out of a cache ----

GM_PRIVATE void *gm_pool_pop(const struct gomem_pool *p, struct gm_pool_cache *h) {
    void **top = gm_load_rlx(gm_pool_top(p, h)), *object = gm_load_rlx(top);
    if (object) gm_pool_set_top(p, h, top - 1);
    return object;
}

// A full magazine from another thread's cache: index + 1, 0: none.
GM_PRIVATE uint32_t gm_pool_steal(struct gomem_pool *p, const struct gm_pool_cache *mine) {
    uint32_t found = 0;
    gm_sync_lock(&p->lock);
    for (struct gm_pool_cache *h = p->caches; h && !found; h = h->next) {
        if (h == mine || !gm_load_rlx(&h->previous)) continue; // it may have gone: the swap tells
        found = gm_swap_acqrel(&h->previous, 0u);              // PO2: pairs with the owner's
    }
    gm_sync_unlock(&p->lock);
    return found;
}

// Victims become expired, what is full becomes victim, once the expired are gone. What caches have
// not used for a generation goes to the depot; `mine` is the caller's, NULL: none. (PO5)
GM_PRIVATE void gm_pool_rotate(struct gm_engine *e, struct gomem_pool *p,
                               struct gm_pool_cache *mine, uint64_t now) {
    uint32_t turn = gm_load_rlx(&p->turn);
    gm_store_rlx(&p->aged, now); // a heuristic
    if (p->o.max_idle || p->o.capacity) return;
    gm_sync_lock(&p->lock);
    for (struct gm_pool_cache *h = p->caches; h; h = h->next)
        if (turn != gm_load_rlx(&h->turn))                         // a heuristic
            gm_pool_store(e, p, gm_swap_acqrel(&h->previous, 0u)); // PO2: as a thief
    gm_sync_unlock(&p->lock);
    if (mine) gm_pool_store(e, p, gm_pool_unload(p, mine));
    if ((uint32_t)gm_load_rlx(gm_pool_list(p, 2))) return; // a snapshot
    (void)gm_cas_acqrel(&p->turn, &turn, turn + 1);        // pairs with itself: one of two
}

// Magazines are exchanged with the depot: the pool's clock, where no cycle runs.
GM_PRIVATE void gm_pool_exchanged(struct gm_engine *e, struct gomem_pool *p) {
    uint64_t now = gm_os_now();
    (void)gm_add_rlx(&p->exchanges, (uint64_t)1);                       // a statistic
    if (GOMEM_I_UNLIKELY(now - gm_load_rlx(&p->aged) > GM_POOL_PERIOD)) // a heuristic
        gm_pool_rotate(e, p, NULL, now);
}

// Moves objects from the top of a magazine to another's; both are the caller's. The other's top.
GM_INLINE void **gm_pool_move(void **to, void **from, unsigned n) {
    memcpy(to + 1, from - n + 1, n * sizeof *to);
    return to + n;
}

// A magazine with objects becomes the previous one, of which there is none.
GM_PRIVATE void gm_pool_put_previous(struct gm_pool_cache *h, uint32_t magazine) {
    const struct gm_magazine *m = gm_cache_head(gm_pool_pages(), magazine - 1);
    gm_store_rlx(&h->kept, (uint8_t)(m->top - m->bottom)); // a statistic
    gm_store_rel(&h->previous, magazine); // PO2: pairs with a thief's; others store only 0
}

// Takes the previous magazine: index + 1, 0: there is none.
GM_PRIVATE uint32_t gm_pool_take_previous(struct gm_pool_cache *h) {
    if (!gm_load_rlx(&h->previous)) return 0; // only we store others than 0
    return gm_swap_acqrel(&h->previous, 0u);  // PO2: pairs with a thief's
}

// A magazine without objects becomes the spare one, or nobody's.
GM_PRIVATE void gm_pool_put_empty(struct gm_engine *e, struct gm_pool_cache *h, uint32_t empty) {
    if (empty && h->spare) gm_cache_push_magazine(&e->heap.pages, &e->depot.empty, empty - 1);
    else if (empty) h->spare = empty;
}

// Another magazine is loaded instead of the empty one.
GM_PRIVATE void gm_pool_replace(struct gm_engine *e, struct gomem_pool *p, struct gm_pool_cache *h,
                                uint32_t full) {
    void **slots = gm_cache_slots(gm_pool_pages(), full - 1);
    gm_pool_put_empty(e, h, gm_pool_unload(p, h));
    gm_pool_load(p, h, slots + gm_cache_head(gm_pool_pages(), full - 1)->top);
}

// The loaded magazine is empty: the previous one is loaded, or half of a full one (PO6). False:
// none.
GM_PRIVATE bool gm_pool_own_refill(struct gm_engine *e, struct gomem_pool *p,
                                   struct gm_pool_cache *h) {
    uint32_t previous = gm_pool_take_previous(h);
    if (!previous) return false;
    struct gm_magazine *m = gm_cache_head(gm_pool_pages(), previous - 1);
    void **top = gm_load_rlx(gm_pool_top(p, h));
    unsigned n = (unsigned)(m->top - m->bottom), some = n > GM_POOL_HALF ? n / 2 : n;
    if (top == GM_CACHE_NOTHING || some > GM_MAGAZINE_LAST - gm_cache_slot(top)) {
        gm_pool_replace(e, p, h, previous); // ours is a small one
        return true;
    }
    void **from = gm_cache_slots(gm_pool_pages(), previous - 1) + m->top;
    m->top = (uint8_t)(m->top - some);
    gm_pool_set_top(p, h, gm_pool_move(top, from, some));
    if (some < n) gm_pool_put_previous(h, previous);
    else gm_pool_put_empty(e, h, previous);
    return true;
}

// The loaded magazine is full: half of it moves to the previous one, or all (PO6). False: no room.
GM_PRIVATE bool gm_pool_own_room(struct gomem_pool *p, struct gm_pool_cache *h) {
    void **top = gm_load_rlx(gm_pool_top(p, h));
    bool none = top == GM_CACHE_NOTHING;
    uint32_t previous = none ? 0 : gm_pool_take_previous(h);
    if (!previous) {
        if (!h->spare || top == GM_CACHE_NOTHING) return false; // ageing has taken the loaded one
        gm_pool_put_previous(h, gm_pool_unload(p, h));
        gm_pool_load(p, h, gm_cache_open(gm_pool_pages(), h->spare - 1, gm_pool_cap(p, h)));
        h->spare = 0;
        return true;
    }
    struct gm_magazine *m = gm_cache_head(gm_pool_pages(), previous - 1);
    unsigned n = gm_cache_count(gm_pool_pages(), top), half = n / 2,
             room = GM_MAGAZINE_LAST - m->top;
    bool fits = half && room >= half;
    if (fits) {
        (void)gm_pool_move(gm_cache_slots(gm_pool_pages(), previous - 1) + m->top, top, half);
        m->top = (uint8_t)(m->top + half);
        gm_pool_set_top(p, h, top - half);
    }
    gm_pool_put_previous(h, previous);
    return fits;
}

// The loaded magazine is empty: another one with objects. False: there is none.
GM_PRIVATE bool gm_pool_refill(struct gm_engine *e, struct gomem_pool *p, struct gm_pool_cache *h) {
    if (gm_pool_own_refill(e, p, h)) return true;
    uint32_t full = 0;
    for (unsigned g = 0; !full && g < GM_POOL_TURNS; g++) full = gm_pool_pop_list(p, g);
    if (!full) full = gm_pool_steal(p, h);
    if (!full) return false;
    const struct gm_magazine *m = gm_cache_head(&e->heap.pages, full - 1);
    (void)gm_add_rlx(&p->hits, (uint64_t)(m->top - m->bottom)); // a statistic
    gm_pool_exchanged(e, p);
    gm_pool_replace(e, p, h, full);
    return true;
}

// The loaded magazine is full. False: no memory for another one.
GM_PRIVATE bool gm_pool_make_room(struct gm_engine *e, struct gomem_pool *p,
                                  struct gm_pool_cache *h) {
    if (gm_pool_own_room(p, h)) return true;
    uint32_t empty = gm_pool_empty(e, h), full = gm_pool_unload(p, h);
    uint32_t old = gm_pool_take_previous(h);
    if (old) {
        gm_pool_store(e, p, old);
        gm_pool_exchanged(e, p);
    }
    if (full) gm_pool_put_previous(h, full);
    if (empty) gm_pool_load(p, h, gm_cache_open(gm_pool_pages(), empty - 1, gm_pool_cap(p, h)));
    return empty != 0;
}

GM_PRIVATE bool gm_pool_push(struct gm_engine *e, struct gomem_pool *p, struct gm_pool_cache *h,
                             void *object) {
    void **top = gm_load_rlx(gm_pool_top(p, h));
    if (!((uintptr_t)(top + 1) & 511)) { // K1
        if (!gm_pool_make_room(e, p, h)) return false;
        top = gm_load_rlx(gm_pool_top(p, h));
    }
    gm_store_rlx(top + 1, object); // R8
    gm_pool_set_top(p, h, top + 1);
    return true;
}

// An object from a slab, and some more for the cache where no hook makes or drops them: hooks see
// only objects that were got.
GM_PRIVATE void *gm_pool_fresh(struct gm_engine *e, struct gomem_pool *p, struct gm_pool_cache *h) {
    void *out[GM_MAGAZINE_LAST + 2], **end = out + GM_MAGAZINE_LAST + 2, **bottom = NULL;
    unsigned want = 1;
    if (h && !p->o.make && !p->o.drop) {
        uint32_t empty = gm_pool_unload(p, h);
        if (!empty) empty = gm_pool_empty(e, h);
        if (empty) {
            want = gm_pool_cap(p, h) + 1;
            bottom = gm_cache_open(&e->heap.pages, empty - 1, want - 1);
        }
    }
    gm_sync_lock(&p->lock);
    unsigned n = gm_pool_take_locked(p, end, want);
    gm_sync_unlock(&p->lock);
    (void)gm_add_rlx(&p->misses, (uint64_t)n); // a statistic
    for (unsigned i = 2; i <= n; i++) {        // the lowest address comes first
        uint32_t slot = 0;
        struct gm_span *s = GOMEM_I_CHECK ? gm_pool_slab(p, end[-(int)i], &slot) : NULL;
        if (s) (void)gm_or_rlx(&gm_pool_idle_bits(s)[slot / 64], (uint64_t)1 << slot % 64);
        gm_guard_forbid(end[-(int)i], p->stride, p->scanned);
        bottom[n - i + 1] = end[-(int)i];
    }
    if (bottom) gm_pool_load(p, h, bottom + (n ? n - 1 : 0));
    return n ? end[-1] : NULL;
}

// ---- ageing ----

// Objects of a magazine that is the caller's go back to their slabs. Result as there.
GM_PRIVATE uint32_t gm_pool_unpack(struct gm_engine *e, struct gomem_pool *p, uint32_t magazine) {
    const struct gm_magazine *m = gm_cache_head(&e->heap.pages, magazine - 1);
    void **objects = gm_cache_slots(&e->heap.pages, magazine - 1) + m->bottom + 1;
    gm_sync_lock(&p->lock);
    uint32_t empty = gm_pool_return_locked(e, p, objects, (unsigned)(m->top - m->bottom));
    gm_sync_unlock(&p->lock);
    gm_cache_push_magazine(&e->heap.pages, &e->depot.empty, magazine - 1);
    return empty;
}

// Drops what one expired magazine holds; outside sections. False: there is none.
GM_PRIVATE bool gm_pool_drop_expired(struct gm_runtime *rt, struct gomem_pool *p) {
    struct gm_engine *e = &rt->engine;
    // a snapshot: what comes now is for the next one
    if (!(uint32_t)gm_load_rlx(gm_pool_list(p, 2))) return false;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return false;
    uint32_t magazine = gm_pool_pop_list(p, 2), empty = 0;
    if (magazine && p->o.drop) {
        const struct gm_magazine *m = gm_cache_head(&e->heap.pages, magazine - 1);
        void **slots = gm_cache_slots(&e->heap.pages, magazine - 1);
        gm_alloc_leave(rt, t);
        for (unsigned i = m->bottom + 1u; i <= m->top; i++) {
            gm_guard_allow(slots[i], p->o.size);
            p->o.drop(slots[i], p->o.user);
        }
        t = gm_alloc_enter(rt);
        if (!t) return false;
    }
    if (magazine) empty = gm_pool_unpack(e, p, magazine);
    gm_alloc_leave(rt, t);
    gm_pool_free_slabs(rt, empty);
    return magazine != 0;
}

// Whether a look at `now` has to do with a pool; 0: a cycle has ended, or memory is short.
GM_INLINE bool gm_pool_due(struct gomem_pool *p, uint64_t now) {
    if (!now || now - gm_load_rlx(&p->aged) > GM_POOL_PERIOD) return true; // a heuristic
    return !p->o.drop && (uint32_t)gm_load_rlx(gm_pool_list(p, 2));        // a snapshot
}

// A step of ageing all pools: turns the next one, or drops one of its magazines where that calls
// nobody. `number` is the pool's, `done` what happened to it. False: that was the last one.
GM_RARE GM_PRIVATE bool gm_pool_age_step(struct gm_runtime *rt, uint64_t now, uint32_t *number,
                                         bool *turned) {
    struct gm_pools *pools = &rt->pools;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return false;
    uint32_t empty = 0;
    gm_sync_lock(&pools->lock);
    struct gomem_pool *p = pools->list;
    while (p && (p->number < *number || !gm_pool_due(p, now))) p = p->next;
    bool there = p != NULL;
    if (p && (p->number != *number || !*turned)) {
        *number = p->number;
        *turned = true;
        gm_pool_rotate(&rt->engine, p, gm_pool_cache_of(t, p->number), now ? now : gm_os_now());
    } else if (p) {
        uint32_t magazine = p->o.drop ? 0 : gm_pool_pop_list(p, 2);
        if (magazine) empty = gm_pool_unpack(&rt->engine, p, magazine);
        else *number = p->number + 1, *turned = false;
    }
    gm_sync_unlock(&pools->lock);
    gm_alloc_leave(rt, t);
    gm_pool_free_slabs(rt, empty);
    return there;
}

// Hook of world: each step is a section of its own.
GM_PRIVATE void gm_pool_age(unsigned generations) {
    for (unsigned g = 0; g < generations; g++) {
        uint32_t number = 0;
        bool turned = false;
        while (gm_pool_age_step(&gm_runtime, 0, &number, &turned)) {}
    }
}

// Hook of world, and what a slow call ends with: pools age by the clock, in so many steps at most.
// Returns ns until the next look. (PO7)
GM_PRIVATE uint64_t gm_pool_tick(unsigned steps) {
    struct gm_pools *pools = &gm_runtime.pools;
    uint64_t now = gm_os_now_coarse(), due = gm_load_rlx(&pools->due); // the cas decides
    // pairs with itself: one of those that find it due looks
    if (now < due || !gm_cas_acqrel(&pools->due, &due, now + GM_POOL_LOOK)) return GM_POOL_LOOK;
    uint32_t number = 0;
    bool turned = false, more = true;
    while (more && steps--) more = gm_pool_age_step(&gm_runtime, now, &number, &turned);
    gm_store_rlx(&pools->more, (uint32_t)more); // a heuristic, as what follows
    if (more) gm_store_rlx(&pools->due, now);
    return GM_POOL_LOOK;
}

// ---- get and put ----

// Most slow calls only move objects between the thread's own two magazines: the quick ones.

// In a section with the calling thread's cache, where nothing else is to be seen to; NULL: there
// is.
GM_INLINE struct gm_pool_cache *gm_pool_quick(const struct gm_runtime *rt,
                                              const struct gomem_pool *p) {
    struct gm_thread *me = gm_world_self();
    if (GOMEM_I_CHECK || GM_ASAN || !me || me->cache.hot.section_depth) return NULL;
    // pairs with gomem_pool_destroy, if the user's threads do
    if (gm_load_acq(&p->epoch) != gm_load_rlx(&rt->pools.epoch) + 1) return NULL;
    struct gm_pool_cache *h = me->cache.hot.base ? gm_pool_cache_of(&me->cache, p->number) : NULL;
    if (!h || !(++h->calls % GM_POOL_CALLS) || gm_load_rlx(&rt->pools.more)) return NULL; // PO7
    gm_sync_enter(&me->cache.hot);
    return h;
}

GM_PRIVATE void *gm_pool_get_quick(struct gm_runtime *rt, struct gomem_pool *p) {
    struct gm_pool_cache *h = gm_pool_quick(rt, p);
    if (!h) return NULL;
    void *object = gm_pool_pop(p, h);
    if (!object && gm_pool_own_refill(&rt->engine, p, h)) object = gm_pool_pop(p, h);
    gm_sync_leave(&h->cache->hot);
    return object;
}

GM_PRIVATE bool gm_pool_put_quick(struct gm_runtime *rt, struct gomem_pool *p, void *object) {
    struct gm_pool_cache *h = p->o.reset ? NULL : gm_pool_quick(rt, p);
    if (!h) return false;
    void **top = gm_load_rlx(gm_pool_top(p, h));
    bool done = ((uintptr_t)(top + 1) & 511) != 0 || gm_pool_own_room(p, h); // K1
    if (done) done = gm_pool_push(&rt->engine, p, h, object);
    gm_sync_leave(&h->cache->hot);
    return done;
}

// As gm_alloc_enter; a pool that was destroyed is misuse.
GM_PRIVATE struct gm_cache *gm_pool_enter(struct gm_runtime *rt, const struct gomem_pool *p) {
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return NULL;
    // pairs with gomem_pool_destroy, if the user's threads do
    if (GOMEM_I_LIKELY(gm_load_acq(&p->epoch) == gm_load_rlx(&rt->pools.epoch) + 1)) return t;
    gm_alloc_leave(rt, t);
    gm_guard_misuse(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_POOL_GONE, NULL);
    errno = EINVAL;
    return NULL;
}

GOMEM_DEF void *gomem_i_pool_get_slow(gomem_pool *p) {
    struct gm_runtime *rt = &gm_runtime;
    int saved = errno;
    bool fresh = false;
    void *object = gm_pool_get_quick(rt, p);
    if (GOMEM_I_LIKELY(object != NULL)) return object;
    do {
        struct gm_cache *t = gm_pool_enter(rt, p);
        if (!t) return NULL;
        struct gm_pool_cache *h = gm_pool_find_cache(rt, t, p);
        if (h) gm_store_rlx(&h->turn, gm_load_rlx(&p->turn)); // a heuristic
        object = h ? gm_pool_pop(p, h) : NULL;
        if (!object && h && gm_pool_refill(&rt->engine, p, h)) object = gm_pool_pop(p, h);
        if (!object) fresh = (object = gm_pool_fresh(&rt->engine, p, h)) != NULL;
        uint32_t slot = 0;
        struct gm_span *s = GOMEM_I_CHECK && object ? gm_pool_slab(p, object, &slot) : NULL;
        if (s) (void)gm_and_rlx(&gm_pool_idle_bits(s)[slot / 64], ~((uint64_t)1 << slot % 64));
        gm_pool_let_go(p);
        gm_alloc_leave(rt, t);
        if (!object && p->o.capacity) {
            errno = ENOMEM;
            return NULL;
        }
    } while (!object && gm_pool_grow(rt, p));
    (void)gm_pool_drop_expired(rt, p);
    (void)gm_pool_tick(GM_POOL_STEPS);
    if (!object) return NULL;
    gm_guard_forbid(object, p->stride, p->scanned);
    gm_guard_allow(object, p->o.size);
    if (fresh && p->o.make) p->o.make(object, p->o.user);
    return gm_alloc_done(object, saved);
}

// What is wrong with an object that is put; GM_MESSAGE_COUNT: nothing, it is idle now.
GM_PRIVATE enum gm_message gm_pool_check(const struct gomem_pool *p, const void *object) {
    uint32_t slot = 0;
    struct gm_span *s = gm_pool_slab(p, object, &slot);
    if (!s) return GM_MSG_NOT_OF_POOL;
    uint64_t bit = (uint64_t)1 << slot % 64;
    if (GOMEM_I_CHECK && gm_or_rlx(&gm_pool_idle_bits(s)[slot / 64], bit) & bit)
        return GM_MSG_PUT_TWICE;
    return GM_MESSAGE_COUNT;
}

// No magazine has room: the object is dropped.
GM_PRIVATE void gm_pool_drop(struct gm_runtime *rt, struct gomem_pool *p, void *object) {
    if (p->o.drop) {
        gm_guard_allow(object, p->o.size);
        p->o.drop(object, p->o.user);
    }
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return;
    gm_sync_lock(&p->lock);
    uint32_t empty = gm_pool_return_locked(&rt->engine, p, &object, 1);
    gm_sync_unlock(&p->lock);
    gm_alloc_leave(rt, t);
    gm_pool_free_slabs(rt, empty);
}

GOMEM_DEF void gomem_i_pool_put_slow(gomem_pool *p, void *obj) {
    struct gm_runtime *rt = &gm_runtime;
    int saved = errno;
    if (!obj || gm_load_acq(&rt->world.life) == GM_LIFE_SHUT) return; // pairs with gomem_shutdown
    if (GOMEM_I_LIKELY(gm_pool_put_quick(rt, p, obj))) return;
    struct gm_cache *t = gm_pool_enter(rt, p);
    enum gm_message wrong = t ? gm_pool_check(p, obj) : GM_MESSAGE_COUNT;
    if (t && wrong == GM_MESSAGE_COUNT && p->o.reset) {
        gm_alloc_leave(rt, t);
        p->o.reset(obj, p->o.user);
        t = gm_pool_enter(rt, p);
    }
    bool pushed = true;
    if (t && wrong == GM_MESSAGE_COUNT) {
        gm_guard_forbid(obj, p->stride, p->scanned);
        struct gm_pool_cache *h = gm_pool_find_cache(rt, t, p);
        if (h) gm_store_rlx(&h->turn, gm_load_rlx(&p->turn)); // a heuristic
        pushed = h && gm_pool_push(&rt->engine, p, h, obj);
        gm_pool_let_go(p);
    }
    if (t) gm_alloc_leave(rt, t);
    if (wrong != GM_MESSAGE_COUNT)
        gm_guard_misuse_of(&rt->engine.guard, &rt->engine.heap.pages, wrong, obj, p->o.name);
    if (!pushed) gm_pool_drop(rt, p, obj);
    if (t) (void)gm_pool_drop_expired(rt, p);
    (void)gm_pool_tick(GM_POOL_STEPS);
    errno = saved;
}

// ---- coming and going ----

// A place for the inlined paths: that of a name is its own for ever. 0: none is free.
GM_PRIVATE uint32_t gm_pool_place_locked(struct gm_pools *pools, const void *whose, bool named) {
    uint32_t found = 0;
    for (uint32_t i = GOMEM_I_PLACES - 1; i; i--) {
        if (pools->place[i] == whose) return i;
        if (!pools->place[i]) found = i;
    }
    pools->place[found] = found ? whose : NULL;
    pools->named[found] = found && named;
    return found;
}

GM_PRIVATE bool gm_pool_valid(const gomem_pool_options *o) {
    bool fine = !(o->flags & ~(unsigned)GOMEM_SCAN) &&
                (!o->align || gm_base_power_of_two(o->align));
    size_t most = (size_t)PTRDIFF_MAX / 2;
    if (fine && o->size <= most && o->align <= most && o->size <= most - o->align) return true;
    errno = fine ? ENOMEM : EINVAL;
    return false;
}

// The smaller of two caps, of which 0 is none.
GM_PRIVATE size_t gm_pool_least_cap(size_t count, size_t bytes, size_t stride) {
    size_t most = bytes ? GM_MAX(bytes / stride, (size_t)1) : SIZE_MAX;
    return bytes || count ? GM_MIN(count ? count : SIZE_MAX, most) : 0;
}

// Fills in what follows from the options.
GM_PRIVATE void gm_pool_shape(struct gomem_pool *p, const gomem_pool_options *o) {
    p->o = *o;
    p->o.size = o->size + !o->size;
    p->o.align = GM_MAX(o->align, (size_t)16);
    p->scanned = GOMEM_I_COLLECTOR && o->flags & GOMEM_SCAN;
    p->stride = gm_base_round_up(p->o.size, p->o.align);
    p->o.max_idle = gm_pool_least_cap(o->max_idle, o->max_idle_bytes, p->stride);
    p->o.capacity = gm_pool_least_cap(o->capacity, o->capacity_bytes, p->stride);
    o = &p->o;
    size_t n = GM_MAX(GM_POOL_SLAB / p->stride, (size_t)1);
    if (o->capacity) n = GM_MIN(n, o->capacity);
    p->count = (uint32_t)(gm_base_round_up(n * p->stride, GM_PAGE) / p->stride);
    size_t most = GM_MIN(GM_MAX(GM_POOL_MAGAZINE / p->stride, (size_t)2), (size_t)GM_MAGAZINE_LAST);
    if (o->max_idle) most = GM_MIN(most, GM_MAX(o->max_idle / 4, (size_t)1));
    if (o->capacity >= 64) most = GM_MIN(most, o->capacity / 64);
    p->most = (uint32_t)most;
    p->lock.rank = GM_RANK_POOL;
    p->cache_lock.rank = GM_RANK_POOL_CACHE;
}

// A record: a new one, or the oldest of those that were destroyed. NULL: no memory.
GM_PRIVATE struct gomem_pool *gm_pool_record_locked(struct gm_runtime *rt) {
    struct gm_pools *pools = &rt->pools;
    struct gomem_pool *p = pools->dead;
    uint32_t number = 0;
    if (p && pools->dead_count >= GM_POOL_DEAD) {
        pools->dead = p->next;
        pools->dead_count--;
        number = p->number;
        memset(p, 0, sizeof *p);
    } else {
        p = gm_pages_meta(&rt->engine.meta, sizeof *p);
        if (p) number = ++pools->numbers;
    }
    if (p) p->number = number;
    return p;
}

// A destroyed pool's record waits behind the others.
GM_PRIVATE void gm_pool_forget_locked(struct gm_pools *pools, struct gomem_pool *p) {
    struct gomem_pool **last = &pools->dead;
    while (*last) last = &(*last)->next;
    p->next = NULL;
    *last = p;
    pools->dead_count++;
}

// A new pool, in the list; for a name that has got one meanwhile that one. NULL with errno.
GM_RARE GM_PRIVATE struct gomem_pool *gm_pool_new(struct gm_runtime *rt,
                                                  const gomem_pool_options *o, gomem_i_pool *name) {
    struct gm_pools *pools = &rt->pools;
    if (!gm_pool_valid(o)) return NULL;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return NULL;
    gm_sync_lock(&pools->lock);
    uint32_t epoch = gm_load_rlx(&pools->epoch) + 1; // changes while nobody uses pools
    bool there = name && gm_load_rlx(&name->epoch) == epoch;
    struct gomem_pool *p = there ? name->pool : gm_pool_record_locked(rt);
    if (p && !there) {
        gm_pool_shape(p, o);
        p->name = name;
        if (p->o.capacity && p->o.capacity < 64) p->shared = gm_pool_new_cache(&rt->engine, NULL);
        gm_store_rlx(&p->aged, gm_os_now()); // nobody knows it yet
        p->place = p->shared ? 0
                             : gm_pool_place_locked(pools, name ? (void *)name : (void *)p, name);
        p->get = p->place;
        p->put = o->reset ? 0 : p->place;
        p->far_get = p->place || p->shared ? 0 : p->number;
        p->far_put = o->reset ? 0 : p->far_get;
        struct gomem_pool **at = &pools->list;
        while (*at && (*at)->number < p->number) at = &(*at)->next;
        p->next = *at;
        *at = p;
        gm_store_rel(&p->epoch, epoch);                // pairs with gm_pool_enter
        gm_store_rel(&pools->end, gm_pool_end_thread); // pairs with gm_world_flush_pools
        gm_store_rel(&pools->age, gm_pool_age);        // pairs with gm_world_age_pools
        gm_store_rel(&pools->tick, gm_pool_tick);      // pairs with gm_world_tick_pools
    }
    if (p && !there && name) {
        gm_store_rlx(&name->pool, p);
        gm_store_rel(&name->epoch, epoch); // pairs with gomem_i_pool_of
        gm_store_rlx(&name->get, p->get);  // places say nothing: caches do
        gm_store_rlx(&name->put, p->put);
        gm_store_rlx(&name->far_get, p->far_get);
        gm_store_rlx(&name->far_put, p->far_put);
    }
    gm_sync_unlock(&pools->lock);
    gm_alloc_leave(rt, t);
    if (!p) errno = ENOMEM;
    return p;
}

GM_RARE GOMEM_DEF gomem_pool *gomem_pool_new(const gomem_pool_options *o) {
    struct gomem_pool *p = gm_pool_new(&gm_runtime, o, NULL);
    size_t n = p ? p->o.capacity : 0;
    bool fits = p && n <= gm_pool_pages()->size / p->stride;
    if (!p || (fits && gomem_pool_reserve(p, n) == n)) return p;
    gomem_pool_destroy(p);
    errno = ENOMEM;
    return NULL;
}

GOMEM_DEF gomem_pool *gomem_i_pool_of(gomem_i_pool *name) {
    struct gm_runtime *rt = &gm_runtime;
    // pairs with gm_pool_new
    if (gm_load_acq(&name->epoch) == gm_load_rlx(&rt->pools.epoch) + 1) return name->pool;
    gomem_pool_options o;
    memset(&o, 0, sizeof o);
    o.size = name->size;
    o.align = name->align;
    o.flags = name->flags;
    o.name = name->name;
    return gm_pool_new(rt, &o, name);
}

GOMEM_DEF void *gomem_i_pool_get_named(gomem_i_pool *name) {
    gomem_pool *p = gomem_i_pool_of(name);
    return p ? gomem_i_pool_get_slow(p) : NULL;
}

GOMEM_DEF void gomem_i_pool_put_named(gomem_i_pool *name, void *obj) {
    int saved = errno;
    gomem_pool *p = obj ? gomem_i_pool_of(name) : NULL;
    if (p) gomem_i_pool_put_slow(p, obj);
    errno = saved;
}

// The caches of a pool that is destroyed: what they hold is expired, and their threads forget them.
GM_PRIVATE void gm_pool_end_caches_locked(struct gm_engine *e, struct gomem_pool *p) {
    while (p->caches) {
        struct gm_pool_cache *h = p->caches;
        h->cache->hot.pool_caches[p->number] = NULL;
        gm_pool_drop_cache(e, p, h);
    }
    if (!p->shared) return;
    gm_pool_drop_cache(e, p, p->shared);
    p->shared = NULL;
}

GM_RARE GOMEM_DEF void gomem_pool_destroy(gomem_pool *p) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_pools *pools = &rt->pools;
    int saved = errno;
    struct gm_cache *t = p ? gm_pool_enter(rt, p) : NULL;
    if (!t) return;
    gm_sync_lock(&pools->lock);
    gm_store_rel(&p->epoch, 0u); // pairs with gm_pool_enter
    struct gomem_pool **at = &pools->list;
    while (*at && *at != p) at = &(*at)->next;
    if (*at) *at = p->next;
    gm_pool_end_caches_locked(&rt->engine, p);
    if (p->name) {
        gm_store_rlx(&p->name->get, 0u);
        gm_store_rlx(&p->name->put, 0u);
        gm_store_rlx(&p->name->far_get, 0u);
        gm_store_rlx(&p->name->far_put, 0u);
        gm_store_rel(&p->name->epoch, 0u); // pairs with gomem_i_pool_of
    } else {
        pools->place[p->place] = NULL; // PO3: no cache has anything there
    }
    p->get = p->put = p->far_get = p->far_put = 0;
    gm_sync_unlock(&pools->lock);
    gm_alloc_leave(rt, t);
    for (unsigned g = 0; g < GM_POOL_TURNS; g++) { // nobody else knows it any more
        while (gm_pool_drop_expired(rt, p)) {}
        gm_store_rlx(&p->turn, gm_load_rlx(&p->turn) + 1);
    }
    gm_pool_free_slabs(rt, p->room);
    gm_pool_free_slabs(rt, p->full);
    t = gm_alloc_enter(rt);
    if (!t) return;
    gm_sync_lock(&pools->lock);
    gm_pool_forget_locked(pools, p);
    gm_sync_unlock(&pools->lock);
    gm_alloc_leave(rt, t);
    errno = saved;
}

// Slabs without objects that need not stay become a list, as in gm_pool_return_locked.
GM_PRIVATE uint32_t gm_pool_trim_locked(struct gomem_pool *p) {
    uint32_t empty = 0;
    for (uint32_t at = p->room; at && p->slots - p->count >= p->keep;) {
        struct gm_span *s = gm_span_at(gm_pool_pages(), at - 1);
        at = s->shape;
        if (s->used) continue;
        gm_pool_unlink_locked(&p->room, s);
        p->slots -= p->count;
        s->shape = empty;
        empty = s->page + 1;
    }
    return empty;
}

// How many objects can be got. `keep` of them stay from here on, unless it is SIZE_MAX; the number
// before comes back in it. False with errno: the pool was destroyed.
GM_PRIVATE bool gm_pool_keep(struct gm_runtime *rt, struct gomem_pool *p, size_t *keep,
                             size_t *have) {
    struct gm_cache *t = gm_pool_enter(rt, p);
    if (!t) return false;
    gm_sync_lock(&p->lock);
    size_t before = p->keep, most = *keep;
    if (most != SIZE_MAX) p->keep = most;
    uint32_t empty = p->keep < before && !p->o.capacity ? gm_pool_trim_locked(p) : 0;
    *have = p->slots - p->taken + gm_load_rlx(&p->idle); // as of now
    if (p->o.capacity && p->slots >= p->o.capacity) *have = p->o.capacity;
    *keep = before;
    gm_sync_unlock(&p->lock);
    gm_alloc_leave(rt, t);
    gm_pool_free_slabs(rt, empty);
    return true;
}

GM_RARE GOMEM_DEF size_t gomem_pool_reserve(gomem_pool *p, size_t n) {
    struct gm_runtime *rt = &gm_runtime;
    int saved = errno;
    if (p->o.capacity) n = p->o.capacity;
    size_t have = 0, most = GM_MIN(gm_pool_pages()->size, gm_os_machine_memory());
    bool fits = n <= most / p->stride;
    size_t before = fits ? n : SIZE_MAX, again = SIZE_MAX;
    if (!gm_pool_keep(rt, p, &before, &have)) return 0;
    while (fits && have < n && gm_pool_grow(rt, p))
        if (!gm_pool_keep(rt, p, &again, &have)) return 0;
    if (have < n) { // it stays as it was
        if (fits && !gm_pool_keep(rt, p, &before, &have)) return 0;
        saved = ENOMEM;
    }
    errno = saved;
    return GM_MIN(have, n);
}

GM_PRIVATE uint64_t gm_pool_cached(const struct gomem_pool *p, struct gm_pool_cache *h) {
    void **top = gm_load_rlx(gm_pool_top(p, h)); // statistics
    unsigned loaded = gm_cache_slot(top), bottom = gm_load_rlx(&h->bottom);
    uint64_t n = top != GM_CACHE_NOTHING && loaded > bottom ? loaded - bottom : 0;
    return n + (gm_load_rlx(&h->previous) ? gm_load_rlx(&h->kept) : 0);
}

GM_RARE GOMEM_DEF gomem_pool_stats gomem_pool_read_stats(gomem_pool *p) {
    struct gm_runtime *rt = &gm_runtime;
    gomem_pool_stats s = {0, 0, 0, 0, 0};
    struct gm_cache *t = gm_pool_enter(rt, p);
    if (!t) return s;
    s.hits = gm_load_rlx(&p->hits); // statistics
    s.misses = gm_load_rlx(&p->misses);
    s.exchanges = gm_load_rlx(&p->exchanges);
    s.idle = gm_load_rlx(&p->idle);
    if (p->shared) s.idle += gm_pool_cached(p, p->shared);
    gm_sync_lock(&p->lock);
    for (struct gm_pool_cache *h = p->caches; h; h = h->next) s.idle += gm_pool_cached(p, h);
    s.high_water = p->high;
    gm_sync_unlock(&p->lock);
    gm_alloc_leave(rt, t);
    return s;
}
#endif // GOMEM_I_POOL

#if GOMEM_I_ARENA
/* ==========================================================================================
 * >>arena   memory that goes all at once                                           floor 5
 * ==========================================================================================
 * OWNS        struct gomem_arena, which lies with the user; spans whose use is GM_USE_ARENA
 * CALLS       base os sync sizes pages span heap guard world alloc block control
 * INVARIANTS  I1  cursor <= end <= ready <= limit, all multiples of 16 from start on; [cursor, end)
 *                 and [max(clean, cursor), limit) are zero; memory below `ready` is usable
 *             I2  a scanned block is scanned from its start to `ready`, in steps of 4 KiB, of 64 in
 *                 a reservation: it is zero beyond what is handed out
 *             I3  blocks are linked by span.shape: the current one to the older ones, large
 *                 objects, and blocks that a reset kept; used and cursor hold what of a block that
 *                 is not current is in use and what of it is not zero, in units of 16
 *             I4  records of callbacks (and, at check level 1, of marks) lie in the arena itself,
 *                 latest first. A mark whose record does not fit has the number of the record
 *                 before it, or `bottom`, and says so: nobody may pop that record for it
 *             I5  `self` is the arena's address once it has taken memory; the record of its current
 *                 block, and of no other, has its stamp in `owner`. A copy fails one of the two
 *             I6  spare_bytes is what the kept blocks hold; peak is at least what is in use
 * WHY         A bump costs what a bump costs: sizes round up, not pointers, since with an aligned
 *             pointer the next address waits, and zeroes are made 4 KiB ahead, not by each
 *             allocation. Nothing of the arena lies in its blocks, so a block
 *             is whole pages, and an overrun does not break the chain. Blocks double, and reset
 *             keeps those that what the last rounds used fits in, an eighth less each round: a
 *             server's arena settles at one or two.
 *
 *                  start    cursor    end        clean    ready       limit
 *                    | in use | zero   | not zero | zero   | zero, not  |
 *                    |        |        |          |        | committed, |
 *                    |        |        |          |        | or scanned |
 *
 *             clean may lie anywhere: beyond ready in a scanned block that was let go.
 */
enum { GM_ARENA_CHAINED = 0, GM_ARENA_BUFFER = 1, GM_ARENA_RESERVED = 2 };
enum {
    GM_ARENA_BLOCK = 32 * 1024,
    GM_ARENA_BLOCK_MOST = 4 * 1024 * 1024,
    GM_ARENA_ASIDE = 16 * 1024,  // at least this large: a span of its own
    GM_ARENA_STEP = 4 * 1024,    // of scanning, and of zeroing
    GM_ARENA_COMMIT = 64 * 1024, // of reserved memory
    GM_ARENA_TEXT = 256,         // a formatted text that is tried at once
    GM_ARENA_SCRATCH = 8
};
#define GM_ARENA_SHARED ((uint32_t)1 << 31) // in a mark: it has no record of its own (I4)

struct gomem_i_on_reset {          // owner: who uses the arena, as all of it
    struct gomem_i_on_reset *next; // earlier
    void (*fn)(void *arg);         //
    void *arg;                     //
};
struct gomem_i_save {          // a mark that may be restored (check level 1)
    struct gomem_i_save *next; // earlier
    uint32_t number;           // in the mark
};

GM_INLINE bool gm_arena_scanned(const gomem_arena *a) {
    return GOMEM_I_COLLECTOR && a->flags & GOMEM_SCAN;
}
GM_PRIVATE void gm_arena_forbid(const gomem_arena *a, const char *from, const char *to) {
    if (from < to) gm_guard_forbid(from, (size_t)(to - from), gm_arena_scanned(a));
}

// ---- one arena, not a copy; one thread at a time (check level 1) ----

GM_INLINE struct gm_span *gm_arena_span(uint32_t page) {
    return gm_span_at(&gm_runtime.engine.heap.pages, page - 1);
}

// The current block gets another stamp: what was copied before does not have it. (I5)
GM_PRIVATE void gm_arena_stamp(gomem_arena *a) {
    if (!a->block) return;
    if (!a->stamp) a->stamp = (uint32_t)((uintptr_t)a >> 4) << 8; // so that two arenas differ
    gm_store_rlx(&gm_arena_span(a->block)->owner, ++a->stamp);    // only holders of copies look
}

// False: the arena is a copy, which is told. At check level 1 every call changes the stamp.
GM_PRIVATE bool gm_arena_own(gomem_arena *a) {
    const struct gm_runtime *rt = &gm_runtime;
    bool moved = a->self && a->self != a;
    if (gm_load_acq(&rt->world.life) == GM_LIFE_SHUT) { // pairs with gomem_shutdown: all are void
        errno = ESHUTDOWN;
        return false;
    }
    bool stale = a->block && gm_load_rlx(&gm_arena_span(a->block)->owner) != a->stamp;
    if (GOMEM_I_LIKELY(!moved && !stale)) {
        if (GOMEM_I_CHECK) gm_arena_stamp(a);
        return true;
    }
    gm_guard_misuse_of(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_ARENA_COPIED, a, a->name);
    return false;
}

GM_PRIVATE bool gm_arena_enter(gomem_arena *a, const void *culprit) {
    struct gm_runtime *rt = &gm_runtime;
    if (!GOMEM_I_CHECK) return gm_arena_own(a);
    if (!gm_swap_acqrel(&a->busy, 1u)) { // pairs with gm_arena_leave
        bool own = gm_arena_own(a);
        if (!own) gm_store_rel(&a->busy, 0u); // as gm_arena_leave
        return own;
    }
    gm_guard_misuse_of(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_ARENA_BUSY, culprit,
                       a->name);
    return false;
}
GM_PRIVATE void gm_arena_leave(gomem_arena *a) {
    if (GOMEM_I_CHECK) gm_store_rel(&a->busy, 0u); // pairs with gm_arena_enter
}

// ---- blocks ----

GM_INLINE char *gm_arena_start(const struct gm_span *s) {
    return (char *)gm_span_start(&gm_runtime.engine.heap.pages, s);
}
GM_INLINE size_t gm_arena_bytes(const struct gm_span *s) { return (size_t)s->pages * GM_PAGE; }
// The span of a block is scanned up to `size` bytes. (I2)
GM_PRIVATE void gm_arena_publish(struct gm_span *s, size_t size) {
    gm_store_rlx(&s->size, size); // a marker may look: what is new is zero, or on written pages
}

#if GOMEM_I_COLLECTOR
GM_PRIVATE bool gm_arena_root(char *start, const char *end, bool add) {
    return gm_control_set_area(&gm_runtime.roots.ranges, (uintptr_t)start, (uintptr_t)end, add);
}
#else
// without a collector nothing is scanned
GM_INLINE bool gm_arena_root(char *start, const char *end, bool add) {
    return (void)start, (void)end, (void)add, true;
}
#endif

GM_INLINE struct gm_span *gm_arena_take(const gomem_arena *a, size_t size, size_t align) {
    return gm_block_new(&gm_runtime, size, align, gm_arena_scanned(a), GM_USE_ARENA);
}
GM_INLINE void gm_arena_give(uint32_t page) { gm_block_free(&gm_runtime, gm_arena_span(page)); }

// Gives back a list of spans down to `until`; returns their bytes.
GM_PRIVATE size_t gm_arena_give_list(uint32_t *list, uint32_t until) {
    size_t bytes = 0;
    while (*list && *list != until) { // a void mark's may be nowhere
        uint32_t page = *list;
        bytes += gm_arena_bytes(gm_arena_span(page));
        *list = gm_arena_span(page)->shape;
        gm_arena_give(page);
    }
    return bytes;
}

GM_PRIVATE size_t gm_arena_used(const gomem_arena *a) {
    return a->before + a->aside_bytes + (size_t)(a->cursor - a->start);
}
GM_PRIVATE void gm_arena_measure(gomem_arena *a) { a->high = GM_MAX(a->high, gm_arena_used(a)); }

// The current block is left: its record says what of it is in use, and what is not zero. (I3)
GM_PRIVATE void gm_arena_put_away(gomem_arena *a) {
    if (!a->block) return;
    struct gm_span *s = gm_arena_span(a->block);
    char *dirty = GM_MIN(GM_MAX(a->clean, a->cursor), a->limit);
    gm_store_rlx(&s->owner, 0u); // I5
    s->used = (uint32_t)((size_t)(a->cursor - a->start) / 16);
    s->cursor = (uint32_t)((size_t)(dirty - a->start) / 16);
}

// A block becomes the current one, in use up to `used` bytes.
GM_PRIVATE void gm_arena_open(gomem_arena *a, uint32_t page, size_t used) {
    a->block = page;
    a->start = a->cursor = a->end = a->clean = a->ready = a->limit = NULL;
    if (!page) return;
    struct gm_span *s = gm_arena_span(page);
    a->start = gm_arena_start(s);
    a->limit = a->ready = a->start + gm_arena_bytes(s);
    a->cursor = a->end = a->start + used;
    a->clean = a->start + (size_t)s->cursor * 16;
    gm_arena_stamp(a);
    if (!gm_arena_scanned(a)) return;
    a->ready = a->start + GM_MIN(gm_base_round_up(used, GM_ARENA_STEP), gm_arena_bytes(s));
    gm_arena_publish(s, (size_t)(a->ready - a->start));
}

// The next block, for `need` bytes at least: one that a reset kept, or a new one.
GM_PRIVATE bool gm_arena_grow(gomem_arena *a, size_t need) {
    uint32_t *at = &a->spare;
    while (*at && gm_arena_bytes(gm_arena_span(*at)) < need) at = &gm_arena_span(*at)->shape;
    uint32_t page = *at;
    if (page) {
        *at = gm_arena_span(page)->shape;
        a->spare_bytes -= gm_arena_bytes(gm_arena_span(page));
    } else {
        struct gm_span *s = gm_arena_take(a, GM_MAX(a->next, need), 0);
        if (!s) return false;
        page = s->page + 1;
        s->cursor = s->clean ? 0 : (uint32_t)(gm_arena_bytes(s) / 16);
        a->next = GM_MIN(GM_MAX(a->next, need) * 2, (size_t)GM_ARENA_BLOCK_MOST);
        gm_arena_forbid(a, gm_arena_start(s), gm_arena_start(s) + gm_arena_bytes(s));
    }
    gm_arena_put_away(a);
    a->before += (size_t)(a->cursor - a->start);
    gm_arena_span(page)->shape = a->block;
    gm_arena_open(a, page, 0);
    return true;
}

// One large allocation in a span of its own.
GM_PRIVATE void *gm_arena_set_aside(gomem_arena *a, size_t size, size_t align, bool zero) {
    struct gm_span *s = gm_arena_take(a, size, align);
    if (!s) return NULL;
    if (!a->aside) a->aside_last = s->page + 1;
    s->shape = a->aside;
    a->aside = s->page + 1;
    a->aside_bytes += gm_arena_bytes(s);
    if (!s->clean && (zero || gm_arena_scanned(a))) memset(gm_arena_start(s), 0, size);
    gm_arena_publish(s, size);
    gm_arena_forbid(a, gm_arena_start(s) + size, gm_arena_start(s) + gm_arena_bytes(s));
    return gm_arena_start(s);
}

// The reservation becomes memory up to `to`, some way ahead.
GM_PRIVATE bool gm_arena_commit(gomem_arena *a, const char *to) {
    size_t want = gm_base_round_up((size_t)(to - a->start), GM_ARENA_COMMIT);
    char *end = a->start + GM_MIN(want, (size_t)(a->limit - a->start));
    if (to <= a->committed) return true;
    if (!gm_os_protect((uintptr_t)a->committed, (uintptr_t)end, PROT_READ | PROT_WRITE)) {
        errno = ENOMEM;
        return false;
    }
    a->committed = end;
    return true;
}

// What lies below `to` becomes usable: committed, zero some way ahead, and known to the collector.
// Below `from` it need not be zero, unless it is scanned. False: no memory.
GM_PRIVATE bool gm_arena_extend(gomem_arena *a, char *from, const char *to) {
    bool scanned = gm_arena_scanned(a), reserved = a->mode == GM_ARENA_RESERVED;
    size_t step = reserved ? GM_ARENA_COMMIT : GM_ARENA_STEP, need = (size_t)(to - a->start);
    char *old = a->end, *was = a->ready, *ready = was;
    if (to <= old) return true;
    if (reserved && !gm_arena_commit(a, to)) return false;
    if (to > was)
        ready = a->start + GM_MIN(gm_base_round_up(need, step), (size_t)(a->limit - a->start));
    char *end = a->start +
                GM_MIN(gm_base_round_up(need, GM_ARENA_STEP), (size_t)(ready - a->start));
    if (end >= a->clean || scanned) end = ready;
    if (from < old || scanned) from = old;
    if (from < end && from < a->clean) {
        gm_guard_allow(from, (size_t)(end - from));
        memset(from, 0, (size_t)(GM_MIN(end, a->clean) - from));
        gm_arena_forbid(a, from, end);
    }
    gm_arena_forbid(a, was, ready);
    if (ready > was && scanned) { // I2: it is zero now
        if (a->mode == GM_ARENA_CHAINED)
            gm_arena_publish(gm_arena_span(a->block), (size_t)(ready - a->start));
        else if (a->mode != GM_ARENA_CHAINED && !gm_arena_root(a->start, ready, true)) return false;
    }
    a->end = end;
    a->ready = ready;
    return true;
}

// What lies above `to` in the current block is let go; `to` may be none of what is in use.
GM_PRIVATE void gm_arena_truncate(gomem_arena *a, char *to) {
    char *old = a->cursor, *was = a->ready, *cursor = to < a->start || to > old ? old : to;
    if (!a->start) return;
    a->clean = GM_MIN(GM_MAX(a->clean, old), a->limit);
    a->cursor = cursor;
    if (old - cursor > GM_ARENA_STEP) a->end = cursor + GM_ARENA_STEP;
    if (gm_arena_scanned(a)) {
        size_t kept = gm_base_round_up((size_t)(cursor - a->start), GM_ARENA_STEP);
        a->ready = GM_MIN(a->ready, a->start + kept);
        a->end = GM_MIN(a->end, a->ready);
        if (was > a->ready && a->mode == GM_ARENA_CHAINED)
            gm_arena_publish(gm_arena_span(a->block), kept);
        else if (was > a->ready) (void)gm_arena_root(a->start, a->ready, kept != 0);
    }
    size_t dirty = (size_t)(GM_MIN(a->end, old) - cursor);
    gm_guard_allow(cursor, dirty);
    memset(cursor, 0, dirty); // I1
    gm_arena_forbid(a, cursor, was);
}

// ---- allocation ----

// The first use: what {0} means, or memory that free gave back.
GM_PRIVATE bool gm_arena_begin(gomem_arena *a) {
    if (!a->least) a->least = GM_ARENA_BLOCK;
    if (!a->next) a->next = a->least;
    if (a->mode != GM_ARENA_RESERVED || a->start) return true;
    a->start = gm_os_reserve(a->least, 0);
    if (!a->start) {
        errno = ENOMEM;
        return false;
    }
    a->cursor = a->end = a->clean = a->ready = a->committed = a->start;
    a->limit = a->start + a->least;
    return true;
}

// size bytes, a multiple of 16 and not 0, at a multiple of align.
GM_PRIVATE void *gm_arena_bump(gomem_arena *a, size_t size, size_t align, bool zero) {
    if (!gm_arena_begin(a)) return NULL;
    a->self = a; // I5
    for (;;) {
        uintptr_t p = gm_base_round_up((uintptr_t)a->cursor, align), limit = (uintptr_t)a->limit;
        if (a->cursor && p >= (uintptr_t)a->cursor && p <= limit && size <= limit - p) {
            char *object = a->cursor + (p - (uintptr_t)a->cursor);
            if (!gm_arena_extend(a, zero ? object : object + size, object + size)) return NULL;
            a->cursor = object + size;
            gm_guard_allow(object, size);
            return object;
        }
        if (a->mode != GM_ARENA_CHAINED) {
            errno = ENOMEM;
            return NULL;
        }
        size_t need = align > GM_PAGE ? size + align : size;
        if (need >= GM_ARENA_ASIDE && need > a->next / 4)
            return gm_arena_set_aside(a, size, align, zero);
        if (!gm_arena_grow(a, need)) return NULL;
    }
}

// Any request; errno is kept by what succeeds.
GM_PRIVATE void *gm_arena_alloc_slow(gomem_arena *a, size_t size, size_t align, bool zero) {
    int saved = errno;
    if (!a || size > (size_t)PTRDIFF_MAX - 16) return gomem_i_overflow(); // ENOMEM
    if (!gm_arena_enter(a, a->cursor)) return NULL;
    size_t rounded = gm_base_round_up(size + !size, 16);
    char *p = gm_arena_bump(a, rounded, align, zero);
    if (p) gm_arena_forbid(a, p + size, p + rounded); // what rounding adds
    gm_arena_leave(a);
    return gm_alloc_done(p, saved);
}

GOMEM_DEF void *gomem_i_arena_slow(gomem_arena *a, size_t size) {
    return gm_arena_alloc_slow(a, size, 16, true);
}

GOMEM_DEF void *gomem_i_arena_with(gomem_arena *a, size_t size, size_t align, unsigned flags) {
    if ((align && !gm_base_power_of_two(align)) || flags & ~(unsigned)GOMEM_UNINIT) {
        errno = EINVAL;
        return NULL;
    }
    // a scanned one is zeroed in any case: stale words would keep garbage
    bool zero = !(flags & GOMEM_UNINIT) || (a && gm_arena_scanned(a));
    return gm_arena_alloc_slow(a, size, GM_MAX(align, (size_t)16), zero);
}

GOMEM_DEF void *gomem_arena_resize(gomem_arena *a, void *p, size_t old_size, size_t new_size) {
    if (!p || !a) return gm_arena_alloc_slow(a, new_size, 16, true);
    if (new_size > (size_t)PTRDIFF_MAX - 16 || old_size > (size_t)PTRDIFF_MAX - 16)
        return gomem_i_overflow();
    char *object = p;
    size_t old = gm_base_round_up(old_size + !old_size, 16);
    size_t now = gm_base_round_up(new_size + !new_size, 16);
    int saved = errno;
    if (!gm_arena_enter(a, p)) return NULL;
    // what ends where this block begins lies in another
    bool last = a->cursor && object >= a->start && object + old == a->cursor;
    if (last && now <= old) { // what it leaves is free again
        gm_arena_measure(a);
        gm_arena_truncate(a, object + now);
    }
    bool room = last && now > old && now <= (size_t)(a->limit - object) &&
                gm_arena_extend(a, a->cursor, object + now);
    if (room) {
        gm_guard_allow(a->cursor, now - old);
        a->cursor = object + now;
    }
    bool in_place = room || now <= old;
    if (in_place) {
        gm_guard_allow(object, new_size);
        // bytes of the rounding that were the user's, or nobody's, before
        if (new_size > old_size) memset(object + old_size, 0, GM_MIN(old, new_size) - old_size);
        gm_arena_forbid(a, object + new_size, object + GM_MAX(now, old));
    }
    gm_arena_leave(a);
    if (in_place) return gm_alloc_done(p, saved);
    char *to = gm_arena_alloc_slow(a, new_size, 16, true);
    return to ? memcpy(to, p, GM_MIN(old_size, new_size)) : NULL;
}

GOMEM_DEF char *gomem_arena_strdup(gomem_arena *a, const char *s) {
    size_t size = strlen(s) + 1;
    char *copy = size < GM_ARENA_STEP ? gomem_arena_alloc(a, size)
                                      : gm_arena_alloc_slow(a, size, 16, false);
    return copy ? memcpy(copy, s, size) : NULL;
}

// in_place: what can be taken without a call may be written to, and gm_text_write left it.
GM_FORMAT(2, 0)
GM_COLD GM_PRIVATE char *gm_arena_print_slow(gomem_arena *a, const char *format, bool in_place,
                                             struct gm_arguments *args) {
    char text[GM_ARENA_TEXT], *to = in_place ? a->cursor : text, *p = NULL;
    va_list again, last;
    text[0] = 0;
    va_copy(again, args->list);
    va_copy(last, args->list);
    int n = in_place ? -1 : gm_text_write(text, sizeof text, format, args);
    if (n < 0) n = vsnprintf(to, sizeof text, format, again);
    bool fits = n >= 0 && (size_t)n < sizeof text;
    if (in_place && fits) {
        p = a->cursor;
        a->cursor = p + gm_base_round_up((size_t)n + 1, 16);
    } else {
        if (in_place) memset(to, 0, sizeof text); // I1
        if (n >= 0) p = gm_arena_alloc_slow(a, (size_t)n + 1, 16, false);
        if (p && fits) memcpy(p, text, (size_t)n + 1);
        else if (p) (void)vsnprintf(p, (size_t)n + 1, format, last);
    }
    va_end(last);
    va_end(again);
    return p;
}

// again: a copy of args, made by the caller: gcc inlines no function that copies a va_list.
GM_FORMAT(2, 0)
GM_ALWAYS char *gm_arena_print(gomem_arena *a, const char *format, struct gm_arguments *args,
                               struct gm_arguments *again) {
    // it is written where it will lie, unless that is watched
    bool in_place = !GOMEM_I_CHECK && !GOMEM_I_POISONED && a && a->end - a->cursor >= GM_ARENA_TEXT;
    char *p = in_place ? a->cursor : NULL;
    int n = in_place ? gm_text_write(p, GM_ARENA_TEXT, format, args) : -1;
    if (n < 0) return gm_arena_print_slow(a, format, in_place, again);
    a->cursor = p + gm_base_round_up((size_t)n + 1, 16);
    return p;
}

GOMEM_DEF char *gomem_arena_printf(gomem_arena *a, const char *format, ...) {
    struct gm_arguments args, again;
    va_start(args.list, format);
    va_start(again.list, format);
    char *p = gm_arena_print(a, format, &args, &again);
    va_end(again.list);
    va_end(args.list);
    return p;
}

GOMEM_DEF char *gomem_arena_vprintf(gomem_arena *a, const char *format, __builtin_va_list list) {
    struct gm_arguments args, again;
    va_copy(args.list, list);
    va_copy(again.list, list);
    char *p = gm_arena_print(a, format, &args, &again);
    va_end(again.list);
    va_end(args.list);
    return p;
}

// ---- letting go ----

GM_PRIVATE void gm_arena_run(gomem_arena *a, const struct gomem_i_on_reset *until) {
    while (a->on_reset != until && a->on_reset) {
        struct gomem_i_on_reset *r = a->on_reset;
        a->on_reset = r->next;
        gm_arena_leave(a); // it may use the arena
        r->fn(r->arg);
        if (!gm_arena_enter(a, r)) return;
    }
}

// Back to a mark: callbacks, large ones, blocks, the rest of the block.
GM_PRIVATE void gm_arena_rewind(gomem_arena *a, const gomem_arena_mark *m) {
    gm_arena_measure(a);
    gm_arena_run(a, m->on_reset);
    a->aside_bytes -= gm_arena_give_list(&a->aside, m->aside);
    while (a->block && a->block != m->block) { // a void mark's may be nowhere
        uint32_t page = a->block, older = gm_arena_span(page)->shape;
        gm_arena_put_away(a);
        gm_arena_forbid(a, a->start, a->limit);
        size_t used = older ? (size_t)gm_arena_span(older)->used * 16 : 0;
        gm_arena_span(page)->shape = a->spare;
        if (gm_arena_scanned(a)) gm_arena_publish(gm_arena_span(page), 0);
        a->spare = page;
        a->spare_bytes += gm_arena_bytes(gm_arena_span(page));
        a->before -= used;
        gm_arena_open(a, older, used);
    }
    gm_arena_truncate(a, m->cursor ? m->cursor : a->start);
}

GM_PRIVATE size_t gm_arena_in_blocks(const gomem_arena *a) {
    return a->before + (size_t)(a->cursor - a->start);
}

// Bytes of the next block, after rounds that needed `peak`.
GM_PRIVATE size_t gm_arena_next(const gomem_arena *a) {
    size_t bytes = GM_MAX(a->least, gm_base_round_up(a->peak, GM_PAGE));
    return GM_MIN(bytes, (size_t)GM_ARENA_BLOCK_MOST);
}

// A reservation gives back what the last rounds did not need.
GM_PRIVATE void gm_arena_trim(gomem_arena *a) {
    if (a->mode != GM_ARENA_RESERVED || a->committed <= a->start + a->peak + GM_MIB) return;
    char *keep = a->start + gm_base_round_up(a->peak, GM_ARENA_COMMIT);
    if (!gm_os_discard(keep, (size_t)(a->committed - keep))) return;
    a->clean = GM_MIN(a->clean, keep);
    a->ready = GM_MIN(a->ready, keep);
    a->end = GM_MIN(a->end, keep);
    a->committed = keep;
}

// What was let go since `idle` pages were idle goes to the system: rounds have shown that it is not
// needed, so it does not have to wait for other uses.
GM_PRIVATE void gm_arena_give_back(size_t idle) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_cache *t = gm_alloc_enter(rt);
    if (!t) return;
    (void)gm_heap_give_back(&rt->engine.heap, idle, GM_GIVE_LEAST, SIZE_MAX);
    gm_alloc_leave(rt, t);
}
GM_INLINE size_t gm_arena_idle(void) {
    return gm_load_rlx(&gm_runtime.engine.heap.pages.idle); // a heuristic
}

// What rounds need, after one that used `most` bytes of blocks and leaves `used`. A round that ends
// where large ones do (base) lets go an eighth, as a reset does. One that ends above is a part of a
// larger round, which will need what is kept: it lets go an eighth of the bytes that it used.
GM_PRIVATE void gm_arena_learn(gomem_arena *a, size_t most, size_t used) {
    size_t step = used <= a->base + GM_ARENA_BLOCK ? a->peak / 8 : (most - used) / 8;
    if (most - used >= a->peak / 2) a->base = used;
    a->peak = GM_MAX(most, a->peak - GM_MIN(a->peak, step));
}

// A round that used `most` bytes of blocks has ended: of the kept blocks those go that rounds do
// not need, and those that are far too large. (I6)
GM_PRIVATE void gm_arena_settle(gomem_arena *a, size_t most) {
    size_t idle = gm_arena_idle(), used = gm_arena_in_blocks(a);
    uint32_t first = a->spare;
    gm_arena_learn(a, most, GM_MIN(most, used));
    size_t keep = a->peak - GM_MIN(a->peak, used);
    while (a->spare) {
        uint32_t page = a->spare;
        size_t bytes = gm_arena_bytes(gm_arena_span(page));
        if (a->spare_bytes - bytes < keep && bytes <= 4 * GM_MAX(keep, a->least)) break;
        a->spare = gm_arena_span(page)->shape;
        a->spare_bytes -= bytes;
        gm_arena_give(page);
        a->next = gm_arena_next(a);
    }
    if (a->spare != first) gm_arena_give_back(idle);
    gm_arena_trim(a);
}

// Check level 1: makes the record of a mark. Its number, or, if it does not fit, that of the latest
// one with GM_ARENA_SHARED. (I4)
GM_PRIVATE uint32_t gm_arena_record(gomem_arena *a) {
    struct gomem_i_save *save = NULL;
    int saved = errno;
    if (gm_arena_enter(a, a->cursor)) {
        save = gm_arena_bump(a, gm_base_round_up(sizeof *save, 16), 16, false);
        if (save) {
            *save = (struct gomem_i_save){a->save, ++a->saves};
            a->save = save;
        }
        gm_arena_leave(a);
    }
    errno = saved;
    uint32_t number = a->save ? a->save->number : a->bottom;
    return save ? number : number | GM_ARENA_SHARED;
}

GOMEM_DEF gomem_arena_mark gomem_arena_save(gomem_arena *a) {
    if (!a) return (gomem_arena_mark){NULL, 0, 0, 0, NULL};
    uint32_t number = GOMEM_I_CHECK ? gm_arena_record(a) : 0;
    return (gomem_arena_mark){a->cursor, a->block, a->aside, number, a->on_reset};
}

// Check level 1: whether a mark can be restored, and the latest record from then on. A mark that
// shares a record is void at the latest when that is.
GM_PRIVATE bool gm_arena_valid(gomem_arena *a, uint32_t mark, struct gomem_i_save **record) {
    uint32_t number = mark & ~GM_ARENA_SHARED;
    struct gomem_i_save *save = a->save;
    while (save && save->number != number) save = save->next;
    *record = save;
    return save || !mark || (mark & GM_ARENA_SHARED && number == a->bottom);
}

GOMEM_DEF void gomem_arena_restore(gomem_arena *a, gomem_arena_mark m) {
    struct gm_runtime *rt = &gm_runtime;
    struct gomem_i_save *save = NULL;
    if (!a || !gm_arena_enter(a, m.cursor)) return;
    bool valid = !GOMEM_I_CHECK || gm_arena_valid(a, m.save, &save);
    if (valid) {
        size_t most = gm_arena_in_blocks(a);
        gm_arena_rewind(a, &m);
        a->save = save;
        gm_arena_settle(a, most);
    }
    gm_arena_leave(a);
    if (!valid)
        gm_guard_misuse_of(&rt->engine.guard, &rt->engine.heap.pages, GM_MSG_STALE_MARK, m.cursor,
                           a->name);
}

// Where the list of kept blocks leads to the one to keep for `need` bytes: the smallest that is
// enough, else the largest.
GM_PRIVATE uint32_t *gm_arena_best(gomem_arena *a, size_t need) {
    uint32_t *best = &a->spare;
    for (uint32_t *at = &a->spare; *at; at = &gm_arena_span(*at)->shape) {
        size_t mine = gm_arena_bytes(gm_arena_span(*at)),
               its = gm_arena_bytes(gm_arena_span(*best));
        if (its < need ? mine > its : mine >= need && mine < its) best = at;
    }
    return best;
}

// Keeps blocks for what the last rounds needed, and none that is far too large.
GM_PRIVATE void gm_arena_decay(gomem_arena *a) {
    uint32_t kept = 0;
    size_t bytes = 0, idle = gm_arena_idle();
    while (a->spare && bytes < a->peak) {
        uint32_t *best = gm_arena_best(a, a->peak - bytes), page = *best;
        struct gm_span *s = gm_arena_span(page);
        if (gm_arena_bytes(s) > 4 * GM_MAX(a->peak - bytes, a->least)) break;
        *best = s->shape;
        s->shape = kept;
        kept = page;
        bytes += gm_arena_bytes(s);
    }
    if (gm_arena_give_list(&a->spare, 0)) gm_arena_give_back(idle);
    a->spare_bytes = bytes;
    for (uint32_t older; kept; kept = older) { // the largest comes first again
        older = gm_arena_span(kept)->shape;
        gm_arena_span(kept)->shape = a->spare;
        a->spare = kept;
    }
}

// One block is all there is, and what a reset would keep.
GM_PRIVATE bool gm_arena_settled(const gomem_arena *a) {
    const struct gm_span *s = gm_arena_span(a->block);
    return !s->shape && !a->spare && gm_arena_bytes(s) <= 4 * GM_MAX(a->peak, a->least);
}

GOMEM_DEF void gomem_arena_reset(gomem_arena *a) {
    gomem_arena_mark empty = {NULL, 0, 0, 0, NULL};
    if (!a || !gm_arena_enter(a, a->cursor)) return;
    a->peak = GM_MAX(gm_arena_in_blocks(a), a->peak - a->peak / 8);
    if (a->block && gm_arena_settled(a)) empty.block = a->block;
    gm_arena_rewind(a, &empty);
    a->save = NULL;
    a->bottom = ++a->saves;
    a->base = 0;
    a->next = gm_arena_next(a);
    if (a->mode == GM_ARENA_CHAINED && a->spare) {
        gm_arena_decay(a);
        if (a->spare) (void)gm_arena_grow(a, 0); // the next round begins without a call
    }
    gm_arena_trim(a);
    gm_arena_leave(a);
}

// Gives back what is kept for later rounds.
GM_PRIVATE void gm_arena_give_spare(gomem_arena *a) {
    (void)gm_arena_give_list(&a->spare, 0);
    a->spare_bytes = 0;
}

GOMEM_DEF void gomem_arena_free(gomem_arena *a) {
    gomem_arena_mark empty = {NULL, 0, 0, 0, NULL};
    if (!a || !gm_arena_enter(a, a->cursor)) return;
    gm_arena_rewind(a, &empty);
    gm_arena_give_spare(a);
    a->save = NULL;
    a->bottom = ++a->saves;
    a->peak = a->base = a->before = 0;
    a->next = a->least;
    if (a->mode == GM_ARENA_RESERVED && a->start) {
        if (GM_ASAN) gm_guard_allow(a->start, (size_t)(a->limit - a->start));
        gm_os_release(a->start, a->least);
        a->start = a->cursor = a->end = a->clean = a->ready = a->limit = a->committed = NULL;
    }
    if (a->mode == GM_ARENA_BUFFER) {
        gm_guard_allow(a->start, (size_t)(a->limit - a->start)); // the user's again
        a->end = a->cursor;
    }
    a->self = NULL;
    gm_arena_leave(a);
}

// ---- setting up ----

GOMEM_DEF bool gomem_arena_init(gomem_arena *a, const gomem_arena_options *o) {
    gomem_arena fresh;
    memset(&fresh, 0, sizeof fresh);
    size_t most = (size_t)PTRDIFF_MAX / 2;
    bool fine = !(o->buffer && o->reserve) && !(o->flags & ~(unsigned)GOMEM_SCAN) &&
                (o->buffer || !o->buffer_size) && o->block <= most && o->reserve <= most &&
                o->buffer_size <= most;
    if (!fine) {
        errno = EINVAL;
        return false;
    }
    fresh.flags = o->flags;
    fresh.name = o->name;
    fresh.least = o->block ? gm_base_round_up(o->block, GM_PAGE) : GM_ARENA_BLOCK;
    if (o->reserve) {
        fresh.mode = GM_ARENA_RESERVED;
        fresh.least = gm_base_round_up(o->reserve, GM_ARENA_COMMIT);
    }
    if (o->buffer) {
        uintptr_t from = gm_base_round_up((uintptr_t)o->buffer, 16);
        uintptr_t to = ((uintptr_t)o->buffer + o->buffer_size) & ~(uintptr_t)15;
        fresh.mode = GM_ARENA_BUFFER;
        fresh.start = (char *)o->buffer + (from - (uintptr_t)o->buffer);
        fresh.limit = to > from ? fresh.start + (to - from) : fresh.start;
        fresh.cursor = fresh.end = fresh.start;
        fresh.clean = fresh.limit; // nothing is known of it
        fresh.ready = gm_arena_scanned(&fresh) ? fresh.start : fresh.limit;
        gm_arena_forbid(&fresh, fresh.start, fresh.limit);
    }
    if (!gm_arena_begin(&fresh)) return false;
    *a = fresh;
    return true;
}

GOMEM_DEF bool gomem_arena_on_reset(gomem_arena *a, void (*fn)(void *arg), void *arg) {
    struct gomem_i_on_reset *r = gm_arena_alloc_slow(a, sizeof *r, 16, false);
    if (!r) return false;
    *r = (struct gomem_i_on_reset){a->on_reset, fn, arg};
    if (!a->on_reset) a->on_reset_last = r;
    a->on_reset = r;
    return true;
}

// ---- together ----

// What `from` holds goes in front of what lies aside; the rests of its blocks are lost. Each block
// is walked once in its life, since it lies aside from then on.
GM_PRIVATE void gm_arena_join(gomem_arena *into, gomem_arena *from) {
    uint32_t *end = &from->block, last = 0;
    for (; *end; end = &gm_arena_span(last)->shape) {
        last = *end;
        into->aside_bytes += gm_arena_bytes(gm_arena_span(last));
    }
    *end = from->aside;
    if (from->aside) last = from->aside_last;
    if (!last) return;
    gm_arena_span(last)->shape = into->aside;
    if (!into->aside) into->aside_last = last;
    into->aside = from->block;
    into->aside_bytes += from->aside_bytes;
}

// Callbacks run as if those of `from` were registered last.
GM_PRIVATE void gm_arena_join_callbacks(gomem_arena *into, gomem_arena *from) {
    if (!from->on_reset) return;
    from->on_reset_last->next = into->on_reset;
    if (!into->on_reset) into->on_reset_last = from->on_reset_last;
    into->on_reset = from->on_reset;
}

GOMEM_DEF bool gomem_arena_absorb(gomem_arena *into, gomem_arena *from) {
    if (!into || !from || into == from || into->mode != GM_ARENA_CHAINED ||
        from->mode != GM_ARENA_CHAINED || gm_arena_scanned(into) != gm_arena_scanned(from)) {
        errno = EINVAL;
        return false;
    }
    if (!gm_arena_enter(into, into->cursor)) return false;
    if (!gm_arena_enter(from, from->cursor)) {
        gm_arena_leave(into);
        return false;
    }
    into->self = into; // I5
    gm_arena_put_away(from);
    gm_arena_give_spare(from); // they would pile up
    gm_arena_join(into, from);
    gm_arena_join_callbacks(into, from);
    gm_arena_measure(into);
    gomem_arena empty;
    memset(&empty, 0, sizeof empty);
    empty.flags = from->flags;
    empty.least = empty.next = from->least;
    empty.saves = empty.bottom = from->saves + 1; // marks of it are void
    empty.name = from->name;
    *from = empty;
    gm_arena_leave(into);
    return true;
}

// Hook of world: the thread ends.
GM_PRIVATE void gm_arena_end_thread(gomem_arena *scratch) {
    for (unsigned i = 0; i < GM_ARENA_SCRATCH; i++) gomem_arena_free(&scratch[i]);
}

// The calling thread's scratch arenas give back what they keep for later rounds.
GM_PRIVATE void gm_arena_trim_scratch(gomem_arena *scratch) {
    for (unsigned i = 0; scratch && i < GM_ARENA_SCRATCH; i++) gm_arena_give_spare(&scratch[i]);
}

GOMEM_DEF gomem_arena *gomem_scratch(gomem_arena *const *busy, size_t n) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return NULL;
    if (!me->scratch) {
        gm_sync_enter(&me->cache.hot);
        me->scratch = gm_pages_meta(&rt->engine.meta, GM_ARENA_SCRATCH * sizeof *me->scratch);
        gm_sync_leave(&me->cache.hot);
        if (!me->scratch) {
            errno = ENOMEM;
            return NULL;
        }
        // pairs with gm_world_leave
        gm_store_rel(&rt->world.end_thread, gm_arena_end_thread);
    }
    if (me->orphans) { // it was anywhere in them when its process forked: they are left behind
        memset(me->scratch, 0, GM_ARENA_SCRATCH * sizeof *me->scratch);
        me->orphans = false;
    }
    for (unsigned i = 0; i < GM_ARENA_SCRATCH; i++) {
        size_t k = 0;
        while (k < n && busy[k] != &me->scratch[i]) k++;
        if (k == n) return &me->scratch[i];
    }
    errno = EINVAL;
    return NULL;
}

GM_RARE GOMEM_DEF gomem_arena_stats gomem_arena_read_stats(const gomem_arena *a) {
    gomem_arena_stats s = {0, 0, 0, 0};
    if (!a) return s;
    s.used = gm_arena_used(a);
    const uint32_t lists[] = {a->block, a->aside, a->spare};
    for (unsigned i = 0; i < 3; i++)
        for (uint32_t page = lists[i]; page; page = gm_arena_span(page)->shape) {
            s.held += gm_arena_bytes(gm_arena_span(page));
            s.blocks++;
        }
    if (a->mode != GM_ARENA_CHAINED && a->start) {
        s.held = (uint64_t)(a->mode == GM_ARENA_BUFFER ? a->limit - a->start
                                                       : a->committed - a->start);
        s.blocks = 1;
    }
    s.high_water = GM_MAX(a->high, s.used);
    return s;
}

GOMEM_DEF gomem_arena_scope gomem_i_scope_begin(gomem_arena *a) {
    return (gomem_arena_scope){a, gomem_arena_save(a), 1};
}
GOMEM_DEF void gomem_i_scope_end(gomem_arena_scope *scope) {
    gomem_arena *a = scope->arena;
    gomem_arena_restore(a, scope->mark);
    if (!GOMEM_I_CHECK || !a || !a->save || a->save->number != scope->mark.save) return;
    struct gomem_i_save *save = a->save; // the scope's own: nobody else has this mark
    a->save = save->next;
    gm_arena_truncate(a, (char *)save);
}
#else
// there are none
GM_INLINE void gm_arena_trim_scratch(struct gomem_arena *scratch) { (void)scratch; }
#endif // GOMEM_I_ARENA

#if GOMEM_I_ESCAPE
/* ==========================================================================================
 * >>escape   stack or heap: hints, their report, pointers to dead frames           floor 5
 * ==========================================================================================
 * OWNS        struct gm_escapes, the frames of threads
 * CALLS       base os sync pages world roots alloc
 * LOCKS       ESCAPES, then META; ROOTS
 * INVARIANTS  EH1 stack_floor and stack_span of a cache are what its thread's normal stack has
 *                 above gm_escape_floor and GOMEM_I_STACK_ROOM, or 0: then, as while the report is
 *                 on or at check level 1, hints go slow
 *             EH2 a frame's record is gone before its memory is another hint's
 * WHY         Hints may take a part of the stack only, counted from its start: a hint that could
 *             take what is left would leave a recursion, or the next function with a large frame,
 *             nothing, where GOMEM_MAKE leaves it the whole stack.
 *             The inlined half tests size and stack pointer; it does not trust the frame's address,
 *             which stands still while alloca goes on. The two halves stand in one expression, with
 *             alloca between them, and leave nothing in the cache: hints may nest, and a thread
 *             that has ended may use them.
 */
enum gm_reason_of_hint { GM_HINT_LARGE, GM_HINT_LITTLE_LEFT, GM_HINT_UNKNOWN_STACK, GM_HINT_TOLD };
enum { GM_HINT_SHARE = 4 };           // of a stack hints take one part in so many
#define GM_HINT_MOST ((size_t)GM_MIB) // and so many bytes of a large one

// Hints on the stack [lo, hi) lie above it.
GM_PRIVATE uintptr_t gm_escape_floor(uintptr_t lo, uintptr_t hi) {
    size_t size = hi - lo, most = GM_MIN(size / GM_HINT_SHARE, GM_HINT_MOST);
    size_t rest = GM_MAX(size - most, (size_t)GOMEM_STACK_RESERVE);
    return lo + GM_MIN(rest, size);
}

// The thread's normal stack becomes known to its hints.
GM_PRIVATE void gm_escape_learn(struct gm_runtime *rt, struct gm_thread *me) {
    if (me->hint_hi) return;
    uintptr_t lo = 0, hi = 0;
    if (!gm_os_stack(pthread_self(), &lo, &hi)) return;
    me->hint_lo = lo;
    me->hint_hi = hi;
    uintptr_t floor = gm_escape_floor(lo, hi) + GOMEM_I_STACK_ROOM;
    if (GOMEM_I_CHECK || rt->world.settings.escape || hi <= floor) return; // EH1
    me->cache.hot.stack_floor = floor;
    me->cache.hot.stack_span = hi - floor;
}

// The stack that sp lies on, if it is known: the normal one, or a registered one.
GM_PRIVATE bool gm_escape_stack(struct gm_runtime *rt, struct gm_thread *me, uintptr_t sp,
                                uintptr_t *lo, uintptr_t *hi) {
    gm_escape_learn(rt, me);
    *lo = me->hint_lo;
    *hi = me->hint_hi;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->roots.lock);
    const struct gm_stack *stack = gm_roots_stack_of(&rt->roots,
                                                     sp); // may seem to lie in the other
    if (stack) *lo = stack->start, *hi = stack->end;
    gm_sync_unlock(&rt->roots.lock);
    gm_sync_leave(&me->cache.hot);
    return sp - *lo < *hi - *lo;
}

// ---- the report ----

// The site's record; NULL: no memory.
GM_PRIVATE struct gm_site *gm_escape_site_locked(struct gm_runtime *rt, const char *file,
                                                 int line) {
    struct gm_escapes *e = &rt->escapes;
    for (size_t i = 0; i < e->count; i++)
        if (e->sites[i].line == line && !strcmp(e->sites[i].file, file)) return &e->sites[i];
    if (e->count == e->room) {
        size_t room = GM_MAX(e->room * 2, (size_t)64);
        struct gm_site *sites = gm_pages_meta_grow(&rt->engine.meta, e->sites,
                                                   e->room * sizeof *sites, room * sizeof *sites);
        if (!sites) return NULL;
        e->sites = sites;
        e->room = room;
    }
    struct gm_site *s = &e->sites[e->count++];
    memset(s, 0, sizeof *s);
    s->file = file;
    s->line = line;
    return s;
}

enum gm_outcome_of_hint { GM_HINT_FAILED, GM_HINT_ON_STACK, GM_HINT_IN_HEAP };

// Counts a hint; `why` is the reason of one in the heap. Only while the report is on.
GM_RARE GM_PRIVATE void gm_escape_count(struct gm_runtime *rt, struct gm_thread *me,
                                        const char *file, int line, size_t bytes,
                                        enum gm_outcome_of_hint where, unsigned why) {
    if (!me || !rt->world.settings.escape) return;
    gm_sync_enter(&me->cache.hot);
    gm_sync_lock(&rt->escapes.lock);
    struct gm_site *s = gm_escape_site_locked(rt, file, line);
    if (!s) {
        rt->escapes.missed++;
    } else if (where == GM_HINT_FAILED) {
        s->failed++;
    } else if (where == GM_HINT_ON_STACK) {
        s->stack++;
        s->stack_bytes += bytes;
    } else {
        s->heap++;
        s->heap_bytes += bytes;
        s->why[why]++;
    }
    gm_sync_unlock(&rt->escapes.lock);
    gm_sync_leave(&me->cache.hot);
}

// Why a site's hints are in the heap: " (too large)", " (too large 2 x, told to 1 x)".
GM_PRIVATE void gm_escape_put_reasons(struct gm_text *t, const struct gm_site *s) {
    static const char *const reasons[] = {"too large", "little stack left", "unknown stack",
                                          "told to"};
    const char *before = " (";
    for (unsigned i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (!s->why[i]) continue;
        gm_text_format(t, "%s%s", before, reasons[i]);
        if (s->why[i] != s->heap) gm_text_format(t, " %" PRIu64 " x", s->why[i]);
        before = ", ";
    }
    gm_text_format(t, ")");
}

// "parse.c:40: does not escape: 12 times, 576 bytes; moved to heap: 3 times, 19200 bytes (too
// large); no memory: 1 times"
GM_PRIVATE void gm_escape_tell_site(const struct gm_site *s) {
    struct gm_text t = gm_text_make("gomem: %s:%d:", s->file, s->line);
    if (s->stack)
        gm_text_format(&t, " does not escape: %" PRIu64 " times, %" PRIu64 " bytes", s->stack,
                       s->stack_bytes);
    if (s->heap) {
        gm_text_format(&t, "%s moved to heap: %" PRIu64 " times, %" PRIu64 " bytes",
                       s->stack ? ";" : "", s->heap, s->heap_bytes);
        gm_escape_put_reasons(&t, s);
    }
    if (s->failed)
        gm_text_format(&t, "%s no memory: %" PRIu64 " times", s->stack || s->heap ? ";" : "",
                       s->failed);
    gm_base_log(t.data);
}

// GOMEM_DEBUG=escape=1, at exit: the sites, most bytes first.
GM_RARE __attribute__((destructor)) GM_PRIVATE void gm_escape_at_exit(void) {
    struct gm_escapes *e = &gm_runtime.escapes;
    if (!gm_runtime.world.settings.escape) return;
    for (size_t n = 0; n < e->count; n++) {
        struct gm_site *most = &e->sites[n];
        for (size_t i = n + 1; i < e->count; i++)
            if (e->sites[i].stack_bytes + e->sites[i].heap_bytes >
                most->stack_bytes + most->heap_bytes)
                most = &e->sites[i];
        struct gm_site site = *most;
        *most = e->sites[n];
        e->sites[n] = site;
        gm_escape_tell_site(&site);
    }
    if (!e->missed) return;
    gm_base_log(gm_text_make("gomem: hints at places for which there was no memory: %" PRIu64
                             " times",
                             e->missed)
                    .data);
}

// ---- hints ----

GOMEM_DEF gomem_i_hint gomem_i_hint_slow(uintmax_t n, size_t size, size_t align, uintptr_t sp,
                                         const char *file, int line) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    gomem_i_hint hint = {NULL, false};
    if (!gomem_i_fits(n, size)) {
        gm_escape_count(rt, me, file, line, 0, GM_HINT_FAILED, 0);
        hint.heap = gomem_i_overflow();
        return hint;
    }
    size_t bytes = (size_t)n * size, slack = align > 16 ? align : 0;
    uintptr_t lo = 0, hi = 0;
    unsigned why = GM_HINT_TOLD;
    if (bytes > GOMEM_STACK_MAX) why = GM_HINT_LARGE;
    else if (!me || me->cache.hot.section_depth || !gm_escape_stack(rt, me, sp, &lo, &hi))
        why = GM_HINT_UNKNOWN_STACK;
    else if (sp <= gm_escape_floor(lo, hi) + bytes + slack) why = GM_HINT_LITTLE_LEFT;
    hint.stack = why == GM_HINT_TOLD;
    if (!hint.stack) hint.heap = gomem_i_new(gomem_i_array(bytes), align, 0);
    enum gm_outcome_of_hint where = hint.stack  ? GM_HINT_ON_STACK
                                    : hint.heap ? GM_HINT_IN_HEAP
                                                : GM_HINT_FAILED;
    gm_escape_count(rt, me, file, line, bytes, where, why);
    return hint;
}

GOMEM_DEF void *gomem_i_hint_heap_slow(uintmax_t n, size_t size, size_t align, const char *file,
                                       int line) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (me && !me->cache.hot.section_depth) gm_escape_learn(rt, me);
    bool fits = gomem_i_fits(n, size);
    void *p = fits ? gomem_i_new(gomem_i_array((size_t)n * size), align, 0) : gomem_i_overflow();
    gm_escape_count(rt, me, file, line, fits ? (size_t)n * size : 0,
                    p ? GM_HINT_IN_HEAP : GM_HINT_FAILED, GM_HINT_TOLD);
    return p;
}

// Check level 1: notes where a hint's memory lies. What lay there before has returned. (EH2)
GOMEM_DEF void gomem_i_hint_placed(const void *p, size_t bytes, const char *file, int line) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_self();
    uintptr_t at = (uintptr_t)p;
    if (!me || !bytes || at - me->hint_lo >= me->hint_hi - me->hint_lo) return;
    gm_sync_enter(&me->cache.hot); // no stop reads it half written
    if (!me->frames) me->frames = gm_pages_meta(&rt->engine.meta, sizeof *me->frames);
    struct gm_frames *f = me->frames;
    for (unsigned i = 0; f && i < GM_FRAMES; i++)
        if (f->list[i].at < at + bytes && at < f->list[i].at + f->list[i].bytes)
            f->list[i].bytes = 0;
    if (f) f->list[f->next++ % GM_FRAMES] = (struct gm_frame){at, bytes, file, line};
    gm_sync_leave(&me->cache.hot);
}

GOMEM_DEF void *gomem_i_escape(const void *p, uintmax_t n, size_t size, size_t align) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = p ? gm_world_attach(rt) : NULL;
    uintptr_t lo = 0, hi = 0, sp = (uintptr_t)__builtin_frame_address(0);
    if (!me || me->cache.hot.section_depth || !gm_escape_stack(rt, me, sp, &lo, &hi) ||
        (uintptr_t)p - lo >= hi - lo)
        return (void *)(uintptr_t)p;
    if (!gomem_i_fits(n, size)) return gomem_i_overflow();
    void *copy = gomem_i_new(gomem_i_array((size_t)n * size), align, 0);
    return copy ? gomem_memmove(copy, p, (size_t)n * size) : NULL;
}
#endif // GOMEM_I_ESCAPE

/* ==========================================================================================
 * >>report   memstats, verify, stats at exit                                       floor 5
 * ==========================================================================================
 * OWNS        nothing: the read side
 * CALLS       base os sync stats sizes pages heap cache world paths gc schedule alloc control
 *             arena
 * LOCKS       GC, then WORLD
 * WHY         Counters are summed over the shards as threads go on; a held slot is allocated.
 */
GM_PRIVATE void gm_report_add(gomem_memstats *m, const struct gm_shard *s) {
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) {
        m->by_size[c].mallocs += gm_load_rlx(&s->mallocs[c]) +
                                 gm_load_rlx(&s->manual_mallocs[c]); // statistics
        m->by_size[c].frees += gm_load_rlx(&s->frees[c]) + gm_load_rlx(&s->manual_frees[c]);
    }
    m->total_alloc += gm_load_rlx(&s->large_alloc);
    m->heap_alloc -= gm_load_rlx(&s->large_free);
}

// Sorts a few numbers, ascending.
GM_PRIVATE void gm_report_sort(uint64_t *x, size_t n) {
    for (size_t i = 1; i < n; i++) {
        uint64_t v = x[i];
        size_t k = i;
        for (; k && x[k - 1] > v; k--) x[k] = x[k - 1];
        x[k] = v;
    }
}

// Of the last stops in a ring.
GM_PRIVATE void gm_report_quantiles(const uint64_t *ring, uint64_t stops, uint64_t *p50,
                                    uint64_t *p99, uint64_t *p999, uint64_t *most) {
    uint64_t sorted[GM_PAUSES];
    size_t n = (size_t)GM_MIN(stops, (uint64_t)GM_PAUSES);
    for (size_t i = 0; i < n; i++) sorted[i] = gm_load_rlx(&ring[i]); // statistics
    if (!n) return;
    gm_report_sort(sorted, n);
    *p50 = sorted[(n - 1) / 2];
    *p99 = sorted[(n - 1) * 99 / 100];
    *p999 = sorted[(n - 1) * 999 / 1000];
    *most = sorted[n - 1];
}

GM_PRIVATE void gm_report_pauses(gomem_memstats *m, const struct gm_stats *s) {
    size_t n = (size_t)GM_MIN(gm_load_rlx(&s->cycles), (uint64_t)GM_PAUSES); // statistics
    for (size_t i = 0; i < n; i++) {
        m->pause_ns[i] = gm_load_rlx(&s->pause_ns[i]);
        m->pause_end[i] = gm_load_rlx(&s->pause_end[i]);
    }
    m->num_gc = gm_load_rlx(&s->cycles);
    m->num_forced_gc = gm_load_rlx(&s->forced);
    m->pause_total_ns = gm_load_rlx(&s->pause_total);
    m->last_gc = gm_load_rlx(&s->last_end);
    uint64_t stops = gm_load_rlx(&s->stops);
    m->stops_withdrawn = gm_load_rlx(&s->withdrawn);
    gm_report_quantiles(s->stop_ns, stops, &m->pause_p50_ns, &m->pause_p99_ns, &m->pause_p999_ns,
                        &m->pause_max_ns);
    gm_report_quantiles(s->gather_ns, stops, &m->gather_p50_ns, &m->gather_p99_ns,
                        &m->gather_p999_ns, &m->gather_max_ns);
}

GM_PRIVATE void gm_report_heap(gomem_memstats *m, struct gm_runtime *rt) {
    const struct gm_pages *p = &rt->engine.heap.pages;
    uint64_t mapped = ((uint64_t)gm_load_rlx(&p->zone[0].mapped) +
                       gm_load_rlx(&p->zone[1].mapped)) *
                      GM_PAGE; // statistics
    uint64_t used = (uint64_t)gm_load_rlx(&p->used) * GM_PAGE,
             idle = (uint64_t)gm_load_rlx(&p->idle) * GM_PAGE;
    m->stack_inuse = m->stack_sys = gm_load_rlx(&rt->engine.stats.stacks);
    m->heap_sys = mapped;
    m->heap_inuse = used;
    m->heap_idle = mapped - used;
    m->heap_released = mapped - used - idle;
    m->mspan_sys = mapped / GM_PAGE * GM_SPAN_BYTES;
    m->mspan_inuse = used / GM_PAGE * GM_SPAN_BYTES;
    m->mcache_sys = (uint64_t)gm_load_rlx(&rt->world.numbers) * sizeof(struct gm_thread);
    m->mcache_inuse = (uint64_t)gm_load_rlx(&rt->world.threads) * sizeof(struct gm_thread);
    m->gc_sys = mapped / GM_PAGE * (GM_MANUAL_BYTES + GM_COLOR_BYTES + sizeof(uint32_t));
    m->other_sys = (uint64_t)gm_load_rlx(&rt->engine.depot.mapped) * (512 + GM_HEAD_BYTES);
    m->sys = m->heap_sys + m->stack_sys + m->mspan_sys + m->mcache_sys + m->gc_sys + m->other_sys;
}

#if GOMEM_I_COLLECTOR
GM_PRIVATE void gm_report_collector(gomem_memstats *m, const struct gm_runtime *rt) {
    const struct gm_stats *s = &rt->engine.stats;
    size_t goal = gm_load_rlx(&rt->engine.pacer.goal); // statistics
    uint64_t elapsed = (gm_os_now() - s->start_ns) * gm_os_processors();
    m->next_gc = goal == SIZE_MAX ? 0 : goal;
    m->gc_cpu_fraction = elapsed ? (double)gm_load_rlx(&s->gc_cpu_ns) / (double)elapsed : 0;
    m->enable_gc = gm_load_rlx(&rt->engine.pacer.percent) >= 0;
    const struct gm_writes *w = &rt->engine.writes;
    // pairs with gm_writes_choose; a setting
    m->collector = (uint64_t)(gm_load_acq(&w->ready)
                                  ? w->collector
                                  : gm_load_rlx(&rt->world.settings.options.collector));
    m->collector_reason = gm_load_rlx(&w->reason); // statistics, as all of these
    m->cycles_vetoed = gm_load_rlx(&s->vetoed);
    m->last_veto = gm_load_rlx(&s->veto);
    m->rounds = gm_load_rlx(&s->rounds);
    m->dirty_pages = gm_load_rlx(&s->dirty);
}

GM_PRIVATE void gm_report_collect(const struct gm_runtime *rt) {
    if (gm_world_can_stop(rt)) (void)gomem_gc();
}
#else
// nothing to say, nothing to do
GM_INLINE void gm_report_collector(gomem_memstats *m, const struct gm_runtime *rt) {
    (void)m, (void)rt;
}
GM_INLINE void gm_report_collect(const struct gm_runtime *rt) { (void)rt; }
#endif // GOMEM_I_COLLECTOR

GM_PRIVATE void gm_report_read(struct gm_runtime *rt, gomem_memstats *m) {
    struct gm_stats *s = &rt->engine.stats;
    gm_report_add(m, &s->shared);
    // pairs with gm_world_record_locked: records are complete
    for (struct gm_thread *t = gm_load_acq(&rt->world.all); t; t = t->next)
        gm_report_add(m, &t->cache.stats);
    m->heap_alloc += m->total_alloc; // large ones: allocated - freed
    for (unsigned c = 0; c <= GOMEM_CLASSES; c++) {
        gomem_class_stats *k = &m->by_size[c];
        k->size = gm_sizes_table[c].size;
        if (k->frees > k->mallocs) k->frees = k->mallocs; // a thread was between the two
        m->mallocs += k->mallocs;
        m->frees += k->frees;
        m->total_alloc += k->mallocs * k->size;
        m->heap_alloc += (k->mallocs - k->frees) * k->size;
    }
    m->alloc = m->heap_alloc;
    m->heap_objects = m->mallocs - m->frees;
    gm_report_heap(m, rt);
    gm_report_pauses(m, s);
    m->threads = gm_load_rlx(&rt->world.threads); // a statistic
    gm_report_collector(m, rt);
    m->debug_gc = rt->world.settings.gctrace;
}

// Fills all of *m, which is as large as this version's.
GM_PRIVATE void gm_report_fill(gomem_memstats *m) {
    uint64_t size = m->size;
    memset(m, 0, sizeof *m);
    if (gm_world_ready(&gm_runtime, false)) gm_report_read(&gm_runtime, m);
    m->size = size;
    m->version = 1;
}

// The caller was compiled with fewer fields.
GM_COLD GM_PRIVATE void gm_report_fill_part(gomem_memstats *m) {
    gomem_memstats all;
    size_t size = (size_t)m->size;
    all.size = size;
    gm_report_fill(&all);
    memcpy(m, &all, size);
}

GM_RARE GOMEM_DEF void gomem_read_memstats(gomem_memstats *m) {
    if (m->size >= sizeof *m) gm_report_fill(m); // 7 KB less of the caller's stack
    else gm_report_fill_part(m);
}

GM_RARE GOMEM_DEF const char *gomem_reason_text(uint64_t reason) { return gm_base_reason(reason); }

GOMEM_DEF size_t gomem_heap_size(void) {
    const struct gm_pages *p = &gm_runtime.engine.heap.pages;
    return (gm_load_rlx(&p->used) + gm_load_rlx(&p->idle)) * GM_PAGE; // statistics
}

GOMEM_DEF size_t gomem_heap_free(void) {
    return gm_load_rlx(&gm_runtime.engine.heap.pages.idle) * GM_PAGE; // a statistic
}

GOMEM_DEF uint64_t gomem_total_alloc(void) {
    const struct gm_thread *me = gm_world_self();
    return gm_load_rlx(&gm_runtime.engine.stats.allocated) + (me ? me->cache.counted : 0);
}

GOMEM_DEF uint64_t gomem_num_gc(void) {
    return gm_load_rlx(&gm_runtime.engine.stats.cycles); // a statistic
}

GM_RARE GOMEM_DEF bool gomem_verify(void) {
    struct gm_runtime *rt = &gm_runtime;
    const struct gm_thread *me = gm_world_self();
    uintptr_t where = 0;
    // pairs with gm_world_ready; true: there is no heap
    if (gm_load_acq(&rt->world.life) != GM_LIFE_READY) return true;
    if (gm_world_can_stop(rt)) {
        bool locked = gm_world_lock_cycle(rt);
        if (!locked || !gm_world_stop(rt, me, GM_PATIENCE_NS)) {
            if (locked) gm_world_unlock_cycle(rt);
            errno = EAGAIN;
            return false;
        }
        gm_gc_drop_marks_stopped(rt);
        const char *broken = gm_gc_verify_stopped(rt, true, &where);
        gm_world_resume(rt);
        gm_world_unlock_cycle(rt);
        if (broken) gm_gc_report_broken(rt, broken, where);
        return !broken;
    }
    gm_sync_lock(&rt->world.gone_lock);
    gm_sync_lock(&rt->world.lock);
    gm_world_close_gate(rt, me);
    bool alone = me && rt->world.threads == 1; // without a record, the one is another thread
    const char *broken = gm_gc_verify_stopped(rt, alone, &where);
    gm_world_resume(rt);
    if (broken) gm_gc_report_broken(rt, broken, where);
    return !broken;
}

#if GOMEM_I_COLLECTOR && GOMEM_I_REPORT
GM_PRIVATE void gm_report_to(int fd, struct gm_text *t) {
    size_t n = GM_MIN(t->size, sizeof t->data - 2);
    t->data[n] = '\n';
    gm_base_write(fd, t->data, n + 1);
}

// Stops the world and searches; false: its roots cannot be known now.
GM_NOINLINE GM_PRIVATE bool gm_report_search(struct gm_runtime *rt, struct gm_thread *me,
                                             uintptr_t hidden, struct gm_path *path) {
    struct gm_cycle cycle;
    memset(&cycle, 0, sizeof cycle);
    if (!gm_world_lock_cycle(rt)) return false;
    struct gm_registers saved = me->registers; // of a blocking region
    bool in_handler = me->in_handler;
    me->in_handler = false;
    me->fake_stack = gm_world_fake_stack();
    gm_os_spill(&me->registers);
    // E4: roots that a cycle under way has not read yet stay listed
    rt->gc.patience = GM_PATIENCE_NS;
    bool stopped = rt->gc.phase == GM_PHASE_OFF && gm_gc_stop(rt, me, &cycle);
    if (stopped) {
        gm_paths_find_stopped(rt, me, ~hidden, path);
        gm_world_resume(rt);
    }
    if (me->cache.hot.blocked) me->registers = saved, me->in_handler = in_handler;
    gm_world_unlock_cycle(rt);
    return stopped;
}

GM_RARE GOMEM_DEF bool gomem_why(const void *p, int fd) {
    struct gm_runtime *rt = &gm_runtime;
    uintptr_t hidden = ~(uintptr_t)p; // else this frame would be a path
    __asm__("" : "+r"(hidden));
    struct gm_thread *me = gm_world_attach(rt);
    struct gm_path path = {.length = 0};
    struct gm_text t;
    bool collected = me && gm_world_can_stop(rt);
    path.busy = collected && gm_load_rlx(&rt->gc.runner) == me; // asked by a cycle's callback
    // E4: a cycle that was left under way is finished first
    if (collected && !path.busy && gm_load_rlx(&rt->gc.phase)) // a hint
        (void)gm_schedule_cycle(rt, me, GM_REASON_CLOCK);
    if (collected && !path.busy && !gm_report_search(rt, me, hidden, &path)) path.full = true;
    if (!path.length) {
        t = gm_paths_tell_none(rt, &path, ~hidden);
        gm_report_to(fd, &t);
        return false;
    }
    for (size_t i = 0; gm_paths_line(rt, &path, i, &t); i++) gm_report_to(fd, &t);
    return true;
}
#endif // GOMEM_I_COLLECTOR && GOMEM_I_REPORT

// Empties the caches and gives back free pages, but for `keep` of them; returns the bytes.
GM_RARE GM_PRIVATE size_t gm_report_trim(struct gm_runtime *rt, size_t keep) {
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return 0;
    size_t before = gm_load_rlx(&rt->engine.heap.released); // what the flush gives back counts too
    (void)gm_add_rlx(&rt->engine.trims, 1u);                // others obey at their next slow path
    gm_sync_enter(&me->cache.hot);
    gm_cache_unkeep(&me->cache, 0);
    gm_cache_flush_manual(&me->cache, false);
    gm_cache_drain_depot(&rt->engine);
    (void)gm_heap_give_back(&rt->engine.heap, keep, 1, SIZE_MAX);
    gm_alloc_leave(rt, &me->cache); // says what the flush found
    return gm_load_rlx(&rt->engine.heap.released) - before;
}

GM_RARE GOMEM_DEF size_t gomem_free_os_memory(void) {
    struct gm_runtime *rt = &gm_runtime;
    struct gm_thread *me = gm_world_attach(rt);
    if (!me) return 0;
    size_t before = gm_load_rlx(&rt->engine.heap.released); // a statistic
    gm_report_collect(rt);
    gm_world_age_pools(rt, 3);
    gm_arena_trim_scratch(me->scratch);
    (void)gm_report_trim(rt, 0);
    return gm_load_rlx(&rt->engine.heap.released) - before;
}

GM_RARE GM_PRIVATE void gm_report_line(const char *name, uint64_t value) {
    gm_base_log(gm_text_make("gomem: %s %" PRIu64, name, value).data);
}

// GOMEM_DEBUG=stats=1: the totals at exit.
GM_RARE __attribute__((destructor)) GM_PRIVATE void gm_report_at_exit(void) {
    gomem_memstats m;
    if (!gm_runtime.world.settings.stats) return;
    m.size = sizeof m;
    gomem_read_memstats(&m);
    gm_report_line("alloc", m.alloc);
    gm_report_line("total_alloc", m.total_alloc);
    gm_report_line("mallocs", m.mallocs);
    gm_report_line("frees", m.frees);
    gm_report_line("heap_sys", m.heap_sys);
    gm_report_line("heap_inuse", m.heap_inuse);
    gm_report_line("heap_released", m.heap_released);
    gm_report_line("num_gc", m.num_gc);
    gm_report_line("pause_total_ns", m.pause_total_ns);
    gm_report_line("pause_max_ns", m.pause_max_ns);
}

#if defined(GOMEM_MALLOC_OVERRIDE)
/* ==========================================================================================
 * >>override   malloc and its family                                               floor 5
 * ==========================================================================================
 * OWNS        the names of libc's allocator in this link
 * CALLS       base os world alloc thread report
 * INVARIANTS  J1  errno, alignment and zero sizes as glibc's
 *             J2  memory of every name by which libc hands out memory may be given to free
 * WHY         The first call may come before main, from the loader: so nothing here waits for a
 *             constructor. Names that a static libc has in a file which it needs anyway are weak:
 *             there libc's stay. What <malloc.h> declares beyond the C standard has names of our
 *             own here, bound by label: the program's file may have included that header, or not.
 */
#define GM_EXPORT      __attribute__((visibility("default"), used))
#define GM_EXPORT_WEAK __attribute__((visibility("default"), used, weak))
GM_EXPORT void *memalign(size_t align, size_t size);
GM_EXPORT void *pvalloc(size_t size);
GM_EXPORT void *valloc(size_t size);
GM_EXPORT void *reallocarray(void *p, size_t n, size_t size);
GM_EXPORT size_t malloc_usable_size(void *p);
GM_EXPORT void free_sized(void *p, size_t size);
GM_EXPORT void free_aligned_sized(void *p, size_t align, size_t size);

GM_EXPORT void *malloc(size_t size) __attribute__((alias("gomem_malloc"))); // no jump between
GM_EXPORT void free(void *p) __attribute__((alias("gomem_free")));
GM_EXPORT void *calloc(size_t n, size_t size) { return gomem_calloc(n, size); }

GM_EXPORT void *realloc(void *p, size_t size) {
    if (!p) return gomem_malloc(size);
    if (size) return gomem_realloc(p, size);
    gomem_free(p);
    return NULL;
}

GM_EXPORT void *reallocarray(void *p, size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) return gomem_i_overflow();
    return realloc(p, bytes);
}

// glibc rounds an alignment up to a power of two here.
GM_EXPORT void *memalign(size_t align, size_t size) {
    size_t power = sizeof(void *);
    if (align > SIZE_MAX / 2 + 1) {
        errno = EINVAL;
        return NULL;
    }
    while (power < align) power *= 2;
    return gomem_aligned_alloc(power, size);
}

GM_EXPORT void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

GM_EXPORT int posix_memalign(void **out, size_t align, size_t size) {
    int saved = errno;
    if (!gm_base_power_of_two(align) || align % sizeof(void *)) return EINVAL;
    void *p = gomem_aligned_alloc(align, size);
    errno = saved;
    if (!p) return ENOMEM;
    *out = p;
    return 0;
}

GM_EXPORT void *valloc(size_t size) { return gomem_aligned_alloc(gm_os_page_size(), size); }

GM_EXPORT void *pvalloc(size_t size) {
    size_t page = gm_os_page_size();
    if (size > (size_t)PTRDIFF_MAX - page) return gomem_i_overflow();
    return gomem_aligned_alloc(page, gm_base_round_up(size ? size : 1, page));
}

GM_EXPORT size_t malloc_usable_size(void *p) { return gomem_usable_size(p); }
GM_EXPORT void free_sized(void *p, size_t size) { gomem_free_sized(p, size); }
GM_EXPORT void free_aligned_sized(void *p, size_t align, size_t size) {
    (void)align;
    gomem_free_sized(p, size);
}

GM_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                             void *arg) {
    return gomem_thread_create(thread, attr, fn, arg);
}

// Masks hold every signal that the program wants but the stop signal. (V7)
GM_EXPORT int pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    int saved = errno, error = gomem_i_sigmask(how, set, old);
    errno = saved;
    return error;
}
GM_EXPORT int sigprocmask(int how, const sigset_t *set, sigset_t *old) {
    return gomem_i_sigmask(how, set, old) ? -1 : 0;
}

// The names by which programs reach past another malloc. (J2)
#define GM_OTHER_NAME(type, own, name, parameters, call)     \
    extern type own parameters __asm__(name) GM_EXPORT_WEAK; \
    type own parameters { return call; }
GM_OTHER_NAME(void *, gm_override_malloc, "__libc_malloc", (size_t size), gomem_malloc(size))
GM_OTHER_NAME(void *, gm_override_calloc, "__libc_calloc", (size_t n, size_t size), calloc(n, size))
GM_OTHER_NAME(void *, gm_override_realloc, "__libc_realloc", (void *p, size_t size),
              realloc(p, size))
GM_OTHER_NAME(void *, gm_override_reallocarray, "__libc_reallocarray",
              (void *p, size_t n, size_t size), reallocarray(p, n, size))
GM_OTHER_NAME(void *, gm_override_memalign, "__libc_memalign", (size_t align, size_t size),
              memalign(align, size))
GM_OTHER_NAME(int, gm_override_posix_memalign, "__posix_memalign",
              (void **out, size_t align, size_t size), posix_memalign(out, align, size))
GM_OTHER_NAME(void *, gm_override_valloc, "__libc_valloc", (size_t size), valloc(size))
GM_OTHER_NAME(void *, gm_override_pvalloc, "__libc_pvalloc", (size_t size), pvalloc(size))
extern void gm_override_free(void *p) __asm__("__libc_free") GM_EXPORT_WEAK;
void gm_override_free(void *p) { gomem_free(p); }
extern void gm_override_cfree(void *p) __asm__("cfree") GM_EXPORT_WEAK;
void gm_override_cfree(void *p) { gomem_free(p); }

// malloc_trim: empties the caches of the calling thread and the depot, and gives free pages back,
// but for pad bytes. Other threads empty theirs when they come by. 1: something was given back.
extern int gm_override_trim(size_t pad) __asm__("malloc_trim") GM_EXPORT;
int gm_override_trim(size_t pad) {
    int saved = errno;
    size_t bytes = gm_report_trim(&gm_runtime, pad / GM_PAGE);
    errno = saved;
    return bytes != 0;
}

// mallopt: there is nothing to set; glibc says 1 for what it does not know.
extern int gm_override_option(int parameter, int value) __asm__("mallopt") GM_EXPORT;
int gm_override_option(int parameter, int value) { return (void)parameter, (void)value, 1; }

// struct mallinfo2, as its users add it up: uordblks + hblkhd are in use.
struct gm_mallinfo2 {
    size_t arena;            // bytes from the system, but for large blocks
    size_t ordblks, smblks;  // free pages in all; 0
    size_t hblks, hblkhd;    // large blocks: how many, bytes
    size_t usmblks, fsmblks; // 0
    size_t uordblks;         // bytes in use, but for large blocks
    size_t fordblks;         // bytes that are free: in caches, spans and pages
    size_t keepcost;         // of these, what malloc_trim can give back at least
};

extern struct gm_mallinfo2 gm_override_info2(void) __asm__("mallinfo2") GM_EXPORT;
struct gm_mallinfo2 gm_override_info2(void) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    struct gm_mallinfo2 n = {.uordblks = (size_t)m.heap_alloc, .keepcost = gomem_heap_free()};
    n.hblks = (size_t)(m.by_size[0].mallocs - m.by_size[0].frees);
    n.hblkhd = (size_t)m.heap_alloc;
    for (unsigned c = 1; c <= GOMEM_CLASSES; c++)
        n.hblkhd -= (size_t)((m.by_size[c].mallocs - m.by_size[c].frees) * m.by_size[c].size);
    n.uordblks -= n.hblkhd;
    size_t all = (size_t)(m.heap_sys - m.heap_released);
    n.arena = GM_MAX(all, n.hblkhd + n.uordblks) - n.hblkhd; // others went on meanwhile
    n.fordblks = n.arena - n.uordblks;
    n.ordblks = n.keepcost / GM_PAGE;
    return n;
}

struct gm_mallinfo { // struct mallinfo: the same, saturated
    int number[10];  //
};
extern struct gm_mallinfo gm_override_info(void) __asm__("mallinfo") GM_EXPORT;
struct gm_mallinfo gm_override_info(void) {
    struct gm_mallinfo2 now = gm_override_info2();
    struct gm_mallinfo old;
    size_t wide[10];
    _Static_assert(sizeof wide == sizeof now, "mallinfo2 has ten fields");
    memcpy(wide, &now, sizeof wide);
    for (unsigned i = 0; i < 10; i++)
        old.number[i] = wide[i] > (size_t)INT_MAX ? INT_MAX : (int)wide[i];
    return old;
}

// malloc_info(0, FILE *): the form of glibc's, with one heap.
extern int gm_libc_fputs(const char *, void *) __asm__("fputs");
extern int gm_override_write(int options, void *file) __asm__("malloc_info") GM_EXPORT;
int gm_override_write(int options, void *file) {
    if (options) return EINVAL;
    struct gm_mallinfo2 n = gm_override_info2();
    const size_t in_use = n.uordblks + n.hblkhd, all = n.arena + n.hblkhd;
    struct gm_text t = gm_text_make(
        "<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n</sizes>\n"
        "<total type=\"rest\" count=\"%zu\" size=\"%zu\"/>\n"
        "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n"
        "<system type=\"current\" size=\"%zu\"/>\n<aspace type=\"total\" size=\"%zu\"/>\n</heap>\n"
        "<total type=\"used\" count=\"0\" size=\"%zu\"/>\n</malloc>\n",
        n.ordblks, n.fordblks, n.hblks, n.hblkhd, all, all, in_use);
    return gm_libc_fputs(t.data, file) < 0 ? errno : 0;
}

// malloc_stats: to standard error.
extern void gm_override_tell(void) __asm__("malloc_stats") GM_EXPORT;
void gm_override_tell(void) {
    struct gm_mallinfo2 n = gm_override_info2();
    gm_report_line("system bytes", n.arena + n.hblkhd);
    gm_report_line("in use bytes", n.uordblks + n.hblkhd);
    gm_report_line("large blocks", n.hblks);
    gm_report_line("large bytes", n.hblkhd);
}

// pthread_atfork of glibc: our handlers come first, whoever registers when (V6, V8). Weak: a static
// libc has its own, and needs the rest of that file.
extern int gm_override_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                              void *object) __asm__("__register_atfork") GM_EXPORT_WEAK;
int gm_override_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void),
                       void *object) {
    if (!gm_world_register_atfork(&gm_runtime.world)) return ENOMEM;
    union gm_os_next next = gm_os_find_next("__register_atfork");
    return next.object ? next.atfork(prepare, parent, child, object) : ENOMEM;
}
#endif // GOMEM_MALLOC_OVERRIDE

#endif // GOMEM_IMPLEMENTATION

#if defined(GOMEM_THREADS) && !defined(GOMEM_I_THREADS_DEFINED)
#define GOMEM_I_THREADS_DEFINED
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <ucontext.h>
GOMEM_I_INLINE int gomem_i_create(pthread_t *thread, const pthread_attr_t *attr,
                                  void *(*fn)(void *), void *arg) {
    return gomem_thread_create(thread, attr, fn, arg);
}
GOMEM_I_INLINE int gomem_i_join(pthread_t thread, void **result) {
    return gomem_thread_join(&thread, result);
}
GOMEM_I_INLINE int gomem_i_detach(pthread_t thread) { return gomem_i_thread_detached(&thread); }
GOMEM_I_INLINE int gomem_i_sigwait(const void *set, int *number) {
    int got = gomem_i_sigtimedwait(set, NULL, NULL);
    while (got < 0) got = gomem_i_sigtimedwait(set, NULL, NULL); // EINTR: sigwait goes on
    *number = got;
    return 0;
}
#if defined(_GNU_SOURCE)
GOMEM_I_INLINE int gomem_i_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *time,
                                 const sigset_t *mask) {
    sigset_t own;
    return ppoll(fds, n, time, (const sigset_t *)gomem_i_open_mask(mask, &own));
}
GOMEM_I_INLINE int gomem_i_pselect(int n, fd_set *in, fd_set *out, fd_set *other,
                                   const struct timespec *time, const sigset_t *mask) {
    sigset_t own;
    return pselect(n, in, out, other, time, (const sigset_t *)gomem_i_open_mask(mask, &own));
}
GOMEM_I_INLINE int gomem_i_epoll_pwait(int fd, struct epoll_event *events, int n, int ms,
                                       const sigset_t *mask) {
    sigset_t own;
    return epoll_pwait(fd, events, n, ms, (const sigset_t *)gomem_i_open_mask(mask, &own));
}
#if defined(__GLIBC__) && __GLIBC__ * 1000 + __GLIBC_MINOR__ >= 2035
GOMEM_I_INLINE int gomem_i_epoll_pwait2(int fd, struct epoll_event *events, int n,
                                        const struct timespec *time, const sigset_t *mask) {
    sigset_t own;
    return epoll_pwait2(fd, events, n, time, (const sigset_t *)gomem_i_open_mask(mask, &own));
}
#endif
GOMEM_I_INLINE int gomem_i_signalfd(int fd, const sigset_t *mask, int flags) {
    sigset_t own;
    return signalfd(fd, (const sigset_t *)gomem_i_open_mask(mask, &own), flags);
}
// The mask of a context is as getcontext or a switch found it.
GOMEM_I_INLINE int gomem_i_setcontext(const ucontext_t *to) {
    (void)gomem_i_open_mask(&to->uc_sigmask, (void *)(uintptr_t)&to->uc_sigmask);
    return setcontext(to);
}
GOMEM_I_INLINE int gomem_i_swapcontext(ucontext_t *from, const ucontext_t *to) {
    (void)gomem_i_open_mask(&to->uc_sigmask, (void *)(uintptr_t)&to->uc_sigmask);
    return swapcontext(from, to);
}
#endif
#endif
#if defined(GOMEM_THREADS)
#if defined(_GNU_SOURCE)
#define ppoll(...) gomem_i_ppoll(__VA_ARGS__)
#if defined(__GLIBC__) && __GLIBC__ * 1000 + __GLIBC_MINOR__ >= 2035
#define epoll_pwait2(...) gomem_i_epoll_pwait2(__VA_ARGS__)
#endif
#define pselect(...)     gomem_i_pselect(__VA_ARGS__)
#define epoll_pwait(...) gomem_i_epoll_pwait(__VA_ARGS__)
#define signalfd(...)    gomem_i_signalfd(__VA_ARGS__)
#define setcontext(...)  gomem_i_setcontext(__VA_ARGS__)
#define swapcontext(...) gomem_i_swapcontext(__VA_ARGS__)
#endif
#define pthread_create(...)  gomem_i_create(__VA_ARGS__)
#define pthread_join(...)    gomem_i_join(__VA_ARGS__)
#define pthread_exit(...)    gomem_thread_exit(__VA_ARGS__)
#define pthread_detach(...)  gomem_i_detach(__VA_ARGS__)
#define pthread_sigmask(...) gomem_i_sigmask(__VA_ARGS__)
#define sigprocmask(...)     (gomem_i_sigmask(__VA_ARGS__) ? -1 : 0)
#define sigaction(...)       gomem_i_sigaction(__VA_ARGS__)
#define sigsuspend(...)      gomem_i_sigsuspend(__VA_ARGS__)
#define sigwait(...)         gomem_i_sigwait(__VA_ARGS__)
#define sigwaitinfo(...)     gomem_i_sigtimedwait(__VA_ARGS__, NULL)
#define sigtimedwait(...)    gomem_i_sigtimedwait(__VA_ARGS__)
#endif

/*
 * This software is available under two licences: choose the one that you prefer.
 *
 * ALTERNATIVE A - MIT License
 * Copyright (c) 2026 the gomem.h authors
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
 * associated documentation files (the "Software"), to deal in the Software without restriction,
 * including without limitation the rights to use, copy, modify, merge, publish, distribute,
 * sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions: The above copyright notice and this
 * permission notice shall be included in all copies or substantial portions of the Software. THE
 * SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
 * LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 *
 * ALTERNATIVE B - Public Domain (www.unlicense.org)
 * This is free and unencumbered software released into the public domain. Anyone is free to copy,
 * modify, publish, use, compile, sell, or distribute this software, either in source code form or
 * as a compiled binary, for any purpose, commercial or non-commercial, and by any means. In
 * jurisdictions that recognize copyright laws, the author or authors of this software dedicate any
 * and all copyright interest in the software to the public domain. THE SOFTWARE IS PROVIDED "AS
 * IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT
 * SHALL THE AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY.
 */
