// The commands of kvserver: how each is answered. Included by kvserver.c, behind its replies.
//
// A command finds what it needs in call: the client, the arguments (the name is the first), and
// `which`, a number from the table of commands that tells apart those that share a function. Where a
// helper returns false or NULL, it has answered already. What a command needs for a moment lies in
// the arena `scratch`.

// ---- keys ----

static const char *const kind_names[] = {"string", "list", "hash", "set", "zset"};

static size_t watch_slot(uint64_t hash) {
    return (size_t)(hash + (uint64_t)(keys - databases)) % WATCHED;
}

static void touch(uint64_t hash) { server.watched[watch_slot(hash)] = ++server.version; }
static void key_touch(slice key) { touch(hash_of(key)); }

static bool key_remove(slice key) {
    key_touch(key);
    return dict_remove(keys, key);
}

// The entry of a key that has not expired; NULL: there is none.
static entry *key_find(slice key) {
    entry *e = dict_find(keys, key);
    if (!e || !e->expires || e->expires > server.now) return e;
    key_remove(key);
    server.expired++;
    return NULL;
}

// Gives a key a value, and no time to expire. NULL: no memory, and nothing has changed.
static entry *key_set(slice key, void *value, kind k) {
    entry *e = value ? dict_put(keys, key) : NULL;
    if (!e) return NULL;
    GOMEM_STORE(&e->value, value);
    e->kind = k;
    e->expires = 0;
    touch(e->hash);
    return e;
}

static void key_expire(entry *e, int64_t when) {
    e->expires = when;
    if (when && when < expiry.soonest) expiry.soonest = when;
    if (when && when < expiry.soonest_next) expiry.soonest_next = when;
}

// The key of the first argument. False: it holds another kind, and that has been answered.
static bool key_of_kind(const call *r, kind k, entry **e) {
    *e = key_find(r->arg[1]);
    if (!*e || (*e)->kind == k) return true;
    reply_line(r->c, "-WRONGTYPE Operation against a key holding the wrong kind of value");
    return false;
}

// What it holds, to be changed: made if it is not there. NULL: that has been answered.
static void *key_to_change(const call *r, kind k) {
    entry *e;
    if (!key_of_kind(r, k, &e)) return NULL;
    if (e) return e->value;
    void *value = k == LIST   ? (void *)GOMEM_NEW(list)
                  : k == ZSET ? (void *)GOMEM_NEW(zset)
                              : (void *)GOMEM_NEW(dict);
    if (key_set(r->arg[1], value, k)) return value;
    reply_memory(r->c);
    return NULL;
}

// The key of the first argument has changed, and holds so many now: without any it goes.
static answered changed(const call *r, int64_t count) {
    if (count == 0) key_remove(r->arg[1]);
    else key_touch(r->arg[1]);
    return ANSWERED;
}

// ---- arguments ----

static bool number_argument(const call *r, size_t i, int64_t *n) {
    if (parse_number(r->arg[i], n)) return true;
    return reply_error(r->c, not_integer), false;
}

// A count that may be missing, and is -1 then.
static bool count_argument(const call *r, int64_t *n) {
    *n = -1;
    if (r->n > 3) return reply_error(r->c, syntax), false;
    if (r->n < 3 || (parse_number(r->arg[2], n) && *n >= 0)) return true;
    return reply_error(r->c, not_positive), false;
}

static bool score_argument(const call *r, size_t i, double *score) {
    const char *s = gomem_arena_printf(&scratch, "%.*s", (int)r->arg[i].size, r->arg[i].bytes);
    char *end = NULL;
    errno = 0;
    *score = s && !isspace((unsigned char)*s) ? strtod(s, &end) : 0;
    bool extreme = errno == ERANGE && (*score == 0 || isinf(*score));
    if (end && end > s && end == s + r->arg[i].size && !isnan(*score) && !extreme) return true;
    return reply_error(r->c, "value is not a valid float"), false;
}

