/* Magazines of room pool: each thread's loaded one and the one behind it (previous), the depot's
 * list of those with objects and the list of empty ones, thieves. The lists of the depot are those
 * of room cache: {tag, index}, next read while another thread may own the magazine.
 *
 * Properties: a magazine is in one hand or list at a time; who takes one from `previous` or from
 * the full list finds objects, from the other list empty; when all threads have ended nothing is
 * lost.
 *
 *   PO2 the loaded magazine is its thread's alone; previous changes hands only by exchange, by its
 *       owner or by a thief
 *
 * Left out: which generation of the depot a full magazine is in (all lists are of one kind), the
 * lock under which thieves look for each other (one looks at a hand at a time), slabs. A magazine
 * has objects or none: what the user gets and puts is one step, and so is moving half of them.
 *
 * -DMUTANT=n plants a bug that must give a counterexample, see list.
 */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef OPERATIONS
#define OPERATIONS 4 /* of each thread before it ends */
#endif
#define THREADS   2
#define MAGAZINES 4 /* numbered from 1 */
#define TAGS      16

#define FULL  0
#define EMPTY 1

byte head[2], tag[2];     /* of the lists: one word each, {tag, index + 1} */
byte next[MAGAZINES + 1]; /* of a magazine in a list */
byte previous[THREADS];   /* a magazine with objects, 0: none */
bool laden[MAGAZINES + 1]; /* what a magazine holds */
byte holder[MAGAZINES + 1]; /* ghost: 1 + thread, 0: it is in a list, or behind */
byte ended;

inline hold(m) {
    assert(holder[m] == 0);
    holder[m] = me + 1
}
inline let_go(m) {
    assert(holder[m] == me + 1);
    holder[m] = 0
}

/* gm_cache_pop_magazine */
inline pop(list, m) {
    d_step { m = head[list]; seen = tag[list] }
    do
    :: m == 0 -> break
    :: else ->
        after = next[m];
        if
        :: atomic {
            head[list] == m && (tag[list] == seen || MUTANT == 1) ->
            head[list] = after;
            tag[list] = (tag[list] + 1) % TAGS;
            hold(m);
            assert(laden[m] == (list == FULL));
            after = 0
        }
            break
        :: else -> d_step { m = head[list]; seen = tag[list]; after = 0 }
        fi
    od
}

/* gm_cache_push_magazine */
inline push(list, m) {
    let_go(m);
    d_step { after = head[list]; seen = tag[list] }
    do
    :: true ->
        if
        :: MUTANT == 2 && after != 0 -> skip /* next is written after the head */
        :: else -> next[m] = after
        fi;
        if
        :: atomic {
            head[list] == after && tag[list] == seen ->
            head[list] = m;
            tag[list] = (tag[list] + 1) % TAGS
        }
            if
            :: MUTANT == 2 && after != 0 -> next[m] = after
            :: else -> skip
            fi;
            after = 0;
            break
        :: else -> d_step { after = head[list]; seen = tag[list] }
        fi
    od
}

/* The swap of gm_pool_refill and of gm_pool_steal. */
inline swap_out(who, m) {
    if
    :: (MUTANT == 3 && who != me) || (MUTANT == 4 && who == me) -> /* looks, then takes */
        m = previous[who];
        if
        :: m != 0 -> previous[who] = 0; hold(m)
        :: else -> skip
        fi
    :: else ->
        atomic {
            m = previous[who];
            previous[who] = 0;
            if
            :: m != 0 -> hold(m)
            :: else -> skip
            fi
        }
    fi
}

/* gm_pool_put_previous: others store only 0 there */
inline put_behind(m) {
    atomic {
        assert(previous[me] == 0);
        let_go(m);
        previous[me] = m
    }
}

proctype thread(byte me) {
    byte loaded = me + 1, spare, m, old, after, seen, operations;
    bool mine;
    holder[loaded] = me + 1;
    do
    :: operations < OPERATIONS ->
        operations++;
        if
        :: laden[loaded] = !laden[loaded] /* the user got all of it, or put */
        :: laden[loaded] -> /* gm_pool_make_room */
            old = 0;
            if
            :: previous[me] != 0 -> swap_out(me, old)
            :: else -> skip
            fi;
            if
            :: old != 0 -> put_behind(old) /* the half of ours has gone there: gm_pool_own_room */
            :: true ->
                m = spare;
                spare = 0;
                if
                :: m == 0 -> pop(EMPTY, m)
                :: else -> skip
                fi;
                if
                :: old != 0 && MUTANT == 5 -> let_go(old) /* what was behind is forgotten */
                :: old != 0 && MUTANT != 5 -> push(FULL, old)
                :: else -> skip
                fi;
                if
                :: m != 0 -> put_behind(loaded); loaded = m
                :: else -> skip /* no memory: the object goes back to its slab */
                fi
            fi;
            old = 0
        :: !laden[loaded] -> /* gm_pool_refill */
            m = 0;
            if
            :: previous[me] != 0 -> swap_out(me, m)
            :: else -> skip
            fi;
            mine = m != 0;
            if
            :: m == 0 -> pop(FULL, m)
            :: else -> skip
            fi;
            if
            :: m == 0 && previous[1 - me] != 0 -> swap_out(1 - me, m)
            :: else -> skip
            fi;
            if
            :: m != 0 && mine -> /* the half of what was behind comes in: gm_pool_own_refill */
                assert(laden[m]);
                laden[loaded] = true;
                put_behind(m)
            :: m != 0 ->
                assert(laden[m]);
                if
                :: spare != 0 -> push(EMPTY, loaded)
                :: else -> spare = loaded
                fi;
                loaded = m
            :: else -> skip
            fi
        fi;
        m = 0
    :: operations == OPERATIONS -> break
    od;
    /* gm_pool_drop_cache */
    if
    :: laden[loaded] -> push(FULL, loaded)
    :: else -> push(EMPTY, loaded)
    fi;
    swap_out(me, m);
    if
    :: m != 0 -> push(FULL, m)
    :: else -> skip
    fi;
    if
    :: spare != 0 -> push(EMPTY, spare)
    :: else -> skip
    fi;
    atomic {
        ended++;
        if
        :: ended == THREADS -> /* every magazine is in a list */
            m = 0;
            seen = head[FULL];
            do
            :: seen != 0 -> assert(laden[seen]); m++; seen = next[seen]
            :: else -> break
            od;
            seen = head[EMPTY];
            do
            :: seen != 0 -> assert(!laden[seen]); m++; seen = next[seen]
            :: else -> break
            od;
            assert(m == MAGAZINES)
        :: else -> skip
        fi
    }
}

init {
    atomic {
        /* one of each kind in the lists */
        head[FULL] = 3;
        laden[3] = true;
        head[EMPTY] = 4;
        run thread(0);
        run thread(1)
    }
}
