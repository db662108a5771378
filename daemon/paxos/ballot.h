/* Ballots, slots and replica ids: the words that every other file is written in.
 *
 * A ballot orders proposers: by round, then by replica id, then by generation (how many times that id was admitted), so
 * that no two lives ever share one. Round 0 is "no ballot". Source: Lamport, "Paxos Made Simple" (2001), section 2.2.
 */
#ifndef PAXOS_BALLOT_H
#define PAXOS_BALLOT_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t slot_t;
typedef uint8_t replica_id_t;

enum {
    REPLICAS_MAX = 31, /* members of one configuration; a set of them is one uint32_t          */
    REPLICA_ID_MAX = 254,
    REPLICA_ID_NONE = 255, /* as a receiver: every other member                                    */
};

struct ballot {
    uint64_t round;
    uint32_t gen;
    replica_id_t id;
};

/* < 0, 0, > 0 as a is below, equal to or above b. */
static inline int ballot_compare(struct ballot a, struct ballot b)
{
    if (a.round != b.round)
        return a.round < b.round ? -1 : 1;
    if (a.id != b.id)
        return a.id < b.id ? -1 : 1;
    return (a.gen > b.gen) - (a.gen < b.gen);
}

static inline bool ballot_equal(struct ballot a, struct ballot b)
{
    return ballot_compare(a, b) == 0;
}

static inline bool ballot_is_none(struct ballot b)
{
    return b.round == 0;
}

#endif
