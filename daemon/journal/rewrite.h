/* The rewrite of the last segment at start, through a copy beside it that replaces it by one rename: a crash leaves the
 * old file or the new one, both with the same batches, and a "reserve" at most.
 *
 * Source: Rebello et al., ATC 2020: after a failed sync the page cache shows what the disk lacks. */
#ifndef JOURNAL_REWRITE_H
#define JOURNAL_REWRITE_H

#include "journal/scan.h"

/* Of what was scanned last. On success *ret is that segment, open for more batches, and all in it is durable. On
 * a full disk, where not even a reserve stands ready, the same bytes are written again in place: that relies on a disk
 * sector being written whole or not at all, but does not bar the start. */
enum journal_result rewrite_segment(struct scan *s, struct open_segment *ret);

#endif
