---@meta
--- Types of iotops.testing, for the language server.

-- luacheck: ignore 631

---@class iotops.testing.RunOptions
---@field client_id string? of the host that it runs in; "host" unless given
---@field topic_namespace string? before its topics, as IOTOPS_TOPIC_NAMESPACE says
---@field env table<string, string>? variables of the environment
---@field turn_limit number? seconds; this and the following as `iotops run` has them
---@field load_limit number? seconds
---@field drain number? seconds
---@field memory_limit integer? bytes
---@field allow string? what it may load, as `--allow` of `iotops run` has it

---@class iotops.testing.PublishOptions: iotops.SendOptions
---@field raw boolean? the value is bytes, not JSON

---@class iotops.testing.InvokeOptions: iotops.InvokeOptions
---@field raw boolean? request and response are bytes

---@class iotops.testing.CommandOptions: iotops.CommandOptions
---@field raw boolean? request and response are bytes

---@class iotops.testing.RawMessage
---@field topic string
---@field raw string? the payload
---@field qos 0|1|nil default 1
---@field retain boolean?
---@field content_type string?
---@field format_indicator 0|1|nil
---@field message_expiry integer? seconds
---@field response_topic string?
---@field correlation_data string?
---@field user_data {[1]: string, [2]: string}[]?
---@field from string? a client id; "tester" unless given

--- A message as the broker saw it.
---@class iotops.testing.Message
---@field topic string
---@field payload any JSON as a value, else the bytes; nil: none
---@field raw string the payload's bytes
---@field from string the sender's client id
---@field time number Unix time of the world
---@field qos integer
---@field retain boolean
---@field user_data iotops.UserData
---@field content_type string?
---@field format_indicator integer?
---@field message_expiry integer? seconds
---@field response_topic string?
---@field correlation_data string?
---@field number integer in the order of the world's messages

--- A record of the log.
---@class iotops.testing.Record
---@field level "trace"|"debug"|"info"|"warn"|"error"
---@field message string
---@field component string
---@field script string?
---@field topic string?
---@field time number Unix time of the world

--- The C half; for the files of iotops.testing alone.
---@class iotops.World
---@field [string] function
