/* The durable log of one replica: segments of checksummed batches, one writer, one sync a group of them; and the newest
 * checkpoint, which lets old segments go.
 *
 * Files in the state directory: "superblock.0" and "superblock.1" (the identity and what was trimmed, both written at
 * every change, checksummed and numbered; the newer whole one counts), "segment-%016x" (numbered from 1; the first is
 * made with the first record), "reserve" (the next segment, allocated ahead), "checkpoint" (the core's state at a slot,
 * opaque here), "checkpoint.new" (the next one, until it is whole), "segment.new" (one that is written anew, until it
 * is whole), "lock". Every file opens with a magic, a format version, cluster id, replica id and life; a batch's header
 * names segment, batch number, offset, size, the batch number that was durable when it was written, and a CRC-32C of it
 * all. Every segment opens with the highest promise of those before. A full segment ends with a footer: which slots it
 * holds, and where. format.h, footer.h and checkpoint.h have the bytes.
 *
 * Order: what is appended in one or more journal_append() calls becomes one or more batches in that order; a batch is
 * durable only after all before it. Failure: any failed write or sync is final: the journal answers nothing more as
 * durable, and the host exits (status 74). A full disk is no failure: the next segment is allocated ahead, and while it
 * cannot be, journal_has_space() says so early enough that everything already handed over, and JOURNAL_HEADROOM_BYTES
 * more, still fits. What is handed over beyond that waits in memory, not durable, until there is room. A checkpoint for
 * which there is no room is given up, and the old one stays.
 *
 * Recovery takes the checkpoint, then reads every batch in order from the oldest segment on that holds anything above
 * the checkpoint's slot; of the segments before, it reads the footers. A footer is derived: where it is damaged or
 * missing, the segment is read instead, and the footer made again. Torn or rotten (etcd's and TigerBeetle's rules,
 * sharpened): a bad batch is a torn tail only if it is in the last segment, nothing tells that it was durable (a later
 * batch, the segment's header, the superblock, the checkpoint), and a part of it was not written (one of its sectors
 * still holds the zeros of the allocated file, or its last byte does). Then it and what follows are cut. Anything else
 * is rot: from there on everything is given up, and the identity says from then on what that means for this replica's
 * votes (salvage.h). A checkpoint that rots is made up for by the segments while all from the first slot on are there;
 * else it is refused, too. After reading, the last segment is rewritten into a new file, synced and
 * renamed into place before anything is answered, since the page cache may show bytes that the disk lacks after a
 * failed sync of the last run. */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/vfs.h"
#include "paxos/record.h"

enum {
    JOURNAL_VERSION = 2,
    JOURNAL_VERSION_OLDEST = 1, /* without footers, checkpoints and trimming; still read */
    JOURNAL_SEGMENT_BYTES_DEFAULT = 16 << 20,
    JOURNAL_SEGMENT_BYTES_MIN = 64 << 10, /* the simulator draws it small */
    JOURNAL_SEGMENT_BYTES_MOST = 1 << 30,
    JOURNAL_HEADROOM_BYTES = 1 << 20, /* or a quarter of the segment, whichever is lower */
    JOURNAL_ERROR_MAX = 511,
};

struct journal;
struct journal_reader;

struct journal_options {
    const struct vfs *vfs;
    uint64_t segment_bytes;
    /* Called by whoever runs journal_write(), after each durable group, each step of a checkpoint or a trim, or a final
     * failure (error < 0). */
    void (*written)(void *user, int error);
    void *user;
};

enum journal_result {
    JOURNAL_OK = 0,
    JOURNAL_IO = -1,       /* the disk failed: exit 74                                                  */
    JOURNAL_REFUSED = -2,  /* rot, another replica's or cluster's files, an unknown version: exit 65    */
    JOURNAL_NO_SPACE = -3, /* at the first start, no room for the first segment                         */
    JOURNAL_DAMAGED = -4,  /* within this folder only: rot, which recovery goes on without              */
};

/* Reads the superblock only. ret->status is 0 (not an identity_status) where there is no state at all.
 * `ret_error` (JOURNAL_ERROR_MAX + 1 bytes) says what, where and what to do. */
