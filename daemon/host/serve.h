/* One replica in this process: from its directories to its last signal. */
#ifndef HOST_SERVE_H
#define HOST_SERVE_H

#include "host/config.h"
#include "wire/seal.h"

struct serve_options {
    struct config *config; /* read from `config_path`, and changed by a reload of it: on SIGHUP or by the socket */
    const char *config_path;
    struct seal_keys *keys; /* of `key_path`, NULL: none; taken over, and read again by a reload, too */
    const char *key_path;   /* of --key-file, or NULL                                                 */
    replica_id_t id;        /* is in the configuration */
    const char *dir;        /* of --dir, or NULL       */
    const char *version;
};

/* With SIGHUP blocked: one that comes before there is something to reload waits. Runs one replica until SIGTERM, SIGINT
 * or a failure. Answers the exit status, after having logged why where it is not 0. Ready, as sd_notify(3) says it,
 * once the journal is read and the control socket answers; not when there is a quorum. */
int serve_replica(const struct serve_options *o);

#endif
