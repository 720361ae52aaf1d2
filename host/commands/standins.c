#include "commands/standins.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const standin_entry standin_entries[STANDIN_COUNT] = {
    {"statestore", "the state store"},
};

enum {
  READY_MS = 5000,
  STOP_MS = 3000,
  RESTART_PAUSE_MS = 1000 /* for one that has just been started */
};

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void pause_ms(long milliseconds) {
  struct timespec span = {milliseconds / 1000,
                          (milliseconds % 1000) * 1000000L};
  nanosleep(&span, NULL);
}

bool standins_without(standins *standins, const char *name) {
  for (size_t i = 0; i < STANDIN_COUNT; i++)
    if (strcmp(standin_entries[i].name, name) == 0) {
      standins->children[i].left_out = true;
      return true;
    }
  return false;
}

/* --------------------------------------------------------------- child -- */

/* What is configured for other programs must not reach it. */
static void set_environment(const broker *broker) {
  static const char *const others[] = {"CONNECTOR_CONFIGURATION_MOUNT_PATH",
                                       "AIO_MQTT_CLIENT_ID",
                                       "AIO_MQTT_USERNAME",
                                       "AIO_MQTT_PASSWORD_FILE",
                                       "AIO_SAT_FILE",
                                       "AIO_TLS_CA_FILE",
                                       "AIO_TLS_CERT_FILE",
                                       "AIO_TLS_KEY_FILE",
                                       "AIO_TLS_KEY_PASSWORD_FILE"};
  char port[8];
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    unsetenv(others[i]);
  snprintf(port, sizeof port, "%u", broker->port);
  setenv("AIO_BROKER_HOSTNAME", "127.0.0.1", 1);
  setenv("AIO_BROKER_TCP_PORT", port, 1);
  setenv("AIO_MQTT_USE_TLS", "false", 1);
}

/* Becomes the stand-in, or exits.  `ready` is its standard output, or -1. */
static void become(const char *name, const broker *broker, int ready,
                   long pause, pid_t parent) {
  char log[400], state[400];
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent)
    _exit(127);
  setpgid(0, 0);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGTERM, SIG_DFL);
  pause_ms(pause);
  set_environment(broker);
  snprintf(log, sizeof log, "%s/%s.log", broker->folder, name);
  snprintf(state, sizeof state, "%s/%s.journal", broker->folder, name);
  int in = open("/dev/null", O_RDONLY);
  int out = open(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  if (in < 0 || out < 0)
    _exit(127);
  dup2(in, 0);
  dup2(ready >= 0 ? ready : out, 1);
  dup2(out, 2);
  execl("/proc/self/exe", "iotops", "standin", name, "--state-file", state,
        (char *)NULL);
  _exit(127);
}

static int start_child(standins *standins, size_t index, int ready) {
  standin_child *child = &standins->children[index];
  pid_t parent = getpid();
  uint64_t now = now_ms();
  bool hasty =
      child->started_ms != 0 && now - child->started_ms < RESTART_PAUSE_MS;
  pid_t pid = fork();
  if (pid == 0)
    become(standin_entries[index].name, standins->broker, ready,
           hasty ? RESTART_PAUSE_MS : 0, parent);
  if (pid < 0)
    return -1;
  child->pid = pid;
  child->started_ms = now;
  return 0;
}

/* --------------------------------------------------------------- start -- */

/* Whether the line that says so comes in time. */
static bool await_ready(int fd) {
  char line[64];
  uint64_t ends = now_ms() + READY_MS;
  for (;;) {
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    uint64_t now = now_ms();
    if (now >= ends)
      return false;
    int count = poll(&ready, 1, (int)(ends - now));
    if (count < 0 && errno == EINTR)
      continue;
    return count == 1 && read(fd, line, sizeof line) > 0;
  }
}

static int start_ready(standins *standins, size_t index, iotops_error *err) {
  const char *name = standin_entries[index].name;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    return iotops_error_set(err, IOTOPS_INVALID_STATE, "cannot make a pipe: %s",
                            strerror(errno));
  int failed = start_child(standins, index, ends[1]);
  close(ends[1]);
  bool ready = failed == 0 && await_ready(ends[0]);
  close(ends[0]);
  if (ready)
    return 0;
  if (failed != 0)
    return iotops_error_set(err, IOTOPS_INVALID_STATE, "cannot fork: %s",
                            strerror(errno));
  return iotops_error_set(err, IOTOPS_TIMEOUT,
                          "the stand-in %s did not start; its log is %s/%s.log",
                          name, standins->broker->folder, name);
}

int standins_start(standins *standins, const broker *broker,
                   iotops_error *err) {
  standins->broker = broker;
  for (size_t i = 0; i < STANDIN_COUNT; i++)
    if (!standins->children[i].left_out && start_ready(standins, i, err) != 0)
      return -1;
  return 0;
}

void standins_look(standins *standins) {
  for (size_t i = 0; i < STANDIN_COUNT && standins->broker != NULL; i++) {
    standin_child *child = &standins->children[i];
    int status = 0;
    if (child->pid == 0 || waitpid(child->pid, &status, WNOHANG) == 0)
      continue;
    child->pid = 0;
    fprintf(stderr,
            "iotops dev: the stand-in %s has ended (%s %d); starting it "
            "again\n",
            standin_entries[i].name,
            WIFSIGNALED(status) ? "killed by signal" : "exit status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (start_child(standins, i, -1) != 0)
      fprintf(stderr, "iotops dev: cannot fork: %s\n", strerror(errno));
  }
}

static void stop_child(standin_child *child) {
  kill(child->pid, SIGTERM);
  for (long waited = 0; waited < STOP_MS; waited += 10) {
    if (waitpid(child->pid, NULL, WNOHANG) != 0) {
      child->pid = 0;
      return;
    }
    pause_ms(10);
  }
  kill(child->pid, SIGKILL);
  waitpid(child->pid, NULL, 0);
  child->pid = 0;
}

void standins_stop(standins *standins) {
  for (size_t i = 0; i < STANDIN_COUNT; i++)
    if (standins->children[i].pid != 0)
      stop_child(&standins->children[i]);
  standins->broker = NULL;
}
