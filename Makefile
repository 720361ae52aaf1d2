# iotops -- build, test, install.  `make help` lists what there is.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
SHARED  ?=
CC      ?= gcc
# SANITIZE=address,undefined builds everything with those sanitizers.
SANITIZE ?=
OPTIMIZE ?= -O2

LUA      := lua5.4
PACKAGES := libuv openssl jansson
SYSTEM_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) lua5.4 2>/dev/null)
CORE_LIBS     := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lmosquitto
LUA_LIBS      := $(shell pkg-config --libs lua5.4 2>/dev/null)

ifneq ($(SANITIZE),)
SANITIZER := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif

CFLAGS   ?= $(OPTIMIZE) -g
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -fPIC \
  -fvisibility=hidden -MMD -MP -Ihost/include -Ihost -Ibindings \
  $(SYSTEM_CFLAGS) $(CFLAGS) $(SANITIZER)
ALL_LDFLAGS := $(LDFLAGS) $(SANITIZER)

CORE_SOURCES := $(wildcard host/context/*.c host/session/*.c \
  host/protocol/*.c host/services/*.c host/edge/*.c)
BINDING_SOURCES := $(wildcard bindings/*.c)
HOST_SOURCES := $(wildcard host/runtime/*.c host/commands/*.c host/main.c)
LUA_SOURCES := $(wildcard scripts/iotops/*.lua)
UNIT_SOURCES := $(wildcard tests/unit/test_*.c)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
CORE_OBJECTS    := $(call objects,$(CORE_SOURCES))
BINDING_OBJECTS := $(call objects,$(BINDING_SOURCES))
HOST_OBJECTS    := $(call objects,$(HOST_SOURCES))
UNIT_TESTS      := $(patsubst %.c,$(BUILD)/%,$(UNIT_SOURCES))

.PHONY: all unit clean
.SECONDARY:

all: $(BUILD)/libiotops.a $(BUILD)/libiotops.so.0

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/libiotops.a: $(CORE_OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/libiotops.so.0: $(CORE_OBJECTS)
	$(CC) -shared -Wl,-soname,libiotops.so.0 $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

# The Lua module: build/lua is what LUA_PATH and LUA_CPATH point at.
$(BUILD)/lua/iotops/core.so: $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	@mkdir -p $(@D)
	$(CC) -shared $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

$(BUILD)/iotops: $(HOST_OBJECTS) $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	$(CC) -rdynamic $(ALL_LDFLAGS) $^ $(CORE_LIBS) $(LUA_LIBS) -o $@

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(BUILD)/libiotops.a
	$(CC) $(ALL_LDFLAGS) $< $(BUILD)/libiotops.a $(CORE_LIBS) -lcmocka -o $@

unit: $(UNIT_TESTS)
	@set -e; for t in $^; do $$t; done

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
