/* engine.c -- libmosquitto on a loopback stream, pumped by byte count. */
#include "session/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_TCP
#define IPPROTO_TCP 6
#endif

enum {
  CHUNK = 32 * 1024,    /* written to the loopback before it is consumed */
  PATIENCE_MS = 10,     /* one wait for bytes that should have been there */
  PATIENCE_TRIES = 200, /* such waits before the stream counts as broken */
  ACCEPT_MS = 2000
};

struct engine {
  iotops_context *context;
  struct mosquitto *mosquitto; /* owned */
  int peer;                    /* our end of the loopback; -1: closed */
  uint64_t given, taken;       /* bytes each way on this stream */
  uint16_t last_id;
  unsigned handed_on; /* packets that wait to be written */
  bool counted;       /* the kernel can say how many bytes went each way */
  int version;
};

/* libmosquitto's count of its users is not safe across threads. */
static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

static int library_begin(void) {
  int rc;

  pthread_mutex_lock(&library_lock);
  rc = mosquitto_lib_init();
  pthread_mutex_unlock(&library_lock);
  return rc;
}

static void library_end(void) {
  pthread_mutex_lock(&library_lock);
  mosquitto_lib_cleanup();
  pthread_mutex_unlock(&library_lock);
}

/* -------------------------------------------------------------- life -- */

int engine_new(iotops_context *context, const char *client_id, int version,
               uint16_t receive_max, engine **result, iotops_error *err) {
  engine *engine = iotops_zalloc(context, sizeof *engine);

  *result = NULL;
  if (!engine)
    return iotops_error_memory(err);
  engine->context = context;
  engine->peer = -1;
  engine->version = version;
  if (library_begin() != MOSQ_ERR_SUCCESS) {
    iotops_free(context, engine);
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "cannot initialise libmosquitto");
  }
  /* Clean start is a matter of the CONNECT that the filter writes. */
  engine->mosquitto = mosquitto_new(client_id, false, engine);
  if (!engine->mosquitto) {
    int error = errno;

    library_end();
    iotops_free(context, engine);
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "cannot make a libmosquitto client: %s",
                            strerror(error));
  }
  mosquitto_int_option(engine->mosquitto, MOSQ_OPT_PROTOCOL_VERSION,
                       version == 5 ? MQTT_PROTOCOL_V5 : MQTT_PROTOCOL_V311);
  mosquitto_int_option(engine->mosquitto, MOSQ_OPT_RECEIVE_MAXIMUM,
                       receive_max);
  mosquitto_int_option(engine->mosquitto, MOSQ_OPT_TCP_NODELAY, 1);
  /* Else packets would be written inside the calls that make them. */
  mosquitto_threaded_set(engine->mosquitto, true);
  *result = engine;
  return 0;
}

void engine_free(engine *engine) {
  if (!engine)
    return;
  engine_close(engine);
  mosquitto_destroy(engine->mosquitto);
  library_end();
  iotops_free(engine->context, engine);
}

bool engine_is_open(const engine *engine) {
  return engine->peer >= 0;
}

/* Accepts the connection of libmosquitto, and no other. */
static int accept_own(int listener, int own) {
  struct sockaddr_in mine = {0}, theirs = {0};
  socklen_t size = sizeof mine;

  if (own < 0 || getsockname(own, (struct sockaddr *)&mine, &size) != 0)
    return -1;
  for (;;) {
    struct pollfd ready = {.fd = listener, .events = POLLIN};
    int peer;

    size = sizeof theirs;
    peer = accept4(listener, (struct sockaddr *)&theirs, &size,
                   SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (peer >= 0) {
      if (theirs.sin_family == mine.sin_family &&
          theirs.sin_port == mine.sin_port &&
          theirs.sin_addr.s_addr == mine.sin_addr.s_addr)
        return peer;
      close(peer);
    } else if (errno == EAGAIN) {
      if (poll(&ready, 1, ACCEPT_MS) <= 0)
        return -1;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return -1;
    }
  }
}

static int listen_once(uint16_t *port) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

  if (listener < 0)
    return -1;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 16) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
    close(listener);
    return -1;
  }
  *port = ntohs(address.sin_port);
  return listener;
}

