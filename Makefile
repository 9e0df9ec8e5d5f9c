# nibble - GNU make.  `make help` lists what it can do.
#
# Every .c below src/ goes into build/libnibble.a, cli/ into build/nibble.  A file
# named *_avx2.c, *_avx512.c, *_avx512bf16.c or *_amx.c gets the flags of its instruction set;
# *_avx512bf16.c and *_amx.c are built a second time with their instructions emulated
# (NIB_EMULATE_BF16, NIB_EMULATE_AMX), so that every AVX-512 machine can test them.  EMULATE=avx512 builds all of
# them from AVX2 (tests/support/emulate_avx512.h), so that every AVX2 machine can.
#
# CC, AR, CFLAGS, CPPFLAGS, LDFLAGS, LDLIBS and PKG_CONFIG are the user's, from the environment
# or from make's command line; what nibble itself needs stands in NIB_* and is always given.
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
VERSION := 0.1.0
# Of the shared library: it changes with what a program built before no longer links to.
SOVERSION := 0
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
BASHDIR ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR  ?= $(PREFIX)/share/zsh/site-functions
FISHDIR ?= $(PREFIX)/share/fish/vendor_completions.d
BUILD   ?= build$(if $(EMULATE),-emulated)$(if $(SAN),-$(subst $(comma),-,$(SAN)))
comma   := ,
space   := $(subst ,, )
SAN     ?=
EMULATE ?=
WERROR  ?=

# The libraries, by pkg-config's names; tools/install-deps.sh knows the packages that have them.
PACKAGES := jansson libpcre2-8 libutf8proc zlib libzstd liblz4 libbrotlidec yaml-0.1 \
            lapacke openblas libcurl libcrypto
ifeq ($(shell $(PKG_CONFIG) --exists $(PACKAGES) 2>/dev/null && echo yes),yes)
LIB_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PACKAGES))
LIBS       := $(shell $(PKG_CONFIG) --libs $(PACKAGES)) -lpthread -lm
endif

OPT     ?= -O3 -g
CFLAGS  ?= $(OPT)
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
           -Wvla -Wformat=2 -Wno-format-nonliteral -Wno-format-zero-length \
           $(if $(filter-out 0,$(WERROR)),-Werror)
COVERAGE ?=
SAN_FLAGS := $(if $(COVERAGE),--coverage -fprofile-update=atomic) \
             $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all)
NIB_CPPFLAGS := -Isrc -Iinclude -DNIB_VERSION='"$(VERSION)"' -D_GNU_SOURCE $(LIB_CFLAGS)
# Behind the user's flags, for they keep a sum's bits: a product is rounded before it is added.
NIB_CFLAGS = -std=c17 $(WARN) -fno-math-errno -pthread $(SAN_FLAGS) $(call fuzzed,$<) \
             $(if $(filter src/kernel/%,$<),$(KERNEL_SAN)) $(CFLAGS) -ffp-contract=off
NIB_LDFLAGS = $(SAN_FLAGS) -pthread $(LDFLAGS)
COMPILE = $(CC) $(NIB_CPPFLAGS) $(CPPFLAGS) $(NIB_CFLAGS)
LINK    = $(CC) $(NIB_LDFLAGS)

# A fuzz target watches what reads files; arithmetic and tests need not be slowed by that.
fuzzed = $(if $(filter src/kernel/% src/graph/% tests/% cli/%,$(1)),,$(FUZZ_FLAGS))

# What the compiler makes code for, which need not be what this machine is.
ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
FLAGS_avx2       := -mavx2 -mfma -mf16c
FLAGS_avx512     := $(FLAGS_avx2) -mavx512f -mavx512bw -mavx512vl -mavx512dq -mprefer-vector-width=512
FLAGS_avx512bf16 := $(FLAGS_avx512) -mavx512bf16
ifneq ($(EMULATE),)
ifneq ($(EMULATE) $(ARCH),avx512 x86_64)
$(error EMULATE=$(EMULATE) on $(ARCH): only avx512 is emulated, on x86_64)
endif
FLAGS_avx512     := $(FLAGS_avx2) -include tests/support/emulate_avx512.h
FLAGS_avx512bf16 := $(FLAGS_avx512)
NIB_CPPFLAGS += -DNIB_EMULATE_AVX512
endif
FLAGS_amx := $(FLAGS_avx512) -mamx-tile -mamx-bf16

