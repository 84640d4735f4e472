#!/bin/sh
# Small programs that hold or leak objects, with the override preloaded and linked with gomem. What
# GOMEM_DEBUG=leak=1 says is compared with the table below; so is LeakSanitizer, where the compiler
# has it, and with PEERS=1 valgrind, which takes half a minute.
cd "$(dirname "$0")/../.." || exit 2
limit=${LIMIT:-60}
. tests/runner
out=$PWD/build/leaks
CC=${CC:-cc}

# Each program and what it leaks: objects directly/indirectly for gomem, LeakSanitizer, valgrind.
# Where they differ:
#   ring        LeakSanitizer and gomem call each object of a ring indirect; valgrind lets one stand
#               for the others
#   argument, result
#               LeakSanitizer forgets a thread's argument when the thread drops it, and its result
#               when it ends; gomem keeps both, valgrind reads libc's records
table="
in_a_list 0/0 0/0 0/0
by_the_middle 0/0 0/0 0/0
by_the_last_byte 0/0 0/0 0/0
in_tls 0/0 0/0 0/0
tagged_low 0/0 0/0 0/0
on_a_blocked_stack 0/0 0/0 0/0
in_a_register 0/0 0/0 0/0
as_an_argument 0/0 1/2 0/0
as_a_result 0/0 1/1 0/0
after_many_threads 0/0 0/0 -
as_values_of_keys 0/0 0/0 0/0
in_libc 0/0 0/0 0/0
in_a_jump_buffer 0/0 0/0 0/0
freed 0/0 0/0 0/0
freed_by_another_thread 0/0 0/0 0/0
leaks_list 1/4 1/4 1/4
leaks_ring 0/3 0/3 1/2
leaks_itself 1/0 1/0 1/0
leaks_head 1/0 1/0 1/0
leaks_global 1/3 1/3 1/3
leaks_past_end 1/0 1/0 1/0
leaks_tagged_high 2/0 2/0 2/0
leaks_tree 1/8 1/8 1/8
leaks_tls 1/2 1/2 1/2
leaks_large 3/0 3/0 3/0
"
# Programs that keep pointers in memory of gomem alone.
linked="
in_an_arena 0/0
in_a_pool 0/0
in_a_collected_object 0/0
leaks_with_garbage 1/2
in_a_registered_range 0/0
"

# expect WHO PROGRAM WANT STATUS: compares what WHO has counted, in $got, and the exit status.
expect() {
    if [ "$got" = "$3" ] && [ "$status" = "$4" ]; then return; fi
    wrong="$wrong $1 says $got and ends with $status, not $3 and $4;"
}
# Counts what gomem has said, in $out/said.
count() {
    status=$1
    got=$(sed -n 's/^gomem: .* objects* leaked, .*: \([0-9]*\) direct ([0-9]*), \([0-9]*\) indirect.*/\1\/\2/p' \
        "$out/said")
    got=${got:-0/0}
    ! grep -q 'not checked' "$out/said" || got="$(cat "$out/said")"
}
ends() { if [ "$1" = 0/0 ]; then echo 0; else echo 23; fi; }

mkdir -p "$out"
flags="-std=gnu11 -O1 -g -w -I. -pthread tests/leaks/programs.c"
if ! $CC $flags -o "$out/plain" 2>"$out/errors"; then
    fail build "$(head -n 3 "$out/errors")"
    total
fi
sanitizer=yes
$CC $flags -fsanitize=leak -o "$out/sanitized" 2>"$out/errors" || sanitizer=
[ -n "$sanitizer" ] || skip LeakSanitizer "this compiler does not have it"
if [ -n "$PEERS" ] && ! command -v valgrind >/dev/null 2>&1; then
    skip valgrind "it is not installed"
    PEERS=
fi
debug=GOMEM_DEBUG=leak=1,leak_status=23

