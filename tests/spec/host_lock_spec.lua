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
end)
