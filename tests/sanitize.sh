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

# add NAME COMPILER SANITIZERS CHECK: builds the programs and puts them on the list. Clang's have a fake
# stack for use after return, which holds roots as the real one does; gcc's do without.
add() {
    if ! command -v "$2" >/dev/null 2>&1; then
        skip "$1" "$2 is not installed"
    elif ! echo 'int main(void) { return 0; }' |
        $2 -fsanitize="$3" -x c - -o $log/probe 2>/dev/null || ! $log/probe 2>/dev/null; then
        skip "$1" "$2 -fsanitize=$3 does not work here"
    elif ! make --no-print-directory -j2 $(list "build/$2-check$4-$(echo "$3" | tr , -)" "$1") CC="$2" SAN="$3" CHECK="$4" CFLAGS='-O1 -g' \
        >$log/build 2>&1; then
        echo "FAIL $1: the build fails"
        tail -n 20 $log/build
        exit 1
    else
        folder=build/$2-check$4-$(echo "$3" | tr , -)
        case $1 in clang-address) fake=1 ;; *) fake=0 ;; esac
        for program in $(list "$folder" "$1"); do
            wrapper=$log/$1/${program#"$folder"/}
            mkdir -p "$(dirname "$wrapper")"
            printf '#!/bin/sh\nASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=%s exec %s "$@"\n' \
                $fake "$program" >"$wrapper"
            chmod +x "$wrapper"
            programs="$programs $wrapper"
        done
    fi
}

# What runs under each: the programs whose code paths the others share, so that all of it stays short.
# ThreadSanitizer runs handlers only at calls that it intercepts, so programs whose threads must stop
# in plain loops are not for it.
address='api/alloc api/aligned api/arena api/collected api/each api/escape api/finalizers api/macros api/manual api/pool api/realloc api/store api/strings
    api/typed api/uncollectable api/verify stress/collectall stress/handover stress/model
    stress/arena stress/dance stress/pool stress/special'
rooms='rooms/cache rooms/cycle rooms/heap' # with clang: they use what the rooms hand out
stacks='api/deaf api/stacks api/why' # with clang: its fake stack holds roots
thread='api/gc api/process api/pthreads rooms/prof
    stress/arena stress/dance stress/handover stress/model stress/order stress/pool stress/special
    stress/splice'
plain='api/alloc api/macros api/manual api/realloc api/store api/strings'
some='api/arena:poisoned api/pool:poisoned' # the tests of a program that valgrind adds something to

# list FOLDER KIND: the programs of a build folder.
list() {
    case $2 in
    *thread) set -- "$1" $thread ;;
    clang*) set -- "$1" $address $rooms $stacks ;;
    *) set -- "$1" $address ;;
    esac
    folder=$1
    shift
    for program in "$@"; do echo "$folder/$program"; done
}

# Valgrind does not tell of uninitialised values: a conservative marker reads them by design.
add_valgrind() {
    if ! command -v valgrind >/dev/null 2>&1; then
        skip valgrind "not installed"
        return
    fi
    make --no-print-directory -j2 $(for p in $plain $some; do echo "build/$(basename "${CC:-cc}")-check1/${p%:*}"; done) CC="${CC:-cc}" CHECK=1 >$log/build 2>&1 || exit 1
    for name in $plain $some; do
        wrapper=$log/valgrind/${name%:*}
        case $name in *:*) only=${name#*:} ;; *) only= ;; esac
        mkdir -p "$(dirname "$wrapper")"
        printf '#!/bin/sh\nVALGRIND=1 exec valgrind -q --undef-value-errors=no --suppressions=tests/valgrind.supp %s %s %s "$@"\n' \
            --error-exitcode=99 "build/$(basename "${CC:-cc}")-check1/${name%:*}" "$only" >"$wrapper"
        chmod +x "$wrapper"
        programs="$programs $wrapper"
    done
}

for kind in $wanted; do
    case $kind in
    clang-address) add $kind clang address,undefined 1 ;;
    gcc-address) add $kind gcc address,undefined 3 ;;
    clang-thread) add $kind clang thread 0 ;;
    twins) programs="$programs tests/twins/run.sh" ;;
    valgrind) add_valgrind ;;
    *) echo "unknown: $kind" && exit 2 ;;
    esac
done
# shellcheck disable=SC2086
LIMIT=${LIMIT:-240} LOGS=build/logs/sanitize tests/run.sh $programs >$log/result
status=$?
sed '$d' $log/result
tail -n 1 $log/result | awk -v s=$skipped '{ print $1, "passed,", $3, "failed,", $5 + s, "skipped" }'
exit $status
