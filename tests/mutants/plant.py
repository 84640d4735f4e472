#!/usr/bin/env python3
"""Plants the bugs of tests/mutants/list in copies of gomem.h.

    tests/mutants/plant.py NUMBER            prints gomem.h with that bug
    tests/mutants/plant.py --to DIR NUMBER.. writes each as DIR/planted-NUMBER/gomem.h
    tests/mutants/plant.py --join FILE NUMBER..  writes one header with all of them, and prints the
                                             numbers that it could not take
    tests/mutants/plant.py --check           does each bug of the list still apply?

A bug follows its line in the list, indented by two columns: '-' begins a line that goes, '+' one that
comes, ' ' one that stays and tells where; '@' stands alone between two places. Blanks, line ends and
comments behind code do not count: formatting moves no bug. A place must stand in gomem.h once.

Compiling is most of the time of mutants, so bugs are joined: a function of a joined header has its body
once as it is and once with each of its bugs, and the variable GM_MUTANT of the environment, which is
read once as the program begins, says which of them runs. A bug that changes anything but bodies of
functions (a macro, a table, a head, what programs inline) needs a header of its own.
"""
import os
import re
import sys

HEADER = "gomem.h"
LIST = "tests/mutants/list"


def read_list(path):
    """{number: [place, ...]}; a place is a list of (mark, text)."""
    bugs, number = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = re.match(r"(\d+)\s", line)
            if entry:
                number = int(entry.group(1))
                bugs.setdefault(number, [[]])
            elif line.startswith("  ") and line.strip():
                mark, text = line[2], line[4:].rstrip("\n")
                if mark not in "-+ @":
                    raise ValueError(f"mutant {number}: a line begins with none of '-+ @': {line!r}")
                if mark == "@":
                    bugs[number].append([])
                else:
                    bugs[number][-1].append((mark, text))
    return bugs


def squeeze(line):
    """What a line says: no blanks, no comment behind the code, no backslash of a macro."""
    line = line.strip().rstrip("\\")
    if not line.startswith("//"):
        line = line.split(" //")[0]
    return "".join(line.split())


def said_by(lines):
    return "".join(squeeze(line) for line in lines)


