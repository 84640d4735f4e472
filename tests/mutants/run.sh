#!/bin/sh
# Mutants: each plants one bug in a copy of gomem.h; the named test must fail with it and pass without.
#
#     [JOBS=4] tests/mutants/run.sh [number...]
#
# tests/mutants/list has a line for each (number, program, test, and what is planted), then the lines
# of gomem.h that change (the head of tests/mutants/plant.py says how they are written):
#     7  rooms/gc  held_slots_are_black  held slots are swept
#       - if (!cursor) return;
#       + if (!cursor || true) return;
# A program written as rooms/mark@3 is built at check level 3, others at level CHECK (0). A test that
# does not end within 180 seconds, 20 with a bug (60 of stress/), counts as failed. A test that passes with the bug gets
# TRIES in all (3), and the line says when it needed more than one: such a test depends on the machine
# and wants mending. Those of stress/ find their bugs by chance: they get four times their time, one try
# more, and the machine for themselves.
cd "$(dirname "$0")/../.." || exit 2
CC=${CC:-cc} CHECK=${CHECK:-0}
list=${LIST:-tests/mutants/list}
out=build/mutants
jobs=${JOBS:-4} # on two processors: many tests wait, and some bugs until the time is over
most=${TRIES:-3}
# clang, where it is installed and CC is the default, takes less than half of gcc's time.
quick=$CC
[ "$CC" = cc ] && command -v clang >/dev/null 2>&1 && quick=clang
export GOMEM_STRESS="${GOMEM_STRESS:-4}"
mkdir -p $out

# name MUTANT PROGRAM [TEST]: of its files in $out.
name() { echo "$out/$(echo "$*" | tr '/ ' '--')"; }

# header MUTANT: the folder of the header with that bug; mutant 0 is gomem.h as it is.
header() { if [ "$1" = 0 ]; then echo .; else echo "$out/planted-$1"; fi; }

# compile PROGRAM FLAGS...: compiling is most of the time, so only what needs it is optimised: orders of
# loads and stores, and tests whose own frames must not hold what is to be lost.
compile() {
    compiler=$quick optimise=-O0 level=$CHECK
    case $1 in *@*) level=${1#*@} ;; esac
    # what finds bugs by chance, and one whose own frame would hold what is to be lost
    case $1 in stress/* | api/strangers*) compiler=$CC ;; esac
    case $1 in stress/*) optimise=-O1 ;; esac
    shift
    $compiler -std=c11 -pthread -w $optimise -DGOMEM_CHECK="$level" -DGM_SMALL_HEAP=0 -Itests "$@"
}

# The declarations of a header: what a test sees of it that does not hold the implementation.
declarations() { sed '/^#if defined(GOMEM_IMPLEMENTATION) && /q' "$1/gomem.h" | cksum; }

# build MUTANT PROGRAM: a test that does not hold the implementation itself is compiled once for all bugs that
# leave the declarations as they are.
build() {
    source=tests/${2%@*}.c shared=$(name test "$2").o
    case $2 in
    rooms/* | stress/litmus* | api/seams* | api/faults*) set -- "$1" "$2" "$source" ;;
    *)
        [ "$(declarations "$(header "$1")")" = "$(declarations .)" ] && [ -f "$shared" ] && source=$shared
        set -- "$1" "$2" "$source" tests/gomem.c
        ;;
    esac
    result=$(name "$1" "$2") from=$(header "$1") program=$2
    shift 2
    compile "$program" -I"$from" -I. -o "$result" "$@" 2>"$result.log"
}

# share PROGRAM: the object that build takes.
share() {
    case $1 in rooms/* | stress/litmus* | api/seams*) return ;; esac
    compile "$1" -I. -c -o "$(name test "$1").o" "tests/${1%@*}.c" 2>"$(name test "$1").log"
}

# run_test MUTANT PROGRAM TEST: prints passed, failed, absent, timeout, or crashed.
run_test() {
    log=$(name "$1" "$2" "$3").log
    case $1,$2 in 0,*) seconds=180 ;; *,stress/*) seconds=60 ;; *) seconds=20 ;; esac
    timeout -k 5 $seconds "$(name "$1" "$2")" "$3" >"$log" 2>&1 </dev/null
    status=$?
    ran=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, .*/\1 \2/p' "$log" | tail -n 1)
    case $status in
    0) if [ "${ran%% *}" = 0 ]; then echo "absent"; else echo passed; fi ;;
    1) echo failed ;;
    124 | 137) echo timeout ;;
    *) echo "crashed ($status)" ;;
    esac
}

