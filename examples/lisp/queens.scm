; All ways to place n queens on an n by n board so that none attacks another.

; A board is the list of the columns of the queens placed so far, the last row first.
(define (safe? column board)
  (let loop ((distance 1) (rest board))
    (or (null? rest)
        (let ((other (car rest)))
          (and (not (= other column))
               (not (= (abs (- other column)) distance))
               (loop (+ distance 1) (cdr rest)))))))

(define (place row n board found)
  (if (> row n)
      (cons board found)
      (let loop ((column 1) (found found))
        (cond ((> column n) found)
              ((safe? column board)
               (loop (+ column 1) (place (+ row 1) n (cons column board) found)))
              (else (loop (+ column 1) found))))))

(define (queens n) (reverse (place 1 n '() '())))

(define (draw board)
  (for-each (lambda (queen)
              (do ((column 1 (+ column 1)))
                  ((> column (length board)))
                (display (if (= column queen) " Q" " .")))
              (newline))
            board))

(do ((n 4 (+ n 1)))
    ((> n 8))
  (display (list n 'queens: (length (queens n)) 'ways))
  (newline))
(draw (car (queens 8)))