// A time to expire: units of 1 or 1000 ms, from now on or, when they are negative, since 1970.
static bool time_argument(const call *r, size_t i, int64_t unit, bool positive, int64_t *when) {
    int64_t base = unit < 0 ? 0 : server.now, scale = unit < 0 ? -unit : unit;
    if (!number_argument(r, i, when)) return false;
    if (*when <= INT64_MAX / scale && *when >= INT64_MIN / scale && (*when > 0 || !positive) &&
        !__builtin_add_overflow(*when * scale, base, when))
        return true;
    replyf(r->c, "-ERR invalid expire time in '%s' command\r\n", r->name);
    return false;
}

typedef struct range {
    int64_t from, n; // n: the last one, until it is cut
} range;

static bool range_argument(const call *r, range *x) {
    return number_argument(r, 2, &x->from) && number_argument(r, 3, &x->n);
}

// Of what has so many elements; negative positions count from its end.
static void range_cut(range *x, int64_t count) {
    int64_t to = x->n < 0 ? x->n + count : x->n;
    if (x->from < 0) x->from = x->from + count < 0 ? 0 : x->from + count;
    if (to >= count) to = count - 1;
    x->n = x->from > to ? 0 : to - x->from + 1;
}

// ---- commands: strings ----

// What most commands that write a string end with.
static answered set_text(const call *r, slice value, int64_t expires, bool says_number, int64_t n) {
    entry *e = key_set(r->arg[1], text_new(value), TEXT);
    if (!e) return reply_memory(r->c);
    key_expire(e, expires);
    return says_number ? reply_number(r->c, n) : reply_ok(r->c);
}

static answered do_get(const call *r) { // which 1: and delete
    entry *e;
    if (!key_of_kind(r, TEXT, &e)) return ANSWERED;
    text *t = e ? e->value : NULL;
    if (e && r->which) key_remove(r->arg[1]);
    return reply_text(r->c, t);
}

static answered do_mget(const call *r) {
    reply_array(r->c, r->n - 1);
    for (size_t i = 1; i < r->n; i++) {
        entry *e = key_find(r->arg[i]);
        reply_text(r->c, e && e->kind == TEXT ? e->value : NULL);
    }
    return ANSWERED;
}

typedef struct set_options {
    bool only_new, only_old, keep, get;
    int64_t expires;
} set_options;

// False: that has been answered.
static bool parse_set(const call *r, set_options *o) {
    static const char *const names[] = {"ex", "px", "exat", "pxat"};
    static const int64_t units[] = {1000, 1, -1000, -1};
    size_t time_at = 0;
    int64_t unit = 0;
    for (size_t i = 3; i < r->n; i++) {
        bool fine = true;
        if (is_word(r->arg[i], "nx") && !o->only_old) o->only_new = true;
        else if (is_word(r->arg[i], "xx") && !o->only_new) o->only_old = true;
        else if (is_word(r->arg[i], "get")) o->get = true;
        else if (is_word(r->arg[i], "keepttl") && !unit) o->keep = true;
        else fine = false;
        for (size_t k = 0; k < 4 && !fine && !o->keep && i + 1 < r->n; k++) {
            if (!is_word(r->arg[i], names[k]) || (unit && unit != units[k])) continue;
            unit = units[k];
            time_at = ++i;
            fine = true;
        }
        if (!fine) return reply_error(r->c, syntax), false;
    }
    return !unit || time_argument(r, time_at, unit, true, &o->expires);
}

static answered do_set(const call *r) {
    set_options o = {0};
    entry *e;
    if (!parse_set(r, &o) || (o.get && !key_of_kind(r, TEXT, &e))) return ANSWERED;
    e = r->n > 3 ? key_find(r->arg[1]) : NULL; // only options ask for what was there
    text *before = o.get && e ? e->value : NULL;
    int64_t expires = o.keep && e ? e->expires : o.expires;
    bool skip = e ? o.only_new : o.only_old;
    if (!skip && !(e = key_set(r->arg[1], text_new(r->arg[2]), TEXT))) return reply_memory(r->c);
    if (!skip) key_expire(e, expires);
    if (o.get) return reply_text(r->c, before);
    return skip ? reply_nil(r->c) : reply_ok(r->c);
}

