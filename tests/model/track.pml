/* The mark / write / dirty protocol of the tracked collector (GOMEM_GC_TRACKED): a program that
 * moves pointers without any barrier, pages that know whether they were written, one marker, and
 * the collector's cycle: clear, arm, start stop, mark, rounds, finish stop with giving up, final,
 * flip, sweep, for ever.
 *
 * Property: what is swept is neither reachable nor held in a run; a weak reference reads as
 * cleared only when its object is unreachable.
 *
 * Rules named here are those of DESIGN (C1 to C4, R1 to R7) and of the rooms' cards:
 *   C1  no object is black before every page it can lie on is armed or counts as written
 *   C2  the scanned bit is set before the object is read; a page is collected before the scanned
 *       bits on it are cleared
 *   C3  in the finish stop nobody writes
 *   C4  R1 to R5: held slots are black, refills are library sections, nothing shrinks
 *
 * -DMUTANT=n plants a bug that must give a counterexample, see run.sh; -DPER_PAGE=2 puts two
 * objects on a page. -DREAD_FIRST and -DIDLE change the marker, see "mark" below.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef PER_PAGE
#define PER_PAGE 1
#endif
#if MUTANT == 6
#define READ_FIRST
#endif

#ifndef N
#define N     3 /* objects, of one cell each */
#endif
#define NIL   N
#define PAGES ((N + PER_PAGE - 1) / PER_PAGE)

#define BIT(o)     (1 << (o))
#define PAGE(o)    ((o) / PER_PAGE)
#define ON_PAGE(p) (((1 << PER_PAGE) - 1) << ((p) * PER_PAGE))

#define OFF   0 /* and sweeping */
#define MARK  1
#define FINAL 2 /* marks are complete, the program runs, nothing is swept yet */

/* ---- the heap ---- */

byte cell[N] = NIL;    /* what each object points to */
byte r[2] = NIL;       /* registers of the program: its roots */
byte held = NIL;       /* its run: one slot that is taken and not handed out yet (R1) */
byte alloc, mark, scanned; /* a bit per object; white 00, grey mark only, black both */
byte armed;            /* a bit per page. A page that is not armed counts as written */
byte swept = 255;      /* a bit per page (the model's span) */

byte phase = OFF;      /* changes in stops, or with nobody in a section (R2) */
bool stop;             /* the program stands, but for sections, which go on to their end */
bool depth;            /* the program is in a library section (R2) */
byte cur = NIL;        /* what the marker works on */
bool lost;             /* the tracking descriptors were closed behind our back */

#ifdef WEAK
byte weak = NIL;       /* the object of the one weak reference */
bool cleared;          /* it reads as NULL */
#endif

hidden byte reach, i, n;

#define GREY      (mark & ~scanned)
#define QUIESCENT (!GREY && cur == NIL)

