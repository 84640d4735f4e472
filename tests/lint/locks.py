"""The order of locks: which functions take which lock while others are held.

Each function is followed through its statements, with the set of locks that it holds on each path and
what it knows of the conditions that it has passed, and through its calls: by name, by a function that
is an argument, and by hooks (functions that are stored in a field, called through it). What calls do
is found once for each function, as the locks that it leaves held or released for each of its
results, and the locks that it takes on the way."""
import collections
import re

from source import groups, strip_attributes

TAKE, TRY, RELEASE = "gm_sync_lock", "gm_sync_try", "gm_sync_unlock"
# Where only the holder of the locks asks (rule V8), nothing is taken: the other case is followed.
FALSE = {"gm_world_forks"}
# Where data tells of locks, and not the result of a call: (result, taken, released), by ranks.
TOLD = {
    "gm_alloc_enter": [(True, ["GONE"], []), (False, [], [])],   # for a thread that has ended
    "gm_alloc_leave": [(None, [], ["GONE"])],                    # for the same
    "gm_gc_try_stop": [(False, ["GONE", "WORLD"], []), (True, [], [])],
    "gm_gc_stop_locked": [],                                     # stop.stopped tells gm_gc_try_stop
    "gm_roots_enter": [],                                        # walk.turn tells gm_roots_walk
    "gm_roots_walk": [],
}
LATER = re.compile(r"gm_store|pthread_atfork$")  # gets functions that are called later
HAS_ALL = {"gm_roots_scan_loader_locked"}                        # its walk has TURN and takes nothing
TOKEN = re.compile(r"[A-Za-z_]\w*|\d\w*|->|&&|\|\||[-+*/%&|^<>=!]=|<<=?|>>=?|\+\+|--|\S")
NAME = re.compile(r"[A-Za-z_]\w*$")
TYPE = r"(?:const\s+)?(?:struct\s+)?(gm_\w+|gomem_\w+)((?:[\s*]|\bconst\b)*)"

# A path: locks taken here and still held, locks of the callers that were released here, and what is
# known of conditions.
Path = collections.namedtuple("Path", "held released known")
START = Path(frozenset(), frozenset(), frozenset())
# What a function does: outcomes {(result, taken, released)}, takes {(lock, released before)}, and
# calls of its parameters {(position, held, released)}.
Summary = collections.namedtuple("Summary", "outcomes takes calls")
NOTHING = Summary(frozenset([(None, frozenset(), frozenset())]), frozenset(), frozenset())


def read_fields(src):
    """{struct: {field: type}}; those of unnamed parts count as the struct's own."""
    fields = {}
    for m in re.finditer(r"\b(?:struct|union)\s+(?:__attribute__\s*\(\(.*?\)\)\s*)?(\w+)\s*\{", src.flat):
        depth, i = 1, m.end()
        while depth and i < len(src.flat):
            depth += {"{": 1, "}": -1}.get(src.flat[i], 0)
            i += 1
        own = fields.setdefault(m.group(1), {})
        for f in re.finditer(TYPE + r"(\w+)((?:\s*\[[^\]]*\])*(?:\s*,\s*\**\w+)*)\s*;",
                             re.sub(r"_Alignas\(\w+\)", "", src.flat[m.end():i])):
            for name in [f.group(3)] + re.findall(r",\s*\**(\w+)", f.group(4)):
                own[name] = (f.group(1), "*" in f.group(2))
    return fields


