/* What a host's core was handed and what it says of it, by the contract of paxos/replica.h: an outcome only of what is
 * open, once; what stands behind a refused number on its stream is refused too, else it would never get its turn; and a
 * stream is renumbered as a whole. */
#ifndef TESTS_SIM_HANDED_H
#define TESTS_SIM_HANDED_H

#include "tests/sim/sim.h"

void handed_event(struct host *h, const struct event *e);      /* before the step */
void handed_outcomes(struct host *h, const struct effects *e); /* after it        */
void handed_forget(struct host *h);                            /* its process ended */

#endif
