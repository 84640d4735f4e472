"""Checks that need tools: compilers, nm, clang-format, clang-tidy, cppcheck."""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from walls import OVERRIDE

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
ROOT = os.path.dirname(TESTS)
UNIT = os.path.join(TESTS, "gomem.c")               # the implementation as a unit
USER = os.path.join(TESTS, "compile", "user.c")     # uses every macro; C and C++
WARN = ("-pedantic-errors -Wall -Wextra -Wformat=2 -Wconversion -Wsign-conversion -Wshadow -Wundef "
        "-Wcast-qual -Wvla -Werror").split()
WARN_C = WARN + "-Wstrict-prototypes -Wmissing-prototypes".split()
DIAGNOSTIC = re.compile(r"^(?:In file included from )?(.*?):(\d+):(?:\d+:)?\s+(?:fatal )?"
                        r"(?:error|warning): (.*)$")
IMPLEMENTATIONS = {
    "check 0": [], "check 1": ["-DGOMEM_CHECK=1"], "check 2": ["-DGOMEM_CHECK=2"],
    "check 3": ["-DGOMEM_CHECK=3"], "no collector": ["-DGOMEM_NO_COLLECTOR"],
    "no report": ["-DGOMEM_NO_REPORT"], "no arena": ["-DGOMEM_NO_ARENA"], "no pool": ["-DGOMEM_NO_POOL"], "no escape": ["-DGOMEM_NO_ESCAPE"], "hardened": ["-DGOMEM_HARDENED"], "override": ["-DGOMEM_MALLOC_OVERRIDE", "-fPIC"],
    "static": ["-DGOMEM_STATIC"], "dynamic TLS": ["-DGOMEM_TLS_DYNAMIC", "-fPIC"],
}
# What is left out changes what the front ends see, and they say the same at every level, so most options
# are for them alone, which takes a fifth of the time. What is behind them sees other code where checks,
# locks or whole rooms come and go: so gcc builds these with -O2, and the first, which has the most to
# inline, with -O1 and -O3; clang, whose warnings come from its front end but for some of atomics, with -O0.
OPTIMISED = ("check 0", "check 3", "no collector", "override")
JOBS = 2
slots = threading.BoundedSemaphore(JOBS)    # of tools that run at a time, for all checks together


class Skip(Exception):
    """A tool that the check needs is not here."""


def need(tool):
    if shutil.which(tool) is None:
        raise Skip(f"{tool} is not installed")
    return tool


def run(command, **options):
    with slots:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", **options)


def include(src):
    return ["-I" + os.path.dirname(os.path.abspath(src.path))]


def diagnostics(name, output, rename=None):
    """The diagnostics of a compiler as findings, each told once."""
    found = []
    for row in output.split("\n"):
        m = DIAGNOSTIC.match(row)
        if m:
            path = rename.get(m.group(1), m.group(1)) if rename else m.group(1)
            found.append((f"{os.path.relpath(path)}:{m.group(2)}", f"{name}: {m.group(3)}"))
    return found


def build_all(jobs, rename=None):
    """Runs (name, command) pairs side by side; findings of those that fail."""
    def one(job):
        name, command = job
        result = run(command)
        if result.returncode == 0:
            return []
        found = diagnostics(name, result.stderr, rename)
        return found or [(name, (result.stderr.strip() or "failed").split("\n")[0])]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        results = list(pool.map(one, jobs))
    merged = {}     # the same message in many configurations is one finding
    for where, message in (f for found in results for f in found):
        name, _, text = message.partition(": ")
        merged.setdefault((where, text), []).append(name)
    return [(where, f"{text} [{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}]")
            for (where, text), names in merged.items()]


def compilers():
    found = [c for c in ("gcc", "clang") if shutil.which(c)]
    if not found:
        raise Skip("neither gcc nor clang is installed")
    return found


def open_conditionals(src, line):
    """How many #if are open above a line."""
    depth = 0
    for first, _, text in src.directives:
        word = re.match(r"\s*#\s*(\w*)", text).group(1)
        if first < line:
            depth += word in ("if", "ifdef", "ifndef")
            depth -= word == "endif"
    return depth