class Locks:
    """What the whole file does with locks."""

    def __init__(self, src):
        self.src = src
        self.fields = read_fields(src)
        self.functions = collections.defaultdict(list)
        self.returns = {}
        for f in src.functions:
            room = src.room_of(f.head)
            if room and room.floor is not None:
                self.functions[f.name].append(f)
                m = re.search(TYPE + re.escape(f.name) + r"\s*\(", strip_attributes(f.text))
                if m:
                    self.returns[f.name] = m.group(1)
        self.bodies, self.types, self.params = {}, {}, {}
        for f in [f for same in self.functions.values() for f in same]:
            rows = src.flat.split("\n")[f.body - 1:f.end]
            rows[0] = rows[0][rows[0].index("{"):]
            self.bodies[f] = [(t.group(), f.body + i) for i, row in enumerate(rows)
                              for t in TOKEN.finditer(row)]
            self.types[f] = {n: t for t, _, n in re.findall(TYPE + r"(\w+)\s*(?=[=,;)\[])",
                                                            f.text + " " + "\n".join(rows))}
            inside = f.text[groups(f.text)[-1][0] + 1:-1]
            self.params[f] = [re.search(r"\(\s*\*\s*(\w+)|(\w+)\W*$", p) for p in split(inside)]
            self.params[f] = [p and (p.group(1) or p.group(2)) for p in self.params[f]]
        self.hooks = self.find_hooks()
        self.ranks = self.find_ranks()
        self.summaries = collections.defaultdict(lambda: NOTHING)
        self.nested = {}  # (outer, inner): (function, line)
        self.direct = collections.defaultdict(dict)  # room: {lock: line}
        self.pairs = collections.defaultdict(set)  # room: the nestings in its functions
        self.unknown = []  # (line, expression) of a lock that is not understood
        self.follow()

    def find_hooks(self):
        """{field or variable: functions that are stored in it}."""
        hooks = collections.defaultdict(set)
        stored = re.compile(r"(\w+)\s*=\s*&?(gm_\w+|gomem_\w+)\s*[;,}]|"
                            r"gm_store_\w+\s*\(\s*&[^,;]*?(\w+)\s*,\s*(gm_\w+)\s*\)")
        for m in stored.finditer(self.src.flat):
            field, name = m.group(1) or m.group(3), m.group(2) or m.group(4)
            if name in self.functions:
                hooks[field].add(name)
        return hooks

    def find_ranks(self):
        """{(struct, field) of a lock: (its rank, line)}; rank None: never set."""
        ranks = {(s, f): (None, 0) for s, own in self.fields.items() for f, t in own.items()
                 if t == ("gm_lock", False)}
        for f, body in self.bodies.items():
            text = " ".join(t for t, _ in body)
            for m in re.finditer(r"((?:[\w.\[\]> -]+ \. rank = )+)GM_RANK_(\w+)", text):
                for part in m.group(1).split(". rank =")[:-1]:
                    lock = self.lock_of(f, part.split())
                    if lock in ranks:
                        ranks[lock] = (m.group(2), f.head)
        return ranks

    def lock_of(self, f, tokens):
        """(struct, field) that an expression names, or a parameter's position, or None."""
        tokens = [t for t in tokens if t not in ("&", "(", ")", "*")] if "[" not in tokens else tokens
        tokens = re.sub(r"\[[^\]]*\]", "", " ".join(tokens)).replace("&", "").split()
        if not tokens:
            return None
        kind, owner = self.types[f].get(tokens[0]), None
        if tokens[0] == "gm_runtime" and kind is None:
            kind = "gm_runtime"
        if len(tokens) == 1:
            return self.params[f].index(tokens[0]) if tokens[0] in self.params[f] else None
        for t in tokens[1:]:
            if t in (".", "->"):
                continue
            owner, kind = kind, self.fields.get(kind, {}).get(t, (None,))[0]
            last = t
        return (owner, last) if kind == "gm_lock" else None

    def told(self, name):
        by_rank = {rank: lock for lock, (rank, _) in self.ranks.items()}
        return frozenset((result, frozenset(by_rank[r] for r in taken if r in by_rank),
                          frozenset(by_rank[r] for r in released if r in by_rank))
                         for result, taken, released in TOLD[name]) or NOTHING.outcomes

    def follow(self):
        """Every function, until nothing changes; then the nestings of the last round hold."""
        for _ in range(8):
            self.nested.clear()
            self.pairs.clear()
            changed = False
            for name, same in self.functions.items():
                if name in (TAKE, TRY, RELEASE, TAKE + "_slow"):
                    continue
                # of two definitions, the longer: the other one stands for a part that is left out
                f = max(same, key=lambda f: len(self.bodies[f]))
                whole = Walk(self, f).summary()
                if name in TOLD:
                    whole = whole._replace(outcomes=self.told(name))
                if name in HAS_ALL:
                    whole = NOTHING
                changed |= whole != self.summaries[name]
                self.summaries[name] = whole
            if not changed:
                break


