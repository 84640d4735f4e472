#!/bin/sh
# The documents (every .md file): each program in them compiles without a warning, straight from the
# text, and prints what stands behind it; links lead somewhere; messages and options that are named
# exist; the picture is made of the numbers in the table.
#
# In a document ```c is a program if it has a main; ```text behind it is its output, ```trace its trace
# line with other numbers. A program without an #include of gomem.h begins with the three lines that
# the cookbook names. ```cpp is C++.
. "$(dirname "$0")/check"
CC=${CC:-cc} CXX=${CXX:-c++}
documents=$(ls README.md ./*/*.md ./*/*/*.md)

# Writes program N of a document to $tmp/NAME-N.c, its output to .txt, the shape of its trace to .trace.
extract() {
    awk -v out="$tmp/$(echo "${1#./}" | tr / -)" '
        function put(suffix) { printf "%s", text > (file suffix); close(file suffix) }
        BEGIN { head = "#define GOMEM_IMPLEMENTATION\n#include \"gomem.h\"\n#include <stdio.h>\n" }
        /^```[a-z]+$/ { kind = substr($0, 4); text = ""; next }
        /^```$/ && kind == "c" && text ~ /int main\(/ {
            if (text !~ /gomem\.h/) text = head text
            file = out "-" (++n < 10 ? "0" : "") n
            put(".c")
        }
        /^```$/ && kind == "cpp" { file = out "-" (++n < 10 ? "0" : "") n; put(".cpp") }
        /^```$/ && (kind == "text" || kind == "trace") && file { put("." kind) }
        /^```$/ { kind = "" }
        { text = text $0 "\n" }
    ' "$1"
}

# The program of $1 is compiled with the implementation of $OBJECT into $program.
compile() {
    sed 's/^#define GOMEM_IMPLEMENTATION.*//' "$1" >"$tmp/short.${1##*.}" # compiled once for all
    case $1 in
    *.cpp) $CXX -std=c++17 -O1 -g -Wall -Wextra -I. -o "$program" "$tmp/short.cpp" "$OBJECT" -pthread ;;
    *) $CC -std=c11 -O1 -g -Wall -Wextra -I. -o "$program" "$tmp/short.c" "$OBJECT" -pthread ;;
    esac >"$tmp/log" 2>&1
}

shape() { sed -E 's/[0-9]+(\.[0-9]+)?/N/g; s/tracked|stw/C/; s/tries/try/' "$1"; }

for document in $documents; do extract "$document"; done
object || fail 'tests/gomem.c compiles'
programs=0 outputs=0
for source in "$tmp"/*-[0-9][0-9].c "$tmp"/*-[0-9][0-9].cpp; do
    [ -f "$source" ] || continue
    program=${source%.*} title="program $(basename "${source%.*}")"
    if [ "${source##*.}" = cpp ] && ! command -v "$CXX" >/dev/null 2>&1; then
        echo "SKIP $title: no $CXX"
        skipped=$((skipped + 1))
        continue
    fi
    programs=$((programs + 1))
    compile "$source"
    check "$title: compiles" test $? -eq 0
    [ -s "$tmp/log" ] && fail "$title: compiles without a warning" "$tmp/log"
    check "$title: its output is in the document" test -f "$program.text" || continue
    outputs=$((outputs + 1))
    "$program" >"$tmp/actual" 2>"$tmp/err" </dev/null
    check "$title: status" test $? -eq 0
    same "$title: prints what stands behind it" "$program.text" "$tmp/actual"
    [ -f "$program.trace" ] || continue
    GOMEM_DEBUG=gctrace=1 "$program" 2>&1 >/dev/null </dev/null | tail -n 1 >"$tmp/trace"
    shape "$program.trace" >"$tmp/expected"
    shape "$tmp/trace" >"$tmp/actual"
    same "$title: its trace has the shape that stands behind it" "$tmp/expected" "$tmp/actual"
done
check 'the documents have programs' test $programs -ge 16
check 'all have an output' test $outputs -eq $programs

# Links to files and headings.
for document in $documents; do
    grep -o '](\([^)]*\))' "$document" | sed 's/^](//; s/)$//' | grep -v '^http' | while read -r link; do
        file=${link%%#*} heading=
        case $link in *'#'*) heading=${link#*#} ;; esac
        if [ -n "$file" ]; then file=$(dirname "$document")/$file; else file=$document; fi
        [ -e "$file" ] || { echo "$document: $link"; continue; }
        [ -z "$heading" ] || sed -n 's/^##* //p' "$file" | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9_\n-' |
            grep -qx -e "$heading" || echo "$document: $link"
    done
done >"$tmp/dead"
[ -s "$tmp/dead" ] && cat "$tmp/dead"
check 'no dead link' test ! -s "$tmp/dead"

# The messages of the troubleshooting table are those of the header, word by word. (glibc's is not.)
sed -n '/^## Troubleshooting/,/^## /s/^| \(`[^|]*`\)[^|]*|.*/\1/p' README.md | grep -o '`[^`]*`' | tr -d '`' |
    sed 's/^[^…]*…\(.*\)…$/\1/' | grep -v '^free(): ' >"$tmp/messages"
