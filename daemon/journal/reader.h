/* journal_read()'s side: one thread only. */
#ifndef JOURNAL_READER_H
#define JOURNAL_READER_H

#include "journal/index.h"
#include "journal/stretch.h"

struct journal;
struct reader;

struct reader *reader_new(struct journal *j);
void reader_free(struct reader *r);

/* What is known of a segment, with a copy of its points, to be freed. 0; -ENOENT: trimmed; or what journal_read()
 * answers. */
int reader_points(struct reader *r, uint64_t number, struct index_segment *ret);
/* Reads and checks a stretch, which is not kept. 0, and its first and last batch; or what journal_read() answers. */
int reader_check(struct reader *r, const struct stretch_place *place, uint64_t *ret_first, uint64_t *ret_last);

#endif
