#include "runtime/figures.h"

#include <string.h>

static exposition_labels labels_of(const char *at, const figure_set *set,
                                   const figure *row) {
  exposition_labels labels = {{{NULL, {0}}}};
  size_t count = 0;
  if (set->label != NULL) {
    labels.label[count].name = set->label;
    memcpy(&labels.label[count++].value, at + set->label_offset,
           sizeof(iotops_text));
  }
  labels.label[count].name = row->label;
  labels.label[count].value = row->label_value;
  return labels;
}

static void write_row(exposition *to, const char *at, const figure_set *set,
                      const figure *row) {
  uint64_t value;
  exposition_labels labels = labels_of(at, set, row);
  memcpy(&value, at + row->offset, sizeof value);
  exposition_sample(to, &labels, value, row->decimals);
}

void figures_write(exposition *to, const figure *rows, size_t row_count,
                   const figure_set *set) {
  for (size_t first = 0, end = 0; first < row_count; first = end) {
    end = first + 1;
    while (end < row_count && strcmp(rows[first].name, rows[end].name) == 0)
      end++;
    exposition_family(to, rows[first].name, rows[first].type, rows[first].help);
    for (size_t i = 0; i < set->count; i++)
      for (size_t row = first; row < end; row++)
        write_row(to, (const char *)set->first + i * set->size, set,
                  &rows[row]);
  }
}
