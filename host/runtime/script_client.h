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
** that they came by was never in force).
**
** While it *keeps*, the receivers of all endpoints hold theirs: the generation
** that serves is about to hand its state over.  What is held is handed out in
** the order of arrival across receivers.  When the connection goes, what the
** broker will deliver again is let go, for whatever it is held.
**
** A *shut* receiver leaves messages
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
  uint64_t dropped;      /* of QoS 0, for want of room while they are held */
  uint64_t stale;        /* settled after it: the broker delivers them again */
  uint64_t forgotten;    /* messages settled without the script's doing */
  uint64_t cut; /* calls that had not ended when their version had to go */
  uint64_t reloads;
  uint64_t failed_reloads;
  uint64_t rollbacks;  /* returns to the last good version */
  uint64_t busy_us;    /* time spent in Lua */
  uint64_t longest_us; /* the longest turn */
  uint64_t stopped_us; /* of the processor, the longest that was stopped */
} script_counters;

typedef struct script_client {
  iotops_mqtt_client base;     /* what the script's module is given */
  iotops_mqtt_client *session; /* borrowed */
  script_counters counters;
  struct client_receiver *receivers; /* owned */
  struct client_publish *spare;      /* owned; finished, to be used again */
  struct tap *taps;                  /* who looks on; NULL: nobody */
  size_t publishing;                 /* publishes not answered yet */
  struct held_message *held;         /* owned; in order of arrival */
  struct held_message *newest;       /* the last of them */
  struct held_message *back; /* the last that was put back; NULL: none */
  size_t held_count, held_qos0;
  uint64_t unclaimed; /* held for an endpoint that has gone; acknowledged */
  unsigned last_mark; /* of receivers; see mark */
  unsigned mark;      /* what receivers that are made now are known by */
  iotops_mqtt_observer observer;
  bool keeping;  /* endpoints hold their messages */
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

/* From now on the endpoints hold their messages. */
void script_client_keep(script_client *client);

/*
** Ends keeping: the endpoints are given what they have held, but for those
** that hold for a reload under way.
*/
void script_client_resume(script_client *client);

/*
** What is held for the receiver marked `from` goes to that marked `to` (0:
** none, since its endpoint has no successor).
*/
void script_client_bequeath(script_client *client, unsigned from, unsigned to);

/*
** Puts a message back that a receiver was given and its handler was not, for
** the receiver marked `to` as above: before all that are held, after what was
** put back before.  Takes the message.
*/
void script_client_put_back(script_client *client, unsigned to,
                            iotops_message *message, iotops_ack ack);

/*
** Hands held messages to their receivers, in order of arrival, and ends holding
** and keeping.  Those that match one of `filters` are acknowledged instead: the
** generation that had the filter until now was given them as well, unless it
** was keeping.  So are those whose endpoint has no successor; they are counted
** in `unclaimed` unless another endpoint is given the same.
*/
void script_client_release(script_client *client, const char *const *filters,
                           size_t filter_count);

/*
** From now on messages for endpoints stay unacknowledged.  Other receivers
** (the responses to the script's own calls) go on.
*/
void script_client_shut(script_client *client);

#endif
