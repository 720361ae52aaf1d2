--- Programs that a test starts: their lines, their end, and their end for
--- certain.  Every call that waits has a time limit and names what it waited
--- for when the limit passes.

local uv = require "luv"

local process = {}

---@class process.Process
---@field name string
---@field out string[] lines of standard output so far
---@field err string[] lines of standard error so far
---@field code integer? exit code, once it has ended
---@field signal integer? the signal that ended it
local Process = {}
Process.__index = Process

local alive = {} ---@type table<process.Process, true>

-- Turns the loop until `done()` or until `seconds` have passed.
local function turn_until(done, seconds)
  local timer, late = uv.new_timer(), false
  -- Repeated: fired at the begin of a turn it would leave that turn to wait for
  -- ever for whatever comes next.
  timer:start(math.ceil(seconds * 1000), 100, function() late = true end)
  local result = done() -- asked once a turn: an answer may take a line
  while not result and not late do
    uv.run("once")
    result = done()
  end
  timer:close()
  uv.run("nowait") -- luv crashes at exit on a handle that is still closing
  return result
end

-- In a build with sanitizers (`make test-asan`) a plain interpreter has to have
-- the sanitizer before it loads our module; what else is started must not.
local function environment(program, changes)
  local merged, list = uv.os_environ(), {}
  merged.LD_PRELOAD = program == "lua5.4" and merged.IOTOPS_TEST_PRELOAD or nil
  for name, value in pairs(changes or {}) do merged[name] = value or nil end
  for name, value in pairs(merged) do list[#list + 1] = name .. "=" .. value end
  return list
end

-- Cuts what arrives on `pipe` into lines.
local function collect(self, pipe, lines)
  local rest = ""
  pipe:read_start(function(_, data)
    if not data then
      if rest ~= "" then lines[#lines + 1] = rest end
      self.open = self.open - 1
      return pipe:close()
    end
    rest = (rest .. data):gsub("([^\n]*)\n", function(line)
      lines[#lines + 1] = line
      return ""
    end)
  end)
end

--- Starts a program.
---@param command string[] the program and its arguments
---@param options? {env: table<string, string|false>?, cwd: string?, stdin: boolean?}
---@return process.Process
function process.start(command, options)
  options = options or {}
  local out, err = uv.new_pipe(), uv.new_pipe()
  local input = options.stdin and uv.new_pipe() or nil
  local self = setmetatable({
    name = command[1], out = {}, err = {}, open = 2, input = input, read = 0,
  }, Process)
  local handle, pid = uv.spawn(command[1], {
    args = { table.unpack(command, 2) },
    stdio = { input, out, err },
    env = environment(command[1], options.env),
    cwd = options.cwd,
    detached = true, -- a group of its own, so that its children end with it
  }, function(code, signal)
    self.code, self.signal = code, signal
    alive[self] = nil
    self.handle:close()
  end)
  if not handle then error(("cannot start %s: %s"):format(command[1], pid), 2) end
  self.handle, self.pid = handle, pid
  alive[self] = true
  collect(self, out, self.out)
  collect(self, err, self.err)
  return self
end

--- All it has written, for a message.
function Process:text()
  return table.concat(self.out, "\n") .. "\n" .. table.concat(self.err, "\n")
end

local function find_line(lines, from, pattern)
  for index = from, #lines do
    if lines[index]:find(pattern) then return index end
  end
end

--- The next line of either output that matches `pattern`.  Lines of standard
--- output that were returned or passed over are not looked at again.
---@param pattern string
---@param seconds? number 10 unless given
---@return string line, ... its captures
function Process:line(pattern, seconds)
  seconds = seconds or 10
  local line
  local function seen()
    local index = find_line(self.out, self.read + 1, pattern)
    if index then
      self.read, line = index, self.out[index]
      return true
    end
    self.read_err = self.read_err or 0
    index = find_line(self.err, self.read_err + 1, pattern)
    if index then self.read_err, line = index, self.err[index] end
    return index ~= nil
  end
  turn_until(function() return seen() or (self.code and self.open == 0) end, seconds)
  if not line and not seen() then
    error(("%s: no line %q within %g s; it wrote:\n%s"):format(
      self.name, pattern, seconds, self:text()), 2)
  end
  return line, line:match(pattern)
end

--- Writes to its standard input (`stdin = true`); nil closes it.
function Process:write(text)
  if text then self.input:write(text) else self.input:shutdown() end
end

--- Waits until it has ended and all it wrote has been read.
---@param seconds? number 10 unless given
---@return integer code, integer signal
function Process:wait(seconds)
  seconds = seconds or 10
  local function ended() return self.code ~= nil and self.open == 0 end
  if not turn_until(ended, seconds) then
    error(("%s still runs after %g s; it wrote:\n%s"):format(
      self.name, seconds, self:text()), 2)
  end
  return self.code, self.signal
end

--- Sends a signal ("sigterm" unless given) to it alone.
function Process:signal_with(signal)
  if self.code == nil then self.handle:kill(signal or "sigterm") end
end

--- Ends it and its children for certain.
function Process:kill()
  if self.code == nil then
    uv.kill(-self.pid, "sigkill")
    turn_until(function() return self.code ~= nil end, 5)
  end
end

--- Runs a program to its end.
---@return process.Process
function process.run(command, options)
  local self = process.start(command, options)
  self:wait(options and options.seconds or 30)
  return self
end

--- Lets the programs run for so long.
function process.pass(seconds)
  turn_until(function() return false end, seconds)
end

--- Waits until `done()` is true.
---@param what string names it in the error
function process.eventually(what, done, seconds)
  local result
  local tick = uv.new_timer()
  tick:start(20, 20, function() end)
  local ok = turn_until(function()
    result = done()
    return result
  end, seconds or 10)
  tick:close()
  uv.run("nowait")
  if not ok then error(("%s: not within %g s"):format(what, seconds or 10), 2) end
  return result
end

--- Ends everything that still runs; for after_each.
function process.kill_all()
  for self in pairs(alive) do self:kill() end
end

--- A new empty folder in the temporary folder.
function process.folder()
  return assert(uv.fs_mkdtemp((os.getenv("TMPDIR") or "/tmp") .. "/iotops-test-XXXXXX"))
end

return process
