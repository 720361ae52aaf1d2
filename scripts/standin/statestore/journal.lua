--- The state file: an append-only journal of checksummed records.  A record is
--- handed to the system before the request is answered, so a killed process
--- loses nothing that it has answered; `sync` says what a power cut may lose.
---
--- File: a first line, then records {size, checksum, body}.  A last record that
--- is torn is cut off; whatever follows a damaged one is not believed.

local file = require("iotops.core").file

local FIRST_LINE = "iotops state store, journal 1\n"
local HEADER = "<I4I4"
local HEADER_SIZE = string.packsize(HEADER)
local SET, DELETE = "<Bs4s4s2s2i8", "<Bs4"
local COMPACT_ABOVE = 1024 * 1024
local RECORD_MAX = 512 * 1024 * 1024

---@class standin.Record
---@field key string
---@field value string
---@field version string
---@field fence string? the token that protects it
---@field expires_wall integer? milliseconds of Unix time

---@class standin.Journal
---@field private path string
---@field private sync "always"|"1s"|"never"
---@field private file file*?
---@field private live table<string, integer> bytes of each key's record
---@field private live_bytes integer
---@field private bytes integer of the whole file
---@field private dirty boolean not synced
---@field private records fun(): fun(): standin.Record? what is to be kept
local Journal = {}
Journal.__index = Journal

local journal = {}

local function frame(body)
  return string.pack(HEADER, #body, file.crc32(body)) .. body
end

local function set_frame(record)
  return frame(string.pack(SET, 1, record.key, record.value, record.version,
    record.fence or "", record.expires_wall or 0))
end

local function read_body(body)
  if body:byte(1) == 1 then
    local _, key, value, version, fence, expires = string.unpack(SET, body)
    return key, {
      key = key, value = value, version = version,
      fence = fence ~= "" and fence or nil,
      expires_wall = expires ~= 0 and expires or nil,
    }
  end
  local _, key = string.unpack(DELETE, body)
  return key, nil
end

-- Reads all records that are whole; returns them by key, every version seen
-- and whether something had to be cut off.
local function replay(path)
  local records, versions = {}, {}
  local input, err, code = io.open(path, "rb")
  if not input then
    if code == 2 then -- there is none yet
      return records, versions, false
    end
    return nil, err
  end
  local first = input:read(#FIRST_LINE) or ""
  if first ~= FIRST_LINE then
    input:close()
    if FIRST_LINE:sub(1, #first) == first then
      return records, versions, true -- torn in its first line
    end
    return nil, path .. ": this is no state file"
  end
  local torn = false
  while true do
    local header = input:read(HEADER_SIZE)
    if not header then
      break
    end
    local body
    if #header == HEADER_SIZE then
      local size, checksum = string.unpack(HEADER, header)
      body = size > 0 and size <= RECORD_MAX and input:read(size) or nil
      if body and (#body ~= size or file.crc32(body) ~= checksum) then
        body = nil
      end
    end
    local ok, key, record = pcall(read_body, body)
    if not body or not ok then
      torn = true
      break
    end
    records[key] = record
    if record then
      versions[#versions + 1] = record.version
    end
  end
  input:close()
  return records, versions, torn
end

--- Opens or makes a journal.
---@param path string
---@param sync "always"|"1s"|"never"
---@param records fun(): fun(): standin.Record? iterates over what is to be kept
---@return standin.Journal? journal
---@return table<string, standin.Record>|string records that were in it, or why not
---@return string[] versions that were in it
function journal.open(path, sync, records)
  local found, versions, torn = replay(path)
  if not found then
    return nil, versions --[[@as string]], {}
  end
  local self = setmetatable({
    path = path, sync = sync, records = records, live = {}, live_bytes = 0, bytes = 0,
    dirty = false, torn = torn,
  }, Journal)
  return self, found, versions
end

--- Starts to write, with what `records` gives: to be called once the records
--- of `open` have been taken over.  A torn end is gone afterwards.
---@return true?
---@return string? why
function Journal:begin()
  return self:compact()
end

function Journal:note(key, size)
  self.live_bytes = self.live_bytes + size - (self.live[key] or 0)
  self.live[key] = size > 0 and size or nil
end

--- Writes what counts into a new file, which takes the journal's place.
---@return true?
---@return string? why
function Journal:compact()
  local aside = self.path .. ".new"
  local output, err = io.open(aside, "wb")
  if not output then
    return nil, err
  end
  self.live, self.live_bytes, self.bytes = {}, 0, #FIRST_LINE
  local ok
  ok, err = output:write(FIRST_LINE)
  for record in self.records() do
    local bytes = set_frame(record)
    if ok then
      ok, err = output:write(bytes)
    end
    self:note(record.key, #bytes)
    self.bytes = self.bytes + #bytes
  end
  if ok then
    ok, err = file.sync(output)
  end
  if ok then
    ok, err = os.rename(aside, self.path)
  end
  if not ok then
    output:close()
    os.remove(aside)
    return nil, err
  end
  if self.file then
    self.file:close()
  end
  self.file = output
  return true
end

function Journal:append(bytes)
  -- After a failed write the end of the file is not to be trusted.
  if self.broken and not self:compact() then
    return nil, "the state file cannot be written"
  end
  self.broken = false
  local ok, err = self.file:write(bytes)
  if ok then
    ok, err = self.file:flush()
  end
  if ok and self.sync == "always" then
    ok, err = file.sync(self.file)
  end
  if not ok then
    self.broken = true
    return nil, err
  end
  self.bytes, self.dirty = self.bytes + #bytes, true
  return true
end

--- Writes an entry down.
---@param record standin.Record
---@return true?
---@return string? why
function Journal:set(record)
  local bytes = set_frame(record)
  local ok, err = self:append(bytes)
  if ok then
    self:note(record.key, #bytes)
  end
  return ok, err
end

--- Writes down that a key is gone.
---@param key string
---@return true?
---@return string? why
function Journal:delete(key)
  self:note(key, 0)
  return self:append(frame(string.pack(DELETE, 2, key)))
end

--- Compacts when most of the file is history; after a change was applied.
function Journal:tidy()
  if self.bytes > COMPACT_ABOVE and self.bytes > 2 * self.live_bytes then
    return self:compact()
  end
  return true
end

--- Brings the disk up to date, if that is wanted; once a second.
function Journal:tick()
  if self.dirty and self.sync == "1s" then
    self.dirty = false
    return file.sync(self.file)
  end
  return true
end

function Journal:close()
  if self.file then
    self:tick()
    self.file:close()
    self.file = nil
  end
end

return journal
