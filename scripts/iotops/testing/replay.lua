--- What `iotops replay` does: recorded messages go to a script, in a world whose
--- clock follows the recording, and what the script sends is shown or compared.

local core = require "iotops.world"
local json = require "iotops.core"
local message = require "iotops.testing.message"
local testing = require "iotops.testing"

local replay = {}

local RECORDED = "recorded" -- the client that sends what was recorded
local AFTER = 10            -- seconds that pass after the last message

-- Properties that are new with each message.
local VOLATILE = {
  __ts = true, __srcId = true, __invId = true, __ft = true, traceparent = true, tracestate = true,
  id = true, time = true,
}

local function complain(...)
  io.stderr:write("iotops replay: ", string.format(...), "\n")
  return 2
end

-- ------------------------------------------------------------ recording --

---@return table[]|nil messages
---@return string? why
local function read(path)
  local recording, why = core.recording(path)
  if not recording then
    return nil, why
  end
  local list = {}
  while true do
    local entry
    entry, why = recording:next()
    if not entry then
      break
    end
    list[#list + 1] = entry
  end
  recording:close()
  if why then
    return nil, why
  elseif #list == 0 then
    return nil, path .. ": there is no message in it"
  end
  return list
end

-- --------------------------------------------------------------- feeding --

-- Gives the script what was received, each message at its time; how many.
local function feed(world, recording, client_id)
  local count, unheard = 0, {}
  local filters = world:subscriptions(client_id)
  local function hears(topic)
    for _, filter in ipairs(filters) do
      if core.matches(filter, topic) then
        return true
      end
    end
  end
  for _, entry in ipairs(recording) do
    if entry.time_ms then
      world:advance(math.max(0, entry.time_ms / 1000 - world:now()))
    end
    if entry.direction ~= "out" then
      count = count + 1
      if not hears(entry.topic) then
        unheard[entry.topic] = (unheard[entry.topic] or 0) + 1
      end
      world:deliver(RECORDED, entry)
    end
  end
  return count, unheard
end

local function sent_by(world, client_id)
  local list = {}
  for _, found in ipairs(world:published "#") do
    if found.from == client_id and not found.topic:find "^statestore/" then
      list[#list + 1] = found
    end
  end
  return list
end

-- ------------------------------------------------------------ comparing --

local function same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then
    return a == b
  end
  for name, value in pairs(a) do
    if not same(value, b[name]) then
      return false
    end
  end
  for name in pairs(b) do
    if a[name] == nil then
      return false
    end
  end
  return true
end

local function kept_properties(entry)
  local list = {}
  for _, pair in ipairs(entry.user_data or {}) do
    if not VOLATILE[pair[1]] then
      list[#list + 1] = pair[1] .. "=" .. pair[2]
    end
  end
  table.sort(list)
  return table.concat(list, "\n")
end

local function value_of(entry)
  if entry.content_type == nil or entry.content_type == "application/json" then
    local value, err = json.json_decode(entry.raw)
    if not err then
      return value
    end
  end
  return entry.raw
end

-- What differs between two messages of one topic; nil: nothing.
local function difference(recorded, sent)
  if not same(value_of(recorded), value_of(sent)) then
    return "payload"
  end
  for _, name in ipairs { "qos", "retain", "content_type", "format_indicator" } do
    if recorded[name] ~= sent[name] then
      return name
    end
  end
  if kept_properties(recorded) ~= kept_properties(sent) then
    return "user properties"
  end
end

local function text_of(entry)
  return message.shown { payload = value_of(entry) }
end

local function was_sent_by(entry, name)
  return entry.direction == "out" and (entry.script == nil or entry.script == name)
end

-- Why what `name` sends has nothing to be compared with, if so, and whether
-- that is a mistake.
local function nothing_to_compare(recording, name, path)
  local other
  for _, entry in ipairs(recording) do
    if was_sent_by(entry, name) then
      return nil
    end
    other = other or entry.direction == "out" and entry.script
  end
  if other then
    return ("%s holds what the script %s sent, not %s: give the candidate the file name %s.lua, "
      .. "in a folder of its own"):format(path, other, name, other), true
  end
  return ("%s holds nothing that a script has sent; `iotops record --script %s` writes that down")
    :format(path, name), false
end

-- Messages of each topic are compared in their order.  Nobody knows what was
-- sent after the last record.
local function compare(recording, sent, name)
  local expected, topics, list = {}, {}, {}
  local ended_ms = recording[#recording].time_ms or math.huge
  local function of(topic)
    if not expected[topic] then
      expected[topic] = { recorded = {}, sent = {} }
      topics[#topics + 1] = topic
    end
    return expected[topic]
  end
  for _, entry in ipairs(recording) do
    if was_sent_by(entry, name) and not entry.topic:find "^statestore/" then
      table.insert(of(entry.topic).recorded, entry)
    end
  end
  for _, entry in ipairs(sent) do
    table.insert(of(entry.topic).sent, entry)
  end
  for _, topic in ipairs(topics) do
    local pair = expected[topic]
    for index = 1, math.max(#pair.recorded, #pair.sent) do
      local was, is = pair.recorded[index], pair.sent[index]
      local what = not is and "missing" or not was and "new" or difference(was, is)
      if what and (what ~= "new" or is.time * 1000 < ended_ms + 1) then
        list[#list + 1] = {
          topic = topic, number = index, what = what, line = was and was.line,
          recorded = was and text_of(was), sent = is and text_of(is),
        }
      end
    end
  end
  return list
end

-- ---------------------------------------------------------------- report --

local function stamp(seconds)
  return os.date("!%Y-%m-%dT%H:%M:%S", math.floor(seconds))
    .. (".%03dZ"):format(math.floor(seconds * 1000 + 0.5) % 1000)
end

local function count(number, noun)
  return ("%d %s%s"):format(number, noun, number == 1 and "" or "s")
end

local function print_difference(one, path)
  local where = one.line and (" (%s:%d)"):format(path, one.line) or ""
  if one.what == "missing" then
    print(("- %s %s%s: was sent, and is not any more"):format(one.topic, one.recorded, where))
  elseif one.what == "new" then
    print(("+ %s %s: was not sent before"):format(one.topic, one.sent))
  elseif one.what == "payload" then
    print(("~ %s %s: was %s%s"):format(one.topic, one.sent, one.recorded, where))
  else
    print(("~ %s %s: other %s%s"):format(one.topic, one.sent, one.what, where))
  end
end

local function print_report(report, options)
  if options.compare then
    for _, one in ipairs(report.differences) do
      print_difference(one, options.recording)
    end
  else
    for _, sent in ipairs(report.sent) do
      print(("%s %s %s"):format(stamp(sent.time), sent.topic, message.shown(sent)))
    end
  end
  for _, err in ipairs(report.errors) do
    print(("error %s%s"):format(err.topic and err.topic .. ": " or "", err.message))
  end
  for topic, times in pairs(report.unheard) do
    print(("not received: %s (%s)"):format(topic, count(times, "message")))
  end
  print(("%s in, %d out, %s%s; %s, the longest %.3f ms, %.1f ms in all"):format(
    count(report.received, "message"), #report.sent, count(#report.errors, "error"),
    options.compare and ", " .. count(#report.differences, "difference") or "",
    count(report.calls, "call"), report.longest_us / 1000, report.busy_us / 1000))
end

local function print_json(report)
  local sent, errors = {}, {}
  for index, each in ipairs(report.sent) do
    local value = value_of(each)
    sent[index] = { time = stamp(each.time), topic = each.topic, qos = each.qos,
      retain = each.retain, content_type = each.content_type }
    if not pcall(function() assert(json.json_encode(value)) end) then
      value = "(bytes)"
    end
    sent[index].payload = value
  end
  for index, each in ipairs(report.errors) do
    errors[index] = { topic = each.topic, message = each.message, time = stamp(each.time) }
  end
  print(assert(json.json_encode {
    received = report.received, unheard = report.unheard, sent = json.json_array(sent),
    errors = json.json_array(errors),
    differences = report.differences and json.json_array(report.differences),
    calls = report.calls, longest_us = report.longest_us, busy_us = report.busy_us,
  }))
end

-- ------------------------------------------------------------------- run --

local function parse(words)
  local options, files, at = { after = AFTER, client_id = "replay" }, {}, 1
  local values = { ["--client-id"] = "client_id", ["--after"] = "after",
    ["--topic-namespace"] = "topic_namespace" }
  while words[at] do
    local word, value = words[at]:match "^(%-%-[^=]+)=(.*)$"
    word = word or words[at]
    if word == "--json" or word == "--compare" then
      options[word:sub(3)] = true
    elseif values[word] then
      if not value then
        at = at + 1
        value = words[at]
      end
      if not value then
        return nil, word .. " needs a value"
      end
      options[values[word]] = value
    elseif word:sub(1, 1) == "-" then
      return nil, "there is no option " .. word
    else
      files[#files + 1] = word
    end
    at = at + 1
  end
  options.after = tonumber(options.after)
  if not options.after or options.after < 0 then
    return nil, "--after takes seconds"
  elseif #files ~= 2 then
    return nil, "it needs a recording and a script"
  end
  options.recording, options.script = files[1], files[2]
  return options
end

--- Does what the command line says; the exit status.
---@param words string[]
---@return integer
function replay.run(words)
  local options, why = parse(words)
  if not options then
    return complain("%s; `iotops replay --help` explains the command", why)
  end
  local recording
  recording, why = read(options.recording)
  if not recording then
    return complain("%s", why)
  end
  local first = recording[1].time_ms
  local world <close> = testing.world { time = first and first / 1000 }
  local ok, script = pcall(world.run, world, options.script, {
    client_id = options.client_id, topic_namespace = options.topic_namespace
      or os.getenv "IOTOPS_TOPIC_NAMESPACE",
  })
  if not ok then
    io.stderr:write("iotops replay: ", tostring(script), "\n")
    return 1
  end
  local received, unheard = feed(world, recording, options.client_id)
  world:advance(options.after)
  local counters = script:counters()
  local report = {
    received = received, unheard = unheard, sent = sent_by(world, options.client_id),
    errors = script:errors(), calls = counters.calls, busy_us = counters.busy_us,
    longest_us = counters.longest_us,
  }
  if options.compare then
    local wrong
    why, wrong = nothing_to_compare(recording, script.name, options.recording)
    if why then
      complain("%s", why)
    end
    if wrong then
      return 2
    end
    report.differences = compare(recording, report.sent, script.name)
  end
  if options.json then
    print_json(report)
  else
    print_report(report, options)
  end
  return #report.errors == 0 and #(report.differences or {}) == 0 and 0 or 1
end

return replay
