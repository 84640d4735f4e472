"""The walls of the house: checks that need nothing but the text of gomem.h.

Each check is a function of a Source that yields (line, message)."""
import re

KEYS = ["OWNS", "CALLS", "LOCKS", "ORDER", "INVARIANTS", "WHY"]
OVERRIDE = set("malloc free calloc realloc aligned_alloc posix_memalign memalign valloc pvalloc "
               "reallocarray malloc_usable_size free_sized free_aligned_sized "
               "malloc_trim mallopt mallinfo mallinfo2 malloc_info malloc_stats cfree "
               "__libc_malloc __libc_free __libc_calloc __libc_realloc __libc_reallocarray "
               "__libc_memalign __libc_valloc __libc_pvalloc __posix_memalign "
               "__register_atfork pthread_create pthread_sigmask sigprocmask sigsuspend "
               "sigwait sigwaitinfo sigtimedwait signalfd ppoll __ppoll_chk pselect epoll_pwait "
               "epoll_pwait2".split())
HEADERS = {"stddef.h", "stdint.h", "stdbool.h", "string.h"}
# Types of the language and of the system that end in _t.
SYSTEM_T = re.compile(r"^(u?int(_least|_fast)?\d+_t|u?int(ptr|max)_t|pthread_(\w+_)?t|\w+64_t|"
                      r"(size|ssize|ptrdiff|wchar|max_align|off|loff|pid|uid|gid|mode|time|clock|"
                      r"clockid|timer|siginfo|sigset|stack|ucontext|mcontext|greg|gregset|fpregset|"
                      r"sig_atomic|sem|key|locale|nfds|socklen|suseconds|useconds|id|errno|char8|"
                      r"char16|char32|dev|ino|cpu_set)_t)$")
ATOMIC = re.compile(r"\b(gm_(?:\w+_)?(?:acq|rel|acqrel|seq\w*))\s*\(")
RAW_ATOMIC = re.compile(r"\b(__atomic_\w+|__sync_\w+|atomic_\w+_explicit|atomic_(?:load|store)\w*)"
                        r"\s*\(")
OWN_NAME = re.compile(r"\b(?:gm_|GM_|gomem_|GOMEM_)\w*")
COLUMNS = 100
LONG, TOO_LONG = 45, 70
CONDITIONALS = 8  # six whole rooms, and the public functions of two optional parts
HEADED = 12     # a function of more lines has a head comment
COMMENTS = 18   # percent of the implementation's lines that are comments, at least


def check_map(src):
    """The map in the doc comment equals the banners: names, order, floors."""
    drawn, line = read_map(src)
    if drawn is None:
        yield 1, "the doc comment has no line with the words `map of the house`"
        return
    built = [(r.name, r.floor) for r in src.rooms]
    if not built:
        yield 1, "no room banner (` * >>name   what it is   floor N`) found"
    for name, floor, at in drawn:
        if name not in [b[0] for b in built]:
            yield at, f"the map shows `{name}`, which has no banner"
        elif floor is not None and (name, floor) not in built:
            yield at, f"the map shows `{name}` on floor {floor}, its banner does not"
    for room in src.rooms:
        if room.name not in [d[0] for d in drawn]:
            yield room.line, f"room `{room.name}` is not on the map"
    both = [d[0] for d in drawn if d[0] in [b[0] for b in built]]
    order = [b[0] for b in built if b[0] in both]
    if both != order:
        wrong = next(a for a, b in zip(both, order) if a != b)
        yield line, f"the map's order differs from the file's, first at `{wrong}`"
    floors = [r.floor for r in src.rooms]
    for room, floor in zip(src.rooms[1:], floors):
        if room.floor < floor:
            yield room.line, f"room `{room.name}` of floor {room.floor} stands after floor {floor}"


