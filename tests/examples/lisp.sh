#!/bin/sh
# The example lisp: its programs, memory, the read-eval-print loop, and its errors.
. "$(dirname "$0")/check"
lisp=$bin/lisp

# prints NAME FORM TEXT: the form makes the program print the text.
prints() {
    printf '%s\n' "$2" >"$tmp/program.scm"
    "$lisp" "$tmp/program.scm" >"$tmp/actual" 2>&1
    printf '%s' "$3" >"$tmp/expected"
    same "$1" "$tmp/expected" "$tmp/actual"
}

# fails NAME PROGRAM LINE MESSAGE: the program ends with status 1 and this message for this line.
fails() {
    printf '%b\n' "$2" >"$tmp/program.scm"
    "$lisp" "$tmp/program.scm" >"$tmp/actual" 2>"$tmp/err"
    check "$1: status" test $? -eq 1
    printf '%s\n' "$tmp/program.scm:$3: $4" >"$tmp/expected"
    same "$1: message" "$tmp/expected" "$tmp/err"
}

# -- the programs
for program in examples/lisp/*.scm; do
    case $program in */garbage.scm) continue ;; esac # below
    "$lisp" "$program" >"$tmp/actual" 2>&1
    check "$program: status" test $? -eq 0
    same "$program: output" "${program%.scm}.out" "$tmp/actual"
done
# many small cycles: what the collector loses by mistake is soon missed
for run in queens=5 primes=5 strings=5 sort=25 tailcall=25; do
    program=${run%=*} percent=${run#*=}
    GOMEM_GOGC=$percent "$lisp" "examples/lisp/$program.scm" >"$tmp/actual" 2>&1
    same "$program with GOMEM_GOGC=$percent" "examples/lisp/$program.out" "$tmp/actual"
done

# -- gigabytes in a few megabytes
"$lisp" -v examples/lisp/garbage.scm >"$tmp/actual" 2>"$tmp/err"
check 'garbage.scm: status' test $? -eq 0
same 'garbage.scm: output' examples/lisp/garbage.out "$tmp/actual"
allocated=$(sed -n 's/^allocated \([0-9]*\)[.0-9]* MiB.*/\1/p' "$tmp/err")
peak=$(sed -n 's/.* \([0-9]*\) KiB peak memory$/\1/p' "$tmp/err")
check 'garbage.scm allocates more than 2 GiB' test "${allocated:-0}" -gt 2048
check 'garbage.scm stays below 64 MiB' test "${peak:-999999}" -lt 65536

# -- the language
prints 'numbers' '(write (list (/ 6 3) (/ 1 4) (- 5) (* 1.5 2) (quotient -7 2) (remainder -7 2)
    (modulo -7 2) (expt 2 40) (exact (floor 2.7)) (sqrt 16) (max 1 7 3) (gcd 12 18)))' \
    '(2 0.25 -5 3.0 -3 -1 1 1099511627776 2 4 7 6)'
prints 'integers that grow too big' \
    '(write (list (* 1000000007 1000000007) (* 10000000000 10000000000) (+ 1152921504606846975 1)))' \
    '(1000000014000000049 1e+20 1.152921504606847e+18)'
prints 'comparisons' '(write (list (< 1 2 3) (< 1 3 2) (= 1 1.0) (eqv? 1 1.0) (>= 3 3 2)))' \
    '(#t #f #t #f #t)'
