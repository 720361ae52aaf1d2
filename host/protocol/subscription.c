#include "protocol/subscription.h"

#include <stdio.h>
#include <string.h>

#include "protocol/mqtt_outcome.h"

/* Somebody who waits for the end of a start or a stop. */
typedef struct waiter waiter;
struct waiter {
  iotops_context *context; /* borrowed */
  iotops_envoy_done done;  /* may be NULL */
  void *user;              /* borrowed */
  waiter *next;
  iotops_task task;
  bool cancelled;
};

typedef enum phase {
  IDLE,       /* nothing is subscribed */
  STARTING,   /* a SUBSCRIBE is out */
  SUBSCRIBED, /* the broker granted it */
  STOPPING    /* an UNSUBSCRIBE is out */
} phase;

struct subscription {
  iotops_context *context; /* borrowed */
  /* Borrowed; once orphaned, used in its own callbacks alone. */
  iotops_mqtt_client *client;
  phase phase;
  bool stopped;  /* subscription_stop() was called */
  bool orphaned; /* freed, and an answer is still to come */
  waiter *starting, *stopping;
  iotops_text label;  /* behind the filter */
  iotops_text filter; /* behind the struct */
  char texts[];
};

subscription *subscription_new(iotops_mqtt_client *client, iotops_text filter,
                               iotops_text label) {
  subscription *made = iotops_zalloc(
      client->context, sizeof *made + filter.size + label.size + 1);
  if (!made)
    return NULL;
  made->context = client->context;
  made->client = client;
  made->filter = (iotops_text){made->texts, filter.size};
  memcpy(made->texts, filter.data, filter.size);
  if (label.data) {
    made->label = (iotops_text){made->texts + filter.size, label.size};
    memcpy(made->texts + filter.size, label.data, label.size);
  }
  return made;
}

static int cancelled(const subscription *subscription, iotops_error *err) {
  iotops_error_set(err, IOTOPS_CANCELLATION, "the envoy was stopped");
  if (err && subscription->label.data)
    iotops_error_name(err->command_name, subscription->label);
  return -1;
}

/* The error of an answer; 0 when it was a success. */
static int judge(const subscription *subscription, const char *verb,
                 const iotops_mqtt_result *result, iotops_error *err) {
  char what[256];
  iotops_text filter = subscription->filter;
  snprintf(what, sizeof what, "%s %.*s", verb,
           (int)(filter.size < 200 ? filter.size : 200), filter.data);
  if (mqtt_outcome(result, what, err) == 0)
    return 0;
  if (subscription->label.data)
    iotops_error_name(err->command_name, subscription->label);
  return -1;
}

/* -------------------------------------------------------------- waiters -- */

static waiter *add_waiter(subscription *subscription, waiter **list,
                          iotops_envoy_done done, void *user,
                          iotops_error *err) {
  iotops_context *context = subscription->context;
  waiter *made = iotops_zalloc(context, sizeof *made);
  if (!made) {
    iotops_error_memory(err);
    if (err && subscription->label.data)
      iotops_error_name(err->command_name, subscription->label);
    return NULL;
  }
  made->context = context;
  made->done = done;
  made->user = user;
  while (*list)
    list = &(*list)->next;
  *list = made;
  return made;
}

static void tell(waiter *waiter, const iotops_error *err) {
  iotops_envoy_done done = waiter->done;
  void *user = waiter->user;
  iotops_free(waiter->context, waiter);
  if (done)
    done(user, err);
}

static void tell_all(waiter *list, const iotops_error *err) {
  while (list) {
    waiter *next = list->next;
    tell(list, err);
    list = next;
  }
}

static void tell_later(iotops_task *task) {
  waiter *waiter = task->user;
  iotops_error err;
  if (waiter->cancelled)
    iotops_error_set(&err, IOTOPS_CANCELLATION, "the envoy was closed");
  tell(waiter, waiter->cancelled ? &err : NULL);
}

static void tell_soon(waiter *list, bool cancel) {
  while (list) {
    waiter *waiter = list;
    list = waiter->next;
    waiter->cancelled = cancel;
    waiter->task.run = tell_later;
    waiter->task.user = waiter;
    iotops_task_soon(waiter->context, &waiter->task);
  }
}

static waiter *take_all(waiter **list) {
  waiter *all = *list;
  *list = NULL;
  return all;
}

/* ------------------------------------------------------------- the work -- */

/* What was cut short by the wanted end of its session is no failure. */
static iotops_log_level level_of(const iotops_error *err) {
  return err->kind == IOTOPS_CANCELLATION ? IOTOPS_LOG_DEBUG : IOTOPS_LOG_ERROR;
}