static answered do_setex(const call *r) { // key time value, as SET key value EX time
    int64_t when;
    if (!time_argument(r, 2, r->which, true, &when)) return ANSWERED;
    return set_text(r, r->arg[3], when, false, 0);
}

static answered do_setnx(const call *r) {
    if (key_find(r->arg[1])) return reply_number(r->c, 0);
    return set_text(r, r->arg[2], 0, true, 1);
}

static answered do_mset(const call *r) {
    bool done = true;
    if (r->n % 2 == 0) return reply_arity(r);
    for (size_t i = 1; i < r->n && done; i += 2)
        done = key_set(r->arg[i], text_new(r->arg[i + 1]), TEXT) != NULL;
    return done ? reply_ok(r->c) : reply_memory(r->c);
}

static answered do_append(const call *r) {
    entry *e;
    if (!key_of_kind(r, TEXT, &e)) return ANSWERED;
    slice old = e ? slice_of(e->value) : (slice){"", 0}, more = r->arg[2];
    size_t size = old.size + more.size;
    if (size > server.request_most)
        return reply_error(r->c, "string exceeds maximum allowed size (proto-max-bulk-len)");
    char *both = gomem_arena_alloc_with(&scratch, size + 1, 1, GOMEM_UNINIT);
    if (!both) return reply_memory(r->c);
    memcpy(both, old.bytes, old.size);
    memcpy(both + old.size, more.bytes, more.size);
    return set_text(r, (slice){both, size}, e ? e->expires : 0, true, (int64_t)size);
}

static answered do_strlen(const call *r) {
    entry *e;
    if (!key_of_kind(r, TEXT, &e)) return ANSWERED;
    return reply_number(r->c, e ? (int64_t)((text *)e->value)->size : 0);
}

static answered do_incr(const call *r) { // by which, or by the argument with the sign of which
    entry *e;
    int64_t value = 0, by = r->which;
    if (r->n > 2 && !number_argument(r, 2, &by)) return ANSWERED;
    if (r->n > 2 && r->which < 0 && by == INT64_MIN)
        return reply_error(r->c, "decrement would overflow");
    if (r->n > 2 && r->which < 0) by = -by;
    if (!key_of_kind(r, TEXT, &e)) return ANSWERED;
    if (e && !parse_number(slice_of(e->value), &value)) return reply_error(r->c, not_integer);
    if (__builtin_add_overflow(value, by, &value))
        return reply_error(r->c, "increment or decrement would overflow");
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    return set_text(r, slice_from(digits), e ? e->expires : 0, true, value);
}

// ---- commands: keys ----

static answered do_del(const call *r) {
    int64_t count = 0;
    for (size_t i = 1; i < r->n; i++) count += key_find(r->arg[i]) && key_remove(r->arg[i]);
    return reply_number(r->c, count);
}

static answered do_exists(const call *r) {
    int64_t count = 0;
    for (size_t i = 1; i < r->n; i++) count += key_find(r->arg[i]) != NULL;
    return reply_number(r->c, count);
}

static answered do_type(const call *r) {
    const entry *e = key_find(r->arg[1]);
    return replyf(r->c, "+%s\r\n", e ? kind_names[e->kind] : "none");
}

static answered do_expire(const call *r) {
    int64_t when;
    if (r->n > 3)
        return replyf(r->c, "-ERR Unsupported option %.*s\r\n", (int)r->arg[3].size,
                      r->arg[3].bytes);
    if (!time_argument(r, 2, r->which, false, &when)) return ANSWERED;
    entry *e = key_find(r->arg[1]);
    if (!e) return reply_number(r->c, 0);
    key_touch(r->arg[1]);
    if (when <= server.now) key_remove(r->arg[1]);
    else key_expire(e, when);
    return reply_number(r->c, 1);
}

static answered do_persist(const call *r) {
    entry *e = key_find(r->arg[1]);
    if (!e || !e->expires) return reply_number(r->c, 0);
    e->expires = 0;
    key_touch(r->arg[1]);
    return reply_number(r->c, 1);
}

