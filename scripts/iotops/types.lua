---@meta
--- Types of what the core gives to scripts, for the language server.

-- luacheck: ignore 212 241 631

-- ---------------------------------------------------------------- module --
-- What of the module is in C; the rest is annotated where it is defined.

---@class iotops
---@field version string
---@field null lightuserdata JSON's null, the same value as `cjson.null`
---@field any lightuserdata as the value of a token: leaves the token open
---@field log iotops.Log
---@field resp3 {decode: (fun(bytes: string): any), encode: fun(value: any): string}
---@field clock iotops.Clock which of two versions or tokens is older, and what is in one
local iotops = {}

--- Waits `seconds`.
---@param seconds number
function iotops.sleep(seconds) end

--- Calls `run` once, in `seconds`.  With a name, the timer is the script's: a
--- new version that declares it goes on with the time that was left, and does
--- not call again what was called.
---@param seconds number
---@param run fun()
---@param options? iotops.TimerOptions
---@return iotops.Timer
function iotops.after(seconds, run, options) end

--- Calls `run` every `seconds`; a tick that finds the last call unfinished is
--- left out.  With a name, the timer is the script's: in a new version the next
--- tick comes when it would have come, and its own period holds from there.
---@param seconds number
---@param run fun()
---@param options? iotops.TimerOptions
---@return iotops.Timer
function iotops.every(seconds, run, options) end

--- A counter of the script's: it survives reloads, and the host's log and
--- metrics show it.  The same name is the same counter.
---@param name string letters, digits and _
---@param help? string what it counts
---@return iotops.Counter
function iotops.counter(name, help) end

--- A gauge of the script's: a value that goes up and down.
---@param name string letters, digits and _
---@param help? string what it shows
---@return iotops.Gauge
function iotops.gauge(name, help) end

--- Unix time in seconds, to the millisecond.
---@return number
function iotops.now() end

--- The hybrid logical clock of the process, as text.
---@return string
function iotops.hlc() end

--- The W3C trace context that the running handler's messages carry on: what
--- it was given had a valid `traceparent` in its user data.  For what is sent by
--- other ways than `send` and `invoke`.
---@return string? traceparent nil: the handler is part of no trace
---@return string? tracestate
function iotops.traceparent() end

--- Runs a function soon, in a coroutine of its own that may wait.
---@param run fun(...: any)
---@param ... any
function iotops.spawn(run, ...) end

--- Runs a function once the script is loaded and serves.
---@param run fun()
function iotops.on_start(run) end

--- Runs a function when the script is to stop: `reason` is "stop", or "reload"
--- when a new version of it takes over.  What is in hand has until the drain
--- time to end.
---@param run fun(reason: "stop"|"reload")
function iotops.on_stop(run) end

--- Says, once and in the main chunk, how the script's state passes to its next
--- version: `save` gives it as plain data and changes nothing; `restore` of the
--- next version takes that, and the `version` that it was saved with, before
--- any message.  Neither may wait.  Under a plain Lua neither is called.
---@param handoff iotops.Handoff
function iotops.handoff(handoff) end

--- An event that coroutines wait for.
---@return iotops.Event
function iotops.event() end

--- Runs the loop of a plain Lua until `iotops.stop()`, SIGINT or SIGTERM; then
--- ends what is in hand and detaches.  In the host it returns at once.
function iotops.run() end

--- Ends `iotops.run()`.
function iotops.stop() end

--- An error object, for handlers and serializers of your own.
---@param fields {kind: iotops.ErrorKind?, message: string, [string]: any}
---@return iotops.Error
function iotops.error(fields) end

---@param value any
---@return boolean
function iotops.is_error(value) end

-- --------------------------------------------------------------- errors --

---@alias iotops.ErrorKind
---| "missing header"
---| "invalid header"
---| "invalid payload"
---| "timeout"
---| "cancellation"
---| "invalid configuration"
---| "invalid state"
---| "internal logic error"
---| "unknown error"
---| "execution error"
---| "mqtt error"
---| "unsupported version"
---| "service error"
---| "unexpected payload"

--- What went wrong; `tostring(err)` reads well.
---@class iotops.Error
---@field kind iotops.ErrorKind
---@field message string
---@field is_shallow boolean found before any network activity of the call
---@field is_remote boolean reported by the peer
---@field header_name string?
---@field header_value string?
---@field timeout_name string?
---@field timeout_value number? seconds
---@field property_name string?
---@field property_value string?
---@field command_name string?
---@field service_error string?
---@field protocol_version string?
---@field supported_protocol_major_versions integer[]?
---@field reason_code integer? of MQTT v5

-- -------------------------------------------------------------- sessions --