def check_prefixes(src):
    """Every prefix of the file cut at a room compiles."""
    cc = compilers()[0]
    with tempfile.TemporaryDirectory() as folder:
        jobs, rename = [], {}
        for room in src.rooms[1:]:
            path = os.path.join(folder, room.name + ".c")
            head = "\n".join(src.lines[:room.start - 1])
            with open(path, "w", encoding="utf-8") as out:
                out.write(head + "\n" + "#endif\n" * open_conditionals(src, room.start))
            rename[path] = src.path
            jobs.append((f"cut above `{room.name}`",
                         [cc, "-std=c11", "-pthread", "-w", "-fsyntax-only",
                          "-DGOMEM_IMPLEMENTATION", path]))
        return build_all(jobs, rename)


def object_symbols(src, flags, folder):
    """(name, type letter, size, section) of what an object of the implementation defines."""
    path = os.path.join(folder, "gomem.o")
    cc = compilers()[0]
    result = run([cc, "-std=c11", "-pthread", "-O0", "-w", "-c", "-o", path, *include(src), *flags,
                  UNIT])
    if result.returncode:
        first = next((r for r in result.stderr.split("\n") if "error" in r), result.stderr[:200])
        return None, f"the implementation does not compile: {first.strip()}"
    listing = run([need("nm"), "-f", "sysv", path]).stdout
    symbols = []
    for row in listing.split("\n"):
        part = [p.strip() for p in row.split("|")]
        if len(part) == 7 and part[2] not in ("U", "w"):
            symbols.append((part[0], part[2], int(part[4] or "0", 16), part[6]))
    return symbols, None


def check_globals(src):
    """Mutable globals are the runtime struct, the TLS pointer and the barrier flag."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["-fno-pic", "-DGOMEM_MALLOC_OVERRIDE"]
        symbols, failure = object_symbols(src, flags, folder)
    if failure:
        return [(1, failure)]
    tls = [s for s in symbols if s[3].startswith((".tbss", ".tdata"))]
    plain = [s for s in symbols if s[3].startswith((".data", ".bss")) and s not in tls
             and not s[3].startswith(".data.rel.ro")]
    found = []
    if sum(s[2] for s in tls) > 8 or any(not s[0].startswith("gomem_") for s in tls):
        found += [(1, f"thread-local {s[0]} ({s[2]} bytes): only the pointer gomem_... is allowed")
                  for s in tls]
    flag = [s for s in plain if "barrier" in s[0]]
    others = [s for s in plain if s not in flag]
    if len(flag) > 1 or len(others) > 1:
        found += [(1, f"mutable global {s[0]} ({s[2]} bytes): only the runtime struct, the TLS "
                   "pointer and the barrier flag are allowed") for s in flag[1:] + others]
    return found


def check_unused(src):
    """Every private function is called in the whole implementation."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "gomem.h")
        with open(path, "w", encoding="utf-8") as out:
            out.write(re.sub(r"^#define (GM_PRIVATE|GM_INLINE|GM_ALWAYS) .*", r"#define \1 static",
                             src.text, flags=re.M))
        result = run([compilers()[0], "-std=c11", "-pthread", "-c", "-o", os.devnull,
                      "-Wunused-function", "-DGOMEM_IMPLEMENTATION", "-fPIC", "-DGOMEM_MALLOC_OVERRIDE",
                      "-x", "c", path])
    return [(int(m.group(1)), f"{m.group(2)} is never called") for m in
            re.finditer(r":(\d+):\d+: warning: (?:unused function )?.(gm_\w+)\W.*unused-function",
                        result.stderr)]


