#!/usr/bin/env python3
"""Asks the questions in this folder of gomem and of the peers that are here, and prints one table.

    bench/run.py [--quick | --long] [--rounds N] [--peers] [--root DIR] [--json FILE] [question ...]
    PEERS=/tmp/libsnmalloc-0.7.5.so:/tmp/libmimalloc-3.4.3.so bench/run.py ...

Every question is a C program that is compiled once per peer. All variants of a question are run in
turn, one round after the other, each round starting with another variant; figures are medians over
the rounds, and the spread is that of the ratio within single rounds. README.md tells more."""

import argparse
import dataclasses
import glob
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
WARNINGS = ["-Wall", "-Wextra"]
STANDARD = ["-std=c11", "-O2", "-pthread"]
INLINED, PRELOADED, LINKED = "inlined", "preloaded", "linked"
MISUSE = HERE.parent / "tests" / "preload" / "misuse.c"
COLLECTORS = {1: "tracked", 2: "barrier", 3: "stw"}  # memstats.collector, GOMEM_DEBUG=collector=


@dataclasses.dataclass
class Variant:
    """A program, how it gets its allocator, and what it has reported so far."""

    name: str                    # who: gomem, mimalloc …
    form: str                    # inlined, preloaded or linked
    argv: list                   # program and arguments
    env: dict = dataclasses.field(default_factory=dict)
    rounds: int = 0              # at most so many rounds, 0: all
    figures: dict = dataclasses.field(default_factory=dict)  # metric -> one number per round
    broken: str = ""             # why it has been given up

    def median(self, metric):
        values = self.figures.get(metric)
        return statistics.median(values) if values else None

    def derive(self, metric, function, *sources):
        """A metric computed round by round from others."""
        columns = [self.figures.get(source) for source in sources]
        if all(columns):
            self.figures[metric] = [function(*row) for row in zip(*columns)]


class Peers:
    """Which peers are here, in which version, and how a program gets them."""

    # name: Debian package, library to preload, define, what to link (the first that works)
    MALLOCS = {
        "mimalloc": ("libmimalloc2.0", "libmimalloc.so.2", "BENCH_MIMALLOC", [["-lmimalloc"]]),
        "jemalloc": ("libjemalloc2", "libjemalloc.so.2", "BENCH_JEMALLOC",
                     [["-l:libjemalloc.a", "-lm", "-lstdc++"], ["-ljemalloc"]]),
        "tcmalloc": ("libtcmalloc-minimal4", "libtcmalloc_minimal.so.4", "BENCH_TCMALLOC",
                     [["-l:libtcmalloc_minimal.a", "-lm", "-lstdc++"], ["-ltcmalloc_minimal"]]),
    }

    def __init__(self):
        self.versions = {"gomem": "", "glibc": os.confstr("CS_GNU_LIBC_VERSION").split()[-1]}
        self.preload = {}
        self.linkable = []
        self.absent = []
        for name, (package, library, _, _) in self.MALLOCS.items():
            found = glob.glob("/usr/lib/*/" + library) + glob.glob("/usr/lib*/" + library)
            if found:
                self.preload[name] = found[0]
                self.linkable.append(name)
                self.versions[name] = self.version(package)
            else:
                self.absent.append(name)
        self.add_libraries(filter(None, os.environ.get("PEERS", "").split(":")))
        if glob.glob("/usr/include/gc/gc.h") + glob.glob("/usr/local/include/gc/gc.h"):
            self.versions["boehm"] = self.version("libgc1")
        else:
            self.absent.append("boehm")
        if shutil.which("go"):
            text = subprocess.run(["go", "version"], capture_output=True, text=True).stdout
            self.versions["go"] = text.split()[2].removeprefix("go") if text else "?"
        else:
            self.absent.append("go")
        if shutil.which("redis-server"):
            self.versions["redis"] = self.version("redis-server")
        else:
            self.absent.append("redis")

    def add_libraries(self, paths):
        """More peers, to preload: lib<name>-<version>.so, of which the name is the peer's."""
        for path in paths:
            name = pathlib.Path(path).name.removeprefix("lib").split(".so")[0]
            if os.path.exists(path):
                self.preload[name] = os.path.abspath(path)
                self.versions[name] = ""
            else:
                self.absent.append(path)

    def of(self, prefix, otherwise=()):
        """The peers whose name begins so, the newest last; or else `otherwise`."""
        return sorted(n for n in self.versions if n.startswith(prefix)) or list(otherwise)

    @staticmethod
    def version(package):
        try:
            text = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                                  capture_output=True, text=True).stdout
        except OSError:
            return "?"
        return text.split(":")[-1].split("-")[0].split("+")[0] or "?"

    def label(self, name):
        return f"{name} {self.versions.get(name, '')}".strip()


