/* xorshift64*: waits that differ from replica to replica, the same from the same seed. Not for secrets.
 * Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators" (2016). */
#ifndef PAXOS_PRNG_H
#define PAXOS_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state; /* not 0 */
};

static inline void prng_seed(struct prng *p, uint64_t seed)
{
    p->state = seed ^ UINT64_C(0x9e3779b97f4a7c15);
    if (p->state == 0)
        p->state = 1;
}

static inline uint64_t prng_next(struct prng *p)
{
    p->state ^= p->state >> 12;
    p->state ^= p->state << 25;
    p->state ^= p->state >> 27;
    return p->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* 0 to below - 1; 0 where below is 0. */
static inline uint64_t prng_below(struct prng *p, uint64_t below)
{
    return below == 0 ? 0 : (prng_next(p) >> 11) % below;
}

#endif
