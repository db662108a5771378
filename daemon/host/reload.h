/* What a running replica takes up of a configuration file that was changed, and what it leaves alone.
 *
 * Taken up: its own drop_rate and skip_slot, log_format, flush_interval_s, retain_mb; and the cluster keys, where there
 * were some at the start. Everything else stays as it was read at the start, and is named where the file says
 * otherwise. A file that is wrong changes nothing. No logging. */
#ifndef HOST_RELOAD_H
#define HOST_RELOAD_H

#include "host/keyfile.h"

enum { RELOAD_KEYS_MAX = 6, RELOAD_KEPT_MAX = 160 };

/* What it takes to have taken up what a running replica leaves alone. */
enum reload_remedy {
    RELOAD_RESTART,  /* of one replica after the other                                               */
    RELOAD_STOP_ALL, /* before any starts again: those with and those without do not hear each other */
    RELOAD_SETTLED,  /* nothing does: the log has it since the first start; before that, a restart   */
    RELOAD_REMEDIES,
};

struct reload {
    bool failed;
    const char *path;                   /* of the configuration, or of the keys that failed; borrowed       */
    uint32_t line;                      /* where `failed`                                                   */
    char reason[KEYFILE_ERROR_MAX + 1]; /* where `failed`: what is wrong; what to write                     */
    uint32_t n_changed;
    const char *changed[RELOAD_KEYS_MAX];
    char kept[RELOAD_REMEDIES][RELOAD_KEPT_MAX]; /* "heartbeat_ms, datagram_bytes": what was left alone; "": nothing */
};

/* Reads the file for replica `self`: into `ret_file`, or why not into `ret`. Waits for nothing: a path that is no
 * regular file is refused. */
bool reload_read(const char *path, replica_id_t self, struct config *ret_file, struct reload *ret);

/* Makes `running` say what `file` says where that can change, and tells in `ret`, from anew, what did. `self` is in
 * both. */
void reload_apply(struct config *running, const struct config *file, replica_id_t self, struct reload *ret);

/* Reads the keys again: into *ret_keys, NULL where there are none, or why not into `ret`. `in_force`: those since the
 * start or the last reload, NULL: none. */
bool reload_read_keys(const char *path, const struct config *running, const struct seal_keys *in_force,
                      struct seal_keys **ret_keys, struct reload *ret);

/* After reload_apply(), whose result it adds to: puts `file`, which is taken over, into the place of *running, and
 * answers whether that changed anything. Where there were none at the start, only a stop of all replicas has them taken
 * up. */
bool reload_apply_keys(struct seal_keys **running, struct seal_keys *file, struct reload *ret);

/* "drop_rate, log_format"; "" where nothing changed. Answers `ret`. */
const char *reload_list_changed(const struct reload *r, char *ret, size_t size);

#endif
