/* The stop handshake of room world: threads that attach, run, enter and leave library sections and
 * blocking regions, and end, while another one stops them, withdraws stops, and closes the gate of
 * fork. Names are those of the code: gm_world_park is park, and so on.
 *
 * Properties: while the stopper believes that all stand, no thread is in the program's own code or
 * in a section; while the gate is closed, none is in a section; the argument of a thread is in the
 * list of starts or on a stack that is scanned; nobody waits for ever (no invalid end state).
 *
 *   V1  who stops stores stop_request, then looks at states; a thread that leaves a blocking region
 *       stores its state, then looks at stop_request
 *   V2  a state goes running -> parked(epoch) once per stop; signals return in sections, in
 *       blocking regions, when parking already, and when no stop is pending
 *   V3  a stop may be withdrawn: nothing was changed
 *   V4  a record is running, blocked, parked or none, and changes to and from none under the lock
 *   V9  when a stop is over no signal of it is on its way
 *   Y2  a thread leaves its section before it looks at stop_request, and enters it before, too
 *
 * Signals are late but not lost and waits have no time limits, so that a handshake that needs them
 * to come to an end is a deadlock here. Threads that attach (libc may call malloc meanwhile) are
 * not stopped and are outside of the properties.
 *
 * -DMUTANT=n plants a bug that must give a counterexample, see run.sh.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef STOPS
#define STOPS 2 /* of the stopper, withdrawn ones and gates included */
#endif
#ifndef OPERATIONS
#define OPERATIONS 2 /* of each thread between attaching and leaving */
#endif
#ifndef THREADS
#define THREADS 2
#endif

/* stop_request: 0, GATE, or 2 + the epoch of a stop */
#define GATE 1

#define NONE      0
#define RUNNING   1
#define BLOCKED   2
#define ATTACHING 3
#if MUTANT == 4
#define PARKED(a) 9
#else
#define PARKED(a) (8 + (a))
#endif

byte stop_request, epoch;
bool lock;               /* of the world */
bool acked;              /* the futex word acks differs from what gather has read */
byte state[THREADS];     /* GM_THREAD_… */
bool depth[THREADS];     /* in a section */
bool inside[THREADS];    /* in a section that has begun: what it does is half done */
bool blocked[THREADS];   /* in a blocking region */
bool parking[THREADS];   /* in park */
bool mask[THREADS];      /* all signals are blocked */
bool signal[THREADS];    /* one is pending */
bool handling[THREADS];  /* the handler runs on the thread */
bool starts[THREADS] = 1; /* the thread's argument is in the list of starts, a root */
bool given[THREADS];     /* it is on the thread's stack */
bool standing;           /* the stopper believes that all stand */
bool gated;              /* the gate's owner believes that nobody is in a section */

#define LOCK   atomic { !lock -> lock = 1 }
#define UNLOCK lock = 0

/* ---- a thread; every step may be followed by the stop signal ---- */

#define me (_pid % THREADS)

/* gm_world_wait: a futex on stop_request. */
#define WAIT(a) stop_request != (a)

inline acknowledge(new) {
    state[me] = new; /* V1 */
    if
    :: stop_request == 0
    :: stop_request != 0 -> acked = 1
    fi
}

inline stand(a) {
    acknowledge(PARKED(a));
    WAIT(a);
    state[me] = RUNNING /* V1: a stop that begins now signals us */
}

inline park() {
    do
    :: atomic { stop_request == 0 -> a = 0 }; break
    :: atomic { stop_request != 0 -> a = stop_request };
        if
        :: a == GATE -> WAIT(a)
        :: a != GATE ->
            atomic { mask[me] = 1; parking[me] = 1 };
            stand(a);
            parking[me] = 0;
            mask[me] = 0
        fi
    od
}

/* V1: states, then stop_request. */
inline unblock() {
    do
    :: atomic { stop_request != 0 -> a = stop_request }; WAIT(a)
#if MUTANT == 1
    :: stop_request == 0 -> state[me] = RUNNING; break /* looks before, not after */
#else
    :: stop_request == 0 ->
        state[me] = RUNNING; /* V1 */
        if
        :: stop_request == 0 -> break
        :: stop_request != 0 -> acknowledge(BLOCKED)
        fi
#endif
    od;
    a = 0
}

inline block() {
    blocked[me] = 1; /* from here on a signal returns */
    acknowledge(BLOCKED)
}

inline end_block() {
#if MUTANT == 2
    state[me] = RUNNING; /* whatever stop_request says */
#else
    unblock();
#endif
    blocked[me] = 0;
#if MUTANT != 1 && MUTANT != 2
    park() /* a signal in between returned */
#endif
}

/* gm_world_stop_wait: stop_request was seen, or the thread is in a blocking region. */
inline stop_wait_enter() {
    do
    :: true ->
#if MUTANT != 12
        depth[me] = 0;
#endif
        if
        :: blocked[me] -> unblock()
        :: !blocked[me] -> park()
        fi;
        depth[me] = 1;
#if MUTANT == 3
        if /* stop_request is loaded twice: a stop can begin in between */
        :: blocked[me] && stop_request != 0 -> acknowledge(BLOCKED)
        :: !blocked[me] || stop_request == 0
        fi;
        if
        :: stop_request == 0 -> break
        :: stop_request != 0
        fi
#else
        if
        :: stop_request == 0 -> break
        :: stop_request != 0 ->
            if
            :: blocked[me] -> acknowledge(BLOCKED)
            :: !blocked[me]
            fi
        fi
#endif
    od
}

