/*
** http.h -- answers a few questions by HTTP, on the loop of a context.
**
** Nothing here waits: a connection that is slow to ask, or to take its answer,
** is served bit by bit and closed HTTP_CONNECTION_MS after it was made, or
** when HTTP_CONNECTIONS have come since: who is slow keeps nobody else from
** being answered.  A connection carries one request, whose head is at most
** HTTP_REQUEST_SIZE; only GET and HEAD are answered, a body never looked at.
*/
#ifndef RUNTIME_HTTP_H
#define RUNTIME_HTTP_H

#include "iotops/error.h"
#include "protocol/text_buffer.h"

enum {
  HTTP_CONNECTIONS = 32,
  HTTP_CONNECTION_MS = 10000,
  HTTP_REQUEST_SIZE = 8 * 1024
};

typedef struct http http;

typedef struct http_answer {
  unsigned status;  /* 200, unless it is set; 404: there is no such page */
  const char *type; /* borrowed; of the content, text unless it is set */
  text_buffer body;
} http_answer;

/* Fills the answer to a GET of `path`, which has no query.  Must not wait. */
typedef void (*http_serve)(void *user, const char *path, http_answer *answer);

/*
** Whether `address` is one that http_new() takes: PORT, ADDRESS:PORT with a
** numeric address (in brackets for IPv6), or *:PORT for all addresses.
*/
bool http_is_address(const char *address);

/*
** Listens on `address`; without ADDRESS on 127.0.0.1, and port 0 is any that
** is free.  Fails with invalid configuration: nothing can listen there.
*/
int http_new(iotops_context *context, const char *address, http_serve serve,
             void *user, http **http, iotops_error *err);

/* Where it listens, as ADDRESS:PORT. */
const char *http_where(const http *http);

/*
** Closes connections and all; the memory goes when the loop has turned.  NULL
** is allowed.
*/
void http_close(http *http);

#endif
