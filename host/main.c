/*
** main.c -- the `iotops` program: finds the command and runs it.
*/
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands/command.h"
#include "iotops/api.h"

typedef struct command_entry {
  const char *name;
  int (*run)(int argc, char **argv);
  const char *summary;
} command_entry;

static int command_version(int argc, char **argv) {
  (void)argv;
  if (argc > 1)
    return command_usage_error("version", "it takes no arguments");
  printf("iotops %s\n", iotops_version());
  return COMMAND_DONE;
}

static const command_entry commands[] = {
    {"run", command_run, "run scripts against the configured broker"},
    {"dev", command_dev, "run scripts against a private broker, for trying"},
    {"check", command_check, "load scripts and say what they would do"},
    {"test", command_test, "run the tests of scripts, without a broker"},
    {"replay", command_replay, "feed recorded messages to a script"},
    {"send", command_send, "send one telemetry message"},
    {"invoke", command_invoke, "invoke a command and print its response"},
    {"watch", command_watch, "print the messages that match a filter"},
    {"ctl", command_ctl, "look into a running host and steer it"},
    {"record", command_record, "write messages down, for `iotops replay`"},
    {"kv", command_kv, "read, write and watch keys of the state store"},
    {"lock", command_lock, "run a program while holding a lock"},
    {"standin", command_standin, "serve like one of the platform's services"},
    {"version", command_version, "print the version"},
};

static const size_t command_count = sizeof commands / sizeof commands[0];

static void print_help(FILE *out) {
  fputs("iotops -- Lua edge logic for Azure IoT Operations\n\n"
        "usage: iotops COMMAND [OPTION...] [ARGUMENT...]\n\n",
        out);
  for (size_t i = 0; i < command_count; i++)
    fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
  fputs("\n`iotops COMMAND --help` explains a command.  To try it without a "
        "cluster:\n\n"
        "  iotops dev my_script.lua            in one terminal\n"
        "  iotops watch '#'                    in another\n"
        "  iotops send sensors/s1/temperature '{\"celsius\": 95}'\n\n"
        "Before a script goes live: iotops check my_script.lua, iotops test "
        "my_script.lua.\n\n"
        "The broker is configured by the AIO_* environment variables or the "
        "files that\n"
        "an Azure IoT Operations connector is given; `iotops run --help` lists "
        "them.\n",
        out);
}

int command_usage_error(const char *name, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "iotops %s: ", name);
  vfprintf(stderr, format, args);
  fprintf(stderr, "\n`iotops %s --help` explains the command.\n", name);
  va_end(args);
  return COMMAND_USAGE;
}

int command_option_error(const char *name, int answer, const char *typed) {
  return command_usage_error(
      name, answer == ':' ? "%s needs a value" : "there is no option %s",
      typed);
}

void command_report(const iotops_error *err) {
  fprintf(stderr, "iotops: %s: %s", iotops_error_kind_name(err->kind),
          err->message);
  /* The variable at fault, where the message does not name it. */
  if (err->property_name[0] >= 'A' && err->property_name[0] <= 'Z' &&
      strstr(err->message, err->property_name) == NULL)
    fprintf(stderr, " (%s)", err->property_name);
  if (err->reason_code >= 0 &&
      strstr(err->message, iotops_reason_name(err->reason_code)) == NULL)
    fprintf(stderr, " (reason code 0x%02X, %s)", (unsigned)err->reason_code,
            iotops_reason_name(err->reason_code));
  fputc('\n', stderr);
}

bool command_number(const char *text, uint64_t low, uint64_t high,
                    uint64_t *number) {
  char *end = NULL;
  if (text[0] < '0' || text[0] > '9')
    return false;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || *end != '\0' || value < low || value > high)
    return false;
  *number = value;
  return true;
}

bool command_seconds(const char *text, uint64_t *milliseconds) {
  char *end = NULL;
  if ((text[0] < '0' || text[0] > '9') && text[0] != '.')
    return false;
  errno = 0;
  double value = strtod(text, &end);
  if (errno != 0 || *end != '\0' || !(value >= 0.001) || value > 86400.0 * 365)
    return false;
  *milliseconds = (uint64_t)(value * 1000.0 + 0.5);
  return true;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "";
  /* Options are complained of in our own words. */
  opterr = 0;
  /* What a script prints is seen when it is printed, into a pipe too. */
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
  /* A broken pipe is an error of the write that met it. */
  signal(SIGPIPE, SIG_IGN);
  if (argc < 2) {
    print_help(stderr);
    return COMMAND_USAGE;
  }
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ||
      strcmp(name, "help") == 0) {
    print_help(stdout);
    return COMMAND_DONE;
  }
  if (strcmp(name, "--version") == 0)
    return command_version(1, argv);
  for (size_t i = 0; i < command_count; i++)
    if (strcmp(name, commands[i].name) == 0)
      return commands[i].run(argc - 1, argv + 1);
  fprintf(stderr,
          "iotops: there is no command \"%s\".  `iotops --help` lists what "
          "there is.\n",
          name);
  return COMMAND_USAGE;
}
