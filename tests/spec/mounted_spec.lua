--- The connection's configuration as an operator mounts it, changed while the
--- host runs.

package.path = "tests/faults/?.lua;" .. package.path
local hosting = require "hosting"
local relay = require "relay"
local token = require "token"

describe("a mounted configuration", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  local function configuration(port, keep_alive)
    return { MQTT_CONNECTION_CONFIGURATION = ([[{
      "host": "127.0.0.1:%s", "keepAliveSeconds": %s, "tls": { "mode": "Disabled" },
      "protocol": "mqtt"
    }]]):format(port, keep_alive) }
  end

  -- A host that is configured so and connects through a relay.
  local function mounted()
    place = hosting.place()
    local between = relay.new(place.broker.port)
    finally(function() between:close() end)
    os.execute(("mkdir '%s/config'"):format(place.folder))
    local files = token.mount(place.folder .. "/config", configuration(between.port, 50))
    local host = place:run({ place:script("s", [[
      require "iotops".on_telemetry("t", function() end)
    ]]) }, { env = {
      CONNECTOR_CONFIGURATION_MOUNT_PATH = place.folder .. "/config", CONNECTOR_ID = "connector-0",
    } })
    hosting.record(host, "keep-alive 50 s")
    return host, files, between
  end

  it("that changes is told of, and holds from the next connection on", function()
    local host, files, between = mounted()
    local other = relay.new(place.broker.port)
    finally(function() other:close() end)
    files:replace(configuration(other.port, 40))
    local record = hosting.record(host, "MQTT_CONNECTION_CONFIGURATION has changed")
    assert.matches(("tcp_port %d %%-> %d, keep_alive 50 %%-> 40; it takes effect at the next")
      :format(between.port, other.port), record.message)
    assert.equal(0, other.accepted)
    between:cut()
    hosting.record(host, "keep-alive 40 s")
    assert.equal(1, other.accepted)
    hosting.stop(host)
  end)

  it("that cannot be used is told of, and changes nothing", function()
    local host, files, between = mounted()
    files:replace { MQTT_CONNECTION_CONFIGURATION = '{ "host": "broker" ' }
    local record = hosting.record(host, "has changed and cannot be used")
    assert.equal("error", record.level)
    files:replace(configuration(between.port, '"ten"'))
    hosting.record(host, "has changed and cannot be used", 2)
    between:cut()
    hosting.record(host, "keep-alive 50 s", 2)
    hosting.stop(host)
  end)
end)
