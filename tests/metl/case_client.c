/*
** case_client.c -- the session of a case's envoys: the stub's, unless the
** linker puts another one in its place (faulty/faulty_client.c).
*/
#include "case_state.h"

iotops_mqtt_client *metl_case_client(metl_case *one) {
  return one->stub->ops->client(one->stub);
}