enum journal_result journal_read_identity(const struct vfs *vfs, struct identity *ret, char *ret_error);

/* A record and its value bytes are borrowed: it gets the value's canonical bytes in `bytes` and sets record->value
 * itself if it wants one; it answers false for a record that cannot follow (JOURNAL_REFUSED). */
typedef bool (*journal_each)(void *user, struct record *record, const uint8_t *bytes, uint32_t size);

/* Who takes what stands on the disk, in this order. */
struct journal_replay {
    /* The newest checkpoint's bytes, in consecutive parts, checked as a whole before the first one; then once with NULL
     * and 0: that was all. Not called where there is none. False: they make no sense (JOURNAL_REFUSED). */
    bool (*checkpoint)(void *user, slot_t slot, const uint8_t *bytes, size_t size);
    /* Every record from the replay's start on, which is at or before the first one of a slot above the checkpoint's:
     * those of slots at or below it come too, and count for nothing but the ballots they promise. */
    journal_each each;
    /* Now and then, of what is being read, checkpoint or segments: at least once for each segment, and each part that
     * was checked or is handed out. Or NULL. */
    void (*progress)(void *user, uint64_t bytes_done, uint64_t bytes_all);
    void *user;
};

/* Opens, or makes, the journal of `identity` (as journal_read_identity answered it, or a fresh EMPTY one, which this
 * writes first), hands out checkpoint and records, and does the rewrite. Where it was ever damaged, a PROMISE and an
 * IDENTITY come last: what was promised at least, and what this replica is since. JOURNAL_OK with a `ret_error` that is
 * not empty: it was found damaged just now, and how. */
enum journal_result journal_open(const struct journal_options *o, const struct identity *identity,
                                 const struct journal_replay *replay, struct journal **ret, char *ret_error);
void journal_close(struct journal *j);

/* Copies the records into the batch that is being gathered; `seq` is the last one's, counted by the core. Never blocks
 * and never fails: the caller stops before space runs out (journal_has_space), and bounds what is in flight. */
void journal_append(struct journal *j, const struct record *records, size_t n, uint64_t seq);

/* Writes and syncs what was gathered; then, after `written`, does one piece of what can wait: a slice of the next
 * segment where that is not ready, a footer, a part of a checkpoint, a few files to trim. The caller's thread does the
 * work. 0: durable; or a negative errno, final: every later call answers it again and leaves the disk alone. The daemon
 * runs it on the journal's thread (journal_thread_*), the simulator where it likes.
 *
 * Pending: there is something to write, or to do that can wait. On a full disk nothing is, although journal_has_space()
 * is false: then a call about once a second tries again. */
int journal_write(struct journal *j);
bool journal_is_pending(struct journal *j);

/* All may be called from the loop's thread while another runs journal_write(). */
uint64_t journal_durable_seq(struct journal *j);
bool journal_has_space(struct journal *j);

/* Reads the chosen values of slots from `from` on, in order, at most `n_max` and about bytes_max, and calls `each` with
 * the record as in journal_replay (type CHOSEN, .slot; plus the slot's note, if any, as .notes/.n_notes of 0 or 1).
 * Slots must be <= the last COMMIT that was appended, and >= journal_first_kept(): -ERANGE below. Reads what was handed
 * over too, durable or not. Answers the number of slots read, or a negative errno; -EBADMSG where a batch does not
 * match its checksum (rot: nothing of it is handed out). Memory is bounded, whatever is kept. */
int journal_read(struct journal *j, slot_t from, slot_t until, size_t n_max, size_t bytes_max, journal_each each,
                 void *user);
/* The same for a thread of its own, beside the loop's: journal_reader_read() does not note rot, which is found again
 * where the loop's thread reads there, too. NULL: out of memory. Freed before journal_close(). */
struct journal_reader *journal_reader_new(struct journal *j);
void journal_reader_free(struct journal_reader *r);
int journal_reader_read(struct journal_reader *r, slot_t from, slot_t until, size_t n_max, size_t bytes_max,
                        journal_each each, void *user);
