#!/bin/sh
# Mutants: each plants one bug in a copy of gomem.h; the named test must fail with it and pass without.
#
#     [JOBS=5] tests/mutants/run.sh [number...]
#
# tests/mutants/list has a line for each (number, program, test, and what is planted), then the lines
# of gomem.h that change (the head of tests/mutants/plant.py says how they are written):
#     7  rooms/gc  held_slots_are_black  held slots are swept
#       - if (!cursor) return;
#       + if (!cursor || true) return;
# A program written as rooms/mark@3 is built at check level 3, others at level CHECK (0). A test that
# does not end within 180 seconds counts as failed; with a bug it has 5 seconds and five times its time
# without it, at most 20 (60 of stress/). A test that passes with the bug gets TRIES in all (3), and the
# line says when it needed more than one: such a test depends on the machine and wants mending. Those of stress/ find their bugs by chance: they get four times their time, one try
# more, and the machine for themselves.
cd "$(dirname "$0")/../.." || exit 2
CC=${CC:-cc} CHECK=${CHECK:-0}
list=${LIST:-tests/mutants/list}
out=build/mutants
jobs=${JOBS:-5} # on two processors: many tests wait, and some bugs until the time is over
most=${TRIES:-3}
quick=$(tests/quick)
export GOMEM_STRESS="${GOMEM_STRESS:-4}"
mkdir -p $out

# name MUTANT PROGRAM [TEST]: of its files in $out.
name() { echo "$out/$(echo "$*" | tr '/ ' '--')"; }

# level PROGRAM
level() { case $1 in *@*) echo "${1#*@}" ;; *) echo "$CHECK" ;; esac; }

# Does the program hold the implementation itself? Others are linked with it.
holds() { case $1 in rooms/* | stress/litmus*) ;; *) return 1 ;; esac; }

# group PROGRAM: programs of one group have one implementation.
group() {
    if holds "$1"; then echo "$1" | tr / -; return; fi
    case $1 in
    api/seams* | api/faults*) echo "seams$(level "$1")" ;;
    stress/* | api/strangers*) echo "${1%%/*}-by-chance-$(level "$1")" ;;
    *) echo "check$(level "$1")" ;;
    esac
}

# unit PROGRAM: the implementation that it is linked with.
unit() { case $1 in api/seams* | api/faults*) echo tests/faults.c ;; *) echo tests/gomem.c ;; esac; }

# compile PROGRAM FLAGS...: only what needs it is optimised: orders of loads and stores, and tests whose own
# frames must not hold what is to be lost.
compile() {
    compiler=$quick optimise=-O0 check=$(level "$1")
    # what finds bugs by chance, and one whose own frame would hold what is to be lost
    case $1 in stress/* | api/strangers*) compiler=$CC ;; esac
    case $1 in stress/*) optimise=-O1 ;; esac
    shift
    $compiler -std=c11 -pthread -w $optimise -DGOMEM_CHECK="$check" -DGM_SMALL_HEAP=0 -Itests "$@"
}

# join GROUP: the implementation of a group, with all bugs of its programs that a process can choose, as
# GROUP.o, or as GROUP of a program that holds it. GROUP.alone lists the other bugs: those that need a
# header of their own, or all if joined they do not compile.
join() {
    to=$out/$1
    awk -v g="$1" '$1 == g { print $2, $3 }' $out/groups >"$to.bugs"
    read -r _ program <"$to.bugs"
    mkdir -p "$to.joined"
    # shellcheck disable=SC2046
    tests/mutants/plant.py --join "$to.joined/gomem.h" $(awk '{ print $1 }' "$to.bugs") >"$to.alone" || exit 255
    if holds "$program"; then
        compile "$program" -I"$to.joined" -I. -o "$to" "tests/${program%@*}.c" 2>"$to.log" && return
    else
        compile "$program" -I"$to.joined" -I. -c -o "$to.o" "$(unit "$program")" 2>"$to.log" && return
    fi
    echo "note: the bugs of $1 do not compile as one, so each is compiled alone: $(head -n 1 "$to.log")"
    awk '{ print $1 }' "$to.bugs" | paste -s -d ' ' - >"$to.alone"
}

# is_alone MUTANT PROGRAM
is_alone() { grep -qw "$1" "$out/$(group "$2").alone"; }

# The declarations of a header: what a test sees of it that does not hold the implementation.
declarations() { sed '/^#if defined(GOMEM_IMPLEMENTATION) && /q' "$1/gomem.h" | cksum; }

# build MUTANT PROGRAM: the program with a bug that is not joined. A test that does not hold the
# implementation itself is compiled again only if the bug changes the declarations.
build() {
    result=$(name "$1" "$2") from=$out/planted-$1 source=tests/${2%@*}.c
    [ "$1" = 0 ] && from=.
    if holds "$2"; then
        compile "$2" -I"$from" -I. -o "$result" "$source" 2>"$result.log"
    else
        [ "$(declarations "$from")" = "$(declarations .)" ] && source=$(name test "$2").o
        compile "$2" -I"$from" -I. -o "$result" "$source" "$(unit "$2")" 2>"$result.log"
    fi
}

# link PROGRAM: of a group that holds the implementation for it.
link() {
    program=$(name joined "$1")
    if holds "$1"; then
        [ ! -x "$out/$(group "$1")" ] || ln -f "$out/$(group "$1")" "$program"
    else
        compile "$1" -I. -c -o "$(name test "$1").o" "tests/${1%@*}.c" 2>"$program.log" || return
        [ ! -f "$out/$(group "$1").o" ] ||
            compile "$1" -o "$program" "$(name test "$1").o" "$out/$(group "$1").o" 2>"$program.log"
    fi
}

# seconds MUTANT PROGRAM TEST: that the test may take.
seconds() {
    case $1,$2 in
    0,*) echo 180 ;;
    *,stress/*) echo 60 ;;
    *)
        healthy=$(cat "$(name 0 "$2" "$3").seconds" 2>&1) || healthy=3
        echo $((healthy < 3 ? 5 + healthy * 5 : 20))
        ;;
    esac
}

# run_test MUTANT BINARY LOG TEST SECONDS: prints passed, failed, absent, timeout, or crashed.
run_test() {
    seconds=$5
    GM_MUTANT=$1 timeout -k 5 $seconds "$2" "$4" >"$3" 2>&1 </dev/null
    status=$?
    ran=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, .*/\1 \2/p' "$3" | tail -n 1)
    case $status in
    0) if [ "${ran%% *}" = 0 ]; then echo "absent"; else echo passed; fi ;;
    1) echo failed ;;
    124 | 137) echo timeout ;;
    *) echo "crashed ($status)" ;;
    esac
}

