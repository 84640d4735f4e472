// kvserver: a key-value server on TCP that speaks the Redis protocol (RESP 2 and 3), on the
// collected heap.
//
//     kvserver [-p PORT] [-w PORT] [-b ADDRESS] [-c CLIENTS] [-m MEGABYTES] [-g COLLECTOR]
//
// One thread, one epoll loop. Each kind of memory is where its lifetime says:
//
//     keys and values        collected (kvserver/values.h): what is overwritten, deleted or expired
//                            is found by the collector, beside the server
//     large values in        the same objects: a reply refers to a value instead of copying it, so
//     replies                the value lives until it is sent, even if its key goes meanwhile
//     buffers and clients    pools: ten thousand idle clients hold no buffer
//     what a command needs   an arena, reset after each command
//     a transaction          an arena per client, freed by EXEC
//     a large request        gomem_malloc
//
// A reply is never cut short, however large. Only where memory is exhausted (GOMEM_HARDLIMIT) a client
// may be cut off, and standard error says so.
//
// Every store of a collected pointer goes through GOMEM_STORE, so the collector may be the one with a
// write barrier. It fits a program that writes all over its heap: each SET stores into an entry that
// lies anywhere, and the kernel's tracking would have to find and read those pages again while the
// clients wait (a million keys, 16 requests at a time: p99.9 7.4 and 3.0 ms).
//
// With -w it can be watched by Prometheus, a browser and Go's tools (kvserver/pages.h), here with the
// stack of one allocation in 512 KiB:
//
//     GOMEM_DEBUG=profile=512KiB,record=1 kvserver -w 6381
//     go tool pprof -top http://127.0.0.1:6381/debug/pprof/heap
//
// What differs from Redis: the commands are those of the table below; no persistence, replication,
// publishing, scripts or passwords. KEYS, SCAN, SMEMBERS and HGETALL list in another order, and
// COUNT of SCAN counts buckets too. EXPIRE and ZADD take no options. WATCH may, seldom, see a change
// of another key. A line that is typed has no quotes. INFO, CONFIG, CLIENT and COMMAND answer what
// clients ask when they connect, and little more.

#define GOMEM_THREADS // for those of kvserver/pages.h
#define GOMEM_IMPLEMENTATION
#include "gomem.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "kvserver/values.h"

#define LIKE_REDIS "7.0.15" // whose answers these are; clients ask

enum {
    CHUNK = 16 * 1024,        // bytes of a buffer
    ARGUMENTS_MOST = 1 << 20, // of a request
    INLINE_MOST = 64 * 1024,  // bytes of a request that is a line
    BY_REFERENCE = 2048,      // bytes from which on a reply refers to a value
    PENDING_STOP = 1 << 20,   // unsent bytes with which no more of a client's requests are read
    VECTORS = 16,             // outputs of one write
    EVENTS = 256,             // of one epoll_wait
    DATABASES = 16,           // for SELECT
    WATCHED = 1 << 16,        // versions for WATCH
    EXPIRE_MS = 10,           // between two looks for expired keys,
    EXPIRE_US = 1000,         // which take this long at most,
    LOOKED_AT = 64,           // and look at the clock after so many buckets
};

typedef struct chunk {
    char bytes[CHUNK];
} chunk;
GOMEM_POOL(chunks, chunk);

// Bytes to be sent: of a value, or of a chunk. The pool is scanned, so these values live.
typedef struct output {
    struct output *next;
    text *value;
    chunk *chunk;
    size_t from, to;
} output;
GOMEM_POOL_SCAN(outputs, output);

typedef struct argument { // bytes of a request, counted from its start, since buffers move
    size_t at, size;
} argument;

typedef struct queued { // a command between MULTI and EXEC
    struct queued *next;
    const struct command *command;
    size_t n;
    slice arg[];
} queued;

typedef struct watch { // what there was when it began
    struct watch *next;
    size_t slot; // of server.watched
    uint64_t version, flushed;
    unsigned database;
    bool exists;
} watch;

