--- The serializer of the cases: text, refused as the case wants it.

local null = require "metl.null"

local serializer = {}

--- A serializer as its settings in a case say.
---@param settings table|nil
---@return iotops.Serializer
function serializer.new(settings)
  settings = settings or {}
  local accepted
  local types = null.get(settings, "accept-content-types")
  if types then
    accepted = {}
    for _, content_type in ipairs(types) do
      accepted[null.plain(content_type) or ""] = true
    end
  end

  local function serialize(value)
    return value or "", null.get(settings, "out-content-type"),
      null.get(settings, "indicate-character-data") and 1 or 0
  end

  local function deserialize(bytes, content_type, format_indicator)
    if accepted and not accepted[content_type or ""] then
      return nil, "unsupported content type"
    elseif null.get(settings, "allow-character-data") == false
      and format_indicator == 1 then
      return nil, "unsupported format indicator"
    elseif null.get(settings, "fail-deserialization") then
      return nil, "the case wants this payload to be malformed"
    end
    return bytes
  end

  return { serialize = serialize, deserialize = deserialize }
end

return serializer
