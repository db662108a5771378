/* The log as this replica's readers see it: the last slots from memory, older ones from the journal.
 *
 * Holds the values of the last LOGVIEW_TAIL_SLOTS applied slots, at most TAIL_BYTES of them, by reference; and per
 * INDEX_SLOTS slots one count of the messages before, so that the n-th message from the end is found without reading
 * what lies between. */
#ifndef HOST_LOGREAD_H
#define HOST_LOGREAD_H

#include "host/logview.h"

enum {
    LOGREAD_TAIL_BYTES = 4 << 20,
    LOGREAD_INDEX_SLOTS = 4096,
    LOGREAD_INDEX_AHEAD = 32, /* so many of its entries earlier, room for more is made: memory may be out for a while */
    LOGREAD_CHECKPOINT_HEAD = 16,
};

struct logread;

struct values;

struct logread *logread_new(struct values *values); /* NULL: out of memory */
void logread_free(struct logread *l);
/* Where older slots are; the cluster id reads their values. Before the first read, not before the first add. */
void logread_attach(struct logread *l, struct journal *journal, const struct hash128 *cluster);

/* What was applied, in order, without gaps. Takes references. */
void logread_add(struct logread *l, const struct applied *applied, size_t n);
/* The journal was handed a COMMIT up to here: above it, it cannot be read. */
void logread_committed(struct logread *l, slot_t slot);

/* As driver_read(). */
int logread_read(struct logread *l, slot_t from, size_t n_max, size_t bytes_max,
                 bool (*each)(void *user, const struct log_message *m), void *user, slot_t *ret_next);
/* What another thread may read of [from, until], by ret->reader and into ret->kept, which are the caller's: with
 * references to what is in memory. Answers up to which slot that goes, `from` - 1 where it is nothing now. */
slot_t logread_hold(struct logread *l, slot_t from, slot_t until, struct logview *ret);
void logread_release(struct logview *v);
/* As driver_tail(). */
bool logread_tail(struct logread *l, struct tail_search *t, slot_t *ret);

/* Consecutive chosen slots of [from, until] for a peer: at most n_max and about bytes_max. Each value carries a
 * reference for the caller. How many; 0 where there are none, or where they cannot be read: a negative errno. */
int logread_fetch(struct logread *l, slot_t from, slot_t until, size_t n_max, size_t bytes_max, struct entry *ret);

/* The host's part of a checkpoint of everything that was added so far, into memory of the caller's (malloc): the counts
 * of messages and of other slots, then of the index what lies at or above `first_kept`; integers of 64 bits,
 * little-endian. 0, -ENOMEM; -EFBIG: a checkpoint has no room for what is kept; -ENODATA: memory was out for so long
 * that the index lacks something. */
int logread_checkpoint(const struct logread *l, slot_t first_kept, uint8_t **ret, uint32_t *ret_size);
/* Whether these bytes are that, of a checkpoint at `slot`. */
bool logread_checkpoint_is_sound(const uint8_t *bytes, size_t size, slot_t slot, slot_t first_kept);
/* Begins anew after `slot`, from sound ones. 0, -ENOMEM. */
int logread_restore(struct logread *l, const uint8_t *bytes, size_t size, slot_t slot, slot_t first_kept);

slot_t logread_committed_slot(const struct logread *l);
slot_t logread_first_kept(const struct logread *l);
size_t logread_held(const struct logread *l);       /* slots in memory */
uint64_t logread_messages(const struct logread *l); /* visible ones */
uint64_t logread_noops(const struct logread *l);    /* the others   */

#endif
