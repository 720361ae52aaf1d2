/*
** settings.h -- how to reach the broker and as whom (session.md section 1).
**
** A settings value is filled from exactly one source, then overridden field
** by field, then checked once, when a session is made from it.  Errors name
** the setting in the vocabulary of the source it came from.
*/
#ifndef IOTOPS_SETTINGS_H
#define IOTOPS_SETTINGS_H

#include "iotops/message.h"

typedef struct iotops_settings iotops_settings;

#ifdef __cplusplus
extern "C" {
#endif

/* Defaults of session.md section 1.1; NULL when memory is short. */
IOTOPS_API iotops_settings *iotops_settings_new(iotops_context *context);
IOTOPS_API iotops_settings *
iotops_settings_copy(const iotops_settings *settings);
IOTOPS_API void iotops_settings_free(iotops_settings *settings);

/*
** The sources (sections 1.2, 1.3, 1.4); each begins with all settings at their
** defaults.  What is missing is found by iotops_settings_check(), since it may
** still be set one by one.  From mounted files, DIAGNOSTICS also sets the
** context's log level.  `lookup` stands for getenv (NULL:
** getenv itself).  iotops_settings_auto() takes the mounted files when
** CONNECTOR_CONFIGURATION_MOUNT_PATH is set, else the AIO_* variables.
*/
typedef const char *(*iotops_lookup)(void *user, const char *name);
IOTOPS_API int iotops_settings_from_environment(iotops_settings *settings,
                                                iotops_lookup lookup,
                                                void *user, iotops_error *err);
IOTOPS_API int iotops_settings_from_string(iotops_settings *settings,
                                           iotops_text string,
                                           iotops_error *err);
IOTOPS_API int iotops_settings_from_files(iotops_settings *settings,
                                          iotops_lookup lookup, void *user,
                                          iotops_error *err);

IOTOPS_API int iotops_settings_auto(iotops_settings *settings,
                                    iotops_lookup lookup, void *user,
                                    iotops_error *err);

/*
** Sets one setting by its name in section 1.1 from its text form; an absent
** text gives it its default back.  Fails with invalid configuration for an
** unknown name or a value that does not fit.  Names of the table, and
** ca_directory (every file in it is a CA bundle, section 1.4), sat_debounce
** (ms), max_unacked (messages that a broker may send without an
** acknowledgement, though it was asked for receive_max; past it the connection
** is given up; 0: receive_max), max_held_bytes (bytes of undelivered messages
** past which the transport is not read; 0: unlimited), publish_queue_full
** (wait|drop_newest|drop_oldest).
*/
IOTOPS_API int iotops_settings_set(iotops_settings *settings, const char *name,
                                   iotops_text value, iotops_error *err);

/*
** The text form of a setting or of its default; absent when it has neither or
** is unknown.  Borrowed until the setting changes.
*/
IOTOPS_API iotops_text iotops_settings_get(const iotops_settings *settings,
                                           const char *name);

/* Adds a pair to the CONNECT packet's user properties. */
IOTOPS_API int iotops_settings_add_user_property(iotops_settings *settings,
                                                 iotops_text name,
                                                 iotops_text value,
                                                 iotops_error *err);

/* Sets the will (section 14); NULL: none. */
IOTOPS_API int iotops_settings_set_will(iotops_settings *settings,
                                        const iotops_message *will,
                                        uint32_t delay_s, iotops_error *err);

/* Every check of section 1.6 over the whole, files included. */
IOTOPS_API int iotops_settings_check(const iotops_settings *settings,
                                     iotops_error *err);

/*
** One `name=value` a line for everything set or defaulted, with secrets as
** `***` and control characters as `?`, into `text` (terminated, cut at `size`);
** returns the length it would have.
*/
IOTOPS_API size_t iotops_settings_print(const iotops_settings *settings,
                                        char *text, size_t size);

#ifdef __cplusplus
}
#endif

#endif
