/*
** kv.c -- `iotops kv`: keys of the state store.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/tool.h"
#include "iotops/state_store.h"

enum {
  KV_NX = TOOL_OPTION_END,
  KV_NEX,
  KV_EXPIRY,
  KV_PERSIST,
  KV_TOKEN,
  KV_VALUE,
  KV_RAW,
  KV_COUNT
};

typedef struct keys keys;

typedef struct action {
  const char *name;
  int arguments; /* after the name */
  void (*go)(tool *tool);
} action;

struct keys {
  tool tool;
  const action *action;
  iotops_text key, value; /* value: of set, and of del --value */
  char *owned;            /* the value, when it was read from a file */
  bool raw;
  uint64_t count, seen; /* of watch; count 0: without end */
  iotops_store_options options;
  iotops_hlc token;
  iotops_state_store *store; /* owned */
  iotops_store_scan *scan;   /* owned */
  iotops_store_observation *observation;
};

static void print_help(void) {
  printf(
      "iotops kv -- read, write and watch keys of the state store\n\n"
      "usage: iotops kv get [--raw] KEY\n"
      "       iotops kv set [OPTION...] KEY VALUE\n"
      "       iotops kv del [--value VALUE] KEY\n"
      "       iotops kv scan PATTERN\n"
      "       iotops kv watch [--count N] KEY\n\n"
      "A VALUE of - is read from the standard input.  In a PATTERN * stands "
      "for any\ntext, ? for one character, [a-z] for one of several; quote "
      "it for the shell.\n\n"
      "  --raw                 get: the value alone, without a line end\n"
      "  --nx                  set: only if there is no such key\n"
      "  --nex                 set: only if there is none, or it has this "
      "value\n"
      "  --expiry SECONDS      set: the store forgets it after so long\n"
      "  --persist             set: it survives a restart of the store\n"
      "  --value VALUE         del: only if it has this value\n"
      "  --fencing-token T     set, del: the token of the lock that protects "
      "it\n"
      "  --count N             watch: stop after N changes\n%s\n"
      "Exit status: 0 done, 1 no such key, not applied or refused, 2 "
      "arguments or\nconfiguration, 3 no connection, 4 no answer in time."
      "\n\n  iotops kv set fans/limit 1200\n",
      tool_options_help);
}

/* Bytes for a person at a terminal, or as they are for a program. */
static void print_bytes(iotops_text bytes) {
  if (isatty(STDOUT_FILENO))
    tool_print_text(bytes);
  else
    fwrite(bytes.data, 1, bytes.size, stdout);
}

static void no_such_key(keys *keys) {
  fprintf(stderr, "iotops kv: there is no key %.*s\n", (int)keys->key.size,
          keys->key.data);
  tool_finish(&keys->tool, COMMAND_REFUSED);
}

/* ------------------------------------------------------- get, set, del -- */

static void got(void *user, const iotops_store_result *result,
                const iotops_error *err) {
  keys *keys = user;
  if (err != NULL) {
    tool_fail(&keys->tool, err);
  } else if (result->value.data == NULL) {
    no_such_key(keys);
  } else {
    print_bytes(result->value);
    if (!keys->raw)
      putchar('\n');
    fflush(stdout);
    tool_finish(&keys->tool, COMMAND_DONE);
  }
}

static void changed(void *user, const iotops_store_result *result,
                    const iotops_error *err) {
  keys *keys = user;
  bool sets = strcmp(keys->action->name, "set") == 0;
  if (err != NULL) {
    tool_fail(&keys->tool, err);
  } else if (result->count == 1) {
    tool_finish(&keys->tool, COMMAND_DONE);
  } else if (!sets && result->count == 0) {
    no_such_key(keys);
  } else {
    fprintf(stderr, "iotops kv: the key %.*s has another value\n",
            (int)keys->key.size, keys->key.data);
    tool_finish(&keys->tool, COMMAND_REFUSED);
  }
}

