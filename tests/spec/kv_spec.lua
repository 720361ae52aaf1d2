local process = require "process"
local hosting = require "hosting"

describe("iotops dev with its stand-in", function()
  local folder, dev

  local function environment()
    return { XDG_RUNTIME_DIR = folder, TMPDIR = folder, AIO_BROKER_HOSTNAME = false }
  end

  local function start(...)
    return process.start({ hosting.program, ... }, { env = environment() })
  end

  local function run(...)
    local ended = start(...)
    ended:wait(20)
    return ended
  end

  local function kv(...) return run("kv", ...) end

  setup(function()
    folder = process.folder()
    dev = start "dev"
    dev:line "port (%d+), log"
  end)

  teardown(function()
    dev:signal_with "sigterm"
    assert.equal(0, (dev:wait(10)))
    process.kill_all()
    os.execute("rm -rf " .. folder)
  end)

  -- The process id of the stand-in: the second child, after the broker.
  local function standin_pid()
    local file = assert(io.open(("/proc/%d/task/%d/children"):format(dev.pid, dev.pid)))
    local _, pid = file:read("n", "n")
    file:close()
    return pid
  end

  it("keeps a key for other programs, without configuration", function()
    local watching = start("kv", "watch", "--count", "3", "a")
    watching:line "watching a"
    assert.equal(0, kv("set", "a", "1").code)
    local got = kv("get", "a")
    assert.equal(0, got.code, got:text())
    assert.same({ "1" }, got.out)
    assert.equal(0, kv("set", "a", "2").code)
    assert.equal(0, kv("del", "a").code)
    assert.equal(0, (watching:wait(5)))
    assert.same({ "SET 1", "SET 2", "DELETE" }, watching.out)
  end)

  it("says by its status and in words what was not done", function()
    local missing = kv("get", "nothing")
    assert.equal(1, missing.code)
    assert.match("no key nothing", missing:text())
    assert.equal(1, kv("del", "nothing").code)
    kv("set", "n", "1")
    assert.equal(1, kv("set", "--nx", "n", "2").code)
    assert.equal(1, kv("set", "--nex", "n", "2").code)
    assert.equal(0, kv("set", "--nex", "n", "1").code)
    assert.equal(1, kv("del", "--value", "2", "n").code)
    assert.equal(0, kv("del", "--value", "1", "n").code)
    for _, arguments in ipairs {
      {}, { "get" }, { "get", "a", "b" }, { "set", "a" }, { "fetch", "a" }, { "get", "" },
      { "set", "--expiry", "soon", "a", "b" }, { "set", "--fencing-token", "x", "a", "b" },
    } do
      assert.equal(2, kv(table.unpack(arguments)).code)
    end
  end)

  it("reads values from the standard input and writes them as they are", function()
    local setting = process.start({ hosting.program, "kv", "set", "bytes", "-" },
      { env = environment(), stdin = true })
    setting:write "two\nlines"
    setting:write(nil)
    assert.equal(0, (setting:wait(5)))
    assert.same({ "two", "lines" }, kv("get", "bytes").out)
    assert.same({ "two", "lines" }, kv("get", "--raw", "bytes").out)
  end)

  it("lists what matches, and forgets in time", function()
    kv("set", "list/1", "v")
    kv("set", "list/2", "v")
    kv("set", "--expiry", "0.2", "list/3", "v")
    assert.same({ "list/1", "list/2", "list/3" }, kv("scan", "list/*").out)
    process.pass(0.25)
    assert.same({ "list/1", "list/2" }, kv("scan", "list/*").out)
    assert.same({}, kv("scan", "LIST/*").out)
  end)

  it("runs a program under a lock, with the token, and hands its status on", function()
    local locked = run("lock", "l1", "--", "sh", "-c", [[
      iotops=$0; "$iotops" kv set --fencing-token "$IOTOPS_FENCING_TOKEN" guarded 1; exit 7
    ]], hosting.program)
    assert.equal(7, locked.code, locked:text())
    local unguarded = kv("set", "guarded", "2")
    assert.equal(1, unguarded.code)
    assert.match("fencing token is required", unguarded:text())
    assert.equal(1, kv("get", "l1").code, "it was let go")
    assert.equal(127, run("lock", "l1", "--", "/no/such/program").code)
    assert.equal(2, run("lock", "l1").code)
    assert.equal(2, run("lock").code)
  end)

  it("runs one program after the other, or gives up in time", function()
    local first = start("lock", "l2", "--", "sh", "-c", "echo in; sleep 0.6; echo out")
    first:line "in"
    assert.equal(4, run("lock", "--wait", "0.1", "l2", "--", "true").code)
    local second = run("lock", "l2", "--", "echo", "mine")
    assert.equal(0, second.code, second:text())
    assert.equal("out", first.out[2], "the first was still running")
    assert.equal(0, (first:wait(5)))
  end)

  it("ends the program when the lease is lost", function()
    local locked = start("lock", "--lease", "0.6", "l3", "--", "sh", "-c",
      "echo in; sleep 30; echo never")
    locked:line "in"
    kv("set", "l3", "someone else")
    assert.equal(1, (locked:wait(5)))
    assert.same({ "in" }, locked.out)
    assert.match("lease was lost", locked:text())
    assert.same({ "someone else" }, kv("get", "l3").out)
  end)

  it("ends the program and lets go when it is told to stop", function()
    local locked = start("lock", "l4", "--", "sh", "-c", "echo in; exec sleep 30")
    locked:line "in"
    locked:signal_with "sigterm"
    assert.equal(128 + 15, (locked:wait(5)))
    assert.equal(1, kv("get", "l4").code)
  end)

  it("starts the stand-in again when it dies, with what was to be kept", function()
    kv("set", "--persist", "kept", "v")
    kv("set", "forgotten", "v")
    local pid = standin_pid()
    os.execute("kill -9 " .. pid)
    dev:line "stand%-in statestore has ended"
    process.eventually("another stand-in", function()
      local another = standin_pid()
      return another and another ~= pid
    end)
    process.eventually("an answer", function()
      return kv("get", "--timeout", "0.5", "kept").code == 0
    end)
    assert.equal(1, kv("get", "forgotten").code)
  end)

  it("leaves the stand-in out when told to", function()
    local other = process.folder()
    local env = { XDG_RUNTIME_DIR = other, TMPDIR = other, AIO_BROKER_HOSTNAME = false }
    local running = process.start({ hosting.program, "dev", "--without", "statestore" },
      { env = env })
    running:line "port (%d+), log"
    local got = process.run({ hosting.program, "kv", "get", "--timeout", "0.3", "a" },
      { env = env })
    assert.equal(4, got.code, got:text())
    running:signal_with "sigterm"
    assert.equal(0, (running:wait(10)))
    assert.equal(2, run("dev", "--without", "nothing").code)
    os.execute("rm -rf " .. other)
  end)
end)
