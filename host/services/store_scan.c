#include <string.h>

#include "services/state_store_fields.h"
#include "services/store_error.h"

struct iotops_store_scan {
  iotops_context *context;   /* borrowed */
  iotops_state_store *store; /* borrowed */
  iotops_text pattern;       /* owned */
  iotops_text token;         /* owned; absent: first page */
  bool asking, finished;
  bool freed;         /* by the caller, while a page is asked for */
  iotops_task report; /* of a finished scan */
  iotops_store_scan_done done;
  void *user;
};

static iotops_text own(iotops_context *context, iotops_text from) {
  char *bytes = iotops_resize(context, NULL, from.size + 1);
  if (bytes == NULL)
    return (iotops_text){NULL, 0};
  memcpy(bytes, from.data, from.size);
  return (iotops_text){bytes, from.size};
}

static void destroy(iotops_store_scan *scan) {
  iotops_context *context = scan->context;
  iotops_free(context, (char *)scan->pattern.data);
  iotops_free(context, (char *)scan->token.data);
  iotops_free(context, scan);
}

int iotops_store_scan_new(iotops_state_store *store, iotops_text pattern,
                          iotops_store_scan **scan, iotops_error *err) {
  if (pattern.data == NULL || pattern.size == 0)
    return iotops_error_configuration(err, "pattern", pattern,
                                      "a pattern must have at least one byte; "
                                      "\"*\" matches every key");
  iotops_store_scan *self = iotops_zalloc(store->context, sizeof *self);
  if (self == NULL)
    return iotops_error_memory(err);
  self->context = store->context;
  self->store = store;
  self->pattern = own(store->context, pattern);
  if (self->pattern.data == NULL) {
    iotops_free(store->context, self);
    return iotops_error_memory(err);
  }
  *scan = self;
  return 0;
}

void iotops_store_scan_free(iotops_store_scan *scan) {
  if (scan == NULL)
    return;
  scan->freed = true;
  if (!scan->asking)
    destroy(scan);
}

/* Section 3.10, K3: an array of the keys and, when more follow, a token. */
static bool read_page(iotops_text rest, iotops_text **keys, size_t *count,
                      iotops_text *token, iotops_context *context) {
  resp3_value outer;
  resp3_value list;
  resp3_value element;
  *keys = NULL;
  if (!resp3_read(&rest, &outer) || outer.type != RESP3_ARRAY ||
      outer.count < 1 || outer.count > 2)
    return false;
  if (!resp3_read(&rest, &list) || list.type != RESP3_ARRAY)
    return false;
  /* The count was bounded by the bytes at hand when it was read. */
  *keys = iotops_resize(context, NULL, (list.count + 1) * sizeof **keys);
  if (*keys == NULL)
    return false;
  *count = list.count;
  for (size_t i = 0; i < list.count; i++) {
    if (!resp3_read(&rest, &element) || element.type != RESP3_BLOB)
      return false;
    (*keys)[i] = element.text;
  }
  *token = (iotops_text){NULL, 0};
  if (outer.count == 2) {
    if (!resp3_read(&rest, &element) || element.type != RESP3_BLOB)
      return false;
    *token = element.text;
  }
  return rest.size == 0;
}

static void page_answered(void *user, const iotops_response *response,
                          const iotops_error *err) {
  iotops_store_scan *scan = user;
  iotops_context *context = scan->context;
  iotops_error failure;
  iotops_text *keys = NULL;
  size_t count = 0;
  iotops_text token = {NULL, 0};
  resp3_value refusal;
  if (err == NULL) {
    iotops_text payload = response->payload.bytes;
    if (resp3_read_scalar(payload, &refusal) && refusal.type == RESP3_ERROR) {
      store_error_refused(&failure, refusal.text);
      err = &failure;
    } else if (!read_page(payload, &keys, &count, &token, context)) {
      store_error_unexpected(&failure, payload);
      err = &failure;
    }
  }
  if (err == NULL) {
    iotops_text kept = {NULL, 0};
    if (token.data != NULL)
      kept = own(context, token);
    if (token.data != NULL && kept.data == NULL) {
      iotops_error_memory(&failure);
      err = &failure;
    } else {
      iotops_free(context, (char *)scan->token.data);
      scan->token = kept;
      scan->finished = token.data == NULL;
    }
  }
  scan->asking = false;
  bool freed = scan->freed;
  if (err != NULL)
    scan->done(scan->user, NULL, 0, false, err);
  else
    scan->done(scan->user, keys, count, false, NULL);
  iotops_free(context, keys);
  if (freed)
    destroy(scan);
}

static void report_end(iotops_task *task) {
  iotops_store_scan *scan = task->user;
  scan->asking = false;
  bool freed = scan->freed;
  scan->done(scan->user, NULL, 0, true, NULL);
  if (freed)
    destroy(scan);
}

int iotops_store_scan_next(iotops_store_scan *scan,
                           const iotops_store_options *options,
                           iotops_store_scan_done done, void *user,
                           iotops_error *err) {
  if (scan->asking)
    return iotops_error_set(err, IOTOPS_INVALID_STATE,
                            "a page of this scan is being asked for already");
  scan->done = done;
  scan->user = user;
  if (scan->finished) {
    scan->report.run = report_end;
    scan->report.user = scan;
    scan->asking = true;
    iotops_task_soon(scan->context, &scan->report);
    return 0;
  }
  iotops_text blobs[] = {iotops_text_of("SCAN"), scan->pattern, scan->token};
  size_t count = scan->token.data == NULL ? 2 : 3;
  if (store_request(scan->store, blobs, count, options, false, page_answered,
                    scan, err) != 0)
    return -1;
  scan->asking = true;
  return 0;
}
