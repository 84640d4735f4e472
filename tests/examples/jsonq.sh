#!/bin/sh
# The example jsonq: queries against what Python's json says, documents of all kinds, what is not JSON,
# options and errors.
. "$(dirname "$0")/check"
jsonq=$bin/jsonq

# query NAME PATH DOCUMENT EXPECTED: from standard input.
query() {
    printf '%s' "$3" | "$jsonq" $options "$2" >"$tmp/out" 2>"$tmp/err"
    check "$1: status" test $? -eq 0
    printf '%s' "$4" >"$tmp/expected"
    same "$1" "$tmp/expected" "$tmp/out"
}

# refused NAME DOCUMENT LINE: exit status 1, and where and why.
refused() {
    printf '%b' "$2" | "$jsonq" . >"$tmp/out" 2>"$tmp/err"
    check "$1: status" test $? -eq 1
    has "$1: told" "$tmp/err" "standard input:$3"
}

# -- queries
options=
document='{"a": {"b": [1, 2.5e3, {"c": "d\u00e9\n"}], "x.y": true}, "": null, "e": [[], {}]}'
query 'the document' . "$document" '{"a":{"b":[1,2.5e3,{"c":"d\u00e9\n"}],"x.y":true},"":null,"e":[[],{}]}
'
query 'a member' .a.b[1] "$document" '2.5e3
'
query 'from the end' '.a.b[-1].c' "$document" '"d\u00e9\n"
'
query 'all of them' '.a.b[]' "$document" '1
2.5e3
{"c":"d\u00e9\n"}
'
query 'a name with a dot' '.a["x.y"]' "$document" 'true
'
query 'the empty name' '[""]' "$document" 'null
'
query 'nothing' '.a.none[0]' "$document" ''
query 'out of bounds' '.a.b[7]' "$document" ''
query 'of another kind' '.a.b.c' "$document" ''
query 'all members, all elements' '.e[][]' "$document" ''
query 'an escape in a name' .ab '{"\u0061b":1,"a\\b":2,"ab":3,"\u0061":4}' '1
3
'
query 'a name of escapes' '["a\b"]' '{"a\\b":1}' '1
'
query 'twice the same name' '.k[-2]' '{"k":[1,2,3],"k":[4,5],"k":[6]}' '2
4
'
query 'many documents' '.k' '{"k":1}{"k":2} [3] {"k":4}' '1
2
4
'
query 'documents without blanks' . '1"a"true[2]null{"a":3}4 5' '1
"a"
true
[2]
null
{"a":3}
4
5
'
query 'no document' . '' ''
options=-r
query 'without quotes' '.a.b[2].c' "$document" 'dé

'
query 'pairs' . '"\ud83d\ude00 \ud83d! \/ \u0041"' '😀 �! / A
'
options=-c
query 'counted' '.a.b[]' "$document" '3
'
options=

