/* Where in the segments to look for a slot: of each segment its extent, and one point for about every
 * INDEX_STRETCH_BYTES of batches. A full segment's points go to its footer, so that memory does not grow with what is
 * kept. The journal's mutex protects it; what is indexed is durable and never changes, except that the last point
 * grows. */
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

/* Whether no record of it tells of a slot above `slot`. */
static inline bool extent_ends_by(const struct extent *e, slot_t slot)
{
    return (e->min > e->max || e->max <= slot) && e->commit_until <= slot + 1;
}

void extent_add_slot(struct extent *e, slot_t slot);
void extent_add(struct extent *e, const struct extent *other);

struct index_point {
    uint32_t offset, size;
    struct extent extent;
};

struct index_segment {
    uint64_t number;
    uint64_t file_bytes, limit;
    uint64_t first, last; /* batches; last < first: none */
    struct extent extent;
    struct index_point *points; /* NULL: its footer has them, or there is none */
    size_t n_points, points_room;
    bool header_is_rotten; /* the writer writes it again */
};

static inline bool index_in_footer(const struct index_segment *s)
{
    return s->points == NULL && s->last >= s->first;
}

/* Numbers follow each other. */
struct index {
    struct index_segment *segments; /* ascending */
    size_t n_segments, segments_room;
};

/* Of `s` its number, sizes and first batch count; where it has n_points, its extent and last batch too. 0 or -ENOMEM.
 */
int index_add_segment(struct index *x, const struct index_segment *s);
/* A batch at the end of the last segment. 0 or -ENOMEM. */
int index_add_batch(struct index *x, uint32_t offset, uint32_t size, const struct extent *extent);
/* Forgets the points of a segment. */
void index_drop_points(struct index_segment *s);
/* Forgets the first n segments. */
void index_drop_first(struct index *x, size_t n);
void index_drop_last(struct index *x);
void index_done(struct index *x);

/* NULL: not there, or trimmed. */
struct index_segment *index_get(const struct index *x, uint64_t number);
/* Up to which slot COMMIT records reach; 0: none. */
slot_t index_commit_until(const struct index *x);

/* The newest segment below `number` that may hold a value of `slot`; 0: none. *bound is lowered to the lowest slot
 * above `slot` that a segment above it may hold. */
uint64_t index_find_slot(const struct index *x, slot_t slot, uint64_t number, slot_t *bound);
/* The segment whose COMMIT records cover `slot`; 0: none. */
uint64_t index_find_commit(const struct index *x, slot_t slot);

/* The same among the points of one segment: which, below n. False: none. */
bool points_find_slot(const struct index_point *points, size_t n, slot_t slot, size_t *ret, slot_t *bound);
bool points_find_commit(const struct index_point *points, size_t n, slot_t slot, size_t *ret);

#endif
