/* A checkpoint: everything that applying the log up to a slot has left behind, as bytes.
 *
 * With it a replica goes on from that slot without the log below. The bytes are a pure function of the applied prefix,
 * so they are equal on all replicas at an equal slot. Little-endian: version u32, size of the configuration u32,
 * cluster id, slot u64, chain hash, time of the last message u64, first_kept u64, number of streams u32, size of the
 * host's part u32; the configuration in force; the streams, the one whose last advance is oldest first (stream u64,
 * last u64); the keys by ascending slot (slot u64, text hash u64, key hash), and one of all ones; the host's part; a
 * hash of all that. Promises and what was accepted above the slot are no part of it: those are the replica's own, and
 * stay in its records. Source: mpaxos(7), "Compaction".
 *
 * Written and read in parts of any size, so that nothing stalls; neither copies the table of keys. Pure, no heap. */
#ifndef PAXOS_CHECKPOINT_H
#define PAXOS_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/replica.h"

enum {
    CHECKPOINT_VERSION = 2,
    CHECKPOINT_HOST_BYTES_MAX = 64 << 20,
    CHECKPOINT_BLOCK_BYTES = 4096, /* of the hash: each is hashed with the one before as its key */
};

struct checkpoint_sum {
    struct hash128 so_far;
    size_t fill;
    uint8_t block[CHECKPOINT_BLOCK_BYTES];
};

size_t checkpoint_size_max(const struct configuration *c);

/* --- writing --- */

struct checkpoint_writer;

size_t checkpoint_writer_size(const struct replica_config *config);

/* Of what is applied now, with `host` (borrowed until the end) as the host's part. The replica may go on meanwhile. */
struct checkpoint_writer *checkpoint_begin(void *block, const struct replica *r, const uint8_t *host,
                                           uint32_t host_size);
slot_t checkpoint_slot(const struct checkpoint_writer *w);

/* No step of the replica, whatever it applies, forgets a key that has not been written yet. */
bool checkpoint_is_ahead(const struct checkpoint_writer *w, const struct replica *r);

/* The next bytes, at most `size`, which is at least CHECKPOINT_PART_BYTES_MIN; how many, 0 too, in *ret_n. False: the
 * replica went so far meanwhile that keys are forgotten which have not been written yet: to be begun anew. */
enum { CHECKPOINT_PART_BYTES_MIN = 64 };
bool checkpoint_write(struct checkpoint_writer *w, const struct replica *r, uint8_t *ret, size_t size, size_t *ret_n);
bool checkpoint_is_written(const struct checkpoint_writer *w); /* nothing is left */

/* --- reading --- */

enum checkpoint_stage {
    CHECKPOINT_HEAD,
    CHECKPOINT_CONFIGURATION,
    CHECKPOINT_STREAMS,
    CHECKPOINT_KEYS,
    CHECKPOINT_HOST,
    CHECKPOINT_SUM,
    CHECKPOINT_WHOLE,
    CHECKPOINT_BAD,
};

/* The first six are to be read once the stage is CHECKPOINT_HOST or later; the rest is the reader's own. */
struct checkpoint_reader {
    slot_t slot;
    slot_t first_kept;
    struct hash128 chain;
    uint64_t last_time_usec;
    uint32_t host_size;
    enum checkpoint_stage stage;

    const struct identity *own;
    struct dedup *dedup; /* NULL: only looked through */
    uint32_t n_left;     /* streams, or bytes of the host's part */
    slot_t last_key;
    struct checkpoint_sum sum;
    size_t unit_size, unit_fill;
    uint8_t unit[CONFIGURATION_BYTES_MAX];
};

/* Looks bytes through from anywhere: whether they are one whole checkpoint of this cluster. `own` is borrowed. */
void checkpoint_check(struct checkpoint_reader *c, const struct identity *own);
/* The same, and fills the tables of a replica, which must not step until replica_restore_checkpoint(), or until
 * EVENT_INSTALL where it was started before. */
void checkpoint_load(struct checkpoint_reader *c, struct replica *r);

/* Takes the next part, of any size. What of it is the host's is answered in *ret_host (into `bytes`; size 0: nothing).
 * False, for ever: it is no checkpoint, or another cluster's. Whole once .stage is CHECKPOINT_WHOLE: the hash holds. */
bool checkpoint_read(struct checkpoint_reader *c, const uint8_t *bytes, size_t size, const uint8_t **ret_host,
                     size_t *ret_host_size);

#endif
