/*
** run.c -- `iotops run`: scripts against the configured broker.
*/
#include <stdio.h>

#include "commands/command.h"
#include "commands/serve.h"

static void print_help(void) {
  printf(
      "iotops run -- run scripts against the configured broker\n\n"
      "usage: iotops run [OPTION...] FILE|FOLDER...\n\n"
      "Each script runs in a Lua state of its own; all share one session.  "
      "A folder\n"
      "stands for the *.lua files in it; modules that scripts share belong "
      "in folders\n"
      "below.  A script is reloaded when its file changes and on SIGHUP: the "
      "new\n"
      "version takes over between two messages, and one that cannot be "
      "loaded changes\n"
      "nothing.\n\n%s\n"
      "The broker, from the environment:\n"
      "  AIO_BROKER_HOSTNAME, AIO_BROKER_TCP_PORT (8883), AIO_MQTT_USE_TLS "
      "(true),\n"
      "  AIO_MQTT_CLIENT_ID, AIO_MQTT_CLEAN_START (false), "
      "AIO_MQTT_KEEP_ALIVE (60),\n"
      "  AIO_MQTT_SESSION_EXPIRY (3600), AIO_MQTT_USERNAME, "
      "AIO_MQTT_PASSWORD_FILE,\n"
      "  AIO_TLS_CA_FILE, AIO_TLS_CERT_FILE, AIO_TLS_KEY_FILE,\n"
      "  AIO_TLS_KEY_PASSWORD_FILE, AIO_SAT_FILE\n"
      "or, in a connector, from the files below "
      "CONNECTOR_CONFIGURATION_MOUNT_PATH.\n"
      "IOTOPS_TOPIC_NAMESPACE is put before the topics of all scripts.\n\n"
      "Signals: SIGTERM and SIGINT finish what is in hand and detach, a "
      "second one\n"
      "detaches at once; SIGHUP looks for changed scripts; SIGUSR1 logs "
      "each script's\n"
      "counters.\n\n"
      "Exit status: 0 stopped by a signal, 1 the session ended by an error, "
      "2 arguments\n"
      "or configuration, 3 the broker never let it in, 5 the broker has lost "
      "the session,\n130 stopped at once.\n",
      serve_options_help);
}

static bool has_broker(const host *host) {
  iotops_text name = iotops_settings_get(host->settings, "hostname");
  return name.data != NULL && name.size > 0;
}

int command_run(int argc, char **argv) {
  static const struct option long_options[] = {SERVE_LONG_OPTIONS, {0}};
  serve_options options = SERVE_OPTIONS_INIT;
  host *host = NULL;
  iotops_error err;
  int option = 0, status = COMMAND_USAGE;
  while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
    if (option == 'h') {
      print_help();
      return COMMAND_DONE;
    }
    if (option == '?' || option == ':')
      return command_option_error("run", option, argv[optind - 1]);
    if (serve_option("run", &options, option, optarg) != COMMAND_DONE)
      return COMMAND_USAGE;
  }
  if (optind == argc)
    return command_usage_error("run", "it needs a script or a folder of "
                                      "scripts");
  if (host_new(&options.host, &host, &err) != 0)
    goto failed;
  for (int i = optind; i < argc; i++)
    if (host_add(host, argv[i], &err) != 0)
      goto failed;
  if (host_configure(host, &err) != 0 ||
      serve_settings(&options, host, &err) != 0)
    goto failed;
  if (!has_broker(host)) {
    fputs("iotops run: no broker is configured.  Set AIO_BROKER_HOSTNAME and "
          "AIO_MQTT_CLIENT_ID\n(`iotops run --help` lists all of them), or try "
          "the scripts on a private broker:\n  iotops dev",
          stderr);
    for (int i = optind; i < argc; i++)
      fprintf(stderr, " %s", argv[i]);
    fputc('\n', stderr);
    goto done;
  }
  host_result result = host_run(host, &err);
  status = serve_status(result);
  if (result == HOST_FAILED) {
    status = COMMAND_USAGE;
    goto failed;
  }
  goto done;
failed:
  command_report(&err);
done:
  host_free(host);
  return status;
}
