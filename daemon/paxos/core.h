/* The inside of a replica: shared by the files of this folder, seen by nobody else.
 *
 * Each file owns the part of the state that stands under its name here, and the others call its functions. */
#ifndef PAXOS_CORE_H
#define PAXOS_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/dedup.h"
#include "paxos/invariant.h"
#include "paxos/prng.h"
#include "paxos/replica.h"
#include "paxos/window.h"

enum {
    RECORDS_MAX = 2304,  /* of one step                                               */
    RECORDS_SPARE = 160, /* of them for COMMITs, a promise, an identity               */
    CELLS_MAX = 16384,   /* twice so many notes fit into the spare COMMITs            */
    OUTGOING_MAX = 1536,
    ENTRIES_MAX = 8192, /* of all messages of one step                               */
    REPORTS_MAX = 4096,
    ELECTION_HEARTBEATS = 6, /* E, in heartbeats T                                        */
    SENT_BEATS_MAX = 64,     /* own heartbeats whose sending time is remembered           */
    PROMISE_BURST = 16,      /* pages that answer one PREPARE                             */
    TAIL_BYTES_MAX = 4 << 20,
    FETCH_BYTES_MAX = 64 << 10, /* of the values that answer one FETCH                      */
    FETCH_SLOTS_MAX = 512,
    FETCHES_MAX = 8,                   /* that one replica has under way                            */
    FETCH_VALUE_BYTES = 1 << 10,       /* what a value is taken for before the first answer         */
    CATCH_UP_BYTES_PER_SEC = 32 << 20, /* served to late peers, so that what is new is not held up */
    CATCH_UP_BURST_BYTES = 1 << 20,
    RESEND_BYTES_MAX = 96 << 10, /* to one peer at once                                   */
    BODIES_ASKED_MAX = 64,       /* bodies asked for at once in phase 1                   */
    SUBMIT_HOPS_MAX = 2,
    INTAKE_MAX = 16384, /* messages that wait at the leader for a slot           */
    INTAKE_BYTES_MAX = 32 << 20,
    RTO_MIN_USEC = 10000,
    RTO_MAX_USEC = 1000000,
    COMMIT_WAIT_USEC = 1000,
};

enum phase { PHASE_NONE, PHASE_PREPARING, PHASE_LEADING };

struct peer {
    uint64_t heard_usec;  /* last heartbeat; 0: never                                  */
    uint64_t heard_seq;   /* its number                                                */
    uint64_t echoed_usec; /* when the own heartbeat that it last echoed had been sent  */
    uint64_t link_rtt_usec;
    struct ballot bid, followed;
    bool leading, happy, silent;
    slot_t chosen;
    slot_t first_kept;                         /* it told that it has nothing below */
    uint64_t srtt_usec, rttvar_usec, rto_usec; /* of ACCEPT to ACCEPTED                */
    uint64_t rto_at_usec;                      /* UINT64_MAX: nothing is outstanding   */

    /* phase 1 */
    bool complete;        /* every page of its promise is here      */
    slot_t covered_until; /* its pages are here up to this slot     */
    slot_t omitted_until; /* they leave out what it knew as chosen  */
    uint32_t page_slots;  /* of its pages; 0: not known yet         */
    uint32_t burst_last;  /* the last page that answers the PREPARE */

    /* first start */
    bool reported;
    uint64_t reported_usec; /* when the last report came */
    enum identity_status status;
    struct hash128 cluster;
    bool bootstrap_differs;
    uint64_t life;
};

/* A range of slots that a peer was asked for. */
struct fetching {
    slot_t from, until;
    uint32_t peer;
    uint64_t until_usec; /* then it is asked for again */
};

/* A message of a client of this replica whose outcome is open. */
struct open_submission {
    struct value *value; /* NULL: free */
    uint64_t cookie;
    uint64_t sent_usec;                              /* to the leader; 0: not to this one */
    bool seen;                                       /* the leader was seen to propose it */
    uint32_t next_hash, next_cookie, next, previous; /* indexes + 1; 0: none */
};

/* A message that waits at the leader: for its turn on its stream, or for room in the window. */
struct intake_entry {
    struct value *value; /* NULL: free */
    bool ready;
    bool local; /* of a client of this replica */
    uint32_t next_hash, next;
};

