/* Where in the segments to look for a slot: one point for about every INDEX_STRETCH_BYTES of batches, so that memory
 * stays far below the data (32 bytes for 16 KiB). The journal's mutex protects it; what is indexed is durable and never
 * changes, except that the last point grows. */
#ifndef JOURNAL_INDEX_H
#define JOURNAL_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paxos/ballot.h"

enum { INDEX_STRETCH_BYTES = 16 << 10 };

/* What a batch, a stretch or a segment holds. */
struct extent {
    slot_t min, max;     /* of its ACCEPT and CHOSEN records; min > max: none             */
    slot_t commit_until; /* one past the highest COMMIT at its end or before it; 0: none */
};

static inline struct extent extent_none(void)
{
    return (struct extent){.min = UINT64_MAX};
}

static inline bool extent_has(const struct extent *e, slot_t slot)
{
    return e->min <= slot && slot <= e->max;
}

void extent_add_slot(struct extent *e, slot_t slot);
void extent_add(struct extent *e, const struct extent *other);

struct index_point {
    uint32_t offset, size;
    struct extent extent;
};

struct index_segment {
    uint64_t number;
    uint64_t file_bytes;
    struct extent extent;
    struct index_point *points;
    size_t n_points, points_room;
};

struct index {
    struct index_segment *segments; /* ascending */
    size_t n_segments, segments_room;
};

/* 0 or -ENOMEM. */
int index_add_segment(struct index *x, uint64_t number, uint64_t file_bytes);
/* A batch at the end of the last segment. 0 or -ENOMEM. */
int index_add_batch(struct index *x, uint32_t offset, uint32_t size, const struct extent *extent);
void index_done(struct index *x);

/* A stretch of batches to read. */
struct index_place {
    size_t segment, point; /* positions in the index: stay good while it grows */
    uint64_t number;
    uint32_t offset, size;
};

/* The newest stretch that may hold a value of `slot`; below *place where `again`. False: none. */
bool index_find_slot(const struct index *x, slot_t slot, bool again, struct index_place *place);
/* The stretch whose COMMIT records cover `slot`. */
bool index_find_commit(const struct index *x, slot_t slot, struct index_place *ret);

#endif
