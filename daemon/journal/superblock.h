/* The identity on disk: "superblock.0" and "superblock.1", SUPERBLOCK_BYTES each.
 *
 * Every change is written to both, one after the other, each synced before the next begins, so that a crash at any
 * point leaves one whole copy, and so does rot in one of them: a single damaged copy never brings an older identity
 * back. The copy with the higher sequence counts. The second file is made only after the first one is durable under its
 * name: what stands alone and damaged as "superblock.0" was never told to anyone. */
#ifndef JOURNAL_SUPERBLOCK_H
#define JOURNAL_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "journal/journal.h"
#include "paxos/identity.h"

enum { SUPERBLOCK_BYTES = 12288 };

/* Where the journal was damaged, and what is known of the part that was given up (salvage.h). */
struct damage {
    uint64_t segment, offset; /* segment 0: never */
    bool is_cutting;          /* what follows the place is on its way out */
    struct ballot promised;   /* at least this was promised before it */
    slot_t checkpoint_until;  /* checkpoints below it call batches durable that were given up since */
};

struct superblock {
    struct identity identity; /* .status 0: there is none             */
    uint64_t sequence;        /* of the newest copy, which lies in file sequence % 2; 0: none */
    uint64_t durable;         /* the last batch that was durable when this was written        */
    uint64_t first_segment;   /* below it, and below first_kept, all was trimmed              */
    slot_t first_kept;
    bool newest_first;    /* as it was read: the newest copy may stand in the page cache alone, the other one not  */
    struct damage damage; /* the latest                                           */
};

enum journal_result superblock_read(const struct vfs *vfs, struct superblock *ret, char *ret_error);

/* Writes both copies under the next sequences, first the one that may not be on the disk. 0, or a negative errno:
 * final, as of any write or sync. */
int superblock_write(const struct vfs *vfs, struct superblock *s);

#endif
