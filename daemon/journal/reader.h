/* The reader's side of the journal, for this folder: each reader on one thread only, that of j->reader the loop's. */
#ifndef JOURNAL_READER_H
#define JOURNAL_READER_H

#include "journal/index.h"
#include "journal/stretch.h"

struct journal;
struct journal_reader;

/* What is known of a segment, with a copy of its points, to be freed. 0; -ENOENT: trimmed; or what journal_read()
 * answers. */
int reader_points(struct journal_reader *r, uint64_t number, struct index_segment *ret);
/* What is read of the segment next comes from the disk, not from the kernel's memory. */
void reader_forget(struct journal_reader *r, uint64_t number);
/* Whether its header says what is known of it; true, too, where it cannot be read: then what stands beside it cannot,
 * which is mended by a whole new file. */
bool reader_header_is_whole(struct journal_reader *r, const struct index_segment *s);
/* Reads and checks a stretch, which is not kept. 0, and its first and last batch; or what
 * journal_read() answers. */
int reader_check(struct journal_reader *r, const struct stretch_place *place, uint64_t *ret_first, uint64_t *ret_last);

#endif
