/* The newest checkpoint at start, and for a peer. */
#ifndef JOURNAL_CHECKPOINT_READ_H
#define JOURNAL_CHECKPOINT_READ_H

#include "journal/checkpoint.h"

struct journal;

/* Fills j->checkpoint, ->first_kept and ->commit_until. Every part is checked, so that none is handed out of one that
 * is not whole. A damaged one is left aside where the segments have all that it stands for; else it is refused. */
enum journal_result checkpoint_find(struct journal *j, const struct journal_replay *replay, struct checkpoint_file *ret,
                                    char *ret_error);
enum journal_result checkpoint_hand_out(struct checkpoint_file *c, const struct journal_replay *replay,
                                        char *ret_error);

/* Checks the next part of the newest one: its bytes, or 0 at the end, where there is none, and where it is damaged. */
int64_t checkpoint_scrub(struct journal *j);

#endif
