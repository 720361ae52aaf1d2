local process = require "process"
local hosting = require "hosting"
local cjson = require "cjson"
local uv = require "luv"

local FANS = [[
local iotops = require "iotops"
limits = { fan1 = 3 }
iotops.on_telemetry("in/{where}", function(value)
  if value.bad then error("a bad value") end
  iotops.send("out/a", { n = value.n + limits.fan1, v = "VERSION" })
end)
]]

local function fans(version) return (FANS:gsub("VERSION", version)) end

-- A host whose socket is in a folder of the test's own.
local function world(text)
  local self = { place = hosting.place() }
  self.runtime = self.place.folder .. "/runtime"
  assert(uv.fs_mkdir(self.runtime, tonumber("700", 8)))
  self.env = { XDG_RUNTIME_DIR = self.runtime }
  self.socket = self.runtime .. "/iotops/host-under-test.sock"
  self.path = self.place:script("fans", text or fans("1"))
  function self.run(args)
    self.host = self.place:run({ self.path }, { env = self.env, args = args })
    return self.host
  end
  function self.start_ctl(...)
    return process.start({ hosting.program, "ctl", ... }, { env = self.env, stdin = true })
  end
  function self.ctl(...)
    local running = process.run({ hosting.program, "ctl", ... }, { env = self.env })
    return running.code, table.concat(running.out, "\n"), table.concat(running.err, "\n")
  end
  function self.json(...)
    local code, out = self.ctl("--json", ...)
    return cjson.decode(out), code
  end
  function self.status()
    return self.json("status").scripts[1]
  end
  return self
end

