/*
** network.h -- a broker and the network to it, played within one context.
**
** Streams deliver after random delays, take writes in part, and end at any
** byte in either direction; the broker keeps sessions as MQTT wants them kept,
** and refuses, restarts and forgets when told to.  Everything random comes
** from one seed and all time is the context's, so that a seed is a history.
**
** The broker checks what only it can see: that PUBACKs come in the order in
** which it sent, for messages that their receiver has finished with; and that
** what is published for the first time comes in the order of the calls.
*/
#ifndef MODEL_NETWORK_H
#define MODEL_NETWORK_H

#include "iotops/transport.h"
#include "model.h"

enum { NETWORK_CLIENTS = 2, NETWORK_FILTERS = 8 };

typedef struct network network;
typedef struct network_stream network_stream;

/* A message that a client's session waits to be acknowledged. */
typedef struct network_message network_message;
struct network_message {
  network_message *next;
  uint16_t packet_id;
  bool sent_before; /* on an earlier connection */
  bool sent;        /* on this one */
  uint32_t subscription_id;
  size_t topic_size, properties_size, payload_size;
  uint8_t bytes[]; /* topic, properties, payload */
};

typedef struct network_client {
  network *network;
  network_stream *stream; /* NULL: none */
  bool exists;            /* the broker has a session for it */
  bool connected;         /* CONNACK was sent on `stream` */
  bool once_connected;
  /*
  ** The broker forgot its session.  When the CONNACK that says so is lost, the
  ** next one finds the session that this one made, and nobody can tell.
  */
  bool forgotten;
  bool gone; /* its owner will not connect again */
  struct {
    char text[64];
    uint32_t id;
  } filters[NETWORK_FILTERS];
  size_t filter_count;
  network_message *first, *last;
  uint16_t last_id;
  uint32_t last_new; /* number of the last telemetry published first */
} network_client;

struct network {
  iotops_context *context;
  model_random *random;
  uint64_t trace;
  unsigned trouble;        /* percent of things that go wrong */
  uint64_t refusing_until; /* nothing gets through before this time */
  uint64_t bytes, connects, cuts, refusals;
  network_client clients[NETWORK_CLIENTS];
  /* The broker has taken it over, and will answer with success. */
  void (*accepted)(void *user, iotops_text payload);
  /* Whether the receiver of it has finished with it. */
  bool (*settled)(void *user, iotops_text payload);
  void *user;
};

void network_init(network *network, iotops_context *context,
                  model_random *random);
void network_free(network *network);

/* The transport of one client. */
iotops_transport network_transport(network_client *client);

/* The stream ends once so many more bytes have passed, one way or the other. */
void network_cut(network_client *client, size_t after, bool inbound);

/* The broker forgets the session, and the stream ends. */
void network_forget(network_client *client);

/* The broker says DISCONNECT, and the stream ends. */
void network_dismiss(network_client *client, uint8_t reason_code);

/* Number behind the letter that a payload begins with. */
uint32_t network_number(iotops_text payload);

#endif