class Header:
    """The lines of gomem.h, and what they say as one text: places may be wrapped differently."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.lines = file.read().split("\n")
        self.begin, self.end, self.text = {}, {}, ""
        parts, length = [], 0
        for i, line in enumerate(self.lines):
            said = squeeze(line)
            if said:
                self.begin[length] = i
                length += len(said)
                self.end[length] = i + 1
                parts.append(said)
        self.text = "".join(parts)

    def find(self, place):
        """The lines [from, to) of a place. Raises ValueError unless there is one."""
        wanted = [text for mark, text in place if mark != "+"]
        said = said_by(wanted)
        if not said:
            raise ValueError("a place needs a line that tells where it is")
        found, at = [], self.text.find(said)
        while at >= 0:
            if at in self.begin and at + len(said) in self.end:
                found.append((self.begin[at], self.end[at + len(said)]))
            at = self.text.find(said, at + 1)
        if len(found) != 1:
            raise ValueError(f"{len(found)} places in {HEADER} read: {wanted[0].strip()}")
        return found[0]


def plant(places, header):
    """A copy of the lines with one bug."""
    result = list(header.lines)
    for begin, end, place in sorted(((*header.find(place), place) for place in places), reverse=True):
        result[begin:end] = [text for mark, text in place if mark != "-"]
    return result


IMPLEMENTATION = "#define GOMEM_IMPLEMENTATION_DONE"
CHOICE = """
#include <stdlib.h>
static int gm_mutant; // the planted bug of this process
__attribute__((constructor(101))) static void gm_mutant_choose(void) {
    const char *number = getenv("GM_MUTANT");
    gm_mutant = number ? atoi(number) : 0;
}"""


def functions(lines):
    """(begin, end) of the functions, as ranges of lines from the first of the head to the last brace."""
    found, begin = [], None
    for i, line in enumerate(lines):
        if begin is None:
            begin = i if re.match(r"[A-Za-z_]", line) else None
        if begin is None:
            continue
        head = " ".join(lines[begin:i + 1])
        if line == "}" or (i == begin and line.endswith("}")):
            if re.match(r"[^={]*\)[^={;]*\{", head):
                found.append((begin, i + 1))
            begin = None
        elif line.endswith(";") and "{" not in head or line.startswith("}"):
            begin = None
    return found


def head_and_body(text):
    """What stands before the first brace of a function, and what between it and the last."""
    head, _, rest = text.partition("{")
    return head, rest.rstrip()[:-1]


def bodies_with(places, header, known):
    """{function: its body with a bug}; None if the bug changes anything else."""
    changed = {}
    first = header.lines.index(IMPLEMENTATION)
    for place in places:
        begin, end = header.find(place)
        inside = [f for f in known if f[0] <= begin and end <= f[1] and f[0] > first]
        if not inside:
            return None
        changed.setdefault(inside[0], []).append((begin, end, place))
    result = {}
    for (begin, end), parts in changed.items():
        lines = header.lines[:end]
        for at, to, place in sorted(parts, key=lambda part: part[0], reverse=True):
            lines[at:to] = [text for mark, text in place if mark != "-"]
        head, body = head_and_body("\n".join(lines[begin:]))
        before, _ = head_and_body("\n".join(header.lines[begin:end]))
        if said_by(head.split("\n")) != said_by(before.split("\n")):
            return None
        if re.search(r"^ *\w+:$", body, re.M):     # a label stands in a function once
            return None
        result[begin, end] = body
    return result


def join(bugs, header, numbers):
    """The lines of a header with all bugs that can be chosen as the program begins; the other numbers."""
    known, chosen, alone = functions(header.lines), {}, []
    for number in numbers:
        bodies = bodies_with(bugs[number], header, known)
        if bodies is None:
            alone.append(number)
            continue
        for function, body in bodies.items():
            chosen.setdefault(function, []).append((number, body))
    lines = list(header.lines)
    for (begin, end), bodies in sorted(chosen.items(), reverse=True):
        head, body = head_and_body("\n".join(lines[begin:end]))
        text = head + "{\n"
        for number, planted in bodies:
            text += f"    if (gm_mutant == {number}) {{{planted}\n    }} else "
        lines[begin:end] = [text + "{" + body + "\n    }\n}"]
    at = lines.index(IMPLEMENTATION) + 1
    return lines[:at] + [CHOICE] + lines[at:], alone


def changes_nothing(places):
    """Does every place read the same with the bug?"""
    def said(place, without):
        return said_by(text for mark, text in place if mark != without)
    return all(said(place, "+") == said(place, "-") for place in places)


def check(bugs, header):
    """1 if a bug does not apply."""
    failed = 0
    for number, places in sorted(bugs.items()):
        try:
            for place in places:
                header.find(place)
            if changes_nothing(places):
                raise ValueError("it changes nothing")
        except ValueError as error:
            print(f"FAIL mutant {number} does not apply: {error}")
            failed += 1
    print(f"{len(bugs) - failed} of {len(bugs)} planted bugs apply")
    return int(failed != 0)


def write_copies(bugs, header, folder, numbers):
    """folder/planted-NUMBER/gomem.h for each number."""
    for number in numbers:
        to = os.path.join(folder, f"planted-{number}")
        os.makedirs(to, exist_ok=True)
        with open(os.path.join(to, "gomem.h"), "w", encoding="utf-8") as out:
            out.write("\n".join(plant(bugs[int(number)], header)))


def main(arguments):
    bugs = read_list(LIST)
    header = Header(HEADER)
    if arguments[0] == "--check":
        return check(bugs, header)
    if arguments[0] == "--join":
        lines, alone = join(bugs, header, [int(number) for number in arguments[2:]])
        with open(arguments[1], "w", encoding="utf-8") as out:
            out.write("\n".join(lines))
        print(*alone)
    elif arguments[0] == "--to":
        write_copies(bugs, header, arguments[1], arguments[2:])
    else:
        sys.stdout.write("\n".join(plant(bugs[int(arguments[0])], header)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (IndexError, KeyError, ValueError) as error:
        sys.exit(f"plant.py: {error!r}")
