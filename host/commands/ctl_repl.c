#include "commands/ctl_repl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/tool.h"

typedef struct repl {
  ctl_link *link;
  const char *script;
  bool json;
  bool terminal;
  char *code; /* owned; what was typed and is not complete */
  size_t size;
  bool failed;
} repl;

static void show(const json_t *answer, bool json) {
  const char *text = json_string_value(json_object_get(answer, "text"));
  const char *error = json_string_value(json_object_get(answer, "error"));
  if (json) {
    json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
  } else if (text != NULL) {
    tool_print_text(iotops_text_of(text));
  } else {
    fflush(stdout);
    fprintf(stderr, "%s\n", error != NULL ? error : "refused");
  }
  fflush(stdout);
}

static int ask(ctl_link *link, const char *script, const char *code,
               json_t **answer) {
  int status = ctl_link_send(link, json_pack("{s:s, s:s, s:s}", "verb", "eval",
                                             "script", script, "code", code));
  return status != COMMAND_DONE ? status : ctl_link_answer(link, answer);
}

/* Appends a line to the code.  False when memory is short. */
static bool gather(repl *repl, const char *line, size_t size) {
  char *code = realloc(repl->code, repl->size + size + 2);
  if (code == NULL)
    return false;
  repl->code = code;
  memcpy(code + repl->size, line, size);
  repl->size += size;
  code[repl->size] = '\0';
  return true;
}

/* Evaluates what was gathered; `last`: no more follows. */
static int evaluate(repl *repl, bool last) {
  json_t *answer = NULL;
  if (repl->size == 0 || strspn(repl->code, " \t\r\n") == repl->size) {
    repl->size = 0;
    return COMMAND_DONE;
  }
  int status = ask(repl->link, repl->script, repl->code, &answer);
  if (status != COMMAND_DONE)
    return status;
  if (json_is_true(json_object_get(answer, "incomplete")) && !last) {
    json_decref(answer);
    return COMMAND_DONE;
  }
  show(answer, repl->json);
  repl->failed = repl->failed || !json_is_true(json_object_get(answer, "ok"));
  repl->size = 0;
  json_decref(answer);
  return COMMAND_DONE;
}

static void prompt(const repl *repl) {
  if (!repl->terminal)
    return;
  printf("%s%s ", repl->script, repl->size > 0 ? ">>" : ">");
  fflush(stdout);
}

int ctl_repl(ctl_link *link, const char *script, bool json) {
  repl repl = {.link = link,
               .script = script,
               .json = json,
               .terminal = isatty(STDIN_FILENO) != 0};
  char *line = NULL;
  size_t room = 0;
  ssize_t size = 0;
  int status = COMMAND_DONE;
  if (repl.terminal)
    printf("Code is evaluated in the running script, under its limits; wait as "
           "you like.\nWhat you assign is yours, `_G.name = value` the "
           "script's.  Control-D ends.\n");
  prompt(&repl);
  while (status == COMMAND_DONE && (size = getline(&line, &room, stdin)) > 0) {
    status = gather(&repl, line, (size_t)size) ? evaluate(&repl, false)
                                               : COMMAND_USAGE;
    if (status == COMMAND_DONE)
      prompt(&repl);
  }
  if (status == COMMAND_DONE)
    status = evaluate(&repl, true);
  if (repl.terminal)
    putchar('\n');
  free(line);
  free(repl.code);
  /* Somebody who is there has seen it. */
  if (status == COMMAND_DONE && repl.failed && !repl.terminal)
    status = COMMAND_REFUSED;
  return status;
}

int ctl_eval(ctl_link *link, const char *script, const char *code, bool json) {
  json_t *answer = NULL;
  int status = ask(link, script, code, &answer);
  if (status != COMMAND_DONE)
    return status;
  show(answer, json);
  if (!json_is_true(json_object_get(answer, "ok")))
    status = COMMAND_REFUSED;
  json_decref(answer);
  return status;
}
