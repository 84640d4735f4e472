// kvserver: a key-value server on TCP that speaks enough of the Redis protocol for redis-cli and
// redis-benchmark, on the collected heap.
//
//     kvserver [-p PORT] [-b ADDRESS] [-c CLIENTS] [-m MEGABYTES] [-g COLLECTOR]
//
// One thread, one epoll loop. Keys and values live in the collected heap and are never freed: what is
// overwritten, deleted or expired is found by the collector, beside the server. Buffers of
// connections come from a pool and go back when a connection has nothing to say, so ten thousand idle
// clients hold none. What a request needs while it is answered lies in an arena. The table grows a few
// buckets at a time, so no request pays for all of it.
//
// Every store of a collected pointer goes through GOMEM_STORE, so the collector may be the one with a
// write barrier. It fits a program that writes all over its heap: each SET stores into an entry that
// lies anywhere, and the kernel's tracking would have to find and read those pages again while the
// clients wait (a million keys, 16 requests at a time: p99.9 7.4 and 3.0 ms).
//
// GET SET DEL EXISTS INCR EXPIRE TTL MGET MSET LPUSH LRANGE LLEN PING ECHO DBSIZE FLUSHALL INFO QUIT.

#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    CHUNK = 16 * 1024,        // bytes of a buffer of the pool
    ARGUMENTS_MOST = 1 << 20, // of a request
    PENDING_STOP = 1 << 20,   // bytes to be sent with which no more requests are read
    PENDING_MOST = 64 << 20,  // with which a slow client is cut off
    VECTORS = 16,             // chunks of one write
    EVENTS = 256,
    TABLE_LEAST = 1024,
    MOVED = 4,       // buckets that an operation moves to the larger table
    EXPIRE_MS = 10,  // between two looks for keys that have expired
    LOOKED_AT = 256, // buckets of such a look
};

// ---- values: collected ----

typedef struct text { // holds no pointers
    size_t size;
    char bytes[];
} text;

typedef struct item {
    struct item *next;
    text *value;
} item;

typedef struct list {
    item *first;
    uint64_t count;
} list;

typedef enum kind { TEXT, LIST } kind;

typedef struct entry {
    struct entry *next;
    text *key;
    void *value; // text or list
    uint64_t hash;
    int64_t expires; // ms, 0: never
    kind kind;
} entry;

typedef struct table {
    entry **bucket; // collected
    size_t size;    // a power of two, 0: none
} table;

static struct {
    table now, old; // old: what is not moved yet
    size_t moved;   // buckets of old that are empty
    uint64_t count;
} keys;

// ---- connections ----

typedef struct chunk {
    struct chunk *next;
    size_t from, to; // what is to be sent
    char bytes[CHUNK];
} chunk;
GOMEM_POOL(chunks, chunk);

typedef struct client {
    struct client *next_dead;
    int fd;
    char *in; // of the pool, or, when a request is larger, of malloc
    chunk *in_chunk;
    size_t in_used, in_room;
    chunk *out, *out_last;
    size_t pending; // bytes to be sent
    bool closing;   // when all is sent
    bool dead, wants_write, stopped;
} client;
GOMEM_POOL(clients, client);

typedef struct slice {
    const char *bytes;
    size_t size;
} slice;

static struct {
    int epoll, listener, spare; // spare: to refuse with when descriptors have run out
    unsigned clients, clients_most;
    size_t request_most;
    uint64_t commands, refused, expired;
    int64_t now; // ms
    client *dead;
} server = {.clients_most = 10000, .request_most = 64 << 20};

static gomem_arena request; // of the one that is answered

