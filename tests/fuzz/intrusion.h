/* Datagrams that an input puts into a simulated network: messages under headers that are right, or wrong in a way that
 * is chosen, and true datagrams that are changed or come again. One cluster at a time. */
#ifndef TESTS_FUZZ_INTRUSION_H
#define TESTS_FUZZ_INTRUSION_H

#include "tests/fuzz/inputs.h"
#include "tests/sim/sim.h"
#include "wire/datagram.h"

enum { INTRUSION_HOSTS = 3, INTRUSION_LIAR = 1 /* where there is one */ };

/* What a host said last, to anybody. */
struct heard {
    struct ballot bid;
    uint64_t beat_seq, state_nonce;
};

/* `asked` is told when a host is asked for a checkpoint or a page, before it is itself. */
void intrusion_begin(struct cluster *c, void (*asked)(struct host *asker, struct host *peer, slot_t slot));
void intrusion_end(struct cluster *c); /* what is on its way still arrives */

/* In as many datagrams as it takes; in the next ones the values' pieces go on. */
void intrusion_say(struct cluster *c, uint32_t from, struct host *to, const struct message *m, enum driver_guard guard);
void intrusion_change(uint8_t bits); /* of the next datagram that comes */
void intrusion_again(struct cluster *c, uint8_t which);
void intrusion_mute(void); /* the host that stands where the liar does, or no longer */
const struct heard *intrusion_heard(const struct host *h);

#endif
