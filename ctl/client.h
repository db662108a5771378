/* A connection to a replica's control socket: varlink calls and replies, blocking with a deadline, or pipelined.
 *
 * Replies come in the order of the calls. All functions answer 0 or a negative errno: -ETIMEDOUT, -ECONNRESET (the
 * other side went away), -EBADMSG (it is no varlink reply), -ENOMEM; after any of them but -ETIMEDOUT the connection is
 * of no use any more. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "ctl/endpoint.h"
#include "wire/varlink.h"

enum {
    CLIENT_REPLY_BYTES_MAX = 64 << 20,
    CLIENT_GRACE_MSEC =
        2000, /* how much longer than the daemon's own timeout a call waits: a silent daemon is a dead one */
    CLIENT_TIMEOUT_MSEC_DEFAULT = 5000,
    CLIENT_TIMEOUT_MSEC_MAX = 3600000, /* the daemon refuses more */
};

struct pollfd;

struct client {
    int fd; /* -1: not connected */
    struct endpoint endpoint;
    struct varlink_framer framer;
    char *out; /* what is still to be written: out[out_sent .. out_size) */
    size_t out_size, out_sent, out_capacity;
};

struct reply {
    cJSON *tree;             /* owned                               */
    const cJSON *parameters; /* into the tree; NULL: {}             */
    const char *error;       /* NULL: no error                      */
    bool continues;
};
void reply_done(struct reply *r);

int client_connect(struct client *c, const struct endpoint *e);
void client_close(struct client *c);
/* A struct client that was never connected must be this, so that closing it is harmless. */
#define CLIENT_NONE ((struct client){.fd = -1})

/* Queues a call; `parameters` is consumed, NULL: {}. Nothing is written before client_exchange(). */
int client_queue(struct client *c, const char *method, cJSON *parameters, bool more);
int client_queue_bytes(struct client *c, const char *bytes, size_t size);

/* Writes and reads what it can without waiting longer than timeout_msec (-1: for ever) for the socket, or for what
 * `also` (NULL: nothing) asks poll(): its revents say what came of it. 0 also where nothing came. */
int client_exchange(struct client *c, int timeout_msec, struct pollfd *also);

/* The next reply that is here already. 1: one; 0: none; -EBADMSG. */
int client_next(struct client *c, struct reply *ret);

/* One call and its one reply, or, for `more`, its first one; then client_reply() for the others. */
int client_call(struct client *c, const char *method, cJSON *parameters, bool more, uint64_t timeout_msec,
                struct reply *ret);
int client_reply(struct client *c, uint64_t timeout_msec, struct reply *ret);

/* Connects to the first replica of the place that answers at all: a stopped process takes connections, too, so each
 * gets a moment to answer a harmless question, unless there is only one. 0 and an empty failure, or -1 and why. */
int client_open(struct client *c, const struct place *place, struct failure *f);

/* A timeout_ms as the daemon takes it: not over CLIENT_TIMEOUT_MSEC_MAX. */
cJSON *client_timeout(uint64_t timeout_msec);

/* client_call() and the failure in one. `unknown` says whether a call whose answer stays out may have
 * had an effect: then that is EXIT_OUTCOME_UNKNOWN, else EXIT_NO_DAEMON. */
int client_ask(struct client *c, const char *method, cJSON *parameters, uint64_t timeout_msec, bool unknown,
               struct reply *ret, struct failure *f);

#endif
