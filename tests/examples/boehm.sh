#!/bin/sh
# examples/boehm: a program for the Boehm collector prints the same on gc.h, which maps its calls onto
# gomem.h; what has no counterpart is named by the compiler.
. "$(dirname "$0")/check"
CC=${CC:-cc}
folder=examples/boehm
quick=$(tests/quick) # both programs hold the implementation
flags="-O0 -Wall -Wextra -pthread -DGC_THREADS -I$folder -I."
final=
if ! grep -q 'gomem_set_finalizer(void' gomem.h; then
    final=-DGC_NO_FINALIZATION
    echo 'SKIP boehm: finalizers and links: gomem.h has none'
    skipped=1
fi

# compile NAME OPTION...: the concordance of these options.
compile() {
    program=$1
    shift
    # shellcheck disable=SC2086 # flags are words
    $CC -std=c11 $flags $final "$@" -fsyntax-only $folder/concordance.c >"$tmp/log" 2>&1 &&
        $quick -std=c11 $flags $final "$@" -o "$tmp/$program" $folder/concordance.c >>"$tmp/log" 2>&1
}

# -- on gomem
compile gomem -DON_GOMEM
check 'compiles' test $? -eq 0
[ -s "$tmp/log" ] && fail 'compiles without a warning' "$tmp/log"
awk 'NR <= 300 { print; print $0 }' README.md >"$tmp/text"
for run in '1 1' '2 20' '4 20'; do
    # shellcheck disable=SC2086
    "$tmp/gomem" $run <"$tmp/text" >"$tmp/actual" 2>"$tmp/err"
    check "$run: status" test $? -eq 0
    [ "$run" = '1 1' ] && grep '):' "$tmp/actual" >"$tmp/expected"
    grep '):' "$tmp/actual" >"$tmp/words"
    same "$run: words" "$tmp/expected" "$tmp/words"
    has "$run: checks" "$tmp/actual" \
        'zeroed: 1, base: 1, size: 1, ours: 1 0, disabled: 1 0, collected: 1, heap: 1'
    [ -z "$final" ] && has "$run: links and finalizers" "$tmp/actual" 'finalized like that: yes, wrong: 0'
done
GOMEM_GOGC=10 "$tmp/gomem" 4 40 <"$tmp/text" >"$tmp/small" 2>"$tmp/err"
grep '):' "$tmp/small" >"$tmp/words"
same 'GOMEM_GOGC=10: words' "$tmp/expected" "$tmp/words"

# -- each call, with finalizers and links
if [ -z "$final" ]; then
    # shellcheck disable=SC2086
    $quick -std=c11 $flags -DGOMEM_CHECK=1 -o "$tmp/calls" tests/examples/boehm.c >"$tmp/log" 2>&1 &&
        "$tmp/calls" >"$tmp/calls_out"
    check 'calls' test $? -eq 0
    [ -s "$tmp/log" ] && fail 'calls: compiles without a warning' "$tmp/log"
    grep '^FAIL' "$tmp/calls_out"
fi

# -- on libgc
if printf '#include <gc.h>\nint main(void) { GC_INIT(); }\n' >"$tmp/probe.c" &&
    $CC -pthread -o "$tmp/probe" "$tmp/probe.c" -lgc >/dev/null 2>&1; then
    # shellcheck disable=SC2086
    $CC -std=c11 -O1 -pthread -DGC_THREADS $final -o "$tmp/boehm" $folder/concordance.c -lgc \
        >"$tmp/log" 2>&1
    check 'compiles on libgc' test $? -eq 0
    "$tmp/boehm" 4 20 <"$tmp/text" >"$tmp/expected" 2>"$tmp/err"
    same 'prints what it prints on libgc' "$tmp/expected" "$tmp/actual"
    $CC -std=c11 -O1 -pthread -DGC_THREADS -DON_LIBGC -o "$tmp/calls" tests/examples/boehm.c -lgc >"$tmp/log" 2>&1 &&
        "$tmp/calls" >"$tmp/calls_out"
    check 'calls on libgc' test $? -eq 0
else
    echo 'SKIP boehm: libgc is not installed'
    skipped=$((skipped + 1))
fi

# -- what does not compile is named
for call in 'GC_register_long_link(0, 0)' 'GC_new_kind(0, 0, 0, 0)' 'GC_clear_roots()' GC_dont_gc; do
    call_name=${call%%(*}
    printf '#include "gc.h"\nvoid f(void);\nvoid f(void) { (void)%s; }\n' "$call" >"$tmp/bad.c"
    # shellcheck disable=SC2086
    $CC -std=c11 $flags $final -c -o "$tmp/bad.o" "$tmp/bad.c" >"$tmp/err" 2>&1
    check "$call_name: does not compile" test $? -ne 0
    has "$call_name: is named" "$tmp/err" "${call_name}_has_no_counterpart_in_gomem"
done

# -- C++ sees the declarations
cxx=${CXX:-c++}
if command -v "$cxx" >/dev/null 2>&1; then
    printf '#include "gc.h"\nstruct s { s *next; };\nvoid *f(s *p) {\n    GC_PTR_STORE(&p->next, GC_NEW(s));\n    return GC_MALLOC_ATOMIC(4);\n}\n' >"$tmp/user.cc"
    # shellcheck disable=SC2086
    "$cxx" -std=c++11 $flags $final -c -o "$tmp/user.o" "$tmp/user.cc" >"$tmp/err" 2>&1
    if [ -s "$tmp/err" ]; then fail 'C++ includes it' "$tmp/err"; else pass 'C++ includes it'; fi
else
    echo "SKIP boehm: there is no $cxx"
    skipped=$((skipped + 1))
fi
finish
