"""Reads a C header just well enough for the lint: comments, rooms, cards, functions."""
import re

KEYWORDS = set("if for while switch return sizeof do else case goto defined _Alignof alignof "
               "_Static_assert static_assert _Generic __attribute__ _Alignas __declspec".split())
BANNER = re.compile(r"^ \* >>([a-z]+)(?:\s+(.*?))?\s*$")
FLOOR = re.compile(r"^(.*?)\s+floor (\d+)$")
KEY = re.compile(r"^ \* ([A-Z]{3,})(?:\s+(.*))?$")
DEFINE = re.compile(r"#\s*define\s+(\w+)(\()?")


class Function:
    def __init__(self, name, head, body, end, text):
        self.name = name    # identifier
        self.head = head    # line of the first word of the definition
        self.body = body    # line of the opening brace
        self.end = end      # line of the closing brace
        self.text = text    # definition's head, without comments

    @property
    def lines(self):
        return self.end - self.head + 1


class Room:
    def __init__(self, name, what, floor, line):
        self.name = name
        self.what = what
        self.floor = floor
        self.line = line        # of the banner
        self.start = line       # first line of its comment
        self.end = 0            # last line of the room
        self.card = []          # (key, text, line)


def blank(text):
    """The text with everything but line ends turned into spaces."""
    return re.sub(r"[^\n]", " ", text)