typedef struct client {
    struct client *next_dead;
    int fd, protocol; // 2 or 3
    unsigned database;
    uint64_t id;
    char name[64];

    char *in; // in a chunk or, when a request is larger, of gomem_malloc
    chunk *in_chunk;
    size_t in_from, in_used, in_room;

    // How far the request at in_from has been read. This is kept from one read to the next, so that a
    // request that comes byte by byte is parsed once.
    size_t parsed; // bytes of it
    argument *args;
    size_t args_room, args_have;
    int64_t args_due; // -1: not known yet
    int64_t bulk;     // size of the argument that comes next, -1: not known yet

    output *out, *out_last;
    size_t pending; // bytes to be sent
    bool closing;   // when all is sent
    bool dead, wants_write, stopped;

    bool multi, broken;        // between MULTI and EXEC; a command of these was refused
    gomem_arena transaction;   // for what follows
    queued *queue, **queue_at; // queue_at: where the next one goes
    watch *watches;
} client;
GOMEM_POOL(clients, client);

// A command returns what a reply returned, so none can forget to answer.
typedef enum answered { ANSWERED } answered;

typedef struct call { // of a command
    client *c;
    const slice *arg; // the name first
    size_t n;
    int64_t which; // tells apart the commands that share a function
    const char *name;
} call;

typedef struct command {
    const char *name;
    answered (*run)(const call *r);
    int least, most; // arguments, the name among them; most 0: any
    int64_t which;
    bool at_once; // even between MULTI and EXEC
} command;

static dict databases[DATABASES], *keys = databases; // keys: of the client that is served

static struct {
    int epoll, listener, spare; // spare: to refuse with when descriptors have run out
    unsigned clients, clients_most;
    size_t request_most;
    uint64_t commands, connections, refused, expired;
    int64_t now; // ms since 1970
    client *dead;
    uint64_t version, watched[WATCHED]; // the last change, and that of keys by their hash
    uint64_t flushed[DATABASES];        // so often
} server = {.clients_most = 10000, .request_most = 64 << 20};

static struct {                    // the search for expired keys
    int64_t soonest, soonest_next; // no key expires earlier; the same for the next search
    unsigned database;
    size_t bucket;
} expiry = {.soonest = INT64_MAX, .soonest_next = INT64_MAX};

static gomem_arena scratch; // of the command that runs