def read_map(src):
    """[(name, floor, line)] as the doc comment draws it, and the line where it starts."""
    for offset, text in src.comments:
        rows = text.split("\n")
        first = src.line_at(offset)
        start = next((i for i, r in enumerate(rows) if re.search(r"map of the house", r, re.I)),
                     None)
        if start is None:
            continue
        found, floor = [], None
        for i, row in enumerate(rows[start + 1:], start + 1):
            row = re.sub(r"^\s*\*", "", row).rstrip(" */")
            if found and re.match(r"^\s?(#|[A-Z][A-Z ]{5,}$|={5,}|-{5,})", row):
                break
            m = re.match(r"^\s*floor\s+(\d)\b", row)
            if m:
                floor, row = int(m.group(1)), row[m.end():]
            m = re.match(r"^\s*(?:>>)?([a-z]+)\s{2,}\S", row) or re.match(r"^\s*>>([a-z]+)\b", row)
            if m and m.group(1) not in ("config", "api"):
                found.append((m.group(1), floor, first + i))
        return found, first + start
    return None, 1


def check_cards(src):
    """Room cards have the fixed keys in the fixed order."""
    seen = {}
    for room in src.rooms:
        if room.name in seen:
            yield room.line, f"second banner of room `{room.name}`"
        seen[room.name] = True
        if not room.what:
            yield room.line, f"room `{room.name}`: the banner does not say what it is"
        order = -1
        for key, text, line in room.card:
            if key not in KEYS:
                yield line, f"room `{room.name}`: unknown key {key} (known: {' '.join(KEYS)})"
                continue
            if KEYS.index(key) <= order:
                yield line, f"room `{room.name}`: key {key} is out of order or doubled"
            order = KEYS.index(key)
            if not text.strip():
                yield line, f"room `{room.name}`: key {key} says nothing"
        if not room.card:
            yield room.line, f"room `{room.name}` has no card"


def defined_in_rooms(src):
    """What a room defines -> (the room, whether it is called: functions, their macros, tables)."""
    owner = {}
    called = {(f.head, f.name) for f in src.functions}
    called |= {(m[0], name) for name, m in src.macros.items() if re.match("gm_|gomem_", name)}
    for line, text in src.statements:
        m = re.search(r"\b(gm_\w+)\s*(?:\[[^\]]*\]\s*)+=", text)
        if m:
            called.add((line, m.group(1)))
    for line, name in called | set(definitions(src)):
        room = src.room_of(line)
        if room and room.floor is not None:
            known = owner.get(name, (room, False))
            owner[name] = (room, known[1] or (line, name) in called)
    return owner


def named_rooms(src, room, owner):
    """Rooms whose functions a room names, and rooms of which it names anything: name -> place."""
    calls, names = {}, {}
    for i in range(room.start - 1, room.end):
        for m in re.finditer(r"\b(?:gm|gomem|GM)_\w+", src.bare_lines[i]):
            other, called = owner.get(m.group(), (room, False))
            if other is not room:
                names.setdefault(other.name, (i + 1, m.group()))
                if called:
                    calls.setdefault(other.name, (i + 1, m.group()))
    return calls, names


def check_calls(src):
    """CALLS lists the rooms whose functions a room names, in order; all stand above it."""
    owner = defined_in_rooms(src)
    place = {room.name: i for i, room in enumerate(src.rooms)}
    for room in src.rooms:
        calls, names = named_rooms(src, room, owner)
        text, line = next(((t, l) for k, t, l in room.card if k == "CALLS"), ("", room.line))
        said = text.replace(",", " ").split()
        right = sorted(set(calls) | set(said) & set(names), key=place.get)
        for name in [n for n in said if n not in place]:
            yield line, f"room `{room.name}`: CALLS names `{name}`, which is no room"
        for name, (at, function) in calls.items():
            if name not in said:
                yield at, f"room `{room.name}` names {function}: `{name}` is not on its CALLS line"
        for name, (at, thing) in names.items():
            if place[name] > place[room.name] and (name in calls or not thing.startswith("gomem_")):
                yield at, f"room `{room.name}` names {thing} of `{name}`, which stands below"
        if said != right:
            yield line, f"room `{room.name}`: the line should be: CALLS {' '.join(right) or '(none)'}"


