/* One replica as a pure state machine. The host hands over one event and carries out the effects. Equal state and equal
 * event give equal effects, byte for byte, so that daemon, unit tests and simulator drive this same function.
 *
 * Order: records are appended in the order given; a message leaves only once the journal is durable up to its `after`;
 * what is in `applied` and `outcomes` may be told at once, since a majority's disks hold it.
 * Ownership: arrays in an event are borrowed for the step; effects are the replica's, valid until its next step. Values
 * are counted: the core takes its own references; those that it dropped last come back in effects.released.
 * Failure: a step never fails. Input that makes no sense is ignored and counted; a broken invariant aborts.
 * Source: Lamport 2001; Ongaro's and Ousterhout's Paxos lecture; Ng et al., EuroSys 2023; mpaxos(7). */
#ifndef PAXOS_REPLICA_H
#define PAXOS_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/ballot.h"
#include "paxos/identity.h"
#include "paxos/message.h"
#include "paxos/record.h"
#include "paxos/value.h"

enum {
    WINDOW_SLOTS_DEFAULT = 4096, /* alpha */
    DEDUP_SLOTS_DEFAULT = 1048576,
    STREAMS_DEFAULT = 65536,
    SUBMISSIONS_DEFAULT = 16384, /* local calls whose outcome is open */
    SKIPS_MAX = 256,
    POSITIONS_MAX = 1024, /* linearizable reads that are open  */
};

struct replica_config {
    struct identity identity; /* from the superblock; EMPTY: as config_identity() made it from the file */
    uint32_t heartbeat_usec;
    uint32_t message_bytes_max;
    uint32_t proposal_bytes_max; /* of values proposed and not yet chosen            */
    uint32_t submissions_max;
    uint32_t promise_page_slots; /* slots that one PROMISE covers: it must fit into a datagram */
    uint32_t space_bytes;        /* what this replica's receive buffer takes from one peer at once */
    uint64_t seed;               /* for waits and for the cluster id: from the system's randomness */
    uint64_t now_usec;
};

enum event_type {
    EVENT_MESSAGE,   /* a well-formed datagram's message from a member's address              */
    EVENT_DURABLE,   /* the journal is on disk up to .durable_seq                             */
    EVENT_TIMER,     /* .now_usec reached effects.wake_usec; early is harmless                */
    EVENT_SUBMIT,    /* local clients want values chosen                                      */
    EVENT_CANCEL,    /* nobody waits any more for submission or position .cookie              */
    EVENT_FETCHED,   /* .fetched: what effects.fetch asked for, read from the journal         */
    EVENT_POSITION,  /* a local client wants the linearizable position, by .cookie            */
    EVENT_SKIP,      /* leave .slots without a proposal, as leader                            */
    EVENT_BOOTSTRAP, /* an operator lets a majority of blank replicas start                   */
    EVENT_TRANSFER,  /* hand leadership to .target, or the best follower (REPLICA_ID_NONE)    */
    EVENT_SPACE,     /* .space: whether the journal has room; without it nothing is recorded  */
    EVENT_TRIM,      /* as leader, have .trim chosen, a VALUE_TRIM                            */
    EVENT_COMMIT,    /* tell the journal how far the prefix goes: a checkpoint follows        */
    EVENT_INSTALL,   /* .checkpoint, loaded into this replica, is durable: go on from there   */
};

struct submission {
    struct value *value; /* type MESSAGE, .stream and .n set by the host: n = 1, 2, 3 ... on each stream */
    uint64_t cookie;     /* the host's name for the call, not 0 */
};

struct event {
    enum event_type type;
    uint64_t now_usec; /* monotonic, never decreasing */
    union {
        const struct message *message;
        uint64_t durable_seq;
        struct {
            const struct submission *submissions;
            size_t n_submissions; /* at most SUBMIT_BATCH_MAX */
        };
        uint64_t cookie;
        struct {
            replica_id_t to;
            const struct entry *fetched; /* consecutive slots; fewer than asked for where they do not fit */
            size_t n_fetched;
            slot_t first_kept; /* the lowest slot that can be read here; 0: all can; above what was asked for, where
                                * just that cannot be read */
        };
        struct {
            const slot_t *slots;
            size_t n_slots;
            bool skips_only; /* instead of those before, not beside them */
        };
        replica_id_t target;
        bool space;
        struct value *trim;
        const struct checkpoint_reader *checkpoint;
    };
};

enum { SUBMIT_BATCH_MAX = 256 };

struct outgoing {
    uint64_t after;  /* the journal sequence that it waits for; 0: none */
    replica_id_t to; /* REPLICA_ID_NONE: every other member             */
    struct message message;
};

/* One slot of the chosen prefix, in order, as it is applied. */
struct applied {
    slot_t slot;
    struct value *value;
    uint64_t time_usec; /* clamped: never decreases along the log */
    bool visible;       /* a message stands here                  */
};

