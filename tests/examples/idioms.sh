#!/bin/sh
# examples/idioms: each program compiles without a warning, prints what its head says, with each
# collector, and is listed in examples/README.md.
. "$(dirname "$0")/check"
CC=${CC:-cc}
folder=examples/idioms

programs=0
for source in "$folder"/*.c; do
    idiom=$(basename "$source" .c)
    [ "$idiom" = gomem ] && continue
    programs=$((programs + 1))
    $CC -std=gnu11 -O1 -Wall -Wextra -Wconversion -I. -pthread -S -o "$tmp/log.s" "$source" >"$tmp/log" 2>&1
    check "$idiom compiles" test $? -eq 0
    [ -s "$tmp/log" ] && fail "$idiom compiles without a warning" "$tmp/log"
    sed -n '/^\/\/ It prints:$/,/^$/s/^\/\/     //p' "$source" >"$tmp/expected"
    check "$idiom says what it prints" test -s "$tmp/expected"
    for collector in tracked barrier stw; do
        GOMEM_DEBUG=collector=$collector "$bin/idioms/$idiom" >"$tmp/actual" 2>"$tmp/err"
        check "$idiom, $collector: status" test $? -eq 0
        same "$idiom, $collector: output" "$tmp/expected" "$tmp/actual"
    done
    has "$idiom is listed" examples/README.md "idioms/$idiom.c"
done
check 'eleven idioms' test $programs -ge 11
for program in examples/*.c; do
    has "$(basename "$program") is listed" examples/README.md "($(basename "$program"))"
done
finish
