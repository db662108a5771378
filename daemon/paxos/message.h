/* What replicas say to each other, as the core sees it: whole values, no bytes. The wire splits and joins them.
 *
 * Arrays are borrowed: an incoming message's for the step, an outgoing one's until the next step. */
#ifndef PAXOS_MESSAGE_H
#define PAXOS_MESSAGE_H

#include "paxos/ballot.h"
#include "paxos/identity.h"
#include "paxos/value.h"

enum message_type {
    MESSAGE_HEARTBEAT = 1,
    MESSAGE_PREPARE = 2,
    MESSAGE_PROMISE = 3,
    MESSAGE_ACCEPT = 4,
    MESSAGE_ACCEPTED = 5,
    MESSAGE_NACK = 6,
    MESSAGE_FETCH = 7,
    MESSAGE_CHOSEN = 8,
    MESSAGE_BODY = 9, /* answers a FETCH of one value by hash: accepted, not known to be chosen */
    MESSAGE_SUBMIT = 10,
    MESSAGE_STATE = 11,
    MESSAGE_POSITION = 12,
    MESSAGE_ANSWER = 13,
    MESSAGE_CONFIRM = 14,
    MESSAGE_CONFIRMED = 15,
    MESSAGE_TRANSFER = 16,
    /* Between hosts; the core never sees them. */
    MESSAGE_INFO = 32,
    MESSAGE_FLUSH = 33,
    MESSAGE_FLUSHED = 34,
    MESSAGE_CHECKPOINT_FETCH = 35,
    MESSAGE_CHECKPOINT_PIECE = 36,
};

enum {
    ACCEPTED_WORDS_MAX = 16,    /* 1024 slots in one ACCEPTED                  */
    MESSAGE_ENTRIES_MAX = 1024, /* slots of one message in the core          */
};

/* Which of the receiver's heartbeats the sender last heard, and how long before it sent this. */
struct echo {
    replica_id_t id;
    uint64_t seq;
    uint32_t age_usec;
};

struct heartbeat {
    struct ballot ballot;   /* own bid, round 0: none; never another's */
    struct ballot followed; /* L */
    bool leading, happy;
    bool silent; /* does not vote: counts for no majority */
    uint64_t seq;
    slot_t commit;
    struct hash128 chain; /* of the prefix up to commit */
    uint32_t space_bytes; /* that the sender can take in one burst from one peer */
    uint32_t n_echoes;
    struct echo echoes[REPLICAS_MAX];
};

struct prepare {
    struct ballot ballot;
    slot_t from;
    uint32_t page; /* slots from + page * promise_page_slots on */
};

struct promised_entry {
    slot_t slot;
    struct ballot ballot;
    bool chosen; /* known chosen, out of order */
    uint32_t size;
    struct hash128 hash;
};

struct promise {
    struct ballot ballot;
    slot_t from;
    uint32_t page;
    uint32_t page_slots; /* the slots that a page covers: the acceptor's, checked against the proposer's */
    bool last;           /* nothing is accepted or known chosen above this page */
    slot_t chosen;
    uint32_t n_entries;
    const struct promised_entry *entries;
};

/* One slot's value in ACCEPT, CHOSEN, BODY or SUBMIT. */
struct entry {
    slot_t slot;          /* not in SUBMIT    */
    struct ballot ballot; /* BODY only        */
    uint8_t hops;         /* SUBMIT only      */
    struct value *value;
};

struct accept {
    struct ballot ballot;
    slot_t commit;
    uint32_t n_entries;
    const struct entry *entries; /* slots ascending */
};

struct accepted {
    struct ballot ballot;
    slot_t base;
    uint32_t n_words;
    uint64_t words[ACCEPTED_WORDS_MAX]; /* bit i of word w: slot base + 64 w + i */
    slot_t chosen;
    uint32_t space_bytes;
};

struct nack {
    struct ballot rejected, promised;
};

struct fetch {
    bool by_hash; /* one value: .from, .ballot, .hash; else what is chosen in [from, until] */
    slot_t from, until;
    struct ballot ballot;
    struct hash128 hash;
    uint32_t bytes_max;
};

struct chosen {
    uint32_t n_entries;
    const struct entry *entries;
    slot_t first_kept; /* where there are no entries: what was asked for is below it, trimmed or not to be read */
};

struct state {
    uint64_t nonce;  /* the sender's question, 0: asks nothing */
    uint64_t answer; /* the nonce that this answers, 0: none   */
    enum identity_status status;
    struct hash128 cluster, bootstrap;
    struct value *slot0; /* the CONFIG value, from STARTING on */
};

struct submit {
    uint32_t n_entries;
    const struct entry *entries;
};

struct position {
    uint64_t nonce;
    slot_t slot; /* ANSWER only */
};

struct confirm {
    struct ballot ballot;
    uint64_t nonce;
};

struct transfer {
    struct ballot ballot;
    replica_id_t target;
};

enum { INFO_VERSION_MAX = 31, INFO_DROPS_MAX = 16, FLUSH_TEXT_MAX = 255 };

struct info_drop {
    uint8_t rate, direction; /* direction: enum fault_direction of the host */
    replica_id_t peer;       /* REPLICA_ID_NONE: all */
    uint32_t left_ms;        /* 0: until lifted      */
};

struct info {
    char version[INFO_VERSION_MAX + 1];
    uint32_t n_drops;
    struct info_drop drops[INFO_DROPS_MAX];
};

struct flush {
    uint64_t nonce;
    slot_t upto;
};

struct flushed {
    uint64_t nonce;
    bool ok;
    slot_t slot;
    uint64_t messages;
    char text[FLUSH_TEXT_MAX + 1]; /* path where ok, else the reason */
};

enum {
    CHECKPOINT_PIECE_BYTES = 352, /* fits the smallest datagram; larger ones take several */
    CHECKPOINT_WORDS = 8,
    CHECKPOINT_CHUNK_BYTES = CHECKPOINT_WORDS * 64 * CHECKPOINT_PIECE_BYTES,
};

/* In the slot of both: no checkpoint is meant, but a page of the log from that slot on (host/driver_mend.c). */
#define CHECKPOINT_HISTORY (UINT64_C(1) << 61)

/* Asks for pieces of a checkpoint: bit i of word w stands for the one at offset + (64 w + i) * CHECKPOINT_PIECE_BYTES.
 */
struct checkpoint_fetch {
    slot_t slot; /* 0: the newest */
    uint64_t offset;
    uint64_t missing[CHECKPOINT_WORDS];
};

struct checkpoint_piece {
    slot_t slot; /* another than was asked for: that one is gone, and this is the newest's first piece */
    uint64_t total, offset;
    uint32_t size;
    const uint8_t *bytes; /* borrowed */
};

struct message {
    enum message_type type;
    replica_id_t from; /* incoming: a member, whose life is .from_life */
    uint64_t from_life;
    union {
        struct heartbeat heartbeat;
        struct prepare prepare;
        struct promise promise;
        struct accept accept;
        struct accepted accepted;
        struct nack nack;
        struct fetch fetch;
        struct chosen chosen;
        struct entry body;
        struct submit submit;
        struct state state;
        struct position position;
        struct confirm confirm;
        struct transfer transfer;
        struct info info;
        struct flush flush;
        struct flushed flushed;
        struct checkpoint_fetch checkpoint_fetch;
        struct checkpoint_piece checkpoint_piece;
    };
};

#endif
