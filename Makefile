# gomem.h is one header and needs no build to be used; this file builds and runs what is around it.
# Everything built lies under build/. `make help` lists the targets.
#
#   CC, CXX, CFLAGS, LDFLAGS   compilers and flags (the language standard is added)
#   CHECK=0..3                 check level of all; without it, `make test` has 0, and 3 for private functions
#   SAN=address,undefined      sanitizers, also SAN=thread
#   T=api/alloc F=part         with test: one program, and of it the tests whose name holds `part`
#   T=arena TIME=60            with fuzz: one target, the seconds of each of its builds
#   ROUNDS=20                  of soak
#   PREFIX, DESTDIR            where install puts things
#   V=1                        show the commands

CXX     ?= c++
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
CHECK   ?= 0
SAN     ?=
ROUNDS  ?= 20

comma   := ,
config   = $(notdir $(firstword $(CC)))-check$(CHECK)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
D        = build/$(config)
STD      = -std=c11 -pthread -I.
WARN     = -Wall -Wextra
SANFLAGS = $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
COMPILE  = $(CC) $(STD) $(WARN) $(CFLAGS) $(SANFLAGS) -DGOMEM_CHECK=$(CHECK)
# What the tests link is compiled as fast as its purpose allows, so that `make test` is short. LINES: lines
# in place of variables for the debugger, a fifth of the time; -g3 in CFLAGS keeps them. SMALL: what holds
# the whole implementation, or checks it. QUICK: rooms, which hold it each; clang, if tests/quick finds it,
# takes less than half of gcc's time, and without lines three quarters of its own.
# With sanitizers, -O1 takes clang five times as long as -O0.
LINES    = $(patsubst -g,-g1,$(COMPILE))
SMALL    = $(filter-out -O%,$(LINES)) -O1
UNOPT    = $(patsubst -O1,-O0,$(SMALL))
QUICK    = $(if $(SAN),$(UNOPT),$(filter-out -g1,$(patsubst $(CC),$(QUICKCC),$(UNOPT))))
QUICKCC := $(shell CC='$(CC)' tests/quick)
LEVEL    = $(if $(filter 0,$(CHECK)),$(LINES),$(SMALL))
# USER: what is linked with the implementation. At level 0 the inlined parts are optimized as a user's are,
# inlining and aliasing at least; a caller's CFLAGS stay. At other levels only their checks are wanted.
USER     = $(if $(filter 0,$(CHECK)),$(patsubst -O2,-O1 -fstrict-aliasing,$(LINES)),$(if $(SAN),$(SMALL),$(UNOPT)))
# The programs of two processors' worth of jobs, unless the caller said how many.
SUB      = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j2)