/* The last number of a stream that was queued or proposed under the own ballot. */
struct intake_stream {
    uint64_t stream; /* 0: free */
    uint64_t last;
    uint32_t next_hash;
};

/* A linearizable position that is wanted: by a client, or by a peer that asked this replica. */
struct open_position {
    bool used, answered;
    bool sent;           /* to the leader, since they were all asked again             */
    uint64_t cookie;     /* the client's call                                          */
    replica_id_t peer;   /* who asked; the own id: a client                            */
    uint64_t peer_nonce; /* the peer's name for it                                     */
    uint64_t nonce;      /* the own name for it, to the leader                         */
    uint64_t asked_usec; /* last; what a peer asks for no more is forgotten            */
    slot_t slot;         /* leader: chosen at arrival; then the answer                 */
    uint64_t round;      /* leader: the CONFIRM round that settles it; 0: none yet     */
};

struct replica {
    struct replica_config config;
    struct identity identity;
    struct hash128 zero;
    uint64_t now_usec, election_usec;
    uint32_t me; /* own index in the configuration */
    bool member; /* of a cluster that runs */
    bool space, diverged;
    uint64_t no_space_since_usec; /* where there is none */
    struct prng prng;
    struct replica_counters counters;

    /* effects of the step */
    struct record *records;
    struct outgoing *outgoing;
    struct entry *entries;
    struct promised_entry *reports;
    struct applied *applied;
    struct outcome *outcomes;
    size_t n_records, n_outgoing, n_entries, n_reports, n_applied, n_outcomes;
    size_t applied_max, outcomes_max;
    struct fetch_request fetch_wanted;
    replica_id_t install_from;
    struct value *released;
    bool again; /* work is left over for want of room in the effects */

    /* journal */
    uint64_t seq, durable_seq;
    uint64_t undurable_since_usec; /* when the oldest record that is not durable was handed over; 0: none */

    struct window window;
    struct value *noop, *barrier, *slot0; /* in the block; never released */
    struct peer peers[REPLICAS_MAX];      /* by member index; the own one unused */

    /* acceptor */
    struct ballot promised;
    uint64_t promise_seq;
    slot_t accepted_max;
    slot_t ack_low, ack_high; /* slots with ack_due lie between; high 0: none */
    bool ack_now;

    /* learner */
    slot_t chosen;
    slot_t first_kept;   /* of the log: what the trims among the applied slots say */
    slot_t known_commit; /* the highest chosen prefix that any peer reported */
    slot_t commit_recorded;
    slot_t tail_first; /* lowest slot whose value is still in the window  */
    uint64_t tail_bytes;
    struct ballot marked_ballot;
    slot_t marked; /* commits of marked_ballot were marked up to here */
    struct hash128 chain;
    uint64_t last_time_usec;
    struct dedup *dedup;
    struct note *notes; /* of applied slots that no COMMIT record has told yet */
    size_t n_notes, notes_told, notes_max;
    uint64_t gap_since_usec; /* 0: nothing is missing */
    struct fetching fetches[FETCHES_MAX];
    uint32_t n_fetches;
    slot_t fetch_next;          /* below it all is here, or was asked for                            */
    uint64_t fetch_at_usec;     /* there was nobody to ask: not again before                         */
    uint32_t fetch_peer;        /* that was asked last                                               */
    uint32_t fetch_value_bytes; /* what a value of the next answer is likely to take                 */
    bool fetch_deep;            /* answers bring something: go on at once, with many                 */
    int64_t catch_up_bytes;     /* that late peers may be served now; below 0: they were served more */
    uint64_t catch_up_usec;     /* when that was counted                                             */

    /* election */
    struct ballot bid, followed; /* b and L */
    uint64_t bid_seq;
    bool happy, bid_shown;
    uint64_t nack_round;
    uint64_t beat_seq, beat_at_usec, tick_at_usec, bid_at_usec;
    uint64_t beats_usec[SENT_BEATS_MAX];
    uint64_t muted_until_usec;
    replica_id_t transfer_target;
    uint64_t left_since_usec; /* since when a majority follows a higher ballot than the one that it leads; 0: not */
    uint64_t unable_until_usec, led_since_usec, commit_moved_usec, leader_since_usec;
    struct ballot stall_ballot; /* the leader whose commit is watched */
    slot_t stall_commit;
    uint64_t stall_since_usec, stall_wait_usec;
    bool quorum;
    uint64_t quorum_since_usec;
    struct ballot shown_leader;
    bool shown_leading;

