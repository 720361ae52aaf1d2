/*
** property_names.h -- the user properties of the protocol (protocol.md
** section 3.2), and how MQTT properties are called in `__propName`.
*/
#ifndef PROTOCOL_PROPERTY_NAMES_H
#define PROTOCOL_PROPERTY_NAMES_H

#define PROPERTY_VERSION          "__protVer"
#define PROPERTY_SOURCE           "__srcId"
#define PROPERTY_TIMESTAMP        "__ts"
#define PROPERTY_STATUS           "__stat"
#define PROPERTY_STATUS_MESSAGE   "__stMsg"
#define PROPERTY_APP_ERROR        "__apErr"
#define PROPERTY_NAME             "__propName"
#define PROPERTY_VALUE            "__propVal"
#define PROPERTY_REQUEST_VERSION  "__requestProtVer"
#define PROPERTY_SUPPORTED_MAJORS "__supProtMajVer"
#define PROPERTY_INVOKER          "__invId" /* legacy: never written */

#define PROPERTY_PARTITION     "$partition"
#define PROPERTY_HIGH_PRIORITY "$high_priority"
#define PROPERTY_PERSISTENCE   "aio-persistence"

#define PROPERTY_APP_ERROR_CODE    "AppErrCode"
#define PROPERTY_APP_ERROR_PAYLOAD "AppErrPayload"

#define HEADER_CONTENT_TYPE     "Content Type"
#define HEADER_FORMAT_INDICATOR "Payload Format Indicator"
#define HEADER_CORRELATION_DATA "Correlation Data"
#define HEADER_RESPONSE_TOPIC   "Response Topic"
#define HEADER_MESSAGE_EXPIRY   "Message Expiry"

#endif