# One body in place of one for each constant, where an instruction is a function or is checked.
NIB_CPPFLAGS += $(if $(SAN)$(EMULATE),-DNIB_ONE_BODY)

# Objects of src/ serve the static library, the shared one and the program.
NIB_PIC := -fPIC -fno-semantic-interposition

LIB_SRC  := $(sort $(wildcard src/*/*.c))
ifneq ($(ARCH),x86_64)
LIB_SRC  := $(filter-out %_avx2.c %_avx512.c %_avx512bf16.c %_amx.c,$(LIB_SRC))
endif
CLI_SRC  := $(sort $(wildcard cli/*.c))
TEST_SRC := $(sort $(wildcard tests/*/test_*.c))
BENCH_SRC := $(sort $(wildcard bench/bench_*.c))
BF16_SRC := $(filter %_avx512bf16.c,$(LIB_SRC))
AMX_SRC  := $(filter %_amx.c,$(LIB_SRC))

SONAME   := libnibble.so.$(SOVERSION)
SHARED   := $(BUILD)/libnibble.so.$(VERSION)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o) $(BF16_SRC:%_avx512bf16.c=$(BUILD)/%_avx512bf16emu.o) \
            $(AMX_SRC:%_amx.c=$(BUILD)/%_amxemu.o)
CLI_OBJ  := $(CLI_SRC:%.c=$(BUILD)/%.o)
BENCH_SUPPORT_SRC := $(wildcard bench/support/*.c)
ifneq ($(ARCH),x86_64)
BENCH_SUPPORT_SRC := $(filter-out %_avx2.c %_avx512.c %_avx512bf16.c %_amx.c,$(BENCH_SUPPORT_SRC))
endif
BENCH_SUPPORT := $(BENCH_SUPPORT_SRC:%.c=$(BUILD)/%.o)
SUPPORT_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))
TESTS    := $(TEST_SRC:tests/%.c=$(BUILD)/tests/%)
BENCHES  := $(BENCH_SRC:bench/%.c=$(BUILD)/bench/%)
# What a recipe builds, on all processors unless make got a number.
PARALLEL = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
isa_flags = $(FLAGS_$(lastword $(subst _, ,$(basename $(notdir $(1)))))) $(call light,$(1))
# AVX-512's intrinsics are many small functions: with a sanitizer one file takes six minutes at -O3.
# What this machine cannot run is not watched either.
HERE := $(if $(filter avx512bw,$(shell grep -m1 ^flags /proc/cpuinfo 2>/dev/null)),avx512)
light = $(if $(and $(SAN),$(findstring _avx512,$(1))$(findstring _amx,$(1))),-O1 $(if $(HERE),,-fno-sanitize=all))

.PHONY: all lib examples demo demo-classify demo-cycle test test-emulated run-emulated test-threads \
        run-threads test-sanitized warnings compiled coverage tidy bench bench-peers fuzz fuzzers \
        tests benches install dist deb wheel clean help deps have-packages always
.DEFAULT_GOAL := all
# The packages are looked at first, and what needs them is built by a second make: it alone has
# read what pkg-config says of them.
all: have-packages
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/nibble $(SHARED)
lib: $(BUILD)/libnibble.a $(SHARED)

help:
	@echo 'make                  build/nibble and the library; installs nothing'
	@echo 'make deps             installs the packages that building and testing need (Debian, root)'
	@echo 'make demo             quantize, fine-tune and ask the small model in models/, offline'
	@echo 'make demo-cycle       the same further: merge, GPTQ in 4 bits, and a table of before and after'
	@echo 'make demo-classify    sort questions with a small encoder: head alone, LoRA, full'
	@echo 'make test             every test that needs no network'
	@echo 'make test-emulated    the kernels for AVX-512, computed with AVX2'
	@echo 'make SAN=address,undefined test'
	@echo 'make test-sanitized   every test with clang'"'"'s sanitizers, in the build of make fuzz'
	@echo 'make AREAS=text/* test   only these'
	@echo 'make test-threads     the pool, the products and a training run, thread sanitizer'
	@echo 'make warnings         what clang warns of'
	@echo 'make coverage         lines and branches that the tests reach (gcovr)'
	@echo 'make tidy             clang-tidy on what reads files'
	@echo 'make bench            kernels and the training step against the peak of this machine'
	@echo 'make bench-peers      the same work beside transformers + PEFT + bitsandbytes and llama.cpp'
	@echo '                      (network; PEERS=--help)'
	@echo 'make fuzz             the fuzz targets, a short run each (clang)'
	@echo 'make install          program, libraries, headers, pkg-config file, man page, completions'
	@echo '                      (PREFIX, LIBDIR, DESTDIR)'
	@echo 'make dist             build/nibble-$(VERSION).tar.gz, the committed sources'
	@echo 'make deb              of that, Debian packages in build/debian'
	@echo 'make wheel            build/nibble-$(VERSION)-*.whl: program, library and Python module'

# Names the packages that are missing, installs nothing.
have-packages:
	@CC="$(CC)" PKG_CONFIG="$(PKG_CONFIG)" tools/install-deps.sh --check
deps:
	@CC="$(CC)" PKG_CONFIG="$(PKG_CONFIG)" tools/install-deps.sh

$(BUILD)/libnibble.a: $(LIB_OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

# It exports what the public headers declare and nothing else.
$(BUILD)/exports.map: tools/exports.sh $(wildcard include/nibble/*.h)
	@mkdir -p $(@D)
	@tools/exports.sh NIBBLE_$(SOVERSION) include/nibble/*.h > $@.new && mv $@.new $@
$(SHARED): $(LIB_OBJ) $(BUILD)/exports.map
	@echo "  LD      $@"
	@$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,$(BUILD)/exports.map -o $@ \
	  $(LIB_OBJ) $(LIBS) $(LDLIBS)

# The program with the shared library in place of the static one: of packages that have both.
$(BUILD)/nibble-shared: $(CLI_OBJ) $(SHARED)
	@echo "  LD      $@"
	@$(LINK) -Wl,--as-needed -o $@ $^ $(LIBS) $(LDLIBS)

# The commit that is built: git's, or what `git archive` wrote into .commit; rewritten when another.
$(BUILD)/commit.h: always
	@mkdir -p $(@D)
	@tools/commit.sh | sed 's/.*/#define NIB_COMMIT "&"/' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(BUILD)/src/job/versions.o: $(BUILD)/commit.h
$(BUILD)/src/job/versions.o: NIB_CPPFLAGS += -include $(BUILD)/commit.h

$(BUILD)/nibble: $(CLI_OBJ) $(BUILD)/libnibble.a
	@echo "  LD      $@"
	@$(LINK) -o $@ $^ $(LIBS) $(LDLIBS)

$(BUILD)/%_avx512bf16emu.o: %_avx512bf16.c
	@mkdir -p $(@D)
	@echo "  CC      $<, emulated"
	@$(COMPILE) $(NIB_PIC) $(FLAGS_avx512) $(call light,$<) -DNIB_EMULATE_BF16 \
	  -MMD -MP -c -o $@ $<

$(BUILD)/%_amxemu.o: %_amx.c
	@mkdir -p $(@D)
	@echo "  CC      $<, emulated"
	@$(COMPILE) $(NIB_PIC) $(FLAGS_avx512) $(call light,$<) -DNIB_EMULATE_AMX -MMD -MP -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(COMPILE) $(if $(filter src/%,$<),$(NIB_PIC)) \
	  $(if $(filter tests/%,$<),-Itests/support) $(if $(filter bench/%,$<),-Ibench/support) \
	  $(call isa_flags,$<) -MMD -MP -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT_OBJ) $(BUILD)/libnibble.a
	@echo "  LD      $@"
	@$(LINK) -o $@ $^ $(LIBS) $(LDLIBS)

