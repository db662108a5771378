/* Flushes of the chat log: this replica's, for its own clients or because a peer asked, and the wait for the
 * peers'.
 *
 * A request to flush is answered once everything up to its slot is applied and stands in the synced file. The work is
 * done in slices, one after the other, on a thread of its own, so that neither a long flush nor a slow disk stops a
 * heartbeat: of FLUSH_SLICE_SLOTS at first, then of as many as have about FLUSH_SLICE_BYTES, by those before. Peers are
 * asked again every FLUSH_REPEAT_USEC until they answer or the time is over; a repeated request joins the one that is
 * open, or gets the same answer again. No libuv; no clock but what is handed in.
 *
 * All run on the loop's thread but flushes_run(). From flushes_options.start() until flushes_finish() the chat log is
 * the other thread's; what it says meanwhile is what flushes_flushed() kept. */
#ifndef HOST_FLUSHES_H
#define HOST_FLUSHES_H

#include "host/chatlog.h"
#include "host/driver.h"

enum {
    FLUSHES_MAX = 64,       /* requests of own clients that are open       */
    FLUSH_REMOTES_MAX = 64, /* requests of peers, open or answered of late; the oldest makes room */
    FLUSH_SLICE_SLOTS = 128,
    FLUSH_SLICE_SLOTS_MIN = 16,
    FLUSH_SLICE_SLOTS_MAX = 10000,
    FLUSH_SLICE_BYTES = 8 << 20,
    FLUSH_REPEAT_USEC = 200000,
    FLUSH_SLOW_USEC = 5000000,       /* a slice that takes longer is told: the disk hangs, or nearly */
    FLUSH_SKIP_AGAIN_USEC = 1000000, /* where flushes_skip() failed */
    FLUSH_REQUIRE_CALLS = 10,
};

struct flushes;

struct flushes_options {
    struct chatlog *chatlog;
    enum log_format format; /* that it was opened with */
    replica_id_t self;
    const replica_id_t *others; /* copied */
    size_t n_others;
    /* Makes ready for `read` what can be read now of [from, upto], and answers up to where that is; `from` - 1: nothing
     * yet. */
    slot_t (*hold)(void *user, slot_t from, slot_t upto);
    chatlog_read read; /* on the other thread */
    void *read_user;
    /* Has flushes_run() called on another thread, and flushes_finish() on the loop's after that. */
    void (*start)(void *user);
    /* The file goes on behind flushes_gap(), as flushes_skip() asked for. */
    void (*skipped)(void *user);
    uint64_t (*draw)(void *user); /* random nonces */
    void (*send)(void *user, replica_id_t to, const struct message *m);
    void *user;
};

struct flushes *flushes_new(const struct flushes_options *o); /* NULL: out of memory */
void flushes_free(struct flushes *f);                         /* answers nothing     */

/* As driver_flush(); `upto` is what this replica knows to be chosen. */
uint64_t flushes_request(struct flushes *f, bool all, slot_t upto, uint64_t timeout_ms, uint64_t now_usec,
                         void (*answer)(void *user, const struct flush_result *results, size_t n), void *user);
void flushes_cancel(struct flushes *f, uint64_t cookie);

/* A FLUSH or FLUSHED from a member. */
void flushes_message(struct flushes *f, const struct message *m);

/* Whoever asks for it or not: everything up to `upto` is about to be discarded, and is flushed first. Called now and
 * then until it is; an attempt that failed is made again after FLUSH_REQUIRE_CALLS of them. */
void flushes_require(struct flushes *f, slot_t upto);
/* Before the next slice the file goes on behind `slot`, where it is not there yet: what stands before it is no longer
 * to be had. Who waits for some of that is answered by an error. */
void flushes_skip(struct flushes *f, slot_t slot);
/* From the next slice on; as chatlog_set_format(). */
void flushes_set_format(struct flushes *f, enum log_format format);
/* Why it could not be flushed, the last time, or is not now; "": nothing is wrong. */
const char *flushes_trouble(const struct flushes *f);
struct chatlog_gap flushes_gap(const struct flushes *f); /* as chatlog_gap() */
slot_t flushes_flushed(const struct flushes *f);         /* durable; 0: nothing yet */

/* Begins the next slice of what is to be flushed up to `applied`, if none is under way. */
void flushes_work(struct flushes *f, slot_t applied, uint64_t now_usec);
bool flushes_is_running(const struct flushes *f);
void flushes_run(struct flushes *f);
/* False: it failed. */
bool flushes_finish(struct flushes *f);
/* Repeats, gives up, answers. Calls no `answer` from elsewhere, so that an answer may request the next flush. */
void flushes_tick(struct flushes *f, uint64_t now_usec);
/* When flushes_tick() has something to do next; 0: now; UINT64_MAX: nothing. */
uint64_t flushes_next_usec(const struct flushes *f);

#endif
