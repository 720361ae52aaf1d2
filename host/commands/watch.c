/*
** watch.c -- `iotops watch`: the messages that match a filter.
*/
#include <stdio.h>
#include <time.h>

#include "commands/command.h"
#include "commands/message_show.h"
#include "commands/tool.h"
#include "iotops/topic.h"
#include "runtime/message_line.h"

enum { WATCH_JSON = TOOL_OPTION_END, WATCH_COUNT };

typedef struct watching {
  tool tool;
  const char *filter; /* borrowed */
  bool json;
  uint64_t count; /* 0: without end */
  uint64_t seen;
  iotops_receiver *receiver; /* owned */
} watching;

static void print_help(void) {
  printf("iotops watch -- print the messages that match a filter\n\n"
         "usage: iotops watch [OPTION...] FILTER\n\n"
         "FILTER is an MQTT topic filter, taken as it is: + stands for one "
         "level, # for all\nthat follow; quote it for the shell.\n\n"
         "  --json                one JSON object a line; a payload that is "
         "JSON is in\n"
         "                        \"payload\", other text in \"payload_text\", "
         "bytes in\n"
         "                        \"payload_base64\"\n"
         "  --count N             stop after N messages\n%s\n"
         "Exit status: 0 stopped by a signal or after N messages, 1 the broker "
         "refused the\nfilter, 2 arguments or configuration, 3 no connection."
         "\n\n  iotops watch 'sensors/+/temperature'\n",
         tool_options_help);
}

/* ---------------------------------------------------------- JSON lines -- */

static void print_json(const watching *watching,
                       const iotops_message *message) {
  iotops_context *context = watching->tool.context;
  message_line line = {.has_time = true,
                       .time_ms = iotops_wall_ms(context),
                       .direction = MESSAGE_IN,
                       .readable = true};
  text_buffer buffer;
  text_buffer_init(&buffer, context);
  message_line_write(&buffer, message, &line);
  iotops_text text = text_buffer_text(&buffer);
  if (!buffer.failed)
    fwrite(text.data, 1, text.size, stdout);
  text_buffer_clear(&buffer);
}

/* ----------------------------------------------------------------- text -- */

static void print_text(const iotops_message *message) {
  char clock[16];
  time_t now = time(NULL);
  struct tm parts;
  localtime_r(&now, &parts);
  strftime(clock, sizeof clock, "%H:%M:%S", &parts);
  printf("%s ", clock);
  message_show(message);
}

/* ----------------------------------------------------------------- work -- */

static void arrived(void *user, const iotops_message *message, iotops_ack ack) {
  watching *watching = user;
  if (watching->count == 0 || watching->seen < watching->count) {
    watching->seen++;
    if (watching->json)
      print_json(watching, message);
    else
      print_text(message);
    if (!tool_is_read())
      tool_finish(&watching->tool, COMMAND_DONE);
    else if (watching->seen == watching->count)
      tool_finish(&watching->tool, COMMAND_DONE);
  }
  if (ack.epoch != 0)
    iotops_mqtt_settle(watching->tool.client, ack);
}

static void granted(void *user, const iotops_mqtt_result *result) {
  watching *watching = user;
  iotops_error err;
  if (result->error != NULL) {
    tool_fail(&watching->tool, result->error);
  } else if (result->reason_code >= 0x80) {
    iotops_error_set(&err, IOTOPS_MQTT_ERROR,
                     "the broker refused the filter %s", watching->filter);
    err.reason_code = result->reason_code;
    tool_fail(&watching->tool, &err);
  } else if (!watching->tool.finishing) {
    /* On the standard error: what waits for us may read this. */
    fprintf(stderr, "watching %s\n", watching->filter);
  }
}

static void go(tool *tool) {
  watching *watching = tool->user;
  iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
  iotops_error err;
  /* Else a retained message would look like a new one. */
  options.retain_as_published = true;
  if (iotops_mqtt_subscribe(tool->client, iotops_text_of(watching->filter),
                            &options, granted, watching, NULL, &err) != 0)
    tool_fail(tool, &err);
}

int command_watch(int argc, char **argv) {
  static const struct option long_options[] = {
      TOOL_LONG_OPTIONS,
      {"json", no_argument, NULL, WATCH_JSON},
      {"count", required_argument, NULL, WATCH_COUNT},
      {0}};
  watching watching = {0};
  iotops_error err;
  int option = 0, status = COMMAND_USAGE;
  tool_init(&watching.tool, "watch");
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("watch", option, argv[optind - 1]);
    if (option == WATCH_JSON)
      watching.json = true;
    else if (option == WATCH_COUNT) {
      if (!command_number(optarg, 1, UINT64_MAX, &watching.count))
        return command_usage_error(
            "watch", "--count takes a number, not \"%s\"", optarg);
    } else if (tool_option(&watching.tool, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  if (argc - optind != 1)
    return command_usage_error("watch", "it needs one filter, such as '#'");
  watching.filter = argv[optind];
  if (!iotops_topic_filter_valid(iotops_text_of(watching.filter)))
    return command_usage_error(
        "watch",
        "\"%s\" is not a filter: + and # stand for whole levels, # comes last",
        watching.filter);
  watching.tool.go = go;
  watching.tool.user = &watching;
  watching.tool.interrupted_status = COMMAND_DONE;
  if (tool_open(&watching.tool, &err) != 0 ||
      iotops_mqtt_add_receiver(watching.tool.client,
                               iotops_text_of(watching.filter), arrived,
                               &watching, &watching.receiver, &err) != 0)
    command_report(&err);
  else
    status = tool_run(&watching.tool);
  if (watching.receiver != NULL)
    iotops_mqtt_remove_receiver(watching.tool.client, watching.receiver);
  tool_close(&watching.tool);
  return status;
}