static _Noreturn void die(const char *what) {
    fprintf(stderr, "kvserver: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t clock_in(int clock, int64_t units) { // per second
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * units + t.tv_nsec / (1000000000 / units);
}

#include "kvserver/pages.h"

// ---- replies ----

static void client_drop(client *c) {
    if (c->dead) return;
    c->dead = true;
    c->next_dead = server.dead;
    server.dead = c;
}

// Adds an output of a value, or of a new chunk. NULL: no memory; the connection is closed then.
static output *output_add(client *c, text *value) {
    output *o = outputs_get();
    if (o) {
        *o = (output){.chunk = value ? NULL : chunks_get()};
        GOMEM_STORE(&o->value, value);
    }
    if (!o || (!value && !o->chunk)) {
        if (o) outputs_put(o);
        fprintf(stderr, "kvserver: out of memory: client %" PRIu64 " is cut off\n", c->id);
        client_drop(c);
        return NULL;
    }
    if (c->out_last) c->out_last->next = o;
    else c->out = o;
    return c->out_last = o;
}

static answered reply(client *c, const char *bytes, size_t size) {
    while (size && !c->dead) {
        output *last = c->out_last;
        if (!last || !last->chunk || last->to == CHUNK) last = output_add(c, NULL);
        if (!last) break;
        size_t n = size < CHUNK - last->to ? size : CHUNK - last->to;
        memcpy(last->chunk->bytes + last->to, bytes, n);
        last->to += n;
        c->pending += n;
        bytes += n;
        size -= n;
    }
    return ANSWERED;
}

__attribute__((format(printf, 2, 3))) static answered replyf(client *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const char *line = gomem_arena_vprintf(&scratch, format, args);
    va_end(args);
    if (!line) client_drop(c);
    return line ? reply(c, line, strlen(line)) : ANSWERED;
}

static answered reply_line(client *c, const char *line) { return replyf(c, "%s\r\n", line); }
static answered reply_error(client *c, const char *what) { return replyf(c, "-ERR %s\r\n", what); }
static answered reply_ok(client *c) { return reply(c, "+OK\r\n", 5); }
static answered reply_memory(client *c) { return reply_line(c, "-OOM out of memory"); }
static answered reply_nil(client *c) { return reply_line(c, c->protocol == 3 ? "_" : "$-1"); }
static answered reply_nil_array(client *c) { return reply_line(c, c->protocol == 3 ? "_" : "*-1"); }
static answered reply_number(client *c, int64_t n) { return replyf(c, ":%" PRId64 "\r\n", n); }

static answered reply_head(client *c, char what, size_t n) {
    char line[32], *p = line + sizeof line;
    *--p = '\n';
    *--p = '\r';
    do *--p = (char)('0' + n % 10);
    while (n /= 10);
    *--p = what;
    return reply(c, p, (size_t)(line + sizeof line - p));
}

static answered reply_array(client *c, size_t n) { return reply_head(c, '*', n); }
static answered reply_set(client *c, size_t n) {
    return reply_head(c, c->protocol == 3 ? '~' : '*', n);
}
static answered reply_map(client *c, size_t pairs) {
    return reply_head(c, c->protocol == 3 ? '%' : '*', c->protocol == 3 ? pairs : pairs * 2);
}

static answered reply_bulk(client *c, slice s) {
    reply_head(c, '$', s.size);
    reply(c, s.bytes, s.size);
    return reply(c, "\r\n", 2);
}

static answered reply_string(client *c, const char *s) { return reply_bulk(c, slice_from(s)); }

static answered reply_text(client *c, text *t) { // NULL: nil
    if (!t) return reply_nil(c);
    if (t->size < BY_REFERENCE) return reply_bulk(c, slice_of(t));
    reply_head(c, '$', t->size);
    output *o = c->dead ? NULL : output_add(c, t);
    if (o) c->pending += o->to = t->size;
    return reply(c, "\r\n", 2);
}

static answered reply_score(client *c, double score) {
    const char *digits = gomem_arena_printf(&scratch, "%.17g", score);
    if (c->protocol == 3) return replyf(c, ",%s\r\n", digits ? digits : "nan");
    return reply_string(c, digits ? digits : "nan");
}

static answered reply_arity(const call *r) {
    return replyf(r->c, "-ERR wrong number of arguments for '%s' command\r\n", r->name);
}

static const char not_integer[] = "value is not an integer or out of range";
static const char not_positive[] = "value is out of range, must be positive";
static const char syntax[] = "syntax error";

#include "kvserver/commands.h"

// ---- running a command ----

static const command commands[] = {
    {"append", do_append, 3, 3, 0, 0},
    {"client", do_client, 2, 0, 0, 0},
    {"command", do_command, 1, 0, 0, 0},
    {"config", do_config, 2, 0, 0, 0},
    {"dbsize", do_dbsize, 1, 1, 0, 0},
    {"decr", do_incr, 2, 2, -1, 0},
    {"decrby", do_incr, 3, 3, -1, 0},
    {"del", do_del, 2, 0, 0, 0},
    {"discard", do_discard, 1, 1, 0, 1},
    {"echo", do_echo, 2, 2, 0, 0},
    {"exec", do_exec, 1, 1, 0, 1},
    {"exists", do_exists, 2, 0, 0, 0},
    {"expire", do_expire, 3, 0, 1000, 0},
    {"expireat", do_expire, 3, 0, -1000, 0},
    {"flushall", do_flush, 1, 0, 1, 0},
    {"flushdb", do_flush, 1, 0, 0, 0},
    {"get", do_get, 2, 2, 0, 0},
    {"getdel", do_get, 2, 2, 1, 0},
    {"hdel", do_remove, 3, 0, HASH, 0},
    {"hello", do_hello, 1, 0, 0, 0},
    {"hexists", do_has, 3, 3, HASH, 0},
    {"hget", do_hget, 3, 3, 0, 0},
    {"hgetall", do_members, 2, 2, HASH, 0},
    {"hlen", do_card, 2, 2, HASH, 0},
    {"hset", do_hset, 4, 0, 0, 0},
    {"incr", do_incr, 2, 2, 1, 0},
    {"incrby", do_incr, 3, 3, 1, 0},
    {"info", do_info, 1, 0, 0, 0},
    {"keys", do_keys, 2, 2, 0, 0},
    {"llen", do_llen, 2, 2, 0, 0},
    {"lpop", do_pop, 2, 0, 0, 0},
    {"lpush", do_push, 3, 0, 0, 0},
    {"lrange", do_lrange, 4, 4, 0, 0},
    {"mget", do_mget, 2, 0, 0, 0},
    {"mset", do_mset, 3, 0, 0, 0},
    {"multi", do_multi, 1, 1, 0, 1},
    {"persist", do_persist, 2, 2, 0, 0},
    {"pexpire", do_expire, 3, 0, 1, 0},
    {"pexpireat", do_expire, 3, 0, -1, 0},
    {"ping", do_ping, 1, 0, 0, 0},
    {"psetex", do_setex, 4, 4, 1, 0},
    {"pttl", do_ttl, 2, 2, 1, 0},
    {"quit", do_quit, 1, 0, 0, 1},
    {"rpop", do_pop, 2, 0, 1, 0},
    {"rpush", do_push, 3, 0, 1, 0},
    {"sadd", do_sadd, 3, 0, 0, 0},
    {"scan", do_scan, 2, 0, 0, 0},
    {"scard", do_card, 2, 2, SET, 0},
    {"select", do_select, 2, 2, 0, 0},
    {"set", do_set, 3, 0, 0, 0},
    {"setex", do_setex, 4, 4, 1000, 0},
    {"setnx", do_setnx, 3, 3, 0, 0},
    {"sismember", do_has, 3, 3, SET, 0},
    {"smembers", do_members, 2, 2, SET, 0},
    {"spop", do_spop, 2, 0, 0, 0},
    {"srem", do_remove, 3, 0, SET, 0},
    {"strlen", do_strlen, 2, 2, 0, 0},
    {"ttl", do_ttl, 2, 2, 1000, 0},
    {"type", do_type, 2, 2, 0, 0},
    {"unlink", do_del, 2, 0, 0, 0},
    {"unwatch", do_unwatch, 1, 1, 0, 0},
    {"watch", do_watch, 2, 0, 0, 1},
    {"zadd", do_zadd, 4, 0, 0, 0},
    {"zcard", do_card, 2, 2, ZSET, 0},
    {"zpopmin", do_zpopmin, 2, 0, 0, 0},
    {"zrange", do_zrange, 4, 0, 0, 0},
    {"zrem", do_remove, 3, 0, ZSET, 0},
    {"zscore", do_zscore, 3, 3, 0, 0},
};

static int compare_name(const void *name, const void *with) {
    return strcasecmp(name, ((const command *)with)->name);
}

static const command *command_find(slice name) {
    char text[16];
    if (name.size >= sizeof text) return NULL;
    memcpy(text, name.bytes, name.size);
    text[name.size] = 0;
    const command *found = bsearch(text, commands, sizeof commands / sizeof commands[0],
                                   sizeof commands[0], compare_name);
    return found && strlen(found->name) == name.size ? found : NULL;
}

static answered reply_unknown(client *c, const slice *arg, size_t n) {
    char *line = gomem_arena_printf(&scratch, "unknown command '%.*s', with args beginning with: ",
                                    (int)(arg[0].size < 128 ? arg[0].size : 128), arg[0].bytes);
    for (size_t i = 1, room = 128; i < n && line && room; i++) {
        size_t shown = strnlen(arg[i].bytes, arg[i].size < room ? arg[i].size : room);
        line = gomem_arena_printf(&scratch, "%s'%.*s' ", line, (int)shown, arg[i].bytes);
        room -= shown + 3 < room ? shown + 3 : room;
    }
    for (char *p = line; p && *p; p++)
        if (*p == '\r' || *p == '\n') *p = ' ';
    return reply_error(c, line ? line : "unknown command");
}

static answered run_command(client *c, const slice *arg, size_t n) {
    const command *found = command_find(arg[0]);
    server.commands++;
    keys = &databases[c->database];
    if (!found) {
        c->broken = c->multi;
        return reply_unknown(c, arg, n);
    }
    const call r = {c, arg, n, found->which, found->name};
    if ((int64_t)n < found->least || (found->most && (int64_t)n > found->most)) {
        if (found->run == do_exec) return exec_refused(&r);
        c->broken = c->multi;
        return reply_arity(&r);
    }
    if (c->multi && !found->at_once) return queue_command(&r, found);
    return found->run(&r);
}

// ---- requests ----

static bool refuse(client *c, const char *what) {
    c->closing = true;
    return replyf(c, "-ERR Protocol error: %s\r\n", what), false;
}

// The number of a line such as "$12\r\n". 1: read, 0: more is needed, -1: it is none.
static int read_head(client *c, int64_t *n) {
    const char *at = c->in + c->in_from + c->parsed, *end = c->in + c->in_used;
    const char *line = memchr(at, '\n', (size_t)(end - at));
    if (!line) return end - at > 32 ? -1 : 0;
    if (line - at < 3 || line[-1] != '\r') return -1;
    if (!parse_number((slice){at + 1, (size_t)(line - 1 - (at + 1))}, n)) return -1;
    c->parsed += (size_t)(line + 1 - at);
    return 1;
}

static bool argument_add(client *c, size_t at, size_t size) {
    if (c->args_have == c->args_room) {
        size_t room = c->args_room ? c->args_room * 2 : 8;
        argument *larger = GOMEM_RESIZE(argument, c->args, room);
        if (!larger) return refuse(c, "out of memory");
        c->args = larger;
        c->args_room = room;
    }
    c->args[c->args_have++] = (argument){at, size};
    return true;
}

// Reads on in a request of the form "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n". True: it is whole.
static bool read_bulks(client *c) {
    if (c->args_due < 0) {
        int read = read_head(c, &c->args_due);
        if (read < 0 || c->args_due > ARGUMENTS_MOST) return refuse(c, "invalid multibulk length");
        if (read == 0) return false;
        if (c->args_due < 0) c->args_due = 0;
    }
    while ((int64_t)c->args_have < c->args_due) {
        const char *at = c->in + c->in_from + c->parsed;
        size_t left = c->in_used - c->in_from - c->parsed;
        if (c->bulk < 0) {
            if (left && *at != '$') return refuse(c, "expected '$'");
            int read = left ? read_head(c, &c->bulk) : 0;
            if (read < 0 || (read && (c->bulk < 0 || c->bulk > (int64_t)server.request_most)))
                return refuse(c, "invalid bulk length");
            if (read == 0) return false;
            continue;
        }
        size_t size = (size_t)c->bulk;
        if (left < size + 2) return false;
        if (memcmp(at + size, "\r\n", 2) != 0) return refuse(c, "a bulk does not end");
        if (!argument_add(c, c->parsed, size)) return false;
        c->parsed += size + 2;
        c->bulk = -1;
    }
    return true;
}

// Whether a line is of HTTP. A web page can make a browser send one to this port, with commands
// behind it; nothing of such a connection is run.
static bool is_http(const client *c, const char *line) {
    const argument *first = &c->args[0], *last = &c->args[c->args_have - 1];
    return is_word((slice){line, first->size}, "post") ||
           line[first->at + first->size - 1] == ':' ||
           (last->size > 5 && !strncasecmp(line + last->at, "http/", 5));
}

// Reads on in a request of words, as a human types it: up to the end of the line.
static bool read_words(client *c) {
    const char *line = c->in + c->in_from;
    size_t size = c->in_used - c->in_from;
    const char *end = memchr(line + c->parsed, '\n', size - c->parsed);
    c->parsed = end ? (size_t)(end + 1 - line) : size;
    if (c->parsed > INLINE_MOST) return refuse(c, "too big inline request");
    for (const char *p = line; end && p < end;) {
        while (p < end && isspace((unsigned char)*p)) p++;
        const char *word = p;
        while (p < end && !isspace((unsigned char)*p)) p++;
        if (p > word && !argument_add(c, (size_t)(word - line), (size_t)(p - word))) return false;
    }
    if (c->args_have && is_http(c, line)) return refuse(c, "this is not an HTTP server");
    return end != NULL;
}

static void request_next(client *c) {
    c->in_from += c->parsed;
    c->parsed = c->args_have = 0;
    c->args_due = c->bulk = -1;
}

static void answer_all(client *c) {
    while (c->in_from < c->in_used && !c->closing && !c->dead && c->pending < PENDING_STOP) {
        const char *at = c->in + c->in_from;
        bool whole = *at == '*' ? read_bulks(c) : read_words(c);
        slice *arg = whole ? GOMEM_ARENA_MAKE(&scratch, slice, c->args_have) : NULL;
        if (whole && !arg) whole = refuse(c, "out of memory");
        for (size_t i = 0; whole && i < c->args_have; i++)
            arg[i] = (slice){at + c->args[i].at, c->args[i].size};
        if (whole && c->args_have) (void)run_command(c, arg, c->args_have);
        gomem_arena_reset(&scratch);
        if (!whole) break;
        request_next(c);
    }
    if (c->closing) c->in_from = c->in_used;
}

// ---- input and output ----

static void input_drop(client *c) {
    if (c->in_chunk) chunks_put(c->in_chunk);
    else gomem_free(c->in);
    gomem_free(c->args);
    c->in = NULL;
    c->in_chunk = NULL;
    c->args = NULL;
    c->in_from = c->in_used = c->in_room = c->parsed = c->args_room = c->args_have = 0;
    c->args_due = c->bulk = -1;
}

// Room for more of a request. False: it would be too large, or there is no memory.
static bool input_room(client *c) {
    size_t left = c->in_used - c->in_from, room = c->in_room;
    if (!c->in) {
        c->in_chunk = chunks_get();
        if (!c->in_chunk) return false;
        c->in = c->in_chunk->bytes;
        c->in_room = CHUNK;
    }
    if (c->in_used < c->in_room) return true;
    if (left > room / 2) { // else it is enough to move what is left to the front
        room *= 2;
        char *larger = room <= server.request_most * 2 ? gomem_malloc(room) : NULL;
        if (!larger) return false;
        memcpy(larger, c->in + c->in_from, left);
        if (c->in_chunk) chunks_put(c->in_chunk);
        else gomem_free(c->in);
        c->in = larger;
        c->in_chunk = NULL;
        c->in_room = room;
    } else {
        memmove(c->in, c->in + c->in_from, left);
    }
    c->in_from = 0;
    c->in_used = left;
    return true;
}

static void client_listen(client *c) {
    bool wants_write = c->out != NULL, stopped = c->pending >= PENDING_STOP || c->closing;
    if (wants_write == c->wants_write && stopped == c->stopped) return;
    struct epoll_event e = {.events = (stopped ? 0u : (unsigned)EPOLLIN) |
                                      (wants_write ? (unsigned)EPOLLOUT : 0u),
                            .data.ptr = c};
    if (epoll_ctl(server.epoll, EPOLL_CTL_MOD, c->fd, &e) != 0) client_drop(c);
    c->wants_write = wants_write;
    c->stopped = stopped;
}

static void output_drop(client *c) { // the first one
    output *o = c->out;
    c->out = o->next;
    if (!c->out) c->out_last = NULL;
    if (o->chunk) chunks_put(o->chunk);
    GOMEM_STORE(&o->value, NULL); // the pool is scanned: what is idle must keep nothing alive
    outputs_put(o);
}

static void client_send(client *c) {
    while (c->out && !c->dead) {
        struct iovec vectors[VECTORS];
        int n = 0;
        for (output *o = c->out; o && n < VECTORS; o = o->next)
            vectors[n++] = (struct iovec){(o->value ? o->value->bytes : o->chunk->bytes) + o->from,
                                          o->to - o->from};
        ssize_t sent = writev(c->fd, vectors, n);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) client_drop(c);
        for (size_t left = sent > 0 ? (size_t)sent : 0; left > 0;) {
            output *o = c->out;
            size_t part = o->to - o->from < left ? o->to - o->from : left;
            o->from += part;
            left -= part;
            c->pending -= part;
            if (o->from == o->to) output_drop(c);
        }
    }
    if (c->closing) client_drop(c);
}

