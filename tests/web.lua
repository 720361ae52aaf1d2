--- A small HTTP client for tests: it sends what it is told, also what is no
--- request, and gives back all that came until the connection was closed.

local process = require "process"
local uv = require "luv"

local web = {}

---@class web.Connection
---@field text string what came so far
---@field closed boolean the other end, or an error, has ended it
---@field socket userdata
local Connection = {}
Connection.__index = Connection

--- Begins to connect; `closed` with `failure` when nobody listens.
---@param port integer
---@param address? string
---@return web.Connection
function web.connect(port, address)
  local self = setmetatable({ text = "", closed = false, unsent = "" }, Connection)
  self.socket = uv.new_tcp()
  self.socket:connect(address or "127.0.0.1", port, function(failure)
    self.connected, self.failure = not failure, failure
    if failure then return self:close() end
    self.socket:write(self.unsent)
    self.socket:read_start(function(broken, data)
      if data then
        self.text = self.text .. data
      else
        self.failure = broken
        self:close()
      end
    end)
  end)
  return self
end

function Connection:close()
  self.closed = true
  if not self.socket:is_closing() then self.socket:close() end
end

function Connection:send(text)
  if self.connected and not self.closed then
    self.socket:write(text)
  else
    self.unsent = self.unsent .. text
  end
end

---@class web.Answer
---@field status integer
---@field headers table<string, string> names in lower case
---@field body string

--- Waits for the end and reads what came as an answer; nil when it is none.
---@return web.Answer?
function Connection:answer(seconds)
  process.eventually("an answer", function() return self.closed end, seconds)
  local status, rest = self.text:match("^HTTP/1%.1 (%d+)[^\r]*\r\n(.*)$")
  if not status then return nil end
  local head, body = rest:match("^(.-\r\n)\r\n(.*)$")
  local headers = {}
  for name, value in (head or ""):gmatch("([^:\r\n]+): ([^\r\n]*)\r\n") do
    headers[name:lower()] = value
  end
  return { status = tonumber(status), headers = headers, body = body or "" }
end

--- Asks once.
---@param port integer
---@param path string
---@param options? {method: string?, headers: string?, body: string?, address: string?}
---@return web.Answer
function web.get(port, path, options)
  options = options or {}
  local connection = web.connect(port, options.address)
  connection:send(("%s %s HTTP/1.1\r\nHost: test\r\n%s\r\n%s"):format(
    options.method or "GET", path, options.headers or "", options.body or ""))
  local answer = connection:answer()
  if not answer then
    error(("no answer to %s: %s"):format(path, connection.failure or connection.text), 2)
  end
  return answer
end

return web
