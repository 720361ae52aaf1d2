/*
** dev.c -- `iotops dev`: scripts against a private broker.
*/
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "commands/broker.h"
#include "commands/command.h"
#include "commands/dev_record.h"
#include "commands/serve.h"
#include "commands/standins.h"

enum {
  DEV_BROKER_ONLY = SERVE_OPTION_END,
  DEV_PORT,
  DEV_FOLDER,
  DEV_PORT_FILE,
  DEV_BROKER_LOG,
  DEV_BROKER_LOG_TYPE,
  DEV_BROKER_LINE,
  DEV_NAGLE,
  DEV_PRIVATE,
  DEV_WITHOUT
};

enum { DEV_LINES = 32 };

typedef struct dev {
  serve_options serve;
  broker_options broker;
  const char *types[DEV_LINES];
  const char *lines[DEV_LINES];
  const char *port_file;
  bool broker_only;
  bool private; /* not written down for the tools */
  struct broker running;
  standins standins;
  host *host; /* NULL when there is none */
} dev;

static void print_help(void) {
  printf(
      "iotops dev -- run scripts against a private broker\n\n"
      "usage: iotops dev [OPTION...] [FILE|FOLDER...]\n"
      "       iotops dev --broker-only [OPTION...]\n\n"
      "Starts a mosquitto on a free port of 127.0.0.1, runs the scripts "
      "against "
      "it like\n"
      "`iotops run`, and takes the broker down at the end.  Beside it runs a "
      "stand-in for\n"
      "the state store.  Without scripts it is just the broker and the "
      "stand-in.  `iotops\n"
      "send`, `invoke`, `watch`, `kv` and `lock` find them by themselves "
      "while no AIO_*\n"
      "broker is configured.\n\n%s\n"
      "  --broker-only            the broker alone, without anything else\n"
      "  --without NAME           without the stand-in of this name: "
      "statestore\n"
      "  --port PORT              its port (a free one)\n"
      "  --folder FOLDER          keep what it stores here (a temporary "
      "folder,\n"
      "                           removed at the end)\n"
      "  --port-file FILE         write the port here once it can be reached\n"
      "  --broker-log FILE        its log (broker.log in its folder)\n"
      "  --broker-log-type TYPE   mosquitto's log_type; may be repeated\n"
      "                           (error, warning, notice)\n"
      "  --broker-line LINE       add a line to its configuration; may be\n"
      "                           repeated\n"
      "  --nagle                  leave TCP_NODELAY off, as mosquitto does by\n"
      "                           default\n"
      "  --private                do not let the tools find it\n\n"
      "Exit status: as `iotops run`; 1 also when the broker has died.\n",
      serve_options_help);
}

static int take_option(dev *dev, int option, const char *value) {
  uint64_t port = 0;
  switch (option) {
  case DEV_BROKER_ONLY:
    dev->broker_only = true;
    break;
  case DEV_PORT:
    if (!command_number(value, 1, 65535, &port))
      return command_usage_error(
          "dev", "--port takes a number from 1 to 65535, not \"%s\"", value);
    dev->broker.port = (uint16_t)port;
    break;
  case DEV_FOLDER:
    dev->broker.folder = value;
    break;
  case DEV_PORT_FILE:
    dev->port_file = value;
    break;
  case DEV_BROKER_LOG:
    dev->broker.log_file = value;
    break;
  case DEV_BROKER_LOG_TYPE:
  case DEV_BROKER_LINE:
    if (dev->broker.log_type_count == DEV_LINES ||
        dev->broker.line_count == DEV_LINES)
      return command_usage_error("dev", "more than %d lines", DEV_LINES);
    if (strpbrk(value, "\r\n") != NULL)
      return command_usage_error("dev", "one line at a time");
    if (option == DEV_BROKER_LOG_TYPE)
      dev->types[dev->broker.log_type_count++] = value;
    else
      dev->lines[dev->broker.line_count++] = value;
    break;
  case DEV_NAGLE:
    dev->broker.nagle = true;
    break;
  case DEV_PRIVATE:
    dev->private = true;
    break;
  case DEV_WITHOUT:
    if (!standins_without(&dev->standins, value))
      return command_usage_error("dev", "there is no stand-in called %s",
                                 value);
    break;
  default:
    return serve_option("dev", &dev->serve, option, value);
  }
  return COMMAND_DONE;
}

/* Written aside and renamed: whoever waits for the file finds it whole. */
static int write_port(const dev *dev, iotops_error *err) {
  char aside[4096];
  if (dev->port_file == NULL)
    return 0;
  snprintf(aside, sizeof aside, "%.4000s.new", dev->port_file);
  FILE *file = fopen(aside, "we");
  if (file == NULL || fprintf(file, "%u\n", dev->running.port) < 0 ||
      fclose(file) != 0 || rename(aside, dev->port_file) != 0)
    return iotops_error_configuration(
        err, "--port-file", iotops_text_of(dev->port_file),
        "cannot write %s: %s", dev->port_file, strerror(errno));
  return 0;
}

static void announce(const dev *dev) {
  printf("broker:  mosquitto on 127.0.0.1 port %u, log %s\n"
         "tools:   iotops watch '#'; iotops kv set a 1\n"
         "others:  mosquitto_pub -V 5 -p %u ...\n"
         "scripts: AIO_BROKER_HOSTNAME=127.0.0.1 AIO_BROKER_TCP_PORT=%u "
         "AIO_MQTT_USE_TLS=false \\\n"
         "         AIO_MQTT_CLIENT_ID=... iotops run ...\n",
         dev->running.port, dev->running.log_file, dev->running.port,
         dev->running.port);
  fflush(stdout);
}

