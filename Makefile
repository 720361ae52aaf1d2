# iotops -- build, test, install.  `make help` lists what there is.

BUILD    ?= build
PREFIX   ?= /usr/local
DESTDIR  ?=
# Folder with the specification's conformance cases; empty: not run.
SHARED   ?=
OPTIMIZE ?= -O2
# SANITIZE=address,undefined builds everything with those sanitizers.
SANITIZE ?=
# Where `make bench` writes its raw figures as JSON; empty: nowhere.
OUT      ?=
METL_DIR   ?=
METL_LEVEL ?=
METL_CASE  ?=

VERSION := $(shell sed -n 's/^.define IOTOPS_VERSION "\(.*\)"/\1/p' \
  host/include/iotops/api.h)
LUA     := lua5.4
ifeq ($(origin CC),default)
CC := gcc
endif

# ------------------------------------------------------- Debian packages --
# Said once: what builds and runs it (the demo too), what the tests add, what
# `make check` adds.

PACKAGES_BUILD := gcc libc6-dev pkg-config lua5.4 liblua5.4-dev libuv1-dev \
  libssl-dev libjansson-dev libmosquitto-dev libmicrohttpd-dev mosquitto \
  lua-cjson lua-luv
PACKAGES_TEST  := g++ libcmocka-dev lua-busted lua-filesystem luarocks \
  mosquitto-clients openssl valgrind lua-lpeg
PACKAGES_FUZZ  := clang libclang-rt-14-dev
PACKAGES_CHECK := clang-format clang-tidy cppcheck lua-check
# Taken out of Debian's package prometheus: installed, that starts a service.
PROMTOOL := $(firstword $(wildcard /usr/bin/promtool) $(BUILD)/promtool)

# ----------------------------------------------------------------- flags --

LIBRARIES := libuv openssl jansson libmosquitto
ifneq ($(shell command -v pkg-config),)
CORE_CFLAGS := $(shell pkg-config --cflags $(LIBRARIES) 2>/dev/null)
CORE_LIBS   := $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null)
HOST_LIBS   := $(shell pkg-config --libs libmicrohttpd 2>/dev/null)
LUA_CFLAGS  := $(shell pkg-config --cflags lua5.4 2>/dev/null)
LUA_LIBS    := $(shell pkg-config --libs lua5.4 2>/dev/null)
endif

ifneq ($(SANITIZE),)
SANITIZER := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer \
  -fno-sanitize-recover=all
endif

CFLAGS   ?= $(OPTIMIZE) -g
INCLUDES := -Ihost/include -Ihost -Ibindings
# No path of the folder it was built in ends up in what is installed.
LANGUAGE := -std=c11 -D_GNU_SOURCE -ffile-prefix-map=$(CURDIR)=.
ALL_CFLAGS = $(LANGUAGE) -Wall -Wextra -Werror -fPIC -fvisibility=hidden \
  -MMD -MP $(INCLUDES) $(CORE_CFLAGS) $(EXTRA_CFLAGS) $(CFLAGS) $(SANITIZER)
ALL_LDFLAGS := $(LDFLAGS) $(SANITIZER)

# --------------------------------------------------------------- sources --

