/* The one place where the core meets the world: turns what happens into events, and carries out the effects.
 *
 * Runs on the libuv loop's thread. In a turn of the loop: datagrams, submissions, timers and durable batches become
 * events, each followed by its effects; at the turn's end what was gathered goes out: one batch of datagrams to each
 * peer, one kick of the journal, one write to each client. Messages wait in a queue until the journal is durable up
 * to their `after`. */
#ifndef HOST_DRIVER_H
#define HOST_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "host/chatlog_mark.h"
#include "host/config.h"
#include "journal/journal.h"
#include "paxos/replica.h"
#include "wire/assembly.h"
#include "wire/seal.h"

struct driver;
struct faults;
struct reload;
struct chatlog;
struct peers;

struct driver_options {
    uv_loop_t *loop;
    const struct config *config;  /* outlives the driver; may change before driver_reload(), as reload.h says */
    const struct seal_keys *keys; /* NULL: datagrams are plain; needed until driver_start() returns */
    replica_id_t id;
    const char *state_dir;
    /* 0: the default */
    uint64_t segment_bytes, checkpoint_bytes, retain_bytes, scrub_usec;
    struct faults *faults;
    const char *log_path; /* of the chat log file */
    const char *version;
    void (*stopped)(void *user, int exit_status); /* after driver_stop(), or a failure that ends the daemon */
    void *user;
};

/* Reads the journal, binds the socket, starts the first timer. 0, or the daemon's exit status (65, 74, 78, 1) after
 * having logged why. */
int driver_start(const struct driver_options *o, struct driver **ret);
/* Hands leadership over where it leads, which takes at most so many heartbeats, lets the journal finish, then calls
 * `stopped`. */
enum { STOP_HEARTBEATS = 12 };
void driver_stop(struct driver *d);
void driver_free(struct driver *d);

/* --- for the control socket --- */

enum submit_result {
    SUBMIT_CHOSEN,
    SUBMIT_DUPLICATE,
    SUBMIT_CONFLICT,
    SUBMIT_EXPIRED,
    SUBMIT_OVERLOADED,
    SUBMIT_NO_QUORUM,
    SUBMIT_NOT_STARTED,
    SUBMIT_NO_SPACE,
    SUBMIT_UNKNOWN /* it may stand in the log or not, and nothing will tell any more */
};

/* One connection's messages in order. */
struct session;
struct session *driver_session_open(struct driver *d,
                                    void (*settled)(void *user, uint64_t tag, enum submit_result, slot_t slot),
                                    void *user);
void driver_session_close(struct session *s); /* what is open on it is given up: its outcome stays unknown */

struct submit_request {
    const char *author, *key, *text; /* copied */
    size_t author_size, key_size, text_size;
    bool has_since;
    slot_t since;
    uint64_t tag; /* the caller's, answered by `settled`, which may be called before this returns */
};
/* Answers the `since` that stands for it from now on: the caller's, or this replica's chosen prefix. Sizes were
 * checked. */
slot_t driver_submit(struct session *s, const struct submit_request *q);

/* The linearizable position. `answer` is called once a majority confirmed, never before this returns, and not at all
 * after a cancel or where none confirms: the caller keeps the time. Answers the cookie for driver_position_cancel(); 0:
 * refused (too many open, or not started). */
uint64_t driver_position(struct driver *d, void (*answer)(void *user, slot_t slot), void *user);
void driver_position_cancel(struct driver *d, uint64_t cookie);

/* Reads visible messages from slot `from` on, at most n_max and about bytes_max (at least one). Answers how many, or a
 * negative errno; *ret_next is the slot to go on from: chosen prefix + 1 where there is nothing more now. It may answer
 * 0 before that, having passed over LOGVIEW_HIDDEN_SLOTS_MAX slots without a message, so that no call takes long; with
 * a message, it may answer fewer for the same reason. -EBADMSG: it is damaged on the disk, and nothing visible stands
 * before *ret_next, the slot that cannot be read. -ERANGE: `from` is below what is kept (driver_first_kept). The
 * message's strings are borrowed for the call of `each`. */
struct log_message {
    slot_t slot;
    uint64_t time_usec;
    const char *author, *text;
    size_t author_size, text_size;
};
int driver_read(struct driver *d, slot_t from, size_t n_max, size_t bytes_max,
                bool (*each)(void *user, const struct log_message *m), void *user, slot_t *ret_next);
/* The slot of the n-th visible message from the end, as the log was at the first call. False: not found yet, so that no
 * call takes long; it goes on at the next. `t`: zeros and n at first. */
struct tail_search {
    uint64_t n, ordinal, passed, left, after;
    slot_t begin, at, end, stop; /* of the slots to count, of those to search  */
    bool begun, searches;        /* it counts what stands before the ordinal first, where no index tells */
};
bool driver_tail(struct driver *d, struct tail_search *t, slot_t *ret);
slot_t driver_first_kept(struct driver *d);

/* One watcher, the control socket: `moved` after each turn in which the chosen prefix moved, `told` after each in which
 * calls were answered, so that what they led to is done in the same turn. */
void driver_watch(struct driver *d, void (*moved)(void *user, slot_t chosen), void (*told)(void *user), void *user);

struct flush_result {
    replica_id_t replica;
    bool ok;
    slot_t slot;
    uint64_t messages;
    const char *text; /* path where ok, else the error */
};
/* Flushes this replica's chat log, or with `all` every member's. `answer` gets all results, once. 0 refused: too many
 * open. */
