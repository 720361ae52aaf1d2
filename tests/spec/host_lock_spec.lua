local iotops = require "iotops"
local process = require "process"
local hosting = require "hosting"
local standin = require "standin"

describe("scripts of one host", function()
  local place, folder, session, store

  before_each(function()
    iotops.log.level "off"
    place, folder = standin.place(), process.folder()
    session = place:session "outside"
    store = assert(session:state_store())
  end)

  after_each(function()
    session:exit()
    process.kill_all()
    os.execute("rm -rf " .. folder)
    iotops.log.level "info"
  end)

  local function write(name, text)
    hosting.write(folder .. "/" .. name .. ".lua", "io.stdout:setvbuf 'no'\n" .. text)
  end

  local function run()
    return process.start({ hosting.program, "run", "--log-format", "json", folder },
      { env = place.broker:environment "host" })
  end

  local TURNS = [[
    local iotops = require "iotops"
    iotops.on_start(function()
      local lock = assert(iotops.lock("turns"))
      for turn = 1, 5 do
        assert(lock:lock { lease = 30 }) -- a wait that is cut off would last this long
        print(lock:holder(), turn, "in")
        iotops.sleep(0.02)
        print(lock:holder(), turn, "out")
        assert(lock:release())
      end
      print "done"
    end)
  ]]

  it("take turns at a lock, each under its own name", function()
    write("left", TURNS)
    write("right", TURNS)
    local host = run()
    host:line("^done", 10)
    host:line("^done", 10)
    local inside
    local turns = {}
    for _, line in ipairs(host.out) do
      local holder, _, what = line:match "^(%S+)%s+(%d)%s+(%a+)$"
      if what == "in" then
        assert.is_nil(inside)
        inside = holder
        turns[holder] = (turns[holder] or 0) + 1
      elseif what then
        assert.equal(inside, holder)
        inside = nil
      end
    end
    assert.same({ ["host:left"] = 5, ["host:right"] = 5 }, turns)
    hosting.stop(host)
  end)

  it("count their observers of a key together", function()
    write("one", [[
      local iotops = require "iotops"
      iotops.on_start(function()
        assert(iotops.state_store():observe("k", function(change) print("one", change.value) end))
        print "one observes"
      end)
    ]])
    write("two", [[
      local iotops = require "iotops"
      iotops.on_start(function()
        local observation = assert(iotops.state_store():observe("k", function(change)
          print("two", change.value)
        end))
        print "two observes"
        iotops.state_store():observe("end", function() print(observation:unobserve()) end)
      end)
    ]])
    local host = run()
    process.eventually("both observe", function()
      local text = table.concat(host.out, "\n")
      return text:find "one observes" and text:find "two observes"
    end)
    process.pass(0.1)
    store:set("k", "1")
    host:line "two%s1"
    store:set("end", "v")
    host:line "true"
    store:set("k", "2")
    host:line "one%s2"
    process.pass(0.05)
    assert.is_nil(table.concat(host.out, "\n"):find "two%s2")
    hosting.stop(host)
  end)

  local HOLDS = [[
    local iotops = require "iotops"
    iotops.on_start(function()
      local lock = assert(iotops.lock("kept"))
      assert(lock:lock { lease = 0.6, renewal_period = 0.2 })
      print "holds"
    end)
  ]]

  it("keep a lease over a reload of the script", function()
    write("keeper", HOLDS)
    local host = run()
    host:line "holds"
    local other = assert(iotops.lock("kept", { session = session }))
    for version = 1, 3 do
      write("keeper", HOLDS .. "-- " .. version)
      host:line "holds"
      local ends = iotops.now() + 0.8
      repeat
        local token = other:try()
        assert.is_nil(token)
        process.pass(0.03)
      until iotops.now() > ends
      assert.equal("host:keeper", other:holder())
    end
    hosting.stop(host)
  end)

  describe("replace a version", function()
    -- A version that takes the lease, or does with it what `text` says.
    local function keeper(version, text)
      write("keeper", ([[
        local iotops = require "iotops"
        local lock = assert(iotops.lock("kept", { on_lost = function() print "lost" end }))
        iotops.on_start(function()
          %s
          print "%s serves"
        end)
      ]]):format(text, version))
    end

    local TAKES = "assert(lock:lock { lease = 0.6, renewal_period = 0.2 })"
    local other

    before_each(function() other = assert(iotops.lock("kept", { session = session })) end)

    local function assert_held_for(seconds)
      local ends = iotops.now() + seconds
      repeat
        local token, err = other:try { lease = 1 }
        assert.is_nil(token)
        assert.equal("lease_already_held", err.service_error)
        process.pass(0.05)
      until iotops.now() > ends
    end

    it("that holds a lease: the next one has it, and its token, at once", function()
      keeper("one", TAKES .. " print(lock:token(), 'first')")
      local host = run()
      local _, first = host:line "^(%S+)%s+first"
      keeper("two", "print(lock:token(), 'second')" .. TAKES .. "print(lock:token(), 'third')")
      local _, second = host:line "^(%S+)%s+second"
      local _, third = host:line "^(%S+)%s+third"
      assert.is_false(iotops.clock.compare(second, first) < 0)
      assert.is_true(iotops.clock.compare(third, second) > 0)
      assert_held_for(0.8)
      assert.is_nil(host:text():find("lost", 1, true))
      -- What the next version lets go, nobody takes again.
      keeper("three", "assert(lock:release())")
      host:line "three serves"
      assert(other:lock { lease = 60, timeout = 3 })
      process.pass(0.4)
      assert.equal("outside", other:holder())
      hosting.stop(host)
    end)

    it("that still has work: it cannot give away what the next one has", function()
      write("keeper", [[
        local iotops = require "iotops"
        local lock = assert(iotops.lock("kept"))
        iotops.on_telemetry("work", function()
          assert(lock:lock { lease = 0.6, renewal_period = 0.2 })
          local token = lock:token()
          print "begun"
          iotops.sleep(0.3)
          print("same", lock:token() == token, lock:release())
        end)
      ]])
      local host = run()
      hosting.connected(host)
      assert(session:sender { topic_pattern = "work" }:send(1))
      host:line "begun"
      keeper("two", "print('has', lock:token() ~= nil)" .. TAKES)
      host:line "has%strue"
      host:line "same%strue%strue"
      assert_held_for(0.8)
      hosting.stop(host)
    end)

    it("that holds a lease: it runs out if the next one does not ask for it", function()
      keeper("one", TAKES)
      local host = run()
      host:line "one serves"
      keeper("two", "")
      host:line "two serves"
      local token, err = other:try { lease = 1 }
      assert.is_nil(token)
      assert.equal("lease_already_held", err.service_error)
      assert(other:lock { lease = 1, timeout = 5 })
      hosting.record(host, "the lease of kept runs out")
      hosting.stop(host)
    end)

    it("that observes a key: no change is missed and none is told twice", function()
      local function observer(version)
        write("observer", ([[
          local iotops = require "iotops"
          iotops.on_start(function()
            assert(iotops.state_store():observe("count", function(change)
              print("count", change.value)
            end))
            print "%s observes"
          end)
        ]]):format(version))
      end
      observer("1")
      local host = run()
      host:line "1 observes"
      local n = 0
      for version = 2, 6 do
        observer(version)
        repeat
          n = n + 1
          assert(store:set("count", tostring(n)))
        until host:text():find(version .. " observes", 1, true)
      end
      n = n + 1
      assert(store:set("count", tostring(n)))
      host:line("count%s+" .. n .. "$")
      local seen = 0
      for _, line in ipairs(host.out) do
        local value = tonumber(line:match "^count%s+(%d+)")
        if value then
          seen = seen + 1
          assert.equal(seen, value)
        end
      end
      assert.equal(n, seen)
      hosting.stop(host)
    end)
  end)
end)