static void report_death(dev *dev, const char *why) {
  fprintf(stderr, "iotops dev: the broker has ended (%s)%s%s\n", why,
          dev->running.temporary ? "" : "; its log is ",
          dev->running.temporary ? "" : dev->running.log_file);
}

/* SIGCHLD came while the host runs. */
static void child_ended(void *user) {
  dev *dev = user;
  char why[64];
  standins_look(&dev->standins);
  if (!broker_ended(&dev->running, why, sizeof why))
    return;
  report_death(dev, why);
  host_fail(dev->host);
}

/* Waits for the end of the broker or for a signal, without a host. */
static int wait_alone(dev *dev) {
  sigset_t set;
  char why[64];
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  sigaddset(&set, SIGCHLD);
  for (;;) {
    int number = 0;
    /* Looked at first: it may have ended before we listened. */
    if (broker_ended(&dev->running, why, sizeof why)) {
      report_death(dev, why);
      return COMMAND_REFUSED;
    }
    standins_look(&dev->standins);
    if (sigwait(&set, &number) == 0 && (number == SIGTERM || number == SIGINT))
      return COMMAND_DONE;
  }
}

static void block_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGHUP);
  sigaddset(&set, SIGCHLD);
  sigprocmask(SIG_BLOCK, &set, NULL);
}

static int set(host *host, const char *name, const char *value,
               iotops_error *err) {
  return iotops_settings_set(host->settings, name, iotops_text_of(value), err);
}

static int configure(dev *dev, iotops_error *err) {
  const char *id = getenv("AIO_MQTT_CLIENT_ID");
  char port[8];
  snprintf(port, sizeof port, "%u", dev->running.port);
  if (set(dev->host, "hostname", "127.0.0.1", err) != 0 ||
      set(dev->host, "tcp_port", port, err) != 0 ||
      set(dev->host, "use_tls", "false", err) != 0 ||
      set(dev->host, "client_id",
          id != NULL && id[0] != '\0' ? id : "iotops-dev", err) != 0)
    return -1;
  return serve_settings(&dev->serve, dev->host, err);
}

/* The stand-ins serve before anybody is told where the broker is. */
static int start_broker(dev *dev, iotops_error *err) {
  if (broker_start(&dev->broker, &dev->running, err) != 0)
    return -1;
  if (!dev->broker_only &&
      standins_start(&dev->standins, &dev->running, err) != 0)
    return -1;
  if (write_port(dev, err) != 0)
    return -1;
  return dev->private ? 0 : dev_record_write(&dev->running, err);
}

static int serve(dev *dev, int path_count, char **paths) {
  iotops_error err;
  dev->serve.host.child = child_ended;
  dev->serve.host.child_user = dev;
  int status = COMMAND_USAGE;
  if (host_new(&dev->serve.host, &dev->host, &err) != 0)
    goto failed;
  for (int i = 0; i < path_count; i++)
    if (host_add(dev->host, paths[i], &err) != 0)
      goto failed;
  /* The broker comes last: a mistake in the arguments needs none. */
  if (start_broker(dev, &err) != 0 || configure(dev, &err) != 0)
    goto failed;
  announce(dev);
  err.kind = IOTOPS_NO_ERROR;
  status = serve_status(host_run(dev->host, &err));
  if (err.kind == IOTOPS_NO_ERROR)
    goto done;
  status = COMMAND_USAGE;
failed:
  command_report(&err);
done:
  host_free(dev->host);
  return status;
}

static int serve_broker(dev *dev) {
  iotops_error err;
  if (start_broker(dev, &err) != 0) {
    command_report(&err);
    return COMMAND_USAGE;
  }
  announce(dev);
  return wait_alone(dev);
}

int command_dev(int argc, char **argv) {
  static const struct option long_options[] = {
      SERVE_LONG_OPTIONS,
      {"broker-only", no_argument, NULL, DEV_BROKER_ONLY},
      {"port", required_argument, NULL, DEV_PORT},
      {"folder", required_argument, NULL, DEV_FOLDER},
      {"port-file", required_argument, NULL, DEV_PORT_FILE},
      {"broker-log", required_argument, NULL, DEV_BROKER_LOG},
      {"broker-log-type", required_argument, NULL, DEV_BROKER_LOG_TYPE},
      {"broker-line", required_argument, NULL, DEV_BROKER_LINE},
      {"nagle", no_argument, NULL, DEV_NAGLE},
      {"private", no_argument, NULL, DEV_PRIVATE},
      {"without", required_argument, NULL, DEV_WITHOUT},
      {0}};
  dev dev = {.serve = SERVE_OPTIONS_INIT};
  int option = 0;
  dev.broker.log_types = dev.types;
  dev.broker.lines = dev.lines;
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("dev", option, argv[optind - 1]);
    if (take_option(&dev, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  if (dev.broker_only && optind < argc)
    return command_usage_error("dev", "--broker-only takes no scripts");
  dev_record_clean();
  /* From here on no signal ends us without our taking the broker down. */
  block_signals();
  int status = optind == argc ? serve_broker(&dev)
                              : serve(&dev, argc - optind, argv + optind);
  if (!dev.private)
    dev_record_remove();
  standins_stop(&dev.standins);
  broker_stop(&dev.running);
  return status;
}