static answered do_ttl(const call *r) { // in units of which ms
    const entry *e = key_find(r->arg[1]);
    if (!e || !e->expires) return reply_number(r->c, e ? -1 : -2);
    return reply_number(r->c, (e->expires - server.now + r->which / 2) / r->which);
}

// KEYS and SCAN look twice: the number of keys is sent before the keys are.
typedef struct scan {
    slice pattern;
    size_t matches;
    client *c; // NULL: they are only counted
} scan;

static void scan_entry(entry *e, void *arg) {
    scan *s = arg;
    if (e->expires && e->expires <= server.now) return;
    if (!glob(s->pattern, slice_of(e->key))) return;
    s->matches++;
    if (s->c) reply_text(s->c, e->key);
}

static answered reply_keys(client *c, slice pattern, uint64_t at, int64_t most, bool cursor) {
    scan s = {pattern, 0, NULL};
    uint64_t next = dict_scan(keys, at, most, scan_entry, &s);
    if (cursor) reply_array(c, 2);
    if (cursor) reply_string(c, gomem_arena_printf(&scratch, "%" PRIu64, next >> 16));
    reply_array(c, s.matches);
    s.c = c;
    dict_scan(keys, at, most, scan_entry, &s);
    return ANSWERED;
}

static answered do_keys(const call *r) { return reply_keys(r->c, r->arg[1], 0, INT64_MAX, false); }

// A cursor is 48 bits of a hash, so that each client can hold it, in a double too.
static answered do_scan(const call *r) { // cursor [MATCH pattern] [COUNT n]
    slice pattern = {"*", 1};
    int64_t cursor, most = 10;
    if (!parse_number(r->arg[1], &cursor) || cursor < 0) return reply_error(r->c, "invalid cursor");
    for (size_t i = 2; i < r->n; i += 2) {
        if (i + 1 < r->n && is_word(r->arg[i], "match")) pattern = r->arg[i + 1];
        else if (i + 1 == r->n || !is_word(r->arg[i], "count")) return reply_error(r->c, syntax);
        else if (!number_argument(r, i + 1, &most)) return ANSWERED;
        if (most < 1) return reply_error(r->c, syntax);
    }
    return reply_keys(r->c, pattern, (uint64_t)cursor << 16, most, true);
}

static answered do_dbsize(const call *r) { return reply_number(r->c, keys->count); }

static answered do_flush(const call *r) { // which 1: all databases
    if (r->n > 2 || (r->n == 2 && !is_word(r->arg[1], "sync") && !is_word(r->arg[1], "async")))
        return reply_error(r->c, syntax);
    for (unsigned i = 0; i < DATABASES; i++) {
        dict *d = &databases[i];
        if (!r->which && d != keys) continue;
        GOMEM_STORE(&d->now.bucket, NULL);
        GOMEM_STORE(&d->old.bucket, NULL);
        *d = (dict){0};
        server.flushed[i]++;
    }
    return reply_ok(r->c);
}

// ---- commands: lists ----

static answered do_push(const call *r) { // which 1: at the end
    list *l = key_to_change(r, LIST);
    for (size_t i = 2; l && i < r->n; i++)
        if (!list_push(l, r->arg[i], r->which)) return changed(r, l->count), reply_memory(r->c);
    if (!l) return ANSWERED;
    changed(r, l->count);
    return reply_number(r->c, l->count);
}

static answered do_pop(const call *r) { // which 1: at the end
    int64_t n;
    entry *e;
    if (r->n > 3) return reply_arity(r);
    if (!count_argument(r, &n) || !key_of_kind(r, LIST, &e)) return ANSWERED;
    if (!e) return n < 0 ? reply_nil(r->c) : reply_nil_array(r->c);
    list *l = e->value;
    if (n > l->count) n = l->count;
    if (n >= 0) reply_array(r->c, (size_t)n);
    for (int64_t i = n < 0 ? 1 : n; i > 0; i--) reply_text(r->c, list_pop(l, r->which));
    return n ? changed(r, l->count) : ANSWERED;
}

static answered do_llen(const call *r) {
    entry *e;
    if (!key_of_kind(r, LIST, &e)) return ANSWERED;
    return reply_number(r->c, e ? ((list *)e->value)->count : 0);
}

