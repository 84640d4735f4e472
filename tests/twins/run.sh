#!/bin/sh
# What AddressSanitizer catches in a program that uses libc's malloc, it catches in the same program
# on gomem's heaps: twins.c, built by gcc and clang at check levels 0 and 1.
#
#     tests/twins/run.sh [compiler...]
cd "$(dirname "$0")/../.." || exit 2
out=build/twins
mkdir -p $out
passed=0 failed=0 skipped=0
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0

fail() {
    echo "FAIL $1"
    sed 's/^/    /' "$2" | head -n 8
    failed=$((failed + 1))
}

# run HEAP CASE: status and words of a run.
run() {
    timeout -k 5 60 "$program" "$2" "$1" >$out/out 2>$out/err
    status=$?
    noticed=no
    grep -q 'ERROR: AddressSanitizer: ' $out/err && noticed=yes
}

for compiler in ${*:-gcc clang}; do
    if ! echo 'int main(void) { return 0; }' |
        $compiler -fsanitize=address -x c - -o $out/probe 2>/dev/null || ! $out/probe 2>/dev/null; then
        echo "SKIP $compiler: -fsanitize=address does not work here"
        skipped=$((skipped + 1))
        continue
    fi
    for level in ${LEVELS:-0 1}; do
        program=$out/$compiler-$level
        # The implementation without optimisation, which takes a third to an eighth of the time.
        compile="$compiler -std=c11 -pthread -I. -w -g -fsanitize=address -fno-omit-frame-pointer -fno-builtin
            -DGOMEM_CHECK=$level"
        if ! { $compile -O0 -c -o "$program.o" tests/gomem.c &&
            $compile -O1 -o "$program" tests/twins/twins.c "$program.o"; } 2>$out/err; then
            fail "$compiler at check level $level: does not compile" $out/err
            continue
        fi
        wrong=$failed
        "$program" >$out/cases
        while read -r name kind; do
            for heap in libc manual counted inlined aligned collected noscan typed root; do
                case $kind,$heap in
                collected,collected | collected,noscan | all,* | never,*) ;;
                *) continue ;;
                esac
                case $heap,$name in
                typed,*realloc | typed,beyond* | typed,under* | typed,*free*) continue ;; # see typed_take
                root,after_free_in_use) continue ;; # the next object of its size takes the place
                esac
                run $heap "$name"
                if [ "$kind" = never ]; then
                    [ $status = 0 ] && [ $noticed = no ] && passed=$((passed + 1)) && continue
                    fail "$compiler at check level $level: $heap $name: exit status $status" $out/err
                elif [ $noticed = yes ] && grep -q " in $name .*twins.c" $out/err; then
                    passed=$((passed + 1))
                elif [ $heap = libc ]; then # AddressSanitizer itself does not see it
                    echo "$compiler does not see it: libc $name"
                elif [ "$name" = free_inside ] && grep -q '^gomem: free of an interior pointer' $out/err; then
                    passed=$((passed + 1))
                else
                    fail "$compiler at check level $level: $heap $name: exit status $status" $out/err
                fi
            done
        done <$out/cases
        [ $wrong = $failed ] && echo "twins of $compiler at check level $level ... ok"
    done
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
