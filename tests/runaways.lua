--- Handlers that would run or eat without end.

---@class Runaway
---@field name string
---@field text string what the handler does
---@field line integer where it is stopped, counted from the first line of the text
---@field to integer? or up to which line
---@field says string? why, in the log; nil: it ran longer than the limit

---@type Runaway[]
return {
  { name = "an endless loop", text = [[
local n = 0
while true do n = n + 1 end]], line = 2 },
  { name = "a loop inside pcall inside a loop", text = [[
while true do
  pcall(function()
    while true do pcall(function() while true do end end) end
  end)
end]], line = 3 },
  { name = "a loop in a coroutine", text = [[
local spin = coroutine.wrap(function()
  while true do pcall(function() while true do end end) end
end)
while true do pcall(spin) end]], line = 2 },
  { name = "a loop in coroutines in coroutines, each caught", text = [[
local function nest(depth)
  while true do
    if depth > 0 then coroutine.resume(coroutine.create(nest), depth - 1) end
  end
end
nest(20)]], line = 2, to = 3 },
  { name = "a loop in a message handler", text = [[
while true do
  xpcall(function() while true do end end, function() while true do end end)
end]], line = 2 },
  { name = "a loop in __close after the loop", text = [[
local spins <close> = setmetatable({}, { __close = function() while true do end end })
while true do end]], line = 2 },
  { name = "a loop in __close of a coroutine that is closed", text = [[
local co = coroutine.create(function()
  local spins <close> = setmetatable({}, { __close = function() while true do end end })
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)]], line = 2 },
  { name = "a loop in __tostring of an error", text = [[
error(setmetatable({}, { __tostring = function() while true do end end }))]], line = 1 },
  { name = "a flood of coroutines", text = [[
local all = {}
while true do
  local co = coroutine.create(function() coroutine.yield() end)
  coroutine.resume(co)
  all[#all + 1] = co
end]], line = 3, says = "stopped: needs more than the 10000 coroutines" },
  { name = "a flood of coroutines that is caught", text = [[
local all = {}
while true do pcall(function()
  all[#all + 1] = coroutine.wrap(function() end)
end) end]], line = 3, says = "stopped: needs more than the 10000 coroutines" },
  { name = "a flood of spawned functions", text = [[
while true do iotops.spawn(iotops.sleep, 1) end]], line = 1,
    says = "stopped: needs more than the 10000 spawned functions" },
  { name = "a flood of timers", text = [[
while true do iotops.after(1000, print) end]], line = 1,
    says = "stopped: needs more than the 10000 timers" },
  { name = "a memory eater", text = [[
local all = {}
while true do all[#all + 1] = ("x"):rep(100000) .. #all end]], line = 2,
    says = "stopped: needs more than the 32 MiB of memory that a script may hold" },
  { name = "a memory eater that catches the error", text = [[
local all = {}
while true do pcall(function()
  while true do all[#all + 1] = { #all } end
end) end]], line = 3,
    says = "stopped: needs more than the 32 MiB" },
  { name = "a global that is eaten into", text = [[
kept = kept or {}
while true do kept[#kept + 1] = ("x"):rep(20000) .. #kept end]], line = 2,
    says = "stopped: needs more than the 32 MiB" },
  { name = "deep recursion", text = [[
local function deeper(n) return 1 + deeper(n + 1) end
return deeper(1)]], line = 1, says = "stopped: needs more than the 32 MiB" },
  { name = "a pattern that backtracks", text = [[
return ("a"):rep(30000):find(".-.-.-.-x")]], line = 1 },
  { name = "a pattern that backtracks in gsub", text = [[
return ("a"):rep(30000):gsub("a*a*a*a*b", "")]], line = 1 },
  { name = "a pattern that backtracks and is caught", text = [[
while true do pcall(string.match, ("a"):rep(30000), "(.-)(.-)%1%2x") end]], line = 1 },
  { name = "a loop in a function that gsub calls", text = [[
return ("a"):rep(30):gsub("a", function()
  while true do end
end)]], line = 2 },
  { name = "a table.move without end", text = [[
table.move({}, 1, math.maxinteger - 1, 2)]], line = 1, says = "more elements than" },
  { name = "a table.insert without end", text = [[
table.insert(setmetatable({}, { __len = function() return 1 << 50 end }), 1, "x")]],
    line = 1, says = "more elements than" },
  { name = "a table.remove without end", text = [[
table.remove(setmetatable({}, { __len = function() return 1 << 50 end }), 1)]],
    line = 1, says = "more elements than" },
  { name = "a table.concat without end", text = [[
table.concat(setmetatable({}, { __index = string.lower }), "", 1, 1 << 50)]],
    line = 1, says = "more elements than" },
  { name = "a text too long to hold", text = [[
return ("x"):rep(1 << 40)]], line = 1, says = "more than a script may hold" },
  { name = "nothing, repeated without end", text = [[
assert((""):rep(1 << 60) == "" and (""):rep(1) == "" and ("x"):rep(3, ",") == "x,x,x")
error("done")]], line = 2, says = "done" },
  { name = "a finalizer", text = [[
setmetatable({}, { __gc = function() while true do end end })]], line = 1,
    says = "__gc is not available" },
  { name = "a hook of its own", text = [[
debug.sethook(function() while true do end end, "l")]], line = 1,
    says = "debug.sethook is not available" },
  { name = "a binary chunk", text = [[
assert(load(string.dump(function() end)))]], line = 1,
    says = "attempt to load a binary chunk" },
}
