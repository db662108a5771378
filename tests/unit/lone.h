/* One real replica among peers that a test plays by hand: nothing happens but what the test does.
 *
 * Its disk becomes durable by lone_durable() only, what it sends is kept for the test to look at once it may leave, and
 * its peers are silent unless lone_beat() lets them send a heartbeat. Peers are named by member index, which here is
 * the id too. */
#ifndef TESTS_UNIT_LONE_H
#define TESTS_UNIT_LONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "host/values.h"
#include "paxos/replica.h"

enum { LONE_PEERS_MAX = 7, LONE_SENT_MAX = 4096, LONE_APPLIED_MAX = 4096, LONE_OUTCOMES_MAX = 4096 };

#define MSEC   UINT64_C(1000)
#define SECOND UINT64_C(1000000)

struct lone_options {
    bool blank; /* no voter yet */
    uint64_t heartbeat_usec;
    uint32_t alpha, dedup_slots, streams_max;
    uint32_t submissions_max, promise_page_slots, proposal_bytes_max, message_bytes_max, space_bytes;
};

/* The bytes of one value: equal bytes, equal pointer. */
struct body {
    struct body *next;
    uint32_t size;
    uint8_t bytes[];
};

/* A message outside of the replica: its arrays are its own, its values are bodies. */
struct packet {
    struct message message;
    struct entry *entries; /* values are NULL; bodies[] has them */
    const struct body **bodies;
    struct promised_entry *promised;
};

struct lone_record {
    uint64_t seq; /* of the boot that wrote it */
    enum record_type type;
    slot_t slot;
    struct ballot ballot;
    const struct body *body;
    struct note *notes;
    uint32_t n_notes;
};

struct lone_sent {
    uint64_t after;
    replica_id_t to;
    struct packet *packet;
};

struct lone_applied {
    slot_t slot;
    const struct body *body;
    uint64_t time_usec;
    bool visible;
};

/* What a peer's heartbeats say. */
struct lone_peer {
    bool silent;
    bool deaf; /* echoes nothing: it does not hear the replica */
    bool votes_not;
    bool reborn; /* what it sends is of another life than the one that was admitted */
    struct ballot bid, followed;
    bool leading, happy;
    slot_t commit;
    struct hash128 chain;
    uint64_t seq;
};

struct lone {
    struct lone_options options;
    uint32_t n, me;
    uint64_t now_usec, timer_usec, fetch_usec; /* the last two: UINT64_MAX: none */
    uint64_t boot;
    struct identity identity;
    void *block;
    struct replica *replica;
    struct values values; /* that the replica was given */
    struct body *bodies;
    struct lone_record *records; /* the disk */
    size_t n_records, n_durable, records_capacity;
    uint64_t seq, durable_seq; /* of this boot */
    struct fetch_request fetch;
    replica_id_t install_from; /* whose checkpoint it wanted last */
    struct lone_peer peers[LONE_PEERS_MAX];
    struct lone_sent gated[LONE_SENT_MAX]; /* waits for the disk */
    size_t n_gated;
    struct lone_sent sent[LONE_SENT_MAX];
    size_t n_sent;
    struct lone_applied applied[LONE_APPLIED_MAX];
    size_t n_applied;
    struct outcome outcomes[LONE_OUTCOMES_MAX];
    size_t n_outcomes;
    uint64_t beat_seq; /* of the replica's last heartbeat */
    struct hash128 chain;
    uint64_t cookie;
    struct ballot ballot; /* of lone_lead() */
};

struct lone_options lone_defaults(void);
/* `o` NULL: lone_defaults(). The replica is member `me` of `n`. */
struct lone *lone_make(const struct lone_options *o, uint32_t n, uint32_t me);
void lone_free(struct lone *l);
void lone_restart(struct lone *l); /* power loss: keeps what is durable */

/* --- values --- */
const struct body *lone_body(struct lone *l, const void *bytes, uint32_t size);
const struct body *lone_noop(struct lone *l);
/* A message: one-letter key and text, e.g. lone_text(l, 7, 1, "k", "t"). */
const struct body *lone_text(struct lone *l, uint64_t stream, uint64_t n, const char *key, const char *text);
struct hash128 lone_hash(const struct lone *l, const struct body *b);

/* --- what comes in --- */
void lone_receive(struct lone *l, uint32_t from, const struct message *m); /* without values */
void lone_receive_values(struct lone *l, uint32_t from, const struct message *m, uint32_t n, const slot_t *slots,
                         const struct body *const *bodies);
void lone_prepare(struct lone *l, uint32_t from, struct ballot b, slot_t first, uint32_t page);
void lone_accept(struct lone *l, uint32_t from, struct ballot b, slot_t commit, slot_t slot, const struct body *body);
/* One page that is the last one. */
void lone_promise(struct lone *l, uint32_t from, const struct message *prepare, slot_t chosen, uint32_t n,
                  const struct promised_entry *entries);
void lone_accepted(struct lone *l, uint32_t from, struct ballot b, slot_t slot); /* that slot alone */
void lone_submit(struct lone *l, uint64_t stream, uint64_t n, const char *key, const char *text);
uint64_t lone_position(struct lone *l);
void lone_durable(struct lone *l); /* all that was appended, and what follows from it */
void lone_event(struct lone *l, struct event e);
/* Every peer that is not silent sends a heartbeat. */
void lone_beat(struct lone *l);
/* Time goes on; the disk as it is. */
void lone_wait(struct lone *l, uint64_t usec);
/* The same, with heartbeats of the peers. */
void lone_run(struct lone *l, uint64_t usec);

/* --- what goes out --- */
void lone_forget(struct lone *l); /* what was sent, applied and answered so far */
/* The first, or last, message of a type to a peer (REPLICA_ID_NONE: to anybody) since lone_forget(); NULL: none. */
const struct packet *lone_first(const struct lone *l, enum message_type type, replica_id_t to);
const struct packet *lone_last(const struct lone *l, enum message_type type, replica_id_t to);
uint32_t lone_count(const struct lone *l, enum message_type type);
/* The value that ACCEPTs proposed for a slot; NULL: none. */
const struct body *lone_proposed(const struct lone *l, slot_t slot);
slot_t lone_proposed_max(const struct lone *l);
bool lone_acked(const struct lone *l, struct ballot b, slot_t slot);
const struct outcome *lone_outcome(const struct lone *l, uint64_t cookie); /* NULL: open */
struct replica_status lone_status(const struct lone *l);
bool lone_is_leader(const struct lone *l);
slot_t lone_chosen(const struct lone *l);

/* The replica bids, and PREPARE is on its way; answers it. Peers are linked and unhappy. */
const struct message *lone_bid(struct lone *l);
/* It leads: nothing was reported, the barrier is chosen (by a majority of ACCEPTED), and everything is durable. */
void lone_lead(struct lone *l);

#endif