/* The lowest slot that can be read; 0: all can. Never decreases, also over restarts. */
slot_t journal_first_kept(struct journal *j);

/* --- checkpoints: the core's state after applying `slot`, and all before ---
 *
 * One at a time: begin, append until all is taken, finish; each call only hands over, and journal_write() does the
 * work, a part of JOURNAL_CHECKPOINT_PART_BYTES at most between two groups. `written` tells that it went on: room to
 * append, or done. Until the new one is durable as a whole the old one stays, whatever happens. All from the loop's
 * thread, which kicks the journal's afterwards. */

enum {
    JOURNAL_CHECKPOINT_PART_BYTES = 256 << 10,
};

enum journal_checkpoint_origin {
    CHECKPOINT_OWN,     /* of what this replica applied: all records up to the slot, its COMMIT too, were appended
                         * before begin()                                                                           */
    CHECKPOINT_FETCHED, /* from a peer, to go on from: what is here at or below its slot becomes obsolete with it;
                         * promises, and what was accepted above it, stay                                            */
};

enum journal_checkpoint_state {
    CHECKPOINT_IDLE,    /* begin() may be called. After finish(): it is durable (journal_checkpoint_newest tells)     */
    CHECKPOINT_WRITING, /* from begin() until it is durable, or until cancel() was carried out                       */
    CHECKPOINT_FAILED,  /* no room on the disk: cancel(), and try again later                                        */
};

struct journal_checkpoint {
    slot_t slot;
    uint64_t size; /* of the bytes that were appended */
};

/* The newest durable one. False: there is none. */
bool journal_checkpoint_newest(struct journal *j, struct journal_checkpoint *ret);
/* Whether that cannot be read, as journal_checkpoint_read() or journal_scrub() found. Then another one may be begun at
 * its very slot. */
bool journal_checkpoint_is_damaged(struct journal *j);
enum journal_checkpoint_state journal_checkpoint_state(struct journal *j);

/* 0; -EBUSY while the state is not IDLE; -EINVAL for a slot that is not above the newest one's; -ENOMEM. */
int journal_checkpoint_begin(struct journal *j, slot_t slot, enum journal_checkpoint_origin origin);
/* Copies what there is room for, and answers how much that was: 0 and more; after `written` there is room again.
 * -ENOSPC once the state is FAILED. */
int64_t journal_checkpoint_append(struct journal *j, const void *bytes, size_t size);
/* No more comes. It becomes the newest as soon as it is durable, and so are, where it is OWN, all records that were
 * appended before begin(). Where it is FETCHED, journal_first_kept() is then its slot + 1, and so is at least the slot
 * up to which journal_read() goes. */
void journal_checkpoint_finish(struct journal *j);
/* Gives the one that is being written up, in whatever state; it may have become durable meanwhile. Nothing where there
 * is none. */
void journal_checkpoint_cancel(struct journal *j);

/* Bytes of the newest checkpoint, for a peer: up to `size` from `offset` on; 0 at its end. -ESTALE where `slot` is not
 * the newest one's, unless the call before this was for the same slot: then the old file is still held. -EBADMSG: rot.
 */
int64_t journal_checkpoint_read(struct journal *j, slot_t slot, uint64_t offset, void *buffer, size_t size);

/* --- trimming --- */

/* Lets segments go, oldest first, all of whose slots are below first_kept and at or below the newest checkpoint's; the
 * open segment always stays. Carried out by journal_write(); what is asked for holds on, also for segments that fill
 * later, until a higher one is. journal_first_kept() follows: it may stay below what was asked for, never above it. */
void journal_trim(struct journal *j, slot_t first_kept);
/* What to ask for so that the segments take about `bytes`: the lowest slot of which every record is in the newest ones
 * that take so much together. At least journal_first_kept(). */
slot_t journal_trim_slot(struct journal *j, uint64_t bytes);

