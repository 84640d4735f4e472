#!/bin/sh
# How gomem.h can be compiled and linked: options, languages, orders of inclusion, mismatches.
# CC and CXX are used; what the machine cannot do is skipped with a word.
cd "$(dirname "$0")/../.." || exit 2
CC=${CC:-cc} CXX=${CXX:-c++}
out=build/compile
mkdir -p $out
here=tests/compile
# Of what is run and not only compiled by CC (tests/lint compiles each option with gcc and clang).
quick=$(tests/quick)
flags="-std=c11 -pthread -I. -O0 -w"
c="$CC $flags" q="$quick $flags"
cxx="$CXX -pthread -I. -O0 -w"
passed=0 failed=0 skipped=0

skip() { echo "SKIP $1: $2"; skipped=$((skipped + 1)); }
pass() { echo "$1 ... ok"; passed=$((passed + 1)); }
fail() { echo "FAIL $1: $2"; sed 's/^/    /' $out/log | head -n 12; failed=$((failed + 1)); }

# good NAME COMMAND: the command succeeds.
good() {
    name=$1
    shift
    if sh -c "$*" >$out/log 2>&1; then pass "$name"; else fail "$name" "$*"; fi
}

# bad NAME WORDS COMMAND: the command fails and its output holds the words.
bad() {
    name=$1 words=$2
    shift 2
    if sh -c "$*" >$out/log 2>&1; then
        fail "$name" "succeeded: $*"
    elif grep -q "$words" $out/log; then
        pass "$name"
    else
        fail "$name" "the output does not hold: $words"
    fi
}

has_cxx() { echo 'int main() {}' | $CXX -x c++ - -o $out/probe >/dev/null 2>&1; }

# The object that make has compiled without options serves; OBJECT names it.
if [ -f "$OBJECT" ]; then good "implementation" "cp $OBJECT $out/gomem.o"
else good "implementation" "$c -c tests/gomem.c -o $out/gomem.o"; fi
good "two units: compile" "$c -c $here/user.c -o $out/user.o && $c -c $here/main.c -o $out/main.o"
good "two units: link" "$c $out/main.o $out/user.o $out/gomem.o -o $out/two"
good "two units: run" "$out/two"
for level in 1 2; do # all other tests run at 0 and 3
    good "check level $level" "$q -DGOMEM_CHECK=$level $here/main.c $here/user.c tests/gomem.c \
        -o $out/level$level && $out/level$level"
done
for part in NO_COLLECTOR NO_REPORT NO_POOL NO_ARENA NO_ESCAPE TLS_DYNAMIC HARDENED; do
    good "$part" "$q -DGOMEM_$part $here/main.c $here/user.c tests/gomem.c -o $out/$part && $out/$part"
done
good "nothing but malloc" "$q -DGOMEM_NO_COLLECTOR -DGOMEM_NO_REPORT -DGOMEM_NO_POOL -DGOMEM_NO_ARENA \
    $here/main.c $here/user.c tests/gomem.c -o $out/neither && $out/neither"
good "GOMEM_STATIC in two units" "$q $here/static_a.c $here/static_b.c -o $out/static && $out/static"
# A program of its own that uses arenas or the manual heap alone is linked without the collector, if
# it has no search for leaks.
if command -v nm >/dev/null 2>&1; then
    alone=$q # clang leaves out what nothing leads to; gcc does if it optimises
    [ "$quick" != "$CC" ] || alone="$c -O1"
    for use in "gomem_arena a = {0}; return !gomem_arena_printf(&a, \"%d\", 4);" \
        "return !gomem_realloc(gomem_calloc(1, 9), 90);" \
        "static gomem_pool_options o = {.size = 8}; return !gomem_pool_get(gomem_pool_new(&o));"; do
        printf '#define GOMEM_STATIC\n#include "gomem.h"\nint main(void) { %s }\n' "$use" >$out/alone.c
        good "without the collector: $use" "$alone -DGOMEM_NO_REPORT $out/alone.c -o $out/alone &&
            $out/alone && ! nm $out/alone | grep -E 'gm_(schedule|gc|workers)_'"
    done
else
    skip "without the collector" "no nm"
fi
good "included again" "$q $here/twice.c -o $out/twice && $out/twice"
good "nothing used" "$q $here/idle.c -o $out/idle && $out/idle"

