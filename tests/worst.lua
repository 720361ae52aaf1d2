--- What a script can do at its worst: each keeps to itself what a hook, or the
--- allocator, or a bound has to stop.  Name, the handler's text, and what the log
--- says of it; nil: it ran longer than the limit.

---@type string[][]
return {
  { "endless loop", "while true do end" },
  { "nested pcall", "while true do pcall(function() while true do pcall(error) end end) end" },
  { "coroutine.wrap", "coroutine.wrap(function() while true do end end)()" },
  { "__close", [[
    local c <close> = setmetatable({}, { __close = function() while true do end end })]] },
  { "__gc", "setmetatable({}, { __gc = function() while true do end end })",
    "__gc is not available" },
  { "table.move, huge", "table.move({}, 1, 2000000, 2) table.move({}, 1, 1 << 50, 2)",
    "more elements" },
  { "table.move, again", "while true do table.move({}, 1, 2000000, 2) end" },
  { "table.insert, huge", [[
    table.insert(setmetatable({}, { __len = function() return 1 << 50 end }), 1, 1)]],
    "more elements" },
  { "table.insert, again", [[
    local t = setmetatable({}, { __len = function() return 2000000 end, __newindex = rawlen })
    while true do table.insert(t, 1, 1) end]] },
  { "table.concat", [[
    local t = setmetatable({}, { __index = function() return "" end })
    while true do table.concat(t, "", 1, 2000000) end]] },
  { "table.sort", [[
    local t, long = {}, ("x"):rep(1000000)
    for i = 1, 20000 do t[i] = long end
    table.sort(t)]] },
  { "string.rep bomb", "local s = 'x' while true do s = s:rep(100) end", "stopped: " },
  { "string.rep, again", "while true do local s = ('x'):rep(8000000) end" },
  { "pattern", "return ('a'):rep(30000):find('.-.-.-.-x')" },
  { "gsub", "return ('a'):rep(30000):gsub('a*a*a*a*b', '')" },
  { "load", "while true do load(('x=1 '):rep(1000000)) end" },
  { "os.date", "while true do os.date(('%c'):rep(500000)) end",
    "a format of at most 1000 bytes" },
  { "deep recursion", "local function f(n) return 1 + f(n + 1) end f(1)", "stopped: " },
  { "deep traceback", [[
    local function f(n) return n > 0 and 1 + f(n - 1) or error("at the bottom") end
    while true do xpcall(f, debug.traceback, 180000) end]] },
  { "recursion in C", [[
    local function f() return ("x"):gsub("x", f) end
    while true do pcall(f) end]] },
  { "memory eater", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
    "stopped: " },
  { "coroutine flood", [[
    local t = {}
    while true do t[#t + 1] = coroutine.wrap(print) end]], "stopped: needs more" },
}
