#!/usr/bin/env python3
"""Checks gomem.h. Prints `file:line: [check] message` for each finding, then a line per check,
and last `N passed, N failed, N skipped`.

    lint.py [--header FILE] [--only CHECK,...] [--list]
"""
import argparse
import concurrent.futures
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import build  # noqa: E402
import locks  # noqa: E402
import walls  # noqa: E402
from source import Source  # noqa: E402


def known():
    """How many findings of a check are known, from tests/lint/allowed."""
    allowed = {}
    with open(os.path.join(ROOT, "tests", "lint", "allowed"), encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                name, count = line.split()
                allowed[name] = int(count)
    return allowed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--header", default=os.path.join(ROOT, "gomem.h"))
    parser.add_argument("--only", default="")
    parser.add_argument("--list", action="store_true", help="name the checks")
    args = parser.parse_args()
    checks = {**walls.CHECKS, **locks.CHECKS, **build.CHECKS}
    if args.list:
        for name, check in checks.items():
            print(f"{name:15} {check.__doc__.splitlines()[0]}")
        return 0
    wanted = args.only.split(",") if args.only else list(checks)
    source = Source(args.header)
    shown = os.path.relpath(args.header)
    passed = failed = skipped = total = 0
    allowed = known() if args.header == os.path.join(ROOT, "gomem.h") else {}
    begin = time.time()

    def check(name):
        findings = sorted(set(checks[name](source)), key=lambda f: (str(f[0]), f[1]))
        findings.sort(key=lambda f: f[0] if isinstance(f[0], int) else 0)
        return findings, time.time() - begin

    # All at once; how many tools run at a time is limited where they are run.
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        running = {name: pool.submit(check, name) for name in wanted}
        for name, result in running.items():
            try:
                findings, seconds = result.result()
            except build.Skip as why:
                print(f"SKIP {name}: {why}")
                skipped += 1
                continue
            for where, message in findings:
                place = f"{shown}:{where}" if isinstance(where, int) else where
                print(f"{place}: [{name}] {message}")
            total += len(findings)
            bad = len(findings) > allowed.get(name, 0)
            passed, failed = passed + (not bad), failed + bad
            verdict = "ok" if not findings else f"{len(findings)} findings"
            print(f"{name:15} {verdict} (after {seconds:.1f} s)", flush=True)
    if "functions" in wanted:
        for line, message in walls.long_functions(source):
            print(f"note: {shown}:{line}: {message}")
    print(f"{total} findings")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
