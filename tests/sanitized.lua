--- What programs that load our library need in a build with sanitizers
--- (`make test-asan`): nothing in another.

local process = require "process"

local sanitized = { flags = "" }

local environment = {}

if (os.getenv("SANITIZE") or "") ~= "" then
  sanitized.flags = "-fsanitize=" .. os.getenv("SANITIZE")
  -- A plain interpreter has to have the sanitizer before it loads the module.
  environment.LD_PRELOAD = process.run { "gcc", "-print-file-name=libasan.so" }.out[1]
end

--- `env` and what the sanitizer needs.
function sanitized.environment(env)
  for name, value in pairs(environment) do env[name] = value end
  return env
end

return sanitized
