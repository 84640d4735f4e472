#!/bin/sh
# The example wordfreq: its counts against those of tr, sort and uniq, its options and its errors.
. "$(dirname "$0")/check"
wordfreq=$bin/wordfreq

# The words of standard input, as wordfreq -n 1000000 prints them but for the width of the counts.
count_words() {
    LC_ALL=C tr 'A-Z' 'a-z' | LC_ALL=C tr -cs 'a-z\200-\377' '\n' | sed '/^$/d' |
        LC_ALL=C sort | uniq -c | LC_ALL=C sort -k1,1nr -k2 | sed 's/^ *//'
}

unalign() { sed 's/^ *//; s/  / /'; }

# -- counting
set -- examples/*.c tests/api/*.c Makefile LICENSE
cat "$@" | count_words >"$tmp/expected"
"$wordfreq" -n 1000000 "$@" | unalign >"$tmp/actual"
same 'the words of files' "$tmp/expected" "$tmp/actual"
cat "$@" | "$wordfreq" -n 1000000 | unalign >"$tmp/actual"
same 'the words of standard input' "$tmp/expected" "$tmp/actual"
head -n 5 "$tmp/expected" >"$tmp/five"
"$wordfreq" -n 5 "$@" | unalign >"$tmp/actual"
same '-n 5' "$tmp/five" "$tmp/actual"
awk 'length($2) >= 8' "$tmp/expected" >"$tmp/long"
LC_ALL=C "$wordfreq" -m 8 -n 1000000 "$@" | unalign >"$tmp/actual"
same '-m 8' "$tmp/long" "$tmp/actual"
awk '{ print $1 * 30, $2 }' "$tmp/expected" >"$tmp/often"
"$wordfreq" -r 30 -n 1000000 "$@" | unalign >"$tmp/actual"
same '-r 30' "$tmp/often" "$tmp/actual"

# -- texts of all kinds
printf 'Gr\303\274\303\237e, gr\303\274\303\237e! \344\270\226\347\225\214 \344\270\226\347\225\214\n' >"$tmp/utf8"
printf '2  gr\303\274\303\237e\n2  \344\270\226\347\225\214\n' >"$tmp/expected"
"$wordfreq" "$tmp/utf8" >"$tmp/actual"
same 'words in UTF-8 stay whole' "$tmp/expected" "$tmp/actual"
printf 'a\000b a\000\000c\n\000b a' >"$tmp/zero"
printf '3  a\n2  b\n1  c\n' >"$tmp/expected"
"$wordfreq" "$tmp/zero" >"$tmp/actual"
same 'zero bytes separate words' "$tmp/expected" "$tmp/actual"
awk 'BEGIN { for (i = 0; i < 200000; i++) printf "word%s", i % 2 ? " " : "s," }' >"$tmp/line"
printf '100000  word\n100000  words\n' >"$tmp/expected"
"$wordfreq" "$tmp/line" >"$tmp/actual"
same 'one line of a megabyte' "$tmp/expected" "$tmp/actual"
awk 'BEGIN { for (i = 0; i < 300000; i++) printf "x" }' >"$tmp/word"
printf '1  %s\n' "$(cat "$tmp/word")" >"$tmp/expected"
"$wordfreq" "$tmp/word" >"$tmp/actual"
same 'one word of 300,000 letters' "$tmp/expected" "$tmp/actual"
printf '1 22, 333\n' | "$wordfreq" >"$tmp/actual"
check 'no words: status' test $? -eq 0
check 'no words: prints nothing' test ! -s "$tmp/actual"
"$wordfreq" </dev/null >"$tmp/actual"
check 'empty input: status' test $? -eq 0
check 'empty input: prints nothing' test ! -s "$tmp/actual"

# -- the collector at work
"$wordfreq" -v -n 1 -r 200 examples/lisp.c >"$tmp/out" 2>"$tmp/err"
cycles=$(sed -n 's/^collector  *\([0-9]*\) cycles.*/\1/p' "$tmp/err")
check '-v tells of several collections' test "${cycles:-0}" -ge 2
has '-v tells of the bytes' "$tmp/err" 'MiB in all'
GOMEM_GOGC=off "$wordfreq" -v -n 1 -r 20 examples/lisp.c >"$tmp/out" 2>"$tmp/err"
has 'GOMEM_GOGC=off: no collection' "$tmp/err" ' 0 cycles'
"$wordfreq" -n 1000000 -r 30 examples/lisp.c >"$tmp/expected"
GOMEM_GOGC=5 "$wordfreq" -n 1000000 -r 30 examples/lisp.c >"$tmp/actual"
same 'GOMEM_GOGC=5: the same words' "$tmp/expected" "$tmp/actual"

# -- errors
printf 'some words\n' >"$tmp/good"
printf '1  some\n1  words\n' >"$tmp/expected"
"$wordfreq" "$tmp/absent" "$tmp/good" >"$tmp/actual" 2>"$tmp/err"
check 'a file that is not there: status' test $? -eq 1
has 'a file that is not there: message' "$tmp/err" "wordfreq: cannot open $tmp/absent: "
same 'a file that is not there: the others are counted' "$tmp/expected" "$tmp/actual"
"$wordfreq" "$tmp" "$tmp/good" >"$tmp/actual" 2>"$tmp/err"
check 'a folder: status' test $? -eq 1
has 'a folder: message' "$tmp/err" "wordfreq: cannot read $tmp: "
same 'a folder: the files are counted' "$tmp/expected" "$tmp/actual"
if [ -w /dev/full ]; then
    "$wordfreq" "$tmp/good" >/dev/full 2>"$tmp/err"
    check 'a full disk: status' test $? -eq 1
    has 'a full disk: message' "$tmp/err" 'wordfreq: cannot write'
else
    echo 'SKIP a full disk: there is no /dev/full'
    skipped=$((skipped + 1))
fi
usage_fails 'unknown option' "$wordfreq" -x
usage_fails 'no number' "$wordfreq" -n
usage_fails 'not a number' "$wordfreq" -n 12x
usage_fails 'negative number' "$wordfreq" -m -3
usage_fails 'number too big' "$wordfreq" -r 99999999999999999999
usage_fails 'standard input twice' "$wordfreq" -r 2
"$wordfreq" --help >"$tmp/out"
check '--help: status' test $? -eq 0
has '--help: text' "$tmp/out" 'usage: wordfreq'
finish
