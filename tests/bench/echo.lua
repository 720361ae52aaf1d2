-- Answers the command at TOPIC with the bytes that came.
local iotops = require "iotops"

iotops.on_command(os.getenv("TOPIC"), { serializer = iotops.raw }, function(bytes)
  return bytes
end)

iotops.run()
