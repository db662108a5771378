/* What the files of this folder share. Three parties, each with its own part: who appends and reads (the loop's
 * thread), who writes (inside journal_write()), and both, under the mutex. */
#ifndef JOURNAL_STATE_H
#define JOURNAL_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "journal/checkpoint_write.h"
#include "journal/group.h"
#include "journal/index.h"
#include "journal/journal.h"
#include "journal/mend.h"
#include "journal/rot.h"
#include "journal/superblock.h"

enum {
    SYNC_SAMPLES = 1024,
    RESERVE_SLICE_BYTES = 512 << 10, /* zeros that are written ahead between two batches */
};

#define RESERVE_NAME "reserve"

/* The segment that batches go to. */
struct open_segment {
    struct vfs_file *file; /* NULL: none yet */
    uint64_t number;
    uint64_t size;
    uint64_t limit;  /* no batch goes beyond it */
    uint64_t offset; /* of the next batch       */
    uint64_t first;  /* its first batch's number */
    bool is_named;   /* false: still the reserve, until its first batches are durable */
};

/* The next one, allocated ahead. */
struct reserve {
    struct vfs_file *file;
    uint64_t size;
    uint64_t done; /* bytes of zeros that are durable */
};

enum reserve_state { RESERVE_READY, RESERVE_GROWING, RESERVE_NO_SPACE };

struct journal_reader;

struct journal {
    const struct vfs *vfs;
    uint64_t segment_bytes;
    void (*written)(void *user, int error);
    void *user;

    /* The writer's. */
    struct superblock superblock;
    struct open_segment segment;
    struct reserve reserve;
    uint64_t batch;         /* the last one's number                     */
    uint64_t durable_batch; /* the last one that is known to be durable */
    struct ballot promised; /* highest in what was written               */
    uint64_t free_at_usec;  /* when free_bytes was last asked for        */

    /* The reader's. */
    struct journal_reader *reader;
    struct checkpoint_file checkpoint_read; /* that a peer is sent */
    struct checkpoint_file checkpoint_scrub;
    uint64_t scrub_part; /* of it, the next */
    struct rot rot;

    /* When the writer began what it does with the disk now, monotonic; 0: nothing. Atomic. */
    uint64_t busy_since_usec;

    size_t writing_next; /* entries of `writing` before it are durable; the writer's alone */

    pthread_mutex_t mutex;
    /* Under the mutex. `writing` changes hands: the writer fills headers in there, which no reader looks at. */
    struct group gather, writing;
    bool is_writing;
    bool is_stuck; /* what is being written waits for room on the disk */
    struct index index;
    uint64_t footer_next; /* segments below it need none written */
    uint64_t header_next; /* nor a header */
    slot_t commit_until;  /* one past the last COMMIT that was appended */
    slot_t first_kept, trim_below;
    bool has_checkpoint;
    struct journal_checkpoint checkpoint; /* the newest durable one */
    bool checkpoint_is_damaged;
    uint64_t n_checkpoints; /* that became it since the start */
    struct checkpoint_write checkpoint_write;
    struct mend mend;
    uint64_t n_mends; /* segments that were replaced: readers look anew */
    uint64_t appended_seq, durable_seq;
    uint64_t left_bytes; /* in the open segment */
    enum reserve_state reserve_state;
    int append_error; /* a record that could not be taken */
    int error;        /* final; set by the writer         */
    struct journal_stats stats;
    uint32_t sync_usec[SYNC_SAMPLES];
    uint64_t n_syncs;
};

uint64_t monotonic_usec(void);

/* What a segment of `size` bytes has for batches, beyond the batch with the promise that it opens with. */
uint64_t segment_capacity(uint64_t size);

/* --- segment.c: the writer's side of the files --- */

/* Opens "reserve", to become `size` bytes: the old one where there is one, since its blocks are there already. */
int reserve_open(const struct vfs *vfs, uint64_t size, struct vfs_file **ret);
/* Whether the file system has room for it to grow to `size` bytes. Asked first, so that a reserve that cannot be
 * finished does not take the last bytes of the disk from everybody else, nor the block that the directory may need when
 * it is given its name as a segment. */
bool reserve_fits(const struct vfs *vfs, struct vfs_file *f, uint64_t size);
/* Writes about `bytes` more of the reserve's zeros and sets reserve_state. 0 also where the disk is full; < 0 is final.
 */
int reserve_prepare(struct journal *j, uint64_t bytes);
/* Makes the reserve the open segment. -ENOSPC where there is none and none can be made. */
int segment_begin(struct journal *j);
/* Under the mutex: whether a full segment, footer_next, waits for its footer. */
bool footer_has_work(struct journal *j);
/* Writes the footer of one, where there is work. < 0 is final. */
int footer_work(struct journal *j);
/* The same of the header of a full segment that rotted: all that it tells is in the index, too. */
bool header_has_work(struct journal *j);
int header_work(struct journal *j);
/* The header of a full segment; `s` as it stands in the index. */
void header_encode(struct journal *j, const struct index_segment *s, uint8_t *ret);
/* Batches `first` to first + n - 1 of the group, which fit, into the open segment; durable when it returns 0. */
int segment_write(struct journal *j, struct group *g, size_t first, size_t n);

#endif
