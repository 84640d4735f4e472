#!/bin/sh
# The tests under AddressSanitizer with UndefinedBehaviorSanitizer (clang and gcc), ThreadSanitizer
# (clang) and valgrind. What is absent is skipped with a word.
#
#     tests/sanitize.sh [clang-address gcc-address twins clang-thread valgrind]
cd "$(dirname "$0")/.." || exit 2
log=build/sanitize
mkdir -p $log
skipped=0
programs=
wanted=${*:-clang-address gcc-address twins clang-thread valgrind}

# Objects of libc's malloc that only gomem's memory points at are not leaks, so no leak check.
export UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
export SHORT=1

skip() { echo "SKIP $1: $2"; skipped=$((skipped + 1)); }

# begin NAME COMPILER SANITIZERS CHECK: begins to build the programs. All kinds are built side by side, since
# each waits for its implementation first.
begin() {
    if ! command -v "$2" >/dev/null 2>&1; then
        skip "$1" "$2 is not installed"
    elif [ -n "$3" ] && { ! echo 'int main(void) { return 0; }' |
        $2 -fsanitize="$3" -x c - -o $log/probe 2>/dev/null || ! $log/probe 2>/dev/null; }; then
        skip "$1" "$2 -fsanitize=$3 does not work here"
    else
        folder=build/$(basename "$2")-check$4${3:+-$(echo "$3" | tr , -)}
        begun="$begun $1:$folder"
        rm -f "$log/$1.built"
        # shellcheck disable=SC2046
        make --no-print-directory -j2 $(list "$folder" "$1") CC="$2" SAN="$3" CHECK="$4" \
            ${3:+CFLAGS='-O1 -g'} >"$log/$1.build" 2>&1 && : >"$log/$1.built" &
    fi
}

# add NAME FOLDER: puts the programs that were built on the list. Clang's have a fake stack for use after
# return, which holds roots as the real one does; gcc's do without.
add() {
    if [ ! -f "$log/$1.built" ]; then
        echo "FAIL $1: the build fails"
        tail -n 20 "$log/$1.build"
        exit 1
    fi
    case $1 in
    valgrind) add_valgrind "$2"; return ;;
    clang-address) fake=1 ;;
    *) fake=0 ;;
    esac
    for program in $(list "$2" "$1"); do
        wrap "$1/${program#"$2"/}" \
            "ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=$fake exec $program \"\$@\""
    done
}

# wrap NAME COMMAND: puts a script on the list.
wrap() {
    mkdir -p "$(dirname "$log/$1")"
    printf '#!/bin/sh\n%s\n' "$2" >"$log/$1"
    chmod +x "$log/$1"
    programs="$programs $log/$1"
}

# What runs under each: the programs whose code paths the others share, so that all of it stays short.
# What takes long goes first.
# ThreadSanitizer runs handlers only at calls that it intercepts, so programs whose threads must stop
# in plain loops are not for it.
address='api/manual stress/collectall stress/dance api/collected api/arena api/finalizers stress/model stress/special
    api/alloc api/aligned api/each api/escape api/macros api/pool api/realloc api/store api/strings
    api/typed api/uncollectable api/verify stress/handover stress/arena stress/pool'
rooms='rooms/cache rooms/cycle rooms/heap' # with clang: they use what the rooms hand out
stacks='api/deaf api/stacks api/why' # with clang: its fake stack holds roots
thread='api/gc api/process api/pthreads rooms/prof
    stress/arena stress/dance stress/handover stress/model stress/order stress/pool stress/profile
    stress/special stress/splice'
plain='api/alloc api/macros api/manual api/realloc api/store api/strings'
some='api/arena:poisoned api/pool:poisoned' # the tests of a program that valgrind adds something to

# list FOLDER KIND: the programs of a build folder.
list() {
    case $2 in
    *thread) set -- "$1" $thread ;;
    valgrind) set -- "$1" $plain $some ;;
    clang*) set -- "$1" $address $rooms $stacks ;;
    *) set -- "$1" $address ;;
    esac
    folder=$1
    shift
    for program in "$@"; do echo "$folder/${program%:*}"; done
}

# Valgrind does not tell of uninitialised values: a conservative marker reads them by design.
add_valgrind() {
    for name in $plain $some; do
        case $name in *:*) only=${name#*:} ;; *) only= ;; esac
        wrap "valgrind/${name%:*}" "VALGRIND=1 exec valgrind -q --undef-value-errors=no \
    --suppressions=tests/valgrind.supp --error-exitcode=99 $1/${name%:*} $only \"\$@\""
    done
}

begun=
for kind in $wanted; do
    case $kind in
    clang-address) begin $kind clang address,undefined 1 ;;
    gcc-address) begin $kind gcc address,undefined 3 ;;
    clang-thread) begin $kind clang thread 0 ;;
    twins) programs="$programs tests/twins/run.sh" ;;
    valgrind)
        if command -v valgrind >/dev/null 2>&1; then begin $kind "${CC:-cc}" "" 1
        else skip valgrind "not installed"; fi
        ;;
    *) echo "unknown: $kind" && exit 2 ;;
    esac
done
wait
for kind in $begun; do add "${kind%%:*}" "${kind#*:}"; done
# shellcheck disable=SC2086
LIMIT=${LIMIT:-240} LOGS=build/logs/sanitize tests/run.sh $programs >$log/result
status=$?
sed '$d' $log/result
tail -n 1 $log/result | awk -v s=$skipped '{ print $1, "passed,", $3, "failed,", $5 + s, "skipped" }'
exit $status
