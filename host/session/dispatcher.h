/*
** dispatcher.h -- who receives a message (session.md section 9.1).
**
** Filters live in a trie by topic level, so that finding the receivers of a
** message costs the depth of its topic and not the number of receivers.  Equal
** filters are one dispatch_filter, which also carries what the session knows
** of its subscription.
**
** Each filter has a Subscription Identifier made from its text, so that it is
** the same in every process that resumes the session.  A message that carries
** identifiers goes to the receivers of those filters only, which keeps
** overlapping filters from doubling a message; an identifier that is not ours,
** or whose filter does not match, counts as absent.
**
** Receivers may be added and removed while a message is being dispatched: a
** removed one is not called any more, a new one sees the next message.
*/
#ifndef IOTOPS_SESSION_DISPATCHER_H
#define IOTOPS_SESSION_DISPATCHER_H

#include "iotops/mqtt_client.h"
#include "session/id_map.h"

enum { DISPATCH_LEVELS_MAX = 200 }; /* libmosquitto takes no deeper topics */

typedef struct dispatch_filter dispatch_filter;
typedef struct dispatch_node dispatch_node;

struct iotops_receiver {
  iotops_on_message on_message;
  void *user;              /* borrowed; passed to on_message */
  dispatch_filter *filter; /* borrowed; NULL: unfiltered */
  iotops_receiver *next, *previous;
  bool removed;
};

struct dispatch_filter {
  id_node by_id;       /* under its subscription identifier */
  dispatch_node *node; /* borrowed */
  bool multi;          /* ends in "#" */
  unsigned holds;      /* receivers and subscription work that need it */
  iotops_receiver *first, *last;
  dispatch_filter *next; /* of the same node */
  uint64_t stamp;        /* the match that took it last */

  /* The session's: its subscription. */
  uint32_t owners; /* subscribe calls that are pending or were granted */
  bool granted;    /* `reason_code` is the answer to `options` */
  uint8_t reason_code;
  uint8_t options; /* byte of the last SUBSCRIBE */

  size_t size;
  char text[]; /* terminated */
};

typedef struct dispatcher {
  iotops_context *context; /* borrowed */
  dispatch_node *root;     /* owned */
  dispatch_node **buckets; /* owned; all nodes by parent and level */
  size_t bucket_count, node_count;
  id_map ids; /* dispatch_filter.by_id */
  iotops_receiver *unfiltered, *last_unfiltered;
  iotops_receiver *removed; /* freed when no dispatch runs */
  unsigned running;
  uint64_t stamp;
  /* What the last match found. */
  iotops_receiver **matched; /* owned array of borrowed receivers */
  size_t matched_count, matched_capacity;
} dispatcher;

bool dispatcher_init(dispatcher *dispatcher, iotops_context *context);
void dispatcher_free(dispatcher *dispatcher);

/*
** The filter of this (valid) text, held once more; made when it is new.  NULL
** when memory is short.  find neither makes nor holds.
*/
dispatch_filter *dispatcher_hold(dispatcher *dispatcher, iotops_text text);
dispatch_filter *dispatcher_find(dispatcher *dispatcher, iotops_text text);
void dispatcher_release(dispatcher *dispatcher, dispatch_filter *filter);

/* One owner of the subscription more or less; an owner holds the filter. */
void dispatcher_own(dispatch_filter *filter);
void dispatcher_disown(dispatcher *dispatcher, dispatch_filter *filter);

/* `filter` absent: unfiltered.  NULL when memory is short. */
iotops_receiver *dispatcher_add(dispatcher *dispatcher, iotops_text filter,
                                iotops_on_message on_message, void *user);
void dispatcher_remove(dispatcher *dispatcher, iotops_receiver *receiver);

/*
** Finds the receivers of a message into `matched`, and begins a dispatch that
** dispatcher_end() ends.  Whoever walks `matched` skips those that were
** removed since.  False when memory is short; nothing has begun then.
*/
bool dispatcher_match(dispatcher *dispatcher, iotops_text topic,
                      const uint32_t *ids, size_t id_count);
void dispatcher_end(dispatcher *dispatcher);

#endif
