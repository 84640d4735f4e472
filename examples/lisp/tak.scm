; Takeuchi's function, a classic exercise for procedure calls.

(define (tak x y z)
  (if (< y x)
      (tak (tak (- x 1) y z)
           (tak (- y 1) z x)
           (tak (- z 1) x y))
      z))

(display (tak 18 12 6))
(newline)

; The same with lists for numbers: their length is their value.
(define (count-down n)
  (if (= n 0) '() (cons n (count-down (- n 1)))))

(define (shorter? a b)
  (and (pair? b)
       (or (null? a) (shorter? (cdr a) (cdr b)))))

(define (list-tak x y z)
  (if (shorter? y x)
      (list-tak (list-tak (cdr x) y z)
                (list-tak (cdr y) z x)
                (list-tak (cdr z) x y))
      z))

(write (list-tak (count-down 12) (count-down 8) (count-down 4)))
(newline)
