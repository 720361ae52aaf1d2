--- The rules of the state store, without any network: a request's bytes in; the
--- answer's bytes, its version, and what has changed out.  Requests are applied
--- one after the other in the order in which they come.

local core = require "iotops.core"
local heap = require "standin.statestore.heap"
local pattern = require "standin.statestore.pattern"

local clock, resp3 = core.clock, core.resp3

local SKEW_MS = 60000
local STALE_KEPT = 1000 -- replaced entries that may wait for their time

local REFUSED = {
  skew = "the request timestamp is too far in the future; ensure that the client and "
    .. "broker system clocks are synchronized",
  no_fence = "a fencing token is required for this request",
  fence_skew = "the request fencing token timestamp is too far in the future; ensure that "
    .. "the client and broker system clocks are synchronized",
  old_fence = "the request fencing token is a lower version than the fencing token "
    .. "protecting the resource",
  quota = "the quota has been exceeded",
  syntax = "syntax error",
  command = "unknown command",
  arguments = "wrong number of arguments",
  no_timestamp = "missing timestamp",
  bad_timestamp = "malformed timestamp",
  no_key = "the key length is zero",
  disk = "the state file cannot be written",
}

local OK, NOT_APPLIED, NULL = "+OK\r\n", ":-1\r\n", "$-1\r\n"

---@class standin.Entry
---@field key string
---@field value string
---@field version string
---@field fence string?
---@field expires integer? on the monotonic clock, milliseconds
---@field expires_wall integer?
---@field persist boolean

---@class standin.Request
---@field payload string
---@field client string? who asks
---@field timestamp string?
---@field fence string?
---@field persist boolean?

---@class standin.Change
---@field key string
---@field value string? nil: deleted
---@field version string

---@class standin.Engine
---@field private entries table<string, standin.Entry>
---@field private count integer
---@field private sorted string[]? keys in order; nil: to be sorted anew
---@field private observers table<string, table<string, integer>> key to client to when
---@field private expiring standin.Heap
---@field private changes standin.Change[] of the request in hand
local Engine = {}
Engine.__index = Engine

local engine = {}

---@class standin.EngineOptions
---@field page_size integer? keys in an answer to SCAN
---@field page_bytes integer? bytes of keys in an answer to SCAN
---@field max_keys integer?
---@field max_observed_key integer? bytes of the longest key that can be observed
---@field journal standin.Journal?

---@param options standin.EngineOptions
---@return standin.Engine
function engine.new(options)
  return setmetatable({
    clock = clock.new("StateStore"),
    entries = {}, count = 0, sorted = nil, observers = {}, registrations = 0,
    expiring = heap.new(), changes = {},
    page_size = options.page_size or 100,
    page_bytes = options.page_bytes or 256 * 1024,
    max_keys = options.max_keys or math.huge,
    max_observed_key = options.max_observed_key or 32000,
  }, Engine)
end

-- -------------------------------------------------------------- entries --

---@param entry standin.Entry
function Engine:insert(entry)
  if not self.entries[entry.key] then
    self.count = self.count + 1
    self.sorted = nil
  end
  self.entries[entry.key] = entry
  if entry.expires then
    self.expiring:push(entry.expires, entry)
    self:tidy_expiring()
  end
end

-- Entries that were replaced must not fill the memory until their time comes.
function Engine:tidy_expiring()
  if self.expiring:size() <= 2 * self.count + STALE_KEPT then
    return
  end
  self.expiring = heap.new()
  for _, entry in pairs(self.entries) do
    if entry.expires then
      self.expiring:push(entry.expires, entry)
    end
  end
end