class Bench:
    def __init__(self, options):
        self.options = options
        self.quick = options.quick
        self.long = options.long
        self.known_collectors = []
        self.rounds = options.rounds or (3 if options.quick else 5)
        self.root = pathlib.Path(options.root).resolve()
        self.build = HERE.parent / "build" / "bench"
        self.build.mkdir(parents=True, exist_ok=True)
        self.peers = Peers()
        self.compiler = os.environ.get("CC", "cc").split()
        self.hyperfine = shutil.which("hyperfine")
        self.rows = []
        self.failures = 0
        self.header = self.keep_header()
        self.gomem_object = self.compile_gomem("gomem.o", ["-c"])
        self.gomem_library = self.compile_gomem(
            "libgomem-malloc.so", ["-fPIC", "-shared", "-fvisibility=hidden",
                                   "-DGOMEM_MALLOC_OVERRIDE"])

    # Building -----------------------------------------------------------------------------

    def command(self, output, command, inputs):
        """Runs a build command unless its output is newer than all inputs and built alike."""
        stamp = pathlib.Path(str(output) + ".command")
        text = hashlib.sha256(" ".join(map(str, command)).encode()).hexdigest()
        if (output.exists() and stamp.exists() and stamp.read_text() == text
                and all(i.stat().st_mtime < output.stat().st_mtime for i in inputs)):
            return output
        done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
        if done.returncode != 0:
            output.unlink(missing_ok=True)
            lines = done.stderr.splitlines() or ["?"]
            raise BuildError(next((line for line in lines if "error" in line), lines[0]))
        if done.stderr and self.options.verbose:
            print(done.stderr, file=sys.stderr)
        stamp.write_text(text)
        return output

    def keep_header(self):
        """A copy of gomem.h, so that all of this run is built from one state of it."""
        source, copy = self.root / "gomem.h", self.build / "include" / "gomem.h"
        if not source.exists():
            return None
        copy.parent.mkdir(exist_ok=True)
        if not copy.exists() or copy.read_bytes() != source.read_bytes():
            shutil.copyfile(source, copy)
        return copy

    def compile_gomem(self, name, flags):
        header = self.header
        if not header:
            return None
        output = self.build / name
        command = [*self.compiler, *STANDARD, *flags, "-DGOMEM_IMPLEMENTATION", "-o", output,
                   "-x", "c", header]
        try:
            return self.command(output, command, [header])
        except BuildError as error:
            print(f"bench: gomem: {name} does not build: {error}", file=sys.stderr)
            self.failures += 1
            return None

    def program(self, question, suffix, defines=(), libraries=(), objects=()):
        output = self.build / f"{question}.{suffix}"
        inputs = [HERE / f"{question}.c", *HERE.glob("*.h"), *objects]
        command = [*self.compiler, *STANDARD, *WARNINGS, f"-I{self.build / 'include'}",
                   *(f"-D{define}" for define in defines), "-o", output, HERE / f"{question}.c",
                   *objects, *libraries]
        return self.command(output, command, inputs)

    def cplusplus(self, question):
        """A question in C++, which only preloading gives an allocator; None: it does not build."""
        compiler = os.environ.get("CXX", "c++").split()
        output, source = self.build / f"{question}.libc", HERE / f"{question}.cc"
        command = [*compiler, "-std=c++17", *STANDARD[1:], *WARNINGS, "-o", output, source]
        try:
            return self.command(output, command, [source, *HERE.glob("*.h")])
        except (BuildError, OSError) as error:
            print(f"bench: {question}: skipped, it does not build: {error}", file=sys.stderr)
            return None

    def example(self, name, suffix="gomem", flags=()):
        """An example with gomem's header inlined; None: it does not build."""
        source, output = HERE.parent / "examples" / f"{name}.c", self.build / f"{name}.{suffix}"
        if not self.header:
            return None
        command = [*self.compiler, *STANDARD, *flags, f"-I{self.header.parent}", "-o", output, source]
        try:
            return self.command(output, command, [source, self.header])
        except BuildError as error:
            print(f"bench: {name} does not build: {error}", file=sys.stderr)
            self.failures += 1
            return None

    # Variants -----------------------------------------------------------------------------

    def attempt(self, variants, make):
        try:
            variants.append(make())
        except BuildError as error:
            print(f"bench: {error}", file=sys.stderr)
            self.failures += 1

    def gomem(self, question, arguments=(), form=INLINED, env=None, name="gomem"):
        """The question with gomem's header inlined, or none."""
        variants = []
        if self.gomem_object:
            self.attempt(variants, lambda: Variant(
                name, form, [self.program(question, "gomem", ["BENCH_GOMEM"],
                                          objects=[self.gomem_object]), *arguments], env or {}))
        return variants

    def collector(self, which, question, arguments=(), name="gomem"):
        """The same under one of gomem's collectors, whose name is the form."""
        return self.gomem(question, arguments, which, {"GOMEM_DEBUG": f"collector={which}"}, name)

    def collectors(self):
        """The concurrent collectors that this header and kernel have, or else the stopped one."""
        if not self.known_collectors:
            for which in ("tracked", "barrier"):
                probe = self.measure(self.collector(which, "latency", ["nodes=16384", "ms=1"]), 1)
                got = probe[0].median("collector") if probe else None
                if got and COLLECTORS.get(int(got)) == which:
                    self.known_collectors.append(which)
                elif probe:
                    print(f"bench: collector {which}: skipped, this header or this kernel lacks it",
                          file=sys.stderr)
            self.known_collectors = self.known_collectors or ["stw"]
        return self.known_collectors

    def concurrent(self, question, arguments=()):
        return [v for which in self.collectors()
                for v in self.collector(which, question, arguments)]

    def twin(self, question, arguments=()):
        """The same work with malloc and free by hand: mimalloc where it is, else libc's."""
        return (self.linked(question, arguments, ["mimalloc"])
                or self.preloaded(question, arguments, ["glibc"]))

    def fit(self, what, wanted, need):
        """`wanted` halved until need(wanted) megabytes are free; says so when it has been."""
        size = wanted
        while size > 1 and need(size) > free_megabytes():
            size //= 2
        if size != wanted:
            print(f"bench: {what}: {size} instead of {wanted}, as memory allows", file=sys.stderr)
        return size

    def preloaded(self, question, arguments=(), only=None):
        """Plain malloc, under each peer that can be preloaded, and as it is."""
        if (HERE / f"{question}.cc").exists():
            program = self.cplusplus(question)
        else:
            program = self.program(question, "libc")
        if not program:
            return []
        variants = [Variant("glibc", PRELOADED, [program, *arguments])]
        libraries = dict(self.peers.preload)
        if self.gomem_library:
            libraries["gomem"] = str(self.gomem_library)
        for name, library in libraries.items():
            variants.append(Variant(name, PRELOADED, [program, *arguments],
                                    {"LD_PRELOAD": library}))
        return [v for v in variants if only is None or v.name in only]

    def linked(self, question, arguments=(), only=None):
        """The peers' own entry points, linked in the way that is fastest."""
        variants = []
        for name in self.peers.linkable:
            if only is not None and name not in only:
                continue
            _, _, define, ways = Peers.MALLOCS[name]
            for i, libraries in enumerate(ways):
                try:
                    program = self.program(question, name, [define], libraries)
                except BuildError as error:
                    if i == len(ways) - 1:
                        print(f"bench: {name}, linked: skipped ({error})", file=sys.stderr)
                    continue
                variants.append(Variant(name, LINKED, [program, *arguments]))
                break
        return variants

    def boehm(self, question, arguments=(), env=None, rounds=0):
        variants = []
        if "boehm" in self.peers.versions:
            self.attempt(variants, lambda: Variant(
                "boehm", LINKED, [self.program(question, "boehm", ["BENCH_BOEHM"], ["-lgc"]),
                                  *arguments], env or {}, rounds))
        return variants

    def go(self, question, arguments=(), rounds=0):
        variants = []
        if "go" in self.peers.versions:
            output = self.build / f"{question}.go.out"
            sources = [HERE / f"{question}.go", HERE / "bench.go"]
            build = ["go", "build", "-o", output, *sources]
            self.attempt(variants, lambda: Variant(
                "go", LINKED, [self.command(output, build, sources), *arguments], {}, rounds))
        return variants

    # Running ------------------------------------------------------------------------------

    def measure(self, variants, rounds=0, whole=False, limit=120, agree=True):
        """All variants in turn, `rounds` times, each round beginning with another one. `whole`: the
        figure is the time of the whole process, by hyperfine where it is installed."""
        if whole and self.hyperfine:  # so that a crash or a hang is seen and named
            for variant in variants:
                if variant.name == "gomem":
                    self.run(variant, limit)
                    variant.figures.clear()
        for n in range(rounds or self.rounds):
            turn = [v for v in variants if not v.broken and not 0 < v.rounds <= n]
            if not turn:
                break
            first = n % len(turn)
            turn = turn[first:] + turn[:first]
            if whole and self.hyperfine:
                self.run_hyperfine(turn, limit)
            else:
                for variant in turn:
                    self.run(variant, limit)
        if agree:
            self.agree(variants)
        for variant in variants:
            variant.derive("rss", lambda kb: kb / 1024, "rss_kb")
            variant.derive("time x rss", lambda seconds, mb: seconds * mb, "time", "rss")
        return variants

    def run(self, variant, limit):
        environment = {**os.environ, **variant.env}
        start = time.monotonic()
        try:
            done = subprocess.run(variant.argv, env=environment, capture_output=True, text=True,
                                  timeout=limit)
        except subprocess.TimeoutExpired:
            self.give_up(variant, f"not done after {limit} s")
            return
        seconds = time.monotonic() - start
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            self.give_up(variant, f"status {done.returncode}" + (f": {lines[-1]}" if lines else ""))
            return
        self.record(variant, done.stdout)
        variant.figures.setdefault("time", []).append(seconds)

    def run_hyperfine(self, variants, limit):
        """One run of each, in this order; their reports come through files."""
        results = self.build / "hyperfine.json"
        reports = [self.build / f"report.{i}" for i in range(len(variants))]
        commands = []
        for variant, report in zip(variants, reports):
            report.unlink(missing_ok=True)
            settings = [f"{k}={v}" for k, v in {**variant.env, "BENCH_REPORT": report}.items()]
            commands.append(" ".join(["env", *settings, *map(str, variant.argv)]))
        try:
            subprocess.run([self.hyperfine, "-N", "-i", "--runs", "1", "--style", "none",
                            "--export-json", results, *commands],
                           capture_output=True, timeout=limit * len(variants), check=True)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            for variant in variants:
                self.give_up(variant, f"hyperfine: {error}")
            return
        for variant, report, result in zip(variants, reports,
                                           json.loads(results.read_text())["results"]):
            if result["exit_codes"] != [0]:
                self.give_up(variant, f"status {result['exit_codes'][0]}")
                continue
            self.record(variant, report.read_text())
            variant.figures.setdefault("time", []).append(result["times"][0])
            report.unlink()

    def record(self, variant, text):
        for line in text.splitlines():
            metric, value = line.split()
            variant.figures.setdefault(metric, []).append(float(value))

    def give_up(self, variant, why):
        variant.broken = why
        self.failures += 1
        print(f"bench: {variant.name} ({variant.form}) {pathlib.Path(variant.argv[0]).name}: {why}",
              file=sys.stderr)

    def agree(self, variants):
        """All variants must have computed the same."""
        checks = {check for v in variants for check in v.figures.get("check", [])}
        if len(checks) > 1:
            self.failures += 1
            for v in variants:
                print(f"bench: {v.name} ({v.form}) differs: {sorted(set(v.figures['check']))}",
                      file=sys.stderr)

    # Rows ---------------------------------------------------------------------------------

    def row(self, question, variants, metric="time", unit="s", bar=None, peers=None, form=INLINED,
            against=None, how="ratio", relax=0, at_least=False):
        """One line of the table: gomem in `form` beside the best of `peers` (of all, if None).
        how: "ratio" gomem/peer; "difference" gomem - peer; "value" gomem's figure alone.
        relax: the bar is this many times the peer's figure where that is more."""
        ours = next((v for v in variants if v.name == "gomem" and v.form == form), None)
        others = [v for v in variants if v.name != "gomem" and v.median(metric) is not None
                  and (peers is None or v.name in peers)
                  and (against is None or v.form in against)]
        best = min(others, key=lambda v: v.median(metric), default=None)
        if best and bar is not None:
            bar = max(bar, relax * best.median(metric))
        cells = Row(question, form if ours else "", bar=bar, how=how, unit=unit, at_least=at_least)
        if ours and ours.median(metric) is not None:
            cells.ours = ours.median(metric)
            cells.our_rss = ours.median("rss_kb")
        if best:
            cells.best = best.median(metric)
            cells.best_name = self.peers.label(best.name)
            cells.best_rss = best.median("rss_kb")
        if ours and best:
            pairs = zip(ours.figures.get(metric, []), best.figures[metric])
            cells.ratios = [a - b if how == "difference" else a / b for a, b in pairs if b]
        if how == "value" and ours:
            cells.ratios = ours.figures.get(metric, [])
        cells.others = [(v.name, v.form, v.median(metric)) for v in others]
        self.add(cells)
        return cells

    def add(self, row):
        self.rows.append(row)
        if len(self.rows) == 1:
            print(Row.head())
        print(row.text(), flush=True)
        if self.options.peers:
            for name, form, value in sorted(row.others, key=lambda other: other[2]):
                print(f"{'':54}{row.number(value):>11}  {self.peers.label(name)} {form}")