# -- what is not JSON
refused 'no value' '[1,]' '1:4: a value is expected'
refused 'no comma' '[1 2]' '1:4: a comma or ] is expected'
refused 'no name' '{1:2}' '1:2: a name in quotes is expected'
refused 'no colon' '{"a" 2}' '1:6: a colon is expected'
refused 'no end' '{"a": [1, "b' '1:13: a string does not end'
refused 'a word' '\n\n  nul' '3:3: a value is expected'
refused 'a zero' '[01]' '1:3: a number begins with 0'
refused 'a minus' '-' '1:2: a number needs digits'
refused 'a point' '1.' '1:3: a number needs digits behind its point'
refused 'an exponent' '1e+' '1:4: an exponent needs digits'
refused 'a control character' '"a\tb"' '1:3: a control character'
refused 'an escaped zero byte' '"\\\0000"' '1:3: an unknown escape'
refused 'a number that goes on' '[1] 2x' '1:6: a blank is expected'
refused 'a date' '2024-11-12' '1:5: a blank is expected'
refused 'two words' 'truefalse' '1:5: a blank is expected'
refused 'two numbers' '1-2' '1:2: a blank is expected'
refused 'an escape' '"\\x"' '1:3: an unknown escape'
refused 'four digits' '"\\u12g4"' '1:3: \u needs four'
refused 'too deep' "$(awk 'BEGIN { for (i = 0; i < 20000; i++) printf "[" }')" '1:10001: nested too deeply'

# -- files, against Python
if command -v python3 >/dev/null 2>&1; then
    python3 - "$tmp" <<'PY'
import json, random, sys
random.seed(5)
def value(depth):
    kind = random.randrange(9 if depth < 6 else 6)
    if kind < 2: return random.choice([None, True, False, 0, -17, 2**53, 1.5e-9, 12345.678])
    if kind < 6: return "".join(random.choice("ab \"\\/\n\té😀\x01") for _ in range(random.randrange(20)))
    if kind < 8: return [value(depth + 1) for _ in range(random.randrange(8))]
    return {f"k{i}": value(depth + 1) for i in range(random.randrange(8))}
documents = [[value(1) for _ in range(40)] for _ in range(20)]
with open(sys.argv[1] + "/in", "w", encoding="utf-8") as f:
    for i, d in enumerate(documents):
        f.write(json.dumps(d, ensure_ascii=i % 2, indent=i % 3 or None) + "\n")
with open(sys.argv[1] + "/whole", "w", encoding="utf-8") as f:
    for i, d in enumerate(documents):
        f.write(json.dumps(d, ensure_ascii=i % 2, separators=(",", ":")) + "\n")
with open(sys.argv[1] + "/third", "w", encoding="utf-8") as f:
    for i, d in enumerate(documents):
        for e in d:
            if isinstance(e, list) and len(e) > 3:
                f.write(json.dumps(e[3], ensure_ascii=i % 2, separators=(",", ":")) + "\n")
PY
    "$jsonq" . "$tmp/in" >"$tmp/out" 2>"$tmp/err"
    check 'a file: status' test $? -eq 0
    same 'a file, whole' "$tmp/whole" "$tmp/out"
    "$jsonq" '[][3]' "$tmp/in" >"$tmp/out" 2>"$tmp/err"
    same 'a file, a part' "$tmp/third" "$tmp/out"
    "$jsonq" '[][3]' <"$tmp/in" >"$tmp/out" 2>"$tmp/err"
    same 'the same from standard input' "$tmp/third" "$tmp/out"
else
    echo 'SKIP jsonq: files against Python: there is no python3'
    skipped=1
fi

# -- large files, by several threads: lines, documents of many lines, documents that have lines which
# begin as documents do, one document, an error far behind
if command -v python3 >/dev/null 2>&1; then
    python3 - "$tmp" <<'PY'
import json, sys
def write(name, pieces):
    with open(f"{sys.argv[1]}/{name}", "w") as f: f.writelines(pieces)
def record(i): return {"n": i, "s": "x" * (i % 50), "l": [[i, {"m": -i}], []]}
many = range(60000)
write("lines", (json.dumps(record(i)) + "\n" for i in many))
write("pretty", (json.dumps(record(i), indent=1) + "\n" for i in many))
write("inside", ("[\n" + "".join(json.dumps(record(i)) + ",\n" for i in range(k, k + 1000)) + "{}]\n"
                 for k in range(0, 60000, 1000)))
write("one", ["[\n", *(json.dumps(record(i)) + ",\n" for i in many), "{}]"])
write("wrong", [*(json.dumps(record(i)) + "\n" for i in many), '{"n":1}\n {"n" 2}\n{"n":3}\n'])
write("numbers", (f"{i}\n" for i in many))
PY
    for n in 1 2 5; do
        seq 0 59999 >"$tmp/expected"
        for file in lines pretty; do
            "$jsonq" -j $n .n "$tmp/$file" >"$tmp/out" 2>"$tmp/err"
            same "$file, on $n threads" "$tmp/expected" "$tmp/out"
        done
        for file in inside one; do
            "$jsonq" -j $n '[].n' "$tmp/$file" >"$tmp/out" 2>"$tmp/err"
            same "$file, on $n threads" "$tmp/expected" "$tmp/out"
        done
        echo 1 >>"$tmp/expected"
        "$jsonq" -j $n .n "$tmp/wrong" >"$tmp/out" 2>"$tmp/err"
        check "an error, on $n threads: status" test $? -eq 1
        same "an error, on $n threads: what was before" "$tmp/expected" "$tmp/out"
        has "an error, on $n threads: where" "$tmp/err" 'wrong:60002:7: a colon is expected'
    done
    { "$jsonq" -c .n; "$jsonq" -c .n; } <"$tmp/lines" >"$tmp/out"
    printf '60000\n0\n' >"$tmp/expected"
    same 'a file is read once' "$tmp/expected" "$tmp/out"
    awk 'BEGIN { for (i = 0; i < 150; i++) { for (k = 0; k < 9999; k++) printf "["; for (k = 0; k < 9999; k++) printf "]"; print "" } }' >"$tmp/deep"
    "$jsonq" -j 2 . "$tmp/deep" >"$tmp/out"
    same 'deep ones, on 2 threads' "$tmp/deep" "$tmp/out"
    "$jsonq" . <"$tmp/lines" >"$tmp/expected"
    cat "$tmp/lines" | "$jsonq" . >"$tmp/out"
    same 'a pipe gives what a file gives' "$tmp/expected" "$tmp/out"
    cat "$tmp/one" | "$jsonq" -c '[].l[0][1].m' >"$tmp/out"
    echo 60000 >"$tmp/expected"
    same 'a document of many reads' "$tmp/expected" "$tmp/out"
    seq 0 59999 >"$tmp/expected"
    cat "$tmp/numbers" | "$jsonq" . >"$tmp/out"
    same 'numbers are not cut' "$tmp/expected" "$tmp/out"
    cat "$tmp/wrong" | "$jsonq" .n >"$tmp/out" 2>"$tmp/err"
    has 'an error in a pipe: where' "$tmp/err" 'standard input:60002:7: a colon is expected'
    { read -r line; "$jsonq" -c .n; } <"$tmp/lines" >"$tmp/out"
    echo 59999 >"$tmp/expected"
    same 'a file from where it stands' "$tmp/expected" "$tmp/out"
else
    echo 'SKIP jsonq: large files: there is no python3'
    skipped=1
fi

# -- a pipe is answered as it comes, however it is cut
# answers N: waits until there are so many lines of answers and errors, or the program has ended.
answers() {
    for _ in $(seq 600); do
        [ "$(cat "$tmp/out" "$tmp/err" | wc -l)" -lt "$1" ] && kill -0 $asked 2>"$tmp/ended" || break
        sleep 0.1
    done
}
mkfifo "$tmp/pipe"
timeout 300 "$jsonq" .k <"$tmp/pipe" >"$tmp/out" 2>"$tmp/err" &
asked=$!
trap '' PIPE
exec 3>"$tmp/pipe"
printf '{"k":1}' >&3
answers 1
echo 1 >"$tmp/expected"
same 'answered before the end' "$tmp/expected" "$tmp/out"
for part in '{"' 'k"' ':tr' 'ue} 1' '2 {"k":"\' 'u00' 'e9"} {"k":-' '1' '7}'; do
    printf '%s' "$part" >&3
    sleep 0.05
done
printf '1\ntrue\n"\\u00e9"\n-17\n' >"$tmp/expected"
answers 4
for size in 1000000 1100000 5000000; do # the last of them is parsed several times
    printf '{"s":"%s","k":%s}' "$(head -c $size /dev/zero | tr '\0' x)" $size >&3
    echo $size >>"$tmp/expected"
    answers $(wc -l <"$tmp/expected")
    same "answered before the end: $size bytes" "$tmp/expected" "$tmp/out"
done
printf '{"k" 2}\n' >&3
answers $(($(wc -l <"$tmp/expected") + 1))
has 'an error before the end' "$tmp/err" 'standard input:1:'
exec 3>&-
wait $asked
check 'an error before the end: status' test $? -eq 1
trap - PIPE

# -- a file that is cut off while it is read: an error, and what came before is whole lines
# jsonq stops where the pipe is full; then the file goes
mkfifo "$tmp/slow"
for run in '1 100000' '1 1000000' '2 1000000'; do
    threads=${run%% *} lines=${run##* }
    for option in '' -r -c; do
        seq -f '{"k":"line %.0f"}' "$lines" >"$tmp/shrinks"
        timeout 60 "$jsonq" -j "$threads" $option .k "$tmp/shrinks" "$tmp/shrinks" >"$tmp/slow" 2>"$tmp/err" &
        asked=$!
        exec 3<"$tmp/slow"
        if [ "$option" = -c ]; then # it waits for nobody
            : >"$tmp/shrinks"
            cat <&3 >"$tmp/out"
        else
            head -c 100 <&3 >"$tmp/out"
            : >"$tmp/shrinks"
            cat <&3 >>"$tmp/out"
        fi
        wait $asked
        status=$?
        exec 3<&-
        check "a file that is cut off, $run $option: status" test $status -le 1
        [ "$option" = -c ] && continue
        check "a file that is cut off, $run $option: refused" test $status -eq 1
        has "a file that is cut off, $run $option: told" "$tmp/err" 'shrinks: the file was cut off'
        seq -f '"line %.0f"' "$(wc -l <"$tmp/out")" >"$tmp/expected"
        [ -z "$option" ] || sed -i 's/"//g' "$tmp/expected"
        same "a file that is cut off, $run $option: what came before" "$tmp/expected" "$tmp/out"
    done
done

# -- what cannot be written is told
if [ -w /dev/full ]; then
    for input in '1' "$(seq 1 30000)"; do
        printf '%s' "$input" >"$tmp/numbers"
        "$jsonq" . "$tmp/numbers" >/dev/full 2>"$tmp/err"
        check 'a full device: status' test $? -eq 1
        has 'a full device' "$tmp/err" 'jsonq: cannot write'
        { cat "$tmp/numbers" | "$jsonq" . >/dev/full; } 2>"$tmp/err"
        check 'a full device, from a pipe: status' test $? -eq 1
    done
fi
"$jsonq" . "$tmp/numbers" "$tmp/none" 2>&1 >/dev/null | grep -qF 'none: No such file'
check 'the reason is the right one' test $? -eq 0

# -- bytes cut off anywhere are refused or fine, and never crash
printf '%s' "$document" >"$tmp/cut"
wrong=0
for n in $(seq 1 80); do
    head -c "$n" "$tmp/cut" | "$jsonq" . >"$tmp/out" 2>"$tmp/err"
    [ $? -le 1 ] || wrong=$((wrong + 1))
done
check 'cut off anywhere' test $wrong -eq 0

# -- options and errors
"$jsonq" -t . "$tmp/cut" >"$tmp/out" 2>"$tmp/err"
has '-t' "$tmp/err" ' MB/s'
"$jsonq" --help >"$tmp/out" 2>"$tmp/err"
check '--help: status' test $? -eq 0
has '--help' "$tmp/out" 'usage: jsonq'
"$jsonq" -h >"$tmp/out" 2>"$tmp/err"
has '-h' "$tmp/out" 'usage: jsonq'
printf '1' >"$tmp/-file"
(jsonq=$(realpath "$jsonq") && cd "$tmp" && "$jsonq" -- . -file) >"$tmp/out" 2>"$tmp/err"
check 'a file after --' test "$(cat "$tmp/out")" = 1
"$jsonq" . "$tmp/none" >"$tmp/out" 2>"$tmp/err"
check 'no such file: status' test $? -eq 1
has 'no such file' "$tmp/err" 'No such file'
"$jsonq" . "$tmp" >"$tmp/out" 2>"$tmp/err"
check 'a directory: status' test $? -eq 1
usage_fails 'no path' "$jsonq"
usage_fails 'no path either' "$jsonq" name
usage_fails 'an empty step' "$jsonq" .a..b
usage_fails 'no bracket' "$jsonq" '.a[1'
usage_fails 'no index' "$jsonq" '.a[x]'
usage_fails 'no threads' "$jsonq" -j 0 .
usage_fails 'threads without a number' "$jsonq" -j
usage_fails 'unknown option' "$jsonq" -x .
finish
