/* Rot that shows while the journal is open: which segments, and what the first damaged run of their stretches held. The
 * side of journal_read()'s thread. */
#ifndef JOURNAL_ROT_H
#define JOURNAL_ROT_H

#include "journal/mend.h"
#include "journal/stretch.h"

struct journal;

/* Goes through the stretches of one segment. */
struct walk {
    struct index_segment segment; /* .number 0: none; .points are its own copy */
    size_t at;
};

struct rot {
    struct journal_rot known[JOURNAL_ROT_MAX];
    size_t n_known;
    struct walk pass; /* over all that is kept, and then           */
    bool is_at_checkpoint;
    struct walk survey;  /* of the known one that is being looked at   */
    struct mend_run run; /* that the survey found: .n 0: none so far */
    bool is_passing;     /* the stretches before are not known to be whole */
    uint64_t mended, scrubbed_bytes;
};

/* A read of a stretch failed (.size 0: of what tells where they are). Ignored where .number is 0. */
void rot_note(struct journal *j, const struct stretch_place *place);
void rot_done(struct journal *j);

#endif
