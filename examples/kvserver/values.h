// What kvserver stores: texts, lists, dicts and sorted sets, all on the collected heap.
//
// Nothing is freed: what is unlinked here, and is referred to from nowhere else, is found by the
// collector. A reply may still refer to a text when its key has gone. Every store of a collected
// pointer goes through GOMEM_STORE, first ones included. A function that allocates says so by NULL or
// false when there is no memory, and has changed nothing then.

typedef struct slice { // bytes of somebody else
    const char *bytes;
    size_t size;
} slice;

// ---- texts ----

typedef struct text { // never changes; holds no pointers, so the collector does not read it
    size_t size;
    char bytes[];
} text;

static text *text_new(slice s) {
    text *t = GOMEM_NEW_FLEX_NOSCAN(text, bytes, s.size);
    if (!t) return NULL;
    t->size = s.size;
    memcpy(t->bytes, s.bytes, s.size);
    return t;
}

static slice slice_of(const text *t) { return (slice){t->bytes, t->size}; }
static slice slice_from(const char *s) { return (slice){s, strlen(s)}; }

static bool is_word(slice s, const char *word) {
    return s.size == strlen(word) && !strncasecmp(s.bytes, word, s.size);
}

// An integer in the shortest way to write it, and nothing else: no blank, plus or leading zero.
static bool parse_number(slice s, int64_t *n) {
    bool minus = s.size && s.bytes[0] == '-';
    uint64_t value = 0, most = (uint64_t)INT64_MAX + minus;
    if (s.size == minus || (s.size > 1 && s.bytes[minus] == '0')) return false;
    for (size_t i = minus; i < s.size; i++) {
        unsigned digit = (unsigned char)s.bytes[i] - (unsigned)'0';
        if (digit > 9 || value > (most - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *n = minus ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

// ---- lists ----

typedef struct item {
    struct item *next, *previous;
    text *value;
} item;

typedef struct list {
    item *first, *last;
    int64_t count;
} list;

static bool list_push(list *l, slice value, bool at_end) {
    item *it = GOMEM_NEW(item);
    text *t = it ? text_new(value) : NULL;
    if (!t) return false;
    item *beside = at_end ? l->last : l->first;
    GOMEM_STORE(&it->value, t);
    GOMEM_STORE(at_end ? &it->previous : &it->next, beside);
    if (beside) GOMEM_STORE(at_end ? &beside->next : &beside->previous, it);
    if (at_end || !beside) GOMEM_STORE(&l->last, it);
    if (!at_end || !beside) GOMEM_STORE(&l->first, it);
    l->count++;
    return true;
}

static text *list_pop(list *l, bool at_end) {
    item *it = at_end ? l->last : l->first, *beside = at_end ? it->previous : it->next;
    if (beside) GOMEM_STORE(at_end ? &beside->next : &beside->previous, NULL);
    if (at_end || !beside) GOMEM_STORE(&l->last, beside);
    if (!at_end || !beside) GOMEM_STORE(&l->first, beside);
    l->count--;
    return it->value;
}

// The item at a position that the list has, from the nearer end.
static const item *list_at(const list *l, int64_t position) {
    const item *it;
    if (position < l->count / 2)
        for (it = l->first; position > 0; position--) it = it->next;
    else
        for (it = l->last, position = l->count - 1 - position; position > 0; position--)
            it = it->previous;
    return it;
}

// ---- dicts ----

typedef enum kind { TEXT, LIST, HASH, SET, ZSET } kind;

typedef struct entry { // of a dict
    struct entry *next;
    text *key;
    void *value; // of a key: by kind a text, list, dict or zset; in a hash a text, in a zset a node
    uint64_t hash;
    int64_t expires; // ms since 1970, 0: never
    kind kind;
} entry;

// The bucket of an entry is the highest bits of its hash. So a larger table only splits buckets,
// their order stays, and the cursor of SCAN is how far it is in the order of hashes.
typedef struct table {
    entry **bucket; // 1 << bits of them
    unsigned bits;  // 0: there is no table
} table;

typedef struct dict {
    table now, old; // old: what has not been moved yet
    size_t moved;   // buckets of old that are empty
    int64_t count;
} dict;

enum { BITS_LEAST = 2, MOVED = 4 }; // of a table; buckets that a change of a dict moves

static uint64_t hash_seed[2]; // random, so that nobody can compute keys that share a bucket

static inline void sip_round(uint64_t v[4]) {
    v[0] += v[1], v[2] += v[3];
    v[1] = (v[1] << 13 | v[1] >> 51) ^ v[0], v[3] = (v[3] << 16 | v[3] >> 48) ^ v[2];
    v[0] = v[0] << 32 | v[0] >> 32;
    v[2] += v[1], v[0] += v[3];
    v[1] = (v[1] << 17 | v[1] >> 47) ^ v[2], v[3] = (v[3] << 21 | v[3] >> 43) ^ v[0];
    v[2] = v[2] << 32 | v[2] >> 32;
}

// SipHash-1-3, by Aumasson and Bernstein.
static uint64_t hash_of(slice key) {
    uint64_t a = hash_seed[0], b = hash_seed[1], word, last = (uint64_t)key.size << 56;
    uint64_t v[4] = {a ^ 0x736f6d6570736575u, b ^ 0x646f72616e646f6du, a ^ 0x6c7967656e657261u,
                     b ^ 0x7465646279746573u};
    for (; key.size >= 8; key.bytes += 8, key.size -= 8) {
        memcpy(&word, key.bytes, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < key.size; i++) last |= (uint64_t)(unsigned char)key.bytes[i] << 8 * i;
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++) sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static uint64_t random_number(void) { // xorshift: to choose, not to hide
    static uint64_t state = 1;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static size_t table_size(const table *t) { return t->bits ? (size_t)1 << t->bits : 0; }

static entry **table_bucket(const table *t, uint64_t hash) {
    return &t->bucket[hash >> (64 - t->bits)];
}

static bool table_make(table *t, unsigned bits) {
    entry **bucket = GOMEM_MAKE(entry *, (size_t)1 << bits);
    if (!bucket) return false;
    GOMEM_STORE(&t->bucket, bucket);
    t->bits = bits;
    return true;
}

// Moves n buckets of the old table.
static void dict_move(dict *d, size_t n) {
    for (; n > 0 && d->old.bits; n--) {
        entry *e = d->old.bucket[d->moved];
        GOMEM_STORE(&d->old.bucket[d->moved], NULL);
        while (e) {
            entry *next = e->next, **to = table_bucket(&d->now, e->hash);
            GOMEM_STORE(&e->next, *to);
            GOMEM_STORE(to, e);
            e = next;
        }
        if (++d->moved < table_size(&d->old)) continue;
        GOMEM_STORE(&d->old.bucket, NULL);
        d->old.bits = 0;
        d->moved = 0;
    }
}

// A step of moving; begins a larger or smaller table when this one is full or nearly empty. So no
// request pays for all of it. Without memory for one it goes on with long chains.
static void dict_step(dict *d) {
    unsigned bits = d->now.bits;
    table other = {0};
    dict_move(d, MOVED);
    if (d->old.bits) return;
    if (d->count > (int64_t)1 << bits) bits++;
    else if (d->count < (int64_t)1 << bits >> 3 && bits > BITS_LEAST) bits--;
    if (bits == d->now.bits || !table_make(&other, bits)) return;
    GOMEM_STORE(&d->old.bucket, d->now.bucket);
    GOMEM_STORE(&d->now.bucket, other.bucket);
    d->old.bits = d->now.bits;
    d->now.bits = bits;
}

// Where the entry of a key hangs; NULL: there is none.
static entry **dict_at(dict *d, slice key, uint64_t hash) {
    const table *tables[2] = {&d->now, &d->old};
    for (int i = 0; i < 2; i++) {
        entry **at = tables[i]->bits ? table_bucket(tables[i], hash) : NULL;
        for (; at && *at; at = &(*at)->next)
            if ((*at)->hash == hash && (*at)->key->size == key.size &&
                !memcmp((*at)->key->bytes, key.bytes, key.size))
                return at;
    }
    return NULL;
}

static entry *dict_find(dict *d, slice key) {
    entry **at = dict_at(d, key, hash_of(key));
    return at ? *at : NULL;
}

// The entry of a key, which is made if there is none.
static entry *dict_put(dict *d, slice key) {
    uint64_t hash = hash_of(key);
    entry **at = dict_at(d, key, hash);
    if (at) return *at;
    if (!d->now.bits && !table_make(&d->now, BITS_LEAST)) return NULL;
    entry *e = GOMEM_NEW(entry);
    text *name = e ? text_new(key) : NULL;
    if (!name) return NULL;
    GOMEM_STORE(&e->key, name);
    e->hash = hash;
    d->count++;
    dict_step(d);
    entry **to = table_bucket(&d->now, hash);
    GOMEM_STORE(&e->next, *to);
    GOMEM_STORE(to, e);
    return e;
}

static bool dict_remove(dict *d, slice key) {
    entry **at = dict_at(d, key, hash_of(key));
    if (!at) return false;
    GOMEM_STORE(at, (*at)->next);
    d->count--;
    dict_step(d);
    return true;
}

// The entry after e, in no order; e NULL and *bucket 0: the first. The dict must not change meanwhile.
static entry *dict_next(const dict *d, size_t *bucket, entry *e) {
    size_t olds = table_size(&d->old), all = olds + table_size(&d->now);
    e = e ? e->next : NULL;
    for (; !e && *bucket < all; ++*bucket)
        e = *bucket < olds ? d->old.bucket[*bucket] : d->now.bucket[*bucket - olds];
    return e;
}

// Any entry of a dict that is not empty.
static entry *dict_random(const dict *d) {
    size_t first = 0, bucket = random_number() % (table_size(&d->old) + table_size(&d->now));
    entry *e = dict_next(d, &bucket, NULL);
    if (!e) e = dict_next(d, &first, NULL);
    for (uint64_t skip = random_number() % 4; skip && e->next; skip--) e = e->next;
    return e;
}

// Calls fn for the entries whose hashes are `at` and above, until `most` entries and buckets were
// seen. Returns where to go on; 0: nowhere.
static uint64_t dict_scan(const dict *d, uint64_t at, int64_t most, void (*fn)(entry *e, void *arg),
                          void *arg) {
    const table *tables[2] = {&d->now, &d->old};
    unsigned bits = d->old.bits && d->old.bits < d->now.bits ? d->old.bits : d->now.bits;
    if (!bits) return 0;
    at = at >> (64 - bits) << (64 - bits); // a bucket of the table that has fewer of them
    do {
        for (int i = 0; i < 2; i++) {
            size_t n = tables[i]->bits ? (size_t)1 << (tables[i]->bits - bits) : 0;
            for (size_t k = 0; k < n; k++, most--)
                for (entry *e = table_bucket(tables[i], at)[k]; e; e = e->next, most--) fn(e, arg);
        }
        at += (uint64_t)1 << (64 - bits);
    } while (at && most > 0);
    return at;
}

// ---- sorted sets: a dict of members, and a skip list in the order of (score, member) ----

enum { LEVELS = 24 };

typedef struct node { // of the skip list
    text *member;
    double score;
    struct node *next[]; // on each of its levels
} node;

typedef struct zset {
    dict members; // first, so that a zset can be counted as a dict
    node *head;   // has all levels and no member
} zset;

static bool node_before(const node *n, double score, slice member) {
    if (n->score != score) return n->score < score;
    size_t size = n->member->size < member.size ? n->member->size : member.size;
    int order = memcmp(n->member->bytes, member.bytes, size);
    return order ? order < 0 : n->member->size < member.size;
}

// The last node before a place, on each level.
static void zset_seek(const zset *z, double score, slice member, node *before[LEVELS]) {
    node *n = z->head;
    for (int level = LEVELS - 1; level >= 0; level--) {
        while (n->next[level] && node_before(n->next[level], score, member)) n = n->next[level];
        before[level] = n;
    }
}

static void zset_unlink(const zset *z, const node *n) {
    node *before[LEVELS];
    zset_seek(z, n->score, slice_of(n->member), before);
    for (int level = 0; level < LEVELS && before[level]->next[level] == n; level++)
        GOMEM_STORE(&before[level]->next[level], n->next[level]);
}

// Adds a member, or moves it.
static bool zset_put(zset *z, slice member, double score) {
    node *before[LEVELS];
    size_t levels = 1;
    while (levels < LEVELS && random_number() % 4 == 0) levels++;
    node *n = GOMEM_NEW_FLEX(node, next, levels);
    if (!z->head) GOMEM_STORE(&z->head, GOMEM_NEW_FLEX(node, next, (size_t)LEVELS));
    entry *e = n && z->head ? dict_put(&z->members, member) : NULL;
    if (!e) return false;
    if (e->value) zset_unlink(z, e->value);
    GOMEM_STORE(&e->value, n);
    GOMEM_STORE(&n->member, e->key);
    n->score = score;
    zset_seek(z, score, member, before);
    for (size_t level = 0; level < levels; level++) {
        GOMEM_STORE(&n->next[level], before[level]->next[level]);
        GOMEM_STORE(&before[level]->next[level], n);
    }
    return true;
}

// ---- patterns ----

// Whether *p, a step of a pattern such as [a-z], ? or x, takes the character; *p moves behind it.
static bool glob_step(const char **p, const char *end, char c) {
    const char *s = (*p)++;
    bool inverse, found = false;
    if (*s == '\\' && *p < end) s = (*p)++;
    else if (*s == '?') return true;
    else if (*s == '[') {
        inverse = *p < end && **p == '^';
        for (*p += inverse; *p < end && **p != ']'; ++*p) {
            if (**p == '\\' && *p + 1 < end) ++*p;
            unsigned char low = (unsigned char)**p, high = low, x = (unsigned char)c;
            if (end - *p > 2 && (*p)[1] == '-') high = (unsigned char)*(*p += 2);
            found |= low < high ? low <= x && x <= high : high <= x && x <= low;
        }
        *p += *p < end;
        return found != inverse;
    }
    return *s == c;
}

// Whether a pattern of KEYS fits. Only its last star is tried again: no pattern takes for ever.
static bool glob(slice pattern, slice s) {
    const char *p = pattern.bytes, *end = p + pattern.size, *star = NULL, *back = NULL;
    for (const char *at = s.bytes; at < s.bytes + s.size;) {
        const char *next = p;
        if (p < end && *p == '*') {
            star = ++p;
            back = at;
        } else if (p < end && glob_step(&next, end, *at)) {
            p = next;
            at++;
        } else if (star) {
            p = star;
            at = ++back;
        } else {
            return false;
        }
    }
    while (p < end && *p == '*') p++;
    return p == end;
}
