/*
** send.c -- `iotops send`: one telemetry message.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "commands/tool.h"
#include "iotops/telemetry.h"

enum {
  SEND_RAW = TOOL_OPTION_END,
  SEND_TYPE,
  SEND_QOS,
  SEND_RETAIN,
  SEND_EXPIRY
};

typedef struct sending {
  tool tool;
  iotops_telemetry_send_options options;
  iotops_telemetry_sender *sender; /* owned */
  iotops_timer limit;
} sending;

static void print_help(void) {
  printf(
      "iotops send -- send one telemetry message\n\n"
      "usage: iotops send [OPTION...] TOPIC JSON\n"
      "       iotops send [OPTION...] --raw FILE TOPIC\n\n"
      "TOPIC is taken as it is: no namespace is put before it, no token is "
      "replaced.\nJSON is sent byte by byte; - takes it from the standard "
      "input.\n\n"
      "  --raw FILE            send the bytes of a file (-: standard input)\n"
      "  --content-type TYPE   of --raw (application/octet-stream)\n"
      "  --qos 0|1             (1)\n"
      "  --retain              have the broker keep it as the topic's last\n"
      "  --expiry SECONDS      the broker forgets it after so long (10)\n"
      "  --property NAME=VALUE add user data; may be repeated\n%s\n"
      "Exit status: 0 the broker has it, 1 the broker refused it, 2 "
      "arguments or\nconfiguration, 3 no connection, 4 no answer in time."
      "\n\n  iotops send sensors/s1/temperature '{\"celsius\": 95}'\n",
      tool_options_help);
}

static void sent(void *user, const iotops_error *err) {
  sending *sending = user;
  iotops_timer_stop(sending->tool.context, &sending->limit);
  if (err != NULL)
    tool_fail(&sending->tool, err);
  else
    tool_finish(&sending->tool, COMMAND_DONE);
}

static void limit_passed(iotops_timer *timer) {
  sending *sending = timer->user;
  iotops_error err;
  iotops_error_set(&err, IOTOPS_TIMEOUT,
                   "the broker has not acknowledged the message within %.1f s",
                   (double)sending->tool.timeout_ms / 1000.0);
  tool_fail(&sending->tool, &err);
}

static void go(tool *tool) {
  sending *sending = tool->user;
  iotops_error err;
  if (iotops_telemetry_send(sending->sender, &sending->options, sent, sending,
                            &err) != 0) {
    tool_fail(tool, &err);
    return;
  }
  sending->limit.fire = limit_passed;
  sending->limit.user = sending;
  iotops_timer_start(tool->context, &sending->limit, tool->timeout_ms);
}

static int take_option(sending *sending, int option, const char *value) {
  uint64_t milliseconds = 0;
  switch (option) {
  case SEND_QOS:
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
      return command_usage_error("send", "--qos takes 0 or 1, not \"%s\"",
                                 value);
    sending->options.qos = value[0] - '0';
    return COMMAND_DONE;
  case SEND_RETAIN:
    sending->options.retain = 1;
    return COMMAND_DONE;
  case SEND_EXPIRY:
    if (!command_seconds(value, &milliseconds))
      return command_usage_error(
          "send", "--expiry takes seconds, such as 60, not \"%s\"", value);
    sending->options.message_expiry_us = (int64_t)milliseconds * 1000;
    return COMMAND_DONE;
  default:
    return tool_option(&sending->tool, option, value);
  }
}

int command_send(int argc, char **argv) {
  static const struct option long_options[] = {
      TOOL_LONG_OPTIONS,
      {"property", required_argument, NULL, TOOL_PROPERTY},
      {"raw", required_argument, NULL, SEND_RAW},
      {"content-type", required_argument, NULL, SEND_TYPE},
      {"qos", required_argument, NULL, SEND_QOS},
      {"retain", no_argument, NULL, SEND_RETAIN},
      {"expiry", required_argument, NULL, SEND_EXPIRY},
      {0}};
  sending sending = {.options = IOTOPS_TELEMETRY_SEND_OPTIONS_INIT};
  iotops_telemetry_sender_options options =
      IOTOPS_TELEMETRY_SENDER_OPTIONS_INIT;
  const char *raw = NULL, *type = NULL;
  char *owned = NULL;
  iotops_text bytes;
  iotops_error err;
  int option = 0, status = COMMAND_USAGE;
  tool_init(&sending.tool, "send");
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("send", option, argv[optind - 1]);
    if (option == SEND_RAW)
      raw = optarg;
    else if (option == SEND_TYPE)
      type = optarg;
    else if (take_option(&sending, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  if (argc - optind != (raw != NULL ? 1 : 2))
    return command_usage_error("send", raw != NULL
                                           ? "--raw needs a topic and nothing "
                                             "else"
                                           : "it needs a topic and a payload");
  if (tool_check_topic(&sending.tool, argv[optind]) != COMMAND_DONE ||
      tool_payload(&sending.tool, argv[optind + 1], raw, &bytes, &owned) !=
          COMMAND_DONE)
    return COMMAND_USAGE;
  sending.options.payload = iotops_format_payload(
      raw != NULL ? IOTOPS_FORMAT_RAW : IOTOPS_FORMAT_JSON, bytes);
  if (type != NULL)
    sending.options.payload.content_type = iotops_text_of(type);
  sending.options.user_data = sending.tool.properties;
  sending.options.user_data_count = sending.tool.property_count;
  options.topic_pattern = iotops_text_of(argv[optind]);
  sending.tool.go = go;
  sending.tool.user = &sending;
  if (tool_open(&sending.tool, &err) != 0 ||
      iotops_telemetry_sender_new(sending.tool.client, &options,
                                  &sending.sender, &err) != 0)
    command_report(&err);
  else
    status = tool_run(&sending.tool);
  iotops_telemetry_sender_free(sending.sender);
  if (sending.tool.context != NULL)
    iotops_timer_stop(sending.tool.context, &sending.limit);
  tool_close(&sending.tool);
  free(owned);
  return status;
}
