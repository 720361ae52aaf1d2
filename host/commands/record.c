/*
** record.c -- `iotops record`: messages written down as they pass, a line each
** (message_line.h), for `iotops replay`.
*/
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "commands/command.h"
#include "commands/ctl_link.h"
#include "commands/tool.h"
#include "iotops/topic.h"
#include "runtime/message_line.h"

enum {
  RECORD_SCRIPT = TOOL_OPTION_END,
  RECORD_OUTPUT,
  RECORD_COUNT,
  RECORD_FOR,
  RECORD_SOCKET,
  RECORD_HOST
};

enum { FILTERS = 32 };

typedef struct recording {
  tool tool;
  ctl_link link;
  const char *script; /* NULL: filters are recorded */
  const char *output; /* NULL: the standard output */
  FILE *file;
  uint64_t count;  /* 0: without end */
  uint64_t for_ms; /* the same */
  uint64_t recorded;
  char **filters;
  size_t filter_count, granted;
  iotops_receiver *receivers[FILTERS]; /* owned */
  iotops_timer end;
  text_buffer line;
} recording;

static void print_help(void) {
  printf("iotops record -- write messages down, for `iotops replay`\n\n"
         "usage: iotops record [OPTION...] FILTER...\n"
         "       iotops record [OPTION...] --script NAME\n\n"
         "With filters it subscribes with a session of its own, which takes "
         "nothing away from\nanybody.  With --script it writes down what a "
         "script of a running host receives and\nsends, as `iotops ctl tap` "
         "shows it.  Each message is a line of JSON.\n\n"
         "  --script NAME         of the host that runs here\n"
         "  --output FILE         instead of the standard output; what the "
         "file had is gone\n"
         "  --count N             stop after N messages\n"
         "  --for SECONDS         stop after so long\n"
         "  --socket PATH         with --script: of the host's --control\n"
         "  --host NAME           with --script: which of several hosts\n%s\n"
         "Exit status: 0 stopped by a signal or after what was asked for, 1 a "
         "filter or the\nscript was refused, 2 arguments, 3 no connection.\n\n"
         "  iotops record --output day.jsonl 'sensors/#'\n"
         "  iotops record --script fans --count 1000 > fans.jsonl\n",
         tool_options_help);
}

/* Whether the line is written, to where it does not get lost. */
static bool put_line(recording *recording, iotops_text line) {
  if (fwrite(line.data, 1, line.size, recording->file) == line.size &&
      fflush(recording->file) == 0) {
    recording->recorded++;
    return true;
  }
  fprintf(stderr, "iotops record: cannot write: %s\n", strerror(errno));
  return false;
}

static bool has_enough(const recording *recording) {
  return recording->count > 0 && recording->recorded >= recording->count;
}

/* ------------------------------------------------------------- filters -- */

static void arrived(void *user, const iotops_message *message, iotops_ack ack) {
  recording *recording = user;
  iotops_context *context = recording->tool.context;
  message_line line = {.has_time = true,
                       .time_ms = iotops_wall_ms(context),
                       .direction = MESSAGE_IN};
  if (!recording->tool.finishing) {
    text_buffer_reset(&recording->line);
    message_line_write(&recording->line, message, &line);
    if (recording->line.failed) {
      fputs("iotops record: out of memory\n", stderr);
      tool_finish(&recording->tool, COMMAND_REFUSED);
    } else if (!put_line(recording, text_buffer_text(&recording->line))) {
      tool_finish(&recording->tool, COMMAND_USAGE);
    } else if (has_enough(recording)) {
      tool_finish(&recording->tool, COMMAND_DONE);
    }
  }
  if (ack.epoch != 0)
    iotops_mqtt_settle(recording->tool.client, ack);
}

static void granted(void *user, const iotops_mqtt_result *result) {
  recording *recording = user;
  iotops_error err;
  if (result->error != NULL) {
    tool_fail(&recording->tool, result->error);
  } else if (result->reason_code >= 0x80) {
    iotops_error_set(&err, IOTOPS_MQTT_ERROR, "the broker refused a filter");
    err.reason_code = result->reason_code;
    tool_fail(&recording->tool, &err);
  } else if (++recording->granted == recording->filter_count &&
             !recording->tool.finishing) {
    fputs("recording; Control-C ends\n", stderr);
    if (recording->for_ms > 0)
      iotops_timer_start(recording->tool.context, &recording->end,
                         recording->for_ms);
  }
}

