/*
** lock.c -- `iotops lock`: a program that runs while a lock is held.
**
** The program is the head of a process group, which is ended when the lease is
** lost; and it is ended when we are killed, since nobody renews the lease then.
*/
#include "iotops/lock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands/command.h"
#include "commands/tool.h"

enum { LOCK_LEASE = TOOL_OPTION_END, LOCK_RENEW, LOCK_WAIT, LOCK_HOLDER };

enum {
  GRACE_MS = 5000,     /* from SIGTERM to SIGKILL */
  CANNOT_RUN = 126,    /* as shells say it */
  NOT_FOUND = 127,     /* "" */
  SIGNAL_STATUS = 128, /* plus the signal that ended the program */
};

typedef struct locking {
  tool tool;
  const char *name, *holder; /* borrowed */
  char **command;            /* borrowed */
  iotops_acquire_options options;
  iotops_state_store *store; /* owned */
  iotops_lock *lock;         /* owned */
  pid_t pid;                 /* 0: not running */
  int status;                /* to exit with once the program has ended */
  bool lost;
  iotops_timer kill;
} locking;

static void print_help(void) {
  printf(
      "iotops lock -- run a program while holding a lock\n\n"
      "usage: iotops lock [OPTION...] NAME -- COMMAND [ARGUMENT...]\n\n"
      "Waits for the lock, runs the command, renews the lease meanwhile, and "
      "lets go at\nthe end.  When the lease is lost the command is ended: "
      "SIGTERM, after 5 s SIGKILL.\nIt finds the fencing token in "
      "IOTOPS_FENCING_TOKEN; what it writes with that token\n(`iotops kv set "
      "--fencing-token`) is refused once someone newer has written.\n\n"
      "  --lease SECONDS       the lock is free so long after we vanish (10)\n"
      "  --renew SECONDS       renew the lease so often (a third of it)\n"
      "  --wait SECONDS        wait for the lock no longer than this\n"
      "  --holder NAME         hold it under this name (the client id)\n%s\n"
      "Exit status: the command's own; 1 the lease was lost or refused, 2 "
      "arguments or\nconfiguration, 3 no connection, 4 the lock was not to "
      "be had in time.\n\n"
      "  iotops lock nightly-report -- ./report.sh\n",
      tool_options_help);
}

/* --------------------------------------------------------- the program -- */

static void become(char **command, pid_t parent) {
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent)
    _exit(NOT_FOUND);
  setpgid(0, 0);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  execvp(command[0], command);
  int failure = errno;
  fprintf(stderr, "iotops lock: cannot run %s: %s\n", command[0],
          strerror(failure));
  _exit(failure == ENOENT ? NOT_FOUND : CANNOT_RUN);
}

static void end_program(locking *locking) {
  if (locking->pid == 0)
    return;
  kill(-locking->pid, SIGTERM);
  iotops_timer_start(locking->tool.context, &locking->kill, GRACE_MS);
}

static void kill_program(iotops_timer *timer) {
  const locking *locking = timer->user;
  if (locking->pid != 0)
    kill(-locking->pid, SIGKILL);
}

static void start_program(locking *locking) {
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0)
    become(locking->command, parent);
  if (pid < 0) {
    fprintf(stderr, "iotops lock: cannot fork: %s\n", strerror(errno));
    tool_finish(&locking->tool, COMMAND_REFUSED);
    return;
  }
  setpgid(pid, pid); /* whoever comes first */
  locking->pid = pid;
}

static void released(void *user, const iotops_store_result *result,
                     const iotops_error *err) {
  locking *locking = user;
  (void)result;
  if (err != NULL)
    fprintf(stderr, "iotops lock: the lock was not released: %s\n",
            err->message);
  tool_finish(&locking->tool, locking->status);
}

/* SIGCHLD, SIGINT or SIGTERM. */
static bool signalled(tool *tool, int number) {
  locking *locking = tool->user;
  iotops_error err;
  int status = 0;
  if (locking->pid == 0)
    return false;
  if (number == SIGINT || number == SIGTERM)
    end_program(locking);
  if (number != SIGCHLD || waitpid(locking->pid, &status, WNOHANG) <= 0)
    return true;
  locking->pid = 0;
  iotops_timer_stop(tool->context, &locking->kill);
  locking->status = locking->lost         ? COMMAND_REFUSED
                    : WIFEXITED(status)   ? WEXITSTATUS(status)
                    : WIFSIGNALED(status) ? SIGNAL_STATUS + WTERMSIG(status)
                                          : COMMAND_REFUSED;
  if (tool->ended || locking->lost ||
      iotops_lock_release(locking->lock, 2000000, released, locking, &err) != 0)
    tool_finish(tool, locking->status);
  return true;
}