# The tests of instruction sets, without those of what no set changes: which files and which
# config.json are read.  They stand on the lower floors; what lies above is not built for them.
EMULATED_AREAS := kernel quant grad model
EMULATED_TESTS := $(filter-out %/test_bind %/test_held %/test_config %/test_config_keys, \
                  $(filter $(EMULATED_AREAS:%=$(BUILD)/tests/%/test_%),$(TESTS)))
LOWER_FLOORS := base kernel format text quant graph model adapter
$(BUILD)/liblower.a: $(foreach floor,$(LOWER_FLOORS),$(filter $(BUILD)/src/$(floor)/%,$(LIB_OBJ)))
	@rm -f $@
	@$(AR) rcs $@ $^
$(EMULATED_TESTS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT_OBJ) $(BUILD)/liblower.a
	@echo "  LD      $@"
	@$(LINK) -o $@ $^ $(LIBS) $(LDLIBS)

$(BUILD)/bench/%: $(BUILD)/bench/%.o $(BENCH_SUPPORT) $(BUILD)/libnibble.a
	@echo "  LD      $@"
	@$(LINK) -o $@ $^ $(LIBS) $(LDLIBS)

# The fuzz targets without libFuzzer, for their seeds (fuzz/run_seeds.c).
FUZZ_SRC := $(sort $(wildcard fuzz/fuzz_*.c))
SEEDS := $(patsubst fuzz/fuzz_%.c,$(BUILD)/fuzz/seeds_%,$(FUZZ_SRC))
$(BUILD)/fuzz/seeds_%: $(BUILD)/fuzz/fuzz_%.o $(BUILD)/fuzz/run_seeds.o $(BUILD)/libnibble.a
	@echo "  LD      $@"
	@$(LINK) -o $@ $^ $(LIBS) $(LDLIBS)

