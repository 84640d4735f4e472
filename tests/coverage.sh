#!/bin/sh
# Which lines of gomem.h the tests run: build/coverage.txt marks those that none does with #####.
# Needs gcc and gcov.
cd "$(dirname "$0")/.." || exit 2
command -v gcov >/dev/null 2>&1 || { echo "SKIP coverage: gcov is not installed"; exit 0; }
out=$PWD/build/coverage
rm -rf "$out" && mkdir -p "$out"
for source in tests/api/*.c tests/rooms/*.c tests/stress/*.c; do
    [ -f "$source" ] || continue
    unit=$PWD/tests/gomem.c
    case $source in tests/rooms/*) unit= ;; esac
    name=$(echo "${source%.c}" | tr / -)
    mkdir "$out/$name"
    gcc -std=c11 -pthread -I"$PWD" -Itests -O0 -g -w --coverage -DGOMEM_CHECK=1 -dumpdir "$out/$name/" \
        -o "$out/$name/program" "$PWD/$source" $unit || exit 1
    SHORT=1 timeout 300 "$out/$name/program" >"$out/$name/log" 2>&1
    (cd "$out/$name" && gcov -m ./*.gcda >/dev/null 2>&1)
done
# A line is covered when any program ran it; #line numbers are the second column.
cat "$out"/*/gomem.h.gcov | awk -F: '
    { line = $2 + 0; count = $1; gsub(/[ *]/, "", count); text[line] = substr($0, index($0, $2) + length($2)) }
    line == 0 || count == "-" { next }
    count ~ /^[#=]/ { if (!(line in seen)) seen[line] = 0; next }
    { seen[line] = 1 }
    END {
        for (line in seen) { all++; run += seen[line] }
        for (line = 1; line in text; line++)
            printf "%s%6d%s\n", line in seen ? (seen[line] ? "     " : "#####") : "    -", line, text[line] > "build/coverage.txt"
        printf "%d of %d lines run (%.1f %%): build/coverage.txt\n", run, all, 100 * run / (all ? all : 1)
    }'
