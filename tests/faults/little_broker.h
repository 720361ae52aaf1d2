/*
** little_broker.h -- a broker in a process of its own that needs none of the
** libraries whose memory fails: one thread a connection, blocking.
**
** It takes QoS 1, sends back what is published to who publishes it, knows
** again who has been connected before, and drops the connection instead of
** acknowledging a payload that begins with "cut", the first time.
*/
#ifndef FAULTS_LITTLE_BROKER_H
#define FAULTS_LITTLE_BROKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct little_broker {
  pid_t pid;
  uint16_t port, tls_port; /* on 127.0.0.1 */
} little_broker;

/*
** Starts it with the certificate and key of those files.  It ends with the
** process that started it.
*/
bool little_broker_start(little_broker *broker, const char *certificate,
                         const char *key);
void little_broker_stop(const little_broker *broker);

#endif
