# slotpress. `make all` builds build/slotpress, `make check` tests it, `make demo` shows it at work;
# each of them first runs tools/bootstrap. Sources are found by their folders; all output is under
# $(BUILD). To change: CC, CFLAGS, CPPFLAGS, LDFLAGS, WERROR= (warnings are no errors),
# DNNL_PREFIX= (a oneDNN of your own, 2.6 or 3.x), CXX, PARQUET=no (a build that reads no .parquet),
# PREFIX, DESTDIR; V=1 shows the commands.
VERSION := 0.1.0

BUILD   ?= build
# With transformers and PEFT, for comparisons; `tools/bootstrap reference` makes such a one.
export PYTHON ?= $(firstword $(wildcard $(BUILD)/reference/bin/python) python3)
PREFIX  ?= /usr/local
CC      := mpicc
AR      := gcc-ar
CFLAGS  ?= -O2 -g
WERROR  ?= -Werror

# Asked when first used, so that a bootstrap in the same make comes before.
once = $(eval $1 := $(shell $2))$($1)
HDF5    = $(call once,HDF5,pkg-config --exists hdf5-openmpi && echo hdf5-openmpi || echo hdf5)
MODULES = $(HDF5) openblas libpcre2-8 jansson yaml-0.1 libutf8proc libzstd zlib libxxhash libcrypto
MODULE_CFLAGS = $(call once,MODULE_CFLAGS,$(PKG_CONFIG) --cflags $(MODULES))
MODULE_LIBS   = $(call once,MODULE_LIBS,$(PKG_CONFIG) --libs $(MODULES))

# Debian keeps one OpenBLAS for each kind of threads side by side; ours shares OpenMP's with our own
# loops, so its folder goes first, and into the binary.
OPENBLAS_OPENMP = $(call once,OPENBLAS_OPENMP,ls -d /usr/lib/$$(gcc -print-multiarch)/openblas-openmp 2>/dev/null)
PKG_CONFIG = PKG_CONFIG_PATH="$(addsuffix /pkgconfig:,$(OPENBLAS_OPENMP))$$PKG_CONFIG_PATH" pkg-config

# Parquet is read by Arrow's C++ library, behind one C++ file, in a shared object of its own that is
# loaded when a Parquet file comes: a site's Arrow, or the one that tools/bootstrap unpacks, which
# `make install` then takes along.
ARROW     = $(BUILD)/arrow
ARROW_PC  = PKG_CONFIG_PATH="$$PKG_CONFIG_PATH:$(ARROW)" pkg-config
ifeq ($(origin PARQUET),undefined)
PARQUET := $(shell $(ARROW_PC) --exists parquet && : | $(CXX) -std=c++20 -fsyntax-only -x c++ - 2>&1 && echo yes || echo no)
endif
ARROW_DIR    = $(call once,ARROW_DIR,$(ARROW_PC) --variable=libdir parquet)
ARROW_CFLAGS = $(call once,ARROW_CFLAGS,$(ARROW_PC) --cflags parquet)
ARROW_LIBS   = $(call once,ARROW_LIBS,$(ARROW_PC) --libs parquet)
IS_OWN_ARROW = $(and $(filter yes,$(PARQUET)),$(filter $(ARROW),$(ARROW_DIR)))
CXX_ALL = -std=c++20 -fPIC -fvisibility=hidden -Wall -Wextra -Wshadow -Wconversion $(WERROR) $(CFLAGS)

CPP_ALL = -I. -Isrc -D_GNU_SOURCE -DSLOTPRESS_VERSION='"$(VERSION)"' \
          $(addprefix -I,$(addsuffix /include,$(DNNL_PREFIX))) $(MODULE_CFLAGS) $(CPPFLAGS)
