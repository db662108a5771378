/* The control socket: Varlink over a Unix stream socket, in front of the driver.
 *
 * Bounded everywhere: connections in all, calls in flight on one, bytes of one call, bytes queued for one reader. A reader
 * that does not read is no longer read from, then closed; a follower of the log is simply served from `next` when it reads again. */
#ifndef HOST_CONTROL_H
#define HOST_CONTROL_H

#include <uv.h>

#include "host/driver.h"

enum {
    CONTROL_CONNECTIONS_MAX = 4096, /* less where RLIMIT_NOFILE is less: see control_start()             */
    CONTROL_CALLS_MAX = 256,        /* in flight on one connection; then it is not read from             */
    CONTROL_QUEUED_BYTES_MAX = 4 << 20, /* of replies that the client has not read: then it is closed    */
    CONTROL_TIMEOUT_MS_DEFAULT = 5000,
    CONTROL_TIMEOUT_MS_MAX = 3600000,
    CONTROL_READ_MESSAGES_MAX = 1000,
    CONTROL_READ_BYTES_MAX = 1 << 20,
};

struct control;

struct control_options {
    uv_loop_t *loop;
    struct driver *driver;
    const char *path;   /* of the socket; its directory is made (0755) where it is missing; mode of the socket 0660 */
    const char *version;
};

/* 0 or a negative errno after having logged why: a path too long for a Unix socket (says the limit), a directory that cannot be written,
 * a live daemon behind the socket. A dead one's socket is replaced. */
int control_start(const struct control_options *o, struct control **ret);
/* Closes everything; calls in flight are not answered. `closed` once all handles are gone. */
void control_stop(struct control *c, void (*closed)(void *user), void *user);

struct control_stats {
    uint64_t connections, connections_max_reached, calls, errors, closed_malformed, closed_slow;
};
void control_stats(const struct control *c, struct control_stats *ret);

#endif
