/* The control socket: Varlink over a Unix stream socket, in front of the driver.
 *
 * Bounded everywhere: connections in all and of one user, calls in flight on one and of one user, bytes of one call,
 * bytes queued for one reader, for and from one user and all of them, time that one user's calls take before the others
 * have their turn. Root and the daemon's own user, who administer, have the share that they want. A reader that does
 * not read has no further call begun, then is not read from, then is closed; one that streams a Read is simply served
 * from `next` when it reads again. Source: varlink.org; mpaxos(7), "Control interface". */
#ifndef HOST_CONTROL_H
#define HOST_CONTROL_H

#include <uv.h>

#include "host/driver.h"

enum {
    CONTROL_CONNECTIONS_MAX = 4096,   /* less where RLIMIT_NOFILE is less: see control_start()                */
    CONTROL_RESERVED_PART = 64,       /* one of so many connections is kept for administration                */
    CONTROL_USER_PART = 4,            /* one of so many, and of bytes queued, is what one user may have       */
    CONTROL_USER_CALLS_MAX = 4096,    /* Submits of one user in flight, on all connections together           */
    CONTROL_USER_BYTES_MAX = 4 << 20, /* of their texts                                                      */
    /* Of all who do not administer, of one user a CONTROL_USER_PART; the driver has more. */
    CONTROL_FLUSHES_MAX = 48,
    CONTROL_POSITIONS_MAX = POSITIONS_MAX / 4 * 3, /* linearizable ones */
    CONTROL_USER_TURN_USEC = 5000, /* of one user's calls; then the others have their turn                 */
    /* Of a call: six bytes for each of the largest text's that any replica takes, where all are escaped, and the rest
     * of a Submit; so that a text which this one refuses is told its limit. */
    CONTROL_CALL_BYTES_MAX = 6 * MESSAGE_BYTES_MOST + 4096,
    CONTROL_CALLS_MAX = 256,              /* in flight on one connection; then no further one is begun            */
    CONTROL_INPUT_BYTES = 64 << 10,       /* of whole calls that wait to be begun; then it is not read from       */
    CONTROL_PAUSE_BYTES = 256 << 10,      /* of replies that the client has not read: then no further call is begun */
    CONTROL_QUEUED_BYTES_MAX = 128 << 20, /* of calls not begun, and as many of replies not read, of all users */
    CONTROL_CHUNK_BYTES = 64 << 10,       /* of one reply of a streaming Read, which waits for the one before it  */
    CONTROL_STALL_MS = 30000,             /* without reading a reply: then it is closed, unless it streams a Read */
    CONTROL_RETRY_MS = 100,               /* what Overloaded advises                                              */
    CONTROL_TIMEOUT_MS_DEFAULT = 5000,
    CONTROL_TIMEOUT_MS_MAX = 3600000,
    CONTROL_READ_MESSAGES_MAX = 1000,
    CONTROL_READ_BYTES_MAX = 1 << 20,
};

struct control;
struct reload;

struct control_options {
    uv_loop_t *loop;
    struct driver *driver;
    const char *path; /* of the socket; its directory is made (0755) where it is missing; mode of the socket 0660 */
    const char *version;
    replica_id_t id;           /* of this replica                                                   */
    const char *state_dir;     /* named in DiskFull and in what Status advises; NULL: not named     */
    const char *log_path;      /* named in FlushFailed; NULL: not named                             */
    uint32_t stall_ms;         /* 0: CONTROL_STALL_MS                                               */
    uint32_t connections_max;  /* 0: CONTROL_CONNECTIONS_MAX                                     */
    uint32_t queued_bytes_max; /* 0: CONTROL_QUEUED_BYTES_MAX                                   */
    /* Reads the configuration again; what came of it is good until the next call. NULL: it cannot. */
    const struct reload *(*reload)(void *user);
    void *reload_user;
};

/* 0 or a negative errno after having logged why: a path too long for a Unix socket (says the limit), a directory that
 * cannot be written, a live daemon behind the socket. A dead one's socket is replaced. Raises RLIMIT_NOFILE's soft
 * limit as far as CONTROL_CONNECTIONS_MAX needs, and ignores SIGPIPE. The strings are copied. */
int control_start(const struct control_options *o, struct control **ret);
/* Closes everything and unlinks the socket; calls in flight are not answered. `closed` once all handles are gone: the
 * driver must live until then. */
void control_stop(struct control *c, void (*closed)(void *user), void *user);

struct control_stats {
    uint64_t connections, connections_refused, calls, errors, closed_malformed, closed_slow;
    uint64_t refused_of_user; /* of connections_refused: their user had enough  */
    uint64_t calls_of_user;   /* Submits put off because their user had enough  */
    uint64_t calls_held;      /* the same, because their connection had enough  */
    uint64_t texts_too_large; /* Submits refused for it                         */
    uint64_t pauses;          /* of a connection, until its replies are read    */
    uint64_t queues_full;     /* times that a user, or all, had enough queued   */
    uint64_t closed_full;     /* for that, with a call that is not whole        */
    uint64_t queued_bytes[2]; /* calls of all users, replies to them            */
    uint32_t connections_now;
};
void control_stats(const struct control *c, struct control_stats *ret);

#endif