/* Of this handing over: of a message that was renumbered, expired and refused say nothing about the number before. */
enum outcome_type {
    OUTCOME_CHOSEN,      /* at .slot                                                             */
    OUTCOME_DUPLICATE,   /* of the message at .slot                                              */
    OUTCOME_CONFLICT,    /* the key stands at .slot with another text                            */
    OUTCOME_EXPIRED,     /* .since is older than .slot, the oldest whose keys are known          */
    OUTCOME_RENUMBER,    /* its stream was evicted: submit all that is open on it again, in order,
                          * from n = 1 on a new stream, same keys and since                      */
    OUTCOME_OVERLOADED,  /* not taken: certainly not chosen, uses up no number                   */
    OUTCOME_NO_QUORUM,   /* the same                                                             */
    OUTCOME_NOT_STARTED, /* the same: this replica is not of a cluster that runs yet             */
    OUTCOME_NO_SPACE,    /* the same: the disk is full                                           */
    OUTCOME_POSITION,    /* the linearizable position is .slot                                   */
};

struct outcome {
    uint64_t cookie;
    enum outcome_type type;
    slot_t slot;
};

/* Chosen slots to read from the journal, for EVENT_FETCHED. The host may leave one out: the peer asks again. */
struct fetch_request {
    bool wanted;
    replica_id_t to;
    slot_t from, until;
    uint32_t bytes_max;
};

struct effects {
    const struct record *records; /* append in this order; the last one's sequence is records_seq */
    size_t n_records;
    uint64_t records_seq;
    const struct outgoing *outgoing;
    size_t n_outgoing;
    const struct applied *applied;
    size_t n_applied;
    const struct outcome *outcomes;
    size_t n_outcomes;
    struct fetch_request fetch;
    replica_id_t install_from; /* this one keeps less than is missing here: get its checkpoint; REPLICA_ID_NONE: no */
    struct value *released;    /* linked by .next: the core holds no reference any more                          */
    uint64_t wake_usec;        /* one timer; UINT64_MAX: none */
};

struct replica;

/* Bytes that replica_init() needs for this configuration: every bound is known, so there is one block and no heap. */
size_t replica_size(const struct replica_config *config);

/* Makes a replica in `block` (replica_size() bytes, aligned as malloc aligns). Then the journal's records are handed to
 * replica_restore(), in order, which takes references to their values as it needs them (`ret` as after a step: applied
 * and released only); then replica_start(), whose effects are carried out like a step's. */
struct replica *replica_init(void *block, const struct replica_config *config);
/* Before the first record: what checkpoint_load() loaded, instead of all records of slots up to its own. Those may come
 * all the same. False: it is not whole. */
struct checkpoint_reader;
bool replica_restore_checkpoint(struct replica *r, const struct checkpoint_reader *c);
/* False where the record cannot follow what was restored before it: the journal is not this replica's, or is damaged.
 * Of an IDENTITY its status, VOTER or QUARANTINED, and silent_until count. */
bool replica_restore(struct replica *r, const struct record *record, struct effects *ret);
void replica_start(struct replica *r, uint64_t now_usec, struct effects *ret);

void replica_step(struct replica *r, const struct event *event, struct effects *ret);

enum replica_role { ROLE_LEADER, ROLE_FOLLOWER, ROLE_CANDIDATE, ROLE_LEARNER };

struct peer_status {
    replica_id_t id;
    bool linked; /* heard of late, and hears us */
    bool leading;
    bool silent;  /* it does not vote */
    bool differs; /* it begins from another configuration file than this replica, which keeps their first start off */
    slot_t chosen;
    uint64_t heard_usec; /* monotonic; 0: never         */
    uint64_t rtt_usec;   /* smoothed; 0: not known      */
};

struct replica_counters {
    uint64_t bids, leaderships, prepares, promises, nacks, accepts, accepted, resent_slots, fetches, fetched_slots;
    uint64_t fetches_put_off, installs;
    uint64_t submits_forwarded, duplicates, voids, noops, ignored_messages;
};

struct replica_status {
    enum identity_status identity;
    enum replica_role role;
    struct ballot ballot;        /* the leader's, round 0 where none is known   */
    replica_id_t leader;         /* REPLICA_ID_NONE: none known                 */
    uint64_t leader_since_usec;  /* monotonic                                   */
    bool quorum;                 /* there is a way to a leader with a majority  */
    uint32_t n_linked, n_needed; /* with self                                   */
    uint64_t quorum_since_usec;  /* when `quorum` last changed                  */
    slot_t chosen, accepted;     /* chosen prefix; highest slot accepted        */
    slot_t first_kept;           /* below it nothing need be kept; 0: all is    */
    struct hash128 chain;        /* of the chosen prefix                        */
    uint64_t last_time_usec;     /* of the last applied slot                    */
    struct ballot promised;
    bool lagging;           /* far behind what a peer reports as chosen    */
    bool diverged;          /* a peer's log differs: this replica stopped voting */
    slot_t silent_until;    /* a part of its journal is gone: it votes again from there on; 0: it is whole */
    uint32_t n_submissions; /* local ones, open                            */
    uint32_t n_skips;
    slot_t skips[SKIPS_MAX];
    uint32_t n_peers;
    struct peer_status peers[REPLICAS_MAX]; /* every other member, by id        */
    struct replica_counters counters;
};

void replica_status(const struct replica *r, struct replica_status *ret);

/* Cheap: the chosen prefix; and below which slot nothing need be kept any more, by the log (0: all is kept). */
slot_t replica_chosen(const struct replica *r);
slot_t replica_first_kept(const struct replica *r);

/* Where the identity stands now: EMPTY ones turn into voters while they run. */
const struct identity *replica_identity(const struct replica *r);

#endif