def split(text):
    """The arguments of a list, by the commas of its top level."""
    parts, depth, last = [], 0, 0
    for i, c in enumerate(text):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(c, 0)
        if c == "," and depth == 0:
            parts.append(text[last:i])
            last = i + 1
    return parts + [text[last:]] if text.strip() else []


class Walk:
    """The paths through one function."""

    def __init__(self, locks, f):
        self.locks, self.f, self.tokens = locks, f, locks.bodies[f]
        self.room = locks.src.room_of(f.head).name
        self.takes, self.calls, self.returned, self.labels = set(), set(), set(), {}

    def summary(self):
        end, _ = self.statement(0, {START})
        for path in end["next"]:
            self.returned.add((None, path))
        outcomes = {(r, p.held, p.released) for r, p in self.returned}
        if len({o[1:] for o in outcomes}) == 1:
            outcomes = {(None,) + o[1:] for o in outcomes}
        # Of what one result may mean, the most: a lock that is taken if something holds is released
        # by a function that asks the same.
        outcomes = {o for o in outcomes if not any(
            o != q and o[0] == q[0] and o[1] <= q[1] and o[2] <= q[2] for q in outcomes)}
        return Summary(frozenset(outcomes), frozenset(self.takes), frozenset(self.calls))

    # ---- statements: each gives the paths that go on, break or continue, and where it ends ----

    def match(self, at):
        """The place behind the bracket that closes the one at `at`."""
        depth = 0
        while True:
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(self.tokens[at][0], 0)
            at += 1
            if depth == 0:
                return at

    def block(self, at, paths):
        flow = {"next": paths, "break": set(), "continue": set()}
        at += 1
        while self.tokens[at][0] != "}":
            one, at = self.statement(at, flow["next"])
            flow = {"next": one["next"], "break": flow["break"] | one["break"],
                    "continue": flow["continue"] | one["continue"]}
        return flow, at + 1

    def statement(self, at, paths):
        word = self.tokens[at][0]
        after = self.tokens[at + 1][0] if at + 1 < len(self.tokens) else ""
        if word == "{":
            return self.block(at, paths)
        if word == "if":
            return self.branch(at, paths)
        if word in ("while", "for"):
            return self.loop(at, paths)
        if word == "do":
            return self.loop_once(at, paths)
        if word == "switch":
            return self.switch(at, paths)
        if word in ("case", "default"):
            while self.tokens[at][0] != ":":
                at += 1
            return self.statement(at + 1, paths)
        if after == ":" and NAME.match(word):
            return self.statement(at + 2, paths | self.labels.pop(word, set()))
        return self.simple(at, paths)

    def simple(self, at, paths):
        end = at
        while self.tokens[end][0] != ";":
            end = self.match(end) if self.tokens[end][0] in "([{" else end + 1
        word, rest = self.tokens[at][0], self.tokens[at:end]
        flow = {"next": set(), "break": set(), "continue": set()}
        if word == "return":
            for path, value in self.condition(rest[1:], paths):
                self.returned.add((value, path._replace(known=frozenset())))
        elif word == "goto":
            self.labels.setdefault(rest[1][0], set()).update(paths)
        elif word in ("break", "continue"):
            flow[word] = paths
        else:
            flow["next"] = self.assign(rest, paths)
        return flow, end + 1

    def assign(self, tokens, paths):
        """An expression. A variable that it sets is known where its value decides over locks."""
        words = [t for t, _ in tokens]
        at = words.index("=") if "=" in words else 0
        first = at - 1
        while first > 1 and words[first - 1] in (".", "->"):
            first -= 2
        if first == 1 and words[0] == "*":
            first = 0
        name = " ".join(words[first:at])
        if at == 0 or not NAME.match(words[at - 1]):
            return {path for path, _ in self.condition(tokens, paths)}
        done = set()
        for path, value in self.condition(tokens[at + 1:], paths):
            known = {k for k in path.known if not re.search(r"\b%s\b" % re.escape(name), k[0])}
            if value is not None:
                known.add((name, value))
            done.add(path._replace(known=frozenset(known)))
        return done

    def branch(self, at, paths):
        close = self.match(at + 1)
        chosen = self.condition(self.tokens[at + 2:close - 1], paths, True)
        flow, end = self.statement(close, {p for p, v in chosen if v})
        other = {"next": {p for p, v in chosen if not v}, "break": set(), "continue": set()}
        if self.tokens[end][0] == "else":
            other, end = self.statement(end + 1, other["next"])
        joined = {key: flow[key] | other[key] for key in flow}
        joined["next"] = merge(joined["next"], paths)
        return joined, end

    def loop(self, at, paths):
        close = self.match(at + 1)
        inside = self.tokens[at + 2:close - 1]
        first, test, step = [], inside, []
        if self.tokens[at][0] == "for":
            cuts = [i for i, (t, _) in enumerate(inside) if t == ";"]
            first, test, step = inside[:cuts[0]], inside[cuts[0] + 1:cuts[1]], inside[cuts[1] + 1:]
        if first:
            paths = self.assign(first, paths)
        out, begin, end = set(), set(), close
        while True:
            chosen = self.condition(test, paths, True) if test else [(p, True) for p in paths]
            flow, end = self.statement(close, {p for p, v in chosen if v})
            out |= {p for p, v in chosen if not v} | flow["break"]
            again = flow["next"] | flow["continue"]
            again = self.assign(step, again) if step else again
            again = merge(again, paths)
            begin |= paths
            paths = again - begin
            if not paths:
                return {"next": merge(out, begin), "break": set(), "continue": set()}, end

    def loop_once(self, at, paths):
        flow, end = self.statement(at + 1, paths)
        close = self.match(end + 1)
        chosen = self.condition(self.tokens[end + 2:close - 1], flow["next"] | flow["continue"], True)
        again, _ = self.statement(at + 1, {p for p, v in chosen if v})
        left = self.condition(self.tokens[end + 2:close - 1], again["next"] | again["continue"], True)
        out = {p for p, v in list(chosen) + list(left) if not v} | flow["break"] | again["break"]
        return {"next": merge(out, paths), "break": set(), "continue": set()}, close + 1

    def switch(self, at, paths):
        close = self.match(at + 1)
        paths = {p for p, _ in self.condition(self.tokens[at + 2:close - 1], paths)}
        going, out, has_default, i = set(), set(), False, close + 1
        while self.tokens[i][0] != "}":
            if self.tokens[i][0] in ("case", "default"):
                has_default |= self.tokens[i][0] == "default"
                going |= paths
            flow, i = self.statement(i, going)
            going = flow["next"]
            out |= flow["break"]
        out |= going if has_default else going | paths
        return {"next": merge(out, paths), "break": set(), "continue": set()}, i + 1

    # ---- expressions ----

    def condition(self, tokens, paths, decide=False):
        """The paths behind an expression, each with its value, if that is known; with `decide` each
        unknown value is tried both ways."""
        words = [t for t, _ in tokens]
        while words and words[0] == "(" and self.close(words, 0) == len(words):
            tokens, words = tokens[1:-1], words[1:-1]
        if words[:1] == ["!"] and self.operand(words, 1) == len(words):
            return {(p, None if v is None else not v)
                    for p, v in self.condition(tokens[1:], paths, decide)}
        at = self.find(words, "?")
        if at is not None:
            other = self.colon(words, at)
            chosen = self.condition(tokens[:at], paths, True)
            return set(self.condition(tokens[at + 1:other], {p for p, v in chosen if v}, decide)) | \
                set(self.condition(tokens[other + 1:], {p for p, v in chosen if not v}, decide))
        for sign, stops in (("||", True), ("&&", False)):
            at = self.find(words, sign)
            if at is not None:
                left = self.condition(tokens[:at], paths, True)
                right = self.condition(tokens[at + 1:], {p for p, v in left if v != stops}, decide)
                return {(p, v) for p, v in left if v == stops} | set(right)
        return self.leaf(tokens, words, paths, decide)

    def leaf(self, tokens, words, paths, decide):
        text = " ".join(words)
        if text in ("true", "false"):
            return {(p, text == "true") for p in paths}
        done, calls = set(), "(" in words
        for path, value in self.events(tokens, paths):
            if value is None and words and words[0] in FALSE:
                value = False
            known = dict(path.known)
            if value is None and not calls:
                value = known.get(text)
            if value is not None or not decide:
                done.add((path, value))
                continue
            for guess in (True, False):
                told = path if calls else path._replace(known=path.known | {(text, guess)})
                done.add((told, guess))
        return done

    def colon(self, words, at):
        """The place of the colon of the question mark at `at`."""
        depth, at = 1, at + 1
        while True:
            depth += {"?": 1, ":": -1}.get(words[at], 0)
            if depth == 0:
                return at
            at = self.close(words, at) if words[at] in "([{" else at + 1

    @staticmethod
    def close(words, at):
        depth = 0
        for i in range(at, len(words)):
            depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(words[i], 0)
            if depth == 0:
                return i + 1
        return len(words)

    def operand(self, words, at):
        """The place behind a name or a bracket and its suffixes."""
        while at < len(words) and words[at] == "*":
            at += 1
        while at < len(words) and (NAME.match(words[at]) or words[at] in ("(", "[", ".", "->", "!")):
            at = self.close(words, at) if words[at] in "([" else at + 1
        return at

    def find(self, words, sign):
        i = 0
        while i < len(words):
            if words[i] in ("(", "[", "{"):
                i = self.close(words, i)
                continue
            if words[i] == sign:
                return i
            if words[i] in ("?", "=") and words[i] != sign:
                return None
            i += 1
        return None

    def events(self, tokens, paths):
        """Runs the calls of an expression. The value is known if it is a call's result."""
        now = {(p, None) for p in paths}
        words = [t for t, _ in tokens]
        i = 0
        while i < len(tokens):
            if i + 1 < len(tokens) and words[i + 1] == "(" and NAME.match(words[i]):
                end = self.close(words, i + 1)
                inside = tokens[i + 2:end - 1]
                now = {(p, None) for p, _ in self.events(inside, {p for p, _ in now})}
                now = self.call(words[i], i and words[i - 1] in (".", "->"), inside, tokens[i][1], now)
                i = end
                if i < len(tokens):
                    now = {(p, None) for p, _ in now}
            else:
                i += 1
        return now

    def call(self, name, by_field, inside, line, now):
        locks, out = self.locks, set()
        arguments = split_tokens(inside)
        if name in (TAKE, TRY, RELEASE):
            lock = locks.lock_of(self.f, arguments[0])
            if lock is None:
                locks.unknown.append((line, " ".join(arguments[0])))
                return now
            now = self.likely(now, lock, name == RELEASE)
            for path, _ in now:
                if name == RELEASE:
                    out.add((self.release(path, lock), None))
                else:
                    self.take(path, lock, line)
                    out.add((self.holding(path, lock), True if name == TRY else None))
                    out |= {(path, False)} if name == TRY else set()
            return out
        called = locks.hooks[name] if by_field or name not in locks.functions else {name}
        for callee in called:
            for _, taken, released in locks.summaries[callee].outcomes:
                for lock in taken:
                    now = self.likely(now, lock, False)
                for lock in released:
                    now = self.likely(now, lock, True)
        position = locks.params[self.f].index(name) if name in locks.params[self.f] else None
        for path, _ in now:
            if position is not None:
                self.calls.add((position, path.held, path.released))
            for callee in called:
                out |= self.enter(path, callee, arguments, line)
            if not called:
                out.add((path, None))
                for given in [] if LATER.match(name) else arguments:  # of the system
                    if len(given) == 1 and given[0] in locks.functions:
                        self.enter(path, given[0], [], line)
        return out

    @staticmethod
    def likely(now, lock, held):
        """Where some paths hold a lock and others do not, a condition that is not understood decides:
        those that release it hold it, those that take it do not."""
        return {n for n in now if (lock in n[0].held) == held} or now

    def enter(self, path, callee, arguments, line):
        """A call of a function of the file: what it does, with the arguments put in."""
        what = self.locks.summaries[callee]

        def put(lock):
            if isinstance(lock, int):
                return self.locks.lock_of(self.f, arguments[lock]) if lock < len(arguments) else None
            return lock

        def put_all(some):
            return frozenset(put(x) for x in some) - {None}

        for lock, before in what.takes:
            if put(lock) is not None:
                own = not before and isinstance(lock, int)
                self.take(path, put(lock), line, put_all(before), own)
        for position, held, released in what.calls:
            given = arguments[position] if position < len(arguments) else []
            if given in ([p] for p in self.locks.params[self.f]):
                self.calls.add((self.locks.params[self.f].index(given[0]),
                                path.held | put_all(held), path.released | put_all(released)))
            elif len(given) == 1 and given[0] in self.locks.functions:
                there = path._replace(held=path.held - put_all(released) | put_all(held))
                for lock, before in self.locks.summaries[given[0]].takes:
                    self.take(there, lock, line, before, False)
        out = set()
        for value, taken, released in what.outcomes:
            after = path
            for lock in put_all(released):
                after = self.release(after, lock)
            for lock in put_all(taken):
                after = self.holding(after, lock)
                self.note(lock, line)
            out.add((after, value))
        return out

    def note(self, lock, line):
        if not isinstance(lock, int):
            self.locks.direct[self.room].setdefault(lock, line)

    def take(self, path, lock, line, before=frozenset(), own=True):
        """A lock is taken here or in a call, which has released `before`."""
        self.takes.add((lock, path.released | (before - path.held)))
        if own:
            self.note(lock, line)
        if isinstance(lock, int):
            return
        for outer in path.held - before:
            if not isinstance(outer, int):
                self.locks.nested.setdefault((outer, lock), (self.f.name, line))
                self.locks.pairs[self.room].add((outer, lock))

    @staticmethod
    def release(path, lock):
        if lock in path.held:
            return path._replace(held=path.held - {lock})
        return path._replace(released=path.released | {lock})

    @staticmethod
    def holding(path, lock):
        if lock in path.released:
            return path._replace(released=path.released - {lock})
        return path._replace(held=path.held | {lock})