static void on_unsubscribed(void *user, const iotops_mqtt_result *result) {
  subscription *subscription = user;
  iotops_context *context = subscription->context;
  if (subscription->orphaned) {
    iotops_free(context, subscription);
    return;
  }
  iotops_error err;
  bool failed = judge(subscription, "unsubscribe from", result, &err) != 0;
  subscription->phase = failed ? SUBSCRIBED : IDLE;
  if (failed)
    iotops_log(context, level_of(&err), "envoy", "%s", err.message);
  else
    iotops_log(context, IOTOPS_LOG_INFO, "envoy", "unsubscribed from %.*s",
               (int)subscription->filter.size, subscription->filter.data);
  tell_all(take_all(&subscription->stopping), failed ? &err : NULL);
}

static int unsubscribe(subscription *subscription, iotops_error *err) {
  if (iotops_mqtt_unsubscribe(subscription->client, subscription->filter,
                              on_unsubscribed, subscription, NULL, err))
    return -1;
  subscription->phase = STOPPING;
  return 0;
}

static void orphan_answered(subscription *subscription, bool granted) {
  iotops_context *context = subscription->context;
  if (granted && unsubscribe(subscription, NULL) == 0)
    return; /* freed by the answer to that */
  iotops_free(context, subscription);
}

/* A stop that came while the SUBSCRIBE was out. */
static void stop_now(subscription *subscription) {
  iotops_error err;
  if (subscription->phase == IDLE) {
    tell_all(take_all(&subscription->stopping), NULL);
  } else if (unsubscribe(subscription, &err)) {
    if (subscription->label.data)
      iotops_error_name(err.command_name, subscription->label);
    tell_all(take_all(&subscription->stopping), &err);
  }
}

static void on_subscribed(void *user, const iotops_mqtt_result *result) {
  subscription *subscription = user;
  iotops_context *context = subscription->context;
  iotops_error err;
  bool failed = judge(subscription, "subscribe to", result, &err) != 0;
  if (subscription->orphaned) {
    orphan_answered(subscription, !failed);
    return;
  }
  subscription->phase = failed ? IDLE : SUBSCRIBED;
  if (failed)
    iotops_log(context, level_of(&err), "envoy", "%s", err.message);
  else
    iotops_log(context, IOTOPS_LOG_INFO, "envoy", "subscribed to %.*s",
               (int)subscription->filter.size, subscription->filter.data);
  waiter *starting = take_all(&subscription->starting);
  /* Those told may free the subscription: what is left to do comes first. */
  if (subscription->stopped && subscription->stopping)
    stop_now(subscription);
  tell_all(starting, failed ? &err : NULL);
}

/* ------------------------------------------------------------ interface -- */

int subscription_start(subscription *subscription, iotops_envoy_done done,
                       void *user, iotops_error *err) {
  if (subscription->stopped)
    return cancelled(subscription, err);
  waiter *list = NULL;
  waiter *waiter = add_waiter(
      subscription,
      subscription->phase == SUBSCRIBED ? &list : &subscription->starting, done,
      user, err);
  if (!waiter)
    return -1;
  if (subscription->phase == SUBSCRIBED) {
    tell_soon(waiter, false);
  } else if (subscription->phase == IDLE) {
    iotops_subscribe_options options = IOTOPS_SUBSCRIBE_OPTIONS_INIT;
    if (iotops_mqtt_subscribe(subscription->client, subscription->filter,
                              &options, on_subscribed, subscription, NULL,
                              err)) {
      subscription->starting = NULL;
      iotops_free(waiter->context, waiter);
      if (err && subscription->label.data)
        iotops_error_name(err->command_name, subscription->label);
      return -1;
    }
    subscription->phase = STARTING;
  }
  return 0;
}

int subscription_stop(subscription *subscription, iotops_envoy_done done,
                      void *user, iotops_error *err) {
  subscription->stopped = true;
  waiter *list = NULL;
  waiter *waiter =
      add_waiter(subscription,
                 subscription->phase == IDLE ? &list : &subscription->stopping,
                 done, user, err);
  if (!waiter)
    return -1;
  if (subscription->phase == IDLE) {
    tell_soon(waiter, false);
  } else if (subscription->phase == SUBSCRIBED &&
             unsubscribe(subscription, err)) {
    subscription->stopping = NULL;
    iotops_free(waiter->context, waiter);
    if (err && subscription->label.data)
      iotops_error_name(err->command_name, subscription->label);
    return -1;
  }
  return 0;
}

bool subscription_active(const subscription *subscription) {
  return subscription->phase == SUBSCRIBED && !subscription->stopped;
}

bool subscription_stopped(const subscription *subscription) {
  return subscription->stopped;
}

void subscription_free(subscription *subscription) {
  if (!subscription)
    return;
  iotops_context *context = subscription->context;
  tell_soon(take_all(&subscription->starting), true);
  tell_soon(take_all(&subscription->stopping), true);
  subscription->stopped = subscription->orphaned = true;
  switch (subscription->phase) {
  case SUBSCRIBED:
    if (unsubscribe(subscription, NULL))
      iotops_free(context, subscription);
    break;
  case IDLE:
    iotops_free(context, subscription);
    break;
  default:
    break; /* freed by the answer that is still to come */
  }
}