static answered do_lrange(const call *r) {
    range x;
    entry *e;
    if (!range_argument(r, &x) || !key_of_kind(r, LIST, &e)) return ANSWERED;
    const list *l = e ? e->value : &(list){0};
    range_cut(&x, l->count);
    reply_array(r->c, (size_t)x.n);
    if (!x.n) return ANSWERED;
    for (const item *it = list_at(l, x.from); x.n > 0; x.n--, it = it->next)
        reply_text(r->c, it->value);
    return ANSWERED;
}

// ---- commands: hashes and sets, which are dicts ----

static answered do_hset(const call *r) {
    if (r->n % 2) return reply_arity(r);
    dict *d = key_to_change(r, HASH);
    int64_t before = d ? d->count : 0;
    for (size_t i = 2; d && i < r->n; i += 2) {
        text *t = text_new(r->arg[i + 1]);
        entry *e = t ? dict_put(d, r->arg[i]) : NULL;
        if (!e) return changed(r, d->count), reply_memory(r->c);
        GOMEM_STORE(&e->value, t);
    }
    if (!d) return ANSWERED;
    changed(r, d->count);
    return reply_number(r->c, d->count - before);
}

static answered do_sadd(const call *r) {
    dict *d = key_to_change(r, SET);
    int64_t before = d ? d->count : 0;
    for (size_t i = 2; d && i < r->n; i++)
        if (!dict_put(d, r->arg[i])) return changed(r, d->count), reply_memory(r->c);
    if (!d) return ANSWERED;
    if (d->count > before) changed(r, d->count);
    return reply_number(r->c, d->count - before);
}

static answered do_hget(const call *r) {
    entry *e;
    if (!key_of_kind(r, HASH, &e)) return ANSWERED;
    e = e ? dict_find(e->value, r->arg[2]) : NULL;
    return reply_text(r->c, e ? e->value : NULL);
}

static answered do_card(const call *r) { // of the kind which
    entry *e;
    if (!key_of_kind(r, (kind)r->which, &e)) return ANSWERED;
    return reply_number(r->c, e ? ((dict *)e->value)->count : 0);
}

static answered do_has(const call *r) {
    entry *e;
    if (!key_of_kind(r, (kind)r->which, &e)) return ANSWERED;
    return reply_number(r->c, e && dict_find(e->value, r->arg[2]) != NULL);
}

static answered do_remove(const call *r) {
    entry *e;
    int64_t count = 0;
    if (!key_of_kind(r, (kind)r->which, &e)) return ANSWERED;
    for (size_t i = 2; e && i < r->n; i++) {
        const entry *m = r->which == ZSET ? dict_find(e->value, r->arg[i]) : NULL;
        if (m) zset_unlink(e->value, m->value);
        count += dict_remove(e->value, r->arg[i]);
    }
    if (count) changed(r, ((dict *)e->value)->count);
    return reply_number(r->c, count);
}

static answered do_members(const call *r) { // with their values, of a hash
    entry *e;
    size_t bucket = 0;
    if (!key_of_kind(r, (kind)r->which, &e)) return ANSWERED;
    const dict *d = e ? e->value : &(dict){0};
    if (r->which == HASH) reply_map(r->c, (size_t)d->count);
    else reply_set(r->c, (size_t)d->count);
    for (entry *m = NULL; (m = dict_next(d, &bucket, m));) {
        reply_text(r->c, m->key);
        if (r->which == HASH) reply_text(r->c, m->value);
    }
    return ANSWERED;
}

static answered do_spop(const call *r) {
    int64_t n;
    entry *e;
    if (!count_argument(r, &n) || !key_of_kind(r, SET, &e)) return ANSWERED;
    if (!e) return n < 0 ? reply_nil(r->c) : reply_set(r->c, 0);
    dict *d = e->value;
    if (n > d->count) n = d->count;
    if (n >= 0) reply_set(r->c, (size_t)n);
    for (int64_t i = n < 0 ? 1 : n; i > 0; i--) {
        const entry *m = dict_random(d);
        reply_text(r->c, m->key);
        dict_remove(d, slice_of(m->key));
    }
    return n ? changed(r, d->count) : ANSWERED;
}