static void begun(keys *keys, int status, const iotops_error *err) {
  if (status != 0)
    tool_fail(&keys->tool, err);
}

static void go_get(tool *tool) {
  keys *keys = tool->user;
  iotops_error err;
  begun(
      keys,
      iotops_store_get(keys->store, keys->key, &keys->options, got, keys, &err),
      &err);
}

static void go_set(tool *tool) {
  keys *keys = tool->user;
  iotops_error err;
  begun(keys,
        iotops_store_set(keys->store, keys->key, keys->value, &keys->options,
                         changed, keys, &err),
        &err);
}

static void go_del(tool *tool) {
  keys *keys = tool->user;
  iotops_error err;
  int status = keys->value.data != NULL
                   ? iotops_store_vdel(keys->store, keys->key, keys->value,
                                       &keys->options, changed, keys, &err)
                   : iotops_store_del(keys->store, keys->key, &keys->options,
                                      changed, keys, &err);
  begun(keys, status, &err);
}

/* ---------------------------------------------------------------- scan -- */

static void ask_page(keys *keys);

static void page_came(void *user, const iotops_text *page, size_t count,
                      bool finished, const iotops_error *err) {
  keys *keys = user;
  if (err != NULL) {
    tool_fail(&keys->tool, err);
    return;
  }
  for (size_t i = 0; i < count; i++) {
    print_bytes(page[i]);
    putchar('\n');
  }
  if (finished || !tool_is_read())
    tool_finish(&keys->tool, COMMAND_DONE);
  else
    ask_page(keys);
}

static void ask_page(keys *keys) {
  iotops_error err;
  begun(
      keys,
      iotops_store_scan_next(keys->scan, &keys->options, page_came, keys, &err),
      &err);
}

static void go_scan(tool *tool) {
  keys *keys = tool->user;
  iotops_error err;
  if (iotops_store_scan_new(keys->store, keys->key, &keys->scan, &err) != 0)
    tool_fail(tool, &err);
  else
    ask_page(keys);
}

/* --------------------------------------------------------------- watch -- */

static void noticed(void *user, iotops_store_change *change,
                    const iotops_store_notification *what) {
  keys *keys = user;
  if (keys->count == 0 || keys->seen < keys->count) {
    keys->seen++;
    fputs(what->deleted ? "DELETE" : "SET ", stdout);
    if (!what->deleted)
      print_bytes(what->value);
    putchar('\n');
    if (!tool_is_read() || keys->seen == keys->count)
      tool_finish(&keys->tool, COMMAND_DONE);
  }
  iotops_store_change_done(change);
}

static void watched(void *user, const iotops_store_result *result,
                    const iotops_error *err) {
  keys *keys = user;
  (void)result;
  if (err != NULL)
    tool_fail(&keys->tool, err);
  else if (!keys->tool.finishing)
    fprintf(stderr, "watching %.*s\n", (int)keys->key.size, keys->key.data);
}

static void go_watch(tool *tool) {
  keys *keys = tool->user;
  iotops_error err;
  begun(keys,
        iotops_store_observe(keys->store, keys->key, &keys->options, noticed,
                             NULL, watched, keys, &keys->observation, &err),
        &err);
}

/* ----------------------------------------------------------- arguments -- */

static const action actions[] = {
    {"get", 1, go_get},   {"set", 2, go_set},     {"del", 1, go_del},
    {"scan", 1, go_scan}, {"watch", 1, go_watch},
};

