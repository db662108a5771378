/* Reads one segment's batches in order and decides where they end: cleanly, torn, or rotten; or its footer in their
 * place. Changes nothing on disk. After JOURNAL_DAMAGED all before s->end is good, and was replayed. */
#ifndef JOURNAL_SCAN_H
#define JOURNAL_SCAN_H

#include "journal/format.h"
#include "journal/state.h"

struct scan {
    const struct vfs *vfs;
    const struct identity *own;          /* NULL: whoever's it is                       */
    const struct damage *damage;         /* that is being cut out, or was; NULL: none   */
    uint64_t known_last;                 /* batch of the segment; 0: as its footer tells */
    struct index *index;                 /* is filled                                   */
    const struct journal_replay *replay; /* who gets the records; NULL: nobody          */
    void (*progress)(void *user, uint64_t bytes_done, uint64_t bytes_all); /* or NULL */
    void *user;
    char *error;

    /* Over all segments. */
    uint64_t bytes_done, bytes_all;
    uint64_t batch;   /* the last whole one's number                    */
    uint64_t durable; /* the last one that is said to have been durable */
    struct ballot promised;
    slot_t commit_until;

    /* Of the segment that was scanned last; the file stays open for the rewrite. */
    char name[SEGMENT_NAME_BYTES];
    struct vfs_file *file;
    struct segment_header header;
    uint64_t number;
    uint64_t last;    /* batch, as far as it is known; else UINT64_MAX */
    uint64_t end;     /* of the last whole batch                 */
    uint32_t end_crc; /* of the bytes from the first batch to it */
    uint64_t torn_bytes;
    bool is_cut; /* damage begins at `end`: what follows does not count, though it was durable */

    uint8_t *window; /* bytes of the file from window_offset on */
    size_t window_room, window_size;
    uint64_t window_offset;
    struct note notes[RECORD_NOTES_MAX];
};

/* Adds the segment to the index by its footer. *ret_there is false, and nothing is added, where it has none that is
 * whole. */
enum journal_result scan_footer(struct scan *s, uint64_t number, bool *ret_there);

/* `is_last`: no later segment exists, so that a torn tail is possible, and a footer is not. What stands behind the last
 * batch that it is known to have does not count. */
enum journal_result scan_segment(struct scan *s, uint64_t number, bool is_last);

/* After scan_segment(): drops its points from memory where a footer has them. One that has more than there is: damage,
 * since zeros at the end look like an end. */
enum journal_result scan_compare_footer(struct scan *s, bool is_last);

/* Bytes of the scanned file; borrowed until the next call. At most what the file has. */
enum journal_result scan_bytes(struct scan *s, uint64_t offset, size_t size, const uint8_t **ret);

bool scan_is_zero(const uint8_t *p, size_t size);
/* Whether a cut that was begun, and did not come to its end, is at s->end. */
bool scan_is_cut_here(const struct scan *s);

void scan_done(struct scan *s);

#endif
