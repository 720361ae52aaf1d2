#include <string.h>

#include "services/state_store_fields.h"
#include "services/store_error.h"
#include "services/store_page.h"

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

bool store_page_read(iotops_text payload, store_page *page) {
  resp3_value outer;
  resp3_value list;
  resp3_value element;
  iotops_text rest = payload;
  if (!resp3_read(&rest, &outer) || outer.type != RESP3_ARRAY ||
      outer.count < 1 || outer.count > 2)
    return false;
  if (!resp3_read(&rest, &list) || list.type != RESP3_ARRAY)
    return false;
  *page = (store_page){.rest = rest, .count = list.count};
  for (size_t i = 0; i < list.count; i++)
    if (!resp3_read(&rest, &element) || element.type != RESP3_BLOB)
      return false;
  if (outer.count == 2) {
    if (!resp3_read(&rest, &element) || element.type != RESP3_BLOB)
      return false;
    page->token = element.text;
  }
  return rest.size == 0;
}

void store_page_keys(const store_page *page, iotops_text *keys) {
  iotops_text rest = page->rest;
  resp3_value element;
  for (size_t i = 0; i < page->count; i++) {
    keys[i] = (iotops_text){"", 0};
    if (resp3_read(&rest, &element))
      keys[i] = element.text;
  }
}

/* Takes a page over; on failure the scan stands where it stood. */
static int take_page(iotops_store_scan *scan, const iotops_response *response,
                     iotops_text **keys, size_t *count, iotops_error *err) {
  iotops_context *context = scan->context;
  iotops_text payload = response->payload.bytes;
  iotops_text token = {NULL, 0};
  resp3_value refusal;
  store_page page;
  if (iotops_format_accepts(IOTOPS_FORMAT_RAW, &response->payload, err) != 0)
    return -1;
  if (resp3_read_scalar(payload, &refusal) && refusal.type == RESP3_ERROR) {
    store_error_refused(err, refusal.text);
    return -1;
  }
  if (!store_page_read(payload, &page)) {
    store_error_unexpected(err, payload);
    return -1;
  }
  /* The count was bounded by the bytes at hand when it was read. */
  *keys = iotops_resize(context, NULL, (page.count + 1) * sizeof **keys);
  if (page.token.data != NULL)
    token = own(context, page.token);
  if (*keys == NULL || (page.token.data != NULL && token.data == NULL)) {
    iotops_free(context, *keys);
    iotops_free(context, (char *)token.data);
    *keys = NULL;
    return iotops_error_memory(err);
  }
  store_page_keys(&page, *keys);
  *count = page.count;
  iotops_free(context, (char *)scan->token.data);
  scan->token = token;
  scan->finished = token.data == NULL;
  return 0;
}

/* Ends the request in hand; the scan may be gone afterwards. */
static void end_request(iotops_store_scan *scan, const iotops_text *keys,
                        size_t count, bool finished, const iotops_error *err) {
  iotops_store_scan_done done = scan->done;
  void *user = scan->user;
  iotops_error cancelled;
  scan->asking = false;
  if (scan->freed) {
    destroy(scan);
    iotops_error_set(&cancelled, IOTOPS_CANCELLATION, "the scan was ended");
    err = &cancelled;
  }
  if (err != NULL)
    done(user, NULL, 0, false, err);
  else
    done(user, keys, count, finished, NULL);
}

static void page_answered(void *user, const iotops_response *response,
                          const iotops_error *err) {
  iotops_store_scan *scan = user;
  iotops_context *context = scan->context;
  iotops_error failure;
  iotops_text *keys = NULL;
  size_t count = 0;
  if (err == NULL && take_page(scan, response, &keys, &count, &failure) != 0) {
    failure.is_shallow = false;
    err = &failure;
  }
  end_request(scan, keys, count, false, err);
  iotops_free(context, keys);
}

static void report_end(iotops_task *task) {
  end_request(task->user, NULL, 0, true, NULL);
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
  if (store_request(scan->store, blobs, count, options, STORE_READS,
                    page_answered, scan, err) != 0)
    return -1;
  scan->asking = true;
  return 0;
}
