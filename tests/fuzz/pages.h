/* What a peer answers who is asked for a part of its log, or for a checkpoint: right, or wrong in a way that is chosen.
 */
#ifndef TESTS_FUZZ_PAGES_H
#define TESTS_FUZZ_PAGES_H

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/inputs.h"
#include "tests/sim/sim.h"

enum { PAGE_CHECKPOINT_HEAD_BYTES = 32 /* versions, the cluster's id, the slot */ };

struct page { /* .bytes are to be freed */
    uint8_t *bytes;
    size_t size, room;
};

/* Of chosen values from `slot` on, at most `n` of them, as the observer knows them. */
void page_make(struct cluster *c, slot_t slot, uint32_t n, enum page_fault fault, struct page *ret);
/* The newest of that host's, its first chunk. False: it has none. */
bool page_of_checkpoint(struct cluster *c, struct host *h, struct page *ret, slot_t *ret_slot);
/* Its hash is made to match. */
void page_mend_checkpoint(struct cluster *c, struct page *p);

/* --- answers.c --- */
void answers_begin(void);
/* The next page, or checkpoint, that is asked for: what is wrong with it, and how its pieces are cut. */
void answers_take_page(struct fuzz_input *in);
void answers_take_checkpoint(struct fuzz_input *in);
/* Gives it, if there is one, ahead of the peer's own; nothing where the asker went down meanwhile. */
void answers_give(struct host *asker, struct host *peer, slot_t slot);

#endif
