--- The formats of payloads that need no code of a script.

local core = require "iotops.core"
local iotops = require "iotops"

---@class iotops.Json: iotops.Serializer
iotops.json = {
  format = "json",
  --- Text of a value; 64-bit integers are exact.
  ---@type fun(value: any): string|nil, iotops.Error?
  encode = core.json_encode,
  --- Value of a text.
  ---@type fun(text: string): any, iotops.Error?
  decode = core.json_decode,
  --- Marks a table, or a new one, as a list, so that an empty one is `[]`.
  ---@type fun(list: table?): table
  array = core.json_array,
}

--- Bytes as they are.
---@type iotops.Serializer
iotops.raw = { format = "raw" }

--- No payload.
---@type iotops.Serializer
iotops.empty = { format = "empty" }
