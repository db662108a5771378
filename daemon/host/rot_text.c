#include "host/rot_text.h"

#include <inttypes.h>
#include <stdio.h>

void rot_describe(const struct journal_rot *k, char ret[ROT_TEXT_MAX + 1])
{
    static const char *const then[] = {
        [JOURNAL_ROT_FOUND] = "the segment is looked through",
        [JOURNAL_ROT_OPEN] = "it is mended as soon as the segment is full and a checkpoint covers it",
        [JOURNAL_ROT_MENDING] = "they are fetched from the peers, and the segment is written anew",
        [JOURNAL_ROT_UNSERVED] = "no replica that answers has them; they are asked again",
        [JOURNAL_ROT_FULL] = "there is no room on the disk to write the segment anew",
        [JOURNAL_ROT_STUCK] = "it cannot be mended: too much of the segment is damaged, or the disk does not read it",
    };
    snprintf(ret, ROT_TEXT_MAX + 1,
             "rot: segment-%016" PRIx64 " is damaged at offset %" PRIu64 "; slots %" PRIu64 " to %" PRIu64
             " may not be readable here: %s",
             k->segment, k->offset, k->first, k->last, then[k->state]);
}
