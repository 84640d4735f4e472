// The Go twin of latency.c: the same tree and operations, GOGC at its default, a goroutine in the
// place of each thread; the histogram has the buckets of histogram.h.
package main

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"time"
)

type node struct {
	left, right *node
	place       uint64
	payload     [3]uint64
}

const (
	subtree = 8 // levels: 255 nodes
	step    = 32
	buckets = 60 * step
)

type histogram struct {
	counts       [buckets]uint64
	total, worst uint64
}

func (h *histogram) add(ns uint64) {
	bucket := ns
	if ns >= step {
		shift := uint64(bits.Len64(ns)) - 6
		bucket = shift*step + ns>>shift
	}
	h.counts[bucket]++
	h.total++
	h.worst = max(h.worst, ns)
}

func edge(bucket uint64) uint64 {
	if bucket < 2*step {
		return bucket
	}
	shift := bucket/step - 1
	return (bucket-shift*step+1)<<shift - 1
}

func (h *histogram) quantile(perMille uint64) uint64 {
	rank, seen := (h.total*perMille+999)/1000, uint64(0)
	for i, n := range h.counts {
		seen += n
		if seen >= rank && seen > 0 {
			return min(edge(uint64(i)), h.worst)
		}
	}
	return h.worst
}

var (
	root  *node
	upper int // levels above the subtrees
)

func treeMake(levels int, place uint64) *node {
	t := &node{place: place}
	for i := range t.payload {
		t.payload[i] = place
	}
	if levels > 1 {
		t.left = treeMake(levels-1, 2*place)
		t.right = treeMake(levels-1, 2*place+1)
	}
	return t
}

func (t *node) check(levels int, place uint64) uint64 {
	if t.place != place || t.payload[2] != place {
		panic(fmt.Sprint("node ", place, " is lost"))
	}
	if levels == 1 {
		return 1
	}
	return 1 + t.left.check(levels-1, 2*place) + t.right.check(levels-1, 2*place+1)
}

func operation(number uint64) {
	slot := &root
	for level := upper - 1; level >= 0; level-- {
		if number>>level&1 != 0 {
			slot = &(*slot).right
		} else {
			slot = &(*slot).left
		}
	}
	*slot = treeMake(subtree, (*slot).place)
}

func random(state *uint64) uint64 {
	x := *state
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	*state = x
	return x * 2685821657736338717
}

func run(h *histogram, first, count, seed uint64, start time.Time, length time.Duration) {
	for before := time.Since(start); before < length; {
		operation(first + random(&seed)>>32*count>>32)
		now := time.Since(start)
		h.add(uint64(now - before))
		before = now
	}
}

func main() {
	nodes := uint64(option("nodes", 1<<24))
	length := time.Duration(option("ms", 20000)) * time.Millisecond
	threads := uint64(option("threads", 1))
	levels := bits.Len64(nodes) - 1
	upper = levels - subtree
	root = treeMake(levels, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	times := make([]histogram, threads)
	var group sync.WaitGroup
	start := time.Now()
	for i := uint64(0); i < threads; i++ {
		first := uint64(1) << upper * i / threads
		count := uint64(1)<<upper*(i+1)/threads - first
		group.Add(1)
		go func() {
			defer group.Done()
			run(&times[i], first, count, i+1, start, length)
		}()
	}
	group.Wait()
	runtime.ReadMemStats(&after)
	all := &times[0]
	for i := range times[1:] {
		for bucket, n := range times[i+1].counts {
			all.counts[bucket] += n
		}
		all.total += times[i+1].total
		all.worst = max(all.worst, times[i+1].worst)
	}
	fmt.Printf("cycles %d\nops %.6g\n", after.NumGC-before.NumGC,
		float64(all.total)/length.Seconds())
	for _, q := range []struct {
		name     string
		perMille uint64
	}{{"p50", 500}, {"p99", 990}, {"p999", 999}, {"worst", 1000}} {
		fmt.Printf("op.%s %.6g\n", q.name, float64(all.quantile(q.perMille))/1000)
	}
	fmt.Printf("rss_kb %s\ncheck %d\n", peak(), root.check(levels, 1)%1000003)
}
