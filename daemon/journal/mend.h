/* A segment written anew, in which a run of stretches that rotted is replaced by what the peers keep of their slots.
 *
 * Below a checkpoint no vote counts any more: of those stretches the values chosen, their notes, and the COMMIT records
 * that the notes belong to are all that anybody reads. They go into one batch; as many empty ones follow as the run
 * had, so that the later ones keep their numbers. All other stretches stay as they are, whole or not, but for the place
 * that their headers name. Order: the new file is whole and synced before it gets the segment's name; before that, and
 * after a crash at any point, the old one counts. Its footer is made again afterwards, as any other. */
#ifndef JOURNAL_MEND_H
#define JOURNAL_MEND_H

#include "journal/index.h"
#include "journal/journal.h"

#define MEND_NAME "segment.new"

/* Stretches one after the other, and what they may have held. */
struct mend_run {
    size_t at, n;
    uint64_t before;            /* the last batch before it */
    uint64_t n_batches;         /* that take its place      */
    slot_t min, max;            /* values; min > max: none */
    slot_t note_from, note_end; /* notes, below note_end    */
};

/* What journal_mend_slots() asks for. */
static inline slot_t mend_first(const struct mend_run *r)
{
    return r->note_from < r->note_end && r->note_from < r->min ? r->note_from : r->min;
}

static inline slot_t mend_last(const struct mend_run *r)
{
    return r->note_from < r->note_end && (r->min > r->max || r->note_end - 1 > r->max) ? r->note_end - 1 : r->max;
}

static inline bool mend_wants_slots(const struct mend_run *r)
{
    return r->min <= r->max || r->note_from < r->note_end;
}

enum mend_state {
    MEND_IDLE,
    MEND_FILLING, /* the reader's thread adds what was there                              */
    MEND_WRITING, /* the writer's, until:                                                 */
    MEND_DONE,
    MEND_TRIMMED, /* meanwhile: nothing was changed                                       */
    MEND_FULL,    /* no room on the disk; nothing was changed                            */
    MEND_FAILED,  /* the old file cannot be read where it could before; nothing was changed */
};

struct mend {
    enum mend_state state;        /* under the mutex; the rest is whose turn it says */
    struct index_segment segment; /* with .points */
    struct mend_run run;
    slot_t next;
    uint8_t *batch; /* with a hole for its header */
    size_t size, room;
    uint32_t n_records;

    /* The writer's. */
    struct vfs_file *from, *to; /* NULL: not open */
    struct index_point *points; /* of the new file */
    size_t at, n_points;        /* of the old one's, the next; of the new one's */
    uint64_t offset;            /* in the new one  */
    uint64_t file_bytes, limit; /* of the new one  */
};

/* By the reader's thread, in this order. `segment`: its points are taken over. 0 or -ENOMEM. */
int mend_begin(struct journal *j, struct index_segment *segment, const struct mend_run *run);
/* 0, -ENOMEM or -EFBIG. */
int mend_add(struct journal *j, slot_t slot, const struct note *note, struct value *value);
/* Whatever the state, but WRITING. */
void mend_clear(struct journal *j);

/* Under the mutex. */
bool mend_has_work(const struct journal *j);
/* One step, where there is work. 0, also where nothing came of it; < 0 is final. */
int mend_work(struct journal *j);

#endif