static _Noreturn void die(const char *what) {
    fprintf(stderr, "kvserver: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- replies ----

static void client_drop(client *c) {
    if (c->dead) return;
    c->dead = true;
    c->next_dead = server.dead;
    server.dead = c;
}

static void reply(client *c, const char *bytes, size_t size) {
    if (c->dead) return;
    c->pending += size;
    while (size) {
        chunk *last = c->out_last;
        if (!last || last->to == CHUNK) {
            last = chunks_get();
            if (!last) {
                client_drop(c);
                return;
            }
            last->next = NULL;
            last->from = last->to = 0;
            if (c->out_last) c->out_last->next = last;
            else c->out = last;
            c->out_last = last;
        }
        size_t n = size < CHUNK - last->to ? size : CHUNK - last->to;
        memcpy(last->bytes + last->to, bytes, n);
        last->to += n;
        bytes += n;
        size -= n;
    }
}

__attribute__((format(printf, 2, 3))) static void replyf(client *c, const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) reply(c, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static void reply_ok(client *c) { reply(c, "+OK\r\n", 5); }
static void reply_nil(client *c) { reply(c, "$-1\r\n", 5); }
static void reply_number(client *c, int64_t n) { replyf(c, ":%" PRId64 "\r\n", n); }
static void reply_head(client *c, char what, size_t n) {
    char line[32], *p = line + sizeof line;
    *--p = '\n';
    *--p = '\r';
    do *--p = (char)('0' + n % 10);
    while (n /= 10);
    *--p = what;
    reply(c, p, (size_t)(line + sizeof line - p));
}
static void reply_bulk(client *c, const char *bytes, size_t size) {
    reply_head(c, '$', size);
    reply(c, bytes, size);
    reply(c, "\r\n", 2);
}
static void reply_memory(client *c) { replyf(c, "-OOM out of memory\r\n"); }
static void reply_wrong_kind(client *c) {
    replyf(c, "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
}

// ---- the table ----

static uint64_t hash_of(slice key) {
    uint64_t h = 0x9e3779b97f4a7c15u ^ key.size, word;
    while (key.size >= 8) {
        memcpy(&word, key.bytes, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
        key.bytes += 8;
        key.size -= 8;
    }
    word = 0;
    memcpy(&word, key.bytes, key.size);
    h = (h ^ word) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 29;
}

static text *text_new(slice s) {
    text *t = GOMEM_NEW_FLEX_NOSCAN(text, bytes, s.size);
    if (!t) return NULL;
    t->size = s.size;
    memcpy(t->bytes, s.bytes, s.size);
    return t;
}

static bool table_make(table *t, size_t size) {
    GOMEM_STORE(&t->bucket, GOMEM_MAKE(entry *, size));
    t->size = t->bucket ? size : 0;
    return t->bucket != NULL;
}

// Moves some buckets of the old table; begins a larger one when this one is full.
static void table_grow(void) {
    for (unsigned i = 0; i < MOVED && keys.old.size; i++) {
        entry *e = keys.old.bucket[keys.moved];
        GOMEM_STORE(&keys.old.bucket[keys.moved], NULL);
        while (e) {
            entry *next = e->next, **to = &keys.now.bucket[e->hash & (keys.now.size - 1)];
            GOMEM_STORE(&e->next, *to);
            GOMEM_STORE(to, e);
            e = next;
        }
        if (++keys.moved < keys.old.size) continue;
        GOMEM_STORE(&keys.old.bucket, NULL);
        keys.old.size = keys.moved = 0;
    }
    if (keys.old.size || keys.count < keys.now.size) return;
    table larger = {0};
    if (!table_make(&larger, keys.now.size * 2)) return; // it goes on with long chains
    GOMEM_STORE(&keys.old.bucket, keys.now.bucket);
    keys.old.size = keys.now.size;
    GOMEM_STORE(&keys.now.bucket, larger.bucket);
    keys.now.size = larger.size;
}

// Where the entry of a key hangs; NULL: there is none.
static entry **table_find(slice key, uint64_t hash) {
    table *tables[2] = {&keys.now, &keys.old};
    for (int i = 0; i < 2 && tables[i]->size; i++)
        for (entry **at = &tables[i]->bucket[hash & (tables[i]->size - 1)]; *at; at = &(*at)->next)
            if ((*at)->hash == hash && (*at)->key->size == key.size &&
                !memcmp((*at)->key->bytes, key.bytes, key.size))
                return at;
    return NULL;
}

static void table_remove(entry **at) {
    GOMEM_STORE(at, (*at)->next);
    keys.count--;
}

// The entry of a key that has not expired; NULL: there is none.
static entry *key_find(slice key) {
    entry **at = table_find(key, hash_of(key));
    if (!at) return NULL;
    if (!(*at)->expires || (*at)->expires > server.now) return *at;
    table_remove(at);
    server.expired++;
    return NULL;
}

// Sets a key. False: no memory, and nothing has changed.
static bool key_set(slice key, void *value, kind k) {
    uint64_t hash = hash_of(key);
    entry **at = table_find(key, hash);
    if (!value) return false;
    if (at) {
        GOMEM_STORE(&(*at)->value, value);
        (*at)->kind = k;
        (*at)->expires = 0;
        return true;
    }
    entry *e = GOMEM_NEW(entry);
    text *name = e ? text_new(key) : NULL;
    if (!name) return false;
    GOMEM_STORE(&e->key, name);
    GOMEM_STORE(&e->value, value);
    e->hash = hash;
    e->kind = k;
    table_grow();
    entry **to = &keys.now.bucket[hash & (keys.now.size - 1)];
    GOMEM_STORE(&e->next, *to);
    GOMEM_STORE(to, e);
    keys.count++;
    return true;
}

// ---- commands ----

static bool parse_number(slice s, int64_t *n) {
    char digits[24], *end;
    if (!s.size || s.size >= sizeof digits || s.bytes[0] == ' ' || s.bytes[0] == '+') return false;
    memcpy(digits, s.bytes, s.size);
    digits[s.size] = 0;
    errno = 0;
    *n = strtoll(digits, &end, 10);
    return *end == 0 && errno == 0;
}

static void reply_value(client *c, const entry *e) {
    const text *t = e && e->kind == TEXT ? e->value : NULL;
    if (t) reply_bulk(c, t->bytes, t->size);
    else reply_nil(c);
}

static void do_get(client *c, const slice *arg, size_t n) {
    const entry *e = key_find(arg[1]);
    (void)n;
    if (e && e->kind != TEXT) reply_wrong_kind(c);
    else reply_value(c, e);
}

static void do_mget(client *c, const slice *arg, size_t n) {
    reply_head(c, '*', n - 1);
    for (size_t i = 1; i < n; i++) reply_value(c, key_find(arg[i]));
}

static void do_set(client *c, const slice *arg, size_t n) {
    int64_t seconds = 0;
    bool timed = n == 5 && arg[3].size == 2 && !strncasecmp(arg[3].bytes, "ex", 2) &&
                 parse_number(arg[4], &seconds) && seconds > 0 && seconds < INT32_MAX;
    if (n != 3 && !timed) replyf(c, "-ERR syntax error\r\n");
    else if (!key_set(arg[1], text_new(arg[2]), TEXT)) reply_memory(c);
    else reply_ok(c);
    if (timed && key_find(arg[1])) key_find(arg[1])->expires = server.now + seconds * 1000;
}

static void do_mset(client *c, const slice *arg, size_t n) {
    bool done = n % 2 == 1;
    if (!done) {
        replyf(c, "-ERR wrong number of arguments for 'mset' command\r\n");
        return;
    }
    for (size_t i = 1; i < n && done; i += 2) done = key_set(arg[i], text_new(arg[i + 1]), TEXT);
    if (done) reply_ok(c);
    else reply_memory(c);
}

static void do_del(client *c, const slice *arg, size_t n) {
    int64_t count = 0;
    for (size_t i = 1; i < n; i++)
        if (key_find(arg[i])) {
            table_remove(table_find(arg[i], hash_of(arg[i])));
            count++;
        }
    reply_number(c, count);
}

static void do_exists(client *c, const slice *arg, size_t n) {
    int64_t count = 0;
    for (size_t i = 1; i < n; i++) count += key_find(arg[i]) != NULL;
    reply_number(c, count);
}

static void do_incr(client *c, const slice *arg, size_t n) {
    entry *e = key_find(arg[1]);
    int64_t value = 0;
    (void)n;
    if (e && e->kind != TEXT) {
        reply_wrong_kind(c);
        return;
    }
    const text *t = e ? e->value : NULL;
    if ((t && !parse_number((slice){t->bytes, t->size}, &value)) || value == INT64_MAX) {
        replyf(c, "-ERR value is not an integer or out of range\r\n");
        return;
    }
    char *digits = gomem_arena_printf(&request, "%" PRId64, value + 1);
    int64_t expires = e ? e->expires : 0;
    if (!digits || !key_set(arg[1], text_new((slice){digits, strlen(digits)}), TEXT)) {
        reply_memory(c);
        return;
    }
    if (expires) key_find(arg[1])->expires = expires;
    reply_number(c, value + 1);
}

static void do_expire(client *c, const slice *arg, size_t n) {
    int64_t seconds;
    (void)n;
    if (!parse_number(arg[2], &seconds) || seconds > INT32_MAX || seconds < INT32_MIN) {
        replyf(c, "-ERR value is not an integer or out of range\r\n");
        return;
    }
    entry *e = key_find(arg[1]);
    if (e && seconds <= 0) table_remove(table_find(arg[1], e->hash));
    else if (e) e->expires = server.now + seconds * 1000;
    reply_number(c, e != NULL);
}

static void do_ttl(client *c, const slice *arg, size_t n) {
    const entry *e = key_find(arg[1]);
    (void)n;
    reply_number(c, !e ? -2 : !e->expires ? -1 : (e->expires - server.now + 999) / 1000);
}

static void do_lpush(client *c, const slice *arg, size_t n) {
    entry *e = key_find(arg[1]);
    if (e && e->kind != LIST) {
        reply_wrong_kind(c);
        return;
    }
    list *l = e ? e->value : GOMEM_NEW(list);
    if (!e && !key_set(arg[1], l, LIST)) {
        reply_memory(c);
        return;
    }
    for (size_t i = 2; i < n; i++) {
        item *it = GOMEM_NEW(item);
        text *value = it ? text_new(arg[i]) : NULL;
        if (!value) {
            reply_memory(c);
            return;
        }
        GOMEM_STORE(&it->value, value);
        GOMEM_STORE(&it->next, l->first);
        GOMEM_STORE(&l->first, it);
        l->count++;
    }
    reply_number(c, (int64_t)l->count);
}

static void do_llen(client *c, const slice *arg, size_t n) {
    const entry *e = key_find(arg[1]);
    (void)n;
    if (e && e->kind != LIST) reply_wrong_kind(c);
    else reply_number(c, e ? (int64_t)((const list *)e->value)->count : 0);
}

static void do_lrange(client *c, const slice *arg, size_t n) {
    int64_t from, to;
    (void)n;
    if (!parse_number(arg[2], &from) || !parse_number(arg[3], &to)) {
        replyf(c, "-ERR value is not an integer or out of range\r\n");
        return;
    }
    const entry *e = key_find(arg[1]);
    if (e && e->kind != LIST) {
        reply_wrong_kind(c);
        return;
    }
    const list *l = e ? e->value : NULL;
    int64_t count = l ? (int64_t)l->count : 0;
    if (from < 0) from = from + count < 0 ? 0 : from + count;
    if (to < 0) to += count;
    if (to >= count) to = count - 1;
    if (from > to) {
        reply_head(c, '*', 0);
        return;
    }
    reply_head(c, '*', (size_t)(to - from + 1));
    const item *it = l->first;
    for (int64_t i = 0; it && i <= to; i++, it = it->next)
        if (i >= from) reply_bulk(c, it->value->bytes, it->value->size);
}

static void do_ping(client *c, const slice *arg, size_t n) {
    if (n > 1) reply_bulk(c, arg[1].bytes, arg[1].size);
    else reply(c, "+PONG\r\n", 7);
}

static void do_echo(client *c, const slice *arg, size_t n) {
    (void)n;
    reply_bulk(c, arg[1].bytes, arg[1].size);
}

static void do_dbsize(client *c, const slice *arg, size_t n) {
    (void)arg, (void)n;
    reply_number(c, (int64_t)keys.count);
}

static void do_flushall(client *c, const slice *arg, size_t n) {
    table empty = {0};
    (void)arg, (void)n;
    if (!table_make(&empty, TABLE_LEAST)) {
        reply_memory(c);
        return;
    }
    GOMEM_STORE(&keys.now.bucket, empty.bucket);
    GOMEM_STORE(&keys.old.bucket, NULL);
    keys.now.size = empty.size;
    keys.old.size = keys.moved = 0;
    keys.count = 0;
    reply_ok(c);
}

static void do_quit(client *c, const slice *arg, size_t n) {
    (void)arg, (void)n;
    reply_ok(c);
    c->closing = true;
}

static void do_info(client *c, const slice *arg, size_t n) {
    gomem_memstats m = {.size = sizeof m};
    (void)arg, (void)n;
    gomem_read_memstats(&m);
    gomem_pool_stats s = gomem_pool_read_stats(GOMEM_POOL_OF(chunks));
    char *info = gomem_arena_printf(
        &request,
        "# Server\r\ngomem_version:%s\r\n# Clients\r\nconnected_clients:%u\r\nmaxclients:%u\r\n"
        "# Memory\r\nused_memory:%" PRIu64 "\r\nheap_sys:%" PRIu64 "\r\nnext_gc:%" PRIu64
        "\r\nnum_gc:%" PRIu64 "\r\npause_p99_ns:%" PRIu64 "\r\npause_max_ns:%" PRIu64
        "\r\nbuffers_idle:%" PRIu64 "\r\nbuffers_most:%" PRIu64 "\r\n"
        "# Stats\r\ntotal_commands_processed:%" PRIu64 "\r\nrejected_connections:%" PRIu64
        "\r\nexpired_keys:%" PRIu64 "\r\n# Keyspace\r\ndb0:keys=%" PRIu64 "\r\n",
        gomem_version(), server.clients, server.clients_most, m.heap_alloc, m.heap_sys, m.next_gc,
        m.num_gc, m.pause_p99_ns, m.pause_max_ns, s.idle, s.high_water, server.commands,
        server.refused, server.expired, keys.count);
    if (info) reply_bulk(c, info, strlen(info));
    else reply_memory(c);
}

static void do_config(client *c, const slice *arg, size_t n) { // redis-benchmark asks
    (void)arg, (void)n;
    reply_head(c, '*', 0);
}

static const struct {
    const char *name;
    void (*run)(client *c, const slice *arg, size_t n);
    int least, most; // arguments, the name among them; most 0: any
} commands[] = {
    {"get", do_get, 2, 2},           {"set", do_set, 3, 5},        {"del", do_del, 2, 0},
    {"exists", do_exists, 2, 0},     {"incr", do_incr, 2, 2},      {"expire", do_expire, 3, 3},
    {"ttl", do_ttl, 2, 2},           {"mget", do_mget, 2, 0},      {"mset", do_mset, 3, 0},
    {"lpush", do_lpush, 3, 0},       {"lrange", do_lrange, 4, 4},  {"llen", do_llen, 2, 2},
    {"ping", do_ping, 1, 2},         {"echo", do_echo, 2, 2},      {"dbsize", do_dbsize, 1, 1},
    {"flushall", do_flushall, 1, 2}, {"info", do_info, 1, 0},      {"quit", do_quit, 1, 1},
    {"config", do_config, 2, 0},     {"command", do_config, 1, 0},
};

static void run_command(client *c, const slice *arg, size_t n) {
    server.commands++;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        const char *name = commands[i].name;
        if (strlen(name) != arg[0].size || strncasecmp(name, arg[0].bytes, arg[0].size) != 0)
            continue;
        if ((int64_t)n < commands[i].least || (commands[i].most && (int64_t)n > commands[i].most))
            replyf(c, "-ERR wrong number of arguments for '%s' command\r\n", name);
        else commands[i].run(c, arg, n);
        return;
    }
    int shown = arg[0].size < 64 ? (int)arg[0].size : 64;
    char safe[65];
    for (int i = 0; i < shown; i++)
        safe[i] = arg[0].bytes[i] >= ' ' && arg[0].bytes[i] < 127 ? arg[0].bytes[i] : '?';
    replyf(c, "-ERR unknown command '%.*s'\r\n", shown, safe);
}

// ---- requests ----

// The number of a line "$12\r\n" at *at. 1: read, 0: more is needed, -1: it is none.
static int read_head(const char **at, const char *end, int64_t most, int64_t *n) {
    const char *line = memchr(*at, '\n', (size_t)(end - *at));
    if (!line) return end - *at > 32 ? -1 : 0;
    if (line - *at < 3 || line[-1] != '\r') return -1;
    if (!parse_number((slice){*at + 1, (size_t)(line - 1 - (*at + 1))}, n) || *n < 0 || *n > most)
        return -1;
    *at = line + 1;
    return 1;
}

static bool refuse(client *c, const char *what) {
    replyf(c, "-ERR Protocol error: %s\r\n", what);
    c->closing = true;
    return false;
}

// A request in words, as a human types it: up to the end of the line.
static bool read_words(client *c, const char **at, const char *end) {
    const char *line = memchr(*at, '\n', (size_t)(end - *at)), *p = *at;
    if (!line && end - *at > CHUNK) return refuse(c, "too big inline request");
    if (!line) return false;
    slice *arg = GOMEM_ARENA_MAKE(&request, slice, (line - *at) / 2 + 1);
    size_t n = 0;
    if (!arg) return refuse(c, "out of memory");
    while (p < line) {
        while (p < line && (*p == ' ' || *p == '\r' || *p == '\t')) p++;
        const char *word = p;
        while (p < line && *p != ' ' && *p != '\r' && *p != '\t') p++;
        if (p > word) arg[n++] = (slice){word, (size_t)(p - word)};
    }
    *at = line + 1;
    if (n) run_command(c, arg, n);
    return true;
}

// Reads and answers one request at *at. False: it is not whole yet, or was refused.
static bool read_request(client *c, const char **at, const char *end) {
    const char *p = *at;
    int64_t count, size;
    if (*p != '*') return read_words(c, at, end);
    int read = read_head(&p, end, ARGUMENTS_MOST, &count);
    if (read <= 0) return read < 0 ? refuse(c, "invalid multibulk length") : false;
    slice *arg = GOMEM_ARENA_MAKE(&request, slice, count < 1024 ? count + 1 : 1024);
    size_t room = count < 1024 ? (size_t)count + 1 : 1024;
    for (int64_t i = 0; i < count; i++) {
        if (p == end) return false;
        if (*p != '$') return refuse(c, "expected '$'");
        read = read_head(&p, end, (int64_t)server.request_most, &size);
        if (read <= 0) return read < 0 ? refuse(c, "invalid bulk length") : false;
        if (end - p < size + 2) return false;
        if (p[size] != '\r' || p[size + 1] != '\n') return refuse(c, "a bulk does not end");
        if ((size_t)i == room) {
            arg = gomem_arena_resize(&request, arg, room * sizeof *arg, room * 2 * sizeof *arg);
            room *= 2;
        }
        if (!arg) return refuse(c, "out of memory");
        arg[i] = (slice){p, (size_t)size};
        p += size + 2;
    }
    *at = p;
    if (count > 0) run_command(c, arg, (size_t)count);
    return true;
}

static void answer_all(client *c) {
    const char *at = c->in, *end = c->in + c->in_used;
    while (at < end && !c->closing && !c->dead && c->pending < PENDING_STOP) {
        bool whole = read_request(c, &at, end);
        gomem_arena_reset(&request);
        if (!whole) break;
    }
    if (c->closing) at = end;
    c->in_used = (size_t)(end - at);
    memmove(c->in, at, c->in_used);
}

// ---- input and output ----

static void input_drop(client *c) {
    if (c->in_chunk) chunks_put(c->in_chunk);
    else gomem_free(c->in);
    c->in = NULL;
    c->in_chunk = NULL;
    c->in_used = c->in_room = 0;
}

// Room for more of a request. False: it would be too large, or there is no memory.
static bool input_room(client *c) {
    if (!c->in) {
        c->in_chunk = chunks_get();
        if (!c->in_chunk) return false;
        c->in = c->in_chunk->bytes;
        c->in_room = CHUNK;
    }
    if (c->in_used < c->in_room) return true;
    size_t room = c->in_room * 2;
    if (room > server.request_most * 2) return false;
    char *larger = gomem_malloc(room);
    if (!larger) return false;
    size_t used = c->in_used;
    memcpy(larger, c->in, used);
    input_drop(c);
    c->in = larger;
    c->in_used = used;
    c->in_room = room;
    return true;
}

static void watch(client *c) {
    bool wants_write = c->out != NULL, stopped = c->pending >= PENDING_STOP || c->closing;
    if (wants_write == c->wants_write && stopped == c->stopped) return;
    struct epoll_event e = {.events = (stopped ? 0u : (unsigned)EPOLLIN) |
                                      (wants_write ? (unsigned)EPOLLOUT : 0u),
                            .data.ptr = c};
    if (epoll_ctl(server.epoll, EPOLL_CTL_MOD, c->fd, &e) != 0) client_drop(c);
    c->wants_write = wants_write;
    c->stopped = stopped;
}

static void client_send(client *c) {
    while (c->out && !c->dead) {
        struct iovec vectors[VECTORS];
        int n = 0;
        for (chunk *k = c->out; k && n < VECTORS; k = k->next)
            vectors[n++] = (struct iovec){k->bytes + k->from, k->to - k->from};
        ssize_t sent = writev(c->fd, vectors, n);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) break;
        if (sent < 0) {
            client_drop(c);
            return;
        }
        c->pending -= (size_t)sent;
        for (size_t left = (size_t)sent; c->out;) {
            chunk *k = c->out;
            size_t part = k->to - k->from < left ? k->to - k->from : left;
            k->from += part;
            left -= part;
            if (k->from < k->to) break;
            c->out = k->next;
            if (!c->out) c->out_last = NULL;
            chunks_put(k);
            if (!left) break;
        }
    }
    if (c->pending > PENDING_MOST || (c->closing && !c->out)) client_drop(c);
}

static void client_read(client *c) {
    if (!input_room(c)) {
        (void)refuse(c, "request too large");
        return;
    }
    ssize_t got = read(c->fd, c->in + c->in_used, c->in_room - c->in_used);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {
        client_drop(c);
        return;
    }
    c->in_used += (size_t)got;
    answer_all(c);
}

static void client_turn(client *c, unsigned events) {
    if (c->dead) return;
    if (events & (EPOLLERR | EPOLLHUP) && !(events & EPOLLIN)) client_drop(c);
    if (!c->dead && events & EPOLLIN && !c->stopped) client_read(c);
    if (!c->dead) client_send(c);
    if (!c->dead && c->in_used && c->pending < PENDING_STOP && !c->closing) { // it had to wait
        answer_all(c);
        client_send(c);
    }
    if (!c->dead && !c->in_used && c->in) input_drop(c);
    if (!c->dead) watch(c);
}

static void clients_bury(void) {
    while (server.dead) {
        client *c = server.dead;
        server.dead = c->next_dead;
        close(c->fd);
        input_drop(c);
        while (c->out) {
            chunk *k = c->out;
            c->out = k->next;
            chunks_put(k);
        }
        clients_put(c);
        server.clients--;
    }
}

static void accept_all(void) {
    for (;;) {
        static const char full[] = "-ERR max number of clients reached\r\n";
        int fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0 && errno == EINTR) continue;
        bool out = fd < 0 && (errno == EMFILE || errno == ENFILE) && server.spare >= 0;
        if (out) {
            close(server.spare);
            fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }
        if (fd < 0) return;
        client *c = !out && server.clients < server.clients_most ? clients_get() : NULL;
        if (!c) {
            server.refused++;
            if (write(fd, full, sizeof full - 1) < 0) {} // it may have gone
            close(fd);
            if (out) server.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
            continue;
        }
        memset(c, 0, sizeof *c);
        c->fd = fd;
        server.clients++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e) != 0) client_drop(c);
    }
}

