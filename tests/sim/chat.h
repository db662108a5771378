/* The chat log of a simulated host: the daemon's own code (host/chatlog.h) over two directories in memory, one for its
 * mark, one for its files, which lose power and fail apart from the journal's disk.
 *
 * Its faults follow from the seed, but from a row of numbers of their own, so that what happens to the chat log alone
 * moves nothing else. They come in its operations (chatdisk.c): the power goes or the process dies before the n-th that
 * changes something, a write or a sync fails, the disk is full. What must stand in its files is looked at (chatcheck.c)
 * after every flush, in them and in what they would be if power went now, after every power cut, at every start, and at
 * the end. */
#ifndef TESTS_SIM_CHAT_H
#define TESTS_SIM_CHAT_H

#include <stdbool.h>

#include "paxos/prng.h"
#include "paxos/replica.h"
#include "tests/unit/vfs_memory.h"

enum { CHAT_OPEN_MAX = 2 /* the log file and the mark */ };

/* The paths that the daemon is given. */
#define CHAT_STATE_DIR "disk"
#define CHAT_LOG_NAME  "sim.log"
#define CHAT_LOG_PATH  "logs/" CHAT_LOG_NAME

struct cluster;
struct host;

struct chat_file {
    struct vfs_memory *memory;
    struct vfs_file *file;
    uint64_t inode;
};

struct chat {
    struct vfs_memory *state, *logs;
    struct prng random;
    struct chat_file files[CHAT_OPEN_MAX];
    uint32_t n_rotated;
    bool rotated_loosely; /* the last rename is not synced       */
    bool full;            /* as its host's disk                  */
    uint32_t ends_in;     /* at this operation its host ends; 0: at none */
    uint32_t fails_in;    /* this operation fails                */
    unsigned fail_kinds;  /* of these                            */
    bool ended, failed;
    uint8_t *skipped; /* by slot: it may be missing          */
    size_t n_skipped;
    /* Up to here the marked file was found right. */
    uint64_t checked_inode, checked_length;
    slot_t checked_slot;
};

/* --- chatdisk.c --- */
void chat_make(struct host *h);
void chat_free(struct chat *k);
void chat_power_cut(struct host *h, bool cut_all);
/* Around a slice of a flush: what may happen in it. Answers whether its host ended in it. */
void chat_begin(struct host *h);
bool chat_end(struct host *h);
void chat_rotate(struct host *h); /* now and then, as an administrator does */
void chat_tally(const struct host *h);

/* --- chatcheck.c --- */
/* The files as they are, all of them from the beginning. */
void chat_check(struct host *h, const char *when);
/* After a flush of all of a cluster at rest, each up to its own slot: nothing is missing anywhere, so all files are
 * equal. */
void chat_check_complete(struct cluster *c, const slot_t *until);

#endif