/* --- rot that shows while it is open ---
 *
 * A stretch of batches that journal_read() or journal_scrub() finds damaged. Where the newest checkpoint covers all of
 * its segment, no vote is in it, and it is mended: journal_rot_work() looks through the segment for the first damaged
 * run, journal_mend_slots() says what was there at the most, journal_mend_add() takes it, slot by slot, as a peer's
 * journal_read() gave it, and journal_write() puts the segment written anew in place of the old one, at once. All from
 * the loop's thread, which kicks the journal's after journal_mend_add(). Nothing of this survives a restart: what is
 * still damaged then is found again. Of a damaged header or footer nothing is told: the writer writes it again. */

enum journal_rot_state {
    JOURNAL_ROT_FOUND,    /* to be looked through                                                        */
    JOURNAL_ROT_OPEN,     /* no checkpoint covers it yet, or it is the open segment                       */
    JOURNAL_ROT_MENDING,  /* what was there is asked for, or written                                      */
    JOURNAL_ROT_UNSERVED, /* journal_mend_put_off(), and the rest of the segment was looked at            */
    JOURNAL_ROT_FULL,     /* the disk has no room for the segment written anew                            */
    JOURNAL_ROT_STUCK,    /* the footer is damaged, too, or too much is missing, or it cannot be read now */
};

struct journal_rot {
    uint64_t segment, offset; /* of the first damaged stretch       */
    slot_t first, last;       /* what cannot be read is among these */
    slot_t covered_by;        /* OPEN: a checkpoint of this slot or a later one; UINT64_MAX: of none yet */
    uint64_t put_off;         /* nobody had what stands before this offset: the rest is looked at first  */
    enum journal_rot_state state;
};

enum { JOURNAL_ROT_MAX = 16 /* segments; those beyond are found when one of them is mended */ };

/* What is known, into ret[JOURNAL_ROT_MAX]; answers how many. */
size_t journal_rot(struct journal *j, struct journal_rot *ret);
/* A piece of looking through. True: more can be done at once. */
bool journal_rot_work(struct journal *j);
/* Looks again at what could not be mended. */
void journal_rot_again(struct journal *j);
/* Reads and checks the next stretch of the full segments, or, after them, the next part of the newest checkpoint:
 * answers its bytes; 0: that was all, the next call begins anew. */
int64_t journal_scrub(struct journal *j);

/* The next slot that is wanted, and the last one. False: none is. */
bool journal_mend_slots(struct journal *j, slot_t *ret_first, slot_t *ret_last);
/* What stands at `slot`, the next one that is wanted; a note of type 0: none. 0; -EINVAL where it is not wanted, or not
 * what can still be read here: it is another log's; -EFBIG, -ENOMEM: it was given up. */
int journal_mend_add(struct journal *j, slot_t slot, const struct note *note, struct value *value);
/* Nobody has what is wanted: the next damaged run of the segment comes first. */
void journal_mend_put_off(struct journal *j);

struct journal_stats {
    uint64_t bytes; /* of all files */
    uint64_t segments;
    uint64_t free_bytes;                                  /* of the file system, refreshed now and then by the writer */
    uint64_t batches, records, syncs, bytes_written;      /* since this start */
    uint64_t sync_p50_usec, sync_p99_usec, sync_max_usec; /* of the last 1024 syncs; 0: none yet */
    uint64_t torn_bytes;                                  /* cut at the last start */
    uint64_t segments_replayed;                           /* read whole at the last start */
    uint64_t segments_trimmed;                            /* since this start */
    uint64_t scrubbed_bytes, segments_mended;             /* since this start */
    bool checkpoint_ignored; /* the checkpoint was damaged, and the whole log replayed in its place */
    uint64_t damaged_segment,
        damaged_offset; /* where it was last found damaged, at whichever start; segment 0: never */
};
void journal_stats(struct journal *j, struct journal_stats *ret);

/* The thread that runs journal_write(). `kick` after journal_append(), and after what hands over a checkpoint or asks
 * for a trim: returns at once. */
struct journal_thread;
int journal_thread_start(struct journal *j, struct journal_thread **ret);
void journal_thread_kick(struct journal_thread *t);
/* When what it does with the disk now began, a group or a piece of what can wait (monotonic); 0: nothing. */
uint64_t journal_thread_busy_since_usec(struct journal_thread *t);
/* Lets it write what was appended, then joins. */
void journal_thread_stop(struct journal_thread *t);

#endif
