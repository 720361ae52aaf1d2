/*
** ctl.c -- `iotops ctl`: the operator's hand in a running host.
*/
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/ctl_link.h"
#include "commands/ctl_repl.h"
#include "commands/ctl_status.h"
#include "commands/message_show.h"
#include "commands/tool.h"
#include "runtime/message_line.h"

enum {
  CTL_SOCKET = 256,
  CTL_HOST,
  CTL_JSON,
  CTL_TIMEOUT,
  CTL_FOLLOW,
  CTL_LEVEL,
  CTL_COUNT
};

enum { TIMEOUT_MS = 60000 };

typedef struct ctl {
  ctl_link link;
  const char *verb;
  const char *script; /* NULL: none was named */
  const char *code;
  bool json, colour;
  bool follow;
  const char *level;
  uint64_t count; /* 0: not said */
} ctl;

static void print_help(void) {
  printf(
      "iotops ctl -- look into a running host and steer it\n\n"
      "usage: iotops ctl [OPTION...] VERB [SCRIPT]\n\n"
      "  status                each script's version, state, calls, times, "
      "memory and\n"
      "                        last reload\n"
      "  reload [SCRIPT]       take up what the files hold now, even if it was "
      "refused\n"
      "                        before, and say how that ended\n"
      "  rollback SCRIPT       go back to the last good version\n"
      "  logs [SCRIPT]         the last 1000 records; --follow goes on, "
      "--level LEVEL takes\n"
      "                        no lesser ones, --count N no more than the "
      "last N\n"
      "  metrics               as --http answers them, for Prometheus\n"
      "  tap SCRIPT            what the script receives and sends, while it "
      "happens;\n"
      "                        --count N ends after so many\n"
      "  repl SCRIPT           evaluates lines of Lua in the running script, "
      "under its\n"
      "                        limits; a line may wait.  What is assigned is "
      "the prompt's\n"
      "                        own; _G.name = value changes the script\n"
      "  eval SCRIPT CODE      evaluates the code and ends\n\n"
      "  --socket PATH         of the host's --control\n"
      "  --host NAME           which of several hosts: its client id\n"
      "  --json                for programs: JSON, one object a line\n"
      "  --timeout SECONDS     for an answer (60)\n"
      "  -h, --help            this text\n\n"
      "The host is the one that runs as the same user.\n\n"
      "Exit status: 0 done, 1 refused by the host or failed in it, 2 "
      "arguments, 3 no host\ncan be reached, 4 it does not answer.\n\n"
      "  iotops ctl status\n"
      "  iotops ctl logs fans --follow --level warn\n"
      "  iotops ctl eval fans 'limits[\"fan1\"]'\n");
}

static json_t *request(const ctl *ctl) {
  json_t *json = json_pack("{s:s}", "verb", ctl->verb);
  if (ctl->script != NULL)
    json_object_set_new(json, "script", json_string(ctl->script));
  if (ctl->level != NULL)
    json_object_set_new(json, "level", json_string(ctl->level));
  if (ctl->follow)
    json_object_set_new(json, "follow", json_true());
  if (ctl->count > 0)
    json_object_set_new(json, "count", json_integer((json_int_t)ctl->count));
  return json;
}

/* ------------------------------------------------------- single answers -- */

static int show_answer(ctl *ctl,
                       void (*show)(const json_t *answer, bool colour)) {
  json_t *answer = NULL;
  int status = ctl_link_send(&ctl->link, request(ctl));
  if (status != COMMAND_DONE ||
      (status = ctl_link_answer(&ctl->link, &answer)) != COMMAND_DONE)
    return status;
  if (ctl->json) {
    json_dumpf(answer, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10));
    putchar('\n');
  } else if (json_is_array(json_object_get(answer, "scripts"))) {
    show(answer, ctl->colour);
  }
  fflush(stdout);
  if (json_is_array(json_object_get(answer, "scripts")) && !ctl->json)
    /* Which has failed, and why, was said. */
    status = json_is_true(json_object_get(answer, "ok")) ? COMMAND_DONE
                                                         : COMMAND_REFUSED;
  else
    status = ctl_link_verdict(&ctl->link, answer);
  json_decref(answer);
  return status;
}

static int show_metrics(ctl *ctl) {
  json_t *answer = NULL;
  int status = ctl_link_send(&ctl->link, request(ctl));
  if (status != COMMAND_DONE ||
      (status = ctl_link_answer(&ctl->link, &answer)) != COMMAND_DONE)
    return status;
  const json_t *text = json_object_get(answer, "text");
  status = ctl_link_verdict(&ctl->link, answer);
  if (status == COMMAND_DONE)
    fwrite(json_string_value(text), 1, json_string_length(text), stdout);
  json_decref(answer);
  return status;
}

/* -------------------------------------------------------------- streams -- */

