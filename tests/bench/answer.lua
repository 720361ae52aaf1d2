-- Answers the command at TOPIC.
local iotops = require "iotops"

iotops.on_command(os.getenv("TOPIC"), function(request)
  return { accepted = request.rpm < 3000 }
end)

iotops.run()
