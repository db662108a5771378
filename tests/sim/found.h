/* What a recovery finds has to be, in order, what was asked for: all that was durable, then a beginning of the rest; of
 * the beginning, where there is a checkpoint, only what still counts. */
#ifndef TESTS_SIM_FOUND_H
#define TESTS_SIM_FOUND_H

#include "tests/sim/sim.h"

/* False: it does not stand there. `bytes` are its value's. */
bool found_record(const struct disk *d, struct finding *g, const struct record *r, const uint8_t *bytes, uint32_t size);
/* There are no more; the superblock has this status. Then g->n records were found, or need not be. */
void found_end(const struct disk *d, struct finding *g, enum identity_status status);

#endif