# Thread-local storage of a program that uses nothing: one pointer.
if command -v readelf >/dev/null 2>&1; then
    total=0
    readelf -SW $out/idle >$out/log
    for size in $(readelf -SW $out/idle | awk '{ sub(/^ *\[ *[0-9]+\]/, "") } $1 ~ /^\.t(bss|data)/ { print $5 }'); do
        total=$((total + 0x$size))
    done
    if [ $total -le 8 ]; then pass "thread-local bytes: $total"; else fail "thread-local bytes" "$total"; fi
else
    skip "thread-local bytes" "no readelf"
fi

good "system headers first, c11" "$q $here/after_system.c -o $out/after && $out/after"
good "system headers first, gnu11" "$c -std=gnu11 -fsyntax-only $here/after_system.c"
good "system headers first, c11 with -D_GNU_SOURCE" "$c -D_GNU_SOURCE -fsyntax-only $here/after_system.c"

# Whatever system header comes first, in strict modes and older standards too: no warning. (musl: where
# it is installed.)
headers="errno limits locale signal stdlib threads time fcntl link pthread sched unistd dlfcn semaphore
    ucontext sys/mman sys/resource sys/socket sys/types sys/wait"
late() {
    compile=$1 standard_c=$2
    shift 2
    for header in ${*:-$headers}; do
        mkdir -p "$out/late/$header"
        printf '#include <%s.h>\n#define GOMEM_IMPLEMENTATION\n#include "gomem.h"\n' "$header" \
            >"$out/late/$header/first.c"
        echo "$out/late/$header/first.c"
    done | xargs -n 1 -P 2 $compile -std=$standard_c -pthread -I. -fsyntax-only -Wpedantic -Werror
}
for compiler in "$CC" musl-gcc; do
    name="any system header first, c11, $compiler"
    if ! command -v "${compiler%% *}" >/dev/null 2>&1; then skip "$name" "it is not installed"
    elif late "$compiler" c11 >$out/log 2>&1; then pass "$name"
    else fail "$name" "it does not compile"; fi
done
for standard in POSIX_C_SOURCE=200809L XOPEN_SOURCE=500; do
    name="any system header first, $standard"
    if late "$CC -D_$standard" c11 signal sys/types sys/wait >$out/log 2>&1; then pass "$name"
    else fail "$name" "it does not compile"; fi
done

# A plugin goes after gomem_shutdown, and a thread that used it ends later; without, it is linked to stay.
gnu="$quick -std=gnu11 -pthread -I. -O0 -w"
good "plugin: build" "$gnu -fPIC -c $here/plugin.c -o $out/plugin.o && \
    $gnu -shared $out/plugin.o -o $out/plugin.so && \
    $gnu -shared -Wl,-z,nodelete $out/plugin.o -o $out/stays.so && \
    $gnu $here/plugin_host.c -o $out/host -ldl"
good "plugin: loaded and unloaded" "$out/host $out/plugin.so"
good "plugin: without shutdown, nodelete" "$out/host $out/stays.so x"

# What cannot work says so, and nothing else: the line, and the file that stops the compiler.
stops() {
    name=$1 words=$2
    shift 2
    printf '#include "gomem.h"\n#include <nowhere.h>\nint *f(void) { return GOMEM_NEW(int); }\n' >$out/stops.c
    if sh -c "$* -I. -c $out/stops.c -o $out/stops.o" >$out/log 2>&1; then fail "$name" "it compiles"
    elif [ "$(grep -c 'error[: ]' $out/log)" -gt 3 ]; then fail "$name" "more than one message"
    elif grep -q "error.*$words" $out/log; then pass "$name"
    else fail "$name" "the output does not hold: $words"; fi
}
stops "another system than Linux" "supports Linux only" "$CC -U__linux__ -std=c11 -DGOMEM_IMPLEMENTATION"
stops "x32" "does not support x32" "$CC -D__x86_64__=1 -D__ILP32__=1 -std=c11 -DGOMEM_IMPLEMENTATION"
stops "C99" "needs C11" "$CC -std=c99"
if has_cxx; then
    stops "implementation in C++" "in a .c file" "$CXX -x c++ -DGOMEM_IMPLEMENTATION"
    stops "private heap in C++" "in a .c file" "$CXX -x c++ -DGOMEM_STATIC"
    stops "C++98" "needs C11" "$CXX -x c++ -std=c++98"
