/*
** endpoint.h -- receivers and executors of scripts.
**
** An endpoint is what a script declared; its envoy is the core's receiver or
** executor, made when the endpoint is opened, and can be passed from one
** generation's endpoint to the next one's.
*/
#ifndef BINDINGS_ENDPOINT_H
#define BINDINGS_ENDPOINT_H

#include "gate.h"
#include "options.h"

typedef struct envoy envoy;

struct iotops_lua_endpoint { /* a userdata */
  iotops_lua *state;
  iotops_mqtt_client *client;
  bool is_executor;
  iotops_format request_format, response_format;
  envoy *envoy;  /* owned; NULL: not open */
  bool declared; /* the embedder knows it; stays until the state closes */
  bool closed;
  bool passed_on;          /* another state's endpoint has taken its place */
  char *identity, *filter; /* owned */
};

enum { /* user values of an endpoint */
       ENDPOINT_HANDLER = 1,
       ENDPOINT_REQUEST_SERIALIZER,
       ENDPOINT_RESPONSE_SERIALIZER,
       ENDPOINT_SESSION,
       ENDPOINT_OPTIONS,
       ENDPOINT_VALUES = ENDPOINT_OPTIONS
};

/* An envoy outlives its endpoint until what it has in hand is done. */
struct envoy {
  iotops_context *context;
  iotops_lua_endpoint *endpoint; /* whose handler is called; NULL: none's */
  iotops_telemetry_receiver *receiver;
  iotops_command_executor *executor;
  bool stopping;
};

extern const char endpoint_class[];

/* The first turn of a call of the endpoint, and its end (see gate.h). */
void telemetry_arrived(void *user, iotops_telemetry_delivery *delivery,
                       const iotops_telemetry *telemetry);
void request_arrived(void *user, iotops_request *request,
                     const iotops_request_view *view);

/*
** Makes the core's envoy from the option table at `options`.  The table's
** strings are copied by the core.
*/
int receiver_make(lua_State *L, int options, iotops_mqtt_client *client,
                  envoy *envoy, iotops_error *err) LUA_MAY_RAISE;
int executor_make(lua_State *L, int options, iotops_mqtt_client *client,
                  envoy *envoy, iotops_error *err) LUA_MAY_RAISE;

/* Starts or stops whichever it is. */
int envoy_start(envoy *envoy, iotops_envoy_done done, void *user,
                iotops_error *err);
int envoy_stop(envoy *envoy, iotops_envoy_done done, void *user,
               iotops_error *err);

/* Frees the core's envoy and the record. */
void envoy_free(envoy *envoy);

/*
** A client that goes nowhere: it notes the filter that an envoy would
** subscribe to, and refuses.
*/
typedef struct dry_client {
  iotops_mqtt_client base;
  iotops_mqtt_client *real; /* borrowed; for its id */
  char *filter;             /* owned by the caller afterwards */
} dry_client;

void dry_client_init(dry_client *dry, iotops_mqtt_client *real);

#endif