// ---- commands: sorted sets ----

static answered do_zadd(const call *r) { // key score member ...
    double score;
    if (r->n % 2) return reply_error(r->c, syntax);
    for (size_t i = 2; i < r->n; i += 2)
        if (!score_argument(r, i, &score)) return ANSWERED;
    zset *z = key_to_change(r, ZSET);
    if (!z) return ANSWERED;
    int64_t before = z->members.count;
    for (size_t i = 2; i < r->n; i += 2) {
        (void)score_argument(r, i, &score);
        const entry *e = dict_find(&z->members, r->arg[i + 1]);
        if (e && ((node *)e->value)->score == score) continue;
        bool done = zset_put(z, r->arg[i + 1], score);
        changed(r, z->members.count);
        if (!done) return reply_memory(r->c);
    }
    return reply_number(r->c, z->members.count - before);
}

static answered do_zscore(const call *r) {
    entry *e;
    if (!key_of_kind(r, ZSET, &e)) return ANSWERED;
    e = e ? dict_find(e->value, r->arg[2]) : NULL;
    return e ? reply_score(r->c, ((node *)e->value)->score) : reply_nil(r->c);
}

// A member and its score: a pair of its own in protocol 3.
static void reply_scored(client *c, const node *n, bool pair) {
    if (pair && c->protocol == 3) reply_array(c, 2);
    reply_text(c, n->member);
    reply_score(c, n->score);
}

static answered do_zpopmin(const call *r) { // key [count]
    int64_t n;
    entry *e;
    if (!count_argument(r, &n) || !key_of_kind(r, ZSET, &e)) return ANSWERED;
    if (!e || n == 0) return reply_array(r->c, 0);
    zset *z = e->value;
    bool pairs = n >= 0;
    if (n < 0 || n > z->members.count) n = n < 0 ? 1 : z->members.count;
    reply_array(r->c, (size_t)n * (pairs && r->c->protocol == 3 ? 1 : 2));
    for (; n > 0; n--) {
        const node *first = z->head->next[0];
        reply_scored(r->c, first, pairs);
        zset_unlink(z, first);
        dict_remove(&z->members, slice_of(first->member));
    }
    return changed(r, z->members.count);
}

static answered do_zrange(const call *r) { // key start stop [WITHSCORES]
    range x;
    entry *e;
    bool scores = r->n == 5 && is_word(r->arg[4], "withscores");
    if (r->n > 4 && !scores) return reply_error(r->c, syntax);
    if (!range_argument(r, &x) || !key_of_kind(r, ZSET, &e)) return ANSWERED;
    const zset *z = e ? e->value : &(zset){0};
    range_cut(&x, z->members.count);
    reply_array(r->c, (size_t)x.n * (scores && r->c->protocol == 2 ? 2 : 1));
    const node *at = x.n ? z->head->next[0] : NULL;
    for (int64_t i = 0; i < x.from && x.n; i++) at = at->next[0];
    for (; x.n > 0; x.n--, at = at->next[0]) {
        if (scores) reply_scored(r->c, at, true);
        else reply_text(r->c, at->member);
    }
    return ANSWERED;
}

// ---- commands: connections ----

static answered do_ping(const call *r) {
    if (r->n > 2) return reply_arity(r);
    return r->n > 1 ? reply_bulk(r->c, r->arg[1]) : reply_line(r->c, "+PONG");
}

static answered do_echo(const call *r) { return reply_bulk(r->c, r->arg[1]); }

static answered do_quit(const call *r) {
    r->c->closing = true;
    return reply_ok(r->c);
}

static answered do_select(const call *r) {
    int64_t n;
    if (!number_argument(r, 1, &n)) return ANSWERED;
    if (n < 0 || n >= DATABASES) return reply_error(r->c, "DB index is out of range");
    r->c->database = (unsigned)n;
    return reply_ok(r->c);
}