def split_tokens(tokens):
    parts, depth = [[]], 0
    for t, _ in tokens:
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(t, 0)
        if t == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(t)
    return parts


def merge(paths, before):
    """Paths with the same locks become one that knows what all of them know, so that only conditions
    that decide over locks are kept."""
    same = collections.defaultdict(list)
    for p in paths:
        same[p.held, p.released].append(p.known)
    return {Path(held, released, frozenset.intersection(*known)) for (held, released), known in same.items()}


def rows_of(src):
    """The table: [(lock, line)] of enum gm_rank."""
    m = re.search(r"\benum\s+gm_rank\s*\{([^}]*)\}", src.flat)
    return [(r.group(1), src.line_at(m.start(1) + r.start(1)))
            for r in re.finditer(r"\bGM_RANK_(\w+)", m.group(1))] if m else []


def listed(src):
    """The list of the essay: [(lock, line)]; it stands below a line with the word LOCKS alone."""
    for offset, text in src.comments:
        found, inside = [], False
        for i, row in enumerate(text.split("\n"), src.line_at(offset)):
            inside = inside or re.match(r" \* LOCKS\s*$", row)
            m = inside and re.match(r" \*     ([A-Z][A-Z_]+)  +\S", row)
            if m:
                found.append((m.group(1), i))
        if found:
            return found
    return []


