// The Go twin of pool.c, with sync.Pool: modes 0 and 2.
package main

import (
	"fmt"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type object struct{ words [8]uint64 }

const (
	pairCount = 4000000
	batch     = 256
	ringSize  = 64
	windows   = 7
)

var objects = sync.Pool{New: func() any { return new(object) }}

func pairs(n int) {
	for i := 0; i < n; i++ {
		o := objects.Get().(*object)
		o.words[0] = uint64(i)
		objects.Put(o)
	}
}

func median(times []float64) float64 {
	sort.Float64s(times)
	return times[len(times)/2]
}

func pairsOn(threads int) {
	slowest := make([]float64, threads)
	var ready, done sync.WaitGroup
	ready.Add(threads)
	for t := range slowest {
		done.Add(1)
		go func(t int) {
			runtime.LockOSThread()
			defer done.Done()
			pairs(pairCount / 10)
			ready.Done()
			ready.Wait()
			times := make([]float64, windows)
			for w := range times {
				start := time.Now()
				pairs(pairCount)
				times[w] = float64(time.Since(start).Nanoseconds()) / pairCount
			}
			slowest[t] = median(times)
		}(t)
	}
	done.Wait()
	sort.Float64s(slowest)
	fmt.Printf("pair %.6g\n", slowest[threads-1])
}

var ring [ringSize][batch]*object
var filled, emptied atomic.Uint64

func waitPast(counter *atomic.Uint64, value uint64) {
	for counter.Load() < value {
		runtime.Gosched()
	}
}

func handToHand(total uint64) uint64 {
	start := time.Now()
	go func() {
		for n := uint64(0); n < total; n++ {
			if n >= ringSize {
				waitPast(&emptied, n-ringSize+1)
			}
			for i := range ring[n%ringSize] {
				o := objects.Get().(*object)
				o.words[0] = n + uint64(i)
				ring[n%ringSize][i] = o
			}
			filled.Store(n + 1)
		}
	}()
	sum := uint64(0)
	for n := uint64(0); n < total; n++ {
		waitPast(&filled, n+1)
		for _, o := range ring[n%ringSize] {
			sum += o.words[0]
			objects.Put(o)
		}
		emptied.Store(n + 1)
	}
	fmt.Printf("handed %.6g\n", float64(time.Since(start).Nanoseconds())/float64(total*batch))
	return sum
}

func main() {
	check := uint64(0)
	if option("mode", 0) == 0 {
		pairsOn(option("threads", 1))
	} else {
		check = handToHand(uint64(option("batches", 40000)))
	}
	fmt.Println("rss_kb", peak())
	fmt.Println("check", check%1000003)
}
