#!/bin/sh
# The attacks of attacks.c on the override with GOMEM_HARDENED: each ends in the line that its comment says.
# Then tests of tests/api with that option.
#
#     tests/hardened/run.sh                   the tests
#     tests/hardened/run.sh beside FILE.so..  a table: gomem with and without the option, libc, and other
#                                             allocators that LD_PRELOAD takes; what is absent is left out
cd "$(dirname "$0")/../.." || exit 2
cc=${CC:-cc} out=build/hardened
[ "$cc" = cc ] && command -v clang >/dev/null 2>&1 && cc=clang
passed=0 failed=0
mkdir -p $out

# library NAME FLAGS...: gomem as an override.
library() {
    name=$1
    shift
    $cc -std=c11 -pthread -I. -O0 -w -fPIC -fvisibility=hidden -shared -DGOMEM_IMPLEMENTATION \
        -DGOMEM_MALLOC_OVERRIDE "$@" -o "$out/$name.so" -x c gomem.h || exit 1
}

# run LIBRARY ATTACK: its output in $out/said and $out/err. Returns its status.
run() {
    # In the background, where the shell says nothing of a program that was aborted.
    LD_PRELOAD=$1 timeout -k 5 60 $out/attacks "$2" >$out/said 2>$out/err </dev/null &
    wait $! 2>/dev/null
}

library hardened -DGOMEM_HARDENED
$cc -std=c11 -O0 -w tests/hardened/attacks.c -o $out/attacks || exit 1
names=$(sed -n 's|^// \([a-z_]*\): .*|\1|p' tests/hardened/attacks.c)

if [ "$1" = beside ]; then
    shift
    library default
    for allocator in $out/hardened.so $out/default.so libc "$@"; do
        if [ "$allocator" = libc ]; then preload=; else preload=$allocator; fi
        [ -z "$preload" ] || [ -f "$preload" ] || { echo "$allocator: absent, skipped"; continue; }
        caught=0 all=0 line=
        for name in $names; do
            run "$preload" "$name"
            status=$?
            all=$((all + 1))
            case $status in
            0) line="$line $name:quiet" ;;
            7) line="$line $name:reached" ;;
            *)
                caught=$((caught + 1))
                [ -s $out/err ] && line="$line $name:told" || line="$line $name:died"
                ;;
            esac
        done
        run "$preload" distance
        echo "$allocator: $caught of $all;$line; neighbors: $(cat $out/said) of 1000"
    done
    exit
fi

for name in $names; do
    run $out/hardened.so "$name"
    status=$?
    pointer=$(sed -n 's/^P=//p' $out/said)
    wanted=$(sed -n "s|^// $name: ||p" tests/hardened/attacks.c | sed "s/P\$/$pointer/")
    if [ $status = 134 ] && grep -Eq "^gomem: .*($wanted)" $out/err; then
        passed=$((passed + 1))
    else
        echo "FAIL hardened/$name: status $status, expected 134 and: $wanted"
        head -n 3 $out/err
        failed=$((failed + 1))
    fi
done
run $out/hardened.so distance
if [ "$(cat $out/said)" -lt 200 ]; then passed=$((passed + 1)); else
    echo "FAIL hardened/distance: $(cat $out/said) of 1000 pairs are neighbors"
    failed=$((failed + 1))
fi

# A C++ program: operators new and delete are the library's, too.
if ${CXX:-c++} -std=c++17 -O1 -w -o $out/operators tests/preload/operators.cc 2>/dev/null; then
    $out/operators >$out/plain 2>&1
    if LD_PRELOAD=$out/hardened.so timeout -k 5 60 $out/operators >$out/said 2>$out/err &&
        cmp -s $out/plain $out/said; then
        passed=$((passed + 1))
    else
        echo "FAIL hardened/operators"
        head -n 3 $out/err
        failed=$((failed + 1))
    fi
fi

# The tests of what the option changes, at level 0.
flags="-std=c11 -pthread -I. -Itests -O0 -w -DGOMEM_HARDENED -DGOMEM_CHECK=0"
$cc $flags -c tests/gomem.c -o $out/gomem.o || exit 1
for test in alloc realloc typed collected pool arena; do
    if $cc $flags tests/api/$test.c $out/gomem.o -o $out/$test >$out/log 2>&1 &&
        timeout -k 5 120 $out/$test >$out/log 2>&1; then
        passed=$((passed + 1))
    else
        echo "FAIL hardened/$test"
        grep -v '\.\.\. ok' $out/log | tail -n 8
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
