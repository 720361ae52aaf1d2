--- One test of own.lua, in a Lua state of its own; without a name, the names
--- of all tests of a file.

package.path = "tests/?.lua;" .. package.path

local options = ...
local failure = require "metl.failure"

local stub = require "metl.stub"
local problem = stub.open({
  level = math.tointeger(tonumber(options.level)),
  client_id = "own-client",
})
if problem then
  return problem
end

-- The product's module is opened only now: it is given the stub's session.
local tests = require("metl.own." .. options.file)
if not options.name then
  local names = {}
  for _, test in ipairs(tests) do
    names[#names + 1] = test[1]
  end
  return table.concat(names, "\n")
end

local body
for _, test in ipairs(tests) do
  if test[1] == options.name then
    body = test[#test]
    stub.answer(#test == 3 and test[2].push_acks or {})
  end
end

local bench = require "metl.own_bench"
local trace = require "metl.trace"
stub.start()

local ran, err = xpcall(body, function(raised)
  if failure.is(raised) then
    return raised
  end
  return failure.of(debug.traceback(tostring(raised), 2))
end, bench)
bench.release()
if not ran then
  return tostring(err) .. "\n" .. trace.text()
end
return nil
