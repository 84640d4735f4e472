#!/bin/sh
# The example kvserver: its commands by redis-cli, many requests at once by redis-benchmark, what is no
# request, slow and too many clients, under a small heap goal and with every collector.
. "$(dirname "$0")/check"
kvserver=$bin/kvserver

# start OPTION...: a server on a free port; its number in $port, its process in $server.
start() {
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
for wrong in '-p 65536' '-p x' '-c 0' '-m' '-b nowhere' '-g none' '-g' '-x 1'; do
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
ERR syntax error

ERR unknown command 'NONSENSE'

with blanks
5
OK
0
REPLIES
    timeout 20 redis-cli -p "$port" <"$tmp/commands" >"$tmp/actual" 2>"$tmp/err"
    check 'redis-cli: status' test $? -eq 0
    same 'redis-cli' "$tmp/expected" "$tmp/actual"
    redis-cli -p "$port" SET brief 1 EX 1 >/dev/null
    sleep 1.2
    check 'expired' test -z "$(redis-cli -p "$port" GET brief)"
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
        timeout 60 redis-benchmark -p "$port" -n 40000 -r 5000 -d 1024 -c 50 -P 16 -q \
            -t set,get,incr,lpush,lrange_100,mset >"$tmp/bench" 2>&1
        check "redis-benchmark, $collector: status" test $? -eq 0
        check "redis-benchmark, $collector: six answers" \
            test "$(tr '\r' '\n' <"$tmp/bench" | grep -c 'requests per second')" -ge 6
        [ "$(redis-cli -p "$port" INFO | tr -d '\r' | sed -n 's/^num_gc://p')" -gt 2 ]
        check "redis-benchmark, $collector: cycles ran" test $? -eq 0
        stop "redis-benchmark, $collector"
    done
else
    echo 'SKIP kvserver: redis-benchmark is not installed'
    skipped=$((skipped + 1))
fi

# -- what is no request, slow clients, too many
if command -v python3 >/dev/null 2>&1; then
    start -c 30 -m 1
    timeout 100 python3 - "$port" >"$tmp/out" 2>&1 <<'PY'
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
for name, bad in (("count", b"*x\r\n"), ("negative", b"*-5\r\n$1\r\na\r\n"), ("huge count", b"*99999999\r\n"),
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
for _ in range(10000):
    refused += ask(b"", cut=False) == b"-ERR max number of clients reached\r\n"
must(f"ten thousand past the limit ({refused})", refused == 10000)
for c in held:
    c.sendall(b"PING\r\n")
must("beside those that were refused", all(c.recv(100) == b"+PONG\r\n" for c in held))
for c in held:
    c.close()
time.sleep(0.2)
must("room once more", ask(b"PING\r\n") == b"+PONG\r\n")
PY
    check 'requests of all kinds: the client ran' test $? -eq 0
    grep -q '^FAIL\|Error' "$tmp/out" && fail 'requests of all kinds' "$tmp/out"
    check 'requests of all kinds' test "$(grep -c '^ok' "$tmp/out")" -ge 17
    stop 'requests of all kinds'
else
    echo 'SKIP kvserver: malformed requests: there is no python3'
    skipped=$((skipped + 1))
fi
server=
finish
