"""Random commands to kvserver and redis-server: each pair of replies must be equal.

    kvdiff.py PORT REDIS [COMMANDS [SEED]]          REDIS: a port or a socket's path

Prints each difference and their number. What is not comparable is left out: the order of KEYS, SCAN,
SMEMBERS and HGETALL (sorted here), the choice of SPOP (it is given a set that it empties), remaining
times by more than a second.
"""
import random
import socket
import sys


class Client:
    def __init__(self, port, protocol):
        if port.isdigit():
            self.socket = socket.create_connection(("127.0.0.1", int(port)), 20)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(port)
        self.file = self.socket.makefile("rb")
        if protocol == 3:
            self.ask([b"HELLO", b"3"])

    def send(self, words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError(f"the server has closed the connection: {line!r}")
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-:,_#":
            return kind + rest
        n = int(rest)
        if n < 0:
            return line
        if kind == b"$":
            return self.file.read(n + 2)[:-2]
        if kind not in b"*~%":
            raise ValueError(line)
        return [kind] + [self.read() for _ in range(n * 2 if kind == b"%" else n)]

    def ask(self, words):
        self.send(words)
        return self.read()


KEYS = [b"k%d" % i for i in range(24)] + [b"", b"\0\r\n", b"a" * 300, "é".encode()]
NUMBERS = [b"0", b"1", b"-1", b"7", b"10", b"-3", b"100", b"9223372036854775807", b"-9223372036854775808",
           b"9223372036854775808", b"-9223372036854775809", b"007", b"-0", b"+5", b" 5", b"5 ", b"\t5", b"5\0z",
           b"", b"x", b"1e3", b"3.0", b"0x10", b"99999999999999999999"]
SMALL = [b"0", b"1", b"2", b"3", b"5", b"-1", b"-2", b"-100", b"100", b"x", b""]
VALUES = [b"", b"v", b"5", b"\0\xff\r\n", b"x" * 100, b"y" * 3000, b"z" * 20000, b"two words"]
TIMES = [b"100", b"1000", b"0", b"-1", b"x", b"", b"9223372036854775807", b"9223372036854775", b"05"]
SCORES = [b"0", b"1", b"-1", b"1.5", b"2.25", b"1e5", b"inf", b"-inf", b"+inf", b"nan", b"x", b"", b" 1", b"1 ", b"3"]
PATTERNS = [b"*", b"k*", b"k?", b"k[1-3]", b"k[^1]", b"*1*", b"k1", b"\\k1", b"k[", b"[", b"", b"k[3-1]*", b"**2", b"k[1-"]


def command(rng):
    """A command, and how to compare its replies."""
    key = lambda: rng.choice(KEYS[:6] if rng.random() < .5 else KEYS)
    pick = rng.choice
    number = lambda: pick(NUMBERS) if rng.random() < .5 else b"%d" % rng.randrange(-50, 50)
    value = lambda: pick(VALUES) if rng.random() < .7 else number()
    some = lambda f, n=4: [f() for _ in range(rng.randrange(1, n))]
    member = lambda: b"m%d" % rng.randrange(8)
    name = pick(ALL)
    same, ordered = "same", "sorted"
    table = {
        b"GET": lambda: [key()], b"GETDEL": lambda: [key()], b"STRLEN": lambda: [key()],
        b"MGET": lambda: some(key), b"DEL": lambda: some(key), b"UNLINK": lambda: some(key), b"EXISTS": lambda: some(key),
        b"TYPE": lambda: [key()], b"PERSIST": lambda: [key()], b"TTL": lambda: [key()],
        b"SET": lambda: [key(), value()] + [w for _ in range(rng.randrange(4)) for w in pick(
            [[], [b"NX"], [b"xx"], [b"GET"], [b"KEEPTTL"], [b"EX", pick(TIMES)], [b"px", pick([b"100000", b"0", b"x"])],
             [b"EXAT", b"9999999999"], [b"PXAT", b"9999999999999"], [b"EX"], [b"what"]])],
        b"SETNX": lambda: [key(), value()],
        b"SETEX": lambda: [key(), pick(TIMES), value()], b"PSETEX": lambda: [key(), pick([b"100000", b"0", b"-5", b"x"]), value()],
        b"APPEND": lambda: [key(), value()], b"MSET": lambda: [w for _ in range(rng.randrange(1, 4)) for w in (key(), value())] +
        pick([[], [], [], [key()]]),
        b"INCR": lambda: [key()], b"DECR": lambda: [key()], b"INCRBY": lambda: [key(), number()], b"DECRBY": lambda: [key(), number()],
        b"EXPIRE": lambda: [key(), pick(TIMES)], b"PEXPIRE": lambda: [key(), pick([b"100000", b"-1", b"x", b"9223372036854775807"])],
        b"EXPIREAT": lambda: [key(), pick([b"9999999999", b"1", b"x", b"-5", b"9223372036854775807"])],
        b"PEXPIREAT": lambda: [key(), pick([b"9999999999999", b"1", b"x"])],
        b"KEYS": lambda: [pick(PATTERNS)],
        b"LPUSH": lambda: [key()] + some(value), b"RPUSH": lambda: [key()] + some(value),
        b"LPOP": lambda: [key()] + pick([[], [], [pick(SMALL)]]), b"RPOP": lambda: [key()] + pick([[], [], [pick(SMALL)]]),
        b"LLEN": lambda: [key()], b"LRANGE": lambda: [key(), pick(SMALL), pick(SMALL)],
        b"HSET": lambda: [key()] + [w for _ in range(rng.randrange(1, 4)) for w in (member(), value())] + pick([[], [], [b"odd"]]),
        b"HGET": lambda: [key(), member()], b"HDEL": lambda: [key()] + some(member), b"HLEN": lambda: [key()],
        b"HEXISTS": lambda: [key(), member()], b"HGETALL": lambda: [key()],
        b"SADD": lambda: [key()] + some(member), b"SREM": lambda: [key()] + some(member), b"SCARD": lambda: [key()],
        b"SISMEMBER": lambda: [key(), member()], b"SMEMBERS": lambda: [key()], b"SPOP": lambda: [key(), pick([b"100", b"0", b"x", b"-1"])],
        b"ZADD": lambda: [key()] + [w for _ in range(rng.randrange(1, 4)) for w in (pick(SCORES[:8] if rng.random() < .8 else SCORES), member())] +
        pick([[], [], [], [b"1"]]),
        b"ZSCORE": lambda: [key(), member()], b"ZCARD": lambda: [key()], b"ZREM": lambda: [key()] + some(member),
        b"ZPOPMIN": lambda: [key()] + pick([[], [pick(SMALL)]]),
        b"ZRANGE": lambda: [key(), pick(SMALL), pick(SMALL)] + pick([[], [b"WITHSCORES"], [b"withscores"]]),
        b"PING": lambda: pick([[], [value()]]), b"ECHO": lambda: [value()], b"DBSIZE": lambda: [],
        b"SELECT": lambda: [pick([b"0", b"0", b"3", b"15", b"16", b"-1", b"x"])],
        b"FLUSHDB": lambda: [], b"FLUSHALL": lambda: [], b"MULTI": lambda: [], b"EXEC": lambda: [], b"DISCARD": lambda: [],
        b"WATCH": lambda: [key()], b"UNWATCH": lambda: [],
        b"NOSUCH": lambda: some(value), b"CLIENT": lambda: pick([[b"SETNAME", b"n"], [b"GETNAME"], [b"SETNAME", b"a b"]]),
    }
    words = [name] + table[name]()
    if rng.random() < .02 and name != b"CLIENT":
        words = words[:-1] if rng.random() < .5 and words[1:] else words + [b"more"] * 3  # too few or too many
    if rng.random() < .1:
        words[0] = words[0].lower()
    if name in (b"KEYS", b"SMEMBERS", b"SPOP"):
        return words, ordered
    return words, {b"HGETALL": "pairs", b"TTL": "about"}.get(name, same)


WEIGHT = {b"FLUSHALL": 0, b"FLUSHDB": 0, b"GETDEL": 2, b"DEL": 4, b"SET": 6, b"INCRBY": 3, b"EXEC": 3}
ALL = [n for n in """GET GETDEL STRLEN MGET DEL UNLINK EXISTS TYPE PERSIST TTL SET SETNX SETEX PSETEX APPEND MSET INCR DECR
INCRBY DECRBY EXPIRE PEXPIRE EXPIREAT PEXPIREAT KEYS LPUSH RPUSH LPOP RPOP LLEN LRANGE HSET HGET HDEL HLEN HEXISTS HGETALL SADD
SREM SCARD SISMEMBER SMEMBERS SPOP ZADD ZSCORE ZCARD ZREM ZPOPMIN ZRANGE PING ECHO DBSIZE SELECT FLUSHDB FLUSHALL MULTI EXEC
DISCARD WATCH UNWATCH NOSUCH CLIENT""".encode().split() for _ in range(WEIGHT.get(n, 2))] + [b"FLUSHALL"]


def shape(reply, how):
    """A reply without what may differ."""
    if how == "about":
        return reply if len(reply) < 4 else reply[:-2]
    if isinstance(reply, list):
        rest = [shape(r, "same") for r in reply[1:]]
        if how == "sorted":
            rest.sort(key=repr)
        if how == "pairs":
            rest = sorted(zip(rest[::2], rest[1::2]))
        return [reply[0]] + rest
    return reply


def scan(client):
    """All keys, by SCAN."""
    cursor, found = b"0", []
    while True:
        reply = client.ask([b"SCAN", cursor, b"COUNT", b"7"])
        cursor = reply[1]
        found += reply[2][1:]
        if cursor == b"0":
            return sorted(set(found))


def main():
    ports = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 60000
    rng = random.Random(int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    clients = {p: [Client(port, p) for port in ports] for p in (2, 3)}
    scanners = [Client(port, 2) for port in ports]
    differences = 0
    queued = {2: [], 3: []}  # how to compare the replies of EXEC
    for n in range(count):
        protocol = rng.choice((2, 2, 3))
        words, how = command(rng)
        if rng.random() < .003:
            got = [scan(c) for c in scanners]
        else:
            for c in clients[protocol]:
                c.send(words)
            got = [c.read() for c in clients[protocol]]
            if got[0] == b"+QUEUED":
                queued[protocol].append(how)
            elif words[0].upper() == b"EXEC" and isinstance(got[0], list) and len(words) == 1:
                got = [r[:1] + [shape(x, h) for x, h in zip(r[1:], queued[protocol])] for r in got]
                queued[protocol] = []
            elif words[0].upper() in (b"EXEC", b"DISCARD") and len(words) == 1:
                queued[protocol] = []
            got = [shape(r, how) for r in got]
        if got[1:] and got[0] != got[1]:
            differences += 1
            print(f"DIFFERENT {n} protocol {protocol}: {[w[:40] for w in words]}: {str(got[0])[:150]} and {str(got[1])[:150]}")
    print(f"{count} commands, {differences} differences")


main()
