#!/bin/sh
# Prints the table of sizes of README.md: an empty program with the parts of gomem.h that are left.
#
#     bench/sizes.sh           CC, CFLAGS (-O2) and LDFLAGS are used; needs strip
#
# Sizes are those of the stripped program in thousands of bytes, rounded.
cd "$(dirname "$0")/.." || exit 2
CC=${CC:-gcc} CFLAGS=${CFLAGS:--O2}
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT

# size OPTION...: of the program $body
size() {
    printf '#define GOMEM_IMPLEMENTATION\n#include "gomem.h"\n#include <stdio.h>\nint main(void) { %s }\n' \
        "$body" >"$tmp/program.c"
    # shellcheck disable=SC2086 # flags are words
    $CC $CFLAGS "$@" -I. -o "$tmp/program" "$tmp/program.c" -pthread $LDFLAGS || exit 1
    strip "$tmp/program"
    echo "$((($(wc -c <"$tmp/program") + 500) / 1000)) KB"
}

row() {
    what=$1
    shift
    echo "| $what | $(echo "$*" | sed 's/-D\([A-Z_]*\)/`\1`/g') | $(size "$@") |"
}

body='return 0;'
echo 'int main(void) { return 0; }' >"$tmp/empty.c"
# shellcheck disable=SC2086
$CC $CFLAGS -o "$tmp/empty" "$tmp/empty.c" -pthread && strip "$tmp/empty"
echo "An empty program without gomem.h: $((($(wc -c <"$tmp/empty") + 500) / 1000)) KB"
echo
echo '| you keep | define | program size |'
echo '|---|---|---|'
row 'everything'
row 'everything but `gctrace`, `gomem_why`, profiles, leaks and the report' -DGOMEM_NO_REPORT
row 'collected and manual heap' -DGOMEM_NO_POOL -DGOMEM_NO_ARENA -DGOMEM_NO_ESCAPE
row 'the same without those' -DGOMEM_NO_POOL -DGOMEM_NO_ARENA -DGOMEM_NO_ESCAPE -DGOMEM_NO_REPORT
row 'manual heap, pools, arenas' -DGOMEM_NO_COLLECTOR
row 'manual heap, pools' -DGOMEM_NO_COLLECTOR -DGOMEM_NO_ARENA
row 'manual heap, arenas' -DGOMEM_NO_COLLECTOR -DGOMEM_NO_POOL
row 'manual heap' -DGOMEM_NO_COLLECTOR -DGOMEM_NO_POOL -DGOMEM_NO_ARENA
row 'the same without those' -DGOMEM_NO_COLLECTOR -DGOMEM_NO_POOL -DGOMEM_NO_ARENA -DGOMEM_NO_REPORT
echo
sections='-ffunction-sections -Wl,--gc-sections'
body='puts(gomem_new_string("hello, world", 12)); return 0;'
# shellcheck disable=SC2086
echo "hello world on the collected heap, $sections: $(size $sections)"
body='gomem_arena a = {0}; puts(gomem_arena_strdup(&a, "hello, world")); return 0;'
# shellcheck disable=SC2086
echo "the same from an arena: $(size $sections)"
# shellcheck disable=SC2086
echo "the same from an arena, GOMEM_NO_COLLECTOR, GOMEM_NO_POOL: $(size $sections -DGOMEM_NO_COLLECTOR -DGOMEM_NO_POOL)"
echo
echo 'Without linker flags, in a program of one file with GOMEM_STATIC:'
body='puts(gomem_new_string("hello, world", 12)); return 0;'
echo "hello world on the collected heap: $(size -DGOMEM_STATIC)"
body='puts(gomem_realloc(gomem_strdup("hello, world"), 99)); return 0;'
echo "the same on the manual heap: $(size -DGOMEM_STATIC)"
body='gomem_arena a = {0}; puts(gomem_arena_strdup(&a, "hello, world")); return 0;'
echo "the same from an arena: $(size -DGOMEM_STATIC)"
echo "the same from an arena, GOMEM_NO_COLLECTOR, GOMEM_NO_POOL: $(size -DGOMEM_STATIC -DGOMEM_NO_COLLECTOR -DGOMEM_NO_POOL)"
echo "the same from an arena, with GOMEM_NO_REPORT too: $(size -DGOMEM_STATIC -DGOMEM_NO_COLLECTOR -DGOMEM_NO_POOL -DGOMEM_NO_REPORT)"
