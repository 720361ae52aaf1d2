--- What short forms read out of a topic pattern.

local core = require "iotops.core"
local sessions = require "iotops.sessions"

local pattern = {}

--- Whether the token occurs.
---@param text string
---@param name string
---@return boolean
function pattern.has_token(text, name)
  return text:find("{" .. name .. "}", 1, true) ~= nil
end

--- The tokens, `name` bound to the client id where the pattern has it and
--- nothing else was said.
---@param session iotops.Session
---@param text string
---@param tokens iotops.Tokens?
---@param name string
---@return iotops.Tokens
function pattern.bind(session, text, tokens, name)
  tokens = sessions.copy(tokens)
  if tokens[name] == nil and pattern.has_token(text, name) then
    tokens[name] = session:client_id()
  end
  return tokens
end

-- The last level that is no token; nil when all are.
local function last_literal(text)
  local last
  for level in text:gmatch "[^/]+" do
    if not level:find "[{}]" then
      last = level
    end
  end
  return last
end

--- The name of the command that the pattern stands for.  Raises when it says
--- none.
---@param text string
---@param tokens iotops.Tokens?
---@return string
function pattern.command_name(text, tokens)
  local name = tokens and tokens.commandName
  if type(name) ~= "string" then
    name = last_literal(text)
  end
  if not name then
    core.misuse(("'%s' does not say the name of the command: give command_name, or a value "
      .. "to the token {commandName}"):format(text))
  end
  return name
end

return pattern
