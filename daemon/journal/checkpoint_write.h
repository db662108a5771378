/* A checkpoint on its way to the disk: the loop's thread fills one part while the writer has the other. */
#ifndef JOURNAL_CHECKPOINT_WRITE_H
#define JOURNAL_CHECKPOINT_WRITE_H

#include "journal/checkpoint.h"

struct journal;

struct checkpoint_write {
    /* Under the mutex. */
    enum journal_checkpoint_state state;
    enum journal_checkpoint_origin origin;
    slot_t slot;
    uint64_t after_seq; /* records that must be durable before it counts */
    bool is_finishing, is_cancelled;
    uint8_t *filling; /* a part, with a hole for its header */
    uint32_t filled;

    /* The writer's. */
    uint8_t *part;
    struct vfs_file *file; /* NULL: not made yet */
    uint64_t n_parts, size;
};

/* Under the mutex. */
bool checkpoint_has_work(const struct journal *j);
/* One step, where there is work. 0, also where the disk is full; < 0 is final. */
int checkpoint_work(struct journal *j);
void checkpoint_write_done(struct journal *j);

#endif