static void client_read(client *c) {
    if (!input_room(c)) {
        (void)refuse(c, "request too large");
        c->in_from = c->in_used;
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
    if (!c->dead && c->in_from < c->in_used && c->pending < PENDING_STOP && !c->closing) {
        answer_all(c); // it had to wait
        client_send(c);
    }
    if (!c->dead && c->in_from == c->in_used && c->in) input_drop(c);
    if (!c->dead) client_listen(c);
}

static void clients_bury(void) {
    while (server.dead) {
        client *c = server.dead;
        server.dead = c->next_dead;
        close(c->fd);
        input_drop(c);
        while (c->out) output_drop(c);
        transaction_end(c);
        clients_put(c);
        server.clients--;
    }
}

static void client_refuse(int fd) {
    static const char full[] = "-ERR max number of clients reached\r\n";
    server.refused++;
    if (write(fd, full, sizeof full - 1) < 0) {} // it may have gone
    close(fd);
}

static void client_add(int fd) {
    int one = 1;
    client *c = server.clients < server.clients_most ? clients_get() : NULL;
    if (!c) {
        client_refuse(fd);
        return;
    }
    *c = (client){.fd = fd, .protocol = 2, .id = ++server.connections, .args_due = -1, .bulk = -1};
    server.clients++;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e) != 0) client_drop(c);
}

