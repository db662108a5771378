#include "ctl/endpoint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ctl/text.h"
#include "wire/varlink.h"

#ifndef RUNSTATEDIR
#define RUNSTATEDIR "/run"
#endif

enum { REPLICA_IDS = 255 };

struct bases {
    char paths[2][PATH_MAX];
    size_t n;
};

static void bases_of(const struct place *place, struct bases *ret)
{
    const char *dir = place->dir ? place->dir : getenv("MPAXOS_DIR");
    ret->n = 0;
    if (dir && *dir) {
        snprintf(ret->paths[ret->n++], PATH_MAX, "%s/run", dir);
        return;
    }
    snprintf(ret->paths[ret->n++], PATH_MAX, "run");
    snprintf(ret->paths[ret->n++], PATH_MAX, "%s/mpaxosd", RUNSTATEDIR);
}

static int endpoint_make(const char *path, int id, struct endpoint *ret, struct failure *f)
{
    if (strlen(path) > ENDPOINT_PATH_MAX) {
        cJSON *p = cJSON_CreateObject();
        cJSON_AddStringToObject(p, "path", path);
        failure_set(f, EXIT_NO_DAEMON, "org.mpaxos.Control.PathTooLong", p,
                    "%.300s: %zu bytes are too long for a Unix socket, which may have %d. Use a shorter --dir, or a "
                    "relative one",
                    path, strlen(path), ENDPOINT_PATH_MAX);
        return -1;
    }
    ret->id = id;
    memcpy(ret->path, path, strlen(path) + 1);
    return 0;
}

/* One replica: wherever its socket is; the first place where it is nowhere. */
static int find_one(const struct bases *bases, int id, struct endpoint *ret, size_t *ret_n, struct failure *f)
{
    char path[PATH_MAX + 32];
    size_t n = 0;
    for (size_t i = 0; i < bases->n; i++) {
        struct stat st;
        snprintf(path, sizeof(path), "%s/%d/control", bases->paths[i], id);
        if (stat(path, &st) < 0 && errno != EACCES)
            continue;
        if (endpoint_make(path, id, &ret[n], f) < 0)
            return -1;
        n++;
    }
    if (n == 0) {
        snprintf(path, sizeof(path), "%s/%d/control", bases->paths[0], id);
        if (endpoint_make(path, id, &ret[n++], f) < 0)
            return -1;
    }
    *ret_n = n;
    return 0;
}

static int find_all(const struct bases *bases, struct endpoint *ret, size_t *ret_n, struct failure *f)
{
    bool seen[REPLICA_IDS] = {0};
    size_t n = 0;
    for (size_t i = 0; i < bases->n; i++) {
        bool here[REPLICA_IDS] = {0};
        DIR *dir = opendir(bases->paths[i]);
        if (!dir)
            continue;
        for (const struct dirent *d; (d = readdir(dir));) {
            uint64_t id;
            if (number_read(d->d_name, 0, REPLICA_IDS - 1, &id))
                here[id] = true;
        }
        closedir(dir);
        for (int id = 0; id < REPLICA_IDS; id++) {
            char path[PATH_MAX + 32];
            struct stat st;
            snprintf(path, sizeof(path), "%s/%d/control", bases->paths[i], id);
            if (!here[id] || seen[id] || n == ENDPOINTS_MAX || (stat(path, &st) < 0 && errno != EACCES))
                continue;
            if (endpoint_make(path, id, &ret[n], f) < 0)
                return -1;
            seen[id] = true;
            n++;
        }
    }
    *ret_n = n;
    return 0;
}

int endpoints_find(const struct place *place, struct endpoint ret[ENDPOINTS_MAX], size_t *ret_n, struct failure *f)
{
    *ret_n = 0;
    if (place->socket) {
        if (endpoint_make(place->socket, place->id, ret, f) < 0)
            return -1;
        *ret_n = 1;
        return 0;
    }
    struct bases bases;
    bases_of(place, &bases);
    if (place->id >= 0)
        return find_one(&bases, place->id, ret, ret_n, f);
    if (find_all(&bases, ret, ret_n, f) < 0)
        return -1;
    if (*ret_n > 0)
        return 0;
    cJSON *p = cJSON_CreateObject();
    cJSON_AddStringToObject(p, "path", bases.paths[0]);
    failure_set(
        f, EXIT_NO_DAEMON, "org.mpaxos.Control.NoDaemon", p,
        "no replica runs here: there is no socket in %s%s%s. Is one running? Try: systemctl start mpaxosd.target, or "
        "the --dir that mpaxosd was started with",
        bases.paths[0], bases.n > 1 ? " nor in " : "", bases.n > 1 ? bases.paths[1] : "");
    return -1;
}

void endpoint_name(const struct endpoint *e, char ret[ENDPOINT_NAME_MAX])
{
    if (e->id < 0)
        snprintf(ret, ENDPOINT_NAME_MAX, "the replica");
    else
        snprintf(ret, ENDPOINT_NAME_MAX, "replica %d", e->id);
}

void endpoint_failure(const struct endpoint *e, int error, struct failure *f)
{
    char name[ENDPOINT_NAME_MAX], attempt[160] = "another --socket";
    endpoint_name(e, name);
    bool packaged = !strncmp(e->path, RUNSTATEDIR "/mpaxosd/", strlen(RUNSTATEDIR "/mpaxosd/"));
    if (packaged)
        snprintf(attempt, sizeof(attempt), "systemctl status mpaxosd@%d", e->id);
    else if (e->id >= 0)
        snprintf(attempt, sizeof(attempt), "mpaxosd CONFIG -i %d, or the --dir that it was started with", e->id);
    const char *reason = error == ENOENT         ? "no such socket"
                         : error == ENOTDIR      ? "no such socket"
                         : error == ECONNREFUSED ? "nobody listens there"
                         : error == EAGAIN       ? "too many clients wait to be let in"
                         : error == ETIMEDOUT    ? "no answer in time"
                         : error == ECONNRESET   ? "it closed the connection"
                         : error == EBADMSG      ? "what it says is no varlink reply"
                                                 : strerror(error);
    cJSON *p = cJSON_CreateObject();
    if (e->id >= 0)
        cJSON_AddItemToObject(p, "replica", varlink_int(e->id));
    cJSON_AddStringToObject(p, "path", e->path);
    cJSON_AddStringToObject(p, "reason", reason);
    if (error == EACCES || error == EPERM)
        failure_set(
            f, EXIT_NOT_PERMITTED, "org.mpaxos.Control.NotPermitted", p,
            "%s: you may not use %s: permission denied. Members of the socket's group may. Try: ls -l %s, or sudo",
            name, e->path, e->path);
    else
        failure_set(f, EXIT_NO_DAEMON, "org.mpaxos.Control.NoDaemon", p,
                    "%s does not answer on %s: %s. Is it running? Try: %s", name, e->path, reason, attempt);
}
