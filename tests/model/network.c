/* network.c -- streams that break, and a broker behind them. */
#include "network.h"

#include "iotops/topic.h"

struct network_stream {
  iotops_stream base;
  network_client *client;
  iotops_stream_events events;
  iotops_timer opening, inbound, outbound, writing, breaking;
  uint8_t *to_client;
  size_t start, visible, end, capacity;
  uint8_t *to_broker;
  size_t held, room;
  size_t cut_in, cut_out; /* bytes until the end; SIZE_MAX: none planned */
  bool refused;           /* never comes up */
  bool broken, told, paused;
  bool closed; /* the broker reads no more */
  iotops_error err;
};

static uint32_t draw(network *network, uint32_t below) {
  return model_draw(network->random, below);
}

static bool trouble(network *network) {
  return draw(network, 100) < network->trouble;
}

static uint64_t latency(network *network) {
  if (!trouble(network))
    return draw(network, 3);
  return model_once_in(network->random, 20) ? draw(network, 60000)
                                            : draw(network, 200);
}

static void start(network *network, iotops_timer *timer, uint64_t ms) {
  if (!timer->running)
    iotops_timer_start(network->context, timer, ms);
}

static void grow(uint8_t **bytes, size_t *room, size_t need) {
  if (need <= *room)
    return;
  *room = need * 2;
  *bytes = realloc(*bytes, *room);
  if (!*bytes)
    abort();
}

static void break_stream(network_stream *stream) {
  if (stream->broken)
    return;
  stream->broken = true;
  stream->client->network->cuts++;
  start(stream->client->network, &stream->breaking,
        draw(stream->client->network, 5));
}

/* ------------------------------------------------------------- broker -- */

static void send_bytes(network_client *client, const void *bytes, size_t size) {
  network_stream *stream = client->stream;

  if (!stream || stream->broken)
    return;
  grow(&stream->to_client, &stream->capacity, stream->end + size);
  memcpy(stream->to_client + stream->end, bytes, size);
  stream->end += size;
  start(client->network, &stream->inbound, latency(client->network));
}

static size_t put_length(uint8_t *at, size_t length) {
  size_t count = 0;

  do {
    at[count] = (uint8_t)((length & 127) | (length > 127 ? 128 : 0));
    length >>= 7;
    count++;
  } while (length > 0);
  return count;
}

static size_t get_length(const uint8_t **at) {
  size_t length = 0;
  int shift = 0;
  uint8_t byte;

  do {
    byte = *(*at)++;
    length |= (size_t)(byte & 127) << shift;
    shift += 7;
  } while (byte & 128);
  return length;
}

static void deliver(network_client *client, network_message *message) {
  size_t id = message->subscription_id ? 1 : 0;
  uint8_t packet[4096], number[4], lengths[8], *at = packet + 8;
  size_t properties, front;

  if (id)
    id += put_length(number, message->subscription_id);
  properties = message->properties_size + id;
  *at++ = (uint8_t)(message->topic_size >> 8);
  *at++ = (uint8_t)message->topic_size;
  memcpy(at, message->bytes, message->topic_size);
  at += message->topic_size;
  *at++ = (uint8_t)(message->packet_id >> 8);
  *at++ = (uint8_t)message->packet_id;
  at += put_length(at, properties);
  if (id) {
    *at++ = 0x0b;
    memcpy(at, number, id - 1);
    at += id - 1;
  }
  memcpy(at, message->bytes + message->topic_size,
         message->properties_size + message->payload_size);
  at += message->properties_size + message->payload_size;
  lengths[0] = (uint8_t)(0x32 | (message->sent_before ? 8 : 0));
  front = 1 + put_length(lengths + 1, (size_t)(at - packet - 8));
  memcpy(packet + 8 - front, lengths, front);
  message->sent = true;
  send_bytes(client, packet + 8 - front, (size_t)(at - packet) - 8 + front);
}

static void route(network *network, iotops_text topic, const uint8_t *rest,
                  size_t properties_size, size_t payload_size) {
  for (int i = 0; i < NETWORK_CLIENTS; i++) {
    network_client *client = &network->clients[i];

    for (size_t k = 0; client->exists && k < client->filter_count; k++) {
      network_message *message;

      if (!iotops_topic_filter_matches(iotops_text_of(client->filters[k].text),
                                       topic))
        continue;
      message = calloc(1, sizeof *message + topic.size + properties_size +
                              payload_size);
      if (!message)
        abort();
      if (++client->last_id == 0)
        client->last_id = 1;
      message->packet_id = client->last_id;
      message->subscription_id = client->filters[k].id;
      message->topic_size = topic.size;
      message->properties_size = properties_size;
      message->payload_size = payload_size;
      memcpy(message->bytes, topic.data, topic.size);
      memcpy(message->bytes + topic.size, rest, properties_size + payload_size);
      if (client->last)
        client->last->next = message;
      else
        client->first = message;
      client->last = message;
      if (client->connected)
        deliver(client, message);
    }
  }
}

