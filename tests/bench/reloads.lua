--- How long messages wait for reloads: a script is reloaded over and over while
--- it handles 10 000 messages a second.
---
--- A message's delay begins when it has been sent and the one before it is being
--- handled, so what the sender does not send is nobody's pause.  Time is cut into
--- spans of one reload each; a span counts with its longest delay.

local hosting = require "hosting"
local process = require "process"
local uv = require "luv"

local reloads = {}

reloads.RATE = 10000
local SPAN = 0.08 -- seconds; longer than a change of a file takes to settle
local WARM_UP = 10 -- spans that are not looked at

-- In memory where there is such a place: a disk that is busy is no pause of ours.
local function notes_folder()
  return uv.fs_mkdtemp("/dev/shm/iotops-bench-XXXXXX") or process.folder()
end

-- Time sent and time handled of all messages, in order of handling.
local function read_notes(folder)
  local notes = {}
  local scan = assert(uv.fs_scandir(folder))
  for name in function() return (uv.fs_scandir_next(scan)) end do
    if name:find("%.notes$") then
      local file = assert(io.open(folder .. "/" .. name, "rb"))
      for bytes in function() return file:read(16) end do
        notes[#notes + 1] = { string.unpack("<i8i8", bytes) }
      end
      file:close()
    end
    os.remove(folder .. "/" .. name)
  end
  os.remove(folder)
  table.sort(notes, function(a, b) return a[2] < b[2] end)
  return notes
end

-- The longest delay in each span, in nanoseconds; `ends` are those of the spans.
local function longest_delays(notes, ends)
  local longest, at = {}, 1
  for index = 2, #notes do
    local sent, handled = notes[index][1], notes[index][2]
    while ends[at] and handled > ends[at] do at = at + 1 end
    if at > #ends then break end
    local delay = handled - math.max(sent, notes[index - 1][2])
    longest[at] = math.max(longest[at] or 0, delay)
  end
  return longest
end

---@class reloads.Run
---@field start fun(folder: string): process.Process, process.Process # ready host, sender
---@field count integer reloads
---@field still boolean? the same without reloads

--- p99 and p50, in microseconds, of the longest delay around a reload.
---@param run reloads.Run
---@return number p99
---@return number p50
function reloads.measure(run)
  local folder = notes_folder()
  local text = assert(io.open("tests/bench/paused.lua")):read("a")
  local path = folder .. "/paused.lua"
  hosting.write(path, text)
  local host, sender = run.start(folder)
  local ends = {}
  for version = 1, run.count + WARM_UP do
    local began = uv.hrtime()
    if not run.still then
      hosting.write(path, text .. "-- version " .. version .. "\n")
      host:signal_with("sighup")
      host:line("reloaded: ", 20)
    end
    process.pass(math.max(0, SPAN - (uv.hrtime() - began) / 1e9))
    ends[version] = uv.hrtime()
  end
  sender:signal_with("sigterm")
  sender:wait(30)
  host:signal_with("sigterm")
  host:wait(30)
  local longest = longest_delays(read_notes(folder), ends)
  table.move(longest, WARM_UP + 1, #ends + WARM_UP, 1)
  table.sort(longest)
  assert(#longest == run.count, "spans without a message")
  return longest[math.ceil(#longest * 0.99)] / 1e3, longest[(#longest + 1) // 2] / 1e3
end

return reloads