OPENMP  = -fopenmp
C_ALL   = -std=c11 $(OPENMP) -Wall -Wextra -Wshadow -Wconversion $(WERROR) $(CFLAGS)
LD_ALL  = $(addprefix -Wl$(comma)-rpath$(comma),$(OPENBLAS_OPENMP)) $(LDFLAGS)
LIBS    = $(foreach dir,$(DNNL_PREFIX),-L$(dir)/lib -Wl$(comma)-rpath$(comma)$(dir)/lib) -ldnnl \
          $(MODULE_LIBS) -ldl -lm
comma  := ,

# Kernels are loops that the compiler is to vectorize; no flag here changes a result.
TENSOR_CFLAGS := -O3 -fno-math-errno -fno-trapping-math
# cmocka fixes the signature of a test, which may leave its state unused.
TEST_CFLAGS   := -Wno-unused-parameter
# By the source's folder.
folder_cflags = $(if $(filter src/tensor/% src/model/dropout.c,$1),$(TENSOR_CFLAGS))$(if $(filter tests/%,$1),$(TEST_CFLAGS))

SOURCES       := $(filter-out src/cli/main.c,$(sort $(wildcard src/*/*.c mpi/*.c io/*.c)))
TEST_SOURCES  := $(sort $(wildcard $(foreach kind,unit gradient parity mpi faults,tests/$(kind)/test_*.c)))
BENCH_SOURCES := $(sort $(wildcard tests/bench/bench_*.c))
FUZZ_SOURCES  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_HELP     := $(sort $(filter-out $(FUZZ_SOURCES),$(wildcard tests/fuzz/*.c)))
# The interposer is for scripts alone, which build it: linked in, it would stand before the C library.
HELP_SOURCES  := $(sort $(filter-out $(TEST_SOURCES) $(BENCH_SOURCES) tests/fuzz/% %/interposer.c,$(wildcard tests/*.c tests/*/*.c)))
TEST_SCRIPTS  := $(sort $(wildcard $(foreach kind,unit gradient parity mpi faults slurm,tests/$(kind)/test_*.sh)))
LONG_SCRIPTS  := $(sort $(wildcard tests/long/test_*.sh))
FORMATTED     := $(sort $(wildcard src/*/*.[ch] mpi/*.[ch] io/*.[ch] io/*.cc tests/*.[ch] tests/*/*.[ch]))

LIBRARY := $(BUILD)/libslotpress.a
HELPERS := $(BUILD)/libtesthelpers.a
BINARY  := $(BUILD)/slotpress
PLUGIN  := $(if $(filter yes,$(PARQUET)),$(BUILD)/slotpress-parquet.so)
TESTS   := $(TEST_SOURCES:%.c=$(BUILD)/%)
BENCHES := $(BENCH_SOURCES:%.c=$(BUILD)/%)

# --- what a user asks for -------------------------------------------------------------------------

# The binary needs no download; the demo and the tests do.
all: binary
	@BUILD=$(BUILD) tools/bootstrap downloads || echo "$(BINARY) is built all the same"

check: test-programs downloads
	@BUILD=$(BUILD) tools/run-tests $(TESTS) $(TEST_SCRIPTS)

demo: binary downloads
	@BUILD=$(BUILD) tools/demo

# Hours, unless SCALE says less: tools/reproduce.
reproduce: binary downloads
	@BUILD=$(BUILD) tools/reproduce

bench: binary downloads
	@$(MAKE) $(JOBS) --no-print-directory $(BENCHES)
	@BUILD=$(BUILD) tests/bench/run

# One training on one rank and on two, as replicas and as a pipeline.
bench-parallel: binary downloads
	@BUILD=$(BUILD) tests/bench/parallel

# The whole tree under AddressSanitizer and UndefinedBehaviorSanitizer, in a folder of its own.
SAN       := $(BUILD)/san
SAN_TESTS := $(TEST_SOURCES:%.c=$(SAN)/%)
san: san-programs downloads
	@BUILD=$(SAN) TEST_TIMEOUT=900 tools/run-tests $(SAN_TESTS)