--- Settings of a session, by the names of the settings of the C API, and two
--- of the module's own.  Values may be texts, numbers and booleans.
---@class iotops.SessionOptions
---@field topic_namespace string? before each topic; default IOTOPS_TOPIC_NAMESPACE
---@field serializer iotops.Serializer? of the short forms; default iotops.json
---@field connection_string string? `HostName=...;ClientId=...`, read first
---@field connect_user_properties iotops.UserData|table<string, string>|nil
---@field hostname string?
---@field tcp_port integer?
---@field use_tls boolean?
---@field ca_file string?
---@field cert_file string?
---@field key_file string?
---@field key_password_file string?
---@field client_id string?
---@field clean_start boolean?
---@field keep_alive integer? seconds
---@field session_expiry integer? seconds
---@field receive_max integer?
---@field receive_packet_size_max integer? bytes
---@field connection_timeout integer? seconds
---@field username string?
---@field password string?
---@field password_file string?
---@field sat_file string?
---@field publish_queue_qos0 integer?
---@field publish_queue_qos1 integer?
---@field publish_queue_full "wait"|"drop_newest"|"drop_oldest"|nil
---@field max_inflight integer?
---@field [string] any

---@class iotops.Session
local Session = {}

---@return string
function Session:client_id() end

---@return boolean
function Session:is_connected() end

--- Waits until it is connected.
---@return true|nil
---@return iotops.Error? err
function Session:wait() end

--- Ends the session at the broker, too; waits.  `drain`: seconds for what is
--- in hand.
---@param options? {drain: number?}
---@return true|nil
---@return iotops.Error? err
function Session:exit(options) end

--- Disconnects; the broker keeps the session for the next start.  Waits.
---@param options? {drain: number?}
---@return true|nil
---@return iotops.Error? err
function Session:detach(options) end

---@return "new"|"connecting"|"connected"|"waiting"|"exiting"|"ended"
function Session:state() end

--- What has been counted.
---@return table<string, integer>
function Session:metrics() end

--- Why it ended by itself; nil while it lives.
---@return iotops.Error?
function Session:error() end

---@param options iotops.SenderOptions
---@return iotops.Sender|nil
---@return iotops.Error? err
function Session:sender(options) end

---@param options iotops.ReceiverOptions
---@return iotops.Endpoint|nil
---@return iotops.Error? err
function Session:receiver(options) end

---@param options iotops.InvokerOptions
---@return iotops.Invoker|nil
---@return iotops.Error? err
function Session:invoker(options) end

---@param options iotops.ExecutorOptions
---@return iotops.Endpoint|nil
---@return iotops.Error? err
function Session:executor(options) end

---@param pattern string
---@param options iotops.TelemetryOptions|fun(value: any, message: iotops.Message)
---@param handler? fun(value: any, message: iotops.Message)
---@return iotops.Endpoint
function Session:on_telemetry(pattern, options, handler) end

---@param pattern string
---@param options iotops.CommandOptions|iotops.CommandHandler
---@param handler? iotops.CommandHandler
---@return iotops.Endpoint
function Session:on_command(pattern, options, handler) end

---@param pattern string
---@param value any
---@param options? iotops.SendOptions
---@return true
function Session:send(pattern, value, options) end

---@param pattern string
---@param value any
---@param options? iotops.InvokeOptions
---@return any value
---@return iotops.Response response
function Session:invoke(pattern, value, options) end

--- The state store as this session reaches it.
---@param options? {on_disconnect: "observe"|"close"|nil}
---@return iotops.StateStore|nil
---@return iotops.Error? err
function Session:state_store(options) end

---@class iotops.Clock
---@field compare fun(a: string, b: string): integer below 0: a is older
---@field parse fun(text: string): integer?, integer|iotops.Error, string? # milliseconds, counter, node
---@field new fun(node: string): iotops.OwnClock of a service that gives versions
---@field monotonic fun(): integer milliseconds that never go back
---@field wall fun(): integer milliseconds of Unix time

---@class iotops.OwnClock
---@field now fun(self): string?, iotops.Error?
---@field receive fun(self, text: string): string?, iotops.Error? # past both clocks

---@class iotops.MqttMessage
---@field topic string
---@field payload string?
---@field qos 0|1|nil default 1
---@field retain boolean?
---@field user_properties iotops.UserData|table<string, string>|nil
---@field message_expiry integer? seconds
---@field content_type string?
---@field format_indicator 0|1|nil
---@field response_topic string?
---@field correlation_data string?

--- Publishes a message as it is, or several in this order, and waits for the
--- broker's reason codes; false in a list: no answer.
---@param message iotops.MqttMessage|iotops.MqttMessage[]
---@return integer|(integer|false)[]|nil
---@return iotops.Error? err
function Session:publish(message) end

