/*
** socket_linger.h -- lets a socket go so that what was written still arrives.
**
** A socket closed with unread bytes in it makes the kernel reset the
** connection, which throws away what is on its way to the peer.  So the
** writing side is shut, the peer's last bytes are read and dropped, and the
** socket is closed when the peer has closed its own, or after a second.  It
** goes by the loop's own timer, not the context's clock: it waits for the
** kernel and outlives whoever made the connection.
*/
#ifndef SESSION_SOCKET_LINGER_H
#define SESSION_SOCKET_LINGER_H

#include "iotops/context.h"

/* Takes over the non-blocking socket `fd`; no poll of it may be active. */
void socket_linger(iotops_context *context, int fd);

/* Closes `fd` now; what is unsent is thrown away. */
void socket_abort(int fd);

#endif
