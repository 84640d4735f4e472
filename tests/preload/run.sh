#!/bin/sh
# Real programs with build/libgomem-malloc.so preloaded: their output is that of a run without it.
# Programs that are not installed are skipped with a word. SHORT=1: three of them, in seconds.
cd "$(dirname "$0")/../.." || exit 2
here=$PWD/tests/preload
limit=${LIMIT:-120}
. tests/runner
out=$PWD/build/preload

# same NAME PROGRAM SCRIPT: the shell script, run in a fresh folder, prints the same with and
# without the library and ends well. $run goes before the commands that are to be preloaded.
same() {
    name=$1 program=$2 script=$3 started=$(date +%s)
    if ! command -v "$program" >/dev/null 2>&1; then
        skip "$name" "$program is not installed"
        return
    fi
    for side in plain gomem; do
        rm -rf "$out/$name/$side"
        mkdir -p "$out/$name/$side/work"
        preload=
        [ $side = gomem ] && preload="LD_PRELOAD=$lib"
        (cd "$out/$name/$side/work" && run="env $preload" data="$out/data" here="$here" top="$PWD_TOP" \
            $bound sh -c "$script" >../out 2>../err </dev/null)
        echo $? >"$out/$name/$side/status"
    done
    status=$(cat "$out/$name/gomem/status")
    if [ "$(cat "$out/$name/plain/status")" != 0 ]; then
        skip "$name" "fails without the library too: $(tail -n 1 "$out/$name/plain/err")"
    elif [ "$status" != 0 ]; then
        fail "$name" "exit status $status: $(tail -n 3 "$out/$name/gomem/err")"
    elif grep -q '^gomem\|ld\.so' "$out/$name/gomem/err"; then
        fail "$name" "it said: $(grep '^gomem\|ld\.so' "$out/$name/gomem/err" | head -n 3)"
    elif ! cmp -s "$out/$name/plain/out" "$out/$name/gomem/out"; then
        fail "$name" "the output differs: $out/$name/plain/out and gomem/out"
    else
        pass "$name ($(($(date +%s) - started)) s)"
    fi
}

PWD_TOP=$PWD
export LC_ALL=C PYTHONHASHSEED=1
mkdir -p "$out"
if [ ! -f "$lib" ]; then
    fail "build" "there is no build/libgomem-malloc.so"
    total
fi
if ! env LD_PRELOAD="$lib" sh -c : 2>"$out/probe" || [ -s "$out/probe" ]; then
    fail "sh" "$(head -n 3 "$out/probe")"
    total
fi
lines=120000
[ -n "$SHORT" ] && lines=30000
awk -v n=$lines 'BEGIN { srand(7); for (i = 0; i < n; i++)
    printf "%d %x line %d of the file\n", rand() * 1e9, rand() * 1e9, i }' >"$out/data"

# What is freed twice, shortly after, is told: in C, and by delete.
freed_twice() {
    name=freed_twice_$2
    if ! command -v "$1" >/dev/null 2>&1; then
        skip "$name" "$1 is not installed"
        return
    fi
    mkdir -p "$out/$name"
    cat >"$out/$name/twice.$2"
    if ! "$1" -w -O0 -fno-builtin -o "$out/$name/twice" "$out/$name/twice.$2" 2>"$out/$name/err"; then
        fail "$name" "$(tail -n 3 "$out/$name/err")"
        return
    fi
    for way in 0 1 2 3; do
        # In the background, where the shell says nothing of a program that was aborted.
        LD_PRELOAD="$lib" "$out/$name/twice" $way >"$out/$name/out" 2>"$out/$name/err" &
        wait $! 2>/dev/null
        status=$?
        if [ $status != 134 ] || ! grep -q '^gomem: double free: 0x' "$out/$name/err"; then
            fail "$name $way" "exit status $status: $(cat "$out/$name/out" "$out/$name/err")"
            return
        fi
    done
    pass "$name"
}

