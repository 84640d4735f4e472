/* The barrier of GOMEM_GC_BARRIER: GOMEM_STORE shades the old value and the new one while marking,
 * then stores; both stops scan the stacks. Two threads, one marker, the collector for ever.
 *
 * Property: what is swept is not reachable from any register, and marks of one cycle are never
 * taken for those of the next.
 *
 * A store is not atomic: a stop can fall between looking at the flag, shading and storing. Only
 * shading is a library section (R2), since it is two steps, the mark bit and the queue: a stop in
 * between would leave an object marked, in no queue, and so never scanned.
 *
 * -DMUTANT=n plants a bug that must give a counterexample, see run.sh. The halves of the barrier
 * are options, so that run.sh can show which of them is needed when:
 *   NO_DELETION   the old value is not shaded
 *   NO_INSERTION  the new value is not shaded
 *   NO_START      the start stop does not scan stacks
 *   NO_AGAIN      the finish stop does not scan stacks
 *   WHOLE         a store is one section from looking at the flag to storing
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#ifndef N
#define N   3 /* objects, of one cell each; object 0 is a global variable, which all threads know */
#endif
#define NIL N

#define BIT(o) (1 << (o))

#define OFF   0 /* and sweeping */
#define MARK  1
#define FINAL 2

byte cell[N] = NIL;
byte r[3] = NIL;  /* registers: two of thread 0, one of thread 1 */
byte alloc = 1, mark, scanned;
byte queue;       /* a bit per object (the model's span): it is in the queue */
byte cur = NIL;   /* what the marker works on */
byte phase = OFF; /* the flag that stores look at is phase == MARK */
bool stop;        /* threads stand, but for sections */
byte depth;       /* a bit per thread: it is in a section */
#if MUTANT == 5
bool flag;
#endif

hidden byte reach, i, n;

#define QUIESCENT (!queue && cur == NIL)

inline find_reachable() {
    reach = 1 | (r[0] != NIL -> BIT(r[0]) : 0) | (r[1] != NIL -> BIT(r[1]) : 0);
    reach = reach | (r[2] != NIL -> BIT(r[2]) : 0);
    n = 0;
    do
    :: n < N ->
        i = 0;
        do
        :: i < N ->
            reach = reach | ((reach & BIT(i)) && cell[i] != NIL -> BIT(cell[i]) : 0);
            i++
        :: else -> break
        od;
        n++
    :: else -> break
    od;
    i = 0;
    n = 0
}

/* White becomes grey, and goes to the queue. What is marked already was queued by who marked it. */
#define WHITE(o) ((o) != NIL && (alloc & BIT(o)) && !(mark & BIT(o)))
inline shade(o) {
    d_step { queue = queue | (WHITE(o) -> BIT(o) : 0); mark = mark | (WHITE(o) -> BIT(o) : 0) }
}

/* ---- the program ---- */

#define me _pid
#define A  (2 * me)
#define B  (me + 1)

/* The registers of thread 0 are interchangeable: kept sorted, which saves states. */
#define SET(j, value) \
    r[j] = value;     \
    if                \
    :: r[A] > r[B] -> i = r[A]; r[A] = r[B]; r[B] = i; i = 0 \
    :: else           \
    fi

#if MUTANT == 5
#define MARKING flag
#else
#define MARKING (phase == MARK)
#endif

#if MUTANT == 3
#define ENTER true
#else
#define ENTER depth = depth | BIT(me)
#endif
#ifdef WHOLE
#define LEAVE  skip
#define FINISH depth = depth & ~BIT(me)
#else
#define LEAVE  depth = depth & ~BIT(me)
#define FINISH skip
#endif

/* In its section nothing but the marker comes between the steps of shading, and marks only grow: it
 * is one step here. Mutant 3 has no section, and a step for the bit and one for the queue. */
inline shade_both() {
#if MUTANT == 3
    d_step { white = WHITE(v); mark = mark | (white -> BIT(v) : 0) };
    d_step { queue = queue | (white -> BIT(v) : 0); white = 0 };
    shade(cell[x])
#else
    d_step {
#ifndef NO_DELETION
        queue = queue | (WHITE(cell[x]) -> BIT(cell[x]) : 0);
        mark = mark | (WHITE(cell[x]) -> BIT(cell[x]) : 0);
#endif
#ifndef NO_INSERTION
        queue = queue | (WHITE(v) -> BIT(v) : 0);
        mark = mark | (WHITE(v) -> BIT(v) : 0);
#endif
        LEAVE
    }
#endif
}