    /* proposer */
    enum phase phase;
    slot_t phase1_from, phase1_until, adopt_next, barrier_slot;
    uint64_t prepare_at_usec;
    slot_t next_slot; /* lowest slot without a proposal under the own ballot */
    slot_t self_next; /* below it the own disk's vote is counted            */
    slot_t send_next; /* lowest own proposal that was not broadcast yet     */
    slot_t sent_commit;
    slot_t awaited_slot;     /* the highest own proposal that another replica's client may wait for */
    uint64_t commit_at_usec; /* when the commit index is told that nobody waits for; UINT64_MAX: it was told */
    uint64_t flight_bytes;   /* of own proposals that are not chosen               */
    uint32_t *sent;          /* per cell and member: when last sent, in 16 usec, bit 0: more than once */
    slot_t skips[SKIPS_MAX];
    uint32_t n_skips, n_skipped_open;
    struct value *trim; /* to be proposed; NULL: none */

    /* intake, at the leader */
    struct intake_entry *intake;
    struct intake_stream *streams;
    uint32_t *intake_buckets, *stream_buckets;
    uint32_t intake_free, intake_first, intake_last, n_intake, streams_free;
    uint32_t n_held; /* of them: early, not their turn yet */
    uint64_t intake_bytes;

    /* origin */
    struct open_submission *open;
    uint32_t *open_buckets, *cookie_buckets; /* by (stream, n); by cookie */
    uint32_t open_free, open_first, open_last, n_open, open_max, n_buckets;
    replica_id_t origin_leader;
    struct ballot origin_ballot;
    uint64_t submit_srtt_usec, submit_at_usec;

    /* confirmed reads */
    struct open_position *positions;
    uint32_t n_positions;
    uint64_t confirm_round, confirm_since_usec, confirm_at_usec, position_nonce;
    bool confirm_open;
    uint32_t confirmed;
    uint64_t position_at_usec; /* all are asked again */
    bool position_unsent;      /* some were not asked since */

    slot_t restored; /* of the checkpoint that the last start began with */

    /* first start */
    uint64_t state_nonce, state_at_usec;
    struct identity recorded[2]; /* what the step's records point to: STARTING and VOTER may come in one */
    uint32_t n_recorded;
};

/* effects.c */
struct record *record_push(struct replica *r, enum record_type type);
bool records_have_room(const struct replica *r, size_t n);
/* NULL, and r->again, where the step has no room left: the message is as good as lost, and is made again later. */
struct message *outgoing_push(struct replica *r, enum message_type type, replica_id_t to, uint64_t after);
struct entry *entries_take(struct replica *r, size_t n); /* NULL: no room */
void outcome_push(struct replica *r, uint64_t cookie, enum outcome_type type, slot_t slot);
void value_unref(struct replica *r, struct value *v); /* NULL allowed */
void cell_clear(struct replica *r, struct cell *c);
struct cell *cell_take(struct replica *r, slot_t slot);
void tail_drop(struct replica *r);
/* init.c */
void identity_install(struct replica *r);

/* Not the compiler's own, which may call its run-time library. */
static inline uint32_t set_count(uint32_t set)
{
    uint32_t n = 0;
    for (; set != 0; set &= set - 1)
        n++;
    return n;
}

static inline const struct configuration *config_at(const struct replica *r)
{
    return &r->identity.configuration;
}

static inline replica_id_t member_id(const struct replica *r, uint32_t index)
{
    return config_at(r)->members[index].id;
}

static inline uint32_t alpha(const struct replica *r)
{
    return config_at(r)->alpha;
}

static inline bool ballot_is_owned_by(const struct replica *r, struct ballot b, uint32_t member)
{
    return b.round != 0 && b.id == member_id(r, member) && b.gen == config_at(r)->members[member].gen;
}

/* acceptor.c */
/* It takes part, but its votes are lost, or may be: it learns, and neither votes nor counts. */
bool acceptor_is_silent(const struct replica *r);
bool acceptor_may_vote(const struct replica *r);
void acceptor_promise(struct replica *r, struct ballot b);
void acceptor_prepare(struct replica *r, uint32_t from, const struct prepare *p);
void acceptor_accept(struct replica *r, uint32_t from, const struct accept *m);
/* Accepts a value for a slot under a ballot at or above the promise: the record and the cell. */
void acceptor_store(struct replica *r, struct cell *c, struct ballot b, struct value *v);
void acceptor_send_acks(struct replica *r);

