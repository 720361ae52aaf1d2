--- Instants of CloudEvents: RFC 3339 text, of any century.

local instant = {}

-- Days since 1970-01-01, negative before it.
local function days_of(year, month, day)
  if month <= 2 then
    year, month = year - 1, month + 12
  end
  return 365 * year + year // 4 - year // 100 + year // 400
    + (153 * (month - 3) + 2) // 5 + day - 719469
end

--- Seconds since the epoch; nil when the text is no instant.
---@param text string
---@return number|nil
function instant.parse(text)
  local year, month, day, hour, minute, second, zone =
    text:match("^(%d%d%d%d)-(%d%d)-(%d%d)[Tt ](%d%d):(%d%d):([%d.]+)(.+)$")
  if not year then
    return nil
  end
  local sign, hours, minutes = zone:match("^([+-])(%d%d):(%d%d)$")
  if not sign and zone ~= "Z" and zone ~= "z" then
    return nil
  end
  local offset = sign and (tonumber(sign .. hours) * 3600
    + tonumber(sign .. minutes) * 60) or 0
  return days_of(tonumber(year), tonumber(month), tonumber(day)) * 86400
    + tonumber(hour) * 3600
    + tonumber(minute) * 60 + tonumber(second) - offset
end

return instant
