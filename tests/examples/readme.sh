#!/bin/sh
# README.md: every program in it compiles without a warning, straight from the text, and those of the
# cookbook print what stands behind them.
. "$(dirname "$0")/check"
CC=${CC:-cc}

# Writes block N of the text to $tmp/N.c (with the cookbook's first lines where it has none) and, where
# a block of output follows, that to $tmp/N.txt.
awk -v out="$tmp" '
    /^```c$/ { code = 1; text = ""; next }
    /^```text$/ { expected = 1; text = ""; next }
    /^```$/ && code {
        code = 0
        if (text !~ /int main\(/) next
        if (text !~ /gomem\.h/) text = head text
        file = sprintf("%s/%d", out, ++n)
        printf "%s", text > (file ".c")
        close(file ".c")
        next
    }
    /^```$/ && expected { expected = 0; printf "%s", text > (file ".txt"); close(file ".txt"); next }
    { text = text $0 "\n" }
    BEGIN { head = "#define GOMEM_IMPLEMENTATION\n#include \"gomem.h\"\n#include <stdio.h>\n" }
' README.md

$CC -std=c11 -O1 -I. -c -o "$tmp/gomem.o" tests/gomem.c || fail 'tests/gomem.c compiles' /dev/null
programs=0 outputs=0
for source in "$tmp"/[0-9]*.c; do
    program=${source%.c} title="program $(basename "${source%.c}")"
    programs=$((programs + 1))
    sed 's/^#define GOMEM_IMPLEMENTATION.*//' "$source" >"$program.short.c" # compiled once for all
    $CC -std=c11 -O1 -g -Wall -Wextra -I. -o "$program" "$program.short.c" "$tmp/gomem.o" -pthread \
        >"$tmp/log" 2>&1
    check "$title: compiles" test $? -eq 0
    [ -s "$tmp/log" ] && fail "$title: compiles without a warning" "$tmp/log"
    [ -f "$program.txt" ] || continue
    outputs=$((outputs + 1))
    "$program" >"$tmp/actual" 2>"$tmp/err" </dev/null
    check "$title: status" test $? -eq 0
    same "$title: prints what stands behind it" "$program.txt" "$tmp/actual"
done
check 'the README has programs' test $programs -ge 13
check 'the cookbook has eleven' test $outputs -eq 11
finish
