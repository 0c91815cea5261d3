# derope: `make demo` shows it, `make` builds ./build/derope, `make check` tests it. README.md lists the rest.
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
PREFIX ?= /usr/local
PEERS ?= .peers
SANITIZE ?=

LIBS := libzip yaml-0.1 libxxhash openblas jansson libpcre2-8 libutf8proc zlib libzstd
PKG_CFLAGS := $(shell pkg-config --cflags $(LIBS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(LIBS) 2>/dev/null)

CFLAGS ?= -O2 -g
# Warnings are errors, in every build.
WARNINGS := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Werror -Wno-pass-failed
# Derope is a program and not a library, so no symbol is exported. Loops are vectorised where the source says so (omp simd).
# Nothing else may reorder arithmetic.
BASE_CFLAGS := -std=gnu11 -fopenmp-simd -fvisibility=hidden $(WARNINGS) -D_GNU_SOURCE -I. -MMD -MP -pthread $(PKG_CFLAGS) $(SANITIZE)
# No contraction to FMA outside recal: decoded values must equal the reference bit for bit.
MATH_CFLAGS := -ffp-contract=off
RECAL_CFLAGS := -O3 -fno-math-errno -fno-trapping-math
# The flags of one source file.
FLAGS_OF = $(CFLAGS) $(BASE_CFLAGS) $(if $(filter recal/%,$(1)),$(RECAL_CFLAGS),$(MATH_CFLAGS))

SOURCES := $(sort $(wildcard formats/*.c surgery/*.c surgery/*/*.c recal/*.c recal/*/*.c cmd/*.c cmd/*/*.c))
LIB_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(filter-out cmd/main.c,$(SOURCES)))
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/test_*.c)))
TOOLS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/tool_*.c)))
LDLIBS := $(PKG_LIBS) -lm
LINK = $(CC) $(CFLAGS) $(SANITIZE) -pthread -o $@ $(filter %.o %.a,$^) $(LDLIBS)
# Said before the first compile, instead of a missing header.
MISSING := $(if $(PKG_LIBS),,missing-libraries)
# make V=1 shows the commands.
Q := $(if $(filter-out 0,$(V)),,@)

all: $(BUILD)/derope

$(BUILD)/derope: $(BUILD)/cmd/main.o $(BUILD)/libderope.a
	$(Q)$(LINK)

$(BUILD)/libderope.a: $(LIB_OBJECTS)
	$(Q)rm -f $@ && ar rcs $@ $(filter %.o,$^)

$(BUILD)/%.o: %.c $(BUILD)/flags | $(MISSING)
	@mkdir -p $(@D)
	@echo "  CC $<"
	$(Q)$(CC) $(call FLAGS_OF,$<) -c -o $@ $<

# The flags of the last build. The file changes only when they do, and then everything is compiled again.
$(BUILD)/flags: look-at-flags
	@mkdir -p $(@D)
	@echo '$(call FLAGS_OF,recal/) $(MATH_CFLAGS)' >$@.new; if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(BUILD)/libderope.a
	$(Q)$(LINK) -lcmocka

$(BUILD)/tests/tool_%: $(BUILD)/tests/tool_%.o $(BUILD)/libderope.a
	$(Q)$(LINK)

missing-libraries:
	@echo "derope's libraries (or pkg-config) are missing: .ci/setup installs them as root, and prints the command otherwise"
	@exit 1

tools: $(TOOLS)
tests: $(TESTS) $(TOOLS) $(BUILD)/derope

# The cmocka programs, without set-up; -j runs several at once. One alone: make build/tests/test_json && build/tests/test_json
test: $(TESTS:%=%.run)
	@failed=$$(cat $(TESTS:%=%.failed) 2>/dev/null | tr '\n' ' '); \
	if [ -n "$$failed" ]; then echo "failed: $$failed"; exit 1; \
	else echo "all $(words $(TESTS)) test programs passed"; fi

# What one program says is kept in a file beside it and shown where it fails; the others are run all the same.
%.run: % $(BUILD)/derope
	@rm -f $*.failed; DEROPE=$(BUILD)/derope $* >$*.log 2>&1 || { cat $*.log; echo $(*F) >$*.failed; }; \
	echo "  $(*F): $$(grep -c '^\[       OK \]' $*.log) passed$$(grep -o ', [0-9]* skipped' $*.log)$$(test -e $*.failed && echo ', FAILED')"

# ---- what a person types: each brings its own libraries (.ci/setup) ----

check:
	@.ci/setup check
	@$(MAKE) --no-print-directory test

demo:
	@.ci/setup build
	@$(MAKE) --no-print-directory all
	@$(MAKE) --no-print-directory -C examples/embedded demo DEROPE=$(abspath $(BUILD)/derope)