static bool set_name(const call *r, slice name) {
    bool fine = name.size < sizeof r->c->name;
    for (size_t i = 0; i < name.size; i++) fine &= name.bytes[i] >= '!' && name.bytes[i] <= '~';
    if (!fine)
        return reply_error(r->c,
                           "Client names cannot contain spaces, newlines or special characters."),
               false;
    memcpy(r->c->name, name.bytes, name.size);
    r->c->name[name.size] = 0;
    return true;
}

static answered do_hello(const call *r) { // [2|3 [SETNAME name]]
    static const char *const facts[][2] = {
        {"server", "redis"}, {"version", LIKE_REDIS}, {"mode", "standalone"}, {"role", "master"}};
    client *c = r->c;
    int64_t version = c->protocol;
    if (r->n > 1 && !parse_number(r->arg[1], &version))
        return reply_error(c, "Protocol version is not an integer or out of range");
    if (version != 2 && version != 3) return reply_line(c, "-NOPROTO unsupported protocol version");
    for (size_t i = 2; i < r->n; i += 2) {
        if (i + 1 == r->n || !is_word(r->arg[i], "setname")) return reply_error(c, syntax);
        if (!set_name(r, r->arg[i + 1])) return ANSWERED;
    }
    c->protocol = (int)version;
    reply_map(c, 7);
    for (size_t i = 0; i < 4; i++) reply_string(c, facts[i][0]), reply_string(c, facts[i][1]);
    reply_string(c, "proto");
    reply_number(c, version);
    reply_string(c, "id");
    reply_number(c, (int64_t)c->id);
    reply_string(c, "modules");
    return reply_array(c, 0);
}

static answered do_client(const call *r) {
    client *c = r->c;
    slice what = r->arg[1];
    if (is_word(what, "id")) return reply_number(c, (int64_t)c->id);
    if (is_word(what, "getname")) return *c->name ? reply_string(c, c->name) : reply_nil(c);
    if (is_word(what, "setname") && r->n == 3)
        return set_name(r, r->arg[2]) ? reply_ok(c) : ANSWERED;
    if (is_word(what, "setinfo")) return reply_ok(c);
    return reply_error(c, "unknown subcommand or wrong number of arguments. Try CLIENT HELP.");
}

static answered do_config(const call *r) { // GET pattern: what redis-benchmark and others ask
    static const char *const settings[][2] = {
        {"appendonly", "no"}, {"databases", "16"}, {"maxmemory", "0"}, {"save", ""}};
    size_t found = 0;
    if (r->n != 3 || !is_word(r->arg[1], "get")) return reply_error(r->c, "CONFIG has GET only");
    for (size_t i = 0; i < 4; i++) found += glob(r->arg[2], slice_from(settings[i][0]));
    reply_map(r->c, found);
    for (size_t i = 0; i < 4; i++)
        if (glob(r->arg[2], slice_from(settings[i][0])))
            reply_string(r->c, settings[i][0]), reply_string(r->c, settings[i][1]);
    return ANSWERED;
}

static answered do_info(const call *r) {
    gomem_memstats m = {.size = sizeof m};
    gomem_read_memstats(&m);
    gomem_pool_stats s = gomem_pool_read_stats(GOMEM_POOL_OF(chunks));
    char *info = gomem_arena_printf(
        &scratch,
        "# Server\r\nredis_version:" LIKE_REDIS "\r\ngomem_version:%s\r\nloading:0\r\n"
        "# Clients\r\nconnected_clients:%u\r\nmaxclients:%u\r\n"
        "# Memory\r\nused_memory:%" PRIu64 "\r\nheap_sys:%" PRIu64 "\r\nnext_gc:%" PRIu64
        "\r\nnum_gc:%" PRIu64 "\r\npause_p99_ns:%" PRIu64 "\r\npause_max_ns:%" PRIu64
        "\r\nbuffers_idle:%" PRIu64 "\r\nbuffers_most:%" PRIu64 "\r\n"
        "# Stats\r\ntotal_commands_processed:%" PRIu64 "\r\nrejected_connections:%" PRIu64
        "\r\nexpired_keys:%" PRIu64 "\r\n# Replication\r\nrole:master\r\n# Keyspace\r\n",
        gomem_version(), server.clients, server.clients_most, m.heap_alloc, m.heap_sys, m.next_gc,
        m.num_gc, m.pause_p99_ns, m.pause_max_ns, s.idle, s.high_water, server.commands,
        server.refused, server.expired);
    for (unsigned i = 0; info && i < DATABASES; i++)
        if (databases[i].count)
            info = gomem_arena_printf(&scratch, "%sdb%u:keys=%" PRId64 "\r\n", info, i,
                                      databases[i].count);
    return info ? reply_string(r->c, info) : reply_memory(r->c);
}