/* ------------------------------------------------------------ the lock -- */

static void lost(void *user, const iotops_error *err) {
  locking *locking = user;
  fprintf(stderr, "iotops lock: the lease was lost (%s); ending %s\n",
          err->message, locking->command[0]);
  locking->lost = true;
  end_program(locking);
}

static void acquired(void *user, const iotops_hlc *token,
                     const iotops_error *err) {
  locking *locking = user;
  char text[IOTOPS_HLC_TEXT_SIZE];
  if (err != NULL) {
    tool_fail(&locking->tool, err);
    return;
  }
  iotops_hlc_format(token, text);
  setenv("IOTOPS_FENCING_TOKEN", text, 1);
  if (!locking->tool.finishing)
    start_program(locking);
}

static void go(tool *tool) {
  locking *locking = tool->user;
  iotops_error err;
  if (iotops_lock_acquire(locking->lock, &locking->options, acquired, locking,
                          &err) != 0)
    tool_fail(tool, &err);
}

static int make_lock(locking *locking, iotops_error *err) {
  iotops_lock_options options = IOTOPS_LOCK_OPTIONS_INIT;
  options.name = iotops_text_of(locking->name);
  if (locking->holder != NULL)
    options.holder = iotops_text_of(locking->holder);
  options.lost = lost;
  options.user = locking;
  if (iotops_state_store_new(locking->tool.client, NULL, &locking->store,
                             err) != 0)
    return -1;
  return iotops_lock_new(locking->store, &options, &locking->lock, err);
}

/* ----------------------------------------------------------- arguments -- */

static int take_seconds(const char *option, const char *value, int64_t *ms) {
  uint64_t milliseconds = 0;
  if (!command_seconds(value, &milliseconds))
    return command_usage_error(
        "lock", "%s takes seconds, such as 10, not \"%s\"", option, value);
  *ms = (int64_t)milliseconds;
  return COMMAND_DONE;
}

static int take_option(locking *locking, int option, const char *value) {
  switch (option) {
  case LOCK_LEASE:
    return take_seconds("--lease", value, &locking->options.lease_ms);
  case LOCK_RENEW:
    return take_seconds("--renew", value, &locking->options.renew_ms);
  case LOCK_WAIT:
    return take_seconds("--wait", value, &locking->options.wait_ms);
  case LOCK_HOLDER:
    locking->holder = value;
    return COMMAND_DONE;
  default:
    return tool_option(&locking->tool, option, value);
  }
}

static int run(locking *locking) {
  iotops_error err;
  int status = COMMAND_USAGE;
  locking->tool.go = go;
  locking->tool.signalled = signalled;
  locking->tool.user = locking;
  locking->kill.fire = kill_program;
  locking->kill.user = locking;
  locking->options.timeout_us = (int64_t)locking->tool.timeout_ms * 1000;
  if (locking->options.renew_ms == 0)
    locking->options.renew_ms = (locking->options.lease_ms + 2) / 3;
  if (tool_open(&locking->tool, &err) != 0 || make_lock(locking, &err) != 0)
    command_report(&err);
  else
    status = tool_run(&locking->tool);
  if (locking->pid != 0) { /* the session has ended before the program */
    kill(-locking->pid, SIGKILL);
    waitpid(locking->pid, NULL, 0);
  }
  if (locking->tool.context != NULL)
    iotops_timer_stop(locking->tool.context, &locking->kill);
  iotops_lock_free(locking->lock);
  iotops_state_store_free(locking->store);
  tool_close(&locking->tool);
  return status;
}

int command_lock(int argc, char **argv) {
  static const struct option long_options[] = {
      TOOL_LONG_OPTIONS,
      {"lease", required_argument, NULL, LOCK_LEASE},
      {"renew", required_argument, NULL, LOCK_RENEW},
      {"wait", required_argument, NULL, LOCK_WAIT},
      {"holder", required_argument, NULL, LOCK_HOLDER},
      {0}};
  locking locking = {.options = IOTOPS_ACQUIRE_OPTIONS_INIT};
  int option = 0;
  tool_init(&locking.tool, "lock");
  /* What follows NAME is the command's, options included. */
  while ((option = getopt_long(argc, argv, "+:h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("lock", option, argv[optind - 1]);
    if (take_option(&locking, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  if (argc - optind < 1 || argv[optind][0] == '\0')
    return command_usage_error("lock", "it needs the name of a lock");
  locking.name = argv[optind++];
  if (optind < argc && strcmp(argv[optind], "--") == 0)
    optind++;
  if (optind == argc)
    return command_usage_error("lock", "it needs a command to run");
  locking.command = argv + optind;
  return run(&locking);
}