static void time_is_up(iotops_timer *timer) {
  recording *recording = timer->user;
  tool_finish(&recording->tool, COMMAND_DONE);
}

static void go(tool *tool) {
  recording *recording = tool->user;
  iotops_error err;
  for (size_t i = 0; i < recording->filter_count; i++) {
    iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
    options.retain_as_published = true;
    if (iotops_mqtt_subscribe(tool->client,
                              iotops_text_of(recording->filters[i]), &options,
                              granted, recording, NULL, &err) != 0) {
      tool_fail(tool, &err);
      return;
    }
  }
}

static int add_receivers(recording *recording, iotops_error *err) {
  for (size_t i = 0; i < recording->filter_count; i++)
    if (iotops_mqtt_add_receiver(recording->tool.client,
                                 iotops_text_of(recording->filters[i]), arrived,
                                 recording, &recording->receivers[i], err) != 0)
      return -1;
  return 0;
}

static int record_filters(recording *recording) {
  iotops_error err;
  int status = COMMAND_USAGE;
  recording->tool.go = go;
  recording->tool.user = recording;
  recording->tool.interrupted_status = COMMAND_DONE;
  recording->end.fire = time_is_up;
  recording->end.user = recording;
  if (tool_open(&recording->tool, &err) != 0) {
    command_report(&err);
  } else {
    text_buffer_init(&recording->line, recording->tool.context);
    if (add_receivers(recording, &err) != 0)
      command_report(&err);
    else
      status = tool_run(&recording->tool);
    for (size_t i = 0; i < recording->filter_count; i++)
      if (recording->receivers[i] != NULL)
        iotops_mqtt_remove_receiver(recording->tool.client,
                                    recording->receivers[i]);
    iotops_timer_stop(recording->tool.context, &recording->end);
    text_buffer_clear(&recording->line);
  }
  tool_close(&recording->tool);
  return status;
}

/* -------------------------------------------------------------- script -- */

/* Writes {"message":LINE} down.  COMMAND_DONE, or the status to end with. */
static int take_line(recording *recording, iotops_text line) {
  static const char begin[] = "{\"message\":";
  size_t size = sizeof begin - 1;
  json_t *other = NULL;
  if (line.size > size && strncmp(line.data, begin, size) == 0) {
    /* The line is ours to change: its last brace becomes its end. */
    char *bytes = (char *)line.data;
    bytes[line.size - 1] = '\n';
    return put_line(recording, (iotops_text){bytes + size, line.size - size})
               ? COMMAND_DONE
               : COMMAND_USAGE;
  }
  other = json_loadb(line.data, line.size, 0, NULL);
  const json_t *dropped = json_object_get(other, "dropped");
  int status = COMMAND_DONE;
  if (json_is_integer(dropped))
    fprintf(stderr,
            "iotops record: %lld messages are missing: they came too fast\n",
            (long long)json_integer_value(dropped));
  else
    status = ctl_link_verdict(&recording->link, other);
  json_decref(other);
  return status;
}

static int follow_script(recording *recording) {
  ctl_link *link = &recording->link;
  int status = COMMAND_DONE;
  uint64_t end_ms = ctl_link_clock_ms() + recording->for_ms;
  fputs("recording; Control-C ends\n", stderr);
  ctl_link_heed_signals();
  while (status == COMMAND_DONE && !has_enough(recording)) {
    iotops_text line;
    uint64_t now_ms = ctl_link_clock_ms();
    if (recording->for_ms > 0 && now_ms >= end_ms)
      break;
    link->timeout_ms = end_ms - now_ms;
    ctl_answer answer = ctl_link_line(link, recording->for_ms == 0, &line);
    if (answer == CTL_LINE) {
      status = take_line(recording, line);
    } else {
      if (answer == CTL_END)
        fputs("iotops record: the host has ended\n", stderr);
      if (answer != CTL_LATE && answer != CTL_INTERRUPTED)
        status = COMMAND_UNREACHABLE;
      break;
    }
  }
  return status;
}