TOKEN = re.compile(r'//(?:[^\n\\]|\\.)*|/\*.*?\*/|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.S)


class Source:
    def __init__(self, path):
        self.path = path
        self.text = open(path, encoding="utf-8").read()
        self.lines = self.text.split("\n")
        self._split()
        self._directives()
        self._rooms()
        self.functions, self.statements = self._outline()

    def whole_comment(self, line):
        """Whether a line holds a comment, or a part of one, and nothing else."""
        return line in self.comment_lines and not self.code_lines[line - 1].strip()

    def line_at(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def _split(self):
        """code: comments blanked. bare: strings blanked as well. comments: (offset, text)."""
        self.comments = []
        code, bare, last = [], [], 0
        for m in TOKEN.finditer(self.text):
            plain = self.text[last:m.start()]
            code.append(plain)
            bare.append(plain)
            if m.group().startswith("/"):
                self.comments.append((m.start(), m.group()))
                code.append(blank(m.group()))
            else:
                code.append(m.group())
            bare.append(blank(m.group()))
            last = m.end()
        code.append(self.text[last:])
        bare.append(self.text[last:])
        self.code, self.bare = "".join(code), "".join(bare)
        self.code_lines = self.code.split("\n")
        self.bare_lines = self.bare.split("\n")
        self.comment_lines = set()
        for offset, text in self.comments:
            first = self.line_at(offset)
            self.comment_lines.update(range(first, first + text.count("\n") + 1))

    def _directives(self):
        """directives: (first line, last line, text); flat: bare with directives blanked."""
        self.directives, flat, i = [], [], 0
        while i < len(self.bare_lines):
            first = i
            if self.bare_lines[i].lstrip().startswith("#"):
                while self.bare_lines[i].rstrip().endswith("\\"):
                    i += 1
                text = "\n".join(self.code_lines[first:i + 1])
                self.directives.append((first + 1, i + 1, text))
                flat += [" " * len(line) for line in self.bare_lines[first:i + 1]]
            else:
                flat.append(self.bare_lines[i])
            i += 1
        self.flat = "\n".join(flat)
        self.macros = {}
        for first, last, text in self.directives:
            m = DEFINE.match(text.lstrip())
            if m:
                self.macros.setdefault(m.group(1), (first, last, text))

    def _rooms(self):
        """Every `>>name` banner; those with a floor are rooms."""
        self.banners = []
        for offset, text in self.comments:
            first = self.line_at(offset)
            rows = text.split("\n")
            if len(rows) < 3 or "====" not in rows[0]:
                continue
            m = BANNER.match(rows[1])
            if not m:
                continue
            what, floor = m.group(2) or "", None
            f = FLOOR.match(what)
            if f:
                what, floor = f.group(1), int(f.group(2))
            room = Room(m.group(1), what.strip(), floor, first + 1)
            room.start = first
            for i, row in enumerate(rows[2:], first + 2):
                key = KEY.match(row)
                if key:
                    room.card.append([key.group(1), key.group(2) or "", i])
                elif room.card and "====" not in row:
                    room.card[-1][1] += " " + row.lstrip(" *").rstrip("/ *")
            self.banners.append(room)
        for room, after in zip(self.banners, self.banners[1:] + [None]):
            room.end = after.start - 1 if after else len(self.lines)
        self.rooms = [b for b in self.banners if b.floor is not None]

    def room_of(self, line):
        for banner in reversed(self.banners):
            if line >= banner.start:
                return banner
        return None

    def _outline(self):
        """Function definitions and the other statements at the top level of the file."""
        functions, statements = [], []
        depth, start, opened, transparent = 0, 0, None, []
        text = self.flat
        for m in re.finditer(r"[{};]", text):
            at, c = m.start(), m.group()
            if c == "{":
                head = text[start:at]
                if depth == 0 and re.search(r"\bextern\s*$", head):
                    transparent.append(True)    # extern "C" {
                    start = at + 1
                    continue
                if depth == 0:
                    opened = (start, at, head)
                depth += 1
            elif c == "}":
                if depth == 0:
                    if transparent:
                        transparent.pop()
                    start = at + 1
                    continue
                depth -= 1
                if depth == 0:
                    begin, brace, head = opened
                    name = function_name(head)
                    if name:
                        lead = begin + len(head) - len(head.lstrip())
                        functions.append(Function(name, self.line_at(lead), self.line_at(brace),
                                                  self.line_at(at), head.strip()))
                        start = at + 1
            elif depth == 0:
                piece = text[start:at]
                lead = start + len(piece) - len(piece.lstrip())
                statements.append((self.line_at(lead), piece.strip()))
                start = at + 1
        return functions, statements

    def implementation_line(self):
        """First line of the implementation part: the last #if on it above the first room."""
        first_room = self.rooms[0].start if self.rooms else len(self.lines)
        found = [first for first, _, text in self.directives if first < first_room and
                 re.match(r"\s*#\s*if(def)?\b.*\bGOMEM_IMPLEMENTATION\b", text)]
        return found[-1] if found else first_room

    def implementation(self):
        """First and last line of the implementation part: its #if and the #endif of that."""
        start, depth = self.implementation_line(), 0
        for first, last, text in self.directives:
            word = re.match(r"\s*#\s*(\w*)", text).group(1)
            if first < start or word not in ("if", "ifdef", "ifndef", "endif"):
                continue
            depth += -1 if word == "endif" else 1
            if depth == 0:
                return start, last
        return start, len(self.lines)


def groups(text):
    """Top-level parenthesis groups of text: (start, end)."""
    found, depth, start = [], 0, 0
    for i, c in enumerate(text):
        if c == "(":
            if depth == 0:
                start = i
            depth += 1
        elif c == ")":
            depth -= 1
            if depth == 0:
                found.append((start, i + 1))
    return found


def strip_attributes(text):
    return re.sub(r"__attribute__\s*\(\(.*?\)\)(?!\))", " ", text, flags=re.S)


def function_name(head):
    """The name if head is the head of a function definition, else None."""
    head = strip_attributes(head).strip()
    if not head.endswith(")"):
        return None
    parts = groups(head)
    outside = head
    for a, b in reversed(parts):
        outside = outside[:a] + outside[b:]
    if not parts or "=" in outside:
        return None
    m = re.search(r"([A-Za-z_]\w*)\s*$", head[:parts[-1][0]])
    return m.group(1) if m and m.group(1) not in KEYWORDS else None
