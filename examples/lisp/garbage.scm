; Allocates gigabytes and lives in a few megabytes: nearly everything it makes is garbage soon.
; Run it with `lisp -v` to see how much was allocated, and the most memory there ever was.

; What lives through it all: a list and a tree, looked at again at the end.
(define kept (let loop ((i 0) (l '())) (if (= i 1000) l (loop (+ i 1) (cons i l)))))

(define (tree depth)
  (if (= depth 0) 'leaf (vector (tree (- depth 1)) depth (tree (- depth 1)))))

(define (leaves t)
  (if (vector? t) (+ (leaves (vector-ref t 0)) (leaves (vector-ref t 2))) 1))

(define kept-tree (tree 10))

; Vectors of 8 kB, 250,000 of them: 2 GB.
(define (many-vectors n sum)
  (if (= n 0)
      sum
      (let ((v (make-vector 1000 n)))
        (vector-set! v 1 (+ (vector-ref v 0) 1))
        (many-vectors (- n 1) (+ sum (- (vector-ref v 1) (vector-ref v 999)))))))

; Strings of up to 20 kB: each append makes a new one.
(define (many-strings n sum)
  (if (= n 0)
      sum
      (let loop ((text "0123456789") (left 11))
        (if (= left 0)
            (many-strings (- n 1) (+ sum (string-length text)))
            (loop (string-append text text) (- left 1))))))

; Small trees: pairs of vectors, and frames of variables for each call.
(define (many-trees n sum)
  (if (= n 0)
      sum
      (many-trees (- n 1) (+ sum (leaves (tree 6))))))

; A queue: what is added at one end is dropped at the other, old objects die in the middle.
(define (churn n queue end)
  (let ((cell (list n)))
    (set-cdr! end cell)
    (if (= n 0)
        (length queue)
        (churn (- n 1) (cdr queue) cell))))

(define (show what value)
  (display what)
  (display ": ")
  (write value)
  (newline))

(show "vectors" (many-vectors 250000 0))
(show "strings" (many-strings 15000 0))
(show "trees" (many-trees 4000 0))
(let ((start (append kept '())))
  (show "queue" (churn 300000 start (list-tail start 999))))
(show "kept list" (fold + 0 kept))
(show "kept tree" (leaves kept-tree))