/*
** How many bytes `fd` has received and been given to send (unless NULL), by
** the kernel.
*/
static bool byte_counts(int fd, uint64_t *received, uint64_t *sent) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  int unacked = 0;

  memset(&info, 0, sizeof info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
      size < offsetof(struct tcp_info, tcpi_bytes_received) +
                 sizeof info.tcpi_bytes_received ||
      (sent && ioctl(fd, TIOCOUTQ, &unacked) != 0))
    return false;
  *received = info.tcpi_bytes_received;
  if (sent)
    *sent = info.tcpi_bytes_acked + (uint64_t)unacked;
  return true;
}

int engine_open(engine *engine, iotops_error *err) {
  int listener, rc = MOSQ_ERR_ERRNO, one = 1;
  uint16_t port = 0;

  engine_close(engine);
  listener = listen_once(&port);
  if (listener < 0)
    goto done;
  /*
  ** The window that the last broker gave would otherwise limit what is sent
  ** again to this one (rows 15 and 17).
  */
  mosquitto_int_option(engine->mosquitto, MOSQ_OPT_SEND_MAXIMUM, 0);
  rc = mosquitto_connect_bind_v5(engine->mosquitto, "127.0.0.1", port, 0, NULL,
                                 NULL);
  if (rc == MOSQ_ERR_SUCCESS) {
    engine->peer = accept_own(listener, mosquitto_socket(engine->mosquitto));
    if (engine->peer < 0)
      rc = MOSQ_ERR_ERRNO;
  }

done:
  if (rc != MOSQ_ERR_SUCCESS) {
    int error = errno;

    if (listener >= 0)
      close(listener);
    return iotops_error_set(
        err, IOTOPS_INVALID_STATE,
        "cannot connect libmosquitto over the loopback interface: %s",
        rc == MOSQ_ERR_ERRNO ? strerror(error) : mosquitto_strerror(rc));
  }
  close(listener);
  setsockopt(engine->peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  engine->given = engine->taken = 0;
  engine->handed_on = 0;
  {
    uint64_t received, sent;

    engine->counted =
        byte_counts(mosquitto_socket(engine->mosquitto), &received, &sent) &&
        received == 0;
    /* Whether a kernel counts the SYN as acknowledged is its own affair. */
    if (engine->counted)
      engine->taken = sent;
  }
  return 0;
}

void engine_close(engine *engine) {
  /* All was consumed: a reset keeps no port busy for another minute. */
  const struct linger reset = {.l_onoff = 1, .l_linger = 0};

  if (engine->peer < 0)
    return;
  setsockopt(engine->peer, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(engine->peer);
  engine->peer = -1;
  /* Let it notice: it closes its own socket and forgets half-sent packets. */
  while (mosquitto_socket(engine->mosquitto) >= 0 &&
         mosquitto_loop_read(engine->mosquitto, 1) == MOSQ_ERR_SUCCESS) {
    struct pollfd ended = {.fd = mosquitto_socket(engine->mosquitto),
                           .events = POLLIN};

    if (ended.fd < 0 || poll(&ended, 1, ACCEPT_MS) <= 0)
      break;
  }
}

/* ---------------------------------------------------------- handing on -- */

static int refused(iotops_error *err, int rc, const char *what) {
  if (rc == MOSQ_ERR_NOMEM)
    return iotops_error_memory(err);
  if (rc == MOSQ_ERR_INVAL || rc == MOSQ_ERR_MALFORMED_UTF8 ||
      rc == MOSQ_ERR_PAYLOAD_SIZE || rc == MOSQ_ERR_OVERSIZE_PACKET) {
    iotops_error_set(err, IOTOPS_INVALID_CONFIGURATION, "invalid %s: %s", what,
                     mosquitto_strerror(rc));
    if (err)
      err->is_shallow = true;
    return -1;
  }
  return iotops_error_set(err, IOTOPS_INVALID_STATE, "cannot send %s: %s", what,
                          mosquitto_strerror(rc));
}

static int add_properties(mosquitto_property **properties,
                          const iotops_message *message) {
  int rc = MOSQ_ERR_SUCCESS;

  if (message->format_indicator >= 0)
    rc = mosquitto_property_add_byte(properties,
                                     MQTT_PROP_PAYLOAD_FORMAT_INDICATOR,
                                     (uint8_t)message->format_indicator);
  if (!rc && message->has_expiry)
    rc = mosquitto_property_add_int32(
        properties, MQTT_PROP_MESSAGE_EXPIRY_INTERVAL, message->expiry_s);
  if (!rc && message->content_type.data)
    rc = mosquitto_property_add_string(properties, MQTT_PROP_CONTENT_TYPE,
                                       message->content_type.data);
  if (!rc && message->response_topic.data)
    rc = mosquitto_property_add_string(properties, MQTT_PROP_RESPONSE_TOPIC,
                                       message->response_topic.data);
  if (!rc && message->correlation_data.data)
    rc = mosquitto_property_add_binary(
        properties, MQTT_PROP_CORRELATION_DATA, message->correlation_data.data,
        (uint16_t)message->correlation_data.size);
  for (size_t i = 0; !rc && i < message->user_property_count; i++)
    rc = mosquitto_property_add_string_pair(
        properties, MQTT_PROP_USER_PROPERTY,
        message->user_properties[i].name.data,
        message->user_properties[i].value.data);
  return rc;
}

int engine_publish(engine *engine, const iotops_message *message,
                   uint16_t *packet_id, iotops_error *err) {
  mosquitto_property *properties = NULL;
  int mid = 0, rc = MOSQ_ERR_SUCCESS;

  if (engine->version == 5)
    rc = add_properties(&properties, message);
  if (!rc)
    rc = mosquitto_publish_v5(engine->mosquitto, &mid, message->topic.data,
                              (int)message->payload.size, message->payload.data,
                              message->qos, message->retain, properties);
  mosquitto_property_free_all(&properties);
  if (rc)
    return refused(err, rc, "message");
  *packet_id = engine->last_id = (uint16_t)mid;
  engine->handed_on++;
  return 0;
}

int engine_subscribe(engine *engine, const char *filter, uint8_t options,
                     uint32_t subscription_id, uint16_t *packet_id,
                     iotops_error *err) {
  mosquitto_property *properties = NULL;
  int mid = 0, rc = MOSQ_ERR_SUCCESS;

  if (subscription_id != 0)
    rc = mosquitto_property_add_varint(
        &properties, MQTT_PROP_SUBSCRIPTION_IDENTIFIER, subscription_id);
  if (!rc)
    rc = mosquitto_subscribe_v5(engine->mosquitto, &mid, filter, options & 3,
                                options & ~3, properties);
  mosquitto_property_free_all(&properties);
  if (rc)
    return refused(err, rc, "topic filter");
  *packet_id = engine->last_id = (uint16_t)mid;
  engine->handed_on++;
  return 0;
}

int engine_unsubscribe(engine *engine, const char *filter, uint16_t *packet_id,
                       iotops_error *err) {
  int mid = 0, rc;

  rc = mosquitto_unsubscribe_v5(engine->mosquitto, &mid, filter, NULL);
  if (rc)
    return refused(err, rc, "topic filter");
  *packet_id = engine->last_id = (uint16_t)mid;
  engine->handed_on++;
  return 0;
}

uint16_t engine_last_id(const engine *engine) {
  return engine->last_id;
}

/* -------------------------------------------------------------- pump -- */

static int broken(iotops_error *err, const char *why) {
  return iotops_error_set(err, IOTOPS_INVALID_STATE,
                          "libmosquitto ended its stream: %s", why);
}

static bool wait_for(int fd, short events, int *tries) {
  struct pollfd ready = {.fd = fd, .events = events};

  if (++*tries > PATIENCE_TRIES)
    return false;
  poll(&ready, 1, PATIENCE_MS);
  return true;
}

/* Lets libmosquitto consume all that it was given. */
static int consume(engine *engine, iotops_error *err) {
  uint64_t received;
  int waiting, tries = 0;

  for (;;) {
    /* It reads one packet a call, or as many as are in flight (row 37). */
    int fd, rc = mosquitto_loop_read(engine->mosquitto, 1);

    if (rc != MOSQ_ERR_SUCCESS)
      return broken(err, mosquitto_strerror(rc));
    fd = mosquitto_socket(engine->mosquitto);
    if (fd < 0)
      return broken(err, "unexpected close");
    if (ioctl(fd, FIONREAD, &waiting) != 0)
      return broken(err, strerror(errno));
    if (waiting > 0)
      continue;
    if (!engine->counted || !byte_counts(fd, &received, NULL) ||
        received >= engine->given)
      return 0;
    if (!wait_for(fd, POLLIN, &tries))
      return broken(err, "bytes were lost on the loopback");
  }
}

static int give(engine *engine, packet_filter *filter, iotops_error *err) {
  packet_buffer *bytes = &filter->library;
  int tries = 0;

  while (bytes->start < bytes->end) {
    size_t size = bytes->end - bytes->start;
    ssize_t n = send(engine->peer, bytes->bytes + bytes->start,
                     size < CHUNK ? size : CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN) {
      if (consume(engine, err) != 0)
        return -1;
      if (!wait_for(engine->peer, POLLOUT, &tries))
        return broken(err, "the loopback takes no more");
      continue;
    }
    if (n <= 0)
      return broken(err, strerror(errno));
    packet_buffer_consume(bytes, (size_t)n);
    engine->given += (uint64_t)n;
    if (consume(engine, err) != 0)
      return -1;
  }
  return 0;
}

/* Reads what is there from the loopback; 0, or -1. */
static int take_some(engine *engine, packet_filter *filter, iotops_error *err) {
  for (;;) {
    size_t room;
    uint8_t *space = packet_filter_library_space(filter, &room);
    ssize_t n;

    if (!space)
      return iotops_error_memory(err);
    n = recv(engine->peer, space, room, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      return 0;
    if (n <= 0)
      return broken(err, n < 0 ? strerror(errno) : "unexpected end");
    engine->taken += (uint64_t)n;
    if (packet_filter_library_wrote(filter, (size_t)n) != 0)
      return broken(err, "unexpected packet");
    if ((size_t)n < room)
      return 0;
  }
}

/* Lets libmosquitto write all it has, as far as the loopback takes it. */
static int write_some(engine *engine, iotops_error *err) {
  int fd = mosquitto_socket(engine->mosquitto), rc, on = 1, off = 0;
  /*
  ** It writes packet by packet, and each would cross the loopback alone: held
  ** back by the kernel they cross together.
  */
  bool many = engine->handed_on > 1;

  engine->handed_on = 0;
  if (many)
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on);
  rc = mosquitto_loop_write(engine->mosquitto, 1);
  if (rc != MOSQ_ERR_SUCCESS)
    return broken(err, mosquitto_strerror(rc));
  if (mosquitto_socket(engine->mosquitto) != fd)
    return broken(err, "unexpected close");
  if (many)
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
  return 0;
}

static int take(engine *engine, packet_filter *filter, iotops_error *err) {
  uint64_t received, sent;
  int tries = 0;

  while (mosquitto_want_write(engine->mosquitto)) {
    uint64_t before = engine->taken;

    if (write_some(engine, err) != 0)
      return -1;
    for (;;) {
      if (take_some(engine, filter, err) != 0)
        return -1;
      if (!engine->counted ||
          !byte_counts(mosquitto_socket(engine->mosquitto), &received, &sent) ||
          engine->taken >= sent)
        break;
      if (!wait_for(engine->peer, POLLIN, &tries))
        return broken(err, "bytes were lost on the loopback");
    }
    /* Neither side moved: give the kernel a moment (not seen, but cheap). */
    if (engine->taken == before && mosquitto_want_write(engine->mosquitto) &&
        !wait_for(mosquitto_socket(engine->mosquitto), POLLOUT, &tries))
      return broken(err, "the loopback takes no more");
  }
  return 0;
}

int engine_give(engine *engine, packet_filter *filter, iotops_error *err) {
  if (engine->peer < 0)
    return broken(err, "not open");
  return give(engine, filter, err);
}

int engine_take(engine *engine, packet_filter *filter, iotops_error *err) {
  if (engine->peer < 0)
    return broken(err, "not open");
  return take(engine, filter, err);
}

bool engine_wants_take(const engine *engine) {
  return mosquitto_want_write(engine->mosquitto);
}

int engine_pump(engine *engine, packet_filter *filter, iotops_error *err) {
  /* Consuming may make it write; writing makes nothing to consume. */
  if (engine_give(engine, filter, err) != 0)
    return -1;
  return take(engine, filter, err);
}
