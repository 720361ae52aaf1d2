/*
** reload_report.h -- how the last attempt to replace a script's generation
** has ended, for those who ask later.
*/
#ifndef RUNTIME_RELOAD_REPORT_H
#define RUNTIME_RELOAD_REPORT_H

#include <stddef.h>
#include <stdint.h>

enum { RELOAD_MESSAGE_SIZE = 512 };

typedef enum reload_outcome {
  RELOAD_NONE,       /* nothing was tried since the script was first loaded */
  RELOAD_COMMITTED,  /* the new generation serves */
  RELOAD_FAILED,     /* what served goes on serving */
  RELOAD_ROLLED_BACK /* the last good version serves again */
} reload_outcome;

typedef struct reload_report {
  uint64_t number; /* attempts that have ended; 0: none */
  reload_outcome outcome;
  uint64_t wall_ms;                  /* when it ended */
  double took_ms;                    /* from reading the files */
  size_t records;                    /* tables and values handed over */
  char message[RELOAD_MESSAGE_SIZE]; /* what the log says of it */
} reload_report;

/* "none", "committed", "failed", "rolled back" */
const char *reload_outcome_name(reload_outcome outcome);

#endif
