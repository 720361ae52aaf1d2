--- Leased locks over the state store.
---
--- A holder that was paused past the end of its lease does not know that it has
--- lost it: whatever it does as the holder must carry the fencing token, which
--- the store checks.

local core = require "iotops.core"
local state_store = require "iotops.state_store"

local lock = {}

---@class iotops.LockOptions: iotops.AcquireOptions
---@field holder string? the client id (in the host, and the script's name) unless given
---@field session_id string? makes the holder `holder:session_id`
---@field on_lost fun(err: iotops.Error)? a lease that renews itself was lost
---@field session iotops.Session? the default session unless given

---@class iotops.AcquireOptions
---@field lease number? seconds; 10 unless given
---@field renewal_period number? seconds, less than the lease; not renewed unless given
---@field timeout number? seconds; lock() waits so long at most
---@field request_timeout number? seconds, of each request; 10 unless given

---@class iotops.EditOptions: iotops.AcquireOptions
---@field expiry_ms integer? of the value that is written
---@field persist boolean? of the value that is written

---@class iotops.LockChange
---@field held boolean
---@field holder string?
---@field version string?

---@class iotops.Lock
---@field private core table
---@field private store iotops.StateStore
---@field private name string
---@field private defaults iotops.AcquireOptions
local Lock = {}
Lock.__index = Lock

local ACQUIRE = { lease = true, renewal_period = true, timeout = true, request_timeout = true }
local MADE_WITH = { holder = true, session_id = true, on_lost = true, session = true }

-- Splits options into those of the lock and those of each acquisition.
local function split(options, form)
  local own, acquire = {}, {}
  for name, value in pairs(options or {}) do
    if ACQUIRE[name] then
      acquire[name] = value
    elseif MADE_WITH[name] then
      own[name] = value
    else
      error(("%s: unknown option '%s'"):format(form, tostring(name)), 3)
    end
  end
  return own, acquire
end

--- A lock.  Options of its acquisitions may be given here for all of them.
---@param session iotops.Session
---@param name string
---@param options? iotops.LockOptions
---@return iotops.Lock|nil
---@return iotops.Error? err
function lock.new(session, name, options)
  if type(name) ~= "string" then
    error("lock: a name expected, got " .. type(name), 3)
  end
  local own, defaults = split(options, "lock")
  local store, err = state_store.of(own.session or session)
  if not store then
    return nil, err
  end
  own.session, own.name = nil, name
  local made
  made, err = core.lock(store, own)
  if not made then
    return nil, err
  end
  return setmetatable({ core = made, store = store, name = name, defaults = defaults }, Lock)
end

-- The options of a call, those of the lock where it says nothing.
local function with_defaults(self, options)
  if not options then
    return self.defaults
  end
  local all = {}
  for _, from in ipairs { self.defaults, options } do
    for name, value in pairs(from) do
      all[name] = value
    end
  end
  return all
end

local function request_options(self)
  return { timeout = self.defaults.request_timeout }
end

--- Attempts to take the lease, once; takes it anew while it is held.
---@param options? iotops.AcquireOptions
---@return string|nil token
---@return iotops.Error? err `service_error` is "lease_already_held" when someone else has it
function Lock:try(options)
  return self.core:try(with_defaults(self, options))
end

--- Waits for the lease.
---@param options? iotops.AcquireOptions
---@return string|nil token
---@return iotops.Error? err
function Lock:lock(options)
  return self.core:acquire(with_defaults(self, options))
end

Lock.acquire = Lock.lock

--- Gives up the attempt that another coroutine waits for.
function Lock:cancel()
  self.core:cancel()
end

--- Stops renewing, forgets the token and releases; not holding it is no error.
---@param options? iotops.RequestOptions
---@return true|nil
---@return iotops.Error? err
function Lock:release(options)
  return self.core:release(options or request_options(self))
end

--- The token of the lease as last granted; nil once released or known to be
--- lost.  That the lease has merely run out does not change it.
---@return string?
function Lock:token()
  return self.core:token()
end

--- Who holds the lock; nil: nobody.
---@param options? iotops.RequestOptions
---@return string|nil
---@return iotops.Error? err
function Lock:holder(options)
  return self.core:get_holder(options or request_options(self))
end

--- The name that this lock holds under.
---@return string
function Lock:holder_name()
  return self.core:holder_name()
end

--- Calls `handler` whenever the lock is taken, renewed or let go.
---@param options iotops.ObserveOptions|fun(change: iotops.LockChange)
---@param handler? fun(change: iotops.LockChange)
---@return iotops.Observation|nil
---@return iotops.Error? err
function Lock:observe(options, handler)
  if handler == nil then
    options, handler = nil, options --[[@as function]]
  end
  return self.store:observe(self.name, options, function(change)
    handler {
      held = change.operation ~= "DELETE", holder = change.value, version = change.version,
      ack = change.ack,
    }
  end)
end

--- Frees the lock and stops renewing; a lease that is held is left to run out.
function Lock:close()
  self.core:close()
end

-- ----------------------------------------------------------------- edit --

local EDIT = {
  lease = true, timeout = true, request_timeout = true, expiry_ms = true, persist = true,
}

-- One round under the lock: done, version; or nil, err; or false: once more.
local function edit_once(self, key, change, options, token)
  local request = { timeout = options.request_timeout }
  local value, version = self.store:get(key, request)
  if core.is_error(version) then
    return nil, version
  end
  local new = change(value)
  if new == nil then
    return true, version
  end
  request.fencing_token = token
  if new == core.null then
    local count
    count, version = self.store:del(key, request)
    if count == 0 and value == nil then
      return true -- it was not there, which is what was wanted
    end
    return count and count == 1, version
  end
  request.expiry_ms, request.persist = options.expiry_ms, options.persist
  return self.store:set(key, new, request)
end

---@type table<string, iotops.Event> by lock and holder: set when its edit has ended
local editing = {}

-- The store cannot tell coroutines apart that hold a lock under one name: they
-- take turns here.
local function await_turn(turn, ends)
  while editing[turn] do
    local left = ends and math.max(0, ends - core.clock.monotonic()) / 1000
    if not editing[turn]:wait(left) then
      return nil, core.error {
        kind = "timeout", message = "another edit under this lock has not ended in time",
      }
    end
  end
  editing[turn] = core.event()
  return true
end

local function end_turn(turn)
  editing[turn]:set()
  editing[turn] = nil
end

-- Rounds under the lock until one counts: true, version; or nil, err.
local function edit_until_applied(self, key, change, options, ends)
  while true do
    local left = ends and math.max(0, ends - core.clock.monotonic()) / 1000
    local token, err = self.core:acquire {
      lease = options.lease, timeout = left, request_timeout = options.request_timeout,
    }
    if not token then
      return nil, err
    end
    local ok, done, version = pcall(edit_once, self, key, change, options, token)
    local released, why = self:release()
    if not released then
      core.log.warn(("the lock %s was not released: %s"):format(self.name, tostring(why)))
    end
    if not ok then
      error(done, 0)
    elseif done then
      return true, version
    elseif done == nil and not (core.is_error(version)
        and version.service_error == "fencing_token_lower_version") then
      return nil, version
    end
  end
end

--- Changes a key under the lock: takes the lock, reads the key, calls `change`
--- with its value (nil: absent), writes what it returns with the fencing token,
--- and releases.  `change` returns the new value, `iotops.null` to delete the
--- key or nil to leave it; it is called again when the lock was lost meanwhile.
---@param key string
---@param change fun(value: string?): string|lightuserdata|nil
---@param options? iotops.EditOptions lease: 5 s unless given; timeout: over everything
---@return true|nil
---@return string|iotops.Error|nil version_or_err
function Lock:edit(key, change, options)
  options = options or {}
  for name in pairs(options) do
    if not EDIT[name] then
      error(("edit: unknown option '%s'"):format(tostring(name)), 2)
    end
  end
  local request_timeout = options.request_timeout or self.defaults.request_timeout
  local ends = options.timeout and core.clock.monotonic() + options.timeout * 1000
  options = {
    request_timeout = request_timeout, expiry_ms = options.expiry_ms, persist = options.persist,
    lease = options.lease or 5,
  }
  local turn = self.name .. "\0" .. self:holder_name()
  local ready, late = await_turn(turn, ends)
  if not ready then
    return nil, late
  end
  local ok, done, version = pcall(edit_until_applied, self, key, change, options, ends)
  end_turn(turn)
  if not ok then
    error(done, 0)
  end
  return done, version
end

return lock
