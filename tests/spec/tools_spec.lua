local process = require "process"
local hosting = require "hosting"
local cjson = require "cjson"

describe("the tools", function()
  local place, host

  setup(function()
    place = hosting.place()
    local script = place:script("answers", [[
      local iotops = require "iotops"
      iotops.on_command("fans/f1/setSpeed", function(request)
        if request.rpm > 1000 then error("too fast") end
        return { accepted = true, rpm = request.rpm }
      end)
      iotops.on_telemetry("in", function(value) iotops.send("out", value) end)
    ]])
    host = place:run { script }
  end)

  teardown(function() place:close() end)

  it("send: status 0 once the broker has the message", function()
    local watching = process.start({ hosting.program, "watch", "--json", "--count", "1", "out" },
      { env = place.broker:environment("watcher") })
    watching:line("watching out")
    local sent = place:tool { "send", "in", '{"n":9007199254740993}' }
    assert.equal(0, sent.code, sent:text())
    assert.equal(0, (watching:wait(5)))
    assert.truthy(watching.out[1]:find('"payload":{"n":9007199254740993}', 1, true),
      watching:text())
    local record = cjson.decode(watching.out[1])
    assert.equal("out", record.topic)
    assert.equal("application/json", record.content_type)
    assert.equal(1, record.qos)
  end)

  it("send: bytes of a file, text and user data arrive as they are", function()
    local watching = process.start({ hosting.program, "watch", "--json", "--count", "2", "raw/#" },
      { env = place.broker:environment("watcher") })
    watching:line("watching raw/#")
    hosting.write(place.folder .. "/bytes", "\0\1\255")
    assert.equal(0, place:tool({ "send", "--raw", place.folder .. "/bytes", "raw/a" }).code)
    hosting.write(place.folder .. "/text", "21 degrees\n")
    assert.equal(0, place:tool({ "send", "--raw", place.folder .. "/text",
      "--content-type", "text/plain", "--property", "unit=C", "raw/b" }).code)
    assert.equal(0, (watching:wait(5)))
    local first, second = cjson.decode(watching.out[1]), cjson.decode(watching.out[2])
    assert.equal("AAH/", first.payload_base64)
    assert.equal("application/octet-stream", first.content_type)
    assert.equal("21 degrees\n", second.payload_text)
    local unit
    for _, pair in ipairs(second.user_properties) do
      if pair[1] == "unit" then unit = pair[2] end
    end
    assert.equal("C", unit)
  end)

  it("watch: shows topic, payload and properties to a person", function()
    local watching = process.start({ hosting.program, "watch", "--count", "1", "seen/+" },
      { env = place.broker:environment("watcher") })
    watching:line("watching seen/%+")
    place:publish("seen/x", "a\27[2Jb", "-D", "publish", "user-property", "colour", "blue")
    assert.equal(0, (watching:wait(5)))
    local text = watching:text()
    assert.truthy(text:find("seen/x", 1, true))
    assert.truthy(text:find("colour = blue", 1, true))
    assert.truthy(text:find("a\\x1b[2Jb", 1, true), "escapes reach the terminal: " .. text)
  end)

  it("watch: ends well when it is told to", function()
    local watching = process.start({ hosting.program, "watch", "#" },
      { env = place.broker:environment("watcher") })
    watching:line("watching #")
    watching:signal_with("sigint")
    assert.equal(0, (watching:wait(5)))
  end)

  it("watch, ctl tap: end well once nobody reads on", function()
    local socket = place.folder .. "/control"
    local path = place:script("tapped", "require 'iotops'.on_telemetry('left', print)")
    local tapped = process.start({ hosting.program, "run", "--control", socket, path },
      { env = place.broker:environment("tapped") })
    tapped:line "subscribed: "
    for _, tool in ipairs { "watch left", "ctl --socket " .. socket .. " tap tapped" } do
      local reading = process.start({ "bash", "-c",
        hosting.program .. " " .. tool .. " | head -n 1; echo ended ${PIPESTATUS[0]}" },
        { env = place.broker:environment("reader") })
      process.eventually(tool .. " has ended", function()
        place:publish("left", "1")
        return reading.code
      end)
      assert.equal("ended 0", reading.out[#reading.out], reading:text())
    end
    hosting.stop(tapped)
  end)

  it("invoke: prints the response, status 0", function()
    local invoked = place:tool { "invoke", "fans/f1/setSpeed", '{"rpm":900}' }
    assert.equal(0, invoked.code, invoked:text())
    assert.same({ accepted = true, rpm = 900 }, cjson.decode(invoked.out[1]))
  end)

  it("invoke: status 1 and the kind of error when the command failed", function()
    local invoked = place:tool { "invoke", "fans/f1/setSpeed", '{"rpm":2000}' }
    assert.equal(1, invoked.code, invoked:text())
    assert.truthy(invoked:text():find("execution error", 1, true), invoked:text())
    assert.truthy(invoked:text():find("too fast", 1, true), invoked:text())
  end)

  it("invoke: status 4 when nobody answers in time", function()
    local invoked = place:tool { "invoke", "--timeout", "1", "fans/nobody/setSpeed", "{}" }
    assert.equal(4, invoked.code, invoked:text())
    assert.truthy(invoked:text():find("timeout", 1, true))
  end)

  it("status 3 when the broker cannot be reached", function()
    for _, tool in ipairs { { "send", "a", "{}" }, { "invoke", "a", "{}" }, { "watch", "#" } } do
      table.insert(tool, 2, "--timeout")
      table.insert(tool, 3, "0.5")
      local ended = place:tool(tool, { AIO_BROKER_TCP_PORT = "1" })
      assert.equal(3, ended.code, ended:text())
      assert.truthy(ended:text():find("127.0.0.1:1", 1, true), ended:text())
    end
  end)

  it("status 2 with the fix for wrong arguments", function()
    local mistakes = {
      [{ "send", "a", "{celsius: 95}" }] = "not JSON",
      [{ "send", "a/{sensorId}", "{}" }] = "taken as it is",
      [{ "send", "a/+/b", "{}" }] = "cannot be a topic",
      [{ "send", "a" }] = "needs a topic and a payload",
      [{ "send", "--qos", "2", "a", "{}" }] = "0 or 1",
      [{ "send", "--raw", "/nowhere/file", "a" }] = "No such file",
      [{ "invoke" }] = "needs a topic",
      [{ "invoke", "--timeout", "soon", "a" }] = "seconds",
      [{ "watch" }] = "needs one filter",
      [{ "watch", "--colour", "#" }] = "there is no option --colour",
      [{ "send", "a", "{}", "--expiry" }] = "--expiry needs a value",
      [{ "watch", "a/#/b" }] = "is not a filter",
      [{ "watch", "--count", "few", "#" }] = "a number",
    }
    for arguments, text in pairs(mistakes) do
      local ended = place:tool(arguments)
      local typed = table.concat(arguments, " ")
      assert.equal(2, ended.code, typed)
      assert.truthy(ended:text():find(text, 1, true), typed .. ": " .. ended:text())
    end
    assert.equal(2, process.run({ hosting.program, "sned" }).code)
  end)

  it("explain themselves", function()
    for _, command in ipairs { "run", "dev", "send", "invoke", "watch" } do
      local help = process.run { hosting.program, command, "--help" }
      assert.equal(0, help.code)
      assert.truthy(help:text():find("usage: iotops " .. command, 1, true))
      assert.truthy(help:text():find("Exit status", 1, true))
    end
    assert.equal("iotops 0.1.0", process.run({ hosting.program, "version" }).out[1])
  end)

  it("say what is missing when no broker is configured and none is found", function()
    local ended = process.run({ hosting.program, "send", "a", "{}" }, { env = {
      AIO_BROKER_HOSTNAME = false, XDG_RUNTIME_DIR = place.folder,
    } })
    assert.equal(2, ended.code)
    assert.truthy(ended:text():find("AIO_BROKER_HOSTNAME is not set", 1, true))
    assert.truthy(ended:text():find("iotops dev", 1, true))
    assert.truthy(ended:text():find("start one in another terminal", 1, true), ended:text())
  end)

  it("leave a running host of the same client id alone", function()
    local sent = place:tool({ "send", "in", "{}" }, { AIO_MQTT_CLIENT_ID = place.client_id })
    assert.equal(0, sent.code)
    assert.is_nil(host.code)
    for _, record in ipairs(hosting.records(host)) do
      assert.is_nil(record.message:find("taken over", 1, true))
    end
  end)

  it("send: status 1 when the broker refuses the message", function()
    local folder = process.folder()
    hosting.write(folder .. "/acl", "topic read #\ntopic write open/#\n")
    local guarded = hosting.place { lines = { "acl_file " .. folder .. "/acl" } }
    assert.equal(0, guarded:tool({ "send", "open/a", "{}" }).code)
    local refused = guarded:tool { "send", "closed/a", "{}" }
    guarded.broker:stop()
    os.execute("rm -rf " .. folder .. " " .. guarded.folder)
    assert.equal(1, refused.code, refused:text())
    assert.truthy(refused:text():find("Not authorized", 1, true), refused:text())
  end)

  it("name the settings to look at when a password is wrong, and keep it to themselves", function()
    local folder = process.folder()
    hosting.write(folder .. "/password", "not-the-one")
    assert.equal(0, process.run({
      "mosquitto_passwd", "-b", "-c", folder .. "/users", "ann", "the-one",
    }).code)
    local guarded = hosting.place { lines = { "password_file " .. folder .. "/users" } }
    local refused = guarded:tool({ "send", "--timeout", "0.5", "a", "{}" }, {
      AIO_MQTT_USERNAME = "ann", AIO_MQTT_PASSWORD_FILE = folder .. "/password",
    })
    guarded.broker:stop()
    os.execute("rm -rf " .. folder .. " " .. guarded.folder)
    assert.equal(3, refused.code, refused:text())
    assert.truthy(refused:text():find("check username, password_file", 1, true), refused:text())
    assert.falsy(refused:text():find("not-the-one", 1, true), refused:text())
  end)
end)