class BuildError(Exception):
    pass


@dataclasses.dataclass
class Row:
    question: str
    form: str
    ours: float = None
    best: float = None
    best_name: str = ""
    bar: float = None
    how: str = "ratio"
    unit: str = "s"
    our_rss: float = None
    best_rss: float = None
    ratios: list = dataclasses.field(default_factory=list)
    others: list = dataclasses.field(default_factory=list)
    at_least: bool = False

    def result(self):
        """What is held against the bar."""
        if self.how == "value" or self.ours is None:
            return self.ours
        if self.how == "difference" and self.best is not None:
            return self.ours - self.best
        return self.ours / self.best if self.best else None

    def verdict(self):
        if self.bar is None:
            return ""
        if self.ours is not None and self.result() is None:
            return "no peer"
        if self.result() is None:
            return "no figure"
        good = self.result() >= self.bar if self.at_least else self.result() <= self.bar
        return "met" if good else "MISSED"

    def number(self, value):
        if value is None:
            return "-"
        unit = self.unit
        if unit == "s" and value < 1:
            value, unit = value * 1000, "ms"
        if unit == "us" and abs(value) >= 10000:
            value, unit = value / 1000, "ms"
        return f"{value:.4g} {unit}".strip() if abs(value) >= 1 or value == 0 else f"{value:.2f} {unit}"

    @staticmethod
    def head():
        return (f"{'question':44}{'form':10}{'gomem':>11}  {'best peer':28}{'ratio':>7} {'bar':>8}"
                f"  {'':8}{'spread':>13}  {'peak RSS MB':>13}")

    def text(self):
        best = f"{self.number(self.best)} {self.best_name}" if self.best is not None else "-"
        ratio = "-"
        if self.ours is not None and self.best:
            ratio = (f"{self.ours - self.best:+.2f}" if self.how == "difference"
                     else f"{self.ours / self.best:.2f}")
        bar = ""
        if self.bar is not None:
            bar = f"{self.bar:.0f}" if self.bar >= 1000 else f"{self.bar:.4g}"
            bar = f"{'>=' if self.at_least else '<='} {bar}"
        spread = f"{min(self.ratios):.3g}..{max(self.ratios):.3g}" if len(self.ratios) > 1 else ""
        rss = "/".join(f"{kb / 1024:.3g}" if kb else "-" for kb in (self.our_rss, self.best_rss))
        return (f"{self.question:44}{self.form:10}{self.number(self.ours):>11}  {best:28}{ratio:>7}"
                f" {bar:>8}  {self.verdict():8}{spread:>13}  {rss:>13}")


def geometric(values):
    return math.exp(statistics.fmean(math.log(v) for v in values))


# The questions ---------------------------------------------------------------------------------

QUESTIONS = {}


def question(function):
    QUESTIONS[function.__name__] = function
    return function


@question
def pair(b):
    """malloc and free, 64 bytes, one after the other"""
    arguments = [f"pairs={1000000 if b.quick else 3000000}"]
    variants = b.measure(b.gomem("pair", arguments) + b.preloaded("pair", arguments)
                         + b.linked("pair", arguments))
    b.row("pair 64 B, typed", variants, "typed", "ns", bar=0.35, peers=["mimalloc"])
    b.row("pair 64 B, typed, beside all", variants, "typed", "ns")
    b.row("pair 64 B, size unknown", variants, "untyped", "ns", bar=1.0)
    b.row("pair 64 B", variants, "untyped", "ns", form=PRELOADED, against=[PRELOADED])


@question
def batch(b):
    """1000 allocations, 1000 frees, sizes 16 to 1024"""
    arguments = [f"rounds={30 if b.quick else 100}"]
    variants = b.measure(b.gomem("batch", arguments) + b.preloaded("batch", arguments)
                         + b.linked("batch", arguments))
    for variant in variants:
        for what in ("bare", "used"):
            cells = [m for m in variant.figures if m.startswith(what + ".")]
            variant.derive(what, lambda *row: geometric(row), *cells)
            for order in ("order", "reverse", "random"):
                variant.derive(f"{what}.{order}", lambda *row: geometric(row),
                               *(c for c in cells if c.endswith(order) and c.count(".") == 2))
    b.row("batch 1000, typed", variants, "bare", "ns", bar=0.7)
    b.row("batch 1000, typed, in order", variants, "bare.order", "ns")
    b.row("batch 1000, typed, in reverse", variants, "bare.reverse", "ns")
    b.row("batch 1000, typed, at random", variants, "bare.random", "ns")
    b.row("batch 1000, typed, first word written", variants, "used", "ns")
    b.row("batch 1000", variants, "bare", "ns", form=PRELOADED, against=[PRELOADED])


def whole_programs(b, names, rounds, bar, mean):
    """Whole programs under every allocator, each row and their geometric mean."""
    measured = []
    for name, program, arguments in names:
        variants = b.measure(b.gomem(program, arguments) + b.preloaded(program, arguments), rounds,
                             whole=True)
        b.row(name, variants, bar=bar, form=PRELOADED, against=[PRELOADED])
        b.row(name, variants, against=[PRELOADED])
        measured.append(variants)
    means = []
    for variants in measured[0]:
        columns = [next((v.figures.get("time") for v in others
                         if (v.name, v.form) == (variants.name, variants.form)), None)
                   for others in measured]
        if all(columns):
            figures = [geometric(row) for row in zip(*columns)]
            means.append(Variant(variants.name, variants.form, [], figures={"time": figures}))
    b.row(mean, means, bar=bar, form=PRELOADED, against=[PRELOADED])
    b.row(mean, means, against=[PRELOADED])