else skip "errors in C++" "no C++ compiler"; fi

# What an option leaves out: each public macro of it stays, as an error that names the option.
macros() { $CC -std=c11 -I. "$@" -dM -E -x c gomem.h | sed -n 's/^#define \(GOMEM_[A-Z_]*\).*/\1/p' | grep -v GOMEM_I_ | sort; }
macros >$out/macros
for part in COLLECTOR POOL ARENA ESCAPE; do
    macros -DGOMEM_NO_$part | comm -23 $out/macros - >$out/log
    if [ -s $out/macros ] && [ ! -s $out/log ]; then pass "NO_$part keeps the names of all macros"
    else fail "NO_$part keeps the names of all macros" "these have gone:"; fi
done
left_out() {
    part=$1 message="error: gomem.h: .*GOMEM_$1 leaves out $2"
    printf '#include "gomem.h"\nstruct word { void *p; };\n%s\n' "$3" >$out/left_out.c
    good "without $part: $3" "$c -c $out/left_out.c -o $out/left_out.o"
    bad "$part: $3" "$message" "$c -DGOMEM_$part -c $out/left_out.c -o $out/left_out.o"
    has_cxx && bad "$part, C++: $3" "$message" \
        "$cxx -std=c++11 -DGOMEM_$part -x c++ -c $out/left_out.c -o $out/left_out.o"
}
left_out NO_COLLECTOR "collected memory" 'struct word *f(void) { return GOMEM_NEW(struct word); }'
left_out NO_COLLECTOR "collected memory" 'GOMEM_TYPE(t, struct word, p);'
left_out NO_COLLECTOR "collected memory" 'void f(void **at, void *p) { GOMEM_STORE(at, p); }'
left_out NO_ESCAPE "stack hints" 'char *f(int n) { return GOMEM_HINT(char, n, 1); }'
left_out NO_ESCAPE "stack hints" 'void f(int n) { char *p = GOMEM_STACK(char, n); (void)p; }'
left_out NO_POOL "pools" 'GOMEM_POOL(pool, struct word);'
left_out NO_POOL "pools" 'GOMEM_POOL_DECLARE(pool, struct word);'
left_out NO_ARENA "arenas" 'struct word *f(void *a) { return GOMEM_ARENA_NEW((gomem_arena *)a, struct word); }'

printf '#include "gomem.h"\nstruct s { void *f[65]; };\nGOMEM_TYPE(t, struct s, f[0]%s);\n' \
    "$(printf ', f[%d]' $(seq 64))" >$out/wide.c
bad "a type of 65 fields" "a_GOMEM_TYPE_has_at_most_64_fields" "$c -c $out/wide.c -o $out/wide.o"

# The implementation in no file, in two files, or with other options: the first line of the linker that
# names a symbol of gomem says what to do.
bad "implementation missing" "undefined.*GOMEM_IMPLEMENTATION_in_exactly_one_c_file" \
    "$c $out/main.o $out/user.o -o $out/missing"
bad "implementation twice" "multiple.*GOMEM_IMPLEMENTATION_in_exactly_one_c_file" \
    "cp $out/gomem.o $out/again.o && $c $out/main.o $out/user.o $out/gomem.o $out/again.o \
        -o $out/doubled"
mismatch() {
    bad "mismatch of $1 does not link" "undefined.*in_exactly_one_c_file_with_v.*_$2" "$c -DGOMEM_$1 \
        -c $here/user.c -o $out/other.o && $c $out/main.o $out/other.o $out/gomem.o -o $out/mismatch"
}
mismatch CHECK=1 check1
mismatch NO_COLLECTOR collector0
mismatch NO_REPORT report0
mismatch NO_ARENA arena0
mismatch NO_POOL pool0
mismatch NO_ESCAPE escape0
mismatch HARDENED hardened1

# Two shared objects, each with its heap: nothing of gomem's is visible in either.
good "hidden in a shared object" "$q -fPIC -shared $here/user.c tests/gomem.c -o $out/hidden.so &&
    ! nm -D --defined-only $out/hidden.so | grep gomem_"
