local iotops = require "iotops"
local cjson = require "cjson"
local clock = require("iotops.core").clock
local process = require "process"
local standin = require "standin"

describe("the stand-in for the state store", function()
  local place, session, ask

  setup(function()
    iotops.log.level "off"
    place = standin.place()
    session = place:session "raw-client"
    ask = standin.raw(session)
  end)

  teardown(function()
    session:exit()
    process.kill_all()
    iotops.log.level "info"
  end)

  local function stamp(seconds)
    return ("%d:0:tester"):format(math.floor((iotops.now() + (seconds or 0)) * 1000))
  end

  -- Properties of a SET that needs nothing else.
  local function now(more)
    local all = { __ts = stamp() }
    for name, value in pairs(more or {}) do all[name] = value end
    return all
  end

  it("answers each example byte by byte", function()
    for _, row in ipairs {
      { "*2\r\n$3\r\nGET\r\n$7\r\ntestkey\r\n", "$-1\r\n" },
      { "*3\r\n$3\r\nSET\r\n$7\r\nSETKEY2\r\n$6\r\nVALUE5\r\n", "+OK\r\n" },
      { "*2\r\n$3\r\nGET\r\n$7\r\nSETKEY2\r\n", "$6\r\nVALUE5\r\n" },
      { "*4\r\n$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\ntestvalue\r\n$2\r\nNX\r\n", "+OK\r\n" },
      { "*4\r\n$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\ntestvalue\r\n$2\r\nNX\r\n", ":-1\r\n" },
      { "*4\r\n$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\ntestvalue\r\n$3\r\nNEX\r\n", "+OK\r\n" },
      { "*4\r\n$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\nTESTVALUE\r\n$3\r\nNEX\r\n", ":-1\r\n" },
      { "*6\r\n$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\ntestvalue\r\n$3\r\nNEX\r\n$2\r\nPX\r\n"
        .. "$5\r\n10000\r\n", "+OK\r\n" },
      { "*5\r\n$3\r\nSET\r\n$7\r\ntestkey\r\n$9\r\ntestvalue\r\n$2\r\nPX\r\n$2\r\n90\r\n",
        "+OK\r\n" },
      { "*3\r\n$4\r\nVDEL\r\n$7\r\nSETKEY2\r\n$3\r\nABC\r\n", ":-1\r\n" },
      { "*2\r\n$3\r\nDEL\r\n$7\r\nSETKEY2\r\n", ":1\r\n" },
      { "*2\r\n$3\r\nDEL\r\n$7\r\nSETKEY2\r\n", ":0\r\n" },
      { "*3\r\n$4\r\nVDEL\r\n$7\r\nSETKEY2\r\n$3\r\nABC\r\n", ":0\r\n" },
      { "*3\r\n$3\r\nSET\r\n$1\r\ne\r\n$0\r\n\r\n", "+OK\r\n" },
      { "*2\r\n$3\r\nGET\r\n$1\r\ne\r\n", "$0\r\n\r\n" },
      { "*3\r\n$4\r\nVDEL\r\n$1\r\ne\r\n$0\r\n\r\n", ":1\r\n" },
      { "*2\r\n$9\r\nKEYNOTIFY\r\n$7\r\nSOMEKEY\r\n", "+OK\r\n" },
      { "*2\r\n$9\r\nKEYNOTIFY\r\n$7\r\nSOMEKEY\r\n", "+OK\r\n" },
      { "*3\r\n$9\r\nKEYNOTIFY\r\n$7\r\nSOMEKEY\r\n$4\r\nSTOP\r\n", "+OK\r\n" },
      { "*3\r\n$9\r\nKEYNOTIFY\r\n$7\r\nSOMEKEY\r\n$4\r\nSTOP\r\n", ":0\r\n" },
      { "*2\r\n$4\r\nSCAN\r\n$5\r\nkeyx*\r\n", "*1\r\n*0\r\n" },
    } do
      local answer, message = ask(row[1], now())
      assert.equal(row[2], answer, row[1])
      assert.equal("application/octet-stream", message.content_type)
      assert.equal(0, message.format_indicator)
    end
  end)

  it("scans in pages of the examples' form", function()
    for _, key in ipairs { "key1", "key2" } do ask({ "SET", key, "v" }, now()) end
    assert.equal("*1\r\n*2\r\n$4\r\nkey1\r\n$4\r\nkey2\r\n", (ask { "SCAN", "key*" }))
    assert.equal("*1\r\n*1\r\n$4\r\nkey2\r\n", (ask { "SCAN", "key*", "1;1;key1" }))
    assert.equal("*1\r\n*0\r\n", (ask { "SCAN", "key*", "1;1;key2" }))
  end)

  it("says a version where one belongs", function()
    local function version(words, properties)
      local answer, message = ask(words, properties or now())
      return message.timestamp, answer
    end
    local set = version { "SET", "v", "1" }
    assert.equal(set, (version { "GET", "v" }))
    assert.equal(set, (version { "SET", "v", "2", "NX" }))
    assert.equal(set, (version { "VDEL", "v", "2" }))
    assert.equal(set, (version { "DEL", "v" }))
    for _, words in ipairs { { "GET", "v" }, { "DEL", "v" }, { "VDEL", "v", "1" } } do
      assert.is_nil((version(words)), words[1])
    end
    for _, words in ipairs {
      { "KEYNOTIFY", "v" }, { "KEYNOTIFY", "v", "STOP" }, { "SCAN", "v" }, { "GET", "" },
    } do
      assert.is_true(clock.compare(set, (version(words))) < 0, words[1])
    end
  end)

  it("gives a version past a clock that is ahead, and follows it", function()
    local ahead = stamp(30)
    local _, message = ask({ "SET", "ahead", "v" }, { __ts = ahead })
    assert.is_true(clock.compare(message.timestamp, ahead) > 0)
    local _, next_one = ask({ "SET", "ahead", "v" }, { __ts = stamp(-3600) })
    assert.is_true(clock.compare(next_one.timestamp, message.timestamp) > 0)
  end)

  local SKEW = "the request timestamp is too far in the future; ensure that the client and "
    .. "broker system clocks are synchronized"
  local FENCE_SKEW = "the request fencing token timestamp is too far in the future; ensure that "
    .. "the client and broker system clocks are synchronized"

  it("refuses in the words of the real one", function()
    ask({ "SET", "fenced", "v" }, now { __ft = stamp(-10) })
    for _, row in ipairs {
      { SKEW, { "SET", "k", "v" }, { __ts = stamp(120) } },
      { SKEW, { "GET", "k" }, { __ts = stamp(120) } },
      { "a fencing token is required for this request", { "SET", "fenced", "v" } },
      { FENCE_SKEW, { "SET", "k", "v" }, now { __ft = stamp(120) } },
      { FENCE_SKEW, { "DEL", "k" }, now { __ft = stamp(120) } },
      { "the request fencing token is a lower version than the fencing token protecting the "
        .. "resource", { "SET", "fenced", "v" }, now { __ft = stamp(-20) } },
      { "missing timestamp", { "SET", "k", "v" }, {} },
      { "malformed timestamp", { "SET", "k", "v" }, { __ts = "yesterday" } },
      { "malformed timestamp", { "GET", "k" }, { __ts = "1:2" } },
      { "malformed timestamp", { "SET", "k", "v" }, now { __ft = "x" } },
      { "the key length is zero", { "SET", "", "v" } },
      { "the key length is zero", { "GET", "" } },
      { "the key length is zero", { "KEYNOTIFY", "" } },
      { "unknown command", { "get", "k" } },
      { "unknown command", { "MGET", "k" } },
      { "wrong number of arguments", { "GET" } },
      { "wrong number of arguments", { "GET", "k", "k" } },
      { "wrong number of arguments", { "SET", "k" } },
      { "wrong number of arguments", { "DEL", "k", "v" } },
      { "wrong number of arguments", { "VDEL", "k" } },
      { "wrong number of arguments", { "KEYNOTIFY" } },
      { "wrong number of arguments", { "KEYNOTIFY", "k", "STOP", "x" } },
      { "wrong number of arguments", { "SCAN" } },
      { "syntax error", { "SCAN", "" } },
      { "syntax error", { "SCAN", "*", "rubbish" } },
      { "syntax error", { "KEYNOTIFY", "k", "stop" } },
      { "syntax error", { "SET", "k", "v", "nx" } },
      { "syntax error", { "SET", "k", "v", "NX", "NEX" } },
      { "syntax error", { "SET", "k", "v", "NEX", "w" } },
      { "syntax error", { "SET", "k", "v", "PX" } },
      { "syntax error", { "SET", "k", "v", "PX", "0" } },
      { "syntax error", { "SET", "k", "v", "PX", "-1" } },
      { "syntax error", { "SET", "k", "v", "PX", "ten" } },
      { "syntax error", { "SET", "k", "v", "PX", "0.5" } },
      { "syntax error", { "SET", "k", "v", "PX", "10", "PX", "10" } },
    } do
      local answer, message = ask(row[2], row[3] or now())
      assert.equal("-ERR " .. row[1] .. "\r\n", answer, table.concat(row[2], " "))
      assert.is_string(message.timestamp)
    end
    assert.equal("$-1\r\n", (ask { "GET", "k" }))
  end)

  it("takes the options of SET in either order, and fractions of a millisecond", function()
    assert.equal("+OK\r\n", (ask({ "SET", "o", "v", "PX", "1500.5", "NX" }, now())))
    assert.equal(":-1\r\n", (ask({ "SET", "o", "v", "NX", "PX", "10" }, now())))
  end)

  it("calls everything that is no list of blobs a syntax error", function()
    for _, payload in ipairs {
      "", "GET", "*0\r\n", "*-1\r\n", "$3\r\nGET\r\n", ":1\r\n", "+GET\r\n", "*1\r\n:1\r\n",
      "*2\r\n$3\r\nGET\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\nmore", "*2\r\n$3\r\nGET\r\n$2\r\nk\r\n",
      "*2\r\n$3\r\nGET\r\n$-1\r\n", "*2\r\n$3\r\nGET\r\n*1\r\n$1\r\nk\r\n",
      "*99999999999999999999\r\n", "*2\r\n$9223372036854775807\r\nGET\r\n", "*2\n$3\nGET\n$1\nk\n",
      ("*1\r\n"):rep(500),
    } do
      assert.equal("-ERR syntax error\r\n", (ask(payload, now())), payload)
    end
  end)

  it("knows who observes by $partition, too, and refuses to guess", function()
    local words = { "KEYNOTIFY", "k" }
    assert.equal("+OK\r\n", (ask(words, { __srcId = false, ["$partition"] = "someone" })))
    assert.equal("-ERR syntax error\r\n", (ask(words, { __srcId = false })))
  end)

  it("answers nothing that would be a request or forge a notification", function()
    for _, topic in ipairs { standin.requests, standin.notifications .. "/x" } do
      assert.is_nil((ask({ "GET", "k" }, now(), { response_topic = topic })))
    end
    assert.is_nil((ask({ "GET", "k" }, now(), { qos = 0 })))
    assert.is_nil((ask({ "GET", "k" }, now(), { response_topic = false })))
    assert.equal("$-1\r\n", (ask { "GET", "k" }), "and goes on")
  end)

  it("answers with status 200, refusals too, but 505 to another major version", function()
    local watching = process.start({ (os.getenv("BUILD") or "build") .. "/iotops", "watch",
      "--json", "--count", "3", "raw/#" }, { env = place.broker:environment("watcher") })
    watching:line("watching")
    ask { "GET", "k" }
    ask { "GET", "" }
    ask({ "GET", "k" }, { __protVer = "2.0" })
    assert.equal(0, (watching:wait(5)))
    for index, status in ipairs { "200", "200", "505" } do
      local answer, properties = cjson.decode(watching.out[index]), {}
      for _, pair in ipairs(answer.user_properties) do properties[pair[1]] = pair[2] end
      assert.equal(status, properties.__stat)
      assert.equal("1.0", properties.__protVer)
      assert.equal(1, answer.qos)
      assert.is_string(answer.correlation_data_base64)
      if index < 3 then assert.equal("application/octet-stream", answer.content_type) end
    end
  end)

  it("answers a request that comes twice once more, but applies it once", function()
    local request = {
      topic = standin.requests, payload = iotops.resp3.encode { "SET", "twice", "v", "NX" },
      response_topic = "twice/answers", correlation_data = "0123456789abcdef",
      message_expiry = 10, user_properties = now(),
    }
    local answers = {}
    local endpoint = assert(session:receiver {
      topic_pattern = "twice/answers", serializer = iotops.raw,
      handler = function(payload) answers[#answers + 1] = payload end,
    })
    assert(endpoint:start())
    session:publish { request, request }
    local limit = iotops.now() + 3
    while #answers < 2 and iotops.now() < limit do iotops.sleep(0.01) end
    endpoint:stop()
    assert.same({ "+OK\r\n", "+OK\r\n" }, answers)
  end)

  -- The notifications to this session, byte by byte.
  local function notifications()
    local seen = {}
    local hex = session:client_id():gsub(".", function(c) return ("%02X"):format(c:byte()) end)
    local endpoint = assert(session:receiver {
      topic_pattern = standin.notifications .. "/" .. hex .. "/command/notify/{key}",
      serializer = iotops.raw,
      handler = function(payload, message)
        seen[#seen + 1] = { payload = payload, message = message }
      end,
    })
    assert(endpoint:start())
    return seen, endpoint
  end

  it("notifies on the topic of client and key, before the answer to what follows", function()
    local seen, endpoint = notifications()
    ask { "KEYNOTIFY", "SOMEKEY" }
    for _, words in ipairs {
      { "SET", "SOMEKEY", "abc" }, { "SET", "SOMEKEY", "" }, { "SET", "SOMEKEY", "x", "NX" },
      { "DEL", "SOMEKEY" }, { "DEL", "SOMEKEY" }, { "SET", "SOMEKEY", "v" },
      { "VDEL", "SOMEKEY", "w" }, { "VDEL", "SOMEKEY", "v" }, { "SET", "SOMEKEYS", "v" },
    } do
      ask(words, now())
    end
    ask { "KEYNOTIFY", "SOMEKEY", "STOP" }
    ask({ "SET", "SOMEKEY", "unseen" }, now())
    endpoint:stop()
    local payloads = {}
    for index, one in ipairs(seen) do
      payloads[index] = one.payload
      assert.equal("534F4D454B4559", one.message.tokens.key)
      assert.is_number(clock.parse(one.message.timestamp))
    end
    assert.same({
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$3\r\nabc\r\n",
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$0\r\n\r\n",
      "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n",
      "*4\r\n$6\r\nNOTIFY\r\n$3\r\nSET\r\n$5\r\nVALUE\r\n$1\r\nv\r\n",
      "*2\r\n$6\r\nNOTIFY\r\n$6\r\nDELETE\r\n",
    }, payloads)
  end)

  it("forgets all that a client observes once nobody takes its notifications", function()
    local seen, endpoint = notifications()
    ask { "KEYNOTIFY", "one" }
    ask { "KEYNOTIFY", "two" }
    endpoint:stop()
    ask({ "SET", "one", "v" }, now()) -- the broker says that nobody subscribes
    iotops.sleep(0.05)
    assert.equal(":0\r\n", (ask { "KEYNOTIFY", "two", "STOP" }))
    assert.equal(":0\r\n", (ask { "KEYNOTIFY", "one", "STOP" }))
    assert.same({}, seen)
  end)

  it("expires keys within fifty milliseconds, the soonest first", function()
    local seen, endpoint = notifications()
    for index, ms in ipairs { 90, 30, 60 } do
      ask { "KEYNOTIFY", "x" .. index }
      ask({ "SET", "x" .. index, "v", "PX", tostring(ms) }, now())
    end
    local begun = clock.monotonic()
    while #seen < 6 and clock.monotonic() < begun + 2000 do iotops.sleep(0.002) end
    assert.is_true(clock.monotonic() - begun < 90 + 50)
    endpoint:stop()
    local order = {}
    for index = 4, 6 do order[#order + 1] = seen[index].message.tokens.key end
    assert.same({ "7832", "7833", "7831" }, order)
  end)
end)

describe("the rules of the stand-in", function()
  package.path = "scripts/?.lua;" .. package.path
  local engine = require "standin.statestore.engine"
  local encode = iotops.resp3.encode

  it("keep few of the entries that were replaced before they could expire", function()
    local store, version = engine.new {}, clock.new("tester"):now()
    for index = 1, 20000 do
      store:apply {
        payload = encode { "SET", "k" .. index % 10, "v", "PX", "86400000" }, timestamp = version,
      }
    end
    assert.is_true(store.expiring:size() <= 2 * 10 + 1001)
  end)

  it("give one version after another while the clock of the request stands still", function()
    local store, last = engine.new {}, "1696374425000:0:Client1"
    for _ = 1, 100 do
      local payload, version = store:apply {
        payload = encode { "SET", "k", "v" }, timestamp = "1696374425000:0:Client1",
      }
      assert.equal("+OK\r\n", payload)
      assert.is_true(clock.compare(last, version) < 0)
      last = version
    end
  end)
end)

describe("a state file of the stand-in", function()
  local place, session, store, path

  before_each(function()
    iotops.log.level "off"
    path = process.folder() .. "/store.journal"
    place = standin.place { "--state-file", path }
    session = place:session "keeper"
    store = assert(session:state_store())
  end)

  after_each(function()
    session:exit()
    process.kill_all()
    iotops.log.level "info"
  end)

  local function restart(signal)
    place.process:signal_with(signal or "sigterm")
    place.process:wait(10)
    place:start { "--state-file", path }
  end

  local function size()
    local file = assert(io.open(path, "rb"))
    local bytes = file:seek "end"
    file:close()
    return bytes
  end

  it("keeps what asked for it: value, version, fence and expiry", function()
    local fence = ("%d:0:t"):format(math.floor(iotops.now() * 1000))
    local keep = { persist = true }
    local _, version = store:set("plain", "\0\r\n\xFF", keep)
    store:set("fenced", "v", { persist = true, fencing_token = fence })
    store:set("brief", "v", { persist = true, expiry_ms = 100 })
    store:set("timed", "v", { persist = true, expiry_ms = 1500 })
    store:set("lost", "v")
    store:set("let go", "v", keep)
    store:set("let go", "v")
    store:set("deleted", "v", keep)
    store:del "deleted"
    iotops.sleep(0.12)
    restart()
    assert.same({ "\0\r\n\xFF", version }, { store:get "plain" })
    local _, err = store:set("fenced", "w")
    assert.equal("missing_fencing_token", err.service_error)
    assert.equal("v", (store:get "timed"))
    for _, key in ipairs { "brief", "lost", "let go", "deleted" } do
      assert.is_nil((store:get(key)), key)
    end
    local _, newer = store:set("plain", "v")
    assert.is_true(clock.compare(version, newer) < 0)
    restart()
    assert.is_nil((store:get "plain"))
  end)

  it("cuts off a torn end, and loses nothing before it", function()
    store:set("a", "1", { persist = true })
    store:set("b", "2", { persist = true })
    place.process:signal_with "sigkill"
    place.process:wait(10)
    local whole = size()
    for cut = 1, 20, 3 do
      local file = assert(io.open(path, "rb"))
      local bytes = file:read "a"
      file:close()
      file = assert(io.open(path, "wb"))
      file:write(bytes, ("torn"):rep(10):sub(1, cut))
      file:close()
      place:start { "--state-file", path }
      assert.equal("1", (store:get "a"))
      assert.equal("2", (store:get "b"))
      assert.equal(whole, size())
      place.process:signal_with "sigkill"
      place.process:wait(10)
    end
    local file = assert(io.open(path, "r+b"))
    file:seek("end", -1) -- one byte of the last record is another
    file:write "\1"
    file:close()
    place:start { "--state-file", path }
    local left = {} -- the file's order is its own
    for key in store:keys "*" do left[#left + 1] = key end
    assert.equal(1, #left)
    assert.equal(left[1] == "a" and "1" or "2", (store:get(left[1])))
  end)

  it("refuses a file that is something else", function()
    local other = path .. ".other"
    local file = assert(io.open(other, "wb"))
    file:write "some notes of mine"
    file:close()
    local refused = process.run({ (os.getenv("BUILD") or "build") .. "/iotops", "standin",
      "statestore", "--state-file", other }, { env = place.broker:environment("second") })
    assert.equal(2, refused.code)
    assert.match("this is no state file", refused:text())
  end)

  it("is rewritten once most of it is history", function()
    local value = ("v"):rep(60000)
    for index = 1, 60 do
      assert.is_true(store:set("same", index .. value, { persist = true }))
    end
    process.eventually("a smaller state file", function()
      return size() < 1024 * 1024
    end, 5)
    restart("sigkill")
    assert.is_true((store:get "same") == "60" .. value)
  end)

  it("has every answered SET after a SIGKILL amid ten thousand, and none by half", function()
    local writer = process.start({ "lua5.4", "tests/spec/statestore_writer.lua", "10000" },
      { env = place.broker:environment("writer") })
    writer:line("^1000$", 20)
    place.process:signal_with "sigkill"
    place.process:wait(10)
    process.pass(0.1)
    writer:kill()
    local answered, last = {}, 0
    for _, line in ipairs(writer.out) do
      last = tonumber(line)
      answered[last] = true
    end
    assert.is_true(last >= 1000 and last < 10000, "killed at " .. last)
    place:start { "--state-file", path }
    local found = 0
    for key in store:keys "w*" do
      local index = tonumber(key:sub(2))
      assert.is_true((store:get(key)) == ("%d:"):format(index) .. ("x"):rep(index % 500))
      found = found + (answered[index] and 1 or 0)
    end
    local count = 0
    for _ in pairs(answered) do count = count + 1 end
    assert.equal(count, found)
  end)
end)
