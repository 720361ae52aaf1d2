--- User data as the product gives it to a script.

local user_data = {}

--- The value of the last pair of that name; nil: there is none.
---@param pairs_of { [1]: string, [2]: string }[]
---@param name string
---@return string|nil
function user_data.get(pairs_of, name)
  local found
  for _, pair in ipairs(pairs_of) do
    if pair[1] == name then
      found = pair[2]
    end
  end
  return found
end

return user_data