uint32_t network_number(iotops_text payload) {
  uint32_t number = 0;

  for (size_t i = 1; i < payload.size; i++)
    if (payload.data[i] >= '0' && payload.data[i] <= '9')
      number = number * 10 + (uint32_t)(payload.data[i] - '0');
  return number;
}

static void published(network_client *client, uint8_t flags,
                      const uint8_t *body, size_t size) {
  network *network = client->network;
  iotops_text topic = {(const char *)body + 2, (size_t)body[0] << 8 | body[1]};
  const uint8_t *at = body + 2 + topic.size, *id = at;
  size_t properties;
  iotops_text payload;
  uint8_t code = 0;

  if (flags & 6)
    at += 2;
  properties = get_length(&at);
  payload.data = (const char *)at + properties;
  payload.size = (size_t)(body + size - at) - properties;
  if (!(flags & 8) && payload.size > 0 && *payload.data == 't') {
    /* Sent first in the order of the calls. */
    MODEL_CHECK(network->random, network_number(payload) > client->last_new);
    client->last_new = network_number(payload);
  }
  if ((flags & 6) && trouble(network) && model_once_in(network->random, 4))
    code = 0x97;
  if (code == 0) {
    network->accepted(network->user, payload);
    route(network, topic, at, properties, payload.size);
  }
  if (flags & 6) {
    uint8_t answer[] = {0x40, 3, id[0], id[1], code};

    send_bytes(client, answer, sizeof answer);
  }
}

static void acknowledged(network_client *client, uint16_t packet_id) {
  network_message *message = client->first;
  iotops_text payload;

  /* Nothing but the oldest that was sent here may be acknowledged. */
  MODEL_CHECK(client->network->random, message != NULL && message->sent);
  MODEL_CHECK(client->network->random, message->packet_id == packet_id);
  payload.data =
      (char *)message->bytes + message->topic_size + message->properties_size;
  payload.size = message->payload_size;
  MODEL_CHECK(client->network->random,
              client->network->settled(client->network->user, payload));
  client->first = message->next;
  if (!client->first)
    client->last = NULL;
  free(message);
}

static void drop_session(network_client *client) {
  while (client->first) {
    network_message *message = client->first;

    client->first = message->next;
    free(message);
  }
  client->last = NULL;
  client->filter_count = 0;
  client->exists = false;
}

static void connected(network_client *client, const uint8_t *body) {
  network *network = client->network;
  bool clean = body[7] & 2;
  uint8_t answer[] = {0x20, 6, 0, 0, 3, 0x21, 0, 0};
  network_message *message;

  MODEL_CHECK(network->random, !client->connected);
  MODEL_CHECK(network->random, !(clean && client->once_connected));
  if (trouble(network)) {
    uint8_t busy[] = {0x20, 3, 0, draw(network, 2) ? 0x88 : 0x89, 0};

    network->refusals++;
    send_bytes(client, busy, sizeof busy);
    client->stream->cut_in = sizeof busy;
    client->stream->closed = true;
    return;
  }
  if (clean)
    drop_session(client);
  answer[2] = client->exists;
  answer[7] = (uint8_t)(1 + draw(network, 20));
  client->exists = client->connected = client->once_connected = true;
  network->connects++;
  send_bytes(client, answer, sizeof answer);
  for (message = client->first; message; message = message->next)
    deliver(client, message);
}

static void subscribed(network_client *client, const uint8_t *body) {
  const uint8_t *at = body + 2, *end;
  uint8_t answer[] = {0x90, 4, body[0], body[1], 0, 1};
  size_t properties = get_length(&at), size, i;
  uint32_t id = 0;

  end = at + properties;
  if (properties > 0 && *at == 0x0b) {
    at++;
    id = (uint32_t)get_length(&at);
  }
  at = end;
  size = (size_t)at[0] << 8 | at[1];
  MODEL_CHECK(client->network->random, size < 64);
  if (trouble(client->network) && model_once_in(client->network->random, 4)) {
    answer[5] = 0x97;
  } else {
    for (i = 0; i < client->filter_count; i++)
      if (strlen(client->filters[i].text) == size &&
          memcmp(client->filters[i].text, at + 2, size) == 0)
        break;
    MODEL_CHECK(client->network->random, i < NETWORK_FILTERS);
    memcpy(client->filters[i].text, at + 2, size);
    client->filters[i].text[size] = 0;
    client->filters[i].id = id;
    if (i == client->filter_count)
      client->filter_count++;
  }
  send_bytes(client, answer, sizeof answer);
}

