--- What the program says when something is wrong: enough to find it, and no
--- more than whoever reads it should know.

local hosting = require "hosting"
local process = require "process"
local uv = require "luv"

describe("a complaint", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  -- Something that listens and says this to whoever comes; its port.
  local function listener(greeting)
    local server = uv.new_tcp()
    local clients = {}
    server:bind("127.0.0.1", 0)
    server:listen(8, function()
      local client = uv.new_tcp()
      clients[#clients + 1] = client
      server:accept(client)
      client:write(greeting)
      client:read_start(function() end)
    end)
    finally(function()
      for _, client in ipairs(clients) do client:close() end
      server:close()
    end)
    return tostring(server:getsockname().port)
  end

  -- Each is given two seconds, all of them at once.
  it("says what answers where a broker should", function()
    local sending = {}
    for greeting, complaint in pairs {
      [""] = "no answer to CONNECT within 1000 ms; does an MQTT broker listen on this tcp_port?",
      ["220 mail.example ESMTP\r\n"] = "what answers on this tcp_port is no MQTT broker",
      ["SSH-2.0-OpenSSH_9\r\n"] = "what answers on this tcp_port is no MQTT broker",
      ["\x15\x03\x01\0\2\2\x46"] = "what answers speaks TLS; check use_tls and tcp_port",
    } do
      sending[process.start({ hosting.program, "send", "--timeout", "2", "a/b", "{}" }, {
        env = {
          AIO_BROKER_HOSTNAME = "127.0.0.1", AIO_MQTT_USE_TLS = "false",
          AIO_BROKER_TCP_PORT = listener(greeting),
        },
      })] = complaint
    end
    for sender, complaint in pairs(sending) do
      assert.equal(3, (sender:wait(10)))
      assert.matches(complaint, sender:text(), 1, true)
    end
  end)

  it("of a payload that cannot be read says which message of which script it was", function()
    place = hosting.place()
    local host = place:run { place:script("reader", [[
      local iotops = require "iotops"
      iotops.on_telemetry("sensors/{id}", function() end)
    ]]) }
    place:publish("sensors/7", "{broken")
    local record = hosting.record(host, "whose payload cannot be read: not JSON")
    assert.equal("reader", record.script)
    assert.equal("sensors/7", record.topic)
    assert.is_not_nil(record.packet)
    hosting.stop(host)
  end)

  it("tells a caller the line of a handler that threw, and not where our files are", function()
    place = hosting.place()
    local host = place:run { place:script("thrower", [[
      local iotops = require "iotops"
      iotops.on_command("ask", function() error("no such fan") end)
    ]]) }
    local asked = place:tool { "invoke", "ask", "{}" }
    assert.equal(1, asked.code)
    assert.matches("thrower%.lua:2: no such fan", asked:text())
    assert.is_nil(asked:text():find(place.folder, 1, true))
    assert.matches(place.folder, hosting.record(host, "no such fan").message, 1, true)
    hosting.stop(host)
  end)
end)