while read -r name gomem lsan valgrind; do
    [ -n "$name" ] || continue
    wrong=
    env $debug LD_PRELOAD="$lib" $bound "$out/plain" "$name" 2>"$out/said" </dev/null
    count $?
    expect gomem "$name" "$gomem" "$(ends "$gomem")"
    if [ -n "$sanitizer" ]; then
        $bound "$out/sanitized" "$name" 2>"$out/lsan" </dev/null
        status=$?
        got=$(awk '/^Direct leak/ {d += $7} /^Indirect leak/ {i += $7} END {print d + 0 "/" i + 0}' "$out/lsan")
        # it traces the process, which a sandbox may forbid
        if grep -q 'fatal error' "$out/lsan"; then sanitizer= && skip LeakSanitizer "it cannot run here"
        else expect LeakSanitizer "$name" "$lsan" "$(ends "$lsan")"; fi
    fi
    if [ -n "$PEERS" ] && [ "$valgrind" != - ]; then
        $bound valgrind --leak-check=full "$out/plain" "$name" 2>"$out/valgrind" </dev/null
        status=$?
        got=$(awk '/definitely lost:/ {d = $7} /indirectly lost:/ {i = $7} END {print d + 0 "/" i + 0}' \
            "$out/valgrind")
        expect valgrind "$name" "$valgrind" 0
    fi
    if [ -z "$wrong" ]; then pass "$name"; else fail "$name" "$wrong"; fi
done <<END
$table
END

if [ ! -f "$OBJECT" ]; then # make's implementation
    OBJECT=$out/gomem.o
    $(tests/quick) -std=c11 -O0 -w -I. -pthread -c -o "$OBJECT" tests/gomem.c
fi
if ! $CC $flags -DLINKED "$OBJECT" -o "$out/linked" 2>"$out/errors"; then
    fail build "$(head -n 3 "$out/errors")"
    total
fi
while read -r name gomem rest; do
    [ -n "$name" ] || continue
    wrong=
    env $debug $bound "$out/linked" "$name" 2>"$out/said" </dev/null
    count $?
    expect gomem "$name" "$gomem" "$(ends "$gomem")"
    if [ -z "$wrong" ]; then pass "linked_$name"; else fail "linked_$name" "$wrong"; fi
done <<END
$table
$linked
END

# Call sites: the innermost function of each stack is the program's, not one of the library's.
# timeout is preloaded, too, so a file for each process is written.
rm -f "$out"/folded.*
if ! $CC -std=gnu11 -O1 -w -rdynamic tests/leaks/wrapped.c -o "$out/wrapped" 2>"$out/errors"; then
    fail build "$(head -n 3 "$out/errors")"
    total
fi
env GOMEM_DEBUG="leak=1,profile=1,write=folded:$out/folded.%p" LD_PRELOAD="$lib" \
    $bound "$out/wrapped" 2>"$out/said" </dev/null
wanted='by_aligned_alloc by_calloc by_malloc by_memalign by_posix_memalign by_pvalloc by_realloc by_reallocarray by_valloc'
got=$(awk '/^gomem: leak: / {first = 1; next} first {print $3; first = 0}' "$out/said" | sort | tr '\n' ' ')
if [ "$got" = "$wanted " ]; then pass wrapped_leaks; else fail wrapped_leaks "the stacks begin in $got"; fi
got=$(sed 's/ [0-9]*$//; s/.*;//' "$out"/folded.* | grep '^by_' | sort | tr '\n' ' ')
if [ "$got" = "$wanted " ]; then pass wrapped_folded; else fail wrapped_folded "the stacks end in $got"; fi
env GOMEM_DEBUG=leak=1,profile=1,leak_status=23 GOMEM_LEAK_SUPPRESS='main' LD_PRELOAD="$lib" \
    $bound "$out/wrapped" 2>"$out/said" </dev/null
status=$?
if [ $status = 0 ] && grep -q 'suppressed: 9 objects' "$out/said"; then pass suppressed
else fail suppressed "ends with $status: $(cat "$out/said")"; fi
total
