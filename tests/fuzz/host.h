/* A host for one core: keeps its records, says when they are durable, starts it again from them. Checks on the way:
 * what the core sends can be written; it tells of each call once; applies slot after slot; and starts from whatever it
 * was made to record. One at a time. */
#ifndef TESTS_FUZZ_HOST_H
#define TESTS_FUZZ_HOST_H

#include "host/values.h"
#include "paxos/replica.h"
#include "wire/datagram.h"

enum {
    HOST_MEMBERS = 3,
    HOST_ID = 2, /* ids from 1 */
    HOST_DATAGRAM_BYTES = 1200,
    HOST_ALPHA = 8,
    HOST_LOG_MAX = 4096,
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
};

struct host {
    struct replica *replica;
    struct identity identity; /* the durable one */
    struct values values;
    uint64_t now_usec, wake_usec;
    uint64_t seq; /* of this boot */
    struct kept_record *records;
    size_t n_records, n_durable, room; /* of all boots */
    struct {
        uint8_t *bytes;
        uint32_t size;
    } log[HOST_LOG_MAX]; /* what was applied; bytes NULL: nothing, or slot 0 */
    slot_t applied;
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
/* A parsed value of the host's, with one reference. */
struct value *host_value(const struct value_fields *f, const struct hash128 *key);

#endif
