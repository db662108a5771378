/* A host for one core: keeps its records, says when they are durable, starts it again from them. Checks on the way:
 * what the core sends can be written, and reads back as it was; it tells of each call once; applies slot after slot,
 * and what is durable as before; takes no promise back, votes for nothing below one nor for what it did not record, and
 * proposes one value under a slot and ballot (host_votes.c); notes in its records what it applied; and starts from
 * whatever it was made to record. One at a time. */
#ifndef TESTS_FUZZ_HOST_H
#define TESTS_FUZZ_HOST_H

#include "host/values.h"
#include "paxos/checkpoint.h"
#include "paxos/replica.h"
#include "wire/datagram.h"

enum {
    HOST_MEMBERS = 3,
    HOST_ID = 2, /* ids from 1 */
    HOST_DATAGRAM_BYTES = 1200,
    HOST_ALPHA = 8,
    HOST_LOG_MAX = 4096,
    HOST_VALUE_BYTES_MAX = 1 << 16,
    HOST_CALLS_MAX = 64,
    HOST_LIFE = 1000, /* and the id */
};

struct kept_record {
    enum record_type type;
    slot_t slot;
    struct ballot ballot;
    uint8_t *bytes; /* of the value */
    uint32_t size;
    struct identity *identity;
    struct note *notes;
    uint32_t n_notes;
    slot_t recorded_until;
    struct ballot promised; /* by all up to it */
};

/* Of its own ballots. */
struct proposed {
    slot_t slot;
    struct ballot ballot;
    struct hash128 hash;
};

struct host {
    struct replica *replica;
    struct identity identity; /* the durable one */
    struct values values;
    uint64_t now_usec, wake_usec;
    uint64_t seq; /* of this boot */
    struct kept_record *records;
    size_t n_records, n_durable, room; /* of all boots */
    size_t boot;                       /* how many there were when it began */
    struct {
        uint8_t *bytes;
        uint32_t size;
        bool visible;
        uint64_t time_usec;
    } log[HOST_LOG_MAX]; /* what was applied; bytes NULL: nothing, or slot 0 */
    slot_t applied;
    slot_t committed; /* by durable records, or a checkpoint */
    slot_t noted;     /* by a COMMIT of this boot */
    struct ballot promised;
    struct proposed *proposed;
    size_t n_proposed, proposed_room;
    uint8_t *checkpoint; /* that it goes on from; NULL: none */
    size_t checkpoint_size;
    bool calls[HOST_CALLS_MAX]; /* open ones, by cookie - 1 */

    /* What it said last. */
    struct fetch_request fetch;
    uint64_t beat_seq, state_nonce;
    struct ballot bid; /* of PREPARE */
    slot_t prepare_from;
    struct ballot accept_ballot;
    slot_t accept_slot; /* the first of ACCEPT */
};
extern struct host host;

void host_begin(bool blank);
void host_end(void);
/* Fills in the time. */
void host_step(struct event e);
/* All that was recorded. */
void host_make_durable(void);
/* `lose`: only what was durable is left. */
void host_restart(bool lose);
/* Its core goes on from a peer's checkpoint, so many slots above what it applied, which an odd `how` ends with a trim.
 */
void host_install(uint8_t how);

/* --- host_votes.c --- */
void votes_check(const struct outgoing *o, struct ballot promised); /* before the step that made it */
void votes_watch(void);                                             /* after each step              */

/* --- host_checkpoint.c --- */
void checkpoint_make(slot_t slot, bool trims, uint8_t **ret, size_t *ret_size);
bool checkpoint_load_into(struct replica *r, const uint8_t *bytes, size_t size, struct checkpoint_reader *ret);

#endif