def check_symbols(src):
    """The implementation exports gomem_ symbols alone, the override its list besides."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for flags, extra in ((), set()), (("-DGOMEM_MALLOC_OVERRIDE",), OVERRIDE):
            symbols, failure = object_symbols(src, list(flags), folder)
            if failure:
                return [(1, failure)]
            names = {s[0] for s in symbols if s[1].isupper()}
            found += [(1, f"exported symbol {n}{' ' + flags[0] if flags else ''}")
                      for n in sorted(names) if not n.startswith("gomem_") and n not in extra]
            found += [(1, f"the override does not define {n}") for n in sorted(extra - names)]
    return found


def check_leaks(src):
    """The declaration part adds no macro and no function but gomem's own."""
    found = []
    heads = "".join(f"#include <{h}>\n" for h in ("stddef.h", "stdint.h", "stdbool.h", "string.h"))
    full = heads + f'#include "{os.path.abspath(src.path)}"\n'
    for cc, language in (("gcc", "c"), ("clang", "c"), ("g++", "c++"), ("clang++", "c++")):
        if shutil.which(cc) is None:
            continue
        flags = [cc, "-x", language, "-dM", "-E", "-"]
        before = set(run(flags, input=heads).stdout.split("\n"))
        result = run(flags, input=full)
        if result.returncode:
            return [(1, result.stderr.split("\n")[0])]
        for row in sorted(set(result.stdout.split("\n")) - before):
            name = re.match(r"#define (\w+)", row)
            if name and not name.group(1).startswith("GOMEM_"):
                found.append((1, f"the declaration part defines {name.group(1)} ({cc})"))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "declared")
        run([need("gcc"), "-x", "c", "-fsyntax-only", "-aux-info", path, "-"], input=full)
        for row in open(path, encoding="utf-8"):
            m = re.match(r"/\* (.*?):(\d+):\w+ \*/ (.*?)(\w+) \(", row)
            if m and os.path.abspath(m.group(1)) == os.path.abspath(src.path) and \
                    not m.group(4).startswith("gomem_"):
                found.append((int(m.group(2)), f"the declaration part declares {m.group(4)}"))
    return found


def check_warnings(src):
    """The implementation compiles without a warning, each option with gcc and clang."""
    jobs = []
    for cc in compilers():
        base = [cc, "-std=c11", "-pthread", *WARN_C, *include(src)]
        built = [*base, "-S", "-o", "/dev/null"]      # the assembler warns of nothing
        for name, flags in IMPLEMENTATIONS.items():
            if name not in OPTIMISED:
                jobs.append((f"{cc} {name}", [*base, "-fsyntax-only", *flags, UNIT]))
                continue
            levels = ["-O0"] if cc == "clang" else ["-O2"]
            if name == OPTIMISED[0] and cc == "gcc":
                levels = ["-O3", "-O2", "-O1", "-O0"]
            jobs += [(f"{cc} {level} {name}", [*built, level, *flags, UNIT]) for level in levels]
        jobs.append((f"{cc} header as the unit",
                     [*base, "-fsyntax-only", "-DGOMEM_IMPLEMENTATION", "-x", "c", src.path]))
        if can_build_32(cc):
            level = "-O2" if cc == "gcc" else "-O0"
            jobs.append((f"{cc} -m32", [*built, level, "-m32", UNIT]))
    return build_all(jobs)


def can_build_32(cc):
    return run([cc, "-m32", "-fsyntax-only", "-x", "c", "-"],
               input="#include <stdio.h>\n#include <pthread.h>\n").returncode == 0


def check_musl(src):
    """The implementation compiles against musl."""
    cc = need("musl-gcc")
    return build_all([(f"{cc} {name}", [cc, "-std=c11", "-pthread", *WARN_C, *include(src), *how,
                                        *IMPLEMENTATIONS[name], UNIT])
                      for name, *how in (("check 0", "-c", "-o", "/dev/null", "-O0"),
                                         ("check 3", "-fsyntax-only"), ("override", "-fsyntax-only"))])


