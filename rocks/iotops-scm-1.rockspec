rockspec_format = "3.0"
package = "iotops"
version = "scm-1"
source = {
  url = "git+https://github.com/iotops/iotops.git",
}
description = {
  summary = "Telemetry and commands over MQTT v5 for Azure IoT Operations",
  detailed = [[
Receives and sends telemetry, executes and invokes commands as the SDKs of
Azure IoT Operations do.  Calls that wait read as if they blocked; sessions
lose nothing over reconnections.]],
  license = "MIT",
}
-- JSON is the core's own; lua-cjson is needed by the compiler and the tools,
-- which are not part of the rock.  luv is used when it is there.
dependencies = {
  "lua >= 5.4, < 5.5",
}
-- Named as Debian's packages are (libuv1-dev, ...): the message that one is
-- missing says this name, and nothing else that helps.
external_dependencies = {
  LIBUV1_DEV = { header = "uv.h", library = "uv" },
  LIBSSL_DEV = { header = "openssl/ssl.h", library = "ssl" },
  LIBJANSSON_DEV = { header = "jansson.h", library = "jansson" },
  LIBMOSQUITTO_DEV = { header = "mosquitto.h", library = "mosquitto" },
}
build = {
  type = "make",
  build_target = "module",
  install_pass = false,
  build_variables = {
    BUILD = "build/rock",
    CC = "$(CC)",
    LUA = "$(LUA)",
    CFLAGS = "$(CFLAGS)",
    LUA_CFLAGS = "-I$(LUA_INCDIR)",
    CORE_CFLAGS = "-I$(LIBUV1_DEV_INCDIR) -I$(LIBSSL_DEV_INCDIR) "
      .. "-I$(LIBJANSSON_DEV_INCDIR) -I$(LIBMOSQUITTO_DEV_INCDIR)",
    CORE_LIBS = "-L$(LIBUV1_DEV_LIBDIR) -L$(LIBSSL_DEV_LIBDIR) "
      .. "-L$(LIBJANSSON_DEV_LIBDIR) -L$(LIBMOSQUITTO_DEV_LIBDIR) "
      .. "-luv -lssl -lcrypto -ljansson -lmosquitto -lpthread",
  },
  install = {
    lib = {
      ["iotops.core"] = "build/rock/lua/iotops/core.so",
      ["iotops.world"] = "build/rock/lua/iotops/world.so",
    },
    lua = {
      ["iotops.init"] = "scripts/iotops/init.lua",
      ["iotops.cache"] = "scripts/iotops/cache.lua",
      ["iotops.calls"] = "scripts/iotops/calls.lua",
      ["iotops.declarations"] = "scripts/iotops/declarations.lua",
      ["iotops.leader_election"] = "scripts/iotops/leader_election.lua",
      ["iotops.lock"] = "scripts/iotops/lock.lua",
      ["iotops.luv"] = "scripts/iotops/luv.lua",
      ["iotops.pattern"] = "scripts/iotops/pattern.lua",
      ["iotops.retry"] = "scripts/iotops/retry.lua",
      ["iotops.serializers"] = "scripts/iotops/serializers.lua",
      ["iotops.services"] = "scripts/iotops/services.lua",
      ["iotops.sessions"] = "scripts/iotops/sessions.lua",
      ["iotops.setup"] = "scripts/iotops/setup.lua",
      ["iotops.state_store"] = "scripts/iotops/state_store.lua",
      ["iotops.testing.entries"] = "scripts/iotops/testing/entries.lua",
      ["iotops.testing.init"] = "scripts/iotops/testing/init.lua",
      ["iotops.testing.message"] = "scripts/iotops/testing/message.lua",
      ["iotops.testing.script"] = "scripts/iotops/testing/script.lua",
      ["iotops.testing.traffic"] = "scripts/iotops/testing/traffic.lua",
      ["iotops.testing.types"] = "scripts/iotops/testing/types.lua",
      ["iotops.types"] = "scripts/iotops/types.lua",
    },
  },
}
