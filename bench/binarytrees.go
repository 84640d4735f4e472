// The Go twin of binarytrees.c: one goroutine, the collector as it comes.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

type node struct{ left, right *node }

func treeMake(depth int) *node {
	t := &node{}
	if depth > 0 {
		t.left = treeMake(depth - 1)
		t.right = treeMake(depth - 1)
	}
	return t
}

func (t *node) check() int {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.check() + t.right.check()
}

func main() {
	depth := 20
	if len(os.Args) > 1 {
		depth, _ = strconv.Atoi(strings.TrimPrefix(os.Args[1], "depth="))
	}
	check := treeMake(depth + 1).check()
	kept := treeMake(depth)
	for d := 4; d <= depth; d += 2 {
		for i := 0; i < 1<<(depth-d+4); i++ {
			check += treeMake(d).check()
		}
	}
	check += kept.check()
	report := os.Stdout
	if path := os.Getenv("BENCH_REPORT"); path != "" {
		report, _ = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	}
	fmt.Fprintf(report, "rss_kb %s\ncheck %d\n", peak(), check%1000003)
}
