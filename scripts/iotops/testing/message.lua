--- Messages as a test sees them.

local message = {}

local by_name = {}

-- The last value of a name, as scripts have it.
function by_name.__index(user_data, name)
  for index = #user_data, 1, -1 do
    if user_data[index][1] == name then
      return user_data[index][2]
    end
  end
end

--- Lets `user_data.name` be the last value of that name.
function message.with_user_data(to)
  if type(to) == "table" and to.user_data then
    setmetatable(to.user_data, by_name)
  end
  return to
end

---@param core iotops.World
---@param number integer
---@param decode fun(raw: string, content_type: string?): any
---@return iotops.testing.Message
function message.new(core, number, decode)
  local made = core:message(number)
  made.number = number
  made.payload = decode(made.raw, made.content_type)
  return message.with_user_data(made)
end

local function quoted(value)
  if type(value) == "string" then
    return ("%q"):format(value)
  end
  return tostring(value)
end

local function describe(value, depth)
  if type(value) ~= "table" then
    return quoted(value)
  elseif depth > 4 then
    return "{...}"
  end
  local parts, names = {}, {}
  for index = 1, #value do
    parts[index] = describe(value[index], depth + 1)
  end
  for name in pairs(value) do
    if math.type(name) ~= "integer" or name < 1 or name > #value then
      names[#names + 1] = name
    end
  end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do
    parts[#parts + 1] = ("%s = %s"):format(tostring(name), describe(value[name], depth + 1))
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

--- The payload in one line.
---@param shown iotops.testing.Message
---@return string
function message.shown(shown)
  local text = describe(shown.payload, 1)
  return #text > 200 and text:sub(1, 200) .. "..." or text
end

return message
