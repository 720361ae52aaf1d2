/*
** call_table.h -- the calls of an invoker: found by correlation data when a
** response comes, by number when the caller cancels, in order of the calls
** when they wait for the subscription.
**
** Calls come from a pool and go back to it, so that a call costs no
** allocation once as many have been under way at a time before.  What a burst
** needed is freed when all its calls have gone back.  A number does not come
** again before four thousand million calls.
*/
#ifndef PROTOCOL_CALL_TABLE_H
#define PROTOCOL_CALL_TABLE_H

#include "iotops/command.h"
#include "protocol/correlation.h"

typedef struct invoker_call invoker_call;

typedef struct call_links {
  invoker_call *next, *previous;
} call_links;

struct invoker_call {
  iotops_command_invoker *invoker; /* borrowed */
  uint8_t correlation[CORRELATION_BYTES];
  uint64_t number; /* an iotops_invocation */

  /* Who holds the call; it goes back to the pool when nobody does. */
  bool pending;    /* not completed */
  bool publishing; /* the client has `operation` */
  bool telling;    /* `task` is to tell of a cancellation */
  bool stopped;    /* cancelled because the invoker was stopped */

  iotops_operation operation;
  iotops_message *request; /* owned, while it waits for the subscription */
  iotops_invoke_done done; /* may be NULL */
  void *user;              /* borrowed */
  uint32_t timeout_s;
  iotops_timer timer;
  iotops_task task;

  /* The table's. */
  call_links open, waiting;
  invoker_call *chain; /* of the bucket, or of the pool */
  uint32_t batch;
  bool is_open, is_waiting;
};

typedef struct call_list {
  invoker_call *first, *last;
} call_list;

typedef struct call_table {
  iotops_context *context; /* borrowed */
  invoker_call **buckets;  /* owned; open calls by correlation data */
  size_t bucket_count;     /* a power of two, or 0 */
  size_t open_count;
  invoker_call **slots; /* owned, as are the calls; by the low half of number */
  size_t slot_count, slot_capacity;
  size_t in_use; /* calls that are not in the pool */
  uint32_t last; /* the high half of the last number */
  invoker_call *pool;
  call_list open, waiting;
  uint32_t batch; /* of those who begin to wait now */
} call_table;

void call_table_init(call_table *table, iotops_context *context);

/* Frees every call; none may be in use. */
void call_table_clear(call_table *table);

/*
** An open call with new correlation data and a new number, the caller's
** fields zeroed; NULL when memory is short.
*/
invoker_call *call_table_new(call_table *table);

/* Closes it: neither found nor waiting any more.  Twice does nothing. */
void call_table_close(call_table *table, invoker_call *call);

/* A closed call goes back to the pool, and is gone. */
void call_table_put_back(call_table *table, invoker_call *call);

/* Open calls; NULL when there is none. */
invoker_call *call_table_find(const call_table *table,
                              const uint8_t correlation[CORRELATION_BYTES]);
invoker_call *call_table_number(const call_table *table, uint64_t number);
invoker_call *call_table_any(const call_table *table);

/*
** Open calls that wait, in order.  A batch is those who wait at the time of
** call_table_batch(): _next takes them out one by one, whatever happens to
** the others meanwhile, and NULL ends it.
*/
void call_table_wait(call_table *table, invoker_call *call);
uint32_t call_table_batch(call_table *table);
invoker_call *call_table_next(call_table *table, uint32_t batch);

#endif
