#!/usr/bin/env python3
"""Tests the lint: good.h passes every check, and each damage to it is caught by the named check.

A case is (check, part of the expected message, text of good.h, its replacement)."""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LINT = os.path.join(os.path.dirname(HERE), "lint.py")
GOOD = open(os.path.join(HERE, "good.h"), encoding="utf-8").read()
# What a header this small can be asked.
CHECKS = ("lock-order,map,cards,calls,room-names,prototypes,atomics,comment-names,layout,names,declarations,"
          "tags,functions,heads,comments,conditionals,fields,prefixes,globals,symbols,leaks")
HEAP_LOCKS = " * LOCKS       HEAP, around the mapping; callers may hold WORLD\n"
TAKE = "static void *gm_heap_take("
LINES = "".join(f"    size += {i};\n" for i in range(70))

CASES = [
    ("map", "the map shows `os`, which has no banner", " * >>os      pages", " * >>so      pages"),
    ("map", "room `heap` is not on the map", " *     heap    objects\n", ""),
    ("map", "order differs", " *     base    atomics\n *     os      pages\n",
     " *     os      pages\n *     base    atomics\n"),
    ("map", "on floor 1, its banner does not", " *   floor 2\n", ""),
    ("map", "stands after floor", "floor 5\n * ==", "floor 1\n * =="),
    ("map", "no line with the words", "Map of the house", "Rooms"),
    ("cards", "unknown key HOLDS", " * LOCKS ", " * HOLDS "),
    ("cards", "out of order", HEAP_LOCKS + " * INVARIANTS  H1  top is a multiple of GM_CELL\n",
     " * INVARIANTS  H1  top is a multiple of GM_CELL\n" + HEAP_LOCKS),
    ("cards", "says nothing", HEAP_LOCKS, " * LOCKS\n"),
    ("cards", "has no card", " * OWNS        nothing\n */\nstatic void *gm_os", " */\nstatic void *gm_os"),
    ("tags", "H1 is defined in line", " * INVARIANTS  H1  top is a multiple of GM_CELL\n",
     " * INVARIANTS  H1  top is a multiple of GM_CELL\n *             H1  and so is base\n"),
    ("tags", "H2 is defined nowhere", "H1  top is a multiple of GM_CELL", "H1  top is one, see H2"),
    ("cards", "second banner", " * >>heap ", " * >>os "),
    ("calls", "`os` is not on its CALLS line", " * CALLS       base os sync\n", " * CALLS       base sync\n"),
    ("calls", "the line should be: CALLS sync heap", " * CALLS       sync heap\n",
     " * CALLS       os sync heap\n"),
    ("calls", "which is no room", " * CALLS       sync heap\n", " * CALLS       sync heap attic\n"),
    ("calls", "the line should be: CALLS base os sync", " * CALLS       base os sync\n",
     " * CALLS       os base sync\n"),
    # locks: a wrong nesting, in a function, through a call, in a function that is an argument
    ("lock-order", "gm_alloc_begin holds HEAP while WORLD is taken", "    return gm_sync_try(&rt->lock);",
     "    gm_sync_lock(&rt->heap.lock);\n    _Bool done = gm_sync_try(&rt->lock);\n"
     "    gm_sync_unlock(&rt->heap.lock);\n    return done;"),
    ("lock-order", "gm_heap_take holds HEAP while HEAP is taken",
     "    if (heap->bytes == NULL) gm_heap_map(heap);",
     "    gm_sync_lock(&heap->lock);\n    gm_heap_map(heap);\n    gm_sync_unlock(&heap->lock);"),
    ("lock-order", "gomem_new holds HEAP while HEAP is taken", "        gm_alloc_each(gm_heap_map, &rt->heap);\n",
     "        gm_sync_lock(&rt->heap.lock);\n        gm_alloc_each(gm_heap_map, &rt->heap);\n"
     "        gm_sync_unlock(&rt->heap.lock);\n"),
    ("lock-order", "gomem_new ends with HEAP held", "        gm_sync_unlock(&heap->lock);\n        return;", "        return;"),
    ("lock-order", "gomem_new ends with WORLD held", "        gm_sync_unlock(&rt->lock);\n", ""),
    ("lock-order", "the order of gm_rank", "enum gm_rank { GM_RANK_WORLD, GM_RANK_HEAP }",
     "enum gm_rank { GM_RANK_HEAP, GM_RANK_WORLD }"),
    ("lock-order", "has the rank HEAP, no row", "GM_RANK_WORLD, GM_RANK_HEAP }", "GM_RANK_WORLD }"),
    ("lock-order", "has a row ATTIC, but no lock", "GM_RANK_WORLD, GM_RANK_HEAP }",
     "GM_RANK_WORLD, GM_RANK_ATTIC, GM_RANK_HEAP }"),
    ("lock-order", "the lock lock of struct gm_heap has no rank", "    rt->heap.lock.rank = GM_RANK_HEAP;\n", ""),
    ("lock-order", "the essay's list of locks differs", " *     HEAP    the heap\n", ""),
    ("lock-order", "the essay's list of locks differs", " *     WORLD   the runtime\n *     HEAP    the heap\n",
     " *     HEAP    the heap\n *     WORLD   the runtime\n"),
    ("lock-order", "`heap` takes HEAP, which its LOCKS line does not name", HEAP_LOCKS,
     HEAP_LOCKS.replace("HEAP", "it")),
    ("lock-order", "`heap`: LOCKS names WORLD, which the room does not take", HEAP_LOCKS,
     HEAP_LOCKS.replace("callers may hold ", "")),
    ("lock-order", "`alloc`: HEAP is not taken there while WORLD is held", " = &gm_runtime;\n    if (gm_alloc_begin(rt)) {\n"
     "        gm_alloc_each(gm_heap_map, &rt->heap);\n",
     " = &gm_runtime;\n    gm_heap_map(&rt->heap);\n    if (gm_alloc_begin(rt)) {\n"),
    ("lock-order", "does not see which lock it is", "    gm_sync_lock(&heap->lock);\n    if",
     "    gm_sync_lock((struct gm_lock *)(void *)heap);\n    if"),
    ("calls", "which stands below", "    return aligned_alloc", "    gm_heap_take(0, 0);\n    return aligned_alloc"),
    ("room-names", "gm_grab: functions of room `heap`", TAKE, "static void *gm_grab("),
    ("room-names", "gm_os_x: functions of room `heap`", TAKE,
     "static int gm_os_x(void) {\n    return 1;\n}\n" + TAKE),
    ("room-names", "outside the rooms", "static inline int gomem_fits", "static inline int fits"),
    ("prototypes", "private prototype of gm_heap_take", "struct gm_heap {",
     "static void *gm_heap_take(struct gm_heap *heap, size_t size);\nstruct gm_heap {"),
    ("prototypes", "private prototype of gm_heap_take", "struct gm_heap {",
     "static void *gm_heap_take(void) __attribute__((noinline));\nstruct gm_heap {"),
    ("prototypes", "private prototype of gm_heap_take", "struct gm_heap {",
     "struct gm_heap;\nvoid *gm_heap_take(struct gm_heap *heap,\n    size_t size);\nstruct gm_heap {"),
    ("atomics", "gm_store_rel: no comment", "    // Pairs with the load above.\n    gm_store",
     "\n\n\n    gm_store"),
    ("atomics", "outside `base`", "    // Pairs with", "    __atomic_fetch_add(&heap->top, 0, 5);\n    //"),
    ("comment-names", "gm_heap_give", "// gm_heap_take does", "// gm_heap_give does"),
    ("comment-names", "GM_PAGE", "multiple of GM_CELL\n * WHY", "multiple of GM_PAGE\n * WHY"),
    ("comment-names", "gm_attic_", "// gm_heap_take does", "// gm_attic_* does"),
    ("layout", "columns", "// the only one", "// the only one" + " and so on" * 8),
    ("layout", "a tab", "    return size <=", "\treturn size <="),
    ("layout", "blanks at the end", "// the only one", "// the only one "),
    ("layout", "TODO", "// the only one", "// TODO: the only one"),
    ("layout", "one line end", "#endif\n#endif\n", "#endif\n#endif\n\n"),
    ("names", "_gm_x begins with an underscore", "#define GM_CELL 16\n#else", "#define _gm_x 1\n#else"),
    ("names", "_taker begins", "gm_heap_take", "_taker"),
    ("names", "gomem_counts_t ends in _t", "gomem_counts", "gomem_counts_t"),
    ("names", "gm_heap_t ends in _t", "struct gm_heap {", "typedef int gm_heap_t;\nstruct gm_heap {"),
    ("names", "gm__heap holds a double", "struct gm_heap {", "struct gm__heap {"),
    ("names", "gm__one holds a double", "struct gm_heap {", "enum { GM_A, gm__one };\nstruct gm_heap {"),
    ("names", "GM_x_t ends in _t", "struct gm_heap {",
     "typedef struct {\n    int a; // a\n} GM_x_t;\nstruct gm_heap {"),
    ("names", "_hidden begins", "static struct gm_runtime gm_runtime;",
     "static struct gm_runtime gm_runtime;\nstatic int _hidden = 1;"),
    ("declarations", "includes <stdio.h>", "#include <stdint.h>", "#include <stdio.h>"),
    ("declarations", "LIMIT: names", "GOMEM_LIMIT", "LIMIT"),
    ("functions", "gm_heap_take has", "    // Pairs", LINES + "    // Pairs"),
    # heads: too long without a comment; a comment that code follows, or on a line of code, is none
    ("heads", "gm_heap_take has", "    // Pairs", LINES + "    // Pairs"),
    ("heads", "gm_heap_take has", TAKE + "struct gm_heap *heap, size_t size) {\n", "// of the struct\n"
     "struct gm_more;\n" + TAKE + "struct gm_heap *heap, size_t size) {\n" + LINES),
    ("heads", "gm_heap_clear has", "// Long, so it has a comment.\n", ""),
    ("comments", "of the implementation's lines are comments", "    // Pairs", 3 * LINES + "    // Pairs"),
    ("conditionals", "#if inside gm_heap_take of room `heap`", "    return heap->bytes == NULL",
     "#ifdef GOMEM_X\n#endif\n    return heap->bytes == NULL"),
    ("conditionals", "#if number 9 in rooms other than base and os", "struct gm_heap {",
     "#ifdef GOMEM_X\n#endif\n" * 9 + "struct gm_heap {"),
    ("fields", "a field without a comment", "bytes; // first byte of the mapping\n    size_t top;  // bytes "
     "handed out", "bytes;\n    size_t top; \n"),
    ("prefixes", "[prefixes]", "    return aligned_alloc", "    return gm_x + (char *)aligned_alloc"),
    ("prefixes", "[prefixes]", "static void *gm_os_map(size_t", "static void *gm_os_map(struct gm_heap h, size_t"),
    ("globals", "mutable global", "struct gm_heap {", "static int gm_more;\nint gm_second;\nstruct gm_heap {"),
    ("globals", "mutable global gm_calls", "    // Pairs", "    static int gm_calls;\n    gm_calls++;\n    //"),
    ("globals", "thread-local", "static struct gm_runtime gm_runtime;",
     "static struct gm_runtime gm_runtime;\n_Thread_local long gomem_extra[4];"),
    ("symbols", "exported symbol gm_heap_take", TAKE, TAKE.replace("static ", "")),
    ("leaks", "defines PAGE", "#define GOMEM_LIMIT 64", "#define GOMEM_LIMIT 64\n#define PAGE 1"),
    ("leaks", "declares fits", "void *gomem_new(size_t size);\n\n", "void *gomem_new(size_t size);\nint fits(void);\n\n"),
]


def lint(text, checks):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "gomem.h")
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        result = subprocess.run([sys.executable, LINT, "--header", path, "--only", checks],
                                capture_output=True, text=True)
        return result.stdout + result.stderr


def main():
    failed = 0
    out = [r for r in lint(GOOD, CHECKS).split("\n") if "[" in r and "does not define" not in r]
    if out:
        failed += 1
        print("FAIL good.h: findings in the good header\n  " + "\n  ".join(out))
    for check, message, old, new in CASES:
        name = f"{check}: {message}"
        if old not in GOOD:
            failed += 1
            print(f"FAIL {name}: good.h does not hold the text to damage")
            continue
        damaged = GOOD.replace(old, new) if re.fullmatch(r"\w+", old) else GOOD.replace(old, new, 1)
        out = lint(damaged, check)
        if not any(f"[{check}]" in row and message in row for row in out.split("\n")):
            failed += 1
            print(f"FAIL {name}: not caught; the lint said:\n{out}")
    print(f"{len(CASES) + 1 - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
