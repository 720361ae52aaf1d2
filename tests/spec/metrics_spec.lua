local process = require "process"
local hosting = require "hosting"
local web = require "web"

local promtool = os.getenv("PROMTOOL") or "promtool"

-- Where the host answers, by its log.
local function port_of(host)
  local record = hosting.record(host, "metrics and probes on http://")
  return assert(tonumber(record.message:match(":(%d+)$")), record.message)
end

-- Samples by name and labels as they are written: 'iotops_x{a="b"}' = 1.
local function scrape(port)
  local answer = web.get(port, "/metrics")
  assert.equal(200, answer.status)
  assert.equal("text/plain; version=0.0.4; charset=utf-8", answer.headers["content-type"])
  local samples = {}
  for line in answer.body:gmatch("[^\n]+") do
    if line:sub(1, 1) ~= "#" then
      local name, value = line:match("^(.*) (%S+)$")
      assert.is_nil(samples[name], "twice: " .. line)
      samples[name] = assert(tonumber(value), line)
    end
  end
  return samples, answer.body
end

local function await(what, port, expected)
  local samples
  local ok = pcall(process.eventually, what, function()
    samples = scrape(port)
    for name, value in pairs(expected) do
      if samples[name] ~= value then return false end
    end
    return true
  end)
  if not ok then
    for name, value in pairs(expected) do assert.equal(value, samples[name], name) end
  end
  return samples
end

-- What Debian's promtool has to say about a scrape; "" when nothing.
local function findings(text, place)
  local path = place.folder .. "/scrape"
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local tool = process.run { "sh", "-c",
    ("exec '%s' check metrics < '%s' 2>&1"):format(promtool, path) }
  if tool.code ~= 0 and #tool.out == 0 then return "promtool: exit status " .. tool.code end
  return table.concat(tool.out, "\n")
end

local WORK = [[
  local iotops = require "iotops"
  local parts, heat = iotops.counter("parts"), iotops.gauge("heat")
  iotops.on_telemetry("work", function(reading)
    if reading.bad then error("bad") end
    parts:add()
    heat:add(-0.5)
    iotops.send("done", {})
  end)
  iotops.on_command("ask", function(request)
    if request.long then iotops.sleep(0.1) end
    return {}
  end)
]]

