-- Answers the command at TOPIC.
local iotops = require "iotops"

io.stdout:setvbuf("no")
iotops.on_command(os.getenv("TOPIC"), function(request)
  return { accepted = request.rpm < 3000 }
end)

iotops.on_start(function() print("ready") end)
iotops.run()