-- ---------------------------------------------------------------- values --

--- Turns values into payloads and back.  Built in: iotops.json, raw, empty.
---@class iotops.Serializer
---@field format "json"|"raw"|"empty"|nil of those built in
---@field serialize? fun(value: any): string|nil, string|iotops.Error|nil, integer? # bytes, content type, format indicator; or nil and an error
---@field deserialize? fun(bytes: string, content_type: string?, format_indicator: integer): any, any # the value; or nil and an error, "unsupported content type" and "unsupported format indicator" among them

--- Token names and values; iotops.any leaves one open.
---@alias iotops.Tokens table<string, string|number|lightuserdata>

--- Pairs in their order; `user_data.name` is the last value of that name.
---@class iotops.UserData
---@field [integer] {[1]: string, [2]: string}
---@field [string] string

---@class iotops.CloudEvent
---@field source string
---@field type string?
---@field spec_version string?
---@field id string?
---@field time string|false|nil RFC 3339; false: none is sent
---@field subject string|false|nil false: none is sent
---@field data_schema string?
---@field data_content_type string? received only

-- ------------------------------------------------------------- telemetry --

---@class iotops.SenderOptions
---@field topic_pattern string
---@field topic_namespace string?
---@field tokens iotops.Tokens?
---@field serializer iotops.Serializer?

---@class iotops.SendOptions
---@field tokens iotops.Tokens?
---@field expiry number? seconds, default 10
---@field qos 0|1|nil default 1
---@field retain boolean?
---@field persist boolean? the broker keeps it over restarts
---@field user_data iotops.UserData|table<string, string>|nil
---@field cloud_event iotops.CloudEvent?
---@field topic_namespace string? short form only
---@field serializer iotops.Serializer? short form only

---@class iotops.Sender
local Sender = {}

--- Sends; waits until the broker has it, or for room in the queue first.
---@param value any
---@param options? iotops.SendOptions
---@return true|nil
---@return iotops.Error? err
function Sender:send(value, options) end

--- Sends that are under way.
---@return integer
function Sender:pending() end

function Sender:close() end

---@class iotops.ReceiverOptions: iotops.SenderOptions
---@field service_group_id string? shares messages with others of the group
---@field concurrency integer? handlers at a time, default 1, in order
---@field handler fun(value: any, message: iotops.Message)

---@class iotops.TelemetryOptions: iotops.RetryOptions
---@field topic_namespace string?
---@field tokens iotops.Tokens?
---@field serializer iotops.Serializer?
---@field service_group_id string?
---@field concurrency integer?

---@class iotops.Message
---@field topic string
---@field tokens table<string, string>
---@field user_data iotops.UserData
---@field content_type string?
---@field format_indicator integer
---@field sender_id string?
---@field timestamp string? hybrid logical clock of the sender
---@field qos integer
---@field retain boolean
---@field dup boolean
---@field packet_id integer? with QoS 1
local Message = {}

--- The handler's return no longer acknowledges the message; `ack` does.
---@return iotops.Hold
function Message:hold() end

---@return iotops.CloudEvent|nil
---@return iotops.Error? err
function Message:cloud_event() end

---@class iotops.Hold
local Hold = {}

--- Acknowledges; false when that was done before.
---@return boolean
function Hold:ack() end

-- -------------------------------------------------------------- commands --

---@class iotops.InvokerOptions
---@field command_name string
---@field request_topic_pattern string
---@field response_topic_pattern string?
---@field response_topic_prefix string?
---@field response_topic_suffix string?
---@field topic_namespace string?
---@field tokens iotops.Tokens?
---@field serializer iotops.Serializer?
---@field request_serializer iotops.Serializer?
---@field response_serializer iotops.Serializer?

---@class iotops.InvokeOptions
---@field tokens iotops.Tokens?
---@field timeout number? seconds, default 10
---@field user_data iotops.UserData|table<string, string>|nil
---@field cloud_event iotops.CloudEvent?
---@field command_name string? this and the following: short form only
---@field topic_namespace string?
---@field serializer iotops.Serializer?
---@field request_serializer iotops.Serializer?
---@field response_serializer iotops.Serializer?
---@field response_topic_pattern string?
---@field response_topic_prefix string?
---@field response_topic_suffix string?

---@class iotops.Invoker
local Invoker = {}

--- Invokes; waits for the response.  A response without a value is iotops.null.
---@param value any
---@param options? iotops.InvokeOptions
---@return any value nil: failed
---@return iotops.Response|iotops.Error
function Invoker:invoke(value, options) end

--- Subscribes to responses, which the first invocation does otherwise.
---@return true|nil
---@return iotops.Error? err
function Invoker:start() end

