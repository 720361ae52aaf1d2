/*
** log_ring.h -- the last records of the log, and who listens to it.
**
** LOG_RING_BYTES are taken once, some thousand records; the oldest go first.
** Keeping a record allocates nothing.
*/
#ifndef RUNTIME_LOG_RING_H
#define RUNTIME_LOG_RING_H

#include "iotops/context.h"

enum { LOG_RING_BYTES = 256 * 1024 };

typedef struct log_entry {
  uint32_t room; /* bytes to the next entry; private */
  uint32_t size; /* of `json` */
  iotops_log_level level;
  char json[]; /* the record as logger.h writes it, then its script's name, each
                  terminated; "": nobody's */
} log_entry;

/* Embedded in what listens; zero it before its use. */
typedef struct log_listener log_listener;
struct log_listener {
  /* Must not log, nor stop to listen. */
  void (*heard)(log_listener *listener, const log_entry *entry);
  void *user; /* the owner's, never touched */
  log_listener *next;
};

typedef struct log_ring {
  iotops_context *context; /* borrowed */
  char *bytes;             /* owned; NULL: nothing is kept */
  size_t first;            /* offset of the oldest entry */
  size_t next;             /* and of the next one */
  size_t end; /* where the entries before the turn end; 0: not turned */
  size_t count;
  log_listener *listeners; /* borrowed */
} log_ring;

/*
** A zeroed ring keeps nothing until then; nor does one that memory is short
** for.
*/
void log_ring_begin(log_ring *ring, iotops_context *context);

/* Keeps the record and tells the listeners. */
void log_ring_keep(log_ring *ring, const iotops_log_record *record);

/*
** The oldest entry, or the one after `entry`; NULL: there is none.  Nothing may
** be logged in between.
*/
const log_entry *log_ring_first(const log_ring *ring);
const log_entry *log_ring_after(const log_ring *ring, const log_entry *entry);

/* The name of the script that the entry is of; "": of none. */
const char *log_entry_script(const log_entry *entry);

void log_ring_listen(log_ring *ring, log_listener *listener);
void log_ring_ignore(log_ring *ring, log_listener *listener);

/* Frees the records; nothing is kept from then on. */
void log_ring_end(log_ring *ring);

#endif
