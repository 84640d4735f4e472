#!/bin/sh
# The first program of the README, built in each way and run in each kind of process: its cycles end,
# and its peak of resident memory is at most 1.5 times that of the plain run.
#
#     tests/process/matrix.sh [part of a row's name]
#
# Rows that this machine cannot do are skipped with a word. SHORT=1 runs a part of them, on an
# implementation without optimisation.
cd "$(dirname "$0")/../.." || exit 2
CC=${CC:-cc} MUSL=${MUSL:-musl-gcc}
here=tests/process out=build/process only=${1-} passed=0 failed=0 skipped=0 plain=0
mkdir -p $out/empty
parts="-DGOMEM_NO_POOL -DGOMEM_NO_ARENA -DGOMEM_NO_ESCAPE"

optimise=-O1
[ -z "$SHORT" ] || optimise=-O0 CC=$(tests/quick)

if command -v timeout >/dev/null 2>&1; then bound="timeout -k 5 60"; else bound=; fi

skip() { echo "SKIP $1: $2"; skipped=$((skipped + 1)); }
fail() {
    echo "FAIL $1: $2"
    sed 's/^/    /' "$3" | tail -n 8
    failed=$((failed + 1))
}
wanted() { case $1 in *"$only"*) true ;; *) false ;; esac; }
long() { [ -z "$SHORT" ]; }

# build NAME COMPILER FLAGS [LINK FLAGS]: the object of gomem once per compiler and flags.
build() {
    object=$out/gomem-$(echo "$2 $3" | tr -c 'a-zA-Z0-9\n' -).o
    if [ ! -f "$object.done" ]; then
        # shellcheck disable=SC2086
        $2 -std=c11 $optimise -w -I. $3 $parts -c -o "$object" tests/gomem.c >"$out/log" 2>&1 || return 1
        : >"$object.done"
    fi
    # The kernel's headers are not among musl's own.
    # shellcheck disable=SC2086
    $2 -std=c11 -O1 -w -I. -idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch 2>&1)" \
        $3 $4 $parts -pthread -o "$out/$1" "$out/example.c" $here/before.c $5 "$object" >"$out/log" 2>&1
}

# row NAME PROGRAM [BEFORE [COMMAND]]
row() {
    wanted "$1" || return 0
    # shellcheck disable=SC2086
    BEFORE=${3-} GOMEM_DEBUG=gctrace=1${collector:+,collector=$collector} \
        $bound "$out/peak" ${4-} "$out/$2" >"$out/peak.out" 2>"$out/trace"
    read -r status peak <"$out/peak.out" || status=127
    cycles=$(grep -c '^gc [0-9]' "$out/trace")
    [ "$1" = plain ] && plain=$peak
    if [ "$status" = 77 ]; then skip "$1" "this system cannot"
    elif [ "$status" != 0 ]; then fail "$1" "exit status $status" "$out/trace"
    elif ! grep -qx 9999000 "$out/trace"; then fail "$1" "wrong result" "$out/trace"
    elif [ "$cycles" -lt 10 ]; then fail "$1" "$cycles cycles, peak $peak KB" "$out/trace"
    elif [ $((peak * 2)) -gt $((plain * 3)) ]; then
        fail "$1" "a peak of $peak KB, $plain in the plain run, $cycles cycles" "$out/trace"
    else
        echo "$1 ... ok ($cycles cycles, $peak KB)"
        passed=$((passed + 1))
    fi
}

# built NAME COMPILER FLAGS LINK: builds and runs.
built() {
    wanted "$1" || return 0
    if build "$@"; then row "$1" "$1"; else skip "$1" "does not link: $(head -n 1 $out/log)"; fi
}

awk '/^```c$/ { code = 1; text = ""; next }
    /^```$/ && code { code = 0; if (text ~ /int main\(/) { printf "%s", text; exit } next }
    { text = text $0 "\n" }' README.md | sed 's/^#define GOMEM_IMPLEMENTATION.*//' >$out/example.c
rm -f $out/*.done
$CC -std=gnu11 -O1 -w -o $out/peak $here/peak.c || exit 2

part=$only only=
build plain "$CC" "-fPIE" -pie || { fail plain "does not build" $out/log; exit 1; }
row plain plain # what the others are compared with
only=$part
built position-dependent "$CC" "-fno-pie" -no-pie
built static "$CC" "-fno-pie" "-no-pie -static"
built static-pie "$CC" "-fPIE" -static-pie
long && built link-time-optimisation "$CC" "-flto -fPIE" -pie
long && built unoptimised "$CC" "-O0 -fPIE" -pie
if command -v "$MUSL" >/dev/null 2>&1; then
    long && built musl "$MUSL" "-fPIE" -pie
    long && built musl-position-dependent "$MUSL" "-fno-pie" -no-pie
    long && built musl-static "$MUSL" "-fno-pie" "-no-pie -static"
else
    skip musl "no $MUSL"
fi
loader=$(readelf -lW $out/plain 2>/dev/null | sed -n 's/.*interpreter: \(.*\)]/\1/p')
if [ -n "$loader" ]; then long && row run-by-the-loader position-dependent "" "$loader"; fi

if wanted after-main-has-ended; then
    sed -i 's/int main(void)/int example(void)/' $out/example.c
    if build late "$CC" "-fPIE" -pie $here/late.c; then row after-main-has-ended late; fi
    sed -i 's/int example(void)/int main(void)/' $out/example.c
fi

if [ "$(id -u)" = 0 ]; then
    row chroot-without-proc plain "chroot:$out/empty"
    row setuid plain setuid:65534
    long && row static-chroot static "chroot:$out/empty"
else
    skip "chroot-without-proc and setuid" "needs root"
fi
row stack-limit-raised plain stack:536870912
(ulimit -s unlimited) 2>/dev/null && { (ulimit -s unlimited; row stack-unlimited plain) >$out/sub; cat $out/sub; }

some="userfaultfd process_vm_readv sched_getaffinity ioctl"
more="membarrier memfd_create mremap madvise openat fcntl tgkill prlimit64 sched_yield msync statx
    lseek ftruncate sigaltstack mincore clone3 read getpid"
long || more=
for call in $some $more; do
    for error in 1 38; do # EPERM, ENOSYS
        row "refused-$call-$error" plain "refuse:$call:$error"
    done
done
for collector in tracked barrier stw; do # by name: a small heap is marked in one stop otherwise
    long && row "$collector" plain
    long && row "position-dependent-$collector" position-dependent
    long && row "refused-process_vm_readv-$collector" plain refuse:process_vm_readv:1
    long && row "refused-memfd_create-$collector" plain refuse:memfd_create:1
    long && [ "$(id -u)" = 0 ] && row "chroot-without-proc-$collector" plain "chroot:$out/empty"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