SUITE = [  # name, program, arguments, those of --quick
    ("factor: tiny bignums", "factor", ["numbers=6"], ["numbers=3"]),
    ("words: tokens in a hash map", "words", [], ["rounds=5"]),
    ("json: parse, change, write", "json", [], ["rounds=20"]),
    ("lines: sort with keys", "lines", [], ["rounds=10"]),
    ("churn: nothing but malloc", "churn", ["rounds=25"], ["rounds=15"]),
    ("sieve: lists of small nodes", "sieve", [], ["limit=1000000"]),
    ("cubes: a logic minimizer", "cubes", [], ["functions=40"]),
    ("rays: a tree for each frame", "rays", [], ["frames=4"]),
    ("parcels: messages, two threads", "parcels", [], ["parcels=200000"]),
    ("containers: C++", "containers", [], ["rounds=3"]),
    ("lisp: an interpreter", "lisp", [], ["rounds=50"]),
    ("index: words of documents", "index", [], ["documents=20000"])]


@question
def programs(b):
    """whole single-thread programs"""
    names = [(name, program, short if b.quick else arguments)
             for name, program, arguments, short in SUITE[:5]]
    whole_programs(b, names, 3 if b.quick else 7, 1.02, "programs, geometric mean")


@question
def suite(b):
    """twelve whole programs, preloaded: time and memory beside every peer"""
    means = {}  # peer -> metric -> one column per program
    for name, program, arguments, short in SUITE:
        variants = b.measure(b.preloaded(program, short if b.quick else arguments),
                             3 if b.quick else 7, whole=True)
        b.row(name, variants, form=PRELOADED)
        for variant in variants:
            for metric in ("time", "rss"):
                means.setdefault(variant.name, {}).setdefault(metric, []).append(
                    variant.figures.get(metric))
    columns = [Variant(name, PRELOADED, [], figures={
        metric: [geometric(row) for row in zip(*programs)]
        for metric, programs in metrics.items() if all(programs)})
        for name, metrics in means.items()]
    newest = b.peers.of("mimalloc-")  # a current one, if the caller named a library of it
    packaged = [name for name in ("glibc", *b.peers.linkable)]
    for metric, unit, bar in (("time", "s", 1.0), ("rss", "MB", 0.6)):
        label = "suite, geometric mean of " + {"time": "time", "rss": "peak RSS"}[metric]
        judged = newest[-1:] or (packaged if metric == "time" else ["mimalloc"])
        b.row(label, columns, metric, unit, bar=bar, peers=judged, form=PRELOADED)
        for peer in means:
            if peer != "gomem":
                b.row(f"  beside {b.peers.label(peer)}", columns, metric, unit, peers=[peer],
                      form=PRELOADED)


@question
def containers(b):
    """C++'s map, vector of strings and shared_ptr, preloaded"""
    variants = b.measure(b.preloaded("containers", ["rounds=3" if b.quick else "rounds=6"]))
    for metric, name in (("map", "std::map of vectors"), ("strings", "vector of strings"),
                         ("shared", "tree of shared_ptr")):
        b.row(f"C++, {name}", variants, metric, form=PRELOADED)
    for variant in variants:
        variant.derive("mean", lambda *row: geometric(row), "map", "strings", "shared")
    b.row("C++ containers, geometric mean", variants, "mean", form=PRELOADED, bar=1.02)


def best_two(variants, metric):
    """A peer that is the mean of the two best, round by round."""
    two = sorted((v for v in variants if v.name != "gomem" and v.median(metric) is not None),
                 key=lambda v: v.median(metric))[:2]
    rows = zip(*(v.figures[metric] for v in two))
    return Variant(", ".join(v.name for v in two), PRELOADED, [],
                   figures={metric: [statistics.fmean(row) for row in rows]})


@question
def middle(b):
    """blocks of 4 KiB to 1 MiB, aligned ones, 100,000 alive"""
    arguments = [f"pairs={20000 if b.quick else 100000}"]
    inlined = b.gomem("middle", arguments)
    variants = b.measure(inlined + b.preloaded("middle", arguments))
    beside = [v for v in variants if v.form == PRELOADED]
    for metric, name, bar in (("pair.64", "pair 64 KiB", 1.0), ("pair.256", "pair 256 KiB", None),
                              ("pair.1024", "pair 1 MiB", 1.0), ("aligned.64", "aligned 64 B", 1.0),
                              ("aligned.4096", "aligned 4 KiB", None),
                              ("batch.4", "1000 of 4 KiB", None),
                              ("batch.16", "1000 of 16 KiB", 1.0)):
        two = best_two(beside, metric)
        ours = [v for v in variants if v.name == "gomem"]
        b.row(f"{name}, mean of the best two", [*ours, two], metric, "ns", bar=bar, form=PRELOADED)
        b.row(name, variants, metric, "ns")
        b.row(name, variants, metric, "ns", form=PRELOADED)
    snmalloc = b.peers.of("snmalloc", ["glibc", *b.peers.linkable])
    for metric, name in (("crowd", "100,000 of 64 B"), ("crowd.random", "  freed at random")):
        b.row(name, variants, metric, "ns", bar=1.05 if metric == "crowd" else None, peers=snmalloc,
              form=PRELOADED)
        b.row(f"{name}, mimalloc", variants, metric, "ns", bar=1.2 if metric == "crowd" else None,
              peers=b.peers.of("mimalloc"), form=PRELOADED)


@question
def exchange(b):
    """two threads that free each other's objects"""
    arguments = [f"batches={300 if b.quick else 1000}"]
    variants = b.measure(b.preloaded("exchange", arguments), whole=True)
    b.row("exchange, 2 threads", variants, bar=1.05, form=PRELOADED,
          peers=b.peers.of("snmalloc", ["glibc", *b.peers.linkable]))
    b.row("exchange, 2 threads, mimalloc", variants, bar=1.2, form=PRELOADED,
          peers=b.peers.of("mimalloc"))


@question
def large(b):
    """blocks of 5 to 25 MiB, and one of 800 MB that is left alone"""
    arguments = [f"rounds={100 if b.quick else 400}"]
    variants = b.measure(b.gomem("large", arguments) + b.preloaded("large", arguments), whole=True)
    b.row("large, 20 alive", variants, bar=1.1, form=PRELOADED)
    b.row("large, 20 alive", variants)
    variants = b.measure(b.preloaded("large", ["mode=1"]))
    b.row("malloc and free of 800 MB, untouched", variants, "untouched", "us", bar=30, how="value",
          form=PRELOADED)


@question
def misuse(b):
    """what is freed twice or was never allocated: how much of it ends the process at once"""
    program = b.command(b.build / "misuse", [*b.compiler, *STANDARD, "-fno-builtin", "-w", "-o",
                                             b.build / "misuse", MISUSE], [MISUSE])
    names = subprocess.run([program], capture_output=True, text=True, check=True).stdout.split()
    libraries = {"glibc": "", **b.peers.preload, "gomem": str(b.gomem_library)}
    variants = [Variant(name, PRELOADED, [program], {"LD_PRELOAD": library} if library else {})
                for name, library in libraries.items()]
    for variant in variants:
        for case in names:
            kind = case.split(".")[0]
            seen = subprocess.run([program, case], env={**os.environ, **variant.env}, timeout=60,
                                  capture_output=True)
            caught = seen.returncode == -signal.SIGABRT and b"MISSED" not in seen.stdout
            variant.figures.setdefault(kind, [0])[0] += caught
    for kind, what, allowed in (("twice", "double frees", 3),
                                ("late", "  later, or by a thread", None),
                                ("wild", "wild frees", 0)):
        count = sum(name.startswith(f"{kind}.") for name in names)
        for variant in variants:
            variant.figures["missed"] = [count - variant.figures[kind][0]]
        b.row(f"{what}, {count}: not caught", variants, "missed", "", bar=allowed, how="value",
              form=PRELOADED)


@question
def threads(b):
    """producer and consumer, thread hand-over"""
    short = ["batches=5000"] if b.quick else []
    few = ["generations=100" if b.quick else "generations=200"]
    names = [("prodcons: 1 pair", "prodcons", short),
             ("prodcons: 2 pairs", "prodcons", ["pairs=2", *short]),
             ("handover: 2 lanes", "handover", few),
             ("handover: 8 lanes", "handover", ["lanes=8", *few])]
    whole_programs(b, names, 3 if b.quick else 7, 1.0, "threads, geometric mean")


