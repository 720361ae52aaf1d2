--- The runner's own test: cases of our own pass, they fail where the product
--- is broken on purpose, and they fail when one of their checks is wrong.
---
--- selftest.lua PROGRAM-WITH-FAULTS; closes with "N passed, N failed".

package.path = "tests/?.lua;" .. package.path

local faulty_program = assert((...), "selftest.lua PROGRAM-WITH-FAULTS")

local cases = require "metl.cases"
local loader = require "metl.loader"
local mutation = require "metl.mutation"
local suite_run = require "metl.suite_run"

local folder = "tests/metl/cases"
local levels = { "1", "2" }
local passed, failed = 0, 0

local function verdict(ok, format, ...)
  if ok then
    passed = passed + 1
  else
    failed = failed + 1
    print("FAILED " .. string.format(format, ...))
  end
end

-- ---------------------------------------------------------------- faults --

-- Names that faulty/ knows, and the level at which the break is seen.
local faults = {
  { "acked-before-the-handler", "1" },
  { "acked-out-of-order", "2" },
  { "cache-key-without-response-topic", "1" },
  { "cloud-event-names-in-user-data", "1" },
  { "cloud-events-unchecked", "1" },
  { "delivered-twice", "1" },
  { "expiry-not-rounded-up", "1" },
  { "namespace-not-prepended", "1" },
  { "never-acked", "1" },
  { "never-cached", "1" },
  { "no-application-error", "1" },
  { "no-content-type", "1" },
  { "no-error-name", "1" },
  { "no-expiry", "1" },
  { "no-format-indicator", "1" },
  { "no-metadata-received", "1" },
  { "no-partition", "1" },
  { "no-payload", "1" },
  { "no-sender-received", "1" },
  { "no-source", "1" },
  { "no-status", "1" },
  { "no-user-data", "1" },
  { "no-version", "1" },
  { "other-correlation", "1" },
  { "published-twice", "1" },
  { "refusals-hidden", "1" },
  { "refusals-hidden", "2" },
  { "tokens-not-replaced", "1" },
}

local function failures_of(fault, level)
  local command = string.format("METL_FAULT=%s %s tests/metl/run.lua %s --level %s",
    fault, faulty_program, folder, level)
  local pipe = assert(io.popen(command))
  local last
  for line in pipe:lines() do
    last = line
  end
  pipe:close()
  local seen = last and last:match("^%d+ passed, (%d+) failed$")
  return tonumber(seen)
end

local function check_faults()
  for _, fault in ipairs(faults) do
    local seen = failures_of(fault[1], fault[2])
    verdict(seen and seen > 0, "the fault %s at level %s: %s cases fail",
      fault[1], fault[2], seen or "the run broke off,")
  end
  for _, level in ipairs(levels) do
    local seen = failures_of("", level)
    verdict(seen == 0, "without a fault at level %s: %s cases fail", level,
      seen or "the run broke off,")
  end
end

-- ------------------------------------------------------------- mutations --

-- Every check that a case can make, by the last name of its path; maps of
-- free names (metadata, tokens, counts) by their own.
local checks = {
  "error-kind", "is-shallow", "is-remote", "message", "header-name",
  "header-value", "timeout-name", "timeout-value", "property-name",
  "property-value", "command-name", "protocol-version", "supported-protocols",
  "response-value", "metadata", "packet-index", "correlation-index",
  "subscribed-topics", "publication-count", "acknowledgement-count",
  "execution-count", "execution-counts", "telemetry-count",
  "telemetry-counts", "topic", "payload", "content-type", "format-indicator",
  "expiry", "command-status", "is-application-error", "source-id",
  "telemetry-value", "topic-tokens", "source-index", "cloud-event", "source",
  "type", "spec-version", "id", "time", "data-content-type", "subject",
  "data-schema",
}

local free = {
  ["metadata"] = true, ["topic-tokens"] = true, ["execution-counts"] = true,
  ["telemetry-counts"] = true, ["subscribed-topics"] = true,
}

local function check_of(path)
  local parent, last = path:match("([^/]+)/([^/]+)$")
  return free[parent] and parent or last
end

local function check_mutations()
  local covered = {}
  for _, one in ipairs(cases.below(folder)) do
    local case = loader.read(one.folder, one.suite, one.name)
    for _, path in ipairs(mutation.paths(case)) do
      covered[check_of(path)] = true
      local report = suite_run.case(one, "1", { mutated = path })
      verdict(report, "%s/%s passes with a wrong check: %s", one.suite,
        one.name, path)
    end
  end
  for _, check in ipairs(checks) do
    verdict(covered[check], "no case of our own makes the check %s", check)
  end
end

-- ------------------------------------------------------------ our cases --

local function check_own_cases()
  for _, level in ipairs(levels) do
    for _, one in ipairs(cases.below(folder)) do
      local report = suite_run.case(one, level)
      verdict(not report, "%s/%s at level %s\n%s", one.suite, one.name, level,
        report)
    end
  end
end

-- Cases that hardly wait, on the system's clock.
local function check_real_clock()
  for _, level in ipairs(levels) do
    for _, one in ipairs(cases.below(folder)) do
      if one.name == "answers" or one.name == "invokes"
        or one.name == "receives" or one.name == "fire_and_forget" then
        local report = suite_run.case(one, level, { clock = "real" })
        verdict(not report, "%s/%s at level %s on the real clock\n%s",
          one.suite, one.name, level, report)
      end
    end
  end
end

-- Connections that end with a word of the broker's.
local function check_disconnect_packets()
  for _, one in ipairs(cases.below(folder)) do
    local report = suite_run.case(one, "2", { cut = "packet" })
    verdict(not report, "%s/%s with DISCONNECT\n%s", one.suite, one.name,
      report)
  end
end

check_own_cases()
check_disconnect_packets()
check_real_clock()
check_mutations()
check_faults()
print(string.format("%d passed, %d failed", passed, failed))
return failed == 0