uint64_t driver_flush(struct driver *d, bool all, uint64_t timeout_ms,
                      void (*answer)(void *user, const struct flush_result *results, size_t n), void *user);
void driver_flush_cancel(struct driver *d, uint64_t cookie);

/* `answer`, of slot 0, once it stands on the disk; else as that of a position, and cancelled as one. -EEXIST where
 * state exists already, -EBUSY where a majority is not there yet. */
int driver_bootstrap(struct driver *d, void (*answer)(void *user, slot_t slot), void *user, uint64_t *ret_cookie);
void driver_skip(struct driver *d, const slot_t *slots, size_t n);
/* Carries out what options.config says now. `r` tells what changed in it, and what not, although `file`, which was
 * read, says so: that shows in the status. */
void driver_reload(struct driver *d, const struct config *file, const struct reload *r);
/* Other keys from now on, where there were some at the start. */
void driver_set_keys(struct driver *d, const struct seal_keys *keys);
/* Asks the leader, this replica or another, to hand over to `target`, or to its best follower (REPLICA_ID_NONE).
 * Whether it did shows in the status; a lost datagram may take the request with it. -EINVAL: no such member. */
int driver_transfer(struct driver *d, replica_id_t target);

/* Why a datagram that came in was dropped. */
enum drop_reason {
    DROP_TRUNCATED,
    DROP_MALFORMED,
    DROP_NO_MAGIC,
    DROP_VERSION,
    DROP_CHECKSUM,
    DROP_UNKNOWN_PEER, /* of none of the members, or for another replica */
    DROP_KEY,          /* sealed under another key, or with a key where here is none, or the other way */
    DROP_FORGED,       /* its seal is wrong                                                            */
    DROP_STALE,        /* of a session that is over                                                    */
    DROP_REPLAYED,
    DROP_FOREIGN, /* of another cluster or life */
    DROP_INJECTED,
    DROP_REASONS
};
enum { DROPPED_TEXT_MAX = 255, STRANGER_TEXT_MAX = 63 };

/* By the address that they came from, which anybody may have written. */
struct driver_drops {
    uint64_t counts[DROP_REASONS];
    uint64_t last_usec;              /* when the last one came that is no everyday matter; 0: never */
    char text[DROPPED_TEXT_MAX + 1]; /* "12 forged, 3 replayed", since the start; "": none lately   */
};

/* Why a peer is refused. */
enum driver_refusal { REFUSAL_STATE, REFUSAL_KEY, REFUSAL_VERSION };

struct driver_peer {
    char address[280];
    char version[INFO_VERSION_MAX + 1]; /* "": not known */
    uint32_t n_drops;
    struct info_drop drops[INFO_DROPS_MAX];
    bool refused; /* it sends, but not as a member: another key, cluster, life or version */
    enum driver_refusal refusal;
    char note[160]; /* "": none                                                             */
    struct driver_drops dropped;
    struct seal_peer_status seal;
};
struct driver_status {
    struct replica_status replica;
    struct journal_stats journal;
    uint64_t busy_since_usec; /* when the journal's write or sync that runs now began (monotonic); 0: none runs */
    const struct config *config;
    const char *config_warning; /* where the log says otherwise than the file: "" if nowhere */
    bool is_config_overruled;   /* ... and its word stands                                   */
    /* Of what the file says otherwise since the start, as reload.h tells them apart: what takes a restart, and what a
     * stop of all replicas; "" if nothing. */
    const char *kept_restart, *kept_stop;
    slot_t flushed, first_kept;
    slot_t checkpoint;              /* the newest one's slot; 0: none                     */
    uint64_t checkpoint_age_usec;   /* since it became durable, or was read               */
    const char *checkpoint_trouble; /* why none can be written; what to do: "" or NULL: nothing is wrong */
    const char *flush_trouble;      /* why nothing can be trimmed: ""                     */
    slot_t flush_awaited;           /* by a peer's checkpoint, before it is used; 0: none */
    struct chatlog_gap gap;         /* missing in the chat log file                       */
    size_t n_rot;                   /* segments that rotted    */
    struct journal_rot rot[JOURNAL_ROT_MAX];
    bool installing;   /* a peer's checkpoint is being fetched               */
    uint64_t noops;    /* slots below `chosen` without a message */
    uint64_t messages; /* visible ones                           */
    bool has_space;
    struct driver_peer peers[REPLICAS_MAX]; /* as replica.peers */
    uint64_t datagrams_sent, datagrams_received, bytes_sent, bytes_received;
    uint64_t datagrams_dropped[DROP_REASONS]; /* of those that were received                      */
    uint64_t datagrams_unsealed, send_errors;
    uint64_t datagrams_overrun;           /* that found the socket's buffer full            */
    struct assembly_stats assembly;       /* values of peers that came in pieces            */
    struct driver_drops strangers;        /* of them, those from no member's address            */
    char stranger[STRANGER_TEXT_MAX + 1]; /* the last such address, "": none                    */
    struct seal_peer_status seal;         /* of this replica: n_keys 0 where there is no key    */
    int unlocked_error;                   /* why keys may be swapped, an errno; 0: they cannot  */
};
void driver_status(struct driver *d, struct driver_status *ret);
struct faults *driver_faults(struct driver *d);

#endif