grep -o '"[^"]*"\|gomem_i_GOMEM[a-zA-Z_]*' gomem.h >"$tmp/texts"
while read -r message; do
    has "the header says: $message" "$tmp/texts" "$message"
done <"$tmp/messages"
check 'the troubleshooting table has messages' test "$(wc -l <"$tmp/messages")" -ge 12

# Each option of the header is in the guide, and each topic of its list in the index of examples.
comment() { sed -n "/^ \* $1/,/^ \*\$/p" gomem.h; }
{
    comment 'OPTIONS' | grep -o 'GOMEM_[A-Z_]*'
    comment 'ENVIRONMENT' | grep -o 'GOMEM_[A-Z_]*\|[a-z]*=1'
    sed -n '/^typedef struct gomem_options/,/^} gomem_options/s/^ *[a-z_]* *(\**\([a-z_]*\)[;)].*/\1/p
        /^typedef struct gomem_options/,/^} gomem_options/s/^ *[a-z_]* *\**\([a-z_]*\);.*/\1/p' gomem.h
} | sort -u >"$tmp/options"
missing=$(while read -r option; do grep -q "\b$option\b" examples/OPTIONS.md || echo "$option"; done <"$tmp/options")
check "options missing in the guide: ${missing:-none}" test -z "$missing"
check 'the header has options' test "$(wc -l <"$tmp/options")" -ge 50
comment 'THE API BY TOPIC' | sed -n 's/^ \*   \([a-z][a-z ]*[a-z]\)  .*/\1/p' >"$tmp/topics"
missing=$(while read -r topic; do grep -q "^| $topic |" examples/README.md || echo "$topic"; done <"$tmp/topics")
check "topics without an example: ${missing:-none}" test -z "$missing"
check 'the header has topics' test "$(wc -l <"$tmp/topics")" -ge 12
comment 'THE API BY TOPIC' >"$tmp/list"
missing=$(sed -n 's/^GOMEM_DEF [^;(]*\b\(gomem_[a-z_0-9]*\)(.*/\1/p' gomem.h | grep -v '^gomem_i_' | sort -u |
    while read -r function; do grep -qw "$function" "$tmp/list" || echo "$function"; done)
check "functions in no topic: ${missing:-none}" test -z "$missing"

# The picture shows the numbers of the table.
if command -v python3 >/dev/null 2>&1; then
    python3 bench/picture.py "$tmp/results.svg"
    same 'bench/results.svg is what bench/picture.py makes of bench/RESULTS.md' bench/results.svg "$tmp/results.svg"
else
    echo 'SKIP the picture: no python3'
    skipped=$((skipped + 1))
fi
finish
