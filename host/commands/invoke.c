/*
** invoke.c -- `iotops invoke`: one command, and what it answers.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "commands/tool.h"
#include "iotops/command.h"

enum { INVOKE_RAW = TOOL_OPTION_END, INVOKE_TYPE };

typedef struct invoking {
  tool tool;
  iotops_invoke_options options;
  iotops_command_invoker *invoker; /* owned */
} invoking;

static void print_help(void) {
  printf(
      "iotops invoke -- invoke a command and print its response\n\n"
      "usage: iotops invoke [OPTION...] TOPIC [JSON]\n"
      "       iotops invoke [OPTION...] --raw FILE TOPIC\n\n"
      "TOPIC is the request topic, taken as it is.  JSON is the request; "
      "without it the\nrequest is empty, - takes it from the standard "
      "input.  The response goes to the\nstandard output as it came.\n\n"
      "  --raw FILE            send the bytes of a file (-: standard input)\n"
      "  --content-type TYPE   of --raw (application/octet-stream)\n"
      "  --property NAME=VALUE add user data; may be repeated\n%s\n"
      "Exit status: 0 the command was executed, 1 it was refused or failed, "
      "2 arguments\nor configuration, 3 no connection, 4 no response in "
      "time.\n\n  iotops invoke fans/f1/setSpeed '{\"rpm\": 1200}'\n",
      tool_options_help);
}

static void print_payload(iotops_text payload) {
  if (payload.data == NULL || payload.size == 0)
    return;
  fwrite(payload.data, 1, payload.size, stdout);
  if (tool_is_text(payload) && payload.data[payload.size - 1] != '\n')
    putchar('\n');
}

static void answered(void *user, const iotops_response *response,
                     const iotops_error *err) {
  invoking *invoking = user;
  iotops_text code, payload;
  if (err != NULL) {
    tool_fail(&invoking->tool, err);
    return;
  }
  print_payload(response->payload.bytes);
  if (iotops_application_error(response->user_data, response->user_data_count,
                               &code, &payload)) {
    fprintf(stderr, "iotops: the command answered with the error %.*s",
            (int)code.size, code.data);
    if (payload.data != NULL)
      fprintf(stderr, ": %.*s", (int)payload.size, payload.data);
    fputc('\n', stderr);
    tool_finish(&invoking->tool, COMMAND_REFUSED);
    return;
  }
  tool_finish(&invoking->tool, tool_is_read() ? COMMAND_DONE : COMMAND_REFUSED);
}

static void go(tool *tool) {
  invoking *invoking = tool->user;
  iotops_error err;
  invoking->options.timeout_us = (int64_t)tool->timeout_ms * 1000;
  if (iotops_command_invoke(invoking->invoker, &invoking->options, answered,
                            invoking, NULL, &err) != 0)
    tool_fail(tool, &err);
}

int command_invoke(int argc, char **argv) {
  static const struct option long_options[] = {
      TOOL_LONG_OPTIONS,
      {"property", required_argument, NULL, TOOL_PROPERTY},
      {"raw", required_argument, NULL, INVOKE_RAW},
      {"content-type", required_argument, NULL, INVOKE_TYPE},
      {0}};
  invoking invoking = {.options = IOTOPS_INVOKE_OPTIONS_INIT};
  iotops_command_invoker_options options = IOTOPS_COMMAND_INVOKER_OPTIONS_INIT;
  const char *raw = NULL, *type = NULL;
  char *owned = NULL;
  iotops_text bytes = {0};
  iotops_format format = IOTOPS_FORMAT_EMPTY;
  iotops_error err;
  int option = 0, status = COMMAND_USAGE;
  tool_init(&invoking.tool, "invoke");
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("invoke", option, argv[optind - 1]);
    if (option == INVOKE_RAW)
      raw = optarg;
    else if (option == INVOKE_TYPE)
      type = optarg;
    else if (tool_option(&invoking.tool, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  int arguments = argc - optind;
  if (arguments < 1 || arguments > (raw != NULL ? 1 : 2))
    return command_usage_error("invoke", "it needs a topic%s",
                               raw != NULL ? " and nothing else beside --raw"
                                           : " and perhaps a payload");
  if (tool_check_topic(&invoking.tool, argv[optind]) != COMMAND_DONE)
    return COMMAND_USAGE;
  if (raw != NULL || arguments == 2) {
    format = raw != NULL ? IOTOPS_FORMAT_RAW : IOTOPS_FORMAT_JSON;
    if (tool_payload(&invoking.tool, argv[optind + 1], raw, &bytes, &owned) !=
        COMMAND_DONE)
      return COMMAND_USAGE;
  }
  invoking.options.payload = iotops_format_payload(format, bytes);
  if (type != NULL)
    invoking.options.payload.content_type = iotops_text_of(type);
  invoking.options.user_data = invoking.tool.properties;
  invoking.options.user_data_count = invoking.tool.property_count;
  const char *name = strrchr(argv[optind], '/');
  options.command_name = iotops_text_of(name != NULL ? name + 1 : argv[optind]);
  options.request_topic_pattern = iotops_text_of(argv[optind]);
  invoking.tool.go = go;
  invoking.tool.user = &invoking;
  if (tool_open(&invoking.tool, &err) != 0 ||
      iotops_command_invoker_new(invoking.tool.client, &options,
                                 &invoking.invoker, &err) != 0)
    command_report(&err);
  else
    status = tool_run(&invoking.tool);
  if (invoking.invoker != NULL)
    iotops_command_invoker_free(invoking.invoker);
  tool_close(&invoking.tool);
  free(owned);
  return status;
}