describe("the metrics of a host", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  it("tell what its scripts did", function()
    place = hosting.place()
    local host = place:run({ place:script("line", WORK), place:script("idle", "-- nothing") },
      { args = { "--http", "0" } })
    local port = port_of(host)
    for i = 1, 4 do place:publish("work", i == 4 and '{"bad": true}' or "{}") end
    assert.equal(0, place:tool({ "invoke", "ask", "{}" }).code)
    assert.equal(0, place:tool({ "invoke", "ask", '{"long": true}' }).code)
    local samples = await("the figures", port, {
      ['iotops_ready'] = 1,
      ['iotops_session_connected'] = 1,
      ['iotops_session_connects_total'] = 1,
      ['iotops_session_messages_unacknowledged'] = 0,
      -- Three sends and two responses.
      ['iotops_session_publishes_total{outcome="acknowledged"}'] = 5,
      ['iotops_script_serving{script="line"}'] = 1,
      ['iotops_script_generation{script="line"}'] = 1,
      ['iotops_script_endpoints{script="line"}'] = 2,
      ['iotops_script_endpoints{script="idle"}'] = 0,
      ['iotops_script_messages_received_total{script="line"}'] = 6,
      ['iotops_script_calls_total{script="line",kind="telemetry"}'] = 4,
      ['iotops_script_calls_total{script="line",kind="command"}'] = 2,
      ['iotops_script_calls_running{script="line"}'] = 0,
      ['iotops_script_errors_total{script="line"}'] = 1,
      ['iotops_script_errors_total{script="idle"}'] = 0,
      ['iotops_script_publishes_total{script="line",outcome="acknowledged"}'] = 5,
      ['iotops_script_acknowledgements_total{script="line",outcome="sent"}'] = 6,
      ['iotops_script_own_total{script="line",name="parts"}'] = 3,
      ['iotops_script_own_value{script="line",name="heat"}'] = -1.5,
      ['iotops_script_handling_seconds_count{script="line",kind="telemetry"}'] = 4,
      ['iotops_script_handling_seconds_count{script="line",kind="command"}'] = 2,
      ['iotops_script_handling_seconds_bucket{script="line",kind="command",le="+Inf"}'] = 2,
      ['iotops_script_handling_seconds_bucket{script="line",kind="command",le="0.05"}'] = 1,
    })
    local took = samples['iotops_script_handling_seconds_sum{script="line",kind="command"}']
    assert.is_true(took >= 0.09 and took < 5, tostring(took))
    assert.is_true(samples['iotops_script_memory_bytes{script="line"}'] > 10000)
    assert.is_true(samples.iotops_process_resident_memory_bytes > 1000000)
    assert.is_true(samples.iotops_process_open_fds > 5)
    assert.is_true(samples.iotops_process_cpu_seconds_total > 0)
    assert.is_true(math.abs(samples.iotops_process_start_time_seconds - os.time()) < 60)

    place:script("line", WORK .. "-- new")
    await("the reload", port, {
      ['iotops_script_generation{script="line"}'] = 2,
      ['iotops_script_reloads_total{script="line",outcome="committed"}'] = 1,
      ['iotops_script_calls_total{script="line",kind="telemetry"}'] = 4,
      ['iotops_script_own_total{script="line",name="parts"}'] = 3,
    })
    place:script("line", WORK .. "error 'no'")
    await("the failed reload", port, {
      ['iotops_script_generation{script="line"}'] = 2,
      ['iotops_script_reloads_total{script="line",outcome="failed"}'] = 1,
      ['iotops_ready'] = 1,
    })
    hosting.stop(host)
  end)

  it("tell which limit stopped a turn, and how long the loop was away", function()
    place = hosting.place()
    local host = place:run({ place:script("loop", [[
      local iotops = require "iotops"
      iotops.on_telemetry("time", function() while true do end end)
      iotops.on_telemetry("memory", function()
        local held = {}
        for i = 1, math.huge do held[i] = ("x"):rep(100000) .. i end
      end)
    ]]) }, { args = { "--http", "0", "--turn-limit", "0.1", "--memory-limit", "8" } })
    local port = port_of(host)
    place:publish("time", "{}")
    place:publish("memory", "{}")
    local samples = await("both stops", port, {
      ['iotops_script_stopped_total{script="loop",reason="time"}'] = 1,
      ['iotops_script_stopped_total{script="loop",reason="memory"}'] = 1,
      ['iotops_script_errors_total{script="loop"}'] = 2,
    })
    assert.is_true(samples.iotops_loop_longest_turn_seconds >= 0.1)
    assert.is_true(samples['iotops_script_longest_turn_seconds{script="loop"}'] >= 0.1)
    assert.is_true(samples['iotops_script_busy_seconds_total{script="loop"}'] >= 0.1)
  end)

  it("tell what a script holds, and for how long", function()
    place = hosting.place()
    local host = place:run({ place:script("holder", [[
      local iotops = require "iotops"
      local held = {}
      iotops.on_telemetry("keep", function(_, message) held[#held + 1] = message:hold() end)
      iotops.on_telemetry("free", function() for i = 1, #held do held[i]:ack() end end)
    ]]) }, { args = { "--http", "0" } })
    local port = port_of(host)
    for _ = 1, 3 do place:publish("keep", "1") end
    local samples = await("three held messages", port, {
      ['iotops_script_held_messages{script="holder"}'] = 3,
      ['iotops_session_messages_unacknowledged'] = 3,
    })
    local age = samples['iotops_script_held_oldest_seconds{script="holder"}']
    process.pass(0.05)
    samples = scrape(port)
    assert.is_true(samples['iotops_script_held_oldest_seconds{script="holder"}'] >= age + 0.04)
    assert.is_true(samples.iotops_session_oldest_unacknowledged_seconds >= 0.04)
    assert.is_true(samples.iotops_session_held_bytes > 0)
    place:publish("free", "1")
    await("none", port, {
      ['iotops_script_held_messages{script="holder"}'] = 0,
      ['iotops_script_held_oldest_seconds{script="holder"}'] = 0,
      ['iotops_session_messages_unacknowledged'] = 0,
      ['iotops_session_held_bytes'] = 0,
    })
    hosting.stop(host)
  end)

  it("tell when a certificate ends", function()
    place = hosting.place { tls = true }
    local made = require("certificates").make(place.folder)
    local env = place.broker:tls_environment(place.client_id)
    env.AIO_TLS_CERT_FILE, env.AIO_TLS_KEY_FILE = made.cert, made.key
    local host = place:run({ place:script("line", WORK) }, { args = { "--http", "0" }, env = env })
    local samples = scrape(port_of(host))
    local ends = samples.iotops_session_certificate_expiry_timestamp_seconds
    assert.is_true(math.abs(ends - os.time() - 86400) < 600, tostring(ends))
    assert.is_nil(samples.iotops_session_token_expiry_timestamp_seconds)
    hosting.stop(host)
  end)

  it("are found in order by promtool, whatever scripts are called", function()
    place = hosting.place()
    local paths = { place:script("work", WORK) }
    for _, name in ipairs { 'quote"} 1', "back\\slash", "line\nend", "l\xC3\xADnea",
      "byte\xFF", "byte\xFE", "byte\xEF\xBF\xBDFF" } do
      paths[#paths + 1] = place:script(name, "-- nothing")
    end
    local host = place:run(paths, { args = { "--http", "0" } })
    local port = port_of(host)
    place:publish("work", "{}")
    assert.equal(0, place:tool({ "invoke", "ask", "{}" }).code)
    local _, text = scrape(port)
    assert.equal("", findings(text, place))
    -- It does look.
    assert.truthy(findings(text .. "# TYPE iotops_x counter\niotops_x 1\n", place)
      :find("iotops_x", 1, true))
    local ready = web.get(port, "/readyz")
    assert.equal(200, ready.status, ready.body)
  end)

  it("are those that the host's README lists", function()
    place = hosting.place()
    local host = place:run({ place:script("line", WORK) }, { args = { "--http", "0" } })
    place:publish("work", "{}")
    assert.equal(0, place:tool({ "invoke", "ask", "{}" }).code)
    local _, text = scrape(port_of(host))
    local order, metrics = {}, {}
    for line in text:gmatch("[^\n]+") do
      local name, help = line:match("^# HELP (%S+) (.*)$")
      if name then
        order[#order + 1] = name
        metrics[name] = { help = help, labels = {}, seen = {} }
      elseif line:match("^# TYPE ") then
        metrics[order[#order]].type = line:match("^# TYPE %S+ (%S+)$")
      else
        local metric = metrics[order[#order]]
        for label in (line:match("{(.*)}") or ""):gmatch('([%w_]+)="') do
          if label ~= "le" and not metric.seen[label] then
            metric.seen[label] = true
            metric.labels[#metric.labels + 1] = "`" .. label .. "`"
          end
        end
      end
    end
    local expected, listed = {}, {}
    for _, name in ipairs(order) do
      local metric = metrics[name]
      expected[#expected + 1] = ("| `%s` | %s | %s | %s |"):format(name, metric.type,
        table.concat(metric.labels, ", "), metric.help)
    end
    for line in io.lines("host/README.md") do
      if line:find("^| `iotops_") then listed[#listed + 1] = line end
    end
    assert.same(expected, listed)
  end)
end)

describe("the probes of a host", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  local function ready(port)
    local answer = web.get(port, "/readyz")
    assert.equal("application/json", answer.headers["content-type"])
    return answer.status, answer.body
  end

  local function await_ready(port, status)
    return process.eventually("/readyz is " .. status, function()
      local now, body = ready(port)
      return now == status and body
    end)
  end

  it("follow the broker down and up", function()
    local kept = process.folder()
    finally(function() os.execute("rm -rf '" .. kept .. "'") end)
    place = hosting.place { folder = kept }
    local host = place:run({ place:script("line", WORK) }, { args = { "--http", "0" } })
    local port = port_of(host)
    assert.same({ 200, '{"ready":true}\n' }, { ready(port) })
    place.broker:stop()
    local body = await_ready(port, 503)
    assert.truthy(body:find('"not connected since 20%d%d%-'), body)
    assert.equal(200, web.get(port, "/livez").status)
    place.broker = require("broker").start { port = place.broker.port, folder = kept }
    await_ready(port, 200)
  end)

  it("wait for the broker before the first connection", function()
    place = hosting.place()
    place.broker:stop()
    local host = place:run({ place:script("line", WORK) },
      { args = { "--http", "0" }, unconnected = true })
    local port = port_of(host)
    local status, body = ready(port)
    assert.equal(503, status)
    assert.truthy(body:find("not connected since", 1, true), body)
    assert.truthy(body:find('{"script":"line","reason":"2 subscriptions awaited"}', 1, true), body)
    assert.equal(200, web.get(port, "/livez").status)
  end)

  it("name a script that cannot be loaded, but not one that serves its old version", function()
    place = hosting.place()
    local host = place:run({ place:script("line", WORK), place:script("bad", "error 'no'") },
      { args = { "--http", "0" } })
    local port = port_of(host)
    local body = await_ready(port, 503)
    assert.equal('{"ready":false,"reasons":[{"script":"bad","reason":'
      .. '"not loaded: the log says why"}]}\n', body)
    place:script("bad", "-- good")
    await_ready(port, 200)
    place:script("bad", "error 'no'")
    hosting.record(host, "cannot reload")
    assert.equal(200, (ready(port)))
  end)

  it("say that a host is stopping, until it has", function()
    place = hosting.place()
    local host = place:run({ place:script("slow", [[
      local iotops = require "iotops"
      iotops.on_telemetry("work", function() iotops.sleep(1) end)
    ]]) }, { args = { "--http", "0" } })
    local port = port_of(host)
    place:publish("work", "{}")
    await("the call", port, { ['iotops_script_calls_running{script="slow"}'] = 1 })
    host:signal_with("sigterm")
    local body = await_ready(port, 503)
    assert.truthy(body:find('{"reason":"stopping"}', 1, true), body)
    assert.equal(200, web.get(port, "/livez").status)
    assert.equal(0, (host:wait(10)))
    local late = web.connect(port)
    assert.is_nil(late:answer())
    assert.equal("ECONNREFUSED", late.failure)
  end)
end)

describe("the HTTP of a host", function()
  local place

  after_each(function()
    if place then place:close() end
    place = nil
  end)

  it("answers GET and HEAD of its pages alone", function()
    place = hosting.place()
    local host = place:run({ place:script("line", WORK) }, { args = { "--http", "*:0" } })
    local port = port_of(host)
    assert.equal("ok\n", web.get(port, "/livez").body)
    assert.equal("ok\n", web.get(port, "/livez?verbose").body)
    assert.equal(200, web.get(port, "/livez", { address = "::1" }).status)
    local head = web.get(port, "/livez", { method = "HEAD" })
    assert.same({ 200, "3", "" }, { head.status, head.headers["content-length"], head.body })
    assert.equal(404, web.get(port, "/").status)
    assert.equal(404, web.get(port, "/metrics/").status)
    for _, method in ipairs { "POST", "PUT", "DELETE", "OPTIONS" } do
      local answer = web.get(port, "/metrics",
        { method = method, headers = "Content-Length: 4\r\n", body = "work" })
      assert.equal(405, answer.status, method)
      assert.equal("GET, HEAD", answer.headers.allow)
    end
  end)

  it("bears with whoever is slow, rude or too long", function()
    place = hosting.place()
    local host = place:run({ place:script("line", WORK) }, { args = { "--http", "0" } })
    local port = port_of(host)
    local slow = {}
    for i = 1, 100 do
      slow[i] = web.connect(port)
      slow[i]:send("GET /metrics HT")
    end
    local rude, long = web.connect(port), web.connect(port)
    rude:send("\0\xFF /metrics\r\n\r\n")
    long:send("GET /metrics HTTP/1.1\r\nHost: x\r\nA: " .. ("x"):rep(100000))
    -- Handlers and others who ask notice nothing.
    place:publish("work", "{}")
    await("the message", port,
      { ['iotops_script_calls_total{script="line",kind="telemetry"}'] = 1 })
    local answer = long:answer(5)
    assert.is_true(answer == nil or answer.status == 431, long.text)
    -- One that is new has its time: those before it may have been cut by now.
    local late = web.connect(port)
    late:send("GET /metrics HT")
    process.eventually("the connection", function() return late.connected end, 5)
    late:send("TP/1.1\r\nHost: x\r\n\r\n")
    assert.equal(200, late:answer(5).status)
    process.eventually("the end of the oldest", function() return slow[1].closed end, 5)
    assert.is_nil(rude.text:find("200", 1, true))
    rude:close()
    for _, connection in ipairs(slow) do connection:close() end
    hosting.stop(host)
  end)

  it("is refused at the start when nothing can listen there", function()
    place = hosting.place()
    local script = place:script("line", WORK)
    local env = place.broker:environment("second")
    local taken = process.run({ hosting.program, "run", "--http",
      tostring(place.broker.port), script }, { env = env })
    assert.equal(2, taken.code)
    assert.truthy(taken:text():find(("--http %d: Address already in use"):format(
      place.broker.port), 1, true), taken:text())
    for _, address in ipairs { "", "70000", "1.2.3:80", "[::1:80", "localhost:80" } do
      local run = process.run({ hosting.program, "run", "--http", address, script }, { env = env })
      assert.equal(2, run.code, address)
      assert.truthy(run:text():find("--http takes [ADDRESS:]PORT", 1, true), run:text())
    end
  end)
end)