/* learner.c */
void learner_commit(struct replica *r, uint32_t from, struct ballot leading, slot_t commit);
void learner_hint(struct replica *r, uint32_t from, slot_t commit);
void learner_advance(struct replica *r);
void learner_record_commit(struct replica *r);
void learner_restore_commit(struct replica *r, slot_t slot);
void learner_install(struct replica *r, const struct checkpoint_reader *c);
/* learner_fetch.c */
void learner_fetch(struct replica *r, uint32_t from, const struct fetch *f);
void learner_fetched(struct replica *r, const struct event *e);
void learner_chosen(struct replica *r, uint32_t from, const struct chosen *m);
uint64_t learner_timer(struct replica *r);

/* election.c */
bool peer_is_linked(const struct replica *r, uint32_t member);
uint32_t linked_voters(const struct replica *r); /* with self */
void election_heartbeat(struct replica *r, uint32_t from, const struct heartbeat *h);
void election_transfer(struct replica *r, uint32_t from, const struct transfer *m);
void election_hand_over(struct replica *r, replica_id_t target);
void election_beat(struct replica *r);
uint64_t election_timer(struct replica *r);
/* The leader: a member index, or -1. Of linked peers that lead the one with the highest ballot, whatever this replica
 * promised meanwhile to a bidder that vanished. */
int election_leader(const struct replica *r);
/* Where clients' messages go: the leader, or else a linked peer that has one. */
int election_route(const struct replica *r);
struct ballot election_route_ballot(const struct replica *r, int route);

/* phase1.c */
void proposer_begin(struct replica *r);
void proposer_stop(struct replica *r);
void proposer_promise(struct replica *r, uint32_t from, const struct promise *m);
void proposer_nack(struct replica *r, uint32_t from, const struct nack *m);
void proposer_body(struct replica *r, uint32_t from, const struct entry *e);
void phase1_pump(struct replica *r);
uint64_t phase1_timer(struct replica *r);
/* proposer.c */
void proposer_propose(struct replica *r, slot_t slot, struct value *v);
void proposer_accepted(struct replica *r, uint32_t from, const struct accepted *m);
void proposer_durable(struct replica *r);
void proposer_trim(struct replica *r, struct value *v);
void proposer_pump(struct replica *r);
uint64_t proposer_timer(struct replica *r);

/* intake.c */
void intake_clear(struct replica *r);
void intake_add(struct replica *r, struct value *v, bool local);
void intake_proposed(struct replica *r, const struct value *v);
void intake_void(struct replica *r, const struct value *v);
struct value *intake_peek(const struct replica *r); /* the next to be proposed, NULL: none */
bool intake_is_local(const struct replica *r);      /* it is a client of this replica who waits for that one */
void intake_pop(struct replica *r);
void intake_submit(struct replica *r, uint32_t from, const struct submit *m);

/* origin.c */
void origin_submit(struct replica *r, const struct submission *s, size_t n);
void origin_cancel(struct replica *r, uint64_t cookie);
void origin_seen(struct replica *r, const struct value *v);
void origin_settle(struct replica *r, slot_t slot, const struct value *v, enum dedup_verdict verdict, slot_t other);
void origin_evicted(struct replica *r, uint64_t stream);
void origin_renumber(struct replica *r);
void origin_pump(struct replica *r);
uint64_t origin_timer(struct replica *r);

/* confirm.c */
void confirm_position(struct replica *r, uint64_t cookie);
void confirm_cancel(struct replica *r, uint64_t cookie);
void confirm_asked(struct replica *r, uint32_t from, const struct position *m);
void confirm_answered(struct replica *r, uint32_t from, const struct position *m);
void confirm_confirm(struct replica *r, uint32_t from, const struct confirm *m);
void confirm_confirmed(struct replica *r, uint32_t from, const struct confirm *m);
void confirm_stop(struct replica *r);
void confirm_pump(struct replica *r);
uint64_t confirm_timer(struct replica *r);

/* start.c */
void start_state(struct replica *r, uint32_t from, uint64_t from_life, const struct state *m);
void start_bootstrap(struct replica *r);
uint64_t start_timer(struct replica *r);

#endif
