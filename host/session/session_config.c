/* session_config.c -- from settings to what the session works with. */
#include "session/session_config.h"

#include <string.h>

/* What every CONNECT tells an AIO broker besides the user's own pairs. */
static int collect_properties(session_config *config, iotops_context *context,
                              iotops_error *err) {
  const iotops_settings *settings = config->settings;
  iotops_user_property *all =
      iotops_zalloc(context, (settings->user_property_count + 2) * sizeof *all);
  size_t count = 0;

  if (!all)
    return iotops_error_memory(err);
  if (config->aio_features) {
    all[count].name = iotops_text_of("metriccategory");
    all[count++].value = iotops_text_of("aiosdk-lua");
    if (settings_bool(settings, SETTING_AIO_PERSISTENCE)) {
      all[count].name = iotops_text_of("aio-persistence");
      all[count++].value = iotops_text_of("true");
    }
  }
  for (size_t i = 0; i < settings->user_property_count; i++)
    all[count++] = settings->user_properties[i];
  config->user_properties = all;
  config->user_property_count = count;
  return 0;
}

/* What concerns a connection alone. */
static void read_connection(session_config *config) {
  const iotops_settings *settings = config->settings;

  config->keep_alive_s =
      (uint16_t)settings_number(settings, SETTING_KEEP_ALIVE);
  config->session_expiry_s =
      (uint32_t)settings_number(settings, SETTING_SESSION_EXPIRY);
  config->receive_max =
      (uint16_t)settings_number(settings, SETTING_RECEIVE_MAX);
  config->ping_timeout_ms = settings_ping_timeout_s(settings) * 1000;
}

void session_config_renew(session_config *config, iotops_settings *settings) {
  static const setting_id renewed[] = {
      SETTING_HOSTNAME,       SETTING_TCP_PORT,     SETTING_USE_TLS,
      SETTING_CA_FILE,        SETTING_CA_DIRECTORY, SETTING_KEEP_ALIVE,
      SETTING_SESSION_EXPIRY, SETTING_RECEIVE_MAX};

  for (size_t i = 0; i < sizeof renewed / sizeof *renewed; i++) {
    setting_value *own = &config->settings->values[renewed[i]];
    setting_value *other = &settings->values[renewed[i]], old = *own;

    *own = *other;
    *other = old;
  }
  read_connection(config);
  /* The queue of acknowledgements has room for so many. */
  if (config->receive_max > config->max_unacked)
    config->receive_max = config->max_unacked;
}

int session_config_init(session_config *config, iotops_context *context,
                        const iotops_settings *given, iotops_error *err) {
  iotops_settings *settings;

  memset(config, 0, sizeof *config);
  config->settings = settings = iotops_settings_copy(given);
  if (!settings)
    return iotops_error_memory(err);
  config->version = 5;
  config->client_id = settings_string(settings, SETTING_CLIENT_ID);
  config->clean_start = settings_bool(settings, SETTING_CLEAN_START);
  read_connection(config);
  config->max_unacked =
      (uint16_t)settings_number(settings, SETTING_MAX_UNACKED);
  if (config->max_unacked < config->receive_max)
    config->max_unacked = config->receive_max;
  config->packet_size_max =
      (uint32_t)settings_number(settings, SETTING_RECEIVE_PACKET_SIZE_MAX);
  config->connection_timeout_ms =
      settings_number(settings, SETTING_CONNECTION_TIMEOUT) * 1000;
  config->queue_qos0 =
      (size_t)settings_number(settings, SETTING_PUBLISH_QUEUE_QOS0);
  config->queue_qos1 =
      (size_t)settings_number(settings, SETTING_PUBLISH_QUEUE_QOS1);
  switch ((publish_queue_full_mode)settings_number(
      settings, SETTING_PUBLISH_QUEUE_FULL)) {
  case QUEUE_FULL_WAIT:
    config->when_full = OUTBOX_WAIT;
    break;
  case QUEUE_FULL_DROP_NEWEST:
    config->when_full = OUTBOX_DROP_NEWEST;
    break;
  case QUEUE_FULL_DROP_OLDEST:
    config->when_full = OUTBOX_DROP_OLDEST;
    break;
  }
  config->max_inflight =
      (uint16_t)settings_number(settings, SETTING_MAX_INFLIGHT);
  config->aio_features = settings_bool(settings, SETTING_AIO_BROKER_FEATURES);
  config->max_held_bytes = settings_number(settings, SETTING_MAX_HELD_BYTES);
  config->credentials_renewable = settings_credentials_renewable(settings);
  return collect_properties(config, context, err);
}

void session_config_free(session_config *config) {
  if (config->user_properties)
    iotops_free(config->settings->context, config->user_properties);
  config->user_properties = NULL;
  iotops_settings_free(config->settings);
  config->settings = NULL;
}