@question
def stress(b):
    """mixed multi-thread stress: time and memory"""
    arguments = ["rounds=5"] if b.quick else []
    variants = b.measure(b.gomem("stress", arguments) + b.preloaded("stress", arguments),
                         whole=True)
    for form in (PRELOADED, INLINED):
        product = b.row("stress, time x peak RSS", variants, "time x rss", "MB s", form=form,
                        bar=1.0 if form == PRELOADED else None, against=[PRELOADED])
        best = [product.best_name.split()[0]] if product.best_name else None
        bar = 1.3 if form == PRELOADED else None
        b.row("stress, time, beside the same", variants, form=form, bar=bar, peers=best,
              against=[PRELOADED])
        b.row("stress, peak RSS, beside the same", variants, "rss", "MB", form=form, bar=bar,
              peers=best, against=[PRELOADED])


@question
def new(b):
    """GOMEM_NEW, 16 to 64 bytes"""
    sizes = (16, 32, 48, 64)
    for kib in (256,) if b.quick else (256, 1024):
        variants = b.measure(b.gomem("new", ["mode=0", f"bytes={kib << 10}"]))
        variants += [v for way in ("bump", "zeroed") for v in bump_twins(variants, sizes, way)]
        for size in sizes:
            b.row(f"NEW {size} B, reused {kib} KiB", variants, f"new.{size}", "ns", bar=1.0,
                  peers=["bump"], how="difference")
            b.row(f"NEW {size} B, reused {kib} KiB, bump zeroes", variants, f"new.{size}", "ns",
                  peers=["zeroed"], how="difference")
    variants = b.measure(b.gomem("new", ["mode=1"]))
    variants += bump_twins(variants, sizes, "bump")
    for size in sizes:
        b.row(f"NEW {size} B, fresh pages", variants, f"new.{size}", "ns", bar=1.2)
    churn = 500000 if b.quick else 2000000
    variants = b.measure(b.gomem("new", ["mode=2", f"churn={churn}"])
                         + b.boehm("new", ["mode=2", f"churn={churn}"]) + b.go("new", [f"{churn}"]))
    for size in sizes:
        b.row(f"NEW {size} B, nothing kept, Go", variants, f"new.{size}", "ns", bar=0.3,
              peers=["go"])
        b.row(f"NEW {size} B, nothing kept, Boehm", variants, f"new.{size}", "ns", peers=["boehm"])


def bump_twins(variants, sizes, way):
    """The bump pointer that the same process measured, as a peer of its own."""
    return [Variant(way, LINKED, [], figures={f"new.{size}": v.figures.get(f"{way}.{size}", [])
                                              for size in sizes}) for v in variants]


@question
def arena(b):
    """objects of an arena beside malloc and free, and beside a bump pointer"""
    glibc = ["glibc"]
    variants = b.measure(b.gomem("arena", ["mode=0"]) + b.linked("arena", ["mode=0"])
                         + b.preloaded("arena", ["mode=0"], glibc))
    variants += [Variant("struct", LINKED, [], figures={"small": v.figures.get("struct", [])})
                 for v in variants[:1]]
    b.row("arena, 16 B, glibc's pair", variants, "small", "ns", bar=0.15, peers=glibc)
    b.row("arena, 16 B, bump pointer in a struct", variants, "small", "ns", bar=1.2,
          peers=["struct"])
    variants = b.measure(b.gomem("arena", ["mode=1"]) + b.linked("arena", ["mode=1"])
                         + b.preloaded("arena", ["mode=1"], glibc))
    b.row("arena, scope of 1000 mixed, glibc", variants, "mixed", "us", bar=0.3, peers=glibc)
    b.row("arena, scope of 1000 mixed, best", variants, "mixed", "us")


@question
def pool(b):
    """get and put of a pool beside malloc and free, and beside sync.Pool"""
    glibc = ["glibc"]
    pairs = {}
    for threads in sorted({1, os.cpu_count()}):
        arguments = ["mode=0", f"threads={threads}"]
        pairs[threads] = b.measure(b.gomem("pool", arguments) + b.linked("pool", arguments)
                                   + b.preloaded("pool", arguments, glibc)
                                   + b.go("pool", arguments))
        name = f"pool, get and put, {threads} thread{'s' * (threads > 1)}"
        b.row(f"{name}, glibc", pairs[threads], "pair", "ns", bar=0.25, peers=glibc)
        b.row(f"{name}, Go", pairs[threads], "pair", "ns", bar=0.1, peers=["go"])
        b.row(f"{name}, best malloc", pairs[threads], "pair", "ns")
    one, most = (pairs[n][0] for n in (min(pairs), max(pairs)))
    alone = Variant("one thread", INLINED, [], figures={"pair": one.figures.get("pair", [])})
    b.row("pool, a thread of all beside one alone", [most, alone], "pair", "ns", bar=1.05,
          peers=["one thread"])
    variants = b.measure(b.gomem("pool", ["mode=1"]))
    singles = Variant("singles", INLINED, [],
                      figures={"bulk": variants[0].figures.get("single", [])})
    b.row("pool, 32 at a time, 32 single ones", [*variants, singles], "bulk", "ns", bar=0.5,
          peers=["singles"])
    arguments = ["mode=2", f"batches={10000 if b.quick else 40000}"]
    variants = b.measure(b.gomem("pool", arguments) + b.linked("pool", arguments)
                         + b.preloaded("pool", arguments, glibc) + b.go("pool", arguments))
    b.row("pool, producer and consumer, Go", variants, "handed", "ns", bar=0.3, peers=["go"])
    b.row("pool, producer and consumer, best malloc", variants, "handed", "ns")


@question
def hint(b):
    """a stack hint beside a local array"""
    variants = b.measure(b.gomem("hint"))
    for mine, other, what, bar in (("constant", "array", "constant n, a local array", 1.2),
                                   ("runtime", "variable", "n not known, an array of n", 1.5),
                                   ("heap", "make", "too large, GOMEM_MAKE", None)):
        twin = Variant(other, INLINED, [], figures={mine: variants[0].figures.get(other, [])})
        b.row(f"stack hint, {what}", [*variants, twin], mine, "ns", bar=bar, peers=[other])


@question
def jsonq(b):
    """the example jsonq beside the same parser on malloc, nodes freed one by one, and beside wc"""
    gomem, malloc = b.example("jsonq"), b.example("jsonq", "malloc", ["-DJSONQ_MALLOC"])
    if not gomem or not malloc:
        return
    lines = b.build / "jsonq.json"
    one, large = b.build / "jsonq1.json", b.build / "jsonq.large.json"
    if not large.exists():
        with open(lines, "w", encoding="utf-8") as out:
            for i in range(500000):
                out.write(f'{{"id": {i}, "name": "item {i}", "tags": ["a", "b", {i % 7}], "price": {i / 8},'
                          f' "size": {{"w": {i % 90}, "h": null, "unit": "mm"}}, "sold": false}}\n')
        text = lines.read_text(encoding="utf-8")
        one.write_text("[" + ",".join(text.splitlines()) + "]", encoding="utf-8")
        large.write_text(text * 4, encoding="utf-8")

    def quietly(name, form, words, env=None):
        return Variant(name, form, ["sh", "-c", f"exec {words} >/dev/null"], env or {})

    for what, path, file in (("trees of lines", ".", lines),
                             ("one tree", ".", one),
                             ("a path", ".size.w", lines)):
        words = f"-j 1 -c '{path}' {file}"
        variants = [quietly("gomem", INLINED, f"{gomem} {words}"),
                    quietly("glibc", PRELOADED, f"{malloc} {words}")]
        if "mimalloc" in b.peers.preload:
            variants.append(quietly("mimalloc", PRELOADED, f"{malloc} {words}",
                                    {"LD_PRELOAD": b.peers.preload["mimalloc"]}))
        b.measure(variants)
        b.row(f"jsonq, {what}, malloc", variants, peers=["glibc"],
              bar=0.667 if path == "." else None)
        b.row(f"jsonq, {what}, mimalloc", variants, peers=["mimalloc"])
    variants = [quietly("gomem", INLINED, f"{gomem} -c .size.w {large}"),
                quietly("wc -l", LINKED, f"wc -l {large}")]
    b.measure(variants)
    b.row("jsonq, a path, all processors, wc -l", variants)