static int take_option(keys *keys, int option, const char *value) {
  uint64_t number = 0;
  switch (option) {
  case KV_NX:
    keys->options.condition = IOTOPS_STORE_IF_ABSENT;
    return COMMAND_DONE;
  case KV_NEX:
    keys->options.condition = IOTOPS_STORE_IF_ABSENT_OR_EQUAL;
    return COMMAND_DONE;
  case KV_EXPIRY:
    if (!command_seconds(value, &number))
      return command_usage_error(
          "kv", "--expiry takes seconds, such as 60, not \"%s\"", value);
    keys->options.expiry_ms = (int64_t)number;
    return COMMAND_DONE;
  case KV_PERSIST:
    keys->options.persist = true;
    return COMMAND_DONE;
  case KV_TOKEN:
    if (iotops_hlc_parse(iotops_text_of(value), &keys->token, NULL) != 0)
      return command_usage_error(
          "kv", "--fencing-token takes what a lock gave, not \"%s\"", value);
    keys->options.fencing_token = &keys->token;
    return COMMAND_DONE;
  case KV_VALUE:
    keys->value = iotops_text_of(value);
    return COMMAND_DONE;
  case KV_RAW:
    keys->raw = true;
    return COMMAND_DONE;
  case KV_COUNT:
    if (!command_number(value, 1, UINT64_MAX, &keys->count))
      return command_usage_error("kv", "--count takes a number, not \"%s\"",
                                 value);
    return COMMAND_DONE;
  default:
    return tool_option(&keys->tool, option, value);
  }
}

/* What follows the options: KEY, or KEY VALUE. */
static int take_arguments(keys *keys, int count, char **arguments) {
  bool sets = strcmp(keys->action->name, "set") == 0;
  if (count != keys->action->arguments)
    return command_usage_error("kv", "%s takes %s", keys->action->name,
                               sets ? "a key and a value" : "one key");
  keys->key = iotops_text_of(arguments[0]);
  if (keys->key.size == 0)
    return command_usage_error("kv", "a key must have at least one byte");
  if (!sets)
    return COMMAND_DONE;
  if (strcmp(arguments[1], "-") == 0)
    return tool_payload(&keys->tool, NULL, "-", &keys->value, &keys->owned);
  keys->value = iotops_text_of(arguments[1]);
  return COMMAND_DONE;
}

static int run(keys *keys) {
  iotops_error err;
  int status = COMMAND_USAGE;
  keys->tool.go = keys->action->go;
  keys->tool.user = keys;
  keys->options.timeout_us = (int64_t)keys->tool.timeout_ms * 1000;
  if (strcmp(keys->action->name, "watch") == 0)
    keys->tool.interrupted_status = COMMAND_DONE;
  if (tool_open(&keys->tool, &err) != 0 ||
      iotops_state_store_new(keys->tool.client, NULL, &keys->store, &err) != 0)
    command_report(&err);
  else
    status = tool_run(&keys->tool);
  if (keys->observation != NULL)
    iotops_store_unobserve(keys->observation, NULL, NULL, NULL, &err);
  iotops_store_scan_free(keys->scan);
  iotops_state_store_free(keys->store);
  tool_close(&keys->tool);
  return status;
}

int command_kv(int argc, char **argv) {
  static const struct option long_options[] = {
      TOOL_LONG_OPTIONS,
      {"nx", no_argument, NULL, KV_NX},
      {"nex", no_argument, NULL, KV_NEX},
      {"expiry", required_argument, NULL, KV_EXPIRY},
      {"persist", no_argument, NULL, KV_PERSIST},
      {"fencing-token", required_argument, NULL, KV_TOKEN},
      {"value", required_argument, NULL, KV_VALUE},
      {"raw", no_argument, NULL, KV_RAW},
      {"count", required_argument, NULL, KV_COUNT},
      {0}};
  keys keys = {.options = IOTOPS_STORE_OPTIONS_INIT};
  int option = 0;
  tool_init(&keys.tool, "kv");
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("kv", option, argv[optind - 1]);
    if (take_option(&keys, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  if (optind == argc)
    return command_usage_error("kv",
                               "it needs one of get, set, del, scan and watch");
  for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
    if (strcmp(actions[i].name, argv[optind]) == 0)
      keys.action = &actions[i];
  if (keys.action == NULL)
    return command_usage_error("kv", "it cannot %s; see its help",
                               argv[optind]);
  int status = take_arguments(&keys, argc - optind - 1, argv + optind + 1);
  if (status == COMMAND_DONE)
    status = run(&keys);
  free(keys.owned);
  return status;
}
