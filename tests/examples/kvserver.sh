#!/bin/sh
# The example kvserver: its commands by redis-cli and beside redis-server, many requests at once by
# redis-benchmark, what is no request, slow and too many clients, large replies, keys that expire, under
# a small heap goal and with every collector; pages over HTTP.
. "$(dirname "$0")/check"
kvserver=$bin/kvserver

# start OPTION...: a server on a free port; its number in $port, its process in $server.
start() {
    : >"$tmp/server" # else the port of the last one may be read
    "$kvserver" -p 0 "$@" >"$tmp/server" 2>"$tmp/server.err" &
    server=$!
    port=
    for _ in $(seq 100); do
        port=$(sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' "$tmp/server")
        [ -n "$port" ] && return
        sleep 0.1
    done
    fail 'the server starts' "$tmp/server.err"
    finish
}
stop() {
    check "$1: it still runs" kill -0 "$server"
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    check "$1: it said nothing" test ! -s "$tmp/server.err"
}
trap 'kill $server 2>/dev/null; rm -rf "$tmp"' EXIT

# -- options
"$kvserver" --help >"$tmp/out" 2>"$tmp/err"
check '--help: status' test $? -eq 0
has '--help' "$tmp/out" 'usage: kvserver'
for wrong in '-p 65536' '-p x' '-w 65536' '-w' '-c 0' '-m' '-b nowhere' '-g none' '-g' '-x 1'; do
    # shellcheck disable=SC2086 # options are words
    "$kvserver" $wrong >"$tmp/out" 2>"$tmp/err"
    check "$wrong: status" test $? -eq 2
    has "$wrong: usage" "$tmp/err" 'usage: kvserver'
done

# -- commands, by the real client
if command -v redis-cli >/dev/null 2>&1; then
    start
    cat >"$tmp/commands" <<'COMMANDS'
PING
PING hello
SET a 1
GET a
GET none
INCR a
INCR counter
SET text "with blanks"
GET text
INCR text
EXISTS a text none
DEL a none
GET a
MSET x 1 y 2 z 3
MGET x y none z
MSET x 1 y
LPUSH l a b c
LRANGE l 0 -1
LRANGE l 1 1
LRANGE l -2 -1
LRANGE l 5 9
LRANGE none 0 1
LLEN l
GET l
LPUSH x 1
SET x
SET x 5 EX 100
TTL x
EXPIRE y 100
TTL y
TTL z
TTL none
EXPIRE z 0
GET z
EXPIRE none 5
SET x 5 EX nine
SET x 5 NX EX 10
SET x 6 XX GET
INCRBY x 4
DECRBY x 20
RPUSH r a b c
LPOP r
RPOP r 2
EXISTS r
HSET h f 1 g 2
HGET h g
SADD s a a
SCARD s
SPOP s
EXISTS s
ZADD z 2 b 1 a
ZPOPMIN z
KEYS [x-x]
SCAN 0 COUNT 100 MATCH [y]
TYPE z
SELECT 1
SET only here
SELECT 0
GET only
MULTI
INCR x
LPUSH x 1
EXEC
NONSENSE 1 2
ECHO "with blanks"
DBSIZE
FLUSHALL
DBSIZE
COMMANDS
    cat >"$tmp/expected" <<'REPLIES'
PONG
hello
OK
1

2
1
OK
with blanks
ERR value is not an integer or out of range

2
1

OK
1
2

3
ERR wrong number of arguments for 'mset' command

3
c
b
a
b
b
a


3
WRONGTYPE Operation against a key holding the wrong kind of value

WRONGTYPE Operation against a key holding the wrong kind of value

ERR wrong number of arguments for 'set' command

OK
100
1
100
-1
-2
1

0
ERR value is not an integer or out of range


5
10
-10
3
a
c
b
0
2
2
1
1
a
0
2
a
1
x
0
y
zset
OK
OK
OK

OK
QUEUED
QUEUED
-9
WRONGTYPE Operation against a key holding the wrong kind of value

ERR unknown command 'NONSENSE', with args beginning with: '1' '2' 

with blanks
7
OK
0
REPLIES
    timeout 20 redis-cli -p "$port" <"$tmp/commands" >"$tmp/actual" 2>"$tmp/err"
    check 'redis-cli: status' test $? -eq 0
    same 'redis-cli' "$tmp/expected" "$tmp/actual"
    redis-cli -p "$port" SET brief 1 EX 1 >/dev/null
    sleep 1.2
    check 'expired' test -z "$(redis-cli -p "$port" GET brief)"
    redis-cli -p "$port" SET one 1 >/dev/null
    redis-cli -p "$port" INFO >"$tmp/info"
    for field in used_memory num_gc pause_max_ns connected_clients expired_keys:1 db0:keys=; do
        has "INFO: $field" "$tmp/info" "$field"
    done
    stop commands
else
    echo 'SKIP kvserver: redis-cli is not installed'
    skipped=$((skipped + 1))
fi

# -- many requests at once
if command -v redis-benchmark >/dev/null 2>&1; then
    for collector in tracked barrier stw; do
        GOMEM_GOGC=20 start -g $collector
        timeout 30 redis-benchmark -p "$port" -n 8000 -r 2000 -d 1024 -c 50 -P 16 -q \
            -t set,get,incr,lpush,lrange_100 >"$tmp/bench" 2>&1
        check "redis-benchmark, $collector: status" test $? -eq 0
        check "redis-benchmark, $collector: five answers" \
            test "$(tr '\r' '\n' <"$tmp/bench" | grep -c 'requests per second')" -ge 5
        [ "$(redis-cli -p "$port" INFO | tr -d '\r' | sed -n 's/^num_gc://p')" -gt 2 ]
        check "redis-benchmark, $collector: cycles ran" test $? -eq 0
        stop "redis-benchmark, $collector"
    done
    start
    timeout 30 redis-benchmark -p "$port" -n 500 -q >"$tmp/bench" 2>&1
    check 'redis-benchmark without arguments: status' test $? -eq 0
    check 'redis-benchmark without arguments: twenty answers' \
        test "$(tr '\r' '\n' <"$tmp/bench" | grep -c 'requests per second')" -ge 20
    grep -q 'WARNING\|rror' "$tmp/bench" && fail 'redis-benchmark without arguments' "$tmp/bench"
    stop 'redis-benchmark without arguments'
else
    echo 'SKIP kvserver: redis-benchmark is not installed'
    skipped=$((skipped + 1))
fi

# -- random commands, beside redis-server
if command -v redis-server >/dev/null 2>&1 && command -v python3 >/dev/null 2>&1; then
    redis-server --port 0 --unixsocket "$tmp/redis" --save '' --dir "$tmp" >"$tmp/redis.log" 2>&1 &
    redis=$!
    GOMEM_GOGC=5 start
    for _ in $(seq 100); do
        [ -S "$tmp/redis" ] && break
        sleep 0.1
    done
    timeout 60 python3 tests/examples/kvdiff.py "$port" "$tmp/redis" 8000 >"$tmp/out" 2>&1
    check 'beside redis-server: the client ran' test $? -eq 0
    has 'beside redis-server' "$tmp/out" '8000 commands, 0 differences'
    grep DIFFERENT "$tmp/out"
    kill $redis
    wait $redis 2>/dev/null
    stop 'beside redis-server'
else
    echo 'SKIP kvserver: beside redis-server: it is not installed, or there is no python3'
    skipped=$((skipped + 1))
fi

# -- the seed of the hash: keys come in another order from each server
if command -v redis-cli >/dev/null 2>&1; then
    for n in 1 2; do
        start
        seq 50 | sed 's/.*/SET k& v/' | redis-cli -p "$port" >"$tmp/out"
        redis-cli -p "$port" KEYS '*' >"$tmp/keys$n"
        stop "a seed, $n"
    done
    cmp -s "$tmp/keys1" "$tmp/keys2"
    check 'keys in another order' test $? -eq 1
    check 'all of them' test "$(sort -u "$tmp/keys1" "$tmp/keys2" | wc -l)" -eq 50
fi

# -- what is no request, slow clients, too many
if command -v python3 >/dev/null 2>&1; then
    start -c 30 -m 1
    timeout 100 python3 - "$port" "$server" >"$tmp/out" 2>&1 <<'PY'
import random, socket, sys, time
port = int(sys.argv[1])
def connect():
    s = socket.create_connection(("127.0.0.1", port), 10)
    return s
def ask(data, cut=True):
    """What comes back for these bytes until the server has no more to say."""
    s = connect()
    got = b""
    try:
        s.sendall(data)
        if cut:
            s.shutdown(socket.SHUT_WR)
        while True:
            part = s.recv(65536)
            if not part:
                break
            got += part
    except (ConnectionResetError, socket.timeout):
        got += b"<reset>"
    s.close()
    return got
def must(name, good):
    print(("ok " if good else "FAIL ") + name)
def bulk(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

must("words", ask(b"SET k v\r\nGET k\r\n\r\nPING\r\n") == b"+OK\r\n$1\r\nv\r\n+PONG\r\n")
must("binary", ask(bulk(b"SET", b"\0\r\n", b"\xff" * 5) + bulk(b"GET", b"\0\r\n")) ==
     b"+OK\r\n$5\r\n" + b"\xff" * 5 + b"\r\n")
whole = bulk(b"SET", b"key", b"value") + bulk(b"GET", b"key")
s = connect()  # byte by byte
for b in whole:
    s.sendall(bytes([b]))
    time.sleep(0.0005)
must("slow client", s.recv(100).startswith(b"+OK\r\n"))
s.close()
for n in range(len(whole)):
    got = ask(whole[:n])
    if b"ERR" in got:
        must(f"cut off at {n}", False)
for name, bad in (("count", b"*x\r\n"), ("huge count", b"*99999999\r\n"),
                  ("no dollar", b"*1\r\n+PING\r\n"), ("huge bulk", b"*1\r\n$9999999999\r\n"),
                  ("long number", b"*" + b"1" * 100), ("bulk end", b"*1\r\n$4\r\nPINGxx"),
                  ("endless word", b"a" * 100000), ("large", bulk(b"SET", b"k", b"x" * (2 << 20)))):
    got = ask(bad, cut=False)
    must(name, b"-ERR Protocol error" in got or b"too large" in got or b"<reset>" in got)
random.seed(7)
for i in range(300):
    words = bytearray(bulk(*[random.choice([b"GET", b"SET", b"LPUSH", b"a", b"1", b"", b"MGET"])
                             for _ in range(random.randrange(1, 6))]) * 2)
    for _ in range(random.randrange(4)):
        words[random.randrange(len(words))] = random.randrange(256)
    ask(bytes(words))
must("after a fuzz", ask(b"PING\r\n") == b"+PONG\r\n")
value = b"v" * 500000
must("large value", ask(bulk(b"SET", b"big", value) + bulk(b"GET", b"big")) ==
     b"+OK\r\n$500000\r\n" + value + b"\r\n")
lazy = connect()  # asks and does not read
lazy.settimeout(0.5)
try:
    for _ in range(400):
        lazy.sendall(bulk(b"GET", b"big"))
except (BlockingIOError, socket.timeout, ConnectionError):
    pass
must("beside a client that does not read", ask(b"PING\r\n") == b"+PONG\r\n")
lazy.close()
time.sleep(0.2)

# HTTP, which a web page can make a browser send: what follows a request line or header is not run
for start in (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"PUT /x HTTP/1.1\r\n", b"GET / http/1.0\r\n\r\n", b"post\r\n",
              b"Host: a\r\n", b"  OPTIONS * HTTP/2\r\n", b"PING\r\nContent-Type: text/plain\r\n"):
    got = ask(start + b"SET pwned 1\r\n" + bulk(b"SET", b"pwned", b"1"), cut=False)
    must(f"{start!r} is refused", b"OK" not in got and got.count(b"-ERR") == 1)
must("HTTP is not run", ask(b"EXISTS pwned\r\n") == b":0\r\n")
must("a word with a slash is fine", ask(b"SET http/ x:\r\nGET http/\r\n") == b"+OK\r\n$2\r\nx:\r\n")

# numbers as strict as those of redis, in values and in the protocol
for text in (b"5\0z", b"\t5", b"\n7", b"007", b"-0", b"+1", b"", b"1 ", b"9223372036854775808"):
    must(f"INCR of {text!r}", ask(bulk(b"SET", b"n", text) + bulk(b"INCR", b"n")).count(b"-ERR value is not an integer") == 1)
for head in (b"*1\r\n$\t4\r\nPING\r\n", b"*1\r\n$4\0\r\nPING\r\n", b"*1\r\n$-0\r\n\r\n", b"*01\r\n$4\r\nPING\r\n", b"*1\r\n$-1\r\n"):
    must(f"head {head!r}", ask(head, cut=False).startswith(b"-ERR Protocol error"))
must("no arguments", ask(b"*0\r\n*-1\r\nPING\r\n") == b"+PONG\r\n")

# protocol 3
hello = ask(bulk(b"HELLO", b"3") + bulk(b"GET", b"none") + bulk(b"HSET", b"h", b"f", b"v") + bulk(b"HGETALL", b"h"))
must("protocol 3", hello.startswith(b"%7\r\n") and hello.endswith(b"_\r\n:1\r\n%1\r\n$1\r\nf\r\n$1\r\nv\r\n"))
must("protocol 4", ask(bulk(b"HELLO", b"4")).startswith(b"-NOPROTO"))

def cpu():
    """Nanoseconds that the server has run."""
    return int(open(f"/proc/{sys.argv[2]}/schedstat").read().split()[0])

# a request that comes byte by byte is parsed once: a thousand reads cost less than the first part did
whole = bulk(b"EXISTS", *[b"k"] * 200000)
s = connect()
before = cpu()
s.sendall(whole[:-1000])
while ask(b"PING\r\n") != b"+PONG\r\n" or cpu() == before:
    pass
time.sleep(0.3)
first = cpu()
for n in range(len(whole) - 1000, len(whole) - 1):
    s.sendall(whole[n:n + 1])
    if n % 20 == 0:
        ask(b"PING\r\n")
ask(b"PING\r\n")
must(f"a trickle ({cpu() - first} after {first - before} ns)", cpu() - first < 20 * (first - before))
s.sendall(whole[-1:])
must("after the trickle", s.recv(100) in (b":0\r\n", b":200000\r\n"))
s.close()

# keys that have expired leave a server that nobody asks
s = connect()
for n in range(0, 100000, 1000):
    s.sendall(b"".join(bulk(b"SET", b"e%d" % i, b"v", b"PX", b"300") for i in range(n, n + 1000)))
    got = b""
    while len(got) < 5000:
        got += s.recv(65536)
for _ in range(200):
    left = int(ask(b"KEYS e*\r\nDBSIZE\r\n").split(b"\r\n")[-2][1:])
    if left < 20:
        break
    time.sleep(0.1)
must(f"expired keys go ({left} left)", left < 20)
s.close()
time.sleep(0.2)
many = []
refused = 0
for i in range(60):
    c = connect()
    c.sendall(b"PING\r\n")
    many.append(c)
for c in many:
    try:
        got = c.recv(100)
    except ConnectionResetError:
        got = b"max number"
    refused += b"max number" in got
    c.close()
must(f"too many clients ({refused})", 25 <= refused <= 35)
time.sleep(0.3)
must("room again", ask(b"PING\r\n") == b"+PONG\r\n")
held = [connect() for _ in range(30)]
for c in held:
    c.sendall(b"PING\r\n")
    c.recv(100)
refused = 0
for _ in range(2000):
    refused += ask(b"", cut=False) == b"-ERR max number of clients reached\r\n"
must(f"two thousand past the limit ({refused})", refused == 2000)
for c in held:
    c.sendall(b"PING\r\n")
must("beside those that were refused", all(c.recv(100) == b"+PONG\r\n" for c in held))
for c in held:
    c.close()
time.sleep(0.2)
must("room once more", ask(b"PING\r\n") == b"+PONG\r\n")
PY
    check 'requests of all kinds: the client ran' test $? -eq 0
    grep '^FAIL\|Error' "$tmp/out" >"$tmp/wrong" && fail 'requests of all kinds' "$tmp/wrong"
    check 'requests of all kinds' test "$(grep -c '^ok' "$tmp/out")" -ge 48
    stop 'requests of all kinds'

    # replies of more than a client takes at once, and of more than 64 MiB, come whole
    start -m 100
    timeout 60 python3 - "$port" >"$tmp/out" 2>&1 <<'PY'
import socket, sys
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
reader = s.makefile("rb")
def bulk(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)
def value():
    n = int(reader.readline()[1:])
    return reader.read(n + 2)[:-2]
large = b"0123456789abcdef" * (5 << 20)
s.sendall(bulk(b"SET", b"k", large))
assert reader.readline() == b"+OK\r\n"
s.sendall(bulk(b"GET", b"k"))
assert value() == large
s.sendall(bulk(b"MGET", b"k", b"k") + bulk(b"DEL", b"k") + bulk(b"PING"))  # it goes while it is sent
assert reader.readline() == b"*2\r\n" and value() == large and value() == large
assert reader.readline() == b":1\r\n" and reader.readline() == b"+PONG\r\n"
for _ in range(70):
    s.sendall(bulk(b"RPUSH", b"l", *[b"x" * 1000] * 1000))
    reader.readline()
s.sendall(bulk(b"LRANGE", b"l", b"0", b"-1") + bulk(b"PING"))
assert reader.readline() == b"*70000\r\n" and all(value() == b"x" * 1000 for _ in range(70000))
assert reader.readline() == b"+PONG\r\n"
print("whole")
PY
    has 'large replies' "$tmp/out" whole
    stop 'large replies'

    # pages over HTTP, beside commands
    GOMEM_DEBUG=profile=4KiB start -w 0
    web=$(sed -n 's|.*pages at http://127.0.0.1:\([0-9]*\)/metrics$|\1|p' "$tmp/server")
    timeout 120 python3 - "$port" "${web:-0}" >"$tmp/out" 2>&1 <<'PY'
import http.client, re, socket, sys, threading
port, web = int(sys.argv[1]), int(sys.argv[2])
def must(what, true):
    print("ok" if true else "FAIL", what, flush=True)
def ask(method, path, **more):
    c = http.client.HTTPConnection("127.0.0.1", web, timeout=30)
    c.request(method, path, **more)
    r = c.getresponse()
    body = r.read()
    must(f"{method} {path}: length", method == "HEAD" or len(body) == int(r.headers["Content-Length"]))
    c.close()
    return r.status, r.headers, body
def raw(request):
    with socket.create_connection(("127.0.0.1", web), 30) as s:
        s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        return s.makefile("rb").read()
redis = socket.create_connection(("127.0.0.1", port), 30)
lines = redis.makefile("rb")
for i in range(2000):
    redis.sendall(b"SET key%d %s\r\n" % (i, b"x" * 1000))
    lines.readline()

status, headers, body = ask("GET", "/metrics")
must("metrics", status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"))
sample = re.compile(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.]+$')
text = body.decode().splitlines()
must("lines of metrics", all(sample.match(l) or re.match("# (HELP|TYPE) gomem_", l) for l in text))
figures = dict(l.split() for l in text if not l.startswith("#") and "{" not in l)
must("a figure of them", float(figures["gomem_memstats_alloc_bytes_total"]) > 2000 * 1000)
must("a query is not part of a path", ask("GET", "/metrics?x=/y")[0] == 200)
status, headers, body = ask("GET", "/debug/pprof/heap")
must("profile", status == 200 and body[:1] == b"\x32" and b"inuse_space" in body)
must("it has samples", len(body) > 1000)
status, headers, body = ask("GET", "/debug/report")
must("report", status == 200 and headers["Content-Type"].startswith("text/html"))
must("it is whole", b"<html" in body[:200] and body.rstrip().endswith(b"</html>"))

for path in "/", "/metric", "/metrics/", "/debug/pprof/", "/../metrics", "//metrics":
    must(f"no page {path}", ask("GET", path)[0] == 404)
for method in "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "get":
    status, headers, body = ask(method, "/metrics", body=b"x=" + b"y" * 3000 if method == "POST" else None)
    must(f"{method} is refused", status == 405 and headers["Allow"] == "GET")
    must(f"{method}: body", (method == "HEAD") == (body == b""))
must("pprof's symbols", ask("POST", "/debug/pprof/symbol", body=b"0x1+0x2")[::2] == (200, b""))
for bad in (b"", b"\r\n\r\n", b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /metrics HTTP/2\r\n\r\n",
            b"PING\r\n\r\n", b"*1\r\n$4\r\nPING\r\n", b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
            b"GET /" + b"x" * 20000, b"\0" * 100 + b"\r\n\r\n", b"GET /\0metrics HTTP/1.1\r\n\r\n"):
    must(f"no request: {bad[:24]!r}", raw(bad).startswith(b"HTTP/1.1 400 "))
parts = socket.create_connection(("127.0.0.1", web), 30)
for byte in b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n":
    parts.sendall(bytes([byte]))
must("byte by byte", parts.makefile("rb").read(15) == b"HTTP/1.1 200 OK")

idle = [socket.create_connection(("127.0.0.1", web), 30) for _ in range(8)]
must("beside idle connections", ask("GET", "/metrics")[0] == 200)
redis.sendall(b"PING\r\n")
must("and commands", lines.readline() == b"+PONG\r\n")
answers = []
readers = [threading.Thread(target=lambda: answers.append(raw(b"GET /debug/report HTTP/1.1\r\n\r\n")))
           for _ in range(4)]
for t in readers:
    t.start()
for i in range(2000):
    redis.sendall(b"SET key%d %s\r\nGET key%d\r\n" % (i, b"y" * 1000, i))
    if [lines.readline() for _ in range(3)] != [b"+OK\r\n", b"$1000\r\n", b"y" * 1000 + b"\r\n"]:
        must("commands beside reports", False)
for t in readers:
    t.join()
must("reports beside commands", all(a.endswith(b"</html>\n") for a in answers) and len(answers) == 4)
more = [socket.create_connection(("127.0.0.1", web), 30) for _ in range(20)]
must("too many are closed", any(s.recv(1) == b"" for s in more[-4:]))
for s in idle + more:
    s.close()
for _ in range(100):
    try:
        again = ask("GET", "/metrics")[0]
        break
    except OSError:
        pass
must("room once more", again == 200)
PY
    check 'pages: the client ran' test $? -eq 0
    grep '^FAIL\|Error' "$tmp/out" >"$tmp/wrong" && fail 'pages' "$tmp/wrong"
    check 'pages' test "$(grep -c '^ok' "$tmp/out")" -ge 63
    if command -v go >/dev/null 2>&1; then
        PPROF_TMPDIR=$tmp timeout 120 go tool pprof -top "http://127.0.0.1:$web/debug/pprof/heap" \
            >"$tmp/top" 2>"$tmp/err"
        check 'go tool pprof: status' test $? -eq 0
        has 'go tool pprof names the function that allocates values' "$tmp/top" text_new
    else
        echo 'SKIP kvserver: go tool pprof: there is no go'
        skipped=$((skipped + 1))
    fi
    stop pages
else
    echo 'SKIP kvserver: malformed requests: there is no python3'
    skipped=$((skipped + 1))
fi
server=
finish