// Some keys that have expired without being asked for.
static void expire_some(void) {
    static size_t at;
    static int64_t last;
    if (server.now - last < EXPIRE_MS) return;
    last = server.now;
    for (unsigned i = 0; i < LOOKED_AT && keys.now.size; i++) {
        entry **e = &keys.now.bucket[at++ & (keys.now.size - 1)];
        while (*e) {
            if ((*e)->expires && (*e)->expires <= server.now) {
                table_remove(e);
                server.expired++;
            } else {
                e = &(*e)->next;
            }
        }
    }
}

static void serve(void) {
    struct epoll_event events[EVENTS];
    for (;;) {
        gomem_blocking_begin(); // a stop need not wake us
        int n = epoll_wait(server.epoll, events, EVENTS, 100);
        gomem_blocking_end();
        if (n < 0 && errno != EINTR) die("epoll_wait");
        server.now = milliseconds();
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) client_turn(events[i].data.ptr, events[i].events);
            else accept_all();
        }
        clients_bury();
        expire_some();
    }
}

// ---- start ----

static const char usage_text[] =
    "usage: kvserver [-p PORT] [-b ADDRESS] [-c CLIENTS] [-m MEGABYTES] [-g COLLECTOR]\n"
    "A key-value server that speaks the Redis protocol.\n"
    "  -p PORT       listen there (default 6380; 0: any that is free)\n"
    "  -b ADDRESS    an IPv4 address of this machine (default 127.0.0.1)\n"
    "  -c CLIENTS    refuse more than so many at a time (default 10000)\n"
    "  -m MEGABYTES  refuse larger requests (default 64)\n"
    "  -g COLLECTOR  tracked, barrier or stw (default barrier)\n"
    "  --help        print this\n";