// Adds the connections that wait. If descriptors have run out, it refuses one in place of the spare
// descriptor, else epoll would report it for ever.
static void accept_all(int listener, void (*add)(int fd), void (*refuse_it)(int fd)) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && errno == EINTR) continue;
        bool out = fd < 0 && (errno == EMFILE || errno == ENFILE) && server.spare >= 0;
        if (out) {
            close(server.spare);
            fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        }
        if (fd >= 0 && out) refuse_it(fd);
        else if (fd >= 0) add(fd);
        if (out) server.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd < 0) return;
    }
}

// ---- expired keys ----

static void expire_bucket(entry **at) {
    while (*at) {
        entry *e = *at;
        if (e->expires && e->expires <= server.now) {
            touch(e->hash);
            GOMEM_STORE(at, e->next);
            keys->count--;
            server.expired++;
        } else {
            if (e->expires && e->expires < expiry.soonest_next) expiry.soonest_next = e->expires;
            at = &e->next;
        }
    }
}

// Removes keys that have expired without being asked for. A search goes through all keys, begins when
// the first of them expires, and takes a tenth of the time at most.
static void expire_some(void) {
    static int64_t last;
    if (server.now < expiry.soonest || (server.now >= last && server.now < last + EXPIRE_MS))
        return;
    last = server.now;
    for (int64_t end = clock_in(CLOCK_MONOTONIC, 1000000) + EXPIRE_US;
         expiry.database < DATABASES && clock_in(CLOCK_MONOTONIC, 1000000) < end;) {
        keys = &databases[expiry.database];
        if (keys->old.bits) { // the search begins again in the larger table
            dict_move(keys, LOOKED_AT);
            expiry.bucket = 0;
            continue;
        }
        for (int i = 0; i < LOOKED_AT && expiry.bucket < table_size(&keys->now); i++)
            expire_bucket(&keys->now.bucket[expiry.bucket++]);
        if (expiry.bucket < table_size(&keys->now)) continue;
        expiry.bucket = 0;
        expiry.database++;
    }
    if (expiry.database < DATABASES) return;
    expiry.database = 0;
    expiry.soonest = expiry.soonest_next;
    expiry.soonest_next = INT64_MAX;
}

