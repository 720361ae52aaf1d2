/*
** command_executor_fields.h -- an executor and its requests, for the units
** that make it up: command_executor.c (the door and the life of the envoy),
** command_request.c (one request's life) and command_response.c (what is
** published).
**
** A request is in one list at a time, which says where it stands.  It has
** holders, such as the handler and the answer on its way; it goes back to the
** pool when all have let go.  The executor's memory outlives its last
** request.
*/
#ifndef PROTOCOL_COMMAND_EXECUTOR_FIELDS_H
#define PROTOCOL_COMMAND_EXECUTOR_FIELDS_H

#include "iotops/command.h"
#include "protocol/property_list.h"
#include "protocol/received_properties.h"
#include "protocol/response_cache.h"
#include "protocol/subscription.h"
#include "protocol/topic_pattern.h"

typedef struct request_list {
  iotops_request *first, *last; /* linked through next and previous */
  size_t count;
} request_list;

struct iotops_command_executor {
  iotops_mqtt_client *client; /* borrowed; once freed, used in its own
                                 callbacks alone */
  iotops_context *context;    /* borrowed */
  topic_pattern pattern;      /* constructor tokens resolved */
  subscription *subscription; /* owned; NULL once freed */
  iotops_receiver *receiver;  /* owned; NULL once stopped */
  iotops_mqtt_observer observer;
  response_cache *cache;         /* shared; NULL once freed */
  iotops_command_executor *heir; /* held; who has taken its place, or NULL */
  char *name;                    /* owned: the command name, terminated */

  uint64_t execution_timeout_ms;
  bool raw_timestamp;
  bool keeps_requests;
  uint32_t concurrency; /* 0: unlimited */
  bool paused;          /* no handler begins */
  iotops_command_handler handler;
  iotops_request_cancelled cancelled; /* may be NULL */
  void *user;                         /* borrowed */

  request_list waiting;    /* for a slot, in order of arrival */
  request_list running;    /* the handler's */
  request_list publishing; /* the answer is with the client */
  request_list unsent;     /* the client's queue was full; in order */
  size_t waiting_qos0;     /* of `waiting`: not bounded by the session */
  uint32_t slots_used;
  iotops_task dispatch; /* gives free slots to those that wait */
  bool freed;

  /* Memory kept from message to message. */
  received_properties received; /* taken out while in use */
  property_list properties;     /* of the answer being built */
  iotops_request *pool;         /* unused, linked through next; owned */
  size_t pooled;
  size_t holds; /* the owner's, one a request, one a callback being run */
};

struct iotops_request {
  iotops_command_executor *executor; /* borrowed */
  iotops_request *next, *previous;
  request_list *list; /* where it is; NULL: nowhere */
  iotops_ack ack;
  bool acknowledged; /* `ack` was settled */
  bool handling;     /* held by the handler */
  bool calling;      /* held by the call of the handler */
  bool answering;    /* held by the answer on its way */
  bool telling;      /* held by `task` */
  bool given_up;     /* the handler's result does not matter any more */
  bool has_slot;
  cache_entry *entry; /* pinned; NULL: the answer is not cached */
  held_ack *held;     /* owned; to be settled with `ack` */
  /*
  ** Owned: the request while it waits for a slot, an answer that is not
  ** cached while it waits for room; else NULL.
  */
  iotops_message *copy;
  /* Owned: the request while it is executed, if the executor keeps it. */
  iotops_message *original;
  uint64_t deadline_ms; /* on mono_ms; nothing is published after it */
  iotops_timer timer;
  iotops_respond_done done; /* who is told of the publish; may be NULL */
  void *done_user;          /* borrowed */

  iotops_task task; /* tells `told` of `failure`, later */
  iotops_respond_done told;
  void *told_user;       /* borrowed */
  iotops_error *failure; /* owned; NULL: memory was short */
};

/* ------------------------------------------------- command_executor.c -- */

/* Drops one hold; the last one frees the executor's memory. */
void executor_release(iotops_command_executor *executor);

/* -------------------------------------------------- command_request.c -- */

enum { SIGHT_TOKENS = 16 };

/* A request taken apart: views into its message, and memory that is lent. */
typedef struct request_sight {
  received_properties properties; /* the executor's, lent */
  iotops_token inline_tokens[SIGHT_TOKENS];
  iotops_token *tokens; /* the array above, or owned */
  iotops_hlc timestamp;
  bool has_timestamp;
} request_sight;

/* How to look at a message. */
typedef enum sight_result {
  SIGHT_CLEAR,
  SIGHT_FOREIGN, /* the topic is not one of this executor */
  SIGHT_NO_MEMORY
} sight_result;

/*
** Reads all but the timestamp.  Unless the sight is clear, there is nothing
** to close.
*/
sight_result sight_open(request_sight *sight, iotops_command_executor *executor,
                        const iotops_message *message);
void sight_close(request_sight *sight, iotops_command_executor *executor);

/* A request from the pool, held by nobody; NULL when memory is short. */
iotops_request *request_new(iotops_command_executor *executor, iotops_ack ack,
                            uint64_t deadline_ms);

/* Gives the request back to the pool unless somebody holds it. */
void request_release(iotops_request *request);

/* Moves it to another list (NULL: to none). */
void request_move(iotops_request *request, request_list *list);

/* Settles what the request and its duplicates owe; twice does nothing. */
void request_acknowledge(iotops_request *request);

/* Fires at the deadline while the request waits for a slot or for room. */
void request_watch_deadline(iotops_request *request);

/*
** Takes a request that has passed the door and has an entry of its own
** (pinned for it): runs it now, or lets it wait for a slot.  It may be gone
** on return.
*/
void request_accept(iotops_request *request, const iotops_message *message,
                    const request_sight *sight);

/*
** The handler lets go: its slot is free.  False when the request was given up
** before; it may be gone then.
*/
bool request_end_handling(iotops_request *request);

/* Moves a request that waits to the end of those that wait for `to`. */
void request_pass_on(iotops_request *request, iotops_command_executor *to);

/* Answers a request that waits with an error. */
void request_fail_waiting(iotops_request *request, const iotops_error *err);

/* Gives free slots to waiting requests. */
void executor_dispatch(iotops_task *task);

/* ------------------------------------------------- command_response.c -- */

/*
** What an answer is addressed to: from the entry, or from the message of a
** request that is refused at the door.  An absent correlation is none.
*/
typedef struct answer_address {
  iotops_text topic;
  iotops_text correlation;
  iotops_text version; /* of the request; for 505 */
} answer_address;

/*
** Answers with `err` as section 6.3 says; caches the answer when the request
** has an entry.  Ends in the request's acknowledgement.  The request may be
** gone on return unless its handler holds it.
*/
void answer_error(iotops_request *request, const answer_address *address,
                  const iotops_error *err);

/* The same to a request that has an entry. */
void answer_entry_error(iotops_request *request, const iotops_error *err);

/* Publishes the message of the request's entry, which is done, again. */
void answer_again(iotops_request *request);

/*
** Ends a request that gets no response, and acknowledges it.  Who asked to
** be told is told `err` (copied) later.
*/
void answer_nothing(iotops_request *request, const iotops_error *err);

/* The client has room again: publishes what could not be. */
void answer_unsent(iotops_command_executor *executor);

#endif
