/* Valid journals: each has two superblocks, a few segments and a reserve, and what was appended is known. */
#ifndef TESTS_FUZZ_JOURNAL_STORY_H
#define TESTS_FUZZ_JOURNAL_STORY_H

#include "host/values.h"
#include "paxos/checkpoint.h"
#include "paxos/replica.h"
#include "tests/fuzz/journal_truth.h"
#include "tests/unit/vfs_memory.h"

enum { STORY_BATCHES_MAX = 256 };

struct story_batch {
    const char *name; /* of its segment */
    uint64_t offset, number, durable;
    uint32_t size;
    size_t first, n; /* records of the truth */
};

struct story {
    struct vfs_memory *disk;
    struct truth truth;
    struct story_batch batches[STORY_BATCHES_MAX];
    size_t n_batches;
    uint64_t durable, checkpoint_durable; /* batches that superblocks and the checkpoint call durable */
};

/* Made once for each choice of KEPT, TRIM, CLOSED and SURE. */
const struct story *story_get(unsigned choices);
/* Whose they are. */
const struct identity *story_identity(void);
/* A replica that has their identity, in one block for all. */
struct replica *story_core(const struct replica_config **ret_config);

/* --- what damage to a copy means --- */

/* The records that are known to have been durable by what stands on the disk unharmed. */
size_t story_sure(const struct story *s, struct vfs_memory *disk);
/* Recovery must go on without what is damaged. */
bool story_must_open(const struct story *s, struct vfs_memory *disk);
/* It must refuse: a segment is missing, or both superblocks are. */
bool story_must_refuse(const struct story *s, struct vfs_memory *disk);
bool story_is_same(const struct story *s, struct vfs_memory *disk);
/* A write that was under way left this: the disk is the same but for the end of the last batch, which is not known to
 * have been durable, and is zeros. */
bool story_is_torn(const struct story *s, struct vfs_memory *disk);
/* Damage within batches alone, whose headers are no zeros: *ret_lost tells whether votes that may count went with it,
 * or a promise may have. False: there is other damage, or none. */
bool story_judge(const struct story *s, struct vfs_memory *disk, bool *ret_lost);

#endif