static void unsubscribed(network_client *client, const uint8_t *body) {
  const uint8_t *at = body + 2;
  uint8_t answer[] = {0xb0, 4, body[0], body[1], 0, 0x11};
  size_t properties = get_length(&at), size;

  at += properties;
  size = (size_t)at[0] << 8 | at[1];
  for (size_t i = 0; i < client->filter_count; i++)
    if (strlen(client->filters[i].text) == size &&
        memcmp(client->filters[i].text, at + 2, size) == 0) {
      client->filters[i] = client->filters[--client->filter_count];
      answer[5] = 0;
    }
  send_bytes(client, answer, sizeof answer);
}

static void take(network_client *client, uint8_t first, const uint8_t *body,
                 size_t size) {
  switch (first >> 4) {
  case 1:
    connected(client, body);
    break;
  case 3:
    published(client, first & 15, body, size);
    break;
  case 4:
    acknowledged(client, (uint16_t)(body[0] << 8 | body[1]));
    break;
  case 8:
    subscribed(client, body);
    break;
  case 10:
    unsubscribed(client, body);
    break;
  case 12:
    send_bytes(client, "\xd0", 2);
    break;
  case 14:
    if (size >= 6 && memcmp(body + 1, "\5\x11\0\0\0\0", 6) == 0)
      drop_session(client);
    client->connected = false;
    client->stream->closed = true;
    break_stream(client->stream);
    break;
  default:
    MODEL_CHECK(client->network->random, !"a packet that nobody sends");
  }
}

/* What has arrived of whole packets. */
static void broker_reads(network_stream *stream) {
  network_client *client = stream->client;
  network *network = client->network;
  size_t at = 0;

  while (!stream->closed && stream->held > at) {
    const uint8_t *bytes = stream->to_broker + at, *body = bytes + 1;
    size_t left = stream->held - at, length, i;

    for (i = 1; i < left && bytes[i] & 128; i++)
      ;
    if (i >= left)
      break;
    length = get_length(&body);
    if ((size_t)(body - bytes) + length > left)
      break;
    MODEL_CHECK(network->random, client->connected || *bytes >> 4 == 1);
    take(client, *bytes, body, length);
    at += (size_t)(body - bytes) + length;
  }
  if (at > 0)
    memmove(stream->to_broker, stream->to_broker + at, stream->held - at);
  stream->held -= at;
}

/* ------------------------------------------------------------- stream -- */

static ptrdiff_t stream_read(iotops_stream *base, void *bytes, size_t size) {
  network_stream *stream = (network_stream *)base;
  size_t left = stream->visible - stream->start;

  if (left == 0)
    return stream->told ? IOTOPS_STREAM_END : IOTOPS_STREAM_AGAIN;
  if (size > left)
    size = left;
  memcpy(bytes, stream->to_client + stream->start, size);
  stream->start += size;
  return (ptrdiff_t)size;
}

static ptrdiff_t stream_write(iotops_stream *base, const void *bytes,
                              size_t size) {
  network_stream *stream = (network_stream *)base;
  network *network = stream->client->network;
  size_t taken = size;

  if (stream->broken)
    return IOTOPS_STREAM_BROKEN;
  if (size > 0 && trouble(network)) {
    taken = draw(network, (uint32_t)size);
    start(network, &stream->writing, draw(network, 100));
  }
  if (taken > stream->cut_out)
    taken = stream->cut_out;
  if (stream->cut_out != SIZE_MAX)
    stream->cut_out -= taken;
  grow(&stream->to_broker, &stream->room, stream->held + taken);
  if (taken > 0)
    memcpy(stream->to_broker + stream->held, bytes, taken);
  stream->held += taken;
  network->bytes += taken;
  network->trace = model_trace(network->trace, bytes, taken);
  if (taken > 0)
    start(network, &stream->outbound, latency(network));
  if (stream->cut_out == 0)
    break_stream(stream);
  return (ptrdiff_t)taken;
}

static void stream_pause(iotops_stream *base, bool paused) {
  network_stream *stream = (network_stream *)base;

  stream->paused = paused;
  if (!paused)
    start(stream->client->network, &stream->inbound, 0);
}

static const iotops_error *stream_error(iotops_stream *base) {
  return &((network_stream *)base)->err;
}

