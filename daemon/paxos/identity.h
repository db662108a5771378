/* What a replica is: written to the superblock, and the only thing that a first start makes.
 *
 * EMPTY -> STARTING -> VOTER, each durable before anyone is told. A blank disk is EMPTY: it votes for nothing until
 * every configured peer said that it is blank too, or an operator's Bootstrap let a majority do (mpaxos(7), "First
 * start"). */
#ifndef PAXOS_IDENTITY_H
#define PAXOS_IDENTITY_H

#include "paxos/hash.h"
#include "paxos/membership.h"

enum identity_status {
    IDENTITY_EMPTY = 1,
    IDENTITY_STARTING = 2, /* a copy of slot 0 is here; it never changes again */
    IDENTITY_VOTER = 3,
    IDENTITY_QUARANTINED = 4, /* was a voter and lost votes: learns, never votes again */
};

struct identity {
    enum identity_status status;
    replica_id_t id;
    uint64_t life;
    slot_t silent_until; /* a part of its journal is gone: it votes again once it knows all slots up to this one to be
                          * chosen, so that none of its votes for them matters any more; 0: nothing is missing */
    struct hash128 cluster;             /* random; all zero while EMPTY                                */
    struct hash128 bootstrap;           /* of the file's cluster name, members, dedup_slots and alpha  */
    struct configuration configuration; /* slot 0; while EMPTY what the file asks for, lives 0         */
};

#endif