-- Takes an entry out and notes the change.
function Engine:remove(entry)
  self.entries[entry.key] = nil
  self.count = self.count - 1
  self.sorted = nil
  if entry.persist and self.journal then
    self.journal:delete(entry.key)
  end
  self.changes[#self.changes + 1] = { key = entry.key, version = self.clock:now() }
end

function Engine:taken_changes()
  local changes = self.changes
  if #changes > 0 then
    self.changes = {}
  end
  return changes
end

--- Removes what has expired.
---@return standin.Change[] changes
function Engine:expire()
  local now = clock.monotonic()
  local entry = self.expiring:pop_due(now)
  while entry do
    if self.entries[entry.key] == entry then
      self:remove(entry)
    end
    entry = self.expiring:pop_due(now)
  end
  return self:taken_changes()
end

--- When the next entry expires, on the monotonic clock; nil: none does.
---@return integer?
function Engine:next_expiry()
  return self.expiring:next_time()
end

--- What is to survive a restart.
---@return fun(): standin.Record?
function Engine:persistent()
  local key, entry
  return function()
    repeat
      key, entry = next(self.entries, key)
    until not key or entry.persist
    return entry
  end
end

--- Takes over what a journal has kept.
---@param journal standin.Journal
---@param records table<string, standin.Record>
---@param versions string[]
function Engine:restore(journal, records, versions)
  local wall, now = clock.wall(), clock.monotonic()
  for _, version in ipairs(versions) do
    self.clock:receive(version)
  end
  for _, record in pairs(records) do
    local left = record.expires_wall and record.expires_wall - wall
    if not left or left > 0 then
      record.persist = true
      record.expires = left and now + left
      self:insert(record)
    end
  end
  self.journal = journal
end

-- --------------------------------------------------------------- checks --

-- The text of a refusal, or nil and the time that the request is past.
function Engine:check_timestamp(text)
  local ms = clock.parse(text)
  if not ms then
    return REFUSED.bad_timestamp
  elseif ms > clock.wall() + SKEW_MS then
    return REFUSED.skew
  end
  return nil, self.clock:receive(text)
end

local function check_fence(token)
  local ms = clock.parse(token)
  if not ms then
    return REFUSED.bad_timestamp
  elseif ms > clock.wall() + SKEW_MS then
    return REFUSED.fence_skew
  end
  return nil
end

-- Whether the entry may be changed with this token.
local function fence_refuses(entry, token)
  if not entry or not entry.fence then
    return nil
  elseif not token then
    return REFUSED.no_fence
  elseif clock.compare(token, entry.fence) < 0 then
    return REFUSED.old_fence
  end
  return nil
end

-- ------------------------------------------------------------- commands --

-- Each is given the request's words, the request, the entry, and the version
-- that the clock gave; it returns the answer and its version ("": none), or nil
-- and why it refuses.
local commands = {}

local function read_expiry(text)
  if not text or not text:find("^%d+%.?%d*$") or #text > 15 then
    return nil
  end
  local ms = math.floor(tonumber(text))
  return ms >= 1 and ms or nil
end

local function set_options(words)
  local condition, expiry
  local at = 4
  while words[at] do
    local word = words[at]
    if (word == "NX" or word == "NEX") and not condition then
      condition = word
    elseif word == "PX" and not expiry then
      at = at + 1
      expiry = read_expiry(words[at])
      if not expiry then
        return nil
      end
    else
      return nil
    end
    at = at + 1
  end
  return true, condition, expiry
end

function commands.SET(self, words, request, entry, version)
  local condition, expiry = words.condition, words.expiry
  if entry and (condition == "NX" or condition == "NEX" and entry.value ~= words[3]) then
    return NOT_APPLIED, entry.version
  elseif not entry and self.count >= self.max_keys then
    return nil, REFUSED.quota
  end
  if #self.changes > 0 then -- an older entry has just gone
    version = self.clock:now()
  end
  local fence = request.fence
  if entry and entry.fence and fence and clock.compare(entry.fence, fence) > 0 then
    fence = entry.fence
  end
  local made = {
    key = words[2], value = words[3], version = version, fence = fence,
    persist = request.persist == true and self.journal ~= nil,
    expires = expiry and clock.monotonic() + expiry,
    expires_wall = expiry and clock.wall() + expiry,
  }
  local kept = true
  if made.persist then
    kept = self.journal:set(made)
  elseif entry and entry.persist then
    kept = self.journal:delete(entry.key)
  end
  if not kept then
    return nil, REFUSED.disk
  end
  self:insert(made)
  self.changes[#self.changes + 1] = { key = made.key, value = made.value, version = version }
  return OK, version
end

function commands.GET(_, _, _, entry)
  if not entry then
    return NULL, ""
  end
  return resp3.encode(entry.value), entry.version
end

function commands.DEL(self, _, _, entry)
  if not entry then
    return ":0\r\n", ""
  end
  self:remove(entry)
  return ":1\r\n", entry.version
end

function commands.VDEL(self, words, _, entry)
  if entry and entry.value ~= words[3] then
    return NOT_APPLIED, entry.version
  end
  return commands.DEL(self, words, nil, entry)
end

function commands.KEYNOTIFY(self, words, request, _, version)
  local key, client = words[2], request.client
  local observers = self.observers[key]
  if not client or #key > self.max_observed_key then
    return nil, REFUSED.syntax
  elseif words[3] then
    if not observers or not observers[client] then
      return ":0\r\n", version
    end
    observers[client] = nil
    if not next(observers) then
      self.observers[key] = nil
    end
    return OK, version
  end
  if not observers then
    observers = {}
    self.observers[key] = observers
  end
  self.registrations = self.registrations + 1
  observers[client] = self.registrations
  return OK, version
end

local TOKEN = "1;1;"

-- Where keys after `key` begin in the sorted list.
local function first_after(sorted, key)
  local low, high = 1, #sorted + 1
  while low < high do
    local middle = (low + high) // 2
    if sorted[middle] <= key then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

function Engine:sorted_keys()
  if not self.sorted then
    local sorted = {}
    for key in pairs(self.entries) do
      sorted[#sorted + 1] = key
    end
    table.sort(sorted)
    self.sorted = sorted
  end
  return self.sorted
end

function commands.SCAN(self, words, _, _, version)
  local token = words[3]
  if words[2] == "" or token and token:sub(1, #TOKEN) ~= TOKEN then
    return nil, REFUSED.syntax
  end
  local steps, now = pattern.compile(words[2]), clock.monotonic()
  local sorted, page, bytes = self:sorted_keys(), {}, 0
  for at = token and first_after(sorted, token:sub(#TOKEN + 1)) or 1, #sorted do
    local key = sorted[at]
    local expires = self.entries[key].expires
    if pattern.matches(steps, key) and not (expires and expires <= now) then
      if #page >= self.page_size or #page > 0 and bytes + #key > self.page_bytes then
        return resp3.encode { page, TOKEN .. page[#page] }, version
      end
      page[#page + 1] = key
      bytes = bytes + #key
    end
  end
  return resp3.encode { page }, version
end

local COUNTS = {
  GET = { 2, 2 }, SET = { 3, math.huge }, DEL = { 2, 2 }, VDEL = { 3, 3 },
  KEYNOTIFY = { 2, 3 }, SCAN = { 2, 3 },
}
local MUTATES = { SET = true, DEL = true, VDEL = true }

-- The words of a request that can be understood; nil and why not.
local function read_words(payload)
  local words = resp3.decode(payload)
  if type(words) ~= "table" or #words == 0 then
    return nil, REFUSED.syntax
  end
  for _, word in ipairs(words) do
    if type(word) ~= "string" then
      return nil, REFUSED.syntax
    end
  end
  local verb = words[1]
  local counts = COUNTS[verb]
  if not counts then
    return nil, REFUSED.command
  elseif #words < counts[1] or #words > counts[2] then
    return nil, REFUSED.arguments
  end
  if verb == "SET" then
    local ok
    ok, words.condition, words.expiry = set_options(words)
    if not ok then
      return nil, REFUSED.syntax
    end
  elseif verb == "KEYNOTIFY" and words[3] and words[3] ~= "STOP" then
    return nil, REFUSED.syntax
  end
  return words
end

function Engine:execute(request)
  local words, refused = read_words(request.payload)
  if not words then
    return nil, refused
  end
  local verb, key = words[1], words[2]
  if key == "" and verb ~= "SCAN" then
    return nil, REFUSED.no_key
  end
  local version
  if request.timestamp then
    refused, version = self:check_timestamp(request.timestamp)
  elseif verb == "SET" then
    refused = REFUSED.no_timestamp
  end
  if not refused and MUTATES[verb] and request.fence then
    refused = check_fence(request.fence)
  end
  if refused then
    return nil, refused
  end
  local entry = self.entries[key]
  if entry and entry.expires and entry.expires <= clock.monotonic() then
    self:remove(entry)
    entry = nil
  end
  if MUTATES[verb] then
    refused = fence_refuses(entry, request.fence)
    if refused then
      return nil, refused
    end
  end
  return commands[verb](self, words, request, entry, version or self.clock:now())
end

--- Applies a request.
---@param request standin.Request
---@return string payload of the answer
---@return string version its timestamp; "": none
---@return standin.Change[] changes in their order
function Engine:apply(request)
  local payload, version = self:execute(request)
  if not payload then
    payload, version = "-ERR " .. version .. "\r\n", self.clock:now()
  end
  return payload, version, self:taken_changes()
end

-- ------------------------------------------------------------ observers --

--- Who observes a key.
---@param key string
---@return table<string, integer>? clients
function Engine:observers_of(key)
  return self.observers[key]
end

--- The number of the last registration.
---@return integer
function Engine:registered()
  return self.registrations
end

--- Forgets what a client that is gone has registered up to `registration`: it
--- may have come back since.
---@param client string
---@param registration integer
function Engine:forget(client, registration)
  for key, observers in pairs(self.observers) do
    if observers[client] and observers[client] <= registration then
      observers[client] = nil
      if not next(observers) then
        self.observers[key] = nil
      end
    end
  end
end

return engine
