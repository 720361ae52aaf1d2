/*
** credentials.h -- passwords and service account tokens, fresh from their
** files (session.md sections 2.1 to 2.3).
**
** The owner asks for what to present at each CONNECT; the file is read at
** that moment.  With a sat_file the folder it is in is watched besides (a
** projected token is replaced by swapping a symbolic link, which the file
** itself does not notice) and its content looked at once a minute; when it
** holds a token other than the one last presented, `changed` is called, and
** again at each later look, until that token has been taken.  A file that is
** empty or cannot be read then is ignored with a warning.
**
** The owner's part: at `changed`, after each CONNACK and at the end of each
** AUTH exchange, while connected and without an exchange in hand, ask
** credentials_next_token() and send what it gives.
*/
#ifndef SESSION_CREDENTIALS_H
#define SESSION_CREDENTIALS_H

#include "session/settings_fields.h"

typedef struct credentials credentials;

typedef struct credentials_view {
  iotops_text username; /* absent: no user name field; so for the others */
  iotops_text password;
  iotops_text token; /* data of the authentication method K8S-SAT */
} credentials_view;

/*
** Begins to watch.  `settings` are borrowed and outlive it.  `changed` comes
** from the loop, never from inside a call.  Fails with invalid state when
** memory is short; a folder that cannot be watched is only a warning.
*/
int credentials_open(iotops_context *context, const iotops_settings *settings,
                     void (*changed)(void *user), void *user,
                     credentials **result, iotops_error *err);

/* Stops watching; no callback follows.  Wipes what it read.  NULL allowed. */
void credentials_close(credentials *credentials);

/*
** What to present in a CONNECT, read now.  Texts are borrowed until the next
** call or close.  Fails with invalid configuration when a file cannot be
** read or holds nothing or too much; worth another attempt later.
*/
int credentials_for_connect(credentials *credentials, credentials_view *view,
                            iotops_error *err);

/*
** True when the sat_file now holds a token other than the one last presented,
** in `*token`, which counts as presented from here on.  Borrowed until the
** next call or close.
*/
bool credentials_next_token(credentials *credentials, iotops_text *token);

/*
** Reads the file that the setting `id` (password_file or sat_file) names, a
** token without trailing CR, LF and space.  The text is owned by the caller
** (file_wipe) and terminated besides.  Fails as credentials_for_connect().
*/
int credentials_read_file(const iotops_settings *settings, setting_id id,
                          iotops_text *content, iotops_error *err);

#endif
