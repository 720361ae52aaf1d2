#include "commands/broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_TIMEOUT_MS = 5000, STOP_TIMEOUT_MS = 5000, PORT_TRIES = 5 };

static void pause_ms(long milliseconds) {
  struct timespec span = {milliseconds / 1000,
                          (milliseconds % 1000) * 1000000L};
  nanosleep(&span, NULL);
}

static struct sockaddr_in loopback(uint16_t port) {
  struct sockaddr_in address = {0};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

/* A port that was free a moment ago; 0 on failure. */
static uint16_t free_port(void) {
  struct sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  uint16_t port = 0;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return 0;
  if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
      getsockname(fd, (struct sockaddr *)&address, &size) == 0)
    port = ntohs(address.sin_port);
  close(fd);
  return port;
}

static bool accepts(uint16_t port) {
  struct sockaddr_in address = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return false;
  bool up = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
  close(fd);
  return up;
}

/* Debian installs mosquitto where only root's PATH leads. */
static const char *program(void) {
  static const char *const places[] = {
      "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/usr/bin/mosquitto",
      "/usr/local/bin/mosquitto", "/opt/homebrew/sbin/mosquitto"};
  for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
    if (access(places[i], X_OK) == 0)
      return places[i];
  return NULL;
}

static int write_configuration(const broker_options *options,
                               const broker *broker, const char *path,
                               iotops_error *err) {
  static const char *const usual[] = {"error", "warning", "notice"};
  const char *const *types =
      options->log_type_count > 0 ? options->log_types : usual;
  size_t type_count = options->log_type_count > 0 ? options->log_type_count : 3;
  FILE *file = fopen(path, "we");
  if (file == NULL)
    return iotops_error_configuration(
        err, "folder", iotops_text_of(broker->folder), "cannot write %s: %s",
        path, strerror(errno));
  fprintf(file,
          "listener %u 127.0.0.1\n"
          "allow_anonymous true\n"
          "persistence true\n"
          "persistence_location %s/\n"
          "max_queued_messages 0\n"
          "max_inflight_messages 0\n"
          "log_dest file %s\n"
          "log_timestamp true\n"
          "log_timestamp_format %%Y-%%m-%%dT%%H:%%M:%%S\n",
          broker->port, broker->folder, broker->log_file);
  if (!options->nagle)
    fputs("set_tcp_nodelay true\n", file);
  /* Else mosquitto changes to a user that cannot write the folder. */
  if (geteuid() == 0)
    fputs("user root\n", file);
  for (size_t i = 0; i < type_count; i++)
    fprintf(file, "log_type %s\n", types[i]);
  for (size_t i = 0; i < options->line_count; i++)
    fprintf(file, "%s\n", options->lines[i]);
  if (fclose(file) != 0)
    return iotops_error_configuration(
        err, "folder", iotops_text_of(broker->folder), "cannot write %s: %s",
        path, strerror(errno));
  return 0;
}

/* In the child: becomes the broker, or exits. */
static void become_broker(const char *mosquitto, const char *configuration,
                          const char *output, pid_t parent) {
  sigset_t none;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent)
    _exit(127); /* it was killed before we could be told */
  setpgid(0, 0);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  int in = open("/dev/null", O_RDONLY);
  int out = open(output, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
  if (in < 0 || out < 0)
    _exit(127);
  dup2(in, 0);
  dup2(out, 1);
  dup2(out, 2);
  execl(mosquitto, "mosquitto", "-c", configuration, (char *)NULL);
  _exit(127);
}

/* What the broker said of errors before it ended. */
static void last_words(const broker *broker, const char *output, char *words,
                       size_t size) {
  const char *const paths[] = {output, broker->log_file};
  size_t used = 0;
  words[0] = '\0';
  for (size_t i = 0; i < 2 && used == 0; i++) {
    char line[400];
    FILE *file = fopen(paths[i], "re");
    if (file == NULL)
      continue;
    while (used < size && fgets(line, sizeof line, file) != NULL) {
      line[strcspn(line, "\n")] = '\0';
      const char *error = strstr(line, "Error");
      if (error != NULL)
        used += (size_t)snprintf(words + used, size - used, "%s%s",
                                 used > 0 ? " " : "", error);
    }
    fclose(file);
  }
}