seams    = $(D)/api/seams $(D)/api/faults
api      = $(filter-out $(seams),$(patsubst tests/%.c,$(D)/%,$(wildcard tests/api/*.c)))
litmus   = $(D)/stress/litmus
stress   = $(filter-out $(litmus),$(patsubst tests/%.c,$(D)/%,$(wildcard tests/stress/*.c)))
rooms    = $(patsubst tests/%.c,$(D)/%,$(wildcard tests/rooms/*.c))
fuzz     = $(patsubst tests/%.c,$(D)/%,$(wildcard tests/fuzz/*.c))
KINDS   ?= api seams rooms stress litmus fuzz
programs = $(foreach kind,$(KINDS),$($(kind)))
scripts  = $(wildcard tests/bad/run.sh tests/examples/*.sh tests/leaks/run.sh tests/preload/run.sh tests/process/*.sh)
builds   = tests/compile/run.sh tests/hardened/run.sh
idioms   = $(patsubst examples/%.c,build/examples/%,$(filter-out %/gomem.c,$(wildcard examples/idioms/*.c)))
examples = $(patsubst examples/%.c,build/examples/%,$(wildcard examples/*.c)) $(idioms)
headers  = $(wildcard tests/*.h)
texts    = $(wildcard gomem.h README.md tests/*/*.c examples/*.c)
sources  = gomem.h $(wildcard tests/*.[ch] tests/*/*.[ch] examples/*.[ch] examples/*/*.[ch] bench/*.[ch])

# `make test` runs what uses the library at level 0, as programs have it, and what holds the implementation
# itself, the rooms and seams, at level 3, where it checks itself most. With CHECK all is at that level.
# `make options` runs the former at level 3.
LEVELS   = $(if $(filter default file,$(origin CHECK)),0 3,$(CHECK))
user     = stress api fuzz
kinds_at = $(if $(filter $(lastword $(LEVELS)),$(1)),seams rooms) \
           $(if $(filter $(firstword $(LEVELS)),$(1)),litmus $(user))
# The implementation as programs without any option see it, for the scripts.
object   = $(if $(SAN),,$(if $(filter 0,$(LEVELS)),$(subst check$(CHECK),check0,$(D))/gomem.o))
at_level = $(foreach kind,$(call kinds_at,$(1)),$(patsubst $(D)/%,$(subst check$(CHECK),check$(1),$(D))/%,$($(kind))))

# Those that take or wait for more than ten seconds begin first.
by_time  = $(filter $(LONG),$(1)) $(filter-out $(LONG),$(1))
LONG     = %/faults %/compile/run.sh %/deaf %/loader %/dance %/seams

Q        = $(if $(V),,@)
say      = echo '  build $(1:build/%=%)'

export CC CXX CFLAGS LDFLAGS

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all demo test options bench examples install uninstall format lint sanitize stress mutants preload \
        fuzz model soak coverage clean help programs FORCE

all: build/libgomem-malloc.so examples ## build the malloc override and the examples

build/libgomem-malloc.so: gomem.h build/flags
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $(CC) $(STD) $(WARN) $(patsubst -g,-g1,$(CFLAGS)) -DGOMEM_IMPLEMENTATION -DGOMEM_MALLOC_OVERRIDE \
	    -fPIC -fvisibility=hidden -shared -o $@ -x c gomem.h $(LDFLAGS)

examples: $(examples) ## build the example programs

# An example is a whole program in one file. Compiling the implementation is most of its time, so it is
# compiled once for all of them, and this header, which their #include finds first, leaves it out.
build/declarations/gomem.h: Makefile
	@mkdir -p $(@D)
	@printf '#define _GNU_SOURCE\n#undef GOMEM_IMPLEMENTATION\n#include "../../gomem.h"\n' >$@

build/examples/%: examples/%.c build/declarations/gomem.h $(D)/gomem.o build/flags
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $(COMPILE) -iquote build/declarations -o $@ $< $(D)/gomem.o $(NAMES) $(LDFLAGS)

build/examples/idioms/%: examples/idioms/%.c $(D)/gomem.o build/flags
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $(COMPILE) -std=gnu11 -o $@ $< $(D)/gomem.o $(LDFLAGS)

build/examples/kvserver: $(wildcard examples/kvserver/*.h)
build/examples/leaks: private NAMES = -rdynamic # for profiles

demo: build/examples/wordfreq ## count the words of this repository, and write build/demo.html
	GOMEM_DEBUG=gctrace=1,profile=64KiB,write=report:build/demo.html \
	    build/examples/wordfreq -v -n 15 -m 4 -r 20 $(texts)
	@echo 'build/demo.html shows its memory: open it in a browser'

test: ## run the tests (a C compiler and make suffice); T=api/alloc F=part: one program
ifdef T
	@$(SUB) $(D)/$(T)
	@$(D)/$(T) $(F)
else
	@$(SUB) all $(LEVELS:%=programs-%)
	@SHORT=1 OBJECT=$(object) LIMIT=$${LIMIT:-200} tests/run.sh $(call by_time,$(scripts) \
	    $(foreach level,$(LEVELS),$(call at_level,$(level))))
endif

options: $(D)/gomem.o ## run the tests with other options: check level 3, hardened, parts left out, C++, 32 bits
	@$(SUB) programs CHECK=3 KINDS='$(user)'
	@SHORT=1 OBJECT=$(object) LIMIT=$${LIMIT:-200} LOGS=build/logs/options tests/run.sh $(call by_time,$(builds) \
	    $(foreach kind,$(user),$(patsubst $(D)/%,$(subst check$(CHECK),check3,$(D))/%,$($(kind)))))

programs: $(programs)

# After the object that `all` links too: two makes must not compile it at once.
programs-%: $(D)/gomem.o FORCE
	@$(MAKE) --no-print-directory programs CHECK=$* KINDS='$(call kinds_at,$*)'

stress: $(stress) $(litmus) ## run the multi-thread tests at full length
	@STRESS=1 LIMIT=1800 JOBS=1 LOGS=build/logs/stress tests/run.sh $^

soak: $(stress) $(litmus) ## repeat the multi-thread tests, ROUNDS=20 times, each with a new seed
	@for round in $$(seq $(ROUNDS)); do \
	    echo "round $$round of $(ROUNDS)"; \
	    LIMIT=1800 JOBS=1 LOGS=build/logs/soak tests/run.sh $^ || exit 1; \
	done

sanitize: ## run the tests under the sanitizers of clang and gcc, and under valgrind
	@tests/sanitize.sh

mutants: ## plant each known bug and demand that its test fails
	@tests/mutants/run.sh

preload: build/libgomem-malloc.so ## run real programs on the override and compare their output
	@tests/preload/run.sh

fuzz: ## search for faults with libFuzzer, TIME=60 seconds per target and build; T=arena: one target
	@tests/fuzz/run.sh $(T)

model: ## check the models of the protocols with spin, and that each planted bug is found
	@tests/model/run.sh

lint: ## check the walls of the house, formatting, warnings, clang-tidy and cppcheck
	@python3 tests/lint/lint.py

format: ## rewrite all sources with clang-format
	clang-format -i $(sources)

bench: ## measure against the peers that are installed; BENCH="pair batch": some questions
	@bench/run.sh $(BENCH)

coverage: ## lines of gomem.h that the tests run, build/coverage.txt
	@tests/coverage.sh

install: build/libgomem-malloc.so build/gomem.pc ## copy the header, the override and gomem.pc to PREFIX
	install -d $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 644 gomem.h $(DESTDIR)$(PREFIX)/include/gomem.h
	install -m 755 build/libgomem-malloc.so $(DESTDIR)$(PREFIX)/lib/libgomem-malloc.so
	install -m 644 build/gomem.pc $(DESTDIR)$(PREFIX)/lib/pkgconfig/gomem.pc

uninstall: ## remove what install copied
	rm -f $(DESTDIR)$(PREFIX)/include/gomem.h $(DESTDIR)$(PREFIX)/lib/libgomem-malloc.so \
	    $(DESTDIR)$(PREFIX)/lib/pkgconfig/gomem.pc

# Made anew each time, since PREFIX may differ.
build/gomem.pc: FORCE
	@mkdir -p $(@D)
	@version=$$(sed -n 's/^#define GOMEM_VERSION_[A-Z]* //p' gomem.h | paste -s -d . -) && printf '%s\n' \
	    'prefix=$(PREFIX)' 'includedir=$${prefix}/include' '' 'Name: gomem' \
	    'Description: memory management in the style of Go, in one C header' \
	    "Version: $$version" 'Cflags: -I$${includedir} -pthread' 'Libs: -pthread' >$@

clean: ## remove build/
	rm -rf build

help: ## this list
	@sed -n 's/^\([a-z]*\):.* ## \(.*\)/  \1 \2/p' Makefile | awk '{ n = $$1; $$1 = ""; printf "  %-10s%s\n", n, $$0 }'

$(D)/gomem.o: tests/gomem.c gomem.h $(D)/flags
	$(Q)$(call say,$@) && $(LEVEL) -c -o $@ $<

$(D)/api/%: tests/api/%.c $(headers) $(D)/gomem.o
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $(USER) -Itests -o $@ $< $(D)/gomem.o $(LDFLAGS)

$(D)/stress/%: tests/stress/%.c $(headers) $(D)/gomem.o
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $(USER) -Itests -o $@ $< $(D)/gomem.o $(LDFLAGS)

# It tries the compiler's orders, too: with all of its optimizations.
$(litmus): $(D)/stress/%: tests/stress/%.c $(headers) gomem.h $(D)/flags
	$(call build_whole,$(LEVEL))

# What lies on its stack counts there.
$(D)/api/why: private USER = $(LEVEL)

$(D)/fuzz/%: tests/fuzz/%.c tests/fuzz/fuzz.h $(headers) $(D)/gomem.o
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $(USER) -Itests -o $@ $< $(D)/gomem.o $(LDFLAGS)

define build_whole
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $1 -Itests -o $@ $< $(LDFLAGS)
endef

$(D)/rooms/%: tests/rooms/%.c $(headers) gomem.h $(D)/flags
	$(call build_whole,$(QUICK))

# What lies on its stack counts there, and more of it does under a sanitizer without optimisation.
$(D)/rooms/cycle: tests/rooms/cycle.c $(headers) gomem.h $(D)/flags
	$(call build_whole,$(if $(SAN),$(SMALL),$(QUICK)))

$(D)/fuzz/settings: tests/fuzz/settings.c tests/fuzz/fuzz.h $(headers) gomem.h $(D)/flags
	$(call build_whole,$(QUICK))

$(seams): $(D)/api/%: tests/api/%.c $(headers) $(D)/faults.o
	@mkdir -p $(@D)
	$(Q)$(call say,$@) && $(if $(SAN),$(SMALL),$(UNOPT)) -Itests -o $@ $< $(D)/faults.o $(LDFLAGS)

$(D)/faults.o: tests/faults.c $(headers) gomem.h $(D)/flags
	$(Q)$(call say,$@) && $(SMALL) -Itests -c -o $@ $<

# Changes when the compiler or its flags do, so that everything is built anew.
build/flags $(D)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(LDFLAGS)' | cmp -s - $@ || echo '$(COMPILE) $(LDFLAGS)' >$@
FORCE:
