/*
** figures.h -- tables of metrics: what they are called, and where in a struct
** their values lie.
**
** A struct of figures is filled when somebody asks; one table of rows writes
** any number of them, one for each script, say.
*/
#ifndef RUNTIME_FIGURES_H
#define RUNTIME_FIGURES_H

#include "runtime/exposition.h"

/*
** One row.  Rows of one name follow each other and differ in the value of
** `label`; the first of them has the help.
*/
typedef struct figure {
  const char *name, *type, *help;
  const char *label; /* NULL: none */
  iotops_text label_value;
  size_t offset;     /* of a uint64_t */
  unsigned decimals; /* it is in 1 / 10^decimals of the unit */
} figure;

/* Rows of the struct that FIGURES is defined as; the names without `iotops_`.
 */
#define FIGURE(name, type, field, decimals, help)                              \
  { "iotops_" name, type, help, NULL, {0}, offsetof(FIGURES, field), decimals }
#define FIGURE_BY(name, type, label, value, field, decimals, help)             \
  {                                                                            \
    "iotops_" name, type, help, label, {value, sizeof(value) - 1},             \
        offsetof(FIGURES, field), decimals                                     \
  }

/* The structs whose figures are written. */
typedef struct figure_set {
  const void *first; /* borrowed; an array */
  size_t size, count;
  const char *label;   /* tells them apart; NULL: nothing does */
  size_t label_offset; /* of its value, an iotops_text, in each */
} figure_set;

/*
** All samples of a family stand together: each row of it for the first struct,
** then for the second.
*/
void figures_write(exposition *to, const figure *rows, size_t row_count,
                   const figure_set *set);

#endif