# MUTANT PROGRAM TEST...: puts each test's result into a file of its own.
run_tests() {
    mutant=$1 program=$2 binary=$(name joined "$2") built=1 tries=$most
    shift 2
    if [ ! -x "$binary" ] || is_alone "$mutant" "$program"; then
        binary=$(name "$mutant" "$program")
        build "$mutant" "$program" || built=0
    fi
    case $mutant,$program in 0,*) tries=1 ;; *,stress/*) tries=$((most + 1)) ;; esac
    for test; do
        result=unbuilt log=$(name "$mutant" "$program" "$test") begin=$(date +%s)
        for try in $(seq $tries); do
            [ $built = 1 ] && result=$(run_test "$mutant" "$binary" "$log.log" "$test" "$(seconds "$mutant" "$program" "$test")")
            [ "$result" = passed ] || break
        done
        echo $(($(date +%s) - begin)) >"$log.seconds"
        [ "$try" = 1 ] || result="$result (try $try)"
        echo "$result" >"$log.result"
    done
    rm -f "$(name "$mutant" "$program")"
}
case ${1-} in --*)
    command=${1#--}
    shift
    "$command" "$@"
    exit
    ;;
esac

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
rm -rf ${out:?}/*-* $out/*.alone $out/check* $out/seams* # what an older run has left
if [ $# -gt 0 ]; then
    for number in "$@"; do awk -v n="$number" '$1 == n' $out/all; done >$out/chosen
else
    cp $out/all $out/chosen
fi
{ awk '{ print 0, $2, $3 }' $out/chosen && awk '{ print $1, $2, $3 }' $out/chosen; } |
    awk '!seen[$0]++ { tests[$1 " " $2] = tests[$1 " " $2] " " $3 } END { for (p in tests) print p tests[p] }' |
    sort -n >$out/lines
while read -r number program _; do echo "$(group "$program") $number $program"; done <$out/chosen >$out/groups
each() { xargs -r -P "$jobs" -L 1 tests/mutants/run.sh "$@"; }
awk '{ print $1 }' $out/groups | sort | uniq -c | sort -rn | awk '{ print $2 }' | each --join || exit 2
alone=$(cat $out/*.alone)
# shellcheck disable=SC2086
[ -z "$alone" ] || tests/mutants/plant.py --to $out $alone || exit 2
awk '{ print $2 }' $out/chosen | sort -u | each --link
grep -v ' stress/' $out/lines | each --run_tests
jobs=1
grep ' stress/' $out/lines | each --run_tests

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