active [2] proctype program() provided (!stop || (depth & BIT(_pid))) {
    byte x = NIL, v = NIL;
#if MUTANT == 3
    bool white;
#endif
    do
    :: d_step { r[A] != NIL -> SET(A, cell[r[A]]) }
    :: d_step { r[A] != NIL -> SET(B, cell[r[A]]) }
    :: d_step { r[B] != NIL -> SET(A, cell[r[B]]) }
    :: d_step { r[B] != NIL -> SET(B, cell[r[B]]) }
    :: d_step { cell[0] != NIL -> SET(A, cell[0]) }
    :: d_step { cell[0] != NIL -> SET(B, cell[0]) }
    :: d_step { r[A] != NIL -> SET(A, NIL) }
    :: d_step { r[B] != NIL -> SET(B, NIL) }
    /* New objects are black until the flip (R1); a free register takes them. */
    :: d_step {
           alloc != (1 << N) - 1 && r[B] == NIL ->
           i = 0;
           do
           :: i < N && (alloc & BIT(i)) -> i++
           :: else -> break
           od;
           alloc = alloc | BIT(i);
           cell[i] = NIL;
#if MUTANT != 2
           mark = mark | (phase != OFF -> BIT(i) : 0);
           scanned = scanned | (phase != OFF -> BIT(i) : 0);
#endif
           SET(B, i);
           i = 0
       }
    /* GOMEM_STORE: x and v stay in registers until it is done. */
    :: if
       :: d_step { r[A] != NIL -> x = r[A]; v = r[B] }
       :: d_step { r[B] != NIL -> x = r[B]; v = r[A] }
       :: d_step { x = 0; v = r[A] } /* the global */
       :: d_step { x = 0; v = r[B] }
       fi;
#ifdef WHOLE
       ENTER;
#endif
       if
#if MUTANT == 1
       :: !MARKING || cell[x] == NIL /* "it is only being initialised" */
       :: MARKING && cell[x] != NIL ->
#else
       :: !MARKING
       :: MARKING ->
#endif
#ifndef WHOLE
           ENTER;
#endif
           if
#if MUTANT == 4
           :: shade_both() /* the cycle may be over */
#else
           :: phase == MARK -> shade_both()
           :: phase != MARK -> LEAVE
#endif
           fi
       fi;
       d_step { cell[x] = v; x = NIL; v = NIL; FINISH }
    od
}

/* ---- mark ---- */

#define TAKE(o) d_step { (queue & BIT(o)) && cur == NIL -> queue = queue & ~BIT(o); cur = o }

active proctype marker() {
    do
    :: if
       :: TAKE(0)
       :: TAKE(1)
#if N > 2
       :: TAKE(2)
#endif
       fi;
       if
       :: d_step { !(mark & ~scanned & BIT(cur)) -> cur = NIL }
       :: d_step { (mark & ~scanned & BIT(cur)) -> scanned = scanned | BIT(cur) };
           shade(cell[cur]);
           cur = NIL
       fi
    od
}

/* ---- the collector ---- */

#define STOP  stop = 1; !depth
#define START stop = 0

inline scan_stacks() {
    shade(r[0]);
    shade(r[1]);
    shade(r[2])
}

active proctype collector() {
cycle:
    assert(!mark && !scanned && !queue); /* all spans were swept, and nothing was shaded since */
#if MUTANT == 6
    phase = MARK; /* no start stop: threads see the flag when they look */
#else
    STOP;
    phase = MARK;
#ifndef NO_START
    scan_stacks();
#endif
    START;
#endif
    shade(0);
#if MUTANT == 5
    QUIESCENT;
    flag = 1; /* the barrier begins after marking has */
#endif
    QUIESCENT;
again:
    STOP;
#ifndef NO_AGAIN
    scan_stacks();
    shade(cell[0]);
#endif
    if
    :: QUIESCENT
    :: START; goto again /* gives up */
    fi;
    phase = FINAL;
#if MUTANT == 5
    flag = 0;
#endif
    START;
    d_step { !depth -> /* the flip; sweeping, all spans at once */
        find_reachable();
        assert(!(alloc & ~mark & reach)); /* the property */
        reach = 0;
        i = 0;
        do
        :: i < N -> cell[i] = ((mark & BIT(i)) -> cell[i] : NIL); i++
        :: else -> break
        od;
        i = 0;
        alloc = alloc & mark;
        mark = 0;
        scanned = 0;
        phase = OFF
    };
    goto cycle
}
