#include "runtime/keepsakes.h"

#include <stdio.h>
#include <string.h>

typedef struct kept_timer kept_timer;
struct kept_timer {
  iotops_lua_kept_timer timer; /* what the claimant sees */
  uint64_t generation;         /* the last that claimed it */
  kept_timer *next;
  char name[];
};

typedef struct kept_metric kept_metric;
struct kept_metric {
  iotops_lua_kept_metric metric; /* what the claimant sees */
  uint64_t generation;           /* the last that claimed it */
  bool is_gauge;
  char *help; /* owned; NULL: none */
  kept_metric *next;
  char name[];
};

void keepsakes_init(keepsakes *kept, iotops_context *context) {
  *kept = (keepsakes){.context = context};
}

static void free_metric(const keepsakes *kept, kept_metric *metric) {
  iotops_free(kept->context, metric->help);
  iotops_free(kept->context, metric);
}

void keepsakes_clear(keepsakes *kept) {
  while (kept->timers != NULL) {
    kept_timer *timer = kept->timers;
    kept->timers = timer->next;
    iotops_free(kept->context, timer);
  }
  kept->timer_count = 0;
  while (kept->metrics != NULL) {
    kept_metric *metric = kept->metrics;
    kept->metrics = metric->next;
    free_metric(kept, metric);
  }
  kept->metric_count = 0;
}

/* ------------------------------------------------------------- timers -- */

/*
** Whether nothing is known of the timer but, maybe, that it has fired; then no
** claimant looks at it any more.
*/
static bool has_ended(const kept_timer *timer) {
  return !timer->timer.running;
}

/*
** Makes room for one more, if a script makes up ever new names: what was
** cancelled goes, and of those that have fired the first.
*/
static void forget_ended(keepsakes *kept) {
  kept_timer **oldest = NULL;
  if (kept->timer_count < KEEPSAKES_TIMERS_MAX)
    return;
  for (kept_timer **at = &kept->timers; *at != NULL; at = &(*at)->next)
    if (has_ended(*at) && (oldest == NULL || (*oldest)->timer.fired))
      oldest = at;
  if (oldest == NULL)
    return; /* those that run are bounded */
  kept_timer *forgotten = *oldest;
  *oldest = forgotten->next;
  iotops_free(kept->context, forgotten);
  kept->timer_count--;
}

iotops_lua_kept_timer *keepsakes_timer(keepsakes *kept, const char *name,
                                       uint64_t generation) {
  kept_timer *found = kept->timers;
  while (found != NULL && strcmp(found->name, name) != 0)
    found = found->next;
  if (found == NULL) {
    size_t size = strlen(name) + 1;
    found = iotops_zalloc(kept->context, sizeof *found + size);
    if (found == NULL)
      return NULL;
    memcpy(found->name, name, size);
    forget_ended(kept);
    found->next = kept->timers;
    kept->timers = found;
    kept->timer_count++;
  }
  found->generation = generation;
  return &found->timer;
}

void keepsakes_committed(keepsakes *kept, uint64_t generation,
                         void (*left)(void *user, const char *name),
                         void *user) {
  kept_timer **at = &kept->timers;
  while (*at != NULL) {
    kept_timer *timer = *at;
    /* What has ended is remembered for the sake of those that fire once. */
    if (timer->generation + 1 < generation) {
      *at = timer->next;
      iotops_free(kept->context, timer);
      kept->timer_count--;
      continue;
    }
    if (timer->generation < generation && timer->timer.running && left != NULL)
      left(user, timer->name);
    at = &timer->next;
  }
}

/* ------------------------------------------------------------ metrics -- */

/* Makes room for one more, if there are too many that nobody uses. */
static void forget_oldest(keepsakes *kept) {
  kept_metric **oldest = NULL;
  if (kept->metric_count < IOTOPS_LUA_METRICS_MAX)
    return;
  for (kept_metric **at = &kept->metrics; *at != NULL; at = &(*at)->next)
    if ((*at)->metric.users == 0 &&
        (oldest == NULL || (*at)->generation < (*oldest)->generation))
      oldest = at;
  if (oldest == NULL)
    return; /* the claims of each living generation are bounded */
  kept_metric *forgotten = *oldest;
  *oldest = forgotten->next;
  free_metric(kept, forgotten);
  kept->metric_count--;
}

