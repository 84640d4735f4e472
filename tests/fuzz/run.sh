#!/bin/sh
# Runs libFuzzer on the targets of this folder (the head of fuzz.h says what they are and how to
# reproduce a crash). Needs clang.
#
#     tests/fuzz/run.sh [target...]
#
# TIME (60) are the seconds of each target and build. BUILDS are the builds: check0 and check3 are
# check levels, address is level 1 with AddressSanitizer and UndefinedBehaviorSanitizer. What a run
# has learned stays in build/fuzz/corpus/TARGET-BUILD, where the next one begins.
cd "$(dirname "$0")/../.." || exit 2
out=build/fuzz
engine=$(clang -print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-$(uname -m).a
mkdir -p $out
if [ ! -f "$engine" ]; then
    echo "SKIP fuzz: clang's libFuzzer is not installed"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
# Objects that only gomem's memory points at are not leaks, and a fake stack would hold what a target
# has forgotten.
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0

# set_flags BUILD: how it is compiled and linked. Compares are not recorded, since libFuzzer's table
# of them would be a root. Without sanitizers libFuzzer is linked by name: clang would add 10 MB of
# writable data of UndefinedBehaviorSanitizer, all of it roots.
set_flags() {
    with=
    level=${1#check}
    libraries="$engine -lstdc++ -lm"
    [ "$1" = address ] && level=1 with=address,undefined libraries=-fsanitize=fuzzer,address,undefined
    flags="-std=c11 -pthread -w -g -O1 -I. -Itests -DGOMEM_CHECK=$level -DFUZZ_ENGINE
        -fsanitize=fuzzer-no-link${with:+,$with} -fno-sanitize-coverage=trace-cmp
        -fno-sanitize-recover=all -fno-omit-frame-pointer"
}

# build TARGET BUILD: one of them holds the implementation itself.
build() {
    unit=$out/gomem-$2.o
    set_flags "$2"
    # shellcheck disable=SC2086
    [ "$unit" -nt gomem.h ] || clang $flags -c -o "$unit" tests/gomem.c || exit 1
    [ "$1" = settings ] && unit=
    # shellcheck disable=SC2086
    clang $flags -c -o "$out/$1-$2.o" "tests/fuzz/$1.c" &&
        clang -pthread -o "$out/$1-$2" "$out/$1-$2.o" $unit $libraries || exit 1
}

# fuzz TARGET BUILD: libFuzzer's thread that watches memory is off, since the library would warn of
# a thread that it does not know.
fuzz() {
    corpus=$out/corpus/$1-$2 log=$out/$1-$2.log
    mkdir -p "$corpus" "tests/fuzz/seeds/$1"
    "$out/$1-$2" -max_total_time="${TIME:-60}" -timeout=30 -rss_limit_mb=0 -max_len=500 -len_control=0 \
        -print_final_stats=1 -artifact_prefix="$out/$1-" "$corpus" "tests/fuzz/seeds/$1" \
        >"$log" 2>&1 </dev/null || return
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    echo "$1 $2: $runs runs, $edges edges ... ok"
}

passed=0 failed=0
[ $# -gt 0 ] || set -- heap collect pool arena settings
for target; do
    for build in ${BUILDS:-check0 check3 address}; do
        build "$target" "$build"
        if fuzz "$target" "$build"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "FAIL $target $build: its log build/fuzz/$target-$build.log ends:"
            tail -n 40 "$out/$target-$build.log"
        fi
    done
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
