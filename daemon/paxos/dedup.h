/* What the applied prefix has settled: the last number of each stream, and the keys of the last `dedup_slots` slots.
 *
 * Both are a pure function of the applied prefix, so they are equal on all replicas at an equal slot: nothing here may
 * depend on time, on ballots, or on who asks. Both are bounded: of streams the one whose last advance is oldest goes
 * first, of keys the one at the oldest slot. Source: mpaxos(7), "Clients" and "Order".
 *
 * One block, no heap; every operation is O(1) (hash chains over arrays; the streams in a doubly linked list by last
 * advance), but for a gap of slots, which costs its length once. About 40 bytes a key and 36 a stream. */
#ifndef PAXOS_DEDUP_H
#define PAXOS_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/value.h"

struct dedup;

enum dedup_verdict {
    DEDUP_STORED,    /* a message of its own                                                     */
    DEDUP_DUPLICATE, /* the key stands at *ret_slot with the same text                           */
    DEDUP_CONFLICT,  /* the key stands at *ret_slot with another text                            */
    DEDUP_EXPIRED,   /* key unknown, and since below *ret_slot, the oldest slot with known keys  */
    DEDUP_VOID,      /* its number is not the next on its stream: nothing was touched            */
};

size_t dedup_size(uint32_t dedup_slots, uint32_t streams_max);
struct dedup *dedup_init(void *block, uint32_t dedup_slots, uint32_t streams_max);

/* Applies a VALUE_MESSAGE at `slot`; slots must ascend, gaps (no-ops and the like) allowed. First the stream (skipped
 * where stream is 0): n = last + 1, or n = 1 on an unknown stream, advances it, whatever becomes of the entry; any
 * other n is VOID and touches no table. Then the key. The keys known while applying `slot` are those of slots >= floor
 * = max(0, slot - dedup_slots). Where a stream had to be evicted to make room, its number goes to *ret_evicted, else 0.
 * Only STORED enters the key table. *ret_slot is set for DUPLICATE, CONFLICT and EXPIRED. */
enum dedup_verdict dedup_apply(struct dedup *d, slot_t slot, const struct value *v, slot_t *ret_slot,
                               uint64_t *ret_evicted);

/* Change nothing: they have the processor fetch what dedup_apply() of this value will look at, first where its key
 * would be linked, and a while later what is linked there. */
void dedup_expect(const struct dedup *d, const struct value *v);
void dedup_expect_next(const struct dedup *d, const struct value *v);

/* Last settled number of a stream, 0 where it is unknown. */
uint64_t dedup_stream_last(const struct dedup *d, uint64_t stream);

/* Over all that both tables hold, in an order that depends on the applied prefix only: for the invariant that equal
 * prefixes give equal tables. O(size): for tests. */
struct hash128 dedup_hash(const struct dedup *d, const struct hash128 *key);

/* --- into a checkpoint, and out of one --- */

struct dedup_stream {
    uint64_t stream, last;
};

struct dedup_key {
    uint64_t text_hash;
    struct hash128 key_hash;
};

uint32_t dedup_streams(const struct dedup *d); /* how many there are */
/* All of them, the one whose last advance is oldest first. */
void dedup_copy_streams(const struct dedup *d, struct dedup_stream *ret);

/* The lowest slot whose key counts once everything up to `applied` is. */
slot_t dedup_keys_from(uint32_t dedup_slots, slot_t applied);
/* Whether a key stands at this slot, and which; *ret_overtaken: a later slot took its entry, so that nobody knows. */
bool dedup_key_at(const struct dedup *d, slot_t slot, struct dedup_key *ret, bool *ret_overtaken);

/* Empties both tables, to be filled from what dedup_copy_streams() and dedup_key_at() gave: streams in that order (at
 * most streams_max), then keys by ascending slot, all from dedup_keys_from(applied) up to `applied`; then the end.
 * Which streams and keys those are is the caller's business: whatever they are, the tables stay sound. */
void dedup_load(struct dedup *d, slot_t applied);
void dedup_load_stream(struct dedup *d, const struct dedup_stream *s);
void dedup_load_key(struct dedup *d, slot_t slot, const struct dedup_key *k);
void dedup_load_end(struct dedup *d, slot_t applied);

#endif