/*
** What is inside of {"NAME":...}, as it came; absent when it is something
** else.
*/
static iotops_text inside(iotops_text line, const char *name) {
  size_t size = strlen(name);
  if (line.size < size + 5 || strncmp(line.data, "{\"", 2) != 0 ||
      strncmp(line.data + 2, name, size) != 0 ||
      strncmp(line.data + 2 + size, "\":", 2) != 0 ||
      line.data[line.size - 1] != '}')
    return (iotops_text){0};
  return (iotops_text){line.data + size + 4, line.size - size - 5};
}

static void show_log(const ctl *ctl, iotops_text record) {
  json_t *json = NULL;
  if (ctl->json) {
    printf("%.*s\n", (int)record.size, record.data);
    return;
  }
  json = json_loadb(record.data, record.size, JSON_ALLOW_NUL, NULL);
  if (json != NULL)
    ctl_status_show_record(json, ctl->colour);
  json_decref(json);
}

static void show_tapped(const ctl *ctl, iotops_context *context,
                        iotops_text line) {
  iotops_message *message = NULL;
  message_line said;
  iotops_error err;
  if (ctl->json) {
    printf("%.*s\n", (int)line.size, line.data);
    return;
  }
  if (message_line_read(context, line, &message, &said, &err) != 0) {
    fprintf(stderr, "iotops ctl: %s\n", err.message);
    return;
  }
  time_t seconds = (time_t)(said.time_ms / 1000);
  struct tm parts;
  char clock[16];
  bool in = said.direction == MESSAGE_IN;
  bool well = in || strcmp(said.outcome, "sent") == 0;
  localtime_r(&seconds, &parts);
  strftime(clock, sizeof clock, "%H:%M:%S", &parts);
  printf("%s.%03d %s%-3s%s ", clock, (int)(said.time_ms % 1000),
         !ctl->colour ? ""
         : in         ? "\033[36m"
                      : "\033[35m",
         in ? "in" : "out", ctl->colour ? "\033[0m" : "");
  if (!well)
    printf("%snot sent: %s%s  ", ctl->colour ? "\033[31m" : "", said.outcome,
           ctl->colour ? "\033[0m" : "");
  message_show(message);
  iotops_free(context, message);
}

/* What a line that is no part of the stream says: the status to end with. */
static int end_of_stream(const ctl *ctl, iotops_text line, bool *over) {
  json_t *json = json_loadb(line.data, line.size, 0, NULL);
  const json_t *dropped = json_object_get(json, "dropped");
  int status = COMMAND_DONE;
  if (json_is_integer(dropped)) {
    fprintf(stderr, "iotops ctl: %lld were dropped: they came too fast\n",
            (long long)json_integer_value(dropped));
  } else {
    *over = true;
    status = ctl_link_verdict(&ctl->link, json);
  }
  json_decref(json);
  return status;
}

static int broken(const ctl *ctl, ctl_answer answer) {
  if (answer == CTL_INTERRUPTED)
    return COMMAND_DONE;
  if (answer == CTL_LATE) {
    fprintf(stderr, "iotops ctl: the host has not answered within %.1f s\n",
            (double)ctl->link.timeout_ms / 1000.0);
    return COMMAND_TIMEOUT;
  }
  if (answer == CTL_END)
    fputs("iotops ctl: the host has ended\n", stderr);
  return COMMAND_UNREACHABLE;
}

static int show_logs(ctl *ctl) {
  iotops_text line;
  bool over = false;
  int status = ctl_link_send(&ctl->link, request(ctl));
  ctl_link_heed_signals();
  while (status == COMMAND_DONE && !over) {
    ctl_answer answer = ctl_link_line(&ctl->link, ctl->follow, &line);
    if (answer != CTL_LINE)
      return broken(ctl, answer);
    iotops_text record = inside(line, "log");
    if (record.data != NULL)
      show_log(ctl, record);
    else
      status = end_of_stream(ctl, line, &over);
    if (!tool_is_read())
      break;
  }
  return status;
}

static int show_tap(ctl *ctl) {
  iotops_context *context = NULL;
  json_t *begun = NULL;
  iotops_text line;
  bool over = false;
  uint64_t seen = 0;
  int status = ctl_link_send(&ctl->link, request(ctl));
  if (status != COMMAND_DONE ||
      (status = ctl_link_answer(&ctl->link, &begun)) != COMMAND_DONE)
    return status;
  status = ctl_link_verdict(&ctl->link, begun);
  json_decref(begun);
  if (status != COMMAND_DONE || iotops_context_new(NULL, &context, NULL) != 0)
    return status;
  fprintf(stderr, "tapping %s\n", ctl->script);
  ctl_link_heed_signals();
  while (status == COMMAND_DONE && !over &&
         (ctl->count == 0 || seen < ctl->count)) {
    ctl_answer answer = ctl_link_line(&ctl->link, true, &line);
    if (answer != CTL_LINE) {
      status = broken(ctl, answer);
      break;
    }
    iotops_text message = inside(line, "message");
    if (message.data != NULL) {
      seen++;
      show_tapped(ctl, context, message);
    } else {
      status = end_of_stream(ctl, line, &over);
    }
    if (!tool_is_read())
      break;
  }
  iotops_context_free(context);
  return status;
}