CORE_SOURCES    := $(wildcard host/context/*.c host/session/*.c \
  host/protocol/*.c host/services/*.c host/edge/*.c)
BINDING_SOURCES := $(wildcard bindings/*.c)
RUNTIME_SOURCES := $(wildcard host/runtime/*.c host/testing/*.c)
HOST_SOURCES    := $(RUNTIME_SOURCES) $(wildcard host/commands/*.c host/main.c)
UNIT_SOURCES    := $(wildcard tests/unit/test_*.c)
BENCH_SOURCES   := $(wildcard tests/bench/*.c)
LUA_SOURCES     := $(shell find scripts/iotops -name '*.lua' 2>/dev/null)
STANDIN_SOURCES := $(shell find scripts/standin -name '*.lua' 2>/dev/null)
PUBLIC_HEADERS  := $(wildcard host/include/iotops/*.h)
ALL_SOURCES     := $(CORE_SOURCES) $(BINDING_SOURCES) $(HOST_SOURCES) \
  $(UNIT_SOURCES) $(BENCH_SOURCES) \
  $(wildcard tests/metl/*.c tests/metl/faulty/*.c tests/faults/*.c \
  tests/fuzz/*.c tests/model/*.c)
ALL_HEADERS     := $(shell find host bindings tests -name '*.h' 2>/dev/null)

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))
CORE_OBJECTS    := $(call objects,$(CORE_SOURCES))
BINDING_OBJECTS := $(call objects,$(BINDING_SOURCES))
HOST_OBJECTS    := $(call objects,$(HOST_SOURCES))
UNIT_TESTS      := $(patsubst %.c,$(BUILD)/%,$(UNIT_SOURCES))
UNIT_HELPERS    := $(call objects,$(filter-out $(UNIT_SOURCES), \
  $(wildcard tests/unit/*.c)))
METL_OBJECTS    := $(call objects,$(wildcard tests/metl/*.c))
FAULTY_OBJECTS  := $(call objects,$(wildcard tests/metl/faulty/*.c))
BENCHES         := $(patsubst %.c,$(BUILD)/%,$(BENCH_SOURCES))
LUA_FILES       := $(patsubst scripts/%,$(BUILD)/lua/%,$(LUA_SOURCES))

LIBRARY := $(BUILD)/libiotops.a $(BUILD)/libiotops.so.0
MODULE  := $(if $(BINDING_SOURCES),$(BUILD)/lua/iotops/core.so \
  $(BUILD)/lua/iotops/world.so $(LUA_FILES))
PROGRAM := $(if $(wildcard host/main.c),$(BUILD)/iotops)

# What a program of ours needs to find the module that was built here.
LUA_ENVIRONMENT = \
  LUA_PATH='$(abspath $(BUILD))/lua/?.lua;$(abspath $(BUILD))/lua/?/init.lua;;' \
  LUA_CPATH='$(abspath $(BUILD))/lua/?.so;;'

# V=1 shows the commands themselves.
V ?= 0
ifeq ($(V),0)
Q    := @
show = @printf '  %-4s %s\n' $(1) $(2)
endif

.DEFAULT_GOAL := all
.SECONDARY:
.PHONY: all program module unit replays models benches

all: $(LIBRARY) $(MODULE) $(PROGRAM) ## build the library, the Lua module and the program

# The core is compiled without Lua's headers: none may be included there.
$(BINDING_OBJECTS) $(HOST_OBJECTS) $(METL_OBJECTS) $(FAULTY_OBJECTS): EXTRA_CFLAGS = $(LUA_CFLAGS) \
  -ffunction-sections

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call show,CC,$<)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/libiotops.a: $(CORE_OBJECTS)
	@rm -f $@
	$(call show,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/libiotops.so.0: $(CORE_OBJECTS)
	$(call show,LINK,$@)
	$(Q)$(CC) -shared -Wl,-soname,libiotops.so.0 -Wl,--no-undefined \
	  $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@
	@ln -sf libiotops.so.0 $(BUILD)/libiotops.so

# The Lua module; its copy of the core is nobody else's.
$(BUILD)/lua/iotops/core.so: $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	@mkdir -p $(@D)
	$(call show,LINK,$@)
	$(Q)$(CC) -shared -Wl,--exclude-libs,ALL $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

# The same and the host's scripts, in memory, for iotops.testing.  What only a
# host needs that serves (an HTTP library) is left out.
$(BUILD)/lua/iotops/world.so: \
  $(call objects,$(filter-out %/http.c,$(RUNTIME_SOURCES))) \
  $(BUILD)/host/runtime/embedded.o $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	@mkdir -p $(@D)
	$(call show,LINK,$@)
	$(Q)$(CC) -shared -Wl,-Bsymbolic -Wl,--gc-sections \
	  -Wl,--exclude-libs,ALL $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

$(BUILD)/lua/%.lua: scripts/%.lua
	@mkdir -p $(@D)
	@cp $< $@

# The program carries the Lua half of the module, and the stand-ins.
EMBEDDED := $(BUILD)/host/runtime/embedded.o
$(BUILD)/host/runtime/embedded.c: host/runtime/embed.lua $(LUA_SOURCES) \
  $(STANDIN_SOURCES)
	@mkdir -p $(@D)
	$(Q)$(LUA) $< $@ scripts $(LUA_SOURCES) $(STANDIN_SOURCES)

$(EMBEDDED): $(BUILD)/host/runtime/embedded.c
	$(call show,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/iotops: $(HOST_OBJECTS) $(EMBEDDED) $(BINDING_OBJECTS) \
  $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) -rdynamic $(ALL_LDFLAGS) $^ $(CORE_LIBS) $(HOST_LIBS) $(LUA_LIBS) \
	  -ldl -o $@

$(BUILD)/tests/unit/test_memory_broker: \
  $(call objects,$(wildcard host/testing/memory_*.c))
$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(UNIT_HELPERS) \
  $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $(filter %.o,$^) $(BUILD)/libiotops.a \
	  $(CORE_LIBS) -lcmocka -o $@

# Units of the host are tested with what they use of it.
RUNTIME_OBJECTS := $(call objects,$(wildcard host/runtime/*.c))
$(BUILD)/tests/unit/test_runtime_%.o: EXTRA_CFLAGS = $(LUA_CFLAGS)
$(BUILD)/tests/unit/test_runtime_%: $(BUILD)/tests/unit/test_runtime_%.o \
  $(RUNTIME_OBJECTS) $(UNIT_HELPERS) $(BUILD)/libiotops.a
	@rm -f $@.a
	@$(AR) rcs $@.a $(RUNTIME_OBJECTS) $(UNIT_HELPERS)
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $< $@.a $(BUILD)/libiotops.a $(CORE_LIBS) \
	  $(HOST_LIBS) $(LUA_LIBS) -lcmocka -o $@

# Units of the bindings, with Lua.
$(BUILD)/tests/unit/test_lua_%.o: EXTRA_CFLAGS = $(LUA_CFLAGS)
$(BUILD)/tests/unit/test_lua_%: $(BUILD)/tests/unit/test_lua_%.o \
  $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) -rdynamic $(ALL_LDFLAGS) $^ $(CORE_LIBS) $(LUA_LIBS) -lcmocka \
	  -o $@

# Baselines: libmosquitto alone.
$(BUILD)/tests/bench/%: $(BUILD)/tests/bench/%.o
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $< -lmosquitto -o $@

# The conformance runner: Lua, core, bindings and test doubles in one program,
# so that there is one copy of the core and sanitizers see all of it.
$(BUILD)/metl: $(METL_OBJECTS) $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) -rdynamic $(ALL_LDFLAGS) $^ $(CORE_LIBS) $(LUA_LIBS) -ldl -o $@

# The same, broken on purpose: calls of these functions end in tests/metl/faulty.
FAULTY_WRAPS := metl_case_client response_cache_find response_cache_insert \
  topic_pattern_init expiry_from_us expiry_left iotops_cloud_event_from \
  cloud_event_check_user_data ack_queue_next
$(BUILD)/metl-faulty: $(METL_OBJECTS) $(FAULTY_OBJECTS) $(BINDING_OBJECTS) \
  $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) -rdynamic $(FAULTY_WRAPS:%=-Wl,--wrap=%) $(ALL_LDFLAGS) $^ \
	  $(CORE_LIBS) $(LUA_LIBS) -ldl -o $@

# One session a process, for the tests that kill it.
PEER := $(BUILD)/tests/faults/peer
$(PEER): $(BUILD)/tests/faults/peer.o $(BUILD)/libiotops.a
	$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

# TLS in front of the broker of the fault tests.
TERMINATOR := $(BUILD)/tests/faults/terminator
$(TERMINATOR): $(TERMINATOR).o
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

# Libraries that run out of memory, under an allocator that tells them apart.
LIBRARY_MEMORY := $(BUILD)/tests/faults/library_memory
$(LIBRARY_MEMORY).o: EXTRA_CFLAGS = $(LUA_CFLAGS)
$(LIBRARY_MEMORY): $(LIBRARY_MEMORY).o $(BUILD)/tests/faults/fail_library.o \
  $(BUILD)/tests/faults/little_broker.o $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) -rdynamic $(ALL_LDFLAGS) $^ $(CORE_LIBS) $(LUA_LIBS) -ldl -o $@

# Random histories, each program with the simulated world.
MODELS := $(BUILD)/tests/model/acks $(BUILD)/tests/model/simulate \
  $(BUILD)/tests/model/starve
$(MODELS): $(BUILD)/tests/model/%: $(BUILD)/tests/model/%.o \
  $(BUILD)/tests/model/world.o $(BUILD)/tests/model/network.o \
  $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

# The session against a reference; and copies of it with a mistake each, which
# the reference must find.
MACHINE := $(BUILD)/tests/model/machine
MISTAKES := flapping order lost clean
$(MACHINE): $(MACHINE).o $(BUILD)/tests/model/reference.o $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

flapping_SOURCE := host/session/reconnect.c
flapping_MISTAKE := s/>= RECONNECT_STABLE_MS/>= 1/
order_SOURCE := host/session/outbox.c
order_MISTAKE := s/op = list->last;/op = list->first;/
lost_SOURCE := host/session/session_input.c
lost_MISTAKE := s/(!reply->session_present \&\& session->ever/(session->freed \&\& session->ever/
clean_SOURCE := host/session/session_attempt.c
clean_MISTAKE := s/config->clean_start \&\& !session->ever_connected;/config->clean_start;/
MISTAKEN := $(MISTAKES:%=$(BUILD)/tests/model/mistake_%)
$(MISTAKEN:%=%.c): $(BUILD)/tests/model/mistake_%.c: \
  $(foreach mistake,$(MISTAKES),$($(mistake)_SOURCE))
	@mkdir -p $(@D)
	$(Q)sed '$($*_MISTAKE)' $($*_SOURCE) > $@
	$(Q)! cmp -s $($*_SOURCE) $@

$(MISTAKEN:%=%.o): %.o: %.c
	$(call show,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(MISTAKES:%=$(MACHINE)_%): $(MACHINE)_%: $(MACHINE).o \
  $(BUILD)/tests/model/reference.o $(BUILD)/tests/model/mistake_%.o \
  $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

# The same with a script in a host.
STARVE_SCRIPTS := $(BUILD)/tests/model/starve_scripts
$(BUILD)/tests/model/starve_scripts.o: EXTRA_CFLAGS = $(LUA_CFLAGS)
$(STARVE_SCRIPTS): $(STARVE_SCRIPTS).o $(BUILD)/tests/model/network.o \
  $(RUNTIME_OBJECTS) $(EMBEDDED) $(BINDING_OBJECTS) $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) -rdynamic $(ALL_LDFLAGS) $^ $(CORE_LIBS) $(HOST_LIBS) $(LUA_LIBS) -ldl -o $@

# Each fuzz target with the inputs that are kept for it; and once more with an
# off-by-one planted in a copy of the framing: a packet seems whole a byte early.
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS := $(FUZZ_TARGETS:%=$(BUILD)/tests/fuzz/replay_%) \
  $(BUILD)/tests/fuzz/replay_planted $(BUILD)/tests/fuzz/cuts_planted
PLANTED := $(BUILD)/tests/fuzz/planted_packet
$(PLANTED).c: host/session/packet.c
	@mkdir -p $(@D)
	$(Q)sed 's/if (size < \*need)/if (size + 1 < *need)/' $< > $@
	$(Q)! cmp -s $< $@

$(PLANTED).o: $(PLANTED).c
	$(call show,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/tests/fuzz/replay_planted: $(BUILD)/tests/fuzz/fuzz_packet_filter.o \
  $(BUILD)/tests/fuzz/replay.o $(PLANTED).o $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) -o $@

$(BUILD)/tests/fuzz/cuts_planted: $(BUILD)/tests/unit/test_packet_filter.o \
  $(PLANTED).o $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) -lcmocka -o $@

# Some targets are of what knows Lua, or of the host.
FUZZ_LUA_SOURCES := $(BINDING_SOURCES) $(wildcard host/runtime/matcher.c \
  host/runtime/patterns.c host/runtime/message_line*.c)
FUZZ_LUA := $(BUILD)/tests/fuzz/lua.a
$(BUILD)/tests/fuzz/fuzz_%.o: EXTRA_CFLAGS = $(LUA_CFLAGS)
$(FUZZ_LUA): $(call objects,$(FUZZ_LUA_SOURCES))
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/tests/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o \
  $(BUILD)/tests/fuzz/replay.o $(FUZZ_LUA) $(BUILD)/libiotops.a
	$(call show,LINK,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) $^ $(CORE_LIBS) $(LUA_LIBS) -o $@

# With libFuzzer, which wants the core compiled for it.
FUZZERS := $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%) $(BUILD)/fuzz/planted
FUZZ_CFLAGS = $(LANGUAGE) $(INCLUDES) $(CORE_CFLAGS) $(LUA_CFLAGS) -O1 -g \
  -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
FUZZ_CORE := $(patsubst %.c,$(BUILD)/fuzz/%.o,$(CORE_SOURCES))
$(BUILD)/fuzz/%.o: %.c $(ALL_HEADERS)
	@mkdir -p $(@D)
	$(call show,CC,$@)
	$(Q)clang $(FUZZ_CFLAGS) -c $< -o $@

$(BUILD)/fuzz/core.a: $(FUZZ_CORE)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/fuzz/lua.a: $(patsubst %.c,$(BUILD)/fuzz/%.o,$(FUZZ_LUA_SOURCES))
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/fuzz/planted: tests/fuzz/fuzz_packet_filter.c $(PLANTED).c \
  $(BUILD)/fuzz/core.a
	$(call show,LINK,$@)
	$(Q)clang $(FUZZ_CFLAGS) $^ $(CORE_LIBS) -o $@

$(BUILD)/fuzz/%: tests/fuzz/fuzz_%.c $(BUILD)/fuzz/lua.a $(BUILD)/fuzz/core.a \
  tests/fuzz/fuzz.h
	$(call show,LINK,$@)
	$(Q)clang $(FUZZ_CFLAGS) $< $(BUILD)/fuzz/lua.a $(BUILD)/fuzz/core.a \
	  $(CORE_LIBS) $(LUA_LIBS) -o $@

module: $(MODULE)
unit: $(UNIT_TESTS)
replays: $(REPLAYS)
models: $(MODELS) $(STARVE_SCRIPTS) $(MACHINE) $(MISTAKES:%=$(MACHINE)_%)
benches: $(BENCHES)

-include $(shell find $(BUILD)/host $(BUILD)/bindings $(BUILD)/tests \
  -name '*.d' 2>/dev/null)

# --------------------------------------------------------- the two commands --
# What is built depends on packages that `deps` may have just installed, so
# each of these looks again in a make of its own.

JOBS  ?= $(shell nproc)
again  = @$(MAKE) --no-print-directory
build  = $(again) -j$(JOBS)

.PHONY: demo demo-now test test-now test-asan faults fuzz fuzz-build model simulate soak memcheck bench metl

demo: deps-build ## see it work: a simulated line of sensors, within a minute
	$(build) all
	$(again) demo-now

demo-now:
	@$(LUA_ENVIRONMENT) $(LUA) scripts/samples/demo/run.lua $(BUILD)/iotops

test: deps-test ## run every test; SHARED=FOLDER adds the conformance cases
	$(build) all unit replays models $(PEER) $(TERMINATOR) $(BUILD)/metl $(BUILD)/metl-faulty \
	  $(if $(SANITIZE),,$(LIBRARY_MEMORY))
	$(again) test-now

test-now:
	@$(LUA_ENVIRONMENT) BUILD='$(BUILD)' SHARED='$(SHARED)' CC='$(CC)' \
	  SANITIZE='$(SANITIZE)' PROMTOOL='$(abspath $(PROMTOOL))' \
	  $(LUA) tests/run.lua $(TESTS)

test-asan: deps-test ## run the tests under ASan and UBSan
	$(build) BUILD=$(BUILD)/asan SANITIZE=address,undefined OPTIMIZE=-O1 \
	  all unit replays models $(BUILD)/asan/tests/faults/peer \
	  $(BUILD)/asan/tests/faults/terminator $(BUILD)/asan/metl \
	  $(BUILD)/asan/metl-faulty
	$(again) BUILD=$(BUILD)/asan SANITIZE=address,undefined \
	  PROMTOOL=$(PROMTOOL) test-now

faults: deps-test ## the table of faults, a line a row
	$(build) all $(PEER) $(TERMINATOR)
	@$(LUA_ENVIRONMENT) BUILD='$(BUILD)' SANITIZE='$(SANITIZE)' \
	  $(LUA) tests/faults/run.lua rows $(TESTS)

fuzz: deps-fuzz ## let each fuzz target look for TIME=60 seconds
	$(build) fuzz-build
	@BUILD='$(BUILD)' $(LUA) tests/fuzz/run.lua fuzz '$(or $(TIME),60)'

fuzz-build: $(FUZZERS)

model: deps-test ## histories of acknowledgements and sessions against references; each allocation fails
	$(build) models
	@$(BUILD)/tests/model/acks $(or $(HISTORIES),1000000)
	@$(BUILD)/tests/model/machine 100000
	@$(BUILD)/tests/model/starve
	@for run in 1 2 8; do \
	  RUN=$$run $(BUILD)/tests/model/starve_scripts || exit 1; done

simulate: deps-test ## sessions in random trouble: SEEDS=10000
	$(build) models
	@$(BUILD)/tests/model/simulate $(or $(SEEDS),10000)

soak: deps-test ## kill and restart everything, ROUNDS=1000 times; reload, RELOADS=10000 times
	$(build) all $(PEER) $(TERMINATOR) $(LIBRARY_MEMORY)
	@$(LIBRARY_MEMORY)
	@$(LUA_ENVIRONMENT) BUILD='$(BUILD)' SANITIZE='$(SANITIZE)' \
	  ROUNDS='$(or $(ROUNDS),1000)' $(LUA) tests/faults/run.lua soak
	@$(LUA_ENVIRONMENT) BUILD='$(BUILD)' $(LUA) tests/faults/rivals.lua 60
	@$(LUA_ENVIRONMENT) BUILD='$(BUILD)' RELOADS='$(or $(RELOADS),10000)' \
	  $(LUA) tests/busted_54.lua -o TAP tests/spec/reloads_spec.lua

memcheck: deps-test ## run the C unit tests and a minute of the host under valgrind
	$(build) all unit
	@$(LUA_ENVIRONMENT) BUILD='$(BUILD)' $(LUA) tests/memcheck.lua

bench: deps-test ## compare with bare libmosquitto; OUT=FILE takes the raw figures
	$(build) all benches
	@$(LUA_ENVIRONMENT) BUILD='$(BUILD)' OUT='$(OUT)' $(LUA) tests/bench/run.lua $(TESTS)

metl: all $(BUILD)/metl ## conformance cases: METL_DIR=FOLDER [METL_LEVEL=1|2] [METL_CASE=NAME]
	@test -n '$(METL_DIR)' || { \
	  echo 'make metl: say METL_DIR=FOLDER, the folder of the cases' >&2; \
	  exit 2; }
	@$(LUA_ENVIRONMENT) $(BUILD)/metl tests/metl/run.lua '$(METL_DIR)' \
	  $(METL_LEVEL:%=--level %) $(METL_CASE:%=--case %)

# ---------------------------------------------------------------- packages --

.PHONY: deps deps-build deps-test deps-check deps-fuzz
deps-build: WANTED = $(PACKAGES_BUILD)
deps-test:  WANTED = $(PACKAGES_BUILD) $(PACKAGES_TEST)
deps-fuzz: WANTED = $(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_FUZZ)
deps-check: WANTED = $(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_CHECK)
deps: WANTED = $(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_CHECK) \
  $(PACKAGES_FUZZ)
deps: ## install the Debian packages that are missing
deps deps-build deps-test deps-check deps-fuzz:
	@command -v dpkg-query >/dev/null || { \
	  echo 'This is not Debian: install by hand what these give: $(WANTED)'; \
	  exit 1; } >&2; \
	missing=; \
	for package in $(WANTED); do \
	  test "$$(dpkg-query -W -f='$${db:Status-Status}' $$package \
	    2>/dev/null)" = installed || missing="$$missing $$package"; \
	done; \
	test -n "$$missing" || exit 0; \
	install="apt-get install -y --no-install-recommends$$missing"; \
	export DEBIAN_FRONTEND=noninteractive; \
	if test "$$(id -u)" = 0; then \
	  apt-get update && $$install; \
	elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || \
	    test -t 0; }; then \
	  sudo apt-get update && sudo $$install; \
	else \
	  echo "Packages are missing.  As root, type:  $$install" >&2; \
	  exit 1; \
	fi
	$(if $(filter lua-busted,$(WANTED)),$(again) $(PROMTOOL))

# Without it the test of the metrics fails, and nothing else does.
$(BUILD)/promtool:
	@mkdir -p $@.d
	$(call show,GET,$@)
	-$(Q)cd $@.d && { apt-get -q download prometheus >log 2>&1 || \
	  { apt-get -q update && apt-get -q download prometheus; } >>log 2>&1; } && \
	  dpkg-deb --fsys-tarfile prometheus_*.deb | \
	  tar -xO ./usr/bin/promtool >promtool && chmod +x promtool && \
	  mv promtool ../$(@F) || { cat log; exit 1; } >&2
	@rm -rf $@.d

# ------------------------------------------------------------------- check --

.PHONY: check check-now check-c check-format check-lua
check: deps-check ## clang-tidy, cppcheck, clang-format, luacheck: no finding
	$(build) check-now

check-now: check-format check-lua check-c

TIDY := $(patsubst %.c,$(BUILD)/check/%.tidy,$(ALL_SOURCES))
$(BUILD)/check/%.tidy: %.c $(ALL_HEADERS) .clang-tidy
	@mkdir -p $(@D)
	@echo 'clang-tidy $<'
	@clang-tidy --quiet $< -- $(LANGUAGE) $(INCLUDES) $(CORE_CFLAGS) \
	  $(LUA_CFLAGS) 2>$@.log || { grep -v ' warnings\? generated' $@.log; \
	  exit 1; }
	@touch $@

$(BUILD)/check/cppcheck: $(ALL_SOURCES) $(ALL_HEADERS)
	@mkdir -p $(@D)
	@echo cppcheck
	@cppcheck --quiet --error-exitcode=1 --std=c11 -D__GNUC__ \
	  --enable=warning,performance,portability --inline-suppr \
	  --suppress=missingIncludeSystem --suppress=ctuuninitvar \
	  --suppress=varFuncNullUB \
	  $(INCLUDES) $(ALL_SOURCES)
	@touch $@

check-c: $(TIDY) $(BUILD)/check/cppcheck

check-format:
	@echo clang-format
	@clang-format --dry-run --Werror $(ALL_SOURCES) $(ALL_HEADERS)

check-lua:
	@echo luacheck
	@luacheck --quiet .

# ----------------------------------------------------------------- install --

BIN     = $(DESTDIR)$(PREFIX)/bin
LIB     = $(DESTDIR)$(PREFIX)/lib
INCLUDE = $(DESTDIR)$(PREFIX)/include
SHARE   = $(DESTDIR)$(PREFIX)/share

.PHONY: install uninstall clean help
install: all ## install below PREFIX (/usr/local), staged in DESTDIR
	install -d $(BIN) $(LIB)/pkgconfig $(LIB)/lua/5.4/iotops \
	  $(INCLUDE)/iotops $(SHARE)/iotops
	install -m 755 $(BUILD)/iotops $(BIN)/iotops
	install -m 644 $(BUILD)/libiotops.a $(LIB)/libiotops.a
	install -m 755 $(BUILD)/libiotops.so.0 $(LIB)/libiotops.so.0
	ln -sf libiotops.so.0 $(LIB)/libiotops.so
	install -m 644 $(PUBLIC_HEADERS) $(INCLUDE)/iotops
	sed -e 's,@PREFIX@,$(PREFIX),' -e 's,@VERSION@,$(VERSION),' \
	  host/iotops.pc.in > $(LIB)/pkgconfig/iotops.pc
	for name in core world; do \
	  install -m 755 $(BUILD)/lua/iotops/$$name.so \
	    $(LIB)/lua/5.4/iotops/$$name.so || exit 1; \
	done
	for file in $(patsubst scripts/%,%,$(LUA_SOURCES)); do \
	  install -D -m 644 scripts/$$file $(SHARE)/lua/5.4/$$file || exit 1; \
	done
	sed -e 's,@PREFIX@,$(PREFIX),' scripts/luarc.json.in \
	  > $(SHARE)/iotops/luarc.json
	test -n '$(DESTDIR)' || test "$$(id -u)" != 0 || ldconfig

uninstall: ## remove what install put below PREFIX
	rm -f $(BIN)/iotops $(LIB)/libiotops.a $(LIB)/libiotops.so.0 \
	  $(LIB)/libiotops.so $(LIB)/pkgconfig/iotops.pc
	rm -rf $(INCLUDE)/iotops $(LIB)/lua/5.4/iotops \
	  $(SHARE)/lua/5.4/iotops $(SHARE)/iotops

clean: ## remove everything that was built
	rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' \
	  Makefile
