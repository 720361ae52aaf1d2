--- A host for a test: scripts in a folder of their own, `iotops run` on them
--- against a private broker, and what its log says.

local process = require "process"
local broker = require "broker"
local cjson = require "cjson"

local hosting = {}

hosting.program = (os.getenv("BUILD") or "build") .. "/iotops"

--- Writes a file as an editor does: the new text appears in one step.
function hosting.write(path, text)
  local file = assert(io.open(path .. ".part", "w"))
  file:write(text)
  file:close()
  assert(os.rename(path .. ".part", path))
end

--- The lines of a file; none when it does not exist.
function hosting.lines(path)
  local lines = {}
  local file = io.open(path)
  if not file then return lines end
  for line in file:lines() do lines[#lines + 1] = line end
  file:close()
  return lines
end

---@class hosting.Place
---@field folder string where scripts are, "FOLDER" in their text
---@field broker broker.Broker
local Place = {}
Place.__index = Place

--- A folder and a broker.
---@param options? broker.Options
function hosting.place(options)
  return setmetatable({
    folder = process.folder(),
    broker = broker.start(options),
    client_id = "host-under-test",
  }, Place)
end

--- Writes a script; FOLDER in it becomes the folder's path.
---@return string path
function Place:script(name, text)
  local path = self.folder .. "/" .. name .. ".lua"
  hosting.write(path, (text:gsub("FOLDER", self.folder)))
  return path
end

--- What scripts of this place have noted in the file `name`.
function Place:noted(name)
  return hosting.lines(self.folder .. "/" .. name)
end

--- Starts `iotops run` and waits until messages reach a script.
---@param paths string[]
---@param options? {args: string[]?, env: table?, unconnected: boolean?}
---@return process.Process
function Place:run(paths, options)
  options = options or {}
  local command = { hosting.program, "run", "--log-format", "json" }
  for _, list in ipairs { options.args or {}, paths } do
    table.move(list, 1, #list, #command + 1, command)
  end
  local env = self.broker:environment(self.client_id)
  for name, value in pairs(options.env or {}) do env[name] = value end
  local host = process.start(command, { env = env })
  if not options.unconnected then hosting.connected(host) end
  return host
end

--- Waits until messages reach a script of the host.
function hosting.connected(host)
  local ok, failure = pcall(process.eventually, "the host has its subscriptions", function()
    if host.code then error("the host has ended", 0) end
    for _, line in ipairs(host.err) do
      if line:find('"message":"subscribed: ', 1, true) then return true end
    end
  end)
  if not ok then error(failure .. "; it wrote:\n" .. host:text(), 0) end
end

--- Runs a tool (`iotops send` and the like) against the place's broker.
function Place:tool(arguments, env)
  local command = { hosting.program }
  table.move(arguments, 1, #arguments, 2, command)
  local merged = self.broker:environment("tester")
  for name, value in pairs(env or {}) do merged[name] = value end
  return process.run(command, { env = merged })
end

--- Publishes with a client that is not ours; returns when the broker has it.
function Place:publish(topic, payload, ...)
  local client = process.run { "mosquitto_pub", "-V", "5", "-q", "1", "-p",
    tostring(self.broker.port), "-t", topic, "-m", payload, ... }
  if client.code ~= 0 then error(client:text(), 2) end
end

--- Records of the host's log.
---@return table[]
function hosting.records(host)
  local records = {}
  for _, line in ipairs(host.err) do
    local ok, record = pcall(cjson.decode, line)
    if ok then records[#records + 1] = record end
  end
  return records
end

--- Waits for a record whose message contains `text`, the `nth` of them.
function hosting.record(host, text, nth, seconds)
  return process.eventually(("a record with %q"):format(text), function()
    local count = 0
    for _, record in ipairs(hosting.records(host)) do
      if record.message:find(text, 1, true) then
        count = count + 1
        if count == (nth or 1) then return record end
      end
    end
    if host.code and host.open == 0 then
      error(("no record with %q; the host wrote:\n%s"):format(text, host:text()), 0)
    end
  end, seconds)
end

--- Waits until a file has `count` lines.
function Place:await_notes(name, count, seconds)
  process.eventually(("%d lines in %s"):format(count, name), function()
    return #self:noted(name) >= count
  end, seconds)
  return self:noted(name)
end

--- Packet ids that the broker sent to the host's client in PUBLISHes, and those
--- that it got back in PUBACKs, each in order.
---@param topic string? only PUBLISHes of this topic
function Place:acknowledgements(topic)
  local sent, acknowledged, wanted = {}, {}, {}
  for _, line in ipairs(self.broker:lines()) do
    local id, of = line:match("Sending PUBLISH to " .. self.client_id:gsub("%-", "%%-")
      .. " %(d%d, q1, r%d, m(%d+), '([^']*)'")
    if id and (not topic or of == topic) then
      sent[#sent + 1] = id
      wanted[id] = true
    end
    id = line:match("Received PUBACK from " .. self.client_id:gsub("%-", "%%-")
      .. " %(Mid: (%d+)")
    if id and wanted[id] then acknowledged[#acknowledged + 1] = id end
  end
  return sent, acknowledged
end

--- Stops a host as an orchestrator does and checks that it ended well.
function hosting.stop(host)
  host:signal_with("sigterm")
  local code = host:wait(15)
  if code ~= 0 then error(("exit status %d:\n%s"):format(code, host:text()), 2) end
end

function Place:close()
  process.kill_all()
  os.execute("rm -rf '" .. self.folder .. "'")
end

return hosting
