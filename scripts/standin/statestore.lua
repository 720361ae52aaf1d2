--- `iotops standin statestore`: a state store for any MQTT v5 broker, for trying
--- programs without a cluster.

local iotops = require "iotops"
local engine = require "standin.statestore.engine"
local journal = require "standin.statestore.journal"
local options = require "standin.options"
local service = require "standin.statestore.service"

local given = options.read("statestore", [[
iotops standin statestore -- a state store for trying programs without a cluster

usage: iotops standin statestore [OPTION...]

Speaks the protocol of the state store of Azure IoT Operations on the broker that
the AIO_* environment variables name, else on that of a running `iotops dev`.
Programs that use the C#, Go, Rust or Lua SDK cannot tell the difference, but for
key notifications of the C# SDK, which need the real broker.

]], {
  { "state-file", "FILE", "keep entries that ask for it (persist) here" },
  { "fsync", "WHEN", "when the disk must have them: always, 1s (default), never;\n"
    .. "a killed process loses nothing either way, a power cut may" },
  { "page-size", "N", "keys in one answer to SCAN (100)", "integer" },
  { "page-bytes", "N", "and at most so many bytes of keys (262144)", "integer" },
  { "max-keys", "N", "refuse more keys: \"the quota has been exceeded\" (no limit)",
    "integer" },
}, "  iotops standin statestore --state-file store.journal\n")

local fsync = given.fsync or "1s"
if fsync ~= "always" and fsync ~= "1s" and fsync ~= "never" then
  options.fail("statestore", ("--fsync takes always, 1s or never, not %q"):format(fsync))
end

-- ---------------------------------------------------------------- store --

local store = engine.new {
  page_size = given["page-size"], page_bytes = given["page-bytes"],
  max_keys = given["max-keys"],
}

local kept
if given["state-file"] then
  local records, versions
  kept, records, versions = journal.open(given["state-file"], fsync, function()
    return store:persistent()
  end)
  if not kept then
    options.fail("statestore", records --[[@as string]])
  end
  store:restore(kept, records --[[@as table]], versions)
  local ok, why = kept:begin()
  if not ok then
    options.fail("statestore", why --[[@as string]])
  end
end

-- Started again it serves no requests that were meant for its predecessor:
-- whoever sent them does not know whether they were applied, and must not be
-- told twice.
iotops.configure {
  clean_start = true,
  client_id = os.getenv "AIO_MQTT_CLIENT_ID" or "iotops-statestore",
}
local session = assert(iotops.session())

local served = service.new(session, store)

iotops.spawn(function()
  local ok, err = served.executor:start()
  if not ok then
    options.fail("statestore", tostring(err), 1)
  end
  print "statestore: ready"
  io.stdout:flush()
end)

served:watch_expiry()
if kept then
  iotops.every(1, function()
    local ok, why = kept:tick()
    if ok then
      ok, why = kept:tidy()
    end
    if not ok then
      iotops.log.error("the state file cannot be written: " .. tostring(why))
    end
  end)
end

iotops.run()
if kept then
  kept:close()
end
