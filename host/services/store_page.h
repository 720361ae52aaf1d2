/*
** store_page.h -- reading the answer to a SCAN (services.md section 3.10, K3):
** an array of the keys and, when more follow, a token.
*/
#ifndef IOTOPS_STORE_PAGE_H
#define IOTOPS_STORE_PAGE_H

#include "services/resp3.h"

typedef struct store_page { /* views of what was read */
  size_t count;             /* of the keys */
  iotops_text rest;         /* from the first key on */
  iotops_text token;        /* absent: the last page */
} store_page;

/* False when the payload is malformed.  Nothing is allocated. */
bool store_page_read(iotops_text payload, store_page *page);

/* Writes the `count` keys of a page that was read. */
void store_page_keys(const store_page *page, iotops_text *keys);

#endif
