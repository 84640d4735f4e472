; Proper tail calls: a million of them take no stack, however they are written.

(define (count n)
  (if (= n 0) 'done (count (- n 1))))

(define (my-even? n) (if (= n 0) #t (my-odd? (- n 1))))
(define (my-odd? n) (if (= n 0) #f (my-even? (- n 1))))

(define (in-cond n)
  (cond ((= n 0) 'cond)
        (else (in-cond (- n 1)))))

(define (in-and-or n)
  (or (= n 0) (and #t (in-and-or (- n 1)))))

(define (in-let n)
  (let* ((m (- n 1)) (again? (>= m 0)))
    (if again? (begin 'nothing (in-let m)) 'let)))

(define (in-apply n)
  (if (= n 0) 'apply (apply in-apply (list (- n 1)))))

; Continuations passed as closures: the stack becomes a chain on the heap.
(define (sum-to n then)
  (if (= n 0)
      (then 0)
      (sum-to (- n 1) (lambda (sum) (then (+ sum n))))))

(define million 1000000)
(write (count million)) (newline)
(write (my-even? million)) (newline)
(write (in-cond million)) (newline)
(write (in-and-or million)) (newline)
(write (in-let million)) (newline)
(write (in-apply million)) (newline)
(write (sum-to 100000 (lambda (sum) sum))) (newline)
(write (let loop ((i 0)) (if (< i million) (loop (+ i 1)) i))) (newline)
