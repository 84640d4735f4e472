#!/bin/sh
# The example leaks: each command at the head of a leak, and in README.md, prints what stands behind it,
# and with the cure there is nothing to find.
#
# A command is a line "$ COMMAND"; its output ends at a blank line, the next command, or the end of the
# block. Addresses, times, and what is of the C library are masked; so are figures of collections, and
# the number of objects that the stack still holds.
. "$(dirname "$0")/check"
PATH=$PATH:/usr/local/go/bin
export PPROF_TMPDIR="$tmp"
ln -s "$PWD/$bin/leaks" "$tmp/leaks"

# What differs from run to run becomes the same.
mask() {
    sed -E 's/0x[0-9a-f]+/0xN/g; s/^Build ID: .*/Build ID/; s/^Time: .*/Time/; /^(File|Build ID|Time)/d
        / \[.*\]$/d; / (main|_start|__libc_start_\S*)$/d; s/^[^ ]*;main;/main;/; s/slot [0-9]+ of/slot N of/
        /^gc /s/[0-9]+(\.[0-9]+)?/N/g; /^gc [2-9]/d; /^gomem_/s/ [0-9.e+]+$/ N/
        /leak/s/\b(9[89]|19[6-9]|100|200|23[0-9][0-9]|2400|[0-9]{6})\b/N/g' "$1"
}

# run NUMBER COMMAND: compares its output with $tmp/expected.
run() {
    (cd "$tmp" && PATH=.:$PATH timeout 120 sh -c "$2") >"$tmp/output" 2>&1
    mask "$tmp/output" | grep -v '^gc N' >"$tmp/actual"
    mask "$tmp/expected" | grep -v '^gc N' >"$tmp/masked"
    same "$1: $2" "$tmp/masked" "$tmp/actual"
    grep -q '^gc 1 ' "$tmp/expected" || return
    check "$1: $2: lines" test "$(grep -c '^gc ' "$tmp/output")" -ge 2
    shape='s/[0-9]+(\.[0-9]+)?/N/g; s/tracked|stw/C/; s/tries/try/'
    sed -nE "/^gc 1 /{$shape;p;}" "$tmp/expected" >"$tmp/masked"
    sed -nE "/^gc 1 /{$shape;p;}" "$tmp/output" >"$tmp/actual"
    same "$1: $2: shape" "$tmp/masked" "$tmp/actual"
}

# commands FILE PREFIX: runs those of a file.
commands() {
    sed -n "s|^$2\( *\S.*\)|\1|p; t; s/.*//p" "$1" | awk -v out="$tmp/command-" '
        /^\$ / { n++; file = out sprintf("%02d", n); print substr($0, 3) >file; next }
        /^$/ || /^```/ { file = "" }
        file { print >file }'
    found=0
    for file in "$tmp"/command-*; do
        command=$(sed -n 1p "$file")
        sed 1d "$file" >"$tmp/expected"
        rm "$file"
        found=$((found + 1))
        case $command in *'go tool'*)
            command -v go >/dev/null 2>&1 || { skipped=$((skipped + 1)); echo 'SKIP go tool pprof: no go'; continue; } ;;
        esac
        run "$(basename "$1")" "$command"
    done
}

commands examples/leaks.c '//     '
check 'five leaks and a cure have their output' test $found -ge 6
sed -n '/^```console$/,/^```$/p' README.md >"$tmp/README"
commands "$tmp/README" ''
check 'five commands of README.md have their output' test $found -ge 5

# -- cured
leaks=$bin/leaks
GOMEM_DEBUG=leak=1 "$leaks" files cured >"$tmp/out" 2>"$tmp/err"
check 'files, cured: none is leaked' test ! -s "$tmp/err"
check 'timer, cured: the requests are gone' test "$("$leaks" timer cured | sed -n 's/ requests live//p')" -le 2
GOMEM_DEBUG=profile=1,write=folded:/dev/stderr "$leaks" map cured 2>"$tmp/err"
check 'map, cured: few sessions are in use' test "$(awk '{ n += $NF } END { print n + 0 }' "$tmp/err")" -le 10240
live() { GOMEM_DEBUG=gctrace=1 "$leaks" cache "$@" 2>&1 | sed -n 's/.*->\([0-9]*\) MB,.*/\1/p' | sort -n | tail -n 1; }
check 'cache: it grows' test "$(live)" -ge 16
check 'cache, cured: it does not' test "$(live cured)" -le 8
for wrong in '' 'none' 'files ill' 'files cured twice'; do
    # shellcheck disable=SC2086 # arguments are words
    usage_fails "arguments: $wrong" "$leaks" $wrong
done
finish
