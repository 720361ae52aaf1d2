/*
** fail_library.h -- memory that runs short within one shared library.
**
** Takes the place of malloc and its like in a program, and fails what a named
** library asks for: who asks is told from the return address.  What a library
** asks for through libc counts as far as strdup.  A crash is laid at the door
** of the innermost object that was running, libc and the loader aside.
*/
#ifndef FAULTS_FAIL_LIBRARY_H
#define FAULTS_FAIL_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>

typedef struct fail_report { /* in memory that parent and child share */
  uint64_t count;            /* allocations that the library asked for */
  int signal;                /* 0: no crash */
  bool ours;                 /* the program itself, not a library */
  char where[128];           /* object and the symbol before the place */
} fail_report;

/* To be called once, early. */
void fail_library_init(void);

/*
** From now on, in this process, allocations `first` to `first + run - 1` of
** libraries whose file name begins with `library` fail (first 0: none), and
** what happens is written to `report`.
*/
void fail_library_begin(const char *library, uint64_t first, uint64_t run,
                        fail_report *report);

/* Nothing fails any more. */
void fail_library_end(void);

#endif