# The readers of files on random ones, for FUZZ_SECONDS (12) each.
FUZZ      := $(BUILD)/fuzz
FUZZERS   := $(FUZZ_SOURCES:%.c=$(FUZZ)/%)
fuzz: fuzz-programs
	@BUILD=$(BUILD) TEST_TIMEOUT=86400 tools/run-tests $(FUZZERS)

check-long: san-programs fuzz-programs binary downloads
	@BUILD=$(BUILD) TEST_TIMEOUT=1800 tools/run-tests $(SAN_TESTS) $(LONG_SCRIPTS) $(FUZZERS)

lint:
	@tools/lint

format:
	clang-format -i $(FORMATTED)

install: $(BINARY) $(PLUGIN)
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/slotpress
	install $(BINARY) $(DESTDIR)$(PREFIX)/bin/slotpress
	cp -R configs jobs $(DESTDIR)$(PREFIX)/share/slotpress/
	$(if $(PLUGIN),install -d $(DESTDIR)$(PREFIX)/lib/slotpress)
	$(if $(PLUGIN),install $(PLUGIN) $(DESTDIR)$(PREFIX)/lib/slotpress/)
	$(if $(IS_OWN_ARROW),cp $(ARROW)/lib*.so.* $(ARROW)/*.txt $(DESTDIR)$(PREFIX)/lib/slotpress/)

# Downloads stay: they are the same for every build.
clean:
	@if [ -d $(BUILD) ]; then \
	    find $(BUILD) -mindepth 1 -maxdepth 1 ! -name models ! -name data ! -name tokenizers ! -name reference ! -name arrow -exec rm -rf {} +; fi

.PHONY: all check check-long demo reproduce bench bench-parallel lint format san fuzz clean install
.DEFAULT_GOAL := all

# --- steps of these -------------------------------------------------------------------------------

# A make of its own builds what stands behind the packages: it finds the libraries that they bring,
# and uses all cores unless -j says how many.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))
# Without Parquet all else is built.
packages:
	@BUILD=$(BUILD) tools/bootstrap packages
	@$(if $(filter-out file,$(origin PARQUET)),:,BUILD=$(BUILD) tools/bootstrap parquet || :)
downloads: packages
	@BUILD=$(BUILD) tools/bootstrap downloads
binary: packages
	@$(MAKE) $(JOBS) --no-print-directory $(BINARY)
test-programs: binary
	@$(MAKE) $(JOBS) --no-print-directory $(TESTS) $(BENCHES)
# After the plain build, so that two makes never write one file. The sanitizers stand between a program
# and dlopen(), which then heeds only run paths of the older kind.
san-programs: binary
	@mkdir -p $(SAN) && for name in models data tokenizers arrow; do ln -sfn ../$$name $(SAN)/$$name; done
	@$(MAKE) $(JOBS) --no-print-directory BUILD=$(SAN) LDFLAGS="-Wl,--disable-new-dtags $(LDFLAGS)" \
	    CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all" \
	    $(SAN_TESTS) $(SAN)/slotpress

# By clang and without OpenMP: what the readers need, and no more. Without clang there are none, and
# the tests are skipped. Two checks of C++ are not for programs in C.
READERS = $(wildcard $(addsuffix .c,src/base/* src/text/* src/tensor/tensor* src/tensor/dequantize src/tensor/rope \
          src/model/family src/model/model_config src/model/rope_config io/*))
fuzz-programs: binary
	@mkdir -p $(FUZZ) && ln -sfn ../arrow $(FUZZ)/arrow
	@! BUILD=$(BUILD) tools/bootstrap fuzzing || OMPI_CC=clang MPICH_CC=clang \
	    $(MAKE) $(JOBS) --no-print-directory BUILD=$(FUZZ) CXX=clang++ WERROR= SOURCES="$(READERS)" \
	    OPENMP="-Wno-unknown-pragmas -Wno-source-uses-openmp" \
	    CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-sanitize=vptr,function" \
	    LDFLAGS="-Wl,--disable-new-dtags $(LDFLAGS)" $(FUZZERS)

.PHONY: packages downloads binary test-programs san-programs fuzz-programs FORCE

# One word and the file, or with V=1 the whole command.
QUIET = $(if $(V),,@)
show  = @$(if $(V),:,printf '  %-5s %s\n' $1 $2)

# --- files ----------------------------------------------------------------------------------------

# Changes only when a flag does; every object depends on it.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(subst ','\'',$(CC) $(CPP_ALL) $(C_ALL) $(LD_ALL) $(LIBS) $(TENSOR_CFLAGS) $(TEST_CFLAGS) $(CXX) $(CXX_ALL) $(if $(PLUGIN),$(ARROW_CFLAGS) $(ARROW_LIBS)))' >$@.$$$$; \
	    if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,cc,$<)
	$(QUIET)$(CC) $(CPP_ALL) $(C_ALL) $(call folder_cflags,$<) -MMD -MP -c -o $@ $<

$(BUILD)/obj/%.o: %.cc $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,c++,$<)
	$(QUIET)$(CXX) -I. -Isrc $(CPPFLAGS) $(ARROW_CFLAGS) $(CXX_ALL) -MMD -MP -c -o $@ $<

# Made anew, so that what has lost its source goes.
$(LIBRARY): $(SOURCES:%.c=$(BUILD)/obj/%.o)
	@rm -f $@
	@$(AR) rcs $@ $^

$(HELPERS): $(HELP_SOURCES:%.c=$(BUILD)/obj/%.o)
	@rm -f $@
	@$(AR) rcs $@ $^

# Beside Arrow's libraries when installed, above them before.
$(BUILD)/slotpress-parquet.so: $(BUILD)/obj/io/parquet_arrow.o
	$(call show,link,$@)
	$(QUIET)$(CXX) $(CXX_ALL) -shared $(LDFLAGS) -Wl,-rpath,'$(if $(IS_OWN_ARROW),$$ORIGIN:$$ORIGIN/arrow,$(ARROW_DIR))' -o $@ $^ $(ARROW_LIBS)

# Programs look for that where it is, relative to themselves, so that a build folder may move.
$(BINARY): $(BUILD)/obj/src/cli/main.o $(LIBRARY) | $(PLUGIN)
	$(call show,link,$@)
	$(QUIET)$(CC) $(C_ALL) $(LD_ALL) -Wl,-rpath,'$$ORIGIN:$$ORIGIN/../lib/slotpress' -o $@ $^ $(LIBS)

$(TESTS) $(BENCHES): $(BUILD)/%: $(BUILD)/obj/%.o $(HELPERS) $(LIBRARY) | $(PLUGIN)
	@mkdir -p $(@D)
	$(call show,link,$@)
	$(QUIET)$(CC) $(C_ALL) $(LD_ALL) -Wl,-rpath,'$$ORIGIN/../..' -o $@ $^ -lcmocka $(LIBS)

# Before the library, whose io/mapping.c gives way.
$(FUZZ_SOURCES:%.c=$(BUILD)/%): $(BUILD)/%: $(BUILD)/obj/%.o $(FUZZ_HELP:%.c=$(BUILD)/obj/%.o) $(LIBRARY) | $(PLUGIN)
	@mkdir -p $(@D)
	$(call show,link,$@)
	$(QUIET)$(CC) $(C_ALL) $(LD_ALL) -fsanitize=fuzzer -Wl,-rpath,'$$ORIGIN/../..' -o $@ $^ -Wl,--as-needed $(LIBS)

.SECONDARY:
-include $(BUILD)/obj/io/parquet_arrow.d
-include $(patsubst %.c,$(BUILD)/obj/%.d,$(SOURCES) src/cli/main.c $(TEST_SOURCES) $(BENCH_SOURCES) $(HELP_SOURCES) $(FUZZ_SOURCES) $(FUZZ_HELP))