/* ------------------------------------------------------------ arguments -- */

static int run_status(ctl *ctl) {
  return show_answer(ctl, ctl_status_show);
}

static int run_reload(ctl *ctl) {
  return show_answer(ctl, ctl_status_show_reloads);
}

static int run_repl(ctl *ctl) {
  return ctl_repl(&ctl->link, ctl->script, ctl->json);
}

static int run_eval(ctl *ctl) {
  return ctl_eval(&ctl->link, ctl->script, ctl->code, ctl->json);
}

static const struct verb {
  const char *name;
  int least, most; /* arguments */
  int (*run)(ctl *ctl);
} verbs[] = {
    {"status", 0, 0, run_status},    {"reload", 0, 1, run_reload},
    {"rollback", 1, 1, run_reload},  {"logs", 0, 1, show_logs},
    {"metrics", 0, 0, show_metrics}, {"tap", 1, 1, show_tap},
    {"repl", 1, 1, run_repl},        {"eval", 2, 2, run_eval},
};

static int take_option(ctl *ctl, int option, const char *value) {
  switch (option) {
  case CTL_SOCKET:
    ctl->link.socket = value;
    return COMMAND_DONE;
  case CTL_HOST:
    ctl->link.host = value;
    return COMMAND_DONE;
  case CTL_JSON:
    ctl->json = true;
    return COMMAND_DONE;
  case CTL_FOLLOW:
    ctl->follow = true;
    return COMMAND_DONE;
  case CTL_LEVEL:
    if (iotops_log_level_from(iotops_text_of(value)) < 0)
      return command_usage_error(
          "ctl", "--level takes trace, debug, info, warn or error, not \"%s\"",
          value);
    ctl->level = value;
    return COMMAND_DONE;
  case CTL_COUNT:
    if (!command_number(value, 1, INT64_MAX, &ctl->count))
      return command_usage_error("ctl", "--count takes a number, not \"%s\"",
                                 value);
    return COMMAND_DONE;
  case CTL_TIMEOUT:
    if (!command_seconds(value, &ctl->link.timeout_ms))
      return command_usage_error(
          "ctl", "--timeout takes seconds, such as 60, not \"%s\"", value);
    return COMMAND_DONE;
  default:
    return command_usage_error("ctl", "it has no such option");
  }
}

static const struct verb *take_verb(ctl *ctl, int count, char **words) {
  const struct verb *verb = NULL;
  if (count == 0) {
    command_usage_error("ctl", "it needs a verb, such as status");
    return NULL;
  }
  for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
    if (strcmp(verbs[i].name, words[0]) == 0)
      verb = &verbs[i];
  if (verb == NULL) {
    command_usage_error("ctl", "there is no verb \"%s\"", words[0]);
    return NULL;
  }
  if (count - 1 < verb->least) {
    command_usage_error("ctl", "%s needs a script%s", verb->name,
                        verb->least > 1 ? " and code" : "");
    return NULL;
  }
  if (count - 1 > verb->most) {
    command_usage_error("ctl", "%s does not take \"%s\"", verb->name,
                        words[verb->most + 1]);
    return NULL;
  }
  ctl->verb = verb->name;
  ctl->script = count > 1 ? words[1] : NULL;
  ctl->code = count > 2 ? words[2] : NULL;
  return verb;
}

int command_ctl(int argc, char **argv) {
  static const struct option long_options[] = {
      {"socket", required_argument, NULL, CTL_SOCKET},
      {"host", required_argument, NULL, CTL_HOST},
      {"json", no_argument, NULL, CTL_JSON},
      {"timeout", required_argument, NULL, CTL_TIMEOUT},
      {"follow", no_argument, NULL, CTL_FOLLOW},
      {"level", required_argument, NULL, CTL_LEVEL},
      {"count", required_argument, NULL, CTL_COUNT},
      {"help", no_argument, NULL, 'h'},
      {0}};
  ctl ctl = {.link = {.command = "ctl", .timeout_ms = TIMEOUT_MS, .fd = -1}};
  const char *no_colour = getenv("NO_COLOR");
  int option = 0;
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("ctl", option, argv[optind - 1]);
    if (take_option(&ctl, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  const struct verb *verb = take_verb(&ctl, argc - optind, argv + optind);
  if (verb == NULL)
    return COMMAND_USAGE;
  ctl.colour =
      isatty(STDOUT_FILENO) != 0 && (no_colour == NULL || no_colour[0] == '\0');
  int status = ctl_link_open(&ctl.link);
  if (status == COMMAND_DONE)
    status = verb->run(&ctl);
  ctl_link_close(&ctl.link);
  return status;
}