class Server:
    """A process that answers on a port of its own, asked by redis-benchmark."""

    def __init__(self, name, argv, keys):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.variant = Variant(name, INLINED, [word.format(port=self.port) for word in argv])
        self.keys = keys
        self.process = subprocess.Popen(self.variant.argv, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.1)

    def ask(self, command, requests, pipeline, prefix=""):
        """Runs so many requests of 50 connections; requests per second and waits in ms."""
        words = ["redis-benchmark", "-p", str(self.port), "-c", "50", "-d", "1024", "-r",
                 str(self.keys), "-t", command, "-n", str(requests), "-P", str(pipeline)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
        text = done.stdout.replace("\r", "\n")
        waits = re.findall(r"^([\d.]+)% <= ([\d.]+) milliseconds", text, re.MULTILINE)
        if prefix:
            for metric, value in (
                    ("rate", re.search(r"throughput summary: ([\d.]+)", text).group(1)),
                    ("p999", next(ms for percent, ms in waits if float(percent) >= 99.9)),
                    ("worst", re.search(r"latency summary.*\n.*\n.* ([\d.]+)\s*$", text,
                                        re.MULTILINE).group(1))):
                self.variant.figures.setdefault(f"{prefix} {metric}", []).append(float(value))

    def end(self):
        self.process.terminate()
        self.process.wait()


@question
def kvserver(b):
    """the example kvserver beside redis-server, asked by redis-benchmark"""
    missing = [name for name in ("redis-server", "redis-benchmark") if not shutil.which(name)]
    if missing:
        print(f"bench: kvserver: skipped, {missing[0]} is not installed", file=sys.stderr)
        return
    keys = b.fit("kvserver, keys", 1000000 if not b.quick else 100000, lambda n: n * 5 // 1000)
    program = b.example("kvserver")
    if not program:
        return
    servers = [Server("gomem", [str(program), "-p", "{port}"], keys),
               Server("redis", ["redis-server", "--port", "{port}", "--save", "", "--appendonly",
                                "no", "--logfile", ""], keys)]
    try:
        for server in servers:
            server.ask("set", keys * 5, 32)
        # a cycle of the collector comes with about as many new values as there are keys
        asked = [("set", 1, keys * (2 if b.long else 0.3)), ("get", 1, keys * 0.3),
                 ("set", 16, keys * (4 if b.long else 2)), ("get", 16, keys)]
        for n in range(b.options.rounds or (5 if b.long else 3)):
            for command, pipeline, requests in asked:
                for server in servers if n % 2 else servers[::-1]:
                    server.ask(command, int(requests), pipeline, f"{command} {pipeline}")
    finally:
        for server in servers:
            server.end()
    variants = [server.variant for server in servers]
    for command, pipeline, _ in asked:
        name = f"kvserver, {command.upper()}, pipeline {pipeline}"
        of = f"{command} {pipeline}"
        b.row(f"{name}: per second", variants, f"{of} rate", "/s", bar=0.9, at_least=True)
        b.row(f"{name}: p99.9", variants, f"{of} p999", "ms", bar=1)
        b.row(f"{name}: longest", variants, f"{of} worst", "ms", bar=1)


@question
def mark(b):
    """marking a live heap, one worker and two"""
    shapes = [("list", 0, 3), ("tree", 1, 3), ("forest", 2, None), ("16 lists", 3, None),
              ("list at random", 4, None)]
    few = 1 if b.quick else 2
    cycles = 5 if b.quick else 9
    if b.quick:
        shapes = shapes[:3]
    for name, shape, bar in shapes:
        measured = {}
        for workers in (1, 2):
            arguments = [f"shape={shape}", f"workers={workers}"]
            slow = [*arguments, "cycles=3"]
            ours = slow if shape == 4 else [*arguments, f"cycles={cycles}"]
            markers = {"GC_MARKERS": f"{workers}"}
            variants = b.measure(b.gomem("mark", ours)
                                 + b.boehm("mark", slow, markers, few) + b.go("mark", slow, few))
            measured[workers] = variants
            for variant in variants:
                if "pause" not in variant.figures:  # peers: the whole cycle is all there is
                    variant.derive("pause", lambda x: x, "cycle")
            what = f"mark {name}, {workers} worker{'s' * (workers - 1)}"
            if workers == 1 or bar is None:
                b.row(what, variants, "pause", "ns", bar=bar if workers == 1 else None, how="value")
            if workers == 1:
                b.row(f"{what}, whole cycle", variants, "cycle", "ns", how="value")
        one, two = (next((v for v in measured[w] if v.name == "gomem"), None) for w in (1, 2))
        if shape in (2, 3) and one and two and one.median("pause") and two.median("pause"):
            pairs = list(zip(one.figures["pause"], two.figures["pause"]))
            b.add(Row(f"mark {name}, 2 workers: times faster", INLINED,
                      one.median("pause") / two.median("pause"), how="value", unit="",
                      bar=1.8 if shape == 2 else None, at_least=True,
                      ratios=[x / y for x, y in pairs]))


@question
def binarytrees(b):
    """binary-trees, no free at all"""
    arguments = [f"depth={16 if b.quick else 20}"]
    slow = 0 if b.quick else 1
    variants = b.measure(b.gomem("binarytrees", arguments)
                         + b.collector("stw", "binarytrees", arguments)
                         + b.linked("binarytrees", arguments, ["mimalloc"])
                         + b.boehm("binarytrees", arguments, rounds=slow)
                         + b.go("binarytrees", arguments, rounds=slow), 3, whole=True)
    name = f"binary-trees {arguments[0][6:]}"
    b.row(f"{name}, by hand", variants, bar=1.0, peers=["mimalloc"])
    b.row(f"{name}, Boehm", variants, bar=0.2, peers=["boehm"])
    b.row(f"{name}, Go", variants, bar=0.25, peers=["go"])
    b.row(f"{name}, by hand", variants, bar=1.6, peers=["mimalloc"], form="stw")
    b.row(f"{name}, Boehm", variants, bar=0.35, peers=["boehm"], form="stw")


@question
def gcbench(b):
    """trees of all sizes, one that lives long, and an array, in two threads"""
    arguments = [f"depth={12 if b.quick else 16}"]
    variants = b.measure(b.gomem("gcbench", arguments)
                         + b.boehm("gcbench", arguments), 3, whole=True)
    b.row("GCBench, 2 threads, Boehm", variants, bar=0.3, peers=["boehm"])
    b.row("GCBench, peak RSS, Boehm", variants, "rss", "MB", bar=1.0, peers=["boehm"])


@question
def latency(b):
    """operations beside a large live heap: the longest wait, and how many a second"""
    wanted = 1 << (24 if b.long else 20 if b.quick else 22)
    nodes = b.fit("latency, nodes", wanted, lambda n: n * 48 * 4 >> 20)
    arguments = [f"nodes={nodes}", f"ms={20000 if b.long else 1000 if b.quick else 3000}"]
    few = 1 if b.quick else 2
    busy = b.twin("latency", [*arguments, f"burn={os.cpu_count() - 1}"])
    for variant in busy:
        variant.name += ", busy"
    twin = ["mimalloc", "glibc"]
    variants = b.measure(b.concurrent("latency", arguments) + b.twin("latency", arguments) + busy
                         + b.boehm("latency", arguments, rounds=few)
                         + b.go("latency", arguments, few), limit=300)
    name = f"latency, 2^{nodes.bit_length() - 1} nodes"
    for form in b.collectors():
        for metric, what, bar in (("op.worst", "worst", 1000 if form == "barrier" else 2000),
                                  ("op.p999", "p99.9", 200), ("op.p99", "p99", None),
                                  ("op.p50", "p50", None)):
            b.row(f"{name}, {what}", variants, metric, "us", bar=bar,
                  peers=[f"{peer}, busy" for peer in twin] if metric == "op.worst" else twin,
                  form=form, how="value", relax=1.5)
        b.row(f"{name}, worst, quiet twin", variants, "op.worst", "us", peers=twin, form=form)
        b.row(f"{name}, worst, collectors", variants, "op.worst", "us", peers=["boehm", "go"],
              form=form)
        for peer in ("Boehm", "Go"):
            b.row(f"{name}, per second, {peer}", variants, "ops", "", bar=1.5,
                  peers=[peer.lower()], form=form, at_least=True)
        b.row(f"{name}, cycles", variants, "cycles", "", peers=["boehm", "go"], form=form,
              how="value")


@question
def gather(b):
    """the same with four threads per processor: time to gather them"""
    nodes = b.fit("gather, nodes", 1 << (24 if b.long else 20), lambda n: n * 48 * 4 >> 20)
    threads = min(4 * os.cpu_count(), 64)
    arguments = [f"nodes={nodes}", f"threads={threads}",
                 f"ms={20000 if b.long else 1000 if b.quick else 2000}"]
    variants = b.measure(b.concurrent("latency", arguments) + b.twin("latency", arguments),
                         limit=300)
    name = f"{threads} threads"
    for variant in variants:
        variant.derive("gather.over", lambda mine, timer: mine - timer, "gather.p999", "timer.p999")
    twin = ["mimalloc", "glibc"]
    for form in b.collectors():
        b.row(f"{name}, gathering - timer, p99.9", variants, "gather.over", "us", bar=200,
              form=form, how="value")
        b.row(f"{name}, timer, p99.9", variants, "timer.p999", "us", peers=twin, form=form)
        b.row(f"{name}, operation, p99.9", variants, "op.p999", "us", peers=twin, form=form)
        b.row(f"{name}, per second", variants, "ops", "", peers=twin, form=form)


@question
def finish(b):
    """the stop that ends a cycle, beside a thread that writes everywhere"""
    wanted = 256 if b.quick else 1024
    live = b.fit("finish, MB", wanted, lambda mb: 2 * mb)
    ms = f"ms={10000 if b.long else 1000 if b.quick else 3000}"
    variants = b.measure(b.concurrent("finish", [f"live={live}", ms]))
    for form in b.collectors():
        for metric, what, bar in (("pause.p50", "p50 of a cycle's", None),
                                  ("stop.p99", "p99", 700),
                                  ("stop.worst", "worst", 200 if form == "barrier" else 1500)):
            b.row(f"finish stop, {live} MB live, {what}", variants, metric, "us", bar=bar,
                  form=form, how="value")
        b.row("  one cycle", variants, "cycle.p50", "us", form=form, how="value")
        if b.long:
            finish_terms(b, form, live, ms)


def finish_terms(b, form, live, ms):
    """What the length of the stop hangs on, one thing varied at a time."""
    terms = [("per MB live", f"live={live // 4}", live // 4 - live),
             ("per 1,000 pages a second", "rate=40000", 30),
             ("per sleeping thread", "sleepers=200", 200), ("per KB of roots", "roots=100", 6000)]
    variants = [v for argument in ("rate=10000", *(t[1] for t in terms))
                for v in b.collector(form, "finish", [f"live={live}", ms, argument]
                                     if not argument.startswith("live") else [argument, ms],
                                     argument)]
    base, *others = b.measure(variants, agree=False)  # not all are of one size
    for (name, _, amount), other in zip(terms, others):
        pairs = zip(base.figures.get("pause.p50", []), other.figures.get("pause.p50", []))
        each = [(y - x) / amount for x, y in pairs]
        if each:
            b.add(Row(f"  {name}", form, statistics.median(each), how="value", unit="us",
                      ratios=each))


@question
def writer(b):
    """a writer that never allocates and never rests"""
    live = 50 if b.quick else 200
    arguments = [f"live={live}", f"ms={10000 if b.long else 1000 if b.quick else 2000}"]
    variants = b.measure(b.concurrent("writer", arguments)
                         + b.collector(b.collectors()[0], "writer", [*arguments, "cycles=0"],
                                       "no cycles"), limit=100)
    for form in b.collectors():
        b.row(f"random writer, {live} MB, first five stops", variants, "stop.first", "us", bar=5000,
              peers=[], form=form, how="value")
        b.row("  the sixth", variants, "stop.sixth", "us", peers=[], form=form, how="value")
        b.row("  all stops of a cycle, worst", variants, "pause.worst", "us", peers=[], form=form,
              how="value")
        b.row("  longest cycle", variants, "cycle.worst", "us", peers=[], form=form, how="value")
        b.row("  the writer's longest gap", variants, "gap.worst", "us", form=form)


@question
def mmapbeside(b):
    """another thread's mmap, munmap and pthread_create while a heap is marked"""
    live = b.fit("mmapbeside, MB", 2048 if b.long else 256 if b.quick else 512, lambda mb: 2 * mb)
    which = b.collectors()[0]
    arguments = [f"live={live}", f"ms={10000 if b.long else 1000}"]
    busy = [*arguments, "cycles=0", f"burn={os.cpu_count()}"]
    variants = b.measure(b.collector(which, "mmapbeside", arguments)
                         + b.collector(which, "mmapbeside", [*arguments, "cycles=0"], "no cycles")
                         + b.collector(which, "mmapbeside", busy, "no cycles, busy"))
    for call, name in (("mmap", "mmap"), ("munmap", "munmap"), ("create", "pthread_create")):
        b.row(f"worst {name} beside {live} MB", variants, f"{call}.worst", "us", bar=2000,
              peers=["no cycles, busy"], form=which, how="value", relax=1.5)
    b.row("  any of them, processors busy", variants, "any.worst", "us", form=which,
          peers=["no cycles, busy"])


@question
def firstwrite(b):
    """the first write to a page while a cycle tracks"""
    arguments = [f"live={128 if b.quick else 256}", f"ms={10000 if b.long else 1000}"]
    variants = b.measure(b.concurrent("firstwrite", arguments))
    for form in b.collectors():
        for kind, bar in (("scanned", 1000), ("noscan", 50), ("manual", 50)):
            b.row(f"first write to a page, {kind}", variants, f"{kind}.cost", "ns", bar=bar,
                  form=form, how="value")
        b.row("  scanned, the first time after a cycle", variants, "scanned.after", "ns", form=form,
              how="value")


@question
def proportion(b):
    """cycles with and without memory that holds no pointers"""
    wanted = 2048 if b.long else 64 if b.quick else 256
    scanned = b.fit("proportion, MB scanned", wanted, lambda mb: 9 * mb * 3 // 2)
    which = b.collectors()[0]
    arguments = [f"scanned={scanned}", f"noscan={8 * scanned}"]
    variants = b.measure(b.collector(which, "proportion", arguments), 3)
    b.row(f"cycle, {scanned} MB scanned", variants, "small", "ms", form=which, how="value")
    b.row(f"  and {8 * scanned} MB noscan", variants, "large", "ms", form=which, how="value")
    b.row("  how many times longer", variants, "ratio", "", bar=1.2, form=which, how="value")


@question
def rss(b):
    """1 GB freed: is it back with the system?"""
    for name, bounds in (("64 B", ["min=64", "max=64"]), ("64 B to 4 KiB", ["min=64", "max=4096"]),
                         ("64 KiB to 4 MiB", ["min=65536", "max=4194304"])):
        if b.quick and name != "64 B to 4 KiB":
            continue
        variants = b.measure(b.gomem("rss", bounds) + b.preloaded("rss", bounds), 1)
        for form in (INLINED, PRELOADED):
            b.row(f"RSS after 1 GB freed, {name}", variants, "after", "MB", bar=50, how="value",
                  form=form)
        if name == "64 B to 4 KiB":
            variants = b.measure(b.preloaded("rss", [*bounds, "random=1"]), 1)
            b.row("  freed at random, 1 s later", variants, "after", "MB", bar=80, how="value",
                  form=PRELOADED)
        arguments = ["kind=1", *bounds]
        boehm = b.boehm("rss", arguments) if name == "64 B to 4 KiB" and not b.quick else []
        variants = b.measure(b.gomem("rss", arguments) + boehm, 1)
        b.row(f"RSS after collection, {name}", variants, "after", "MB", bar=50, how="value")
        b.row("  seconds from gomem_gc() to 50 MB", variants, "seconds", "s", how="value")


@question
def idle(b):
    """1,000 idle threads that used every class"""
    twin = b.measure(b.preloaded("threads", ["kind=-1"], ["glibc"]), 1)[0].median("per_thread") or 0
    variants = b.measure(b.preloaded("threads", ["kind=0", "count=64"]), 1)
    b.row("64 threads that used every class: each", variants, "per_thread", "KB", form=PRELOADED)
    kinds = ((0, "manual heap", 200), (1, "scanned", 600), (2, "noscan", 600),
             (3, "scanned and noscan", None))
    for kind, name, bar in kinds:
        arguments = [f"kind={kind}"]
        variants = b.gomem("threads", arguments)
        if kind == 0:
            variants += b.preloaded("threads", arguments)
        b.measure(variants, 1)
        for variant in variants:
            variant.derive("own", lambda kb: kb - twin, "per_thread")
        b.row(f"idle thread, {name}", variants, "own", "KB", bar=bar, how="value")
        if kind == 0:
            b.row(f"idle thread, {name}", variants, "own", "KB", bar=bar, how="value",
                  form=PRELOADED)


@question
def nothing(b):
    """a program that uses nothing"""
    variants = b.measure(b.gomem("nothing"), 1)
    for metric, bar in (("threads", 0), ("handlers", 0), ("tls", 8)):
        b.row(f"nothing used: {metric}", variants, metric, "B" if metric == "tls" else "", bar=bar,
              how="value")


def malloc_extra(b, program, rows):
    variants = b.gomem(program) + b.preloaded(program)
    if not b.quick:
        variants += b.linked(program)
    b.measure(variants, 3)
    for metric, name, unit in rows:
        b.row(name, variants, metric, unit)
        b.row(name, variants, metric, unit, form=PRELOADED, against=[PRELOADED])


@question
def pace(b):
    """large buffers over a small live heap: how far past its goal the heap grows"""
    live, ms = (100, "ms=1000") if b.quick else (300, "ms=3000")
    for size, threads, name in ((4000, 1, "4 KB"), (40000, 2, "40 KB"), (1000000, 1, "1 MB"),
                                (16000000, 2, "16 MB"), (128000000, 1, "128 MB")):
        common = [f"live={live}", f"size={size}", f"threads={threads}", ms]
        variants = b.measure(b.gomem("pace", common), 1)
        b.row(f"{name} buffers, {live} MB live: peak / goal", variants, "goal", "", bar=1.15,
              how="value")
        if 3 * size < live << 20:  # what is live fits twice, with the buffers that fill it
            limit = live * 7 // 3
            variants = b.measure(b.gomem("pace", [*common, f"limit={limit}"]), 1)
            b.row(f"  peak / limit of {limit} MB", variants, "limit", "", bar=1.1, how="value")


@question
def forks(b):
    """the stops of a large heap whose program forks each 50 ms"""
    wanted = 256 if b.quick else 1024
    live = b.fit("forks, MB", wanted, lambda mb: 3 * mb)
    ms = "ms=3000" if b.quick else "ms=8000"
    variants = b.measure(b.gomem("forks", [f"live={live}", "each=50", ms])
                         + b.gomem("forks", [f"live={live}", "each=0", ms], name="no forks"), 3)
    name = f"fork each 50 ms, {live} MB live"
    b.row(f"{name}: longest stop", variants, "stop.worst", "us", bar=2, peers=["no forks"])
    b.row("  cycles that ended", variants, "cycles", "", bar=1, peers=["no forks"], how="value",
          at_least=True)


@question
def kept(b):
    """dead memory that a cycle keeps, in the shape of GCBench"""
    variants = b.measure(b.gomem("kept") + b.boehm("kept"), 3)
    b.row("GCBench, live after a cycle, Boehm", variants, "live", "MB", bar=1.1, peers=["boehm"])


@question
def doors(b):
    """the less travelled ways through pools, arenas and figures"""
    variants = b.measure(b.gomem("doors"))

    def beside(name, metric, other, bar):
        twin = Variant("first", INLINED, [], figures={metric: variants[0].figures.get(other, [])})
        b.row(name, [*variants, twin], metric, "ns", bar=bar, peers=["first"])
    beside("get and put of the 200th pool, the first", "later", "first", 2)
    for n in (16, 64, 256, 1024):
        beside(f"arena, {n} B uninitialised, zeroed", f"uninit_{n}", f"zeroed_{n}", 1)
    b.row("gomem_heap_size and the like", variants, "getter", "ns", bar=10, how="value")
    b.row("scratch, 100 small rounds after 500 MB", variants, "scratch", "MB", bar=20, how="value")


@question
def vector(b):
    """vectors that grow by realloc"""
    malloc_extra(b, "vector", [("one", "vector, one, per push", "ns"),
                               ("many", "vectors, 500, per push", "ns")])


@question
def calloc(b):
    """large zeroed blocks"""
    malloc_extra(b, "calloc", [("one", "calloc 1 MiB, again and again", "us"),
                               ("many", "calloc 1 MiB, 64 alive", "us")])
    for mode, metric, name in ((1, "huge", "left alone"), (2, "huge.written", "pages written")):
        variants = b.measure(b.preloaded("calloc", [f"mode={mode}"]))
        b.row(f"calloc 64 MiB, {name}", variants, metric, "us", bar=1.2, form=PRELOADED)


def main():
    parser = argparse.ArgumentParser(
        description="Measures gomem beside the peers that are installed.",
        epilog="questions: " + "; ".join(f"{n}: {f.__doc__}" for n, f in QUESTIONS.items()))
    parser.add_argument("questions", nargs="*", metavar="question", help="all, if none is named")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    length.add_argument("--long", action="store_true", help="cycles on heaps of full size")
    parser.add_argument("--rounds", type=int, default=0, help="rounds per question")
    parser.add_argument("--peers", action="store_true", help="every peer's figure below each row")
    parser.add_argument("--root", default=HERE.parent, help="the folder of gomem.h")
    parser.add_argument("--json", help="write the rows to this file, too")
    parser.add_argument("--verbose", action="store_true", help="compiler warnings and durations")
    options = parser.parse_args()
    unknown = [q for q in options.questions if q not in QUESTIONS]
    if unknown:
        parser.error(f"no question {unknown[0]!r}; there are: {', '.join(QUESTIONS)}")

    start = time.monotonic()
    b = Bench(options)
    print("peers: " + ", ".join(b.peers.label(name) for name in b.peers.versions if name != "gomem")
          + (f"; skipped, not installed: {', '.join(b.peers.absent)}" if b.peers.absent else ""))
    print(f"machine: {cpu_name()}, {os.cpu_count()} processors, Linux {os.uname().release}; "
          f"{'hyperfine' if b.hyperfine else 'own clock (hyperfine is not installed)'}; "
          f"load {os.getloadavg()[0]:.2f}\n")
    if not b.gomem_object:
        print(f"bench: no gomem.h that compiles in {b.root}; only the peers run", file=sys.stderr)
    for name in options.questions or QUESTIONS:
        began = time.monotonic()
        QUESTIONS[name](b)
        if options.verbose:
            print(f"bench: {name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    verdicts = [row.verdict() for row in b.rows if row.bar is not None]
    met, missed = verdicts.count("met"), verdicts.count("MISSED")
    print(f"\n{met} bars met, {missed} missed, {len(verdicts) - met - missed} without a figure; "
          f"{time.monotonic() - start:.0f} s")
    if options.json:
        rows = [{**dataclasses.asdict(row), "verdict": row.verdict()} for row in b.rows]
        pathlib.Path(options.json).write_text(json.dumps(rows, indent=1))
    sys.exit(1 if b.failures else 0)


def free_megabytes():
    try:
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) >> 10
    except OSError:
        pass
    return 4096


def cpu_name():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return os.uname().machine


if __name__ == "__main__":
    main()