def check_room_names(src):
    """Each room's functions are named gm_<room>_...; public ones gomem_...; no others."""
    rooms = {room.name for room in src.rooms}
    for f in src.functions:
        room = src.room_of(f.head)
        if room is None or room.floor is None:
            if not f.name.startswith("gomem_"):
                yield f.head, f"{f.name}: functions outside the rooms are named gomem_..."
            continue
        if f.name.startswith((f"gm_{room.name}_", "gomem_")):
            continue
        if room.name == "override" and f.name in OVERRIDE:
            continue
        word = f.name.split("_")[1] if f.name.startswith("gm_") else ""
        if room.name == "base" and word and word not in rooms:
            continue    # atomics and bits: gm_load_acq
        yield f.head, f"{f.name}: functions of room `{room.name}` are named gm_{room.name}_..."


def check_prototypes(src):
    """No private prototypes: a declaration without a body, static or gm_."""
    for line, text in src.statements:
        text = re.sub(r"\s+", " ", text)
        if re.search(r"\b(__asm__|asm)\b", text):
            continue    # another name for a function of the C library
        if "=" in text or text.startswith(("typedef", "_Static_assert", "static_assert")):
            continue
        m = re.search(r"\b([A-Za-z_]\w*)\s*\(", re.sub(r"__attribute__ ?\(\(.*?\)\)(?!\))", "", text))
        if not m or not text.endswith(")") and "__attribute__" not in text:
            continue
        name = m.group(1)
        if f"\\n{name}:" in src.text:
            continue    # a label of inline assembly
        if re.search(r"\bstatic\b", text) or name.startswith("gm_"):
            yield line, f"private prototype of {name}: define it above its first use"


def check_atomics(src):
    """Each atomic operation that is not relaxed has a comment on its line or just above."""
    heads = {f.head: f for f in src.functions}
    for i, row in enumerate(src.bare_lines, 1):
        room = src.room_of(i)
        if room is None or room.floor is None:
            continue
        if room.name != "base":
            m = RAW_ATOMIC.search(row)
            if m:
                yield i, f"{m.group(1)}: outside `base` use the wrappers with the order in the name"
        if i in heads and ATOMIC.search(heads[i].text) or re.match(r"\s*#\s*define", row):
            continue
        m = ATOMIC.search(row)
        if m and not src.comment_lines.intersection(range(i - 3, i + 1)):
            yield i, f"{m.group(1)}: no comment says what it pairs with"


def check_comment_names(src):
    """Names of gomem's in comments exist in the code (or begin one that does: gm_os_...)."""
    known = set(OWN_NAME.findall(src.code))
    pasted = {m.group(1) for m in re.finditer(r"\b(\w+?)(?:##|\s*##)", src.code)}
    for offset, text in src.comments:
        base = src.line_at(offset)
        for m in OWN_NAME.finditer(text):
            name = m.group()
            line = base + text.count("\n", 0, m.start())
            if name in known or name in pasted:
                continue
            after = text[m.end():m.end() + 3]
            if (name.endswith("_") or after.startswith(("*", "...", "…"))) and \
                    any(k.startswith(name) for k in known):
                continue
            yield line, f"the comment names {name}, which does not exist"


TAG = re.compile(r"\b([A-Z]{1,2}[1-9])(?![\w.])")
TAG_DEFINED = re.compile(r" \*   (?:INVARIANTS  |          )?(?:          )?([A-Z]{1,2}[1-9]) {1,2}\S"
                         r"| \* INVARIANTS  ([A-Z]{1,2}[1-9]) {1,2}\S")
NO_TAGS = {"C2"}  # of the language: C2x