static void stream_close(iotops_stream *base, bool graceful) {
  network_stream *stream = (network_stream *)base;
  network_client *client = stream->client;
  network *network = client->network;

  /* What was on its way may still arrive. */
  if (graceful || draw(network, 2))
    broker_reads(stream);
  iotops_timer_stop(network->context, &stream->opening);
  iotops_timer_stop(network->context, &stream->inbound);
  iotops_timer_stop(network->context, &stream->outbound);
  iotops_timer_stop(network->context, &stream->writing);
  iotops_timer_stop(network->context, &stream->breaking);
  client->stream = NULL;
  client->connected = false;
  for (network_message *at = client->first; at; at = at->next) {
    at->sent_before |= at->sent;
    at->sent = false;
  }
  free(stream->to_client);
  free(stream->to_broker);
  free(stream);
}

static void open_now(iotops_timer *timer) {
  network_stream *stream = timer->user;

  if (stream->refused)
    break_stream(stream);
  else
    stream->events.opened(stream->events.user);
}

static void bytes_come(iotops_timer *timer) {
  network_stream *stream = timer->user;
  size_t more = stream->end - stream->visible;

  if (stream->broken || stream->paused)
    return;
  if (more > stream->cut_in)
    more = stream->cut_in;
  if (stream->cut_in != SIZE_MAX)
    stream->cut_in -= more;
  stream->visible += more;
  if (stream->cut_in == 0)
    break_stream(stream);
  if (stream->visible < stream->end && !stream->broken)
    start(stream->client->network, timer, 0);
  if (stream->visible > stream->start)
    stream->events.readable(stream->events.user);
}

static void bytes_leave(iotops_timer *timer) {
  broker_reads(timer->user);
}

static void write_more(iotops_timer *timer) {
  network_stream *stream = timer->user;

  if (!stream->broken)
    stream->events.writable(stream->events.user);
}

static void tell_broken(iotops_timer *timer) {
  network_stream *stream = timer->user;

  stream->told = true;
  if (stream->refused || stream->paused || draw(stream->client->network, 2))
    stream->events.failed(stream->events.user, &stream->err);
  else
    stream->events.readable(stream->events.user);
}

static int stream_open(void *user, iotops_context *context,
                       const iotops_settings *settings,
                       const iotops_stream_events *events,
                       iotops_stream **result, iotops_error *err) {
  static const iotops_stream_ops ops = {
      .read = stream_read,
      .write = stream_write,
      .pause = stream_pause,
      .last_error = stream_error,
      .close = stream_close,
  };
  network_client *client = user;
  network *network = client->network;
  network_stream *stream = calloc(1, sizeof *stream);

  (void)settings;
  (void)err;
  if (!stream)
    abort();
  MODEL_CHECK(network->random, !client->stream); /* never two of a session */
  MODEL_CHECK(network->random, !client->gone);
  stream->base.ops = &ops;
  stream->client = client;
  stream->events = *events;
  stream->cut_in = stream->cut_out = SIZE_MAX;
  stream->opening = (iotops_timer){.fire = open_now, .user = stream};
  stream->inbound = (iotops_timer){.fire = bytes_come, .user = stream};
  stream->outbound = (iotops_timer){.fire = bytes_leave, .user = stream};
  stream->writing = (iotops_timer){.fire = write_more, .user = stream};
  stream->breaking = (iotops_timer){.fire = tell_broken, .user = stream};
  (void)iotops_error_set(&stream->err, IOTOPS_MQTT_ERROR, "the network broke");
  stream->refused =
      iotops_mono_ms(context) < network->refusing_until || trouble(network);
  client->stream = stream;
  start(network, &stream->opening, latency(network));
  *result = &stream->base;
  return 0;
}

iotops_transport network_transport(network_client *client) {
  return (iotops_transport){.open = stream_open, .user = client};
}

/* ------------------------------------------------------------- faults -- */

void network_cut(network_client *client, size_t after, bool inbound) {
  if (!client->stream || client->stream->broken)
    return;
  if (inbound)
    client->stream->cut_in = after;
  else
    client->stream->cut_out = after;
  if (after == 0)
    break_stream(client->stream);
}

void network_forget(network_client *client) {
  drop_session(client);
  client->forgotten = true;
  network_cut(client, 0, true);
  client->connected = false;
  if (client->stream)
    client->stream->closed = true;
}

void network_dismiss(network_client *client, uint8_t reason_code) {
  uint8_t packet[] = {0xe0, 1, reason_code};

  if (!client->connected || client->stream->broken)
    return;
  send_bytes(client, packet, sizeof packet);
  client->stream->cut_in = client->stream->end - client->stream->visible;
}

void network_init(network *network, iotops_context *context,
                  model_random *random) {
  memset(network, 0, sizeof *network);
  network->context = context;
  network->random = random;
  network->trace = UINT64_C(14695981039346656037);
  for (int i = 0; i < NETWORK_CLIENTS; i++)
    network->clients[i].network = network;
}

void network_free(network *network) {
  for (int i = 0; i < NETWORK_CLIENTS; i++)
    drop_session(&network->clients[i]);
}
