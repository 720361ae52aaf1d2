/*
** script_client.h -- the session as one script sees it.
**
** Stands between a script and the session: it counts what the script sends,
** receives and acknowledges, and lets the host decide when messages begin and
** cease to reach it.  It belongs to the script's name and outlives the states
** that come and go under it.
**
** A receiver made while the client is *holding* keeps its messages, in order
** and unacknowledged, until iotops' host commits the reload that made it
** (release) or gives it up (removal, which acknowledges them: the subscription
** that they came by was never in force).  A *shut* receiver leaves messages
** unacknowledged: the broker will deliver them to the host's next start.
*/
#ifndef RUNTIME_SCRIPT_CLIENT_H
#define RUNTIME_SCRIPT_CLIENT_H

#include "iotops/mqtt_client.h"

typedef struct script_counters {
  uint64_t received;     /* messages given to receivers */
  uint64_t handled;      /* telemetry handlers that ended, well or not */
  uint64_t commands;     /* command handlers that ended, well or not */
  uint64_t calls;        /* calls of all kinds that ended */
  uint64_t errors;       /* calls that raised */
  uint64_t stopped;      /* turns that were over a limit */
  uint64_t sent;         /* publishes that the broker took */
  uint64_t refused;      /* publishes that it did not take */
  uint64_t acknowledged; /* messages settled on the connection they came on */
  uint64_t stale;        /* settled after it: the broker delivers them again */
  uint64_t reloads;
  uint64_t failed_reloads;
  uint64_t busy_us;    /* time spent in Lua */
  uint64_t longest_us; /* the longest turn */
} script_counters;

typedef struct script_client {
  iotops_mqtt_client base;     /* what the script's module is given */
  iotops_mqtt_client *session; /* borrowed */
  script_counters counters;
  struct client_receiver *receivers; /* owned */
  struct client_publish *spare;      /* owned; finished, to be used again */
  size_t publishing;                 /* publishes not answered yet */
  bool holding;  /* receivers that are made now hold their messages */
  bool shut;     /* endpoints get nothing any more */
  bool endpoint; /* receivers that are made now belong to an endpoint */
} script_client;

/* `session` outlives the client. */
void script_client_init(script_client *client, iotops_mqtt_client *session);

/*
** After the session has completed or dropped everything: frees what is left.
*/
void script_client_close(script_client *client);

/*
** Hands held messages to their receivers, in order of arrival a receiver, and
** ends holding.  Those that match one of `filters` are acknowledged instead:
** the generation that had the filter until now was given them as well.
*/
void script_client_release(script_client *client, const char *const *filters,
                           size_t filter_count);

/*
** From now on messages for endpoints stay unacknowledged.  Other receivers
** (the responses to the script's own calls) go on.
*/
void script_client_shut(script_client *client);

#endif