# The man page and the completions are printed by the program itself.
SHARE := $(DESTDIR)$(PREFIX)/share
MAN := $(SHARE)/man/man1/derope.1
COMPLETIONS := $(SHARE)/bash-completion/completions/derope $(SHARE)/zsh/site-functions/_derope \
    $(SHARE)/fish/vendor_completions.d/derope.fish

install: all
	install -D -m 755 $(BUILD)/derope $(DESTDIR)$(PREFIX)/bin/derope
	install -d $(dir $(MAN) $(COMPLETIONS))
	$(BUILD)/derope help --man >$(MAN)
	$(BUILD)/derope help --completion bash >$(word 1,$(COMPLETIONS))
	$(BUILD)/derope help --completion zsh >$(word 2,$(COMPLETIONS))
	$(BUILD)/derope help --completion fish >$(word 3,$(COMPLETIONS))
	chmod 644 $(MAN) $(COMPLETIONS)

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/derope $(MAN) $(COMPLETIONS)

# ---- against what nobody here wrote ----

peers:
	@.ci/setup ci
	@.ci/peers $(PEERS)

PYTEST = DEROPE=$(abspath $(BUILD)/derope) PEERS=$(abspath $(PEERS)) $(PEERS)/venv/bin/python -m pytest -q -rs -p no:cacheprovider

# Two at once: most of them wait for one thread of Python. Long ones run alone, because they measure time.
check-peers: peers
	@$(MAKE) --no-print-directory all tools
	$(PYTEST) -n 2 --dist loadfile -m "not long" tests/peers

# The table of families in surgery/README.md, from what the comparisons find; and that of carriers.
families: peers
	@$(MAKE) --no-print-directory all tools
	DEROPE_MATRIX=$(abspath tests/peers/families.json) $(PYTEST) $(patsubst %,tests/peers/test_%.py,families gradients transformers5) -k "not readme"
	$(PEERS)/venv/bin/python tests/peers/matrix.py

check-long: peers
	@.ci/llama $(PEERS)
	@$(MAKE) --no-print-directory all tools
	$(PYTEST) -m long tests/peers

# Speed side by side with others: conversion, forward and training, tokenizers, encoders, reading long texts (which builds llama.cpp
# for this processor first). One alone: make bench BENCH=net
BENCH ?= convert net tokenizer quants prefill
bench: peers
	@.ci/llama $(PEERS) $(if $(filter prefill,$(BENCH)),native,source)
	@$(MAKE) --no-print-directory all tools
	@for b in $(BENCH); do DEROPE=$(abspath $(BUILD)/derope) PEERS=$(abspath $(PEERS)) $(PEERS)/venv/bin/python tests/peers/bench_$$b.py || exit 1; done

# ---- other ways to build and look ----

# The tests under the sanitizers and the fuzzers share one build, by clang. What libFuzzer needs in each object slows the tests a little
# and saves a compile of everything.
SANITIZED := BUILD=build/sanitize CC=clang CFLAGS="-O1 -g -fno-omit-frame-pointer" \
    SANITIZE="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined"

# libFuzzer on every reader, FUZZ_SECONDS each, as many at once as -j says. A crash leaves its input in build/sanitize.
FUZZ_SECONDS ?= 10
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))

fuzz:
	@$(MAKE) --no-print-directory fuzz-run $(SANITIZED)

$(BUILD)/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/libderope.a
	$(Q)$(LINK) -fsanitize=fuzzer

fuzz-run: $(FUZZERS:%=%.fuzz)

$(BUILD)/fuzz_%.fuzz: $(BUILD)/fuzz_%
	@mkdir -p $(BUILD)/corpus/$*
	@$< -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=2048 -artifact_prefix=$(BUILD)/ \
	    $(BUILD)/corpus/$* tests/fuzz/seeds/$* >$(BUILD)/$*.log 2>&1 || { echo "$*:"; tail -40 $(BUILD)/$*.log; exit 1; }
	@echo "  $*: $$(tail -1 $(BUILD)/$*.log)"

# malloc must be able to fail, as it does without a sanitizer: a test asks for more memory than there can be.
check-sanitize:
	@ASAN_OPTIONS=allocator_may_return_null=1 $(MAKE) --no-print-directory test $(SANITIZED)

check-clang:
	@$(MAKE) --no-print-directory test BUILD=build/clang CC=clang

# The programs that use several threads, under the thread sanitizer. It needs the usual addresses: setarch turns their randomisation off.
THREADED := threads layers net train optimizer perplexity generate experts
check-tsan:
	@TSAN_OPTIONS="suppressions=$(abspath tests/tsan.supp) exitcode=66" $$(setarch -R true 2>/dev/null && echo setarch -R) \
	$(MAKE) --no-print-directory test BUILD=build/tsan TESTS="$(THREADED:%=build/tsan/tests/test_%)" SANITIZE="-fsanitize=thread" CFLAGS="-O1 -g"