-- A connection to the host's socket, for what no tool of ours would send.
local function connect(path)
  local self = { lines = {}, pipe = uv.new_pipe() }
  local rest = ""
  self.pipe:connect(path, function(failure)
    assert(not failure, failure)
    self.connected = true
    self.pipe:read_start(function(_, data)
      if not data then
        self.ended = true
        return
      end
      rest = (rest .. data):gsub("([^\n]*)\n", function(line)
        self.lines[#self.lines + 1] = line
        return ""
      end)
    end)
  end)
  process.eventually("connected", function() return self.connected end)
  function self.await(count)
    process.eventually(count .. " lines", function() return #self.lines >= count or self.ended end)
    return self.lines[count] and cjson.decode(self.lines[count])
  end
  function self.await_end()
    process.eventually("the host has hung up", function() return self.ended end)
  end
  function self.close()
    if not self.pipe:is_closing() then self.pipe:close() end
    uv.run("nowait")
  end
  return self
end

describe("iotops ctl", function()
  local it_is

  after_each(function()
    if it_is then it_is.place:close() end
    it_is = nil
  end)

  it("status: says what each script does, for people and for programs", function()
    it_is = world()
    it_is.run()
    it_is.place:publish("in/a", '{"n":1}')
    it_is.place:publish("in/a", '{"bad":true}')
    process.eventually("two are handled", function()
      return it_is.status().telemetry.count == 2
    end)
    local answer = it_is.json("status")
    local script = answer.scripts[1]
    assert.equal("fans", script.script)
    assert.equal("serving", script.state)
    assert.equal(1, script.generation)
    assert.truthy(script.hash:match("^%x+$"))
    assert.equal(1, script.errors)
    assert.equal(1, script.sent)
    assert.equal(0, script.held)
    assert.equal(2, script.telemetry.count)
    assert.is_true(script.telemetry.p50_ms > 0)
    assert.is_true(script.telemetry.p99_ms >= script.telemetry.p50_ms)
    assert.is_true(script.memory > 10000)
    assert.equal("none", script.last_reload.outcome)
    assert.equal(it_is.host.pid, answer.host.pid)
    assert.equal("connected", answer.host.state)
    assert.equal("host-under-test", answer.host.client_id)
    assert.equal("127.0.0.1:" .. it_is.place.broker.port, answer.host.broker)
    local code, out = it_is.ctl("status")
    assert.equal(0, code)
    assert.truthy(out:find("host-under-test: connected to 127.0.0.1", 1, true), out)
    assert.truthy(out:find("fans%s+serving%s+1 " .. script.hash:sub(1, 8)), out)
    assert.falsy(out:find("\27", 1, true), "no colour for who is no terminal")
    it_is.place.broker:stop()
    process.eventually("it is told of the connection", function()
      return it_is.json("status").host.state == "disconnected"
    end)
  end)

  it("reload and rollback: say how they ended, and so does status", function()
    it_is = world()
    it_is.run()
    local answer, code = it_is.json("reload")
    assert.equal(0, code)
    assert.equal("unchanged", answer.scripts[1].outcome)
    it_is.place:script("fans", fans("2"))
    answer, code = it_is.json("reload", "fans")
    assert.equal(0, code)
    assert.equal(2, it_is.status().generation)
    -- The change may have been seen before it was asked for.
    assert.truthy(({ committed = true, unchanged = true })[answer.scripts[1].outcome])
    assert.equal("committed", it_is.status().last_reload.outcome)

    it_is.place:script("fans", "this is not Lua")
    local failed, out = it_is.ctl("reload", "fans")
    assert.equal(1, failed)
    assert.truthy(out:find("fans.lua:1:", 1, true), out)
    assert.truthy(out:find("generation 2", 1, true), out)
    local script = it_is.status()
    assert.equal("failed", script.last_reload.outcome)
    assert.is_true(script.refused)
    assert.equal("serving", script.state)
    local _, table_text = it_is.ctl("status")
    assert.truthy(table_text:find("fans: failed: .*fans.lua:1:"), table_text)

    it_is.place:script("fans", fans("2"))
    process.eventually("it is well again", function() return not it_is.status().refused end)
    local hash = it_is.status().hash
    answer, code = it_is.json("rollback", "fans")
    assert.equal(0, code)
    assert.equal("rolled back", answer.scripts[1].outcome)
    script = it_is.status()
    assert.equal("rolled back", script.state)
    assert.not_equal(hash, script.hash)
    local refused, said = it_is.ctl("rollback", "fans")
    assert.equal(1, refused)
    assert.truthy(said:find("no earlier version", 1, true), said)
  end)

  it("reload: takes up a script that could not be loaded so far", function()
    it_is = world("this is not Lua")
    it_is.host = it_is.place:run({ it_is.path }, { env = it_is.env, unconnected = true })
    process.eventually("it is up", function() return (it_is.ctl("status")) == 0 end)
    assert.equal("failed", it_is.status().state)
    -- Where no change is noticed by itself.
    local file = assert(io.open(it_is.path, "w"))
    file:write(fans("1"))
    file:close()
    local answer, code = it_is.json("reload")
    assert.equal(0, code)
    assert.truthy(({ committed = true, unchanged = true })[answer.scripts[1].outcome])
    assert.equal("serving", it_is.status().state)
    assert.equal(1, (it_is.ctl("reload", "nobody")))
  end)

  it("reload: does not ask for scripts that have left their folder", function()
    it_is = world()
    it_is.path = it_is.place.folder
    it_is.place:script("pumps", "require 'iotops'.on_telemetry('pumps', print)")
    it_is.run()
    os.remove(it_is.place.folder .. "/pumps.lua")
    process.eventually("pumps stops", function()
      return it_is.json("status").scripts[2].state == "stopped"
    end)
    local answer, code = it_is.json("reload")
    assert.equal(0, code)
    assert.equal(1, #answer.scripts)
    assert.equal("fans", answer.scripts[1].script)
    assert.equal(1, (it_is.ctl("reload", "pumps")))
    it_is.place:script("pumps", "require 'iotops'.on_telemetry('pumps', print)")
    process.eventually("pumps is back", function()
      return #it_is.json("reload").scripts == 2
    end)
  end)

  it("asks the system who connects: nobody but the user and root", function()
    if uv.getuid() ~= 0 then return pending("needs another user to be") end
    it_is = world()
    local open = assert(uv.fs_mkdtemp("/tmp/iotops-open-XXXXXX"))
    finally(function() os.execute("rm -rf " .. open) end)
    local socket = open .. "/host.sock"
    it_is.run { "--control", socket }
    assert.equal(0, (it_is.ctl("--socket", socket, "status")))
    local ask = ([[
      local uv = require "luv"
      local pipe, ignored = uv.new_pipe(), uv.new_signal()
      ignored:start("sigpipe", function() end)
      ignored:unref()
      pipe:connect("%s", function(failure)
        if failure then return print(failure) end
        pipe:write('{"verb":"status"}' .. string.char(10))
        pipe:read_start(function(_, data)
          print(data and "answered" or "sent away")
          pipe:close()
        end)
      end)
      uv.run()
    ]]):format(socket)
    local function other_user()
      return process.run({ "setpriv", "--reuid", "65534", "--clear-groups", "lua5.4", "-e", ask },
        { cwd = "/" }):text()
    end
    assert(uv.fs_chmod(open, tonumber("755", 8)))
    local said = other_user()
    assert.truthy(said:find("EACCES", 1, true), said)
    assert(uv.fs_chmod(socket, tonumber("777", 8)))
    said = other_user()
    assert.truthy(said:find("sent away", 1, true), said)
    assert.falsy(said:find("answered", 1, true))
  end)

  it("status: tells of a version that was rolled back by itself", function()
    it_is = world()
    it_is.run()
    it_is.place:script("fans", (fans("2"):gsub("value.bad", "true")))
    hosting.record(it_is.host, "reloaded")
    process.eventually("it has gone back", function()
      pcall(function() it_is.place:publish("in/a", '{"n":1}') end)
      return it_is.status().state == "rolled back"
    end)
    local script = it_is.status()
    assert.equal("rolled back", script.last_reload.outcome)
    local _, out = it_is.ctl("status")
    assert.truthy(out:find("rolled back", 1, true), out)
  end)

  it("logs: the last records, then those that follow", function()
    it_is = world()
    it_is.run()
    local code, out = it_is.ctl("logs")
    assert.equal(0, code)
    assert.truthy(out:find("info  fans#1: loaded: 1 endpoint", 1, true), out)
    it_is.place:publish("in/a", '{"bad":true}')
    hosting.record(it_is.host, "a bad value")
    local _, errors = it_is.ctl("--json", "logs", "fans", "--level", "warn")
    local record = cjson.decode(errors)
    assert.equal("error", record.level)
    assert.equal("in/a", record.topic)
    assert.equal(1, select(2, errors:gsub("\n", "")) + 1)
    local following = it_is.start_ctl("--json", "logs", "--follow", "--count", "1")
    following:line("a bad value")
    it_is.place:publish("in/b", '{"bad":true}')
    following:line('"topic":"in/b"')
    following:signal_with("sigint")
    assert.equal(0, (following:wait(5)))
    assert.equal(1, (it_is.ctl("logs", "nobody")))
  end)

  it("metrics: what --http answers", function()
    it_is = world()
    it_is.run()
    local code, out = it_is.ctl("metrics")
    assert.equal(0, code)
    assert.truthy(out:find('\niotops_script_serving{script="fans"} 1\n', 1, true), out)
  end)

  it("tap: shows what a script receives and sends, while it happens", function()
    it_is = world()
    it_is.run()
    it_is.place:publish("in/before", '{"n":1}')
    local tap = it_is.start_ctl("--json", "tap", "fans", "--count", "2")
    tap:line("tapping fans")
    it_is.place:publish("in/a", '{"n":4}', "-D", "publish", "user-property", "who", "me")
    assert.equal(0, (tap:wait(5)))
    local received, sent = cjson.decode(tap.out[1]), cjson.decode(tap.out[2])
    assert.equal("in", received.direction)
    assert.equal("in/a", received.topic)
    assert.equal("fans", received.script)
    assert.equal('{"n":4}', received.payload_text)
    assert.same({ { "who", "me" } }, received.user_properties)
    assert.equal("out", sent.direction)
    assert.equal("out/a", sent.topic)
    assert.equal("sent", sent.outcome)
    assert.equal(7, cjson.decode(sent.payload_text).n)
    local person = it_is.start_ctl("tap", "fans", "--count", "2")
    person:line("tapping fans")
    it_is.place:publish("in/b", '{"n":5}')
    person:line("%d in +in/b")
    person:line("%d out out/a")
    assert.equal(0, (person:wait(5)))
    local code, _, said = it_is.ctl("tap", "nobody")
    assert.equal(1, code)
    assert.truthy(said:find('there is no script "nobody" in this host; it has: fans', 1, true))
  end)

  it("repl: evaluates in the running script, with names of its own", function()
    it_is = world()
    it_is.run()
    local repl = it_is.start_ctl("repl", "fans")
    repl:write(table.concat({
      "limits",
      "limits.fan1 = 10; mine = 'x'",
      "for i = 1, 2 do",
      "  print(i, mine)",
      "end",
      "{",
      "  1 }",
      "iotops.sleep(0.01), 7, 1.0, nil",
      "error('on purpose')",
      "mine .. 'y', _G.mine",
    }, "\n"))
    repl:write("\n")
    repl:write(nil)
    assert.equal(1, (repl:wait(10)), "something has failed")
    assert.same({ "{ fan1 = 3 }", "1\tx", "2\tx", "{ 1 }",
      "nil\t7\t1.0\tnil", '"xy"\tnil' }, repl.out)
    assert.equal("console:1: on purpose", repl.err[1])
    assert.equal("stack traceback:", repl.err[2])
    it_is.place:publish("in/a", '{"n":1}')
    assert.equal("13", select(2, it_is.ctl("eval", "fans", "limits.fan1 + 3")))
    assert.equal("nil", select(2, it_is.ctl("eval", "fans", "mine")), "gone with its prompt")
    assert.equal(0, it_is.status().errors, "how typed code fails is not the script's")
    local code, _, said = it_is.ctl("eval", "fans", "1 +")
    assert.equal(1, code)
    assert.truthy(said:find("<eof>", 1, true), said)
  end)

  it("repl: is held to the script's limits and sees each version of it", function()
    it_is = world()
    it_is.run { "--turn-limit", "0.05", "--memory-limit", "8" }
    local code, _, said = it_is.ctl("eval", "fans", "while true do end")
    assert.equal(1, code)
    assert.truthy(said:find("stopped: ran longer than 50 ms", 1, true), said)
    code, _, said = it_is.ctl("eval", "fans", "for i = 1, 100 do mine = ('x'):rep(1000000) .. i "
      .. "here = { mine, here } end")
    assert.equal(1, code)
    assert.truthy(said:find("needs more than the 8 MiB", 1, true), said)
    local repl = it_is.start_ctl("repl", "fans")
    repl:write("here = 1\nhere\n")
    repl:line("^1$")
    it_is.place:script("fans", fans("2"))
    hosting.record(it_is.host, "reloaded")
    repl:write("here, limits.fan1\n")
    repl:line("^nil\t3$")
    repl:write("iotops.sleep(100)\n")
    process.eventually("it waits", function() return it_is.status().running == 1 end)
    it_is.place:script("fans", fans("3"))
    repl:line("the script is being replaced or is ending")
    local left = it_is.start_ctl("eval", "fans", "iotops.sleep(100)")
    process.eventually("it waits", function() return it_is.status().running == 1 end)
    left:kill()
    process.eventually("who has gone waits no more", function()
      return it_is.status().running == 0
    end)
    repl:write(nil)
    assert.equal(1, (repl:wait(5)), "one was cut short")
    it_is.place:publish("in/a", '{"n":1}')
    process.eventually("it goes on", function() return it_is.status().sent == 1 end)
    local last = it_is.start_ctl("eval", "fans", "iotops.sleep(100)")
    process.eventually("it waits", function() return it_is.status().running == 1 end)
    it_is.host:signal_with("sigterm")
    assert.equal(0, (it_is.host:wait(5)), "nobody's prompt holds the end up")
    assert.not_equal(0, (last:wait(5)))
  end)

  it("finds the host, or says what to do", function()
    it_is = world()
    local code, _, said = it_is.ctl("status")
    assert.equal(3, code)
    assert.truthy(said:find("--socket PATH", 1, true), said)
    assert.equal(2, (it_is.ctl()))
    assert.equal(2, (it_is.ctl("dance")))
    assert.equal(2, (it_is.ctl("tap")))
    assert.equal(2, (it_is.ctl("status", "fans")))
    assert.equal(0, (it_is.ctl("--help")))
    it_is.run()
    local other = it_is.place:script("other", fans("1"))
    local elsewhere = it_is.place.folder .. "/elsewhere.sock"
    it_is.place.client_id = "a/b"
    local second = it_is.place:run({ other }, { env = it_is.env })
    code, _, said = it_is.ctl("status")
    assert.equal(2, code)
    local name = said:match("several hosts run: (a_b%-%x+), host%-under%-test")
    assert.truthy(name, said)
    assert.equal("a/b", it_is.json("--host", name, "status").host.client_id)
    assert.equal(3, (it_is.ctl("--host", "nobody", "status")))
    it_is.place.client_id = "third"
    it_is.place:run({ other }, { env = it_is.env, args = { "--control", elsewhere } })
    assert.equal("third", it_is.json("--socket", elsewhere, "status").host.client_id)
    hosting.stop(second)
    assert.equal(0, (it_is.ctl("status")))
    assert.equal(3, (it_is.ctl("--socket", it_is.path, "status")))
  end)

  it("the socket is the user's alone, of one host, and gone with it", function()
    it_is = world()
    it_is.run()
    local info = assert(uv.fs_stat(it_is.socket))
    assert.equal(tonumber("600", 8), info.mode & tonumber("777", 8))
    info = assert(uv.fs_stat(it_is.runtime .. "/iotops"))
    assert.equal(tonumber("700", 8), info.mode & tonumber("777", 8))
    local at = { "--control", it_is.socket, "--client-id", "another" }
    local second = it_is.place:run({ it_is.path }, { env = it_is.env, args = at,
      unconnected = true })
    assert.equal(2, (second:wait(5)))
    assert.truthy(second:text():find("another host listens there", 1, true), second:text())
    assert(os.remove(it_is.socket .. ".lock")) -- now it could be any program's
    second = it_is.place:run({ it_is.path }, { env = it_is.env, args = at,
      unconnected = true })
    assert.equal(2, (second:wait(5)))
    assert.truthy(second:text():find("another program listens there", 1, true), second:text())
    assert.equal(0, (it_is.ctl("status")))
    it_is.host:kill()
    assert.truthy(uv.fs_stat(it_is.socket), "a host that was killed leaves it")
    assert.equal(3, (it_is.ctl("status")))
    it_is.run()
    assert.equal(0, (it_is.ctl("status")))
    hosting.stop(it_is.host)
    assert.is_nil((uv.fs_stat(it_is.socket)))
    assert.is_nil((uv.fs_stat(it_is.socket .. ".lock")))
    hosting.write(it_is.place.folder .. "/file", "precious")
    local third = it_is.place:run({ it_is.path }, { env = it_is.env, unconnected = true,
      args = { "--control", it_is.place.folder .. "/file" } })
    assert.equal(2, (third:wait(5)))
    assert.equal("precious", it_is.place:noted("file")[1])
    it_is.run { "--control", "none" }
    assert.equal(3, (it_is.ctl("status")))
    assert(uv.fs_chmod(it_is.runtime .. "/iotops", tonumber("755", 8)))
    hosting.stop(it_is.host)
    it_is.run()
    assert.truthy(hosting.record(it_is.host, "not a folder of yours alone"))
    assert.equal(3, (it_is.ctl("status")))
  end)

  it("nobody who connects holds the host up, whatever he says", function()
    it_is = world()
    -- Else writing to who has hung up would end this program.
    local pipe_signal = uv.new_signal()
    pipe_signal:start("sigpipe", function() end)
    finally(function()
      pipe_signal:close()
      uv.run("nowait")
    end)
    it_is.run()
    local garbage = connect(it_is.socket)
    garbage.pipe:write("\0\255 what?\n[1]\n{\"verb\":7}\n{\"verb\":\"dance\"}\r\n"
      .. '{"verb":"eval","script":"fans"}\n{"verb":"logs","level":"loud"}\n'
      .. '{"verb":"tap","script":{}}\n{"verb":"status"}\n')
    for index = 1, 7 do
      local answer = garbage.await(index)
      assert.is_false(answer.ok, garbage.lines[index])
      assert.equal("string", type(answer.error))
    end
    assert.is_true(garbage.await(8).ok)
    garbage.pipe:write('{"verb":"eval","script":"fans","code":"\\u0000"}\n')
    assert.is_false(garbage.await(9).ok)
    garbage.close()

    local endless = connect(it_is.socket)
    endless.pipe:write(("x"):rep(3000000))
    assert.equal("the request is too long", endless.await(1).error)
    endless.await_end()
    endless.close()

    local half = connect(it_is.socket)
    half.pipe:write('{"verb":"sta')
    half.close()

    -- One that asks without ever reading, and one that taps so.
    local deaf, slow = uv.new_pipe(), connect(it_is.socket)
    deaf:connect(it_is.socket)
    deaf:write(('{"verb":"status"}\n'):rep(20000))
    slow.pipe:write('{"verb":"tap","script":"fans"}\n')
    assert.is_true(slow.await(1).ok)
    slow.pipe:read_stop()
    local big = ("x"):rep(100000)
    for _ = 1, 20 do it_is.place:publish("in/a", '{"n":1,"s":"' .. big .. '"}') end
    process.eventually("all are handled", function() return it_is.status().sent == 20 end)

    local crowd = {}
    for index = 1, 14 do crowd[index] = connect(it_is.socket) end
    local last = connect(it_is.socket)
    assert.equal("too many are connected", last.await(1).error)
    last.await_end()
    last.close()
    for _, one in ipairs(crowd) do one.close() end
    slow.pipe:read_start(function(_, data)
      slow.text = (slow.text or "") .. (data or "")
    end)
    process.eventually("the slow one is told what it has missed", function()
      return slow.text and slow.text:find('{"dropped":%d+}\n')
    end)
    slow.close()
    deaf:close()
    uv.run("nowait")
    process.eventually("there is room again", function() return (it_is.ctl("status")) == 0 end)
    hosting.stop(it_is.host)
  end)
end)
