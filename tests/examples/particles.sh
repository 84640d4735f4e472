#!/bin/sh
# The example particles: four ways, one sum; its options and its errors.
. "$(dirname "$0")/check"
particles=$bin/particles

"$particles" -n 300 -s 20 -r 3 >"$tmp/out" 2>"$tmp/err"
check 'status' test $? -eq 0
check 'says nothing else' test ! -s "$tmp/err"
for way in malloc pool arena 'stack hint'; do has "$way" "$tmp/out" "$way  "; done
# 300 particles throw 1, 6, 3, 8, 5, 2, 7, 4 sparks in turn
has 'counts' "$tmp/out" '27000 sparks a round'
has 'one sum' "$tmp/out" 'the same each way'
"$particles" -n 1 -s 1 -r 1 >"$tmp/out" 2>"$tmp/err"
check 'one of each: status' test $? -eq 0
has 'one of each: sum' "$tmp/out" '1 sparks a round, sum 1, the same each way'
"$particles" --help >"$tmp/out" 2>"$tmp/err"
check '--help: status' test $? -eq 0
has '--help' "$tmp/out" 'usage: particles'
usage_fails 'no number' "$particles" -n
usage_fails 'zero' "$particles" -s 0
usage_fails 'not a number' "$particles" -r ten
usage_fails 'negative' "$particles" -n -5
usage_fails 'too many rounds' "$particles" -r 102
usage_fails 'too large' "$particles" -n 99999999999999999999
usage_fails 'unknown' "$particles" -x 1
finish
