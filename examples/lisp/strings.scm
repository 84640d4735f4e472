; Strings, characters and symbols.

(define (show . values)
  (for-each (lambda (v) (write v) (display " ")) values)
  (newline))

; Splits a string into words.
(define (words text)
  (let loop ((letters (reverse (string->list text))) (word '()) (done '()))
    (define (finish) (if (null? word) done (cons (list->string word) done)))
    (cond ((null? letters) (finish))
          ((char-whitespace? (car letters)) (loop (cdr letters) '() (finish)))
          (else (loop (cdr letters) (cons (car letters) word) done)))))

(define (join strings between)
  (if (null? strings)
      ""
      (fold (lambda (s text) (string-append text between s)) (car strings) (cdr strings))))

(define (palindrome? text)
  (let ((letters (filter char-alphabetic? (string->list (string-downcase text)))))
    (equal? letters (reverse letters))))

(define text "the quick brown fox jumps over the lazy dog")

(show (words text))
(show (join (map string-upcase (words text)) "-"))
(show (palindrome? "A man, a plan, a canal: Panama") (palindrome? text))
(show (string-length text) (string-ref text 4) (substring text 4 9) (substring text 40))
(show (string<? "apple" "banana") (string<? "b" "a") (string=? "same" "same") (string<? "a" "ab"))
(show (string->number "42") (string->number "-1.5e3") (string->number "x") (number->string 3.0))
(show (string->symbol "hello") (symbol->string 'world) (eq? 'a (string->symbol "a")))
(show "a \"quoted\" string\nof two lines" #\a #\space #\newline (string #\x #\y))
(show "grüße, 世界")
(display "grüße, 世界")
(newline)

; A string built piece by piece: each piece is garbage at once.
(define (repeat text n)
  (let loop ((i 0) (result ""))
    (if (= i n) result (loop (+ i 1) (string-append result text)))))
(show (string-length (repeat "0123456789" 2000)))
