/* A test's UDP sockets on the loopback interface. */
#ifndef TESTS_UNIT_LOOPBACK_H
#define TESTS_UNIT_LOOPBACK_H

#include <stdint.h>

/* One that does not block, on a port of the kernel's choice. */
int loopback_open(uint16_t *ret_port);
/* A port that is free now: that of a socket that is closed again. */
uint16_t loopback_free_port(void);

#endif
