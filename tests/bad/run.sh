#!/bin/sh
# Bad input: builds the programs of this folder at check levels 0 and 1, runs each, and compares exit
# status and standard error with what its first lines expect (bad.h says how). They are linked as one
# program, whose argument names the `main` to call: compiling each by itself takes five times as long.
#
#     tests/bad/run.sh [part of a name]
#
# CC is used; LEVELS (default "0 1") are the check levels. The implementation of OBJECT, make's, serves
# level 0.
cd "$(dirname "$0")/../.." || exit 2
cc=${CC:-cc} quick=$(tests/quick)
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

# Reads what the first lines of a program expect. By the shell alone: this is done for each program.
expected() {
    wanted= count= least=0 patterns=
    while IFS= read -r row; do
        case $row in
        '// expect-status: '*) wanted=${row#*: } ;;
        '// expect-lines: '*) count=${row#*: } ;;
        '// expect-line: '*)
            patterns="$patterns${row#*: }
"
            ;;
        '// only-check: '*) least=${row#*: } ;;
        '#'*) break ;;
        esac
    done <"$1"
}

# The programs as one unit. What several define has the name of its program before it.
unit() {
    echo '#define _GNU_SOURCE'
    echo '#include "bad.h"'
    for source; do
        name=$(basename "$source" .c)
        for word in main handled handler make pool run use; do
            printf '#undef %s\n#define %s %s_%s\n' $word $word "$name" $word
        done
        printf '#include "%s.c"\n' "$name"
    done
    printf '#undef main\nint main(int argc, char **argv) {\n'
    for source; do
        name=$(basename "$source" .c)
        echo "    if (argc > 1 && strcmp(argv[1], \"$name\") == 0) return ${name}_main();"
    done
    printf '    return 99;\n}\n'
}

# The expected lines that standard error does not hold, one a line.
missing() {
    pointer=$(sed -n 's/^P=//p' "$program.out" | tail -n 1)
    printf %s "$patterns" | sed "s/@P@/$pointer/" | while read -r pattern; do
        grep -Eq -- "$pattern" "$program.err" || echo "$pattern"
    done
}

check_one() {
    name=${1##*/} name=${name%.c}
    program=$out/$level/$name title="bad/$name at check level $level"
    # In the background, where the shell says nothing of a program that was aborted.
    # shellcheck disable=SC2086
    $bound "$out/$level/all" "$name" >"$program.out" 2>"$program.err" </dev/null &
    wait $! 2>/dev/null
    status=$?
    case "|$wanted|" in
    *"|$status|"*) ;;
    *)
        fail "$title" "exit status $status, not $wanted" "$program.err"
        return
        ;;
    esac
    if [ -n "$count" ] && [ "$(wc -l <"$program.err")" -ne "$count" ]; then
        fail "$title" "not $count lines on standard error" "$program.err"
        return
    fi
    absent=$(missing)
    if [ -n "$absent" ]; then
        fail "$title" "no line with '$absent'" "$program.err"
    else
        passed=$((passed + 1))
    fi
}

for level in $levels; do
    mkdir -p "$out/$level"
    object=$out/$level/gomem.o chosen=
    # shellcheck disable=SC2086
    if [ "$level" = 0 ] && [ -f "$OBJECT" ]; then
        object=$OBJECT # of make
    elif ! $quick -std=c11 -pthread -I. -O0 -w -DGOMEM_CHECK="$level" -c -o "$object" \
        tests/gomem.c >"$out/$level/build" 2>&1; then
        fail "bad: gomem.o at check level $level" "does not compile" "$out/$level/build"
        continue
    fi
    for source in tests/bad/*"$1"*.c; do
        expected "$source"
        [ "$least" -gt "$level" ] || chosen="$chosen $source"
    done
    # shellcheck disable=SC2086
    unit $chosen >"$out/$level/all.c"
    # shellcheck disable=SC2086
    if ! $cc -std=c11 -pthread -I. -Itests/bad -O1 -w -DGOMEM_CHECK="$level" -o "$out/$level/all" \
        "$out/$level/all.c" "$object" $LDFLAGS >"$out/$level/build" 2>&1; then
        fail "bad: the programs at check level $level" "do not compile" "$out/$level/build"
        continue
    fi
    for source in $chosen; do
        expected "$source"
        check_one "$source"
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
