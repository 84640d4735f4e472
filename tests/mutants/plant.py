#!/usr/bin/env python3
"""Plants the bugs of tests/mutants/list in copies of gomem.h.

    tests/mutants/plant.py NUMBER   prints gomem.h with that bug
    tests/mutants/plant.py --check  does each bug of the list still apply?

A bug follows its line in the list, indented by two columns: '-' begins a line that goes, '+' one that
comes, ' ' one that stays and tells where; '@' stands alone between two places. Lines are compared
without their indentation, and the lines of a place must stand in gomem.h once.
"""
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


def index_lines(lines):
    """{stripped line: [indices]}: finding all places of a list is a look-up each."""
    index = {}
    for i, line in enumerate(lines):
        index.setdefault(line.strip(), []).append(i)
    return index


def find(place, lines, index):
    """Where the lines of a place stand. Raises ValueError unless that is one position."""
    wanted = [text.strip() for mark, text in place if mark != "+"]
    if not wanted:
        raise ValueError("a place needs a line that tells where it is")
    found = [at for at in index.get(wanted[0], [])
             if [line.strip() for line in lines[at:at + len(wanted)]] == wanted]
    if len(found) != 1:
        raise ValueError(f"{len(found)} places in {HEADER} read: {wanted[0]}")
    return found[0]


def plant(places, lines, index):
    """A copy of the lines with one bug."""
    edits = sorted(((find(place, lines, index), place) for place in places), reverse=True)
    result = list(lines)
    for at, place in edits:
        old = sum(mark != "+" for mark, _ in place)
        result[at:at + old] = [text for mark, text in place if mark != "-"]
    return result


def main(argument):
    bugs = read_list(LIST)
    with open(HEADER, encoding="utf-8") as file:
        lines = file.read().split("\n")
    index = index_lines(lines)
    if argument != "--check":
        sys.stdout.write("\n".join(plant(bugs[int(argument)], lines, index)))
        return 0
    failed = 0
    for number, places in sorted(bugs.items()):
        try:
            if plant(places, lines, index) == lines:
                raise ValueError("it changes nothing")
        except ValueError as error:
            print(f"FAIL mutant {number} does not apply: {error}")
            failed += 1
    print(f"{len(bugs) - failed} of {len(bugs)} planted bugs apply")
    return failed != 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except (IndexError, KeyError, ValueError) as error:
        sys.exit(f"plant.py: {error!r}")
