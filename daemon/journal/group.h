/* Records on their way to the disk: encoded into batches, with a hole before each for its header, so that writing needs
 * no copy; and identities between them. Not locked here. */
#ifndef JOURNAL_GROUP_H
#define JOURNAL_GROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/format.h"
#include "journal/index.h"

enum { GROUP_KEEP_BYTES = 4 << 20 }; /* a larger buffer is given back once it was written */

struct group_entry {
    struct identity *identity; /* NULL: a batch */
    size_t start;              /* of the batch, in bytes */
    uint32_t payload_size, n_records;
    struct extent extent;
    struct ballot promised; /* highest ballot of its PROMISE and ACCEPT records */
};

struct group {
    uint8_t *bytes;
    size_t size, room;
    struct group_entry *entries;
    size_t n_entries, entries_room;
    bool is_open;         /* the last entry is a batch that takes more records       */
    size_t framed_bytes;  /* what the closed batches will take in a segment           */
    uint32_t framed_most; /* the largest of them                                    */
    uint32_t batch_bytes_most;
    uint64_t n_records;
    uint64_t seq;
};

/* Copies a record. 0, -ENOMEM or -EFBIG (does not fit into a batch). */
int group_add(struct group *g, const struct record *r);
/* Ends the open batch, if there is one. */
void group_close(struct group *g);
void group_clear(struct group *g);
void group_done(struct group *g);

/* Bytes in a segment that all of it takes, the open batch as it is now. */
size_t group_framed_bytes(const struct group *g);

/* The last value of `slot` in it; borrowed. */
bool group_find_value(const struct group *g, slot_t slot, const uint8_t **ret_value, uint32_t *ret_size);
/* Whether a COMMIT in it covers `slot`; ret_note->slot is `slot` where there is a note, else ret_note->type is 0. */
bool group_find_note(const struct group *g, slot_t slot, struct note *ret_note);

#endif