# Every call of the system fails once, under every verb; FAULTS=--sample takes a fixed part. tests/faults/faults.py has the options.
FAULTS ?=
$(BUILD)/tests/faults/inject.so: tests/faults/inject.c
	@mkdir -p $(@D)
	@echo "  CC $<"
	$(Q)$(CC) $(CFLAGS) -D_GNU_SOURCE -Wall -Wextra -Werror -fPIC -shared -o $@ $< -ldl -pthread

check-faults: all $(BUILD)/tests/faults/inject.so
	@python3 tests/faults/faults.py $(BUILD) $(FAULTS)

# Lines of each folder that the cmocka programs run, by gcov.
coverage:
	@rm -rf build/coverage/*.gcda && find build/coverage -name '*.gcda' -delete 2>/dev/null; \
	$(MAKE) --no-print-directory test BUILD=build/coverage CC=gcc SANITIZE=--coverage CFLAGS="-O0 -g"
	@find build/coverage -name '*.gcda' -not -path '*/tests/*' | xargs gcov -n -r 2>/dev/null | awk -f tests/coverage.awk

# ---- what reads the source without running it ----

FORMATTED := $(SOURCES) $(sort $(wildcard tests/*.c tests/*.h tests/*/*.c formats/*.h surgery/*.h surgery/*/*.h recal/*.h recal/*/*.h cmd/*.h cmd/*/*.h examples/*/*.c))
# The layout is clang-format 14's; other versions disagree with it in details.
check-style:
	@if clang-format --version | grep -q 'version 14\.'; then clang-format --dry-run -Werror $(FORMATTED); \
	else echo "check-style: skipped, needs clang-format 14"; fi

# Circles between files, arrows against the order formats, surgery, recal, cmd, headers whose names are defined elsewhere, and functions
# that could be static.
check-structure: tests
	@python3 tests/structure.py --strict $(BUILD)

# clang-tidy (.clang-tidy says which checks), gcc -fanalyzer and cppcheck; the warnings of every build are above. A file is looked at
# again when it or one of its headers has changed, which is when its object is compiled again. clang's analyzer runs in its shallow mode,
# which takes a tenth of the time; gcc's goes as deep as it can.
lint: $(patsubst %.c,$(BUILD)/lint/%.tidy,$(SOURCES)) $(patsubst %.c,$(BUILD)/lint/%.analyzed,$(SOURCES)) $(BUILD)/lint/cppcheck
	@echo "lint: $(words $(SOURCES)) source files, nothing found"

$(BUILD)/lint/%.tidy: %.c $(BUILD)/%.o .clang-tidy
	@mkdir -p $(@D)
	@echo "  TIDY $<"
	$(Q)clang-tidy --quiet --warnings-as-errors='*' $< -- $(filter-out -MMD -MP,$(call FLAGS_OF,$<)) -Xclang -analyzer-config -Xclang mode=shallow >$@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@

# Without optimisation: inlined code has gcc 12 report values that it cannot name. And not for uninitialised values, because it takes
# each memcpy of a float into an integer of its size for one; the compilers and clang-tidy look for those.
$(BUILD)/lint/%.analyzed: %.c $(BUILD)/%.o
	@mkdir -p $(@D)
	@echo "  ANALYZE $<"
	$(Q)gcc $(filter-out -MMD -MP,$(call FLAGS_OF,$<)) -O0 -fanalyzer -Wno-analyzer-use-of-uninitialized-value -S -o /dev/null $<
	@touch $@

$(BUILD)/lint/cppcheck: $(LIB_OBJECTS) .ci/cppcheck-suppressions .ci/cppcheck.cfg
	@mkdir -p $(@D)
	@echo "  CPPCHECK"
	$(Q)cppcheck -j2 --quiet --std=c11 --enable=warning,performance,portability --library=.ci/cppcheck.cfg \
	    --suppressions-list=.ci/cppcheck-suppressions --error-exitcode=1 -I. formats surgery recal cmd
	@touch $@

# For editors and other tools that ask how a file is compiled; clangd finds it in build/.
compile_commands.json: $(BUILD)/compile_commands.json
$(BUILD)/compile_commands.json: Makefile
	@mkdir -p $(@D)
	@{ echo '['; $(foreach f,$(SOURCES) $(wildcard tests/*.c tests/fuzz/*.c),echo '{"directory": "$(CURDIR)", "file": "$(f)", "command": "$(CC) $(filter-out -MMD -MP,$(call FLAGS_OF,$(f))) -c $(f)"},';) } \
	    | sed '$$s/,$$/\n]/' >$@
	@echo "$@"

format:
	clang-format -i $(FORMATTED)

clean:
	rm -rf $(BUILD)

.PHONY: all look-at-flags missing-libraries tools tests test check demo install uninstall peers check-peers families check-long bench fuzz fuzz-run
.PHONY: check-sanitize check-clang check-tsan check-faults coverage check-style check-structure lint compile_commands.json format clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
