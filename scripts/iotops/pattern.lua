--- What short forms read out of a topic pattern.

local pattern = {}

--- The tokens that occur, by name.
---@param text string
---@return table<string, true>
function pattern.tokens(text)
  local found = {}
  for name in text:gmatch "{([^{}/]+)}" do
    found[name] = true
  end
  return found
end

--- The last level that is no token; nil when all are.
---@param text string
---@return string|nil
function pattern.last_literal(text)
  local last
  for level in text:gmatch "[^/]+" do
    if not level:find "[{}]" then
      last = level
    end
  end
  return last
end

return pattern
