/* One replica in this process: from its directories to its last signal. */
#ifndef HOST_SERVE_H
#define HOST_SERVE_H

#include "host/config.h"

/* Runs replica `id` (which is in the configuration) until SIGTERM, SIGINT or a failure. Answers the exit status, after
 * having logged why where it is not 0. `dir`: of --dir, or NULL. Ready, as sd_notify(3) says it, once the journal is
 * read and the control socket answers; not when there is a quorum. `c` was read from `config_path`, and is changed by a
 * reload of it: on SIGHUP or by the control socket. */
int serve_replica(struct config *c, const char *config_path, replica_id_t id, const char *dir, const char *version);

#endif