static int launch(const broker_options *options, const char *mosquitto,
                  broker *broker, iotops_error *err) {
  char configuration[300], output[300], words[800], why[64];
  snprintf(configuration, sizeof configuration, "%s/mosquitto.conf",
           broker->folder);
  snprintf(output, sizeof output, "%s/mosquitto.out", broker->folder);
  unlink(output);
  if (write_configuration(options, broker, configuration, err) != 0)
    return -1;
  pid_t parent = getpid();
  pid_t child = fork();
  if (child < 0)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "cannot start mosquitto: %s", strerror(errno));
  if (child == 0)
    become_broker(mosquitto, configuration, output, parent);
  broker->pid = child;
  for (long waited = 0; waited < START_TIMEOUT_MS; waited += 10) {
    if (broker_ended(broker, why, sizeof why)) {
      last_words(broker, output, words, sizeof words);
      return iotops_error_set(err, IOTOPS_INVALID_CONFIGURATION,
                              "mosquitto did not start (%s)%s%s", why,
                              words[0] != '\0' ? ": " : "", words);
    }
    if (accepts(broker->port))
      return 0;
    pause_ms(10);
  }
  return iotops_error_set(err, IOTOPS_TIMEOUT,
                          "mosquitto did not accept connections on port %u "
                          "within %d s; its log is %s",
                          broker->port, START_TIMEOUT_MS / 1000,
                          broker->log_file);
}

static int make_folder(const broker_options *options, broker *broker,
                       iotops_error *err) {
  const char *temporary = getenv("TMPDIR");
  if (options->folder == NULL) {
    broker->temporary = true;
    snprintf(broker->folder, sizeof broker->folder, "%.200s/iotops-dev-XXXXXX",
             temporary != NULL && temporary[0] == '/' ? temporary : "/tmp");
    if (mkdtemp(broker->folder) == NULL)
      return iotops_error_configuration(err, "TMPDIR",
                                        iotops_text_of(temporary),
                                        "cannot make a temporary folder %s: %s",
                                        broker->folder, strerror(errno));
    return 0;
  }
  if ((mkdir(options->folder, 0700) != 0 && errno != EEXIST) ||
      strlen(options->folder) > 200)
    return iotops_error_configuration(
        err, "folder", iotops_text_of(options->folder),
        "cannot make the folder %s: %s", options->folder, strerror(errno));
  /* mosquitto is given full paths: it may be started from anywhere. */
  char *full = realpath(options->folder, NULL);
  if (full == NULL || strlen(full) >= sizeof broker->folder) {
    free(full);
    return iotops_error_configuration(
        err, "folder", iotops_text_of(options->folder),
        "cannot use the folder %s", options->folder);
  }
  snprintf(broker->folder, sizeof broker->folder, "%s", full);
  free(full);
  return 0;
}

int broker_start(const broker_options *options, broker *broker,
                 iotops_error *err) {
  const char *mosquitto = program();
  int tries = options->port != 0 ? 1 : PORT_TRIES;
  int result = -1;
  memset(broker, 0, sizeof *broker);
  if (mosquitto == NULL)
    return iotops_error_set(err, IOTOPS_INVALID_CONFIGURATION,
                            "mosquitto is not installed; on Debian: "
                            "apt-get install mosquitto");
  if (make_folder(options, broker, err) != 0)
    goto done;
  if (options->log_file != NULL)
    snprintf(broker->log_file, sizeof broker->log_file, "%s",
             options->log_file);
  else
    snprintf(broker->log_file, sizeof broker->log_file, "%s/broker.log",
             broker->folder);
  /* Another process may take the port between our look and mosquitto's. */
  for (; tries > 0 && result != 0; tries--) {
    broker->port = options->port != 0 ? options->port : free_port();
    result = launch(options, mosquitto, broker, err);
    if (result != 0 && broker->pid != 0)
      break;
  }
done:
  if (result != 0)
    broker_stop(broker);
  return result;
}

bool broker_ended(broker *broker, char *why, size_t size) {
  int status = 0;
  if (broker->pid == 0 || waitpid(broker->pid, &status, WNOHANG) == 0)
    return false;
  broker->pid = 0;
  if (WIFSIGNALED(status))
    snprintf(why, size, "killed by signal %d", WTERMSIG(status));
  else
    snprintf(why, size, "exit status %d", WEXITSTATUS(status));
  return true;
}

void broker_stop(broker *broker) {
  char why[64];
  if (broker->pid != 0) {
    kill(broker->pid, SIGTERM);
    for (long waited = 0; waited < STOP_TIMEOUT_MS; waited += 10) {
      if (broker_ended(broker, why, sizeof why))
        break;
      pause_ms(10);
    }
    if (broker->pid != 0) {
      kill(broker->pid, SIGKILL);
      waitpid(broker->pid, NULL, 0);
      broker->pid = 0;
    }
  }
  if (broker->temporary && broker->folder[0] != '\0')
    broker_remove_folder(broker->folder);
  broker->temporary = false;
}

static int remove_entry(const char *path, const struct stat *info, int kind,
                        struct FTW *walk) {
  (void)info;
  (void)kind;
  (void)walk;
  remove(path);
  return 0;
}

void broker_remove_folder(const char *folder) {
  nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