static int record_script(recording *recording) {
  ctl_link *link = &recording->link;
  json_t *answer = NULL;
  link->timeout_ms = recording->tool.timeout_ms;
  int status = ctl_link_open(link);
  if (status == COMMAND_DONE)
    status = ctl_link_send(link, json_pack("{s:s, s:s}", "verb", "tap",
                                           "script", recording->script));
  if (status == COMMAND_DONE)
    status = ctl_link_answer(link, &answer);
  if (status == COMMAND_DONE) {
    status = ctl_link_verdict(link, answer);
    json_decref(answer);
  }
  if (status == COMMAND_DONE)
    status = follow_script(recording);
  ctl_link_close(link);
  return status;
}

/* ------------------------------------------------------------ arguments -- */

static int take_option(recording *recording, int option, const char *value) {
  switch (option) {
  case RECORD_SCRIPT:
    recording->script = value;
    return COMMAND_DONE;
  case RECORD_OUTPUT:
    recording->output = value;
    return COMMAND_DONE;
  case RECORD_SOCKET:
    recording->link.socket = value;
    return COMMAND_DONE;
  case RECORD_HOST:
    recording->link.host = value;
    return COMMAND_DONE;
  case RECORD_COUNT:
    if (!command_number(value, 1, UINT64_MAX, &recording->count))
      return command_usage_error("record", "--count takes a number, not \"%s\"",
                                 value);
    return COMMAND_DONE;
  case RECORD_FOR:
    if (!command_seconds(value, &recording->for_ms))
      return command_usage_error(
          "record", "--for takes seconds, such as 60, not \"%s\"", value);
    return COMMAND_DONE;
  default:
    return tool_option(&recording->tool, option, value);
  }
}

static int check(const recording *recording) {
  if ((recording->script == NULL) == (recording->filter_count == 0))
    return command_usage_error("record",
                               "it needs filters, such as '#', or --script "
                               "NAME, and not both");
  if (recording->filter_count > FILTERS)
    return command_usage_error("record", "it takes %d filters at most",
                               FILTERS);
  for (size_t i = 0; i < recording->filter_count; i++)
    if (!iotops_topic_filter_valid(iotops_text_of(recording->filters[i])))
      return command_usage_error(
          "record",
          "\"%s\" is not a filter: + and # stand for whole levels, # comes "
          "last",
          recording->filters[i]);
  return COMMAND_DONE;
}

int command_record(int argc, char **argv) {
  static const struct option long_options[] = {
      TOOL_LONG_OPTIONS,
      {"script", required_argument, NULL, RECORD_SCRIPT},
      {"output", required_argument, NULL, RECORD_OUTPUT},
      {"count", required_argument, NULL, RECORD_COUNT},
      {"for", required_argument, NULL, RECORD_FOR},
      {"socket", required_argument, NULL, RECORD_SOCKET},
      {"host", required_argument, NULL, RECORD_HOST},
      {0}};
  recording recording = {.link = {.command = "record", .fd = -1},
                         .file = stdout};
  int option = 0;
  tool_init(&recording.tool, "record");
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("record", option, argv[optind - 1]);
    if (take_option(&recording, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  recording.filters = argv + optind;
  recording.filter_count = (size_t)(argc - optind);
  if (check(&recording) != COMMAND_DONE)
    return COMMAND_USAGE;
  if (recording.output != NULL &&
      (recording.file = fopen(recording.output, "we")) == NULL)
    return command_usage_error("record", "cannot write %s: %s",
                               recording.output, strerror(errno));
  int status = recording.script != NULL ? record_script(&recording)
                                        : record_filters(&recording);
  if (recording.file != stdout && fclose(recording.file) != 0) {
    fprintf(stderr, "iotops record: cannot write %s: %s\n", recording.output,
            strerror(errno));
    status = COMMAND_USAGE;
  }
  if (status == COMMAND_DONE)
    fprintf(stderr, "%llu message%s recorded\n",
            (unsigned long long)recording.recorded,
            recording.recorded == 1 ? "" : "s");
  return status;
}