static void serve(void) {
    struct epoll_event events[EVENTS];
    for (;;) {
        gomem_blocking_begin(); // a stop need not wake us
        int n = epoll_wait(server.epoll, events, EVENTS,
                           expiry.soonest == INT64_MAX ? -1 : EXPIRE_MS);
        gomem_blocking_end();
        if (n < 0 && errno != EINTR) die("epoll_wait");
        server.now = clock_in(CLOCK_REALTIME, 1000);
        for (int i = 0; i < n; i++) {
            void *of = events[i].data.ptr;
            if (!of) accept_all(server.listener, client_add, client_refuse);
            else if (of == &pages) accept_all(pages.listener, page_add, page_refuse);
            else client_turn(of, events[i].events);
        }
        clients_bury();
        expire_some();
    }
}

// ---- start ----

static const char usage_text[] =
    "usage: kvserver [-p PORT] [-w PORT] [-b ADDRESS] [-c CLIENTS] [-m MEGABYTES] "
    "[-g COLLECTOR]\n"
    "A key-value server that speaks the Redis protocol.\n"
    "  -p PORT       listen there (default 6380; 0: any that is free)\n"
    "  -w PORT       answer HTTP there: /metrics, /debug/pprof/heap and /debug/report\n"
    "  -b ADDRESS    an IPv4 address of this machine (default 127.0.0.1)\n"
    "  -c CLIENTS    refuse more than so many at a time (default 10000)\n"
    "  -m MEGABYTES  refuse larger values, and requests of twice that (default 64)\n"
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