freed_twice "${CC:-cc}" c <<'E'
#include <stdlib.h>
int main(int argc, char **argv) {
    int way = atoi(argv[1]);
    char *a = malloc(70), *b = malloc(70), *c = calloc(1, 70);
    free(a);
    if (way == 1) a = malloc(70), free(a);
    if (way >= 2) free(b);
    if (way == 3) free(c);
    free(a);
    return argc == 0;
}
E
freed_twice "${CXX:-c++}" cc <<'E'
#include <cstdlib>
#include <new>
struct thing { virtual ~thing() {} long key[8]; };
int main(int, char **argv) {
    int way = atoi(argv[1]);
    thing *a = new thing, *b = new thing, *c = new thing;
    ::operator delete(a);
    if (way == 1) a = new thing, ::operator delete(a);
    if (way >= 2) delete b;
    if (way == 3) delete c;
    ::operator delete(a);
    return 0;
}
E

# misuse NAME FROM PATTERN: all cases of misuse.c whose names begin with FROM end by abort, in the
# wrong call, with a line like PATTERN.
misuse() {
    mkdir -p "$out/misuse"
    missed=
    for case in $("$out/misuse_c" | grep "^$2" | grep -v "$4"); do
        LD_PRELOAD="$lib" "$out/misuse_c" "$case" >"$out/misuse/out" 2>"$out/misuse/err" &
        wait $! 2>/dev/null
        status=$?
        if [ $status != 134 ] || [ -s "$out/misuse/out" ] || ! grep -Eq "^gomem: .*$3" "$out/misuse/err" ||
            [ "$(wc -l <"$out/misuse/err")" != 1 ]; then
            missed="$missed $case: status $status: $(head -n 2 "$out/misuse/out" "$out/misuse/err")"
        fi
    done
    if [ -n "$missed" ]; then fail "misuse_$1" "$missed"; else pass "misuse_$1"; fi
}
if ${CC:-cc} -O1 -fno-builtin -w -pthread -o "$out/misuse_c" tests/preload/misuse.c 2>"$out/make"; then
    # Six of seven shapes: in the seventh the object has a second owner, who may free it so.
    misuse twice twice 'double free' owned
    misuse wild wild 'free of an? (interior|foreign|stack) pointer: 0x[0-9a-f]+ is ' none
else
    skip misuse "does not compile: $(head -n 1 "$out/make")"
fi

if ${CC:-cc} -O1 -fno-builtin -w -pthread -o "$out/libc_family" tests/preload/family.c 2>"$out/make"; then
    same family "$out/libc_family" '$run "$top/build/preload/libc_family"'
else
    skip family "does not compile: $(head -n 1 "$out/make")"
fi
# What the system refuses from some time on. Not compared: under the same limits libc's malloc gives
# less than the program asks for.
if ${CC:-cc} -O1 -fno-builtin -w -pthread -o "$out/refused_c" tests/preload/refused.c 2>"$out/make"; then
    for what in as data counted "mprotect 1" "mprotect 13" "madvise 1" "madvise 12" \
        "mremap 1" "munmap 12" "membarrier 1" "sched_getaffinity 1"; do
        # shellcheck disable=SC2086 # two arguments
        said=$($bound env LD_PRELOAD="$lib" "$out/refused_c" $what 2>&1)
        if [ "$said" = ok ]; then pass "refused $what"; else fail "refused $what" "$said"; fi
    done
else
    skip refused "does not compile: $(head -n 1 "$out/make")"
fi
# C++'s operators, and those of a plugin in a C program, which sees the C++ runtime alone.
if ${CXX:-c++} -std=c++17 -O1 -w -o "$out/operators_cc" tests/preload/operators.cc 2>"$out/make"; then
    defined=$(nm -D --defined-only "$lib" | grep -c ' T _Z[nd]')
    if [ "$defined" = 20 ]; then pass "operators_defined"; else fail "operators_defined" "$defined of 20"; fi
    same operators "$out/operators_cc" '$run "$top/build/preload/operators_cc"'
    ${CXX:-c++} -std=c++17 -O1 -w -shared -fPIC -Dmain=plugin_main -o "$out/operators.so" tests/preload/operators.cc
    echo '#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv) {
    void *plugin = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    int (*entry)(void) = plugin ? (int (*)(void))dlsym(plugin, "_Z11plugin_mainv") : NULL;
    return entry ? entry() : (puts(dlerror()), 1);
}' | ${CC:-cc} -w -x c - -o "$out/host" -ldl
    same plugin "$out/host" '$run "$top/build/preload/host" "$top/build/preload/operators.so"'