def check_tags(src):
    """Each tag of a rule is defined once, in a card or an essay, and each one cited is defined."""
    defined, cited = {}, []
    for offset, text in src.comments:
        base = src.line_at(offset)
        card = ">>" in text or text.startswith("/* ====")
        for i, row in enumerate(text.split("\n")):
            m = TAG_DEFINED.match(row) if card else None
            tag = m and (m.group(1) or m.group(2))
            if tag and tag in defined:
                yield base + i, f"{tag} is defined in line {defined[tag]}, too"
            elif tag:
                defined[tag] = base + i
            cited += [(base + i, t) for t in TAG.findall(row) if t != tag]
    for line, tag in cited:
        if tag not in defined:
            yield line, f"{tag} is defined nowhere"


def check_layout(src):
    """Columns, tabs, blanks at line ends, left-over notes."""
    for i, row in enumerate(src.lines, 1):
        if len(row) > COLUMNS:
            yield i, f"{len(row)} columns, more than {COLUMNS}"
        if "\t" in row:
            yield i, "a tab"
        if row != row.rstrip():
            yield i, "blanks at the end of the line"
        m = re.search(r"\b(TODO|FIXME|XXX|HACK)\b", row)
        if m:
            yield i, f"a left-over {m.group(1)}"
    if not src.text.endswith("\n") or src.text.endswith("\n\n"):
        yield len(src.lines), "the file does not end with one line end"


def definitions(src):
    """(line, name) of what the file defines: functions, macros, types, members of enums."""
    for f in src.functions:
        yield f.head, f.name
    for name, (line, _, _) in src.macros.items():
        yield line, name
    for m in re.finditer(r"\b(?:struct|union|enum)\s+(?:__attribute__\s*\(\(.*?\)\)\s*)?(\w+)\s*\{",
                         src.bare):
        yield src.line_at(m.start()), m.group(1)
    for line, text in src.statements:
        text = re.sub(r"__attribute__\s*\(\(.*?\)\)(?!\))", "", text, flags=re.S).strip()
        m = re.match(r"typedef\b[^{}]*?\b(\w+)\s*(\(.*\))?$", text, re.S)
        if m:
            yield line, m.group(1)
    for m in re.finditer(r"\btypedef\s+(?:struct|union|enum)\b", src.flat):
        brace, semi = src.flat.find("{", m.end()), src.flat.find(";", m.end())
        if 0 <= brace < semi:
            depth, i = 1, brace + 1
            while depth and i < len(src.flat):
                depth += {"{": 1, "}": -1}.get(src.flat[i], 0)
                i += 1
            name = re.match(r"\s*(\w+)\s*;", src.flat[i:])
            if name:
                yield src.line_at(i), name.group(1)
    for m in re.finditer(r"\benum\b[^{;()]*\{([^}]*)\}", src.flat):
        for name in re.finditer(r"(?:^|,)\s*(\w+)", m.group(1)):
            yield src.line_at(m.start(1) + name.start(1)), name.group(1)
    for line, text in src.statements:
        m = re.search(r"\b(\w+)\s*(\[[^\]]*\]\s*)*(=|$)", text)
        if m and re.match(r"(static|extern|const|_Thread_local|__thread)\b", text):
            yield line, m.group(1)


def check_names(src):
    """No name begins with an underscore, ends in _t or holds a double underscore."""
    feature = {"_GNU_SOURCE", "_DEFAULT_SOURCE", "_POSIX_C_SOURCE", "_XOPEN_SOURCE"}
    told = set()
    for line, name in definitions(src):
        if (line, name) in told:
            continue
        told.add((line, name))
        if name.startswith("_") and name not in feature:
            yield line, f"{name} begins with an underscore"
        elif name.endswith("_t") and not SYSTEM_T.match(name):
            yield line, f"{name} ends in _t"
        elif "__" in name:
            yield line, f"{name} holds a double underscore"
    for i, row in enumerate(src.bare_lines, 1):
        for m in re.finditer(r"\b[A-Za-z]\w*_t\b", row):
            if not SYSTEM_T.match(m.group()) and (i, m.group()) not in told:
                yield i, f"{m.group()} ends in _t"


