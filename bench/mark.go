// The Go twin of mark.c: 2^21 live objects of two pointers, runtime.GC() timed; GOMAXPROCS is
// the number of workers. Go marks beside the program, which does nothing here but wait.
package main

import (
	"fmt"
	"math/rand"
	"runtime"
	"runtime/debug"
	"sort"
	"time"
)

type node struct{ left, right *node }

const (
	levels  = 21
	objects = 1 << levels
	roots   = 16
)

var kept [roots]*node

func list(n int) *node {
	var head *node
	for i := 0; i < n; i++ {
		head = &node{left: head}
	}
	return head
}

func tree(levels int) *node {
	p := &node{}
	if levels > 1 {
		p.left = tree(levels - 1)
		p.right = tree(levels - 1)
	}
	return p
}

func shuffled(n int) *node {
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = &node{}
	}
	order := rand.New(rand.NewSource(42)).Perm(n)
	for i := 0; i+1 < n; i++ {
		nodes[order[i]].left = nodes[order[i+1]]
	}
	return nodes[order[0]]
}

func main() {
	runtime.GOMAXPROCS(option("workers", 1))
	debug.SetGCPercent(-1)
	switch shape := option("shape", 0); shape {
	case 0:
		kept[0] = list(objects)
	case 1:
		kept[0] = tree(levels)
	case 4:
		kept[0] = shuffled(objects)
	default:
		for i := range kept {
			if shape == 2 {
				kept[i] = tree(levels - 4)
			} else {
				kept[i] = list(objects / roots)
			}
		}
	}
	cycles := option("cycles", 9)
	times := make([]float64, cycles)
	for i := range times {
		start := time.Now()
		runtime.GC()
		times[i] = float64(time.Since(start).Nanoseconds())
	}
	sort.Float64s(times)
	fmt.Printf("cycle %.6g\n", times[cycles/2]/objects)
	fmt.Printf("rss_kb %s\n", peak())
	runtime.KeepAlive(kept)
}