# Loaded into the program by tests/fault; never with a sanitizer of its own.
$(BUILD)/tests/fault/shim.so: tests/fault/shim.c
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) -std=c17 -D_GNU_SOURCE -O1 -g $(WARN) -fPIC -shared -o $@ $< -ldl

tests: $(TESTS) $(BUILD)/nibble $(SEEDS) $(BUILD)/tests/fault/shim.so
benches: $(BENCHES)

test: deps
	@$(MAKE) --no-print-directory $(PARALLEL) tests
	@BUILD=$(BUILD) SAN=$(SAN) CC="$(CC)" tests/run.sh $(if $(AREAS),'$(AREAS)')

# The kernels of instruction sets that this machine may lack, and what is made of them.
# NIBBLE_ISA=avx512|avx512bf16: the set that models run on.
test-emulated: deps
	@$(MAKE) --no-print-directory $(PARALLEL) EMULATE=avx512 run-emulated
run-emulated: $(EMULATED_TESTS)
	@BUILD=$(BUILD) tests/run.sh '@($(subst $(space),|,$(EMULATED_AREAS)))/*'

# The pool, the products and a short training run under the thread sanitizer.
THREADED := base/test_thread quant/test_product quant/test_product_dot
test-threads: deps
	@$(MAKE) --no-print-directory $(PARALLEL) SAN=thread OPT="-O1 -g1" run-threads
run-threads: $(BUILD)/nibble $(THREADED:%=$(BUILD)/tests/%)
	@BUILD=$(BUILD) SAN=$(SAN) tests/run.sh '@($(subst $(space),|,$(THREADED))|job/test_threads)'

