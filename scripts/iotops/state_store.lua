--- The state store: keys and values, bytes both, shared by all programs of a
--- cluster.  Methods wait and return `nil, err` when they fail.

local core = require "iotops.core"

local methods = core.store_methods
local state_store = {}

---@class iotops.RequestOptions
---@field timeout number? seconds; 10 unless given

---@class iotops.SetOptions: iotops.RequestOptions
---@field condition "nx"|"nex"|nil only if absent; or also if it holds this value
---@field expiry_ms integer? forgotten after so many milliseconds
---@field fencing_token string? of the lock that protects the key
---@field persist boolean? survives a restart of the store

---@class iotops.DeleteOptions: iotops.RequestOptions
---@field fencing_token string?

---@class iotops.ObserveOptions: iotops.RequestOptions
---@field manual_ack boolean? the message is acknowledged by `change.ack()`
---@field on_end fun()? told that the observation has ended by itself

---@class iotops.Change
---@field key string
---@field operation "SET"|"DELETE" expiry counts as deletion
---@field value string? of SET
---@field version string?
---@field ack (fun(): boolean)? with manual_ack

---@alias iotops.ChangeHandler fun(change: iotops.Change)
---@alias iotops.VersionOrError string|iotops.Error|nil the version, or why there is no result

---@class iotops.Observation
---@field unobserve fun(self, options?: iotops.RequestOptions): boolean?, iotops.Error?

---@class iotops.Scan
---@field next fun(self, options?: iotops.RequestOptions): string[]?, iotops.Error?

---@alias iotops.Get fun(self, key: string, options?: iotops.RequestOptions):
---  string?, iotops.VersionOrError
---@alias iotops.Set fun(self, key: string, value: string, options?: iotops.SetOptions):
---  boolean?, iotops.VersionOrError
---@alias iotops.Del fun(self, key: string, options?: iotops.DeleteOptions):
---  integer?, iotops.VersionOrError
---@alias iotops.Vdel fun(self, key: string, value: string, options?: iotops.DeleteOptions):
---  integer?, iotops.VersionOrError
---@alias iotops.Observe fun(self, key: string,
---  options: iotops.ObserveOptions|iotops.ChangeHandler, handler?: iotops.ChangeHandler):
---  iotops.Observation?, iotops.Error?

---@class iotops.StateStore
---@field get iotops.Get
---@field set iotops.Set
---@field del iotops.Del
---@field vdel iotops.Vdel
---@field observe iotops.Observe
---@field scan fun(self, pattern: string): iotops.Scan?, iotops.Error?
---@field get_many fun(self, keys: string[], options?: iotops.GetManyOptions): iotops.GetResult[]
---@field keys fun(self, pattern: string, options?: iotops.RequestOptions): fun(): string?
---@field close fun(self)
---@field client_id fun(self): string

---@class iotops.GetManyOptions: iotops.RequestOptions
---@field concurrency integer? requests under way at a time; 16 unless given

---@class iotops.GetResult
---@field value string? nil: there is no such key
---@field version string?
---@field err iotops.Error?

--- Reads several keys, each by a request of its own: what is returned was not
--- true all at one time.  One result for each position.
---@param self iotops.StateStore
---@param keys string[]
---@param options? iotops.GetManyOptions
---@return iotops.GetResult[]
function methods.get_many(self, keys, options)
  options = options or {}
  local concurrency = math.max(1, math.min(options.concurrency or 16, #keys))
  local request = { timeout = options.timeout }
  local results, taken, working = {}, 0, concurrency
  local done = core.event()
  local function work()
    while taken < #keys do
      taken = taken + 1
      local at = taken
      local value, version = self:get(keys[at], request)
      if core.is_error(version) then
        results[at] = { err = version }
      else
        results[at] = { value = value, version = version }
      end
    end
    working = working - 1
    if working == 0 then
      done:set()
    end
  end
  if #keys == 0 then
    return results
  end
  for index, key in ipairs(keys) do
    if type(key) ~= "string" then
      error(("get_many: key %d is a %s"):format(index, type(key)), 2)
    end
  end
  for _ = 1, concurrency do
    core.spawn(work)
  end
  done:wait()
  return results
end

--- Iterates over the keys that match a pattern, asking for a page when needed.
--- Raises when a page cannot be had.
---@param self iotops.StateStore
---@param pattern string
---@param options? iotops.RequestOptions
---@return fun(): string?
function methods.keys(self, pattern, options)
  local scan, err = self:scan(pattern)
  if not scan then
    error(err)
  end
  local page, at = {}, 0
  return function()
    while page and at >= #page do
      local failure
      page, failure = scan:next(options)
      at = 0
      if failure then
        error(failure)
      end
    end
    at = at + 1
    return page and page[at]
  end
end

---@type table<iotops.Session, iotops.StateStore>
local kept = setmetatable({}, { __mode = "k" })

--- The state store as this session reaches it: one client a session, unless
--- options say otherwise.
---@param session iotops.Session
---@param options? {on_disconnect: "observe"|"close"|nil}
---@return iotops.StateStore|nil
---@return iotops.Error? err
function state_store.of(session, options)
  if options and next(options) ~= nil then
    return core.state_store(session, options)
  end
  local store = kept[session]
  if not store then
    local err
    store, err = core.state_store(session)
    if not store then
      return nil, err
    end
    kept[session] = store
  end
  return store
end

return state_store
