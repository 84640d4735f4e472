#!/bin/sh
# Runs test programs and adds up what they say.
#
#     tests/run.sh program...
#
# A program prints `N passed, N failed, N skipped` as its last line. Skips and failures are shown;
# a program that ends without that line, by a signal, or by the time limit is one failure, named,
# with the end of its log. LOGS (default build/logs) is the folder of the logs, JOBS (4) how many
# run at once, on two processors, since many wait; LIMIT (300) the seconds one program may take,
# VERBOSE=1 shows whole logs, TIMES=1 how long each ran and its time on processors, of its own code and
# of the kernel. stress/litmus, whose two threads must run at the same time, runs first and alone.
logs=${LOGS:-build/logs}
jobs=${JOBS:-4}
limit=${LIMIT:-300}
mkdir -p "$logs" || exit 2

if command -v timeout >/dev/null 2>&1; then
    bounded() { timeout -k 10 "$limit" "$@"; }
else
    bounded() { "$@"; }
fi

log_of() { echo "$logs/$(echo "$1" | tr '/ ' '__').log"; }

run_one() {
    log=$(log_of "$1") begin=$(date +%s%N)
    case $1 in
    */*) bounded "$1" ;;
    *) bounded "./$1" ;;
    esac >"$log" 2>&1 </dev/null
    printf '\nexit status %s\n' "$?" >>"$log"
    [ -z "$TIMES" ] || {
        times >"$log.times"
        echo "$((($(date +%s%N) - begin) / 1000000)) ms, $(sed -n '2s/ / + /p' "$log.times"): $1"
    }
}

passed=0 failed=0 skipped=0

# Adds one log to the sums and shows what is not plain success.
sum_one() {
    log=$(log_of "$1")
    status=$(sed -n '$s/^exit status //p' "$log")
    line=$(sed -n 's/^\([0-9]* passed, [0-9]* failed, [0-9]* skipped\)$/\1/p' "$log" | tail -n 1)
    [ -n "$VERBOSE" ] && sed "s|^|  |" "$log"
    if [ -n "$line" ] && [ "$status" -le 1 ]; then
        p=${line%% passed*} f=${line#*, } f=${f%% failed*} s=${line##*, } s=${s%% skipped*}
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
        if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
            echo "FAIL $1: exit status $status though nothing failed"
            failed=$((failed + 1))
        fi
        [ "$f" -gt 0 ] && { echo "$1: $line"; grep -v '^[a-zA-Z0-9_.]* \.\.\. ok$' "$log" | head -n 60; }
        [ "$f" -eq 0 ] && [ "$s" -gt 0 ] && grep '^SKIP' "$log" | sed "s|^|$1: |"
    else
        case $status in
        124 | 137) why="no end within $limit seconds" ;;
        12[5-9] | 1[3-9][0-9]) why="ended by signal $((status - 128))" ;;
        *) why="exit status $status without a last line" ;;
        esac
        echo "FAIL $1: $why; its log ends:"
        tail -n 25 "$log" | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

# A job runs what no other has taken: to make a folder succeeds once.
run_some() {
    n=0
    for program in "$@"; do
        n=$((n + 1))
        mkdir "$logs/taken/$n" 2>/dev/null && (run_one "$program")
    done
}

rm -rf "$logs/taken"
mkdir "$logs/taken" || exit 2
n=0
for program in "$@"; do
    n=$((n + 1))
    case $program in */stress/litmus) mkdir "$logs/taken/$n" && (run_one "$program") ;; esac
done
job=0
while [ "$job" -lt "$jobs" ]; do
    run_some "$@" &
    job=$((job + 1))
done
wait
rm -rf "$logs/taken"

for program in "$@"; do
    sum_one "$program"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
