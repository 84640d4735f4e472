// The Go twin of new.c's churn mode: new(T) that escapes and is dropped at once, GOGC at its
// default.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"time"
)

type object16 struct{ words [2]*byte }
type object32 struct{ words [4]*byte }
type object48 struct{ words [6]*byte }
type object64 struct{ words [8]*byte }

var (
	sink16 *object16
	sink32 *object32
	sink48 *object48
	sink64 *object64
)

func measure(size, n int, run func(n int)) {
	windows := make([]float64, 7)
	run(n / 10)
	for w := range windows {
		start := time.Now()
		run(n)
		windows[w] = float64(time.Since(start).Nanoseconds()) / float64(n)
	}
	sort.Float64s(windows)
	fmt.Printf("new.%d %.6g\n", size, windows[len(windows)/2])
}

func main() {
	n := 2000000
	if len(os.Args) > 1 {
		n, _ = strconv.Atoi(os.Args[1])
	}
	measure(16, n, func(n int) {
		for i := 0; i < n; i++ {
			sink16 = new(object16)
		}
	})
	measure(32, n, func(n int) {
		for i := 0; i < n; i++ {
			sink32 = new(object32)
		}
	})
	measure(48, n, func(n int) {
		for i := 0; i < n; i++ {
			sink48 = new(object48)
		}
	})
	measure(64, n, func(n int) {
		for i := 0; i < n; i++ {
			sink64 = new(object64)
		}
	})
	fmt.Printf("rss_kb %s\n", peak())
}
