#!/bin/sh
# Bad input: builds each program of this folder at check levels 0 and 1, runs it, and compares exit
# status and standard error with what its first lines expect (bad.h says how).
#
#     tests/bad/run.sh [part of a name]
#
# CC and CFLAGS as for make; LEVELS (default "0 1") are the check levels.
cd "$(dirname "$0")/../.." || exit 2
cc=${CC:-cc}
levels=${LEVELS:-0 1}
out=build/bad
passed=0 failed=0 skipped=0

if command -v timeout >/dev/null 2>&1; then
    bound="timeout -k 5 60"
else
    bound=
fi

fail() {
    echo "FAIL $1: $2"
    sed 's/^/    /' "$3" | head -n 10
    failed=$((failed + 1))
}

# The values of one key in the first lines of a program.
expected() { sed -n "/^#/q; s|^// $2: ||p" "$1"; }

build_one() {
    # shellcheck disable=SC2086
    $cc -std=c11 -pthread -I. $CFLAGS -DGOMEM_CHECK="$level" -o "$out/$level/$2" "$1" \
        "$object" $LDFLAGS >"$out/$level/$2.build" 2>&1
}

check_one() {
    name=$(basename "$1" .c) program=$out/$level/$(basename "$1" .c)
    title="bad/$name at check level $level"
    # In the background, where the shell says nothing of a program that was aborted.
    # shellcheck disable=SC2086
    $bound "$program" >"$program.out" 2>"$program.err" </dev/null &
    wait $! 2>/dev/null
    status=$?
    case "|$(expected "$1" expect-status)|" in
    *"|$status|"*) ;;
    *)
        fail "$title" "exit status $status, not $(expected "$1" expect-status)" "$program.err"
        return
        ;;
    esac
    pointer=$(sed -n 's/^P=//p' "$program.out" | tail -n 1)
    lines=$(expected "$1" expect-lines)
    if [ -n "$lines" ] && [ "$(wc -l <"$program.err")" -ne "$lines" ]; then
        fail "$title" "not $lines lines on standard error" "$program.err"
        return
    fi
    expected "$1" expect-line | sed "s/@P@/$pointer/" >"$program.lines"
    while read -r pattern; do
        grep -Eq -- "$pattern" "$program.err" && continue
        fail "$title" "no line with '$pattern'" "$program.err"
        return
    done <"$program.lines"
    passed=$((passed + 1))
}

for level in $levels; do
    mkdir -p "$out/$level"
    object=$out/$level/gomem.o
    # shellcheck disable=SC2086
    if [ "$level" = 0 ] && [ -f "$OBJECT" ]; then
        object=$OBJECT # of make
    elif ! $cc -std=c11 -pthread -I. $CFLAGS -DGOMEM_CHECK="$level" -c -o "$object" \
        tests/gomem.c >"$out/$level/gomem.build" 2>&1; then
        fail "bad: gomem.o at check level $level" "does not compile" "$out/$level/gomem.build"
        continue
    fi
    for source in tests/bad/*"$1"*.c; do
        least=$(expected "$source" only-check)
        [ "${least:-0}" -gt "$level" ] && continue
        if build_one "$source" "$(basename "$source" .c)"; then
            check_one "$source"
        else
            fail "bad/$(basename "$source") at check level $level" "does not compile" \
                "$out/$level/$(basename "$source" .c).build"
        fi
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
