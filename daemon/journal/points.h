/* The points of full segments, from their footers: of the few that were used last. */
#ifndef JOURNAL_POINTS_H
#define JOURNAL_POINTS_H

#include "journal/index.h"
#include "journal/segment_file.h"

struct journal;

enum { POINTS_SEGMENTS_MAX = 4 };

struct points {
    uint64_t number; /* of the segment; 0: unused */
    uint64_t used_at;
    struct index_point *items;
    size_t n;
};

struct points_cache {
    struct points all[POINTS_SEGMENTS_MAX];
    uint64_t clock;
};

/* Of the segment `s`, a copy out of the index; borrowed until the next call. NULL in *ret: its footer is damaged, and
 * the points were read from its batches into the index. 0 or a negative errno. */
int points_get(struct points_cache *c, struct journal *j, struct segment_file *f, const struct index_segment *s,
               const struct points **ret);
void points_done(struct points_cache *c);

#endif
