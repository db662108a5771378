/* Reading the segments at start: what is whole is replayed, a torn tail is told from rot (journal.h says by which
 * rule), and the last segment is rewritten, so that what counts is on the disk and not only in the page cache (trap 3).
 */
#ifndef JOURNAL_RECOVERY_H
#define JOURNAL_RECOVERY_H

#include "journal/state.h"

/* Fills j->index, ->segment, ->batch, ->durable_batch, ->promised, ->commit_until. j->superblock was read; nothing on
 * disk is changed unless all of it was found good. */
enum journal_result recovery_run(struct journal *j, const struct journal_replay *replay, char *ret_error);

#endif
