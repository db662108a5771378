/* Going on without a part of the journal that is damaged.
 *
 * From the first damaged batch on everything is given up: what was chosen is fetched from the peers again. What must
 * not be lost is what this replica said: promises, and votes for slots of which it does not know that they are chosen.
 * What stands whole behind the damage tells what was in it at the most: a promise or a vote is never below a promise
 * before it, and a COMMIT record names the highest slot of all records before it. So where both follow, and some COMMIT
 * record covers every slot that the damaged batches may have held, no vote that counts was in them: the replica keeps
 * its highest promise, and is silent until it has learned all slots that it had records of (identity.h, silent_until).
 * What a checkpoint stands for is not fetched again; where the damage took some of it, what can be read begins behind
 * the checkpoint. Anything else is the loss of votes: quarantine. Where there are no peers, it is refused instead.
 *
 * Order: the superblock says first what the replica is now, and that a cut is under way; then later segments are put
 * aside ("rotten-%016x", for whoever wants to look; nothing reads them), the damaged one is rewritten up to the damage,
 * and the superblock says that it is done. A crash in between is followed by the same cut. Source: Alagappan et al.,
 * FAST 2018 (protocol-aware recovery); mpaxos(7), "Storage". */
#ifndef JOURNAL_SALVAGE_H
#define JOURNAL_SALVAGE_H

#include "journal/scan.h"

/* After JOURNAL_DAMAGED from scan_segment(): numbers[0] is that segment's, the other n - 1 are the later ones'. Leaves
 * the scan as if the segment ended in a torn tail there, to be rewritten. */
enum journal_result salvage_run(struct journal *j, struct scan *s, const uint64_t *numbers, size_t n);

#endif