# Every test with clang's sanitizers, which see more than gcc's, of the library that the fuzz
# targets are linked from: one build for both, and for clang's warnings.  What is undefined in a
# kernel is a trap without a message, of which the address sanitizer prints the stack: the code that
# makes messages takes clang five times as long there (attention_avx2.c: 35 s against 8).
FUZZ_CC ?= clang
SANITIZED = CC="$(FUZZ_CC)" BUILD=build-fuzz SAN=address,undefined OPT="-O1 -g1" \
            FUZZ_FLAGS=-fsanitize=fuzzer-no-link KERNEL_SAN=-fsanitize-trap=undefined
test-sanitized:
	@ASAN_OPTIONS="$${ASAN_OPTIONS:+$$ASAN_OPTIONS:}handle_sigill=1" \
	  $(MAKE) --no-print-directory $(SANITIZED) test

# What clang warns of, in all that make test compiles: its files are worth nothing, for they end
# before anything is optimized, where no warning comes any more.
warnings:
	@$(MAKE) --no-print-directory $(PARALLEL) CC="$(FUZZ_CC)" BUILD=build-clang WERROR=1 \
	  OPT="-O1 -Xclang -disable-llvm-passes -emit-llvm" compiled
compiled: $(LIB_OBJ) $(CLI_OBJ) $(TESTS:=.o) $(SUPPORT_OBJ) $(FUZZ_SRC:%.c=$(BUILD)/%.o) \
          $(BUILD)/fuzz/run_seeds.o

# Which lines and branches of src/ and cli/ the tests reach.
GCOVR ?= gcovr
coverage: deps
	@$(MAKE) --no-print-directory $(PARALLEL) BUILD=build-coverage COVERAGE=1 OPT="-O0 -g" tests
	@find build-coverage -name '*.gcda' -delete
	@BUILD=build-coverage CC="$(CC)" tests/run.sh '!(install/*)' # which links without the counters
	@GCOVR="$(GCOVR)" tools/coverage.sh build-coverage