static bool option_number(const char *s, long least, long most, long *n) {
    char *end = NULL;
    errno = 0;
    *n = s && *s >= '0' && *s <= '9' ? strtol(s, &end, 10) : -1;
    return end && !*end && errno == 0 && *n >= least && *n <= most;
}

static bool option_collector(const char *s, int *collector) {
    static const char *const names[] = {"tracked", "barrier", "stw"};
    for (int i = 0; s && i < 3; i++) {
        if (strcmp(s, names[i]) != 0) continue;
        *collector = GOMEM_GC_TRACKED + i;
        return true;
    }
    return false;
}

int main(int argc, char **argv) {
    gomem_options memory = {.collector = GOMEM_GC_BARRIER};
    long port = 6380, most = server.clients_most, megabytes = 64;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool fine = false;
        if (!strcmp(argv[i], "--help")) {
            fputs(usage_text, stdout);
            return 0;
        }
        if (!strcmp(argv[i], "-p")) fine = option_number(value, 0, 65535, &port);
        else if (!strcmp(argv[i], "-c")) fine = option_number(value, 1, 1000000, &most);
        else if (!strcmp(argv[i], "-m")) fine = option_number(value, 1, 1024, &megabytes);
        else if (!strcmp(argv[i], "-g")) fine = option_collector(value, &memory.collector);
        else if (!strcmp(argv[i], "-b"))
            fine = value && inet_pton(AF_INET, value, &address.sin_addr) == 1;
        if (!fine) {
            fprintf(stderr, "kvserver: what is %s?\n%s", argv[i], usage_text);
            return 2;
        }
    }
    if (!gomem_init(&memory)) die("gomem_init");
    server.clients_most = (unsigned)most;
    server.request_most = (size_t)megabytes << 20;
    server.now = milliseconds();
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    server.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (!table_make(&keys.now, TABLE_LEAST)) die("out of memory");
    int one = 1;
    socklen_t size = sizeof address;
    address.sin_port = htons((uint16_t)port);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server.listener < 0) die("socket");
    setsockopt(server.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(server.listener, (struct sockaddr *)&address, size) != 0) die("bind");
    if (listen(server.listener, 1024) != 0) die("listen");
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (server.epoll < 0 || epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &e) != 0)
        die("epoll");
    if (getsockname(server.listener, (struct sockaddr *)&address, &size) != 0) die("getsockname");
    char name[INET_ADDRSTRLEN];
    printf("kvserver: listening on %s:%u\n",
           inet_ntop(AF_INET, &address.sin_addr, name, sizeof name), ntohs(address.sin_port));
    fflush(stdout);
    serve();
}
