/* The durable log of one replica: segments of checksummed batches, one writer, one sync a group of them.
 *
 * Files in the state directory: "superblock.0" and "superblock.1" (the identity, both written at every change,
 * checksummed and numbered; the newer whole one counts), "segment-%016x" (numbered from 1; the first is made with the
 * first record), "reserve" (the next segment, allocated ahead), "lock". Every file opens with a magic, a format
 * version, cluster id, replica id and life; a batch's header names segment, batch number, offset, size, the batch
 * number that was durable when it was written, and a CRC-32C of it all. Every segment opens with the highest promise of
 * those before. format.h has the bytes.
 *
 * Order: what is appended in one or more journal_append() calls becomes one or more batches in that order; a batch is
 * durable only after all before it. Failure: any failed write or sync is final: the journal answers nothing more as
 * durable, and the host exits (status 74). A full disk is no failure: the next segment is allocated ahead, and while it
 * cannot be, journal_has_space() says so early enough that everything already handed over, and JOURNAL_HEADROOM_BYTES
 * more, still fits. What is handed over beyond that waits in memory, not durable, until there is room.
 *
 * Recovery reads every batch in order. Torn or rotten (etcd's and TigerBeetle's rules, sharpened): a bad batch is a
 * torn tail only if it is in the last segment, nothing tells that it was durable (a later batch, the segment's header,
 * the superblock), and a part of it was not written (one of its sectors still holds the zeros of the allocated file, or
 * its last byte does). Then it and what follows are cut. Anything else is rot: refused with file and offset, never cut.
 * After reading, the last segment is rewritten into a new file, synced and renamed into place before anything is
 * answered, since the page cache may show bytes that the disk lacks after a failed sync of the last run. */
#ifndef JOURNAL_JOURNAL_H
#define JOURNAL_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "journal/vfs.h"
#include "paxos/record.h"

enum {
    JOURNAL_VERSION = 1,
    JOURNAL_SEGMENT_BYTES_DEFAULT = 16 << 20,
    JOURNAL_SEGMENT_BYTES_MIN = 64 << 10, /* the simulator draws it small */
    JOURNAL_SEGMENT_BYTES_MOST = 1 << 30,
    JOURNAL_HEADROOM_BYTES = 1 << 20, /* or a quarter of the segment, whichever is lower */
    JOURNAL_ERROR_MAX = 511,
};

struct journal;

struct journal_options {
    const struct vfs *vfs;
    uint64_t segment_bytes;
    /* Called by whoever runs journal_write(), after each durable group or a final failure (error < 0). */
    void (*written)(void *user, int error);
    void *user;
};

enum journal_result {
    JOURNAL_OK = 0,
    JOURNAL_IO = -1,       /* the disk failed: exit 74                                                  */
    JOURNAL_REFUSED = -2,  /* rot, another replica's or cluster's files, an unknown version: exit 65    */
    JOURNAL_NO_SPACE = -3, /* at the first start, no room for the first segment                         */
};

/* Reads the superblock only. ret->status is 0 (not an identity_status) where there is no state at all.
 * `ret_error` (JOURNAL_ERROR_MAX + 1 bytes) says what, where and what to do. */
enum journal_result journal_read_identity(const struct vfs *vfs, struct identity *ret, char *ret_error);

/* Opens, or makes, the journal of `identity` (as journal_read_identity answered it, or a fresh EMPTY one, which this
 * writes first), calls `each` for every record in order and does the rewrite. A record and its value bytes are
 * borrowed: `each` gets the value's canonical bytes in `bytes` and sets record->value itself if it wants one; it
 * answers false for a record that cannot follow (JOURNAL_REFUSED). `progress` (or NULL) is called now and then while
 * replaying. */
typedef bool (*journal_each)(void *user, struct record *record, const uint8_t *bytes, uint32_t size);
enum journal_result journal_open(const struct journal_options *o, const struct identity *identity, journal_each each,
                                 void (*progress)(void *user, uint64_t bytes_done, uint64_t bytes_all), void *user,
                                 struct journal **ret, char *ret_error);
void journal_close(struct journal *j);

/* Copies the records into the batch that is being gathered; `seq` is the last one's, counted by the core. Never blocks
 * and never fails: the caller stops before space runs out (journal_has_space), and bounds what is in flight. */
void journal_append(struct journal *j, const struct record *records, size_t n, uint64_t seq);

/* Writes and syncs what was gathered; then, after `written`, allocates a slice of the next segment where that is not
 * ready. The caller's thread does the work. 0: durable; or a negative errno, final: every later call answers it again
 * and leaves the disk alone. The daemon runs it on the journal's thread (journal_thread_*), the simulator where it
 * likes.
 *
 * Pending: there is something to write or to allocate. On a full disk nothing is, although journal_has_space() is
 * false: then a call about once a second tries again. */
int journal_write(struct journal *j);
bool journal_is_pending(struct journal *j);

/* All may be called from the loop's thread while another runs journal_write(). */
uint64_t journal_durable_seq(struct journal *j);
bool journal_has_space(struct journal *j);

/* Reads the chosen values of slots from `from` on, in order, at most `n_max` and about bytes_max, and calls `each` with
 * the record as in journal_open (type CHOSEN, .slot; plus the slot's note, if any, as .notes/.n_notes of 0 or 1). Slots
 * must be <= the last COMMIT that was appended. Reads what was handed over too, durable or not. Answers the number of
 * slots read, or a negative errno; -EBADMSG where a batch does not match its checksum (rot: nothing of it is handed
 * out). */
int journal_read(struct journal *j, slot_t from, slot_t until, size_t n_max, size_t bytes_max, journal_each each,
                 void *user);
slot_t journal_first_kept(struct journal *j);

struct journal_stats {
    uint64_t bytes; /* of all files */
    uint64_t segments;
    uint64_t free_bytes;                                  /* of the file system, refreshed now and then by the writer */
    uint64_t batches, records, syncs, bytes_written;      /* since this start */
    uint64_t sync_p50_usec, sync_p99_usec, sync_max_usec; /* of the last 1024 syncs; 0: none yet */
    uint64_t torn_bytes;                                  /* cut at the last start */
};
void journal_stats(struct journal *j, struct journal_stats *ret);

/* The thread that runs journal_write(). `kick` after journal_append(): returns at once. */
struct journal_thread;
int journal_thread_start(struct journal *j, struct journal_thread **ret);
void journal_thread_kick(struct journal_thread *t);
/* When the sync that runs now began (monotonic), 0 if none runs. */
uint64_t journal_thread_sync_since_usec(struct journal_thread *t);
/* Lets it write what was appended, then joins. */
void journal_thread_stop(struct journal_thread *t);

#endif