// Listens at an address, in which it stores the port. epoll reports `what` for a connection.
static int listen_at(struct sockaddr_in *address, void *what) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof *address;
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)address, size) != 0) die("bind");
    if (listen(fd, 1024) != 0) die("listen");
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e) != 0) die("epoll");
    if (getsockname(fd, (struct sockaddr *)address, &size) != 0) die("getsockname");
    return fd;
}

// Opens both ports, and says which they are.
static void server_listen(struct sockaddr_in address, long port, long pages_port) {
    char name[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &address.sin_addr, name, sizeof name);
    server.spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0) die("epoll");
    if (pages_port >= 0) {
        address.sin_port = htons((uint16_t)pages_port);
        pages.listener = listen_at(&address, &pages);
        printf("kvserver: pages at http://%s:%u/metrics\n", name, ntohs(address.sin_port));
    }
    address.sin_port = htons((uint16_t)port);
    server.listener = listen_at(&address, NULL);
    printf("kvserver: listening on %s:%u\n", name, ntohs(address.sin_port));
    fflush(stdout);
}

int main(int argc, char **argv) {
    gomem_options memory = {.collector = GOMEM_GC_BARRIER};
    long port = 6380, pages_port = -1, most = server.clients_most, megabytes = 64;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool fine = false;
        if (!strcmp(argv[i], "--help")) {
            fputs(usage_text, stdout);
            return 0;
        }
        if (!strcmp(argv[i], "-p")) fine = option_number(value, 0, 65535, &port);
        else if (!strcmp(argv[i], "-w")) fine = option_number(value, 0, 65535, &pages_port);
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
    if (getrandom(hash_seed, sizeof hash_seed, 0) != sizeof hash_seed) die("getrandom");
    server.clients_most = (unsigned)most;
    server.request_most = (size_t)megabytes << 20;
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    server_listen(address, port, pages_port);
    serve();
}