static kept_metric **place_of(keepsakes *kept, const char *name) {
  kept_metric **at = &kept->metrics;
  while (*at != NULL && strcmp((*at)->name, name) < 0)
    at = &(*at)->next;
  return at;
}

static kept_metric *add_metric(keepsakes *kept, const char *name) {
  size_t size = strlen(name) + 1;
  kept_metric *added = iotops_zalloc(kept->context, sizeof *added + size);
  if (added == NULL)
    return NULL;
  memcpy(added->name, name, size);
  forget_oldest(kept);
  kept_metric **place = place_of(kept, name);
  added->next = *place;
  *place = added;
  kept->metric_count++;
  return added;
}

/* The newest words count; without memory for them, the old ones do. */
static void set_help(const keepsakes *kept, kept_metric *metric,
                     const char *help) {
  size_t size = strlen(help) + 1;
  if (size == 1 || (metric->help != NULL && strcmp(metric->help, help) == 0))
    return;
  char *copy = iotops_zalloc(kept->context, size);
  if (copy == NULL)
    return;
  memcpy(copy, help, size);
  iotops_free(kept->context, metric->help);
  metric->help = copy;
}

iotops_lua_kept_metric *keepsakes_metric_of(keepsakes *kept,
                                            const iotops_lua_metric *metric,
                                            uint64_t generation) {
  kept_metric *found = *place_of(kept, metric->name);
  if (found != NULL && strcmp(found->name, metric->name) != 0)
    found = NULL;
  if (!metric->claims)
    return found != NULL && found->is_gauge == metric->is_gauge ? &found->metric
                                                                : NULL;
  if (found == NULL) {
    if ((found = add_metric(kept, metric->name)) == NULL)
      return NULL;
  } else if (found->is_gauge != metric->is_gauge) {
    found->metric.value = 0;
  }
  found->is_gauge = metric->is_gauge;
  found->generation = generation;
  set_help(kept, found, metric->help);
  return &found->metric;
}

void keepsakes_each_metric(const keepsakes *kept, keepsakes_visit visit,
                           void *user) {
  for (const kept_metric *at = kept->metrics; at != NULL; at = at->next) {
    keepsakes_metric shown = {.name = at->name,
                              .help = at->help != NULL ? at->help : "",
                              .is_gauge = at->is_gauge,
                              .value = at->metric.value};
    visit(user, &shown);
  }
}

/* ---------------------------------------------------------------- log -- */

enum { FIELDS_MAX = 64, NAME_SIZE = 112, VALUE_SIZE = 32 };

typedef struct own_record {
  const iotops_context *context; /* borrowed */
  iotops_log_field fields[FIELDS_MAX + 1];
  char names[FIELDS_MAX][NAME_SIZE];
  char values[FIELDS_MAX][VALUE_SIZE];
  size_t count; /* of fields, but for the script's name */
} own_record;

static void write_record(own_record *own) {
  iotops_log_record record = {.level = IOTOPS_LOG_INFO,
                              .component = "host",
                              .message = iotops_text_of("own counters"),
                              .fields = own->fields,
                              .field_count = own->count + 1};
  iotops_log_fields(own->context, &record);
  own->count = 0;
}

static void add_field(void *user, const keepsakes_metric *metric) {
  own_record *own = user;
  char *name = own->names[own->count], *value = own->values[own->count];
  snprintf(name, NAME_SIZE, "own.%s", metric->name);
  snprintf(value, VALUE_SIZE, "%.17g", metric->value);
  own->fields[++own->count] = (iotops_log_field){
      .name = name, .value = iotops_text_of(value), .is_number = true};
  if (own->count == FIELDS_MAX)
    write_record(own);
}

void keepsakes_log(const keepsakes *kept, const char *script) {
  own_record own = {.context = kept->context};
  own.fields[0] =
      (iotops_log_field){.name = "script", .value = iotops_text_of(script)};
  keepsakes_each_metric(kept, add_field, &own);
  if (own.count > 0)
    write_record(&own);
}