def check_lock_order(src):
    """Locks nest by the table's ranks and are released; essay and LOCKS say what the code does."""
    locks, rows = Locks(src), rows_of(src)
    place = {name: i for i, (name, _) in enumerate(rows)}
    for line, expression in locks.unknown:
        yield line, f"`{expression}`: the lint does not see which lock it is"
    for (owner, field), (rank, line) in locks.ranks.items():
        if rank is None:
            yield 1, f"the lock {field} of struct {owner} has no rank"
        elif rank not in place:
            yield line, f"the lock {field} of struct {owner} has the rank {rank}, no row of gm_rank"
    used = {rank for rank, _ in locks.ranks.values()}
    for name, line in rows:
        if name not in used:
            yield line, f"gm_rank has a row {name}, but no lock has that rank"
    said = listed(src)
    if [n for n, _ in said] != [n for n, _ in rows]:
        wrong = next((line for (n, line), (row, _) in zip(said, rows) if n != row), rows[0][1] if rows else 1)
        yield wrong, "the essay's list of locks differs from gm_rank: " + " ".join(n for n, _ in rows)

    def rank(lock):
        return place.get(locks.ranks.get(lock, (None, 0))[0], -1)

    names = [name for name, _ in rows]
    for (outer, inner), (function, line) in locks.nested.items():
        if rank(outer) >= 0 and rank(inner) >= 0 and rank(outer) >= rank(inner):
            yield line, (f"{function} holds {names[rank(outer)]} while {names[rank(inner)]} is taken, "
                         "against the order of gm_rank")
    for f in src.functions:
        ends = locks.summaries[f.name].outcomes if f.name.startswith("gomem_") else []
        for lock in {lock for _, taken, _ in ends for lock in taken if rank(lock) >= 0}:
            yield f.head, f"{f.name} ends with {names[rank(lock)]} held"
    for room in src.rooms:
        taken = {names[rank(k)]: line for k, line in locks.direct[room.name].items() if rank(k) >= 0}
        nests = {(names[rank(a)], names[rank(b)]) for a, b in locks.nested
                 if (a, b) in locks.pairs[room.name] or {a, b} <= set(locks.direct[room.name])}
        yield from check_card(room, names, taken, nests)


def check_card(room, names, taken, nests):
    """LOCKS names what the room's functions take. `A, then B` says that B is taken while A is held.
    A clause (up to `;`) with the word hold is about others."""
    text, line = next(((t, l) for k, t, l in room.card if k == "LOCKS"), ("", room.line))
    name = r"\b(?:%s)\b" % "|".join(names or ["-"])
    known, inner = set(), set()
    for clause in [c for c in re.split(r"[;.]", text) if not re.search(r"\bholds?\b", c)]:
        known.update(re.findall(name, clause))
        held = []
        for part in re.split(r"\bthen\b", clause):
            here = re.findall(name, part)
            for outer, lock in [(a, b) for a in held for b in here]:
                inner.add(lock)
                if (outer, lock) not in nests:
                    yield line, f"room `{room.name}`: {lock} is not taken there while {outer} is held"
            held = here
    for lock in sorted(set(taken) - known):
        yield taken[lock], f"room `{room.name}` takes {lock}, which its LOCKS line does not name"
    for lock in sorted(known - set(taken) - inner):
        yield line, f"room `{room.name}`: LOCKS names {lock}, which the room does not take"


CHECKS = {"lock-order": check_lock_order}
