#!/bin/sh
# The example leaky: on malloc its memory grows, on the collected heap it does not.
. "$(dirname "$0")/check"
leaky=$bin/leaky

# at_end NAME: the whole MiB of this allocator in the summary.
at_end() { sed -n "s/^resident memory.* $1 \([0-9]*\)\.[0-9] MiB.*/\1/p" "$tmp/out"; }

if [ ! -r /proc/self/statm ]; then
    echo 'SKIP leaky: there is no /proc/self/statm'
    skipped=1
    finish
fi
"$leaky" >"$tmp/out" 2>"$tmp/err"
check 'both: status' test $? -eq 0
libc=$(at_end libc) gomem=$(at_end gomem)
check 'both: libc leaks' test "${libc:-0}" -ge 80
check 'both: gomem does not' test "${gomem:-999}" -le 32
check 'both: twenty samples' test "$(grep -c '^ *[0-9]*  .*MiB' "$tmp/out")" -eq 20
"$leaky" libc >"$tmp/out"
check 'libc alone: leaks' test "$(at_end libc)" -ge 80
"$leaky" gomem >"$tmp/out"
check 'gomem alone: does not' test "$(at_end gomem)" -le 32
"$leaky" jemalloc >"$tmp/out" 2>"$tmp/err"
check 'unknown allocator: status' test $? -eq 2
has 'unknown allocator: usage' "$tmp/err" 'usage: leaky'

# the report
"$leaky" gomem "$tmp/report.html" >"$tmp/out" 2>"$tmp/err"
check 'report: status' test $? -eq 0
check 'report: memory is as without' test "$(at_end gomem)" -le 32
has 'report: begins as a page' "$tmp/report.html" '<html'
check 'report: is whole' test "$(tail -c 8 "$tmp/report.html" | tr -d '\n')" = '</html>'
"$leaky" gomem "$tmp/none/report.html" >"$tmp/out" 2>"$tmp/err"
check 'report, no such folder: status' test $? -eq 1
has 'report, no such folder' "$tmp/err" "leaky: cannot write $tmp/none/report.html"
"$leaky" libc "$tmp/report.html" >"$tmp/out" 2>"$tmp/err"
check 'report of libc: status' test $? -eq 2
finish