# What reads files, through clang-tidy with the checks of .clang-tidy.
TIDY ?= clang-tidy
TIDIED := $(wildcard src/format/*.c src/text/*.c src/model/config*.c src/train/shape*.c \
          src/train/data*.c src/train/checkpoint*.c src/adapter/peft*.c src/quant/*_file.c)
tidy: have-packages
	@printf '%s\n' $(TIDIED) | CPPFLAGS='$(subst ','\'',$(NIB_CPPFLAGS))' TIDY=$(TIDY) \
	  xargs -P "$$(nproc)" -n 4 tools/tidy.sh

bench: deps
	$(if $(EMULATE),$(error bench: an emulated build has no speed to measure))
	@$(MAKE) --no-print-directory $(PARALLEL) benches
	@for b in $(BENCHES); do $$b || exit 1; done

# What is missing for the peers skips their rows; only nibble itself must build.
bench-peers: all
	@tools/install-deps.sh --peers || echo 'bench-peers: continuing with what is there'
	@python3 bench/peers/run.py --nibble $(BUILD)/nibble --json $(BUILD)/bench-peers.json $(PEERS)

# Needs clang's libFuzzer.  The seeds are run first; a crash leaves its input in build-fuzz/.
# One make builds the library and the targets: two that ran side by side would write one archive.
# FUZZ_TURNS=3: the search is for every third target, other ones each day.
FUZZ_SECONDS ?= 15
FUZZ_TURNS ?= 1
FUZZERS := $(FUZZ_SRC:fuzz/%.c=$(BUILD)/fuzz/%)
$(BUILD)/fuzz/%: fuzz/%.c $(BUILD)/libnibble.a
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(COMPILE) -fsanitize=fuzzer -o $@ $^ $(LDFLAGS) $(LIBS)
fuzzers: $(FUZZERS) # only for fuzz, which says how
fuzz:
	@$(MAKE) --no-print-directory $(PARALLEL) $(SANITIZED) fuzzers
	@printf '%s\n' $(FUZZ_SRC:fuzz/fuzz_%.c=%) | \
	  awk -v day=$$(($$(date +%s) / 86400)) \
	    '{ print (NR + day) % $(FUZZ_TURNS) ? 0 : $(FUZZ_SECONDS), $$0 }' | \
	  xargs -P "$$(nproc)" -n 2 tools/fuzz.sh build-fuzz

demo: deps
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/nibble
	@BUILD=$(BUILD) tools/demo.sh

demo-cycle: deps
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/nibble
	@BUILD=$(BUILD) tools/demo-cycle.sh

demo-classify: deps
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/nibble
	@BUILD=$(BUILD) tools/demo-classify.sh

examples: $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
$(BUILD)/examples/%: examples/%.c $(BUILD)/libnibble.a
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) -std=c17 -Iinclude $(CPPFLAGS) $(WARN) $(SAN_FLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) $(LDLIBS)

$(BUILD)/nibble.1: docs/nibble.1 tools/man.sh $(BUILD)/nibble
	@tools/man.sh $(BUILD)/nibble docs/nibble.1 > $@.new && mv $@.new $@

COMPLETIONS := $(addprefix $(BUILD)/completion.,bash zsh fish)
$(COMPLETIONS): $(BUILD)/completion.%: $(BUILD)/nibble
	@$(BUILD)/nibble completion $* > $@.new && mv $@.new $@

install: all
	@$(MAKE) --no-print-directory $(BUILD)/nibble.1 $(COMPLETIONS) \
	  $(if $(LINK_SHARED),$(BUILD)/nibble-shared)
	install -d $(addprefix $(DESTDIR),$(PREFIX)/bin $(LIBDIR)/pkgconfig $(PREFIX)/include/nibble \
	  $(PREFIX)/share/man/man1 $(BASHDIR) $(ZSHDIR) $(FISHDIR))
	install -m 755 $(BUILD)/$(if $(LINK_SHARED),nibble-shared,nibble) $(DESTDIR)$(PREFIX)/bin/nibble
	install -m 644 $(BUILD)/libnibble.a $(DESTDIR)$(LIBDIR)/libnibble.a
	install -m 644 $(SHARED) $(DESTDIR)$(LIBDIR)/libnibble.so.$(VERSION)
	ln -sf libnibble.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libnibble.so
	install -m 644 include/nibble/*.h $(DESTDIR)$(PREFIX)/include/nibble/
	install -m 644 $(BUILD)/nibble.1 $(DESTDIR)$(PREFIX)/share/man/man1/nibble.1
	install -m 644 $(BUILD)/completion.bash $(DESTDIR)$(BASHDIR)/nibble
	install -m 644 $(BUILD)/completion.zsh $(DESTDIR)$(ZSHDIR)/_nibble
	install -m 644 $(BUILD)/completion.fish $(DESTDIR)$(FISHDIR)/nibble.fish
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	    -e 's|@PACKAGES@|$(PACKAGES)|' \
	    tools/nibble.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/nibble.pc

# LINK_SHARED=1: the program needs libnibble.so where it is installed.

# What is committed, without submodules; it builds without git (.gitattributes, tools/commit.sh).
dist:
	@mkdir -p $(BUILD)
	git archive --prefix=nibble-$(VERSION)/ HEAD | gzip -n9 > $(BUILD)/nibble-$(VERSION).tar.gz

# Debian packages of that tarball, in build/debian: nibble, libnibble0, libnibble-dev.
deb: dist
	@tools/install-deps.sh --deb
	@BUILD=$(BUILD) VERSION=$(VERSION) tools/debian.sh

# Without a program of its own for each Python: it holds ours, and a module that runs it.
wheel: have-packages
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/nibble-shared
	@python3 tools/wheel.py --version $(VERSION) --program $(BUILD)/nibble-shared \
	  --library $(SHARED) --out $(BUILD)

clean:
	rm -rf build build-*

-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(TESTS:=.d) $(SUPPORT_OBJ:.o=.d) $(BENCHES:=.d) \
         $(BENCH_SUPPORT:.o=.d) $(wildcard $(BUILD)/fuzz/*.d)
.SECONDARY:
