/* Configurations: who votes on a slot, and the sizes that must be the same on all replicas.
 *
 * They live in the log only (slot 0: the first start), never in a local file, so that config(slot) is the same wherever
 * it is computed. Encoded little-endian as a CONFIG value's text: version u16, n_members u16, alpha u32, dedup_slots
 * u32, streams_max u32, then per member: id u8, address_size u8, gen u32, life u64, address bytes ("host:port"). */
#ifndef PAXOS_MEMBERSHIP_H
#define PAXOS_MEMBERSHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/ballot.h"

enum {
    CONFIGURATION_VERSION = 1,
    ADDRESS_BYTES_MAX = 255,
    CONFIGURATION_BYTES_MAX = 16 + REPLICAS_MAX * (14 + ADDRESS_BYTES_MAX),
};

struct member {
    uint64_t life; /* drawn at format; 0: admitted, never started */
    uint32_t gen;  /* how many times this id was admitted, from 1 */
    replica_id_t id;
    uint8_t address_size;
    char address[ADDRESS_BYTES_MAX];
};

struct configuration {
    uint32_t alpha;       /* slots in flight above the chosen prefix */
    uint32_t dedup_slots; /* keys are remembered for so many slots   */
    uint32_t streams_max;
    uint32_t n_members;
    struct member members[REPLICAS_MAX]; /* by id, ascending */
};

/* Size written to `ret` (CONFIGURATION_BYTES_MAX of room). */
size_t configuration_encode(const struct configuration *c, uint8_t *ret);

/* False, *ret untouched, where the bytes are not exactly one configuration that can be used: version, ids ascending,
 * 1 to REPLICAS_MAX members, each with gen at least 1 and an address without NUL, alpha, dedup_slots and streams_max at
 * least 1. */
bool configuration_decode(const uint8_t *bytes, size_t size, struct configuration *ret);

/* Index of a member, -1 if there is none with this id. */
int configuration_find(const struct configuration *c, replica_id_t id);

/* Whether a set of member indexes (bit i: members[i]) is more than half of all. */
bool configuration_is_majority(const struct configuration *c, uint32_t set);

#endif
