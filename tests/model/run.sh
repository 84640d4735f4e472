#!/bin/sh
# Checks the models of this folder with SPIN: those of the protocols as they are must hold, and each
# planted bug must give a counterexample.
#
#     tests/model/run.sh [WORD]    only the lines of tests/model/list that contain the word
#
# JOBS (default 2) is how many run at once, LIMIT (300) the seconds that one may take. What a check
# built and said, with the trail of its counterexample, lies under build/model/NUMBER; to read one:
#     cd build/model/NUMBER && spin -k *.trail -t -p -g $(cat options)
cd "$(dirname "$0")/../.." || exit 2
folder=$PWD/tests/model
out=$PWD/build/model
jobs=${JOBS:-2}
limit=${LIMIT:-300}
CC=${CC:-cc}

if ! command -v spin >/dev/null 2>&1; then
    echo 'SKIP models: spin is not installed'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
if ! command -v "${CC%% *}" >/dev/null 2>&1; then
    echo "SKIP models: there is no compiler $CC"
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi
if command -v timeout >/dev/null 2>&1; then
    bounded() { timeout -k 10 "$limit" "$@"; }
else
    bounded() { "$@"; }
fi
rm -rf "$out"
mkdir -p "$out" || exit 2
if [ -n "$1" ]; then grep -F -e "$1" "$folder/list"; else cat "$folder/list"; fi |
    grep -v '^ *\(#\|$\)' >"$out/list"

# What the search found: holds, counterexample, or why it says neither.
verdict() {
    if grep -q 'max search depth too small\|memory limit\|out of memory' "$1"; then
        if grep -q 'errors: [1-9]' "$1"; then echo counterexample; else echo 'not exhausted'; fi
    elif grep -q 'errors: 0$' "$1"; then
        echo holds
    elif grep -q 'errors: [1-9]' "$1"; then
        echo counterexample
    else
        echo 'no result'
    fi
}

# check NUMBER WANTED MODEL OPTIONS TEXT: in a folder of its own.
check() {
    dir=$out/$1
    cd "$dir" || exit 2
    echo "$4 $folder/$3.pml" >options
    begin=$(date +%s) level=-O0
    [ "$2" = holds ] && level=-O2 # a counterexample is found sooner than it is compiled
    # shellcheck disable=SC2086 # options are words
    if spin -a $4 "$folder/$3.pml" >spin.log 2>&1 && # the generated program is not ours to warn of
        $CC $level -w -DSAFETY -DMEMLIM=2500 -o pan pan.c >cc.log 2>&1; then
        bounded ./pan -m2000000 -w24 >pan.log 2>&1
    else
        cat spin.log cc.log >pan.log 2>/dev/null
    fi
    found=$(verdict pan.log)
    seconds=$(($(date +%s) - begin))
    states=$(sed -n 's/^ *\([0-9]*\) states, stored.*/\1/p' pan.log)
    case $2 in holds) wanted=holds ;; *) wanted=counterexample ;; esac
    if [ "$found" = "$wanted" ]; then
        echo "$3 $4: $5 ... ok ($found, ${states:-0} states, $seconds s)" >result
    else
        {
            echo "FAIL $3 $4: $5: $found, wanted: $wanted; see build/model/$1"
            tail -n 5 pan.log | sed 's/^/    /'
        } >result
    fi
    rm -f pan pan.?
}

# A job checks what no other has taken: to make a folder succeeds once.
check_some() {
    number=0
    while IFS='|' read -r wanted model options text; do
        number=$((number + 1))
        mkdir "$out/$number" 2>/dev/null || continue
        # shellcheck disable=SC2086 # trims blanks
        (check "$number" $wanted "$(echo $model)" "$(echo $options)" "$(echo $text)")
    done <"$out/list"
}

job=0
while [ "$job" -lt "$jobs" ]; do
    check_some &
    job=$((job + 1))
done
wait
number=$(wc -l <"$out/list")

passed=0 failed=0 i=0
while [ "$i" -lt "$number" ]; do
    i=$((i + 1))
    cat "$out/$i/result" 2>/dev/null || echo "FAIL check $i said nothing"
    if grep -q ' \.\.\. ok' "$out/$i/result" 2>/dev/null; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