static answered do_command(const call *r) { return reply_array(r->c, 0); }

// ---- commands: transactions ----

static void transaction_end(client *c) {
    c->multi = c->broken = false;
    c->queue = NULL;
    c->watches = NULL;
    gomem_arena_free(&c->transaction);
}

static answered do_multi(const call *r) {
    if (r->c->multi) return reply_error(r->c, "MULTI calls can not be nested");
    r->c->multi = true;
    r->c->queue_at = &r->c->queue;
    return reply_ok(r->c);
}

static answered do_discard(const call *r) {
    if (!r->c->multi) return reply_error(r->c, "DISCARD without MULTI");
    transaction_end(r->c);
    return reply_ok(r->c);
}

static answered do_watch(const call *r) {
    client *c = r->c;
    if (c->multi) return reply_error(c, "WATCH inside MULTI is not allowed");
    for (size_t i = 1; i < r->n; i++) {
        watch *w = GOMEM_ARENA_NEW(&c->transaction, watch);
        if (!w) return reply_memory(c);
        bool exists = key_find(r->arg[i]) != NULL;
        size_t slot = watch_slot(hash_of(r->arg[i]));
        *w = (watch){c->watches,  slot,  server.watched[slot], server.flushed[c->database],
                     c->database, exists};
        c->watches = w;
    }
    return reply_ok(c);
}

static answered do_unwatch(const call *r) {
    r->c->watches = NULL;
    return reply_ok(r->c);
}

// Puts a command into the queue, with a copy of its arguments.
static answered queue_command(const call *r, const command *command) {
    client *c = r->c;
    queued *q = NULL;
    size_t size = sizeof *q + r->n * sizeof *r->arg, total = size;
    for (size_t i = 0; i < r->n; i++) total += r->arg[i].size;
    if (gomem_arena_read_stats(&c->transaction).used + total <= server.request_most)
        q = gomem_arena_alloc(&c->transaction, total);
    c->broken |= !q;
    if (!q) return reply_memory(c);
    char *bytes = (char *)q + size;
    q->command = command;
    q->n = r->n;
    for (size_t i = 0; i < r->n; bytes += r->arg[i++].size)
        q->arg[i] = (slice){memcpy(bytes, r->arg[i].bytes, r->arg[i].size), r->arg[i].size};
    *c->queue_at = q;
    c->queue_at = &q->next;
    return reply_line(c, "+QUEUED");
}

static void run_queue(client *c) {
    size_t n = 0;
    for (queued *q = c->queue; q; q = q->next) n++;
    reply_array(c, n);
    for (queued *q = c->queue; q; q = q->next) {
        const call one = {c, q->arg, q->n, q->command->which, q->command->name};
        keys = &databases[c->database]; // one may be SELECT
        q->command->run(&one);
    }
}

static answered do_exec(const call *r) {
    client *c = r->c;
    bool late = false;
    if (!c->multi) return reply_error(c, "EXEC without MULTI");
    for (const watch *w = c->watches; w; w = w->next)
        late |= server.watched[w->slot] != w->version ||
                (w->exists && server.flushed[w->database] != w->flushed);
    c->multi = false;
    if (c->broken) reply_line(c, "-EXECABORT Transaction discarded because of previous errors.");
    else if (late) reply_nil_array(c);
    else run_queue(c);
    transaction_end(c);
    return ANSWERED;
}

static answered exec_refused(const call *r) {
    transaction_end(r->c);
    return replyf(r->c,
                  "-EXECABORT Transaction discarded because of: wrong number of arguments for "
                  "'exec' command\r\n");
}