else
    skip operators "does not compile: $(head -n 1 "$out/make")"
fi
same sh sh '$run sh -c "i=0; while [ \$i -lt 2000 ]; do i=\$((i + 1)); x=\"\$x\$i \"; done
    for w in \$x; do echo \$w; done | tail -n 3; (exit 3); echo \$?; echo \"\$(echo \$x | wc -w)\""'
same sort sort '$run sort --parallel=2 -S 8M -n "$data" && $run sort --parallel=2 -u -k 2 "$data"'
same perl perl '$run perl "$here/strings.pl" "$data"'

# What an unchanged program writes at exit, each process to files of its own.
written() {
    name=written
    if ! command -v perl >/dev/null 2>&1; then
        skip "$name" "perl is not installed"
        return
    fi
    rm -rf "$out/$name"
    mkdir -p "$out/$name"
    debug=profile=4096 wrong=
    for kind in heap folded types metrics; do
        debug=$debug,write=$kind:$out/$name/$kind.%p
    done
    for i in 1 2; do
        env LD_PRELOAD="$lib" GOMEM_DEBUG="$debug" perl -e 'push @x, "x" x $_ for 1 .. 3000' \
            2>>"$out/$name/err" || wrong="perl fails"
    done
    for kind in heap folded types metrics; do
        set -- "$out/$name/$kind".*
        [ $# = 2 ] && [ -s "$1" ] && [ -s "$2" ] || wrong="$kind: not two files"
    done
    grep -q inuse_space "$out/$name"/heap.* && grep -q /perl "$out/$name"/heap.* || wrong=heap
    grep -q ';.* [0-9][0-9]*$' "$out/$name"/folded.* || wrong=folded
    grep -q ' total$' "$out/$name"/types.* || wrong=types
    grep -q '^gomem_memstats_mallocs_total [1-9]' "$out/$name"/metrics.* || wrong=metrics
    [ -s "$out/$name/err" ] && wrong=$(head -n 3 "$out/$name/err")
    if [ -n "$wrong" ]; then fail "$name" "$wrong"; else pass "$name"; fi
}
written

if [ -n "$SHORT" ]; then
    total
fi

same python3 python3 '$run python3 "$here/objects.py" "$data"'
same git git '
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE=2026-01-01T00:00:00Z
export GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
$run git -c init.defaultBranch=main init -q . || exit 1
i=0
while [ $i -lt 30 ]; do
    i=$((i + 1))
    mkdir -p d$((i % 5))
    head -n $((i * 200)) "$data" >d$((i % 5))/f$((i % 7))
    $run git add -A && $run git commit -q -m "change $i" || exit 1
done
$run git log --stat -p | cksum
$run git repack -q -a -d -f --threads=2 --depth=20 --window=20 && $run git gc -q --prune=now &&
    $run git fsck --full && $run git log --oneline && $run git blame d1/f1 | cksum &&
    $run git grep -c "line 1" && $run git clone -q . copy && ls copy'
same gcc gcc '$run gcc -std=c11 -pthread -O2 -I"$top" -c "$top/tests/gomem.c" -o gomem.o && cksum <gomem.o &&
    $run gcc -std=c11 -pthread -O0 -I"$top" -S "$top/tests/gomem.c" -o gomem.s && cksum <gomem.s'
same xz xz '$run xz -T2 -6 -k -c --block-size=1MiB "$data" >data.xz && cksum <data.xz &&
    $run xz -T2 -d -c data.xz >back && cmp back "$data"'
same sqlite3 sqlite3 '$run sqlite3 rows.db <"$here/rows.sql"; $run sqlite3 :memory: <"$here/rows.sql"'
same redis redis-server 'sh "$here/redis.sh"'
total
