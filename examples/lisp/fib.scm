; The Fibonacci numbers: the naive way makes a new frame of variables for each call.

(define (fib n)
  (if (< n 2)
      n
      (+ (fib (- n 1)) (fib (- n 2)))))

; The same in a loop, with numbers that grow beyond integers and become real.
(define (fib-loop n)
  (do ((i 0 (+ i 1))
       (a 0 b)
       (b 1 (+ a b)))
      ((= i n) a)))

(define (show name value)
  (display name)
  (display " = ")
  (display value)
  (newline))

(show "(fib 25)" (fib 25))
(show "(fib-loop 25)" (fib-loop 25))
(show "(fib-loop 80)" (fib-loop 80))
(show "(fib-loop 100)" (fib-loop 100))
