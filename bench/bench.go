// What the Go twins share: options of the form name=value, and the peak of resident memory.
package main

import (
	"os"
	"strconv"
	"strings"
)

func option(name string, otherwise int) int {
	for _, arg := range os.Args[1:] {
		if value, found := strings.CutPrefix(arg, name+"="); found {
			n, _ := strconv.Atoi(value)
			return n
		}
	}
	return otherwise
}

// The most memory that was resident at once, in KiB.
func peak() string {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	return strings.Fields(rest)[0]
}
