/* Script mode: all replicas of a configuration as child processes of this one.
 *
 * A child that dies is started again, later and later (SUPERVISOR_DELAY_MS_MIN to _MAX) as long as it dies young; one
 * that says by its exit status that a new try cannot help (64, 65, 78) is not. Children die with this process, however
 * it dies. */
#ifndef HOST_SUPERVISOR_H
#define HOST_SUPERVISOR_H

#include "host/config.h"

enum {
    SUPERVISOR_DELAY_MS_MIN = 100,
    SUPERVISOR_DELAY_MS_MAX = 5000,
    SUPERVISOR_YOUNG_MS = 2000, /* who lived longer is started again after the least delay */
    SUPERVISOR_STOP_MS = 10000, /* from SIGTERM to SIGKILL, beside a hand-over             */
};

/* Runs until SIGINT or SIGTERM, or until no replica is left that it may start. Answers the exit status. `dir` and
 * `key_path`: of --dir and --key-file, or NULL. */
int supervisor_run(const struct config *c, const char *config_path, const char *dir, const char *key_path);

#endif
