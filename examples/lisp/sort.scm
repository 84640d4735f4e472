; Merge sort on lists.

(define (merge a b before?)
  (let loop ((a a) (b b) (merged '()))
    (cond ((null? a) (append (reverse merged) b))
          ((null? b) (append (reverse merged) a))
          ((before? (car b) (car a)) (loop a (cdr b) (cons (car b) merged)))
          (else (loop (cdr a) b (cons (car a) merged))))))

(define (take items n)
  (let loop ((items items) (n n) (taken '()))
    (if (= n 0) (reverse taken) (loop (cdr items) (- n 1) (cons (car items) taken)))))

(define (sort items before?)
  (let ((half (quotient (length items) 2)))
    (if (= half 0)
        items
        (merge (sort (take items half) before?)
               (sort (list-tail items half) before?)
               before?))))

(define (sorted? items before?)
  (or (null? items)
      (null? (cdr items))
      (and (not (before? (cadr items) (car items)))
           (sorted? (cdr items) before?))))

; A list of n numbers that look random.
(define (scrambled n)
  (let loop ((i 0) (x 12345) (items '()))
    (if (= i n)
        items
        (loop (+ i 1) (modulo (* x 16807) 2147483647) (cons x items)))))

(write (sort '(3 1 4 1 5 9 2 6 5 3 5 8 9 7 9) <)) (newline)
(write (sort '("pear" "fig" "apple" "olive") string<?)) (newline)
(write (sort '(1.5 -2 0.25 10 -7.75) >)) (newline)
(write (sort '((b 1) (a 1) (c 0)) (lambda (x y) (< (cadr x) (cadr y))))) (newline)

(define many (scrambled 20000))
(define result (sort many <))
(write (list (sorted? many <) (sorted? result <) (length result) (car result))) (newline)