--- Cancels what is pending and unsubscribes, for good.
---@return true|nil
---@return iotops.Error? err
function Invoker:stop() end

--- Invocations that are under way.
---@return integer
function Invoker:pending() end

function Invoker:close() end

---@class iotops.Response
---@field status integer 200 or 204
---@field user_data iotops.UserData
---@field tokens table<string, string>
---@field content_type string?
---@field format_indicator integer
---@field executor_id string?
---@field timestamp string?
---@field correlation_id string
local Response = {}

--- The application error that the response carries; nothing when none.
---@return string|nil code
---@return string|nil payload
function Response:application_error() end

---@return iotops.CloudEvent|nil
---@return iotops.Error? err
function Response:cloud_event() end

---@class iotops.CommandOptions
---@field command_name string? default: the last literal level of the pattern
---@field topic_namespace string?
---@field tokens iotops.Tokens?
---@field service_group_id string?
---@field serializer iotops.Serializer?
---@field request_serializer iotops.Serializer?
---@field response_serializer iotops.Serializer?
---@field execution_timeout number? seconds, default 10
---@field concurrency integer? requests at a time, default 1 000
---@field is_idempotent boolean?
---@field cacheable_duration number? seconds

---@class iotops.ExecutorOptions: iotops.CommandOptions
---@field request_topic_pattern string
---@field handler iotops.CommandHandler
---@field raw_timestamp boolean? what `timestamp_text` means is the handler's to say

---@class iotops.ResponseOptions
---@field user_data iotops.UserData|table<string, string>|nil
---@field application_error {code: string, payload: string?}|nil
---@field timestamp string? instead of the clock's; "": none
---@field cloud_event iotops.CloudEvent?

---@alias iotops.CommandHandler fun(value: any, request: iotops.Request): any, iotops.ResponseOptions|any

---@class iotops.Request
---@field topic string
---@field tokens table<string, string>
---@field user_data iotops.UserData
---@field content_type string?
---@field format_indicator integer
---@field invoker_id string?
---@field timestamp string?
---@field correlation_id string
---@field packet_id integer? with QoS 1
---@field response_topic string
---@field timestamp_text string? as it came
local Request = {}

--- Answers before the handler ends; what it returns is then not looked at.
---@param value any
---@param options? iotops.ResponseOptions
function Request:respond(value, options) end

--- Leaves it unanswered, with a warning in the log.
function Request:drop() end

--- True once nobody waits for the response any more.
---@return boolean
function Request:is_cancelled() end

---@return iotops.CloudEvent|nil
---@return iotops.Error? err
function Request:cloud_event() end

--- A telemetry receiver or command executor.
---@class iotops.Endpoint
local Endpoint = {}

--- Subscribes; waits until that is granted.  While the host loads a script it
--- only declares.
---@return true|nil
---@return iotops.Error? err
function Endpoint:start() end

--- The same without waiting; a refusal is logged.
---@return true|nil
---@return iotops.Error? err
function Endpoint:begin() end

--- Unsubscribes, for good; what is in hand is finished.
---@return true|nil
---@return iotops.Error? err
function Endpoint:stop() end

-- ------------------------------------------------------------------ rest --

---@class iotops.TimerOptions
---@field name string? what the timer is called in all versions of the script

---@class iotops.Timer
local Timer = {}

--- False when it had ended before.
---@return boolean
function Timer:cancel() end

---@class iotops.Counter
local Counter = {}

--- Adds `amount`, not negative (1).
---@param amount? number
function Counter:add(amount) end

--- What it has come to; in the main chunk, what it had come to before.
---@return number
function Counter:get() end

---@class iotops.Gauge
local Gauge = {}

---@param value number
function Gauge:set(value) end

--- Adds `amount` (1), which may be negative.
---@param amount? number
function Gauge:add(amount) end

---@return number
function Gauge:get() end

---@class iotops.Handoff
---@field version integer? of the layout of the data (1)
--- What the next version is to start from: nil, booleans, numbers, strings,
--- `iotops.null`, and tables of these.
---@field save (fun(): any)?
---@field restore (fun(data: any, version: integer))?

---@class iotops.Event
local Event = {}

--- Waits until it is set; false when `seconds` passed first.
---@param seconds? number
---@return boolean
function Event:wait(seconds) end

function Event:set() end

function Event:reset() end

---@return boolean
function Event:is_set() end

---@class iotops.Log
---@field trace fun(...: any)
---@field debug fun(...: any)
---@field info fun(...: any)
---@field warn fun(...: any)
---@field error fun(...: any)
---@field level fun(name: "trace"|"debug"|"info"|"warn"|"error"|"off") not in the host