prints 'equality' "(write (list (eq? 'a 'a) (equal? '(1 (2 #(3 \"x\"))) '(1 (2 #(3 \"x\"))))
    (equal? \"a\" \"b\") (eq? '() '()) (memv 2 '(1 2 3)) (assoc \"b\" '((\"a\" . 1) (\"b\" . 2)))))" \
    '(#t #t #f #t (2 3) ("b" . 2))'
prints 'conditions' "(write (list (if #f 1 2) (cond ((= 1 2) 'a) ((assv 2 '((2 . b))) => cdr) (else 'c))
    (case 5 ((1 2 3) 'low) ((4 5 6) 'mid) (else 'high)) (and 1 2) (and) (or #f 3) (or)
    (when #t 1 2) (unless #f 3 4)))" \
    '(2 b mid 2 #t 3 #f 2 4)'
prints 'bindings' "(define x 1) (write (let ((x 2) (y x)) (define z (+ x y)) (set! x 10)
    (let* ((a z) (b (+ a x))) (letrec ((f (lambda (n) (if (= n 0) b (f (- n 1)))))) (list a b (f 5))))))
    (write x)" '(3 13 13)1'
prints 'lambda lists' "(write (list ((lambda all all) 1 2) ((lambda (a . rest) rest) 1 2 3)
    (apply + 1 2 '(3 4)) (map (lambda (x y) (* x y)) '(1 2 3) '(4 5 6))))" '((1 2) (2 3) 10 (4 10 18))'
prints 'loops' "(for-each display '(1 2 3)) (write (do ((i 0 (+ i 1)) (l '() (cons i l))) ((= i 3) l)))
    (write (let loop ((i 0)) (if (< i 10) (loop (+ i 3)) i)))" '123(2 1 0)12'
prints 'closures have variables of their own' "(define (counter) (let ((n 0)) (lambda () (set! n (+ n 1)) n)))
    (define a (counter)) (define b (counter)) (a) (a) (write (list (a) (b)))" '(3 1)'
prints 'a variable may have the name of a form' "(define (f list if) (list if)) (write (f car '(1)))" '1'
prints 'quasiquote' "(write \`(1 ,(+ 1 1) ,@(list 3 4) . 5))" '(1 2 3 4 . 5)'
prints 'macros' "(define-macro (swap! a b) (let ((t (gensym))) \`(let ((,t ,a)) (set! ,a ,b) (set! ,b ,t))))
    (define x 1) (define y 2) (swap! x y) (write (list x y))" '(2 1)'
prints 'many arguments' '(write (list 1 2 3 4 5 6 7 8 9 10))' '(1 2 3 4 5 6 7 8 9 10)'
prints 'comments and blanks' '(write ;; a comment
    (quote (1 . ; another
    2)))' '(1 . 2)'
prints 'redefining what the prelude uses' '(define (fold . x) 0) (define (reverse x) 0) (write (map - (list 1 2)))' \
    '(-1 -2)'
prints 'lists as long as memory allows' \
    "(define (make n l) (if (= n 0) l (make (- n 1) (cons n l))))
    (write (fold + 0 (map (lambda (x) 1) (append (make 200000 '()) (make 100000 '())))))" '300000'

prints 'integers from reals, as long as they fit' \
    '(write (list (exact 1.1e18) (exact 1e18) (exact -1e18) (exact 1152921504606846720.0) (exact -1152921504606846976.0)
    (truncate 2251799813685248.5) (quotient 7.0 2) (modulo -7 2.0) (remainder 7.0 -2.0)))' \
    '(1100000000000000000 1000000000000000000 -1000000000000000000 1152921504606846720 -1152921504606846976 2251799813685248.0 3.0 1.0 1.0)'