def check_declaration(src):
    """A user's file compiles without a warning as C11 to C2x and C++11 to C++20."""
    jobs = []
    for cc, standards, warn, language in (
            ("gcc", "c11 c17 c2x", WARN_C, "c"), ("clang", "c11 c17 c2x", WARN_C, "c"),
            ("g++", "c++11 c++14 c++17 c++20", WARN, "c++"),
            ("clang++", "c++11 c++14 c++17 c++20", WARN, "c++")):
        if shutil.which(cc) is None:
            continue
        base = [cc, *warn, *include(src), "-c", "-o", "/dev/null"]
        for standard in standards.split():
            for level in ("-O0", "-O2", "-O3") if standard == standards.split()[-1] else ("-O2",):
                jobs.append((f"{cc} -std={standard} {level}",
                             [*base, "-std=" + standard, level, "-x", language, USER]))
        last = standards.split()[0]
        for name, flags in IMPLEMENTATIONS.items():
            if name not in ("override", "static", "check 0"):
                jobs.append((f"{cc} {name}", [*base, "-fsyntax-only", "-std=" + last, *flags, "-x",
                                              language, USER]))
        if can_build_32(cc):
            jobs.append((f"{cc} -m32", [*base, "-std=" + last, "-O2", "-m32", "-x", language,
                                        USER]))
    return build_all(jobs)


def check_format(src):
    """clang-format has nothing to change."""
    tool = need("clang-format")
    files = []
    if os.path.dirname(os.path.abspath(src.path)) == ROOT:
        for folder in ("tests", "examples", "bench"):
            for here, _, names in os.walk(os.path.join(ROOT, folder)):
                files += [os.path.join(here, n) for n in sorted(names) if n.endswith((".c", ".h"))
                          and "selftest" not in here]
    command = [tool, f"--style=file:{ROOT}/.clang-format", "--dry-run"]
    parts = [[src.path], files] if files else [[src.path]]
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        said = "".join(r.stderr for r in pool.map(lambda part: run([*command, *part]), parts))
    return [(where, text.replace("code should be clang-formatted", "clang-format would change this")
             .partition(": ")[2])
            for where, text in diagnostics("format", said)]


def check_tidy(src):
    """clang-tidy finds nothing (bugprone-*, cert-*; tests/lint/clang-tidy says what is off)."""
    tool = need("clang-tidy")
    result = run([tool, "--quiet", f"--config-file={HERE}/clang-tidy", UNIT, "--", "-std=c11",
                  "-pthread", "-DGOMEM_CHECK=3", "-DGOMEM_MALLOC_OVERRIDE", *include(src)])
    return [(where, text.partition(": ")[2]) for where, text in
            diagnostics("tidy", result.stdout)]


def check_cppcheck(src):
    """cppcheck finds nothing (tests/lint/cppcheck says what is off)."""
    tool = need("cppcheck")
    result = run([tool, "--quiet", "--std=c11", "--enable=warning,performance,portability",
                  "--inline-suppr", f"--suppressions-list={HERE}/cppcheck", "--max-configs=1",
                  "--template={file}:{line}: warning: {id}: {message}", "-D__GNUC__=12",
                  "-D__x86_64__=1", "-D__linux__=1", "-D__GLIBC__=2", "-D__LP64__=1",
                  "-D__SIZEOF_POINTER__=8", "-DSA_RESTART=0x10000000", "-DMAP_PRIVATE=2",
                  "-DCLOCK_MONOTONIC=1", "-D__STDC_VERSION__=201112L", *include(src), UNIT])
    return [(where, text.partition(": ")[2]) for where, text in
            diagnostics("cppcheck", result.stderr)]


def check_mutants(src):
    """Each planted bug of tests/mutants/list still applies."""
    result = run([sys.executable, "tests/mutants/plant.py", "--check"],
                 cwd=os.path.dirname(os.path.dirname(HERE)))
    return [("tests/mutants/list", row) for row in result.stdout.split("\n") + [result.stderr]
            if row.startswith(("FAIL", "plant.py"))]


def check_selftest(src):
    """The lint catches what it is there to catch."""
    result = run([sys.executable, os.path.join(HERE, "selftest", "run.py")])
    rows = [r for r in result.stdout.split("\n") if r.startswith("FAIL")]
    return [("tests/lint/selftest", row) for row in rows or result.stderr.split("\n")[-2:]
            if result.returncode]


CHECKS = {name[6:].replace("_", "-"): function for name, function in list(globals().items())
          if name.startswith("check_")}