/* What the program can still get at. */
inline find_reachable() {
    reach = (r[0] != NIL -> BIT(r[0]) : 0) | (r[1] != NIL -> BIT(r[1]) : 0);
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

/* Whoever shades sets the mark bit of an allocated object by one atomic or. */
inline shade(o) {
    mark = mark | (o != NIL && (alloc & BIT(o)) -> BIT(o) : 0)
}

/* ---- the program ---- */

/* The two registers are interchangeable: they are kept sorted, which halves the states. */
#define SET(j, value) \
    r[j] = value;      \
    if                 \
    :: r[0] > r[1] -> i = r[0]; r[0] = r[1]; r[1] = i; i = 0 \
    :: else            \
    fi

/* The kernel takes the protection away, then the store happens, in one step: a re-arm in between
 * would make the store fault again. */
#define STORE(j, value) \
    d_step { r[j] != NIL -> cell[r[j]] = value; armed = armed & ~(lost -> 0 : BIT(PAGE(r[j]))) }

active proctype program() provided (!stop || depth) {
    bool black;
    byte got = NIL;
    do
    :: d_step { r[0] != NIL -> SET(0, cell[r[0]]) }
    :: d_step { r[0] != NIL -> SET(1, cell[r[0]]) }
    :: d_step { r[1] != NIL -> SET(0, cell[r[1]]) }
    :: d_step { r[1] != NIL -> SET(1, cell[r[1]]) }
    :: STORE(0, r[1])
    :: STORE(1, r[0])
    :: STORE(0, NIL)
    :: STORE(1, NIL)
    :: d_step { r[0] != NIL -> SET(0, NIL) }
    :: d_step { r[1] != NIL -> SET(1, NIL) }
    /* The inlined path moves the cursor and nothing else (R2, R3). */
    :: d_step { held != NIL -> SET(0, held); held = NIL }
    :: d_step { held != NIL -> SET(1, held); held = NIL }
    /* Refill: a library section. While marking it takes slots with alloc 0 only, and a span that
     * is swept (S2); new slots are black until the flip (R1). */
    :: d_step { held == NIL && (~alloc & ((1 << N) - 1)) -> depth = 1 };
#if MUTANT == 17
        black = phase == MARK;
#else
        black = phase != OFF;
#endif
        d_step {
            i = 0;
            do
            :: i < N && ((alloc & BIT(i)) || !(swept & BIT(PAGE(i))) && MUTANT != 12) -> i++
            :: else -> break
            od;
            if
            :: i < N ->
                alloc = alloc | BIT(i);
                cell[i] = NIL; /* fresh memory: zero without a write, so the page stays armed */
#if MUTANT != 4
                mark = mark | (black -> BIT(i) : 0);
                scanned = scanned | (black -> BIT(i) : 0);
#endif
                held = i
            :: else
            fi;
            i = 0;
            black = 0;
            depth = 0
        }
#ifdef WEAK
    :: d_step { weak == NIL && r[0] != NIL && phase == OFF -> weak = r[0]; cleared = 0 }
    /* gomem_weak_get: a library section. While marking it shades; later an unmarked object of a
     * span that is not swept is garbage already (R6). */
    :: d_step { weak != NIL -> depth = 1; got = (cleared -> NIL : weak) };
        d_step {
            if
            :: got == NIL && weak != NIL && cleared ->
                find_reachable();
                assert(!(reach & BIT(weak))); /* NULL is the truth */
                reach = 0
            :: else
            fi;
            if
#ifndef NO_SHADE
            :: got != NIL && phase == MARK -> shade(got)
#endif
            :: got != NIL && MUTANT != 14 &&
               (phase == FINAL || phase == OFF && !(swept & BIT(PAGE(got)))) &&
               !(mark & BIT(got)) -> got = NIL
            :: else
            fi;
            SET(1, got);
            got = NIL;
            depth = 0
        }
#endif
    od
}

/* ---- mark ---- */

/* C2: the scanned bit, then the read. READ_FIRST turns that around, as does setting colors late
 * (M5 of room mark): then pages may be collected only while markers are idle (IDLE). */
#ifdef READ_FIRST
#define TAKE(o) d_step { (GREY & BIT(o)) && cur == NIL && phase == MARK -> cur = o; seen = cell[o] }
#define SCAN    scanned = scanned | BIT(cur)
#else
#define TAKE(o) d_step { (GREY & BIT(o)) && cur == NIL && phase == MARK -> cur = o; scanned = scanned | BIT(o) }
#define SCAN    seen = cell[cur]
#endif

/* Reading a cell and shading what it held is one step: in between nothing can be freed (R5). */
active proctype marker() {
    byte seen = NIL;
#if MUTANT == 13
    byte word;
#endif
    do
    :: if
       :: TAKE(0)
       :: TAKE(1)
#if N > 2
       :: TAKE(2)
#endif
       fi;
#if MUTANT == 13
       SCAN;
       word = mark;
       d_step { mark = word | (seen != NIL && (alloc & BIT(seen)) -> BIT(seen) : 0); word = 0; seen = NIL; cur = NIL }
#else
       d_step { SCAN; shade(seen); seen = NIL; cur = NIL }
#endif
    od
}

/* ---- the collector ---- */

/* A stop is complete when no section is open (R2). */
#if MUTANT == 11
#define STOP stop = 1
#else
#define STOP stop = 1; depth == 0
#endif
#define START stop = 0

/* PAGEMAP_SCAN with WP_MATCHING reports a page and arms it again in one step. With CHECK_WPASYNC
 * a lost registration is an error, and then everything counts as written. */
#if MUTANT == 15
#define WRITTEN(p) (!lost && !(armed & BIT(p)))
#else
#define WRITTEN(p) (lost || !(armed & BIT(p)))
#endif
#define REARM(p)   armed = armed | BIT(p)
#define REGREY(p)  scanned = scanned & ~ON_PAGE(p)

inline clear_bits() {
    p = 0;
    do
    :: d_step { p < PAGES -> mark = mark & ~ON_PAGE(p); scanned = scanned & ~ON_PAGE(p); p++ }
    :: d_step { p == PAGES -> p = 0 }; break
    od
}

inline arm() {
    p = 0;
    do
    :: d_step { p < PAGES -> REARM(p); p++ }
    :: d_step { p == PAGES -> p = 0 }; break
    od
}

/* One round: what was written is armed again, and what lies on it becomes grey again. A page may
 * also stay unarmed (hot pages, protection cleared ahead): it counts as written at the next look. */
inline round() {
    p = 0;
    do
    :: p < PAGES && WRITTEN(p) ->
#ifdef IDLE
        QUIESCENT;
#endif
#if MUTANT == 9
        REGREY(p);
        d_step { REARM(p); p++ }
#else
        if
        :: REARM(p)
        :: true
        fi;
        d_step { REGREY(p); p++ } /* C2: after the page was collected */
#endif
    :: d_step { p < PAGES && !WRITTEN(p) -> p++ }
    :: d_step { p == PAGES -> p = 0 }; break
    od
}

active proctype collector() {
    byte p;
cycle:
#if MUTANT != 3
    clear_bits(); /* R5: before anything becomes black */
#endif
    lost = 0; /* tracking is set up anew */
    armed = 0;
#if MUTANT != 1
    arm(); /* C1 */
#endif
    STOP; /* the start stop: from here on new objects are black */
    d_step {
        phase = MARK;
#if MUTANT != 5
        mark = mark | (held != NIL -> BIT(held) : 0); /* R1 */
        scanned = scanned | (held != NIL -> BIT(held) : 0)
#endif
    };
    START;
#if MUTANT == 1
    arm();
#endif
#if MUTANT == 3
    clear_bits();
#endif
    if /* the early look at the roots only finds work: it may miss any */
    :: shade(r[0])
    :: shade(r[1])
    :: true
    fi;
    QUIESCENT;

rounds:
    if
    :: round();
       QUIESCENT
    :: true
    fi;

    STOP; /* the finish stop: C3 */
#ifdef IDLE
    QUIESCENT;
#endif
    p = 0;
    do
    :: d_step { p < PAGES && MUTANT != 2 && MUTANT != 10 ->
           if
           :: WRITTEN(p) -> REGREY(p) /* not armed again: giving up loses nothing */
           :: else
           fi;
           p++
       }
#if MUTANT == 10
    :: p < PAGES && WRITTEN(p) -> REARM(p); if :: d_step { REGREY(p); p++ } :: goto give_up fi
    :: d_step { p < PAGES && !WRITTEN(p) -> p++ }
#endif
#if MUTANT == 8
    :: d_step { weak != NIL && !(mark & BIT(weak)) -> cleared = 1 }; goto give_up
#endif
    :: goto give_up /* over its budget */
    :: d_step { p == PAGES || MUTANT == 2 -> p = 0 }; break
    od;
#if MUTANT != 7
    shade(r[0]); /* again: the early look only found work */
    shade(r[1]);
#endif
    if
    :: QUIESCENT
    :: goto give_up
    fi;
    phase = FINAL;
    START;

    /* Final: unmarked objects are unreachable and stay so. */
#ifdef WEAK
    d_step { cleared = cleared | (weak != NIL && !(mark & BIT(weak))) };
#endif
    d_step { depth == 0 -> phase = OFF; swept = 0 }; /* the flip */
    p = 0;
    do
    :: d_step { p < PAGES ->
           find_reachable();
           reach = reach | (held != NIL -> BIT(held) : 0);
           assert(!(ON_PAGE(p) & alloc & ~mark & reach)); /* the property */
           reach = 0;
#ifdef WEAK
           if
           :: weak != NIL && (ON_PAGE(p) & alloc & ~mark & BIT(weak)) -> weak = NIL; cleared = 0
           :: else
           fi;
#endif
           i = 0;
           do
           :: i < N -> cell[i] = ((ON_PAGE(p) & alloc & ~mark & BIT(i)) -> NIL : cell[i]); i++
           :: else -> break
           od;
           i = 0;
           alloc = alloc & (mark | ~ON_PAGE(p));
           swept = swept | BIT(p);
           p++
       }
    :: d_step { p == PAGES -> p = 0; swept = 255 }; break
    od;
    goto cycle;

give_up:
    p = 0;
    START;
    goto rounds
}

#if MUTANT == 15 || defined(LOSS)
/* closefrom(), a daemon that closes everything. */
active proctype environment() {
    do
    :: d_step { phase == MARK && !lost && !stop -> lost = 1 }
    od
}
#endif

#if MUTANT == 16
/* A forked child that collects through the descriptors it inherited re-arms our pages. */
active proctype child() {
    do
    :: d_step { phase == MARK && armed != (1 << PAGES) - 1 -> armed = (1 << PAGES) - 1 }
    od
}
#endif