cat >"$tmp/program.scm" <<'SCM'
(define s (string #\a (integer->char 0) #\b))
(display s)
(write (list (string-length s) (eq? (string->symbol s) (string->symbol "a"))
             (string->number (string-append "5" (string (integer->char 0))))))
SCM
printf '%s' 'a?b(3 #f #f)' >"$tmp/expected"
"$lisp" "$tmp/program.scm" | tr '\000' '?' >"$tmp/actual"
same 'a zero byte in a text' "$tmp/expected" "$tmp/actual"
circle="(define c (list 1 2 3)) (set-cdr! (cddr c) c)"
prints 'a list that goes round' "$circle (define d (cons 0 c)) (define e (list 1)) (set-cdr! e e)
    (write (list (list? c) (list? d) (list? e) (list? '(1 2)) (list? '(1 . 2)))) (write e) (write (list c))" \
    '(#f #f #f #t #f)(1 1 1 ...)((1 2 3 1 2 3 1 ...))'
for form in '(length c)' '(apply + c)' '(list->vector c)' '(reverse c)' '(map car c)' '(for-each car (cons 1 c))' '(append c c)' \
    '(member 9 c)' '(memv 9 c)' '(assoc 9 (let ((a (list (list 1)))) (set-cdr! a a) a))' '(equal? c (cons 1 (cdr c)))' '(fold + 0 c)' \
    '(filter car c)' "(list->string (let ((a (list #\\a))) (set-cdr! a a) a))" '(map + c c)' '(vector-map car c)'; do
    printf '%s\n%s\n' "$circle" "$form" >"$tmp/program.scm"
    timeout 20 "$lisp" "$tmp/program.scm" >"$tmp/out" 2>"$tmp/err"
    check "$form ends" test $? -eq 1
done

# symbols: the table grows, and those that are forgotten go
cat >"$tmp/program.scm" <<'SCM'
(define (symbols n) (if (> n 0) (begin (string->symbol (string-append "s" (number->string n))) (symbols (- n 1)))))
(define kept (let loop ((n 20000) (l '())) (if (= n 0) l (loop (- n 1) (cons (string->symbol (number->string n)) l)))))
(symbols 300000)
(write (let check ((n 1) (l kept)) (if (null? l) n (and (eq? (car l) (string->symbol (number->string n))) (check (+ n 1) (cdr l))))))
(define later 5)
(symbols 100000)
(write (list later (eq? 'a (string->symbol "a")) (eq? (gensym) (gensym))))
SCM
GOMEM_GOGC=20 timeout 60 "$lisp" -v "$tmp/program.scm" >"$tmp/actual" 2>"$tmp/err"
printf '20001(5 #t #f)' >"$tmp/expected"
same 'symbols are one, as long as they are known' "$tmp/expected" "$tmp/actual"
live=$(sed -n 's/.* \([0-9]*\)\.[0-9] MiB live.*/\1/p' "$tmp/err")
check 'symbols that are forgotten go' test "${live:-99}" -lt 24

# long programs: many clauses, elements, bindings and forms
python=$(command -v python3) && {
    "$python" - "$tmp/program.scm" <<'PY'
import sys
n = 2000
with open(sys.argv[1], "w") as f:
    f.write("(define (f x) (cond " + " ".join(f"((= x {i}) {i * 2})" for i in range(n)) + " (else 'none)))\n")
    f.write("(write (list (f 0) (f 1999) (f 2000)))\n")
    f.write("(define (g x) (case x " + " ".join(f"(({i}) {i})" for i in range(n // 2)) + "))\n(write (g 999))\n")
    f.write("(write (length `(" + " ".join(f",(+ {i} 1) x" for i in range(30000)) + " ,@'(1 2) . ,'())))\n")
    f.write("(write (let* (" + " ".join(f"(a{i} {i})" for i in range(300)) + ") a299))\n")
    f.write("(write (+ " + "1 " * 50000 + "))\n(write (begin " + "1 " * 50000 + "2))\n")
    f.write("(write (or " + "#f " * 50000 + "3))\n" + "".join(f"(define v{i} {i})\n" for i in range(20000)) + "(write v19999)\n")
PY
    timeout 60 "$lisp" "$tmp/program.scm" >"$tmp/actual" 2>&1
    printf '(0 3998 none)99960002299500002319999' >"$tmp/expected"
    same 'a long program' "$tmp/expected" "$tmp/actual"
}

# -- errors
fails 'a wrong type' '(define (f x)\n  (car x))\n\n(f 5)' 2 'car: argument 1 is not a pair: 5'
fails 'an unknown variable' '(display\n  (+ 1 unknown))' 2 'unknown is not defined'
fails 'a variable of a body before its definition' '(let ()\n(define a b)\n(define b 1) a)' 2 'b is not defined'
fails 'too few arguments' '(define (f x y) x)\n(f 1)' 2 'too few arguments (1): #<procedure f>'
fails 'too many arguments' '(car 1 2)' 1 'too many arguments (2): #<procedure car>'
fails 'calling what is no procedure' '\n(1 2)' 2 'not a procedure: 1'
fails 'an index out of range' '(vector-ref (vector 1 2) 2)' 1 'vector-ref: argument 2 is not in range: 2'
fails 'a division by zero' '(quotient 1 0)' 1 'quotient: argument 2 is not a possible divisor: 0'
fails 'a division of integers by zero' '(/ 1 0)' 1 '/: argument 2 is not a possible divisor: 0'
fails 'an integer that does not fit' '(exact 1.2e18)' 1 'exact: argument 1 is not a whole number that fits an integer: 1.2e+18'
fails 'error' '\n(error "no such thing:" 1 "two")' 2 'no such thing:: (1 "two")'
fails 'bad syntax' '(define x 1)\n(if)' 2 'bad syntax: (if)'
fails 'bad syntax in a macro' '(let ((x)) x)' 1 'bad syntax: (let ((x)) x)'
fails 'an unexpected )' '(display 1))' 1 'unexpected )'
fails 'a list without an end' '\n(display (+ 1 2)' 2 'the input ends inside this form'
fails 'a string without an end' '(display\n"abc' 2 'this string has no end'
fails 'endless recursion' '(define (f n)\n  (+ 1 (f n)))\n(f 0)' 2 'more than 10000 nested levels'
fails 'printing what is nested too deeply' "(define (nest n l) (if (= n 0) l (nest (- n 1) (list l))))
(write (nest 100000 '()))" 2 'more than 10000 nested levels'
printf '%s\n' "(define (nest n l) (if (= n 0) l (nest (- n 1) (list l))))
(display (equal? (nest 100000 '()) (nest 100000 '())))" >"$tmp/program.scm"
"$lisp" "$tmp/program.scm" >"$tmp/out" 2>"$tmp/err"
check 'comparing what is nested too deeply: status' test $? -eq 1
has 'comparing what is nested too deeply: message' "$tmp/err" 'more than 10000 nested levels'
awk 'BEGIN { for (i = 0; i < 100000; i++) printf "(" }' >"$tmp/nested.scm"
"$lisp" "$tmp/nested.scm" >"$tmp/out" 2>"$tmp/err"
check 'reading what is nested too deeply: status' test $? -eq 1
has 'reading what is nested too deeply: message' "$tmp/err" ' nested levels'
fails 'a vector larger than memory' '(make-vector 100000000000000000 0)' 1 'out of memory'
"$lisp" "$tmp/absent.scm" >"$tmp/out" 2>"$tmp/err"
check 'a program that is not there: status' test $? -eq 1
has 'a program that is not there: message' "$tmp/err" "lisp: cannot open $tmp/absent.scm: "
"$lisp" examples >"$tmp/out" 2>"$tmp/err"
check 'a folder: status' test $? -eq 1
has 'a folder: message' "$tmp/err" 'lisp: cannot read examples: '
if [ -w /dev/full ]; then
    for form in '(display "hello")' '(define (f) (display "hello") (f)) (f)' '(define (f) (newline) (f)) (f)' \
        '(display 1) (exit 0)' '(write 2) (exit 3)'; do
        printf '%s\n' "$form" >"$tmp/program.scm"
        timeout 20 "$lisp" "$tmp/program.scm" >/dev/full 2>"$tmp/err"
        check "a full device, $form: status" test $? -eq 1
        has "a full device, $form: message" "$tmp/err" 'lisp: cannot write: '
    done
    printf '(+ 1 2)\n' | "$lisp" >/dev/full 2>"$tmp/err"
    check 'a full device, from the loop: status' test $? -eq 1
else
    echo 'SKIP lisp: there is no /dev/full'
    skipped=$((skipped + 1))
fi

# stacks of all sizes: an error, and the recursion that fits
cat >"$tmp/program.scm" <<'SCM'
(define (f n) (if (= n 0) 0 (+ 1 (f (- n 1)))))
(write (f 50))
(define (nest n l) (if (= n 0) l (nest (- n 1) (list l))))
(write (f 9000))
(define l (nest 9000 '()))
(write (equal? l l))
SCM
for kib in 128 256 1024 4096; do
    (ulimit -s $kib && exec timeout 20 "$lisp" "$tmp/program.scm") >"$tmp/out" 2>"$tmp/err"
    check "a stack of $kib KiB: status" test $? -le 1
    check "a stack of $kib KiB: what fits" test "$(head -c 2 "$tmp/out")" = 50
    [ -s "$tmp/err" ] && has "a stack of $kib KiB: message" "$tmp/err" ' nested levels'
done
"$lisp" -x >"$tmp/out" 2>"$tmp/err"
check 'unknown option: status' test $? -eq 2
has 'unknown option: usage' "$tmp/err" 'usage: lisp'
"$lisp" examples/lisp/tak.scm examples/lisp/fib.scm >"$tmp/actual"
cat examples/lisp/tak.out examples/lisp/fib.out >"$tmp/expected"
same 'two programs' "$tmp/expected" "$tmp/actual"
printf '(display "bye")\n(exit 3)\n(display "not seen")' >"$tmp/program.scm"
"$lisp" "$tmp/program.scm" >"$tmp/actual"
check 'exit: status' test $? -eq 3

# -- the read-eval-print loop: an error ends its line only
printf '(+ 1 2)\n(car 1) 4\n"text"\n)\n(define x 5)\nx\n' | "$lisp" >"$tmp/actual" 2>"$tmp/err"
check 'loop: status' test $? -eq 0
printf '3\n"text"\n5\n' >"$tmp/expected"
same 'loop: values' "$tmp/expected" "$tmp/actual"
printf 'input:2: car: argument 1 is not a pair: 1\ninput:4: unexpected )\n' >"$tmp/expected"
same 'loop: errors' "$tmp/expected" "$tmp/err"
finish
