# derope: `make` builds ./build/derope, `make check` tests it. README.md lists the rest.
CC ?= gcc
BUILD ?= build
PREFIX ?= /usr/local
SANITIZE ?=

LIBS := libzip yaml-0.1 libxxhash openblas jansson libpcre2-8 libutf8proc zlib libzstd
PKG_CFLAGS := $(shell pkg-config --cflags $(LIBS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(LIBS) 2>/dev/null)

# No contraction to FMA in formats and surgery: decoded values must equal the reference bit for bit.
CFLAGS ?= -O2 -g
BASE_CFLAGS := -std=gnu11 -Wall -Wextra -Werror -D_GNU_SOURCE -I. -MMD -MP -pthread $(PKG_CFLAGS) $(SANITIZE)
MATH_CFLAGS := -ffp-contract=off
RECAL_CFLAGS := -O3 -fno-math-errno -fno-trapping-math

SOURCES := $(sort $(wildcard formats/*.c surgery/*.c surgery/*/*.c recal/*.c recal/*/*.c cmd/*.c))
LIB_SOURCES := $(filter-out cmd/main.c,$(SOURCES))
LIB_OBJECTS := $(LIB_SOURCES:%.c=$(BUILD)/%.o)
TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/test_*.c)))
TOOLS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(sort $(wildcard tests/tool_*.c)))
LDLIBS := $(PKG_LIBS) -lm

all: $(BUILD)/derope

$(BUILD)/derope: $(BUILD)/cmd/main.o $(BUILD)/libderope.a
	$(CC) $(CFLAGS) $(SANITIZE) -pthread -o $@ $^ $(LDLIBS)

$(BUILD)/libderope.a: $(LIB_OBJECTS)
	rm -f $@ && ar rcs $@ $^

$(BUILD)/recal/%.o: recal/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(BASE_CFLAGS) $(RECAL_CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(BASE_CFLAGS) $(MATH_CFLAGS) -c -o $@ $<

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libderope.a
	$(CC) $(CFLAGS) $(SANITIZE) -pthread -o $@ $^ $(LDLIBS) -lcmocka

$(BUILD)/tests/tool_%: $(BUILD)/tests/tool_%.o $(BUILD)/libderope.a
	$(CC) $(CFLAGS) $(SANITIZE) -pthread -o $@ $^ $(LDLIBS)

tools: $(TOOLS)

# One test program: make build/tests/test_json && build/tests/test_json
test: $(TESTS) $(BUILD)/derope
	@failed=0; for t in $(TESTS); do DEROPE=$(BUILD)/derope $$t || failed=1; done; exit $$failed

format:
	clang-format -i $(SOURCES) $(wildcard tests/*.c tests/*.h) $(wildcard */*.h */*/*.h)

clean:
	rm -rf $(BUILD)

.PHONY: all tools test format clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
