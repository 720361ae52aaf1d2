--- Leader election: the lock with the names of an election.
---
--- A leader that was paused past the end of its term does not know that another
--- has been elected: work done as the leader must carry the fencing token.

local lock = require "iotops.lock"

local leader_election = {}

---@class iotops.ElectionOptions
---@field candidate string? the client id (in the host, and the script's name) unless given
---@field session_id string? makes the candidate `candidate:session_id`
---@field term number? seconds; 10 unless given
---@field renewal_period number? seconds, less than the term; not renewed unless given
---@field timeout number? seconds; campaign() waits so long at most
---@field request_timeout number? seconds, of each request
---@field on_lost fun(err: iotops.Error)? leadership that renews itself was lost
---@field session iotops.Session? the default session unless given

---@class iotops.CampaignOptions
---@field term number?
---@field renewal_period number?
---@field timeout number?
---@field request_timeout number?

---@class iotops.ElectionUpdateOptions
---@field term number? seconds; 5 unless given
---@field timeout number? seconds, over everything
---@field request_timeout number?
---@field expiry_ms integer? of the value that is written
---@field persist boolean? of the value that is written

---@class iotops.LeadershipChange
---@field new_state "leader_elected"|"no_leader"
---@field new_leader string?
---@field timestamp string?

---@class iotops.LeaderElection
---@field private lock iotops.Lock
---@field private last {is_leader: boolean, fencing_token: string?}?
local Election = {}
Election.__index = Election

local RENAMED = { candidate = "holder", term = "lease" }

local function renamed(options)
  local result = {}
  for name, value in pairs(options or {}) do
    result[RENAMED[name] or name] = value
  end
  return result
end

---@param session iotops.Session
---@param position string
---@param options? iotops.ElectionOptions
---@return iotops.LeaderElection|nil
---@return iotops.Error? err
function leader_election.new(session, position, options)
  local self = setmetatable({}, Election)
  local given = renamed(options)
  local on_lost = given.on_lost
  given.on_lost = function(err)
    self.last = { is_leader = false }
    if on_lost then
      on_lost(err)
    end
  end
  local made, err = lock.new(session, position, given)
  if not made then
    return nil, err
  end
  self.lock = made
  return self
end

local function campaigned(self, token, err)
  self.last = { is_leader = token ~= nil, fencing_token = token }
  return token, err
end

--- Runs for leader once; a leader's term begins anew.
---@param options? iotops.CampaignOptions
---@return string|nil token
---@return iotops.Error? err `service_error` is "lease_already_held" when another leads
function Election:try_campaign(options)
  return campaigned(self, self.lock:try(options and renamed(options)))
end

--- Waits until elected.
---@param options? iotops.CampaignOptions
---@return string|nil token
---@return iotops.Error? err
function Election:campaign(options)
  return campaigned(self, self.lock:lock(options and renamed(options)))
end

--- Changes a key as the leader and resigns; see `Lock:edit`.
---@param key string
---@param change fun(value: string?): string|lightuserdata|nil
---@param options? iotops.ElectionUpdateOptions
---@return true|nil
---@return string|iotops.Error|nil version_or_err
function Election:campaign_and_update(key, change, options)
  self.last = { is_leader = false }
  return self.lock:edit(key, change, renamed(options))
end

--- Resigns; not leading is no error.
---@param options? iotops.RequestOptions
---@return true|nil
---@return iotops.Error? err
function Election:resign(options)
  self.last = { is_leader = false }
  return self.lock:release(options)
end

--- Stops the campaign that another coroutine waits for.
function Election:cancel()
  self.lock:cancel()
end

--- Who leads; nil: nobody.
---@param options? iotops.RequestOptions
---@return string|nil
---@return iotops.Error? err
function Election:get_current_leader(options)
  return self.lock:holder(options)
end

--- The token of the last term; nil once resigned or known to be lost.
---@return string?
function Election:fencing_token()
  return self.lock:token()
end

--- How the last campaign ended; nil before the first.
---@return {is_leader: boolean, fencing_token: string?}?
function Election:last_campaign_result()
  local last = self.last
  if last and last.is_leader then
    -- Renewals have given newer tokens.
    return { is_leader = true, fencing_token = self.lock:token() or last.fencing_token }
  end
  return last
end

---@return string
function Election:candidate_name()
  return self.lock:holder_name()
end

--- Calls `handler` whenever a leader is elected or none leads any more.  A term
--- that is renewed is no election.
---@param options iotops.ObserveOptions|fun(change: iotops.LeadershipChange)
---@param handler? fun(change: iotops.LeadershipChange)
---@return iotops.Observation|nil
---@return iotops.Error? err
function Election:observe(options, handler)
  if handler == nil then
    options, handler = nil, options --[[@as function]]
  end
  local known
  local function told(change)
    local leader = change.held and change.holder or false
    if leader == known then
      if change.ack then
        change.ack()
      end
      return
    end
    known = leader
    handler {
      new_state = leader and "leader_elected" or "no_leader",
      new_leader = leader or nil, timestamp = change.version, ack = change.ack,
    }
  end
  if options then
    return self.lock:observe(options --[[@as iotops.ObserveOptions]], told)
  end
  return self.lock:observe(told)
end

--- Frees it and stops renewing; a term that runs is left to end.
function Election:close()
  self.lock:close()
end

return leader_election
