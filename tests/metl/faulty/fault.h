/*
** fault.h -- which fault is switched on, in the program that is broken on
** purpose.
**
** `metl-faulty` is the conformance runner with breaks between the envoys and
** the stub (faulty_client.c) and in place of functions of the product
** (faulty_product.c, put there by the linker).  One process has one fault,
** named by METL_FAULT.
*/
#ifndef METL_FAULT_H
#define METL_FAULT_H

#include <stdbool.h>

/* True when the fault of that name is the one that is on. */
bool fault_is(const char *name);

#endif