def under_implementation(src, line):
    """Whether a line of the declaration part stands under #if ... GOMEM_IMPLEMENTATION."""
    stack = []
    for first, _, text in src.directives:
        if first > line:
            break
        word = re.match(r"\s*#\s*(\w*)", text).group(1)
        if word in ("if", "ifdef", "ifndef"):
            stack.append("GOMEM_IMPLEMENTATION" in text)
        elif word == "endif" and stack:
            stack.pop()
    return any(stack)


def check_declarations(src):
    """The declaration part includes the four headers alone and defines gomem's names alone."""
    end = src.implementation_line()
    for first, _, text in src.directives:
        m = re.match(r'\s*#\s*include\s*[<"](.*?)[>"]', text)
        if m and first < end and m.group(1) not in HEADERS and not m.group(1).startswith('gomem.h-') and not under_implementation(src, first):
            yield first, f"the declaration part includes <{m.group(1)}>"
    for line, name in definitions(src):
        if line < end and not name.startswith(("gomem_", "GOMEM_")) and name != "_GNU_SOURCE":
            yield line, f"{name}: names of the declaration part begin with gomem_ or GOMEM_"


def check_functions(src):
    """No function is longer than a screen."""
    for f in src.functions:
        if f.lines > TOO_LONG:
            yield f.head, f"{f.name} has {f.lines} lines, more than {TOO_LONG}"


def check_heads(src):
    """Each function of the rooms that is longer than 12 lines has a comment at its head."""
    for f in src.functions:
        room = src.room_of(f.head)
        if room is None or room.floor is None or f.lines <= HEADED:
            continue
        above = f.head - 1
        while re.match(r"\s*(extern\b|#)", src.bare_lines[above - 1]):
            above -= 1      # a declaration of the name, or an #if around the function
        if not src.whole_comment(above):
            yield f.head, f"{f.name} has {f.lines} lines and no comment at its head"


def check_comments(src):
    """Whole-line comments are at least 18 % of the implementation's lines that are not blank.

    The implementation is what its #if includes, essays and cards among it; a line counts as a
    comment if it holds nothing else."""
    first, last = src.implementation()
    lines = [i for i in range(first, last + 1) if src.lines[i - 1].strip()]
    share = 100 * sum(map(src.whole_comment, lines)) / max(len(lines), 1)
    if share < COMMENTS:
        yield first, f"{share:.1f} % of the implementation's lines are comments, not {COMMENTS} %"


def long_functions(src):
    return [(f.head, f"{f.name} has {f.lines} lines") for f in src.functions
            if LONG < f.lines <= TOO_LONG]


def check_conditionals(src):
    """Few #if in rooms other than base and os, and none inside a function: `if (CONSTANT)` instead."""
    found = 0
    for first, _, text in src.directives:
        room = src.room_of(first)
        if not re.match(r"\s*#\s*if", text) or room is None or room.floor is None or \
                room.name in ("base", "os"):
            continue
        found += 1
        if found > CONDITIONALS:
            yield first, f"#if number {found} in rooms other than base and os, more than {CONDITIONALS}"
        for f in src.functions:
            if f.body <= first <= f.end:
                yield first, f"#if inside {f.name} of room `{room.name}`: use `if (CONSTANT)`"


def check_fields(src):
    """Every struct field of the rooms has a comment: on its line or just above."""
    for m in re.finditer(r"(?m)^(?:typedef\s+)?(?:struct|union)\b[^;{}()=]*\{", src.flat):
        line = src.line_at(m.start())
        room = src.room_of(line)
        if room is None or room.floor is None:
            continue
        depth, i = 1, m.end()
        while depth and i < len(src.flat):
            if src.flat[i] == ";" and depth >= 1:
                at = src.line_at(i)
                if not src.comment_lines.intersection((at, at - 1, at + 1)):
                    yield at, "a field without a comment"
            depth += {"{": 1, "}": -1}.get(src.flat[i], 0)
            i += 1


CHECKS = {name[6:].replace("_", "-"): function for name, function in list(globals().items())
          if name.startswith("check_")}
