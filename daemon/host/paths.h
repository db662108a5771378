/* Where one replica's state, control socket and chat log file are.
 *
 * Under DIR (--dir, else $MPAXOS_DIR): DIR/state/N, DIR/run/N/control, DIR/log/replica_N.log. Without either, where
 * systemd says ($STATE_DIRECTORY and $RUNTIME_DIRECTORY are one replica's own, $LOGS_DIRECTORY is shared), and what it
 * does not name is under the current directory. */
#ifndef HOST_PATHS_H
#define HOST_PATHS_H

#include <limits.h>

#include "paxos/ballot.h"

enum { PATHS_ERROR_MAX = 511 };

struct paths {
    char state[PATH_MAX]; /* of the journal: made by who opens it  */
    char socket[PATH_MAX];
    char log[PATH_MAX]; /* absolute: other replicas report it, too */
};

/* `dir`: of --dir, or NULL. 0 or a negative errno with a reason: what, where, what to do (PATHS_ERROR_MAX + 1 bytes).
 */
int paths_find(const char *dir, replica_id_t id, struct paths *ret, char *ret_error);

/* Makes the directories that are missing, but the last one of `state`, which the journal makes for its owner only.
 * Answers as paths_find(): a directory that cannot be made or written is named. */
int paths_make(const struct paths *p, char *ret_error);

#endif
