/* What the daemon's code finds instead of the system: see world.c. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "tests/sim/sim.h"

/* The host whose code runs now: time, randomness, files and sockets are its own. */
void world_enter(struct host *h);
struct host *world_host(void);
void world_work(struct host *h); /* the next step of what it gave libuv's threads */

#endif