inline stop_wait_leave() {
    if
    :: blocked[me] -> acknowledge(BLOCKED)
    :: !blocked[me] ->
        if
        :: stop_request == GATE
        :: stop_request != GATE -> park()
        fi
    fi
}

/* gm_sync_enter, gm_sync_leave: Y2. */
inline enter() {
#if MUTANT == 11
    if /* looks first */
    :: stop_request != 0 || blocked[me] -> depth[me] = 1; stop_wait_enter()
    :: stop_request == 0 && !blocked[me] -> depth[me] = 1
    fi
#else
    depth[me] = 1;
#if MUTANT == 10
    if /* blocked is not looked at */
    :: stop_request != 0 -> stop_wait_enter()
    :: stop_request == 0
    fi
#else
    if
    :: stop_request != 0 || blocked[me] -> stop_wait_enter()
    :: stop_request == 0 && !blocked[me]
    fi
#endif
#endif
}

inline leave() {
    depth[me] = 0;
#if MUTANT != 7
    if
    :: stop_request != 0 || blocked[me] -> stop_wait_leave()
    :: stop_request == 0 && !blocked[me]
    fi
#endif
}

inline section() {
    enter();
    inside[me] = 1;
    assert(!standing && !gated);
    inside[me] = 0;
    leave()
}

active [THREADS] proctype thread() provided (!handling[_pid]) {
    byte a, done;
    /* gm_world_attach, on behalf of gomem_thread_create */
    LOCK;
    state[me] = ATTACHING;
    UNLOCK;
#if MUTANT == 14
    starts[me] = 0;
#endif
#if MUTANT == 8
    state[me] = RUNNING; /* without the lock */
#else
    LOCK; /* V4: waits out a stop */
    state[me] = RUNNING;
    UNLOCK;
#endif
    given[me] = 1;
    LOCK;
    starts[me] = 0;
    UNLOCK;
    do
    :: done < OPERATIONS ->
        if
        :: assert(!standing) /* the program's own code touches the heap */
        :: atomic { !lock && signal[me] -> assert(false) } /* handlers are reset: V9 */
        :: section()
        :: block();
            if
            :: true
            :: section() /* leaves the region first, and enters it again */
            fi;
            end_block()
        fi;
        done++
    :: else -> break
    od;
    done = 0;
    /* gm_world_leave */
    section();
#if MUTANT == 9
    state[me] = NONE; /* without the lock, before the last touch */
    assert(!standing);
    given[me] = 0
#else
    LOCK; /* waits out a stop: the signal finds us */
    atomic { given[me] = 0; state[me] = NONE }; /* V4 */
    UNLOCK
#endif
}

/* The stop signal: runs on its thread, which goes on when it is over. */
active [THREADS] proctype handler() {
    byte a;
end:
    do
    :: d_step { signal[me] && !mask[me] -> signal[me] = 0; handling[me] = 1 };
        a = stop_request; /* V2 */
        if
        :: a == 0 || a == GATE || state[me] == NONE
#if MUTANT != 5
        :: a != 0 && a != GATE && depth[me]
#endif
        :: a != 0 && a != GATE && (blocked[me] || parking[me])
        :: a != 0 && a != GATE && !blocked[me] && !parking[me] && (!depth[me] || MUTANT == 5) &&
           state[me] != NONE ->
            if
            :: state[me] != RUNNING
            :: state[me] == RUNNING -> stand(a)
            fi
        fi;
        atomic { a = 0; handling[me] = 0 }
    od
}

/* ---- who stops ---- */

#define STANDS(t) (state[t] == NONE || state[t] == ATTACHING || state[t] == BLOCKED || \
                   state[t] == PARKED(stop_request))
#define FOUND(t)  (starts[t] || given[t] && state[t] != NONE && state[t] != ATTACHING || \
                   !given[t] && state[t] == NONE)

inline signal_all() {
    signal[0] = signal[0] || !STANDS(0);
#if THREADS > 1
    signal[1] = signal[1] || !STANDS(1)
#endif
}

/* Counts the threads that still run. */
inline running() {
    n = (STANDS(0) -> 0 : 1);
#if THREADS > 1
    n = n + (STANDS(1) -> 0 : 1)
#endif
}

inline open() {
#if MUTANT != 15
    d_step { /* V9 */
        signal[0] = 0;
#if THREADS > 1
        signal[1] = 0
#endif
    };
#endif
    stop_request = 0;
    UNLOCK
}

active proctype stopper() {
    byte n, tries;
    do
    :: tries < STOPS ->
        tries++;
        LOCK;
        if
        :: true -> /* gm_world_stop */
#if MUTANT == 6
            running(); /* before stop_request is stored */
            epoch++;
            stop_request = 2 + epoch;
            signal_all();
            if
            :: n == 0 -> goto all_stand
            :: n > 0
            fi;
#else
            epoch++;
            stop_request = 2 + epoch; /* V1 */
            signal_all();
#endif
gather:
            acked = 0;
            running();
            if
            :: n == 0 ->
all_stand:
                standing = 1;
                assert(FOUND(0) && !inside[0]);
#if THREADS > 1
                assert(FOUND(1) && !inside[1]);
#endif
                n = 0;
                standing = 0
            :: n > 0 ->
                n = 0;
                if
                :: tries < STOPS /* withdrawn: V3 */
#if MUTANT == 13
                    -> standing = 1; standing = 0
#endif
                :: acked -> goto gather
                fi
            fi;
            open()
        :: true -> /* gm_world_close_gate */
            stop_request = GATE;
            !depth[0]; /* Y2 */
#if THREADS > 1
            !depth[1];
#endif
            gated = 1;
            assert(!inside[0]);
            gated = 0;
            open()
        fi
    :: else -> break
    od
}