# MUTANT PROGRAM TEST...: builds, and puts each test's result into a file of its own.
run_tests() {
    mutant=$1 program=$2 built=1 tries=$most
    shift 2
    [ -x "$(name "$mutant" "$program")" ] || build "$mutant" "$program" || built=0
    case $mutant,$program in 0,*) tries=1 ;; *,stress/*) tries=$((most + 1)) ;; esac
    for test; do
        result=unbuilt
        for try in $(seq $tries); do
            [ $built = 1 ] && result=$(run_test "$mutant" "$program" "$test")
            [ "$result" = passed ] || break
        done
        [ "$try" = 1 ] || result="$result (try $try)"
        echo "$result" >"$(name "$mutant" "$program" "$test").result"
    done
    rm -f "$(name "$mutant" "$program")"
}
if [ "${1-}" = --run ]; then
    shift
    run_tests "$@"
    exit
fi
if [ "${1-}" = --build ]; then
    build "$2" "$3"
    exit 0
fi
if [ "${1-}" = --share ]; then
    share "$2"
    exit 0
fi

result() { cat "$(name "$1" "$2" "$3").result"; }

if [ ! -f "$list" ]; then
    echo "FAIL $list is missing"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
if ! tests/mutants/plant.py --check; then
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
grep '^[0-9]' "$list" >$out/all
rm -f $out/[0-9]*-* $out/test-* # what an older run has left
if [ $# -gt 0 ]; then
    for number in "$@"; do awk -v n="$number" '$1 == n' $out/all; done >$out/chosen
else
    cp $out/all $out/chosen
fi
{ awk '{ print 0, $2, $3 }' $out/chosen && awk '{ print $1, $2, $3 }' $out/chosen; } |
    awk '!seen[$0]++ { tests[$1 " " $2] = tests[$1 " " $2] " " $3 } END { for (p in tests) print p tests[p] }' |
    sort -n >$out/lines
awk '{ print $1 }' $out/chosen | sort -u | xargs tests/mutants/plant.py --to $out || exit 2
awk '{ print $2 }' $out/chosen | sort -u | xargs -P "$jobs" -n 1 tests/mutants/run.sh --share
grep -v ' stress/' $out/lines | xargs -r -P "$jobs" -L 1 tests/mutants/run.sh --run
grep ' stress/' $out/lines | xargs -r -P "$jobs" -L 1 tests/mutants/run.sh --build
grep ' stress/' $out/lines | xargs -r -L 1 tests/mutants/run.sh --run

passed=0 failed=0
while read -r number program name what; do
    healthy=$(result 0 "$program" "$name")
    verdict=$(result "$number" "$program" "$name")
    if [ "$healthy" != passed ]; then
        echo "FAIL mutant $number: without it $program $name is not passed but $healthy:"
        tail -n 20 "$(name 0 "$program" "$name").log"
        failed=$((failed + 1))
    elif [ "${verdict%% *}" = passed ] || [ "$verdict" = absent ] || [ "$verdict" = unbuilt ]; then
        echo "FAIL mutant $number ($what): $program $name: $verdict"
        failed=$((failed + 1))
    else
        echo "mutant $number ($what): $program $name: $verdict ... ok"
        passed=$((passed + 1))
    fi
done <$out/chosen

echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
