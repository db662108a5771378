#include "host/reload.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool fail(struct reload *r, uint32_t line, const char *reason)
{
    r->failed = true;
    r->line = line;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
    return false;
}

/* config_read() answers one line, "FILE:LINE: KEY: ...", which may have cut a long FILE, keyfile_load() "FILE: ...". */
static bool fail_as_read(struct reload *r, const char *error)
{
    size_t same = 0;
    uint32_t line = 0;
    char *end;

    while (r->path[same] && error[same] == r->path[same])
        same++;
    if (same > 0 && error[same] == ':') {
        line = (uint32_t)strtoul(error + same + 1, &end, 10);
        if (strncmp(end, ": ", 2) == 0)
            error = end + 2;
        else if (error[same + 1] == ' ')
            error += same + 2;
    }
    return fail(r, line, error);
}

bool reload_read(const char *path, replica_id_t self, struct config *ret_file, struct reload *ret)
{
    char error[CONFIG_ERROR_MAX + 1];
    struct stat st;

    *ret = (struct reload){.path = path};
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(ret, 0, "JSON: it is no regular file; put one there");
    if (config_read(path, ret_file, error) < 0)
        return fail_as_read(ret, error);
    if (!config_find(ret_file, self)) {
        snprintf(error, sizeof error,
                 "replica_list: this replica, %u, is not in it any more; write it as it was, or stop the replica",
                 self);
        return fail(ret, 0, error);
    }
    return true;
}

static void add_changed(struct reload *r, bool changed, const char *key)
{
    if (changed)
        r->changed[r->n_changed++] = key;
}

static void add_kept(struct reload *r, enum reload_remedy remedy, bool differs, const char *key)
{
    char *kept = r->kept[remedy];
    size_t used = strlen(kept);

    if (differs)
        snprintf(kept + used, RELOAD_KEPT_MAX - used, "%s%s", used ? ", " : "", key);
}

static bool ids_differ(const struct config *a, const struct config *b)
{
    for (uint32_t i = 0; i < a->n_replicas; i++)
        if (!config_find(b, a->replicas[i].id))
            return true;
    return a->n_replicas != b->n_replicas;
}

static bool addresses_differ(const struct config *a, const struct config *b)
{
    for (uint32_t i = 0; i < a->n_replicas; i++) {
        const struct config_replica *x = &a->replicas[i], *y = config_find(b, x->id);
        if (y && (x->port != y->port || strcmp(x->host, y->host) != 0))
            return true;
    }
    return false;
}

void reload_apply(struct config *running, const struct config *file, replica_id_t self, struct reload *ret)
{
    const struct config_replica *theirs = config_find(file, self);
    struct config_replica *own = &running->replicas[config_find(running, self) - running->replicas];

    ret->failed = false;
    ret->n_changed = 0;
    memset(ret->kept, 0, sizeof ret->kept);
    add_changed(ret, own->drop_rate != theirs->drop_rate, "drop_rate");
    add_changed(ret,
                own->n_skips != theirs->n_skips ||
                    memcmp(own->skips, theirs->skips, own->n_skips * sizeof own->skips[0]) != 0,
                "skip_slot");
    add_changed(ret, running->log_format != file->log_format, "log_format");
    add_changed(ret, running->flush_interval_s != file->flush_interval_s, "flush_interval_s");
    add_changed(ret, running->retain_mb != file->retain_mb, "retain_mb");
    add_kept(ret, RELOAD_RESTART, addresses_differ(running, file), "replica_list (addresses)");
    add_kept(ret, RELOAD_RESTART, running->heartbeat_ms != file->heartbeat_ms, "heartbeat_ms");
    add_kept(ret, RELOAD_RESTART, running->message_bytes_max != file->message_bytes_max, "message_bytes_max");
    add_kept(ret, RELOAD_RESTART, running->datagram_bytes != file->datagram_bytes, "datagram_bytes");
    add_kept(ret, RELOAD_SETTLED, ids_differ(running, file), "replica_list (ids)");
    add_kept(ret, RELOAD_SETTLED, strcmp(running->cluster, file->cluster) != 0, "cluster");
    add_kept(ret, RELOAD_SETTLED, running->dedup_slots != file->dedup_slots, "dedup_slots");
    own->drop_rate = theirs->drop_rate;
    own->n_skips = theirs->n_skips;
    memcpy(own->skips, theirs->skips, sizeof own->skips);
    running->log_format = file->log_format;
    running->flush_interval_s = file->flush_interval_s;
    running->retain_mb = file->retain_mb;
}

bool reload_read_keys(const char *path, const struct config *running, const struct seal_keys *in_force,
                      struct seal_keys **ret_keys, struct reload *ret)
{
    char error[KEYFILE_ERROR_MAX + 1];
    int result = keyfile_load(path, running, ret_keys, error);

    if (result == 0 && (*ret_keys || !in_force))
        return true;
    ret->path = path;
    if (result < 0)
        return fail_as_read(ret, error);
    return fail(ret, 0, "the cluster key is not there any more; put it back, or stop the replica");
}

bool reload_apply_keys(struct seal_keys **running, struct seal_keys *file, struct reload *ret)
{
    bool changed = *running && !keyfile_equal(*running, file);

    add_changed(ret, changed, "keys");
    add_kept(ret, RELOAD_STOP_ALL, !*running && file, "cluster key");
    if (!changed) {
        sodium_free(file);
        return false;
    }
    sodium_free(*running);
    *running = file;
    return true;
}

const char *reload_list_changed(const struct reload *r, char *ret, size_t size)
{
    size_t used = 0;

    ret[0] = '\0';
    for (uint32_t i = 0; i < r->n_changed && used < size; i++)
        used += (size_t)snprintf(ret + used, size - used, "%s%s", i ? ", " : "", r->changed[i]);
    return ret;
}