good "override" "$q -DGOMEM_MALLOC_OVERRIDE -c tests/gomem.c -o $out/override.o"
over="$c -DGOMEM_MALLOC_OVERRIDE"
good "override, linked in" "$over $here/main.c $here/user.c $out/override.o -o $out/linked && $out/linked"
good "override, threads" "$over $here/main.c $here/user.c $here/thread.c $out/override.o \
    -o $out/linked && $out/linked"
good "override, waits with full masks" "$over $here/waits.c $out/override.o -o $out/waits && $out/waits"
if echo '#include <pthread.h>
int main(void) { return 0; }' | $CC -static -pthread -x c - -o $out/probe >/dev/null 2>&1; then
    good "override, static" "$over -static $here/main.c $here/user.c $here/thread.c $out/override.o \
        -o $out/linked && $out/linked"
    good "override, waits, static" "$over -static $here/waits.c $out/override.o -o $out/waits && $out/waits"
else
    skip "override, static" "$CC -static finds no libraries"
fi
good "the header as a unit" "$c -DGOMEM_IMPLEMENTATION -x c -fsyntax-only gomem.h"

# The Makefile compiles the implementation apart from them.
for example in examples/*.c examples/idioms/gomem.c; do
    good "$example is a whole program" "$c -fsyntax-only $example"
done

if has_cxx; then
    for standard in c++11 c++14 c++17 c++20; do
        if echo 'int main() {}' | $CXX -std=$standard -x c++ - -o $out/probe >/dev/null 2>&1; then
            good "declarations in $standard" "$cxx -std=$standard -x c++ -c $here/user.c \
                -o $out/user_cxx.o && $cxx $out/main.o $out/user_cxx.o $out/gomem.o -o $out/cxx &&
                $out/cxx"
        else
            skip "declarations in $standard" "$CXX does not know it"
        fi
    done
    bad "C++ implementation" "\.c file" "$cxx -DGOMEM_IMPLEMENTATION -x c++ -c tests/gomem.c \
        -o $out/no.o"
else
    skip "C++" "no C++ compiler ($CXX)"
fi

# Installed into a folder of its own: the program is compiled by what pkg-config says, and nothing is
# left behind by uninstall.
stage=$PWD/$out/stage
rm -rf "$stage"
make="make --no-print-directory DESTDIR=$stage PREFIX=/opt/gomem"
pc=$stage/opt/gomem/lib/pkgconfig
good "install" "$make install && test -f $stage/opt/gomem/include/gomem.h -a \
    -x $stage/opt/gomem/lib/libgomem-malloc.so -a -f $pc/gomem.pc"
version=$(sed -n 's/^#define GOMEM_VERSION_[A-Z]* //p' gomem.h | paste -s -d . -)
good "gomem.pc has the version of the header" "grep -x 'Version: $version' $pc/gomem.pc"
if command -v pkg-config >/dev/null 2>&1; then
    config="PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$stage pkg-config"
    printf '#define GOMEM_IMPLEMENTATION\n#include <gomem.h>\n#include <stdio.h>
int main(void) { return !gomem_new(1) || printf("%%s\\n", gomem_version()) < 0; }\n' >$out/installed.c
    good "compiled by pkg-config" "cd $out && $quick -w installed.c -o installed \$($config --cflags --libs gomem) &&
        test \$(./installed) = \$($config --modversion gomem)"
else
    skip "compiled by pkg-config" "no pkg-config"
fi
good "uninstall" "$make uninstall && test -z \"\$(find $stage -type f)\""

for standard in c17 c2x; do
    if echo 'int main(void) {}' | $CC -std=$standard -x c - -o $out/probe >/dev/null 2>&1; then
        good "$standard" "$c -std=$standard $here/main.c $here/user.c $out/gomem.o -o $out/$standard &&
            $out/$standard && $c -std=$standard -fsyntax-only tests/gomem.c"
    else
        skip "$standard" "$CC does not know it"
    fi
done

if echo '#include <pthread.h>
int main(void) { return 0; }' | $CC -m32 -x c - -o $out/probe >/dev/null 2>&1; then
    good "32 bits" "$c -m32 $here/main.c $here/user.c tests/gomem.c -o $out/bits32 && $out/bits32"
else
    skip "32 bits" "$CC -m32 finds no libraries"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
